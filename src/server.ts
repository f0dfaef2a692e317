import type { RequestListener } from 'node:http';
import type { Logger } from 'pino';
import { backfillJobs, resumeImports } from './backfill/jobs.ts';
import type { Config } from './config.ts';
import { contactJobs } from './contacts/jobs.ts';
import { intercomWebhookRouter } from './contacts/webhooks.ts';
import { isReadOnly } from './database/sql.ts';
import { deliveryJobs } from './delivery/jobs.ts';
import { grantJobs, resumeGrants } from './grants/jobs.ts';
import { createApp } from './http/app.ts';
import { refuseLargeBody } from './http/body.ts';
import { observeRequests } from './http/metrics.ts';
import { operatorRouter } from './http/operator.ts';
import { type HttpServer, openHttpServer } from './http/server.ts';
import { signedJson } from './http/signed.ts';
import { pictureRouter } from './inbox-card/picture.ts';
import { inboxCardRouter } from './inbox-card/routes.ts';
import { ingestionJobs } from './ingestion/jobs.ts';
import { revenueCatWebhookRouter } from './ingestion/routes.ts';
import { bodySignature } from './intercom/signatures.ts';
import { messengerApiRouter } from './messenger/api-routes.ts';
import { messengerCardRouter } from './messenger/card-routes.ts';
import { supportRouter } from './messenger/support-routes.ts';
import { createServices, type Services } from './services.ts';
import { LARGE_FORMS, settingsRouter } from './settings/routes.ts';
import { subscriberJobs } from './subscribers/jobs.ts';
import type { AppContext } from './workspaces/app-context.ts';
import { workspaceJobs } from './workspaces/jobs.ts';
import { healthRouter, installRouter, uninstallRouter } from './workspaces/routes.ts';

export type RunningServer = Awaited<ReturnType<typeof startServer>>;

/** Canvas Kit sends the whole conversation. */
const MAX_CANVAS_BYTES = 10 * 1024 * 1024;

/**
 * Builds the services, mounts the routers, starts the workers.
 *
 * @param stopping when aborted, a start that waits for a lock rejects
 */
export async function startServer(given: Config, logger: Logger, stopping = new AbortController()) {
  const http = await openHttpServer(given);
  try {
    // With PORT=0 the port is known only now.
    const isAnyPort = given.publicUrl === `http://localhost:${given.port}`;
    const config = isAnyPort ? { ...given, publicUrl: `http://localhost:${http.port}` } : given;
    const services = await createServices(config, logger, stopping);
    await startJobs(services);
    await http.serve(createRoutes(services, http));
    logger.info({ port: http.port, role: config.role, publicUrl: config.publicUrl }, 'listening');
    return {
      /** Where it listens, on loopback. */
      url: `http://127.0.0.1:${http.port}`,
      connected: services.connected,
      secrets: services.app.secrets,
      /** Finishes requests, deliveries and jobs. `drain`: first serves for `DRAIN_SECONDS`, with `/readyz` at 503. */
      stop: (options: { drain: boolean } = { drain: false }): Promise<void> => stop(services, http, options),
    };
  } catch (error) {
    await http.stop(0);
    throw error;
  }
}

async function startJobs(services: Services): Promise<void> {
  const { app, jobs, processor, worker } = services;
  /** For jobs that call Intercom often: they share its rate limit with the deliveries. */
  const paced: AppContext = {
    ...app,
    intercom: (workspace, calls) =>
      app.intercom(workspace, { gate: worker.gateOf(workspace.workspaceId), ...calls }),
  };
  const { signal: stopping } = services.stopping;
  await jobs.register({
    ...workspaceJobs(app),
    ...contactJobs(paced),
    ...subscriberJobs(app, stopping),
    ...ingestionJobs(app, stopping),
    ...deliveryJobs(app),
    ...grantJobs(app),
    ...backfillJobs(app, stopping),
  });
  if (app.config.role === 'web') return;
  processor.start();
  worker.start();
  await jobs.work();
  await resumeImports(app);
  await resumeGrants(app);
}

function createRoutes(services: Services, http: HttpServer): RequestListener {
  const { app, card, journal, onReceived, registry, sessions } = services;
  const { config, database, logger } = app;
  const { clientSecret, appUrl } = config.intercom;
  const signed = signedJson(bodySignature, { secret: clientSecret, maxBytes: MAX_CANVAS_BYTES });
  const webhooks = revenueCatWebhookRouter({ ...app, journal, onReceived });
  const support = supportRouter(app, card.refreshIfStale);
  const operator = operatorRouter({
    registry,
    metricsToken: config.metricsToken,
    production: config.production,
    isDraining: http.isDraining,
    isReadOnly: () => isReadOnly(database),
  });
  const settings = settingsRouter(app, sessions);
  return createApp({
    logger,
    production: config.production,
    intercomAppUrl: appUrl,
    trustedProxies: config.trustedProxies,
    first: [http.track, observeRequests(registry)],
    platformRoutes: [
      { path: '/webhooks/revenuecat', handlers: [webhooks] },
      { path: '/intercom/health', handlers: [signed, healthRouter(app)] },
      { path: '/canvas/inbox', handlers: [signed, inboxCardRouter(card)] },
      { path: '/pictures', handlers: [pictureRouter(card)] },
      { path: '/canvas/messenger', handlers: [signed, messengerCardRouter(app, card.refreshIfStale)] },
    ],
    otherRoutes: [
      { path: '/webhooks/intercom', handlers: [intercomWebhookRouter({ ...app, clientSecret })] },
      { path: '/', handlers: [refuseLargeBody(LARGE_FORMS)] },
      { path: '/intercom/uninstall', handlers: [uninstallRouter(app)] },
      { path: '/api', handlers: [messengerApiRouter(app)] },
      { path: '/', handlers: [operator, support, installRouter(app, sessions.signIn), settings] },
    ],
  });
}

async function stop(
  { app, connected, jobs, journal, processor, stopping, worker }: Services,
  http: HttpServer,
  options: { drain: boolean },
): Promise<void> {
  const { config, logger } = app;
  logger.info({ activeDeliveries: worker.activeCount(), uncommitted: journal.uncommitted() }, 'stopping');
  // Other processes take over deliveries and jobs now; requests still need the database and may queue jobs.
  stopping.abort();
  const rested = Promise.all([worker.stop(), processor.stop(), jobs.pause()]);
  rested.catch(() => {});
  await http.stop(options.drain ? config.drainSeconds * 1_000 : 0);
  await rested;
  await jobs.stop();
  await connected.close();
  logger.info('stopped');
}
