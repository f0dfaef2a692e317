import { againAfterDeadlock } from '../database/deadlock.ts';
import type { Database, Sql } from '../database/sql.ts';
import { notifyDelivery } from './store.ts';

export interface Selection {
  readonly eventId?: string;
  readonly failedOnly: boolean;
  /** Received since then, epoch ms. */
  readonly sinceMs?: number;
}

/** Rows of one transaction: a span may hold millions, and their subscribers are locked meanwhile. */
const BATCH = 1_000;

/**
 * Queues deliveries again: one event, or all failed ones, optionally only those received since a moment.
 * Delivered events are sent again only when asked for by id or time; Intercom drops the repeat. One event asked
 * for by its id is also tried at once when it waits for its next try, and looked at anew when the settings had
 * kept it from being sent.
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
    // A worker that plans the same events may be in the way.
    const batch = await againAfterDeadlock(() =>
      database.transaction((sql) => replayBatch(sql, workspaceId, selection, from)),
    );
    count += batch.count;
    after = batch.next;
  }
  if (count > 0) await notifyDelivery(database, workspaceId);
  return count;
}

interface Cursor {
  /** As PostgreSQL prints it, with all its digits. */
  readonly at: string;
  readonly eventId: string;
}

async function replayBatch(
  sql: Sql,
  workspaceId: string,
  selection: Selection,
  after: Cursor,
): Promise<{ count: number; next: Cursor | null }> {
  const { eventId = null, failedOnly, sinceMs = null } = selection;
  const states = failedOnly ? ['failed'] : ['failed', 'delivered'];
  if (eventId !== null && !failedOnly) states.push('skipped', 'pending');
  const rows = await sql.query<{ event_id: string; project_id: string; subscriber_id: string; at: string }>(
    `select event_id, project_id, subscriber_id, received_at::text as at from events
      where workspace_id = $1 and side = 'customer' and delivery = any($2)
        and ($3::text is null or event_id = $3)
        and ($4::bigint is null or received_at >= to_timestamp($4 / 1000.0))
        and (received_at, event_id) > ($5::timestamptz, $6)
      order by received_at, event_id
      limit $7`,
    [workspaceId, states, eventId, sinceMs, after.at, after.eventId, BATCH],
  );
  const last = rows.at(-1);
  if (!last) return { count: 0, next: null };
  // Subscribers first, as everything else that writes both does.
  await sql.query(
    `update subscribers
        set due_at = now(), version = version + 1, waiting = false, attempts = 0, failing_since = null
      where workspace_id = $1
        and subscriber_id in (select subscriber_id from subscribers
                               where workspace_id = $1 and subscriber_id = any($2)
                               order by subscriber_id for no key update)`,
    [workspaceId, [...new Set(rows.map((row) => row.subscriber_id))]],
  );
  const changed = await sql.query(
    `update events e
        set delivery = 'pending', reason = null, attempts = 0, next_try_at = null, first_tried_at = null
       from unnest($2::text[], $3::text[]) as r (event_id, project_id)
      where e.workspace_id = $1 and e.project_id = r.project_id and e.event_id = r.event_id
        and e.side = 'customer' and e.delivery = any($4)
     returning 1`,
    [workspaceId, rows.map((row) => row.event_id), rows.map((row) => row.project_id), states],
  );
  const next = rows.length < BATCH ? null : { at: last.at, eventId: last.event_id };
  return { count: changed.length, next };
}
