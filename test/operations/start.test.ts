import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { addBackfillCommand } from '../../src/backfill/command.ts';
import { addMigrateCommand } from '../../src/database/command.ts';
import { openDataDir } from '../../src/database/data-dir.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { launch } from '../../src/database/postgres-programs.ts';
import { addReplayCommand } from '../../src/delivery/command.ts';
import { freePort } from '../../src/simulator/listen.ts';
import { HOUR_MS } from '../../src/time.ts';
import { loadEncryptionKeys } from '../../src/workspaces/secrets.ts';
import { createTestDatabase } from '../support/database.ts';
import { makeDatabaseFolder } from '../support/folder.ts';
import {
  findProcesses,
  runCommandHere,
  type ServerProcess,
  startCommand,
  startServerProcess,
} from '../support/process.ts';
import { until } from '../support/wait.ts';

const APP = { INTERCOM_CLIENT_ID: 'client', INTERCOM_CLIENT_SECRET: 'secret' };

/** The limit is 30 s on a quiet machine. With 20 processes on two cores, Node alone took 20 s to start. */
const STARTED_WITHIN_MS = 60_000;

describe('starting and stopping on a bare machine', () => {
  let folder: string;
  let environment: Record<string, string>;
  let first: ServerProcess;
  before(async () => {
    // Only its owner may enter this folder. If the owner is root, the database below it runs as another user.
    folder = await makeDatabaseFolder('start');
    await chmod(folder, 0o700);
    await mkdir(join(folder, 'data'));
    environment = { ...APP, DATA_DIR: join(folder, 'data'), PORT: '0' };
  });
  after(async () => {
    first?.child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  const databasePid = async () =>
    Number(
      (await readFile(join(folder, 'data/postgres/postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0],
    );

  const run = async (args: readonly string[], changes: Readonly<Record<string, string>> = {}) => {
    const command = startCommand(args, { ...environment, ...changes });
    return { code: (await command.ended).code, output: command.output() };
  };
  const migrateHere = (changes: Readonly<Record<string, string>> = {}) =>
    runCommandHere(addMigrateCommand, ['migrate', '--json'], { ...environment, ...changes });
  const UP_TO_DATE = { code: 0, output: '{"up_to_date":true}\n' };

  test('an empty data directory: ready in time', async () => {
    const begunMs = performance.now();
    const port = await freePort();
    const starting = startServerProcess({ ...environment, PORT: String(port) });
    // A proxy tries another process when a connection is refused, but not when it gets a 503.
    const answers = new Set<string | number>();
    await until(
      async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/readyz`).then(
          ({ status }) => status,
          (error) => String(error.cause?.code),
        );
        answers.add(answer);
        return answer === 200;
      },
      'the server to be ready',
      STARTED_WITHIN_MS,
    );
    // The app tries the port by opening it for less than a millisecond. A connection reset then is no response either.
    answers.delete('ECONNRESET');
    assert.deepEqual([...answers], ['ECONNREFUSED', 200]);
    first = await starting;
    assert.ok(performance.now() - begunMs < STARTED_WITHIN_MS);
    assert.equal((await fetch(`${first.url}/healthz`)).status, 200);

    assert.deepEqual(await run(['migrate', '--json']), UP_TO_DATE);
    assert.equal(
      (await fetch(`${first.url}/readyz`)).status,
      200,
      'the command line leaves the database running',
    );

    const pid = await databasePid();
    assert.ok(process.kill(pid, 0));
    if (process.platform === 'linux')
      assert.doesNotMatch(await readFile(`/proc/${pid}/environ`, 'utf8'), /INTERCOM/, 'no secret of ours');
  });

  test('the embedded database is restarted when it was killed, and the server continues', async () => {
    const before = await databasePid();
    assert.ok(before > 0, 'it runs');
    process.kill(before, 'SIGKILL');
    await until(
      () => first.output().includes('had stopped and was restarted'),
      'the database to be started again',
    );
    assert.notEqual(await databasePid(), before);
    await until(async () => (await fetch(`${first.url}/readyz`)).ok, 'the server to be ready again');
  });

  test('SIGTERM stops everything, the database too', async () => {
    const pid = await databasePid();
    first.child.kill('SIGTERM');
    assert.equal((await first.ended).code, 0);
    assert.match(first.output(), /"msg":"stopped"/);
    assert.throws(() => process.kill(pid, 0), 'the database is stopped too');
    assert.equal(await databasePid(), 0, 'nothing stays behind');
  });

  test('a database without its password is named, and not replaced by an empty one', async () => {
    const file = join(folder, 'data/postgres.json');
    const password = await readFile(file);
    // As left behind by a write to a full disk, without the old content.
    await writeFile(file, '');
    await assert.rejects(migrateHere(), {
      message: /^\S+data\/postgres is a database, and \S+data\/postgres\.json with its password is missing/,
    });
    await writeFile(file, password);
  });

  test('with it again the command line works without the server, takes over the lock of a killed start, and leaves nothing running', async () => {
    const lock = join(folder, 'data/postgres.lock');
    await writeFile(lock, '');
    await utimes(lock, new Date(0), new Date(0));
    assert.equal((await migrateHere()).stdout, UP_TO_DATE.output);
    await assert.rejects(readFile(lock), { code: 'ENOENT' });
    assert.equal(await databasePid(), 0);
  });

  test('SIGINT before it is ready stops it too', async () => {
    const server = startCommand(['serve'], environment);
    await until(async () => (await databasePid()) > 0, 'the database to start', STARTED_WITHIN_MS);
    server.child.kill('SIGINT');
    assert.equal((await server.ended).code, 0, server.output());
    assert.equal(await databasePid(), 0);
  });

  test('a first start that is killed takes initdb with it and leaves no password, and two that start together after it create and share one database, which the last one stops', async (t) => {
    const interrupted = { DATA_DIR: join(folder, 'interrupted') };
    const files = async () => (await readdir(interrupted.DATA_DIR).catch(() => [])).sort();
    const hasPassword = async () => (await files()).some((name) => name.startsWith('.initdb'));
    const creates = `--pgdata=${join(interrupted.DATA_DIR, 'postgres.new')}`;
    const initdb = async () => (await findProcesses((args) => args.includes(creates)))[0];
    const server = startCommand(['migrate'], { ...environment, ...interrupted });
    await until(async () => (await initdb()) !== undefined, 'the database to be created', STARTED_WITHIN_MS);
    // Pauses initdb, as on a busy machine, so that it is not done before the next start.
    const pid = String(await initdb());
    process.kill(Number(pid), 'SIGSTOP');
    t.after(() => execFile('kill', ['-KILL', pid]));
    server.child.kill('SIGKILL');
    await until(async () => !(await hasPassword()), 'the password to be removed');
    await until(async () => (await initdb()) === undefined, 'initdb to end');
    const both = [run(['migrate', '--json'], interrupted), run(['migrate', '--json'], interrupted)];
    assert.deepEqual(await Promise.all(both), [UP_TO_DATE, UP_TO_DATE]);
    assert.deepEqual(await files(), ['postgres', 'postgres.json']);
    await assert.rejects(readFile(join(interrupted.DATA_DIR, 'postgres/postmaster.pid')), { code: 'ENOENT' });
  });

  test('a process that joined the database and has not used it yet keeps it running', async () => {
    // A lock left by a process that was killed before the clock was set back.
    const lock = join(folder, 'data/postgres.lock');
    await writeFile(lock, '');
    const later = new Date(Date.now() + HOUR_MS);
    await utimes(lock, later, later);
    const first = await startEmbeddedPostgres(join(folder, 'data'));
    const joined = await startEmbeddedPostgres(join(folder, 'data'));
    await first.stop();
    const client = new pg.Client(joined.url);
    await client.connect();
    await client.end();
    await joined.stop();
    assert.equal(await databasePid(), 0);
  });

  test('a port in use is named in one line, and nothing is left running', async () => {
    const other = createServer().listen(0);
    const { port } = other.address() as AddressInfo;
    const ended = await run(['serve'], { LOG_LEVEL: 'warn', PORT: String(port) });
    other.close();
    assert.deepEqual(ended, {
      code: 1,
      output: `PORT ${port} cannot be used: another process listens there. Set PORT to another one.\n`,
    });
    assert.equal(await databasePid(), 0);
  });

  test('an unknown workspace is named, also without further options', async (t) => {
    const db = await createTestDatabase();
    t.after(() => db.close());
    const keys = randomBytes(32).toString('base64');
    const settings = { ...APP, DATABASE_URL: db.url, ENCRYPTION_KEYS: keys };
    for (const [name, add] of [
      ['replay', addReplayCommand],
      ['backfill', addBackfillCommand],
    ] as const) {
      const ran = runCommandHere(add, [name, '--workspace', 'nobody', '--json'], settings);
      await assert.rejects(ran, { name: 'AppError', message: 'No workspace nobody has the app installed' });
    }
  });

  test('an invalid time is refused before anything is queued', async () => {
    await assert.rejects(
      runCommandHere(addReplayCommand, ['replay', '--workspace', 'w', '--since', '01/02/2026'], {}),
      /^AppError: --since 01\/02\/2026 is not an ISO time/,
    );
  });

  test('a reader that closes the pipe ends a command without an error of ours', async () => {
    const doctor = startCommand(['doctor'], { DATA_DIR: join(folder, 'absent') });
    doctor.child.stdout?.destroy();
    const { code, stderr } = await doctor.ended;
    assert.deepEqual([code, stderr], [141, '']);
  });

  test('all configuration errors are reported together', async () => {
    const server = startCommand(['serve'], {
      NODE_ENV: 'production',
      DATA_DIR: join(folder, 'data'),
      PORT: 'many',
      PUBLIC_URL: 'http://app.example.com',
      DATABASE_READ_URL: 'postgres://replica.example.com/app',
      ENCRYPTION_KEYS: 'short',
      DRAIN_SECONDS: '-1',
      DATABASE_POOL_SIZE: '1',
    });
    assert.equal((await server.ended).code, 1);
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
    const { code, output } = await run(['migrate'], {
      DATABASE_URL: 'postgres://someone:zqsecret@127.0.0.1:1/app',
    });
    assert.equal(code, 1);
    assert.match(output, /^The database cannot be used: .*\nNothing listens there.* DATABASE_URL/);
    assert.doesNotMatch(output, /zqsecret/);
  });

  test('a database that cannot be created is explained without a stack', async () => {
    const dataDir = await mkdtemp(join(folder, 'small-'));
    // Limits each file to 1 MB instead of filling a disk, for which the test would need its own disk.
    const limited = ['-c', 'ulimit -f 2000; exec "$0" "$@"', process.execPath];
    const server = spawn('sh', [...limited, join(import.meta.dirname, '../../src/main.ts'), 'serve'], {
      env: { PATH: process.env.PATH, ...environment, DATA_DIR: dataDir },
      cwd: folder,
    });
    let output = '';
    server.stderr.on('data', (chunk) => (output += String(chunk)));
    const code = await new Promise((resolve) => server.once('close', resolve));
    assert.equal(code, 1);
    assert.match(output, /^The database could not be created in DATA_DIR .*:\n./);
    assert.doesNotMatch(output, /^\s+at /m);
  });

  test('a key file without a key, left by an interrupted start, is named and not replaced', async () => {
    const dataDir = await mkdtemp(join(folder, 'key-'));
    const file = join(dataDir, 'encryption.key');
    await writeFile(file, '');
    await assert.rejects(loadEncryptionKeys({ encryptionKeys: [], dataDir }), {
      name: 'AppError',
      message: new RegExp(`^${file} holds no key: .* Restore it from a backup\\. .*delete it`),
    });
    assert.equal(await readFile(file, 'utf8'), '');
  });

  test('a process that starts before another one has written the key that it made waits for it', async () => {
    const dataDir = await mkdtemp(join(folder, 'two-'));
    const file = join(dataDir, 'encryption.key');
    await writeFile(file, '');
    const loading = loadEncryptionKeys({ encryptionKeys: [], dataDir });
    // If it did not wait, it would have failed by then.
    await Promise.race([loading, sleep(200)]);
    const key = Buffer.alloc(32, 7);
    await writeFile(file, key.toString('base64'));
    assert.deepEqual(await loading, [key]);
  });

  test('a database that does not start says why, and not what its log says of an earlier crash', async () => {
    const postgres = join(folder, 'postgres-that-ends.sh');
    const line = (text: string): string => `echo '2026-11-28 11:34:00.000 UTC [7] ${text}' >&2`;
    await writeFile(
      postgres,
      [
        '#!/bin/sh',
        line('LOG:  database system was interrupted while in recovery'),
        line('HINT:  This probably means that some data is corrupted'),
        line('FATAL:  could not write to file "pg_wal/1": No space left on device'),
        line('HINT:  Free some room.'),
        'exit 1',
      ].join('\n'),
      { mode: 0o700 },
    );
    const programs = { binaries: { initdb: '', postgres }, prefix: [], owner: null };
    const access = { port: 1, password: '' };
    await assert.rejects(launch(programs, folder, { access, fast: true, onSpawned: () => {} }), {
      message:
        'The embedded PostgreSQL ended with code 1:\nFATAL:  could not write to file "pg_wal/1": No space left on device\nHINT:  Free some room.',
    });
  });

  test('an .env that cannot be read is named once, by the server and by commands', async () => {
    const home = await mkdtemp(join(folder, 'home-'));
    await mkdir(join(home, '.env'));
    for (const args of [['serve'], ['replay', '--workspace', 'abc123']]) {
      const started = spawn(process.execPath, [join(import.meta.dirname, '../../src/main.ts'), ...args], {
        env: { PORT: 'none' },
        cwd: home,
      });
      let output = '';
      started.stderr.on('data', (chunk) => (output += String(chunk)));
      await new Promise((resolve) => started.once('close', resolve));
      assert.match(output, /^\.env cannot be read: EISDIR.*\nThese settings are missing/, args[0]);
    }
  });

  test('a data directory that cannot be used is named in one line, by the server and by commands', async () => {
    const file = import.meta.filename;
    const below = join(file, 'below');
    const named = (dataDir: string, cause: string) =>
      `DATA_DIR ${dataDir} cannot be used: ${cause}. Set DATA_DIR to a folder that this user may write, or set both DATABASE_URL and ENCRYPTION_KEYS.`;
    assert.deepEqual(await run(['serve'], { DATA_DIR: file }), {
      code: 1,
      output: `${named(file, 'it is not a folder')}\n`,
    });
    await assert.rejects(migrateHere({ DATA_DIR: below }), {
      message: named(below, 'part of its path is not a folder'),
    });
    // Node's own recursive mkdir never returns there.
    if (process.platform === 'linux')
      await assert.rejects(openDataDir('/proc/x'), {
        message: named('/proc/x', 'it cannot be created there'),
      });
  });
});
