import type { Logger } from 'pino';
import type { Database, Sql } from '../database/sql.ts';
import { thinPayload } from './redact-payload.ts';

/** Events of one statement. More would hold locks longer than a delivery should wait. */
const BATCH = 500;

/**
 * Thins the payloads of events that were received longer ago. Each workspace remembers how far it has come, so
 * that a day costs a day's events; an interrupted run goes on there.
 *
 * @param days `null`: payloads are kept whole
 * @returns number of events thinned
 */
export async function redactPayloads(
  database: Database,
  days: number | null,
  options: { logger: Logger; signal?: AbortSignal; batch?: number },
): Promise<number> {
  if (days === null) return 0;
  let thinned = 0;
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  for (const { workspace_id: workspaceId } of workspaces) {
    for (let more = true; more && !options.signal?.aborted; ) {
      const count = await database.transaction((sql) =>
        thinBatch(sql, workspaceId, days, options.batch ?? BATCH),
      );
      thinned += count;
      more = count > 0;
    }
  }
  if (thinned > 0) options.logger.info({ events: thinned, days }, 'thinned old payloads');
  return thinned;
}

async function thinBatch(sql: Sql, workspaceId: string, days: number, limit: number): Promise<number> {
  await sql.query(
    `insert into retention_marks (workspace_id, done_until) values ($1, '-infinity') on conflict do nothing`,
    [workspaceId],
  );
  // Two workers at it take turns; events that share the last moment of a batch all belong to it.
  const [bounds] = await sql.query<{ from_at: string; until_at: string | null }>(
    `with mark as (
       select done_until from retention_marks where workspace_id = $1 for update
     )
     select m.done_until::text as from_at,
            (select max(received_at) from (
               select received_at from events e
                where e.workspace_id = $1 and e.received_at > m.done_until
                  and e.received_at < now() - make_interval(days => $2)
                order by received_at limit $3) old)::text as until_at
       from mark m`,
    [workspaceId, days, limit],
  );
  if (!bounds?.until_at) return 0;
  const rows = await sql.query<{ project_id: string; event_id: string; side: string; payload: unknown }>(
    `select project_id, event_id, side, payload from events
      where workspace_id = $1 and received_at > $2::timestamptz and received_at <= $3::timestamptz`,
    [workspaceId, bounds.from_at, bounds.until_at],
  );
  await sql.query(
    `update events e set payload = t.payload
       from unnest($2::text[], $3::text[], $4::text[], $5::json[]) as t (project_id, event_id, side, payload)
      where e.workspace_id = $1 and e.project_id = t.project_id and e.event_id = t.event_id and e.side = t.side
        and e.event_id = any($3::text[])`,
    [
      workspaceId,
      rows.map((row) => row.project_id),
      rows.map((row) => row.event_id),
      rows.map((row) => row.side),
      rows.map((row) => JSON.stringify(thinPayload(row.payload))),
    ],
  );
  await sql.query(
    `update retention_marks set done_until = $2::timestamptz, updated_at = now() where workspace_id = $1`,
    [workspaceId, bounds.until_at],
  );
  return rows.length;
}
