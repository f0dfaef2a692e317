import { DAY_MS } from '../../time.ts';
import { move } from '../revenuecat/actions.ts';
import { purchaseEvent, transferEvent } from '../revenuecat/events.ts';
import {
  type Customer,
  endSubscription,
  ensureEntitlement,
  ensureProduct,
  newId,
  type Project,
  type RevenueCatEvent,
  type Subscription,
} from '../revenuecat/state.ts';

const MONTH_MS = 30 * DAY_MS;
const YEAR_MS = 365 * DAY_MS;
const TRIAL_MS = 7 * DAY_MS;
const GRACE_MS = 16 * DAY_MS;
const EXTENSION_MS = 14 * DAY_MS;
const PAUSE_MS = 60 * DAY_MS;
const YEARLY_PRICE = 79.99;

interface ActionInput {
  readonly project: Project;
  readonly customer: Customer;
  readonly nowMs: number;
  /** The customer's newest store subscription. */
  readonly subscription: Subscription;
  /** Creates an event about the subscription as it is at the time of the call, or about another subscription. */
  event(type: string, extra?: Record<string, unknown>, about?: Subscription): RevenueCatEvent;
}

/** Something that can happen to a customer next. */
export interface DemoAction {
  readonly id: string;
  readonly label: string;
  isPossible(subscription: Subscription | null, customer: Customer): boolean;
  /** Changes what the API returns. @returns the webhook events that follow, in order */
  run(input: ActionInput): readonly RevenueCatEvent[];
}

const givesAccess = (subscription: Subscription | null): subscription is Subscription =>
  subscription?.givesAccess === true;
const isTrial = (subscription: Subscription | null): boolean => subscription?.status === 'trialing';
const isApple = (subscription: Subscription | null): boolean => subscription?.store === 'app_store';
const isGoogle = (subscription: Subscription | null): boolean => subscription?.store === 'play_store';
const renews = (subscription: Subscription | null): boolean =>
  givesAccess(subscription) && subscription.autoRenewalStatus !== 'will_not_renew';

/** The list price of a subscription's product. */
const priceOf = (subscription: Subscription, project: Project): number =>
  project.products.find(({ id }) => id === subscription.productId)?.duration === 'P1Y' ? YEARLY_PRICE : 9.99;

const charged = (amount: number) => ({ price: amount, price_in_purchased_currency: amount });

export const ACTIONS: readonly DemoAction[] = [
  {
    id: 'trial',
    label: 'Start a free trial',
    isPossible: (subscription) => subscription === null,
    run({ nowMs, subscription, event }) {
      Object.assign(subscription, { status: 'trialing', grossUsd: 0, ...period(nowMs, TRIAL_MS) });
      return [event('INITIAL_PURCHASE', { period_type: 'TRIAL', transaction_id: newTransaction(nowMs) })];
    },
  },
  {
    id: 'convert',
    label: 'Trial converts to a paid subscription',
    isPossible: (subscription) => isTrial(subscription) && renews(subscription),
    run: (input) => [renewal(input, { is_trial_conversion: true })],
  },
  {
    id: 'renew',
    label: 'Renew',
    isPossible: (subscription) => subscription !== null && !isTrial(subscription),
    run: (input) => [renewal(input)],
  },
  {
    id: 'cancel',
    label: 'Cancel',
    isPossible: renews,
    run({ subscription, event }) {
      subscription.autoRenewalStatus = 'will_not_renew';
      return [event('CANCELLATION', { cancel_reason: 'UNSUBSCRIBE' })];
    },
  },
  {
    id: 'uncancel',
    label: 'Turn renewal back on',
    // Stripe has no such event.
    isPossible: (subscription) =>
      givesAccess(subscription) && !renews(subscription) && subscription.store !== 'stripe',
    run({ subscription, event }) {
      subscription.autoRenewalStatus = 'will_renew';
      return [event('UNCANCELLATION')];
    },
  },
  {
    id: 'billing',
    label: 'Payment fails',
    isPossible: (subscription) => renews(subscription) && subscription?.status !== 'in_grace_period',
    run({ subscription, nowMs, event }) {
      const endsAtMs = nowMs + GRACE_MS;
      Object.assign(subscription, { status: 'in_grace_period', periodEndsAtMs: nowMs, endsAtMs });
      return [
        event('BILLING_ISSUE', { grace_period_expiration_at_ms: endsAtMs }),
        event('CANCELLATION', { cancel_reason: 'BILLING_ERROR' }),
      ];
    },
  },
  {
    id: 'plan',
    label: 'Change to the yearly plan at renewal',
    isPossible: (subscription) =>
      renews(subscription) && isApple(subscription) && subscription?.autoRenewalStatus === 'will_renew',
    run({ subscription, project, nowMs, event }) {
      subscription.pendingProductId = ensureProduct(project, nowMs, YEARLY).id;
      subscription.autoRenewalStatus = 'will_change_product';
      return [event('PRODUCT_CHANGE', { new_product_id: YEARLY.storeIdentifier })];
    },
  },
  {
    id: 'upgrade',
    label: 'Upgrade to yearly immediately (Google Play)',
    isPossible: (subscription) => renews(subscription) && isGoogle(subscription),
    run: upgradeOnGoogle,
  },
  {
    id: 'pause',
    label: 'Pause (Google Play)',
    isPossible: (subscription) => renews(subscription) && isGoogle(subscription),
    run({ subscription, nowMs, event }) {
      const ended = { periodEndsAtMs: nowMs, endsAtMs: nowMs };
      Object.assign(subscription, { status: 'paused', givesAccess: false, ...ended });
      return [
        event('SUBSCRIPTION_PAUSED', { auto_resume_at_ms: nowMs + PAUSE_MS }),
        event('EXPIRATION', { expiration_reason: 'SUBSCRIPTION_PAUSED' }),
      ];
    },
  },
  {
    id: 'resume',
    label: 'Resume after the pause',
    isPossible: (subscription) => subscription?.status === 'paused',
    run: (input) => [renewal(input)],
  },
  {
    id: 'extend',
    label: 'Extend by two weeks',
    // Web Billing has no such event.
    isPossible: (subscription) =>
      givesAccess(subscription) && !isTrial(subscription) && subscription.store !== 'rc_billing',
    run({ subscription, nowMs, event }) {
      const endsAtMs = (subscription.endsAtMs ?? nowMs) + EXTENSION_MS;
      Object.assign(subscription, { periodEndsAtMs: endsAtMs, endsAtMs });
      return [event('SUBSCRIPTION_EXTENDED')];
    },
  },
  {
    id: 'price',
    label: 'Price increase needs consent',
    isPossible: (subscription) => renews(subscription) && subscription?.autoRenewalStatus === 'will_renew',
    run({ subscription, event }) {
      subscription.autoRenewalStatus = 'requires_price_increase_consent';
      return [withoutPurchase(event('PRICE_INCREASE_CONSENT_REQUIRED'))];
    },
  },
  {
    id: 'refund',
    label: 'Refund',
    isPossible: (subscription) =>
      subscription !== null && subscription.grossUsd > 0 && !isTrial(subscription),
    run({ subscription, project, nowMs, event }) {
      const amount = priceOf(subscription, project);
      endSubscription(subscription, nowMs);
      subscription.grossUsd = Math.max(0, subscription.grossUsd - amount);
      return [
        event('CANCELLATION', { cancel_reason: 'CUSTOMER_SUPPORT', ...charged(-amount) }),
        event('EXPIRATION', { expiration_reason: 'CUSTOMER_SUPPORT' }),
      ];
    },
  },
  {
    id: 'unrefund',
    label: 'Refund is reversed',
    isPossible: (subscription, { events }) =>
      isApple(subscription) &&
      !givesAccess(subscription) &&
      events.at(-1)?.expiration_reason === 'CUSTOMER_SUPPORT',
    run({ subscription, project, nowMs, event }) {
      const amount = priceOf(subscription, project);
      Object.assign(subscription, {
        status: 'active',
        autoRenewalStatus: 'will_renew',
        grossUsd: subscription.grossUsd + amount,
        ...period(nowMs, MONTH_MS),
      });
      return [event('REFUND_REVERSED', charged(amount))];
    },
  },
  {
    id: 'transfer',
    label: 'Purchases move to another customer',
    isPossible: (subscription) => givesAccess(subscription),
    run: transfer,
  },
  {
    id: 'expire',
    label: 'Expire',
    isPossible: (subscription) => givesAccess(subscription),
    run({ subscription, nowMs, event }) {
      const { status, periodEndsAtMs } = subscription;
      endSubscription(subscription, nowMs);
      if (status !== 'in_grace_period') return [event('EXPIRATION', { expiration_reason: 'UNSUBSCRIBE' })];
      // The event has the end of the period, although access lasted longer.
      Object.assign(subscription, { periodEndsAtMs, endsAtMs: periodEndsAtMs });
      return [event('EXPIRATION', { expiration_reason: 'BILLING_ERROR' })];
    },
  },
];

const YEARLY = { storeIdentifier: 'pro_yearly', displayName: 'Pro Yearly', duration: 'P1Y' } as const;
const MONTHLY = { storeIdentifier: 'pro_monthly', displayName: 'Pro Monthly', duration: 'P1M' } as const;

/** Removes everything about the purchase but the product, as in events about consent to a price. */
function withoutPurchase(event: RevenueCatEvent): RevenueCatEvent {
  const left = Object.entries(event).filter(([key]) => CONSENT_FIELDS.includes(key));
  return { ...Object.fromEntries(left), type: event.type };
}

const CONSENT_FIELDS = [
  ...['id', 'app_id', 'event_timestamp_ms', 'app_user_id', 'original_app_user_id', 'aliases'],
  ...['product_id', 'transaction_id', 'original_transaction_id', 'store', 'environment'],
  ...['currency', 'country_code', 'subscriber_attributes'],
];

const newTransaction = (nowMs: number): string => `demo-${nowMs}`;

function period(nowMs: number, lengthMs: number): Partial<Subscription> {
  const endsAtMs = nowMs + lengthMs;
  return { givesAccess: true, periodStartsAtMs: nowMs, periodEndsAtMs: endsAtMs, endsAtMs };
}

/** Starts a new period, with the new product if a change was pending. */
function renewal(
  { subscription, project, nowMs, event }: ActionInput,
  { is_trial_conversion }: { is_trial_conversion: boolean } = { is_trial_conversion: false },
): RevenueCatEvent {
  if (subscription.autoRenewalStatus === 'will_change_product')
    subscription.productId = subscription.pendingProductId ?? subscription.productId;
  const amount = priceOf(subscription, project);
  Object.assign(subscription, {
    status: 'active',
    autoRenewalStatus: 'will_renew',
    grossUsd: subscription.grossUsd + amount,
    ...period(nowMs, amount === YEARLY_PRICE ? YEAR_MS : MONTH_MS),
  });
  return event('RENEWAL', {
    period_type: 'NORMAL',
    is_trial_conversion,
    transaction_id: newTransaction(nowMs),
    ...charged(amount),
  });
}

/** Google replaces the subscription: the old one's change, then the first purchase of the new one. */
function upgradeOnGoogle({ customer, subscription, project, nowMs, event }: ActionInput) {
  const product = ensureProduct(project, nowMs, { ...YEARLY, storeIdentifier: 'pro_yearly:base' });
  const upgraded: Subscription = {
    ...subscription,
    id: newId('sub'),
    productId: product.id,
    startsAtMs: nowMs,
    storeSubscriptionId: `GPA.${nowMs}`,
    grossUsd: YEARLY_PRICE,
    ...period(nowMs, YEAR_MS),
  };
  customer.subscriptions.push(upgraded);
  endSubscription(subscription, nowMs);
  return [
    // Only a change that waits for the renewal names the new product.
    event('PRODUCT_CHANGE'),
    event('INITIAL_PURCHASE', charged(YEARLY_PRICE), upgraded),
  ];
}

/** Transfers to the first customer who has bought nothing, as if their app had found this store account's purchases. */
function transfer({ project, customer, subscription, nowMs }: ActionInput): readonly RevenueCatEvent[] {
  const receiver = [...project.customers.values()].find(
    (each) => each !== customer && each.subscriptions.length === 0 && each.purchases.length === 0,
  );
  if (!receiver) return [];
  move(customer.subscriptions, receiver.subscriptions, { to: receiver.id });
  return [transferEvent(project, { from: customer, to: receiver, first: subscription, atMs: nowMs })];
}

/** The actions that make sense for a customer now. */
export function possibleActions(customer: Customer): readonly DemoAction[] {
  const subscription = newestSubscription(customer);
  return ACTIONS.filter((action) => action.isPossible(subscription, customer));
}

/**
 * Runs an action on a customer. The simulated API returns the new state from now on.
 *
 * @returns the events for the webhooks, in order; empty: the action is not possible for this customer
 */
export function runAction(
  project: Project,
  customer: Customer,
  action: DemoAction,
  nowMs: number,
): RevenueCatEvent[] {
  const current = newestSubscription(customer);
  if (!action.isPossible(current, customer)) return [];
  const subscription = current ?? newSubscription(project, customer, nowMs);
  let count = 0;
  const event: ActionInput['event'] = (type, extra = {}, bought = subscription) =>
    purchaseEvent(project, customer, { bought, type, extra, atMs: nowMs + count++ });
  const events = action.run({ project, customer, subscription, nowMs, event });
  customer.events.push(...events);
  return [...events];
}

function newestSubscription(customer: Customer): Subscription | null {
  const paid = customer.subscriptions.filter(({ store }) => store !== 'promotional');
  return paid.findLast((each) => each.givesAccess) ?? paid.at(-1) ?? null;
}

/** A monthly App Store subscription without a period yet. */
function newSubscription(project: Project, customer: Customer, nowMs: number): Subscription {
  const subscription: Subscription = {
    id: newId('sub'),
    customerId: customer.id,
    originalCustomerId: customer.aliases.at(-1) ?? customer.id,
    productId: ensureProduct(project, nowMs, MONTHLY).id,
    store: 'app_store',
    environment: 'production',
    status: 'active',
    autoRenewalStatus: 'will_renew',
    givesAccess: false,
    startsAtMs: nowMs,
    periodStartsAtMs: nowMs,
    periodEndsAtMs: nowMs,
    endsAtMs: nowMs,
    entitlementIds: [ensureEntitlement(project, nowMs, 'pro', 'Pro').id],
    storeSubscriptionId: `2000${nowMs}`,
    grossUsd: 0,
    country: 'US',
    managementUrl: 'https://apps.apple.com/account/subscriptions',
  };
  customer.subscriptions.push(subscription);
  return subscription;
}
