import { Registry } from 'prom-client';
import { loadCommandConfig } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import { badRequest, notFound } from '../errors.ts';
import { type JobQueue, openJobs } from '../jobs/jobs.ts';
import { createCommandLogger } from '../logger.ts';
import { type AppContext, createAppContext } from './app-context.ts';
import { workspaceJobs } from './jobs.ts';
import { createAppCounters } from './metrics.ts';
import { listProjects, type Project } from './projects.ts';
import { readWorkspace, type Workspace } from './repository.ts';
import { loadEncryptionKeys } from './secrets.ts';

/** A command only queues jobs; the servers run them. */
export interface CommandContext extends AppContext {
  readonly jobs: JobQueue;
}

/** Runs a command with a context of its own, so it works whether or not a server is running. */
export async function withCommandContext<T>(work: (context: CommandContext) => Promise<T>): Promise<T> {
  const config = loadCommandConfig();
  const logger = createCommandLogger(process.env.LOG_LEVEL || 'error');
  const keys = await loadEncryptionKeys(config);
  await using open = new AsyncDisposableStack();
  const connected = open.adopt(await connectDatabase(config, logger), ({ close }) => close());
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: false,
    queueOnly: true,
    logger,
  });
  open.defer(() => jobs.stop());
  // Nothing reads the counters of a command.
  const counters = createAppCounters(new Registry());
  const context = { ...createAppContext({ ...connected, config, jobs, logger, counters }, keys), jobs };
  await jobs.register(workspaceJobs(context));
  return await work(context);
}

/** @throws AppError `not_found` when the app is not installed there */
export async function requireWorkspace({ database }: AppContext, workspaceId: string): Promise<Workspace> {
  const workspace = await readWorkspace(database, workspaceId);
  if (!workspace) throw notFound(`No workspace ${workspaceId} has the app installed`);
  return workspace;
}

/**
 * The connected project whose ID, ours or RevenueCat's, is given as `--project`; without the option, all of them.
 *
 * @throws AppError `not_found` when the workspace, or the named project, does not exist
 */
export async function chooseProjects(
  app: AppContext,
  { workspace, project }: { readonly workspace: string; readonly project?: string },
): Promise<Project[]> {
  await requireWorkspace(app, workspace);
  const projects = (await listProjects(app.database, workspace)).filter(
    ({ projectId, revenueCatProjectId }) =>
      project === undefined || project === projectId || project === revenueCatProjectId,
  );
  if (project !== undefined && projects.length === 0)
    throw notFound(`Workspace ${workspace} has no RevenueCat project ${project}`);
  return projects;
}

/** @throws AppError unless exactly one project matches */
export async function chooseProject(
  app: AppContext,
  options: { readonly workspace: string; readonly project?: string },
): Promise<Project> {
  const [project, ...others] = await chooseProjects(app, options);
  if (!project) throw notFound(`Workspace ${options.workspace} has no RevenueCat project: connect one first`);
  if (others.length === 0) return project;
  const list = [project, ...others].map(({ projectId, name }) => `  ${projectId}  ${name}`).join('\n');
  throw badRequest(`The workspace has several projects. Choose one with --project:\n${list}`);
}
