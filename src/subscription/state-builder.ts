import { compareTexts } from '../text.ts';
import { MINUTE_MS } from '../time.ts';
import { isGrant } from './kinds.ts';
import type { LifecycleEvent } from './read-event.ts';
import type { Environment, Money, SubscriptionState, SubscriptionStatus } from './types.ts';

/** A `SubscriptionState` while its events are applied in order. */
export type StateBuilder = ReturnType<typeof emptyBuilder>;

/** A sum in the currency paid and in US cents, either of which RevenueCat may leave out. */
export interface Sum {
  readonly price: Money | null;
  readonly usdCents: number | null;
}

/** Whether the next period may cost something else: an offer ends, or the customer agreed to pay more. */
export function isTemporaryPrice(
  subscription: Pick<SubscriptionState, 'periodType' | 'isOnePeriodPrice' | 'isPriceRising'>,
): boolean {
  return subscription.periodType === 'INTRO' || subscription.isOnePeriodPrice || subscription.isPriceRising;
}

/** Fields that a new period resets. */
export const NEW_PERIOD = {
  /** Access ended before or at the period's end: expiration, refund, removal. */
  endedAtMs: null as number | null,
  /** Until when RevenueCat's `gives_access` overrules an end that has passed. */
  trustedUntilMs: null as number | null,
  cancelledAtMs: null as number | null,
  cancelReason: null as string | null,
  expirationReason: null as string | null,
  billingIssueAtMs: null as number | null,
  gracePeriodEndsAtMs: null as number | null,
  pausedAtMs: null as number | null,
  resumesAtMs: null as number | null,
  refundedAtMs: null as number | null,
  isRefundedInPart: false,
  /** The sum of the last refund. A reversal without a sum restores it. */
  refunded: null as Sum | null,
  /** How access had ended before the refund. A reversal restores it. */
  beforeRefund: null as { endedAtMs: number | null; expirationReason: string | null } | null,
};

export function sharesEntitlement(
  one: Pick<SubscriptionState, 'entitlements'>,
  other: Pick<SubscriptionState, 'entitlements'>,
): boolean {
  return one.entitlements.some((key) => other.entitlements.includes(key));
}

/** An absent environment counts as production: old events have none. */
export function environmentOf(event: LifecycleEvent): Environment {
  return event.environment ?? 'production';
}

/** The entitlement that a grant gives. RevenueCat names its product `rc_promo_<entitlement>_<duration>`. */
export function grantedEntitlement(event: LifecycleEvent): string {
  const product = event.productId?.replace(/^rc_promo_/, '') ?? '';
  return (
    event.entitlements[0] ?? product.replace(/_(?:three_day|two_week|(?:two|three|six)_month|[^_]*)$/, '')
  );
}

export function emptyBuilder(key: string, environment: Environment) {
  return {
    ...NEW_PERIOD,
    key,
    environment,
    isOneTime: false,
    isGrant: false,
    isTemporary: false,
    isFamilyShare: false,
    isIncomplete: false,
    awaitsPriceConsent: false,
    isPriceRising: false,
    /** Whether the purchase of the current period is known, not just later events about it. */
    isPurchaseKnown: false,
    /** Whether the lifetime value includes the revenue that RevenueCat's API listed for this subscription. */
    isRevenueListed: false,
    willRenew: false,
    originalTransactionId: null as string | null,
    transactionId: null as string | null,
    productId: null as string | null,
    productName: null as string | null,
    pendingProductId: null as string | null,
    /** When an announced change of product takes effect; `null`: none is announced. */
    changesAtMs: null as number | null,
    /** Products that this subscription was changed from. */
    formerProductIds: [] as readonly string[],
    store: null as string | null,
    periodType: null as string | null,
    entitlements: [] as readonly string[],
    startedAtMs: null as number | null,
    periodStartedAtMs: null as number | null,
    periodLengthMs: null as number | null,
    endsAtMs: null as number | null,
    price: null as Money | null,
    isOnePeriodPrice: false,
    /** The cost of the current period, which a refund without a sum gives back. */
    charge: null as Sum | null,
    renewals: 0,
    paid: [] as readonly Money[],
    /** When each charge was made, in order, without those that were refunded in full. */
    paidAtMs: [] as number[],
    managementUrl: null as string | null,
  };
}

/** Length of the period as it was bought; `null`: unknown, because an extension or a refund names another end. */
export function boughtLengthMs(event: LifecycleEvent): number | null {
  const { kind, expirationReason, expiresAtMs, purchasedAtMs, atMs } = event;
  const isMoved =
    ['subscription_extended', 'refund'].includes(kind) || expirationReason === 'CUSTOMER_SUPPORT';
  return isMoved || expiresAtMs === null ? null : expiresAtMs - (purchasedAtMs ?? atMs);
}

/** A subscription as its first known event shows it; earlier ones may never have been received. */
export function builderFrom(event: LifecycleEvent, key: string): StateBuilder {
  const { store, productId, periodType, entitlements, isFamilyShare, expiresAtMs } = event;
  const { transactionId, originalTransactionId } = event;
  const startsAtMs = event.purchasedAtMs ?? event.atMs;
  const isGranted = isGrant(event);
  const isTemporary = event.kind === 'temporary_entitlement_grant';
  // Subscriptions always name their end, so a refund without one belongs to a one-time purchase.
  const isEndlessRefund = event.kind === 'refund' && expiresAtMs === null;
  const isOneTime = (event.type === 'NON_RENEWING_PURCHASE' || isEndlessRefund) && !isGranted;
  return {
    ...emptyBuilder(key, environmentOf(event)),
    store,
    productId,
    periodType,
    transactionId,
    originalTransactionId,
    isFamilyShare,
    isTemporary,
    isOneTime,
    isGrant: isGranted,
    entitlements: isGranted && entitlements.length === 0 ? [grantedEntitlement(event)] : entitlements,
    startedAtMs: startsAtMs,
    periodStartedAtMs: startsAtMs,
    endsAtMs: expiresAtMs,
    periodLengthMs: boughtLengthMs(event),
    willRenew: !isGranted && !isOneTime && !isTemporary && periodType !== 'PREPAID',
  };
}

/** When access ends; `Infinity`: never. */
export function accessEndMs(builder: StateBuilder): number {
  if (builder.endedAtMs !== null) return builder.endedAtMs;
  if (builder.endsAtMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(builder.endsAtMs, builder.gracePeriodEndsAtMs ?? 0, builder.trustedUntilMs ?? 0);
}

/** `null` if the time is only that of the API's response: it happened before, and the date would move each time. */
export function knownTime(atMs: number | null, snapshotAtMs: number | null): number | null {
  return atMs === snapshotAtMs ? null : atMs;
}

/** Ends access at a time, unless it ended before. */
export function endAccess(builder: StateBuilder, atMs: number): void {
  builder.endedAtMs = Math.min(builder.endedAtMs ?? atMs, atMs);
}

/** The state at `nowMs`: access may have ended since the last event, just because time has passed. */
export function buildState(
  builder: StateBuilder,
  nowMs: number,
  snapshotAtMs: number | null,
): SubscriptionState {
  // A state has no fields that only a builder needs.
  const { isGrant, isPurchaseKnown, originalTransactionId, formerProductIds, ...others } = builder;
  const { endedAtMs, trustedUntilMs, charge, changesAtMs, isRevenueListed, ...rest } = others;
  const { refunded, beforeRefund, paidAtMs, ...facts } = rest;
  const endMs = accessEndMs(builder);
  const givesAccess = !facts.isIncomplete && nowMs < endMs;
  // Only a one-time purchase or a grant can be for life.
  const isEndless = facts.isOneTime || isGrant;
  const isEndKnown =
    endMs !== snapshotAtMs && endMs !== trustedUntilMs && (isEndless || Number.isFinite(endMs));
  return {
    ...facts,
    status: statusOf(builder, givesAccess),
    // A subscription that was never paid has not started, so it replaces no other.
    startedAtMs: facts.isIncomplete ? null : facts.startedAtMs,
    endsAtMs: endedAtMs ?? facts.endsAtMs,
    willRenew: facts.willRenew && givesAccess && !facts.awaitsPriceConsent,
    gracePeriodEndsAtMs: givesAccess ? facts.gracePeriodEndsAtMs : null,
    givesAccess,
    accessEndsAtMs: facts.isIncomplete || !Number.isFinite(endMs) ? null : endMs,
    isEndKnown,
    expiredAtMs: givesAccess || facts.isIncomplete || !isEndKnown ? null : endMs,
    refund: facts.refundedAtMs === null ? null : (refunded?.price ?? null),
    lastPayment: charge?.price && charge.price.amountMinor > 0 ? charge.price : null,
  };
}

function statusOf(builder: StateBuilder, givesAccess: boolean): SubscriptionStatus {
  const { isGrant, pausedAtMs, periodType, cancelledAtMs } = builder;
  if (!givesAccess) {
    // Access that a refund ended before the pause is not paused. The API and events round times differently.
    if (pausedAtMs !== null && accessEndMs(builder) > pausedAtMs - MINUTE_MS) return 'paused';
    return isGrant ? 'expired_promotional' : 'expired';
  }
  if (isGrant) return 'promotional';
  const isTrial = periodType === 'TRIAL';
  // The store retries no card once the customer has cancelled.
  if (builder.billingIssueAtMs !== null && cancelledAtMs === null)
    return isTrial ? 'grace_period_trial' : 'grace_period';
  if (builder.isOneTime || builder.isTemporary) return 'active';
  // A scheduled pause is not a cancellation, and a prepaid plan never renews.
  const isStillRunning = pausedAtMs !== null || periodType === 'PREPAID';
  if ((cancelledAtMs !== null || !builder.willRenew) && !isStillRunning)
    return isTrial ? 'cancelled_trial' : 'cancelled';
  if (isTrial) return 'trial';
  return periodType === 'INTRO' ? 'intro' : 'active';
}

/** Puts those with access first, then paused ones, then those that ended last; the key breaks ties. */
export function compareSubscriptions(a: SubscriptionState, b: SubscriptionState): number {
  return (
    rankOf(a) - rankOf(b) ||
    (a.givesAccess ? 0 : (b.accessEndsAtMs ?? 0) - (a.accessEndsAtMs ?? 0)) ||
    (b.periodStartedAtMs ?? 0) - (a.periodStartedAtMs ?? 0) ||
    compareTexts(a.key, b.key)
  );
}

/** Subscriptions that will be charged again matter most to the reader, then those for life. */
function rankOf(subscription: SubscriptionState): number {
  const { givesAccess, willRenew, isFamilyShare, endsAtMs, status, isIncomplete } = subscription;
  if (!givesAccess) return isIncomplete ? 6 : status === 'paused' ? 4 : 5;
  if (willRenew) return isFamilyShare ? 1 : 0;
  return endsAtMs === null ? 2 : 3;
}
