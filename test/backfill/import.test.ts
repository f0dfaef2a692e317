import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { addBackfillCommand } from '../../src/backfill/command.ts';
import { importCustomer } from '../../src/backfill/import-customer.ts';
import {
  changeState,
  claimCustomers,
  closeCustomers,
  findReadCustomer,
  type ImportProgress,
  postponeCustomer,
  readImport,
  saveListedPage,
  startImport,
} from '../../src/backfill/repository.ts';
import { runImport } from '../../src/backfill/run.ts';
import { openDatabase } from '../../src/database/data-source.ts';
import { AppError } from '../../src/errors.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import type { RevenueCatClient } from '../../src/revenuecat/client.ts';
import { DAY_MS } from '../../src/time.ts';
import { storeApiKey } from '../../src/workspaces/project-connection.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { runCommandHere, startCommand } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { logger, PROJECT_ID, WORKSPACE_ID } from '../support/world.ts';
import { addCustomer, createImportWorld, type ImportWorld, RC_PROJECT } from './support.ts';

describe('importing the history of a project', () => {
  let db: TestDatabase;
  let world: ImportWorld;

  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());
  beforeEach(async () => {
    world = await createImportWorld({ db });
    world.revenueCat.state.limitsPerMinute.customer = 100_000;
  });
  afterEach(() => world.close());

  async function importAll(eventsSinceMs: number | null = null): Promise<ImportProgress> {
    const { progress } = await start(eventsSinceMs);
    await runImport(world.app, progress, { signal: new AbortController().signal });
    const last = await readImport(world.db.database, progress);
    assert.ok(last);
    return last;
  }

  const start = (eventsSinceMs: number | null = null) =>
    startImport(world.db.database, {
      workspaceId: WORKSPACE_ID,
      projectId: PROJECT_ID,
      eventsSinceMs,
    });

  /** Lets a test do something in the middle of an import. @returns a function that ends the delay */
  const slowDown = () =>
    world.revenueCat.faults.add({ latencyMs: 150, pathPrefix: `/v2/projects/${RC_PROJECT}/customers/` });

  /** The app, but with this function in place of RevenueCat's list of customers. */
  const appListing = (
    listCustomers: (after: string | null) => ReturnType<RevenueCatClient['listCustomers']>,
  ): typeof world.app => ({
    ...world.app,
    revenueCat(project, options) {
      const client = world.app.revenueCat(project, options);
      return client && { ...client, listCustomers: (_, after) => listCustomers(after) };
    },
  });

  /** Everything that an import may change, except processing times. */
  async function stored(): Promise<unknown> {
    const { database } = world.db;
    return {
      subscribers: await database.query(
        `select email, snapshot - 'takenAtMs' as snapshot, first_event_at_ms, contact_id,
                (select array_agg(i.app_user_id order by i.app_user_id) from subscriber_ids i
                  where i.subscriber_id = s.subscriber_id) as ids
           from subscribers s where merged_into is null order by snapshot->>'customerId'`,
      ),
      events: await database.query(
        `select event_id, side, type, event_at_ms, fields::text, delivery, reason from ${EVENT_STATES} order by event_id, side`,
      ),
    };
  }

  const bought = (id: string, fields: Record<string, unknown> = {}) =>
    eventBody({
      id: `event-${id}`,
      app_user_id: id,
      original_app_user_id: id,
      aliases: [id],
      transaction_id: `tx_${id}`,
      original_transaction_id: `tx_${id}`,
      event_timestamp_ms: Date.now() - 20 * DAY_MS,
      purchased_at_ms: Date.now() - 20 * DAY_MS,
      expiration_at_ms: Date.now() + 10 * DAY_MS,
      ...fields,
    });

  function receive(body: Record<string, unknown>) {
    const received = prepareEvent(body, Date.now());
    return storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [received]);
  }

  it('brings customers, aliases, attributes, subscriptions, purchases and their events', async () => {
    const customer = addCustomer(world.revenueCat, 'ann', {
      aliases: ['$RCAnonymousID:1'],
      email: 'Ann@Example.com',
      subscribed: true,
      bought: true,
    });
    customer.events.push({ ...bought('ann'), type: 'INITIAL_PURCHASE' });
    addCustomer(world.revenueCat, 'nobody');
    const progress = await importAll();
    assert.equal(progress.state, 'done');
    assert.deepEqual(
      [progress.listed, progress.done, progress.newCustomers, progress.subscriptions, progress.purchases],
      [2, 2, 2, 1, 1],
    );
    assert.deepEqual([progress.hasEvents, progress.newEvents], [true, 1]);
    const [ann] = await world.db.database.query<Record<string, unknown>>(
      `select email, due_at is not null as due, snapshot->'activeEntitlements'->0->>'lookupKey' as entitlement,
              snapshot->'subscriptions'->0->>'productId' as product,
              snapshot->'purchases'->0->>'storePurchaseId' as order,
              (select array_agg(app_user_id order by app_user_id) from subscriber_ids i
                where i.subscriber_id = s.subscriber_id) as ids
         from subscribers s where snapshot->>'customerId' = 'ann'`,
    );
    assert.deepEqual(ann, {
      email: 'ann@example.com',
      due: true,
      entitlement: 'pro',
      product: 'pro_monthly',
      order: 'order_ann',
      ids: ['$RCAnonymousID:1', 'ann'],
    });
    const events = await world.db.database.query(`select event_id, delivery, reason from ${EVENT_STATES}`);
    assert.deepEqual(events, [{ event_id: 'event-ann', delivery: 'skipped', reason: 'imported' }]);
    assert.deepEqual(world.revenueCat.state.violations, [], 'v1 was never asked');
    const [project] = await world.db.database.query('select last_received_at from projects');
    assert.deepEqual(project, { last_received_at: null }, 'an import does not show that webhooks arrive');
  });

  it('leaves an event to its webhook that arrives later, and then changes it no more', async () => {
    const happened = { ...bought('late'), type: 'INITIAL_PURCHASE' };
    addCustomer(world.revenueCat, 'late', { subscribed: true }).events.push(happened);
    const state = async () => {
      const [row] = await world.db.database.query(
        `select delivery, reason from ${EVENT_STATES} where event_id = 'event-late'`,
      );
      return row;
    };
    await importAll();
    assert.deepEqual(await state(), { delivery: 'skipped', reason: 'imported' });
    await world.db.database.query('update subscribers set due_at = null');
    await receive(happened);
    assert.deepEqual(await state(), { delivery: 'pending', reason: null });
    const due = await world.db.database.query('select 1 from subscribers where due_at is not null');
    assert.equal(due.length, 1);
    await importAll();
    assert.deepEqual(await state(), { delivery: 'pending', reason: null });
  });

  it('changes nothing when it is run again', async () => {
    for (let index = 0; index < 60; index += 1) {
      const customer = addCustomer(world.revenueCat, `user-${index}`, {
        subscribed: index % 2 === 0,
        bought: index % 3 === 0,
        email: `u${index}@example.com`,
        aliases: [`alias-${index}`],
      });
      if (index % 2 === 0) customer.events.push({ ...bought(`user-${index}`), type: 'INITIAL_PURCHASE' });
    }
    await importAll();
    const before = await stored();
    await world.db.database.query('update subscribers set due_at = null');
    const again = await importAll();
    assert.deepEqual(await stored(), before);
    assert.deepEqual([again.done, again.newCustomers, again.newEvents, again.knownEvents], [60, 0, 0, 30]);
    const due = await world.db.database.query('select 1 from subscribers where due_at is not null');
    assert.equal(due.length, 0, 'nothing new: no customer is delivered again');
  });

  it('may be run by several processes at the same time', async () => {
    for (let index = 0; index < 110; index += 1)
      addCustomer(world.revenueCat, `user-${index}`, { subscribed: true });
    const begun = await Promise.all([start(), start(), start()]);
    assert.equal(new Set(begun.map(({ progress }) => progress.importId)).size, 1);
    assert.equal(begun.filter(({ isResumed }) => isResumed).length, 2);
    const outcomes = await Promise.all(
      begun.map(({ progress }) => runImport(world.app, progress, { signal: new AbortController().signal })),
    );
    assert.deepEqual(outcomes, ['done', 'done', 'done']);
    const [first] = begun;
    assert.ok(first);
    const last = await readImport(world.db.database, first.progress);
    assert.deepEqual(
      [last?.listed, last?.done, last?.newCustomers, last?.subscriptions],
      [110, 110, 110, 110],
    );
    const reads = world.revenueCat.faults.requests().filter(({ path }) => path.includes('/aliases'));
    assert.equal(reads.length, 110, 'no customer was read twice');
  });

  it('recognizes events that a webhook stored, whatever their ID', async () => {
    const customer = addCustomer(world.revenueCat, 'ann', { subscribed: true });
    const body = bought('ann', { id: 'ABCD-1' });
    const other = bought('ann', { id: 'other', type: 'RENEWAL', event_timestamp_ms: Date.now() - DAY_MS });
    const fresh = bought('ann', { id: 'fresh', event_timestamp_ms: Date.now() - 2 * DAY_MS });
    await receive(body);
    await receive(other);
    customer.events.push(
      { ...body, id: 'abcd-1', type: 'INITIAL_PURCHASE' },
      { ...other, id: 'named-differently', type: 'RENEWAL' },
      { ...fresh, id: 'fresh-again', type: 'CANCELLATION' },
      {
        ...fresh,
        type: 'CANCELLATION',
      },
    );
    const progress = await importAll();
    assert.deepEqual([progress.newEvents, progress.knownEvents], [1, 3]);
    const ids = await world.db.database.query<{ event_id: string }>('select event_id from events order by 1');
    assert.deepEqual(
      ids.map((row) => row.event_id),
      ['ABCD-1', 'fresh', 'other'],
    );
  });

  it('sends events to contacts only when asked, and only those since then', async () => {
    const customer = addCustomer(world.revenueCat, 'ann', { subscribed: true });
    const oldMs = Date.now() - 40 * DAY_MS;
    customer.events.push(
      { ...bought('ann', { id: 'old', event_timestamp_ms: oldMs }), type: 'INITIAL_PURCHASE' },
      { ...bought('ann', { id: 'new' }), type: 'RENEWAL' },
      { ...bought('ann', { id: 'test' }), type: 'EXPERIMENT_ENROLLMENT', transaction_id: null },
    );
    const states = async () =>
      new Map(
        (
          await world.db.database.query<{ event_id: string; delivery: string }>(
            `select event_id, delivery from ${EVENT_STATES}`,
          )
        ).map((row) => [row.event_id, row.delivery]),
      );
    await importAll();
    assert.deepEqual(
      await states(),
      new Map([
        ['old', 'skipped'],
        ['new', 'skipped'],
        ['test', 'skipped'],
      ]),
    );
    await world.db.database.query('update subscribers set due_at = null');
    await importAll(Date.now() - 30 * DAY_MS);
    const due = await world.db.database.query('select 1 from subscribers where due_at <= now()');
    assert.equal(due.length, 1);
    assert.deepEqual(
      await states(),
      new Map([
        ['old', 'skipped'],
        ['new', 'pending'],
        ['test', 'skipped'],
      ]),
    );
  });

  it('works without events where RevenueCat does not offer them, and soon stops requesting them', async () => {
    world.revenueCat.state.customerEventsEnabled = false;
    for (let index = 0; index < 100; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    const progress = await importAll();
    assert.deepEqual([progress.state, progress.hasEvents, progress.done], ['done', false, 100]);
    const asked = world.revenueCat.faults.requests().filter(({ path }) => path.includes('/events'));
    assert.ok(asked.length < 50, `asked ${asked.length} times`);
  });

  it('merges subscribers that are one customer in RevenueCat', async () => {
    await receive(bought('ann'));
    await receive(bought('device-7', { transaction_id: 'tx-device', original_transaction_id: 'tx-device' }));
    addCustomer(world.revenueCat, 'ann', { aliases: ['device-7'], subscribed: true });
    await importAll();
    const rows = await world.db.database.query<{ ids: string[]; events: number }>(
      `select (select array_agg(app_user_id order by app_user_id) from subscriber_ids i
                where i.subscriber_id = s.subscriber_id) as ids,
              (select count(*)::integer from events e where e.subscriber_id = s.subscriber_id) as events
         from subscribers s where merged_into is null`,
    );
    assert.deepEqual(rows, [{ ids: ['ann', 'device-7'], events: 2 }]);
  });

  it('reads events although the first customers were deleted', async () => {
    addCustomer(world.revenueCat, 'ann').events.push({ ...bought('ann'), type: 'INITIAL_PURCHASE' });
    const { progress } = await start();
    const app = appListing(async (after) => {
      if (after === null) return { ids: ['gone'], next: 'gone' };
      await until(async () => (await readImport(world.db.database, progress))?.missing === 1, 'the first');
      return { ids: ['ann'], next: null };
    });
    await runImport(app, progress, { signal: AbortSignal.timeout(20_000) });
    assert.equal((await readImport(world.db.database, progress))?.newEvents, 1);
  });

  it('does not merge the customers of a transfer', async () => {
    const common = { event_timestamp_ms: Date.now(), redemption_outcome: 'transfer' };
    addCustomer(world.revenueCat, 'ann').events.push(
      { ...common, id: '1', type: 'TRANSFER', transferred_from: ['ann'], transferred_to: ['bob'] },
      { ...common, id: '2', type: 'PURCHASE_REDEEMED', redeemed_from: ['ann'], redeemed_by: ['bob'] },
    );
    await importAll();
    const ids = await world.db.database.query(`select distinct subscriber_id from subscriber_ids`);
    assert.equal(ids.length, 2);
  });

  it('reports customers that were known and disagree with RevenueCat', async () => {
    // Known only from an import, without an event that could disagree.
    addCustomer(world.revenueCat, 'silent', { subscribed: true });
    await importAll();
    await receive(bought('known'));
    addCustomer(world.revenueCat, 'known');
    addCustomer(world.revenueCat, 'new').events.push({ ...bought('new'), type: 'INITIAL_PURCHASE' });
    await importAll();
    const { values } = await world.app.counters.disagreements.get();
    assert.equal(values.find(({ labels }) => labels.code === 'status')?.value, 1);
  });

  it('skips a deleted customer, and retries one that RevenueCat fails on', async () => {
    addCustomer(world.revenueCat, 'ann', { subscribed: true });
    addCustomer(world.revenueCat, 'gone');
    addCustomer(world.revenueCat, 'odd');
    world.revenueCat.state.projects.get(RC_PROJECT)?.aliases.delete('gone');
    const path = `/v2/projects/${RC_PROJECT}/customers/odd/purchases`;
    world.revenueCat.faults.add({ pathPrefix: path, status: 422 });
    const progress = await importAll();
    assert.deepEqual([progress.state, progress.done, progress.missing, progress.failed], ['done', 3, 1, 1]);
    assert.equal((await world.db.database.query('select 1 from subscribers')).length, 1);
  });

  it('waits while RevenueCat is unavailable, without failing any customer', async () => {
    for (let index = 0; index < 20; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    const each = `/v2/projects/${RC_PROJECT}/customers/`;
    const clear = world.revenueCat.faults.add({ status: 503, pathPrefix: each });
    const { progress } = await start();
    const stop = new AbortController();
    const running = runImport(world.app, progress, { signal: stop.signal });
    await until(
      async () => (await readImport(world.db.database, progress))?.reason === 'revenuecat_unavailable',
      'the import to wait',
    );
    const tried = await world.db.database.query('select 1 from import_customers where attempts > 0');
    assert.equal(tried.length, 0);
    clear();
    world.revenueCat.faults.add({ latencyMs: 50, pathPrefix: each });
    const going = await until(async () => {
      const now = await readImport(world.db.database, progress);
      return now && now.done > 0 ? now : null;
    }, 'the first customers');
    assert.equal(going.reason, null);
    assert.equal(await running, 'done');
    const last = await readImport(world.db.database, progress);
    assert.deepEqual([last?.done, last?.failed], [20, 0]);
  });

  it('takes longer to read a customer than the server lets transactions be idle or open', async (t) => {
    for (let index = 0; index < 8; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    // Longer than any other transaction waits for its next statement on a busy machine.
    const slow = `/v2/projects/${RC_PROJECT}/customers/user-0/aliases`;
    world.revenueCat.faults.add({ latencyMs: 1_500, pathPrefix: slow });
    const limited = new URL(world.db.url);
    limited.searchParams.set(
      'options',
      '-c idle_in_transaction_session_timeout=1000 -c transaction_timeout=1000',
    );
    const { database, close } = await openDatabase({ url: limited.href, logger });
    t.after(close);
    const { progress } = await start();
    const signal = AbortSignal.timeout(20_000);
    assert.equal(await runImport({ ...world.app, database }, progress, { signal }), 'done');
  });

  /** Runs an import for whose clock all delays have passed. @returns the delays between attempts, in seconds */
  async function runWithoutDelays(progress: ImportProgress): Promise<number[]> {
    const { database } = world.db;
    for (const statement of [
      'create table if not exists delays (seconds integer)',
      `create or replace function note_delay() returns trigger language plpgsql as $$
       begin insert into delays values (extract(epoch from new.not_before)); return null; end $$`,
      `create or replace trigger note_delay after update of not_before on import_customers
       for each row execute function note_delay()`,
    ])
      await database.query(statement);
    const app = { ...world.app, now: () => 0 };
    assert.equal(await runImport(app, progress, { signal: AbortSignal.timeout(20_000) }), 'done');
    const delays = await database.query<{ seconds: number }>('select seconds from delays order by 1');
    return delays.map(({ seconds }) => seconds);
  }

  it('gives up on the last customer when RevenueCat answers for all others', async () => {
    for (const id of ['ann', 'bob', 'cid']) addCustomer(world.revenueCat, id, { subscribed: true });
    world.revenueCat.faults.add({
      status: 500,
      pathPrefix: `/v2/projects/${RC_PROJECT}/customers/cid/aliases`,
    });
    const { progress } = await start();
    // A row that is in the lists that an earlier version began.
    await world.db.database.query(
      `insert into import_customers (workspace_id, project_id, import_id, customer_id, done_at)
       values ($1, $2, $3, '', '2026-01-01')`,
      [WORKSPACE_ID, PROJECT_ID, progress.importId],
    );
    const delays = await runWithoutDelays(progress);
    const last = await readImport(world.db.database, progress);
    assert.deepEqual([last?.listed, last?.done, last?.failed], [3, 3, 1]);
    assert.deepEqual(delays, [4, 8, 16, 32, 64]);
  });

  it('gives up on the only customer when RevenueCat answers for them, but not with their events', async () => {
    addCustomer(world.revenueCat, 'ann', { subscribed: true });
    const events = `/v2/projects/${RC_PROJECT}/customers/ann/events`;
    world.revenueCat.faults.add({ status: 500, pathPrefix: events });
    const { progress } = await start();
    await runWithoutDelays(progress);
    const last = await readImport(world.db.database, progress);
    assert.deepEqual([last?.listed, last?.done, last?.failed], [1, 1, 1]);
  });

  it('lists from the beginning when the customer that the cursor names was deleted', async () => {
    for (let index = 0; index < 120; index += 1)
      addCustomer(world.revenueCat, `user-${String(index).padStart(3, '0')}`);
    const { progress } = await start();
    await world.db.database.query(`update imports set cursor = 'gone'`);
    await runImport(world.app, progress, { signal: new AbortController().signal });
    const last = await readImport(world.db.database, progress);
    assert.deepEqual([last?.state, last?.listed, last?.done], ['done', 120, 120]);
  });

  it('fails when the pages of the list lead back to an earlier one, and leaves out IDs that no customer has', async () => {
    const pages = new Map([
      [null, { ids: ['user-1', 'nul\0', 'null'], next: 'user-1' }],
      ['user-1', { ids: ['user-2'], next: 'user-2' }],
      ['user-2', { ids: ['user-1'], next: 'user-1' }],
    ]);
    const app = appListing(async (after) => pages.get(after) ?? assert.fail(`No page follows ${after}`));
    const { progress } = await start();
    const stop = AbortSignal.timeout(20_000);
    assert.equal(await runImport(app, progress, { signal: stop }), 'failed');
    const last = await readImport(world.db.database, progress);
    assert.deepEqual([last?.listed, last?.reason], [2, 'revenuecat_rejected']);
  });

  it('lists from the beginning once when a cursor is refused on the way', async () => {
    for (const code of ['revenuecat_not_found', 'revenuecat_rejected'] as const) {
      const calls: (string | null)[] = [];
      const app = appListing(async (after) => {
        calls.push(after);
        if (after === null) return { ids: ['user-1'], next: 'user-1' };
        if (after === 'user-1') return { ids: ['user-2'], next: 'user-2' };
        if (code === 'revenuecat_rejected' || calls.length < 6) throw new AppError(code, 'The cursor');
        return { ids: ['user-3'], next: null };
      });
      const { progress } = await start();
      const outcome = await runImport(app, progress, { signal: AbortSignal.timeout(20_000) });
      assert.equal(outcome, code === 'revenuecat_rejected' ? 'failed' : 'done');
      assert.deepEqual(calls.slice(0, 6), [null, 'user-1', 'user-2', null, 'user-1', 'user-2']);
      // Other workers may also request this page, until the import is marked as failed.
      assert.ok(calls.slice(6).every((after) => after === 'user-2'));
    }
  });

  it('lists from the beginning when the customer that the cursor names is erased on the way', async () => {
    const calls: (string | null)[] = [];
    const app = appListing(async (after) => {
      calls.push(after);
      if (after === null) return { ids: ['user-1'], next: 'user-1' };
      if (calls.length < 3) await world.db.database.query('update imports set cursor = null');
      return after === 'user-1' ? { ids: ['user-2'], next: 'user-2' } : { ids: ['user-3'], next: null };
    });
    const { progress } = await start();
    const outcome = await runImport(app, progress, { signal: AbortSignal.timeout(20_000) });
    assert.deepEqual([outcome, calls], ['done', [null, 'user-1', null, 'user-1', 'user-2']]);
  });

  it('waits as long as RevenueCat asks for, however often it does', async () => {
    let refusals = 12;
    const app = appListing(async () => {
      refusals -= 1;
      if (refusals < 0) return { ids: [], next: null };
      const remedy = { kind: 'wait_until', atMs: Date.now() } as const;
      throw new AppError('revenuecat_rate_limited', 'Too many calls', { remedy });
    });
    const { progress } = await start();
    assert.equal(await runImport(app, progress, { signal: AbortSignal.timeout(10_000) }), 'done');
  });

  it('lists a page once, whoever has read it, and claims no customer before the next attempt', async () => {
    const { database } = world.db;
    const { progress } = await start();
    await saveListedPage(database, progress, { after: null, ids: ['a', 'b', 'b', 'c'], next: 'c' });
    await saveListedPage(database, progress, { after: null, ids: ['x'], next: 'x' });
    const listing = await readImport(database, progress);
    assert.deepEqual([listing?.listed, listing?.cursor], [3, 'c']);
    await saveListedPage(database, progress, { after: 'c', ids: [], next: null });
    await saveListedPage(database, progress, { after: null, ids: ['y'], next: 'y' });
    const listed = await readImport(database, progress);
    assert.deepEqual([listed?.listed, listed?.isListed], [3, true], 'the first page again, after the last');
    for (const [customerId, inMs] of [
      ['a', DAY_MS] as const,
      ['b', -1_000] as const,
      ['c', -DAY_MS] as const,
    ])
      await postponeCustomer(
        database,
        { ...progress, customerId },
        { code: 'revenuecat_unavailable', notBefore: new Date(Date.now() + inMs) },
      );
    await database.transaction(async (sql) => {
      const claimed = await claimCustomers(sql, progress, 5);
      assert.deepEqual(
        claimed.map(({ customerId }) => customerId),
        ['c', 'b'],
      );
      assert.deepEqual(await claimCustomers(database, progress, 5), [], 'they are claimed');
      const counts = {
        newCustomers: 0,
        failed: 0,
        subscriptions: 0,
        purchases: 0,
        newEvents: 0,
        knownEvents: 0,
      };
      const deleted = { customerId: 'c', code: 'revenuecat_not_found' };
      await closeCustomers(sql, progress, [deleted], { ...counts, missing: 1 });
      assert.equal(await findReadCustomer(sql, progress), null, 'a deleted customer was not read');
      const reason = 'revenuecat_unauthorized';
      await changeState(sql, progress, { from: ['running'], to: 'failed', reason });
      await closeCustomers(sql, progress, [{ customerId: 'b', code: null }], { ...counts, missing: 0 });
      assert.equal((await readImport(sql, progress))?.reason, reason, 'why it failed stays');
    });
  });

  it('resumes with the choice of events that it has, or fails to start', async () => {
    const { database } = world.db;
    const sinceMs = Date.now() - DAY_MS;
    const { progress } = await start(sinceMs);
    assert.equal((await start()).progress.importId, progress.importId);
    await assert.rejects(start(sinceMs - 1), { code: 'conflict' });
    await changeState(database, progress, { from: ['running'], to: 'failed' });
    assert.equal((await start(sinceMs - 1)).isResumed, false);
  });

  it('finishes the claimed customers when its time slice is over, and claims no other', async () => {
    for (let index = 0; index < 30; index += 1)
      addCustomer(world.revenueCat, `user-${String(index).padStart(3, '0')}`);
    slowDown();
    const { progress } = await start();
    const enough = new AbortController();
    const running = runImport(world.app, progress, {
      signal: new AbortController().signal,
      finish: enough.signal,
    });
    const reads = (tail: string) =>
      world.revenueCat.faults.requests().filter(({ path }) => path.includes(tail)).length;
    await until(() => reads('expand=attributes') > 0, 'the first customer');
    enough.abort();
    assert.equal(await running, 'stopped');
    const last = await readImport(world.db.database, progress);
    assert.ok(last && last.done > 0 && last.done < 30);
    assert.equal(last.done, reads('expand=attributes'), 'no call was made for nothing');
    assert.equal(last.done, reads('/purchases'));
  });

  it('stops with a reason when the key is rejected, and resumes with a new one', async () => {
    for (let index = 0; index < 60; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    const [key] = [...world.revenueCat.state.keys.values()];
    assert.ok(key);
    key.status = 'revoked';
    const first = await importAll();
    assert.deepEqual([first.state, first.reason], ['failed', 'revenuecat_unauthorized']);
    const [project] = await world.db.database.query('select api_key_state from projects');
    assert.deepEqual(project, { api_key_state: 'rejected' });
    key.status = 'valid';
    const target = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
    await storeApiKey(world.app, target, {
      apiKey: world.revenueCat.issueKey(RC_PROJECT, ['customer_information:customers:read']),
      missingScopes: [],
    });
    const limited = await importAll();
    assert.deepEqual(
      [limited.state, limited.reason, limited.done],
      ['failed', 'revenuecat_scope_missing', 0],
    );
    const whole = { apiKey: world.revenueCat.issueKey(RC_PROJECT), missingScopes: [] };
    await storeApiKey(world.app, target, whole);
    const { progress, isResumed } = await start();
    assert.ok(isResumed && progress.importId === first.importId);
    await runImport(world.app, progress, { signal: new AbortController().signal });
    assert.equal((await readImport(world.db.database, progress))?.done, 60);
  });

  it('uses a key that was deleted no longer, and continues with a new one', async () => {
    for (let index = 0; index < 120; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    const { database } = world.db;
    const { progress } = await start();
    const hurry = slowDown();
    const running = runImport(world.app, progress, { signal: new AbortController().signal });
    await until(async () => ((await readImport(database, progress))?.done ?? 0) > 0, 'the first customers');
    const [project] = await database.query<{ api_key: string }>('select api_key from projects');
    await database.query('update projects set api_key = null');
    assert.equal(await running, 'failed');
    hurry();
    const stopped = await readImport(database, progress);
    assert.equal(stopped?.reason, 'revenuecat_key_missing');
    assert.ok(stopped && stopped.done < 120);
    await database.query('update projects set api_key = $1', [project?.api_key]);
    await start();
    assert.equal(await runImport(world.app, progress, { signal: new AbortController().signal }), 'done');
    assert.equal((await readImport(database, progress))?.done, 120);
  });

  it('continues with a key that replaces the one in use, which is then refused', async () => {
    for (let index = 0; index < 60; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    slowDown();
    const [old] = [...world.revenueCat.state.keys.values()];
    const { progress } = await start();
    const running = runImport(world.app, progress, { signal: new AbortController().signal });
    const isReading = () =>
      world.revenueCat.faults.requests().some(({ path }) => path.includes('expand=attributes'));
    await until(isReading, 'the first customer');
    await storeApiKey(
      world.app,
      { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID },
      { apiKey: world.revenueCat.issueKey(RC_PROJECT), missingScopes: [] },
    );
    assert.ok(old);
    old.status = 'revoked';
    assert.equal(await running, 'done');
    const [project] = await world.db.database.query('select api_key_state from projects');
    assert.deepEqual(project, { api_key_state: 'valid' });
    assert.equal((await readImport(world.db.database, progress))?.done, 60);
  });

  it('stops immediately when it is paused or cancelled, and resumes from there', async () => {
    for (let index = 0; index < 200; index += 1) addCustomer(world.revenueCat, `user-${index}`);
    const { database } = world.db;
    const { progress } = await start();
    const hurry = slowDown();
    const running = runImport(world.app, progress, { signal: new AbortController().signal });
    await until(async () => ((await readImport(database, progress))?.done ?? 0) > 0, 'the first customers');
    await changeState(database, progress, { from: ['running'], to: 'paused' });
    assert.equal(await running, 'paused');
    hurry();
    const paused = await readImport(database, progress);
    assert.ok(paused && paused.done < 200);
    assert.ok((await start()).isResumed, 'starting resumes the paused one');
    assert.equal(await runImport(world.app, progress, { signal: new AbortController().signal }), 'done');
    const last = await readImport(database, progress);
    assert.deepEqual([last?.listed, last?.done, last?.newCustomers], [200, 200, 200]);

    const next = await start();
    assert.ok(!next.isResumed);
    await saveListedPage(database, next.progress, { after: null, ids: ['user-1'], next: 'user-1' });
    await changeState(database, next.progress, { from: ['running'], to: 'cancelled' });
    assert.equal(
      await runImport(world.app, next.progress, { signal: new AbortController().signal }),
      'cancelled',
    );
    assert.equal((await database.query('select 1 from import_customers')).length, 0);
  });

  describe('one customer, on demand', () => {
    const importOne = (id: string, app = world.app) =>
      importCustomer(app, {
        workspaceId: WORKSPACE_ID,
        projectId: PROJECT_ID,
        appUserId: id,
      });

    it('is found under any app user ID, with past events, and importing it again changes nothing', async () => {
      const customer = addCustomer(world.revenueCat, '$RCAnonymousID:9', {
        aliases: ['ann'],
        subscribed: true,
      });
      customer.events.push({ ...bought('ann'), type: 'INITIAL_PURCHASE' });
      assert.equal(await importOne('ann'), 'imported');
      const before = await stored();
      assert.equal(await importOne('ann'), 'imported');
      assert.deepEqual(await stored(), before);
      assert.equal(
        (await world.db.database.query('select 1 from subscribers where due_at is not null')).length,
        1,
      );
    });

    it('is never created: a customer that RevenueCat does not know stays unknown in both places', async () => {
      assert.equal(await importOne('stranger'), 'unknown_customer');
      assert.equal(await importOne('[object Object]'), 'blocked_id');
      assert.equal((await world.db.database.query('select 1 from subscribers')).length, 0);
      assert.equal(world.revenueCat.state.projects.get(RC_PROJECT)?.customers.size, 0);
      assert.deepEqual(world.revenueCat.state.violations, []);
      const asked = world.revenueCat.faults.requests().map(({ method }) => method);
      assert.ok(asked.every((method) => method === 'GET'));
    });

    it('says when the key is rejected or missing', async () => {
      const [key] = [...world.revenueCat.state.keys.values()];
      assert.ok(key);
      key.status = 'expired';
      assert.equal(await importOne('ann'), 'key_rejected');
      key.status = 'valid';
      Object.assign(key, { scopes: [] });
      const queued: string[] = [];
      const jobs = { send: async (name: string) => void queued.push(name) };
      await assert.rejects(importOne('ann', { ...world.app, jobs }), { code: 'revenuecat_scope_missing' });
      assert.deepEqual(queued, ['workspace.check'], 'the settings then name the permission');
      await world.db.database.query(`update projects set api_key = null`);
      assert.equal(await importOne('ann'), 'no_key');
    });
  });

  describe('the command', () => {
    it('prints progress in plain lines without a terminal, and the results', async () => {
      addCustomer(world.revenueCat, 'ann', { subscribed: true, bought: true });
      const args = ['backfill', '--workspace', WORKSPACE_ID];
      const { code, stdout, stderr } = await runCommandHere(addBackfillCommand, args, world.env);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^Importing the customers of Test app\.$/m);
      assert.match(stdout, /^1 customer imported, 1 of them new here\.$/m);
      assert.ok(!stdout.includes('\u001b'), 'no control characters');
    });

    it('without the key that encrypted the API key, it says what is missing, not where it failed', async () => {
      const { code, stderr } = await startCommand(['backfill', '--workspace', WORKSPACE_ID, '--json'], {
        ...world.env,
        ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
      }).ended;
      assert.equal(code, 1);
      assert.match(stderr, /^No key of ENCRYPTION_KEYS decrypts a secret.*settings of the server\.\n$/);
    });

    it('prints only its result to stdout, and its log to stderr', async () => {
      const [key] = [...world.revenueCat.state.keys.values()];
      assert.ok(key);
      key.status = 'expired';
      const { code, stdout, stderr } = await startCommand(
        ['backfill', '--workspace', WORKSPACE_ID, '--json'],
        { ...world.env, LOG_LEVEL: '' },
      ).ended;
      assert.equal(code, 1);
      const result = JSON.parse(stdout) as { state: string; reason: string };
      assert.deepEqual([result.state, result.reason], ['failed', 'revenuecat_unauthorized']);
      assert.match(stderr, /the import failed/);
    });
  });
});
