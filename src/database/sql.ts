import type { Client, Pool, PoolClient, QueryResultRow } from 'pg';
import type { DataSource, EntityManager } from 'typeorm';

/** What a store needs: a pool or an open transaction. */
export interface Sql {
  /** Runs one statement and gives its rows. Statements are prepared once per connection when named. */
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[], name?: string): Promise<Row[]>;
}

/** What kind of server it is: Citus takes fewer forms of statements than PostgreSQL does. */
export type Backend = 'postgres' | 'citus';

/** For the repositories of the entities: outside of a transaction or in one. */
export interface Entities {
  readonly manager: EntityManager;
}

export type Transaction = Sql & Entities;

export interface Database extends Sql, Entities {
  readonly backend: Backend;
  /**
   * Runs `work` in one transaction: committed when it resolves, rolled back when it rejects. Statements that it starts
   * without waiting share a round trip, and run in the order in which they were started.
   */
  transaction<T>(work: (sql: Transaction) => Promise<T>): Promise<T>;
  /** Open connections, for the metrics. */
  connections(): { total: number; idle: number; waiting: number };
}

export interface StatementOptions {
  /** Behind a connection pooler a named statement may meet a server connection that has never prepared it. */
  readonly prepare: boolean;
}

export function sqlOn(target: Pool | PoolClient, options: StatementOptions): Sql {
  return {
    async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = [], name?: string) {
      const result = await target.query<Row>({
        text,
        values: [...values],
        ...(name === undefined || !options.prepare ? {} : { name }),
      });
      return result.rows;
    },
  };
}

export function databaseOn(
  pool: Pool,
  dataSource: DataSource,
  options: StatementOptions & { readonly backend: Backend },
): Database {
  return {
    backend: options.backend,
    manager: dataSource.manager,
    ...sqlOn(pool, options),
    async transaction(work) {
      // The same connection for SQL and for repositories.
      const runner = dataSource.createQueryRunner();
      try {
        const client = (await runner.connect()) as PoolClient;
        // Sent together with the first statement.
        const begun = client.query('begin');
        try {
          const [result] = await Promise.all([
            work({ ...sqlOn(client, options), manager: runner.manager }),
            begun,
          ]);
          await client.query('commit');
          return result;
        } catch (error) {
          // A connection that cannot even roll back is broken: the pool drops it.
          await client
            .query('rollback')
            .catch(() => void (client as unknown as Client).end().catch(() => {}));
          throw error;
        }
      } finally {
        await runner.release();
      }
    },
    connections: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
}

/**
 * Whether a pooler is between us and the server: it reports process numbers of its own, so the one reported on
 * connecting is not the one that answers.
 */
export async function isPooled(pool: Pool): Promise<boolean> {
  const client = await pool.connect();
  try {
    const result = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    return result.rows[0]?.pid !== (client as unknown as { processID: number }).processID;
  } finally {
    client.release();
  }
}
