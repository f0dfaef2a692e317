import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compareWithSnapshot } from '../../src/subscription/compare-with-snapshot.ts';
import {
  CONTACT_ATTRIBUTES,
  contactAttributes,
  eventMetadata,
} from '../../src/subscription/contact-values.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { apiSubscription, buy, day, event, grant, period, renew, snapshotOf, trial } from './histories.ts';

const seconds = (n: number): number => day(n) / 1_000;

describe('attributes of a contact', () => {
  test('an active subscription', () => {
    const state = deriveState([buy(0, 30.00001), grant(0, 90, { entitlement_ids: ['team'] })], null, day(1));
    assert.deepEqual(contactAttributes(state, ['$RCAnonymousID:1', 'ada']), {
      subscription_status: 'active',
      latest_store: 'APP_STORE',
      latest_entitlement: 'pro',
      expires_at: seconds(30),
      rc_app_user_id: 'ada',
      rc_entitlements: 'pro, team',
      rc_product: 'pro_monthly',
      rc_period_type: 'NORMAL',
      rc_will_renew: true,
      rc_trial_ends_at: null,
      rc_first_purchase_at: seconds(0),
      rc_billing_issue_at: null,
      rc_lifetime_value_usd: 10,
      rc_last_event: 'promotional_granted',
      rc_last_event_at: seconds(0),
    });
  });

  test('a trial in its grace period', () => {
    const issue = event('BILLING_ISSUE', 7, {
      ...period(0, 7),
      period_type: 'TRIAL',
      grace_period_expiration_at_ms: day(23),
    });
    const attributes = contactAttributes(deriveState([trial(0, 7), issue], null, day(8)), ['ada']);
    assert.equal(attributes.subscription_status, 'grace_period_trial');
    assert.equal(attributes.expires_at, seconds(23));
    assert.equal(attributes.rc_trial_ends_at, seconds(7));
    assert.equal(attributes.rc_billing_issue_at, seconds(7));
    assert.equal(attributes.rc_last_event, 'billing_issue');
  });

  test('purchases without access have a store and a sum', () => {
    const coins = { ...period(0, null, 5), product_id: 'coins', entitlement_ids: null };
    const bought = event('NON_RENEWING_PURCHASE', 0, { ...coins, store: 'AMAZON' });
    const tested = event('NON_RENEWING_PURCHASE', 1, { ...coins, environment: 'SANDBOX' });
    const refunded = event('CANCELLATION', 2, {
      ...coins,
      ...period(0, null, -5),
      store: 'AMAZON',
      cancel_reason: 'CUSTOMER_SUPPORT',
    });
    const valuesOf = (...events: LifecycleEvent[]) => {
      const values = contactAttributes(deriveState(events, null, day(3)), ['ada']);
      return [values.subscription_status, values.latest_store, values.rc_lifetime_value_usd];
    };
    assert.deepEqual(valuesOf(bought, tested), [null, 'AMAZON', 5]);
    assert.deepEqual(valuesOf(bought, refunded), [null, 'AMAZON', 0]);
    assert.deepEqual(valuesOf(tested), [null, null, null]);
  });

  test('whoever gave everything away has nothing but the last event', () => {
    const state = deriveState([buy(0, 30), event('TRANSFER', 5, { side: 'source' })], null, day(6));
    const { rc_last_event, rc_last_event_at, rc_app_user_id, ...rest } = contactAttributes(state, ['ada']);
    assert.deepEqual([rc_last_event, rc_last_event_at, rc_app_user_id], ['transfer', seconds(5), 'ada']);
    for (const [name, value] of Object.entries(rest)) assert.equal(value, null, name);
  });

  test('of several ids of their own the one that events named last is the customer’s', () => {
    const renewed = renew(30, 60, { app_user_id: 'zoe' });
    const given = event('RENEWAL', 40, { ...period(30, 60), app_user_id: 'stranger' });
    const named = (events: readonly LifecycleEvent[], ids: readonly string[]) =>
      contactAttributes(deriveState(events, null, day(50)), ids).rc_app_user_id;
    assert.equal(named([buy(0, 30), renewed], ['ada', 'bob', 'zoe']), 'zoe');
    assert.equal(named([renewed, buy(0, 30)], ['ada', 'bob', 'zoe']), 'zoe');
    // An event that came with a transfer names another customer.
    assert.equal(named([buy(0, 30), given], ['ada', 'bob']), 'ada');
    const anonymous = renew(30, 60, { app_user_id: '$RCAnonymousID:1' });
    assert.equal(named([buy(0, 30), anonymous], ['$RCAnonymousID:1', 'ada']), 'ada');
    assert.equal(named([], ['bob', 'ada']), 'bob');
  });

  test('a refund whose purchase is unknown takes nothing from zero', () => {
    const refund = event('CANCELLATION', 5, {
      ...period(0, 30, -10),
      cancel_reason: 'CUSTOMER_SUPPORT',
    });
    const { rc_lifetime_value_usd } = contactAttributes(deriveState([refund], null, day(6)), ['ada']);
    assert.equal(rc_lifetime_value_usd, 0);
  });

  test('every attribute is described once, with the type of its value', () => {
    const attributes = contactAttributes(deriveState([buy(0, 30)], null, day(1)), ['ada']);
    assert.deepEqual(
      CONTACT_ATTRIBUTES.map(({ name }) => name),
      Object.keys(attributes),
    );
    for (const { name, dataType } of CONTACT_ATTRIBUTES) {
      const date = name.endsWith('_at');
      const expected = { rc_will_renew: 'boolean', rc_lifetime_value_usd: 'float' }[name as string];
      assert.equal(dataType, expected ?? (date ? 'date' : 'string'), name);
    }
  });
});

describe('metadata of a data event', () => {
  test('ten keys in their order', () => {
    const metadata = eventMetadata(
      buy(0, 30.5, { id: 'e1', environment: 'PRODUCTION', cancel_reason: 'UNKNOWN' }),
    );
    assert.deepEqual(Object.entries(metadata), [
      ['product_identifier', 'pro_monthly'],
      ['entitlement', 'pro'],
      ['store', 'APP_STORE'],
      ['expires_at', seconds(30.5)],
      ['environment', 'production'],
      ['cancellation_reason', 'UNKNOWN'],
      ['price', { amount: 1000, currency: 'usd' }],
      ['period_type', 'NORMAL'],
      ['expires_date', seconds(30.5)],
      ['event_id', 'e1'],
    ]);
  });

  test('what is absent is left out, and so is a price of zero', () => {
    const grantEvent = grant(0, null, { id: 'e1', environment: null, entitlement_ids: null });
    assert.deepEqual(eventMetadata(grantEvent), {
      product_identifier: 'rc_promo_pro_custom',
      store: 'PROMOTIONAL',
      period_type: 'PROMOTIONAL',
      event_id: 'e1',
    });
  });

  test('an expiration names its own reason, a refund a positive sum', () => {
    const ended = event('EXPIRATION', 0, { expiration_reason: 'BILLING_ERROR' });
    assert.equal(eventMetadata(ended).expiration_reason, 'BILLING_ERROR');
    assert.ok(!('cancellation_reason' in eventMetadata(ended)));
    const refund = event('CANCELLATION', 0, { ...period(0, 30, -9.99), cancel_reason: 'CUSTOMER_SUPPORT' });
    assert.deepEqual(eventMetadata(refund).price, { amount: 999, currency: 'usd' });
  });

  test('no text is longer than Intercom takes', () => {
    const long = buy(0, 30, { product_id: `${'p'.repeat(254)}😀`, entitlement_ids: ['e'.repeat(300)] });
    const { product_identifier, entitlement } = eventMetadata(long);
    assert.deepEqual([product_identifier, entitlement], ['p'.repeat(254), 'e'.repeat(255)]);
    const keys = ['a'.repeat(200), 'b'.repeat(100), 'c'];
    const state = deriveState(
      [buy(0, 30, { product_id: 'p'.repeat(300), entitlement_ids: keys })],
      null,
      day(1),
    );
    const { rc_product, rc_entitlements, rc_app_user_id } = contactAttributes(state, ['u'.repeat(300)]);
    assert.deepEqual(
      [rc_product, rc_entitlements, rc_app_user_id],
      ['p'.repeat(255), `${'a'.repeat(200)}, c`, 'u'.repeat(255)],
    );
  });

  test('a sum in an unknown currency is left out', () => {
    const price = (currency: string): unknown => eventMetadata(buy(0, 30, { currency })).price;
    for (const currency of ['COINS', 'x', '840', 'US\0']) assert.equal(price(currency), undefined, currency);
    assert.deepEqual(price('XTS'), { amount: 1000, currency: 'xts' });
  });
});

describe('events and API compared', () => {
  const agree = (fields = {}): string[] => {
    const events = [buy(0, 30)];
    const snapshot = snapshotOf(1, [apiSubscription(fields)]);
    return compareWithSnapshot(deriveState(events, null, day(2)), deriveState(events, snapshot, day(2)));
  };

  test('agreement has no codes', () => assert.deepEqual(agree(), []));
  test('seconds are no disagreement', () => assert.deepEqual(agree({ endsAtMs: day(30) + 5_000 }), []));
  test('an end', () => assert.deepEqual(agree({ endsAtMs: day(31) }), ['ends_at', 'entitlement_end:pro']));
  test('renewal', () =>
    assert.deepEqual(agree({ autoRenewalStatus: 'will_not_renew' }), ['status', 'will_renew']));
  test('entitlements', () =>
    assert.deepEqual(agree({ entitlements: ['team'] }), [
      'entitlement_extra:pro',
      'entitlement_missing:team',
    ]));
});
