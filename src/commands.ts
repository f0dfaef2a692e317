import { Command } from 'commander';
import dotenv from 'dotenv';
import { addBackfillCommand } from './backfill/command.ts';
import { loadConfig } from './config.ts';
import { addMigrateCommand } from './database/command.ts';
import { stopEmbeddedNow } from './database/embedded.ts';
import { explainDatabaseError } from './database/explain-error.ts';
import { addReplayCommand } from './delivery/command.ts';
import { addDoctorCommand } from './doctor/command.ts';
import { AppError } from './errors.ts';
import { addReinterpretCommand } from './ingestion/command.ts';
import { createLogger } from './logger.ts';
import { startServer } from './server.ts';
import { addConnectCommand, addRotateKeysCommand } from './workspaces/command.ts';

/** Exit code for settings or input that a person must correct. */
const EXIT_USAGE = 1;
const EXIT_CRASH = 70;

/** Ctrl-C arrives from the terminal and again from npm: within this time signals count as one, ms. */
const SAME_SIGNAL_MS = 1_000;

function stopOnSignals(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  let firstAtMs: number | null = null;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (firstAtMs !== null) {
        // A later Ctrl-C forces the exit.
        if (performance.now() - firstAtMs > SAME_SIGNAL_MS)
          stopEmbeddedNow().finally(() => process.exit(130));
        return;
      }
      firstAtMs = performance.now();
      stop(signal).then(
        () => process.exit(0),
        (error: unknown) => {
          process.stderr.write(`${String(error)}\n`);
          process.exit(1);
        },
      );
    });
  }
}

export async function runCommandLine(): Promise<void> {
  try {
    await createProgram().parseAsync();
  } catch (error) {
    process.stderr.write(`${describeForPerson(error)}\n`);
    process.exit(EXIT_USAGE);
  }
}

function createProgram(): Command {
  const program = new Command('subscription-timeline')
    .description('RevenueCat subscription events on Intercom contacts, and a card for support agents')
    .showHelpAfterError();

  program
    .command('serve')
    .description('run the server')
    .option('--role <role>', 'all, web or worker')
    .action(async (options: { role?: string }) => {
      const config = loadConfig(options.role === undefined ? {} : { ROLE: options.role });
      const logger = createLogger(config.logLevel);
      process.on('uncaughtException', (error) => {
        logger.fatal({ err: error }, 'crashed');
        process.exit(EXIT_CRASH);
      });
      const starting = startServer(config, logger);
      // Ctrl-C comes from a person who waits; SIGTERM from a supervisor, which a load balancer may precede.
      stopOnSignals(async (signal) => (await starting).stop({ drain: signal === 'SIGTERM' }));
      await starting;
    });

  program
    .command('demo')
    .description('run everything on this machine, with simulated Intercom and RevenueCat')
    .action(async () => {
      dotenv.config({ quiet: true });
      // A server never loads the simulators.
      const { startDemo } = await import('./simulator/demo.ts');
      const demo = await startDemo({
        port: Number(process.env.PORT || 3000),
        logger: createLogger(process.env.LOG_LEVEL || 'warn'),
      });
      process.stdout.write(demo.greeting);
      stopOnSignals(demo.stop);
    });

  addMigrateCommand(program);
  addConnectCommand(program);
  addReplayCommand(program);
  addReinterpretCommand(program);
  addBackfillCommand(program);
  addDoctorCommand(program);
  addRotateKeysCommand(program);

  return program;
}

/** Cause and fix of what a person can fix; the stack of a bug. */
function describeForPerson(error: unknown): string {
  if (error instanceof AppError) return error.message;
  const { said, remedy } = explainDatabaseError(error, 'DATABASE_URL');
  if (remedy !== null) return `The database cannot be used: ${said}.\n${remedy}`;
  return String(error instanceof Error ? error.stack : error);
}
