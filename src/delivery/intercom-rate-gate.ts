import type { IntercomGate } from '../intercom/client.ts';
import { type RateLimit, WINDOW_MS } from '../intercom/rate-limit.ts';
import type { Allowance, CallRequest } from './intercom-budget.ts';

/** Time and timers, so that tests can run them faster. */
export interface Clock {
  /** Epoch ms. */
  now(): number;
  /** Calls back after this many ms of this clock; the returned function cancels. */
  after(ms: number, callback: () => void): () => void;
}

/**
 * Share of the window to take in advance while more than a quarter of it is left: a round trip for each call would be
 * slow. Below that nothing is taken in advance, since another process may need it.
 */
const PREFETCH_SHARE = 1 / 32;
const MAX_AT_ONCE = 64;
/** If the first call of a window has no response after this, another call may try. */
const PROBE_TIMEOUT_MS = 1_000;
/** Assumes that Intercom's clock is at most this far behind ours. */
const MAX_LAG_MS = 5_000;
/** Pause after the shared budget could not be read. */
const RETRY_DELAY_MS = 500;

const NOTHING_TAKEN: Allowance = { calls: 0, left: Number.POSITIVE_INFINITY, untilMs: 0 };

/**
 * Paces the calls of this process to one workspace: lets them use the whole ten-second window that Intercom counts,
 * together with the other processes, and not a call more.
 */
export class IntercomRateGate implements IntercomGate {
  readonly #clock: Clock;
  readonly #take: (request: CallRequest) => Promise<Allowance>;
  readonly #waiting: { resolve(): void; reject(error: unknown): void }[] = [];
  #isAdmitting = false;
  #endSleep: () => void = () => {};
  #isClosed = false;
  /** Calls that this process may still make, and calls that are left for all processes. */
  #allowance = { ...NOTHING_TAKEN };
  #inFlight = 0;
  /** Calls made before the quota was known, which the shared budget does not include. */
  #uncounted = 0;
  #latest: RateLimit | null = null;
  /** A response came without the headers, perhaps through a proxy: the limit is unknown. */
  #isUnlimited = false;
  /** The first call of a window is sent alone: its response shows whether the window has begun. */
  #probeSinceMs: number | null = null;
  /** No call is sent before this time (epoch ms, our clock). */
  #closedUntilMs = 0;
  /** By how much Intercom's windows end later than our clock says. */
  #lagMs = 0;
  /** A window's end that a response named after that time had passed by our clock. */
  #endedAtMs: number | null = null;
  /** Our clock when it was last read. */
  #readAtMs = 0;

  /** @param options.take takes calls out of the budget that the processes share */
  constructor(options: { clock: Clock; take: (request: CallRequest) => Promise<Allowance> }) {
    this.#clock = options.clock;
    this.#take = options.take;
  }

  acquire(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('The worker is stopping'));
    const { promise, ...call } = Promise.withResolvers<void>();
    this.#waiting.push(call);
    this.#wake();
    return promise;
  }

  release(answered: boolean): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#probeSinceMs = null;
    if (answered && this.#latest === null) this.#isUnlimited = true;
    this.#wake();
  }

  observe(next: RateLimit): void {
    const nowMs = this.#readIntercomClock();
    const latest = this.#latest;
    this.#isUnlimited = false;
    if (next.resetAtMs <= nowMs) {
      this.#endedAtMs = next.resetAtMs;
      if (latest !== null) return;
    }
    // Responses may overtake each other: within one window, the lowest `remaining` is the newest.
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
    const nowMs = this.#readClock();
    this.#closeUntil(untilMs);
    this.#allowance.calls = 0;
    // The refusal came in a window that is over by our clock, so Intercom's clock is behind ours.
    if (this.#endedAtMs !== null && nowMs - this.#endedAtMs < MAX_LAG_MS)
      this.#lagMs = Math.max(this.#lagMs, nowMs - this.#endedAtMs + 100);
    this.#endedAtMs = null;
    if (this.#latest === null) return;
    // Reports the empty window, so that the other processes stop as well.
    const limit = { ...this.#latest, remaining: 0 };
    this.#take({ calls: 0, limit, nowMs: this.#readIntercomClock() }).catch(() => {});
  }

  /** Rejects the waiting calls and all later ones. */
  close(): void {
    this.#isClosed = true;
    this.#rejectWaiting(new Error('The worker is stopping'));
    this.#endSleep();
  }

  /** How many calls may begin now, as far as is known; 0: the window is used up or the workspace is paused. */
  room(): number {
    if (this.#readClock() < this.#closedUntilMs) return 0;
    const { calls, left, untilMs } = this.#allowance;
    return this.#readIntercomClock() < untilMs ? calls + left : Number.POSITIVE_INFINITY;
  }

  /** Share of the window used, 0 to 1, for the metrics. */
  used(): number {
    if (!this.#isConfirmed() || this.#latest === null) return 0;
    const left = Math.min(this.#latest.remaining, this.#allowance.calls + this.#allowance.left);
    return 1 - Math.max(0, left) / this.#latest.limit;
  }

  #wake(): void {
    this.#endSleep();
    if (!this.#isAdmitting) void this.#admitWaiting();
  }

  /** Starts the waiting calls in order, each as soon as it is allowed. */
  async #admitWaiting(): Promise<void> {
    this.#isAdmitting = true;
    while (this.#waiting.length > 0) {
      const delayMs = this.#delayMs();
      if (delayMs > 0) await this.#sleep(delayMs);
      else if (this.#isUnlimited) this.#begin();
      else if (this.#latest === null) {
        this.#uncounted += 1;
        this.#beginCounted();
      } else if (this.#allowance.calls > 0 && this.#readIntercomClock() < this.#allowance.untilMs) {
        this.#allowance.calls -= 1;
        this.#beginCounted();
      } else await this.#takeAllowance(this.#latest);
    }
    this.#isAdmitting = false;
  }

  /** How long to wait before the next call, unless a response arrives first. */
  #delayMs(): number {
    const nowMs = this.#readClock();
    if (nowMs < this.#closedUntilMs) return this.#closedUntilMs - nowMs;
    if (this.#isUnlimited || this.#probeSinceMs === null || this.#isConfirmed()) return 0;
    return this.#probeSinceMs + PROBE_TIMEOUT_MS - nowMs;
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancelTimer = this.#clock.after(Math.max(ms, 1), resolve);
    this.#endSleep = () => {
      cancelTimer();
      resolve();
    };
    await promise;
  }

  #beginCounted(): void {
    if (!this.#isConfirmed()) this.#probeSinceMs = this.#readClock();
    this.#begin();
  }

  #begin(): void {
    this.#inFlight += 1;
    this.#waiting.shift()?.resolve();
  }

  async #takeAllowance(limit: RateLimit): Promise<void> {
    const nowMs = this.#readIntercomClock();
    // Calls in flight may be counted in the window that begins now.
    const isNewWindow = nowMs >= this.#allowance.untilMs;
    const reserve = isNewWindow ? Math.max(this.#inFlight, this.#uncounted) : 0;
    this.#uncounted = 0;
    const ahead = this.#allowance.left > limit.limit / 4 ? Math.ceil(limit.limit * PREFETCH_SHARE) : 0;
    const calls = Math.min(this.#waiting.length + ahead, MAX_AT_ONCE) + reserve;
    try {
      const taken = await this.#take({ calls, limit, nowMs });
      this.#allowance = { ...taken, calls: Math.max(0, taken.calls - reserve) };
      if (this.#allowance.calls === 0) this.#closeUntil(taken.untilMs + this.#lagMs);
    } catch (error) {
      this.#closeUntil(this.#readClock() + RETRY_DELAY_MS);
      this.#rejectWaiting(error);
    }
  }

  #closeUntil(atMs: number): void {
    this.#closedUntilMs = Math.max(this.#closedUntilMs, atMs);
  }

  #rejectWaiting(error: unknown): void {
    for (const call of this.#waiting.splice(0)) call.reject(error);
  }

  /** Whether a response has confirmed that the current window by our clock has begun. */
  #isConfirmed(): boolean {
    return this.#latest !== null && this.#latest.resetAtMs > this.#readIntercomClock();
  }

  #readIntercomClock(): number {
    return this.#readClock() - this.#lagMs;
  }

  /** Our clock. If it was set back, forgets the known windows, which would block all calls until it caught up. */
  #readClock(): number {
    const nowMs = this.#clock.now();
    if (nowMs < this.#readAtMs - WINDOW_MS) this.#forgetWindows();
    this.#readAtMs = nowMs;
    return nowMs;
  }

  #forgetWindows(): void {
    this.#latest = null;
    this.#allowance = { ...NOTHING_TAKEN };
    this.#closedUntilMs = 0;
  }
}
