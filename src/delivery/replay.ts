import { type Database, MAX_COUNTED, queryRow, type Sql } from '../database/sql.ts';
import { byIds, WAKE_AND_RETRY, wakeSubscribers } from '../database/wake-subscribers.ts';
import { DELIVERIES_WITH_EVENT, EVENTS_WITH_DELIVERY } from '../subscribers/stored-events.ts';

/** `sinceMs`: only events received since then (epoch ms). */
type Selection = { readonly eventId?: string; readonly failedOnly: boolean; readonly sinceMs?: number };

/** Rows per transaction: a selection may have millions of rows, and their subscribers are locked. */
const BATCH_SIZE = 1_000;

/**
 * Queues deliveries again: one event, or all failed ones, optionally only those received since a time. Without
 * `failedOnly`, waiting events are tried immediately and delivered events are sent again; Intercom drops the repeat. An
 * event selected by its id is planned again even if the settings had skipped it.
 *
 * @returns number of events queued
 */
export async function replayEvents(
  database: Database,
  workspaceId: string,
  selection: Selection,
): Promise<number> {
  let count = 0;
  for (let after: Cursor | null = { at: '-infinity', eventId: '' }; after !== null; ) {
    const from: Cursor = after;
    // Repeated after a deadlock, since a worker that plans the same events may lock them in another order.
    const batch = await database.transaction((sql) => replayBatch(sql, workspaceId, selection, from));
    count += batch.count;
    after = batch.next;
  }
  return count;
}

/** `at`: the timestamp as PostgreSQL prints it; a `Date` would lose digits. */
type Cursor = { readonly at: string; readonly eventId: string };

/** Failed events are read in the order of their own index. In any other order, each batch read all failed events. */
const FAILED = {
  order: 'd',
  from: `${DELIVERIES_WITH_EVENT}
 where d.workspace_id = $1 and d.not_sent = 'failed'`,
};
const NOT_SKIPPED = {
  order: 'e',
  from: `${EVENTS_WITH_DELIVERY}
 where e.workspace_id = $1 and e.side = 'customer' and e.skip_reason is null and d.not_sent is distinct from 'skipped'`,
};
const ANY_BY_ID = {
  order: 'e',
  from: `${EVENTS_WITH_DELIVERY}
 where e.workspace_id = $1 and e.side = 'customer' and e.skip_reason is distinct from 'timeline_only'`,
};

export async function replayBatch(
  sql: Sql,
  workspaceId: string,
  selection: Selection,
  after: Cursor,
): Promise<{ count: number; next: Cursor | null }> {
  const { eventId = null, failedOnly, sinceMs = null } = selection;
  const inAnyState = eventId === null ? NOT_SKIPPED : ANY_BY_ID;
  const { from, order } = failedOnly ? FAILED : inAnyState;
  const rows = await sql.query<{ event_id: string; project_id: string; subscriber_id: string; at: string }>(
    `select e.event_id, e.project_id, e.subscriber_id, ${order}.received_at::text as at from ${from}
        and ($2::text is null or e.event_id = $2)
        and ($3::bigint is null or ${order}.received_at >= to_timestamp($3 / 1000.0))
        and (${order}.received_at, ${order}.event_id) > ($4::timestamptz, $5)
      order by ${order}.received_at, ${order}.event_id
      limit $6`,
    [workspaceId, eventId, sinceMs, after.at, after.eventId, BATCH_SIZE],
  );
  const last = rows.at(-1);
  if (!last) return { count: 0, next: null };
  const subscriberIds = rows.map((row) => row.subscriber_id);
  const eventIds = rows.map((row) => row.event_id);
  const keys = [workspaceId, subscriberIds, eventIds, rows.map((row) => row.project_id)];
  // Subscribers before deliveries: every transaction that writes both locks in this order.
  await wakeSubscribers(sql, workspaceId, { set: WAKE_AND_RETRY, ...byIds(subscriberIds) });
  await sql.query(
    `update event_deliveries
        set delivered_at = null, not_sent = null, reason = null, attempts = 0, next_try_at = null,
            first_tried_at = null
      where workspace_id = $1 and subscriber_id = any($2) and event_id = any($3)
        and (project_id, event_id) in (select p, e from unnest($4::text[], $3::text[]) as t (p, e))`,
    keys,
  );
  await sql.query(
    `update events set skip_reason = null
      where workspace_id = $1 and subscriber_id = any($2) and event_id = any($3) and skip_reason = 'imported'
        and project_id = any($4)`,
    keys,
  );
  const next = rows.length < BATCH_SIZE ? null : { at: last.at, eventId: last.event_id };
  return { count: rows.length, next };
}

/** Intercom rejects the content for the contact. A retry cannot fix that, so it is tried again only once a day. */
const REJECTED = `s.workspace_id = $1 and s.due_at > now() and s.due_at < now() + interval '25 hours'
  and s.attempts > 0 and not s.waiting and s.pending_reason in ('intercom_rejected', 'intercom_attribute_missing')`;

/**
 * Counts the customers whose contact Intercom refuses to update or to look up, and gives the id of one. All of their
 * events may have been delivered.
 */
export function readRejectedContacts(sql: Sql, workspaceId: string) {
  return queryRow<{ count: number; appUserId: string | null }>(
    sql,
    `with rejected as (select s.subscriber_id from subscribers s where ${REJECTED} limit $2)
     select (select count(*)::integer from rejected) as count,
            (select i.app_user_id from subscriber_ids i
              where i.workspace_id = $1 and i.subscriber_id = (select subscriber_id from rejected limit 1)
              limit 1) as "appUserId"`,
    [workspaceId, MAX_COUNTED],
  );
}

/** Retries rejected contacts immediately, since the cause may be fixed. @returns number of customers */
export function retryRejectedContacts(sql: Sql, workspaceId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, { set: WAKE_AND_RETRY, where: REJECTED, values: [] });
}
