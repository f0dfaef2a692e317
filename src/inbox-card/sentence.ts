import { LIFETIME_END_MS } from '../grants/durations.ts';
import { entitlementLabel, productLabel, storeName } from '../subscribers/describe-event.ts';
import { formatMoney } from '../subscribers/money.ts';
import type { SubscriptionState } from '../subscribers/types.ts';
import type { Customer, Visit } from './context.ts';

const DAY_MS = 86_400_000;
/** RevenueCat has been seen to give lifetime grants an end two hundred years ahead. */
const AS_GOOD_AS_FOREVER_MS = LIFETIME_END_MS - 40 * DAY_MS;

export function endText(visit: Visit, endsAtMs: number | null): string {
  if (endsAtMs === null || endsAtMs >= AS_GOOD_AS_FOREVER_MS) return visit.words.forever;
  return visit.dates.date(endsAtMs);
}

function periodOf(subscription: SubscriptionState): 'week' | 'month' | 'year' | null {
  const { periodStartedAtMs, endsAtMs } = subscription;
  if (periodStartedAtMs === null || endsAtMs === null) return null;
  const days = (endsAtMs - periodStartedAtMs) / DAY_MS;
  if (days >= 6 && days <= 8) return 'week';
  if (days >= 27 && days <= 32) return 'month';
  return days >= 350 && days <= 380 ? 'year' : null;
}

export function priceText(visit: Visit, subscription: SubscriptionState): string | null {
  const { price } = subscription;
  if (price === null || price.amountMinor <= 0) return null;
  return visit.words.price(formatMoney(price, visit.words.locale), periodOf(subscription));
}

export function whatText(customer: Customer, subscription: SubscriptionState): string {
  const [entitlement] = subscription.entitlements;
  if (entitlement !== undefined) return entitlementLabel(entitlement, customer.names);
  return subscription.productId === null ? '' : productText(customer, subscription);
}

export function productText(customer: Customer, subscription: SubscriptionState): string {
  if (subscription.productName) return subscription.productName;
  return subscription.productId === null ? '' : productLabel(subscription.productId, customer.names);
}

/** One or two sentences that answer what most tickets ask: are they charged, how much, when, what went wrong. */
export function overviewSentence(visit: Visit, customer: Customer): string {
  const { words } = visit;
  const { state } = customer;
  const paying = state.subscriptions.filter((subscription) => subscription.givesAccess);
  if (paying.length > 1) return severalSentence(visit, customer, paying);
  const { primary } = state;
  if (!primary) {
    if (state.firstPurchaseAtMs !== null) return words.states.purchasesOnly;
    return state.sandbox.length > 0 ? words.states.sandboxOnly : words.states.noPurchases;
  }
  return subscriptionSentence(visit, customer, primary);
}

export function subscriptionSentence(
  visit: Visit,
  customer: Customer,
  subscription: SubscriptionState,
): string {
  const { words, dates } = visit;
  const what = whatText(customer, subscription);
  const price = priceText(visit, subscription);
  const ends = subscription.endsAtMs === null ? null : dates.date(subscription.endsAtMs);
  const on = (atMs: number | null): string | null => (atMs === null ? null : dates.date(atMs));
  switch (subscription.status) {
    case 'trial':
      return words.trial(what, ends, price);
    case 'cancelled_trial':
      return words.trialCancelled(what, ends);
    case 'cancelled':
      return words.cancelled(what, on(subscription.cancelledAtMs), ends);
    case 'grace_period':
    case 'grace_period_trial': {
      const failed = dates.date(subscription.billingIssueAtMs ?? visit.context.now());
      const store = storeName(subscription.store, words.events) ?? '';
      return words.grace(what, failed, on(subscription.gracePeriodEndsAtMs), store);
    }
    case 'promotional': {
      const by = customer.grants.find(
        (grant) => grant.state === 'confirmed' && subscription.entitlements.includes(grant.lookupKey),
      );
      const forever = endText(visit, subscription.endsAtMs) === words.forever;
      return words.granted(what, by?.admin.name || null, forever ? null : ends);
    }
    case 'paused':
      return words.paused(on(subscription.pausedAtMs), on(subscription.resumesAtMs), price);
    case 'expired':
    case 'expired_promotional': {
      if (subscription.refundedAtMs !== null) {
        const sum = subscription.refund && formatMoney(subscription.refund, words.locale);
        return words.refunded(sum, dates.date(subscription.refundedAtMs));
      }
      const reason = subscription.expirationReason ?? subscription.cancelReason;
      const known = reason === null ? null : (words.expiryReasons[reason] ?? null);
      return words.expired(on(subscription.expiredAtMs), known, what, price);
    }
    default: {
      if (subscription.endsAtMs === null) return words.lifetime(what);
      const sentence = words.active(what, price, subscription.willRenew ? ends : null);
      const pending = subscription.pendingProductId;
      return pending ? `${sentence} ${words.pendingChange(productLabel(pending, customer.names))}` : sentence;
    }
  }
}

function severalSentence(visit: Visit, customer: Customer, paying: readonly SubscriptionState[]): string {
  const { words, dates } = visit;
  const parts = paying.map((subscription) => {
    const period = periodOf(subscription);
    const store = storeName(subscription.store, words.events);
    const about = [period === null ? null : words.price('', period).trim().replace(/^a /, ''), store].filter(
      Boolean,
    );
    return `${whatText(customer, subscription)} (${about.join(', ')})`;
  });
  const next = paying
    .filter((subscription) => subscription.willRenew && subscription.endsAtMs !== null)
    .sort((a, b) => (a.endsAtMs ?? 0) - (b.endsAtMs ?? 0))[0];
  const sum = next?.price && next.price.amountMinor > 0 ? formatMoney(next.price, words.locale) : null;
  return words.several(parts, sum, next?.endsAtMs ? dates.date(next.endsAtMs) : null);
}
