import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { type Config, readConfig } from '../src/config.ts';
import { connectDatabase } from '../src/database/connection.ts';
import { createRevenueCatSimulator } from '../src/simulator/revenuecat/server.ts';
import { connectProject } from '../src/workspaces/project-connection.ts';
import { createSecretBox } from '../src/workspaces/secrets.ts';
import { launchBrowser } from '../test/support/browser.ts';

/**
 * Makes `docs/screenshots/import.png`: a terminal in which customers of the simulated RevenueCat are imported, at
 * RevenueCat's real pace. Needs tmux.
 */
const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..');
const COLUMNS = 100;
const ROWS = 9;
const CUSTOMERS = 240;
const SHOWN_AT_PERCENT = 35;
const WORKSPACE_ID = 'demo1234';
const PROJECT_ID = 'projdemo1';
const KEY = Buffer.alloc(32, 7);

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'subscription-timeline-picture-'));
  const socket = join(folder, 'tmux');
  const tmux = (...args: string[]) => run('tmux', ['-S', socket, ...args]);
  const revenueCat = createRevenueCatSimulator();
  const listening = await revenueCat.listen();
  const settings = {
    DATA_DIR: join(folder, 'data'),
    ENCRYPTION_KEYS: KEY.toString('base64'),
    REVENUECAT_API_URL: listening.url,
    INTERCOM_CLIENT_ID: 'demo-client',
    INTERCOM_CLIENT_SECRET: 'demo-secret',
  };
  const read = readConfig(settings);
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const close = await seed(read.config, revenueCat);
  try {
    const environment = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    const begin = join(folder, 'begin');
    await writeFile(
      begin,
      `export PATH='${join(ROOT, 'node_modules/.bin')}':"$PATH" ${environment.map((each) => `'${each}'`).join(' ')}
cd '${ROOT}'
printf '\\033[32m$\\033[0m npm run -s cli -- backfill --workspace ${WORKSPACE_ID}\\n'
npm run -s cli -- backfill --workspace ${WORKSPACE_ID}
`,
    );
    await tmux('new-session', '-d', '-s', 'import', '-x', String(COLUMNS), '-y', String(ROWS), `sh ${begin}`);
    const screen = await watch(async () => (await tmux('capture-pane', '-e', '-p', '-t', 'import')).stdout);
    await draw(screen, join(ROOT, 'docs', 'screenshots', 'import.png'));
  } finally {
    await tmux('kill-server').catch(() => {});
    await close();
    await listening.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @returns a function that stops the database */
async function seed(
  config: Config,
  revenueCat: ReturnType<typeof createRevenueCatSimulator>,
): Promise<() => Promise<void>> {
  const connected = await connectDatabase(config, pino({ level: 'silent' }));
  const { database } = connected;
  revenueCat.addProject({ id: PROJECT_ID, name: 'Sample App' });
  for (let index = 0; index < CUSTOMERS; index += 1)
    revenueCat.addCustomer(PROJECT_ID, { id: `user-${index}`, aliases: [], attributes: {} });
  await database.query('insert into workspaces (workspace_id, name) values ($1, $2)', [
    WORKSPACE_ID,
    'Sample workspace',
  ]);
  await connectProject(
    { database, secrets: createSecretBox([KEY]), publicUrl: config.publicUrl },
    {
      workspaceId: WORKSPACE_ID,
      revenueCatProjectId: PROJECT_ID,
      apiKey: revenueCat.issueKey(PROJECT_ID),
      name: 'Sample App',
    },
  );
  return () => connected.close();
}

/** Waits until the import has made good progress and shows an estimate of the time left. */
async function watch(capture: () => Promise<string>): Promise<string> {
  for (let tries = 0; tries < 600; tries += 1) {
    const screen = await capture();
    const percent = Number(/(\d+) % /.exec(screen)?.[1] ?? 0);
    if (percent >= SHOWN_AT_PERCENT && /\/min \| .* left/.test(screen)) return screen;
    await sleep(250);
  }
  throw new Error(`The import never came so far:\n${await capture()}`);
}

/** Draws each character in a cell of its own, so that the picture is the same with any font of the machine. */
async function draw(screen: string, path: string): Promise<void> {
  const rows = screen.trimEnd().split('\n').map(cellsOf);
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage({ viewport: { width: 1_000, height: 200 }, deviceScaleFactor: 2 });
    await page.setContent(`<!doctype html><meta charset="utf-8"><title>Import</title><style>
      body { margin: 0; padding: 20px; background: #fff; }
      main { display: inline-block; padding: 14px 18px 18px; border-radius: 8px; background: #1d2128; color: #dfe3ea;
             font: 14px/22px "DejaVu Sans Mono", "Menlo", "Consolas", monospace; }
      header { padding-bottom: 10px; }
      header i { display: inline-block; width: 11px; height: 11px; margin-right: 7px; border-radius: 50%; background: #4a515e; }
      p { display: flex; margin: 0; height: 22px; }
      b { width: 8.5px; font-weight: normal; white-space: pre; }
      .full { background: currentColor; } .empty { background: #3a414d; } .full, .empty { height: 14px; margin-top: 4px; }
      .green { color: #6cc28c; }
    </style><main><header><i></i><i></i><i></i></header>${rows.map((row) => `<p>${row}</p>`).join('')}</main>`);
    await page.locator('main').screenshot({ path });
  } finally {
    await browser.close();
  }
}

function cellsOf(line: string): string {
  const cells: string[] = [];
  let color = '';
  // Makes escape sequences begin with a character that no text has.
  for (const [, code, character] of line
    .replaceAll('\u001b', '\ue000')
    .matchAll(/\ue000\[([\d;]*)m|([^\ue000])/gu)) {
    if (character === undefined) color = code === '32' ? 'green' : '';
    else if (character === '\u2588') cells.push(`<b class="full ${color}"></b>`);
    else if (character === '\u2591') cells.push('<b class="empty"></b>');
    else cells.push(`<b class="${color}">&#${character.codePointAt(0)};</b>`);
  }
  return cells.join('');
}

await main();
