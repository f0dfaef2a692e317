import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { wakeForContact } from '../../src/contacts/repository.ts';
import type { DeliveryWorker } from '../../src/delivery/worker.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import { DAY_MS } from '../../src/time.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { until } from '../support/wait.ts';
import { createWorld, PROJECT_ID, setSettings, WORKSPACE_ID, type World } from '../support/world.ts';
import { linkContact } from './support.ts';

describe('delivering', () => {
  let world: World;
  let worker: DeliveryWorker;
  /** Events are dated around now, because the worker uses the real clock. */
  const nowMs = Date.now();

  const queued: string[] = [];
  before(async () => {
    world = await createWorld();
    const jobs: Jobs = { send: async (name) => void queued.push(name) };
    worker = world.worker({ random: () => 0, jobs });
  });
  after(() => world?.close());
  afterEach(() => {
    world.intercom.faults.clear();
  });

  let next = 0;
  /** Each test uses a new customer. */
  function customer(): string {
    next += 1;
    return `customer-${next}`;
  }
  async function receive(appUserId: string, ...events: Record<string, unknown>[]): Promise<void> {
    const received = events.map((fields) => {
      const event = eventBody({
        app_user_id: appUserId,
        original_app_user_id: appUserId,
        aliases: [],
        transaction_id: `t-${appUserId}`,
        original_transaction_id: `t-${appUserId}`,
        event_timestamp_ms: nowMs - 5 * DAY_MS,
        purchased_at_ms: nowMs - 5 * DAY_MS,
        expiration_at_ms: nowMs + 25 * DAY_MS,
        ...fields,
      });
      return prepareEvent(event, nowMs);
    });
    await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, received);
  }
  const eventsOf = (externalId: string) =>
    world.intercom.state.events.filter((event) => event.externalId === externalId);
  const stateOf = async (eventId: string) => {
    const [row] = await world.db.database.query<{
      delivery: string;
      reason: string | null;
      attempts: number;
    }>(`select delivery, reason, attempts from ${EVENT_STATES} where workspace_id = $1 and event_id = $2`, [
      WORKSPACE_ID,
      eventId,
    ]);
    return row;
  };

  /** Waits until the results of all deliveries are stored. */
  const untilStored = () =>
    until(async () => {
      const leased = await world.db.database.query(
        'select 1 from subscribers where workspace_id = $1 and lease_owner is not null',
        [WORKSPACE_ID],
      );
      return leased.length === 0;
    }, 'the end of the deliveries');

  test('an event is on the contact under its default name, and the attributes follow', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(id, { id: 'd1' });
    await until(() => contact.customAttributes.subscription_status === 'active', 'the attributes');
    const [event, ...others] = eventsOf(id);
    assert.equal(others.length, 0);
    assert.equal(event?.name, 'rc_initial_purchase_event');
    assert.equal(event?.createdAtS, Math.floor((nowMs - 5 * DAY_MS) / 1_000));
    assert.deepEqual(Object.keys(event?.metadata ?? {}), [
      'product_identifier',
      'entitlement',
      'store',
      'expires_at',
      'environment',
      'price',
      'period_type',
      'expires_date',
      'event_id',
    ]);
    assert.deepEqual(event?.metadata.price, { amount: 999, currency: 'usd' });
    assert.equal(contact.customAttributes.rc_app_user_id, id);
    assert.equal(contact.customAttributes.rc_entitlements, 'pro');
    assert.equal(contact.customAttributes.rc_lifetime_value_usd, 9.99);
    assert.equal(contact.customAttributes.rc_will_renew, true);
    assert.equal(contact.customAttributes.expires_at, Math.floor((nowMs + 25 * DAY_MS) / 1_000));
  });

  test('events wait for a contact and go out in order when it appears', async () => {
    const id = customer();
    await receive(id, { id: 'w1' });
    await receive(id, {
      id: 'w2',
      type: 'CANCELLATION',
      cancel_reason: 'UNSUBSCRIBE',
      event_timestamp_ms: nowMs - DAY_MS,
    });
    await until(async () => (await stateOf('w2'))?.reason === 'waiting_for_contact', 'the events to wait');
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await wakeForContact(world.db.database, WORKSPACE_ID, { contactId: 'x', externalId: id, email: null });
    await until(() => eventsOf(id).length === 2, 'both events');
    assert.deepEqual(
      eventsOf(id).map((event) => event.name),
      ['rc_initial_purchase_event', 'rc_cancellation_event'],
    );
  });

  test('the attributes are written once for events that arrive during a delivery', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ pathPrefix: '/events', latencyMs: 1_200, times: 1 });
    const [purchase, ...renewals] = [0, 1, 2, 3].map((renewal) => ({
      id: `burst-${id}-${renewal}`,
      type: renewal === 0 ? 'INITIAL_PURCHASE' : 'RENEWAL',
      transaction_id: `t-${id}-${renewal}`,
      event_timestamp_ms: nowMs - (10 - renewal) * 60_000,
    }));
    await receive(id, purchase ?? {});
    await until(() => world.intercom.faults.list().length === 0, 'the slow call');
    await receive(id, ...renewals);
    await until(() => eventsOf(id).length === 4, 'the events');
    const writes = async () => {
      const [row] = await world.db.database.query<{ n: string }>(
        `select count(*) as n from delivery_attempts a join subscriber_ids i using (workspace_id, subscriber_id)
          where a.workspace_id = $1 and i.app_user_id = $2 and a.event_id is null`,
        [WORKSPACE_ID, id],
      );
      return Number(row?.n);
    };
    await until(async () => (await writes()) > 0, 'the attributes');
    await until(async () => {
      const [row] = await world.db.database.query<{ busy: boolean }>(
        `select s.lease_owner is not null or s.due_at <= now() as busy
           from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where s.workspace_id = $1 and i.app_user_id = $2`,
        [WORKSPACE_ID, id],
      );
      return row?.busy === false;
    }, 'the delivery to end');
    assert.equal(await writes(), 1);
  });

  const faults: [string, Parameters<World['intercom']['faults']['add']>[0]][] = [
    ['an answer that is cut after Intercom took the event', { drop: 'after' }],
    ['a connection that is cut before', { drop: 'before' }],
    ['a 500', { status: 500 }],
  ];
  for (const [name, fault] of faults) {
    test(`${name} is tried again with the same second, and doubles nothing`, async () => {
      const id = customer();
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
      world.intercom.faults.add({ pathPrefix: '/events', times: 1, ...fault });
      await receive(id, { id: `retry-${id}` });
      await until(async () => (await stateOf(`retry-${id}`))?.delivery === 'delivered', 'the delivery');
      assert.equal(eventsOf(id).length, 1);
      assert.equal((await stateOf(`retry-${id}`))?.attempts, 2);
    });
  }

  test('attributes whose write got no answer are written again, also when the state changes back', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const { customAttributes } = contact;
    await receive(id, { id: 'back-1' });
    await until(() => customAttributes.subscription_status === 'active', 'the attributes');
    const put = { method: 'PUT', pathPrefix: `/contacts/${contact.id}` };
    const answer = world.intercom.faults.add({ ...put, drop: 'after' });
    const cancellation = { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE' };
    await receive(id, { ...cancellation, id: 'back-2', event_timestamp_ms: nowMs - 4 * DAY_MS });
    await until(() => customAttributes.subscription_status === 'cancelled', 'the write without an answer');
    world.intercom.faults.add({ ...put, status: 500 });
    answer();
    await receive(id, {
      id: 'back-3',
      type: 'UNCANCELLATION',
      event_timestamp_ms: nowMs - 3 * DAY_MS,
    });
    await until(async () => (await stateOf('back-3'))?.delivery === 'delivered', 'the event');
    world.intercom.faults.clear();
    await until(() => customAttributes.rc_last_event === 'uncancellation', 'the last write');
    assert.equal(customAttributes.subscription_status, 'active');
    assert.equal(customAttributes.rc_will_renew, true);
  });

  test('a purchase that comes after the transfer it happened before reaches the receiver', async () => {
    const [source, between, receiver] = [customer(), customer(), customer()];
    const [left, right] = [source, receiver].map((externalId) =>
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId }),
    );
    const transfer = (from: string, to: string, daysAgo: number) =>
      receive(to, {
        id: `${from}-${to}`,
        type: 'TRANSFER',
        app_user_id: null,
        original_app_user_id: null,
        event_timestamp_ms: nowMs - daysAgo * DAY_MS,
        transferred_from: [from],
        transferred_to: [to],
      });
    await transfer(source, between, 3);
    await transfer(between, receiver, 2);
    await until(() => right?.customAttributes.rc_last_event === 'transfer', 'the transfer');
    assert.equal(right?.customAttributes.rc_entitlements ?? null, null);

    await receive(source, { id: `${source}-late` });
    await until(() => right?.customAttributes.rc_entitlements === 'pro', 'the receiver to have access');
    assert.equal(left?.customAttributes.rc_entitlements ?? null, null);
  });

  const settled = (appUserId: string) =>
    until(async () => {
      const [row] = await world.db.database.query<{ settled: boolean }>(
        `select s.due_at is null and s.lease_until is null as settled
           from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.workspace_id = $1 and i.app_user_id = $2`,
        [WORKSPACE_ID, appUserId],
      );
      return row?.settled;
    }, `${appUserId} to be settled`);

  test('what says nothing of purchases leaves a contact as others wrote it', async () => {
    const id = customer();
    const before = { subscription_status: 'active', latest_store: 'APP_STORE' };
    const contact = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: id,
      customAttributes: { ...before },
    });
    await receive(id, { id: `${id}-paywall`, type: 'PAYWALL_IMPRESSION' });
    await receive(id, { id: `${id}-sandbox`, environment: 'SANDBOX' });
    await settled(id);
    assert.deepEqual(contact.customAttributes, before);

    await receive(id, { id: `${id}-bought`, store: 'STRIPE' });
    await until(() => contact.customAttributes.latest_store === 'STRIPE', 'the attributes');
  });

  test('what others wrote over an attribute lasts until the next event', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(id, { id: `${id}-bought` });
    await until(() => contact.customAttributes.subscription_status === 'active', 'the attributes');
    await untilStored();
    contact.customAttributes.subscription_status = 'expired';
    const renewal = { type: 'RENEWAL', event_timestamp_ms: nowMs - DAY_MS, purchased_at_ms: nowMs - DAY_MS };
    await receive(id, { id: `${id}-renewed`, ...renewal });
    await until(() => contact.customAttributes.rc_last_event === 'renewal', 'the next attributes');
    assert.equal(contact.customAttributes.subscription_status, 'active');
  });

  test('a customer who logs in is followed to the contact of the better app user id', async () => {
    const id = customer();
    const anonymousId = `$RCAnonymousID:${id}`;
    const [anonymous, identified] = [anonymousId, id].map((externalId) =>
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId }),
    );
    await receive(anonymousId, { id: `${id}-1` });
    await until(() => anonymous?.customAttributes.rc_app_user_id === anonymousId, 'the first contact');
    const login = { aliases: [anonymousId], original_app_user_id: anonymousId };
    await receive(id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: nowMs - DAY_MS, ...login });
    await until(() => identified?.customAttributes.rc_last_event === 'renewal', 'the second contact');
    assert.deepEqual([eventsOf(anonymousId).length, eventsOf(id).length], [1, 1]);
  });

  test('a customer who logs in during the first delivery is followed to that contact, too', async () => {
    const id = customer();
    const anonymousId = `$RCAnonymousID:${id}`;
    const [, identified] = [anonymousId, id].map((externalId) =>
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId }),
    );
    const off = world.intercom.faults.add({ pathPrefix: '/events', latencyMs: 300 });
    await receive(anonymousId, { id: `${id}-1` });
    const isFound = async () => {
      const [row] = await world.db.database.query<{ found: boolean }>(
        `select s.contact_id is not null as found from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.workspace_id = $1 and i.app_user_id = $2`,
        [WORKSPACE_ID, anonymousId],
      );
      return row?.found;
    };
    await until(isFound, 'the first contact');
    const login = { aliases: [anonymousId], original_app_user_id: anonymousId };
    await receive(id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: nowMs - DAY_MS, ...login });
    off();
    await until(() => identified?.customAttributes.rc_last_event === 'renewal', 'the second contact');
    assert.deepEqual([eventsOf(anonymousId).length, eventsOf(id).length], [1, 1]);
  });

  test('merged customers get the contact that their ids together match best', async () => {
    const id = customer();
    const anonymousId = `$RCAnonymousID:${id}`;
    const [anonymous, identified] = [anonymousId, id].map((externalId) =>
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId }),
    );
    await receive(anonymousId, { id: `${id}-1` });
    await receive(id, { id: `${id}-2`, event_timestamp_ms: nowMs - 2 * DAY_MS });
    await until(
      () => anonymous?.customAttributes.rc_last_event && eventsOf(id).length === 1,
      'both contacts',
    );
    const alias = { aliases: [anonymousId], original_app_user_id: anonymousId };
    await receive(id, { id: `${id}-3`, type: 'RENEWAL', event_timestamp_ms: nowMs - DAY_MS, ...alias });
    await until(() => identified?.customAttributes.rc_last_event === 'renewal', 'the renewal');
    assert.deepEqual([eventsOf(anonymousId).length, eventsOf(id).length], [1, 2]);
  });

  test('merged customers get the contact that one of them is linked to', async () => {
    const id = customer();
    const other = `${id}-other`;
    const own = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const lead = world.intercom.addContact(WORKSPACE_ID, { role: 'lead' });
    await receive(id, { id: `${id}-1` });
    await until(() => own.customAttributes.rc_last_event, 'the contact with the id');
    await untilStored();
    await receive(other, { id: `${id}-2`, event_timestamp_ms: nowMs - 2 * DAY_MS });
    await linkContact(world, other, lead.id);
    await receive(id, {
      id: `${id}-3`,
      type: 'RENEWAL',
      event_timestamp_ms: nowMs - DAY_MS,
      aliases: [other],
    });
    await until(() => lead.customAttributes.rc_last_event === 'renewal', 'the linked contact');
  });

  test('a refused event fails with its reason, and the next one is sent', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ pathPrefix: '/events', times: 1, status: 422 });
    await receive(id, { id: 'f1' });
    await until(async () => (await stateOf('f1'))?.delivery === 'failed', 'the failure');
    await receive(id, { id: 'f2', type: 'UNCANCELLATION', event_timestamp_ms: nowMs - DAY_MS });
    await until(async () => (await stateOf('f2'))?.delivery === 'delivered', 'the next event');
    assert.match((await stateOf('f1'))?.reason ?? '', /422/);
    assert.deepEqual(
      eventsOf(id).map((event) => event.name),
      ['rc_uncancellation_event'],
    );
  });

  test('deleted attributes are created again', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const { attributes } = world.intercom.state;
    const index = attributes.findIndex((attribute) => attribute.name === 'rc_product');
    attributes.splice(index, 1);
    await receive(id, { id: 'a1' });
    await until(() => contact.customAttributes.rc_product === 'pro_monthly', 'the attribute');
  });

  test('names and switches are the workspace’s own; sandbox stays on the timeline', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await setSettings(world, {
      events: { initial_purchase: { name: 'Subscribed!' }, cancellation: { enabled: false } },
    });
    await receive(id, { id: 'n1' });
    await receive(id, { id: 'n2', type: 'CANCELLATION', event_timestamp_ms: nowMs - DAY_MS });
    await receive(id, { id: 'n3', environment: 'SANDBOX', event_timestamp_ms: nowMs - DAY_MS });
    await until(async () => (await stateOf('n3'))?.delivery === 'skipped', 'the sandbox event');
    await until(async () => (await stateOf('n1'))?.delivery === 'delivered', 'the renamed event');
    await setSettings(world, {});
    assert.deepEqual(
      eventsOf(id).map((event) => event.name),
      ['Subscribed!'],
    );
    assert.equal((await stateOf('n2'))?.reason, 'switched_off');
    assert.equal((await stateOf('n3'))?.reason, 'sandbox');
  });

  test('an event without an environment is of the sandbox where its purchase is', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(id, { id: 'e1', environment: 'SANDBOX' });
    await receive(id, {
      id: 'e2',
      type: 'RENEWAL',
      environment: undefined,
      transaction_id: `t2-${id}`,
      event_timestamp_ms: nowMs - DAY_MS,
    });
    await until(
      async () => (await stateOf('e2'))?.delivery === 'skipped',
      'the event without an environment',
    );
    await untilStored();
    assert.equal((await stateOf('e2'))?.reason, 'sandbox');
    assert.deepEqual(eventsOf(id), []);
    assert.equal(contact.customAttributes.subscription_status ?? null, null);
  });

  test('an event that was renamed while it waited is stored under the name that it is sent under', async () => {
    const id = customer();
    await receive(id, { id: 'n4' });
    await until(async () => (await stateOf('n4'))?.reason === 'waiting_for_contact', 'it to wait');
    await setSettings(world, { events: { initial_purchase: { name: 'Renamed' } } });
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await wakeForContact(world.db.database, WORKSPACE_ID, { contactId: 'x', externalId: id, email: null });
    await until(async () => (await stateOf('n4'))?.delivery === 'delivered', 'the delivery');
    await setSettings(world, {});
    const [row] = await world.db.database.query<{ sent_name: string }>(
      `select sent_name from ${EVENT_STATES} where workspace_id = $1 and event_id = 'n4'`,
      [WORKSPACE_ID],
    );
    assert.deepEqual([row?.sent_name, eventsOf(id)[0]?.name], ['Renamed', 'Renamed']);
  });

  test('a refused token stops the workspace; a new one delivers what waited', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const off = world.intercom.faults.add({ token: 'revoked' });
    await receive(id, { id: 'x1' });
    const status = async () => {
      const [row] = await world.db.database.query<{ status: string }>(
        'select status from workspaces where workspace_id = $1',
        [WORKSPACE_ID],
      );
      return row?.status;
    };
    await until(async () => (await status()) === 'disconnected', 'the disconnection');
    // Other deliveries may have been refused too, and not have stored that yet.
    await untilStored();
    off();
    assert.equal((await stateOf('x1'))?.delivery, 'pending');
    assert.deepEqual(
      queued.filter((name) => name === 'workspace.health'),
      ['workspace.health'],
    );
    await world.db.database.query(`update workspaces set status = 'connected' where workspace_id = $1`, [
      WORKSPACE_ID,
    ]);
    worker.wake();
    await until(async () => (await stateOf('x1'))?.delivery === 'delivered', 'the delivery');
  });
});
