import { DAY_MS, isForever } from '../time.ts';
import { type Period, type Price, periodOf, priceOf } from './money.ts';
import { entitlementOrProduct, type Names, productLabel, productOf } from './names.ts';
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

type At = number | null;

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

/** Apple retries a card for 60 days after the period's end, Google for up to 60 days on account hold. */
const BILLING_RETRY_MS = 60 * DAY_MS;
const MAX_ITEMS = 3;

export function describeCustomer(state: SubscriberState, context: DescriptionContext): CustomerDescription {
  const describe = (subscription: SubscriptionState) => describeSubscription(subscription, state, context);
  const subscriptions = state.subscriptions.map(describe);
  const grants = state.grants.map(describe);
  const sandbox = state.sandbox.map(describe);
  const primary = [...subscriptions, ...grants].find(
    // A stored state was parsed from JSON: its primary is another object.
    ({ subscription }) => subscription.key === state.primary?.key,
  );
  // A paused subscription charges again, so it counts as much as one that gives access.
  const running = subscriptions.filter(({ subscription }) => isRunning(subscription));
  const main = running[0] ?? primary;
  const paid = state.paid.filter((money) => money.amountMinor > 0);
  return {
    status: state.status,
    statements:
      main === undefined ? withoutSubscription(state, context) : overview(running, main, state, context),
    shown: running.length > 1 ? running : main ? [main] : sandbox.slice(0, 1),
    subscriptions,
    grants,
    sandbox,
    primary: primary ?? null,
    nextCharge: firstCharge(running),
    paid,
    paidSinceMs: paid.length === 0 ? null : state.firstPaidAtMs,
    movedTo: state.movedTo,
  };
}

function overview(
  running: readonly SubscriptionDescription[],
  main: SubscriptionDescription,
  state: SubscriberState,
  context: DescriptionContext,
): Statement[] {
  const { nowMs } = context;
  const isSingle = running.length < 2;
  const failed = state.subscriptions.filter(
    (subscription) =>
      isPaymentFailing(subscription, nowMs) && !(isSingle && subscription === main.subscription),
  );
  const shown = isSingle ? [main] : running;
  return [
    ...failed.map((subscription) => paymentFailed(subscription, context)),
    ...(isSingle ? main.statements : [several(running, context)]),
    ...alsoGranted(shown, state, context),
    ...state.subscriptions
      .filter((subscription) => subscription.isIncomplete && subscription !== main.subscription)
      .map((subscription) => incomplete(subscription, context)),
    ...moved(state, true),
  ];
}

function withoutSubscription(state: SubscriberState, context: DescriptionContext): Statement[] {
  const [unpaid] = state.subscriptions;
  if (unpaid) return [incomplete(unpaid, context), ...moved(state, false)];
  const { counts } = context;
  const isSandbox =
    state.sandbox.length > 0 || (counts !== undefined && counts.sandbox > 0 && counts.production === 0);
  if (state.firstPurchaseAtMs !== null)
    return [{ kind: 'nothing', why: 'one_time_only' }, ...moved(state, true)];
  if (state.movedTo !== null) return moved(state, false);
  return [{ kind: 'nothing', why: isSandbox ? 'sandbox_only' : 'no_purchases' }];
}

/** Where purchases went, unless something newer was bought since. @param isPartial something stayed */
function moved({ movedTo, subscriptions }: SubscriberState, isPartial: boolean): OwnStatement[] {
  if (movedTo === null) return [];
  const isSuperseded = subscriptions.some(
    ({ givesAccess, startedAtMs }) => givesAccess && (startedAtMs ?? 0) > movedTo.atMs,
  );
  return isSuperseded ? [] : [{ kind: 'moved', on: movedTo.atMs, store: isPartial ? movedTo.store : null }];
}

function describeSubscription(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): SubscriptionDescription {
  const { names, nowMs } = context;
  const isFailing = isPaymentFailing(subscription, nowMs);
  return {
    subscription,
    what: entitlementOrProduct(subscription, names),
    product: productOf(subscription, names),
    label: labelOf(subscription, nowMs),
    statements: ownStatements(subscription, state, context),
    price: priceOf(subscription),
    nextCharge: chargeOf(subscription, nowMs),
    end: endOf(subscription, nowMs),
    tone: !isRunning(subscription)
      ? 'ended'
      : isFailing || subscription.status === 'paused' || subscription.awaitsPriceConsent
        ? 'warn'
        : 'good',
  };
}

function isRunning({ givesAccess, status }: SubscriptionState): boolean {
  return givesAccess || status === 'paused';
}

/** Whether the store still tries to collect a payment that failed: with access (grace) or without. */
export function isPaymentFailing(subscription: SubscriptionState, nowMs: number): boolean {
  const { status, cancelReason, billingIssueAtMs, isFamilyShare } = subscription;
  if (isFamilyShare || billingIssueAtMs === null) return false;
  if (status === 'grace_period' || status === 'grace_period_trial') return true;
  // The store has given up renewing because the card failed, which is not a cancellation by the customer.
  if (status === 'cancelled' || status === 'cancelled_trial') return cancelReason === 'BILLING_ERROR';
  return status === 'expired' && isRetrying(subscription, nowMs);
}

function isRetrying(subscription: SubscriptionState, nowMs: number): boolean {
  const { billingIssueAtMs, expirationReason, cancelReason, refundedAtMs } = subscription;
  return (
    refundedAtMs === null &&
    billingIssueAtMs !== null &&
    nowMs - billingIssueAtMs < BILLING_RETRY_MS &&
    (expirationReason ?? cancelReason ?? 'BILLING_ERROR') === 'BILLING_ERROR'
  );
}

function labelOf(subscription: SubscriptionState, nowMs: number): StatusLabel {
  if (subscription.isIncomplete) return 'incomplete';
  if (subscription.awaitsPriceConsent && subscription.givesAccess) return 'price_consent';
  if (subscription.status === 'expired' && isPaymentFailing(subscription, nowMs)) return 'billing_retry';
  return subscription.status;
}

/** The next time that this customer's own money is collected; a family share is charged to somebody else. */
function chargeOf(subscription: SubscriptionState, nowMs: number): Charge | null {
  const { isFamilyShare, pausedAtMs, resumesAtMs, willRenew, givesAccess, endsAtMs } = subscription;
  if (isFamilyShare) return null;
  if (pausedAtMs !== null) return upcoming(isRunning(subscription) ? resumesAtMs : null, subscription, nowMs);
  if (!willRenew || !givesAccess || isPaymentFailing(subscription, nowMs)) return null;
  return upcoming(isForever(endsAtMs) ? null : endsAtMs, subscription, nowMs);
}

function upcoming(atMs: At, subscription: SubscriptionState, nowMs: number): Charge | null {
  if (atMs === null || atMs <= nowMs) return null;
  const { price, periodType, pendingProductId } = subscription;
  // An introductory price ends, and another product has another price.
  const isKnown = periodType !== 'INTRO' && pendingProductId === null && (price?.amountMinor ?? 0) > 0;
  return { atMs, sum: isKnown ? price : null };
}

function firstCharge(running: readonly SubscriptionDescription[]): Charge | null {
  const charges = running.flatMap(({ nextCharge }) => (nextCharge === null ? [] : [nextCharge]));
  return charges.sort((a, b) => a.atMs - b.atMs)[0] ?? null;
}

function endOf(subscription: SubscriptionState, nowMs: number): End | null {
  const { status, resumesAtMs, givesAccess, expiredAtMs, accessEndsAtMs, endsAtMs } = subscription;
  if (subscription.isIncomplete) return null;
  if (status === 'paused' && resumesAtMs !== null && resumesAtMs > nowMs)
    return { label: 'resumes', atMs: resumesAtMs };
  if (!givesAccess) return expiredAtMs === null ? null : { label: 'ended', atMs: expiredAtMs };
  const renews = subscription.willRenew && !isPaymentFailing(subscription, nowMs);
  if (renews) return endsAtMs === null || endsAtMs <= nowMs ? null : { label: 'renews', atMs: endsAtMs };
  return { label: 'ends', atMs: endDate(accessEndsAtMs) };
}

/** A date to say; `null` for an end that is far away. */
function endDate(endsAtMs: At): At {
  return isForever(endsAtMs) ? null : endsAtMs;
}

function ownStatements(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): OwnStatement[] {
  const { names } = context;
  const { pendingProductId, refundedAtMs, givesAccess } = subscription;
  const first = mainStatement(subscription, state, context);
  const renews = first.kind === 'active' || first.kind === 'intro' || first.kind === 'trial';
  return [
    first,
    ...(renews && pendingProductId !== null
      ? [{ kind: 'pendingChange' as const, product: productLabel(pendingProductId, names) }]
      : []),
    // Google gives money back without ending the subscription.
    ...(refundedAtMs !== null && givesAccess
      ? [{ kind: 'refundedInPart' as const, on: refundedAtMs, sum: subscription.refund }]
      : []),
  ];
}

function mainStatement(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): OwnStatement {
  const what = entitlementOrProduct(subscription, context.names);
  const { status, givesAccess, accessEndsAtMs, expiredAtMs } = subscription;
  const until = endDate(accessEndsAtMs);
  if (subscription.isIncomplete) return incomplete(subscription, context);
  if (subscription.isFamilyShare) {
    return givesAccess
      ? { kind: 'family', what, until }
      : { kind: 'familyEnded', what, since: endDate(expiredAtMs) };
  }
  if (givesAccess && isPaymentFailing(subscription, context.nowMs)) {
    return { kind: 'grace', what, on: failedAtMs(subscription, context), until, store: subscription.store };
  }
  switch (status) {
    case 'trial':
      return { kind: 'trial', what, until, price: priceOf(subscription) };
    case 'cancelled_trial':
      return { kind: 'trialCancelled', what, until: outlastedEnd(subscription, state, context) };
    case 'cancelled':
      return {
        kind: 'cancelled',
        what,
        on: subscription.cancelledAtMs,
        until: outlastedEnd(subscription, state, context),
      };
    case 'promotional':
      return { kind: 'granted', what, by: context.grantedBy?.(subscription) ?? null, until };
    case 'expired_promotional': {
      const hasPaid = state.paid.length > 0 || state.lifetimeValueUsdCents > 0;
      return { kind: 'grantEnded', what, since: expiredAtMs, paid: hasPaid ? 'ever' : 'never' };
    }
    case 'paused': {
      const charge = chargeOf(subscription, context.nowMs);
      const { pausedAtMs } = subscription;
      return {
        kind: 'paused',
        what,
        since: pausedAtMs,
        resumes: charge?.atMs ?? null,
        sum: charge?.sum ?? null,
      };
    }
    case 'expired':
      return ended(subscription, what);
    default:
      return running(subscription, what, context);
  }
}

function running(subscription: SubscriptionState, what: string, context: DescriptionContext): OwnStatement {
  const until = endDate(subscription.accessEndsAtMs);
  const price = priceOf(subscription);
  if (subscription.awaitsPriceConsent) return { kind: 'priceConsent', what, price, until };
  if (subscription.pausedAtMs !== null)
    return { kind: 'willPause', what, until, resumes: subscription.resumesAtMs };
  if (subscription.isTemporary) return { kind: 'temporary', what, until };
  const { status, willRenew } = subscription;
  const next = chargeOf(subscription, context.nowMs)?.atMs ?? null;
  if (status === 'intro') return { kind: 'intro', what, price, next };
  return willRenew ? { kind: 'active', what, price, next } : { kind: 'bought', what, until };
}

function ended(subscription: SubscriptionState, what: string): OwnStatement {
  const { refundedAtMs, refund, expiredAtMs } = subscription;
  if (refundedAtMs !== null) {
    const endedWithIt = expiredAtMs === null || Math.abs(expiredAtMs - refundedAtMs) < DAY_MS;
    return { kind: 'refunded', what, on: refundedAtMs, sum: refund, since: endedWithIt ? null : expiredAtMs };
  }
  const reason = endReason(subscription);
  return { kind: 'expired', what, since: expiredAtMs, reason, price: priceOf(subscription) };
}

const END_REASONS: ReadonlySet<string> = new Set<EndReason>([
  'UNSUBSCRIBE',
  'BILLING_ERROR',
  'DEVELOPER_INITIATED',
  'PRICE_INCREASE',
  'CUSTOMER_SUPPORT',
  'SUBSCRIPTION_PAUSED',
]);

/** `null`: unknown, or nothing to end. A store's cancellation of a paid period is not a failed payment. */
export function endReason(subscription: SubscriptionState): EndReason | null {
  const { expirationReason, cancelReason, billingIssueAtMs, isOneTime } = subscription;
  const reason = expirationReason ?? cancelReason ?? (billingIssueAtMs === null ? null : 'BILLING_ERROR');
  if (isOneTime || reason === null || !END_REASONS.has(reason)) return null;
  if (reason === 'BILLING_ERROR' && cancelReason === 'BILLING_ERROR' && billingIssueAtMs === null)
    return 'UNSUBSCRIBE';
  return reason as EndReason;
}

function paymentFailed(subscription: SubscriptionState, context: DescriptionContext): Statement {
  return {
    kind: 'paymentFailed',
    what: entitlementOrProduct(subscription, context.names),
    on: failedAtMs(subscription, context),
    since: subscription.givesAccess ? null : subscription.expiredAtMs,
  };
}

function failedAtMs(subscription: SubscriptionState, { nowMs }: DescriptionContext): number {
  return subscription.billingIssueAtMs ?? subscription.cancelledAtMs ?? subscription.endsAtMs ?? nowMs;
}

function incomplete(subscription: SubscriptionState, context: DescriptionContext): OwnStatement {
  return { kind: 'incomplete', what: entitlementOrProduct(subscription, context.names) };
}

/** The end of what was cancelled is not the end of access where a grant lasts longer. */
function outlastedEnd(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): At {
  const { names } = context;
  const isOutlasted = state.grants.some(
    (grant) =>
      grant.givesAccess &&
      entitlementOrProduct(grant, names) === entitlementOrProduct(subscription, names) &&
      outlasts(grant, subscription),
  );
  return isOutlasted ? null : endDate(subscription.accessEndsAtMs);
}

function outlasts(one: SubscriptionState, other: SubscriptionState): boolean {
  const end = ({ accessEndsAtMs }: SubscriptionState) => accessEndsAtMs ?? Number.POSITIVE_INFINITY;
  return end(one) > end(other);
}

/** A grant beside what is shown: of something else, or for longer. One at most. */
function alsoGranted(
  shown: readonly SubscriptionDescription[],
  state: SubscriberState,
  { names }: DescriptionContext,
): Statement[] {
  const also = state.grants.find(
    (grant) =>
      grant.givesAccess &&
      shown.every(
        ({ subscription, what }) =>
          subscription !== grant &&
          (what !== entitlementOrProduct(grant, names) || outlasts(grant, subscription)),
      ),
  );
  if (!also) return [];
  const what = entitlementOrProduct(also, names);
  return [{ kind: 'alsoGranted', what, until: endDate(also.accessEndsAtMs) }];
}

function several(running: readonly SubscriptionDescription[], context: DescriptionContext): Statement {
  const next = firstCharge(running);
  const mayCharge = running.some(
    ({ subscription }) =>
      !subscription.isFamilyShare &&
      (subscription.willRenew || subscription.status === 'paused' || subscription.pausedAtMs !== null),
  );
  return {
    kind: 'several',
    items: running.slice(0, MAX_ITEMS).map(({ subscription, what }) => ({
      what,
      period: periodOf(subscription),
      store: subscription.store,
      note: noteOf(subscription, context),
    })),
    more: Math.max(0, running.length - MAX_ITEMS),
    next: next?.atMs ?? null,
    sum: next?.sum ?? null,
    charges: mayCharge ? 'again' : 'never',
  };
}

function noteOf(subscription: SubscriptionState, { names, nowMs }: DescriptionContext): ItemNote | null {
  const { status, pendingProductId, pausedAtMs, resumesAtMs } = subscription;
  const note = (kind: ItemNote['kind'], at: At = null, product: string | null = null): ItemNote => ({
    kind,
    at,
    product,
  });
  const until = endDate(subscription.accessEndsAtMs);
  if (subscription.isFamilyShare) return note('family');
  if (isPaymentFailing(subscription, nowMs)) return null;
  if (status === 'paused') return note('paused', resumesAtMs);
  if (status === 'cancelled') return note('cancelled', until);
  if (status === 'cancelled_trial') return note('trialCancelled', until);
  if (subscription.awaitsPriceConsent) return note('priceConsent', until);
  if (pausedAtMs !== null) return note('willPause', until);
  if (status === 'trial') return note('trial', until);
  if (pendingProductId !== null) return note('pendingChange', null, productLabel(pendingProductId, names));
  if (subscription.isTemporary) return note('temporary', until);
  return subscription.willRenew ? null : note('bought', until);
}
