import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDatabaseFolder } from '../support/folder.ts';
import { findProcesses, startCommand } from '../support/process.ts';
import { until } from '../support/wait.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('signals', () => {
  let folder: string;
  let temporary: string;
  let dataDir: string;
  const started: { child: ChildProcess }[] = [];
  let server: Awaited<ReturnType<typeof startServer>>;

  before(async () => {
    folder = await makeDatabaseFolder('signals');
    temporary = await mkdtemp(join(folder, 'tmp-'));
    dataDir = join(folder, 'data');
  });
  after(async () => {
    for (const { child } of started)
      if (child.exitCode === null && child.signalCode === null) kill(child, 'SIGKILL');
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
  });

  /** Runs npm as a terminal does: npm and its child processes share a separate process group. */
  function npm(script: 'demo' | 'start'): { child: ChildProcess; output(): string; ended: Promise<unknown> } {
    const child = spawn('npm', ['run', script], {
      cwd: ROOT,
      detached: true,
      env: {
        PATH: process.env.PATH ?? '',
        HOME: folder,
        TMPDIR: temporary,
        // Without this, npm writes its own compile cache to the temporary folder.
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
        ...(script === 'start' ? { DATA_DIR: dataDir } : {}),
        PORT: '0',
        LOG_LEVEL: 'info',
        INTERCOM_CLIENT_ID: 'client',
        INTERCOM_CLIENT_SECRET: 'secret',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const run = { child, output: () => output, ended };
    started.push(run);
    return run;
  }

  async function startDemo() {
    const demo = npm('demo');
    await until(() => demo.output().includes('Ctrl-C stops everything'), 'the demo to start', 60_000);
    return demo;
  }

  async function startServer() {
    const server = npm('start');
    await until(() => server.output().includes('"msg":"listening"'), 'the server to start', 60_000);
    return server;
  }

  /** Signals the whole process group. */
  const kill = ({ pid }: ChildProcess, signal: NodeJS.Signals) => process.kill(-(pid ?? 0), signal);
  const pidIn = (output: string): number => Number(/"pid":(\d+)/.exec(output)?.[1]);

  /** Processes of PostgreSQL whose data is below the test's folder. */
  const databases = (): Promise<string[]> =>
    findProcesses(
      ([program = '', ...args]) =>
        program.endsWith('/postgres') && args.some((each) => each.startsWith(folder)),
    );

  async function assertNothingLeft(): Promise<void> {
    await until(async () => (await databases()).length === 0, 'PostgreSQL to stop', 5_000);
    const isEmpty = async (): Promise<boolean> => (await readdir(temporary)).length === 0;
    await until(isEmpty, 'the temporary folder to be empty', 5_000).catch(() => {});
    assert.deepEqual(await readdir(temporary), []);
  }

  test('Ctrl-C in a terminal stops the demo', async () => {
    const demo = await startDemo();
    assert.equal((await databases()).length, 1);
    const sentMs = performance.now();
    kill(demo.child, 'SIGINT');
    await demo.ended;
    // The limit is 5 s on a quiet machine; here other test files run in parallel.
    assert.ok(performance.now() - sentMs < 15_000);
    await assertNothingLeft();
  });

  test('a demo that is killed takes its database and its folder with it', async () => {
    const demo = npm('demo');
    await until(() => demo.output().includes('Installing the'), 'the database to run', 60_000);
    assert.equal((await databases()).length, 1);
    kill(demo.child, 'SIGKILL');
    await demo.ended;
    await assertNothingLeft();
  });

  test('a server on any free port without PUBLIC_URL logs the port that it got, and uses it for the OAuth callback', async () => {
    server = await startServer();
    const port = /"port":(\d+)/.exec(server.output())?.[1];
    assert.match(server.output(), new RegExp(`"publicUrl":"http://localhost:${port}"`));
    const answer = await fetch(`http://127.0.0.1:${port}/install`, { redirect: 'manual' });
    const redirect = new URL(answer.headers.get('location') ?? '').searchParams.get('redirect_uri');
    assert.equal(redirect, `http://localhost:${port}/oauth/callback`);
  });

  test('npm passes SIGTERM on, and ends when the server and its database have', async () => {
    const pid = pidIn(server.output());
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0, server.output());
    assert.throws(() => process.kill(pid, 0), 'the server does not outlive npm');
    assert.match(server.output(), /"msg":"stopped"/);
    await assertNothingLeft();
  });

  test('a server that is killed while its database starts takes it along', async () => {
    const { child } = startCommand(['serve'], {
      DATA_DIR: dataDir,
      PORT: '0',
      INTERCOM_CLIENT_ID: 'client',
      INTERCOM_CLIENT_SECRET: 'secret',
    });
    while ((await databases()).length === 0) {
      assert.equal(child.exitCode, null);
      // Checking without a pause takes as much processor time as two starts.
      await sleep(10);
    }
    child.kill('SIGKILL');
    await assertNothingLeft();
  });

  test('the next one starts on its data, and stops in order: several signals within a second are one', async () => {
    const next = await startServer();
    const pid = pidIn(next.output());
    kill(next.child, 'SIGINT');
    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM');
    await next.ended;
    assert.match(next.output(), /"msg":"stopped"/);
    await assertNothingLeft();
  });
});
