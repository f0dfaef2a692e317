import { ContactLinkEntity, type ContactLinkRow } from '../database/entities.ts';
import type { Entities, Sql } from '../database/sql.ts';

interface FoundSubscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserId: string;
}

const FOUND = 's.subscriber_id as "subscriberId", s.project_id as "projectId"';

export function findByAppUserIds(
  sql: Sql,
  workspaceId: string,
  appUserIds: readonly string[],
): Promise<FoundSubscriber[]> {
  return sql.query(
    `select ${FOUND}, s.app_user_id as "appUserId" from subscriber_ids s
      where s.workspace_id = $1 and s.app_user_id = any($2)`,
    [workspaceId, appUserIds],
    'find-by-app-user-ids',
  );
}

const SOME_ID = `(select i.app_user_id from subscriber_ids i
  where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
  order by i.app_user_id like '$RCAnonymousID:%', i.app_user_id limit 1)`;

/** Case does not matter. At most 20. */
export function findByEmail(sql: Sql, workspaceId: string, email: string): Promise<FoundSubscriber[]> {
  return sql.query(
    `select ${FOUND}, coalesce(${SOME_ID}, '') as "appUserId"
       from subscribers s
      where s.workspace_id = $1 and s.email = lower($2) and s.merged_into is null
      order by s.last_event_at_ms desc nulls last limit 20`,
    [workspaceId, email],
  );
}

/** By a store's transaction id, as written on receipts; a first purchase's is the original one. */
export function findByTransaction(
  sql: Sql,
  workspaceId: string,
  transactionId: string,
): Promise<FoundSubscriber[]> {
  return sql.query(
    `select distinct ${FOUND}, coalesce(${SOME_ID}, '') as "appUserId"
       from events e
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = e.subscriber_id
      where e.workspace_id = $1 and e.transaction_id = $2 limit 20`,
    [workspaceId, transactionId],
  );
}

/** Links a contact to a subscriber; one link for each project, the newest wins. */
export async function saveLink({ manager }: Entities, link: Omit<ContactLinkRow, 'madeAt'>): Promise<void> {
  // Not `upsert`: it sets the key's columns too, which Citus refuses.
  await manager
    .createQueryBuilder()
    .insert()
    .into(ContactLinkEntity)
    .values({ ...link, madeAt: new Date() })
    .orUpdate(['subscriber_id', 'made_by', 'made_at'], ['workspace_id', 'contact_id', 'project_id'])
    .execute();
}

export async function deleteLink(
  { manager }: Entities,
  link: Pick<ContactLinkRow, 'workspaceId' | 'contactId' | 'subscriberId'>,
): Promise<void> {
  await manager.delete(ContactLinkEntity, link);
}
