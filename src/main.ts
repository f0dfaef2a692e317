import { Command } from 'commander';
import dotenv from 'dotenv';
import { addBackfillCommand } from './backfill/command.ts';
import { type Config, readConfig } from './config.ts';
import { connectDatabase, rollBack } from './database/connection.ts';
import { explainDatabaseError } from './database/explain-error.ts';
import { replayEvents } from './delivery/replay.ts';
import { addDoctorCommand } from './doctor/command.ts';
import { AppError, badRequest, notFound } from './errors.ts';
import { createCommandLogger, createLogger } from './logger.ts';
import { encryptionKeys, startServer } from './server.ts';
import { parseIsoTime } from './time.ts';
import { addRotateKeysCommand } from './workspaces/command.ts';
import { connectProject } from './workspaces/connect.ts';
import { createSecretBox } from './workspaces/secrets.ts';
import { readWorkspace } from './workspaces/store.ts';

/** Exit code for settings or input that a person must correct. */
const EXIT_USAGE = 1;
const EXIT_CRASH = 70;

function configOrExit(overrides: Record<string, string> = {}): Config {
  dotenv.config({ quiet: true });
  const result = readConfig({ ...process.env, ...overrides });
  if (result.ok) return result.config;
  process.stderr.write('These settings are missing or wrong (see .env.example):\n');
  for (const problem of result.problems) process.stderr.write(`  ${problem.name} ${problem.message}\n`);
  process.exit(EXIT_USAGE);
}

/** The command line needs the database, not the Intercom app: placeholders stand for its settings. */
function cliConfig(): Config {
  dotenv.config({ quiet: true });
  return configOrExit({
    INTERCOM_CLIENT_ID: process.env.INTERCOM_CLIENT_ID || 'unused',
    INTERCOM_CLIENT_SECRET: process.env.INTERCOM_CLIENT_SECRET || 'unused',
  });
}

function stopOnSignals(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // A second Ctrl-C means now.
      if (stopping) process.exit(130);
      stopping = true;
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

const program = new Command('subscription-timeline')
  .description('RevenueCat subscription events on Intercom contacts, and a card for support agents')
  .showHelpAfterError();

program
  .command('serve')
  .description('run the server')
  .option('--role <role>', 'all, web or worker')
  .action(async (options: { role?: string }) => {
    const config = configOrExit(options.role === undefined ? {} : { ROLE: options.role });
    const logger = createLogger(config.logLevel);
    process.on('uncaughtException', (error) => {
      logger.fatal({ err: error }, 'crashed');
      process.exit(EXIT_CRASH);
    });
    const starting = startServer(config, logger);
    // Ctrl-C is a person who waits; SIGTERM comes from a supervisor, behind which a load balancer may be.
    stopOnSignals(async (signal) => (await starting).stop({ drain: signal === 'SIGTERM' }));
    await starting;
  });

program
  .command('demo')
  .description('run everything on this machine, with simulated Intercom and RevenueCat')
  .action(async () => {
    dotenv.config({ quiet: true });
    // What a server never needs is not loaded by one.
    const { startDemo } = await import('./simulator/demo.ts');
    const demo = await startDemo({
      port: Number(process.env.PORT || 3000),
      logger: createLogger(process.env.LOG_LEVEL || 'warn'),
    });
    process.stdout.write(demo.greeting);
    stopOnSignals(demo.stop);
  });

program
  .command('migrate')
  .description('bring the database up to date')
  .option('--undo <count>', 'take back the newest migrations instead; what only they store is lost')
  .option('--json', 'print JSON')
  .action(async (options: { undo?: string; json?: boolean }) => {
    if (options.undo !== undefined) {
      if (!/^[1-9]\d?$/.test(options.undo)) throw badRequest('--undo takes a number from 1 to 99');
      const undone = await rollBack(cliConfig(), createCommandLogger('warn'), Number(options.undo));
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ taken_back: undone })}\n`
          : undone.map((name) => `Taken back: ${name}\n`).join('') || 'Nothing to take back.\n',
      );
      return;
    }
    const connected = await connectDatabase(cliConfig(), createCommandLogger('warn'));
    await connected.close();
    process.stdout.write(
      options.json ? `${JSON.stringify({ up_to_date: true })}\n` : 'The database is up to date.\n',
    );
  });

program
  .command('connect')
  .description('connect a RevenueCat project to a workspace')
  .requiredOption('--workspace <id>', 'Intercom workspace ID')
  .requiredOption('--project <id>', 'RevenueCat project ID (proj…)')
  .requiredOption('--key <key>', 'RevenueCat secret API key, version 2 (sk_…)')
  .option('--name <text>', 'name shown to people')
  .option('--json', 'print JSON')
  .action(
    async (options: { workspace: string; project: string; key: string; name?: string; json?: boolean }) => {
      const config = cliConfig();
      const connected = await connectDatabase(config, createCommandLogger('warn'));
      try {
        const secrets = createSecretBox(await encryptionKeys(config));
        const { database } = connected;
        const connection = await connectProject(
          { database, secrets, publicUrl: config.publicUrl },
          {
            workspaceId: options.workspace,
            revenueCatProjectId: options.project,
            apiKey: options.key,
            name: options.name ?? null,
          },
        );
        const result = {
          id: connection.id,
          webhook_url: connection.webhookUrl,
          webhook_authorization: connection.webhookAuthorization,
        };
        process.stdout.write(
          options.json
            ? `${JSON.stringify(result)}\n`
            : `Connected as ${result.id}.\nIn RevenueCat, add a webhook:\n  URL            ${result.webhook_url}\n  Authorization  ${result.webhook_authorization}\nThe authorization value is not shown again.\n`,
        );
      } finally {
        await connected.close();
      }
    },
  );

program
  .command('replay')
  .description('deliver events to Intercom again; without further options all that have failed')
  .requiredOption('--workspace <id>', 'Intercom workspace ID')
  .option('--event <id>', 'one event')
  .option('--failed', 'all that have failed')
  .option('--since <ISO time>', 'those received since then')
  .option('--json', 'print JSON')
  .action(
    async (options: {
      workspace: string;
      event?: string;
      failed?: boolean;
      since?: string;
      json?: boolean;
    }) => {
      const sinceMs = options.since === undefined ? undefined : parseIsoTime(options.since, '--since');
      const isAnySelected = options.event !== undefined || sinceMs !== undefined;
      const connected = await connectDatabase(cliConfig(), createCommandLogger('warn'));
      try {
        if ((await readWorkspace(connected.database, options.workspace)) === null)
          throw notFound(`No workspace ${options.workspace} has the app installed`);
        const queued = await replayEvents(connected.database, options.workspace, {
          failedOnly: options.failed ?? !isAnySelected,
          ...(options.event === undefined ? {} : { eventId: options.event }),
          ...(sinceMs === undefined ? {} : { sinceMs }),
        });
        if (options.event !== undefined && queued === 0)
          throw notFound(`Workspace ${options.workspace} has no event ${options.event} to deliver`);
        process.stdout.write(
          options.json
            ? `${JSON.stringify({ queued })}\n`
            : `${queued} ${queued === 1 ? 'event' : 'events'} queued again.\n`,
        );
      } finally {
        await connected.close();
      }
    },
  );

addBackfillCommand(program, { config: cliConfig, encryptionKeys });
addDoctorCommand(program);
addRotateKeysCommand(program, { config: cliConfig, keys: encryptionKeys });

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${inWords(error)}\n`);
  process.exit(EXIT_USAGE);
}

/** What a person can act on, in words; what is a fault of ours, with its stack. */
function inWords(error: unknown): string {
  if (error instanceof AppError) return error.message;
  const { said, remedy } = explainDatabaseError(error, 'DATABASE_URL');
  if (remedy !== null) return `The database cannot be used: ${said}.\n${remedy}`;
  return String(error instanceof Error ? error.stack : error);
}
