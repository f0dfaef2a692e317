import type { Period, Price } from './money.ts';
import type { Names } from './names.ts';
import type { Environment, Money, SubscriberState, SubscriptionState, SubscriptionStatus } from './types.ts';

/**
 * What a customer has, had and will be charged, as data. The inbox card, the Messenger, the support page, Fin and
 * the contact's attributes all read it, so they cannot disagree. Names are display names, times UTC epoch ms;
 * `null` means unknown or not applicable, and the text is then made without it.
 */
export interface CustomerDescription {
  readonly status: SubscriptionStatus | null;
  /** Answers what most tickets ask: are they charged, how much, when, what went wrong. */
  readonly statements: readonly Statement[];
  /** What the table under the sentence shows: one with details, or several in a line each. */
  readonly shown: readonly SubscriptionDescription[];
  readonly subscriptions: readonly SubscriptionDescription[];
  readonly grants: readonly SubscriptionDescription[];
  readonly sandbox: readonly SubscriptionDescription[];
  /** The one that the contact's attributes describe. */
  readonly primary: SubscriptionDescription | null;
  readonly nextCharge: Charge | null;
  /** Sums actually paid and when the first of them was; empty: nothing. */
  readonly paid: readonly Money[];
  readonly paidSinceMs: number | null;
  readonly movedTo: SubscriberState['movedTo'];
}

export interface Charge {
  readonly atMs: number;
  /** `null`: RevenueCat does not say what the next period costs. */
  readonly sum: Money | null;
}

export interface SubscriptionDescription {
  readonly subscription: SubscriptionState;
  /** The entitlement's name, else the product's; `''`: neither is known. */
  readonly what: string;
  /** `''`: a grant, or unknown. */
  readonly product: string;
  readonly label: StatusLabel;
  /** One or two sentences about this subscription alone. */
  readonly statements: readonly OwnStatement[];
  readonly price: Price | null;
  readonly nextCharge: Charge | null;
  /** `null`: unknown. */
  readonly end: End | null;
  /** Whether something needs the customer's or the agent's attention. */
  readonly tone: 'good' | 'warn' | 'ended';
}

/** The row of a table that says when it renews or ends. `atMs` is `null` for never. */
export interface End {
  readonly label: 'renews' | 'ends' | 'ended' | 'resumes';
  readonly atMs: number | null;
}

export type StatusLabel = SubscriptionStatus | 'billing_retry' | 'incomplete' | 'price_consent';

export type EndReason =
  | 'UNSUBSCRIBE'
  | 'BILLING_ERROR'
  | 'DEVELOPER_INITIATED'
  | 'PRICE_INCREASE'
  | 'CUSTOMER_SUPPORT'
  | 'SUBSCRIPTION_PAUSED';

/** Epoch ms; `null`: unknown, or not to be said. */
export type At = number | null;

/** About one subscription or one customer; has a text for agents and one for the customer. */
export type OwnStatement =
  | { kind: 'active' | 'intro'; what: string; price: Price | null; next: At }
  | { kind: 'trial'; what: string; until: At; price: Price | null }
  | { kind: 'trialCancelled'; what: string; until: At }
  | { kind: 'cancelled'; what: string; on: At; until: At }
  | { kind: 'priceConsent'; what: string; price: Price | null; until: At }
  /** Paid and not renewing; `until` is `null` for life. */
  | { kind: 'bought'; what: string; until: At }
  | { kind: 'family'; what: string; until: At }
  | { kind: 'familyEnded'; what: string; since: At }
  | { kind: 'temporary'; what: string; until: At }
  | { kind: 'willPause'; what: string; until: At; resumes: At }
  | { kind: 'paused'; what: string; since: At; resumes: At; sum: Money | null }
  | { kind: 'grace'; what: string; on: number; until: At; store: string | null }
  | { kind: 'incomplete'; what: string }
  | { kind: 'expired'; what: string; since: At; reason: EndReason | null; price: Price | null }
  /** `since` is `null` where access ended with the refund. */
  | { kind: 'refunded'; what: string; on: number; sum: Money | null; since: At }
  | { kind: 'refundedInPart'; on: number; sum: Money | null }
  | { kind: 'granted'; what: string; by: string | null; until: At }
  | { kind: 'grantEnded'; what: string; since: At; paid: 'ever' | 'never' }
  | { kind: 'pendingChange'; product: string }
  | { kind: 'moved'; on: number; store: string | null }
  | { kind: 'nothing'; why: 'no_purchases' | 'one_time_only' | 'sandbox_only' };

/** Only agents read these: a customer sees each subscription with its own sentence. */
export type Statement =
  | OwnStatement
  | { kind: 'alsoGranted'; what: string; until: At }
  /** `since` is the end of access, `null` while it lasts. */
  | { kind: 'paymentFailed'; what: string; on: number; since: At }
  | {
      kind: 'several';
      items: readonly SeveralItem[];
      more: number;
      next: At;
      sum: Money | null;
      /** `never`: nothing will be charged again. */
      charges: 'again' | 'never';
    };

/** One of several, in brackets: how often it is charged, where, and what is special about it. */
export interface SeveralItem {
  readonly what: string;
  readonly period: Period | null;
  readonly store: string | null;
  readonly note: ItemNote | null;
}

export interface ItemNote {
  readonly kind:
    | 'trial'
    | 'cancelled'
    | 'trialCancelled'
    | 'priceConsent'
    | 'bought'
    | 'family'
    | 'temporary'
    | 'willPause'
    | 'paused'
    | 'pendingChange';
  readonly at: At;
  readonly product: string | null;
}

export interface DescriptionContext {
  readonly names: Names;
  readonly nowMs: number;
  /** The teammate who made a grant; `null`: it was made elsewhere. */
  readonly grantedBy?: (grant: SubscriptionState) => string | null;
  /** Number of events, to recognize a customer who has only test events. */
  readonly counts?: Readonly<Record<Environment, number>>;
}
