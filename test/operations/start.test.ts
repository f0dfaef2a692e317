import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../support/wait.ts';
import { run, startServerProcess } from './process.ts';

const APP = { INTERCOM_CLIENT_ID: 'client', INTERCOM_CLIENT_SECRET: 'secret' };

describe('starting and stopping on a bare machine', () => {
  let folder: string;
  let environment: Record<string, string>;
  before(async () => {
    // A folder that only its owner may enter; the database below it runs as another user when that is root.
    folder = await mkdtemp(join(tmpdir(), 'subscription-timeline-start-'));
    await chmod(folder, 0o700);
    await mkdir(join(folder, 'data'));
    environment = { ...APP, DATA_DIR: join(folder, 'data'), PORT: '0' };
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const databasePid = async () =>
    Number(
      (await readFile(join(folder, 'data/postgres/postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0],
    );

  test('an empty data directory: ready within 30 s, and SIGTERM ends all of it', async () => {
    const begunMs = performance.now();
    const server = await startServerProcess(environment);
    assert.ok(performance.now() - begunMs < 30_000);
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);

    const beside = run(['replay', '--workspace', 'abc123', '--failed', '--json'], environment);
    assert.deepEqual([await beside.ended, beside.output()], [0, '{"queued":0}\n']);
    assert.equal(
      (await fetch(`${server.url}/readyz`)).status,
      200,
      'the command line leaves the database running',
    );

    const pid = await databasePid();
    assert.ok(process.kill(pid, 0));
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0);
    assert.match(server.output(), /"msg":"stopped"/);
    assert.throws(() => process.kill(pid, 0), 'the database is stopped too');
  });

  test('the command line works without the server, and leaves nothing running', async () => {
    const alone = run(['replay', '--workspace', 'abc123', '--failed', '--json'], environment);
    assert.deepEqual([await alone.ended, alone.output()], [0, '{"queued":0}\n']);
    assert.ok(!Number.isInteger(await databasePid()) || (await databasePid()) === 0);
  });

  test('SIGINT before it is ready stops it too', async () => {
    const server = run(['serve'], environment);
    await until(async () => (await databasePid()) > 0, 'the database to start');
    server.child.kill('SIGINT');
    assert.equal(await server.ended, 0, server.output());
    assert.equal(await databasePid(), 0);
  });

  test('missing and wrong settings are printed all at once', async () => {
    const server = run(['serve'], {
      NODE_ENV: 'production',
      DATA_DIR: join(folder, 'data'),
      PORT: 'many',
      PUBLIC_URL: 'http://app.example.com',
      DATABASE_READ_URL: 'postgres://replica.example.com/app',
      ENCRYPTION_KEYS: 'short',
      DRAIN_SECONDS: '-1',
      DATABASE_POOL_SIZE: '1',
    });
    assert.equal(await server.ended, 1);
    for (const name of [
      'PORT',
      'PUBLIC_URL',
      'INTERCOM_CLIENT_ID',
      'INTERCOM_CLIENT_SECRET',
      'DATABASE_READ_URL',
      'ENCRYPTION_KEYS',
      'DRAIN_SECONDS',
      'DATABASE_POOL_SIZE',
    ])
      assert.match(server.output(), new RegExp(`^ {2}${name} `, 'm'));
  });

  test('a database that does not answer is named in one line', async () => {
    const server = run(['serve'], {
      ...environment,
      DATABASE_URL: 'postgres://someone:zqsecret@127.0.0.1:1/app',
    });
    assert.equal(await server.ended, 1);
    assert.match(server.output(), /^The database does not answer .*check DATABASE_URL/);
    assert.doesNotMatch(server.output(), /zqsecret/);
  });
});
