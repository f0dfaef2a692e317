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
import { listDeliveries, readOverview } from '../../src/settings/repository.ts';
import { findEventsOfOthers } from '../../src/subscribers/customer-data.ts';
import { readHistories } from '../../src/subscribers/history.ts';
import { listSubscribers, searchSubscribers } from '../../src/subscribers/search.ts';
import { NIL_UUID } from '../../src/text.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { WORKSPACE_ID } from '../support/world.ts';

/** Of which a workspace has as many rows as customers or events. */
const LARGE = new Set(['subscribers', 'subscriber_ids', 'events', 'event_deliveries', 'webhooks']);

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Cond'?: string;
  Plans?: PlanNode[];
}

let db: TestDatabase;
before(async () => {
  db = await createTestDatabase();
  // For the journal it takes some rows that PostgreSQL has not analyzed.
  await db.database.query('alter table webhooks set (autovacuum_enabled = false)');
  await db.database.query(
    `insert into webhooks (workspace_id, project_id, event_id, payload)
     select $1, 'p', n::text, '{}' from generate_series(1, 3000) n`,
    [WORKSPACE_ID],
  );
});
after(() => db?.close());

/** Scans that read all that a workspace, or its project, has in a table. */
function scansOfAll(node: PlanNode): string[] {
  const { 'Relation Name': table = '', 'Index Name': index = 'itself', 'Index Cond': condition = '' } = node;
  const isScan = LARGE.has(table) && node['Node Type'].endsWith('Scan');
  const isKeyed = /subscriber_id|app_user_id|event_id|contact_id|transaction_id|sequence|due_at/.test(
    condition,
  );
  const own = isScan && !isKeyed ? [`${table} by ${index} ${condition}`] : [];
  return [...own, ...(node.Plans ?? []).flatMap(scansOfAll)];
}

/** The statements of a function, which gets no rows. */
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

// A process that is started with an empty database plans so until PostgreSQL has analyzed the tables.
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
// Of these, only the subscribers are found by an index of their own.
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

/** Plans of the statements that something runs: each gives it no rows. */
async function plansOf(work: (sql: Sql) => Promise<unknown>): Promise<PlanNode[]> {
  const plans: PlanNode[] = [];
  await work({
    async query(text, values) {
      const [row] = await db.database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `explain (format json) ${text}`,
        values,
      );
      if (row) plans.push(row['QUERY PLAN'][0].Plan);
      return [];
    },
  });
  return plans;
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
  const plans = await plansOf((sql) =>
    searchSubscribers(sql, WORKSPACE_ID, { text: 'order', fields: ['transaction'] }),
  );
  assert.equal(plans.length, 1);
  const scans = plans.flatMap(scansOfAll).filter((scan) => scan.startsWith('events '));
  assert.deepEqual(scans, []);
});

test('erasing reads of the events of others only transfers', async () => {
  const plans = await plansOf((sql) =>
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
        // PostgreSQL plans a prepared statement for any values.
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

test('of many customers that are due, the events of those that wait longest are counted and listed', async () => {
  await db.database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at)
     select 'busy', 'p', md5(n::text)::uuid, now() - make_interval(secs => 5001 - n) from generate_series(1, 5001) n`,
  );
  await db.database.query(
    `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
     select 'busy', 'p', n::text, md5(n::text)::uuid, 'RENEWAL', 'renewal', n, '{}' from generate_series(1, 5001) n`,
  );
  // Otherwise it depends on when PostgreSQL analyzes them whether this takes a second or a minute.
  await db.database.query('analyze subscribers, events');
  const { pending, isPartial } = await readOverview(db.database, 'busy');
  assert.deepEqual({ pending: [...pending], isPartial }, { pending: [['', 5_000]], isPartial: true });
  const all = { show: 'pending', customer: null, kind: null, before: null, limit: 6_000 } as const;
  const listed = (await listDeliveries(db.database, 'busy', all)).map(({ eventId }) => eventId);
  assert.deepEqual([listed.length, listed.includes('1'), listed.includes('5001')], [5_000, true, false]);
});

/** Whether a plan reads what it lists in another order and sorts it, or joins it with a whole table. */
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
