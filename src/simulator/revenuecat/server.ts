import { randomBytes } from 'node:crypto';
import express from 'express';
import { createFaults } from '../faults.ts';
import { listenOnLoopback } from '../listen.ts';
import { actionRoutes } from './actions.ts';
import { catalogRoutes } from './catalog.ts';
import { customerRoutes } from './customers.ts';
import { grantRoutes } from './grants.ts';
import { answerRefusals, authenticate, type Context, errorBody, missing, requireJson } from './http.ts';
import {
  createState,
  ensureEntitlement,
  ensureProduct,
  findProject,
  insertCustomer,
  insertWebhook,
  newId,
  type Project,
  type RevenueCatEvent,
} from './state.ts';
import { RETRY_AFTER_MS, type SendOptions, sendToWebhooks } from './webhooks.ts';

export type RevenueCatSimulator = ReturnType<typeof createRevenueCatSimulator>;

interface PendingWebhook {
  readonly projectId: string;
  readonly event: RevenueCatEvent;
}

/** A simulated RevenueCat: the v2 API and its webhooks, with state in memory. */
export function createRevenueCatSimulator(options: { now?: () => number } = {}) {
  const now = options.now ?? Date.now;
  const state = createState();
  const pending = new Set<PendingWebhook>();

  const takePending = (wanted: Iterable<PendingWebhook>) =>
    [...wanted].filter((each) => pending.delete(each));
  const sendAsRevenueCat = (wanted: Iterable<PendingWebhook>): void => {
    for (const { projectId, event } of takePending(wanted))
      void sendToWebhooks(state, now, projectId, event, { retryAfterMs: RETRY_AFTER_MS });
  };
  const announce: Context['announce'] = (project, customer, events) => {
    customer.events.push(...events);
    const added = events.map((event) => ({ projectId: project.id, event }));
    for (const each of added) pending.add(each);
    if (state.grantWebhookDelayMs !== null)
      setTimeout(sendAsRevenueCat, state.grantWebhookDelayMs, added).unref();
  };
  const context: Context = { state, now, announce };

  const { faults, middleware, control } = createFaults(
    {
      token: () => errorBody(401, 'Invalid API key'),
      status(status, res) {
        if (status !== 429) return errorBody(status, `Simulated ${status}`);
        const limit = String(state.limitsPerMinute.customer);
        res.set({
          'Retry-After': '1',
          'RevenueCat-Rate-Limit-Current-Usage': limit,
          'RevenueCat-Rate-Limit-Current-Limit': limit,
        });
        return errorBody(429, 'Rate limit exceeded');
      },
    },
    now,
  );

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(middleware, control);
  app.use('/v1', (req) => {
    // v1 creates unknown customers, so a client must not use it for look-ups.
    state.violations.push(`${req.method} ${req.originalUrl}`);
    throw missing('API v1 is not simulated');
  });
  app.use(authenticate(context), requireJson, express.json({ limit: '1mb' }));
  app.use(customerRoutes(context), catalogRoutes(context), grantRoutes(context), actionRoutes(context));
  app.use(() => {
    throw missing();
  });
  app.use(answerRefusals);

  const project = (id: string): Project => findProject(state, id);
  return {
    app,
    state,
    faults,
    listen: (port?: number) => listenOnLoopback(app, port),
    addProject({ id = newId('proj'), name = 'Sample App' }: { id?: string; name?: string } = {}): Project {
      const added: Project = {
        id,
        name,
        createdAtMs: now(),
        appId: newId('app'),
        entitlements: [],
        products: [],
        customers: new Map(),
        aliases: new Map(),
        webhooks: [],
      };
      state.projects.set(id, added);
      return added;
    },
    /** Issues a secret key; by default with every scope. */
    issueKey(projectId: string, scopes: readonly string[] = ['*']): string {
      const key = `sk_${randomBytes(18).toString('base64url')}`;
      state.keys.set(key, { projectId: project(projectId).id, scopes, status: 'valid' });
      return key;
    },
    addEntitlement: (projectId: string, lookupKey: string, displayName?: string) =>
      ensureEntitlement(project(projectId), now(), lookupKey, displayName),
    addProduct: (projectId: string, fields: Parameters<typeof ensureProduct>[2]) =>
      ensureProduct(project(projectId), now(), fields),
    addCustomer: (projectId: string, fields: Parameters<typeof insertCustomer>[2]) =>
      insertCustomer(project(projectId), now(), fields),
    addWebhook: (projectId: string, fields: Parameters<typeof insertWebhook>[2]) =>
      insertWebhook(project(projectId), now(), fields),
    /** Posts to every webhook of the project that wants the event. */
    sendWebhook: (projectId: string, event: RevenueCatEvent, sending?: SendOptions) =>
      sendToWebhooks(state, now, projectId, event, sending),
    /** Sends the pending webhooks of grants and revocations, in order. */
    async flushWebhooks(): Promise<void> {
      for (const { projectId, event } of takePending(pending))
        await sendToWebhooks(state, now, projectId, event);
    },
  };
}
