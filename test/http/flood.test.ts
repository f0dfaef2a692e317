import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { FloodInput, FloodResult } from '../../bench/flood-senders.ts';
import { workspaceOfProject } from '../../src/workspaces/projects.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { WORKSPACE_ID } from '../support/world.ts';

const SECONDS = 2;

let product: Product;
before(async () => {
  product = await createProduct();
});
after(() => product?.close());

/** `npm run bench:flood` measures the same with 800 connections. */
test('while a flood of unsigned, wrong, slow and huge requests comes in, nothing rightful is refused', async () => {
  const projectId = new URL(product.webhook.url).pathname.split('/').at(-1) ?? '';
  assert.equal(workspaceOfProject(projectId), WORKSPACE_ID);
  const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'user-1' });
  const conversation = product.intercom.addConversation(WORKSPACE_ID, {
    contactIds: [contact.id],
    body: '<p>Hi</p>',
  });
  const input: FloodInput = {
    url: product.server.url,
    connections: 40,
    seconds: SECONDS,
    workspaceId: WORKSPACE_ID,
    projectId,
  };
  let isOver = false;
  const flood = promisify(execFile)(process.execPath, [
    'bench/flood-senders.ts',
    JSON.stringify(input),
  ]).finally(() => {
    isOver = true;
  });
  let sent = 0;
  while (!isOver) {
    const [webhook] = await product.revenueCat.sendWebhook(
      REVENUECAT_PROJECT_ID,
      eventBody({ id: `rightful-${sent}`, app_user_id: 'user-1' }) as never,
    );
    assert.equal(webhook?.status, 200);
    const card = await product.card({
      contactId: contact.id,
      conversationId: conversation.id,
      flow: 'initialize',
      adminId: '7001',
    });
    assert.ok('canvas' in card, JSON.stringify(card));
    sent += 1;
  }
  const { responses } = JSON.parse((await flood).stdout) as FloodResult;
  assert.ok(sent > 0);
  assert.ok((responses['401'] ?? 0) > 0, JSON.stringify(responses));
  const [stored] = await product.db.database.query<{ n: number }>(
    `select count(*)::integer as n from events where event_id like 'rightful-%'`,
  );
  assert.equal(stored?.n, sent);
});
