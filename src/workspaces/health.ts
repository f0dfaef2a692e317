import type { Sql } from '../database/sql.ts';
import { createIntercomClient, intercomApiUrl } from '../intercom/client.ts';
import type { InstallContext } from './install.ts';
import { listProjects, readWorkspace, sealedAs } from './store.ts';

/** Intercom's installation health check. Source: Intercom, "Installation health check". */
export type Health =
  | { readonly state: 'OK' }
  | { readonly state: 'UNKNOWN'; readonly message: string }
  | { readonly state: 'UNHEALTHY'; readonly message: string; readonly cta_type: 'REINSTALL_CTA' }
  | {
      readonly state: 'UNHEALTHY';
      readonly message: string;
      readonly cta_type: 'URL_CTA';
      readonly cta_label: string;
      readonly cta_url: string;
    };

/** Checks what must be there for the app to work in a workspace, the most fundamental first. */
export async function checkHealth(sql: Sql, workspaceId: string, publicUrl: string): Promise<Health> {
  const workspace = await readWorkspace(sql, workspaceId);
  if (!workspace || workspace.status === 'uninstalled') {
    return unhealthy('Subscription Timeline is not installed in this workspace.');
  }
  if (workspace.status === 'disconnected') {
    return unhealthy(
      'Intercom no longer accepts our access. Reinstall the app: waiting events are then delivered.',
    );
  }
  const projects = await listProjects(sql, workspaceId);
  const settingsUrl = `${publicUrl}/settings`;
  if (projects.length === 0) {
    return {
      state: 'UNHEALTHY',
      message: 'No RevenueCat project is connected yet.',
      cta_type: 'URL_CTA',
      cta_label: 'Connect RevenueCat',
      cta_url: settingsUrl,
    };
  }
  if (projects.some((project) => project.apiKeyState === 'rejected')) {
    return {
      state: 'UNHEALTHY',
      message: 'RevenueCat no longer accepts the API key.',
      cta_type: 'URL_CTA',
      cta_label: 'Replace the key',
      cta_url: settingsUrl,
    };
  }
  return { state: 'OK' };
}

/**
 * Tells Intercom at once what its daily check would find, so that the admins' e-mail and the listing's banner
 * do not wait for it. Source: Intercom, "Installation health check".
 *
 * @throws AppError when Intercom cannot be told
 */
export async function reportHealth(
  context: Pick<InstallContext, 'config' | 'database' | 'secrets' | 'now'>,
  workspaceId: string,
): Promise<void> {
  const workspace = await readWorkspace(context.database, workspaceId);
  if (!workspace?.accessToken || workspace.status !== 'connected') return;
  const apiUrl = intercomApiUrl(context.config.intercom.apiUrl, workspace.region);
  const accessToken = context.secrets.open(workspace.accessToken, sealedAs.accessToken(workspaceId));
  const health = await checkHealth(context.database, workspaceId, context.config.publicUrl);
  await createIntercomClient({ apiUrl, accessToken, now: context.now }).pushHealth({ ...health });
}

function unhealthy(message: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'REINSTALL_CTA' };
}
