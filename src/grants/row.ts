import type { Grant, GrantState, Teammate } from './types.ts';

/** A row of `grants`, as the database gives it. */
export interface GrantRow {
  workspace_id: string;
  grant_id: string;
  project_id: string;
  subscriber_id: string;
  app_user_id: string;
  entitlement_id: string;
  lookup_key: string;
  entitlement_name: string | null;
  duration: string;
  asked_end: Date;
  before_end: Date | null;
  real_end: Date | null;
  kept: boolean;
  reason: string;
  admin: Teammate;
  decided_by: Teammate | null;
  conversation_id: string | null;
  contact_id: string | null;
  state: GrantState;
  error: string | null;
  created_at: Date;
  asked_at: Date | null;
  answered: boolean;
  revoked_by: Teammate | null;
  revoke_reason: string | null;
  revoke_asked_at: Date | null;
  revoked_at: Date | null;
}

export function toGrant(row: GrantRow): Grant {
  return {
    workspaceId: row.workspace_id,
    grantId: row.grant_id,
    projectId: row.project_id,
    subscriberId: row.subscriber_id,
    appUserId: row.app_user_id,
    entitlementId: row.entitlement_id,
    lookupKey: row.lookup_key,
    entitlementName: row.entitlement_name ?? row.lookup_key,
    duration: row.duration,
    askedEndMs: row.asked_end.getTime(),
    beforeEndMs: row.before_end?.getTime() ?? null,
    realEndMs: row.real_end?.getTime() ?? null,
    kept: row.kept,
    reason: row.reason,
    admin: row.admin,
    decidedBy: row.decided_by,
    conversationId: row.conversation_id,
    contactId: row.contact_id,
    state: row.state,
    error: row.error,
    createdAtMs: row.created_at.getTime(),
    askedAtMs: row.asked_at?.getTime() ?? null,
    answered: row.answered,
    revokedBy: row.revoked_by,
    revokeReason: row.revoke_reason ?? '',
    revokeAskedAtMs: row.revoke_asked_at?.getTime() ?? null,
    revokedAtMs: row.revoked_at?.getTime() ?? null,
  };
}
