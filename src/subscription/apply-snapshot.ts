import { compareTexts } from '../text.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import { isOtherProduct } from './apply-event.ts';
import {
  addBuilder,
  endTrialEarly,
  foldTrial,
  grantKey,
  type HistoryFold,
  indexKey,
  trialEnd,
} from './history-fold.ts';
import { isInternalId } from './names.ts';
import {
  accessEndMs,
  emptyBuilder,
  endAccess,
  isTemporaryPrice,
  NEW_PERIOD,
  type StateBuilder,
} from './state-builder.ts';
import type { Snapshot, SnapshotPurchase, SnapshotSubscription } from './types.ts';

/** Applies RevenueCat's API response on top of the events before it. */
export function applySnapshot(fold: HistoryFold, snapshot: Snapshot): void {
  const { takenAtMs } = snapshot;
  listEntitlements(fold, snapshot);
  const matched = new Set<StateBuilder>();
  const ifUnmatched = (found: StateBuilder | undefined) => (found && !matched.has(found) ? found : undefined);
  const isKnown = (item: SnapshotSubscription) => findByTransaction(fold, item) !== undefined;
  // A customer who resubscribed has two subscriptions to one product: those known by transaction are matched first.
  const subscriptions = snapshot.subscriptions
    .filter((item) => !isNamelessGrant(fold, item))
    .sort((a, b) => Number(isKnown(b)) - Number(isKnown(a)) || currentFirst(a, b));
  for (const item of subscriptions) {
    const builder = matchSubscription(fold, item, ifUnmatched) ?? addSubscription(fold, item);
    const trialEndsAtMs = trialEnd(builder);
    matched.add(builder);
    applySubscription(builder, latestPaidPeriod(item), {
      takenAtMs,
      graceEndsAtMs: graceEnd(fold, item, snapshot),
    });
    // A subscription still runs after the entitlements of its product were deleted.
    if (item.givesAccess && item.entitlements.length === 0 && givesNothing(builder, snapshot))
      builder.entitlements = [];
    endTrialEarly(fold, builder, trialEndsAtMs);
    if (item.status === 'trialing' && item.environment === 'production' && !builder.isGrant)
      foldTrial(fold, {
        periodStartedAtMs: item.periodStartsAtMs ?? builder.periodStartedAtMs,
        endsAtMs: item.periodEndsAtMs ?? item.endsAtMs,
        endedAtMs: builder.endedAtMs,
      });
  }
  // Newest first: of several passes, the newest one gives an entitlement until the listed end.
  for (const item of [...snapshot.purchases].sort((a, b) => b.purchasedAtMs - a.purchasedAtMs)) {
    const builder = ifUnmatched(findPurchase(fold, item)) ?? addPurchase(fold, item);
    if (!builder) continue;
    applyPurchase(builder, item, { listed: fold.listedEntitlements, others: matched, snapshot });
    matched.add(builder);
  }
  endUnlisted(fold, matched, takenAtMs);
  applyRevenue(fold, matched, snapshot);
}

/** RevenueCat may list an ended grant without its entitlement; the events of the customer's grants are more precise. */
function isNamelessGrant(fold: HistoryFold, item: SnapshotSubscription): boolean {
  const { store, givesAccess, entitlements } = item;
  return (
    store === 'PROMOTIONAL' &&
    !givesAccess &&
    entitlements.length === 0 &&
    [...fold.builders.values()].some(({ isGrant }) => isGrant)
  );
}

/** Among several subscriptions to one product, the active one is matched with the events first. */
function currentFirst(a: SnapshotSubscription, b: SnapshotSubscription): number {
  return (
    Number(b.givesAccess) - Number(a.givesAccess) ||
    (b.periodStartsAtMs ?? 0) - (a.periodStartsAtMs ?? 0) ||
    compareTexts(a.id, b.id)
  );
}

/** RevenueCat lists entitlements of sandbox purchases, too. The purchase with the same end gives the entitlement. */
function listEntitlements(fold: HistoryFold, snapshot: Snapshot): void {
  const items = [
    ...snapshot.subscriptions.filter(({ givesAccess }) => givesAccess),
    ...snapshot.purchases.flatMap((item) => (item.status === 'owned' ? [{ ...item, endsAtMs: null }] : [])),
  ];
  fold.listedEntitlements.clear();
  for (const { lookupKey, endsAtMs } of snapshot.activeEntitlements) {
    const giving = items.filter(({ entitlements }) => entitlements.includes(lookupKey));
    const exact = giving.filter((item) => item.endsAtMs === endsAtMs);
    const sources = exact.length > 0 ? exact : giving;
    const isOfSandbox = sources.length > 0 && sources.every(({ environment }) => environment === 'sandbox');
    if (!isOfSandbox) fold.listedEntitlements.set(lookupKey, endsAtMs);
  }
}

/**
 * A purchase that RevenueCat no longer lists gives no access, unless RevenueCat lists its entitlement as active and no
 * listed purchase gives it. Temporary grants are never listed; they end within a day.
 */
function endUnlisted(fold: HistoryFold, matched: ReadonlySet<StateBuilder>, takenAtMs: number): void {
  const given = new Set(
    [...matched].flatMap((builder) => (accessEndMs(builder) > takenAtMs ? builder.entitlements : [])),
  );
  const isUnexplained = (key: string) => fold.listedEntitlements.has(key) && !given.has(key);
  for (const builder of fold.builders.values()) {
    if (matched.has(builder) || builder.isTemporary || builder.environment === 'sandbox') continue;
    const unexplained = builder.entitlements.find(isUnexplained);
    if (unexplained !== undefined) {
      if (builder.isOneTime) builder.endsAtMs ??= fold.listedEntitlements.get(unexplained) ?? null;
      continue;
    }
    Object.assign(builder, { willRenew: false, pausedAtMs: null, resumesAtMs: null });
    endBy(builder, takenAtMs);
  }
}

/** Ends access at the time of the response, unless it ended before. */
function endBy(builder: StateBuilder, takenAtMs: number): void {
  if (accessEndMs(builder) > takenAtMs) endAccess(builder, takenAtMs);
}

/**
 * If RevenueCat lists more revenue than the events add up to, there were purchases before the first event. RevenueCat's
 * sum then counts, and later charges add to it. Dollar prices have three decimals: the difference that comes from
 * rounding each charge to cents is not extra revenue, and must not undo a refund.
 */
function applyRevenue(
  fold: HistoryFold,
  matched: ReadonlySet<StateBuilder>,
  { subscriptions, purchases }: Snapshot,
): void {
  const revenueUsdCents = [...subscriptions, ...purchases]
    .filter(({ environment }) => environment === 'production')
    .reduce((sum, item) => sum + item.revenueUsdCents, 0);
  if (revenueUsdCents - fold.chargedUsdCents <= fold.charges / 2) return;
  fold.lifetimeValueUsdCents = revenueUsdCents;
  for (const builder of matched) builder.isRevenueListed = true;
}

function matchSubscription(
  fold: HistoryFold,
  item: SnapshotSubscription,
  ifUnmatched: (found: StateBuilder | undefined) => StateBuilder | undefined,
): StateBuilder | undefined {
  const { environment, store, productId, entitlements } = item;
  if (store === 'PROMOTIONAL') {
    const grants = entitlements.map((key) => ifUnmatched(fold.builders.get(grantKey(environment, key))));
    return grants.find((grant) => grant !== undefined);
  }
  const sameProduct =
    productId === null ? undefined : fold.byProduct.get(indexKey(environment, store, productId));
  const found = ifUnmatched(findByTransaction(fold, item));
  const bought = ifUnmatched(sameProduct);
  // After a plan change in a Google trial the API has one subscription, but events have two: the new one has the price.
  const isContinued = isOtherProduct(found?.productId ?? null, productId);
  return isContinued && (bought?.startedAtMs ?? 0) > (found?.startedAtMs ?? 0) ? bought : (found ?? bought);
}

function findByTransaction(
  fold: HistoryFold,
  { environment, store, storeSubscriptionId }: SnapshotSubscription,
): StateBuilder | undefined {
  if (storeSubscriptionId === null) return undefined;
  return fold.byTransaction.get(indexKey(environment, store, storeSubscriptionId));
}

function addSubscription(fold: HistoryFold, item: SnapshotSubscription): StateBuilder {
  const { environment, store, storeSubscriptionId, productId } = item;
  const isGrant = store === 'PROMOTIONAL';
  const [entitlement] = item.entitlements;
  const ownKey = indexKey(environment, store, `snapshot:${item.id}`);
  const transactionKey =
    storeSubscriptionId === null ? null : indexKey(environment, store, storeSubscriptionId);
  const key =
    isGrant && entitlement !== undefined ? grantKey(environment, entitlement) : (transactionKey ?? ownKey);
  const builder = addBuilder(fold, {
    // RevenueCat also lists older grants of an entitlement next to the current one.
    ...emptyBuilder(fold.builders.has(key) ? ownKey : key, environment),
    store,
    isGrant,
    // Assumed to renew unless the snapshot or a later event says otherwise.
    willRenew: !isGrant,
    transactionId: storeSubscriptionId,
  });
  if (transactionKey !== null) fold.byTransaction.set(transactionKey, builder);
  const productKey = indexKey(environment, store, productId ?? '');
  if (productId !== null && !fold.byProduct.has(productKey)) fold.byProduct.set(productKey, builder);
  return builder;
}

/**
 * The last paid period, as in its RENEWAL: stores charge up to a day before the current period or free trial ends. The
 * end of the paid period is `ends_at`. Source: RevenueCat, API v2, `has_already_renewed`.
 */
function latestPaidPeriod(item: SnapshotSubscription): SnapshotSubscription {
  const { autoRenewalStatus, status, periodEndsAtMs, endsAtMs } = item;
  if (autoRenewalStatus !== 'has_already_renewed' || periodEndsAtMs === null || endsAtMs === null)
    return item;
  if (endsAtMs <= periodEndsAtMs) return item;
  const period = { periodStartsAtMs: periodEndsAtMs, periodEndsAtMs: endsAtMs };
  return { ...item, ...period, status: status === 'trialing' ? 'active' : status };
}

/**
 * When the grace period ends. Only the end of an entitlement shows it, if nothing else gives that entitlement. `null`:
 * unknown, or no grace period.
 */
function graceEnd(fold: HistoryFold, item: SnapshotSubscription, snapshot: Snapshot): number | null {
  if (item.status !== 'in_grace_period') return null;
  const others = [...snapshot.subscriptions, ...snapshot.purchases].filter(
    (other) => other !== item && (!('givesAccess' in other) || other.givesAccess),
  );
  const ends = item.entitlements
    .filter((key) => !others.some(({ entitlements }) => entitlements.includes(key)))
    .map((key) => fold.listedEntitlements.get(key) ?? 0);
  const endMs = Math.max(...ends);
  return endMs > (item.endsAtMs ?? 0) ? endMs : null;
}

/** RevenueCat's API overrules older events. Only events contain prices and the number of renewals. */
function applySubscription(
  builder: StateBuilder,
  item: SnapshotSubscription,
  { takenAtMs, graceEndsAtMs }: { readonly takenAtMs: number; readonly graceEndsAtMs: number | null },
): void {
  // The known end of access, including a grace period, before the API's fields replace it.
  const knownEndMs = accessEndMs(builder);
  const plannedEndMs = builder.endsAtMs;
  // The API lists only purchases that the store has confirmed.
  builder.isTemporary = false;
  builder.isIncomplete = item.status === 'incomplete' && !item.givesAccess;
  const isSamePeriod = applyPeriod(builder, item);
  applyProduct(builder, item);
  applyRenewal(builder, item);
  applyPeriodType(builder, item.status);
  builder.gracePeriodEndsAtMs = graceEndsAtMs ?? builder.gracePeriodEndsAtMs;
  builder.trustedUntilMs = isOverdue(builder, item, takenAtMs) ? takenAtMs + DAY_MS : null;
  applyBilling(builder, item, takenAtMs);
  applyPause(builder, item, isSamePeriod ? Math.min(knownEndMs, takenAtMs) : takenAtMs);
  if (item.givesAccess) {
    Object.assign(builder, { endedAtMs: null, expirationReason: null });
    return;
  }
  const ends = [isSamePeriod ? knownEndMs : Infinity, builder.endsAtMs ?? Infinity];
  // A planned end may have moved.
  if (knownEndMs === plannedEndMs) ends.reverse();
  builder.endedAtMs = ends.find((atMs) => atMs <= takenAtMs) ?? takenAtMs;
}

function applyProduct(builder: StateBuilder, item: SnapshotSubscription): void {
  if (isOtherProduct(builder.productId, item.productId))
    Object.assign(builder, { price: null, charge: null });
  // If the key may not read products, the API names them by its own ids (`prod4f31bd16ab`). The ids in events are then
  // better.
  if (builder.productId === null || !isInternalId(item.productId ?? ''))
    builder.productId = item.productId ?? builder.productId;
  builder.productName = item.productName ?? builder.productName;
  builder.managementUrl = item.managementUrl ?? builder.managementUrl;
  if (item.entitlements.length > 0) builder.entitlements = item.entitlements;
}

/** @returns whether it is the period that was known before */
function applyPeriod(builder: StateBuilder, item: SnapshotSubscription): boolean {
  const startedAtMs = item.periodStartsAtMs ?? builder.periodStartedAtMs;
  // The API has the current end, but not whether it was extended or the start repeated. Within the same period, the
  // length that a purchase stated stays.
  const laterMs = (startedAtMs ?? 0) - (builder.periodStartedAtMs ?? 0);
  // A product change begins a new period, even on the first day; Stripe repeats the old start for it.
  const minLaterMs = isOtherProduct(builder.productId, item.productId) ? MINUTE_MS : DAY_MS;
  const isSamePeriod = Math.abs(laterMs) < minLaterMs;
  // Facts about an earlier period, such as a refund or who paid, do not apply to a new one.
  const isNew = laterMs >= minLaterMs;
  if (isNew && item.status !== 'paused') Object.assign(builder, NEW_PERIOD);
  builder.isFamilyShare = item.isFamilyShare || (builder.isFamilyShare && !isNew);
  // The API has no prices, so a temporary price and a trial end with their period. If only RevenueCat's id of the
  // product is known, a new period may even be for another product.
  const isPriceOver = isTemporaryPrice(builder) || isInternalId(item.productId ?? '');
  if (!isSamePeriod && isPriceOver) builder.price = null;
  if (!isSamePeriod && ['INTRO', 'TRIAL'].includes(builder.periodType ?? '')) builder.periodType = 'NORMAL';
  const isStatedByPurchase = isSamePeriod && builder.isPurchaseKnown && builder.endsAtMs !== null;
  const endMs = item.periodEndsAtMs ?? item.endsAtMs;
  if (!isStatedByPurchase)
    builder.periodLengthMs = startedAtMs === null || endMs === null ? null : endMs - startedAtMs;
  builder.periodStartedAtMs = startedAtMs;
  // The first known event may be a renewal, so the API may know an earlier start.
  const startMs = item.startsAtMs;
  if (startMs !== null) builder.startedAtMs = Math.min(builder.startedAtMs ?? startMs, startMs);
  builder.endsAtMs = item.endsAtMs;
  builder.isPurchaseKnown = true;
  return isSamePeriod;
}

function applyPeriodType(builder: StateBuilder, status: string): void {
  if (status === 'trialing') builder.periodType = 'TRIAL';
  else if (status === 'active' && builder.periodType === 'TRIAL') builder.periodType = 'NORMAL';
  builder.periodType ??= builder.isGrant ? 'PROMOTIONAL' : 'NORMAL';
}

/** Whether the API reports access although its end has passed. This is trusted for a day after the response. */
function isOverdue(builder: StateBuilder, item: SnapshotSubscription, takenAtMs: number): boolean {
  const { endsAtMs, gracePeriodEndsAtMs, isGrant } = builder;
  const graceEndsAtMs = item.status === 'in_grace_period' ? (gracePeriodEndsAtMs ?? 0) : 0;
  return item.givesAccess && !isGrant && endsAtMs !== null && Math.max(endsAtMs, graceEndsAtMs) <= takenAtMs;
}

/** While paused, the period's end may be the end of the pause. @param latestMs the pause had begun by then */
function applyPause(builder: StateBuilder, item: SnapshotSubscription, latestMs: number): void {
  const endsAtMs = builder.endsAtMs ?? latestMs;
  if (item.status === 'paused') builder.pausedAtMs ??= Math.min(endsAtMs, latestMs);
  else builder.pausedAtMs = item.autoRenewalStatus === 'will_pause' ? endsAtMs : null;
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
  const { autoRenewalStatus, pendingProductId } = item;
  // Keeps the renewal setting of a refunded subscription: a reversal of the refund restores it.
  if (builder.refundedAtMs !== null && item.status === 'expired') return;
  const renews = RENEWS[autoRenewalStatus ?? ''];
  if (renews !== undefined && !builder.isGrant) {
    const awaitsPriceConsent = autoRenewalStatus === 'requires_price_increase_consent';
    builder.willRenew = renews;
    builder.isPriceRising ||= builder.awaitsPriceConsent && renews && !awaitsPriceConsent;
    builder.awaitsPriceConsent = awaitsPriceConsent;
  }
  if (renews === true || autoRenewalStatus === 'will_pause') {
    builder.cancelledAtMs = null;
    builder.cancelReason = null;
  }
  // A status other than `will_change_product` says that no change is pending.
  if (pendingProductId !== null) builder.pendingProductId = pendingProductId;
  else if (renews !== undefined && autoRenewalStatus !== 'will_change_product')
    builder.pendingProductId = null;
  if (builder.pendingProductId === builder.productId) builder.pendingProductId = null;
}

function applyBilling(builder: StateBuilder, item: SnapshotSubscription, takenAtMs: number): void {
  const { gracePeriodEndsAtMs, endsAtMs, trustedUntilMs } = builder;
  // The store charges at the period's end.
  const failedAtMs = Math.min(item.periodEndsAtMs ?? takenAtMs, takenAtMs);
  // Without access, the end of the grace period stays known: the EXPIRATION that follows names only the period's end.
  if (item.givesAccess) builder.gracePeriodEndsAtMs = null;
  switch (item.status) {
    case 'in_grace_period':
      builder.billingIssueAtMs ??= failedAtMs;
      builder.gracePeriodEndsAtMs = Math.max(gracePeriodEndsAtMs ?? 0, endsAtMs ?? 0, trustedUntilMs ?? 0);
      break;
    case 'in_billing_retry':
      builder.billingIssueAtMs ??= failedAtMs;
      builder.expirationReason = 'BILLING_ERROR';
      break;
    case 'expired':
      // The store has given up: the failed payment is why the subscription ended, and no longer an open issue.
      if (builder.billingIssueAtMs !== null && builder.cancelledAtMs === null) {
        builder.expirationReason ??= 'BILLING_ERROR';
        builder.cancelReason = null;
      }
      builder.billingIssueAtMs = null;
      break;
    case 'trialing':
    case 'active':
      // A payment has succeeded since the failure, unless the period that the failure was about still runs.
      if (builder.willRenew || builder.cancelReason !== 'BILLING_ERROR') builder.billingIssueAtMs = null;
      break;
    default:
  }
}

/**
 * Purchases have neither an end nor `gives_access`: the list of active entitlements shows what they give, except for
 * entitlements that another item gives until the listed end.
 */
function applyPurchase(
  builder: StateBuilder,
  item: SnapshotPurchase,
  context: {
    readonly listed: HistoryFold['listedEntitlements'];
    readonly others: ReadonlySet<StateBuilder>;
    readonly snapshot: Snapshot;
  },
): void {
  const { takenAtMs } = context.snapshot;
  builder.productName = item.productName ?? builder.productName;
  builder.isFamilyShare ||= item.isFamilyShare;
  if (item.entitlements.length > 0) builder.entitlements = item.entitlements;
  if (item.status === 'refunded') {
    builder.refundedAtMs ??= takenAtMs;
    endBy(builder, takenAtMs);
    return;
  }
  const isOfOther = (key: string, endsAtMs: number | null): boolean =>
    builder.endsAtMs === null &&
    endsAtMs !== null &&
    [...context.others].some((other) => other.entitlements.includes(key) && accessEndMs(other) >= endsAtMs);
  const ends = builder.entitlements.flatMap((key) => {
    const endsAtMs = context.listed.get(key);
    return endsAtMs === undefined || isOfOther(key, endsAtMs) ? [] : [endsAtMs];
  });
  // A purchase gives all of its entitlements or none.
  const isListed = builder.entitlements.every((key) => context.listed.has(key));
  // A sandbox purchase may give the entitlement for longer. Then only the purchase itself says when it ends.
  const { activeEntitlements } = context.snapshot;
  const isActive = (key: string) => activeEntitlements.some(({ lookupKey }) => lookupKey === key);
  const isUncertain = builder.endsAtMs !== null && builder.entitlements.every(isActive);
  const isUnlisted = ends.length === 0 || !isListed;
  const hasEnded = isUnlisted && !isUncertain && givesNothing(builder, context.snapshot);
  if (hasEnded) endBy(builder, takenAtMs);
  if (hasEnded || ends.length === 0) return;
  Object.assign(builder, { endedAtMs: null, expirationReason: null });
  builder.endsAtMs ??= ends.includes(null) ? null : Math.max(...ends.map(Number));
}

/**
 * Whether a purchase gives no access, given that one of its entitlements is not listed as active. This is uncertain while
 * an entitlement is listed that no item names: a new one is listed by its id until its lookup key is known.
 */
function givesNothing({ environment, entitlements }: StateBuilder, snapshot: Snapshot): boolean {
  const items = [...snapshot.subscriptions, ...snapshot.purchases];
  const isNamed = (key: string) => items.some((item) => item.entitlements.includes(key));
  return (
    environment === 'production' &&
    entitlements.length > 0 &&
    snapshot.activeEntitlements.every(({ lookupKey }) => isNamed(lookupKey))
  );
}

function purchaseKey(item: SnapshotPurchase): string {
  const { environment, store, storePurchaseId, id, productId, entitlements } = item;
  if (store === 'PROMOTIONAL' && entitlements[0] !== undefined) return grantKey(environment, entitlements[0]);
  return indexKey(environment, store, `${storePurchaseId ?? id}:${productId ?? ''}`);
}

function findPurchase(fold: HistoryFold, item: SnapshotPurchase): StateBuilder | undefined {
  const { environment, store, storePurchaseId } = item;
  const byKey = fold.builders.get(purchaseKey(item));
  if (byKey || storePurchaseId === null) return byKey;
  return fold.byTransaction.get(indexKey(environment, store, storePurchaseId));
}

function addPurchase(fold: HistoryFold, item: SnapshotPurchase): StateBuilder | undefined {
  const { environment, store, storePurchaseId, productId, entitlements, purchasedAtMs } = item;
  const key = purchaseKey(item);
  if (fold.builders.has(key)) return undefined;
  const isGrant = store === 'PROMOTIONAL';
  const builder = addBuilder(fold, {
    ...emptyBuilder(key, environment),
    isOneTime: !isGrant,
    isGrant,
    periodType: isGrant ? 'PROMOTIONAL' : null,
    isPurchaseKnown: true,
    productId,
    store,
    entitlements,
    startedAtMs: purchasedAtMs,
    periodStartedAtMs: purchasedAtMs,
    transactionId: storePurchaseId,
  });
  if (storePurchaseId !== null)
    fold.byTransaction.set(indexKey(environment, store, storePurchaseId), builder);
  return builder;
}
