import { isDeepStrictEqual } from 'node:util';
import { type Refusal, updateRows, WorkspaceEntity } from '../database/entities.ts';
import { isRefused } from '../errors.ts';
import type { AppContext } from './app-context.ts';
import { checkWorkspace } from './check-workspace.ts';
import { listProjects, type Project } from './projects.ts';
import { readInstalled, type Workspace } from './repository.ts';
import { lacksPermission } from './revenuecat-key.ts';

/** Finds the problems that keep the app from working in a workspace, the most fundamental first. */
export function findProblems(workspace: Workspace, projects: readonly Project[]) {
  const { status, refusals, settings, attributesReady, identityVerification } = workspace;
  const isConnected = status === 'connected';
  const acceptsUnverified = settings.messenger.unverifiedAccepted !== null;
  const refusalFor = (code: Refusal['code']): Refusal | undefined =>
    [refusals.events, refusals.contacts].find((each) => each?.code === code);
  /** @param about the project, or Intercom's own message, which names the permission */
  const problem = <const Code extends string>(isFound: unknown, code: Code, about = '') =>
    isFound ? [{ code, about }] : [];
  const scope = refusalFor('intercom_scope_missing');
  const plan = refusalFor('intercom_plan_restricted');
  return [
    problem(!isConnected, 'disconnected'),
    problem(scope, 'missing_scope', scope?.message),
    problem(plan, 'plan_restricted', plan?.message),
    problem(projects.length === 0, 'no_project'),
    ...projects.flatMap(({ name, refusedWebhook, apiKeyState, missingScopes, lastReceivedAt }) => [
      problem(refusedWebhook, `${refusedWebhook?.refusedFor ?? 'authorization'}_refused`, name),
      problem(apiKeyState === 'rejected', 'key_rejected', name),
      problem(apiKeyState === 'none', 'key_missing', name),
      problem(apiKeyState === 'valid' && lacksPermission(missingScopes), 'key_lacks_permissions', name),
      problem(lastReceivedAt === null && refusedWebhook === null, 'no_event_yet', name),
    ]),
    problem(isConnected && !attributesReady, 'attributes_missing'),
    problem(identityVerification === false && !acceptsUnverified, 'identity_unverified'),
  ].flat();
}

type ProblemCode = ReturnType<typeof findProblems>[number]['code'];

/** Intercom documents no deadline for its check; its webhooks time out after 5 s. */
const RESPONSE_DEADLINE_MS = 4_000;
const MAX_NAMES_LENGTH = 500;

/** Intercom shows the admins the first message that applies. A `null` link: they have to reinstall the app. */
const HEALTH_PROBLEMS: readonly (readonly [
  codes: readonly ProblemCode[],
  message: string,
  link: string | null,
])[] = [
  [
    ['disconnected'],
    'Intercom no longer accepts our access. Reinstall the app: waiting events are then delivered.',
    null,
  ],
  [
    ['missing_scope'],
    'The app lacks a permission in Intercom. Reinstall it and allow the permissions that it asks for: waiting events are then delivered.',
    null,
  ],
  [
    ['plan_restricted'],
    'Your Intercom plan does not include what the app needs to record events. They wait, and are delivered when the plan allows it.',
    'See the settings',
  ],
  [['no_project'], 'No RevenueCat project is connected yet.', 'Connect RevenueCat'],
  [
    ['authorization_refused', 'signature_refused'],
    'Webhooks from {projects} are refused, so no event arrives. The settings say how to correct it.',
    'Correct the webhook',
  ],
  [
    ['key_rejected'],
    'RevenueCat no longer accepts the API key of {projects}. Events still arrive; grants and refreshing do not work.',
    'Replace the key',
  ],
  [
    ['key_missing'],
    'There is no RevenueCat API key for {projects}. Events arrive; grants and refreshing do not work.',
    'Add an API key',
  ],
];

const reinstall = (message: string) => ({ state: 'UNHEALTHY', message, cta_type: 'REINSTALL_CTA' }) as const;

/**
 * Reads from the database whether the app can work in a workspace; the most fundamental problem wins. Source of the
 * fields: Intercom, "Installation health check".
 */
async function readHealth({ database, config }: AppContext, workspaceId: string) {
  const workspace = await readInstalled(database, workspaceId);
  if (!workspace) return reinstall('Subscription Timeline is not installed in this workspace.');
  const problems = findProblems(workspace, await listProjects(database, workspaceId));
  for (const [codes, message, link] of HEALTH_PROBLEMS) {
    const found = problems.filter(({ code }) => codes.includes(code)).map(({ about }) => about);
    if (found.length === 0) continue;
    const text = message.replace('{projects}', () => found.join(', ').slice(0, MAX_NAMES_LENGTH));
    if (link === null) return reinstall(text);
    const url = `${config.publicUrl}/settings`;
    return { state: 'UNHEALTHY', message: text, cta_type: 'URL_CTA', cta_label: link, cta_url: url } as const;
  }
  return { state: 'OK' } as const;
}

/**
 * The answer to Intercom's daily check. Both platforms are called within the deadline, so that a key that expired in
 * a quiet week is found.
 */
export async function answerHealth(app: AppContext, workspaceId: string) {
  const unresponsive = await checkWorkspace(app, workspaceId, RESPONSE_DEADLINE_MS);
  const stored = await readHealth(app, workspaceId);
  const health =
    stored.state === 'OK' && unresponsive.length > 0
      ? { state: 'UNKNOWN', message: `${unresponsive.join(' and ')} did not answer. The check is repeated.` }
      : stored;
  await updateRows(app.database, WorkspaceEntity, { workspaceId }, { reportedHealth: health });
  return health;
}

/**
 * Reports to Intercom immediately what its daily check would find, so that the admins' e-mail and the listing's
 * banner do not wait for it. Intercom sends one e-mail for each change of the state, and only changes are reported.
 *
 * @throws AppError when Intercom cannot be reached
 */
export async function reportHealth(app: AppContext, workspaceId: string): Promise<void> {
  const { database, logger } = app;
  const workspace = await readInstalled(database, workspaceId);
  const client = workspace && app.intercom(workspace);
  if (!client) return;
  const health = await readHealth(app, workspaceId);
  const { state } = health;
  const stored = await database.manager.findOneBy(WorkspaceEntity, { workspaceId });
  if (isDeepStrictEqual(stored?.reportedHealth, health)) return;
  // A revoked token cannot report its own revocation: Intercom's own check finds it.
  if (await isRefused(client.pushHealth(health))) {
    logger.info({ workspaceId, state }, 'health not reported to Intercom');
    return;
  }
  await updateRows(database, WorkspaceEntity, { workspaceId }, { reportedHealth: health });
  logger.info({ workspaceId, state }, 'health reported to Intercom');
}
