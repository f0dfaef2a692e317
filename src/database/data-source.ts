import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { Schema1790000000001 } from '../../migrations/1790000000001-schema.ts';
import { Delivery1790000000010 } from '../../migrations/1790000000010-delivery.ts';
import { KindCounts1790000000011 } from '../../migrations/1790000000011-kind-counts.ts';
import { ApiKeys1790000000020 } from '../../migrations/1790000000020-api-keys.ts';
import { History1790000000030 } from '../../migrations/1790000000030-history.ts';
import { InstallationHealth1790000000050 } from '../../migrations/1790000000050-installation-health.ts';
import { SubscriberSummaries1790000000060 } from '../../migrations/1790000000060-subscriber-summaries.ts';
import { Grants1790000000070 } from '../../migrations/1790000000070-grants.ts';
import { PageIndexes1790000000080 } from '../../migrations/1790000000080-page-indexes.ts';
import { RefusedWebhooks1790000000090 } from '../../migrations/1790000000090-refused-webhooks.ts';
import { type Backend, type Database, databaseOn, isPooled } from './sql.ts';

/** Append-only: a migration that has landed is never edited. */
export const MIGRATIONS = [
  Schema1790000000001,
  Delivery1790000000010,
  KindCounts1790000000011,
  ApiKeys1790000000020,
  History1790000000030,
  InstallationHealth1790000000050,
  SubscriberSummaries1790000000060,
  Grants1790000000070,
  PageIndexes1790000000080,
  RefusedWebhooks1790000000090,
];

/** Any number; all processes of the app must agree on it, and nothing else may use it in this database. */
const MIGRATION_LOCK = 7_190_402_511;

export interface OpenDatabase {
  readonly database: Database;
  readonly dataSource: DataSource;
  /** Whether a connection pooler stands between us and the server. */
  readonly pooled: boolean;
  close(): Promise<void>;
}

/**
 * Opens the connection pool.
 *
 * An idle connection that breaks (a restarted server) is logged and replaced; without the handler it would
 * end the process.
 */
export async function openDatabase(options: {
  url: string;
  logger: Logger;
  backend?: Backend;
  poolSize?: number;
  applicationName?: string;
}): Promise<OpenDatabase> {
  const dataSource = new DataSource({
    type: 'postgres',
    url: options.url,
    applicationName: options.applicationName ?? 'subscription-timeline',
    poolSize: options.poolSize ?? 20,
    connectTimeoutMS: 5_000,
    migrations: MIGRATIONS,
    migrationsTableName: 'schema_migrations',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    logging: false,
    poolErrorHandler: (error: Error) => options.logger.warn({ err: error }, 'database connection lost'),
    extra: { keepAlive: true },
  });
  await dataSource.initialize();
  const pool = (dataSource.driver as PostgresDriver).master as Pool;
  const pooled = await isPooled(pool);
  return {
    database: databaseOn(pool, { prepare: !pooled, backend: options.backend ?? 'postgres' }),
    dataSource,
    pooled,
    close: () => dataSource.destroy(),
  };
}

/**
 * Runs the missing migrations; safe when several processes start at once: one runs them, the others wait.
 *
 * @param options.lock `false` where the server knows no advisory locks: then only one process may migrate
 * @returns names of the migrations that were run
 */
export async function migrate(
  dataSource: DataSource,
  options: { lock: boolean } = { lock: true },
): Promise<string[]> {
  return withMigrationLock(dataSource, options.lock, async () => {
    const done = await dataSource.runMigrations();
    return done.map((migration) => migration.name);
  });
}

/**
 * Takes back the newest migrations, for a return to an older version of the app. What only the newer version
 * stores is lost with its tables and columns.
 *
 * @param options.lock as for `migrate`
 * @returns names of the migrations that were taken back, newest first
 */
export async function undoMigrations(
  dataSource: DataSource,
  count: number,
  options: { lock: boolean } = { lock: true },
): Promise<string[]> {
  return withMigrationLock(dataSource, options.lock, async () => {
    const undone: string[] = [];
    for (let index = 0; index < count; index += 1) {
      const [last] = await dataSource.query<{ name: string }[]>(
        'select name from schema_migrations order by id desc limit 1',
      );
      if (!last) break;
      await dataSource.undoLastMigration();
      undone.push(last.name);
    }
    return undone;
  });
}

/**
 * The lock is a transaction's, not a session's: a connection pooler would leave the latter behind on a
 * connection that it gives to somebody else.
 */
async function withMigrationLock<T>(
  dataSource: DataSource,
  lock: boolean,
  work: () => Promise<T>,
): Promise<T> {
  const runner = dataSource.createQueryRunner();
  try {
    await runner.startTransaction();
    if (lock) await runner.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    const result = await work();
    await runner.commitTransaction();
    return result;
  } catch (error) {
    await runner.rollbackTransaction().catch(() => {});
    throw error;
  } finally {
    await runner.release();
  }
}
