import { AppError, notFound } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import {
  type Connection,
  connectProject,
  replaceWebhookAuthorization,
  wakeCustomers,
  webhookUrl,
} from '../workspaces/project-connection.ts';
import { type Project, readProject, updateProject } from '../workspaces/projects.ts';
import { missingByFeature } from '../workspaces/revenuecat-key.ts';
import { audit } from './change-settings.ts';
import { type Outcome, type PageRequest, problems } from './page.ts';

/** Whether our webhook was registered at RevenueCat, or why it was not. */
type Registration = 'registered' | 'no_key' | 'scope_missing' | 'refused' | 'unreachable';

/** Connects a project, registers its webhook, and shows the authorization value. */
export function connect(
  request: PageRequest,
  project: Omit<Parameters<typeof connectProject>[1], 'workspaceId'>,
  client: RevenueCatClient | null,
): Promise<Outcome> {
  const { app, workspaceId } = request;
  const { revenueCatProjectId, name, missingScopes = [] } = project;
  return withWebhookLock(request, async () => {
    const { publicUrl } = app.config;
    const connection = await connectProject({ ...app, publicUrl }, { workspaceId, ...project });
    await wakeCustomers(app, { workspaceId, projectId: connection.id });
    await audit(request, 'revenuecat_connected', { project: name ?? revenueCatProjectId });
    await app.jobs.send('workspace.health', { workspaceId });
    return registerAndShow(request, connection, { client, missingScopes });
  });
}

/** Replaces the webhook's authorization value, registers it, and shows it. */
export function newWebhook(request: PageRequest, project: Project): Promise<Outcome> {
  const { app } = request;
  return withWebhookLock(request, async () => {
    // Comes first: it throws if no key decrypts the API key, and then the value must not be replaced.
    const client = app.revenueCat(project, { priority: 'unpaced' });
    const connection = {
      id: project.projectId,
      webhookUrl: webhookUrl(app.config.publicUrl, project.projectId),
      webhookAuthorization: await replaceWebhookAuthorization(app.database, project),
    };
    return registerAndShow(request, connection, { client, missingScopes: [] });
  });
}

/**
 * Two requests at the same time could leave one value in the database and the other one at RevenueCat, whose webhooks
 * would then be refused. The second request fails: waiting would hold a connection that the first may need.
 */
function withWebhookLock({ app, workspaceId }: PageRequest, work: () => Promise<Outcome>): Promise<Outcome> {
  return app.database.transaction(async (sql) => {
    const [row] = await sql.query<{ locked: boolean }>(
      'select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as locked',
      [`webhook ${workspaceId}`],
    );
    return row?.locked ? work() : problems({ '': ALREADY_RUNNING });
  });
}

const ALREADY_RUNNING =
  'Nothing was changed: a webhook of this workspace is being replaced already. Try again in a minute.';

/** The only page that shows the authorization value. As the response to a form, it is in no URL or history. */
async function registerAndShow(
  request: PageRequest,
  connection: Connection,
  { client, missingScopes }: { client: RevenueCatClient | null; missingScopes: readonly string[] },
): Promise<Outcome> {
  const { app, workspaceId } = request;
  const project = await readProject(app.database, workspaceId, connection.id);
  if (!project) throw notFound('This workspace has no such RevenueCat project');
  const registration = await register(request, connection, { ...project, client });
  return {
    kind: 'page',
    view: 'connected',
    title: 'RevenueCat connected',
    data: {
      connection,
      name: project.name,
      registration,
      isSigningOff: registration === 'registered' && project.signingSecret !== null,
      missing: missingByFeature(missingScopes),
      lastReceivedAt: project.lastReceivedAt,
    },
  };
}

/**
 * Registers our webhook at RevenueCat. Replaces a webhook that has our URL, because RevenueCat never returns the
 * authorization value that it was created with. Also replaces the one that we added under another PUBLIC_URL, whose
 * value is refused from now on. If RevenueCat does not accept our webhook, the admin adds it by hand.
 */
async function register(
  { app, workspaceId }: PageRequest,
  { id: projectId, webhookUrl: url, webhookAuthorization: authorizationHeader }: Connection,
  project: Pick<Project, 'revenueCatProjectId' | 'webhookId'> & { client: RevenueCatClient | null },
): Promise<Registration> {
  const { client, revenueCatProjectId } = project;
  if (client === null) return 'no_key';
  let webhookId: string | null = null;
  let registration: Registration = 'registered';
  try {
    for (const existing of await client.listWebhooks(revenueCatProjectId))
      if (existing.url === url || existing.id === project.webhookId)
        await client.deleteWebhook(revenueCatProjectId, existing.id);
    const webhook = { name: 'Subscription Timeline', url, authorization_header: authorizationHeader };
    webhookId = (await client.createWebhook(revenueCatProjectId, webhook)).id;
  } catch (error) {
    registration = whyNotRegistered(error);
  }
  // In RevenueCat's dashboard signing is switched on per webhook. A new webhook is unsigned and would be refused.
  const unsigned = webhookId === null ? {} : { signingSecret: null };
  await updateProject(app.database, { workspaceId, projectId }, { webhookId, ...unsigned });
  return registration;
}

function whyNotRegistered(error: unknown): Registration {
  if (!(error instanceof AppError)) throw error;
  if (error.code === 'revenuecat_scope_missing') return 'scope_missing';
  return error.remedy.kind === 'give_up' ? 'refused' : 'unreachable';
}
