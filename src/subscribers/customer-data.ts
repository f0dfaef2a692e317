import { againAfterDeadlock } from '../database/deadlock.ts';
import type { Database, Sql } from '../database/sql.ts';
import { CUSTOMER_TABLES } from '../database/tables.ts';
import { lockProject } from './identity.ts';

/** Everything that is stored about some subscribers: a list of rows for each table. */
export async function exportSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Record<string, unknown[]>> {
  const data: Record<string, unknown[]> = {};
  for (const { table, where, isExported } of CUSTOMER_TABLES) {
    if (!isExported) continue;
    data[table] = await sql.query(`select * from ${table} where workspace_id = $1 and ${where}`, [
      workspaceId,
      subscriberIds,
    ]);
  }
  return data;
}

/**
 * Erases subscribers for good. The audit log keeps who did what and when, without the customer: it is the record
 * of the team.
 */
export async function eraseSubscribers(
  database: Database,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<void> {
  const values = [workspaceId, subscriberIds];
  // An import that reads one of the customers may hold rows of theirs and wait for the project's lock.
  await againAfterDeadlock(() =>
    database.transaction(async (sql) => {
      const projects = await sql.query<{ project_id: string }>(
        `select distinct project_id from subscribers
          where workspace_id = $1 and subscriber_id = any($2::uuid[]) order by project_id`,
        values,
      );
      for (const { project_id: projectId } of projects) await lockProject(sql, { workspaceId, projectId });
      // Waits for a delivery that works on one of them.
      await sql.query(
        `select 1 from subscribers where workspace_id = $1 and subscriber_id = any($2::uuid[])
          order by subscriber_id for update`,
        values,
      );
      for (const { table, where, onErase } of CUSTOMER_TABLES) {
        await sql.query(
          onErase === 'delete'
            ? `delete from ${table} where workspace_id = $1 and ${where}`
            : `update ${table}
                  set subscriber_id = null, contact_id = null, conversation_id = null,
                      details = details - 'app_user_id' - 'reason' - 'action_id'
                where workspace_id = $1 and ${where}`,
          values,
        );
      }
    }),
  );
}
