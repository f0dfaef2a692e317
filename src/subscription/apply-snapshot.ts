import { DAY_MS } from '../time.ts';
import { grantKey, indexKey, type Ledger } from './history-fold.ts';
import { isInternalProductId } from './names.ts';
import { accessEndMs, type Draft, emptyDraft, endAccess } from './state-builder.ts';
import type { Snapshot, SnapshotPurchase, SnapshotSubscription } from './types.ts';

/** Lays what RevenueCat's API told over a replay that has come to the snapshot's moment. */
export function overlay(ledger: Ledger, snapshot: Snapshot): void {
  const matched = new Set<Draft>();
  for (const item of [...snapshot.subscriptions].sort(currentFirst)) {
    const draft = matchSubscription(ledger, matched, item) ?? addSubscription(ledger, item);
    matched.add(draft);
    applySubscription(draft, item, snapshot.takenAtMs);
    if (item.status === 'trialing' && item.environment === 'production' && !draft.promotional) {
      ledger.trialEndsAtMs = item.periodEndsAtMs ?? ledger.trialEndsAtMs;
    }
  }
  for (const item of snapshot.purchases) {
    const draft = matchPurchase(ledger, matched, item) ?? addPurchase(ledger, item);
    if (!draft) continue;
    matched.add(draft);
    draft.productName = item.productName ?? draft.productName;
    if (item.status === 'refunded') {
      draft.refundedAtMs ??= snapshot.takenAtMs;
      endAccess(draft, snapshot.takenAtMs);
    }
  }
  ledger.told.clear();
  for (const { lookupKey, endsAtMs } of snapshot.activeEntitlements) ledger.told.set(lookupKey, endsAtMs);
  // What RevenueCat no longer lists gives nothing any more, unless it says that the entitlement is active. It
  // lists no temporary grants; those end by themselves within a day.
  for (const draft of ledger.drafts.values()) {
    if (matched.has(draft) || draft.temporary || draft.environment === 'sandbox') continue;
    if (draft.entitlements.some((key) => ledger.told.has(key))) continue;
    if (accessEndMs(draft) > snapshot.takenAtMs) {
      endAccess(draft, snapshot.takenAtMs);
      draft.willRenew = false;
    }
  }
  ledger.toldRevenueUsdCents = 0;
  for (const item of snapshot.subscriptions) ledger.toldRevenueUsdCents += productionRevenue(item);
  for (const item of snapshot.purchases) ledger.toldRevenueUsdCents += productionRevenue(item);
  // More than all events together: the history begins before the first of them. Later events add to it.
  if (ledger.toldRevenueUsdCents > ledger.chargedUsdCents)
    ledger.lifetimeValueUsdCents = ledger.toldRevenueUsdCents;
}

function productionRevenue(item: SnapshotSubscription | SnapshotPurchase): number {
  return item.environment === 'production' ? item.revenueUsdCents : 0;
}

/** So that of several of one product the one in force is recognised in the events. */
function currentFirst(a: SnapshotSubscription, b: SnapshotSubscription): number {
  if (a.givesAccess !== b.givesAccess) return a.givesAccess ? -1 : 1;
  const byStart = (b.periodStartsAtMs ?? 0) - (a.periodStartsAtMs ?? 0);
  return byStart !== 0 ? byStart : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

function matchSubscription(
  ledger: Ledger,
  matched: ReadonlySet<Draft>,
  item: SnapshotSubscription,
): Draft | undefined {
  const { environment, store } = item;
  if (store === 'PROMOTIONAL') {
    for (const key of item.entitlements) {
      const grant = ledger.drafts.get(grantKey(environment, key));
      if (grant && !matched.has(grant)) return grant;
    }
    return undefined;
  }
  if (item.storeSubscriptionId !== null) {
    const same = ledger.byTransaction.get(indexKey(environment, store, item.storeSubscriptionId));
    if (same && !matched.has(same)) return same;
  }
  if (item.productId === null) return undefined;
  const sameProduct = ledger.byProduct.get(indexKey(environment, store, item.productId));
  return sameProduct && !matched.has(sameProduct) ? sameProduct : undefined;
}

function addSubscription(ledger: Ledger, item: SnapshotSubscription): Draft {
  const { environment, store } = item;
  const promotional = store === 'PROMOTIONAL';
  const [entitlement] = item.entitlements;
  let key = indexKey(environment, store, item.storeSubscriptionId ?? `snapshot:${item.id}`);
  if (promotional && entitlement !== undefined) key = grantKey(environment, entitlement);
  // An older grant of the same entitlement stands beside the one in force.
  if (ledger.drafts.has(key)) key = indexKey(environment, store, `snapshot:${item.id}`);
  const draft = emptyDraft(key, environment);
  draft.store = store;
  draft.promotional = promotional;
  draft.isFamilyShare = item.isFamilyShare;
  // Known to renew unless the snapshot or a later event says otherwise.
  draft.willRenew = !promotional;
  draft.transactionId = item.storeSubscriptionId;
  ledger.drafts.set(key, draft);
  if (promotional) return draft;
  if (item.storeSubscriptionId !== null) {
    ledger.byTransaction.set(indexKey(environment, store, item.storeSubscriptionId), draft);
  }
  if (item.productId !== null) {
    const productKey = indexKey(environment, store, item.productId);
    if (!ledger.byProduct.has(productKey)) ledger.byProduct.set(productKey, draft);
  }
  return draft;
}

const RENEWS: Readonly<Record<string, boolean>> = {
  will_renew: true,
  will_change_product: true,
  requires_price_increase_consent: true,
  has_already_renewed: true,
  will_not_renew: false,
  will_pause: false,
};

/** What RevenueCat's API says wins over what older events said; prices and renewals are only in events. */
function applySubscription(draft: Draft, item: SnapshotSubscription, takenAtMs: number): void {
  // Both are the end of the paid period; `ends_at` is the later one where the next period is paid already.
  const endsAtMs = item.endsAtMs ?? item.periodEndsAtMs;
  draft.productId = productIdOf(draft, item.productId);
  draft.productName = item.productName ?? draft.productName;
  draft.managementUrl = item.managementUrl ?? draft.managementUrl;
  const startedAtMs = item.periodStartsAtMs ?? draft.periodStartedAtMs ?? item.startsAtMs;
  // The API knows the end as it is now, and not whether it was extended: what a purchase said of the same period stays.
  const isSamePeriod = Math.abs((draft.periodStartedAtMs ?? 0) - (startedAtMs ?? 0)) < DAY_MS;
  if (!isSamePeriod || draft.periodEndsAtMs === null) draft.periodEndsAtMs = item.periodEndsAtMs ?? endsAtMs;
  draft.periodStartedAtMs = startedAtMs;
  draft.startedAtMs ??= item.startsAtMs;
  draft.endsAtMs = endsAtMs;
  draft.purchased = true;
  if (item.entitlements.length > 0) draft.entitlements = item.entitlements;
  applyRenewal(draft, item);
  if (item.status === 'trialing') draft.periodType = 'TRIAL';
  else if (item.status === 'active' && draft.periodType === 'TRIAL') draft.periodType = 'NORMAL';
  draft.periodType ??= draft.promotional ? 'PROMOTIONAL' : 'NORMAL';
  // Access is trusted over a date that has passed: it lasts at least until the next look.
  draft.trustedUntilMs =
    item.givesAccess && endsAtMs !== null && endsAtMs <= takenAtMs ? takenAtMs + DAY_MS : null;
  applyBilling(draft, item, takenAtMs);
  if (item.status === 'paused') draft.pausedAtMs ??= endsAtMs ?? takenAtMs;
  else if (item.autoRenewalStatus !== 'will_pause') draft.pausedAtMs = null;
  if (item.givesAccess) {
    draft.endedAtMs = null;
    draft.expirationReason = null;
  } else {
    draft.endedAtMs = Math.min(draft.endedAtMs ?? endsAtMs ?? takenAtMs, takenAtMs);
    draft.willRenew &&= item.status === 'in_billing_retry';
  }
}

/**
 * Where the key may not read products the API names them by ids of its own (`prod4f31bd16ab`): what events call
 * them says more.
 */
function productIdOf(draft: Draft, told: string | null): string | null {
  if (told === null) return draft.productId;
  return isInternalProductId(told) ? (draft.productId ?? told) : told;
}

function applyRenewal(draft: Draft, item: SnapshotSubscription): void {
  const renews = item.autoRenewalStatus === null ? undefined : RENEWS[item.autoRenewalStatus];
  if (renews !== undefined && !draft.promotional) draft.willRenew = renews;
  if (renews === true) {
    draft.cancelledAtMs = null;
    draft.cancelReason = null;
  }
  // A status that names no change says that none is pending.
  if (item.pendingProductId !== null) draft.pendingProductId = item.pendingProductId;
  else if (renews !== undefined && item.autoRenewalStatus !== 'will_change_product')
    draft.pendingProductId = null;
  if (draft.pendingProductId === draft.productId) draft.pendingProductId = null;
}

function applyBilling(draft: Draft, item: SnapshotSubscription, takenAtMs: number): void {
  switch (item.status) {
    case 'in_grace_period':
      draft.billingIssueAtMs ??= item.periodEndsAtMs ?? takenAtMs;
      draft.gracePeriodEndsAtMs = Math.max(
        draft.gracePeriodEndsAtMs ?? 0,
        draft.endsAtMs ?? 0,
        draft.trustedUntilMs ?? 0,
      );
      return;
    case 'in_billing_retry':
      draft.billingIssueAtMs ??= takenAtMs;
      draft.gracePeriodEndsAtMs = null;
      return;
    case 'trialing':
    case 'active':
      draft.gracePeriodEndsAtMs = null;
      // Charged again since the trouble, unless the period that it is about still runs.
      if (draft.cancelReason !== 'BILLING_ERROR') draft.billingIssueAtMs = null;
      return;
    default:
      draft.gracePeriodEndsAtMs = null;
  }
}

function matchPurchase(
  ledger: Ledger,
  matched: ReadonlySet<Draft>,
  item: SnapshotPurchase,
): Draft | undefined {
  const { environment, store, storePurchaseId, productId } = item;
  if (storePurchaseId === null) return undefined;
  const exact = ledger.drafts.get(indexKey(environment, store, `${storePurchaseId}:${productId ?? ''}`));
  const found = exact ?? ledger.byTransaction.get(indexKey(environment, store, storePurchaseId));
  return found && !matched.has(found) ? found : undefined;
}

/** A consumable gives no access: without an event it is nothing to show. */
function addPurchase(ledger: Ledger, item: SnapshotPurchase): Draft | undefined {
  if (item.entitlements.length === 0) return undefined;
  const { environment, store } = item;
  const key = indexKey(environment, store, `${item.storePurchaseId ?? item.id}:${item.productId ?? ''}`);
  if (ledger.drafts.has(key)) return undefined;
  const draft = emptyDraft(key, environment);
  draft.oneTime = true;
  draft.purchased = true;
  draft.productId = item.productId;
  draft.store = store;
  draft.entitlements = item.entitlements;
  draft.startedAtMs = item.purchasedAtMs;
  draft.periodStartedAtMs = item.purchasedAtMs;
  draft.transactionId = item.storePurchaseId;
  ledger.drafts.set(key, draft);
  if (item.storePurchaseId !== null) {
    ledger.byTransaction.set(indexKey(environment, store, item.storePurchaseId), draft);
  }
  return draft;
}
