import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import type {
  ActionKind,
  PurchaseState,
  StoreAction,
  StoreActionDetails,
  StoreActionKind,
} from './action.ts';
import type { ReviewedStoreAction, StoreForm } from './form-state.ts';
import type { ActionHandler, ReadBackResult } from './handlers.ts';

const WEB_BILLING = 'RC_BILLING';
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

/** What RevenueCat needs to know for a kind of action, and what it shows of it. */
interface StoreActionDefinition
  extends Pick<ActionHandler<StoreForm, ReviewedStoreAction, StoreAction>, 'call' | 'readBack'> {
  /** Permissions that the key needs. Source: RevenueCat API v2. */
  readonly scopes: readonly string[];
  /** Whether the store offers it for a purchase, now or ever; absent: it is about the whole customer. */
  isOffered?(live: LivePurchase): boolean;
  /** Of the webhook that follows, if there is one. */
  readonly event?: { readonly type: string; readonly cancel_reason?: string };
}

const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

/** RevenueCat may round an end to whole seconds, and its sandbox counts days as minutes. */
const MIN_EXTENSION_MS = 30_000;

const isWebSubscription = (live: LivePurchase): boolean =>
  live.kind === 'subscription' && live.store === WEB_BILLING;

export const STORE_ACTIONS: Readonly<Record<StoreActionKind, StoreActionDefinition>> = {
  cancel: {
    scopes: [SUBSCRIPTIONS],
    isOffered: isWebSubscription,
    call: ({ stores }, projectId, { target }) => stores.cancelSubscription(projectId, target),
    readBack: shownByPurchase((live) => !live.willRenew),
    event: { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE' },
  },
  refund: {
    scopes: [SUBSCRIPTIONS],
    isOffered: (live) => live.store === WEB_BILLING || refundsCharges(live),
    call({ stores }, projectId, { target, details: { transactionId, targetType } }) {
      if (transactionId !== undefined) return stores.refundTransaction(projectId, target, transactionId);
      return targetType === 'purchase'
        ? stores.refundPurchase(projectId, target)
        : stores.refundSubscription(projectId, target);
    },
    readBack: (client, projectId, action) =>
      action.details.transactionId === undefined
        ? readRefund(client, projectId, action)
        : readRefundedCharge(client, projectId, action),
    event: { type: 'CANCELLATION', cancel_reason: 'CUSTOMER_SUPPORT' },
  },
  extend: {
    scopes: [SUBSCRIPTIONS],
    isOffered: (live) => live.kind === 'subscription' && maxExtensionDays(live.store) > 0,
    call({ stores }, projectId, { target, details: { days = 0, reasonCode = null } }) {
      return stores.extendSubscription(projectId, target, { days, reasonCode });
    },
    readBack: shownByPurchase(
      (live, { before }) => (live.endsAtMs ?? 0) >= (before?.endsAtMs ?? 0) + MIN_EXTENSION_MS,
    ),
    event: { type: 'SUBSCRIPTION_EXTENDED' },
  },
  manage: {
    scopes: ['customer_information:subscriptions:read'],
    isOffered: isWebSubscription,
    call: ({ stores }, projectId, { target }) => stores.createManagementUrl(projectId, target),
    readBack: async (_client, _projectId, action) => doneIf(action.isAnswered, action),
  },
  transfer: {
    scopes: [CUSTOMERS, SUBSCRIPTIONS, PURCHASES],
    call: ({ stores }, projectId, { appUserId, target }) =>
      stores.transferPurchases(projectId, appUserId, target),
    async readBack({ stores }, projectId, action) {
      const ids = (await stores.listPurchases(projectId, action.target)).map(({ id }) => id);
      const { moves = [] } = action.details;
      return doneIf(
        moves.every((id) => ids.includes(id)),
        action,
      );
    },
    event: { type: 'TRANSFER' },
  },
  restore: {
    scopes: [CUSTOMERS],
    call: ({ stores }, projectId, { appUserId, target }) => stores.restoreOrder(projectId, appUserId, target),
    async readBack({ stores }, projectId, action) {
      const { appUserId, target, isAnswered } = action;
      const bought = isAnswered ? [] : await stores.listPurchases(projectId, appUserId);
      return doneIf(isAnswered || bought.some(({ storeId }) => storeId?.startsWith(target)), action);
    },
  },
};

function doneIf(
  isDone: boolean,
  { details }: StoreAction,
  after: PurchaseState | null = null,
): ReadBackResult {
  return isDone ? { kind: 'done', changes: { details: { ...details, after } } } : { kind: 'missing' };
}

/** For what the purchase itself shows. */
function shownByPurchase(
  isDone: (live: LivePurchase, details: StoreActionDetails) => boolean,
): StoreActionDefinition['readBack'] {
  return async ({ stores }, projectId, action) => {
    const bought = await stores.listPurchases(projectId, action.appUserId, action.details.targetType);
    const live = bought.find(({ id }) => id === action.target);
    return live ? doneIf(isDone(live, action.details), action, stateOf(live)) : { kind: 'unknown' };
  };
}

const readRefund = shownByPurchase(
  (live) => live.isRefunded || (live.kind === 'subscription' && !live.givesAccess),
);

/** A charge has no state in the API: RevenueCat's answer or webhook counts, else the event in the API. */
async function readRefundedCharge(
  client: RevenueCatClient,
  projectId: string,
  action: StoreAction,
): Promise<ReadBackResult> {
  const { isAnswered, appUserId, details } = action;
  const events = isAnswered ? [] : ((await client.listCustomerEvents(projectId, appUserId)) ?? []);
  const isReported = events.some(
    (event) => event.cancel_reason === 'CUSTOMER_SUPPORT' && event.transaction_id === details.transactionId,
  );
  if (!isAnswered && !isReported) return { kind: 'unknown' };
  return shownByPurchase(() => true)(client, projectId, action);
}

export function stateOf({ endsAtMs, givesAccess, willRenew }: LivePurchase): PurchaseState {
  return { endsAtMs, givesAccess, willRenew };
}

/** What can be done to one subscription or purchase. */
export const PURCHASE_ACTIONS = ['cancel', 'refund', 'extend', 'manage'] as const;
export type PurchaseActionKind = (typeof PURCHASE_ACTIONS)[number];

export function requiredScopes(
  kind: ActionKind,
  targetType?: StoreActionDetails['targetType'],
): readonly string[] {
  if (kind === 'grant') return [CUSTOMERS];
  return kind === 'refund' && targetType === 'purchase' ? [PURCHASES] : STORE_ACTIONS[kind].scopes;
}

/** Why a store does not do it now, or ever (`store`); `null`: it does. */
export function whyUnavailable(
  kind: PurchaseActionKind,
  live: LivePurchase,
  isFamilyShare: boolean,
): 'store' | 'ended' | 'not_renewing' | 'refunded' | 'family' | null {
  if (!STORE_ACTIONS[kind].isOffered?.(live)) return 'store';
  if (live.isRefunded) return 'refunded';
  if (isFamilyShare) return 'family';
  if (live.kind === 'purchase') return null;
  // Google refunds charges of subscriptions that have ended, too.
  const canHaveEnded = kind === 'manage' || (kind === 'refund' && refundsCharges(live));
  if (!live.givesAccess && !canHaveEnded) return 'ended';
  return kind === 'cancel' && !live.willRenew ? 'not_renewing' : null;
}

/** 0: the store extends nothing. */
export function maxExtensionDays(store: string | null): number {
  return MAX_EXTENSION_DAYS[store ?? ''] ?? 0;
}

/** Google refunds single charges. */
export function refundsCharges(live: Pick<LivePurchase, 'kind' | 'store'>): boolean {
  return live.kind === 'subscription' && live.store === GOOGLE;
}
