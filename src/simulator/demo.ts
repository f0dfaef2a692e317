import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import type { Logger } from 'pino';
import { type Config, readConfig } from '../config.ts';
import { runAfterExit } from '../database/exit-guard.ts';
import { AppError } from '../errors.ts';
import { startServer } from '../server.ts';
import { addPeople, addPurchases } from './demo/cast.ts';
import { createDemoInbox } from './demo/inbox.ts';
import { createDemoMessenger } from './demo/messenger.ts';
import { createDemoPlatforms } from './demo/platforms.ts';
import { restoreState, saveState } from './demo/saved-state.ts';
import { addStates } from './demo/states.ts';
import {
  connect,
  connectMessenger,
  type DemoWorld,
  installApp,
  OWN_PROJECT_ID,
  PICTURES_URL,
  PROJECT_ID,
  turnOnStoreActions,
  WORKSPACE_ID,
} from './demo/world.ts';
import { createIntercomSimulator, type IntercomSimulator } from './intercom/server.ts';
import { freePort, type Listening, listenOnLoopback } from './listen.ts';
import { createRevenueCatSimulator, type RevenueCatSimulator } from './revenuecat/server.ts';

const CLIENT_ID = 'demo-client';
const REMOVE_DATA_DIR =
  'while pid=$(head -n 1 "$1/postgres/postmaster.pid") && kill -0 "$pid"; do sleep 0.1; done; rm -rf "$1"';

export type Demo = Awaited<ReturnType<typeof startDemo>>;

export interface DemoOptions {
  /** The app's port; the demo's pages use the next one. 0: any free ports. */
  readonly port: number;
  readonly logger: Logger;
  /** An empty database; left out: an embedded PostgreSQL is started. */
  readonly databaseUrl?: string;
  /** Kept when the demo stops, with the state of the simulated platforms. Default: a temporary folder. */
  readonly dataDir?: string;
  /** Called when a step of the start begins. */
  onProgress?(step: string): void;
}

/**
 * The whole product on this machine: embedded PostgreSQL, both platforms simulated on loopback, sample customers,
 * and pages to try it. The app is installed and connected through the same routes as in a real workspace.
 */
export async function startDemo(options: DemoOptions) {
  const { onProgress = () => {} } = options;
  // If a later step fails, everything that was started is stopped again.
  await using starting = new AsyncDisposableStack();
  const pages = express();
  pages.disable('x-powered-by');
  const { port, listening } = await openPorts(options.port, pages);
  starting.defer(() => listening.close());
  const dataDir = await openDataDir(options, starting);
  const { intercom, revenueCat, config } = await startPlatforms(options, starting, {
    port,
    dataDir,
    pagesUrl: listening.url,
  });

  onProgress('Starting PostgreSQL and the app');
  // Runs after the server has stopped, because its last deliveries belong to the platforms' state.
  let save = async (): Promise<void> => {};
  starting.defer(() => save());
  const server = await startServer(config, options.logger);
  starting.defer(() => server.stop());
  const world: DemoWorld = {
    intercom,
    revenueCat,
    appUrl: server.url,
    publicUrl: config.publicUrl,
    database: server.connected.database,
    secrets: server.secrets,
    cards: [],
    labels: new Map(),
  };
  const restoredKey = options.dataDir === undefined ? null : await restoreState(dataDir, world);
  registerApp(world);
  const messengerKey = restoredKey ?? (await addSamples(world, onProgress));
  if (options.dataDir !== undefined) {
    save = () => saveState(dataDir, world, messengerKey);
    await save();
  }
  pages.use(createDemoMessenger(world, messengerKey));
  pages.use(createDemoPlatforms(world));
  pages.use(createDemoInbox(world));
  const started = starting.move();

  return {
    inboxUrl: `${listening.url}/inbox`,
    appUrl: server.url,
    /** Printed for the person who started the demo. */
    greeting: greeting(world, listening.url, options.dataDir),
    stop: () => started.disposeAsync(),
  };
}

/** The app publishes its own address, so its port is chosen first. Both ports are checked before anything starts. */
async function openPorts(
  wanted: number,
  pages: express.Express,
): Promise<{ port: number; listening: Listening }> {
  const port = wanted === 0 ? await freePort() : wanted;
  const listening = await listenOnLoopback(pages, wanted === 0 ? 0 : wanted + 1).catch((error: unknown) => {
    const code = (error as { code?: unknown }).code;
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error;
    throw new AppError(
      'conflict',
      `Port ${wanted + 1}, for the demo's pages, is taken. Set PORT: the demo uses it and the next one.`,
      { cause: error },
    );
  });
  const { port: actual } = new URL(listening.url);
  return { port, listening: { ...listening, url: `http://localhost:${actual}` } };
}

async function openDataDir(
  { dataDir }: Pick<DemoOptions, 'dataDir'>,
  starting: AsyncDisposableStack,
): Promise<string> {
  try {
    if (dataDir !== undefined) {
      await mkdir(dataDir, { recursive: true });
      return dataDir;
    }
    const made = await mkdtemp(join(tmpdir(), 'subscription-timeline-demo-'));
    // Even a demo that is killed leaves nothing behind: the folder is removed once its database has stopped.
    starting.defer(runAfterExit(REMOVE_DATA_DIR, [made]));
    starting.defer(() => rm(made, { recursive: true, force: true }));
    return made;
  } catch (error) {
    const folder = dataDir ?? tmpdir();
    const setting = dataDir === undefined ? 'TMPDIR or DATA_DIR' : 'DATA_DIR';
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError(
      'conflict',
      `Cannot write to ${folder} (${reason}). Set ${setting} to a writable folder.`,
      { cause: error },
    );
  }
}

async function startPlatforms(
  options: DemoOptions,
  starting: AsyncDisposableStack,
  at: { port: number; dataDir: string; pagesUrl: string },
): Promise<{ intercom: IntercomSimulator; revenueCat: RevenueCatSimulator; config: Config }> {
  const clientSecret = randomBytes(16).toString('hex');
  const intercom = createIntercomSimulator({ clientId: CLIENT_ID, clientSecret });
  const revenueCat = createRevenueCatSimulator();
  const intercomListening = await intercom.listen();
  starting.defer(() => intercomListening.close());
  const revenueCatListening = await revenueCat.listen();
  starting.defer(() => revenueCatListening.close());
  const read = readConfig({
    PORT: String(at.port),
    PUBLIC_URL: `http://localhost:${at.port}`,
    DATABASE_URL: options.databaseUrl,
    DATA_DIR: at.dataDir,
    INTERCOM_CLIENT_ID: CLIENT_ID,
    INTERCOM_CLIENT_SECRET: clientSecret,
    INTERCOM_API_URL: intercomListening.url,
    INTERCOM_APP_URL: at.pagesUrl,
    REVENUECAT_API_URL: revenueCatListening.url,
    LOG_LEVEL: options.logger.level,
  });
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const config = { ...read.config, picturesUrl: PICTURES_URL };
  return { intercom, revenueCat, config };
}

/** Enters the app's addresses in the simulated Developer Hub and in the projects' webhooks. */
function registerApp({ intercom, revenueCat, appUrl, publicUrl }: DemoWorld): void {
  const { state } = intercom;
  state.redirectUris.splice(0, state.redirectUris.length, `${publicUrl}/oauth/callback`);
  state.installUrl = `${publicUrl}/install`;
  state.webhookEndpoint = `${appUrl}/webhooks/intercom`;
  state.uninstallUrl = `${appUrl}/intercom/uninstall`;
  // After a restart the app may have another port.
  for (const project of revenueCat.state.projects.values()) {
    for (const webhook of project.webhooks) {
      const { pathname } = new URL(webhook.url);
      if (pathname.startsWith('/webhooks/revenuecat/')) webhook.url = `${publicUrl}${pathname}`;
    }
  }
}

/** @returns the API key of the customers' backend */
async function addSamples(world: DemoWorld, onProgress: (step: string) => void): Promise<string> {
  onProgress('Installing the app in the sample workspace');
  addPeople(world);
  await installApp(world, { workspaceId: WORKSPACE_ID, adminId: '1001' });
  await connect(world, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID, name: 'Sample App' });
  const messengerKey = await connectMessenger(world, WORKSPACE_ID);
  await turnOnStoreActions(world, WORKSPACE_ID);
  onProgress('Sending the purchases of the sample customers');
  await addPurchases(world);
  onProgress('Preparing special cases: two projects, a rejected key, no match');
  await addStates(world);
  shareOneCard(world);
  return messengerKey;
}

/** Adds a card to a conversation, which shows what a shared card looks like. */
function shareOneCard({ cards, publicUrl }: DemoWorld): void {
  const sentence = 'This card shows each customer their own subscription.';
  cards.push({
    conversationId: '510',
    adminName: 'Alex Agent',
    canvas: { content_url: `${publicUrl}/canvas/messenger/live` },
    teammateCanvas: { content: { components: [{ type: 'text', text: sentence, style: 'muted' }] } },
    atMs: Date.now(),
  });
}

function greeting({ revenueCat }: DemoWorld, pagesUrl: string, dataDir: string | undefined): string {
  const ownKey = [...revenueCat.state.keys].find(([, { projectId }]) => projectId === OWN_PROJECT_ID)?.[0];
  const lines = [
    '',
    `  Open  ${pagesUrl}`,
    '',
    '  1. Read a card.  Each conversation is a ticket; the first sentence of the card answers it.',
    '  2. Let something happen.  Choose "What happens next?", such as a renewal or a refund, and watch the card.',
    '  3. Install it yourself.  Follow "Install" on the page. RevenueCat project and key to paste:',
    `     ${OWN_PROJECT_ID}  ${ownKey ?? ''}`,
    '',
    dataDir === undefined
      ? '  Ctrl-C stops everything and deletes its data.'
      : `  Ctrl-C stops everything. The data stays in ${dataDir}.`,
    '',
    '',
  ];
  return lines.join('\n');
}
