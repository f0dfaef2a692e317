import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { isApple, productOf } from '../subscription/names.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type { StoreActionDetails } from './action.ts';
import { failed, invalid, outdated, refused } from './action-error.ts';
import {
  maxExtensionDays,
  type PurchaseActionKind,
  refundsCharges,
  stateOf,
  whyUnavailable,
} from './action-kinds.ts';
import type { ActionContext } from './context.ts';
import { isSameEnd } from './durations.ts';
import { REVIEW_VALID_MS, type ReviewedStoreAction, type StoreForm } from './form-state.ts';
import {
  allPurchases,
  findLive,
  type LivePurchases,
  listCharges,
  readLivePurchases,
  readPayments,
  readPurchase,
} from './purchases.ts';
import { readFromRevenueCat } from './read-revenuecat.ts';

const ORDER_ID = /^GPA\.[\d-]+(\.\.\d+)?$/;

/** Apple's reasons for an extension: 0 undeclared, 1 customer satisfaction, 2 other, 3 service issue or outage. */
export const APPLE_REASON_CODES = [1, 3, 2, 0] as const;

/** The target of an action, and its details. */
type Described = Pick<ReviewedStoreAction, 'appUserId' | 'target' | 'details'>;

/** Computes exactly what the action would do. @throws ActionError */
export async function prepareStoreAction(
  context: ActionContext,
  form: StoreForm,
): Promise<ReviewedStoreAction> {
  return {
    ...(await describeAction(context, form)),
    kind: form.kind,
    key: randomUUID(),
    subscriberId: context.customer.subscriberId,
    reason: form.reason ?? '',
    reviewedAtMs: context.app.now(),
  };
}

const NOTHING_BOUGHT = { targetType: 'customer', amount: null, before: null, after: null } as const;

async function describeAction(context: ActionContext, form: StoreForm): Promise<Described> {
  const { kind, order = '' } = form;
  if (kind !== 'restore' && kind !== 'transfer') return describePurchase(context, form, kind);
  const bought = await readLivePurchases(context, 'customer');
  if (kind === 'transfer') return describeTransfer(context, form, bought);
  if (!ORDER_ID.test(order)) throw invalid('order_invalid');
  const { appUserId } = bought;
  return { appUserId, target: order, details: { ...NOTHING_BOUGHT, product: order, store: 'PLAY_STORE' } };
}

async function describeTransfer(
  context: ActionContext,
  form: StoreForm,
  bought: LivePurchases,
): Promise<Described> {
  const { appUserId } = bought;
  const { revenueCatProjectId } = context.customer.project;
  const target = form.target?.trim() ?? '';
  if (target === '') throw invalid('target_missing');
  if (isBlockedId(target)) throw invalid('target_unknown');
  // RevenueCat finds a customer by any alias, even one that is unknown here.
  const [found, source] = await readFromRevenueCat(context, (client) =>
    Promise.all([target, appUserId].map((id) => client.getCustomer(revenueCatProjectId, id))),
  );
  if (!found) throw invalid('target_unknown');
  if (found.id === source?.id) throw invalid('target_same');
  if (bought.purchases.length === 0) throw invalid('nothing_to_move');
  const moving = { product: found.id, store: null, ...movesOf(bought) };
  return { appUserId, target: found.id, details: { ...NOTHING_BOUGHT, ...moving } };
}

/** A canvas holds 64 KB, so purchases beyond this number are only counted. */
const MAX_MOVES = 500;

function movesOf({ purchases }: LivePurchases): Required<Pick<StoreActionDetails, 'moves' | 'moveCount'>> {
  const ids = purchases.map(({ id }) => id).sort();
  return { moves: ids.slice(0, MAX_MOVES), moveCount: ids.length };
}

async function describePurchase(
  context: ActionContext,
  form: StoreForm,
  kind: PurchaseActionKind,
): Promise<Described> {
  const purchase = await readPurchase(context, form.subscription);
  if (!purchase) throw failed('revenuecat_not_found');
  const { appUserId, subscription, live } = purchase;
  checkAvailable(kind, live, subscription.isFamilyShare);
  const details: StoreActionDetails = {
    product: productOf(subscription, context.customer.names) || live.id,
    productId: subscription.productId ?? undefined,
    purchaseId: subscription.transactionId ?? undefined,
    store: live.store,
    environment: live.environment,
    targetType: live.kind,
    amount: null,
    before: stateOf(live),
    after: null,
    ...(kind === 'extend' && extensionOf(form, live)),
    ...(kind === 'refund' && (await refundOf(context, form, { subscription, live }))),
  };
  return { appUserId, target: live.id, details };
}

function checkAvailable(kind: PurchaseActionKind, live: LivePurchase, isFamilyShare: boolean): void {
  const unavailable = whyUnavailable(kind, live, isFamilyShare);
  if (unavailable) throw refused(unavailable === 'store' ? 'ended' : unavailable);
}

function extensionOf(
  form: StoreForm,
  { store }: LivePurchase,
): Pick<StoreActionDetails, 'days' | 'reasonCode'> {
  const days = /^\d{1,3}$/.test(form.days ?? '') ? Number(form.days) : 0;
  if (days < 1 || days > maxExtensionDays(store)) throw invalid('days');
  const code = APPLE_REASON_CODES.find((each) => String(each) === form.code) ?? 1;
  return { days, reasonCode: isApple(store) ? code : undefined };
}

async function refundOf(
  context: ActionContext,
  form: StoreForm,
  { subscription, live }: { readonly subscription: SubscriptionState; readonly live: LivePurchase },
): Promise<Pick<StoreActionDetails, 'transactionId' | 'amount'>> {
  if (!refundsCharges(live)) return { amount: subscription.lastPayment };
  const charges = await listCharges(context, live);
  // A form that submits no choice was on its first page, where the newest charge is selected.
  const isNewest = form.transaction === undefined && !form.page;
  const charge = charges.find(({ id, isRefunded }) => (isNewest ? !isRefunded : id === form.transaction));
  if (!charge) throw invalid('transaction');
  if (charge.isRefunded) throw refused('refunded');
  return { transactionId: charge.id, amount: charge.refundable };
}

/** Checks what was reviewed against what RevenueCat has now. @throws ActionError */
export async function recheckStoreAction(
  context: ActionContext,
  reviewed: ReviewedStoreAction,
): Promise<ReviewedStoreAction> {
  const details = await readDetails(context, reviewed);
  const nowMs = context.app.now();
  const isChanged = hasChanged(reviewed.details, details);
  if (!isChanged && nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS) return reviewed;
  throw outdated(isChanged ? 'changed' : 'stale', { ...reviewed, details, reviewedAtMs: nowMs });
}

/** The reviewed details with RevenueCat's current state and, for a refund, the current sum. */
async function readDetails(
  context: ActionContext,
  { kind, details, target }: ReviewedStoreAction,
): Promise<StoreActionDetails> {
  const current = await readLivePurchases(context, details.targetType);
  if (kind === 'restore' || kind === 'transfer')
    return details.moves ? { ...details, ...movesOf(current) } : details;
  const { purchases } = current;
  const live = purchases.find(({ id }) => id === target);
  if (!live) throw failed('revenuecat_not_found');
  checkAvailable(kind, live, false);
  const before = stateOf(live);
  if (kind !== 'refund') return { ...details, before };
  if (details.transactionId !== undefined) {
    const [payment] = await readPayments(context, [details.transactionId]);
    if (payment?.isRefunded) throw refused('refunded');
    return { ...details, before, amount: payment?.refundable ?? null };
  }
  const bought = allPurchases(context).find((each) => findLive(context, each, purchases) === live);
  return { ...details, before, amount: bought ? bought.lastPayment : details.amount };
}

function hasChanged(reviewed: StoreActionDetails, current: StoreActionDetails): boolean {
  const facts = ({ before, amount, moves, moveCount }: StoreActionDetails) => {
    return [before?.givesAccess, before?.willRenew, amount?.amountMinor, amount?.currency, moves, moveCount];
  };
  const isSame = isDeepStrictEqual(facts(reviewed), facts(current));
  return !isSame || !isSameEnd(reviewed.before?.endsAtMs ?? null, current.before?.endsAtMs ?? null);
}
