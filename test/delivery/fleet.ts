import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { connect as connectSocket, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { migrate, type OpenDatabase, openDatabase } from '../../src/database/data-source.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/database/embedded.ts';
import type { RunningServer } from '../../src/server.ts';
import { createIntercomSimulator, type IntercomSimulator } from '../../src/simulator/intercom/server.ts';
import { CONTACT_ATTRIBUTES } from '../../src/subscription/contact-values.ts';
import { DAY_MS } from '../../src/time.ts';
import { createSecretBox, hashSecret, type SecretBox, secretLocation } from '../../src/workspaces/secrets.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { makeDatabaseFolder } from '../support/folder.ts';
import { BARE_ENVIRONMENT, endWithTests, startServerHere } from '../support/process.ts';
import { until } from '../support/wait.ts';
import {
  AUTHORIZATION,
  CLIENT_ID,
  CLIENT_SECRET,
  logger,
  PROJECT_ID,
  WORKSPACE_ID,
} from '../support/world.ts';
import { NOW_MS, recentEvent } from './support.ts';

/** A process of the app. */
export interface Process {
  /** Where it listens; a worker does not listen. */
  readonly url: string;
  kill(): Promise<void>;
}

export interface Fleet {
  readonly intercom: IntercomSimulator;
  readonly secrets: SecretBox;
  /** The test's own connection, which does not go through the processes' proxy. */
  database(): OpenDatabase['database'];
  start(what: 'all' | 'web' | 'worker' | { callTimeoutMs: number; concurrency: number }): Promise<Process>;
  /** Starts a web server in this process, which cannot be killed. */
  startWebHere(): Promise<Pick<Process, 'url'>>;
  /** Crashes PostgreSQL and starts it again. */
  crashDatabase(whileDown: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Starts real processes on their own PostgreSQL, which is durable and can be crashed. */
export async function createFleet(): Promise<Fleet> {
  const dataDir = await makeDatabaseFolder('fleet');
  let postgres: EmbeddedPostgres = await startEmbeddedPostgres(dataDir);
  let open = await openDatabase({ url: postgres.superuserUrl, logger, poolSize: 4 });
  await migrate(open.dataSource);
  const proxy = await createProxy(() => Number(new URL(postgres.superuserUrl).port));
  const keys = randomBytes(32).toString('base64');
  const secrets = createSecretBox([Buffer.from(keys, 'base64')]);
  const intercom = createIntercomSimulator({
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    rateLimitPer10s: 100_000,
  });
  const listening = await intercom.listen();
  await installIn({ intercom, secrets, database: open.database });
  const processes = new Set<ChildProcess>();
  const servers: RunningServer[] = [];
  const databaseUrl = new URL(postgres.superuserUrl);
  databaseUrl.port = String(proxy.port);
  const environment = {
    PORT: '0',
    DATABASE_URL: databaseUrl.href,
    DATA_DIR: dataDir,
    INTERCOM_CLIENT_ID: CLIENT_ID,
    INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
    INTERCOM_API_URL: listening.url,
    ENCRYPTION_KEYS: keys,
    LOG_LEVEL: 'info',
  };

  return {
    intercom,
    secrets,
    database: () => open.database,
    async start(what) {
      const args =
        typeof what === 'string'
          ? ['src/main.ts', 'serve', '--role', what]
          : ['test/delivery/worker-process.ts'];
      const child = spawn(process.execPath, args, {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: {
          ...BARE_ENVIRONMENT,
          ...environment,
          ...(typeof what === 'string'
            ? {}
            : { CALL_TIMEOUT_MS: String(what.callTimeoutMs), CONCURRENCY: String(what.concurrency) }),
        },
      });
      processes.add(child);
      endWithTests(child);
      const gone = new Promise<void>((resolve) => {
        child.once('exit', () => {
          processes.delete(child);
          resolve();
        });
      });
      const port = await portOf(child);
      return {
        url: `http://127.0.0.1:${port}`,
        async kill() {
          child.kill('SIGKILL');
          await gone;
        },
      };
    },
    async startWebHere() {
      const server = await startServerHere({ ...environment, ROLE: 'web' }, logger);
      servers.push(server);
      return server;
    },
    async crashDatabase(whileDown) {
      await open.close();
      const pid = Number(
        (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0],
      );
      // Immediate shutdown: PostgreSQL replays its log on the next start, as after a power failure.
      process.kill(pid, 'SIGQUIT');
      await until(() => !isAlive(pid), 'PostgreSQL to end');
      await whileDown();
      postgres = await startEmbeddedPostgres(dataDir);
      open = await openDatabase({ url: postgres.superuserUrl, logger, poolSize: 4 });
    },
    async close() {
      for (const child of processes) child.kill('SIGKILL');
      await until(() => processes.size === 0, 'the processes to end');
      await Promise.all(servers.map((server) => server.stop()));
      proxy.close();
      await listening.close();
      await open.close();
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function portOf(child: ChildProcess): Promise<number> {
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout });
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`The process ended with ${code}`)));
    lines.on('line', (line) => {
      if (process.env.TEST_LOG) process.stderr.write(`${line.slice(0, 500)}\n`);
      const entry = line.startsWith('{') ? (JSON.parse(line) as { msg?: string; port?: number }) : {};
      if (entry.msg === 'listening') resolve(entry.port ?? 0);
    });
  });
}

/** Gives a fixed address to a database whose port changes with every start. */
async function createProxy(target: () => number): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connectSocket(target(), '127.0.0.1');
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return {
    port: address.port,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function installIn(fleet: {
  intercom: IntercomSimulator;
  secrets: SecretBox;
  database: OpenDatabase['database'];
}): Promise<void> {
  const { intercom, secrets, database } = fleet;
  intercom.addWorkspace({ id: WORKSPACE_ID });
  for (const attribute of CONTACT_ATTRIBUTES)
    intercom.addAttribute(WORKSPACE_ID, attribute.name, attribute.dataType);
  intercom.addAdmin(WORKSPACE_ID, { id: '7001' });
  await database.query(`insert into workspaces (workspace_id, name, access_token) values ($1, 'Fleet', $2)`, [
    WORKSPACE_ID,
    secrets.encrypt(intercom.issueToken(WORKSPACE_ID), secretLocation.accessToken(WORKSPACE_ID)),
  ]);
  await database.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
     values ($1, $2, 'proj1', 'Test project', $3)`,
    [WORKSPACE_ID, PROJECT_ID, hashSecret(AUTHORIZATION)],
  );
}

/** Customers who each have a history: a purchase, renewals, a cancellation. */
export interface Load {
  /** Webhooks answered 200 so far. */
  answered(): number;
  /** Posts each customer's webhooks in order and the customers in parallel, and repeats each webhook until its 200. */
  post(urls: () => readonly string[]): Promise<void>;
  /** Asserts that every webhook is on its contact once, in order, and that the attributes are those of the last one. */
  verify(fleet: Fleet, timeoutMs?: number): Promise<void>;
}

export function createLoad(fleet: Fleet, name: string, customers: number, eventsEach: number): Load {
  const ids = Array.from({ length: customers }, (_, index) => `${name}-${index}`);
  for (const id of ids) fleet.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
  let answered = 0;

  const bodyOf = (id: string, index: number): string => {
    const type = index === 0 ? 'INITIAL_PURCHASE' : index === eventsEach - 1 ? 'CANCELLATION' : 'RENEWAL';
    return JSON.stringify({
      api_version: '1.0',
      event: recentEvent(id, {
        id: `${id}/${index}`,
        type,
        event_timestamp_ms: NOW_MS - 20 * DAY_MS + index * 60_000,
        ...(type === 'CANCELLATION' ? { cancel_reason: 'UNSUBSCRIBE' } : {}),
      }),
    });
  };

  async function postOne(url: string, body: string): Promise<boolean> {
    try {
      const answer = await fetch(`${url}/webhooks/revenuecat/${PROJECT_ID}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: AUTHORIZATION },
        body,
        signal: AbortSignal.timeout(5_000),
      });
      await answer.text();
      assert.ok(answer.status === 200 || answer.status === 503, `answered ${answer.status}`);
      return answer.status === 200;
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return false;
    }
  }

  return {
    answered: () => answered,
    async post(urls) {
      const next = ids.entries();
      const sender = async (): Promise<void> => {
        for (const [turn, id] of next) {
          for (let index = 0; index < eventsEach; index += 1) {
            // Retries until the response is 200, as RevenueCat does, only sooner.
            for (let attempt = 0; ; attempt += 1) {
              const all = urls();
              const url = all[(turn + attempt) % all.length];
              if (url !== undefined && (await postOne(url, bodyOf(id, index)))) break;
              await sleep(50);
            }
            answered += 1;
          }
        }
      };
      await Promise.all(Array.from({ length: 32 }, sender));
    },
    async verify(on, timeoutMs = 30_000) {
      await until(
        async () => {
          const left = await on.database().query(
            `select where exists (select 1 from webhooks
                                   where workspace_id = $1 and event_id like $2 and processed_at is null)
                       or exists (select 1 from ${EVENT_STATES}
                                   where workspace_id = $1 and event_id like $2 and delivery <> 'delivered')`,
            [WORKSPACE_ID, `${name}-%`],
          );
          return left.length === 0;
        },
        'everything to be delivered',
        timeoutMs,
      );
      const taken = Map.groupBy(on.intercom.state.events, (event) => event.externalId);
      const expected = Array.from({ length: eventsEach }, (_, index) => index);
      for (const id of ids) {
        const sent = taken.get(id)?.map((event) => Number(String(event.metadata.event_id).split('/')[1]));
        assert.deepEqual(sent, expected, `events of ${id}`);
      }
      const attributes = new Map(
        [...on.intercom.state.contacts.values()].map((contact) => [contact.externalId, contact]),
      );
      await until(
        () => ids.every((id) => attributes.get(id)?.customAttributes.rc_last_event === 'cancellation'),
        'the last attributes',
      );
      for (const id of ids) {
        assert.equal(attributes.get(id)?.customAttributes.subscription_status, 'cancelled');
        assert.equal(attributes.get(id)?.customAttributes.rc_will_renew, false);
      }
    },
  };
}
