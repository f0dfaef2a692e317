import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readEvent } from '../../src/subscribers/read-event.ts';
import { deriveState } from '../../src/subscribers/state.ts';
import type { LifecycleEvent, Snapshot, SnapshotSubscription } from '../../src/subscribers/types.ts';
import { DAY_MS, eventBody, HOUR_MS, START_MS } from '../support/events.ts';

const END_MS = START_MS + 30 * DAY_MS;
const MID_MS = START_MS + 10 * DAY_MS;

function event(fields: Record<string, unknown> = {}): LifecycleEvent {
  return readEvent(eventBody(fields), { receivedAtMs: START_MS, fallbackId: 'none' });
}

function stateOf(events: LifecycleEvent[], nowMs: number, snapshot: Snapshot | null = null) {
  return deriveState(events, snapshot, nowMs);
}

const purchase = event({ id: 'p1' });
const trial = event({ id: 't1', period_type: 'TRIAL', price: 0, price_in_purchased_currency: 0 });
const cancel = (fields: Record<string, unknown> = {}) =>
  event({
    id: 'c1',
    type: 'CANCELLATION',
    cancel_reason: 'UNSUBSCRIBE',
    event_timestamp_ms: MID_MS,
    price: 0,
    ...fields,
  });

describe('status', () => {
  const grant = event({
    id: 'g1',
    type: 'NON_RENEWING_PURCHASE',
    store: 'PROMOTIONAL',
    period_type: 'PROMOTIONAL',
    product_id: 'rc_promo_pro_monthly',
    price: 0,
  });
  const billing = event({
    id: 'b1',
    type: 'BILLING_ISSUE',
    event_timestamp_ms: END_MS,
    grace_period_expiration_at_ms: END_MS + 16 * DAY_MS,
  });
  const cases: [string, LifecycleEvent[], number][] = [
    ['active', [purchase], MID_MS],
    ['intro', [event({ period_type: 'INTRO' })], MID_MS],
    ['trial', [trial], MID_MS],
    ['cancelled', [purchase, cancel()], MID_MS + 1],
    ['cancelled_trial', [trial, cancel({ period_type: 'TRIAL' })], MID_MS + 1],
    ['grace_period', [purchase, billing], END_MS + DAY_MS],
    ['grace_period_trial', [trial, event({ ...billing.raw, period_type: 'TRIAL' })], END_MS + DAY_MS],
    ['expired', [purchase], END_MS],
    ['promotional', [grant], MID_MS],
    ['expired_promotional', [grant], END_MS + 1],
    [
      'paused',
      [
        purchase,
        event({
          id: 's1',
          type: 'SUBSCRIPTION_PAUSED',
          event_timestamp_ms: MID_MS,
          auto_resume_at_ms: END_MS + DAY_MS,
        }),
        event({
          id: 'e1',
          type: 'EXPIRATION',
          expiration_reason: 'SUBSCRIPTION_PAUSED',
          event_timestamp_ms: END_MS,
        }),
      ],
      END_MS + HOUR_MS,
    ],
  ];
  for (const [status, events, nowMs] of cases) {
    test(`${status}`, () => assert.equal(stateOf(events, nowMs).status, status));
  }

  test('nobody who never bought anything has one', () => {
    assert.equal(stateOf([], MID_MS).status, null);
    assert.equal(stateOf([event({ type: 'EXPERIMENT_ENROLLMENT' })], MID_MS).status, null);
  });

  test('sandbox purchases stay apart', () => {
    const state = stateOf([event({ environment: 'SANDBOX' })], MID_MS);
    assert.equal(state.status, null);
    assert.equal(state.sandbox.length, 1);
    assert.equal(state.lifetimeValueUsdCents, 0);
  });
});

describe('events of one moment', () => {
  test('a failed charge that sends billing issue, cancellation and expiration at once ends in expired', () => {
    const at = { event_timestamp_ms: END_MS };
    const state = stateOf(
      [
        purchase,
        event({ ...at, id: 'x3', type: 'EXPIRATION', expiration_reason: 'BILLING_ERROR' }),
        event({ ...at, id: 'x2', type: 'CANCELLATION', cancel_reason: 'BILLING_ERROR' }),
        event({ ...at, id: 'x1', type: 'BILLING_ISSUE' }),
      ],
      END_MS + 1,
    );
    assert.equal(state.status, 'expired');
    assert.equal(state.primary?.expirationReason, 'BILLING_ERROR');
    assert.notEqual(state.billingIssueAtMs, null);
  });

  test('a cancelled trial that renews at the same moment is active', () => {
    const at = { event_timestamp_ms: END_MS };
    const state = stateOf(
      [
        trial,
        event({
          ...at,
          id: 'a-renewal',
          type: 'RENEWAL',
          is_trial_conversion: true,
          purchased_at_ms: END_MS,
          expiration_at_ms: END_MS + 30 * DAY_MS,
        }),
        cancel({ ...at, id: 'z-cancel', period_type: 'TRIAL' }),
      ],
      END_MS + DAY_MS,
    );
    assert.equal(state.status, 'active');
    assert.equal(state.trialEndsAtMs, END_MS);
  });

  test('an uncancellation wins over a cancellation', () => {
    const state = stateOf(
      [purchase, event({ id: 'u', type: 'UNCANCELLATION', event_timestamp_ms: MID_MS }), cancel()],
      MID_MS + 1,
    );
    assert.equal(state.status, 'active');
    assert.equal(state.primary?.willRenew, true);
  });
});

describe('access', () => {
  test('an entitlement lasts as long as any subscription gives it', () => {
    const other = event({
      id: 'p2',
      store: 'STRIPE',
      transaction_id: 'in_1',
      original_transaction_id: 'sub_1',
      product_id: 'pro_yearly',
      expiration_at_ms: START_MS + 365 * DAY_MS,
    });
    const expired = event({ id: 'e', type: 'EXPIRATION', event_timestamp_ms: END_MS });
    const state = stateOf([purchase, other, expired], END_MS + DAY_MS);
    assert.equal(state.status, 'active');
    assert.deepEqual(
      state.entitlements.map((entitlement) => [entitlement.lookupKey, entitlement.endsAtMs]),
      [['pro', START_MS + 365 * DAY_MS]],
    );
  });

  test('an expiration that arrives after the renewal does not end the new period', () => {
    const renewal = event({
      id: 'r',
      type: 'RENEWAL',
      event_timestamp_ms: END_MS - HOUR_MS,
      purchased_at_ms: END_MS,
      expiration_at_ms: END_MS + 30 * DAY_MS,
    });
    const late = event({ id: 'e', type: 'EXPIRATION', event_timestamp_ms: END_MS + HOUR_MS });
    assert.equal(stateOf([purchase, renewal, late], END_MS + DAY_MS).status, 'active');
  });

  test('a refund ends access although renewal is on, and is subtracted', () => {
    const refund = cancel({
      cancel_reason: 'CUSTOMER_SUPPORT',
      price: -9.99,
      price_in_purchased_currency: -9.99,
    });
    const state = stateOf([purchase, refund], MID_MS + 1);
    assert.equal(state.status, 'expired');
    assert.deepEqual(state.primary?.refund, { amountMinor: 999, currency: 'USD' });
    assert.equal(state.lifetimeValueUsdCents, 0);
    const reversed = event({ id: 'rr', type: 'REFUND_REVERSED', event_timestamp_ms: MID_MS + 2 });
    const after = stateOf([purchase, refund, reversed], MID_MS + 3);
    assert.equal(after.status, 'active');
    assert.equal(after.lifetimeValueUsdCents, 999);
  });

  test('purchases that were given away are gone', () => {
    const given = readEvent(
      {
        id: 'x',
        type: 'TRANSFER',
        event_timestamp_ms: MID_MS,
        transferred_from: ['user-1'],
        transferred_to: ['user-2'],
      },
      { receivedAtMs: MID_MS, fallbackId: 'none', side: 'giver' },
    );
    assert.deepEqual(stateOf([purchase, given], MID_MS + 1).entitlements, []);
    assert.equal(stateOf([purchase, given], MID_MS + 1).status, null);
  });

  test('a product change waits for the renewal', () => {
    const change = event({
      id: 'pc',
      type: 'PRODUCT_CHANGE',
      new_product_id: 'pro_yearly',
      event_timestamp_ms: MID_MS,
    });
    assert.equal(stateOf([purchase, change], MID_MS + 1).primary?.pendingProductId, 'pro_yearly');
    const renewal = event({
      id: 'r',
      type: 'RENEWAL',
      product_id: 'pro_yearly',
      event_timestamp_ms: END_MS,
      purchased_at_ms: END_MS,
      expiration_at_ms: END_MS + 365 * DAY_MS,
    });
    const { primary } = stateOf([purchase, change, renewal], END_MS + 1);
    assert.equal(primary?.pendingProductId, null);
    assert.equal(primary?.productId, 'pro_yearly');
  });
});

describe('a snapshot', () => {
  const item: SnapshotSubscription = {
    id: 'sub1',
    productId: 'pro_monthly',
    productName: 'Pro monthly',
    store: 'APP_STORE',
    environment: 'production',
    status: 'active',
    autoRenewalStatus: 'will_not_renew',
    givesAccess: true,
    startsAtMs: START_MS,
    periodStartsAtMs: START_MS,
    periodEndsAtMs: END_MS + DAY_MS,
    endsAtMs: END_MS + DAY_MS,
    entitlements: ['pro'],
    storeSubscriptionId: '2000000000000001',
    managementUrl: 'https://apps.apple.com/account/subscriptions',
    pendingProductId: null,
    revenueUsdCents: 999,
    isFamilyShare: false,
  };
  const snapshot: Snapshot = {
    takenAtMs: MID_MS,
    customerId: 'user-1',
    firstSeenAtMs: START_MS,
    lastSeenAtMs: MID_MS,
    country: 'US',
    platform: 'iOS',
    platformVersion: null,
    appVersion: '1.0',
    aliases: ['user-1'],
    attributes: {},
    activeEntitlements: [{ lookupKey: 'pro', endsAtMs: END_MS + DAY_MS }],
    subscriptions: [item],
    purchases: [],
  };

  test('wins over older events and keeps their prices', () => {
    const state = stateOf([purchase], MID_MS + 1, snapshot);
    assert.equal(state.subscriptions.length, 1);
    assert.equal(state.status, 'cancelled');
    assert.equal(state.primary?.endsAtMs, END_MS + DAY_MS);
    assert.deepEqual(state.primary?.price, { amountMinor: 999, currency: 'USD' });
  });

  test('gives way to newer events', () => {
    const resumed = event({
      id: 'u',
      type: 'UNCANCELLATION',
      event_timestamp_ms: MID_MS + 10,
      expiration_at_ms: END_MS,
    });
    assert.equal(stateOf([purchase, resumed], MID_MS + 20, snapshot).status, 'active');
  });
});

const TYPES = [
  'INITIAL_PURCHASE',
  'RENEWAL',
  'CANCELLATION',
  'UNCANCELLATION',
  'EXPIRATION',
  'BILLING_ISSUE',
  'PRODUCT_CHANGE',
  'SUBSCRIPTION_PAUSED',
  'SUBSCRIPTION_EXTENDED',
  'REFUND_REVERSED',
  'NON_RENEWING_PURCHASE',
  'TEMPORARY_ENTITLEMENT_GRANT',
  'TRANSFER',
  'SOMETHING_NEW',
];

const anyEvent = fc
  .record({
    id: fc.integer({ min: 0, max: 40 }).map((n) => `e${n}`),
    type: fc.constantFrom(...TYPES),
    hour: fc.integer({ min: 0, max: 50 }),
    days: fc.option(fc.integer({ min: -5, max: 60 })),
    period: fc.constantFrom('TRIAL', 'INTRO', 'NORMAL', 'PROMOTIONAL', 'PREPAID'),
    store: fc.constantFrom('APP_STORE', 'PLAY_STORE', 'PROMOTIONAL'),
    reason: fc.constantFrom('UNSUBSCRIBE', 'BILLING_ERROR', 'CUSTOMER_SUPPORT', 'DEVELOPER_INITIATED', null),
    entitlement: fc.constantFrom('pro', 'team'),
    transaction: fc.integer({ min: 1, max: 3 }),
    price: fc.integer({ min: -2000, max: 2000 }),
  })
  .map((raw) =>
    event({
      // One id is one event: what it says follows from it.
      id: `${raw.id}-${raw.type}-${raw.hour}-${raw.transaction}-${raw.store}-${raw.period}-${raw.days}-${raw.reason}-${raw.entitlement}-${raw.price}`,
      type: raw.type,
      event_timestamp_ms: START_MS + raw.hour * HOUR_MS,
      purchased_at_ms: START_MS + raw.hour * HOUR_MS,
      expiration_at_ms: raw.days === null ? null : START_MS + raw.days * DAY_MS,
      period_type: raw.period,
      store: raw.store,
      cancel_reason: raw.reason,
      entitlement_ids: [raw.entitlement],
      transaction_id: `${raw.transaction}-${raw.hour}-${raw.price}-${raw.days}-${raw.period}-${raw.reason}`,
      original_transaction_id: `${raw.transaction}`,
      price: raw.price / 100,
    }),
  );

describe('for any history', () => {
  test('order and repetition change nothing', () => {
    fc.assert(
      fc.property(
        fc
          .array(anyEvent, { maxLength: 25 })
          .chain((events) =>
            fc.tuple(
              fc.constant(events),
              fc.shuffledSubarray([...events, ...events], {
                minLength: events.length * 2,
                maxLength: events.length * 2,
              }),
            ),
          ),
        fc.integer({ min: 0, max: 70 }),
        ([events, shuffled], day) => {
          const nowMs = START_MS + day * DAY_MS;
          assert.deepEqual(deriveState(shuffled, null, nowMs), deriveState(events, null, nowMs));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('every entitlement that a subscription with access gives is active at least as long', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 25 }), fc.integer({ min: 0, max: 70 }), (events, day) => {
        const nowMs = START_MS + day * DAY_MS;
        const state = deriveState(events, null, nowMs);
        for (const subscription of [...state.subscriptions, ...state.grants]) {
          if (!subscription.givesAccess) continue;
          for (const key of subscription.entitlements) {
            const entitlement = state.entitlements.find((candidate) => candidate.lookupKey === key);
            assert.ok(entitlement, `${key} is active`);
            if (entitlement.endsAtMs !== null) {
              assert.ok(subscription.endsAtMs !== null && entitlement.endsAtMs >= subscription.endsAtMs);
            }
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('no body throws, whatever its fields hold', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.keys(eventBody())), fc.anything()), (body) => {
        const read = readEvent(body, { receivedAtMs: START_MS, fallbackId: 'f' });
        deriveState([read], null, START_MS);
      }),
      { numRuns: 500 },
    );
  });
});
