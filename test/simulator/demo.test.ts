import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { type Demo, startDemo } from '../../src/simulator/demo.ts';
import { launchBrowser } from '../support/browser.ts';
import { silent } from '../support/world.ts';

/** What a support lead would say about each sample customer, in the order of the list. */
const SENTENCES: readonly (readonly [name: string, sentence: RegExp])[] = [
  ['Ann Berg', /^✅ Pro, \$9\.99 a month\. Next charge \w{3} \d+, \d{4}\./],
  ['Ben Ortiz', /^✅ Pro, free trial until \w{3} \d+, \d{4}\./],
  ['Cleo Marsh', /^⚠️ Pro, free trial, cancelled\. Access until .+\. Will not be charged\./],
  ['Dev Patel', /^⚠️ Pro, cancelled on .+\. Access until .+\. No further charge\./],
  ['Eva Lind', /^⚠️ Payment failed on .+\. Still has Pro until .+ while .+ retries the card\./],
  ['Finn Doyle', /^⛔ No access since .+: payment failed\. Had Pro, \$9\.99 a month\./],
  ['Gia Romano', /^⛔ Refunded \$9\.99 on .+\. No access since then\./],
  ['Hugo Martin', /^✅ Pro, granted .*until .+\. Not paying\./],
  ['Ines Costa', /^⏸ Paused since .+\. Resumes and charges \$9\.99 .*on .+\./],
  ['Jon Hale', /^✅ (Pro|Team) \(.+\) and (Pro|Team) \(.+\)\. Next charge \$14\.00 on .+\./],
  ['Kim Tester', /sandbox/],
];

describe('the demo', () => {
  let demo: Demo;
  let browser: Browser;
  let page: Page;

  before(async () => {
    demo = await startDemo({ port: 0, logger: silent });
    browser = await launchBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    await page.goto(demo.inboxUrl);
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  const open = async (name: string): Promise<string> => {
    await page.getByRole('navigation').getByText(name, { exact: true }).click();
    await page.getByRole('heading', { name, exact: true }).waitFor();
    await page.locator('[data-testid=card][aria-busy=false]').waitFor();
    return (await page.getByTestId('card').textContent()) ?? '';
  };

  test('the card of each sample customer begins with a sentence that answers the ticket', async () => {
    for (const [name, sentence] of SENTENCES) {
      assert.match(await open(name), sentence, name);
      assert.equal(await page.getByTestId('problems').count(), 0, name);
    }
  });

  test('a webhook that is sent from the page reaches the contact and the card', async () => {
    await open('Dev Patel');
    const events = page.getByTestId('events').getByText('rc_uncancellation_event');
    assert.equal(await events.count(), 0);
    await page.getByText('What happens next?').click();
    await page.getByTestId('action-uncancel').click();
    await events.first().waitFor();
    assert.equal(await events.count(), 1);
    await page.getByRole('button', { name: 'Open the card again' }).click();
    await page
      .getByTestId('card')
      .getByText(/^Pro, \$9\.99 a month\. Next charge/)
      .waitFor();
  });

  test('nothing is cut off on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.equal(overflow, 0);
  });
});
