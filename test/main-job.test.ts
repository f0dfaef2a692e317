import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DAY_MS, HOUR_MS } from '../src/time.ts';
import { eventBody } from './support/events.ts';
import { createProduct, type Product } from './support/product.ts';
import { until } from './support/wait.ts';
import { WORKSPACE_ID } from './support/world.ts';

describe('the main job, from the webhook to the card', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());

  const nowMs = Date.now();
  const startMs = nowMs - 40 * DAY_MS + 417;

  /** One event of each of the ten kinds, each for a different customer, in the shape of RevenueCat's samples. */
  const KINDS: readonly {
    readonly name: string;
    readonly card: RegExp;
    readonly attributes: Record<string, unknown>;
    readonly metadata: Record<string, unknown>;
    readonly fields: Record<string, unknown>;
  }[] = [
    {
      name: 'rc_initial_purchase_event',
      card: /Subscribed/,
      attributes: { subscription_status: 'active', rc_will_renew: true, rc_lifetime_value_usd: 9.99 },
      metadata: { price: { amount: 999, currency: 'usd' }, period_type: 'NORMAL' },
      fields: { type: 'INITIAL_PURCHASE', expiration_at_ms: nowMs + 5 * DAY_MS },
    },
    {
      name: 'rc_trial_started_event',
      card: /free trial/i,
      attributes: { subscription_status: 'trial', rc_period_type: 'TRIAL', rc_lifetime_value_usd: 0 },
      metadata: { price: undefined, period_type: 'TRIAL' },
      fields: {
        type: 'INITIAL_PURCHASE',
        period_type: 'TRIAL',
        price: 0,
        price_in_purchased_currency: 0,
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
    {
      name: 'rc_trial_converted_event',
      card: /trial/i,
      attributes: { subscription_status: 'active' },
      metadata: { price: { amount: 999, currency: 'usd' } },
      fields: { type: 'RENEWAL', is_trial_conversion: true, expiration_at_ms: nowMs + 5 * DAY_MS },
    },
    {
      name: 'rc_trial_cancelled_event',
      card: /Will not be charged/,
      attributes: { subscription_status: 'cancelled_trial', rc_will_renew: false },
      metadata: { cancellation_reason: 'UNSUBSCRIBE', period_type: 'TRIAL' },
      fields: {
        type: 'CANCELLATION',
        period_type: 'TRIAL',
        cancel_reason: 'UNSUBSCRIBE',
        price: 0,
        price_in_purchased_currency: 0,
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
    {
      name: 'rc_renewal_event',
      card: /Renewed/,
      attributes: { subscription_status: 'active' },
      metadata: { price: { amount: 799, currency: 'eur' } },
      fields: {
        type: 'RENEWAL',
        is_trial_conversion: false,
        currency: 'EUR',
        price: 8.14,
        price_in_purchased_currency: 7.99,
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
    {
      name: 'rc_cancellation_event',
      card: /No further charge/,
      attributes: { subscription_status: 'cancelled', rc_will_renew: false },
      metadata: { cancellation_reason: 'UNSUBSCRIBE' },
      fields: {
        type: 'CANCELLATION',
        cancel_reason: 'UNSUBSCRIBE',
        price: 0,
        price_in_purchased_currency: 0,
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
    {
      name: 'rc_non_subscription_purchase_event',
      card: /one-time purchases/,
      attributes: { rc_last_event: 'non_subscription_purchase' },
      metadata: { product_identifier: 'coins_100', expires_at: undefined },
      fields: {
        type: 'NON_RENEWING_PURCHASE',
        product_id: 'coins_100',
        entitlement_ids: null,
        expiration_at_ms: null,
      },
    },
    {
      name: 'rc_expiration_event',
      card: /No access since/,
      attributes: { subscription_status: 'expired', rc_will_renew: false },
      metadata: { expiration_reason: 'UNSUBSCRIBE' },
      fields: {
        type: 'EXPIRATION',
        expiration_reason: 'UNSUBSCRIBE',
        expiration_at_ms: startMs - HOUR_MS,
      },
    },
    {
      name: 'rc_billing_issue_event',
      card: /Payment failed/,
      attributes: { subscription_status: 'grace_period' },
      metadata: { period_type: 'NORMAL' },
      fields: {
        type: 'BILLING_ISSUE',
        grace_period_expiration_at_ms: nowMs + 5 * DAY_MS,
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
    {
      name: 'rc_product_change_event',
      card: /pro_yearly|change/i,
      attributes: { rc_last_event: 'product_change' },
      metadata: { product_identifier: 'pro_monthly' },
      fields: {
        type: 'PRODUCT_CHANGE',
        new_product_id: 'pro_yearly',
        expiration_at_ms: nowMs + 5 * DAY_MS,
      },
    },
  ];

  for (const [index, kind] of KINDS.entries()) {
    test(`${kind.name} is once on its contact, with its attributes, and on the card`, async () => {
      const appUserId = `customer-${index}`;
      const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: appUserId });
      const conversation = product.intercom.addConversation(WORKSPACE_ID, {
        contactIds: [contact.id],
        body: '<p>Hello</p>',
      });
      const event = {
        ...eventBody({
          id: `main-${index}`,
          app_user_id: appUserId,
          original_app_user_id: appUserId,
          aliases: [appUserId],
          event_timestamp_ms: startMs,
          purchased_at_ms: startMs - HOUR_MS,
          transaction_id: `t-${index}`,
          original_transaction_id: `t-${index}`,
          ...kind.fields,
        }),
        type: String(kind.fields.type),
        id: `main-${index}`,
      };
      const send = () =>
        fetch(product.webhook.url, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
          body: JSON.stringify({ api_version: '1.0', event }),
        });
      const [first, second] = [await send(), await send()];
      assert.deepEqual([first.status, await first.json()], [200, { status: 'accepted' }]);
      assert.deepEqual([second.status, await second.json()], [200, { status: 'duplicate' }]);

      await until(
        () => contact.customAttributes.rc_last_event === kind.name.slice('rc_'.length, -'_event'.length),
        `the attributes after ${kind.name}`,
      );
      const sent = product.intercom.state.events.filter(({ contactId }) => contactId === contact.id);
      assert.deepEqual(
        sent.map(({ name, createdAtS }) => ({ name, createdAtS })),
        [{ name: kind.name, createdAtS: Math.floor(startMs / 1_000) }],
      );
      const metadata = sent[0]?.metadata ?? {};
      assert.equal(metadata.store, 'APP_STORE');
      assert.equal(metadata.environment, 'production');
      assert.equal(metadata.event_id, `main-${index}`);
      for (const [key, value] of Object.entries(kind.metadata)) assert.deepEqual(metadata[key], value, key);
      for (const [key, value] of Object.entries(kind.attributes))
        assert.equal(contact.customAttributes[key], value, key);
      assert.equal(contact.customAttributes.rc_last_event_at, Math.floor(startMs / 1_000));

      const card = await product.card({
        flow: 'initialize',
        adminId: '7001',
        conversationId: conversation.id,
        contactId: contact.id,
      });
      assert.deepEqual([card.status, card.problems, card.findings], [200, [], []]);
      assert.match(JSON.stringify(card.canvas), kind.card);
    });
  }

  test('an unauthenticated webhook stores nothing', async () => {
    const count = async () =>
      (await product.db.database.query<{ n: string }>('select count(*) as n from events'))[0]?.n;
    const before = await count();
    const body = JSON.stringify({ event: eventBody({ id: 'stranger' }) });
    const post = (url: string, authorization: string, raw = body) =>
      fetch(url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: authorization },
        body: raw,
      });
    const { url, authorization } = product.webhook;
    assert.equal((await post(url, 'wrong')).status, 401);
    assert.equal((await post(`${url}x`, authorization)).status, 404);
    assert.equal((await post(url, authorization, body.slice(0, -1))).status, 400);
    assert.equal(await count(), before);
  });
});
