import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate, openDatabase } from '../../src/database/data-source.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { eventBody } from '../support/events.ts';
import { makeDatabaseFolder } from '../support/folder.ts';
import { logger, PROJECT_ID, WORKSPACE_ID } from '../support/world.ts';
import { copyCluster, removeCluster, startCluster } from './standby.ts';

/** The pause between two batches. Without it, writing slows the copy down, and a longer copy means more writing. */
const WRITE_EVERY_MS = 20;

test('a copy made while webhooks arrive starts as a server with everything that was stored before it', async () => {
  const folder = await makeDatabaseFolder('backup');
  const original = await startCluster(join(folder, 'original'));
  const open = await openDatabase({ url: original.url, logger, poolSize: 5 });
  await migrate(open.dataSource);
  const [role] = await open.database.query(
    `select rolsuper, rolcreaterole, rolcreatedb, rolreplication from pg_roles where rolname = current_user`,
  );
  assert.deepEqual(
    role,
    { rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolreplication: false },
    'the app has no right beyond its own database',
  );
  const store = async (from: number, count: number): Promise<void> => {
    const events = Array.from({ length: count }, (_, index) => {
      const id = `user-${(from + index) % 50}`;
      const body = eventBody({
        id: `backup-${from + index}`,
        app_user_id: id,
        original_app_user_id: id,
        aliases: [],
      });
      return prepareEvent(body, Date.now());
    });
    await storeEvents(open.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, events);
  };
  await store(0, 1_000);

  let stop = false;
  let stored = 1_000;
  const writing = (async () => {
    for (; !stop; stored += 50) {
      await store(stored, 50);
      await sleep(WRITE_EVERY_MS);
    }
  })();
  await copyCluster(original, join(folder, 'copy'), { standby: false });
  stop = true;
  await writing;
  assert.ok(stored > 1_000, 'webhooks arrived while it was copied');
  await open.close();
  await original.kill();

  const restored = await startCluster(join(folder, 'copy'));
  const copy = await openDatabase({ url: restored.url, logger, poolSize: 5 });
  assert.deepEqual(await migrate(copy.dataSource), []);
  const [row] = await copy.database.query<{ events: number; before: number; orphans: number }>(
    `select count(*)::int as events,
            count(*) filter (where split_part(event_id, '-', 2)::int < 1000)::int as before,
            count(*) filter (where not exists (
              select 1 from subscribers s where s.workspace_id = e.workspace_id and s.subscriber_id = e.subscriber_id
            ))::int as orphans
       from events e where workspace_id = $1`,
    [WORKSPACE_ID],
  );
  assert.deepEqual([row?.before, row?.orphans], [1_000, 0]);
  assert.equal((row?.events ?? 0) % 50, 0, 'no batch was torn');
  await copy.close();
  await restored.kill();
  await removeCluster(folder);
});
