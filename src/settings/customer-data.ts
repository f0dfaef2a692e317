import type { Database, Sql } from '../database/sql.ts';

/** The subscribers that an app user id names: one in each of the workspace's projects at most. */
export async function findSubscribers(sql: Sql, workspaceId: string, appUserId: string): Promise<string[]> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = $2`,
    [workspaceId, appUserId],
  );
  return rows.map((row) => row.subscriber_id);
}

/** Tables that hold a subscriber's data, with what is left out of an export: our own bookkeeping. */
const EXPORTED = [
  'subscribers',
  'subscriber_ids',
  'events',
  'event_deliveries',
  'delivery_attempts',
  'contact_links',
  'actions',
  'audit_log',
] as const;

/** Everything that is stored of some subscribers, a list of rows for each table. */
export async function exportSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Record<string, unknown[]>> {
  const data: Record<string, unknown[]> = {};
  for (const table of EXPORTED) {
    data[table] = await sql.query(
      `select * from ${table} where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
      [workspaceId, subscriberIds],
    );
  }
  return data;
}

const ERASED = [
  'delivery_attempts',
  'event_deliveries',
  'events',
  'contact_links',
  'action_notes',
  'actions',
  'subscriber_ids',
  'subscriber_summaries',
  'reconcile_marks',
] as const;

/**
 * Erases subscribers for good. The audit log keeps who did what and when, without whom it was done for: it is
 * the record of the team, not of the customer.
 */
export async function eraseSubscribers(
  database: Database,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<void> {
  const values = [workspaceId, subscriberIds];
  await database.transaction(async (sql) => {
    // A delivery or an arriving event that holds one of them is waited for.
    await sql.query(
      `select 1 from subscribers where workspace_id = $1 and subscriber_id = any($2::uuid[])
        order by subscriber_id for update`,
      values,
    );
    // Before the ids themselves: an import knows its customers by nothing else.
    await sql.query(
      `delete from import_customers
        where workspace_id = $1 and customer_id in (
          select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = any($2::uuid[]))`,
      values,
    );
    for (const table of ERASED) {
      await sql.query(
        `delete from ${table} where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
        values,
      );
    }
    await sql.query(
      `update audit_log
          set subscriber_id = null, contact_id = null, conversation_id = null,
              details = details - 'app_user_id' - 'reason' - 'action_id'
        where workspace_id = $1 and subscriber_id = any($2::uuid[])`,
      values,
    );
    await sql.query(
      `delete from subscribers
        where workspace_id = $1 and (subscriber_id = any($2::uuid[]) or merged_into = any($2::uuid[]))`,
      values,
    );
  });
}
