import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { resumeBulkGrants } from './bulk.ts';
import { runBulkSlice } from './bulk-run.ts';
import { confirmAction, resumeActions } from './confirmation.ts';
import { sendNotes } from './notes.ts';
import type { ActionKey } from './repository.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'action.confirm': { workspaceId: string; actionId: string };
    'action.note': { workspaceId: string; actionId: string };
    'action.resume': Record<string, never>;
    'bulk-grant.run': { workspaceId: string; bulkGrantId: string };
  }
}

export function grantJobs(context: AppContext): JobDefinitions {
  const { database, logger } = context;
  async function note(key: ActionKey): Promise<void> {
    const workspace = await readWorkspace(database, key.workspaceId);
    // Without a connection the notes wait for `action.resume`.
    const client = workspace && context.intercom(workspace);
    if (!client || workspace.status !== 'connected') return;
    await sendNotes({ database, logger, client, workspace }, key);
  }
  return {
    'action.confirm': {
      workers: 'interactive',
      retryLimit: 30,
      run: (key) => confirmAction(context, key),
    },
    'action.note': { workers: 'interactive', retryLimit: 20, run: note },
    'bulk-grant.run': {
      workers: 'interactive',
      expireInSeconds: 300,
      retryLimit: 1_000,
      retryDelayMax: 60,
      run: (key) => runBulkSlice(context, key),
    },
    'action.resume': { workers: 'background', cron: '37 3 * * *', run: () => resumeGrants(context) },
  };
}

/** Queues what killed processes have left unfinished. */
export async function resumeGrants(context: AppContext): Promise<void> {
  await resumeActions(context);
  await resumeBulkGrants(context);
}
