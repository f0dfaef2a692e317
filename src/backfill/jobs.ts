import { AppError } from '../errors.ts';
import type { JobHandlers, Jobs } from '../jobs/jobs.ts';
import type { RefreshContext } from '../subscribers/refresh.ts';
import { importCustomer } from './import-customer.ts';
import { reconcileWorkspace } from './reconcile.ts';
import { listReconcilable } from './reconcile-store.ts';
import { runImport } from './run.ts';
import { type ImportRef, listRunningImports } from './store.ts';

/** A job works this long on an import and queues the next: a stopping process is not held up by it. */
const SLICE_MS = 60_000;

export interface ImportJobContext extends RefreshContext {
  readonly jobs: Jobs;
  /** The process is stopping: what is in hand is stored, the rest is left. */
  readonly stopping: AbortSignal;
  /** Subscribers that a pass of reconciling came to: `corrected`, `confirmed` or `unknown` to RevenueCat. */
  onReconciled(outcome: string, count: number): void;
}

export function importJobHandlers(
  context: ImportJobContext,
): Pick<JobHandlers, 'backfill.run' | 'customer.import' | 'reconcile.nightly' | 'reconcile.workspace'> {
  return {
    async 'backfill.run'(ref) {
      const outcome = await runImport(context, ref, context.stopping, AbortSignal.timeout(SLICE_MS));
      if (outcome === 'stopped') await queueImport(context.jobs, ref);
    },
    async 'customer.import'({ workspaceId, projectId, appUserId }) {
      try {
        const outcome = await importCustomer(context, workspaceId, projectId, appUserId);
        context.logger.info({ workspaceId, projectId, outcome }, 'looked a customer up in RevenueCat');
      } catch (error) {
        if (!(error instanceof AppError) || error.remedy.kind !== 'wait_until') throw error;
        const afterSeconds = Math.max(1, Math.ceil((error.remedy.atMs - context.now()) / 1_000));
        await context.jobs.send('customer.import', { workspaceId, projectId, appUserId }, { afterSeconds });
      }
    },
    async 'reconcile.nightly'() {
      for (const workspaceId of await listReconcilable(context.database))
        await context.jobs.send('reconcile.workspace', { workspaceId });
    },
    async 'reconcile.workspace'({ workspaceId }) {
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
    },
  };
}

/** An agent who opens card after card of one stranger causes one look in this time. */
const LOOK_UP_EVERY_S = 60;

/** Queues the look for somebody in RevenueCat whom nobody knows here. Never fails: the card does not wait for it. */
export function createLookUp(
  deps: Pick<ImportJobContext, 'jobs' | 'logger'>,
): (workspaceId: string, projectId: string, appUserId: string) => void {
  return (workspaceId, projectId, appUserId) => {
    deps.jobs
      .send('customer.import', { workspaceId, projectId, appUserId }, { onceInSeconds: LOOK_UP_EVERY_S })
      .catch((error: unknown) => deps.logger.warn({ err: error, workspaceId }, 'could not queue a look-up'));
  };
}

/** Lets the workers go on with an import. */
export function queueImport(jobs: Jobs, ref: ImportRef): Promise<void> {
  const { workspaceId, projectId, importId } = ref;
  return jobs.send('backfill.run', { workspaceId, projectId, importId });
}

/** Queues what was running when the last worker ended, whatever became of its jobs. */
export async function resumeImports(context: Pick<ImportJobContext, 'database' | 'jobs'>): Promise<void> {
  for (const ref of await listRunningImports(context.database)) await queueImport(context.jobs, ref);
}
