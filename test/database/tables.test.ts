import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CUSTOMER_TABLES, ENCRYPTED_COLUMNS, TABLES, WORKSPACE_TABLES } from '../../src/database/tables.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** Columns that name a customer. A table with one of them holds customers' data. */
const CUSTOMER_COLUMNS = ['subscriber_id', 'app_user_id', 'customer_id', 'event_id'];

describe('the registry of tables (src/database/tables.ts)', () => {
  let db: TestDatabase;
  /** Column names by table. */
  let schema: Map<string, readonly string[]>;
  before(async () => {
    db = await createTestDatabase();
    const rows = await db.database.query<{ table_name: string; columns: string[] }>(
      `select table_name, array_agg(column_name::text order by ordinal_position) as columns
         from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'
        group by table_name`,
    );
    schema = new Map(rows.map((row) => [row.table_name, row.columns]));
  });
  after(() => db?.close());

  test('names every table of the schema, and no other', () => {
    assert.deepEqual(Object.keys(TABLES).toSorted(), [...schema.keys()].toSorted());
  });

  test('erases every table with a workspace column together with the workspace, the workspace itself last', () => {
    const withWorkspace = [...schema].flatMap(([table, columns]) =>
      columns.includes('workspace_id') ? [table] : [],
    );
    assert.deepEqual(WORKSPACE_TABLES.toSorted(), withWorkspace.toSorted());
    assert.equal(WORKSPACE_TABLES.at(-1), 'workspaces');
  });

  test('says of every table with customers what merging, erasing and exporting do', () => {
    const withCustomers = [...schema].flatMap(([table, columns]) =>
      columns.some((column) => CUSTOMER_COLUMNS.includes(column)) ? [table] : [],
    );
    assert.deepEqual(CUSTOMER_TABLES.map(({ table }) => table).toSorted(), withCustomers.toSorted());
    for (const { table, onMerge } of CUSTOMER_TABLES) {
      const columns = schema.get(table) ?? [];
      if (onMerge !== 'nothing') assert.ok(columns.includes('subscriber_id'), table);
      else assert.ok(table === 'subscribers' || !columns.includes('subscriber_id'), `${table} is not merged`);
    }
  });

  test('exports what is stored of a customer, and drops in a merge only what is derived from the rest', () => {
    const derived = ['subscriber_summaries', 'reconcile_marks'];
    const bookkeeping = ['import_customers', 'bulk_grant_customers', 'action_notes', ...derived];
    const named = (is: (table: (typeof CUSTOMER_TABLES)[number]) => boolean) =>
      CUSTOMER_TABLES.filter(is).map(({ table }) => table);
    assert.deepEqual(named(({ isExported }) => !isExported).toSorted(), bookkeeping.toSorted());
    assert.deepEqual(named(({ onMerge }) => onMerge === 'drop').toSorted(), derived.toSorted());
  });

  test('selects rows by statements that the database takes', async () => {
    for (const { table, where } of CUSTOMER_TABLES)
      await db.database.query(`select 1 from ${table} where workspace_id = $1 and ${where}`, ['w', []]);
  });

  test('names encrypted columns that exist', () => {
    assert.equal(ENCRYPTED_COLUMNS.length, 5);
    for (const { table, column, idColumn } of ENCRYPTED_COLUMNS)
      for (const name of [column, idColumn]) assert.ok(schema.get(table)?.includes(name), `${table}.${name}`);
  });
});
