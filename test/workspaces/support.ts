import { randomBytes } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import supertest from 'supertest';
import { createApp } from '../../src/http/app.ts';
import { refuseLargeBody } from '../../src/http/body.ts';
import { signedJson } from '../../src/http/signed.ts';
import { bodySignature } from '../../src/intercom/signatures.ts';
import type { JobData, JobName, Jobs } from '../../src/jobs/jobs.ts';
import { LARGE_FORMS, settingsRouter } from '../../src/settings/routes.ts';
import { createIntercomSimulator, type IntercomSimulator } from '../../src/simulator/intercom/server.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { healthRouter, installRouter, uninstallRouter } from '../../src/workspaces/routes.ts';
import { createSessions } from '../../src/workspaces/sessions.ts';
import { createTestContext } from '../support/app-context.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { CLIENT_ID, CLIENT_SECRET, logger } from '../support/world.ts';

export const PUBLIC_URL = 'https://app.test';
export const APP_URL = 'http://intercom.test';

export interface Site {
  /** Already listens: otherwise each request of a test would start a server. */
  readonly server: Server;
  /** The app's URL for a browser; `PUBLIC_URL` without `options.listen`. */
  readonly url: string;
  readonly db: TestDatabase;
  readonly intercom: IntercomSimulator;
  readonly revenueCat: RevenueCatSimulator;
  readonly app: AppContext;
  /** Jobs that were queued, oldest first. */
  readonly jobs: { name: JobName; data: unknown; options?: Parameters<Jobs['send']>[2] }[];
  /** Agrees on the workspace's consent page, and returns the callback's path and query. */
  consent(location: string, workspaceId: string, adminId?: string): Promise<string>;
  /** A browser with a session in the workspace. */
  signedIn(workspaceId: string): Promise<ReturnType<typeof supertest.agent>>;
  close(): Promise<void>;
}

/**
 * The app's install and settings routes against both simulators, with workspaces `abc123` and `other1`.
 *
 * @param options.listen for a real browser: the app's address is the server's, and Intercom's pages are the simulator's
 */
export async function createSite(options: { production?: boolean; listen?: boolean } = {}): Promise<Site> {
  const db = await createTestDatabase();
  const intercom = createIntercomSimulator({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET });
  const revenueCat = createRevenueCatSimulator();
  const [intercomAt, revenueCatAt] = [await intercom.listen(), await revenueCat.listen()];
  // The server comes first, because the app must know its address when it is created.
  let handle: RequestListener = () => {};
  const server = createServer((req, res) => handle(req, res));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = options.listen ? `http://127.0.0.1:${(server.address() as AddressInfo).port}` : PUBLIC_URL;
  const appUrl = options.listen ? intercomAt.url : APP_URL;
  intercom.state.redirectUris.push(`${url}/oauth/callback`);
  for (const id of ['abc123', 'other1']) {
    intercom.addWorkspace({ id, name: `Workspace ${id}`, region: 'EU', timezone: 'Europe/Dublin' });
    intercom.addAdmin(id, { id: `${id}-admin`, name: 'Ada Agent', email: `ada@${id}.example` });
  }
  const jobs: Site['jobs'] = [];
  const app = createTestContext(db.database, {
    config: {
      production: options.production ?? false,
      publicUrl: url,
      databaseUrl: db.url,
      intercom: { apiUrl: intercomAt.url, appUrl },
      revenueCatApiUrl: revenueCatAt.url,
      encryptionKeys: [randomBytes(32)],
    },
    jobs: {
      async send<Name extends JobName>(name: Name, data: JobData[Name], options = {}) {
        jobs.push({ name, data, options });
      },
    },
  });
  const sessions = createSessions(app, CLIENT_SECRET);
  handle = createApp({
    logger,
    production: app.config.production,
    intercomAppUrl: appUrl,
    otherRoutes: [
      { path: '/', handlers: [refuseLargeBody(LARGE_FORMS)] },
      {
        path: '/',
        handlers: [installRouter(app, sessions.signIn), settingsRouter(app, sessions)],
      },
      { path: '/intercom/uninstall', handlers: [uninstallRouter(app)] },
    ],
    platformRoutes: [
      {
        path: '/intercom/health',
        handlers: [
          signedJson(bodySignature, { secret: CLIENT_SECRET, maxBytes: 1_000_000 }),
          healthRouter(app),
        ],
      },
    ],
  });

  async function consent(location: string, workspaceId: string, adminId?: string): Promise<string> {
    const asked = new URL(location);
    const answer = await supertest(intercomAt.url)
      .post('/oauth/authorize')
      .type('form')
      .send({
        client_id: asked.searchParams.get('client_id'),
        redirect_uri: asked.searchParams.get('redirect_uri'),
        state: asked.searchParams.get('state'),
        workspace_id: workspaceId,
      })
      .expect(302);
    const back = new URL(answer.headers.location ?? '');
    const grant = intercom.state.codes.get(back.searchParams.get('code') ?? '');
    if (grant && adminId !== undefined) grant.adminId = adminId;
    return `${back.pathname}${back.search}`;
  }

  return {
    server,
    url,
    db,
    intercom,
    revenueCat,
    app,
    jobs,
    consent,
    async signedIn(workspaceId) {
      const browser = supertest.agent(server);
      const begun = await browser.get('/install').expect(302);
      await browser.get(await consent(begun.headers.location ?? '', workspaceId)).expect(302);
      return browser;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await intercomAt.close();
      await revenueCatAt.close();
      await db.close();
    },
  };
}

/** The `_csrf` value of a page's forms. */
export function csrfIn(html: string): string {
  const value = /name="_csrf" value="([^"]+)"/.exec(html)?.[1];
  if (!value) throw new Error('The page has no form');
  return value;
}

/** Sends a form of the settings as a signed-in admin's browser does. */
export async function sendForm(
  browser: ReturnType<typeof supertest.agent>,
  path: string,
  form: Record<string, unknown> = {},
) {
  const csrf = csrfIn((await browser.get('/settings')).text);
  return browser
    .post(`/settings${path}`)
    .accept('html')
    .type('form')
    .send({ _csrf: csrf, ...form });
}
