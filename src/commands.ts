import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { addBackfillCommand } from './backfill/command.ts';
import { loadConfig } from './config.ts';
import { addMigrateCommand } from './database/command.ts';
import { explainDatabaseError } from './database/explain-error.ts';
import { addReplayCommand } from './delivery/command.ts';
import { addDoctorCommand } from './doctor/command.ts';
import { AppError } from './errors.ts';
import { addGrantCommand } from './grants/command.ts';
import { stopOnSignals } from './http/stop-on-signals.ts';
import { addReinterpretCommand } from './ingestion/command.ts';
import { createLogger } from './logger.ts';
import { startServer } from './server.ts';
import { addConnectCommand, addRotateKeysCommand } from './workspaces/command.ts';

/** Exit code for settings or input that a person must correct. */
const EXIT_USAGE = 1;
const EXIT_CRASH = 70;

export async function runCommandLine(): Promise<void> {
  try {
    await createProgram().parseAsync();
  } catch (error) {
    process.stderr.write(`${describeForPerson(error)}\n`);
    process.exit(EXIT_USAGE);
  }
}

function createProgram(): Command {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'));
  const program = new Command('subscription-timeline')
    .description('RevenueCat subscription events on Intercom contacts, and a card for support agents')
    .version(version)
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

  addMigrateCommand(program);
  addConnectCommand(program);
  addReplayCommand(program);
  addReinterpretCommand(program);
  addBackfillCommand(program);
  addGrantCommand(program);
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
