import { datesIn } from '../inbox-card/dates.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { describeEvent, type Names } from '../subscription/describe-event.ts';
import { formatMoney } from '../subscription/money.ts';
import { periodOf } from '../subscription/period.ts';
import { entitlementOrProduct } from '../subscription/subscription-name.ts';
import type { EventKind, SubscriptionState } from '../subscription/types.ts';
import type { OwnCustomer } from './customer.ts';
import { appStoreName, manageUrlOf } from './stores.ts';
import type { Speech } from './words.ts';

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
/** Lifetime grants carry a far date instead of none: 2099-01-01 in RevenueCat's clients, or 200 years ahead. */
const FOREVER_MS = Date.UTC(2090, 0, 1);

/** Kinds that mean nothing to a customer, and those whose words name buying on the web. */
const NOT_TOLD: ReadonlySet<EventKind> = new Set<EventKind>([
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
 * What is told to a customer about their own subscriptions. Test purchases are told only to somebody who has
 * nothing else.
 *
 * @param timeZone IANA name, of the workspace
 */
export function viewCustomer(
  customers: readonly OwnCustomer[],
  speech: Speech,
  timeZone: string,
): CustomerView {
  const held = customers.flatMap((customer) =>
    heldBy(customer).map((subscription) => ({ subscription, names: customer.names })),
  );
  const isTester =
    held.length > 0 && held.every(({ subscription }) => subscription.environment === 'sandbox');
  const running = held.filter(({ subscription }) => isRunning(subscription));
  const ended = held.filter(({ subscription }) => !isRunning(subscription)).slice(0, MAX_ENDED);
  return {
    holdings: [...running, ...ended].map(({ subscription, names }) =>
      holdingOf(subscription, names, speech, timeZone),
    ),
    history: customers
      .flatMap((customer) =>
        customer.ownHistory
          .filter((event) => !NOT_TOLD.has(event.kind) && (event.environment === 'sandbox') === isTester)
          .map((event) => ({ atMs: event.atMs, line: lineOf(event, customer.names, speech, timeZone) })),
      )
      .sort((a, b) => b.atMs - a.atMs)
      .map(({ line }) => line),
  };
}

function heldBy({ state }: OwnCustomer): SubscriptionState[] {
  const grants = state.grants.filter((grant) => grant.givesAccess || state.subscriptions.length === 0);
  const own = [...state.subscriptions, ...grants];
  return own.length > 0 ? own : [...state.sandbox];
}

function isRunning({ givesAccess, status }: SubscriptionState): boolean {
  return givesAccess || status === 'paused';
}

function holdingOf(subscription: SubscriptionState, names: Names, speech: Speech, timeZone: string): Holding {
  const { words, locale } = speech;
  const { labels } = words;
  const dates = datesIn(locale, timeZone);
  const what = whatOf(subscription, names, speech);
  const price = priceOf(subscription, speech);
  const date = (atMs: number | null): string | null => (atMs === null ? null : dates.date(atMs));
  const store = appStoreName(subscription.store);
  const isGrant = subscription.periodType === 'PROMOTIONAL' || subscription.store === 'PROMOTIONAL';
  const canChange = isRunning(subscription) && !isSettled(subscription);
  const url = canChange ? manageUrlOf(subscription) : null;
  const rows: [string, string | null][] = [
    [labels.price, price],
    [labels.since, date(subscription.startedAtMs)],
    endRow(subscription, speech, date),
    [labels.store, isGrant ? null : (store ?? words.web)],
  ];
  return {
    title: subscription.environment === 'sandbox' ? `${what} · ${words.test}` : what,
    sentence: sentenceOf(subscription, what, price, speech, date),
    tone: !isRunning(subscription) ? 'ended' : isWorrying(subscription) ? 'warn' : 'good',
    rows: rows.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const])),
    manage: url === null || store === null ? null : { label: words.manage(store), url },
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

/** The store has given up renewing because a payment failed: that is no cancellation of the customer's. */
function isCancelledByStore({ status, cancelReason }: SubscriptionState): boolean {
  return status === 'cancelled' && cancelReason === 'BILLING_ERROR';
}

export function whatOf(subscription: SubscriptionState, names: Names, { words }: Speech): string {
  return entitlementOrProduct(subscription, names) || words.subscription;
}

/** What renews has an end of its period, even where nobody named it. */
function isForever({ endsAtMs, willRenew }: SubscriptionState): boolean {
  return !willRenew && (endsAtMs === null || endsAtMs >= FOREVER_MS);
}

/** Nothing that anybody could change: bought once, or paid for by somebody else. */
function isSettled(subscription: SubscriptionState): boolean {
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
  { words }: Speech,
  date: (atMs: number | null) => string | null,
): [string, string | null] {
  const { labels } = words;
  if (subscription.status === 'paused') return [labels.resumes, date(subscription.resumesAtMs)];
  if (!subscription.givesAccess)
    return [labels.ended, date(subscription.expiredAtMs ?? subscription.endsAtMs)];
  if (isForever(subscription)) return [labels.ends, words.forever];
  const endsAtMs = subscription.gracePeriodEndsAtMs ?? subscription.endsAtMs;
  return [subscription.willRenew && !isWorrying(subscription) ? labels.renews : labels.ends, date(endsAtMs)];
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

function lineOf(event: TimelineEntry, names: Names, speech: Speech, timeZone: string): HistoryLine {
  // The words of an event name its store; one outside the app stores stays unnamed.
  const told = isOfAppStore(event) ? event : { ...event, store: null };
  const { title, subtitle } = describeEvent(told, names, speech.events);
  const dates = datesIn(speech.locale, timeZone);
  return {
    title,
    subtitle,
    date: dates.date(event.atMs),
    isoDate: new Date(event.atMs).toISOString(),
  };
}

function isOfAppStore({ store }: TimelineEntry): boolean {
  return store === null || store === 'PROMOTIONAL' || appStoreName(store) !== null;
}
