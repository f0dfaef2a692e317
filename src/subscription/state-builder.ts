import { isGrant } from './kinds.ts';
import type { Environment, LifecycleEvent, Money, SubscriptionState, SubscriptionStatus } from './types.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A subscription, one-time purchase or grant while its events are applied in order. */
export interface StateBuilder
  extends Mutable<
    Omit<SubscriptionState, 'status' | 'givesAccess' | 'accessEndsAtMs' | 'expiredAtMs' | 'refund'>
  > {
  isGrant: boolean;
  /** Whether the purchase of the period in force is known, and not only events about it. */
  isPurchaseKnown: boolean;
  originalTransactionId: string | null;
  /** Products that this subscription was changed from. */
  formerProductIds: readonly string[];
  /** Access ended before or at the period's end: expiration, refund, removal. */
  endedAtMs: number | null;
  /** Until when RevenueCat's `gives_access` overrules an end that has passed. */
  trustedUntilMs: number | null;
  /** What the period in force cost: what a refund without a sum gives back. */
  charge: Sum | null;
  isChangeAnnounced: boolean;
  /** What the last refund gave back: what its reversal without a sum restores. */
  refunded: Sum | null;
  /** How access was before the refund: what its reversal restores. */
  beforeRefund: { readonly endedAtMs: number | null; readonly expirationReason: string | null } | null;
}

/** A sum in the currency paid and in US cents, either of which RevenueCat may leave out. */
export interface Sum {
  readonly price: Money | null;
  readonly usdCents: number | null;
}

/** An absent environment counts as production: grants have none, and old events neither. */
export function environmentOf(event: LifecycleEvent): Environment {
  return event.environment ?? 'production';
}

/** Which entitlement a grant is of. RevenueCat names its product `rc_promo_<entitlement>_<duration>`. */
export function grantedEntitlement(event: LifecycleEvent): string {
  return event.entitlements[0] ?? event.productId?.replace(/^rc_promo_/, '').replace(/_[^_]*$/, '') ?? '';
}

export function emptyBuilder(key: string, environment: Environment): StateBuilder {
  return {
    key,
    environment,
    isOneTime: false,
    isGrant: false,
    isTemporary: false,
    isFamilyShare: false,
    isIncomplete: false,
    awaitsPriceConsent: false,
    isPurchaseKnown: false,
    originalTransactionId: null,
    transactionId: null,
    productId: null,
    productName: null,
    formerProductIds: [],
    store: null,
    periodType: null,
    entitlements: [],
    startedAtMs: null,
    periodStartedAtMs: null,
    periodEndsAtMs: null,
    endsAtMs: null,
    endedAtMs: null,
    trustedUntilMs: null,
    willRenew: false,
    price: null,
    charge: null,
    cancelledAtMs: null,
    cancelReason: null,
    expirationReason: null,
    billingIssueAtMs: null,
    gracePeriodEndsAtMs: null,
    pausedAtMs: null,
    resumesAtMs: null,
    isChangeAnnounced: false,
    pendingProductId: null,
    refundedAtMs: null,
    refunded: null,
    beforeRefund: null,
    renewals: 0,
    paid: [],
    managementUrl: null,
  };
}

/** A subscription as its first known event shows it; earlier ones may never have been received. */
export function builderFrom(event: LifecycleEvent, key: string): StateBuilder {
  const startsAtMs = event.purchasedAtMs ?? event.atMs;
  const isGranted = isGrant(event);
  const isTemporary = event.kind === 'temporary_entitlement_grant';
  // Subscriptions always name their end, so the refund of something endless is that of a one-time purchase.
  const isEndlessRefund = event.kind === 'refund' && event.expiresAtMs === null;
  const isOneTime = (event.type === 'NON_RENEWING_PURCHASE' || isEndlessRefund) && !isGranted;
  return {
    ...emptyBuilder(key, environmentOf(event)),
    isGrant: isGranted,
    isTemporary,
    isOneTime,
    isFamilyShare: event.isFamilyShare,
    store: event.store,
    productId: event.productId,
    periodType: event.periodType,
    entitlements:
      isGranted && event.entitlements.length === 0 ? [grantedEntitlement(event)] : event.entitlements,
    originalTransactionId: event.originalTransactionId,
    transactionId: event.transactionId,
    startedAtMs: startsAtMs,
    periodStartedAtMs: startsAtMs,
    endsAtMs: event.expiresAtMs,
    periodEndsAtMs: event.kind === 'subscription_extended' ? null : event.expiresAtMs,
    willRenew: !isGranted && !isOneTime && !isTemporary && event.periodType !== 'PREPAID',
  };
}

/** When access ends; infinity: never. */
export function accessEndMs(builder: StateBuilder): number {
  if (builder.endedAtMs !== null) return builder.endedAtMs;
  if (builder.endsAtMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(builder.endsAtMs, builder.gracePeriodEndsAtMs ?? 0, builder.trustedUntilMs ?? 0);
}

/** Ends access at a time, unless it ended before. */
export function endAccess(builder: StateBuilder, atMs: number): void {
  builder.endedAtMs = builder.endedAtMs === null ? atMs : Math.min(builder.endedAtMs, atMs);
}

/** Time alone may have ended access. */
export function buildState(builder: StateBuilder, nowMs: number): SubscriptionState {
  const endMs = accessEndMs(builder);
  const givesAccess = !builder.isIncomplete && nowMs < endMs;
  return {
    key: builder.key,
    productId: builder.productId,
    productName: builder.productName,
    store: builder.store,
    environment: builder.environment,
    status: statusOf(builder, givesAccess, nowMs),
    periodType: builder.periodType,
    entitlements: builder.entitlements,
    startedAtMs: builder.startedAtMs,
    periodStartedAtMs: builder.periodStartedAtMs,
    endsAtMs: builder.endedAtMs ?? builder.endsAtMs,
    periodEndsAtMs: builder.periodEndsAtMs,
    willRenew: builder.willRenew && givesAccess && !builder.awaitsPriceConsent,
    price: builder.price,
    cancelledAtMs: builder.cancelledAtMs,
    cancelReason: builder.cancelReason,
    expiredAtMs: givesAccess || builder.isIncomplete ? null : endMs,
    expirationReason: builder.expirationReason,
    billingIssueAtMs: builder.billingIssueAtMs,
    gracePeriodEndsAtMs: givesAccess ? builder.gracePeriodEndsAtMs : null,
    pausedAtMs: builder.pausedAtMs,
    resumesAtMs: builder.resumesAtMs,
    pendingProductId: builder.pendingProductId,
    refundedAtMs: builder.refundedAtMs,
    refund: builder.refundedAtMs === null ? null : (builder.refunded?.price ?? null),
    renewals: builder.renewals,
    paid: builder.paid,
    isFamilyShare: builder.isFamilyShare,
    isOneTime: builder.isOneTime,
    isTemporary: builder.isTemporary,
    isIncomplete: builder.isIncomplete,
    awaitsPriceConsent: builder.awaitsPriceConsent,
    givesAccess,
    accessEndsAtMs: builder.isIncomplete || !Number.isFinite(endMs) ? null : endMs,
    managementUrl: builder.managementUrl,
    transactionId: builder.transactionId,
  };
}

function statusOf(builder: StateBuilder, givesAccess: boolean, nowMs: number): SubscriptionStatus {
  const { isGrant, pausedAtMs, periodType } = builder;
  if (!givesAccess) {
    // What ended before the pause, by a refund, is not paused.
    if (pausedAtMs !== null && accessEndMs(builder) >= pausedAtMs) return 'paused';
    return isGrant ? 'expired_promotional' : 'expired';
  }
  if (isGrant) return 'promotional';
  const isTrial = periodType === 'TRIAL';
  if (isInGracePeriod(builder, nowMs)) return isTrial ? 'grace_period_trial' : 'grace_period';
  if (builder.isOneTime || builder.isTemporary) return 'active';
  if (builder.cancelledAtMs !== null || !builder.willRenew) {
    // A scheduled pause is not a cancellation, and a prepaid plan was never to renew.
    const isStillRunning = pausedAtMs !== null || periodType === 'PREPAID';
    if (!isStillRunning) return isTrial ? 'cancelled_trial' : 'cancelled';
  }
  if (isTrial) return 'trial';
  return periodType === 'INTRO' ? 'intro' : 'active';
}

/** The store retries no card once the customer has cancelled. */
function isInGracePeriod(builder: StateBuilder, nowMs: number): boolean {
  const { billingIssueAtMs, gracePeriodEndsAtMs, cancelledAtMs, cancelReason } = builder;
  if (billingIssueAtMs === null || (gracePeriodEndsAtMs ?? 0) <= nowMs) return false;
  return cancelledAtMs === null || cancelReason === 'BILLING_ERROR';
}

/** With access first, then paused, then what ended last; the key decides between equals. */
export function compareSubscriptions(a: SubscriptionState, b: SubscriptionState): number {
  const rank = rankOf(a) - rankOf(b);
  if (rank !== 0) return rank;
  if (!a.givesAccess && a.expiredAtMs !== b.expiredAtMs) return (b.expiredAtMs ?? 0) - (a.expiredAtMs ?? 0);
  const byStart = (b.periodStartedAtMs ?? 0) - (a.periodStartedAtMs ?? 0);
  if (byStart !== 0) return byStart;
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

/** What will be charged again matters most to the reader, then what lasts for life. */
function rankOf(subscription: SubscriptionState): number {
  const { givesAccess, willRenew, isFamilyShare, endsAtMs, status, isIncomplete } = subscription;
  if (!givesAccess) return isIncomplete ? 6 : status === 'paused' ? 4 : 5;
  if (willRenew) return isFamilyShare ? 1 : 0;
  return endsAtMs === null ? 2 : 3;
}
