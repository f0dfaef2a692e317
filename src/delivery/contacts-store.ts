import type { Sql } from '../database/sql.ts';

/** Contacts that teammates linked to a subscriber, the newest link first. */
export async function linkedContacts(sql: Sql, workspaceId: string, subscriberId: string): Promise<string[]> {
  const rows = await sql.query<{ contact_id: string }>(
    `select contact_id from contact_links where workspace_id = $1 and subscriber_id = $2 order by made_at desc`,
    [workspaceId, subscriberId],
    'linked-contacts',
  );
  return rows.map((row) => row.contact_id);
}
