import { createHash } from 'node:crypto';
import { nullOn } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { compareReadBack, readAccess } from './access.ts';
import type {
  Action,
  ActionKind,
  Grant,
  PurchaseState,
  StoreAction,
  StoreActionDetails,
  StoreActionKind,
} from './action.ts';
import type { Changes } from './repository.ts';

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

/**
 * What reading RevenueCat shows of an action. `missing`: not done, or not done yet; `ignored`: what to store when
 * RevenueCat said that it did it. `unknown`: the API cannot show it.
 */
type Found =
  | { readonly kind: 'done'; readonly changes: Changes }
  | { readonly kind: 'missing'; readonly ignored?: Changes }
  | { readonly kind: 'unknown' };

/** What RevenueCat needs to know for a kind of action, and what it shows of it. */
interface Kind<A extends Action> {
  /** Permissions that the key needs. Source: RevenueCat API v2. */
  readonly scopes: readonly string[];
  /** Whether the store offers it for a purchase, now or ever; absent: it is about the whole customer. */
  isOffered?(own: LivePurchase): boolean;
  /** The one call to RevenueCat; of `manage` it gives the link. */
  call(client: RevenueCatClient, projectId: string, action: A): Promise<unknown>;
  /** Reads whether it was done. It never calls for it again. */
  readBack(client: RevenueCatClient, projectId: string, action: A): Promise<Found>;
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

const GRANT: Kind<Grant> = {
  // A key that cannot grant is found out by the grant.
  scopes: [],
  call: (client, projectId, { appUserId, target, requestedEndMs }) =>
    client.grantEntitlement(projectId, appUserId, { entitlementId: target, expiresAtMs: requestedEndMs }),
  async readBack(client, projectId, grant) {
    const currentMs = await readGrantEnd(client, projectId, grant);
    const { requestedEndMs: requestedMs, previousEndMs: previousMs } = grant;
    const found = compareReadBack({ requestedMs, previousMs, currentMs });
    if (currentMs === null) return { kind: 'missing' };
    if (found !== 'missing')
      return { kind: 'done', changes: { actualEndMs: currentMs, isUnchanged: found === 'unchanged' } };
    // RevenueCat accepted the grant and what was there before has stayed.
    return { kind: 'missing', ignored: { actualEndMs: currentMs, isUnchanged: true } };
  },
};

const STORE_KINDS: Readonly<Record<StoreActionKind, Kind<StoreAction>>> = {
  cancel: {
    scopes: [SUBSCRIPTIONS],
    isOffered: isWebSubscription,
    call: ({ stores }, projectId, { target }) => stores.cancelSubscription(projectId, target),
    readBack: shownByPurchase((own) => !own.willRenew),
    event: { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE' },
  },
  refund: {
    scopes: [SUBSCRIPTIONS],
    isOffered: (own) => own.store === WEB_BILLING || refundsCharges(own),
    call({ stores }, projectId, { target, details: { transactionId, of } }) {
      if (transactionId !== undefined) return stores.refundTransaction(projectId, target, transactionId);
      return of === 'purchase'
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
    isOffered: (own) => own.kind === 'subscription' && maxExtensionDays(own.store) > 0,
    call({ stores }, projectId, { target, details: { days = 0, reasonCode = null } }) {
      return stores.extendSubscription(projectId, target, { days, reasonCode });
    },
    readBack: shownByPurchase(
      (own, { before }) => (own.endsAtMs ?? 0) >= (before?.endsAtMs ?? 0) + MIN_EXTENSION_MS,
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
      const owned = isAnswered ? [] : await stores.listPurchases(projectId, appUserId);
      return doneIf(isAnswered || owned.some(({ storeId }) => storeId?.startsWith(target)), action);
    },
  },
};

export const ACTION_KINDS: Readonly<Record<ActionKind, Kind<Action>>> = { grant: GRANT, ...STORE_KINDS };

function doneIf(isDone: boolean, { details }: StoreAction, after: PurchaseState | null = null): Found {
  return isDone ? { kind: 'done', changes: { details: { ...details, after } } } : { kind: 'missing' };
}

/** For what the purchase itself shows. */
function shownByPurchase(
  isDone: (own: LivePurchase, details: StoreActionDetails) => boolean,
): Kind<StoreAction>['readBack'] {
  return async ({ stores }, projectId, action) => {
    const owned = await stores.listPurchases(projectId, action.appUserId);
    const own = owned.find(({ id }) => id === action.target);
    return own ? doneIf(isDone(own, action.details), action, stateOf(own)) : { kind: 'unknown' };
  };
}

const readRefund = shownByPurchase(
  (own) => own.isRefunded || (own.kind === 'subscription' && !own.givesAccess),
);

/** A charge has no state in the API: RevenueCat's answer counts, else the event that follows a refund. */
async function readRefundedCharge(
  client: RevenueCatClient,
  projectId: string,
  action: StoreAction,
): Promise<Found> {
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

/** End of what RevenueCat grants of the entitlement now; `null`: nothing. */
export async function readGrantEnd(
  client: RevenueCatClient,
  projectId: string,
  grant: Grant,
): Promise<number | null> {
  const access = await nullOn('revenuecat_not_found', readAccess(client, projectId, grant));
  return access?.endsOf({ id: grant.target, lookupKey: grant.lookupKey }).grantEndMs ?? null;
}

/** What can be done to one subscription or purchase. */
const PURCHASE_ACTIONS = ['cancel', 'refund', 'extend', 'manage'] as const;
export type PurchaseActionKind = (typeof PURCHASE_ACTIONS)[number];

export function requiredScopes(kind: ActionKind, of?: StoreActionDetails['of']): readonly string[] {
  return kind === 'refund' && of === 'purchase' ? [PURCHASES] : ACTION_KINDS[kind].scopes;
}

/** Why a store does not do it now, or ever (`store`). */
export type Unavailable = 'store' | 'ended' | 'not_renewing' | 'refunded' | 'family';

/** `null`: the store does it. */
export function whyUnavailable(
  kind: PurchaseActionKind,
  own: LivePurchase,
  isFamilyShare: boolean,
): Unavailable | null {
  if (!ACTION_KINDS[kind].isOffered?.(own)) return 'store';
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
