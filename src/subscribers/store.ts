import type { Sql } from '../database/sql.ts';
import { readEvent } from './read-event.ts';
import type { LifecycleEvent, Snapshot } from './types.ts';

/** How an event stands with Intercom. */
export interface EventDelivery {
  readonly state: 'pending' | 'delivered' | 'failed' | 'skipped';
  /** A code: why it was skipped, has failed or waits. */
  readonly reason: string | null;
  readonly attempts: number;
  readonly nextTryAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly sentName: string | null;
}

export interface TimelineEntry extends LifecycleEvent {
  readonly projectId: string;
  readonly delivery: EventDelivery;
}

export interface Subscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserIds: readonly string[];
  readonly email: string | null;
  readonly snapshot: Snapshot | null;
  readonly snapshotAtMs: number | null;
  readonly contactId: string | null;
  /** Whether events wait for a contact. */
  readonly waiting: boolean;
}

export interface EventRow {
  project_id: string;
  event_id: string;
  side: 'subject' | 'giver';
  event_at: string;
  received_at: Date;
  payload: { event?: unknown } | null;
  delivery: EventDelivery['state'];
  reason: string | null;
  attempts: number;
  next_try_at: Date | null;
  delivered_at: Date | null;
  sent_name: string | null;
}

const EVENT_COLUMNS = `project_id, event_id, side, event_at, received_at, payload, delivery, reason, attempts,
  next_try_at, delivered_at, sent_name`;

export function toTimelineEntry(row: EventRow): TimelineEntry {
  const event = readEvent(row.payload?.event, {
    receivedAtMs: row.received_at.getTime(),
    fallbackId: row.event_id,
    side: row.side,
  });
  return {
    ...event,
    id: row.event_id,
    projectId: row.project_id,
    delivery: {
      state: row.delivery,
      reason: row.reason,
      attempts: row.attempts,
      nextTryAtMs: row.next_try_at?.getTime() ?? null,
      deliveredAtMs: row.delivered_at?.getTime() ?? null,
      sentName: row.sent_name,
    },
  };
}

interface SubscriberRow {
  subscriber_id: string;
  project_id: string;
  app_user_ids: string[];
  email: string | null;
  snapshot: Snapshot | null;
  snapshot_at: Date | null;
  contact_id: string | null;
  waiting: boolean;
}

export async function readSubscriber(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Subscriber | null> {
  const [row] = await sql.query<SubscriberRow>(
    `select s.subscriber_id, s.project_id, s.email, s.snapshot, s.snapshot_at, s.contact_id, s.waiting,
            array(select i.app_user_id from subscriber_ids i
                   where i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id
                   order by i.app_user_id) as app_user_ids
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = $2 and s.merged_into is null`,
    [workspaceId, subscriberId],
    'read-subscriber',
  );
  if (!row) return null;
  return {
    subscriberId: row.subscriber_id,
    projectId: row.project_id,
    appUserIds: row.app_user_ids,
    email: row.email,
    snapshot: row.snapshot,
    snapshotAtMs: row.snapshot_at?.getTime() ?? null,
    contactId: row.contact_id,
    waiting: row.waiting,
  };
}

/** How many transfers a history is followed through; longer chains were never seen and would not end in a loop. */
const MOST_TRANSFERS = 8;

/**
 * Everything that a subscriber's state rests on, oldest first: its own events and, where purchases were
 * transferred to it, those that the giver had at that moment.
 */
export async function readHistory(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<TimelineEntry[]> {
  const own = await readEventsUntil(sql, workspaceId, subscriberId, null);
  const received = await followTransfers(sql, workspaceId, own, MOST_TRANSFERS);
  if (received.length === 0) return own;
  return [...own, ...received].sort((a, b) => a.atMs - b.atMs);
}

async function readEventsUntil(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
  untilMs: number | null,
): Promise<TimelineEntry[]> {
  const rows = await sql.query<EventRow>(
    `select ${EVENT_COLUMNS} from events
      where workspace_id = $1 and subscriber_id = $2 and event_at <= $3
      order by event_at, event_id`,
    [workspaceId, subscriberId, untilMs ?? Number.MAX_SAFE_INTEGER],
    'read-history',
  );
  return rows.map(toTimelineEntry);
}

async function followTransfers(
  sql: Sql,
  workspaceId: string,
  events: readonly TimelineEntry[],
  depth: number,
): Promise<TimelineEntry[]> {
  const receipts = events.filter((event) => event.side === 'subject' && isReceipt(event));
  if (receipts.length === 0 || depth === 0) return [];
  const givers = await sql.query<{ event_id: string; subscriber_id: string }>(
    `select event_id, subscriber_id from events
      where workspace_id = $1 and project_id = $2 and event_id = any($3) and side = 'giver'`,
    [workspaceId, receipts[0]?.projectId, receipts.map((event) => event.id)],
  );
  const received: TimelineEntry[] = [];
  for (const giver of givers) {
    const receipt = receipts.find((event) => event.id === giver.event_id);
    if (!receipt) continue;
    const all = await readEventsUntil(sql, workspaceId, giver.subscriber_id, receipt.atMs);
    // What the giver had given to somebody else before was not there to be given again.
    let givenBeforeMs = -1;
    for (const event of all) {
      if (event.side === 'giver' && event.id !== receipt.id)
        givenBeforeMs = Math.max(givenBeforeMs, event.atMs);
    }
    const kept = all.filter((event) => event.side === 'subject' && event.atMs > givenBeforeMs);
    received.push(...kept.filter((event) => !isReceipt(event)));
    received.push(...(await followTransfers(sql, workspaceId, kept, depth - 1)));
  }
  return received;
}

function isReceipt(event: LifecycleEvent): boolean {
  return event.kind === 'transfer' || event.kind === 'purchase_redeemed';
}

export interface FoundSubscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserId: string;
}

interface FoundRow {
  subscriber_id: string;
  project_id: string;
  app_user_id: string;
}

function toFound(row: FoundRow): FoundSubscriber {
  return { subscriberId: row.subscriber_id, projectId: row.project_id, appUserId: row.app_user_id };
}

export async function findByAppUserIds(
  sql: Sql,
  workspaceId: string,
  appUserIds: readonly string[],
): Promise<FoundSubscriber[]> {
  const rows = await sql.query<FoundRow>(
    `select subscriber_id, project_id, app_user_id from subscriber_ids
      where workspace_id = $1 and app_user_id = any($2)`,
    [workspaceId, appUserIds],
    'find-by-app-user-ids',
  );
  return rows.map(toFound);
}

const SOME_ID = `(select i.app_user_id from subscriber_ids i
  where i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id
  order by i.app_user_id like '$RCAnonymousID:%', i.app_user_id limit 1)`;

/** Case does not matter. At most 20. */
export async function findByEmail(sql: Sql, workspaceId: string, email: string): Promise<FoundSubscriber[]> {
  const rows = await sql.query<FoundRow>(
    `select s.subscriber_id, s.project_id, coalesce(${SOME_ID}, '') as app_user_id
       from subscribers s
      where s.workspace_id = $1 and s.email = lower($2) and s.merged_into is null
      order by s.last_event_at desc nulls last limit 20`,
    [workspaceId, email],
  );
  return rows.map(toFound);
}

/** By a store's transaction id or original transaction id, as written on receipts. */
export async function findByTransaction(
  sql: Sql,
  workspaceId: string,
  transactionId: string,
): Promise<FoundSubscriber[]> {
  const rows = await sql.query<FoundRow>(
    `select distinct s.subscriber_id, s.project_id, coalesce(${SOME_ID}, '') as app_user_id
       from events e
       join subscribers s on s.workspace_id = e.workspace_id and s.subscriber_id = e.subscriber_id
      where e.workspace_id = $1 and e.transaction_id = $2 limit 20`,
    [workspaceId, transactionId],
  );
  return rows.map(toFound);
}

export interface ContactLink {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly madeBy: { readonly id: string; readonly name: string };
  readonly madeAtMs: number;
}

export async function readLinks(sql: Sql, workspaceId: string, contactId: string): Promise<ContactLink[]> {
  const rows = await sql.query<{
    subscriber_id: string;
    project_id: string;
    made_by: ContactLink['madeBy'];
    made_at: Date;
  }>(
    `select subscriber_id, project_id, made_by, made_at from contact_links
      where workspace_id = $1 and contact_id = $2 order by made_at desc`,
    [workspaceId, contactId],
    'read-links',
  );
  return rows.map((row) => ({
    subscriberId: row.subscriber_id,
    projectId: row.project_id,
    madeBy: row.made_by,
    madeAtMs: row.made_at.getTime(),
  }));
}

/** Links a contact to a subscriber; one link for each project, the newest wins. */
export async function saveLink(
  sql: Sql,
  link: {
    workspaceId: string;
    contactId: string;
    projectId: string;
    subscriberId: string;
    madeBy: ContactLink['madeBy'];
  },
): Promise<void> {
  await sql.query(
    `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by)
     values ($1, $2, $3, $4, $5)
     on conflict (workspace_id, contact_id, project_id)
     do update set subscriber_id = excluded.subscriber_id, made_by = excluded.made_by, made_at = now()`,
    [link.workspaceId, link.contactId, link.projectId, link.subscriberId, JSON.stringify(link.madeBy)],
  );
}

export async function deleteLink(
  sql: Sql,
  workspaceId: string,
  contactId: string,
  subscriberId: string,
): Promise<void> {
  await sql.query(
    `delete from contact_links where workspace_id = $1 and contact_id = $2 and subscriber_id = $3`,
    [workspaceId, contactId, subscriberId],
  );
}

export async function saveSnapshot(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
  snapshot: Snapshot,
): Promise<void> {
  await sql.query(
    `update subscribers set snapshot = $3, snapshot_at = to_timestamp($4 / 1000.0)
      where workspace_id = $1 and subscriber_id = $2
        and (snapshot_at is null or snapshot_at <= to_timestamp($4 / 1000.0))`,
    [workspaceId, subscriberId, JSON.stringify(snapshot), snapshot.takenAtMs],
  );
}

/** Wakes delivery for one subscriber: its contact or its state may have changed. */
export async function makeDue(sql: Sql, workspaceId: string, subscriberId: string): Promise<void> {
  await sql.query(
    `update subscribers set due_at = now(), version = version + 1, waiting = false
      where workspace_id = $1 and subscriber_id = $2`,
    [workspaceId, subscriberId],
  );
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}
