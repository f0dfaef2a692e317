import type { CallGate, RateLimit } from '../intercom/client.ts';
import type { Grant } from './call-budget.ts';

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
  /** After a 429: nothing before this moment (epoch ms, our clock). */
  hold(untilMs: number): void;
  /** How many calls may begin now, as far as is known; 0: the window is used up or the workspace is held. */
  room(): number;
  /** Ends what waits and what comes. */
  close(): void;
  /** Share of the window used, 0 to 1, for the metrics. */
  used(): number;
}

/**
 * Calls taken beyond those that wait, while the window is far from its end, as a share of it: a round trip for each
 * would be slow, and what another process lacks at the end must not lie here.
 */
const AHEAD = 1 / 32;
const MAX_AT_ONCE = 64;
/** A first call that is not answered within this lets another one try. */
const PROBE_PATIENCE_MS = 1_000;
/** Intercom's clock is not taken to be further behind ours than this. */
const MAX_LAG_MS = 5_000;
/** After the shared budget could not be asked. */
const AFTER_FAILURE_MS = 500;

/** @param options.take asks the budget that the processes share */
export function createRateGate(options: {
  clock: Clock;
  take: (ask: number, reading: RateLimit, nowMs: number) => Promise<Grant>;
}): RateGate {
  const { clock, take } = options;
  const waiting: { resolve(): void; reject(error: unknown): void }[] = [];
  let permits = 0;
  let permitsUntilMs = 0;
  let left = Number.POSITIVE_INFINITY;
  let inFlight = 0;
  /** Calls made before the quota was known, which the shared budget has not heard of. */
  let unpaid = 0;
  let reading: RateLimit | null = null;
  /** Our clock: nothing is sent before. */
  let closedUntilMs = 0;
  /** By how much Intercom's windows end later than our clock says. */
  let lagMs = 0;
  let probeSinceMs: number | null = null;
  /** An answer came without the headers, through a proxy perhaps: there is nothing to keep to. */
  let isUnlimited = false;
  /** End of a window that was over by our clock when an answer still named it. */
  let endedAtMs: number | null = null;
  let asking = false;
  let isClosed = false;
  let cancelTimer: (() => void) | null = null;

  const intercomNow = (): number => clock.now() - lagMs;
  /** Whether an answer has confirmed that the window which our clock is in has begun. */
  const isConfirmed = (): boolean => reading !== null && reading.resetAtMs > intercomNow();

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

  /** The first call of a window goes alone: what it is answered tells whether the window has really begun. */
  function probe(): boolean {
    if (isConfirmed()) return false;
    const nowMs = clock.now();
    if (probeSinceMs !== null && nowMs - probeSinceMs < PROBE_PATIENCE_MS) {
      wakeAfter(PROBE_PATIENCE_MS - (nowMs - probeSinceMs));
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
      if (probe()) return;
      if (reading === null) {
        // No answer yet in the life of this process: one call at a time finds out.
        probeSinceMs = nowMs;
        unpaid += 1;
        begin();
        continue;
      }
      if (permits === 0 || intercomNow() >= permitsUntilMs) {
        void refill(reading);
        return;
      }
      permits -= 1;
      if (!isConfirmed()) probeSinceMs = nowMs;
      begin();
    }
  }

  async function refill(latest: RateLimit): Promise<void> {
    if (asking) return;
    asking = true;
    try {
      const isNewWindow = intercomNow() >= permitsUntilMs;
      // Calls that are still on their way may be counted in the window that now begins.
      const reserve = isNewWindow ? Math.max(inFlight, unpaid) : 0;
      unpaid = 0;
      const ahead = left > latest.limit / 4 ? Math.ceil(latest.limit * AHEAD) : 0;
      const ask = Math.min(waiting.length + ahead, MAX_AT_ONCE) + reserve;
      const grant = await take(ask, latest, intercomNow());
      permits = Math.max(0, grant.calls - reserve);
      permitsUntilMs = grant.untilMs;
      left = grant.left;
      if (permits === 0) closedUntilMs = Math.max(closedUntilMs, grant.untilMs + lagMs);
      asking = false;
      drain();
    } catch (error) {
      asking = false;
      closedUntilMs = Math.max(closedUntilMs, clock.now() + AFTER_FAILURE_MS);
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
      if (answered && reading === null) isUnlimited = true;
      drain();
    },
    observe(next: RateLimit) {
      if (!Number.isFinite(next.remaining) || !Number.isFinite(next.resetAtMs) || !(next.limit > 0)) return;
      isUnlimited = false;
      if (next.resetAtMs <= intercomNow()) {
        endedAtMs = next.resetAtMs;
        if (reading !== null) return;
      }
      if (reading === null || next.resetAtMs > reading.resetAtMs) reading = next;
      // Answers overtake each other; the smallest is the newest.
      else if (next.resetAtMs === reading.resetAtMs && next.remaining < reading.remaining) reading = next;
      if (reading === next) {
        probeSinceMs = null;
        permits = Math.min(permits, next.remaining);
      }
    },
    hold(untilMs) {
      const nowMs = clock.now();
      closedUntilMs = Math.max(closedUntilMs, untilMs);
      permits = 0;
      // Refused in a window that is over by our clock: by Intercom's it is still running.
      if (endedAtMs !== null && nowMs - endedAtMs < MAX_LAG_MS)
        lagMs = Math.max(lagMs, nowMs - endedAtMs + 100);
      endedAtMs = null;
      // The other processes are to stop as well: what is left is nothing.
      if (reading) take(0, { ...reading, remaining: 0 }, intercomNow()).catch(() => {});
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
      if (!isConfirmed() || reading === null) return 0;
      return 1 - Math.max(0, Math.min(reading.remaining, permits + left)) / reading.limit;
    },
  };
}
