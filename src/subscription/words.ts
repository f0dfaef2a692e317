import type { EventKind } from './types.ts';

/** Kinds whose title needs nothing but the kind. */
export type PlainKind = Exclude<
  EventKind,
  'expiration' | 'transfer' | 'price_increase_consent' | 'paywall' | 'virtual_currency' | 'unknown'
>;

/** Why something was cancelled or ended. */
export const REASONS = [
  'UNSUBSCRIBE',
  'BILLING_ERROR',
  'DEVELOPER_INITIATED',
  'PRICE_INCREASE',
  'CUSTOMER_SUPPORT',
  'SUBSCRIPTION_PAUSED',
  'UNKNOWN',
] as const;

export type Reason = (typeof REASONS)[number];

/** Everything that a timeline says, in one language. Stores and products come as names, sums as text. */
export interface EventWords {
  /** BCP 47, for sums of money. */
  readonly locale: string;
  /** Between the parts of a subtitle. */
  readonly separator: string;
  readonly titles: Readonly<Record<PlainKind, string>>;
  readonly subscriptionEnded: string;
  readonly grantEnded: string;
  readonly transferReceived: string;
  readonly transferGiven: string;
  readonly priceIncreaseRequired: string;
  readonly priceIncreaseApproved: string;
  /** By the part of the type after `PAYWALL_`; `OTHER` for those that RevenueCat will add. */
  readonly paywall: Readonly<
    Record<'IMPRESSION' | 'CLOSE' | 'CANCEL' | 'EXIT_OFFER' | 'COMPONENT_INTERACTED' | 'OTHER', string>
  >;
  readonly currencyGained: string;
  readonly currencySpent: string;
  /** In place of a store's name where RevenueCat granted access. */
  readonly granted: string;
  readonly familySharing: string;
  /** `store` is `null` where the event does not name it. */
  reason(reason: Reason, store: string | null): string;
  /** From one plan to another; `from` is `null` where the event does not name it. */
  change(from: string | null, to: string): string;
  offer(code: string): string;
  variant(experiment: string | null, variant: string): string;
}

/** People say "the App Store", and "Google Play" without an article. */
function withArticle(store: string | null): string {
  if (store === null) return 'the store';
  return /store$/i.test(store) ? `the ${store}` : store;
}

export const englishEventWords: EventWords = {
  locale: 'en',
  separator: ' · ',
  titles: {
    initial_purchase: 'Subscribed',
    trial_started: 'Started a free trial',
    trial_converted: 'Free trial became a subscription',
    trial_cancelled: 'Cancelled the free trial',
    renewal: 'Renewed',
    cancellation: 'Cancelled',
    non_subscription_purchase: 'Made a purchase',
    billing_issue: 'Payment failed',
    product_change: 'Changed plan',
    refund: 'Refunded',
    refund_reversed: 'Refund reversed',
    uncancellation: 'Turned renewal back on',
    subscription_paused: 'Scheduled a pause',
    subscription_extended: 'Subscription extended',
    promotional_granted: 'Access granted',
    promotional_revoked: 'Grant removed',
    temporary_entitlement_grant: 'Temporary access',
    invoice_issued: 'Invoice issued',
    purchase_redeemed: 'Redeemed a web purchase',
    experiment_enrollment: 'Joined an experiment',
    subscriber_alias: 'Customer IDs linked',
    test: 'Test event',
  },
  subscriptionEnded: 'Subscription ended',
  grantEnded: 'Grant ended',
  transferReceived: 'Received purchases from another customer',
  transferGiven: 'Purchases moved to another customer',
  priceIncreaseRequired: 'Asked to agree to a price increase',
  priceIncreaseApproved: 'Agreed to a price increase',
  paywall: {
    IMPRESSION: 'Saw a paywall',
    CLOSE: 'Closed a paywall',
    CANCEL: 'Cancelled a purchase on a paywall',
    EXIT_OFFER: 'Saw an exit offer',
    COMPONENT_INTERACTED: 'Tapped on a paywall',
    OTHER: 'Paywall',
  },
  currencyGained: 'Received virtual currency',
  currencySpent: 'Spent virtual currency',
  granted: 'granted',
  familySharing: 'family sharing',
  reason(reason, store) {
    switch (reason) {
      case 'UNSUBSCRIBE':
        return 'turned off renewal';
      case 'BILLING_ERROR':
        return `${withArticle(store)} could not charge the card`;
      case 'CUSTOMER_SUPPORT':
        return `asked ${withArticle(store)} for a refund`;
      case 'DEVELOPER_INITIATED':
        return "ended by the app's team";
      case 'PRICE_INCREASE':
        return 'did not agree to the price increase';
      case 'SUBSCRIPTION_PAUSED':
        return 'paused';
      case 'UNKNOWN':
        return 'for an unknown reason';
    }
  },
  change: (from, to) => (from === null ? `to ${to}` : `from ${from} to ${to}`),
  offer: (code) => `offer ${code}`,
  variant: (experiment, variant) =>
    experiment === null ? `variant ${variant}` : `${experiment}, variant ${variant}`,
};
