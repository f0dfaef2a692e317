import type { Request, Response, Router } from 'express';
import { notFound } from '../errors.ts';
import { createRevenueCatClient } from '../revenuecat/client.ts';
import { revenueCatClientFor } from '../workspaces/clients.ts';
import {
  type Connection,
  connectProject,
  disconnectProject,
  isProjectId,
  listProjects,
  looksLikeSecretKey,
  type Project,
  readProject,
  setApiKeyState,
  setMissingScopes,
  setSigningSecret,
  setWebhookId,
} from '../workspaces/projects.ts';
import { checkApiKey, registerWebhook } from '../workspaces/revenuecat-key.ts';
import { secretLocation } from '../workspaces/secrets.ts';
import { auditChange, changeSettings } from './audit.ts';
import { checkNow } from './check-now.ts';
import { field, type SettingsContext, type Visit, visitOf } from './context.ts';
import { sendPage } from './render.ts';

/** How the webhook got to RevenueCat, or why it did not. */
type Registration = 'registered' | 'no_key' | 'scope_missing' | 'refused' | 'unreachable';

interface PageExtras {
  readonly errors?: readonly string[];
  /** The project id that was typed; the key is never shown again. */
  readonly typedProjectId?: string;
  readonly choices?: readonly { id: string; name: string }[];
}

export function addRevenueCatPages(router: Router, context: SettingsContext): void {
  const { database, secrets, config } = context;

  async function show(req: Request, res: Response, visit: Visit, extras: PageExtras = {}): Promise<void> {
    const projects = await listProjects(database, visit.workspace.workspaceId);
    sendPage(req, res, {
      view: 'revenuecat',
      title: 'RevenueCat',
      section: 'revenuecat',
      visit,
      errors: extras.errors ?? [],
      data: {
        projects: projects.map((project) => ({
          id: project.projectId,
          name: project.name,
          revenueCatProjectId: project.revenueCatProjectId,
          keyState: project.apiKeyState,
          missingScopes: project.missingScopes,
          hasSigningSecret: project.signingSecret !== null,
          registered: project.webhookId !== null,
          lastReceivedAt: project.lastReceivedAt,
          webhookUrl: webhookUrl(project),
        })),
        typedProjectId: extras.typedProjectId ?? '',
        choices: extras.choices ?? [],
        sandboxDelivered: visit.workspace.settings.sandbox.deliver,
      },
    });
  }

  const webhookUrl = (project: Project): string =>
    `${config.publicUrl}/webhooks/revenuecat/${project.projectId}`;

  /** The project of a form, of this workspace alone. */
  async function projectOf(req: Request, visit: Visit): Promise<Project> {
    const id = field(req, 'project');
    const own = (await listProjects(database, visit.workspace.workspaceId)).find(
      (project) => project.projectId === id,
    );
    if (!own) throw notFound('This workspace has no such RevenueCat project');
    return own;
  }

  router.get('/revenuecat', async (req, res) => {
    await show(req, res, await visitOf(context, res));
  });

  router.get('/revenuecat/status', async (_req, res) => {
    const { workspace } = await visitOf(context, res);
    const projects = await listProjects(database, workspace.workspaceId);
    res.set('Cache-Control', 'no-store').json({
      projects: projects.map((project) => ({
        id: project.projectId,
        last_received_at: project.lastReceivedAt,
      })),
    });
  });

  router.post('/revenuecat/check', async (_req, res) => {
    const done = await checkNow(context, await visitOf(context, res));
    res.redirect(303, `/settings/revenuecat?done=${done}`);
  });

  router.post('/revenuecat/connect', async (req, res) => {
    const visit = await visitOf(context, res);
    const apiKey = field(req, 'api_key');
    const typedProjectId = field(req, 'revenuecat_project');
    const complain = (error: string, choices?: PageExtras['choices']): Promise<void> =>
      show(req, res, visit, { errors: [error], typedProjectId, ...(choices ? { choices } : {}) });

    if (typedProjectId !== '' && !isProjectId(typedProjectId)) {
      return complain(
        'That is no project ID. It looks like proj1ab2c3d4, in RevenueCat under Project settings.',
      );
    }
    if (apiKey === '') {
      // Webhooks alone are enough for events; grants and refreshing need the key.
      if (typedProjectId === '') return complain('Paste a secret API key, or at least the project ID.');
      const connection = await connectProject(
        { database, secrets, publicUrl: config.publicUrl },
        {
          workspaceId: visit.workspace.workspaceId,
          revenueCatProjectId: typedProjectId,
          apiKey: null,
          name: null,
        },
      );
      return finish(req, res, visit, connection, typedProjectId, [], 'no_key');
    }
    if (!looksLikeSecretKey(apiKey)) {
      return complain(
        'A secret API key begins with sk_. Public keys (appl_, goog_ and others) do not work here.',
      );
    }
    const client = createRevenueCatClient({ apiUrl: config.revenueCatApiUrl, apiKey, now: context.now });
    const check = await checkApiKey(client, typedProjectId || null, visit.workspace.settings);
    switch (check.outcome) {
      case 'rejected':
        return complain(
          'RevenueCat does not accept this key. Copy a secret key of API version 2 and try again.',
        );
      case 'unreachable':
        return complain('RevenueCat did not answer. Nothing was changed: please try again in a minute.');
      case 'wrong_project':
        return complain('This key does not belong to that project.');
      case 'choose':
        return check.projects.length > 1
          ? complain('This key opens several projects. Choose one and paste the key again.', check.projects)
          : complain('This key may not list its project. Add the project ID and paste the key again.');
      case 'valid': {
        const { workspaceId } = visit.workspace;
        const connection = await connectProject(
          { database, secrets, publicUrl: config.publicUrl },
          { workspaceId, revenueCatProjectId: check.project.id, apiKey, name: check.project.name },
        );
        await setApiKeyState(database, workspaceId, connection.id, 'valid');
        await setMissingScopes(database, workspaceId, connection.id, check.missingScopes);
        const registered = await registerWebhook(client, check.project.id, {
          url: connection.webhookUrl,
          authorizationHeader: connection.webhookAuthorization,
        });
        await setWebhookId(database, workspaceId, connection.id, 'id' in registered ? registered.id : null);
        return finish(
          req,
          res,
          visit,
          connection,
          check.project.name,
          check.missingScopes,
          'id' in registered ? 'registered' : registered.reason,
        );
      }
    }
  });

  /** The one page that shows the authorization value. It is the answer itself, so it is in no address or history. */
  async function finish(
    req: Request,
    res: Response,
    visit: Visit,
    connection: Connection,
    name: string,
    missingScopes: readonly string[],
    registration: Registration,
  ): Promise<void> {
    await auditChange(context, visit, 'revenuecat_connected', { project: name });
    const { workspaceId } = visit.workspace;
    await context.jobs.send('workspace.health', { workspaceId });
    const project = await readProject(database, workspaceId, connection.id);
    sendPage(req, res, {
      view: 'connected',
      title: 'RevenueCat connected',
      section: 'revenuecat',
      visit,
      data: {
        connection,
        name,
        missingScopes,
        registration,
        lastReceivedAt: project?.lastReceivedAt ?? null,
      },
    });
  }

  router.post('/revenuecat/signing', async (req, res) => {
    const visit = await visitOf(context, res);
    const project = await projectOf(req, visit);
    const { workspaceId } = visit.workspace;
    const secret = field(req, 'signing_secret');
    if (secret.length > 1_000) {
      return show(req, res, visit, { errors: ['The signing secret is too long.'] });
    }
    const sealed =
      secret === ''
        ? null
        : secrets.encrypt(secret, secretLocation.signingSecret(workspaceId, project.projectId));
    await setSigningSecret(database, workspaceId, project.projectId, sealed);
    await auditChange(context, visit, sealed ? 'signing_secret_set' : 'signing_secret_removed', {
      project: project.name,
    });
    res.redirect(303, `/settings/revenuecat?done=${sealed ? 'signing_saved' : 'signing_removed'}`);
  });

  router.post('/revenuecat/disconnect', async (req, res) => {
    const visit = await visitOf(context, res);
    const project = await projectOf(req, visit);
    const { workspaceId } = visit.workspace;
    const client = revenueCatClientFor(context, project);
    if (client && project.webhookId !== null) {
      // A webhook that stays behind is refused with 401 from now on: it does no harm.
      await client.deleteWebhook(project.revenueCatProjectId, project.webhookId).catch((error: unknown) => {
        context.logger.warn({ err: error, workspaceId }, 'webhook not removed at RevenueCat');
      });
    }
    await disconnectProject(database, workspaceId, project.projectId);
    await auditChange(context, visit, 'revenuecat_disconnected', { project: project.name });
    await context.jobs.send('workspace.health', { workspaceId });
    res.redirect(303, '/settings/revenuecat?done=disconnected');
  });

  router.post('/revenuecat/sandbox', async (req, res) => {
    const visit = await visitOf(context, res);
    const deliver = field(req, 'deliver') === 'on';
    await changeSettings(context, visit, 'sandbox', { deliver }, 'sandbox_setting_changed');
    res.redirect(303, '/settings/revenuecat?done=sandbox_saved');
  });
}
