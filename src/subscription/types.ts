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

/** The state of one subscription, one-time purchase or grant at one point in time. */
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
  /** When the latest period, paid or free trial, began. */
  readonly periodStartedAtMs: number | null;
  /** When it renews or ends; `null`: never (lifetime). */
  readonly endsAtMs: number | null;
  /** Length of the latest period as it was bought, ignoring extensions and early ends. */
  readonly periodLengthMs: number | null;
  readonly willRenew: boolean;
  /** Price of one period where known, never negative; `null` or zero during a trial unless known. */
  readonly price: Money | null;
  /** Whether the price is special to this period (an offer, a discount, a part of a period), so the next may differ. */
  readonly isOnePeriodPrice: boolean;
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
  /** Bought once, such as a pass for a limited time or for life. */
  readonly isOneTime: boolean;
  /** Granted for at most a day, while the store cannot confirm the purchase. */
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
  /** Whether `accessEndsAtMs` is a date to show, not just a time derived from when RevenueCat's API was read. */
  readonly isEndKnown: boolean;
  /** `null`: access has not ended, or it ended at an unknown time. */
  readonly expiredAtMs: number | null;
  /** Positive. */
  readonly refund: Money | null;
  /** The last payment minus partial refunds, positive; `null`: nothing was paid, or unknown. */
  readonly lastPayment: Money | null;
}

export interface EntitlementState {
  readonly lookupKey: string;
  /** The latest end among everything that gives the entitlement; `null`: never ends. */
  readonly endsAtMs: number | null;
}

export interface SubscriberState {
  /** Production only; `null`: the customer never bought anything and was never granted anything. */
  readonly status: SubscriptionStatus | null;
  /** The subscription or grant that `status` and the contact's attributes describe. */
  readonly primary: SubscriptionState | null;
  /** Paid subscriptions and purchases of production: those that give access first, then the latest. */
  readonly subscriptions: readonly SubscriptionState[];
  /** Promotional grants of production, in the same order. */
  readonly grants: readonly SubscriptionState[];
  /** One-time purchases without an entitlement, of both environments, newest first; at most ten. */
  readonly consumables: readonly SubscriptionState[];
  /** Everything in the sandbox except `consumables`. */
  readonly sandbox: readonly SubscriptionState[];
  /** Active production entitlements, sorted by lookup key. */
  readonly entitlements: readonly EntitlementState[];
  /** `null`: something was bought, but no price is known. */
  readonly lifetimeValueUsdCents: number | null;
  readonly paid: readonly Money[];
  /** The customer's own first purchase or trial; family shares are excluded. */
  readonly firstPurchaseAtMs: number | null;
  readonly firstPaidAtMs: number | null;
  /** The last transfer that moved purchases to another customer and was not undone. */
  readonly movedTo: {
    readonly atMs: number;
    /** `null`: purchases from every store moved. */
    readonly store: string | null;
    readonly appUserIds: readonly string[];
  } | null;
  /** When a transfer last brought purchases; `null`: never, or RevenueCat's API was read since. */
  readonly receivedByTransferAtMs: number | null;
  readonly trialEndsAtMs: number | null;
  readonly billingIssueAtMs: number | null;
  /** Identified ids that the latest events named, most recent first. */
  readonly seenAs: readonly string[];
  readonly lastEvent: { readonly kind: EventKind; readonly type: string; readonly atMs: number } | null;
  /** When RevenueCat's API was last read; `null`: the state is derived from events alone. */
  readonly snapshotAtMs: number | null;
}

/** Fields that RevenueCat's v2 API returns for both subscriptions and one-time purchases. */
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

/** One customer as returned by RevenueCat's v2 API. */
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
