import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ContactLinkEntity, ENTITIES } from '../../src/database/entities.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('entities', () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  for (const { options } of ENTITIES) {
    test(`${options.tableName} has the columns of the migrated schema`, async () => {
      const rows = await db.database.query<{ name: string; type: string; nullable: boolean; key: boolean }>(
        `select a.attname as name, format_type(a.atttypid, null) as type, not a.attnotnull as nullable,
                a.attnum = any(k.conkey) as key
           from pg_attribute a join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'p'
          where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by 1`,
        [options.tableName],
      );
      const names: Record<string, string> = { timestamptz: 'timestamp with time zone' };
      const columns = Object.values(options.columns).map((column) => ({
        name: column?.name,
        type: names[String(column?.type)] ?? String(column?.type),
        nullable: column?.nullable ?? false,
        key: column?.primary ?? false,
      }));
      columns.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
      assert.deepEqual(columns, rows);
    });
  }

  test('a repository takes part in the transaction that it is used in', async () => {
    const link = {
      workspaceId: 'w',
      contactId: 'c',
      projectId: 'p',
      subscriberId: '00000000-0000-4000-8000-000000000001',
      madeBy: { id: '1', name: 'Ada' },
    };
    const count = () => db.database.manager.countBy(ContactLinkEntity, { workspaceId: 'w' });
    const aborted = db.database.transaction(async ({ manager, query }) => {
      await manager.insert(ContactLinkEntity, link);
      assert.equal((await query('select 1 from contact_links')).length, 1);
      assert.equal(await count(), 0, 'it is not committed');
      throw new Error('abort');
    });
    await assert.rejects(aborted, /abort/);
    assert.equal(await count(), 0);
    await db.database.transaction(({ manager }) => manager.insert(ContactLinkEntity, link));
    assert.equal(await count(), 1);
    assert.equal(db.database.connections().idle, db.database.connections().total, 'connections are returned');
  });
});
