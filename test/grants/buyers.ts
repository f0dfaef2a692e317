import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { lifecycleEvent } from '../../src/simulator/revenuecat/events.ts';
import type { Project, Purchase, Subscription } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { idsOn, type OpenCard, openAgain, send } from '../inbox-card/support.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { addCustomer, openCardOf, SECOND } from './support.ts';

const on = { enabled: true };
export const ALL_ON = { cancel: on, refund: on, extend: on, transfer: on, manage: on };

/** A product with every store action on and a second teammate. */
export async function createStoreProduct(): Promise<Product> {
  const product = await createProduct();
  product.intercom.addAdmin(WORKSPACE_ID, { id: SECOND, name: 'Sam Second', email: 'sam@example.com' });
  await setActions(product, ALL_ON);
  return product;
}

/** Writes the policies of store actions; what is left out is the default. */
export async function setActions(product: Product, actions: Record<string, unknown>): Promise<void> {
  await product.server.connected.database.query(
    `update workspaces set settings = jsonb_set(settings, '{actions}', $2::jsonb) where workspace_id = $1`,
    [WORKSPACE_ID, JSON.stringify(actions)],
  );
}

/** Removes permissions from the project's API key, and stores what a check of the key would have found missing. */
export async function setMissingScopes(product: Product, missing: readonly string[]): Promise<void> {
  const { database } = product.server.connected;
  const written = ['customers', 'subscriptions', 'purchases'].map(
    (of) => `customer_information:${of}:read_write`,
  );
  const scopes = [
    '*:*:read',
    'project_configuration:*:*',
    ...written.filter((scope) => !missing.includes(scope)),
  ];
  for (const key of product.revenueCat.state.keys.values()) Object.assign(key, { scopes });
  const isChecked = async () =>
    (await database.query(`select 1 from pgboss.job where name = 'workspace.check' and state < 'completed'`))
      .length === 0;
  await until(isChecked, 'the checks of the key before');
  // As if a minute had passed, so that the next check of the key is not skipped.
  await database.query(`delete from pgboss.job where name = 'workspace.check'`);
  await database.query(`update projects set missing_scopes = $2 where workspace_id = $1`, [
    WORKSPACE_ID,
    JSON.stringify(missing),
  ]);
}

export type BuyerCard = OpenCard & { readonly appUserId: string };

export interface Buyer {
  readonly card: BuyerCard;
  readonly purchase: Subscription;
  /** The subscription's page. */
  readonly page: OpenCard;
}

interface Paid {
  readonly price: number;
  readonly currency: string;
}

const PAID: Paid = { price: 4.99, currency: 'EUR' };

function projectOf(product: Product): Project {
  const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
  assert.ok(project);
  return project;
}

const entitlementIds = (project: Project, keys: readonly string[]): string[] =>
  project.entitlements.filter(({ lookupKey }) => keys.includes(lookupKey)).map(({ id }) => id);

/** A customer who subscribed in a store, with the page of the subscription open. */
export async function openBuyer(
  product: Product,
  store: string,
  changes: Partial<Subscription> & { readonly paid?: Paid } = {},
): Promise<Buyer> {
  const { paid = PAID, ...fields } = changes;
  const appUserId = addCustomer(product);
  const project = projectOf(product);
  const customer = project.aliases.get(appUserId);
  const { id: productId } = product.revenueCat.addProduct(REVENUECAT_PROJECT_ID, {
    storeIdentifier: 'pro_web',
    displayName: 'Pro Web',
  });
  assert.ok(customer);
  const purchase: Subscription = {
    id: `sub${randomUUID().replaceAll('-', '').slice(0, 16)}`,
    customerId: customer.id,
    originalCustomerId: customer.id,
    productId,
    store,
    environment: 'production',
    status: 'active',
    autoRenewalStatus: 'will_renew',
    givesAccess: true,
    startsAtMs: Date.now() - 10 * DAY_MS,
    periodStartsAtMs: Date.now() - 10 * DAY_MS,
    periodEndsAtMs: Date.now() + 20 * DAY_MS,
    endsAtMs: Date.now() + 20 * DAY_MS,
    entitlementIds: entitlementIds(project, ['pro']),
    storeSubscriptionId: `${store === 'play_store' ? 'GPA.' : 'tx'}${Math.random().toString().slice(2, 14)}`,
    grossUsd: 9.99,
    country: 'US',
    managementUrl: null,
    ...fields,
  };
  customer.subscriptions.push(purchase);
  await send(
    product,
    lifecycleEvent('INITIAL_PURCHASE', {
      ...paid,
      appUserId,
      productId: 'pro_web',
      entitlements: ['pro'],
      store: store.toUpperCase(),
      environment: purchase.environment === 'sandbox' ? 'SANDBOX' : 'PRODUCTION',
      periodType: 'NORMAL',
      purchasedAtMs: purchase.startsAtMs,
      expirationAtMs: purchase.endsAtMs,
      transactionId: purchase.storeSubscriptionId ?? purchase.id,
      atMs: purchase.startsAtMs,
    }),
  );
  const card = await openCardOf(product, appUserId);
  return { card, purchase, page: await openPurchase(card) };
}

/** Lets a customer buy something once. */
export async function buyOnce(
  product: Product,
  card: BuyerCard,
  bought: {
    readonly store: string;
    readonly entitlements: readonly string[];
    readonly paid?: Paid;
    /** `false`: no webhook is sent, so only the API lists the purchase. */
    readonly isAnnounced?: false;
  },
): Promise<Purchase> {
  const { store, entitlements, paid = PAID } = bought;
  const project = projectOf(product);
  const customer = project.aliases.get(card.appUserId);
  const storeIdentifier = entitlements.length > 0 ? 'lifetime_pass' : 'credits_100';
  const { id: productId } = product.revenueCat.addProduct(REVENUECAT_PROJECT_ID, {
    storeIdentifier,
    displayName: entitlements.length > 0 ? 'Lifetime Pass' : '100 credits',
    type: entitlements.length > 0 ? 'non_consumable' : 'consumable',
    duration: null,
  });
  assert.ok(customer);
  const purchase: Purchase = {
    id: `purch${randomUUID().replaceAll('-', '').slice(0, 16)}`,
    customerId: customer.id,
    productId,
    store,
    environment: 'production',
    purchasedAtMs: Date.now() - 3 * DAY_MS,
    status: 'owned',
    quantity: 1,
    entitlementIds: entitlementIds(project, entitlements),
    storePurchaseId: `once_${randomUUID()}`,
    grossUsd: 5.49,
    country: 'DE',
  };
  customer.purchases.push(purchase);
  if (bought.isAnnounced === false) return purchase;
  await send(
    product,
    lifecycleEvent('NON_RENEWING_PURCHASE', {
      ...paid,
      appUserId: card.appUserId,
      productId: storeIdentifier,
      entitlements,
      store: store.toUpperCase(),
      environment: 'PRODUCTION',
      periodType: 'NORMAL',
      purchasedAtMs: purchase.purchasedAtMs,
      expirationAtMs: null,
      transactionId: purchase.storePurchaseId,
      atMs: purchase.purchasedAtMs,
    }),
  );
  return purchase;
}

/** Opens the page of the first listed purchase, or of the one with this name. */
export async function openPage(
  product: Product,
  card: Pick<OpenCard, 'contactId' | 'conversationId'>,
  options: { readonly adminId?: string; readonly named?: string } = {},
): Promise<OpenCard> {
  const { adminId = '7001', named = '' } = options;
  return openPurchase(await openAgain(product, card, { adminId }), named);
}

async function openPurchase(card: OpenCard, named = ''): Promise<OpenCard> {
  const details = await (await card.press('refresh')).press('details');
  const items = (details.canvas.content?.components ?? []).flatMap((each) =>
    each.type === 'list' ? each.items : [],
  );
  const item = items.find(({ id, title }) => id.startsWith('subscription:') && title.includes(named));
  assert.ok(item, details.text);
  return details.press(item.id);
}

/** Which actions a page offers. */
export function offeredOn(page: OpenCard): string[] {
  return idsOn(page.canvas).flatMap((id) => /^(cancel|refund|extend|manage):/.exec(id)?.[1] ?? []);
}

export function buttonOf(page: OpenCard, kind: string): string {
  const id = idsOn(page.canvas).find((each) => each.startsWith(`${kind}:`));
  assert.ok(id, `${kind} in\n${page.text}`);
  return id;
}

/** Fills in the form of an action and presses *Review*. */
export async function reviewAction(
  page: OpenCard,
  kind: string,
  inputs: Record<string, string> = {},
): Promise<OpenCard> {
  return (await page.press(buttonOf(page, kind))).press('action.review', {
    'action.reason': 'The customer asked for it',
    ...inputs,
  });
}

/** How often RevenueCat was called to act on something with this id. */
export function callsAbout(product: Product, id: string): number {
  return product.revenueCat.state.actionRequests.filter((each) => each.id === id).length;
}

/** Matches the calls to RevenueCat that act on this subscription or purchase. */
export function callsOf(purchase: Subscription | Purchase): { pathPrefix: string; method: string } {
  const kind = 'storePurchaseId' in purchase ? 'purchases' : 'subscriptions';
  return { pathPrefix: `/v2/projects/${REVENUECAT_PROJECT_ID}/${kind}/${purchase.id}/`, method: 'POST' };
}

export async function actionStates(product: Product, appUserId: string): Promise<string[]> {
  const rows = await product.server.connected.database.query<{ state: string }>(
    `select state from actions where workspace_id = $1 and app_user_id = $2 order by created_at`,
    [WORKSPACE_ID, appUserId],
  );
  return rows.map(({ state }) => state);
}
