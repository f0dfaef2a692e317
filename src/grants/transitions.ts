import { randomUUID } from 'node:crypto';
import type { Transaction } from '../database/sql.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { writeAudit } from '../workspaces/audit.ts';
import {
  type Action,
  type ActionEvent,
  type ActionKind,
  type AuditStep,
  type Grant,
  type NewAction,
  type NoteStep,
  nameOf,
  type PurchaseState,
  type StoreAction,
  TRANSITIONS,
  type Transition,
} from './action.ts';
import { ActionError, throwRefusal } from './action-error.ts';
import type { ActionContext } from './context.ts';
import type { Reviewed, ReviewedGrant } from './form-state.ts';
import { storeNote } from './notes.ts';
import { checkActionsThisMonth } from './policy.ts';
import {
  type ActionKey,
  type Changes,
  findByKey,
  insertAction,
  lockAdmin,
  lockTarget,
  readLastChange,
  revokeOthers,
  updateState,
} from './repository.ts';

/** Only an action of a killed process is still unconfirmed after this time. */
const CONFIRM_AFTER_SECONDS = 20;

/**
 * Queues the job that reads the result back. Queued with a delay before RevenueCat is called, it survives a killed
 * process; each delay has its own key, so that a sooner job is not dropped as a duplicate.
 */
export async function scheduleConfirm(
  { jobs }: Pick<AppContext, 'jobs'>,
  { workspaceId, actionId }: ActionKey,
  afterSeconds = CONFIRM_AFTER_SECONDS,
): Promise<void> {
  const key = `${workspaceId}|${actionId}|${afterSeconds}`;
  await jobs.send('action.confirm', { workspaceId, actionId }, { afterSeconds, key });
}

export async function scheduleNotes(
  { jobs }: Pick<AppContext, 'jobs'>,
  { workspaceId, actionId }: ActionKey,
): Promise<void> {
  await jobs.send('action.note', { workspaceId, actionId });
}

/** An event of the state machine, with what changes together with the state. */
export type StateChange = Changes & {
  readonly event: ActionEvent;
  /** Where it happens, if that is not where the action was requested. */
  readonly conversationId?: string | null;
};

type TransitionApp = Pick<AppContext, 'database' | 'jobs'>;

/**
 * Applies an event, with its audit record and its note.
 *
 * @returns `null`: the action is in another state by now
 */
export async function transition<A extends Action>(
  app: TransitionApp,
  action: A,
  change: StateChange,
): Promise<A | null> {
  const moved = await app.database.transaction((sql) => transitionIn(sql, action, change));
  const { note }: Transition = TRANSITIONS[change.event];
  if (moved && note) await scheduleNotes(app, moved);
  return moved;
}

/**
 * Applies an event after which RevenueCat is called. The job that reads back is queued first: whenever this process
 * is killed, another one completes what it has begun.
 *
 * @param change.lastChange of the target, read before the action was checked; absent: it needs no check
 * @returns `null`: the action is in another state by now, or something was done to the target since the check
 * @throws ActionError when the result of another action on the same target is still unknown
 */
export async function beginCall<A extends Action>(
  app: TransitionApp,
  action: A,
  { lastChange, ...change }: StateChange & { readonly lastChange?: string | null },
): Promise<A | null> {
  await scheduleConfirm(app, action);
  return app.database.transaction(async (sql) => {
    await lockTarget(sql, action);
    const isOutdated = lastChange !== undefined && (await readLastChange(sql, action)) !== lastChange;
    return isOutdated ? null : transitionIn(sql, action, change);
  });
}

async function transitionIn<A extends Action>(
  sql: Transaction,
  action: A,
  { conversationId = action.conversationId, ...change }: StateChange,
): Promise<A | null> {
  const moved = await updateState(sql, action, change);
  const { audit, note, to }: Transition = TRANSITIONS[change.event];
  if (!moved || !audit) return moved;
  const isRemoval = change.event === 'confirm_revoke' && moved.kind === 'grant';
  const alsoEnded = isRemoval ? await revokeOthers(sql, moved) : [];
  const result = change.error ?? (audit === 'approve' ? 'approved' : to);
  await writeAuditAndNote(sql, moved, { audit, note, result, conversationId, alsoEnded });
  return moved;
}

/**
 * Stores an action before RevenueCat is called, so that a second confirm finds it; its job is queued first, as in
 * `beginCall`. Locks the teammate's row and then the subscriber's: concurrent confirms see each other's actions, so
 * neither the monthly limit nor "one unconfirmed action at a time" can be exceeded.
 *
 * @param checks.lastChange of the target, read before this action was checked
 * @returns repeated: the idempotency key was used before, and this is its action; `null`: something was done to the
 *   same target since this action was checked
 * @throws ActionError when the month is used up, or the result of another action on the same target is still unknown
 */
export async function requestAction(
  app: TransitionApp,
  action: NewAction,
  checks: { readonly monthlyLimit?: number | null; readonly lastChange: string | null },
): Promise<{ readonly action: Action; readonly isRepeated: boolean } | null> {
  const { workspaceId, admin, state: result, conversationId } = action;
  const { monthlyLimit = null, lastChange } = checks;
  const key = { workspaceId, actionId: randomUUID() };
  const isCalled = result === 'requested';
  if (isCalled) await scheduleConfirm(app, key);
  const requested = await app.database.transaction(async (sql) => {
    await lockAdmin(sql, workspaceId, admin.id);
    const known = await findByKey(sql, workspaceId, action.idempotencyKey);
    if (known) return { action: known, isRepeated: true };
    throwRefusal(await checkActionsThisMonth(sql, monthlyLimit, action));
    await lockTarget(sql, { ...action, ...key });
    if ((await readLastChange(sql, action)) !== lastChange) return null;
    const stored = await insertAction(sql, { ...action, ...key });
    if (!isCalled)
      await writeAuditAndNote(sql, stored, { audit: 'do', note: 'requested', result, conversationId });
    return { action: stored, isRepeated: false };
  });
  if (requested && !requested.isRepeated && !isCalled) await scheduleNotes(app, requested.action);
  return requested;
}

/** The audit record, and the note in the conversation: one for each step. */
async function writeAuditAndNote(
  sql: Transaction,
  action: Action,
  step: {
    readonly audit: AuditStep;
    readonly note?: NoteStep | undefined;
    readonly result: string;
    readonly conversationId: string | null;
    readonly alsoEnded?: readonly string[];
  },
): Promise<void> {
  const { workspaceId, actionId, subscriberId, kind, admin, decidedBy } = action;
  const { audit, note, result, conversationId, alsoEnded = [] } = step;
  const revoked = audit === 'revoke' && kind === 'grant' ? action : null;
  // What follows an approval is recorded as done by who approved.
  const actor = (revoked ? revoked.revokedBy : decidedBy) ?? admin;
  await writeAudit(sql, {
    workspaceId,
    actor,
    action: auditName(kind, audit === 'do' && decidedBy ? 'approve' : audit),
    conversationId,
    contactId: action.contactId,
    subscriberId,
    details: {
      action_id: actionId,
      app_user_id: action.appUserId,
      ...factsOf(action),
      reason: revoked ? revoked.revokeReason : action.reason,
      ...(decidedBy ? { requested_by: nameOf(admin), decided_by: nameOf(decidedBy) } : {}),
      ...(alsoEnded.length > 0 ? { also_ended: alsoEnded } : {}),
    },
    result,
  });
  const noteIn = conversationId ?? action.conversationId;
  if (note && noteIn !== null)
    await storeNote(sql, action, { step: note, conversationId: noteIn, adminId: actor.id });
}

/** `grant`, `grant_approve`, `revoke`, `store_refund`, `store_refund_approve`. */
function auditName(kind: ActionKind, step: AuditStep): string {
  if (step === 'revoke') return 'revoke';
  const name = kind === 'grant' ? kind : `store_${kind}`;
  return step === 'do' ? name : `${name}_${step}`;
}

/** Writes an audit record when work is refused or fails; a mistake in the form or an outdated review leaves none. */
export async function auditRefusal<T>(
  context: ActionContext,
  attempt: {
    readonly kind: ActionKind;
    readonly step: AuditStep;
    readonly details: Readonly<Record<string, unknown>>;
  },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ActionError && (error.kind === 'refused' || error.kind === 'failed')) {
      const { customer, request } = context;
      await writeAudit(context.app.database, {
        workspaceId: context.workspace.workspaceId,
        actor: request.admin,
        action: auditName(attempt.kind, attempt.step),
        conversationId: request.conversationId,
        contactId: request.contact.id || null,
        subscriberId: customer.subscriber.subscriberId,
        details: { app_user_id: customer.appUserId, ...attempt.details },
        result: `refused: ${error.code}`,
      });
    }
    throw error;
  }
}

/** What the audit log says of an action, or of what was reviewed. */
export function factsOf(action: Action | Reviewed): Record<string, unknown> {
  return action.kind === 'grant' ? grantFacts(action) : storeFacts(action);
}

const iso = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());

function grantFacts(
  grant: Pick<ReviewedGrant, 'lookupKey' | 'duration' | 'previousEndMs' | 'requestedEndMs'> &
    Partial<Pick<Grant, 'actualEndMs' | 'isUnchanged'>>,
): Record<string, unknown> {
  return {
    entitlement: grant.lookupKey,
    duration: grant.duration,
    previous_end: iso(grant.previousEndMs),
    requested_end: iso(grant.requestedEndMs),
    actual_end: iso(grant.actualEndMs ?? null),
    ...(grant.isUnchanged ? { unchanged: true } : {}),
  };
}

function storeFacts({ target, details }: Pick<StoreAction, 'target' | 'details'>): Record<string, unknown> {
  const { amount, before, after, product, targetType, ...rest } = details;
  const factsOfState = (state: PurchaseState | null) =>
    state && { end: iso(state.endsAtMs), access: state.givesAccess, renews: state.willRenew };
  return {
    target,
    product,
    of: targetType,
    ...rest,
    ...(amount ? { amount_minor: amount.amountMinor, currency: amount.currency } : {}),
    before: factsOfState(before),
    after: factsOfState(after),
  };
}
