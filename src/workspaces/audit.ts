import type { Sql } from '../database/sql.ts';
import type { Admin } from './store.ts';

/** Intercom does not always send a teammate's e-mail. */
export interface Actor {
  readonly id: string;
  readonly name: string;
  readonly email: string | null;
}

export interface AuditRecord {
  readonly workspaceId: string;
  readonly actor: Actor;
  readonly action: string;
  readonly conversationId: string | null;
  readonly contactId: string | null;
  readonly subscriberId: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly result: string;
}

/** Stores who did what, to which customer, why, and the result. */
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

/** Records what an admin did outside a conversation. */
export async function auditAdmin(
  sql: Sql,
  { workspaceId, admin }: { workspaceId: string; admin: Admin },
  action: string,
  details: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await writeAudit(sql, {
    workspaceId,
    actor: admin,
    action,
    conversationId: null,
    contactId: null,
    subscriberId: null,
    details,
    result: 'ok',
  });
}

export interface AuditRow extends Omit<AuditRecord, 'workspaceId' | 'subscriberId'> {
  /** For the next page. */
  readonly auditId: string;
  readonly at: Date;
}

export interface AuditFilter {
  /** Part of the actor's name or e-mail; `''`: everyone. */
  readonly person: string;
  /** `null`: all. */
  readonly actions: readonly string[] | null;
  /** The last row of the previous page; `null`: from the newest. */
  readonly beforeId: string | null;
}

/** The audit log, newest first. */
export async function listAudit(
  sql: Sql,
  workspaceId: string,
  filter: AuditFilter & { limit: number },
): Promise<AuditRow[]> {
  const rows = await sql.query<{
    audit_id: string;
    at: Date;
    actor: Actor;
    action: string;
    conversation_id: string | null;
    contact_id: string | null;
    details: Record<string, unknown>;
    result: string;
  }>(
    `select audit_id, at, actor, action, conversation_id, contact_id, details, result from audit_log
      where workspace_id = $1
        and ($2 = '' or strpos(lower(coalesce(actor->>'name', '') || ' ' || coalesce(actor->>'email', '')), lower($2)) > 0)
        and ($3::bigint is null or audit_id < $3)
        and ($5::text[] is null or action = any($5))
      order by audit_id desc
      limit $4`,
    [workspaceId, filter.person, filter.beforeId, filter.limit, filter.actions],
  );
  return rows.map((row) => ({
    auditId: row.audit_id,
    at: row.at,
    actor: row.actor,
    action: row.action,
    conversationId: row.conversation_id,
    contactId: row.contact_id,
    details: row.details,
    result: row.result,
  }));
}

/** Confirmed grants of the last 30 days by teammate, most first. */
export async function countGrantsByTeammate(
  sql: Sql,
  workspaceId: string,
): Promise<{ name: string; grants: number }[]> {
  const rows = await sql.query<{ name: string; grants: string }>(
    `select coalesce(nullif(actor->>'name', ''), actor->>'email', actor->>'id') as name, count(*) as grants
       from audit_log
      where workspace_id = $1 and at > now() - interval '30 days' and action = 'grant' and result = 'confirmed'
      group by 1 order by 2 desc, 1 limit 10`,
    [workspaceId],
  );
  return rows.map(({ name, grants }) => ({ name, grants: Number(grants) }));
}
