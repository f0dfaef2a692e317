import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Transaction } from '../../src/database/sql.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let db: TestDatabase;

before(async () => {
  db = await createTestDatabase();
});
after(() => db?.close());

test('a transaction is repeated after a deadlock', async () => {
  const { database } = db;
  await database.query(`insert into workspaces (workspace_id, name) values ('first', ''), ('second', '')`);
  const append = (sql: Transaction, id: string, name: string) =>
    sql.query('update workspaces set name = name || $2 where workspace_id = $1', [id, name]);
  let begun = 0;
  const { promise: bothBegun, resolve } = Promise.withResolvers<void>();
  /** The two wait for each other before their second statement, and then for each other's row. */
  const inOrder = (name: string, ids: readonly [string, string]) =>
    database.transaction(async (sql) => {
      await append(sql, ids[0], name);
      begun += 1;
      if (begun === 2) resolve();
      await bothBegun;
      await append(sql, ids[1], name);
    });
  await Promise.all([inOrder('a', ['first', 'second']), inOrder('b', ['second', 'first'])]);
  assert.equal(begun, 3, 'one of the two was repeated');
  const rows = await database.query<{ name: string }>('select name from workspaces order by workspace_id');
  assert.deepEqual(
    rows.map(({ name }) => [...name].sort().join('')),
    ['ab', 'ab'],
  );
});
