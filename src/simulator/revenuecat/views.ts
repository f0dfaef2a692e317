import {
  type Customer,
  givesAccess,
  type Project,
  type Purchase,
  type Subscription,
  storeIdsOf,
} from './state.ts';

const BASE = 'https://api.revenuecat.com/v2';

const revenue = (gross: number): Record<string, unknown> => {
  const round = (value: number): number => Math.round(value * 100) / 100;
  const commission = round(gross * 0.15);
  return { currency: 'USD', gross, commission, tax: 0, proceeds: round(gross - commission) };
};

const whole = (items: unknown[], path: string): Record<string, unknown> => ({
  object: 'list',
  items,
  next_page: null,
  url: `${BASE}${path}`,
});

export function entitlementView(
  project: Project,
  entitlement: Project['entitlements'][number],
): Record<string, unknown> {
  return {
    object: 'entitlement',
    id: entitlement.id,
    project_id: project.id,
    lookup_key: entitlement.lookupKey,
    display_name: entitlement.displayName,
    created_at: entitlement.createdAtMs,
    state: entitlement.state,
  };
}

export function productView(product: Project['products'][number]): Record<string, unknown> {
  const { duration } = product;
  return {
    object: 'product',
    id: product.id,
    store_identifier: product.storeIdentifier,
    type: product.type,
    subscription:
      product.type === 'subscription'
        ? { duration, grace_period_duration: null, trial_duration: null }
        : null,
    one_time: null,
    created_at: product.createdAtMs,
    app_id: product.appId,
    display_name: product.displayName,
    state: 'active',
  };
}

export function customerView(project: Project, customer: Customer): Record<string, unknown> {
  return {
    object: 'customer',
    id: customer.id,
    project_id: project.id,
    first_seen_at: customer.firstSeenAtMs,
    last_seen_at: customer.lastSeenAtMs,
    last_seen_app_version: customer.appVersion,
    last_seen_country: customer.country,
    last_seen_platform: customer.platform,
    last_seen_platform_version: null,
    experiment: null,
  };
}

export interface ActiveEntitlement {
  /** The entitlement's ID. */
  readonly id: string;
  readonly expiresAtMs: number | null;
}

/** Active entitlements, each with the latest end of everything that gives it; `null`: it never ends. */
export function activeEntitlements(customer: Customer, nowMs: number): ActiveEntitlement[] {
  const ends = new Map<string, number | null>();
  const note = (entitlementId: string, end: number | null): void => {
    const latest = ends.get(entitlementId);
    if (latest === undefined) ends.set(entitlementId, end);
    else if (latest !== null) ends.set(entitlementId, end === null ? null : Math.max(latest, end));
  };
  for (const subscription of customer.subscriptions) {
    if (!givesAccess(subscription, nowMs)) continue;
    for (const id of subscription.entitlementIds)
      note(id, subscription.endsAtMs ?? subscription.periodEndsAtMs);
  }
  for (const purchase of customer.purchases) {
    if (purchase.status === 'owned') for (const id of purchase.entitlementIds) note(id, null);
  }
  return [...ends].map(([id, expiresAtMs]) => ({ id, expiresAtMs }));
}

export function activeView(active: ActiveEntitlement): Record<string, unknown> {
  return {
    object: 'customer.active_entitlement',
    entitlement_id: active.id,
    expires_at: active.expiresAtMs,
  };
}

/** The response for a single customer. Lists of customers do not have their entitlements. */
export function fullCustomerView(
  project: Project,
  customer: Customer,
  nowMs: number,
  withAttributes: boolean,
): Record<string, unknown> {
  const path = `/projects/${project.id}/customers/${encodeURIComponent(customer.id)}`;
  return {
    ...customerView(project, customer),
    active_entitlements: whole(
      activeEntitlements(customer, nowMs).map(activeView),
      `${path}/active_entitlements`,
    ),
    ...(withAttributes ? { attributes: whole(attributeViews(customer), `${path}/attributes`) } : {}),
  };
}

function attributeViews(customer: Customer): Record<string, unknown>[] {
  return [...customer.attributes].map(([name, { value, updatedAtMs }]) => ({
    object: 'customer.attribute',
    name,
    value,
    updated_at: updatedAtMs,
  }));
}

const entitlementsOf = (project: Project, ids: readonly string[], path: string): Record<string, unknown> =>
  whole(
    project.entitlements.filter(({ id }) => ids.includes(id)).map((each) => entitlementView(project, each)),
    `/projects/${project.id}/${path}/entitlements`,
  );

const NAMED_BY_LATEST = new Set(['app_store', 'mac_app_store', 'play_store']);

export function subscriptionView(
  project: Project,
  subscription: Subscription,
  nowMs: number,
): Record<string, unknown> {
  const access = givesAccess(subscription, nowMs);
  const pending = project.products.find(({ id }) => id === subscription.pendingProductId);
  return {
    object: 'subscription',
    id: subscription.id,
    customer_id: subscription.customerId,
    original_customer_id: subscription.originalCustomerId,
    product_id: subscription.productId,
    starts_at: subscription.startsAtMs,
    current_period_starts_at: subscription.periodStartsAtMs,
    current_period_ends_at: subscription.periodEndsAtMs,
    // While a payment is retried, access outlasts the period, but `ends_at` is the period's end (v2 description).
    ends_at: subscription.status === 'in_grace_period' ? subscription.periodEndsAtMs : subscription.endsAtMs,
    gives_access: access,
    pending_payment: false,
    auto_renewal_status: subscription.autoRenewalStatus,
    status: subscription.givesAccess && !access ? 'expired' : subscription.status,
    total_revenue_in_usd: revenue(subscription.grossUsd),
    presented_offering_id: null,
    entitlements: entitlementsOf(project, subscription.entitlementIds, `subscriptions/${subscription.id}`),
    environment: subscription.environment,
    store: subscription.store,
    // Apple's and Google's identifier is that of the latest charge.
    store_subscription_identifier: NAMED_BY_LATEST.has(subscription.store)
      ? storeIdsOf(project, subscription).at(-1)
      : subscription.storeSubscriptionId,
    ownership: 'purchased',
    pending_changes:
      subscription.autoRenewalStatus === 'will_change_product' && pending
        ? { product: productView(pending) }
        : null,
    country: subscription.country,
    management_url: subscription.managementUrl,
  };
}

export function purchaseView(project: Project, purchase: Purchase): Record<string, unknown> {
  return {
    object: 'purchase',
    id: purchase.id,
    customer_id: purchase.customerId,
    original_customer_id: purchase.originalCustomerId ?? purchase.customerId,
    product_id: purchase.productId,
    purchased_at: purchase.purchasedAtMs,
    revenue_in_usd: revenue(purchase.grossUsd),
    quantity: purchase.quantity,
    status: purchase.status,
    presented_offering_id: null,
    entitlements: entitlementsOf(project, purchase.entitlementIds, `purchases/${purchase.id}`),
    environment: purchase.environment,
    store: purchase.store,
    store_purchase_identifier: purchase.storePurchaseId,
    ownership: 'purchased',
    country: purchase.country,
  };
}
