import assert from 'node:assert/strict';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { addMigrateCommand } from '../../src/database/command.ts';
import { signBody } from '../../src/simulator/intercom/app-caller.ts';
import { DAY_MS } from '../../src/time.ts';
import { eventBody } from '../support/events.ts';
import { runCommandHere, type ServerProcess, startCommand, startServerProcess } from '../support/process.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, WORKSPACE_ID } from '../support/world.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { makeNextVersion, type NextVersion } from './next-version.ts';

/** Enough for some in every step, but no more: processing them costs more processor time than the upgrade itself. */
const WEBHOOKS_A_SECOND = 30;
const CARDS_A_SECOND = 5;
const CUSTOMERS = 200;
/** Customers with a contact: their events are delivered by both versions. */
const DELIVERED = 30;
/** At least this many requests are made before the test ends. */
const MIN = 300;
/** While this many requests are unanswered, the sender waits, as the platforms do: a slow machine is not overloaded. */
const MAX_UNANSWERED = 40;
/** The app gives up connecting to PostgreSQL after this time. A 503 that comes sooner has another cause. */
const CONNECT_TIMEOUT_MS = 5_000;
const MAX_TRIES = 3;

describe('an upgrade with a migration, one process after the other, and back, under load', () => {
  let product: Product;
  let next: NextVersion;
  let balancer: Balancer;
  let processes: ServerProcess[];
  const agent = new Agent({ keepAlive: true });

  before(async () => {
    // Only the restarted processes run deliveries and jobs.
    product = await createProduct({ environment: { ROLE: 'web' } });
    for (let customer = 0; customer < DELIVERED; customer += 1)
      product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `customer-${customer}` });
    next = await makeNextVersion();
    balancer = await startBalancer();
    processes = await Promise.all([start(), start()]);
    balancer.use(processes.map((each) => each.url));
    await until(() => processes.every((each) => balancer.isHealthy(each.url)), 'both processes');
  });
  after(async () => {
    for (const each of processes ?? []) each.child.kill('SIGKILL');
    agent.destroy();
    await balancer?.close();
    await product?.close();
    await next?.remove();
  });

  const environment = () => ({ ...product.environment, ROLE: 'all', DRAIN_SECONDS: '3' });
  const start = (folder?: string) => startServerProcess(environment(), folder);

  /** @returns `said`: the status and the body, or the code of the failure */
  function post(
    path: string,
    headers: Record<string, string>,
    body: string,
  ): Promise<{ response: string; headers: IncomingHttpHeaders }> {
    return new Promise((resolve) => {
      const sent = request(
        `${balancer.url}${path}`,
        { method: 'POST', agent, headers: { 'Content-Type': 'application/json', ...headers } },
        (answer) => {
          let text = '';
          answer.setEncoding('utf8');
          answer.on('data', (chunk: string) => {
            text += chunk;
          });
          answer.on('end', () =>
            resolve({ response: `${answer.statusCode} ${text}`, headers: answer.headers }),
          );
          answer.on('error', (error) => resolve({ response: error.message, headers: {} }));
        },
      );
      sent.on('error', (error: NodeJS.ErrnoException) =>
        resolve({ response: error.code ?? error.message, headers: {} }),
      );
      sent.end(body);
    });
  }

  /**
   * Repeats a request for which a process was too slow because it has just started on a busy machine. RevenueCat also
   * retries, and an agent opens the card again.
   *
   * @returns the last answer
   */
  async function postUntilInTime(...sent: Parameters<typeof post>): Promise<string> {
    for (let tries = 1; ; tries += 1) {
      const sentMs = performance.now();
      const { response, headers } = await post(...sent);
      const isLateCard = response.includes('This is taking longer than usual');
      const isTimeout =
        response.startsWith('503 {"error":{"code":"database_unavailable"') &&
        performance.now() - sentMs >= CONNECT_TIMEOUT_MS;
      const retryAfter = headers['retry-after'];
      if (tries === MAX_TRIES || !(isLateCard || (isTimeout && retryAfter))) return response;
      if (isTimeout) await sleep(Number(retryAfter) * 1_000);
    }
  }

  test('no request fails, every webhook is stored once, and every event is on its contact once', async () => {
    const answers = new Map<string, number>();
    const underway = new Set<Promise<void>>();
    let webhooks = 0;
    let cards = 0;
    let stop = false;
    const note = (answer: Promise<string>, expected: RegExp): void => {
      const work = answer.then((text) => {
        const key = expected.test(text) ? 'as expected' : text.slice(0, 200);
        answers.set(key, (answers.get(key) ?? 0) + 1);
        underway.delete(work);
      });
      underway.add(work);
    };
    const webhookPath = new URL(product.webhook.url).pathname;
    const sendWebhook = (): void => {
      webhooks += 1;
      const id = `customer-${webhooks % CUSTOMERS}`;
      const event = eventBody({
        id: `rolling-${webhooks}`,
        type: 'RENEWAL',
        app_user_id: id,
        original_app_user_id: id,
        aliases: [id],
        transaction_id: `t-${webhooks}`,
        original_transaction_id: id,
        event_timestamp_ms: Date.now(),
        expiration_at_ms: Date.now() + 20 * DAY_MS,
      });
      const body = JSON.stringify({ api_version: '1.0', event });
      const headers = { Authorization: product.webhook.authorization };
      note(postUntilInTime(webhookPath, headers, body), /^200 .*accepted/);
    };
    const openCard = (): void => {
      cards += 1;
      const body = JSON.stringify({
        workspace_id: WORKSPACE_ID,
        admin: { id: '7001', name: 'Ada Agent' },
        contact: { id: `contact-${cards % CUSTOMERS}`, external_id: `customer-${cards % CUSTOMERS}` },
        conversation: { id: '1' },
      });
      // A complete card links to the timeline, or has the search if the customer's first webhook is still on its way.
      const whole = /^200 .*"(timeline|match\.search)"/;
      const headers = { 'X-Body-Signature': signBody(CLIENT_SECRET, body) };
      note(postUntilInTime('/canvas/inbox/initialize', headers, body), whole);
    };

    const begunMs = performance.now();
    const load = setInterval(() => {
      const seconds = (performance.now() - begunMs) / 1_000;
      const may = (): boolean => !stop && underway.size < MAX_UNANSWERED;
      while (may() && webhooks < seconds * WEBHOOKS_A_SECOND) {
        sendWebhook();
        if (cards < (webhooks * CARDS_A_SECOND) / WEBHOOKS_A_SECOND) openCard();
      }
    }, 10);

    const stopOne = async (): Promise<void> => {
      const old = processes.shift() as ServerProcess;
      old.child.kill('SIGTERM');
      assert.equal((await old.ended).code, 0, old.output());
      assert.match(old.output(), /"msg":"stopped"/);
    };
    const startOne = async (folder?: string): Promise<ServerProcess> => {
      const started = await start(folder);
      processes.push(started);
      balancer.use(processes.map((each) => each.url));
      await until(() => balancer.isHealthy(started.url), 'the new process');
      return started;
    };
    // On the migrated database, both versions serve together and each one alone, at the end the old one.
    const steps: (() => Promise<void>)[] = [
      async () => {
        await stopOne();
        assert.match((await startOne(next.folder)).output(), /NextVersion\d+.*"msg":"migrated"/);
      },
      stopOne,
      async () => void (await startOne()),
      stopOne,
    ];
    for (const [step, take] of steps.entries()) {
      await until(() => webhooks + cards > (MIN / 5) * (step + 1), 'some load');
      await take();
    }
    await until(() => webhooks + cards >= MIN, 'the load');
    stop = true;
    clearInterval(load);
    await Promise.all(underway);

    assert.deepEqual([...answers.keys()], ['as expected'], JSON.stringify([...answers]));
    assert.ok(cards >= MIN / 8, `${cards} cards`);
    const count = async (table: 'webhooks' | 'events'): Promise<number> => {
      const [row] = await product.db.database.query<{ n: number }>(
        `select count(*)::int as n from ${table} where workspace_id = $1`,
        [WORKSPACE_ID],
      );
      return row?.n ?? 0;
    };
    assert.equal(await count('webhooks'), webhooks);
    await until(async () => (await count('events')) >= webhooks, 'every webhook to be interpreted', 60_000);
    assert.equal(await count('events'), webhooks);

    const expected = Array.from({ length: webhooks }, (_, index) => index + 1)
      .filter((number) => number % CUSTOMERS < DELIVERED)
      .map((number) => `rolling-${number}`);
    const { events } = product.intercom.state;
    await until(() => events.length >= expected.length, 'every event to be on its contact', 60_000);
    assert.deepEqual(events.map(({ metadata }) => metadata.event_id).sort(), expected.sort());
  });

  test('the migration is taken back with the code that brought it, and nothing else is lost', async () => {
    const columns = (): Promise<{ name: string }[]> =>
      product.db.database.query(
        `select column_name as name from information_schema.columns
          where table_name = 'subscribers' and column_name = 'next_version'`,
      );
    const counted = async (): Promise<unknown> =>
      product.db.database.query(
        `select (select count(*) from subscribers where workspace_id = $1) as subscribers,
                (select count(*) from events where workspace_id = $1) as events`,
        [WORKSPACE_ID],
      );
    const before = await counted();
    assert.equal((await columns()).length, 1);
    for (const each of processes) {
      each.child.kill('SIGTERM');
      await each.ended;
    }
    const undone = startCommand(['migrate', '--undo', '1', '--json'], environment(), next.folder);
    assert.equal((await undone.ended).code, 0, undone.output());
    assert.match(undone.output(), /NextVersion/);
    assert.equal((await columns()).length, 0);
    assert.deepEqual(await counted(), before);
    const again = await runCommandHere(addMigrateCommand, ['migrate', '--json'], environment());
    assert.equal(again.stdout, '{"up_to_date":true}\n');
  });
});
