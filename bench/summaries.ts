import { createHash } from 'node:crypto';
import type { Client } from 'pg';
import { pino } from 'pino';
import { openDatabase } from '../src/database/data-source.ts';
import { ownSource, readHistory } from '../src/subscribers/history.ts';
import { saveSummaries } from '../src/subscribers/summaries.ts';
import { summarize } from '../src/subscription/summary.ts';
import { WORKSPACE_ID } from './setting.ts';

/**
 * Stores every customer's summary as a delivery does. All histories of the benchmark are alike, so the app computes the
 * first customer's summary, and the others are copies of it.
 */
export async function keepSummaries(client: Client & { readonly url: string }): Promise<void> {
  const { database, close } = await openDatabase({ url: client.url, logger: pino({ level: 'silent' }) });
  const hex = createHash('md5').update('user-0').digest('hex');
  const subscriberId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const events = (await readHistory(database, WORKSPACE_ID, subscriberId)).events;
  const nowMs = Date.now();
  const summary = summarize(events, null, nowMs);
  await saveSummaries(database, WORKSPACE_ID, [
    { subscriberId, version: 1, summary, nowMs, sources: [ownSource(subscriberId)] },
  ]);
  await close();
  await client.query(
    `insert into subscriber_summaries (workspace_id, subscriber_id, format, version, valid_until, content)
     select s.workspace_id, s.subscriber_id, u.format, u.version, u.valid_until, u.content
       from subscribers s
       join subscriber_summaries u on u.workspace_id = s.workspace_id and u.subscriber_id = $2
      where s.workspace_id = $1 and s.subscriber_id <> $2`,
    [WORKSPACE_ID, subscriberId],
  );
  await client.query('analyze subscriber_summaries');
}
