import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Locator, Page } from 'playwright-core';
import type { Demo } from '../../src/simulator/demo.ts';
import { sharedBrowser } from '../support/browser.ts';
import { startTestDemo } from '../support/demo.ts';
import { type InboxPage, openInbox } from './inbox-browser.ts';

describe('an agent grants access in the inbox', () => {
  let demo: Demo;
  let browser: Browser;
  let inbox: InboxPage;
  let page: Page;
  let card: Locator;

  before(async () => {
    demo = await startTestDemo();
    browser = await sharedBrowser();
    inbox = await openInbox(browser, demo.inboxUrl);
    ({ page, card } = inbox);
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

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
    for (const [day, said] of [
      ['31.12.2027', /must be a date like 2027-01-31/],
      ['2020-01-01', /is in the past/],
      ['2098-01-01', /longest grant allowed here is 366 days/],
      ['2150-01-01', /too far away/],
    ] as const) {
      await inbox.fill('Or an exact last day', day);
      await inbox.press('Review');
      await inbox.says(said);
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
    await inbox.press('Add to the current end instead');
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
    await inbox.press('All grants');
    assert.equal(await card.getByText(/removed/).count(), 2);
    await inbox.look('history');
    await page
      .getByTestId('thread')
      .getByText(/Removed the grant of Pro/)
      .waitFor();
  });
});
