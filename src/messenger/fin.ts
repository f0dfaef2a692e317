import { messagesFor } from '../i18n/messages.ts';
import { entitlementLabel } from '../subscription/describe-event.ts';
import type { Customer } from './customer.ts';
import { priceOf, sentenceOf, viewCustomer, whatOf } from './customer-view.ts';
import { appStoreName, manageUrlOf } from './stores.ts';
import { speechFor } from './words.ts';

/** Flat, so that every field can be mapped in Intercom's data connector. Dates are `YYYY-MM-DD`, UTC. */
export interface FinAnswer {
  readonly found: boolean;
  readonly has_access: boolean;
  /** One of the values of `subscription_status`, or `none`. */
  readonly status: string;
  /** A sentence that Fin can repeat. */
  readonly summary: string;
  readonly entitlements: string;
  readonly plan: string;
  readonly price: string;
  readonly store: string;
  readonly will_renew: boolean;
  readonly renews_on: string;
  readonly access_until: string;
  readonly last_event: string;
  readonly last_event_on: string;
  readonly manage_url: string;
}

const UNKNOWN: FinAnswer = {
  found: false,
  has_access: false,
  status: 'none',
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

/**
 * What the customer has, until when, and the last event. In English: Fin translates into the customer's language.
 *
 * @param customers with one app user ID, the one with access first
 */
export function answerFin(customers: readonly Customer[], timeZone: string): FinAnswer {
  const [customer] = customers;
  if (!customer) return UNKNOWN;
  const speech = speechFor('en');
  const { primary } = customer.state;
  const messages = messagesFor('en', timeZone);
  const date = (atMs: number | null): string | null => (atMs === null ? null : messages.date(atMs));
  const entitlements = customers.flatMap(({ state, names }) =>
    state.entitlements.map(({ lookupKey }) => entitlementLabel(lookupKey, names)),
  );
  const { history } = viewCustomer(customers, messages);
  const [last] = history;
  const price = primary && priceOf(primary, speech);
  const accessUntilMs = primary?.givesAccess
    ? (primary.gracePeriodEndsAtMs ?? primary.endsAtMs)
    : (primary?.expiredAtMs ?? primary?.endsAtMs ?? null);
  return {
    found: true,
    has_access: entitlements.length > 0 || (primary?.givesAccess ?? false),
    status: customer.state.status ?? 'none',
    summary: primary
      ? sentenceOf(primary, whatOf(primary, customer.names, messages), price, speech, date)
      : messages.t('messenger.none'),
    entitlements: [...new Set(entitlements)].join(', '),
    plan: primary ? whatOf(primary, customer.names, messages) : '',
    price: price ?? '',
    store: appStoreName(primary?.store ?? null) ?? '',
    will_renew: primary?.willRenew ?? false,
    renews_on: primary?.willRenew ? isoDay(primary.endsAtMs) : '',
    access_until: isoDay(accessUntilMs),
    last_event: last ? [last.title, last.subtitle].filter(Boolean).join(': ') : '',
    last_event_on: last ? last.isoDate.slice(0, 10) : '',
    manage_url: primary?.givesAccess ? (manageUrlOf(primary) ?? '') : '',
  };
}

function isoDay(atMs: number | null): string {
  return atMs === null ? '' : new Date(atMs).toISOString().slice(0, 10);
}
