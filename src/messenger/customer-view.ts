import { eventText } from '../i18n/event-text.ts';
import type { Messages } from '../i18n/messages.ts';
import { customerText, priceText, subscriptionText } from '../i18n/sentences.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { describeCustomer } from '../subscription/describe-customer.ts';
import type { SubscriptionDescription } from '../subscription/describe-subscription.ts';
import { isShownToCustomers } from '../subscription/kinds.ts';
import { isForever } from '../time.ts';
import type { Customer } from './customer.ts';
import { appStoreName, manageUrlOf } from './stores.ts';

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
  /** Everything current in one text; where nothing is, what ended last or where it went. */
  readonly summary: string;
  /** What gives access first. */
  readonly holdings: readonly Holding[];
  /** Newest first. */
  readonly history: readonly HistoryLine[];
}

const MAX_ENDED = 3;

/**
 * A customer's own subscriptions and their history. Test purchases are shown only to customers who have nothing
 * else.
 *
 * @param messages in the customer's language and the workspace's time zone
 */
export function viewCustomer(
  customers: readonly Customer[],
  messages: Messages,
  nowMs: number,
): CustomerView {
  const described = customers.map(({ state, names }) => describeCustomer(state, { names, nowMs }));
  const held = described.flatMap(({ subscriptions, grants, sandbox }) => {
    const ownGrants = grants.filter(({ tone }) => tone !== 'ended' || subscriptions.length === 0);
    const own = [...subscriptions, ...ownGrants];
    return own.length > 0 ? own : sandbox;
  });
  const isTester =
    held.length > 0 && held.every(({ subscription }) => subscription.environment === 'sandbox');
  const running = held.filter(({ tone }) => tone !== 'ended');
  const ended = held.filter(({ tone }) => tone === 'ended').slice(0, MAX_ENDED);
  return {
    summary: customerText(messages, described),
    holdings: [...running, ...ended].map((description) => holdingOf(description, messages)),
    history: customers
      .flatMap((customer) =>
        customer.ownHistory
          .filter((event) => isShownToCustomers(event.kind) && (event.environment === 'sandbox') === isTester)
          .map((event) => ({ atMs: event.atMs, line: lineOf(event, customer, messages) })),
      )
      .sort((a, b) => b.atMs - a.atMs)
      .map(({ line }) => line),
  };
}

function holdingOf(description: SubscriptionDescription, messages: Messages): Holding {
  const { t } = messages;
  const { subscription, price, end, tone } = description;
  const what = description.what || t('sentence.customer.unnamed');
  const isGrant = subscription.periodType === 'PROMOTIONAL' || subscription.store === 'PROMOTIONAL';
  const canChange = tone !== 'ended' && !isFinal(description);
  const url = canChange ? manageUrlOf(subscription) : null;
  const rows: [string, string | null][] = [
    [t('messenger.label.price'), price && priceText(messages, price)],
    [
      t('messenger.label.since'),
      subscription.startedAtMs === null ? null : messages.date(subscription.startedAtMs),
    ],
    end === null
      ? ['', null]
      : [
          t(`messenger.label.${end.label}`),
          end.atMs === null ? t('messenger.never') : messages.date(end.atMs),
        ],
    [t('messenger.label.store'), isGrant ? null : (appStoreName(subscription.store) ?? t('messenger.web'))],
  ];
  return {
    title: subscription.environment === 'sandbox' ? t('messenger.testPurchase', { name: what }) : what,
    sentence: subscriptionText(messages, 'customer', description),
    tone,
    rows: rows.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const])),
    manage:
      url === null
        ? null
        : { label: t('messenger.manage', { store: subscription.store?.toUpperCase() ?? '' }), url },
    mustAsk: canChange && !isGrant && url === null && !isForever(subscription.endsAtMs),
  };
}

/** Nothing about it can be changed: bought once, or paid for by another family member. */
function isFinal({ subscription }: SubscriptionDescription): boolean {
  const { status, willRenew, pausedAtMs, periodType, isFamilyShare, awaitsPriceConsent } = subscription;
  const wasBoughtOnce =
    status === 'active' &&
    !willRenew &&
    !awaitsPriceConsent &&
    pausedAtMs === null &&
    periodType !== 'PREPAID';
  return isFamilyShare || wasBoughtOnce;
}

function lineOf(event: TimelineEntry, { names }: Customer, messages: Messages): HistoryLine {
  return {
    ...eventText(messages, 'customer', event, names),
    date: messages.date(event.atMs),
    isoDate: new Date(event.atMs).toISOString(),
  };
}
