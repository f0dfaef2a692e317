import { Counter, Histogram, type Registry } from 'prom-client';
import { addDatabaseGauges, addGauges } from '../database/metrics.ts';
import { MAX_COUNTED, MAX_DUE_COUNTED, queryRow, type Sql } from '../database/sql.ts';
import { IS_PENDING } from '../subscribers/stored-events.ts';

export type DeliveryMetrics = ReturnType<typeof createDeliveryMetrics>;

/** Labels are codes and outcomes: never a customer's data, never a workspace. */
export function createDeliveryMetrics(registry: Registry) {
  const registers = [registry];
  const attempts = new Counter({
    name: 'subscription_timeline_deliveries_total',
    help: 'Attempts to record an event on a contact',
    labelNames: ['outcome', 'code'] as const,
    registers,
  });
  // Starts at zero: a counter that first appears with its first count shows no increase to alerts and dashboards.
  attempts.inc({ outcome: 'delivered', code: 'ok' }, 0);
  const delay = new Histogram({
    name: 'subscription_timeline_delivery_seconds',
    help: 'From a stored webhook to its event on the contact, for events on their first attempt',
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600],
    registers,
  });
  return {
    /** Counts an attempt; `code` is `ok` or a failure's code. */
    attempt: (outcome: 'delivered' | 'failed' | 'retried', code: string) => attempts.inc({ outcome, code }),
    /** Records how long after its webhook an event reached its contact. */
    delivered: (afterMs: number) => delay.observe(Math.max(0, afterMs) / 1_000),
  };
}

export function addWorkerMetrics(
  registry: Registry,
  worker: { activeCount(): number; rateUsed(): number },
): void {
  const read = () => ({ subscribers_active: worker.activeCount(), rate_used_ratio: worker.rateUsed() });
  addGauges(registry, read, {
    subscribers_active: 'Subscribers that this worker is delivering',
    rate_used_ratio: 'Share of the running ten-second window used, of the workspace nearest to its limit',
  });
}

/** Separate queries: a count that is too slow must not also drop the lag, which an alert watches. */
export function addBacklogMetrics(to: { readonly registry: Registry; readonly database: Sql }): void {
  addDatabaseGauges(to, countPending, {
    events_pending: {
      help: 'Events not yet on their contact, by the code of what they wait for (counted up to 100,000, and of 5,000 customers that are due)',
      label: 'code',
    },
  });
  addDatabaseGauges(to, countFailed, {
    events_failed: 'Events given up, until they are replayed (counted up to 100,000)',
  });
  addDatabaseGauges(to, readLag, {
    delivery_lag_seconds: 'How long the subscriber that is due the longest has been due',
  });
}

/** Counts events of all workspaces that are not yet on their contact. Code `queued`: the event waits for its turn. */
async function countPending(sql: Sql) {
  const pending = await sql.query<{ code: string; count: string }>(
    `select coalesce(pending_reason, 'queued') as code, sum(pending_events) as count
       from (select pending_reason, pending_events from subscribers
              where pending_events > 0 and (due_at is null or due_at > now()) limit $1) as p
      group by 1`,
    [MAX_COUNTED],
  );
  // Due subscribers may have more pending events than their last delivery counted.
  const due = await sql.query<{ code: string; count: string }>(
    `select code, count(*) as count from (
       select coalesce(d.reason, 'queued') as code
         from (select workspace_id, subscriber_id from subscribers where due_at <= now() limit $2) s
         join events e on e.workspace_id = s.workspace_id and e.subscriber_id = s.subscriber_id
         left join event_deliveries d
           on d.workspace_id = e.workspace_id and d.subscriber_id = e.subscriber_id
              and d.project_id = e.project_id and d.event_id = e.event_id and e.side = 'customer'
        where ${IS_PENDING} limit $1) as q
      group by 1`,
    [MAX_COUNTED, MAX_DUE_COUNTED],
  );
  const counts = new Map<string, number>();
  for (const { code, count } of [...pending, ...due])
    counts.set(code, (counts.get(code) ?? 0) + Number(count));
  return { events_pending: counts };
}

async function countFailed(sql: Sql) {
  const failed = await queryRow<{ count: string }>(
    sql,
    `select count(*) as count from (
       select 1 from event_deliveries where not_sent = 'failed' limit $1) as f`,
    [MAX_COUNTED],
  );
  return { events_failed: Number(failed.count) };
}

async function readLag(sql: Sql) {
  const lag = await queryRow<{ seconds: number | null }>(
    sql,
    `select extract(epoch from max(now() - s.due_at))::float8 as seconds
       from subscribers s
       join workspaces w on w.workspace_id = s.workspace_id and w.status = 'connected'
      where s.due_at <= now()`,
  );
  return { delivery_lag_seconds: lag.seconds ?? 0 };
}
