import { randomUUID } from 'node:crypto';
import { STATEMENT_CLOCK } from '../database/clock.ts';
import type { Database, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { openList } from './customers-list-store.ts';

/** One import of a project's history. */
export interface ImportRef {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly importId: string;
}

export type ImportState = 'running' | 'paused' | 'cancelled' | 'done' | 'failed';

/** How far an import is. Counts are of customers unless their name says otherwise. */
export interface ImportProgress extends ImportRef {
  readonly state: ImportState;
  /** A failure's code: why it has failed, or what it waits for. */
  readonly reason: string | null;
  /** Events since then go to contacts, epoch ms; `null`: none do. */
  readonly eventsSinceMs: number | null;
  /** Whether RevenueCat offers the events; `null`: not known yet. */
  readonly hasEvents: boolean | null;
  /** What the next page of RevenueCat's list follows. */
  readonly cursor: string | null;
  /** Whether all customers are listed: only then is `listed` the whole number. */
  readonly isListed: boolean;
  readonly listed: number;
  readonly done: number;
  readonly newCustomers: number;
  /** RevenueCat listed them and no longer knew them. */
  readonly missing: number;
  /** Given up after several attempts. */
  readonly failed: number;
  readonly subscriptions: number;
  readonly purchases: number;
  readonly newEvents: number;
  readonly knownEvents: number;
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
  /** Customers a minute in the last half minute or so; 0: not known, the first calls of a minute being free. */
  readonly perMinute: number;
}

interface ImportRow {
  workspace_id: string;
  project_id: string;
  import_id: string;
  state: ImportState;
  reason: string | null;
  events_since: string | null;
  has_events: boolean | null;
  cursor: string | null;
  is_listed: boolean;
  listed: number;
  done: number;
  new_customers: number;
  missing: number;
  failed: number;
  subscriptions: number;
  purchases: number;
  new_events: number;
  known_events: number;
  started_at: Date;
  finished_at: Date | null;
  per_minute: number;
}

const STORED = `workspace_id, project_id, import_id, state, reason, events_since, has_events, cursor, is_listed,
  listed, done, new_customers, missing, failed, subscriptions, purchases, new_events, known_events, started_at,
  finished_at`;

const COLUMNS = `${STORED},
  (case when state = 'running' and seen_at > clock_timestamp() - interval '1 minute' and done > pace_before_done
             and pace_before_at < clock_timestamp() - interval '5 seconds'
        then (done - pace_before_done) * 60 / extract(epoch from clock_timestamp() - pace_before_at)
        else 0 end)::float8 as per_minute`;

function toProgress(row: ImportRow): ImportProgress {
  return {
    workspaceId: row.workspace_id,
    projectId: row.project_id,
    importId: row.import_id,
    state: row.state,
    reason: row.reason,
    eventsSinceMs: row.events_since === null ? null : Number(row.events_since),
    hasEvents: row.has_events,
    cursor: row.cursor,
    isListed: row.is_listed,
    listed: row.listed,
    done: row.done,
    newCustomers: row.new_customers,
    missing: row.missing,
    failed: row.failed,
    subscriptions: row.subscriptions,
    purchases: row.purchases,
    newEvents: row.new_events,
    knownEvents: row.known_events,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    perMinute: row.per_minute,
  };
}

/**
 * Starts an import of a project, or joins the one that runs, was paused, or failed before its end: it goes on
 * where it stopped.
 *
 * @throws AppError `conflict` when one with other events is on its way
 */
export async function startImport(
  database: Database,
  wanted: {
    workspaceId: string;
    projectId: string;
    eventsSinceMs: number | null;
    startedBy: Readonly<Record<string, string>>;
  },
): Promise<{ progress: ImportProgress; joined: boolean }> {
  const { workspaceId, projectId, eventsSinceMs } = wanted;
  return database.transaction(async (sql) => {
    // Two people starting at once: the second joins.
    await sql.query('select 1 from projects where workspace_id = $1 and project_id = $2 for update', [
      workspaceId,
      projectId,
    ]);
    const last = await readLatestImport(sql, workspaceId, projectId);
    if (last && (last.state === 'running' || last.state === 'paused' || last.state === 'failed')) {
      if (eventsSinceMs === null || last.eventsSinceMs === eventsSinceMs) {
        if (last.state !== 'running') await changeState(sql, last, [last.state], 'running');
        return { progress: { ...last, state: 'running' }, joined: true };
      }
      if (last.state !== 'failed') {
        throw new AppError(
          'conflict',
          'An import of this project is on its way with another choice of events: let it finish, or cancel it first',
          { status: 409 },
        );
      }
    }
    const [row] = await sql.query<ImportRow>(
      `insert into imports (workspace_id, project_id, import_id, events_since, started_by)
       values ($1, $2, $3, $4, $5) returning ${STORED}, 0::float8 as per_minute`,
      [workspaceId, projectId, randomUUID(), eventsSinceMs, JSON.stringify(wanted.startedBy)],
    );
    if (!row) throw new Error('The import was not stored');
    const progress = toProgress(row);
    await openList(sql, progress);
    return { progress, joined: false };
  });
}

export async function readImport(sql: Sql, ref: ImportRef): Promise<ImportProgress | null> {
  const [row] = await sql.query<ImportRow>(
    `select ${COLUMNS} from imports where workspace_id = $1 and project_id = $2 and import_id = $3`,
    [ref.workspaceId, ref.projectId, ref.importId],
    'read-import',
  );
  return row ? toProgress(row) : null;
}

export async function readLatestImport(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<ImportProgress | null> {
  const [row] = await sql.query<ImportRow>(
    `select ${COLUMNS} from imports where workspace_id = $1 and project_id = $2
      order by started_at desc, import_id limit 1`,
    [workspaceId, projectId],
  );
  return row ? toProgress(row) : null;
}

/** Those that should be worked on, of all workspaces. */
export async function listRunningImports(sql: Sql): Promise<ImportRef[]> {
  const rows = await sql.query<{ workspace_id: string; project_id: string; import_id: string }>(
    `select i.workspace_id, i.project_id, i.import_id from workspaces w
       join imports i on i.workspace_id = w.workspace_id and i.state = 'running'`,
  );
  return rows.map((row) => ({
    workspaceId: row.workspace_id,
    projectId: row.project_id,
    importId: row.import_id,
  }));
}

/** @returns whether it was in one of the states that this leads from */
export async function changeState(
  sql: Sql,
  ref: ImportRef,
  from: readonly ImportState[],
  to: ImportState,
  reason: string | null = null,
): Promise<boolean> {
  const rows = await sql.query(
    `update imports
        set state = $5, reason = $6,
            finished_at = case when $5 in ('done', 'cancelled', 'failed') then clock.at end,
            pace_at = clock.at, pace_done = done, pace_before_at = clock.at, pace_before_done = done
       from ${STATEMENT_CLOCK}
      where workspace_id = $1 and project_id = $2 and import_id = $3 and state = any($4)
     returning 1`,
    [ref.workspaceId, ref.projectId, ref.importId, from, to, reason],
  );
  return rows.length > 0;
}

/** What a running import waits for; `null`: nothing. */
export async function explainWait(sql: Sql, ref: ImportRef, reason: string | null): Promise<void> {
  await sql.query(
    `update imports set reason = $4
      where workspace_id = $1 and project_id = $2 and import_id = $3 and state = 'running'
        and reason is distinct from $4`,
    [ref.workspaceId, ref.projectId, ref.importId, reason],
  );
}

/** Whether the project's RevenueCat offers the events of a customer. */
export async function noteEvents(sql: Sql, ref: ImportRef, hasEvents: boolean): Promise<void> {
  await sql.query(
    `update imports set has_events = $4
      where workspace_id = $1 and project_id = $2 and import_id = $3 and has_events is distinct from $4`,
    [ref.workspaceId, ref.projectId, ref.importId, hasEvents],
  );
}

/**
 * Ends an import when every customer of it is read.
 *
 * @returns whether this call ended it
 */
export async function finishImport(sql: Sql, ref: ImportRef): Promise<boolean> {
  const rows = await sql.query(
    `update imports i set state = 'done', reason = null, finished_at = now()
      where workspace_id = $1 and project_id = $2 and import_id = $3 and state = 'running' and is_listed
        and not exists (select 1 from import_customers c
                         where c.workspace_id = $1 and c.project_id = $2 and c.import_id = $3
                           and c.done_at is null)
     returning 1`,
    [ref.workspaceId, ref.projectId, ref.importId],
  );
  return rows.length > 0;
}
