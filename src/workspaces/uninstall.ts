import { AppError } from '../errors.ts';
import { intercomClientFor } from './clients.ts';
import type { InstallContext } from './install.ts';
import { forgetToken, readWorkspace } from './store.ts';

export type UninstallOutcome = 'uninstalled' | 'still_installed' | 'unknown';

/**
 * Acts on an uninstall notice, which carries only a workspace id and may be unsigned (UNVERIFIED): the stored
 * token is asked first, and only when Intercom refuses it, it is deleted. The data stays for 30 days.
 *
 * @throws AppError when Intercom cannot be asked; the caller tries again later
 */
export async function confirmUninstall(
  context: InstallContext,
  workspaceId: string,
): Promise<UninstallOutcome> {
  const workspace = await readWorkspace(context.database, workspaceId);
  const client = workspace && intercomClientFor(context, workspace);
  if (!client || workspace.accessToken === null) return 'unknown';
  try {
    await client.me();
    context.logger.warn({ workspaceId }, 'uninstall notice for a workspace whose token still works: ignored');
    return 'still_installed';
  } catch (error) {
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorise') throw error;
    if (!(await forgetToken(context.database, workspaceId, workspace.accessToken))) return 'still_installed';
    context.logger.info({ workspaceId }, 'uninstalled');
    return 'uninstalled';
  }
}

/**
 * Uninstalls from our side: Intercom ends the installation, then the token is forgotten.
 *
 * @throws AppError when Intercom cannot be asked; nothing has changed then
 */
export async function uninstall(context: InstallContext, workspaceId: string): Promise<void> {
  const workspace = await readWorkspace(context.database, workspaceId);
  const client = workspace && intercomClientFor(context, workspace);
  if (!client || workspace.accessToken === null) return;
  try {
    await client.uninstall();
  } catch (error) {
    // A token that is dead already has nothing left to end.
    if (!(error instanceof AppError) || error.remedy.kind !== 'reauthorise') throw error;
  }
  await forgetToken(context.database, workspaceId, workspace.accessToken);
  context.logger.info({ workspaceId }, 'uninstalled from the settings');
}
