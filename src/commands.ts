import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from './config.ts';
import { explainDatabaseError } from './database/explain-error.ts';
import { AppError, codeOf } from './errors.ts';
import { stopOnSignals } from './http/stop-on-signals.ts';
import { createLogger, printText } from './logger.ts';

/** Exit code for settings or input that a person must correct. */
const EXIT_USAGE = 1;
const EXIT_CRASH = 70;
/** The exit code that a shell reports for a program that SIGPIPE ended. */
const EXIT_PIPE_CLOSED = 141;

/** A command loads only what it needs: most start in half the time that loading the whole app takes. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  serve: async () => addServeCommand,
  migrate: async () => (await import('./database/command.ts')).addMigrateCommand,
  connect: async () => (await import('./workspaces/command.ts')).addConnectCommand,
  replay: async () => (await import('./delivery/command.ts')).addReplayCommand,
  reinterpret: async () => (await import('./ingestion/command.ts')).addReinterpretCommand,
  backfill: async () => (await import('./backfill/command.ts')).addBackfillCommand,
  grant: async () => (await import('./grants/bulk/command.ts')).addGrantCommand,
  doctor: async () => (await import('./doctor/command.ts')).addDoctorCommand,
  'rotate-keys': async () => (await import('./workspaces/command.ts')).addRotateKeysCommand,
};

export async function runCommandLine(): Promise<void> {
  process.stdout.on('error', (error) => {
    if (codeOf(error) !== 'EPIPE') throw error;
    // The reader, such as `head`, has closed the pipe.
    process.exit(EXIT_PIPE_CLOSED);
  });
  try {
    const program = await createProgram(process.argv[2]);
    await program.parseAsync();
  } catch (error) {
    printText(describeForPerson(error), process.stderr);
    process.exit(EXIT_USAGE);
  }
}

async function createProgram(named: string | undefined): Promise<Command> {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'));
  const program = new Command('subscription-timeline')
    .description('RevenueCat subscription events on Intercom contacts, and a card for support agents')
    .version(version)
    .showHelpAfterError();
  const isKnown = named !== undefined && Object.hasOwn(COMMANDS, named);
  for (const [name, load] of Object.entries(COMMANDS))
    if (!isKnown || name === named) (await load())(program);
  return program;
}

function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the server')
    .option('--role <role>', 'all, web or worker')
    .action(async (options: { role?: string }) => {
      const config = loadConfig(options.role === undefined ? {} : { ROLE: options.role });
      const logger = createLogger(config.logLevel);
      // Node's own handler prints warnings as text.
      process.removeAllListeners('warning');
      process.on('warning', (warning) => logger.warn({ err: warning }, 'warning of Node or a package'));
      process.on('uncaughtException', (error) => {
        logger.fatal({ err: error }, 'crashed');
        process.exit(EXIT_CRASH);
      });
      const stopping = new AbortController();
      const starting = import('./server.ts').then(({ startServer }) => startServer(config, logger, stopping));
      const started = starting.catch((error: unknown) => {
        if (!stopping.signal.aborted) throw error;
      });
      // Ctrl-C comes from a waiting person. SIGTERM comes from a supervisor: a load balancer may still send requests.
      stopOnSignals(async (signal) => {
        stopping.abort();
        await (await started)?.stop({ drain: signal === 'SIGTERM' });
      });
      await started;
    });
}

/** Cause and fix if a person can fix the error; the stack if it is a bug. */
function describeForPerson(error: unknown): string {
  if (codeOf(error) === 'secret_unreadable')
    return 'No key of ENCRYPTION_KEYS decrypts a secret that is needed: run this with the settings of the server.';
  if (error instanceof AppError) return error.message;
  const { message, remedy } = explainDatabaseError(error, 'DATABASE_URL');
  if (remedy !== null) return `The database cannot be used: ${message}.\n${remedy}`;
  return String(error instanceof Error ? error.stack : error);
}
