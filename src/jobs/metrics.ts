import type { AddDatabaseGauges } from '../database/metrics.ts';
import type { Sql } from '../database/sql.ts';

/** One queue of background jobs, over all processes. */
interface QueueBacklog {
  readonly queue: string;
  /** Due and not started. */
  readonly waiting: number;
  /** How long the oldest of these has been due (s). */
  readonly lagSeconds: number;
  /** Those whose retries were used up within the last day. */
  readonly givenUp: number;
}

export function addJobMetrics(addDatabaseGauges: AddDatabaseGauges): void {
  const byQueue = (help: string, count: (backlog: QueueBacklog) => number) => ({
    help,
    label: 'queue',
    values: (queues: readonly QueueBacklog[]) => queues.map((each) => [each.queue, count(each)] as const),
  });
  addDatabaseGauges(readJobBacklog, {
    jobs_waiting: byQueue('Background jobs that are due and not started, by queue', ({ waiting }) => waiting),
    job_lag_seconds: byQueue(
      'How long the oldest due job of a queue has waited',
      ({ lagSeconds }) => lagSeconds,
    ),
    jobs_given_up: byQueue(
      'Background jobs whose retries were used up within the last day, by queue',
      ({ givenUp }) => givenUp,
    ),
  });
}

/** All queues; pg-boss keeps them in its own schema. */
function readJobBacklog(sql: Sql): Promise<QueueBacklog[]> {
  return sql.query<QueueBacklog>(
    `select q.name as queue, d.waiting, coalesce(greatest(d.lag, 0), 0) as "lagSeconds", f.given_up as "givenUp"
       from pgboss.queue q
      cross join lateral (
        select count(*)::integer as waiting, extract(epoch from now() - min(j.start_after))::float8 as lag
          from pgboss.job j
         where j.name = q.name and j.state in ('created', 'retry') and j.start_after <= now()) d
      cross join lateral (
        select count(*)::integer as given_up from pgboss.job j
         where j.name = q.name and j.state = 'failed' and j.completed_on > now() - interval '1 day') f`,
  );
}
