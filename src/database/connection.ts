import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { migrate, type OpenDatabase, openDatabase, undoMigrations } from './data-source.ts';
import { restartWhenEnded, startEmbeddedPostgres } from './embedded.ts';
import { openReadDatabase, type ReadDatabase, withoutReplica } from './replica.ts';
import type { Database } from './sql.ts';

export interface DatabaseConnection {
  readonly database: Database;
  /** For the reads of cards and pages: the replica when there is one, else `database`. */
  readonly readDatabase: ReadDatabase;
  readonly url: string;
  /**
   * For connections that live from one statement to the next (LISTEN, advisory locks). `null`: there is only a
   * connection pooler, which lends server connections for a transaction at a time.
   */
  readonly sessionUrl: string | null;
  close(): Promise<void>;
}

/**
 * Opens the configured database, or the embedded one, and runs the missing migrations.
 *
 * @param options.keepEmbedded whether to start the embedded database again when it ends
 * @param options.readReplica whether to open `DATABASE_READ_URL`; the command line needs none
 */
export async function connectDatabase(
  config: Config,
  logger: Logger,
  options: { readReplica?: boolean; keepEmbedded?: boolean } = {},
): Promise<DatabaseConnection> {
  const embedded = config.databaseUrl === null ? await startEmbeddedPostgres(config.dataDir) : null;
  const url = config.databaseUrl ?? embedded?.url ?? '';
  let open: OpenDatabase | null = null;
  try {
    open = await openDatabase({ url, logger, poolSize: config.databasePoolSize });
    const { database } = open;
    await migrateOn(config, open, logger);
    const reading =
      config.databaseReadUrl === null || !options.readReplica
        ? { database: withoutReplica(database), close: () => Promise.resolve() }
        : openReadDatabase({
            primary: database,
            replicaUrl: config.databaseReadUrl,
            poolSize: config.databasePoolSize,
            logger,
          });
    const opened = open;
    const stopRestarting =
      embedded && options.keepEmbedded
        ? restartWhenEnded(config.dataDir, (error) =>
            error === null
              ? logger.warn('the embedded database had stopped and was restarted')
              : logger.error({ err: error }, 'the embedded database has stopped and does not start'),
          )
        : () => Promise.resolve();
    return {
      database,
      readDatabase: reading.database,
      url,
      sessionUrl: sessionUrlOf(config, url, open.pooled, logger),
      async close() {
        await stopRestarting();
        await reading.close();
        await opened.close();
        await embedded?.stop();
      },
    };
  } catch (error) {
    await open?.close();
    await embedded?.stop();
    throw error;
  }
}

/**
 * Reverts the newest migrations of the configured database. No process of the app may run at the same time: the one
 * that starts next runs its own migrations again.
 *
 * @returns names of the migrations that were reverted, newest first
 */
export async function rollBack(config: Config, logger: Logger, count: number): Promise<string[]> {
  const embedded = config.databaseUrl === null ? await startEmbeddedPostgres(config.dataDir) : null;
  try {
    const url = config.databaseDirectUrl ?? config.databaseUrl ?? embedded?.url ?? '';
    const open = await openDatabase({ url, logger, poolSize: 2 });
    try {
      return await undoMigrations(open.dataSource, count);
    } finally {
      await open.close();
    }
  } finally {
    await embedded?.stop();
  }
}

/** Long statements and locks go past the pooler, where there is a way past it. */
async function migrateOn(config: Config, open: OpenDatabase, logger: Logger): Promise<void> {
  const { databaseDirectUrl: directUrl } = config;
  const direct = directUrl === null ? null : await openDatabase({ url: directUrl, logger, poolSize: 2 });
  try {
    const done = await migrate((direct ?? open).dataSource);
    if (done.length > 0) logger.info({ migrations: done }, 'migrated');
  } finally {
    await direct?.close();
  }
}

function sessionUrlOf(config: Config, url: string, pooled: boolean, logger: Logger): string | null {
  if (config.databaseDirectUrl !== null) return config.databaseDirectUrl;
  if (!pooled) return url;
  logger.warn(
    'DATABASE_URL leads through a connection pooler: new events are polled once a second instead of announced. Set DATABASE_DIRECT_URL to the address of the server itself.',
  );
  return null;
}
