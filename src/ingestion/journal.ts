import type { Logger } from 'pino';
import { createBatcher } from '../database/batcher.ts';
import { type Database, deleteInBatches, epochMs, queryRow, type Sql } from '../database/sql.ts';
import { JSON_SEPARATOR } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';

/** PostgreSQL's channel for "a webhook was appended"; the payload is `<workspace>/<project>`. */
export const WEBHOOK_CHANNEL = 'webhooks';

/**
 * Rows of one statement: beyond 250 a batch takes longer without carrying more webhooks a second. A second statement
 * starts only for 24 or more: with 64 callers, two statements of any size carried 14 webhooks each, one at a time 17.
 */
const BATCH_OPTIONS = { maxItems: 250, parallel: 2, minParallelItems: 24 };

export type ReceiptStatus = 'accepted' | 'duplicate';

export interface CheckedWebhook {
  readonly eventId: string;
  /** The body as it arrived. */
  readonly payload: string;
}

export type Journal = ReturnType<typeof createJournal>;

/** @param onAppended called after the commit, once for each project with new rows */
export function createJournal(database: Database, onAppended: (project: ProjectKey) => void) {
  let uncommitted = 0;
  const append = createBatcher(BATCH_OPTIONS, async (workspaceId, rows: readonly NewRow[]) => {
    const statuses = await appendWebhooks(database, workspaceId, rows);
    const accepted = rows.filter((_, index) => statuses[index] === 'accepted');
    for (const projectId of new Set(accepted.map((row) => row.projectId)))
      onAppended({ workspaceId, projectId });
    return statuses;
  });
  return {
    /** Appends a webhook; concurrent calls of one workspace share a statement. Resolves after the commit. */
    async append({ workspaceId, projectId }: ProjectKey, webhook: CheckedWebhook): Promise<ReceiptStatus> {
      uncommitted += 1;
      try {
        return await append(workspaceId, { projectId, ...webhook });
      } finally {
        uncommitted -= 1;
      }
    },
    uncommitted: () => uncommitted,
  };
}

type NewRow = CheckedWebhook & { readonly projectId: string };

async function appendWebhooks(
  sql: Sql,
  workspaceId: string,
  entries: readonly NewRow[],
): Promise<ReceiptStatus[]> {
  const rows = await sql.query<{ project_id: string; event_id: string }>(
    `insert into webhooks (workspace_id, project_id, event_id, payload)
     select $1, project_id, event_id, payload
       from unnest($2::text[], $3::text[], string_to_array($4, E'\\x1e')) as t (project_id, event_id, payload)
     on conflict (workspace_id, project_id, event_id) do nothing
     returning project_id, event_id`,
    [
      workspaceId,
      entries.map((entry) => entry.projectId),
      entries.map((entry) => entry.eventId),
      entries.map((entry) => entry.payload).join(JSON_SEPARATOR),
    ],
    'append-webhooks',
  );
  const appended = new Set(rows.map((row) => `${row.project_id} ${row.event_id}`));
  // When a batch holds an event twice, the first one counts as new.
  return entries.map((entry) =>
    appended.delete(`${entry.projectId} ${entry.eventId}`) ? 'accepted' : 'duplicate',
  );
}

/** Wakes the processors of other processes; without it they find the rows by polling. */
export function notifyProcessors(sql: Sql, { workspaceId, projectId }: ProjectKey): Promise<unknown> {
  return sql.query(
    `select pg_notify($1, $2)`,
    [WEBHOOK_CHANNEL, `${workspaceId}/${projectId}`],
    'notify-webhooks',
  );
}

/** @param payload of {@link WEBHOOK_CHANNEL} */
export function notifiedProject(payload: string): ProjectKey {
  const [workspaceId = '', projectId = ''] = payload.split('/');
  return { workspaceId, projectId };
}

export interface JournalRow extends CheckedWebhook {
  /** Position in the journal: rows are interpreted in this order. */
  readonly sequence: string;
  readonly receivedAtMs: number;
}

const COLUMNS = `event_id as "eventId", sequence, payload,
            ${epochMs('received_at')} as "receivedAtMs"`;

export function readUnprocessed(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  limit: number,
): Promise<JournalRow[]> {
  return sql.query(
    `select ${COLUMNS} from webhooks
      where workspace_id = $1 and project_id = $2 and processed_at is null
      order by sequence limit $3`,
    [workspaceId, projectId, limit],
    'read-unprocessed',
  );
}

/** Rows after a position that still have their payload, processed or not. */
export function readJournal(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  selection: { after: string; sinceMs: number; limit: number },
): Promise<JournalRow[]> {
  return sql.query(
    `select ${COLUMNS} from webhooks
      where workspace_id = $1 and project_id = $2 and sequence > $3 and received_at >= to_timestamp($4::float8 / 1000)
        and pruned_for is null
      order by sequence limit $5`,
    [workspaceId, projectId, selection.after, selection.sinceMs, selection.limit],
  );
}

/** Projects with unprocessed rows, of all workspaces. */
export function listUnprocessedProjects(sql: Sql): Promise<ProjectKey[]> {
  // Bounded: a long backlog belongs to projects that a processor works on already.
  return sql.query(
    `select distinct workspace_id as "workspaceId", project_id as "projectId"
       from (select workspace_id, project_id from webhooks where processed_at is null limit 10000) unprocessed`,
    [],
    'list-unprocessed-projects',
  );
}

/** @param errors by event id; the others were interpreted */
export async function markProcessed(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  rows: readonly JournalRow[],
  errors: ReadonlyMap<string, string>,
): Promise<void> {
  await sql.query(
    // With the bounds every index is fast: without statistics, PostgreSQL read a whole index for the project.
    `update webhooks set processed_at = now(), error = null
      where workspace_id = $1 and project_id = $2 and event_id = any($3) and sequence between $4 and $5`,
    [workspaceId, projectId, rows.map((row) => row.eventId), rows[0]?.sequence, rows.at(-1)?.sequence],
    'mark-processed',
  );
  if (errors.size === 0) return;
  await sql.query(
    `update webhooks w set error = f.error
       from unnest($3::text[], $4::text[]) as f (event_id, error)
      where w.workspace_id = $1 and w.project_id = $2 and w.event_id = f.event_id`,
    [workspaceId, projectId, [...errors.keys()], [...errors.values()]],
    'mark-failed',
  );
}

/** Empties webhooks that name an erased customer; without their payload they are never interpreted again. */
export async function pruneErased(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  eventIds: ReadonlySet<string>,
): Promise<void> {
  if (eventIds.size === 0) return;
  await sql.query(
    `update webhooks set payload = '', pruned_for = 'erased'
      where workspace_id = $1 and project_id = $2 and event_id = any($3)`,
    [workspaceId, projectId, [...eventIds]],
  );
}

/** Records for settings and health check that webhooks arrive: every five seconds at most, and after a refused one. */
export async function markReceived(sql: Sql, { workspaceId, projectId }: ProjectKey): Promise<void> {
  await sql.query(
    `update projects set last_received_at = now()
      where workspace_id = $1 and project_id = $2
        and (last_received_at is null or last_received_at < greatest(now() - interval '5 seconds', last_refused_at))`,
    [workspaceId, projectId],
    'mark-received',
  );
}

/** A webhook that the interpreter could not handle. It is stored, and `cli reinterpret` tries it again. */
type FailedWebhook = Readonly<{ projectId: string; eventId: string; receivedAt: Date; error: string }>;

/** Newest first. */
export function listFailedWebhooks(sql: Sql, workspaceId: string, limit: number): Promise<FailedWebhook[]> {
  return sql.query(
    `select project_id as "projectId", event_id as "eventId", received_at as "receivedAt", error from webhooks
      where workspace_id = $1 and error is not null order by received_at desc limit $2`,
    [workspaceId, limit],
  );
}

export async function countFailedWebhooks(sql: Sql, workspaceId: string): Promise<number> {
  const failed =
    'select count(*)::integer as count from webhooks where workspace_id = $1 and error is not null';
  return (await queryRow<{ count: number }>(sql, failed, [workspaceId])).count;
}

/** Rows of one statement. More would hold locks longer than a processor should wait. */
const PRUNE_BATCH = 500;

/**
 * Deletes processed rows that were received more than `days` ago. The interpreted events keep enough for timeline,
 * state and card, and a webhook that arrives again later is recognized by its event.
 *
 * @param days `null`: the journal is kept forever
 * @returns number of rows deleted
 */
export async function pruneJournal(
  database: Database,
  days: number | null,
  { logger, signal, batch = PRUNE_BATCH }: { logger: Logger; signal?: AbortSignal; batch?: number },
): Promise<number> {
  if (days === null) return 0;
  let pruned = 0;
  const projects = await database.query<ProjectKey>(
    `select workspace_id as "workspaceId", project_id as "projectId" from projects order by workspace_id, project_id`,
  );
  for (const { workspaceId, projectId } of projects)
    pruned += await deleteInBatches(async () => {
      if (signal?.aborted) return [];
      return database.query(
        // Reads from the journal's start, so that pruning a day costs that day's rows and needs no index on the time.
        `delete from webhooks
          where workspace_id = $1 and project_id = $2 and received_at < now() - make_interval(days => $3)
            and event_id in (select event_id from webhooks
                              where workspace_id = $1 and project_id = $2 and processed_at is not null
                              order by sequence limit $4)
         returning 1`,
        [workspaceId, projectId, days, batch],
      );
    });
  if (pruned > 0) logger.info({ webhooks: pruned, days }, 'pruned the journal');
  return pruned;
}
