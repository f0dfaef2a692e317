import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventText } from '../../src/i18n/event-text.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import { overviewText } from '../../src/i18n/sentences.ts';
import { contactAttributes, eventMetadata } from '../../src/subscription/contact-values.ts';
import { describeCustomer } from '../../src/subscription/describe-customer.ts';
import { identifiersOf, type LifecycleEvent, readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { validUntil } from '../../src/subscription/summary.ts';
import { apiSubscription, buy, day, event, grant, period, renew, snapshotOf } from './histories.ts';

const TYPES = [
  'INITIAL_PURCHASE',
  'RENEWAL',
  'CANCELLATION',
  'UNCANCELLATION',
  'NON_RENEWING_PURCHASE',
  'SUBSCRIPTION_PAUSED',
  'EXPIRATION',
  'BILLING_ISSUE',
  'PRODUCT_CHANGE',
  'TRANSFER',
  'SUBSCRIPTION_EXTENDED',
  'TEMPORARY_ENTITLEMENT_GRANT',
  'REFUND_REVERSED',
  'PURCHASE_REDEEMED',
  'SOMETHING_NEW',
];

const NAMES = { product: () => null, entitlement: () => null };

// Few days and few transactions, so that ties, repeats and collisions are common.
const someDay = fc.integer({ min: 0, max: 12 });
const someEvent: fc.Arbitrary<LifecycleEvent> = fc
  .record({
    type: fc.constantFrom(...TYPES),
    at: someDay,
    side: fc.constantFrom('customer', 'customer', 'customer', 'source'),
    fields: fc.record({
      store: fc.constantFrom('APP_STORE', 'PLAY_STORE', 'PROMOTIONAL', null),
      environment: fc.constantFrom('PRODUCTION', 'PRODUCTION', 'SANDBOX', null),
      product_id: fc.constantFrom('pro_monthly', 'pro_yearly', null),
      new_product_id: fc.constantFrom('pro_monthly', 'pro_yearly', null),
      entitlement_ids: fc.constantFrom(['pro'], ['team'], ['pro', 'team'], null),
      period_type: fc.constantFrom('TRIAL', 'INTRO', 'NORMAL', 'PROMOTIONAL', 'PREPAID', null),
      original_transaction_id: fc.constantFrom('1', '2', null),
      transaction_id: fc.constantFrom('1', '2', '3', null),
      purchased_at_ms: fc.option(someDay.map(day)),
      expiration_at_ms: fc.option(someDay.map(day)),
      grace_period_expiration_at_ms: fc.option(someDay.map(day)),
      auto_resume_at_ms: fc.option(someDay.map(day)),
      cancel_reason: fc.constantFrom(
        'UNSUBSCRIBE',
        'CUSTOMER_SUPPORT',
        'BILLING_ERROR',
        'DEVELOPER_INITIATED',
        null,
      ),
      expiration_reason: fc.constantFrom('UNSUBSCRIBE', 'SUBSCRIPTION_PAUSED', null),
      price: fc.constantFrom(0, 10, -10, 4.99, null),
      currency: fc.constantFrom('USD', 'JPY', null),
      is_family_share: fc.boolean(),
      is_trial_conversion: fc.boolean(),
    }),
  })
  .map(({ type, at, side, fields }) =>
    event(type, at, { ...fields, side: type === 'TRANSFER' ? side : 'customer' }),
  );

const history = fc.uniqueArray(someEvent, { maxLength: 14, selector: (item) => item.id });
const someSnapshot = fc.option(
  fc
    .record({ at: someDay, access: fc.boolean(), id: fc.constantFrom('1', '9', null), end: someDay })
    .map((item) =>
      snapshotOf(item.at, [
        apiSubscription({ givesAccess: item.access, storeSubscriptionId: item.id, endsAtMs: day(item.end) }),
        apiSubscription({
          id: 'sub2',
          store: 'PROMOTIONAL',
          productId: null,
          storeSubscriptionId: null,
          entitlements: ['team'],
        }),
      ]),
    ),
);
const time = someDay.map((n) => day(n) + 1);

test('any order and any repetition give the same state', () => {
  fc.assert(
    fc.property(
      history.chain((events) =>
        fc.tuple(
          fc.constant(events),
          fc.shuffledSubarray(events, { minLength: events.length }),
          fc.subarray(events),
        ),
      ),
      someSnapshot,
      time,
      ([events, shuffled, repeated], snapshot, nowMs) => {
        const copies = repeated.map((item) => structuredClone(item));
        assert.deepEqual(
          deriveState([...copies, ...shuffled, ...repeated], snapshot, nowMs),
          deriveState(events, snapshot, nowMs),
        );
      },
    ),
    { numRuns: 1_000 },
  );
});

test('nothing changes before the time until which a summary is valid', () => {
  fc.assert(
    fc.property(history, someSnapshot, time, time, (events, snapshot, nowMs, laterMs) => {
      const state = deriveState(events, snapshot, nowMs);
      const atMs = Math.min(Math.max(nowMs, laterMs), validUntil(state, nowMs) - 1);
      assert.deepEqual(deriveState(events, snapshot, atMs), state);
    }),
    { numRuns: 1_000 },
  );
});

test('two lists put together are the history that was one', () => {
  fc.assert(
    fc.property(history, fc.array(fc.boolean()), time, (events, sides, nowMs) => {
      const left = events.filter((_, index) => sides[index] === true);
      const right = events.filter((_, index) => sides[index] !== true);
      assert.deepEqual(deriveState([...right, ...left], null, nowMs), deriveState(events, null, nowMs));
    }),
  );
});

test('no entitlement ends while anything still gives it', () => {
  fc.assert(
    fc.property(history, someSnapshot, time, (events, snapshot, nowMs) => {
      const state = deriveState(events, snapshot, nowMs);
      for (const item of [...state.subscriptions, ...state.grants].filter((each) => each.givesAccess)) {
        for (const key of item.entitlements) {
          const entitlement = state.entitlements.find((each) => each.lookupKey === key);
          assert.ok(entitlement, `${key} of ${item.key}`);
          if (entitlement.endsAtMs !== null) {
            assert.ok(item.endsAtMs !== null && entitlement.endsAtMs >= item.endsAtMs);
            assert.ok(entitlement.endsAtMs > nowMs);
          }
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('the end of one subscription leaves what another gives', () => {
  const other = { original_transaction_id: '2000', product_id: 'team_yearly', store: 'STRIPE' };
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          type: fc.constantFrom('EXPIRATION', 'CANCELLATION', 'BILLING_ISSUE', 'SUBSCRIPTION_PAUSED'),
          at: fc.integer({ min: 1, max: 20 }),
          reason: fc.constantFrom('UNSUBSCRIBE', 'CUSTOMER_SUPPORT', 'BILLING_ERROR'),
        }),
      ),
      fc.boolean(),
      (ends, granted) => {
        const keeper = granted ? grant(0, 300) : buy(0, 300, other);
        const trouble = ends.map(({ type, at, reason }) =>
          event(type, at, { cancel_reason: reason, transaction_id: 't0', purchased_at_ms: day(0) }),
        );
        const state = deriveState([buy(0, 30), keeper, ...trouble], null, day(25));
        assert.equal(state.entitlements[0]?.endsAtMs, day(300));
      },
    ),
  );
});

test('a refund in part ends no period outside Apple, and one of the whole charge does outside Google', () => {
  const amounts = fc.integer({ min: 2, max: 10_000 }).chain((charged) =>
    fc.record({
      charged: fc.constant(charged / 100),
      part: fc.integer({ min: 1, max: charged - 1 }).map((cents) => cents / 100),
    }),
  );
  const store = fc.constantFrom('APP_STORE', 'PLAY_STORE', 'STRIPE', 'RC_BILLING', 'PADDLE', 'AMAZON');
  fc.assert(
    fc.property(amounts, store, fc.integer({ min: 1, max: 29 }), ({ charged, part }, store, at) => {
      const refund = (dollars: number) =>
        event('CANCELLATION', at, { ...period(0, 30, -dollars), store, cancel_reason: 'CUSTOMER_SUPPORT' });
      const hasAccess = (dollars: number, nowMs: number): boolean =>
        deriveState([buy(0, 30, { ...period(0, 30, charged), store }), refund(dollars)], null, nowMs)
          .entitlements.length > 0;
      assert.equal(hasAccess(part, day(30) - 1), store !== 'APP_STORE');
      assert.equal(hasAccess(charged, day(30) - 1), store === 'PLAY_STORE');
      assert.equal(hasAccess(part, day(30)), false);
    }),
  );
});

test('a renewal is never undone by the end of a period before it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 40 }), (months, lateDays) => {
      const renewals = Array.from({ length: months }, (_, index) =>
        renew(30 * (index + 1), 30 * (index + 2)),
      );
      const last = 30 * (months + 1);
      const ends = Array.from({ length: months }, (_, index) =>
        event('EXPIRATION', Math.min(30 * (index + 1) + lateDays, last - 1), {
          purchased_at_ms: day(30 * index),
          expiration_at_ms: day(30 * (index + 1)),
        }),
      );
      const state = deriveState([buy(0, 30), ...renewals, ...ends], null, day(last) - 1);
      assert.equal(state.primary?.endsAtMs, day(last));
      assert.equal(state.status, 'active');
      assert.equal(state.primary?.renewals, months);
    }),
  );
});

const apiStatus = fc.constantFrom(
  'active',
  'trialing',
  'expired',
  'in_grace_period',
  'in_billing_retry',
  'paused',
  'incomplete',
  'unknown',
);
const renewal = fc.constantFrom(
  'will_renew',
  'will_not_renew',
  'will_change_product',
  'will_pause',
  'requires_price_increase_consent',
  'has_already_renewed',
  null,
);
const anySnapshot = fc.option(
  fc
    .record({
      at: someDay,
      items: fc.array(
        fc.record({
          status: apiStatus,
          autoRenewalStatus: renewal,
          givesAccess: fc.boolean(),
          endsAtMs: fc.option(someDay.map(day)),
          isFamilyShare: fc.boolean(),
          environment: fc.constantFrom('production' as const, 'sandbox' as const),
          store: fc.constantFrom('APP_STORE', 'PLAY_STORE', 'PROMOTIONAL'),
          storeSubscriptionId: fc.constantFrom('1', '2', '9', null),
        }),
        { maxLength: 3 },
      ),
    })
    .map(({ at, items }) =>
      snapshotOf(
        at,
        items.map((item, index) => apiSubscription({ ...item, id: `s${index}` })),
      ),
    ),
);

test('no history and no answer of the API puts a charge, a renewal or an end of access in the past', () => {
  fc.assert(
    fc.property(history, anySnapshot, time, (events, snapshot, nowMs) => {
      const state = deriveState(events, snapshot, nowMs);
      const description = describeCustomer(state, { names: NAMES, nowMs });
      const { statements, subscriptions, grants, sandbox, nextCharge } = description;
      const all = [...subscriptions, ...grants, ...sandbox];
      if (nextCharge) assert.ok(nextCharge.atMs > nowMs);
      for (const statement of [...statements, ...all.flatMap((each) => each.statements)]) {
        for (const [name, value] of Object.entries(statement))
          if (typeof value === 'number' && ['next', 'until', 'resumes'].includes(name))
            assert.ok(value > nowMs, `${statement.kind}.${name}`);
      }
      for (const { end } of all)
        if (end?.atMs != null) assert.equal(end.atMs > nowMs, end.label !== 'ended', end.label);
      for (const language of ['en', 'ja'] as const)
        assert.doesNotMatch(overviewText(messagesFor(language), description), /null|undefined| {2}/);
      assert.ok(statements.length > 0);
    }),
    { numRuns: 1_000 },
  );
});

const FIELDS = [
  'id',
  'event_id',
  'type',
  'event_timestamp_ms',
  'store',
  'price',
  'currency',
  'price_in_purchased_currency',
  'entitlement_ids',
  'aliases',
  'transferred_to',
  'app_user_id',
  'adjustments',
  'expiration_at_ms',
  'purchased_at_ms',
  'cancel_reason',
  'product_id',
  'environment',
  '__proto__',
];
const anyBody = fc.oneof(
  fc.anything(),
  fc.dictionary(
    fc.constantFrom(...FIELDS),
    fc.oneof(fc.anything(), fc.constantFrom(...TYPES, 'toString', 'PAYWALL_X')),
  ),
);

test('no body makes anything throw, and every event has a title', () => {
  fc.assert(
    fc.property(fc.array(anyBody, { maxLength: 6 }), (bodies) => {
      const events = bodies.map((item, index) => {
        identifiersOf(item);
        return readEvent(item, { receivedAtMs: day(0), fallbackId: `#${index}` });
      });
      for (const item of events) {
        assert.ok(item.id);
        assert.ok(Number.isFinite(item.atMs));
        for (const voice of ['agent', 'customer'] as const)
          assert.notEqual(eventText(messagesFor('en'), item, { voice, names: NAMES }).title, '');
        assert.ok(Object.keys(eventMetadata(item)).length <= 10);
      }
      const state = deriveState(events, null, day(0));
      assert.ok(Number.isFinite(state.lifetimeValueUsdCents ?? 0));
      for (const value of Object.values(contactAttributes(state, ['ada']))) {
        assert.ok(value === null || ['string', 'number', 'boolean'].includes(typeof value));
      }
    }),
    { numRuns: 1_000 },
  );
});
