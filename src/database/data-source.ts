import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { Schema1790000000001 } from '../../migrations/1790000000001-schema.ts';
import { type Database, databaseOn } from './sql.ts';

/** Append-only: a migration that has landed is never edited. */
export const MIGRATIONS = [Schema1790000000001];

/** Any number; all processes of the app must agree on it, and nothing else may use it in this database. */
const MIGRATION_LOCK = 7_190_402_511;

export interface OpenDatabase {
  readonly database: Database;
  readonly dataSource: DataSource;
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
  return {
    database: databaseOn(pool),
    dataSource,
    close: () => dataSource.destroy(),
  };
}

/**
 * Runs the missing migrations; safe when several processes start at once: one runs them, the others wait.
 *
 * @returns names of the migrations that were run
 */
export async function migrate(dataSource: DataSource): Promise<string[]> {
  const runner = dataSource.createQueryRunner();
  try {
    await runner.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    try {
      const done = await dataSource.runMigrations();
      return done.map((migration) => migration.name);
    } finally {
      await runner.query('select pg_advisory_unlock($1)', [MIGRATION_LOCK]);
    }
  } finally {
    await runner.release();
  }
}
