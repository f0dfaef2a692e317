import { createHash } from 'node:crypto';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import type { SubscriptionState } from '../subscription/types.ts';

export const WEB_BILLING = 'RC_BILLING';
const APPLE: ReadonlySet<string | null> = new Set(['APP_STORE', 'MAC_APP_STORE']);
const GOOGLE = 'PLAY_STORE';

/** Source: RevenueCat's descriptions of `extend` (v1 and the newer v2). */
const MAX_EXTENSION_DAYS: Readonly<Record<string, number>> = {
  APP_STORE: 90,
  MAC_APP_STORE: 90,
  PLAY_STORE: 365,
  RC_BILLING: 365,
};

/** Apple's reasons for an extension: 0 undeclared, 1 customer satisfaction, 2 other, 3 service issue or outage. */
export const APPLE_REASON_CODES = [1, 3, 2, 0] as const;

/** 0: the store extends nothing. */
export function maxExtensionDays(store: string | null): number {
  return MAX_EXTENSION_DAYS[store ?? ''] ?? 0;
}

export function isApple(store: string | null): boolean {
  return APPLE.has(store);
}

/** Google refunds single charges. */
export function refundsCharges(own: Pick<LivePurchase, 'kind' | 'store'>): boolean {
  return own.kind === 'subscription' && own.store === GOOGLE;
}

/** What follows `subscription:` in a component's id: short, and without a store's characters. */
export function subscriptionId({ key }: Pick<SubscriptionState, 'key'>): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
}

/** What a stored purchase is in the API: by the store's transaction, else the store's only one of its kind. */
export function findLive(
  subscription: SubscriptionState,
  owned: readonly LivePurchase[],
): LivePurchase | null {
  const { transactionId, key, store, environment, isOneTime } = subscription;
  const ofStore = owned.filter((each) => each.store === store && each.environment === environment);
  const isInKey = (id: string): boolean => key.endsWith(`|${id}`) || key.includes(`|${id}:`);
  const byTransaction = ofStore.find(
    ({ storeId, id }) => (storeId !== null && (storeId === transactionId || isInKey(storeId))) || isInKey(id),
  );
  const [only, ...others] = ofStore.filter(({ kind }) => (kind === 'purchase') === isOneTime);
  return byTransaction ?? (only && others.length === 0 ? only : null);
}
