import { DAY_MS, HOUR_MS, MINUTE_MS } from '../time.ts';
import { type EventKind, isCancelledByStore } from './kinds.ts';
import { periodOf } from './money.ts';
import { isApple, isInternalId } from './names.ts';
import type { LifecycleEvent } from './read-event.ts';
import {
  accessEndMs,
  boughtLengthMs,
  endAccess,
  isTemporaryPrice,
  NEW_PERIOD,
  type StateBuilder,
} from './state-builder.ts';
import type { Money } from './types.ts';

/**
 * Whether an event begins or prolongs a paid period or a free trial. Subscribing again after the end is a RENEWAL in one
 * of RevenueCat's tables and an INITIAL_PURCHASE in another (CONFLICT): either starts a period.
 */
export function isPurchase({ type, kind }: LifecycleEvent): boolean {
  return type === 'INITIAL_PURCHASE' || type === 'RENEWAL' || kind === 'non_subscription_purchase';
}

/**
 * Applies one event to its subscription. Events are applied in time order. An event about an earlier period or a
 * replaced product changes nothing: stores announce ends and cancellations up to hours late.
 */
export function applyEvent(builder: StateBuilder, event: LifecycleEvent): void {
  if (builder.entitlements.length === 0) builder.entitlements = event.entitlements;
  builder.originalTransactionId ??= event.originalTransactionId;
  builder.store ??= event.store;
  if (isPurchase(event)) startPeriod(builder, event);
  else if (event.kind === 'promotional_granted') grant(builder, event);
  else if (event.kind === 'temporary_entitlement_grant') grantTemporarily(builder, event);
  else if (!isOutdated(builder, event)) {
    startMissedPeriod(builder, event);
    // The API does not report introductory periods, so events decide. A price increase event names no period.
    if (event.purchasedAtMs !== null) builder.periodType = event.periodType ?? builder.periodType;
    CHANGES[event.kind]?.(builder, event);
  }
}

/**
 * Starts a new period if an event is about one whose purchase event was never received. A temporary price of the known
 * period does not carry over to it.
 */
function startMissedPeriod(builder: StateBuilder, event: LifecycleEvent): void {
  const { purchasedAtMs, expiresAtMs, productId, entitlements } = event;
  const knownStartMs = builder.periodStartedAtMs ?? 0;
  const knownEndMs = Math.min(builder.endsAtMs ?? Number.POSITIVE_INFINITY, accessEndMs(builder));
  // A change of product may end a period early.
  const isChanged = !builder.isGrant && isOtherProduct(builder.productId, productId);
  const minStartMs = isChanged ? knownStartMs + MINUTE_MS : Math.max(knownStartMs + 1, knownEndMs);
  if (purchasedAtMs === null || purchasedAtMs < minStartMs) return;
  if (isChanged) addFormerProduct(builder);
  Object.assign(builder, {
    ...NEW_PERIOD,
    ...(isChanged && { productId, entitlements, charge: null, pendingProductId: null, changesAtMs: null }),
    periodStartedAtMs: purchasedAtMs,
    periodLengthMs: periodLength(builder, event, isChanged),
    endsAtMs: isSetBack(event) ? null : expiresAtMs,
    price: isChanged || isTemporaryPrice(builder) ? null : builder.price,
    willRenew: !builder.isGrant && !builder.isOneTime && event.periodType !== 'PREPAID',
  } satisfies Partial<StateBuilder>);
}

/** How each kind of event changes the current period. */
const CHANGES: Partial<Record<EventKind, (builder: StateBuilder, event: LifecycleEvent) => void>> = {
  cancellation: cancel,
  trial_cancelled: cancel,
  refund,
  refund_reversed(builder, { expiresAtMs }) {
    Object.assign(builder, builder.beforeRefund ?? { endedAtMs: null, expirationReason: null });
    builder.beforeRefund = null;
    builder.refundedAtMs = null;
    extend(builder, expiresAtMs);
  },
  expiration: expire,
  promotional_revoked(builder, { atMs, cancelReason }) {
    Object.assign(builder, { cancelledAtMs: atMs, cancelReason });
    endAccess(builder, atMs);
  },
  uncancellation(builder, { atMs, expiresAtMs }) {
    Object.assign(builder, { cancelledAtMs: null, cancelReason: null, pausedAtMs: null, resumesAtMs: null });
    builder.awaitsPriceConsent = false;
    builder.willRenew = true;
    builder.endsAtMs = expiresAtMs ?? builder.endsAtMs;
    revive(builder, atMs);
  },
  billing_issue(builder, { atMs, gracePeriodEndsAtMs }) {
    // The charge that ends the pause has failed.
    if (builder.pausedAtMs !== null && builder.pausedAtMs < atMs) endPause(builder);
    // Stores announce the failed payment again with each retry.
    builder.billingIssueAtMs ??= atMs;
    builder.gracePeriodEndsAtMs = gracePeriodEndsAtMs ?? builder.gracePeriodEndsAtMs;
  },
  subscription_paused(builder, { atMs, expiresAtMs, resumesAtMs }) {
    builder.endsAtMs = expiresAtMs ?? builder.endsAtMs;
    builder.resumesAtMs = resumesAtMs;
    builder.willRenew = false;
    builder.pausedAtMs = builder.endsAtMs ?? atMs;
  },
  subscription_extended(builder, { atMs, expiresAtMs }) {
    const isUnpaid = builder.expirationReason === 'BILLING_ERROR';
    extend(builder, expiresAtMs);
    revive(builder, atMs);
    // The store had given up on the payment: the extended period does not wait for it and renews as usual.
    if (isUnpaid && builder.endedAtMs === null && builder.cancelledAtMs === null)
      Object.assign(builder, {
        billingIssueAtMs: null,
        gracePeriodEndsAtMs: null,
        cancelReason: null,
        willRenew: true,
      });
  },
  product_change(builder, { newProductId, store, atMs, expiresAtMs }) {
    // The event's dates belong to the old product. A change back to it withdraws the announced one. If no new product
    // is named, only Google starts another subscription: Stripe keeps the same one, and its renewal names the product.
    const isChange = newProductId === null ? store === 'PLAY_STORE' : newProductId !== builder.productId;
    const changesAtMs = newProductId === null ? Math.min(expiresAtMs ?? atMs, atMs) : (expiresAtMs ?? atMs);
    builder.changesAtMs = isChange ? changesAtMs : null;
    builder.pendingProductId = isChange ? newProductId : null;
  },
  price_increase_consent(builder, { type }) {
    builder.awaitsPriceConsent = !type.endsWith('APPROVED');
    builder.isPriceRising = !builder.awaitsPriceConsent;
  },
};

function cancel(builder: StateBuilder, event: LifecycleEvent): void {
  builder.cancelReason = event.cancelReason;
  builder.endsAtMs = event.expiresAtMs ?? builder.endsAtMs;
  const { endsAtMs: expiresAtMs } = builder;
  // The cancellation reports a failed payment, which the store retries: the customer has not turned renewal off.
  if (event.cancelReason === 'BILLING_ERROR' && !isCancelledByStore({ ...event, expiresAtMs })) {
    builder.billingIssueAtMs ??= event.atMs;
    return;
  }
  builder.cancelledAtMs = event.atMs;
  builder.willRenew = false;
  // The announced product would have started with the next renewal.
  if (builder.pendingProductId !== null) builder.changesAtMs = null;
  builder.pendingProductId = null;
  builder.awaitsPriceConsent = false;
  // The pause no longer resumes: the subscription has ended for the cancellation's reason.
  if (builder.pausedAtMs !== null) endPause(builder);
}

function endPause(builder: StateBuilder): void {
  Object.assign(builder, { pausedAtMs: null, resumesAtMs: null, expirationReason: null });
}

/**
 * A refund does not turn renewal off ("refunds can be given without cancelling a subscription"). RevenueCat may set the
 * end back to the purchase, but access lasted until the refund. Google refunds without ending access, and a partial
 * refund ends no period; an EXPIRATION or the snapshot does.
 */
function refund(builder: StateBuilder, event: LifecycleEvent): void {
  const { atMs, expiresAtMs, store } = event;
  const { charge, endedAtMs, expirationReason } = builder;
  builder.refundedAtMs = atMs;
  // The refund's own EXPIRATION may come before the refund; a reversal undoes both.
  builder.beforeRefund = expirationReason === 'CUSTOMER_SUPPORT' ? null : { endedAtMs, expirationReason };
  const rest = restOfCharge(charge?.price, event);
  // Several partial refunds may add up to the whole charge.
  if (charge && rest) builder.charge = { ...charge, price: rest };
  builder.isRefundedInPart = rest !== null;
  // Apple revokes access after a partial refund, too. Source: Apple, "Revoke Subscription" and `REFUND_PRORATED`.
  const leavesAccess = (rest !== null && !isApple(store)) || (store === 'PLAY_STORE' && expiresAtMs !== null);
  // If the end of the period is unchanged, a grace period after it may have lasted until now.
  const isUnchanged = expiresAtMs === null || expiresAtMs === builder.endsAtMs;
  const endMs = isUnchanged ? accessEndMs(builder) : expiresAtMs;
  if (leavesAccess && endMs > atMs) return;
  const periodEndMs = builder.isPurchaseKnown ? (builder.endsAtMs ?? atMs) : atMs;
  endAccess(builder, Math.min(isSetBack(event) ? periodEndMs : endMs, atMs));
}

/** What a partial refund leaves of the charge; `null`: nothing, or unknown. */
function restOfCharge(charged: Money | null | undefined, { price }: LifecycleEvent): Money | null {
  if (!price?.amountMinor || charged?.currency !== price.currency) return null;
  const amountMinor = charged.amountMinor - Math.abs(price.amountMinor);
  return amountMinor > 0 ? { ...charged, amountMinor } : null;
}

function isSetBack({ purchasedAtMs, expiresAtMs }: LifecycleEvent): boolean {
  return expiresAtMs !== null && purchasedAtMs !== null && expiresAtMs - purchasedAtMs <= MINUTE_MS;
}

/**
 * The EXPIRATION after a grace period names the end of the paid period, although access lasted longer. The EXPIRATION
 * of a refund does not turn renewal off.
 */
function expire(builder: StateBuilder, event: LifecycleEvent): void {
  const { atMs, expiresAtMs, expirationReason } = event;
  const graceEndsAtMs = builder.gracePeriodEndsAtMs ?? 0;
  // The API does not say when a grace period ends. The EXPIRATION comes when it has ended.
  const isEndKnown = graceEndsAtMs !== builder.trustedUntilMs && !isSetBack(event);
  const endMs = isEndKnown ? Math.max(expiresAtMs ?? atMs, graceEndsAtMs) : atMs;
  endAccess(builder, Math.min(endMs, atMs));
  builder.expirationReason = expirationReason;
  const isOfRefund = expirationReason === 'CUSTOMER_SUPPORT' || builder.refundedAtMs !== null;
  if (!isOfRefund) builder.willRenew = false;
  builder.pausedAtMs = expirationReason === 'SUBSCRIPTION_PAUSED' ? builder.endedAtMs : null;
  builder.resumesAtMs = builder.pausedAtMs === null ? null : (event.resumesAtMs ?? builder.resumesAtMs);
}

function extend(builder: StateBuilder, endsAtMs: number | null): void {
  if (endsAtMs === null) return;
  builder.endsAtMs = Math.max(builder.endsAtMs ?? 0, endsAtMs);
  if (builder.pausedAtMs === null) return;
  // A pause begins at the end of the period. One that would end before it begins has another end, which is not known.
  builder.pausedAtMs = builder.endsAtMs;
  if ((builder.resumesAtMs ?? 0) <= builder.endsAtMs) builder.resumesAtMs = null;
}

/** Restores access to a period that has time left, unless it was refunded. */
function revive(builder: StateBuilder, atMs: number): void {
  if (builder.refundedAtMs !== null || builder.endsAtMs === null || builder.endsAtMs <= atMs) return;
  builder.endedAtMs = null;
  builder.expirationReason = null;
}

/** Whether an event is about a period before the current one, or about a product that was replaced. */
function isOutdated(builder: StateBuilder, event: LifecycleEvent): boolean {
  const { periodStartedAtMs, productId, formerProductIds } = builder;
  const { purchasedAtMs, expiresAtMs } = event;
  if (!builder.isPurchaseKnown || periodStartedAtMs === null) return false;
  if (builder.isGrant) return isEndOfReplacedGrant(builder, event);
  const isFormer =
    isOtherProduct(productId, event.productId) && formerProductIds.includes(event.productId ?? '');
  if (purchasedAtMs === null) return isFormer || (expiresAtMs !== null && expiresAtMs <= periodStartedAtMs);
  // Stripe repeats the old start for a changed product.
  return isEarlierPeriod(builder, purchasedAtMs, event) || (isFormer && purchasedAtMs === periodStartedAtMs);
}

/** Stores and the API round a period's start differently each time: for one product, the period's end decides. */
function isEarlierPeriod(builder: StateBuilder, startMs: number, event: LifecycleEvent): boolean {
  const earlierMs = (builder.periodStartedAtMs ?? 0) - startMs;
  if (isOtherProduct(builder.productId, event.productId)) return earlierMs > 0;
  // Starts within a minute mean the same period, whatever the ends: a refund may set the end back.
  if (earlierMs <= MINUTE_MS) return false;
  return event.expiresAtMs === null || builder.endsAtMs === null || event.expiresAtMs < builder.endsAtMs;
}

/** Unknown products and RevenueCat's internal ids cannot be compared; Google's base plan may be left out. */
export function isOtherProduct(one: string | null, other: string | null): boolean {
  if (one === null || other === null || isInternalId(one) || isInternalId(other)) return false;
  return one !== other && !one.startsWith(`${other}:`) && !other.startsWith(`${one}:`);
}

/** Whether this is the end of a grant that a longer one replaced, which ends no access. A removal ends all grants. */
function isEndOfReplacedGrant(builder: StateBuilder, event: LifecycleEvent): boolean {
  const { kind, transactionId, purchasedAtMs, expiresAtMs } = event;
  if (kind !== 'expiration') return false;
  if (transactionId !== null && builder.transactionId !== null)
    return transactionId !== builder.transactionId;
  if (purchasedAtMs === null || expiresAtMs === null || builder.endsAtMs === null) return false;
  return purchasedAtMs < (builder.periodStartedAtMs ?? 0) && expiresAtMs < builder.endsAtMs;
}

function addFormerProduct(builder: StateBuilder): void {
  const { formerProductIds, productId } = builder;
  if (productId !== null) builder.formerProductIds = [...new Set([...formerProductIds, productId])];
}

function startPeriod(builder: StateBuilder, event: LifecycleEvent): void {
  const startMs = event.purchasedAtMs ?? event.atMs;
  const startedAtMs = Math.min(builder.startedAtMs ?? startMs, startMs);
  if (event.type === 'RENEWAL') builder.renewals += 1;
  if (builder.isPurchaseKnown && isEarlierPeriod(builder, startMs, event)) {
    builder.startedAtMs = startedAtMs;
    return;
  }
  // Periods that the family paid for earlier are not this customer's own.
  builder.startedAtMs = builder.isFamilyShare && !event.isFamilyShare ? startMs : startedAtMs;
  const isChanged = isOtherProduct(builder.productId, event.productId);
  // Stripe repeats the old start for a changed product: the length of its period is then unknown.
  const hasRepeatedStart = isChanged && builder.isPurchaseKnown && startMs === builder.periodStartedAtMs;
  const lengthMs = periodLength(builder, event, isChanged);
  keepPrice(builder, event, isChanged);
  if (isChanged) addFormerProduct(builder);
  // A renewal of the same product keeps an announced change pending. The API uses other product ids than events, so any
  // new product counts as the announced one. Subscribing again withdraws the change.
  const isNewStart = accessEndMs(builder) < startMs - HOUR_MS;
  if (isNewStart || event.productId !== builder.productId || builder.pendingProductId === event.productId)
    builder.pendingProductId = null;
  if (builder.pendingProductId === null) builder.changesAtMs = null;
  Object.assign(builder, {
    ...NEW_PERIOD,
    isPurchaseKnown: true,
    isIncomplete: false,
    awaitsPriceConsent: false,
    isPriceRising: false,
    periodStartedAtMs: startMs,
    transactionId: event.transactionId ?? builder.transactionId,
    // Only the API knows when a pass ends.
    endsAtMs: event.expiresAtMs ?? (builder.isOneTime ? builder.endsAtMs : null),
    periodLengthMs: hasRepeatedStart ? null : lengthMs,
    productId: event.productId ?? builder.productId,
    periodType: event.periodType ?? builder.periodType,
    // A new product without entitlements does not inherit those of the old product.
    entitlements: event.entitlements.length > 0 || isChanged ? event.entitlements : builder.entitlements,
    isFamilyShare: event.isFamilyShare,
    willRenew: !builder.isOneTime && event.periodType !== 'PREPAID',
  } satisfies Partial<StateBuilder>);
}

/**
 * Length of a new period. A payment that succeeds during a grace period may keep the original billing day, and it keeps
 * the plan. After a free trial the plan's length is not known: counted from the billing day, it must be a usual one.
 */
function periodLength(builder: StateBuilder, event: LifecycleEvent, isChanged: boolean): number | null {
  const { endsAtMs: dueAtMs, gracePeriodEndsAtMs, periodLengthMs: knownMs } = builder;
  const startMs = event.purchasedAtMs ?? event.atMs;
  const lengthMs = boughtLengthMs(event);
  const isRetried =
    !isChanged && dueAtMs !== null && startMs > dueAtMs && startMs <= (gracePeriodEndsAtMs ?? 0);
  if (!isRetried) return lengthMs;
  // After February, a monthly plan gets at least 30 days: 28 days would count as four weeks.
  if (event.periodType === builder.periodType && knownMs !== null)
    return periodOf(builder)?.unit === 'month' ? Math.max(knownMs, 30 * DAY_MS) : knownMs;
  if (lengthMs === null) return null;
  const fromDueMs = lengthMs + startMs - dueAtMs;
  const sinceDue = { periodStartedAtMs: dueAtMs, periodLengthMs: fromDueMs, periodType: event.periodType };
  return periodOf({ ...sinceDue, isOneTime: false }) === null ? lengthMs : fromDueMs;
}

/**
 * A price belongs to its product. `price` is documented as null when unknown; neither the old product's price nor a
 * temporary one may replace it. A free trial's price of zero says nothing about what a period will cost.
 */
function keepPrice(builder: StateBuilder, event: LifecycleEvent, isChanged: boolean): void {
  const { price, priceUsdCents: usdCents, periodType, isFamilyShare } = event;
  const isStated = price !== null && price.amountMinor >= (periodType === 'TRIAL' ? 1 : 0);
  const isOffer = event.offerCode !== null || event.isDiscounted;
  const isUnknown =
    isOffer || isChanged || isTemporaryPrice(builder) || builder.isFamilyShare !== isFamilyShare;
  if (isStated || isUnknown) {
    builder.price = isStated ? price : null;
    builder.isOnePeriodPrice = isStated && isOffer;
  }
  builder.charge = { price, usdCents };
}

/** Of several grants of one entitlement, the latest end counts. */
function grant(builder: StateBuilder, event: LifecycleEvent): void {
  const { atMs, expiresAtMs } = event;
  const isActive = builder.isPurchaseKnown && accessEndMs(builder) > atMs;
  const endsLater = expiresAtMs === null || (builder.endsAtMs !== null && expiresAtMs >= builder.endsAtMs);
  if (!isActive || endsLater) {
    builder.endsAtMs = expiresAtMs;
    builder.transactionId = event.transactionId;
    builder.productId = event.productId ?? builder.productId;
    builder.periodStartedAtMs = event.purchasedAtMs ?? atMs;
    builder.periodType = event.periodType ?? builder.periodType;
  }
  Object.assign(builder, { ...NEW_PERIOD, isPurchaseKnown: true });
}

/** Documented as at most a day; the official sample has no end. */
function grantTemporarily(builder: StateBuilder, event: LifecycleEvent): void {
  const maxEndsAtMs = event.atMs + DAY_MS;
  builder.endsAtMs = Math.min(event.expiresAtMs ?? maxEndsAtMs, maxEndsAtMs);
  builder.endedAtMs = null;
}
