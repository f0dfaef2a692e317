/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, it } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { listProjects } from '../../src/workspaces/projects.ts';
import { launchBrowser } from '../support/browser.ts';
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
let axe: string;
before(async () => {
  site = await createSite({ listen: true });
  browser = await launchBrowser();
  axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
});
after(async () => {
  await browser?.close();
  await site.close();
});

/** A tab whose own policy is off only for axe, which is put into the page. */
async function openTab(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  return page;
}

async function install(page: Page): Promise<void> {
  await page.goto(`${site.url}/install`);
  await page.getByLabel('Workspace').selectOption('abc123');
  await page.getByRole('button', { name: 'Authorize access' }).click();
  await page.waitForURL(/appstore\/redirect|\/settings/);
}

async function findings(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const runner = (globalThis as unknown as { axe: { run(): Promise<{ violations: AxeViolation[] }> } }).axe;
    interface AxeViolation {
      id: string;
      nodes: { html: string; failureSummary?: string }[];
    }
    const { violations } = await runner.run();
    return violations.map((each) => `${each.id}: ${each.nodes[0]?.html} ${each.nodes[0]?.failureSummary}`);
  });
}

it('goes from the App Store to the first event, without JavaScript too', async () => {
  for (const javaScriptEnabled of [false, true]) {
    const page = await openTab({ javaScriptEnabled });
    await install(page);
    await page.goto(`${site.url}/settings`);
    await page
      .getByRole('link', { name: 'Connect RevenueCat' })
      .or(page.getByRole('link', { name: 'RevenueCat' }))
      .first()
      .click();
    const name = `Shop ${javaScriptEnabled ? 'with' : 'without'} scripts`;
    const project = site.revenueCat.addProject({ name });
    await page.getByLabel('Secret API key').fill(site.revenueCat.issueKey(project.id));
    await page.getByRole('button', { name: 'Check and connect' }).click();
    await page.getByRole('heading', { name: `${name} is connected` }).waitFor();
    await page.getByRole('link', { name: 'Wait for the first event' }).click();

    const own = page.locator('article', { has: page.getByRole('heading', { name }) });
    await own.getByText('No event yet').waitFor();
    const stored = (await listProjects(site.db.database, 'abc123')).find((each) => each.name === name);
    await site.db.database.query('update projects set last_received_at = now() where project_id = $1', [
      stored?.projectId,
    ]);
    if (!javaScriptEnabled) await page.reload();
    await own.getByText('Events arrive').waitFor();

    await page.getByRole('link', { name: 'Events', exact: true }).click();
    await page.getByLabel('Name of Renewal').fill('Renewed again');
    await page.getByRole('button', { name: 'Save events' }).click();
    await page.getByRole('status').getByText('Event names saved').waitFor();
    assert.equal(await page.getByLabel('Name of Renewal').inputValue(), 'Renewed again');

    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Sign in with Intercom' }).waitFor();
    await page.context().close();
  }
});

it('has no axe finding, and fits a 390 px wide screen', async () => {
  for (const viewport of [
    { width: 390, height: 844 },
    { width: 1280, height: 900 },
  ]) {
    // The policy would keep axe out; that the pages themselves obey it is tested apart.
    const page = await openTab({ viewport, bypassCSP: true });
    await page.goto(`${site.url}/signin`);
    assert.deepEqual(await findings(page), []);
    await install(page);
    for (const path of PAGES) {
      await page.goto(`${site.url}/settings${path}`);
      assert.deepEqual(await findings(page), [], `${path} at ${viewport.width}`);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= viewport.width, `${path} is ${width} px wide`);
      const shots = process.env.SCREENSHOTS;
      if (shots) {
        const name = `settings-${path.slice(1) || 'home'}-${viewport.width}.png`;
        await page.screenshot({ path: `${shots}/${name}`, fullPage: true });
      }
    }
    await page.context().close();
  }
});

it('obeys its own content security policy', async () => {
  const page = await openTab();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await install(page);
  for (const path of PAGES) await page.goto(`${site.url}/settings${path}`);
  assert.deepEqual(
    complaints.filter((text) => !text.includes('favicon')),
    [],
  );
  await page.context().close();
});

it('is completed with the keyboard alone', async () => {
  const page = await openTab();
  await install(page);
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
  assert.ok(await page.getByLabel('Create one for customers').isChecked());
  await page.context().close();
});
