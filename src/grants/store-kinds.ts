import { createHash } from 'node:crypto';
import type { LivePurchase, StoreActions } from '../revenuecat/store-actions.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type { StoreAction, StoreActionDetails, StoreActionKind } from './types.ts';

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

interface StoreKind {
  /** Permissions that the key needs. Source: RevenueCat API v2. */
  readonly scopes: readonly string[];
  /** Whether the store offers it for a purchase, now or ever; absent: it is about the whole customer. */
  isOffered?(own: LivePurchase): boolean;
  /** The one call to RevenueCat; of `manage` it gives the link. */
  call(stores: StoreActions, projectId: string, action: StoreAction): Promise<unknown>;
  /** Whether RevenueCat shows the purchase as it is afterwards. */
  isDone?(own: LivePurchase, details: StoreActionDetails): boolean;
  /** Of the webhook that follows, if there is one. */
  readonly event?: { readonly type: string; readonly cancel_reason?: string };
}

const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

/** RevenueCat may round an end to whole seconds, and its sandbox counts days as minutes. */
const MIN_EXTENSION_MS = 30_000;

const isWebSubscription = (own: LivePurchase): boolean =>
  own.kind === 'subscription' && own.store === WEB_BILLING;

export const STORE_KINDS: Readonly<Record<StoreActionKind, StoreKind>> = {
  cancel: {
    scopes: [SUBSCRIPTIONS],
    isOffered: isWebSubscription,
    call: (stores, projectId, { target }) => stores.cancelSubscription(projectId, target),
    isDone: (own) => !own.willRenew,
    event: { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE' },
  },
  refund: {
    scopes: [SUBSCRIPTIONS],
    isOffered: (own) => own.store === WEB_BILLING || refundsCharges(own),
    call(stores, projectId, { target, details: { transactionId, of } }) {
      if (transactionId !== undefined) return stores.refundTransaction(projectId, target, transactionId);
      return of === 'purchase'
        ? stores.refundPurchase(projectId, target)
        : stores.refundSubscription(projectId, target);
    },
    isDone: (own) => own.isRefunded || (own.kind === 'subscription' && !own.givesAccess),
    event: { type: 'CANCELLATION', cancel_reason: 'CUSTOMER_SUPPORT' },
  },
  extend: {
    scopes: [SUBSCRIPTIONS],
    isOffered: (own) => own.kind === 'subscription' && maxExtensionDays(own.store) > 0,
    call(stores, projectId, { target, details: { days = 0, reasonCode = null } }) {
      return stores.extendSubscription(projectId, target, { days, reasonCode });
    },
    isDone: (own, { before }) => (own.endsAtMs ?? 0) >= (before?.endsAtMs ?? 0) + MIN_EXTENSION_MS,
    event: { type: 'SUBSCRIPTION_EXTENDED' },
  },
  manage: {
    scopes: ['customer_information:subscriptions:read'],
    isOffered: isWebSubscription,
    call: (stores, projectId, { target }) => stores.createManagementUrl(projectId, target),
  },
  transfer: {
    scopes: [CUSTOMERS, SUBSCRIPTIONS, PURCHASES],
    call: (stores, projectId, { appUserId, target }) =>
      stores.transferPurchases(projectId, appUserId, target),
    event: { type: 'TRANSFER' },
  },
  restore: {
    scopes: [CUSTOMERS],
    call: (stores, projectId, { appUserId, target }) => stores.restoreOrder(projectId, appUserId, target),
  },
};

/** What can be done to one subscription or purchase. */
const PURCHASE_ACTIONS = ['cancel', 'refund', 'extend', 'manage'] as const;
export type PurchaseActionKind = (typeof PURCHASE_ACTIONS)[number];

export function requiredScopes(kind: StoreActionKind, of?: StoreActionDetails['of']): readonly string[] {
  return kind === 'refund' && of === 'purchase' ? [PURCHASES] : STORE_KINDS[kind].scopes;
}

/** Why a store does not do it now, or ever (`store`). */
export type Unavailable = 'store' | 'ended' | 'not_renewing' | 'refunded' | 'family';

/** `null`: the store does it. */
export function whyUnavailable(
  kind: PurchaseActionKind,
  own: LivePurchase,
  isFamilyShare: boolean,
): Unavailable | null {
  if (!STORE_KINDS[kind].isOffered?.(own)) return 'store';
  if (own.isRefunded) return 'refunded';
  if (isFamilyShare) return 'family';
  if (own.kind === 'purchase') return null;
  // Google refunds charges of subscriptions that have ended, too.
  const canHaveEnded = kind === 'manage' || (kind === 'refund' && refundsCharges(own));
  if (!own.givesAccess && !canHaveEnded) return 'ended';
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
