import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { compareReadBack, readAccess } from './access.ts';
import type { Changes } from './repository.ts';
import type { Action, Grant, PurchaseState, StoreAction } from './types.ts';

/**
 * What reading RevenueCat shows of an action. `missing`: not done, or not done yet; `ignored`: what to store when
 * RevenueCat said that it did it. `unknown`: the API cannot show it.
 */
export type Found =
  | { readonly kind: 'done'; readonly changes: Changes }
  | { readonly kind: 'missing'; readonly ignored?: Changes }
  | { readonly kind: 'unknown' };

/** RevenueCat may round an end to whole seconds, and its sandbox counts days as minutes. */
const MIN_EXTENSION_MS = 30_000;

/** Makes the one call to RevenueCat that the action is. */
export async function callRevenueCat(
  client: RevenueCatClient,
  projectId: string,
  action: Action,
): Promise<void> {
  if (action.kind === 'grant') {
    const grant = { entitlementId: action.entitlementId, expiresAtMs: action.requestedEndMs };
    return client.grantEntitlement(projectId, action.appUserId, grant);
  }
  const { stores } = client;
  const { target, details } = action;
  switch (action.kind) {
    case 'cancel':
      return stores.cancelSubscription(projectId, target);
    case 'refund':
      if (details.transactionId !== undefined)
        return stores.refundTransaction(projectId, target, details.transactionId);
      return details.of === 'purchase'
        ? stores.refundPurchase(projectId, target)
        : stores.refundSubscription(projectId, target);
    case 'extend': {
      const extension = { days: details.days ?? 0, reasonCode: details.reasonCode ?? null };
      return stores.extendSubscription(projectId, target, extension);
    }
    case 'transfer':
      return stores.transferPurchases(projectId, action.appUserId, target);
    case 'restore':
      return stores.restoreOrder(projectId, action.appUserId, target);
    case 'manage':
      // The agent is shown the link; it is created where the button is pressed and never stored.
      throw new Error('A portal link is not created in the background');
  }
}

/** Reads whether the action was done. It never calls for it again. */
export async function readBack(client: RevenueCatClient, projectId: string, action: Action): Promise<Found> {
  if (action.kind === 'grant') return readBackGrant(client, projectId, action);
  const { target, details } = action;
  const { stores } = client;
  if (action.kind === 'manage') return { kind: 'missing' };
  if (action.kind === 'transfer') {
    const ids = (await stores.listPurchases(projectId, target)).map(({ id }) => id);
    return (details.moves ?? []).every((id) => ids.includes(id)) ? done(action, null) : { kind: 'missing' };
  }
  const owned = await stores.listPurchases(projectId, action.appUserId);
  if (action.kind === 'restore')
    return action.isAnswered || owned.some(({ storeId }) => storeId?.startsWith(target))
      ? done(action, null)
      : { kind: 'missing' };
  const own = owned.find(({ id }) => id === target);
  if (!own) return { kind: 'unknown' };
  const found: Found = isDone(action, own) ? done(action, stateOf(own)) : { kind: 'missing' };
  // A charge has no state in the API: RevenueCat's answer counts, else the event that follows a refund.
  if (details.transactionId === undefined) return found;
  if (action.isAnswered || (await hasRefundEvent(client, projectId, action)))
    return done(action, stateOf(own));
  return { kind: 'unknown' };
}

function isDone({ kind, details }: StoreAction, own: LivePurchase): boolean {
  switch (kind) {
    case 'cancel':
      return !own.willRenew;
    case 'refund':
      return own.isRefunded || (own.kind === 'subscription' && !own.givesAccess);
    case 'extend':
      return (own.endsAtMs ?? 0) >= (details.before?.endsAtMs ?? 0) + MIN_EXTENSION_MS;
    default:
      return false;
  }
}

function done({ details }: StoreAction, after: PurchaseState | null): Found {
  return { kind: 'done', changes: { details: { ...details, after } } };
}

export function stateOf({ endsAtMs, givesAccess, willRenew }: LivePurchase): PurchaseState {
  return { endsAtMs, givesAccess, willRenew };
}

async function hasRefundEvent(
  client: RevenueCatClient,
  projectId: string,
  action: StoreAction,
): Promise<boolean> {
  const events = await client.listCustomerEvents(projectId, action.appUserId);
  return (events ?? []).some(
    (event) =>
      event.cancel_reason === 'CUSTOMER_SUPPORT' && event.transaction_id === action.details.transactionId,
  );
}

/** End of what RevenueCat grants of the entitlement now; `null`: nothing. */
export async function readGrantEnd(
  client: RevenueCatClient,
  projectId: string,
  grant: Grant,
): Promise<number | null> {
  const access = await readAccess(client, projectId, [grant.appUserId]);
  return access?.endsOf({ id: grant.entitlementId, lookupKey: grant.lookupKey }).grantEndMs ?? null;
}

async function readBackGrant(client: RevenueCatClient, projectId: string, grant: Grant): Promise<Found> {
  const currentMs = await readGrantEnd(client, projectId, grant);
  const { requestedEndMs: requestedMs, previousEndMs: previousMs } = grant;
  const found = compareReadBack({ requestedMs, previousMs, currentMs });
  if (currentMs === null) return { kind: 'missing' };
  if (found !== 'missing')
    return { kind: 'done', changes: { actualEndMs: currentMs, isUnchanged: found === 'unchanged' } };
  // RevenueCat accepted the grant and what was there before has stayed.
  return { kind: 'missing', ignored: { actualEndMs: currentMs, isUnchanged: true } };
}
