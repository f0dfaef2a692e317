/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import jwt from 'jsonwebtoken';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import supertest from 'supertest';
import { revokeApiKey, setMessengerSecret } from '../../src/messenger/store.ts';
import { readSupportLink, signSupportLink, signSupportSession } from '../../src/messenger/support-link.ts';
import { type Listening, listenOnLoopback } from '../../src/simulator/listen.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';

import { launchBrowser } from '../support/browser.ts';
import { DAY_MS } from '../support/events.ts';
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

/** Where an opened page renews its token. */
function renewUrlOf(html: string): string {
  return /data-renew-url="([^"]+)"/.exec(html)?.[1] ?? '';
}

describe('the link', () => {
  it('opens the page of its own customer for ten minutes', async () => {
    const { path, expiresAtS } = await makeLink();
    assert.equal(expiresAtS, Math.floor(site.clock.nowMs / 1_000) + 600);
    const page = await supertest(site.app).get(path).expect(200);
    assert.match(page.text, /Pro is cancelled\./);
    assert.match(page.text, /turned off renewal/);
    assert.equal(page.headers['cache-control'], 'no-store');
    assert.equal(page.headers['referrer-policy'], 'no-referrer');
    assert.doesNotMatch(page.text, KEY_PATTERN);
    assert.ok(!page.text.includes(MESSENGER_SECRET) && !page.text.includes('test-link-key'));
    const { nowMs } = site.clock;
    site.clock.nowMs = nowMs + 601_000;
    const late = await supertest(site.app).get(path).expect(401);
    assert.match(late.text, /expired/);
    const machine = await supertest(site.app).get(path).set('Accept', 'application/json').expect(401);
    assert.equal(machine.body.error.code, 'link_expired');
    site.clock.nowMs = nowMs;
  });

  it('is refused when forged, of another workspace, or made for something else', async () => {
    const { nowMs } = site.clock;
    const user = { userId: 'user-1', email: null, name: null };
    const grant = { workspaceId: 'abc123', keyId, user, locale: null };
    const { path } = await makeLink();
    const good = new URL(path, 'http://x').searchParams.get('token') ?? '';
    const [head, claims = '', signature] = good.split('.');
    const other = Buffer.from(
      JSON.stringify({ ...JSON.parse(Buffer.from(claims, 'base64url').toString()), sub: 'web-1' }),
    ).toString('base64url');
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    const forged = [
      '',
      'nonsense',
      `${head}.${other}.${signature}`,
      `${none}.${claims}.`,
      signSupportLink('another key', grant, nowMs).token,
      signSupportSession('test-link-key', grant, nowMs).token,
      signSupportLink('test-link-key', { ...grant, keyId: randomUUID() }, nowMs).token,
      jwt.sign({ user_id: 'user-1' }, MESSENGER_SECRET),
    ];
    for (const token of forged) {
      const answer = await supertest(site.app).get(`/support/abc123?token=${token}`).expect(401);
      assert.match(answer.text, /cannot be opened/);
      assert.equal(answer.headers['set-cookie'], undefined);
    }
    assert.equal(readSupportLink('test-link-key', good, 'abc123', nowMs).user.userId, 'user-1');
    assert.throws(() => readSupportLink('test-link-key', good, 'other1', nowMs), { code: 'link_invalid' });
    await supertest(site.app).get(path.replace('abc123', 'other1')).expect(401);
    await supertest(site.app).get(`${path}&token=${good}`).expect(401);
    await supertest(site.app).get('/support/abc123').expect(401);
    // A key of another workspace makes links for that workspace alone.
    const others = await site.makeKey('messenger', 'other1');
    const theirs = await makeLink({}, others.key);
    assert.match(theirs.path, /^\/support\/other1\?/);
    assert.match((await supertest(site.app).get(theirs.path).expect(200)).text, /You have no subscription/);
  });

  it('ends with its key, and so do the pages that were opened with it', async () => {
    const own = await site.makeKey();
    const { path } = await makeLink({}, own.key);
    const browser = supertest.agent(site.app);
    const renewUrl = renewUrlOf((await browser.get(path).expect(200)).text);
    await browser.get('/support/abc123').expect(200);
    await browser.post(renewUrl).expect(200);
    await revokeApiKey(site.db.database, 'abc123', own.keyId);
    await browser.get(path).expect(401);
    await browser.get('/support/abc123').expect(401);
    const refused = await browser.post(renewUrl).expect(401);
    assert.equal(refused.body.error.code, 'link_invalid');
  });

  it('keeps its session out of reach of scripts, and for one workspace', async () => {
    const { path } = await makeLink();
    const answer = await supertest(site.app).get(path).expect(200);
    const cookie = String(answer.headers['set-cookie']);
    assert.match(cookie, /^st_support=[^;]+; Max-Age=43200; Path=\/support\/abc123; HttpOnly; SameSite=Lax$/);
    const value = cookie.split(';')[0] ?? '';
    const renewUrl = renewUrlOf(answer.text);
    await supertest(site.app).post(renewUrl).set('Cookie', value).expect(200);
    await supertest(site.app).post(renewUrl.replace('abc123', 'other1')).set('Cookie', value).expect(401);
    await supertest(site.app).post(renewUrl).expect(401);
  });

  it('never gives one customer’s page the identity of another who opened theirs in the same browser', async () => {
    const browser = supertest.agent(site.app);
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

  it('shows the latest events, and the rest behind a word that opens them', async () => {
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
    const { text } = await supertest(site.app)
      .get((await makeLink({ user_id: 'loyal-1' })).path)
      .expect(200);
    const [shown = '', folded = ''] = text.split('<details>');
    assert.equal(shown.match(/<time /g)?.length, 10);
    assert.match(folded, /<summary>Older \(4\)<\/summary>/);
    assert.equal(folded.match(/<time /g)?.length, 4);
  });

  it('asks for a language as tags are written', async () => {
    assert.match(
      (await supertest(site.app).get((await makeLink({ locale: 'pt_BR' })).path)).text,
      /<html lang="pt">[\s\S]*Sua assinatura/,
    );
    const french = await supertest(site.app)
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
    const page = await supertest(site.app).get(path).expect(200);
    assert.match(page.text, /Pro is cancelled/);
    assert.match(page.text, /data-jwt=""/);
    const sealed = secrets.encrypt(MESSENGER_SECRET, secretLocation.messengerSecret('abc123'));
    await setMessengerSecret(site.db.database, 'abc123', sealed);
  });

  it('names and links no shop outside the app stores', async () => {
    const page = await supertest(site.app)
      .get((await makeLink({ user_id: 'web-1' })).path)
      .expect(200);
    const main = page.text.slice(page.text.indexOf('<main'));
    assert.doesNotMatch(main, /stripe|checkout|upgrade|https?:/i);
    assert.match(main, /write to us/);
    // What was bought is no shop's.
    assert.match(main, /Subscribed <small>Pro monthly · \$9\.99<\/small>/);
  });
});

/** What the stand-in for Intercom's widget host writes down. */
interface Recorded {
  settings: Record<string, unknown>;
  calls: unknown[][];
}

/** Intercom's own script boots from `intercomSettings`, then takes what was queued; this one writes it down. */
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
  let listening: Listening;
  before(async () => {
    listening = await listenOnLoopback(site.app);
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
    await listening?.close();
  });

  async function openPage(path: string, options: BrowserContextOptions = {}) {
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
    await page.clock.install({ time: site.clock.nowMs });
    await page.goto(`${listening.url}${path}`);
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

    // The credential is gone from the address before Intercom can read it; a reload still works.
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
    for (const secret of [MESSENGER_SECRET, 'test-link-key', 'st_support']) {
      assert.ok(!inBrowser.includes(secret), secret);
    }

    await page.goto(`${listening.url}/assets/support.css`);
    const last = (await recorded(page))?.calls.at(-1);
    assert.deepEqual(last, ['shutdown']);
    site.clock.nowMs = before;
    assert.deepEqual(complaints, []);
    await context.close();
  });

  it('tells Australia by the SDK’s own name for it', async () => {
    const { key: others } = await site.makeKey('messenger', 'other1');
    const { path } = await makeLink({}, others);
    const { page, context, asked } = await openPage(path);
    const boot = await until(() => recorded(page), 'the Messenger');
    assert.deepEqual(asked, ['https://widget.intercom.io/widget/other1']);
    assert.equal(boot.settings.api_base, 'https://api-iam.au.intercom.io');
    await context.close();
  });

  it('ends the conversation when its key is revoked, and says what to do', async () => {
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

  it('says so when the chat cannot be loaded', async () => {
    const { path } = await makeLink();
    const context = await browser.newContext();
    await context.route('https://widget.intercom.io/**', (route) => route.abort());
    const page = await context.newPage();
    await page.goto(`${listening.url}${path}`);
    await page.getByRole('alert').getByText('could not be loaded').waitFor();
    await page.getByText('Pro is cancelled.').waitFor();
    await context.close();
  });

  it('is readable for everybody, on a phone and a desk, in the light and in the dark', async () => {
    const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [390, 1_280]) {
        const { path } = await makeLink();
        // The policy would keep axe out; that the page obeys it is shown above.
        const { page, context } = await openPage(path, {
          colorScheme,
          viewport: { width, height: 844 },
          bypassCSP: true,
        });
        await page.evaluate(axe);
        const violations = await page.evaluate(async () => {
          const runner = (
            globalThis as unknown as {
              axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
            }
          ).axe;
          return (await runner.run()).violations.map((each) => `${each.id}: ${each.nodes[0]?.html}`);
        });
        assert.deepEqual(violations, [], `${colorScheme} at ${width}`);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
        const shots = process.env.SCREENSHOTS;
        if (shots)
          await page.screenshot({ path: `${shots}/support-${colorScheme}-${width}.png`, fullPage: true });
        await context.close();
      }
    }
  });
});
