import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { importCustomer } from '../../src/backfill/import-customer.ts';
import { reconcileWorkspace } from '../../src/backfill/reconcile.ts';
import { startImport } from '../../src/backfill/repository.ts';
import { runImport } from '../../src/backfill/run.ts';
import { recordAttempts } from '../../src/delivery/event-deliveries.ts';
import type { StoreAction, StoreActionKind } from '../../src/grants/action.ts';
import { factsOf } from '../../src/grants/action-audit.ts';
import { eraseSubscribers, exportSubscribers } from '../../src/subscribers/customer-data.ts';
import { allowAgain, countErased, findErasedIds } from '../../src/subscribers/erased-ids.ts';
import { storeCustomer } from '../../src/subscribers/refresh.ts';
import { findByAppUserIds } from '../../src/subscribers/search.ts';
import { writeAudit } from '../../src/workspaces/audit.ts';
import { readProject } from '../../src/workspaces/projects.ts';
import { createSecretBox, rotateKeys } from '../../src/workspaces/secrets.ts';
import { createTestContext } from '../support/app-context.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

const ERIN = 'erin-7f3a';
const ALIAS = '$RCAnonymousID:e21n5';
const BOB = 'bob-4c1d';
const EMAIL = 'erin.quill@example.com';
const NAME = 'Erin Quill';
const EURO = { amountMinor: 100, currency: 'EUR' };
const TRACES = [ERIN, ALIAS, EMAIL, NAME];

describe('an erased customer', () => {
  let product: Product;
  let projectId: string;
  let erin: { contactId: string; conversationId: string };
  const database = () => product.db.database;
  const rows = <T extends object>(text: string, ...values: unknown[]) => database().query<T>(text, values);

  const context = () =>
    createTestContext(database(), {
      secrets: product.server.secrets,
      config: { revenueCatApiUrl: product.environment.REVENUECAT_API_URL ?? '' },
    });

  const project = () => ({ workspaceId: WORKSPACE_ID, projectId });
  const erased = (...ids: string[]) =>
    findErasedIds({ sql: database(), secrets: product.server.secrets }, project(), ids);

  function contactOf(externalId: string): { contactId: string; conversationId: string } {
    const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId });
    const conversation = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [contact.id],
      body: '<p>Hi</p>',
    });
    return { contactId: contact.id, conversationId: conversation.id };
  }

  const openCard = async (): Promise<string> =>
    JSON.stringify(await product.card({ ...erin, flow: 'initialize', adminId: '7001' }));

  const attributes = {
    $email: { value: EMAIL, updated_at_ms: START_MS },
    $displayName: { value: NAME, updated_at_ms: START_MS },
  };
  const webhook = (fields: Record<string, unknown>) =>
    product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, eventBody(fields) as never);
  const bought = (id: string, ...aliases: string[]) =>
    webhook({
      app_user_id: id,
      original_app_user_id: id,
      aliases: [id, ...aliases],
      subscriber_attributes: id === BOB && aliases.length === 0 ? {} : attributes,
    });
  const transfer = (id: string, from: readonly string[], to: readonly string[]) =>
    webhook({
      id,
      type: 'TRANSFER',
      app_user_id: null,
      original_app_user_id: null,
      aliases: [],
      transferred_from: from,
      transferred_to: to,
      subscriber_attributes: attributes,
    });

  async function importAll(): Promise<void> {
    const { progress } = await startImport(database(), { ...project(), eventsSinceMs: null });
    assert.equal(await runImport(context(), progress, { signal: new AbortController().signal }), 'done');
  }

  async function erase(appUserId = ERIN): Promise<void> {
    const found = await findByAppUserIds(database(), WORKSPACE_ID, [appUserId]);
    assert.equal(found.length, 1);
    await eraseSubscribers({ database: database(), secrets: product.server.secrets }, WORKSPACE_ID, {
      subscriberIds: found.map(({ subscriberId }) => subscriberId),
      by: { id: '7001', name: 'Ada Agent' },
    });
  }

  /** Every table of the app and of the job queue, as text. */
  async function dump(): Promise<Map<string, string>> {
    const tables = await rows<{ name: string }>(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
        where table_schema in ('public', 'pgboss') and table_type = 'BASE TABLE'`,
    );
    const texts = new Map<string, string>();
    for (const { name } of tables) {
      const [row] = await rows<{ text: string | null }>(
        `select string_agg(t::text, E'\\n') as text from ${name} t`,
      );
      texts.set(name, row?.text ?? '');
    }
    return texts;
  }

  async function findTraces(): Promise<string[]> {
    const found: string[] = [];
    for (const [table, text] of await dump())
      for (const trace of TRACES)
        if (text.toLowerCase().includes(trace.toLowerCase())) found.push(`${trace} in ${table}`);
    return found;
  }

  const tablesWith = async (pattern: RegExp): Promise<string[]> =>
    [...(await dump())].flatMap(([table, text]) => (pattern.test(text) ? [table] : []));

  before(async () => {
    product = await createProduct();
    const [row] = await rows<{ project_id: string }>('select project_id from projects');
    projectId = row?.project_id ?? '';
    erin = contactOf(ERIN);
    contactOf(BOB);
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
      id: ERIN,
      aliases: [ALIAS],
      attributes: { $email: EMAIL, $displayName: NAME },
    });
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: BOB });
  });
  after(() => product.close());

  it('leaves nothing in any table, the job queue included, but a hash of each id', async () => {
    await openCard();
    await until(
      async () => (await findByAppUserIds(database(), WORKSPACE_ID, [ERIN])).length > 0,
      'the look-up',
    );
    await bought(ERIN, ALIAS);
    await bought(BOB);
    await transfer('to-bob', [ERIN, ALIAS], [BOB]);
    await transfer('from-bob', [BOB], [ERIN]);
    await webhook({
      id: 'redeemed',
      type: 'PURCHASE_REDEEMED',
      app_user_id: BOB,
      original_app_user_id: BOB,
      aliases: [],
      redeemed_by: [BOB],
      redeemed_from: [ERIN],
      redemption_outcome: 'none',
    });
    await importAll();
    const failed = [
      { app_user_id: ERIN },
      { type: 'TRANSFER', transferred_from: [ERIN], transferred_to: [BOB] },
    ];
    await rows(
      `insert into webhooks (workspace_id, project_id, event_id, payload, processed_at, error)
       select $1, $2, md5(payload), payload, now(), 'failed' from unnest($3::text[]) as payload`,
      WORKSPACE_ID,
      projectId,
      failed.map((event) => JSON.stringify({ event })),
    );
    await rows(
      `insert into actions (workspace_id, action_id, kind, project_id, subscriber_id, app_user_id, target, reason,
                            idempotency_key, admin, state, details)
       select workspace_id, gen_random_uuid(), 'transfer', project_id, subscriber_id, app_user_id, $2, '', 'moved', '{}',
              'confirmed', jsonb_build_object('product', $2::text)
         from subscriber_ids where app_user_id = $1`,
      BOB,
      ERIN,
    );
    await until(async () => (await rows('select 1 from delivery_attempts')).length > 0, 'deliveries');
    await rows(
      `insert into delivery_attempts (workspace_id, subscriber_id, request, answer, code)
       select workspace_id, subscriber_id, request::json, answer, 'intercom_rejected'
         from subscriber_ids, (values ($2, null), ('{}', $2)) as log (request, answer) where app_user_id = $1`,
      BOB,
      JSON.stringify({ transferred_from: ERIN }),
    );
    // Ids are case-sensitive: the second job looks up another customer.
    for (const appUserId of ['Erin.Quill@Example.com', ERIN.toUpperCase()])
      await rows(
        `insert into pgboss.job (name, data, start_after) values ('customer.import', $1, now() + interval '1 hour')`,
        JSON.stringify({ workspaceId: WORKSPACE_ID, projectId, appUserId }),
      );
    await rows(
      `insert into import_customers (workspace_id, project_id, import_id, customer_id)
       values ($1, $2, gen_random_uuid(), $3)`,
      WORKSPACE_ID,
      projectId,
      ERIN,
    );
    const found = await findTraces();
    for (const table of [
      'pgboss.job',
      'import_customers',
      'webhooks',
      'events',
      'subscribers',
      'subscriber_ids',
      'delivery_attempts',
    ])
      assert.ok(
        found.some((each) => each.includes(table)),
        `${table} names the customer before`,
      );

    await erase();
    const others = await rows(
      `delete from pgboss.job where data->>'appUserId' = $1 returning 1`,
      ERIN.toUpperCase(),
    );
    assert.equal(others.length, 1, 'the job of the other customer stays');
    assert.deepEqual(await findTraces(), []);
    assert.equal(await countErased(database(), WORKSPACE_ID), 2);
    const events = await rows(`select 1 from events where event_id in ('to-bob', 'from-bob', 'redeemed')`);
    assert.equal(events.length, 3, 'the other customer keeps the transfers');
  });

  it('is not named by audit records, neither by their purchases nor as who received a transfer', async () => {
    const customer = {
      targetType: 'customer',
      store: null,
      amount: null,
      before: null,
      after: null,
    } as const;
    const bought = {
      ...customer,
      targetType: 'subscription',
      purchaseId: 'GPA.31-TEDS',
      amount: EURO,
    } as const;
    const write = async (
      appUserId: string,
      kind: StoreActionKind,
      action: { target: string; details: object },
    ) =>
      writeAudit(database(), {
        workspaceId: WORKSPACE_ID,
        actor: { id: '7001', name: 'Ada Agent', email: null },
        action: `store_${kind}`,
        conversationId: null,
        contactId: null,
        subscriberId:
          (await findByAppUserIds(database(), WORKSPACE_ID, [appUserId]))[0]?.subscriberId ?? null,
        details: { app_user_id: appUserId, ...factsOf({ ...action, kind } as StoreAction) },
        result: 'confirmed',
      });
    await webhook({ app_user_id: 'teds-id', original_app_user_id: 'teds-id', aliases: [] });
    await write('teds-id', 'refund', {
      target: 'sub-teds',
      details: { ...bought, product: 'Monthly', transactionId: 'GPA.31-TEDS..0' },
    });
    await write('teds-id', 'restore', {
      target: 'GPA.32-TEDS',
      details: { ...customer, product: 'GPA.32-TEDS' },
    });
    await write('teds-id', 'transfer', {
      target: BOB,
      details: { ...customer, product: BOB, moves: ['sub-teds'], moveCount: 1 },
    });
    await write(BOB, 'transfer', { target: 'teds-id', details: { ...customer, product: 'teds-id' } });
    await write(BOB, 'transfer', { target: 'teds-id', details: { ...customer, product: 'teds-id' } });
    await rows(
      `update audit_log set action = 'store_transfer_decline'
        where audit_id = (select max(audit_id) from audit_log where workspace_id = $1)`,
      WORKSPACE_ID,
    );
    await erase('teds-id');
    const records = await rows<{ action: string; customer: string | null; product: string | null }>(
      `select action, details->>'app_user_id' as customer, details->>'product' as product from audit_log
        where action like 'store_%' order by audit_id`,
    );
    assert.deepEqual(records, [
      { action: 'store_refund', customer: null, product: 'Monthly' },
      { action: 'store_restore', customer: null, product: null },
      { action: 'store_transfer', customer: null, product: null },
      { action: 'store_transfer', customer: BOB, product: null },
      { action: 'store_transfer_decline', customer: BOB, product: null },
    ]);
    assert.doesNotMatch([...(await dump()).values()].join(), /teds-id|sub-teds/i);
  });

  /** Three customers who turn out to be one, first two of them and then all; each merge keeps the older one. */
  async function mergeTwice(name: string): Promise<{ first: string; last: string }> {
    const ids = [3, 2, 1].map((number) => `${name}-${number}`);
    const [first = '', second = '', last = ''] = ids;
    const event = (app_user_id: string, aliases: readonly string[], event_timestamp_ms: number) =>
      webhook({ app_user_id, original_app_user_id: app_user_id, aliases, event_timestamp_ms });
    contactOf(first);
    for (const [index, id] of ids.entries()) await event(id, [id], START_MS - index * 1_000);
    const subscriberId = await idOf(first);
    await until(async () => {
      const stored = `select 1 from subscribers where subscriber_id = $1 and attributes_written is not null`;
      return (await rows(stored, subscriberId)).length > 0;
    }, 'the attributes to be written');
    await event(second, [first, second], START_MS);
    await event(last, [second, last], START_MS);
    assert.equal(await idOf(first), await idOf(last));
    return { first: subscriberId, last };
  }

  const idOf = async (appUserId: string): Promise<string> =>
    (await findByAppUserIds(database(), WORKSPACE_ID, [appUserId]))[0]?.subscriberId ?? '';

  it('leaves nothing under an id of before a merge, which deliveries and cards may still have used', async () => {
    const { first, last } = await mergeTwice('mia');
    const call = { status: 200, code: 'ok', message: null, answer: null };
    const request = { custom_attributes: { rc_app_user_id: 'mia-3' } };
    await recordAttempts(database(), WORKSPACE_ID, [
      { ...call, subscriberId: first, eventId: null, request },
    ]);
    await writeAudit(database(), {
      workspaceId: WORKSPACE_ID,
      actor: { id: '7001', name: 'Ada Agent', email: null },
      action: 'link',
      conversationId: null,
      contactId: null,
      subscriberId: first,
      details: { app_user_id: 'mia-3' },
      result: 'done',
    });
    const exported = await exportSubscribers(database(), WORKSPACE_ID, [await idOf(last)]);
    const ofFirst = (table: string) =>
      exported[table]?.some((row) => (row as { subscriber_id: string }).subscriber_id === first);
    assert.ok(ofFirst('delivery_attempts') && ofFirst('audit_log'));
    await erase(last);
    assert.deepEqual(await tablesWith(/mia-\d/), []);
  });

  it('is erased also when a merge came between the form and the erasing', async () => {
    const { first } = await mergeTwice('ned');
    await eraseSubscribers({ database: database(), secrets: product.server.secrets }, WORKSPACE_ID, {
      subscriberIds: [first],
      by: { id: '7001', name: 'Ada Agent' },
    });
    assert.deepEqual(await tablesWith(/ned-\d/), []);
    assert.equal((await erased('ned-1', 'ned-2', 'ned-3')).size, 3);
  });

  it('is not named by the place in the list where an import continues', async () => {
    await webhook({ app_user_id: 'lou-1', original_app_user_id: 'lou-1', aliases: [] });
    const { progress } = await startImport(database(), { ...project(), eventsSinceMs: null });
    await rows(
      `update imports set cursor = 'lou-1', state = 'paused' where import_id = $1`,
      progress.importId,
    );
    await erase('lou-1');
    assert.deepEqual(await tablesWith(/lou-1/), []);
    await rows(`delete from imports where import_id = $1`, progress.importId);
  });

  it('leaves none of their attributes on a contact that another customer has, too', async () => {
    const { contactId } = contactOf('kim-1');
    const shown = () => product.intercom.state.contacts.get(contactId)?.customAttributes.rc_app_user_id;
    const shows = (id: string) => until(() => shown() === id, `${id} on the contact`);
    const buys = (id: string) => webhook({ app_user_id: id, original_app_user_id: id, aliases: [] });
    await buys('kim-1');
    await shows('kim-1');
    await webhook({ type: 'TEST', app_user_id: 'lea-1', original_app_user_id: 'lea-1', aliases: [] });
    await rows(
      `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by)
       select workspace_id, $2, project_id, subscriber_id, '{"id": "7001"}' from subscriber_ids where app_user_id = $1`,
      'lea-1',
      contactId,
    );
    await buys('lea-1');
    await shows('lea-1');
    await erase('lea-1');
    await shows('kim-1');
  });

  it('takes no webhook of another project, whose events may have the same ids', async () => {
    await webhook({ id: 'shared-id', type: 'TRANSFER', transferred_from: ['uma'], transferred_to: [BOB] });
    await rows(
      `insert into webhooks (workspace_id, project_id, event_id, payload) values ($1, 'another', 'shared-id', $2)`,
      WORKSPACE_ID,
      JSON.stringify({ event: { type: 'RENEWAL', app_user_id: 'uma-of-another' } }),
    );
    await erase('uma');
    const left = await rows(`select project_id from webhooks where event_id = 'shared-id'`);
    assert.deepEqual(left, [{ project_id: 'another' }]);
  });

  it('is brought back by no webhook, import, reconcile, look-up, snapshot or card', async () => {
    await bought(ERIN, ALIAS);
    await bought(ALIAS);
    await bought(ERIN, '$RCAnonymousID:another');
    const pruned = await rows<{ payload: string }>(
      `select payload from webhooks where pruned_for = 'erased'`,
    );
    assert.deepEqual(
      pruned.map(({ payload }) => payload),
      ['', '', ''],
    );
    product.revenueCat.faults.clearRequests();
    await importAll();
    await reconcileWorkspace(context(), WORKSPACE_ID, new AbortController().signal);
    assert.equal(await importCustomer(context(), { ...project(), appUserId: ERIN }), 'erased');
    const read = product.revenueCat.faults.requests().filter(({ path }) => path.includes(ERIN));
    assert.deepEqual(read, [], 'RevenueCat is not asked about them');
    const connected = await readProject(database(), WORKSPACE_ID, projectId);
    assert.ok(connected);
    const store = (customerId: string, alias: string) => {
      const empty = { subscriptions: [], purchases: [], activeEntitlements: [] };
      const names = { customerId, aliases: [customerId, alias], attributes: { $email: EMAIL } };
      const email = { value: EMAIL, atMs: Date.now() };
      const snapshot = { takenAtMs: Date.now(), ...names, ...empty };
      return storeCustomer(context(), connected, { snapshot, email } as never);
    };
    assert.equal(await store(ERIN, '$RCAnonymousID:another'), false);
    assert.equal(await store(BOB, ERIN), true);
    assert.equal(await store(ERIN, 'bobs-second-id'), true, 'an id of another customer');
    assert.match(await openCard(), /match\.search/);
    await openCard();
    assert.deepEqual(await findTraces(), []);
    assert.deepEqual(
      await rows(`select 1 from subscriber_ids where app_user_id = '$RCAnonymousID:another'`),
      [],
    );
  });

  it('is taken out of what concerns another customer, who keeps it', async () => {
    await transfer('later-to-bob', [ERIN], [BOB]);
    await transfer('later-from-bob', [BOB], [ALIAS]);
    await bought(BOB, ERIN);
    assert.deepEqual(await findTraces(), []);
    const sides = await rows<{ event_id: string; side: string }>(
      `select event_id, side from events where event_id like 'later-%' order by event_id`,
    );
    assert.deepEqual(
      sides.map(({ event_id, side }) => `${event_id} ${side}`),
      ['later-from-bob source', 'later-to-bob customer'],
    );
  });

  it('is still recognized after the encryption keys were rotated', async () => {
    const { secrets } = product.server;
    const old = Buffer.from(product.environment.ENCRYPTION_KEYS ?? '', 'base64');
    const fresh = randomBytes(32);
    await rotateKeys(database(), createSecretBox([fresh, old]));
    const rotated = { sql: database(), secrets: createSecretBox([fresh]) };
    assert.deepEqual(await findErasedIds(rotated, project(), [ERIN, BOB]), new Set([ERIN]));
    await assert.rejects(erased(ERIN), /ENCRYPTION_KEYS/);
    await rotateKeys(database(), createSecretBox([old, fresh]));
    assert.deepEqual(await findErasedIds({ sql: database(), secrets }, project(), [ALIAS]), new Set([ALIAS]));
  });

  it('is stored again once a teammate allows it', async () => {
    const within = { sql: database(), secrets: product.server.secrets };
    assert.equal(await allowAgain(within, WORKSPACE_ID, BOB), 0);
    assert.equal(await allowAgain(within, WORKSPACE_ID, ERIN), 2);
    assert.equal((await erased(ERIN, ALIAS)).size, 0);
    await bought(ERIN, ALIAS);
    assert.equal((await findByAppUserIds(database(), WORKSPACE_ID, [ALIAS])).length, 1);
    await erase();
    await allowAgain(within, WORKSPACE_ID, ALIAS);
    await importAll();
    assert.equal((await findByAppUserIds(database(), WORKSPACE_ID, [ERIN])).length, 1);
    await erase();
    await allowAgain(within, WORKSPACE_ID, ERIN);
    await openCard();
    await until(
      async () => (await findByAppUserIds(database(), WORKSPACE_ID, [ERIN])).length > 0,
      'the look-up',
    );
  });

  it('takes nothing from others who share a word with them: anyone can be called TRANSFER', async () => {
    const word = { id: 'TRANSFER', name: 'PRODUCTION' };
    const fail = (id: string, payload: string) =>
      rows(
        `insert into webhooks (workspace_id, project_id, event_id, payload, processed_at, error)
         values ($1, $2, $3, $4, now(), 'failed')`,
        WORKSPACE_ID,
        projectId,
        id,
        payload,
      );
    await transfer('of-others', ['carl'], [BOB]);
    await bought(word.id);
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
      id: word.id,
      attributes: { $displayName: word.name },
    });
    await importAll();
    await fail(
      'bob-failed',
      JSON.stringify({ event: { type: word.id, app_user_id: BOB, environment: word.name } }),
    );
    await fail('word-failed', JSON.stringify({ event: { type: 'RENEWAL', app_user_id: word.id } }));
    const ofOthers = () =>
      rows(
        `select e.event_id, e.side, e.fields::text, w.payload from events e
           join webhooks w on w.workspace_id = $1 and w.event_id = e.event_id
          where e.workspace_id = $1 and e.event_id = 'of-others' order by e.side`,
        WORKSPACE_ID,
      );
    const before = await ofOthers();
    assert.equal(before.length, 2);
    await erase(word.id);
    assert.deepEqual(await ofOthers(), before);
    const failed = await rows<{ event_id: string }>(
      `select event_id from webhooks where event_id in ('bob-failed', 'word-failed')`,
    );
    assert.deepEqual(failed, [{ event_id: 'bob-failed' }]);
  });

  it('leaves no webhook that names them in escaped characters', async () => {
    await bought('zoë-1');
    await rows(
      `insert into webhooks (workspace_id, project_id, event_id, payload, processed_at, error)
       values ($1, $2, 'zoe-failed', $3, now(), 'failed')`,
      WORKSPACE_ID,
      projectId,
      '{"event":{"type":"RENEWAL","app_user_id":"zo\\u00eb-1"}}',
    );
    await erase('zoë-1');
    assert.deepEqual(await rows(`select 1 from webhooks where event_id = 'zoe-failed'`), []);
  });

  it('is taken out of a transfer to another customer, whatever their id is made of', async () => {
    for (const id of ['"quoted" \\ id', '"', 'zoë_%']) {
      await bought(id);
      await transfer(`from ${id}`, [id], [BOB]);
      // Now only the event's text leads to the other side.
      await rows(`delete from events where event_id = $1 and side = 'source'`, `from ${id}`);
      await erase(id);
      const sides = await rows<{ fields: Record<string, unknown> }>(
        'select fields from events where workspace_id = $1 and event_id = $2',
        WORKSPACE_ID,
        `from ${id}`,
      );
      assert.deepEqual(
        sides.map(({ fields }) => [fields.transferred_from, fields.transferred_to]),
        [[[], [BOB]]],
      );
    }
  });
});
