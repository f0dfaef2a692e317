import type { Period } from '../../subscription/period.ts';
import type { SubscriptionStatus } from '../../subscription/types.ts';
import type { EventWords, Reason } from '../../subscription/words.ts';

/** Parts of the timeline that can be looked at alone. */
export const TIMELINE_FILTERS = ['all', 'purchases', 'endings', 'payments', 'grants', 'other'] as const;

export type TimelineFilter = (typeof TIMELINE_FILTERS)[number];

export const ENVIRONMENT_FILTERS = ['all', 'production', 'sandbox'] as const;

export type EnvironmentFilter = (typeof ENVIRONMENT_FILTERS)[number];

type Label =
  | 'product'
  | 'testPurchase'
  | 'access'
  | 'store'
  | 'renews'
  | 'ends'
  | 'ended'
  | 'resumes'
  | 'paid'
  | 'status'
  | 'price'
  | 'started'
  | 'renewals'
  | 'environment'
  | 'entitlement'
  | 'project'
  | 'appUserId'
  | 'otherIds'
  | 'email'
  | 'firstSeen'
  | 'lastSeen'
  | 'country'
  | 'platform'
  | 'appVersion'
  | 'lifetimeValue'
  | 'updated'
  | 'linkedBy'
  | 'reason'
  | 'newProduct'
  | 'periodType'
  | 'periodStart'
  | 'periodEnd'
  | 'graceEnds'
  | 'offer'
  | 'renewalNumber'
  | 'familySharing'
  | 'transaction'
  | 'originalTransaction'
  | 'from'
  | 'to'
  | 'type'
  | 'eventId'
  | 'delivery'
  | 'nextTry'
  | 'attempts'
  | 'hasNow';

type Button =
  | 'timeline'
  | 'grant'
  | 'grants'
  | 'details'
  | 'subscriptions'
  | 'refresh'
  | 'share'
  | 'back'
  | 'older'
  | 'newer'
  | 'search'
  | 'findAnother'
  | 'otherProject'
  | 'link'
  | 'look'
  | 'linkAgain'
  | 'unlink'
  | 'manage'
  | 'openRevenueCat'
  | 'settings'
  | 'install';

type Title =
  | 'timeline'
  | 'details'
  | 'subscriptions'
  | 'purchases'
  | 'attributes'
  | 'moreFields'
  | 'match'
  | 'review';

type State =
  | 'notInstalled'
  | 'disconnected'
  | 'notConnected'
  | 'keyRejected'
  | 'noKey'
  | 'noMatch'
  | 'lead'
  | 'noContact'
  | 'contactDeleted'
  | 'noPurchases'
  | 'purchasesOnly'
  | 'sandboxOnly'
  | 'severalProjects'
  | 'several'
  | 'possibleMatch'
  | 'foundOne'
  | 'foundMany'
  | 'nothingFound'
  | 'lookedUp'
  | 'mentioned'
  | 'emptySearch'
  | 'emptyTimeline'
  | 'emptyFilter'
  | 'linkExplained'
  | 'lookExplained'
  | 'slow'
  | 'tampered'
  | 'gone'
  | 'failed';

/** Names of the reasons for which a subscription has ended or ends, as they follow a colon. */
export type EndReason = Exclude<Reason, 'UNKNOWN'>;

/**
 * Everything that the card says, in one language; every language has every text, or it does not compile. Dates,
 * sums and names come as text. `null` stands for what is not known: the sentence is then made without it.
 */
export interface CardWords {
  /** BCP 47, for sums of money. */
  readonly locale: string;
  readonly clock: '12h' | '24h';
  /** A day and a time of day as one. */
  dateAtTime(date: string, time: string): string;
  readonly events: EventWords;
  readonly labels: Readonly<Record<Label, string>>;
  readonly buttons: Readonly<Record<Button, string>>;
  readonly titles: Readonly<Record<Title, string>>;
  readonly states: Readonly<Record<State, string>>;
  readonly statuses: Readonly<Record<SubscriptionStatus, string>>;
  readonly filters: Readonly<Record<TimelineFilter, string>>;
  readonly environments: Readonly<Record<EnvironmentFilter, string>>;
  readonly endReasons: Readonly<Record<EndReason, string>>;
  readonly searchLabel: string;
  readonly searchPlaceholder: string;
  /** When something ends that has no end. */
  readonly forever: string;
  readonly yes: string;

  /** `$9.99 a month`, `$9.99 every 3 months`. */
  price(sum: string, period: Period | null): string;
  /** `monthly`, `every 3 months`. */
  every(period: Period): string;
  list(parts: readonly string[]): string;
  andMore(count: number): string;
  eventCount(count: number): string;
  /** What was paid until now, and since when. */
  paidSince(sum: string, since: string | null): string;
  linkedBy(name: string, on: string): string;

  active(what: string, price: string | null, next: string | null): string;
  intro(what: string, price: string | null, next: string | null): string;
  trial(what: string, ends: string | null, price: string | null): string;
  trialCancelled(what: string, ends: string | null): string;
  cancelled(what: string, on: string | null, ends: string | null): string;
  /** Bought once; `ends` is `null` where it never ends. */
  bought(what: string, ends: string | null): string;
  familyShared(what: string, ends: string | null): string;
  temporary(what: string, ends: string | null): string;
  /** @param whoTries the company that charges: Apple */
  grace(failed: string, what: string, ends: string | null, whoTries: string): string;
  expired(since: string | null, reason: string | null, what: string, price: string | null): string;
  refunded(sum: string | null, on: string): string;
  granted(what: string, by: string | null, ends: string | null): string;
  /** @param hasPaid for something else, before or beside it */
  grantEnded(what: string, on: string | null, hasPaid: boolean): string;
  paused(since: string | null, resumes: string | null, sum: string | null): string;
  willPause(what: string, on: string | null, resumes: string | null): string;
  several(parts: readonly string[], sum: string | null, next: string | null): string;
  /** Beside subscriptions that go on. */
  paymentFailed(what: string, on: string): string;
  pendingChange(product: string): string;
  alsoGranted(what: string, ends: string | null): string;
  firstSeenOn(date: string): string;

  readonly delivery: {
    readonly pending: string;
    readonly waiting: string;
    delivered(name: string | null, on: string | null): string;
    failed(reason: string): string;
    retrying(reason: string): string;
    readonly switchedOff: string;
    readonly sandbox: string;
    readonly timelineOnly: string;
    /** A grant made here whose webhook has not come. */
    readonly madeHere: string;
    /** By failure code. */
    readonly reasons: Readonly<Record<DeliveryReason, string>>;
  };

  /** RevenueCat could not be asked; what is shown is of this moment. */
  storedData(asOf: string): string;
  readonly refreshing: string;
  readonly unknownToRevenueCat: string;
  replaces(appUserId: string): string;
  linked(appUserId: string): string;
  unlinked(appUserId: string): string;
  /** What the agent should know before promising something that only the store can do. */
  readonly appleNote: string;
  readonly googleNote: string;
}

/** Failure codes of Intercom that an event can wait or fail for. */
export const DELIVERY_REASONS = [
  'intercom_unauthorized',
  'intercom_scope_missing',
  'intercom_plan_restricted',
  'intercom_not_found',
  'intercom_contact_merged',
  'intercom_rate_limited',
  'intercom_rejected',
  'intercom_attribute_missing',
  'intercom_event_limit',
  'intercom_unavailable',
] as const;

export type DeliveryReason = (typeof DELIVERY_REASONS)[number];
