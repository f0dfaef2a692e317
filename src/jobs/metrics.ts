import type { Registry } from 'prom-client';
import { addDatabaseGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';

export function addJobMetrics(to: { readonly registry: Registry; readonly database: Sql }): void {
  const label = 'queue';
  addDatabaseGauges(to, readQueues, {
    jobs_waiting: { label, help: 'Background jobs that are due and not started, by queue' },
    job_lag_seconds: { label, help: 'How long the oldest due job of a queue has waited' },
    jobs_given_up: {
      label,
      help: 'Background jobs whose retries were used up within the last day, by queue',
    },
  });
}

/** All queues, over all processes; pg-boss keeps them in its own schema. */
async function readQueues(sql: Sql) {
  const queues = await sql.query<{ queue: string; waiting: number; lag: number; givenUp: number }>(
    `select q.name as queue, d.waiting, coalesce(d.lag, 0) as lag, f.given_up as "givenUp"
       from pgboss.queue q
      cross join lateral (
        select count(*)::integer as waiting, extract(epoch from now() - min(j.start_after))::float8 as lag
          from pgboss.job j
         where j.name = q.name and j.state in ('created', 'retry') and j.start_after <= now()) d
      cross join lateral (
        select count(*)::integer as given_up from pgboss.job j
         where j.name = q.name and j.state = 'failed' and j.completed_on > now() - interval '1 day') f`,
  );
  return {
    jobs_waiting: queues.map(({ queue, waiting }) => [queue, waiting] as const),
    job_lag_seconds: queues.map(({ queue, lag }) => [queue, lag] as const),
    jobs_given_up: queues.map(({ queue, givenUp }) => [queue, givenUp] as const),
  };
}
