import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { glob, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { readConfig } from '../../src/config.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { startServer } from '../../src/server.ts';
import { checkStatements } from './check-statements.ts';

/** Runs the test files given, or all, against one embedded PostgreSQL with a migrated template database. */
async function main(): Promise<number> {
  const dataDir = await mkdtemp(join(tmpdir(), 'subscription-timeline-test-'));
  const server = await startEmbeddedPostgres(dataDir, { fast: true });
  try {
    await makeTemplate(server.url);
    const named = process.argv.slice(2);
    const files = named.length > 0 ? named : await Array.fromAsync(glob('test/**/*.test.ts'));
    const statements = join(dataDir, 'statements');
    await mkdir(statements);
    const code = await runTests(files.sort(), server.url, statements);
    const areBound = await checkStatements(statements, templateUrl(server.url));
    return code === 0 && !areBound ? 1 : code;
  } finally {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function makeTemplate(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('create database template_migrated');
  await client.end();
  // Migrates, and makes the job queues.
  const read = readConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    ROLE: 'web',
    DATABASE_URL: templateUrl(url),
    INTERCOM_CLIENT_ID: 'unused',
    INTERCOM_CLIENT_SECRET: 'unused',
    ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
  });
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  await (await startServer(read.config, pino({ level: 'silent' }))).stop();
}

function templateUrl(url: string): string {
  const template = new URL(url);
  template.pathname = '/template_migrated';
  return template.href;
}

function runTests(files: readonly string[], databaseUrl: string, statements: string): Promise<number> {
  const recorder = `--import=${join(import.meta.dirname, 'record-statements.ts')}`;
  const args = [
    recorder,
    '--test',
    '--test-reporter=spec',
    '--test-timeout=90000',
    '--test-concurrency=3',
    ...files,
  ];
  const child = spawn(process.execPath, args, {
    stdio: 'inherit',
    env: {
      ...process.env,
      TEST_DATABASE_URL: databaseUrl,
      TEST_STATEMENTS: statements,
      NODE_ENV: 'test',
      // Each file is a process, and many start servers: what the first has compiled serves the others.
      NODE_COMPILE_CACHE: join(statements, '..', 'compiled'),
    },
  });
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? (signal ? 1 : 0)));
  });
}

process.exitCode = await main();
