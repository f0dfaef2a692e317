import { AppError } from '../errors.ts';
import { checkApiKey } from './api-key.ts';
import { intercomClientFor, revenueCatClientFor } from './clients.ts';
import { markChecked, setMissingScopes } from './health-store.ts';
import type { InstallContext } from './install.ts';
import {
  listProjects,
  markDisconnected,
  markReconnected,
  type Project,
  readWorkspace,
  setApiKeyState,
  setIdentityVerification,
  type Workspace,
} from './store.ts';

export type Platform = 'Intercom' | 'RevenueCat';

type ExamineContext = Pick<InstallContext, 'config' | 'database' | 'secrets' | 'logger' | 'now'>;

/** A health check waits for the answer: one call takes no longer than this, ms. */
const CALL_TIMEOUT_MS = 2_500;

/**
 * Asks both platforms whether they accept our access, and stores what they say. Without it a token or a key that
 * has died would be noticed only by the next event, which in a quiet workspace may be weeks away.
 *
 * @returns the platforms that did not answer: of those nothing new is known
 */
export async function checkWorkspace(context: ExamineContext, workspaceId: string): Promise<Platform[]> {
  const { database } = context;
  const workspace = await readWorkspace(database, workspaceId);
  if (!workspace || workspace.status === 'uninstalled') return [];
  const projects = await listProjects(database, workspaceId);
  const [intercom, ...keys] = await Promise.all([
    askIntercom(context, workspace),
    ...projects.map((project) => askRevenueCat(context, project)),
  ]);
  const silent: Platform[] = [];
  if (!intercom) silent.push('Intercom');
  if (keys.includes(false)) silent.push('RevenueCat');
  if (silent.length === 0) await markChecked(database, workspaceId);
  return silent;
}

/** @returns whether it answered */
async function askIntercom(context: ExamineContext, workspace: Workspace): Promise<boolean> {
  const { database, logger } = context;
  const { workspaceId, accessToken: sealed } = workspace;
  const client = intercomClientFor(context, workspace, { timeoutMs: CALL_TIMEOUT_MS });
  if (!client || sealed === null) return true;
  try {
    const me = await client.me();
    await setIdentityVerification(database, workspaceId, me.app.identity_verification);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.remedy.kind !== 'reauthorise') return false;
    if (await markDisconnected(database, workspaceId, error.code, sealed))
      logger.error({ workspaceId, code: error.code }, 'Intercom refuses the token: deliveries wait');
    return true;
  }
  // A token can be suspended and come back.
  if (await markReconnected(database, workspaceId, sealed))
    logger.info({ workspaceId }, 'Intercom accepts the token again');
  return true;
}

/** @returns whether it answered */
async function askRevenueCat(context: ExamineContext, project: Project): Promise<boolean> {
  const client = revenueCatClientFor(context, project, { timeoutMs: CALL_TIMEOUT_MS });
  if (!client) return true;
  const { database } = context;
  const { workspaceId, projectId } = project;
  const check = await checkApiKey(client, project.revenueCatProjectId);
  if (check.outcome === 'unreachable') return false;
  const state = check.outcome === 'valid' ? 'valid' : 'rejected';
  if (await setApiKeyState(database, workspaceId, projectId, state))
    context.logger.info({ workspaceId, projectId, state }, 'the RevenueCat key has another state');
  if (check.outcome === 'valid')
    await setMissingScopes(database, workspaceId, projectId, check.missingScopes);
  return true;
}
