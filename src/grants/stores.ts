import { createHash } from 'node:crypto';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type { WorkspaceSettings } from '../workspaces/settings.ts';
import type { Refusal } from './policy.ts';
import type { StoreActionKind } from './types.ts';

/** What can be done to one subscription or purchase; transfers and restores are about the whole customer. */
export type PurchaseActionKind = 'cancel' | 'refund' | 'extend' | 'manage';
const PURCHASE_ACTIONS: readonly PurchaseActionKind[] = ['cancel', 'refund', 'extend', 'manage'];

const WEB_BILLING = 'RC_BILLING';
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

const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

/** Permissions that the key needs. Source: RevenueCat API v2. */
const SCOPES: Readonly<Record<StoreActionKind, readonly string[]>> = {
  cancel: [SUBSCRIPTIONS],
  refund: [SUBSCRIPTIONS],
  extend: [SUBSCRIPTIONS],
  manage: ['customer_information:subscriptions:read'],
  transfer: [CUSTOMERS, SUBSCRIPTIONS, PURCHASES],
  restore: [CUSTOMERS],
};

export function requiredScopes(kind: StoreActionKind, of: 'subscription' | 'purchase' | 'customer') {
  return kind === 'refund' && of === 'purchase' ? [PURCHASES] : SCOPES[kind];
}

export type StoreActionPolicy = WorkspaceSettings['actions']['refund'];

export function policyOf(
  settings: Pick<WorkspaceSettings, 'actions'>,
  kind: StoreActionKind,
): StoreActionPolicy {
  return settings.actions[kind === 'restore' ? 'transfer' : kind];
}

/** Whether a sum needs a second teammate; one that is not known does. */
export function isAboveLimit(
  { maxAmountAlone }: StoreActionPolicy,
  { kind, amount }: { readonly kind: StoreActionKind; readonly amount: number | null },
): boolean {
  return kind === 'refund' && maxAmountAlone !== null && (amount === null || amount > maxAmountAlone);
}

/** Why a store does not do it now, or ever (`store`). */
export type Unavailable = 'store' | 'ended' | 'not_renewing' | 'refunded' | 'family';

/** `null`: the store does it. */
export function whyUnavailable(
  kind: PurchaseActionKind,
  own: LivePurchase,
  isFamilyShare: boolean,
): Unavailable | null {
  const isSubscription = own.kind === 'subscription';
  const isOffered = {
    cancel: isSubscription && own.store === WEB_BILLING,
    refund: own.store === WEB_BILLING || (isSubscription && own.store === GOOGLE),
    extend: isSubscription && maxExtensionDays(own.store) > 0,
    manage: isSubscription && own.store === WEB_BILLING,
  }[kind];
  if (!isOffered) return 'store';
  if (own.isRefunded) return 'refunded';
  if (isFamilyShare) return 'family';
  if (!isSubscription) return null;
  // Google refunds charges of subscriptions that have ended, too.
  if (!own.givesAccess && !(kind === 'refund' && own.store === GOOGLE) && kind !== 'manage') return 'ended';
  return kind === 'cancel' && !own.willRenew ? 'not_renewing' : null;
}

export function listPurchaseActions(
  own: LivePurchase,
  isFamilyShare: boolean,
): { kind: PurchaseActionKind; unavailable: Exclude<Unavailable, 'store'> | null }[] {
  return PURCHASE_ACTIONS.flatMap((kind) => {
    const unavailable = whyUnavailable(kind, own, isFamilyShare);
    return unavailable === 'store' ? [] : [{ kind, unavailable }];
  });
}

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

export type StoreBlocker =
  | { readonly code: 'no_key' | 'key_rejected' | 'no_customer_id' }
  | { readonly code: 'scope_missing'; readonly scopes: readonly string[] }
  | { readonly code: Exclude<Unavailable, 'store'> }
  | Refusal;
