import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { beforeEach, test } from 'node:test';
import request from 'supertest';
import { customerFromStory, purchaseStory, STORY_NAMES } from '../../src/simulator/revenuecat/scenarios.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import { RETRY_AFTER_MS, signEvent } from '../../src/simulator/revenuecat/webhooks.ts';
import { DAY_MS } from '../../src/time.ts';

const NOW = Date.parse('2026-11-20T12:00:00Z');
let nowMs = NOW;
let simulator: RevenueCatSimulator;
let key: string;
let entitlementId: string;

beforeEach(() => {
  nowMs = NOW;
  simulator = createRevenueCatSimulator({ now: () => nowMs });
  simulator.state.grantWebhookDelayMs = null;
  simulator.addProject({ id: 'proj1' });
  key = simulator.issueKey('proj1');
  entitlementId = simulator.addEntitlement('proj1', 'pro', 'Pro').id;
  simulator.addCustomer('proj1', {
    id: 'user-1',
    aliases: ['$RCAnonymousID:abc'],
    attributes: { $email: 'a@example.com' },
  });
});

const get = (path: string) =>
  request(simulator.app).get(`/v2/projects/proj1${path}`).set('Authorization', `Bearer ${key}`);
const post = (path: string, body: object) =>
  request(simulator.app).post(`/v2/projects/proj1${path}`).set('Authorization', `Bearer ${key}`).send(body);
const grant = (body: object, id = 'user-1') => post(`/customers/${id}/actions/grant_entitlement`, body);

const refusals: [string, () => request.Test, number, string][] = [
  ['no key', () => request(simulator.app).get('/v2/projects'), 401, 'authentication_error'],
  ['unknown customer', () => get('/customers/none'), 404, 'resource_missing'],
  [
    'another project',
    () => request(simulator.app).get('/v2/projects/other/customers').set('Authorization', `Bearer ${key}`),
    403,
    'authorization_error',
  ],
  ['limit', () => get('/customers?limit=1000'), 400, 'parameter_error'],
  ['customer: too long an id', () => get(`/customers/${'x'.repeat(1_501)}`), 400, 'parameter_error'],
  [
    'store identifier: too long',
    () => get(`/subscriptions?store_subscription_identifier=${'x'.repeat(256)}`),
    400,
    'parameter_error',
  ],
  [
    'grant: not JSON',
    () =>
      request(simulator.app)
        .post('/v2/projects/proj1/customers/user-1/actions/grant_entitlement')
        .set('Authorization', `Bearer ${key}`)
        .type('form')
        .send(`entitlement_id=${entitlementId}&expires_at=${NOW + DAY_MS}`),
    400,
    'invalid_request',
  ],
  [
    'webhook: without TLS',
    () => post('/integrations/webhooks', { name: 'x', url: 'http://a.example/', authorization_header: 'x' }),
    400,
    'parameter_error',
  ],
  [
    'webhook: an empty app',
    () =>
      post('/integrations/webhooks', {
        name: 'x',
        url: 'https://a.example/',
        authorization_header: 'x',
        app_id: '',
      }),
    400,
    'parameter_error',
  ],
  [
    'grant: unknown field',
    () => grant({ entitlement_id: entitlementId, expires_at: NOW + DAY_MS, reason: 'x' }),
    400,
    'parameter_error',
  ],
  [
    'grant: past end',
    () => grant({ entitlement_id: entitlementId, expires_at: NOW }),
    422,
    'parameter_error',
  ],
  [
    'grant: lookup key',
    () => grant({ entitlement_id: 'pro', expires_at: NOW + DAY_MS }),
    404,
    'resource_missing',
  ],
  [
    'grant: unknown customer',
    () => grant({ entitlement_id: entitlementId, expires_at: NOW + DAY_MS }, 'none'),
    404,
    'resource_missing',
  ],
  [
    'revoke: nothing granted',
    () => post('/customers/user-1/actions/revoke_granted_entitlement', { entitlement_id: entitlementId }),
    404,
    'resource_missing',
  ],
];

for (const [name, make, status, type] of refusals) {
  test(`refuses: ${name}`, async () => {
    const answer = await make();
    assert.equal(answer.status, status, answer.text);
    assert.deepEqual([answer.body.object, answer.body.type], ['error', type]);
    assert.equal(answer.body.doc_url, `https://errors.rev.cat/${type.replaceAll('_', '-')}`);
  });
}

test('a key may do only what its permissions allow', async () => {
  key = simulator.issueKey('proj1', ['customer_information:customers:read']);
  assert.equal((await get('/customers/user-1')).status, 200);
  const refused = await grant({ entitlement_id: entitlementId, expires_at: NOW + DAY_MS });
  assert.deepEqual([refused.status, refused.body.type], [403, 'authorization_error']);
});

test('any alias finds the customer; e-mail search is exact; pages are absolute', async () => {
  assert.equal((await get(`/customers/${encodeURIComponent('$RCAnonymousID:abc')}`)).body.id, 'user-1');
  assert.equal((await get('/customers?search=a%40example.com')).body.items.length, 1);
  assert.equal((await get('/customers?search=example.com')).body.items.length, 0);
  simulator.addCustomer('proj1', { id: 'user-2' });
  const first = await get('/customers?limit=1');
  assert.match(first.body.next_page, /^http:\/\/.*starting_after=user-1/);
  assert.equal((await get('/customers?limit=1&starting_after=user-1')).body.next_page, null);
});

test('API v1 is refused and recorded', async () => {
  assert.equal((await request(simulator.app).get('/v1/subscribers/u')).status, 404);
  assert.deepEqual(simulator.state.violations, ['GET /v1/subscribers/u']);
});

test('calls are limited for each minute and domain', async () => {
  simulator.state.limitsPerMinute.configuration = 1;
  assert.equal((await get('/entitlements')).headers['revenuecat-rate-limit-current-usage'], '1');
  const refused = await get('/products');
  assert.deepEqual(
    [refused.status, refused.headers['retry-after'], refused.body.backoff_ms],
    [429, '60', 60_000],
  );
  assert.equal(refused.headers['revenuecat-rate-limit-current-limit'], '1');
  assert.equal((await get('/customers')).status, 200);
});

test('grants: the same end is ignored, three readings of "already exists", webhooks on demand', async () => {
  const received: { headers: Record<string, unknown>; body: { event: Record<string, unknown> } }[] = [];
  const app = createServer(async (req, res) => {
    let raw = '';
    for await (const chunk of req) raw += chunk;
    received.push({ headers: req.headers, body: JSON.parse(raw) });
    res.end();
  });
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  const address = app.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hook`;
  const created = await post('/integrations/webhooks', {
    name: 'Hook',
    url,
    authorization_header: 'Bearer wh',
  });
  assert.equal(created.status, 201);
  assert.ok(!created.text.includes('Bearer wh'));

  const grants = () => simulator.state.projects.get('proj1')?.customers.get('user-1')?.subscriptions.length;
  assert.equal((await grant({ entitlement_id: entitlementId, expires_at: NOW + 30 * DAY_MS })).status, 201);
  assert.equal(
    (await grant({ entitlement_id: entitlementId, expires_at: NOW + 30 * DAY_MS + 3_600_000 })).status,
    201,
  );
  assert.equal(grants(), 1);
  simulator.state.existingGrant = 'conflict409';
  assert.equal((await grant({ entitlement_id: entitlementId, expires_at: NOW + 60 * DAY_MS })).status, 409);
  simulator.state.existingGrant = 'second';
  assert.equal((await grant({ entitlement_id: entitlementId, expires_at: NOW + 60 * DAY_MS })).status, 201);
  assert.equal(grants(), 2);
  const active = await get('/customers/user-1/active_entitlements');
  assert.equal(active.body.items[0].expires_at, NOW + 60 * DAY_MS);
  assert.equal((await get('/customers/user-1/subscriptions')).body.items[0].product_id, null);
  await post('/customers/user-1/actions/revoke_granted_entitlement', { entitlement_id: entitlementId });
  assert.equal((await get('/customers/user-1/active_entitlements')).body.items.length, 0);

  await simulator.flushWebhooks();
  app.close();
  assert.deepEqual(
    received.map(({ body }) => body.event.type),
    [
      'NON_RENEWING_PURCHASE',
      'NON_RENEWING_PURCHASE',
      'CANCELLATION',
      'EXPIRATION',
      'CANCELLATION',
      'EXPIRATION',
    ],
  );
  assert.equal(received[0]?.headers.authorization, 'Bearer wh');
  assert.equal(received[0]?.body.event.product_id, 'rc_promo_pro_custom');
  assert.ok(!('app_id' in (received[0]?.body.event ?? {})));
  assert.equal((await get('/customers/user-1/events?limit=1')).body.items[0].type, 'PURCHASES_EXPIRATION');
  simulator.state.customerEventsEnabled = false;
  assert.equal((await get('/customers/user-1/events')).status, 404);
});

test('a subscription is found by the order of any period', async () => {
  const story = purchaseStory('google_monthly', { appUserId: 'buyer', nowMs: NOW });
  customerFromStory(simulator.state, 'proj1', story);
  const orders = story.events.map((event) => String(event.transaction_id));
  assert.equal(new Set(orders).size, 3);
  for (const order of orders) {
    const { body } = await get(`/subscriptions?store_subscription_identifier=${order}`);
    assert.deepEqual(
      (body.items as { customer_id: string }[]).map((item) => item.customer_id),
      ['buyer'],
    );
  }
});

test('an event of a grant that is refused is sent again after five minutes', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let attempts = 0;
  const app = createServer((req, res) => {
    attempts += 1;
    req.resume();
    res.writeHead(attempts === 1 ? 503 : 200).end();
  });
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  t.after(() => app.close());
  const { port } = app.address() as { port: number };
  simulator.state.grantWebhookDelayMs = 1_000;
  const webhook = simulator.addWebhook('proj1', { url: `http://127.0.0.1:${port}/` });
  await grant({ entitlement_id: entitlementId, expires_at: NOW + DAY_MS });
  t.mock.timers.tick(1_000);
  const status = () => webhook.lastDelivery?.status;
  while (status() !== 503) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(5 * 60_000);
  while (status() !== 200) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(attempts, 2);
});

test('an error that can be retried says after how long', async () => {
  simulator.faults.add({ status: 503, times: 1 });
  const { body } = await get('/customers');
  assert.deepEqual([body.type, body.retryable, body.backoff_ms], ['server_error', true, 1_000]);
});

test('webhooks are signed with their time, and retried after 5 to 80 minutes', () => {
  const body = '{"api_version":"1.0","event":{"id":"evt_1"}}';
  assert.match(signEvent('whsec', body, 1_700_000_000), /^t=1700000000,v1=[0-9a-f]{64}$/);
  assert.deepEqual(
    RETRY_AFTER_MS.map((ms) => ms / 60_000),
    [5, 10, 20, 40, 80],
  );
});

test('every story gives events in order and a customer that the API shows', async () => {
  for (const name of STORY_NAMES) {
    const story = purchaseStory(name, {
      appUserId: `user_${name}`,
      nowMs: NOW,
      email: `${name}@example.com`,
    });
    const times = story.events.map((event) => Number(event.event_timestamp_ms));
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
      name,
    );
    assert.ok(
      times.every((time) => time <= NOW),
      name,
    );
    customerFromStory(simulator.state, 'proj1', story);
    const subscriptions = await get(`/customers/user_${name}/subscriptions`);
    assert.equal(subscriptions.body.items.length, story.subscriptions.length, name);
  }
  assert.equal(
    (await get('/customers/user_sandbox_only/subscriptions?environment=production')).body.items.length,
    0,
  );
  assert.equal((await get('/customers/user_several/active_entitlements')).body.items.length, 2);
});
