import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { migrate, openDatabase } from './data-source.ts';
import { startEmbeddedPostgres } from './embedded.ts';
import type { Database } from './sql.ts';

export interface Connected {
  readonly database: Database;
  readonly url: string;
  close(): Promise<void>;
}

/** Opens the configured database, or the embedded one, and runs the missing migrations. */
export async function connectDatabase(config: Config, logger: Logger): Promise<Connected> {
  const embedded = config.databaseUrl === null ? await startEmbeddedPostgres(config.dataDir) : null;
  const url = config.databaseUrl ?? embedded?.url ?? '';
  try {
    const open = await openDatabase({ url, logger });
    const done = await migrate(open.dataSource);
    if (done.length > 0) logger.info({ migrations: done }, 'migrated');
    return {
      database: open.database,
      url,
      async close() {
        await open.close();
        await embedded?.stop();
      },
    };
  } catch (error) {
    await embedded?.stop();
    throw error;
  }
}
