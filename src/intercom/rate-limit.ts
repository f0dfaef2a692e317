import { readCount, readRetryAfter } from '../http/client.ts';
import { HOUR_MS } from '../time.ts';

/** The rate limit in the current ten-second window. */
export type RateLimit = Readonly<NonNullable<ReturnType<typeof readRateLimit>>>;

/** Intercom counts calls in windows of this length, ms. */
export const WINDOW_MS = 10_000;
const MAX_CLOCK_DIFFERENCE_MS = 5_000;

/** The rate-limit headers of a response; `null`: it has none, or none that can be read. */
export function readRateLimit(headers: Readonly<Record<string, unknown>>, nowMs: number) {
  const limit = readCount(headers['x-ratelimit-limit']);
  const remaining = readCount(headers['x-ratelimit-remaining']);
  const resetMs = Math.round(Number(headers['x-ratelimit-reset']) * 1_000);
  if (!limit || remaining === null || !(resetMs > 0)) return null;
  return {
    limit,
    remaining,
    // A reset later than any window means that the clocks differ; waiting for it would stop all deliveries.
    resetAtMs: resetMs > nowMs + 2 * WINDOW_MS ? nextWindow(nowMs) : resetMs,
  };
}

/** When to call again after a 429 (epoch ms): `X-RateLimit-Reset` (Unix s), `Retry-After`, else the next window. */
export function rateLimitReset(headers: Readonly<Record<string, unknown>>, nowMs: number): number {
  const resetMs = Number(headers['x-ratelimit-reset']) * 1_000;
  // Windows are ten seconds long: a reset far in the future is wrong.
  if (resetMs > nowMs && resetMs <= nowMs + 120_000) return resetMs;
  // A reset that our clock has just passed may still be ahead by Intercom's clock.
  if (resetMs <= nowMs && resetMs > nowMs - MAX_CLOCK_DIFFERENCE_MS) return nowMs + 250;
  const retryAfterMs = readRetryAfter(headers['retry-after'], nowMs);
  if (retryAfterMs > 0 && retryAfterMs <= HOUR_MS) return nowMs + retryAfterMs;
  return nextWindow(nowMs);
}

function nextWindow(nowMs: number): number {
  return (Math.floor(nowMs / WINDOW_MS) + 1) * WINDOW_MS;
}
