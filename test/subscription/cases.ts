import { messagesFor } from '../../src/i18n/messages.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
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

/**
 * What customers are, then faults that were reported for this app or for others of its kind, with their siblings in
 * other stores and orders. `docs/sentences.md` lists them in every language.
 */
export interface Case {
  readonly name: string;
  readonly events: readonly LifecycleEvent[];
  readonly snapshot?: Snapshot;
  /** The day on which the card is read. */
  readonly on: number;
  readonly status?: string | null;
  readonly says: string;
  /** Contact attributes; dates as days. */
  readonly attributes?: Readonly<Record<string, unknown>>;
  /** `undefined`: no such row. */
  readonly rows?: Readonly<Record<string, string | undefined>>;
}

const m = messagesFor('en');
const date = (n: number): string => m.date(day(n));

export const play = { store: 'PLAY_STORE' };
const stripe = { store: 'STRIPE' };
const team = {
  original_transaction_id: 'st1',
  store: 'STRIPE',
  product_id: 'team',
  entitlement_ids: ['team'],
  price: 19,
  price_in_purchased_currency: 19,
};
const family = { is_family_share: true, price: 0, price_in_purchased_currency: 0 };
const unknownPrice = { price: null, price_in_purchased_currency: null };
const issue = (at: number, graceDay: number | null, fields = {}): LifecycleEvent =>
  event('BILLING_ISSUE', at, {
    ...period(0, 30),
    grace_period_expiration_at_ms: graceDay === null ? null : day(graceDay),
    ...fields,
  });
const cancel = (at: number, reason: string, fields = {}): LifecycleEvent =>
  event('CANCELLATION', at, { ...period(0, 30), cancel_reason: reason, ...fields });
const expire = (at: number, reason: string, fields = {}): LifecycleEvent =>
  event('EXPIRATION', at, { ...period(0, 30), expiration_reason: reason, ...fields });
const refund = (at: number, fields = {}): LifecycleEvent =>
  cancel(at, 'CUSTOMER_SUPPORT', { ...period(0, 30, -10), ...fields });
const yearly = { product_id: 'pro_yearly', original_transaction_id: '1001', ...play };

const lifetime = { ...period(0, null), product_id: 'pro_lifetime' };
const buyLifetime = (at: number, fields = {}): LifecycleEvent =>
  event('NON_RENEWING_PURCHASE', at, { ...lifetime, ...fields });
const refundLifetime = (at: number): LifecycleEvent =>
  refund(at, { ...lifetime, price: -10, price_in_purchased_currency: -10 });
/** What the API says on day 40 of someone who owns a one-time purchase. */
const ownedFor = (endDay: number | null): Snapshot => ({
  ...snapshotOf(40, []),
  purchases: [apiPurchase()],
  activeEntitlements: [{ lookupKey: 'pro', endsAtMs: endDay === null ? null : day(endDay) }],
});

export const CASES: readonly Case[] = [
  // What most customers are.

  { name: 'nothing', events: [], on: 1, status: null, says: 'This customer has not bought anything.' },
  {
    name: 'active',
    events: [buy(0, 30)],
    on: 2,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}.`,
  },
  {
    name: 'an introductory price',
    events: [buy(0, 30, { period_type: 'INTRO', price: 1, price_in_purchased_currency: 1 })],
    on: 2,
    status: 'intro',
    says: `Pro, introductory price $1.00 a month. Next charge ${date(30)}.`,
  },
  {
    name: 'a free trial',
    events: [trial(0, 7)],
    on: 2,
    status: 'trial',
    says: `Pro, free trial until ${date(7)}. Then it renews and is charged.`,
    attributes: { rc_trial_ends_at: 7 },
  },
  {
    name: 'a free trial, cancelled',
    events: [trial(0, 7), cancel(2, 'UNSUBSCRIBE', { ...period(0, 7), period_type: 'TRIAL' })],
    on: 3,
    status: 'cancelled_trial',
    says: `Pro, free trial, cancelled. Access until ${date(7)}. Will not be charged.`,
  },
  {
    name: 'a free trial that was cancelled and has ended was never paid for',
    events: [trial(0, 7), cancel(2, 'UNSUBSCRIBE', { ...period(0, 7), period_type: 'TRIAL' })],
    on: 8,
    status: 'expired',
    says: `No access since ${date(7)}: cancelled. Had Pro on a free trial.`,
    attributes: { rc_period_type: 'TRIAL', rc_will_renew: false },
  },
  {
    name: 'a free trial whose first payment failed was never paid for',
    events: [
      trial(0, 7),
      expire(7, 'BILLING_ERROR', { ...period(0, 7), period_type: 'TRIAL' }),
      issue(7, null, { ...period(0, 7), period_type: 'TRIAL' }),
    ],
    on: 8,
    status: 'expired',
    says: `No access since ${date(7)}: payment failed. Had Pro on a free trial.`,
  },
  {
    name: 'a payment that the store still retries may be charged, whatever else was cancelled',
    events: [
      buy(0, 30),
      issue(30, null),
      expire(30, 'BILLING_ERROR'),
      buy(20, 50, { ...team, original_transaction_id: 'st1' }),
      cancel(25, 'UNSUBSCRIBE', { ...period(20, 50), ...team }),
      event('NON_RENEWING_PURCHASE', 10, {
        ...period(10, null, 50),
        product_id: 'max_lifetime',
        entitlement_ids: ['max'],
        original_transaction_id: 'max1',
      }),
    ],
    on: 31,
    says:
      `Payment for Pro failed on ${date(30)}. No access since ${date(30)}. ` +
      `Max (App Store, bought once) and Team (monthly, Stripe, cancelled, until ${date(50)}).`,
  },
  {
    name: 'cancelled',
    events: [buy(0, 30), cancel(5, 'UNSUBSCRIBE')],
    on: 6,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(5)}. Access until ${date(30)}. No further charge.`,
  },
  {
    name: 'a grace period',
    events: [buy(0, 30, play), issue(30, 46, play)],
    on: 32,
    status: 'grace_period',
    says: `Payment failed on ${date(30)}. Still has Pro until ${date(46)} while Google retries the card.`,
    attributes: { expires_at: 46, rc_billing_issue_at: 30 },
  },
  {
    name: 'ended',
    events: [buy(0, 30), cancel(5, 'UNSUBSCRIBE'), expire(30, 'UNSUBSCRIBE')],
    on: 32,
    status: 'expired',
    says: `No access since ${date(30)}: cancelled. Had Pro, $10.00 a month.`,
  },
  {
    name: "ended by the app's team",
    events: [buy(0, 30), expire(12, 'DEVELOPER_INITIATED')],
    on: 32,
    says: `No access since ${date(12)}: ended by the app's team. Had Pro, $10.00 a month.`,
  },
  {
    name: 'refunded one dollar',
    events: [buy(0, 30, { price: 1, price_in_purchased_currency: 1 }), refund(12, { ...period(0, 12, -1) })],
    on: 15,
    status: 'expired',
    says: `Refunded $1.00 on ${date(12)}. No access since then.`,
  },
  {
    name: 'granted',
    events: [grant(0, 31)],
    on: 2,
    status: 'promotional',
    says: `Pro, granted until ${date(31)}. Not paying.`,
  },
  {
    name: 'a grant that ended',
    events: [grant(0, 31)],
    on: 40,
    status: 'expired_promotional',
    says: `No access since ${date(31)}. Pro had been granted; never paid.`,
  },
  {
    name: 'a grant after a payment that failed gives access again',
    events: [buy(0, 30), issue(30, null), expire(30, 'BILLING_ERROR'), grant(33, 63)],
    on: 35,
    status: 'promotional',
    says: `Payment for Pro failed on ${date(30)}. Pro, granted until ${date(63)}. Not paying.`,
  },
  {
    name: 'a pause ahead',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
    ],
    on: 6,
    status: 'active',
    says: `Pro until ${date(30)}, then paused until ${date(60)}. No charge while paused.`,
  },
  {
    name: 'paused',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
    ],
    on: 35,
    status: 'paused',
    says: `Paused since ${date(30)}. Resumes and charges $10.00 on ${date(60)}.`,
  },
  {
    name: 'a pause after a free trial: nothing is charged at its end',
    events: [
      trial(0, 7, play),
      event('SUBSCRIPTION_PAUSED', 3, {
        ...period(0, 7),
        ...play,
        period_type: 'TRIAL',
        auto_resume_at_ms: day(37),
      }),
    ],
    on: 4,
    status: 'trial',
    says: `Pro until ${date(7)}, then paused until ${date(37)}. No charge while paused.`,
  },
  {
    name: 'cancelled before the pause began',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      cancel(8, 'UNSUBSCRIBE', play),
    ],
    on: 10,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(8)}. Access until ${date(30)}. No further charge.`,
  },
  {
    name: 'cancelled while paused: nothing resumes and charges',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
      cancel(40, 'UNSUBSCRIBE', play),
    ],
    on: 45,
    status: 'expired',
    says: `No access since ${date(30)}: cancelled. Had Pro, $10.00 a month.`,
    rows: { Ended: date(30) },
  },
  {
    name: 'a prepaid plan that was topped up',
    events: [
      buy(0, 30, { ...play, period_type: 'PREPAID' }),
      renew(20, 60, { ...play, period_type: 'PREPAID' }),
    ],
    on: 25,
    status: 'active',
    says: `Pro, prepaid until ${date(60)}. Does not renew automatically.`,
    attributes: { rc_will_renew: false, rc_lifetime_value_usd: 20 },
  },
  {
    name: 'a prepaid plan that ran out was not cancelled',
    events: [
      buy(0, 30, { ...play, period_type: 'PREPAID' }),
      expire(30, 'UNSUBSCRIBE', { ...play, period_type: 'PREPAID' }),
    ],
    on: 31,
    status: 'expired',
    says: `No access since ${date(30)}. Had Pro, $10.00.`,
  },
  {
    name: 'a prepaid plan beside a subscription',
    events: [buy(0, 30, { ...play, period_type: 'PREPAID' }), buy(5, 35, team)],
    on: 25,
    says: `Team (monthly, Stripe) and Pro (Google Play, prepaid, until ${date(30)}). Next charge $19.00 on ${date(35)}.`,
  },
  {
    name: 'bought for life beside a subscription that still renews',
    events: [
      buy(0, 30),
      event('NON_RENEWING_PURCHASE', 5, {
        ...period(5, null, 99),
        product_id: 'lifetime',
        original_transaction_id: 'life',
      }),
    ],
    on: 10,
    says: `Pro (monthly, App Store) and Pro (App Store, bought once). Next charge $10.00 on ${date(30)}.`,
  },
  {
    name: 'a subscription whose end is decades away',
    events: [buy(0, 30, { expiration_at_ms: Date.UTC(2099, 0, 1) })],
    on: 10,
    says: 'Pro, $10.00.',
  },
  {
    name: 'a change of product ahead',
    events: [buy(0, 30), event('PRODUCT_CHANGE', 10, { ...period(0, 30), new_product_id: 'pro_yearly' })],
    on: 12,
    says: `Pro, $10.00 a month. Next charge ${date(30)}. Changes to Pro yearly at the next renewal.`,
  },
  {
    name: 'bought for life',
    events: [event('NON_RENEWING_PURCHASE', 0, { ...period(0, null, 99), product_id: 'lifetime' })],
    on: 400,
    status: 'active',
    says: 'Pro, bought once, for life. No further charge.',
  },
  {
    name: 'one-time purchases without access',
    events: [
      event('NON_RENEWING_PURCHASE', 0, {
        ...period(0, null, 5),
        product_id: 'coins',
        entitlement_ids: null,
      }),
    ],
    on: 4,
    status: null,
    says: 'No subscription. Made one-time purchases.',
  },
  {
    name: 'a purchase that the store has not confirmed',
    events: [event('TEMPORARY_ENTITLEMENT_GRANT', 0, { ...period(0, 1), original_transaction_id: null })],
    on: 0.5,
    says: `Pro, temporarily until ${date(1)}: the store has not confirmed the purchase yet.`,
  },

  // Money.
  {
    name: 'the next charge of several is in the future and of what can be charged',
    events: [buy(0, 30), issue(30, 46), buy(22, 52, team)],
    on: 33,
    status: 'active',
    says: `Payment for Pro failed on ${date(30)}. Team (monthly, Stripe) and Pro (monthly, App Store). Next charge $19.00 on ${date(52)}.`,
  },
  {
    name: 'a family share beside an own subscription is charged to another',
    events: [buy(0, 30, family), buy(15, 45, team)],
    on: 20,
    says: `Team (monthly, Stripe) and Pro (monthly, App Store, family sharing). Next charge $19.00 on ${date(45)}.`,
    attributes: { rc_first_purchase_at: 15, rc_lifetime_value_usd: 19 },
  },
  {
    name: 'a trial through family sharing is never charged',
    events: [trial(0, 7, family)],
    on: 2,
    status: 'trial',
    says: `Pro, through family sharing until ${date(7)}. Another family member pays; this customer is never charged.`,
  },
  {
    name: 'a family share whose renewal was switched off',
    events: [buy(0, 30, family), cancel(5, 'UNSUBSCRIBE', family)],
    on: 6,
    status: 'cancelled',
    says: `Pro, through family sharing until ${date(30)}. Another family member pays; this customer is never charged.`,
  },
  {
    name: 'a family share in a grace period',
    events: [buy(0, 30, family), issue(30, 46, family)],
    on: 33,
    says: `Pro, through family sharing until ${date(46)}. Another family member pays; this customer is never charged.`,
  },
  {
    name: 'a family share that ended',
    events: [buy(0, 30, family), expire(30, 'BILLING_ERROR', family)],
    on: 33,
    says: `No access since ${date(30)}. Had Pro through family sharing.`,
    attributes: { rc_first_purchase_at: null, rc_lifetime_value_usd: 0 },
  },
  {
    name: 'a family share that only the API lists',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription({ isFamilyShare: true, revenueUsdCents: 0 })]),
    on: 2,
    says: `Pro, through family sharing until ${date(30)}. Another family member pays; this customer is never charged.`,
    attributes: { rc_first_purchase_at: null },
  },
  {
    name: 'a lifetime purchase of the family that only the API lists',
    events: [],
    snapshot: {
      ...snapshotOf(1, []),
      purchases: [apiPurchase({ isFamilyShare: true, revenueUsdCents: 0 })],
      activeEntitlements: [{ lookupKey: 'pro', endsAtMs: null }],
    },
    on: 2,
    says: `Pro, through family sharing. Another family member pays; this customer is never charged.`,
    attributes: { rc_first_purchase_at: null, rc_lifetime_value_usd: 0 },
  },
  {
    name: 'what the family paid for is not the first purchase',
    events: [buy(0, 30, family), buy(80, 110, { original_transaction_id: 'own' })],
    on: 85,
    says: `Pro, $10.00 a month. Next charge ${date(110)}.`,
    attributes: { rc_first_purchase_at: 80 },
    rows: { paid: `$10.00 since ${date(80)}` },
  },
  {
    name: 'paid since the first money and not since the trial',
    events: [trial(0, 7), renew(7, 37, { is_trial_conversion: true })],
    on: 10,
    says: `Pro, $10.00 a month. Next charge ${date(37)}.`,
    attributes: { rc_first_purchase_at: 0 },
    rows: { paid: `$10.00 since ${date(7)}` },
  },
  {
    name: 'an unknown price stays unknown when the product changes',
    events: [buy(0, 30), renew(30, 395, { product_id: 'pro_yearly', ...unknownPrice })],
    on: 40,
    says: `Pro. Next charge ${date(395)}.`,
  },
  {
    name: 'an unknown price stays unknown after an introductory one',
    events: [buy(0, 30, { period_type: 'INTRO' }), renew(30, 60, unknownPrice)],
    on: 40,
    says: `Pro. Next charge ${date(60)}.`,
  },
  {
    name: 'an unknown price stays unknown for a product that only the API names',
    events: [buy(0, 30)],
    snapshot: snapshotOf(40, [
      apiSubscription({
        productId: 'pro_yearly',
        periodStartsAtMs: day(30),
        periodEndsAtMs: day(395),
        endsAtMs: day(395),
      }),
    ]),
    on: 41,
    says: `Pro. Next charge ${date(395)}.`,
  },
  {
    name: 'a change ahead says no sum that is of the old product',
    events: [
      buy(0, 30),
      event('PRODUCT_CHANGE', 10, { ...period(0, 30), new_product_id: 'pro_yearly' }),
      buy(15, 60, team),
    ],
    on: 20,
    says: `Team (Stripe) and Pro (monthly, App Store, changes to Pro yearly). Next charge on ${date(30)}.`,
  },
  {
    name: 'every four weeks is no month',
    events: [buy(70, 98, stripe)],
    on: 75,
    says: `Pro, $10.00 every 4 weeks. Next charge ${date(98)}.`,
  },
  {
    name: 'a month of 28 days',
    events: [buy(40, 68)],
    on: 45,
    says: `Pro, $10.00 a month. Next charge ${date(68)}.`,
  },
  {
    name: 'a pass is not charged by the period',
    events: [event('NON_RENEWING_PURCHASE', 0, { ...period(0, 90, 19.99), product_id: 'season' })],
    on: 95,
    status: 'expired',
    says: `No access since ${date(90)}. Had Pro, $19.99.`,
  },
  {
    name: "Stripe's change that repeats its start has no period",
    events: [
      buy(20, 50, { store: 'STRIPE' }),
      renew(20, 385, {
        store: 'STRIPE',
        product_id: 'pro_yearly',
        event_timestamp_ms: day(40),
        transaction_id: 'x',
        price: 60,
        price_in_purchased_currency: 60,
      }),
    ],
    on: 41,
    says: `Pro, $60.00. Next charge ${date(385)}.`,
  },
  {
    name: "Stripe's change that repeats its start has no period after an API response either",
    events: [
      buy(20, 50, { store: 'STRIPE' }),
      renew(20, 80, {
        store: 'STRIPE',
        product_id: 'pro_plus',
        event_timestamp_ms: day(49),
        transaction_id: 'x',
        price: 15,
        price_in_purchased_currency: 15,
      }),
    ],
    snapshot: snapshotOf(50, [
      apiSubscription({
        store: 'STRIPE',
        productId: 'pro_plus',
        startsAtMs: day(20),
        periodStartsAtMs: day(20),
        periodEndsAtMs: day(80),
        endsAtMs: day(80),
      }),
    ]),
    on: 51,
    says: `Pro, $15.00. Next charge ${date(80)}.`,
  },
  {
    name: 'a paid year that the store will not renew is cancelled, not retried',
    events: [
      buy(0, 365, { ...play, product_id: 'pro:yearly' }),
      cancel(0.001, 'BILLING_ERROR', { ...play, ...period(0, 365), product_id: 'pro:yearly', price: 0 }),
    ],
    on: 20,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(0)}. Access until ${date(365)}. No further charge.`,
    attributes: { rc_billing_issue_at: null, rc_will_renew: false },
  },
  {
    name: 'a paid year that the store did not renew ends as cancelled',
    events: [
      buy(0, 365, { ...play, product_id: 'pro:yearly' }),
      cancel(0.001, 'BILLING_ERROR', { ...play, ...period(0, 365), product_id: 'pro:yearly', price: 0 }),
      expire(365, 'BILLING_ERROR', { ...play, ...period(0, 365), product_id: 'pro:yearly' }),
    ],
    on: 370,
    says: `No access since ${date(365)}: cancelled. Had Pro, $10.00 a year.`,
  },
  {
    name: 'a trial whose payment fails is not called cancelled',
    events: [trial(0, 7), cancel(7, 'BILLING_ERROR', { ...period(0, 23), period_type: 'TRIAL' })],
    on: 9,
    status: 'grace_period_trial',
    says: `Payment failed on ${date(7)}. Still has Pro until ${date(23)} while Apple retries the card.`,
    attributes: { rc_will_renew: true, rc_billing_issue_at: 7 },
  },
  {
    name: 'the cancellation that comes with a failed payment does not switch renewal off',
    events: [buy(0, 30), issue(30, 46), cancel(30, 'BILLING_ERROR')],
    on: 31,
    status: 'grace_period',
    says: `Payment failed on ${date(30)}. Still has Pro until ${date(46)} while Apple retries the card.`,
    attributes: { rc_will_renew: true, rc_billing_issue_at: 30 },
  },
  {
    name: 'a payment that failed before the period ended',
    events: [buy(0, 30), issue(29, null)],
    on: 29.5,
    status: 'grace_period',
    says: `Payment failed on ${date(29)}. Still has Pro until ${date(30)} while Apple retries the card.`,
  },
  {
    name: 'four subscriptions join with one word',
    events: ['aplan', 'bplan', 'cplan', 'eplan'].map((plan) =>
      buy(0, 30, {
        product_id: plan,
        entitlement_ids: [plan],
        original_transaction_id: plan,
        transaction_id: plan,
        price: 4,
        price_in_purchased_currency: 4,
      }),
    ),
    on: 5,
    says: `Aplan (monthly, App Store), Bplan (monthly, App Store), Cplan (monthly, App Store) and 1 more. Next charge $4.00 on ${date(30)}.`,
  },

  // What the API's statuses mean.
  {
    name: 'will_pause pauses at the end of the period',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription({ store: 'PLAY_STORE', autoRenewalStatus: 'will_pause' })]),
    on: 2,
    status: 'active',
    says: `Pro until ${date(30)}, then paused. No charge while paused.`,
    attributes: { rc_will_renew: false, subscription_status: 'active' },
  },
  {
    name: 'in_billing_retry is a failed payment',
    events: [],
    snapshot: snapshotOf(40, [apiSubscription({ status: 'in_billing_retry', givesAccess: false })]),
    on: 41,
    status: 'expired',
    says: `No access since ${date(30)}: payment failed. Had Pro.`,
    attributes: { rc_billing_issue_at: 30, rc_will_renew: false },
  },
  {
    name: 'a grace period that the period end includes did not begin in the future',
    events: [],
    snapshot: snapshotOf(20, [apiSubscription({ status: 'in_grace_period' })]),
    on: 21,
    status: 'grace_period',
    says: `Payment failed. Still has Pro until ${date(30)} while Apple retries the card.`,
    attributes: { rc_billing_issue_at: null },
  },
  {
    name: 'paused is paused though the period ends with the pause',
    events: [],
    snapshot: snapshotOf(5, [apiSubscription({ store: 'PLAY_STORE', status: 'paused', givesAccess: false })]),
    on: 6,
    status: 'paused',
    says: 'Paused.',
    attributes: { rc_will_renew: false, rc_entitlements: null, expires_at: null },
  },
  {
    name: 'a refund that only the API shows has no date: it would move with each response',
    events: [],
    snapshot: { ...snapshotOf(20, []), purchases: [apiPurchase({ status: 'refunded' })] },
    on: 21,
    status: 'expired',
    says: 'Refunded. No access.',
    attributes: { expires_at: null },
  },
  {
    name: 'a purchase that the API shows as refunded after its access had ended',
    events: [event('NON_RENEWING_PURCHASE', 0, { ...period(0, 15, 9), product_id: 'season' })],
    snapshot: {
      ...snapshotOf(20, []),
      purchases: [apiPurchase({ productId: 'season', status: 'refunded' })],
    },
    on: 21,
    says: `Refunded. No access since ${date(15)}.`,
    attributes: { expires_at: 15 },
  },
  {
    name: 'a subscription that the API no longer lists ended at a time that is not known',
    events: [buy(0, 30)],
    snapshot: snapshotOf(20, []),
    on: 21,
    status: 'expired',
    says: 'No access. Had Pro, $10.00 a month.',
    attributes: { expires_at: null, rc_entitlements: null },
  },
  {
    name: 'access that the API gives past its end has no end to name',
    events: [buy(0, 30), cancel(5, 'UNSUBSCRIBE')],
    snapshot: snapshotOf(40, [apiSubscription({ autoRenewalStatus: 'will_not_renew' })]),
    on: 40.5,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(5)}. No further charge.`,
    attributes: { expires_at: null, rc_entitlements: 'pro' },
  },
  {
    name: 'a failed payment that the store no longer retries is why it ended, and will not be charged',
    events: [
      buy(0, 30),
      issue(30, null),
      cancel(30, 'BILLING_ERROR'),
      expire(30, 'BILLING_ERROR'),
      event('NON_RENEWING_PURCHASE', 10, {
        ...period(10, null, 50),
        product_id: 'max',
        original_transaction_id: 'm',
      }),
    ],
    snapshot: {
      ...snapshotOf(40, [
        apiSubscription({ status: 'expired', givesAccess: false, autoRenewalStatus: 'will_not_renew' }),
      ]),
      purchases: [apiPurchase({ productId: 'max', storePurchaseId: 'm' })],
      activeEntitlements: [{ lookupKey: 'pro', endsAtMs: null }],
    },
    on: 41,
    status: 'active',
    says: 'Pro, bought once, for life. No further charge.',
    attributes: { rc_billing_issue_at: null },
  },
  {
    name: 'a payment that failed and that the API shows as given up is still the reason',
    events: [buy(0, 30), issue(30, null), cancel(30, 'BILLING_ERROR')],
    snapshot: snapshotOf(40, [
      apiSubscription({ status: 'expired', givesAccess: false, autoRenewalStatus: 'will_not_renew' }),
    ]),
    on: 41,
    status: 'expired',
    says: `No access since ${date(30)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { rc_billing_issue_at: null },
  },
  {
    name: 'a refund whose event was lost ended access when the API says',
    events: [buy(0, 30)],
    snapshot: snapshotOf(7, [
      apiSubscription({
        status: 'expired',
        givesAccess: false,
        autoRenewalStatus: 'will_not_renew',
        periodEndsAtMs: day(5),
        endsAtMs: day(5),
      }),
    ]),
    on: 10,
    status: 'expired',
    says: `No access since ${date(5)}. Had Pro, $10.00 a month.`,
    attributes: { expires_at: 5 },
  },
  {
    name: 'what the API lists is no longer temporary',
    events: [
      event('TEMPORARY_ENTITLEMENT_GRANT', 0, {
        ...period(0, 1),
        transaction_id: '1000',
        original_transaction_id: null,
      }),
    ],
    snapshot: snapshotOf(0.3, [apiSubscription()]),
    on: 0.5,
    status: 'active',
    says: `Pro. Next charge ${date(30)}.`,
  },
  {
    name: 'a payment that failed again, months after the first time',
    events: [
      buy(0, 30),
      issue(30, null),
      cancel(30, 'BILLING_ERROR'),
      expire(30, 'BILLING_ERROR'),
      // The renewals in between were not received.
      issue(120, null, period(90, 120)),
      expire(120, 'BILLING_ERROR', period(90, 120)),
      buy(110, 140, team),
    ],
    on: 121,
    says:
      `Payment for Pro failed on ${date(120)}. No access since ${date(120)}. ` +
      `Team, $19.00 a month. Next charge ${date(140)}.`,
  },
  {
    name: 'cancelled in a period whose renewal was not received',
    events: [
      buy(0, 30),
      cancel(5, 'UNSUBSCRIBE'),
      expire(30, 'UNSUBSCRIBE'),
      cancel(70, 'UNSUBSCRIBE', period(60, 90)),
    ],
    on: 75,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(70)}. Access until ${date(90)}. No further charge.`,
  },
  {
    name: 'an introductory price is not that of the next period, which only the API shows',
    events: [buy(0, 30, { period_type: 'INTRO', price: 1, price_in_purchased_currency: 1 })],
    snapshot: snapshotOf(31, [
      apiSubscription({ periodStartsAtMs: day(30), periodEndsAtMs: day(61), endsAtMs: day(61) }),
    ]),
    on: 32,
    status: 'active',
    says: `Pro. Next charge ${date(61)}.`,
  },
  {
    name: 'a failed payment of the period after a free trial, which only the API shows',
    events: [trial(0, 7)],
    snapshot: snapshotOf(38, [
      apiSubscription({
        status: 'in_grace_period',
        periodStartsAtMs: day(7),
        periodEndsAtMs: day(37),
        endsAtMs: day(37),
      }),
    ]),
    on: 38.5,
    status: 'grace_period',
    says: `Payment failed on ${date(37)}. Still has Pro while Apple retries the card.`,
    attributes: { expires_at: null },
  },
  {
    name: 'the charge that was to end a pause failed',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
      issue(60, null, play),
    ],
    on: 61,
    status: 'expired',
    says: `No access since ${date(30)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { rc_billing_issue_at: 60 },
  },
  {
    name: 'a second trial that becomes another product costs what is not known',
    events: [
      buy(0, 30),
      expire(30, 'UNSUBSCRIBE'),
      renew(60, 67, { period_type: 'TRIAL', price: 0, price_in_purchased_currency: 0 }),
      event('PRODUCT_CHANGE', 62, { ...period(60, 67), period_type: 'TRIAL', new_product_id: 'pro_yearly' }),
    ],
    on: 63,
    status: 'trial',
    says: `Pro, free trial until ${date(67)}. Then it renews and is charged. Changes to Pro yearly at the next renewal.`,
  },
  {
    name: 'a payment that the store retries, whatever the expiration before said',
    events: [buy(0, 30), expire(30, 'UNSUBSCRIBE')],
    snapshot: snapshotOf(40, [apiSubscription({ status: 'in_billing_retry', givesAccess: false })]),
    on: 41,
    says: `No access since ${date(30)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { rc_billing_issue_at: 30 },
  },
  {
    name: 'an active entitlement without a purchase is access',
    events: [],
    snapshot: { ...snapshotOf(20, []), activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(50) }] },
    on: 21,
    status: null,
    says: `Pro until ${date(50)}. RevenueCat lists no purchase for it.`,
    attributes: { rc_entitlements: 'pro' },
  },
  {
    name: 'an active entitlement without a purchase, and a subscription that ended',
    events: [],
    snapshot: {
      ...snapshotOf(40, [
        apiSubscription({ status: 'expired', givesAccess: false, autoRenewalStatus: 'will_not_renew' }),
      ]),
      activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(90) }],
    },
    on: 41,
    status: 'expired',
    says: `Pro until ${date(90)}. RevenueCat lists no purchase for it.`,
  },
  {
    name: 'a pass whose entitlement is no longer active has ended',
    events: [],
    snapshot: { ...snapshotOf(40, []), purchases: [apiPurchase({ productId: 'season' })] },
    on: 41,
    status: 'expired',
    says: 'No access. Had Pro.',
    attributes: { rc_entitlements: null },
  },
  {
    name: 'a purchase may give an entitlement that is listed by an id without a known key',
    events: [buyLifetime(0)],
    snapshot: {
      ...snapshotOf(40, []),
      purchases: [apiPurchase()],
      activeEntitlements: [{ lookupKey: 'entl1a2b3c4d5e', endsAtMs: null }],
    },
    on: 41,
    status: 'active',
    says: 'Pro, bought once, for life. No further charge.',
  },
  {
    name: 'a pass does not last as long as the subscription to the same entitlement',
    events: [],
    snapshot: { ...snapshotOf(20, [apiSubscription()]), purchases: [apiPurchase({ productId: 'season' })] },
    on: 21,
    status: 'active',
    says: `Pro. Next charge ${date(30)}.`,
  },
  {
    name: 'of two passes that only the API lists the last one runs',
    events: [],
    snapshot: {
      ...snapshotOf(80, []),
      purchases: [
        apiPurchase({ productId: 'season' }),
        apiPurchase({ id: 'purch2', productId: 'winter', storePurchaseId: '2000', purchasedAtMs: day(70) }),
      ],
      activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(160) }],
    },
    on: 81,
    status: 'active',
    says: `Pro, bought once, until ${date(160)}. No further charge.`,
    attributes: { rc_product: 'winter' },
  },
  {
    name: 'a pass that the API no longer lists ends with its entitlement',
    events: [event('NON_RENEWING_PURCHASE', 0, { ...period(0, null, 20), product_id: 'season' })],
    snapshot: { ...snapshotOf(20, []), activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(30) }] },
    on: 21,
    status: 'active',
    says: `Pro, bought once, until ${date(30)}. No further charge.`,
    attributes: { expires_at: 30 },
  },
  {
    name: 'a subscription without an end that is known does not last for ever',
    events: [],
    snapshot: snapshotOf(20, [
      apiSubscription({ periodEndsAtMs: null, endsAtMs: null, autoRenewalStatus: 'will_not_renew' }),
    ]),
    on: 21,
    status: 'cancelled',
    says: 'Pro, cancelled. No further charge.',
    attributes: { expires_at: null },
    rows: { Ends: undefined },
  },
  {
    name: 'a paused subscription that the API no longer lists does not resume',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
    ],
    snapshot: snapshotOf(40, []),
    on: 41,
    status: 'expired',
    says: `No access since ${date(30)}: paused. Had Pro, $10.00 a month.`,
  },
  {
    name: 'a subscription that the API no longer lists is not charged beside the listed one',
    events: [buy(0, 30), buy(1, 366, { ...yearly, price: 60, price_in_purchased_currency: 60 })],
    snapshot: {
      ...snapshotOf(10, [apiSubscription()]),
      activeEntitlements: [{ lookupKey: 'pro', endsAtMs: day(30) }],
    },
    on: 11,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}.`,
    attributes: { rc_entitlements: 'pro', expires_at: 30 },
  },
  {
    name: 'a purchase that the API lists as owned after its refund gives access',
    events: [buyLifetime(0), refundLifetime(10)],
    snapshot: ownedFor(null),
    on: 42,
    status: 'active',
    says: `Pro, bought once, for life. No further charge. Refunded $10.00 on ${date(10)}; access remains.`,
    attributes: { rc_entitlements: 'pro', expires_at: null },
  },
  {
    name: 'a refund after the API listed the purchase as owned ends access',
    events: [buyLifetime(0), refundLifetime(41)],
    snapshot: ownedFor(null),
    on: 42,
    status: 'expired',
    says: `Refunded $10.00 on ${date(41)}. No access since then.`,
    attributes: { rc_entitlements: null },
  },
  {
    name: 'a product that got its entitlement after it was bought',
    events: [buyLifetime(0, { entitlement_ids: null })],
    snapshot: ownedFor(null),
    on: 42,
    status: 'active',
    says: 'Pro, bought once, for life. No further charge.',
    attributes: { rc_entitlements: 'pro', latest_entitlement: 'pro' },
  },
  {
    name: 'a pass that only the API lists ends with its entitlement',
    events: [],
    snapshot: ownedFor(90),
    on: 42,
    status: 'active',
    says: `Pro, bought once, until ${date(90)}. No further charge.`,
    attributes: { rc_entitlements: 'pro', expires_at: 90 },
  },
  {
    name: 'a consumable that only the API lists was bought',
    events: [],
    snapshot: { ...snapshotOf(1, []), purchases: [apiPurchase({ entitlements: [] })] },
    on: 2,
    status: null,
    says: 'No subscription. Made one-time purchases.',
    attributes: { rc_first_purchase_at: 0, rc_entitlements: null },
  },
  {
    name: 'incomplete never gave access and was never bought',
    events: [],
    snapshot: snapshotOf(1, [
      apiSubscription({ status: 'incomplete', givesAccess: false, revenueUsdCents: 0 }),
    ]),
    on: 2,
    status: null,
    says: 'Pro: the first payment is pending. No access yet.',
    attributes: { rc_entitlements: null, rc_first_purchase_at: null, expires_at: null },
  },
  {
    name: 'a price increase without consent ends the subscription',
    events: [buy(0, 30)],
    snapshot: snapshotOf(1, [apiSubscription({ autoRenewalStatus: 'requires_price_increase_consent' })]),
    on: 2,
    status: 'active',
    says: `Pro, $10.00 a month. Ends on ${date(30)} unless the customer agrees to the price increase.`,
    attributes: { rc_will_renew: false },
  },
  {
    name: 'a price increase that a webhook announces',
    events: [buy(0, 30), event('PRICE_INCREASE_CONSENT_REQUIRED', 3)],
    on: 4,
    status: 'active',
    says: `Pro, $10.00 a month. Ends on ${date(30)} unless the customer agrees to the price increase.`,
    attributes: { rc_will_renew: false },
  },
  {
    name: 'a price increase during a free trial',
    events: [trial(0, 7), event('PRICE_INCREASE_CONSENT_REQUIRED', 3)],
    on: 4,
    status: 'trial',
    says: `Pro. Ends on ${date(7)} unless the customer agrees to the price increase.`,
    attributes: { rc_will_renew: false },
  },
  {
    name: 'a price increase that was agreed to',
    events: [
      buy(0, 30),
      event('PRICE_INCREASE_CONSENT_REQUIRED', 3),
      event('PRICE_INCREASE_CONSENT_APPROVED', 4),
    ],
    on: 5,
    says: `Pro, $10.00 a month. Next charge ${date(30)}.`,
    attributes: { rc_will_renew: true },
  },
  {
    name: 'a price increase that was refused is a cancellation',
    events: [
      buy(0, 30),
      event('PRICE_INCREASE_CONSENT_REQUIRED', 3),
      cancel(20, 'PRICE_INCREASE'),
      expire(30, 'PRICE_INCREASE'),
    ],
    on: 35,
    status: 'expired',
    says: `No access since ${date(30)}: price increase not agreed to. Had Pro, $10.00 a month.`,
  },
  {
    name: "a change to a product that is known by RevenueCat's own id alone",
    events: [buy(0, 30)],
    snapshot: snapshotOf(2, [
      apiSubscription({ autoRenewalStatus: 'will_change_product', pendingProductId: 'prod4f31bd16ab' }),
    ]),
    on: 5,
    says: `Pro, $10.00 a month. Next charge ${date(30)}. Changes to another product at the next renewal.`,
  },
  {
    name: 'an entitlement of the sandbox stays off the contact',
    events: [],
    snapshot: snapshotOf(1, [apiSubscription({ environment: 'sandbox' })]),
    on: 2,
    status: null,
    says: 'Only test purchases (sandbox). This customer has not paid for anything.',
    attributes: { rc_entitlements: null, rc_will_renew: null },
  },
  {
    name: 'an entitlement that the sandbox gives for longer than a pass that ended',
    events: [event('NON_RENEWING_PURCHASE', 0, { ...period(0, 15, 9), product_id: 'season' })],
    snapshot: {
      ...snapshotOf(20, [apiSubscription({ environment: 'sandbox' })]),
      purchases: [apiPurchase({ productId: 'season' })],
    },
    on: 21,
    status: 'expired',
    says: `No access since ${date(15)}. Had Pro, $9.00.`,
    attributes: { rc_entitlements: null },
  },
  {
    name: 'an entitlement of the sandbox that was bought before, too',
    events: [],
    snapshot: snapshotOf(40, [
      apiSubscription({ environment: 'sandbox', periodEndsAtMs: day(60), endsAtMs: day(60) }),
      apiSubscription({
        id: 'sub2',
        storeSubscriptionId: '2000',
        status: 'expired',
        givesAccess: false,
        autoRenewalStatus: 'will_not_renew',
      }),
    ]),
    on: 41,
    status: 'expired',
    says: `No access since ${date(30)}. Had Pro.`,
    attributes: { rc_entitlements: null },
  },

  // Access.
  {
    name: 'the end of the grace period survives its expiration',
    events: [buy(0, 30, play), issue(30, 37, play), expire(37, 'BILLING_ERROR', play)],
    on: 40,
    status: 'expired',
    says: `No access since ${date(37)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { expires_at: 37, rc_billing_issue_at: 30 },
    rows: { Ended: date(37) },
  },
  {
    name: 'a failed payment that is announced with each retry failed the first time',
    events: [buy(0, 30, play), issue(30, 37, play), issue(31, 37, play), issue(32, 37, play)],
    on: 33,
    status: 'grace_period',
    says: `Payment failed on ${date(30)}. Still has Pro until ${date(37)} while Google retries the card.`,
    attributes: { rc_billing_issue_at: 30 },
  },
  {
    name: 'the end of the grace period survives an expiration that comes late',
    events: [buy(0, 30), issue(30, 37), expire(39, 'BILLING_ERROR')],
    on: 40,
    says: `No access since ${date(37)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { expires_at: 37 },
  },
  {
    name: 'the end of the grace period is not moved by an API response on its last day',
    events: [buy(0, 30), issue(30, 37)],
    snapshot: snapshotOf(36.5, [apiSubscription({ status: 'in_grace_period' })]),
    on: 36.6,
    status: 'grace_period',
    says: `Payment failed on ${date(30)}. Still has Pro until ${date(37)} while Apple retries the card.`,
    attributes: { expires_at: 37 },
  },
  {
    name: 'the end of the grace period survives the next API response',
    events: [buy(0, 30), issue(30, 37)],
    snapshot: snapshotOf(40, [apiSubscription({ status: 'in_billing_retry', givesAccess: false })]),
    on: 41,
    says: `No access since ${date(37)}: payment failed. Had Pro, $10.00 a month.`,
    attributes: { expires_at: 37 },
  },
  {
    name: 'cancelled during the grace period: the store retries nothing',
    events: [buy(0, 30), issue(30, 46), cancel(32, 'UNSUBSCRIBE')],
    on: 33,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(32)}. Access until ${date(46)}. No further charge.`,
  },
  {
    name: 'a refund long after the end moves no end',
    events: [refund(43)],
    on: 45,
    status: 'expired',
    says: `Refunded $10.00 on ${date(43)}. No access since ${date(30)}.`,
    attributes: { expires_at: 30 },
    rows: { Ended: date(30) },
  },
  {
    name: 'a refund that sets the end back to the purchase ends access with the refund',
    events: [buy(0, 30), refund(12, { expiration_at_ms: day(0) })],
    on: 15,
    says: `Refunded $10.00 on ${date(12)}. No access since then.`,
    attributes: { expires_at: 12 },
  },
  {
    name: "Google's refund leaves the access",
    events: [buy(0, 30, play), refund(12, play)],
    on: 15,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}. Refunded $10.00 on ${date(12)}; access remains.`,
    attributes: { rc_lifetime_value_usd: 0 },
  },
  {
    name: 'a part of the last payment refunded',
    events: [buy(0, 30, play), refund(12, { ...play, ...period(0, 30, -4) })],
    on: 15,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}. Refunded $4.00 on ${date(12)}; access remains.`,
    attributes: { rc_lifetime_value_usd: 6 },
  },
  {
    name: 'a part of the last payment refunded by the app itself',
    events: [buy(0, 30, stripe), refund(12, { ...stripe, ...period(0, 30, -4) })],
    on: 15,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}. Refunded $4.00 on ${date(12)}; access remains.`,
    attributes: { rc_lifetime_value_usd: 6 },
  },
  {
    name: 'refunds in part that add up to the whole payment',
    events: [
      buy(0, 30, stripe),
      refund(8, { ...stripe, ...period(0, 30, -4) }),
      refund(12, { ...stripe, ...period(0, 30, -6) }),
    ],
    on: 15,
    status: 'expired',
    says: `Refunded $6.00 on ${date(12)}. No access since then.`,
    attributes: { rc_lifetime_value_usd: 0 },
  },
  {
    name: 'a part of a lifetime purchase refunded',
    events: [
      event('NON_RENEWING_PURCHASE', 0, { ...stripe, ...period(0, null, 10) }),
      refund(12, { ...stripe, ...period(0, null, -4) }),
    ],
    on: 15,
    status: 'active',
    says: `Pro, bought once, for life. No further charge. Refunded $4.00 on ${date(12)}; access remains.`,
    attributes: { rc_lifetime_value_usd: 6 },
  },
  {
    name: 'a part of the last payment refunded, and the access ended',
    events: [
      buy(0, 30, stripe),
      refund(12, { ...stripe, ...period(0, 30, -4) }),
      expire(12, 'CUSTOMER_SUPPORT', { ...stripe, expiration_at_ms: day(12) }),
    ],
    on: 15,
    status: 'expired',
    says: `Refunded $4.00 on ${date(12)}. No access since then.`,
  },
  {
    name: 'a part of the last payment refunded by Apple, which revokes',
    events: [buy(0, 30), refund(12, period(0, 30, -4))],
    on: 15,
    status: 'expired',
    says: `Refunded $4.00 on ${date(12)}. No access since then.`,
  },
  {
    name: "Google's refund with the access revoked",
    events: [
      buy(0, 30, play),
      refund(12, { ...play, expiration_at_ms: day(12) }),
      expire(12, 'CUSTOMER_SUPPORT', { ...play, expiration_at_ms: day(12) }),
    ],
    on: 15,
    status: 'expired',
    says: `Refunded $10.00 on ${date(12)}. No access since then.`,
  },
  {
    name: 'a reversed refund after its expiration renews as before',
    events: [
      buy(0, 30),
      refund(16, { expiration_at_ms: day(16) }),
      expire(16.01, 'CUSTOMER_SUPPORT', { expiration_at_ms: day(16) }),
      event('REFUND_REVERSED', 21, period(0, 30, 10)),
    ],
    on: 25,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}.`,
    attributes: { rc_will_renew: true, rc_lifetime_value_usd: 10 },
  },
  {
    name: 'a reversed refund renews as before though the API was read in between',
    events: [
      buy(0, 30),
      refund(16, { expiration_at_ms: day(16) }),
      expire(16.01, 'CUSTOMER_SUPPORT', { expiration_at_ms: day(16) }),
      event('REFUND_REVERSED', 21, period(0, 30, 10)),
    ],
    snapshot: snapshotOf(18, [
      apiSubscription({ status: 'expired', givesAccess: false, periodEndsAtMs: day(16), endsAtMs: day(16) }),
    ]),
    on: 25,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(30)}.`,
    attributes: { rc_will_renew: true },
  },
  {
    name: 'a reversed refund of a cancelled subscription stays cancelled',
    events: [
      buy(0, 30),
      cancel(5, 'UNSUBSCRIBE'),
      refund(16, { expiration_at_ms: day(16) }),
      expire(16.01, 'CUSTOMER_SUPPORT', { expiration_at_ms: day(16) }),
      event('REFUND_REVERSED', 21, period(0, 30, 10)),
    ],
    on: 25,
    status: 'cancelled',
    says: `Pro, cancelled on ${date(5)}. Access until ${date(30)}. No further charge.`,
  },
  {
    name: 'a reversed refund gives no access back that had ended before',
    events: [
      buy(0, 30),
      expire(10, 'DEVELOPER_INITIATED'),
      refund(12),
      event('REFUND_REVERSED', 14, period(0, 30, 10)),
    ],
    on: 15,
    status: 'expired',
    says: `No access since ${date(10)}: ended by the app's team. Had Pro, $10.00 a month.`,
  },
  ...([-0.001, 0, 0.001] as const).map(
    (offset): Case => ({
      name: `Google's immediate change, announced ${offset * 1000} thousandths of a day after the purchase`,
      events: [
        buy(0, 30, play),
        buy(8, 373, { ...yearly, price: 60, price_in_purchased_currency: 60 }),
        event('PRODUCT_CHANGE', 8 + offset, { ...period(0, 8), ...play }),
      ],
      on: 10,
      status: 'active',
      says: `Pro, $60.00 a year. Next charge ${date(373)}.`,
    }),
  ),
  {
    name: "Google's immediate change to what gives another entitlement",
    events: [
      buy(0, 30, play),
      buy(8, 373, { ...yearly, entitlement_ids: ['max'], price: 60, price_in_purchased_currency: 60 }),
      event('PRODUCT_CHANGE', 8, { ...period(0, 8), ...play }),
    ],
    on: 10,
    says: `Max, $60.00 a year. Next charge ${date(373)}.`,
  },
  {
    name: 'a second subscription bought long before is not the replacement',
    events: [
      buy(0, 30, play),
      buy(2, 367, { ...yearly, entitlement_ids: ['max'] }),
      event('PRODUCT_CHANGE', 8, { ...period(0, 8), ...play }),
    ],
    on: 10,
    says: `Max (yearly, Google Play) and Pro (monthly, Google Play). Next charge $10.00 on ${date(30)}.`,
  },
  {
    name: 'a late cancellation of the replaced product cancels nothing',
    events: [
      buy(0, 180, { product_id: 't3.six', price: 39.99, price_in_purchased_currency: 39.99 }),
      renew(73, 103, {
        product_id: 't1.one',
        entitlement_ids: ['premium'],
        price: 14.99,
        price_in_purchased_currency: 14.99,
      }),
      cancel(73.05, 'UNSUBSCRIBE', { ...period(0, 180), product_id: 't3.six' }),
    ],
    on: 75,
    status: 'active',
    says: `Premium, $14.99 a month. Next charge ${date(103)}.`,
  },
  {
    name: 'a late expiration of the product that Stripe replaced at the same start',
    events: [
      buy(20, 50, { store: 'STRIPE' }),
      renew(20, 385, {
        store: 'STRIPE',
        product_id: 'pro_yearly',
        event_timestamp_ms: day(40),
        transaction_id: 'x',
      }),
      expire(41, 'UNSUBSCRIBE', { ...period(20, 40), store: 'STRIPE' }),
    ],
    on: 45,
    status: 'active',
    says: `Pro, $10.00. Next charge ${date(385)}.`,
  },
  {
    name: 'a late cancellation of an earlier period cancels nothing',
    events: [buy(0, 30), renew(30, 60), cancel(30.05, 'UNSUBSCRIBE')],
    on: 35,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(60)}.`,
  },
  {
    name: 'a pause that should have ended announces no charge in the past',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
    ],
    on: 65,
    status: 'paused',
    says: `Paused since ${date(30)}.`,
  },
  {
    name: 'a paused subscription is not dropped beside another',
    events: [
      buy(0, 30, play),
      event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), ...play, auto_resume_at_ms: day(60) }),
      expire(30, 'SUBSCRIPTION_PAUSED', play),
      buy(20, 370, team),
    ],
    on: 35,
    says: `Team (yearly, Stripe) and Pro (monthly, Google Play, paused until ${date(60)}). Next charge $10.00 on ${date(60)}.`,
  },
  {
    name: 'a card that is still retried is not dropped beside another subscription',
    events: [buy(0, 30), issue(30, null), expire(30, 'BILLING_ERROR'), buy(20, 50, team)],
    on: 35,
    says: `Payment for Pro failed on ${date(30)}. No access since ${date(30)}. Team, $19.00 a month. Next charge ${date(50)}.`,
  },
  {
    name: 'bought again after a payment that failed',
    events: [
      buy(0, 30, play),
      issue(30, null, play),
      expire(30, 'BILLING_ERROR', play),
      buy(33, 63, { ...play, original_transaction_id: '2000' }),
    ],
    on: 35,
    status: 'active',
    says: `Pro, $10.00 a month. Next charge ${date(63)}.`,
    attributes: { rc_billing_issue_at: null },
  },
  {
    name: 'a grant after a payment that failed was the last access',
    events: [
      buy(0, 30),
      issue(30, null),
      expire(30, 'BILLING_ERROR'),
      grant(33, 63),
      event('EXPIRATION', 63, { ...period(33, 63), store: 'PROMOTIONAL', transaction_id: 'g33' }),
    ],
    on: 70,
    says: `Payment for Pro failed on ${date(30)}. No access since ${date(63)}. Pro had been granted.`,
  },

  // Where purchases went.
  {
    name: 'purchases that moved away were bought',
    events: [
      buy(0, 30),
      event('TRANSFER', 17, { side: 'source', transferred_from: ['ada'], transferred_to: ['bob'] }),
    ],
    on: 20,
    status: null,
    says: `Purchases were moved to another customer on ${date(17)}.`,
    attributes: { rc_lifetime_value_usd: null, rc_first_purchase_at: null },
  },
  {
    name: 'purchases that came from a customer without a known history',
    events: [event('TRANSFER', 17, { transferred_from: ['bob'], transferred_to: ['ada'] })],
    on: 20,
    status: null,
    says: `Received purchases from another customer on ${date(17)}. Nothing else is known of them here.`,
  },
  {
    name: 'purchases that came from another customer, of which the API lists none',
    events: [event('TRANSFER', 17, { transferred_from: ['bob'], transferred_to: ['ada'] })],
    snapshot: snapshotOf(18, []),
    on: 20,
    status: null,
    says: 'This customer has not bought anything.',
  },
  {
    name: 'purchases of one store moved away, others stayed',
    events: [
      buy(0, 30),
      buy(5, 35, team),
      grant(8, 98, { entitlement_ids: ['max'] }),
      event('TRANSFER', 17, { side: 'source', transferred_from: ['ada'], transferred_to: ['bob'] }),
    ],
    on: 20,
    says: `Team, $19.00 a month. Next charge ${date(35)}. Max granted until ${date(98)}. Purchases (App Store) were moved to another customer on ${date(17)}.`,
    attributes: { rc_entitlements: 'max, team', rc_lifetime_value_usd: 19 },
  },
  {
    name: 'what was bought after a transfer speaks for itself',
    events: [
      buy(0, 30),
      event('TRANSFER', 17, { side: 'source', transferred_from: ['ada'], transferred_to: ['bob'] }),
      buy(18, 48, { original_transaction_id: 'new' }),
    ],
    on: 20,
    says: `Pro, $10.00 a month. Next charge ${date(48)}.`,
  },
];
