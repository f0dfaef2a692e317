import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { migrate, openDatabase, undoMigrations } from '../../src/database/data-source.ts';
import { MIGRATIONS } from '../../src/database/migrations.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('migrations', () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  const query = (text: string) => db.database.query<Record<string, unknown>>(text);

  /** Every column, index and constraint. */
  async function schema(): Promise<Record<string, readonly unknown[]>> {
    return {
      columns: await query(
        `select table_name, column_name, data_type, is_nullable, column_default, is_identity
           from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'
          order by 1, 2`,
      ),
      indexes: await query(
        `select indexdef from pg_indexes where schemaname = 'public' and tablename <> 'schema_migrations' order by 1`,
      ),
      constraints: await query(
        `select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint
          where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'schema_migrations' order by 1, 2`,
      ),
    };
  }

  test('all migrations can be reverted and run again', async () => {
    const newest = await schema();
    assert.ok(Number(newest.columns?.length) > 100);
    const undone = await undoMigrations(db.dataSource, MIGRATIONS.length);
    assert.equal(undone.length, MIGRATIONS.length);
    assert.deepEqual(await schema(), { columns: [], indexes: [], constraints: [] });
    assert.equal((await migrate(db.dataSource)).length, MIGRATIONS.length);
    assert.deepEqual(await schema(), newest);
  });

  test('a migration of a newer version is undone by that version only', async () => {
    await query(
      `insert into schema_migrations (timestamp, name) values (1790000000099, 'Newer1790000000099')`,
    );
    await assert.rejects(undoMigrations(db.dataSource, 2), /Newer1790000000099, is of a newer version/);
    await query(`delete from schema_migrations where name = 'Newer1790000000099'`);
    assert.deepEqual(await migrate(db.dataSource), []);
  });

  test('of several processes that start at the same time one migrates, and the others find nothing to do', async () => {
    await undoMigrations(db.dataSource, MIGRATIONS.length);
    const logger = pino({ level: 'silent' });
    const processes = await Promise.all(
      Array.from({ length: 4 }, () => openDatabase({ url: db.url, logger, poolSize: 3 })),
    );
    const done = await Promise.all(processes.map((open) => migrate(open.dataSource)));
    assert.deepEqual(done.map((names) => names.length).toSorted(), [0, 0, 0, MIGRATIONS.length]);
    for (const open of processes) await open.close();
  });

  test('every key begins with the workspace', async () => {
    const rows = await query(
      `select c.conrelid::regclass::text as name, a.attname as first
         from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.contype = 'p' and c.connamespace = 'public'::regnamespace order by 1`,
    );
    const others = rows.filter(({ first }) => first !== 'workspace_id').map(({ name }) => name);
    assert.deepEqual(others, ['oauth_states', 'schema_migrations', 'workers']);
  });
});
