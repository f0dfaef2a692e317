import type { Command } from 'commander';
import { AppError } from '../errors.ts';
import { onStopSignal } from '../http/stop-on-signals.ts';
import { printResult, printText } from '../logger.ts';
import { parseIsoTime } from '../time.ts';
import { type CommandContext, chooseProject, withCommandContext } from '../workspaces/command-context.ts';
import { backfillJobs, queueImport } from './jobs.ts';
import { failureMessage, outcomeLines, progressJson, progressLine } from './progress.ts';
import { type ImportProgress, readImport, startImport } from './repository.ts';
import { runImport } from './run.ts';
import { watchImport } from './watch.ts';

interface Options {
  readonly workspace: string;
  readonly project?: string;
  /** Epoch ms. */
  readonly eventsSince?: number;
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
    .option('--events-since <ISO time>', 'also record events since then on contacts', (text) =>
      parseIsoTime(text, '--events-since'),
    )
    .option('--json', 'print the result as JSON')
    .action(async (options: Options) => {
      process.exitCode = await withCommandContext((context) => backfill(context, options));
    });
}

async function backfill(context: CommandContext, options: Options): Promise<number> {
  const { eventsSince: eventsSinceMs = null } = options;
  const { database, jobs } = context;
  const stop = new AbortController();
  // Stores the customers that have been read and leaves the rest to the server or the next run.
  onStopSignal(() => stop.abort());
  const project = await chooseProject(context, options);
  if (project.apiKey === null)
    throw new AppError(
      'revenuecat_unauthorized',
      `${project.name} has no API key: connect it again with --key`,
    );
  const { workspaceId, projectId } = project;
  const wanted = { workspaceId, projectId, eventsSinceMs };
  const { progress, isResumed } = await startImport(database, wanted);
  const start = isResumed
    ? `Resuming the import of ${project.name}: ${progressLine(progress)}.`
    : `Importing the customers of ${project.name}.`;
  if (!options.json) printText(start);
  // A running server helps, and continues if this command is interrupted.
  await jobs.register(backfillJobs(context, AbortSignal.abort()));
  await queueImport(jobs, progress);
  const watching = new AbortController();
  const watched = options.json
    ? Promise.resolve()
    : watchImport(process.stdout, () => readImport(database, progress), watching.signal);
  await runImport(context, progress, { signal: stop.signal }).finally(() => watching.abort());
  await watched;
  const last = (await readImport(database, progress)) ?? progress;
  printResult(options.json, progressJson(last), closingLines(last).join('\n'));
  if (last.state === 'running') return EXIT_INTERRUPTED;
  return last.state === 'done' ? 0 : EXIT_NOT_DONE;
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
