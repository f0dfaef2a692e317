import type { Sql } from '../database/sql.ts';

/** Groups of calls that RevenueCat counts separately. Source: RevenueCat API v2, "Rate limits by domain". */
export type CallDomain = 'customer' | 'configuration';

/** Calls a minute until the headers of a response say otherwise. Source: the same. */
const DEFAULT_PER_MINUTE: Readonly<Record<CallDomain, number>> = { customer: 480, configuration: 60 };

/** The rate-limit headers of a response, for the current minute; they do not say when it ends. */
export interface RateUsage {
  readonly limit: number;
  readonly usage: number;
}

/** The calls that a project may make in one domain. */
export interface Budget {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly domain: CallDomain;
}

/**
 * Takes calls out of a project's budget, which all processes share: a token bucket in one row.
 *
 * Whether RevenueCat counts calendar minutes or the last sixty seconds is not documented (UNVERIFIED). So no sixty
 * seconds, wherever they begin, may see more calls than the limit: the bucket holds a twelfth of the limit, and the
 * rest refills it over a minute, less a forty-eighth for calls that arrive later than they were granted. That uses
 * nine tenths of the limit. Counting each call in a log of the last minute would use 2 % more, but every grant would
 * read 480 rows.
 *
 * @param ask.keepShare the share of the bucket that is left to more urgent calls, 0 to 1
 * @param ask.usage lowers the number of calls left when another program uses the same key; each usage is passed once
 * @param ask.nowMs default: the database's clock
 * @returns waitMs: ms until one more call could be granted; 0 if all were granted
 */
export async function takeFromBudget(
  sql: Sql,
  { workspaceId, projectId, domain }: Budget,
  ask: { calls: number; keepShare: number; usage?: RateUsage | null; nowMs?: number },
): Promise<{ granted: number; waitMs: number }> {
  for (let attempt = 0; ; attempt += 1) {
    const [row] = await sql.query<{ granted: string; wait_ms: number }>(
      TAKE,
      [
        workspaceId,
        projectId,
        domain,
        ask.calls,
        ask.keepShare,
        ask.usage?.limit ?? null,
        ask.usage?.usage ?? null,
        ask.nowMs ?? null,
      ],
      'take-revenuecat-calls',
    );
    if (row) return { granted: Number(row.granted), waitMs: row.wait_ms };
    if (attempt > 0) throw new Error('The budget of RevenueCat calls could not be created');
    await sql.query(
      `insert into revenuecat_budgets (workspace_id, project_id, domain, per_minute, tokens, at_ms)
       values ($1, $2, $3, $4::integer, greatest($4::float8 / 12, least(10, $4::float8 / 2)),
               coalesce($5::float8, extract(epoch from clock_timestamp()) * 1000))
       on conflict do nothing`,
      [workspaceId, projectId, domain, DEFAULT_PER_MINUTE[domain], ask.nowMs ?? null],
    );
  }
}

const TAKE = `
with stored as (
  select *, coalesce($8::float8, extract(epoch from statement_timestamp()) * 1000) as now_ms
    from revenuecat_budgets
   where workspace_id = $1 and project_id = $2 and domain = $3
     for update
), before as (
  -- After the clock was set back: without this, nothing would be refilled until it has caught up.
  select per_minute, tokens, now_ms, coalesce($6::integer, per_minute) as allowed,
         least(at_ms, now_ms + 1000) as at_ms,
         case when at_ms > now_ms + 10000 then 0 else hold_until_ms end as hold_until_ms
    from stored
), sized as (
  select *, greatest(allowed / 12.0, least(10, allowed / 2.0))::float8 as capacity from before
), paced as (
  select *, greatest(allowed - capacity - ceil(allowed / 48.0), 1)::float8 / 60000 as per_ms from sized
), filled as (
  -- When the limit changes, the share that is left stays the same.
  select *, least(capacity, tokens * allowed / per_minute + greatest(0, now_ms - at_ms) * per_ms,
                  case when $6::integer is null then capacity else greatest(0, $6::integer - $7::integer) end) as have
    from paced
), taken as (
  select *, case when now_ms < hold_until_ms then 0
                 else greatest(0, least($4::float8, floor(have - capacity * $5::float8 + 1e-6))) end as granted
    from filled
)
update revenuecat_budgets b
   set per_minute = t.allowed, tokens = t.have - t.granted, at_ms = greatest(t.at_ms, t.now_ms),
       hold_until_ms = t.hold_until_ms
  from taken t
 where b.workspace_id = $1 and b.project_id = $2 and b.domain = $3
returning t.granted,
          case when t.granted >= $4 then 0
               else greatest(t.hold_until_ms - t.now_ms,
                             (t.capacity * $5::float8 + 1 - (t.have - t.granted)) / t.per_ms, 1) end as wait_ms`;

/** Stops all calls for a time (ms), after a 429. */
export async function pauseCalls(
  sql: Sql,
  { workspaceId, projectId, domain }: Budget,
  forMs: number,
): Promise<void> {
  await sql.query(
    `update revenuecat_budgets
        set hold_until_ms = greatest(hold_until_ms, extract(epoch from statement_timestamp()) * 1000 + $4::float8),
            tokens = 0
      where workspace_id = $1 and project_id = $2 and domain = $3`,
    [workspaceId, projectId, domain, forMs],
  );
}
