import { HOUR_MS, MINUTE_MS } from '../time.ts';
import { applyEvent, isOtherProduct, isPurchase } from './apply-event.ts';
import { isGrant } from './kinds.ts';
import { addMoney } from './money.ts';
import type { LifecycleEvent } from './read-event.ts';
import {
  accessEndMs,
  builderFrom,
  endAccess,
  environmentOf,
  grantedEntitlement,
  type StateBuilder,
  type Sum,
  sharesEntitlement,
} from './state-builder.ts';
import type { Environment, Money } from './types.ts';

export type HistoryFold = ReturnType<typeof emptyFold>;

/** State accumulated from the events so far: subscriptions, indexes to find them, and production totals. */
export function emptyFold() {
  return {
    builders: new Map<string, StateBuilder>(),
    byTransaction: new Map<string, StateBuilder>(),
    byProduct: new Map<string, StateBuilder>(),
    /** Temporary grants and subscriptions with an announced product change, which a later purchase may replace. */
    replaceable: new Set<StateBuilder>(),
    /** Active entitlements of the snapshot until a later event mentions them; values are ends, `null` for never. */
    listedEntitlements: new Map<string, number | null>(),
    lifetimeValueUsdCents: 0,
    /** Total charged; refunds are not subtracted. */
    chargedUsdCents: 0,
    /** Number of charges in `chargedUsdCents`, each rounded to cents. */
    charges: 0,
    trialEndsAtMs: null as number | null,
    /** When the trial of `trialEndsAtMs` began. */
    trialStartedAtMs: 0,
  };
}

export function indexKey(environment: Environment, store: string | null, id: string): string {
  return `${environment}|${store ?? ''}|${id}`;
}

export function grantKey(environment: Environment, entitlement: string): string {
  return `${environment}|promotional|${entitlement}`;
}

export function foldEvent(fold: HistoryFold, event: LifecycleEvent): void {
  const existing = findBuilder(fold, event);
  // Price increase events have no dates: they describe no subscription of their own.
  if (!existing && event.kind === 'price_increase_consent') return;
  const builder = existing ?? addBuilder(fold, builderFrom(event, keyOf(event)));
  // These compare the event with the state before it.
  const sum = sumOf(builder, event);
  const trialEndsAtMs = trialEnd(builder);
  const isCounted = isRevenueCounted(builder, event);
  const { entitlements: formerKeys } = builder;
  applyEvent(builder, event);
  endTrialEarly(fold, builder, trialEndsAtMs);
  indexBuilder(fold, builder, event);
  // A change of product ends the entitlements of the old one.
  for (const key of [...formerKeys, ...builder.entitlements]) fold.listedEntitlements.delete(key);
  if (isPurchase(event)) replaceOthers(fold, builder, event);
  if (event.kind === 'product_change') findReplacement(fold, builder);
  if (sum?.price?.amountMinor) addPayment(builder, event, sum.price);
  if (sum && event.kind === 'refund') builder.refunded = withSign(sum, 1);
  if (builder.environment === 'sandbox') return;
  if (builder.periodType === 'TRIAL') foldTrial(fold, builder);
  foldTotals(fold, sum && isCounted ? { ...sum, usdCents: 0 } : sum);
}

function addPayment(builder: StateBuilder, event: LifecycleEvent, money: Money): void {
  builder.paid = addMoney(builder.paid, money);
  const { purchasedAtMs, atMs, kind } = event;
  // A store charges up to a day before the period begins.
  if (money.amountMinor > 0) builder.paidAtMs.push(Math.min(purchasedAtMs ?? atMs, atMs));
  else if (kind === 'refund' && builder.refundedAtMs === atMs && !builder.isRefundedInPart)
    builder.paidAtMs.pop();
}

/** Whether the revenue that RevenueCat's API lists includes this charge already: its event may come later. */
function isRevenueCounted(builder: StateBuilder, event: LifecycleEvent): boolean {
  const { isRevenueListed, periodStartedAtMs, productId } = builder;
  return (
    isRevenueListed &&
    isPurchase(event) &&
    !isOtherProduct(productId, event.productId) &&
    (event.purchasedAtMs ?? event.atMs) < (periodStartedAtMs ?? 0) + MINUTE_MS
  );
}

/** When a free trial ends; `null`: not a free trial, or its end is unknown. */
export function trialEnd({ periodType, endsAtMs }: StateBuilder): number | null {
  return periodType === 'TRIAL' ? endsAtMs : null;
}

/** Ends a free trial early if it was paid for early. @param trialEndsAtMs the end of the trial before this event */
export function endTrialEarly(fold: HistoryFold, builder: StateBuilder, trialEndsAtMs: number | null): void {
  if (trialEndsAtMs === null || trialEndsAtMs !== fold.trialEndsAtMs || builder.periodType === 'TRIAL')
    return;
  fold.trialEndsAtMs = Math.min(trialEndsAtMs, builder.periodStartedAtMs ?? trialEndsAtMs);
}

/** Keeps the trial that began last: a late event about another trial changes nothing. */
export function foldTrial(
  fold: HistoryFold,
  trial: Pick<StateBuilder, 'periodStartedAtMs' | 'endsAtMs' | 'endedAtMs'>,
): void {
  const { periodStartedAtMs, endsAtMs, endedAtMs } = trial;
  const startedAtMs = periodStartedAtMs ?? 0;
  if (endsAtMs === null || startedAtMs < fold.trialStartedAtMs) return;
  fold.trialStartedAtMs = startedAtMs;
  fold.trialEndsAtMs = Math.min(endsAtMs, endedAtMs ?? endsAtMs);
}

function foldTotals(fold: HistoryFold, sum: Sum | null): void {
  if (!sum) return;
  const usdCents = sum.usdCents ?? 0;
  fold.lifetimeValueUsdCents += usdCents;
  fold.chargedUsdCents += Math.max(0, usdCents);
  if (usdCents > 0) fold.charges += 1;
}

/** The key under which the purchase of an event is stored. */
function keyOf(event: LifecycleEvent): string {
  const environment = environmentOf(event);
  const { transactionId, originalTransactionId, productId, store } = event;
  if (isGrant(event)) return grantKey(environment, grantedEntitlement(event));
  if (event.kind === 'temporary_entitlement_grant')
    return indexKey(environment, store, `temporary:${transactionId ?? productId ?? ''}`);
  if (event.type === 'NON_RENEWING_PURCHASE')
    return indexKey(environment, store, `${originalTransactionId ?? transactionId ?? ''}:${productId ?? ''}`);
  return indexKey(environment, store, originalTransactionId ?? `product:${productId ?? ''}`);
}

/** Finds a purchase by transaction, then product, then renewal; grants and one-time purchases only by key. */
function findBuilder(fold: HistoryFold, event: LifecycleEvent): StateBuilder | undefined {
  const same = fold.builders.get(keyOf(event));
  const isKeyed = event.kind === 'temporary_entitlement_grant' || event.type === 'NON_RENEWING_PURCHASE';
  if (isKeyed || isGrant(event)) return same;
  const found = findByTransaction(fold, event) ?? findByProduct(fold, event) ?? findRenewed(fold, event);
  return found && !(found.isTemporary && isPurchase(event)) ? found : same;
}

function findByTransaction(fold: HistoryFold, event: LifecycleEvent): StateBuilder | undefined {
  const { productId, originalTransactionId, transactionId } = event;
  // The API names a subscription by its last transaction, events also by its first.
  const ids = [transactionId, originalTransactionId].filter((id) => id !== null);
  const found = ids.map((id) => lookUp(fold.byTransaction, event, id)).find((each) => each !== undefined);
  if (!found?.isOneTime || productId === null || productId === found.productId) return found;
  // One order may contain several products.
  const key = indexKey(environmentOf(event), event.store, `${ids.at(-1)}:${productId}`);
  return fold.builders.get(key) ?? found;
}

/** Two original transactions are two subscriptions, even of one product. */
function findByProduct(fold: HistoryFold, event: LifecycleEvent): StateBuilder | undefined {
  const found = event.productId === null ? undefined : lookUp(fold.byProduct, event, event.productId);
  return event.originalTransactionId === null || found?.originalTransactionId === null ? found : undefined;
}

/** A renewal implies an earlier purchase, which the API may list under an earlier transaction and product. */
function findRenewed(fold: HistoryFold, event: LifecycleEvent): StateBuilder | undefined {
  if (event.type !== 'RENEWAL') return undefined;
  return [...fold.builders.values()].find((each) => mayBeAbout(each, event));
}

/** Finds an entry of the event's store, or one whose store is not known yet. */
function lookUp(index: HistoryFold['byProduct'], event: LifecycleEvent, id: string) {
  const storeless = index.get(indexKey(environmentOf(event), null, id));
  const ofStore = index.get(indexKey(environmentOf(event), event.store, id));
  return ofStore ?? (storeless?.store === null ? storeless : undefined);
}

/** Whether an event may be about a subscription that is known only from the API's response. */
function mayBeAbout(builder: StateBuilder, event: LifecycleEvent): boolean {
  const { originalTransactionId, isOneTime, isGrant, isTemporary } = builder;
  return (
    originalTransactionId === null &&
    !isOneTime &&
    !isGrant &&
    !isTemporary &&
    builder.environment === environmentOf(event) &&
    builder.store === event.store &&
    builder.isFamilyShare === event.isFamilyShare &&
    sharesEntitlement(builder, event)
  );
}

export function addBuilder(fold: HistoryFold, builder: StateBuilder): StateBuilder {
  fold.builders.set(builder.key, builder);
  return builder;
}

function indexBuilder(fold: HistoryFold, builder: StateBuilder, event: LifecycleEvent): void {
  if (builder.isTemporary || builder.changesAtMs !== null) fold.replaceable.add(builder);
  if (builder.isGrant) return;
  const { environment, productId } = builder;
  // Events may lack their store.
  for (const store of [builder.store, null]) {
    for (const id of [event.originalTransactionId, event.transactionId])
      if (id !== null) fold.byTransaction.set(indexKey(environment, store, id), builder);
    if (!builder.isTemporary && !builder.isOneTime && productId !== null)
      fold.byProduct.set(indexKey(environment, store, productId), builder);
  }
}

/** A purchase replaces the temporary grant it confirms, and the subscription that was to change into it. */
function replaceOthers(fold: HistoryFold, bought: StateBuilder, event: LifecycleEvent): void {
  for (const old of fold.replaceable) {
    if (old === bought || !isSameStore(old, bought)) continue;
    const isFirst = event.type === 'INITIAL_PURCHASE';
    if (old.isTemporary) {
      const isSame = old.transactionId !== null && old.transactionId === event.transactionId;
      const isOfProduct = old.productId !== null && !isOtherProduct(old.productId, bought.productId);
      // A first purchase may come under another transaction and product than the grant named.
      if (isSame || isFirst || isOfProduct) fold.builders.delete(old.key);
    } else if (old.changesAtMs !== null) {
      const isReplacement =
        old.pendingProductId === null
          ? isFirst && (sharesEntitlement(old, bought) || beginsAtChange(bought, old))
          : !isOtherProduct(old.pendingProductId, bought.productId);
      if (isReplacement) replace(old, bought);
    }
  }
}

/**
 * The purchase of the new product may come before the change is announced, or in the same millisecond. Google's
 * immediate change does not name the new product; its `expiration_at_ms` is the time of the change.
 */
function findReplacement(fold: HistoryFold, old: StateBuilder): void {
  if (old.changesAtMs === null) return;
  for (const bought of fold.builders.values()) {
    if (bought === old || bought.isOneTime || !bought.isPurchaseKnown || !isSameStore(old, bought)) continue;
    const startMs = bought.periodStartedAtMs ?? 0;
    if (startMs < (old.periodStartedAtMs ?? 0)) continue;
    const isReplacement =
      old.pendingProductId === null
        ? beginsAtChange(bought, old) && bought.startedAtMs === startMs
        : bought.productId === old.pendingProductId;
    if (isReplacement) {
      replace(old, bought);
      return;
    }
  }
}

function beginsAtChange(bought: StateBuilder, { changesAtMs }: StateBuilder): boolean {
  return Math.abs((bought.periodStartedAtMs ?? 0) - (changesAtMs ?? 0)) <= HOUR_MS;
}

function isSameStore(one: StateBuilder, other: StateBuilder): boolean {
  return one.environment === other.environment && one.store === other.store;
}

function replace(old: StateBuilder, bought: StateBuilder): void {
  // The old subscription no longer retries a failed payment or resumes from a pause.
  Object.assign(old, {
    pendingProductId: null,
    changesAtMs: null,
    willRenew: false,
    billingIssueAtMs: null,
    pausedAtMs: null,
    resumesAtMs: null,
  });
  // A change that keeps the billing day costs only a part of the price, for the days until then.
  if (bought.endsAtMs === old.endsAtMs)
    Object.assign(bought, { periodLengthMs: null, isOnePeriodPrice: true });
  const startMs = bought.periodStartedAtMs ?? 0;
  if (accessEndMs(old) > startMs) endAccess(old, startMs);
}

/** The amount that an event adds to the total paid; negative for a refund, `null` for nothing. */
function sumOf(builder: StateBuilder, event: LifecycleEvent): Sum | null {
  if (event.isFamilyShare || builder.isGrant) return null;
  const stated = { price: event.price, usdCents: event.priceUsdCents };
  if (isPurchase(event)) return isChargedAlready(builder, event) ? null : stated;
  if (event.kind === 'refund') {
    // A charge says nothing about what another product cost.
    const isUnknown = builder.refundedAtMs !== null || isOtherProduct(builder.productId, event.productId);
    return withSign(completeSum(stated, isUnknown ? null : builder.charge), -1);
  }
  if (event.kind !== 'refund_reversed') return null;
  // Nothing was subtracted for a refund that was never received.
  const isSubtracted =
    !builder.isPurchaseKnown ||
    builder.refundedAtMs !== null ||
    event.purchasedAtMs !== builder.periodStartedAtMs;
  return isSubtracted ? withSign(completeSum(stated, builder.refunded), 1) : null;
}

/** Purchases of a customer who was deleted in RevenueCat are announced again when the app restores them. */
function isChargedAlready(
  builder: StateBuilder,
  { transactionId, purchasedAtMs, productId }: LifecycleEvent,
): boolean {
  const { charge, periodStartedAtMs } = builder;
  return (
    (charge?.price?.amountMinor ?? 0) > 0 &&
    transactionId !== null &&
    transactionId === builder.transactionId &&
    purchasedAtMs === periodStartedAtMs &&
    productId === builder.productId
  );
}

/**
 * Fills in what RevenueCat left out, if the sum equals the known one: everything, or one of its two currencies. Without
 * a currency, a sum is in dollars.
 */
function completeSum(stated: Sum, paid: Sum | null): Sum | null {
  const { price, usdCents } = stated;
  if (!price?.amountMinor && !usdCents) return paid;
  if (paid === null) return stated;
  const isAll =
    price !== null && price.currency === paid.price?.currency
      ? Math.abs(price.amountMinor) === paid.price.amountMinor
      : usdCents !== null && Math.abs(usdCents) === paid.usdCents;
  return isAll ? { price: paid.price ?? price, usdCents: usdCents ?? paid.usdCents } : stated;
}

function withSign(sum: Sum | null, sign: 1 | -1): Sum | null {
  if (sum === null) return null;
  const { price, usdCents } = sum;
  return {
    price: price?.amountMinor ? { ...price, amountMinor: sign * Math.abs(price.amountMinor) } : null,
    // `|| 0` keeps a negative zero out of the state.
    usdCents: usdCents === null ? null : sign * Math.abs(usdCents) || 0,
  };
}
