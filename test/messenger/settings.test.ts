/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import supertest from 'supertest';
import { findKeyHolder, parseApiKey } from '../../src/messenger/api-keys.ts';
import { snippets } from '../../src/messenger/snippets.ts';
import { deleteAccess, eraseUninstalled, readWorkspace } from '../../src/workspaces/repository.ts';
import { createSecretBox, rotateKeys, secretLocation } from '../../src/workspaces/secrets.ts';
import { assertAccessible } from '../support/accessibility.ts';
import { installApp, sharedBrowser } from '../support/browser.ts';
import { createSite, csrfIn, type Site } from '../workspaces/support.ts';

type Agent = ReturnType<typeof supertest.agent>;

const SECRET = 'messenger_secret_of_the_workspace';

let site: Site;
let browser: Agent;
let csrf: string;
before(async () => {
  site = await createSite({ listen: true });
  browser = await site.signedIn('abc123');
  csrf = csrfIn((await browser.get('/settings/messenger')).text);
});
after(() => site.close());

const send = (path: string, form: Record<string, unknown>, by = browser, token = csrf): supertest.Test =>
  by
    .post(`/settings/messenger${path}`)
    .type('form')
    .send({ _csrf: token, ...form });

async function storedSecret(workspaceId = 'abc123'): Promise<string | null> {
  const [row] = await site.db.database.query<{ messenger_secret: string | null }>(
    'select messenger_secret from workspaces where workspace_id = $1',
    [workspaceId],
  );
  return row?.messenger_secret ?? null;
}

async function makeKey(name: string, kind = 'messenger'): Promise<string> {
  const page = await send('/keys', { name, kind }).expect(200);
  const key = /data-testid="made-key">([^<]+)</.exec(page.text)?.[1];
  assert.ok(key, 'the key is shown');
  return key;
}

it('stores the Messenger secret encrypted and never shows it', async () => {
  assert.match((await browser.get('/settings/messenger')).text, /Not set/);
  await send('/secret', { messenger_secret: SECRET }).expect(303);
  const page = await browser.get('/settings/messenger?done=messenger_secret_saved').expect(200);
  assert.match(page.text, /Stored\. Identity tokens are signed with it/);
  assert.ok(!page.text.includes(SECRET));
  const encrypted = await storedSecret();
  assert.ok(encrypted && !encrypted.includes(SECRET));
  assert.equal(site.app.secrets.decrypt(encrypted, secretLocation.messengerSecret('abc123')), SECRET);
  assert.equal(await storedSecret('other1'), null);

  const pasted = [`${SECRET}\u200b`, `\u200e${SECRET}`, `“${SECRET}”`];
  for (const wrong of ['', 'short', 'two words that are long enough', 'x'.repeat(600), ...pasted]) {
    await send('/secret', { messenger_secret: wrong }).expect(422);
  }
  assert.equal(await storedSecret(), encrypted);
  await supertest(site.server)
    .post('/settings/messenger/secret')
    .type('form')
    .send({ messenger_secret: 'x' })
    .expect(401);
  await send('/secret', { messenger_secret: 'y'.repeat(40) }, browser, 'wrong').expect(403);
  assert.equal(await storedSecret(), encrypted);
});

it('encrypts the secret again with the first key', async () => {
  const [old] = site.app.config.encryptionKeys;
  assert.ok(old);
  const box = createSecretBox([Buffer.alloc(32, 7), old]);
  assert.ok((await rotateKeys(site.db.database, box)).rotated >= 1);
  const encrypted = (await storedSecret()) ?? '';
  assert.equal(
    createSecretBox([Buffer.alloc(32, 7)]).decrypt(encrypted, secretLocation.messengerSecret('abc123')),
    SECRET,
  );
  await rotateKeys(site.db.database, createSecretBox([old, Buffer.alloc(32, 7)]));
});

it('creates keys that are shown once, stored as hashes, listed and revoked', async () => {
  const key = await makeKey('Production <backend>');
  const fin = await makeKey('Fin', 'fin');
  assert.match(key, /^stm_abc123_[0-9a-f]{64}$/);
  assert.match(fin, /^stf_abc123_[0-9a-f]{64}$/);
  const dump = JSON.stringify(await site.db.database.query('select * from api_keys'));
  const audit = JSON.stringify(await site.db.database.query('select * from audit_log'));
  for (const secret of [key, fin]) {
    assert.ok(!dump.includes(secret) && !audit.includes(secret));
  }
  const page = (await browser.get('/settings/messenger')).text;
  assert.ok(!page.includes(key));
  assert.match(page, /Production &lt;backend&gt;/);
  assert.ok(page.includes(`${key.slice(0, 'stm_abc123_'.length + 6)}…`));
  assert.match(page, /Never/);

  const keyId = /keys\/revoke\?key=([\w-]+)/.exec(page)?.[1] ?? '';
  const others = await site.signedIn('other1');
  const otherCsrf = csrfIn((await others.get('/settings/messenger')).text);
  const confirmed = 'yes';
  await send('/keys/revoke', { key: keyId, confirmed }, others, otherCsrf).expect(404);
  await send('/keys/revoke', { key: 'no-id', confirmed }).expect(404);
  await send('/keys/revoke', { key: keyId }).expect(422);
  await send('/keys/revoke', { key: keyId, confirmed }).expect(303);
  await send('/keys/revoke', { key: keyId, confirmed }).expect(404);
  const left = (await browser.get('/settings/messenger')).text;
  assert.match(left, /Revoked /);
  assert.match(left, /keys\/revoke\?key=/, 'the other key is still in use');
  const log = (await browser.get('/settings/audit')).text;
  assert.match(log, /Created an API key/);
  assert.match(log, /Revoked an API key/);

  for (const name of ['', '\u200b']) await send('/keys', { name, kind: 'messenger' }).expect(422);
  await send('/keys', { name: 'x', kind: 'everything' }).expect(422);
  await send('/keys', { name: 'x'.repeat(81), kind: 'fin' }).expect(422);
});

it('has code for every platform, with the same ID for RevenueCat and Intercom', async () => {
  const all = snippets({ publicUrl: 'https://app.test', workspaceId: 'abc123', region: 'AU' });
  const page = (await browser.get('/settings/messenger')).text;
  for (const { id, platform, code } of all) {
    assert.ok(page.includes(`id="snippet-${id}"`), platform);
    assert.doesNotMatch(code, /st[mf]_\w+/);
  }
  const logins: Record<string, readonly RegExp[]> = {
    web: [/appUserId: userId/, /intercom_user_jwt: token/, /region: 'ap'/, /app_id: 'abc123'/],
    ios: [/logIn\(userId\)/, /attributes\.userId = userId/, /setUserJwt\(token\)/],
    android: [/awaitLogIn\(userId\)/, /withUserId\(userId\)/, /setUserJwt/],
    'react-native': [/logIn\(userId\)/, /loginUserWithUserAttributes\(\{ userId \}\)/, /setUserJwt\(token\)/],
    flutter: [/logIn\(userId\)/, /loginIdentifiedUser\(userId: userId\)/, /setUserJwt/],
    backend: [/https:\/\/app\.test\/api\/messenger\/token/],
    'support-page': [/https:\/\/app\.test\/api\/messenger\/support-link/],
  };
  assert.deepEqual(all.map(({ id }) => id).sort(), Object.keys(logins).sort());
  for (const { id, code } of all) for (const pattern of logins[id] ?? []) assert.match(code, pattern, id);
});

it('has examples for phones in which a token that arrives after signing out signs nobody in', () => {
  const phones = snippets({ publicUrl: 'https://app.test', workspaceId: 'abc123', region: 'EU' }).filter(
    ({ code }) => code.includes('setUserJwt'),
  );
  assert.equal(phones.length, 4);
  for (const { id, code } of phones) {
    const [, ...afterToken] = code.split('messengerToken()');
    assert.equal(afterToken.length, 2, id);
    for (const rest of afterToken) assert.match(rest, /^;?\s+(?:if|guard) \(?signOuts [!=]==? before\b/, id);
    assert.match(code, /signOuts(?: \+= 1|\+\+);?\s+.*logout\(\)/, id);
  }
});

it('has a web example that renews the token hourly, retries each minute, and stops after signing out', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const web = snippets({ publicUrl: 'https://app.test', workspaceId: 'abc123', region: 'EU' }).find(
    ({ id }) => id === 'web',
  );
  const calls: string[] = [];
  let status = 200;
  const globals = {
    fetch: async () => {
      calls.push('fetch');
      return {
        ok: status === 200,
        status,
        json: async () => (status === 200 ? { token: 't' } : { error: {} }),
      };
    },
    Intercom: () => calls.push('boot'),
    update: () => calls.push('update'),
    shutdown: () => calls.push('shutdown'),
    Purchases: { configure() {} },
    REVENUECAT_PUBLIC_KEY: 'k',
  };
  const code = String(web?.code)
    .replaceAll(/^import .*$/gm, '')
    .replaceAll('export ', '');
  const example = new Function(...Object.keys(globals), `${code}; return { onSignIn, onSignOut };`)(
    ...Object.values(globals),
  );
  const pass = async (minutes: number): Promise<string> => {
    calls.length = 0;
    t.mock.timers.tick(minutes * 60_000);
    await new Promise((resolve) => setImmediate(resolve));
    return calls.join();
  };

  await example.onSignIn('ann');
  assert.equal(calls.join(), 'fetch,boot');
  assert.equal(await pass(59), '');
  assert.equal(await pass(1), 'fetch,update');
  status = 503;
  assert.equal(await pass(60), 'fetch');
  assert.equal(await pass(1), 'fetch');
  status = 200;
  assert.equal(await pass(1), 'fetch,update');
  assert.equal(await pass(59), '');
  t.mock.timers.tick(60_000);
  example.onSignOut();
  assert.equal(await pass(600), '');

  const isLate = example.onSignIn('ann');
  example.onSignOut();
  calls.length = 0;
  await isLate;
  assert.equal(calls.join(), '', 'a token that arrives after signing out signs nobody in');
  assert.equal(await pass(600), '');
});

it('works in a browser: a key is created and copied, and axe finds nothing', async () => {
  const chromium = await sharedBrowser();
  try {
    const context = await chromium.newContext({
      bypassCSP: true,
      reducedMotion: 'reduce',
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    await installApp(page, site.url, 'abc123');
    await page.goto(`${site.url}/settings/messenger`);
    await page.getByLabel('Name of the new key').fill('Browser');
    await page.getByLabel('What it is for').selectOption('fin');
    await page.getByRole('button', { name: 'Create key' }).click();
    const shown = await page.getByTestId('made-key').textContent();
    await page.getByRole('button', { name: 'Copy', exact: true }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), shown);
    await page.getByText('React Native', { exact: true }).click();
    await assertAccessible(page, 'settings messenger key');
    await page.reload();
    assert.equal(await page.getByTestId('made-key').count(), 0, 'a reload makes no other key');
    assert.equal(await page.getByRole('row', { name: /^Browser / }).count(), 1);
  } finally {
    await chromium.close();
  }
});

it('removes the secret and keys on uninstall, and the rest after the grace period', async () => {
  const key = await makeKey('Last');
  const named = parseApiKey(key);
  assert.ok(named && (await findKeyHolder(site.db.database, 'abc123', { hash: named.hash })));
  const workspace = await readWorkspace(site.db.database, 'abc123');
  assert.ok(workspace && (await deleteAccess(site.db.database, workspace)));
  assert.equal(await storedSecret(), null);
  assert.equal(await findKeyHolder(site.db.database, 'abc123', { hash: named.hash }), null);
  await site.db.database.query(
    `update workspaces set uninstalled_at = now() - interval '31 days' where workspace_id = 'abc123'`,
  );
  assert.deepEqual(await eraseUninstalled(site.db.database, 30), ['abc123']);
});
