import { randomBytes } from 'node:crypto';

export type RevenueCatEvent = Record<string, unknown> & { readonly type: string };

export interface Entitlement {
  readonly id: string;
  readonly lookupKey: string;
  readonly displayName: string;
  readonly createdAtMs: number;
  state: 'active' | 'inactive';
}

export interface Product {
  readonly id: string;
  readonly storeIdentifier: string;
  readonly displayName: string | null;
  readonly type: 'subscription' | 'one_time' | 'consumable' | 'non_consumable' | 'non_renewing_subscription';
  /** ISO 8601, such as `P1M`. */
  readonly duration: string | null;
  readonly appId: string;
  readonly createdAtMs: number;
}

export interface Subscription {
  readonly id: string;
  customerId: string;
  originalCustomerId: string;
  /** `null` for grants. */
  productId: string | null;
  readonly store: string;
  readonly environment: 'production' | 'sandbox';
  status: string;
  autoRenewalStatus: string;
  givesAccess: boolean;
  readonly startsAtMs: number;
  periodStartsAtMs: number;
  periodEndsAtMs: number | null;
  endsAtMs: number | null;
  readonly entitlementIds: readonly string[];
  /** The store's ID of the first charge, which events have as `original_transaction_id`. */
  readonly storeSubscriptionId: string | null;
  /** Counts only while `autoRenewalStatus` is `will_change_product`. */
  pendingProductId?: string;
  grossUsd: number;
  readonly country: string | null;
  readonly managementUrl: string | null;
}

export interface Purchase {
  readonly id: string;
  customerId: string;
  /** Set once the purchase was transferred. */
  originalCustomerId?: string;
  readonly productId: string;
  readonly store: string;
  readonly environment: 'production' | 'sandbox';
  readonly purchasedAtMs: number;
  status: 'owned' | 'refunded';
  readonly quantity: number;
  readonly entitlementIds: readonly string[];
  readonly storePurchaseId: string;
  readonly grossUsd: number;
  readonly country: string | null;
}

export interface Customer {
  readonly id: string;
  readonly aliases: string[];
  readonly attributes: Map<string, { value: string; updatedAtMs: number }>;
  readonly firstSeenAtMs: number;
  lastSeenAtMs: number | null;
  readonly platform: string | null;
  readonly country: string | null;
  readonly appVersion: string | null;
  readonly subscriptions: Subscription[];
  readonly purchases: Purchase[];
  readonly events: RevenueCatEvent[];
}

export interface Webhook {
  readonly id: string;
  readonly name: string;
  url: string;
  /** Sent unchanged; never returned by the API. */
  readonly authorizationHeader: string | null;
  readonly environment: 'production' | 'sandbox' | null;
  readonly createdAtMs: number;
  /** Only the dashboard can set it. */
  signingSecret: string | null;
  /** `status` is `null` when there was no response. */
  lastDelivery: { readonly type: string; readonly status: number | null; readonly atMs: number } | null;
}

export interface Project {
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly appId: string;
  readonly entitlements: Entitlement[];
  readonly products: Product[];
  readonly customers: Map<string, Customer>;
  /** Every alias, the customer's own id included. */
  readonly aliases: Map<string, Customer>;
  readonly webhooks: Webhook[];
}

/** One charge of a subscription. */
export interface Transaction {
  readonly id: string;
  readonly purchasedAtMs: number;
  readonly expiresAtMs: number | null;
  isRefunded: boolean;
}

export type RevenueCatState = ReturnType<typeof createState>;

export const newId = (prefix: string): string => `${prefix}${randomBytes(8).toString('hex')}`;

export function createState() {
  return {
    projects: new Map<string, Project>(),
    keys: new Map<
      string,
      { projectId: string; scopes: readonly string[]; status: 'valid' | 'expired' | 'revoked' }
    >(),
    /** Requests that must not be made, such as v1's get-or-create. */
    violations: [] as string[],
    /** Every requested grant, whatever its result, oldest first. */
    grantRequests: [] as { customerId: string; entitlementId: string; atMs: number }[],
    /** Every store action that was requested, whatever the result, oldest first. */
    actionRequests: [] as { kind: string; id: string; atMs: number }[],
    /** By subscription; only of subscriptions whose transactions were requested. */
    transactions: new Map<string, Transaction[]>(),
    appleExtensions: [] as { customerId: string; atMs: number }[],
    /** The events endpoint is in beta; `false`: it answers 404. */
    customerEventsEnabled: true,
    /** What "unless one already exists" does is not documented (UNVERIFIED); all three readings can be tried. */
    existingGrant: 'ignore' as 'ignore' | 'conflict409' | 'second',
    /**
     * By customer ID: how long after the request a grant is made and answered, ms, even if the client has hung up. If
     * the answer comes first, the client cannot read the grant yet.
     */
    grantTimings: new Map<string, { readonly madeAfterMs: number; readonly answeredAfterMs: number }>(),
    /** How long after a grant or revocation its webhook is sent; `null`: only by `flushWebhooks()`. */
    grantWebhookDelayMs: 1_000 as number | null,
    // Source: RevenueCat API v2, "Rate limits".
    limitsPerMinute: { customer: 480, configuration: 60 },
  };
}

export function findProject(state: RevenueCatState, projectId: string): Project {
  const project = state.projects.get(projectId);
  if (!project) throw new Error(`Unknown project ${projectId}`);
  return project;
}

/** A subscription whose end has passed gives no access, even if its stored status is older. */
export function givesAccess(subscription: Subscription, nowMs: number): boolean {
  return subscription.givesAccess && (subscription.endsAtMs === null || subscription.endsAtMs > nowMs);
}

/** The events of a subscription's charges, oldest first. */
export function paymentsOf(project: Project, subscription: Subscription): RevenueCatEvent[] {
  const owners = new Set(
    [subscription.originalCustomerId, subscription.customerId].map((id) => project.aliases.get(id)),
  );
  return [...owners]
    .flatMap((owner) => owner?.events ?? [])
    .filter(
      ({ type, original_transaction_id: original, environment }) =>
        (type === 'INITIAL_PURCHASE' || type === 'RENEWAL') &&
        original === subscription.storeSubscriptionId &&
        environment === subscription.environment.toUpperCase(),
    );
}

/** The store's IDs of a subscription, including those of past periods. */
export const storeIdsOf = (project: Project, subscription: Subscription): unknown[] => [
  subscription.storeSubscriptionId,
  ...paymentsOf(project, subscription).map(({ transaction_id: id }) => id),
];

export function insertCustomer(
  project: Project,
  nowMs: number,
  fields: {
    id: string;
    aliases?: readonly string[];
    attributes?: Readonly<Record<string, string>>;
  } & Partial<Pick<Customer, 'firstSeenAtMs' | 'lastSeenAtMs' | 'platform' | 'country' | 'appVersion'>>,
): Customer {
  const { id, aliases = [], attributes = {}, ...rest } = fields;
  const customer: Customer = {
    firstSeenAtMs: nowMs,
    lastSeenAtMs: nowMs,
    platform: 'iOS',
    country: 'US',
    appVersion: '1.0',
    ...rest,
    id,
    aliases: [...new Set([id, ...aliases])],
    attributes: new Map(
      Object.entries(attributes).map(([name, value]) => [name, { value, updatedAtMs: nowMs }]),
    ),
    subscriptions: [],
    purchases: [],
    events: [],
  };
  project.customers.set(id, customer);
  for (const alias of customer.aliases) project.aliases.set(alias, customer);
  return customer;
}

export function insertWebhook(
  project: Project,
  nowMs: number,
  fields: Pick<Webhook, 'url'> & Partial<Pick<Webhook, 'name' | 'authorizationHeader' | 'signingSecret'>>,
): Webhook {
  const webhook: Webhook = {
    name: 'Webhook',
    authorizationHeader: null,
    signingSecret: null,
    ...fields,
    id: newId('whintgr'),
    environment: null,
    createdAtMs: nowMs,
    lastDelivery: null,
  };
  project.webhooks.push(webhook);
  return webhook;
}

/** The catalog's entry with this key, created when it is missing. */
export function ensureEntitlement(
  project: Project,
  nowMs: number,
  lookupKey: string,
  displayName?: string,
): Entitlement {
  const existing = project.entitlements.find((each) => each.lookupKey === lookupKey);
  if (existing) return existing;
  const entitlement = {
    id: newId('entl'),
    lookupKey,
    displayName: displayName ?? lookupKey,
    createdAtMs: nowMs,
    state: 'active' as const,
  };
  project.entitlements.push(entitlement);
  return entitlement;
}

export function ensureProduct(
  project: Project,
  nowMs: number,
  fields: Pick<Product, 'storeIdentifier'> & Partial<Product>,
): Product {
  const existing = project.products.find((each) => each.storeIdentifier === fields.storeIdentifier);
  if (existing) return existing;
  const product: Product = {
    displayName: null,
    type: 'subscription',
    duration: 'P1M',
    appId: project.appId,
    createdAtMs: nowMs,
    id: newId('prod'),
    ...fields,
  };
  project.products.push(product);
  return product;
}

export function endSubscription(subscription: Subscription, nowMs: number): void {
  Object.assign(subscription, {
    status: 'expired',
    autoRenewalStatus: 'will_not_renew',
    givesAccess: false,
    periodEndsAtMs: nowMs,
    endsAtMs: nowMs,
  });
}
