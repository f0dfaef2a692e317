import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { badRequest } from './errors.ts';

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** Represents access without an end in columns and calculations that need a time. 2200-01-01 UTC. */
export const FOREVER_MS = Date.UTC(2200, 0, 1);

/** RevenueCat's clients send 2099-01-01 in any time zone for a lifetime; RevenueCat has stored ends 200 years ahead. */
const FOREVER_FROM_MS = Date.UTC(2098, 11, 31);

/** @param endsAtMs UTC epoch ms; `null`: no end */
export function isForever(endsAtMs: number | null): boolean {
  return endsAtMs === null || endsAtMs >= FOREVER_FROM_MS;
}

const isoTimeSchema = z.union([z.iso.datetime({ offset: true }), z.iso.date()]);

/**
 * Parses a time that a person typed. `Date.parse` alone accepts `5` as a year and rolls `2026-02-30` over.
 *
 * @param option the option's name, for the error
 * @returns UTC epoch ms
 */
export function parseIsoTime(text: string, option: string, nowMs = Date.now()): number {
  if (!isoTimeSchema.safeParse(text).success)
    throw badRequest(`${option} ${text} is not an ISO time such as 2026-10-01T00:00:00Z or 2026-10-01`);
  const atMs = Date.parse(text);
  if (atMs > nowMs) throw badRequest(`${option} ${text} is in the future`);
  return atMs;
}

/** Waits for `ms`, or until the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

/** Repeats the work until the signal aborts, with `ms` between two runs. */
export async function repeat(ms: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await work();
    await pause(ms, signal);
  }
}

/** Cache options that expire entries after `ttl` ms by the app's clock. */
export const expiresAfter = (ttl: number, now: () => number) => ({ ttl, ttlResolution: 0, perf: { now } });

const TIMED_OUT = Symbol('timed out');

/**
 * Waits for `work` at most `ms`. The work itself is not cancelled; its later result is ignored.
 *
 * @param onTimeout gives the result when time is up; may throw
 */
export async function withTimeout<T, L>(work: Promise<T>, ms: number, onTimeout: () => L): Promise<T | L> {
  const { promise: timedOut, resolve } = Promise.withResolvers<typeof TIMED_OUT>();
  const timer = setTimeout(() => resolve(TIMED_OUT), ms);
  try {
    const first = await Promise.race([work, timedOut]);
    return first === TIMED_OUT ? onTimeout() : (first as T);
  } finally {
    clearTimeout(timer);
  }
}
