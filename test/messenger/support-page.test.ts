/// <reference lib="dom" />

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import jwt from 'jsonwebtoken';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import supertest from 'supertest';
import { revokeApiKey, setMessengerSecret } from '../../src/messenger/api-keys.ts';
import { decryptClaims, encryptClaims, newLinkId } from '../../src/messenger/support-link.ts';
import { DAY_MS } from '../../src/time.ts';
import { createSecretBox, secretLocation } from '../../src/workspaces/secrets.ts';
import { assertAccessible } from '../support/accessibility.ts';
import { sharedBrowser } from '../support/browser.ts';
import { until } from '../support/wait.ts';
import { secrets } from '../support/world.ts';
import { addCustomer, createMessengerSite, MESSENGER_SECRET, type MessengerSite } from './support.ts';

const KEY_PATTERN = /st[mf]_\w+_[0-9a-f]{64}/;

let site: MessengerSite;
let key: string;
let keyId: string;
before(async () => {
  site = await createMessengerSite();
  site.clock.nowMs = Date.now();
  ({ key, keyId } = await site.makeKey());
  const sinceMs = site.clock.nowMs - 20 * DAY_MS;
  await addCustomer(
    site,
    ['user-1'],
    [
      {
        event_timestamp_ms: sinceMs,
        purchased_at_ms: sinceMs,
        expiration_at_ms: sinceMs + 30 * DAY_MS,
      },
      {
        id: randomUUID(),
        type: 'CANCELLATION',
        cancel_reason: 'UNSUBSCRIBE',
        event_timestamp_ms: sinceMs + 5 * DAY_MS,
        purchased_at_ms: sinceMs,
        expiration_at_ms: sinceMs + 30 * DAY_MS,
      },
    ],
  );
  await addCustomer(
    site,
    ['web-1'],
    [
      {
        store: 'STRIPE',
        event_timestamp_ms: sinceMs,
        purchased_at_ms: sinceMs,
        expiration_at_ms: sinceMs + 30 * DAY_MS,
      },
    ],
  );
});
after(() => site.close());

async function makeLink(fields: object = {}, by = key): Promise<{ path: string; expiresAtS: number }> {
  const { body } = await site
    .post('/api/messenger/support-link', by, { user_id: 'user-1', ...fields })
    .expect(200);
  const url = new URL(body.url);
  assert.equal(url.origin, 'http://app.test');
  return { path: `${url.pathname}${url.search}`, expiresAtS: body.expires_at };
}

/** The URL at which an opened page renews its token. */
function renewUrlOf(html: string): string {
  return /data-renew-url="([^"]+)"/.exec(html)?.[1] ?? '';
}

describe('the link', () => {
  it('opens the page of its own customer for ten minutes', async () => {
    const { path, expiresAtS } = await makeLink();
    assert.equal(expiresAtS, Math.floor(site.clock.nowMs / 1_000) + 600);
    const page = await supertest(site.server).get(path).expect(200);
    assert.match(page.text, /Pro is cancelled\./);
    assert.match(page.text, /turned off renewal/);
    assert.equal(page.headers['cache-control'], 'no-store');
    assert.equal(page.headers['referrer-policy'], 'no-referrer');
    assert.doesNotMatch(page.text, KEY_PATTERN);
    assert.ok(!page.text.includes(MESSENGER_SECRET));
    const { nowMs } = site.clock;
    site.clock.nowMs = nowMs + 601_000;
    const late = await supertest(site.server).get(path).expect(401);
    assert.match(late.text, /expired/);
    const machine = await supertest(site.server).get(path).set('Accept', 'application/json').expect(401);
    assert.equal(machine.body.error.code, 'link_expired');
    site.clock.nowMs = nowMs;
  });

  it('is refused when forged, from another workspace, or not a link', async () => {
    const { now } = site.app;
    const user = { userId: 'user-1', email: null, name: null };
    const grant = { workspaceId: 'abc123', keyId, user, locale: null, linkId: newLinkId() };
    const { path } = await makeLink();
    const good = new URL(path, 'http://x').searchParams.get('token') ?? '';
    // Not the last character, because some of its bits have no meaning.
    const middle = Math.floor(good.length / 2);
    const changed = `${good.slice(0, middle)}${good[middle] === 'A' ? 'B' : 'A'}${good.slice(middle + 1)}`;
    const otherBox = createSecretBox([randomBytes(32)]);
    const forged = [
      '',
      'nonsense',
      changed,
      encryptClaims({ secrets: otherBox, now }, 'link', grant).token,
      encryptClaims({ secrets, now }, 'session', grant).token,
      encryptClaims({ secrets, now }, 'link', { ...grant, keyId: randomUUID() }).token,
      jwt.sign({ user_id: 'user-1' }, MESSENGER_SECRET),
    ];
    for (const token of forged) {
      const answer = await supertest(site.server).get(`/support/abc123?token=${token}`).expect(401);
      assert.match(answer.text, /cannot be opened/);
      assert.equal(answer.headers['set-cookie'], undefined);
    }
    const read = (workspaceId: string) =>
      decryptClaims({ secrets, now }, 'link', { token: good, workspaceId });
    assert.equal(read('abc123').user.userId, 'user-1');
    assert.throws(() => read('other1'), { code: 'link_invalid' });
    await supertest(site.server).get(path.replace('abc123', 'other1')).expect(401);
    await supertest(site.server).get(`${path}&token=${good}`).expect(401);
    await supertest(site.server).get('/support/abc123').expect(401);
    // A key of another workspace makes links for that workspace only.
    const others = await site.makeKey('messenger', 'other1');
    const theirs = await makeLink({}, others.key);
    assert.match(theirs.path, /^\/support\/other1\?/);
    assert.match(
      (await supertest(site.server).get(theirs.path).expect(200)).text,
      /We found no subscription for you/,
    );
  });

  it('opens once, and again only in the browser that opened it', async () => {
    const { path } = await makeLink({ email: 'ann@example.com', name: 'Ann Berg' });
    const browser = supertest.agent(site.server);
    await browser.get(path).expect(200);
    await browser.get(path).expect(200);
    const second = await supertest(site.server).get(path).expect(401);
    assert.match(second.text, /expired/);
    assert.equal(second.headers['set-cookie'], undefined);
    // A session of another link does not open it either.
    const other = supertest.agent(site.server);
    await other.get((await makeLink()).path).expect(200);
    await other.get(path).expect(401);
    // If many taps arrive together, only one opens the page.
    const raced = await makeLink();
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => supertest(site.server).get(raced.path)),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  });

  it('tells nothing about the customer in its address', async () => {
    const { path } = await makeLink({ email: 'ann@example.com', name: 'Ann Berg' });
    const token = new URL(path, 'http://x').searchParams.get('token') ?? '';
    const readable = [token, ...token.split('.').map((part) => Buffer.from(part, 'base64url').toString())];
    // These texts are long enough not to occur by chance in encrypted data.
    for (const text of readable) assert.doesNotMatch(text, /user-1|ann@example|Ann Berg/i);
  });

  it('is revoked with its key, and so are the pages it opened', async () => {
    const own = await site.makeKey();
    const { path } = await makeLink({}, own.key);
    const browser = supertest.agent(site.server);
    const renewUrl = renewUrlOf((await browser.get(path).expect(200)).text);
    await browser.get('/support/abc123').expect(200);
    await browser.post(renewUrl).expect(200);
    await revokeApiKey(site.db.database, 'abc123', own.keyId);
    await browser.get(path).expect(401);
    await browser.get('/support/abc123').expect(401);
    const refused = await browser.post(renewUrl).expect(401);
    assert.equal(refused.body.error.code, 'link_invalid');
  });

  it('starts a session that scripts cannot read and that is valid for one workspace', async () => {
    const { path } = await makeLink();
    const answer = await supertest(site.server).get(path).expect(200);
    const cookie = String(answer.headers['set-cookie']);
    assert.match(cookie, /^st_support=[^;]+; Max-Age=43200; Path=\/support\/abc123; HttpOnly; SameSite=Lax$/);
    const value = cookie.split(';')[0] ?? '';
    const renewUrl = renewUrlOf(answer.text);
    await supertest(site.server).post(renewUrl).set('Cookie', value).expect(200);
    await supertest(site.server).post(renewUrl.replace('abc123', 'other1')).set('Cookie', value).expect(401);
    await supertest(site.server).post(renewUrl).expect(401);
  });

  it('ends the session twelve hours after the link, whatever the address', async () => {
    const opened = await supertest(site.server)
      .get((await makeLink()).path)
      .expect(200);
    const value = String(opened.headers['set-cookie']).split(';')[0] ?? '';
    for (const query of ['token=a&token=b', 'token[]=a']) {
      const page = await supertest(site.server)
        .get(`/support/abc123?${query}`)
        .set('Cookie', value)
        .expect(200);
      assert.equal(page.headers['set-cookie'], undefined, query);
    }
    const { path } = await makeLink();
    const head = await supertest(site.server).head(path).set('Cookie', value).expect(200);
    assert.equal(head.headers['set-cookie'], undefined);
  });

  it('keeps two customers apart who open their pages in one browser', async () => {
    const browser = supertest.agent(site.server);
    const first = renewUrlOf((await browser.get((await makeLink()).path).expect(200)).text);
    const second = renewUrlOf(
      (await browser.get((await makeLink({ user_id: 'web-1' })).path).expect(200)).text,
    );
    assert.doesNotMatch(first, /user-1/);
    const refused = await browser.post(first).expect(401);
    assert.equal(refused.body.error.code, 'link_invalid');
    await browser.post('/support/abc123/token').expect(401);
    const { body } = await browser.post(second).expect(200);
    const clockTimestamp = Math.floor(site.clock.nowMs / 1_000);
    assert.equal(Object(jwt.verify(body.token, MESSENGER_SECRET, { clockTimestamp })).user_id, 'web-1');
  });

  it('renews the token of a page after its customer opened another', async () => {
    const browser = supertest.agent(site.server);
    const first = renewUrlOf((await browser.get((await makeLink()).path).expect(200)).text);
    const second = renewUrlOf((await browser.get((await makeLink()).path).expect(200)).text);
    for (const url of [first, second]) await browser.post(url).expect(200);
    const others = await site.makeKey();
    await browser.get((await makeLink({}, others.key)).path).expect(200);
    await browser.post(first).expect(401);
  });

  it('shows the latest events and folds the rest', async () => {
    await addCustomer(
      site,
      ['loyal-1'],
      Array.from({ length: 14 }, (_, month) => ({
        id: randomUUID(),
        type: month === 0 ? 'INITIAL_PURCHASE' : 'RENEWAL',
        event_timestamp_ms: site.clock.nowMs - (14 - month) * 30 * DAY_MS,
        purchased_at_ms: site.clock.nowMs - (14 - month) * 30 * DAY_MS,
        expiration_at_ms: site.clock.nowMs - (13 - month) * 30 * DAY_MS + 1_000,
        transaction_id: `loyal${month}`,
      })),
    );
    const { text } = await supertest(site.server)
      .get((await makeLink({ user_id: 'loyal-1' })).path)
      .expect(200);
    const [shown = '', folded = ''] = text.split('<details>');
    assert.equal(shown.match(/<time /g)?.length, 10);
    assert.match(folded, /<summary>Older \(4\)<\/summary>/);
    assert.equal(folded.match(/<time /g)?.length, 4);
  });

  it('shows no character that reorders the text around a name', async () => {
    await addCustomer(site, ['reordered'], [{ id: randomUUID(), entitlement_ids: ['Pro\u202eorP'] }]);
    const { path } = await makeLink({ user_id: 'reordered' });
    const { text } = await supertest(site.server).get(path).expect(200);
    assert.match(text, /ProorP/);
    assert.doesNotMatch(text, /\u202e/);
  });

  it('takes a language tag, else the browser’s language', async () => {
    assert.match(
      (await supertest(site.server).get((await makeLink({ locale: 'pt_BR' })).path)).text,
      /<html lang="pt">[\s\S]*Sua assinatura/,
    );
    // A locale as phones with a 24-hour clock name it.
    const { path } = await makeLink({ locale: 'de-DE-u-hc-h23-ca-gregory' });
    assert.match((await supertest(site.server).get(path)).text, /<html lang="de">/);
    const french = await supertest(site.server)
      .get((await makeLink()).path)
      .set('Accept-Language', 'fr-CA,en;q=0.5');
    assert.match(french.text, /Votre abonnement/);
    const answer = await site
      .post('/api/messenger/support-link', key, { user_id: 'user-1', locale: 'German!' })
      .expect(400);
    assert.equal(answer.body.error.code, 'locale_invalid');
  });

  it('shows the subscription without the Messenger when its secret is gone', async () => {
    const { path } = await makeLink();
    await setMessengerSecret(site.db.database, 'abc123', null);
    const page = await supertest(site.server).get(path).expect(200);
    assert.match(page.text, /Pro is cancelled/);
    assert.match(page.text, /data-jwt=""/);
    const encrypted = secrets.encrypt(MESSENGER_SECRET, secretLocation.messengerSecret('abc123'));
    await setMessengerSecret(site.db.database, 'abc123', encrypted);
  });

  it('explains an outage in the language of the customer, without a link to the settings', async (t) => {
    const { path } = await makeLink();
    const outage = t.mock.method(site.app.database, 'query', async () => {
      throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
    });
    const page = await supertest(site.server).get(path).set('Accept-Language', 'de').expect(503);
    assert.equal(page.headers['retry-after'], '5');
    assert.equal(page.headers['cache-control'], 'no-store');
    assert.match(page.text, /<html lang="de">[\s\S]*Ihr Abonnement kann gerade nicht angezeigt werden/);
    assert.doesNotMatch(page.text, /settings/);
    const machine = await supertest(site.server).get(path).set('Accept', 'application/json').expect(503);
    assert.equal(machine.body.error.code, 'database_unavailable');
    outage.mock.restore();
    await supertest(site.server).get(path).expect(200);
  });

  it('can be loaded again when reading the customer failed after the link was used', async (t) => {
    const { path } = await makeLink();
    const outage = t.mock.method(site.app.readDatabase, 'query', async () => {
      throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
    });
    const failed = await supertest(site.server).get(path).set('Accept', 'text/html').expect(503);
    outage.mock.restore();
    const [cookie = ''] = [failed.headers['set-cookie'] ?? []].flat();
    await supertest(site.server).get(path).expect(401);
    await supertest(site.server)
      .get(path)
      .set('Cookie', cookie.split(';')[0] ?? '')
      .expect(200);
  });

  it('neither names nor links a shop outside the app stores', async () => {
    const page = await supertest(site.server)
      .get((await makeLink({ user_id: 'web-1' })).path)
      .expect(200);
    const main = page.text.slice(page.text.indexOf('<main'));
    assert.doesNotMatch(main, /stripe|checkout|upgrade|https?:/i);
    assert.match(main, /write to us/);
    // The name of the product itself stays.
    assert.match(main, /You subscribed <small>Pro monthly · \$9\.99<\/small>/);
    assert.match(main, /<dd>On the web<\/dd>/);
  });

  it('says nothing of where a purchase was made when its store is unknown', async () => {
    for (const [id, store] of [
      ['new-store', 'GALAXY_STORE'],
      ['no-store', undefined],
    ]) {
      await addCustomer(
        site,
        [String(id)],
        [{ store, event_timestamp_ms: site.clock.nowMs, expiration_at_ms: site.clock.nowMs + DAY_MS }],
      );
      const page = await supertest(site.server)
        .get((await makeLink({ user_id: id })).path)
        .expect(200);
      assert.match(page.text, /<h2>Pro<\/h2>/);
      assert.doesNotMatch(page.text, /On the web|Galaxy/i);
    }
  });
});

/** What the fake of Intercom's widget records. */
interface Recorded {
  settings: Record<string, unknown>;
  calls: unknown[][];
}

/** Intercom's own script boots from `intercomSettings`, then runs the queued calls; this one records both. */
const WIDGET = `(() => {
  const queued = window.Intercom.q ?? [];
  const record = (...args) => {
    const calls = JSON.parse(sessionStorage.getItem('calls') ?? '[]');
    sessionStorage.setItem('calls', JSON.stringify([...calls, args]));
  };
  sessionStorage.setItem('settings', JSON.stringify(window.intercomSettings));
  window.Intercom = record;
  for (const args of queued) record(...args);
})();`;

describe('the page in a browser', () => {
  let browser: Browser;
  before(async () => {
    browser = await sharedBrowser();
  });
  after(async () => {
    await browser?.close();
  });

  async function openPage(path: string, options: BrowserContextOptions = {}, time = site.clock.nowMs) {
    const context = await browser.newContext(options);
    const asked: string[] = [];
    const complaints: string[] = [];
    await context.route('https://widget.intercom.io/**', (route) => {
      asked.push(route.request().url());
      return route.fulfill({ contentType: 'text/javascript', body: WIDGET });
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.clock.install({ time });
    await page.goto(`${site.url}${path}`);
    return { context, page, asked, complaints };
  }

  const recorded = async (page: Page): Promise<Recorded | null> =>
    page.evaluate(() => {
      const settings = sessionStorage.getItem('settings');
      const calls = JSON.parse(sessionStorage.getItem('calls') ?? '[]') as unknown[][];
      return settings === null ? null : { settings: JSON.parse(settings), calls };
    });

  function claimsOf(token: unknown): Record<string, unknown> {
    const clockTimestamp = Math.floor(site.clock.nowMs / 1_000);
    return jwt.verify(String(token), MESSENGER_SECRET, { algorithms: ['HS256'], clockTimestamp }) as Record<
      string,
      unknown
    >;
  }

  it('boots the Messenger for its customer, renews the token in time, and shuts down on leaving', async () => {
    const { path } = await makeLink({ email: 'a@example.com', name: 'Ann Berg' });
    const { page, asked, complaints, context } = await openPage(path);
    const boot = await until(() => recorded(page), 'the Messenger');
    assert.deepEqual(asked, ['https://widget.intercom.io/widget/abc123']);
    const { intercom_user_jwt, ...settings } = boot.settings;
    assert.deepEqual(settings, {
      app_id: 'abc123',
      api_base: 'https://api-iam.eu.intercom.io',
      installation_type: 'npm-package',
    });
    const claims = claimsOf(intercom_user_jwt);
    assert.equal(claims.user_id, 'user-1');
    assert.equal(claims.email, 'a@example.com');
    assert.equal(claims.name, 'Ann Berg');
    assert.equal(claims.subscription_status, 'cancelled');

    // The credential is removed from the URL before Intercom can read it; a reload still works.
    assert.equal(new URL(page.url()).search, '');
    await page.getByRole('button', { name: 'Write to us' }).click();
    await until(
      async () => (await recorded(page))?.calls.some(([name]) => name === 'show'),
      'the open Messenger',
    );

    const before = site.clock.nowMs;
    site.clock.nowMs = before + 114 * 60_000;
    await page.clock.fastForward(114 * 60_000);
    assert.equal(
      (await recorded(page))?.calls.some(([name]) => name === 'update'),
      false,
    );
    site.clock.nowMs = before + 116 * 60_000;
    await page.clock.fastForward(2 * 60_000);
    const update = await until(
      async () => (await recorded(page))?.calls.find(([name]) => name === 'update'),
      'a renewed token',
    );
    const renewed = update[1] as Record<string, unknown>;
    assert.deepEqual(Object.keys(renewed), ['intercom_user_jwt']);
    assert.equal(claimsOf(renewed.intercom_user_jwt).exp, Math.floor(site.clock.nowMs / 1_000) + 7_200);

    // Nothing secret is anywhere in the browser.
    const inBrowser = await page.evaluate(
      () =>
        document.documentElement.outerHTML +
        JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]),
    );
    assert.doesNotMatch(inBrowser, KEY_PATTERN);
    for (const secret of [MESSENGER_SECRET, 'st_support']) {
      assert.ok(!inBrowser.includes(secret), secret);
    }

    await page.goto(`${site.url}/assets/support.css`);
    const last = (await recorded(page))?.calls.at(-1);
    assert.deepEqual(last, ['shutdown']);
    site.clock.nowMs = before;
    assert.deepEqual(complaints, []);
    await context.close();
  });

  it('gives its scripts no hold of a page of the settings that they open', async () => {
    const { page, context } = await openPage((await makeLink()).path);
    const popup = context.waitForEvent('page');
    await page.evaluate("window.opened = open('/settings')");
    // The settings are not mounted here, but every page other than the support page has their headers.
    await (await popup).getByRole('heading', { name: 'Page not found' }).waitFor();
    assert.equal(await page.evaluate('opened.closed || opened.document.body.innerText'), true);
    await context.close();
  });

  it('renews the token at the same pace on a device whose clock is hours ahead or behind', async () => {
    const { nowMs } = site.clock;
    for (const wrongByMs of [-5 * 3_600_000, 5 * 3_600_000]) {
      const { path } = await makeLink();
      const { page, context } = await openPage(path, {}, nowMs + wrongByMs);
      const updates = async () => (await recorded(page))?.calls.filter(([name]) => name === 'update').length;
      await until(() => recorded(page), 'the Messenger');
      for (let hour = 1; hour <= 3; hour += 1) {
        await page.clock.fastForward(114 * 60_000);
        assert.equal(await updates(), hour - 1);
        const answered = page.waitForResponse((response) => response.url().includes('/token'));
        await page.clock.fastForward(2 * 60_000);
        await answered;
        await until(async () => (await updates()) === hour, 'a renewed token');
      }
      await context.close();
    }
  });

  it('uses the SDK’s own name for Australia', async () => {
    const { key: others } = await site.makeKey('messenger', 'other1');
    const { path } = await makeLink({}, others);
    const { page, context, asked } = await openPage(path);
    const boot = await until(() => recorded(page), 'the Messenger');
    assert.deepEqual(asked, ['https://widget.intercom.io/widget/other1']);
    assert.equal(boot.settings.api_base, 'https://api-iam.au.intercom.io');
    await context.close();
  });

  it('closes the chat when its key is revoked, and says what to do', async () => {
    const own = await site.makeKey();
    const { path } = await makeLink({}, own.key);
    const { page, context } = await openPage(path);
    await until(() => recorded(page), 'the Messenger');
    await revokeApiKey(site.db.database, 'abc123', own.keyId);
    await page.clock.fastForward(116 * 60_000);
    await page.getByRole('alert').getByText('go back to the app').waitFor();
    assert.deepEqual((await recorded(page))?.calls.at(-1), ['shutdown']);
    assert.equal(await page.getByRole('button', { name: 'Write to us' }).count(), 0);
    await context.close();
  });

  it('says quietly when the chat cannot be loaded', async () => {
    const { path } = await makeLink();
    const context = await browser.newContext();
    await context.route('https://widget.intercom.io/**', (route) => route.abort());
    const page = await context.newPage();
    await page.goto(`${site.url}${path}`);
    await page.getByRole('status').getByText('could not be loaded').waitFor();
    assert.equal(await page.getByRole('alert').count(), 0);
    assert.equal(await page.getByRole('button', { name: 'Write to us' }).count(), 0);
    // The chat comes after everything about the subscription.
    assert.equal(await page.locator('main > :last-child').getAttribute('id'), 'chat');
    await page.getByText('Pro is cancelled.').waitFor();
    await context.close();
  });

  it('is accessible at phone and desktop width, in light and dark', async () => {
    const bought = (plan: string) => ({
      id: randomUUID(),
      transaction_id: plan,
      original_transaction_id: plan,
    });
    await addCustomer(site, ['has-it-twice'], ['a', 'b'].map(bought));
    const { path } = await makeLink({ user_id: 'has-it-twice' });
    const { page, context } = await openPage(path);
    await assertAccessible(page, 'support');
    await page.goto(`${site.url}/support/abc123?token=expired`);
    await page.locator('main').waitFor();
    await assertAccessible(page, 'support expired');
    await context.close();
  });
});
