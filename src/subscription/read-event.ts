import { createHash } from 'node:crypto';
import { isRecord, stripNul } from '../text.ts';
import { fitsKey, preferredAppUserIds } from './identities.ts';
import { classify } from './kinds.ts';
import { toMinor } from './money.ts';
import type { Environment, Money } from './types.ts';

/** One RevenueCat event, read leniently from a webhook or from the customer events endpoint. */
export type LifecycleEvent = Readonly<ReturnType<typeof readEvent>>;

type Body = Readonly<Record<string, unknown>>;

// What has another type, or is longer than any name or id, counts as absent: it must never cost the event.

/** JSON can escape half a surrogate pair, which the database would not return unchanged. */
function textOf(value: unknown): string | null {
  const text = Number.isFinite(value) ? String(value) : value;
  return typeof text === 'string' && text !== '' && fitsKey(text) ? text.toWellFormed() : null;
}

function capitalsOf(value: unknown): string | null {
  return textOf(value)?.toUpperCase() ?? null;
}

function textsOf(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each: unknown) => (typeof each === 'string' ? (textOf(each) ?? []) : []));
}

function numberOf(value: unknown): number | null {
  const isWritten = typeof value === 'string' && /^-?\d+(?:\.\d+)?$/.test(value);
  const number = isWritten ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}

/** The end of the year 9999: a later time is a unit mistaken, such as microseconds. */
const MAX_DATE_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** Nothing was sold before 1970, and Intercom takes no second before it: such a time is a missing one. */
function timeOf(value: unknown): number | null {
  const atMs = numberOf(value);
  return atMs === null || atMs <= 0 || atMs > MAX_DATE_MS ? null : Math.trunc(atMs);
}

/** No store charges more; sums beyond it would lose their minor units. */
const MAX_PRICE = 1e12;

function amountOf(value: unknown): number | null {
  const amount = numberOf(value);
  return amount === null || Math.abs(amount) > MAX_PRICE ? null : amount;
}

/** Fields that hold a word of RevenueCat's or a store's. */
const OTHER_FIELDS: ReadonlySet<string> = new Set(
  `id event_id type event_timestamp_ms environment purchase_environment app_id store product_id new_product_id
  entitlement_id entitlement_ids period_type purchased_at_ms expiration_at_ms grace_period_expiration_at_ms
  auto_resume_at_ms is_trial_conversion cancel_reason expiration_reason price price_in_purchased_currency currency
  transaction_id original_transaction_id is_family_share renewal_number offer_code country_code
  redemption_outcome`.split(/\s+/),
);

/** Whether a field may hold a customer's id or name. */
export function canNameCustomer(field: string): boolean {
  return !OTHER_FIELDS.has(field);
}

/** The customer events endpoint prefixes its types. */
function typeOf(body: Body): string {
  return (capitalsOf(body.type) ?? 'UNKNOWN').replace(/^PURCHASES_/, '');
}

/**
 * Reads the `event` object of a webhook, or the body of an item of the customer events endpoint. Never throws:
 * unknown types and values stay, fields of the wrong type count as absent.
 */
export function readEvent(
  body: unknown,
  received: { receivedAtMs: number; fallbackId: string; side?: 'customer' | 'source' },
) {
  const event = isRecord(body) ? body : {};
  const type = typeOf(event);
  const store = capitalsOf(event.store);
  const periodType = capitalsOf(event.period_type);
  const cancelReason = capitalsOf(event.cancel_reason);
  const isTrialConversion = event.is_trial_conversion === true;
  const purchasedAtMs = timeOf(event.purchased_at_ms);
  const usDollars = amountOf(event.price);
  return {
    /** RevenueCat's event id, or a hash of the content where RevenueCat sent none. */
    id: textOf(event.id) ?? textOf(event.event_id) ?? received.fallbackId,
    /** RevenueCat's type, as sent: `INITIAL_PURCHASE`. */
    type,
    kind: classify({ type, periodType, store, cancelReason, isTrialConversion }),
    /** The time of receipt where RevenueCat sent none. */
    atMs: timeOf(event.event_timestamp_ms) ?? purchasedAtMs ?? received.receivedAtMs,
    /** The customer's id when it happened; `null`: the event names several customers, or none. */
    appUserId: textOf(event.app_user_id),
    /** A TRANSFER is stored for both: `customer` received the purchases, `source` had them before. */
    side: received.side ?? 'customer',
    /** A transfer between two ids of this same customer, so that nothing moves. */
    isWithinCustomer: false,
    /** Since when this customer holds what the event is about; `null`: it was theirs from the start. */
    receivedByTransferAtMs: null as number | null,
    /** RevenueCat's id of the app in its store; absent for grants and in many events. */
    appId: textOf(event.app_id),
    environment: environmentOf(event, store),
    /** Upper case, as in webhooks: `APP_STORE`. */
    store,
    productId: textOf(event.product_id),
    newProductId: textOf(event.new_product_id),
    /** Lookup keys: `pro`. */
    entitlements: entitlementsOf(event),
    /** `TRIAL`, `INTRO`, `NORMAL`, `PROMOTIONAL`, `PREPAID` or what RevenueCat will add. */
    periodType,
    purchasedAtMs,
    expiresAtMs: timeOf(event.expiration_at_ms),
    gracePeriodEndsAtMs: timeOf(event.grace_period_expiration_at_ms),
    resumesAtMs: timeOf(event.auto_resume_at_ms),
    cancelReason,
    expirationReason: capitalsOf(event.expiration_reason),
    price: priceOf(event, usDollars),
    /** The same in US cents. */
    priceUsdCents: usDollars === null ? null : toMinor(usDollars, 'USD'),
    transactionId: textOf(event.transaction_id),
    originalTransactionId: textOf(event.original_transaction_id),
    isFamilyShare: event.is_family_share === true,
    renewalNumber: numberOf(event.renewal_number),
    offerCode: textOf(event.offer_code),
    country: capitalsOf(event.country_code),
    transferredFrom: textsOf(event.transferred_from),
    transferredTo: textsOf(event.transferred_to),
    /** The event as RevenueCat sent it, for the detail view. */
    raw: event,
  };
}

/** In the currency paid; negative for a refund. */
function priceOf(event: Body, usDollars: number | null): Money | null {
  const named = capitalsOf(event.currency);
  const currency = named ?? 'USD';
  // Without a currency nothing tells what was paid in.
  const paid = named === null ? null : amountOf(event.price_in_purchased_currency);
  const amount = paid ?? (currency === 'USD' ? usDollars : null);
  return amount === null ? null : { amountMinor: toMinor(amount, currency), currency };
}

/** Older events name one. */
function entitlementsOf(event: Body): readonly string[] {
  const keys = textsOf(event.entitlement_ids);
  return keys.length > 0 ? keys : [textOf(event.entitlement_id)].filter((key) => key !== null);
}

function environmentOf(event: Body, store: string | null): Environment | null {
  const named = capitalsOf(event.environment) ?? capitalsOf(event.purchase_environment);
  if (named === 'SANDBOX' || (named === null && store === 'TEST_STORE')) return 'sandbox';
  return named === null ? null : 'production';
}

/** The customers that an event names: usable app user ids, best first. */
interface Identifiers {
  readonly customer: readonly string[];
  /** The customer whose purchases went to `customer`. */
  readonly source: readonly string[];
}

/**
 * TRANSFER and PURCHASE_REDEEMED name two customers and have no `app_user_id`; a redemption that ends in an
 * alias makes them one. Ids of one list belong to one customer.
 */
export function identifiersOf(body: unknown): Identifiers {
  const event = isRecord(body) ? body : {};
  const type = typeOf(event);
  const current = [textOf(event.app_user_id), textOf(event.original_app_user_id)];
  const own = usableIds([...current, ...textsOf(event.aliases)]);
  if (type === 'TRANSFER') {
    const to = usableIds([...textsOf(event.transferred_to), ...own]);
    return separateCustomers(to, usableIds(textsOf(event.transferred_from)));
  }
  if (type === 'PURCHASE_REDEEMED') {
    const by = usableIds([...textsOf(event.redeemed_by), ...own]);
    const from = usableIds(textsOf(event.redeemed_from));
    const outcome = textOf(event.redemption_outcome)?.toLowerCase();
    if (outcome === 'alias') return { customer: usableIds([...by, ...from]), source: [] };
    if (outcome === 'transfer') return separateCustomers(by, from);
    return { customer: by.length > 0 ? by : from, source: [] };
  }
  return { customer: own, source: [] };
}

function separateCustomers(customer: readonly string[], source: readonly string[]): Identifiers {
  if (customer.length === 0) return { customer: source, source: [] };
  // An id on both sides stays with the receiver.
  const received = new Set(customer);
  return { customer, source: source.filter((id) => !received.has(id)) };
}

/** The current id leads when it is identified; otherwise any identified alias is the better name. */
function usableIds(ids: readonly (string | null)[]): string[] {
  return preferredAppUserIds(ids.filter((id) => id !== null));
}

/** The id under which the body of an event is stored. */
export function eventIdOf(event: Body): string {
  return keyText(event.id) ?? keyText(event.event_id) ?? contentId(event);
}

/** A text that can be part of a key; anything else counts as absent. */
export function keyText(value: unknown): string | null {
  return stripNul(textOf(value) ?? '') || null;
}

/** An event without an id gets a hash of its content, so that a repeat is recognized as a duplicate. */
function contentId(event: Body): string {
  return `sha256:${createHash('sha256').update(canonical(event)).digest('hex')}`;
}

/** The same content gives the same text, whatever the order of its keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (isRecord(value)) {
    const parts = Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
    return `{${parts.join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
