import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { createLookUp } from './backfill/jobs.ts';
import { createImportMetrics, type ImportMetrics } from './backfill/metrics.ts';
import type { Config } from './config.ts';
import { type Connected, connectDatabase } from './database/connection.ts';
import { addDatabaseMetrics, createDatabaseGauges } from './database/metrics.ts';
import { type ReadDatabase, SETTLE_MS } from './database/replica.ts';
import { addBacklogMetrics, addWorkerMetrics, createDeliveryMetrics } from './delivery/metrics.ts';
import { DeliveryWorker } from './delivery/worker.ts';
import { createRegistry } from './http/metrics.ts';
import { createCanvasCache } from './inbox-card/canvas-cache.ts';
import { createCardReader } from './inbox-card/card-repository.ts';
import type { CardServices } from './inbox-card/context.ts';
import { createBackgroundRefresh } from './inbox-card/refresh.ts';
import { createJournal, type Journal, notifyProcessors } from './ingestion/journal.ts';
import { addJournalMetrics, createReceiverMetrics } from './ingestion/metrics.ts';
import { createProcessor, type Processor } from './ingestion/processor.ts';
import { type JobQueue, openJobs } from './jobs/jobs.ts';
import { addJobMetrics } from './jobs/metrics.ts';
import type { MessengerContext } from './messenger/context.ts';
import { createCallLimiter } from './revenuecat/call-limiter.ts';
import { createCatalogCache } from './revenuecat/catalog-names.ts';
import { type RefreshContext, refreshWithin } from './subscribers/refresh.ts';
import { revenueCatClientFor } from './workspaces/clients.ts';
import { deriveKey, loadEncryptionKeys } from './workspaces/encryption-keys.ts';
import type { WorkspaceContext } from './workspaces/install.ts';
import { addWorkspaceMetrics } from './workspaces/metrics.ts';
import { createSecretBox } from './workspaces/secrets.ts';
import { createSessions, type Sessions } from './workspaces/sessions.ts';

/** Calls of a card: the response must come while the agent looks, ms. */
const CARD_CALL_TIMEOUT_MS = 2_500;

/** Everything that routers and jobs need, built once for a process. */
export interface Services {
  readonly app: WorkspaceContext;
  readonly connected: Connected;
  readonly jobs: JobQueue;
  readonly registry: Registry;
  readonly journal: Journal;
  readonly processor: Processor;
  readonly onReceived: ReturnType<typeof createReceiverMetrics>;
  readonly worker: DeliveryWorker;
  readonly refresh: RefreshContext;
  readonly importMetrics: ImportMetrics;
  readonly card: CardServices;
  readonly messenger: MessengerContext;
  readonly sessions: Sessions;
  /** Aborted first when the process stops. */
  readonly stopping: AbortController;
}

export async function createServices(config: Config, logger: Logger): Promise<Services> {
  const keys = await loadEncryptionKeys(config);
  const connected = await connectDatabase(config, logger, { readReplica: true, keepEmbedded: true });
  const { database, readDatabase } = connected;
  const { publicUrl, production } = config;
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: connected.url === connected.sessionUrl,
    logger,
  });
  const secrets = createSecretBox(keys);
  const app: WorkspaceContext = { config, database, secrets, jobs, logger, now: Date.now };
  const registry = createAppRegistry(connected);
  const importMetrics = createImportMetrics(registry);
  const requestRefresh = (workspaceId: string, subscriberId: string): Promise<void> =>
    jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  const reportHealth = (workspaceId: string): Promise<void> => jobs.send('workspace.health', { workspaceId });
  const refresh: RefreshContext = {
    ...app,
    limiter: createCallLimiter({ database }),
    onDisagreement: importMetrics.disagreement,
    onKeyState: reportHealth,
  };
  const processor = createProcessor({ ...app, databaseUrl: connected.sessionUrl });
  const journal = createJournal(database, (project) => {
    // In the same process the round trip of NOTIFY is saved. Where it fails, polling finds the webhooks.
    if (config.role === 'web') notifyProcessors(database, project).catch(() => {});
    else processor.wake(project);
  });
  const worker = new DeliveryWorker({
    ...app,
    databaseUrl: connected.sessionUrl,
    metrics: createDeliveryMetrics(registry),
    onHealthChanged: reportHealth,
    requestRefresh,
  });
  addWorkerMetrics(registry, worker);
  return {
    app,
    connected,
    jobs,
    registry,
    refresh,
    importMetrics,
    journal,
    processor,
    onReceived: createReceiverMetrics(registry, journal.uncommitted),
    worker,
    card: createCardServices(app, refresh, {
      readDatabase,
      storedDataKey: deriveKey(keys, 'stored-data'),
      pictureKey: deriveKey(keys, 'pictures'),
    }),
    messenger: { ...app, readDatabase, publicUrl, production, requestRefresh },
    stopping: new AbortController(),
    sessions: createSessions(app, deriveKey(keys, 'sessions')),
  };
}

function createCardServices(
  app: WorkspaceContext,
  refresh: RefreshContext,
  { readDatabase, ...keys }: { readDatabase: ReadDatabase; storedDataKey: string; pictureKey: string },
): CardServices {
  return {
    ...app,
    readDatabase,
    cards: createCardReader(readDatabase),
    waitForReplica: () => readDatabase.upToDate(SETTLE_MS),
    publicUrl: app.config.publicUrl,
    ...keys,
    catalog: createCatalogCache(app.now),
    canvases: createCanvasCache(app.now),
    refreshLater: createBackgroundRefresh(app),
    importLater: createLookUp(app),
    revenueCat: (project, timeoutMs = CARD_CALL_TIMEOUT_MS) =>
      revenueCatClientFor(refresh, project, { priority: 'interactive', timeoutMs }),
    refresh: (workspaceId, subscriberId, waitMs) =>
      refreshWithin(refresh, { workspaceId, subscriberId }, waitMs),
  };
}

function createAppRegistry(connected: Connected): Registry {
  const registry = createRegistry();
  const gauges = createDatabaseGauges(registry, connected.database);
  addDatabaseMetrics(registry, gauges, connected);
  addJobMetrics(gauges);
  addWorkspaceMetrics(gauges);
  addBacklogMetrics(gauges);
  addJournalMetrics(gauges);
  return registry;
}
