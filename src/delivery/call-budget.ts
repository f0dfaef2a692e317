import type { Sql } from '../database/sql.ts';
import type { RateLimit } from '../intercom/client.ts';

/** Calls that a process may make before `untilMs` (epoch ms, Intercom's clock). */
export interface Grant {
  readonly calls: number;
  /** What is left for all processes after this grant. */
  readonly left: number;
  readonly untilMs: number;
}

/** A window whose end no answer has named yet is taken to be this long. */
const WINDOW_MS = 10_000;

/**
 * Takes calls out of a workspace's window, which all worker processes share.
 *
 * The row only divides what the headers allow: `reading`, the last that this process saw, lowers what is left
 * when somebody else uses the window too, and corrects its end. A row a process and call would cost more than
 * the call; so processes ask for a handful at a time, and for less towards the end, so that none is left over.
 *
 * @param ask calls wanted; 0 only reports the reading
 * @param nowMs by Intercom's clock, as far as it is known
 */
export async function takeCalls(
  sql: Sql,
  workspaceId: string,
  ask: number,
  reading: RateLimit,
  nowMs: number,
): Promise<Grant> {
  const taken = await take(sql, workspaceId, ask, reading, nowMs);
  if (taken) return taken;
  await sql.query(
    `insert into call_budgets (workspace_id, quota, calls_left, until_ms) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [workspaceId, reading.limit, reading.remaining, reading.resetAtMs],
  );
  return (
    (await take(sql, workspaceId, ask, reading, nowMs)) ?? { calls: 0, left: 0, untilMs: nowMs + WINDOW_MS }
  );
}

async function take(
  sql: Sql,
  workspaceId: string,
  ask: number,
  reading: RateLimit,
  nowMs: number,
): Promise<Grant | null> {
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
    [workspaceId, ask, reading.limit, reading.remaining, reading.resetAtMs, Math.floor(nowMs), WINDOW_MS],
    'take-calls',
  );
  return row ? { calls: row.granted, left: row.calls_left, untilMs: Number(row.until_ms) } : null;
}
