import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { pino } from 'pino';
import { type OpenDatabase, openDatabase } from '../../src/database/data-source.ts';
import { CITUS_URL, createCitusDatabase, dropCitusDatabase } from './citus.ts';

/** The test runner sets the URL: it starts one PostgreSQL for all files and fills a template database. */
function serverUrl(): URL {
  const value = process.env.TEST_DATABASE_URL;
  if (!value) throw new Error('Run the tests with "npm test": it starts the database that they use');
  return new URL(value);
}

export interface TestDatabase extends OpenDatabase {
  readonly url: string;
}

/** Creates a migrated database for the caller, copied from the template in a few milliseconds. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const url = CITUS_URL === null ? await copyTemplate(name) : await createCitusDatabase(name);
  const open = await openDatabase({
    url,
    logger: pino({ level: 'silent' }),
    poolSize: 10,
  });
  return {
    ...open,
    url,
    async close() {
      await open.close();
      if (CITUS_URL !== null) return dropCitusDatabase(name);
      await withServer(serverUrl(), (client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
}

/** Deletes all rows, in a fraction of the time that creating another database takes. */
export async function emptyDatabase({ database }: TestDatabase): Promise<void> {
  const tables = await database.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`,
  );
  for (const { name } of tables) await database.query(`delete from ${name}`);
}

/** Connections that wait for a lock. `pg_locks` would also show those of other test files, which share the server. */
export function waitingForLocks({ database }: TestDatabase): Promise<unknown[]> {
  return database.query(
    `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  );
}

async function copyTemplate(name: string): Promise<string> {
  const url = serverUrl();
  // Copying the files takes half of the processor time of copying page by page.
  await withServer(url, (client) =>
    client.query(`create database ${name} template template_migrated strategy file_copy`),
  );
  url.pathname = `/${name}`;
  return url.href;
}

async function withServer<T>(server: URL, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: server.href });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
