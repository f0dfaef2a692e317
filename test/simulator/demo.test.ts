/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { FrameLocator, Page } from 'playwright-core';
import { type Demo, startDemo } from '../../src/simulator/demo.ts';
import type { Canvas } from '../../src/simulator/intercom/canvas-rules.ts';
import { textOf } from '../inbox-card/support.ts';
import { assertAccessible, axeFindings, bringAxe, focused, tabTo } from '../support/accessibility.ts';
import { createTestDatabase } from '../support/database.ts';
import { useDemo } from '../support/demo.ts';
import { until } from '../support/wait.ts';
import { logger } from '../support/world.ts';

/** What happens, in this order, and what the card says after it has reloaded. */
const ACTION_SENTENCES: readonly (readonly [name: string, action: string, sentence: RegExp])[] = [
  ['Ben Ortiz', 'convert', /^Pro, \$9\.99 a month\. Next charge/],
  ['Cleo Marsh', 'uncancel', /^Pro, free trial until/],
  ['Ann Berg', 'plan', /Pro/],
  ['Ann Berg', 'renew', /^Pro, \$79\.99 a year\. Next charge/],
  ['Ann Berg', 'refund', /^Refunded \$79\.99 on/],
  ['Ann Berg', 'unrefund', /^Pro, /],
  ['Mara Klein', 'upgrade', /^Pro, \$79\.99 a year\. Next charge/],
  ['Mara Klein', 'pause', /^Paused since/],
  ['Mara Klein', 'resume', /^Pro, .+Next charge/],
  ['Mara Klein', 'extend', /^Pro, .+Next charge/],
  ['Nils Holm', 'price', /price/],
  ['Olga Petrov', 'cancel', /^Pro, cancelled on/],
  ['Olga Petrov', 'transfer', /moved to another customer/],
  ['Lea Novak', 'renew', /^Pro, .+Next charge/],
];

const { demo, newPage } = useDemo();
const origin = (): string => new URL(demo().inboxUrl).origin;

async function openPage(path: string): Promise<Page> {
  const page = await newPage();
  await page.goto(`${origin()}${path}`);
  return page;
}

async function conversationOf(name: string): Promise<{ readonly id: string; readonly contactId: string }> {
  const response = await fetch(`${origin()}/inbox/api/conversations`);
  const all = (await response.json()) as { id: string; contactId: string; contactName: string }[];
  const found = all.find(({ contactName }) => contactName === name);
  assert.ok(found, name);
  return found;
}

async function contactOf(name: string): Promise<string> {
  return (await conversationOf(name)).contactId;
}

/** Half of the Messenger in the demo, px. */
const HALF_THE_MESSENGER = 352;

describe('the Messenger of a customer', () => {
  let page: Page;
  before(async () => {
    page = await newPage({ width: 1_440, height: 900 });
  });
  after(() => page?.close());

  async function openMessenger(conversationId: string): Promise<FrameLocator> {
    await page.goto(`${demo().inboxUrl}?conversation=${conversationId}`);
    await page.getByTestId('messenger-toggle').click();
    return page.frameLocator('[data-testid=messenger-frame]');
  }

  async function shoot(name: string): Promise<void> {
    const shots = process.env.SCREENSHOTS;
    if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
  }

  test('shows the customer their own card in the Messenger’s home, step by step', async () => {
    const messenger = await openMessenger('501');
    const card = messenger.getByTestId('messenger-card');
    await card.getByText('You have Pro').waitFor();
    await shoot('messenger-home');
    const box = await card.boundingBox();
    assert.ok(box && box.height <= HALF_THE_MESSENGER, `${box?.height} px`);

    await card.getByRole('button', { name: 'History' }).click();
    await card.getByText('You subscribed').waitFor();
    const history = await card.boundingBox();
    assert.ok(history && history.height <= HALF_THE_MESSENGER, `${history?.height} px`);
    await shoot('messenger-history');
    await card.getByRole('button', { name: 'Back to start' }).click();
    await card.getByText('You have Pro').waitFor();

    await messenger.getByTestId('messenger-locale').selectOption('ja');
    await card.getByText('ご利用中です').waitFor();

    const frame = page.frames().find((each) => each.url().includes('/messenger'));
    assert.ok(frame);
    assert.deepEqual(await axeFindings(frame), []);
  });

  test('stays within half of the Messenger for every sample customer, in every language', async () => {
    const answer = await fetch(`${origin()}/inbox/api/conversations`);
    const people = (await answer.json()) as { contactId: string; contactName: string }[];
    await page.setViewportSize({ width: 380, height: 704 });
    const card = page.getByTestId('messenger-card');
    const height = async (): Promise<number> =>
      (await card.boundingBox())?.height ?? Number.POSITIVE_INFINITY;
    for (const [index, { contactId, contactName }] of people.slice(0, 13).entries()) {
      await page.goto(`${origin()}/messenger?contact=${contactId}`);
      const locale = ['en', 'de', 'fr', 'es', 'pt', 'ja'][index % 6] ?? 'en';
      await page.getByTestId('messenger-locale').selectOption(locale);
      await page.locator('[data-testid=messenger-card][aria-busy=false][data-flow=live]').waitFor();
      assert.ok((await height()) <= HALF_THE_MESSENGER, `${contactName} in ${locale}: ${await height()} px`);
      assert.equal(await card.getByRole('alert').count(), 0, contactName);
    }
    await page.setViewportSize({ width: 1_440, height: 900 });
  });

  test('leads to the inbox when its address names no customer', async () => {
    const response = await fetch(new URL('/messenger', demo().inboxUrl), { redirect: 'manual' });
    assert.deepEqual([response.status, response.headers.get('location')], [302, '/inbox']);
  });

  test('shows nothing to a visitor who is not signed in', async () => {
    const messenger = await openMessenger('599');
    await messenger.getByTestId('messenger-card').getByText('Sign in to the app').waitFor();
  });

  test('shares the card from the inbox into the conversation', async () => {
    const messenger = await openMessenger('504');
    await messenger.getByTestId('messenger-card').getByText('is cancelled').waitFor();
    await page.getByTestId('card').getByRole('button', { name: 'Share with the customer' }).click();
    await page.getByTestId('card').getByText('was added to your reply').waitFor();
    await page.getByTestId('reply-card').waitFor();
    await shoot('messenger-share');
    await page.getByTestId('send-card').click();
    await page.getByTestId('thread').getByText('Card: the customer’s own subscription').waitFor();
    assert.equal(await page.getByTestId('reply-card').count(), 0);

    await messenger.getByTestId('messenger-open-messages').click();
    const shared = messenger.getByTestId('shared-card');
    await shared.getByText('is cancelled').waitFor();
    await shared.getByRole('button', { name: 'History' }).click();
    await shared.getByText('Back to start').waitFor();
    await shoot('messenger-shared');
  });

  test('opens the hosted support page from the customer’s app', async () => {
    const messenger = await openMessenger('501');
    const opened = page.context().waitForEvent('page');
    await messenger.getByTestId('support-link').click();
    const support = await opened;
    await support.context().route('https://widget.intercom.io/**', (route) => route.abort());
    await support.getByRole('heading', { name: 'Your subscription' }).waitFor();
    await until(() => new URL(support.url()).search === '', 'an address without the link’s credential');
    await support.close();
  });
});

test('everything that can happen changes the card', async () => {
  const post = async (path: string, body: object): Promise<unknown> => {
    const response = await fetch(`${origin()}/inbox/api${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200, path);
    return response.json();
  };
  for (const [name, actionId, sentence] of ACTION_SENTENCES) {
    const { id: conversationId, contactId } = await conversationOf(name);
    await post(`/contacts/${contactId}/actions`, { actionId });
    const read = async (): Promise<string> => {
      const call = { flow: 'initialize', adminId: '1001', conversationId, contactId };
      const { canvas } = (await post('/canvas', call)) as { canvas: Canvas };
      // Removes the mark before the headline.
      return textOf(canvas).replace(/^[^\p{L}\p{N}]+/u, '');
    };
    await until(async () => sentence.test(await read()), `${name}: ${actionId}`).catch(async () => {
      assert.match(await read(), sentence, `${name}: ${actionId}`);
    });
  }
});

describe('the inbox', () => {
  let page: Page;
  before(async () => {
    page = await openPage('/inbox');
  });
  after(() => page?.close());

  const idle = () => page.locator('[data-testid=card][aria-busy=false]').waitFor();
  const open = async (name: string): Promise<void> => {
    await page.getByRole('navigation').getByText(name, { exact: true }).click();
    await page.getByRole('heading', { name, exact: true }).waitFor();
    await idle();
  };

  test('the timeline begins with a picture of the subscription', async () => {
    await open('Eva Lind');
    await page
      .getByTestId('card')
      .getByRole('button', { name: /^Timeline/ })
      .click();
    await page.getByTestId('card').getByText('🟨 grace period').waitFor();
    await until(
      () => page.evaluate('document.querySelector("#card img")?.naturalWidth === 660'),
      'the picture',
    );
  });

  test('a webhook that is sent from the page reaches the contact and the card', async () => {
    await open('Dev Patel');
    const events = page.getByTestId('events').getByText('rc_uncancellation_event');
    assert.equal(await events.count(), 0);
    await page.getByTestId('actions-menu').locator('summary').click();
    const reloaded = page.waitForResponse((response) => response.url().endsWith('/api/canvas'));
    await page.getByTestId('action-uncancel').click();
    await reloaded;
    await events.first().waitFor();
    assert.equal(await events.count(), 1);
    await page
      .getByTestId('card')
      .getByText(/Pro, \$9\.99 a month\. Next charge/)
      .waitFor();
    assert.match((await page.getByTestId('notice').textContent()) ?? '', /UNCANCELLATION/);
  });

  test('the three steps lead to what they name', async () => {
    await page.getByTestId('tour').locator('#tour-actions').click();
    await page.getByTestId('action-renew').first().waitFor();
    await page.keyboard.press('Escape');
    for (const path of ['/appstore', '/revenuecat', '/intercom'])
      assert.equal(await page.getByTestId('tour').locator(`a[href="${path}"]`).count(), 1);
  });

  test('no measurement is on the page, and nothing is cut off on a phone', async () => {
    assert.equal(await page.getByTestId('card-note').textContent(), '');
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.equal(overflow, 0);
  });

  test('the conversation that the address names is in view, also at the end of the list', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${origin()}/inbox?conversation=610`);
    await idle();
    const box = await page.getByTestId('conversation-610').boundingBox();
    assert.ok(box && box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
  });
});

test('the app is installed from the App Store page into the workspace that does not have it', async () => {
  const page = await openPage('/appstore');
  await page.getByRole('link', { name: 'Install' }).click();
  const selected = page.locator('option:checked');
  assert.match((await selected.textContent()) ?? '', /^Your workspace \(not installed yet\)/);
  await page.getByRole('button', { name: 'Authorize access' }).click();
  await page.getByRole('heading', { name: 'App installed' }).waitFor();
  assert.equal(new URL(page.url()).hostname, 'localhost');
  await page.getByRole('link', { name: 'Open the app’s settings' }).click();
  await page.getByText('RevenueCat').first().waitFor();
  assert.equal(new URL(page.url()).hostname, 'localhost');
  await page.close();
});

test('RevenueCat’s page shows the key to paste and sends a test event', async () => {
  const page = await openPage('/revenuecat');
  const key = /projyours {2}(sk_\S+)/.exec(demo().greeting)?.[1] ?? '';
  assert.ok(key);
  await page.getByTestId('project-projyours').getByText(key, { exact: true }).waitFor();
  const sample = page.getByTestId('project-projdemo1');
  await sample.getByRole('button', { name: 'Send test event' }).first().click();
  await page.getByTestId('notice').getByText('HTTP 200').waitFor();
  await sample.getByText(/^TEST · 200/).waitFor();
  await page.close();
});

test('the filter and the Series fill while a person watches', async () => {
  const page = await openPage('/intercom');
  const number = async (step: string): Promise<number> =>
    Number(await page.getByTestId(`step-${step}`).locator('.number').textContent());
  await page.getByTestId('step-entered').waitFor();
  const [entered, exits] = [await number('entered'), await number('exit')];
  await page.getByTestId('start-trial').click();
  await until(async () => (await number('entered')) === entered + 1, 'a customer to enter the Series');
  await page.getByTestId('step-waiting').getByText('Aria Blom').waitFor();
  await page.getByTestId('cancel-trial').click();
  await until(async () => (await number('exit')) === exits + 1, 'a customer to leave the Series');
  const person = page.getByTestId('people').getByRole('button', { name: 'Aria Blom' });
  await person.waitFor();
  await person.click();
  await page.getByTestId('contact').getByText('rc_trial_cancelled_event').waitFor();
  await page.getByTestId('contact').getByText('Subscription status').first().waitFor();
  await page.close();
});

describe('every page is accessible and fits, at phone and desktop width, in light and dark', () => {
  let page: Page;
  before(async () => {
    page = await openPage('/inbox');
    await bringAxe(page);
  });
  after(() => page?.close());

  for (const [path, isDrawn] of [
    ['/inbox?conversation=510', '[data-testid=card] .canvas'],
    ['/messenger?contact=', '[data-testid=messenger-card] .canvas'],
    ['/intercom', '[data-testid=step-entered]'],
    ['/revenuecat', '[data-testid=project-projdemo1]'],
    ['/appstore', 'main'],
  ] as const) {
    test(path, async () => {
      await page.goto(`${origin()}${path}${path.endsWith('=') ? await contactOf('Eva Lind') : ''}`);
      await page.locator(isDrawn).first().waitFor();
      await assertAccessible(page, `demo ${path}`);
    });
  }

  test('Intercom’s pages for an installation', async () => {
    await page.goto(`${origin()}/appstore`);
    await page.getByRole('link', { name: 'Install' }).click();
    await page.getByRole('button', { name: 'Authorize access' }).waitFor();
    await assertAccessible(page, 'demo authorize');
    await page.goto(`${origin()}/appstore/redirect?install_success=true`);
    await page.getByRole('heading', { name: 'App installed' }).waitFor();
    await assertAccessible(page, 'demo installed');
  });

  test('the open menus of the inbox', async () => {
    await page.goto(`${origin()}/inbox?conversation=501`);
    for (const menu of ['actions-menu', 'faults-menu']) {
      await page.getByTestId(menu).locator('summary').click();
      await assertAccessible(page, `demo ${menu}`, `[data-testid=${menu}]`);
    }
  });
});

/** Takes the place of Intercom's own script, which is not on this machine, and records how it is called. */
const WIDGET = 'window.Intercom = (...args) => { document.title = args[0]; };';

describe('with the keyboard alone', () => {
  let page: Page;
  before(async () => {
    page = await openPage('/inbox?conversation=504&admin=1001');
    await page.locator('[data-testid=card] .canvas').waitFor();
  });
  after(() => page?.close());

  /** Presses Tab until the control has the focus, then Enter, and waits for the card's answer. */
  const press = async (wanted: string): Promise<void> => {
    await tabTo(page, wanted);
    const answered = page.waitForResponse((response) => response.url().endsWith('/canvas'));
    await page.keyboard.press('Enter');
    await answered;
    await page.locator('[aria-busy=false] > .canvas').first().waitFor();
  };

  test('an agent opens a conversation, reads an event, and grants access', async () => {
    await tabTo(page, 'Skip to the card');
    await page.keyboard.press('Enter');
    assert.equal((await focused(page))?.name, 'Card');
    await page.keyboard.press('j');
    await page.getByRole('heading', { name: 'Eva Lind' }).waitFor();
    await page.locator('[data-testid=card][aria-busy=false]').getByText('Payment failed').first().waitFor();
    await tabTo(page, 'ELEva Lind', 'Shift+Tab');
    await page.keyboard.press('ArrowDown');
    await page.getByRole('heading', { name: 'Finn Doyle' }).waitFor();
    await page.locator('[data-testid=card][aria-busy=false]').getByText('No access since').waitFor();
    assert.match((await focused(page))?.name ?? '', /^FDFinn Doyle/);
    await press('timeline');
    await press('event:');
    await page.getByTestId('card').getByText('Event ID').waitFor();
    await press('timeline');
    await press('home');
    await press('grant');
    await tabTo(page, 'grant.duration');
    await page.keyboard.press('ArrowDown');
    await tabTo(page, 'grant.reason');
    await page.keyboard.type('Outage on Monday');
    await press('grant.review');
    await page.getByTestId('card').getByText('Reason').waitFor();
    await press('grant.confirm');
    await page
      .getByTestId('card')
      .getByText(/Pro is granted until/)
      .waitFor();
    await press('home');
    assert.match((await page.getByTestId('card').textContent()) ?? '', /^✅ .*Pro, granted by Alex Agent/);
  });

  test('the focus passes every control of the inbox once and leaves the page, in both directions', async () => {
    for (const key of ['Tab', 'Shift+Tab']) {
      await page.goto(`${origin()}/inbox?conversation=504&admin=1001`);
      await page.locator('[data-testid=card] .canvas').waitFor();
      // Anything drawn later above the focused control would move it out of view.
      await page.locator('#event-count', { hasText: /\d/ }).waitFor();
      const passed: string[] = [];
      for (;;) {
        await page.keyboard.press(key);
        const now = await focused(page);
        if (now === null) break;
        assert.ok(now.isVisible, `the focus on ${now.name} can be seen`);
        passed.push(`${now.component ?? ''} ${now.name}`);
        assert.ok(passed.length < 120, `no end after ${passed.slice(-5).join(', ')}`);
      }
      if (key === 'Shift+Tab') passed.reverse();
      const at = (name: string) => passed.findIndex((each) => each.includes(name));
      const order = [
        'Skip to',
        'What happens next?',
        'Settings',
        'Dev Patel',
        'Reply',
        'timeline',
        'Events ',
      ].map(at);
      assert.ok(order[0] === 0, passed.join(', '));
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
        passed.join(', '),
      );
    }
  });

  test('a customer reads their history in the Messenger, and manages their subscription on the support page', async () => {
    await page
      .context()
      .route('https://widget.intercom.io/**', (route) =>
        route.fulfill({ contentType: 'text/javascript', body: WIDGET }),
      );
    await page.goto(`${origin()}/messenger?contact=${await contactOf('Eva Lind')}`);
    await page.getByTestId('messenger-card').getByText('You').first().waitFor();
    await tabTo(page, 'Language');
    await tabTo(page, 'Manage');
    await press('History');
    await page.getByTestId('messenger-card').getByText('You subscribed').waitFor();
    await press('Back to start');
    await tabTo(page, 'Messages');
    await page.keyboard.press('Enter');
    await page.getByTestId('messenger-messages').getByText('I got a message about my card.').waitFor();
    await tabTo(page, 'Support page', 'Shift+Tab');
    const opened = page.context().waitForEvent('page');
    await page.keyboard.press('Enter');
    const support = await opened;
    await support.getByRole('heading', { name: 'Your subscription' }).waitFor();
    await tabTo(support, 'Manage');
    // The button comes with the script, which is bundled for the first page.
    await support.getByText('Write to us').waitFor();
    await tabTo(support, 'Write to us');
    await support.keyboard.press('Enter');
    await until(() => support.evaluate('document.title === "show"'), 'the Messenger to open');
    await support.close();
  });
});

describe('starting', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'demo-test-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('a given DATA_DIR is kept, and the next start continues where the last one stopped', async (t) => {
    const db = await createTestDatabase();
    const running: Demo[] = [];
    t.after(async () => {
      for (const demo of running) await demo.stop();
      await db.close();
    });
    const options = { port: 0, logger, databaseUrl: db.url, dataDir: join(folder, 'data') };
    const steps: string[] = [];
    const first = await startDemo({ ...options, onProgress: (step) => steps.push(step) });
    running.push(first);
    assert.deepEqual(
      steps.map((step) => step.split(' ', 2).join(' ')),
      ['Starting PostgreSQL', 'Installing the', 'Sending the', 'Preparing special'],
    );
    const people = async (running: Demo) => {
      const response = await fetch(`${new URL(running.inboxUrl).origin}/platforms/api/intercom/people`);
      const body = (await response.json()) as { people: { name: string; events: unknown[] }[] };
      return new Map(body.people.map(({ name, events }) => [name, events.length]));
    };
    const started = await fetch(`${new URL(first.inboxUrl).origin}/platforms/api/intercom/trials/start`, {
      method: 'POST',
    });
    assert.equal(started.status, 200);
    await until(async () => (await people(first)).get('Aria Blom') === 1, 'the event of the new trial');
    const before = await people(first);
    await first.stop();
    const second = await startDemo(options);
    running.push(second);
    const after = await people(second);
    assert.deepEqual([...after.keys()], [...before.keys()]);
    assert.equal(after.get('Aria Blom'), 1);
    // Events that were still on their way may have arrived since.
    for (const [name, events] of before) assert.ok((after.get(name) ?? 0) >= events, name);
    assert.match(second.greeting, new RegExp(`The data stays in ${options.dataDir}`));
  });

  test('a taken port and a folder that cannot be written to are named, with what to do', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    await assert.rejects(startDemo({ port: port - 1, logger }), {
      message: new RegExp(`Port ${port}, for the demo's pages, is taken\\. Set PORT`),
    });
    server.close();
    const file = join(folder, 'file');
    await writeFile(file, '');
    await assert.rejects(startDemo({ port: 0, logger, dataDir: join(file, 'data') }), {
      message: /Cannot write to .+ Set DATA_DIR to a writable folder\.$/,
    });
  });

  test('the command prints its first line before PostgreSQL starts, and ends with a message instead of a stack', async () => {
    // PostgreSQL cannot start in this folder, so whatever is printed comes before.
    const environment = { ...process.env, DATA_DIR: join(folder, 'file', 'data'), PORT: '0' };
    const child = spawn(process.execPath, ['src/simulator/main.ts'], { env: environment });
    const errors: string[] = [];
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk.toString()));
    const [first] = (await once(child.stdout, 'data')) as [Buffer];
    assert.match(first.toString(), /^\s*Subscription Timeline demo: .+\n\s*$/);
    const [code] = await once(child, 'exit');
    assert.equal(code, 1);
    assert.match(errors.join(''), /^\s*Cannot write to .+\. Set DATA_DIR to a writable folder\.\s*$/);
  });
});
