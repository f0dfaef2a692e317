import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import express from 'express';
import type { Remedy } from '../../src/errors.ts';
import { createRevenueCatClient } from '../../src/revenuecat/client.ts';
import { revenueCatFailure } from '../../src/revenuecat/failures.ts';
import {
  entitlementSchema,
  productSchema,
  projectSchema,
  purchaseSchema,
  subscriptionSchema,
} from '../../src/revenuecat/schemas.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';

const NOW_MS = 1_768_000_003_000;

describe('what an error response of RevenueCat means', () => {
  const failure = (status: number, body: object = {}, headers = {}) =>
    revenueCatFailure({ status, headers, body }, 'Granting', NOW_MS);
  const cases: [status: number, body: object, code: string, remedy: Remedy['kind']][] = [
    [302, {}, 'revenuecat_unavailable', 'retry'],
    [400, { type: 'parameter_error' }, 'revenuecat_rejected', 'give_up'],
    [401, {}, 'revenuecat_unauthorized', 'reauthorize'],
    [403, {}, 'revenuecat_scope_missing', 'give_up'],
    [404, {}, 'revenuecat_not_found', 'give_up'],
    [409, { retryable: true }, 'revenuecat_conflict', 'give_up'],
    [422, {}, 'revenuecat_rejected', 'give_up'],
    [422, { retryable: true }, 'revenuecat_unavailable', 'retry'],
    [423, {}, 'revenuecat_locked', 'retry'],
    [429, {}, 'revenuecat_rate_limited', 'wait_until'],
    [500, { retryable: false }, 'revenuecat_unavailable', 'retry'],
  ];
  for (const [status, body, code, remedy] of cases)
    test(`${status} ${JSON.stringify(body)}`, () => {
      const error = failure(status, body);
      assert.deepEqual([error.code, error.remedy.kind, error.upstreamStatus], [code, remedy, status]);
    });

  test('the page of a proxy says nothing of the key or the customer, whatever its status', () => {
    for (const status of [400, 401, 403, 404, 409, 422, 503]) {
      const page = revenueCatFailure({ status, headers: {}, body: '<!DOCTYPE html>' }, 'Granting', NOW_MS);
      assert.deepEqual([page.code, page.remedy.kind], ['revenuecat_unavailable', 'retry']);
    }
    const page = { status: 429, headers: { 'retry-after': '20' }, body: '<html>' };
    assert.equal(revenueCatFailure(page, 'Granting', NOW_MS).remedy.kind, 'wait_until');
  });

  test('how long a 429 lasts: by its body, by Retry-After, else ten seconds', () => {
    const headers = { 'retry-after': '20' };
    const until = (body: object, header = {}) => failure(429, body, header).remedy;
    const after = (ms: number) => ({ kind: 'wait_until', atMs: NOW_MS + ms });
    assert.deepEqual(until({ backoff_ms: 1_500 }, headers), after(1_500));
    assert.deepEqual(until({}, headers), after(20_000));
    const date = new Date(NOW_MS + 30_000).toUTCString();
    assert.deepEqual(until({}, { 'retry-after': date }), after(30_000));
    assert.deepEqual(until({}, { 'retry-after': 'soon' }), after(10_000));
    assert.deepEqual(until({}), after(10_000));
    assert.deepEqual(until({ backoff_ms: 1e9 }), after(3_600_000), 'at most an hour');
  });
});

describe('RevenueCat client', () => {
  test('rate-limit headers that are no counts are ignored: the database stores integers', async (t) => {
    const app = express();
    const answers = [
      ['5', '480'],
      ['5', '99999999999'],
      ['99999999999', '480'],
      ['5', '0'],
      ['5.5', '480'],
      ['', ''],
    ];
    app.get('/v2/projects/proj1/customers/user-1', (_req, res) => {
      const [usage = '', limit = ''] = answers.shift() ?? [];
      res.set({ 'RevenueCat-Rate-Limit-Current-Usage': usage, 'RevenueCat-Rate-Limit-Current-Limit': limit });
      res.json({ id: 'user-1' });
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const observed: unknown[] = [];
    const gate = {
      enter: async () => {},
      pause: async () => {},
      observe: (...it: unknown[]) => observed.push(it),
    };
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test', gate });
    while (answers.length > 0) await client.getCustomer('proj1', 'user-1');
    assert.deepEqual(observed, [['customer', { usage: 5, limit: 480 }]]);
  });

  test('what RevenueCat limits as customer information takes no call of the 60 for the configuration', async (t) => {
    const app = express();
    app.use((_req, res) => void res.json({ items: [], next_page: null }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const domains: string[] = [];
    const gate = {
      enter: async (domain: string) => void domains.push(domain),
      pause: async () => {},
      observe: () => {},
    };
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test', gate });
    await client.findBuyers('proj1', 'GPA.1');
    await client.listCustomers('proj1', null);
    await client.listProducts('proj1');
    assert.deepEqual(domains, ['customer', 'customer', 'customer', 'configuration']);
  });

  test('an item that the next page repeats counts once, an empty page is not the last, and a next_page that leads back ends the list', async (t) => {
    const app = express();
    const base = '/v2/projects/proj1/customers/user-1/subscriptions';
    const pages: Record<string, { ids: string[]; next: string | null }> = {
      first: { ids: ['sub1', 'sub2'], next: `${base}?starting_after=sub2` },
      sub2: { ids: ['sub2', 'sub3'], next: `${base}?starting_after=sub3` },
      sub3: { ids: [], next: `${base}?starting_after=none` },
      none: { ids: ['sub4'], next: `${base}?starting_after=sub4` },
      sub4: { ids: ['sub1', 'sub2'], next: `${base}?starting_after=sub2` },
    };
    let calls = 0;
    app.get(base, (req, res) => {
      calls += 1;
      const { ids, next } = pages[String(req.query.starting_after ?? 'first')] ?? { ids: [], next: null };
      const items = ids.map((id) => ({
        id,
        store: 'app_store',
        status: 'active',
        environment: 'production',
      }));
      res.json({ items, next_page: next });
    });
    const { url, close } = await listenOnLoopback(app);
    t.after(close);
    const client = createRevenueCatClient({ apiUrl: url, apiKey: 'sk_test' });
    const subscriptions = await client.listSubscriptions('proj1', 'user-1');
    assert.deepEqual(
      subscriptions.map(({ id }) => id),
      ['sub1', 'sub2', 'sub3', 'sub4'],
    );
    assert.equal(calls, 5);
  });

  test('attributes that do not fit into the response of a customer are read from their next page', async (t) => {
    const app = express();
    const base = '/v2/projects/proj1/customers/user-1';
    const attribute = (name: string): object => ({ name, value: name, updated_at: 1 });
    app.get(base, (_req, res) => {
      const attributes = { items: [attribute('one')], next_page: `${base}/attributes?starting_after=one` };
      res.json({ id: 'user-1', attributes });
    });
    app.get(`${base}/attributes`, (_req, res) => {
      res.json({ items: [attribute('two')], next_page: null });
    });
    app.use((_req, res) => void res.json({ items: [], next_page: null }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const read = await client.readCustomer('proj1', 'user-1');
    assert.deepEqual(
      read?.attributes.map(({ name }) => name),
      ['one', 'two'],
    );
  });

  test('entitlements that do not fit into the list of a purchase are read from its next page', async (t) => {
    const app = express();
    const base = '/v2/projects/proj1';
    const bought = (what: string) => ({
      id: `${what}1`,
      purchased_at: 1,
      entitlements: {
        items: [{ id: 'entl1', lookup_key: 'pro' }],
        next_page: `${base}/${what}/${what}1/entitlements?starting_after=entl1`,
      },
    });
    for (const what of ['subscriptions', 'purchases']) {
      app.get(`${base}/customers/user-1/${what}`, (_req, res) => {
        res.json({ items: [bought(what), { id: 'other' }], next_page: null });
      });
      app.get(`${base}/${what}/${what}1/entitlements`, (_req, res) => {
        res.json({ items: [{ id: 'entl2', lookup_key: 'team' }], next_page: null });
      });
    }
    app.get(`${base}/customers/user-1`, (_req, res) => void res.json({ id: 'user-1' }));
    app.use((_req, res) => void res.json({ items: [], next_page: null }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const read = await client.readCustomer('proj1', 'user-1');
    const current = await client.listSubscriptions('proj1', 'user-1');
    for (const items of [read?.subscriptions, current])
      assert.deepEqual(
        items?.map(({ entitlements }) => entitlements),
        [['pro', 'team'], []],
      );
    assert.deepEqual(read?.purchases[0]?.entitlements, ['pro', 'team']);
  });

  test('what neither PostgreSQL nor an address can hold is replaced in responses as in requests', async (t) => {
    const app = express();
    app.use((_req, res) => {
      res.type('json').send('{"items":[{"id":"proj\\ud800\\u0000"}],"next_page":null}');
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const [project] = await client.listProjects();
    assert.equal(project?.id, 'proj\ufffd\ufffd');
  });

  test('buyers on the next page are found, too', async (t) => {
    const app = express();
    const base = '/v2/projects/proj1/subscriptions';
    app.get(base, (req, res) => {
      const isFirst = req.query.starting_after === undefined;
      const item = isFirst ? { id: 'sub1', customer_id: 'one' } : { id: 'sub2', customer_id: 'two' };
      res.json({ items: [item], next_page: isFirst ? `${base}?starting_after=sub1` : null });
    });
    app.use((_req, res) => void res.json({ items: [{ id: 'purch1', customer_id: 'one' }], next_page: null }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    assert.deepEqual(await client.findBuyers('proj1', 'GPA.1'), ['one', 'two']);
  });

  test("a customer's events are there where the key may read them, and have the time when they happened", async (t) => {
    const app = express();
    let status = 200;
    let proxyPage: string | null = null;
    app.get('/v2/projects/proj1/customers/user-1/events', (_req, res) => {
      const event = { id: 'ev1', type: 'RENEWAL', created_at: 2_000, occurred_at: 1_000 };
      const items = [
        { ...event, body: null },
        { ...event, id: 'ev2', app_id: 'app1', body: { event_timestamp_ms: 1_500 } },
      ];
      res.status(status).send(proxyPage ?? { items, next_page: null });
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    assert.deepEqual(await client.listCustomerEvents('proj1', 'user-1'), [
      { event_timestamp_ms: 1_000, id: 'ev1', type: 'RENEWAL', app_id: null },
      { event_timestamp_ms: 1_500, id: 'ev2', type: 'RENEWAL', app_id: 'app1' },
    ]);
    for (status of [403, 404]) assert.equal(await client.listCustomerEvents('proj1', 'user-1'), null);
    status = 500;
    await assert.rejects(client.listCustomerEvents('proj1', 'user-1'), { code: 'revenuecat_unavailable' });
    [status, proxyPage] = [403, '<html>Blocked</html>'];
    await assert.rejects(client.listCustomerEvents('proj1', 'user-1'), { code: 'revenuecat_unavailable' });
  });

  test('a malformed next_page fails the call that read it, and no other', async (t) => {
    const app = express();
    let nextPage: string | null = null;
    app.get('/v2/projects', (_req, res) => {
      res.json({ items: [{ id: 'proj1', name: 'One' }], next_page: nextPage });
    });
    app.get('/v2/projects/proj1/customers', (_req, res) => {
      res.json({ items: [{ id: 'user-1' }], next_page: nextPage });
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    for (nextPage of ['http://[', 'https://elsewhere.example/v2/projects']) {
      const failure = { code: 'revenuecat_rejected', message: /next_page is not on RevenueCat's host/ };
      await assert.rejects(client.listProjects(), failure);
      await assert.rejects(client.listCustomers('proj1', null), failure);
    }
    nextPage = null;
    assert.deepEqual(await client.listProjects(), [{ id: 'proj1', name: 'One' }]);
    nextPage = '/v2/projects/proj1/customers?starting_after=user-1';
    assert.deepEqual(await client.listCustomers('proj1', null), { ids: ['user-1'], next: 'user-1' });
    // Behind a proxy, RevenueCat still names its own host. If the URL has no customer ID, the page's last one is used.
    nextPage = 'https://api.revenuecat.com/v2/projects/proj1/customers?page=2';
    assert.deepEqual(await client.listCustomers('proj1', null), { ids: ['user-1'], next: 'user-1' });
  });

  test('whose a purchase is comes with one-time purchases as with subscriptions', () => {
    const common = { id: 'x1', product_id: 'prod1', store: 'app_store', status: 'owned', purchased_at: 1 };
    for (const [ownership, isFamilyShare] of [
      ['family_shared', true],
      ['purchased', false],
      [undefined, false],
    ]) {
      const item = { ...common, ownership };
      assert.equal(purchaseSchema.parse(item).isFamilyShare, isFamilyShare);
      assert.equal(subscriptionSchema.parse(item).isFamilyShare, isFamilyShare);
    }
  });

  test('a subscription is read with whatever RevenueCat leaves out or writes otherwise', () => {
    const read = (fields: object) => subscriptionSchema.parse({ id: 'sub1', ...fields });
    const sparse = read({});
    assert.deepEqual(
      [sparse.status, sparse.givesAccess, sparse.store, sparse.environment, sparse.entitlements],
      ['unknown', false, null, 'production', []],
    );
    assert.deepEqual([sparse.endsAtMs, sparse.revenueUsdCents, sparse.storeSubscriptionId], [null, 0, null]);
    const full = read({
      store: 'app_store',
      environment: 'SANDBOX',
      // Grants of early 2025 have no `ends_at`.
      current_period_ends_at: 5_000,
      store_subscription_identifier: 4711,
      total_revenue_in_usd: { gross: 9.99 },
      pending_changes: 'odd',
      entitlements: { items: [{ id: 'entl1' }, { lookup_key: 'pro' }] },
    });
    assert.deepEqual([full.store, full.environment, full.endsAtMs], ['APP_STORE', 'sandbox', 5_000]);
    assert.deepEqual(
      [full.storeSubscriptionId, full.revenueUsdCents, full.pendingProductId, full.entitlements],
      ['4711', 999, null, ['pro']],
    );
    assert.equal(read({ current_period_ends_at: 5_000, ends_at: 6_000 }).endsAtMs, 6_000);
  });

  test('what pauses or ends next has nothing left to cancel', async (t) => {
    const app = express();
    const renewals = ['will_renew', 'will_change_product', 'will_not_renew', 'will_pause', null];
    app.use((req, res) => {
      const items = renewals.map((auto_renewal_status) => ({
        id: `sub_${auto_renewal_status}`,
        auto_renewal_status,
      }));
      res.json({ items: req.path.endsWith('/subscriptions') ? items : [], next_page: null });
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const bought = await client.stores.listPurchases('proj1', 'user-1');
    assert.deepEqual(
      bought.map(({ willRenew }) => willRenew),
      [true, true, false, false, false],
    );
  });

  test('a blank name counts as none: a list would have an empty option', () => {
    for (const [name, read] of [
      ['', null],
      [' ', null],
      [null, null],
      [' Pro ', 'Pro'],
    ]) {
      const item = { lookup_key: 'pro', store_identifier: 'com.example.pro', display_name: name };
      assert.equal(entitlementSchema.parse({ id: 'entl1', ...item }).displayName, read);
      assert.equal(productSchema.parse({ id: 'prod1', ...item }).displayName, read);
      assert.equal(projectSchema.parse({ id: 'proj1', name }).name, read ?? 'proj1');
    }
  });

  test('a response without a list is not an empty list: the customer would seem to have bought nothing', async (t) => {
    const app = express();
    app.use((_req, res) => void res.json({ message: 'Maintenance' }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const failure = { code: 'revenuecat_unavailable', message: /unexpected shape/ };
    await assert.rejects(client.listSubscriptions('proj1', 'user-1'), failure);
    await assert.rejects(client.activeEntitlements('proj1', 'user-1'), failure);
  });
});
