import type { Sql } from '../database/sql.ts';
import { withKnownEnvironments } from '../subscription/event-order.ts';
import { assembleHistory, isTransfer } from '../subscription/transfers.ts';
import type { Snapshot } from '../subscription/types.ts';
import { readSubscribers, type Subscriber } from './repository.ts';
import {
  EVENT_COLUMNS,
  EVENTS_WITH_DELIVERY,
  type EventRow,
  type TimelineEntry,
  toTimelineEntry,
} from './stored-events.ts';

/** A subscriber whose stored events are on a timeline: its own, or that of a receiver of its purchases. */
export interface HistorySource {
  readonly subscriberId: string;
  /** Ids of the events that came by transfer; `null`: all events, since the timeline is the subscriber's own. */
  readonly eventIds: readonly string[] | null;
}

export interface History {
  /** `null`: it was merged away or erased. */
  readonly subscriber: Subscriber | null;
  readonly snapshot: Snapshot | null;
  /** Oldest first. */
  readonly events: readonly TimelineEntry[];
  /** The part of `events` that is stored for the subscriber itself. */
  readonly ownEvents: readonly TimelineEntry[];
  readonly sources: readonly HistorySource[];
}

export async function readHistory(sql: Sql, workspaceId: string, subscriberId: string): Promise<History> {
  const [history] = (await readHistories(sql, workspaceId, [subscriberId])).values();
  if (!history) throw new Error('No history was read');
  return history;
}

/**
 * Reads the histories of subscribers, by id, in two statements; only transfers cost more. With three statements for
 * each subscriber, two thirds of PostgreSQL's time for deliveries went into looking up single rows.
 */
export async function readHistories(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, History>> {
  const [subscribers, owned] = await Promise.all([
    readSubscribers(sql, workspaceId, subscriberIds),
    readStoredEvents(sql, workspaceId, subscriberIds),
  ]);
  const histories = new Map<string, History>();
  for (const [subscriberId, ownEvents] of owned) {
    const stored = await readTransferSources(sql, workspaceId, { subscriberId, ownEvents });
    const { events, received } = assembleHistory(subscriberId, stored);
    const sources = [ownSource(subscriberId)];
    for (const [id, entries] of stored) {
      const ids = new Set(entries.map((entry) => entry.id));
      const eventIds = received.flatMap((event) => (ids.has(event.id) ? [event.id] : []));
      if (id !== subscriberId) sources.push({ subscriberId: id, eventIds });
    }
    const subscriber = subscribers.get(subscriberId) ?? null;
    const snapshot = subscriber?.snapshot ?? null;
    histories.set(subscriberId, { subscriber, snapshot, events, ownEvents, sources });
  }
  return histories;
}

export function ownSource(subscriberId: string): HistorySource {
  return { subscriberId, eventIds: null };
}

/** Events of all subscribers whose purchases came to this one through any number of transfers, by subscriber. */
async function readTransferSources(
  sql: Sql,
  workspaceId: string,
  { subscriberId, ownEvents }: { subscriberId: string; ownEvents: readonly TimelineEntry[] },
): Promise<Map<string, readonly TimelineEntry[]>> {
  const stored = new Map<string, readonly TimelineEntry[]>([[subscriberId, ownEvents]]);
  let unread = ownEvents;
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
  for (const [id, entries] of events) events.set(id, withKnownEnvironments(entries));
  return events;
}

/**
 * Subscribers whose state depends on this one's events: its purchases were transferred to them, directly or by way of
 * others.
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
