import { randomUUID } from 'node:crypto';
import type { Sql } from '../database/sql.ts';
import type { ErrorCode } from '../errors.ts';
import type { LivePurchase, LiveTransaction } from '../revenuecat/store-actions.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { currencyDigits, toMinor } from '../subscription/money.ts';
import { productLabel } from '../subscription/names.ts';
import type { Money, SubscriptionState } from '../subscription/types.ts';
import { readCustomer, readNow } from './access.ts';
import type {
  ActionKind,
  PurchaseState,
  StoreAction,
  StoreActionDetails,
  StoreActionKind,
} from './action.ts';
import {
  findLive,
  isApple,
  maxExtensionDays,
  type PurchaseActionKind,
  refundsCharges,
  stateOf,
  subscriptionId,
  whyUnavailable,
} from './action-kinds.ts';
import type { ActionContext, Obstacle, ReviewAgain, ReviewResult, Rules } from './context.ts';
import { isSameEnd } from './durations.ts';
import type { ReviewedStoreAction } from './form-state.ts';
import { isAboveLimit, REVIEW_VALID_MS } from './policy.ts';

const ORDER_ID = /^GPA\.[\d-]+(\.\.\d+)?$/;

export interface StoreForm {
  readonly kind: StoreActionKind;
  /** Of the subscription's page; empty for a transfer. */
  readonly subscription: string;
  readonly days?: string | undefined;
  readonly reasonCode?: string | undefined;
  readonly transaction?: string | undefined;
  readonly target?: string | undefined;
  readonly order?: string | undefined;
  readonly reason?: string | undefined;
}

/** What a customer bought, as RevenueCat has it now, under the id that it knows. */
export interface Owned {
  readonly appUserId: string;
  readonly purchases: readonly LivePurchase[];
}

/** Everything that the customer bought: what gives access first, then what was bought without. */
export function allPurchases({ customer }: Pick<ActionContext, 'customer'>): SubscriptionState[] {
  const { subscriptions, sandbox, consumables } = customer.state;
  return [...subscriptions, ...sandbox, ...consumables].filter(({ store }) => store !== 'PROMOTIONAL');
}

export function findPurchase(context: ActionContext, id: string): SubscriptionState | null {
  return allPurchases(context).find((each) => subscriptionId(each) === id) ?? null;
}

/** A code: RevenueCat refuses or does not respond. */
export function readOwned(context: ActionContext): Promise<Owned | ErrorCode | 'unknown_customer'> {
  const { revenueCatProjectId } = context.customer.project;
  return readCustomer(context, async ({ stores }, appUserId) => ({
    appUserId,
    purchases: await stores.listPurchases(revenueCatProjectId, appUserId),
  }));
}

/** Which of RevenueCat's objects a form is about. */
export function targetOf(
  context: ActionContext,
  { subscription = '' }: { readonly kind: ActionKind; readonly subscription?: string },
): StoreActionDetails['of'] {
  if (subscription === '') return 'customer';
  return findPurchase(context, subscription)?.isOneTime ? 'purchase' : 'subscription';
}

/** Charges of a Google Play subscription, newest first, with what was paid where an event reported it. */
export async function listCharges(
  context: ActionContext,
  own: LivePurchase,
): Promise<(LiveTransaction & { readonly price: Money | null })[] | ErrorCode> {
  const { services, workspace, customer } = context;
  const { revenueCatProjectId } = customer.project;
  const charges = await readNow(context, ({ stores }) =>
    stores.listTransactions(revenueCatProjectId, own.id),
  );
  if (typeof charges === 'string') return charges;
  const prices = await readChargePrices(services.database, {
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
  const rows = await sql.query<{ transaction_id: string; price: string; currency: string }>(
    `select transaction_id, fields->>'price_in_purchased_currency' as price,
            fields->>'currency' as currency
       from events
      where workspace_id = $1 and subscriber_id = $2 and transaction_id = any($3)
        and fields->>'currency' is not null
        and (fields->>'price_in_purchased_currency')::numeric > 0`,
    [of.workspaceId, of.subscriberId, of.transactionIds],
  );
  return new Map(
    rows.map(({ transaction_id, price, currency }) => [
      transaction_id,
      { amountMinor: toMinor(Number(price), currency), currency },
    ]),
  );
}

/** An order ID in the form of a transfer makes it a restore. */
export function kindOf<Kind extends ActionKind>({
  kind,
  order = '',
}: {
  readonly kind: Kind;
  readonly order?: string | undefined;
}): Kind | 'restore' {
  return kind === 'transfer' && order !== '' ? 'restore' : kind;
}

export const STORE_RULES: Rules<StoreForm, ReviewedStoreAction, StoreAction> = {
  prepare,
  recheck,
  reviewRequested: async (context, action) => ({
    ...action,
    key: action.actionId,
    subscription: '',
    reviewedAtMs: context.services.now(),
  }),
  needsSecondPerson: ({ workspace }, { kind, details }) =>
    kind === 'refund' && isAboveLimit(workspace.settings, amountOf(details)),
};

type Made = { readonly target: string; readonly details: StoreActionDetails } | Obstacle;

async function prepare(context: ActionContext, form: StoreForm): Promise<ReviewResult> {
  const owned = await readOwned(context);
  if (typeof owned === 'string') return { kind: 'failed', code: owned };
  const kind = kindOf(form);
  const made = await describe(context, { ...form, kind }, owned);
  if ('kind' in made) return made;
  return {
    kind: 'ready',
    reviewed: {
      ...made,
      kind,
      key: randomUUID(),
      subscription: form.subscription,
      subscriberId: context.customer.subscriber.subscriberId,
      appUserId: owned.appUserId,
      reason: form.reason ?? '',
      reviewedAtMs: context.services.now(),
    },
  };
}

async function describe(context: ActionContext, form: StoreForm, owned: Owned): Promise<Made> {
  if (form.kind === 'restore') return describeRestore(form);
  if (form.kind === 'transfer') return describeTransfer(context, form, owned);
  const subscription = findPurchase(context, form.subscription);
  const own = subscription && findLive(subscription, owned.purchases);
  if (!subscription || !own) return { kind: 'failed', code: 'revenuecat_not_found' };
  return describePurchase(context, { ...form, kind: form.kind }, { subscription, own });
}

const NOTHING_BOUGHT = { of: 'customer', amount: null, before: null, after: null } as const;

function describeRestore({ order = '' }: StoreForm): Made {
  if (!ORDER_ID.test(order)) return { kind: 'invalid', code: 'order_invalid' };
  return { target: order, details: { ...NOTHING_BOUGHT, product: order, store: 'PLAY_STORE' } };
}

async function describeTransfer(context: ActionContext, form: StoreForm, owned: Owned): Promise<Made> {
  const { revenueCatProjectId } = context.customer.project;
  const target = form.target?.trim() ?? '';
  if (target === '') return { kind: 'invalid', code: 'target_missing' };
  if (isBlockedId(target)) return { kind: 'invalid', code: 'target_unknown' };
  // RevenueCat finds a customer by any alias, also by one that is unknown here.
  const read = await readNow(context, (client) =>
    Promise.all([target, owned.appUserId].map((id) => client.getCustomer(revenueCatProjectId, id))),
  );
  if (typeof read === 'string') return { kind: 'failed', code: read };
  const [found, source] = read;
  if (!found) return { kind: 'invalid', code: 'target_unknown' };
  if (found.id === source?.id) return { kind: 'invalid', code: 'target_same' };
  const moves = owned.purchases.map(({ id }) => id);
  if (moves.length === 0) return { kind: 'invalid', code: 'nothing_to_move' };
  return { target: found.id, details: { ...NOTHING_BOUGHT, product: found.id, store: null, moves } };
}

async function describePurchase(
  context: ActionContext,
  form: StoreForm & { readonly kind: PurchaseActionKind },
  { subscription, own }: { readonly subscription: SubscriptionState; readonly own: LivePurchase },
): Promise<Made> {
  const { kind } = form;
  const unavailable = whyUnavailable(kind, own, subscription.isFamilyShare);
  if (unavailable !== null) return { kind: 'refused', code: unavailable === 'store' ? 'ended' : unavailable };
  const { productId, productName, transactionId: purchaseId } = subscription;
  const base: StoreActionDetails = {
    product: productName ?? (productId === null ? own.id : productLabel(productId, context.customer.names)),
    ...(productId === null ? {} : { productId }),
    ...(purchaseId === null ? {} : { purchaseId }),
    store: own.store,
    environment: own.environment,
    of: own.kind,
    amount: null,
    before: stateOf(own),
    after: null,
  };
  const made = (details: Partial<StoreActionDetails>): Made => ({
    target: own.id,
    details: { ...base, ...details },
  });
  if (kind === 'extend') {
    const days = /^\d{1,3}$/.test(form.days ?? '') ? Number(form.days) : 0;
    if (days < 1 || days > maxExtensionDays(own.store)) return { kind: 'invalid', code: 'days' };
    const code = Number(form.reasonCode ?? 1);
    return made({
      days,
      ...(isApple(own.store) ? { reasonCode: [0, 1, 2, 3].includes(code) ? code : 1 } : {}),
    });
  }
  if (kind !== 'refund') return made({});
  if (!refundsCharges(own)) return made({ amount: subscription.price });
  const charges = await listCharges(context, own);
  if (typeof charges === 'string') return { kind: 'failed', code: charges };
  const charge = charges.find(({ id }) => id === form.transaction);
  if (!charge) return { kind: 'invalid', code: 'transaction' };
  return made({ transactionId: charge.id, amount: charge.price });
}

/** The sum in units of its currency; `null`: not known. */
export function amountOf({ amount }: Pick<StoreActionDetails, 'amount'>): number | null {
  return amount && amount.amountMinor / 10 ** currencyDigits(amount.currency);
}

async function recheck(
  context: ActionContext,
  reviewed: ReviewedStoreAction,
): Promise<ReviewResult | ReviewAgain> {
  const now = await readDetails(context, reviewed);
  if (typeof now === 'string') return { kind: 'failed', code: now };
  const nowMs = context.services.now();
  const hasChanged = !isSame(now, reviewed.details);
  if (!hasChanged && nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS) return { kind: 'ready', reviewed };
  const again = { ...reviewed, details: now, reviewedAtMs: nowMs };
  return { kind: 'review_again', reason: hasChanged ? 'changed' : 'stale', reviewed: again };
}

/** The details with the state that RevenueCat has now; a code: it does not have the purchase, or does not respond. */
async function readDetails(
  context: ActionContext,
  { details, target }: Pick<ReviewedStoreAction, 'details' | 'target'>,
): Promise<StoreActionDetails | string> {
  const owned = await readOwned(context);
  if (typeof owned === 'string') return owned;
  if (details.of === 'customer')
    return details.moves ? { ...details, moves: owned.purchases.map(({ id }) => id) } : details;
  const own = owned.purchases.find(({ id }) => id === target);
  return own ? { ...details, before: stateOf(own) } : 'revenuecat_not_found';
}

function isSame(one: StoreActionDetails, other: StoreActionDetails): boolean {
  const moves = (details: StoreActionDetails): string => [...(details.moves ?? [])].sort().join();
  return isSameState(one.before, other.before) && moves(one) === moves(other);
}

function isSameState(one: PurchaseState | null, other: PurchaseState | null): boolean {
  if (one === null || other === null) return one === other;
  return (
    one.givesAccess === other.givesAccess &&
    one.willRenew === other.willRenew &&
    isSameEnd(one.endsAtMs, other.endsAtMs)
  );
}
