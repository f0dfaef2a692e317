import { randomUUID } from 'node:crypto';
import { DAY_MS } from '../../time.ts';
import { type EventFacts, lifecycleEvent, promotionalEvent } from './events.ts';
import {
  type Customer,
  ensureEntitlement,
  ensureProduct,
  findProject,
  insertCustomer,
  newId,
  type RevenueCatEvent,
  type RevenueCatState,
  type Subscription,
} from './state.ts';

export const STORY_NAMES = [
  'active_monthly',
  'trial',
  'trial_cancelled',
  'cancelled',
  'grace_period',
  'expired_by_billing',
  'refunded',
  'granted',
  'paused',
  'several',
  'sandbox_only',
  'no_purchases',
  'long_history',
  'google_monthly',
  'web_monthly',
  'stripe_monthly',
] as const;

export type StoryName = (typeof STORY_NAMES)[number];

type StorySubscription = Omit<
  Subscription,
  'id' | 'customerId' | 'originalCustomerId' | 'productId' | 'entitlementIds'
> & {
  /** Store identifier; `null` for grants. */
  readonly product: string | null;
  readonly productName: string | null;
  readonly duration: string | null;
  readonly entitlements: readonly string[];
};

interface StoryPurchase {
  readonly product: string;
  readonly productName: string;
  readonly store: string;
  readonly storePurchaseId: string;
  readonly purchasedAtMs: number;
  readonly grossUsd: number;
}

/** One customer's history: the webhooks in order, and what the API returns afterwards. */
export interface Story {
  readonly name: StoryName;
  readonly appUserId: string;
  readonly anonymousId: string;
  readonly email: string | undefined;
  readonly firstSeenAtMs: number;
  readonly events: RevenueCatEvent[];
  readonly subscriptions: StorySubscription[];
  readonly purchases: StoryPurchase[];
}

export interface StoryOptions {
  readonly appUserId: string;
  /** All times are relative to this one. */
  readonly nowMs: number;
  readonly email?: string;
  /** The project's app in which everything was bought. */
  readonly appId?: string;
}

const MONTH_MS = 30 * DAY_MS;

/** Building blocks of stories about one customer, with all times relative to now. */
function createKit({ appUserId, nowMs, email, appId }: StoryOptions) {
  const anonymousId = `$RCAnonymousID:${Buffer.from(appUserId.padEnd(16, '0')).toString('hex').slice(0, 32)}`;
  const transaction = `2000000${Buffer.from(appUserId).reduce((sum, byte) => (sum * 31 + byte) % 1e9, 7)}`;
  const day = (days: number): number => nowMs + days * DAY_MS;
  /** A month of Pro from the App Store. */
  const monthly = (purchasedDays: number, changes: Partial<EventFacts> = {}): EventFacts => ({
    appUserId,
    originalAppUserId: anonymousId,
    aliases: [anonymousId, appUserId],
    email,
    appId,
    productId: 'pro_monthly',
    entitlements: ['pro'],
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    periodType: 'NORMAL',
    purchasedAtMs: day(purchasedDays),
    expirationAtMs: day(purchasedDays) + MONTH_MS,
    transactionId: transaction,
    price: 9.99,
    currency: 'USD',
    atMs: day(purchasedDays) + 5_000,
    ...changes,
  });
  const renewal = (days: number, number: number, changes: Partial<EventFacts> = {}): RevenueCatEvent => {
    const original = changes.transactionId ?? transaction;
    const ids = { transactionId: `${original}${number}`, originalTransactionId: original };
    return lifecycleEvent('RENEWAL', monthly(days, { ...changes, ...ids }), {
      is_trial_conversion: false,
      renewal_number: number,
    });
  };
  /** The first purchase and two renewals. */
  const threeMonths = (changes: Partial<EventFacts> = {}): RevenueCatEvent[] => [
    lifecycleEvent('INITIAL_PURCHASE', monthly(-70, changes)),
    renewal(-40, 1, changes),
    renewal(-10, 2, changes),
  ];
  /** The same subscription as the API describes it. */
  const subscription = (changes: Partial<StorySubscription> = {}): StorySubscription => ({
    product: 'pro_monthly',
    productName: 'Pro Monthly',
    duration: 'P1M',
    entitlements: ['pro'],
    store: 'app_store',
    environment: 'production',
    status: 'active',
    autoRenewalStatus: 'will_renew',
    givesAccess: true,
    startsAtMs: day(-70),
    periodStartsAtMs: day(-10),
    periodEndsAtMs: day(20),
    endsAtMs: day(20),
    storeSubscriptionId: transaction,
    grossUsd: 29.97,
    country: 'US',
    managementUrl: 'https://apps.apple.com/account/subscriptions',
    ...changes,
  });
  const later = (facts: EventFacts, days: number, changes: Partial<EventFacts> = {}): EventFacts => ({
    ...facts,
    atMs: day(days),
    ...changes,
  });
  const trial = monthly(-3, { periodType: 'TRIAL', expirationAtMs: day(4), price: 0 });
  const trialSubscription = subscription({
    status: 'trialing',
    startsAtMs: day(-3),
    periodStartsAtMs: day(-3),
    periodEndsAtMs: day(4),
    endsAtMs: day(4),
    grossUsd: 0,
  });
  return {
    appUserId,
    email,
    anonymousId,
    transaction,
    day,
    monthly,
    renewal,
    threeMonths,
    subscription,
    later,
    trial,
    trialSubscription,
  };
}

type Kit = ReturnType<typeof createKit>;

/** The parts that differ from story to story. */
interface StoryParts {
  readonly events: RevenueCatEvent[];
  readonly subscriptions: StorySubscription[];
  readonly purchases?: StoryPurchase[];
  /** When RevenueCat first saw the customer, days from now. */
  readonly firstSeenDays: number;
}

const parts = (
  events: RevenueCatEvent[],
  subscriptions: StorySubscription[],
  firstSeenDays = -95,
): StoryParts => ({ events, subscriptions, firstSeenDays });

const STORIES: Readonly<Record<StoryName, (kit: Kit) => StoryParts>> = {
  active_monthly: ({ threeMonths, subscription }) => parts(threeMonths(), [subscription()]),
  trial: ({ trial, trialSubscription }) =>
    parts([lifecycleEvent('INITIAL_PURCHASE', trial)], [trialSubscription], -4),
  trial_cancelled: ({ trialSubscription, later, trial }) =>
    parts(
      [
        lifecycleEvent('INITIAL_PURCHASE', trial),
        lifecycleEvent('CANCELLATION', later(trial, -1), { cancel_reason: 'UNSUBSCRIBE' }),
      ],
      [{ ...trialSubscription, autoRenewalStatus: 'will_not_renew' }],
      -4,
    ),
  cancelled: ({ threeMonths, monthly, subscription, later }) =>
    parts(
      [
        ...threeMonths(),
        lifecycleEvent('CANCELLATION', later(monthly(-10), -2, { price: 0 }), {
          cancel_reason: 'UNSUBSCRIBE',
        }),
      ],
      [subscription({ autoRenewalStatus: 'will_not_renew' })],
    ),
  grace_period: ({ day, monthly, renewal, subscription, later }) => {
    const failed = later(monthly(-32), -2, { price: 0 });
    const graceEndMs = day(14);
    return parts(
      [
        lifecycleEvent('INITIAL_PURCHASE', monthly(-62)),
        renewal(-32, 1),
        lifecycleEvent('BILLING_ISSUE', failed, { grace_period_expiration_at_ms: graceEndMs }),
        lifecycleEvent('CANCELLATION', failed, { cancel_reason: 'BILLING_ERROR' }),
      ],
      [
        subscription({
          status: 'in_grace_period',
          startsAtMs: day(-62),
          periodStartsAtMs: day(-32),
          periodEndsAtMs: day(-2),
          endsAtMs: graceEndMs,
          grossUsd: 19.98,
        }),
      ],
    );
  },
  expired_by_billing: ({ day, monthly, renewal, subscription, later }) => {
    const failed = later(monthly(-35), -5, { price: 0 });
    return parts(
      [
        lifecycleEvent('INITIAL_PURCHASE', monthly(-65)),
        renewal(-35, 1),
        lifecycleEvent('BILLING_ISSUE', failed, { grace_period_expiration_at_ms: null }),
        lifecycleEvent('CANCELLATION', failed, { cancel_reason: 'BILLING_ERROR' }),
        lifecycleEvent('EXPIRATION', failed, { expiration_reason: 'BILLING_ERROR' }),
      ],
      [
        subscription({
          status: 'expired',
          autoRenewalStatus: 'will_not_renew',
          givesAccess: false,
          startsAtMs: day(-65),
          periodStartsAtMs: day(-35),
          periodEndsAtMs: day(-5),
          endsAtMs: day(-5),
          grossUsd: 19.98,
        }),
      ],
    );
  },
  refunded: ({ threeMonths, day, monthly, subscription, later }) => {
    const refund = later(monthly(-10), -1, { price: -9.99, expirationAtMs: day(-1) });
    return parts(
      [
        ...threeMonths(),
        lifecycleEvent('CANCELLATION', refund, { cancel_reason: 'CUSTOMER_SUPPORT' }),
        lifecycleEvent('EXPIRATION', { ...refund, price: 0 }, { expiration_reason: 'CUSTOMER_SUPPORT' }),
      ],
      [
        subscription({
          status: 'expired',
          autoRenewalStatus: 'will_not_renew',
          givesAccess: false,
          periodEndsAtMs: day(-1),
          endsAtMs: day(-1),
          grossUsd: 19.98,
        }),
      ],
    );
  },
  granted: ({ appUserId, anonymousId, transaction, day, subscription }) =>
    parts(
      [
        promotionalEvent('NON_RENEWING_PURCHASE', {
          lookupKey: 'pro',
          transactionId: `${transaction}9`,
          appUserId,
          originalAppUserId: anonymousId,
          aliases: [anonymousId, appUserId],
          startsAtMs: day(-2),
          endsAtMs: day(28),
          atMs: day(-2) + 5_000,
        }),
      ],
      [
        subscription({
          product: null,
          productName: null,
          duration: null,
          store: 'promotional',
          autoRenewalStatus: 'will_not_renew',
          startsAtMs: day(-2),
          periodStartsAtMs: day(-2),
          periodEndsAtMs: day(28),
          endsAtMs: day(28),
          storeSubscriptionId: null,
          grossUsd: 0,
          country: null,
          managementUrl: null,
        }),
      ],
      -20,
    ),
  paused: ({ transaction, day, monthly, subscription, later }) => {
    const play = {
      store: 'PLAY_STORE',
      productId: 'pro_monthly:base',
      transactionId: `GPA.${transaction}`,
    };
    const last = monthly(-40, play);
    return parts(
      [
        lifecycleEvent('INITIAL_PURCHASE', last),
        lifecycleEvent('SUBSCRIPTION_PAUSED', later(last, -15, { price: 0 }), {
          auto_resume_at_ms: day(80),
        }),
        lifecycleEvent('EXPIRATION', later(last, -10, { price: 0 }), {
          expiration_reason: 'SUBSCRIPTION_PAUSED',
        }),
      ],
      [
        subscription({
          product: play.productId,
          store: 'play_store',
          status: 'paused',
          autoRenewalStatus: 'will_renew',
          givesAccess: false,
          startsAtMs: day(-40),
          periodStartsAtMs: day(-40),
          periodEndsAtMs: day(-10),
          endsAtMs: day(-10),
          storeSubscriptionId: play.transactionId,
          grossUsd: 9.99,
          managementUrl: 'https://play.google.com/store/account/subscriptions',
        }),
      ],
    );
  },
  several: ({ transaction, day, monthly, subscription }) => {
    const yearly = monthly(-200, { productId: 'pro_yearly', price: 79.99, expirationAtMs: day(165) });
    const team = monthly(-12, {
      productId: 'team_monthly',
      entitlements: ['team'],
      store: 'STRIPE',
      transactionId: `sub_${transaction}`,
      price: 14,
    });
    return parts(
      [lifecycleEvent('INITIAL_PURCHASE', yearly), lifecycleEvent('INITIAL_PURCHASE', team)],
      [
        subscription({
          product: 'pro_yearly',
          productName: 'Pro Yearly',
          duration: 'P1Y',
          startsAtMs: day(-200),
          periodStartsAtMs: day(-200),
          periodEndsAtMs: day(165),
          endsAtMs: day(165),
          grossUsd: 79.99,
        }),
        subscription({
          product: 'team_monthly',
          productName: 'Team Monthly',
          entitlements: ['team'],
          store: 'stripe',
          startsAtMs: day(-12),
          periodStartsAtMs: day(-12),
          periodEndsAtMs: day(18),
          endsAtMs: day(18),
          storeSubscriptionId: `sub_${transaction}`,
          grossUsd: 14,
          managementUrl: null,
        }),
      ],
      -210,
    );
  },
  sandbox_only: ({ day, monthly, subscription }) =>
    parts(
      [lifecycleEvent('INITIAL_PURCHASE', monthly(-5, { environment: 'SANDBOX' }))],
      [
        subscription({
          environment: 'sandbox',
          startsAtMs: day(-5),
          periodStartsAtMs: day(-5),
          periodEndsAtMs: day(25),
          endsAtMs: day(25),
          grossUsd: 9.99,
        }),
      ],
      -6,
    ),
  no_purchases: ({ appUserId, anonymousId, day }) => {
    // Known to RevenueCat from an experiment only.
    return parts(
      [
        {
          type: 'EXPERIMENT_ENROLLMENT',
          id: randomUUID(),
          event_timestamp_ms: day(-3),
          app_user_id: appUserId,
          original_app_user_id: anonymousId,
          aliases: [anonymousId, appUserId],
          experiment_id: 'prexp1a2b3c',
          experiment_variant: 'b',
          offering_id: 'spring',
          experiment_enrolled_at_ms: day(-3),
        },
      ],
      [],
      -3,
    );
  },
  long_history: ({ day, monthly, renewal, subscription, later }) =>
    parts(
      [
        lifecycleEvent('INITIAL_PURCHASE', monthly(-402, { environment: 'SANDBOX', price: 0 })),
        lifecycleEvent('INITIAL_PURCHASE', monthly(-400)),
        ...Array.from({ length: 13 }, (_, index) => renewal(-370 + 30 * index, index + 1)),
        lifecycleEvent('CANCELLATION', later(monthly(-280, { price: 0 }), -275), {
          cancel_reason: 'UNSUBSCRIBE',
        }),
        lifecycleEvent('UNCANCELLATION', later(monthly(-280, { price: 0 }), -274)),
        lifecycleEvent('BILLING_ISSUE', later(monthly(-130, { price: 0 }), -100), {
          grace_period_expiration_at_ms: day(-94),
        }),
      ].sort((a, b) => Number(a.event_timestamp_ms) - Number(b.event_timestamp_ms)),
      [subscription({ startsAtMs: day(-400), grossUsd: 139.86 })],
      -405,
    ),
  google_monthly: ({ transaction, day, threeMonths, subscription }) => {
    const google = {
      store: 'PLAY_STORE',
      productId: 'pro_monthly:base',
      transactionId: `GPA.${transaction}`,
    };
    return parts(threeMonths(google), [
      subscription({
        product: google.productId,
        store: 'play_store',
        storeSubscriptionId: google.transactionId,
        periodEndsAtMs: day(20),
        managementUrl: 'https://play.google.com/store/account/subscriptions',
      }),
    ]);
  },
  web_monthly: ({ transaction, day, monthly, threeMonths, subscription }) => {
    const web = { store: 'RC_BILLING', productId: 'pro_monthly_web', transactionId: `rcb_${transaction}` };
    const pack = monthly(-5, {
      store: 'RC_BILLING',
      productId: 'credits_100',
      entitlements: [],
      transactionId: `rcbp_${transaction}`,
      price: 4.99,
      expirationAtMs: null,
    });
    return {
      ...parts(
        [...threeMonths(web), lifecycleEvent('NON_RENEWING_PURCHASE', pack)],
        [
          subscription({
            product: web.productId,
            store: 'rc_billing',
            storeSubscriptionId: web.transactionId,
            managementUrl: 'https://billing.revenuecat.com/manage',
          }),
        ],
      ),
      purchases: [
        {
          product: pack.productId,
          productName: '100 credits',
          store: 'rc_billing',
          storePurchaseId: pack.transactionId,
          purchasedAtMs: day(-5),
          grossUsd: 4.99,
        },
      ],
    };
  },
  stripe_monthly: ({ transaction, threeMonths, subscription }) => {
    const stripe = { store: 'STRIPE', productId: 'prod_ProMonthly', transactionId: `sub_${transaction}` };
    return parts(threeMonths(stripe), [
      subscription({
        product: stripe.productId,
        store: 'stripe',
        storeSubscriptionId: stripe.transactionId,
        managementUrl: null,
      }),
    ]);
  },
};

/** Realistic events of one customer, oldest first. Event ids are new on every call. */
export function purchaseStory(name: StoryName, options: StoryOptions): Story {
  const kit = createKit(options);
  const { events, subscriptions, purchases = [], firstSeenDays } = STORIES[name](kit);
  return {
    name,
    appUserId: options.appUserId,
    anonymousId: kit.anonymousId,
    email: options.email,
    firstSeenAtMs: kit.day(firstSeenDays),
    events,
    subscriptions,
    purchases,
  };
}

/** Puts a story's customer into a project, with the entitlements and products that it needs. */
export function customerFromStory(state: RevenueCatState, projectId: string, story: Story): Customer {
  const project = findProject(state, projectId);
  const customer = insertCustomer(project, story.firstSeenAtMs, {
    id: story.appUserId,
    aliases: [story.anonymousId],
    attributes: story.email === undefined ? {} : { $email: story.email },
    ...(story.subscriptions.some(({ store }) => store === 'play_store') && { platform: 'android' }),
  });
  for (const bought of story.subscriptions) {
    const { product, productName, duration, entitlements, ...rest } = bought;
    customer.subscriptions.push({
      ...rest,
      id: newId('sub'),
      customerId: customer.id,
      originalCustomerId: story.anonymousId,
      productId:
        product === null
          ? null
          : ensureProduct(project, story.firstSeenAtMs, {
              storeIdentifier: product,
              displayName: productName,
              duration,
            }).id,
      entitlementIds: entitlements.map(
        (key) =>
          ensureEntitlement(project, story.firstSeenAtMs, key, key[0]?.toUpperCase() + key.slice(1)).id,
      ),
    });
  }
  for (const bought of story.purchases) {
    const { product, productName, ...rest } = bought;
    customer.purchases.push({
      ...rest,
      id: newId('purch'),
      customerId: customer.id,
      productId: ensureProduct(project, story.firstSeenAtMs, {
        storeIdentifier: product,
        displayName: productName,
        type: 'consumable',
        duration: null,
      }).id,
      environment: 'production',
      status: 'owned',
      quantity: 1,
      entitlementIds: [],
      country: 'US',
    });
  }
  customer.events.push(...story.events);
  return customer;
}
