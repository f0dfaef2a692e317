import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AppError } from '../../src/errors.ts';
import { createRevenueCatClient, type RevenueCatClient } from '../../src/revenuecat/client.ts';
import { readCurrentCatalog } from '../../src/revenuecat/current-catalog.ts';
import { readCustomer } from '../../src/revenuecat/customer.ts';
import { customerSchema, subscriptionSchema } from '../../src/revenuecat/schemas.ts';
import { openAgain, openFor, settled, tell } from '../inbox-card/support.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';

describe('the names of products', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());

  const readings = () =>
    product.revenueCat.faults.requests().filter(({ path }) => /\/products(\?|$)/.test(path)).length;

  /** A project at an address where nothing listens: RevenueCat's answers are `methods`. */
  const contextOf = (projectId: string, methods: Partial<RevenueCatClient>, now = Date.now) => ({
    database: product.db.database,
    logger,
    project: { workspaceId: WORKSPACE_ID, projectId, revenueCatProjectId: 'projnone' },
    client: { ...createRevenueCatClient({ apiUrl: 'http://127.0.0.1:1', apiKey: 'none' }), ...methods },
    now,
  });

  test('may be closed to the key, and those of entitlements are still read; an outage is no empty catalog', async () => {
    const refusing = (code: 'revenuecat_scope_missing' | 'revenuecat_unavailable') => async () => {
      throw new AppError(code, 'refused');
    };
    const read = (projectId: string, methods: Partial<RevenueCatClient>) =>
      readCurrentCatalog(
        contextOf(projectId, {
          listEntitlements: async () => [
            { id: 'entl1', lookupKey: 'pro', displayName: 'Pro', isActive: true },
          ],
          ...methods,
        }),
      );
    const closed = await read('no_products', { listProducts: refusing('revenuecat_scope_missing') });
    assert.deepEqual(
      closed.map(({ lookupKey }) => lookupKey),
      ['pro'],
    );
    const listProducts = refusing('revenuecat_unavailable');
    await assert.rejects(read('outage', { listProducts }), { code: 'revenuecat_unavailable' });
  });

  test("are the store's and the lookup keys wherever a customer has RevenueCat's own ids", async () => {
    const entitlements = [{ id: 'entl1', lookupKey: 'pro', displayName: null, isActive: true }];
    const products = ['pro_monthly', 'pro_yearly'].map((lookupKey) => ({
      id: `prod_${lookupKey}`,
      lookupKey,
      displayName: null,
    }));
    const read = (entitlementId: string) =>
      readCustomer(
        contextOf('own_ids', {
          listEntitlements: async () => entitlements,
          listProducts: async () => products,
          readCustomer: async () => ({
            requestedAtMs: 1,
            date: undefined,
            customer: customerSchema.parse({ id: 'user-1' }),
            aliases: [],
            attributes: [{ name: '$email', value: 'Ada@Example.com', updated_at: 7 }],
            active: [{ entitlementId, endsAtMs: null }],
            subscriptions: [
              subscriptionSchema.parse({
                id: 'sub1',
                product_id: 'prod_pro_monthly',
                pending_changes: { product: { id: 'prod_pro_yearly' } },
              }),
            ],
            purchases: [],
          }),
        }),
        'user-1',
      );
    const customer = await read('entl1');
    assert.deepEqual(customer?.email, { value: 'ada@example.com', atMs: 7 });
    const { subscriptions, activeEntitlements } = customer.snapshot;
    assert.deepEqual(
      subscriptions.map(({ productId, pendingProductId }) => [productId, pendingProductId]),
      [['pro_monthly', 'pro_yearly']],
    );
    assert.deepEqual(activeEntitlements, [{ lookupKey: 'pro', endsAtMs: null }]);
    // Created after the names were read.
    entitlements.push({ id: 'entl2', lookupKey: 'team', displayName: null, isActive: true });
    assert.equal((await read('entl2'))?.snapshot.activeEntitlements[0]?.lookupKey, 'team');
  });

  test('are read again after ten minutes, and after one while a project has no entitlement', async () => {
    const entitlements: Awaited<ReturnType<RevenueCatClient['listEntitlements']>> = [];
    let nowMs = Date.now();
    const read = async () => {
      const catalog = await readCurrentCatalog(
        contextOf(
          'new',
          {
            listEntitlements: async () => entitlements,
            listProducts: async () => [{ id: 'prod1', lookupKey: 'pro_monthly', displayName: null }],
          },
          () => nowMs,
        ),
      );
      return catalog.filter(({ kind }) => kind === 'entitlement').map(({ lookupKey }) => lookupKey);
    };
    assert.deepEqual(await read(), []);
    entitlements.push({ id: 'entl1', lookupKey: 'pro', displayName: null, isActive: true });
    nowMs += 59_000;
    assert.deepEqual(await read(), []);
    nowMs += 2_000;
    assert.deepEqual(await read(), ['pro']);
    entitlements.push({ id: 'entl2', lookupKey: 'team', displayName: null, isActive: true });
    nowMs += 599_000;
    assert.deepEqual(await read(), ['pro']);
    nowMs += 2_000;
    assert.deepEqual(await read(), ['pro', 'team']);
  });

  test('that are newer than the last read are read when a customer has one', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_early' });
    await (await openFor(product, { externalId: 'user_early' })).press('refresh');
    await tell(product, 'several', { appUserId: 'user_late' });
    const card = await openFor(product, { externalId: 'user_late' });
    const shown = await card.press('refresh');
    assert.match((await shown.press('details')).text, /^Pro Yearly \| App Store · /m);
    assert.match((await card.press('timeline')).text, /^Subscribed \| Pro Yearly · /m);
    assert.doesNotMatch(shown.text, /prod[0-9a-f]{8}/i);
  });

  test('that RevenueCat does not list are requested once, and its own ids are not shown', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_of_gone' });
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const customer = project?.customers.get('user_of_gone');
    const [subscription] = customer?.subscriptions ?? [];
    assert.ok(customer && subscription);
    customer.subscriptions[0] = { ...subscription, productId: 'prod00000000deadbeef' };
    const before = readings();
    const card = await openFor(product, { externalId: 'user_of_gone' });
    for (let n = 0; n < 3; n += 1) {
      const shown = await card.press('refresh');
      const details = await shown.press('details');
      assert.match(details.text, /^Pro [Mm]onthly \| App Store · /m);
      for (const { text } of [shown, details]) assert.doesNotMatch(text, /deadbeef/i);
    }
    assert.equal(readings() - before, 1);
    assert.match((await openAgain(product, card)).text, /^Pro, \$9\.99 a month/m);
  });

  test('that are known do not wait while others are read', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_known' });
    const known = await openFor(product, { externalId: 'user_known' });
    await known.press('refresh');
    await tell(product, 'active_monthly', { appUserId: 'user_new' });
    const unknown = await openFor(product, { externalId: 'user_new' });
    // The webhooks and the card trigger background refreshes, which must not read the new id yet.
    await settled(product);
    const customer = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.customers.get('user_new');
    const [subscription] = customer?.subscriptions ?? [];
    assert.ok(customer && subscription);
    customer.subscriptions[0] = { ...subscription, productId: 'prod00000000deadcafe' };
    const { faults } = product.revenueCat;
    const pathPrefix = `/v2/projects/${REVENUECAT_PROJECT_ID}/products`;
    faults.add({ pathPrefix, method: 'GET', latencyMs: 4_000, times: 1 });
    const reading = unknown.press('refresh');
    await until(() => faults.list().length === 0, 'the names to be read');
    const shown = await known.press('refresh');
    assert.doesNotMatch(shown.text, /refresh continues in the background/);
    assert.match((await reading).text, /refresh continues in the background/);
  });
});
