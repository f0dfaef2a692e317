import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { isCurrentSummary, SUMMARY_FORMAT, summarize, validUntil } from '../../src/subscription/summary.ts';
import type { Snapshot } from '../../src/subscription/types.ts';
import {
  apiPurchase,
  apiSubscription,
  buy,
  day,
  event,
  grant,
  period,
  renew,
  snapshotOf,
  trial,
} from './histories.ts';

interface History {
  readonly name: string;
  readonly events: readonly LifecycleEvent[];
  readonly snapshot?: Snapshot;
  /** The day for which the state is derived. */
  readonly on: number;
  readonly status: string | null;
  /** Active entitlements and the day on which they end; `null`: never. */
  readonly access: Readonly<Record<string, number | null>>;
  /** Whether the primary subscription renews; absent: not checked. */
  readonly renews?: boolean;
  readonly usd?: number;
  readonly primary?: Readonly<Record<string, unknown>>;
}

const cancel = (at: number, fields = {}): LifecycleEvent =>
  event('CANCELLATION', at, { ...period(0, 30), cancel_reason: 'UNSUBSCRIBE', ...fields });
const expire = (at: number, fields = {}): LifecycleEvent =>
  event('EXPIRATION', at, { ...period(0, 30), expiration_reason: 'UNSUBSCRIBE', ...fields });
const refund = (at: number, fields = {}): LifecycleEvent =>
  event('CANCELLATION', at, { ...period(0, 30, -10), cancel_reason: 'CUSTOMER_SUPPORT', ...fields });
const billingIssue = (at: number, graceDay: number | null, fields = {}): LifecycleEvent =>
  event('BILLING_ISSUE', at, {
    ...period(0, 30),
    grace_period_expiration_at_ms: graceDay === null ? null : day(graceDay),
    ...fields,
  });
const changed = (at: number, to: string, fields = {}): LifecycleEvent =>
  event('PRODUCT_CHANGE', at, { ...period(0, 30), new_product_id: to, ...fields });
const pause = (at: number, resumes: number): LifecycleEvent =>
  event('SUBSCRIPTION_PAUSED', at, {
    ...period(0, 30),
    store: 'PLAY_STORE',
    auto_resume_at_ms: day(resumes),
  });
const play = { store: 'PLAY_STORE' };
const team = {
  original_transaction_id: '2000',
  product_id: 'team_yearly',
  entitlement_ids: ['team'],
  store: 'STRIPE',
};
const sandbox = { environment: 'SANDBOX' };

const HISTORIES: readonly History[] = [
  { name: 'nothing', events: [], on: 1, status: null, access: {}, usd: 0 },
  {
    name: 'only an experiment',
    events: [event('EXPERIMENT_ENROLLMENT', 0)],
    on: 1,
    status: null,
    access: {},
  },

  {
    name: 'only a price increase',
    events: [event('PRICE_INCREASE_CONSENT_REQUIRED', 0)],
    on: 1,
    status: null,
    access: {},
  },
  {
    name: 'an invoice that nobody has paid',
    events: [event('INVOICE_ISSUANCE', 0, period(0, 30, 10))],
    on: 1,
    status: null,
    access: {},
    usd: 0,
  },
  {
    name: 'a refund without a sum that is announced twice',
    events: [buy(0, 30), renew(30, 60), ...[35, 36].map((at) => refund(at, period(30, 60)))],
    on: 37,
    status: 'expired',
    access: {},
    usd: 1000,
  },

  ...[sandbox, { store: 'STRIPE' }].map((elsewhere) => ({
    name: `a change ahead does not happen in ${Object.values(elsewhere)}`,
    events: [
      buy(0, 30),
      changed(5, 'pro_yearly'),
      buy(10, 12, { product_id: 'pro_yearly', original_transaction_id: '1001', ...elsewhere }),
    ],
    on: 13,
    status: 'active',
    access: { pro: 30 },
  })),
  {
    name: 'another subscription of Stripe bought after a change that names no product is no replacement',
    events: [
      buy(0, 30, { store: 'STRIPE' }),
      event('PRODUCT_CHANGE', 5, { ...period(0, 30), store: 'STRIPE' }),
      buy(10, 12, { store: 'STRIPE', product_id: 'pro_yearly', original_transaction_id: '1001' }),
    ],
    on: 13,
    status: 'active',
    access: { pro: 30 },
    renews: true,
  },
  {
    name: 'extended after a payment that failed had ended it',
    events: [
      buy(0, 30),
      billingIssue(30, null),
      expire(31, { expiration_reason: 'BILLING_ERROR' }),
      event('SUBSCRIPTION_EXTENDED', 33, period(0, 44)),
    ],
    on: 34,
    status: 'active',
    access: { pro: 44 },
    renews: true,
    primary: { billingIssueAtMs: null, expirationReason: null },
  },
  {
    name: 'extended after a payment that failed had ended what was cancelled',
    events: [
      buy(0, 30),
      billingIssue(30, null),
      cancel(30),
      expire(31, { expiration_reason: 'BILLING_ERROR' }),
      event('SUBSCRIPTION_EXTENDED', 33, period(0, 44)),
    ],
    on: 34,
    status: 'cancelled',
    access: { pro: 44 },
    renews: false,
  },
  {
    name: 'refunded before the pause began',
    events: [buy(0, 30, play), pause(5, 60), refund(10, { ...play, expiration_at_ms: day(10) })],
    on: 31,
    status: 'expired',
    access: {},
  },
  ...[-4, -10].map((price) => ({
    name: `refunded after the end, without the date of it: ${price}`,
    events: [buy(0, 30, play), refund(50, { ...period(0, null, price), ...play })],
    on: 60,
    status: 'expired',
    access: {},
    primary: { expiredAtMs: day(30) },
  })),
  {
    name: 'refunded, and renewal switched on again',
    events: [buy(0, 30), refund(10), event('UNCANCELLATION', 12, period(0, 30))],
    on: 13,
    status: 'expired',
    access: {},
  },
  {
    name: 'revenue of the sandbox',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription({ environment: 'sandbox', revenueUsdCents: 5_000 })]),
    on: 2,
    status: null,
    access: {},
    usd: 0,
  },
  {
    name: 'a temporary grant, which the API never lists',
    events: [event('TEMPORARY_ENTITLEMENT_GRANT', 0, { ...period(0, 1), transaction_id: 'tmp' })],
    snapshot: snapshotOf(0.2, []),
    on: 0.5,
    status: 'active',
    access: { pro: 1 },
  },
  {
    name: 'a refund of a known day that the API shows, too',
    events: [
      event('NON_RENEWING_PURCHASE', 0, { ...period(0, null, 99), product_id: 'pro_lifetime' }),
      refund(5, { ...period(0, null, -99), product_id: 'pro_lifetime' }),
    ],
    snapshot: { ...snapshotOf(40, []), purchases: [apiPurchase({ status: 'refunded' })] },
    on: 41,
    status: 'expired',
    access: {},
    primary: { refundedAtMs: day(5) },
  },
  {
    name: 'a temporary grant that another transaction confirms',
    events: [
      event('TEMPORARY_ENTITLEMENT_GRANT', 0, {
        ...period(0, 1),
        entitlement_ids: ['max'],
        transaction_id: 'tmp',
      }),
      buy(0.1, 30),
    ],
    on: 0.5,
    status: 'active',
    access: { pro: 30 },
  },

  // The eleven statuses.
  {
    name: 'active',
    events: [buy(0, 30)],
    on: 1,
    status: 'active',
    access: { pro: 30 },
    renews: true,
    usd: 1000,
  },
  {
    name: 'intro',
    events: [buy(0, 30, { period_type: 'INTRO' })],
    on: 1,
    status: 'intro',
    access: { pro: 30 },
    renews: true,
  },
  {
    name: 'cancelled',
    events: [buy(0, 30), cancel(5)],
    on: 6,
    status: 'cancelled',
    access: { pro: 30 },
    renews: false,
  },
  {
    name: 'grace period',
    events: [buy(0, 30), billingIssue(30, 46)],
    on: 31,
    status: 'grace_period',
    access: { pro: 46 },
    primary: { billingIssueAtMs: day(30), gracePeriodEndsAtMs: day(46), endsAtMs: day(30) },
  },
  { name: 'trial', events: [trial(0, 7)], on: 1, status: 'trial', access: { pro: 7 }, renews: true, usd: 0 },
  {
    name: 'cancelled trial',
    events: [trial(0, 7), cancel(2, { ...period(0, 7), period_type: 'TRIAL' })],
    on: 3,
    status: 'cancelled_trial',
    access: { pro: 7 },
    renews: false,
  },
  {
    name: 'grace period of a trial',
    events: [trial(0, 7), billingIssue(7, 23, { ...period(0, 7), period_type: 'TRIAL' })],
    on: 8,
    status: 'grace_period_trial',
    access: { pro: 23 },
  },
  {
    name: 'expired',
    events: [buy(0, 30), expire(30.1)],
    on: 31,
    status: 'expired',
    access: {},
    renews: false,
    primary: { expiredAtMs: day(30), expirationReason: 'UNSUBSCRIBE' },
  },
  { name: 'promotional', events: [grant(0, 30)], on: 1, status: 'promotional', access: { pro: 30 }, usd: 0 },
  { name: 'expired promotional', events: [grant(0, 30)], on: 31, status: 'expired_promotional', access: {} },
  {
    name: 'paused',
    events: [
      buy(0, 30, play),
      pause(5, 90),
      expire(30, { ...play, expiration_reason: 'SUBSCRIPTION_PAUSED' }),
    ],
    on: 31,
    status: 'paused',
    access: {},
    primary: { pausedAtMs: day(30), resumesAtMs: day(90) },
  },

  // Time passes without an event.
  {
    name: 'no event came at the end',
    events: [buy(0, 30)],
    on: 30,
    status: 'expired',
    access: {},
    renews: false,
  },
  {
    name: 'the last millisecond still counts',
    events: [buy(0, 30)],
    on: 29.999999,
    status: 'active',
    access: { pro: 30 },
  },
  {
    name: 'grace runs out',
    events: [buy(0, 30), billingIssue(30, 46)],
    on: 46,
    status: 'expired',
    access: {},
  },
  {
    name: 'a scheduled pause begins without an event',
    events: [buy(0, 30, play), pause(5, 90)],
    on: 31,
    status: 'paused',
    access: {},
  },

  // Ties within one millisecond.
  {
    name: 'billing issue, cancellation and expiration in one millisecond',
    events: [
      buy(0, 30),
      billingIssue(30, null),
      cancel(30, { cancel_reason: 'BILLING_ERROR' }),
      expire(30, { expiration_reason: 'BILLING_ERROR' }),
    ],
    on: 30,
    status: 'expired',
    access: {},
    primary: { expirationReason: 'BILLING_ERROR', billingIssueAtMs: day(30), cancelReason: 'BILLING_ERROR' },
  },
  {
    name: 'cancellation and renewal in one millisecond',
    events: [buy(0, 30), cancel(30), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    renews: true,
  },
  {
    name: 'expiration and renewal in one millisecond',
    events: [buy(0, 30), expire(30), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
  },
  {
    name: 'cancellation and renewal in one millisecond, without dates',
    events: [buy(0, 30), event('CANCELLATION', 30, { cancel_reason: 'UNSUBSCRIBE' }), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    renews: true,
  },
  {
    name: 'expiration and renewal in one millisecond, without dates',
    events: [buy(0, 30), event('EXPIRATION', 30), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
  },
  {
    name: 'purchase and expiration in one millisecond',
    events: [buy(0, 30), expire(0)],
    on: 1,
    status: 'expired',
    access: {},
  },
  {
    name: 'purchase and cancellation in one millisecond',
    events: [buy(0, 30), cancel(0)],
    on: 1,
    status: 'cancelled',
    access: { pro: 30 },
  },
  {
    name: 'pause and its expiration in one millisecond',
    events: [
      buy(0, 30, play),
      pause(30, 90),
      expire(30, { ...play, expiration_reason: 'SUBSCRIPTION_PAUSED' }),
    ],
    on: 31,
    status: 'paused',
    access: {},
    primary: { pausedAtMs: day(30), resumesAtMs: day(90) },
  },
  {
    name: 'expiration and extension in one millisecond',
    events: [buy(0, 30), expire(30), event('SUBSCRIPTION_EXTENDED', 30, period(0, 44))],
    on: 31,
    status: 'cancelled',
    access: { pro: 44 },
  },
  {
    name: 'billing issue and recovery in one millisecond',
    events: [buy(0, 30), billingIssue(30, 46), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    primary: { billingIssueAtMs: null },
  },
  {
    name: "a failed payment's cancellation and the customer's own in one millisecond",
    events: [buy(0, 30), cancel(5, { cancel_reason: 'BILLING_ERROR' }), cancel(5)],
    on: 6,
    status: 'cancelled',
    access: { pro: 30 },
    renews: false,
    primary: { cancelReason: 'UNSUBSCRIBE', cancelledAtMs: day(5), billingIssueAtMs: day(5) },
  },
  {
    name: 'cancellation and uncancellation in one millisecond',
    events: [buy(0, 30), cancel(5), event('UNCANCELLATION', 5, period(0, 30))],
    on: 6,
    status: 'active',
    access: { pro: 30 },
    renews: true,
  },
  {
    name: 'refund and its reversal in one millisecond',
    events: [buy(0, 30), refund(5), event('REFUND_REVERSED', 5, period(0, 30, 10))],
    on: 6,
    status: 'active',
    access: { pro: 30 },
    usd: 1000,
  },
  {
    name: 'product change and renewal in one millisecond',
    events: [buy(0, 30), changed(10, 'pro_yearly'), renew(10, 375, { product_id: 'pro_yearly' })],
    on: 11,
    status: 'active',
    access: { pro: 375 },
    primary: { productId: 'pro_yearly', pendingProductId: null },
  },
  {
    name: 'purchase and transfer away in one millisecond',
    events: [buy(0, 30), event('TRANSFER', 0, { side: 'source' })],
    on: 1,
    status: null,
    access: {},
    usd: 0,
  },

  {
    name: 'only the API is known, and it does not say when the period began',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription({ startsAtMs: day(-335), periodStartsAtMs: null })]),
    on: 2,
    status: 'active',
    access: { pro: 30 },
    primary: { startedAtMs: day(-335), periodStartedAtMs: null, endsAtMs: day(30) },
  },

  // Life cycles.
  {
    name: 'trial, converted, renewed',
    events: [trial(0, 7), renew(7, 37, { is_trial_conversion: true }), renew(37, 67)],
    on: 38,
    status: 'active',
    access: { pro: 67 },
    usd: 2000,
    primary: {
      renewals: 2,
      startedAtMs: day(0),
      periodStartedAtMs: day(37),
      paid: [{ amountMinor: 2000, currency: 'USD' }],
    },
  },
  {
    name: 'trial cancelled, then renewed',
    events: [
      trial(0, 7),
      cancel(6.5, { ...period(0, 7), period_type: 'TRIAL' }),
      renew(7, 37, { is_trial_conversion: true }),
    ],
    on: 8,
    status: 'active',
    access: { pro: 37 },
    renews: true,
    primary: { cancelledAtMs: null, cancelReason: null },
  },
  {
    name: 'cancel, then only an uncancellation of another time',
    events: [buy(0, 30), event('UNCANCELLATION', 5, period(0, 30))],
    on: 6,
    status: 'active',
    access: { pro: 30 },
  },
  {
    name: 'resubscribed with a renewal after the end',
    events: [buy(0, 30), expire(30), renew(50, 80)],
    on: 51,
    status: 'active',
    access: { pro: 80 },
    primary: { expiredAtMs: null, startedAtMs: day(0) },
  },
  {
    name: 'resubscribed with a first purchase after the end',
    events: [buy(0, 30), expire(30), buy(50, 80)],
    on: 51,
    status: 'active',
    access: { pro: 80 },
    usd: 2000,
  },
  {
    name: 'the end of the old period is announced after the renewal',
    events: [buy(0, 30), renew(30, 60), expire(30.2)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    renews: true,
  },
  {
    name: 'the end is announced late',
    events: [buy(0, 30), expire(33)],
    on: 34,
    status: 'expired',
    access: {},
    primary: { expiredAtMs: day(30) },
  },
  {
    name: 'ended before its time',
    events: [buy(0, 30), expire(10)],
    on: 11,
    status: 'expired',
    access: {},
    primary: { expiredAtMs: day(10) },
  },
  {
    name: 'the history begins in the middle',
    events: [renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
  },
  { name: 'only the end is known', events: [expire(30)], on: 31, status: 'expired', access: {} },
  {
    name: 'billing retry without grace ends at the period',
    events: [buy(0, 30), billingIssue(30, null)],
    on: 31,
    status: 'expired',
    access: {},
    primary: { billingIssueAtMs: day(30) },
  },
  {
    name: 'grace ended by an expiration',
    events: [buy(0, 30), billingIssue(30, 46), expire(40, { expiration_reason: 'BILLING_ERROR' })],
    on: 41,
    status: 'expired',
    access: {},
  },
  {
    name: 'grace, cancelled by the store, still access',
    events: [buy(0, 30), billingIssue(30, 46), cancel(30.1, { cancel_reason: 'BILLING_ERROR' })],
    on: 31,
    status: 'grace_period',
    access: { pro: 46 },
  },
  {
    name: 'prepaid neither renews nor was cancelled',
    events: [buy(0, 30, { ...play, period_type: 'PREPAID' })],
    on: 1,
    status: 'active',
    access: { pro: 30 },
    renews: false,
  },

  // Refunds.
  {
    name: 'refunded',
    events: [buy(0, 30), refund(5)],
    on: 6,
    status: 'expired',
    access: {},
    usd: 0,
    primary: {
      refundedAtMs: day(5),
      refund: { amountMinor: 1000, currency: 'USD' },
      expiredAtMs: day(5),
      paid: [{ amountMinor: 0, currency: 'USD' }],
    },
  },
  {
    name: 'refunded, renewal still on, renewed',
    events: [buy(0, 30), refund(5), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    usd: 1000,
    primary: { refundedAtMs: null },
  },
  {
    name: 'refunded after its end keeps the end',
    events: [buy(0, 30), expire(30), refund(40)],
    on: 41,
    status: 'expired',
    access: {},
    usd: 0,
    primary: { expiredAtMs: day(30) },
  },
  {
    name: 'a refund that names no sum gives back the last charge',
    events: [
      buy(0, 30),
      renew(30, 60),
      refund(35, { ...period(30, 60), price: null, price_in_purchased_currency: null }),
    ],
    on: 36,
    status: 'expired',
    access: {},
    usd: 1000,
  },
  {
    name: 'a refund of an earlier period leaves the access',
    events: [buy(0, 30), renew(30, 60), refund(35)],
    on: 36,
    status: 'active',
    access: { pro: 60 },
    usd: 1000,
  },
  {
    name: 'refund reversed after the end',
    events: [buy(0, 30), refund(5), event('REFUND_REVERSED', 40, period(0, 30, 10))],
    on: 41,
    status: 'expired',
    access: {},
    usd: 1000,
  },

  // Changes of product.
  {
    name: 'change at the period end is pending',
    events: [buy(0, 30), changed(10, 'pro_yearly')],
    on: 11,
    status: 'active',
    access: { pro: 30 },
    primary: { productId: 'pro_monthly', pendingProductId: 'pro_yearly', endsAtMs: day(30) },
  },
  {
    name: 'change at the period end comes with the renewal',
    events: [buy(0, 30), changed(10, 'pro_yearly'), renew(30, 395, { product_id: 'pro_yearly' })],
    on: 31,
    status: 'active',
    access: { pro: 395 },
    primary: { productId: 'pro_yearly', pendingProductId: null },
  },
  {
    name: 'the announced change is taken back',
    events: [buy(0, 30), changed(10, 'pro_yearly'), changed(11, 'pro_monthly')],
    on: 12,
    status: 'active',
    access: { pro: 30 },
    primary: { pendingProductId: null },
  },
  {
    name: "Google's change opens another transaction",
    events: [
      buy(0, 30, play),
      changed(10, 'pro_yearly', play),
      buy(10, 375, { ...play, product_id: 'pro_yearly', original_transaction_id: '1001' }),
    ],
    on: 11,
    status: 'active',
    access: { pro: 375 },
    primary: { productId: 'pro_yearly', pendingProductId: null },
  },

  {
    name: "Google's change is announced after the new purchase",
    events: [
      buy(0, 30, play),
      buy(10, 375, { ...play, product_id: 'pro_yearly', original_transaction_id: '1001' }),
      changed(10.1, 'pro_yearly', play),
      cancel(11, { ...period(10, 375), ...play, product_id: 'pro_yearly', original_transaction_id: '1001' }),
    ],
    on: 12,
    status: 'cancelled',
    access: { pro: 375 },
    primary: { productId: 'pro_yearly' },
  },
  {
    name: 'a renewal of the old product leaves the announced change ahead',
    events: [buy(0, 30), changed(29, 'pro_yearly'), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    primary: { productId: 'pro_monthly', pendingProductId: 'pro_yearly' },
  },

  // Pauses, extensions, outages.
  {
    name: 'pause scheduled',
    events: [buy(0, 30, play), pause(5, 90)],
    on: 6,
    status: 'active',
    access: { pro: 30 },
    renews: false,
    primary: { resumesAtMs: day(90) },
  },
  {
    name: 'resumed',
    events: [
      buy(0, 30, play),
      pause(5, 90),
      expire(30, { ...play, expiration_reason: 'SUBSCRIPTION_PAUSED' }),
      renew(90, 120, play),
    ],
    on: 91,
    status: 'active',
    access: { pro: 120 },
    primary: { pausedAtMs: null, resumesAtMs: null },
  },
  {
    name: 'extended',
    events: [buy(0, 30), event('SUBSCRIPTION_EXTENDED', 20, period(0, 44))],
    on: 40,
    status: 'active',
    access: { pro: 44 },
    primary: { endsAtMs: day(44), periodLengthMs: day(30) - day(0) },
  },
  {
    name: 'extended, and read from the API, which knows the end alone',
    events: [buy(0, 30), event('SUBSCRIPTION_EXTENDED', 20, period(0, 44))],
    snapshot: snapshotOf(21, [apiSubscription({ periodEndsAtMs: day(44), endsAtMs: day(44) })]),
    on: 40,
    status: 'active',
    access: { pro: 44 },
    primary: { endsAtMs: day(44), periodLengthMs: day(30) - day(0) },
  },
  {
    name: 'a longer plan that only the API knows',
    events: [buy(0, 30)],
    snapshot: snapshotOf(31, [
      apiSubscription({ periodStartsAtMs: day(30), periodEndsAtMs: day(395), endsAtMs: day(395) }),
    ]),
    on: 40,
    status: 'active',
    access: { pro: 395 },
    primary: { periodStartedAtMs: day(30), periodLengthMs: day(395) - day(30) },
  },
  {
    name: 'an API that names products by ids of its own',
    events: [buy(0, 30)],
    snapshot: snapshotOf(1, [apiSubscription({ productId: 'prod4f31bd16ab', productName: null })]),
    on: 2,
    status: 'active',
    access: { pro: 30 },
    primary: { productId: 'pro_monthly' },
  },
  {
    name: 'temporary grant without any field',
    events: [
      event('TEMPORARY_ENTITLEMENT_GRANT', 0, {
        product_id: null,
        entitlement_ids: null,
        original_transaction_id: null,
      }),
    ],
    on: 0.5,
    status: 'active',
    access: {},
    primary: { endsAtMs: day(1) },
  },
  {
    name: 'temporary grant lasts a day at most',
    events: [event('TEMPORARY_ENTITLEMENT_GRANT', 0, period(0, 30))],
    on: 1,
    status: 'expired',
    access: {},
  },
  {
    name: 'temporary grant confirmed by another transaction',
    events: [
      event('TEMPORARY_ENTITLEMENT_GRANT', 0, {
        ...period(0, 1),
        original_transaction_id: null,
        transaction_id: 'x',
      }),
      buy(0.2, 30),
    ],
    on: 0.5,
    status: 'active',
    access: { pro: 30 },
    primary: { key: 'production|APP_STORE|1000' },
  },
  {
    name: 'temporary grant ended',
    events: [
      event('TEMPORARY_ENTITLEMENT_GRANT', 0, { ...period(0, 1), original_transaction_id: null }),
      expire(0.3, { ...period(0, 1), original_transaction_id: null }),
    ],
    on: 0.5,
    status: 'expired',
    access: {},
  },

  // Several subscriptions.
  {
    name: 'two subscriptions, one of them ends',
    events: [buy(0, 30), buy(1, 366, { ...team, entitlement_ids: ['pro', 'team'] }), expire(30)],
    on: 31,
    status: 'active',
    access: { pro: 366, team: 366 },
    usd: 2000,
  },
  {
    name: 'a running subscription is spoken of before a cancelled one',
    events: [buy(0, 30, team), buy(5, 35), cancel(6, period(5, 35))],
    on: 7,
    status: 'active',
    access: { pro: 35, team: 30 },
    primary: { productId: 'team_yearly' },
  },
  {
    name: 'a grant beside a cancelled subscription',
    events: [buy(0, 30), cancel(2), grant(5, 90)],
    on: 6,
    status: 'cancelled',
    access: { pro: 90 },
  },
  {
    name: 'a grant outlives the subscription',
    events: [buy(0, 30), expire(30), grant(5, 90)],
    on: 31,
    status: 'promotional',
    access: { pro: 90 },
  },
  {
    name: 'granted for life',
    events: [grant(0, null)],
    on: 4000,
    status: 'promotional',
    access: { pro: null },
  },
  ...['three_day', 'two_week', 'six_month', 'yearly', 'lifetime'].map((duration) => ({
    name: `an old grant (${duration}) names its entitlement only in its product`,
    events: [grant(0, 30, { entitlement_ids: null, product_id: `rc_promo_pro_plus_${duration}` })],
    on: 1,
    status: 'promotional',
    access: { pro_plus: 30 },
  })),
  {
    name: 'a grant removed',
    events: [
      grant(0, 30),
      event('CANCELLATION', 5, {
        ...period(0, 30),
        store: 'PROMOTIONAL',
        cancel_reason: 'DEVELOPER_INITIATED',
      }),
    ],
    on: 6,
    status: 'expired_promotional',
    access: {},
  },
  {
    name: 'the end of the first grant leaves the longer second one',
    events: [
      grant(0, 30),
      grant(10, 60),
      event('EXPIRATION', 30, { ...period(0, 30), store: 'PROMOTIONAL', transaction_id: 'g0' }),
    ],
    on: 31,
    status: 'promotional',
    access: { pro: 60 },
  },
  {
    name: 'a shorter second grant takes nothing away',
    events: [grant(0, 60), grant(10, 30)],
    on: 31,
    status: 'promotional',
    access: { pro: 60 },
  },
  {
    name: 'family sharing gives access and no money',
    events: [buy(0, 30, { is_family_share: true })],
    on: 1,
    status: 'active',
    access: { pro: 30 },
    usd: 0,
    primary: { isFamilyShare: true, paid: [] },
  },
  {
    name: 'bought for life',
    events: [event('NON_RENEWING_PURCHASE', 0, period(0, null, 99))],
    on: 4000,
    status: 'active',
    access: { pro: null },
    renews: false,
    usd: 9900,
  },
  {
    name: 'a consumable is money and no subscription',
    events: [
      event('NON_RENEWING_PURCHASE', 0, {
        ...period(0, null, 5),
        entitlement_ids: null,
        product_id: 'coins',
      }),
    ],
    on: 1,
    status: null,
    access: {},
    usd: 500,
  },
  {
    name: 'a consumable refunded',
    events: [
      event('NON_RENEWING_PURCHASE', 0, {
        ...period(0, null, 5),
        entitlement_ids: null,
        product_id: 'coins',
      }),
      refund(3, { ...period(0, null, -5), entitlement_ids: null, product_id: 'coins' }),
    ],
    on: 4,
    status: null,
    access: {},
    usd: 0,
  },

  // The sandbox.
  {
    name: 'the sandbox stays apart',
    events: [buy(0, 30, sandbox)],
    on: 1,
    status: null,
    access: {},
    usd: 0,
  },
  {
    name: 'the Test Store is a sandbox',
    events: [buy(0, 30, { environment: null, store: 'TEST_STORE' })],
    on: 1,
    status: null,
    access: {},
    usd: 0,
  },
  {
    name: 'one transaction number in both environments',
    events: [buy(0, 30), expire(3, sandbox)],
    on: 4,
    status: 'active',
    access: { pro: 30 },
  },

  // Transfers.
  {
    name: 'transferred away',
    events: [buy(0, 30), event('TRANSFER', 5, { side: 'source' })],
    on: 6,
    status: null,
    access: {},
    usd: 0,
  },
  {
    name: 'transferred away, then bought again',
    events: [
      buy(0, 30),
      event('TRANSFER', 5, { side: 'source' }),
      buy(8, 38, { original_transaction_id: '3000' }),
    ],
    on: 9,
    status: 'active',
    access: { pro: 38 },
    usd: 1000,
  },
  {
    name: 'received by transfer, with the events before it',
    events: [buy(0, 30), event('TRANSFER', 5), renew(30, 60)],
    on: 31,
    status: 'active',
    access: { pro: 60 },
    usd: 2000,
  },
  {
    name: 'a transfer in the sandbox takes nothing that was paid for',
    events: [buy(0, 30), event('TRANSFER', 5, { ...sandbox, side: 'source' })],
    on: 6,
    status: 'active',
    access: { pro: 30 },
  },

  // What RevenueCat's API says.
  {
    name: 'the API lists a subscription without events',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription()]),
    on: 2,
    status: 'active',
    access: { pro: 30 },
    renews: true,
    usd: 1000,
    primary: { productName: 'Pro', managementUrl: 'https://apps.apple.com/account/subscriptions' },
  },
  {
    name: 'the API adds up dollars of three decimals, of which one charge was refunded',
    events: [
      buy(0, 30, { price: 25.484 }),
      renew(30, 60, { price: 25.484 }),
      refund(31, { ...period(30, 60, -10), price: -25.484 }),
    ],
    snapshot: snapshotOf(32, [
      apiSubscription({
        periodStartsAtMs: day(30),
        periodEndsAtMs: day(60),
        endsAtMs: day(31),
        status: 'expired',
        givesAccess: false,
        revenueUsdCents: 5097,
      }),
    ]),
    on: 33,
    status: 'expired',
    access: {},
    usd: 2548,
  },
  {
    name: 'the API lists a renewal whose event was lost',
    events: [buy(0, 30), expire(30)],
    snapshot: snapshotOf(31, [
      apiSubscription({ periodStartsAtMs: day(30), periodEndsAtMs: day(60), endsAtMs: day(60) }),
    ]),
    on: 32,
    status: 'active',
    access: { pro: 60 },
    usd: 1000,
  },
  {
    name: 'an event newer than the API answer applies on top',
    events: [buy(0, 30), cancel(5)],
    snapshot: snapshotOf(1, [apiSubscription()]),
    on: 6,
    status: 'cancelled',
    access: { pro: 30 },
    renews: false,
  },
  {
    name: 'the API lists an uncancellation whose event was lost',
    events: [buy(0, 30), cancel(5)],
    snapshot: snapshotOf(6, [apiSubscription()]),
    on: 7,
    status: 'active',
    access: { pro: 30 },
    renews: true,
  },
  {
    name: 'a renewal with a negative price takes from what was paid, as a refund does',
    events: [buy(0, 30), renew(30, 60, { price: -3, price_in_purchased_currency: -3 })],
    on: 35,
    status: 'active',
    access: { pro: 60 },
    usd: 700,
  },
  {
    name: 'the API says that there is no access',
    events: [buy(0, 30)],
    snapshot: snapshotOf(6, [
      apiSubscription({ status: 'expired', givesAccess: false, autoRenewalStatus: 'will_not_renew' }),
    ]),
    on: 7,
    status: 'expired',
    access: {},
  },
  {
    name: 'the API no longer lists it',
    events: [buy(0, 30)],
    snapshot: snapshotOf(6, []),
    on: 7,
    status: 'expired',
    access: {},
  },
  {
    name: 'access is trusted though the date has passed',
    events: [buy(0, 30)],
    snapshot: snapshotOf(30.2, [apiSubscription({ status: 'something_new' })]),
    on: 30.5,
    status: 'active',
    access: { pro: 31.2 },
  },
  {
    name: 'the API knows the grace period',
    events: [buy(0, 30)],
    snapshot: snapshotOf(30.2, [apiSubscription({ status: 'in_grace_period' })]),
    on: 30.5,
    status: 'grace_period',
    access: { pro: 31.2 },
  },
  {
    name: 'the API knows a grant without product and transaction',
    events: [],
    snapshot: snapshotOf(1, [
      apiSubscription({
        store: 'PROMOTIONAL',
        productId: null,
        storeSubscriptionId: null,
        autoRenewalStatus: 'will_not_renew',
      }),
    ]),
    on: 2,
    status: 'promotional',
    access: { pro: 30 },
  },
  {
    name: 'a trial that only the API lists ends with a later event',
    events: [expire(7, period(0, 7))],
    snapshot: snapshotOf(1, [
      apiSubscription({ status: 'trialing', periodEndsAtMs: day(7), endsAtMs: day(7) }),
    ]),
    on: 8,
    status: 'expired',
    access: {},
  },
];

const listingPro: Snapshot = {
  ...snapshotOf(1, []),
  activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(30) }],
};

describe('the state of a history', () => {
  for (const history of HISTORIES) {
    test(history.name, () => {
      const state = deriveState(history.events, history.snapshot ?? null, day(history.on));
      assert.equal(state.status, history.status);
      assert.deepEqual(
        Object.fromEntries(state.entitlements.map((item) => [item.lookupKey, item.endsAtMs])),
        Object.fromEntries(
          Object.entries(history.access).map(([key, end]) => [key, end === null ? null : day(end)]),
        ),
      );
      if (history.renews !== undefined) assert.equal(state.primary?.willRenew, history.renews);
      if (history.usd !== undefined) assert.equal(state.lifetimeValueUsdCents, history.usd);
      for (const [key, value] of Object.entries(history.primary ?? {})) {
        assert.deepEqual(state.primary?.[key as keyof typeof state.primary], value, key);
      }
      const backwards = deriveState([...history.events].reverse(), history.snapshot ?? null, day(history.on));
      assert.deepEqual(backwards, state, 'order');
    });
  }

  test('a stored summary counts for its format, its version and until its time', () => {
    const stored = { format: SUMMARY_FORMAT, version: 7, validUntilMs: day(10) };
    assert.equal(isCurrentSummary(stored, 7, day(10) - 1), true);
    assert.equal(isCurrentSummary(stored, 7, day(10)), false);
    assert.equal(isCurrentSummary(stored, 8, day(9)), false);
    assert.equal(isCurrentSummary({ ...stored, format: SUMMARY_FORMAT - 1 }, 7, day(9)), false);
    assert.equal(isCurrentSummary(null, 7, day(9)), false);
  });

  test('a summary is valid until a pause ends, or what only the API lists, or until a subscription starts', () => {
    const paused = deriveState([buy(0, 30, play), pause(5, 60)], null, day(31));
    assert.equal(validUntil(paused, day(31)), day(60));
    assert.equal(validUntil(deriveState([], listingPro, day(2)), day(2)), day(30));
    const scheduled = { status: 'incomplete', givesAccess: false, periodStartsAtMs: day(10) };
    const starting = deriveState([], snapshotOf(1, [apiSubscription(scheduled)]), day(2));
    assert.equal(validUntil(starting, day(2)), day(10));
  });

  test('sandbox purchases are listed in their own place', () => {
    const state = deriveState([buy(0, 30, sandbox), grant(0, 30)], null, day(1));
    assert.deepEqual(
      state.sandbox.map((item) => item.status),
      ['active'],
    );
    assert.equal(state.subscriptions.length, 0);
    assert.equal(state.grants.length, 1);
  });

  test('the events endpoint may repeat an event under another id', () => {
    const bare = { transaction_id: null, original_transaction_id: null };
    for (const copies of [
      [buy(0, 30), buy(0, 30, { id: 'another' })],
      [buy(0, 30, { ...bare, id: 'a1' }), buy(0, 30, { ...bare, id: 'A1' })],
    ])
      assert.equal(deriveState(copies, null, day(1)).lifetimeValueUsdCents, 1000);
  });

  test('an entitlement that only the API lists lasts until an event is about it', () => {
    const events = [expire(7, period(0, 7))];
    assert.deepEqual(
      [6, 31].map((on) => deriveState([], listingPro, day(on)).entitlements.length),
      [1, 0],
    );
    assert.equal(deriveState(events, listingPro, day(8)).entitlements.length, 0);
  });

  test('copies of one event that differ give one state in any order', () => {
    const copies = [buy(0, 30, { id: 'e' }), buy(0, 30, { id: 'e', product_id: 'other' })];
    assert.deepEqual(deriveState(copies, null, day(1)), deriveState(copies.toReversed(), null, day(1)));
  });

  test('what was replaced by another product has ended', () => {
    const next = buy(10, 375, { ...play, product_id: 'pro_yearly', original_transaction_id: '1001' });
    for (const announced of [9, 11]) {
      const state = deriveState(
        [buy(0, 30, play), changed(announced, 'pro_yearly', play), next],
        null,
        day(12),
      );
      assert.deepEqual(
        state.subscriptions.map((item) => [item.productId, item.givesAccess, item.expiredAtMs]),
        [
          ['pro_yearly', true, null],
          ['pro_monthly', false, day(10)],
        ],
      );
    }
  });

  test('the last event is the latest of production that people know', () => {
    const state = deriveState(
      [buy(0, 30), cancel(5), renew(6, 36, sandbox), event('PAYWALL_CLOSE', 7)],
      null,
      day(8),
    );
    assert.deepEqual(state.lastEvent, { kind: 'cancellation', type: 'CANCELLATION', atMs: day(5) });
  });

  test('a payment that failed is one of the latest events, also after a free trial', () => {
    for (const start of [buy(0, 30), trial(0, 30)]) {
      const fields = { period_type: start.periodType };
      const gaveUp = cancel(30, { cancel_reason: 'BILLING_ERROR', ...fields });
      const { latest } = summarize([start, billingIssue(30, 46, fields), gaveUp], null, day(31));
      assert.deepEqual(
        latest.map(({ type }) => type),
        ['BILLING_ISSUE', 'INITIAL_PURCHASE'],
      );
    }
  });

  test('a free trial whose next period is paid already ends when it would have', () => {
    const paidAhead = { status: 'trialing', autoRenewalStatus: 'has_already_renewed' };
    const periods = { periodEndsAtMs: day(7), endsAtMs: day(37) };
    const snapshot = snapshotOf(6, [apiSubscription({ ...paidAhead, ...periods })]);
    assert.equal(deriveState([trial(0, 7)], snapshot, day(6)).trialEndsAtMs, day(7));
  });
});
