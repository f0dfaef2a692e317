import { readFile } from 'node:fs/promises';
import type { Client } from 'pg';
import { createSetting, PROJECT_ID, WORKSPACE_ID } from './setting.ts';

/**
 * Run by hand: `node bench/outcome-cost.ts`. Measures what planning an event and storing its outcome costs PostgreSQL,
 * with the outcome in the event's own row and in event_deliveries: bytes of WAL and processor time of the backend per
 * event, and how many updates were HOT. 20,000 events with fields of 1.1 kB, in statements of 16, as a worker writes.
 */
const EVENTS = 20_000;
const BATCH = 16;

const EVENT_COLUMNS =
  'workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, transaction_id, fields';

/** The former table: delivery columns next to the fields, and used in the predicates of three indexes. */
const IN_EVENTS = `
create table old_events (like events including all, delivery text not null default 'pending', reason text,
  attempts integer not null default 0, next_try_at timestamptz, first_tried_at timestamptz, delivered_at timestamptz,
  contact_id text, sent_name text, sent_at_s bigint) with (fillfactor = 80);
create index on old_events (workspace_id, subscriber_id) where delivery = 'pending';
create index on old_events (workspace_id, received_at) where delivery = 'failed';
create index on old_events (workspace_id, received_at) where delivery = 'skipped'`;

const fill = (table: string): string => `
insert into ${table} (${EVENT_COLUMNS})
select '${WORKSPACE_ID}', '${PROJECT_ID}', md5('e' || n)::uuid::text, md5('s' || n % 5000)::uuid, 'RENEWAL', 'renewal',
       1760000000000 + n, '2000' || n, json_build_object('id', n, 'filler', repeat('x', 1100))
  from generate_series(1, ${EVENTS}) n`;

const OLD = {
  table: 'old_events',
  plan: `update old_events e set sent_name = 'rc_renewal_event', sent_at_s = 1760000000, first_tried_at = now()
          where workspace_id = $1 and project_id = $2 and event_id = any($3) and delivery = 'pending'`,
  outcome: `update old_events e set delivery = 'delivered', attempts = attempts + 1, contact_id = '65f0c0ffee',
                   delivered_at = now()
             where workspace_id = $1 and project_id = $2 and event_id = any($3)`,
};
const NEW = {
  table: 'event_deliveries',
  plan: `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, sent_name,
                                       sent_at_s, first_tried_at)
         select $1, subscriber_id, $2, event_id, received_at, 'rc_renewal_event', 1760000000, now() from events
          where workspace_id = $1 and project_id = $2 and event_id = any($3)`,
  outcome: `update event_deliveries d set delivered_at = now(), attempts = d.attempts + 1, contact_id = '65f0c0ffee'
              from unnest($4::uuid[], $3::text[]) as o (subscriber_id, event_id)
             where d.workspace_id = $1 and d.subscriber_id = any($4::uuid[]) and d.project_id = $2
               and d.event_id = any($3) and d.subscriber_id = o.subscriber_id and d.event_id = o.event_id`,
};

interface Cost {
  bytes: number;
  us: number;
}

/** Adds bytes of WAL and processor time of the session's backend to `total`. */
async function measure(
  client: Client,
  pid: number,
  total: Cost,
  work: () => Promise<unknown>,
): Promise<void> {
  const wal = async (): Promise<number> =>
    Number((await client.query(`select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') as n`)).rows[0].n);
  const processorUs = async (): Promise<number> =>
    Number((await readFile(`/proc/${pid}/schedstat`, 'utf8')).split(' ')[0]) / 1_000;
  const [bytes, us] = [await wal(), await processorUs()];
  await work();
  total.us += (await processorUs()) - us;
  total.bytes += (await wal()) - bytes;
}

const setting = await createSetting({ quick: true });
try {
  const client = await setting.createDatabase('outcome_cost');
  const [{ pid }] = (await client.query('select pg_backend_pid() as pid')).rows;
  await client.query('set synchronous_commit = off');
  await client.query(IN_EVENTS);
  for (const [name, { table, plan, outcome }] of Object.entries({
    'in events': OLD,
    event_deliveries: NEW,
  })) {
    const events = table === 'old_events' ? table : 'events';
    const costs = { insert: { bytes: 0, us: 0 }, plan: { bytes: 0, us: 0 }, outcome: { bytes: 0, us: 0 } };
    await measure(client, pid, costs.insert, () => client.query(fill(events)));
    await client.query(`vacuum analyze ${events}`);
    const { rows } = await client.query(`select event_id, subscriber_id from ${events} order by event_at_ms`);
    for (let at = 0; at < EVENTS; at += BATCH) {
      const batch = rows.slice(at, at + BATCH);
      const values = [WORKSPACE_ID, PROJECT_ID, batch.map((row) => row.event_id)];
      await measure(client, pid, costs.plan, () =>
        client.query({ name: `${table}-plan`, text: plan, values }),
      );
      if (table !== 'old_events') values.push(batch.map((row) => row.subscriber_id));
      await measure(client, pid, costs.outcome, () =>
        client.query({ name: `${table}-outcome`, text: outcome, values }),
      );
    }
    await client.query('select pg_stat_force_next_flush()');
    const stats = await client.query(
      `select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = $1`,
      [table],
    );
    const { n_tup_hot_upd: hot, n_tup_upd: updates } = stats.rows[0];
    const figures = Object.entries(costs).map(
      ([step, { bytes, us }]) => `${step} ${(bytes / EVENTS).toFixed(0)} B, ${(us / EVENTS).toFixed(1)} µs`,
    );
    process.stdout.write(`${name}: ${figures.join('; ')}; ${hot} of ${updates} updates HOT\n`);
  }
} finally {
  await setting.close();
}
