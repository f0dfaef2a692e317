import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import { runAfterExit } from '../database/exit-guard.ts';
import { startServer } from '../server.ts';
import { connectProject } from '../workspaces/projects.ts';
import { createDemoInbox } from './demo-inbox.ts';
import { createDemoMessenger } from './demo-messenger.ts';
import { seedStates } from './demo-states.ts';
import { createIntercomSimulator, type IntercomSimulator } from './intercom/server.ts';
import { freePort, listenOnLoopback } from './listen.ts';
import { connectMessenger } from './messenger-setup.ts';
import { customerFromStory, purchaseStory, type StoryName } from './revenuecat/scenarios.ts';
import { createRevenueCatSimulator, type RevenueCatSimulator } from './revenuecat/server.ts';
import { createSharedCards } from './shared-cards.ts';

const REMOVE_DATA_DIR =
  'while pid=$(head -n 1 "$1/postgres/postmaster.pid") && kill -0 "$pid"; do sleep 0.1; done; rm -rf "$1"';
const WORKSPACE_ID = 'demo1234';
const REVENUECAT_PROJECT_ID = 'projdemo1';
const CLIENT_ID = 'demo-client';

export interface Demo {
  /** What to tell the person who started it. */
  readonly greeting: string;
  readonly inboxUrl: string;
  readonly appUrl: string;
  stop(): Promise<void>;
}

const CAST: readonly { readonly story: StoryName; readonly name: string; readonly says: string }[] = [
  { story: 'active_monthly', name: 'Ann Berg', says: 'When will I be charged next?' },
  { story: 'trial', name: 'Ben Ortiz', says: 'How do I make the most of my trial?' },
  { story: 'trial_cancelled', name: 'Cleo Marsh', says: 'I cancelled. Will you still charge me?' },
  { story: 'cancelled', name: 'Dev Patel', says: 'I cancelled but the app still works?' },
  { story: 'grace_period', name: 'Eva Lind', says: 'I got a message about my card.' },
  { story: 'expired_by_billing', name: 'Finn Doyle', says: 'Why did I lose access?' },
  { story: 'refunded', name: 'Gia Romano', says: 'Did my refund go through?' },
  { story: 'granted', name: 'Hugo Martin', says: 'Thanks for the free month!' },
  { story: 'paused', name: 'Ines Costa', says: 'When does my pause end?' },
  { story: 'several', name: 'Jon Hale', says: 'I think I am paying twice.' },
  { story: 'sandbox_only', name: 'Kim Tester', says: 'My test purchase does not show.' },
  { story: 'no_purchases', name: 'Lea Novak', says: 'What does Pro include?' },
];

/** Teammates whose language the requests name. */
const READERS = [
  ['Lena', 'de'],
  ['Chloé', 'fr'],
  ['Inés', 'es'],
  ['Bia', 'pt-BR'],
  ['Yuki', 'ja'],
] as const;

/**
 * The whole product on this machine: embedded PostgreSQL, both platforms simulated on loopback, sample
 * customers, and an inbox page. The app is installed and connected the way a real workspace does it.
 *
 * @param options.databaseUrl an empty database; without one an embedded PostgreSQL is started
 */
export async function startDemo(options: {
  port: number;
  logger: Logger;
  databaseUrl?: string;
}): Promise<Demo> {
  // What was started ends when the rest cannot be: a demo that failed must not hold on.
  await using starting = new AsyncDisposableStack();
  const dataDir = await mkdtemp(join(tmpdir(), 'subscription-timeline-demo-'));
  starting.defer(() => rm(dataDir, { recursive: true, force: true }));
  // A demo that is killed leaves nothing: the folder goes once its database has stopped.
  starting.defer(runAfterExit(REMOVE_DATA_DIR, [dataDir]));
  const clientSecret = randomBytes(16).toString('hex');
  // The app tells others its own address, so it must know it before it listens.
  const port = options.port === 0 ? await freePort() : options.port;
  const intercom = createIntercomSimulator({ clientId: CLIENT_ID, clientSecret });
  const revenueCat = createRevenueCatSimulator();
  const intercomListening = await intercom.listen();
  starting.defer(() => intercomListening.close());
  const revenueCatListening = await revenueCat.listen();
  starting.defer(() => revenueCatListening.close());
  const config: Config = {
    production: false,
    port,
    host: '127.0.0.1',
    trustedProxies: [],
    publicUrl: `http://localhost:${port}`,
    databaseUrl: options.databaseUrl ?? null,
    databaseReadUrl: null,
    databaseDirectUrl: null,
    databasePoolSize: 20,
    databaseBackend: 'postgres',
    dataDir,
    intercom: {
      clientId: CLIENT_ID,
      clientSecret,
      apiUrl: intercomListening.url,
      appUrl: intercomListening.url,
    },
    revenueCatApiUrl: revenueCatListening.url,
    encryptionKeys: [],
    role: 'all',
    logLevel: options.logger.level,
    metricsToken: null,
    payloadRetentionDays: 180,
    drainSeconds: 0,
  };
  const server = await startServer(config, options.logger);
  starting.defer(() => server.stop());
  seedIntercom(intercom, server.url, config.publicUrl);
  await installApp(intercom, server.url, { workspaceId: WORKSPACE_ID, adminId: '1001' });
  await seedRevenueCat(revenueCat, async (apiKey) =>
    connectProject(
      { database: server.connected.database, secrets: server.secrets, publicUrl: server.url },
      { workspaceId: WORKSPACE_ID, revenueCatProjectId: REVENUECAT_PROJECT_ID, apiKey, name: 'Sample App' },
    ),
  );

  const labels = await seedStates({
    intercom,
    revenueCat,
    appUrl: server.url,
    database: server.connected.database,
    secrets: server.secrets,
    workspaceId: WORKSPACE_ID,
    projectId: REVENUECAT_PROJECT_ID,
    install: (workspaceId) =>
      installApp(intercom, server.url, { workspaceId, adminId: `${workspaceId}-admin` }),
  });

  const cards = createSharedCards();
  const messengerKey = await connectMessenger(
    { database: server.connected.database, secrets: server.secrets },
    WORKSPACE_ID,
  );
  const page = express();
  page.use(createDemoMessenger({ intercom, appUrl: server.url, cards, apiKey: messengerKey }));
  page.use(
    createDemoInbox({
      intercom,
      revenueCat,
      appUrl: server.url,
      linkUrl: config.publicUrl,
      cards,
      workspaceId: WORKSPACE_ID,
      projectId: REVENUECAT_PROJECT_ID,
      stories: new Map(CAST.map((person) => [appUserIdOf(person.name), person.story])),
      labels: labels.set('599', 'named in the conversation'),
    }),
  );
  const pageListening = await listenOnLoopback(page, options.port === 0 ? 0 : options.port + 1);
  starting.defer(() => pageListening.close());
  const started = starting.move();

  return {
    inboxUrl: `${pageListening.url}/inbox`,
    appUrl: server.url,
    greeting: [
      '',
      '  Subscription Timeline is running, with simulated Intercom and RevenueCat.',
      '',
      `  Inbox with the card   ${pageListening.url}/inbox`,
      `  Settings              ${config.publicUrl}/settings`,
      `  Simulated Intercom    ${intercomListening.url}`,
      `  Simulated RevenueCat  ${revenueCatListening.url}`,
      '',
      '  Ctrl-C stops everything.',
      '',
      '',
    ].join('\n'),
    stop: () => started.disposeAsync(),
  };
}

function appUserIdOf(name: string): string {
  return `user_${name.split(' ')[0]?.toLowerCase() ?? ''}`;
}

function emailOf(name: string): string {
  return `${name.toLowerCase().replace(' ', '.')}@example.com`;
}

function seedIntercom(intercom: IntercomSimulator, appUrl: string, publicUrl: string): void {
  const { state } = intercom;
  intercom.addWorkspace({ id: WORKSPACE_ID, name: 'Sample Support', timezone: 'America/New_York' });
  intercom.addAdmin(WORKSPACE_ID, { id: '1001', name: 'Alex Agent', email: 'alex@example.com' });
  intercom.addAdmin(WORKSPACE_ID, { id: '1002', name: 'Sam Support', email: 'sam@example.com' });
  for (const [index, [name, locale]] of READERS.entries()) {
    intercom.addAdmin(WORKSPACE_ID, { id: String(1011 + index), name: `${name} (${locale})`, locale });
  }
  state.redirectUris.push(`${publicUrl}/oauth/callback`);
  state.webhookEndpoint = `${appUrl}/webhooks/intercom`;
  state.uninstallUrl = `${appUrl}/intercom/uninstall`;
  state.healthUrl = `${appUrl}/intercom/health`;
  for (const [index, person] of CAST.entries()) {
    const contact = intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: appUserIdOf(person.name),
      email: emailOf(person.name),
      name: person.name,
    });
    intercom.addConversation(WORKSPACE_ID, {
      id: String(501 + index),
      contactIds: [contact.id],
      body: `<p>${person.says}</p>`,
    });
  }
  const lead = intercom.addContact(WORKSPACE_ID, {
    role: 'lead',
    name: 'A visitor',
    email: 'visitor@example.com',
  });
  intercom.addConversation(WORKSPACE_ID, {
    id: '599',
    contactIds: [lead.id],
    body: '<p>Hi, I pay for Pro but I am not signed in here.</p><p>User ID: user_ann</p>',
  });
}

/** The browser's part of an installation from the App Store. */
async function installApp(
  intercom: IntercomSimulator,
  appUrl: string,
  who: { workspaceId: string; adminId: string },
): Promise<void> {
  const begin = await fetch(`${appUrl}/install`, { redirect: 'manual' });
  const state = new URL(begin.headers.get('location') ?? '').searchParams.get('state') ?? '';
  const cookie = begin.headers.get('set-cookie')?.split(';')[0] ?? '';
  const code = `${randomBytes(12).toString('base64url')}=`;
  intercom.state.codes.set(code, {
    ...who,
    expiresAtMs: Date.now() + 60_000,
  });
  const query = new URLSearchParams({ code, state });
  const end = await fetch(`${appUrl}/oauth/callback?${query}`, { redirect: 'manual', headers: { cookie } });
  const location = end.headers.get('location') ?? '';
  if (!location.includes('install_success=true'))
    throw new Error(`The demo could not install the app: ${location}`);
}

async function seedRevenueCat(
  revenueCat: RevenueCatSimulator,
  connect: (apiKey: string) => Promise<{ webhookUrl: string; webhookAuthorization: string }>,
): Promise<void> {
  revenueCat.addProject({ id: REVENUECAT_PROJECT_ID, name: 'Sample App' });
  revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, 'pro', 'Pro');
  revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, 'team', 'Team');
  const connection = await connect(revenueCat.issueKey(REVENUECAT_PROJECT_ID));
  revenueCat.addWebhook(REVENUECAT_PROJECT_ID, {
    url: connection.webhookUrl,
    authorizationHeader: connection.webhookAuthorization,
  });
  const nowMs = Date.now();
  for (const person of CAST) {
    const story = purchaseStory(person.story, {
      appUserId: appUserIdOf(person.name),
      nowMs,
      email: emailOf(person.name),
    });
    customerFromStory(revenueCat.state, REVENUECAT_PROJECT_ID, story);
    for (const event of story.events) await revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, event);
  }
}
