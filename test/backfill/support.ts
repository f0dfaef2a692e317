import { randomBytes } from 'node:crypto';
import type { Listening } from '../../src/simulator/listen.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import type { Customer } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { createSecretBox, hashSecret, secretLocation } from '../../src/workspaces/secrets.ts';
import { createTestContext } from '../support/app-context.ts';
import { createTestDatabase, emptyDatabase, type TestDatabase } from '../support/database.ts';
import { AUTHORIZATION, PROJECT_ID, WORKSPACE_ID } from '../support/world.ts';

export const RC_PROJECT = 'projimport1';
const KEY = randomBytes(32);
const secrets = createSecretBox([KEY]);

/** A workspace with one connected project, and the simulated RevenueCat that accepts its key. */
export interface ImportWorld {
  readonly db: TestDatabase;
  readonly revenueCat: RevenueCatSimulator;
  readonly app: AppContext;
  /** Environment of a process of the product that uses this database and RevenueCat. */
  readonly env: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/**
 * @param options.listen starts the simulator's server; by default its own `listen`
 * @param options.db an empty database, which is emptied again instead of closed
 */
export async function createImportWorld(
  options: { listen?: (revenueCat: RevenueCatSimulator) => Promise<Listening>; db?: TestDatabase } = {},
): Promise<ImportWorld> {
  const db = options.db ?? (await createTestDatabase());
  const revenueCat = createRevenueCatSimulator();
  const listening = await (options.listen ?? ((simulator) => simulator.listen()))(revenueCat);
  revenueCat.addProject({ id: RC_PROJECT, name: 'Test app' });
  revenueCat.addEntitlement(RC_PROJECT, 'pro', 'Pro');
  revenueCat.addProduct(RC_PROJECT, { storeIdentifier: 'pro_monthly', displayName: 'Pro Monthly' });
  await db.database.query(`insert into workspaces (workspace_id, name) values ($1, 'Test workspace')`, [
    WORKSPACE_ID,
  ]);
  await addProject(db, revenueCat, PROJECT_ID);
  return {
    db,
    revenueCat,
    app: createTestContext(db.database, { secrets, config: { revenueCatApiUrl: listening.url } }),
    env: {
      DATABASE_URL: db.url,
      REVENUECAT_API_URL: listening.url,
      ENCRYPTION_KEYS: KEY.toString('base64'),
      LOG_LEVEL: 'warn',
    },
    async close() {
      await listening.close();
      await (options.db ? emptyDatabase(db) : db.close());
    },
  };
}

async function addProject(
  db: TestDatabase,
  revenueCat: RevenueCatSimulator,
  projectId: string,
): Promise<void> {
  await db.database.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash, api_key,
                           api_key_state)
     values ($1, $2, $3, 'Test app', $4, $5, 'valid')`,
    [
      WORKSPACE_ID,
      projectId,
      RC_PROJECT,
      hashSecret(AUTHORIZATION),
      secrets.encrypt(revenueCat.issueKey(RC_PROJECT), secretLocation.apiKey(WORKSPACE_ID, projectId)),
    ],
  );
}

/** Adds a customer to RevenueCat; if `subscribed`, with a monthly subscription that renews in ten days. */
export function addCustomer(
  revenueCat: RevenueCatSimulator,
  id: string,
  options: { aliases?: string[]; email?: string; subscribed?: boolean; bought?: boolean } = {},
): Customer {
  const project = revenueCat.state.projects.get(RC_PROJECT);
  const entitlement = project?.entitlements[0];
  const product = project?.products[0];
  if (!entitlement || !product) throw new Error('The project has no catalogue');
  const customer = revenueCat.addCustomer(RC_PROJECT, {
    id,
    aliases: options.aliases ?? [],
    attributes: options.email === undefined ? {} : { $email: options.email },
  });
  const nowMs = Date.now();
  if (options.subscribed) {
    customer.subscriptions.push({
      id: `sub_${id}`,
      customerId: id,
      originalCustomerId: id,
      productId: product.id,
      store: 'app_store',
      environment: 'production',
      status: 'active',
      autoRenewalStatus: 'will_renew',
      givesAccess: true,
      startsAtMs: nowMs - 200 * DAY_MS,
      periodStartsAtMs: nowMs - 20 * DAY_MS,
      periodEndsAtMs: nowMs + 10 * DAY_MS,
      endsAtMs: nowMs + 10 * DAY_MS,
      entitlementIds: [entitlement.id],
      storeSubscriptionId: `tx_${id}`,
      grossUsd: 69.93,
      country: 'US',
      managementUrl: null,
    });
  }
  if (options.bought) {
    customer.purchases.push({
      id: `purch_${id}`,
      customerId: id,
      productId: product.id,
      store: 'app_store',
      environment: 'production',
      purchasedAtMs: nowMs - 3 * DAY_MS,
      status: 'owned',
      quantity: 1,
      entitlementIds: [],
      storePurchaseId: `order_${id}`,
      grossUsd: 4.99,
      country: 'US',
    });
  }
  return customer;
}
