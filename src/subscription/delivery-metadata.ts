import { cut } from '../text.ts';
import type { LifecycleEvent } from './types.ts';

/** Source: Intercom, "Track events" and "Custom data attributes": texts have at most 255 characters. */
export const MAX_TEXT_LENGTH = 255;

export function fitText<T>(value: T): T | string {
  return typeof value === 'string' ? cut(value, MAX_TEXT_LENGTH) : value;
}

const ISO_CURRENCY = /^[A-Z]{3}$/;

/**
 * Metadata of a data event: at most ten flat keys in this order, because Intercom keeps the first ten it is
 * sent. Values are written as RevenueCat's own integration writes them, so that existing filters match;
 * `expires_date` repeats `expires_at` (Unix s) under a name that Intercom treats as a date.
 *
 * A price is `{amount, currency}` in minor units and must be a positive integer: a refund's is its absolute
 * value, and nothing is sent for a free trial. How Intercom shows currencies without decimals is UNVERIFIED;
 * the amount is in minor units of its currency in any case. Intercom takes ISO codes only,
 * and a sum in it is left out rather than have it refuse the event.
 */
export function eventMetadata(event: LifecycleEvent): Record<string, unknown> {
  const expiresAtS = event.expiresAtMs === null ? null : Math.floor(event.expiresAtMs / 1_000);
  const amount = Math.abs(event.price?.amountMinor ?? 0);
  const hasPrice = amount > 0 && ISO_CURRENCY.test(event.price?.currency ?? '');
  const wanted: [string, unknown][] = [
    ['product_identifier', event.productId],
    ['entitlement', event.entitlements[0] ?? null],
    ['store', event.store],
    ['expires_at', expiresAtS],
    ['environment', event.environment],
    event.type === 'EXPIRATION'
      ? ['expiration_reason', event.expirationReason]
      : ['cancellation_reason', event.cancelReason],
    ['price', event.price && hasPrice ? { amount, currency: event.price.currency.toLowerCase() } : null],
    ['period_type', event.periodType],
    ['expires_date', expiresAtS],
    ['event_id', event.id],
  ];
  return Object.fromEntries(
    wanted.flatMap(([key, value]) => (value === null ? [] : [[key, fitText(value)]])),
  );
}
