import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadModule, parseSync } from 'libpg-query';
import pg from 'pg';
import { pino } from 'pino';
import type { QueryRunner } from 'typeorm';
import {
  type LongTransaction,
  migrate,
  openDatabase,
  undoMigrations,
} from '../../src/database/data-source.ts';
import { MIGRATIONS } from '../../src/database/migrations.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Running, startCommand } from '../support/process.ts';
import { until } from '../support/wait.ts';

const FOLDER = join(import.meta.dirname, '../../migrations');
const WAITING_FOR_LOCK = `
  select 1 from pg_stat_activity
   where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'relation'`;
const ASKED_FOR_MIGRATION_LOCK = `
  select 1 from pg_stat_activity
   where datname = current_database() and state like 'idle in transaction%' and query like '%pg_try_advisory_xact_lock%'`;
/** Tables that this transaction has locked, so that no other one can read them. */
const LOCKED_OUT = `
  select relation::regclass::text as name from pg_locks l join pg_class c on c.oid = l.relation
   where l.pid = pg_backend_pid() and l.mode = 'AccessExclusiveLock' and c.relkind = 'r' and c.relnamespace = 'public'::regnamespace`;

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

  test('a process of an older version can still run what it has prepared: no column gets another type', async (t) => {
    await undoMigrations(db.dataSource, MIGRATIONS.length - 1);
    t.after(() => migrate(db.dataSource));
    const older = new pg.Client({ connectionString: db.url });
    await older.connect();
    t.after(() => older.end());
    const tables = await query(
      `select table_name, string_agg(quote_ident(column_name), ', ') as columns
         from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'
        group by 1`,
    );
    const readAll = async (): Promise<void> => {
      for (const { table_name: table, columns } of tables)
        await older.query({ name: `read-${table}`, text: `select ${columns} from ${table}` });
    };
    await readAll();
    await migrate(db.dataSource);
    await readAll();
  });

  test('each number is taken once', () => {
    const names = new Set(MIGRATIONS.map((migration) => /\d+$/.exec(new migration().name)?.[0]));
    assert.equal(names.size, MIGRATIONS.length);
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

  test('a migration that waits for a lock names who holds it, lets others read, and is done when it is free', async (t) => {
    const printed = t.mock.method(console, 'log');
    const backup = new pg.Client({ connectionString: db.url, application_name: 'pg_dump' });
    const reader = new pg.Client({ connectionString: db.url, statement_timeout: 10_000 });
    await Promise.all([backup.connect(), reader.connect()]);
    t.after(() => Promise.all([backup.end(), reader.end()]));
    const tables = 'events, bulk_grants';
    await undoMigrations(db.dataSource, MIGRATIONS.length - 1);
    await backup.query(`begin; lock table ${tables} in access share mode`);
    const attempts: (readonly LongTransaction[])[] = [];
    const migrating = migrate(db.dataSource, { onBlocked: (by) => attempts.push(by) });
    await until(async () => (await query(WAITING_FOR_LOCK)).length > 0, 'the migration to wait');
    await reader.query(`select from ${tables} limit 1`);
    await until(() => attempts.length > 0, 'the migration to give the others way');
    // PostgreSQL's own maintenance may also hold locks.
    const by = attempts[0]?.find(({ application }) => application === 'pg_dump');
    assert.ok((by?.seconds ?? 0) >= 1);
    await backup.query('commit');
    assert.equal((await migrating).length, MIGRATIONS.length - 1, 'those of the first attempt, too');
    assert.equal(printed.mock.callCount(), 0, 'the log is JSON');
  });

  test('SIGTERM ends a start that waits for a lock, or for the migrations of another process', async (t) => {
    const backup = new pg.Client({ connectionString: db.url });
    await backup.connect();
    t.after(() => backup.end());
    // 0007 changes the table that is locked.
    const count = MIGRATIONS.length - 6;
    await undoMigrations(db.dataSource, count);
    await backup.query('begin; lock table subscriber_summaries in access share mode');
    const start = () =>
      startCommand(['serve'], {
        DATABASE_URL: db.url,
        PORT: '0',
        INTERCOM_CLIENT_ID: 'client',
        INTERCOM_CLIENT_SECRET: 'secret',
      });
    const processes = [start(), start()];
    const isBlocked = ({ output }: Running) => output().includes('waits for a lock');
    await until(() => processes.some(isBlocked), 'one to wait for the lock', 60_000);
    const asked = async () => (await query(ASKED_FOR_MIGRATION_LOCK)).length;
    await until(async () => (await asked()) === 2, 'the other to wait for it', 60_000);
    for (const { child, ended, output } of processes.toSorted((one) => (isBlocked(one) ? 1 : -1))) {
      child.kill('SIGTERM');
      await until(() => child.exitCode !== null, 'it to end', 60_000);
      assert.equal((await ended).code, 0, output());
    }
    await backup.query('commit');
    assert.equal((await migrate(db.dataSource)).length, count);
  });

  test('no migration locks out reads while it builds an index', async () => {
    const files = (await readdir(FOLDER)).filter((name) => name > '0002').sort();
    await undoMigrations(db.dataSource, MIGRATIONS.length - 1);
    for (const file of files.filter((name) => name.endsWith('.up.sql'))) {
      await db.database.transaction(async (sql) => {
        for (const statement of (await readFile(join(FOLDER, file), 'utf8')).split(/;\s*$/m)) {
          if (/^\s*(--.*\n)*create (unique )?index/.test(statement))
            assert.deepEqual(await sql.query(LOCKED_OUT), [], `${file}: ${statement}`);
          if (statement.trim() !== '') await sql.query(statement);
        }
      });
    }
    // These migrations ran without TypeORM, so it cannot undo them.
    for (const file of files.filter((name) => name.endsWith('.down.sql')).reverse())
      await query(await readFile(join(FOLDER, file), 'utf8'));
    assert.equal((await migrate(db.dataSource)).length, MIGRATIONS.length - 1);
  });

  test('statements are sent one by one, as the nodes of Citus take them', async () => {
    await loadModule();
    const sent: string[] = [];
    const runner = { query: async (text: string) => sent.push(text) } as unknown as QueryRunner;
    for (const migration of MIGRATIONS.map((Migration) => new Migration())) {
      await migration.up(runner);
      await migration.down(runner);
    }
    const several = sent.filter(
      (text) => Number((parseSync(text) as { stmts?: unknown[] }).stmts?.length) > 1,
    );
    assert.deepEqual(
      several.map((text) => text.slice(0, 200)),
      [],
    );
    assert.ok(sent.some((text) => /create table webhooks/.test(text)));
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
