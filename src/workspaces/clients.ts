import {
  createIntercomClient,
  type IntercomClient,
  type IntercomClientOptions,
  intercomApiUrl,
} from '../intercom/client.ts';
import type { CallLimiter, CallPriority } from '../revenuecat/call-limiter.ts';
import { createRevenueCatClient, type RevenueCatClient } from '../revenuecat/client.ts';
import type { Project } from './projects.ts';
import { type SecretBox, secretLocation } from './secrets.ts';
import type { Workspace } from './store.ts';

interface ClientContext {
  readonly secrets: SecretBox;
  now(): number;
}

/** Where the platforms' APIs are. */
export interface ApiUrls {
  readonly intercom: { readonly apiUrl: string | null };
  readonly revenueCatApiUrl: string;
}

/** The workspace's Intercom client; `null`: there is no token (uninstalled). */
export function intercomClientFor(
  context: ClientContext & { readonly config: Pick<ApiUrls, 'intercom'> },
  workspace: Pick<Workspace, 'workspaceId' | 'region' | 'accessToken'>,
  options: Pick<IntercomClientOptions, 'gate' | 'timeoutMs'> = {},
): IntercomClient | null {
  if (workspace.accessToken === null) return null;
  return createIntercomClient({
    apiUrl: intercomApiUrl(context.config.intercom.apiUrl, workspace.region),
    accessToken: context.secrets.decrypt(
      workspace.accessToken,
      secretLocation.accessToken(workspace.workspaceId),
    ),
    now: context.now,
    ...options,
  });
}

/** The project's RevenueCat client; `null`: it has no key (webhooks only). */
export function revenueCatClientFor(
  context: ClientContext & {
    readonly config: Pick<ApiUrls, 'revenueCatApiUrl'>;
    /** Without it calls are not paced: for a single one. */
    readonly limiter?: CallLimiter;
  },
  project: Project,
  options: { priority?: CallPriority; timeoutMs?: number; signal?: AbortSignal } = {},
): RevenueCatClient | null {
  if (project.apiKey === null) return null;
  const { priority = 'interactive', timeoutMs, signal } = options;
  return createRevenueCatClient({
    apiUrl: context.config.revenueCatApiUrl,
    apiKey: context.secrets.decrypt(
      project.apiKey,
      secretLocation.apiKey(project.workspaceId, project.projectId),
    ),
    now: context.now,
    gate: context.limiter?.gate(project, priority, signal),
    timeoutMs,
  });
}
