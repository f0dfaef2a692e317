import { randomUUID } from 'node:crypto';
import type { Customer, Project, Purchase, RevenueCatEvent, Subscription } from './state.ts';

/** What an event is about. The event's other fields are derived from these. */
export interface EventFacts {
  readonly appUserId: string;
  readonly originalAppUserId?: string;
  readonly aliases?: readonly string[];
  readonly email?: string | undefined;
  readonly appId?: string | undefined;
  readonly productId: string;
  readonly entitlements: readonly string[];
  readonly store: string;
  readonly environment: 'PRODUCTION' | 'SANDBOX';
  readonly periodType: 'TRIAL' | 'INTRO' | 'NORMAL' | 'PROMOTIONAL' | 'PREPAID';
  readonly purchasedAtMs: number;
  readonly expirationAtMs: number | null;
  readonly transactionId: string;
  readonly originalTransactionId?: string;
  readonly price: number;
  readonly currency: string;
  readonly atMs: number;
}

/** A webhook's `event` of the lifecycle kind. Source: RevenueCat, "Webhooks: event types and fields". */
export function lifecycleEvent(
  type: string,
  facts: EventFacts,
  extra: Record<string, unknown> = {},
): RevenueCatEvent {
  return {
    type,
    id: randomUUID(),
    app_id: facts.appId ?? 'app1a2b3c4d5e',
    event_timestamp_ms: facts.atMs,
    product_id: facts.productId,
    period_type: facts.periodType,
    purchased_at_ms: facts.purchasedAtMs,
    expiration_at_ms: facts.expirationAtMs,
    environment: facts.environment,
    entitlement_id: null,
    entitlement_ids: facts.entitlements.length > 0 ? [...facts.entitlements] : null,
    presented_offering_id: null,
    transaction_id: facts.transactionId,
    original_transaction_id: facts.originalTransactionId ?? facts.transactionId,
    is_family_share: false,
    country_code: 'US',
    app_user_id: facts.appUserId,
    aliases: [...(facts.aliases ?? [facts.appUserId])],
    original_app_user_id: facts.originalAppUserId ?? facts.appUserId,
    currency: facts.currency,
    price: facts.price,
    price_in_purchased_currency: facts.price,
    subscriber_attributes:
      facts.email === undefined ? {} : { $email: { value: facts.email, updated_at_ms: facts.purchasedAtMs } },
    store: facts.store,
    takehome_percentage: 0.85,
    tax_percentage: 0,
    commission_percentage: 0.15,
    offer_code: null,
    ...extra,
  };
}

/** A grant's event: always production, without `app_id`. Source: RevenueCat, "Granted entitlements". */
export function promotionalEvent(
  type: 'NON_RENEWING_PURCHASE' | 'CANCELLATION' | 'EXPIRATION',
  grant: {
    lookupKey: string;
    transactionId: string;
    appUserId: string;
    originalAppUserId: string;
    aliases: readonly string[];
    startsAtMs: number;
    endsAtMs: number | null;
    atMs: number;
  },
): RevenueCatEvent {
  const event = lifecycleEvent(
    type,
    {
      ...grant,
      productId: `rc_promo_${grant.lookupKey}_custom`,
      entitlements: [grant.lookupKey],
      store: 'PROMOTIONAL',
      environment: 'PRODUCTION',
      periodType: 'PROMOTIONAL',
      purchasedAtMs: grant.startsAtMs,
      expirationAtMs: grant.endsAtMs,
      price: 0,
      currency: 'USD',
    },
    type === 'CANCELLATION'
      ? { cancel_reason: 'DEVELOPER_INITIATED' }
      : type === 'EXPIRATION'
        ? { expiration_reason: 'DEVELOPER_INITIATED' }
        : {},
  );
  const { app_id: _appId, ...rest } = event;
  return { ...rest, type };
}

/** A subscription, or a one-time purchase in the form of one. */
type Bought = Pick<
  Subscription,
  | 'id'
  | 'productId'
  | 'store'
  | 'environment'
  | 'entitlementIds'
  | 'periodStartsAtMs'
  | 'periodEndsAtMs'
  | 'storeSubscriptionId'
>;

/** An event about something that a customer bought, as it is now; `price` is 0 unless it is given. */
export function purchaseEvent(
  project: Project,
  customer: Customer,
  about: {
    readonly bought: Bought;
    readonly type: string;
    readonly atMs: number;
    readonly price?: number;
    readonly extra?: Record<string, unknown>;
  },
): RevenueCatEvent {
  const { bought, type, atMs, price = 0 } = about;
  const original = bought.storeSubscriptionId ?? bought.id;
  const last = customer.events.findLast((event) => event.original_transaction_id === original);
  return lifecycleEvent(
    type,
    {
      appUserId: customer.id,
      originalAppUserId: originalIdOf(customer),
      aliases: customer.aliases,
      email: customer.attributes.get('$email')?.value,
      appId: project.appId,
      productId: project.products.find(({ id }) => id === bought.productId)?.storeIdentifier ?? 'unknown',
      entitlements: project.entitlements
        .filter(({ id }) => bought.entitlementIds.includes(id))
        .map(({ lookupKey }) => lookupKey),
      store: bought.store.toUpperCase(),
      environment: bought.environment === 'sandbox' ? 'SANDBOX' : 'PRODUCTION',
      periodType: 'NORMAL',
      purchasedAtMs: bought.periodStartsAtMs,
      expirationAtMs: bought.periodEndsAtMs,
      transactionId: String(last?.transaction_id ?? original),
      originalTransactionId: original,
      price,
      currency: 'USD',
      atMs,
    },
    // Keeps the period type of the last event: the end of a trial is an event of the trial.
    { ...(last ? { period_type: last.period_type } : {}), ...about.extra },
  );
}

/** The anonymous id under which the app first knew the customer, if there was one. */
export function originalIdOf({ id, aliases }: Customer): string {
  return aliases.find((alias) => alias.startsWith('$RCAnonymousID:')) ?? id;
}

/** Has no app user ID; app and store are those of `first`. Source: RevenueCat, "Webhooks: event types and fields". */
export function transferEvent(
  project: Project,
  transfer: {
    readonly from: Customer;
    readonly to: Customer;
    readonly first: Subscription | Purchase;
    readonly atMs: number;
  },
): RevenueCatEvent {
  return {
    type: 'TRANSFER',
    id: randomUUID(),
    app_id: project.products.find(({ id }) => id === transfer.first.productId)?.appId ?? project.appId,
    store: transfer.first.store.toUpperCase(),
    environment: transfer.first.environment.toUpperCase(),
    event_timestamp_ms: transfer.atMs,
    transferred_from: [...transfer.from.aliases],
    transferred_to: [...transfer.to.aliases],
  };
}
