import type { Sql } from '../database/sql.ts';
import { type Finding, ok, problem, warning } from './check-result.ts';

/** A delivery that is due longer than this is late, s: usually it takes less than one. */
const LATE_S = 120;
const LATE_JOB_MINUTES = 10;
/** The daily run thins what became old since the last one. */
const RETENTION_SLACK_DAYS = 3;

/** What the background processes of all workspaces together have left undone. */
export async function checkWork(sql: Sql): Promise<Finding[]> {
  const [alive] = await sql.query<{ workers: number }>(
    `select count(*)::integer as workers from pg_stat_activity
      where application_name = 'subscription-timeline-worker' and datname = current_database()`,
  );
  const workers = alive?.workers ?? 0;
  return [
    ...(workers > 0
      ? [ok('worker', `${workers} ${workers === 1 ? 'worker is' : 'workers are'} connected.`)]
      : [
          warning(
            'worker',
            'No worker process is connected: events are stored and not delivered.',
            'Start one with "npm start" or "npm run -s cli -- serve --role worker". (Behind a connection pooler without DATABASE_DIRECT_URL workers cannot be seen.)',
          ),
        ]),
    await checkJobs(sql),
  ];
}

async function checkJobs(sql: Sql): Promise<Finding> {
  const [schema] = await sql.query<{ there: boolean }>(
    `select to_regclass('pgboss.job') is not null as there`,
  );
  if (!schema?.there) {
    return warning('jobs', 'The job queue was never set up.', 'Start the server once: it sets the queue up.');
  }
  const late = await sql.query<{ name: string; count: string; minutes: number }>(
    `select name, count(*) as count,
            floor(extract(epoch from now() - min(start_after)) / 60)::integer as minutes
       from pgboss.job
      where state in ('created', 'retry') and start_after < now() - make_interval(mins => $1)
      group by name order by 3 desc`,
    [LATE_JOB_MINUTES],
  );
  const [worst] = late;
  if (worst) {
    const total = late.reduce((sum, row) => sum + Number(row.count), 0);
    return problem(
      'jobs',
      `${total} background jobs have waited for more than ${LATE_JOB_MINUTES} minutes, the oldest (${worst.name}) for ${worst.minutes}.`,
      'See that a worker runs and what it logs; start more workers when one cannot keep up.',
    );
  }
  const failed = await sql.query<{ name: string; count: string }>(
    `select name, count(*) as count from pgboss.job
      where state = 'failed' and completed_on > now() - interval '1 day' group by name order by 2 desc`,
  );
  const [most] = failed;
  if (most) {
    return warning(
      'jobs',
      `Background jobs were given up in the last day, most often ${most.name} (${most.count}).`,
      'Search the log of the workers for "job failed" and the name of the job: the error says why.',
    );
  }
  return ok('jobs', 'Background jobs run in time.');
}

/** Whether the daily job thins what has become old. */
export async function checkRetention(
  sql: Sql,
  workspaceId: string,
  retentionDays: number | null,
): Promise<Finding[]> {
  if (retentionDays === null) return [];
  const scope = { workspace: workspaceId };
  const behind = await sql.query(
    `select 1 from events
      where workspace_id = $1 and received_at < now() - make_interval(days => $2)
        and received_at > coalesce((select done_until from retention_marks where workspace_id = $1), '-infinity')
      limit 1`,
    [workspaceId, retentionDays + RETENTION_SLACK_DAYS],
  );
  return behind.length > 0
    ? [
        warning(
          'retention',
          `Payloads older than ${retentionDays} days have not been thinned.`,
          'The daily job runs at 03:17 UTC in a worker: see that one is running then, and search its log for "maintenance.daily".',
          scope,
        ),
      ]
    : [ok('retention', `Payloads older than ${retentionDays} days are thinned.`, scope)];
}

/** Whether one workspace's deliveries are in time, and what has failed. */
export async function checkDeliveries(sql: Sql, workspaceId: string): Promise<Finding[]> {
  const scope = { workspace: workspaceId };
  const [row] = await sql.query<{ late_s: number | null; held_s: number | null; waiting: number }>(
    `select (select extract(epoch from now() - s.due_at)::float8 from subscribers s
              where s.workspace_id = $1 and s.due_at <= now() order by s.due_at limit 1) as late_s,
            (select extract(epoch from w.not_before - now())::float8 from workspaces w
              where w.workspace_id = $1) as held_s,
            (select count(*)::integer from (select 1 from subscribers s
              where s.workspace_id = $1 and s.waiting limit 100000) as waiting_subscribers) as waiting`,
    [workspaceId],
  );
  const findings: Finding[] = [];
  const lateS = row?.late_s ?? 0;
  if (lateS > LATE_S && (row?.held_s ?? 0) <= 0) {
    findings.push(
      problem(
        'delivery_lag',
        `Deliveries to Intercom are late: the oldest has been due for ${Math.round(lateS / 60)} minutes.`,
        'See that a worker runs ("npm start", or "serve --role worker"). If one does, it cannot keep up: start another one, and see rate_used_ratio in /metrics for Intercom\'s limit.',
        scope,
      ),
    );
  } else findings.push(ok('delivery_lag', 'Deliveries to Intercom are in time.', scope));
  findings.push(await checkFailed(sql, workspaceId));
  const waiting = row?.waiting ?? 0;
  if (waiting > 0) {
    findings.push(
      ok(
        'waiting',
        waiting === 1
          ? 'One customer has no Intercom contact yet; the events wait for one.'
          : `${waiting} customers have no Intercom contact yet; their events wait for one.`,
        scope,
      ),
    );
  }
  return findings;
}

async function checkFailed(sql: Sql, workspaceId: string): Promise<Finding> {
  const scope = { workspace: workspaceId };
  const rows = await sql.query<{ reason: string; count: string }>(
    `select coalesce(reason, 'unknown') as reason, count(*) as count
       from (select reason from events where workspace_id = $1 and delivery = 'failed' limit 100000) as failed
      group by 1 order by 2 desc`,
    [workspaceId],
  );
  const [most] = rows;
  if (!most) return ok('failed_deliveries', 'No delivery has failed.', scope);
  const total = rows.reduce((sum, row) => sum + Number(row.count), 0);
  return problem(
    'failed_deliveries',
    `${total} events could not be delivered; most often: ${most.reason} (${most.count}).`,
    `Open Settings › Deliveries: each shows what Intercom said. When the cause is gone, send them again there or with "npm run -s cli -- replay --workspace ${workspaceId} --failed".`,
    scope,
  );
}
