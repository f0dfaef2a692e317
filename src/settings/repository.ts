import { MAX_COUNTED, queryRow, type Sql } from '../database/sql.ts';
import { codeOf } from '../errors.ts';
import { EVENTS_OF_SUBSCRIBERS, EVENTS_WITH_DELIVERY, IS_PENDING } from '../subscribers/stored-events.ts';
import { EVENT_KINDS } from '../subscription/kinds.ts';
import { DUE_SUBSCRIBERS, hasMoreDue } from './deliveries-repository.ts';

export async function readOverview(sql: Sql, workspaceId: string) {
  const [overview, reasons, isPartial] = await Promise.all([
    // Looks for the last delivery in the last seven days only.
    queryRow<{ lastReceivedAt: Date | null; lastDeliveredAt: Date | null; failed: number }>(
      sql,
      `with failed_events as (select 1 from event_deliveries where workspace_id = $1 and not_sent = 'failed' limit $2)
       select (select max(last_received_at) from projects where workspace_id = $1) as "lastReceivedAt",
              (select max(at) from delivery_attempts
                where workspace_id = $1 and code = 'ok' and at > now() - interval '7 days') as "lastDeliveredAt",
              (select count(*)::integer from failed_events) as failed`,
      [workspaceId, MAX_COUNTED],
    ),
    sql.query<{ reason: string; count: number }>(
      `with pending as (
         select coalesce(pending_reason, '') as reason, pending_events as events from subscribers
          where workspace_id = $1 and pending_events > 0 and (due_at is null or due_at > now()) limit $2
       ), due as (
         -- Counted from the events: more may have arrived since the last delivery of these subscribers.
         select coalesce(d.reason, '') as reason, 1 as events from ${DUE_SUBSCRIBERS} s ${EVENTS_OF_SUBSCRIBERS}
          where ${IS_PENDING}
          limit $2
       )
       select reason, sum(events)::integer as count
         from (select * from pending union all select * from due) counted
        group by 1 order by 2 desc`,
      [workspaceId, MAX_COUNTED],
    ),
    hasMoreDue(sql, workspaceId),
  ]);
  /** Numbers of events by the reason why they wait; `''`: queued, without such a reason. */
  const pending = new Map(reasons.map(({ reason, count }) => [reason, count]));
  return { ...overview, pending, isPartial };
}

/**
 * The last 30 days in the workspace's time zone, oldest first. Imported history is not counted. Both tables are counted
 * on their own: joined, they took four times as long.
 */
export async function readActivity(sql: Sql, workspaceId: string, timeZone: string) {
  try {
    return await readDays(sql, workspaceId, timeZone);
  } catch (error) {
    // PostgreSQL may know fewer zones than Node: its list is older, or lacks former names.
    if (codeOf(error) !== INVALID_PARAMETER_VALUE || timeZone === 'UTC') throw error;
    return readDays(sql, workspaceId, 'UTC');
  }
}

const INVALID_PARAMETER_VALUE = '22023';

function readDays(sql: Sql, workspaceId: string, timeZone: string) {
  return sql.query<{ day: string; received: number; delivered: number; failed: number }>(
    `select to_char(days.day, 'YYYY-MM-DD') as day, coalesce(arrived.received, 0)::integer as received,
            coalesce(sent.delivered, 0)::integer as delivered, coalesce(sent.failed, 0)::integer as failed
       from generate_series((now() at time zone $2)::date - 29, (now() at time zone $2)::date, interval '1 day') as days (day)
       left join (
         select (received_at at time zone $2)::date as day, count(*) as received
           from events
          where workspace_id = $1 and side = 'customer' and skip_reason is distinct from 'imported'
            and received_at > now() - interval '30 days'
          group by 1) arrived on arrived.day = days.day
       left join (
         select (received_at at time zone $2)::date as day, count(delivered_at) as delivered,
                count(*) filter (where not_sent = 'failed') as failed
           from event_deliveries
          where workspace_id = $1 and received_at > now() - interval '30 days'
          group by 1) sent on sent.day = days.day
      order by 1`,
    [workspaceId, timeZone],
  );
}

/** Seconds from the webhook to the contact for the newest delivered events; `null`: none was delivered. */
export async function readTimeToContact(sql: Sql, workspaceId: string) {
  const [row] = await sql.query<{ medianS: number; p95S: number }>(
    `select percentile_cont(0.5) within group (order by seconds) as "medianS",
            percentile_cont(0.95) within group (order by seconds) as "p95S"
       from (select extract(epoch from d.delivered_at - e.received_at)::float8 as seconds from ${EVENTS_WITH_DELIVERY}
              where e.workspace_id = $1 and e.side = 'customer' and e.received_at > now() - interval '30 days'
              order by e.received_at desc limit 5000) recent
     having count(seconds) > 0`,
    [workspaceId],
  );
  return row ?? null;
}

/** Events of each kind in the last 30 days, and when the last one ever arrived. Kinds without any are missing. */
export async function readKindCounts(sql: Sql, workspaceId: string) {
  // One index lookup for each kind, because counting millions of events takes seconds.
  const rows = await sql.query<{ kind: string; recent: number; lastAt: Date }>(
    `select wanted.kind, counted.recent, newest.last_at as "lastAt"
       from unnest($2::text[]) as wanted (kind)
      cross join lateral (select received_at as last_at from events e
                           where e.workspace_id = $1 and e.kind = wanted.kind and e.side = 'customer'
                           order by e.received_at desc limit 1) newest
      cross join lateral (select count(*)::integer as recent from events e
                           where e.workspace_id = $1 and e.kind = wanted.kind and e.side = 'customer'
                             and e.received_at > now() - interval '30 days') counted`,
    [workspaceId, EVENT_KINDS],
  );
  return new Map(rows.map(({ kind, ...counts }) => [kind, counts]));
}

/** Kinds with at least one delivery under their name among their newest 1,000 events. @param names by kind */
export async function readDeliveredKinds(
  sql: Sql,
  workspaceId: string,
  names: ReadonlyMap<string, string>,
): Promise<Set<string>> {
  const rows = await sql.query<{ kind: string }>(
    `select wanted.kind
       from unnest($2::text[], $3::text[]) as wanted (kind, name)
      where exists (select 1
                      from (select d.delivered_at, d.sent_name from ${EVENTS_WITH_DELIVERY}
                             where e.workspace_id = $1 and e.kind = wanted.kind and e.side = 'customer'
                             order by e.received_at desc limit 1000) newest
                     where newest.delivered_at is not null and newest.sent_name = wanted.name)`,
    [workspaceId, [...names.keys()], [...names.values()]],
  );
  return new Set(rows.map((row) => row.kind));
}

export function readMatching(sql: Sql, workspaceId: string) {
  return queryRow<{ matched: number; waiting: number }>(
    sql,
    `select (select count(*)::integer from subscribers where workspace_id = $1 and contact_id is not null) as matched,
            (select count(*)::integer from subscribers where workspace_id = $1 and waiting and merged_into is null) as waiting`,
    [workspaceId],
  );
}
