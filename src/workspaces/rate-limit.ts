import type { RequestHandler } from 'express';
import { AppError } from '../errors.ts';

/** More senders than this are not told apart any longer: the counts begin anew. */
const MAX_SENDERS = 10_000;

/**
 * Lets each address make so many requests a minute: beginning a sign-in writes a row for a stranger. Each
 * process counts for itself, which is enough against a flood.
 */
export function limitPerMinute(limit: number, now: () => number): RequestHandler {
  const counts = new Map<string, number>();
  let minute = 0;
  return (req, res, next) => {
    const current = Math.floor(now() / 60_000);
    if (current !== minute || counts.size > MAX_SENDERS) {
      minute = current;
      counts.clear();
    }
    const sender = req.ip ?? '';
    const count = (counts.get(sender) ?? 0) + 1;
    counts.set(sender, count);
    if (count <= limit) {
      next();
      return;
    }
    res.setHeader('Retry-After', String(Math.ceil((current + 1) * 60 - now() / 1_000)));
    next(new AppError('rate_limited', 'Too many attempts: wait a minute', { status: 429 }));
  };
}
