import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import express from 'express';
import { addBackfillCommand } from '../../src/backfill/command.ts';
import { findSharedSubscribers } from '../../src/contacts/repository.ts';
import type { Database } from '../../src/database/sql.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import { plansOf, scansOfAll } from '../support/plans.ts';
import { runCommandHere, startCommand } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { addCustomer, createImportWorld, type ImportWorld } from './support.ts';

/** `npm run test:import` imports 20,000 customers, as a large app has on its first day. */
const { IMPORT_TEST_CUSTOMERS } = process.env;
const CUSTOMERS = Number(IMPORT_TEST_CUSTOMERS ?? 300);
const KILLED_AT = (IMPORT_TEST_CUSTOMERS ? [0.25, 0.6] : [0.4]).map((part) => part * CUSTOMERS);
/** The simulator's limit, so high that the import takes seconds; the app learns it from the responses. */
const CALLS_PER_MINUTE = 400_000;

describe('importing many customers', () => {
  let world: ImportWorld;
  const calls: number[] = [];
  let refused = 0;

  before(async () => {
    world = await createImportWorld({
      async listen(revenueCat) {
        const counted = express();
        counted.use((_req, res, next) => {
          calls.push(performance.now());
          res.once('finish', () => {
            if (res.statusCode === 429) refused += 1;
          });
          next();
        }, revenueCat.app);
        return listenOnLoopback(counted);
      },
    });
    const { revenueCat, db } = world;
    await addOtherWorkspace(db.database);
    revenueCat.state.limitsPerMinute.customer = CALLS_PER_MINUTE;
    // Without the newer endpoint each customer costs four calls instead of five.
    revenueCat.state.customerEventsEnabled = false;
    for (let index = 0; index < CUSTOMERS; index += 1) {
      addCustomer(revenueCat, `user-${index}`, {
        aliases: [`$RCAnonymousID:${String(index).padStart(32, '0')}`],
        email: `user-${index}@example.com`,
        subscribed: index % 4 === 0,
        bought: index % 10 === 0,
      });
    }
  });
  after(() => world.close());

  it('is complete and exact after a kill, within the rate limit', async () => {
    const { database } = world.db;
    const args = ['backfill', '--workspace', WORKSPACE_ID, '--json'];
    const done = async (): Promise<number> => {
      const [row] = await database.query<{ done: number }>('select done from imports');
      return row?.done ?? 0;
    };
    for (const killAt of KILLED_AT) {
      const running = startCommand(args, world.env);
      const killed = until(
        async () => running.child.exitCode !== null || (await done()) >= killAt,
        `${killAt} customers`,
        60_000,
      );
      await killed;
      running.child.kill('SIGKILL');
      const { signal, stderr } = await running.ended;
      assert.equal(signal, 'SIGKILL', stderr);
      assert.ok((await done()) < CUSTOMERS, 'it was killed on the way');
    }
    const last = await runCommandHere(addBackfillCommand, args, world.env);
    assert.equal(last.code, 0, last.stderr);
    const result = JSON.parse(last.stdout) as Record<string, unknown>;
    assert.deepEqual(
      {
        state: result.state,
        customers: result.customers,
        imported: result.imported,
        new_customers: result.new_customers,
        missing: result.missing,
        failed: result.failed,
        subscriptions: result.subscriptions,
        purchases: result.purchases,
      },
      {
        state: 'done',
        customers: CUSTOMERS,
        imported: CUSTOMERS,
        new_customers: CUSTOMERS,
        missing: 0,
        failed: 0,
        subscriptions: CUSTOMERS / 4,
        purchases: CUSTOMERS / 10,
      },
    );

    const rows = await database.query<{
      id: string;
      ids: string[];
      email: string;
      held: string[] | null;
      due: boolean;
    }>(
      `select s.snapshot->>'customerId' as id, s.email, s.due_at is not null as due,
              (select array_agg(i.app_user_id order by i.app_user_id desc) from subscriber_ids i
                where i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id) as ids,
              (select array_agg(x->>'id') from jsonb_array_elements(s.snapshot->'subscriptions') x) as held
         from subscribers s
        where s.workspace_id = $1`,
      [WORKSPACE_ID],
    );
    assert.equal(rows.length, CUSTOMERS);
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (let index = 0; index < CUSTOMERS; index += 1) {
      const id = `user-${index}`;
      const row = byId.get(id);
      assert.ok(row, id);
      assert.deepEqual(row.ids, [id, `$RCAnonymousID:${String(index).padStart(32, '0')}`]);
      assert.equal(row.email, `${id}@example.com`);
      assert.deepEqual(row.held, index % 4 === 0 ? [`sub_${id}`] : null);
      assert.equal(
        row.due,
        index % 4 === 0 || index % 10 === 0,
        'only who bought something is looked for in Intercom',
      );
    }
    assert.equal((await database.query('select 1 from import_customers limit 1')).length, 0);

    assert.equal(refused, 0, 'no call was refused');
    assertWithinLimit(calls);

    const plans = await plansOf(database, (sql) =>
      findSharedSubscribers(sql, WORKSPACE_ID, [randomUUID(), randomUUID()]),
    );
    assert.deepEqual(plans.flatMap(scansOfAll), [], 'PostgreSQL knows how many customers there are now');
  });
});

/** Adds rows and analyzes them. Without autovacuum, PostgreSQL's statistics miss all rows that are stored later. */
async function addOtherWorkspace(database: Database): Promise<void> {
  for (const table of ['subscribers', 'subscriber_ids'])
    await database.query(`alter table ${table} set (autovacuum_enabled = false)`);
  await database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id)
     select 'other', 'p', md5(n::text)::uuid from generate_series(1, 3000) n`,
  );
  await database.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select workspace_id, project_id, subscriber_id::text, subscriber_id from subscribers`,
  );
  await database.query('analyze subscribers, subscriber_ids');
}

/** Allows a twelfth of the limit immediately and the rest spread over the minute; calls take a while to arrive. */
function assertWithinLimit(times: readonly number[]): void {
  const burst = CALLS_PER_MINUTE / 12;
  const perMs = (CALLS_PER_MINUTE - burst) / 60_000;
  for (const windowMs of [500, 2_000, 8_000]) {
    const most = burst + perMs * windowMs;
    let first = 0;
    for (const [index, at] of times.entries()) {
      while ((times[first] ?? at) < at - windowMs) first += 1;
      const count = index - first + 1;
      assert.ok(count <= most, `${count} calls within ${windowMs} ms, at most ${most}`);
    }
  }
}
