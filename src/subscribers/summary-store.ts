import type { Sql } from '../database/sql.ts';
import { SUMMARY_FORMAT, type SubscriberSummary, summarize, validUntil } from '../subscription/summary.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type HistorySource, readHistoryWithSources, readSubscriber } from './store.ts';

export interface NewSummary {
  readonly subscriberId: string;
  /** The subscriber's, read before the history was. */
  readonly version: number;
  readonly summary: SubscriberSummary;
  /** When it was made, UTC, ms. */
  readonly nowMs: number;
}

/**
 * Stores one summary per subscriber; those of an older version or an erased subscriber are discarded. A history with
 * transfers is not worth storing: late events of the transfer's source change it without changing the receiver's
 * version.
 */
export async function saveSummaries(
  sql: Sql,
  workspaceId: string,
  summaries: readonly NewSummary[],
): Promise<void> {
  await sql.query(
    `with stored as (
       select subscriber_id, version from subscribers
        where workspace_id = $1 and subscriber_id = any($3::uuid[]) and merged_into is null
        order by subscriber_id for key share)
     insert into subscriber_summaries (workspace_id, subscriber_id, format, version, valid_until, summary)
     select $1, s.subscriber_id, $2, k.version, to_timestamp(k.valid_until_ms / 1000.0), k.summary::jsonb
       from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[])
              as k (subscriber_id, version, valid_until_ms, summary)
       join stored s on s.subscriber_id = k.subscriber_id and s.version = k.version
      order by s.subscriber_id
     on conflict (workspace_id, subscriber_id) do update
        set format = excluded.format, version = excluded.version, valid_until = excluded.valid_until,
            summary = excluded.summary
      where subscriber_summaries.version <= excluded.version`,
    [
      workspaceId,
      SUMMARY_FORMAT,
      summaries.map((kept) => kept.subscriberId),
      summaries.map((kept) => kept.version),
      summaries.map((kept) => validUntil(kept.summary.state, kept.nowMs)),
      summaries.map((kept) => JSON.stringify(kept.summary)),
    ],
    'save-summaries',
  );
}

/** Derives a summary from the whole history and stores it in the background for the next reader. */
export async function deriveSummary(
  { database, readDatabase, logger, now }: AppContext,
  workspaceId: string,
  { subscriberId, version }: Pick<NewSummary, 'subscriberId' | 'version'>,
): Promise<{ summary: SubscriberSummary; sources: readonly HistorySource[] }> {
  const nowMs = now();
  const [subscriber, { events, sources }] = await Promise.all([
    readSubscriber(readDatabase, workspaceId, subscriberId),
    readHistoryWithSources(readDatabase, workspaceId, subscriberId),
  ]);
  const summary = summarize(events, subscriber?.snapshot ?? null, nowMs);
  // A summary with another subscriber's purchases in it would not notice that one's late events.
  if (sources.length === 1) {
    saveSummaries(database, workspaceId, [{ subscriberId, version, summary, nowMs }]).catch(
      (error: unknown) => logger.warn({ err: error, workspaceId, subscriberId }, 'could not store a summary'),
    );
  }
  return { summary, sources };
}
