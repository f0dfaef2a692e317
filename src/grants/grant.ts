import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { type Project, readProject, setApiKeyState } from '../workspaces/store.ts';
import {
  type Grant,
  moveGrant,
  type NewGrant,
  readGrant,
  requestGrant,
  setNoteState,
  writeAudit,
} from './store.ts';

export interface GrantContext {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly logger: Logger;
  /** `null`: the project has no key. */
  revenueCat(project: Project): RevenueCatClient | null;
  now(): number;
}

/** RevenueCat treats ends that are closer than this as the same grant and keeps the old one (v1 documentation). */
export const SAME_GRANT_MS = 2 * 3_600_000;

/** A request that RevenueCat may still be working on is believed dead after this. */
const SETTLE_FOR_MS = 15 * 60_000;

/**
 * Makes a grant once. It is stored under its key first: a second confirm, at the same time or later, gets the
 * first one's grant back. When RevenueCat does not answer, the grant stays `requested` and settles in the
 * background by reading back; it is never asked for a second time.
 */
export async function makeGrant(
  context: GrantContext,
  project: Project,
  wanted: Omit<NewGrant, 'grantId'>,
): Promise<Grant> {
  const { grant, isNew } = await requestGrant(context.database, { ...wanted, grantId: randomUUID() });
  if (!isNew) return grant;
  const client = context.revenueCat(project);
  if (!client)
    return fail(context, grant, new AppError('revenuecat_unauthorized', 'The project has no API key'));
  try {
    await client.grantEntitlement(project.revenueCatProjectId, grant.appUserId, {
      entitlementId: grant.entitlementId,
      expiresAtMs: grant.askedEndMs,
    });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind === 'retry') return settleLater(context, grant, error);
    return fail(context, grant, error);
  }
  try {
    return (await settle(context, project, client, grant)) ?? (await settleLater(context, grant, null));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return settleLater(context, grant, error);
  }
}

async function settleLater(context: GrantContext, grant: Grant, error: AppError | null): Promise<Grant> {
  const { workspaceId, grantId } = grant;
  context.logger.warn({ workspaceId, grantId, code: error?.code }, 'grant not confirmed yet');
  await context.jobs.send('grant.settle', { workspaceId, grantId }, { afterSeconds: 2 });
  return grant;
}

async function fail(context: GrantContext, grant: Grant, error: AppError): Promise<Grant> {
  if (error.code === 'revenuecat_unauthorized') {
    await setApiKeyState(context.database, grant.workspaceId, grant.projectId, 'rejected');
  }
  const move = { from: ['requested'] as const, to: 'failed' as const, error: error.code };
  const failed = await moveGrant(context.database, grant.workspaceId, grant.grantId, move);
  await audit(context, grant, 'grant', error.code);
  return failed ?? grant;
}

/** Reads back what RevenueCat has. `null`: the grant is not there (yet). */
async function settle(
  context: GrantContext,
  project: Project,
  client: RevenueCatClient,
  grant: Grant,
): Promise<Grant | null> {
  const active = await client.activeEntitlements(project.revenueCatProjectId, grant.appUserId);
  const given = active.find((entitlement) => entitlement.entitlementId === grant.entitlementId);
  if (!given) return null;
  // An end that lies earlier than asked is what RevenueCat kept in place of ours: it is told, not hidden.
  const realEndMs = given.endsAtMs ?? grant.askedEndMs;
  const move = { from: ['requested'] as const, to: 'confirmed' as const, realEndMs };
  const { workspaceId, grantId } = grant;
  const confirmed = await moveGrant(context.database, workspaceId, grantId, move);
  if (!confirmed) return readGrant(context.database, workspaceId, grantId);
  await audit(context, confirmed, 'grant', 'confirmed');
  await leaveNoteLater(context, confirmed);
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId: grant.subscriberId });
  return confirmed;
}

/**
 * The background half of {@link makeGrant}.
 *
 * @throws Error while the grant is not there and may still come, so that the job is tried again
 */
export async function settleGrant(
  context: GrantContext,
  workspaceId: string,
  grantId: string,
): Promise<void> {
  const grant = await readGrant(context.database, workspaceId, grantId);
  if (grant?.state !== 'requested') return;
  const project = await readProject(context.database, workspaceId, grant.projectId);
  const client = project && context.revenueCat(project);
  if (!project || !client) {
    await fail(context, grant, new AppError('revenuecat_unauthorized', 'The project has no API key'));
    return;
  }
  if (await settle(context, project, client, grant)) return;
  if (context.now() - grant.createdAtMs > SETTLE_FOR_MS) {
    await fail(context, grant, new AppError('revenuecat_unavailable', 'RevenueCat never made the grant'));
    return;
  }
  throw new Error('The grant is not there yet');
}

/**
 * Takes back what was granted of an entitlement. Store subscriptions are not touched.
 *
 * @returns the grant in its new state; a code when RevenueCat refused or did not answer
 */
export async function revokeGrant(
  context: GrantContext,
  project: Project,
  grant: Grant,
  by: { admin: Grant['admin']; conversationId: string | null },
): Promise<{ grant: Grant; failure: string | null }> {
  if (grant.state === 'revoked') return { grant, failure: null };
  const client = context.revenueCat(project);
  if (!client) return { grant, failure: 'revenuecat_unauthorized' };
  try {
    await client.revokeEntitlement(project.revenueCatProjectId, grant.appUserId, grant.entitlementId);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // 404 has three meanings (nothing granted, customer gone, wrong path): reading back tells.
    const gone = error.code === 'revenuecat_not_found' && (await isGone(client, project, grant));
    if (!gone) {
      await audit(context, { ...grant, ...by }, 'revoke', error.code);
      return { grant, failure: error.code };
    }
  }
  const { workspaceId, grantId, subscriberId } = grant;
  const revoked = await moveGrant(context.database, workspaceId, grantId, {
    from: ['confirmed'],
    to: 'revoked',
  });
  if (revoked) {
    await audit(context, { ...revoked, ...by }, 'revoke', 'revoked');
    await leaveNoteLater(context, revoked);
  }
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  return { grant: revoked ?? grant, failure: null };
}

async function isGone(client: RevenueCatClient, project: Project, grant: Grant): Promise<boolean> {
  try {
    const active = await client.activeEntitlements(project.revenueCatProjectId, grant.appUserId);
    return !active.some((entitlement) => entitlement.entitlementId === grant.entitlementId);
  } catch {
    return false;
  }
}

async function leaveNoteLater(context: GrantContext, grant: Grant): Promise<void> {
  if (grant.conversationId === null) return;
  const { workspaceId, grantId } = grant;
  await setNoteState(context.database, workspaceId, grantId, 'queued');
  await context.jobs.send('grant.note', { workspaceId, grantId }, { key: `${grantId}|${grant.state}` });
}

async function audit(context: GrantContext, grant: Grant, action: string, result: string): Promise<void> {
  await writeAudit(context.database, {
    workspaceId: grant.workspaceId,
    actor: grant.admin,
    action,
    conversationId: grant.conversationId,
    contactId: grant.contactId,
    subscriberId: grant.subscriberId,
    details: {
      grant_id: grant.grantId,
      app_user_id: grant.appUserId,
      entitlement: grant.lookupKey,
      duration: grant.duration,
      asked_end: new Date(grant.askedEndMs).toISOString(),
      real_end: grant.realEndMs === null ? null : new Date(grant.realEndMs).toISOString(),
      reason: grant.reason,
    },
    result,
  });
}
