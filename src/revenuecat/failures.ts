import { z } from 'zod';
import { AppError, type ErrorCode, type Remedy } from '../errors.ts';
import type { FailedResponse } from '../http/client.ts';
import { HOUR_MS } from '../time.ts';

const errorSchema = z.object({
  type: z.string().nullish(),
  message: z.string().nullish(),
  retryable: z.boolean().nullish(),
  backoff_ms: z.number().nullish(),
});

/**
 * Decides what an error response of RevenueCat's v2 API means. `retryable` makes a refusal that the status does not
 * explain one to try again; `backoff_ms` says how long a 429 lasts. Source: RevenueCat, API v2, "Errors" and "Rate limits".
 */
export function revenueCatFailure(response: FailedResponse, action: string, nowMs: number): AppError {
  const parsed = errorSchema.safeParse(response.body);
  const body = parsed.success ? parsed.data : {};
  const text = (body.message ?? '').slice(0, 300);
  const details = `${body.type ? ` ${body.type.slice(0, 100)}` : ''}${text ? `: ${text}` : ''}`;
  const { remedy = { kind: 'give_up' }, ...meaning } = meaningOf(response, body.retryable === true, nowMs);
  return new AppError(meaning.code, `${action}: RevenueCat answered ${response.status}${details}`, {
    upstreamStatus: response.status,
    remedy,
  });
}

function meaningOf(
  response: FailedResponse,
  isRetryable: boolean,
  nowMs: number,
): { code: ErrorCode; remedy?: Remedy } {
  const { status } = response;
  switch (status) {
    case 401:
      return { code: 'revenuecat_unauthorized', remedy: { kind: 'reauthorize' } };
    case 403:
      return { code: 'revenuecat_scope_missing' };
    case 404:
      return { code: 'revenuecat_not_found' };
    case 409:
      return { code: 'revenuecat_conflict' };
    case 429: {
      const atMs = nowMs + waitMsOf(response);
      return { code: 'revenuecat_rate_limited', remedy: { kind: 'wait_until', atMs } };
    }
    default:
      // 423: another request has locked the customer; it passes. Below 400 it comes from a proxy.
      return status >= 500 || status < 400 || status === 423 || isRetryable
        ? { code: 'revenuecat_unavailable', remedy: { kind: 'retry' } }
        : { code: 'revenuecat_rejected' };
  }
}

/** How long a 429 asks to wait, ms: `backoff_ms`, else `Retry-After` (s), else ten seconds; at most an hour. */
export function waitMsOf({ headers, body }: Omit<FailedResponse, 'status'>): number {
  const parsed = errorSchema.safeParse(body);
  const backoffMs = parsed.success ? (parsed.data.backoff_ms ?? 0) : 0;
  const retryAfterMs = Number(headers['retry-after']) * 1_000;
  const waitMs = backoffMs > 0 ? backoffMs : retryAfterMs > 0 ? retryAfterMs : 10_000;
  return Math.min(waitMs, HOUR_MS);
}
