import { DAY_MS, isForever } from '../time.ts';
import { type Period, type Price, priceOf } from './money.ts';
import { entitlementOrProduct, type Names, productName, productOf } from './names.ts';
import { isTemporaryPrice, knownTime, sharesEntitlement } from './state-builder.ts';
import type { Money, SubscriberState, SubscriptionState, SubscriptionStatus } from './types.ts';

/** Epoch ms; `null`: unknown, or not shown. */
type At = number | null;

/**
 * One sentence as data. Its message is `sentence.agent.<kind>`, for the customer `sentence.customer.<kind>`, and the
 * other fields are its values. Names are display names; `null`: unknown, and the sentence leaves the value out.
 */
export type Statement =
  | { kind: 'active' | 'intro'; what: string; price: Price | null; next: At }
  | { kind: 'trial' | 'priceConsent'; what: string; price: Price | null; until: At }
  | { kind: 'family' | 'temporary' | 'prepaid'; what: string; until: At }
  /** `charges` covers everything that the customer has; `until` of `bought` is `null` for a lifetime purchase. */
  | { kind: 'trialCancelled' | 'bought'; what: string; until: At; charges: 'again' | 'never' }
  | { kind: 'cancelled'; what: string; on: At; until: At; charges: 'again' | 'never' }
  | { kind: 'willPause'; what: string; until: At; resumes: At }
  | { kind: 'paused'; what: string; since: At; resumes: At; sum: Money | null }
  | { kind: 'grace'; what: string; on: At; until: At; store: string | null }
  /** `starts` is `null` if only the first payment is awaited. */
  | { kind: 'incomplete'; what: string; starts: At }
  | { kind: 'expired'; what: string; since: At; reason: EndReason | null; price: Price | null }
  | { kind: 'trialEnded'; what: string; since: At; reason: EndReason | null }
  | { kind: 'familyEnded'; what: string; since: At }
  /** `since` is `null` if access ended with the refund, or at an unknown time. */
  | { kind: 'refunded'; what: string; on: At; sum: Money | null; since: At }
  | { kind: 'refundedInPart'; on: number; sum: Money | null }
  | { kind: 'granted'; what: string; by: string | null; until: At }
  /** An active entitlement whose purchase is unknown. */
  | { kind: 'listed'; what: string; until: At }
  | { kind: 'grantEnded'; what: string; since: At; paid: 'ever' | 'never' }
  | { kind: 'pendingChange'; product: string | null }
  | { kind: 'moved'; on: number; store: string | null }
  /** Purchases that came from another customer and are unknown here. */
  | { kind: 'received'; on: number }
  | { kind: 'nothing'; why: 'no_purchases' | 'one_time_only' | 'sandbox_only' | 'unknown' }
  // Only agents read these: a customer sees each subscription with its own sentence.
  | { kind: 'alsoGranted'; what: string; until: At }
  /** `since` is the end of access; `null` while access lasts. */
  | { kind: 'paymentFailed'; what: string; on: At; since: At }
  /** `charges` is `never` if nothing will be charged again. */
  | {
      kind: 'several';
      items: readonly SeveralItem[];
      more: number;
      next: At;
      sum: Money | null;
      charges: 'again' | 'never';
    };

/** One of several subscriptions: its name, followed by the other fields in parentheses. */
export interface SeveralItem {
  readonly what: string;
  readonly period: Period | null;
  readonly store: string | null;
  /** The statement whose short form is the message `sentence.note.<kind>`. */
  readonly note: Statement | null;
}

const END_REASONS = [
  'UNSUBSCRIBE',
  'BILLING_ERROR',
  'DEVELOPER_INITIATED',
  'PRICE_INCREASE',
  'CUSTOMER_SUPPORT',
  'SUBSCRIPTION_PAUSED',
] as const;

type EndReason = (typeof END_REASONS)[number];

export type StatusLabel = SubscriptionStatus | 'billing_retry' | 'incomplete' | 'price_consent' | 'scheduled';

export interface Charge {
  readonly atMs: number;
  /** `null`: RevenueCat does not say what the next period costs. */
  readonly sum: Money | null;
}

/** The table row that says when a subscription renews or ends. `atMs` is `null` for never. */
export interface End {
  readonly label: 'renews' | 'ends' | 'ended' | 'resumes';
  readonly atMs: At;
}

export type SubscriptionDescription = Readonly<ReturnType<typeof describeSubscription>>;

export interface DescriptionContext {
  readonly names: Names;
  readonly nowMs: number;
  /** The teammate who made a grant; `null`: it was made elsewhere. */
  readonly grantedBy?: (grant: SubscriptionState) => string | null;
}

/** @param state says what else the customer has, such as a grant of the same entitlement */
export function describeSubscription(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
) {
  const { names, nowMs } = context;
  return {
    subscription,
    /** The entitlement's name, else the product's; `''`: neither is known. */
    what: entitlementOrProduct(subscription, names),
    /** `''`: a grant, or unknown. */
    product: productOf(subscription, names),
    label: labelOf(subscription, state, nowMs),
    /** One to three sentences about this subscription alone. */
    statements: statementsOf(subscription, state, context),
    price: priceOf(subscription),
    nextCharge: chargeOf(subscription, nowMs),
    /** `null`: unknown. */
    end: endOf(subscription, nowMs),
    tone: toneOf(subscription, state, nowMs),
  };
}

/** Whether something needs the customer's or the agent's attention. */
function toneOf(
  subscription: SubscriptionState,
  state: SubscriberState,
  nowMs: number,
): 'good' | 'warn' | 'ended' {
  if (!isRunning(subscription) || isReplaced(subscription, state)) return 'ended';
  const { status, awaitsPriceConsent } = subscription;
  return status === 'paused' || awaitsPriceConsent || isPaymentFailing(subscription, nowMs) ? 'warn' : 'good';
}

/** A paused subscription charges again, so it counts as much as one that gives access. */
function isRunning({ givesAccess, status }: SubscriptionState): boolean {
  return givesAccess || status === 'paused';
}

/**
 * Whether a newer subscription of the same store continues what a cancelled one gives. After a change of plan or a new
 * subscription, Google's old purchase may keep its end: "Pro is cancelled" is wrong for a customer whose Pro renews.
 */
function isReplaced(old: SubscriptionState, { subscriptions }: SubscriberState): boolean {
  return (
    ['cancelled', 'cancelled_trial'].includes(old.status) &&
    old.entitlements.length > 0 &&
    subscriptions.some(
      (other) =>
        other.store === old.store &&
        other.willRenew &&
        other.isFamilyShare === old.isFamilyShare &&
        (other.startedAtMs ?? 0) > (old.startedAtMs ?? 0) &&
        old.entitlements.every((key) => other.entitlements.includes(key)) &&
        outlasts(other, old),
    )
  );
}

/** Apple retries a card for 60 days after the period's end, Google for up to 60 days on account hold. */
const BILLING_RETRY_MS = 60 * DAY_MS;

/** Whether the store still retries a failed payment, with access (grace period) or without. */
export function isPaymentFailing(subscription: SubscriptionState, nowMs: number): boolean {
  const { status, cancelReason, expirationReason, cancelledAtMs, billingIssueAtMs, isFamilyShare } =
    subscription;
  if (isFamilyShare || billingIssueAtMs === null) return false;
  if (status === 'grace_period' || status === 'grace_period_trial') return true;
  return (
    status === 'expired' &&
    !isRefundTheEnd(subscription) &&
    // Cancelling ends the retries. Source: Apple, "Subscription events", canceled from billing retry.
    (cancelledAtMs === null || cancelledAtMs < billingIssueAtMs) &&
    nowMs - billingIssueAtMs < BILLING_RETRY_MS &&
    (expirationReason ?? cancelReason ?? 'BILLING_ERROR') === 'BILLING_ERROR'
  );
}

/** Whether a refund ended access. If not, a failed payment may end it later; after a partial refund, anything may. */
function isRefundTheEnd(subscription: SubscriptionState): boolean {
  if (!hasGivenBack(subscription)) return false;
  const { expirationReason, expiredAtMs, billingIssueAtMs, refundedAtMs, isRefundedInPart } = subscription;
  if (expirationReason === 'CUSTOMER_SUPPORT' || (expiredAtMs ?? 0) <= refundedAtMs) return true;
  const hasFailedSince = expirationReason === null && (billingIssueAtMs ?? 0) > refundedAtMs;
  return !isRefundedInPart && !hasFailedSince && expirationReason !== 'BILLING_ERROR';
}

/** Whether money was given back: the refund of a free trial returns none. */
function hasGivenBack(
  subscription: SubscriptionState,
): subscription is SubscriptionState & { readonly refundedAtMs: number } {
  const { refundedAtMs, refund, periodType } = subscription;
  return refundedAtMs !== null && (periodType !== 'TRIAL' || refund !== null);
}

/** When a scheduled subscription starts; `null`: only its first payment is awaited. */
function scheduledStart({ periodStartedAtMs: startMs }: SubscriptionState, nowMs: number): number | null {
  return startMs !== null && startMs > nowMs ? startMs : null;
}

function labelOf(subscription: SubscriptionState, state: SubscriberState, nowMs: number): StatusLabel {
  if (subscription.isIncomplete)
    return scheduledStart(subscription, nowMs) === null ? 'incomplete' : 'scheduled';
  if (subscription.awaitsPriceConsent && subscription.givesAccess) return 'price_consent';
  const isRetried = isPaymentFailing(subscription, nowMs) && !isBoughtAgain(subscription, state);
  return subscription.status === 'expired' && isRetried ? 'billing_retry' : subscription.status;
}

/** The next charge to this customer; a family share is charged to another person. */
export function chargeOf(subscription: SubscriptionState, nowMs: number): Charge | null {
  const { pausedAtMs, resumesAtMs, willRenew, givesAccess, endsAtMs } = subscription;
  const { pendingProductId, isFamilyShare } = subscription;
  if (isFamilyShare) return null;
  const isRenewed =
    willRenew && givesAccess && !isForever(endsAtMs) && !isPaymentFailing(subscription, nowMs);
  // A paused subscription charges when it resumes.
  const isCharged = pausedAtMs === null ? isRenewed : isRunning(subscription);
  const atMs = pausedAtMs === null ? endsAtMs : resumesAtMs;
  if (!isCharged || atMs === null || atMs <= nowMs) return null;
  // Another product has another price.
  const isKnown = !isTemporaryPrice(subscription) && pendingProductId === null;
  return { atMs, sum: isKnown ? (priceOf(subscription)?.money ?? null) : null };
}

/** @returns `null`: unknown */
export function endOf(subscription: SubscriptionState, nowMs: number): End | null {
  const { status, resumesAtMs, givesAccess, expiredAtMs, endsAtMs, isEndKnown } = subscription;
  if (subscription.isIncomplete) return null;
  if (status === 'paused' && resumesAtMs !== null && resumesAtMs > nowMs)
    return { label: 'resumes', atMs: resumesAtMs };
  if (!givesAccess) return expiredAtMs === null ? null : { label: 'ended', atMs: expiredAtMs };
  const renews = subscription.willRenew && !isPaymentFailing(subscription, nowMs);
  // After the period, access lasts as long as the grace period, even if another family member's payment is failing.
  if (!renews || (endsAtMs !== null && endsAtMs <= nowMs))
    return isEndKnown ? { label: 'ends', atMs: accessEndDate(subscription) } : null;
  return isForever(endsAtMs) ? null : { label: 'renews', atMs: endsAtMs };
}

/** When access ends; `null`: never, or unknown. */
export function accessEndDate({ accessEndsAtMs, isEndKnown }: SubscriptionState): At {
  return isEndKnown ? endDate(accessEndsAtMs) : null;
}

/** A date to show; `null`: it never ends. */
export function endDate(endsAtMs: At): At {
  return isForever(endsAtMs) ? null : endsAtMs;
}

function statementsOf(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): Statement[] {
  const { pendingProductId, givesAccess, refund } = subscription;
  const statements = [mainStatement(subscription, state, context)];
  const renews = ['active', 'intro', 'trial'].includes(statements[0]?.kind ?? '');
  if (renews && pendingProductId !== null)
    statements.push({ kind: 'pendingChange', product: productName(pendingProductId, context.names) });
  // Google's refunds and partial refunds do not end a subscription.
  if (givesAccess && hasGivenBack(subscription))
    statements.push({ kind: 'refundedInPart', on: subscription.refundedAtMs, sum: refund });
  return statements;
}

function mainStatement(
  subscription: SubscriptionState,
  state: SubscriberState,
  context: DescriptionContext,
): Statement {
  const { status, store, givesAccess, expiredAtMs, pendingProductId } = subscription;
  const { names, nowMs } = context;
  const what = entitlementOrProduct(subscription, names);
  const until = accessEndDate(subscription);
  const price = priceOf(subscription);
  const { atMs: next = null, sum = null } = chargeOf(subscription, nowMs) ?? {};
  if (subscription.isIncomplete)
    return { kind: 'incomplete', what, starts: scheduledStart(subscription, nowMs) };
  if (subscription.isFamilyShare) {
    const end = endOf(subscription, nowMs);
    return givesAccess
      ? { kind: 'family', what, until: end?.label === 'ends' ? end.atMs : null }
      : { kind: 'familyEnded', what, since: endDate(expiredAtMs) };
  }
  // The end of a cancelled or unpaid subscription is not the end of access if something else lasts longer.
  const ownEnd = isOutlasted(subscription, state) ? null : until;
  const charges = chargesOf(state, nowMs);
  if (givesAccess && isPaymentFailing(subscription, nowMs)) {
    const on = knownTime(subscription.billingIssueAtMs, state.snapshotAtMs);
    return { kind: 'grace', what, on, until: ownEnd, store };
  }
  switch (status) {
    case 'cancelled_trial':
      return { kind: 'trialCancelled', what, until: ownEnd, charges };
    case 'cancelled':
      return { kind: 'cancelled', what, on: subscription.cancelledAtMs, until: ownEnd, charges };
    case 'promotional':
      return { kind: 'granted', what, by: context.grantedBy?.(subscription) ?? null, until };
    case 'expired_promotional':
      return { kind: 'grantEnded', what, since: expiredAtMs, paid: hasNeverPaid(state) ? 'never' : 'ever' };
    case 'paused': {
      const since = knownTime(subscription.pausedAtMs, state.snapshotAtMs);
      return { kind: 'paused', what, since, resumes: next, sum };
    }
    case 'expired':
      return endedStatement(subscription, state, what);
    default:
  }
  if (subscription.awaitsPriceConsent) return { kind: 'priceConsent', what, price, until };
  if (subscription.pausedAtMs !== null) {
    const { resumesAtMs: resumes } = subscription;
    return { kind: 'willPause', what, until, resumes: resumes !== null && resumes > nowMs ? resumes : null };
  }
  if (subscription.isTemporary) return { kind: 'temporary', what, until };
  // Another product has another price.
  if (status === 'trial')
    return { kind: 'trial', what, until, price: pendingProductId === null ? price : null };
  if (status === 'intro') return { kind: 'intro', what, price, next };
  if (subscription.willRenew) return { kind: 'active', what, price, next };
  // A pass that RevenueCat still lists after its end has an unknown end: it is not for life.
  if (subscription.periodType === 'PREPAID' || !subscription.isEndKnown)
    return { kind: 'prepaid', what, until };
  return { kind: 'bought', what, until, charges };
}

/** Whether anything that a customer has or had may be charged to them again. */
export function chargesOf(state: SubscriberState, nowMs: number): 'again' | 'never' {
  const mayCharge = state.subscriptions.some(
    (each) =>
      !each.isFamilyShare &&
      (each.willRenew ||
        each.isIncomplete ||
        (isPaymentFailing(each, nowMs) && !isBoughtAgain(each, state)) ||
        ((each.pausedAtMs !== null || each.awaitsPriceConsent || each.isTemporary) && isRunning(each))),
  );
  return mayCharge ? 'again' : 'never';
}

/**
 * Whether a newer subscription of the same store replaced one that ended with a failed payment. A one-time purchase
 * does not replace it: the store still retries the payment.
 */
export function isBoughtAgain(failed: SubscriptionState, { subscriptions }: SubscriberState): boolean {
  const { store, billingIssueAtMs, givesAccess, isFamilyShare } = failed;
  return (
    !givesAccess &&
    subscriptions.some(
      (other) =>
        other.store === store &&
        !other.isOneTime &&
        other.isFamilyShare === isFamilyShare &&
        (other.startedAtMs ?? 0) > (billingIssueAtMs ?? 0) &&
        sharesEntitlement(other, failed),
    )
  );
}

/** Whether everything was free. Other purchases count as paid: prices may be unknown, and moved ones are not listed. */
function hasNeverPaid({ paid, movedTo, subscriptions, consumables }: SubscriberState): boolean {
  const isFree = ({ isFamilyShare, periodType }: SubscriptionState) =>
    isFamilyShare || periodType === 'TRIAL';
  return paid.length === 0 && movedTo === null && [...subscriptions, ...consumables].every(isFree);
}

function endedStatement(
  subscription: SubscriptionState,
  { snapshotAtMs }: SubscriberState,
  what: string,
): Statement {
  const { refundedAtMs, refund: sum, expiredAtMs: since, periodType } = subscription;
  if (!isRefundTheEnd(subscription)) {
    const reason = endReason(subscription);
    if (periodType === 'TRIAL') return { kind: 'trialEnded', what, since, reason };
    return { kind: 'expired', what, since, reason, price: priceOf(subscription) };
  }
  const on = knownTime(refundedAtMs, snapshotAtMs);
  const endedWithIt = on !== null && since !== null && Math.abs(since - on) < DAY_MS;
  return { kind: 'refunded', what, on, sum, since: endedWithIt ? null : since };
}

/** `null`: unknown, or nothing that would renew. If the store cancelled a paid period, no payment failed. */
function endReason(subscription: SubscriptionState): EndReason | null {
  const { expirationReason, cancelReason, billingIssueAtMs, periodType, isOneTime } = subscription;
  if (isOneTime || (periodType === 'PREPAID' && expirationReason === 'UNSUBSCRIBE')) return null;
  const reason = expirationReason ?? cancelReason ?? (billingIssueAtMs === null ? null : 'BILLING_ERROR');
  if (periodType === 'TRIAL' && reason === 'CUSTOMER_SUPPORT') return null;
  if (reason === 'BILLING_ERROR' && cancelReason === 'BILLING_ERROR' && billingIssueAtMs === null)
    return 'UNSUBSCRIBE';
  return END_REASONS.find((each) => each === reason) ?? null;
}

/** Whether a grant or a one-time purchase gives what the subscription is named after for longer. */
function isOutlasted(subscription: SubscriptionState, { grants, subscriptions }: SubscriberState): boolean {
  const [key = ''] = subscription.entitlements;
  return [...grants, ...subscriptions.filter(({ isOneTime }) => isOneTime)].some(
    (other) => other.givesAccess && other.entitlements.includes(key) && outlasts(other, subscription),
  );
}

export function outlasts(one: SubscriptionState, other: SubscriptionState): boolean {
  const end = ({ accessEndsAtMs }: SubscriptionState) => accessEndsAtMs ?? Number.POSITIVE_INFINITY;
  return !one.isIncomplete && end(one) > end(other);
}
