import { createHash } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import type { LivePurchase, LiveTransaction } from '../revenuecat/store-actions.ts';
import { toMinor } from '../subscription/money.ts';
import type { Money, SubscriptionState } from '../subscription/types.ts';
import type { Action, StoreActionDetails } from './action.ts';
import type { ActionContext } from './context.ts';
import { readCustomer, readNow } from './read-revenuecat.ts';

/** What a customer bought, as RevenueCat has it now, under the id that it knows. */
export interface LivePurchases {
  readonly appUserId: string;
  readonly purchases: readonly LivePurchase[];
}

/** Everything that the customer bought; consumables are last. */
export function allPurchases({ customer }: Pick<ActionContext, 'customer'>): SubscriptionState[] {
  const { subscriptions, sandbox, consumables } = customer.state;
  return [...subscriptions, ...sandbox, ...consumables].filter(({ store }) => store !== 'PROMOTIONAL');
}

export function findPurchase(context: ActionContext, id: string): SubscriptionState | null {
  return allPurchases(context).find((each) => subscriptionId(each) === id) ?? null;
}

/**
 * @param what what is read of the customer; `customer`: everything
 * @throws ActionError when RevenueCat refuses, does not respond, or does not know the customer
 */
export function readLivePurchases(
  context: ActionContext,
  what: StoreActionDetails['targetType'],
): Promise<LivePurchases> {
  const { revenueCatProjectId } = context.customer.project;
  return readCustomer(context, async ({ stores }, appUserId) => ({
    appUserId,
    purchases: await stores.listPurchases(revenueCatProjectId, appUserId, what),
  }));
}

/** What follows `subscription:` in a component's id: short, and without a store's characters. */
export function subscriptionId({ key }: Pick<SubscriptionState, 'key'>): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
}

/** What a stored purchase is in the API: by the store's transaction, else the store's only one of its kind. */
export function findLive(
  subscription: SubscriptionState,
  bought: readonly LivePurchase[],
): LivePurchase | null {
  const { transactionId, key, store, environment, isOneTime } = subscription;
  const ofStore = bought.filter((each) => each.store === store && each.environment === environment);
  const isInKey = (id: string): boolean => key.endsWith(`|${id}`) || key.includes(`|${id}:`);
  const byTransaction = ofStore.find(
    ({ storeId, id }) => (storeId !== null && (storeId === transactionId || isInKey(storeId))) || isInKey(id),
  );
  const [only, ...others] = ofStore.filter(({ kind }) => (kind === 'purchase') === isOneTime);
  return byTransaction ?? (only && others.length === 0 ? only : null);
}

/** Charges of a Google Play subscription, newest first, with what was paid where an event reported it. */
export async function listCharges(
  context: ActionContext,
  live: LivePurchase,
): Promise<(LiveTransaction & { readonly price: Money | null })[]> {
  const { app, workspace, customer } = context;
  const { revenueCatProjectId } = customer.project;
  const charges = await readNow(context, ({ stores }) =>
    stores.listTransactions(revenueCatProjectId, live.id),
  );
  const prices = await readChargePrices(app.database, {
    workspaceId: workspace.workspaceId,
    subscriberId: customer.subscriber.subscriberId,
    transactionIds: charges.map(({ id }) => id),
  });
  return charges
    .map((charge) => ({ ...charge, price: prices.get(charge.id) ?? null }))
    .sort((a, b) => b.purchasedAtMs - a.purchasedAtMs);
}

/** What was paid in charges, in the currency paid, as events reported it. */
async function readChargePrices(
  sql: Sql,
  of: {
    readonly workspaceId: string;
    readonly subscriberId: string;
    readonly transactionIds: readonly string[];
  },
): Promise<ReadonlyMap<string, Money>> {
  const rows = await sql.query<{ transaction_id: string; price: string | null; currency: string }>(
    `select transaction_id, fields->>'price_in_purchased_currency' as price,
            fields->>'currency' as currency
       from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = any($3)
        and fields->>'currency' is not null`,
    [of.workspaceId, of.subscriberId, of.transactionIds],
  );
  return new Map(
    rows.flatMap(({ transaction_id, price, currency }): [string, Money][] => {
      const amount = Number(price);
      const isPaid = amount > 0 && Number.isFinite(amount);
      return isPaid ? [[transaction_id, { amountMinor: toMinor(amount, currency), currency }]] : [];
    }),
  );
}

/** Whether a webhook has reported the refund of an action's charge: the API may not show it. */
export async function isChargeRefunded(sql: Sql, action: Action): Promise<boolean> {
  const charge = action.kind === 'refund' ? action.details.transactionId : undefined;
  if (charge === undefined) return false;
  const rows = await sql.query(
    `select 1 from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = $3 and kind = 'refund' limit 1`,
    [action.workspaceId, action.subscriberId, charge],
  );
  return rows.length > 0;
}
