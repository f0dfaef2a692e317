import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LANGUAGES, type Language } from '../../src/i18n/languages.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import type { Customer } from '../../src/messenger/customer.ts';
import { type CustomerView, type Holding, viewCustomer } from '../../src/messenger/customer-view.ts';
import type { TimelineEntry } from '../../src/subscribers/stored-events.ts';
import { readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { eventBody, START_MS } from '../support/events.ts';

const UNNAMED = { product: () => null, entitlement: () => null };

function viewOf(
  events: readonly Record<string, unknown>[],
  afterDays: number,
  locale: Language = 'en',
): CustomerView {
  const history = events.map((fields) =>
    readEvent(eventBody(fields), { receivedAtMs: START_MS, fallbackId: 'none', side: 'customer' }),
  );
  const customer: Customer = {
    subscriberId: 's',
    projectId: 'p',
    appUserIds: ['user-1'],
    state: deriveState(history, null, START_MS + afterDays * DAY_MS),
    ownHistory: history as TimelineEntry[],
    snapshotAtMs: null,
    canRefresh: false,
    names: UNNAMED,
  };
  return viewCustomer([customer], messagesFor(locale), START_MS + afterDays * DAY_MS);
}

function holdingOf(...of: Parameters<typeof viewOf>): Holding {
  const [holding] = viewOf(...of).holdings;
  assert.ok(holding);
  return holding;
}

const BOUGHT = { type: 'NON_RENEWING_PURCHASE', product_id: 'pass' };
const PAUSE = {
  type: 'SUBSCRIPTION_PAUSED',
  store: 'PLAY_STORE',
  event_timestamp_ms: START_MS + DAY_MS,
  auto_resume_at_ms: START_MS + 60 * DAY_MS,
};

const SAID: readonly (readonly [
  what: string,
  events: readonly Record<string, unknown>[],
  sentence: string,
])[] = [
  ['renews', [{}], 'You have Pro for $9.99 a month. It renews on Jan 31, 2026.'],
  [
    'renews each quarter',
    [{ expiration_at_ms: START_MS + 90 * DAY_MS }],
    'You have Pro for $9.99 every 3 months. It renews on Apr 1, 2026.',
  ],
  ['renews at an unknown time', [{ expiration_at_ms: null }], 'You have Pro for $9.99.'],
  ['bought for a time', [{ ...BOUGHT }], 'You have Pro until Jan 31, 2026. It does not renew.'],
  [
    'bought for good',
    [{ ...BOUGHT, expiration_at_ms: null }],
    'You have Pro for life. There is nothing more to pay.',
  ],
  [
    'prepaid',
    [{ period_type: 'PREPAID', store: 'PLAY_STORE' }],
    'You have Pro until Jan 31, 2026. It does not renew.',
  ],
  [
    'a free trial whose price is not known',
    [{ period_type: 'TRIAL', price: 0, price_in_purchased_currency: 0 }],
    'Your free trial of Pro runs until Jan 31, 2026. Then it renews and you are charged.',
  ],
  ['family', [{ is_family_share: true }], 'You have Pro through family sharing.'],
  [
    'a store that cannot confirm',
    [{ type: 'TEMPORARY_ENTITLEMENT_GRANT', expiration_at_ms: START_MS + DAY_MS }],
    'You have Pro for now, until Jan 2, 2026: the store has not confirmed the purchase yet.',
  ],
  [
    'a pause ahead',
    [{ store: 'PLAY_STORE' }, PAUSE],
    'You have Pro until Jan 31, 2026. Then it is paused until Mar 2, 2026.',
  ],
  [
    'given up by the store',
    [{}, { type: 'CANCELLATION', cancel_reason: 'BILLING_ERROR', event_timestamp_ms: START_MS + 1_000 }],
    'The last payment for Pro failed. You can use it until Jan 31, 2026. Please check your payment method in the App Store.',
  ],
  ['that has ended', [{ expiration_at_ms: START_MS + 1_000 }], 'Pro ended on Jan 1, 2026.'],
  [
    'without a name',
    [{ entitlement_ids: [], product_id: 'prod4f31bd16ab' }],
    'You have your subscription for $9.99 a month. It renews on Jan 31, 2026.',
  ],
  [
    'without another name than the one that Stripe made up',
    [{ entitlement_ids: null, product_id: 'prod_R4tUv8xQy2Za6b', store: 'STRIPE' }],
    'You have your subscription for $9.99 a month. It renews on Jan 31, 2026.',
  ],
  [
    'in whole yen',
    [{ currency: 'JPY', price: 3.2, price_in_purchased_currency: 500 }],
    'You have Pro for ¥500 a month. It renews on Jan 31, 2026.',
  ],
  [
    'in thousandths of a dinar',
    [{ currency: 'KWD', price: 9.8, price_in_purchased_currency: 3 }],
    'You have Pro for KWD\u00a03.000 a month. It renews on Jan 31, 2026.',
  ],
];

describe('what customers read', () => {
  for (const [what, events, sentence] of SAID) {
    it(what, () => assert.equal(holdingOf(events, 0.5).sentence, sentence));
  }

  it('tells what was cancelled on the web from what an app store charges', () => {
    const web = { store: 'STRIPE', original_transaction_id: 'sub_1', transaction_id: 'in_1' };
    const cancelled = { ...web, type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE', id: 'c' };
    assert.equal(
      viewOf([{}, { ...web, id: 'w' }, cancelled], 0.5).summary,
      'You have Pro (App Store) for $9.99 a month. It renews on Jan 31, 2026. Pro (on the web) is cancelled. ' +
        'You can use it until Jan 31, 2026. You will not be charged for it again.',
    );
  });

  it('names no period after a trial that is not that of the price', () => {
    const again = [
      { expiration_at_ms: START_MS + 30 * DAY_MS },
      {
        type: 'RENEWAL',
        period_type: 'TRIAL',
        price: 0,
        price_in_purchased_currency: 0,
        event_timestamp_ms: START_MS + 40 * DAY_MS,
        purchased_at_ms: START_MS + 40 * DAY_MS,
        expiration_at_ms: START_MS + 47 * DAY_MS,
      },
    ];
    assert.equal(
      holdingOf(again, 41).sentence,
      'Your free trial of Pro runs until Feb 17, 2026. Then it costs $9.99.',
    );
  });

  it('keeps what ended beside what runs, unless that gives the same', () => {
    const ids = { product_id: 'extra', transaction_id: 'tx2', original_transaction_id: 'tx2' };
    const endings = (entitlements: readonly string[]) => {
      const ended = { ...ids, entitlement_ids: entitlements, expiration_at_ms: START_MS + 1_000 };
      return viewOf([{}, ended], 1).holdings.map(({ tone }) => tone === 'ended');
    };
    assert.deepEqual(endings([]), [false, true]);
    assert.deepEqual(endings(['team']), [false, true]);
    assert.deepEqual(endings(['pro']), [false]);
  });

  it('offers a way to change only what can be changed', () => {
    assert.ok(holdingOf([{}], 0.5).manage);
    assert.ok(
      holdingOf([{ period_type: 'PREPAID', store: 'PLAY_STORE' }], 0.5).manage,
      'it can be prepaid again',
    );
    for (const events of [[BOUGHT], [{ is_family_share: true }]]) {
      const { manage, howToChange } = holdingOf(events, 0.5);
      assert.deepEqual([manage, howToChange], [null, null]);
    }
    const howToChange = (fields: Record<string, unknown>) => holdingOf([fields], 0.5).howToChange;
    assert.equal(howToChange({ store: 'STRIPE' }), 'To change or cancel it, write to us.');
    assert.ok(howToChange({ store: 'STRIPE', expiration_at_ms: null }), 'no end is known');
    assert.match(howToChange({ store: 'AMAZON' }) ?? '', /where you bought it: Amazon Appstore\.$/);
    assert.ok(holdingOf([{ store: 'PLAY_STORE' }, PAUSE], 2).manage, 'a pause ahead can be taken back');
    const rising = { type: 'PRICE_INCREASE_CONSENT_REQUIRED', event_timestamp_ms: START_MS + DAY_MS };
    assert.ok(holdingOf([{}, rising], 2).manage, 'the new price can be agreed to');
  });

  it('lists the price, both dates and the store, each only if it is known', () => {
    const { rows, howToChange } = holdingOf([{}], 0.5);
    assert.deepEqual(rows, [
      ['Price', '$9.99 a month'],
      ['Since', 'Jan 1, 2026'],
      ['Renews', 'Jan 31, 2026'],
      ['Purchased', 'App Store'],
    ]);
    assert.equal(howToChange, null, 'it has a link');
    const granted = { ...BOUGHT, store: 'PROMOTIONAL', period_type: 'PROMOTIONAL' };
    const grant = holdingOf([granted], 0.5);
    assert.deepEqual(grant.rows, [
      ['Since', 'Jan 1, 2026'],
      ['Ends', 'Jan 31, 2026'],
    ]);
    assert.equal(grant.howToChange, null);
  });

  it('adds the store only to names that run in two, and only a store that may be named', () => {
    const second = { id: 'w', original_transaction_id: 'sub_1', transaction_id: 'in_1' };
    const titles = (...events: readonly Record<string, unknown>[]) =>
      viewOf(events, 0.5).holdings.map(({ title }) => title);
    assert.deepEqual(titles({}, { ...second, store: 'MOON_STORE' }), ['Pro (App Store)', 'Pro']);
    const ended = { ...second, store: 'STRIPE', expiration_at_ms: START_MS + 1 };
    assert.deepEqual(titles({}, ended), ['Pro']);
    const nameless = { entitlement_ids: [], product_id: 'prod4f31bd16ab' };
    const both = titles(nameless, { ...nameless, ...second, store: 'STRIPE' });
    assert.deepEqual(both, ['Subscription', 'Subscription']);
  });

  it('shows no event that means nothing to a customer', () => {
    const [shown, ...others] = viewOf(
      [{}, { type: 'INVOICE_ISSUANCE', id: 'i' }, { type: 'NEW', id: 'n' }],
      0.5,
    ).history;
    assert.deepEqual([shown?.title, others], ['You subscribed', []]);
  });

  it('shows a family member neither what the payer decided nor what was charged', () => {
    const shared = { is_family_share: true, price: 0, price_in_purchased_currency: 0 };
    const later = (type: string, fields: object = {}) => ({
      ...shared,
      type,
      event_timestamp_ms: START_MS + DAY_MS,
      ...fields,
    });
    const { history } = viewOf(
      [
        shared,
        later('CANCELLATION', { cancel_reason: 'UNSUBSCRIBE' }),
        later('CANCELLATION', { cancel_reason: 'CUSTOMER_SUPPORT', transaction_id: 'refunded' }),
        ...['UNCANCELLATION', 'PRODUCT_CHANGE', 'BILLING_ISSUE', 'REFUND_REVERSED'].map((type) =>
          later(type),
        ),
        later('PRICE_INCREASE_CONSENT_REQUIRED'),
        later('EXPIRATION', { expiration_reason: 'UNSUBSCRIBE', event_timestamp_ms: START_MS + 30 * DAY_MS }),
      ],
      40,
    );
    assert.deepEqual(
      history.map(({ title, subtitle }) => [title, subtitle]),
      [
        ['Your subscription ended', 'Pro monthly · family sharing'],
        ['You subscribed', 'Pro monthly · family sharing'],
      ],
    );
  });

  it('lists what runs, and three at most that have ended', () => {
    const plan = (n: number, fields: object = {}) => ({
      transaction_id: `plan-${n}`,
      original_transaction_id: `plan-${n}`,
      product_id: `plan_${n}`,
      entitlement_ids: [`plan_${n}`],
      ...fields,
    });
    const titles = (events: readonly Record<string, unknown>[]): string[] =>
      viewOf(events, 40).holdings.map(({ title, tone }) => `${title}${tone === 'ended' ? ' (ended)' : ''}`);
    const ended = [1, 2, 3, 4].map((n) => plan(n));
    const running = plan(5, { expiration_at_ms: START_MS + 60 * DAY_MS });
    const [first = '', ...others] = titles([...ended, running]);
    assert.match(first, /plan.5$/i);
    assert.equal(others.length, 3);
    assert.ok(others.every((title) => title.endsWith('(ended)')));
    // A grant that has ended is not shown to a customer who has paid since.
    const grant = { type: 'NON_RENEWING_PURCHASE', store: 'PROMOTIONAL', period_type: 'PROMOTIONAL' };
    assert.equal(titles([plan(6, grant)]).length, 1);
    assert.deepEqual(titles([plan(6, grant), running]), [first]);
    // Nor is a plan whose access another plan gives now, but a refunded one is.
    const before = plan(7, { entitlement_ids: ['plan_5'] });
    assert.deepEqual(titles([before, running]), [first]);
    const cancelled = { ...before, store: 'PLAY_STORE', expiration_at_ms: START_MS + 50 * DAY_MS };
    const again = { ...running, store: 'PLAY_STORE', purchased_at_ms: START_MS + 30 * DAY_MS };
    const cancellation = { ...cancelled, type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE' };
    assert.deepEqual(titles([cancelled, cancellation, again]), [first], 'bought again before its end');
    const refund = { ...before, type: 'CANCELLATION', cancel_reason: 'CUSTOMER_SUPPORT', price: -9.99 };
    assert.equal(titles([before, refund, running]).length, 2);
    assert.equal(
      titles([plan(7, { entitlement_ids: ['plan_5', 'more'] }), running]).length,
      2,
      'more has ended',
    );
  });

  it('shows test purchases to those alone who have nothing else', () => {
    const trying = { environment: 'SANDBOX', id: 'test', transaction_id: 't', original_transaction_id: 't' };
    const tester = viewOf([trying], 1);
    assert.deepEqual([tester.holdings.length, tester.history.length, tester.isTester], [1, 1, true]);
    // A beta tester sees a price below this title, so the title says that it costs no real money.
    assert.equal(tester.holdings[0]?.title, 'Pro · Test purchase, no real money');
    const customer = viewOf([{}, trying], 1);
    assert.deepEqual([customer.holdings.length, customer.history.length, customer.isTester], [1, 1, false]);
    assert.equal(viewOf([], 1).isTester, false);
  });

  it('shows a failed payment once, and every other event', () => {
    const at = (days: number) => ({ event_timestamp_ms: START_MS + days * DAY_MS });
    const failed = { type: 'CANCELLATION', cancel_reason: 'BILLING_ERROR' };
    const shown = (...events: Record<string, unknown>[]): number =>
      viewOf([{}, ...events], 29).history.length;
    const issue = { type: 'BILLING_ISSUE', ...at(2) };
    assert.equal(shown(issue, { ...failed, ...at(2) }), 2);
    assert.equal(shown(issue, { ...failed, ...at(12) }), 3, 'another failure');
    assert.equal(
      shown({ ...issue, product_id: 'team_monthly' }, { ...failed, ...at(2) }),
      3,
      'of another product',
    );
    assert.equal(shown(issue, { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE', ...at(2) }), 3);
  });

  it('offers a way to the card that the store still retries after access has ended', () => {
    const at = { event_timestamp_ms: START_MS + 30 * DAY_MS };
    const failing = [
      {},
      { type: 'BILLING_ISSUE', ...at },
      { type: 'EXPIRATION', expiration_reason: 'BILLING_ERROR', ...at },
    ];
    assert.ok(holdingOf(failing, 40).manage);
    assert.equal(holdingOf(failing, 100).manage, null);
    const again = {
      transaction_id: 'again',
      original_transaction_id: 'again',
      purchased_at_ms: START_MS + 35 * DAY_MS,
      expiration_at_ms: START_MS + 65 * DAY_MS,
      event_timestamp_ms: START_MS + 35 * DAY_MS,
    };
    assert.equal(viewOf([...failing, again], 40).holdings.length, 1, 'bought again: nothing is retried');
  });

  it('is said in every language, each in its own words', () => {
    for (const [what, events] of SAID) {
      const sentences = LANGUAGES.map((language) => holdingOf(events, 0.5, language).sentence);
      assert.equal(new Set(sentences).size, LANGUAGES.length, what);
      for (const sentence of sentences) assert.doesNotMatch(sentence, /undefined|null| {2}/, sentence);
    }
  });
});
