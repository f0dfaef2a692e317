import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { saveLink } from '../../src/contacts/repository.ts';
import { isOutdated } from '../../src/inbox-card/context.ts';
import type { Contact } from '../../src/simulator/intercom/state.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import {
  agedFormState,
  forge,
  idsOn,
  type OpenCard,
  openAgain,
  openFor,
  send,
  settled,
  subscriberIdOf,
  tell,
  textOf,
} from './support.ts';

/** Opens the search on the card of a contact that already has a customer. */
async function searchOn(card: OpenCard): Promise<OpenCard> {
  return (await card.press('details')).press('match');
}

describe('linking a customer', () => {
  let product: Product;
  before(async () => {
    product = await createProduct();
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7002', name: 'Bea Agent', email: 'bea@example.com' });
    for (const appUserId of ['user_a', 'user_b', 'user_c', 'user_d']) {
      await tell(product, 'active_monthly', { appUserId });
    }
  });
  after(() => product?.close());

  const database = () => product.server.connected.database;
  const idOf = (appUserId: string): Promise<string> => subscriberIdOf(product, appUserId);
  const linkOf = async (contactId: string): Promise<string | null> => {
    const [row] = await database().query<{ subscriber_id: string }>(
      `select subscriber_id from contact_links where workspace_id = $1 and contact_id = $2`,
      [WORKSPACE_ID, contactId],
    );
    return row?.subscriber_id ?? null;
  };
  /** Presses again if a delivery has changed what the teammate reviewed. */
  const confirm = async (review: OpenCard): Promise<void> => {
    let shown = review;
    do shown = await shown.press('match.confirm');
    while (shown.text.includes('Something changed'));
    assert.match(shown.text, /^✅ Linked to /m);
  };
  const link = async (search: OpenCard, appUserId: string): Promise<void> => {
    const found = await search.press('match.search', { 'match.query': appUserId });
    await confirm(await found.press(`match:${await idOf(appUserId)}`));
  };
  const foundBy = async (contactId: string) => {
    const rows = await database().query<{ found_by: string }>(
      `select details->>'found_by' as found_by from audit_log
        where workspace_id = $1 and contact_id = $2 and action = 'link' order by audit_id`,
      [WORKSPACE_ID, contactId],
    );
    return rows.map((row) => row.found_by);
  };

  test('what changed since the review is shown again before anything is linked', async () => {
    const card = await openFor(product, { role: 'lead' });
    const [a, b] = [await idOf('user_a'), await idOf('user_b')];
    const found = await card.press('match.search', { 'match.query': 'user_a' });
    const review = await found.press(`match:${a}`);
    // Another teammate links the contact to another customer in between.
    const other = await openAgain(product, card, { adminId: '7002' });
    const theirs = await other.press('match.search', { 'match.query': 'user_b' });
    await (await theirs.press(`match:${b}`)).press('match.confirm');

    const again = await review.press('match.confirm');
    assert.match(again.text, /^Something changed since you reviewed this\. Please check again\.$/m);
    assert.match(again.text, /^This replaces the link to user_b\.$/m);
    assert.equal(await linkOf(card.contactId), b, 'the first link is still there');
    await again.press('match.confirm');
    assert.equal(await linkOf(card.contactId), a);
    assert.deepEqual(await foundBy(card.contactId), ['app_user_id', 'app_user_id']);
  });

  test('says before the click that the events go to another contact until now', async () => {
    product.intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: 'user_owned' });
    await tell(product, 'active_monthly', { appUserId: 'user_owned' });
    await until(async () => {
      const [row] = await database().query<{ contact_id: string | null }>(
        `select contact_id from subscribers where workspace_id = $1 and subscriber_id = $2`,
        [WORKSPACE_ID, await idOf('user_owned')],
      );
      return row?.contact_id != null;
    }, 'the contact');
    const card = await openFor(product, { role: 'lead' });
    const reviewOf = async (appUserId: string) =>
      (await card.press('match.search', { 'match.query': appUserId })).press(
        `match:${await idOf(appUserId)}`,
      );
    assert.match(
      (await reviewOf('user_owned')).text,
      /with your name\. This customer belongs to another contact now\. From now on their events go to this contact instead\./,
    );
    assert.match(
      (await reviewOf('user_d')).text,
      /with your name\. From now on this customer's events go to this contact\.$/m,
    );
  });

  test('a subscriber that no list of ours named is audited as such', async () => {
    const card = await openFor(product, { role: 'lead' });
    const id = `match:${await idOf('user_c')}`;
    const review = await forge(product, card, id);
    const confirmed = await forge(product, card, 'match.confirm', {
      storedData: review.canvas?.stored_data as Record<string, unknown>,
    });
    assert.match(textOf(confirmed.canvas), /^✅ Linked to user_c\.$/m);
    assert.deepEqual(await foundBy(card.contactId), ['unknown']);
  });

  test('two concurrent clicks link once, with one record', async () => {
    const card = await openFor(product, { role: 'lead' });
    const found = await card.press('match.search', { 'match.query': 'user_c' });
    const review = await found.press(`match:${await idOf('user_c')}`);
    const both = await Promise.all([review.press('match.confirm'), review.press('match.confirm')]);
    for (const { text } of both) assert.match(text, /^✅ Linked to user_c\.$/m);
    assert.equal((await foundBy(review.contactId)).length, 1);
  });

  test('a link is removed only from the details or the search that showed it', async () => {
    const card = await openFor(product, { role: 'lead' });
    const id = await idOf('user_b');
    await link(card, 'user_b');
    const opened = await openAgain(product, card);
    const forged = await forge(product, opened, 'unlink', { storedData: {} });
    assert.match(textOf(forged.canvas), /^Remove the link to this contact$/m, 'the details are shown');
    assert.equal(await linkOf(card.contactId), id);
    const removed = await (await opened.press('details')).press('unlink');
    assert.match(removed.text, /^✅ The link to user_b was removed\.$/m);
    assert.equal(await linkOf(card.contactId), null);
    // Undoing an accidental unlink records that the link was made before.
    await confirm(await removed.press(`match:${id}`));
    assert.deepEqual(await foundBy(card.contactId), ['app_user_id', 'earlier_link']);
    await (await searchOn(await openAgain(product, card))).press('unlink');
    assert.equal(await linkOf(card.contactId), null);
  });

  test('a contact that is unlinked loses the attributes of the customer, unless it has the customer’s id', async () => {
    const lead = await openFor(product, { role: 'lead' });
    const own = await openFor(product, { role: 'user', externalId: 'user_d' });
    const subscriberId = await idOf('user_d');
    const attributesOf = (contactId: string) =>
      product.intercom.state.contacts.get(contactId)?.customAttributes ?? {};
    const hasStatus = (contactId: string) => attributesOf(contactId).subscription_status === 'active';
    const unlink = async (card: typeof lead) =>
      (await (await openAgain(product, card)).press('details')).press('unlink');
    await link(lead, 'user_d');
    await until(() => hasStatus(lead.contactId), 'the attributes of the linked contact', 15_000);
    await unlink(lead);
    await until(() => hasStatus(own.contactId), 'the attributes of the contact with the id', 15_000);
    await saveLink(database(), {
      workspaceId: WORKSPACE_ID,
      contactId: own.contactId,
      projectId: new URL(product.webhook.url).pathname.split('/').at(-1) ?? '',
      subscriberId,
      madeBy: { id: '7002', name: 'Bea Agent' },
    });
    await unlink(own);
    product.intercom.faults.add({
      method: 'PUT',
      pathPrefix: `/contacts/${lead.contactId}`,
      status: 500,
      times: 1,
    });
    const isCleared = async () =>
      (
        await database().query(
          `select 1 from pgboss.job where name = 'contact.clear' and state < 'completed'`,
        )
      ).length === 0;
    await until(isCleared, 'both jobs', 30_000);
    assert.deepEqual(attributesOf(lead.contactId), {});
    const written = product.intercom.faults
      .requests()
      .filter(({ method, path }) => method === 'PUT' && path === `/contacts/${own.contactId}`);
    assert.ok(written.length > 0);
    for (const { body } of written) assert.match(JSON.stringify(body), /"subscription_status":"active"/);
  });

  /** Skips the pause before a contact is cleared. */
  const clearNow = () =>
    database().query(
      `update pgboss.job set start_after = now() where name = 'contact.clear' and state = 'created'`,
    );

  test('a contact that is unlinked while Intercom is disconnected is cleared when it is connected again', async () => {
    const lead = await openFor(product, { role: 'lead' });
    const attributes = () => product.intercom.state.contacts.get(lead.contactId)?.customAttributes ?? {};
    await link(lead, 'user_c');
    await until(() => attributes().subscription_status === 'active', 'the attributes', 15_000);
    const setStatus = (status: string) =>
      database().query('update workspaces set status = $2 where workspace_id = $1', [WORKSPACE_ID, status]);
    await setStatus('disconnected');
    await (await (await openAgain(product, lead)).press('details')).press('unlink');
    await clearNow();
    const waiting = `select 1 from pgboss.job where name = 'contact.clear' and state = 'created'
                        and data->>'contactId' = $1 and start_after > now() + interval '5 minutes'`;
    await until(
      async () => (await database().query(waiting, [lead.contactId])).length === 1,
      'the job to wait',
    );
    assert.equal(attributes().subscription_status, 'active');
    await setStatus('connected');
    await clearNow();
    await until(() => Object.keys(attributes()).length === 0, 'the contact to be cleared', 15_000);
  });

  test('a lead that does not accept null is cleared with empty texts', async () => {
    const lead = await openFor(product, { role: 'lead' });
    const status = () =>
      product.intercom.state.contacts.get(lead.contactId)?.customAttributes.subscription_status;
    await link(lead, 'user_c');
    await until(() => status() === 'active', 'the attributes', 15_000);
    await (await (await openAgain(product, lead)).press('details')).press('unlink');
    product.intercom.faults.add({
      method: 'PUT',
      pathPrefix: `/contacts/${lead.contactId}`,
      status: 422,
      times: 1,
    });
    await clearNow();
    await until(() => status() === '', 'the contact to be cleared', 15_000);
  });

  test('a contact that is linked again while a clear of it gets no answer has the attributes in the end', async () => {
    const { faults, state } = product.intercom;
    const lead = await openFor(product, { role: 'lead' });
    const isActive = () =>
      state.contacts.get(lead.contactId)?.customAttributes.subscription_status === 'active';
    const puts = () => faults.requests().filter(({ path }) => path === `/contacts/${lead.contactId}`);
    await link(lead, 'user_c');
    await until(isActive, 'the attributes', 15_000);
    await (await (await openAgain(product, lead)).press('details')).press('unlink');
    faults.clearRequests();
    const pathPrefix = `/contacts/${lead.contactId}`;
    faults.add({ method: 'PUT', pathPrefix, times: 1, latencyMs: 3_000, drop: 'after' });
    await clearNow();
    await until(() => faults.list().length === 0, 'the clear to be sent', 15_000);
    await link(await openAgain(product, lead), 'user_c');
    await until(
      () => puts().some(({ method, status }) => method === 'PUT' && status === null),
      'the clear to be cut off',
      15_000,
    );
    await until(isActive, 'the attributes again', 30_000);
  });

  test('a contact loses the attributes of a customer who gets another one, however that happens', async () => {
    const { intercom, revenueCat } = product;
    intercom.state.webhookEndpoint = `${product.server.url}/webhooks/intercom`;
    const contactFor = (externalId: string) =>
      intercom.addContact(WORKSPACE_ID, { role: 'user', externalId });
    const isWritten = (contact: Contact) => contact.customAttributes.subscription_status !== undefined;
    const written = (contact: Contact) => until(() => isWritten(contact), 'the attributes', 15_000);
    let at = Date.now() - 60_000;
    const bought = (...aliases: [string, ...string[]]) => {
      at += 1_000;
      const event = {
        app_user_id: aliases[0],
        original_app_user_id: aliases[0],
        aliases,
        event_timestamp_ms: at,
      };
      return revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, eventBody(event) as never);
    };
    const anonymous = ['a', 'b', 'c', 'd'].map((name) => `$RCAnonymousID:${name}`) as [
      string,
      string,
      string,
      string,
    ];
    const before = anonymous.map(contactFor);
    const older = contactFor('person_d');
    await bought('person_d');
    await written(older);
    await bought(anonymous[0]);
    await bought(anonymous[1], 'person_b');
    await bought(anonymous[2]);
    await bought(anonymous[3]);
    for (const contact of before) await written(contact);

    const logsIn = contactFor('person_a');
    await bought('person_a', anonymous[0]);
    const created = intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: 'person_b' });
    const merged = contactFor('person_c');
    await bought('person_c');
    await written(merged);
    await bought('person_c', anonymous[2]);
    await bought('person_d', anonymous[3]);
    for (const contact of [logsIn, created, merged]) await written(contact);
    await until(
      async () => {
        await clearNow();
        return !before.some(isWritten);
      },
      'the contacts before to be cleared',
      20_000,
    );
    assert.ok([logsIn, created, merged, older].every(isWritten));
    intercom.state.webhookEndpoint = null;
  });

  test('a contact that is linked to another customer loses the attributes of the first, whatever the other has', async () => {
    const lead = await openFor(product, { role: 'lead' });
    const attributes = () => product.intercom.state.contacts.get(lead.contactId)?.customAttributes ?? {};
    const [bought] = await tell(product, 'active_monthly', { appUserId: 'user_e' });
    assert.ok(bought);
    const test = { id: 'sandbox-only', environment: 'SANDBOX', app_user_id: 'user_f', aliases: ['user_f'] };
    await send(product, { ...bought, ...test, original_app_user_id: 'user_f' });
    await link(lead, 'user_e');
    await until(() => attributes().subscription_status === 'active', 'the attributes of the first', 15_000);
    await link(await searchOn(await openAgain(product, lead)), 'user_f');
    await clearNow();
    await until(() => Object.keys(attributes()).length === 0, 'nothing is left', 20_000);

    // The other customer already has the contact, because their sandbox events are sent to it.
    await database().query(
      `update workspaces set settings = jsonb_set(settings, '{sandbox}', '{"deliver": true}') where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    await send(product, { ...bought, ...test, original_app_user_id: 'user_f', id: 'sandbox-sent' });
    const isSent = async () =>
      (
        await database().query(
          `select 1 from event_deliveries where event_id = 'sandbox-sent' and delivered_at > now() - interval '1 hour'`,
        )
      ).length > 0;
    await until(isSent, 'the test on the contact', 15_000);
    await link(await searchOn(await openAgain(product, lead)), 'user_e');
    await until(() => attributes().subscription_status === 'active', 'the attributes of the first', 15_000);
    await clearNow();
    await link(await searchOn(await openAgain(product, lead)), 'user_f');
    await until(
      async () => {
        await clearNow();
        return Object.keys(attributes()).length === 0;
      },
      'nothing is left of the first',
      20_000,
    );
    await database().query(`update workspaces set settings = settings - 'sandbox' where workspace_id = $1`, [
      WORKSPACE_ID,
    ]);
  });

  test('of a contact that two customers have, the one who stays is written when the other leaves', async () => {
    const first = await openFor(product, { role: 'user', externalId: 'user_h' });
    const attributes = () => product.intercom.state.contacts.get(first.contactId)?.customAttributes ?? {};
    const is = (name: string, value: unknown) => until(() => attributes()[name] === value, name, 15_000);
    await tell(product, 'expired_by_billing', { appUserId: 'user_h' });
    await is('subscription_status', 'expired');
    await tell(product, 'active_monthly', { appUserId: 'user_i' });
    await link(await searchOn(await openAgain(product, first)), 'user_i');
    await is('rc_app_user_id', 'user_i');
    await link(await openFor(product, { role: 'lead' }), 'user_i');
    await is('rc_app_user_id', 'user_h');
    assert.equal(attributes().subscription_status, 'expired');
  });

  test('attributes of the customer before that arrive after those of the linked one do not stay', async () => {
    const { faults, state } = product.intercom;
    const { contactId, press } = await openFor(product, { role: 'user', externalId: 'user_p' });
    await tell(product, 'active_monthly', { appUserId: 'user_q' });
    const found = await press('match.search', { 'match.query': 'user_q' });
    const review = await found.press(`match:${await idOf('user_q')}`);
    const path = `/contacts/${contactId}`;
    faults.clearRequests();
    faults.add({ pathPrefix: path, method: 'PUT', latencyMs: 1_000, times: 1 });
    await tell(product, 'expired_by_billing', { appUserId: 'user_p' });
    await until(() => faults.list().length === 0, 'the slow call');
    await review.press('match.confirm');
    const written = () =>
      faults
        .requests()
        .flatMap(({ method, path: to, body }) => (method === 'PUT' && to === path ? [body] : []));
    const isOf = (body: unknown, appUserId: string) => JSON.stringify(body).includes(`"${appUserId}"`);
    await until(() => written().some((body) => isOf(body, 'user_p')), 'the slow call to end');
    const attributes = () => state.contacts.get(contactId)?.customAttributes ?? {};
    await until(() => attributes().rc_app_user_id === 'user_q', 'those of the linked customer');
  });

  test('events of one second of the linked customer and of the one before are both on the contact', async () => {
    const card = await openFor(product, { role: 'user', externalId: 'user_j' });
    const event_timestamp_ms = Date.now() - 60_000;
    const [bought] = await tell(product, 'active_monthly', { appUserId: 'user_j' });
    assert.ok(bought);
    const events = ['user_j', 'user_k'].map((id) => {
      const who = { app_user_id: id, original_app_user_id: id, aliases: [id] };
      return { ...bought, ...who, id: `${id}-same`, type: 'UNCANCELLATION', event_timestamp_ms };
    });
    const sent = () =>
      product.intercom.state.events
        .filter(({ contactId }) => contactId === card.contactId)
        .map(({ metadata }) => metadata.event_id);
    for (const event of events) await send(product, event as typeof bought);
    await until(() => sent().includes('user_j-same'), 'the event of the first', 15_000);
    await link(await searchOn(await openAgain(product, card)), 'user_k');
    await until(() => sent().includes('user_k-same'), 'the event of the second', 15_000);
    assert.ok(sent().includes('user_j-same'));
  });

  test('a link follows its lead into the user that it is merged into, though no event comes', async () => {
    const { intercom } = product;
    intercom.state.webhookEndpoint = `${product.server.url}/webhooks/intercom`;
    const lead = await openFor(product, { role: 'lead' });
    await link(lead, 'user_b');
    const user = await openFor(product, { role: 'user', externalId: 'not-an-app-user-id' });
    intercom.contacts.merge(lead.contactId, user.contactId);
    const isFound = async () => idsOn((await openAgain(product, user)).canvas).includes('details');
    await until(isFound, 'the customer on the card of the user', 15_000);
    assert.equal(await linkOf(user.contactId), await idOf('user_b'));
    intercom.state.webhookEndpoint = null;
  });

  for (const hasWebhook of [true, false]) {
    const how = hasWebhook ? 'by its webhook' : 'by its 410';
    test(`a customer is on the card of the user that theirs is merged into, ${how}`, async () => {
      const { intercom } = product;
      const appUserId = `merged_${hasWebhook}`;
      const merged = await openFor(product, { externalId: appUserId });
      const [bought] = await tell(product, 'active_monthly', { appUserId });
      assert.ok(bought);
      await settled(product);
      const other = await openFor(product, { externalId: `not_${appUserId}` });
      const endpoint = `${product.server.url}/webhooks/intercom`;
      intercom.state.webhookEndpoint = hasWebhook ? endpoint : null;
      intercom.contacts.merge(merged.contactId, other.contactId);
      const event = {
        ...bought,
        id: `${appUserId}-2`,
        type: 'UNCANCELLATION',
        event_timestamp_ms: Date.now(),
      };
      if (!hasWebhook) await send(product, event as typeof bought);
      const isFound = async () => idsOn((await openAgain(product, other)).canvas).includes('details');
      await until(isFound, 'the customer on the card', 15_000);
      const card = await openAgain(product, other);
      assert.match(card.text, new RegExp(`${appUserId}\\b.* · Matched by user ID`));
      assert.doesNotMatch((await card.press('details')).text, /Linked by|Unlink/);
      // The customer's app may later create a contact with this ID again.
      intercom.state.webhookEndpoint = endpoint;
      const own = intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: appUserId });
      intercom.state.webhookEndpoint = null;
      await until(() => own.customAttributes.rc_app_user_id === appUserId, 'the attributes', 15_000);
    });
  }

  test('a review or details older than 30 minutes are shown again', async () => {
    const card = await openFor(product, { role: 'lead' });
    const found = await card.press('match.search', { 'match.query': 'user_a' });
    const id = await idOf('user_a');
    const review = await found.press(`match:${id}`);
    const late = await forge(product, card, 'match.confirm', {
      storedData: agedFormState(product, review, 31),
    });
    assert.match(textOf(late.canvas), /^This review is older than 30 minutes\. Please check again\.$/m);
    assert.equal(await linkOf(card.contactId), null);
    await forge(product, card, 'match.confirm', { storedData: agedFormState(product, review, 29) });
    assert.equal(await linkOf(card.contactId), id);

    const details = await (await openAgain(product, card)).press('details');
    const still = await forge(product, details, 'unlink', {
      storedData: agedFormState(product, details, 31),
    });
    assert.ok(idsOn(still.canvas ?? {}).includes('unlink'));
    assert.equal(await linkOf(card.contactId), id);
  });
});

test('form state is valid for 30 minutes', () => {
  const nowMs = Date.UTC(2026, 10, 26, 12);
  assert.equal(isOutdated({}, nowMs), false);
  assert.equal(isOutdated({ signedAtMs: nowMs - 30 * 60_000 }, nowMs), false);
  assert.equal(isOutdated({ signedAtMs: nowMs - 30 * 60_000 - 1 }, nowMs), true);
});
