import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { RunningServer } from '../../src/server.ts';
import type { CanvasAnswer, CanvasCall } from '../../src/simulator/intercom/app-caller.ts';
import { createIntercomSimulator, type IntercomSimulator } from '../../src/simulator/intercom/server.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import { connectProject } from '../../src/workspaces/project-connection.ts';
import { CITUS_URL } from './citus.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { startServerHere } from './process.ts';
import { until } from './wait.ts';
import { CLIENT_ID, CLIENT_SECRET, keepingLogger, WORKSPACE_ID } from './world.ts';

export const REVENUECAT_PROJECT_ID = 'projtest1';

export interface Product {
  readonly db: TestDatabase;
  readonly intercom: IntercomSimulator;
  readonly revenueCat: RevenueCatSimulator;
  readonly server: RunningServer;
  /** Settings with which another process acts as the same server. */
  readonly environment: Readonly<Record<string, string>>;
  readonly webhook: { readonly url: string; readonly authorization: string };
  /** Warnings and errors that the server has logged, for the message of a failing test. */
  readonly warnings: readonly string[];
  /** Sends the running server a request of the inbox, as Intercom does. */
  card(call: Omit<CanvasCall, 'appUrl' | 'workspaceId' | 'place'>): Promise<CanvasAnswer>;
  /** Stops the server alone; the simulators and the database stay. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The whole server as `npm start` wires it, installed in one workspace and connected to one project.
 *
 * @param options.bare nothing is installed or connected yet
 */
export async function createProduct(
  options: {
    db?: TestDatabase;
    environment?: Readonly<Record<string, string>>;
    logger?: Logger;
    bare?: boolean;
  } = {},
): Promise<Product> {
  const db = options.db ?? (await createTestDatabase());
  const intercom = createIntercomSimulator({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET });
  const simulator = createRevenueCatSimulator();
  // The customers of a test file would exceed RevenueCat's own limit, and their refreshes would have to wait.
  simulator.state.limitsPerMinute.customer = 1_000_000;
  const [intercomAt, revenueCatAt] = [await intercom.listen(), await simulator.listen()];
  const environment = {
    PORT: '0',
    PUBLIC_URL: 'http://app.test',
    DATABASE_URL: db.url,
    DATABASE_BACKEND: CITUS_URL === null ? 'postgres' : 'citus',
    INTERCOM_CLIENT_ID: CLIENT_ID,
    INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
    INTERCOM_API_URL: intercomAt.url,
    INTERCOM_APP_URL: intercomAt.url,
    REVENUECAT_API_URL: revenueCatAt.url,
    ENCRYPTION_KEYS: randomBytes(32).toString('base64'),
    ...options.environment,
  };
  const revenueCat: RevenueCatSimulator = {
    ...simulator,
    /** Resolves once the webhook is processed, if a processor runs. */
    async sendWebhook(...sent) {
      const responses = await simulator.sendWebhook(...sent);
      if (options.environment?.ROLE !== 'web')
        await until(() => isJournalProcessed(db), 'webhooks to be processed');
      return responses;
    },
  };
  const warnings: string[] = [];
  const server = await startServerHere(environment, options.logger ?? keepingLogger(warnings));
  intercom.addWorkspace({ id: WORKSPACE_ID, name: 'Test workspace', timezone: 'America/New_York' });
  intercom.addAdmin(WORKSPACE_ID, { id: '7001', name: 'Ada Agent', email: 'ada@example.com' });
  intercom.state.redirectUris.push(`${environment.PUBLIC_URL}/oauth/callback`);
  if (!options.bare) await install(intercom, server.url);
  revenueCat.addProject({ id: REVENUECAT_PROJECT_ID, name: 'Test app' });
  revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, 'pro', 'Pro');
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= server.stop();
    return stopping;
  };
  const webhook = options.bare ? { url: '', authorization: '' } : await connect(server, revenueCat);
  return {
    db,
    intercom,
    revenueCat,
    server,
    environment,
    webhook,
    warnings,
    async card(call) {
      for (let again = 0; ; again += 1) {
        const place = { appUrl: server.url, workspaceId: WORKSPACE_ID, place: 'inbox' } as const;
        const answer = await intercom.callCanvas({ ...call, ...place });
        // On a busy machine the card can take longer than Intercom waits; an agent would open it again.
        const isLate = JSON.stringify(answer.canvas).includes('This is taking longer');
        if (call.flow !== 'initialize' || !isLate || again === 5) return answer;
      }
    },
    stop,
    async close() {
      await stop();
      await intercomAt.close();
      await revenueCatAt.close();
      await db.close();
    },
  };
}

async function isJournalProcessed({ database }: TestDatabase): Promise<boolean> {
  const rows = await database.query('select 1 from webhooks where processed_at is null limit 1');
  return rows.length === 0;
}

async function connect(server: RunningServer, revenueCat: RevenueCatSimulator): Promise<Product['webhook']> {
  const { database } = server.connected;
  const connection = await connectProject(
    { database, secrets: server.secrets, publicUrl: server.url },
    {
      workspaceId: WORKSPACE_ID,
      revenueCatProjectId: REVENUECAT_PROJECT_ID,
      apiKey: revenueCat.issueKey(REVENUECAT_PROJECT_ID),
      name: 'Test app',
    },
  );
  revenueCat.addWebhook(REVENUECAT_PROJECT_ID, {
    url: connection.webhookUrl,
    authorizationHeader: connection.webhookAuthorization,
  });
  return { url: connection.webhookUrl, authorization: connection.webhookAuthorization };
}

/** Makes the requests of an admin's browser after a click on *Install* in the App Store. */
async function install(intercom: IntercomSimulator, appUrl: string): Promise<void> {
  const begun = await fetch(`${appUrl}/install`, { redirect: 'manual' });
  const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state') ?? '';
  const cookie = begun.headers.get('set-cookie')?.split(';')[0] ?? '';
  const code = `${randomBytes(12).toString('base64url')}=`;
  intercom.state.codes.set(code, {
    workspaceId: WORKSPACE_ID,
    adminId: '7001',
    expiresAtMs: Date.now() + 60_000,
  });
  const query = new URLSearchParams({ code, state });
  const done = await fetch(`${appUrl}/oauth/callback?${query}`, { redirect: 'manual', headers: { cookie } });
  const location = done.headers.get('location') ?? '';
  if (!location.includes('install_success=true')) throw new Error(`The installation failed: ${location}`);
}
