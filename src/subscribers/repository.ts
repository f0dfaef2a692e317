import { epochMs, notifyDelivery, type Sql } from '../database/sql.ts';
import { notFound } from '../errors.ts';
import { type LifecycleEvent, readEvent } from '../subscription/read-event.ts';
import { assembleHistory, isTransfer } from '../subscription/transfers.ts';
import type { Snapshot } from '../subscription/types.ts';

export interface EventDelivery {
  readonly state: 'pending' | 'delivered' | 'failed' | 'skipped';
  /** A code: why it was skipped, has failed or waits. */
  readonly reason: string | null;
  readonly attempts: number;
  readonly nextTryAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly firstTriedAtMs: number | null;
  /** Name and second under which it was or is to be sent; `null`: not planned yet. */
  readonly sentAs: SentAs | null;
  /** Where Intercom has accepted it, also when it was queued again since; `null`: nowhere yet. */
  readonly contactId: string | null;
}

/** Intercom distinguishes events of one contact by these two. */
export interface SentAs {
  readonly name: string;
  /** Unix seconds. */
  readonly atS: number;
}

export interface TimelineEntry extends LifecycleEvent {
  readonly projectId: string;
  readonly receivedAtMs: number;
  readonly delivery: EventDelivery;
}

export interface SubscriberKey {
  readonly workspaceId: string;
  readonly subscriberId: string;
}

export interface Subscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserIds: readonly string[];
  readonly email: string | null;
  readonly snapshot: Snapshot | null;
  readonly snapshotAtMs: number | null;
  readonly contactId: string | null;
  /** Contacts that teammates linked to it, the newest link first. */
  readonly linkedContactIds: readonly string[];
  readonly waiting: boolean;
}

export interface EventRow {
  project_id: string;
  event_id: string;
  side: 'customer' | 'source';
  event_at_ms: string;
  received_at: Date;
  fields: unknown;
  skip_reason: string | null;
  not_sent: 'failed' | 'skipped' | null;
  reason: string | null;
  attempts: number | null;
  next_try_at: Date | null;
  first_tried_at: Date | null;
  delivered_at: Date | null;
  sent_name: string | null;
  sent_at_s: string | null;
  contact_id: string | null;
}

export const EVENT_COLUMNS = `e.project_id, e.event_id, e.side, e.event_at_ms, e.received_at, e.fields, e.skip_reason,
  d.not_sent, d.reason, d.attempts, d.next_try_at, d.first_tried_at, d.delivered_at, d.sent_name, d.sent_at_s,
  d.contact_id`;

/**
 * Events `e` with their delivery `d`, which is missing while an event is not planned; $1 is the workspace. `offset 0`
 * keeps the lookup by key: a plain join, planned for the tables of the first day, read all deliveries for each event.
 */
export const EVENTS_WITH_DELIVERY = `events e left join lateral (
  select * from event_deliveries
   where workspace_id = $1 and subscriber_id = e.subscriber_id and project_id = e.project_id and event_id = e.event_id
     and e.side = 'customer' offset 0) d on true`;

/** Deliveries `d` with their event `e`, read by key as well: only the key has this order. */
export const DELIVERIES_WITH_EVENT = `event_deliveries d cross join lateral (
  select * from events where workspace_id = $1 and project_id = d.project_id and event_id = d.event_id
   order by side limit 1) e`;

/** Whether an event still has to be sent, in SQL over {@link EVENTS_WITH_DELIVERY}. */
export const IS_PENDING = `e.side = 'customer' and e.skip_reason is null and d.delivered_at is null and d.not_sent is null`;

export function toTimelineEntry(row: EventRow): TimelineEntry {
  const sent = row.delivered_at === null ? 'pending' : 'delivered';
  const event = readEvent(row.fields, {
    receivedAtMs: row.received_at.getTime(),
    fallbackId: row.event_id,
    side: row.side,
  });
  return {
    ...event,
    id: row.event_id,
    projectId: row.project_id,
    receivedAtMs: row.received_at.getTime(),
    delivery: {
      state: row.skip_reason === null ? (row.not_sent ?? sent) : 'skipped',
      reason: row.skip_reason ?? row.reason,
      attempts: row.attempts ?? 0,
      nextTryAtMs: row.next_try_at?.getTime() ?? null,
      deliveredAtMs: row.delivered_at?.getTime() ?? null,
      firstTriedAtMs: row.first_tried_at?.getTime() ?? null,
      sentAs: row.sent_name === null ? null : { name: row.sent_name, atS: Number(row.sent_at_s) },
      contactId: row.contact_id,
    },
  };
}

export async function readSubscriber(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Subscriber | null> {
  return (await readSubscribers(sql, workspaceId, [subscriberId])).get(subscriberId) ?? null;
}

/** By id; those that were merged away or erased are missing. */
async function readSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, Subscriber>> {
  const rows = await sql.query<Subscriber>(
    `select s.subscriber_id as "subscriberId", s.project_id as "projectId", s.email, s.snapshot,
            ${epochMs('s.snapshot_at')} as "snapshotAtMs", s.contact_id as "contactId", s.waiting,
            array(select i.app_user_id from subscriber_ids i
                   where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
                   order by i.app_user_id) as "appUserIds",
            array(select l.contact_id from contact_links l
                   where l.workspace_id = $1 and l.subscriber_id = s.subscriber_id
                   order by l.made_at desc) as "linkedContactIds"
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.merged_into is null`,
    [workspaceId, subscriberIds],
    'read-subscribers',
  );
  return new Map(rows.map((row) => [row.subscriberId, row]));
}

/**
 * Whose stored events are on a subscriber's timeline: all of its own, and of others those that came by transfer.
 */
export interface HistorySource {
  readonly subscriberId: string;
  /** Ids of the events that came by transfer; `null`: the subscriber's own, all of them. */
  readonly eventIds: readonly string[] | null;
}

export interface History {
  /** Oldest first. */
  readonly events: readonly TimelineEntry[];
  readonly sources: readonly HistorySource[];
  /** Of `events`, those stored for the subscriber itself. */
  readonly own: readonly TimelineEntry[];
}

export interface StoredHistory extends History {
  /** `null`: it was merged away or erased. */
  readonly subscriber: Subscriber | null;
  readonly snapshot: Snapshot | null;
}

export async function readWithHistory(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<StoredHistory> {
  const [stored] = (await readWithHistories(sql, workspaceId, [subscriberId])).values();
  if (!stored) throw new Error('No history was read');
  return stored;
}

/**
 * Each of these subscribers, by id, in two statements; only transfers cost more. With three for each subscriber, two
 * thirds of PostgreSQL's time for deliveries went into looking up single rows.
 */
export async function readWithHistories(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, StoredHistory>> {
  const [subscribers, owned] = await Promise.all([
    readSubscribers(sql, workspaceId, subscriberIds),
    readStoredEvents(sql, workspaceId, subscriberIds),
  ]);
  const histories = new Map<string, StoredHistory>();
  for (const [subscriberId, own] of owned) {
    const stored = await readTransferSources(sql, workspaceId, { subscriberId, own });
    const subscriber = subscribers.get(subscriberId) ?? null;
    const snapshot = subscriber?.snapshot ?? null;
    histories.set(subscriberId, { ...historyOf(subscriberId, stored), subscriber, snapshot });
  }
  return histories;
}

function historyOf(subscriberId: string, stored: ReadonlyMap<string, readonly TimelineEntry[]>): History {
  const { events, received } = assembleHistory(subscriberId, stored);
  const sources: HistorySource[] = [ownSource(subscriberId)];
  for (const [id, entries] of stored) {
    const ids = new Set(entries.map((entry) => entry.id));
    const eventIds = received.flatMap((event) => (ids.has(event.id) ? [event.id] : []));
    if (id !== subscriberId) sources.push({ subscriberId: id, eventIds });
  }
  return { events, sources, own: stored.get(subscriberId) ?? [] };
}

export function ownSource(subscriberId: string): HistorySource {
  return { subscriberId, eventIds: null };
}

/** The events of everyone whose transfers lead to this subscriber, however long the chain, by subscriber. */
async function readTransferSources(
  sql: Sql,
  workspaceId: string,
  { subscriberId, own }: { subscriberId: string; own: readonly TimelineEntry[] },
): Promise<Map<string, readonly TimelineEntry[]>> {
  const stored = new Map<string, readonly TimelineEntry[]>([[subscriberId, own]]);
  let unread = own;
  while (unread.length > 0) {
    const receipts = unread.filter((event) => event.side === 'customer' && isTransfer(event));
    if (receipts.length === 0) break;
    const found = await sql.query<{ subscriber_id: string }>(
      `select distinct subscriber_id from events
        where workspace_id = $1 and project_id = $2 and event_id = any($3) and side = 'source'`,
      [workspaceId, receipts[0]?.projectId, receipts.map((event) => event.id)],
    );
    const missing = found.map((row) => row.subscriber_id).filter((id) => !stored.has(id));
    const read = await readStoredEvents(sql, workspaceId, missing);
    for (const [id, events] of read) stored.set(id, events);
    unread = [...read.values()].flat();
  }
  return stored;
}

async function readStoredEvents(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, TimelineEntry[]>> {
  const events = new Map<string, TimelineEntry[]>(subscriberIds.map((id) => [id, []]));
  if (subscriberIds.length === 0) return events;
  const rows = await sql.query<EventRow & { subscriber_id: string }>(
    `select ${EVENT_COLUMNS}, e.subscriber_id from ${EVENTS_WITH_DELIVERY}
      where e.workspace_id = $1 and e.subscriber_id = any($2)
      order by e.event_at_ms, e.event_id`,
    [workspaceId, subscriberIds],
    'read-histories',
  );
  for (const row of rows) events.get(row.subscriber_id)?.push(toTimelineEntry(row));
  return events;
}

/** Whether an event of one of the sources' subscribers is on the timeline. */
export function isOnTimeline({ eventIds }: HistorySource, event: TimelineEntry): boolean {
  return eventIds === null || eventIds.includes(event.id);
}

/** What waking changes of subscribers `s`; more may follow. */
export const DUE = `due_at = now(), version = s.version + 1`;
/** As if none of its deliveries had failed. */
export const TRY_AGAIN = `${DUE}, attempts = 0, failing_since = null`;

/** Whether an e-mail that was set later replaces another, in ON CONFLICT of subscribers `s`. */
export const REPLACES_EMAIL = `excluded.email <> s.email and excluded.email_at_ms >= s.email_at_ms`;
/**
 * Keeps the e-mail that was set last, in ON CONFLICT of subscribers `s`. The contact may have been matched by the one
 * that is replaced: with nothing written it is looked up again.
 */
export const KEEP_LAST_EMAIL = `
  attributes_written = case when ${REPLACES_EMAIL} then null else s.attributes_written end,
  email = case when excluded.email is not null and excluded.email_at_ms >= s.email_at_ms
               then excluded.email else s.email end,
  email_at_ms = greatest(s.email_at_ms, excluded.email_at_ms)`;

/**
 * Makes subscribers due and wakes delivery when there are any. They are locked in one order, as by every statement
 * that writes several: otherwise it and a delivery could wait for each other.
 *
 * @param wake.where on subscribers `s`; its parameters after the workspace are `values`
 * @returns their number
 */
export async function wakeSubscribers(
  sql: Sql,
  workspaceId: string,
  wake: { set: string; where: string; values: readonly unknown[]; name?: string },
): Promise<number> {
  // Only counted: there may be a million.
  const [woken] = await sql.query<{ count: number }>(
    `with woken as (
       update subscribers s
          set ${wake.set}
        where s.workspace_id = $1 and s.subscriber_id = any(array(
                select s.subscriber_id from subscribers s
                 where s.workspace_id = $1 and ${wake.where}
                 order by s.subscriber_id for no key update))
       returning 1)
     select count(*)::integer as count from woken`,
    [workspaceId, ...wake.values],
    wake.name,
  );
  const count = woken?.count ?? 0;
  if (count > 0) await notifyDelivery(sql, workspaceId);
  return count;
}

/** Wakes delivery for subscribers: their contact or their state may have changed. */
export async function markPending(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<void> {
  if (subscriberIds.length === 0) return;
  await wakeSubscribers(sql, workspaceId, {
    set: DUE,
    where: 's.subscriber_id = any($2)',
    values: [subscriberIds],
    name: 'mark-pending',
  });
}

/**
 * Those whose state depends on what this subscriber had: its purchases were transferred to them, or went on to them
 * from there.
 */
export async function findTransferReceivers(
  sql: Sql,
  workspaceId: string,
  sourceId: string,
): Promise<string[]> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `with recursive receiver (subscriber_id) as (
       select $2::uuid
       union
       select r.subscriber_id
         from receiver before
         join events g on g.workspace_id = $1 and g.subscriber_id = before.subscriber_id and g.side = 'source'
         join events r on r.workspace_id = $1 and r.project_id = g.project_id and r.event_id = g.event_id
                      and r.side = 'customer'
     )
     select subscriber_id from receiver where subscriber_id <> $2`,
    [workspaceId, sourceId],
    'find-transfer-receivers',
  );
  return rows.map((row) => row.subscriber_id);
}

/**
 * Locks a subscriber until the transaction ends.
 *
 * @throws AppError `not_found` when the customer has been erased: nothing may be stored about them
 */
export async function lockSubscriber(sql: Sql, { workspaceId, subscriberId }: SubscriberKey): Promise<void> {
  const rows = await sql.query(
    `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 for no key update`,
    [workspaceId, subscriberId],
  );
  if (rows.length === 0) throw notFound('This customer was erased');
}
