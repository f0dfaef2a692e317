import { AppError } from '../errors.ts';
import type { AppContext } from './app-context.ts';
import { deleteDisconnectedSecrets } from './projects.ts';
import { deleteAccess, eraseUninstalled, listAbandoned, listInstalled, readWorkspace } from './store.ts';

export type UninstallOutcome = 'uninstalled' | 'still_installed' | 'unknown';

/**
 * Acts on an uninstall notice, which carries only a workspace id and may be unsigned (UNVERIFIED): access is deleted
 * only if Intercom refuses the stored token.
 *
 * @throws AppError when Intercom cannot be reached; the caller retries
 */
export async function confirmUninstall(context: AppContext, workspaceId: string): Promise<UninstallOutcome> {
  const { database, logger } = context;
  const workspace = await readWorkspace(database, workspaceId);
  const client = workspace && context.intercom(workspace);
  if (!client || workspace.accessToken === null) return 'unknown';
  try {
    await client.me();
    logger.warn({ workspaceId }, 'uninstall notice ignored: the token still works');
    return 'still_installed';
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorise') throw error;
    if (!(await deleteAccess(database, workspaceId, workspace.accessToken))) return 'still_installed';
    logger.info({ workspaceId }, 'uninstalled');
    return 'uninstalled';
  }
}

/**
 * Uninstalls from our side: Intercom ends the installation, then access is deleted.
 *
 * @throws AppError when Intercom cannot be reached; nothing has changed then
 */
export async function uninstall(context: AppContext, workspaceId: string): Promise<void> {
  const workspace = await readWorkspace(context.database, workspaceId);
  const client = workspace && context.intercom(workspace);
  if (!client || workspace.accessToken === null) return;
  try {
    await client.uninstall();
  } catch (error) {
    // A revoked token has no installation left to end.
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorise') throw error;
  }
  await deleteAccess(context.database, workspaceId, workspace.accessToken);
  context.logger.info({ workspaceId }, 'uninstalled from the settings');
}

/** A token that has been refused for this long means that the app was uninstalled and the notice was lost. */
const ABANDONED_AFTER_DAYS = 30;
/** Data of a workspace that uninstalled the app is kept for this long, then erased. */
const KEEP_UNINSTALLED_DAYS = 30;
/** The checks of all workspaces are spread over this time, s. */
const SPREAD_S = 3_600;

/** Daily: ends abandoned installations, erases old ones, and queues a check of every other. */
export async function checkInstallations(context: AppContext): Promise<void> {
  const { database, jobs, logger } = context;
  for (const workspaceId of await listAbandoned(database, ABANDONED_AFTER_DAYS)) {
    const token = (await readWorkspace(database, workspaceId))?.accessToken;
    if (token && (await deleteAccess(database, workspaceId, token)))
      logger.info(
        { workspaceId },
        `disconnected for ${ABANDONED_AFTER_DAYS} days: treating the app as uninstalled`,
      );
  }
  const erased = await eraseUninstalled(database, KEEP_UNINSTALLED_DAYS);
  if (erased.length > 0) logger.info({ workspaces: erased.length }, 'erased uninstalled workspaces');
  for (const [index, workspaceId] of (await listInstalled(database)).entries()) {
    await deleteDisconnectedSecrets(database, workspaceId);
    await jobs.send('workspace.check', { workspaceId }, { afterSeconds: index % SPREAD_S });
  }
}
