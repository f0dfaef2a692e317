import type { Command } from 'commander';
import { type Config, readEnvFile } from '../config.ts';
import { openServer } from '../database/connection.ts';
import { openDatabase } from '../database/data-source.ts';
import { explainDatabaseError } from '../database/explain-error.ts';
import { isInitialized } from '../database/postgres-programs.ts';
import type { Database } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { createCommandLogger, printResult } from '../logger.ts';
import { plural } from '../text.ts';
import { findEncryptionKeys } from '../workspaces/secrets.ts';
import { type CheckOutcome, type CheckResult, problem, resultOf, runChecks, warning } from './check.ts';
import { checkOutside, runDoctor } from './run.ts';
import {
  DATA_DIR_CHECKS,
  describeDatabaseError,
  type Environment,
  FURTHER_DATABASE_CHECKS,
  readSettings,
  SETTINGS_CHECKS,
} from './settings-checks.ts';

interface Options {
  readonly workspace?: string;
  readonly json?: boolean;
}

/** `doctor`: finds what is wrong and says what to do. Exit code 1 when something does not work. */
export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check settings, database, queues and both platforms, and say what to do')
    .option('--workspace <id>', 'only this Intercom workspace')
    .option('--json', 'print the results as JSON')
    .action(doctor);
}

async function doctor(options: Options): Promise<void> {
  readEnvFile();
  const results: CheckResult[] = [];
  await withStallDetection(results, diagnose(process.env, options.workspace ?? null, results));
  const problems = results.filter(({ status }) => status === 'problem').length;
  const warnings = results.filter(({ status }) => status === 'warning').length;
  const report = { ok: problems === 0, problems, warnings, results };
  printResult(options.json, report, formatReport(results, problems, warnings));
  // A call that hangs must not keep the command from ending.
  await new Promise((written) => process.stdout.write('', written));
  process.exit(problems > 0 ? 1 : 0);
}

/** Everything that `doctor` checks; results are added as they come. */
export async function diagnose(
  environment: Environment,
  workspaceId: string | null,
  results: CheckResult[],
): Promise<void> {
  const settings = readSettings(environment);
  results.push(...(await runChecks(SETTINGS_CHECKS, settings)));
  const { config } = settings;
  if (config === null) return;
  if (config.databaseUrl === null || config.encryptionKeys.length === 0) {
    const unusable = await runChecks(DATA_DIR_CHECKS, config);
    results.push(...unusable);
    if (unusable.length > 0) return;
  }
  results.push(...(await runChecks(FURTHER_DATABASE_CHECKS, config)));
  await using opening = new AsyncDisposableStack();
  const opened = await openExisting(config, opening).catch((error) => explainUnavailable(config, error));
  if ('status' in opened) {
    results.push(resultOf('database', opened), ...(await checkOutside({ config, now: Date.now })));
    return;
  }
  try {
    const keys = await findEncryptionKeys(config);
    await runDoctor({ config, database: opened, keys, now: Date.now, workspaceId }, results);
  } catch (error) {
    results.push(resultOf('database', explainUnavailable(config, error)));
  }
}

/** If no new result comes for this long, a call hangs, ms. */
const STALLED_MS = 10_000;

async function withStallDetection(results: CheckResult[], work: Promise<void>): Promise<void> {
  const { promise: stalled, resolve } = Promise.withResolvers<'stalled'>();
  let seen = results.length;
  let sinceMs = performance.now();
  const timer = setInterval(() => {
    if (results.length !== seen) {
      seen = results.length;
      sinceMs = performance.now();
    } else if (performance.now() - sinceMs > STALLED_MS) resolve('stalled');
  }, 250);
  try {
    if ((await Promise.race([work, stalled])) !== 'stalled') return;
    work.catch(() => {});
    const outcome = problem(
      `No response for ${STALLED_MS / 1_000} s: the remaining checks were skipped.`,
      'The database may be locked or overloaded: select pid, state, wait_event, query from pg_stat_activity. Otherwise run this again with --workspace.',
    );
    results.push(resultOf('stalled', outcome));
  } finally {
    clearInterval(timer);
  }
}

/** Opens the database as it is: nothing is migrated, and no embedded one is created. */
async function openExisting(config: Config, opening: AsyncDisposableStack): Promise<Database | CheckOutcome> {
  if (config.databaseUrl === null && !(await isInitialized(config.dataDir)))
    return warning(
      `There is no database yet: DATABASE_URL is not set, and ${config.dataDir} holds none.`,
      'Start the server ("npm start"), which creates one there, or set DATABASE_URL or DATA_DIR to the existing data.',
    );
  const url = await openServer(config, opening);
  const logger = createCommandLogger('silent');
  const { database, close } = await openDatabase({ url, logger, poolSize: 4 });
  opening.defer(close);
  return database;
}

function explainUnavailable(config: Pick<Config, 'databaseUrl' | 'dataDir'>, error: unknown): CheckOutcome {
  if (config.databaseUrl !== null) {
    const { message, remedy } = describeDatabaseError(error, 'DATABASE_URL');
    return problem(message, remedy);
  }
  return problem(
    `The embedded database cannot be used: ${explainDatabaseError(error, 'DATABASE_URL').message}`,
    error instanceof AppError
      ? `See PostgreSQL's message, and that the disk of ${config.dataDir} is not full.`
      : `See the log of the server, that the disk of ${config.dataDir} is not full, and that nothing else uses the folder; then start the server again.`,
  );
}

const LABELS = { ok: 'ok      ', warning: 'warning ', problem: 'PROBLEM ' } as const;

/** A project's name may have line breaks, which would look like results of their own. */
const inOneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');

function formatReport(results: readonly CheckResult[], problems: number, warnings: number): string {
  const lines: string[] = [];
  let lastHeading = '';
  for (const { workspace, project, status, message, remedy } of results) {
    const heading =
      workspace === null
        ? 'Server'
        : `Workspace ${workspace}${project === null ? '' : `, project ${project}`}`;
    if (heading !== lastHeading) lines.push(...(lastHeading === '' ? [] : ['']), heading);
    lastHeading = heading;
    lines.push(`  ${LABELS[status]} ${inOneLine(message)}`);
    if (remedy !== null) lines.push(`           What to do: ${inOneLine(remedy)}`);
  }
  const sum =
    problems + warnings === 0
      ? 'Everything is in order.'
      : `${plural(problems, 'problem')}, ${plural(warnings, 'warning')}.`;
  return [...lines, '', sum].join('\n');
}
