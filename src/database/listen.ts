import pg from 'pg';
import type { Logger } from 'pino';

export interface Listener {
  start(): void;
  stop(): Promise<void>;
}

const RECONNECT_AFTER_MS = 500;

/** Listens to a channel on a connection of its own, and connects again when that is lost. */
export function createListener(options: {
  /** `null`: only a transaction pooler is reachable, where nothing can listen. */
  databaseUrl: string | null;
  channel: string;
  logger: Logger;
  onNotification(payload: string): void;
}): Listener {
  let current: pg.Client | null = null;
  let isStopping = false;

  async function connect(): Promise<void> {
    if (isStopping || options.databaseUrl === null) return;
    const client = new pg.Client({
      connectionString: options.databaseUrl,
      keepAlive: true,
      application_name: `subscription-timeline-${options.channel}`,
    });
    current = client;
    const reconnect = (error?: Error): void => {
      if (current !== client) return;
      current = null;
      client.end().catch(() => {});
      if (isStopping) return;
      options.logger.warn({ err: error, channel: options.channel }, 'lost the listening database connection');
      setTimeout(() => void connect(), RECONNECT_AFTER_MS).unref();
    };
    client.on('error', reconnect);
    client.on('end', () => reconnect());
    client.on('notification', ({ payload }) => options.onNotification(payload ?? ''));
    try {
      await client.connect();
      await client.query(`listen ${options.channel}`);
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
      await last?.end().catch(() => {});
    },
  };
}
