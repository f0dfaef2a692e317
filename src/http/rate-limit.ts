import { isIPv6 } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { AppError } from '../errors.ts';

/**
 * Limits requests by a key, such as an address or an API key: at most `requests` in each window of `seconds`. Every
 * process counts separately, which is enough against a script that runs wild or a leaked key.
 *
 * @param options.message what is exceeded; the wait is appended
 */
export function createRateLimit(options: { requests: number; seconds: number; message: string }) {
  const { requests, seconds, message } = options;
  const limiter = new RateLimiterMemory({ points: requests, duration: seconds });

  function refuse(res: Response, state: RateLimiterRes): never {
    const waitS = Math.max(1, Math.ceil(state.msBeforeNext / 1_000));
    res.set('Retry-After', String(waitS));
    throw new AppError('rate_limited', `${message}. Try again in ${waitS} s.`);
  }

  return {
    /** Counts a request. @throws AppError 429 `rate_limited`, with `Retry-After`, when it is one too many */
    async consume(key: string, res: Response): Promise<void> {
      const state = await limiter.penalty(key);
      if (state.consumedPoints > requests) refuse(res, state);
    },
    /** Does not count the request: for work that comes before `consume`. @throws AppError when `consume` would */
    async check(key: string, res: Response): Promise<void> {
      const state = await limiter.get(key);
      if (state !== null && state.consumedPoints >= requests) refuse(res, state);
    },
  };
}

/** The key that a sender's requests are counted by: in IPv6 the /64 network, which gives its owner 2^64 addresses. */
export function senderOf({ ip = '' }: Pick<Request, 'ip'>): string {
  const isMappedV4 = ip.includes('.');
  if (!isIPv6(ip) || isMappedV4) return ip;
  const [before = [], after = []] = ip.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].slice(0, 4).join(':');
}

export function limitRequests(requests: number): RequestHandler {
  const limit = createRateLimit({ requests, seconds: 60, message: 'Too many requests' });
  return async (req, res, next) => {
    await limit.consume(senderOf(req), res);
    next();
  };
}
