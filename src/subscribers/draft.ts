import { addMoney } from './money.ts';
import type {
  Environment,
  LifecycleEvent,
  Money,
  SnapshotPurchase,
  SnapshotSubscription,
  SubscriptionState,
  SubscriptionStatus,
} from './types.ts';

/** A subscription, one-time purchase or grant while its history is being replayed. */
export interface Draft {
  readonly key: string;
  readonly environment: Environment;
  /** Store transactions that belong to it, to recognise it in a snapshot. */
  readonly transactions: Set<string>;
  oneTime: boolean;
  promotional: boolean;
  temporary: boolean;
  productId: string | null;
  productName: string | null;
  store: string | null;
  periodType: string | null;
  entitlements: readonly string[];
  startedAtMs: number | null;
  periodStartedAtMs: number | null;
  endsAtMs: number | null;
  /** Access was ended before or at the period's end: expiration, refund, removal. */
  endedAtMs: number | null;
  willRenew: boolean;
  price: Money | null;
  cancelledAtMs: number | null;
  cancelReason: string | null;
  expirationReason: string | null;
  billingIssueAtMs: number | null;
  gracePeriodEndsAtMs: number | null;
  pausedAtMs: number | null;
  resumesAtMs: number | null;
  pendingProductId: string | null;
  refundedAtMs: number | null;
  refund: Money | null;
  renewals: number;
  paid: readonly Money[];
  isFamilyShare: boolean;
  managementUrl: string | null;
  transactionId: string | null;
}

const DAY_MS = 86_400_000;

export function isPromotional(event: LifecycleEvent): boolean {
  return event.store === 'PROMOTIONAL' || event.periodType === 'PROMOTIONAL';
}

/** An absent environment counts as production: grants have none, and old events neither. */
export function environmentOf(event: LifecycleEvent): Environment {
  return event.environment ?? 'production';
}

/** Which subscription an event belongs to; a product change keeps the original transaction. */
export function draftKey(event: LifecycleEvent): string {
  const environment = environmentOf(event);
  if (isPromotional(event))
    return `${environment}|promotional|${event.entitlements[0] ?? event.productId ?? ''}`;
  const identity = event.originalTransactionId ?? event.transactionId ?? `product:${event.productId ?? ''}`;
  return `${environment}|${event.store ?? ''}|${identity}`;
}

function emptyDraft(key: string, environment: Environment): Draft {
  return {
    key,
    environment,
    transactions: new Set(),
    oneTime: false,
    promotional: false,
    temporary: false,
    productId: null,
    productName: null,
    store: null,
    periodType: null,
    entitlements: [],
    startedAtMs: null,
    periodStartedAtMs: null,
    endsAtMs: null,
    endedAtMs: null,
    willRenew: false,
    price: null,
    cancelledAtMs: null,
    cancelReason: null,
    expirationReason: null,
    billingIssueAtMs: null,
    gracePeriodEndsAtMs: null,
    pausedAtMs: null,
    resumesAtMs: null,
    pendingProductId: null,
    refundedAtMs: null,
    refund: null,
    renewals: 0,
    paid: [],
    isFamilyShare: false,
    managementUrl: null,
    transactionId: null,
  };
}

/** A subscription as its first known event shows it; earlier ones may never have been received. */
export function draftFrom(event: LifecycleEvent): Draft {
  const draft = emptyDraft(draftKey(event), environmentOf(event));
  draft.promotional = isPromotional(event);
  draft.oneTime = event.type === 'NON_RENEWING_PURCHASE' && !draft.promotional;
  draft.temporary = event.kind === 'temporary_entitlement_grant';
  draft.store = event.store;
  draft.productId = event.productId;
  draft.periodType = event.periodType;
  draft.entitlements = event.entitlements;
  draft.startedAtMs = event.purchasedAtMs ?? event.atMs;
  draft.periodStartedAtMs = draft.startedAtMs;
  draft.endsAtMs = event.expiresAtMs;
  draft.willRenew = !draft.promotional && !draft.oneTime && !draft.temporary;
  return draft;
}

/**
 * Applies one event. Events come in order of time; those that speak of an earlier period than the one in force
 * (stores announce ends late) leave it alone.
 */
export function applyEvent(draft: Draft, event: LifecycleEvent): void {
  note(draft, event);
  switch (event.kind) {
    case 'initial_purchase':
    case 'trial_started':
    case 'trial_converted':
    case 'renewal':
    case 'non_subscription_purchase':
      startPeriod(draft, event);
      return;
    case 'promotional_granted':
      grant(draft, event);
      return;
    case 'temporary_entitlement_grant':
      // Documented as at most a day; the official sample names no end.
      draft.endsAtMs = event.expiresAtMs ?? event.atMs + DAY_MS;
      return;
    default:
  }
  if (isOfEarlierPeriod(draft, event)) return;
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
      takeBack(draft, event);
      return;
    case 'promotional_revoked':
      draft.cancelledAtMs = event.atMs;
      draft.cancelReason = event.cancelReason;
      draft.endedAtMs = event.atMs;
      return;
    case 'uncancellation':
      draft.cancelledAtMs = null;
      draft.cancelReason = null;
      draft.willRenew = true;
      draft.endsAtMs = event.expiresAtMs ?? draft.endsAtMs;
      revive(draft, event.atMs);
      return;
    case 'billing_issue':
      draft.billingIssueAtMs = event.atMs;
      draft.gracePeriodEndsAtMs = event.gracePeriodEndsAtMs;
      return;
    case 'expiration':
      expire(draft, event);
      return;
    case 'subscription_paused':
      draft.resumesAtMs = event.resumesAtMs;
      draft.willRenew = false;
      draft.pausedAtMs = event.expiresAtMs ?? draft.endsAtMs ?? event.atMs;
      return;
    case 'subscription_extended':
      if (event.expiresAtMs !== null) draft.endsAtMs = Math.max(draft.endsAtMs ?? 0, event.expiresAtMs);
      revive(draft, event.atMs);
      return;
    case 'product_change':
      // The event's dates belong to the old product.
      draft.pendingProductId = event.newProductId === draft.productId ? null : event.newProductId;
      return;
    case 'refund_reversed':
      if (event.price) draft.paid = addMoney(draft.paid, absolute(event.price));
      draft.refundedAtMs = null;
      draft.refund = null;
      draft.endedAtMs = null;
      return;
    default:
  }
}

function note(draft: Draft, event: LifecycleEvent): void {
  for (const id of [event.transactionId, event.originalTransactionId]) if (id) draft.transactions.add(id);
  draft.transactionId = event.transactionId ?? draft.transactionId;
  if (draft.entitlements.length === 0) draft.entitlements = event.entitlements;
  draft.isFamilyShare ||= event.isFamilyShare;
}

function isOfEarlierPeriod(draft: Draft, event: LifecycleEvent): boolean {
  if (event.expiresAtMs === null || draft.periodStartedAtMs === null) return false;
  const startedEarlier = event.purchasedAtMs === null || event.purchasedAtMs < draft.periodStartedAtMs;
  return startedEarlier && event.expiresAtMs <= draft.periodStartedAtMs && draft.renewals > 0;
}

function startPeriod(draft: Draft, event: LifecycleEvent): void {
  const startMs = event.purchasedAtMs ?? event.atMs;
  draft.startedAtMs = Math.min(draft.startedAtMs ?? startMs, startMs);
  draft.periodStartedAtMs = startMs;
  draft.endsAtMs = event.expiresAtMs;
  draft.productId = event.productId ?? draft.productId;
  draft.periodType = event.periodType ?? draft.periodType;
  if (event.entitlements.length > 0) draft.entitlements = event.entitlements;
  draft.temporary = false;
  draft.willRenew = !draft.oneTime && event.periodType !== 'PREPAID';
  draft.endedAtMs = null;
  draft.cancelledAtMs = null;
  draft.cancelReason = null;
  draft.expirationReason = null;
  draft.billingIssueAtMs = null;
  draft.gracePeriodEndsAtMs = null;
  draft.pausedAtMs = null;
  draft.resumesAtMs = null;
  draft.pendingProductId = null;
  draft.refundedAtMs = null;
  draft.refund = null;
  if (event.type === 'RENEWAL') draft.renewals += 1;
  if (event.price && event.price.amountMinor > 0) {
    draft.price = event.price;
    if (!event.isFamilyShare) draft.paid = addMoney(draft.paid, event.price);
  } else if (event.periodType !== 'TRIAL' && event.price) {
    draft.price = event.price;
  }
}

/** Grants of one entitlement add up to the latest end. */
function grant(draft: Draft, event: LifecycleEvent): void {
  const stillActive = draft.endedAtMs === null && (draft.endsAtMs === null || draft.endsAtMs > event.atMs);
  const isFirst = draft.periodStartedAtMs === (event.purchasedAtMs ?? event.atMs);
  if (!stillActive || isFirst || event.expiresAtMs === null) draft.endsAtMs = event.expiresAtMs;
  else if (draft.endsAtMs !== null) draft.endsAtMs = Math.max(draft.endsAtMs, event.expiresAtMs);
  if (!stillActive) draft.periodStartedAtMs = event.purchasedAtMs ?? event.atMs;
  draft.productId = event.productId ?? draft.productId;
  draft.endedAtMs = null;
  draft.cancelledAtMs = null;
  draft.cancelReason = null;
  draft.expirationReason = null;
}

/** A refund ends access at once, even where renewal is still switched on. */
function takeBack(draft: Draft, event: LifecycleEvent): void {
  const sum = event.price && event.price.amountMinor !== 0 ? absolute(event.price) : draft.price;
  draft.refundedAtMs = event.atMs;
  draft.refund = sum;
  if (sum && !event.isFamilyShare)
    draft.paid = addMoney(draft.paid, { ...sum, amountMinor: -sum.amountMinor });
  draft.cancelReason = event.cancelReason;
  draft.endedAtMs = event.atMs;
}

function expire(draft: Draft, event: LifecycleEvent): void {
  const endMs = Math.min(event.expiresAtMs ?? event.atMs, event.atMs);
  // A refund or an expiration before this one has ended it already.
  draft.endedAtMs = draft.endedAtMs === null ? endMs : Math.min(draft.endedAtMs, endMs);
  draft.expirationReason = event.expirationReason;
  draft.willRenew = false;
  if (event.expirationReason === 'SUBSCRIPTION_PAUSED') draft.pausedAtMs = endMs;
  else draft.pausedAtMs = null;
}

function revive(draft: Draft, atMs: number): void {
  if (draft.refundedAtMs === null && draft.endsAtMs !== null && draft.endsAtMs > atMs) draft.endedAtMs = null;
}

function absolute(money: Money): Money {
  return { ...money, amountMinor: Math.abs(money.amountMinor) };
}

const RENEWING = new Set([
  'will_renew',
  'will_change_product',
  'requires_price_increase_consent',
  'has_already_renewed',
]);

/** A subscription that no event has told of. */
export function draftFromSnapshot(item: SnapshotSubscription): Draft {
  const draft = emptyDraft(`${item.environment}|snapshot|${item.id}`, item.environment);
  draft.startedAtMs = item.startsAtMs;
  draft.store = item.store;
  draft.promotional = item.store === 'PROMOTIONAL';
  draft.isFamilyShare = item.isFamilyShare;
  return draft;
}

/** What RevenueCat's API says wins over what older events said; prices and renewals are only in events. */
export function applySnapshot(draft: Draft, item: SnapshotSubscription, takenAtMs: number): void {
  const endsAtMs = item.endsAtMs ?? item.periodEndsAtMs;
  draft.productId = item.productId ?? draft.productId;
  draft.productName = item.productName ?? draft.productName;
  draft.managementUrl = item.managementUrl;
  draft.periodStartedAtMs = item.periodStartsAtMs ?? draft.periodStartedAtMs;
  draft.startedAtMs ??= item.startsAtMs;
  draft.endsAtMs = endsAtMs;
  if (item.entitlements.length > 0) draft.entitlements = item.entitlements;
  draft.willRenew =
    item.autoRenewalStatus !== null && RENEWING.has(item.autoRenewalStatus) && !draft.promotional;
  draft.pendingProductId = item.pendingProductId ?? draft.pendingProductId;
  if (item.storeSubscriptionId) draft.transactions.add(item.storeSubscriptionId);
  if (item.status === 'trialing') draft.periodType = 'TRIAL';
  if (item.status === 'in_grace_period') {
    draft.billingIssueAtMs ??= item.periodEndsAtMs ?? takenAtMs;
    draft.gracePeriodEndsAtMs = endsAtMs;
  } else if (item.status === 'in_billing_retry') {
    draft.billingIssueAtMs ??= takenAtMs;
  }
  draft.pausedAtMs = item.status === 'paused' ? (draft.pausedAtMs ?? endsAtMs ?? takenAtMs) : null;
  if (item.givesAccess) {
    draft.endedAtMs = null;
    // Access is trusted over a date that has passed: it lasts at least until the next look.
    if (endsAtMs !== null && endsAtMs <= takenAtMs) draft.endsAtMs = takenAtMs + DAY_MS;
  } else {
    draft.endedAtMs = Math.min(draft.endedAtMs ?? endsAtMs ?? takenAtMs, takenAtMs);
  }
}

export function draftFromPurchase(item: SnapshotPurchase): Draft {
  const draft = emptyDraft(`${item.environment}|snapshot|${item.id}`, item.environment);
  draft.oneTime = true;
  draft.productId = item.productId;
  draft.productName = item.productName;
  draft.store = item.store;
  draft.entitlements = item.entitlements;
  draft.startedAtMs = item.purchasedAtMs;
  draft.periodStartedAtMs = item.purchasedAtMs;
  if (item.storePurchaseId) draft.transactions.add(item.storePurchaseId);
  return draft;
}

/** When access ends; infinity: never. */
export function accessEndMs(draft: Draft): number {
  if (draft.endedAtMs !== null) return draft.endedAtMs;
  if (draft.endsAtMs === null) return Number.POSITIVE_INFINITY;
  return Math.max(draft.endsAtMs, draft.gracePeriodEndsAtMs ?? 0);
}

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

export function finishDraft(draft: Draft, nowMs: number): SubscriptionState {
  const endMs = accessEndMs(draft);
  const givesAccess = nowMs < endMs;
  const endsAtMs = draft.endedAtMs ?? draft.endsAtMs;
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
    endsAtMs,
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
    refund: draft.refund,
    renewals: draft.renewals,
    paid: draft.paid,
    isFamilyShare: draft.isFamilyShare,
    givesAccess,
    managementUrl: draft.managementUrl,
    transactionId: draft.transactionId,
  };
}
