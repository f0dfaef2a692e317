import type { Sql } from '../database/sql.ts';
import {
  EVENT_COLUMNS,
  type EventRow,
  type HistorySource,
  isOnTimeline,
  type TimelineEntry,
  toTimelineEntry,
} from '../subscribers/store.ts';
import type { Environment, EventKind } from '../subscription/types.ts';

/** A place on a timeline: the time of an event in epoch ms, and its id. */
export type Cursor = readonly [atMs: number, id: string];

export interface TimelineRow {
  readonly cursor: Cursor;
  readonly entry: TimelineEntry;
}

export interface TimelineQuery {
  readonly sources: readonly HistorySource[];
  /** Exclusive; `null`: from the newest. */
  readonly from: Cursor | null;
  readonly direction: 'older' | 'newer';
  /** `null`: all. */
  readonly kinds: readonly EventKind[] | null;
  readonly environment: Environment | null;
  readonly limit: number;
}

/**
 * A stretch of a timeline, in the direction asked for. Each source is one scan of the timeline's index from
 * the cursor on, which stops at the limit: page one hundred costs what page one costs.
 */
export async function readTimeline(
  sql: Sql,
  workspaceId: string,
  query: TimelineQuery,
): Promise<TimelineRow[]> {
  const older = query.direction === 'older';
  const { sources } = query;
  const beyond: Cursor = older ? [Number.MAX_SAFE_INTEGER, ''] : [-1, ''];
  const [atMs, id] = query.from ?? beyond;
  const order = older ? 'desc' : 'asc';
  const rows = await sql.query<EventRow>(
    `select e.* from unnest($2::uuid[], $3::boolean[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[])
            as source (subscriber_id, own, until_at, after_at, sandbox_after_at, sandbox_only)
      cross join lateral (
        select ${EVENT_COLUMNS} from events
         where workspace_id = $1 and subscriber_id = source.subscriber_id
           and (event_at_ms, event_id) ${older ? '<' : '>'} ($8::bigint, $9::text)
           and event_at_ms <= source.until_at
           and (source.own or (side = 'customer' and kind not in ('transfer', 'purchase_redeemed')
                and event_at_ms > case when environment = 'sandbox' then source.sandbox_after_at else source.after_at end
                and (environment = 'sandbox' or not source.sandbox_only)))
           and ($10::text[] is null or kind = any($10))
           and ($11::text is null or coalesce(environment, 'production') = $11)
         order by event_at_ms ${order}, event_id ${order}
         limit $12) e
      order by e.event_at_ms ${order}, e.event_id ${order}
      limit $12`,
    [
      workspaceId,
      sources.map((source) => source.subscriberId),
      sources.map((source) => source.isOwn),
      sources.map((source) => source.untilMs ?? Number.MAX_SAFE_INTEGER),
      sources.map((source) => source.afterMs),
      sources.map((source) => source.sandboxAfterMs),
      sources.map((source) => source.sandboxOnly),
      atMs,
      id,
      query.kinds,
      query.environment,
      query.limit,
    ],
    `read-timeline-${query.direction}`,
  );
  return rows.map((row) => ({
    cursor: [Number(row.event_at_ms), row.event_id],
    entry: toTimelineEntry(row),
  }));
}

/** One event, if it is on the timeline that the sources make; `null` otherwise. */
export async function readTimelineEvent(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  sources: readonly HistorySource[],
  eventId: string,
): Promise<TimelineEntry | null> {
  const rows = await sql.query<EventRow & { subscriber_id: string }>(
    `select ${EVENT_COLUMNS}, subscriber_id from events
      where workspace_id = $1 and project_id = $2 and event_id = $3 and subscriber_id = any($4::uuid[])`,
    [workspaceId, projectId, eventId, sources.map((source) => source.subscriberId)],
    'read-timeline-event',
  );
  for (const row of rows) {
    const entry = toTimelineEntry(row);
    const own = sources.filter((source) => source.subscriberId === row.subscriber_id);
    if (own.some((source) => isOnTimeline(source, entry))) return entry;
  }
  return null;
}
