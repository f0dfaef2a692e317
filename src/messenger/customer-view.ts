import { eventText, isInSeveralStores } from '../i18n/event-text.ts';
import type { Messages } from '../i18n/messages.ts';
import { customerText, endRow, priceText, statementsText } from '../i18n/sentences.ts';
import { type CustomerDescription, describeCustomer } from '../subscription/describe-customer.ts';
import type { SubscriptionDescription } from '../subscription/describe-subscription.ts';
import { compareEvents, distinctInOrder } from '../subscription/event-order.ts';
import { isGrant, isShownToCustomers } from '../subscription/kinds.ts';
import { appStoreName, isWebStore, subscriptionsPage } from '../subscription/names.ts';
import type { LifecycleEvent } from '../subscription/read-event.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { capitalize } from '../text.ts';
import { DAY_MS } from '../time.ts';
import type { Customer } from './customer.ts';

export type CustomerView = ReturnType<typeof viewCustomer>;
export type HistoryLine = CustomerView['history'][number];
export type Holding = ReturnType<typeof holdingOf>;

const MAX_ENDED = 3;
/** RevenueCat usually reports a cancellation within two hours. Source: RevenueCat, "Webhooks". */
const MAX_REPORT_DELAY_MS = DAY_MS;

/** A customer's own subscriptions and history. Test purchases are shown only to customers who have nothing else. */
export function viewCustomer(customers: readonly Customer[], messages: Messages, nowMs: number) {
  const described = withStores(
    customers.map(({ state, names }) => describeCustomer(state, { names, nowMs })),
    messages,
  );
  const held = described.flatMap(({ subscriptions, grants, sandbox }) => {
    const ownGrants = grants.filter(({ tone }) => tone !== 'ended' || subscriptions.length === 0);
    const bought = [...subscriptions, ...ownGrants];
    return bought.length > 0 ? bought : sandbox;
  });
  const isTester =
    held.length > 0 && held.every(({ subscription }) => subscription.environment === 'sandbox');
  const running = held.filter(isRunning);
  // If the summary lists access that no purchase explains, ended purchases are hidden: they are not the whole picture.
  const isListed = described.some(({ statements }) => statements.some(({ kind }) => kind === 'listed'));
  const ended = isListed ? [] : held.filter((each) => !isRunning(each) && !isReplaced(each, running));
  const history = customers.flatMap(({ ownHistory, names, state }) =>
    distinctInOrder(ownHistory)
      .filter((event) => isShownToCustomers(event) && (event.environment === 'sandbox') === isTester)
      .filter((event, _index, shown) => !isSameFailedPayment(event, shown))
      .map((event) => ({ event, names, withStore: isInSeveralStores(state) })),
  );
  return {
    /** Everything current in one text; if nothing is current, what ended last or where the purchases went. */
    summary: customerText(messages, described),
    /** What gives access first. */
    holdings: [...running, ...ended.slice(0, MAX_ENDED)].map((description) =>
      holdingOf(description, messages),
    ),
    /** Newest first. */
    history: history
      .sort((a, b) => compareEvents(b.event, a.event))
      .map(({ event, names, withStore }) => ({
        ...eventText(messages, event, { voice: 'customer', names, withStore }),
        date: messages.date(event.atMs),
        /** UTC, ISO 8601. */
        isoDate: new Date(event.atMs).toISOString(),
      })),
    isTester,
  };
}

/** Where it was bought; `null`: some other store, which RevenueCat may add later. Apple's rule forbids naming it. */
function purchasePlace(store: string | null, { t }: Messages): string | null {
  return isWebStore(store) ? t('messenger.web') : appStoreName(store);
}

/** Adds the place to names that are alike: a customer who pays in two stores must see which is which. */
function withStores(
  described: readonly CustomerDescription[],
  messages: Messages,
): readonly CustomerDescription[] {
  const running = described.flatMap(({ subscriptions }) => subscriptions).filter(isRunning);
  const named = (each: SubscriptionDescription): SubscriptionDescription => {
    const store = purchasePlace(each.subscription.store, messages);
    const isAlike = running.some(
      ({ what, subscription }) => what === each.what && subscription.store !== each.subscription.store,
    );
    if (!isRunning(each) || !isAlike || each.what === '' || store === null) return each;
    const what = messages.t('messenger.inStore', { what: each.what, store });
    return {
      ...each,
      what,
      statements: each.statements.map((statement) =>
        'what' in statement ? { ...statement, what } : statement,
      ),
    };
  };
  return described.map((one) => ({ ...one, subscriptions: one.subscriptions.map(named) }));
}

const isRunning = ({ tone }: SubscriptionDescription): boolean => tone !== 'ended';

const ENDED_KINDS: ReadonlySet<string> = new Set(['expired', 'trialEnded', 'cancelled', 'trialCancelled']);

/** For example after a plan change: "Pro ended" is wrong for a customer who has Pro through another purchase. */
function isReplaced(
  { statements, label, subscription }: SubscriptionDescription,
  running: readonly SubscriptionDescription[],
): boolean {
  const { entitlements } = subscription;
  return (
    statements.every(({ kind }) => ENDED_KINDS.has(kind)) &&
    // During a billing retry the store may still charge.
    label !== 'billing_retry' &&
    entitlements.length > 0 &&
    entitlements.every((key) => running.some((each) => each.subscription.entitlements.includes(key)))
  );
}

/** RevenueCat reports a failed payment as a billing issue and as a cancellation: one failure for the customer. */
function isSameFailedPayment(event: LifecycleEvent, history: readonly LifecycleEvent[]): boolean {
  return (
    event.type === 'CANCELLATION' &&
    event.cancelReason === 'BILLING_ERROR' &&
    history.some(
      ({ kind, productId, atMs }) =>
        kind === 'billing_issue' &&
        productId === event.productId &&
        Math.abs(atMs - event.atMs) < MAX_REPORT_DELAY_MS,
    )
  );
}

function holdingOf(description: SubscriptionDescription, messages: Messages) {
  const { t, date } = messages;
  const { subscription, price, end, tone } = description;
  const { store, startedAtMs, environment } = subscription;
  const what = description.what || t('sentence.customer.unnamed');
  const canChange = isChangeable(description);
  const url = canChange ? manageUrlOf(subscription) : null;
  const place = purchasePlace(store, messages);
  const rows: [label: string, value: string | null][] = [
    [t('messenger.label.price'), price && priceText(messages, price)],
    [t('messenger.label.since'), startedAtMs === null ? null : date(startedAtMs)],
    ...endRow(messages, end),
    [t('messenger.label.store'), place && capitalize(place)],
  ];
  return {
    title: environment === 'sandbox' ? t('messenger.testPurchase', { name: what }) : what,
    sentence: statementsText(messages, 'customer', description.statements),
    tone,
    rows: rows.flatMap(([label, value]) => (value === null ? [] : [[label, value] as const])),
    manage: url === null ? null : { label: t('messenger.manage', { store: store ?? '' }), url },
    /** For a running subscription without a page to link: where to change it, or to write to us for a web purchase. */
    howToChange:
      canChange && !isGrant(subscription) && url === null
        ? t('messenger.howToChange', { store: appStoreName(store) })
        : null,
  };
}

/** Whether the customer can cancel it, or replace the card that the store still retries. */
export function isChangeable({ subscription, tone, label }: SubscriptionDescription): boolean {
  return (tone !== 'ended' || label === 'billing_retry') && !isFinal(subscription);
}

/** Nothing about it can be changed: bought once, or paid for by another family member. */
function isFinal(subscription: SubscriptionState): boolean {
  const { status, willRenew, pausedAtMs, periodType, isFamilyShare, awaitsPriceConsent } = subscription;
  const renewsLater = willRenew || awaitsPriceConsent || pausedAtMs !== null || periodType === 'PREPAID';
  return isFamilyShare || (status === 'active' && !renewsLater);
}

const STORE_HOSTS = /(?:^|\.)(?:apple\.com|play\.google\.com|amazon\.[a-z]{2,3}(?:\.[a-z]{2})?|roku\.com)$/;

/**
 * The store's own page for managing a subscription; `null`: none that may be linked. Apple's rules for Messenger cards
 * allow linking only stores that come with a device, even when RevenueCat names another management address.
 */
export function manageUrlOf({
  store,
  managementUrl,
}: Pick<SubscriptionState, 'store' | 'managementUrl'>): string | null {
  if (appStoreName(store) === null) return null;
  const url = URL.parse(managementUrl ?? '');
  if (url?.protocol === 'https:' && STORE_HOSTS.test(url.hostname)) return managementUrl;
  return subscriptionsPage(store);
}
