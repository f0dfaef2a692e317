import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type Project, readProject, setApiKeyState } from '../workspaces/projects.ts';
import { compareReadBack, readAccess } from './access.ts';
import type { GrantContext } from './context.ts';
import { queueNote } from './notes.ts';
import {
  type ActionKey,
  type Changes,
  claimForCall,
  listUnfinished,
  readGrant,
  recordResponse,
  revokeOthers,
  transition,
} from './repository.ts';
import { UNCONFIRMED_STATES } from './state-machine.ts';
import { type Grant, nameOf, type Teammate } from './types.ts';

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
const actorOf = (grant: Grant): Teammate => grant.decidedBy ?? grant.admin;

const iso = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());

type GrantStep = 'grant' | 'grant_approve' | 'grant_decline' | 'grant_withdraw' | 'revoke';

/** Records one step of a grant; by default as its requester, in its conversation. */
export async function auditGrant(
  sql: Sql,
  grant: Grant,
  step: {
    readonly action: GrantStep;
    readonly result: string;
    readonly actor?: Teammate;
    readonly conversationId?: string | null;
    readonly more?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  const { admin, decidedBy } = grant;
  await writeAudit(sql, {
    workspaceId: grant.workspaceId,
    actor: step.actor ?? admin,
    action: step.action,
    conversationId: step.conversationId === undefined ? grant.conversationId : step.conversationId,
    contactId: grant.contactId,
    subscriberId: grant.subscriberId,
    details: {
      action_id: grant.actionId,
      app_user_id: grant.appUserId,
      entitlement: grant.lookupKey,
      duration: grant.duration,
      previous_end: iso(grant.previousEndMs),
      requested_end: iso(grant.requestedEndMs),
      actual_end: iso(grant.actualEndMs),
      reason: step.action === 'revoke' ? grant.revokeReason : grant.reason,
      ...(grant.isUnchanged ? { unchanged: true } : {}),
      ...(decidedBy ? { requested_by: nameOf(admin), decided_by: nameOf(decidedBy) } : {}),
      ...step.more,
    },
    result: step.result,
  });
}

/**
 * Queues the reading back. Sent with a delay before anything is called, it survives a killed process; the key keeps
 * a sooner one separate.
 */
export async function scheduleConfirm(
  { jobs }: Pick<GrantContext, 'jobs'>,
  { workspaceId, actionId }: ActionKey,
  afterSeconds: number,
): Promise<void> {
  const key = `${workspaceId}|${actionId}|${afterSeconds}`;
  await jobs.send('action.confirm', { workspaceId, actionId }, { afterSeconds, key });
}

export async function scheduleNotes(
  { jobs }: Pick<GrantContext, 'jobs'>,
  { workspaceId, actionId }: ActionKey,
): Promise<void> {
  await jobs.send('action.note', { workspaceId, actionId });
}

async function current(context: GrantContext, grant: Grant): Promise<Grant> {
  return (await readGrant(context.database, grant.workspaceId, grant.actionId)) ?? grant;
}

/**
 * Calls RevenueCat for a stored grant, unless it was called before, and reads the result back. RevenueCat is called
 * once, whatever happens in between: the call is claimed in the database first.
 *
 * @returns the grant as it is then; still `requested` when RevenueCat has not confirmed it
 */
export async function callAndConfirm(context: GrantContext, project: Project, grant: Grant): Promise<Grant> {
  const client = context.revenueCat(project);
  const claimed = await claimForCall(context.database, grant);
  if (!claimed) return current(context, grant);
  if (!client) return fail(context, claimed, 'revenuecat_unauthorized');
  try {
    await client.grantEntitlement(project.revenueCatProjectId, claimed.appUserId, {
      entitlementId: claimed.entitlementId,
      expiresAtMs: claimed.requestedEndMs,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind === 'retry') return leaveUnconfirmed(context, claimed, error);
    return fail(context, claimed, error.code);
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

async function leaveUnconfirmed(context: GrantContext, grant: Grant, error: AppError | null): Promise<Grant> {
  const { workspaceId, actionId } = grant;
  context.logger.warn({ workspaceId, actionId, code: error?.code }, 'grant not confirmed yet');
  await scheduleConfirm(context, grant, READ_AGAIN_AFTER_SECONDS);
  return grant;
}

/** End of what RevenueCat grants of the entitlement now. */
async function readGrantEnd(
  client: RevenueCatClient,
  project: Project,
  grant: Grant,
): Promise<number | null> {
  const access = await readAccess(client, project.revenueCatProjectId, [grant.appUserId]);
  return access?.endsOf({ id: grant.entitlementId, lookupKey: grant.lookupKey }).grantEndMs ?? null;
}

/** Reads what RevenueCat has and completes the grant accordingly. `null`: not done, but it still may be. */
async function confirmByReading(
  context: GrantContext,
  client: RevenueCatClient,
  grant: Grant,
  project: Project,
): Promise<Grant | null> {
  const currentMs = await readGrantEnd(client, project, grant);
  const { requestedEndMs: requestedMs, previousEndMs: previousMs } = grant;
  const found = compareReadBack({ requestedMs, previousMs, currentMs });
  if (currentMs !== null && found !== 'missing')
    return confirm(context, grant, { actualEndMs: currentMs, isUnchanged: found === 'unchanged' });
  if (context.now() - (grant.calledAtMs ?? grant.createdAtMs) < NOT_DONE_AFTER_MS) return null;
  // RevenueCat accepted the grant and what was there before has stayed.
  if (grant.isAnswered && currentMs !== null)
    return confirm(context, grant, { actualEndMs: currentMs, isUnchanged: true });
  return fail(context, grant, grant.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
}

async function confirm(context: GrantContext, grant: Grant, changes: Changes): Promise<Grant> {
  const confirmed = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'confirm', ...changes });
    if (moved) {
      await auditGrant(sql, moved, { action: stepOf(moved), result: 'confirmed', actor: actorOf(moved) });
      await queueNote(sql, moved, { step: 'confirmed', by: actorOf(moved) });
    }
    return moved;
  });
  if (!confirmed) return current(context, grant);
  await scheduleNotes(context, confirmed);
  await refreshSubscriber(context, confirmed);
  return confirmed;
}

function stepOf(grant: Grant): GrantStep {
  return grant.decidedBy ? 'grant_approve' : 'grant';
}

async function refreshSubscriber(context: GrantContext, grant: Grant): Promise<void> {
  const { workspaceId, subscriberId } = grant;
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
}

/** @param code the reason, as in the audit log and on the card */
async function fail(context: GrantContext, grant: Grant, code: string): Promise<Grant> {
  await noticeRejectedKey(context, grant, code);
  // An immediate failure is on the card; of a later one the conversation must say so.
  const isLate = grant.calledAtMs !== null && context.now() - grant.calledAtMs >= NOT_DONE_AFTER_MS;
  const failed = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'fail', error: code });
    if (moved) {
      await auditGrant(sql, moved, { action: stepOf(moved), result: code, actor: actorOf(moved) });
      if (isLate) await queueNote(sql, moved, { step: 'failed', by: actorOf(moved) });
    }
    return moved;
  });
  if (failed && isLate) await scheduleNotes(context, failed);
  return failed ?? current(context, grant);
}

async function noticeRejectedKey(context: GrantContext, grant: Grant, code: string): Promise<void> {
  const { workspaceId, projectId, actionId } = grant;
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
  context: GrantContext,
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
    if ((await readGrantEnd(client, project, grant)) === null)
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
  context: GrantContext,
  { grant, conversationId }: { readonly grant: Grant; readonly conversationId: string | null },
): Promise<Grant> {
  const revoked = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'confirm_revoke' });
    if (!moved) return null;
    const others = await revokeOthers(sql, moved);
    const actor = moved.revokedBy ?? moved.admin;
    await auditGrant(sql, moved, {
      action: 'revoke',
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
  context: GrantContext,
  { grant, conversationId }: { readonly grant: Grant; readonly conversationId: string | null },
  code: string,
): Promise<RevokeOutcome> {
  await noticeRejectedKey(context, grant, code);
  const running = await context.database.transaction(async (sql) => {
    const moved = await transition(sql, grant, { event: 'fail_revoke' });
    const actor = moved?.revokedBy ?? grant.admin;
    if (moved) await auditGrant(sql, moved, { action: 'revoke', result: code, actor, conversationId });
    return moved;
  });
  return { grant: running ?? grant, failedWith: code };
}

/** The job `action.confirm`: completes an unconfirmed action by reading RevenueCat, however long that takes. */
export async function confirmAction(context: GrantContext, key: ActionKey): Promise<void> {
  const grant = await readGrant(context.database, key.workspaceId, key.actionId);
  if (!grant) return;
  if (!UNCONFIRMED_STATES.includes(grant.state)) {
    // A process that was killed after the change may not have scheduled its notes.
    await scheduleNotes(context, grant);
    return;
  }
  const patient: GrantContext = {
    ...context,
    revenueCat: (project) => context.revenueCat(project, BACKGROUND_TIMEOUT_MS),
  };
  const project = await readProject(context.database, key.workspaceId, grant.projectId);
  if (!project) return;
  const client = patient.revenueCat(project);
  // Without a key nothing can be read: it waits for a new one.
  const now = client ? await confirmInBackground(patient, client, grant, project) : grant;
  if (UNCONFIRMED_STATES.includes(now.state))
    await scheduleConfirm(context, now, secondsUntilNextRead(context, now));
}

async function confirmInBackground(
  context: GrantContext,
  client: RevenueCatClient,
  grant: Grant,
  project: Project,
): Promise<Grant> {
  if (grant.state === 'revoking') {
    const { conversationId } = grant;
    return (await callAndConfirmRevoke(context, project, { grant, conversationId })).grant;
  }
  // Certainly not called: the process was killed between storing and calling.
  if (grant.calledAtMs === null) return callAndConfirm(context, project, grant);
  try {
    return (await confirmByReading(context, client, grant, project)) ?? grant;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (context.now() - grant.calledAtMs > GIVEN_UP_AFTER_MS) return fail(context, grant, 'never_confirmed');
    const { workspaceId, actionId } = grant;
    context.logger.warn({ code: error.code, workspaceId, actionId }, 'grant not read back yet');
    return grant;
  }
}

/** The longer it takes, the less often: from 3 s to 10 minutes. */
function secondsUntilNextRead(context: Pick<GrantContext, 'now'>, grant: Grant): number {
  return Math.min(600, Math.max(3, Math.round((context.now() - lastStepAtMs(grant)) / 4_000)));
}

export function lastStepAtMs(grant: Grant): number {
  return grant.revokeCalledAtMs ?? grant.calledAtMs ?? grant.createdAtMs;
}

/** Queues the jobs again that actions and notes of killed processes were waiting for. */
export async function resumeActions(context: Pick<GrantContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(context.database)) {
    if (isNote) await scheduleNotes(context, key);
    else await scheduleConfirm(context, key, 0);
  }
}
