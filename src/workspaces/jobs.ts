import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from './app-context.ts';
import { checkWorkspace } from './check-workspace.ts';
import { reportHealth } from './health.ts';
import { checkInstallations, confirmUninstall, provisionWorkspace } from './install.ts';
import { rotateKeys } from './secrets.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'workspace.provision': { workspaceId: string };
    'workspace.confirm-uninstall': { workspaceId: string };
    'workspace.health': { workspaceId: string };
    'workspace.check': { workspaceId: string };
    'workspace.daily': Record<string, never>;
  }
}

export function workspaceJobs(app: AppContext): JobDefinitions {
  const { database, secrets, logger } = app;
  return {
    'workspace.provision': {
      workers: 'interactive',
      run: ({ workspaceId }) => provisionWorkspace(app, workspaceId),
    },
    'workspace.confirm-uninstall': {
      workers: 'interactive',
      retryLimit: 40,
      run: ({ workspaceId }) => confirmUninstall(app, workspaceId),
    },
    'workspace.health': {
      workers: 'interactive',
      retryLimit: 8,
      run: ({ workspaceId }) => reportHealth(app, workspaceId),
    },
    'workspace.check': {
      workers: 'background',
      retryLimit: 3,
      async run({ workspaceId }) {
        await checkWorkspace(app, workspaceId);
        await reportHealth(app, workspaceId);
      },
    },
    'workspace.daily': {
      workers: 'background',
      cron: '17 3 * * *',
      expireInSeconds: 3_600,
      retryLimit: 2,
      async run() {
        const { unreadable } = await rotateKeys(database, secrets);
        if (unreadable.length > 0) logger.error({ unreadable }, 'no key decrypts these secrets');
        await checkInstallations(app);
      },
    },
  };
}
