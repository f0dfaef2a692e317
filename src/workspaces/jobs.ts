import type { JobDefinitions } from '../jobs/jobs.ts';
import { checkWorkspace } from './check-installation.ts';
import { checkInstallations } from './daily.ts';
import { eraseUninstalled } from './erase.ts';
import { reportHealth } from './health.ts';
import { type InstallContext, provisionWorkspace } from './install.ts';
import { rotateKeys } from './secrets.ts';
import { confirmUninstall } from './uninstall.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'workspace.provision': { workspaceId: string };
    'workspace.confirm-uninstall': { workspaceId: string };
    'workspace.health': { workspaceId: string };
    'workspace.check': { workspaceId: string };
    'workspace.daily': Record<string, never>;
  }
}

/** Data of a workspace that uninstalled the app is kept this long, in case it returns. */
const KEEP_UNINSTALLED_DAYS = 30;

export function workspaceJobs(context: InstallContext): JobDefinitions {
  const { database, secrets, logger } = context;
  return {
    'workspace.provision': {
      workers: 'interactive',
      run: ({ workspaceId }) => provisionWorkspace(context, workspaceId),
    },
    'workspace.confirm-uninstall': {
      workers: 'interactive',
      retryLimit: 40,
      async run({ workspaceId }) {
        await confirmUninstall(context, workspaceId);
      },
    },
    'workspace.health': {
      workers: 'interactive',
      retryLimit: 8,
      run: ({ workspaceId }) => reportHealth(context, workspaceId),
    },
    'workspace.check': {
      workers: 'background',
      retryLimit: 3,
      async run({ workspaceId }) {
        await checkWorkspace(context, workspaceId);
        await reportHealth(context, workspaceId);
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
        const erased = await eraseUninstalled(database, KEEP_UNINSTALLED_DAYS);
        if (erased.length > 0) logger.info({ workspaces: erased.length }, 'erased uninstalled workspaces');
        await checkInstallations(context);
      },
    },
  };
}
