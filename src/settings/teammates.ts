import { createIntercomClient, type IntercomAdmin, intercomApiUrl } from '../intercom/client.ts';
import { secretLocation } from '../workspaces/secrets.ts';
import type { Workspace } from '../workspaces/store.ts';
import type { SettingsContext } from './context.ts';

/** A page waits for the names no longer than this, ms. */
const TIMEOUT_MS = 3_000;

/** `null` when Intercom cannot be asked: a page then shows those that were chosen before. */
export async function listTeammates(
  context: SettingsContext,
  workspace: Workspace,
): Promise<IntercomAdmin[] | null> {
  if (workspace.accessToken === null) return null;
  try {
    const accessToken = context.secrets.decrypt(
      workspace.accessToken,
      secretLocation.accessToken(workspace.workspaceId),
    );
    const apiUrl = intercomApiUrl(context.config.intercom.apiUrl, workspace.region);
    return await createIntercomClient({ apiUrl, accessToken, timeoutMs: TIMEOUT_MS }).listAdmins();
  } catch (error) {
    context.logger.warn({ err: error, workspaceId: workspace.workspaceId }, 'teammates not listed');
    return null;
  }
}
