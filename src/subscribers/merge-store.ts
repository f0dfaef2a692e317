import { againAfterDeadlock } from '../database/deadlock.ts';
import type { Database, Sql } from '../database/sql.ts';
import type { IdentityGroup } from './identity-groups.ts';

/** Makes one subscriber of those that turn out to be one customer. */
export async function mergeIdentityGroups(
  database: Database,
  workspaceId: string,
  parties: ReadonlyMap<string, IdentityGroup>,
): Promise<void> {
  for (const party of new Set(parties.values())) {
    if (party.mergeFrom.size === 0) continue;
    await againAfterDeadlock(() => mergeSubscribers(database, workspaceId, party));
  }
}

/**
 * Makes one subscriber of several, in one transaction. Its contact is looked for anew: what either had need not
 * be the best match of all their ids. The rows are locked in one order, as by
 * everybody who writes several, so that merges that meet wait for each other and then find nothing left to do.
 */
async function mergeSubscribers(
  database: Database,
  workspaceId: string,
  party: IdentityGroup,
): Promise<void> {
  const all = [party.subscriberId, ...party.mergeFrom];
  await database.transaction(async (sql) => {
    const rows = await sql.query<{ subscriber_id: string; first_event_at_ms: string | null }>(
      `select subscriber_id, first_event_at_ms from subscribers
        where workspace_id = $1 and subscriber_id = any($2) and merged_into is null
        order by subscriber_id
        for update`,
      [workspaceId, all],
    );
    const firstMs = (row: (typeof rows)[number]): number => Number(row.first_event_at_ms ?? Number.MAX_VALUE);
    const oldestFirst = rows.toSorted((a, b) => firstMs(a) - firstMs(b));
    const [keeper, ...others] = oldestFirst.map((row) => row.subscriber_id);
    if (keeper === undefined) return;
    party.subscriberId = keeper;
    if (others.length === 0) return;
    await mergeInto(sql, workspaceId, keeper, others);
  });
}

async function mergeInto(
  sql: Sql,
  workspaceId: string,
  keeper: string,
  others: readonly string[],
): Promise<void> {
  const values = [workspaceId, keeper, others];
  const moves = [
    'subscriber_ids',
    'events',
    'event_deliveries',
    'delivery_attempts',
    'contact_links',
    'actions',
    'action_notes',
    'audit_log',
  ];
  for (const table of moves) {
    await sql.query(
      `update ${table} set subscriber_id = $2 where workspace_id = $1 and subscriber_id = any($3)`,
      values,
    );
  }
  await sql.query(
    `delete from subscriber_summaries
      where workspace_id = $1 and (subscriber_id = $2 or subscriber_id = any($3))`,
    values,
  );
  await sql.query(
    `update subscribers s
        set due_at = now(), version = s.version + 1, waiting = false,
            snapshot = null, snapshot_at = null, attributes_written = null,
            contact_id = null,
            first_event_at_ms = least(s.first_event_at_ms, o.first_event_at_ms),
            last_event_at_ms = greatest(s.last_event_at_ms, o.last_event_at_ms),
            email = case when o.email_at_ms > s.email_at_ms then o.email else s.email end,
            email_at_ms = greatest(s.email_at_ms, o.email_at_ms)
       from (select min(first_event_at_ms) as first_event_at_ms, max(last_event_at_ms) as last_event_at_ms,
                    max(email_at_ms) as email_at_ms,
                    (array_agg(email order by email_at_ms desc) filter (where email is not null))[1] as email
               from subscribers where workspace_id = $1 and subscriber_id = any($3)) o
      where s.workspace_id = $1 and s.subscriber_id = $2`,
    values,
  );
  await sql.query(
    `update subscribers set merged_into = $2, due_at = null, contact_id = null, email = null, snapshot = null, waiting = false,
            pending_events = 0
      where workspace_id = $1 and subscriber_id = any($3)`,
    values,
  );
}
