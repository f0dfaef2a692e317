import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventText } from '../../src/i18n/event-text.ts';
import { LANGUAGES, type Language } from '../../src/i18n/languages.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import { EVENT_KINDS, isShownToCustomers, TIMELINE_ONLY_KINDS } from '../../src/subscription/kinds.ts';
import { productName, STORE_CODES, storeName, tidyId } from '../../src/subscription/names.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { buy, event, grant, period, renew, trial } from '../subscription/histories.ts';

const names = {
  product: (id: string): string | null => (id === 'pro_monthly' ? 'Pro monthly plan' : null),
  entitlement: (key: string): string | null => (key === 'pro' ? 'Pro' : null),
};

const cancelled = (reason: string, fields = {}): LifecycleEvent =>
  event('CANCELLATION', 0, { cancel_reason: reason, ...fields });

/** Every text that a timeline can show, in one place. */
const LINES: readonly [LifecycleEvent, string, string][] = [
  [buy(0, 30), 'Subscribed', 'Pro monthly plan · $10.00'],
  [buy(0, 30, { offer_code: 'SPRING' }), 'Subscribed', 'Pro monthly plan · $10.00 · offer SPRING'],
  [
    buy(0, 30, { is_family_share: true, price: 0, price_in_purchased_currency: 0 }),
    'Subscribed',
    'Pro monthly plan · family sharing',
  ],
  [trial(0, 7), 'Started a free trial', 'Pro monthly plan'],
  [grant(0, 31, { entitlement_ids: null }), 'Access granted', 'Pro'],
  [
    renew(7, 37, { is_trial_conversion: true }),
    'Free trial became a subscription',
    'Pro monthly plan · $10.00',
  ],
  [
    renew(30, 60, { currency: 'JPY', price_in_purchased_currency: 1500 }),
    'Renewed',
    'Pro monthly plan · ¥1,500',
  ],
  [
    cancelled('UNSUBSCRIBE', { period_type: 'TRIAL' }),
    'Cancelled the free trial',
    'Pro monthly plan · turned off renewal',
  ],
  [cancelled('UNSUBSCRIBE'), 'Cancelled', 'Pro monthly plan · turned off renewal'],
  [
    cancelled('BILLING_ERROR'),
    'Payment failed',
    'Pro monthly plan · the App Store could not charge the card',
  ],
  [
    cancelled('BILLING_ERROR', { store: null }),
    'Payment failed',
    'Pro monthly plan · the store could not charge the card',
  ],
  [
    cancelled('BILLING_ERROR', { ...period(0, 365), store: 'PLAY_STORE' }),
    'Cancelled',
    'Pro monthly plan · Google Play turned off renewal',
  ],
  [cancelled('DEVELOPER_INITIATED'), 'Cancelled', "Pro monthly plan · ended by the app's team"],
  [cancelled('PRICE_INCREASE'), 'Cancelled', 'Pro monthly plan · did not agree to the price increase'],
  [cancelled('UNKNOWN'), 'Cancelled', 'Pro monthly plan · for an unknown reason'],
  [cancelled('SOMETHING_NEW'), 'Cancelled', 'Pro monthly plan · Something New'],
  [
    cancelled('CUSTOMER_SUPPORT', { ...period(0, 30, -10) }),
    'Refunded',
    'Pro monthly plan · $10.00 · asked Apple for a refund',
  ],
  [cancelled('CUSTOMER_SUPPORT', { is_family_share: true }), 'Refunded', 'Pro monthly plan · family sharing'],
  [
    cancelled('CUSTOMER_SUPPORT', { store: 'PLAY_STORE' }),
    'Refunded',
    'Pro monthly plan · refunded through RevenueCat',
  ],
  [
    cancelled('CUSTOMER_SUPPORT', { store: 'STRIPE' }),
    'Refunded',
    "Pro monthly plan · refunded by the app's team",
  ],
  [cancelled('CUSTOMER_SUPPORT', { store: 'ROKU' }), 'Refunded', 'Pro monthly plan'],
  [event('REFUND_REVERSED', 0, period(0, 30, 10)), 'Refund reversed', 'Pro monthly plan · $10.00'],
  [event('UNCANCELLATION', 0), 'Turned renewal back on', 'Pro monthly plan'],
  [
    event('NON_RENEWING_PURCHASE', 0, { ...period(0, null, 5), product_id: 'com.example.app.coins_100' }),
    'Made a purchase',
    'Coins 100 · $5.00',
  ],
  [
    event('EXPIRATION', 0, { expiration_reason: 'BILLING_ERROR', store: 'STRIPE' }),
    'Subscription ended',
    'Pro monthly plan · Stripe could not charge the card',
  ],
  [
    event('EXPIRATION', 7, { period_type: 'TRIAL', expiration_reason: 'UNSUBSCRIBE' }),
    'Free trial ended',
    'Pro monthly plan · turned off renewal',
  ],
  [
    event('EXPIRATION', 0, { expiration_reason: 'CUSTOMER_SUPPORT', store: 'STRIPE' }),
    'Subscription ended',
    'Pro monthly plan · after a refund',
  ],
  [
    event('EXPIRATION', 0, { expiration_reason: 'SUBSCRIPTION_PAUSED' }),
    'Subscription paused',
    'Pro monthly plan',
  ],
  [event('EXPIRATION', 0, { store: 'PROMOTIONAL' }), 'Grant ended', 'Pro'],
  [
    cancelled('UNSUBSCRIBE', {
      store: 'PROMOTIONAL',
      product_id: 'rc_promo_pro_custom',
      entitlement_ids: null,
    }),
    'Cancelled',
    'Pro · turned off renewal',
  ],
  [
    event('BILLING_ISSUE', 0, { store: 'AMAZON' }),
    'Payment failed',
    'Pro monthly plan · the Amazon Appstore could not charge the card',
  ],
  [
    event('PRODUCT_CHANGE', 0, { new_product_id: 'pro:yearly-base' }),
    'Changed plan',
    'from Pro monthly plan to Pro (yearly base)',
  ],
  [event('PRODUCT_CHANGE', 0), 'Changed plan', 'Pro monthly plan'],
  [event('PRODUCT_CHANGE', 0, { new_product_id: 'pro_monthly' }), 'Changed plan', 'Pro monthly plan'],
  [event('SUBSCRIPTION_PAUSED', 0), 'Scheduled a pause', 'Pro monthly plan'],
  [event('SUBSCRIPTION_EXTENDED', 0), 'Subscription extended', 'Pro monthly plan'],
  [grant(0, 30), 'Access granted', 'Pro'],
  [
    cancelled('DEVELOPER_INITIATED', { store: 'PROMOTIONAL', entitlement_ids: ['pro', 'team_plus'] }),
    'Grant removed',
    'Pro, Team plus',
  ],
  [event('TRANSFER', 0), 'Received purchases from another customer', 'App Store'],
  [event('TRANSFER', 0, { side: 'source', store: 'ROKU' }), 'Purchases moved to another customer', 'Roku'],
  [event('TEMPORARY_ENTITLEMENT_GRANT', 0), 'Temporary access', 'Pro'],
  [
    event('TEMPORARY_ENTITLEMENT_GRANT', 0, { entitlement_ids: null, product_id: null }),
    'Temporary access',
    '',
  ],
  [event('PRICE_INCREASE_CONSENT_REQUIRED', 0), 'Asked to agree to a price increase', 'Pro monthly plan'],
  [event('PRICE_INCREASE_CONSENT_APPROVED', 0), 'Agreed to a price increase', 'Pro monthly plan'],
  [
    event('INVOICE_ISSUANCE', 0, { price_in_purchased_currency: 9 }),
    'Invoice issued',
    'Pro monthly plan · $9.00',
  ],
  [event('PURCHASE_REDEEMED', 0), 'Redeemed a web purchase', 'Pro monthly plan'],
  [
    event('EXPERIMENT_ENROLLMENT', 0, { experiment_id: 'prexp1', experiment_variant: 'b' }),
    'Joined an experiment',
    'prexp1, variant b',
  ],
  [event('PAYWALL_IMPRESSION', 0, { paywall_name: 'Spring' }), 'Saw a paywall', 'Spring'],
  [event('PAYWALL_CLOSE', 0), 'Closed a paywall', ''],
  [event('PAYWALL_CANCEL', 0), 'Cancelled a purchase on a paywall', ''],
  [event('PAYWALL_EXIT_OFFER', 0), 'Saw an exit offer', ''],
  [event('PAYWALL_COMPONENT_INTERACTED', 0), 'Tapped on a paywall', ''],
  [event('PAYWALL_NEW', 0), 'Paywall', ''],
  [
    event('VIRTUAL_CURRENCY_TRANSACTION', 0, {
      adjustments: [{ amount: 1000, currency: { name: 'Credits' } }, { amount: 3 }, null],
      product_id: null,
    }),
    'Received virtual currency',
    '1,000 Credits, 3',
  ],
  [
    event('VIRTUAL_CURRENCY_TRANSACTION', 0, {
      adjustments: [{ amount: -5, currency: { code: 'CRD' } }],
      product_display_name: 'Pack',
      product_id: 'x',
    }),
    'Spent virtual currency',
    '5 CRD · Pack',
  ],
  [
    event('VIRTUAL_CURRENCY_TRANSACTION', 0, {
      adjustments: [
        { amount: -100, currency: { name: 'Credits' } },
        { amount: 5, currency: { name: 'Gems' } },
      ],
      product_id: null,
    }),
    'Received virtual currency',
    '-100 Credits, 5 Gems',
  ],
  [
    event('VIRTUAL_CURRENCY_TRANSACTION', 0, { adjustments: null, product_id: null }),
    'Spent virtual currency',
    '',
  ],
  [event('SUBSCRIBER_ALIAS', 0), 'Customer IDs linked', ''],
  [event('TEST', 0), 'Test event', 'Pro monthly plan'],
  [event('SOME_NEW_THING', 0, { product_id: null }), 'Some New Thing', 'SOME_NEW_THING'],
];

describe('the text of every event', () => {
  for (const [item, title, subtitle] of LINES) {
    test(`${title}: ${subtitle}`, () => {
      assert.deepEqual(eventText(messagesFor('en'), item, { voice: 'agent', names }), { title, subtitle });
    });
  }

  test('names the store once, and none for what was granted', () => {
    const textOf = (item: LifecycleEvent) =>
      eventText(messagesFor('en'), item, { voice: 'agent', names, withStore: true });
    assert.equal(textOf(event('TRANSFER', 0, { store: 'APP_STORE' })).subtitle, 'App Store');
    assert.equal(textOf(grant(0, 31)).subtitle, 'Pro');
    for (const language of LANGUAGES) {
      const named = { store: 'PLAY_STORE', cancel_reason: 'BILLING_ERROR' };
      const reader = { voice: 'agent', names, withStore: true } as const;
      const { subtitle } = eventText(messagesFor(language), event('BILLING_ISSUE', 0, named), reader);
      assert.equal(subtitle.split('Google Play').length, 2, subtitle);
    }
  });

  test('a redeemed purchase has gone to another customer for the one who had it', () => {
    const titleOf = (type: string) =>
      eventText(messagesFor('en'), { ...event(type, 0), side: 'source' }, { voice: 'agent', names }).title;
    assert.equal(titleOf('PURCHASE_REDEEMED'), titleOf('TRANSFER'));
  });

  test('every kind has a line here', () => {
    const shown = new Set(LINES.map(([item]) => item.kind));
    for (const kind of [...EVENT_KINDS, ...TIMELINE_ONLY_KINDS])
      assert.ok(shown.has(kind), `${kind}: add an event of it to LINES`);
  });
});

test('stores have the names that people know', () => {
  const known = [
    'APP_STORE',
    'MAC_APP_STORE',
    'PLAY_STORE',
    'AMAZON',
    'GALAXY',
    'STRIPE',
    'RC_BILLING',
    'ROKU',
    'PADDLE',
    'PAYPAL',
    'EXTERNAL',
  ];
  assert.deepEqual([...STORE_CODES].sort(), [...known, 'TEST_STORE', 'PROMOTIONAL'].sort());
  assert.deepEqual(
    [...known, 'TEST_STORE', 'PROMOTIONAL', 'MOON_STORE'].map((store) => storeName(store)),
    [
      'App Store',
      'Mac App Store',
      'Google Play',
      'Amazon Appstore',
      'Galaxy Store',
      'Stripe',
      'RevenueCat Web Billing',
      'Roku',
      'Paddle',
      'PayPal',
      'External',
      'Test Store',
      null,
      'Moon Store',
    ],
  );
  assert.equal(storeName(null), null);
});

test('ids are made readable', () => {
  const cases: readonly [string, string][] = [
    ['com.example.app.pro_monthly', 'Pro monthly'],
    ['premium', 'Premium'],
    ['pro.v2', 'Pro.v2'],
    ['com.example.12', 'Com.example.12'],
    ['com.example.coins.100', 'Coins 100'],
    ['sub:base-plan', 'Sub (base plan)'],
    ['---', '---'],
    [':', ':'],
  ];
  for (const [id, expected] of cases) assert.equal(tidyId(id), expected);
});

test('a generated identifier is not a name', () => {
  const noNames = { product: () => null, entitlement: () => null };
  const made = [
    'prod_R4tUv8xQy2Za6b',
    'price_1PqRsTuVwXyZ0123456789Ab',
    'pro_01hv7r8k2m3n4p5q6s7t8v9w0x',
    'pri_01hv7r8k2m3n4p5q6s7t8v9w0x',
  ];
  assert.deepEqual(new Set(made.map((id) => productName(id, noNames))), new Set([null]));
  assert.equal(productName('prod_R4tUv8xQy2Za6b', { ...noNames, product: () => 'Gold' }), 'Gold');
  assert.equal(productName('prod_premiummonthly', noNames), 'Prod premiummonthly');
  assert.equal(productName('pro_monthly', noNames), 'Pro monthly');
});

test('stores take the article of each language, and refunds say who gave them', () => {
  const cases: readonly [Language, string | null, failed: string, refunded: string][] = [
    ['de', 'APP_STORE', 'der App Store konnte die Karte nicht belasten', 'Erstattung bei Apple beantragt'],
    ['de', 'PLAY_STORE', 'Google Play konnte die Karte nicht belasten', 'über RevenueCat erstattet'],
    ['de', null, 'der Store konnte die Karte nicht belasten', ''],
    ['fr', 'APP_STORE', 'l’App Store n’a pas pu débiter la carte', 'remboursement demandé à Apple'],
    ['fr', 'MAC_APP_STORE', 'le Mac App Store n’a pas pu débiter la carte', 'remboursement demandé à Apple'],
    ['fr', 'STRIPE', 'Stripe n’a pas pu débiter la carte', 'remboursé par l’équipe de l’app'],
    ['es', 'APP_STORE', 'el App Store no pudo hacer el cargo en la tarjeta', 'pidió un reembolso a Apple'],
    ['es', null, 'la tienda no pudo hacer el cargo en la tarjeta', ''],
    ['pt', 'APP_STORE', 'a App Store não conseguiu cobrar no cartão', 'pediu reembolso à Apple'],
    ['pt', 'PLAY_STORE', 'o Google Play não conseguiu cobrar no cartão', 'reembolsado via RevenueCat'],
    ['ja', 'AMAZON', 'Amazon Appstoreがカードに請求できなかった', 'Amazonに返金を申請'],
  ];
  const subtitle = (language: Language, item: LifecycleEvent) =>
    eventText(messagesFor(language), { ...item, productId: null }, { voice: 'agent', names }).subtitle;
  for (const [language, store, failed, refunded] of cases) {
    assert.equal(subtitle(language, event('BILLING_ISSUE', 0, { store })), failed);
    assert.equal(subtitle(language, cancelled('CUSTOMER_SUPPORT', { store })), refunded);
  }
});

describe('the history that a customer reads', () => {
  const text = (item: LifecycleEvent, language: Language = 'en') =>
    eventText(messagesFor(language), item, { voice: 'customer', names });

  test('does not say that the customer cancelled a trial that the team cancelled', () => {
    const item = cancelled('DEVELOPER_INITIATED', { period_type: 'TRIAL', product_id: null });
    const titles = LANGUAGES.map((language) => text(item, language).title);
    assert.deepEqual(titles, [
      'Your free trial was cancelled',
      'Ihre kostenlose Testphase wurde gekündigt',
      'Votre essai gratuit a été annulé',
      'Tu prueba gratuita se canceló',
      'Seu teste grátis foi cancelado',
      '無料トライアルが解約されました',
    ]);
    // Spanish and Portuguese would make the customer the subject of "canceló".
    assert.equal(
      eventText(messagesFor('es'), item, { voice: 'agent', names }).title,
      'Prueba gratuita cancelada',
    );
    assert.equal(text(item, 'pt').subtitle, 'por decisão nossa');
  });

  test('addresses the customer', () => {
    assert.deepEqual(text(buy(0, 30)), { title: 'You subscribed', subtitle: 'Pro monthly plan · $10.00' });
    assert.deepEqual(text(cancelled('UNSUBSCRIBE')), {
      title: 'Your subscription was cancelled',
      subtitle: 'Pro monthly plan · you turned off renewal',
    });
    for (const item of LINES.map(([each]) => each).filter(isShownToCustomers)) {
      const { title, subtitle } = text(item);
      const missing = `${item.kind}: no title in the customer’s words`;
      assert.match(`${title} ${subtitle}`, /\b(you|your|we|a payment)\b/i, missing);
      for (const language of LANGUAGES)
        assert.notEqual(
          text(item, language).title,
          eventText(messagesFor(language), item, { voice: 'agent', names }).title,
          `${language}: ${missing}`,
        );
    }
  });

  test('leaves out a reason without words for customers: its code is for the team, and in English', () => {
    for (const language of LANGUAGES)
      for (const reason of ['CHARGEBACK_FRAUD', 'UNKNOWN'])
        assert.equal(text(cancelled(reason), language).subtitle, 'Pro monthly plan');
  });

  test('never calls a failed payment cancelled, nor a pause ended', () => {
    assert.equal(text(cancelled('BILLING_ERROR')).title, 'A payment failed');
    const paused = event('EXPIRATION', 0, { expiration_reason: 'SUBSCRIPTION_PAUSED' });
    assert.equal(text(paused).title, 'Your subscription was paused');
  });

  test('says in French who gave a refund, and needs no elision before a name', () => {
    const refund = (store: string) =>
      text(cancelled('CUSTOMER_SUPPORT', { store, product_id: null }), 'fr').subtitle;
    assert.deepEqual(['APP_STORE', 'AMAZON', 'PLAY_STORE'].map(refund), [
      'de la part d’Apple',
      'de la part d’Amazon',
      'de notre part',
    ]);
    const change = event('PRODUCT_CHANGE', 0, { product_id: 'annual', new_product_id: 'monthly' });
    assert.equal(text(change, 'fr').subtitle, 'Annual → Monthly');
  });

  test('names no store but those of a device', () => {
    const failed = (store: string) => text(event('BILLING_ISSUE', 0, { store })).subtitle;
    assert.equal(failed('STRIPE'), 'Pro monthly plan · the store could not charge your card');
    assert.equal(failed('ROKU'), 'Pro monthly plan · Roku could not charge your card');
    assert.equal(text(event('TRANSFER', 0, { store: 'STRIPE' })).subtitle, '');
  });
});
