import { z } from 'zod';
import { AppError, type ErrorCode, type Remedy } from '../errors.ts';
import { type FailedResponse, isProxyRefusal, readRetryAfter } from '../http/client.ts';
import { HOUR_MS } from '../time.ts';

const errorSchema = z.object({
  type: z.string().nullish(),
  message: z.string().nullish(),
  retryable: z.boolean().nullish(),
  backoff_ms: z.number().nullish(),
});

/**
 * Decides what an error response of RevenueCat's v2 API means. If the status does not explain a refusal, `retryable`
 * decides on a retry; `backoff_ms` says how long a 429 lasts. Source: RevenueCat, API v2, "Errors" and "Rate limits".
 */
export function revenueCatFailure(response: FailedResponse, action: string, nowMs: number): AppError {
  const { status, headers } = response;
  const body = errorSchema.safeParse(response.body).data ?? {};
  const text = (body.message ?? '').slice(0, 300);
  const details = `${body.type ? ` ${body.type.slice(0, 100)}` : ''}${text ? `: ${text}` : ''}`;
  const waits = [body.backoff_ms ?? 0, readRetryAfter(headers['retry-after'], nowMs)];
  const waitMs = Math.min(waits.find((ms) => ms > 0) ?? 10_000, HOUR_MS);
  const knownStatus = isProxyRefusal(response) ? 503 : status;
  const { code, remedy } = meaningOf(knownStatus, body.retryable === true, nowMs + waitMs);
  const options = { upstreamStatus: status, remedy };
  return new AppError(code, `${action}: RevenueCat answered ${status}${details}`, options);
}

/** @param retryAtMs when to retry after a 429 */
function meaningOf(
  status: number,
  isRetryable: boolean,
  retryAtMs: number,
): { code: ErrorCode; remedy?: Remedy } {
  switch (status) {
    case 401:
      return { code: 'revenuecat_unauthorized', remedy: { kind: 'reauthorize' } };
    case 403:
      return { code: 'revenuecat_scope_missing' };
    case 404:
      return { code: 'revenuecat_not_found' };
    case 409:
      return { code: 'revenuecat_conflict' };
    case 423:
      // Another request has locked the customer for a short time.
      return { code: 'revenuecat_locked', remedy: { kind: 'retry' } };
    case 429:
      return { code: 'revenuecat_rate_limited', remedy: { kind: 'wait_until', atMs: retryAtMs } };
    default:
      // A status below 400 comes from a proxy.
      return status >= 500 || status < 400 || isRetryable
        ? { code: 'revenuecat_unavailable', remedy: { kind: 'retry' } }
        : { code: 'revenuecat_rejected' };
  }
}
