/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { listProjects } from '../../src/workspaces/projects.ts';
import { assertAccessible, bringAxe, tabTo } from '../support/accessibility.ts';
import { installApp, sharedBrowser } from '../support/browser.ts';
import { createSite, type Site } from '../workspaces/support.ts';

const PAGES = [
  '',
  '/revenuecat',
  '/import',
  '/events',
  '/contacts',
  '/use',
  '/card',
  '/grants',
  '/messenger',
  '/deliveries',
  '/audit',
  '/access',
  '/data',
  '/data/uninstall',
];

let site: Site;
let browser: Browser;
let storageState: BrowserContextOptions['storageState'];
before(async () => {
  site = await createSite({ listen: true });
  browser = await sharedBrowser();
});
after(async () => {
  await browser?.close();
  await site.close();
});

async function openTab(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  return page;
}

/** A tab of an admin who has signed in. */
async function openSignedInTab(options: BrowserContextOptions = {}): Promise<Page> {
  if (storageState === undefined) {
    const page = await openTab();
    await install(page);
    storageState = await page.context().storageState();
    await page.context().close();
  }
  return openTab({ ...options, storageState });
}

const install = (page: Page): Promise<void> => installApp(page, site.url, 'abc123');

it('goes from the App Store to the first event without JavaScript', async () => {
  const page = await openTab({ javaScriptEnabled: false });
  await install(page);
  await page.goto(`${site.url}/settings`);
  await page
    .getByRole('link', { name: 'Connect RevenueCat' })
    .or(page.getByRole('link', { name: 'RevenueCat' }))
    .first()
    .click();
  const name = 'Shop without scripts';
  const project = site.revenueCat.addProject({ name });
  await page.getByLabel('Secret API key').fill(site.revenueCat.issueKey(project.id));
  await page.getByRole('button', { name: 'Check and connect' }).click();
  await page.getByRole('heading', { name: `${name} is connected` }).waitFor();
  await page.getByRole('link', { name: 'Show the project' }).click();

  const own = page.locator('article', { has: page.getByRole('heading', { name }) });
  await own.getByText('No event yet').waitFor();
  await site.db.database.query('update projects set last_received_at = now()');
  await page.reload();
  await own.getByText('Events arrive').waitFor();

  await page.getByRole('link', { name: 'Events', exact: true }).click();
  await page.getByLabel('Name of Renewal').fill('Renewed again');
  await page.getByRole('button', { name: 'Save events' }).click();
  await page.getByRole('status').getByText('Event names saved').waitFor();
  assert.equal(await page.getByLabel('Name of Renewal').inputValue(), 'Renewed again');

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('link', { name: 'Sign in with Intercom' }).waitFor();
  await page.context().close();
});

/** An event that was delivered and one that waits, so that pages show more than empty tables. */
async function storeEvents(projectId: string): Promise<void> {
  const { database } = site.db;
  const subscriberId = '00000000-0000-4000-8000-000000000001';
  await database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, pending_events, pending_reason, waiting)
     values ('abc123', $1, $2, 1, 'waiting_for_contact', true)`,
    [projectId, subscriberId],
  );
  for (const id of ['delivered', 'waiting'])
    await database.query(
      `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
       values ('abc123', $1, $2, $3, 'RENEWAL', 'renewal', 1, '{"app_user_id":"user-1"}')`,
      [projectId, id, subscriberId],
    );
  await database.query(
    `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, delivered_at, attempts,
                                   contact_id, sent_name, reason)
     values ('abc123', $2, $1, 'delivered', now(), now() + interval '2 seconds', 1, 'contact-1', 'rc_renewal_event', null),
            ('abc123', $2, $1, 'waiting', now(), null, 0, null, 'rc_renewal_event', 'waiting_for_contact')`,
    [projectId, subscriberId],
  );
  await database.query(
    `insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code)
     values ('abc123', $1, 'delivered', '{"event_name":"rc_renewal_event"}', 202, 'ok')`,
    [subscriberId],
  );
}

it('gets an event that was delivered, one that waits, and a refused webhook', async () => {
  const [project] = await listProjects(site.db.database, 'abc123');
  assert.ok(project);
  await storeEvents(project.projectId);
  await site.db.database.query(
    `update projects set last_refused_at = now() + interval '1 hour', refused_for = 'authorization' where project_id = $1`,
    [project.projectId],
  );
});

const WITH_DATA = [...PAGES.map((path) => `/settings${path}`), '/settings/deliveries/event?id=delivered'];

it('obeys its policy, has no axe finding and fits its screen, on a desktop and a phone, in light and dark', async () => {
  // Without motion, because axe would measure colors in the middle of a transition.
  const page = await openSignedInTab({ reducedMotion: 'reduce' });
  await bringAxe(page);
  let complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  for (const path of [...WITH_DATA, '/', '/help', '/privacy', '/terms']) {
    // The page's policy refuses axe its styles. Only complaints about the page itself count.
    complaints = [];
    await page.goto(`${site.url}${path}`);
    assert.deepEqual(
      complaints.filter((text) => !text.includes('favicon')),
      [],
      path,
    );
    await assertAccessible(page, path);
  }
  await page.context().close();
});

it('fits its screen with names that are one long word', async () => {
  const { database } = site.db;
  const name = 'W'.repeat(200);
  site.intercom.addAdmin('abc123', { id: 'long-1', name, email: 'long@example.com' });
  const page = await openSignedInTab();
  const before = await database.query<{ projectId: string; name: string }>(
    `select project_id as "projectId", name from projects where workspace_id = 'abc123'`,
  );
  await database.query(`update projects set name = $1 where workspace_id = 'abc123'`, [name]);
  await database.query(`update workspaces set name = $1 where workspace_id = 'abc123'`, [name]);
  await database.query(`update sessions set admin = admin || $1 where workspace_id = 'abc123'`, [{ name }]);
  await database.query(`update audit_log set actor = actor || $1 where workspace_id = 'abc123'`, [{ name }]);
  const disconnect = `/revenuecat/disconnect?project=${before[0]?.projectId}`;
  for (const path of [
    '',
    '/revenuecat',
    '/grants',
    '/access',
    '/audit',
    '/data',
    '/data/uninstall',
    disconnect,
  ]) {
    await page.goto(`${site.url}/settings${path}`);
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      const needed = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(needed, width, path);
      const tables = await page
        .locator('.overflow-auto:has(table.stack)')
        .evaluateAll((all) => all.map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth));
      assert.ok(
        tables.every((hidden) => hidden === 0),
        `${path}: nothing of a table is hidden at ${width} px`,
      );
      const signOut = await page.getByRole('button', { name: 'Sign out' }).boundingBox();
      assert.ok(signOut && signOut.height < 40, 'what is next to the names stays on one line');
    }
  }
  for (const { projectId, name: known } of before)
    await database.query(`update projects set name = $2 where workspace_id = 'abc123' and project_id = $1`, [
      projectId,
      known,
    ]);
  await page.context().close();
});

it('shows focus and what is switched on also in forced colors', async () => {
  const page = await openSignedInTab({ forcedColors: 'active' });
  await page.goto(`${site.url}/settings/grants`);
  await tabTo(page, 'Save rules');
  const drawn = await page
    .getByRole('switch')
    .evaluateAll((all) => all.map((each) => getComputedStyle(each).backgroundColor));
  assert.equal(new Set(drawn).size, 2, 'on and off differ');
  await page.context().close();
});

it('shows the default name of each event whole, and what its switch does', async () => {
  const page = await openSignedInTab();
  await page.goto(`${site.url}/settings/events`);
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 });
    const cut = await page.getByLabel(/^Name of /).evaluateAll((fields) =>
      (fields as HTMLInputElement[]).flatMap((field) => {
        field.value = field.placeholder;
        return field.scrollWidth > field.clientWidth ? [field.placeholder] : [];
      }),
    );
    assert.deepEqual(cut, [], `${width} px`);
  }
  const labels = await page
    .locator('td:has(input[role="switch"])')
    .evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell, '::before').content));
  assert.deepEqual([...new Set(labels)], ['"Send: "']);
  await page.context().close();
});

it('shows Home’s chart as a table, too, and what waits with its reason', async () => {
  const page = await openSignedInTab({ javaScriptEnabled: false });
  await page.goto(`${site.url}/settings`);
  await page.locator('svg.chart rect.delivered').waitFor();
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 });
    const sizes = await page.locator('svg.chart text').evaluateAll((texts) =>
      texts.map((text) => {
        const scale = (text as SVGTextElement).getScreenCTM()?.a ?? 0;
        return Number.parseFloat(getComputedStyle(text).fontSize) * scale;
      }),
    );
    assert.ok(Math.min(...sizes) >= 9, `texts of the chart at ${width}: ${sizes} px`);
  }
  await page.getByText('Show as a table').click();
  const today = page.getByRole('row').last();
  assert.deepEqual(await today.getByRole('cell').allTextContents(), ['2', '1', '0']);
  await page.getByText('100 % delivered successfully').waitFor();
  await page.getByText('2 s from webhook to contact').waitFor();
  await page.getByText('No Intercom contact matches this customer yet').waitFor();
  await page.getByRole('button', { name: 'Mark as done: Set up the Messenger' }).click();
  await page.getByRole('status').getByText('Marked as done').waitFor();
  await page.context().close();
});

it('keeps a field that is wrong apart from the next one', async () => {
  const page = await openSignedInTab();
  await page.goto(`${site.url}/settings/grants`);
  await page.getByLabel('Grants per teammate and month').fill('1e3');
  await page.getByRole('button', { name: 'Save rules' }).click();
  await page.locator('#monthly_per_admin-problem').waitFor();
  const help = await page.locator('#monthly_per_admin-help').boundingBox();
  const next = await page.getByText('Approval by a second admin for more customers than').boundingBox();
  assert.ok(help && next && next.y - (help.y + help.height) >= 8);
  await page.context().close();
});

it('asks before it disconnects, and undoes it, with and without JavaScript', async () => {
  for (const javaScriptEnabled of [false, true]) {
    const page = await openSignedInTab({ javaScriptEnabled });
    await page.goto(`${site.url}/settings/revenuecat`);
    await page.getByRole('link', { name: /^Disconnect Shop without/ }).click();
    await page.getByText('are deleted after a day').waitFor();
    await page.getByRole('link', { name: 'Cancel' }).click();
    await page.getByRole('link', { name: /^Disconnect Shop without/ }).click();
    await page.getByRole('button', { name: /^Disconnect Shop without/ }).click();
    await page.getByRole('status').getByText('You can undo this for a day').waitFor();
    await page.getByRole('button', { name: /^Undo: connect Shop without/ }).click();
    await page.getByRole('heading', { name: 'Shop without scripts is connected' }).waitFor();
    await page.context().close();
  }
});

it('creates a new value for the webhook once, however often its page is reloaded', async () => {
  const page = await openSignedInTab();
  await page.goto(`${site.url}/settings/revenuecat`);
  await page.getByRole('link', { name: 'New authorization value' }).first().click();
  await page.getByRole('button', { name: 'Create a new value' }).click();
  await page.getByText('is shown only now').waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Create a new value' }).waitFor();
  const created = await site.db.database.query(
    `select 1 from audit_log where workspace_id = 'abc123' and action = 'webhook_secret_replaced'`,
  );
  assert.equal(created.length, 1);
  await page.context().close();
});

it('finds a teammate by name, and copies a filter for Intercom', async () => {
  for (let index = 0; index < 30; index += 1)
    site.intercom.addAdmin('abc123', {
      id: `mate-${index}`,
      name: `Mate ${index}`,
      email: `m${index}@example.com`,
    });
  const page = await openSignedInTab({ permissions: ['clipboard-read', 'clipboard-write'] });
  await page.goto(`${site.url}/settings/grants`);
  await page.getByLabel('Search teammates').fill('mate 27');
  await page.getByLabel('Search teammates').press('Enter');
  const people = page.getByRole('region', { name: 'Teammates' });
  await people.getByLabel('Mate 27').check();
  assert.equal(await people.getByRole('checkbox').count(), 1);
  assert.ok(await page.getByLabel('Selected people').first().isChecked());
  await page.getByRole('button', { name: 'Save rules' }).click();
  await page.getByRole('status').getByText('Rules for grants saved').waitFor();
  assert.ok(await page.locator('#people').getByLabel('Mate 27').isChecked());
  await page.getByText('Rules: refund').click();
  await page.getByRole('region', { name: 'Teammates: refund' }).getByLabel('Mate 27').check();
  const refundGroup = page.getByRole('group', { name: 'Refund', exact: true });
  assert.ok(await refundGroup.getByLabel('Only selected people').isChecked(), 'the choice is not lost');
  await page.goto(`${site.url}/settings/use`);
  await page.getByRole('button', { name: /^Copy the filter.*Cancelled a free trial/ }).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^rc_trial_cancelled_event · last occurred/);
  await page.getByText('“Trial cancelled” has never been sent under this name').waitFor();
  await page.context().close();
});

it('is completed with the keyboard alone', async () => {
  const page = await openSignedInTab();
  await page.goto(`${site.url}/settings/contacts`);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'create-never');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('Contact settings saved').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('role')), 'status');
  assert.ok(await page.getByLabel('Create one for customers').isChecked());
  await page.context().close();
});
