import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { freePort } from '../../src/simulator/listen.ts';
import { DAY_MS } from '../../src/time.ts';
import { installApp, sharedBrowser } from '../support/browser.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, WORKSPACE_ID } from '../support/world.ts';

let product: Product;
let browser: Browser;
let url: string;

before(async () => {
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  [product, browser] = await Promise.all([
    createProduct({ bare: true, environment: { PORT: String(port), PUBLIC_URL: url } }),
    sharedBrowser(),
  ]);
  product.intercom.state.uninstallUrl = `${url}/intercom/uninstall`;
});
after(async () => {
  await browser?.close();
  await product?.close();
});

const healthState = () => product.intercom.state.workspaces.get(WORKSPACE_ID)?.health?.state;

function sendRenewal(appUserId: string, id: string): Promise<unknown> {
  const nowMs = Date.now();
  const event = eventBody({
    id,
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [appUserId],
    event_timestamp_ms: nowMs,
    purchased_at_ms: nowMs,
    expiration_at_ms: nowMs + 30 * DAY_MS,
  });
  return product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, { ...event, type: 'RENEWAL' });
}

const install = (page: Page): Promise<void> => installApp(page, url, WORKSPACE_ID);

test('an admin installs, connects, renames an event, loses a key, and uninstalls', async () => {
  const page = await browser.newPage();
  page.setDefaultTimeout(15_000);
  const apiKey = product.revenueCat.issueKey(REVENUECAT_PROJECT_ID);
  const appUserId = 'customer-1';
  product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: appUserId });
  const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: appUserId });

  await install(page);
  await page.goto(`${url}/settings/revenuecat`);
  await page.getByLabel('Secret API key').fill(apiKey);
  await page.getByRole('button', { name: 'Check and connect' }).click();
  await page.getByRole('heading', { name: 'Test app is connected' }).waitFor();
  const authorization = (await page.locator('code').last().textContent()) ?? '';
  await page.getByRole('link', { name: 'Show the project' }).click();
  await page.getByText('No event yet').waitFor();
  await until(() => healthState() === 'OK', 'Intercom to hear that all is well');

  await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, { ...eventBody(), id: 'test-1', type: 'TEST' });
  await page.getByText('Events arrive').waitFor();

  await page.getByRole('link', { name: 'Events', exact: true }).click();
  await page.getByLabel('Name of Renewal').fill('Renewed again');
  await page.getByRole('button', { name: 'Save events' }).click();
  await page.getByRole('status').getByText('Event names saved').waitFor();
  await sendRenewal(appUserId, 'renewal-1');
  const eventsOf = () =>
    product.intercom.state.events.filter(({ contactId }) => contactId === contact.id).map(({ name }) => name);
  await until(() => eventsOf().length > 0, 'the renewal on the contact');
  assert.deepEqual(eventsOf(), ['Renewed again']);

  const key = product.revenueCat.state.keys.get(apiKey);
  assert.ok(key);
  key.status = 'revoked';
  await sendRenewal(appUserId, 'renewal-2');
  await until(() => healthState() === 'UNHEALTHY', 'Intercom to hear of the key');
  await page.goto(`${url}/settings/revenuecat`);
  await page.getByText('No longer accepted. Replace it below.').waitFor();

  const stored = await everythingStored();
  const token = [...product.intercom.state.tokens.keys()];
  assert.ok(token.length > 0);
  for (const secret of [apiKey, authorization, CLIENT_SECRET, ...token]) {
    assert.ok(secret.length > 10, 'a secret to look for');
    assert.equal(stored.includes(secret), false, 'a secret is stored in clear');
  }

  await page.goto(`${url}/settings/data`);
  await page.getByRole('link', { name: /Uninstall/ }).click();
  await page.getByRole('button', { name: 'Uninstall' }).click();
  await page.getByRole('link', { name: 'Sign in with Intercom' }).waitFor();
  assert.equal(product.intercom.state.workspaces.get(WORKSPACE_ID)?.installed, false);
  const [workspace] = await product.db.database.query<{ access_token: string | null; status: string }>(
    'select access_token, status from workspaces where workspace_id = $1',
    [WORKSPACE_ID],
  );
  assert.deepEqual(workspace, { access_token: null, status: 'uninstalled' });
});

/** What a dump of the database would show, the queue's tables included. */
async function everythingStored(): Promise<string> {
  const { database } = product.db;
  const tables = await database.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
      where table_type = 'BASE TABLE' and table_schema in ('public', 'pgboss')`,
  );
  assert.ok(tables.some(({ name }) => name.startsWith('pgboss.')));
  const parts: string[] = [];
  for (const { name } of tables) {
    const rows = await database.query<{ line: string }>(`select to_jsonb(t)::text as line from ${name} t`);
    parts.push(...rows.map(({ line }) => line));
  }
  return parts.join('\n');
}
