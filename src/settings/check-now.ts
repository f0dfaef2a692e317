import { checkWorkspace } from '../workspaces/health.ts';
import type { SettingsContext, Visit } from './context.ts';

/**
 * Asks both platforms at once whether they accept our access, for an admin who waits.
 *
 * @returns the code of what the page then says
 */
export async function checkNow(
  context: SettingsContext,
  { workspace: { workspaceId } }: Visit,
): Promise<'checked' | 'checked_silent'> {
  const silent = await checkWorkspace(context, workspaceId);
  await context.jobs.send('workspace.health', { workspaceId });
  return silent.length === 0 ? 'checked' : 'checked_silent';
}
