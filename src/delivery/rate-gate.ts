import type { Sql } from '../database/sql.ts';
import type { CallGate, RateLimit } from '../intercom/client.ts';

/** Time and timers, so that tests can run them faster. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /** Calls back after so many ms of this clock; the result cancels. */
  after(ms: number, callback: () => void): () => void;
}

/**
 * Paces the calls of this process to one workspace: lets them use the whole ten-second window that Intercom
 * counts, together with the other processes, and not a call more.
 */
export interface RateGate extends CallGate {
  /** After a 429: no calls before this time (epoch ms, our clock). */
  pause(untilMs: number): void;
  /** How many calls may begin now, as far as is known; 0: the window is used up or the workspace is paused. */
  room(): number;
  /** Rejects what waits and what comes. */
  close(): void;
  /** Share of the window used, 0 to 1, for the metrics. */
  used(): number;
}

/**
 * Calls taken in advance, as a share of the window, while most of it is left: a round trip for each would be slow.
 * Near the end nothing is taken in advance, since another process may need it.
 */
const PREFETCH_SHARE = 1 / 32;
const MAX_AT_ONCE = 64;
/** When a first call has no response within this, another one may try. */
const PROBE_TIMEOUT_MS = 1_000;
/** Intercom's clock is assumed not to be further behind ours than this. */
const MAX_LAG_MS = 5_000;
/** After the shared budget could not be read. */
const RETRY_DELAY_MS = 500;

/** @param options.take takes calls out of the budget that the processes share */
export function createRateGate(options: {
  clock: Clock;
  take: (ask: { calls: number; limit: RateLimit; nowMs: number }) => Promise<Grant>;
}): RateGate {
  const { clock, take } = options;
  const waiting: { resolve(): void; reject(error: unknown): void }[] = [];
  let permits = 0;
  let permitsUntilMs = 0;
  let left = Number.POSITIVE_INFINITY;
  let inFlight = 0;
  /** Calls made before the quota was known, which the shared budget does not include. */
  let uncounted = 0;
  let latest: RateLimit | null = null;
  /** Our clock: nothing is sent before. */
  let closedUntilMs = 0;
  /** By how much Intercom's windows end later than our clock says. */
  let lagMs = 0;
  let probeSinceMs: number | null = null;
  /** A response came without the headers, perhaps through a proxy: the limit is unknown. */
  let isUnlimited = false;
  /** End of a window that was over by our clock when a response still named it. */
  let endedAtMs: number | null = null;
  let asking = false;
  let isClosed = false;
  let cancelTimer: (() => void) | null = null;

  const intercomNow = (): number => clock.now() - lagMs;
  /** Whether a response has confirmed that the current window by our clock has begun. */
  const isConfirmed = (): boolean => latest !== null && latest.resetAtMs > intercomNow();

  function wakeAfter(ms: number): void {
    cancelTimer?.();
    cancelTimer = clock.after(Math.max(ms, 1), () => {
      cancelTimer = null;
      drain();
    });
  }

  function begin(): void {
    inFlight += 1;
    waiting.shift()?.resolve();
  }

  /** The first call of a window is sent alone: its response shows whether the window has begun. */
  function isProbing(): boolean {
    if (isConfirmed()) return false;
    const nowMs = clock.now();
    if (probeSinceMs !== null && nowMs - probeSinceMs < PROBE_TIMEOUT_MS) {
      wakeAfter(PROBE_TIMEOUT_MS - (nowMs - probeSinceMs));
      return true;
    }
    return false;
  }

  function drain(): void {
    while (waiting.length > 0) {
      const nowMs = clock.now();
      if (nowMs < closedUntilMs) {
        wakeAfter(closedUntilMs - nowMs);
        return;
      }
      if (isUnlimited) {
        begin();
        continue;
      }
      if (isProbing()) return;
      if (latest === null) {
        // Before the first response one call is sent at a time.
        probeSinceMs = nowMs;
        uncounted += 1;
        begin();
        continue;
      }
      if (permits === 0 || intercomNow() >= permitsUntilMs) {
        void refill(latest);
        return;
      }
      permits -= 1;
      if (!isConfirmed()) probeSinceMs = nowMs;
      begin();
    }
  }

  async function refill(limit: RateLimit): Promise<void> {
    if (asking) return;
    asking = true;
    try {
      const isNewWindow = intercomNow() >= permitsUntilMs;
      // Calls in flight may be counted in the window that begins now.
      const reserve = isNewWindow ? Math.max(inFlight, uncounted) : 0;
      uncounted = 0;
      const ahead = left > limit.limit / 4 ? Math.ceil(limit.limit * PREFETCH_SHARE) : 0;
      const calls = Math.min(waiting.length + ahead, MAX_AT_ONCE) + reserve;
      const grant = await take({ calls, limit, nowMs: intercomNow() });
      permits = Math.max(0, grant.calls - reserve);
      permitsUntilMs = grant.untilMs;
      left = grant.left;
      if (permits === 0) closedUntilMs = Math.max(closedUntilMs, grant.untilMs + lagMs);
      asking = false;
      drain();
    } catch (error) {
      asking = false;
      closedUntilMs = Math.max(closedUntilMs, clock.now() + RETRY_DELAY_MS);
      for (const call of waiting.splice(0)) call.reject(error);
    }
  }

  return {
    acquire() {
      return new Promise((resolve, reject) => {
        if (isClosed) return reject(new Error('The worker is stopping'));
        waiting.push({ resolve, reject });
        drain();
      });
    },
    release(answered) {
      inFlight -= 1;
      if (inFlight === 0) probeSinceMs = null;
      if (answered && latest === null) isUnlimited = true;
      drain();
    },
    observe(next: RateLimit) {
      if (!Number.isFinite(next.remaining) || !Number.isFinite(next.resetAtMs) || !(next.limit > 0)) return;
      isUnlimited = false;
      if (next.resetAtMs <= intercomNow()) {
        endedAtMs = next.resetAtMs;
        if (latest !== null) return;
      }
      if (latest === null || next.resetAtMs > latest.resetAtMs) latest = next;
      // Responses may overtake each other; the smallest is the newest.
      else if (next.resetAtMs === latest.resetAtMs && next.remaining < latest.remaining) latest = next;
      if (latest === next) {
        probeSinceMs = null;
        permits = Math.min(permits, next.remaining);
      }
    },
    pause(untilMs) {
      const nowMs = clock.now();
      closedUntilMs = Math.max(closedUntilMs, untilMs);
      permits = 0;
      // Refused in a window that is over by our clock: by Intercom's it is not.
      if (endedAtMs !== null && nowMs - endedAtMs < MAX_LAG_MS)
        lagMs = Math.max(lagMs, nowMs - endedAtMs + 100);
      endedAtMs = null;
      // So that the other processes stop as well.
      if (latest)
        take({ calls: 0, limit: { ...latest, remaining: 0 }, nowMs: intercomNow() }).catch(() => {});
    },
    close() {
      isClosed = true;
      cancelTimer?.();
      for (const call of waiting.splice(0)) call.reject(new Error('The worker is stopping'));
    },
    room() {
      if (clock.now() < closedUntilMs) return 0;
      return intercomNow() < permitsUntilMs ? permits + left : Number.POSITIVE_INFINITY;
    },
    used() {
      if (!isConfirmed() || latest === null) return 0;
      return 1 - Math.max(0, Math.min(latest.remaining, permits + left)) / latest.limit;
    },
  };
}

/** Calls that a process may make before `untilMs` (epoch ms, Intercom's clock). */
export interface Grant {
  readonly calls: number;
  /** What is left for all processes after this grant. */
  readonly left: number;
  readonly untilMs: number;
}

/** Assumed until a response names the end of the window. */
const WINDOW_MS = 10_000;

/**
 * Takes calls out of a workspace's window, which all worker processes share.
 *
 * The row only divides what the headers allow: the last ones that this process saw lower what is left when another
 * program uses the window too, and correct its end. A statement for each call would cost more than the call; so
 * processes take several at a time, and fewer towards the end, so that none is left over.
 *
 * @param ask.calls wanted; 0 only reports the headers
 * @param ask.nowMs by Intercom's clock, as far as it is known
 */
export async function takeCalls(
  sql: Sql,
  workspaceId: string,
  ask: { calls: number; limit: RateLimit; nowMs: number },
): Promise<Grant> {
  const taken = await updateBudget(sql, workspaceId, ask);
  if (taken) return taken;
  await sql.query(
    `insert into call_budgets (workspace_id, quota, calls_left, until_ms) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [workspaceId, ask.limit.limit, ask.limit.remaining, ask.limit.resetAtMs],
  );
  return (await updateBudget(sql, workspaceId, ask)) ?? { calls: 0, left: 0, untilMs: ask.nowMs + WINDOW_MS };
}

async function updateBudget(
  sql: Sql,
  workspaceId: string,
  { calls, limit, nowMs }: { calls: number; limit: RateLimit; nowMs: number },
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
    [workspaceId, calls, limit.limit, limit.remaining, limit.resetAtMs, Math.floor(nowMs), WINDOW_MS],
    'take-calls',
  );
  return row ? { calls: row.granted, left: row.calls_left, untilMs: Number(row.until_ms) } : null;
}
