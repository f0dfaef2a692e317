import type { RevenueCatClient } from '../revenuecat/client.ts';
import {
  type Connection,
  connectProject,
  type Project,
  readProject,
  replaceWebhookAuthorization,
  updateProject,
  webhookUrl,
} from '../workspaces/projects.ts';
import { missingByFeature, registerWebhook } from '../workspaces/revenuecat-key.ts';
import { audit } from './change-settings.ts';
import type { Outcome, PageRequest } from './page.ts';

/** How the webhook got to RevenueCat, or why it did not. */
type Registration = 'registered' | 'no_key' | 'scope_missing' | 'refused' | 'unreachable';

/** Connects a project, registers its webhook, and shows the authorization value. */
export async function connect(
  request: PageRequest,
  project: {
    projectId: string;
    name: string | null;
    apiKey: string | null;
    client?: RevenueCatClient;
    missingScopes?: readonly string[];
  },
): Promise<Outcome> {
  const { database, secrets, config, jobs } = request.context;
  const { workspaceId } = request.workspace;
  const { projectId: revenueCatProjectId, name, apiKey, missingScopes } = project;
  const connection = await connectProject(
    { database, secrets, publicUrl: config.publicUrl },
    { workspaceId, revenueCatProjectId, apiKey, name, missingScopes },
  );
  const registration = await register(request, connection, {
    client: project.client ?? null,
    revenueCatProjectId,
  });
  await audit(request, 'revenuecat_connected', { project: name ?? revenueCatProjectId });
  await jobs.send('workspace.health', { workspaceId });
  return connectedPage(request, connection, {
    name: name ?? revenueCatProjectId,
    registration,
    missingScopes: missingScopes ?? [],
  });
}

async function register(
  { context, workspace }: PageRequest,
  connection: Connection,
  { client, revenueCatProjectId }: { client: RevenueCatClient | null; revenueCatProjectId: string },
): Promise<Registration> {
  if (client === null) return 'no_key';
  const registered = await registerWebhook(client, revenueCatProjectId, {
    url: connection.webhookUrl,
    authorizationHeader: connection.webhookAuthorization,
  });
  const webhookId = 'id' in registered ? registered.id : null;
  const { workspaceId } = workspace;
  await updateProject(context.database, { workspaceId, projectId: connection.id }, { webhookId });
  return 'id' in registered ? 'registered' : registered.reason;
}

/** The one page that shows the authorization value. It is the answer itself, so it is in no address or history. */
async function connectedPage(
  { context, workspace }: PageRequest,
  connection: Connection,
  shown: { name: string; registration: Registration; missingScopes: readonly string[] },
): Promise<Outcome> {
  const project = await readProject(context.database, workspace.workspaceId, connection.id);
  return {
    kind: 'page',
    view: 'connected',
    title: 'RevenueCat connected',
    data: {
      connection,
      name: shown.name,
      registration: shown.registration,
      missing: missingByFeature(shown.missingScopes),
      lastReceivedAt: project?.lastReceivedAt ?? null,
    },
  };
}

/** Replaces the webhook's authorization value, registers it, and shows it. */
export async function newWebhook(request: PageRequest, project: Project): Promise<Outcome> {
  const { context } = request;
  const connection = {
    id: project.projectId,
    webhookUrl: webhookUrl(context.config.publicUrl, project.projectId),
    webhookAuthorization: await replaceWebhookAuthorization(context.database, project),
  };
  const client = context.revenueCat(project, { priority: 'unpaced' });
  const { revenueCatProjectId } = project;
  const registration = await register(request, connection, { client, revenueCatProjectId });
  return connectedPage(request, connection, { name: project.name, registration, missingScopes: [] });
}
