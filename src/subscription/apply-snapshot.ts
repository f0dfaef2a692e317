import { DAY_MS } from '../time.ts';
import { isOtherProduct } from './apply-event.ts';
import { grantKey, type HistoryFold, indexKey } from './history-fold.ts';
import { isInternalProductId } from './names.ts';
import { accessEndMs, emptyBuilder, endAccess, type StateBuilder } from './state-builder.ts';
import type { Snapshot, SnapshotPurchase, SnapshotSubscription } from './types.ts';

/** Applies RevenueCat's API response to what the events before it added up to. */
export function applySnapshot(fold: HistoryFold, snapshot: Snapshot): void {
  const matched = new Set<StateBuilder>();
  for (const item of [...snapshot.subscriptions].sort(currentFirst)) {
    const builder = matchSubscription(fold, matched, item) ?? addSubscription(fold, item);
    matched.add(builder);
    applySubscription(builder, item, snapshot.takenAtMs);
    if (item.status === 'trialing' && item.environment === 'production' && !builder.isGrant) {
      fold.trialEndsAtMs = item.periodEndsAtMs ?? fold.trialEndsAtMs;
    }
  }
  for (const item of snapshot.purchases) {
    const builder = matchPurchase(fold, matched, item) ?? addPurchase(fold, item);
    if (!builder) continue;
    matched.add(builder);
    builder.productName = item.productName ?? builder.productName;
    if (item.status === 'refunded') {
      builder.refundedAtMs ??= snapshot.takenAtMs;
      endAccess(builder, snapshot.takenAtMs);
    }
  }
  listEntitlements(fold, snapshot);
  endUnlisted(fold, matched, snapshot.takenAtMs);
  applyRevenue(fold, snapshot);
}

/** RevenueCat lists entitlements of sandbox purchases as active, too: those give nothing in production. */
function listEntitlements(fold: HistoryFold, snapshot: Snapshot): void {
  const items = [...snapshot.subscriptions, ...snapshot.purchases];
  const keysOf = (environment: string) =>
    new Set(items.flatMap((item) => (item.environment === environment ? item.entitlements : [])));
  const production = keysOf('production');
  const sandbox = keysOf('sandbox');
  fold.listedEntitlements.clear();
  for (const { lookupKey, endsAtMs } of snapshot.activeEntitlements) {
    if (sandbox.has(lookupKey) && !production.has(lookupKey)) continue;
    fold.listedEntitlements.set(lookupKey, endsAtMs);
  }
}

/**
 * What RevenueCat no longer lists gives nothing any more, unless it says that the entitlement is active. Temporary
 * grants are never listed; they end within a day.
 */
function endUnlisted(fold: HistoryFold, matched: ReadonlySet<StateBuilder>, takenAtMs: number): void {
  for (const builder of fold.builders.values()) {
    if (matched.has(builder) || builder.isTemporary || builder.environment === 'sandbox') continue;
    if (builder.entitlements.some((key) => fold.listedEntitlements.has(key))) continue;
    if (accessEndMs(builder) > takenAtMs) {
      endAccess(builder, takenAtMs);
      builder.willRenew = false;
    }
  }
}

function applyRevenue(fold: HistoryFold, snapshot: Snapshot): void {
  fold.snapshotRevenueUsdCents = 0;
  for (const { environment, revenueUsdCents } of [...snapshot.subscriptions, ...snapshot.purchases])
    if (environment === 'production') fold.snapshotRevenueUsdCents += revenueUsdCents;
  // More than all events together: the history began before the first of them. Later events add to it.
  if (fold.snapshotRevenueUsdCents > fold.chargedUsdCents)
    fold.lifetimeValueUsdCents = fold.snapshotRevenueUsdCents;
}

/** So that of several of one product the one in force is recognized in the events. */
function currentFirst(a: SnapshotSubscription, b: SnapshotSubscription): number {
  if (a.givesAccess !== b.givesAccess) return a.givesAccess ? -1 : 1;
  const byStart = (b.periodStartsAtMs ?? 0) - (a.periodStartsAtMs ?? 0);
  return byStart !== 0 ? byStart : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

function matchSubscription(
  fold: HistoryFold,
  matched: ReadonlySet<StateBuilder>,
  item: SnapshotSubscription,
): StateBuilder | undefined {
  const { environment, store } = item;
  if (store === 'PROMOTIONAL') {
    for (const key of item.entitlements) {
      const grant = fold.builders.get(grantKey(environment, key));
      if (grant && !matched.has(grant)) return grant;
    }
    return undefined;
  }
  if (item.storeSubscriptionId !== null) {
    const same = fold.byTransaction.get(indexKey(environment, store, item.storeSubscriptionId));
    if (same && !matched.has(same)) return same;
  }
  if (item.productId === null) return undefined;
  const sameProduct = fold.byProduct.get(indexKey(environment, store, item.productId));
  return sameProduct && !matched.has(sameProduct) ? sameProduct : undefined;
}

function addSubscription(fold: HistoryFold, item: SnapshotSubscription): StateBuilder {
  const { environment, store, storeSubscriptionId, productId } = item;
  const isGrant = store === 'PROMOTIONAL';
  const [entitlement] = item.entitlements;
  let key = indexKey(environment, store, storeSubscriptionId ?? `snapshot:${item.id}`);
  if (isGrant && entitlement !== undefined) key = grantKey(environment, entitlement);
  // An older grant of the same entitlement is listed beside the one in force.
  if (fold.builders.has(key)) key = indexKey(environment, store, `snapshot:${item.id}`);
  const builder: StateBuilder = {
    ...emptyBuilder(key, environment),
    store,
    isGrant,
    // It renews unless the snapshot or a later event says otherwise.
    willRenew: !isGrant,
    transactionId: storeSubscriptionId,
  };
  fold.builders.set(key, builder);
  if (isGrant) return builder;
  if (storeSubscriptionId !== null)
    fold.byTransaction.set(indexKey(environment, store, storeSubscriptionId), builder);
  if (productId !== null) {
    const productKey = indexKey(environment, store, productId);
    if (!fold.byProduct.has(productKey)) fold.byProduct.set(productKey, builder);
  }
  return builder;
}

/** What RevenueCat's API says overrules older events; prices and renewals are only in events. */
function applySubscription(builder: StateBuilder, item: SnapshotSubscription, takenAtMs: number): void {
  // Both are the end of the paid period; `ends_at` is the later one where the next period is paid already.
  const endsAtMs = item.endsAtMs ?? item.periodEndsAtMs;
  // What was known to be the end of access, a grace period included, before the API's fields replace it.
  const knownEndMs = accessEndMs(builder);
  if (isOtherProduct(builder.productId, item.productId)) builder.price = null;
  builder.productId = productIdOf(builder, item.productId);
  builder.productName = item.productName ?? builder.productName;
  builder.managementUrl = item.managementUrl ?? builder.managementUrl;
  builder.isFamilyShare ||= item.isFamilyShare;
  builder.isIncomplete = item.status === 'incomplete' && !item.givesAccess;
  const startedAtMs = item.periodStartsAtMs ?? builder.periodStartedAtMs ?? item.startsAtMs;
  // The API knows the current end, and not whether it was extended: what a purchase said of the same period stays.
  const isSamePeriod = Math.abs((builder.periodStartedAtMs ?? 0) - (startedAtMs ?? 0)) < DAY_MS;
  if (!isSamePeriod || builder.periodEndsAtMs === null)
    builder.periodEndsAtMs = item.periodEndsAtMs ?? endsAtMs;
  builder.periodStartedAtMs = startedAtMs;
  builder.startedAtMs ??= item.startsAtMs;
  builder.endsAtMs = endsAtMs;
  builder.isPurchaseKnown = true;
  if (item.entitlements.length > 0) builder.entitlements = item.entitlements;
  applyRenewal(builder, item);
  if (item.status === 'trialing') builder.periodType = 'TRIAL';
  else if (item.status === 'active' && builder.periodType === 'TRIAL') builder.periodType = 'NORMAL';
  builder.periodType ??= builder.isGrant ? 'PROMOTIONAL' : 'NORMAL';
  // Access is trusted over a date that has passed: it lasts at least until the next response.
  builder.trustedUntilMs =
    item.givesAccess && endsAtMs !== null && endsAtMs <= takenAtMs ? takenAtMs + DAY_MS : null;
  applyBilling(builder, item, takenAtMs);
  if (item.status === 'paused') builder.pausedAtMs ??= endsAtMs ?? takenAtMs;
  else if (item.autoRenewalStatus === 'will_pause') builder.pausedAtMs = endsAtMs ?? takenAtMs;
  else builder.pausedAtMs = null;
  if (item.givesAccess) {
    builder.endedAtMs = null;
    builder.expirationReason = null;
    return;
  }
  const isKnownEnd = isSamePeriod && Number.isFinite(knownEndMs);
  builder.endedAtMs = Math.min(isKnownEnd ? knownEndMs : (endsAtMs ?? takenAtMs), takenAtMs);
  builder.willRenew &&= item.status === 'in_billing_retry';
}

/**
 * Where the key may not read products, the API names them by its own ids (`prod4f31bd16ab`): what events call them
 * says more.
 */
function productIdOf(builder: StateBuilder, productId: string | null): string | null {
  if (productId === null) return builder.productId;
  return isInternalProductId(productId) ? (builder.productId ?? productId) : productId;
}

/** `will_pause` pauses at the period's end and renews after it. */
const RENEWS: Readonly<Record<string, boolean>> = {
  will_renew: true,
  will_change_product: true,
  requires_price_increase_consent: true,
  has_already_renewed: true,
  will_not_renew: false,
  will_pause: false,
};

function applyRenewal(builder: StateBuilder, item: SnapshotSubscription): void {
  const renews = item.autoRenewalStatus === null ? undefined : RENEWS[item.autoRenewalStatus];
  if (renews !== undefined && !builder.isGrant) {
    builder.willRenew = renews;
    builder.awaitsPriceConsent = item.autoRenewalStatus === 'requires_price_increase_consent';
  }
  if (renews === true || item.autoRenewalStatus === 'will_pause') {
    builder.cancelledAtMs = null;
    builder.cancelReason = null;
  }
  // A status other than `will_change_product` says that no change is pending.
  if (item.pendingProductId !== null) builder.pendingProductId = item.pendingProductId;
  else if (renews !== undefined && item.autoRenewalStatus !== 'will_change_product')
    builder.pendingProductId = null;
  if (builder.pendingProductId === builder.productId) builder.pendingProductId = null;
}

function applyBilling(builder: StateBuilder, item: SnapshotSubscription, takenAtMs: number): void {
  const { gracePeriodEndsAtMs, endsAtMs, trustedUntilMs } = builder;
  builder.gracePeriodEndsAtMs = null;
  switch (item.status) {
    case 'in_grace_period':
      builder.billingIssueAtMs ??= item.periodEndsAtMs ?? takenAtMs;
      builder.gracePeriodEndsAtMs = Math.max(gracePeriodEndsAtMs ?? 0, endsAtMs ?? 0, trustedUntilMs ?? 0);
      return;
    case 'in_billing_retry':
      builder.billingIssueAtMs ??= takenAtMs;
      builder.expirationReason ??= 'BILLING_ERROR';
      return;
    case 'trialing':
    case 'active':
      // Charged again since the failure, unless the period that it was about still runs.
      if (builder.cancelReason !== 'BILLING_ERROR') builder.billingIssueAtMs = null;
      return;
    default:
  }
}

function matchPurchase(
  fold: HistoryFold,
  matched: ReadonlySet<StateBuilder>,
  item: SnapshotPurchase,
): StateBuilder | undefined {
  const { environment, store, storePurchaseId, productId } = item;
  if (storePurchaseId === null) return undefined;
  const exact = fold.builders.get(indexKey(environment, store, `${storePurchaseId}:${productId ?? ''}`));
  const found = exact ?? fold.byTransaction.get(indexKey(environment, store, storePurchaseId));
  return found && !matched.has(found) ? found : undefined;
}

function addPurchase(fold: HistoryFold, item: SnapshotPurchase): StateBuilder | undefined {
  const { environment, store } = item;
  const key = indexKey(environment, store, `${item.storePurchaseId ?? item.id}:${item.productId ?? ''}`);
  if (fold.builders.has(key)) return undefined;
  const builder: StateBuilder = {
    ...emptyBuilder(key, environment),
    isOneTime: true,
    isPurchaseKnown: true,
    productId: item.productId,
    store,
    entitlements: item.entitlements,
    startedAtMs: item.purchasedAtMs,
    periodStartedAtMs: item.purchasedAtMs,
    transactionId: item.storePurchaseId,
  };
  fold.builders.set(key, builder);
  if (item.storePurchaseId !== null)
    fold.byTransaction.set(indexKey(environment, store, item.storePurchaseId), builder);
  return builder;
}
