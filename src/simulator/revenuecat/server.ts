import { randomBytes } from 'node:crypto';
import express, { type Express } from 'express';
import { createFaults, type Faults } from '../faults.ts';
import { type Listening, listenOnLoopback } from '../listen.ts';
import { actionRoutes } from './actions.ts';
import { catalogRoutes } from './catalog.ts';
import { customerRoutes } from './customers.ts';
import { grantRoutes } from './grants.ts';
import { answerRefusals, authenticate, type Context, errorBody, missing, requireJson } from './http.ts';
import {
  type Customer,
  createState,
  type Entitlement,
  ensureEntitlement,
  ensureProduct,
  findProject,
  insertCustomer,
  insertWebhook,
  newId,
  type Product,
  type Project,
  type RevenueCatEvent,
  type RevenueCatState,
  type Webhook,
} from './state.ts';
import { RETRY_AFTER_MS, type SendOptions, sendToWebhooks, type WebhookAnswer } from './webhooks.ts';

export interface RevenueCatSimulator {
  readonly app: Express;
  readonly state: RevenueCatState;
  readonly faults: Faults;
  listen(port?: number): Promise<Listening>;
  addProject(fields?: { id?: string; name?: string }): Project;
  /** Issues a secret key; by default with every scope. */
  issueKey(projectId: string, scopes?: readonly string[]): string;
  addEntitlement(projectId: string, lookupKey: string, displayName?: string): Entitlement;
  addProduct(projectId: string, fields: Pick<Product, 'storeIdentifier'> & Partial<Product>): Product;
  addCustomer(projectId: string, fields: Parameters<typeof insertCustomer>[2]): Customer;
  addWebhook(
    projectId: string,
    fields: { url: string; authorizationHeader?: string; signingSecret?: string },
  ): Webhook;
  /** Posts to every webhook of the project that wants the event. */
  sendWebhook(projectId: string, event: RevenueCatEvent, options?: SendOptions): Promise<WebhookAnswer[]>;
  /** Sends the pending webhooks of grants and revocations, in order. */
  flushWebhooks(): Promise<WebhookAnswer[]>;
}

/** A simulated RevenueCat: the v2 API and its webhooks, with state in memory. */
export function createRevenueCatSimulator(options: { now?: () => number } = {}): RevenueCatSimulator {
  const now = options.now ?? Date.now;
  const state = createState();
  let pending: { projectId: string; event: RevenueCatEvent }[] = [];

  const takePending = (wanted: typeof pending): typeof pending => {
    const due = wanted.filter((each) => pending.includes(each));
    pending = pending.filter((each) => !due.includes(each));
    return due;
  };
  const flushWebhooks = async (): Promise<WebhookAnswer[]> => {
    const answers: WebhookAnswer[] = [];
    for (const { projectId, event } of takePending(pending))
      answers.push(...(await sendToWebhooks(state, now, projectId, event)));
    return answers;
  };
  const sendAsRevenueCat = (wanted: typeof pending): void => {
    for (const { projectId, event } of takePending(wanted))
      void sendToWebhooks(state, now, projectId, event, { retryAfterMs: RETRY_AFTER_MS });
  };
  const announce: Context['announce'] = (project, customer, events) => {
    customer.events.push(...events);
    const added = events.map((event) => ({ projectId: project.id, event }));
    pending.push(...added);
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
    listen: (port) => listenOnLoopback(app, port),
    addProject({ id = newId('proj'), name = 'Sample App' } = {}) {
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
    issueKey(projectId, scopes = ['*']) {
      const key = `sk_${randomBytes(18).toString('base64url')}`;
      state.keys.set(key, { projectId: project(projectId).id, scopes, status: 'valid' });
      return key;
    },
    addEntitlement: (projectId, lookupKey, displayName) =>
      ensureEntitlement(project(projectId), now(), lookupKey, displayName),
    addProduct: (projectId, fields) => ensureProduct(project(projectId), now(), fields),
    addCustomer: (projectId, fields) => insertCustomer(project(projectId), now(), fields),
    addWebhook: (projectId, fields) => insertWebhook(project(projectId), now(), fields),
    sendWebhook: (projectId, event, sending) => sendToWebhooks(state, now, projectId, event, sending),
    flushWebhooks,
  };
}
