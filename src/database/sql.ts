import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, ClientBase, Pool, PoolClient, QueryResultRow } from 'pg';
import type { DataSource, EntityManager } from 'typeorm';
import { codeOf } from '../errors.ts';

/**
 * When the server's machine is lost (a failover), its connections go silent, and TCP repeats what was sent for 15
 * minutes. No statement of ours takes this long; migrations have no such limit.
 */
export const STATEMENT_TIMEOUT_MS = 20_000;

/** Runs statements on a pool or in an open transaction. */
export interface Sql {
  /**
   * Runs one statement and gives its rows; outside of a transaction it is repeated after a deadlock. Statements are
   * prepared once per connection when named.
   */
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[], name?: string): Promise<Row[]>;
}

/** For the repositories of the entities: outside of a transaction or in one. */
export interface Entities {
  readonly manager: EntityManager;
}

export type Transaction = Sql & Entities;

export interface Database extends Sql, Entities {
  /**
   * Runs `work` in one transaction: committed when it resolves, rolled back when it rejects, and repeated after a
   * deadlock. Statements that it starts without waiting share a round trip, and run in the order in which they were
   * started.
   *
   * @param options.statementTimeoutMs instead of `STATEMENT_TIMEOUT_MS`
   */
  transaction<T>(
    work: (sql: Transaction) => Promise<T>,
    options?: { readonly statementTimeoutMs?: number },
  ): Promise<T>;
  /** Open connections, for the metrics. */
  connections(): { total: number; idle: number; waiting: number };
}

/** Counting stops here: beyond it nobody needs an exact number, and a table may hold millions of rows. */
export const MAX_COUNTED = 100_000;
/** Events are counted and listed for at most this many due subscribers: 200,000 took 18 s; pages and metrics failed. */
export const MAX_DUE_COUNTED = 5_000;

/** The row of a statement that always has exactly one, such as a count. */
export async function queryRow<Row extends QueryResultRow>(
  sql: Sql,
  text: string,
  values?: readonly unknown[],
): Promise<Row> {
  const [row] = await sql.query<Row>(text, values);
  if (!row) throw new Error('A statement that always has a row had none');
  return row;
}

/**
 * @param options.prepare `false` behind a pooler: a named statement may reach a connection that has not prepared it
 * @param options.statementTimeoutMs instead of the connection's
 */
export function sqlOn(
  target: Pool | PoolClient | Client,
  options: { readonly prepare: boolean; readonly statementTimeoutMs?: number },
): Sql {
  // The driver accepts it for each statement, although its types do not say so.
  const timeout = { query_timeout: options.statementTimeoutMs };
  return {
    async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = [], name?: string) {
      const result = await target.query<Row>({
        text,
        values: [...values],
        ...(name === undefined || !options.prepare ? {} : { name }),
        ...timeout,
      });
      return result.rows;
    },
  };
}

export function databaseOn(
  pool: Pool,
  dataSource: DataSource,
  options: { readonly prepare: boolean },
): Database {
  const sql = sqlOn(pool, options);
  return {
    manager: dataSource.manager,
    query: <Row extends QueryResultRow>(...statement: Parameters<Sql['query']>) =>
      retryAfterDeadlock(() => sql.query<Row>(...statement)),
    transaction: (work, { statementTimeoutMs } = {}) =>
      retryAfterDeadlock(() => runTransaction(work, dataSource, { ...options, statementTimeoutMs })),
    connections: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
}

async function runTransaction<T>(
  work: (sql: Transaction) => Promise<T>,
  dataSource: DataSource,
  options: Parameters<typeof sqlOn>[1],
): Promise<T> {
  // SQL and repositories share this connection.
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
      await client.query('rollback').catch(() => void (client as unknown as Client).end().catch(() => {}));
      throw error;
    }
  } finally {
    await runner.release();
  }
}

const ignore = (): void => {};

/**
 * The pool removes its error listener from a connection that it hands out, and the caller adds one a moment later. A
 * server that ends the connection in between (it is restarted while connections are opened) would end the process.
 * The statement that the connection was for fails anyway.
 */
export function ignoreErrorsInUse(pool: Pool): void {
  pool.on('acquire', (client) => client.off('error', ignore).on('error', ignore));
}

/**
 * Whether a pooler is between us and the server. A pooler reports process ids of its own, so the id reported on
 * connecting is not that of the process that answers.
 */
export async function isPooled(pool: Pool): Promise<boolean> {
  const client = await pool.connect();
  const result = await client
    .query<{ pid: number }>('select pg_backend_pid() as pid')
    // Closes the connection: one that has gone silent would be used again.
    .catch((error) => {
      client.release(true);
      throw error;
    });
  client.release();
  return result.rows[0]?.pid !== (client as unknown as { processID: number }).processID;
}

/**
 * Prepares each new connection. The driver reads dates in the ISO style only, and a database or a role may set another.
 * A statement that is given up ends on the server too, which without the check notices a closed connection only at the
 * statement's end. Not set as connection parameters, which poolers refuse.
 */
export async function prepareConnection(client: ClientBase): Promise<void> {
  try {
    await client.query(`set datestyle = 'ISO'`);
    await client.query(`set client_connection_check_interval = '1s'`);
  } catch {
    // Not every server can check its connections. If this connection is lost, the statement that it is for fails, too.
  }
}

/** Whether the server takes no writes, such as a primary that became a standby. */
export async function isReadOnly(sql: Sql): Promise<boolean> {
  const row = await queryRow<{ transaction_read_only: string }>(sql, 'show transaction_read_only');
  return row.transaction_read_only === 'on';
}

/**
 * Joined in a lateral subquery with an `order by`, it makes the planner use the index that has this order: the planner
 * expects a hundred rows from it, which would cost more to sort. Without it the planner expects one row of a workspace
 * that its statistics do not know, and takes any index: 5,000 customers read all events of the workspace each.
 */
export const USE_ORDERED_INDEX = `json_array_elements('[0]')`;

/** Fields of rows as lists, the parameters of an unnest. */
export function listsOf<Row>(rows: readonly Row[], ...fields: readonly (keyof Row)[]): unknown[][] {
  return fields.map((field) => rows.map((row) => row[field]));
}

/**
 * The database's clock as a row to join, `clock.at`: all processes share this clock. Citus refuses a call of now()
 * inside CASE and COALESCE of an UPDATE and in RETURNING, but accepts a column. `offset 0` keeps PostgreSQL from
 * replacing the column with the call.
 */
export const CLOCK = `(select now() as at offset 0) as clock`;

/**
 * The same clock as one more list of an unnest. A row to join would change PostgreSQL's plan for the other joins.
 *
 * @param list one of the other lists, as SQL
 */
export function clocks(list: string): string {
  return `array_fill(now(), array[cardinality(${list})])`;
}

/** A timestamptz in whole ms since 1970, as a number. */
export function epochMs(column: string): string {
  return `floor(extract(epoch from ${column}) * 1000)::float8`;
}

const DEADLOCK = '40P01';
const MAX_TRIES = 5;

/** @param work a whole statement or transaction: after a deadlock PostgreSQL has rolled it back */
async function retryAfterDeadlock<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== DEADLOCK || tries === MAX_TRIES) throw error;
      // Gives the other transaction time to lock the rows.
      await sleep(50);
    }
  }
}

/** Repeats a statement that deletes a batch of rows, until there are none. @returns number of rows deleted */
export async function deleteInBatches(deleteBatch: () => Promise<readonly unknown[]>): Promise<number> {
  let deleted = 0;
  for (;;) {
    const rows = await deleteBatch();
    if (rows.length === 0) return deleted;
    deleted += rows.length;
  }
}

/** The channel that delivery workers listen on; the payload is the workspace. */
export const DELIVERY_CHANNEL = 'delivery';

/** Wakes the delivery workers: the workspace has something due. In a transaction they are woken by its commit. */
export async function notifyDelivery(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(`select pg_notify('${DELIVERY_CHANNEL}', $1)`, [workspaceId]);
}
