import type { Sql } from '../database/sql.ts';
import { readFallbackEvents } from '../grants/fallback-events.ts';
import type { HistorySource } from '../subscribers/history.ts';
import {
  EVENT_COLUMNS,
  EVENTS_WITH_DELIVERY,
  type EventRow,
  type TimelineEntry,
  toTimelineEntry,
} from '../subscribers/stored-events.ts';
import type { EventKind } from '../subscription/kinds.ts';
import { markWithinCustomer } from '../subscription/transfers.ts';
import type { Environment } from '../subscription/types.ts';
import { compareTexts } from '../text.ts';
import type { CustomerContext } from './customer.ts';

export const PAGE_SIZE = 10;

/** A position on a timeline: the time of an event in epoch ms, and its id. */
export type Cursor = [atMs: number, id: string];

interface TimelineRow {
  readonly cursor: Cursor;
  readonly entry: TimelineEntry;
}

interface TimelineQuery {
  /** `null`: all. */
  readonly kinds: readonly EventKind[] | null;
  readonly environment: Environment | null;
  readonly sources: readonly HistorySource[];
  /** Exclusive; `null`: from the newest. */
  readonly from: Cursor | null;
  readonly limit: number;
}

/**
 * Reads a timeline from a cursor, newest first. Each source is one scan of the timeline's index, which stops at the
 * limit: page one hundred costs what page one costs. An imported event is left out if its webhook came later under
 * another id; both count as the same event by the rules of `keysOfEvent`.
 */
export async function readTimeline(
  sql: Sql,
  workspaceId: string,
  query: TimelineQuery,
): Promise<TimelineRow[]> {
  const { sources } = query;
  const [atMs, id] = query.from ?? [Number.MAX_SAFE_INTEGER, ''];
  const rows = await sql.query<EventRow>(
    `select t.* from unnest($2::uuid[], $3::boolean[]) as source (subscriber_id, own)
      cross join lateral (
        select ${EVENT_COLUMNS} from ${EVENTS_WITH_DELIVERY}
         where e.workspace_id = $1 and e.subscriber_id = source.subscriber_id
           and (e.event_at_ms, e.event_id) < ($4::bigint, $5::text)
           and (source.own or (e.side = 'customer' and e.event_id = any($6::text[])))
           and ($7::text[] is null or e.kind = any($7))
           and ($8::text is null or coalesce(e.environment, 'production') = $8)
           and not (e.side = 'source' and coalesce((
                 select true from events receipt
                  where receipt.workspace_id = $1 and receipt.subscriber_id = source.subscriber_id
                    and receipt.project_id = e.project_id and receipt.event_id = e.event_id
                    and receipt.event_at_ms = e.event_at_ms and receipt.side = 'customer'
                  limit 1), false))
           and not (coalesce(e.skip_reason, '') = 'imported' and coalesce((
                 select true from events webhook
                  where webhook.workspace_id = $1 and webhook.subscriber_id = source.subscriber_id
                    and webhook.event_at_ms = e.event_at_ms and webhook.transaction_id = e.transaction_id
                    and webhook.type = e.type and webhook.skip_reason is distinct from 'imported'
                    and (webhook.fields->>'cancel_reason', webhook.fields->>'product_id')
                        is not distinct from (e.fields->>'cancel_reason', e.fields->>'product_id')
                  limit 1), false))
         order by e.event_at_ms desc, e.event_id desc
         limit $9) t
      order by t.event_at_ms desc, t.event_id desc
      limit $9`,
    [
      workspaceId,
      sources.map((source) => source.subscriberId),
      sources.map((source) => source.eventIds === null),
      atMs,
      id,
      sources.flatMap((source) => source.eventIds ?? []),
      query.kinds,
      query.environment,
      query.limit,
    ],
    'read-timeline',
  );
  return rows.map((row) => ({
    cursor: [Number(row.event_at_ms), row.event_id],
    entry: toTimelineEntry(row),
  }));
}

/** An event of the customer's timeline; `null`: unknown id. */
export async function findEvent(context: CustomerContext, eventId: string): Promise<TimelineEntry | null> {
  const { customer, app, request } = context;
  const fallback = customer.fallbackEvents.find(({ id }) => id === eventId);
  if (fallback) return fallback;
  const { sources, project } = customer;
  const rows = await app.readDatabase.query<EventRow & { subscriber_id: string }>(
    `select ${EVENT_COLUMNS}, e.subscriber_id from ${EVENTS_WITH_DELIVERY}
      where e.workspace_id = $1 and e.project_id = $2 and e.event_id = $3 and e.subscriber_id = any($4::uuid[])
      order by e.side`,
    [request.workspaceId, project.projectId, eventId, sources.map((source) => source.subscriberId)],
    'read-timeline-event',
  );
  for (const row of rows) {
    const entry = toTimelineEntry(row);
    const ofRow = sources.filter((source) => source.subscriberId === row.subscriber_id);
    if (ofRow.some(({ eventIds }) => eventIds?.includes(entry.id) ?? true))
      return markWithinCustomer(entry, customer.appUserIds);
  }
  return null;
}

/**
 * A page of the timeline, including grants whose webhook has not arrived, plus one more event if there are older ones.
 * Pages start at events, not at numbers, so new events do not shift them.
 */
export async function readTimelinePage(
  { app, request, customer }: CustomerContext,
  wanted: Omit<TimelineQuery, 'sources' | 'limit'>,
): Promise<TimelineRow[]> {
  const { kinds, environment, from } = wanted;
  const limit = PAGE_SIZE + 1;
  const { sources, appUserIds } = customer;
  const stored = await readTimeline(app.readDatabase, request.workspaceId, { ...wanted, sources, limit });
  const rows = stored.map(({ cursor, entry }) => ({ cursor, entry: markWithinCustomer(entry, appUserIds) }));
  const isReported = rows.some(({ entry }) =>
    customer.fallbackEvents.some(({ kind }) => kind === entry.kind),
  );
  // A webhook may have arrived since the fallback events were read, and then both would be shown: read them again.
  const missing = isReported
    ? await readFallbackEvents(app.readDatabase, customer.actions)
    : customer.fallbackEvents;
  const fallback = missing
    .filter((event) => kinds === null || kinds.includes(event.kind))
    .filter((event) => environment === null || (event.environment ?? 'production') === environment)
    .map((entry): TimelineRow => ({ entry, cursor: [entry.atMs, entry.id] }))
    .filter(({ cursor }) => from === null || compareCursors(from, cursor) > 0);
  if (fallback.length === 0) return rows;
  return [...rows, ...fallback].sort((a, b) => compareCursors(b.cursor, a.cursor)).slice(0, limit);
}

function compareCursors(a: Cursor, b: Cursor): number {
  return a[0] - b[0] || compareTexts(a[1], b[1]);
}
