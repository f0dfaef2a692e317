import { randomBytes } from 'node:crypto';
import { type Logger, pino } from 'pino';
import { DeliveryWorker, type WorkerOptions } from '../../src/delivery/worker.ts';
import { createIntercomSimulator, type IntercomSimulator } from '../../src/simulator/intercom/server.ts';
import { CONTACT_ATTRIBUTES } from '../../src/subscription/contact-values.ts';
import { createPlatformClients } from '../../src/workspaces/app-context.ts';
import { createSecretBox, hashSecret, secretLocation } from '../../src/workspaces/secrets.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';

export const CLIENT_ID = 'test-client';
export const CLIENT_SECRET = 'test_client_secret';
export const WORKSPACE_ID = 'abc123';
export const PROJECT_ID = `${WORKSPACE_ID}-p1`;
export const AUTHORIZATION = 'whk_test-authorization';

export const secrets = createSecretBox([randomBytes(32)]);
/** Set TEST_LOG=warn to see what the code under test logs. */
const LOG_LEVEL = process.env.TEST_LOG;
export const logger = pino({ level: LOG_LEVEL ?? 'silent' });

/** Stores warnings and errors, and what TEST_LOG prints. */
export function keepingLogger(lines: string[]): Logger {
  const write = (line: string): void => {
    lines.push(line);
    if (LOG_LEVEL !== undefined) process.stdout.write(line);
  };
  return pino({ level: LOG_LEVEL ?? 'warn' }, { write });
}

export interface World {
  readonly db: TestDatabase;
  readonly intercom: IntercomSimulator;
  readonly intercomUrl: string;
  /** Starts a worker, which `close` stops. */
  worker(options?: Partial<WorkerOptions>): DeliveryWorker;
  close(): Promise<void>;
}

/** Creates a database with one connected workspace and project, and a simulated Intercom for it. */
export async function createWorld(
  options: { rateLimitPer10s?: number; attributes?: boolean } = {},
): Promise<World> {
  const db = await createTestDatabase();
  const intercom = createIntercomSimulator({
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    rateLimitPer10s: options.rateLimitPer10s ?? 100_000,
  });
  const listening = await intercom.listen();
  const workers: DeliveryWorker[] = [];
  await addWorkspace({ db, intercom }, WORKSPACE_ID, options.attributes ?? true);
  return {
    db,
    intercom,
    intercomUrl: listening.url,
    worker(overrides = {}) {
      const worker = new DeliveryWorker({
        database: db.database,
        sessionUrl: db.url,
        logger,
        jobs: { send: async () => {} },
        ...createPlatformClients({
          database: db.database,
          secrets,
          now: overrides.clock?.now ?? Date.now,
          config: { intercom: { apiUrl: listening.url }, revenueCatApiUrl: '' },
        }),
        ...overrides,
      });
      workers.push(worker);
      worker.start();
      return worker;
    },
    async close() {
      for (const worker of workers) await worker.stop();
      await listening.close();
      await db.close();
    },
  };
}

/** Installs the app in a workspace, with a project `<workspace>-p1`. */
export async function addWorkspace(
  world: Pick<World, 'db' | 'intercom'>,
  workspaceId: string,
  attributes = true,
): Promise<void> {
  const { db, intercom } = world;
  intercom.addWorkspace({ id: workspaceId, name: `Workspace ${workspaceId}` });
  if (attributes) {
    for (const attribute of CONTACT_ATTRIBUTES)
      intercom.addAttribute(workspaceId, attribute.name, attribute.dataType);
  }
  intercom.addAdmin(workspaceId, { id: `${workspaceId}-admin`, name: 'Ada Agent', email: 'ada@example.com' });
  const token = intercom.issueToken(workspaceId);
  await db.database.query(`insert into workspaces (workspace_id, name, access_token) values ($1, $2, $3)`, [
    workspaceId,
    `Workspace ${workspaceId}`,
    secrets.encrypt(token, secretLocation.accessToken(workspaceId)),
  ]);
  await db.database.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
     values ($1, $2, 'proj1', 'Test project', $3)`,
    [workspaceId, `${workspaceId}-p1`, hashSecret(AUTHORIZATION)],
  );
}

/** Writes one workspace's settings. */
export async function setSettings(world: Pick<World, 'db'>, settings: unknown): Promise<void> {
  await world.db.database.query(`update workspaces set settings = $2 where workspace_id = $1`, [
    WORKSPACE_ID,
    JSON.stringify(settings),
  ]);
}
