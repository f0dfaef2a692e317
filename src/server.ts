import { hkdfSync, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { type Connected, connectDatabase } from './database/connection.ts';
import { replayEvents } from './delivery/store.ts';
import { createDeliveryWorker } from './delivery/worker.ts';
import { AppError } from './errors.ts';
import { settleGrant } from './grants/grant.ts';
import { leaveGrantNote } from './grants/note.ts';
import { createApp } from './http/app.ts';
import { createMetrics } from './http/metrics.ts';
import { operatorRouter } from './http/operator.ts';
import type { CardContext } from './inbox-card/context.ts';
import { datesIn } from './inbox-card/dates.ts';
import { inboxCardRouter } from './inbox-card/routes.ts';
import { createIntercomClient, intercomApiUrl } from './intercom/client.ts';
import { intercomWebhookRouter } from './intercom/webhooks.ts';
import { type JobHandlers, openJobs } from './jobs/jobs.ts';
import { createReceiver } from './revenuecat/receiver.ts';
import { clientFor, refreshSubscriber } from './revenuecat/refresh.ts';
import { revenueCatWebhookRouter } from './revenuecat/routes.ts';
import { storeEvents } from './revenuecat/store.ts';
import { settingsRouter } from './settings/routes.ts';
import { reportHealth } from './workspaces/health.ts';
import { type InstallContext, provisionWorkspace } from './workspaces/install.ts';
import { resealSecrets } from './workspaces/reseal.ts';
import { healthRouter, installRouter, uninstallRouter } from './workspaces/routes.ts';
import { createSecretBox, type SecretBox } from './workspaces/secrets.ts';
import { createSessions } from './workspaces/sessions.ts';
import { eraseUninstalled, readWorkspace, sealedAs } from './workspaces/store.ts';
import { confirmUninstall } from './workspaces/uninstall.ts';

export interface RunningServer {
  /** Where it listens, on loopback. */
  readonly url: string;
  readonly connected: Connected;
  readonly secrets: SecretBox;
  /** Finishes requests, deliveries and jobs, then the database. */
  stop(): Promise<void>;
}

/** Data of a workspace that uninstalled the app is kept for a return, then erased. */
const KEEP_UNINSTALLED_DAYS = 30;
/** Calls of a card: the answer must come while the agent looks, ms. */
const CARD_CALL_TIMEOUT_MS = 2_500;
/** A request that is still open after this does not delay a stop any longer, ms. */
const DRAIN_MS = 10_000;

/**
 * The keys that seal secrets. Outside production one is made and kept in `DATA_DIR`, so that nobody has to
 * set anything to try the app.
 */
export async function encryptionKeys(config: Config): Promise<readonly Buffer[]> {
  if (config.encryptionKeys.length > 0) return config.encryptionKeys;
  const file = join(config.dataDir, 'encryption.key');
  await mkdir(config.dataDir, { recursive: true });
  try {
    await writeFile(file, randomBytes(32).toString('base64'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
  }
  return [Buffer.from(await readFile(file, 'utf8'), 'base64')];
}

/** Wires the parts together and serves. */
export async function startServer(config: Config, logger: Logger): Promise<RunningServer> {
  const keys = await encryptionKeys(config);
  const secrets = createSecretBox(keys);
  const connected = await connectDatabase(config, logger);
  const { database } = connected;
  const now = Date.now;
  const jobs = await openJobs({ databaseUrl: connected.url, backend: config.databaseBackend, logger });
  const install: InstallContext = { config, database, secrets, jobs, logger, now };
  const refresh = { database, logger, secrets, apiUrl: config.revenueCatApiUrl, now };

  const receiver = createReceiver((workspaceId, projectId, events) =>
    storeEvents(database, workspaceId, projectId, events),
  );
  const metrics = createMetrics({ inHand: () => worker.inHand(), receiving: receiver.pending });
  const worker = createDeliveryWorker({
    database,
    databaseUrl: connected.url,
    logger,
    secrets,
    intercomApiUrl: config.intercom.apiUrl,
    count: metrics.delivery,
    requestRefresh: (workspaceId, subscriberId) =>
      jobs.send('subscriber.refresh', { workspaceId, subscriberId }),
  });

  const card: CardContext = {
    database,
    readDatabase: database,
    jobs,
    logger,
    publicUrl: config.publicUrl,
    storedDataKey: derivedKey(keys, 'stored-data'),
    now,
    revenueCat: (project) => clientFor(project, refresh, CARD_CALL_TIMEOUT_MS),
    refresh: (workspaceId, subscriberId, waitMs) =>
      refreshWithin(waitMs, () => refreshSubscriber(refresh, workspaceId, subscriberId)),
  };
  const sessions = createSessions({
    database,
    secret: derivedKey(keys, 'sessions'),
    secure: config.production,
  });

  if (config.role !== 'web') {
    worker.start();
    await jobs.work(jobHandlers(install, card, refresh));
  }

  const app = createApp({
    logger,
    production: config.production,
    clientSecret: config.intercom.clientSecret,
    intercomAppUrl: config.intercom.appUrl,
    routers: {
      open: [
        {
          path: '/',
          router: operatorRouter({ database, registry: metrics.registry, metricsToken: config.metricsToken }),
        },
        {
          path: '/webhooks/revenuecat',
          router: revenueCatWebhookRouter({ database, receiver, secrets, now, onReceived: metrics.received }),
        },
        {
          path: '/webhooks/intercom',
          router: intercomWebhookRouter({ database, clientSecret: config.intercom.clientSecret }),
        },
        { path: '/intercom/uninstall', router: uninstallRouter(install) },
        { path: '/', router: installRouter(install, (res, installed) => sessions.signIn(res, installed)) },
        {
          path: '/',
          router: settingsRouter({
            ...install,
            sessions,
            replay: (workspaceId, selection) => replayEvents(database, workspaceId, selection),
          }),
        },
      ],
      signed: [
        { path: '/intercom/health', router: healthRouter(install) },
        { path: '/canvas/inbox', router: inboxCardRouter(card) },
      ],
    },
  });

  const server = createServer(app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, resolve);
  });
  const { port } = server.address() as AddressInfo;
  logger.info({ port, role: config.role, publicUrl: config.publicUrl }, 'listening');

  return {
    url: `http://127.0.0.1:${port}`,
    connected,
    secrets,
    async stop() {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
        server.closeIdleConnections();
      });
      await worker.stop();
      await jobs.stop();
      await connected.close();
      logger.info('stopped');
    },
  };
}

/** One key for each use, so that none of them tells anything of the others. */
function derivedKey(keys: readonly Buffer[], use: string): string {
  return Buffer.from(hkdfSync('sha256', keys[0] ?? '', '', use, 32)).toString('base64url');
}

/** The agent does not wait longer; what was begun goes on behind. */
async function refreshWithin(
  waitMs: number,
  refresh: () => Promise<string>,
): Promise<'refreshed' | 'later' | 'unavailable'> {
  const { promise: late, resolve } = Promise.withResolvers<'later'>();
  const timer = setTimeout(() => resolve('later'), waitMs);
  try {
    const work = refresh().then(
      () => 'refreshed' as const,
      (error: unknown) => {
        if (error instanceof AppError) return 'unavailable' as const;
        throw error;
      },
    );
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function jobHandlers(
  install: InstallContext,
  card: CardContext,
  refresh: Parameters<typeof refreshSubscriber>[0],
): JobHandlers {
  const { database, config, secrets, logger, now, jobs } = install;
  return {
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
      if (!workspace?.accessToken || workspace.status !== 'connected') return;
      const client = createIntercomClient({
        apiUrl: intercomApiUrl(config.intercom.apiUrl, workspace.region),
        accessToken: secrets.open(workspace.accessToken, sealedAs.accessToken(workspaceId)),
      });
      const dates = datesIn('en-US', workspace.timezone);
      await leaveGrantNote({ database, client, formatDate: dates.date }, workspaceId, grantId);
    },
    'workspace.provision': ({ workspaceId }) => provisionWorkspace(install, workspaceId),
    async 'workspace.confirm-uninstall'({ workspaceId }) {
      await confirmUninstall(install, workspaceId);
    },
    'workspace.health': ({ workspaceId }) => reportHealth(install, workspaceId),
    async 'maintenance.daily'() {
      await resealSecrets(database, secrets);
      const erased = await eraseUninstalled(database, KEEP_UNINSTALLED_DAYS);
      if (erased.length > 0) logger.info({ workspaces: erased.length }, 'erased uninstalled workspaces');
    },
  };
}
