import type { Sql } from '../database/sql.ts';
import { listProjects, readWorkspace } from './store.ts';

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
    return unhealthy('Intercom no longer accepts our access. Reinstall the app: waiting events are then delivered.');
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

function unhealthy(message: string): Health {
  return { state: 'UNHEALTHY', message, cta_type: 'REINSTALL_CTA' };
}
