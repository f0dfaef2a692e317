import assert from 'node:assert/strict';
import type { Browser, Locator, Page } from 'playwright-core';
import { assertAccessible } from '../support/accessibility.ts';

/** The demo's inbox in a browser, with the card of a conversation. */
export interface InboxPage {
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

export async function openInbox(browser: Browser, inboxUrl: string): Promise<InboxPage> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  page.setDefaultTimeout(8_000);
  await page.goto(inboxUrl);
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
    look: (name) => assertAccessible(page, `grant ${name}`, '[data-testid=card]'),
  };
}
