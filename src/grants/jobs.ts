import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { chooseCustomers } from './bulk/group.ts';
import { type BulkKey, deleteOldDrafts } from './bulk/repository.ts';
import { runBulkSlice } from './bulk/run.ts';
import { confirmAction, resumeActions } from './confirmation.ts';
import { sendNotes } from './notes.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'action.confirm': { workspaceId: string; actionId: string };
    'action.note': { workspaceId: string; actionId: string };
    'action.resume': Record<string, never>;
    'bulk-grant.choose': BulkKey;
    'bulk-grant.run': BulkKey;
  }
}

const BULK_GRANT = {
  workers: 'interactive',
  expireInSeconds: 300,
  retryLimit: 1_000,
  retryDelayMax: 60,
} as const;

export function grantJobs(app: AppContext): JobDefinitions {
  return {
    'action.confirm': { workers: 'waiting', retryLimit: 30, run: (key) => confirmAction(app, key) },
    'action.note': { workers: 'interactive', retryLimit: 20, run: (key) => sendNotes(app, key) },
    'bulk-grant.choose': { ...BULK_GRANT, run: (key) => chooseCustomers(app, key) },
    'bulk-grant.run': { ...BULK_GRANT, run: (key) => runBulkSlice(app, key) },
    'action.resume': { workers: 'background', cron: '37 3 * * *', run: () => resumeGrants(app) },
  };
}

/** Runs when a worker starts, and each night. */
export async function resumeGrants(app: AppContext): Promise<void> {
  await resumeActions(app);
  await deleteOldDrafts(app.database);
}
