import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Locator, Page } from 'playwright-core';
import type { Demo } from '../../src/simulator/demo.ts';
import { assertAccessible } from '../support/accessibility.ts';
import { sharedBrowser } from '../support/browser.ts';
import { startTestDemo } from '../support/demo.ts';

describe('an agent grants access in the inbox', () => {
  let demo: Demo;
  let browser: Browser;
  let page: Page;
  let card: Locator;

  before(async () => {
    demo = await startTestDemo();
    browser = await sharedBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    page.setDefaultTimeout(8_000);
    await page.goto(demo.inboxUrl);
    card = page.getByTestId('card');
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  const ready = () => page.locator('[data-testid=card][aria-busy=false]').waitFor();

  async function open(name: string): Promise<void> {
    await page.getByRole('navigation').getByText(name, { exact: true }).click();
    await page.getByRole('heading', { name, exact: true }).waitFor();
    await ready();
  }

  async function press(name: string): Promise<void> {
    await card.getByRole('button', { name, exact: true }).click();
    await ready();
    assert.equal(await page.getByTestId('problems').count(), 0, name);
  }

  const look = (name: string) => assertAccessible(page, `grant ${name}`, '[data-testid=card]');

  async function toggleFault(name: string): Promise<void> {
    const menu = page.getByTestId('faults-menu');
    await menu.getByText('Faults').click();
    await menu.getByLabel(name).click();
    if (await menu.getByLabel(name).isVisible()) await menu.getByText('Faults').click();
  }

  const says = (text: RegExp) => card.getByText(text).first().waitFor();
  const fill = (label: string, value: string) => card.getByLabel(label, { exact: true }).fill(value);

  test('each refusal is shown, and what was typed stays', async () => {
    await open('Finn Doyle');
    await press('Grant access');
    await look('form');
    await card.getByLabel('Duration').selectOption('two_week');
    await press('Review');
    await says(/Please give a reason/);
    await look('reason-missing');
    assert.equal(await card.getByLabel('Duration').inputValue(), 'two_week');
    await fill('Reason', 'The card failed while our shop was down');
    for (const [day, said] of [
      ['31.12.2027', /must be a date like 2027-01-31/],
      ['2020-01-01', /is in the past/],
      ['2098-01-01', /longest grant allowed here is 366 days/],
      ['2150-01-01', /too far away/],
    ] as const) {
      await fill('Or an exact last day', day);
      await press('Review');
      await says(said);
      assert.equal(await card.getByLabel('Or an exact last day').inputValue(), day);
      assert.equal(
        await card.getByLabel('Reason', { exact: true }).inputValue(),
        'The card failed while our shop was down',
      );
    }
    await look('end-refused');
    await fill('Or an exact last day', '');
  });

  test('RevenueCat does not respond: nothing is granted, and the same button works later', async () => {
    await toggleFault('RevenueCat is down');
    await press('Review');
    await says(/RevenueCat does not respond: current access is as of/);
    await look('review-away');
    await press('Grant now');
    await says(/RevenueCat does not respond\. Nothing was changed/);
    await toggleFault('RevenueCat is down');
  });

  test('a double click grants once, and there is a text for the customer', async () => {
    await card.getByRole('button', { name: 'Grant now', exact: true }).dblclick();
    await says(/Pro is granted until/);
    await ready();
    await look('done');
    assert.match(
      await card.getByLabel('For the customer, to copy').inputValue(),
      /^You now have Pro until .+, free of charge\./,
    );
    await page
      .getByTestId('thread')
      .getByText(/Granted Pro until/)
      .waitFor();
    await page.getByRole('button', { name: 'Open the card again' }).click();
    await says(/Pro, granted by Alex Agent until .+ Not paying\./);
    await press('Grants 1');
    await look('grants');
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
    await press('Grant access');
    await card.getByLabel('Duration').selectOption('two_week');
    await fill('Reason', 'Once more');
    await card.getByLabel('Starts').selectOption('now');
    await press('Review');
    await says(/RevenueCat ignores a grant that ends within two hours/);
    await look('review-same');
    assert.equal(await card.getByRole('button', { name: 'Grant now' }).count(), 0);
    await press('Add to the current end instead');
    assert.equal(await card.getByText(/nothing would change/).count(), 0);
    await look('review');
    await press('Grant now');
    await says(/Pro is granted until/);
  });

  test('the grant is removed, and the history says so', async () => {
    await press('Remove this grant');
    await look('revoke');
    await card.getByRole('button', { name: 'Remove now', exact: true }).dblclick();
    await says(/The grant of Pro is removed/);
    await ready();
    await look('revoked');
    await press('All grants');
    assert.equal(await card.getByText(/removed/).count(), 2);
    await look('history');
    await page
      .getByTestId('thread')
      .getByText(/Removed the grant of Pro/)
      .waitFor();
  });
});
