import type { Sql } from '../database/sql.ts';

/** What RevenueCat counts separately. Source: RevenueCat API v2, "Rate limits by domain". */
export type CallDomain = 'customer' | 'configuration';

/** Calls a minute until an answer's headers name another number. Source: the same. */
const DEFAULT_PER_MINUTE: Readonly<Record<CallDomain, number>> = { customer: 480, configuration: 60 };

/** What the headers of an answer say of the running minute; whose end they do not tell. */
export interface RateReading {
  readonly limit: number;
  readonly usage: number;
}

export interface BudgetTaken {
  readonly granted: number;
  /** When one more could be granted, ms from now; 0 when all were. */
  readonly waitMs: number;
}

/**
 * Takes calls out of a project's budget, which all processes share: a token bucket in one row.
 *
 * Whether RevenueCat counts calendar minutes or the last sixty seconds is not documented (UNVERIFIED). The bucket
 * therefore holds a twelfth of the limit and is refilled with the rest of it, less a forty-eighth for calls that
 * arrive later than they were granted: no sixty seconds, wherever they begin, see more calls than the limit.
 * That uses nine tenths of it. Counting each call in a log of the last minute would use 2 % more, and every
 * grant would read 480 rows.
 *
 * @param ask.keepShare of the bucket that is left to more urgent calls, 0 to 1
 * @param ask.reading lowers what is left when somebody else uses the same key; each is passed once
 * @param ask.nowMs the database's clock unless given
 */
export async function takeCalls(
  sql: Sql,
  project: { workspaceId: string; projectId: string },
  domain: CallDomain,
  ask: { calls: number; keepShare: number; reading?: RateReading | null; nowMs?: number },
): Promise<BudgetTaken> {
  for (let attempt = 0; ; attempt += 1) {
    const [row] = await sql.query<{ granted: string; wait_ms: number }>(
      TAKE,
      [
        project.workspaceId,
        project.projectId,
        domain,
        ask.calls,
        ask.keepShare,
        ask.reading?.limit ?? null,
        ask.reading?.usage ?? null,
        ask.nowMs ?? null,
      ],
      'take-revenuecat-calls',
    );
    if (row) return { granted: Number(row.granted), waitMs: row.wait_ms };
    if (attempt > 0) throw new Error('The budget of RevenueCat calls could not be made');
    await sql.query(
      `insert into revenuecat_budgets (workspace_id, project_id, domain, per_minute, tokens, at_ms)
       values ($1, $2, $3, $4::integer, greatest($4::float8 / 12, least(10, $4::float8 / 2)),
               coalesce($5::float8, extract(epoch from clock_timestamp()) * 1000))
       on conflict do nothing`,
      [project.workspaceId, project.projectId, domain, DEFAULT_PER_MINUTE[domain], ask.nowMs ?? null],
    );
  }
}

const TAKE = `
with before as (
  select *, coalesce($8::float8, extract(epoch from statement_timestamp()) * 1000) as now_ms,
         coalesce($6::integer, per_minute) as allowed
    from revenuecat_budgets
   where workspace_id = $1 and project_id = $2 and domain = $3
     for update
), sized as (
  select *, greatest(allowed / 12.0, least(10, allowed / 2.0))::float8 as capacity from before
), paced as (
  select *, greatest(allowed - capacity - ceil(allowed / 48.0), 1)::float8 / 60000 as per_ms from sized
), filled as (
  select *, least(capacity, tokens * allowed / per_minute + greatest(0, now_ms - at_ms) * per_ms,
                  case when $6::integer is null then capacity else greatest(0, $6::integer - $7::integer) end) as have
    from paced
), taken as (
  select *, case when now_ms < hold_until_ms then 0
                 else greatest(0, least($4::float8, floor(have - capacity * $5::float8 + 1e-6))) end as granted
    from filled
)
update revenuecat_budgets b
   set per_minute = t.allowed, tokens = t.have - t.granted, at_ms = greatest(t.at_ms, t.now_ms)
  from taken t
 where b.workspace_id = $1 and b.project_id = $2 and b.domain = $3
returning t.granted,
          case when t.granted >= $4 then 0
               else greatest(t.hold_until_ms - t.now_ms,
                             (t.capacity * $5::float8 + 1 - (t.have - t.granted)) / t.per_ms, 1) end as wait_ms`;

/** Lets nobody call for a time (ms): RevenueCat has answered 429. */
export async function holdCalls(
  sql: Sql,
  project: { workspaceId: string; projectId: string },
  domain: CallDomain,
  forMs: number,
): Promise<void> {
  await sql.query(
    `update revenuecat_budgets
        set hold_until_ms = greatest(hold_until_ms, extract(epoch from statement_timestamp()) * 1000 + $4::float8),
            tokens = 0
      where workspace_id = $1 and project_id = $2 and domain = $3`,
    [project.workspaceId, project.projectId, domain, forMs],
  );
}
