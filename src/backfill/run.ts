import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { noteKeyState, type RefreshContext } from '../subscribers/refresh.ts';
import { revenueCatClientFor } from '../workspaces/clients.ts';
import { type Project, readProject } from '../workspaces/projects.ts';
import { forgetList, restartList, saveListedPage, whileListingAlone } from './customers-list-store.ts';
import { importBatch } from './import-batch.ts';
import {
  changeState,
  explainWait,
  finishImport,
  type ImportRef,
  type ImportState,
  readImport,
} from './store.ts';

/** Batches that one process has in hand: while one commits, the other calls. */
const WORKERS = 3;
/** A batch is sized to take about this long: its transaction stays open meanwhile. */
const BATCH_S = 3;
const FIRST_BATCH = 4;
const MAX_BATCH = 150;
/** While others have the rest in hand, or what is left is to be tried later. */
const IDLE_MS = 500;
const MAX_PAUSE_MS = 60_000;

/** `stopped`: this process was told to stop; the import still runs. */
export type RunOutcome = Exclude<ImportState, 'running'> | 'stopped';

/**
 * Works on an import until it ends or `signal` says stop. Any number of processes may work on the same one: each
 * customer is in one hand, and the rate limit is shared.
 *
 * @param enough begins no further customer, and finishes those in hand: half a reading is calls for nothing
 * @throws Error when the database is away; calling again goes on
 */
export async function runImport(
  context: RefreshContext,
  ref: ImportRef,
  signal: AbortSignal,
  enough: AbortSignal = signal,
): Promise<RunOutcome> {
  const project = await readProject(context.database, ref.workspaceId, ref.projectId);
  const client = project && revenueCatClientFor(context, project, { priority: 'bulk', signal });
  if (!project || !client) {
    await changeState(context.database, ref, ['running'], 'failed', 'revenuecat_key_missing');
    return 'failed';
  }
  const end = new AbortController();
  const anySignal = AbortSignal.any([signal, enough, end.signal]);
  const restarts = new Set<string>();
  const lanes = Array.from({ length: WORKERS }, async () => {
    try {
      return await runLane(context, project, client, ref, restarts, anySignal);
    } finally {
      end.abort();
    }
  });
  const outcomes = await Promise.allSettled(lanes);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  const last = await readImport(context.database, ref);
  return last === null ? 'cancelled' : last.state === 'running' ? 'stopped' : last.state;
}

async function runLane(
  context: RefreshContext,
  project: Project,
  client: RevenueCatClient,
  ref: ImportRef,
  restarts: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  let size = FIRST_BATCH;
  let failures = 0;
  while (!signal.aborted) {
    const running = await readImport(context.database, ref);
    if (running?.state !== 'running') {
      if (running?.state === 'cancelled') await forgetList(context.database, ref);
      return;
    }
    const begunMs = context.now();
    const obstacle = await step();
    if (signal.aborted) return;
    if (obstacle === 'idle') continue;
    if (obstacle === null) failures = 0;
    else {
      failures += 1;
      if (!(await giveWay(context, project, ref, obstacle, failures, signal))) return;
    }

    async function step(): Promise<AppError | 'idle' | null> {
      try {
        if (running && !running.isListed && (await listPage(context, project, client, running, restarts)))
          return null;
        if (!running) return null;
        const batch = await importBatch({ ...context, client, signal }, project, running, size);
        if (batch.claimed === 0) {
          await whenNothingIsLeft();
          return 'idle';
        }
        if (batch.closed > 0) size = nextSize(batch.closed, context.now() - begunMs);
        return batch.obstacle;
      } catch (error) {
        if (error instanceof AppError) return error;
        throw error;
      }
    }

    async function whenNothingIsLeft(): Promise<void> {
      if (await finishImport(context.database, ref)) await forgetList(context.database, ref);
      else await pause(IDLE_MS, signal);
    }
  }
}

/** Twice as many at most, so that one lucky batch does not make the next one endless. */
function nextSize(closed: number, tookMs: number): number {
  const wanted = Math.round((closed * BATCH_S * 1_000) / Math.max(tookMs, 1));
  return Math.min(Math.max(wanted, 2), closed * 2 + 2, MAX_BATCH);
}

/** The customer whom the cursor names may be gone from RevenueCat since: then it refuses the page, and no other. */
function isAboutCursor(error: unknown): boolean {
  return (
    error instanceof AppError &&
    (error.code === 'revenuecat_rejected' || error.code === 'revenuecat_not_found')
  );
}

/**
 * @param restarts imports whose list was begun anew in this run: once is enough
 * @returns whether this process listed a page; `false`: another one is at it
 */
async function listPage(
  context: RefreshContext,
  project: Project,
  client: RevenueCatClient,
  ref: ImportRef,
  restarts: Set<string>,
): Promise<boolean> {
  return whileListingAlone(context.database, ref, async (sql) => {
    const current = await readImport(sql, ref);
    if (!current || current.isListed || current.state !== 'running') return;
    const page = await client
      .listCustomers(project.revenueCatProjectId, current.cursor)
      .catch((error: unknown) => {
        if (current.cursor === null || restarts.has(ref.importId) || !isAboutCursor(error)) throw error;
        return null;
      });
    if (page === null) {
      restarts.add(ref.importId);
      await restartList(sql, ref);
      return;
    }
    const { ids, next } = page;
    await saveListedPage(sql, ref, { after: current.cursor, ids, next });
  });
}

/**
 * What an obstacle to the whole import means.
 *
 * @returns whether to go on
 */
async function giveWay(
  context: RefreshContext,
  project: Project,
  ref: ImportRef,
  obstacle: AppError,
  failures: number,
  signal: AbortSignal,
): Promise<boolean> {
  const { workspaceId, projectId } = project;
  const { code, remedy } = obstacle;
  switch (remedy.kind) {
    case 'wait_until':
    case 'retry': {
      const toldMs = remedy.kind === 'wait_until' ? remedy.atMs - context.now() : 2 ** failures * 1_000;
      await explainWait(context.database, ref, code);
      context.logger.info({ workspaceId, projectId, code }, 'the import waits for RevenueCat');
      await pause(Math.min(Math.max(toldMs, 100), MAX_PAUSE_MS), signal);
      return true;
    }
    default:
      if (code === 'revenuecat_unauthorized') await noteKeyState(context, ref, 'rejected');
      await changeState(context.database, ref, ['running'], 'failed', code);
      context.logger.error({ workspaceId, projectId, code }, 'the import cannot go on');
      return false;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
