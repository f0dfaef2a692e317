import type { Sql } from '../database/sql.ts';
import { writeAudit } from '../workspaces/audit.ts';
import type { Grant, Teammate } from './types.ts';

/** What may happen to a grant, as the audit log names it. */
export type GrantAction = 'grant' | 'grant_approve' | 'grant_decline' | 'grant_withdraw' | 'revoke';

/**
 * Records one step of a grant.
 *
 * @param by who did it, and where; the grant's own maker and conversation where left out
 * @param result `confirmed`, `revoked`, `awaiting_approval`, `refused: <why>` or a failure's code
 */
export async function auditGrant(
  sql: Sql,
  grant: Grant,
  action: GrantAction,
  result: string,
  by: { actor?: Teammate; conversationId?: string | null; more?: Readonly<Record<string, unknown>> } = {},
): Promise<void> {
  const time = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());
  await writeAudit(sql, {
    workspaceId: grant.workspaceId,
    actor: by.actor ?? grant.admin,
    action,
    conversationId: by.conversationId === undefined ? grant.conversationId : by.conversationId,
    contactId: grant.contactId,
    subscriberId: grant.subscriberId,
    details: {
      grant_id: grant.grantId,
      app_user_id: grant.appUserId,
      entitlement: grant.lookupKey,
      duration: grant.duration,
      asked_end: time(grant.askedEndMs),
      real_end: time(grant.realEndMs),
      reason: action === 'revoke' ? grant.revokeReason : grant.reason,
      ...(grant.kept ? { kept_end_of_before: true } : {}),
      ...(grant.decidedBy === null
        ? {}
        : {
            asked_by: grant.admin.name || grant.admin.id,
            decided_by: grant.decidedBy.name || grant.decidedBy.id,
          }),
      ...by.more,
    },
    result,
  });
}
