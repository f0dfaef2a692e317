import { randomUUID } from 'node:crypto';
import { In } from 'typeorm';
import { ImportEntity, type ImportRow, updateRows } from '../database/entities.ts';
import type { Database, Entities, Sql } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { MINUTE_MS } from '../time.ts';

export type ImportRef = Readonly<Pick<ImportRow, 'workspaceId' | 'projectId' | 'importId'>>;

export function keyOf({ workspaceId, projectId, importId }: ImportRef): ImportRef {
  return { workspaceId, projectId, importId };
}

export type ImportState = ImportRow['state'];

type Pace = 'seenAt' | 'paceAt' | 'paceDone' | 'paceBeforeAt' | 'paceBeforeDone';

export interface ImportProgress extends Readonly<Omit<ImportRow, Pace | 'startedBy'>> {
  /** Customers a minute over the last half minute; 0: unknown, because the first calls of a minute are not paced. */
  readonly perMinute: number;
}

const MIN_PACE_MS = 5_000;

function toProgress(row: ImportRow): ImportProgress {
  const nowMs = Date.now();
  const tookMs = nowMs - row.paceBeforeAt.getTime();
  const isPaced = row.state === 'running' && tookMs > MIN_PACE_MS && nowMs - row.seenAt.getTime() < MINUTE_MS;
  return { ...row, perMinute: isPaced ? ((row.done - row.paceBeforeDone) * MINUTE_MS) / tookMs : 0 };
}

/**
 * Starts an import of a project, or resumes the one that is running, paused or failed where it stopped.
 *
 * @throws AppError `conflict` when one with another choice of events is running
 */
export async function startImport(
  database: Database,
  wanted: Pick<ImportRow, 'workspaceId' | 'projectId' | 'eventsSinceMs'>,
): Promise<{ progress: ImportProgress; isResumed: boolean }> {
  const { workspaceId, projectId, eventsSinceMs } = wanted;
  return database.transaction(async (sql) => {
    // Two people may start at the same time: the second joins.
    await sql.query('select 1 from projects where workspace_id = $1 and project_id = $2 for update', [
      workspaceId,
      projectId,
    ]);
    const last = await readLatestImport(sql, workspaceId, projectId);
    const isSame = eventsSinceMs === null || last?.eventsSinceMs === eventsSinceMs;
    if (last && isSame && ['running', 'paused', 'failed'].includes(last.state)) {
      await changeState(sql, last, { from: [last.state], to: 'running' });
      return { progress: { ...last, state: 'running' }, isResumed: true };
    }
    if (last?.state === 'running' || last?.state === 'paused')
      throw new AppError(
        'conflict',
        'An import of this project is running with another choice of events. Let it finish, or cancel it first.',
      );
    const ref = { workspaceId, projectId, importId: randomUUID() };
    await sql.manager.insert(ImportEntity, { ...ref, eventsSinceMs });
    return { progress: toProgress(await sql.manager.findOneByOrFail(ImportEntity, ref)), isResumed: false };
  });
}

export async function readImport({ manager }: Entities, ref: ImportRef): Promise<ImportProgress | null> {
  const row = await manager.findOneBy(ImportEntity, keyOf(ref));
  return row && toProgress(row);
}

export async function readLatestImport(
  { manager }: Entities,
  workspaceId: string,
  projectId: string,
): Promise<ImportProgress | null> {
  const row = await manager.findOne(ImportEntity, {
    where: { workspaceId, projectId },
    order: { startedAt: 'desc', importId: 'asc' },
  });
  return row && toProgress(row);
}

/** Projects whose latest import is done. */
export async function listImportedProjects(sql: Sql, workspaceId: string): Promise<Set<string>> {
  const rows = await sql.query<{ project_id: string; state: ImportState }>(
    `select distinct on (project_id) project_id, state from imports
      where workspace_id = $1 order by project_id, started_at desc, import_id`,
    [workspaceId],
  );
  return new Set(rows.flatMap((row) => (row.state === 'done' ? [row.project_id] : [])));
}

/** Over all workspaces. */
export function listRunningImports(sql: Sql): Promise<ImportRef[]> {
  return sql.query<ImportRef>(
    `select i.workspace_id as "workspaceId", i.project_id as "projectId", i.import_id as "importId"
       from workspaces w join imports i on i.workspace_id = w.workspace_id and i.state = 'running'`,
  );
}

/** @returns whether it was in one of the `from` states */
export function changeState(
  database: Entities,
  ref: ImportRef,
  { from, to, reason = null }: { from: readonly ImportState[]; to: ImportState; reason?: string | null },
): Promise<boolean> {
  const isEnd = to === 'done' || to === 'cancelled' || to === 'failed';
  return updateRows(
    database,
    ImportEntity,
    { ...keyOf(ref), state: In(from) },
    {
      state: to,
      reason,
      finishedAt: isEnd ? () => 'now()' : null,
      paceAt: () => 'now()',
      paceDone: () => 'done',
      paceBeforeAt: () => 'now()',
      paceBeforeDone: () => 'done',
    },
  );
}

export async function explainWait(database: Entities, ref: ImportRef, reason: string): Promise<void> {
  await updateRows(database, ImportEntity, { ...keyOf(ref), state: 'running' }, { reason });
}

/** Whether the project's RevenueCat offers the events of a customer. */
export async function setHasEvents(database: Entities, ref: ImportRef, hasEvents: boolean): Promise<void> {
  await updateRows(database, ImportEntity, keyOf(ref), { hasEvents });
}

/** Ends an import when all its customers have been read. @returns whether this call ended it */
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
