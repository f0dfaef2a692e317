import type { Database } from '../database/sql.ts';

/** Tables with a workspace's data, those that others point to last. */
const DATA_TABLES = [
  'sessions',
  'api_keys',
  'used_support_links',
  'notifications',
  'call_budgets',
  'revenuecat_budgets',
  'import_customers',
  'imports',
  'reconcile_marks',
  'retention_marks',
  'audit_log',
  'grant_notes',
  'grant_makers',
  'grants',
  'catalog',
  'contact_links',
  'delivery_attempts',
  'events',
  'subscriber_ids',
  'subscriber_summaries',
  'subscribers',
  'projects',
  'workspaces',
];

/** Erases workspaces that were uninstalled before the cutoff (days ago), each in one transaction. */
export async function eraseUninstalled(database: Database, afterDays: number): Promise<string[]> {
  const erased: string[] = [];
  const candidates = await database.query<{ workspace_id: string }>(
    `select workspace_id from workspaces
      where status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $1)`,
    [afterDays],
  );
  for (const { workspace_id: workspaceId } of candidates) {
    await database.transaction(async (sql) => {
      // Locked and looked at again: it may be installed in this very moment.
      const still = await sql.query(
        `select 1 from workspaces
          where workspace_id = $1 and status = 'uninstalled' and uninstalled_at < now() - make_interval(days => $2)
            for update`,
        [workspaceId, afterDays],
      );
      if (still.length === 0) return;
      for (const table of DATA_TABLES) {
        await sql.query(`delete from ${table} where workspace_id = $1`, [workspaceId]);
      }
      erased.push(workspaceId);
    });
  }
  return erased;
}
