import type { JobDefinitions } from '../jobs/jobs.ts';
import { intercomClientFor } from '../workspaces/clients.ts';
import { readWorkspace } from '../workspaces/store.ts';
import type { GrantContext } from './context.ts';
import { leaveGrantNotes } from './note.ts';
import { resumeGrants } from './reconcile.ts';
import { settleGrant } from './revoke.ts';
import { noteWriting } from './words/catalogue.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'grant.settle': { workspaceId: string; grantId: string };
    'grant.note': { workspaceId: string; grantId: string };
    'grant.resume': Record<string, never>;
  }
}

export function grantJobs(context: GrantContext & Parameters<typeof intercomClientFor>[0]): JobDefinitions {
  const { database, logger } = context;
  return {
    'grant.settle': {
      workers: 'interactive',
      retryLimit: 30,
      run: ({ workspaceId, grantId }) => settleGrant(context, workspaceId, grantId),
    },
    'grant.note': {
      workers: 'interactive',
      retryLimit: 20,
      async run({ workspaceId, grantId }) {
        const workspace = await readWorkspace(database, workspaceId);
        // Without a connection the notes wait for `grant.resume`.
        const client = workspace && intercomClientFor(context, workspace);
        if (!client || workspace.status !== 'connected') return;
        await leaveGrantNotes({ database, logger, client, ...noteWriting(workspace) }, workspaceId, grantId);
      },
    },
    'grant.resume': {
      workers: 'background',
      cron: '37 3 * * *',
      run: () => resumeGrants(context),
    },
  };
}
