import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type Project, readProject, setApiKeyState } from '../workspaces/projects.ts';
import { callRevenueCat, readBack, readGrantEnd } from './executors.ts';
import { queueNote } from './notes.ts';
import {
  type ActionKey,
  type Changes,
  claimForCall,
  listUnfinished,
  readAction,
  recordResponse,
  revokeOthers,
  transition,
} from './repository.ts';
import { UNCONFIRMED_STATES } from './state-machine.ts';
import {
  type Action,
  type Grant,
  nameOf,
  type PurchaseState,
  type StoreAction,
  type Teammate,
} from './types.ts';

/** After this time RevenueCat no longer works on a request that it has not answered. */
const NOT_DONE_AFTER_MS = 2 * MINUTE_MS;
/** RevenueCat could not be read for this long: the action is given up. */
const GIVEN_UP_AFTER_MS = DAY_MS;
/** Only an action of a killed process is still unconfirmed after this time. */
export const CONFIRM_AFTER_SECONDS = 20;
const READ_AGAIN_AFTER_SECONDS = 2;
/** What a background job can wait for. */
const BACKGROUND_TIMEOUT_MS = 20_000;

/** Whose action it is now: the approver's, if a second teammate approved. */
const actorOf = (action: Action): Teammate => action.decidedBy ?? action.admin;

const iso = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());

/** What happened to an action: its own deed, or a decision about it. */
export type ActionStep = 'do' | 'approve' | 'decline' | 'withdraw' | 'revoke';

/** `grant`, `grant_approve`, `revoke`, `store_refund`, `store_refund_approve`. */
export function auditName(kind: Action['kind'], step: ActionStep): string {
  if (step === 'revoke') return 'revoke';
  const name = kind === 'grant' ? kind : `store_${kind}`;
  return step === 'do' ? name : `${name}_${step}`;
}

/** Records one step of an action; by default as its requester, in its conversation. */
export async function auditAction(
  sql: Sql,
  action: Action,
  step: {
    readonly step: ActionStep;
    readonly result: string;
    readonly actor?: Teammate;
    readonly conversationId?: string | null;
    readonly more?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  const { admin, decidedBy } = action;
  const isRevoke = step.step === 'revoke' && action.kind === 'grant';
  await writeAudit(sql, {
    workspaceId: action.workspaceId,
    actor: step.actor ?? admin,
    action: auditName(action.kind, step.step),
    conversationId: step.conversationId === undefined ? action.conversationId : step.conversationId,
    contactId: action.contactId,
    subscriberId: action.subscriberId,
    details: {
      action_id: action.actionId,
      app_user_id: action.appUserId,
      ...(action.kind === 'grant' ? grantFacts(action) : storeFacts(action)),
      reason: isRevoke ? action.revokeReason : action.reason,
      ...(decidedBy ? { requested_by: nameOf(admin), decided_by: nameOf(decidedBy) } : {}),
      ...step.more,
    },
    result: step.result,
  });
}

function grantFacts(grant: Grant): Record<string, unknown> {
  return {
    entitlement: grant.lookupKey,
    duration: grant.duration,
    previous_end: iso(grant.previousEndMs),
    requested_end: iso(grant.requestedEndMs),
    actual_end: iso(grant.actualEndMs),
    ...(grant.isUnchanged ? { unchanged: true } : {}),
  };
}

function storeFacts({ target, details }: StoreAction): Record<string, unknown> {
  const { amount, before, after, product, ...rest } = details;
  const of = (state: PurchaseState | null) =>
    state && { end: iso(state.endsAtMs), access: state.givesAccess, renews: state.willRenew };
  return {
    target,
    product,
    ...rest,
    ...(amount ? { amount_minor: amount.amountMinor, currency: amount.currency } : {}),
    before: of(before),
    after: of(after),
  };
}

/**
 * Queues the reading back. Sent with a delay before anything is called, it survives a killed process; the key keeps
 * a sooner one separate.
 */
export async function scheduleConfirm(
  { jobs }: Pick<AppContext, 'jobs'>,
  { workspaceId, actionId }: ActionKey,
  afterSeconds: number,
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

async function current<A extends Action>(context: AppContext, action: A): Promise<A> {
  return ((await readAction(context.database, action)) as A | null) ?? action;
}

/**
 * Calls RevenueCat for a stored action, unless it was called before, and reads the result back. RevenueCat is called
 * once, whatever happens in between: the call is claimed in the database first.
 *
 * @returns the action as it is then; still `requested` when RevenueCat has not confirmed it
 */
export async function callAndConfirm<A extends Action>(
  context: AppContext,
  project: Project,
  action: A,
): Promise<A> {
  const client = context.revenueCat(project);
  const claimed = (await claimForCall(context.database, action)) as A | null;
  if (!claimed) return current(context, action);
  if (!client) return failAction(context, claimed, 'revenuecat_unauthorized');
  try {
    await callRevenueCat(client, project.revenueCatProjectId, claimed);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind === 'retry') return leaveUnconfirmed(context, claimed, error);
    return failAction(context, claimed, error.code);
  }
  await recordResponse(context.database, claimed);
  try {
    const confirmed = await confirmByReading(context, client, { ...claimed, isAnswered: true }, project);
    return confirmed ?? (await leaveUnconfirmed(context, claimed, null));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return leaveUnconfirmed(context, claimed, error);
  }
}

async function leaveUnconfirmed<A extends Action>(
  context: AppContext,
  action: A,
  error: AppError | null,
): Promise<A> {
  const { workspaceId, actionId } = action;
  context.logger.warn({ workspaceId, actionId, code: error?.code }, 'action not confirmed yet');
  await scheduleConfirm(context, action, READ_AGAIN_AFTER_SECONDS);
  return action;
}

/** Reads what RevenueCat has and completes the action accordingly. `null`: not done, but it still may be. */
async function confirmByReading<A extends Action>(
  context: AppContext,
  client: RevenueCatClient,
  action: A,
  project: Project,
): Promise<A | null> {
  const found = await readBack(client, project.revenueCatProjectId, action);
  if (found.kind === 'done') return confirm(context, action, found.changes);
  const sinceMs = context.now() - (action.calledAtMs ?? action.createdAtMs);
  if (found.kind === 'unknown')
    return sinceMs > GIVEN_UP_AFTER_MS ? failAction(context, action, 'never_confirmed') : null;
  if (sinceMs < NOT_DONE_AFTER_MS) return null;
  if (action.isAnswered && found.ignored) return confirm(context, action, found.ignored);
  return failAction(context, action, action.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
}

/** Completes an action with its record and its note. */
export async function confirm<A extends Action>(
  context: AppContext,
  action: A,
  changes: Changes,
): Promise<A> {
  const confirmed = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, action, { event: 'confirm', ...changes });
    if (moved) {
      await auditAction(sql, moved, { step: stepOf(moved), result: 'confirmed', actor: actorOf(moved) });
      await queueNote(sql, moved, { step: 'confirmed', by: actorOf(moved) });
    }
    return moved;
  });
  if (!confirmed) return current(context, action);
  await scheduleNotes(context, confirmed);
  await refreshSubscriber(context, confirmed);
  return confirmed;
}

function stepOf(action: Action): ActionStep {
  return action.decidedBy ? 'approve' : 'do';
}

async function refreshSubscriber(context: AppContext, action: Action): Promise<void> {
  const { workspaceId, subscriberId } = action;
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
}

/** @param code the reason, as in the audit log and on the card */
export async function failAction<A extends Action>(context: AppContext, action: A, code: string): Promise<A> {
  await noticeRejectedKey(context, action, code);
  // An immediate failure is on the card; of a later one the conversation must say so.
  const isLate = action.calledAtMs !== null && context.now() - action.calledAtMs >= NOT_DONE_AFTER_MS;
  const failed = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, action, { event: 'fail', error: code });
    if (moved) {
      await auditAction(sql, moved, { step: stepOf(moved), result: code, actor: actorOf(moved) });
      if (isLate) await queueNote(sql, moved, { step: 'failed', by: actorOf(moved) });
    }
    return moved;
  });
  if (failed && isLate) await scheduleNotes(context, failed);
  return failed ?? current(context, action);
}

async function noticeRejectedKey(context: AppContext, action: Action, code: string): Promise<void> {
  const { workspaceId, projectId, actionId } = action;
  context.logger.warn({ workspaceId, actionId, code }, 'action failed');
  if (code !== 'revenuecat_unauthorized') return;
  const isNew = await setApiKeyState(context.database, workspaceId, projectId, 'rejected');
  if (isNew) await context.jobs.send('workspace.health', { workspaceId });
}

/** What the removal of a grant has led to: `failed` leaves the grant running. */
export type RevokeOutcome = { readonly grant: Grant; readonly failedWith: string | null };

/**
 * Calls RevenueCat to remove a grant in the state `revoking`, and reads the result back. A repeated removal changes
 * nothing, so the background may call again.
 */
export async function callAndConfirmRevoke(
  context: AppContext,
  project: Project,
  revoking: { readonly grant: Grant; readonly conversationId: string | null },
): Promise<RevokeOutcome> {
  const { grant } = revoking;
  const client = context.revenueCat(project);
  if (!client) return failRevoke(context, revoking, 'revenuecat_unauthorized');
  try {
    try {
      await client.revokeEntitlement(project.revenueCatProjectId, grant.appUserId, grant.entitlementId);
    } catch (error) {
      // 404 has three meanings (nothing granted, unknown customer, wrong path): reading back decides.
      if (!(error instanceof AppError) || error.code !== 'revenuecat_not_found') throw error;
    }
    if ((await readGrantEnd(client, project.revenueCatProjectId, grant)) === null)
      return { grant: await confirmRevoke(context, revoking), failedWith: null };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const sinceMs = context.now() - (grant.revokeCalledAtMs ?? context.now());
    const mayRetry = error.remedy.kind === 'retry' || error.remedy.kind === 'wait_until';
    if (!mayRetry || sinceMs > GIVEN_UP_AFTER_MS) return failRevoke(context, revoking, error.code);
    return { grant, failedWith: null };
  }
  const sinceMs = context.now() - (grant.revokeCalledAtMs ?? context.now());
  if (sinceMs > NOT_DONE_AFTER_MS) return failRevoke(context, revoking, 'revenuecat_ignored');
  return { grant, failedWith: null };
}

async function confirmRevoke(
  context: AppContext,
  { grant, conversationId }: { readonly grant: Grant; readonly conversationId: string | null },
): Promise<Grant> {
  const revoked = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'confirm_revoke' });
    if (!moved) return null;
    const others = await revokeOthers(sql, moved);
    const actor = moved.revokedBy ?? moved.admin;
    await auditAction(sql, moved, {
      step: 'revoke',
      result: 'revoked',
      actor,
      conversationId,
      ...(others.length > 0 ? { more: { also_ended: others } } : {}),
    });
    await queueNote(sql, moved, { step: 'revoked', by: actor, conversationId });
    return moved;
  });
  if (!revoked) return current(context, grant);
  await scheduleNotes(context, revoked);
  await refreshSubscriber(context, revoked);
  return revoked;
}

/** RevenueCat refused: the grant stays. */
async function failRevoke(
  context: AppContext,
  { grant, conversationId }: { readonly grant: Grant; readonly conversationId: string | null },
  code: string,
): Promise<RevokeOutcome> {
  await noticeRejectedKey(context, grant, code);
  const running = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'fail_revoke' });
    const actor = moved?.revokedBy ?? grant.admin;
    if (moved) await auditAction(sql, moved, { step: 'revoke', result: code, actor, conversationId });
    return moved;
  });
  return { grant: running ?? grant, failedWith: code };
}

/** The job `action.confirm`: completes an unconfirmed action by reading RevenueCat, however long that takes. */
export async function confirmAction(context: AppContext, key: ActionKey): Promise<void> {
  const action = await readAction(context.database, key);
  if (!action) return;
  if (!UNCONFIRMED_STATES.includes(action.state)) {
    // A process that was killed after the change may not have scheduled its notes.
    await scheduleNotes(context, action);
    return;
  }
  const patient: AppContext = {
    ...context,
    revenueCat: (project) => context.revenueCat(project, { timeoutMs: BACKGROUND_TIMEOUT_MS }),
  };
  const project = await readProject(context.database, key.workspaceId, action.projectId);
  if (!project) return;
  const client = patient.revenueCat(project);
  // Without a key nothing can be read: it waits for a new one.
  const now = client ? await confirmInBackground(patient, client, action, project) : action;
  if (UNCONFIRMED_STATES.includes(now.state))
    await scheduleConfirm(context, now, secondsUntilNextRead(context, now));
}

async function confirmInBackground(
  context: AppContext,
  client: RevenueCatClient,
  action: Action,
  project: Project,
): Promise<Action> {
  if (action.kind === 'grant' && action.state === 'revoking') {
    const { conversationId } = action;
    return (await callAndConfirmRevoke(context, project, { grant: action, conversationId })).grant;
  }
  // The link of a portal was lost with the process that created it.
  if (action.kind === 'manage') return failAction(context, action, 'revenuecat_unavailable');
  // Certainly not called: the process was killed between storing and calling.
  if (action.calledAtMs === null) return callAndConfirm(context, project, action);
  try {
    return (await confirmByReading(context, client, action, project)) ?? action;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (context.now() - action.calledAtMs > GIVEN_UP_AFTER_MS)
      return failAction(context, action, 'never_confirmed');
    const { workspaceId, actionId } = action;
    context.logger.warn({ code: error.code, workspaceId, actionId }, 'action not read back yet');
    return action;
  }
}

/** The longer it takes, the less often: from 3 s to 10 minutes. */
function secondsUntilNextRead(context: Pick<AppContext, 'now'>, action: Action): number {
  return Math.min(600, Math.max(3, Math.round((context.now() - lastStepAtMs(action)) / 4_000)));
}

export function lastStepAtMs(action: Action): number {
  const revokeCalledAtMs = action.kind === 'grant' ? action.revokeCalledAtMs : null;
  return revokeCalledAtMs ?? action.calledAtMs ?? action.createdAtMs;
}

/** Queues the jobs again that actions and notes of killed processes were waiting for. */
export async function resumeActions(context: Pick<AppContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(context.database)) {
    if (isNote) await scheduleNotes(context, key);
    else await scheduleConfirm(context, key, 0);
  }
}
