import { type Database, epochMs, listsOf, type Sql } from '../database/sql.ts';
import {
  isCurrentSummary,
  type StoredSummary,
  SUMMARY_FORMAT,
  type SubscriberSummary,
  summarize,
  validUntil,
} from '../subscription/summary.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type HistorySource, readHistories } from './history.ts';

export interface NewSummary {
  readonly subscriberId: string;
  /** The subscriber's version, read before its history. */
  readonly version: number;
  readonly summary: SubscriberSummary;
  /** When it was made, UTC, ms. */
  readonly nowMs: number;
  /** The subscribers whose events are in it. */
  readonly sources: readonly HistorySource[];
}

/**
 * Stores one summary per subscriber, but none of an older version or of an erased subscriber. A summary with transfers
 * is not worth storing: late events of the transfer's source change it without changing the receiver's version.
 */
export async function saveSummaries(
  sql: Sql,
  workspaceId: string,
  summaries: readonly NewSummary[],
): Promise<void> {
  const withoutTransfers = summaries.filter(({ sources }) => sources.length === 1);
  if (withoutTransfers.length === 0) return;
  await sql.query(
    `with stored as (
       select subscriber_id, version from subscribers
        where workspace_id = $1 and subscriber_id = any($3::uuid[])
        order by subscriber_id for key share)
     insert into subscriber_summaries (workspace_id, subscriber_id, format, version, valid_until, content)
     select $1, s.subscriber_id, $2, k.version, to_timestamp(k.valid_until_ms / 1000.0), k.content::json
       from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[])
              as k (subscriber_id, version, valid_until_ms, content)
       join stored s on s.subscriber_id = k.subscriber_id and s.version = k.version
      order by s.subscriber_id
     on conflict (workspace_id, subscriber_id) do update
        set format = excluded.format, version = excluded.version, valid_until = excluded.valid_until,
            content = excluded.content`,
    [
      workspaceId,
      SUMMARY_FORMAT,
      ...listsOf(withoutTransfers, 'subscriberId', 'version'),
      withoutTransfers.map((each) => validUntil(each.summary.state, each.nowMs)),
      withoutTransfers.map((each) => JSON.stringify(each.summary)),
    ],
    'save-summaries',
  );
}

export async function readStoredSummaries(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, StoredSummary>> {
  const rows = await sql.query<StoredSummary & { subscriberId: string }>(
    `select subscriber_id as "subscriberId", format, version::float8, content as summary,
            ${epochMs('valid_until')} as "validUntilMs"
       from subscriber_summaries where workspace_id = $1 and subscriber_id = any($2)`,
    [workspaceId, subscriberIds],
    'read-stored-summaries',
  );
  return new Map(rows.map((row) => [row.subscriberId, row]));
}

type SubscriberVersion = Pick<NewSummary, 'subscriberId' | 'version'>;

/** Derives a summary from the whole history and stores it in the background for the next reader. */
export async function deriveSummary(
  { database, readDatabase, logger, now }: AppContext,
  workspaceId: string,
  subscriber: SubscriberVersion,
): Promise<NewSummary> {
  const [derived] = await derive(readDatabase, workspaceId, { subscribers: [subscriber], nowMs: now() });
  if (!derived) throw new Error('No history was read');
  const { subscriberId } = subscriber;
  saveSummaries(database, workspaceId, [derived]).catch((error: unknown) =>
    logger.warn({ err: error, workspaceId, subscriberId }, 'could not store a summary'),
  );
  return derived;
}

/** The summaries of subscribers, by id. A summary that is missing or outdated is derived and stored. */
export async function readSummaries(
  database: Database,
  workspaceId: string,
  { subscribers, nowMs }: Parameters<typeof derive>[2],
): Promise<Map<string, SubscriberSummary>> {
  const ids = subscribers.map(({ subscriberId }) => subscriberId);
  const stored = await readStoredSummaries(database, workspaceId, ids);
  const outdated = subscribers.filter(
    ({ subscriberId, version }) => !isCurrentSummary(stored.get(subscriberId), version, nowMs),
  );
  const derived = await derive(database, workspaceId, { subscribers: outdated, nowMs });
  await saveSummaries(database, workspaceId, derived);
  const summaries = new Map([...stored].map(([id, { summary }]) => [id, summary]));
  for (const { subscriberId, summary } of derived) summaries.set(subscriberId, summary);
  return summaries;
}

async function derive(
  sql: Sql,
  workspaceId: string,
  { subscribers, nowMs }: { readonly subscribers: readonly SubscriberVersion[]; readonly nowMs: number },
): Promise<NewSummary[]> {
  const ids = subscribers.map(({ subscriberId }) => subscriberId);
  const histories = await readHistories(sql, workspaceId, ids);
  return subscribers.flatMap(({ subscriberId, version }) => {
    const history = histories.get(subscriberId);
    if (!history) return [];
    const summary = summarize(history.events, history.snapshot, nowMs);
    return [{ subscriberId, version, summary, nowMs, sources: history.sources }];
  });
}
