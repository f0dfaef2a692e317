import { z } from 'zod';
import { AppError } from '../errors.ts';

const errorSchema = z.object({
  type: z.string().nullish(),
  message: z.string().nullish(),
  retryable: z.boolean().nullish(),
  backoff_ms: z.number().nullish(),
});

/**
 * The one place that decides what a refusal of RevenueCat's v2 API means. `retryable` and `backoff_ms` are
 * trusted over the status. Source: RevenueCat, API v2, "Errors" and "Rate limits".
 */
export function revenueCatFailure(
  answer: { status: number; headers: Readonly<Record<string, unknown>>; body: unknown },
  action: string,
  nowMs: number,
): AppError {
  const parsed = errorSchema.safeParse(answer.body);
  const body = parsed.success ? parsed.data : {};
  const said = (body.message ?? '').slice(0, 300);
  const message = `${action}: RevenueCat answered ${answer.status}${body.type ? ` ${body.type}` : ''}${said ? `: ${said}` : ''}`;
  const upstreamStatus = answer.status;

  switch (answer.status) {
    case 401:
      return new AppError('revenuecat_unauthorized', message, {
        status: 502,
        upstreamStatus,
        remedy: { kind: 'reauthorise' },
      });
    case 403:
      return new AppError('revenuecat_scope_missing', message, { status: 502, upstreamStatus });
    case 404:
      return new AppError('revenuecat_not_found', message, { status: 404, upstreamStatus });
    case 409:
      return new AppError('revenuecat_conflict', message, { status: 409, upstreamStatus });
    case 429:
      return new AppError('revenuecat_rate_limited', message, {
        status: 503,
        upstreamStatus,
        remedy: { kind: 'wait_until', atMs: nowMs + waitMsOf(answer) },
      });
    default:
      // 423: another request holds the customer; it passes.
      return answer.status >= 500 || answer.status === 423 || body.retryable === true
        ? new AppError('revenuecat_unavailable', message, {
            status: 502,
            upstreamStatus,
            remedy: { kind: 'retry' },
          })
        : new AppError('revenuecat_rejected', message, { status: 502, upstreamStatus });
  }
}

/** How long a 429 asks to wait, ms: `backoff_ms`, else `Retry-After` (s), else ten seconds; at most an hour. */
export function waitMsOf(answer: { headers: Readonly<Record<string, unknown>>; body: unknown }): number {
  const parsed = errorSchema.safeParse(answer.body);
  const backoffMs = parsed.success ? (parsed.data.backoff_ms ?? 0) : 0;
  const retryAfterMs = Number(answer.headers['retry-after']) * 1_000;
  const toldMs = backoffMs > 0 ? backoffMs : retryAfterMs > 0 ? retryAfterMs : 10_000;
  return Math.min(toldMs, 3_600_000);
}

export function revenueCatUnreachable(action: string, cause: unknown): AppError {
  const code = (cause as { code?: unknown } | null)?.code;
  return new AppError(
    'revenuecat_unavailable',
    `${action}: no answer from RevenueCat${code ? ` (${String(code)})` : ''}`,
    {
      status: 502,
      remedy: { kind: 'retry' },
    },
  );
}
