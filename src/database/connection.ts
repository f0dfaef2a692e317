import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { type LongTransaction, migrate, openDatabase, undoMigrations } from './data-source.ts';
import { restartWhenEnded, startEmbeddedPostgres } from './embedded.ts';
import { openReadDatabase, withoutReplica } from './replica.ts';
import { STATEMENT_TIMEOUT_MS } from './sql.ts';

export type DatabaseConnection = Awaited<ReturnType<typeof connectDatabase>>;

/**
 * Opens the configured database, or the embedded one, and runs the missing migrations.
 *
 * @param options.forServer whether to open `DATABASE_READ_URL`, and to restart the embedded database when it ends:
 *   the command line needs neither
 * @param options.stopping ends the wait for a lock that a migration needs
 */
export async function connectDatabase(
  config: Config,
  logger: Logger,
  options: { forServer?: boolean; stopping?: AbortSignal } = {},
) {
  // Closed in reverse order, also when a later part cannot be opened.
  await using opening = new AsyncDisposableStack();
  const url = await openServer(config, opening);
  const { database, pooled, close } = await openDatabase({
    url,
    logger,
    poolSize: config.databasePoolSize,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
  });
  opening.defer(close);
  await migrateOn(config.databaseDirectUrl ?? url, logger, options.stopping);
  let readDatabase = withoutReplica(database);
  if (config.databaseReadUrl !== null && options.forServer) {
    const replica = openReadDatabase({
      primary: database,
      replicaUrl: config.databaseReadUrl,
      poolSize: config.databasePoolSize,
      logger,
    });
    opening.defer(replica.close);
    readDatabase = replica.database;
  }
  if (config.databaseUrl === null && options.forServer)
    opening.defer(restartWhenEnded(config.dataDir, logger));
  const sessionUrl = config.databaseDirectUrl ?? (pooled ? null : url);
  if (sessionUrl === null) logger.warn(NO_SESSION);
  const opened = opening.move();
  return {
    database,
    /** For the reads of cards and pages: the replica when there is one, else `database`. */
    readDatabase,
    url,
    /** For LISTEN and advisory locks. `null`: there is only a pooler, which lends connections for one transaction. */
    sessionUrl,
    close: () => opened.disposeAsync(),
  };
}

const logBlocked = (logger: Logger) => (by: readonly LongTransaction[]) =>
  logger.warn({ by }, 'a migration waits for a lock; trying again');

/** @returns the URL of the configured database server, or of the embedded one, which is started */
export async function openServer(config: Config, opening: AsyncDisposableStack): Promise<string> {
  if (config.databaseUrl !== null) return config.databaseUrl;
  const embedded = await startEmbeddedPostgres(config.dataDir);
  opening.defer(() => embedded.stop());
  return embedded.url;
}

/**
 * Reverts the newest migrations of the configured database. No process of the app may run at the same time: the next
 * one that starts runs its migrations again.
 *
 * @returns names of the migrations that were reverted, newest first
 */
export async function rollBack(config: Config, logger: Logger, count: number): Promise<string[]> {
  await using opening = new AsyncDisposableStack();
  const url = config.databaseDirectUrl ?? (await openServer(config, opening));
  const { dataSource, close } = await openDatabase({ url, logger, poolSize: 2 });
  opening.defer(close);
  return await undoMigrations(dataSource, count, { onBlocked: logBlocked(logger) });
}

/** @param url of the server itself, if there is a way past the pooler */
async function migrateOn(url: string, logger: Logger, signal?: AbortSignal): Promise<void> {
  await using opening = new AsyncDisposableStack();
  const { dataSource, close } = await openDatabase({ url, logger, poolSize: 2 });
  opening.defer(close);
  const done = await migrate(dataSource, { onBlocked: logBlocked(logger), signal });
  if (done.length > 0) logger.info({ migrations: done }, 'migrated');
}

const NO_SESSION =
  'DATABASE_URL leads through a connection pooler: new events are polled once a second instead of announced. Set DATABASE_DIRECT_URL to the address of the server itself.';
