import { updateRows, WorkspaceEntity } from '../database/entities.ts';
import { AppError, answerOrError } from '../errors.ts';
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
import { checkApiKey } from './revenuecat-key.ts';
import type { WorkspaceSettings } from './settings.ts';

/** A health check has a deadline: no call takes longer than this. */
const CALL_TIMEOUT_MS = 2_500;

/**
 * Calls both platforms to see whether they accept our access, and stores the result. Without this check an expired
 * token or key would be noticed only by the next event, which in a quiet workspace may be weeks away.
 *
 * @param deadlineMs a platform whose check takes longer counts as not answering; its late result is still stored
 * @returns the platforms that did not answer: nothing new is known about them
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
  const unresponsive: Platform[] = [];
  if (!intercom) unresponsive.push('Intercom');
  if (keys.includes(false)) unresponsive.push('RevenueCat');
  if (unresponsive.length === 0)
    await updateRows(database, WorkspaceEntity, { workspaceId }, { checkedAt: () => 'now()' });
  return unresponsive;
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
  const { workspaceId, projectId, apiKey, name, revenueCatProjectId } = project;
  const client = app.revenueCat(project, { priority: 'unpaced', timeoutMs: CALL_TIMEOUT_MS });
  if (client === null || apiKey === null) return true;
  const check = await checkApiKey(client, revenueCatProjectId, settings);
  if (check.outcome === 'unreachable') return false;
  const state = check.outcome === 'valid' ? 'valid' : 'rejected';
  if (await setApiKeyState(database, project, state))
    logger.info({ workspaceId, projectId, state }, 'state of the RevenueCat key changed');
  if (check.outcome !== 'valid') return true;
  // A key that has replaced this one keeps its own permissions. A project that was connected without a name gets one.
  await updateProject(
    database,
    { ...project, condition: { apiKey } },
    {
      missingScopes: check.missingScopes,
      ...(name === revenueCatProjectId ? { name: check.project.name } : {}),
    },
  );
  return true;
}
