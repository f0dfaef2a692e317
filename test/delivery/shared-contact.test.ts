import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { findPreferred, wakeForContact } from '../../src/contacts/repository.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { DAY_MS } from '../../src/time.ts';
import { hashSecret } from '../../src/workspaces/secrets.ts';
import { until } from '../support/wait.ts';
import { createWorld, PROJECT_ID, setSettings, WORKSPACE_ID, type World } from '../support/world.ts';
import { linkContact, NOW_MS, recentEvent, stateOf } from './support.ts';

/** `moved`: linked, and later linked to another contact. */
const LINK = fc.constantFrom('none', 'linked', 'moved');

const OTHER_PROJECT = `${WORKSPACE_ID}-p2`;

/** Intercom drops an event with the same name and second as another on the contact, whichever customer it is from. */
describe('two subscribers of one contact', () => {
  let world: World;
  before(async () => {
    world = await createWorld();
    await world.db.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ($1, $2, 'proj2', 'Second app', $3)`,
      [WORKSPACE_ID, OTHER_PROJECT, hashSecret('whk_other')],
    );
  });
  after(() => world?.close());

  async function receive(
    projectId: string,
    appUserId: string,
    id: string,
    fields: Record<string, unknown> = {},
  ): Promise<void> {
    const event = recentEvent(appUserId, { id, transaction_id: id, original_transaction_id: id, ...fields });
    const received = prepareEvent(event, NOW_MS);
    await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId }, [received]);
  }

  async function delivered(...ids: string[]): Promise<void> {
    await until(async () => {
      const states = await Promise.all(ids.map((id) => stateOf(world, id)));
      return states.every((state) => state?.delivery === 'delivered');
    }, 'both events');
  }

  async function isAnyBusy(): Promise<boolean> {
    const busy = await world.db.database.query(
      `select 1 from subscribers where workspace_id = $1 and (due_at <= now() or lease_owner is not null)`,
      [WORKSPACE_ID],
    );
    return busy.length > 0;
  }

  /** The seconds of a contact's events as Intercom stores them, without duplicates. */
  function seconds(contactId: string): number[] {
    return world.intercom.state.events
      .filter((event) => event.contactId === contactId)
      .map((event) => event.createdAtS)
      .toSorted();
  }
  const atS = Math.floor(Number(recentEvent('x', {}).event_timestamp_ms) / 1_000);

  test('with one id in two projects, both events of one second are on the contact', async () => {
    const contacts: string[] = [];
    for (let n = 0; n < 20; n += 1) {
      contacts.push(world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `both-${n}` }).id);
      await receive(PROJECT_ID, `both-${n}`, `first-${n}`);
      await receive(OTHER_PROJECT, `both-${n}`, `second-${n}`);
    }
    // Starts only now, so that both subscribers of a contact are claimed at the same time.
    world.worker();
    await delivered(...contacts.flatMap((_, n) => [`first-${n}`, `second-${n}`]));
    for (const contactId of contacts) assert.deepEqual(seconds(contactId), [atS, atS + 1]);
  });

  test('the attributes are those of the customer of the latest event, never of both', async () => {
    const { customAttributes } = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: 'mixed',
    });
    const wait = async (attribute: string, value: unknown) => {
      await until(() => customAttributes[attribute] === value, `${attribute}: ${value}`);
      await until(async () => !(await isAnyBusy()), 'what was written to be stored');
    };
    await receive(PROJECT_ID, 'mixed', 'mixed-1');
    await wait('subscription_status', 'active');
    const ended = {
      type: 'EXPIRATION',
      product_id: 'other',
      expiration_at_ms: NOW_MS - DAY_MS,
      store: 'STRIPE',
    };
    await receive(OTHER_PROJECT, 'mixed', 'mixed-2', ended);
    await wait('subscription_status', 'expired');
    await receive(PROJECT_ID, 'mixed', 'mixed-3', {
      type: 'UNCANCELLATION',
      event_timestamp_ms: NOW_MS - DAY_MS,
    });
    await wait('rc_last_event', 'uncancellation');
    const shown = () =>
      ['subscription_status', 'rc_product', 'latest_store'].map((name) => customAttributes[name]);
    assert.deepEqual(shown(), ['active', 'pro_monthly', 'APP_STORE']);

    world.intercom.faults.add({ method: 'PUT', pathPrefix: '/contacts/', status: 500, times: 1 });
    const againMs = NOW_MS - DAY_MS / 2;
    await receive(OTHER_PROJECT, 'mixed', 'mixed-4', { ...ended, event_timestamp_ms: againMs });
    await wait('rc_last_event_at', Math.floor(againMs / 1_000));
    assert.deepEqual(shown(), ['expired', 'other', 'STRIPE'], 'on the second attempt');

    // Without a new event, as when time ends the older subscription or the contact is written again.
    await world.db.database.query(
      `update subscribers set due_at = now(), version = version + 1, attributes_written = null
        where workspace_id = $1 and contact_id is not null`,
      [WORKSPACE_ID],
    );
    await wait('rc_last_event_at', Math.floor(againMs / 1_000));
    assert.deepEqual(shown(), ['expired', 'other', 'STRIPE'], 'whoever is delivered last');
    await receive(PROJECT_ID, 'mixed', 'mixed-5', {
      type: 'RENEWAL',
      event_timestamp_ms: NOW_MS - 2 * DAY_MS,
    });
    await delivered('mixed-5');
    await wait('rc_last_event_at', Math.floor(againMs / 1_000));
    assert.deepEqual(shown(), ['expired', 'other', 'STRIPE'], 'after an older event that came late');

    // A sandbox event of the other customer, however late, says nothing about what they own.
    await receive(PROJECT_ID, 'mixed', 'mixed-6', {
      environment: 'SANDBOX',
      event_timestamp_ms: NOW_MS - 1_000,
    });
    const latestMs = NOW_MS - 2_000;
    await receive(OTHER_PROJECT, 'mixed', 'mixed-7', { ...ended, event_timestamp_ms: latestMs });
    await wait('rc_last_event_at', Math.floor(latestMs / 1_000));
  });

  test('a disconnected project changes no attributes, and holds back none of another one', async () => {
    const { customAttributes } = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: 'left',
    });
    const disconnect = (hash: string) =>
      world.db.database.query(
        'update projects set webhook_auth_hash = $3 where workspace_id = $1 and project_id = $2',
        [WORKSPACE_ID, OTHER_PROJECT, hash],
      );
    const wake = () =>
      world.db.database.query(
        `update subscribers set due_at = now(), version = version + 1, attributes_written = null
          where workspace_id = $1 and subscriber_id in (select subscriber_id from subscriber_ids
                                                         where workspace_id = $1 and app_user_id = 'left')`,
        [WORKSPACE_ID],
      );
    const shown = () => [customAttributes.subscription_status, customAttributes.rc_product];
    const other = {
      product_id: 'other',
      store: 'STRIPE',
      original_transaction_id: 'left',
      event_timestamp_ms: NOW_MS - DAY_MS,
    };
    await receive(OTHER_PROJECT, 'left', 'left-1', other);
    await until(() => customAttributes.rc_product === 'other', 'the attributes of the only project');
    await delivered('left-1');
    await disconnect('');
    // No webhook would report a renewal any more, so the attributes stay. Events that had arrived are still sent.
    await receive(OTHER_PROJECT, 'left', 'left-2', {
      ...other,
      type: 'EXPIRATION',
      expiration_at_ms: NOW_MS,
    });
    await delivered('left-2');
    await until(async () => !(await isAnyBusy()), 'the end of its delivery');
    assert.deepEqual(shown(), ['active', 'other']);
    await receive(PROJECT_ID, 'left', 'left-3', { event_timestamp_ms: NOW_MS - 2 * DAY_MS });
    await until(() => customAttributes.rc_product === 'pro_monthly', 'those of the connected project');
    await disconnect(hashSecret('whk_other'));
    await wake();
    await until(
      () => customAttributes.subscription_status === 'expired',
      'those of both when connected again',
    );
    assert.deepEqual(shown(), ['expired', 'other']);
  });

  test('linked to one contact by a teammate, too', async () => {
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'linked' });
    await receive(PROJECT_ID, 'linked', 'of-the-contact');
    await delivered('of-the-contact');
    await receive(PROJECT_ID, 'stranger', 'of-the-stranger');
    await until(
      async () => (await stateOf(world, 'of-the-stranger'))?.reason === 'waiting_for_contact',
      'it',
    );
    await linkContact(world, 'stranger', contact.id);
    // Also raises the version, because the worker may not have released this customer's lease yet.
    await world.db.database.query(
      `update subscribers set due_at = now(), version = version + 1 where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    await delivered('of-the-stranger');
    assert.deepEqual(seconds(contact.id), [atS, atS + 1]);
  });

  test('when one of them gets another contact, the other writes its attributes again', async () => {
    const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'leaver' });
    await receive(OTHER_PROJECT, 'leaver', 'of-who-stays', { event_timestamp_ms: NOW_MS - 6 * DAY_MS });
    await delivered('of-who-stays');
    const ended = { type: 'EXPIRATION', expiration_at_ms: NOW_MS - DAY_MS };
    await receive(PROJECT_ID, 'leaver', 'of-who-leaves', ended);
    await until(() => contact.customAttributes.subscription_status === 'expired', 'the attributes of both');
    const own = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'own' });
    await linkContact(world, 'leaver', own.id);
    await wakeForContact(world.db.database, WORKSPACE_ID, {
      contactId: own.id,
      externalId: null,
      email: null,
    });
    await until(() => own.customAttributes.subscription_status === 'expired', 'the other contact');
    await until(() => contact.customAttributes.subscription_status === 'active', 'the former contact');
  });

  test('attributes that arrive late do not stay over those of a later event in another project', async () => {
    const { id, customAttributes } = world.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: 'late',
    });
    const { faults } = world.intercom;
    await receive(OTHER_PROJECT, 'late', 'late-1', { event_timestamp_ms: NOW_MS - 3 * DAY_MS });
    await receive(PROJECT_ID, 'late', 'late-2', { event_timestamp_ms: NOW_MS - 2 * DAY_MS });
    await delivered('late-1', 'late-2');
    await until(async () => !(await isAnyBusy()), 'what was written to be stored');
    faults.clearRequests();
    faults.add({ pathPrefix: `/contacts/${id}`, method: 'PUT', latencyMs: 1_000, times: 1 });
    await receive(PROJECT_ID, 'late', 'late-3', {
      type: 'UNCANCELLATION',
      event_timestamp_ms: NOW_MS - DAY_MS,
    });
    await until(() => faults.list().length === 0, 'the slow call');
    const ended = { type: 'EXPIRATION', expiration_at_ms: NOW_MS - DAY_MS };
    await receive(OTHER_PROJECT, 'late', 'late-4', { ...ended, event_timestamp_ms: NOW_MS - DAY_MS / 2 });
    const late = () =>
      faults.requests().some(({ body }) => JSON.stringify(body ?? null).includes('"uncancellation"'));
    await until(late, 'the slow call to end');
    await until(() => customAttributes.rc_last_event === 'expiration', 'those of the latest event');
  });

  test('found by e-mail in deliveries that run at the same time, neither of which knew the contact', async () => {
    await setSettings(world, { contacts: { matchByEmail: true } });
    const contacts: string[] = [];
    for (let n = 0; n < 20; n += 1) {
      const email = `family-${n}@example.com`;
      contacts.push(world.intercom.addContact(WORKSPACE_ID, { role: 'user', email }).id);
      const fields = { subscriber_attributes: { $email: { value: email, updated_at_ms: NOW_MS } } };
      await receive(PROJECT_ID, `parent-${n}`, `parent-${n}`, fields);
      await receive(PROJECT_ID, `child-${n}`, `child-${n}`, fields);
    }
    // Both lookups of a contact end before either delivery sends.
    world.intercom.faults.add({ pathPrefix: '/contacts', latencyMs: 30 });
    await world.db.database.query(`select pg_notify('delivery', $1)`, [WORKSPACE_ID]);
    await delivered(...contacts.flatMap((_, n) => [`parent-${n}`, `child-${n}`]));
    for (const contactId of contacts) assert.deepEqual(seconds(contactId), [atS, atS + 1]);
  });

  test('found by e-mail alone: the attributes are those of the customer of the latest event', async () => {
    await setSettings(world, { contacts: { matchByEmail: true } });
    const email = 'couple@example.com';
    const { customAttributes } = world.intercom.addContact(WORKSPACE_ID, { role: 'user', email });
    const ofCouple = (id: string, daysAgo: number) =>
      receive(PROJECT_ID, id, `${id}-${daysAgo}`, {
        type: daysAgo === 5 ? 'INITIAL_PURCHASE' : 'UNCANCELLATION',
        event_timestamp_ms: NOW_MS - daysAgo * DAY_MS,
        subscriber_attributes: { $email: { value: email, updated_at_ms: NOW_MS } },
      });
    const shown = async (id: string) => {
      await until(() => customAttributes.rc_app_user_id === id, `the attributes of ${id}`);
      await until(async () => !(await isAnyBusy()), 'what was written to be stored');
      assert.equal(customAttributes.rc_app_user_id, id);
    };
    await ofCouple('couple-a', 5);
    await shown('couple-a');
    await ofCouple('couple-b', 3);
    await shown('couple-b');
    await ofCouple('couple-a', 4);
    await delivered('couple-a-4');
    await shown('couple-b');
    await ofCouple('couple-a', 2);
    await shown('couple-a');
  });

  test('of however many customers of a contact, exactly one writes its attributes', async () => {
    const { database } = world.db;
    const customers = fc.array(fc.record({ project: fc.constantFrom('a', 'b', 'c'), link: LINK }), {
      minLength: 1,
      maxLength: 5,
    });
    const check = async (drawn: readonly { project: string; link: string }[]): Promise<void> => {
      for (const table of ['events', 'contact_links', 'subscribers'])
        await database.query(`delete from ${table} where workspace_id = 'many'`);
      const linked = new Set<string>();
      const stored = drawn.map(({ project, link }, n) => {
        // A contact is linked to at most one customer per project.
        const isLinked = link !== 'none' && !linked.has(project);
        if (isLinked) linked.add(project);
        const contactId = isLinked && link === 'moved' ? 'other' : 'shared';
        return { subscriberId: randomUUID(), projectId: project, contactId, isLinked, lastEventMs: n + 1 };
      });
      for (const { subscriberId, projectId, contactId, isLinked, lastEventMs } of stored) {
        const key = ['many', projectId, subscriberId];
        await database.query(
          `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id) values ($1, $2, $3, $4)`,
          [...key, contactId],
        );
        await database.query(
          `insert into events (workspace_id, project_id, subscriber_id, event_id, type, kind, event_at_ms, fields)
           values ($1, $2, $3::uuid, $3::text, 'RENEWAL', 'renewal', $4, '{}')`,
          [...key, lastEventMs],
        );
        // The newest link first.
        const links = contactId === 'other' ? ['other', 'shared'] : ['shared'];
        for (const [days, linkedTo] of isLinked ? links.entries() : [])
          await database.query(
            `insert into contact_links (workspace_id, project_id, subscriber_id, contact_id, made_by, made_at)
             values ($1, $2, $3, $4, '{}', now() - make_interval(days => $5))`,
            [...key, linkedTo, days],
          );
      }
      const ids = stored.map(({ subscriberId }) => subscriberId);
      const shown = await Promise.all(
        stored
          .filter(({ contactId }) => contactId === 'shared')
          .map((each) =>
            findPreferred(
              database,
              { workspaceId: 'many', ...each },
              { ...each, others: ids.filter((id) => id !== each.subscriberId) },
            ),
          ),
      );
      if (shown.length > 0) assert.equal(shown.filter((preferred) => preferred.length === 0).length, 1);
    };
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       select 'many', id, id, id, 'hash' from unnest(array['a', 'b', 'c']) id`,
    );
    await fc.assert(fc.asyncProperty(customers, check), { numRuns: 100 });
  });
});
