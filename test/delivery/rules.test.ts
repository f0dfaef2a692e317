import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { wakeForContact } from '../../src/contacts/repository.ts';
import { addReplayCommand } from '../../src/delivery/command.ts';
import { deleteOldDeliveryRecords } from '../../src/delivery/jobs.ts';
import { readRejectedContacts, replayEvents, retryRejectedContacts } from '../../src/delivery/replay.ts';
import type { DeliveryWorker } from '../../src/delivery/worker.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { createIntercomClient } from '../../src/intercom/client.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import { DAY_MS } from '../../src/time.ts';
import { createPlatformClients } from '../../src/workspaces/app-context.ts';
import { provisionWith } from '../../src/workspaces/install.ts';
import { runCommandHere } from '../support/process.ts';
import { until } from '../support/wait.ts';
import {
  CLIENT_ID,
  CLIENT_SECRET,
  createWorld,
  PROJECT_ID,
  secrets,
  setSettings,
  WORKSPACE_ID,
  type World,
} from '../support/world.ts';
import { linkContact, NOW_MS, receive, recentEvent, sentEvents, stateOf } from './support.ts';

describe('Intercom’s rules', () => {
  let world: World;
  const cleared: unknown[] = [];
  let refreshes = 0;
  let healthReports = 0;
  let measured = 0;
  let worker: DeliveryWorker;
  /** Events whose response from Intercom is held back, by event id. */
  const held = new Map<unknown, PromiseWithResolvers<void>>();
  before(async () => {
    world = await createWorld();
    const jobs: Jobs = {
      async send(name, data) {
        if (name === 'contact.clear') cleared.push('contactId' in data && data.contactId);
        if (name === 'subscriber.refresh') refreshes += 1;
        if (name === 'workspace.health') healthReports += 1;
      },
    };
    const metrics = {
      attempt() {},
      delivered() {
        measured += 1;
      },
    };
    const { intercom } = createPlatformClients({
      database: world.db.database,
      secrets,
      now: Date.now,
      config: { intercom: { apiUrl: world.intercomUrl }, revenueCatApiUrl: '' },
    });
    const holding: typeof intercom = (workspace, calls) => {
      const client = intercom(workspace, calls);
      if (client === null) return null;
      return {
        ...client,
        async sendEvent(event) {
          await client.sendEvent(event);
          await held.get(event.metadata.event_id)?.promise;
        },
      };
    };
    worker = world.worker({ random: () => 0, jobs, metrics, intercom: holding });
  });
  after(() => world?.close());
  afterEach(async () => {
    for (const { resolve } of held.values()) resolve();
    // Attributes are written after their event is delivered, and must not run into the faults of the next test.
    await until(async () => !(await isAnyDue()), 'the running deliveries to end');
    world.intercom.faults.clear();
    await setSettings(world, {});
  });

  const isAnyDue = async (): Promise<boolean> =>
    (
      await world.db.database.query(
        `select 1 from subscribers s join workspaces w on w.workspace_id = s.workspace_id
          where s.workspace_id = $1
            and (s.lease_owner is not null
                 or s.due_at <= now() and w.status = 'connected' and coalesce(w.not_before <= now(), true))`,
        [WORKSPACE_ID],
      )
    ).length > 0;

  let next = 0;
  function customer(): string {
    next += 1;
    return `rule-${next}`;
  }
  const deliver = (eventId: string) =>
    until(
      async () => (await stateOf(world, eventId))?.delivery === 'delivered',
      `${eventId} to be delivered`,
    );
  const reason = (eventId: string, wanted: string) =>
    until(async () => (await stateOf(world, eventId))?.reason === wanted, `${eventId} to be ${wanted}`);
  const contactsOf = (externalId: string) =>
    [...world.intercom.state.contacts.values()].filter((contact) => contact.externalId === externalId);
  const attributeWrites = async (appUserId: string): Promise<number> =>
    (
      await world.db.database.query(
        `select 1 from delivery_attempts a
           join subscriber_ids i on i.workspace_id = a.workspace_id and i.subscriber_id = a.subscriber_id
          where a.workspace_id = $1 and a.event_id is null and i.app_user_id = $2`,
        [WORKSPACE_ID, appUserId],
      )
    ).length;
  /** @param condition SQL about the subscriber, `s` */
  const is = async (appUserId: string, condition: string): Promise<boolean> =>
    (
      await world.db.database.query(
        `select 1 from subscribers s
           join subscriber_ids i on i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id
          where s.workspace_id = $1 and i.app_user_id = $2 and (${condition})`,
        [WORKSPACE_ID, appUserId],
      )
    ).length > 0;
  const isDue = (appUserId: string) => is(appUserId, 's.due_at <= now() or s.lease_owner is not null');
  const mail = (email: string) => ({
    subscriber_attributes: { $email: { value: email, updated_at_ms: NOW_MS } },
  });

  test('events of one kind in one second are moved a second apart, and a retry keeps its own', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const atMs = NOW_MS - DAY_MS;
    const ids = [`${id}-1`, `${id}-2`, `${id}-3`];
    world.intercom.faults.add({ pathPrefix: '/events', drop: 'after', times: 2 });
    for (const eventId of ids)
      await receive(world, id, {
        id: eventId,
        type: 'NON_RENEWING_PURCHASE',
        product_id: eventId,
        event_timestamp_ms: atMs,
      });
    for (const eventId of ids) await deliver(eventId);
    const atS = Math.floor(atMs / 1_000);
    assert.deepEqual(
      sentEvents(world, ids).map((event) => [event.metadata.event_id, event.createdAtS]),
      ids.map((eventId, index) => [eventId, atS + index]),
    );
  });

  test('an event that gives its second up after a merge is sent under the new one, also by a retry', async () => {
    const id = customer();
    const anonymousId = `$RCAnonymousID:${id}`;
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const purchase = { type: 'NON_RENEWING_PURCHASE', event_timestamp_ms: NOW_MS - DAY_MS };
    await receive(world, id, { id: `${id}-0`, event_timestamp_ms: NOW_MS - 2 * DAY_MS });
    await receive(world, id, { ...purchase, id: `${id}-1` });
    await deliver(`${id}-1`);
    await receive(world, anonymousId, { ...purchase, id: `${id}-2` });
    await reason(`${id}-2`, 'waiting_for_contact');
    await until(async () => !(await isAnyDue()), 'the end of the attempts');
    world.intercom.faults.add({ pathPrefix: '/events', status: 500, times: 1 });
    await receive(world, id, { type: 'SUBSCRIBER_ALIAS', id: `${id}-3`, aliases: [anonymousId] });
    await deliver(`${id}-2`);
    const atS = Math.floor((NOW_MS - DAY_MS) / 1_000);
    assert.deepEqual(
      sentEvents(world, [`${id}-1`, `${id}-2`]).map((event) => event.createdAtS),
      [atS, atS + 1],
    );
    const counted = await world.db.database.query(
      `select 1 from subscribers where workspace_id = $1 and merged_into is not null and (waiting or pending_events > 0)`,
      [WORKSPACE_ID],
    );
    assert.equal(counted.length, 0, 'the one that was merged no longer waits');
  });

  test('RevenueCat is asked again once for new events, not by a retry, nor where it was read after them', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await world.db.database.query(`update projects set api_key = 'a key'`);
    refreshes = 0;
    world.intercom.faults.add({ pathPrefix: '/events', status: 500, times: 1 });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    await until(async () => !(await isDue(id)), 'the attributes');
    assert.equal(refreshes, 1);
    await world.db.database.query(
      `update subscribers s set snapshot_at = now() from subscriber_ids i
        where i.workspace_id = $1 and i.app_user_id = $2 and s.workspace_id = $1 and s.subscriber_id = i.subscriber_id`,
      [WORKSPACE_ID, id],
    );
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await deliver(`${id}-2`);
    await until(async () => !(await isDue(id)), 'the attributes');
    assert.equal(refreshes, 1);
    await world.db.database.query(`update projects set api_key = null`);
  });

  for (const { during, slow, isReached } of [
    { during: 'its contact is looked up', slow: '/contacts', isReached: 's.lease_owner is not null' },
    { during: 'its events are sent', slow: '/events', isReached: 's.contact_id is not null' },
  ])
    test(`a subscriber that is merged into another while ${during} loses no event, and doubles none`, async () => {
      const id = customer();
      const anonymousId = `$RCAnonymousID:${id}`;
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
      const renewal = { type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS };
      // A merge keeps the subscriber with the oldest event.
      const purchase = { type: 'INITIAL_PURCHASE', event_timestamp_ms: NOW_MS - 2 * DAY_MS };
      await receive(world, anonymousId, { ...purchase, id: `${id}-0` });
      await receive(world, anonymousId, { ...renewal, id: `${id}-1` });
      await reason(`${id}-1`, 'waiting_for_contact');
      await until(async () => !(await isDue(anonymousId)), 'the end of the attempt');

      world.intercom.faults.add({ pathPrefix: slow, latencyMs: 500 });
      await receive(world, id, { ...renewal, id: `${id}-2` });
      await until(async () => is(id, isReached), isReached);
      await receive(world, id, { type: 'EXPIRATION', id: `${id}-3`, aliases: [anonymousId] });
      const ids = [0, 1, 2, 3].map((number) => `${id}-${number}`);
      for (const eventId of ids) await deliver(eventId);
      const sent = sentEvents(world, ids).map((event) => event.metadata.event_id);
      assert.deepEqual(sent.sort(), ids);
    });

  test('an event that is being sent when its customer is merged into one with another contact is on one of them', async () => {
    const [kept, merged] = [customer(), customer()];
    for (const externalId of [kept, merged])
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId });
    // A merge keeps the subscriber with the oldest event.
    await receive(world, kept, { id: `${kept}-1`, event_timestamp_ms: NOW_MS - 2 * DAY_MS });
    await deliver(`${kept}-1`);
    await until(async () => !(await isDue(kept)), 'the attributes');
    world.intercom.faults.add({ pathPrefix: '/events', latencyMs: 500 });
    const renewal = { type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS };
    await receive(world, merged, { ...renewal, id: `${merged}-1` });
    await until(async () => is(merged, 's.contact_id is not null'), 'its contact');
    await receive(world, kept, {
      type: 'EXPIRATION',
      id: `${kept}-2`,
      event_timestamp_ms: NOW_MS,
      aliases: [merged],
    });
    const ids = [`${kept}-1`, `${kept}-2`, `${merged}-1`];
    for (const eventId of ids) await deliver(eventId);
    const sent = sentEvents(world, ids).map((event) => event.metadata.event_id);
    assert.deepEqual(sent.sort(), ids.sort());
  });

  test('events of two customers that are being sent when they are merged are each on one contact', async () => {
    const [kept, merged, other] = [customer(), customer(), customer()];
    for (const externalId of [kept, merged, other])
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId });
    const ids = [`${kept}-1`, `${merged}-1`, `${merged}-2`, `${kept}-2`];
    for (const eventId of [`${kept}-1`, `${merged}-1`]) held.set(eventId, Promise.withResolvers<void>());
    const renewal = { type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS };
    // A merge keeps the subscriber with the oldest event.
    await receive(world, kept, { id: `${kept}-1`, event_timestamp_ms: NOW_MS - 2 * DAY_MS });
    const events = ['1', '2'].map((number) => recentEvent(merged, { ...renewal, id: `${merged}-${number}` }));
    await storeEvents(
      world.db.database,
      { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID },
      events.map((event) => prepareEvent(event, NOW_MS)),
    );
    await until(() => sentEvents(world, ids).length === 2, 'both to be sent');
    const last = { type: 'EXPIRATION', id: `${kept}-2`, event_timestamp_ms: NOW_MS };
    await receive(world, kept, { ...last, aliases: [merged] });
    held.get(`${kept}-1`)?.resolve();
    await deliver(`${kept}-1`);
    await until(() => worker.activeCount() === 1, 'the end of one delivery');
    // Whatever else is due by now is claimed together with this one.
    await receive(world, other, { id: `${other}-1` });
    await deliver(`${other}-1`);
    held.get(`${merged}-1`)?.resolve();
    await deliver(`${merged}-1`);
    await until(() => worker.activeCount() === 0, 'the end of the other delivery');
    await world.db.database.query(
      'update subscribers set lease_until = now() where workspace_id = $1 and lease_until > now()',
      [WORKSPACE_ID],
    );
    for (const eventId of ids) await deliver(eventId);
    assert.deepEqual(
      sentEvents(world, ids).map((event) => event.metadata.event_id),
      ids,
    );
  });

  test('the 121st event name fails with what an admin can act on; the others continue', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const names = world.intercom.state.eventNames.get(WORKSPACE_ID) ?? new Set();
    const before = new Set(names);
    for (let index = names.size; index < 120; index += 1) names.add(`other-${index}`);
    world.intercom.state.eventNames.set(WORKSPACE_ID, names);
    await setSettings(world, { events: { renewal: { name: 'one-too-many' } } });
    await receive(world, id, { id: `${id}-1`, type: 'RENEWAL' });
    await receive(world, id, {
      id: `${id}-2`,
      type: 'NON_RENEWING_PURCHASE',
      event_timestamp_ms: NOW_MS - DAY_MS,
    });
    await deliver(`${id}-2`);
    const failed = await stateOf(world, `${id}-1`);
    assert.equal(failed?.delivery, 'failed');
    assert.match(failed?.reason ?? '', /answered 422: Cannot have more than 120 active event names/);
    world.intercom.state.eventNames.set(WORKSPACE_ID, before);

    assert.equal(await replayEvents(world.db.database, WORKSPACE_ID, { failedOnly: true }), 1);
    await deliver(`${id}-1`);
  });

  test('a contact whose attributes Intercom refuses is counted until it accepts them', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ method: 'PUT', pathPrefix: '/contacts', status: 422 });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    await until(async () => !(await isDue(id)), 'the end of the attempt');
    const rejected = await readRejectedContacts(world.db.database, WORKSPACE_ID);
    assert.deepEqual(rejected, { count: 1, appUserId: id });

    world.intercom.faults.clear();
    // The replay gets another three days of retries.
    world.intercom.faults.add({ method: 'PUT', pathPrefix: '/contacts', status: 500, times: 1 });
    await world.db.database.query(
      `update subscribers set failing_since = now() - interval '4 days' where failing_since is not null`,
    );
    await replayEvents(world.db.database, WORKSPACE_ID, { eventId: `${id}-1`, failedOnly: false });
    const [contact] = contactsOf(id);
    await until(() => contact?.customAttributes.subscription_status === 'active', 'the attributes');
    await until(async () => !(await isDue(id)), 'the end of the replay');
    assert.equal((await readRejectedContacts(world.db.database, WORKSPACE_ID)).count, 0);
  });

  test('a lookup that Intercom refuses waits a day, unless it is tried again', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ pathPrefix: '/contacts', status: 400 });
    await receive(world, id, { id: `${id}-1` });
    await reason(`${id}-1`, 'intercom_rejected');
    await until(async () => !(await isDue(id)), 'the end of the attempt');
    world.intercom.faults.clear();
    assert.equal((await stateOf(world, `${id}-1`))?.delivery, 'pending');

    const args = ['replay', '--workspace', WORKSPACE_ID, '--failed', '--json'];
    const { stdout, stderr } = await runCommandHere(addReplayCommand, args, {
      DATABASE_URL: world.db.url,
      INTERCOM_CLIENT_ID: CLIENT_ID,
      INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
    });
    assert.deepEqual(JSON.parse(stdout), { queued: 0, contacts: 1 }, stderr);
    await deliver(`${id}-1`);
    assert.equal(await retryRejectedContacts(world.db.database, WORKSPACE_ID), 0, 'a second replay');
  });

  test('contacts are made only where the workspace wants it, and only for identified customers', async () => {
    const [id, anonymous] = [customer(), `$RCAnonymousID:${customer()}`];
    await receive(world, id, { id: `${id}-1`, ...mail(`${id}@example.com`) });
    await reason(`${id}-1`, 'waiting_for_contact');
    assert.equal(contactsOf(id).length, 0);
    await setSettings(world, { contacts: { create: 'identified' } });
    await receive(world, anonymous, { id: `${anonymous}-1` });
    await reason(`${anonymous}-1`, 'waiting_for_contact');
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await deliver(`${id}-2`);
    assert.deepEqual(
      contactsOf(id).map((contact) => [contact.role, contact.email]),
      [['user', `${id}@example.com`]],
    );
    assert.equal(sentEvents(world, [`${id}-1`, `${id}-2`]).length, 2);
    assert.equal(contactsOf(anonymous).length, 0);
  });

  test('for attributes alone no contact is made, and it is looked up a few times', async () => {
    const id = customer();
    await setSettings(world, { contacts: { create: 'identified' } });
    const imported = [prepareEvent(recentEvent(id, { id: `${id}-1` }), NOW_MS)];
    const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
    await storeEvents(world.db.database, project, imported, { shouldDeliver: () => false });
    await until(() => is(id, 's.waiting and s.lease_owner is null'), 'the lookup');
    assert.equal(contactsOf(id).length, 0);
    assert.ok(await is(id, 's.due_at > now()'));
    await world.db.database.query(
      `update subscribers s set due_at = now(), attempts = 6 from subscriber_ids i
        where s.workspace_id = $1 and i.workspace_id = $1 and i.app_user_id = $2
          and i.subscriber_id = s.subscriber_id`,
      [WORKSPACE_ID, id],
    );
    await until(() => is(id, 's.waiting and s.due_at is null'), 'the last lookup');
  });

  test('a contact that the lookup missed is taken by the id in Intercom’s 409', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ pathPrefix: '/contacts/find_by_external_id', status: 404, times: 1 });
    await setSettings(world, { contacts: { create: 'identified' } });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    assert.equal((await stateOf(world, `${id}-1`))?.contact_id, contact.id);
  });

  test('an archived contact is unarchived for a new event', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: id,
      archived: true,
    });
    await setSettings(world, { contacts: { create: 'identified' } });
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    assert.equal(contact.archived, false);
    assert.deepEqual(
      contactsOf(id).map((found) => found.id),
      [contact.id],
    );
  });

  test('a merged contact is left by the Link of its 410', async () => {
    const id = customer();
    const user = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, id, { id: `${id}-1` });
    await until(() => user.customAttributes.rc_last_event === 'initial_purchase', 'the attributes');
    const survivor = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: customer(),
      customAttributes: { rc_billing_issue_at: 1_700_000_000 },
    });
    world.intercom.contacts.merge(user.id, survivor.id);
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await deliver(`${id}-2`);
    await until(() => survivor.customAttributes.rc_last_event === 'renewal', 'the survivor’s attributes');
    assert.equal((await stateOf(world, `${id}-2`))?.contact_id, survivor.id);
    assert.equal(survivor.customAttributes.rc_billing_issue_at, undefined, 'what was left over is cleared');
  });

  test('a linked contact that was merged is left by the Link of its 410, and the link moves', async () => {
    const id = customer();
    const linked = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: customer() });
    await receive(world, id, { id: `${id}-1` });
    await reason(`${id}-1`, 'waiting_for_contact');
    await linkContact(world, id, linked.id);
    await wakeForContact(world.db.database, WORKSPACE_ID, {
      contactId: linked.id,
      externalId: null,
      email: null,
    });
    await until(() => linked.customAttributes.rc_last_event === 'initial_purchase', 'the attributes');
    await until(async () => !(await isDue(id)), 'the end of the delivery');
    const survivor = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: customer() });
    world.intercom.contacts.merge(linked.id, survivor.id);
    // Without the event, only the attributes are sent and answered with 410.
    await setSettings(world, { events: { renewal: { enabled: false } } });
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await until(() => survivor.customAttributes.rc_last_event === 'renewal', 'the survivor’s attributes');
    assert.deepEqual(
      await world.db.database.query(
        `select l.contact_id from contact_links l join subscriber_ids i using (workspace_id, subscriber_id)
          where i.workspace_id = $1 and i.app_user_id = $2`,
        [WORKSPACE_ID, id],
      ),
      [{ contact_id: survivor.id }],
    );
  });

  test('the link that followed a merge gives way to the customer with the external id of the contact', async () => {
    const [former, id] = [customer(), customer()];
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    await receive(world, former, { id: `${former}-1` });
    await reason(`${former}-1`, 'waiting_for_contact');
    await linkContact(world, former, contact.id, {});
    await receive(world, id, { id: `${id}-1` });
    await until(() => contact.customAttributes.rc_app_user_id === id, 'the attributes');
    const links = await world.db.database.query(
      'select 1 from contact_links where workspace_id = $1 and contact_id = $2',
      [WORKSPACE_ID, contact.id],
    );
    assert.deepEqual(links, []);
  });

  test('a contact that is deleted while it is written to is replaced by that of another id', async () => {
    const id = customer();
    const deleted = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const other = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `${id}-alias` });
    // A lookup may still find the deleted contact.
    world.intercom.faults.add({ method: 'PUT', pathPrefix: `/contacts/${deleted.id}`, status: 404 });
    await receive(world, id, { id: `${id}-1`, aliases: [`${id}-alias`] });
    await until(() => other.customAttributes.subscription_status === 'active', 'the attributes');
  });

  test('a contact is not cleared before it is known which one merged customers have now', async () => {
    const [person, anonymous] = [customer(), `$RCAnonymousID:${customer()}`];
    const [own, former] = [person, anonymous].map((externalId) =>
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId }),
    );
    // The merge keeps the older customer, with its contact until another one is found.
    await receive(world, anonymous, { id: `${person}-1`, event_timestamp_ms: NOW_MS - 6 * DAY_MS });
    await receive(world, person, { id: `${person}-2` });
    await until(async () => !(await isAnyDue()), 'both contacts to be written');
    world.intercom.faults.add({ pathPrefix: '/contacts/find_by_external_id', status: 503, times: 1 });
    cleared.length = 0;
    await receive(world, person, { id: `${person}-3`, type: 'RENEWAL', aliases: [anonymous] });
    await deliver(`${person}-3`);
    await until(async () => !(await isAnyDue()), 'the attributes');
    assert.equal((await stateOf(world, `${person}-3`))?.contact_id, own?.id);
    assert.deepEqual([...new Set(cleared)], [former?.id]);
  });

  test('an attribute that exists with another type is written as that type; one that cannot is left out', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const { attributes } = world.intercom.state;
    const replace = (name: string, dataType: 'string' | 'options') => {
      const index = attributes.findIndex((each) => each.name === name && each.workspaceId === WORKSPACE_ID);
      const original = attributes[index];
      assert.ok(original);
      attributes[index] = { ...original, dataType, options: ['a', 'b'] };
      return () => {
        attributes[index] = original;
      };
    };
    const undo = [replace('expires_at', 'string'), replace('rc_product', 'options')];
    await receive(world, id, { id: `${id}-1` });
    await until(() => contact.customAttributes.subscription_status === 'active', 'the attributes');
    assert.equal(contact.customAttributes.expires_at, String(Math.floor((NOW_MS + 25 * DAY_MS) / 1_000)));
    assert.equal(contact.customAttributes.rc_product, undefined);
    await until(async () => !(await isDue(id)), 'the end of the round');
    const writes = await attributeWrites(id);
    await replayEvents(world.db.database, WORKSPACE_ID, { eventId: `${id}-1`, failedOnly: false });
    await until(async () => !(await isDue(id)), 'the end of the replay');
    assert.equal(await attributeWrites(id), writes, 'as that type it has not changed');
    for (const restore of undo) restore();
  });

  test('a list of options gets those of our values that it has', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const lists = world.intercom.state.attributes.filter(
      ({ name, workspaceId }) =>
        workspaceId === WORKSPACE_ID && ['subscription_status', 'rc_product'].includes(name),
    );
    for (const list of lists) Object.assign(list, { dataType: 'options', options: ['active', 'expired'] });
    await receive(world, id, { id: `${id}-1` });
    await until(() => contact.customAttributes.rc_last_event === 'initial_purchase', 'the attributes');
    assert.equal(contact.customAttributes.subscription_status, 'active');
    assert.equal(contact.customAttributes.rc_product, undefined);
    await until(async () => !(await isDue(id)), 'the end of the round');
    for (const list of lists) Object.assign(list, { dataType: 'string', options: [] });
  });

  test('an attribute that could not be created is written as soon as an admin has created it', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const attribute = world.intercom.state.attributes.find(
      ({ name, workspaceId }) => workspaceId === WORKSPACE_ID && name === 'rc_last_event',
    );
    assert.ok(attribute);
    attribute.archived = true;
    world.intercom.faults.add({ method: 'PUT', pathPrefix: '/data_attributes', status: 422 });
    await receive(world, id, { id: `${id}-1` });
    await until(() => contact.customAttributes.subscription_status === 'active', 'the other attributes');
    assert.equal(contact.customAttributes.rc_last_event, undefined);
    world.intercom.faults.clear();
    const accessToken = world.intercom.issueToken(WORKSPACE_ID);
    const client = createIntercomClient({ apiUrl: world.intercomUrl, accessToken });
    await provisionWith(client, world.db.database, WORKSPACE_ID);
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await until(() => contact.customAttributes.rc_last_event === 'renewal', 'all attributes');
  });

  test('a missing permission for events holds them back instead of failing them, and no attributes', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const unknown = customer();
    await receive(world, unknown, { id: `${unknown}-1` });
    await reason(`${unknown}-1`, 'waiting_for_contact');
    healthReports = 0;
    const off = world.intercom.faults.add({ pathPrefix: '/events', status: 403 });
    await receive(world, id, { id: `${id}-1` });
    await reason(`${id}-1`, 'intercom_scope_missing');
    const state = await stateOf(world, `${id}-1`);
    assert.equal(state?.delivery, 'pending');
    assert.equal(healthReports, 1);
    assert.ok(state?.next_try_at);
    const [contact] = contactsOf(id);
    await until(() => contact?.customAttributes.subscription_status === 'active', 'the attributes');
    const other = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: other });
    await receive(world, other, { id: `${other}-1` });
    await reason(`${other}-1`, 'intercom_scope_missing');
    await until(async () => !(await isAnyDue()), 'the end of the attempts');
    await world.db.database.query(
      `update event_deliveries set next_try_at = now() + interval '1 hour' where event_id = $1`,
      [`${other}-1`],
    );
    await world.db.database.query(
      `update subscribers set due_at = now() + interval '1 hour' where workspace_id = $1 and pending_events > 0`,
      [WORKSPACE_ID],
    );
    off();
    assert.equal(
      await replayEvents(world.db.database, WORKSPACE_ID, { eventId: `${id}-1`, failedOnly: false }),
      1,
    );
    await deliver(`${id}-1`);
    // The permission is back: the other events are retried immediately.
    await deliver(`${other}-1`);
    assert.equal(healthReports, 2);
    assert.ok(await is(unknown, 's.due_at > now() and s.lease_owner is null'), 'not who waits for a contact');
  });

  test('the three days of retrying do not include the time that an event waited', async () => {
    const [waiting, refused] = [customer(), customer()];
    await receive(world, waiting, { id: `${waiting}-1` });
    await reason(`${waiting}-1`, 'waiting_for_contact');
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: refused });
    const off = world.intercom.faults.add({ pathPrefix: '/events', status: 403 });
    await receive(world, refused, { id: `${refused}-1` });
    await reason(`${refused}-1`, 'intercom_scope_missing');
    await until(async () => !(await isDue(refused)), 'the end of the attempt');
    off();
    await world.db.database.query(
      `update event_deliveries set first_tried_at = first_tried_at - interval '7 days' where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    world.intercom.faults.add({ pathPrefix: '/events', status: 500, times: 2 });
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: waiting });
    await wakeForContact(world.db.database, WORKSPACE_ID, {
      contactId: 'x',
      externalId: waiting,
      email: null,
    });
    await deliver(`${waiting}-1`);
    await deliver(`${refused}-1`);
  });

  test('failures and lookups that found no contact do not make the pauses of each other longer', async () => {
    const id = customer();
    world.intercom.faults.add({ pathPrefix: '/contacts', status: 500, times: 3 });
    await receive(world, id, { id: `${id}-1` });
    await reason(`${id}-1`, 'intercom_unavailable');
    await reason(`${id}-1`, 'waiting_for_contact');
    await until(async () => !(await isDue(id)), 'the end of the attempt');
    const [row] = await world.db.database.query(
      `update subscribers s set attempts = 12 from subscriber_ids i
        where i.workspace_id = $1 and i.app_user_id = $2 and s.workspace_id = $1 and s.subscriber_id = i.subscriber_id
       returning s.due_at < now() + interval '11 minutes' as is_soon`,
      [WORKSPACE_ID, id],
    );
    assert.deepEqual(row, { is_soon: true }, 'the lookup after the first that found no contact');
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.intercom.faults.add({ pathPrefix: '/contacts', status: 500, times: 1 });
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await deliver(`${id}-2`);
    await until(async () => !(await isDue(id)), 'the end of the delivery');
    await world.db.database.query(
      `update subscribers s set attempts = 3, failing_since = now(), due_at = now() from subscriber_ids i
        where i.workspace_id = $1 and i.app_user_id = $2 and s.workspace_id = $1 and s.subscriber_id = i.subscriber_id`,
      [WORKSPACE_ID, id],
    );
    await until(
      () => is(id, 's.attempts = 0 and s.failing_since is null'),
      'a delivery that has nothing to send',
    );
  });

  test('a new webhook does not shorten the wait of the one before it, and keeps the order', async () => {
    const id = customer();
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    // The pauses after three failures, the first a quarter of a second, give the test the time to see one.
    world.intercom.faults.add({ pathPrefix: '/events', status: 500, times: 3 });
    await receive(world, id, { id: `${id}-1` });
    await reason(`${id}-1`, 'intercom_unavailable');
    const dueAt = (await stateOf(world, `${id}-1`))?.next_try_at?.getTime() ?? 0;
    await receive(world, id, { id: `${id}-2`, type: 'RENEWAL', event_timestamp_ms: NOW_MS - DAY_MS });
    await deliver(`${id}-2`);
    const sent = sentEvents(world, [`${id}-1`, `${id}-2`]);
    assert.deepEqual(
      sent.map((event) => event.metadata.event_id),
      [`${id}-1`, `${id}-2`],
    );
    assert.ok((sent[0]?.receivedAtMs ?? 0) >= dueAt);
  });

  test('replaying a span sends what was delivered again, of which Intercom keeps one, and what waits', async () => {
    const [id, other, waiting] = [customer(), customer(), customer()];
    for (const person of [id, other])
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: person });
    await receive(world, other, { id: `${other}-1` });
    await deliver(`${other}-1`);
    await receive(world, id, { id: `${id}-1` });
    await deliver(`${id}-1`);
    await receive(world, waiting, { id: `${waiting}-1` });
    await reason(`${waiting}-1`, 'waiting_for_contact');
    // A time that no event of another test has.
    await world.db.database.query(
      `update events set received_at = received_at + interval '1 hour'
        where workspace_id = $1 and event_id = any($2)`,
      [WORKSPACE_ID, [`${id}-1`, `${waiting}-1`]],
    );
    const duplicates = world.intercom.state.duplicateEvents;
    await until(async () => !(await isAnyDue()), 'the end of the first round');
    // Intercom's webhook about the contact is lost.
    world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: waiting });
    const writes = await attributeWrites(id);
    assert.equal(writes, 1);
    const measuredBefore = measured;
    const both = { failedOnly: true, eventId: `${id}-1` };
    assert.equal(await replayEvents(world.db.database, WORKSPACE_ID, both), 0, 'it has not failed');
    const queued = await replayEvents(world.db.database, WORKSPACE_ID, {
      failedOnly: false,
      sinceMs: Date.now() + 30 * 60_000,
    });
    assert.equal(queued, 2);
    await until(() => world.intercom.state.duplicateEvents === duplicates + 1, 'the repeat');
    await deliver(`${id}-1`);
    await deliver(`${waiting}-1`);
    assert.equal(sentEvents(world, [`${id}-1`]).length, 1);
    await until(async () => !(await isDue(id)), 'the end of the round');
    assert.equal(await attributeWrites(id), writes, 'the attributes are as they were');
    assert.equal(measured, measuredBefore, 'it says nothing of how long webhooks take');
  });

  test('an event fails after three days; a replay gives it three again, on the contact that accepted it', async () => {
    const id = customer();
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    const replay = (eventId: string) =>
      replayEvents(world.db.database, WORKSPACE_ID, { eventId, failedOnly: false });
    world.intercom.faults.add({ pathPrefix: '/events', status: 422, times: 1 });
    await receive(world, id, { id: `${id}-1` });
    await receive(world, id, { id: `${id}-2`, type: 'SUBSCRIBER_ALIAS' });
    await until(async () => (await stateOf(world, `${id}-1`))?.delivery === 'failed', 'the failure');
    await until(async () => !(await isDue(id)), 'the end of the delivery');
    await world.db.database.query(
      `update event_deliveries set first_tried_at = now() - interval '7 days' where event_id = $1`,
      [`${id}-1`],
    );
    assert.equal(await replay(`${id}-2`), 0, 'it is on the timeline only');
    for (const contactId of [null, contact.id]) {
      const off = world.intercom.faults.add({ pathPrefix: '/events', status: 500 });
      assert.equal(await replay(`${id}-1`), 1);
      await reason(`${id}-1`, 'intercom_unavailable');
      assert.equal((await stateOf(world, `${id}-1`))?.contact_id, contactId);
      await world.db.database.query(
        `update event_deliveries set first_tried_at = now() - interval '4 days' where event_id = $1`,
        [`${id}-1`],
      );
      await until(
        async () => (await stateOf(world, `${id}-1`))?.delivery === 'failed',
        'the end of its time',
      );
      off();
      assert.equal(await replay(`${id}-1`), 1);
      await deliver(`${id}-1`);
      await until(async () => !(await isDue(id)), 'the end of the delivery');
    }
  });

  test('the log of what went well is forgotten sooner than that of what did not', async () => {
    const { database } = world.db;
    await database.query(
      `insert into delivery_attempts (workspace_id, subscriber_id, event_id, at, request, code)
       select $1, gen_random_uuid(), code || '-' || days, now() - make_interval(days => days), '{}', code
         from (values ('ok', 29), ('ok', 31), ('intercom_rejected', 31), ('intercom_rejected', 91)) as t (code, days)`,
      [WORKSPACE_ID],
    );
    await database.query(
      `insert into notifications (workspace_id, notification_id, received_at)
       select $1, days::text, now() - make_interval(days => days) from unnest(array[6, 8]) as days`,
      [WORKSPACE_ID],
    );
    assert.equal(await deleteOldDeliveryRecords(database), 2);
    assert.deepEqual(await database.query('select notification_id as id from notifications'), [{ id: '6' }]);
    const rows = await database.query<{ event_id: string }>(
      `select event_id from delivery_attempts where workspace_id = $1 and at < now() - interval '1 day' order by 1`,
      [WORKSPACE_ID],
    );
    assert.deepEqual(
      rows.map((row) => row.event_id),
      ['intercom_rejected-31', 'ok-29'],
    );
  });
});
