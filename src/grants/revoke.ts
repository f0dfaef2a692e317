import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { type Project, readProject, setApiKeyState } from '../workspaces/projects.ts';
import { readAccess } from './access.ts';
import type { Decider } from './approve.ts';
import { auditGrant } from './audit.ts';
import type { GrantContext } from './context.ts';
import { SETTLE_ANYWAY_AFTER_S } from './make.ts';
import { queueNote } from './notes-store.ts';
import {
  GIVEN_UP_AFTER_MS,
  lookAgainAfter,
  NOT_DONE_AFTER_MS,
  sendNotes,
  sendSettling,
  settleAsked,
} from './reconcile.ts';
import { holdUnsettled, readGrant } from './store.ts';
import { moveGrant, revokeSiblings } from './transitions.ts';
import type { Grant } from './types.ts';

export type Revoked =
  /** `revoked`; or still `revoking`, where RevenueCat has not confirmed it. */
  | { readonly kind: 'asked'; readonly grant: Grant }
  /** Somebody else's press came first; this is how it stands. */
  | { readonly kind: 'known'; readonly grant: Grant }
  | { readonly kind: 'failed'; readonly grant: Grant; readonly code: string }
  | { readonly kind: 'unsettled' };

/**
 * Takes back what was granted of an entitlement. Store subscriptions are not touched. A second press, at once or
 * later, finds the removal begun. A removal repeated changes nothing, so the background may ask again.
 */
export async function revokeGrant(
  context: GrantContext,
  project: Project,
  grant: Grant,
  by: Decider & { readonly reason: string },
): Promise<Revoked> {
  await sendSettling(context.jobs, grant, SETTLE_ANYWAY_AFTER_S);
  const moved = await context.database.transaction(async (sql) =>
    (await holdUnsettled(sql, grant, grant.grantId))
      ? ('unsettled' as const)
      : moveGrant(sql, grant, {
          from: ['confirmed'],
          to: 'revoking',
          revokedBy: by.admin,
          revokeReason: by.reason,
        }),
  );
  if (moved === 'unsettled') return { kind: 'unsettled' };
  if (!moved) {
    const now = await readGrant(context.database, grant.workspaceId, grant.grantId);
    return { kind: 'known', grant: now ?? grant };
  }
  const client = context.revenueCat(project);
  if (!client) return notRevoked(context, moved, by, 'revenuecat_unauthorized');
  try {
    return { kind: 'asked', grant: (await revokeAndRead(context, project, client, moved, by)) ?? moved };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind !== 'retry') return notRevoked(context, moved, by, error.code);
    await sendSettling(context.jobs, grant, 2);
    return { kind: 'asked', grant: moved };
  }
}

/** `null`: RevenueCat still gives it. */
async function revokeAndRead(
  context: GrantContext,
  project: Project,
  client: RevenueCatClient,
  grant: Grant,
  by: { readonly conversationId: string | null },
): Promise<Grant | null> {
  try {
    await client.revokeEntitlement(project.revenueCatProjectId, grant.appUserId, grant.entitlementId);
  } catch (error) {
    // 404 has three meanings (nothing granted, customer gone, wrong path): reading back tells.
    if (!(error instanceof AppError) || error.code !== 'revenuecat_not_found') throw error;
  }
  const access = await readAccess(client, project.revenueCatProjectId, [grant.appUserId]);
  const { entitlementId: id, lookupKey } = grant;
  if ((access?.endsOf({ id, lookupKey }).grantEndMs ?? null) !== null) {
    await sendSettling(context.jobs, grant, 2);
    return null;
  }
  const revoked = await context.database.transaction(async (sql) => {
    const moved = await moveGrant(sql, grant, { from: ['revoking'], to: 'revoked' });
    if (!moved) return null;
    const also = await revokeSiblings(sql, moved);
    const { conversationId } = by;
    await auditGrant(sql, moved, 'revoke', 'revoked', {
      actor: moved.revokedBy ?? moved.admin,
      conversationId,
      ...(also.length > 0 ? { more: { also_ended: also } } : {}),
    });
    await queueNote(sql, moved, {
      step: 'revoked',
      conversationId: conversationId ?? moved.conversationId,
      adminId: (moved.revokedBy ?? moved.admin).id,
    });
    return moved;
  });
  if (!revoked) return readGrant(context.database, grant.workspaceId, grant.grantId);
  await sendNotes(context.jobs, revoked);
  const { workspaceId, subscriberId } = revoked;
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  return revoked;
}

/** Refused: the grant runs on. */
async function notRevoked(
  context: GrantContext,
  grant: Grant,
  by: { readonly conversationId: string | null },
  code: string,
): Promise<Revoked> {
  const { workspaceId, projectId, grantId } = grant;
  if (code === 'revenuecat_unauthorized') {
    const isNew = await setApiKeyState(context.database, workspaceId, projectId, 'rejected');
    if (isNew) await context.jobs.send('workspace.health', { workspaceId });
  }
  context.logger.warn({ workspaceId, grantId, code }, 'grant not revoked');
  const back = await context.database.transaction(async (sql) => {
    const moved = await moveGrant(sql, grant, { from: ['revoking'], to: 'confirmed' });
    if (moved) {
      const { conversationId } = by;
      await auditGrant(sql, moved, 'revoke', code, {
        actor: moved.revokedBy ?? moved.admin,
        conversationId,
      });
    }
    return moved;
  });
  return { kind: 'failed', grant: back ?? grant, code };
}

/** How a removal that was asked for goes on in the background; seconds after which to look again, or `null`. */
async function settleRevoking(
  context: GrantContext,
  project: Project,
  client: RevenueCatClient,
  grant: Grant,
): Promise<number | null> {
  const by = { conversationId: grant.conversationId };
  const sinceMs = context.now() - (grant.revokeAskedAtMs ?? context.now());
  try {
    const settled = await revokeAndRead(context, project, client, grant, by);
    if (settled) return null;
    if (sinceMs > NOT_DONE_AFTER_MS) await notRevoked(context, grant, by, 'revenuecat_ignored');
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const isRefused = !['retry', 'wait_until'].includes(error.remedy.kind);
    if (isRefused || sinceMs > GIVEN_UP_AFTER_MS) await notRevoked(context, grant, by, error.code);
    else return lookAgainAfter(context, grant);
  }
  const now = await readGrant(context.database, grant.workspaceId, grant.grantId);
  return now?.state === 'revoking' ? lookAgainAfter(context, now) : null;
}

/** What somebody in the background can wait for, ms. */
const BACKGROUND_TIMEOUT_MS = 20_000;

/**
 * The job `grant.settle`: brings a grant or a removal to its end by reading RevenueCat, however long that is away.
 */
export async function settleGrant(
  context: GrantContext,
  workspaceId: string,
  grantId: string,
): Promise<void> {
  const grant = await readGrant(context.database, workspaceId, grantId);
  if (!grant) return;
  if (grant.state !== 'requested' && grant.state !== 'revoking') {
    // A process that was killed after the change may not have sent its notes.
    await sendNotes(context.jobs, grant);
    return;
  }
  const patient: GrantContext = {
    ...context,
    revenueCat: (project) => context.revenueCat(project, BACKGROUND_TIMEOUT_MS),
  };
  const project = await readProject(context.database, workspaceId, grant.projectId);
  if (!project) return;
  const client = patient.revenueCat(project);
  // Without a key nothing can be read: it waits for a new one, as for an answer.
  const settle = grant.state === 'requested' ? settleAsked : settleRevoking;
  const again = client ? await settle(patient, project, client, grant) : lookAgainAfter(context, grant);
  if (again !== null) await sendSettling(context.jobs, grant, again);
}
