import type { Logger } from 'pino';
import { backfillJobs, createLookUp, resumeImports } from './backfill/jobs.ts';
import { createImportMetrics } from './backfill/metrics.ts';
import type { Config } from './config.ts';
import { intercomWebhookRouter } from './contacts/webhooks.ts';
import { type Connected, connectDatabase } from './database/connection.ts';
import { addDatabaseMetrics, createDatabaseGauges } from './database/metrics.ts';
import { SETTLE_MS } from './database/replica.ts';
import { deliveryJobs } from './delivery/jobs.ts';
import { addBacklogMetrics, createDeliveryMetrics } from './delivery/metrics.ts';
import { replayEvents } from './delivery/replay.ts';
import { createDeliveryWorker } from './delivery/worker.ts';
import { resumeActions } from './grants/confirmation.ts';
import { grantJobs } from './grants/jobs.ts';
import { createApp, type Mounted } from './http/app.ts';
import { createRegistry, observeRequests } from './http/metrics.ts';
import { operatorRouter } from './http/operator.ts';
import { type HttpServer, openHttpServer } from './http/server.ts';
import { signedJson } from './http/signed.ts';
import { createCanvasCache } from './inbox-card/canvas-cache.ts';
import { createCardReader } from './inbox-card/card-repository.ts';
import type { CardServices } from './inbox-card/context.ts';
import { createBackgroundRefresh } from './inbox-card/refresh.ts';
import { inboxCardRouter } from './inbox-card/routes.ts';
import { ingestionJobs } from './ingestion/jobs.ts';
import { createJournal, notifyProcessors } from './ingestion/journal.ts';
import { addJournalMetrics, createReceiverMetrics } from './ingestion/metrics.ts';
import { createProcessor } from './ingestion/processor.ts';
import { revenueCatWebhookRouter } from './ingestion/routes.ts';
import { bodySignature } from './intercom/signatures.ts';
import { openJobs } from './jobs/jobs.ts';
import { addJobMetrics } from './jobs/metrics.ts';
import { messengerApiRouter } from './messenger/api-routes.ts';
import { messengerCardRouter } from './messenger/card-routes.ts';
import type { MessengerContext } from './messenger/context.ts';
import { supportRouter, supportScript } from './messenger/support-routes.ts';
import { createCallLimiter } from './revenuecat/call-limiter.ts';
import { createCatalogCache } from './revenuecat/catalog-names.ts';
import { settingsRouter } from './settings/routes.ts';
import { subscriberJobs } from './subscribers/jobs.ts';
import { type RefreshContext, refreshWithin } from './subscribers/refresh.ts';
import { revenueCatClientFor } from './workspaces/clients.ts';
import { deriveKey, loadEncryptionKeys } from './workspaces/encryption-keys.ts';
import type { WorkspaceContext } from './workspaces/install.ts';
import { workspaceJobs } from './workspaces/jobs.ts';
import { addWorkspaceMetrics } from './workspaces/metrics.ts';
import { healthRouter, installRouter, uninstallRouter } from './workspaces/routes.ts';
import { createSecretBox, type SecretBox } from './workspaces/secrets.ts';
import { createSessions } from './workspaces/sessions.ts';

export interface RunningServer {
  /** Where it listens, on loopback. */
  readonly url: string;
  readonly connected: Connected;
  readonly secrets: SecretBox;
  /**
   * Finishes requests, deliveries and jobs, then closes the database.
   *
   * @param options.drain continues to answer for `DRAIN_SECONDS` first, while `/readyz` says that it is stopping
   */
  stop(options?: { drain: boolean }): Promise<void>;
}

/** Canvas Kit sends the whole conversation. */
const MAX_CANVAS_BYTES = 10 * 1024 * 1024;
/** Calls of a card: the response must come while the agent looks, ms. */
const CARD_CALL_TIMEOUT_MS = 2_500;
/** How long a page waits for the replica to catch up before it is read from the primary, ms. */
const PAGE_WAIT_MS = 100;

/** Builds the services, mounts the routers, starts the workers. */
export async function startServer(given: Config, logger: Logger): Promise<RunningServer> {
  const http = await openHttpServer(given);
  try {
    // With PORT=0 the port is known only now.
    const isAnyPort = given.publicUrl === `http://localhost:${given.port}`;
    const config = isAnyPort ? { ...given, publicUrl: `http://localhost:${http.port}` } : given;
    const running = await start(config, logger, http);
    logger.info({ port: http.port, role: config.role, publicUrl: config.publicUrl }, 'listening');
    return running;
  } catch (error) {
    await http.stop(0);
    throw error;
  }
}

async function start(config: Config, logger: Logger, http: HttpServer): Promise<RunningServer> {
  const keys = await loadEncryptionKeys(config);
  const secrets = createSecretBox(keys);
  const connected = await connectDatabase(config, logger, { readReplica: true, keepEmbedded: true });
  const { database, readDatabase } = connected;
  const now = Date.now;
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: connected.url === connected.sessionUrl,
    logger,
  });
  const app: WorkspaceContext = { config, database, secrets, jobs, logger, now };
  const requestRefresh = (workspaceId: string, subscriberId: string): Promise<void> =>
    jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  const reportHealth = (workspaceId: string): Promise<void> => jobs.send('workspace.health', { workspaceId });

  const registry = createRegistry();
  const gauges = createDatabaseGauges(registry, database);
  addDatabaseMetrics(registry, gauges, connected);
  addJobMetrics(gauges);
  addWorkspaceMetrics(gauges);
  addBacklogMetrics(gauges);
  addJournalMetrics(gauges);
  const importMetrics = createImportMetrics(registry);

  const processor = createProcessor({ ...app, databaseUrl: connected.sessionUrl });
  const journal = createJournal(database, (project) => {
    // In the same process the round trip of NOTIFY is saved. Where it fails, polling finds the webhooks.
    if (config.role === 'web') notifyProcessors(database, project).catch(() => {});
    else processor.wake(project);
  });
  const worker = createDeliveryWorker({
    ...app,
    databaseUrl: connected.sessionUrl,
    metrics: createDeliveryMetrics(registry, {
      activeCount: () => worker.activeCount(),
      rateUsed: () => worker.rateUsed(),
    }),
    onHealthChanged: reportHealth,
    requestRefresh,
  });
  const refresh: RefreshContext = {
    ...app,
    limiter: createCallLimiter({ database }),
    onDisagreement: importMetrics.disagreement,
    onKeyState: reportHealth,
  };
  const card: CardServices = {
    ...app,
    readDatabase,
    cards: createCardReader(readDatabase),
    waitForReplica: () => readDatabase.upToDate(SETTLE_MS),
    publicUrl: config.publicUrl,
    storedDataKey: deriveKey(keys, 'stored-data'),
    catalog: createCatalogCache(now),
    canvases: createCanvasCache(now),
    refreshLater: createBackgroundRefresh(app),
    importLater: createLookUp(app),
    revenueCat: (project, timeoutMs = CARD_CALL_TIMEOUT_MS) =>
      revenueCatClientFor(refresh, project, { priority: 'interactive', timeoutMs }),
    refresh: (workspaceId, subscriberId, waitMs) =>
      refreshWithin(refresh, { workspaceId, subscriberId }, waitMs),
  };
  const messenger: MessengerContext = {
    ...app,
    readDatabase,
    publicUrl: config.publicUrl,
    production: config.production,
    requestRefresh,
  };
  const sessions = createSessions(app, deriveKey(keys, 'sessions'));

  const stopping = new AbortController();
  const background = { ...refresh, jobs, stopping: stopping.signal, onReconciled: importMetrics.reconciled };
  await jobs.register({
    ...workspaceJobs(app),
    ...subscriberJobs({ ...refresh, jobs }),
    ...ingestionJobs({
      ...app,
      payloadRetentionDays: config.payloadRetentionDays,
      stopping: stopping.signal,
    }),
    ...deliveryJobs(app),
    ...grantJobs({ ...app, ...card }),
    ...backfillJobs(background),
  });
  if (config.role !== 'web') {
    processor.start();
    worker.start();
    await jobs.work();
    await resumeImports(app);
    await resumeActions(app);
  }

  const signed = signedJson(bodySignature, {
    secret: config.intercom.clientSecret,
    maxBytes: MAX_CANVAS_BYTES,
    now,
  });
  const onReceived = createReceiverMetrics(registry, journal.uncommitted);
  const machine: Mounted[] = [
    {
      path: '/webhooks/revenuecat',
      handlers: [revenueCatWebhookRouter({ ...app, journal, onReceived })],
    },
    { path: '/intercom/health', handlers: [signed, healthRouter(app)] },
    { path: '/canvas/inbox', handlers: [signed, inboxCardRouter(card)] },
    { path: '/canvas/messenger', handlers: [signed, messengerCardRouter(messenger)] },
  ];
  const open: Mounted[] = [
    {
      path: '/',
      handlers: [
        operatorRouter({
          registry,
          metricsToken: config.metricsToken,
          production: config.production,
          isDraining: http.isDraining,
          checkDatabase: () => database.query('select 1 from workspaces limit 1'),
        }),
        supportRouter(messenger, await supportScript()),
        installRouter(app, sessions.signIn),
        settingsRouter({
          ...app,
          sessions,
          upToDate: () => readDatabase.upToDate(PAGE_WAIT_MS),
          replay: (workspaceId, selection) => replayEvents(database, workspaceId, selection),
        }),
      ],
    },
    {
      path: '/webhooks/intercom',
      handlers: [intercomWebhookRouter({ database, clientSecret: config.intercom.clientSecret })],
    },
    { path: '/intercom/uninstall', handlers: [uninstallRouter(app)] },
    { path: '/api', handlers: [messengerApiRouter(messenger)] },
  ];
  http.serve(
    createApp({
      logger,
      production: config.production,
      intercomAppUrl: config.intercom.appUrl,
      trustedProxies: config.trustedProxies,
      first: [http.track, observeRequests(registry)],
      machine,
      open,
    }),
  );

  async function stop(options = { drain: false }): Promise<void> {
    logger.info({ activeDeliveries: worker.activeCount(), uncommitted: journal.uncommitted() }, 'stopping');
    // Others take over deliveries and jobs from now on; requests still need the database and may queue jobs.
    stopping.abort();
    const rested = Promise.all([worker.stop(), processor.stop(), jobs.pause()]);
    rested.catch(() => {});
    await http.stop(options.drain ? config.drainSeconds * 1_000 : 0);
    await rested;
    await jobs.stop();
    await connected.close();
    logger.info('stopped');
  }
  return { url: `http://127.0.0.1:${http.port}`, connected, secrets, stop };
}
