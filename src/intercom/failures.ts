import { z } from 'zod';
import { AppError, type ErrorCode, type Remedy } from '../errors.ts';
import { type FailedResponse, isProxyRefusal } from '../http/client.ts';
import { rateLimitReset } from './rate-limit.ts';

const errorListSchema = z.object({
  errors: z.array(z.object({ code: z.string().nullish(), message: z.string().nullish() })).min(1),
});

/** Codes of a 401 after which no call will succeed. Source: Intercom, "Error codes". */
const INVALID_TOKEN = /^(unauthorized|token_[a-z_]+|missing_authorization)$/;
/** About one contact or one attribute, not about a permission. */
const REJECTED = /^(custom_data_limit_reached|not_restorable)$/;
// The wording is UNVERIFIED: any other refusal of a contact's content is investigated too.
const ATTRIBUTE_MISSING = /attribute.*(?:does not|doesn't) exist/i;
/** "Cannot have more than 120 active event names", as several apps recorded it; its code is only "422". */
const EVENT_LIMIT = /(?:more than|limit).*event name|event name.*limit/i;
/** Longer messages are cut: they end up in tables and on pages, and are matched by regular expressions. */
const MAX_MESSAGE_LENGTH = 300;
const MAX_ANSWER_LENGTH = 2_000;

/**
 * Decides what an error response of Intercom means: the code, and what to do about it. The message is Intercom's
 * own, cut short: it names fields and limits, which is what an admin needs.
 */
export function intercomFailure(response: FailedResponse, action: string, nowMs: number): AppError {
  const parsed = errorListSchema.safeParse(response.body);
  const first = parsed.success ? parsed.data.errors[0] : undefined;
  const code = (first?.code ?? '').slice(0, 100);
  const text = (first?.message ?? '').slice(0, MAX_MESSAGE_LENGTH);
  const { remedy = { kind: 'give_up' }, ...meaning } = meaningOf(response, { code, text }, nowMs);
  // Older endpoints repeat the status as the code.
  const details = `${code && code !== `${response.status}` ? ` ${code}` : ''}${text ? `: ${text}` : ''}`;
  return new AppError(meaning.code, `${action}: Intercom answered ${response.status}${details}`, {
    upstreamStatus: response.status,
    upstreamAnswer: asText(response.body),
    remedy,
  });
}

interface Meaning {
  readonly code: ErrorCode;
  readonly remedy?: Remedy;
}

const UNAVAILABLE: Meaning = { code: 'intercom_unavailable', remedy: { kind: 'retry' } };

function meaningOf(
  response: FailedResponse,
  { code, text }: { code: string; text: string },
  nowMs: number,
): Meaning {
  const { status, headers } = response;
  if (isProxyRefusal(response)) return UNAVAILABLE;
  // Their status is UNVERIFIED: clients of Intercom recognize them by code or wording.
  if (REJECTED.test(code)) return { code: 'intercom_rejected' };
  if (ATTRIBUTE_MISSING.test(text)) return { code: 'intercom_attribute_missing', remedy: { kind: 'retry' } };
  if (EVENT_LIMIT.test(text)) return { code: 'intercom_event_limit' };
  switch (status) {
    case 401:
      // An error without a known code may be temporary: declaring the token invalid would stop all deliveries.
      return INVALID_TOKEN.test(code)
        ? { code: 'intercom_unauthorized', remedy: { kind: 'reauthorize' } }
        : UNAVAILABLE;
    case 402:
      return { code: 'intercom_plan_restricted' };
    case 403:
      return { code: code === 'api_plan_restricted' ? 'intercom_plan_restricted' : 'intercom_scope_missing' };
    case 404:
      return { code: 'intercom_not_found', remedy: { kind: 'wait_for_contact' } };
    case 408:
      return UNAVAILABLE;
    case 410: {
      const contactId = canonicalContact(headers.link);
      const remedy = contactId ? ({ kind: 'follow_contact', contactId } as const) : undefined;
      return { code: 'intercom_contact_merged', remedy: remedy ?? { kind: 'wait_for_contact' } };
    }
    case 429:
      return {
        code: 'intercom_rate_limited',
        remedy: { kind: 'wait_until', atMs: rateLimitReset(headers, nowMs) },
      };
    default:
      // Below 400 it comes from a proxy: Intercom's API does not redirect, and sends no pages.
      if (status >= 500 || status < 400) return UNAVAILABLE;
      // The error is about our version header: the data that was sent must not count as refused.
      if (code === 'intercom_version_invalid') return UNAVAILABLE;
      return { code: 'intercom_rejected' };
  }
}

function asText(body: unknown): string | null {
  if (body === undefined || body === null || body === '') return null;
  return (typeof body === 'string' ? body : JSON.stringify(body)).slice(0, MAX_ANSWER_LENGTH);
}

/** `Link: </contacts/{id}>; rel="canonical"` of a merged contact (Intercom API 2.16); `null` when malformed. */
function canonicalContact(link: unknown): string | null {
  if (typeof link !== 'string') return null;
  const canonical = link
    .slice(0, 1_000)
    .split(',')
    .find((part) => part.includes('canonical'));
  const id = /\/contacts\/([^/>?]+)/.exec(canonical ?? '')?.[1];
  try {
    return id ? decodeURIComponent(id) : null;
  } catch {
    return null;
  }
}
