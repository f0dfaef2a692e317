import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { canShare } from '../../src/inbox-card/customer.ts';
import { findCustomerState } from '../../src/messenger/customer.ts';
import { manageUrlOf } from '../../src/messenger/customer-view.ts';
import { validateCanvas } from '../../src/simulator/intercom/canvas-rules.ts';
import { DAY_MS } from '../../src/time.ts';
import { saveSettings } from '../../src/workspaces/repository.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { addCustomer, addEvent, createMessengerSite, type MessengerSite, PUBLIC_URL } from './support.ts';

let site: MessengerSite;
let subscriberId: string;
before(async () => {
  site = await createMessengerSite();
  subscriberId = await addCustomer(
    site,
    ['user-1', 'alias-1'],
    Array.from({ length: 6 }, (_, month) => ({
      id: randomUUID(),
      type: month === 0 ? 'INITIAL_PURCHASE' : 'RENEWAL',
      event_timestamp_ms: START_MS - (5 - month) * 30 * DAY_MS,
      purchased_at_ms: START_MS - (5 - month) * 30 * DAY_MS,
      expiration_at_ms: START_MS - (4 - month) * 30 * DAY_MS,
      transaction_id: `t${month}`,
    })),
  );
});
after(() => site.close());

const base = { workspace_id: 'abc123', workspace_region: 'EU', context: { location: 'home', locale: 'en' } };
const user = (externalId: string | null): object => ({
  type: 'contact',
  id: 'c1',
  role: 'user',
  external_id: externalId,
  email: 'a@example.com',
});

async function live(body: object): Promise<string> {
  const answer = await site.canvas('live', { ...base, canvas: {}, ...body }).expect(200);
  const verdict = validateCanvas(answer.body, { place: 'messenger', flow: 'live' });
  assert.ok(verdict.ok, JSON.stringify(verdict));
  return JSON.stringify(answer.body.content);
}

async function submit(componentId: string, body: object = {}): Promise<{ text: string; canvas: object }> {
  const answer = await site
    .canvas('submit', {
      ...base,
      component_id: componentId,
      current_canvas: {},
      input_values: {},
      contact: user('user-1'),
      ...body,
    })
    .expect(200);
  const verdict = validateCanvas(answer.body, { place: 'messenger', flow: 'submit' });
  assert.ok(verdict.ok, JSON.stringify(verdict));
  return { text: JSON.stringify(answer.body.canvas), canvas: answer.body.canvas };
}

describe('the customer’s card', () => {
  it('is a live canvas: it is initialized before the customer is known', async () => {
    for (const card_creation_options of [{}, { card: 'subscription' }]) {
      const answer = await site.canvas('initialize', { ...base, card_creation_options }).expect(200);
      assert.deepEqual(answer.body, { canvas: { content_url: `${PUBLIC_URL}/canvas/messenger/live` } });
      assert.ok(validateCanvas(answer.body, { place: 'messenger', flow: 'initialize' }).ok);
    }
  });

  it('shows each customer their own subscription', async () => {
    const text = await live({ contact: user('user-1') });
    assert.match(text, /You have Pro for \$9\.99 a month\. It renews on Jan 31, 2026\./);
    assert.match(text, /apps\.apple\.com\/account\/subscriptions/);
    assert.ok(site.refreshed.includes(subscriberId) === false, 'a project without a key is not asked');
    assert.match(await live({ contact: user('alias-1') }), /You have Pro/);
    const nothing = await live({ contact: user('another-user') });
    assert.match(nothing, /We found no subscription for you\./);
    assert.match(nothing, /"id":"home"/, 'a card without anything to press is a dead end');
  });

  it('is in the customer’s language', async () => {
    const context = { location: 'home', locale: 'de-AT' };
    const text = await live({ context, contact: user('user-1') });
    assert.match(text, /Sie haben Pro für 9,99\s\$ pro Monat\. Es verlängert sich am 31\. Jan\. 2026\./u);
    const greek = await live({ context: { locale: 'el' }, contact: user('user-1') });
    assert.match(greek, /You have Pro/);
  });

  it('shows no subscription unless Intercom says that the contact is the user with this id', async () => {
    const leadsAndVisitors = [
      { contact: { ...user('user-1'), role: 'lead' } },
      { contact: { ...user('user-1'), role: 'visitor' } },
      { contact: user(null) },
      { contact: { ...user(null), email: 'a@example.com' } },
      { contact: { ...user('user-1'), role: 'lead' }, customer: { type: 'user', user_id: 'user-1' } },
      { customer: { type: 'lead', user_id: 'user-1' } },
      { contact: { type: 'contact', id: 'c1', external_id: 'user-1' } },
    ];
    for (const visitor of leadsAndVisitors) {
      const text = await live(visitor);
      assert.match(text, /Sign in to the app/, JSON.stringify(visitor));
      assert.doesNotMatch(text, /Pro/);
    }
    // Intercom's legacy model has a type instead of a role.
    assert.match(await live({ customer: { type: 'user', user_id: 'user-1' } }), /You have Pro/);
    assert.match(
      await live({
        contact: { type: 'contact', id: 'c1' },
        customer: { type: 'user', user_id: 'user-1' },
      }),
      /You have Pro/,
    );
    assert.match(await live({ workspace_id: 'other1', contact: user('user-1') }), /no subscription/);
  });

  it('shows nobody the customer of an ID that RevenueCat has blocked since', async () => {
    const { database } = site.db;
    await database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select workspace_id, project_id, 'guest', subscriber_id from subscriber_ids where app_user_id = 'user-1'`,
    );
    assert.match(await live({ contact: user('guest') }), /no subscription/);
    assert.equal(await findCustomerState(site.app, 'abc123', 'guest'), null);
    await database.query(`delete from subscriber_ids where app_user_id = 'guest'`);
  });

  it('has a customer whose data is old read again in the background, where a key works', async () => {
    const setKey = (key: string | null, state: string) =>
      site.db.database.query(
        `update projects set api_key = $1, api_key_state = $2 where workspace_id = 'abc123'`,
        [key, state],
      );
    site.refreshed.length = 0;
    await setKey('key', 'rejected');
    await live({ contact: user('user-1') });
    assert.equal(site.refreshed.length, 0);
    await setKey('key', 'valid');
    await live({ contact: user('user-1') });
    assert.equal(site.refreshed.length, 1);
    await setKey(null, 'none');
  });

  it('shows a neutral sentence when a teammate looks: the request then has no contact', async () => {
    const teammates = [
      {},
      { contact: null },
      { contact: {} },
      { contact: { type: 'contact', id: 'c1' } },
      { contact: { type: 'contact', id: 'c1', custom_attributes: {} }, user: null },
    ];
    for (const view of teammates) {
      const text = await live(view);
      assert.match(text, /shows each customer their own subscription/, JSON.stringify(view));
      assert.doesNotMatch(text, /Sign in|Pro/);
    }
  });

  it('shows nothing while the workspace does not enforce identity verification, unless an admin accepts it', async () => {
    const { database } = site.db;
    const setVerification = (enforced: boolean | null) =>
      database.query('update workspaces set identity_verification = $2 where workspace_id = $1', [
        'abc123',
        enforced,
      ]);
    for (const enforced of [false, null]) {
      await setVerification(enforced);
      const home = await live({ contact: user('user-1') });
      const history = await submit('history');
      for (const text of [home, history.text]) {
        assert.match(text, /cannot be shown in this chat/);
        assert.doesNotMatch(text, /Pro|You subscribed/);
      }
    }
    const admin = { id: '7001', name: 'Ada Agent' };
    const unverifiedAccepted = { reason: 'Internal app', admin, at: '2026-01-01T00:00:00.000Z' };
    await saveSettings(database, 'abc123', { messenger: { unverifiedAccepted } });
    assert.match(await live({ contact: user('user-1') }), /You have Pro/);
    await saveSettings(database, 'abc123', { messenger: { unverifiedAccepted: null } });
    await setVerification(true);
    assert.match(await live({ contact: user('user-1') }), /You have Pro/);
  });

  it('opens the history and leads back to the first canvas from every page of it', async () => {
    const first = await submit('history');
    assert.match(first.text, /"history:4"/);
    assert.equal(first.text.split('"id":"event:').length - 1, 4);
    assert.match(first.text, /"id":"home"/);
    const second = await submit('history:4');
    assert.match(second.text, /You subscribed/);
    assert.match(second.text, /"id":"home"/);
    assert.doesNotMatch(second.text, /"history:/);
    assert.match((await submit('history:400')).text, /No events yet.*"id":"home"/);
    assert.deepEqual((await submit('home')).canvas, { content_url: `${PUBLIC_URL}/canvas/messenger/live` });
    assert.match((await submit('made-up')).text, /You have Pro/);
    assert.match(
      (await submit('history', { contact: { role: 'lead', external_id: 'user-1' } })).text,
      /Sign in/,
    );
  });

  it('shows a failed payment once, which RevenueCat reports as a billing issue and as a cancellation', async () => {
    const failed = { event_timestamp_ms: START_MS, expiration_at_ms: START_MS };
    for (const [id, period_type] of [
      ['failed', 'NORMAL'],
      ['failed_trial', 'TRIAL'],
    ] as const) {
      await addCustomer(
        site,
        [id],
        [
          { event_timestamp_ms: START_MS - 30 * DAY_MS, expiration_at_ms: START_MS },
          { ...failed, type: 'BILLING_ISSUE', grace_period_expiration_at_ms: START_MS + 16 * DAY_MS },
          { ...failed, type: 'CANCELLATION', cancel_reason: 'BILLING_ERROR' },
        ].map((fields) => ({ ...fields, period_type, id: randomUUID() })),
      );
      const { text } = await submit('history', { contact: user(id) });
      assert.equal(text.split('A payment failed').length - 1, 1, text);
    }
  });

  it('shows what is reported in one millisecond in the order in which it happened', async () => {
    const ended = { event_timestamp_ms: START_MS, expiration_at_ms: START_MS };
    await addCustomer(
      site,
      ['refunded'],
      [
        { id: 'tied-0', event_timestamp_ms: START_MS - DAY_MS, expiration_at_ms: START_MS + DAY_MS },
        { ...ended, id: 'tied-3', type: 'EXPIRATION', expiration_reason: 'CUSTOMER_SUPPORT' },
        { ...ended, id: 'tied-2', type: 'CANCELLATION', cancel_reason: 'CUSTOMER_SUPPORT' },
        { ...ended, id: 'tied-1', type: 'BILLING_ISSUE' },
      ],
    );
    const { text } = await submit('history', { contact: user('refunded') });
    assert.match(text, /ended.*refund.*payment failed.*subscribed/i);
    assert.match(await live({ contact: user('refunded') }), /"You received a refund[^}]*"muted"/);
  });

  it('names the store of what a customer has in two of them', async () => {
    const bought = (store: string) => ({
      id: randomUUID(),
      app_user_id: 'pays-twice',
      store,
      transaction_id: `pays-twice-${store}`,
      original_transaction_id: `pays-twice-${store}`,
    });
    await addCustomer(site, ['pays-twice'], ['APP_STORE', 'PLAY_STORE', 'STRIPE'].map(bought));
    const contact = user('pays-twice');
    const home = await live({ contact });
    const more = await submit('more:2', { contact });
    for (const name of ['Pro (App Store)', 'Pro (Google Play)', 'Pro (on the web)']) {
      const [title, sentence] = [`**${name}**`, `You have ${name} for $9.99 a month.`];
      assert.ok(`${home}${more.text}`.includes(title), title);
      assert.ok(`${home}${more.text}`.includes(sentence), sentence);
    }
    const japanese = await live({ contact, context: { location: 'home', locale: 'ja' } });
    assert.match(japanese, /Google PlayのPro（\$9\.99\/月）をご利用中です。/);
    const { text } = await submit('history', { contact });
    const lines = [...text.matchAll(/"subtitle":"([^"]+)"/g)].map((match) => match[1]);
    const line = 'Jan 1, 2026 · Pro monthly · $9.99';
    // Apple's rule: only stores that come with a device may be named.
    assert.deepEqual(lines.toSorted(), [line, `${line} · App Store`, `${line} · Google Play`]);
    const once = await submit('history');
    assert.doesNotMatch(once.text, /App Store/, 'one store needs no name');
  });

  it('hides the events of a transfer’s source from its receiver', async () => {
    const source = await addCustomer(site, ['card-source'], [{ event_timestamp_ms: START_MS - DAY_MS }]);
    const receiver = await addCustomer(site, ['card-receiver'], []);
    const transfer = eventBody({ type: 'TRANSFER', event_timestamp_ms: START_MS + DAY_MS, store: null });
    await addEvent(site, { workspaceId: 'abc123', subscriberId: source, side: 'source' }, transfer);
    await addEvent(site, { workspaceId: 'abc123', subscriberId: receiver }, transfer);
    const contact = user('card-receiver');
    assert.match(await live({ contact }), /You have Pro/);
    const { text } = await submit('history', { contact });
    assert.match(text, /moved to this account[^}]*"subtitle":"Jan 2, 2026"/);
    assert.doesNotMatch(text, /You subscribed/);
  });

  it('opens the subscriptions that it has no room for', async () => {
    const bought = (plan: number) => ({
      id: randomUUID(),
      app_user_id: 'collector',
      product_id: `plan_${plan}`,
      entitlement_ids: [`plan_${plan}`],
      transaction_id: `collector-${plan}`,
      original_transaction_id: `collector-${plan}`,
      event_timestamp_ms: START_MS,
      purchased_at_ms: START_MS,
      expiration_at_ms: START_MS + 30 * DAY_MS,
    });
    const ended = { ...bought(6), type: 'EXPIRATION', expiration_at_ms: START_MS };
    await addCustomer(site, ['collector'], [...[1, 2, 3, 4, 5].map(bought), ended]);
    const contact = user('collector');
    const named = (text: string) => [...text.matchAll(/\*\*(Plan \d)\*\*/g)].map((match) => match[1]);
    const home = await live({ contact });
    assert.match(home, /"id":"more:2","title":"Show more \(3\)"/);
    const second = await submit('more:2', { contact });
    assert.match(second.text, /"id":"more:4","title":"Show more \(1\)"/);
    const third = await submit('more:4', { contact });
    assert.doesNotMatch(third.text, /more:/);
    for (const { text } of [second, third]) assert.match(text, /"id":"home"/);
    assert.deepEqual(
      [home, second.text, third.text].flatMap(named).sort(),
      [1, 2, 3, 4, 5].map((n) => `Plan ${n}`),
    );
    // As if most plans had ended since the card was drawn.
    assert.match((await submit('more:400', { contact })).text, /You have Plan.*"id":"home"/);
    assert.doesNotMatch(await live({ contact: user('user-1') }), /more:/);
  });

  it('is refused without Intercom’s signature', async () => {
    for (const flow of ['initialize', 'submit', 'live'] as const) {
      await site.canvas(flow, base, '0'.repeat(64)).expect(401);
      await site.canvas(flow, { nothing: true }).expect(400);
    }
  });

  it('explains how to install the app where it is not installed', async () => {
    const unknown = {
      ...base,
      workspace_id: 'unknown1',
      component_id: 'history',
      contact: user('user-1'),
    };
    for (const flow of ['initialize', 'submit', 'live'] as const) {
      const answer = await site.canvas(flow, unknown).expect(200);
      assert.match(answer.text, /not installed/);
      assert.match(answer.text, /\/install"/);
      const german = await site.canvas(flow, { ...unknown, context: { locale: 'de' } }).expect(200);
      assert.match(german.text, /ist in diesem Workspace nicht installiert/);
    }
  });
});

describe('purchases outside the app stores', () => {
  const OUTSIDE = /stripe|paddle|revenuecat|web billing|checkout|upgrade|subscribe now|buy/i;

  it('are neither named nor linked in the card', async () => {
    for (const store of ['STRIPE', 'RC_BILLING', 'PADDLE', 'NEW_WEB_STORE']) {
      const id = `web-${store}`;
      await addCustomer(
        site,
        [id],
        [
          { id: randomUUID(), store },
          { id: randomUUID(), type: 'INVOICE_ISSUANCE', store, event_timestamp_ms: START_MS + 1_000 },
          { id: randomUUID(), type: 'PURCHASE_REDEEMED', store, event_timestamp_ms: START_MS + 2_000 },
          {
            id: randomUUID(),
            type: 'CANCELLATION',
            cancel_reason: 'BILLING_ERROR',
            store,
            event_timestamp_ms: START_MS + 3_000,
          },
        ],
      );
      const home = await live({ contact: user(id) });
      const history = await submit('history', { contact: user(id) });
      for (const text of [home, history.text]) {
        assert.doesNotMatch(text, OUTSIDE, store);
        assert.doesNotMatch(text, /"url"/, store);
      }
    }
  });
});

describe('the store’s own page', () => {
  it('is linked for app stores only, whatever address RevenueCat gives', () => {
    const apple = 'https://apps.apple.com/account/subscriptions';
    const cases: readonly (readonly [store: string | null, given: string | null, linked: string | null])[] = [
      ['APP_STORE', null, apple],
      ['app_store', 'https://apps.apple.com/account/subscriptions?x=1', `${apple}?x=1`],
      ['APP_STORE', 'https://pay.example.com/upgrade', apple],
      ['APP_STORE', 'https://apple.com.example.com/', apple],
      ['APP_STORE', 'javascript:alert(1)', apple],
      ['APP_STORE', 'http://apps.apple.com/account/subscriptions?x=1', apple],
      ['PLAY_STORE', null, 'https://play.google.com/store/account/subscriptions'],
      [
        'AMAZON',
        'https://www.amazon.co.uk/gp/mas/your-account',
        'https://www.amazon.co.uk/gp/mas/your-account',
      ],
      ['AMAZON', null, null],
      ['STRIPE', 'https://billing.stripe.com/p/login/x', null],
      ['RC_BILLING', 'https://pay.rev.cat/manage', null],
      ['PROMOTIONAL', null, null],
      [null, apple, null],
    ];
    for (const [store, managementUrl, linked] of cases) {
      assert.equal(manageUrlOf({ store, managementUrl }), linked, `${store} ${managementUrl}`);
    }
  });
});

describe('sharing from the inbox', () => {
  it('adds the card to the reply for a customer who is signed in with their app user ID', () => {
    assert.ok(canShare({ externalId: 'user-1', isLead: false }, ['alias-1', 'user-1']));
    assert.ok(!canShare({ externalId: 'user-1', isLead: true }, ['user-1']));
    assert.ok(!canShare({ externalId: null, isLead: false }, ['user-1']));
    assert.ok(!canShare({ externalId: 'user-2', isLead: false }, ['user-1']));
  });
});
