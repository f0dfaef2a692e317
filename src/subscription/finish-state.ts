import { accessEndMs, type Draft } from './state-builder.ts';
import type { SubscriptionState, SubscriptionStatus } from './types.ts';

function statusOf(draft: Draft, givesAccess: boolean, nowMs: number): SubscriptionStatus {
  if (!givesAccess) {
    if (draft.pausedAtMs !== null && draft.refundedAtMs === null) return 'paused';
    return draft.promotional ? 'expired_promotional' : 'expired';
  }
  if (draft.promotional) return 'promotional';
  const trial = draft.periodType === 'TRIAL';
  if (draft.billingIssueAtMs !== null && (draft.gracePeriodEndsAtMs ?? 0) > nowMs) {
    return trial ? 'grace_period_trial' : 'grace_period';
  }
  if (draft.oneTime || draft.temporary) return 'active';
  if (draft.cancelledAtMs !== null || !draft.willRenew) {
    // A scheduled pause is no cancellation, and a prepaid plan never was to renew.
    const stillRunning = draft.pausedAtMs !== null || draft.periodType === 'PREPAID';
    if (!stillRunning) return trial ? 'cancelled_trial' : 'cancelled';
  }
  if (trial) return 'trial';
  return draft.periodType === 'INTRO' ? 'intro' : 'active';
}

/** What a replayed history amounts to at one moment: time alone may have ended access. */
export function finishDraft(draft: Draft, nowMs: number): SubscriptionState {
  const endMs = accessEndMs(draft);
  const givesAccess = nowMs < endMs;
  return {
    key: draft.key,
    productId: draft.productId,
    productName: draft.productName,
    store: draft.store,
    environment: draft.environment,
    status: statusOf(draft, givesAccess, nowMs),
    periodType: draft.periodType,
    entitlements: draft.entitlements,
    startedAtMs: draft.startedAtMs,
    periodStartedAtMs: draft.periodStartedAtMs,
    endsAtMs: draft.endedAtMs ?? draft.endsAtMs,
    periodEndsAtMs: draft.periodEndsAtMs,
    willRenew: draft.willRenew && givesAccess,
    price: draft.price,
    cancelledAtMs: draft.cancelledAtMs,
    cancelReason: draft.cancelReason,
    expiredAtMs: givesAccess ? null : endMs,
    expirationReason: draft.expirationReason,
    billingIssueAtMs: draft.billingIssueAtMs,
    gracePeriodEndsAtMs: givesAccess ? draft.gracePeriodEndsAtMs : null,
    pausedAtMs: draft.pausedAtMs,
    resumesAtMs: draft.resumesAtMs,
    pendingProductId: draft.pendingProductId,
    refundedAtMs: draft.refundedAtMs,
    refund: draft.refundedAtMs === null ? null : (draft.refunded?.price ?? null),
    renewals: draft.renewals,
    paid: draft.paid,
    isFamilyShare: draft.isFamilyShare,
    isOneTime: draft.oneTime,
    isTemporary: draft.temporary,
    isIncomplete: false,
    awaitsPriceConsent: false,
    givesAccess,
    accessEndsAtMs: Number.isFinite(endMs) ? endMs : null,
    managementUrl: draft.managementUrl,
    transactionId: draft.transactionId,
  };
}

/** Those that give access first, then those that go on, then the latest; the key decides between equals. */
export function compareSubscriptions(a: SubscriptionState, b: SubscriptionState): number {
  if (a.givesAccess !== b.givesAccess) return a.givesAccess ? -1 : 1;
  if (a.givesAccess) {
    const rank = rankWithAccess(a) - rankWithAccess(b);
    if (rank !== 0) return rank;
  } else if (a.expiredAtMs !== b.expiredAtMs) {
    return (b.expiredAtMs ?? 0) - (a.expiredAtMs ?? 0);
  }
  const byStart = (b.periodStartedAtMs ?? 0) - (a.periodStartedAtMs ?? 0);
  if (byStart !== 0) return byStart;
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

/** What will be charged again matters most to whoever reads; then what the customer has for good. */
function rankWithAccess(subscription: SubscriptionState): number {
  if (subscription.willRenew) return subscription.isFamilyShare ? 1 : 0;
  return subscription.endsAtMs === null ? 2 : 3;
}
