import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import supertest from 'supertest';
import { createApp } from '../../src/http/app.ts';
import { signedJson } from '../../src/http/signed.ts';
import { bodySignature } from '../../src/intercom/signatures.ts';
import {
  type ApiKeyKind,
  insertApiKey,
  newApiKey,
  setMessengerSecret,
} from '../../src/messenger/api-keys.ts';
import { messengerApiRouter } from '../../src/messenger/api-routes.ts';
import { messengerCardRouter } from '../../src/messenger/card-routes.ts';
import { supportRouter } from '../../src/messenger/support-routes.ts';
import { createRefreshIfStale } from '../../src/subscribers/refresh.ts';
import { readEvent } from '../../src/subscription/read-event.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { createTestContext } from '../support/app-context.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { CLIENT_SECRET, logger, secrets } from '../support/world.ts';

export const MESSENGER_SECRET = 'test_messenger_secret';
export const PUBLIC_URL = 'http://app.test';
const ADMIN = { id: '7001', name: 'Ada Agent', email: 'ada@example.com' };

export interface MessengerSite {
  readonly server: Server;
  /** Where it listens. */
  readonly url: string;
  readonly db: TestDatabase;
  readonly app: AppContext;
  /** The current time, epoch ms. */
  readonly clock: { nowMs: number };
  /** Subscribers for which a refresh was requested. */
  readonly refreshed: string[];
  makeKey(kind?: ApiKeyKind, workspaceId?: string): Promise<{ key: string; keyId: string }>;
  post(path: string, key: string | null, body?: unknown): supertest.Test;
  /** Sends a Canvas Kit request, signed as Intercom signs it. */
  canvas(flow: 'initialize' | 'submit' | 'live', body: object, signature?: string): supertest.Test;
  close(): Promise<void>;
}

/** The Messenger's routes on a database with the workspaces `abc123` (EU) and `other1` (AU). */
export async function createMessengerSite(): Promise<MessengerSite> {
  const db = await createTestDatabase();
  const { database } = db;
  for (const [id, region] of [
    ['abc123', 'EU'],
    ['other1', 'AU'],
  ] as const) {
    await database.query(
      `insert into workspaces (workspace_id, name, region, timezone, identity_verification)
       values ($1, $1, $2, 'Europe/Dublin', true)`,
      [id, region],
    );
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ($1, $2, 'proj1', 'Test', 'h')`,
      [id, `${id}-p1`],
    );
    const encrypted = secrets.encrypt(MESSENGER_SECRET, secretLocation.messengerSecret(id));
    await setMessengerSecret(database, id, encrypted);
  }
  const clock = { nowMs: START_MS + 5 * 86_400_000 };
  const refreshed: string[] = [];
  const app = createTestContext(database, {
    now: () => clock.nowMs,
    jobs: {
      async send(_name, data) {
        if ('subscriberId' in data) refreshed.push(data.subscriberId);
      },
    },
  });
  const refreshIfStale = createRefreshIfStale(app);
  // One server for all requests: without it each request would start one.
  const server = createApp({
    logger,
    production: false,
    intercomAppUrl: 'http://intercom.test',
    otherRoutes: [
      { path: '/api', handlers: [messengerApiRouter(app)] },
      { path: '/', handlers: [supportRouter(app, refreshIfStale)] },
    ],
    platformRoutes: [
      {
        path: '/canvas/messenger',
        handlers: [
          signedJson(bodySignature, { secret: CLIENT_SECRET, maxBytes: 1_000_000 }),
          messengerCardRouter(app, refreshIfStale),
        ],
      },
    ],
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    db,
    app,
    clock,
    refreshed,
    async makeKey(kind = 'messenger', workspaceId = 'abc123') {
      const { key, stored } = newApiKey(kind, workspaceId);
      await insertApiKey(database, { ...stored, name: 'Test', createdBy: ADMIN });
      return { key, keyId: stored.keyId };
    },
    post(path, key, body) {
      const request = supertest(server).post(path);
      if (key !== null) request.set('Authorization', `Bearer ${key}`);
      return body === undefined ? request : request.send(body as object);
    },
    canvas(flow, body, signature) {
      const raw = JSON.stringify(body);
      return supertest(server)
        .post(`/canvas/messenger/${flow}`)
        .set('Content-Type', 'application/json')
        .set('X-Body-Signature', signature ?? createHmac('sha256', CLIENT_SECRET).update(raw).digest('hex'))
        .send(raw);
    },
    async close() {
      await new Promise((resolve) => server.close(resolve));
      await db.close();
    },
  };
}

/** Stores a customer with these events; missing fields are those of a monthly App Store subscription. */
export async function addCustomer(
  site: Pick<MessengerSite, 'db'>,
  appUserIds: readonly string[],
  events: readonly Record<string, unknown>[],
  workspaceId = 'abc123',
): Promise<string> {
  const { database } = site.db;
  const subscriberId = randomUUID();
  const projectId = `${workspaceId}-p1`;
  await database.query(
    'insert into subscribers (workspace_id, project_id, subscriber_id) values ($1, $2, $3)',
    [workspaceId, projectId, subscriberId],
  );
  for (const id of appUserIds) {
    await database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id) values ($1, $2, $3, $4)`,
      [workspaceId, projectId, id, subscriberId],
    );
  }
  for (const fields of events) {
    await addEvent(site, { workspaceId, subscriberId }, eventBody({ app_user_id: appUserIds[0], ...fields }));
  }
  return subscriberId;
}

export async function addEvent(
  site: Pick<MessengerSite, 'db'>,
  of: { workspaceId: string; subscriberId: string; side?: 'customer' | 'source' },
  body: Record<string, unknown>,
): Promise<void> {
  const side = of.side ?? 'customer';
  const event = readEvent(body, { receivedAtMs: START_MS, fallbackId: 'none', side });
  await site.db.database.query(
    `insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment,
                         event_at_ms, fields)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      of.workspaceId,
      `${of.workspaceId}-p1`,
      event.id,
      side,
      of.subscriberId,
      event.type,
      event.kind,
      event.environment,
      event.atMs,
      JSON.stringify(body),
    ],
  );
}
