import { listAbandoned, listInstalled } from './health-store.ts';
import type { InstallContext } from './install.ts';
import { forgetToken, readWorkspace } from './store.ts';

/** A workspace whose token has been dead for so long has uninstalled the app, and the notice of it was lost. */
const ABANDONED_AFTER_DAYS = 30;
/** The checks of all workspaces are spread over this time, s. */
const SPREAD_S = 3_600;

type DailyContext = Pick<InstallContext, 'database' | 'jobs' | 'logger'>;

/** Queues the check of every installation, and ends those that nobody came back to. */
export async function checkInstallations(context: DailyContext): Promise<void> {
  const { database, jobs, logger } = context;
  for (const workspaceId of await listAbandoned(database, ABANDONED_AFTER_DAYS)) {
    const token = (await readWorkspace(database, workspaceId))?.accessToken;
    if (token && (await forgetToken(database, workspaceId, token)))
      logger.info(
        { workspaceId, days: ABANDONED_AFTER_DAYS },
        'disconnected for long: taken for uninstalled',
      );
  }
  for (const [index, workspaceId] of (await listInstalled(database)).entries()) {
    await jobs.send('workspace.check', { workspaceId }, { afterSeconds: index % SPREAD_S });
  }
}
