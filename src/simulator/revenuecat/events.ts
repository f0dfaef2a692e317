import { randomUUID } from 'node:crypto';
import type { RevenueCatEvent } from './state.ts';

/** What an event is about; the rest of its fields follow. */
export interface EventFacts {
  readonly appUserId: string;
  readonly originalAppUserId?: string;
  readonly aliases?: readonly string[];
  readonly email?: string | undefined;
  readonly appId?: string;
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
