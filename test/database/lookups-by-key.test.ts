import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { listChanged } from '../../src/backfill/reconcile.ts';
import { findSharedSubscribers } from '../../src/contacts/repository.ts';
import type { Sql } from '../../src/database/sql.ts';
import { claimNext } from '../../src/delivery/claims.ts';
import { savePlan } from '../../src/delivery/event-deliveries.ts';
import { replayBatch } from '../../src/delivery/replay.ts';
import { createCardReader } from '../../src/inbox-card/card-repository.ts';
import { markProcessed } from '../../src/ingestion/journal.ts';
import { listDeliveries } from '../../src/settings/deliveries-repository.ts';
import { readOverview } from '../../src/settings/repository.ts';
import { findEventsOfOthers } from '../../src/subscribers/customer-data.ts';
import { readHistories } from '../../src/subscribers/history.ts';
import { resolveIdentities } from '../../src/subscribers/identity.ts';
import { listSubscribers, searchSubscribers } from '../../src/subscribers/search.ts';
import { NIL_UUID } from '../../src/text.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type PlanNode, plansOf, scansOfAll } from '../support/plans.ts';
import { WORKSPACE_ID } from '../support/world.ts';

let db: TestDatabase;
before(async () => {
  db = await createTestDatabase();
  // The test of the journal needs some rows that PostgreSQL has not analyzed.
  await db.database.query('alter table webhooks set (autovacuum_enabled = false)');
  await db.database.query(
    `insert into webhooks (workspace_id, project_id, event_id, payload)
     select $1, 'p', n::text, '{}' from generate_series(1, 3000) n`,
    [WORKSPACE_ID],
  );
});
after(() => db?.close());

/** Returns the statements that a function runs. The function gets no rows. */
async function statementsOf(run: (sql: Sql) => Promise<unknown>): Promise<string[]> {
  const texts: string[] = [];
  await run({
    async query(text) {
      texts.push(text);
      return [];
    },
  });
  return texts;
}

// A process that starts with an empty database gets these plans until PostgreSQL has analyzed the tables.
for (const [name, run] of Object.entries<(sql: Sql) => Promise<unknown>>({
  'marking webhooks processed': (sql) =>
    markProcessed(sql, { workspaceId: WORKSPACE_ID, projectId: 'p' }, [], new Map()),
  claiming: (sql) => claimNext(sql, WORKSPACE_ID, { owner: NIL_UUID, limit: 1 }),
  'reading histories': (sql) => readHistories(sql, WORKSPACE_ID, [NIL_UUID]),
  planning: (sql) => savePlan(sql, WORKSPACE_ID, []),
  'opening cards': (sql) =>
    createCardReader(sql).read(WORKSPACE_ID, { contactId: '', externalId: null, chosen: null }),
  'looking for others with the same contact': (sql) => findSharedSubscribers(sql, WORKSPACE_ID, [NIL_UUID]),
})) {
  test(`${name} reads rows by their keys, also without statistics`, async () => {
    const texts = await statementsOf(run);
    assert.ok(texts.length > 0);
    for (const text of texts) {
      const [row] = await db.database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `explain (generic_plan, format json) ${text}`,
      );
      assert.ok(row);
      assert.deepEqual(scansOfAll(row['QUERY PLAN'][0].Plan), [], text);
    }
  });
}

const EVERYTHING = { customer: null, kind: null, before: null, limit: 51 };
// For these, only the subscribers are found by a separate index; all else is read by its key.
for (const [name, query] of Object.entries<Parameters<typeof listDeliveries>[2]>({
  waiting: { ...EVERYTHING, show: 'waiting' },
  pending: { ...EVERYTHING, show: 'pending' },
  'failed, of a customer': { ...EVERYTHING, show: 'failed', customer: 'user' },
  'skipped, of a customer': { ...EVERYTHING, show: 'skipped', customer: 'user' },
})) {
  test(`deliveries that are ${name} are read by their keys, also without statistics`, async () => {
    const [text = ''] = await statementsOf((sql) => listDeliveries(sql, WORKSPACE_ID, query));
    const [row] = await db.database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
      `explain (generic_plan, format json) ${text}`,
    );
    assert.ok(row);
    const scans = scansOfAll(row['QUERY PLAN'][0].Plan);
    assert.deepEqual(
      scans.filter((scan) => !scan.startsWith('subscribers ')),
      [],
      text,
    );
  });
}

test('searching reads events by their transaction, of whatever period', async () => {
  await db.database.query(
    `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, transaction_id,
                         fields)
     select $1, 'p', n::text, gen_random_uuid(), 'RENEWAL', 'renewal', n, 'renewal-' || n,
            json_build_object('original_transaction_id', 'first-' || n / 3)
       from generate_series(1, 20000) n`,
    [WORKSPACE_ID],
  );
  await db.database.query('analyze events');
  const plans = await plansOf(db.database, (sql) =>
    searchSubscribers(sql, WORKSPACE_ID, { text: 'order', fields: ['transaction'] }),
  );
  assert.equal(plans.length, 1);
  const scans = plans.flatMap(scansOfAll).filter((scan) => scan.startsWith('events '));
  assert.deepEqual(scans, []);
});

test('erasing reads of the events of others only transfers', async () => {
  const plans = await plansOf(db.database, (sql) =>
    findEventsOfOthers(sql, WORKSPACE_ID, { subscriberIds: [NIL_UUID], texts: new Set(['erin']) }),
  );
  assert.equal(plans.length, 1);
  const scans = plans.flatMap(scansOfAll).filter((scan) => !scan.startsWith('events by events_kind '));
  assert.deepEqual(scans, []);
});

test('lists of a large workspace are read from where the last one ended, not in whole', async () => {
  await db.database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id)
     select workspace_id, workspace_id || '-p', gen_random_uuid()
       from (select case when n % 3 = 0 then $1 else 'other' || n % 200 end as workspace_id
               from generate_series(1, 30000) n) t`,
    [WORKSPACE_ID],
  );
  await db.database.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select workspace_id, project_id, 'user-' || subscriber_id, subscriber_id from subscribers`,
  );
  await db.database.query(
    `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, not_sent)
     select workspace_id, subscriber_id, project_id, subscriber_id::text, now(), 'failed' from subscribers`,
  );
  await db.database.query('analyze subscribers, subscriber_ids, event_deliveries');
  const project = { workspaceId: WORKSPACE_ID, projectId: `${WORKSPACE_ID}-p` };
  const whole: string[] = [];
  for (const run of [
    (sql: Sql) => listSubscribers(sql, project, { after: `8${NIL_UUID.slice(1)}`, limit: 500 }),
    (sql: Sql) => listChanged(sql, WORKSPACE_ID, NIL_UUID),
    (sql: Sql) => replayBatch(sql, WORKSPACE_ID, { failedOnly: true }, { at: '-infinity', eventId: '' }),
  ]) {
    await run({
      async query(text, values, name) {
        // A named statement is prepared, and PostgreSQL plans that for any values.
        const [row] = await db.database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
          `explain (${name === undefined ? '' : 'generic_plan, '}format json) ${text}`,
          name === undefined ? values : [],
        );
        if (row && isReadWhole(row['QUERY PLAN'][0].Plan)) whole.push(text);
        return [];
      },
    });
  }
  assert.deepEqual(whole, []);
});

test('a workspace that PostgreSQL has not analyzed is read by keys', async (t) => {
  const db = await createTestDatabase();
  t.after(() => db.close());
  const { database } = db;
  await database.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select 'other', 'p', n::text, gen_random_uuid() from generate_series(1, 3000) n`,
  );
  await database.query('analyze subscriber_ids');
  const plans = [
    await plansOf(database, (sql) =>
      resolveIdentities(sql, { workspaceId: 'new', projectId: 'p' }, [['one', 'two']]),
    ),
    await plansOf(database, (sql) => findSharedSubscribers(sql, 'new', [NIL_UUID])),
  ];
  assert.deepEqual(
    plans.map((each) => each.flatMap(scansOfAll)),
    [[], []],
  );
});

test('of many customers that are due, the events of those that wait longest are counted and listed', async (t) => {
  const db = await createTestDatabase();
  t.after(() => db.close());
  const insert = (workspaceId: string, count: number): Promise<unknown> =>
    db.database.query(
      `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
       select $1, 'p', n::text, md5(n::text)::uuid, 'RENEWAL', 'renewal', n, '{}' from generate_series(1, $2::int) n`,
      [workspaceId, count],
    );
  // So many events of another workspace that the timeline index has one level more than others. Only they are analyzed.
  await db.database.query(`alter table events set (autovacuum_enabled = false)`);
  await insert('other', 25_000);
  await db.database.query('analyze events');
  await db.database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at)
     select 'busy', 'p', md5(n::text)::uuid, now() - make_interval(secs => 5001 - n) from generate_series(1, 5001) n`,
  );
  await insert('busy', 5_001);
  const all = { show: 'pending', customer: null, kind: null, before: null, limit: 6_000 } as const;
  const plans = await plansOf(db.database, (sql) => listDeliveries(sql, 'busy', all));
  assert.deepEqual(
    plans.flatMap(scansOfAll).filter((scan) => scan.startsWith('events ')),
    [],
  );
  const { pending, isPartial } = await readOverview(db.database, 'busy');
  assert.deepEqual({ pending: [...pending], isPartial }, { pending: [['', 5_000]], isPartial: true });
  const listed = (await listDeliveries(db.database, 'busy', all)).map(({ eventId }) => eventId);
  assert.deepEqual([listed.length, listed.includes('1'), listed.includes('5001')], [5_000, true, false]);
});

/** Whether a plan reads the listed rows in another order and sorts them, or joins them with a whole table. */
function isReadWhole(node: PlanNode): boolean {
  const inner = node.Plans ?? [];
  return (
    (/^(Sort|Merge Join|Hash Join)$/.test(node['Node Type']) && inner.some(isOfList)) ||
    inner.some(isReadWhole)
  );
}

function isOfList({ 'Relation Name': table = '', Plans = [] }: PlanNode): boolean {
  return table === 'subscribers' || table === 'event_deliveries' || Plans.some(isOfList);
}
