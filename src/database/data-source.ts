import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { DataSource, MigrationExecutor } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { AppError, codeOf } from '../errors.ts';
import { ENTITIES } from './entities.ts';
import { MIGRATIONS } from './migrations.ts';
import { databaseOn, ignoreErrorsInUse, isPooled, prepareConnection } from './sql.ts';

/** Any number; all processes of the app must agree on it, and nothing else may use it in this database. */
const MIGRATION_LOCK = 7_190_402_511;

export type OpenDatabase = Awaited<ReturnType<typeof openDatabase>>;

/** The processor and a delivery send up to five statements at the same time. */
const MIN_CONNECTIONS = 5;

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
  /** A connection that does not answer a statement in this time is closed; if unset, it is closed when TCP gives up. */
  statementTimeoutMs?: number;
}) {
  const { url, logger, poolSize = 20, statementTimeoutMs } = options;
  const dataSource = new DataSource({
    type: 'postgres',
    url,
    applicationName: 'subscription-timeline',
    poolSize,
    connectTimeoutMS: 5_000,
    entities: ENTITIES,
    migrations: MIGRATIONS,
    migrationsTableName: 'schema_migrations',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    logging: false,
    // The default logger prints each migration that fails as text, even one that is retried.
    logger: 'debug',
    poolErrorHandler: (error: Error) => logger.warn({ err: error }, 'database connection lost'),
    extra: {
      // Routers drop a silent connection after minutes, but Linux would first probe it after two hours.
      keepAlive: true,
      keepAliveInitialDelayMillis: 60_000,
      // Statements of one transaction that do not wait for each other share a round trip.
      pipeline: true,
      // These stay open when idle: opening one takes longer than all statements of a lone webhook.
      min: Math.min(poolSize, MIN_CONNECTIONS),
      query_timeout: statementTimeoutMs,
      onConnect: prepareConnection,
    },
  });
  await dataSource.initialize();
  const pool = (dataSource.driver as PostgresDriver).master as Pool;
  ignoreErrorsInUse(pool);
  const pooled = await isPooled(pool);
  return {
    database: databaseOn(pool, dataSource, { prepare: !pooled }),
    dataSource,
    /** Whether a connection pooler is between us and the server. */
    pooled,
    close: () => dataSource.destroy(),
  };
}

/** A transaction that holds locks on tables and has been open for a while. */
export interface LongTransaction {
  readonly pid: number;
  readonly application: string;
  /** Seconds since it began; `null`: unknown, since it belongs to another user. */
  readonly seconds: number | null;
}

interface LockWait {
  /** Called each time a migration did not get a lock in time. */
  readonly onBlocked?: (by: readonly LongTransaction[]) => void;
  /** Ends the wait for a lock with a rejection; a running migration still finishes. */
  readonly signal?: AbortSignal;
}

/**
 * Runs the missing migrations. When several processes start at the same time, one runs them and the others wait.
 *
 * @returns names of the migrations that were run
 */
export async function migrate(dataSource: DataSource, wait: LockWait = {}): Promise<string[]> {
  return withMigrationLock(dataSource, wait, async () => {
    // Read first: the result of the last attempt leaves out migrations that an earlier, blocked attempt has run.
    const missing = await new MigrationExecutor(dataSource).getPendingMigrations();
    await retryWhileBlocked(dataSource, wait, () => dataSource.runMigrations());
    return missing.map((migration) => migration.name);
  });
}

/**
 * Reverts the newest migrations, for a return to an older version of the app. What only the newer version
 * stores is lost with its tables and columns.
 *
 * @returns names of the migrations that were reverted, newest first
 */
export async function undoMigrations(
  dataSource: DataSource,
  count: number,
  wait: LockWait = {},
): Promise<string[]> {
  return withMigrationLock(dataSource, wait, async () => {
    const undone: string[] = [];
    for (let index = 0; index < count; index += 1) {
      const [last] = await dataSource.query<{ name: string }[]>(
        'select name from schema_migrations order by id desc limit 1',
      );
      if (!last) break;
      if (!MIGRATIONS.some((migration) => new migration().name === last.name))
        throw new AppError(
          'conflict',
          `The newest migration, ${last.name}, is of a newer version of the app: undo it with that version. Nothing was undone.`,
        );
      await retryWhileBlocked(dataSource, wait, () => dataSource.undoLastMigration());
      undone.push(last.name);
    }
    return undone;
  });
}

const LOCK_NOT_AVAILABLE = '55P03';
/** Pauses between attempts, which let the statements through that an attempt blocks, ms. The last one is repeated. */
const LOCK_RETRY_DELAYS_MS = [1_000, 2_000, 4_000, 8_000];
const MAX_LOCK_WAIT_MS = 600_000;

async function retryWhileBlocked<T>(
  dataSource: DataSource,
  { onBlocked, signal }: LockWait,
  work: () => Promise<T>,
): Promise<T> {
  const startedMs = performance.now();
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== LOCK_NOT_AVAILABLE) throw error;
      const by: LongTransaction[] = await dataSource.query(LONG_TRANSACTIONS);
      if (performance.now() - startedMs > MAX_LOCK_WAIT_MS)
        throw new AppError(
          'conflict',
          `A migration has waited ten minutes for a lock that another transaction holds: ${by.map(({ pid, application }) => `process ${pid} (${application})`).join(', ')}. Wait until it has ended (a backup?), or end it with: select pg_terminate_backend(<process>)`,
          { cause: error },
        );
      onBlocked?.(by);
      await sleep(LOCK_RETRY_DELAYS_MS[attempt] ?? LOCK_RETRY_DELAYS_MS.at(-1), undefined, { signal });
    }
  }
}

const LONG_TRANSACTIONS = `
  select pid, application_name as application,
         floor(extract(epoch from clock_timestamp() - xact_start))::float8 as seconds
    from pg_stat_activity a
   where pid <> pg_backend_pid() and coalesce(xact_start < clock_timestamp() - interval '1 second', true)
     and exists (select 1 from pg_locks l join pg_class c on c.oid = l.relation
                  where l.pid = a.pid and l.granted and c.relnamespace = 'public'::regnamespace
                    and l.database = (select oid from pg_database where datname = current_database()))
   order by xact_start limit 5`;

const MIGRATION_LOCK_POLL_MS = 200;

/** Uses a transaction lock: behind a connection pooler, a session lock would stay on a pooled connection. */
async function withMigrationLock<T>(
  dataSource: DataSource,
  { signal }: LockWait,
  work: () => Promise<T>,
): Promise<T> {
  const runner = dataSource.createQueryRunner();
  try {
    await runner.startTransaction();
    // Polled, because a statement that waits cannot be ended by the signal.
    for (;;) {
      const [row] = await runner.query('select pg_try_advisory_xact_lock($1) as locked', [MIGRATION_LOCK]);
      if (row.locked) break;
      await sleep(MIGRATION_LOCK_POLL_MS, undefined, { signal });
    }
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
