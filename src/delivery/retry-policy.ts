import type { Remedy } from '../errors.ts';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600 * SECOND_MS;
const DAY_MS = 24 * HOUR_MS;

/** After this long of trying an event is failed: kept, visible, replayable. */
export const RETRY_FOR_MS = 3 * DAY_MS;

/** Most failures are a single bad moment; an outage is met with ever longer waits soon enough. */
const FIRST_DELAY_MS = SECOND_MS / 2;
const MAX_DELAY_MS = 1 * HOUR_MS;

/** What becomes of an event after a failed attempt. */
export type Verdict = { readonly kind: 'retry'; readonly atMs: number } | { readonly kind: 'fail' };

/**
 * Exponential backoff with full jitter above the half: 0.5 s, 1 s, 2 s … one hour, for three days.
 *
 * @param attempts failed attempts so far, this one included
 * @param random uniform in [0, 1)
 */
export function afterFailure(input: {
  attempts: number;
  firstTriedAtMs: number;
  nowMs: number;
  remedy: Remedy;
  random: number;
}): Verdict {
  if (input.remedy.kind === 'give_up') return { kind: 'fail' };
  const exponential = FIRST_DELAY_MS * 2 ** Math.min(input.attempts - 1, 20);
  const ceiling = Math.min(exponential, MAX_DELAY_MS);
  const delayMs = ceiling / 2 + (ceiling / 2) * input.random;
  const atMs = Math.round(input.nowMs + delayMs);
  return atMs - input.firstTriedAtMs > RETRY_FOR_MS ? { kind: 'fail' } : { kind: 'retry', atMs };
}

/**
 * When to look again for the contact of a subscriber that has none. Intercom's webhooks and saved links wake
 * it at once; this only covers a webhook that was lost (Intercom retries once). `null`: not again by itself.
 *
 * @param lookups lookups so far that found nobody
 */
export function nextContactLookup(lookups: number, nowMs: number): number | null {
  const delays = [10 * 60 * SECOND_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, DAY_MS, DAY_MS];
  const delay = delays[lookups - 1];
  return delay === undefined ? null : nowMs + delay;
}
