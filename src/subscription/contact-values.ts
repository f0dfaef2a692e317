import { cut } from '../text.ts';
import { preferredAppUserIds } from './app-user-ids.ts';
import { isInternalId } from './names.ts';
import type { LifecycleEvent } from './read-event.ts';
import type { SubscriberState } from './types.ts';

/** The attributes that the app writes to contacts. The first four are those of RevenueCat's own integration. */
export const CONTACT_ATTRIBUTES = [
  { name: 'subscription_status', dataType: 'string', description: 'Subscription status from RevenueCat' },
  { name: 'latest_store', dataType: 'string', description: 'Store of the latest subscription or purchase' },
  { name: 'latest_entitlement', dataType: 'string', description: 'Entitlement of the latest subscription' },
  { name: 'expires_at', dataType: 'date', description: 'When the subscription renews or ends' },
  { name: 'rc_app_user_id', dataType: 'string', description: 'RevenueCat app user id' },
  { name: 'rc_entitlements', dataType: 'string', description: 'Active entitlements, separated by commas' },
  { name: 'rc_product', dataType: 'string', description: 'Product of the latest subscription' },
  { name: 'rc_period_type', dataType: 'string', description: 'Trial, intro or normal period' },
  { name: 'rc_will_renew', dataType: 'boolean', description: 'Whether the subscription renews' },
  { name: 'rc_trial_ends_at', dataType: 'date', description: 'When the free trial ends or ended' },
  { name: 'rc_first_purchase_at', dataType: 'date', description: 'First purchase' },
  {
    name: 'rc_billing_issue_at',
    dataType: 'date',
    description: 'Since when the store cannot charge the card',
  },
  {
    name: 'rc_lifetime_value_usd',
    dataType: 'float',
    description: 'Paid so far in US dollars, refunds subtracted',
  },
  { name: 'rc_last_event', dataType: 'string', description: 'Latest subscription event' },
  { name: 'rc_last_event_at', dataType: 'date', description: 'When the latest subscription event happened' },
] as const;

type ContactAttributeName = (typeof CONTACT_ATTRIBUTES)[number]['name'];

type ContactAttributes = Record<ContactAttributeName, string | number | boolean | null>;

/** The attributes of a contact, dates in Unix seconds. `null` clears an attribute. */
export function contactAttributes(state: SubscriberState, appUserIds: readonly string[]): ContactAttributes {
  const { primary, consumables, lastEvent, lifetimeValueUsdCents } = state;
  const bought = primary ?? consumables.find(({ environment }) => environment === 'production');
  return {
    subscription_status: state.status,
    // RevenueCat's own integration also writes the store of a purchase that gives no access.
    latest_store: fitText(bought?.store ?? null),
    latest_entitlement: fitText(primary?.entitlements[0] ?? null),
    expires_at: seconds(primary?.isEndKnown ? primary.accessEndsAtMs : null),
    rc_app_user_id: fitText(bestAppUserIds(state, appUserIds)[0] ?? null),
    rc_entitlements: joinKeys(
      state.entitlements.map(({ lookupKey }) => lookupKey).filter((key) => !isInternalId(key)),
    ),
    rc_product: fitText(primary?.productId ?? null),
    rc_period_type: fitText(primary?.periodType ?? null),
    rc_will_renew: primary?.willRenew ?? null,
    rc_trial_ends_at: seconds(state.trialEndsAtMs),
    rc_first_purchase_at: seconds(state.firstPurchaseAtMs),
    rc_billing_issue_at: seconds(state.billingIssueAtMs),
    rc_lifetime_value_usd:
      lifetimeValueUsdCents !== null && (bought || lifetimeValueUsdCents > 0)
        ? lifetimeValueUsdCents / 100
        : null,
    rc_last_event: lastEvent?.kind ?? null,
    rc_last_event_at: seconds(lastEvent?.atMs),
  };
}

/** Joins as many whole keys as fit: a truncated key could be the key of another entitlement. */
function joinKeys(keys: readonly string[]): string | null {
  let text = '';
  for (const key of keys) {
    const longer = text === '' ? key : `${text}, ${key}`;
    if (longer.length <= MAX_TEXT_LENGTH) text = longer;
  }
  return text || null;
}

/** A customer's app user ids: identified ones first, those that the latest events named before the others. */
export function bestAppUserIds(
  { seenAs }: Pick<SubscriberState, 'seenAs'>,
  appUserIds: readonly string[],
): string[] {
  return preferredAppUserIds([...seenAs.filter((id) => appUserIds.includes(id)), ...appUserIds]);
}

function seconds(atMs: number | null | undefined): number | null {
  return atMs == null ? null : Math.floor(atMs / 1_000);
}

const ISO_CURRENCY = /^[A-Z]{3}$/;

/**
 * Metadata of a data event: at most ten flat keys in this order, because Intercom keeps only the first ten. Values are
 * written as RevenueCat's own integration writes them, so that existing filters match; `expires_date` repeats
 * `expires_at` (Unix s) under a name that Intercom treats as a date. Numbers and prices are in Intercom's table of types;
 * its schema has only texts (CONFLICT).
 *
 * A price is `{amount, currency}` in minor units and must be a positive integer: a refund's is its absolute value, and
 * nothing is sent for a free trial. How Intercom shows currencies without decimals is UNVERIFIED; the amount is always
 * in minor units of its currency. Intercom accepts only ISO codes: a price in another currency is left out so that
 * Intercom does not reject the event.
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

/** Source: Intercom, "Track events" and "Custom data attributes": texts have at most 255 characters. */
const MAX_TEXT_LENGTH = 255;

function fitText<T>(value: T): T | string {
  return typeof value === 'string' ? cut(value, MAX_TEXT_LENGTH) : value;
}
