import type { CallGate, RateReading } from '../intercom/client.ts';

/**
 * Keeps the calls of this process within a workspace's ten-second window and lets them reach it.
 *
 * Intercom counts all processes together and tells what is left with each answer, so the last answer is the
 * best knowledge there is; calls on their way are subtracted from it.
 */
export interface RateGate extends CallGate {
  /** After a 429: nothing before this moment (epoch ms). */
  hold(untilMs: number): void;
  /** Share of the window used, 0 to 1, for the metrics. */
  used(): number;
}

export function createRateGate(now: () => number): RateGate {
  let limit = 0;
  let remaining = Number.POSITIVE_INFINITY;
  let resetAtMs = 0;
  let heldUntilMs = 0;
  let inFlight = 0;
  const waiting: (() => void)[] = [];
  let timer: NodeJS.Timeout | null = null;

  function openNow(): boolean {
    const nowMs = now();
    if (nowMs < heldUntilMs) return false;
    if (resetAtMs !== 0 && nowMs >= resetAtMs) {
      // A new window: all of it, until its first answer says otherwise.
      remaining = limit > 0 ? limit : Number.POSITIVE_INFINITY;
      resetAtMs = 0;
    }
    return remaining - inFlight > 0;
  }

  function drain(): void {
    while (waiting.length > 0 && openNow()) {
      inFlight += 1;
      waiting.shift()?.();
    }
    if (waiting.length === 0 || timer) return;
    const wakeAtMs = Math.max(heldUntilMs, resetAtMs);
    // With calls on their way their answers wake us; the timer is for an empty window.
    const delayMs = Math.min(Math.max(wakeAtMs - now(), 5), 1_000);
    timer = setTimeout(() => {
      timer = null;
      drain();
    }, delayMs);
  }

  return {
    acquire() {
      if (waiting.length === 0 && openNow()) {
        inFlight += 1;
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        waiting.push(resolve);
        drain();
      });
    },
    release() {
      inFlight -= 1;
      drain();
    },
    observe(reading: RateReading) {
      if (!Number.isFinite(reading.remaining) || !Number.isFinite(reading.resetAtMs)) return;
      if (Number.isFinite(reading.limit) && reading.limit > 0) limit = reading.limit;
      if (reading.resetAtMs > resetAtMs) {
        resetAtMs = reading.resetAtMs;
        remaining = reading.remaining;
      } else if (reading.resetAtMs === resetAtMs) {
        // Answers overtake each other; the smallest is the newest.
        remaining = Math.min(remaining, reading.remaining);
      }
    },
    hold(untilMs) {
      heldUntilMs = Math.max(heldUntilMs, untilMs);
      drain();
    },
    used: () => (limit > 0 && Number.isFinite(remaining) ? 1 - Math.max(0, remaining) / limit : 0),
  };
}
