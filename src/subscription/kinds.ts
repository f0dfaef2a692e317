import { DAY_MS } from '../time.ts';

/** What an event means to a reader. The first ten kinds match RevenueCat's own Intercom integration. */
export const EVENT_KINDS = [
  'initial_purchase',
  'trial_started',
  'trial_converted',
  'trial_cancelled',
  'renewal',
  'cancellation',
  'non_subscription_purchase',
  'expiration',
  'billing_issue',
  'product_change',
  'refund',
  'refund_reversed',
  'uncancellation',
  'subscription_paused',
  'subscription_extended',
  'promotional_granted',
  'promotional_revoked',
  'transfer',
  'temporary_entitlement_grant',
  'price_increase_consent',
  'invoice_issued',
  'purchase_redeemed',
] as const;

/** A kind that becomes a data event on the Intercom contact. */
export type DeliverableKind = (typeof EVENT_KINDS)[number];

/** Kinds shown only on the timeline. `unknown` is any type that this version does not know, shown by its name. */
export const TIMELINE_ONLY_KINDS = [
  'experiment_enrollment',
  'paywall',
  'virtual_currency',
  'subscriber_alias',
  'test',
  'unknown',
] as const;

export type EventKind = DeliverableKind | (typeof TIMELINE_ONLY_KINDS)[number];

/** Kinds that depend only on RevenueCat's event type. */
const BY_TYPE: Readonly<Record<string, EventKind>> = {
  UNCANCELLATION: 'uncancellation',
  SUBSCRIPTION_PAUSED: 'subscription_paused',
  SUBSCRIPTION_EXTENDED: 'subscription_extended',
  EXPIRATION: 'expiration',
  BILLING_ISSUE: 'billing_issue',
  PRODUCT_CHANGE: 'product_change',
  REFUND_REVERSED: 'refund_reversed',
  TRANSFER: 'transfer',
  TEMPORARY_ENTITLEMENT_GRANT: 'temporary_entitlement_grant',
  PRICE_INCREASE_CONSENT_REQUIRED: 'price_increase_consent',
  PRICE_INCREASE_CONSENT_APPROVED: 'price_increase_consent',
  INVOICE_ISSUANCE: 'invoice_issued',
  PURCHASE_REDEEMED: 'purchase_redeemed',
  EXPERIMENT_ENROLLMENT: 'experiment_enrollment',
  VIRTUAL_CURRENCY_TRANSACTION: 'virtual_currency',
  SUBSCRIBER_ALIAS: 'subscriber_alias',
  TEST: 'test',
};

interface EventFacts {
  readonly type: string;
  readonly kind: EventKind;
  readonly atMs: number;
  readonly expiresAtMs: number | null;
  readonly periodType: string | null;
  readonly store: string | null;
  readonly cancelReason: string | null;
  readonly isTrialConversion: boolean;
}

/**
 * Decides what an event means. A refund and the end of a grant arrive as CANCELLATION; a grant arrives as a purchase.
 * Source: RevenueCat, "Event types and fields"; the first ten kinds come from the table of its Intercom integration.
 */
export function classify(
  event: Pick<EventFacts, 'type' | 'periodType' | 'store' | 'cancelReason' | 'isTrialConversion'>,
): EventKind {
  const promotional = event.store === 'PROMOTIONAL' || event.periodType === 'PROMOTIONAL';
  const trial = event.periodType === 'TRIAL';
  switch (event.type) {
    case 'INITIAL_PURCHASE':
      return trial ? 'trial_started' : 'initial_purchase';
    case 'RENEWAL':
      return event.isTrialConversion ? 'trial_converted' : 'renewal';
    case 'NON_RENEWING_PURCHASE':
      return promotional ? 'promotional_granted' : 'non_subscription_purchase';
    case 'CANCELLATION':
      if (event.cancelReason === 'CUSTOMER_SUPPORT') return 'refund';
      if (promotional && event.cancelReason === 'DEVELOPER_INITIATED') return 'promotional_revoked';
      return trial ? 'trial_cancelled' : 'cancellation';
    default:
      if (event.type.startsWith('PAYWALL_')) return 'paywall';
      return BY_TYPE[event.type] ?? 'unknown';
  }
}

/** The name under which a kind is recorded unless a workspace chose another. */
export function defaultEventName(kind: DeliverableKind): string {
  return `rc_${kind}_event`;
}

const DELIVERABLE: ReadonlySet<string> = new Set(EVENT_KINDS);

export function isDeliverable(kind: EventKind): kind is DeliverableKind {
  return DELIVERABLE.has(kind);
}

/** Kinds that mean nothing to a customer, and kinds whose text would mention buying outside the app stores. */
const HIDDEN_FROM_CUSTOMERS: ReadonlySet<EventKind> = new Set<EventKind>([
  ...TIMELINE_ONLY_KINDS,
  'invoice_issued',
  'purchase_redeemed',
]);

/** Of a family share: what another family member, who pays, decided or was charged. */
const HIDDEN_FROM_FAMILY: ReadonlySet<EventKind> = new Set<EventKind>([
  'cancellation',
  'trial_cancelled',
  'uncancellation',
  'product_change',
  'price_increase_consent',
  'billing_issue',
  'refund',
  'refund_reversed',
]);

export function isShownToCustomers(event: {
  readonly kind: EventKind;
  readonly isFamilyShare: boolean;
}): boolean {
  const { kind, isFamilyShare } = event;
  return !HIDDEN_FROM_CUSTOMERS.has(kind) && !(isFamilyShare && HIDDEN_FROM_FAMILY.has(kind));
}

/** Whether access was granted in RevenueCat, without a store. */
export function isGrant(
  event: Pick<EventFacts, 'store' | 'periodType'> & Partial<Pick<EventFacts, 'kind'>>,
): boolean {
  const { store, kind, periodType } = event;
  if (store === 'PROMOTIONAL' || kind === 'promotional_granted') return true;
  // A store's own promotional period is paid for; without a store, it must be a grant.
  return store === null && periodType === 'PROMOTIONAL';
}

/** No grace period is longer: Google's is at most 30 days. */
const MAX_GRACE_MS = 31 * DAY_MS;

/**
 * Whether the store cancelled the renewal of a period that is already paid, as Google does in India for mandates above
 * its limit. The reason is BILLING_ERROR, but no payment failed: the period ends later than any grace period could.
 */
export function isCancelledByStore(
  event: Pick<EventFacts, 'cancelReason' | 'expiresAtMs' | 'atMs'>,
): boolean {
  const { cancelReason, expiresAtMs, atMs } = event;
  return cancelReason === 'BILLING_ERROR' && expiresAtMs !== null && expiresAtMs - atMs > MAX_GRACE_MS;
}
