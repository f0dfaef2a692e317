import { type Messages, messagesFor } from '../i18n/messages.ts';
import { priceText } from '../i18n/sentences.ts';
import { describeCustomer } from '../subscription/describe-customer.ts';
import { accessEndDate, endDate } from '../subscription/describe-subscription.ts';
import { appStoreName, entitlementLabel, isInternalId } from '../subscription/names.ts';
import type { SubscriberState } from '../subscription/types.ts';
import type { Customer } from './customer.ts';
import { isChangeable, manageUrlOf, viewCustomer } from './customer-view.ts';

/** Flat, so that every field can be mapped in Intercom's data connector. Dates are `YYYY-MM-DD`. */
const UNKNOWN = {
  found: false,
  has_access: false,
  /** One of the values of `subscription_status`, or `none`. */
  status: 'none',
  /** A sentence that Fin can repeat. */
  summary: 'No subscription is known for this customer.',
  entitlements: '',
  plan: '',
  price: '',
  store: '',
  will_renew: false,
  renews_on: '',
  access_until: '',
  last_event: '',
  last_event_on: '',
  manage_url: '',
};

/** In English: Fin translates into the customer's language. @param customers the one with access first */
export function answerFin(customers: readonly Customer[], timeZone: string, nowMs: number): typeof UNKNOWN {
  const [customer] = customers;
  if (!customer) return UNKNOWN;
  const { state, names } = customer;
  const messages = messagesFor('en', timeZone);
  const { primary } = describeCustomer(state, { names, nowMs });
  const entitlements = customers.flatMap((each) =>
    each.state.entitlements
      .filter(({ lookupKey }) => !isInternalId(lookupKey))
      .map(({ lookupKey }) => entitlementLabel(lookupKey, each.names)),
  );
  const { history, summary, isTester } = viewCustomer(customers, messages, nowMs);
  // The other fields are about real purchases: next to "We found no subscription" a test must not look like one.
  const last = isTester ? undefined : history[0];
  const { subscription } = primary ?? {};
  return {
    found: true,
    has_access:
      customers.some((each) => each.state.entitlements.length > 0) || (subscription?.givesAccess ?? false),
    status: state.status ?? 'none',
    summary,
    entitlements: [...new Set(entitlements)].join(', '),
    plan: primary ? primary.what || messages.t('sentence.customer.unnamed') : '',
    price: primary?.price ? priceText(messages, primary.price) : '',
    store: appStoreName(subscription?.store ?? null) ?? '',
    will_renew: subscription?.willRenew ?? false,
    renews_on: isoDay(messages, primary?.end?.label === 'renews' ? primary.end.atMs : null),
    access_until: isoDay(messages, accessEndOf(state)),
    last_event: last ? [last.title, last.subtitle].filter(Boolean).join(': ') : '',
    last_event_on: last ? messages.isoDay(Date.parse(last.isoDate)) : '',
    manage_url: (primary && isChangeable(primary) && manageUrlOf(primary.subscription)) || '',
  };
}

/**
 * When access to the plan ends: a grant or another purchase may give it for longer than the subscription does. `null`:
 * never, or unknown.
 */
function accessEndOf({ primary, entitlements }: SubscriberState): number | null {
  // If the plan has ended, the remaining access is what RevenueCat lists without a purchase.
  const plan = primary?.givesAccess ? primary : null;
  const ends = entitlements
    .filter(({ lookupKey }) => plan === null || plan.entitlements.includes(lookupKey))
    .map(({ endsAtMs }) => endsAtMs);
  if (ends.length === 0 || plan?.isEndKnown === false) return primary && accessEndDate(primary);
  return ends.includes(null) ? null : endDate(Math.max(...ends.map(Number)));
}

/** The same day as in the summary, which is in the workspace's time zone. */
function isoDay(messages: Messages, atMs: number | null): string {
  return atMs === null ? '' : messages.isoDay(atMs);
}
