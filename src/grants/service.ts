import { randomUUID } from 'node:crypto';
import type { Transaction } from '../database/sql.ts';
import { type Action, type ActionKind, type Grant, grantEndMs, nameOf, type Refusal } from './action.ts';
import { auditAction, auditRefusal, factsOf } from './audit.ts';
import {
  beginCall,
  callAndConfirm,
  callAndConfirmRevoke,
  scheduleConfirm,
  scheduleNotes,
  takeStep,
} from './confirmation.ts';
import type {
  ActionContext,
  ActionResult,
  Done,
  Obstacle,
  ReviewAgain,
  ReviewResult,
  Rules,
} from './context.ts';
import { findDashboardGrant, isDashboardGrant } from './dashboard-grants.ts';
import type { Reviewed } from './form-state.ts';
import { GRANT_RULES, type GrantForm } from './grant-rules.ts';
import { queueNote } from './notes.ts';
import {
  checkReason,
  checkTeammate,
  findBlocker,
  findRefusal,
  isReasonRequired,
  policyOf,
} from './policy.ts';
import {
  adoptGrant,
  findAdopted,
  findByKey,
  readAction,
  readAgain,
  readLastChange,
  storeAction,
} from './repository.ts';
import { kindOf, STORE_RULES, type StoreForm, targetOf } from './store-rules.ts';

type Form = GrantForm | StoreForm;

/** Checks the form and computes exactly what the action would do. Nothing is called. */
export async function reviewAction(context: ActionContext, form: Form): Promise<ReviewResult> {
  const kind = kindOf(form);
  const typed =
    form.kind === 'grant'
      ? { entitlement: form.entitlement ?? null, duration: form.end ? `until ${form.end}` : form.duration }
      : {};
  const details = { ...typed, reason: form.reason ?? '' };
  return auditRefusal(context, { kind, step: 'do', details }, await prepare(context, form));
}

async function prepare(context: ActionContext, form: Form): Promise<ReviewResult> {
  const kind = kindOf(form);
  const reasonRequired = isReasonRequired(context.workspace.settings, kind);
  const refusal =
    (await findRefusal(context, { kind, details: { of: targetOf(context, form) } })) ??
    checkReason({ reasonRequired }, form.reason ?? '');
  if (refusal) return { kind: 'refused', ...refusal };
  return rulesOf(form).prepare(context, form);
}

export function rulesOf({ kind }: { readonly kind: ActionKind }): Rules<Form, Reviewed, Action> {
  return kind === 'grant' ? GRANT_RULES : STORE_RULES;
}

/**
 * Does what was reviewed. It is stored under the review's key first, so a second confirm gets the first one's
 * result. When RevenueCat does not respond the action stays `requested` and is confirmed in the background by
 * reading; RevenueCat is never called a second time.
 */
export async function confirmReviewed(context: ActionContext, reviewed: Reviewed): Promise<ActionResult> {
  const { kind, reason } = reviewed;
  const details = { ...factsOf(reviewed), reason };
  return auditRefusal(context, { kind, step: 'do', details }, await confirmOnce(context, reviewed));
}

async function confirmOnce(context: ActionContext, reviewed: Reviewed): Promise<ActionResult> {
  const earlier = await findDone(context, reviewed);
  if (earlier) return earlier;
  const { services, workspace } = context;
  const { workspaceId } = workspace;
  const lastChange = await readLastChange(services.database, { ...reviewed, workspaceId });
  const refusal = await findRefusal(context, reviewed);
  const checked: ReviewResult | ReviewAgain = refusal
    ? { kind: 'refused', ...refusal }
    : await rulesOf(reviewed).recheck(context, reviewed);
  if (checked.kind === 'ready')
    // A concurrent action that is done already has changed what was read: it is read again.
    return (await store(context, checked.reviewed, lastChange)) ?? confirmOnce(context, reviewed);
  // A first press of the same button may have used up the month, or have changed what was reviewed.
  return (await findDone(context, reviewed)) ?? checked;
}

/** What an earlier confirm of the review has done, or is doing. */
export async function findDone(
  { services, workspace }: ActionContext,
  { key }: Reviewed,
): Promise<Done | null> {
  const action = await findByKey(services.database, workspace.workspaceId, key);
  return action && { kind: 'done', action, isKnown: true };
}

/** @returns `null`: another action was stored since the check */
async function store(
  context: ActionContext,
  reviewed: Reviewed,
  lastChange: string | null,
): Promise<Done | Obstacle | null> {
  const { services, workspace, customer } = context;
  const { admin, conversationId, contact } = context.request;
  const { monthlyPerAdmin: monthlyLimit } = policyOf(workspace.settings, reviewed.kind);
  const isApprovalNeeded = rulesOf(reviewed).needsSecondPerson(context, reviewed);
  const key = { workspaceId: workspace.workspaceId, actionId: randomUUID() };
  // Before the action itself: whenever this process is killed, another reads back what it has begun.
  if (!isApprovalNeeded) await scheduleConfirm(services, key);
  const { projectId } = customer.project;
  const state = isApprovalNeeded ? ('awaiting_approval' as const) : ('requested' as const);
  const stored = await storeAction(
    services.database,
    {
      ...reviewed,
      ...key,
      state,
      projectId,
      idempotencyKey: reviewed.key,
      admin,
      conversationId,
      contactId: contact.id || null,
    },
    { monthlyLimit, lastChange, ...(isApprovalNeeded ? { onStored: recordApprovalRequest } : {}) },
  );
  switch (stored.kind) {
    case 'known':
      return { kind: 'done', action: stored.action, isKnown: true };
    case 'monthly_limit':
      return { kind: 'refused', code: 'monthly_limit', limit: monthlyLimit ?? 0 };
    case 'unconfirmed':
      return { kind: 'refused', code: 'unconfirmed' };
    case 'outdated':
      return null;
    case 'new': {
      const { action } = stored;
      if (!isApprovalNeeded)
        return {
          kind: 'done',
          isKnown: false,
          ...(await callAndConfirm(services, customer.project, action)),
        };
      await scheduleNotes(services, action);
      return { kind: 'done', action, isKnown: false };
    }
  }
}

/** In the transaction that stores an action that waits for a second teammate. */
async function recordApprovalRequest(sql: Transaction, action: Action): Promise<void> {
  await auditAction(sql, action, { step: 'do', result: action.state, conversationId: action.conversationId });
  await queueNote(sql, action, { step: 'requested', by: action.admin });
}

/** Does what another teammate requested, as it was shown. Of several who approve at the same time one does it. */
export async function approveAction(
  context: ActionContext,
  action: Action,
  shown: Reviewed | undefined,
): Promise<Done | Obstacle> {
  const { services, customer } = context;
  const { admin, conversationId } = context.request;
  if (action.state !== 'awaiting_approval') return { kind: 'done', action, isKnown: true };
  const lastChange = await readLastChange(services.database, action);
  const checked = await checkApproval(context, action, shown);
  if (checked.kind !== 'ready') return refuseDecision(context, action, checked);
  const { reviewed } = checked;
  const ends =
    reviewed.kind === 'grant'
      ? { requestedEndMs: reviewed.requestedEndMs, previousEndMs: reviewed.previousEndMs }
      : {};
  const moved = await beginCall(services, action, {
    event: 'approve',
    decidedBy: admin,
    ...ends,
    conversationId,
    lastChange,
  });
  // What was read before may have changed: it is read again.
  if (moved === 'outdated') return approveAction(context, await readAgain(services.database, action), shown);
  if (moved === 'unconfirmed') return { kind: 'refused', code: 'unconfirmed' };
  if (!moved) return knownNow(context, action);
  return { kind: 'done', isKnown: false, ...(await callAndConfirm(services, customer.project, moved)) };
}

async function checkApproval(
  context: ActionContext,
  action: Action,
  shown: Reviewed | undefined,
): Promise<ReviewResult> {
  const { kind, admin, actionId } = action;
  if (admin.id === context.request.admin.id) return { kind: 'refused', code: 'same_person' };
  const refusal =
    findBlocker(context, action) ?? checkTeammate(policyOf(context.workspace.settings, kind), admin.id);
  if (refusal) return { kind: 'refused', ...refusal };
  if (shown?.key !== actionId) return { kind: 'failed', code: 'stale' };
  const checked = await rulesOf(shown).recheck(context, shown);
  return checked.kind === 'review_again' ? { kind: 'failed', code: checked.reason } : checked;
}

function refuseDecision(context: ActionContext, action: Action, obstacle: Obstacle): Promise<Obstacle> {
  const { kind, actionId, reason, admin } = action;
  const details = { action_id: actionId, ...factsOf(action), reason, requested_by: nameOf(admin) };
  return auditRefusal(context, { kind, step: 'approve', details }, obstacle);
}

async function knownNow({ services }: ActionContext, action: Action): Promise<Done> {
  return { kind: 'done', action: await readAgain(services.database, action), isKnown: true };
}

/** Declines what another teammate requested, or withdraws one's own request. */
export async function declineAction(context: ActionContext, action: Action): Promise<Done | Obstacle> {
  const { services, workspace } = context;
  const { admin, conversationId } = context.request;
  const isOwn = action.admin.id === admin.id;
  const refusal = isOwn ? null : checkTeammate(policyOf(workspace.settings, action.kind), admin.id);
  if (refusal) return refuseDecision(context, action, { kind: 'refused', ...refusal });
  const moved = isOwn
    ? await takeStep(services, action, { event: 'withdraw', conversationId })
    : await takeStep(services, action, { event: 'decline', decidedBy: admin, conversationId });
  return moved ? { kind: 'done', action: moved, isKnown: false } : knownNow(context, action);
}

export function isRunning(grant: Grant, nowMs: number): boolean {
  return grant.state === 'confirmed' && grantEndMs(grant) > nowMs;
}

/** Removes everything granted of an entitlement; store subscriptions stay. A second press finds the removal begun. */
export async function revokeGrant(
  context: ActionContext,
  shown: Grant,
  reason: string,
): Promise<Done | Obstacle> {
  const { services, customer, workspace } = context;
  const { admin, conversationId } = context.request;
  const { kind, actionId } = shown;
  const details = { action_id: actionId, ...factsOf(shown) };
  const refused = (refusal: Refusal): Promise<Obstacle> =>
    auditRefusal(context, { kind, step: 'revoke', details }, { kind: 'refused', ...refusal });
  const refusal = checkTeammate(workspace.settings.grants, admin.id);
  if (refusal) return refused(refusal);
  if (!isRunning(shown, services.now())) return { kind: 'done', action: shown, isKnown: true };
  const grant = isDashboardGrant(shown.actionId)
    ? await services.database.transaction((sql) => adoptGrant(sql, shown, randomUUID()))
    : shown;
  const moved = await beginCall(services, grant, { event: 'revoke', revokedBy: admin, revokeReason: reason });
  if (typeof moved === 'string') return refused({ code: 'unconfirmed' });
  if (!moved) return knownNow(context, grant);
  const now = await callAndConfirmRevoke(services, customer.project, { ...moved, conversationId });
  if (now.state === 'confirmed') return { kind: 'failed', code: now.error ?? '' };
  if (now.state === 'revoking') await scheduleConfirm(services, moved, 2);
  return { kind: 'done', action: now, isKnown: false };
}

/** `null`: the action is not this customer's. */
export async function findAction(context: ActionContext, actionId: string): Promise<Action | null> {
  const { services, customer } = context;
  const { workspaceId } = context.workspace;
  const { subscriberId } = customer.subscriber;
  if (isDashboardGrant(actionId))
    // Once its removal has begun it is stored: a second press shows how that goes.
    return (
      (await findDashboardGrant(context, actionId)) ??
      findAdopted(services.database, { workspaceId, subscriberId, actionId })
    );
  const action = await readAction(services.database, { workspaceId, actionId });
  return action?.subscriberId === subscriberId ? action : null;
}
