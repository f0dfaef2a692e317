import { randomUUID } from 'node:crypto';
import type { Transaction } from '../database/sql.ts';
import { auditAction, auditRefusal, factsOf } from './audit.ts';
import {
  callAndConfirm,
  callAndConfirmRevoke,
  scheduleConfirm,
  scheduleNotes,
  takeStep,
} from './confirmation.ts';
import type { ActionResult, AgentRequest, Done, Obstacle, ReviewAgain, ReviewResult } from './context.ts';
import { findDashboardGrant, isDashboardGrant } from './dashboard-grants.ts';
import type { Reviewed } from './form-state.ts';
import { type GrantForm, grantedDays, prepareGrant, recheckGrant, reviewRequested } from './grant-rules.ts';
import { queueNote } from './notes.ts';
import {
  checkReason,
  checkTeammate,
  findBlocker,
  findRefusal,
  isAboveLimit,
  isReasonRequired,
  needsApproval,
  policyOf,
} from './policy.ts';
import { adoptGrant, findAdopted, findByKey, readAction, readAgain, storeAction } from './repository.ts';
import {
  amountOf,
  kindOf,
  prepareStoreAction,
  recheckStoreAction,
  reviewRequestedStoreAction,
  type StoreForm,
  targetOf,
} from './store-rules.ts';
import {
  type Action,
  type Grant,
  grantEndMs,
  nameOf,
  type Refusal,
  type StoreActionDetails,
} from './types.ts';

/** Checks the form and computes exactly what the action would do. Nothing is called. */
export async function reviewAction(
  request: AgentRequest,
  form: GrantForm | StoreForm,
): Promise<ReviewResult> {
  const kind = form.kind === 'grant' ? form.kind : kindOf(form);
  const typed =
    form.kind === 'grant'
      ? { entitlement: form.entitlement ?? null, duration: form.end ? `until ${form.end}` : form.duration }
      : {};
  const details = { ...typed, reason: form.reason ?? '' };
  return auditRefusal(request, { kind, step: 'do', details }, await prepare(request, form));
}

async function prepare(request: AgentRequest, form: GrantForm | StoreForm): Promise<ReviewResult> {
  const kind = form.kind === 'grant' ? form.kind : kindOf(form);
  const of = form.kind === 'grant' ? undefined : targetOf(request, form);
  const reasonRequired = isReasonRequired(request.workspace.settings, kind);
  const refusal =
    (await findRefusal(request, kind, of)) ?? checkReason({ reasonRequired }, form.reason ?? '');
  if (refusal) return { kind: 'refused', refusal };
  return form.kind === 'grant' ? prepareGrant(request, form) : prepareStoreAction(request, form);
}

/** Whether a second teammate must approve what was reviewed. */
export function needsSecondPerson({ context, workspace }: AgentRequest, reviewed: Reviewed): boolean {
  const { settings } = workspace;
  if (reviewed.kind === 'grant') return needsApproval(settings.grants, grantedDays(context.now(), reviewed));
  return reviewed.kind === 'refund' && isAboveLimit(settings, amountOf(reviewed.details));
}

/**
 * Does what was reviewed. It is stored under the review's key first, so a second confirm gets the first one's
 * result. When RevenueCat does not respond the action stays `requested` and is confirmed in the background by
 * reading; RevenueCat is never called a second time.
 */
export async function confirmReviewed(request: AgentRequest, reviewed: Reviewed): Promise<ActionResult> {
  const earlier = await findDone(request, reviewed);
  if (earlier) return earlier;
  const checked = await recheck(request, reviewed);
  if (checked.kind !== 'ready')
    // A first press of the same button may have used up the month, or have changed what was reviewed.
    return (await findDone(request, reviewed)) ?? refuse(request, reviewed, checked);
  const result = await store(request, checked.reviewed);
  return result.kind === 'refused' ? refuse(request, reviewed, result) : result;
}

/** What an earlier confirm of the review has done, or is doing. */
export async function findDone(
  { context, workspace }: AgentRequest,
  { key }: Reviewed,
): Promise<Done | null> {
  const action = await findByKey(context.database, workspace.workspaceId, key);
  return action && { kind: 'done', action, isKnown: true };
}

async function recheck(request: AgentRequest, reviewed: Reviewed): Promise<ReviewResult | ReviewAgain> {
  const refusal = await findRefusal(request, reviewed.kind, objectOf(reviewed));
  return refusal ? { kind: 'refused', refusal } : recheckRules(request, reviewed);
}

function recheckRules(request: AgentRequest, reviewed: Reviewed): Promise<ReviewResult | ReviewAgain> {
  return reviewed.kind === 'grant' ? recheckGrant(request, reviewed) : recheckStoreAction(request, reviewed);
}

function objectOf(action: Reviewed | Action): StoreActionDetails['of'] | undefined {
  return action.kind === 'grant' ? undefined : action.details.of;
}

function refuse<Result extends Obstacle | ReviewAgain>(
  request: AgentRequest,
  reviewed: Reviewed,
  result: Result,
): Promise<Result> {
  const { kind, reason } = reviewed;
  return auditRefusal(request, { kind, step: 'do', details: { ...factsOf(reviewed), reason } }, result);
}

async function store(request: AgentRequest, reviewed: Reviewed): Promise<Done | Obstacle> {
  const { context, workspace, customer, admin, conversationId, contactId } = request;
  const { monthlyPerAdmin: monthlyLimit } = policyOf(workspace.settings, reviewed.kind);
  const isApprovalNeeded = needsSecondPerson(request, reviewed);
  const key = { workspaceId: workspace.workspaceId, actionId: randomUUID() };
  // Before the action itself: whenever this process is killed, another reads back what it has begun.
  if (!isApprovalNeeded) await scheduleConfirm(context, key);
  const { projectId } = customer.project;
  const state = isApprovalNeeded ? ('awaiting_approval' as const) : ('requested' as const);
  const stored = await storeAction(
    context.database,
    { ...reviewed, ...key, state, projectId, idempotencyKey: reviewed.key, admin, conversationId, contactId },
    { monthlyLimit, ...(isApprovalNeeded ? { onStored: recordApprovalRequest } : {}) },
  );
  switch (stored.kind) {
    case 'known':
      return { kind: 'done', action: stored.action, isKnown: true };
    case 'monthly_limit':
      return { kind: 'refused', refusal: { code: 'monthly_limit', limit: monthlyLimit ?? 0 } };
    case 'unconfirmed':
      return { kind: 'refused', refusal: { code: 'unconfirmed' } };
    case 'new': {
      const { action } = stored;
      if (!isApprovalNeeded)
        return { kind: 'done', isKnown: false, ...(await callAndConfirm(context, customer.project, action)) };
      await scheduleNotes(context, action);
      return { kind: 'done', action, isKnown: false };
    }
  }
}

/** In the transaction that stores an action that waits for a second teammate. */
async function recordApprovalRequest(sql: Transaction, action: Action): Promise<void> {
  await auditAction(sql, action, { step: 'do', result: 'awaiting_approval' });
  await queueNote(sql, action, { step: 'requested', by: action.admin });
}

/** What waits for approval, as its approval would do it now. Its key is the id of the action. */
export async function reviewRequest(request: AgentRequest, action: Action): Promise<Reviewed> {
  return action.kind === 'grant'
    ? reviewRequested(request, action)
    : reviewRequestedStoreAction(request, action);
}

/** Does what another teammate requested, as it was shown. Of several who approve at the same time one does it. */
export async function approveAction(
  request: AgentRequest,
  action: Action,
  shown: Reviewed | undefined,
): Promise<Done | Obstacle> {
  const { context, customer, admin, conversationId } = request;
  if (action.state !== 'awaiting_approval') return { kind: 'done', action, isKnown: true };
  const checked = await checkApproval(request, action, shown);
  if (checked.kind !== 'ready') return refuseDecision(request, action, checked);
  const { reviewed } = checked;
  const ends =
    reviewed.kind === 'grant'
      ? { requestedEndMs: reviewed.requestedEndMs, previousEndMs: reviewed.previousEndMs }
      : {};
  await scheduleConfirm(context, action);
  const moved = await takeStep(context, action, {
    event: 'approve',
    decidedBy: admin,
    ...ends,
    record: { step: 'approve', result: 'approved', actor: admin, conversationId },
  });
  if (moved === 'unconfirmed') return { kind: 'refused', refusal: { code: 'unconfirmed' } };
  if (!moved) return knownNow(request, action);
  return { kind: 'done', isKnown: false, ...(await callAndConfirm(context, customer.project, moved)) };
}

/** What prevents a second teammate from deciding. */
export function findDecisionBlocker(request: AgentRequest, action: Action): Refusal | null {
  return findBlocker(request, action.kind, objectOf(action));
}

async function checkApproval(
  request: AgentRequest,
  action: Action,
  shown: Reviewed | undefined,
): Promise<ReviewResult> {
  const { kind, admin, actionId } = action;
  if (admin.id === request.admin.id) return { kind: 'refused', refusal: { code: 'same_person' } };
  const refusal =
    findDecisionBlocker(request, action) ??
    checkTeammate(policyOf(request.workspace.settings, kind), admin.id);
  if (refusal) return { kind: 'refused', refusal };
  if (shown?.key !== actionId) return { kind: 'failed', code: 'stale' };
  const checked = await recheckRules(request, shown);
  return checked.kind === 'review_again' ? { kind: 'failed', code: checked.reason } : checked;
}

function refuseDecision(request: AgentRequest, action: Action, obstacle: Obstacle): Promise<Obstacle> {
  const { kind, actionId, reason, admin } = action;
  const details = { action_id: actionId, ...factsOf(action), reason, requested_by: nameOf(admin) };
  return auditRefusal(request, { kind, step: 'approve', details }, obstacle);
}

async function knownNow({ context }: AgentRequest, action: Action): Promise<Done> {
  return { kind: 'done', action: await readAgain(context.database, action), isKnown: true };
}

/** Declines what another teammate requested, or withdraws one's own request. */
export async function declineAction(request: AgentRequest, action: Action): Promise<Done | Obstacle> {
  const { context, admin, workspace, conversationId } = request;
  const isOwn = action.admin.id === admin.id;
  const refusal = isOwn ? null : checkTeammate(policyOf(workspace.settings, action.kind), admin.id);
  if (refusal) return refuseDecision(request, action, { kind: 'refused', refusal });
  const record = { actor: admin, conversationId };
  const moved = isOwn
    ? await takeStep(context, action, {
        event: 'withdraw',
        record: { ...record, step: 'withdraw', result: 'withdrawn' },
      })
    : await takeStep(context, action, {
        event: 'decline',
        decidedBy: admin,
        record: { ...record, step: 'decline', result: 'declined', note: 'declined' },
      });
  return moved && moved !== 'unconfirmed'
    ? { kind: 'done', action: moved, isKnown: false }
    : knownNow(request, action);
}

export function isRunning(grant: Grant, nowMs: number): boolean {
  return grant.state === 'confirmed' && grantEndMs(grant) > nowMs;
}

/** Removes everything granted of an entitlement; store subscriptions stay. A second press finds the removal begun. */
export async function revokeGrant(
  request: AgentRequest,
  shown: Grant,
  reason: string,
): Promise<Done | Obstacle> {
  const { context, customer, admin, conversationId, workspace } = request;
  const { kind, actionId } = shown;
  const details = { action_id: actionId, ...factsOf(shown) };
  const refused = (refusal: Refusal): Promise<Obstacle> =>
    auditRefusal(request, { kind, step: 'revoke', details }, { kind: 'refused', refusal });
  const refusal = checkTeammate(workspace.settings.grants, admin.id);
  if (refusal) return refused(refusal);
  if (!isRunning(shown, context.now())) return { kind: 'done', action: shown, isKnown: true };
  const grant = isDashboardGrant(shown.actionId)
    ? await context.database.transaction((sql) => adoptGrant(sql, shown, randomUUID()))
    : shown;
  await scheduleConfirm(context, grant);
  const moved = await takeStep(context, grant, {
    event: 'revoke',
    revokedBy: admin,
    revokeReason: reason,
    record: null,
  });
  if (moved === 'unconfirmed') return refused({ code: 'unconfirmed' });
  if (!moved) return knownNow(request, grant);
  const now = await callAndConfirmRevoke(context, customer.project, { ...moved, conversationId });
  if (now.state === 'confirmed') return { kind: 'failed', code: now.error ?? '' };
  if (now.state === 'revoking') await scheduleConfirm(context, moved, 2);
  return { kind: 'done', action: now, isKnown: false };
}

/** `null`: the action is not this customer's. */
export async function findAction(request: AgentRequest, actionId: string): Promise<Action | null> {
  const { context, customer } = request;
  const { workspaceId } = request.workspace;
  const { subscriberId } = customer.subscriber;
  if (isDashboardGrant(actionId))
    // Once its removal has begun it is stored: a second press shows how that goes.
    return (
      (await findDashboardGrant(request, actionId)) ??
      findAdopted(context.database, { workspaceId, subscriberId, actionId })
    );
  const action = await readAction(context.database, { workspaceId, actionId });
  return action?.subscriberId === subscriberId ? action : null;
}
