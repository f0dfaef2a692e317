import { randomUUID } from 'node:crypto';
import type { Project } from '../workspaces/projects.ts';
import { auditGrant } from './audit.ts';
import type { GrantContext } from './context.ts';
import { queueNote } from './notes-store.ts';
import { askForGrant, sendNotes, sendSettling } from './reconcile.ts';
import { type NewGrant, type Stored, storeGrant } from './store.ts';

/** Only a killed process leaves a grant unsettled for so long, s. */
export const SETTLE_ANYWAY_AFTER_S = 20;

/**
 * Makes a grant once. It is stored under its key first: a second confirm, at the same time or later, gets the
 * first one's grant back. When RevenueCat does not answer, the grant stays `requested` and settles in the
 * background by reading; RevenueCat is never asked a second time.
 *
 * @param rules.needsApproval the grant is only stored, for a second teammate to decide
 */
export async function makeGrant(
  context: GrantContext,
  project: Project,
  wanted: NewGrant,
  rules: { monthlyLimit: number | null; needsApproval: boolean },
): Promise<Stored> {
  const grantId = randomUUID();
  const { workspaceId } = wanted;
  const state = rules.needsApproval ? 'awaiting_approval' : 'requested';
  // Before the grant itself: whenever this process ends, somebody reads back what it has begun.
  if (!rules.needsApproval) await sendSettling(context.jobs, { workspaceId, grantId }, SETTLE_ANYWAY_AFTER_S);
  const stored = await storeGrant(
    context.database,
    { ...wanted, grantId, state },
    rules.monthlyLimit,
    async (sql, grant) => {
      if (!rules.needsApproval) return;
      await auditGrant(sql, grant, 'grant', 'awaiting_approval');
      await queueNote(sql, grant, {
        step: 'asked',
        conversationId: grant.conversationId,
        adminId: grant.admin.id,
      });
    },
  );
  if (stored.kind !== 'new') return stored;
  if (rules.needsApproval) {
    await sendNotes(context.jobs, stored.grant);
    return stored;
  }
  return { kind: 'new', grant: await askForGrant(context, project, stored.grant) };
}
