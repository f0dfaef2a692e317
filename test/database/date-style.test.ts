import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DAY_MS } from '../../src/time.ts';
import { createTestDatabase } from '../support/database.ts';
import { eventBody } from '../support/events.ts';
import { createProduct } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

test('a database that writes dates in another style, and another time zone, is read as usual', async (t) => {
  const db = await createTestDatabase();
  const name = new URL(db.url).pathname.slice(1);
  await db.database.query(`alter database ${name} set datestyle = 'German, DMY'`);
  await db.database.query(`alter database ${name} set timezone = 'America/New_York'`);
  const product = await createProduct({ db });
  t.after(() => product.close());
  const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'customer' });
  const nowMs = Date.now();
  const event = eventBody({
    app_user_id: 'customer',
    original_app_user_id: 'customer',
    aliases: ['customer'],
    event_timestamp_ms: nowMs - DAY_MS,
    purchased_at_ms: nowMs - DAY_MS,
    expiration_at_ms: nowMs + 20 * DAY_MS,
  });
  const answer = await fetch(product.webhook.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
    body: JSON.stringify({ api_version: '1.0', event }),
  });
  assert.equal(answer.status, 200);
  await until(() => contact.customAttributes.subscription_status === 'active', 'the attributes');
  assert.equal(contact.customAttributes.expires_at, Math.floor((nowMs + 20 * DAY_MS) / 1_000));
  const conversation = product.intercom.addConversation(WORKSPACE_ID, {
    contactIds: [contact.id],
    body: '<p>Hello</p>',
  });
  const card = await product.card({
    flow: 'initialize',
    adminId: '7001',
    conversationId: conversation.id,
    contactId: contact.id,
  });
  assert.match(JSON.stringify(card.canvas), /Next charge/);
});
