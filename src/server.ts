import { hkdfSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { createLookUp, type ImportJobContext, importJobHandlers, resumeImports } from './backfill/jobs.ts';
import { createImportMetrics } from './backfill/metrics.ts';
import type { Config } from './config.ts';
import { intercomWebhookRouter } from './contacts/webhooks.ts';
import { type Connected, connectDatabase } from './database/connection.ts';
import { openDataDir } from './database/data-dir.ts';
import { SETTLE_MS } from './database/replica.ts';
import { replayEvents } from './delivery/replay.ts';
import { forgetOldAttempts } from './delivery/retention.ts';
import { createDeliveryWorker } from './delivery/worker.ts';
import { AppError } from './errors.ts';
import { leaveGrantNotes } from './grants/note.ts';
import { resumeGrants } from './grants/reconcile.ts';
import { settleGrant } from './grants/revoke.ts';
import { noteWriting } from './grants/words/catalogue.ts';
import { createApp } from './http/app.ts';
import { createDrain } from './http/drain.ts';
import { createMetrics } from './http/metrics.ts';
import { operatorRouter } from './http/operator.ts';
import { tuneRuntime } from './http/runtime.ts';
import { watchServer } from './http/server-metrics.ts';
import { createBackgroundRefresh } from './inbox-card/background-refresh.ts';
import { createOpenings } from './inbox-card/canvas-cache.ts';
import { createCardReader } from './inbox-card/card-reader.ts';
import { createCatalogCache } from './inbox-card/catalog-cache.ts';
import type { CardServices, Refreshed } from './inbox-card/context.ts';
import { inboxCardRouter } from './inbox-card/routes.ts';
import { createKnownIds } from './ingestion/known-ids.ts';
import { redactPayloads } from './ingestion/payload-retention.ts';
import { createReceiver } from './ingestion/receiver.ts';
import { revenueCatWebhookRouter } from './ingestion/routes.ts';
import { storeEvents } from './ingestion/store.ts';
import { type JobHandlers, openJobs } from './jobs/jobs.ts';
import { messengerApiRouter } from './messenger/api-routes.ts';
import { messengerCardRouter } from './messenger/card-routes.ts';
import type { MessengerContext } from './messenger/context.ts';
import { supportRouter, supportScript } from './messenger/support-routes.ts';
import { createCallLimiter } from './revenuecat/call-limiter.ts';
import { settingsRouter } from './settings/routes.ts';
import { type RefreshContext, type RefreshOutcome, refreshSubscriber } from './subscribers/refresh.ts';
import { withTimeout } from './time.ts';
import { checkWorkspace } from './workspaces/check-installation.ts';
import { intercomClientFor, revenueCatClientFor } from './workspaces/clients.ts';
import { checkInstallations } from './workspaces/daily.ts';
import { eraseUninstalled } from './workspaces/erase.ts';
import { reportHealth } from './workspaces/health.ts';
import { type InstallContext, provisionWorkspace } from './workspaces/install.ts';
import { healthRouter, installRouter, uninstallRouter } from './workspaces/routes.ts';
import { createSecretBox, rotateKeys, type SecretBox } from './workspaces/secrets.ts';
import { createSessions } from './workspaces/sessions.ts';
import { readWorkspace } from './workspaces/store.ts';
import { confirmUninstall } from './workspaces/uninstall.ts';

export interface RunningServer {
  /** Where it listens, on loopback. */
  readonly url: string;
  readonly connected: Connected;
  readonly secrets: SecretBox;
  /**
   * Finishes requests, deliveries and jobs, then the database.
   *
   * @param options.drain goes on answering for `DRAIN_SECONDS` first, while `/readyz` says that it is stopping
   */
  stop(options?: { drain: boolean }): Promise<void>;
}

/** Data of a workspace that uninstalled the app is kept for a return, then erased. */
const KEEP_UNINSTALLED_DAYS = 30;
/** Calls of a card: the answer must come while the agent looks, ms. */
const CARD_CALL_TIMEOUT_MS = 2_500;
/** How long a page waits for the replica to catch up before it is read from the primary, ms. */
const PAGE_WAIT_MS = 100;
/** Longer than a proxy keeps an idle connection: then it is the proxy that closes it, and no request is lost, ms. */
const KEEP_ALIVE_MS = 75_000;
/** A request must have arrived within this, ms. */
const REQUEST_MS = 30_000;

/**
 * The keys that seal secrets. Outside production one is made and kept in `DATA_DIR`, so that nobody has to
 * set anything to try the app.
 */
export async function encryptionKeys(config: Config): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  const file = join(config.dataDir, 'encryption.key');
  await openDataDir(config.dataDir);
  try {
    await writeFile(file, randomBytes(32).toString('base64'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
  }
  return [Buffer.from(await readFile(file, 'utf8'), 'base64')];
}

/**
 * Takes the port, wires the parts together and serves. The port comes first: one that is taken is known before
 * anything is begun, and with `PORT=0` it is part of the address that is told to everybody.
 */
export async function startServer(given: Config, logger: Logger): Promise<RunningServer> {
  tuneRuntime();
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: REQUEST_MS }, notYet);
  await listen(server, given.port);
  try {
    const { port } = server.address() as AddressInfo;
    const isAnyPort = given.publicUrl === `http://localhost:${given.port}`;
    const config = isAnyPort ? { ...given, publicUrl: `http://localhost:${port}` } : given;
    const running = await wire(config, logger, server);
    logger.info({ port, role: config.role, publicUrl: config.publicUrl }, 'listening');
    return running;
  } catch (error) {
    server.close();
    server.closeAllConnections();
    throw error;
  }
}

/** While the database starts and is migrated. */
const notYet: RequestListener = (_req, res) => {
  res.writeHead(503, { 'Content-Type': 'application/json', 'Retry-After': '1', Connection: 'close' });
  res.end('{"status":"starting"}');
};

async function wire(config: Config, logger: Logger, server: Server): Promise<RunningServer> {
  const keys = await encryptionKeys(config);
  const secrets = createSecretBox(keys);
  const connected = await connectDatabase(config, logger, { readReplica: true, keepEmbedded: true });
  const { database } = connected;
  const now = Date.now;
  const jobs = await openJobs({
    databaseUrl: connected.url,
    backend: config.databaseBackend,
    listen: connected.url === connected.sessionUrl,
    logger,
  });
  const install: InstallContext = { config, database, secrets, jobs, logger, now };
  const knownIds = createKnownIds();
  const receiver = createReceiver((workspaceId, projectId, events) =>
    storeEvents(database, workspaceId, projectId, events, null, knownIds),
  );
  const metrics = createMetrics({
    database,
    inHand: () => worker.inHand(),
    receiving: receiver.pending,
    rateUsed: () => worker.rateUsed(),
  });
  const importMetrics = createImportMetrics(metrics.registry);
  const refresh: RefreshContext = {
    database,
    logger,
    secrets,
    config,
    limiter: createCallLimiter({ database }),
    now,
    onDisagreement: importMetrics.disagreement,
    onKeyState: (workspaceId: string) => jobs.send('workspace.health', { workspaceId }),
  };
  const stopping = new AbortController();
  const worker = createDeliveryWorker({
    database,
    databaseUrl: connected.sessionUrl,
    logger,
    secrets,
    config,
    metrics: metrics.delivery,
    onHealthChanged: (workspaceId) => jobs.send('workspace.health', { workspaceId }),
    requestRefresh: (workspaceId, subscriberId) =>
      jobs.send('subscriber.refresh', { workspaceId, subscriberId }),
  });

  const card: CardServices = {
    database,
    readDatabase: connected.readDatabase,
    readCard: createCardReader(connected.readDatabase),
    settle: () => connected.readDatabase.upToDate(SETTLE_MS),
    jobs,
    logger,
    publicUrl: config.publicUrl,
    storedDataKey: derivedKey(keys, 'stored-data'),
    catalog: createCatalogCache(now),
    openings: createOpenings(now),
    refreshLater: createBackgroundRefresh({ jobs, logger, now }),
    importLater: createLookUp({ jobs, logger }),
    now,
    revenueCat: (project, timeoutMs = CARD_CALL_TIMEOUT_MS) =>
      revenueCatClientFor(refresh, project, { priority: 'interactive', timeoutMs }),
    refresh: (workspaceId, subscriberId, waitMs) =>
      refreshWithin(waitMs, () => refreshSubscriber(refresh, workspaceId, subscriberId, 'interactive')),
  };
  const messenger: MessengerContext = {
    database,
    readDatabase: connected.readDatabase,
    secrets,
    logger,
    publicUrl: config.publicUrl,
    production: config.production,
    now,
    requestRefresh: (workspaceId, subscriberId) =>
      jobs.send('subscriber.refresh', { workspaceId, subscriberId }),
  };
  const sessions = createSessions({
    database,
    secret: derivedKey(keys, 'sessions'),
    secure: config.production,
  });

  if (config.role !== 'web') {
    worker.start();
    await jobs.work(
      jobHandlers(install, card, {
        ...refresh,
        jobs,
        stopping: stopping.signal,
        onReconciled: importMetrics.reconciled,
      }),
    );
    await resumeImports({ database, jobs });
    await resumeGrants({ database, jobs });
  }

  const drain = createDrain();
  const app = createApp({
    logger,
    drain,
    watch: watchServer(metrics.registry, connected),
    production: config.production,
    clientSecret: config.intercom.clientSecret,
    intercomAppUrl: config.intercom.appUrl,
    routers: {
      busy: [
        {
          path: '/webhooks/revenuecat',
          router: revenueCatWebhookRouter({ database, receiver, secrets, now, onReceived: metrics.received }),
        },
      ],
      open: [
        {
          path: '/',
          router: operatorRouter({
            database,
            registry: metrics.registry,
            metricsToken: config.metricsToken,
            isDraining: drain.isDraining,
          }),
        },
        {
          path: '/webhooks/intercom',
          router: intercomWebhookRouter({ database, clientSecret: config.intercom.clientSecret }),
        },
        { path: '/intercom/uninstall', router: uninstallRouter(install) },
        { path: '/api', router: messengerApiRouter(messenger) },
        { path: '/', router: supportRouter(messenger, await supportScript()) },
        { path: '/', router: installRouter(install, (res, installed) => sessions.signIn(res, installed)) },
        {
          path: '/',
          router: settingsRouter({
            ...install,
            sessions,
            upToDate: () => connected.readDatabase.upToDate(PAGE_WAIT_MS),
            replay: (workspaceId, selection) => replayEvents(database, workspaceId, selection),
          }),
        },
      ],
      signed: [
        { path: '/intercom/health', router: healthRouter(install) },
        { path: '/canvas/inbox', router: inboxCardRouter(card) },
        { path: '/canvas/messenger', router: messengerCardRouter(messenger) },
      ],
    },
  });

  async function stop(options = { drain: false }): Promise<void> {
    logger.info({ inHand: worker.inHand(), uncommitted: receiver.pending() }, 'stopping');
    // Others take over deliveries and jobs from now on; requests still need the database and may queue jobs.
    stopping.abort();
    const rested = Promise.all([worker.stop(), jobs.rest()]);
    rested.catch(() => {});
    await drain.stop(server, options.drain ? config.drainSeconds * 1_000 : 0);
    await rested;
    await jobs.stop();
    await connected.close();
    logger.info('stopped');
  }
  server.off('request', notYet);
  server.on('request', app);
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, connected, secrets, stop };
}

/** @throws AppError when the port cannot be had: a person must choose another one */
async function listen(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, resolve);
  try {
    await promise;
  } catch (error) {
    const reasons: Readonly<Record<string, string>> = {
      EADDRINUSE: 'another process listens there',
      EACCES: 'this user may not listen there',
    };
    const reason = reasons[String((error as { code?: unknown }).code)];
    if (reason === undefined) throw error;
    throw new AppError('conflict', `PORT ${port} cannot be used: ${reason}. Set PORT to another one.`, {
      cause: error,
    });
  }
}

/** One key for each use, so that none of them tells anything of the others. */
function derivedKey(keys: readonly Buffer[], use: string): string {
  return Buffer.from(hkdfSync('sha256', keys[0] ?? '', '', use, 32)).toString('base64url');
}

/** The agent does not wait longer; what was begun goes on behind. */
async function refreshWithin(waitMs: number, refresh: () => Promise<RefreshOutcome>): Promise<Refreshed> {
  const work = refresh().catch((error: unknown) => {
    if (error instanceof AppError) return 'unavailable' as const;
    throw error;
  });
  return withTimeout(work, waitMs, () => 'later' as const);
}

function jobHandlers(install: InstallContext, card: CardServices, refresh: ImportJobContext): JobHandlers {
  const { database, config, secrets, logger, now, jobs } = install;
  return {
    ...importJobHandlers(refresh),
    async 'subscriber.refresh'({ workspaceId, subscriberId }) {
      try {
        await refreshSubscriber(refresh, workspaceId, subscriberId);
      } catch (error) {
        if (!(error instanceof AppError) || error.remedy.kind !== 'wait_until') throw error;
        const afterSeconds = Math.max(1, Math.ceil((error.remedy.atMs - now()) / 1_000));
        await jobs.send('subscriber.refresh', { workspaceId, subscriberId }, { afterSeconds });
      }
    },
    'grant.settle': ({ workspaceId, grantId }) => settleGrant(card, workspaceId, grantId),
    async 'grant.note'({ workspaceId, grantId }) {
      const workspace = await readWorkspace(database, workspaceId);
      // Without a connection the notes wait for the daily look at what is left over.
      const client = workspace && intercomClientFor(install, workspace);
      if (!client || workspace.status !== 'connected') return;
      await leaveGrantNotes({ database, logger, client, ...noteWriting(workspace) }, workspaceId, grantId);
    },
    'workspace.provision': ({ workspaceId }) => provisionWorkspace(install, workspaceId),
    async 'workspace.confirm-uninstall'({ workspaceId }) {
      await confirmUninstall(install, workspaceId);
    },
    'workspace.health': ({ workspaceId }) => reportHealth(install, workspaceId),
    async 'workspace.check'({ workspaceId }) {
      await checkWorkspace(install, workspaceId);
      await reportHealth(install, workspaceId);
    },
    async 'maintenance.daily'() {
      const { unreadable } = await rotateKeys(database, secrets);
      if (unreadable.length > 0) logger.error({ unreadable }, 'no key opens these secrets');
      const erased = await eraseUninstalled(database, KEEP_UNINSTALLED_DAYS);
      if (erased.length > 0) logger.info({ workspaces: erased.length }, 'erased uninstalled workspaces');
      await checkInstallations(install);
      await forgetOldAttempts(database);
      await resumeGrants({ database, jobs });
      await redactPayloads(database, config.payloadRetentionDays, { logger, signal: refresh.stopping });
    },
  };
}
