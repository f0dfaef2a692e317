import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { compareReadBack, ifKnown, readAccess } from './access.ts';
import type { Changes } from './repository.ts';
import { STORE_KINDS } from './store-kinds.ts';
import type { Action, Grant, PurchaseState, StoreAction } from './types.ts';

/**
 * What reading RevenueCat shows of an action. `missing`: not done, or not done yet; `ignored`: what to store when
 * RevenueCat said that it did it. `unknown`: the API cannot show it.
 */
export type Found =
  | { readonly kind: 'done'; readonly changes: Changes }
  | { readonly kind: 'missing'; readonly ignored?: Changes }
  | { readonly kind: 'unknown' };

/**
 * Makes the one call to RevenueCat that the action is.
 *
 * @returns of `manage` the link
 */
export async function callRevenueCat(
  client: RevenueCatClient,
  projectId: string,
  action: Action,
): Promise<string | undefined> {
  const { appUserId, target } = action;
  if (action.kind === 'grant') {
    const grant = { entitlementId: target, expiresAtMs: action.requestedEndMs };
    await client.grantEntitlement(projectId, appUserId, grant);
    return;
  }
  const answer = await STORE_KINDS[action.kind].call(client.stores, projectId, action);
  return typeof answer === 'string' ? answer : undefined;
}

/** Reads whether the action was done. It never calls for it again. */
export async function readBack(client: RevenueCatClient, projectId: string, action: Action): Promise<Found> {
  if (action.kind === 'grant') return readBackGrant(client, projectId, action);
  const { kind, target, details, isAnswered } = action;
  const { stores } = client;
  const doneIf = (isDone: boolean): Found => (isDone ? doneWith(action, null) : { kind: 'missing' });
  if (kind === 'manage') return doneIf(isAnswered);
  if (kind === 'transfer') {
    const ids = (await stores.listPurchases(projectId, target)).map(({ id }) => id);
    return doneIf((details.moves ?? []).every((id) => ids.includes(id)));
  }
  const owned = await stores.listPurchases(projectId, action.appUserId);
  if (kind === 'restore')
    return doneIf(isAnswered || owned.some(({ storeId }) => storeId?.startsWith(target)));
  const own = owned.find(({ id }) => id === target);
  if (!own) return { kind: 'unknown' };
  if (details.transactionId === undefined)
    return STORE_KINDS[kind].isDone?.(own, details) ? doneWith(action, stateOf(own)) : { kind: 'missing' };
  // A charge has no state in the API: RevenueCat's answer counts, else the event that follows a refund.
  const isRefunded = isAnswered || (await hasRefundEvent(client, projectId, action));
  return isRefunded ? doneWith(action, stateOf(own)) : { kind: 'unknown' };
}

function doneWith({ details }: StoreAction, after: PurchaseState | null): Found {
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
  const access = await ifKnown(readAccess(client, projectId, grant));
  return access?.endsOf({ id: grant.target, lookupKey: grant.lookupKey }).grantEndMs ?? null;
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
