import { MAX_DUE_COUNTED, queryRow, type Sql } from '../database/sql.ts';
import type { Attempt } from '../delivery/event-deliveries.ts';
import { IDENTIFIED_FIRST } from '../subscribers/search.ts';
import {
  DELIVERIES_WITH_EVENT,
  DELIVERY_OF_EVENT,
  EVENTS_OF_SUBSCRIBERS,
  EVENTS_WITH_DELIVERY,
  type EventDelivery,
  eventOf,
  IS_PENDING,
} from '../subscribers/stored-events.ts';
import type { DeliverableKind } from '../subscription/kinds.ts';

/** The subscribers that have been due the longest. The events of any others are neither counted nor listed. */
export const DUE_SUBSCRIBERS = `(select subscriber_id from subscribers where workspace_id = $1 and due_at <= now()
                           order by due_at limit ${MAX_DUE_COUNTED})`;

/** Whether more subscribers may be due than are read. */
export async function hasMoreDue(sql: Sql, workspaceId: string): Promise<boolean> {
  const { due } = await queryRow<{ due: number }>(
    sql,
    `select count(*)::integer as due from ${DUE_SUBSCRIBERS} due`,
    [workspaceId],
  );
  return due === MAX_DUE_COUNTED;
}

export const DELIVERY_FILTERS = ['all', 'failed', 'waiting', 'pending', 'delivered', 'skipped'] as const;
export type DeliveryFilter = (typeof DELIVERY_FILTERS)[number];

export interface DeliveryRow {
  readonly projectId: string;
  readonly eventId: string;
  readonly kind: string;
  readonly type: string;
  readonly appUserId: string | null;
  readonly happenedAt: Date;
  readonly receivedAt: Date;
  /** Epoch µs, for the next page. */
  readonly receivedAtUs: string;
  readonly state: EventDelivery['state'];
  readonly reason: string | null;
  readonly nextTryAt: Date | null;
  readonly deliveredAt: Date | null;
  readonly eventName: string | null;
  readonly contactId: string | null;
  readonly subscriberId: string;
}

const DELIVERY_COLUMNS = `e.project_id as "projectId", e.event_id as "eventId", e.kind, e.type,
  coalesce(e.fields->>'app_user_id',
           (select i.app_user_id from subscriber_ids i
             where i.workspace_id = $1 and i.subscriber_id = e.subscriber_id
             order by ${IDENTIFIED_FIRST} limit 1)) as "appUserId",
  to_timestamp(e.event_at_ms / 1000.0) as "happenedAt", e.received_at as "receivedAt",
  (extract(epoch from e.received_at) * 1000000)::bigint as "receivedAtUs",
  case when e.skip_reason is not null then 'skipped'
       else coalesce(d.not_sent, case when d.delivered_at is null then 'pending' else 'delivered' end) end as state,
  coalesce(e.skip_reason, d.reason) as reason, d.next_try_at as "nextTryAt", d.delivered_at as "deliveredAt",
  d.sent_name as "eventName",
  coalesce(d.contact_id, (select s.contact_id from subscribers s
                           where s.workspace_id = $1 and s.subscriber_id = e.subscriber_id)) as "contactId",
  e.subscriber_id as "subscriberId"`;

interface DeliveryQuery {
  readonly show: DeliveryFilter;
  /** An app user ID; `null`: everyone. */
  readonly customer: string | null;
  readonly kind: DeliverableKind | null;
  /** The last row of the previous page: its `receivedAtUs` and event id. */
  readonly before: { atUs: string; eventId: string } | null;
  readonly limit: number;
}

/** A query for events `e` and their deliveries `d`. It reads an index of `order`, `e` or `d`, newest first. */
interface Source {
  readonly from: string;
  /** The filter's own condition by default. */
  readonly where?: string;
  readonly order?: 'd' | 'e';
}

/** Failed and skipped deliveries have an index of their own. */
const DELIVERIES: Source = { from: DELIVERIES_WITH_EVENT, order: 'd' };
/**
 * Finds pending deliveries through their subscribers, and sorts them before it reads their events: reading the events
 * of all 10,000 took half a second.
 */
const pending = (where: string): Source => ({
  from: `(select d.* from (select subscriber_id from subscribers where workspace_id = $1 and pending_events > 0
                           union
                           select subscriber_id from ${DUE_SUBSCRIBERS} due) s
           cross join lateral (
             select * from event_deliveries
              where workspace_id = $1 and subscriber_id = s.subscriber_id and delivered_at is null
                and not_sent is null offset 0) d
           where ${where}
           order by d.received_at desc, d.event_id desc offset 0) d
    cross join lateral (${eventOf('d')}) e`,
  where: 'e.skip_reason is null',
  order: 'd',
});
/** Events without a delivery yet. Only subscribers that are due have any. */
const NOT_PLANNED: Source = {
  from: `${DUE_SUBSCRIBERS} s ${EVENTS_OF_SUBSCRIBERS}`,
  where: 'e.skip_reason is null and d.event_id is null',
};

const OF_CUSTOMER = `unnest(array(select distinct subscriber_id from subscriber_ids
                                   where workspace_id = $1 and app_user_id = $6)) as s (subscriber_id)
  ${EVENTS_OF_SUBSCRIBERS}`;
const IS_WAITING = `d.reason is not distinct from 'waiting_for_contact'`;

/**
 * `where` is a condition on an event and its delivery. `sources` find the events of all customers; the default searches
 * all events. A search for one customer needs no sources, because one customer has few events.
 */
const FILTERS: Readonly<Record<DeliveryFilter, { where: string; sources?: readonly Source[] }>> = {
  all: { where: 'true' },
  failed: { where: `d.not_sent = 'failed'`, sources: [DELIVERIES] },
  waiting: { where: `${IS_PENDING} and ${IS_WAITING}`, sources: [pending(IS_WAITING)] },
  pending: {
    where: `${IS_PENDING} and not (${IS_WAITING})`,
    sources: [pending(`not (${IS_WAITING})`), NOT_PLANNED],
  },
  // Imported events have no delivery. Without the first condition, PostgreSQL looked for one for each of them.
  delivered: { where: 'e.skip_reason is null and d.delivered_at is not null' },
  skipped: {
    where: `(e.skip_reason is not null or d.not_sent = 'skipped')`,
    sources: [
      { from: 'events e', where: 'e.skip_reason is not null' },
      { ...DELIVERIES, where: `d.not_sent = 'skipped'` },
    ],
  },
};

/**
 * The keys of a source's newest events. Without a kind, the query must not match the index of kinds: without good
 * estimates, the planner read all of that index instead of the newest events in order.
 */
function newestOf({ from, where, order = 'e' }: Source, ofKind: boolean) {
  return `(select e.project_id, e.event_id from ${from}
     where ${order === 'd' ? 'd.workspace_id = $1 and ' : ''}e.workspace_id = $1 and ${where}
       and ${ofKind ? `e.side = 'customer' and e.kind = $5` : `e.side <> 'source' and $5::text is null`}
       and ($2::bigint is null
            or (${order}.received_at, ${order}.event_id) < (to_timestamp($2::bigint / 1000000.0), $3::text))
     order by ${order}.received_at desc, ${order}.event_id desc
     limit $4)`;
}

/** Deliveries of a workspace, the most recently received event first. */
export function listDeliveries(
  sql: Sql,
  workspaceId: string,
  { show, customer, kind, before, limit }: DeliveryQuery,
): Promise<DeliveryRow[]> {
  const { where, sources = [{ from: EVENTS_WITH_DELIVERY }] } = FILTERS[show];
  const searched = customer === null ? sources : [{ from: OF_CUSTOMER }];
  const newest = searched.map((source) => newestOf({ where, ...source }, kind !== null));
  return sql.query<DeliveryRow>(
    `select ${DELIVERY_COLUMNS}
       from (${newest.join(' union ')}) newest
      cross join lateral (${eventOf('newest')}) e
       left join lateral (${DELIVERY_OF_EVENT}) d on true
      order by e.received_at desc, e.event_id desc
      limit $4`,
    [
      workspaceId,
      before?.atUs ?? null,
      before?.eventId ?? null,
      limit,
      kind,
      ...(customer === null ? [] : [customer]),
    ],
  );
}

export async function readDelivery(
  sql: Sql,
  workspaceId: string,
  eventId: string,
): Promise<DeliveryRow | null> {
  const [row] = await sql.query<DeliveryRow>(
    `select ${DELIVERY_COLUMNS} from ${EVENTS_WITH_DELIVERY}
      where e.workspace_id = $1 and e.event_id = $2 and e.side = 'customer'`,
    [workspaceId, eventId],
  );
  return row ?? null;
}

export interface AttemptRow extends Omit<Attempt, 'subscriberId'> {
  readonly at: Date;
}

const MAX_ATTEMPTS = 50;

/** The calls that sent an event or, since it was received, wrote its customer's attributes; newest first. */
export function listAttempts(
  sql: Sql,
  workspaceId: string,
  event: Pick<DeliveryRow, 'eventId' | 'subscriberId' | 'receivedAt'>,
): Promise<AttemptRow[]> {
  return sql.query<AttemptRow>(
    `select at, event_id as "eventId", request, status, code, message, answer
       from delivery_attempts
      where workspace_id = $1 and subscriber_id = $2
        and (event_id = $3 or (event_id is null and at >= $4))
      order by attempt_id desc
      limit $5`,
    [workspaceId, event.subscriberId, event.eventId, event.receivedAt, MAX_ATTEMPTS],
  );
}
