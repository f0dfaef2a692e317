import type { IntercomAdmin } from '../intercom/client.ts';
import { intercomClientFor } from '../workspaces/clients.ts';
import type { Workspace } from '../workspaces/store.ts';
import type { SettingsContext } from './context.ts';

/** A page waits for the names no longer than this, ms. */
const TIMEOUT_MS = 3_000;

/** `null` when Intercom cannot be asked: a page then shows those that were chosen before. */
export async function listTeammates(
  context: SettingsContext,
  workspace: Workspace,
): Promise<IntercomAdmin[] | null> {
  try {
    return (await intercomClientFor(context, workspace, { timeoutMs: TIMEOUT_MS })?.listAdmins()) ?? null;
  } catch (error) {
    context.logger.warn({ err: error, workspaceId: workspace.workspaceId }, 'teammates not listed');
    return null;
  }
}
