import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Command } from 'commander';
import pg from 'pg';
import { migrate, openDatabase } from '../src/database/data-source.ts';
import { startEmbeddedPostgres } from '../src/database/embedded.ts';
import { createLogger } from '../src/logger.ts';
import { hashSecret } from '../src/workspaces/secrets.ts';
import { fill, PROJECT_ID, WORKSPACE_ID } from './growth/fill.ts';
import { type GrowthRow, measure, type Times } from './growth/measure.ts';
import { watchMemory } from './growth/memory.ts';

/**
 * How the cost of each operation grows with what is stored: `node bench/growth.ts --events 10000,100000`.
 */
const AUTHORIZATION = 'whk_growth';
const CLIENT_SECRET = 'growth_client_secret';

const options = new Command('growth')
  .option('--events <numbers>', 'database sizes, ascending; thousands', '10000,100000,1000000')
  .option('--seconds <number>', 'of webhooks at each size', '5')
  .option('--memory <webhooks>', 'send so many webhooks to the server, and sample its memory instead')
  .option('--folder <path>', 'where the database is made', tmpdir())
  .parse()
  .opts<{ events: string; seconds: string; memory?: string; folder: string }>();

const dataDir = await mkdtemp(join(options.folder, 'subscription-timeline-growth-'));
try {
  process.stdout.write(
    `${new Date().toISOString()}, ${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB\n`,
  );
  await prepare();
  if (options.memory) await memory(Number(options.memory));
  else await growth(options.events.split(',').map(Number));
} finally {
  await rm(dataDir, { recursive: true, force: true });
}

async function prepare(): Promise<void> {
  await withDatabase(false, async (client, url) => {
    const opened = await openDatabase({ url, logger: createLogger('warn'), poolSize: 5 });
    await migrate(opened.dataSource);
    await opened.close();
    await client.query(`insert into workspaces (workspace_id, name) values ($1, 'Growth')`, [WORKSPACE_ID]);
    await client.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash) values ($1, $2, 'proj1', 'Growth', $3)`,
      [WORKSPACE_ID, PROJECT_ID, hashSecret(AUTHORIZATION)],
    );
  });
}

/** @param fast without durability, to fill it; what is measured is durable */
async function withDatabase<T>(
  fast: boolean,
  work: (client: pg.Client, url: string) => Promise<T>,
): Promise<T> {
  const server = await startEmbeddedPostgres(dataDir, { fast });
  const client = new pg.Client({ connectionString: server.superuserUrl });
  await client.connect();
  try {
    return await work(client, server.superuserUrl);
  } finally {
    await client.end();
    await server.stop();
  }
}

async function growth(sizes: readonly number[]): Promise<void> {
  const rows: GrowthRow[] = [];
  let filled = 0;
  for (const events of sizes) {
    const begunMs = performance.now();
    await withDatabase(true, (client) => fill(client, filled, events));
    filled = events;
    process.stderr.write(
      `${events.toLocaleString('en-US')} events filled in ${Math.round((performance.now() - begunMs) / 1_000)} s\n`,
    );
    rows.push(
      await withDatabase(false, async (client, url) => {
        const app = await startApp(url);
        const opened = await openDatabase({ url, logger: createLogger('warn'), poolSize: 10 });
        try {
          return await measure({
            events,
            database: opened.database,
            client,
            appUrl: app.url,
            clientSecret: CLIENT_SECRET,
            seconds: Number(options.seconds),
          });
        } finally {
          await opened.close();
          await app.stop();
        }
      }),
    );
    process.stdout.write(`${table(rows)}\n`);
  }
}

async function memory(webhooks: number): Promise<void> {
  await withDatabase(false, async (_client, url) => {
    const app = await startApp(url);
    const { samples, perSecond } = await watchMemory({
      url: `${app.url}/webhooks/revenuecat/${PROJECT_ID}`,
      authorization: AUTHORIZATION,
      pid: app.child.pid ?? 0,
      webhooks,
    });
    await app.stop();
    process.stdout.write(
      `${Math.round(perSecond)} webhooks/s\n| webhooks received | resident memory, MiB |\n|---:|---:|\n`,
    );
    for (const { received, rssMiB } of samples)
      process.stdout.write(`| ${received.toLocaleString('en-US')} | ${rssMiB} |\n`);
  });
}

/** The app as `npm start` runs it; nothing is delivered while it is measured. */
async function startApp(url: string): Promise<{ url: string; child: ChildProcess; stop(): Promise<void> }> {
  const child = spawn(process.execPath, ['src/main.ts', 'serve', '--role', 'web'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      DATABASE_URL: url,
      DATA_DIR: dataDir,
      INTERCOM_CLIENT_ID: 'growth',
      INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
      INTERCOM_API_URL: 'http://127.0.0.1:9',
      ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
    },
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const found = /"port":(\d+).*"msg":"listening"/.exec(line)?.[1];
      if (found) resolve(Number(found));
    });
  });
  return {
    url: `http://127.0.0.1:${port}`,
    child,
    async stop() {
      child.kill('SIGTERM');
      await gone;
    },
  };
}

function table(rows: readonly GrowthRow[]): string {
  const times = ({ p50Ms, p99Ms }: Times): string => `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)}`;
  const head = `| events | webhooks/s | webhook, ms | card, first time, ms | card, again, ms | timeline page 1–60, ms | page 140–200, ms | settings, ms | claim of 32, ms | bytes an event | database, GiB |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|`;
  const lines = rows.map(
    (row) =>
      `| ${row.events.toLocaleString('en-US')} | ${Math.round(row.webhooksPerSecond).toLocaleString('en-US')} | ${times(row.webhook)} | ${times(row.firstCard)} | ${times(row.card)} | ${times(row.firstPage)} | ${times(row.deepPage)} | ${times(row.settings)} | ${times(row.claim)} | ${Math.round(row.bytesPerEvent)} | ${row.databaseGiB.toFixed(2)} |`,
  );
  return [head, ...lines].join('\n');
}
