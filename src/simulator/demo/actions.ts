import { randomUUID } from 'node:crypto';
import { DAY_MS } from '../../time.ts';
import {
  type Customer,
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
  /** The customer's newest store subscription; `null`: none yet. */
  readonly subscription: Subscription | null;
}

type Fields = Record<string, unknown> & { readonly type: string };

/** Something that can happen to a customer next. */
export interface DemoAction {
  readonly id: string;
  readonly label: string;
  isPossible(subscription: Subscription | null, customer: Customer): boolean;
  /** Changes what the API returns, and gives the fields of each webhook that follows, in order. */
  run(input: ActionInput & { readonly subscription: Subscription }): readonly Fields[];
}

const givesAccess = (subscription: Subscription | null): subscription is Subscription =>
  subscription?.givesAccess === true;
const isTrial = (subscription: Subscription | null): boolean => subscription?.status === 'trialing';
const isGoogle = (subscription: Subscription | null): boolean => subscription?.store === 'play_store';
const renews = (subscription: Subscription | null): boolean =>
  givesAccess(subscription) && subscription.autoRenewalStatus !== 'will_not_renew';

/** The list price of a subscription's product. */
const priceOf = (subscription: Subscription, project: Project): number =>
  project.products.find(({ id }) => id === subscription.productId)?.duration === 'P1Y' ? YEARLY_PRICE : 9.99;

const charged = (amount: number) => ({ price: amount, price_in_purchased_currency: amount, currency: 'USD' });
const NOT_CHARGED = charged(0);

export const ACTIONS: readonly DemoAction[] = [
  {
    id: 'trial',
    label: 'Start a free trial',
    isPossible: (subscription) => subscription === null,
    run({ nowMs, subscription }) {
      Object.assign(subscription, { status: 'trialing', grossUsd: 0, ...period(nowMs, TRIAL_MS) });
      return [{ type: 'INITIAL_PURCHASE', period_type: 'TRIAL', ...NOT_CHARGED, ...bought(nowMs, TRIAL_MS) }];
    },
  },
  {
    id: 'convert',
    label: 'Trial converts to a paid subscription',
    isPossible: (subscription) => isTrial(subscription) && renews(subscription),
    run: (input) => [{ ...renewal(input), is_trial_conversion: true }],
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
    run({ subscription }) {
      subscription.autoRenewalStatus = 'will_not_renew';
      return [{ type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE', ...NOT_CHARGED }];
    },
  },
  {
    id: 'uncancel',
    label: 'Turn renewal back on',
    isPossible: (subscription) => givesAccess(subscription) && !renews(subscription),
    run({ subscription }) {
      subscription.autoRenewalStatus = 'will_renew';
      return [{ type: 'UNCANCELLATION', ...NOT_CHARGED }];
    },
  },
  {
    id: 'billing',
    label: 'Payment fails',
    isPossible: (subscription) => renews(subscription) && subscription?.status !== 'in_grace_period',
    run({ subscription, nowMs }) {
      Object.assign(subscription, {
        status: 'in_grace_period',
        periodEndsAtMs: nowMs,
        endsAtMs: nowMs + GRACE_MS,
      });
      return [
        {
          type: 'BILLING_ISSUE',
          ...NOT_CHARGED,
          expiration_at_ms: nowMs,
          grace_period_expiration_at_ms: nowMs + GRACE_MS,
        },
      ];
    },
  },
  {
    id: 'plan',
    label: 'Change to the yearly plan at renewal',
    isPossible: (subscription) =>
      renews(subscription) && !isGoogle(subscription) && subscription?.autoRenewalStatus === 'will_renew',
    run({ subscription, project, nowMs }) {
      ensureProduct(project, nowMs, YEARLY);
      subscription.autoRenewalStatus = 'will_change_product';
      return [{ type: 'PRODUCT_CHANGE', new_product_id: YEARLY.storeIdentifier, ...NOT_CHARGED }];
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
    run({ subscription, nowMs }) {
      Object.assign(subscription, { status: 'paused', givesAccess: false, endsAtMs: null });
      subscription.periodEndsAtMs = nowMs;
      return [
        { type: 'SUBSCRIPTION_PAUSED', ...NOT_CHARGED, auto_resume_at_ms: nowMs + PAUSE_MS },
        {
          type: 'EXPIRATION',
          expiration_reason: 'SUBSCRIPTION_PAUSED',
          ...NOT_CHARGED,
          expiration_at_ms: nowMs,
        },
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
    isPossible: (subscription) => givesAccess(subscription) && !isTrial(subscription),
    run({ subscription, nowMs }) {
      const endsAtMs = (subscription.endsAtMs ?? nowMs) + EXTENSION_MS;
      Object.assign(subscription, { periodEndsAtMs: endsAtMs, endsAtMs });
      return [{ type: 'SUBSCRIPTION_EXTENDED', ...NOT_CHARGED, expiration_at_ms: endsAtMs }];
    },
  },
  {
    id: 'price',
    label: 'Price increase needs consent',
    isPossible: (subscription) => renews(subscription) && subscription?.autoRenewalStatus === 'will_renew',
    run({ subscription }) {
      subscription.autoRenewalStatus = 'requires_price_increase_consent';
      // A sparse event: no period, price or expiry.
      return [
        {
          type: 'PRICE_INCREASE_CONSENT_REQUIRED',
          period_type: undefined,
          price: undefined,
          price_in_purchased_currency: undefined,
          purchased_at_ms: undefined,
          expiration_at_ms: undefined,
        },
      ];
    },
  },
  {
    id: 'refund',
    label: 'Refund',
    isPossible: (subscription) =>
      subscription !== null && subscription.grossUsd > 0 && !isTrial(subscription),
    run({ subscription, project, nowMs }) {
      const amount = priceOf(subscription, project);
      end(subscription, nowMs);
      subscription.grossUsd = Math.max(0, subscription.grossUsd - amount);
      return [
        {
          type: 'CANCELLATION',
          cancel_reason: 'CUSTOMER_SUPPORT',
          ...charged(-amount),
          expiration_at_ms: nowMs,
        },
        {
          type: 'EXPIRATION',
          expiration_reason: 'CUSTOMER_SUPPORT',
          ...NOT_CHARGED,
          expiration_at_ms: nowMs,
        },
      ];
    },
  },
  {
    id: 'unrefund',
    label: 'Refund is reversed',
    isPossible: (subscription, { events }) =>
      subscription !== null &&
      !givesAccess(subscription) &&
      events.at(-1)?.expiration_reason === 'CUSTOMER_SUPPORT',
    run({ subscription, project, nowMs }) {
      const amount = priceOf(subscription, project);
      Object.assign(subscription, {
        status: 'active',
        autoRenewalStatus: 'will_renew',
        grossUsd: subscription.grossUsd + amount,
        ...period(nowMs, MONTH_MS),
      });
      return [{ type: 'REFUND_REVERSED', ...charged(amount), expiration_at_ms: nowMs + MONTH_MS }];
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
    run({ subscription, nowMs }) {
      end(subscription, nowMs);
      return [
        { type: 'EXPIRATION', expiration_reason: 'UNSUBSCRIBE', ...NOT_CHARGED, expiration_at_ms: nowMs },
      ];
    },
  },
];

const YEARLY = { storeIdentifier: 'pro_yearly', displayName: 'Pro Yearly', duration: 'P1Y' } as const;
const MONTHLY = { storeIdentifier: 'pro_monthly', displayName: 'Pro Monthly', duration: 'P1M' } as const;

function bought(nowMs: number, lengthMs: number) {
  return {
    purchased_at_ms: nowMs,
    expiration_at_ms: nowMs + lengthMs,
    transaction_id: `demo-${nowMs}`,
  };
}

function period(nowMs: number, lengthMs: number): Partial<Subscription> {
  const endsAtMs = nowMs + lengthMs;
  return { givesAccess: true, periodStartsAtMs: nowMs, periodEndsAtMs: endsAtMs, endsAtMs };
}

/** A new period, of the new product where a change was waiting for it. */
function renewal({ subscription, project, nowMs }: Parameters<DemoAction['run']>[0]): Fields {
  const changes = subscription.autoRenewalStatus === 'will_change_product';
  if (changes) subscription.productId = ensureProduct(project, nowMs, YEARLY).id;
  const amount = priceOf(subscription, project);
  const lengthMs = amount === YEARLY_PRICE ? YEAR_MS : MONTH_MS;
  Object.assign(subscription, {
    status: 'active',
    autoRenewalStatus: 'will_renew',
    grossUsd: subscription.grossUsd + amount,
    ...period(nowMs, lengthMs),
  });
  return {
    type: 'RENEWAL',
    period_type: 'NORMAL',
    is_trial_conversion: false,
    ...(changes ? { product_id: YEARLY.storeIdentifier } : {}),
    ...charged(amount),
    ...bought(nowMs, lengthMs),
  };
}

/** Google replaces the subscription: the old one's change, then the first purchase of the new one. */
function upgradeOnGoogle({
  customer,
  subscription,
  project,
  nowMs,
}: Parameters<DemoAction['run']>[0]): readonly Fields[] {
  const product = ensureProduct(project, nowMs, { ...YEARLY, storeIdentifier: 'pro_yearly:base' });
  const transactionId = `GPA.${nowMs}`;
  customer.subscriptions.push({
    ...subscription,
    id: newId('sub'),
    productId: product.id,
    startsAtMs: nowMs,
    storeSubscriptionId: transactionId,
    grossUsd: YEARLY_PRICE,
    ...period(nowMs, YEAR_MS),
  });
  end(subscription, nowMs);
  return [
    {
      type: 'PRODUCT_CHANGE',
      new_product_id: product.storeIdentifier,
      ...NOT_CHARGED,
      expiration_at_ms: nowMs,
    },
    {
      type: 'INITIAL_PURCHASE',
      period_type: 'NORMAL',
      product_id: product.storeIdentifier,
      ...charged(YEARLY_PRICE),
      ...bought(nowMs, YEAR_MS),
      transaction_id: transactionId,
      original_transaction_id: transactionId,
    },
  ];
}

/** To the first customer who has nothing: their app found the purchases of this store account. */
function transfer({ project, customer }: Parameters<DemoAction['run']>[0]): readonly Fields[] {
  const receiver = [...project.customers.values()].find(
    (each) => each !== customer && each.subscriptions.length === 0 && each.purchases.length === 0,
  );
  if (!receiver) return [];
  for (const moved of customer.subscriptions.splice(0)) {
    moved.customerId = receiver.id;
    receiver.subscriptions.push(moved);
  }
  return [
    { type: 'TRANSFER', transferred_from: [...customer.aliases], transferred_to: [...receiver.aliases] },
  ];
}

function end(subscription: Subscription, nowMs: number): void {
  Object.assign(subscription, {
    status: 'expired',
    autoRenewalStatus: 'will_not_renew',
    givesAccess: false,
    periodEndsAtMs: nowMs,
    endsAtMs: nowMs,
  });
}

/** Only these fields of the last event are part of the next one. */
const LASTING_FIELDS = [
  'app_id',
  'product_id',
  'period_type',
  'purchased_at_ms',
  'expiration_at_ms',
  'environment',
  'entitlement_id',
  'entitlement_ids',
  'presented_offering_id',
  'transaction_id',
  'original_transaction_id',
  'is_family_share',
  'country_code',
  'app_user_id',
  'aliases',
  'original_app_user_id',
  'currency',
  'price',
  'price_in_purchased_currency',
  'subscriber_attributes',
  'store',
  'takehome_percentage',
  'tax_percentage',
  'commission_percentage',
] as const;

const TRANSFER_FIELDS = ['app_id', 'environment', 'store'] as const;

/** Which actions make sense for a customer now. */
export function possibleActions(customer: Customer): readonly DemoAction[] {
  const subscription = newestSubscription(customer);
  return ACTIONS.filter((action) => action.isPossible(subscription, customer));
}

/**
 * Lets something happen to a customer. The simulated API returns the new state from now on.
 *
 * @returns the events for the webhooks, in order; empty: it cannot happen to this customer
 */
export function happen(
  project: Project,
  customer: Customer,
  action: DemoAction,
  nowMs: number,
): RevenueCatEvent[] {
  const current = newestSubscription(customer);
  if (!action.isPossible(current, customer)) return [];
  const subscription = current ?? newSubscription(project, customer, nowMs);
  const base = lastingFields(project, customer, subscription);
  const fields = action.run({ project, customer, subscription, nowMs });
  const events = fields.map((own, index): RevenueCatEvent => {
    const lasting = own.type === 'TRANSFER' ? TRANSFER_FIELDS : LASTING_FIELDS;
    const all = { ...Object.fromEntries(lasting.map((name) => [name, base[name]])), ...own };
    return {
      ...Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)),
      type: own.type,
      id: randomUUID(),
      event_timestamp_ms: nowMs + index,
    };
  });
  customer.events.push(...events);
  return events;
}

/** The fields of the last event, of the subscription to which something happens now. */
function lastingFields(
  project: Project,
  customer: Customer,
  subscription: Subscription,
): Record<string, unknown> {
  const original = subscription.storeSubscriptionId;
  const last = customer.events.findLast((event) => event.original_transaction_id === original);
  const product = project.products.find(({ id }) => id === subscription.productId);
  return {
    ...(last ?? { ...firstEvent(project, customer), transaction_id: original }),
    store: subscription.store.toUpperCase(),
    product_id: product?.storeIdentifier,
    original_transaction_id: original,
  };
}

function newestSubscription(customer: Customer): Subscription | null {
  const own = customer.subscriptions.filter(({ store }) => store !== 'promotional');
  return own.findLast((each) => each.givesAccess) ?? own.at(-1) ?? null;
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

function firstEvent(project: Project, customer: Customer): Record<string, unknown> {
  const email = customer.attributes.get('$email');
  return {
    app_id: project.appId,
    environment: 'PRODUCTION',
    entitlement_id: null,
    entitlement_ids: ['pro'],
    presented_offering_id: null,
    is_family_share: false,
    country_code: 'US',
    app_user_id: customer.id,
    aliases: [...customer.aliases],
    original_app_user_id: customer.aliases.at(-1) ?? customer.id,
    subscriber_attributes: email ? { $email: { value: email.value, updated_at_ms: email.updatedAtMs } } : {},
    period_type: 'NORMAL',
    takehome_percentage: 0.85,
    tax_percentage: 0,
    commission_percentage: 0.15,
  };
}
