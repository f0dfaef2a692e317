import type { Command } from 'commander';
import { loadCommandConfig } from '../config.ts';
import { connectDatabase } from '../database/connection.ts';
import type { Sql } from '../database/sql.ts';
import { AppError, badRequest, notFound } from '../errors.ts';
import { openJobs } from '../jobs/jobs.ts';
import { createCommandLogger } from '../logger.ts';
import { parseIsoTime } from '../time.ts';
import { createAppContext } from '../workspaces/app-context.ts';
import { listProjects, type Project } from '../workspaces/projects.ts';
import { loadEncryptionKeys } from '../workspaces/secrets.ts';
import { readWorkspace } from '../workspaces/store.ts';
import { backfillJobs, queueImport } from './jobs.ts';
import { failureMessage, outcomeLines, progressJson, progressLine, watchImport } from './progress.ts';
import { runImport } from './run.ts';
import { type ImportProgress, readImport, startImport } from './store.ts';

interface Options {
  readonly workspace: string;
  readonly project?: string;
  readonly eventsSince?: string;
  readonly json?: boolean;
}

const EXIT_NOT_DONE = 1;
const EXIT_INTERRUPTED = 130;

/** `backfill`: imports a project's customers, with or without a running server. */
export function addBackfillCommand(program: Command): void {
  program
    .command('backfill')
    .description('import the customers of a RevenueCat project; resumes an earlier run')
    .requiredOption('--workspace <id>', 'Intercom workspace ID')
    .option('--project <id>', "connected project (its id here or RevenueCat's); needed with several")
    .option('--events-since <ISO time>', 'also record events since then on contacts')
    .option('--json', 'print the result as JSON')
    .action(async (options: Options) => {
      process.exitCode = await backfill(options);
    });
}

async function backfill(options: Options): Promise<number> {
  const eventsSinceMs =
    options.eventsSince === undefined ? null : parseIsoTime(options.eventsSince, '--events-since');
  const config = loadCommandConfig();
  const logger = createCommandLogger(process.env.LOG_LEVEL || 'error');
  const connected = await connectDatabase(config, logger);
  const { database } = connected;
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: false,
    queueOnly: true,
    logger,
  });
  const stop = new AbortController();
  // Claimed customers are finished, the rest is left for the server or the next run.
  const interrupt = (): void => {
    if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED);
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const project = await chooseProject(database, options);
    const { progress, joined } = await startImport(database, {
      workspaceId: project.workspaceId,
      projectId: project.projectId,
      eventsSinceMs,
      startedBy: { kind: 'command line' },
    });
    if (!options.json) {
      process.stdout.write(
        joined
          ? `Resuming the import of ${project.name}: ${progressLine(progress)}.\n`
          : `Importing the customers of ${project.name}.\n`,
      );
    }
    const context = createAppContext(
      { ...connected, config, jobs, logger },
      await loadEncryptionKeys(config),
    );
    // A running server takes part, and continues when this command is interrupted.
    await jobs.register(backfillJobs(context, { stopping: AbortSignal.abort(), onReconciled: () => {} }));
    await queueImport(jobs, progress);
    const watching = new AbortController();
    const watched = options.json
      ? Promise.resolve()
      : watchImport(process.stdout, () => readImport(database, progress), watching.signal);
    await runImport(context, progress, { signal: stop.signal }).finally(() => watching.abort());
    await watched;
    return report((await readImport(database, progress)) ?? progress, options.json ?? false);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    await jobs.stop();
    await connected.close();
  }
}

async function chooseProject(sql: Sql, options: Options): Promise<Project> {
  const workspace = await readWorkspace(sql, options.workspace);
  if (!workspace) throw notFound(`No workspace ${options.workspace} has the app installed`);
  const projects = await listProjects(sql, options.workspace);
  const named = projects.filter(
    ({ projectId, revenueCatProjectId }) =>
      options.project === undefined ||
      options.project === projectId ||
      options.project === revenueCatProjectId,
  );
  const [project] = named;
  if (!project) {
    throw notFound(
      options.project === undefined
        ? `Workspace ${options.workspace} has no RevenueCat project: connect one first`
        : `Workspace ${options.workspace} has no RevenueCat project ${options.project}`,
    );
  }
  if (named.length > 1) {
    const list = named.map(({ projectId, name }) => `  ${projectId}  ${name}`).join('\n');
    throw badRequest(`The workspace has several projects. Choose one with --project:\n${list}`);
  }
  if (project.apiKey === null)
    throw new AppError(
      'revenuecat_unauthorized',
      `${project.name} has no API key: connect it again with --key`,
    );
  return project;
}

function report(progress: ImportProgress, asJson: boolean): number {
  if (asJson) process.stdout.write(`${JSON.stringify(progressJson(progress))}\n`);
  else process.stdout.write(`${closingLines(progress).join('\n')}\n`);
  if (progress.state === 'running') return EXIT_INTERRUPTED;
  return progress.state === 'done' ? 0 : EXIT_NOT_DONE;
}

function closingLines(progress: ImportProgress): string[] {
  switch (progress.state) {
    case 'done':
      return outcomeLines(progress);
    case 'failed':
      return [`The import failed: ${failureMessage(progress)}`, `${progressLine(progress)}.`];
    case 'paused':
      return ['The import was paused on the settings page. Run this command again, or resume it there.'];
    case 'cancelled':
      return ['The import was cancelled on the settings page. Imported customers stay.'];
    default:
      return [
        `Interrupted: ${progressLine({ ...progress, perMinute: 0 })}.`,
        'A running server continues it; without one, run the same command again.',
      ];
  }
}
