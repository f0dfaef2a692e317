import type { Messages } from '../i18n/messages.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { describeEvent, type Names } from '../subscription/describe-event.ts';
import { formatMoney } from '../subscription/money.ts';
import { periodOf } from '../subscription/period.ts';
import { entitlementOrProduct } from '../subscription/subscription-name.ts';
import type { EventKind, SubscriptionState } from '../subscription/types.ts';
import { isForever as isForeverTime } from '../time.ts';
import type { Customer } from './customer.ts';
import { appStoreName, manageUrlOf } from './stores.ts';
import { type Speech, speechFor } from './words.ts';

/** One thing that the customer has or had, in their words. */
export interface Holding {
  readonly title: string;
  readonly sentence: string;
  readonly tone: 'good' | 'warn' | 'ended';
  readonly rows: readonly (readonly [label: string, value: string])[];
  /** The store's own page for it; `null` where there is none that may be linked. */
  readonly manage: { readonly label: string; readonly url: string } | null;
  /** Something that runs and can only be changed by asking. */
  readonly mustAsk: boolean;
}

export interface HistoryLine {
  readonly title: string;
  readonly subtitle: string;
  readonly date: string;
  /** UTC, ISO 8601. */
  readonly isoDate: string;
}

export interface CustomerView {
  /** What gives access first. */
  readonly holdings: readonly Holding[];
  /** Newest first. */
  readonly history: readonly HistoryLine[];
}

const MAX_ENDED = 3;

/** Kinds that mean nothing to a customer, and those whose texts mention buying on the web. */
const HIDDEN_KINDS: ReadonlySet<EventKind> = new Set<EventKind>([
  'experiment_enrollment',
  'paywall',
  'subscriber_alias',
  'virtual_currency',
  'test',
  'unknown',
  'invoice_issued',
  'purchase_redeemed',
]);

/**
 * A customer's own subscriptions and their history. Test purchases are shown only to customers who have nothing
 * else.
 *
 * @param messages in the customer's language and the workspace's time zone
 */
export function viewCustomer(customers: readonly Customer[], messages: Messages): CustomerView {
  const held = customers.flatMap((customer) =>
    heldBy(customer).map((subscription) => ({ subscription, names: customer.names })),
  );
  const isTester =
    held.length > 0 && held.every(({ subscription }) => subscription.environment === 'sandbox');
  const running = held.filter(({ subscription }) => isRunning(subscription));
  const ended = held.filter(({ subscription }) => !isRunning(subscription)).slice(0, MAX_ENDED);
  return {
    holdings: [...running, ...ended].map(({ subscription, names }) =>
      holdingOf(subscription, names, messages),
    ),
    history: customers
      .flatMap((customer) =>
        customer.ownHistory
          .filter((event) => !HIDDEN_KINDS.has(event.kind) && (event.environment === 'sandbox') === isTester)
          .map((event) => ({ atMs: event.atMs, line: lineOf(event, customer.names, messages) })),
      )
      .sort((a, b) => b.atMs - a.atMs)
      .map(({ line }) => line),
  };
}

function heldBy({ state }: Customer): SubscriptionState[] {
  const grants = state.grants.filter((grant) => grant.givesAccess || state.subscriptions.length === 0);
  const own = [...state.subscriptions, ...grants];
  return own.length > 0 ? own : [...state.sandbox];
}

function isRunning({ givesAccess, status }: SubscriptionState): boolean {
  return givesAccess || status === 'paused';
}

function holdingOf(subscription: SubscriptionState, names: Names, messages: Messages): Holding {
  const { t } = messages;
  const speech = speechFor(messages.language);
  const what = whatOf(subscription, names, messages);
  const price = priceOf(subscription, speech);
  const date = (atMs: number | null): string | null => (atMs === null ? null : messages.date(atMs));
  const store = appStoreName(subscription.store);
  const isGrant = subscription.periodType === 'PROMOTIONAL' || subscription.store === 'PROMOTIONAL';
  const canChange = isRunning(subscription) && !isFinal(subscription);
  const url = canChange ? manageUrlOf(subscription) : null;
  const rows: [string, string | null][] = [
    [t('messenger.label.price'), price],
    [t('messenger.label.since'), date(subscription.startedAtMs)],
    endRow(subscription, messages, date),
    [t('messenger.label.store'), isGrant ? null : (store ?? t('messenger.web'))],
  ];
  return {
    title: subscription.environment === 'sandbox' ? t('messenger.testPurchase', { name: what }) : what,
    sentence: sentenceOf(subscription, what, price, speech, date),
    tone: !isRunning(subscription) ? 'ended' : isWorrying(subscription) ? 'warn' : 'good',
    rows: rows.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const])),
    manage:
      url === null
        ? null
        : { label: t('messenger.manage', { store: subscription.store?.toUpperCase() ?? '' }), url },
    mustAsk: canChange && !isGrant && url === null && !isForever(subscription),
  };
}

function isWorrying(subscription: SubscriptionState): boolean {
  const { status } = subscription;
  return (
    status === 'grace_period' ||
    status === 'grace_period_trial' ||
    status === 'paused' ||
    isCancelledByStore(subscription)
  );
}

/** The store stopped renewing because a payment failed; the customer did not cancel. */
function isCancelledByStore({ status, cancelReason }: SubscriptionState): boolean {
  return status === 'cancelled' && cancelReason === 'BILLING_ERROR';
}

export function whatOf(subscription: SubscriptionState, names: Names, { t }: Messages): string {
  return entitlementOrProduct(subscription, names) || t('messenger.subscription');
}

/** A renewing subscription has an end of its period, even where it is unknown. */
function isForever({ endsAtMs, willRenew }: SubscriptionState): boolean {
  return !willRenew && isForeverTime(endsAtMs);
}

/** The customer cannot change it: bought once, or paid for by a family member. */
function isFinal(subscription: SubscriptionState): boolean {
  const { status, willRenew, pausedAtMs, periodType, isFamilyShare } = subscription;
  return (
    isFamilyShare || (status === 'active' && !willRenew && pausedAtMs === null && periodType !== 'PREPAID')
  );
}

export function priceOf(subscription: SubscriptionState, speech: Speech): string | null {
  const { price } = subscription;
  if (price === null || price.amountMinor <= 0) return null;
  return speech.price(formatMoney(price, speech.locale), periodOf(subscription));
}

function endRow(
  subscription: SubscriptionState,
  { t }: Messages,
  date: (atMs: number | null) => string | null,
): [string, string | null] {
  if (subscription.status === 'paused') return [t('messenger.label.resumes'), date(subscription.resumesAtMs)];
  if (!subscription.givesAccess)
    return [t('messenger.label.ended'), date(subscription.expiredAtMs ?? subscription.endsAtMs)];
  if (isForever(subscription)) return [t('messenger.label.ends'), t('messenger.never')];
  const endsAtMs = subscription.gracePeriodEndsAtMs ?? subscription.endsAtMs;
  const renews = subscription.willRenew && !isWorrying(subscription);
  return [t(renews ? 'messenger.label.renews' : 'messenger.label.ends'), date(endsAtMs)];
}

/** What the customer has, in one or two sentences. */
export function sentenceOf(
  subscription: SubscriptionState,
  what: string,
  price: string | null,
  { words }: Speech,
  date: (atMs: number | null) => string | null,
): string {
  const ends = isForever(subscription) ? null : date(subscription.endsAtMs);
  switch (subscription.status) {
    case 'trial':
      return words.trial(what, ends, price);
    case 'cancelled_trial':
      return words.trialCancelled(what, ends);
    case 'cancelled':
      return isCancelledByStore(subscription)
        ? words.grace(what, ends, appStoreName(subscription.store))
        : words.cancelled(what, ends);
    case 'grace_period':
    case 'grace_period_trial':
      return words.grace(what, date(subscription.gracePeriodEndsAtMs), appStoreName(subscription.store));
    case 'promotional':
      return words.granted(what, ends);
    case 'expired_promotional':
      return words.grantEnded(what, date(subscription.expiredAtMs ?? subscription.endsAtMs));
    case 'paused':
      return words.paused(what, date(subscription.resumesAtMs));
    case 'expired':
      return endedSentence(subscription, what, words, date);
    case 'intro':
    case 'active':
      return activeSentence(subscription, what, price, words, date);
  }
}

function activeSentence(
  subscription: SubscriptionState,
  what: string,
  price: string | null,
  words: Speech['words'],
  date: (atMs: number | null) => string | null,
): string {
  const ends = isForever(subscription) ? null : date(subscription.endsAtMs);
  if (subscription.isFamilyShare) return words.familyShared(what, ends);
  if (subscription.pausedAtMs !== null) return words.willPause(what, ends, date(subscription.resumesAtMs));
  if (subscription.willRenew) return words.active(what, price, ends);
  if (subscription.isTemporary) return words.temporary(what, ends);
  return isForever(subscription) ? words.lifetime(what) : words.bought(what, ends);
}

function endedSentence(
  subscription: SubscriptionState,
  what: string,
  words: Speech['words'],
  date: (atMs: number | null) => string | null,
): string {
  const refunded = date(subscription.refundedAtMs);
  if (refunded !== null) return words.refunded(what, refunded);
  const since = date(subscription.expiredAtMs ?? subscription.endsAtMs);
  const reason = subscription.expirationReason ?? subscription.cancelReason;
  return reason === 'BILLING_ERROR' ? words.paymentFailed(what, since) : words.expired(what, since);
}

function lineOf(event: TimelineEntry, names: Names, messages: Messages): HistoryLine {
  // Event texts name the store; a store outside the app stores must not be named.
  const shown = isOfAppStore(event) ? event : { ...event, store: null };
  const { title, subtitle } = describeEvent(shown, names, speechFor(messages.language).events);
  return {
    title,
    subtitle,
    date: messages.date(event.atMs),
    isoDate: new Date(event.atMs).toISOString(),
  };
}

function isOfAppStore({ store }: TimelineEntry): boolean {
  return store === null || store === 'PROMOTIONAL' || appStoreName(store) !== null;
}
