import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, it } from 'node:test';
import supertest from 'supertest';
import type { Customer } from '../../src/messenger/customer.ts';
import { answerFin } from '../../src/messenger/fin.ts';
import type { TimelineEntry } from '../../src/subscribers/stored-events.ts';
import { readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { disconnectProject, reconnectProject } from '../../src/workspaces/project-connection.ts';
import { apiSubscription, day, snapshotOf } from '../subscription/histories.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { addCustomer, addEvent, createMessengerSite, type MessengerSite } from './support.ts';

let site: MessengerSite;
let key: string;
before(async () => {
  site = await createMessengerSite();
  ({ key } = await site.makeKey('fin'));
});
after(() => site.close());

const ask = (userId: string, by = key) =>
  supertest(site.server)
    .get('/api/fin/subscription')
    .query({ user_id: userId })
    .set('Authorization', `Bearer ${by}`);

it('answers with the plan, its end and the last event', async () => {
  await addCustomer(site, ['fin-1'], [{}]);
  const { body } = await ask('fin-1').expect(200);
  assert.deepEqual(body, {
    found: true,
    has_access: true,
    status: 'active',
    summary: 'You have Pro for $9.99 a month. It renews on Jan 31, 2026.',
    entitlements: 'Pro',
    plan: 'Pro',
    price: '$9.99 a month',
    store: 'App Store',
    will_renew: true,
    renews_on: '2026-01-31',
    access_until: '2026-01-31',
    last_event: 'You subscribed: Pro monthly · $9.99',
    last_event_on: '2026-01-01',
    manage_url: 'https://apps.apple.com/account/subscriptions',
  });
  const posted = await site.post('/api/fin/subscription', key, { user_id: 'fin-1' }).expect(200);
  assert.deepEqual(posted.body, body);
});

it('links no page where the customer has nothing to manage', async () => {
  await addCustomer(
    site,
    ['fin-lifetime'],
    [{ type: 'NON_RENEWING_PURCHASE', product_id: 'pro_lifetime', expiration_at_ms: null }],
  );
  await addCustomer(site, ['fin-family'], [{ is_family_share: true, price: 0 }]);
  for (const id of ['fin-lifetime', 'fin-family']) {
    const { body } = await ask(id).expect(200);
    assert.deepEqual([body.has_access, body.store, body.manage_url], [true, 'App Store', ''], id);
  }
});

const CUSTOMER = {
  subscriberId: 's',
  projectId: 'p',
  appUserIds: ['ann'],
  ownHistory: [],
  snapshotAtMs: null,
  canRefresh: false,
  names: { product: () => null, entitlement: () => null },
};

it('names the same days as its sentence, and none for what never ends', () => {
  const endsAtMs = Date.UTC(2026, 0, 31, 3);
  const customerWith = (fields: Record<string, unknown>): Customer => {
    const body = eventBody({ expiration_at_ms: endsAtMs, event_timestamp_ms: START_MS, ...fields });
    const event = readEvent(body, { receivedAtMs: START_MS, fallbackId: 'e' });
    return {
      ...CUSTOMER,
      state: deriveState([event], null, START_MS),
      ownHistory: [event as TimelineEntry],
    };
  };
  const fin = answerFin([customerWith({})], 'America/Chicago', START_MS);
  assert.match(fin.summary, /It renews on Jan 30, 2026\.$/);
  assert.deepEqual(
    [fin.renews_on, fin.access_until, fin.last_event_on],
    ['2026-01-30', '2026-01-30', '2025-12-31'],
  );
  const grant = {
    type: 'NON_RENEWING_PURCHASE',
    store: 'PROMOTIONAL',
    period_type: 'PROMOTIONAL',
    expiration_at_ms: Date.UTC(2226, 0, 1),
  };
  const granted = answerFin([customerWith(grant)], 'UTC', START_MS);
  assert.deepEqual(
    [granted.summary, granted.access_until],
    ['You have Pro as a gift from us, for life.', ''],
  );
});

it('says until when access lasts that RevenueCat lists without a purchase, whatever ended before', () => {
  const ended = apiSubscription({ status: 'expired', givesAccess: false, entitlements: ['team'] });
  for (const subscriptions of [[], [ended]]) {
    const activeEntitlements = [{ lookupKey: 'pro', endsAtMs: day(90) }];
    const state = deriveState([], { ...snapshotOf(40, subscriptions), activeEntitlements }, day(41));
    const fin = answerFin([{ ...CUSTOMER, state }], 'UTC', day(41));
    assert.deepEqual([fin.has_access, fin.entitlements, fin.access_until], [true, 'Pro', '2026-04-01']);
  }
});

it('has a text for what is not known, and names no store of the web', () => {
  const nothing = answerFin([{ ...CUSTOMER, state: deriveState([], null, day(1)) }], 'UTC', day(1));
  assert.deepEqual([nothing.found, nothing.status, nothing.store], [true, 'none', '']);
  const state = deriveState([], snapshotOf(1, [apiSubscription({ store: 'STRIPE' })]), day(2));
  const web = answerFin([{ ...CUSTOMER, state }], 'UTC', day(2));
  assert.deepEqual([web.status, web.store], ['active', '']);
});

it("names no entitlement by RevenueCat's own id", () => {
  const activeEntitlements = [{ lookupKey: 'entl1a2b3c4d5e', endsAtMs: day(90) }];
  const state = deriveState([], { ...snapshotOf(40, []), activeEntitlements }, day(41));
  const fin = answerFin([{ ...CUSTOMER, state }], 'UTC', day(41));
  assert.deepEqual([fin.has_access, fin.entitlements, fin.access_until], [true, '', '2026-04-01']);
});

it('says until when the plan can be used, also when a grant or a purchase gives it for longer', async () => {
  const grant = {
    id: randomUUID(),
    type: 'NON_RENEWING_PURCHASE',
    store: 'PROMOTIONAL',
    period_type: 'PROMOTIONAL',
    product_id: 'rc_promo_pro_monthly',
    expiration_at_ms: START_MS + 60 * DAY_MS,
  };
  const lifetime = {
    id: randomUUID(),
    type: 'NON_RENEWING_PURCHASE',
    product_id: 'pro_lifetime',
    transaction_id: 'lifetime',
    original_transaction_id: 'lifetime',
    expiration_at_ms: null,
  };
  await addCustomer(site, ['fin-grant'], [{}, grant]);
  await addCustomer(site, ['fin-both'], [{}, lifetime]);
  const [two, max] = [['pro', 'max'], ['max']];
  await addCustomer(
    site,
    ['fin-two'],
    [{ entitlement_ids: two }, { ...grant, id: randomUUID(), entitlement_ids: max }],
  );
  assert.equal((await ask('fin-two').expect(200)).body.access_until, '2026-03-02');
  await addCustomer(site, ['fin-other'], [{}, { ...grant, id: randomUUID(), entitlement_ids: ['other'] }]);
  assert.equal((await ask('fin-other').expect(200)).body.access_until, '2026-01-31');
  await addCustomer(site, ['fin-bare'], [{ entitlement_ids: null, entitlement_id: null }]);
  assert.equal((await ask('fin-bare').expect(200)).body.has_access, true);
  const granted = await ask('fin-grant').expect(200);
  assert.deepEqual([granted.body.renews_on, granted.body.access_until], ['2026-01-31', '2026-03-02']);
  const both = await ask('fin-both').expect(200);
  assert.deepEqual([both.body.renews_on, both.body.access_until], ['2026-01-31', '']);
});

it('does not report a test purchase as the last event of a customer who pays', async () => {
  await addCustomer(
    site,
    ['fin-mixed'],
    [{}, { id: randomUUID(), environment: 'SANDBOX', event_timestamp_ms: START_MS + DAY_MS }],
  );
  assert.equal((await ask('fin-mixed').expect(200)).body.last_event_on, '2026-01-01');
});

it('does not report a test purchase as the last event of a customer without a subscription', async () => {
  await addCustomer(site, ['fin-tester'], [{ environment: 'SANDBOX' }]);
  const { body } = await ask('fin-tester').expect(200);
  assert.deepEqual(
    [body.summary, body.will_renew, body.last_event, body.last_event_on],
    ['We found no subscription for you.', false, '', ''],
  );
});

it('has the same flat fields for every customer', async () => {
  await addCustomer(
    site,
    ['fin-2'],
    [
      {},
      {
        id: randomUUID(),
        type: 'EXPIRATION',
        expiration_reason: 'BILLING_ERROR',
        event_timestamp_ms: START_MS + 2 * DAY_MS,
        expiration_at_ms: START_MS + 2 * DAY_MS,
      },
    ],
  );
  const ended = await ask('fin-2').expect(200);
  assert.equal(ended.body.has_access, false);
  assert.equal(ended.body.summary, 'Pro ended on Jan 3, 2026 because a payment failed.');
  assert.equal(ended.body.access_until, '2026-01-03');
  assert.equal(ended.body.manage_url, '');
  const unknown = await ask('unknown-user').expect(200);
  assert.deepEqual([unknown.body.found, unknown.body.will_renew], [false, false]);
  const known = await ask('fin-1').expect(200);
  for (const { body, text } of [ended, unknown, known]) {
    assert.deepEqual(Object.keys(body), Object.keys(known.body));
    for (const value of Object.values(body)) assert.ok(['string', 'boolean'].includes(typeof value));
    assert.ok(text.length < 1_500);
  }
});

it('never returns another customer’s data', async () => {
  await addCustomer(site, ['shared-id'], [{ product_id: 'others_plan' }], 'other1');
  assert.equal((await ask('shared-id').expect(200)).body.found, false);

  // Events before a transfer stay with its source; what was transferred belongs to the receiver.
  const source = await addCustomer(site, ['source'], [{ event_timestamp_ms: START_MS - 400 * DAY_MS }]);
  const receiver = await addCustomer(site, ['receiver'], []);
  const transfer = eventBody({
    id: randomUUID(),
    type: 'TRANSFER',
    store: null,
    event_timestamp_ms: START_MS + DAY_MS,
    transferred_from: ['source'],
    transferred_to: ['receiver'],
  });
  await addEvent(site, { workspaceId: 'abc123', subscriberId: source, side: 'source' }, transfer);
  await addEvent(site, { workspaceId: 'abc123', subscriberId: receiver }, transfer);
  const { body } = await ask('receiver').expect(200);
  assert.equal(body.has_access, true);
  assert.deepEqual(
    [body.last_event, body.last_event_on],
    ['Your purchases were moved to this account', '2026-01-02'],
  );
  assert.equal((await ask('source').expect(200)).body.has_access, false);
});

it('knows no customer of a project that was disconnected', async () => {
  await addCustomer(site, ['fin-disconnected'], [{}]);
  const project = { workspaceId: 'abc123', projectId: 'abc123-p1' };
  await disconnectProject(site.db.database, project);
  assert.equal((await ask('fin-disconnected').expect(200)).body.found, false);
  await reconnectProject(site.app, project);
  assert.equal((await ask('fin-disconnected').expect(200)).body.found, true);
});

it('requires a Fin key of the workspace', async () => {
  const refused = async (by: string, status: number, code: string): Promise<string> => {
    const answer = await ask('fin-1', by);
    assert.equal(answer.status, status);
    assert.equal(answer.body.error.code, code);
    return answer.body.error.message;
  };
  const otherKind = (await site.makeKey('messenger')).key;
  assert.match(await refused(otherKind, 403, 'api_key_kind'), /Create one for the Fin data connector/);
  await refused('stf_abc123_0000', 401, 'api_key_invalid');
  assert.equal((await ask('fin-1', (await site.makeKey('fin', 'other1')).key).expect(200)).body.found, false);
  for (const [userId, code] of [
    ['', 'user_id_missing'],
    ['null', 'user_id_blocked'],
    // Typed into the data connector instead of chosen from its list: no customer has such an id.
    ['{{user_id}}', 'user_id_blocked'],
    ['{{ contact.user_id }}', 'user_id_blocked'],
  ] as const) {
    const answer = await ask(userId).expect(400);
    assert.equal(answer.body.error.code, code);
  }
  // A list of ids is not an id.
  await supertest(site.server)
    .get('/api/fin/subscription?user_id=fin-1&user_id=fin-2')
    .set('Authorization', `Bearer ${key}`)
    .expect(400);
});
