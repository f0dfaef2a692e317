import type { Sql } from '../database/sql.ts';

export interface Teammate {
  readonly id: string;
  readonly name: string;
  readonly email: string | null;
}

export type GrantState = 'requested' | 'confirmed' | 'failed' | 'revoking' | 'revoked';

export interface Grant {
  readonly workspaceId: string;
  readonly grantId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  /** RevenueCat's id: `entl…`. */
  readonly entitlementId: string;
  readonly lookupKey: string;
  readonly duration: string;
  readonly askedEndMs: number;
  /** Read back from RevenueCat. */
  readonly realEndMs: number | null;
  readonly reason: string;
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly contactId: string | null;
  readonly state: GrantState;
  readonly error: string | null;
  readonly createdAtMs: number;
  readonly revokedAtMs: number | null;
}

interface GrantRow {
  workspace_id: string;
  grant_id: string;
  project_id: string;
  subscriber_id: string;
  app_user_id: string;
  entitlement_id: string;
  lookup_key: string;
  duration: string;
  asked_end: Date;
  real_end: Date | null;
  reason: string;
  admin: Teammate;
  conversation_id: string | null;
  contact_id: string | null;
  state: GrantState;
  error: string | null;
  created_at: Date;
  revoked_at: Date | null;
}

function toGrant(row: GrantRow): Grant {
  return {
    workspaceId: row.workspace_id,
    grantId: row.grant_id,
    projectId: row.project_id,
    subscriberId: row.subscriber_id,
    appUserId: row.app_user_id,
    entitlementId: row.entitlement_id,
    lookupKey: row.lookup_key,
    duration: row.duration,
    askedEndMs: row.asked_end.getTime(),
    realEndMs: row.real_end?.getTime() ?? null,
    reason: row.reason,
    admin: row.admin,
    conversationId: row.conversation_id,
    contactId: row.contact_id,
    state: row.state,
    error: row.error,
    createdAtMs: row.created_at.getTime(),
    revokedAtMs: row.revoked_at?.getTime() ?? null,
  };
}

export interface NewGrant {
  readonly workspaceId: string;
  readonly grantId: string;
  readonly projectId: string;
  readonly subscriberId: string;
  readonly appUserId: string;
  readonly entitlementId: string;
  readonly lookupKey: string;
  readonly duration: string;
  readonly askedEndMs: number;
  readonly reason: string;
  readonly idempotencyKey: string;
  readonly admin: Teammate;
  readonly conversationId: string | null;
  readonly contactId: string | null;
}

/**
 * Stores a grant before it is asked for, so that a second confirm finds it.
 *
 * @returns the grant, and whether this call made it
 */
export async function requestGrant(sql: Sql, grant: NewGrant): Promise<{ grant: Grant; isNew: boolean }> {
  const inserted = await sql.query<GrantRow>(
    `insert into grants (workspace_id, grant_id, project_id, subscriber_id, app_user_id, entitlement_id, lookup_key,
                         duration, asked_end, reason, idempotency_key, admin, conversation_id, contact_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9 / 1000.0), $10, $11, $12, $13, $14)
     on conflict (workspace_id, idempotency_key) do nothing
     returning *`,
    [
      grant.workspaceId,
      grant.grantId,
      grant.projectId,
      grant.subscriberId,
      grant.appUserId,
      grant.entitlementId,
      grant.lookupKey,
      grant.duration,
      grant.askedEndMs,
      grant.reason,
      grant.idempotencyKey,
      JSON.stringify(grant.admin),
      grant.conversationId,
      grant.contactId,
    ],
  );
  if (inserted[0]) return { grant: toGrant(inserted[0]), isNew: true };
  const [existing] = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and idempotency_key = $2`,
    [grant.workspaceId, grant.idempotencyKey],
  );
  if (!existing) throw new Error('A grant vanished between two statements');
  return { grant: toGrant(existing), isNew: false };
}

export async function readGrant(sql: Sql, workspaceId: string, grantId: string): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and grant_id::text = $2`,
    [workspaceId, grantId],
  );
  return row ? toGrant(row) : null;
}

/** Newest first. */
export async function listGrants(sql: Sql, workspaceId: string, subscriberId: string): Promise<Grant[]> {
  const rows = await sql.query<GrantRow>(
    `select * from grants where workspace_id = $1 and subscriber_id = $2 order by created_at desc limit 50`,
    [workspaceId, subscriberId],
    'list-grants',
  );
  return rows.map(toGrant);
}

/** Moves a grant on, if it still is where the caller believes it; `null`: somebody else was first. */
export async function moveGrant(
  sql: Sql,
  workspaceId: string,
  grantId: string,
  move: { from: readonly GrantState[]; to: GrantState; realEndMs?: number | null; error?: string | null },
): Promise<Grant | null> {
  const [row] = await sql.query<GrantRow>(
    `update grants
        set state = $4, settled_at = now(), error = $6,
            real_end = coalesce(to_timestamp($5 / 1000.0), real_end),
            revoked_at = case when $4 = 'revoked' then now() else revoked_at end
      where workspace_id = $1 and grant_id = $2 and state = any($3)
     returning *`,
    [workspaceId, grantId, move.from, move.to, move.realEndMs ?? null, move.error ?? null],
  );
  return row ? toGrant(row) : null;
}

/** Grants of a teammate since the first of the month (UTC) that were made or may yet be. */
export async function countThisMonth(sql: Sql, workspaceId: string, adminId: string): Promise<number> {
  const [row] = await sql.query<{ count: string }>(
    `select count(*) from grants
      where workspace_id = $1 and admin->>'id' = $2 and state <> 'failed'
        and created_at >= date_trunc('month', now() at time zone 'UTC') at time zone 'UTC'`,
    [workspaceId, adminId],
  );
  return Number(row?.count ?? 0);
}

export async function setNoteState(
  sql: Sql,
  workspaceId: string,
  grantId: string,
  state: 'queued' | 'left' | 'failed',
): Promise<void> {
  await sql.query(`update grants set note_state = $3 where workspace_id = $1 and grant_id = $2`, [
    workspaceId,
    grantId,
    state,
  ]);
}

export interface Entitlement {
  readonly id: string;
  readonly lookupKey: string;
  readonly displayName: string | null;
}

export async function listEntitlements(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<Entitlement[]> {
  const rows = await sql.query<{ id: string; lookup_key: string; display_name: string | null }>(
    `select id, lookup_key, display_name from catalog
      where workspace_id = $1 and project_id = $2 and kind = 'entitlement' order by lookup_key`,
    [workspaceId, projectId],
  );
  return rows.map((row) => ({ id: row.id, lookupKey: row.lookup_key, displayName: row.display_name }));
}

export interface AuditRecord {
  readonly workspaceId: string;
  readonly actor: Teammate;
  readonly action: string;
  readonly conversationId: string | null;
  readonly contactId: string | null;
  readonly subscriberId: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly result: string;
}

export async function writeAudit(sql: Sql, record: AuditRecord): Promise<void> {
  await sql.query(
    `insert into audit_log (workspace_id, actor, action, conversation_id, contact_id, subscriber_id, details, result)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      record.workspaceId,
      JSON.stringify(record.actor),
      record.action,
      record.conversationId,
      record.contactId,
      record.subscriberId,
      JSON.stringify(record.details),
      record.result,
    ],
  );
}
