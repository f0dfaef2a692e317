import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

describe('refreshing in the background', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());

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
    assert.ok(performance.now() - begunMs < 8_000, `${performance.now() - begunMs} ms`);
    assert.equal((await jobs('active')).length, 0);
    assert.equal((await jobs('created')).length, 1);
  });
});
