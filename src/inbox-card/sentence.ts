import { FOREVER_MS, isForever as isFarAway, isSameEnd } from '../grants/ends.ts';
import { productLabel, storeName } from '../subscription/describe-event.ts';
import { formatMoney } from '../subscription/money.ts';
import { periodOf } from '../subscription/period.ts';
import { entitlementOrProduct, productOf } from '../subscription/subscription-name.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import type { Customer, Visit } from './context.ts';
import type { EndReason } from './words/types.ts';

/** RevenueCat has been seen to give lifetime grants an end two hundred years ahead. */
export function isForever(endsAtMs: number | null): boolean {
  return endsAtMs === null || isFarAway(endsAtMs);
}

export function endText(visit: Visit, endsAtMs: number | null): string {
  if (endsAtMs === null || isForever(endsAtMs)) return visit.words.forever;
  return visit.dates.date(endsAtMs);
}

/** `null`: nothing is charged, or the price is not known. */
export function priceText(visit: Visit, subscription: SubscriptionState): string | null {
  const sum = sumText(visit, subscription);
  return sum === null ? null : visit.words.price(sum, periodOf(subscription));
}

function sumText(visit: Visit, subscription: SubscriptionState): string | null {
  const { price } = subscription;
  return price === null || price.amountMinor <= 0 ? null : formatMoney(price, visit.words.locale);
}

/** What the customer has: the entitlement's name, else the product's. */
export function whatText(customer: Customer, subscription: SubscriptionState): string {
  return entitlementOrProduct(subscription, customer.names);
}

/** `''`: a grant, or a product that nobody named. */
export function productText(customer: Customer, subscription: SubscriptionState): string {
  return productOf(subscription, customer.names);
}

/** One or two sentences that answer what most tickets ask: are they charged, how much, when, what went wrong. */
export function overviewSentence(visit: Visit, customer: Customer): string {
  const { words } = visit;
  const { state, counts } = customer;
  const withAccess = state.subscriptions.filter((subscription) => subscription.givesAccess);
  if (withAccess.length > 1) {
    return [severalSentence(visit, customer, withAccess), ...alsoGranted(visit, customer, withAccess)].join(
      ' ',
    );
  }
  const { primary } = state;
  if (!primary) {
    if (state.firstPurchaseAtMs !== null) return words.states.purchasesOnly;
    const isSandbox = state.sandbox.length > 0 || (counts.sandbox > 0 && counts.production === 0);
    return isSandbox ? words.states.sandboxOnly : words.states.noPurchases;
  }
  return [subscriptionSentence(visit, customer, primary), ...alsoGranted(visit, customer, [primary])].join(
    ' ',
  );
}

/** A grant beside what is paid for would otherwise stand nowhere: of something else, or for longer. At most one. */
function alsoGranted(visit: Visit, customer: Customer, shown: readonly SubscriptionState[]): string[] {
  const { words, dates } = visit;
  const also = customer.state.grants.find(
    (grant) =>
      grant.givesAccess &&
      !shown.includes(grant) &&
      shown.every((each) => whatText(customer, each) !== whatText(customer, grant) || outlasts(grant, each)),
  );
  if (!also) return [];
  const ends = isForever(also.endsAtMs) || also.endsAtMs === null ? null : dates.date(also.endsAtMs);
  return [words.alsoGranted(whatText(customer, also), ends)];
}

function outlasts(grant: SubscriptionState, other: SubscriptionState): boolean {
  return accessEndMs(grant) > accessEndMs(other);
}

function accessEndMs({ endsAtMs, gracePeriodEndsAtMs }: SubscriptionState): number {
  return endsAtMs === null ? Number.POSITIVE_INFINITY : Math.max(endsAtMs, gracePeriodEndsAtMs ?? 0);
}

/** Whether access goes on under a grant when this ends: its own end is then no end of access. */
function isOutlasted(customer: Customer, subscription: SubscriptionState): boolean {
  return customer.state.grants.some(
    (grant) =>
      grant.givesAccess &&
      whatText(customer, grant) === whatText(customer, subscription) &&
      outlasts(grant, subscription),
  );
}

function subscriptionSentence(visit: Visit, customer: Customer, subscription: SubscriptionState): string {
  const { words, dates } = visit;
  const known = whatText(customer, subscription);
  const what = known || words.labels.access;
  const price = priceText(visit, subscription);
  const on = (atMs: number | null): string | null => (atMs === null ? null : dates.date(atMs));
  const ends = isForever(subscription.endsAtMs) ? null : on(subscription.endsAtMs);
  const accessEnds = isOutlasted(customer, subscription) ? null : ends;
  switch (subscription.status) {
    case 'trial':
      return words.trial(what, ends, price);
    case 'cancelled_trial':
      return words.trialCancelled(what, accessEnds);
    case 'cancelled':
      // The store has given up renewing because the card failed: that is no cancellation of the customer's.
      return subscription.cancelReason === 'BILLING_ERROR'
        ? graceSentence(visit, subscription, what, ends)
        : words.cancelled(what, on(subscription.cancelledAtMs), accessEnds);
    case 'grace_period':
    case 'grace_period_trial':
      return graceSentence(visit, subscription, what, on(subscription.gracePeriodEndsAtMs));
    case 'promotional':
      return words.granted(what, granterOf(customer, subscription), ends);
    case 'paused':
      return words.paused(
        on(subscription.pausedAtMs),
        on(subscription.resumesAtMs),
        sumText(visit, subscription),
      );
    case 'expired_promotional':
      return words.grantEnded(what, on(subscription.expiredAtMs), hasPaid(customer));
    case 'expired':
      return expiredSentence(visit, subscription, known, price);
    case 'intro':
      return words.intro(what, price, subscription.willRenew ? ends : null);
    case 'active':
      return activeSentence(visit, customer, subscription);
  }
}

function activeSentence(visit: Visit, customer: Customer, subscription: SubscriptionState): string {
  const { words, dates } = visit;
  const what = whatText(customer, subscription) || words.labels.access;
  const ends = isForever(subscription.endsAtMs) ? null : dates.date(subscription.endsAtMs ?? 0);
  if (subscription.isFamilyShare) return words.familyShared(what, ends);
  if (subscription.pausedAtMs !== null) {
    const resumes = subscription.resumesAtMs === null ? null : dates.date(subscription.resumesAtMs);
    return words.willPause(what, ends, resumes);
  }
  if (!subscription.willRenew) {
    return subscription.isTemporary ? words.temporary(what, ends) : words.bought(what, ends);
  }
  const sentence = words.active(what, priceText(visit, subscription), ends);
  const pending = subscription.pendingProductId;
  return pending ? `${sentence} ${words.pendingChange(productLabel(pending, customer.names))}` : sentence;
}

function graceSentence(
  visit: Visit,
  subscription: SubscriptionState,
  what: string,
  ends: string | null,
): string {
  const failed = visit.dates.date(failedAtMs(visit, subscription));
  return visit.words.grace(failed, what, ends, whoCharges(visit, subscription.store));
}

function failedAtMs(visit: Visit, subscription: SubscriptionState): number {
  const { billingIssueAtMs, cancelledAtMs, endsAtMs } = subscription;
  return billingIssueAtMs ?? cancelledAtMs ?? endsAtMs ?? visit.context.now();
}

function expiredSentence(
  visit: Visit,
  subscription: SubscriptionState,
  what: string,
  price: string | null,
): string {
  const { words, dates } = visit;
  if (subscription.refundedAtMs !== null) {
    const sum = subscription.refund && formatMoney(subscription.refund, words.locale);
    return words.refunded(sum, dates.date(subscription.refundedAtMs));
  }
  const reason = subscription.expirationReason ?? subscription.cancelReason;
  const known = reason !== null && Object.hasOwn(words.endReasons, reason);
  return words.expired(
    subscription.expiredAtMs === null ? null : dates.date(subscription.expiredAtMs),
    known ? words.endReasons[reason as EndReason] : null,
    what,
    price,
  );
}

/** An imported customer's sums are known from RevenueCat's API alone. */
function hasPaid({ state }: Customer): boolean {
  return state.paid.length > 0 || state.lifetimeValueUsdCents > 0;
}

/** The teammate who made the grant that still holds, known by its end; `null`: it was not made here. */
function granterOf(customer: Customer, subscription: SubscriptionState): string | null {
  const made = customer.grants.find(
    (grant) =>
      grant.state === 'confirmed' &&
      // RevenueCat kept what was there before: that is not this teammate's.
      !grant.kept &&
      subscription.entitlements.includes(grant.lookupKey) &&
      isSameEnd(grant.realEndMs ?? grant.askedEndMs, subscription.endsAtMs ?? FOREVER_MS),
  );
  return made?.admin.name || null;
}

const COMPANIES: Readonly<Record<string, string>> = {
  APP_STORE: 'Apple',
  MAC_APP_STORE: 'Apple',
  PLAY_STORE: 'Google',
  AMAZON: 'Amazon',
};

function whoCharges(visit: Visit, store: string | null): string {
  return COMPANIES[store ?? ''] ?? storeName(store, visit.words.events) ?? visit.words.labels.store;
}

function severalSentence(visit: Visit, customer: Customer, paying: readonly SubscriptionState[]): string {
  const { words, dates } = visit;
  const parts = paying.slice(0, 3).map((subscription) => {
    const period = periodOf(subscription);
    const about = [period && words.every(period), storeName(subscription.store, words.events)].filter(
      Boolean,
    );
    const what = whatText(customer, subscription) || words.labels.access;
    return about.length === 0 ? what : `${what} (${about.join(', ')})`;
  });
  if (paying.length > 3) parts.push(words.andMore(paying.length - 3));
  const next = paying
    .filter((subscription) => subscription.willRenew && subscription.endsAtMs !== null)
    .sort((a, b) => (a.endsAtMs ?? 0) - (b.endsAtMs ?? 0))[0];
  const sentence = words.several(
    parts,
    next ? sumText(visit, next) : null,
    next?.endsAtMs ? dates.date(next.endsAtMs) : null,
  );
  const failed = paying.find(hasFailed);
  return failed
    ? `${words.paymentFailed(whatText(customer, failed), dates.date(failedAtMs(visit, failed)))} ${sentence}`
    : sentence;
}

function hasFailed({ status, cancelReason }: SubscriptionState): boolean {
  const isCancelledByStore = status === 'cancelled' && cancelReason === 'BILLING_ERROR';
  return status === 'grace_period' || status === 'grace_period_trial' || isCancelledByStore;
}
