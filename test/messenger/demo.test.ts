/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { Browser, FrameLocator, Page } from 'playwright-core';
import type { Demo } from '../../src/simulator/demo.ts';
import { axeFindings } from '../support/accessibility.ts';
import { sharedBrowser } from '../support/browser.ts';
import { startTestDemo } from '../support/demo.ts';
import { until } from '../support/wait.ts';

/** Half of the Messenger in the demo, px. */
const HALF_THE_MESSENGER = 352;

let demo: Demo;
let browser: Browser;
before(async () => {
  demo = await startTestDemo();
  browser = await sharedBrowser();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

async function openMessenger(conversationId: string): Promise<{ page: Page; messenger: FrameLocator }> {
  const page = await browser.newPage({ viewport: { width: 1_440, height: 900 } });
  page.setDefaultTimeout(15_000);
  await page.goto(`${demo.inboxUrl}?conversation=${conversationId}`);
  await page.getByTestId('messenger-toggle').click();
  return { page, messenger: page.frameLocator('[data-testid=messenger-frame]') };
}

async function shoot(page: Page, name: string): Promise<void> {
  const shots = process.env.SCREENSHOTS;
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
}

it('shows the customer their own card in the Messenger’s home, step by step', async () => {
  const { page, messenger } = await openMessenger('501');
  const card = messenger.getByTestId('messenger-card');
  await card.getByText('You have Pro').waitFor();
  await shoot(page, 'messenger-home');
  const box = await card.boundingBox();
  assert.ok(box && box.height <= HALF_THE_MESSENGER, `${box?.height} px`);

  await card.getByRole('button', { name: 'History' }).click();
  await card.getByText('You subscribed').waitFor();
  const history = await card.boundingBox();
  assert.ok(history && history.height <= HALF_THE_MESSENGER, `${history?.height} px`);
  await shoot(page, 'messenger-history');
  await card.getByRole('button', { name: 'Back to start' }).click();
  await card.getByText('You have Pro').waitFor();

  await messenger.getByTestId('messenger-locale').selectOption('ja');
  await card.getByText('ご利用中です').waitFor();

  const frame = page.frames().find((each) => each.url().includes('/messenger'));
  assert.ok(frame);
  assert.deepEqual(await axeFindings(frame), []);
  await page.close();
});

it('stays within half of the Messenger for every sample customer, in every language', async () => {
  const origin = new URL(demo.inboxUrl).origin;
  const answer = await fetch(`${origin}/inbox/api/conversations`);
  const people = (await answer.json()) as { contactId: string; contactName: string }[];
  const page = await browser.newPage({ viewport: { width: 380, height: 704 } });
  page.setDefaultTimeout(15_000);
  const card = page.getByTestId('messenger-card');
  const height = async (): Promise<number> => (await card.boundingBox())?.height ?? Number.POSITIVE_INFINITY;
  for (const [index, { contactId, contactName }] of people.slice(0, 13).entries()) {
    await page.goto(`${origin}/messenger?contact=${contactId}`);
    const locale = ['en', 'de', 'fr', 'es', 'pt', 'ja'][index % 6] ?? 'en';
    await page.getByTestId('messenger-locale').selectOption(locale);
    await page.locator('[data-testid=messenger-card][aria-busy=false][data-flow=live]').waitFor();
    assert.ok((await height()) <= HALF_THE_MESSENGER, `${contactName} in ${locale}: ${await height()} px`);
    assert.equal(await card.getByRole('alert').count(), 0, contactName);
  }
  await page.close();
});

it('leads to the inbox when its address names no customer', async () => {
  const response = await fetch(new URL('/messenger', demo.inboxUrl), { redirect: 'manual' });
  assert.deepEqual([response.status, response.headers.get('location')], [302, '/inbox']);
});

it('shows nothing to a visitor who is not signed in', async () => {
  const { page, messenger } = await openMessenger('599');
  await messenger.getByTestId('messenger-card').getByText('Sign in to the app').waitFor();
  await page.close();
});

it('shares the card from the inbox into the conversation', async () => {
  const { page, messenger } = await openMessenger('504');
  await messenger.getByTestId('messenger-card').getByText('is cancelled').waitFor();
  await page.getByTestId('card').getByRole('button', { name: 'Share with the customer' }).click();
  await page.getByTestId('card').getByText('was added to your reply').waitFor();
  await page.getByTestId('reply-card').waitFor();
  await shoot(page, 'messenger-share');
  await page.getByTestId('send-card').click();
  await page.getByTestId('thread').getByText('Card: the customer’s own subscription').waitFor();
  assert.equal(await page.getByTestId('reply-card').count(), 0);

  await messenger.getByTestId('messenger-open-messages').click();
  const shared = messenger.getByTestId('shared-card');
  await shared.getByText('is cancelled').waitFor();
  await shared.getByRole('button', { name: 'History' }).click();
  await shared.getByText('Back to start').waitFor();
  await shoot(page, 'messenger-shared');
  await page.close();
});

it('opens the hosted support page from the customer’s app', async () => {
  const { page, messenger } = await openMessenger('501');
  const opened = page.context().waitForEvent('page');
  await messenger.getByTestId('support-link').click();
  const support = await opened;
  await support.context().route('https://widget.intercom.io/**', (route) => route.abort());
  await support.getByRole('heading', { name: 'Your subscription' }).waitFor();
  await until(() => new URL(support.url()).search === '', 'an address without the link’s credential');
  await page.context().close();
});
