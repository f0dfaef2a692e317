import { analyzeTables } from '../database/tables.ts';
import { AppError, answerOrError, codeOf, mayPass } from '../errors.ts';
import { findErasedIds } from '../subscribers/erased-ids.ts';
import { lockProject } from '../subscribers/identity.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { pause } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { recordKeyState } from '../workspaces/key-state.ts';
import { readProject } from '../workspaces/projects.ts';
import { type ImportRun, importBatch } from './import-batch.ts';
import {
  changeState,
  deleteList,
  explainWait,
  finishImport,
  type ImportProgress,
  type ImportRef,
  type ImportState,
  readImport,
  restartList,
  saveListedPage,
} from './repository.ts';

/** Concurrent batches of one process: while one commits, the others call RevenueCat. */
const WORKERS = 3;
/** With fewer customers, reading by any index is fast. */
const MIN_ANALYZED = 256;
/** Pause while other processes have claimed the rest, or the remaining customers wait for a retry. */
const IDLE_MS = 500;
const MAX_PAUSE_MS = 60_000;

const FAILED = { from: ['running'], to: 'failed' } as const;

/** `stopped`: this process stopped; the import still runs. */
type RunOutcome = Exclude<ImportState, 'running'> | 'stopped';

/**
 * Works on an import until it ends or `signal` aborts. Any number of processes may work on the same import: each
 * customer is claimed by one, and the rate limit is shared.
 *
 * @param options.signal also ends the waiting of calls for the rate limit
 * @param options.finish when aborted, no further customer is started, but claimed ones are finished: no call is wasted
 * @throws Error when the database is unavailable; calling again resumes
 */
export async function runImport(
  app: AppContext,
  ref: ImportRef,
  options: { signal: AbortSignal; finish?: AbortSignal },
): Promise<RunOutcome> {
  const { signal } = options;
  const project = await readProject(app.database, ref.workspaceId, ref.projectId);
  const client = project && app.revenueCat(project, { priority: 'bulk', signal });
  if (!project || !client) {
    await changeState(app.database, ref, { ...FAILED, reason: 'revenuecat_key_missing' });
    return 'failed';
  }
  const ended = new AbortController();
  const run: Run = {
    ...app,
    project,
    client,
    ref,
    signal: AbortSignal.any([signal, options.finish ?? signal, ended.signal]),
    isListing: false,
    hasRestarted: false,
    done: null,
    cursors: new Set(),
  };
  const workers = Array.from({ length: WORKERS }, () => runWorker(run).finally(() => ended.abort()));
  const outcomes = await Promise.allSettled(workers);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  const last = await readImport(app.database, ref);
  if (last) await analyzeDoubled(run, last);
  if (last?.state !== 'running') return last?.state ?? 'cancelled';
  if (signal.aborted || options.finish?.aborted) return 'stopped';
  // The key was replaced, or deleted with the project or the installation.
  return runImport(app, ref, options);
}

interface Run extends ImportRun {
  readonly ref: ImportRef;
  /** Whether one of this process's workers is listing; the others import. */
  isListing: boolean;
  /** Whether the list was restarted in this run: once is enough. */
  hasRestarted: boolean;
  /** Customers that were done when the progress was last read. */
  done: number | null;
  readonly cursors: Set<string>;
}

async function runWorker(run: Run): Promise<void> {
  const { database, ref, signal } = run;
  let failures = 0;
  while (!signal.aborted) {
    const progress = await readImport(database, ref);
    if (progress) await analyzeDoubled(run, progress);
    if (progress?.state !== 'running') {
      if (progress?.state === 'cancelled') await deleteList(database, ref);
      return;
    }
    if (await hasOtherKey(run)) return;
    const obstacle = await answerOrError(takeStep(run, progress));
    if (signal.aborted) return;
    failures = obstacle === null ? 0 : failures + 1;
    if (obstacle !== null && !(await canContinue(run, obstacle, failures))) return;
  }
}

/** Updates the tables' statistics at `MIN_ANALYZED` customers and each time that the number has doubled since. */
async function analyzeDoubled(run: Run, { done }: ImportProgress): Promise<void> {
  const before = run.done ?? done;
  run.done = Math.max(before, done);
  if (doublingsOf(done) > doublingsOf(before)) await analyzeTables(run.database);
}

function doublingsOf(customers: number): number {
  return customers < MIN_ANALYZED ? -1 : Math.floor(Math.log2(customers / MIN_ANALYZED));
}

async function hasOtherKey({ database, ref, project }: Run): Promise<boolean> {
  const stored = await readProject(database, ref.workspaceId, ref.projectId);
  return stored?.apiKey !== project.apiKey;
}

/** Lists a page or imports a batch. @returns why no customer could be read; `null`: no obstacle */
async function takeStep(run: Run, progress: ImportProgress): Promise<AppError | null> {
  const { database, ref, signal } = run;
  if (!progress.isListed && !run.isListing) {
    run.isListing = true;
    await listPage(run).finally(() => {
      run.isListing = false;
    });
    return null;
  }
  const { isEmpty, obstacle } = await importBatch(run, progress);
  if (isEmpty) {
    if (await finishImport(database, ref)) await deleteList(database, ref);
    else await pause(IDLE_MS, signal);
  }
  return obstacle;
}

/** Another process may list the same page at the same time: it is stored once. */
async function listPage(run: Run): Promise<void> {
  const { database, secrets, project, client, ref } = run;
  const current = await readImport(database, ref);
  if (!current || current.isListed) return;
  try {
    const page = await client.listCustomers(project.revenueCatProjectId, current.cursor);
    // The list starts at the beginning, or again after a cursor was refused or named a customer who was erased.
    if (current.cursor === null) run.cursors.clear();
    else run.cursors.add(current.cursor);
    if (page.next !== null && run.cursors.has(page.next))
      throw new AppError('revenuecat_rejected', 'Listing customers: next_page leads back to an earlier page');
    await database.transaction(async (sql) => {
      await lockProject(sql, ref);
      const erased = await findErasedIds({ sql, secrets }, ref, page.ids);
      const ids = page.ids.filter((id) => !erased.has(id) && !isBlockedId(id));
      await saveListedPage(sql, ref, { ...page, after: current.cursor, ids });
    });
  } catch (error) {
    // The customer that the cursor names may have been deleted since: RevenueCat then refuses this page only.
    const isRefused = ['revenuecat_rejected', 'revenuecat_not_found'].includes(codeOf(error) ?? '');
    if (run.hasRestarted || !isRefused) throw error;
    run.hasRestarted = true;
    await restartList(database, ref);
  }
}

/** Waits for an obstacle to the whole import to pass, or fails the import. */
async function canContinue(run: Run, obstacle: AppError, failures: number): Promise<boolean> {
  const { database, logger, ref, signal } = run;
  const { workspaceId, projectId } = ref;
  const { code, remedy } = obstacle;
  if (mayPass(remedy)) {
    const waitMs = remedy.kind === 'wait_until' ? remedy.atMs - run.now() : 2 ** failures * 1_000;
    await explainWait(database, ref, code);
    logger.info({ workspaceId, projectId, code }, 'the import waits for RevenueCat');
    await pause(Math.min(Math.max(waitMs, 100), MAX_PAUSE_MS), signal);
    return true;
  }
  if (code === 'revenuecat_unauthorized') {
    // The refusal does not apply to a key that has replaced this one since.
    if (await hasOtherKey(run)) return true;
    await recordKeyState(run, ref, 'rejected');
  }
  if (await changeState(database, ref, { ...FAILED, reason: code }))
    logger.error({ workspaceId, projectId, code }, 'the import failed');
  return false;
}
