import type { Sql } from '../database/sql.ts';
import { CUSTOMER_TABLES } from '../database/tables.ts';
import { DUE } from '../database/wake-subscribers.ts';

/** Owns a lease that only time ends. */
const NO_WORKER = '00000000-0000-0000-0000-000000000000';

/**
 * Makes one subscriber of several: the one with the oldest event stays and takes over what the others have. Its
 * contact is looked up again: the contact of either need not be the best match of all their app user ids.
 *
 * @param sql a transaction that holds the project's lock
 * @returns the subscriber that stays
 */
export async function mergeSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<string> {
  // In one order, as delivery locks subscribers that share a contact.
  const rows = await sql.query<{
    subscriber_id: string;
    first_event_at_ms: string | null;
    is_leased: boolean | null;
  }>(
    `select subscriber_id, first_event_at_ms, lease_until > now() as is_leased from subscribers
      where workspace_id = $1 and subscriber_id = any($2)
      order by subscriber_id
        for update`,
    [workspaceId, subscriberIds],
  );
  const firstEventMs = (row: (typeof rows)[number]): number =>
    Number(row.first_event_at_ms ?? Number.POSITIVE_INFINITY);
  const [keeper, ...others] = rows
    .toSorted((a, b) => firstEventMs(a) - firstEventMs(b))
    .map((row) => row.subscriber_id);
  if (keeper === undefined) throw new Error('None of the subscribers to merge exists');
  const values = [workspaceId, keeper, others];
  await markBeingSent(sql, workspaceId, subscriberIds);
  for (const { table, onMerge } of CUSTOMER_TABLES) {
    if (onMerge === 'move') {
      await sql.query(
        `update ${table} set subscriber_id = $2 where workspace_id = $1 and subscriber_id = any($3)`,
        values,
      );
    } else if (onMerge === 'drop') {
      await sql.query(
        `delete from ${table} where workspace_id = $1 and (subscriber_id = $2 or subscriber_id = any($3))`,
        values,
      );
    }
  }
  // The end of one delivery must not end the wait for another.
  const owner = rows.filter((row) => row.is_leased).length > 1 ? NO_WORKER : null;
  await combine(sql, [...values, owner]);
  return keeper;
}

/**
 * Counts an attempt for events that a worker may be sending: the subscriber that stays is not leased, and its delivery
 * must not move them to another second because events of another subscriber have theirs.
 */
async function markBeingSent(sql: Sql, workspaceId: string, subscriberIds: readonly string[]): Promise<void> {
  await sql.query(
    `update event_deliveries set attempts = 1
      where workspace_id = $1 and attempts = 0 and sent_name is not null and delivered_at is null and not_sent is null
        and subscriber_id in (select subscriber_id from subscribers
                               where workspace_id = $1 and subscriber_id = any($2)
                                 and lease_owner is not null and contact_id is not null)`,
    [workspaceId, subscriberIds],
  );
}

async function combine(sql: Sql, values: readonly unknown[]): Promise<void> {
  await sql.query(
    `update subscribers s
        set ${DUE},
            -- What a worker is sending for another one would go to the contact of this one as well.
            lease_until = greatest(s.lease_until, o.lease_until),
            lease_owner = coalesce($4, s.lease_owner),
            snapshot = null, snapshot_at = null, attributes_written = null,
            first_event_at_ms = least(s.first_event_at_ms, o.first_event_at_ms),
            last_event_at_ms = greatest(s.last_event_at_ms, o.last_event_at_ms),
            email = case when o.email_at_ms > s.email_at_ms then o.email else s.email end,
            email_at_ms = greatest(s.email_at_ms, o.email_at_ms)
       from (select min(first_event_at_ms) as first_event_at_ms, max(last_event_at_ms) as last_event_at_ms,
                    max(email_at_ms) as email_at_ms,
                    max(lease_until) filter (where contact_id is not null) as lease_until,
                    (array_agg(email order by email_at_ms desc) filter (where email is not null))[1] as email
               from subscribers where workspace_id = $1 and subscriber_id = any($3)) o
      where s.workspace_id = $1 and s.subscriber_id = $2`,
    values,
  );
  await sql.query(
    `update subscribers
        set merged_into = $2, due_at = null, version = version + 1, contact_id = null, email = null, snapshot = null, waiting = false,
            pending_events = 0
      where workspace_id = $1 and subscriber_id = any($3)`,
    values.slice(0, 3),
  );
}
