import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

/** The column by which every table is distributed. */
const KEY = 'workspace_id';

/** Does not run Citus itself: checks the migrated schema against its requirements. */
describe('ops/citus.sql', () => {
  let db: TestDatabase;
  let distributed: { table: string; column: string; colocated: string }[];
  let local: string[];

  before(async () => {
    db = await createTestDatabase();
    const text = await readFile(join(import.meta.dirname, '../../ops/citus.sql'), 'utf8');
    const CALL =
      /^select create_distributed_table\('(\w+)', '(\w+)', colocate_with => '(\w+)'(?:, shard_count => \d+)?\);$/gm;
    distributed = [...text.matchAll(CALL)].map(([, table = '', column = '', colocated = '']) => ({
      table,
      column,
      colocated,
    }));
    local = [...text.matchAll(/^-- local (\w+): \S.{10,}$/gm)].map(([, table = '']) => table);
    const statements = text.split('\n').filter((line) => line !== '' && !line.startsWith('--'));
    assert.equal(statements.length, distributed.length, 'a statement that this test cannot read');
  });
  after(() => db?.close());

  const list = async (text: string): Promise<Record<string, unknown>[]> => db.database.query(text);

  test('names each table of the migrated schema once', async () => {
    const rows = await list(
      `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`,
    );
    const named = [...distributed.map(({ table }) => table), ...local];
    assert.deepEqual(named.toSorted(), rows.map((row) => String(row.name)).toSorted());
  });

  test('spreads all by the workspace, beside each other; only tables without one stay behind', async () => {
    const [first, ...others] = distributed;
    assert.deepEqual(first, { table: 'workspaces', column: KEY, colocated: 'none' });
    for (const each of others)
      assert.deepEqual(each, { table: each.table, column: KEY, colocated: 'workspaces' });
    const columns = await list(
      `select table_name, data_type, is_nullable from information_schema.columns
        where table_schema = 'public' and column_name = '${KEY}'`,
    );
    assert.deepEqual(
      columns.map((row) => row.table_name).toSorted(),
      distributed.map(({ table }) => table).toSorted(),
    );
    // Citus colocates tables only if these columns have the same type.
    for (const column of columns) assert.deepEqual([column.data_type, column.is_nullable], ['text', 'NO']);
  });

  test('every unique key of a distributed table contains the workspace, as Citus demands', async () => {
    const keys = await list(
      `select t.relname as table, i.relname as name,
              array(select a.attname::text from pg_attribute a
                     where a.attrelid = x.indrelid and a.attnum = any(x.indkey)) as columns
         from pg_index x
         join pg_class t on t.oid = x.indrelid
         join pg_class i on i.oid = x.indexrelid
        where t.relnamespace = 'public'::regnamespace and x.indisunique`,
    );
    const spread = new Set(distributed.map(({ table }) => table));
    const checked = keys.filter((key) => spread.has(String(key.table)));
    assert.ok(checked.length >= spread.size, 'each has a primary key');
    for (const { name, columns } of checked) assert.ok((columns as string[]).includes(KEY), String(name));
  });

  test('no foreign key, and identity columns are bigint: others could be spent twice', async () => {
    assert.deepEqual(
      await list(
        `select conname from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace`,
      ),
      [],
    );
    const identities = await list(
      `select table_name, column_name, data_type from information_schema.columns
        where table_schema = 'public' and (is_identity = 'YES' or column_default like 'nextval%')
          and table_name <> 'schema_migrations'`,
    );
    assert.ok(identities.length > 0);
    for (const column of identities) assert.equal(column.data_type, 'bigint', JSON.stringify(column));
  });
});

describe('DATABASE_BACKEND=citus', () => {
  test('the server sends what Citus takes, and delivers', async () => {
    const product = await createProduct({ environment: { DATABASE_BACKEND: 'citus' } });
    try {
      product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'user-1' });
      const nowMs = Date.now();
      for (const id of ['one', 'two', 'two']) {
        const event = eventBody({ id, event_timestamp_ms: nowMs, purchased_at_ms: nowMs });
        await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, { ...event, type: 'RENEWAL' });
      }
      const sent = (): string[] =>
        product.intercom.state.events.map((event) => String(event.metadata.event_id)).toSorted();
      await until(() => sent().length >= 2, 'the events on the contact');
      const row = await until(async () => {
        const [found] = await product.db.database.query<{ delivered: number; attempts: number }>(
          `select (select count(*)::integer from ${EVENT_STATES} where delivery = 'delivered') as delivered,
                  (select count(*)::integer from delivery_attempts where event_id is not null) as attempts`,
        );
        return found?.delivered === 2 && found;
      }, 'the outcomes');
      assert.deepEqual([sent(), row.attempts], [['one', 'two'], 2]);
    } finally {
      await product.close();
    }
  });
});
