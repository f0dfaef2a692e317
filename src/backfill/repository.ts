import { randomUUID } from 'node:crypto';
import { In, IsNull, Not } from 'typeorm';
import { ImportCustomerEntity, ImportEntity, type ImportRow, updateRows } from '../database/entities.ts';
import {
  type Database,
  deleteInBatches,
  type Entities,
  type Sql,
  type Transaction,
} from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { MINUTE_MS } from '../time.ts';

export type ImportRef = Readonly<Pick<ImportRow, 'workspaceId' | 'projectId' | 'importId'>>;

function keyOf({ workspaceId, projectId, importId }: ImportRef): ImportRef {
  return { workspaceId, projectId, importId };
}

export type ImportState = ImportRow['state'];

type Pace = 'seenAt' | 'paceAt' | 'paceDone' | 'paceBeforeAt' | 'paceBeforeDone';

export interface ImportProgress extends Readonly<Omit<ImportRow, Pace | 'startedBy'>> {
  /** Customers a minute over the last half minute; 0: unknown, as in the first seconds, which use up saved-up calls. */
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
 * @throws AppError `conflict` when an import with another choice of events is running or paused
 */
export async function startImport(
  database: Database,
  wanted: Pick<ImportRow, 'workspaceId' | 'projectId' | 'eventsSinceMs'>,
): Promise<{ progress: ImportProgress; isResumed: boolean }> {
  const { workspaceId, projectId, eventsSinceMs } = wanted;
  return database.transaction(async (sql) => {
    // Two people may start an import at the same time: the second one joins it.
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

/** Running imports of all workspaces. */
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
    keyValues(ref),
  );
  return rows.length > 0;
}

const keyValues = (ref: ImportRef): unknown[] => [ref.workspaceId, ref.projectId, ref.importId];

/** Stores a page of RevenueCat's list, unless the cursor has moved on since. @param sql an open transaction */
export async function saveListedPage(
  sql: Sql,
  ref: ImportRef,
  page: { after: string | null; ids: readonly string[]; next: string | null },
): Promise<void> {
  const ids = [...new Set(page.ids)];
  const moved = await sql.query(
    `update imports
        set cursor = $5, is_listed = $5::text is null, seen_at = statement_timestamp(),
            listed = listed + cardinality($6::text[])
                     - (select count(*)::integer from import_customers c
                         where c.workspace_id = $1 and c.project_id = $2 and c.import_id = $3
                           and c.customer_id = any($6::text[]))
      where workspace_id = $1 and project_id = $2 and import_id = $3 and not is_listed
        and cursor is not distinct from $4
     returning 1`,
    [...keyValues(ref), page.after, page.next, ids],
  );
  if (moved.length === 0) return;
  await sql.query(
    `insert into import_customers (workspace_id, project_id, import_id, customer_id)
     select $1, $2, $3, id from unnest($4::text[]) as page (id)
     on conflict do nothing`,
    [...keyValues(ref), ids],
  );
}

/** Lists from the beginning again; customers are still counted once. */
export async function restartList(database: Entities, ref: ImportRef): Promise<void> {
  await updateRows(database, ImportEntity, { ...keyOf(ref), isListed: false }, { cursor: null });
}

export interface ClaimedCustomer {
  readonly customerId: string;
  readonly attempts: number;
}

/**
 * Claims customers for as long as the transaction lasts: their locked rows are the claim. When the process dies,
 * PostgreSQL releases them immediately.
 */
export function claimCustomers(sql: Sql, ref: ImportRef, limit: number): Promise<ClaimedCustomer[]> {
  return sql.query(
    `select customer_id as "customerId", attempts from import_customers
      where workspace_id = $1 and project_id = $2 and import_id = $3 and done_at is null
        and not_before <= clock_timestamp()
      order by not_before
      limit $4
        for update skip locked`,
    [...keyValues(ref), limit],
    'claim-import-customers',
  );
}

/** Any customer that this import has read; `null`: none yet. */
export async function findReadCustomer({ manager }: Entities, ref: ImportRef): Promise<string | null> {
  // Imports that an earlier version began have a row without a customer's id.
  const read = { ...keyOf(ref), customerId: Not(''), doneAt: Not(IsNull()), code: IsNull() };
  return (await manager.findOneBy(ImportCustomerEntity, read))?.customerId ?? null;
}

export type BatchCounts = Pick<
  ImportRow,
  'newCustomers' | 'missing' | 'failed' | 'subscriptions' | 'purchases' | 'newEvents' | 'knownEvents'
>;

/**
 * Closes customers of a batch and counts them, in the transaction that claimed them: a customer counts once, however
 * often it was started.
 */
export async function closeCustomers(
  sql: Transaction,
  ref: ImportRef,
  closed: readonly { customerId: string; code: string | null }[],
  counts: BatchCounts,
): Promise<void> {
  for (const [code, customers] of Map.groupBy(closed, (each) => each.code)) {
    const customerId = In(customers.map((each) => each.customerId));
    const done = { code, doneAt: () => 'statement_timestamp()' };
    await updateRows(sql, ImportCustomerEntity, { ...keyOf(ref), customerId }, done);
  }
  await sql.query(
    `update imports
        set done = done + $4, new_customers = new_customers + $5, missing = missing + $6, failed = failed + $7,
            subscriptions = subscriptions + $8, purchases = purchases + $9, new_events = new_events + $10,
            known_events = known_events + $11, seen_at = clock.at,
            reason = case when state = 'running' then null else reason end,
            pace_before_at = case when pace_at < clock.pace_since then pace_at else pace_before_at end,
            pace_before_done = case when pace_at < clock.pace_since then pace_done else pace_before_done end,
            pace_done = case when pace_at < clock.pace_since then done else pace_done end,
            pace_at = case when pace_at < clock.pace_since then clock.at else pace_at end
       from (select statement_timestamp() as at, statement_timestamp() - interval '20 seconds' as pace_since
             offset 0) as clock
      where workspace_id = $1 and project_id = $2 and import_id = $3`,
    [
      ...keyValues(ref),
      closed.length,
      counts.newCustomers,
      counts.missing,
      counts.failed,
      counts.subscriptions,
      counts.purchases,
      counts.newEvents,
      counts.knownEvents,
    ],
    'count-import-customers',
  );
}

export async function postponeCustomer(
  database: Entities,
  customer: ImportRef & { readonly customerId: string },
  { code, notBefore }: { code: string; notBefore: Date },
): Promise<void> {
  const key = { ...keyOf(customer), customerId: customer.customerId };
  const attempts = () => 'attempts + 1';
  await updateRows(database, ImportCustomerEntity, key, { attempts, code, notBefore });
}

const DELETE_BATCH_SIZE = 5_000;

/** Deletes the list of an import that has ended: it names customers and is no longer needed. */
export async function deleteList(sql: Sql, ref: ImportRef): Promise<void> {
  await deleteInBatches(() =>
    sql.query(
      `delete from import_customers
        where workspace_id = $1 and project_id = $2 and import_id = $3 and customer_id = any(array(
          select customer_id from import_customers
           where workspace_id = $1 and project_id = $2 and import_id = $3 limit $4))
       returning 1`,
      [...keyValues(ref), DELETE_BATCH_SIZE],
    ),
  );
}
