import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Customer } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { type OpenCard, openFor, send, settled, tell } from '../inbox-card/support.ts';
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

  /** Adds a purchase that RevenueCat's API lists from now on. */
  function addPurchase(
    customer: Customer,
    period: { readonly id: string; readonly startsAtMs: number; readonly endsAtMs: number },
  ): void {
    const bought = product.revenueCat.addProduct(REVENUECAT_PROJECT_ID, { storeIdentifier: period.id });
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    customer.subscriptions.push({
      id: `sub_${period.id}`,
      customerId: customer.id,
      originalCustomerId: customer.id,
      productId: bought.id,
      store: 'app_store',
      environment: 'production',
      status: 'active',
      autoRenewalStatus: 'will_renew',
      givesAccess: true,
      startsAtMs: period.startsAtMs,
      periodStartsAtMs: period.startsAtMs,
      periodEndsAtMs: period.endsAtMs,
      endsAtMs: period.endsAtMs,
      entitlementIds:
        project?.entitlements.filter(({ lookupKey }) => lookupKey === 'pro').map(({ id }) => id) ?? [],
      storeSubscriptionId: period.id,
      grossUsd: 9.99,
      country: 'US',
      managementUrl: null,
    });
  }

  /** Refreshes until RevenueCat has responded: on a busy machine, this takes longer than the card waits. */
  const refresh = (card: OpenCard): Promise<OpenCard> =>
    until(async () => {
      const shown = await card.press('refresh');
      return /continues in the background/.test(shown.text) ? null : shown;
    }, 'RevenueCat to answer');

  test('a card with data older than a quarter of an hour has it read again', async () => {
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'stale' });
    await tell(product, 'active_monthly', { appUserId: 'stale' });
    const ageOf = async (): Promise<number> => {
      const [row] = await product.db.database.query<{ seconds: number }>(
        `select extract(epoch from now() - s.snapshot_at)::float8 as seconds
           from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = 'stale'`,
      );
      return row?.seconds ?? Number.NaN;
    };
    await until(async () => (await ageOf()) < 600, 'the first reading');
    await product.db.database.query(
      `update subscribers set snapshot_at = snapshot_at - interval '15 minutes' where snapshot_at is not null`,
    );
    await openFor(product, { externalId: 'stale' });
    await until(async () => (await ageOf()) < 600, 'another one');
  });

  test('a refresh that finds nothing new still writes what time has changed', async () => {
    await tell(product, 'active_monthly', { appUserId: 'ended' });
    const card = await openFor(product, { externalId: 'ended' });
    const contact = product.intercom.state.contacts.get(card.contactId);
    assert.ok(contact);
    await refresh(card);
    const isWritten = (): boolean => contact.customAttributes.subscription_status === 'active';
    await until(isWritten, 'the attributes');
    await settled(product);
    // As if its access had ended before RevenueCat was read again.
    await product.db.database.query(
      `update subscribers set attributes_written = attributes_written || '{"subscription_status": "expired"}'
        where contact_id = $1`,
      [contact.id],
    );
    contact.customAttributes.subscription_status = 'expired';
    await refresh(card);
    await until(isWritten, 'the attributes to be written again');
  });

  test('a refresh does not look for a contact again that was not found under the same ids', async () => {
    const [id, app_user_id] = ['no-contact-1', 'no-contact'];
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: app_user_id });
    const event = { id, app_user_id, original_app_user_id: app_user_id, aliases: [] };
    await send(product, eventBody(event) as never);
    const stateOf = async () => {
      const [row] = await product.db.database.query<{ isRead: boolean; waits: boolean; lookups: number }>(
        `select s.snapshot_at is not null as "isRead", s.waiting and s.due_at > now() as waits,
                s.attempts as lookups
           from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = 'no-contact'`,
      );
      return row;
    };
    await until(async () => (await stateOf())?.isRead, 'RevenueCat to be read');
    const { lookups } = await until(async () => {
      const state = await stateOf();
      return state?.waits && state;
    }, 'the customer to wait');
    assert.equal(lookups, 1);
  });

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
    // RevenueCat still lists the purchase for the source.
    await until(async () => {
      const rows = await product.db.database.query(
        `select 1 from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = 'receiver' and s.snapshot_at is not null and s.due_at is null`,
      );
      return rows.length > 0;
    }, 'the receiver to be read');
    const [startsAtMs, endsAtMs] = [nowMs - DAY_MS, nowMs + 29 * DAY_MS];
    addPurchase(receiver, { id: 'tx-late', startsAtMs, endsAtMs });
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

  test('a purchase that comes after its transfer is on the card of its receiver, also while deliveries wait', async (t) => {
    const nowMs = Date.now();
    const pause = (until: string) =>
      product.db.database.query(`update workspaces set not_before = ${until} where workspace_id = $1`, [
        WORKSPACE_ID,
      ]);
    await pause(`now() + interval '1 hour'`);
    t.after(() => pause('null'));
    await send(product, {
      type: 'TRANSFER',
      id: 'transfer-3',
      event_timestamp_ms: nowMs - 60_000,
      transferred_from: ['giver'],
      transferred_to: ['taker'],
    } as never);
    const open = async () => (await openFor(product, { externalId: 'taker' })).text;
    assert.doesNotMatch(await open(), /Pro\b/);
    const bought = {
      id: 'late-3',
      app_user_id: 'giver',
      original_app_user_id: 'giver',
      aliases: ['giver'],
      event_timestamp_ms: nowMs - DAY_MS,
      purchased_at_ms: nowMs - DAY_MS,
      expiration_at_ms: nowMs + 29 * DAY_MS,
    };
    await send(product, eventBody(bought) as never);
    assert.match(await open(), /Pro\b/);
  });

  test('customers of a transfer are read again: the first reading may have come before RevenueCat moved anything', async () => {
    const nowMs = Date.now();
    const { database } = product.db;
    const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'new_owner' });
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'former_owner' });
    const receiver = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'new_owner' });
    await send(product, {
      type: 'TRANSFER',
      id: 'transfer-2',
      event_timestamp_ms: nowMs,
      transferred_from: ['former_owner'],
      transferred_to: ['new_owner'],
    } as never);
    const waiting = () =>
      database.query<{ id: string; seconds: number }>(
        `select i.app_user_id as id, extract(epoch from j.start_after - now())::float8 as seconds
           from pgboss.job j join subscriber_ids i on j.singleton_key = $1 || '|' || i.subscriber_id || '|transfer'
          where i.workspace_id = $1 and j.state = 'created' and i.app_user_id like '%_owner' order by 1`,
        [WORKSPACE_ID],
      );
    await until(async () => (await waiting()).length === 2, 'both to be read, and again later');
    for (const { seconds } of await waiting()) assert.ok(seconds > 60 && seconds <= 120, `${seconds} s`);
    addPurchase(receiver, { id: 'tx-moved', startsAtMs: nowMs - DAY_MS, endsAtMs: nowMs + 29 * DAY_MS });
    await database.query(
      `update pgboss.job set start_after = now() where name = 'subscriber.refresh' and state = 'created'`,
    );
    await until(() => contact.customAttributes.subscription_status === 'active', 'the access');
  });

  test('times that no date and no column holds neither fail the refresh nor the details', async () => {
    const nowMs = Date.now();
    // RevenueCat documents its times as 64-bit integers.
    const farMs = 2 ** 63;
    const customer = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'far-times' });
    customer.attributes.set('$email', { value: 'far@example.com', updatedAtMs: farMs });
    addPurchase(customer, { id: 'tx-far', startsAtMs: farMs, endsAtMs: nowMs + 29 * DAY_MS });
    await send(
      product,
      eventBody({
        id: 'far-times-1',
        app_user_id: 'far-times',
        aliases: [],
        original_app_user_id: 'far-times',
      }) as never,
    );
    let card = await openFor(product, { externalId: 'far-times' });
    card = await refresh(card);
    assert.doesNotMatch(card.text, /went wrong/);
    card = await card.press('details');
    assert.match(card.text, /far@example\.com/);
    assert.doesNotMatch(card.text, /275760/);
  });

  test('a customer whom RevenueCat does not know is looked up under three of their ids at most', async () => {
    const aliases = [1, 2, 3, 4, 5].map((number) => `ghost-${number}`);
    const [first] = aliases;
    await send(
      product,
      eventBody({ id: 'ghost', app_user_id: first, original_app_user_id: first, aliases }) as never,
    );
    await refresh(await openFor(product, { externalId: 'ghost-1' }));
    const lookedUp = product.revenueCat.faults
      .requests()
      .flatMap(({ path }) => /\/customers\/(ghost-\d)/.exec(path)?.[1] ?? []);
    assert.equal(new Set(lookedUp).size, 3);
  });

  test('a refresh that waits for its turn does not delay the stop, and is left to another process', async () => {
    const { database } = product.db;
    const jobs = (state: string) =>
      database.query(`select 1 from pgboss.job where name = 'subscriber.refresh' and state::text = $1`, [
        state,
      ]);
    await until(async () => (await jobs('active')).length === 0, 'the refreshes of other tests to end');
    product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'user-1' });
    // No call is allowed for 15 s: the refresh would wait that long.
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
    // Another test's refresh may begin at the same time.
    const own = (state: string) =>
      database.query(
        `select 1 from pgboss.job j join subscriber_ids i on j.data->>'subscriberId' = i.subscriber_id::text
          where j.name = 'subscriber.refresh' and j.state::text = $1 and i.app_user_id = 'user-1'`,
        [state],
      );
    await until(async () => (await own('active')).length > 0, 'the refresh to wait');
    const begunMs = performance.now();
    await product.stop();
    assert.ok(performance.now() - begunMs < 14_000, `${performance.now() - begunMs} ms`);
    assert.equal((await jobs('active')).length, 0);
    assert.equal((await own('created')).length, 1);
  });
});
