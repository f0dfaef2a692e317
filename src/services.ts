import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import { connectDatabase, type DatabaseConnection } from './database/connection.ts';
import { addDatabaseMetrics } from './database/metrics.ts';
import { addBacklogMetrics, addWorkerMetrics, createDeliveryMetrics } from './delivery/metrics.ts';
import { DeliveryWorker } from './delivery/worker.ts';
import { createRegistry } from './http/metrics.ts';
import { createCanvasCache } from './inbox-card/canvas-cache.ts';
import { createCardReader } from './inbox-card/card-repository.ts';
import type { CardApp } from './inbox-card/context.ts';
import { createJournal, notifiedProject, notifyProcessors, WEBHOOK_CHANNEL } from './ingestion/journal.ts';
import { addJournalMetrics, createReceiverMetrics } from './ingestion/metrics.ts';
import { createProcessor } from './ingestion/processor.ts';
import { openJobs } from './jobs/jobs.ts';
import { addJobMetrics } from './jobs/metrics.ts';
import { createCatalogCache } from './revenuecat/catalog.ts';
import { createRefreshIfStale, refreshAfterTransfer } from './subscribers/refresh.ts';
import { type AppContext, createAppContext } from './workspaces/app-context.ts';
import { addWorkspaceMetrics, createAppCounters } from './workspaces/metrics.ts';
import { deriveKey, loadEncryptionKeys } from './workspaces/secrets.ts';
import { createSessions } from './workspaces/sessions.ts';

/** Timeout for API calls of a card, ms: the agent is waiting for the card. */
const CARD_CALL_TIMEOUT_MS = 2_500;

export type Services = Awaited<ReturnType<typeof createServices>>;

export async function createServices(config: Config, logger: Logger, stopping: AbortController) {
  const keys = await loadEncryptionKeys(config);
  const connected = await connectDatabase(config, logger, { forServer: true, stopping: stopping.signal });
  const { database, sessionUrl } = connected;
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: connected.url === sessionUrl,
    logger,
  });
  const registry = createAppRegistry(connected);
  const counters = createAppCounters(registry);
  const app = createAppContext({ ...connected, config, jobs, logger, counters }, keys);
  const worker = new DeliveryWorker({
    ...app,
    sessionUrl,
    channels: { [WEBHOOK_CHANNEL]: (payload) => processor.wake(notifiedProject(payload)) },
    metrics: createDeliveryMetrics(registry),
  });
  addWorkerMetrics(registry, worker);
  const processor = createProcessor({
    ...app,
    onPending: (workspaceId) => worker.wake(workspaceId),
    onTransfer: (project, appUserIds) => refreshAfterTransfer(app, project, appUserIds),
  });
  const journal = createJournal(database, (project) => {
    // In the same process a direct call saves the round trip of NOTIFY. If NOTIFY fails, polling finds the webhooks.
    if (config.role === 'web') notifyProcessors(database, project).catch(() => {});
    else processor.wake(project);
  });
  return {
    app,
    connected,
    jobs,
    registry,
    journal,
    processor,
    onReceived: createReceiverMetrics(registry, journal.uncommitted),
    worker,
    card: createCardApp(app, keys),
    /** Aborted first when the process stops. */
    stopping,
    sessions: createSessions(app, deriveKey(keys, 'sessions')),
  };
}

function createCardApp(app: AppContext, keys: readonly Buffer[]): CardApp {
  return {
    ...app,
    revenueCat: (project, calls) => app.revenueCat(project, { timeoutMs: CARD_CALL_TIMEOUT_MS, ...calls }),
    cards: createCardReader(app.readDatabase),
    storedDataKey: deriveKey(keys, 'stored-data'),
    pictureKey: deriveKey(keys, 'pictures'),
    catalog: createCatalogCache(app.now),
    cachedCanvas: createCanvasCache(app.now),
    refreshIfStale: createRefreshIfStale(app),
  };
}

function createAppRegistry(connected: DatabaseConnection): Registry {
  const registry = createRegistry();
  const to = { registry, database: connected.database };
  addDatabaseMetrics(registry, connected);
  addJobMetrics(to);
  addWorkspaceMetrics(to);
  addBacklogMetrics(to);
  addJournalMetrics(to);
  return registry;
}
