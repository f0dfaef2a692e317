import { createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { AppError, codeOf } from '../errors.ts';
import { repeat } from '../time.ts';
import { openDataDir } from './data-dir.ts';
import { runAfterExit } from './exit-guard.ts';
import { withFileLock } from './file-lock.ts';
import {
  type Access,
  accessFileOf,
  clusterOf,
  findPrograms,
  initialize,
  isInitialized,
  launch,
  readAccess,
  SUPERUSER,
  writeAccess,
} from './postgres-programs.ts';

export type EmbeddedPostgres = Awaited<ReturnType<typeof startEmbeddedPostgres>>;

const DATABASE = 'subscription_timeline';
/** Owns the app's database. Not a superuser, which could read files and run programs on the machine. */
const APP_ROLE = 'subscription_timeline_app';
/** Name of the connection that each process keeps while it uses the database. */
const USER_SESSION = 'embedded-user';

/**
 * Starts the embedded PostgreSQL under `dataDir`, or joins the one that runs there already.
 *
 * @param options.fast gives up durability; only for tests
 */
export async function startEmbeddedPostgres(dataDir: string, options: { fast?: boolean } = {}) {
  await openDataDir(dataDir);
  // When two processes start together, one creates and starts the database and the other joins it.
  const { access, session } = await withFileLock(lockOf(dataDir), async () => {
    const reached = await startOrJoin(dataDir, options.fast ?? false);
    // Shows other processes that this one uses the database, from before its first statement until it stops.
    return { access: reached, session: await connect(reached, USER_SESSION) };
  });
  return {
    /** Connection URL of the app's own database, as a role that owns it and nothing else. */
    url: urlOf(access, APP_ROLE, DATABASE),
    /** The same database as the superuser, for tests and benchmarks. */
    superuserUrl: urlOf(access, SUPERUSER, DATABASE),
    /** Stops the server, unless another process of ours still uses it. */
    stop: (): Promise<void> =>
      withFileLock(lockOf(dataDir), async () => {
        await session.end();
        if (await usedByOthers(access)) return releaseFromExit(dataDir);
        const pid = await readPid(dataDir);
        if (pid !== null) await shutDown(pid);
        releaseFromExit(dataDir);
      }),
  };
}

const CHECK_EVERY_MS = 1_000;

/**
 * Restarts the database when it has ended unexpectedly, most often because memory ran out. Its address stays the same.
 *
 * @returns a function that stops watching
 */
export function restartWhenEnded(dataDir: string, logger: Logger): () => Promise<void> {
  const stopping = new AbortController();
  // A server in another container is never visible: only one that was visible before can have ended.
  let wasSeen = false;
  const watching = repeat(CHECK_EVERY_MS, stopping.signal, check);
  return async () => {
    stopping.abort();
    await watching;
  };

  async function check(): Promise<void> {
    const pid = await readPid(dataDir);
    if (pid !== null && isAlive(pid)) wasSeen = true;
    else if (wasSeen) await restart();
  }

  async function restart(): Promise<void> {
    try {
      await withFileLock(lockOf(dataDir), async () => {
        if (!stopping.signal.aborted) await startOrJoin(dataDir, false);
      });
      logger.warn('the embedded database had stopped and was restarted');
    } catch (error) {
      logger.error({ err: error }, 'the embedded database has stopped and does not start');
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // The process exists but belongs to another user.
    return codeOf(error) === 'EPERM';
  }
}

async function startOrJoin(dataDir: string, fast: boolean): Promise<Access> {
  let stored = await readAccess(dataDir);
  if (stored && (await answers(stored))) return stored;

  const programs = await findPrograms();
  if (!(await isInitialized(dataDir))) {
    stored = { port: 0, password: randomBytes(24).toString('base64url') };
    await initialize(programs, dataDir, stored.password);
  }
  if (!stored)
    throw new AppError(
      'conflict',
      `${clusterOf(dataDir)} is a database, and ${accessFileOf(dataDir)} with its password is missing or damaged. Restore that file from a backup, or move the folder away to begin with an empty database.`,
    );
  const access: Access = { port: await freePort(stored.port), password: stored.password };
  // If this process crashes or is killed, the guard stops the database; other processes that use it start it again.
  // Set on spawn: a server left behind before its port was stored could neither be joined nor started again.
  const onSpawned = (pid: number): void => {
    releaseFromExit(dataDir);
    guards.set(dataDir, { pid, release: runAfterExit('kill -INT "$1"', [String(pid)]) });
  };
  await launch(programs, dataDir, { access, fast, onSpawned });
  if (access.port !== stored.port) await writeAccess(dataDir, access);
  await createAppDatabase(access);
  return access;
}

/** Databases that this process started and that stop when it ends; `release` lets one outlive it. */
const guards = new Map<string, { readonly pid: number; release(): void }>();

function releaseFromExit(dataDir: string): void {
  guards.get(dataDir)?.release();
  guards.delete(dataDir);
}

/** For a forced exit: stops the databases that this process started, without closing connections first. */
export async function stopEmbeddedNow(): Promise<void> {
  for (const { pid } of guards.values()) await shutDown(pid);
}

function lockOf(dataDir: string): string {
  return join(dataDir, 'postgres.lock');
}

function urlOf(access: Access, user: string, database: string): string {
  const password = user === APP_ROLE ? appPassword(access) : access.password;
  return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${access.port}/${database}`;
}

function appPassword({ password }: Access): string {
  return createHmac('sha256', password).update(APP_ROLE).digest('base64url');
}

async function connect(access: Access, applicationName: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: urlOf(access, SUPERUSER, 'postgres'),
    connectionTimeoutMillis: 2_000,
    application_name: applicationName,
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function withClient<T>(access: Access, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connect(access, 'embedded-control');
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function answers(access: Access): Promise<boolean> {
  return access.port !== 0 && withClient(access, async () => true).catch(() => false);
}

/** On a busy machine, the server processes of our own closed connections take some time to end. */
const CONNECTIONS_END_WITHIN_MS = 1_000;

async function usedByOthers(access: Access): Promise<boolean> {
  return withClient(access, async (client) => {
    for (const startedMs = Date.now(); Date.now() - startedMs < CONNECTIONS_END_WITHIN_MS; ) {
      const result = await client.query(
        `select 1 from pg_stat_activity
          where backend_type = 'client backend' and (datname = $1 or application_name = $2) limit 1`,
        [DATABASE, USER_SESSION],
      );
      if (result.rows.length === 0) return false;
      await sleep(50);
    }
    return true;
  }).catch(() => false);
}

async function createAppDatabase(access: Access): Promise<void> {
  await withClient(access, async (client) => {
    const role = await client.query('select 1 from pg_roles where rolname = $1', [APP_ROLE]);
    if (role.rows.length === 0)
      await client.query(`create role ${APP_ROLE} login password '${appPassword(access)}'`);
    const found = await client.query('select 1 from pg_database where datname = $1', [DATABASE]);
    if (found.rows.length === 0) await client.query(`create database ${DATABASE} owner ${APP_ROLE}`);
  });
}

async function readPid(dataDir: string): Promise<number | null> {
  const text = await readFile(join(clusterOf(dataDir), 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  return Number.isInteger(pid) && pid > 0 ? pid : null;
}

/** Stops the server, which ends its connections, and waits until it has ended. */
async function shutDown(pid: number): Promise<void> {
  try {
    process.kill(pid, 'SIGINT');
  } catch {
    // The process has already ended.
    return;
  }
  for (const deadline = Date.now() + 15_000; isAlive(pid) && Date.now() < deadline; ) await sleep(50);
}

/** The preferred port, so that processes that know it find the server again; if it is taken, any other. */
async function freePort(preferred: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => (preferred === 0 ? reject(error) : resolve(freePort(0))));
    server.listen(preferred, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
