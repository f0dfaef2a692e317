import { randomUUID } from 'node:crypto';
import { AppError } from '../errors.ts';
import type { LivePurchase, LiveTransaction } from '../revenuecat/store-actions.ts';
import { currencyDigits } from '../subscription/money.ts';
import { productLabel } from '../subscription/names.ts';
import type { Money, SubscriptionState } from '../subscription/types.ts';
import { MINUTE_MS } from '../time.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { usableIds } from './access.ts';
import { declineOrWithdraw, recordApprovalRequest } from './approval.ts';
import {
  auditAction,
  auditName,
  CONFIRM_AFTER_SECONDS,
  callAndConfirm,
  confirm,
  failAction,
  scheduleConfirm,
  scheduleNotes,
} from './confirmation.ts';
import type { AgentRequest } from './context.ts';
import { isSameEnd } from './durations.ts';
import { stateOf } from './executors.ts';
import { readChargePrices } from './lookups.ts';
import { checkMonth, checkReason, checkTeammate } from './policy.ts';
import {
  claimForCall,
  countThisMonth,
  findByKey,
  lockAndFindUnconfirmed,
  readAction,
  storeAction,
  transition,
} from './repository.ts';
import {
  findLive,
  isAboveLimit,
  isApple,
  maxExtensionDays,
  type PurchaseActionKind,
  policyOf,
  refundsCharges,
  requiredScopes,
  type StoreBlocker,
  subscriptionId,
  whyUnavailable,
} from './stores.ts';
import type { PurchaseState, StoreAction, StoreActionDetails, StoreActionKind } from './types.ts';
import type { ReviewedAction } from './views/form-state.ts';

/** A review older than this is shown again before it is confirmed. */
const REVIEW_VALID_MS = 30 * MINUTE_MS;
/** How long a view waits for RevenueCat. */
const READ_TIMEOUT_MS = 2_000;
const MAX_IDS = 3;
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

export type StoreProblem =
  | 'days'
  | 'transaction'
  | 'target_missing'
  | 'target_unknown'
  | 'target_same'
  | 'nothing_to_move'
  | 'order_invalid';

export type StoreReview =
  | { readonly kind: 'ready'; readonly reviewed: ReviewedAction }
  | { readonly kind: 'blocked'; readonly blocker: StoreBlocker }
  | { readonly kind: 'invalid'; readonly problem: StoreProblem }
  | { readonly kind: 'failed'; readonly code: string };

export type StoreConfirm =
  | {
      readonly kind: 'done';
      readonly action: StoreAction;
      readonly isKnown: boolean;
      /** The single-use link of `manage`, which is not stored. */
      readonly url?: string;
    }
  | { readonly kind: 'review_again'; readonly reason: 'changed' | 'stale'; readonly reviewed: ReviewedAction }
  | Exclude<StoreReview, { kind: 'ready' }>;

/** What a customer bought, as RevenueCat has it now, under the id that it knows. */
export interface Owned {
  readonly appUserId: string;
  readonly purchases: readonly LivePurchase[];
}

export type OwnedRead =
  | { readonly kind: 'read'; readonly owned: Owned }
  | { readonly kind: 'failed'; readonly code: string };

/** Everything that the customer bought: what gives access first, then what was bought without. */
export function allPurchases({ customer }: Pick<AgentRequest, 'customer'>): SubscriptionState[] {
  const { subscriptions, sandbox, consumables } = customer.state;
  return [...subscriptions, ...sandbox, ...consumables].filter(({ store }) => store !== 'PROMOTIONAL');
}

export function findPurchase(request: AgentRequest, id: string): SubscriptionState | null {
  return allPurchases(request).find((each) => subscriptionId(each) === id) ?? null;
}

export async function readOwned(request: AgentRequest): Promise<OwnedRead> {
  const { context, customer } = request;
  const { project } = customer;
  const client = context.revenueCat(project, { timeoutMs: READ_TIMEOUT_MS });
  if (!client) return { kind: 'failed', code: 'revenuecat_unauthorized' };
  for (const appUserId of usableIds(customer).slice(0, MAX_IDS)) {
    try {
      const purchases = await client.stores.listPurchases(project.revenueCatProjectId, appUserId);
      return { kind: 'read', owned: { appUserId, purchases } };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code !== 'revenuecat_not_found') return { kind: 'failed', code: error.code };
    }
  }
  return { kind: 'failed', code: 'unknown_customer' };
}

/** Which of RevenueCat's objects a form is about. */
export function targetOf(
  request: AgentRequest,
  form: Pick<StoreForm, 'subscription'>,
): StoreActionDetails['of'] {
  if (form.subscription === '') return 'customer';
  return findPurchase(request, form.subscription)?.isOneTime ? 'purchase' : 'subscription';
}

/** What prevents an action whatever is typed. `null`: the teammate can use it. */
export async function findStoreBlocker(
  request: AgentRequest,
  kind: StoreActionKind,
  of: StoreActionDetails['of'] = 'subscription',
): Promise<StoreBlocker | null> {
  const { context, workspace, customer, admin } = request;
  const { project } = customer;
  if (project.apiKey === null) return { code: 'no_key' };
  if (project.apiKeyState === 'rejected') return { code: 'key_rejected' };
  if (usableIds(customer).length === 0) return { code: 'no_customer_id' };
  const policy = policyOf(workspace.settings, kind);
  const refusal = checkTeammate(policy, admin.id);
  if (refusal) return refusal;
  const scopes = requiredScopes(kind, of).filter((scope) => project.missingScopes.includes(scope));
  if (scopes.length > 0) return { code: 'scope_missing', scopes };
  const limit = policy.monthlyPerAdmin;
  if (limit === null) return null;
  const { workspaceId } = workspace;
  return checkMonth(limit, await countThisMonth(context.database, { workspaceId, adminId: admin.id, kind }));
}

/** Charges of a Google Play subscription, newest first, with what was paid where an event reported it. */
export async function listCharges(
  request: AgentRequest,
  own: LivePurchase,
): Promise<(LiveTransaction & { readonly price: Money | null })[]> {
  const { context, workspace, customer } = request;
  const { project } = customer;
  const client = context.revenueCat(project, { timeoutMs: READ_TIMEOUT_MS });
  const charges = (await client?.stores.listTransactions(project.revenueCatProjectId, own.id)) ?? [];
  const prices = await readChargePrices(context.database, {
    workspaceId: workspace.workspaceId,
    subscriberId: customer.subscriber.subscriberId,
    transactionIds: charges.map(({ id }) => id),
  });
  return charges
    .map((charge) => ({ ...charge, price: prices.get(charge.id) ?? null }))
    .sort((a, b) => b.purchasedAtMs - a.purchasedAtMs);
}

/** Checks the form and computes exactly what the action would do. Nothing is called. */
export async function reviewStoreAction(request: AgentRequest, form: StoreForm): Promise<StoreReview> {
  const result = await prepare(request, form);
  if (result.kind === 'blocked') await auditStoreRefusal(request, form.kind, result.blocker.code, form);
  return result;
}

async function prepare(request: AgentRequest, form: StoreForm): Promise<StoreReview> {
  const isOrder = form.kind === 'transfer' && (form.order ?? '') !== '';
  const kind = isOrder ? 'restore' : form.kind;
  const reason = form.reason ?? '';
  const blocker =
    (await findStoreBlocker(request, kind, targetOf(request, form))) ??
    checkReason({ reasonRequired: kind !== 'manage' }, reason);
  if (blocker) return { kind: 'blocked', blocker };
  const read = await readOwned(request);
  if (read.kind === 'failed') return read;
  const made = await detailsOf(request, { ...form, kind }, read.owned);
  if (made.kind !== 'made') return made;
  return {
    kind: 'ready',
    reviewed: {
      key: randomUUID(),
      kind,
      subscription: form.subscription,
      subscriberId: request.customer.subscriber.subscriberId,
      appUserId: read.owned.appUserId,
      target: made.target,
      details: made.details,
      reason,
      reviewedAtMs: request.context.now(),
    },
  };
}

type Made =
  | { readonly kind: 'made'; readonly target: string; readonly details: StoreActionDetails }
  | Exclude<StoreReview, { kind: 'ready' }>;

async function detailsOf(request: AgentRequest, form: StoreForm, owned: Owned): Promise<Made> {
  if (form.kind === 'restore') return restoreDetails(form);
  if (form.kind === 'transfer') return transferDetails(request, form, owned);
  const subscription = findPurchase(request, form.subscription);
  const own = subscription && findLive(subscription, owned.purchases);
  if (!subscription || !own) return { kind: 'failed', code: 'revenuecat_not_found' };
  return purchaseDetails(request, form, { subscription, own });
}

function restoreDetails({ order = '' }: StoreForm): Made {
  if (!ORDER_ID.test(order)) return { kind: 'invalid', problem: 'order_invalid' };
  const details: StoreActionDetails = {
    product: order,
    store: 'PLAY_STORE',
    of: 'customer',
    amount: null,
    before: null,
    after: null,
  };
  return { kind: 'made', target: order, details };
}

async function transferDetails(request: AgentRequest, form: StoreForm, owned: Owned): Promise<Made> {
  const { context, customer } = request;
  const { project } = customer;
  const target = form.target?.trim() ?? '';
  if (target === '') return { kind: 'invalid', problem: 'target_missing' };
  const isSame = target === owned.appUserId || customer.subscriber.appUserIds.includes(target);
  if (isSame) return { kind: 'invalid', problem: 'target_same' };
  const found = await context.revenueCat(project)?.getCustomer(project.revenueCatProjectId, target);
  if (!found) return { kind: 'invalid', problem: 'target_unknown' };
  const moves = owned.purchases.map(({ id }) => id);
  if (moves.length === 0) return { kind: 'invalid', problem: 'nothing_to_move' };
  const details: StoreActionDetails = {
    product: found.id,
    store: null,
    of: 'customer',
    amount: null,
    moves,
    before: null,
    after: null,
  };
  return { kind: 'made', target: found.id, details };
}

async function purchaseDetails(
  request: AgentRequest,
  form: StoreForm,
  { subscription, own }: { readonly subscription: SubscriptionState; readonly own: LivePurchase },
): Promise<Made> {
  const kind = form.kind as PurchaseActionKind;
  const unavailable = whyUnavailable(kind, own, subscription.isFamilyShare);
  if (unavailable !== null)
    return { kind: 'blocked', blocker: { code: unavailable === 'store' ? 'ended' : unavailable } };
  const ofPurchase = await findStoreBlocker(request, kind, own.kind);
  if (ofPurchase) return { kind: 'blocked', blocker: ofPurchase };
  const { productId, productName } = subscription;
  const base: StoreActionDetails = {
    product: productName ?? (productId === null ? own.id : productLabel(productId, request.customer.names)),
    ...(productId === null ? {} : { productId }),
    store: own.store,
    of: own.kind,
    amount: null,
    before: stateOf(own),
    after: null,
  };
  const made = (details: Partial<StoreActionDetails>): Made => ({
    kind: 'made',
    target: own.id,
    details: { ...base, ...details },
  });
  if (kind === 'extend') {
    const days = /^\d{1,3}$/.test(form.days ?? '') ? Number(form.days) : 0;
    if (days < 1 || days > maxExtensionDays(own.store)) return { kind: 'invalid', problem: 'days' };
    const code = Number(form.reasonCode ?? 1);
    return made({
      days,
      ...(isApple(own.store) ? { reasonCode: [0, 1, 2, 3].includes(code) ? code : 1 } : {}),
    });
  }
  if (kind !== 'refund') return made({});
  if (!refundsCharges(own)) return made({ amount: subscription.price });
  const charge = (await listCharges(request, own)).find(({ id }) => id === form.transaction);
  if (!charge) return { kind: 'invalid', problem: 'transaction' };
  return made({ transactionId: charge.id, amount: charge.price });
}

/** Records that something was refused, and why. */
async function auditStoreRefusal(
  request: AgentRequest,
  kind: StoreActionKind,
  why: string,
  about: { readonly reason?: string | undefined },
): Promise<void> {
  const { customer } = request;
  await writeAudit(request.context.database, {
    workspaceId: request.workspace.workspaceId,
    actor: request.admin,
    action: auditName(kind, 'do'),
    conversationId: request.conversationId,
    contactId: request.contactId,
    subscriberId: customer.subscriber.subscriberId,
    details: { app_user_id: customer.appUserId, reason: about.reason ?? '' },
    result: `refused: ${why}`,
  });
}

/** The sum in units of its currency; `null`: not known. */
export function amountOf({ amount }: Pick<StoreActionDetails, 'amount'>): number | null {
  return amount && amount.amountMinor / 10 ** currencyDigits(amount.currency);
}

export function needsSecondPerson(
  request: AgentRequest,
  action: Pick<StoreAction, 'kind' | 'details'>,
): boolean {
  const { kind, details } = action;
  return isAboveLimit(policyOf(request.workspace.settings, kind), { kind, amount: amountOf(details) });
}

/**
 * Does what was reviewed. It is stored under the review's key first, so a second confirm gets the first one's
 * result; RevenueCat is called once, and a result that is not known is confirmed in the background by reading.
 */
export async function confirmStoreAction(
  request: AgentRequest,
  reviewed: ReviewedAction,
): Promise<StoreConfirm> {
  const { context, workspace } = request;
  const known = async (): Promise<StoreConfirm | null> => {
    const action = await findByKey(context.database, workspace.workspaceId, reviewed.key);
    return action && action.kind !== 'grant' ? { kind: 'done', action, isKnown: true } : null;
  };
  const earlier = await known();
  if (earlier) return earlier;
  const { kind, details } = reviewed;
  const blocker = await findStoreBlocker(request, kind, details.of);
  if (blocker) {
    // The monthly limit may have been reached by a first press of this very button.
    const made = await known();
    if (made) return made;
    await auditStoreRefusal(request, kind, blocker.code, reviewed);
    return { kind: 'blocked', blocker };
  }
  const read = await readOwned(request);
  if (read.kind === 'failed') {
    await auditStoreRefusal(request, kind, read.code, reviewed);
    return read;
  }
  const nowMs = context.now();
  const now = currentDetails(reviewed, read.owned);
  const hasChanged = now === null || !isSameState(now.before, details.before) || hasOtherMoves(now, details);
  if (hasChanged || nowMs - reviewed.reviewedAtMs > REVIEW_VALID_MS) {
    const made = await known();
    if (made) return made;
    if (now === null) return { kind: 'failed', code: 'revenuecat_not_found' };
    const again = { ...reviewed, details: now, reviewedAtMs: nowMs };
    return { kind: 'review_again', reason: hasChanged ? 'changed' : 'stale', reviewed: again };
  }
  const result = await makeAction(request, reviewed);
  if (result.kind === 'blocked') await auditStoreRefusal(request, kind, result.blocker.code, reviewed);
  return result;
}

/** The details with the state that RevenueCat has now; `null`: the purchase is gone. */
function currentDetails(
  { details, target }: Pick<ReviewedAction, 'details' | 'target'>,
  owned: Owned,
): StoreActionDetails | null {
  if (details.of === 'customer')
    return details.moves ? { ...details, moves: owned.purchases.map(({ id }) => id) } : details;
  const own = owned.purchases.find(({ id }) => id === target);
  return own ? { ...details, before: stateOf(own) } : null;
}

function isSameState(one: PurchaseState | null, other: PurchaseState | null): boolean {
  if (one === null || other === null) return one === other;
  return (
    one.givesAccess === other.givesAccess &&
    one.willRenew === other.willRenew &&
    isSameEnd(one.endsAtMs, other.endsAtMs)
  );
}

function hasOtherMoves(one: StoreActionDetails, other: StoreActionDetails): boolean {
  return [...(one.moves ?? [])].sort().join() !== [...(other.moves ?? [])].sort().join();
}

async function makeAction(
  request: AgentRequest,
  reviewed: ReviewedAction,
): Promise<Extract<StoreConfirm, { kind: 'done' | 'blocked' | 'failed' }>> {
  const { context, workspace, customer } = request;
  const { kind, details, target, appUserId, reason, subscriberId } = reviewed;
  const policy = policyOf(workspace.settings, kind);
  const isApprovalNeeded = needsSecondPerson(request, reviewed);
  const key = { workspaceId: workspace.workspaceId, actionId: randomUUID() };
  // Before the action itself: whenever this process is killed, another reads back what it has begun.
  if (!isApprovalNeeded) await scheduleConfirm(context, key, CONFIRM_AFTER_SECONDS);
  const stored = await storeAction(
    context.database,
    {
      ...key,
      ...{ kind, details, target, appUserId, reason, subscriberId },
      state: isApprovalNeeded ? 'awaiting_approval' : 'requested',
      monthlyLimit: policy.monthlyPerAdmin,
      projectId: customer.project.projectId,
      idempotencyKey: reviewed.key,
      admin: request.admin,
      conversationId: request.conversationId,
      contactId: request.contactId,
    },
    async (sql, action) => {
      if (isApprovalNeeded) await recordApprovalRequest(sql, action);
    },
  );
  if (stored.kind === 'monthly_limit')
    return { kind: 'blocked', blocker: { code: 'monthly_limit', limit: policy.monthlyPerAdmin ?? 0 } };
  if (stored.kind === 'unconfirmed') return { kind: 'blocked', blocker: { code: 'unconfirmed' } };
  const action = stored.action as StoreAction;
  if (stored.kind === 'known') return { kind: 'done', action, isKnown: true };
  if (kind === 'manage') return createPortalLink(request, action);
  if (!isApprovalNeeded) {
    return { kind: 'done', action: await callAndConfirm(context, customer.project, action), isKnown: false };
  }
  await scheduleNotes(context, action);
  return { kind: 'done', action, isKnown: false };
}

/** The link is shown once and not stored: it opens the customer's own billing portal. */
async function createPortalLink(
  request: AgentRequest,
  action: StoreAction,
): Promise<StoreConfirm & { kind: 'done' }> {
  const { context, customer } = request;
  const { project } = customer;
  const claimed = (await claimForCall(context.database, action)) as StoreAction | null;
  if (!claimed) return { kind: 'done', action, isKnown: true };
  try {
    const url = await context
      .revenueCat(project)
      ?.stores.createManagementUrl(project.revenueCatProjectId, action.target);
    if (url !== undefined)
      return { kind: 'done', action: await confirm(context, claimed, {}), isKnown: false, url };
    return {
      kind: 'done',
      action: await failAction(context, claimed, 'revenuecat_unauthorized'),
      isKnown: false,
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: 'done', action: await failAction(context, claimed, error.code), isKnown: false };
  }
}

/** `null`: the action is not this customer's, or a grant. */
export async function findStoreAction(request: AgentRequest, actionId: string): Promise<StoreAction | null> {
  const { workspaceId } = request.workspace;
  const action = await readAction(request.context.database, { workspaceId, actionId });
  return action && action.kind !== 'grant' && action.subscriberId === request.customer.subscriber.subscriberId
    ? action
    : null;
}

/** Does what another teammate requested, if it still is as it was reviewed. */
export async function approveStoreAction(request: AgentRequest, action: StoreAction): Promise<StoreConfirm> {
  const { context, customer, admin, conversationId } = request;
  if (action.state !== 'awaiting_approval') return { kind: 'done', action, isKnown: true };
  const blocker =
    action.admin.id === admin.id
      ? ({ code: 'same_person' } as const)
      : await findStoreBlocker(request, action.kind, action.details.of);
  if (blocker) {
    await auditStoreRefusal(request, action.kind, blocker.code, action);
    return { kind: 'blocked', blocker };
  }
  const read = await readOwned(request);
  if (read.kind === 'failed') return read;
  const now = currentDetails(action, read.owned);
  if (now === null || !isSameState(now.before, action.details.before) || hasOtherMoves(now, action.details))
    return { kind: 'failed', code: 'changed' };
  await scheduleConfirm(context, action, CONFIRM_AFTER_SECONDS);
  const moved = await context.database.transaction(async (sql) => {
    if (await lockAndFindUnconfirmed(sql, action)) return 'unconfirmed';
    const requested = await transition(sql, action, { event: 'approve', decidedBy: admin });
    const step = { step: 'approve', result: 'approved', actor: admin, conversationId } as const;
    if (requested) await auditAction(sql, requested, step);
    return requested;
  });
  if (moved === 'unconfirmed') return { kind: 'blocked', blocker: { code: 'unconfirmed' } };
  if (!moved)
    return {
      kind: 'done',
      action: (await findStoreAction(request, action.actionId)) ?? action,
      isKnown: true,
    };
  return { kind: 'done', action: await callAndConfirm(context, customer.project, moved), isKnown: false };
}

/** Declines what another teammate requested, or withdraws one's own request. */
export async function declineStoreAction(request: AgentRequest, action: StoreAction): Promise<StoreConfirm> {
  const { admin, workspace } = request;
  const isOwn = action.admin.id === admin.id;
  const refusal = isOwn ? null : checkTeammate(policyOf(workspace.settings, action.kind), admin.id);
  if (refusal) return { kind: 'blocked', blocker: refusal };
  const moved = await declineOrWithdraw(request, action);
  return { kind: 'done', action: moved ?? action, isKnown: moved === null };
}
