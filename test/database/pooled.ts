import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { migrate, openDatabase } from '../../src/database/data-source.ts';
import { DAY_MS } from '../../src/time.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';

/** A connection pooler in transaction mode, in front of one database. */
export interface Pooler {
  readonly url: string;
  stop(): Promise<void>;
}

const CUSTOMERS = 40;

/** Tests what must work behind a pooler, with and without a direct connection past it. */
export function describePooled(name: string, start: (databaseUrl: string) => Promise<Pooler>): void {
  for (const isDirect of [true, false]) {
    describe(`behind ${name}, ${isDirect ? 'with' : 'without'} DATABASE_DIRECT_URL`, () => {
      let db: TestDatabase;
      let pooler: Pooler;
      let product: Product;
      before(async () => {
        db = await createTestDatabase();
        pooler = await start(db.url);
        product = await createProduct({
          db,
          environment: { DATABASE_URL: pooler.url, ...(isDirect ? { DATABASE_DIRECT_URL: db.url } : {}) },
        });
      });
      after(async () => {
        await product?.close();
        await pooler?.stop();
      });

      test('webhooks are stored, delivered once, and on the card', async () => {
        const contacts = Array.from({ length: CUSTOMERS }, (_, index) =>
          product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `customer-${index}` }),
        );
        const answers = await Promise.all(contacts.flatMap((_, index) => [send(index), send(index)]));
        assert.deepEqual(new Set(answers), new Set([200]));
        await until(
          () => contacts.every((contact) => contact.customAttributes.subscription_status === 'active'),
          'every attribute',
        );
        const delivered = product.intercom.state.events.map((event) => event.metadata.event_id).sort();
        assert.deepEqual(delivered, contacts.map((_, index) => `pooled-${index}`).sort());
        const contactId = contacts[0]?.id ?? '';
        const conversation = product.intercom.addConversation(WORKSPACE_ID, {
          contactIds: [contactId],
          body: '<p>Hello</p>',
        });
        for (let round = 0; round < 5; round += 1) {
          const card = await product.card({
            flow: 'initialize',
            adminId: '7001',
            conversationId: conversation.id,
            contactId,
          });
          assert.match(JSON.stringify(card.canvas), /Next charge/);
        }
      });

      test('no lock of a session is left on a connection of the pooler', async () => {
        const client = new pg.Client({ connectionString: db.url });
        await client.connect();
        const { rows } = await client.query<{ application_name: string }>(
          `select a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid
            where l.locktype = 'advisory' and a.datname = current_database()`,
        );
        await client.end();
        assert.deepEqual(
          rows.map((row) => row.application_name),
          isDirect ? ['subscription-timeline-worker'] : [],
        );
      });

      async function send(index: number): Promise<number> {
        const nowMs = Date.now();
        const id = `customer-${index}`;
        const event = eventBody({
          id: `pooled-${index}`,
          app_user_id: id,
          original_app_user_id: id,
          aliases: [id],
          event_timestamp_ms: nowMs - DAY_MS,
          purchased_at_ms: nowMs - DAY_MS,
          expiration_at_ms: nowMs + 20 * DAY_MS,
          transaction_id: id,
          original_transaction_id: id,
        });
        const answer = await fetch(product.webhook.url, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
          body: JSON.stringify({ api_version: '1.0', event }),
        });
        return answer.status;
      }
    });
  }

  test(`an empty database is migrated through ${name} by three processes at the same time`, async () => {
    const db = await createTestDatabase();
    await db.database.query('drop schema public cascade');
    await db.database.query('create schema public');
    const pooler = await start(db.url);
    const opened = await Promise.all(
      [1, 2, 3].map(() => openDatabase({ url: pooler.url, logger, poolSize: 3 })),
    );
    const done = await Promise.all(opened.map((open) => migrate(open.dataSource)));
    assert.deepEqual(
      opened.map((open) => open.pooled),
      [true, true, true],
    );
    assert.deepEqual(
      done.map((names) => names.length > 0).filter(Boolean),
      [true],
      'one of them ran the migrations',
    );
    for (const open of opened) await open.close();
    await pooler.stop();
    await db.close();
  });
}
