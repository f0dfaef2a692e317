import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { type RevenueCatCustomer, snapshotTime } from '../../src/revenuecat/customer.ts';
import { readHistory } from '../../src/subscribers/history.ts';
import { readSubscriber } from '../../src/subscribers/repository.ts';
import { storeCustomers } from '../../src/subscribers/store-customers.ts';
import { readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import type { Snapshot } from '../../src/subscription/types.ts';
import { DAY_MS } from '../../src/time.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { PROJECT_ID, secrets, WORKSPACE_ID } from '../support/world.ts';

const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };

/** The API's response about one monthly subscription at a given time. */
function snapshotAt(
  takenAtMs: number,
  fields: { endsAtMs: number; givesAccess?: boolean; revenueUsdCents?: number; ids?: string[] },
): Snapshot {
  const [customerId = 'user-1', ...aliases] = fields.ids ?? ['user-1'];
  const givesAccess = fields.givesAccess ?? true;
  return {
    takenAtMs,
    customerId,
    firstSeenAtMs: START_MS,
    lastSeenAtMs: takenAtMs,
    country: 'US',
    platform: 'iOS',
    platformVersion: null,
    appVersion: null,
    aliases,
    attributes: {},
    activeEntitlements: givesAccess ? [{ lookupKey: 'pro', endsAtMs: fields.endsAtMs }] : [],
    subscriptions: [
      {
        id: 'sub1',
        productId: 'pro_monthly',
        productName: 'Pro Monthly',
        store: 'APP_STORE',
        environment: 'production',
        status: givesAccess ? 'active' : 'expired',
        autoRenewalStatus: givesAccess ? 'will_renew' : 'will_not_renew',
        givesAccess,
        startsAtMs: START_MS,
        periodStartsAtMs: fields.endsAtMs - 30 * DAY_MS,
        periodEndsAtMs: fields.endsAtMs,
        endsAtMs: fields.endsAtMs,
        entitlements: ['pro'],
        storeSubscriptionId: '2000000000000001',
        managementUrl: null,
        pendingProductId: null,
        revenueUsdCents: fields.revenueUsdCents ?? 999,
        isFamilyShare: false,
      },
    ],
    purchases: [],
  };
}

const renewal = (atMs: number, id: string) =>
  eventBody({
    id,
    type: 'RENEWAL',
    event_timestamp_ms: atMs,
    purchased_at_ms: atMs,
    expiration_at_ms: atMs + 30 * DAY_MS,
    transaction_id: `tx-${id}`,
  });

const read = (body: Record<string, unknown>) => readEvent(body, { receivedAtMs: START_MS, fallbackId: 'x' });

describe('a snapshot and events', () => {
  it('an event that is newer than the snapshot still counts, whenever the snapshot is stored', () => {
    const snapshot = snapshotAt(START_MS + 29 * DAY_MS, { endsAtMs: START_MS + 30 * DAY_MS });
    const renewed = read(renewal(START_MS + 30 * DAY_MS, 'r1'));
    const state = deriveState([read(eventBody()), renewed], snapshot, START_MS + 31 * DAY_MS);
    assert.equal(state.status, 'active');
    assert.equal(state.primary?.endsAtMs, START_MS + 60 * DAY_MS);
  });

  it('a snapshot that is newer than an event corrects it', () => {
    const snapshot = snapshotAt(START_MS + 31 * DAY_MS, {
      endsAtMs: START_MS + 30 * DAY_MS,
      givesAccess: false,
    });
    const state = deriveState(
      [read(renewal(START_MS + 20 * DAY_MS, 'r1'))],
      snapshot,
      START_MS + 32 * DAY_MS,
    );
    assert.equal(state.status, 'expired');
    assert.deepEqual(state.entitlements, []);
  });

  const ltv: [name: string, told: number, events: Record<string, unknown>[], wanted: number][] = [
    ['told alone', 6_993, [], 6_993],
    [
      'a history that begins late: what was told, and what came after',
      6_993,
      [renewal(START_MS + 40 * DAY_MS, 'n')],
      7_992,
    ],
    ['a complete history: the events', 999, [eventBody(), renewal(START_MS + 40 * DAY_MS, 'n')], 1_998],
    [
      'a complete history with a refund: nothing is left',
      999,
      [
        eventBody(),
        eventBody({
          id: 'refund',
          type: 'CANCELLATION',
          cancel_reason: 'CUSTOMER_SUPPORT',
          event_timestamp_ms: START_MS + DAY_MS,
          price: -9.99,
          price_in_purchased_currency: -9.99,
        }),
      ],
      0,
    ],
  ];
  for (const [name, told, bodies, wanted] of ltv) {
    it(`lifetime value, ${name}`, () => {
      const snapshot = snapshotAt(START_MS + 29 * DAY_MS, {
        endsAtMs: START_MS + 30 * DAY_MS,
        revenueUsdCents: told,
      });
      const state = deriveState(bodies.map(read), snapshot, START_MS + 45 * DAY_MS);
      assert.equal(state.lifetimeValueUsdCents, wanted);
    });
  }

  it("takes the earlier of the two clocks, so that RevenueCat's later events stay later", () => {
    const at = Date.UTC(2026, 0, 1, 12, 0, 0);
    const date = new Date(at).toUTCString();
    const cases: [name: string, asked: number, date: unknown, wanted: number][] = [
      ["both agree, within the header's second", at + 400, date, at + 400],
      ['ours is ahead', at + 5_000, date, at],
      ['ours is behind', at - 5_000, date, at - 5_000],
      ['no header', at + 7, undefined, at + 7],
      ['a header that is none', at + 7, 'soon', at + 7],
    ];
    for (const [name, asked, header, wanted] of cases)
      assert.equal(snapshotTime(asked, header), wanted, name);
  });
});

describe('storing snapshots beside webhooks', () => {
  let db: TestDatabase;

  before(async () => {
    db = await createTestDatabase();
    await db.database.query(`insert into workspaces (workspace_id, name) values ($1, 'Test')`, [
      WORKSPACE_ID,
    ]);
    await db.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ($1, $2, 'proj1', 'Test', 'x')`,
      [WORKSPACE_ID, PROJECT_ID],
    );
  });
  after(() => db.close());

  const store = (reading: RevenueCatCustomer) =>
    db.database.transaction((sql) =>
      storeCustomers({ sql, secrets }, project, { customers: [reading], alwaysDue: false }),
    );

  async function receive(id: string, appUserId: string, fields: Record<string, unknown> = {}): Promise<void> {
    const person = { app_user_id: appUserId, original_app_user_id: appUserId, aliases: [] };
    const event = eventBody({ ...person, ...fields, id });
    await storeEvents(db.database, project, [prepareEvent(event, START_MS)]);
  }

  async function stateOf(appUserId: string) {
    const [found] = await db.database.query<{ id: string }>(
      'select subscriber_id as id from subscriber_ids where workspace_id = $1 and app_user_id = $2',
      [WORKSPACE_ID, appUserId],
    );
    assert.ok(found);
    const subscriber = await readSubscriber(db.database, WORKSPACE_ID, found.id);
    const history = (await readHistory(db.database, WORKSPACE_ID, found.id)).events;
    assert.ok(subscriber);
    return {
      ids: [...subscriber.appUserIds].sort(),
      email: subscriber.email,
      takenAtMs: subscriber.snapshotAtMs,
      state: deriveState(history, subscriber.snapshot, START_MS + 70 * DAY_MS),
    };
  }

  it('gives the same state in any order of arrival, one after the other or in parallel', async () => {
    let counter = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6, maxLength: 6 }),
        fc.boolean(),
        async (order, inParallel) => {
          counter += 1;
          const id = `user-${counter}`;
          const reading = (days: number, endDays: number, email: string): RevenueCatCustomer => ({
            snapshot: snapshotAt(START_MS + days * DAY_MS, {
              endsAtMs: START_MS + endDays * DAY_MS,
              ids: [id, `alias-${counter}`],
            }),
            email: { value: email, atMs: START_MS + days * DAY_MS },
          });
          const event = (body: Record<string, unknown>) => {
            const own = {
              ...body,
              id: `${body.id}-${counter}`,
              app_user_id: id,
              aliases: [id],
              original_app_user_id: id,
            };
            return () =>
              storeEvents(db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [
                prepareEvent(own, START_MS),
              ]);
          };
          const read = (each: RevenueCatCustomer) => async () => {
            await store(each);
          };
          const operations = [
            event(eventBody({ id: 'first' })),
            event(renewal(START_MS + 30 * DAY_MS, 'second')),
            event(renewal(START_MS + 60 * DAY_MS, 'third')),
            read(reading(10, 30, 'old@example.com')),
            read(reading(40, 60, 'new@example.com')),
            read(reading(10, 30, 'old@example.com')),
          ].map((run, index) => ({ run, index }));
          const shuffled = order.flatMap((index) => operations[index]?.run ?? []);
          if (inParallel) await Promise.all(shuffled.map((run) => run()));
          else for (const run of shuffled) await run();
          const { ids, email, takenAtMs, state } = await stateOf(id);
          assert.deepEqual(ids, [`alias-${counter}`, id].sort());
          assert.equal(email, 'new@example.com');
          // Merged subscribers lose their snapshots; an import that is still running may then store it again.
          if (!inParallel) assert.equal(takenAtMs, START_MS + 40 * DAY_MS, 'never an older one');
          assert.equal(state.status, 'active');
          assert.equal(
            state.primary?.endsAtMs,
            START_MS + 90 * DAY_MS,
            'the newest webhook is not overwritten',
          );
          const rows = await db.database.query(
            `select 1 from subscriber_ids where app_user_id = any($1)
              group by workspace_id having count(distinct subscriber_id) > 1`,
            [[id, `alias-${counter}`]],
          );
          assert.equal(rows.length, 0);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('makes due only who has bought something, and only when something is new', async () => {
    const due = async (id: string): Promise<boolean> => {
      const rows = await db.database.query<{ due: boolean }>(
        `select s.due_at is not null as due from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = $1`,
        [id],
      );
      return rows[0]?.due ?? false;
    };
    const storeSnapshot = (snapshot: Snapshot) => store({ snapshot, email: null });
    const empty = {
      ...snapshotAt(START_MS, { endsAtMs: START_MS, ids: ['free'] }),
      subscriptions: [],
      activeEntitlements: [],
    };
    assert.equal((await storeSnapshot(empty))[0]?.outcome, 'created');
    assert.equal(await due('free'), false);
    const onlyAccess = snapshotAt(START_MS, { endsAtMs: START_MS + 30 * DAY_MS, ids: ['given'] });
    await storeSnapshot({ ...onlyAccess, subscriptions: [] });
    assert.equal(await due('given'), true, 'who has access without a purchase');
    const paying = snapshotAt(START_MS, { endsAtMs: START_MS + 30 * DAY_MS, ids: ['paying'] });
    await storeSnapshot(paying);
    assert.equal(await due('paying'), true);
    await db.database.query('update subscribers set due_at = null');
    await storeSnapshot({ ...paying, takenAtMs: START_MS + DAY_MS, lastSeenAtMs: START_MS + DAY_MS });
    assert.equal(await due('paying'), false, 'seen again, nothing bought');
    await receive('cancelled', 'paying', {
      type: 'CANCELLATION',
      event_timestamp_ms: START_MS + 1.2 * DAY_MS,
    });
    await db.database.query('update subscribers set due_at = null');
    await storeSnapshot({ ...paying, takenAtMs: START_MS + 1.5 * DAY_MS });
    assert.equal(await due('paying'), true, 'the reading overrides an event');
    const later = { ...paying, takenAtMs: START_MS + 2 * DAY_MS, activeEntitlements: [] };
    assert.equal((await storeSnapshot(later))[0]?.outcome, 'updated');
    assert.equal(await due('paying'), true);
    assert.equal((await storeSnapshot(paying))[0]?.outcome, 'unchanged', 'an older reading changes nothing');
    await db.database.query('update subscribers set due_at = null');
    await storeSnapshot({ ...later, takenAtMs: START_MS + 3 * DAY_MS, aliases: ['paying-too'] });
    assert.equal(await due('paying'), true, 'another app user id may be that of a contact');
    await receive('contradicted', 'contradicted');
    await db.database.query('update subscribers set due_at = null');
    await storeSnapshot({ ...empty, customerId: 'contradicted' });
    assert.equal(await due('contradicted'), true, 'the first reading says that what was bought is gone');
    for (const [at, email] of ['first@example.com', 'first@example.com', 'second@example.com'].entries()) {
      await db.database.query('update subscribers set due_at = null');
      const snapshot = { ...later, takenAtMs: START_MS + (4 + at) * DAY_MS };
      await store({ snapshot, email: { value: email, atMs: START_MS + at } });
      assert.equal(await due('paying'), at === 2, 'the contact may have been matched by the old e-mail');
    }
    await db.database.query('update subscribers set due_at = null, waiting = true, email = null');
    const known = { ...later, aliases: [], takenAtMs: START_MS + 8 * DAY_MS, subscriptions: [] };
    await storeSnapshot(known);
    assert.equal(await due('paying'), false, 'no contact has been found under these ids');
    const waiting = { ...known, takenAtMs: START_MS + 9 * DAY_MS };
    await store({ snapshot: waiting, email: { value: 'first@example.com', atMs: START_MS + 9 } });
    assert.equal(await due('paying'), true, 'the e-mail may be that of a contact');
    await db.database.query('update subscribers set due_at = null');
    await storeSnapshot({ ...waiting, takenAtMs: START_MS + 10 * DAY_MS, aliases: ['paying-3'] });
    assert.equal(await due('paying'), true, 'another id may be that of a contact');
  });

  it('of two readings of one customer the newer counts, and of two e-mails the one that was set later', async () => {
    const $email = { value: 'event@example.com', updated_at_ms: START_MS + 5 * DAY_MS };
    await receive('twice-read', 'twice-read', { subscriber_attributes: { $email } });
    const reading = (days: number): RevenueCatCustomer => ({
      snapshot: snapshotAt(START_MS + days * DAY_MS, { endsAtMs: START_MS, ids: ['twice-read'] }),
      email: { value: 'reading@example.com', atMs: START_MS },
    });
    await db.database.transaction((sql) =>
      storeCustomers({ sql, secrets }, project, { customers: [reading(20), reading(10)], alwaysDue: false }),
    );
    const { takenAtMs, email } = await stateOf('twice-read');
    assert.deepEqual([takenAtMs, email], [START_MS + 20 * DAY_MS, 'event@example.com']);
  });

  it('a reading of one of two customers does not hide what the other had bought before they became one', async () => {
    const expiration_at_ms = START_MS + 90 * DAY_MS;
    await receive('one-of-two', 'one-of-two', { expiration_at_ms });
    const other = {
      product_id: 'team_yearly',
      entitlement_ids: ['team'],
      transaction_id: 'team-1',
      original_transaction_id: 'team-1',
    };
    await receive('two-of-two', 'two-of-two', {
      ...other,
      expiration_at_ms,
      event_timestamp_ms: START_MS + 1,
    });
    const snapshot = snapshotAt(START_MS + DAY_MS, { endsAtMs: expiration_at_ms, ids: ['one-of-two'] });
    await store({ snapshot, email: null });
    await receive('both', 'one-of-two', { aliases: ['two-of-two'], expiration_at_ms });
    const { ids, state } = await stateOf('one-of-two');
    assert.deepEqual(ids, ['one-of-two', 'two-of-two']);
    assert.deepEqual(state.entitlements.map(({ lookupKey }) => lookupKey).sort(), ['pro', 'team']);
  });

  it('takes what a text cannot hold', async () => {
    const odd = snapshotAt(START_MS, { endsAtMs: START_MS, ids: ['odd'] });
    const snapshot = { ...odd, attributes: { 'no\u0000te\udc00': 'a\u0000b\ud800c' } };
    const reading = { snapshot, email: { value: 'a\u0000@example.com', atMs: 1 } };
    const [stored] = await store(reading);
    assert.equal(stored?.outcome, 'created');
  });
});
