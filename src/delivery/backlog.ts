import type { Sql } from '../database/sql.ts';

/** What is not on its contact yet, over all workspaces; for the operator's metrics. */
export interface Backlog {
  /** Pending events by the code of what they wait for; `queued`: for their turn. */
  readonly pending: ReadonlyMap<string, number>;
  readonly failed: number;
  /** How long the subscriber that is due the longest has been, of the connected workspaces (s). */
  readonly lagSeconds: number;
}

/** Counting stops here: beyond it an operator needs no exact number, and the table may hold millions. */
const MAX_COUNTED = 100_000;

export async function readBacklog(sql: Sql): Promise<Backlog> {
  const pending = await sql.query<{ code: string; count: string }>(
    `select coalesce(reason, 'queued') as code, count(*) as count
       from (select reason from events where delivery = 'pending' limit $1) as open_events
      group by 1`,
    [MAX_COUNTED],
  );
  const [row] = await sql.query<{ failed: string; lag: number | null }>(
    `select (select count(*) from (select 1 from events where delivery = 'failed' limit $1) as failed_events)
              as failed,
            (select extract(epoch from max(now() - d.due_at))::float8
               from workspaces w
              cross join lateral (select s.due_at from subscribers s
                                   where s.workspace_id = w.workspace_id and s.due_at <= now()
                                   order by s.due_at limit 1) d
              where w.status = 'connected') as lag`,
    [MAX_COUNTED],
  );
  return {
    pending: new Map(pending.map(({ code, count }) => [code, Number(count)])),
    failed: Number(row?.failed ?? 0),
    lagSeconds: row?.lag ?? 0,
  };
}
