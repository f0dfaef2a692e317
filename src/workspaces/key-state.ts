import { AppError, answerOrError } from '../errors.ts';
import type { AppContext } from './app-context.ts';
import { type Project, type ProjectKey, setApiKeyState } from './projects.ts';

const CHECK_INTERVAL_S = 60;

/** Queues a check of the permissions of a workspace's keys: one seems to be missing, or may have been added since. */
export function queueKeyCheck(
  { jobs, logger }: Pick<AppContext, 'jobs' | 'logger'>,
  workspaceId: string,
): Promise<void> {
  const queued = jobs.send('workspace.check', { workspaceId }, { onceInSeconds: CHECK_INTERVAL_S });
  // What needs the permission is answered without it: without a database that takes writes, for one.
  return queued.catch((error: unknown) =>
    logger.warn({ err: error, workspaceId }, 'could not queue a check of the API key'),
  );
}

/** Runs work with a project's key. Records whether RevenueCat accepts it; a missing permission queues a key check. */
export async function withKey<T extends string>(
  app: AppContext,
  project: Project,
  work: () => Promise<T>,
): Promise<T | 'key_rejected'> {
  const { workspaceId, projectId } = project;
  const outcome = await answerOrError(work());
  if (!(outcome instanceof AppError)) {
    if (project.apiKeyState !== 'valid') await recordKeyState(app, project, 'valid');
    return outcome;
  }
  if (outcome.code === 'revenuecat_scope_missing') await queueKeyCheck(app, workspaceId);
  if (outcome.code !== 'revenuecat_unauthorized') throw outcome;
  await recordKeyState(app, project, 'rejected');
  app.logger.warn({ workspaceId, projectId }, 'RevenueCat refuses the API key');
  return 'key_rejected';
}

/** Stores whether RevenueCat accepts a key, and reports a change to Intercom. */
export async function recordKeyState(
  app: AppContext,
  project: ProjectKey & Partial<Pick<Project, 'apiKey'>>,
  state: 'valid' | 'rejected',
): Promise<void> {
  const isNew = await setApiKeyState(app.database, project, state);
  if (isNew) await app.jobs.send('workspace.health', { workspaceId: project.workspaceId });
}
