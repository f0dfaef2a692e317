import { isDeepStrictEqual } from 'node:util';
import { type Refusal, updateRows, WorkspaceEntity } from '../database/entities.ts';
import { AppError, answerOrError, isRefused } from '../errors.ts';
import type { Platform } from '../http/client.ts';
import { MINUTE_MS, withTimeout } from '../time.ts';
import type { AppContext } from './app-context.ts';
import { listProjects, type Project, setApiKeyState, updateProject } from './projects.ts';
import {
  describeWorkspace,
  markDisconnected,
  markReconnected,
  readInstalled,
  type Workspace,
} from './repository.ts';
import { checkApiKey, lacksPermission } from './revenuecat-key.ts';
import type { WorkspaceSettings } from './settings.ts';

/** A health check has a deadline: no call takes longer than this. */
const CALL_TIMEOUT_MS = 2_500;

/**
 * Calls both platforms to see whether they accept our access, and stores the result. Without this check an expired
 * token or key would be noticed only by the next event, which in a quiet workspace may be weeks away.
 *
 * @param deadlineMs a platform whose check takes longer did not answer; its later result is still stored
 * @returns the platforms that did not answer: about those nothing new is known
 */
export async function checkWorkspace(
  app: AppContext,
  workspaceId: string,
  deadlineMs = MINUTE_MS,
): Promise<Platform[]> {
  const { database } = app;
  const workspace = await readInstalled(database, workspaceId);
  if (!workspace) return [];
  const projects = await listProjects(database, workspaceId);
  const checks = [
    checkToken(app, workspace),
    ...projects.map((project) => checkKey(app, project, workspace.settings)),
  ];
  const [intercom, ...keys] = await Promise.all(
    checks.map((check) => withTimeout(check, deadlineMs, () => false)),
  );
  const silent: Platform[] = [];
  if (!intercom) silent.push('Intercom');
  if (keys.includes(false)) silent.push('RevenueCat');
  if (silent.length === 0)
    await updateRows(database, WorkspaceEntity, { workspaceId }, { checkedAt: () => 'now()' });
  return silent;
}

/** @returns whether Intercom answered */
async function checkToken(app: AppContext, workspace: Workspace): Promise<boolean> {
  const { database, logger } = app;
  const { workspaceId } = workspace;
  const client = app.intercom(workspace, { timeoutMs: CALL_TIMEOUT_MS });
  if (client === null) return true;
  const me = await answerOrError(client.me());
  if (me instanceof AppError) {
    if (me.remedy.kind !== 'reauthorize') return false;
    if (await markDisconnected(database, workspace, me.code))
      logger.error({ workspaceId, code: me.code }, 'Intercom refuses the token: deliveries wait');
    return true;
  }
  await updateRows(database, WorkspaceEntity, { workspaceId }, describeWorkspace(me));
  // A token can be suspended and become valid again.
  if (await markReconnected(database, workspace))
    logger.info({ workspaceId }, 'Intercom accepts the token again');
  return true;
}

/** @returns whether RevenueCat answered */
async function checkKey(app: AppContext, project: Project, settings: WorkspaceSettings): Promise<boolean> {
  const { database, logger } = app;
  const { workspaceId, projectId } = project;
  const client = app.revenueCat(project, { priority: 'unpaced', timeoutMs: CALL_TIMEOUT_MS });
  if (client === null) return true;
  const check = await checkApiKey(client, project.revenueCatProjectId, settings);
  if (check.outcome === 'unreachable') return false;
  const state = check.outcome === 'valid' ? 'valid' : 'rejected';
  if (await setApiKeyState(database, project, state))
    logger.info({ workspaceId, projectId, state }, 'state of the RevenueCat key changed');
  if (check.outcome === 'valid')
    await updateProject(database, project, { missingScopes: check.missingScopes });
  return true;
}

/** What keeps the app from working in a workspace, the most fundamental first. */
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

/** What Intercom tells the admins; the first that applies. Without a link to the settings it needs a new consent. */
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
    'Webhooks of {projects} are refused, so no event arrives. The settings say how to correct it.',
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
  const silent = await checkWorkspace(app, workspaceId, RESPONSE_DEADLINE_MS);
  const stored = await readHealth(app, workspaceId);
  const health =
    stored.state === 'OK' && silent.length > 0
      ? { state: 'UNKNOWN', message: `${silent.join(' and ')} did not answer. The check is repeated.` }
      : stored;
  await updateRows(app.database, WorkspaceEntity, { workspaceId }, { reportedHealth: health });
  return health;
}

/**
 * Reports to Intercom immediately what its daily check would find, so that the admins' e-mail and the listing's
 * banner do not wait for it. Intercom sends one e-mail for each report, so only changes are reported.
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
