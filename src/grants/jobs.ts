import type { JobDefinitions } from '../jobs/jobs.ts';
import { intercomClientFor } from '../workspaces/clients.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { confirmAction, resumeActions } from './confirmation.ts';
import type { GrantContext } from './context.ts';
import { sendNotes } from './notes.ts';
import type { ActionKey } from './repository.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'action.confirm': { workspaceId: string; actionId: string };
    'action.note': { workspaceId: string; actionId: string };
    'action.resume': Record<string, never>;
  }
}

export function grantJobs(context: GrantContext & Parameters<typeof intercomClientFor>[0]): JobDefinitions {
  const { database, logger } = context;
  async function note(key: ActionKey): Promise<void> {
    const workspace = await readWorkspace(database, key.workspaceId);
    // Without a connection the notes wait for `action.resume`.
    const client = workspace && intercomClientFor(context, workspace);
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
    'action.resume': { workers: 'background', cron: '37 3 * * *', run: () => resumeActions(context) },
  };
}
