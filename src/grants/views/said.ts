import { type Component, escapeMarkdown, linkButton } from '../../intercom/canvas.ts';
import { DAY_MS } from '../../time.ts';
import { writeAudit } from '../../workspaces/audit.ts';
import { isForever } from '../ends.ts';
import type { Refusal } from '../policy.ts';
import { grantWordsFor } from '../words/catalogue.ts';
import type { GrantWords } from '../words/types.ts';
import type { Customer, Visit } from './context.ts';

export function wordsOf(visit: Visit): GrantWords {
  return grantWordsFor(visit.messages.language);
}

/** The end of a grant to the minute; `null`: it has none. */
export function exactEnd(visit: Visit, endMs: number): string | null {
  return isForever(endMs) ? null : visit.messages.dateTime(endMs);
}

/** The same where a sentence needs a word for "never". */
export function endWord(visit: Visit, endMs: number): string {
  return exactEnd(visit, endMs) ?? wordsOf(visit).states.forever;
}

/** What somebody has, one after the other; or that it is nothing. */
export function accessText(
  visit: Visit,
  has: readonly { readonly name: string; readonly endMs: number }[],
): string {
  const words = wordsOf(visit);
  if (has.length === 0) return words.states.nothing;
  return has.map(({ name, endMs }) => words.accessUntil(name, exactEnd(visit, endMs))).join(', ');
}

/** An entitlement's name is the customer's team's own words. */
export function shownName(name: string): string {
  return escapeMarkdown(name);
}

export function refusalText(visit: Visit, refusal: Refusal): string {
  const words = wordsOf(visit);
  switch (refusal.code) {
    case 'switched_off':
      return words.refusals.switchedOff;
    case 'not_allowed':
      return words.refusals.notAllowed;
    case 'lifetime_not_allowed':
      return words.refusals.lifetimeNotAllowed;
    case 'too_long':
      return words.tooLong(
        refusal.longestDays,
        visit.messages.date(visit.services.now() + refusal.longestDays * DAY_MS),
      );
    case 'reason_missing':
      return words.refusals.reasonMissing;
    case 'reason_too_long':
      return words.reasonTooLong(refusal.most);
    case 'monthly_limit': {
      const month = new Intl.DateTimeFormat(visit.messages.locale, {
        timeZone: 'UTC',
        year: 'numeric',
        month: 'long',
      });
      return words.monthlyLimit(refusal.limit, month.format(visit.services.now()));
    }
    case 'same_person':
      return words.refusals.samePerson;
  }
}

/** A code of a failed grant or call, as a sentence. */
export function failureText(visit: Visit, code: string | null): string {
  const { failures, refusals } = wordsOf(visit);
  switch (code) {
    case 'unknown_customer':
      return refusals.unknownCustomer;
    case 'revenuecat_not_found':
      return failures.entitlementGone;
    case 'revenuecat_unauthorized':
      return failures.keyRejected;
    case 'revenuecat_scope_missing':
      return failures.scopeMissing;
    case 'revenuecat_conflict':
      return failures.alreadyHas;
    case 'revenuecat_rate_limited':
      return failures.slowDown;
    case 'revenuecat_rejected':
      return failures.refused;
    case 'revenuecat_ignored':
      return failures.notMade;
    case 'never_confirmed':
      return failures.neverConfirmed;
    default:
      return failures.away;
  }
}

/** The way to what only an admin can put right. */
export function settingsButton(visit: Visit, page: 'revenuecat' | 'grants'): Component {
  const url = `${visit.services.publicUrl}/settings/${page}`;
  return linkButton('settings', wordsOf(visit).buttons.settings, url);
}

/** Keeps that something was refused, and why. */
export async function auditRefusal(
  visit: Visit,
  customer: Customer,
  action: 'grant' | 'grant_approve' | 'revoke',
  why: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { request, services: context } = visit;
  await writeAudit(context.database, {
    workspaceId: request.workspaceId,
    actor: request.admin,
    action,
    conversationId: request.conversationId,
    contactId: request.contact.id || null,
    subscriberId: customer.subscriber.subscriberId,
    details: { app_user_id: customer.appUserId, ...details },
    result: `refused: ${why}`,
  });
}
