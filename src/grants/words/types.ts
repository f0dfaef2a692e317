import type { Duration } from '../durations.ts';
import type { NoteWords } from '../note.ts';

type Title = 'form' | 'extend' | 'review' | 'approval' | 'grants' | 'revoke';

type Label =
  | 'customer'
  | 'hasNow'
  | 'gets'
  | 'entitlement'
  | 'duration'
  | 'exactEnd'
  | 'reason'
  | 'reasonOptional'
  | 'grantedBy'
  | 'askedBy'
  | 'approvedBy'
  | 'declinedBy'
  | 'removedBy'
  | 'until'
  | 'on'
  | 'tell';

type Button =
  | 'review'
  | 'confirm'
  | 'ask'
  | 'change'
  | 'again'
  | 'lookAgain'
  | 'addToEnd'
  | 'extend'
  | 'revoke'
  | 'revokeNow'
  | 'keep'
  | 'approve'
  | 'decline'
  | 'withdraw'
  | 'grant'
  | 'grants'
  | 'moreEntitlements'
  | 'older'
  | 'newer'
  | 'settings';

/** Why something is not done, as a sentence; those that need a number or a date are functions below. */
type Refusal =
  | 'switchedOff'
  | 'notAllowed'
  | 'lifetimeNotAllowed'
  | 'reasonMissing'
  | 'chooseEntitlement'
  | 'chooseDuration'
  | 'endInvalid'
  | 'endPast'
  | 'endTooFar'
  | 'unknownCustomer'
  | 'noCustomerId'
  | 'unsettled'
  | 'samePerson';

/** What RevenueCat's refusals mean for somebody who wants to grant. */
type Failure =
  | 'entitlementGone'
  | 'keyRejected'
  | 'scopeMissing'
  | 'alreadyHas'
  | 'slowDown'
  | 'refused'
  | 'notMade'
  | 'neverConfirmed'
  | 'away';

type State =
  | 'noKey'
  | 'keyRejected'
  | 'noEntitlements'
  | 'noGrants'
  | 'gone'
  | 'tampered'
  | 'changed'
  | 'stale'
  | 'pending'
  | 'revokePending'
  | 'noteFailed'
  | 'nothing'
  | 'forever'
  | 'stillPays'
  | 'anonymous'
  | 'endRule'
  | 'revokeRule';

/**
 * Everything that the granting part of the card says, in one language; every language has every text, or it does
 * not compile. Dates and names come as text.
 */
export interface GrantWords {
  readonly titles: Readonly<Record<Title, string>>;
  readonly labels: Readonly<Record<Label, string>>;
  readonly buttons: Readonly<Record<Button, string>>;
  readonly refusals: Readonly<Record<Refusal, string>>;
  readonly failures: Readonly<Record<Failure, string>>;
  readonly states: Readonly<Record<State, string>>;
  readonly durations: Readonly<Record<Duration, string>>;
  readonly placeholders: { readonly reason: string; readonly end: string };
  /** Of a choice that the policy does not allow. */
  notAllowedHere(choice: string): string;
  needsSecond(choice: string): string;
  /** Which of several pages of entitlements is shown. */
  pageOf(page: number, pages: number): string;

  /** @param end the latest end that the policy allows */
  tooLong(days: number, end: string): string;
  /** @param month such as `November 2026` */
  monthlyLimit(limit: number, month: string): string;
  reasonTooLong(most: number): string;

  /** What somebody has, or gets: `Pro until Jan 8, 2027`; `null`: it never ends. */
  accessUntil(entitlement: string, end: string | null): string;
  /** RevenueCat could not be asked: what they have is of this moment. */
  asOf(date: string): string;
  extendsFrom(end: string): string;
  /** Why a grant would change nothing; `null`: what they have never ends. */
  sameGrant(end: string | null): string;
  laterGrant(end: string | null): string;
  paidUntilLater(end: string | null): string;
  secondPerson(days: number): string;

  granted(entitlement: string, end: string | null): string;
  kept(end: string): string;
  otherEnd(asked: string): string;
  /** Words for the customer, to be sent as they are. */
  tellCustomer(entitlement: string, end: string | null): string;
  awaiting(entitlement: string): string;
  awaitingOwn(entitlement: string): string;
  declined(entitlement: string): string;
  withdrawn(entitlement: string): string;
  ended(entitlement: string, on: string): string;

  revokeReview(entitlement: string, end: string | null): string;
  /** What is left to the customer after the grant. */
  keepsAfter(entitlement: string, end: string | null): string;
  readonly losesAccess: string;
  revoked(entitlement: string): string;

  /** One line of the list for each state. */
  readonly lines: {
    until(end: string): string;
    readonly forever: string;
    ended(on: string): string;
    readonly revoked: string;
    readonly failed: string;
    readonly pending: string;
    readonly awaiting: string;
    readonly declined: string;
    readonly withdrawn: string;
  };
  readonly note: NoteWords;
}
