import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { backfillJobs } from '../../src/backfill/jobs.ts';
import { expectedChangeMs, listReconcilable, reconcileWorkspace } from '../../src/backfill/reconcile.ts';
import { AppError } from '../../src/errors.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import type { RevenueCatClient } from '../../src/revenuecat/client.ts';
import { readEvent } from '../../src/subscription/read-event.ts';
import { DAY_MS, HOUR_MS } from '../../src/time.ts';
import { apiSubscription, day, snapshotOf } from '../subscription/histories.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { PROJECT_ID, WORKSPACE_ID } from '../support/world.ts';
import { addCustomer, createImportWorld, type ImportWorld, RC_PROJECT } from './support.ts';

const PAUSE = [
  {
    id: 'p',
    type: 'SUBSCRIPTION_PAUSED',
    event_timestamp_ms: START_MS + DAY_MS,
    auto_resume_at_ms: START_MS + 60 * DAY_MS,
  },
  {
    id: 'pe',
    type: 'EXPIRATION',
    expiration_reason: 'SUBSCRIPTION_PAUSED',
    event_timestamp_ms: START_MS + 30 * DAY_MS,
  },
];

describe('when a change is expected', () => {
  const at = (...bodies: Record<string, unknown>[]) =>
    expectedChangeMs(
      bodies.map((body) => readEvent(eventBody(body), { receivedAtMs: START_MS, fallbackId: 'x' })),
      null,
    );

  const cases: [name: string, events: Record<string, unknown>[], wanted: number | null][] = [
    ['nothing was ever bought', [], null],
    ['a running month: three hours after its end', [{}], START_MS + 30 * DAY_MS + 3 * HOUR_MS],
    [
      'a cancelled month: its end is a change as well',
      [
        {},
        {
          id: 'c',
          type: 'CANCELLATION',
          cancel_reason: 'UNSUBSCRIBE',
          event_timestamp_ms: START_MS + DAY_MS,
        },
      ],
      START_MS + 30 * DAY_MS + 3 * HOUR_MS,
    ],
    [
      'an expired one: nothing more',
      [
        {},
        {
          id: 'e',
          type: 'EXPIRATION',
          expiration_reason: 'UNSUBSCRIBE',
          event_timestamp_ms: START_MS + 30 * DAY_MS,
        },
      ],
      null,
    ],
    [
      'a grace period: its own end',
      [
        {},
        {
          id: 'b',
          type: 'BILLING_ISSUE',
          event_timestamp_ms: START_MS + 30 * DAY_MS - 1,
          grace_period_expiration_at_ms: START_MS + 46 * DAY_MS,
        },
      ],
      START_MS + 46 * DAY_MS + 3 * HOUR_MS,
    ],
    [
      'two subscriptions: the end of the first',
      [
        {
          id: 'y',
          product_id: 'yearly',
          transaction_id: 'y',
          original_transaction_id: 'y',
          expiration_at_ms: START_MS + 365 * DAY_MS,
        },
        {},
        {
          id: 'w',
          product_id: 'other',
          transaction_id: 'w',
          original_transaction_id: 'w',
          expiration_at_ms: START_MS + 60 * DAY_MS,
        },
      ],
      START_MS + 30 * DAY_MS + 3 * HOUR_MS,
    ],
    [
      'a grant: its end',
      [{ type: 'NON_RENEWING_PURCHASE', store: 'PROMOTIONAL', period_type: 'PROMOTIONAL' }],
      START_MS + 30 * DAY_MS + 3 * HOUR_MS,
    ],
    ['a pause: its end', [{}, ...PAUSE], START_MS + 60 * DAY_MS + 3 * HOUR_MS],
    [
      'a pause that should have ended before the last event: nothing more',
      [{}, ...PAUSE, { id: 'later', type: 'SUBSCRIBER_ALIAS', event_timestamp_ms: START_MS + 61 * DAY_MS }],
      null,
    ],
    [
      'a lifetime purchase: never',
      [{ type: 'NON_RENEWING_PURCHASE', expiration_at_ms: null, product_id: 'lifetime' }],
      null,
    ],
  ];
  for (const [name, events, wanted] of cases) it(name, () => assert.equal(at(...events), wanted));

  it('access that RevenueCat reports after its end: a day later', () => {
    const snapshot = snapshotOf(40, [
      apiSubscription({ status: 'active', endsAtMs: day(30), periodEndsAtMs: day(30) }),
    ]);
    assert.equal(expectedChangeMs([], snapshot), day(41));
  });
});

describe('reconciling', () => {
  let world: ImportWorld;
  let log: string[];

  beforeEach(async () => {
    world = await createImportWorld();
    world.revenueCat.state.limitsPerMinute.customer = 100_000;
    log = [];
  });
  afterEach(() => world.close());

  /** Stores a month that, according to its webhook, ended `endedAgoMs` ago; later events are missing. */
  async function receiveMonth(id: string, endedAgoMs: number, event = 'bought'): Promise<void> {
    const endMs = Date.now() - endedAgoMs;
    const body = eventBody({
      id: `${event}-${id}`,
      app_user_id: id,
      original_app_user_id: id,
      aliases: [id],
      event_timestamp_ms: endMs - 30 * DAY_MS,
      purchased_at_ms: endMs - 30 * DAY_MS,
      expiration_at_ms: endMs,
      transaction_id: `tx_${id}`,
      original_transaction_id: `tx_${id}`,
    });
    const received = prepareEvent(body, Date.now());
    await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [received]);
  }

  const pass = () => {
    const logger = pino({ level: 'info' }, { write: (line: string) => void log.push(line) });
    return reconcileWorkspace({ ...world.app, logger }, WORKSPACE_ID, new AbortController().signal);
  };

  /** Runs the job, and returns after how many seconds it queues itself again. */
  async function slice(): Promise<number[]> {
    const queued: number[] = [];
    const send: Jobs['send'] = async (name, data, { afterSeconds = 0 } = {}) => {
      assert.deepEqual([name, data], ['reconcile.workspace', { workspaceId: WORKSPACE_ID }]);
      queued.push(afterSeconds);
    };
    const jobs = backfillJobs({ ...world.app, jobs: { send } }, new AbortController().signal);
    await jobs['reconcile.workspace']?.run({ workspaceId: WORKSPACE_ID });
    return queued;
  }

  const asked = () =>
    new Set(
      world.revenueCat.faults
        .requests()
        .flatMap(({ path }) => /customers\/([^/?]+)/.exec(path)?.[1] ?? [])
        .map(decodeURIComponent),
    );

  it('reads subscribers whose renewal or end has no event, corrects and counts them', async () => {
    await receiveMonth('renewed', 5 * HOUR_MS);
    addCustomer(world.revenueCat, 'renewed', { subscribed: true });
    await receiveMonth('really-over', 5 * HOUR_MS);
    const over = addCustomer(world.revenueCat, 'really-over', { subscribed: true });
    Object.assign(over.subscriptions[0] ?? {}, {
      status: 'expired',
      autoRenewalStatus: 'will_not_renew',
      givesAccess: false,
      periodEndsAtMs: Date.now() - 5 * HOUR_MS,
      endsAtMs: Date.now() - 5 * HOUR_MS,
    });
    await receiveMonth('deleted', 5 * HOUR_MS);
    await receiveMonth('just-over', HOUR_MS);
    await receiveMonth('running', -20 * DAY_MS);
    addCustomer(world.revenueCat, 'running', { subscribed: true });

    const result = await pass();
    assert.deepEqual(asked(), new Set(['renewed', 'really-over', 'deleted']));
    assert.deepEqual([result.checked, result.corrected, result.unknown], [3, 1, 1]);
    assert.equal(result.continueAtMs, null);
    assert.ok((result.differences.status ?? 0) === 1 && (result.differences.entitlement_missing ?? 0) === 1);
    const corrected = log.map((line) => JSON.parse(line)).filter(({ msg }) => /corrected/.test(msg));
    assert.equal(corrected.length, 1);
    assert.ok(corrected[0].codes.includes('status'));
    assert.ok(!log.join('').includes('renewed"'), 'no app user id in the log');
    const due = await world.db.database.query(
      `select 1 from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
        where app_user_id = 'renewed' and due_at <= now()`,
    );
    assert.equal(due.length, 1, 'the attributes follow');
  });

  it('reads no subscriber twice until another change is expected', async () => {
    await receiveMonth('renewed', 5 * HOUR_MS);
    addCustomer(world.revenueCat, 'renewed', { subscribed: true });
    await receiveMonth('deleted', 5 * HOUR_MS);
    await pass();
    world.revenueCat.faults.clearRequests();
    const again = await pass();
    assert.deepEqual([again.checked, asked().size], [0, 0]);
  });

  it('is for workspaces that have the app and a working key', async () => {
    const { database } = world.db;
    assert.deepEqual(await listReconcilable(database), [WORKSPACE_ID]);
    await database.query(`update projects set api_key_state = 'rejected'`);
    assert.deepEqual(await listReconcilable(database), []);
    await database.query(`update projects set api_key_state = 'valid'`);
    await database.query(`update workspaces set status = 'uninstalled'`);
    assert.deepEqual(await listReconcilable(database), []);
  });

  it('begins each night, which also counts for PostgreSQL what came since', async () => {
    for (const id of ['one', 'two', 'three']) await receiveMonth(id, 0);
    const jobs = backfillJobs(world.app, new AbortController().signal);
    await jobs['reconcile.nightly']?.run({});
    const rows = await world.db.database.query(
      `select reltuples as counted from pg_class where oid = 'subscribers'::regclass`,
    );
    assert.deepEqual(rows, [{ counted: 3 }]);
  });

  it('leaves subscribers alone whose event came late', async () => {
    await receiveMonth('late', 5 * HOUR_MS);
    const body = eventBody({
      id: 'renewal',
      type: 'RENEWAL',
      app_user_id: 'late',
      aliases: ['late'],
      original_app_user_id: 'late',
      transaction_id: 'tx_late2',
      original_transaction_id: 'tx_late',
      event_timestamp_ms: Date.now() - 4 * HOUR_MS,
      purchased_at_ms: Date.now() - 5 * HOUR_MS,
      expiration_at_ms: Date.now() + 25 * DAY_MS,
    });
    await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [
      prepareEvent(body, Date.now()),
    ]);
    assert.equal((await pass()).checked, 0);
  });

  it('stops when RevenueCat asks to wait or rejects the key, and resumes without losing a subscriber', async () => {
    await receiveMonth('renewed', 5 * HOUR_MS);
    addCustomer(world.revenueCat, 'renewed', { subscribed: true });
    const clear = world.revenueCat.faults.add({ status: 429, pathPrefix: '/v2' });
    const held = await pass();
    assert.ok(held.continueAtMs !== null && held.continueAtMs > Date.now());
    const continued = await slice();
    assert.equal(continued.length, 1, 'the job queues itself again');
    assert.ok(continued.every((seconds) => seconds > 0 && seconds <= 3_600));
    clear();
    const [key] = [...world.revenueCat.state.keys.values()];
    assert.ok(key);
    key.status = 'revoked';
    // The pause after the 429 has to end first.
    await world.db.database.query('update revenuecat_budgets set hold_until_ms = 0, tokens = 20');
    assert.equal((await pass()).corrected, 0);
    key.status = 'valid';
    await world.db.database.query(`update projects set api_key_state = 'valid'`);
    assert.equal((await pass()).corrected, 1);
    assert.deepEqual(await slice(), [], 'until the next night');
  });

  const failFor = (id: string) =>
    world.revenueCat.faults.add({ status: 500, pathPrefix: `/v2/projects/${RC_PROJECT}/customers/${id}` });

  it('reads the others when RevenueCat fails for some customers, and those a day later', async () => {
    // Alternating, because five failures in a row would end the pass.
    for (let count = 1; count <= 5; count += 1)
      for (const id of [`broken-${count}`, `renewed-${count}`]) {
        await receiveMonth(id, (10 - count) * HOUR_MS);
        addCustomer(world.revenueCat, id, { subscribed: true });
      }
    const repair = failFor('broken');
    const night = await pass();
    assert.deepEqual([night.checked, night.corrected, night.continueAtMs], [5, 5, null]);
    repair();
    assert.equal((await pass()).checked, 0);
    await world.db.database.query(`update reconcile_marks set check_at = check_at - interval '1 day'`);
    assert.equal((await pass()).corrected, 5);
  });

  it('checks a customer again who changed while RevenueCat failed for them', async () => {
    await receiveMonth('changed', 40 * DAY_MS);
    const failing = new Proxy({} as RevenueCatClient, {
      get: () => async () => {
        // A renewal that was received late, and that has ended too.
        await receiveMonth('changed', 9 * HOUR_MS, 'renewed');
        throw new AppError('revenuecat_unavailable', 'Down', { remedy: { kind: 'retry' } });
      },
    });
    const { signal } = new AbortController();
    await reconcileWorkspace({ ...world.app, revenueCat: () => failing }, WORKSPACE_ID, signal);
    addCustomer(world.revenueCat, 'changed', { subscribed: true });
    assert.equal((await pass()).checked, 1);
  });

  it('stops when RevenueCat fails for everyone', async () => {
    for (let count = 1; count <= 8; count += 1) await receiveMonth(`customer-${count}`, 5 * HOUR_MS);
    failFor('');
    await assert.rejects(pass(), { code: 'revenuecat_unavailable' });
    assert.ok(asked().size < 8);
  });
});
