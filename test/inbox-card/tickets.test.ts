import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { Demo } from '../../src/simulator/demo.ts';
import { sharedBrowser } from '../support/browser.ts';
import { startTestDemo } from '../support/demo.ts';

interface Ticket {
  readonly asks: string;
  /** Of the demo. */
  readonly conversation: string;
  /** Component ids; one that ends with a colon is a prefix. */
  readonly clicks: readonly [] | readonly [string] | readonly [string, string];
  /** What answers it. */
  readonly says: readonly RegExp[];
  /** What acts on it; a prefix like those of `clicks`. */
  readonly offers?: string;
}

const DATE = String.raw`\w{3} \d{1,2}, \d{4}`;

/** The ten most frequent ones. */
const TICKETS: readonly Ticket[] = [
  {
    asks: 'When am I charged?',
    conversation: '501',
    clicks: [],
    says: [new RegExp(`\\$9\\.99 a month\\. Next charge ${DATE}\\.`)],
  },
  {
    asks: 'Why was I charged?',
    conversation: '501',
    clicks: ['timeline', 'event:'],
    says: [/Renewed/, /Price\s*\$9\.99/, /Pro Monthly/, new RegExp(`Period ends\\s*${DATE}`)],
  },
  {
    asks: 'Please cancel',
    conversation: '514',
    clicks: ['details', 'subscription:'],
    says: [/RevenueCat Billing/],
    offers: 'cancel:',
  },
  {
    asks: 'Can I get a refund?',
    conversation: '513',
    clicks: ['details', 'subscription:'],
    says: [/Google Play/],
    offers: 'refund:',
  },
  {
    asks: 'Can I get a month for the outage?',
    conversation: '508',
    clicks: ['grant'],
    says: [/1 month/, /Reason/],
    offers: 'grant.review',
  },
  {
    asks: 'My purchases are on another account',
    conversation: '501',
    clicks: ['details', 'transfer'],
    says: [/Transfer purchases/, /Receiving customer/],
    offers: 'transfer.target',
  },
  {
    asks: 'My trial ended early',
    conversation: '503',
    clicks: ['timeline'],
    says: [new RegExp(`Cancelled the free trial[\\s\\S]*${DATE}`), /Started a free trial/],
  },
  {
    asks: 'Am I paying twice?',
    conversation: '510',
    clicks: ['details'],
    says: [/Pro[\s\S]*App Store/, /Team[\s\S]*Stripe/],
    offers: 'subscription:',
  },
  {
    asks: 'That is the wrong account',
    conversation: '602',
    clicks: ['match:'],
    says: [/Is this the customer\?/, /user_mia/],
    offers: 'match.confirm',
  },
  {
    asks: 'Can you extend it?',
    conversation: '513',
    clicks: ['details', 'subscription:'],
    says: [new RegExp(DATE)],
    offers: 'extend:',
  },
];

describe('the most frequent tickets', () => {
  let demo: Demo;
  let browser: Browser;
  let page: Page;
  before(async () => {
    demo = await startTestDemo();
    browser = await sharedBrowser();
    page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  const card = () => page.getByTestId('card');
  const idle = () => page.locator('[data-testid=card][aria-busy=false] .canvas').waitFor();
  const control = (id: string) =>
    card().locator(id.endsWith(':') ? `[data-component-id^="${id}"]` : `[data-component-id="${id}"]`);

  for (const { asks, conversation, clicks, says, offers } of TICKETS) {
    const answer = [clicks.join(', ') || 'the first canvas', ...(offers ? [`offers ${offers}`] : [])].join(
      ' ',
    );
    test(`${asks} → ${answer}`, async () => {
      await page.goto(`${demo.inboxUrl}?conversation=${conversation}&admin=1001`);
      await idle();
      for (const id of clicks) {
        const answered = page.waitForResponse((response) => response.url().endsWith('/api/canvas'));
        await control(id).locator('button').first().click();
        await answered;
        await idle();
      }
      const file = `ticket-${asks.replaceAll(/\W+/g, '-')}.png`;
      if (process.env.SHOTS) await card().screenshot({ path: `${process.env.SHOTS}/${file}` });
      const text = (await card().textContent()) ?? '';
      for (const pattern of says) assert.match(text, pattern);
      if (offers) {
        const way = control(offers).first();
        assert.ok(await way.isVisible(), `${offers} in\n${text}`);
        assert.equal(await way.locator(':disabled').count(), 0, `${offers} can be used`);
      }
      assert.equal(await page.getByTestId('problems').count(), 0);
    });
  }
});
