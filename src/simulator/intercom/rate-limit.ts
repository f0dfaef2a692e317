import type { RequestHandler } from 'express';
import { refusal, sessionOf } from './refusals.ts';

const WINDOW_MS = 10_000;

/**
 * Counts a workspace's calls in ten-second windows of the clock. The headers of every authenticated response say how
 * many calls are left in the window. Source: Intercom, "Rate limiting".
 */
export function rateLimit(limit: number, now: () => number): RequestHandler {
  const windows = new Map<string, { index: number; used: number }>();
  return (_req, res, next) => {
    const index = Math.floor(now() / WINDOW_MS);
    const { id } = sessionOf(res).workspace;
    let current = windows.get(id);
    if (current === undefined || current.index !== index) {
      current = { index, used: 0 };
      windows.set(id, current);
    }
    const refused = current.used >= limit;
    if (!refused) current.used += 1;
    res.set({
      'X-RateLimit-Limit': String(limit),
      'X-RateLimit-Remaining': String(limit - current.used),
      'X-RateLimit-Reset': String(((index + 1) * WINDOW_MS) / 1_000),
    });
    if (refused) throw refusal(429, 'rate_limit_exceeded', `Exceeded rate limit of ${limit} in 10_seconds`);
    next();
  };
}
