import type { Sql } from '../database/sql.ts';
import type { CallGate } from '../intercom/client.ts';
import type { RateLimit } from '../intercom/rate-limit.ts';

/** Time and timers, so that tests can run them faster. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /** Calls back after so many ms of this clock; the result cancels. */
  after(ms: number, callback: () => void): () => void;
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

/**
 * Paces the calls of this process to one workspace: lets them use the whole ten-second window that Intercom counts,
 * together with the other processes, and not a call more.
 */
export class RateGate implements CallGate {
  readonly #clock: Clock;
  readonly #take: (request: CallRequest) => Promise<Allowance>;
  readonly #waiting: { resolve(): void; reject(error: unknown): void }[] = [];
  /** Calls that this process may still make, and what is left for all of them. */
  #allowance: Allowance = { calls: 0, left: Number.POSITIVE_INFINITY, untilMs: 0 };
  #inFlight = 0;
  /** Calls made before the quota was known, which the shared budget does not include. */
  #uncounted = 0;
  #latest: RateLimit | null = null;
  /** Our clock: nothing is sent before. */
  #closedUntilMs = 0;
  /** By how much Intercom's windows end later than our clock says. */
  #lagMs = 0;
  #probeSinceMs: number | null = null;
  /** A response came without the headers, perhaps through a proxy: the limit is unknown. */
  #isUnlimited = false;
  /** End of a window that was over by our clock when a response still named it. */
  #endedAtMs: number | null = null;
  #isRefilling = false;
  #isClosed = false;
  /** Our clock when it was last read. */
  #readAtMs = 0;
  #cancelTimer: (() => void) | null = null;

  /** @param options.take takes calls out of the budget that the processes share */
  constructor(options: {
    clock: Clock;
    take: (request: CallRequest) => Promise<Allowance>;
  }) {
    this.#clock = options.clock;
    this.#take = options.take;
  }

  acquire(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new Error('The worker is stopping'));
      this.#waiting.push({ resolve, reject });
      this.#drain();
    });
  }

  release(answered: boolean): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#probeSinceMs = null;
    if (answered && this.#latest === null) this.#isUnlimited = true;
    this.#drain();
  }

  observe(next: RateLimit): void {
    if (!Number.isFinite(next.remaining) || !Number.isFinite(next.resetAtMs) || !(next.limit > 0)) return;
    const nowMs = this.#intercomNow();
    const latest = this.#latest;
    this.#isUnlimited = false;
    if (next.resetAtMs <= nowMs) {
      this.#endedAtMs = next.resetAtMs;
      if (latest !== null) return;
    }
    // Responses may overtake each other; the smallest is the newest.
    const isNewer =
      latest === null ||
      next.resetAtMs > latest.resetAtMs ||
      (next.resetAtMs === latest.resetAtMs && next.remaining < latest.remaining);
    if (!isNewer) return;
    this.#latest = next;
    this.#probeSinceMs = null;
    this.#allowance.calls = Math.min(this.#allowance.calls, next.remaining);
  }

  /** After a 429: no calls before this time (epoch ms, our clock). */
  pause(untilMs: number): void {
    const nowMs = this.#now();
    this.#closedUntilMs = Math.max(this.#closedUntilMs, untilMs);
    this.#allowance.calls = 0;
    // Refused in a window that is over by our clock: by Intercom's it is not.
    if (this.#endedAtMs !== null && nowMs - this.#endedAtMs < MAX_LAG_MS)
      this.#lagMs = Math.max(this.#lagMs, nowMs - this.#endedAtMs + 100);
    this.#endedAtMs = null;
    if (this.#latest === null) return;
    // So that the other processes stop as well.
    const limit = { ...this.#latest, remaining: 0 };
    this.#take({ calls: 0, limit, nowMs: this.#intercomNow() }).catch(() => {});
  }

  /** Rejects what waits and what comes. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
    for (const call of this.#waiting.splice(0)) call.reject(new Error('The worker is stopping'));
  }

  /** How many calls may begin now, as far as is known; 0: the window is used up or the workspace is paused. */
  room(): number {
    if (this.#now() < this.#closedUntilMs) return 0;
    const { calls, left, untilMs } = this.#allowance;
    return this.#intercomNow() < untilMs ? calls + left : Number.POSITIVE_INFINITY;
  }

  /** Share of the window used, 0 to 1, for the metrics. */
  used(): number {
    if (!this.#isConfirmed() || this.#latest === null) return 0;
    const left = Math.min(this.#latest.remaining, this.#allowance.calls + this.#allowance.left);
    return 1 - Math.max(0, left) / this.#latest.limit;
  }

  /** When the clock was set back, what is known of windows would hold up all calls until it has caught up. */
  #now(): number {
    const nowMs = this.#clock.now();
    if (nowMs < this.#readAtMs - WINDOW_MS) {
      this.#latest = null;
      this.#allowance = { ...this.#allowance, calls: 0, untilMs: 0 };
      this.#closedUntilMs = 0;
    }
    this.#readAtMs = nowMs;
    return nowMs;
  }

  #intercomNow(): number {
    return this.#now() - this.#lagMs;
  }

  /** Whether a response has confirmed that the current window by our clock has begun. */
  #isConfirmed(): boolean {
    return this.#latest !== null && this.#latest.resetAtMs > this.#intercomNow();
  }

  #wakeAfter(ms: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.after(Math.max(ms, 1), () => {
      this.#cancelTimer = null;
      this.#drain();
    });
  }

  #begin(): void {
    this.#inFlight += 1;
    this.#waiting.shift()?.resolve();
  }

  /** The first call of a window is sent alone: its response shows whether the window has begun. */
  #isProbing(): boolean {
    if (this.#isConfirmed() || this.#probeSinceMs === null) return false;
    const elapsedMs = this.#now() - this.#probeSinceMs;
    if (elapsedMs >= PROBE_TIMEOUT_MS) return false;
    this.#wakeAfter(PROBE_TIMEOUT_MS - elapsedMs);
    return true;
  }

  #drain(): void {
    while (this.#waiting.length > 0) {
      const nowMs = this.#now();
      if (nowMs < this.#closedUntilMs) {
        this.#wakeAfter(this.#closedUntilMs - nowMs);
        return;
      }
      if (this.#isUnlimited) {
        this.#begin();
        continue;
      }
      if (this.#isProbing()) return;
      if (this.#latest === null) {
        // Before the first response one call is sent at a time.
        this.#probeSinceMs = nowMs;
        this.#uncounted += 1;
        this.#begin();
        continue;
      }
      if (this.#allowance.calls === 0 || this.#intercomNow() >= this.#allowance.untilMs) {
        void this.#refill(this.#latest);
        return;
      }
      this.#allowance.calls -= 1;
      if (!this.#isConfirmed()) this.#probeSinceMs = nowMs;
      this.#begin();
    }
  }

  async #refill(limit: RateLimit): Promise<void> {
    if (this.#isRefilling) return;
    this.#isRefilling = true;
    try {
      const isNewWindow = this.#intercomNow() >= this.#allowance.untilMs;
      // Calls in flight may be counted in the window that begins now.
      const reserve = isNewWindow ? Math.max(this.#inFlight, this.#uncounted) : 0;
      this.#uncounted = 0;
      const ahead = this.#allowance.left > limit.limit / 4 ? Math.ceil(limit.limit * PREFETCH_SHARE) : 0;
      const calls = Math.min(this.#waiting.length + ahead, MAX_AT_ONCE) + reserve;
      const taken = await this.#take({ calls, limit, nowMs: this.#intercomNow() });
      this.#allowance = { ...taken, calls: Math.max(0, taken.calls - reserve) };
      if (this.#allowance.calls === 0)
        this.#closedUntilMs = Math.max(this.#closedUntilMs, taken.untilMs + this.#lagMs);
      this.#isRefilling = false;
      this.#drain();
    } catch (error) {
      this.#isRefilling = false;
      this.#closedUntilMs = Math.max(this.#closedUntilMs, this.#now() + RETRY_DELAY_MS);
      for (const call of this.#waiting.splice(0)) call.reject(error);
    }
  }
}

/** A process's request for calls of the shared window. */
interface CallRequest {
  /** Wanted calls; 0 only reports the headers. */
  readonly calls: number;
  /** The newest headers that this process saw. */
  readonly limit: RateLimit;
  /** By Intercom's clock, as far as it is known. */
  readonly nowMs: number;
}

/** Calls that a process may make before `untilMs` (epoch ms, Intercom's clock). */
interface Allowance {
  calls: number;
  /** What is left for all processes after it. */
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
 */
export async function takeCalls(sql: Sql, workspaceId: string, request: CallRequest): Promise<Allowance> {
  const taken = await updateBudget(sql, workspaceId, request);
  if (taken) return taken;
  await sql.query(
    `insert into call_budgets (workspace_id, quota, calls_left, until_ms) values ($1, $2, $3, $4)
     on conflict do nothing`,
    [workspaceId, request.limit.limit, request.limit.remaining, request.limit.resetAtMs],
  );
  return (
    (await updateBudget(sql, workspaceId, request)) ?? {
      calls: 0,
      left: 0,
      untilMs: request.nowMs + WINDOW_MS,
    }
  );
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
