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
  readonly labels: Readonly<Record<Label, string>>;
  readonly buttons: Readonly<Record<Button, string>>;
  readonly titles: Readonly<Record<Title, string>>;
  readonly states: Readonly<Record<State, string>>;
  readonly filters: Readonly<Record<TimelineFilter, string>>;
  readonly environments: Readonly<Record<EnvironmentFilter, string>>;
  readonly searchLabel: string;
  readonly searchPlaceholder: string;
  /** When something ends that has no end. */
  readonly forever: string;
  readonly yes: string;

  list(parts: readonly string[]): string;
  andMore(count: number): string;
  eventCount(count: number): string;
  linkedBy(name: string, on: string): string;

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
