import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import dotenv from 'dotenv';
import type { Config } from '../config.ts';
import { openDatabase } from '../database/data-source.ts';
import { startEmbeddedPostgres } from '../database/embedded.ts';
import { createCommandLogger } from '../logger.ts';
import { checkClock } from './check-clock.ts';
import { checkDataDir } from './check-database.ts';
import { checkFurtherDatabases } from './check-replica.ts';
import { type Finding, problem, warning } from './check-result.ts';
import { checkSettings, type Environment } from './check-settings.ts';
import { databaseAway } from './database-unavailable.ts';
import { examine, lookOutside } from './run-checks.ts';

interface Options {
  readonly workspace?: string;
  readonly json?: boolean;
}

/** Adds `doctor`: finds out what is wrong and says what to do. Exit code 1 when something does not work. */
export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check settings, database, queues and both platforms, and say what to do')
    .option('--workspace <id>', 'only this Intercom workspace')
    .option('--json', 'print the findings as JSON')
    .action(async (options: Options) => {
      dotenv.config({ quiet: true });
      const findings = await diagnose(process.env, options.workspace ?? null);
      const problems = findings.filter(({ status }) => status === 'problem').length;
      const warnings = findings.filter(({ status }) => status === 'warning').length;
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ ok: problems === 0, problems, warnings, findings })}\n`
          : `${report(findings, problems, warnings)}\n`,
      );
      // What hangs must not keep the command from ending.
      await new Promise((written) => process.stdout.write('', written));
      process.exit(problems > 0 ? 1 : 0);
    });
}

/** Nothing new for so long: what is being asked hangs, ms. */
const STALLED_MS = 10_000;

async function diagnose(environment: Environment, workspaceId: string | null): Promise<Finding[]> {
  const { findings, config, isPublicUrlWrong } = checkSettings(environment);
  if (config === null) return findings;
  if (config.databaseUrl === null || config.encryptionKeys.length === 0) {
    const unusable = await checkDataDir(config.dataDir);
    if (unusable !== null) return [...findings, unusable];
  }
  await unlessStalled(findings, examineAll(findings, config, { isPublicUrlWrong, workspaceId }));
  return findings;
}

async function examineAll(
  findings: Finding[],
  config: Config,
  options: { isPublicUrlWrong: boolean; workspaceId: string | null },
): Promise<void> {
  const outside = lookOutside({ config, now: Date.now, ...options });
  outside.catch(() => {});
  const [opened, further] = await Promise.all([open(config), checkFurtherDatabases(config)]);
  findings.push(...further);
  if ('finding' in opened) {
    findings.push(opened.finding);
    const seen = await outside;
    findings.push(...checkClock(seen.clocks), ...seen.findings);
    return;
  }
  try {
    const patient = {
      config,
      database: opened.database,
      keys: await readKeys(config),
      now: Date.now,
      ...options,
    };
    await examine(patient, findings, outside);
  } catch (error) {
    findings.push(databaseAway(config, error));
  } finally {
    await opened.close();
  }
}

/** Waits as long as something is found now and then. */
async function unlessStalled(findings: Finding[], work: Promise<void>): Promise<void> {
  const { promise: stalled, resolve } = Promise.withResolvers<'stalled'>();
  let seen = findings.length;
  let sinceMs = performance.now();
  const watch = setInterval(() => {
    if (findings.length !== seen) {
      seen = findings.length;
      sinceMs = performance.now();
    } else if (performance.now() - sinceMs > STALLED_MS) resolve('stalled');
  }, 250);
  try {
    if ((await Promise.race([work, stalled])) !== 'stalled') return;
    work.catch(() => {});
    findings.push(
      problem(
        'stalled',
        `Nothing answered for ${STALLED_MS / 1_000} s: the checks that follow were not made.`,
        'The database may be locked or overloaded: select pid, state, wait_event, query from pg_stat_activity. Otherwise run this again with --workspace.',
      ),
    );
  } finally {
    clearInterval(watch);
  }
}

type Opened =
  | { readonly finding: Finding }
  | { readonly database: Parameters<typeof examine>[0]['database']; close(): Promise<void> };

/** The database as it is: nothing is migrated, and no embedded one is made where there is none. */
async function open(config: Config): Promise<Opened> {
  const isEmbedded = config.databaseUrl === null;
  if (isEmbedded && !(await exists(join(config.dataDir, 'postgres', 'PG_VERSION')))) {
    return {
      finding: warning(
        'database',
        `There is no database yet: DATABASE_URL is not set, and ${config.dataDir} holds none.`,
        'Start the server ("npm start"), which makes one there, or set DATABASE_URL or DATA_DIR to where the data is.',
      ),
    };
  }
  try {
    const embedded = isEmbedded ? await startEmbeddedPostgres(config.dataDir) : null;
    try {
      const url = config.databaseUrl ?? embedded?.url ?? '';
      const { databaseBackend: backend } = config;
      const logger = createCommandLogger('silent');
      const database = await openDatabase({ url, logger, backend, poolSize: 4 });
      return {
        database: database.database,
        async close() {
          await database.close();
          await embedded?.stop();
        },
      };
    } catch (error) {
      await embedded?.stop();
      throw error;
    }
  } catch (error) {
    return { finding: databaseAway(config, error) };
  }
}

/** Unlike the server, this makes no key where there is none. */
async function readKeys(config: Config): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  const text = await readFile(join(config.dataDir, 'encryption.key'), 'utf8').catch(() => '');
  const key = Buffer.from(text, 'base64');
  return key.length === 32 ? [key] : [];
}

function exists(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}

const SIGNS = { ok: 'ok      ', warning: 'warning ', problem: 'PROBLEM ' } as const;

function report(findings: readonly Finding[], problems: number, warnings: number): string {
  const lines: string[] = [];
  let place = '';
  for (const finding of findings) {
    const own = [
      finding.workspace && `Workspace ${finding.workspace}`,
      finding.project && `project ${finding.project}`,
    ]
      .filter(Boolean)
      .join(', ');
    if (own !== place) lines.push('', own || 'Server');
    place = own;
    lines.push(`  ${SIGNS[finding.status]} ${finding.message}`);
    if (finding.remedy !== null) lines.push(`           What to do: ${finding.remedy}`);
  }
  const sum =
    problems === 0 && warnings === 0
      ? 'Everything is in order.'
      : `${problems} ${problems === 1 ? 'problem' : 'problems'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}.`;
  return [
    'Server',
    ...lines.filter((line, index) => !(index < 2 && (line === '' || line === 'Server'))),
    '',
    sum,
  ].join('\n');
}
