import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pictureOf } from '../../src/subscription/picture.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import type { Snapshot } from '../../src/subscription/types.ts';
import { apiSubscription, buy, day, event, grant, period, renew, snapshotOf, trial } from './histories.ts';

const cancel = (at: number, fields = {}): LifecycleEvent =>
  event('CANCELLATION', at, { ...period(0, 30), cancel_reason: 'UNSUBSCRIBE', ...fields });

const PICTURES: readonly {
  readonly name: string;
  readonly events: readonly LifecycleEvent[];
  readonly snapshot?: Snapshot;
  readonly on: number;
  /** Kind, start day and end day; `null`: no end; `+`: in the second row. */
  readonly segments: readonly string[];
  readonly markers: readonly string[];
}[] = [
  {
    name: 'a trial that converts, and a cancelled renewal',
    events: [
      trial(0, 7),
      event('RENEWAL', 7, { ...period(7, 37, 10), is_trial_conversion: true }),
      cancel(20, period(7, 37)),
    ],
    on: 21,
    segments: ['trial 0..7', 'paid 7..37'],
    markers: ['payment 7', 'cancelled 20'],
  },
  {
    name: 'a payment that failed, then succeeded during the grace period',
    events: [
      buy(0, 30),
      event('BILLING_ISSUE', 30, { ...period(0, 30), grace_period_expiration_at_ms: day(46) }),
      cancel(30, { cancel_reason: 'BILLING_ERROR' }),
      renew(35, 65),
    ],
    on: 40,
    segments: ['paid 0..30', 'grace 30..35', 'paid 35..65'],
    markers: ['payment 0', 'failed 30', 'payment 35'],
  },
  {
    name: 'a refund ends access; Google’s does not',
    events: [
      buy(0, 30),
      cancel(10, { ...period(0, 10, -10), cancel_reason: 'CUSTOMER_SUPPORT' }),
      buy(2, 32, { store: 'PLAY_STORE', original_transaction_id: 'GPA.1' }),
      cancel(10, {
        ...period(2, 32, -10),
        store: 'PLAY_STORE',
        original_transaction_id: 'GPA.1',
        cancel_reason: 'CUSTOMER_SUPPORT',
      }),
    ],
    on: 11,
    segments: ['paid 0..10', 'paid 2..32 +'],
    markers: ['payment 0', 'payment 2', 'refund 10', 'refund 10'],
  },
  {
    name: 'two subscriptions to one product that have both ended, which only the API shows',
    events: [buy(0, 30), buy(2, 32, { original_transaction_id: '2000' })],
    snapshot: snapshotOf(11, [
      apiSubscription({ status: 'expired', givesAccess: false, periodEndsAtMs: day(10), endsAtMs: day(10) }),
      apiSubscription({
        id: 'sub2',
        storeSubscriptionId: '2000',
        status: 'expired',
        givesAccess: false,
        periodStartsAtMs: day(2),
        periodEndsAtMs: day(10),
        endsAtMs: day(10),
      }),
    ]),
    on: 12,
    segments: ['paid 0..10', 'paid 2..10 +'],
    markers: ['payment 0', 'payment 2'],
  },
  {
    name: 'a pause, and the purchase that ends it',
    events: [
      buy(0, 30, { store: 'PLAY_STORE' }),
      event('SUBSCRIPTION_PAUSED', 20, {
        ...period(0, 30),
        store: 'PLAY_STORE',
        auto_resume_at_ms: day(90),
      }),
      event('EXPIRATION', 30, {
        ...period(0, 30),
        store: 'PLAY_STORE',
        expiration_reason: 'SUBSCRIPTION_PAUSED',
      }),
      renew(60, 90, { store: 'PLAY_STORE' }),
    ],
    on: 61,
    segments: ['paid 0..30', 'paused 30..60', 'paid 60..90'],
    markers: ['payment 0', 'payment 60'],
  },
  {
    name: 'a lifetime grant that was revoked, and another',
    events: [
      grant(0, null),
      event('CANCELLATION', 5, {
        ...period(0, null),
        store: 'PROMOTIONAL',
        period_type: 'PROMOTIONAL',
        product_id: 'rc_promo_pro_custom',
        original_transaction_id: 'g0',
        cancel_reason: 'DEVELOPER_INITIATED',
      }),
      grant(8, null),
    ],
    on: 9,
    segments: ['granted 0..5', 'granted 8..null'],
    markers: [],
  },
  {
    name: 'an extension, and a subscription that was imported without its events',
    events: [buy(0, 30), event('SUBSCRIPTION_EXTENDED', 10, period(0, 45))],
    snapshot: snapshotOf(11, [
      apiSubscription({ endsAtMs: day(45), periodEndsAtMs: day(45) }),
      apiSubscription({
        id: 'sub2',
        productId: 'team',
        storeSubscriptionId: '2000',
        startsAtMs: day(-100),
        periodStartsAtMs: day(-10),
        periodEndsAtMs: day(20),
        endsAtMs: day(20),
      }),
    ]),
    on: 12,
    segments: ['paid 0..45', 'paid -10..20 +'],
    markers: ['payment 0'],
  },
  {
    name: 'purchases that a transfer took away',
    events: [
      buy(0, 30),
      event('TRANSFER', 12, {
        side: 'source',
        store: 'APP_STORE',
        transferred_from: ['ada'],
        transferred_to: ['bob'],
      }),
    ],
    on: 13,
    segments: ['paid 0..12'],
    markers: ['payment 0'],
  },
  {
    name: 'a consumable is a payment and no access',
    events: [
      event('NON_RENEWING_PURCHASE', 3, {
        ...period(3, null, 2),
        product_id: 'coins',
        entitlement_ids: null,
      }),
    ],
    on: 4,
    segments: [],
    markers: ['payment 3'],
  },
];

const dayOf = (ms: number): number | null =>
  ms > day(100_000) || ms >= Date.UTC(2200, 0) ? null : Math.round((ms - day(0)) / 86_400_000);

describe('the picture of a history', () => {
  for (const { name, events, snapshot = null, on, segments, markers } of PICTURES) {
    test(name, () => {
      // The order of the events must not matter.
      for (const ordered of [events, events.toReversed()]) {
        const picture = pictureOf(ordered, deriveState(ordered, snapshot, day(on)), day(on));
        assert.ok(picture);
        const shown = picture.segments.map(
          ({ kind, fromMs, toMs, isOverlapping }) =>
            `${kind} ${dayOf(fromMs)}..${dayOf(toMs)}${isOverlapping ? ' +' : ''}`,
        );
        assert.deepEqual(shown, segments);
        assert.deepEqual(
          picture.markers.map(({ kind, atMs }) => `${kind} ${dayOf(atMs)}`),
          markers,
        );
        assert.ok(picture.fromMs < picture.nowMs && picture.nowMs < picture.toMs);
      }
    });
  }

  test('it spans two years back and one ahead, and shows nothing of the sandbox', () => {
    const old = [buy(-1_000, -970), ...[0, 30].map((from) => renew(from, from + 30)), grant(31, null)];
    const picture = pictureOf(old, deriveState(old, null, day(40)), day(40));
    assert.deepEqual([dayOf(picture?.fromMs ?? 0), dayOf(picture?.toMs ?? 0)], [0, 40 + 366]);
    const sandbox = [buy(0, 30, { environment: 'SANDBOX' })];
    assert.equal(pictureOf(sandbox, deriveState(sandbox, null, day(1)), day(1)), null);
  });
});
