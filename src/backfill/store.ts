import { randomUUID } from 'node:crypto';
import { type Database, type Sql, STATEMENT_CLOCK } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { type BatchCounts, createList } from './customer-list.ts';

/** One import of a project's history. */
export interface ImportRef {
  readonly workspaceId: string;
  readonly projectId: string;
  readonly importId: string;
}

export type ImportState = 'running' | 'paused' | 'cancelled' | 'done' | 'failed';

/** Progress of an import. Counts are of customers unless the name says otherwise. */
export interface ImportProgress extends ImportRef, BatchCounts {
  readonly state: ImportState;
  /** Error code: why it has failed, or what it waits for. */
  readonly reason: string | null;
  /** Events since then are delivered to contacts, epoch ms; `null`: none. */
  readonly eventsSinceMs: number | null;
  /** Whether RevenueCat offers the events; `null`: unknown yet. */
  readonly hasEvents: boolean | null;
  /** Of the next page of RevenueCat's list. */
  readonly cursor: string | null;
  /** Whether all customers are listed: only then is `listed` the total. */
  readonly isListed: boolean;
  readonly listed: number;
  readonly done: number;
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
  /** Customers a minute over the last half minute; 0: unknown, because the first calls of a minute are not paced. */
  readonly perMinute: number;
}

const STORED = `workspace_id as "workspaceId", project_id as "projectId", import_id as "importId", state, reason,
  events_since::float8 as "eventsSinceMs", has_events as "hasEvents", cursor, is_listed as "isListed", listed, done,
  new_customers as "newCustomers", missing, failed, subscriptions, purchases, new_events as "newEvents",
  known_events as "knownEvents", started_at as "startedAt", finished_at as "finishedAt"`;

const COLUMNS = `${STORED},
  (case when state = 'running' and seen_at > clock_timestamp() - interval '1 minute' and done > pace_before_done
             and pace_before_at < clock_timestamp() - interval '5 seconds'
        then (done - pace_before_done) * 60 / extract(epoch from clock_timestamp() - pace_before_at)
        else 0 end)::float8 as "perMinute"`;

/**
 * Starts an import of a project, or resumes the one that is running, paused or failed where it stopped.
 *
 * @throws AppError `conflict` when one with another choice of events is running
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
    // Two people may start at the same time: the second joins.
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
          'An import of this project is running with another choice of events. Let it finish, or cancel it first.',
          { status: 409 },
        );
      }
    }
    const [row] = await sql.query<ImportProgress>(
      `insert into imports (workspace_id, project_id, import_id, events_since, started_by)
       values ($1, $2, $3, $4, $5) returning ${STORED}, 0::float8 as "perMinute"`,
      [workspaceId, projectId, randomUUID(), eventsSinceMs, JSON.stringify(wanted.startedBy)],
    );
    if (!row) throw new Error('The import was not stored');
    await createList(sql, row);
    return { progress: row, joined: false };
  });
}

export async function readImport(sql: Sql, ref: ImportRef): Promise<ImportProgress | null> {
  const [row] = await sql.query<ImportProgress>(
    `select ${COLUMNS} from imports where workspace_id = $1 and project_id = $2 and import_id = $3`,
    [ref.workspaceId, ref.projectId, ref.importId],
    'read-import',
  );
  return row ?? null;
}

export async function readLatestImport(
  sql: Sql,
  workspaceId: string,
  projectId: string,
): Promise<ImportProgress | null> {
  const [row] = await sql.query<ImportProgress>(
    `select ${COLUMNS} from imports where workspace_id = $1 and project_id = $2
      order by started_at desc, import_id limit 1`,
    [workspaceId, projectId],
  );
  return row ?? null;
}

/** Over all workspaces. */
export function listRunningImports(sql: Sql): Promise<ImportRef[]> {
  return sql.query<ImportRef>(
    `select i.workspace_id as "workspaceId", i.project_id as "projectId", i.import_id as "importId"
       from workspaces w join imports i on i.workspace_id = w.workspace_id and i.state = 'running'`,
  );
}

/** @returns whether it was in one of the `from` states */
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
export async function setHasEvents(sql: Sql, ref: ImportRef, hasEvents: boolean): Promise<void> {
  await sql.query(
    `update imports set has_events = $4
      where workspace_id = $1 and project_id = $2 and import_id = $3 and has_events is distinct from $4`,
    [ref.workspaceId, ref.projectId, ref.importId, hasEvents],
  );
}

/**
 * Ends an import when all its customers have been read.
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
