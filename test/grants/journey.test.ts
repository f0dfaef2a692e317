import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { WORKSPACE_ID } from '../../src/simulator/demo/world.ts';
import { assertAccessible, assertViewAccessible } from '../support/accessibility.ts';
import { useDemo } from '../support/demo.ts';

const { demo, newPage } = useDemo();

/** The demo's inbox in a browser, with the card of a conversation. */
interface InboxPage {
  readonly page: Page;
  readonly card: Locator;
  open(name: string): Promise<void>;
  /** Presses a button, or an entry of a list that begins with the text. */
  press(name: string | RegExp): Promise<void>;
  ready(): Promise<void>;
  says(text: RegExp): Promise<void>;
  fill(label: string, value: string): Promise<void>;
  /** Checks the card's accessibility. */
  look(name: string): Promise<void>;
}

async function openInbox(): Promise<InboxPage> {
  const page = await newPage();
  await page.goto(demo().inboxUrl);
  const card = page.getByTestId('card');
  const ready = () => page.locator('[data-testid=card][aria-busy=false]').waitFor();

  return {
    page,
    card,
    ready,
    async open(name) {
      await page.getByRole('navigation').getByText(name, { exact: true }).click();
      await page.getByRole('heading', { name, exact: true }).waitFor();
      await ready();
    },
    async press(name) {
      await card.getByRole('button', { name, exact: true }).first().click();
      await ready();
      assert.equal(await page.getByTestId('problems').count(), 0, String(name));
    },
    says: (text) => card.getByText(text).first().waitFor(),
    fill: (label, value) => card.getByLabel(label, { exact: true }).fill(value),
    look: (name) => assertViewAccessible(page, `grant ${name}`),
  };
}

describe('an agent grants access in the inbox', () => {
  let inbox: InboxPage;
  let page: Page;
  let card: Locator;

  before(async () => {
    inbox = await openInbox();
    ({ page, card } = inbox);
  });
  after(() => page?.close());

  async function toggleFault(name: string): Promise<void> {
    const menu = page.getByTestId('faults-menu');
    await menu.getByText('Faults').click();
    await menu.getByLabel(name).click();
    if (await menu.getByLabel(name).isVisible()) await menu.getByText('Faults').click();
  }

  test('each refusal is shown, and what was typed stays', async () => {
    await inbox.open('Finn Doyle');
    await inbox.press('Grant access');
    await inbox.look('form');
    await card.getByLabel('Duration').selectOption('two_week');
    await inbox.press('Review');
    await inbox.says(/Please give a reason/);
    await inbox.look('reason-missing');
    assert.equal(await card.getByLabel('Duration').inputValue(), 'two_week');
    await inbox.fill('Reason', 'The card failed while our shop was down');
    for (const [day, expected] of [
      ['31.12.2027', /must be a date like 2027-01-31/],
      ['2020-01-01', /is in the past/],
      ['2098-01-01', /longest grant allowed here is 366 days/],
      ['2150-01-01', /too far away/],
    ] as const) {
      await inbox.fill('Or an exact last day', day);
      await inbox.press('Review');
      await inbox.says(expected);
      assert.equal(await card.getByLabel('Or an exact last day').inputValue(), day);
      assert.equal(
        await card.getByLabel('Reason', { exact: true }).inputValue(),
        'The card failed while our shop was down',
      );
    }
    await inbox.look('end-refused');
    await inbox.fill('Or an exact last day', '');
  });

  test('RevenueCat does not respond: nothing is granted, and the same button works later', async () => {
    await toggleFault('RevenueCat is down');
    await inbox.press('Review');
    await inbox.says(/RevenueCat does not respond: current access is as of/);
    await inbox.look('review-away');
    await inbox.press('Grant now');
    await inbox.says(/RevenueCat does not respond\. Nothing was changed/);
    await toggleFault('RevenueCat is down');
  });

  test('a double click grants once, and there is a text for the customer', async () => {
    await card.getByRole('button', { name: 'Grant now', exact: true }).dblclick();
    await inbox.says(/Pro is granted until/);
    await inbox.ready();
    await inbox.look('done');
    assert.match(
      await card.getByLabel('For the customer, to copy').inputValue(),
      /^You now have Pro until .+, free of charge\./,
    );
    await page
      .getByTestId('thread')
      .getByText(/Granted Pro until/)
      .waitFor();
    await page.getByRole('button', { name: 'Open the card again' }).click();
    await inbox.says(/Pro, granted by Alex Agent until .+ Not paying\./);
    await inbox.press('Grants 1');
    await inbox.look('grants');
    assert.equal(await card.getByRole('button', { name: /^Pro/ }).count(), 1);
    assert.equal(
      await page
        .getByTestId('thread')
        .getByText(/Granted Pro until/)
        .count(),
      1,
    );
  });

  test('a grant that would change nothing can be added to the current end', async () => {
    await inbox.press('Grant access');
    await card.getByLabel('Duration').selectOption('two_week');
    await inbox.fill('Reason', 'Once more');
    await card.getByLabel('Starts').selectOption('now');
    await inbox.press('Review');
    await inbox.says(/RevenueCat ignores a grant that ends within two hours/);
    await inbox.look('review-same');
    assert.equal(await card.getByRole('button', { name: 'Grant now' }).count(), 0);
    await inbox.says(/press Change and choose a later end, or a start after/);
    await inbox.press('Change');
    await card.getByLabel('Starts').selectOption('after');
    await inbox.press('Review');
    assert.equal(await card.getByText(/nothing would change/).count(), 0);
    await inbox.look('review');
    await inbox.press('Grant now');
    await inbox.says(/Pro is granted until/);
  });

  test('the grant is removed, and the history says so', async () => {
    await inbox.press('Remove this grant');
    await inbox.look('revoke');
    await card.getByRole('button', { name: 'Remove now', exact: true }).dblclick();
    await inbox.says(/The grant of Pro is removed/);
    await inbox.ready();
    await inbox.look('revoked');
    await inbox.press('All grants and actions');
    assert.equal(await card.getByText(/removed/).count(), 2);
    await inbox.look('history');
    await page
      .getByTestId('thread')
      .getByText(/Removed the grant of Pro/)
      .waitFor();
  });
});

describe('an agent finishes tickets in the inbox', () => {
  let inbox: InboxPage;

  before(async () => {
    inbox = await openInbox();
  });
  after(() => inbox?.page.close());

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
    await openPurchase('Nils Holm', /^Pro Monthly.*RevenueCat Web Billing/);
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
    await inbox.says(/Pro Monthly is cancelled\. Access until/);
    await inbox.ready();
    await isInThread(/Cancelled Pro Monthly/);

    await openPurchase('Nils Holm', /^Pro Monthly/);
    await inbox.says(/Cancel the subscription: It is already cancelled/);
    await review('Refund');
    await inbox.says(/immediately loses the access that it gives/);
    await inbox.press('Refund now');
    await inbox.says(/\$9\.99 is refunded for Pro Monthly/);
    await inbox.press('All grants and actions');
    await inbox.look('actions');
    assert.equal(await inbox.card.getByRole('button', { name: /done · Alex Agent/ }).count(), 5);
  });

  test('Google Play: refunds one charge, and the subscription continues', async () => {
    await openPurchase('Mara Klein', /^Pro Monthly.*Google Play/);
    await review('Refund');
    await inbox.says(/The subscription is not cancelled and access stays/);
    await inbox.says(/Google does not notify the customer/);
    await inbox.press('Refund now');
    await inbox.says(/is refunded for Pro Monthly/);
    await openPurchase('Mara Klein', /^Pro Monthly/);
    await inbox.press('Refund');
    const charges = inbox.card.getByLabel('Charge', { exact: true }).locator('option');
    assert.equal(await charges.count(), 2, 'of three');
  });

  test('Apple: extends with a reason, and gives the texts for what only the customer can do', async () => {
    await openPurchase('Ann Berg', /^Pro Monthly.*App Store/);
    assert.match(
      await inbox.card.getByLabel('How the customer requests a refund, to copy').inputValue(),
      /https:\/\/reportaproblem\.apple\.com/,
    );
    assert.equal(await inbox.card.getByRole('button', { name: 'Refund', exact: true }).count(), 0);
    await review('Extend', { 'Days (1 to 90)': '91' });
    await inbox.says(/Enter a number of days that the store allows/);
    await inbox.look('extend-form-refused');
    await inbox.fill('Days (1 to 90)', '30');
    await inbox.card.getByLabel('Reason for Apple').selectOption({ label: 'Service issue or outage' });
    await inbox.press('Review');
    await inbox.says(/Apple emails the customer/);
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
    page = await newPage();
    // The public address, because the sign-in cookie is set for it.
    appUrl = `http://localhost:${new URL(demo().appUrl).port}`;
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

  test('a filter finds customers; a list is granted, its results are a CSV, and it is undone', async () => {
    await page.goto(`${appUrl}/settings/grants/many`);
    await page.getByLabel('Reason').fill('Outage on Monday');
    await page.getByLabel('Or a group of customers').selectOption({ label: 'In a free trial' });
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

  test('one that waits for approval is withdrawn with the keyboard', async () => {
    await draft(Array.from({ length: 101 }, (_, index) => `user_${index}`).join('\n'));
    await press('Request approval');
    await page.getByRole('status').getByText('Waits for approval', { exact: true }).waitFor();
    // Otherwise a color could still be halfway through its transition.
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await assertAccessible(page, 'grant to many that waits');
    const withdraw = page.getByRole('button', { name: 'Withdraw the request' });
    for (let tabs = 0; tabs < 60; tabs += 1) {
      if (await withdraw.evaluate((button) => button === document.activeElement)) break;
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('Withdrawn: nothing was granted').waitFor();
    await says(/, withdrawn on /);
  });
});
