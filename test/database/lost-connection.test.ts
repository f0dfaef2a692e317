import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { connect as connectSocket, createServer, type Socket } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import { type OpenDatabase, openDatabase } from '../../src/database/data-source.ts';
import { DELIVERY_CHANNEL, isPooled, notifyDelivery } from '../../src/database/sql.ts';
import { createWorkerConnection } from '../../src/database/worker-connection.ts';
import { isDatabaseUnavailable } from '../../src/errors.ts';
import { openJobs } from '../../src/jobs/jobs.ts';
import { createLogger } from '../../src/logger.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/wait.ts';
import { logger } from '../support/world.ts';

/** ReadyForQuery: a connection has been opened, or a statement has ended. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const FIELDS = 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0';
/** The ErrorResponse with which a stopping server ends a connection. */
const ENDED = Buffer.concat([
  Buffer.from('E'),
  Buffer.from([0, 0, 0, FIELDS.length + 4]),
  Buffer.from(FIELDS),
]);

/** A proxy that can be made to end each connection as soon as it is open, in the same packet. */
async function createStoppingServer(target: URL) {
  const sockets = new Set<Socket>();
  let isStopping = false;
  let ended = 0;
  const server = createServer((client) => {
    const upstream = connectSocket(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      if (!isStopping || !chunk.subarray(-READY.length).equals(READY)) return void client.write(chunk);
      ended += 1;
      client.end(Buffer.concat([chunk, ENDED]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const url = new URL(target);
  url.port = String(address.port);
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: url.href,
    cut,
    /** How many connections were ended right after they were opened. */
    ended: () => ended,
    stop() {
      isStopping = true;
      ended = 0;
      cut();
    },
    /** From now on, the open connections transfer nothing, and do not end. */
    silence() {
      for (const socket of sockets) socket.unpipe().removeAllListeners('data').resume();
    },
    resume() {
      isStopping = false;
    },
    close() {
      cut();
      server.close();
    },
  };
}

/** Short enough for a test, and long enough for a busy machine to open a connection and answer a statement. */
const TIMEOUT_MS = 1_000;

describe('a lost database connection', () => {
  let direct: TestDatabase;
  let server: Awaited<ReturnType<typeof createStoppingServer>>;
  let open: OpenDatabase;

  before(async () => {
    direct = await createTestDatabase();
    server = await createStoppingServer(new URL(direct.url));
    open = await openDatabase({ url: server.url, logger, poolSize: 5 });
  });
  after(async () => {
    await open?.close();
    server?.close();
    await direct?.close();
  });

  const work = () => open.database.transaction((sql) => sql.query('select 1 as one'));

  test('ended while it is being opened: what needed it fails, and the process continues', async () => {
    server.stop();
    await until(() => open.database.connections().total === 0, 'the pool to notice');
    for (let turn = 0; turn < 5; turn += 1) await assert.rejects(work(), isDatabaseUnavailable);
    assert.ok(server.ended() >= 5);
    server.resume();
    assert.deepEqual(await work(), [{ one: 1 }]);
  });

  test('idle: it is probed within a minute, before a router forgets it', {
    skip: process.platform !== 'linux',
  }, async () => {
    await work();
    const fields = (line: string) => line.trim().split(/ +/);
    const sockets = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map(fields);
    /** To find the sockets to the server. Kernel timer 2 is the keepalive probe, in hundredths of a second. */
    const portOf = (address = '') => Number.parseInt(address.split(':')[1] ?? '', 16);
    const timers = sockets.filter(([, , remote]) => portOf(remote) === Number(new URL(server.url).port));
    assert.ok(timers.length > 0);
    for (const [, , , , , timer = ''] of timers) {
      const [kind, ticks = ''] = timer.split(':');
      assert.equal(kind, '02');
      assert.ok(Number.parseInt(ticks, 16) <= 60 * 100, `in ${Number.parseInt(ticks, 16) / 100} s`);
    }
  });

  test('lost within a transaction: its next statement says that the database is unavailable', async () => {
    await assert.rejects(
      open.database.transaction(async (sql) => {
        await sql.query('select 1');
        server.cut();
        await until(() => open.database.connections().total === 0, 'the pool to notice');
        await sql.query('select 1');
      }),
      isDatabaseUnavailable,
    );
  });

  test('refused, without a route or without trust in its certificate, and not where a statement is wrong', async () => {
    const errorOf = (code: string) => Object.assign(new Error('x'), { code });
    for (const code of [
      '28P01',
      '28000',
      '3D000',
      '53300',
      '57014',
      '57P05',
      '55P03',
      '58030',
      '25006',
      '25P03',
      '25P04',
    ])
      assert.ok(isDatabaseUnavailable(errorOf(code)), code);
    for (const code of [
      'EAI_AGAIN',
      'EHOSTUNREACH',
      'ENETUNREACH',
      'CERT_HAS_EXPIRED',
      'ERR_TLS_CERT_ALTNAME_INVALID',
    ])
      assert.ok(isDatabaseUnavailable(new Error('y', { cause: errorOf(code) })), code);
    for (const code of ['23505', '22021', '40P01', '42703', '25P02', 'ERR_INVALID_ARG_TYPE', 'not_found'])
      assert.ok(!isDatabaseUnavailable(errorOf(code)), code);
    const unknown = new URL(server.url);
    unknown.pathname = '/renamed';
    await assert.rejects(openDatabase({ url: unknown.href, logger }), isDatabaseUnavailable);
  });

  test('silent without an end: statements fail in time, and new connections replace them', async () => {
    const limited = await openDatabase({
      url: server.url,
      logger,
      poolSize: 2,
      statementTimeoutMs: TIMEOUT_MS,
    });
    const { database } = limited;
    await database.query('select 1');
    server.silence();
    await assert.rejects(database.query('select 1'), isDatabaseUnavailable);
    await assert.rejects(
      database.transaction((sql) => sql.query('select 1')).then(() => database.query('select pg_sleep(60)')),
      isDatabaseUnavailable,
    );
    assert.deepEqual(await database.query('select 1 as one'), [{ one: 1 }]);
    await limited.close();
  });

  test('a statement that is given up ends on the server too', async () => {
    const limited = await openDatabase({
      url: server.url,
      logger,
      statementTimeoutMs: TIMEOUT_MS,
    });
    const given = 'select pg_sleep(60) as given_up';
    await assert.rejects(limited.database.query(given), isDatabaseUnavailable);
    const isEnded = async () => {
      const sql = `select 1 from pg_stat_activity where query = $1 and state = 'active'`;
      return (await direct.database.query(sql, [given])).length === 0;
    };
    await until(isEnded, 'the statement to end');
    await limited.close();
  });

  test('silent without an end, before it is known whether a pooler is between: another one answers next', async () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 1, query_timeout: TIMEOUT_MS });
    (await pool.connect()).release();
    server.silence();
    await assert.rejects(isPooled(pool), isDatabaseUnavailable);
    assert.equal(await isPooled(pool), false);
    await pool.end();
  });

  /** Advances the mocked timers by `ms`, and lets the code that waits for them run. */
  async function pass(t: TestContext, ms: number): Promise<void> {
    await passEventLoop();
    t.mock.timers.tick(ms);
    await passEventLoop();
  }
  const passEventLoop = async (): Promise<void> => {
    for (let count = 0; count < 5; count += 1) await new Promise((resolve) => setImmediate(resolve));
  };

  test('silent without an end: it connects again, and hears what comes then', async (t) => {
    const heard: string[] = [];
    let ready = 0;
    t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    const connection = createWorkerConnection({
      sessionUrl: server.url,
      channels: { [DELIVERY_CHANNEL]: (payload) => heard.push(payload) },
      logger,
      onReady: () => (ready += 1),
    });
    connection.start();
    while (ready === 0) await passEventLoop();
    const first = connection.workerId();
    server.silence();
    for (let passed = 0; connection.workerId() === first && passed < 100; passed += 1) await pass(t, 10_000);
    assert.notEqual(connection.workerId(), first, 'the connection was lost');
    await pass(t, 500);
    t.mock.timers.reset();
    await until(() => ready === 2, 'the connection to be ready again');
    await notifyDelivery(direct.database, 'w1');
    await until(() => heard.includes('w1'), 'the notification');
    await connection.stop();
  });

  test('refused for a while: the job queue says so in one line', async () => {
    const lines: string[] = [];
    const logger = createLogger('warn', { write: (line) => lines.push(line) });
    const jobs = await openJobs({ databaseUrl: server.url, backend: 'postgres', listen: false, logger });
    await jobs.register({ 'workspace.health': { workers: 'interactive', run: async () => {} } });
    await jobs.work();
    server.stop();
    await until(() => server.ended() >= 3, 'three attempts');
    server.resume();
    await jobs.stop();
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).msg),
      ['job queue'],
    );
  });

  test('silent without an end: queuing a job fails in time', async (t) => {
    const jobs = await openJobs({
      databaseUrl: server.url,
      backend: 'postgres',
      listen: false,
      queueOnly: true,
      logger,
    });
    const job = { workspaceId: 'w1' };
    await jobs.register({ 'workspace.health': { workers: 'interactive', run: async () => {} } });
    server.silence();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const sentMs = performance.now();
    let isRefused = false;
    const refused = assert.rejects(jobs.send('workspace.health', job), isDatabaseUnavailable).finally(() => {
      isRefused = true;
    });
    while (!isRefused) await pass(t, 10_000);
    t.mock.timers.reset();
    await refused;
    // The pool's own 10 s timer for idle connections is not mocked. It must not be what ended the call.
    assert.ok(performance.now() - sentMs < 8_000);
    // The pool's other connections are silent too.
    server.cut();
    await jobs.stop();
  });
});
