import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../src/simulator/listen.ts';
import { describePooled, type Pooler } from '../database/pooled.ts';
import { until } from '../support/wait.ts';
import { answers } from './answers.ts';

/** `npm run test:pgbouncer`: tests against the real PgBouncer, which is not available as an npm package. */
describePooled(versionOrExit(), startPgBouncer);

function versionOrExit(): string {
  try {
    return execFileSync('pgbouncer', ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? 'PgBouncer';
  } catch {
    process.stderr.write(
      'PgBouncer is not installed. On Debian or Ubuntu: apt-get install pgbouncer (it need not be started).\n',
    );
    process.exit(1);
  }
}

async function startPgBouncer(databaseUrl: string): Promise<Pooler> {
  const url = new URL(databaseUrl);
  const folder = await mkdtemp(join(tmpdir(), 'subscription-timeline-pgbouncer-'));
  const port = await freePort();
  const name = url.pathname.slice(1);
  const target = `host=${url.hostname} port=${url.port} dbname=${name} user=postgres password=${decodeURIComponent(url.password)}`;
  await writeFile(
    join(folder, 'pgbouncer.ini'),
    `[databases]\n${name} = ${target}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nserver_round_robin = 1\nmax_client_conn = 500\n`,
    { mode: 0o644 },
  );
  execFileSync('chmod', ['755', folder]);
  // PgBouncer refuses to run as root.
  const isRoot = process.getuid?.() === 0;
  const child = spawn('pgbouncer', [...(isRoot ? ['-u', 'nobody'] : []), join(folder, 'pgbouncer.ini')], {
    stdio: process.env.TEST_LOG ? 'inherit' : 'ignore',
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  url.port = String(port);
  await until(() => answers(url.href), 'PgBouncer to answer');
  return {
    url: url.href,
    async stop() {
      child.kill('SIGTERM');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
