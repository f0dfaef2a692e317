import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { identifiersOf, readEvent } from '../../src/subscription/read-event.ts';
import { body } from './histories.ts';

const received = { receivedAtMs: 5, fallbackId: 'fallback' };

describe('reading an event', () => {
  test('fields of the wrong type count as absent', () => {
    const event = readEvent(
      {
        id: {},
        event_id: 'paywall-1',
        type: 'RENEWAL',
        event_timestamp_ms: 'soon',
        store: ['APP_STORE'],
        entitlement_ids: 'pro',
        price: 'free',
        is_family_share: 'yes',
        expiration_at_ms: Number.NaN,
      },
      received,
    );
    assert.equal(event.id, 'paywall-1');
    assert.equal(event.atMs, 5);
    assert.equal(event.store, null);
    assert.deepEqual(event.entitlements, []);
    assert.equal(event.price, null);
    assert.equal(event.isFamilyShare, false);
    assert.equal(event.expiresAtMs, null);
  });

  test('a number that is sent as a string is read', () => {
    const fields = {
      event_timestamp_ms: '1795735834123',
      expiration_at_ms: '1798327834000',
      currency: 'USD',
    };
    const event = readEvent({ type: 'CANCELLATION', ...fields, price: '-9.99' }, received);
    assert.equal(event.atMs, 1795735834123);
    assert.equal(event.expiresAtMs, 1798327834000, 'without an end the access would last forever');
    assert.deepEqual(event.price, { amountMinor: -999, currency: 'USD' });
    assert.equal(readEvent({ price: '' }, received).priceUsdCents, null);
  });

  test('a time before there was one counts as absent', () => {
    const at = (fields: Record<string, unknown>): number =>
      readEvent({ type: 'RENEWAL', ...fields }, received).atMs;
    assert.equal(at({ event_timestamp_ms: -1, purchased_at_ms: 7 }), 7);
    assert.equal(at({ event_timestamp_ms: 0, purchased_at_ms: 0 }), 5);
    const { purchasedAtMs, expiresAtMs } = readEvent(
      { type: 'RENEWAL', purchased_at_ms: -1, expiration_at_ms: 0 },
      received,
    );
    assert.deepEqual([purchasedAtMs, expiresAtMs], [null, null]);
  });

  test('a time after the year 9999 counts as absent: it is in another unit', () => {
    const inMicroseconds = readEvent(
      { type: 'RENEWAL', event_timestamp_ms: 1_795_522_763_000_000, expiration_at_ms: 1_798_114_763_000_000 },
      received,
    );
    assert.deepEqual([inMicroseconds.atMs, inMicroseconds.expiresAtMs], [5, null]);
    const transfer = { type: 'TRANSFER', event_timestamp_ms: 78_789_789_798_798, transferred_to: ['ada'] };
    assert.equal(readEvent(transfer, received).atMs, 5, "RevenueCat's own sample");
    const last = Date.parse('9999-12-31T23:59:59.999Z');
    assert.equal(readEvent({ type: 'RENEWAL', expiration_at_ms: last }, received).expiresAtMs, last);
    assert.equal(readEvent({ type: 'RENEWAL', expiration_at_ms: last + 1 }, received).expiresAtMs, null);
  });

  test('unknown values and fields are stored', () => {
    const sent = body('RENEWAL', 0, { store: 'MOON_STORE', period_type: 'LUNAR', craters: 3 });
    const event = readEvent(sent, received);
    assert.equal(event.store, 'MOON_STORE');
    assert.equal(event.periodType, 'LUNAR');
    assert.equal(event.raw, sent);
  });

  test('an event without any id takes the fallback', () => {
    assert.equal(readEvent({ type: 'TEST' }, received).id, 'fallback');
  });

  for (const value of [null, undefined, 3, 'x', [], true]) {
    test(`${JSON.stringify(value)} is an event of an unknown type`, () => {
      assert.equal(readEvent(value, received).kind, 'unknown');
    });
  }

  const environments: readonly [Record<string, unknown>, string | null][] = [
    [{ environment: 'PRODUCTION' }, 'production'],
    [{ environment: 'SANDBOX' }, 'sandbox'],
    [{ environment: 'sandbox' }, 'sandbox'],
    [{ purchase_environment: 'SANDBOX' }, 'sandbox'],
    [{ store: 'TEST_STORE' }, 'sandbox'],
    [{ store: 'PROMOTIONAL' }, null],
    [{}, null],
  ];
  for (const [fields, expected] of environments) {
    test(`environment of ${JSON.stringify(fields)}: ${expected}`, () => {
      assert.equal(readEvent({ type: 'RENEWAL', ...fields }, received).environment, expected);
    });
  }

  test('the deprecated single entitlement counts where the list is missing', () => {
    assert.deepEqual(readEvent({ entitlement_id: 'pro' }, received).entitlements, ['pro']);
    assert.deepEqual(readEvent({ entitlement_id: 'old', entitlement_ids: ['pro'] }, received).entitlements, [
      'pro',
    ]);
  });

  test('sums are minor units of the currency paid, and US cents', () => {
    const event = readEvent(
      body('RENEWAL', 0, { price: 6.7, price_in_purchased_currency: 1000, currency: 'JPY' }),
      received,
    );
    assert.deepEqual(event.price, { amountMinor: 1000, currency: 'JPY' });
    assert.equal(event.priceUsdCents, 670);
  });

  test('what was paid in US dollars is known in US cents without a price of its own', () => {
    const fields = { price: null, price_in_purchased_currency: 9.99 };
    assert.equal(readEvent(body('RENEWAL', 0, fields), received).priceUsdCents, 999);
    assert.equal(readEvent(body('RENEWAL', 0, { ...fields, currency: 'EUR' }), received).priceUsdCents, null);
  });

  test('what was paid in an unknown currency is given in US dollars', () => {
    const fields = { price: 6.7, price_in_purchased_currency: 1000, currency: null };
    assert.deepEqual(readEvent(body('RENEWAL', 0, fields), received).price, {
      amountMinor: 670,
      currency: 'USD',
    });
    assert.equal(readEvent(body('RENEWAL', 0, { ...fields, price: null }), received).price, null);
  });

  test('types of the customer events endpoint lose their prefix', () => {
    assert.equal(readEvent({ type: 'PURCHASES_RENEWAL' }, received).type, 'RENEWAL');
  });
});

describe('the customers that an event names', () => {
  const anonymous = '$RCAnonymousID:8069238d6049ce87cc529853916d624c';
  const cases: readonly [string, Record<string, unknown>, string[], string[]][] = [
    [
      'identified ids come before anonymous ones',
      { app_user_id: anonymous, original_app_user_id: anonymous, aliases: ['ada', anonymous] },
      ['ada', anonymous],
      [],
    ],
    [
      'blocked ids identify no one',
      {
        app_user_id: 'null',
        original_app_user_id: '0',
        aliases: ['[object Object]', '', 'ada', 'undefined'],
      },
      ['ada'],
      [],
    ],
    ['aliases of the wrong type', { app_user_id: 'ada', aliases: [1, null, {}, 'b'] }, ['ada', 'b'], []],
    [
      'a transfer',
      { type: 'TRANSFER', transferred_from: ['a', anonymous], transferred_to: ['b'] },
      ['b'],
      ['a', anonymous],
    ],
    [
      'a transfer that also names the ids of one customer',
      {
        type: 'TRANSFER',
        app_user_id: 'b',
        original_app_user_id: 'a',
        transferred_from: ['a'],
        transferred_to: ['b'],
      },
      ['b'],
      ['a'],
    ],
    [
      'a transfer within one customer gives nothing away',
      { type: 'TRANSFER', transferred_from: ['a', 'b'], transferred_to: ['b'] },
      ['b'],
      ['a'],
    ],
    [
      'redeemed as an alias',
      {
        type: 'PURCHASE_REDEEMED',
        redemption_outcome: 'alias',
        redeemed_by: [anonymous],
        redeemed_from: ['a'],
      },
      ['a', anonymous],
      [],
    ],
    [
      'redeemed as a transfer',
      { type: 'PURCHASE_REDEEMED', redemption_outcome: 'transfer', redeemed_by: ['b'], redeemed_from: ['a'] },
      ['b'],
      ['a'],
    ],
    [
      'redeemed by its owner',
      { type: 'PURCHASE_REDEEMED', redemption_outcome: 'redeemer_owns', redeemed_by: ['b'] },
      ['b'],
      [],
    ],
    [
      'an alias event',
      { type: 'SUBSCRIBER_ALIAS', app_user_id: 'b', original_app_user_id: 'a' },
      ['b', 'a'],
      [],
    ],
    ['no one', { type: 'TEST' }, [], []],
  ];
  for (const [name, fields, customer, source] of cases) {
    test(name, () => assert.deepEqual(identifiersOf({ type: 'RENEWAL', ...fields }), { customer, source }));
  }

  test('a transfer of very many ids takes no time', () => {
    const ids = (prefix: string) => Array.from({ length: 30_000 }, (_, index) => `${prefix}${index}`);
    const before = process.cpuUsage();
    const transfer = { type: 'TRANSFER', transferred_from: ids('from'), transferred_to: ids('to') };
    assert.equal(identifiersOf(transfer).source.length, 30_000);
    assert.ok(process.cpuUsage(before).user < 1_000_000);
  });
});
