import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import { type Sql, STATEMENT_TIMEOUT_MS, sqlOn } from './sql.ts';

/** Any number that nothing else in this database uses for advisory locks of two integers. */
const WORKER_LOCK = 719_040_251;

/** Key of the lock that a worker holds while it is connected: the first 32 bits of its id. */
const lockOf = (column: string): string => `('x' || substr(${column}::text, 1, 8))::bit(32)`;

/** Registers a worker as alive while this connection lasts, which must be its own and not from a pool. */
export async function registerWorker(sql: Sql, workerId: string): Promise<void> {
  await sql.query(`select pg_advisory_lock($1, ${lockOf('$2')}::integer)`, [WORKER_LOCK, workerId]);
  await sql.query(`insert into workers (worker_id) values ($1)`, [workerId]);
}

/** Ids of registered workers that are no longer connected. */
export async function listEndedWorkers(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ worker_id: string }>(
    `select w.worker_id from workers w
      where not exists (
        select 1 from pg_locks l
         where l.locktype = 'advisory' and l.classid = $1 and l.objsubid = 2
           and l.objid = ${lockOf('w.worker_id')}::bigint::oid
           and l.database = (select oid from pg_database where datname = current_database()))`,
    [WORKER_LOCK],
    'ended-workers',
  );
  return rows.map((row) => row.worker_id);
}

/** @returns whether it was registered */
export async function unregisterWorker(sql: Sql, workerId: string): Promise<boolean> {
  const rows = await sql.query(`delete from workers where worker_id = $1 returning 1`, [workerId]);
  return rows.length > 0;
}

const RECONNECT_DELAY_MS = 500;
/** Without this, a connection that only listens would not notice a cut network. Longer than a statement may take. */
const HEARTBEAT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;

export type WorkerConnection = ReturnType<typeof createWorkerConnection>;

/**
 * A worker's own connection: it receives notifications and shows that the worker is alive. A lost connection is opened
 * again under a new worker id, since other workers may have released the leases of the old one.
 *
 * @param options.sessionUrl `null`: only a transaction pooler is reachable, where nothing can listen or be registered
 * @param options.channels handlers of payloads, by channel
 * @param options.onReady called on each new connection: notifications before it were missed
 */
export function createWorkerConnection(options: {
  sessionUrl: string | null;
  channels: Readonly<Record<string, (payload: string) => void>>;
  logger: Logger;
  onReady(): void;
}) {
  const { sessionUrl, channels, logger } = options;
  let current: pg.Client | null = null;
  let workerId = randomUUID();
  let isStopping = false;

  async function connect(): Promise<void> {
    if (isStopping || sessionUrl === null) return;
    const client = new pg.Client({
      connectionString: sessionUrl,
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: STATEMENT_TIMEOUT_MS,
      application_name: 'subscription-timeline-worker',
    });
    current = client;
    const heartbeat = setInterval(() => client.query('select 1').catch(reconnect), HEARTBEAT_MS);
    heartbeat.unref();
    const reconnect = (error?: Error): void => {
      clearInterval(heartbeat);
      if (current !== client) return;
      current = null;
      workerId = randomUUID();
      client.end().catch(() => {});
      if (isStopping) return;
      logger.warn({ err: error }, 'lost the listening database connection');
      setTimeout(() => void connect(), RECONNECT_DELAY_MS).unref();
    };
    client.on('error', reconnect);
    client.on('end', () => reconnect());
    client.on('notification', ({ channel, payload }) => channels[channel]?.(payload ?? ''));
    try {
      await client.connect();
      await registerWorker(sqlOn(client, { prepare: false }), workerId);
      for (const channel in channels) await client.query(`listen ${channel}`);
      options.onReady();
    } catch (error) {
      reconnect(error as Error);
    }
  }

  return {
    start: () => void connect(),
    async stop(): Promise<void> {
      isStopping = true;
      const last = current;
      current = null;
      if (!last) return;
      await unregisterWorker(sqlOn(last, { prepare: false }), workerId).catch(() => {});
      await last.end().catch(() => {});
    },
    workerId: (): string => workerId,
  };
}
