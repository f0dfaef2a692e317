import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import express from 'express';
import supertest from 'supertest';
import { followMerge, saveLink } from '../../src/contacts/repository.ts';
import { intercomWebhookRouter } from '../../src/contacts/webhooks.ts';
import { errorHandler } from '../../src/http/errors.ts';
import { signWebhook } from '../../src/simulator/intercom/app-caller.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import { DAY_MS } from '../../src/time.ts';
import { NOW_MS, receive, sentEvents, stateOf } from '../delivery/support.ts';
import { until } from '../support/wait.ts';
import {
  CLIENT_SECRET,
  createWorld,
  logger,
  PROJECT_ID,
  setSettings,
  WORKSPACE_ID,
  type World,
} from '../support/world.ts';

describe('contact webhooks', () => {
  let world: World;
  let api: ReturnType<typeof supertest>;
  let close: () => Promise<void>;

  before(async () => {
    world = await createWorld();
    const app = express();
    const { database } = world.db;
    app.use(
      '/webhooks/intercom',
      intercomWebhookRouter({ database, clientSecret: CLIENT_SECRET, jobs: { send: async () => {} } }),
    );
    app.use(errorHandler(logger));
    const listening = await listenOnLoopback(app);
    close = () => listening.close();
    world.intercom.state.webhookEndpoint = `${listening.url}/webhooks/intercom`;
    api = supertest(app);
    world.worker({ random: () => 0 });
  });
  after(async () => {
    await world?.close();
    await close?.();
  });

  let next = 0;
  function customer(): string {
    next += 1;
    return `person-${next}`;
  }
  const isWaiting = async (eventId: string) =>
    (await stateOf(world, eventId))?.reason === 'waiting_for_contact';
  const isDelivered = async (eventId: string) => (await stateOf(world, eventId))?.delivery === 'delivered';
  const wait = (eventId: string) => until(() => isWaiting(eventId), `${eventId} to wait`);
  const deliver = (eventId: string) => until(() => isDelivered(eventId), `${eventId} to be delivered`);

  async function subscriberOf(appUserId: string): Promise<{ id: string; contactId: string | null }> {
    const [row] = await world.db.database.query<{ subscriber_id: string; contact_id: string | null }>(
      `select s.subscriber_id, s.contact_id from subscribers s
         join subscriber_ids i using (workspace_id, subscriber_id)
        where s.workspace_id = $1 and i.app_user_id = $2`,
      [WORKSPACE_ID, appUserId],
    );
    assert.ok(row);
    return { id: row.subscriber_id, contactId: row.contact_id };
  }

  test('answers HEAD, and refuses a wrong signature', async () => {
    assert.equal((await api.head('/webhooks/intercom')).status, 200);
    const refused = await api
      .post('/webhooks/intercom')
      .set('X-Hub-Signature', `sha1=${'0'.repeat(40)}`)
      .send({ app_id: WORKSPACE_ID, topic: 'ping' });
    assert.equal(refused.status, 401);
    assert.equal(
      await world.intercom.sendWebhook('ping', { type: 'ping', message: 'hello' }, WORKSPACE_ID),
      200,
    );
  });

  test('a user that is created gets what waited, in order and without another webhook', async () => {
    const id = customer();
    await receive(world, id, { id: `${id}-1` });
    await receive(world, id, {
      id: `${id}-2`,
      type: 'CANCELLATION',
      cancel_reason: 'UNSUBSCRIBE',
      event_timestamp_ms: NOW_MS - DAY_MS,
    });
    await wait(`${id}-2`);
    const contact = world.intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: id });
    await deliver(`${id}-2`);
    assert.deepEqual(
      sentEvents(world, [`${id}-1`, `${id}-2`]).map((event) => [event.contactId, event.name]),
      [
        [contact.id, 'rc_initial_purchase_event'],
        [contact.id, 'rc_cancellation_event'],
      ],
    );
    await until(() => contact.customAttributes.subscription_status === 'cancelled', 'the attributes');
  });

  test('a lead that signs up gets what waited', async () => {
    const id = customer();
    const lead = world.intercom.addContact(WORKSPACE_ID, { role: 'lead' });
    await receive(world, id, { id: `${id}-1` });
    await wait(`${id}-1`);
    world.intercom.contacts.signUp(lead.id, id);
    await deliver(`${id}-1`);
    assert.equal((await stateOf(world, `${id}-1`))?.contact_id, lead.id);
  });

  test('times as Unix seconds and ids as numbers are read as well', async () => {
    const id = customer();
    await receive(world, id, { id: `${id}-1` });
    await wait(`${id}-1`);
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const item = { type: 'contact', id: contact.id, external_id: id, created_at: 1_768_019_869, email: null };
    assert.equal(await world.intercom.sendWebhook('contact.user.created', item, WORKSPACE_ID), 200);
    await deliver(`${id}-1`);
    assert.equal(
      await world.intercom.sendWebhook('contact.deleted', { type: 'contact', id: 12_345 }, WORKSPACE_ID),
      200,
    );
  });

  const send = (topic: string, item: Record<string, unknown>) =>
    world.intercom.sendWebhook(topic, item, WORKSPACE_ID);

  for (const topic of ['visitor.signed_up', 'contact.signed_up'])
    test(`the older user model of ${topic} is read`, async () => {
      const id = customer();
      const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
      // Cannot be found yet, like a contact that Intercom has not indexed.
      contact.archived = true;
      await receive(world, id, { id: `${id}-1` });
      await wait(`${id}-1`);
      contact.archived = false;
      assert.equal(await send(topic, { type: 'user', id: contact.id, user_id: id, anonymous: false }), 200);
      await deliver(`${id}-1`);
      await until(async () => (await subscriberOf(id)).contactId === contact.id, 'the contact');
    });

  test('the other recorded shapes are read: minimal items, both spellings of unarchive', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    contact.archived = true;
    await send('contact.archived', { type: 'contact', id: contact.id, external_id: id, archived: true });
    await until(async () => (await subscriberOf(id)).contactId === null, 'the contact to be unassigned');
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await wait(`${id}-2`);
    contact.archived = false;
    await send('contact.unarchived', { type: 'contact', id: contact.id, external_id: id, role: 'user' });
    await deliver(`${id}-2`);
  });

  test('an external_id or user_id that is a number wakes its customer', async () => {
    for (const [field, number] of [
      ['external_id', 70_001],
      ['user_id', 70_002],
    ] as const) {
      const id = String(number);
      const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
      contact.archived = true;
      await receive(world, id, { id: `${id}-1` });
      await wait(`${id}-1`);
      contact.archived = false;
      const item = { type: 'contact', id: contact.id, [field]: number };
      assert.equal(await world.intercom.sendWebhook('contact.user.created', item, WORKSPACE_ID), 200);
      await deliver(`${id}-1`);
    }
  });

  test('contact topics that the app does not subscribe to wake nothing', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    contact.archived = true;
    await receive(world, id, { id: `${id}-1` });
    await wait(`${id}-1`);
    const version = async () =>
      (
        await world.db.database.query(
          `select s.version from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
            where s.workspace_id = $1 and i.app_user_id = $2`,
          [WORKSPACE_ID, id],
        )
      )[0]?.version;
    const before = await version();
    contact.archived = false;
    const item = { type: 'contact', id: contact.id, external_id: id, email: null };
    for (const topic of ['contact.user.updated', 'contact.lead.updated', 'contact.user.tag.created'])
      assert.equal(await world.intercom.sendWebhook(topic, item, WORKSPACE_ID), 200);
    assert.equal(await version(), before);
    await world.intercom.sendWebhook('contact.user.created', item, WORKSPACE_ID);
    await deliver(`${id}-1`);
  });

  test('a contact is found by any of many identified ids', async () => {
    const ids = Array.from(
      { length: 14 },
      (_, index) => `legacy-${next}-${String(index + 1).padStart(2, '0')}`,
    );
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: ids[12] ?? '' });
    await receive(world, ids[0] ?? '', { id: `${ids[0]}-1`, aliases: ids, original_app_user_id: ids[1] });
    await deliver(`${ids[0]}-1`);
    assert.equal((await stateOf(world, `${ids[0]}-1`))?.contact_id, contact.id);
  });

  test('an e-mail that changes to that of a waiting subscriber gives it the contact, and takes it from another', async () => {
    const [waitingId, matchedId] = [customer(), customer()];
    const mail = (name: string) => ({
      subscriber_attributes: { $email: { value: ` Ä-${name}@Example.com`, updated_at_ms: NOW_MS } },
    });
    await setSettings(world, { contacts: { matchByEmail: true } });
    const contact = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: customer(),
      email: `ä-${matchedId}@example.com`,
    });
    await receive(world, matchedId, { id: `${matchedId}-1`, ...mail(matchedId) });
    await deliver(`${matchedId}-1`);
    await receive(world, waitingId, { id: `${waitingId}-1`, ...mail(waitingId) });
    await wait(`${waitingId}-1`);
    contact.email = `Ä-${waitingId}@example.com`;
    world.intercom.contacts.emailChanged(contact);
    await deliver(`${waitingId}-1`);
    await until(async () => (await subscriberOf(matchedId)).contactId === null, 'the old match to end');
    await setSettings(world, {});
  });

  test('a contact that appears after Intercom refused a search by e-mail gets what waited', async () => {
    const id = customer();
    await setSettings(world, { contacts: { matchByEmail: true } });
    world.intercom.faults.add({ pathPrefix: '/contacts/search', status: 400 });
    const email = `${id}@example.com`;
    const $email = { value: email, updated_at_ms: NOW_MS };
    await receive(world, id, { id: `${id}-1`, subscriber_attributes: { $email } });
    await until(
      async () => (await stateOf(world, `${id}-1`))?.reason === 'intercom_rejected',
      'the search to be refused',
    );
    world.intercom.faults.clear();
    world.intercom.contacts.create(WORKSPACE_ID, { role: 'lead', email });
    await deliver(`${id}-1`);
    await setSettings(world, {});
  });

  test('a customer whose e-mail is corrected leaves the contact that the old one matched', async () => {
    const id = customer();
    await setSettings(world, { contacts: { matchByEmail: true } });
    const [wrong, right] = ['wrong', 'right'].map((name) => {
      const email = `${name}-${id}@example.com`;
      const contact = world.intercom.addContact(WORKSPACE_ID, {
        role: 'user',
        externalId: customer(),
        email,
      });
      return { contact, email };
    });
    assert.ok(wrong && right);
    for (const [index, { contact, email }] of [wrong, right].entries()) {
      const eventId = `${id}-${index}`;
      const $email = { value: email, updated_at_ms: NOW_MS + index };
      await receive(world, id, { id: eventId, subscriber_attributes: { $email } });
      await deliver(eventId);
      assert.equal((await stateOf(world, eventId))?.contact_id, contact.id);
    }
    await setSettings(world, {});
  });

  for (const named of [true, false]) {
    test(`a merge ${named ? 'that names the merged contact' : 'without merged_from'} is followed`, async () => {
      const id = customer();
      const lead = world.intercom.addContact(WORKSPACE_ID, { role: 'lead', email: `${id}@example.com` });
      await receive(world, id, { id: `${id}-1` });
      await wait(`${id}-1`);
      const { id: subscriberId } = await subscriberOf(id);
      await saveLink(world.db.database, {
        workspaceId: WORKSPACE_ID,
        contactId: lead.id,
        projectId: PROJECT_ID,
        subscriberId,
        madeBy: { id: 'admin', name: 'Ada' },
      });
      const { contacts, state } = world.intercom;
      // In the product, linking on the card wakes the subscriber; here a webhook about the contact does.
      contacts.unarchive(lead.id);
      await deliver(`${id}-1`);
      const isWritten = async () =>
        (
          await world.db.database.query(
            `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2
                and attributes_written is not null and lease_owner is null`,
            [WORKSPACE_ID, subscriberId],
          )
        ).length > 0;
      await until(isWritten, 'the attributes to be written');

      const user = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: customer() });
      const endpoint = state.webhookEndpoint;
      state.webhookEndpoint = null;
      contacts.merge(lead.id, user.id);
      state.webhookEndpoint = endpoint;
      const item = {
        type: 'contact',
        id: user.id,
        external_id: user.externalId,
        email: null,
        ...(named ? { merged_from: { type: 'contact', id: lead.id } } : {}),
      };
      const linked = () =>
        world.db.database.query<{ contact_id: string }>(
          'select contact_id from contact_links where workspace_id = $1 and subscriber_id = $2',
          [WORKSPACE_ID, subscriberId],
        );
      // While Intercom is unavailable: the survivor's card must not wait for a delivery.
      const off = world.intercom.faults.add({ pathPrefix: '/contacts', status: 500 });
      assert.equal(await world.intercom.sendWebhook('contact.merged', item, WORKSPACE_ID), 200);
      const before = await linked();
      off();
      if (named) assert.deepEqual(before, [{ contact_id: user.id }]);
      await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
      await deliver(`${id}-2`);
      assert.equal((await stateOf(world, `${id}-2`))?.contact_id, user.id);
      await until(() => user.customAttributes.rc_last_event === 'renewal', 'the attributes on the survivor');
      assert.deepEqual(await linked(), [{ contact_id: user.id }]);
    });
  }

  test('a contact that was linked itself keeps its link when another linked one is merged into it', async () => {
    const { database } = world.db;
    const subscriberIds: string[] = [];
    for (const contactId of ['merged', 'survivor']) {
      const id = customer();
      await receive(world, id, { id: `${id}-1` });
      const { id: subscriberId } = await subscriberOf(id);
      const link = { workspaceId: WORKSPACE_ID, contactId, projectId: PROJECT_ID, subscriberId };
      await saveLink(database, { ...link, madeBy: { id: 'admin', name: 'Ada' } });
      subscriberIds.push(subscriberId);
    }
    await database.transaction((sql) => followMerge(sql, WORKSPACE_ID, { from: 'merged', into: 'survivor' }));
    const links = await database.query(
      `select contact_id, subscriber_id from contact_links
        where workspace_id = $1 and contact_id in ('merged', 'survivor')`,
      [WORKSPACE_ID],
    );
    assert.deepEqual(links, [{ contact_id: 'survivor', subscriber_id: subscriberIds[1] }]);
  });

  test('an archived contact gets nothing; unarchived, it gets what arrived since', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    world.intercom.contacts.archive(contact.id);
    await until(async () => (await subscriberOf(id)).contactId === null, 'the contact to be unassigned');
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await wait(`${id}-2`);
    world.intercom.contacts.unarchive(contact.id);
    await deliver(`${id}-2`);
    assert.equal(sentEvents(world, [`${id}-1`, `${id}-2`]).length, 2);
  });

  test('a deleted contact is unassigned; a new one with its external id replaces it', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    world.intercom.contacts.remove(contact.id);
    await until(async () => (await subscriberOf(id)).contactId === null, 'the contact to be unassigned');
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await wait(`${id}-2`);
    assert.equal((await stateOf(world, `${id}-1`))?.reason, null, 'what was delivered does not wait');
    const fresh = world.intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: id });
    await until(() => fresh.customAttributes.rc_last_event === 'renewal', 'the attributes');
    assert.equal((await stateOf(world, `${id}-2`))?.contact_id, fresh.id);
  });

  test('an alias that Intercom knows lets the events go out', async () => {
    const id = customer();
    const anonymous = `$RCAnonymousID:${randomUUID().replaceAll('-', '')}`;
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, anonymous, { id: `${id}-1`, original_app_user_id: anonymous });
    await wait(`${id}-1`);
    await receive(world, id, {
      id: `${id}-2`,
      type: 'RENEWAL',
      original_app_user_id: anonymous,
      aliases: [anonymous, id],
      event_timestamp_ms: NOW_MS - DAY_MS,
    });
    await deliver(`${id}-2`);
    assert.deepEqual(
      sentEvents(world, [`${id}-1`, `${id}-2`]).map((event) => event.metadata.event_id),
      [`${id}-1`, `${id}-2`],
    );
  });

  test('of a workspace that has not installed the app nothing is stored', async () => {
    const item = { type: 'contact', id: 'nobody', external_id: 'nobody' };
    const body = JSON.stringify({
      type: 'notification_event',
      id: 'notif_foreign',
      app_id: 'foreign',
      topic: 'contact.user.created',
      created_at: 1_768_019_869,
      data: { item },
    });
    const sent = api.post('/webhooks/intercom').set('Content-Type', 'application/json');
    await sent.set('X-Hub-Signature', signWebhook(CLIENT_SECRET, body)).send(body).expect(200);
    const stored = await world.db.database.query(
      `select 1 from notifications where workspace_id = 'foreign'`,
    );
    assert.equal(stored.length, 0);
  });

  test('a repeated notification is applied once', async () => {
    const id = customer();
    await receive(world, id, { id: `${id}-1` });
    await wait(`${id}-1`);
    const body = JSON.stringify({
      type: 'notification_event',
      id: `notif_${id}`,
      app_id: WORKSPACE_ID,
      topic: 'contact.user.created',
      created_at: 1_768_019_869,
      data: { item: { type: 'contact', id: 'nobody', external_id: id } },
    });
    const version = async (): Promise<string | undefined> => {
      const { id: subscriberId } = await subscriberOf(id);
      const [row] = await world.db.database.query<{ version: string }>(
        'select version from subscribers where workspace_id = $1 and subscriber_id = $2',
        [WORKSPACE_ID, subscriberId],
      );
      return row?.version;
    };
    const send = () =>
      api
        .post('/webhooks/intercom')
        .set('Content-Type', 'application/json')
        .set('X-Hub-Signature', signWebhook(CLIENT_SECRET, body))
        .send(body);
    const before = Number(await version());
    assert.equal((await send()).status, 200);
    assert.equal((await send()).status, 200);
    assert.equal(Number(await version()), before + 1);
  });

  test('ids that the database cannot store are accepted', async () => {
    const long = randomBytes(20_000).toString('base64');
    for (const odd of ['a\0b', 'half-\ud800', long]) {
      const body = JSON.stringify({
        type: 'notification_event',
        id: odd,
        app_id: odd === long ? WORKSPACE_ID : odd,
        topic: 'contact.user.created',
        data: { item: { type: 'contact', id: odd, external_id: odd, email: odd } },
      });
      const answer = await api
        .post('/webhooks/intercom')
        .set('Content-Type', 'application/json')
        .set('X-Hub-Signature', signWebhook(CLIENT_SECRET, body))
        .send(body);
      assert.equal(answer.status, 200, odd.slice(0, 20));
    }
  });
});
