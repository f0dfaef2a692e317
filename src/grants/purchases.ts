import { hash } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { readEvent } from '../subscription/read-event.ts';
import type { Money, SubscriptionState } from '../subscription/types.ts';
import { type Action, CLOCK_TOLERANCE_MS, doneAtMs, type StoreActionDetails } from './action.ts';
import { failed, refused } from './action-error.ts';
import type { ActionContext } from './context.ts';
import type { Form } from './form-state.ts';
import { readByKnownId, readFromRevenueCat } from './read-revenuecat.ts';

export type LivePurchases = Awaited<ReturnType<typeof readLivePurchases>>;

/** Everything bought or granted: what gives access first, then the latest; test purchases and consumables last. */
export function allPurchases({ customer }: Pick<ActionContext, 'customer'>): SubscriptionState[] {
  const { subscriptions, grants, sandbox, consumables } = customer.state;
  return [...subscriptions, ...grants, ...sandbox, ...consumables];
}

export function findPurchase(context: ActionContext, id: string | undefined): SubscriptionState | null {
  return allPurchases(context).find((each) => subscriptionId(each) === id) ?? null;
}

/** Which kind of RevenueCat object a form is about. */
export function targetTypeOf(context: ActionContext, form: Form): StoreActionDetails['targetType'] {
  if (form.subscription === undefined) return 'customer';
  return findPurchase(context, form.subscription)?.isOneTime ? 'purchase' : 'subscription';
}

/**
 * Reads what a customer bought from RevenueCat, by the first app user id that RevenueCat knows.
 *
 * @param what `customer`: everything
 * @throws ActionError when it cannot be read
 */
export function readLivePurchases(context: ActionContext, what: StoreActionDetails['targetType']) {
  const { revenueCatProjectId } = context.customer.project;
  return readByKnownId(context, async ({ stores }, appUserId) => ({
    appUserId,
    purchases: await stores.listPurchases(revenueCatProjectId, appUserId, what),
  }));
}

/** A stored purchase with its state in RevenueCat; `null`: not found. @throws ActionError when it cannot be read */
export async function readPurchase(context: ActionContext, id: string | undefined) {
  const subscription = findPurchase(context, id);
  if (!subscription) return null;
  const what = subscription.isOneTime ? 'purchase' : 'subscription';
  const { appUserId, purchases } = await readLivePurchases(context, what);
  const live = findLive(context, subscription, purchases);
  return live && { appUserId, subscription, live };
}

/** The part of a component's id after `subscription:`: a hash, so it is short and has no special characters. */
export function subscriptionId({ key }: Pick<SubscriptionState, 'key'>): string {
  return hash('sha256', key).slice(0, 16);
}

/**
 * Finds the API's entry for a stored purchase by the store's transaction. Otherwise takes the store's only one of its
 * kind, if only one is stored here, too. With several, the action could be done to the wrong purchase.
 */
export function findLive(
  context: Pick<ActionContext, 'customer'>,
  subscription: SubscriptionState,
  bought: readonly LivePurchase[],
): LivePurchase | null {
  const { transactionId, key, store, environment, isOneTime } = subscription;
  const ofStore = bought.filter((each) => each.store === store && each.environment === environment);
  const isInKey = (id: string): boolean => key.endsWith(`|${id}`) || key.includes(`|${id}:`);
  const isOwn = (storeId: string): boolean => storeId === transactionId || isInKey(storeId);
  const byTransaction = ofStore.find(
    ({ storeId, id }) => isInKey(id) || (storeId !== null && isOwn(storeId)),
  );
  const stored = allPurchases(context).filter(
    (each) => each.store === store && each.environment === environment && each.isOneTime === isOneTime,
  );
  const [only, ...others] = ofStore.filter(({ kind }) => (kind === 'purchase') === isOneTime);
  return byTransaction ?? (only && others.length === 0 && stored.length === 1 ? only : null);
}

/** What events and our own actions say about a charge. */
interface Payment {
  /** The amount paid minus refunds; `null`: not known. */
  readonly refundable: Money | null;
  /** The whole amount was refunded. */
  readonly isRefunded: boolean;
}

interface PaymentRow {
  readonly transactionId: string;
  readonly kind: string;
  /** `null`: a refund that was made here. */
  readonly fields: unknown;
}

/** Charges of a Google Play subscription, newest first. */
export async function listCharges(context: ActionContext, live: LivePurchase) {
  const { revenueCatProjectId } = context.customer.project;
  const charges = await readFromRevenueCat(context, ({ stores }) =>
    stores.listTransactions(revenueCatProjectId, live.id),
  );
  const ids = charges.map(({ id }) => id);
  const payments = await readPayments(context, ids);
  return charges
    .map((charge, index) => ({ refundable: null, isRefunded: false, ...charge, ...payments[index] }))
    .sort((a, b) => b.purchasedAtMs - a.purchasedAtMs);
}

/** The charges that can be refunded. @throws ActionError when there is none */
export async function listRefundableCharges(context: ActionContext, live: LivePurchase) {
  const charges = await listCharges(context, live);
  if (charges.length === 0) throw failed('no_charges');
  const refundable = charges.filter(({ isRefunded }) => !isRefunded);
  if (refundable.length === 0) throw refused('refunded');
  return refundable;
}

/**
 * What was paid and refunded of charges, according to events and our own actions. Only the newer description of the API
 * has amounts, and does not say what a refund does to them.
 */
export async function readPayments(
  { app, workspace, customer }: ActionContext,
  transactionIds: readonly string[],
): Promise<Payment[]> {
  const rows = await app.database.query<PaymentRow>(
    `select transaction_id as "transactionId", kind, fields
       from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = any($3)
     union all
     select details->>'transactionId', kind, null
       from actions
      where workspace_id = $1 and subscriber_id = $2 and kind = 'refund' and state = 'confirmed'
        and details->>'transactionId' = any($3)`,
    [workspace.workspaceId, customer.subscriberId, transactionIds],
  );
  return transactionIds.map((id) => paymentOf(rows.filter(({ transactionId }) => transactionId === id)));
}

function paymentOf(rows: readonly PaymentRow[]): Payment {
  const sums = rows.map(({ kind, fields }) => {
    const { price } = readEvent(fields, { receivedAtMs: 0, fallbackId: '' });
    return { kind, amountMinor: price?.amountMinor ?? 0, currency: price?.currency ?? '' };
  });
  const paid = sums.findLast(({ amountMinor }) => amountMinor > 0);
  const refunds = sums
    .filter(({ kind }) => kind === 'refund')
    .map(({ amountMinor, currency }) => (currency === paid?.currency ? -amountMinor : 0));
  const restMinor = refunds.reduce((left, minor) => left - minor, paid?.amountMinor ?? 0);
  // A refund of an unknown sum counts as a full refund.
  const isAll = restMinor <= 0 || refunds.some((minor) => minor <= 0);
  return {
    refundable: paid ? { amountMinor: restMinor, currency: paid.currency } : null,
    isRefunded: refunds.length > 0 && isAll,
  };
}

/** Whether a webhook has reported this refund, and not an earlier partial refund of the same charge. */
export async function isRefundReported(sql: Sql, action: Action): Promise<boolean> {
  if (action.kind !== 'refund') return false;
  const { transactionId, purchaseId } = action.details;
  const charge = transactionId ?? purchaseId;
  if (charge === undefined) return false;
  const rows = await sql.query(
    `select 1 from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = $3 and kind = 'refund'
        and event_at_ms >= $4 limit 1`,
    [action.workspaceId, action.subscriberId, charge, doneAtMs(action) - CLOCK_TOLERANCE_MS],
  );
  return rows.length > 0;
}
