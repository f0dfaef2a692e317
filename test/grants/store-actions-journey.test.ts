import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { WORKSPACE_ID } from '../../src/simulator/demo/world.ts';
import type { Demo } from '../../src/simulator/demo.ts';
import { sharedBrowser } from '../support/browser.ts';
import { startTestDemo } from '../support/demo.ts';
import { type InboxPage, openInbox } from './inbox-browser.ts';

let demo: Demo;
let browser: Browser;

before(async () => {
  [demo, browser] = await Promise.all([startTestDemo(), sharedBrowser()]);
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

describe('an agent finishes tickets in the inbox', () => {
  let inbox: InboxPage;

  before(async () => {
    inbox = await openInbox(browser, demo.inboxUrl);
  });

  async function openPurchase(customer: string, purchase: RegExp): Promise<void> {
    await inbox.open(customer);
    await inbox.press('Customer details');
    await inbox.press(purchase);
  }

  async function review(action: string, fields: Readonly<Record<string, string>> = {}): Promise<void> {
    await inbox.press(action);
    for (const [label, value] of Object.entries(fields)) await inbox.fill(label, value);
    await inbox.fill('Reason', 'The customer asked for it');
    await inbox.press('Review');
  }

  async function isInThread(text: RegExp): Promise<void> {
    await inbox.page.getByTestId('thread').getByText(text).first().waitFor();
  }

  const textForCustomer = () => inbox.card.getByLabel('For the customer, to copy').inputValue();

  test('Web Billing: extends, refunds a one-time purchase, gives a portal link, cancels and refunds', async () => {
    await openPurchase('Nils Holm', /^Pro Monthly.*RevenueCat Billing/);
    await inbox.look('web-billing');
    await review('Extend', { 'Days (1 to 365)': '14' });
    await inbox.says(/ends 14 days later/);
    await inbox.look('extend-review');
    await inbox.press('Extend now');
    await inbox.says(/Pro Monthly is extended until/);
    await inbox.look('extended');
    assert.match(await textForCustomer(), /^We have extended Pro Monthly by 14 days/);
    await isInThread(/Extended Pro Monthly by 14 days/);

    await openPurchase('Nils Holm', /^100 credits/);
    await review('Refund');
    await inbox.says(/gives no entitlement, so access stays as it is/);
    await inbox.press('Refund now');
    await inbox.says(/\$4\.99 is refunded for 100 credits/);
    await isInThread(/Refunded \$4\.99 for 100 credits/);

    await openPurchase('Nils Holm', /^Pro Monthly/);
    await inbox.press('Billing portal link');
    await inbox.press('Review');
    await inbox.press('Create the link');
    assert.match(await textForCustomer(), /https:\/\/billing\.revenuecat\.com\/\S+token=/);

    await openPurchase('Nils Holm', /^Pro Monthly/);
    await review('Cancel the subscription');
    await inbox.look('cancel-review');
    await inbox.card.getByRole('button', { name: 'Confirm the cancellation' }).dblclick();
    await inbox.says(/Pro Monthly is canceled\. Access until/);
    await inbox.ready();
    await isInThread(/Canceled Pro Monthly/);

    await openPurchase('Nils Holm', /^Pro Monthly/);
    await inbox.says(/Cancel the subscription: it is already canceled/);
    await review('Refund');
    await inbox.says(/loses its access immediately/);
    await inbox.press('Refund now');
    await inbox.says(/\$9\.99 is refunded for Pro Monthly/);
    await inbox.press('All grants and actions');
    await inbox.look('actions');
    assert.equal(await inbox.card.getByRole('button', { name: /done · Alex Agent/ }).count(), 5);
  });

  test('Google Play: refunds one charge, and the subscription continues', async () => {
    await openPurchase('Mara Klein', /^Pro Monthly.*Google Play/);
    await review('Refund');
    await inbox.says(/The subscription is not canceled and access stays/);
    await inbox.says(/Google does not notify the customer/);
    await inbox.press('Refund now');
    await inbox.says(/is refunded for Pro Monthly/);
    await openPurchase('Mara Klein', /^Pro Monthly/);
    await review('Refund');
    await inbox.press('Refund now');
    await inbox.says(/this was done before\. Nothing was changed/);
  });

  test('Apple: extends with a reason, and gives the texts for what only the customer can do', async () => {
    await openPurchase('Ann Berg', /^Pro Monthly.*App Store/);
    assert.match(
      await inbox.card.getByLabel('How the customer gets a refund, to copy').inputValue(),
      /https:\/\/reportaproblem\.apple\.com/,
    );
    assert.equal(await inbox.card.getByRole('button', { name: 'Refund', exact: true }).count(), 0);
    await review('Extend', { 'Days (1 to 90)': '91' });
    await inbox.says(/Enter a number of days that the store allows/);
    await inbox.look('extend-form-refused');
    await inbox.fill('Days (1 to 90)', '30');
    await inbox.card.getByLabel('Reason for Apple').selectOption({ label: 'Service issue or outage' });
    await inbox.press('Review');
    await inbox.says(/Apple e-mails the customer/);
    await inbox.press('Extend now');
    await inbox.says(/Pro Monthly is extended until/);
  });

  test('Stripe: offers nothing and says so; its purchases can be transferred', async () => {
    await openPurchase('Olga Petrov', /^Pro Monthly.*Stripe/);
    await inbox.says(/Stripe offers no actions through RevenueCat/);
    await inbox.press('Details');
    await inbox.press('Transfer purchases');
    await inbox.fill('Receiving customer (app user ID)', 'user_lea');
    await inbox.fill('Reason', 'New account');
    await inbox.press('Review');
    await inbox.says(/1 purchase moves to user_lea/);
    await inbox.look('transfer-review');
    await inbox.press('Transfer now');
    await inbox.says(/1 purchase is transferred to user_lea/);
  });
});

describe('an admin grants to many', () => {
  let page: Page;
  let appUrl: string;

  before(async () => {
    page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    page.setDefaultTimeout(15_000);
    // The public address: the cookie of the sign-in belongs to it.
    appUrl = `http://localhost:${new URL(demo.appUrl).port}`;
    await page.goto(`${appUrl}/settings`);
    await page.getByRole('link', { name: 'Sign in with Intercom' }).click();
    await page.getByLabel('Workspace').selectOption(WORKSPACE_ID);
    await page.getByRole('button', { name: 'Authorize access' }).click();
    await page.waitForURL(/\/settings/);
  });

  const says = (text: string | RegExp) => page.getByText(text).first().waitFor();
  const press = (name: string | RegExp) => page.getByRole('button', { name }).click();

  async function draft(customers: string): Promise<void> {
    await page.goto(`${appUrl}/settings/grants`);
    await page.getByRole('link', { name: 'Grant to many' }).click();
    await page.getByLabel('Entitlement', { exact: true }).selectOption({ label: 'Pro' });
    await page.getByLabel('Duration').selectOption({ label: 'One week' });
    await page.getByLabel('Reason').fill('Outage on Monday');
    await page.getByLabel('Customers', { exact: true }).fill(customers);
    await press('Dry run');
    await says('Dry run: nothing is granted yet');
  }

  async function switchFault(name: string, on: boolean): Promise<void> {
    const response = await fetch(new URL(`/inbox/api/faults/${name}`, demo.inboxUrl), {
      method: 'PUT',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ on }),
    });
    assert.equal(response.status, 200);
  }

  test('a filter finds customers; a list is granted, its results are a CSV, and it is undone', async () => {
    await page.goto(`${appUrl}/settings/grants/many`);
    await page.getByLabel('Reason').fill('Outage on Monday');
    await page.getByLabel('Or everyone who is').selectOption({ label: 'In a free trial' });
    await press('Dry run');
    await says(/Among them: user_ben, user_cleo, user_noa_2\./);

    await draft('user_finn\nuser_gia\nuser_unknown');
    await says(/Among them: user_finn, user_gia, user_unknown\./);
    await press('Grant to 3 customers');
    await page.getByRole('status').getByText('Done', { exact: true }).waitFor();
    await says('2 granted');
    await says('1 failed');
    const downloading = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download results (CSV)' }).click();
    const csv = await readFile((await (await downloading).path()) ?? '', 'utf8');
    assert.match(csv, /^user_finn,granted,$/m);
    assert.match(csv, /^user_unknown,failed,not_imported$/m);

    await page.getByRole('link', { name: 'Undo…' }).click();
    await says(/Undo Pro for 2 customers\?/);
    await press('Undo the grant');
    await page.getByRole('status').getByText('Undone', { exact: true }).waitFor();
    await says('2 undone');
  });

  test('a grant is paused and continued, and the page shows its progress', async () => {
    const unknown = Array.from({ length: 60 }, (_, index) => `unknown_${index}`);
    await draft([...unknown, 'user_hugo'].join('\n'));
    // Unknown customers fail immediately: without a slow response for the last one, all could be done before the pause.
    await switchFault('rc-slow', true);
    await press('Grant to 61 customers');
    await press('Pause');
    await page.getByRole('status').getByText('Paused', { exact: true }).waitFor();
    await page.getByRole('progressbar', { name: 'Customers' }).waitFor();
    await switchFault('rc-slow', false);
    await press('Continue');
    await page.getByRole('status').getByText('Done', { exact: true }).waitFor();
    await says('60 failed');
  });
});
