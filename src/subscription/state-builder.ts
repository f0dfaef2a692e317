import { compareTexts } from '../text.ts';
import { isGrant } from './kinds.ts';
import type { LifecycleEvent } from './read-event.ts';
import type {
  Environment,
  Money,
  SubscriptionFacts,
  SubscriptionState,
  SubscriptionStatus,
} from './types.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A subscription, one-time purchase or grant while its events are applied in order. */
export interface StateBuilder extends Mutable<SubscriptionFacts> {
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
  /** The cost of the current period, which a refund without a sum gives back. */
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

/** What a new period clears. */
export const NEW_PERIOD = {
  endedAtMs: null,
  trustedUntilMs: null,
  cancelledAtMs: null,
  cancelReason: null,
  expirationReason: null,
  billingIssueAtMs: null,
  gracePeriodEndsAtMs: null,
  pausedAtMs: null,
  resumesAtMs: null,
  refundedAtMs: null,
  refunded: null,
  beforeRefund: null,
} as const satisfies Partial<StateBuilder>;

export function sharesEntitlement(
  one: Pick<SubscriptionFacts, 'entitlements'>,
  other: Pick<SubscriptionFacts, 'entitlements'>,
): boolean {
  return one.entitlements.some((key) => other.entitlements.includes(key));
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
    isPurchaseKnown: false,
    isChangeAnnounced: false,
    willRenew: false,
    originalTransactionId: null,
    transactionId: null,
    productId: null,
    productName: null,
    pendingProductId: null,
    formerProductIds: [],
    store: null,
    periodType: null,
    entitlements: [],
    startedAtMs: null,
    periodStartedAtMs: null,
    periodEndsAtMs: null,
    endsAtMs: null,
    price: null,
    charge: null,
    renewals: 0,
    paid: [],
    managementUrl: null,
  };
}

/** A subscription as its first known event shows it; earlier ones may never have been received. */
export function builderFrom(event: LifecycleEvent, key: string): StateBuilder {
  const { store, productId, periodType, entitlements, isFamilyShare, expiresAtMs } = event;
  const { transactionId, originalTransactionId } = event;
  const startsAtMs = event.purchasedAtMs ?? event.atMs;
  const isGranted = isGrant(event);
  const isTemporary = event.kind === 'temporary_entitlement_grant';
  // Subscriptions always name their end, so the refund of something endless is that of a one-time purchase.
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
    periodEndsAtMs: event.kind === 'subscription_extended' ? null : expiresAtMs,
    willRenew: !isGranted && !isOneTime && !isTemporary && periodType !== 'PREPAID',
  };
}

/** When access ends; infinity: never. */
export function accessEndMs(builder: StateBuilder): number {
  if (builder.endedAtMs !== null) return builder.endedAtMs;
  if (builder.endsAtMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(builder.endsAtMs, builder.gracePeriodEndsAtMs ?? 0, builder.trustedUntilMs ?? 0);
}

/** What only the API's response shows happened before it: a date that moves with each response is none. */
export function knownTime(atMs: number | null, snapshotAtMs: number | null): number | null {
  return atMs === snapshotAtMs ? null : atMs;
}

/** Ends access at a time, unless it ended before. */
export function endAccess(builder: StateBuilder, atMs: number): void {
  builder.endedAtMs = Math.min(builder.endedAtMs ?? atMs, atMs);
}

/** Time alone may have ended access. */
export function buildState(
  builder: StateBuilder,
  nowMs: number,
  snapshotAtMs: number | null,
): SubscriptionState {
  const { isGrant, isPurchaseKnown, originalTransactionId, formerProductIds, ...others } = builder;
  const { endedAtMs, trustedUntilMs, charge, isChangeAnnounced, refunded, beforeRefund, ...facts } = others;
  const endMs = accessEndMs(builder);
  const givesAccess = !facts.isIncomplete && nowMs < endMs;
  // Only a purchase or a grant can be for life.
  const isEndless = facts.isOneTime || isGrant;
  const isEndKnown =
    endMs !== snapshotAtMs && endMs !== trustedUntilMs && (isEndless || Number.isFinite(endMs));
  return {
    ...facts,
    status: statusOf(builder, givesAccess),
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
    // What ended before the pause, by a refund, is not paused.
    if (pausedAtMs !== null && accessEndMs(builder) >= pausedAtMs) return 'paused';
    return isGrant ? 'expired_promotional' : 'expired';
  }
  if (isGrant) return 'promotional';
  const isTrial = periodType === 'TRIAL';
  // The store retries no card once the customer has cancelled.
  if (builder.billingIssueAtMs !== null && cancelledAtMs === null)
    return isTrial ? 'grace_period_trial' : 'grace_period';
  if (builder.isOneTime || builder.isTemporary) return 'active';
  // A scheduled pause is not a cancellation, and a prepaid plan was never to renew.
  const isStillRunning = pausedAtMs !== null || periodType === 'PREPAID';
  if ((cancelledAtMs !== null || !builder.willRenew) && !isStillRunning)
    return isTrial ? 'cancelled_trial' : 'cancelled';
  if (isTrial) return 'trial';
  return periodType === 'INTRO' ? 'intro' : 'active';
}

/** With access first, then paused, then what ended last; the key decides between equals. */
export function compareSubscriptions(a: SubscriptionState, b: SubscriptionState): number {
  return (
    rankOf(a) - rankOf(b) ||
    (a.givesAccess ? 0 : (b.accessEndsAtMs ?? 0) - (a.accessEndsAtMs ?? 0)) ||
    (b.periodStartedAtMs ?? 0) - (a.periodStartedAtMs ?? 0) ||
    compareTexts(a.key, b.key)
  );
}

/** What will be charged again matters most to the reader, then what lasts for life. */
function rankOf(subscription: SubscriptionState): number {
  const { givesAccess, willRenew, isFamilyShare, endsAtMs, status, isIncomplete } = subscription;
  if (!givesAccess) return isIncomplete ? 6 : status === 'paused' ? 4 : 5;
  if (willRenew) return isFamilyShare ? 1 : 0;
  return endsAtMs === null ? 2 : 3;
}
