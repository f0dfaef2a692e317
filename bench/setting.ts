import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { pino } from 'pino';
import { migrate, openDatabase } from '../src/database/data-source.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../src/database/embedded.ts';
import { createSecretBox, hashSecret, secretLocation } from '../src/workspaces/secrets.ts';
import { processorUs, type Running, startProcess } from './processes.ts';

export const WORKSPACE_ID = 'bench1';
export const PROJECT_ID = `${WORKSPACE_ID}-p1`;
export const AUTHORIZATION = 'whk_benchmark-authorization';
export const CLIENT_SECRET = 'benchmark_client_secret';
/** The token that the simulated Intercom accepts. */
export const INTERCOM_TOKEN = 'benchmark-token';

/** One durable PostgreSQL for a run; each row has databases of its own. */
export interface Setting {
  readonly quick: boolean;
  createDatabase(name: string): Promise<pg.Client & { readonly url: string }>;
  /** User and system time of all of PostgreSQL's processes so far, µs. */
  postgresUs(): Promise<number>;
  startApp(
    databaseUrl: string,
    role: 'all' | 'web' | 'worker',
    name: string,
    intercomUrl?: string,
  ): Promise<Running>;
  /** `kill -9` of PostgreSQL; a new one on the same port then recovers from its log. */
  crashDatabase(): Promise<void>;
  close(): Promise<void>;
}

export async function createSetting(options: { quick: boolean }): Promise<Setting> {
  const dataDir = await mkdtemp(join(tmpdir(), 'subscription-timeline-bench-'));
  let postgres = await startEmbeddedPostgres(dataDir);
  const key = randomBytes(32);
  const secrets = createSecretBox([key]);
  const clients: pg.Client[] = [];

  return {
    quick: options.quick,
    async createDatabase(name) {
      const admin = new pg.Client({ connectionString: postgres.superuserUrl });
      await admin.connect();
      await admin.query(`create database ${name}`);
      await admin.end();
      const url = new URL(postgres.superuserUrl);
      url.pathname = `/${name}`;
      await migrateDatabase(url.href);
      const client = new pg.Client({ connectionString: url.href });
      client.on('error', () => {});
      await client.connect();
      clients.push(client);
      const token = secrets.encrypt(INTERCOM_TOKEN, secretLocation.accessToken(WORKSPACE_ID));
      await insertWorkspace(client, token);
      return Object.assign(client, { url: url.href });
    },
    async postgresUs() {
      const [client] = clients;
      if (!client) throw new Error('Create a database first');
      const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
      const parentOf = (pid: number): number =>
        Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]);
      const postmaster = parentOf(rows[0]?.pid ?? 0);
      const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8')
        .trim()
        .split(' ');
      return [...children.map(Number), postmaster].reduce((sum, pid) => sum + processorUs(pid), 0);
    },
    startApp: (databaseUrl, role, name, intercomUrl = 'http://127.0.0.1:9') =>
      startServer({
        DATABASE_URL: databaseUrl,
        DATA_DIR: dataDir,
        INTERCOM_API_URL: intercomUrl,
        ENCRYPTION_KEYS: key.toString('base64'),
        ROLE: role,
        BENCH_NAME: name,
      }),
    async crashDatabase() {
      const pid = Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
      process.kill(pid, 'SIGKILL');
      postgres = await startAfterCrash(dataDir);
    },
    async close() {
      for (const client of clients) await client.end();
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export async function migrateDatabase(url: string): Promise<void> {
  const { dataSource, close } = await openDatabase({ url, logger: pino({ level: 'silent' }), poolSize: 4 });
  await migrate(dataSource);
  await close();
}

/** @param accessToken encrypted; `null`: nothing is delivered */
export async function insertWorkspace(client: pg.Client, accessToken: string | null): Promise<void> {
  await client.query(`insert into workspaces (workspace_id, name, access_token) values ($1, 'Bench', $2)`, [
    WORKSPACE_ID,
    accessToken,
  ]);
  await client.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
     values ($1, $2, 'proj1', 'Bench', $3)`,
    [WORKSPACE_ID, PROJECT_ID, hashSecret(AUTHORIZATION)],
  );
}

/** The app as `npm start` runs it. */
export function startServer(env: Readonly<Record<string, string>>): Promise<Running> {
  const settings = {
    INTERCOM_CLIENT_ID: 'bench',
    INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
    INTERCOM_API_URL: 'http://127.0.0.1:9',
    NODE_OPTIONS: '--max-semi-space-size=8',
  };
  return startProcess('src/main.ts', { ...settings, ...env }, ['serve']);
}

/** Retries, because PostgreSQL does not start until all processes of the killed server have ended. */
async function startAfterCrash(dataDir: string): Promise<EmbeddedPostgres> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startEmbeddedPostgres(dataDir);
    } catch (error) {
      if (attempt === 20) throw error;
      await sleep(500);
    }
  }
}

/** Starts the simulated Intercom in a process of its own. `bench/servers/intercom.ts` describes `env`. */
export function startIntercom(env: Readonly<Record<string, string>>): Promise<Running> {
  return startProcess('bench/servers/intercom.ts', {
    WORKSPACE: WORKSPACE_ID,
    TOKEN: INTERCOM_TOKEN,
    ...env,
  });
}
