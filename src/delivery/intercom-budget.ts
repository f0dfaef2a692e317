import type { Sql } from '../database/sql.ts';
import { type RateLimit, WINDOW_MS } from '../intercom/rate-limit.ts';

/** A process's request for calls of the shared window. */
export interface CallRequest {
  /** Wanted calls; 0 only reports the headers. */
  readonly calls: number;
  /** The newest headers that this process saw. */
  readonly limit: RateLimit;
  /** By Intercom's clock, as far as it is known. */
  readonly nowMs: number;
}

/** Calls that a process may make before `untilMs` (epoch ms, Intercom's clock). */
export interface Allowance {
  calls: number;
  /** Calls left for all processes after this allowance. */
  readonly left: number;
  readonly untilMs: number;
}

/**
 * Takes calls from a workspace's rate-limit window, which all worker processes share through one row.
 *
 * The row only divides what the headers allow. The newest headers that this process saw lower the calls left, in case
 * another program uses the window too, and correct its end. A statement for each call would cost more than the call, so
 * processes take several calls at a time, and fewer toward the end so that none stays unused.
 */
export async function takeCalls(sql: Sql, workspaceId: string, request: CallRequest): Promise<Allowance> {
  const taken = await updateBudget(sql, workspaceId, request);
  if (taken) return taken;
  await sql.query(
    `insert into call_budgets (workspace_id, quota, calls_left, until_ms) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [workspaceId, request.limit.limit, request.limit.remaining, request.limit.resetAtMs],
  );
  const retaken = await updateBudget(sql, workspaceId, request);
  return retaken ?? { calls: 0, left: 0, untilMs: request.nowMs + WINDOW_MS };
}

async function updateBudget(
  sql: Sql,
  workspaceId: string,
  { calls, limit, nowMs }: CallRequest,
): Promise<Allowance | null> {
  const [row] = await sql.query<{ granted: number; calls_left: number; until_ms: string }>(
    `with before as (
       select $3::integer as quota, calls_left, until_ms,
              until_ms <= $6::bigint or $5::bigint > until_ms as turned, $5 > $6 as current
         from call_budgets where workspace_id = $1 for update
     ), now_left as (
       select quota,
              least(case when turned then quota else calls_left end, case when current then $4::integer end) as calls_left,
              case when current then $5 when turned then $6 + $7::bigint else until_ms end as until_ms
         from before
     )
     update call_budgets b
        set quota = n.quota, calls_left = n.calls_left - least(n.calls_left, $2::integer), until_ms = n.until_ms
       from now_left n
      where b.workspace_id = $1
     returning least(n.calls_left, $2::integer) as granted, b.calls_left, b.until_ms`,
    [workspaceId, calls, limit.limit, limit.remaining, limit.resetAtMs, Math.floor(nowMs), WINDOW_MS],
    'take-calls',
  );
  return row ? { calls: row.granted, left: row.calls_left, untilMs: Number(row.until_ms) } : null;
}
