import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import type { Sql } from '../database/sql.ts';
import { registerWorker, unregisterWorker } from './leases.ts';

/**
 * The worker's own connection: it hears of new deliveries, and it is the worker's sign of life. Other workers
 * end the leases of one whose connection is gone; so with a new connection the worker is a new one, and what
 * it holds under its old id is no longer its own.
 */
export interface WorkerSession {
  /** The id that leases are taken under. */
  owner(): string;
  start(): void;
  stop(): Promise<void>;
}

const AFTER_FAILURE_MS = 500;

export function createWorkerSession(options: {
  /** `null`: no session can be had (a connection pooler): polling finds what is due, and leases run out by time. */
  databaseUrl: string | null;
  logger: Logger;
  /** Something is due; also after every new connection, for what was missed meanwhile. */
  onWake(): void;
}): WorkerSession {
  let owner = randomUUID();
  let current: pg.Client | null = null;
  let stopping = false;

  async function connect(): Promise<void> {
    if (stopping || options.databaseUrl === null) return;
    const client = new pg.Client({
      connectionString: options.databaseUrl,
      keepAlive: true,
      application_name: 'subscription-timeline-worker',
    });
    current = client;
    const lose = (error?: Error): void => {
      if (current !== client) return;
      current = null;
      owner = randomUUID();
      client.end().catch(() => {});
      if (stopping) return;
      options.logger.warn({ err: error }, 'the worker lost its database connection');
      setTimeout(() => void connect(), AFTER_FAILURE_MS).unref();
    };
    client.on('error', lose);
    client.on('end', () => lose());
    client.on('notification', () => options.onWake());
    try {
      await client.connect();
      await registerWorker(sqlOf(client), owner);
      await client.query('listen delivery');
      options.onWake();
    } catch (error) {
      lose(error as Error);
    }
  }

  return {
    owner: () => owner,
    start: () => void connect(),
    async stop() {
      stopping = true;
      const last = current;
      current = null;
      if (!last) return;
      await unregisterWorker(sqlOf(last), owner).catch(() => {});
      await last.end().catch(() => {});
    },
  };
}

function sqlOf(client: pg.Client): Sql {
  return {
    query: async (text, values = []) => (await client.query({ text, values: [...values] })).rows,
  };
}
