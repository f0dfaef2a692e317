import { AppError } from '../errors.ts';
import type { JobData, JobDefinitions, Jobs } from '../jobs/jobs.ts';
import { findErasedIds } from '../subscribers/erased-ids.ts';
import type { RefreshContext } from '../subscribers/refresh.ts';
import { importCustomer } from './import-customer.ts';
import { listReconcilable, reconcileWorkspace } from './reconcile.ts';
import { runImport } from './run.ts';
import { type ImportRef, listRunningImports } from './store.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'customer.import': { workspaceId: string; projectId: string; appUserId: string };
    'backfill.run': { workspaceId: string; projectId: string; importId: string };
    'reconcile.nightly': Record<string, never>;
    'reconcile.workspace': { workspaceId: string };
  }
}

/** A job works this long on an import and queues the next, so that it does not delay a stopping process. */
const SLICE_MS = 60_000;

export interface ImportJobContext extends RefreshContext {
  readonly jobs: Jobs;
  /** Aborts when the process is stopping: claimed customers are finished, the rest is left. */
  readonly stopping: AbortSignal;
  /** Counts subscribers of a pass by outcome: `corrected`, `confirmed` or `unknown` to RevenueCat. */
  onReconciled(outcome: string, count: number): void;
}

export function backfillJobs(context: ImportJobContext): JobDefinitions {
  return {
    // A slice of an import; it queues the next one itself. While RevenueCat is unavailable the import waits, not the job.
    'backfill.run': {
      workers: 'interactive',
      expireInSeconds: 600,
      retryLimit: 1_000,
      retryDelayMax: 60,
      async run(ref) {
        const outcome = await runImport(context, ref, {
          signal: context.stopping,
          finish: AbortSignal.timeout(SLICE_MS),
        });
        if (outcome === 'stopped') await queueImport(context.jobs, ref);
      },
    },
    'customer.import': {
      workers: 'bulk',
      retryLimit: 5,
      run: (data) => importRequested(context, data),
    },
    'reconcile.nightly': {
      workers: 'background',
      cron: '37 1 * * *',
      async run() {
        for (const workspaceId of await listReconcilable(context.database))
          await context.jobs.send('reconcile.workspace', { workspaceId });
      },
    },
    'reconcile.workspace': {
      workers: 'background',
      expireInSeconds: 600,
      run: ({ workspaceId }) => reconcileSlice(context, workspaceId),
    },
  };
}

async function importRequested(context: ImportJobContext, data: JobData['customer.import']): Promise<void> {
  const { workspaceId, projectId, appUserId } = data;
  try {
    const outcome = await importCustomer(context, { workspaceId, projectId, appUserId });
    context.logger.info({ workspaceId, projectId, outcome }, 'looked up a customer in RevenueCat');
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind !== 'wait_until') throw error;
    const afterSeconds = Math.max(1, Math.ceil((error.remedy.atMs - context.now()) / 1_000));
    await context.jobs.send('customer.import', data, { afterSeconds });
  }
}

async function reconcileSlice(context: ImportJobContext, workspaceId: string): Promise<void> {
  const pass = await reconcileWorkspace(
    context,
    workspaceId,
    AbortSignal.any([context.stopping, AbortSignal.timeout(SLICE_MS)]),
  );
  const { checked, corrected, unknown, differences, continueAtMs } = pass;
  context.logger.info({ workspaceId, checked, corrected, unknown, differences }, 'reconciled');
  context.onReconciled('corrected', corrected);
  context.onReconciled('unknown', unknown);
  context.onReconciled('confirmed', checked - corrected - unknown);
  if (continueAtMs === null) return;
  const afterSeconds = Math.max(0, Math.ceil((continueAtMs - context.now()) / 1_000));
  await context.jobs.send('reconcile.workspace', { workspaceId }, { afterSeconds });
}

/** However often the card of an unknown customer is opened, it is looked up once in this time. */
const LOOK_UP_INTERVAL_S = 60;

/**
 * Queues looking up an unknown customer in RevenueCat; an erased one is not looked up, and its id enters no job.
 * Never fails: the card does not wait for it.
 */
export function createLookUp(
  deps: Pick<ImportJobContext, 'jobs' | 'logger' | 'database' | 'secrets'>,
): (workspaceId: string, projectId: string, appUserId: string) => void {
  const { database: sql, secrets, jobs, logger } = deps;
  async function queue(data: JobData['customer.import']): Promise<void> {
    if ((await findErasedIds({ sql, secrets }, data, [data.appUserId])).size > 0) return;
    await jobs.send('customer.import', data, { onceInSeconds: LOOK_UP_INTERVAL_S });
  }
  return (workspaceId, projectId, appUserId) => {
    queue({ workspaceId, projectId, appUserId }).catch((error: unknown) =>
      logger.warn({ err: error, workspaceId }, 'could not queue looking up a customer'),
    );
  };
}

/** Lets the workers continue an import. */
export function queueImport(jobs: Jobs, ref: ImportRef): Promise<void> {
  const { workspaceId, projectId, importId } = ref;
  return jobs.send('backfill.run', { workspaceId, projectId, importId });
}

/** Queues the imports that were running when the last worker stopped. */
export async function resumeImports(context: Pick<ImportJobContext, 'database' | 'jobs'>): Promise<void> {
  for (const ref of await listRunningImports(context.database)) await queueImport(context.jobs, ref);
}
