import { USE_ORDERED_INDEX } from '../database/sql.ts';
import { type LifecycleEvent, readEvent } from '../subscription/read-event.ts';

export interface EventDelivery {
  readonly state: 'pending' | 'delivered' | 'failed' | 'skipped';
  /** A code: why it was skipped, has failed or waits. */
  readonly reason: string | null;
  readonly attempts: number;
  readonly nextTryAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly firstTriedAtMs: number | null;
  /** Name and second under which it was or will be sent; `null`: not planned yet. */
  readonly sentAs: SentAs | null;
  /** The contact on which Intercom has accepted it, even if it was queued again since; `null`: none yet. */
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

/** The delivery of an event `e`; $1 is the workspace. `offset 0` keeps the lookup by key. */
export const DELIVERY_OF_EVENT = `select * from event_deliveries
   where workspace_id = $1 and subscriber_id = e.subscriber_id and project_id = e.project_id and event_id = e.event_id
     and e.side = 'customer' offset 0`;

/**
 * Events `e` with their delivery `d`, which is missing until the event is planned. A plain join, with a plan made for
 * almost empty tables, read all deliveries for each event.
 */
export const EVENTS_WITH_DELIVERY = `events e left join lateral (${DELIVERY_OF_EVENT}) d on true`;

/** The event that a row of `table` names. Only the key has this order, so the event is read by key. */
export const eventOf = (table: string): string => `select events.* from events, ${USE_ORDERED_INDEX}
   where workspace_id = $1 and project_id = ${table}.project_id and event_id = ${table}.event_id
   order by side limit 1`;

/** Deliveries `d` with their event `e`. */
export const DELIVERIES_WITH_EVENT = `event_deliveries d cross join lateral (${eventOf('d')}) e`;

/** Events of the subscribers `s` with their delivery. Only the index of timelines has this order, so it is used. */
export const EVENTS_OF_SUBSCRIBERS = `cross join lateral (
  select events.* from events, ${USE_ORDERED_INDEX}
   where workspace_id = $1 and subscriber_id = s.subscriber_id
   order by event_at_ms, event_id offset 0) e
  left join lateral (${DELIVERY_OF_EVENT}) d on true`;

/** Whether an event still has to be sent, in SQL over {@link EVENTS_WITH_DELIVERY}. */
export const IS_PENDING = `e.side = 'customer' and e.skip_reason is null and d.delivered_at is null and d.not_sent is null`;

export function toTimelineEntry(row: EventRow): TimelineEntry {
  const sent = row.delivered_at === null ? 'pending' : 'delivered';
  return {
    ...toEvent(row),
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

export type EventFields = Pick<EventRow, 'event_id' | 'side' | 'received_at' | 'fields'>;

export function toEvent({ event_id: id, side, received_at, fields }: EventFields): LifecycleEvent {
  return { ...readEvent(fields, { receivedAtMs: received_at.getTime(), fallbackId: id, side }), id };
}
