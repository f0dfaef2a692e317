import { nullOn } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { DAY_MS } from '../time.ts';
import { compareReadBack, endsOf, readAccess } from './access.ts';
import {
  type Action,
  type ActionKind,
  CLOCK_TOLERANCE_MS,
  doneAtMs,
  type Grant,
  type PurchaseState,
  type StoreAction,
  type StoreActionDetails,
} from './action.ts';
import type { Changes } from './repository.ts';

const WEB_BILLING = 'RC_BILLING';
const GOOGLE = 'PLAY_STORE';

/** Source: RevenueCat's descriptions of `extend` (v1 and the newer v2). */
const MAX_EXTENSION_DAYS: Readonly<Record<string, number>> = {
  APP_STORE: 90,
  MAC_APP_STORE: 90,
  PLAY_STORE: 365,
  RC_BILLING: 365,
};

/** The changes to store; `missing`: not done, or not done yet; `unknown`: the API cannot show it. */
type ReadBackResult = Changes | 'missing' | 'unknown';

interface ReadBackTime {
  readonly nowMs: number;
  /** Enough time has passed: what is not done yet will not be done. */
  readonly isOverdue: boolean;
}

/** How RevenueCat is called for a kind of action, and how the result is read back. */
interface ActionKindDefinition {
  /** Permissions that the key needs. Source: RevenueCat API v2. */
  readonly scopes: readonly string[];
  /** Whether the store supports the action for this purchase; absent: the action is about the whole customer. */
  isOffered?(live: LivePurchase): boolean;
  /** The only call to RevenueCat; for `manage` it resolves with the portal link. */
  call(client: RevenueCatClient, projectId: string, action: Action): Promise<unknown>;
  /** Reads whether the action was done, without calling for it again. */
  readBack(
    client: RevenueCatClient,
    projectId: string,
    action: Action & ReadBackTime,
  ): Promise<ReadBackResult>;
  /** Fields of the webhook that follows a store action, if there is one. */
  readonly event?: { readonly type: string; readonly cancel_reason?: string };
}

const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

/** RevenueCat may round an end to whole seconds, and its sandbox counts days as minutes. */
const MIN_EXTENSION_MS = 30_000;

const isWebSubscription = (live: LivePurchase): boolean =>
  live.kind === 'subscription' && live.store === WEB_BILLING;

export const ACTION_KINDS: Readonly<Record<ActionKind, ActionKindDefinition>> = {
  grant: {
    scopes: [CUSTOMERS],
    call: (client, projectId, { state, appUserId, target, requestedEndMs }: Grant) =>
      state === 'revoking'
        ? // 404 has three meanings (nothing granted, unknown customer, wrong path): reading back decides.
          nullOn('revenuecat_not_found', client.revokeEntitlement(projectId, appUserId, target))
        : client.grantEntitlement(projectId, appUserId, {
            entitlementId: target,
            expiresAtMs: requestedEndMs,
          }),
    async readBack(client, projectId, grant: Grant & ReadBackTime) {
      const currentMs = await readGrantEnd(client, projectId, grant);
      if (grant.state === 'revoking') return currentMs === null ? {} : 'missing';
      if (currentMs === null) return 'missing';
      const found = compareReadBack(grant, currentMs);
      // RevenueCat accepted the grant but kept the earlier one.
      const isIgnored = found === 'missing' && grant.isOverdue && grant.isAnswered;
      if (found === 'missing' && !isIgnored) return 'missing';
      return { actualEndMs: currentMs, isUnchanged: found !== 'granted' };
    },
  },
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
    call({ stores }, projectId, { target, details: { transactionId, targetType } }: StoreAction) {
      if (transactionId !== undefined) return stores.refundTransaction(projectId, target, transactionId);
      return stores.refund(projectId, targetType === 'purchase' ? targetType : 'subscription', target);
    },
    async readBack(client, projectId, action: StoreAction & ReadBackTime) {
      const { details, isAnswered, nowMs } = action;
      const isCharge = details.transactionId !== undefined;
      if (isCharge && !(await isChargeRefunded(client, projectId, action))) return 'unknown';
      // Access that ended with its period does not prove a refund.
      const endMs = details.before?.endsAtMs ?? null;
      const isRefundShown = isAnswered || endMs === null || endMs > nowMs;
      return shownByPurchase((live) => {
        if (isCharge || live.isRefunded) return true;
        if (live.kind !== 'subscription' || live.givesAccess) return false;
        return isRefundShown ? true : 'unknown';
      })(client, projectId, action);
    },
    event: { type: 'CANCELLATION', cancel_reason: 'CUSTOMER_SUPPORT' },
  },
  extend: {
    scopes: [SUBSCRIPTIONS],
    // A pause without an end has no date that could be moved.
    isOffered: (live) =>
      live.kind === 'subscription' && live.endsAtMs !== null && maxExtensionDays(live.store) > 0,
    call({ stores }, projectId, { target, details: { days = 0, reasonCode } }: StoreAction) {
      return stores.extendSubscription(projectId, target, { days, reasonCode: reasonCode ?? null });
    },
    readBack: shownByPurchase(({ endsAtMs }, { isAnswered, details: { before, days = 0 } }) => {
      const addedMs = (endsAtMs ?? 0) - (before?.endsAtMs ?? 0);
      // A renewal moves the end, too.
      if (!isAnswered && addedMs > (days + 1) * DAY_MS) return 'unknown';
      return addedMs >= MIN_EXTENSION_MS;
    }),
    event: { type: 'SUBSCRIPTION_EXTENDED' },
  },
  manage: {
    scopes: ['customer_information:subscriptions:read'],
    // CONFLICT: the newer description has Paddle, too, whose link may need a sign-in, work again, or be missing.
    isOffered: isWebSubscription,
    call: ({ stores }, projectId, { target }) => stores.createManagementUrl(projectId, target),
    readBack: async (_client, _projectId, action: StoreAction & ReadBackTime) => doneIf(action.isAnswered),
  },
  transfer: {
    scopes: [CUSTOMERS, SUBSCRIPTIONS, PURCHASES],
    call: ({ stores }, projectId, { appUserId, target }) =>
      stores.transferPurchases(projectId, appUserId, target),
    async readBack({ stores }, projectId, action: StoreAction & ReadBackTime) {
      const { appUserId, target, details } = action;
      // Erasing the receiver here clears `target`: then the source must no longer have the purchases.
      const isKnown = target !== '';
      const ids = (await stores.listPurchases(projectId, isKnown ? target : appUserId)).map(({ id }) => id);
      const isDone = (details.moves ?? []).every((id) => ids.includes(id) === isKnown);
      return doneIf(isDone);
    },
    event: { type: 'TRANSFER' },
  },
  restore: {
    scopes: [CUSTOMERS],
    call: ({ stores }, projectId, { appUserId, target }) => stores.restoreOrder(projectId, appUserId, target),
    async readBack({ stores }, projectId, action: StoreAction & ReadBackTime) {
      const { appUserId, target, isAnswered } = action;
      const bought = isAnswered ? [] : await stores.listPurchases(projectId, appUserId);
      return doneIf(isAnswered || bought.some(({ storeId }) => storeId?.startsWith(target)));
    },
  },
};

/** When RevenueCat's current grant of the entitlement ends; `null`: there is none. */
export async function readGrantEnd(
  client: RevenueCatClient,
  projectId: string,
  grant: Grant,
): Promise<number | null> {
  const { appUserId, target, lookupKey } = grant;
  const access = await nullOn('revenuecat_not_found', readAccess(client, projectId, appUserId));
  return access && endsOf(access, { id: target, lookupKey }).grantEndMs;
}

function doneIf(isDone: boolean | 'unknown', after: PurchaseState | null = null): ReadBackResult {
  if (isDone === 'unknown') return isDone;
  return isDone ? { details: { after } } : 'missing';
}

function shownByPurchase(isDone: (live: LivePurchase, action: StoreAction) => boolean | 'unknown') {
  return async (
    { stores }: RevenueCatClient,
    projectId: string,
    action: StoreAction & ReadBackTime,
  ): Promise<ReadBackResult> => {
    const { appUserId, target, details } = action;
    const bought = await stores.listPurchases(projectId, appUserId, details.targetType);
    let live: LivePurchase | null = bought.find(({ id }) => id === target) ?? null;
    // The purchase may have been transferred since.
    if (live === null && details.targetType !== 'customer')
      live = await nullOn('revenuecat_not_found', stores.readPurchase(projectId, details.targetType, target));
    return live ? doneIf(isDone(live, action), stateOf(live)) : 'unknown';
  };
}

/** The API has no state for a charge: RevenueCat's response or webhook counts, otherwise an event in the API. */
async function isChargeRefunded(
  client: RevenueCatClient,
  projectId: string,
  action: StoreAction,
): Promise<boolean> {
  const { isAnswered, appUserId, details } = action;
  if (isAnswered) return true;
  const events = (await client.listCustomerEvents(projectId, appUserId)) ?? [];
  return events.some(
    (event) =>
      event.cancel_reason === 'CUSTOMER_SUPPORT' &&
      event.transaction_id === details.transactionId &&
      Number(event.event_timestamp_ms) >= doneAtMs(action) - CLOCK_TOLERANCE_MS,
  );
}

export function stateOf({ endsAtMs, givesAccess, willRenew }: LivePurchase): PurchaseState {
  return { endsAtMs, givesAccess, willRenew };
}

export const PURCHASE_ACTIONS = ['cancel', 'refund', 'extend', 'manage'] as const;
export type PurchaseActionKind = (typeof PURCHASE_ACTIONS)[number];

export function requiredScopes(
  kind: ActionKind,
  targetType?: StoreActionDetails['targetType'],
): readonly string[] {
  return kind === 'refund' && targetType === 'purchase' ? [PURCHASES] : ACTION_KINDS[kind].scopes;
}

/** Why a store does not offer an action now, or never does (`store`); `null`: it offers it. */
export function whyUnavailable(
  kind: PurchaseActionKind,
  live: LivePurchase,
  isFamilyShare: boolean,
): 'store' | 'ended' | 'not_renewing' | 'refunded' | 'family' | null {
  if (!ACTION_KINDS[kind].isOffered?.(live)) return 'store';
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
