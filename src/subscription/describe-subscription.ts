import { DAY_MS, isForever } from '../time.ts';
import type {
  At,
  Charge,
  DescriptionContext,
  End,
  EndReason,
  ItemNote,
  OwnStatement,
  Statement,
  StatusLabel,
  SubscriptionDescription,
} from './customer-description.ts';
import { priceOf } from './money.ts';
import { entitlementOrProduct, productLabel, productOf } from './names.ts';
import type { SubscriberState, SubscriptionState } from './types.ts';

/** Apple retries a card for 60 days after the period's end, Google for up to 60 days on account hold. */
const BILLING_RETRY_MS = 60 * DAY_MS;

export function describeSubscription(
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

export function isRunning({ givesAccess, status }: SubscriptionState): boolean {
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

/** The next time that this customer's own money is collected; a family share is charged to another person. */
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

function upcomingTime(atMs: At, { nowMs }: DescriptionContext): At {
  return atMs !== null && atMs > nowMs ? atMs : null;
}

/** A date to say; `null` for an end that is far away. */
export function endDate(endsAtMs: At): At {
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
    return { kind: 'willPause', what, until, resumes: upcomingTime(subscription.resumesAtMs, context) };
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

/** @param state says whether something else, such as a grant, still gives the same entitlement */
export function paymentFailed(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): Statement {
  const isCovered = state.entitlements.some(({ lookupKey }) => subscription.entitlements.includes(lookupKey));
  return {
    kind: 'paymentFailed',
    what: entitlementOrProduct(subscription, context.names),
    on: failedAtMs(subscription, context),
    since: subscription.givesAccess || isCovered ? null : subscription.expiredAtMs,
  };
}

function failedAtMs(subscription: SubscriptionState, { nowMs }: DescriptionContext): number {
  return subscription.billingIssueAtMs ?? subscription.cancelledAtMs ?? subscription.endsAtMs ?? nowMs;
}

export function incomplete(subscription: SubscriptionState, context: DescriptionContext): OwnStatement {
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

export function outlasts(one: SubscriptionState, other: SubscriptionState): boolean {
  const end = ({ accessEndsAtMs }: SubscriptionState) => accessEndsAtMs ?? Number.POSITIVE_INFINITY;
  return end(one) > end(other);
}

export function noteOf(
  subscription: SubscriptionState,
  { names, nowMs }: DescriptionContext,
): ItemNote | null {
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
