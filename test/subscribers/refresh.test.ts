import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DAY_MS } from '../../src/time.ts';
import { send } from '../inbox-card/support.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

describe('refreshing in the background', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());

  test('a purchase that comes after its transfer has its receiver read again', async () => {
    const nowMs = Date.now();
    const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'receiver' });
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'source' });
    const receiver = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'receiver' });
    const transfer = {
      type: 'TRANSFER',
      id: 'transfer',
      event_timestamp_ms: nowMs - 60_000,
      transferred_from: ['source'],
      transferred_to: ['receiver'],
    };
    await send(product, transfer as never);
    // RevenueCat still has the purchase with the source.
    await until(async () => {
      const rows = await product.db.database.query(
        `select 1 from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = 'receiver' and s.snapshot_at is not null and s.due_at is null`,
      );
      return rows.length > 0;
    }, 'the receiver to be read');
    const bought = product.revenueCat.addProduct(REVENUECAT_PROJECT_ID, { storeIdentifier: 'pro_monthly' });
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const [startsAtMs, endsAtMs] = [nowMs - DAY_MS, nowMs + 29 * DAY_MS];
    receiver.subscriptions.push({
      id: 'sub_transferred',
      customerId: 'receiver',
      originalCustomerId: 'source',
      productId: bought.id,
      store: 'app_store',
      environment: 'production',
      status: 'active',
      autoRenewalStatus: 'will_renew',
      givesAccess: true,
      startsAtMs,
      periodStartsAtMs: startsAtMs,
      periodEndsAtMs: endsAtMs,
      endsAtMs,
      entitlementIds:
        project?.entitlements.filter(({ lookupKey }) => lookupKey === 'pro').map(({ id }) => id) ?? [],
      storeSubscriptionId: 'tx-late',
      grossUsd: 9.99,
      country: 'US',
      managementUrl: null,
    });
    const purchase = eventBody({
      id: 'late',
      app_user_id: 'source',
      original_app_user_id: 'source',
      aliases: ['source'],
      transaction_id: 'tx-late',
      original_transaction_id: 'tx-late',
      event_timestamp_ms: startsAtMs,
      purchased_at_ms: startsAtMs,
      expiration_at_ms: endsAtMs,
    });
    await send(product, purchase as never);
    await until(
      () => contact.customAttributes.subscription_status === 'active',
      'the receiver to have access',
    );
    assert.equal(contact.customAttributes.rc_entitlements, 'pro');
  });

  test('a refresh that waits for its turn does not delay the stop, and is left to another process', async () => {
    const { database } = product.db;
    product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'user-1' });
    // No call for 15 s: the refresh would wait that long.
    await database.query(
      `insert into revenuecat_budgets (workspace_id, project_id, domain, per_minute, tokens, at_ms, hold_until_ms)
       select $1, project_id, domain, 480, 0, extract(epoch from now()) * 1000, extract(epoch from now()) * 1000 + 15000
         from projects, unnest(array['customer', 'configuration']) as domain where workspace_id = $1
       on conflict (workspace_id, project_id, domain) do update set tokens = 0, hold_until_ms = excluded.hold_until_ms`,
      [WORKSPACE_ID],
    );
    await fetch(product.webhook.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
      body: JSON.stringify({ api_version: '1.0', event: eventBody({ app_user_id: 'user-1' }) }),
    });
    const jobs = (state: string) =>
      database.query(`select 1 from pgboss.job where name = 'subscriber.refresh' and state::text = $1`, [
        state,
      ]);
    await until(async () => (await jobs('active')).length > 0, 'the refresh to wait');
    const begunMs = performance.now();
    await product.stop();
    assert.ok(performance.now() - begunMs < 14_000, `${performance.now() - begunMs} ms`);
    assert.equal((await jobs('active')).length, 0);
    assert.equal((await jobs('created')).length, 1);
  });
});
