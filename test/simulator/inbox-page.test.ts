import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import express from 'express';
import type { Browser, Locator, Page } from 'playwright-core';
import {
  createInboxPage,
  type InboxCanvasAnswer,
  type InboxCanvasCall,
  type InboxContact,
  type InboxMessage,
  type InboxOwnMessage,
  type InboxPageDeps,
} from '../../src/simulator/demo/inbox-page.ts';
import { assertAccessible } from '../support/accessibility.ts';
import { sharedBrowser } from '../support/browser.ts';
import { until } from '../support/wait.ts';

const HOSTILE = '<img src=x onerror="window.hacked=true">';
const SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"/>';
const SUBMIT = { type: 'submit' };
const AT_MS = Date.UTC(2027, 0, 8, 13, 5);

const EVERY_COMPONENT = [
  { type: 'text', id: 'head', style: 'header', text: 'Pro, $9.99 a month' },
  {
    type: 'text',
    id: 'words',
    text: `Next charge **Jan 8, 2027**. [The receipt](https://example.com/r_(1)) ${HOSTILE} [bad](javascript:alert(1))`,
  },
  { type: 'text', id: 'mark', text: '⚠️ **Payment failed.** 🟨\u00a0grace period' },
  { type: 'text', id: 'muted', style: 'muted', align: 'center', text: 'Paying since May 2, 2026' },
  { type: 'text', id: 'error', style: 'error', bottom_margin: 'none', text: 'The last payment failed.' },
  { type: 'spacer', size: 'm' },
  {
    type: 'data-table',
    items: [
      {
        type: 'field-value',
        field: 'Product',
        value: 'pro_monthly_with_a_name_that_never_fits_on_one_line_of_the_card',
      },
      { type: 'field-value', field: 'Store', value: 'App Store' },
    ],
  },
  { type: 'divider' },
  {
    type: 'list',
    items: [
      {
        type: 'item',
        id: 'event:1',
        title: 'Renewed',
        subtitle: 'Pro monthly, $9.99',
        tertiary_text: 'Jan 8, 2027',
        action: SUBMIT,
      },
      { type: 'item', id: 'event:2', title: HOSTILE, subtitle: 'No action', disabled: true },
    ],
  },
  { type: 'input', id: 'match.query', label: 'Find', placeholder: 'App user id or e-mail', action: SUBMIT },
  { type: 'input', id: 'saved', label: 'Saved', value: 'kept', save_state: 'saved' },
  { type: 'input', id: 'failed', label: 'Failed', value: 'wrong', save_state: 'failed' },
  { type: 'textarea', id: 'grant.reason', label: 'Reason', placeholder: 'Why?', error: true },
  {
    type: 'dropdown',
    id: 'grant.duration',
    label: 'Duration',
    value: 'monthly',
    options: [
      { type: 'option', id: 'weekly', text: 'One week' },
      { type: 'option', id: 'monthly', text: 'One month' },
    ],
  },
  {
    type: 'single-select',
    id: 'grant.entitlement',
    label: 'Entitlement',
    options: [
      { type: 'option', id: 'pro', text: 'Pro' },
      { type: 'option', id: 'team', text: 'Team' },
      { type: 'option', id: 'old', text: 'Old', disabled: true },
    ],
  },
  {
    type: 'checkbox',
    id: 'tell',
    label: 'Afterwards',
    option: [
      { type: 'option', id: 'note', text: 'Leave a note' },
      { type: 'option', id: 'mail', text: 'Send an e-mail' },
    ],
    value: ['note'],
  },
  {
    type: 'image',
    url: 'https://app.test/picture.svg',
    width: 40,
    height: 20,
    align: 'center',
  },
  { type: 'button', id: 'grant.review', label: 'Review', style: 'primary', action: SUBMIT },
  { type: 'button', id: 'refresh', label: 'Refresh', style: 'secondary', action: SUBMIT },
  { type: 'button', id: 'off', label: 'Not now', style: 'secondary', action: SUBMIT, disabled: true },
  {
    type: 'button',
    id: 'open',
    label: 'Open in RevenueCat',
    style: 'link',
    action: { type: 'url', url: 'https://example.com/customer' },
  },
];

class FakeWorkspace {
  calls: InboxCanvasCall[] = [];
  actions: string[] = [];
  faults = new Map([
    ['revenuecat-slow', false],
    ['intercom-429', false],
  ]);
  notes: InboxMessage[] = [];
  events: InboxContact['events'][number][] = [];
  components: unknown[] = EVERY_COMPONENT;
  readonly images: string[] = [];
  readonly written: InboxOwnMessage[] = [];
  problems: string[] | null = null;
  gate: Promise<void> = Promise.resolve();

  deps(): InboxPageDeps {
    const people = [
      { id: '101', contactId: 'c1', contactName: 'Ada Okafor', contactEmail: 'ada@example.com' },
      { id: '102', contactId: 'c2', contactName: 'Bruno Lindqvist', contactEmail: 'bruno@example.com' },
      { id: '103', contactId: 'c3', contactName: HOSTILE, contactEmail: 'x@example.com' },
    ];
    const stories = ['Paying monthly', 'Trial cancelled yesterday', 'Refunded'];
    return {
      appUrl: 'http://localhost:3999',
      workspaceId: 'ws_demo',
      timeZone: 'Europe/Berlin',
      listConversations: async () =>
        people.map((each, index) => ({
          ...each,
          snippet: 'Hello, I was charged although I thought that I had cancelled',
          story: stories[index] ?? '',
        })),
      readConversation: async (id) => ({
        id,
        contactId: people.find((each) => each.id === id)?.contactId ?? 'c1',
        messages: [
          { author: 'customer', authorName: 'Ada', html: `<p>Was I charged?</p>${HOSTILE}`, atMs: AT_MS },
          { author: 'admin', authorName: 'Noor', html: 'Let me look.', atMs: AT_MS + 60_000 },
          ...this.notes,
        ],
      }),
      readContact: async (id) => ({
        id,
        externalId: 'app_user_1',
        email: 'ada@example.com',
        name: 'Ada Okafor',
        role: 'user',
        customAttributes: { rc_status: 'active', rc_expires_at: AT_MS / 1000, rc_will_renew: true },
        events: [
          { name: 'rc_initial_purchase_event', createdAtS: AT_MS / 1000 - 86_400, metadata: { price: 9.99 } },
          ...this.events,
        ],
      }),
      listAdmins: async () => [
        { id: 'a1', name: 'Noor Haddad' },
        { id: 'a2', name: 'Sam Ito' },
      ],
      callCanvas: async (call): Promise<InboxCanvasAnswer> => {
        this.calls.push(call);
        await this.gate;
        if (this.problems !== null) return { ok: false, problems: this.problems, status: 200 };
        return { ok: true, canvas: { content: { components: this.components }, stored_data: { n: 1 } } };
      },
      listActions: async () => [
        { id: 'renew', label: 'Renew' },
        { id: 'billing-issue', label: 'Billing issue' },
      ],
      runAction: async (contactId, actionId) => {
        this.actions.push(`${contactId}:${actionId}`);
        this.events.push({ name: 'rc_renewal_event', createdAtS: AT_MS / 1000, metadata: {} });
        return { message: 'RevenueCat sent RENEWAL.' };
      },
      listFaults: async () =>
        [...this.faults].map(([name, on]) => ({ name, label: name.replace('-', ' '), on })),
      setFault: async (name, on) => {
        this.faults.set(name, on);
      },
      loadImage: async (url) => {
        this.images.push(url);
        return { type: 'image/svg+xml', body: Buffer.from(SVG) };
      },
      sendCard: async () => {},
      sendMessage: async (message) => {
        this.written.push(message);
        this.notes.push({
          author: message.kind === 'note' ? 'note' : 'admin',
          authorName: 'Noor',
          html: `<p>${message.text}</p>`,
          atMs: AT_MS + 120_000,
        });
      },
    };
  }
}

describe('the inbox page', () => {
  let browser: Browser;
  let workspace: FakeWorkspace;
  let server: Server;
  let origin: string;
  let page: Page;
  let pageErrors: string[];

  before(async () => {
    browser = await sharedBrowser();
    const app = express();
    let current: { for: FakeWorkspace; router: express.Router } | null = null;
    app.use((request, response, next) => {
      if (current?.for !== workspace) current = { for: workspace, router: createInboxPage(workspace.deps()) };
      current.router(request, response, next);
    });
    server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on('pageerror', (error) => pageErrors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') pageErrors.push(message.text());
    });
  });

  after(async () => {
    await browser?.close();
    server?.close();
    server?.closeAllConnections();
  });

  beforeEach(async () => {
    // Otherwise, requests that the previous page still makes would reach this test's workspace.
    await page.goto('about:blank');
    workspace = new FakeWorkspace();
    pageErrors = [];
  });

  const openInbox = async (query = ''): Promise<Locator> => {
    await page.goto(`${origin}/inbox${query}`);
    const card = page.getByTestId('card');
    await card.locator('.canvas, [data-testid=problems]').first().waitFor();
    return card;
  };
  const lastCall = (): InboxCanvasCall => {
    const call = workspace.calls.at(-1);
    assert.ok(call);
    return call;
  };
  const settled = (): Promise<void> =>
    page.locator('[data-testid=card][aria-busy=false]').waitFor({ state: 'attached' });

  test('opens the conversation and teammate that the address names', async () => {
    await openInbox('?conversation=102&admin=a2');
    assert.deepEqual(workspace.calls, [
      { flow: 'initialize', adminId: 'a2', conversationId: '102', contactId: 'c2' },
    ]);
    await page.getByTestId('conversation-101').click();
    await page.waitForURL(/conversation=101&admin=a2/);
    await settled();
    assert.equal(lastCall().conversationId, '101');
    await page.getByTestId('admin').selectOption('a1');
    await page.waitForURL(/admin=a1/);
    await settled();
    assert.equal(lastCall().adminId, 'a1');
    await page.goBack();
    await page.waitForURL(/conversation=102/);
    assert.deepEqual(pageErrors, []);
  });

  test('draws all twelve components and turns no text into markup', async () => {
    const card = await openInbox();
    const types = new Set(EVERY_COMPONENT.map((component) => component.type));
    assert.equal(types.size, 12);
    for (const type of types) assert.ok((await card.locator(`.component-${type}`).count()) > 0, type);
    assert.equal(await card.locator('.unknown-component').count(), 0);

    const words = card.locator('[data-component-id=words]');
    assert.equal(await words.locator('strong').textContent(), 'Jan 8, 2027');
    assert.equal(await words.locator('a').count(), 1);
    assert.equal(await words.locator('a').getAttribute('href'), 'https://example.com/r_(1)');
    const text = (await words.textContent()) ?? '';
    assert.ok(text.includes(HOSTILE));
    assert.ok(text.includes('[bad](javascript:alert(1))'));
    assert.equal(await page.evaluate('window.hacked'), undefined);
    assert.equal(await page.locator('img[src=x]').count(), 0);

    const long = card.locator('.pair dd').first();
    assert.equal(
      await long.getAttribute('title'),
      'pro_monthly_with_a_name_that_never_fits_on_one_line_of_the_card',
    );
    assert.equal(
      await page.evaluate(
        '(() => { const dd = document.querySelector("#card dd"); return dd.scrollWidth > dd.clientWidth; })()',
      ),
      true,
    );
    assert.deepEqual(pageErrors, []);
  });

  test('loads images on the server, from HTTPS addresses only', async () => {
    const card = await openInbox();
    const image = card.locator('.component-image img');
    await until(
      () => page.evaluate('document.querySelector(".component-image img")?.naturalWidth === 40'),
      'the image',
    );
    assert.match(
      (await image.getAttribute('src')) ?? '',
      /^\/inbox\/api\/image\?url=https%3A%2F%2Fapp\.test/,
    );
    assert.deepEqual(workspace.images, ['https://app.test/picture.svg']);
    const refused = await fetch(`${origin}/inbox/api/image?url=http://app.test/picture.svg`);
    assert.equal(refused.status, 400);
    assert.equal(workspace.images.length, 1);
  });

  test('draws the marks of a text, for systems without an emoji font, and keeps its characters', async () => {
    const card = await openInbox();
    const mark = card.locator('[data-component-id=mark]');
    assert.equal(await mark.textContent(), '⚠️ Payment failed. 🟨\u00a0grace period');
    assert.equal(await mark.locator('svg.emoji').count(), 2);
    const box = await mark.locator('svg.emoji').first().boundingBox();
    assert.ok(box && box.width === 14 && box.height === 14);
  });

  test('submits every value, the canvas as it came, and the id of what was used', async () => {
    const card = await openInbox();
    await card.getByLabel('Find', { exact: true }).fill('ada@example.com');
    await card.getByLabel('Reason').fill('Outage on Monday');
    await card.getByLabel('Duration').selectOption('weekly');
    await card.getByLabel('Team').check();
    await card.getByLabel('Send an e-mail').check();
    await card.getByRole('button', { name: 'Review' }).click();
    await settled();
    assert.deepEqual(lastCall(), {
      flow: 'submit',
      adminId: 'a1',
      conversationId: '101',
      contactId: 'c1',
      componentId: 'grant.review',
      inputValues: {
        'match.query': 'ada@example.com',
        saved: 'kept',
        failed: 'wrong',
        'grant.reason': 'Outage on Monday',
        'grant.duration': 'weekly',
        'grant.entitlement': 'team',
        tell: ['note', 'mail'],
      },
      currentCanvas: { content: { components: EVERY_COMPONENT }, stored_data: { n: 1 } },
    });
  });

  test('is used from the keyboard alone', async () => {
    const card = await openInbox();
    await card.getByLabel('Find', { exact: true }).focus();
    await page.keyboard.type('ada');
    await page.keyboard.press('Enter');
    await settled();
    assert.equal(lastCall().componentId, 'match.query');
    assert.equal(lastCall().inputValues?.['match.query'], 'ada');
    assert.equal(
      await page.evaluate('document.activeElement.closest("[data-component-id]").dataset.componentId'),
      'match.query',
    );

    await card.getByRole('button', { name: /Renewed/ }).focus();
    await page.keyboard.press('Space');
    await settled();
    assert.equal(lastCall().componentId, 'event:1');

    await card.getByLabel('Pro', { exact: true }).focus();
    await page.keyboard.press('Space');
    await page.keyboard.press('ArrowRight');
    await card.getByRole('button', { name: 'Refresh' }).focus();
    await page.keyboard.press('Enter');
    await settled();
    assert.equal(lastCall().inputValues?.['grant.entitlement'], 'team');
    const live = await page.locator('#card-live').textContent();
    assert.match(live ?? '', /Card updated\. Pro, \$9\.99 a month/);
  });

  test('locks what is saved and marks what failed', async () => {
    const card = await openInbox();
    assert.equal(await card.getByLabel('Saved', { exact: true }).first().isDisabled(), true);
    assert.equal(await card.getByLabel('Failed').getAttribute('aria-invalid'), 'true');
    assert.equal(await card.getByLabel('Reason').getAttribute('aria-invalid'), 'true');
    assert.equal(await card.getByRole('button', { name: 'Not now' }).isDisabled(), true);
    assert.equal(await card.getByLabel('Old', { exact: true }).isDisabled(), true);
  });

  test('shows that it works and keeps a second click back, unless it is asked to let it through', async () => {
    for (const [query, submits] of [
      ['', 1],
      ['?doubleclick', 2],
    ] as const) {
      const card = await openInbox(query);
      let open = (): void => {};
      workspace.gate = new Promise((resolve) => {
        open = resolve;
      });
      workspace.calls = [];
      const button = card.getByRole('button', { name: 'Review' });
      await button.dblclick();
      await page.locator('[data-testid=card][aria-busy=true]').waitFor();
      assert.match((await button.getAttribute('class')) ?? '', /is-working/);
      open();
      await settled();
      assert.equal(workspace.calls.filter((call) => call.flow === 'submit').length, submits, query);
    }
  });

  test('draws what Intercom would refuse as a list of problems, and keeps the card', async () => {
    const card = await openInbox();
    workspace.problems = ['components[3].options: at most 10 options', 'components[4].id: is required'];
    await card.getByRole('button', { name: 'Refresh' }).click();
    const panel = page.getByTestId('problems');
    await panel.waitFor();
    assert.deepEqual(await panel.locator('li').allInnerTexts(), workspace.problems);
    assert.ok(((await panel.boundingBox())?.y ?? -1) > 0);
    workspace.problems = null;
    await card.getByRole('button', { name: 'Refresh' }).click();
    await panel.waitFor({ state: 'detached' });
  });

  test('shows what reached the contact, and loads the card again after what happened', async () => {
    await openInbox();
    assert.match(
      (await page.getByTestId('attributes').textContent()) ?? '',
      /rc_expires_at1799413500Jan 8, 2027/,
    );
    const calls = workspace.calls.length;
    await page.getByTestId('actions-menu').locator('summary').click();
    await page.getByTestId('action-renew').click();
    await page.getByTestId('events').getByText('rc_renewal_event').waitFor();
    assert.match((await page.getByTestId('notice').textContent()) ?? '', /RevenueCat sent RENEWAL/);
    assert.deepEqual(workspace.actions, ['c1:renew']);
    await page.locator('[data-testid=card].is-reloaded').waitFor();
    assert.equal(workspace.calls.length, calls + 1);
    assert.equal(lastCall().flow, 'initialize');
    assert.match((await page.getByTestId('notice').textContent()) ?? '', /The card loads again/);
    workspace.notes.push({
      author: 'note',
      authorName: 'Noor',
      html: '<p>Granted <b>Pro</b></p>',
      atMs: AT_MS,
    });
    await page.locator('[data-author=note]').getByText('Pro').waitFor();
    assert.equal(workspace.calls.length, calls + 1, 'a new message does not load the card');
  });

  test('loads a card again that was used before something happened', async () => {
    const card = await openInbox();
    await card.getByRole('button', { name: 'Refresh' }).click();
    await page.locator('[data-testid=card][data-flow=submit]').waitFor();
    await page.getByTestId('actions-menu').locator('summary').click();
    await page.getByTestId('action-renew').click();
    await page.locator('[data-testid=card].is-reloaded').waitFor();
    assert.equal(lastCall().flow, 'initialize');
  });

  test('opens the next conversation with j and the previous one with k', async () => {
    await openInbox();
    await page.keyboard.press('j');
    await page.waitForURL(/conversation=102/);
    await page.keyboard.press('k');
    await page.waitForURL(/conversation=101/);
    await page.getByTestId('composer-text').fill('');
    await page.getByTestId('composer-text').press('j');
    assert.equal(await page.getByTestId('composer-text').inputValue(), 'j');
    assert.match(page.url(), /conversation=101/);
  });

  test('switches faults', async () => {
    await openInbox();
    await page.getByText('Faults').click();
    await page.getByTestId('fault-revenuecat-slow').click();
    await page.locator('#fault-count', { hasText: '1' }).waitFor();
    assert.equal(workspace.faults.get('revenuecat-slow'), true);
    await page.keyboard.press('Escape');
    assert.equal(await page.getByTestId('fault-revenuecat-slow').isVisible(), false);
  });

  test('refuses malformed calls with a reason', async () => {
    const post = (body: string): Promise<Response> =>
      fetch(`${origin}/inbox/api/canvas`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json' },
      });
    for (const body of ['{', '[]', '{"flow":"destroy"}']) {
      const answer = await post(body);
      assert.equal(answer.status, 400, body);
      assert.match(JSON.stringify(await answer.json()), /"code":"bad_request"/);
    }
    assert.equal(workspace.calls.length, 0);
  });

  test('sends what a teammate writes, as a reply or as a note', async () => {
    await openInbox();
    const text = page.getByTestId('composer-text');
    const send = page.getByTestId('composer-send');
    assert.equal(await send.isDisabled(), true);
    await text.fill('You will not be charged.');
    await send.click();
    await page.locator('[data-author=admin]').getByText('You will not be charged.').waitFor();
    assert.equal(await text.inputValue(), '');
    await page.getByLabel('Note', { exact: true }).check();
    await text.fill('Paid twice in May.');
    await text.press('Control+Enter');
    await page.locator('[data-author=note]').getByText('Paid twice in May.').waitFor();
    assert.deepEqual(
      workspace.written.map(({ kind, conversationId, text: words }) => [kind, conversationId, words]),
      [
        ['reply', '101', 'You will not be charged.'],
        ['note', '101', 'Paid twice in May.'],
      ],
    );
    await text.fill('A draft');
    await page.getByTestId('conversation-102').click();
    await page.getByRole('heading', { name: 'Bruno Lindqvist' }).waitFor();
    assert.equal(await text.inputValue(), '', 'a draft went along to another customer');
    assert.deepEqual(pageErrors, []);
  });

  test('is accessible and fits a desktop and a phone', async () => {
    workspace.notes.push({ author: 'note', authorName: 'Noor', html: '<p>Granted Pro</p>', atMs: AT_MS });
    await openInbox();
    await page.getByTestId('attributes').waitFor();
    assert.equal(await page.evaluate('document.documentElement.scrollHeight'), 900);
    await assertAccessible(page, 'inbox');
  });
});
