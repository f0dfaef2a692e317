import { randomBytes } from 'node:crypto';
import { glob, mkdir, rm, writeFile } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { pino } from 'pino';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { checkStatements } from './check-statements.ts';
import { makeDatabaseFolder } from './folder.ts';
import { orderFiles } from './order.ts';
import { STOP_SIGNALS, startServerHere } from './process.ts';

/** Limits for a file, and for a process that does not end because something was left open. */
const FILE_TIMEOUT_MS = 180_000;
const PROCESS_TIMEOUT_MS = 900_000;
/**
 * Each process runs many files, so it loads and compiles the app only once. With one process per file, that took half
 * of the suite's processor time.
 */
const PROCESSES = 4;

/**
 * Runs test files, all of them by default, against one embedded PostgreSQL with a migrated template database.
 *
 * @returns the exit code
 */
export async function runSuite(named: readonly string[]): Promise<number> {
  const dataDir = await makeDatabaseFolder('test');
  const server = await startEmbeddedPostgres(dataDir, { fast: true });
  try {
    await makeTemplate(dataDir, server.superuserUrl);
    // Otherwise, after an installation, every process compiles the app (0.9 s each) until one of them has ended.
    flushCompileCache();
    const files = named.length > 0 ? named : await Array.fromAsync(glob('test/**/*.test.ts'));
    const isPassed = await runTests(files, dataDir, server.superuserUrl);
    const areBound = await checkStatements(join(dataDir, 'statements'), templateUrl(server.superuserUrl));
    return isPassed && areBound ? 0 : 1;
  } finally {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function makeTemplate(dataDir: string, url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('create database template_migrated');
  // Checking a password costs 3 ms of processor time per connection, and tests open thousands.
  const rules = `host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n`;
  await writeFile(join(dataDir, 'postgres/pg_hba.conf'), rules);
  // Connections of tests are short: they would plan most statements each time, a twelfth of PostgreSQL's processor time.
  await client.query(`alter system set plan_cache_mode = 'force_generic_plan'`);
  await client.query('select pg_reload_conf()');
  await client.end();
  // Starting a server migrates the database and creates the job queues.
  const environment = {
    PORT: '0',
    HOST: '127.0.0.1',
    ROLE: 'web',
    DATABASE_URL: templateUrl(url),
    INTERCOM_CLIENT_ID: 'unused',
    INTERCOM_CLIENT_SECRET: 'unused',
    ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
  };
  await (await startServerHere(environment, pino({ level: 'silent' }))).stop();
}

function templateUrl(url: string): string {
  const template = new URL(url);
  template.pathname = '/template_migrated';
  return template.href;
}

async function runTests(files: readonly string[], folder: string, databaseUrl: string): Promise<boolean> {
  const statements = join(folder, 'statements');
  const claims = join(folder, 'claims');
  await Promise.all([mkdir(statements), mkdir(claims)]);
  Object.assign(process.env, {
    TEST_DATABASE_URL: databaseUrl,
    TEST_STATEMENTS: statements,
    NODE_ENV: 'test',
  });
  const ordered = orderFiles(
    files.map((file) => resolve(file)),
    PROCESSES,
  );
  const modules = ordered.map(async (each, index) => {
    const path = join(folder, `process-${index + 1}.ts`);
    await writeFile(path, moduleOf(each, claims));
    return path;
  });
  const stopping = new AbortController();
  for (const signal of STOP_SIGNALS) process.once(signal, () => stopping.abort());
  const events = run({
    files: await Promise.all(modules),
    signal: stopping.signal,
    concurrency: PROCESSES,
    timeout: PROCESS_TIMEOUT_MS,
    execArgv: [
      `--import=${join(import.meta.dirname, 'runner-hook.ts')}`,
      `--import=${join(import.meta.dirname, 'record-statements.ts')}`,
      `--test-timeout=${FILE_TIMEOUT_MS}`,
    ],
  });
  let isPassed = false;
  events.on('test:summary', ({ file, success }) => {
    if (file === undefined) isPassed = success;
  });
  await pipeline(events, spec(), process.stdout, { end: false });
  return isPassed;
}

/** The test runner starts a process with a module to run but without arguments, so the module contains them. */
function moduleOf(files: readonly string[], claims: string): string {
  const testProcess = pathToFileURL(join(import.meta.dirname, 'test-process.ts')).href;
  return `import { runFiles } from ${JSON.stringify(testProcess)};
await runFiles(${JSON.stringify(files)}, ${JSON.stringify(claims)});
`;
}
