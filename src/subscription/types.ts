import type { EventKind } from './kinds.ts';

/**
 * The vocabulary of the subscription domain. Times are UTC epoch milliseconds, money is integer minor
 * units of its currency; `null` means that the platform did not say.
 */

export type Environment = 'production' | 'sandbox';

/** A sum in the minor units of an ISO 4217 currency (JPY 500 is `{500, "JPY"}`, $9.99 `{999, "USD"}`); negative for refunds. */
export interface Money {
  readonly amountMinor: number;
  readonly currency: string;
}

/** The values of RevenueCat's `subscription_status` attribute. */
export const SUBSCRIPTION_STATUSES = [
  'active',
  'intro',
  'cancelled',
  'grace_period',
  'trial',
  'cancelled_trial',
  'grace_period_trial',
  'expired',
  'promotional',
  'expired_promotional',
  'paused',
] as const;

export type SubscriptionStatus = (typeof SUBSCRIPTION_STATUSES)[number];

/** One subscription, one-time purchase with an entitlement, or grant at one time. */
export interface SubscriptionState {
  /** Stable within a subscriber: the store's original transaction, else product and store. */
  readonly key: string;
  readonly productId: string | null;
  readonly productName: string | null;
  readonly store: string | null;
  readonly environment: Environment;
  readonly periodType: string | null;
  readonly entitlements: readonly string[];
  readonly startedAtMs: number | null;
  /** When the period paid for began. */
  readonly periodStartedAtMs: number | null;
  /** When it renews or ends; `null`: never (lifetime). */
  readonly endsAtMs: number | null;
  /** How long the period paid for is as it was bought, whether or not it was extended or ended early. */
  readonly periodLengthMs: number | null;
  readonly willRenew: boolean;
  /** Price of one period where known, never negative; `null` or zero during a trial unless known. */
  readonly price: Money | null;
  /** Whether the price is that of an offer code or of a part of a period, and the next period's another. */
  readonly isOfferPrice: boolean;
  readonly cancelledAtMs: number | null;
  readonly cancelReason: string | null;
  readonly expirationReason: string | null;
  readonly billingIssueAtMs: number | null;
  readonly gracePeriodEndsAtMs: number | null;
  readonly pausedAtMs: number | null;
  readonly resumesAtMs: number | null;
  readonly pendingProductId: string | null;
  readonly refundedAtMs: number | null;
  /** Whether the refund left a part of the charge. */
  readonly isRefundedInPart: boolean;
  readonly renewals: number;
  /** Everything paid, by currency, refunds subtracted. */
  readonly paid: readonly Money[];
  readonly isFamilyShare: boolean;
  /** Bought once: a pass for some time, or for life. */
  readonly isOneTime: boolean;
  /** Given while the store could not confirm the purchase, for a day at most. */
  readonly isTemporary: boolean;
  /** The first payment has not completed; there was never any access. */
  readonly isIncomplete: boolean;
  /** Ends with the period unless the customer agrees to a price increase. */
  readonly awaitsPriceConsent: boolean;
  /** The customer agreed to pay more from the next period on. How much is not known. */
  readonly isPriceRising: boolean;
  readonly managementUrl: string | null;
  readonly transactionId: string | null;

  // Derived from the fields above.
  readonly status: SubscriptionStatus;
  readonly givesAccess: boolean;
  /** When access ends or ended, grace period included; `null`: never. */
  readonly accessEndsAtMs: number | null;
  /** Whether that is a date to name, and not just when RevenueCat's API showed that access had ended or still lasts. */
  readonly isEndKnown: boolean;
  /** `null`: it has not, or at a time that is not known. */
  readonly expiredAtMs: number | null;
  /** Positive. */
  readonly refund: Money | null;
  /** What was paid last, without the parts given back, positive; `null`: nothing, or unknown. */
  readonly lastPayment: Money | null;
}

export interface EntitlementState {
  readonly lookupKey: string;
  /** The latest end of all that gives it; `null`: never ends. */
  readonly endsAtMs: number | null;
}

export interface SubscriberState {
  /** Of production; `null`: never bought anything and was never granted anything. */
  readonly status: SubscriptionStatus | null;
  /** The one that `status` and the contact's attributes describe. */
  readonly primary: SubscriptionState | null;
  /** Paid subscriptions and purchases of production: those that give access first, then the latest. */
  readonly subscriptions: readonly SubscriptionState[];
  /** Promotional grants of production, in the same order. */
  readonly grants: readonly SubscriptionState[];
  /** One-time purchases without an entitlement, of both environments, newest first; at most ten. */
  readonly consumables: readonly SubscriptionState[];
  /** Everything of the sandbox that gives an entitlement. */
  readonly sandbox: readonly SubscriptionState[];
  /** Active ones of production, by lookup key. */
  readonly entitlements: readonly EntitlementState[];
  /** `null`: of what was bought no price is known. */
  readonly lifetimeValueUsdCents: number | null;
  readonly paid: readonly Money[];
  /** First purchase or trial of the customer's own, a family share excluded. */
  readonly firstPurchaseAtMs: number | null;
  readonly firstPaidAtMs: number | null;
  /** The transfer that took purchases away to another customer and was not undone since. */
  readonly movedTo: {
    readonly atMs: number;
    /** `null`: purchases of every store. */
    readonly store: string | null;
    readonly appUserIds: readonly string[];
  } | null;
  /** The last transfer that brought purchases, unless RevenueCat's API was read since. */
  readonly receivedAtMs: number | null;
  readonly trialEndsAtMs: number | null;
  readonly billingIssueAtMs: number | null;
  /** Identified ids that the latest events named, the last seen first. */
  readonly seenAs: readonly string[];
  readonly lastEvent: { readonly kind: EventKind; readonly type: string; readonly atMs: number } | null;
  /** When RevenueCat's API was last read; `null`: the state rests on events alone. */
  readonly snapshotAtMs: number | null;
}

/** What RevenueCat's v2 API says of subscriptions and one-time purchases alike. */
interface SnapshotItem {
  readonly id: string;
  readonly productId: string | null;
  readonly productName: string | null;
  /** Upper case, as in webhooks. */
  readonly store: string | null;
  readonly environment: Environment;
  /** `trialing`, `active`, `expired`, `in_grace_period`, … of a subscription; `owned` or `refunded` of a purchase. */
  readonly status: string;
  readonly entitlements: readonly string[];
  readonly revenueUsdCents: number;
  readonly isFamilyShare: boolean;
}

export interface SnapshotSubscription extends SnapshotItem {
  readonly autoRenewalStatus: string | null;
  readonly givesAccess: boolean;
  readonly startsAtMs: number | null;
  readonly periodStartsAtMs: number | null;
  readonly periodEndsAtMs: number | null;
  readonly endsAtMs: number | null;
  readonly storeSubscriptionId: string | null;
  readonly managementUrl: string | null;
  readonly pendingProductId: string | null;
}

export interface SnapshotPurchase extends SnapshotItem {
  readonly purchasedAtMs: number;
  readonly storePurchaseId: string | null;
}

/** One customer as RevenueCat's v2 API lists them. */
export interface Snapshot {
  readonly takenAtMs: number;
  readonly customerId: string;
  readonly firstSeenAtMs: number | null;
  readonly lastSeenAtMs: number | null;
  readonly country: string | null;
  readonly platform: string | null;
  readonly platformVersion: string | null;
  readonly appVersion: string | null;
  readonly aliases: readonly string[];
  readonly attributes: Readonly<Record<string, string>>;
  readonly activeEntitlements: readonly EntitlementState[];
  readonly subscriptions: readonly SnapshotSubscription[];
  readonly purchases: readonly SnapshotPurchase[];
}
