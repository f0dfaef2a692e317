import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { readTimeline } from '../../src/inbox-card/timeline-repository.ts';
import { ownSource } from '../../src/subscribers/history.ts';
import { DAY_MS } from '../../src/time.ts';
import { setDelivery } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { setSettings, WORKSPACE_ID } from '../support/world.ts';
import { idsOn, type OpenCard, openAgain, openFor, send, tell } from './support.ts';

const nowMs = Date.now();

function purchase(appUserId: string, fields: Record<string, unknown>) {
  const event = eventBody({
    app_user_id: appUserId,
    original_app_user_id: appUserId,
    aliases: [appUserId],
    transaction_id: `t-${appUserId}`,
    original_transaction_id: `t-${appUserId}`,
    event_timestamp_ms: nowMs - 30 * DAY_MS,
    purchased_at_ms: nowMs - 30 * DAY_MS,
    expiration_at_ms: nowMs + DAY_MS,
    ...fields,
  });
  return { ...event, type: String(event.type) };
}

const eventsOn = (card: OpenCard): string[] => idsOn(card.canvas).filter((id) => id.startsWith('event:'));

describe('the timeline', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());
  const database = () => product.server.connected.database;
  const subscriberOf = async (appUserId: string) => {
    const [row] = await database().query<{ subscriber_id: string; project_id: string }>(
      `select subscriber_id, project_id from subscriber_ids where workspace_id = $1 and app_user_id = $2`,
      [WORKSPACE_ID, appUserId],
    );
    assert.ok(row);
    return row;
  };

  test('every event is on exactly one page, newest first, also those of one millisecond', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 34; n += 1) {
      // Several events share a millisecond: the id decides their order, and no page loses or repeats one.
      const id = `paged-${String(n).padStart(2, '0')}`;
      ids.push(id);
      await send(
        product,
        purchase('user_paged', {
          id,
          type: 'RENEWAL',
          event_timestamp_ms: nowMs - (60 - Math.floor(n / 4)) * DAY_MS,
        }),
      );
    }
    let card = await (await openFor(product, { externalId: 'user_paged' })).press('timeline');
    const seen: string[] = [];
    const pages: string[][] = [];
    for (;;) {
      const page = eventsOn(card).map((id) => id.slice('event:'.length));
      pages.push(page);
      seen.push(...page);
      if (!idsOn(card.canvas).includes('timeline:older')) break;
      card = await card.press('timeline:older');
    }
    assert.deepEqual(
      pages.map((page) => page.length),
      [10, 10, 10, 4],
    );
    assert.deepEqual(seen, ids.toReversed());

    // New events do not shift the pages.
    await send(
      product,
      purchase('user_paged', { id: 'paged-late', type: 'RENEWAL', event_timestamp_ms: nowMs }),
    );
    card = await card.press('timeline:newer');
    assert.deepEqual(
      eventsOn(card).map((id) => id.slice('event:'.length)),
      pages[2],
    );
    while (idsOn(card.canvas).includes('timeline:newer')) card = await card.press('timeline:newer');
    assert.equal(eventsOn(card)[0], 'event:paged-late');
    assert.equal(eventsOn(card).length, 10, 'the newest page is full');
  });

  test('the newest page is shown when what was older is gone', async () => {
    for (let n = 0; n < 11; n += 1)
      await send(
        product,
        purchase('user_gone', {
          id: `gone-${n}`,
          type: 'RENEWAL',
          event_timestamp_ms: nowMs - (11 - n) * DAY_MS,
        }),
      );
    const newest = await (await openFor(product, { externalId: 'user_gone' })).press('timeline');
    await database().query(`delete from events where workspace_id = $1 and event_id = 'gone-0'`, [
      WORKSPACE_ID,
    ]);
    const older = await newest.press('timeline:older');
    assert.deepEqual(eventsOn(older), eventsOn(newest));
    assert.ok(!idsOn(older.canvas).includes('timeline:newer'));
  });

  test('an imported event that its webhook brings again under another id is shown once', async () => {
    const appUserId = 'user_imported_first';
    const [bought, cancelled] = [
      purchase(appUserId, { id: 'imported-1' }),
      purchase(appUserId, { id: 'imported-2', type: 'CANCELLATION', event_timestamp_ms: nowMs - DAY_MS }),
    ];
    const customer = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: appUserId });
    // Another product of the same order, whose webhook never comes.
    customer.events.push(bought, cancelled, { ...bought, id: 'imported-3', product_id: 'addon_monthly' });
    const unknown = await openFor(product, { externalId: appUserId });
    const imported = await until(async () => {
      const card = await openAgain(product, unknown);
      return idsOn(card.canvas).includes('timeline') ? card : null;
    }, 'the import');
    assert.match(imported.text, /Timeline · 3 events/);
    await send(product, { ...bought, id: 'webhook-1' });
    // A real second event of the same transaction and millisecond.
    await send(product, { ...cancelled, id: 'webhook-2', cancel_reason: 'BILLING_ERROR' });
    const card = await until(async () => {
      const now = await openAgain(product, imported);
      return /Timeline · 4 events/.test(now.text) ? now : null;
    }, 'the webhooks');
    assert.deepEqual(eventsOn(await card.press('timeline')).toSorted(), [
      'event:imported-2',
      'event:imported-3',
      'event:webhook-1',
      'event:webhook-2',
    ]);
  });

  test('the store is in each line of a customer who bought in two', async () => {
    const appUserId = 'user_two_stores';
    for (const store of ['APP_STORE', 'STRIPE'])
      await send(
        product,
        purchase(appUserId, { store, transaction_id: store, original_transaction_id: store }),
      );
    const card = await (await openFor(product, { externalId: appUserId })).press('timeline');
    assert.match(card.text, /Pro monthly · \$9\.99 · App Store/);
    assert.match(card.text, /Pro monthly · \$9\.99 · Stripe/);
    const once = await (await openFor(product, { externalId: 'user_paged' })).press('timeline');
    assert.doesNotMatch(once.text, / · App Store/);
  });

  test('what is reported in one millisecond is in the order in which it happened, on the card and on the timeline', async () => {
    const appUserId = 'user_tied';
    await send(product, purchase(appUserId, { id: 'tied-0', type: 'INITIAL_PURCHASE' }));
    const at = { event_timestamp_ms: nowMs - 1_000, expiration_at_ms: nowMs - 1_000, price: 0 };
    const reason = { cancel_reason: 'CUSTOMER_SUPPORT', price: -9.99, price_in_purchased_currency: -9.99 };
    // Ordered by id alone, the expiration would come before the refund.
    await send(product, purchase(appUserId, { ...at, ...reason, id: 'tied-2', type: 'CANCELLATION' }));
    await send(
      product,
      purchase(appUserId, { ...at, id: 'tied-1', type: 'EXPIRATION', expiration_reason: 'CUSTOMER_SUPPORT' }),
    );
    const card = await openFor(product, { externalId: appUserId });
    assert.match(card.text, /Subscription ended [^·]+ · Refunded [^·]+ · Subscribed/);
    assert.deepEqual(eventsOn(await card.press('timeline')), [
      'event:tied-1',
      'event:tied-2',
      'event:tied-0',
    ]);
  });

  test('it can be filtered by kind and by environment, and pages keep the filter', async () => {
    await tell(product, 'long_history', { appUserId: 'user_filtered' });
    const card = await (await openFor(product, { externalId: 'user_filtered' })).press('timeline');
    const endings = await card.press('timeline.kind', { 'timeline.kind': 'endings' });
    assert.deepEqual(eventsOn(endings).length, 1);
    assert.match(
      endings.text,
      /^Cancelled \| Pro Monthly · turned off renewal|^Cancelled \| Pro monthly · turned off renewal/m,
    );
    const purchases = await endings.press('timeline.kind', { 'timeline.kind': 'purchases' });
    const rest = await purchases.press('timeline:older');
    assert.equal(eventsOn(purchases).length + eventsOn(rest).length, 16);
    const payments = await rest.press('timeline.kind', { 'timeline.kind': 'payments' });
    assert.match(payments.text, /^Renewed \|/m);
    assert.match(payments.text, /^Payment failed \|/m);
    const first = await payments.press('timeline:older');
    assert.match(first.text, /^Subscribed \|/m, 'what was charged, from the first on');
    assert.doesNotMatch(payments.text + first.text, /^Cancelled|^Turned renewal back on/m);
    const sandbox = await purchases.press('timeline.environment', { 'timeline.environment': 'sandbox' });
    assert.equal(eventsOn(sandbox).length, 1);
    assert.match(sandbox.text, /Sandbox \|/);
    const none = await sandbox.press('timeline.kind', { 'timeline.kind': 'grants' });
    assert.match(none.text, /^No events of this kind\.$/m);
    const few = await (await openFor(product, { externalId: 'user_paged' })).press('timeline');
    assert.ok(!idsOn(few.canvas).includes('timeline.environment'), 'no choice where there is none');
  });

  test('one page is one index scan that stops at the limit, whatever the history', async () => {
    const { subscriber_id: id } = await subscriberOf('user_paged');
    await database().query(
      `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
       select workspace_id, project_id, 'deep-' || n, subscriber_id, type, kind, n, fields
         from events, generate_series(1, 3000) n where workspace_id = $1 and event_id = 'paged-00'`,
      [WORKSPACE_ID],
    );
    await database().query('analyze events');
    let plan = '';
    await readTimeline(
      {
        async query(text, values) {
          const rows = await database().query<{ 'QUERY PLAN': string }>(`explain analyze ${text}`, values);
          plan = rows.map((row) => row['QUERY PLAN']).join('\n');
          return [];
        },
      },
      WORKSPACE_ID,
      {
        sources: [ownSource(id)],
        from: [2_000, 'deep-2000'],
        kinds: null,
        environment: null,
        limit: 11,
      },
    );
    assert.match(plan, /Index Scan Backward using events_timeline on events .*rows=11/);
    // The test has only a few deliveries, which PostgreSQL may read in any way.
    assert.doesNotMatch(plan, /Seq Scan on events\b/);
  });

  test('an event shows its ids and its delivery to the contact', async () => {
    const renewal = (appUserId: string, fields: Record<string, unknown> = {}) =>
      purchase(appUserId, { type: 'RENEWAL', ...fields });
    await send(
      product,
      renewal('user_stand', {
        id: 'stand-1',
        currency: 'EUR',
        price: 8.5,
        price_in_purchased_currency: 7.99,
        offer_code: 'SPRING',
        country_code: 'US',
        is_family_share: true,
        purchased_at_ms: Date.UTC(2026, 0, 8, 18, 5),
        expiration_at_ms: Date.UTC(2031, 1, 8, 18, 5),
        grace_period_expiration_at_ms: Date.UTC(2031, 1, 24, 18, 5),
      }),
    );
    const card = await openFor(product, { role: 'lead' });
    const found = await card.press('match.search', { 'match.query': 'user_stand' });
    const { subscriber_id: id } = await subscriberOf('user_stand');
    const linked = await (await found.press(`match:${id}`)).press('match.confirm');
    const detail = async () =>
      (await (await openAgain(product, card)).press('timeline')).press('event:stand-1');
    await until(async () => /Recorded as/.test((await detail()).text), 'the event on the contact');
    const delivered = await detail();
    assert.match(
      delivered.text,
      /^In Intercom: Recorded as rc_renewal_event on \w{3} \d{1,2}, \d{4} at \d{1,2}:\d{2}[AP]M$/m,
    );
    for (const line of [
      'Price: €7.99 ($8.50)',
      'Event ID: stand-1',
      'Transaction: t-user_stand',
      'Product: pro_monthly',
      'Entitlement: Pro',
      'Store: App Store',
      'Period began: Jan 8, 2026 at 1:05PM',
      'Period ends: Feb 8, 2031 at 1:05PM',
      'Grace period ends: Feb 24, 2031 at 1:05PM',
      'Offer: SPRING',
      'Family sharing: yes',
    ]) {
      assert.ok(delivered.text.split('\n').includes(line), `${line} in\n${delivered.text}`);
    }
    const technical = await delivered.press('technical:stand-1');
    for (const line of [
      'Type: RENEWAL',
      'Period type: NORMAL',
      'Country: US',
      'First transaction: t-user_stand',
    ])
      assert.ok(technical.text.split('\n').includes(line), `${line} in\n${technical.text}`);
    assert.match(technical.text, /^Event$/m);
    const set = (delivery: string, reason: string | null, nextTryAt: string | null) =>
      setDelivery(database(), WORKSPACE_ID, 'stand-1', { delivery, reason, nextTryAt, attempts: 3 });
    for (const [delivery, reason, at, say] of [
      [
        'failed',
        'The attribute name is too long',
        null,
        /^In Intercom: Failed: The attribute name is too long$/m,
      ],
      [
        'failed',
        'intercom_event_limit',
        null,
        /^In Intercom: Failed: Intercom has reached its limit of event names$/m,
      ],
      ['pending', 'waiting_for_contact', null, /^In Intercom: Waiting for a contact$/m],
      [
        'pending',
        'intercom_unavailable',
        '2031-03-04T15:05:00Z',
        /^In Intercom: Not sent yet: Intercom is unavailable\nNext attempt: Mar 4, 2031 at 10:05AM$/m,
      ],
      ['pending', null, null, /^In Intercom: About to be sent$/m],
      ['skipped', 'switched_off', null, /^In Intercom: Not sent: turned off in the settings$/m],
    ] as const) {
      await set(delivery, reason, at);
      assert.match((await detail()).text, say);
    }
    assert.match((await (await detail()).press('technical:stand-1')).text, /^Attempts: 3$/m);
    assert.match((await linked.press('timeline')).text, /Renewed/);
  });

  test("RevenueCat's test event is on the timeline, and no purchase", async () => {
    await send(product, purchase('user_tested', { id: 'tested', type: 'TEST', environment: 'SANDBOX' }));
    const card = await openFor(product, { externalId: 'user_tested' });
    assert.match(card.text, /^No purchases of this customer are known here\.$/m);
    assert.deepEqual(eventsOn(await card.press('timeline')), ['event:tested']);
  });

  test('a transfer passes on the source’s purchases; in the sandbox only those made there', async () => {
    const transfer = (from: string, to: string, environment: string) => ({
      type: 'TRANSFER',
      id: `transfer-${to}`,
      event_timestamp_ms: nowMs - 5 * DAY_MS,
      transferred_from: [from],
      transferred_to: [to],
      store: 'APP_STORE',
      environment,
    });
    for (const [source, receiver, environment] of [
      ['source_1', 'receiver_1', 'PRODUCTION'],
      ['source_2', 'receiver_2', 'SANDBOX'],
    ] as const) {
      await send(product, purchase(source, { id: `${source}-paid` }));
      await send(
        product,
        purchase(source, {
          id: `${source}-test`,
          environment: 'SANDBOX',
          transaction_id: 's',
          original_transaction_id: 's',
        }),
      );
      await send(product, transfer(source, receiver, environment));
    }
    const all = await (await openFor(product, { externalId: 'receiver_1' })).press('timeline');
    assert.deepEqual(eventsOn(all).sort(), [
      'event:source_1-paid',
      'event:source_1-test',
      'event:transfer-receiver_1',
    ]);
    const card = await openFor(product, { externalId: 'receiver_2' });
    assert.match(card.text, /^Only test purchases \(sandbox\)/m);
    const sandbox = await card.press('timeline');
    assert.deepEqual(eventsOn(sandbox).sort(), ['event:source_2-test', 'event:transfer-receiver_2']);
    // A sandbox transfer does not take the source's production purchases.
    assert.match((await openFor(product, { externalId: 'source_2' })).text, /^Pro, \$9\.99/m);
    // The card of the source says where the purchases went, and links there.
    const moved = await openFor(product, { externalId: 'source_1' });
    assert.match(moved.text, /Purchases were moved to another customer on /);
    const toReceiver = idsOn(moved.canvas).find((id) => id.startsWith('match:'));
    assert.match((await moved.press(toReceiver ?? '')).text, /receiver_1/);
    // The source's late event reaches the receiver, although nothing happened to the receiver itself.
    await openAgain(product, all);
    await send(
      product,
      purchase('source_1', {
        id: 'source_1-late',
        type: 'CANCELLATION',
        cancel_reason: 'UNSUBSCRIBE',
        event_timestamp_ms: nowMs - 6 * DAY_MS,
        price: 0,
      }),
    );
    assert.match((await openAgain(product, all)).text, /^Pro, cancelled on/m);
  });

  test('a grant made here is on the timeline immediately and is replaced by its webhook', async () => {
    await send(
      product,
      purchase('user_grant', {
        id: 'grant-base',
        type: 'EXPIRATION',
        expiration_reason: 'UNSUBSCRIBE',
        expiration_at_ms: nowMs - 20 * DAY_MS,
      }),
    );
    const { subscriber_id: id, project_id: projectId } = await subscriberOf('user_grant');
    const endMs = nowMs + 30 * DAY_MS;
    const grantMade = (actionId: string, atMs: number, endsAtMs: number) =>
      database().query(
        `insert into actions (workspace_id, action_id, project_id, subscriber_id, app_user_id, target, lookup_key,
                             duration, requested_end_at, actual_end_at, reason, idempotency_key, admin, state, created_at)
         values ($1, $2, $3, $4, 'user_grant', 'entl1', 'pro', 'monthly', to_timestamp($5 / 1000.0),
                 to_timestamp($5 / 1000.0), 'lost data', $6, '{"id":"7001","name":"Ada Agent"}', 'confirmed',
                 to_timestamp($7 / 1000.0))`,
        [WORKSPACE_ID, actionId, projectId, id, endsAtMs, randomUUID(), atMs],
      );
    const grantWebhook = (eventId: string, atMs: number, endsAtMs: number) =>
      send(product, {
        ...purchase('user_grant', {
          id: eventId,
          product_id: 'rc_promo_pro_custom',
          store: 'PROMOTIONAL',
          period_type: 'PROMOTIONAL',
          event_timestamp_ms: atMs,
          purchased_at_ms: atMs,
          expiration_at_ms: endsAtMs,
          transaction_id: eventId,
          original_transaction_id: eventId,
          price: 0,
          price_in_purchased_currency: 0,
        }),
        type: 'NON_RENEWING_PURCHASE',
      });
    // The webhook of an earlier grant was lost. A grant made in RevenueCat in between replaces neither of ours.
    const lost = randomUUID();
    await grantMade(lost, nowMs - 50 * DAY_MS, nowMs - 45 * DAY_MS);
    await grantWebhook('grant-elsewhere', nowMs - 25 * DAY_MS, nowMs - 22 * DAY_MS);
    await grantMade(randomUUID(), nowMs, endMs);
    const earlier = ['event:grant-elsewhere', 'event:grant-base', `event:grant-${lost}-promotional_granted`];
    const card = await openFor(product, { externalId: 'user_grant' });
    assert.match(card.text, /^Pro, granted by Ada Agent until /m);
    const timeline = await card.press('timeline');
    assert.match(timeline.text, /^Access granted \| Pro \|/m);
    const [fallback = '', ...others] = eventsOn(timeline);
    assert.deepEqual(others, earlier);
    const detail = await timeline.press(fallback);
    assert.match(detail.text, /^In Intercom: Done here; RevenueCat's event has not arrived yet$/m);
    assert.doesNotMatch(detail.text, /^Store: /m, 'a grant has no store');
    // RevenueCat's clock is behind.
    await grantWebhook('grant-webhook', nowMs - 60_000, endMs);
    const after = await (await openAgain(product, card)).press('timeline');
    assert.deepEqual(eventsOn(after), ['event:grant-webhook', ...earlier]);
    // Nothing was charged for it.
    assert.doesNotMatch((await after.press('event:grant-webhook')).text, /^Price/m);
    await setSettings(product, {});
  });
});
