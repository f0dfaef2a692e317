import type { Environment, LifecycleEvent, Money } from './types.ts';

/** A subscription, one-time purchase or grant while its history is being replayed. */
export interface Draft {
  readonly key: string;
  readonly environment: Environment;
  oneTime: boolean;
  promotional: boolean;
  temporary: boolean;
  /** Whether the purchase of the period in force is known, and not only events that speak of it. */
  purchased: boolean;
  originalTransactionId: string | null;
  productId: string | null;
  productName: string | null;
  store: string | null;
  periodType: string | null;
  entitlements: readonly string[];
  startedAtMs: number | null;
  periodStartedAtMs: number | null;
  endsAtMs: number | null;
  /** When the period in force was to end as it was bought: extending it for free does not make it a longer one. */
  periodEndsAtMs: number | null;
  /** Access was ended before or at the period's end: expiration, refund, removal. */
  endedAtMs: number | null;
  /** Until when RevenueCat's word that there is access counts more than an end that has passed. */
  trustedUntilMs: number | null;
  willRenew: boolean;
  price: Money | null;
  /** What the period in force cost: what a refund gives back that names no sum. */
  charge: Sum | null;
  /** What the last refund gave back: what its reversal restores that names no sum. */
  refunded: Sum | null;
  cancelledAtMs: number | null;
  cancelReason: string | null;
  expirationReason: string | null;
  billingIssueAtMs: number | null;
  gracePeriodEndsAtMs: number | null;
  pausedAtMs: number | null;
  resumesAtMs: number | null;
  changeAnnounced: boolean;
  pendingProductId: string | null;
  refundedAtMs: number | null;
  renewals: number;
  paid: readonly Money[];
  isFamilyShare: boolean;
  managementUrl: string | null;
  transactionId: string | null;
}

/** A sum in the currency paid and in US cents, either of which RevenueCat may leave out. */
export interface Sum {
  readonly price: Money | null;
  readonly usdCents: number | null;
}

export function isPromotional(event: LifecycleEvent): boolean {
  if (event.store === 'PROMOTIONAL' || event.kind === 'promotional_granted') return true;
  // A store's own promotional period is paid; only without a store can it be nothing but a grant.
  return event.store === null && event.periodType === 'PROMOTIONAL';
}

/** An absent environment counts as production: grants have none, and old events neither. */
export function environmentOf(event: LifecycleEvent): Environment {
  return event.environment ?? 'production';
}

/** Which entitlement a grant is of. RevenueCat names its product `rc_promo_<entitlement>_<duration>`. */
export function grantedEntitlement(event: LifecycleEvent): string {
  return event.entitlements[0] ?? event.productId?.replace(/^rc_promo_/, '').replace(/_[^_]*$/, '') ?? '';
}

export function emptyDraft(key: string, environment: Environment): Draft {
  return {
    key,
    environment,
    oneTime: false,
    promotional: false,
    temporary: false,
    purchased: false,
    originalTransactionId: null,
    productId: null,
    productName: null,
    store: null,
    periodType: null,
    entitlements: [],
    startedAtMs: null,
    periodStartedAtMs: null,
    endsAtMs: null,
    periodEndsAtMs: null,
    endedAtMs: null,
    trustedUntilMs: null,
    willRenew: false,
    price: null,
    charge: null,
    refunded: null,
    cancelledAtMs: null,
    cancelReason: null,
    expirationReason: null,
    billingIssueAtMs: null,
    gracePeriodEndsAtMs: null,
    pausedAtMs: null,
    resumesAtMs: null,
    changeAnnounced: false,
    pendingProductId: null,
    refundedAtMs: null,
    renewals: 0,
    paid: [],
    isFamilyShare: false,
    managementUrl: null,
    transactionId: null,
  };
}

/** A subscription as its first known event shows it; earlier ones may never have been received. */
export function draftFrom(event: LifecycleEvent, key: string): Draft {
  const draft = emptyDraft(key, environmentOf(event));
  draft.promotional = isPromotional(event);
  draft.temporary = event.kind === 'temporary_entitlement_grant';
  // Subscriptions always name their end, so the refund of something endless is that of a one-time purchase.
  const endlessRefund = event.kind === 'refund' && event.expiresAtMs === null;
  draft.oneTime = (event.type === 'NON_RENEWING_PURCHASE' || endlessRefund) && !draft.promotional;
  draft.store = event.store;
  draft.productId = event.productId;
  draft.periodType = event.periodType;
  draft.entitlements =
    draft.promotional && event.entitlements.length === 0 ? [grantedEntitlement(event)] : event.entitlements;
  draft.originalTransactionId = event.originalTransactionId;
  draft.transactionId = event.transactionId;
  draft.isFamilyShare = event.isFamilyShare;
  draft.startedAtMs = event.purchasedAtMs ?? event.atMs;
  draft.periodStartedAtMs = draft.startedAtMs;
  draft.endsAtMs = event.expiresAtMs;
  draft.periodEndsAtMs = event.kind === 'subscription_extended' ? null : event.expiresAtMs;
  draft.willRenew =
    !draft.promotional && !draft.oneTime && !draft.temporary && event.periodType !== 'PREPAID';
  return draft;
}

/** When access ends; infinity: never. */
export function accessEndMs(draft: Draft): number {
  if (draft.endedAtMs !== null) return draft.endedAtMs;
  if (draft.endsAtMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(draft.endsAtMs, draft.gracePeriodEndsAtMs ?? 0, draft.trustedUntilMs ?? 0);
}

/** Ends access at a moment, unless it has ended before. */
export function endAccess(draft: Draft, atMs: number): void {
  draft.endedAtMs = draft.endedAtMs === null ? atMs : Math.min(draft.endedAtMs, atMs);
}
