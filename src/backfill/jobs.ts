import { analyzeTables } from '../database/tables.ts';
import { type JobDefinitions, type Jobs, secondsToWait } from '../jobs/jobs.ts';
import { queueCustomerImport } from '../subscribers/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { importCustomer } from './import-customer.ts';
import { listReconcilable, reconcileWorkspace } from './reconcile.ts';
import { type ImportRef, listRunningImports } from './repository.ts';
import { runImport } from './run.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'backfill.run': ImportRef;
    'reconcile.nightly': Record<string, never>;
    'reconcile.workspace': { workspaceId: string };
  }
}

/** A job works this long on an import and queues the next, so that it does not delay a stopping process. */
const SLICE_MS = 60_000;

/** @param stopping aborts when the process is stopping: customers that have been read are stored, the rest is left */
export function backfillJobs(app: AppContext, stopping: AbortSignal): JobDefinitions {
  return {
    // Runs a slice of an import and queues the next. If RevenueCat is unavailable, the import waits: the job succeeds.
    'backfill.run': {
      workers: 'interactive',
      expireInSeconds: 600,
      retryLimit: 1_000,
      retryDelayMax: 60,
      async run(ref) {
        const finish = AbortSignal.timeout(SLICE_MS);
        const outcome = await runImport(app, ref, { signal: stopping, finish });
        if (outcome === 'stopped') await queueImport(app.jobs, ref);
      },
    },
    'customer.import': {
      workers: 'bulk',
      retryLimit: 5,
      async run(customer) {
        const { workspaceId, projectId } = customer;
        const importing = importCustomer(app, customer).then((outcome) =>
          app.logger.info({ workspaceId, projectId, outcome }, 'looked up a customer in RevenueCat'),
        );
        const afterSeconds = await secondsToWait(importing, app.now);
        if (afterSeconds !== null) await queueCustomerImport(app, customer, { afterSeconds });
      },
    },
    'reconcile.nightly': {
      workers: 'background',
      cron: '37 1 * * *',
      async run() {
        for (const workspaceId of await listReconcilable(app.database))
          await app.jobs.send('reconcile.workspace', { workspaceId });
        // Tables grow by webhooks as well, not only by imports.
        await analyzeTables(app.database);
      },
    },
    'reconcile.workspace': {
      workers: 'background',
      expireInSeconds: 600,
      run: ({ workspaceId }) => reconcileSlice(app, workspaceId, stopping),
    },
  };
}

async function reconcileSlice(app: AppContext, workspaceId: string, stopping: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([stopping, AbortSignal.timeout(SLICE_MS)]);
  const pass = await reconcileWorkspace(app, workspaceId, signal);
  const { checked, corrected, unknown, differences, continueAtMs } = pass;
  app.logger.info({ workspaceId, checked, corrected, unknown, differences }, 'reconciled');
  const { reconciled } = app.counters;
  reconciled.inc({ outcome: 'corrected' }, corrected);
  reconciled.inc({ outcome: 'unknown' }, unknown);
  reconciled.inc({ outcome: 'confirmed' }, checked - corrected - unknown);
  if (continueAtMs === null) return;
  const afterSeconds = Math.max(0, Math.ceil((continueAtMs - app.now()) / 1_000));
  await app.jobs.send('reconcile.workspace', { workspaceId }, { afterSeconds });
}

export function queueImport(jobs: Jobs, ref: ImportRef): Promise<void> {
  const { workspaceId, projectId, importId } = ref;
  return jobs.send('backfill.run', { workspaceId, projectId, importId });
}

/** Queues the imports that were running when the last worker stopped. */
export async function resumeImports(app: AppContext): Promise<void> {
  for (const ref of await listRunningImports(app.database)) await queueImport(app.jobs, ref);
}
