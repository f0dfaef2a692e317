import pLimit, { type LimitFunction } from 'p-limit';
import { keyed } from '../database/batcher.ts';
import type { Database, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { pause } from '../time.ts';

/**
 * The order when calls are scarce: a card that an agent waits for, then work that follows an event, then imports and
 * reconciling.
 */
export type CallPriority = 'interactive' | 'background' | 'bulk';

/** Paces the calls of one project's key. */
export type CallGate = ReturnType<ReturnType<typeof createCallLimiter>['gate']>;

const PRIORITIES: Readonly<Record<CallPriority, { keepShare: number; maxWaitMs: number }>> = {
  interactive: { keepShare: 0, maxWaitMs: 2_000 },
  background: { keepShare: 0.25, maxWaitMs: 20_000 },
  // An import has claimed customers while it waits: rather than wait longer, it releases them.
  bulk: { keepShare: 0.5, maxWaitMs: 30_000 },
};

/** Calls that one statement takes at most. */
const MAX_AT_ONCE = 64;
/** The budget may change before the announced time. */
const MAX_SLEEP_MS = 1_000;

/** Calls of one priority that wait for the same budget. */
interface Queue {
  /** The first of them takes calls out of the budget for all. */
  readonly turn: LimitFunction;
  /** Calls that were taken for those behind the first. */
  granted: number;
}

/**
 * Shares each project's rate limit between all processes, through the database. Calls of one process that wait at the
 * same time share a statement, so that it costs less than a tenth of a call. By hand: rate-limiter-flexible has neither
 * shares for priorities nor a way to correct a bucket by a response's headers.
 */
export function createCallLimiter(options: { database: Database; now?: () => number }) {
  const { database, now = Date.now } = options;
  const queueOf = keyed((): Queue => ({ turn: pLimit(1), granted: 0 }));
  const usages = new Map<string, RateUsage>();

  async function takeOne(
    budget: Budget,
    queue: Queue,
    { keepShare, untilMs, signal }: { keepShare: number; untilMs: number; signal: AbortSignal },
  ): Promise<void> {
    while (queue.granted === 0) {
      if (signal.aborted) throw rateLimited(now());
      const usage = usages.get(keyOf(budget)) ?? null;
      usages.delete(keyOf(budget));
      const calls = Math.min(queue.turn.pendingCount + 1, MAX_AT_ONCE);
      const { granted, waitMs } = await takeFromBudget(database, budget, { calls, keepShare, usage });
      queue.granted = granted;
      const readyMs = now() + waitMs;
      if (granted === 0 && readyMs > untilMs) throw rateLimited(readyMs);
      if (granted === 0) await pause(Math.min(waitMs, MAX_SLEEP_MS), signal);
    }
    queue.granted -= 1;
  }

  return {
    /** @param signal ends the waiting, when the process stops */
    gate(project: Omit<Budget, 'domain'>, priority: CallPriority, signal = new AbortController().signal) {
      const { keepShare, maxWaitMs } = PRIORITIES[priority];
      return {
        /** Waits until the call may be made. Throws when that would take longer than this priority waits. */
        enter(domain: CallDomain): Promise<void> {
          const budget = { ...project, domain };
          const untilMs = now() + maxWaitMs;
          const queue = queueOf(`${keyOf(budget)}|${priority}`);
          return queue.turn(() => takeOne(budget, queue, { keepShare, untilMs, signal }));
        },
        observe(domain: CallDomain, usage: RateUsage): void {
          if (!(usage.limit > 0) || !Number.isInteger(usage.limit) || !Number.isInteger(usage.usage)) return;
          usages.set(keyOf({ ...project, domain }), usage);
        },
        /** After a 429: no calls for this long (ms). */
        pause: (domain: CallDomain, forMs: number) => pauseCalls(database, { ...project, domain }, forMs),
      };
    },
  };
}

function rateLimited(readyMs: number): AppError {
  return new AppError(
    'revenuecat_rate_limited',
    'The rate limit of the RevenueCat key is used up. Try again in a minute.',
    { remedy: { kind: 'wait_until', atMs: readyMs } },
  );
}

/** What RevenueCat counts separately. Source: RevenueCat API v2, "Rate limits by domain". */
export type CallDomain = 'customer' | 'configuration';

/** Calls a minute until the headers of a response say otherwise. Source: the same. */
const DEFAULT_PER_MINUTE: Readonly<Record<CallDomain, number>> = { customer: 480, configuration: 60 };

/** The rate-limit headers of a response, for the current minute; they do not say when it ends. */
interface RateUsage {
  readonly limit: number;
  readonly usage: number;
}

/** The calls that a project may make in one domain. */
interface Budget {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly domain: CallDomain;
}

const keyOf = ({ workspaceId, projectId, domain }: Budget): string => `${workspaceId}|${projectId}|${domain}`;

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
 * @param ask.usage lowers what is left when another program uses the same key; each is passed once
 * @param ask.nowMs the database's clock unless given
 * @returns waitMs: when one more could be granted, ms from now; 0 when all were
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
  -- The clock was set back: until it had caught up, nothing would be refilled, and an old pause would hold again.
  select per_minute, tokens, now_ms, coalesce($6::integer, per_minute) as allowed,
         least(at_ms, now_ms + 1000) as at_ms,
         case when at_ms > now_ms + 10000 then 0 else hold_until_ms end as hold_until_ms
    from stored
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
