import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LANGUAGES } from '../../src/i18n/languages.ts';
import { signBody } from '../../src/simulator/intercom/app-caller.ts';
import { lifecycleEvent } from '../../src/simulator/revenuecat/events.ts';
import { give } from '../grants/support.ts';
import { MAX_FIRST_CANVAS_PX, useCardHeights } from '../support/card-height.ts';
import { waitingForLocks } from '../support/database.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, setSettings, WORKSPACE_ID } from '../support/world.ts';
import { ADMIN_ID, idsOn, type OpenCard, openAgain, openFor, send, subscriberIdOf, tell } from './support.ts';

describe('finding the customer', () => {
  const heightsOf = useCardHeights();
  let product: Product;
  before(async () => {
    product = await createProduct();
  });
  after(() => product?.close());

  const database = () => product.server.connected.database;
  const idOf = (appUserId: string): Promise<string> => subscriberIdOf(product, appUserId);
  /** Resolves once the events wait for a contact and RevenueCat was read. */
  const untilWaiting = (id: string) =>
    until(async () => {
      const [row] = await database().query<{ waiting: boolean }>(
        `select waiting and snapshot_at is not null as waiting from subscribers
          where workspace_id = $1 and subscriber_id = $2`,
        [WORKSPACE_ID, id],
      );
      return row?.waiting;
    }, 'the events to wait for a contact, and RevenueCat to be read');
  const auditOf = async (contactId: string) =>
    database().query<Record<string, unknown>>(
      `select actor->>'id' as actor, action, conversation_id, details, result from audit_log
        where workspace_id = $1 and contact_id = $2 order by audit_id`,
      [WORKSPACE_ID, contactId],
    );
  const linksOf = async (contactId: string) =>
    database().query<Record<string, unknown>>(
      `select subscriber_id, made_by from contact_links where workspace_id = $1 and contact_id = $2`,
      [WORKSPACE_ID, contactId],
    );

  test('opening the card of a contact delivers what waited for it, when its webhook was lost', async () => {
    const appUserId = 'user_whose_webhook_was_lost';
    await tell(product, 'active_monthly', { appUserId });
    const isWaiting = async () =>
      (
        await database().query(
          `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 and waiting`,
          [WORKSPACE_ID, await idOf(appUserId)],
        )
      ).length > 0;
    await until(isWaiting, 'the events to wait');
    const sent = () => product.intercom.state.events.filter((event) => event.externalId === appUserId).length;
    const { state } = product.intercom;
    const endpoint = state.webhookEndpoint;
    state.webhookEndpoint = null;
    await openFor(product, { externalId: appUserId });
    state.webhookEndpoint = endpoint;
    await until(() => sent() > 0, 'the events');
  });

  test('opening the card of a contact delivers what waited for the day after Intercom refused to look it up', async () => {
    const appUserId = 'user_whose_lookup_was_refused';
    product.intercom.faults.add({ pathPrefix: '/contacts', status: 400 });
    await tell(product, 'active_monthly', { appUserId });
    const isRefused = async () =>
      (
        await database().query(
          `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2
              and pending_reason = 'intercom_rejected' and lease_owner is null`,
          [WORKSPACE_ID, await idOf(appUserId)],
        )
      ).length > 0;
    await until(isRefused, 'the lookup to be refused');
    product.intercom.faults.clear();
    const { contactId } = await openFor(product, { externalId: appUserId });
    const { events } = product.intercom.state;
    await until(() => events.some((event) => event.contactId === contactId), 'the events');
  });

  for (const [how, foundBy, query] of [
    ['app user id', 'app_user_id', () => 'user_by_id'],
    ['e-mail in any case', 'email', () => 'BÄ.Email@Example.com'],
    ['transaction id', 'transaction', (transaction: string) => transaction],
  ] as const) {
    test(`a search by ${how} finds the customer, and the link is stored with who confirmed it`, async () => {
      const appUserId = `user_by_${foundBy === 'app_user_id' ? 'id' : foundBy}`;
      const email = `bä.${foundBy}@example.com`;
      const events = await tell(product, 'active_monthly', { appUserId, email });
      const card = await openFor(product, { externalId: `crm-${foundBy}` });
      assert.match(card.text, /^No RevenueCat customer matches this contact\.$/m);
      const found = await card.press('match.search', {
        'match.query': ` ${query(String(events[0]?.transaction_id))} `,
      });
      const id = await idOf(appUserId);
      assert.ok(idsOn(found.canvas).includes(`match:${id}`), found.text);
      assert.match(
        found.text,
        new RegExp(`^${appUserId} \\| ${email} · Last event \\w{3} \\d{1,2}, \\d{4}$`, 'm'),
      );
      const review = await found.press(`match:${id}`);
      assert.doesNotMatch(review.text, /^Project: /m, 'there is only one');
      assert.match(review.text, /^Pro, \$9\.99 a month\. Next charge .+\.$/m);
      assert.equal((await linksOf(card.contactId)).length, 0, 'nothing is linked before it is confirmed');
      const done = await review.press('match.confirm');
      assert.match(done.text, new RegExp(`^✅ Linked to ${appUserId}\\.$`, 'm'));
      assert.match((await done.press('home')).text, /^Pro, \$9\.99 a month/m);
      assert.match((await openAgain(product, card)).text, /^Pro, \$9\.99 a month/m);

      assert.deepEqual(await linksOf(card.contactId), [
        { subscriber_id: id, made_by: { id: ADMIN_ID, name: 'Ada Agent' } },
      ]);
      assert.deepEqual(await auditOf(card.contactId), [
        {
          actor: ADMIN_ID,
          action: 'link',
          conversation_id: card.conversationId,
          details: { app_user_id: appUserId, found_by: foundBy },
          result: 'done',
        },
      ]);
      const details = await (await openAgain(product, card)).press('details');
      assert.match(details.text, /^Linked by: Ada Agent, \w{3} \d{1,2}, \d{4}$/m);
    });
  }

  describe('by what a receipt names', () => {
    const GOOGLE_ORDER = 'GPA.3301-5512-9087-44120';
    const searched = async (query: string) => {
      const card = await openFor(product, { externalId: `crm-${query}` });
      return card.press('match.search', { 'match.query': query });
    };

    before(async () => {
      for (const [appUserId, store, original, transactionId] of [
        ['buyer_apple', 'APP_STORE', '700000000000001', '700000000000777'],
        ['buyer@example.com', 'APP_STORE', '700000000000888', '700000000000888'],
        ['buyer_google', 'PLAY_STORE', GOOGLE_ORDER, `${GOOGLE_ORDER}..4`],
        ['buyer_first', 'PLAY_STORE', 'GPA.1111-2222-3333-44444', 'GPA.1111-2222-3333-44444'],
      ] as const)
        await send(
          product,
          lifecycleEvent(original === transactionId ? 'INITIAL_PURCHASE' : 'RENEWAL', {
            appUserId,
            productId: 'pro_monthly',
            entitlements: ['pro'],
            store,
            environment: 'PRODUCTION',
            periodType: 'NORMAL',
            price: 9.99,
            currency: 'USD',
            purchasedAtMs: Date.now() - 86_400_000,
            expirationAtMs: Date.now() + 29 * 86_400_000,
            transactionId: transactionId,
            originalTransactionId: original,
            atMs: Date.now() - 86_400_000,
          }),
        );
      await tell(product, 'trial', { appUserId: 'other_buyer', email: 'buyer@example.com' });
      await until(async () => (await idOf('buyer_first')) !== '', 'the webhooks');
    });

    for (const [what, query, appUserId] of [
      ['the first transaction of a subscription', '700000000000001', 'buyer_apple'],
      ['the transaction of a renewal', '700000000000777', 'buyer_apple'],
      ['an app user ID that is the email of another customer', 'buyer@example.com', 'buyer@example.com'],
      ['the first order', GOOGLE_ORDER, 'buyer_google'],
      ['another renewal of an order', `${GOOGLE_ORDER}..2`, 'buyer_google'],
      [
        'a renewal of an order of which only the first is stored',
        'GPA.1111-2222-3333-44444..0',
        'buyer_first',
      ],
    ] as const)
      test(`${what} finds the customer here`, async () => {
        product.revenueCat.faults.add({ status: 503 });
        const found = await searched(query);
        product.revenueCat.faults.clear();
        assert.ok(idsOn(found.canvas).includes(`match:${await idOf(appUserId)}`), found.text);
      });

    test('an order that only RevenueCat knows finds the customer, who is imported when unknown here', async () => {
      product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'buyer_elsewhere' });
      const purchase = give(product, 'buyer_elsewhere', { store: 'rc_billing', endsAtMs: Date.now() + 1e9 });
      Object.assign(purchase, { storeSubscriptionId: 'rcb_4711' });
      assert.match((await searched('rcb_4711')).text, /Looking in RevenueCat/);
      await until(async () => (await idOf('buyer_elsewhere')) !== '', 'the import');
      const found = await searched('rcb_4711');
      assert.ok(idsOn(found.canvas).includes(`match:${await idOf('buyer_elsewhere')}`), found.text);
    });

    test('an e-mail that only RevenueCat knows finds the customer, who is imported', async () => {
      const attributes = { $email: 'Only@There.example' };
      product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'buyer_by_email', attributes });
      assert.match((await searched('Only@There.example')).text, /Looking in RevenueCat/);
      await until(async () => (await idOf('buyer_by_email')) !== '', 'the import');
      const found = await searched('only@there.example');
      assert.ok(idsOn(found.canvas).includes(`match:${await idOf('buyer_by_email')}`), found.text);
    });

    test('a text that no id is as long as is searched without a call that RevenueCat refuses', async () => {
      const before = product.revenueCat.faults.requests().length;
      assert.match((await searched('x'.repeat(300))).text, /^No customer found\. Check/m);
      const calls = product.revenueCat.faults.requests().slice(before);
      assert.ok(calls.length > 0);
      assert.deepEqual(
        calls.filter(({ status }) => status === 400),
        [],
      );
    });

    test('a permission that the key lacks for it is named, and nothing is looked up', async () => {
      const refused = `/v2/projects/${REVENUECAT_PROJECT_ID}/customers`;
      const restore = product.revenueCat.faults.add({ pathPrefix: refused, status: 403 });
      assert.match((await searched('first_user')).text, /Looking in RevenueCat/);
      const lacks =
        /lacks permissions: [^.]*customer_information:subscriptions:read[^.]*\. An admin can add them/;
      await until(async () => lacks.test((await searched('other_user')).text), 'the key to be checked');
      product.revenueCat.faults.clearRequests();
      for (const query of ['rcb_0815', 'nemo', 'nemo@example.com']) {
        const { text } = await searched(query);
        assert.match(text, lacks);
        assert.doesNotMatch(text, /Looking in RevenueCat/);
      }
      // Jobs of the first searches, and another check of the key, may still make calls.
      const paths = product.revenueCat.faults.requests().map(({ path }) => path);
      assert.deepEqual(
        paths.filter((path) => /nemo|rcb_0815/.test(path)),
        [],
      );
      restore();
      // As if a minute had passed, so that the next check of the key is not skipped.
      await database().query(`delete from pgboss.job where name = 'workspace.check'`);
      await until(
        async () => !lacks.test((await searched('first_user')).text),
        'the permission that was added to be known',
      );
    });
  });

  test('pending events go to the contact that is linked, and no longer after unlinking', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_waiting' });
    const card = await openFor(product, { role: 'lead', email: 'lead@example.com' });
    assert.match(card.text, /^This visitor is not signed in/m);
    const found = await card.press('match.search', { 'match.query': 'user_waiting' });
    const id = await idOf('user_waiting');
    await untilWaiting(id);
    // The next lookup of a contact is a day away, so only the link can cause the events to be sent now.
    await database().query(
      `update subscribers set due_at = now() + interval '1 day' where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, id],
    );
    const linked = await (await found.press(`match:${id}`)).press('match.confirm');
    const sent = () => product.intercom.state.events.filter(({ contactId }) => contactId === card.contactId);
    await until(() => sent().length === 3, 'the waiting events on the contact');

    const unlinked = await (await (await linked.press('home')).press('details')).press('unlink');
    assert.match(unlinked.text, /^✅ The link to user_waiting was removed\.$/m);
    assert.deepEqual(await linksOf(card.contactId), []);
    assert.match((await openAgain(product, card)).text, /^This visitor is not signed in/m);
    await until(async () => {
      const [row] = await database().query<{ contact_id: string | null }>(
        `select contact_id from subscribers where workspace_id = $1 and subscriber_id = $2`,
        [WORKSPACE_ID, id],
      );
      return row?.contact_id === null;
    }, 'the contact to be forgotten');
    assert.deepEqual(
      (await auditOf(card.contactId)).map(({ action, result }) => ({ action, result })),
      [
        { action: 'link', result: 'done' },
        { action: 'unlink', result: 'done' },
      ],
    );
    // An accidental unlink can be undone.
    const again = await (await unlinked.press(`match:${id}`)).press('match.confirm');
    assert.match(again.text, /^✅ Linked to user_waiting\.$/m);
  });

  test('a contact that is unlinked while events are delivered to it is not kept', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_delivered' });
    const card = await openFor(product, { role: 'lead', email: 'delivered@example.com' });
    const id = await idOf('user_delivered');
    await untilWaiting(id);
    // Several times longer than the presses below take, so that they come before Intercom's response.
    const slow = product.intercom.faults.add({ latencyMs: 4_000, method: 'PUT', pathPrefix: '/contacts' });
    const found = await card.press('match.search', { 'match.query': 'user_delivered' });
    const linked = await (await found.press(`match:${id}`)).press('match.confirm');
    const isSent = () => product.intercom.state.events.some(({ contactId }) => contactId === card.contactId);
    await until(isSent, 'the first event on the contact');
    await (await (await linked.press('home')).press('details')).press('unlink');
    const readCustomer = async () => {
      const [row] = await database().query<{ contact_id: string | null; is_claimed: boolean }>(
        `select contact_id, lease_owner is not null or due_at <= now() as is_claimed
           from subscribers where workspace_id = $1 and subscriber_id = $2`,
        [WORKSPACE_ID, id],
      );
      return row;
    };
    assert.deepEqual(await readCustomer(), { contact_id: null, is_claimed: true });
    slow();
    await until(async () => (await readCustomer())?.is_claimed === false, 'the delivery to end');
    assert.equal((await readCustomer())?.contact_id, null);
  });

  test('of two teammates who link a contact to different customers at once, the second sees the first link and can replace it', async () => {
    const appUserIds = ['user_linked_first', 'user_linked_second'];
    for (const appUserId of appUserIds) await tell(product, 'active_monthly', { appUserId });
    const card = await openFor(product, { role: 'lead', email: 'two-at-once@example.com' });
    const ids = await Promise.all(appUserIds.map(idOf));
    for (const id of ids) await untilWaiting(id);
    const reviews = await Promise.all(
      appUserIds.map(async (appUserId, index) => {
        const found = await card.press('match.search', { 'match.query': appUserId });
        return found.press(`match:${ids[index]}`);
      }),
    );
    let pressing: Promise<OpenCard>[] = [];
    await database().transaction(async (sql) => {
      await sql.query(
        'select 1 from subscribers where workspace_id = $1 and subscriber_id = any($2) for update',
        [WORKSPACE_ID, ids],
      );
      pressing = reviews.map((review) => review.press('match.confirm'));
      await until(async () => (await waitingForLocks(product.db)).length >= 2, 'both to wait');
    });
    const done = await Promise.all(pressing);
    const [second] = done.filter(({ text }) => /changed/.test(text));
    assert.ok(second && done.some(({ text }) => /^✅ Linked to user_linked_/m.test(text)));
    for (const appUserId of appUserIds) assert.ok(second.text.includes(appUserId), second.text);
    assert.match((await second.press('match.confirm')).text, /^✅ Linked to user_linked_/m);
    assert.equal((await linksOf(card.contactId)).length, 1);
  });

  test('a link comes before the external id, and the review names the link that it replaces', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_own' });
    await tell(product, 'trial_cancelled', { appUserId: 'user_real' });
    const card = await openFor(product, { externalId: 'user_own' });
    assert.match(card.text, /^Pro, \$9\.99 a month/m);
    const find = await (await card.press('details')).press('match');
    const found = await find.press('match.search', { 'match.query': 'user_real' });
    const review = await found.press(`match:${await idOf('user_real')}`);
    await review.press('match.confirm');
    const linked = await openAgain(product, card);
    assert.match(linked.text, /^Pro, free trial, cancelled/m);

    const back = await (await (await linked.press('details')).press('match')).press('match.search', {
      'match.query': 'user_own',
    });
    // A link takes precedence over the external id, so going back needs a link like any other.
    const own = await back.press(`match:${await idOf('user_own')}`);
    assert.match(own.text, /This replaces the link to user_real\./);
  });

  test('a possible match by e-mail shows nothing of the customer and opens no grant until confirmed', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_mail', email: 'mail@example.com' });
    const plain = await openFor(product, { externalId: 'crm-mail', email: 'MAIL@example.com' });
    assert.match(plain.text, /^No RevenueCat customer matches/m, 'matching by e-mail is off by default');
    await setSettings(product, { contacts: { matchByEmail: true } });
    try {
      const card = await openAgain(product, plain);
      assert.match(card.text, /^Possible match by email: please confirm$/m);
      assert.ok(!idsOn(card.canvas).includes('grant'));
      const forged = await product.card({
        flow: 'submit',
        adminId: ADMIN_ID,
        conversationId: card.conversationId,
        contactId: card.contactId,
        componentId: 'grant',
      });
      assert.match(JSON.stringify(forged.canvas), /Possible match by email: please confirm/);
      const review = await card.press(`match:${await idOf('user_mail')}`);
      await review.press('match.confirm');
      assert.ok(idsOn((await openAgain(product, card)).canvas).includes('grant'));
      const [record] = await auditOf(card.contactId);
      assert.deepEqual(record?.details, { app_user_id: 'user_mail', found_by: 'possible_match' });
    } finally {
      await setSettings(product, {});
    }
  });

  test('several customers with one e-mail are offered, none is chosen', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_twin_1', email: 'twin@example.com' });
    await tell(product, 'cancelled', { appUserId: 'user_twin_2', email: 'twin@example.com' });
    await setSettings(product, { contacts: { matchByEmail: true } });
    try {
      const card = await openFor(product, { externalId: 'crm-twin', email: 'twin@example.com' });
      assert.match(card.text, /^Several customers have this email/m);
      for (const appUserId of ['user_twin_1', 'user_twin_2']) {
        assert.ok(idsOn(card.canvas).includes(`match:${await idOf(appUserId)}`));
        assert.match(
          card.text,
          new RegExp(`^${appUserId} \\| Last event `, 'm'),
          'without the email that it is by',
        );
      }
      const chosen = await (await card.press(`match:${await idOf('user_twin_2')}`)).press('match.confirm');
      assert.match((await chosen.press('home')).text, /^Pro, cancelled on/m);
    } finally {
      await setSettings(product, {});
    }
  });

  test('of many customers with one e-mail two are shown and the rest is counted; the search shows ten', async () => {
    const email = `crowd.${'0123456789'.repeat(3)}@example.com`;
    const idOf = (name: string) => `user_crowd_${name}_${'0123456789abcdef'.repeat(4)}`;
    for (const name of 'abcdefghijkl') await tell(product, 'trial', { appUserId: idOf(name), email });
    await setSettings(product, { contacts: { matchByEmail: true } });
    try {
      const card = await openFor(product, { externalId: 'crm-crowd', email });
      const offered = (canvas: typeof card.canvas) =>
        idsOn(canvas).filter((id) => id.startsWith('match:')).length;
      const mentioning = await openFor(
        product,
        { externalId: 'crm-crowd-2', email },
        { says: `<p>User ID: ${idOf('l')}</p>` },
      );
      for (const language of LANGUAGES) {
        await setSettings(product, { contacts: { matchByEmail: true }, card: { language } });
        const all = [await openAgain(product, card), await openAgain(product, mentioning)];
        const heights = await heightsOf(all.map(({ canvas }) => canvas));
        assert.ok(Math.max(...heights) <= MAX_FIRST_CANVAS_PX, `${language}: ${heights.join(' and ')}`);
      }
      await setSettings(product, { contacts: { matchByEmail: true } });
      assert.equal(offered(mentioning.canvas), 2);
      assert.equal(offered(card.canvas), 2);
      assert.match(card.text, /^and 10 more$/m);
      const found = await card.press('match.search', { 'match.query': email });
      assert.match(found.text, /^12 customers found\. Which one is it\?$/m);
      assert.equal(offered(found.canvas), 10);
      assert.match(found.text, /^and 2 more$/m);
      const one = await card.press('match.search', { 'match.query': idOf('c') });
      assert.match(one.text, /^Found\. Is this the customer\?$/m);
    } finally {
      await setSettings(product, {});
    }
  });

  test('an app user id in the conversation is a suggestion that needs confirming', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_named' });
    const card = await openFor(
      product,
      { role: 'lead' },
      { says: '<p>It does not work.</p><p>RC User ID: user_named</p>' },
    );
    assert.match(card.text, /^The conversation mentions this customer\. Is it the same person\?$/m);
    const review = await card.press(`match:${await idOf('user_named')}`);
    await review.press('match.confirm');
    const [record] = await auditOf(card.contactId);
    assert.deepEqual(record?.details, { app_user_id: 'user_named', found_by: 'conversation' });

    const unknown = await openFor(product, { role: 'lead' }, { says: 'Customer id: unknown-customer' });
    assert.match(unknown.text, /^unknown-customer$/m, 'an unknown one is put into the search');
    const byTeammate = await openFor(product, { role: 'lead' });
    product.intercom.state.conversations.get(byTeammate.conversationId)?.parts.push({
      id: '1',
      partType: 'comment',
      authorType: 'admin',
      authorId: ADMIN_ID,
      body: 'User ID: user_named',
      createdAtS: 1,
    });
    assert.doesNotMatch((await openAgain(product, byTeammate)).text, /mentions this customer/);
  });

  test('ids that broken apps give to every user match no customer', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_of_null' });
    await database().query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select workspace_id, project_id, 'null', subscriber_id from subscriber_ids
        where workspace_id = $1 and app_user_id = 'user_of_null'`,
      [WORKSPACE_ID],
    );
    assert.match((await openFor(product, { externalId: 'null' })).text, /^No RevenueCat customer matches/m);
  });

  test('a contact that was deleted gets no link; looking is recorded', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_of_deleted' });
    const before = await openFor(product, { externalId: 'crm-deleted' });
    product.intercom.contacts.remove(before.contactId);
    const card = await openAgain(product, before);
    assert.match(card.text, /^This contact was deleted in Intercom/m);
    const found = await card.press('match.search', { 'match.query': 'user_of_deleted' });
    const review = await found.press(`match:${await idOf('user_of_deleted')}`);
    const looked = await review.press('match.confirm');
    assert.match(looked.text, /^Pro, \$9\.99 a month/m);
    const shown = await looked.press('home');
    assert.match(shown.text, /^Pro, \$9\.99 a month/m);
    assert.match((await shown.press('timeline')).text, /^Renewed/m, 'and lasts through the views');
    assert.deepEqual(await linksOf(card.contactId), []);
    const [record] = await auditOf(card.contactId);
    assert.equal(record?.action, 'look');
    assert.match((await openAgain(product, card)).text, /^This contact was deleted/m);
  });

  test('a request with the legacy twin alone is matched and linked like any other', async () => {
    await tell(product, 'active_monthly', { appUserId: 'user_legacy' });
    const { body } = await legacy(product, 'user_legacy', 'legacy-1');
    assert.match(JSON.stringify(body), /Pro, \$9\.99 a month/);
    const unmatched = await legacy(product, 'crm-legacy', 'legacy-2');
    assert.match(JSON.stringify(unmatched.body), /No RevenueCat customer matches/);
    const id = await idOf('user_legacy');
    const review = await legacy(product, 'crm-legacy', 'legacy-2', {
      component_id: `match:${id}`,
    });
    const confirmed = await legacy(product, 'crm-legacy', 'legacy-2', {
      component_id: 'match.confirm',
      current_canvas: review.body.canvas,
    });
    assert.match(JSON.stringify(confirmed.body), /Linked to user_legacy/);
    assert.equal((await linksOf('legacy-2')).length, 1);
  });
});

/** A request as older API versions send it: `customer` in place of `contact`, and no workspace region. */
async function legacy(
  product: Product,
  userId: string,
  contactId: string,
  submit: Record<string, unknown> | null = null,
): Promise<{ body: { canvas?: unknown } }> {
  const raw = JSON.stringify({
    workspace_id: WORKSPACE_ID,
    admin: { type: 'admin', id: Number(ADMIN_ID), name: 'Ada Agent' },
    customer: { type: 'user', id: contactId, user_id: userId, email: null },
    ...(submit === null ? {} : { input_values: {}, ...submit }),
  });
  const response = await fetch(
    `${product.server.url}/canvas/inbox/${submit === null ? 'initialize' : 'submit'}`,
    {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Body-Signature': signBody(CLIENT_SECRET, raw) },
      body: raw,
    },
  );
  assert.equal(response.status, 200);
  return { body: (await response.json()) as { canvas?: unknown } };
}
