import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import pg from 'pg';
import { pino } from 'pino';
import { openDatabase } from '../src/database/data-source.ts';
import { startEmbeddedPostgres } from '../src/database/embedded.ts';
import { fill } from './growth/fill.ts';
import { type GrowthRow, measure, type Times } from './growth/measure.ts';
import { watchMemory } from './growth/memory.ts';
import { killAll, type Running, stopOnSignals } from './processes.ts';
import { insertWorkspace, migrateDatabase, startServer } from './setting.ts';

/**
 * How the cost of each operation grows with what is stored: `node bench/growth.ts --events 10000,100000`.
 */
const options = new Command('growth')
  .option('--events <numbers>', 'database sizes, ascending; thousands', '10000,100000,1000000')
  .option('--seconds <number>', 'of webhooks at each size', '5')
  .option('--memory <webhooks>', 'send so many webhooks to the server, and sample its memory instead')
  .option('--folder <path>', 'where the database is made', tmpdir())
  .parse()
  .opts<{ events: string; seconds: string; memory?: string; folder: string }>();

stopOnSignals();
const dataDir = await mkdtemp(join(options.folder, 'subscription-timeline-growth-'));
try {
  const memoryGiB = Math.round(totalmem() / 2 ** 30);
  print(`${new Date().toISOString()}, ${cpus().length} × ${cpus()[0]?.model}, ${memoryGiB} GiB`);
  await withDatabase(false, async (client, url) => {
    await migrateDatabase(url);
    await insertWorkspace(client, null);
  });
  if (options.memory) await memory(Number(options.memory));
  else await growth(options.events.split(',').map(Number));
} finally {
  killAll();
  await rm(dataDir, { recursive: true, force: true });
}

/** @param fast runs without durability, to fill the database; measurements run with durability */
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
    rows.push(await withDatabase(false, (client, url) => measureSize(events, client, url)));
    print(table(rows));
  }
}

async function measureSize(events: number, client: pg.Client, url: string): Promise<GrowthRow> {
  const app = await startApp(url);
  const { database, close } = await openDatabase({ url, logger: pino({ level: 'silent' }), poolSize: 10 });
  try {
    return await measure({ events, database, client, appUrl: app.url, seconds: Number(options.seconds) });
  } finally {
    await close();
    await app.stop();
  }
}

async function memory(webhooks: number): Promise<void> {
  await withDatabase(false, async (_client, url) => {
    const app = await startApp(url);
    const { samples, perSecond } = await watchMemory(app, webhooks);
    await app.stop();
    print(`${Math.round(perSecond)} webhooks/s\n| webhooks received | resident memory, MiB |\n|---:|---:|`);
    for (const [received, rssMiB] of samples) print(`| ${received.toLocaleString('en-US')} | ${rssMiB} |`);
  });
}

/** Starts a web process only, so that nothing is delivered during a measurement. */
function startApp(url: string): Promise<Running> {
  const key = randomBytes(32).toString('base64');
  return startServer({ DATABASE_URL: url, DATA_DIR: dataDir, ENCRYPTION_KEYS: key, ROLE: 'web' });
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

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
