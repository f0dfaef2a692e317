import { randomUUID } from 'node:crypto';
import type { Transaction } from '../database/sql.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { writeAudit } from '../workspaces/audit.ts';
import {
  type Action,
  type ActionEvent,
  type ActionResult,
  type AuditStep,
  type NewAction,
  type NoteStep,
  nameOf,
  TRANSITIONS,
  type Transition,
  UNCONFIRMED_STATES,
} from './action.ts';
import { auditName, factsOf } from './action-audit.ts';
import { throwRefusal } from './action-error.ts';
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

/** A live process reads the result back sooner than this, so the job is for actions of killed processes. */
const CONFIRM_AFTER_SECONDS = 20;

/**
 * Queues the job that reads the result back. Each delay has its own key, so that a sooner job is not dropped as a
 * duplicate.
 */
export async function scheduleConfirm(
  { jobs, sql }: Pick<AppContext, 'jobs'> & { readonly sql?: Transaction },
  { workspaceId, actionId }: ActionKey,
  afterSeconds: number,
): Promise<void> {
  const key = sql ? undefined : `${workspaceId}|${actionId}|${afterSeconds}`;
  await jobs.send('action.confirm', { workspaceId, actionId }, { afterSeconds, key, sql });
}

type TransitionApp = Pick<AppContext, 'database' | 'jobs'>;

/**
 * Applies an event of the state machine, with its audit record and its note. If RevenueCat is called next, no other
 * action on the same target may be unconfirmed.
 *
 * @param step.lastChange the target's last change, read before the action was checked; absent: not compared
 * @param step.decidedIn the conversation of a decision, if it differs from that of the request
 * @returns `null`: the action is in another state by now, or something was done to the target since the check
 */
export async function transition(
  app: TransitionApp,
  action: Action,
  step: Changes & {
    readonly event: ActionEvent;
    readonly lastChange?: string | null;
    readonly decidedIn?: string | null;
  },
): Promise<Action | null> {
  const { lastChange, decidedIn = action.conversationId, ...change } = step;
  const { audit, note, to }: Transition = TRANSITIONS[change.event];
  const isCalledNext = UNCONFIRMED_STATES.includes(to);
  return app.database.transaction(async (sql) => {
    const scope = { ...app, sql };
    if (isCalledNext) await lockTarget(sql, action);
    if (lastChange !== undefined && (await readLastChange(sql, action)) !== lastChange) return null;
    const moved = await updateState(sql, action, change);
    if (!moved) return null;
    if (isCalledNext) await scheduleConfirm(scope, moved, CONFIRM_AFTER_SECONDS);
    if (!audit) return moved;
    const isRemoval = change.event === 'confirm_revoke' && moved.kind === 'grant';
    const alsoEnded = isRemoval ? await revokeOthers(sql, moved) : [];
    const result = change.error ?? (audit === 'approve' ? 'approved' : to);
    await writeAuditAndNote(scope, moved, { audit, note, result, conversationId: decidedIn, alsoEnded });
    return moved;
  });
}

/**
 * Stores an action before RevenueCat is called, so that a second confirm finds it. Locks the teammate's row and then
 * the subscriber's: concurrent confirms see each other's actions, so neither the monthly limit nor "one unconfirmed
 * action at a time" can be exceeded.
 *
 * @param checks.lastChange the target's last change, read before this action was checked
 * @returns repeated: the key was used before; `null`: something was done to the target since this action was checked
 */
export async function requestAction(
  app: TransitionApp,
  action: NewAction,
  checks: { readonly monthlyLimit?: number | null; readonly lastChange: string | null },
): Promise<ActionResult | null> {
  const { workspaceId, admin, state: result, conversationId } = action;
  const { monthlyLimit = null, lastChange } = checks;
  const key = { workspaceId, actionId: randomUUID() };
  return app.database.transaction(async (sql) => {
    const scope = { ...app, sql };
    await lockAdmin(sql, workspaceId, admin.id);
    const earlier = await findByKey(sql, workspaceId, action.idempotencyKey);
    if (earlier) return { action: earlier, isRepeated: true };
    throwRefusal(await checkActionsThisMonth(sql, monthlyLimit, action));
    await lockTarget(sql, { ...action, ...key });
    if ((await readLastChange(sql, action)) !== lastChange) return null;
    const stored = await insertAction(sql, { ...action, ...key });
    if (result === 'requested') await scheduleConfirm(scope, key, CONFIRM_AFTER_SECONDS);
    else await writeAuditAndNote(scope, stored, { audit: 'do', note: 'requested', result, conversationId });
    return { action: stored };
  });
}

async function writeAuditAndNote(
  { sql, jobs }: Pick<AppContext, 'jobs'> & { readonly sql: Transaction },
  action: Action,
  step: {
    readonly audit: AuditStep;
    readonly note?: NoteStep;
    readonly result: string;
    readonly conversationId: string | null;
    readonly alsoEnded?: readonly string[];
  },
): Promise<void> {
  const { workspaceId, actionId, subscriberId, kind, admin, decidedBy } = action;
  const { audit, note, result, conversationId, alsoEnded = [] } = step;
  const revoked = audit === 'revoke' && kind === 'grant' ? action : null;
  // After an approval, the teammate who approved is the actor.
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
  // The requester reads the note where they made the request, even if it was decided elsewhere.
  const noteIn = action.conversationId ?? conversationId;
  if (!note || noteIn === null) return;
  await storeNote(sql, action, { step: note, conversationId: noteIn, adminId: actor.id });
  await jobs.send('action.note', { workspaceId, actionId }, { sql });
}
