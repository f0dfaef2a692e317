import type { Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { type Project, setApiKeyState } from '../workspaces/projects.ts';
import { judge, readAccess } from './access.ts';
import { auditGrant } from './audit.ts';
import type { GrantContext } from './context.ts';
import { type NoteStep, queueNote } from './notes-store.ts';
import { listUnfinished, readGrant } from './store.ts';
import { claimForRequest, moveGrant, recordResponse } from './transitions.ts';
import type { Grant } from './types.ts';

/** After this long RevenueCat is no longer at work on a request that it has not answered, ms. */
export const NOT_DONE_AFTER_MS = 2 * 60_000;
/** RevenueCat could not be asked all that time: nobody waits for it any longer, ms. */
export const GIVEN_UP_AFTER_MS = 24 * 3_600_000;

/** Who acted last on a grant, and whose words stand in the conversation. */
const actorOf = (grant: Grant): Grant['admin'] => grant.decidedBy ?? grant.admin;

const actionOf = (grant: Grant): 'grant' | 'grant_approve' => (grant.decidedBy ? 'grant_approve' : 'grant');

/**
 * Asks RevenueCat for a stored grant, unless it was asked before, and reads back what came of it. Whatever
 * happens in between, RevenueCat is asked once: the right to ask is taken in the database first.
 *
 * @returns the grant as it stands then; still `requested` where RevenueCat has not confirmed it
 */
export async function askForGrant(context: GrantContext, project: Project, grant: Grant): Promise<Grant> {
  const client = context.revenueCat(project);
  const taken = await claimForRequest(context.database, grant);
  if (!taken) return (await readGrant(context.database, grant.workspaceId, grant.grantId)) ?? grant;
  if (!client) return notMade(context, taken, 'revenuecat_unauthorized');
  try {
    await client.grantEntitlement(project.revenueCatProjectId, taken.appUserId, {
      entitlementId: taken.entitlementId,
      expiresAtMs: taken.askedEndMs,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind === 'retry') return notConfirmed(context, taken, error);
    return notMade(context, taken, error.code);
  }
  await recordResponse(context.database, taken);
  try {
    const settled = await settleByReading(context, project, client, { ...taken, answered: true });
    return settled ?? (await notConfirmed(context, taken, null));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return notConfirmed(context, taken, error);
  }
}

async function notConfirmed(context: GrantContext, grant: Grant, error: AppError | null): Promise<Grant> {
  const { workspaceId, grantId } = grant;
  context.logger.warn({ workspaceId, grantId, code: error?.code }, 'grant not confirmed yet');
  await sendSettling(context.jobs, grant, 2);
  return grant;
}

/**
 * Queues the reading back. Sent before anything is asked, with a delay, it outlives a killed process; the key
 * lets a sooner one stand beside it.
 */
export async function sendSettling(
  jobs: Jobs,
  grant: Pick<Grant, 'workspaceId' | 'grantId'>,
  afterSeconds: number,
): Promise<void> {
  const { workspaceId, grantId } = grant;
  const key = `${workspaceId}|${grantId}|${afterSeconds}`;
  await jobs.send('grant.settle', { workspaceId, grantId }, { afterSeconds, key });
}

/**
 * Reads what RevenueCat has and moves the grant accordingly.
 *
 * @returns `null`: it is not there, and may still come
 */
export async function settleByReading(
  context: GrantContext,
  project: Project,
  client: RevenueCatClient,
  grant: Grant,
): Promise<Grant | null> {
  const access = await readAccess(client, project.revenueCatProjectId, [grant.appUserId]);
  const { id, lookupKey } = { id: grant.entitlementId, lookupKey: grant.lookupKey };
  const afterEndMs = access?.endsOf({ id, lookupKey }).grantEndMs ?? null;
  const found = judge(grant.askedEndMs, grant.beforeEndMs, afterEndMs);
  if (found !== 'not_there' && afterEndMs !== null) {
    return made(context, grant, afterEndMs, found === 'kept');
  }
  if (context.now() - (grant.askedAtMs ?? grant.createdAtMs) < NOT_DONE_AFTER_MS) return null;
  // It was taken, and what was there before has stayed: RevenueCat has ignored it.
  if (grant.answered && afterEndMs !== null) return made(context, grant, afterEndMs, true);
  return notMade(context, grant, grant.answered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
}

async function made(
  context: GrantContext,
  grant: Grant,
  realEndMs: number,
  kept: boolean,
): Promise<Grant | null> {
  const moved = await step(context, grant, 'granted', async (sql) => {
    const confirmed = await moveGrant(sql, grant, { from: ['requested'], to: 'confirmed', realEndMs, kept });
    if (confirmed) {
      await auditGrant(sql, confirmed, actionOf(confirmed), 'confirmed', { actor: actorOf(confirmed) });
    }
    return confirmed;
  });
  if (moved) {
    const { workspaceId, subscriberId } = grant;
    await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  }
  return moved ?? readGrant(context.database, grant.workspaceId, grant.grantId);
}

/** @param code why, as the audit log and the card have it */
async function notMade(context: GrantContext, grant: Grant, code: string): Promise<Grant> {
  const { workspaceId, projectId, grantId } = grant;
  if (code === 'revenuecat_unauthorized') {
    const isNew = await setApiKeyState(context.database, workspaceId, projectId, 'rejected');
    if (isNew) await context.jobs.send('workspace.health', { workspaceId });
  }
  context.logger.warn({ workspaceId, grantId, code }, 'grant not made');
  // Told at once it stands on the card; told later somebody must find it in the conversation.
  const isLate = grant.askedAtMs !== null && context.now() - grant.askedAtMs >= NOT_DONE_AFTER_MS;
  const moved = await step(context, grant, isLate ? 'not_made' : null, async (sql) => {
    const failed = await moveGrant(sql, grant, { from: ['requested'], to: 'failed', error: code });
    if (failed) await auditGrant(sql, failed, actionOf(failed), code, { actor: actorOf(failed) });
    return failed;
  });
  return moved ?? (await readGrant(context.database, workspaceId, grantId)) ?? grant;
}

/** Moves a grant with its record and its note as one, then sends the note. */
async function step(
  context: GrantContext,
  grant: Grant,
  note: NoteStep | null,
  work: (sql: Sql) => Promise<Grant | null>,
): Promise<Grant | null> {
  const moved = await context.database.transaction(async (sql) => {
    const result = await work(sql);
    if (result && note !== null) {
      await queueNote(sql, result, {
        step: note,
        conversationId: result.conversationId,
        adminId: actorOf(result).id,
      });
    }
    return result;
  });
  if (moved && note !== null) await sendNotes(context.jobs, grant);
  return moved;
}

export async function sendNotes(jobs: Jobs, grant: Pick<Grant, 'workspaceId' | 'grantId'>): Promise<void> {
  await jobs.send('grant.note', { workspaceId: grant.workspaceId, grantId: grant.grantId });
}

/**
 * How a grant that was asked for goes on in the background.
 *
 * @returns seconds after which to look again; `null`: it is settled
 */
export async function settleAsked(
  context: GrantContext,
  project: Project,
  client: RevenueCatClient,
  grant: Grant,
): Promise<number | null> {
  // Certainly not asked: the process was killed between storing and asking.
  if (grant.askedAtMs === null) {
    const asked = await askForGrant(context, project, grant);
    return asked.state === 'requested' ? lookAgainAfter(context, asked) : null;
  }
  try {
    return (await settleByReading(context, project, client, grant)) === null
      ? lookAgainAfter(context, grant)
      : null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (context.now() - grant.askedAtMs > GIVEN_UP_AFTER_MS) {
      await notMade(context, grant, 'never_confirmed');
      return null;
    }
    context.logger.warn(
      { code: error.code, workspaceId: grant.workspaceId, grantId: grant.grantId },
      'grant not read back yet',
    );
    return lookAgainAfter(context, grant);
  }
}

/** The longer it takes, the more rarely: from 3 s to 10 minutes. */
export function lookAgainAfter(context: Pick<GrantContext, 'now'>, grant: Grant): number {
  const sinceMs = context.now() - (grant.revokeAskedAtMs ?? grant.askedAtMs ?? grant.createdAtMs);
  return Math.min(600, Math.max(3, Math.round(sinceMs / 4_000)));
}

/** Takes up what killed processes have left: queues the jobs again that grants and notes were waiting for. */
export async function resumeGrants(context: Pick<GrantContext, 'database' | 'jobs'>): Promise<void> {
  for (const { workspaceId, grantId, isNote } of await listUnfinished(context.database)) {
    if (isNote) await sendNotes(context.jobs, { workspaceId, grantId });
    else await sendSettling(context.jobs, { workspaceId, grantId }, 0);
  }
}
