import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { pino } from 'pino';
import { type OpenDatabase, openDatabase } from '../../src/database/data-source.ts';
import type { Backend } from '../../src/database/sql.ts';

/** Set by the test runner, which starts one PostgreSQL for all files and fills a template database. */
function serverUrl(): URL {
  const value = process.env.TEST_DATABASE_URL;
  if (!value) throw new Error('Run the tests with "npm test": it starts the database that they use');
  return new URL(value);
}

export interface TestDatabase extends OpenDatabase {
  readonly url: string;
}

/**
 * A migrated database of its own, copied from the template in a few milliseconds.
 *
 * @param backend what the product believes it to be; it is PostgreSQL
 */
export async function createTestDatabase(backend: Backend = 'postgres'): Promise<TestDatabase> {
  const server = serverUrl();
  const name = `test_${randomBytes(6).toString('hex')}`;
  await withServer(server, (client) => client.query(`create database ${name} template template_migrated`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  const logger = pino({ level: 'silent' });
  const open = await openDatabase({ url: url.href, logger, backend, poolSize: 10 });
  return {
    ...open,
    url: url.href,
    async close() {
      await open.close();
      await withServer(server, (client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
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
