import { z } from 'zod';
import { notFound } from '../errors.ts';
import { createRevenueCatClient, type RevenueCatClient } from '../revenuecat/client.ts';
import { checkWorkspace } from '../workspaces/check-workspace.ts';
import {
  disconnectProject,
  INVALID_PROJECT_ID,
  INVALID_SECRET_KEY,
  isProjectId,
  listDisconnected,
  looksLikeSecretKey,
  reconnectProject,
  storeApiKey,
  wakeCustomers,
  webhookUrl,
  withPrefix,
} from '../workspaces/project-connection.ts';
import { listProjects, type Project, updateProject } from '../workspaces/projects.ts';
import { canAddWebhook, checkApiKey, type KeyCheck, missingByFeature } from '../workspaces/revenuecat-key.ts';
import { secretLocation } from '../workspaces/secrets.ts';
import { audit, changeSettings } from './change-settings.ts';
import { connect, newWebhook } from './connect.ts';
import type { FlashCode } from './messages.ts';
import {
  action,
  checkboxField,
  confirmationPage,
  done,
  type Failure,
  form,
  type Outcome,
  type Page,
  type PageRequest,
  problems,
  textField,
} from './page.ts';

const MAX_SIGNING_SECRET_LENGTH = 1_000;
/** Connecting the project again would replace the authorization value that its webhook in RevenueCat sends. */
const ALREADY_CONNECTED =
  'This project is connected already: see above. Paste an API key to add or replace its key.';

/** The project that a form names, which must belong to this workspace. */
export async function projectOf({ app, workspaceId, input }: PageRequest): Promise<Project> {
  const id = input('project');
  const projects = await listProjects(app.database, workspaceId);
  const project = projects.find(({ projectId }) => projectId === id);
  if (!project) throw notFound('This workspace has no such RevenueCat project');
  return project;
}

export async function checkNow({ app, workspaceId }: PageRequest): Promise<FlashCode> {
  const unresponsive = await checkWorkspace(app, workspaceId);
  await app.jobs.send('workspace.health', { workspaceId });
  if (unresponsive.length > 0) return 'checked_unanswered';
  const projects = await listProjects(app.database, workspaceId);
  return projects.some(({ refusedWebhook }) => refusedWebhook) ? 'checked_refused' : 'checked';
}

const keyField = textField.refine((key) => key === '' || looksLikeSecretKey(key), INVALID_SECRET_KEY);
const requiredKeyField = textField.refine(looksLikeSecretKey, INVALID_SECRET_KEY);

const connectForm = form(
  z.object({
    api_key: keyField,
    revenuecat_project: textField.refine((id) => id === '' || isProjectId(id), INVALID_PROJECT_ID),
  }),
  async (request, { api_key: apiKey, revenuecat_project: typedId }) => {
    const { app, workspaceId } = request;
    const projects = await listProjects(app.database, workspaceId);
    const connected = (id: string): Project | undefined =>
      projects.find(({ revenueCatProjectId }) => revenueCatProjectId === id);
    if (apiKey === '') {
      // Webhooks alone are enough for events; grants and refreshing need the key.
      if (typedId === '') return problems({ api_key: 'Paste a secret API key, or at least the project ID.' });
      if (connected(withPrefix(typedId))) return problems({ revenuecat_project: ALREADY_CONNECTED });
      return connect(request, { revenueCatProjectId: typedId, name: null, apiKey: null }, null);
    }
    const client = clientOf(request, apiKey);
    const check = await checkApiKey(client, typedId || null, request.workspace.settings);
    if (check.outcome !== 'valid') return explainCheck(check);
    const { project, missingScopes } = check;
    const existing = connected(project.id);
    // Only the key is new: the webhook keeps its authorization value.
    if (existing) return storeKey(request, existing, { apiKey, ...check });
    const { id: revenueCatProjectId, name } = project;
    return connect(request, { revenueCatProjectId, name, apiKey, missingScopes }, client);
  },
);

const replaceKeyForm = form(z.object({ new_key: requiredKeyField }), async (request, { new_key: apiKey }) => {
  const project = await projectOf(request);
  const { settings } = request.workspace;
  const check = await checkApiKey(clientOf(request, apiKey), project.revenueCatProjectId, settings);
  if (check.outcome === 'valid') return storeKey(request, project, { apiKey, ...check });
  const [problem = ''] = Object.values(explainCheck(check).problems);
  return problems({ new_key: problem });
});

function clientOf({ app }: PageRequest, apiKey: string): RevenueCatClient {
  return createRevenueCatClient({ apiUrl: app.config.revenueCatApiUrl, apiKey, now: app.now });
}

const KEY_PROBLEMS = {
  rejected: {
    api_key: 'RevenueCat does not accept this key. Copy a secret key of API version 2 and try again.',
  },
  unreachable: { '': 'RevenueCat did not answer. Nothing was changed: please try again in a minute.' },
  wrong_project: {
    revenuecat_project: 'This key does not belong to that project, or has no permission at all.',
  },
};

function explainCheck(check: Exclude<KeyCheck, { outcome: 'valid' }>): Failure {
  if (check.outcome !== 'choose') return problems(KEY_PROBLEMS[check.outcome]);
  const isOneOfSeveral = check.projects.length > 1;
  const revenuecat_project = isOneOfSeveral
    ? 'This key opens several projects. Choose one and paste the key again.'
    : 'This key cannot list its project. Add the project ID and paste the key again.';
  return problems({ revenuecat_project }, isOneOfSeveral ? { choices: check.projects } : undefined);
}

async function storeKey(
  request: PageRequest,
  project: Project,
  accepted: { apiKey: string; missingScopes: readonly string[]; project: { name: string } },
): Promise<Outcome> {
  const { app, workspaceId } = request;
  // A project that was connected without a key is named after its ID.
  if (project.name === project.revenueCatProjectId)
    await updateProject(app.database, project, { name: accepted.project.name });
  await storeApiKey(app, project, accepted);
  await audit(request, 'revenuecat_key_replaced', { project: project.name });
  await app.jobs.send('workspace.health', { workspaceId });
  return done('/revenuecat', project.apiKey === null ? 'key_added' : 'key_replaced');
}

const signingForm = form(
  z.object({
    signing_secret: textField.pipe(
      z
        .string()
        .max(MAX_SIGNING_SECRET_LENGTH, 'The signing secret is too long.')
        .regex(/^[!-~]*$/, 'A signing secret has no spaces or invisible characters. Copy it again.'),
    ),
  }),
  async (request, { signing_secret: secret }) => {
    const { database, secrets } = request.app;
    const project = await projectOf(request);
    const { workspaceId, projectId } = project;
    if (secret === '' && project.signingSecret === null)
      return problems({ signing_secret: 'Paste the signing secret first. Nothing was changed.' });
    const encrypted =
      secret === '' ? null : secrets.encrypt(secret, secretLocation.signingSecret(workspaceId, projectId));
    await updateProject(database, project, { signingSecret: encrypted, lastRefusedAt: null });
    await audit(request, encrypted ? 'signing_secret_set' : 'signing_secret_removed', {
      project: project.name,
    });
    return done('/revenuecat', encrypted ? 'signing_saved' : 'signing_removed');
  },
);

const reconnectForm = action(async (request) => {
  const { app, workspaceId, input } = request;
  if (!(await reconnectProject(app, { workspaceId, projectId: input('project') }))) {
    const projects = await listProjects(app.database, workspaceId);
    const isConnected = projects.some(({ projectId }) => projectId === input('project'));
    return done('/revenuecat', isConnected ? 'reconnected' : 'reconnect_expired');
  }
  const project = await projectOf(request);
  await wakeCustomers(app, project);
  await audit(request, 'revenuecat_reconnected', { project: project.name });
  await app.jobs.send('workspace.health', { workspaceId });
  // Disconnecting deleted the webhook that we had registered at RevenueCat, so a new one is registered.
  if (project.webhookId !== null) return newWebhook(request, project);
  return done('/revenuecat', 'reconnected');
});

export const revenueCatPage: Page = {
  path: '/revenuecat',
  title: 'RevenueCat',
  async load({ app, workspace, workspaceId }) {
    const [projects, disconnected] = await Promise.all([
      listProjects(app.database, workspaceId),
      listDisconnected(app, workspaceId),
    ]);
    return {
      projects: projects.map((project) => ({
        ...project,
        missing: missingByFeature(project.missingScopes),
        hasSigningSecret: project.signingSecret !== null,
        canAddWebhook: canAddWebhook(project),
        webhookUrl: webhookUrl(app.config.publicUrl, project.projectId),
      })),
      disconnected,
      choices: [],
      isSandboxDelivered: workspace.settings.sandbox.deliver,
    };
  },
  status: async ({ app, workspaceId }) => ({
    projects: (await listProjects(app.database, workspaceId)).map((project) => ({
      id: project.projectId,
      last_received_at: project.lastReceivedAt,
    })),
  }),
  forms: {
    '/check': action(async (request) => done('/revenuecat', await checkNow(request))),
    '/connect': connectForm,
    '/key': replaceKeyForm,
    '/signing': signingForm,
    '/reconnect': reconnectForm,
    '/sandbox': form(z.object({ deliver: checkboxField }), async (request, { deliver }) => {
      await changeSettings(request, 'sandbox', { deliver });
      return done('/revenuecat', 'sandbox_saved');
    }),
  },
};

export const disconnectPage = confirmationPage({
  path: '/revenuecat/disconnect',
  title: 'Disconnect RevenueCat',
  find: projectOf,
  describe: ({ name, projectId, webhookId }) => ({
    heading: `Disconnect ${name}?`,
    effects: [
      'Events of this project are refused from now on. RevenueCat does not send them again later.',
      ...(webhookId === null ? [] : ['The webhook that we added is deleted in RevenueCat.']),
      'Its API key and signing secret are deleted after a day. Until then you can undo this.',
      'Events, customers and grants that are stored stay, and are shown again when you connect the project again.',
    ],
    fields: { project: projectId },
    button: `Disconnect ${name}`,
  }),
  async save(request, project) {
    const { app } = request;
    const { workspaceId, webhookId } = project;
    const client = app.revenueCat(project, { priority: 'unpaced' });
    if (client && webhookId !== null) {
      // A webhook that stays does no harm: it is refused with 401 from now on.
      await client.deleteWebhook(project.revenueCatProjectId, webhookId).catch((error: unknown) => {
        app.logger.warn({ err: error, workspaceId }, 'webhook not removed at RevenueCat');
      });
    }
    if (await disconnectProject(app.database, project))
      await audit(request, 'revenuecat_disconnected', { project: project.name });
    await app.jobs.send('workspace.health', { workspaceId });
    return done('/revenuecat', 'disconnected');
  },
});

export const newWebhookPage = confirmationPage({
  path: '/revenuecat/webhook',
  title: 'New authorization value',
  find: projectOf,
  describe: ({ name, projectId }) => ({
    heading: `Create a new authorization value for ${name}?`,
    effects: [
      'The old value stops working immediately.',
      'If the API key can write integrations, we replace the webhook in RevenueCat for you. Otherwise, events are refused until you paste the new value there.',
    ],
    fields: { project: projectId },
    button: 'Create a new value',
  }),
  async save(request, project) {
    const outcome = await newWebhook(request, project);
    if (outcome.kind === 'page') await audit(request, 'webhook_secret_replaced', { project: project.name });
    return outcome;
  },
});
