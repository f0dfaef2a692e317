import pg from 'pg';
import type { Logger } from 'pino';
import { type Sql, STATEMENT_TIMEOUT_MS, sqlOn } from './sql.ts';

/** The channel that delivery workers listen on; the payload is the workspace. */
export const DELIVERY_CHANNEL = 'delivery';

/** Wakes the delivery workers: something of the workspace is due. In a transaction they are woken by its commit. */
export async function notifyDelivery(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(`select pg_notify('${DELIVERY_CHANNEL}', $1)`, [workspaceId]);
}

export interface Listener {
  start(): void;
  stop(): Promise<void>;
}

/** What else the listening connection is for. */
export interface ListeningSession {
  /** On each new connection, before it listens. */
  begin(sql: Sql): Promise<void>;
  /** It listens now; what was announced before was missed. */
  onReady(): void;
  onLost(): void;
  /** The last statements before it is closed. */
  end(sql: Sql): Promise<void>;
}

const RECONNECT_DELAY_MS = 500;
/** A connection that only listens would not notice that the network was cut. Longer than a statement may take. */
const HEARTBEAT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** Listens to channels on a connection of its own, and connects again when that is lost. */
export function createListener(options: {
  /** `null`: only a transaction pooler is reachable, where nothing can listen. */
  sessionUrl: string | null;
  /** By name, what to do with a payload. */
  channels: Readonly<Record<string, (payload: string) => void>>;
  logger: Logger;
  session?: ListeningSession;
}): Listener {
  const { channels, sessionUrl, logger, session } = options;
  let current: pg.Client | null = null;
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
      session?.onLost();
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
      await session?.begin(sqlOn(client, { prepare: false }));
      for (const channel in channels) await client.query(`listen ${channel}`);
      session?.onReady();
    } catch (error) {
      reconnect(error as Error);
    }
  }

  return {
    start: () => void connect(),
    async stop() {
      isStopping = true;
      const last = current;
      current = null;
      if (!last) return;
      await session?.end(sqlOn(last, { prepare: false })).catch(() => {});
      await last.end().catch(() => {});
    },
  };
}
