import type { Sql } from '../database/sql.ts';

export interface Entitlement {
  readonly id: string;
  readonly lookupKey: string;
  readonly displayName: string | null;
}

/** By name, as an agent looks for it. */
export async function listEntitlements(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<Entitlement[]> {
  const rows = await sql.query<{ id: string; lookup_key: string; display_name: string | null }>(
    `select id, lookup_key, display_name from catalog
      where workspace_id = $1 and project_id = $2 and kind = 'entitlement'
      order by lower(coalesce(display_name, lookup_key)), lookup_key`,
    [workspaceId, projectId],
  );
  return rows.map((row) => ({ id: row.id, lookupKey: row.lookup_key, displayName: row.display_name }));
}
