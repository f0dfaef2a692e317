import { z } from 'zod';
import { AppError, type ErrorCode } from '../errors.ts';

/** An answer that is not a success of Intercom's. Header names are in lower case. */
export interface IntercomAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

const errorListSchema = z.object({
  errors: z.array(z.object({ code: z.string().nullish(), message: z.string().nullish() })).min(1),
});

/** Codes with which a 401 says that the installation is dead (facts of Intercom's "Error codes" page). */
const DEAD_TOKEN = /^(unauthorized|token_[a-z_]+|missing_authorization)$/;

/**
 * The one place that decides what a refusal of Intercom's means. The message is Intercom's own, cut short:
 * it names fields and limits, which is what an admin needs.
 */
export function intercomFailure(answer: IntercomAnswer, action: string, nowMs: number): AppError {
  const parsed = errorListSchema.safeParse(answer.body);
  const first = parsed.success ? parsed.data.errors[0] : undefined;
  const code = first?.code ?? '';
  const said = (first?.message ?? '').slice(0, 300);
  const message = `${action}: Intercom answered ${answer.status}${code ? ` ${code}` : ''}${said ? `: ${said}` : ''}`;
  const upstream = { upstreamStatus: answer.status, upstreamAnswer: asText(answer.body) };

  switch (answer.status) {
    case 401:
      // A 401 without a known code is taken for a passing fault: a dead token would stop everything.
      return DEAD_TOKEN.test(code)
        ? new AppError('intercom_unauthorized', message, {
            status: 502,
            ...upstream,
            remedy: { kind: 'reauthorise' },
          })
        : new AppError('intercom_unavailable', message, {
            status: 502,
            ...upstream,
            remedy: { kind: 'retry' },
          });
    case 403:
      return code === 'api_plan_restricted'
        ? new AppError('intercom_plan_restricted', message, { status: 502, ...upstream })
        : new AppError('intercom_scope_missing', message, { status: 502, ...upstream });
    case 404:
      return new AppError('intercom_not_found', message, {
        status: 404,
        ...upstream,
        remedy: { kind: 'wait_for_contact' },
      });
    case 410: {
      const contactId = canonicalContact(answer.headers.link);
      return new AppError('intercom_contact_merged', message, {
        status: 404,
        ...upstream,
        remedy: contactId ? { kind: 'follow_contact', contactId } : { kind: 'wait_for_contact' },
      });
    }
    case 429:
      return new AppError('intercom_rate_limited', message, {
        status: 503,
        ...upstream,
        remedy: { kind: 'wait_until', atMs: rateLimitReset(answer.headers, nowMs) },
      });
    case 408:
      return new AppError('intercom_unavailable', message, {
        status: 502,
        ...upstream,
        remedy: { kind: 'retry' },
      });
    default:
      // Below 400 it is not Intercom's: its API sends nobody elsewhere, and answers with no page.
      if (answer.status >= 500 || answer.status < 400) {
        return new AppError('intercom_unavailable', message, {
          status: 502,
          ...upstream,
          remedy: { kind: 'retry' },
        });
      }
      return new AppError(rejection(said), message, {
        status: 502,
        ...upstream,
        remedy: ATTRIBUTE_MISSING.test(said) ? { kind: 'provision_attributes' } : { kind: 'give_up' },
      });
  }
}

const MAX_ANSWER_LENGTH = 2_000;

function asText(body: unknown): string | null {
  if (body === undefined || body === null || body === '') return null;
  return (typeof body === 'string' ? body : JSON.stringify(body)).slice(0, MAX_ANSWER_LENGTH);
}

/** The wording and the code of both are UNVERIFIED: any other refusal of a contact's content is looked into too. */
const ATTRIBUTE_MISSING = /custom (?:data )?attribute.*(?:does not|doesn't) exist/i;
const EVENT_LIMIT = /limit.*event name|event name.*limit/i;

function rejection(said: string): ErrorCode {
  if (ATTRIBUTE_MISSING.test(said)) return 'intercom_attribute_missing';
  return EVENT_LIMIT.test(said) ? 'intercom_event_limit' : 'intercom_rejected';
}

/** No answer at all: a reset, a time-out, a name that does not resolve. */
export function intercomUnreachable(action: string, cause: unknown): AppError {
  const code = (cause as { code?: unknown } | null)?.code;
  return new AppError(
    'intercom_unavailable',
    `${action}: no answer from Intercom${code ? ` (${String(code)})` : ''}`,
    {
      status: 502,
      remedy: { kind: 'retry' },
    },
  );
}

/** `Link: </contacts/{id}>; rel="canonical"` of a merged contact (Intercom API 2.16). */
function canonicalContact(link: unknown): string | null {
  if (typeof link !== 'string') return null;
  const match = /<[^>]*\/contacts\/([^/>?]+)>\s*;[^,]*rel="?canonical"?/.exec(link);
  return match?.[1] ? decodeURIComponent(match[1]) : null;
}

const WINDOW_MS = 10_000;
const CLOCKS_DIFFER_MS = 5_000;

/**
 * When the window ends by our clock (epoch ms): what `X-RateLimit-Reset` says (epoch ms), unless that is further
 * away than any window lasts. Intercom's clock and ours then differ, and waiting for it would stop all deliveries.
 */
export function windowEnd(resetMs: number, nowMs: number): number {
  return resetMs > nowMs + 2 * WINDOW_MS ? (Math.floor(nowMs / WINDOW_MS) + 1) * WINDOW_MS : resetMs;
}

/** When the window ends (epoch ms), by `X-RateLimit-Reset` (Unix s) or `Retry-After` (s); else the next window. */
export function rateLimitReset(headers: Readonly<Record<string, unknown>>, nowMs: number): number {
  const reset = Number(headers['x-ratelimit-reset']) * 1_000;
  // A reset that lies far away cannot be meant: the windows are ten seconds long.
  if (reset > nowMs && reset <= nowMs + 120_000) return reset;
  // One that has just passed by our clock has not by Intercom's.
  if (reset <= nowMs && reset > nowMs - CLOCKS_DIFFER_MS) return nowMs + 250;
  const retryAfterS = Number(headers['retry-after']);
  if (retryAfterS > 0 && retryAfterS <= 3_600) return nowMs + retryAfterS * 1_000;
  return (Math.floor(nowMs / WINDOW_MS) + 1) * WINDOW_MS;
}
