import { AuditEntity, type AuditRow, columnsOf, type Teammate } from '../database/entities.ts';
import type { Entities, Sql } from '../database/sql.ts';

export type AuditRecord = Readonly<Omit<AuditRow, 'auditId' | 'at'>>;

/**
 * Removes everything from the details that leads to the customer, such as the store's order. In an action on a whole
 * customer, `product` is a customer's ID, too.
 *
 * @param details an SQL expression
 */
export const withoutCustomer = (details: string): string =>
  `(${details} - '{app_user_id,reason,action_id,target,purchaseId,transactionId,moves}'::text[]
     - case when ${details}->>'of' = 'customer' then 'product' else '' end)`;

/**
 * Stores who did what, to which customer, why, and the result. Leaves the customer out once they are erased: like a
 * foreign key, `for key share` waits for an erasure in progress.
 */
export async function writeAudit({ manager }: Entities, record: AuditRecord): Promise<void> {
  await manager.query(
    `with stored as (
       select 1 from subscribers where workspace_id = $1 and subscriber_id = $6::uuid for key share)
     insert into audit_log (workspace_id, actor, action, conversation_id, contact_id, subscriber_id, details, result)
     select $1, $2::jsonb, $3, case when is_whole then $4 end, case when is_whole then $5 end,
            case when is_whole then $6::uuid end,
            case when is_whole then $7::jsonb else ${withoutCustomer('$7::jsonb')} end, $8
       from (select $6::uuid is null or exists (select 1 from stored) as is_whole) as record`,
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

/** The operator, who is not a teammate. */
export const COMMAND_LINE: Teammate = { id: 'command-line', name: 'Command line', email: null };

/** Records what an admin did outside a conversation. */
export async function auditAdmin(
  database: Entities,
  { workspaceId, admin }: { readonly workspaceId: string; readonly admin: AuditRow['actor'] },
  entry: { readonly action: string; readonly details?: AuditRow['details'] },
): Promise<void> {
  await writeAudit(database, {
    workspaceId,
    actor: admin,
    conversationId: null,
    contactId: null,
    subscriberId: null,
    details: {},
    result: 'ok',
    ...entry,
  });
}

/** An entry as a page shows it. The ID is a string because it goes into the URL of the next page. */
export type AuditEntry = Readonly<Omit<AuditRow, 'auditId' | 'workspaceId' | 'subscriberId'>> & {
  readonly auditId: string;
};

export interface AuditFilter {
  /** Part of the actor's name or e-mail; `''`: everyone. */
  readonly person: string;
  /** `null`: all. */
  readonly actions: readonly string[] | null;
  /** The last row of the previous page; `null`: from the newest. */
  readonly beforeId: string | null;
}

/** A case-insensitive pattern. The embedded server uses the locale C, in which PostgreSQL folds ASCII letters only. */
function inAnyCase(text: string): string {
  const escaped = text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return escaped.replaceAll(/\p{L}/gu, (letter) => {
    return `(?:${letter.toLowerCase()}|${letter.toUpperCase()})`;
  });
}

/** The audit log, newest first. */
export function listAudit(
  sql: Sql,
  workspaceId: string,
  filter: AuditFilter & { limit: number },
): Promise<AuditEntry[]> {
  return sql.query<AuditEntry>(
    `select ${columnsOf(AuditEntity)} from audit_log
      where workspace_id = $1
        and concat(actor->>'name', ' ', actor->>'email') ~ $2
        and ($3::bigint is null or audit_id < $3)
        and ($5::text[] is null or action = any($5))
      order by audit_id desc
      limit $4`,
    [workspaceId, inAnyCase(filter.person), filter.beforeId, filter.limit, filter.actions],
  );
}

/** Confirmed grants of the last 30 days by teammate, most first. */
export function countGrantsByTeammate(
  sql: Sql,
  workspaceId: string,
): Promise<{ name: string; grants: number }[]> {
  return sql.query(
    `select coalesce(nullif(actor->>'name', ''), actor->>'email', actor->>'id') as name, count(*)::integer as grants
       from audit_log
      where workspace_id = $1 and at > now() - interval '30 days' and action = 'grant' and result = 'confirmed'
      group by 1 order by 2 desc, 1 limit 10`,
    [workspaceId],
  );
}
