import { type LifecycleEvent, readEvent } from '../../src/subscription/read-event.ts';
import type { Snapshot, SnapshotPurchase, SnapshotSubscription } from '../../src/subscription/types.ts';

/** Midnight of a day, UTC epoch ms; day 0 is January 1, 2026. A fraction is a time on that day. */
export function day(n: number): number {
  return Date.UTC(2026, 0, 1) + Math.round(n * 86_400_000);
}

/** A webhook's event about a monthly App Store subscription; `fields` override. */
export function body(
  type: string,
  atDay: number,
  fields: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    id: `${type}@${atDay}${JSON.stringify(fields)}`,
    type,
    event_timestamp_ms: day(atDay),
    app_user_id: 'ada',
    environment: 'PRODUCTION',
    store: 'APP_STORE',
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    period_type: 'NORMAL',
    original_transaction_id: '1000',
    currency: 'USD',
    ...fields,
  };
}

export function event(type: string, atDay: number, fields: Record<string, unknown> = {}): LifecycleEvent {
  const { side, ...rest } = fields;
  return readEvent(body(type, atDay, rest), {
    receivedAtMs: day(atDay),
    fallbackId: 'none',
    side: side === 'source' ? 'source' : 'customer',
  });
}

/** A period from one day to another, with its price in US dollars. */
export function period(from: number, to: number | null, dollars = 0): Record<string, unknown> {
  return {
    purchased_at_ms: day(from),
    expiration_at_ms: to === null ? null : day(to),
    transaction_id: `t${from}`,
    price: dollars,
    price_in_purchased_currency: dollars,
  };
}

export const buy = (from: number, to: number, fields = {}): LifecycleEvent =>
  event('INITIAL_PURCHASE', from, { ...period(from, to, 10), ...fields });

export const trial = (from: number, to: number, fields = {}): LifecycleEvent =>
  event('INITIAL_PURCHASE', from, { ...period(from, to), period_type: 'TRIAL', ...fields });

export const renew = (from: number, to: number, fields = {}): LifecycleEvent =>
  event('RENEWAL', from, { ...period(from, to, 10), ...fields });

export const grant = (from: number, to: number | null, fields = {}): LifecycleEvent =>
  event('NON_RENEWING_PURCHASE', from, {
    ...period(from, to),
    store: 'PROMOTIONAL',
    period_type: 'PROMOTIONAL',
    product_id: 'rc_promo_pro_custom',
    original_transaction_id: `g${from}`,
    transaction_id: `g${from}`,
    ...fields,
  });

export function snapshotOf(takenDay: number, subscriptions: readonly SnapshotSubscription[]): Snapshot {
  return {
    takenAtMs: day(takenDay),
    customerId: 'ada',
    firstSeenAtMs: day(0),
    lastSeenAtMs: null,
    country: null,
    platform: null,
    platformVersion: null,
    appVersion: null,
    aliases: [],
    attributes: {},
    activeEntitlements: subscriptions
      .filter((item) => item.givesAccess)
      .flatMap((item) => item.entitlements.map((lookupKey) => ({ lookupKey, endsAtMs: item.endsAtMs }))),
    subscriptions,
    purchases: [],
  };
}

export function apiSubscription(fields: Partial<SnapshotSubscription> = {}): SnapshotSubscription {
  return {
    id: 'sub1',
    productId: 'pro_monthly',
    productName: 'Pro',
    store: 'APP_STORE',
    environment: 'production',
    status: 'active',
    autoRenewalStatus: 'will_renew',
    givesAccess: true,
    startsAtMs: day(0),
    periodStartsAtMs: day(0),
    periodEndsAtMs: day(30),
    endsAtMs: day(30),
    entitlements: ['pro'],
    storeSubscriptionId: '1000',
    managementUrl: 'https://apps.apple.com/account/subscriptions',
    pendingProductId: null,
    revenueUsdCents: 1000,
    isFamilyShare: false,
    ...fields,
  };
}

export function apiPurchase(fields: Partial<SnapshotPurchase> = {}): SnapshotPurchase {
  return {
    id: 'purch1',
    productId: 'pro_lifetime',
    productName: 'Pro',
    store: 'APP_STORE',
    environment: 'production',
    status: 'owned',
    purchasedAtMs: day(0),
    entitlements: ['pro'],
    storePurchaseId: '1000',
    revenueUsdCents: 9900,
    isFamilyShare: false,
    ...fields,
  };
}
