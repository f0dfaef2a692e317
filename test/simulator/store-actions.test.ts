import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import request from 'supertest';
import {
  customerFromStory,
  purchaseStory,
  type StoryName,
} from '../../src/simulator/revenuecat/scenarios.ts';
import {
  createRevenueCatSimulator,
  type RevenueCatSimulator,
} from '../../src/simulator/revenuecat/server.ts';
import type { Customer } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';

const NOW = Date.parse('2026-11-20T12:00:00Z');
const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

let nowMs = NOW;
let simulator: RevenueCatSimulator;
let key: string;

before(() => {
  simulator = createRevenueCatSimulator({ now: () => nowMs });
  simulator.state.grantWebhookDelayMs = null;
  simulator.state.limitsPerMinute.customer = 1_000_000;
  simulator.addProject({ id: 'proj1' });
  key = simulator.issueKey('proj1');
});

let customers = 0;

/** A new customer with this history. */
function add(story: StoryName): Customer {
  customers += 1;
  const made = purchaseStory(story, { appUserId: `${story}_${customers}`, nowMs });
  return customerFromStory(simulator.state, 'proj1', made);
}

const get = (path: string, withKey = key) =>
  request(simulator.app).get(`/v2/projects/proj1${path}`).set('Authorization', `Bearer ${withKey}`);
const post = (path: string, body: object = {}, withKey = key) =>
  request(simulator.app)
    .post(`/v2/projects/proj1${path}`)
    .set('Authorization', `Bearer ${withKey}`)
    .send(body);

const subscriptionOf = (customer: Customer): string => `/subscriptions/${customer.subscriptions[0]?.id}`;
const purchaseOf = (customer: Customer): string => `/purchases/${customer.purchases[0]?.id}`;
const lastEvent = (customer: Customer): Record<string, unknown> => customer.events.at(-1) ?? {};

async function expectStatuses(calls: readonly (readonly [request.Test, number, string?])[]): Promise<void> {
  for (const [call, status, type] of calls) {
    const answer = await call;
    assert.equal(answer.status, status, `${call.method} ${call.url}: ${answer.text}`);
    if (type !== undefined) assert.deepEqual([answer.body.object, answer.body.type], ['error', type]);
  }
}

describe('the simulated store actions', () => {
  test('cancel: Web Billing only, once, and the event follows', async () => {
    const web = add('web_monthly');
    const path = `${subscriptionOf(web)}/actions/cancel`;
    const done = await post(path);
    assert.deepEqual([done.status, done.body.auto_renewal_status], [200, 'will_not_renew']);
    assert.deepEqual([lastEvent(web).type, lastEvent(web).cancel_reason], ['CANCELLATION', 'UNSUBSCRIBE']);
    await expectStatuses([
      [post(path), 409, 'resource_already_exists'],
      [post(path, { reason: 'x' }), 400, 'parameter_error'],
      [post('/subscriptions/none/actions/cancel'), 404, 'resource_missing'],
      [post(`${subscriptionOf(add('google_monthly'))}/actions/cancel`), 422, 'unprocessable_entity_error'],
    ]);
  });

  test('refund of a subscription: Web Billing only, once; access ends', async () => {
    const web = add('web_monthly');
    const path = `${subscriptionOf(web)}/actions/refund`;
    const done = await post(path);
    assert.deepEqual([done.status, done.body.gives_access], [200, false]);
    assert.deepEqual(
      web.events.slice(-2).map(({ type }) => type),
      ['CANCELLATION', 'EXPIRATION'],
    );
    assert.equal(web.events.at(-2)?.price, -9.99, 'of three payments the last');
    await expectStatuses([
      [post(path), 409, 'resource_already_exists'],
      [post(`${subscriptionOf(add('active_monthly'))}/actions/refund`), 422, 'unprocessable_entity_error'],
      [post(`${subscriptionOf(add('stripe_monthly'))}/actions/refund`), 422, 'unprocessable_entity_error'],
    ]);
  });

  test('refund of a one-time purchase: Web Billing only, once, with the permission for purchases', async () => {
    const web = add('web_monthly');
    const path = `${purchaseOf(web)}/actions/refund`;
    const without = simulator.issueKey('proj1', [SUBSCRIPTIONS, CUSTOMERS]);
    await expectStatuses([[post(path, {}, without), 403, 'authorization_error']]);
    const done = await post(path, {}, simulator.issueKey('proj1', [PURCHASES]));
    assert.deepEqual([done.status, done.body.status], [200, 'refunded']);
    const { type, cancel_reason, price, expiration_at_ms, transaction_id } = lastEvent(web);
    assert.deepEqual(
      [type, cancel_reason, price, expiration_at_ms, transaction_id],
      ['CANCELLATION', 'CUSTOMER_SUPPORT', -4.99, null, web.purchases[0]?.storePurchaseId],
    );
    const [elsewhere] = add('web_monthly').purchases;
    assert.ok(elsewhere);
    Object.assign(elsewhere, { store: 'app_store' });
    await expectStatuses([
      [post(path), 409, 'resource_already_exists'],
      [post(`/purchases/${elsewhere.id}/actions/refund`), 422, 'unprocessable_entity_error'],
      [post('/purchases/none/actions/refund'), 404, 'resource_missing'],
    ]);
  });

  test('refund of a charge: Google Play only, once, within a year; access stays', async () => {
    const google = add('google_monthly');
    const charge = String(google.events.at(-1)?.transaction_id);
    const path = `${subscriptionOf(google)}/transactions/${charge}/actions/refund`;
    const listed = await get(`${subscriptionOf(google)}/transactions`);
    assert.deepEqual(
      listed.body.items.map(({ id }: { id: string }) => id),
      google.events.map((event) => event.transaction_id).sort(),
    );
    const { body } = await get(`/customers/${google.id}/subscriptions`);
    assert.equal(body.items[0].store_subscription_identifier, charge, 'Google’s is the last renewal’s order');
    assert.equal((await post(path)).status, 200);
    assert.equal(google.subscriptions[0]?.givesAccess, true);
    assert.equal(lastEvent(google).price, -9.99, 'of three payments the last');
    const web = add('web_monthly');
    const ofWeb = web.subscriptions[0]?.storeSubscriptionId;
    const old = add('google_monthly');
    const ofOld = old.subscriptions[0]?.storeSubscriptionId;
    await expectStatuses([
      [post(path), 409, 'resource_already_exists'],
      [post(`${subscriptionOf(google)}/transactions/none/actions/refund`), 404, 'resource_missing'],
      [
        post(`${subscriptionOf(web)}/transactions/${ofWeb}/actions/refund`),
        422,
        'unprocessable_entity_error',
      ],
    ]);
    nowMs = NOW + 400 * DAY_MS;
    await expectStatuses([
      [
        post(`${subscriptionOf(old)}/transactions/${ofOld}/actions/refund`),
        422,
        'unprocessable_entity_error',
      ],
    ]);
    nowMs = NOW;
  });

  test('extend: up to 90 days at Apple, with a reason and twice a year; up to 365 at Google and Web Billing', async () => {
    const apple = add('active_monthly');
    const path = `${subscriptionOf(apple)}/actions/extend`;
    const extend_reason_code = 'customer_satisfaction';
    await expectStatuses([
      [post(path, { extend_by_days: 91, extend_reason_code }), 422, 'unprocessable_entity_error'],
      [post(path, { extend_by_days: 7 }), 400, 'parameter_error'],
      [post(path, { extend_by_days: 7, extend_reason_code: 1 }), 400, 'parameter_error'],
      [post(path, { extend_by_days: 0, extend_reason_code }), 400, 'parameter_error'],
      [post(path, { extend_reason_code }), 400, 'parameter_error'],
      [post(path, { extend_by_days: 7, extend_reason_code }), 200],
      [post(path, { extend_by_days: 90, extend_reason_code: 'service_issue_or_outage' }), 200],
      [post(path, { extend_by_days: 1, extend_reason_code }), 422, 'unprocessable_entity_error'],
    ]);
    assert.equal(apple.subscriptions[0]?.endsAtMs, NOW + (20 + 97) * DAY_MS);
    nowMs = NOW + 366 * DAY_MS;
    Object.assign(apple.subscriptions[0] ?? {}, { endsAtMs: nowMs + DAY_MS, periodEndsAtMs: nowMs + DAY_MS });
    await expectStatuses([[post(path, { extend_by_days: 1, extend_reason_code }), 200]]);
    nowMs = NOW;
    for (const story of ['google_monthly', 'web_monthly'] as const) {
      const of = `${subscriptionOf(add(story))}/actions/extend`;
      await expectStatuses([
        [post(of, { extend_by_days: 366 }), 422, 'unprocessable_entity_error'],
        [post(of, { extend_by_days: 365 }), 200],
      ]);
    }
    await expectStatuses([
      [
        post(`${subscriptionOf(add('stripe_monthly'))}/actions/extend`, { extend_by_days: 1 }),
        422,
        'unprocessable_entity_error',
      ],
      [
        post(`${subscriptionOf(add('expired_by_billing'))}/actions/extend`, {
          extend_by_days: 1,
          extend_reason_code,
        }),
        422,
        'unprocessable_entity_error',
      ],
    ]);
  });

  test('transfer: with three permissions, to a known customer; grants stay', async () => {
    const source = add('web_monthly');
    const granted = add('granted').subscriptions[0];
    assert.ok(granted);
    source.subscriptions.push(granted);
    const target = add('no_purchases');
    const path = `/customers/${source.id}/actions/transfer`;
    const body = { target_customer_id: target.id };
    for (const missing of [CUSTOMERS, SUBSCRIPTIONS, PURCHASES]) {
      const scopes = [CUSTOMERS, SUBSCRIPTIONS, PURCHASES].filter((each) => each !== missing);
      await expectStatuses([
        [post(path, body, simulator.issueKey('proj1', scopes)), 403, 'authorization_error'],
      ]);
    }
    await expectStatuses([
      [post(path, { target_customer_id: 'none' }), 404, 'resource_missing'],
      [post(path, { target_customer_id: source.id }), 422, 'unprocessable_entity_error'],
      [post(path, {}), 400, 'parameter_error'],
      [post(path, body), 200],
    ]);
    assert.deepEqual(
      [source.subscriptions, target.subscriptions, target.purchases].map(({ length }) => length),
      [1, 1, 1],
    );
    const { body: moved } = await get(`/customers/${target.id}/purchases`);
    assert.deepEqual(
      [moved.items[0].customer_id, moved.items[0].original_customer_id],
      [target.id, source.id],
    );
    const { type, store, environment } = lastEvent(target);
    assert.deepEqual([type, store, environment], ['TRANSFER', 'RC_BILLING', 'PRODUCTION']);
    const tester = add('sandbox_only');
    await expectStatuses([[post(`/customers/${tester.id}/actions/transfer`, body), 200]]);
    assert.deepEqual([lastEvent(target).store, lastEvent(target).environment], ['APP_STORE', 'SANDBOX']);
    const before = target.events.length;
    await expectStatuses([[post(`/customers/${tester.id}/actions/transfer`, body), 200]]);
    assert.equal(target.events.length, before, 'nothing was left to move');
  });

  test('restore: a Google Play order that another customer has', async () => {
    const owner = add('google_monthly');
    const order = owner.subscriptions[0]?.storeSubscriptionId ?? '';
    const target = add('no_purchases');
    const path = `/customers/${target.id}/actions/restore_purchase_by_order_id`;
    await expectStatuses([
      [post(path, { order_id: 'order 1' }), 400, 'parameter_error'],
      [post(path, { order_id: 'GPA.0000-0000-0000-00000' }), 404, 'resource_missing'],
      [post(path, { order_id: order }), 200],
      [post(path, { order_id: order }), 409, 'resource_already_exists'],
    ]);
    assert.deepEqual([owner.subscriptions.length, target.subscriptions.length], [0, 1]);
    assert.equal(lastEvent(target).type, 'TRANSFER');
  });

  test('the portal link: Web Billing only, another one each time, with the permission to read', async () => {
    const path = `${subscriptionOf(add('web_monthly'))}/authenticated_management_url`;
    const readOnly = simulator.issueKey('proj1', ['customer_information:subscriptions:read']);
    const urls = [await get(path, readOnly), await get(path, readOnly)].map(
      ({ body }) => body.management_url,
    );
    assert.match(urls[0], /^https:\/\//);
    assert.notEqual(urls[0], urls[1]);
    const google = `${subscriptionOf(add('google_monthly'))}/authenticated_management_url`;
    await expectStatuses([[get(google), 404, 'resource_missing']]);
  });
});
