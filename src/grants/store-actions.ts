import { randomUUID } from 'node:crypto';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { LivePurchase } from '../revenuecat/store-actions.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { currencyDigits } from '../subscription/money.ts';
import { isApple, productOf } from '../subscription/names.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type {
  ActionKind,
  PurchaseState,
  StoreAction,
  StoreActionDetails,
  StoreActionKind,
} from './action.ts';
import { failed, invalid, outdated, refused } from './action-error.ts';
import { type ActionContext, readNow } from './context.ts';
import { isSameEnd } from './durations.ts';
import { type Form, REVIEW_VALID_MS, type ReviewedStoreAction, type StoreForm } from './form-state.ts';
import type { ActionHandler, ReadBackResult } from './handlers.ts';
import {
  allPurchases,
  findLive,
  findPurchase,
  type LivePurchases,
  listCharges,
  readLivePurchases,
  readPayments,
  readPurchase,
} from './purchases.ts';

const WEB_BILLING = 'RC_BILLING';
const GOOGLE = 'PLAY_STORE';
const ORDER_ID = /^GPA\.[\d-]+(\.\.\d+)?$/;

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
      const { appUserId, target, details } = action;
      // The receiver may have been erased here in between: then what has moved is missing from the source.
      const isKnown = target !== '';
      const ids = (await stores.listPurchases(projectId, isKnown ? target : appUserId)).map(({ id }) => id);
      const isDone = (details.moves ?? []).every((id) => ids.includes(id) === isKnown);
      return doneIf(isDone, action);
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

function stateOf({ endsAtMs, givesAccess, willRenew }: LivePurchase): PurchaseState {
  return { endsAtMs, givesAccess, willRenew };
}

/** What can be done to one subscription or purchase. */
export const PURCHASE_ACTIONS = ['cancel', 'refund', 'extend', 'manage'] as const;
type PurchaseActionKind = (typeof PURCHASE_ACTIONS)[number];

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

/** Which of RevenueCat's objects a form is about. */
export function targetTypeOf(context: ActionContext, form: Form): StoreActionDetails['targetType'] {
  if (form.kind === 'grant' || form.subscription === '') return 'customer';
  return findPurchase(context, form.subscription)?.isOneTime ? 'purchase' : 'subscription';
}

/** An order ID in the form of a transfer makes it a restore. */
export function withKind(form: Form): Form {
  return form.kind === 'transfer' && form.order ? { ...form, kind: 'restore' } : form;
}

export const STORE_ACTION_HANDLER: ActionHandler<StoreForm, ReviewedStoreAction, StoreAction> = {
  prepare,
  recheck,
  reviewRequested: async (context, action) => ({
    ...action,
    key: action.actionId,
    reviewedAtMs: context.app.now(),
  }),
  /** A refund of a sum that is not known does, too. */
  needsSecondPerson({ workspace }, { kind, details }) {
    const { maxAmountAlone } = workspace.settings.actions.refund;
    if (kind !== 'refund' || maxAmountAlone === null) return false;
    const amount = amountOf(details);
    return amount === null || amount > maxAmountAlone;
  },
  call: (client, projectId, action) => STORE_ACTIONS[action.kind].call(client, projectId, action),
  readBack: (client, projectId, action) => STORE_ACTIONS[action.kind].readBack(client, projectId, action),
};

/** What an action would be done to, and with what. */
type Described = Pick<ReviewedStoreAction, 'appUserId' | 'target' | 'details'>;

async function prepare(context: ActionContext, form: StoreForm): Promise<ReviewedStoreAction> {
  return {
    ...(await describe(context, form)),
    kind: form.kind,
    key: randomUUID(),
    subscriberId: context.customer.subscriber.subscriberId,
    reason: form.reason ?? '',
    reviewedAtMs: context.app.now(),
  };
}

async function describe(context: ActionContext, form: StoreForm): Promise<Described> {
  const { kind } = form;
  if (kind !== 'restore' && kind !== 'transfer') return describePurchase(context, { ...form, kind });
  const bought = await readLivePurchases(context, 'customer');
  return kind === 'restore' ? describeRestore(form, bought) : describeTransfer(context, form, bought);
}

const NOTHING_BOUGHT = { targetType: 'customer', amount: null, before: null, after: null } as const;

function describeRestore({ order = '' }: StoreForm, { appUserId }: LivePurchases): Described {
  if (!ORDER_ID.test(order)) throw invalid('order_invalid');
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
  // RevenueCat finds a customer by any alias, also by one that is unknown here.
  const [found, source] = await readNow(context, (client) =>
    Promise.all([target, appUserId].map((id) => client.getCustomer(revenueCatProjectId, id))),
  );
  if (!found) throw invalid('target_unknown');
  if (found.id === source?.id) throw invalid('target_same');
  if (bought.purchases.length === 0) throw invalid('nothing_to_move');
  const moving = { product: found.id, store: null, ...movesOf(bought) };
  return { appUserId, target: found.id, details: { ...NOTHING_BOUGHT, ...moving } };
}

/** A canvas holds 64 KB: of more purchases than this, the rest is only counted. */
const MAX_MOVES = 500;

function movesOf({ purchases }: LivePurchases): Required<Pick<StoreActionDetails, 'moves' | 'moveCount'>> {
  const ids = purchases.map(({ id }) => id).sort();
  return { moves: ids.slice(0, MAX_MOVES), moveCount: ids.length };
}

async function describePurchase(
  context: ActionContext,
  form: StoreForm & { readonly kind: PurchaseActionKind },
): Promise<Described> {
  const purchase = await readPurchase(context, form.subscription);
  if (!purchase) throw failed('revenuecat_not_found');
  const { appUserId, subscription, live } = purchase;
  const unavailable = whyUnavailable(form.kind, live, subscription.isFamilyShare);
  if (unavailable) throw refused(unavailable === 'store' ? 'ended' : unavailable);
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
    ...(form.kind === 'extend' && extensionOf(form, live)),
    ...(form.kind === 'refund' && (await refundOf(context, form, { subscription, live }))),
  };
  return { appUserId, target: live.id, details };
}

function extensionOf(
  form: StoreForm,
  { store }: LivePurchase,
): Pick<StoreActionDetails, 'days' | 'reasonCode'> {
  const days = /^\d{1,3}$/.test(form.days ?? '') ? Number(form.days) : 0;
  if (days < 1 || days > maxExtensionDays(store)) throw invalid('days');
  const code = APPLE_REASON_CODES.find((each) => String(each) === form.reasonCode) ?? 1;
  return { days, reasonCode: isApple(store) ? code : undefined };
}

async function refundOf(
  context: ActionContext,
  form: StoreForm,
  { subscription, live }: { readonly subscription: SubscriptionState; readonly live: LivePurchase },
): Promise<Pick<StoreActionDetails, 'transactionId' | 'amount'>> {
  if (!refundsCharges(live)) return { amount: subscription.price };
  const charges = await listCharges(context, live);
  const charge = charges.find(({ id }) => id === form.transaction);
  if (!charge) throw invalid('transaction');
  if (charge.isRefunded) throw refused('refunded');
  return { transactionId: charge.id, amount: charge.rest };
}

/** The sum in units of its currency; `null`: not known. */
export function amountOf({ amount }: Pick<StoreActionDetails, 'amount'>): number | null {
  return amount && amount.amountMinor / 10 ** currencyDigits(amount.currency);
}

async function recheck(context: ActionContext, reviewed: ReviewedStoreAction): Promise<ReviewedStoreAction> {
  const details = await readDetails(context, reviewed);
  const nowMs = context.app.now();
  const hasChanged = !isSame(details, reviewed.details);
  if (!hasChanged && nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS) return reviewed;
  throw outdated(hasChanged ? 'changed' : 'stale', { ...reviewed, details, reviewedAtMs: nowMs });
}

/** The details with the state that RevenueCat has now, and with the sum that a refund is now. */
async function readDetails(
  context: ActionContext,
  { kind, details, target }: ReviewedStoreAction,
): Promise<StoreActionDetails> {
  const now = await readLivePurchases(context, details.targetType);
  if (details.targetType === 'customer') return details.moves ? { ...details, ...movesOf(now) } : details;
  const { purchases } = now;
  const live = purchases.find(({ id }) => id === target);
  if (!live) throw failed('revenuecat_not_found');
  const before = stateOf(live);
  if (kind !== 'refund') return { ...details, before };
  if (details.transactionId !== undefined) {
    const [payment] = await readPayments(context, [details.transactionId]);
    if (payment?.isRefunded) throw refused('refunded');
    return { ...details, before, amount: payment?.rest ?? null };
  }
  const bought = allPurchases(context).find((each) => findLive(context, each, purchases) === live);
  return { ...details, before, amount: bought ? bought.price : details.amount };
}

function isSame(one: StoreActionDetails, other: StoreActionDetails): boolean {
  const moves = ({ moves: ids = [], moveCount }: StoreActionDetails): string => `${moveCount} ${ids.join()}`;
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
