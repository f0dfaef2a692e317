import type { AppError, ErrorCode } from '../errors.ts';
import { DAY_MS } from '../time.ts';

/** After this long of trying an event is failed: stored, visible, replayable. */
export const RETRY_FOR_MS = 3 * DAY_MS;

/** Most failures pass within a second; the delay grows quickly for an outage. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 3_600_000;

/** Problems of the whole workspace that an admin can fix while the events wait. */
const FIXABLE: ReadonlySet<ErrorCode> = new Set(['intercom_scope_missing', 'intercom_plan_restricted']);

/** What to do after a failed call. */
export type Decision =
  /** The contact was merged into this one. */
  | { readonly kind: 'follow'; readonly contactId: string }
  | { readonly kind: 'contact_missing' }
  /** The workspace is rate-limited; uses up no retry. */
  | { readonly kind: 'pause_workspace'; readonly untilMs: number }
  /** Intercom refuses the token; uses up no retry. */
  | { readonly kind: 'disconnect' }
  | { readonly kind: 'retry'; readonly atMs: number }
  | { readonly kind: 'fail' };

/**
 * Decides what to do after a failed call. Retries use exponential backoff with jitter in its upper half:
 * 0.5 s, 1 s, 2 s … one hour, for three days.
 *
 * @param attempt.attempts failed attempts so far, this one included
 * @param attempt.random uniform in [0, 1)
 */
export function decide(
  error: Pick<AppError, 'code' | 'remedy'>,
  attempt: { attempts: number; firstTriedAtMs: number; nowMs: number; random: number },
): Decision {
  const { remedy } = error;
  switch (remedy.kind) {
    case 'follow_contact':
      return { kind: 'follow', contactId: remedy.contactId };
    case 'wait_for_contact':
      return { kind: 'contact_missing' };
    case 'wait_until':
      return { kind: 'pause_workspace', untilMs: remedy.atMs };
    case 'reauthorize':
      return { kind: 'disconnect' };
    case 'give_up':
      if (!FIXABLE.has(error.code)) return { kind: 'fail' };
      return retryOrFail(attempt);
    default:
      return retryOrFail(attempt);
  }
}

function retryOrFail(attempt: Parameters<typeof decide>[1]): Decision {
  const exponential = FIRST_DELAY_MS * 2 ** Math.min(attempt.attempts - 1, 20);
  const ceiling = Math.min(exponential, MAX_DELAY_MS);
  const atMs = Math.round(attempt.nowMs + ceiling / 2 + (ceiling / 2) * attempt.random);
  return atMs - attempt.firstTriedAtMs > RETRY_FOR_MS ? { kind: 'fail' } : { kind: 'retry', atMs };
}

const LOOKUP_DELAYS_MS = [600_000, 3_600_000, 6 * 3_600_000, DAY_MS, 2 * DAY_MS, 4 * DAY_MS, 7 * DAY_MS];

/**
 * When to look up the contact of a subscriber again: ever more rarely, down to once a week.
 * Intercom's webhooks, saved links and opened cards wake it sooner; this covers a webhook that was lost.
 *
 * @param lookups lookups so far that found no contact
 */
export function nextContactLookup(lookups: number, nowMs: number): number {
  return nowMs + (LOOKUP_DELAYS_MS[lookups - 1] ?? 7 * DAY_MS);
}
