import type { Project } from '../workspaces/projects.ts';
import { auditGrant } from './audit.ts';
import type { GrantContext } from './context.ts';
import { SETTLE_ANYWAY_AFTER_S } from './make.ts';
import { queueNote } from './notes-store.ts';
import { askForGrant, sendNotes, sendSettling } from './reconcile.ts';
import { holdUnsettled, readGrant } from './store.ts';
import { moveGrant } from './transitions.ts';
import type { Grant, Teammate } from './types.ts';

/** Who decides, and beside which conversation. */
export interface Decider {
  readonly admin: Teammate;
  readonly conversationId: string | null;
}

export type Decided =
  | { readonly kind: 'done'; readonly grant: Grant }
  /** Somebody else has decided before; this is how it stands. */
  | { readonly kind: 'too_late'; readonly grant: Grant }
  | { readonly kind: 'same_person' }
  | { readonly kind: 'unsettled' };

/**
 * Makes a grant that waits for approval. Of several who approve at once one makes it.
 *
 * @param ends the end that the second teammate has seen and approved, and what was granted before
 */
export async function approveGrant(
  context: GrantContext,
  project: Project,
  grant: Grant,
  by: Decider,
  ends: { askedEndMs: number; beforeEndMs: number | null },
): Promise<Decided> {
  if (by.admin.id === grant.admin.id) return { kind: 'same_person' };
  await sendSettling(context.jobs, grant, SETTLE_ANYWAY_AFTER_S);
  const moved = await context.database.transaction(async (sql) => {
    if (await holdUnsettled(sql, grant, grant.grantId)) return 'unsettled';
    const requested = await moveGrant(sql, grant, {
      from: ['awaiting_approval'],
      to: 'requested',
      decidedBy: by.admin,
      ...ends,
    });
    if (requested) {
      const { conversationId } = by;
      await auditGrant(sql, requested, 'grant_approve', 'approved', { actor: by.admin, conversationId });
    }
    return requested;
  });
  if (moved === 'unsettled') return { kind: 'unsettled' };
  if (!moved) return tooLate(context, grant);
  return { kind: 'done', grant: await askForGrant(context, project, moved) };
}

/** Declines what another teammate asked for, or takes back what was asked for oneself. */
export async function declineGrant(context: GrantContext, grant: Grant, by: Decider): Promise<Decided> {
  const isOwn = by.admin.id === grant.admin.id;
  const moved = await context.database.transaction(async (sql) => {
    const declined = await moveGrant(sql, grant, {
      from: ['awaiting_approval'],
      to: isOwn ? 'withdrawn' : 'declined',
      ...(isOwn ? {} : { decidedBy: by.admin }),
    });
    if (!declined) return null;
    const { admin: actor, conversationId } = by;
    const action = isOwn ? 'grant_withdraw' : 'grant_decline';
    await auditGrant(sql, declined, action, declined.state, { actor, conversationId });
    if (!isOwn) {
      await queueNote(sql, declined, {
        step: 'declined',
        conversationId: declined.conversationId,
        adminId: actor.id,
      });
    }
    return declined;
  });
  if (!moved) return tooLate(context, grant);
  if (!isOwn) await sendNotes(context.jobs, moved);
  return { kind: 'done', grant: moved };
}

async function tooLate(context: GrantContext, grant: Grant): Promise<Decided> {
  const now = await readGrant(context.database, grant.workspaceId, grant.grantId);
  return { kind: 'too_late', grant: now ?? grant };
}
