import type { Sql } from '../database/sql.ts';
import { readEvent } from '../subscription/read-event.ts';
import type { LifecycleEvent, Snapshot } from '../subscription/types.ts';

/** How an event stands with Intercom. */
export interface EventDelivery {
  readonly state: 'pending' | 'delivered' | 'failed' | 'skipped';
  /** A code: why it was skipped, has failed or waits. */
  readonly reason: string | null;
  readonly attempts: number;
  readonly nextTryAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly firstTriedAtMs: number | null;
  /** Name and second under which it was or is to be sent; `null`: not planned yet. */
  readonly mark: SentMark | null;
}

/** Intercom tells events of one contact apart by these two. */
export interface SentMark {
  readonly name: string;
  /** Unix seconds. */
  readonly atS: number;
}

export interface TimelineEntry extends LifecycleEvent {
  readonly projectId: string;
  readonly receivedAtMs: number;
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
  side: 'customer' | 'source';
  event_at_ms: string;
  received_at: Date;
  payload: { event?: unknown } | null;
  delivery: EventDelivery['state'];
  reason: string | null;
  attempts: number;
  next_try_at: Date | null;
  first_tried_at: Date | null;
  delivered_at: Date | null;
  sent_name: string | null;
  sent_at_s: string | null;
}

export const EVENT_COLUMNS = `project_id, event_id, side, event_at_ms, received_at, payload, delivery, reason, attempts,
  next_try_at, first_tried_at, delivered_at, sent_name, sent_at_s`;

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
    receivedAtMs: row.received_at.getTime(),
    delivery: {
      state: row.delivery,
      reason: row.reason,
      attempts: row.attempts,
      nextTryAtMs: row.next_try_at?.getTime() ?? null,
      deliveredAtMs: row.delivered_at?.getTime() ?? null,
      firstTriedAtMs: row.first_tried_at?.getTime() ?? null,
      mark: row.sent_name === null ? null : { name: row.sent_name, atS: Number(row.sent_at_s) },
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
  return (await readSubscribers(sql, workspaceId, [subscriberId])).get(subscriberId) ?? null;
}

/** By id; those that were merged away or erased are missing. */
export async function readSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, Subscriber>> {
  const rows = await sql.query<SubscriberRow>(
    `select s.subscriber_id, s.project_id, s.email, s.snapshot, s.snapshot_at, s.contact_id, s.waiting,
            array(select i.app_user_id from subscriber_ids i
                   where i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id
                   order by i.app_user_id) as app_user_ids
       from subscribers s
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.merged_into is null`,
    [workspaceId, subscriberIds],
    'read-subscribers',
  );
  return new Map(
    rows.map((row) => [
      row.subscriber_id,
      {
        subscriberId: row.subscriber_id,
        projectId: row.project_id,
        appUserIds: row.app_user_ids,
        email: row.email,
        snapshot: row.snapshot,
        snapshotAtMs: row.snapshot_at?.getTime() ?? null,
        contactId: row.contact_id,
        waiting: row.waiting,
      },
    ]),
  );
}

/** How many transfers a history is followed through; longer chains were never seen and would not end in a loop. */
const MAX_TRANSFERS = 8;

/**
 * A stretch of events that counts as a subscriber's own: all of its own, or what a giver had at the moment of
 * a transfer. Times are epoch ms.
 */
export interface HistorySource {
  readonly subscriberId: string;
  readonly isOwn: boolean;
  /** Events up to this moment; `null`: all. */
  readonly untilMs: number | null;
  /** Only later ones of production: what was there before had been given to somebody else. */
  readonly afterMs: number;
  /** The same for those of the sandbox. */
  readonly sandboxAfterMs: number;
  /** A transfer in the sandbox passes nothing that was paid for. */
  readonly sandboxOnly: boolean;
}

export interface History {
  /** Oldest first. */
  readonly events: readonly TimelineEntry[];
  readonly sources: readonly HistorySource[];
  /** Of `events`, those stored for the subscriber itself. */
  readonly own: readonly TimelineEntry[];
}

/**
 * Everything that a subscriber's state rests on, oldest first: its own events and, where purchases were
 * transferred to it, those that the giver had at that moment.
 */
export async function readHistory(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<readonly TimelineEntry[]> {
  return (await readHistoryWithSources(sql, workspaceId, subscriberId)).events;
}

/** The same, with where it comes from. */
export async function readHistoryWithSources(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<History> {
  const histories = await readHistories(sql, workspaceId, [subscriberId]);
  return histories.get(subscriberId) ?? historyOf(subscriberId, []);
}

/** The same for many subscribers, by id, in one statement; only transfers cost more. */
export async function readHistories(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, History>> {
  const rows = await sql.query<EventRow & { subscriber_id: string }>(
    `select ${EVENT_COLUMNS}, subscriber_id from events
      where workspace_id = $1 and subscriber_id = any($2)
      order by event_at_ms, event_id`,
    [workspaceId, subscriberIds],
    'read-histories',
  );
  const owned = new Map<string, TimelineEntry[]>(subscriberIds.map((subscriberId) => [subscriberId, []]));
  for (const row of rows) owned.get(row.subscriber_id)?.push(toTimelineEntry(row));
  const histories = new Map<string, History>();
  for (const [subscriberId, own] of owned) {
    const history = historyOf(subscriberId, own);
    await followTransfers(sql, workspaceId, { events: own, sandboxOnly: false }, MAX_TRANSFERS, history);
    if (history.sources.length > 1) history.events.sort((a, b) => a.atMs - b.atMs);
    histories.set(subscriberId, history);
  }
  return histories;
}

/** A history that what was transferred is still to be added to. */
interface GrowingHistory extends History {
  readonly events: TimelineEntry[];
  readonly sources: HistorySource[];
}

function historyOf(subscriberId: string, own: readonly TimelineEntry[]): GrowingHistory {
  return { events: [...own], sources: [ownSource(subscriberId)], own };
}

export function ownSource(subscriberId: string): HistorySource {
  return {
    subscriberId,
    isOwn: true,
    untilMs: null,
    afterMs: -1,
    sandboxAfterMs: -1,
    sandboxOnly: false,
  };
}

async function readEventsUntil(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
  untilMs: number,
): Promise<TimelineEntry[]> {
  const rows = await sql.query<EventRow>(
    `select ${EVENT_COLUMNS} from events
      where workspace_id = $1 and subscriber_id = $2 and event_at_ms <= $3
      order by event_at_ms, event_id`,
    [workspaceId, subscriberId, untilMs],
    'read-history-until',
  );
  return rows.map(toTimelineEntry);
}

async function followTransfers(
  sql: Sql,
  workspaceId: string,
  received: { events: readonly TimelineEntry[]; sandboxOnly: boolean },
  depth: number,
  history: GrowingHistory,
): Promise<void> {
  const receipts = received.events.filter((event) => event.side === 'customer' && isReceipt(event));
  if (receipts.length === 0 || depth === 0) return;
  const givers = await sql.query<{ event_id: string; subscriber_id: string }>(
    `select event_id, subscriber_id from events
      where workspace_id = $1 and project_id = $2 and event_id = any($3) and side = 'source'`,
    [workspaceId, receipts[0]?.projectId, receipts.map((event) => event.id)],
  );
  for (const giver of givers) {
    const receipt = receipts.find((event) => event.id === giver.event_id);
    if (!receipt) continue;
    const all = await readEventsUntil(sql, workspaceId, giver.subscriber_id, receipt.atMs);
    const source = sourceOf(giver.subscriber_id, receipt, received.sandboxOnly, all);
    const kept = all.filter((event) => isGiven(source, event));
    history.sources.push(source);
    history.events.push(...kept.filter((event) => !isReceipt(event)));
    const next = { events: kept, sandboxOnly: source.sandboxOnly };
    await followTransfers(sql, workspaceId, next, depth - 1, history);
  }
}

function sourceOf(
  subscriberId: string,
  receipt: TimelineEntry,
  sandboxOnly: boolean,
  all: readonly TimelineEntry[],
): HistorySource {
  // What the giver had given to somebody else before was not there to be given again.
  let afterMs = -1;
  let sandboxAfterMs = -1;
  for (const event of all) {
    if (event.side !== 'source' || event.id === receipt.id) continue;
    sandboxAfterMs = Math.max(sandboxAfterMs, event.atMs);
    if (event.environment !== 'sandbox') afterMs = Math.max(afterMs, event.atMs);
  }
  return {
    subscriberId,
    isOwn: false,
    untilMs: receipt.atMs,
    afterMs,
    sandboxAfterMs,
    sandboxOnly: sandboxOnly || receipt.environment === 'sandbox',
  };
}

/** Whether an event of a giver came along with a transfer. */
function isGiven(source: HistorySource, event: TimelineEntry): boolean {
  if (event.side !== 'customer') return false;
  if (event.environment === 'sandbox') return event.atMs > source.sandboxAfterMs;
  return !source.sandboxOnly && event.atMs > source.afterMs;
}

/** Whether an event of one of the sources' subscribers stands on the timeline that they make. */
export function isOnTimeline(source: HistorySource, event: TimelineEntry): boolean {
  if (source.isOwn) return true;
  return event.atMs <= (source.untilMs ?? 0) && isGiven(source, event) && !isReceipt(event);
}

function isReceipt(event: LifecycleEvent): boolean {
  return event.kind === 'transfer' || event.kind === 'purchase_redeemed';
}

/** Wakes delivery for one subscriber: its contact or its state may have changed. */
export async function markPending(sql: Sql, workspaceId: string, subscriberId: string): Promise<void> {
  await sql.query(
    `update subscribers set due_at = now(), version = version + 1, waiting = false
      where workspace_id = $1 and subscriber_id = $2`,
    [workspaceId, subscriberId],
  );
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}

/**
 * Wakes delivery for everybody whose state rests on what this subscriber had: those it gave its purchases to, and
 * those they went on to. For an event that comes after the transfer it happened before.
 */
export async function markTransferReceiversPending(
  sql: Sql,
  workspaceId: string,
  giverId: string,
): Promise<void> {
  await sql.query(
    `with recursive receiver (subscriber_id, transfers) as (
       select $2::uuid, 0
       union
       select r.subscriber_id, before.transfers + 1
         from receiver before
         join events g on g.workspace_id = $1 and g.subscriber_id = before.subscriber_id and g.side = 'source'
         join events r on r.workspace_id = $1 and r.project_id = g.project_id and r.event_id = g.event_id
                      and r.side = 'customer'
        where before.transfers < $3::integer
     )
     update subscribers
        set due_at = now(), version = version + 1
      where workspace_id = $1 and subscriber_id <> $2
        and subscriber_id in (select subscriber_id from receiver)`,
    [workspaceId, giverId, MAX_TRANSFERS],
    'make-receivers-due',
  );
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}
