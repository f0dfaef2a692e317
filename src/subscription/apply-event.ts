import { DAY_MS } from '../time.ts';
import { type Draft, endAccess } from './state-builder.ts';
import type { LifecycleEvent } from './types.ts';

/** Whether an event begins or prolongs a period that somebody paid for, or a free trial. */
export function isPurchase(event: LifecycleEvent): boolean {
  return (
    event.type === 'INITIAL_PURCHASE' ||
    event.type === 'RENEWAL' ||
    event.kind === 'non_subscription_purchase'
  );
}

/**
 * Applies one event to what it speaks of. Events come in order of time; those that speak of an earlier period
 * than the one in force (stores announce ends late) leave it alone.
 */
export function applyEvent(draft: Draft, event: LifecycleEvent): void {
  if (draft.entitlements.length === 0) draft.entitlements = event.entitlements;
  draft.originalTransactionId ??= event.originalTransactionId;
  if (isPurchase(event)) {
    startPeriod(draft, event);
    return;
  }
  if (event.kind === 'promotional_granted') {
    grant(draft, event);
    return;
  }
  if (event.kind === 'temporary_entitlement_grant') {
    // Documented as at most a day; the official sample names no end.
    draft.endsAtMs = Math.min(event.expiresAtMs ?? event.atMs + DAY_MS, event.atMs + DAY_MS);
    draft.endedAtMs = null;
    return;
  }
  if (!isOfEarlierPeriod(draft, event)) changePeriod(draft, event);
}

/** Everything that happens to the period in force. */
function changePeriod(draft: Draft, event: LifecycleEvent): void {
  switch (event.kind) {
    case 'cancellation':
    case 'trial_cancelled':
      draft.cancelledAtMs = event.atMs;
      draft.cancelReason = event.cancelReason;
      draft.willRenew = false;
      draft.endsAtMs = event.expiresAtMs ?? draft.endsAtMs;
      if (event.cancelReason === 'BILLING_ERROR') draft.billingIssueAtMs ??= event.atMs;
      return;
    case 'refund':
      // A refund ends access at once, even where renewal is still switched on.
      draft.refundedAtMs = event.atMs;
      draft.cancelReason = event.cancelReason;
      endAccess(draft, Math.min(event.expiresAtMs ?? event.atMs, event.atMs));
      return;
    case 'promotional_revoked':
      draft.cancelledAtMs = event.atMs;
      draft.cancelReason = event.cancelReason;
      endAccess(draft, event.atMs);
      return;
    case 'uncancellation':
      draft.cancelledAtMs = null;
      draft.cancelReason = null;
      draft.pausedAtMs = null;
      draft.resumesAtMs = null;
      draft.willRenew = true;
      draft.endsAtMs = event.expiresAtMs ?? draft.endsAtMs;
      revive(draft, event.atMs);
      return;
    case 'billing_issue':
      draft.billingIssueAtMs = event.atMs;
      draft.gracePeriodEndsAtMs = event.gracePeriodEndsAtMs;
      return;
    case 'expiration':
      endAccess(draft, Math.min(event.expiresAtMs ?? event.atMs, event.atMs));
      draft.expirationReason = event.expirationReason;
      draft.willRenew = false;
      draft.pausedAtMs = event.expirationReason === 'SUBSCRIPTION_PAUSED' ? draft.endedAtMs : null;
      draft.resumesAtMs = draft.pausedAtMs === null ? null : (event.resumesAtMs ?? draft.resumesAtMs);
      return;
    case 'subscription_paused':
      draft.endsAtMs = event.expiresAtMs ?? draft.endsAtMs;
      draft.resumesAtMs = event.resumesAtMs;
      draft.willRenew = false;
      draft.pausedAtMs = draft.endsAtMs ?? event.atMs;
      return;
    case 'subscription_extended':
      if (event.expiresAtMs !== null) draft.endsAtMs = Math.max(draft.endsAtMs ?? 0, event.expiresAtMs);
      revive(draft, event.atMs);
      return;
    case 'product_change':
      // The event's dates belong to the old product. A change back to it takes the announced one away.
      draft.changeAnnounced = event.newProductId !== draft.productId;
      draft.pendingProductId = draft.changeAnnounced ? event.newProductId : null;
      return;
    case 'refund_reversed':
      draft.refundedAtMs = null;
      draft.endedAtMs = null;
      draft.expirationReason = null;
      if (draft.cancelReason === 'CUSTOMER_SUPPORT') draft.cancelReason = null;
      if (event.expiresAtMs !== null) draft.endsAtMs = Math.max(draft.endsAtMs ?? 0, event.expiresAtMs);
      return;
    default:
  }
}

function isOfEarlierPeriod(draft: Draft, event: LifecycleEvent): boolean {
  if (!draft.purchased || draft.periodStartedAtMs === null) return false;
  if (draft.promotional) return isOfEarlierGrant(draft, event);
  if (event.purchasedAtMs === null)
    return event.expiresAtMs !== null && event.expiresAtMs <= draft.periodStartedAtMs;
  if (event.purchasedAtMs >= draft.periodStartedAtMs) return false;
  // Stores round a purchase's time differently from event to event: one that ends like this period is of it.
  return event.expiresAtMs === null || draft.endsAtMs === null || event.expiresAtMs < draft.endsAtMs;
}

/** The end of a grant that was replaced by a longer one ends nothing; a removal takes all of them. */
function isOfEarlierGrant(draft: Draft, event: LifecycleEvent): boolean {
  if (event.kind !== 'expiration') return false;
  if (event.transactionId !== null && draft.transactionId !== null) {
    return event.transactionId !== draft.transactionId;
  }
  return event.expiresAtMs !== null && draft.endsAtMs !== null && event.purchasedAtMs !== null
    ? event.purchasedAtMs < (draft.periodStartedAtMs ?? 0) && event.expiresAtMs < draft.endsAtMs
    : false;
}

function startPeriod(draft: Draft, event: LifecycleEvent): void {
  const startMs = event.purchasedAtMs ?? event.atMs;
  draft.startedAtMs = Math.min(draft.startedAtMs ?? startMs, startMs);
  if (event.type === 'RENEWAL') draft.renewals += 1;
  if (isOfEarlierPeriod(draft, event)) return;
  draft.purchased = true;
  draft.periodStartedAtMs = startMs;
  draft.transactionId = event.transactionId ?? draft.transactionId;
  draft.endsAtMs = event.expiresAtMs;
  draft.periodEndsAtMs = event.expiresAtMs;
  const before = draft.productId;
  draft.productId = event.productId ?? draft.productId;
  draft.periodType = event.periodType ?? draft.periodType;
  if (event.entitlements.length > 0) draft.entitlements = event.entitlements;
  draft.isFamilyShare = event.isFamilyShare;
  draft.willRenew = !draft.oneTime && event.periodType !== 'PREPAID';
  draft.endedAtMs = null;
  draft.trustedUntilMs = null;
  draft.cancelledAtMs = null;
  draft.cancelReason = null;
  draft.expirationReason = null;
  draft.billingIssueAtMs = null;
  draft.gracePeriodEndsAtMs = null;
  draft.pausedAtMs = null;
  draft.resumesAtMs = null;
  draft.refundedAtMs = null;
  draft.refunded = null;
  // A renewal of the same product leaves an announced change ahead; the API names products by other ids than
  // events, so any new product counts as the announced one.
  if (
    draft.productId !== before ||
    draft.pendingProductId === null ||
    draft.pendingProductId === draft.productId
  ) {
    draft.pendingProductId = null;
    draft.changeAnnounced = false;
  }
  // A free trial's zero says nothing about what a period will cost.
  if (event.price && (event.price.amountMinor > 0 || event.periodType !== 'TRIAL')) draft.price = event.price;
  draft.charge = { price: event.price, usdCents: event.priceUsdCents };
}

/** Grants of one entitlement add up to the latest end. */
function grant(draft: Draft, event: LifecycleEvent): void {
  const stillActive =
    draft.purchased && draft.endedAtMs === null && (draft.endsAtMs === null || draft.endsAtMs > event.atMs);
  const endsLater =
    event.expiresAtMs === null || (draft.endsAtMs !== null && event.expiresAtMs >= draft.endsAtMs);
  if (!stillActive || endsLater) {
    draft.endsAtMs = event.expiresAtMs;
    draft.transactionId = event.transactionId;
    draft.productId = event.productId ?? draft.productId;
    draft.periodStartedAtMs = event.purchasedAtMs ?? event.atMs;
    draft.periodType = event.periodType ?? draft.periodType;
  }
  draft.purchased = true;
  draft.endedAtMs = null;
  draft.trustedUntilMs = null;
  draft.cancelledAtMs = null;
  draft.cancelReason = null;
  draft.expirationReason = null;
}

/** Access comes back to a period that has time left, unless its money was given back. */
function revive(draft: Draft, atMs: number): void {
  if (draft.refundedAtMs !== null || draft.endsAtMs === null || draft.endsAtMs <= atMs) return;
  draft.endedAtMs = null;
  draft.expirationReason = null;
}
