import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { migrate, openDatabase } from '../../src/database/data-source.ts';
import type { RunningServer } from '../../src/server.ts';
import { freePort } from '../../src/simulator/listen.ts';
import { DAY_MS } from '../../src/time.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { startServerHere } from '../support/process.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';
import { answers } from './answers.ts';

/**
 * `npm run test:pgdump`: tests the backup and restore commands of docs/operations.md with the machine's PostgreSQL (15
 * or newer, in `PG_BIN` or in Debian's folder). It is a separate command because the PostgreSQL from npm has no
 * pg_dump, and an older pg_dump refuses to dump it.
 */
const BIN = binariesOrExit();

function binariesOrExit(): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const found = [process.env.PG_BIN, ...versions.map((version) => join(debian, version, 'bin'))].find(
    (folder) =>
      folder !== undefined && existsSync(join(folder, 'postgres')) && existsSync(join(folder, 'pg_dump')),
  );
  if (found) return found;
  process.stderr.write(
    'No PostgreSQL with pg_dump was found. On Debian or Ubuntu: apt-get install postgresql\n',
  );
  process.exit(1);
}

/** PostgreSQL refuses to run as root. */
const IS_ROOT = process.getuid?.() === 0;
const NOBODY = { uid: 65534, gid: 65534 };
const PASSWORD = 'by-hand';

function command(program: string, args: readonly string[]): [string, string[]] {
  const as = ['setpriv', `--reuid=${NOBODY.uid}`, `--regid=${NOBODY.gid}`, '--clear-groups', '--'];
  const [first = '', ...rest] = [...(IS_ROOT ? as : []), join(BIN, program), ...args];
  return [first, rest];
}

function runTool(program: string, ...args: string[]): string {
  const [first, rest] = command(program, args);
  return execFileSync(first, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

interface Running {
  /** For the app's own role, which has no rights beyond those of its database's owner. */
  url(database: string): string;
  adminUrl: string;
  stop(): Promise<void>;
}

async function startPostgres(dataDir: string): Promise<Running> {
  const port = await freePort();
  const [program, args] = command('postgres', [
    ...['-D', dataDir, '-c', `port=${port}`, '-c', 'listen_addresses=127.0.0.1'],
    ...['-c', 'unix_socket_directories=', '-c', 'max_connections=100'],
  ]);
  const child: ChildProcess = spawn(program, args, { stdio: process.env.TEST_LOG ? 'inherit' : 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const address = `${PASSWORD}@127.0.0.1:${port}`;
  const adminUrl = `postgres://operator:${address}/postgres`;
  await until(() => answers(adminUrl), 'PostgreSQL to answer');
  return {
    url: (database) => `postgres://timeline:${address}/${database}`,
    adminUrl,
    async stop() {
      child.kill('SIGINT');
      await ended;
    },
  };
}

const CUSTOMERS = 30;

describe(`backing up and restoring with ${runTool('pg_dump', '--version').trim()}`, () => {
  let folder: string;
  let postgres: Running;
  let product: Product;
  const key = randomBytes(32).toString('base64');
  const servers: RunningServer[] = [];
  let sent = 0;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'subscription-timeline-pgdump-'));
    if (IS_ROOT) await chown(folder, NOBODY.uid, NOBODY.gid);
    runTool(
      'initdb',
      '--pgdata',
      join(folder, 'data'),
      '--username=operator',
      '--auth=trust',
      '--encoding=UTF8',
    );
    postgres = await startPostgres(join(folder, 'data'));
    runTool(
      'createuser',
      '--host=127.0.0.1',
      `--port=${new URL(postgres.adminUrl).port}`,
      '--username=operator',
      'timeline',
    );
    runTool('createdb', '--maintenance-db', postgres.adminUrl, '--owner=timeline', 'timeline');
    const url = postgres.url('timeline');
    const open = await openDatabase({ url, logger, poolSize: 5 });
    await migrate(open.dataSource);
    product = await createProduct({ db: { ...open, url }, environment: { ENCRYPTION_KEYS: key } });
    for (let index = 0; index < CUSTOMERS; index += 1) {
      product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `customer-${index}` });
      await receive(index);
    }
    await delivered(CUSTOMERS);
    // An event that Intercom refuses, which the copies contain as failed.
    product.intercom.faults.add({ pathPrefix: '/events', status: 422, times: 1 });
    product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'customer-refused' });
    await receive('refused');
    await until(async () => (await failed(product.db.database)) === 1, 'an event to fail');
  });
  after(async () => {
    for (const server of servers) await server.stop();
    await product?.close();
    await postgres?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function receive(customer: number | string): Promise<void> {
    sent += 1;
    const id = `customer-${customer}`;
    const nowMs = Date.now();
    const answer = await fetch(product.webhook.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
      body: JSON.stringify({
        event: eventBody({
          id: `dump-${sent}`,
          app_user_id: id,
          original_app_user_id: id,
          aliases: [id],
          transaction_id: `t-${id}`,
          original_transaction_id: `t-${id}`,
          event_timestamp_ms: nowMs - DAY_MS + sent * 1_000,
          purchased_at_ms: nowMs - DAY_MS,
          expiration_at_ms: nowMs + 29 * DAY_MS,
        }),
      }),
    });
    assert.equal(answer.status, 200);
  }
  const delivered = (count: number) =>
    until(() => product.intercom.state.events.length >= count, `${count} events on contacts`);
  const failed = async (database: Product['db']['database']): Promise<number> => {
    const [row] = await database.query<{ n: number }>(
      `select count(*)::int as n from ${EVENT_STATES} where workspace_id = $1 and delivery = 'failed'`,
      [WORKSPACE_ID],
    );
    return row?.n ?? 0;
  };

  /** Rows of each table of the app and of pg-boss. */
  async function countRows(url: string): Promise<Record<string, number>> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const tables = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables
        where schemaname in ('public', 'pgboss') order by 1`,
    );
    const counts: Record<string, number> = {};
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ n: number }>(`select count(*)::int as n from ${name}`);
      counts[name] = rows[0]?.n ?? 0;
    }
    await client.end();
    return counts;
  }

  async function startOn(url: string, encryptionKey = key): Promise<RunningServer> {
    const own = { DATABASE_URL: url, ENCRYPTION_KEYS: encryptionKey };
    const server = await startServerHere({ ...product.environment, ...own }, logger);
    servers.push(server);
    return server;
  }

  async function cardSays(server: RunningServer, customer: number): Promise<string> {
    const contact = [...product.intercom.state.contacts.values()].find(
      ({ externalId }) => externalId === `customer-${customer}`,
    );
    const conversation = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [contact?.id ?? ''],
      body: '<p>Hello</p>',
    });
    const answer = await product.intercom.callCanvas({
      flow: 'initialize',
      adminId: '7001',
      conversationId: conversation.id,
      contactId: contact?.id ?? '',
      appUrl: server.url,
      workspaceId: WORKSPACE_ID,
      place: 'inbox',
    });
    return JSON.stringify(answer);
  }

  test('a dump taken while webhooks arrive is restored into an empty database, and the app continues with it', async () => {
    const file = join(folder, 'timeline.dump');
    let stop = false;
    const arriving = (async () => {
      for (let index = 0; !stop; index += 1) await receive(index % CUSTOMERS);
    })();
    const began = sent;
    runTool('pg_dump', '--format=custom', `--file=${file}`, postgres.url('timeline'));
    await until(() => sent > began, 'a webhook to arrive');
    stop = true;
    await arriving;
    assert.ok((await stat(file)).size > 0);

    runTool('createdb', '--maintenance-db', postgres.adminUrl, '--owner=timeline', 'restored');
    const restoredUrl = postgres.url('restored');
    runTool('pg_restore', '--no-owner', '--exit-on-error', '--jobs=2', `--dbname=${restoredUrl}`, file);
    const counts = await countRows(restoredUrl);
    assert.ok((counts['public.events'] ?? 0) >= CUSTOMERS);
    const client = new pg.Client({ connectionString: restoredUrl });
    await client.connect();
    const { rows } = await client.query(
      `select 1 from events e where not exists (select 1 from subscribers s
        where s.workspace_id = e.workspace_id and s.subscriber_id = e.subscriber_id)`,
    );
    assert.equal(rows.length, 0, 'one moment: no event without its subscriber');
    await client.end();

    // From now on, the original server is stopped.
    await product.stop();
    const before = new Set(product.intercom.state.events.map((event) => event.metadata.event_id)).size;
    const server = await startOn(restoredUrl);
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    assert.match(await cardSays(server, 3), /Next charge/);
    assert.equal(await failed(server.connected.database), 1);
    await until(async () => {
      const [row] = await server.connected.database.query<{ n: number }>(
        `select count(*)::int as n from ${EVENT_STATES} where workspace_id = $1 and delivery = 'pending'`,
        [WORKSPACE_ID],
      );
      return row?.n === 0;
    }, 'what waited in the dump to be delivered');
    const ids = product.intercom.state.events.map((event) => event.metadata.event_id);
    assert.equal(ids.length, new Set(ids).size, 'nothing is on a contact twice');
    assert.ok(ids.length >= before);
  });

  test('without the key that encrypted them the secrets of a restored database cannot be decrypted, and it says so', async () => {
    runTool('createdb', '--maintenance-db', postgres.adminUrl, '--owner=timeline', 'keyless');
    runTool(
      'pg_restore',
      '--no-owner',
      '--exit-on-error',
      `--dbname=${postgres.url('keyless')}`,
      join(folder, 'timeline.dump'),
    );
    let output = '';
    try {
      execFileSync(process.execPath, ['src/main.ts', 'rotate-keys', '--json'], {
        cwd: join(import.meta.dirname, '../..'),
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH,
          DATABASE_URL: postgres.url('keyless'),
          ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    } catch (error) {
      output = String((error as { stderr?: unknown }).stderr);
    }
    assert.match(output, /No key decrypts workspaces\.access_token/);
  });

  test('a base backup starts as a server of its own with every row', async () => {
    const copy = join(folder, 'copy');
    await mkdir(copy, { mode: 0o700 });
    if (IS_ROOT) await chown(copy, NOBODY.uid, NOBODY.gid);
    runTool(
      'pg_basebackup',
      `--dbname=${postgres.adminUrl}`,
      `--pgdata=${copy}`,
      '--wal-method=stream',
      '--checkpoint=fast',
    );
    runTool('pg_verifybackup', copy);
    const expected = await countRows(postgres.url('timeline'));
    const server = await startPostgres(copy);
    assert.deepEqual(await countRows(server.url('timeline')), expected);
    await server.stop();
  });
});
