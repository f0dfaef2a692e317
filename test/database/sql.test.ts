import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Sql } from '../../src/database/sql.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/wait.ts';

let db: TestDatabase;

before(async () => {
  db = await createTestDatabase();
});
after(() => db?.close());

const WAITING = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;

describe('after a deadlock', () => {
  const append = (sql: Sql, ids: readonly string[], name: string) =>
    sql.query('update workspaces set name = name || $2 where workspace_id = any($1)', [ids, name]);

  beforeEach(async () => {
    await db.database.query('delete from workspaces');
    await db.database.query(
      `insert into workspaces (workspace_id, name) values ('first', ''), ('second', '')`,
    );
  });

  const names = async (): Promise<string[]> => {
    const rows = await db.database.query<{ name: string }>('select name from workspaces');
    return rows.map(({ name }) => [...name].sort().join(''));
  };

  test('a transaction is repeated', async () => {
    let begun = 0;
    const { promise: bothBegun, resolve } = Promise.withResolvers<void>();
    const inOrder = (name: string, first: string, second: string) =>
      db.database.transaction(async (sql) => {
        await append(sql, [first], name);
        begun += 1;
        if (begun === 2) resolve();
        await bothBegun;
        await append(sql, [second], name);
      });
    await Promise.all([inOrder('a', 'first', 'second'), inOrder('b', 'second', 'first')]);
    assert.ok(begun > 2, 'one of the two was repeated');
    assert.deepEqual(await names(), ['ab', 'ab']);
  });

  test('a single statement is repeated', async () => {
    let begun = 0;
    let single: Promise<unknown> = Promise.resolve();
    await db.database.transaction(async (sql) => {
      begun += 1;
      await append(sql, ['second'], 'a');
      // Has the first row and waits for the second. It has waited longer, so PostgreSQL ends it in the deadlock.
      single = append(db.database, ['first', 'second'], 'b');
      await until(async () => (await sql.query(WAITING)).length > 0, 'the statement to wait');
      await append(sql, ['first'], 'a');
    });
    await single;
    assert.equal(begun, 1);
    assert.deepEqual(await names(), ['ab', 'ab']);
  });
});
