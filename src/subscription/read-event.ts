import { createHash } from 'node:crypto';
import { z } from 'zod';
import { compareTexts, isRecord, stripNul } from '../text.ts';
import { fitsKey, preferredAppUserIds } from './app-user-ids.ts';
import { classify } from './kinds.ts';
import { toMinor } from './money.ts';
import type { Environment, Money } from './types.ts';

// A field of the wrong type, or longer than any name or id, counts as absent: it must never make the event fail. JSON
// can escape half a surrogate pair, which the database would not return unchanged.
const text = z
  .union([z.string(), z.number().transform(String)])
  .nullish()
  .transform((value) => (value == null || value === '' || !fitsKey(value) ? null : value.toWellFormed()))
  .catch(null);
/** For fields that are part of a key or have a column of their own: PostgreSQL stores no NUL. */
const key = text.transform((value) => (value === null ? null : stripNul(value) || null));
const capitals = text.transform((value) => value?.toUpperCase() ?? null);
const number = z
  .union([
    z.number(),
    z
      .string()
      .regex(/^-?\d+(?:\.\d+)?$/)
      .transform(Number),
  ])
  .nullish()
  .transform((value) => (value == null || !Number.isFinite(value) ? null : value))
  .catch(null);
/** The end of the year 9999: a later time has the wrong unit, such as microseconds. */
const MAX_DATE_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
/** Nothing was sold before 1970, and Intercom accepts no earlier time: such a time counts as absent. */
const ms = number.transform((value) =>
  value === null || value <= 0 || value > MAX_DATE_MS ? null : Math.trunc(value),
);
/** Intercom refuses events of the future, such as RevenueCat's own sample of a TRANSFER: it is of the year 4466. */
const MAX_EVENT_MS = Date.UTC(2100, 0, 1);
const eventTime = ms.transform((value) => (value !== null && value > MAX_EVENT_MS ? null : value));
/** No store charges more; sums beyond it would lose their minor units. */
const MAX_PRICE = 1e12;
const price = number.transform((value) => (value === null || Math.abs(value) > MAX_PRICE ? null : value));
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value === true)
  .catch(false);
const texts = z
  .array(z.unknown())
  .nullish()
  .transform((values) =>
    (values ?? []).flatMap((value) =>
      typeof value === 'string' && value !== '' && fitsKey(value) ? [value.toWellFormed()] : [],
    ),
  )
  .catch([]);

const eventSchema = z.object({
  id: key,
  event_id: key,
  type: key,
  event_timestamp_ms: eventTime,
  environment: capitals,
  purchase_environment: capitals,
  app_id: text,
  store: capitals,
  product_id: text,
  new_product_id: text,
  entitlement_id: text,
  entitlement_ids: texts,
  period_type: capitals,
  purchased_at_ms: ms,
  expiration_at_ms: ms,
  grace_period_expiration_at_ms: ms,
  auto_resume_at_ms: ms,
  is_trial_conversion: flag,
  cancel_reason: capitals,
  expiration_reason: capitals,
  price,
  price_in_purchased_currency: price,
  currency: capitals,
  transaction_id: key,
  original_transaction_id: text,
  is_family_share: flag,
  renewal_number: number,
  offer_code: text,
  discount_identifier: text,
  discount_percentage: number,
  discount_amount: number,
  country_code: capitals,
  app_user_id: text,
  original_app_user_id: text,
  aliases: texts,
  transferred_from: texts,
  transferred_to: texts,
  redeemed_from: texts,
  redeemed_by: texts,
  redemption_outcome: text,
});

type EventBody = z.infer<typeof eventSchema>;

/** One RevenueCat event, read leniently from a webhook or from the customer events endpoint. */
export type LifecycleEvent = Readonly<ReturnType<typeof readEvent>>;

const CUSTOMER_FIELDS: ReadonlySet<string> = new Set<keyof EventBody>([
  'app_user_id',
  'original_app_user_id',
  'aliases',
  'transferred_from',
  'transferred_to',
  'redeemed_from',
  'redeemed_by',
]);

/** Whether a field may hold a customer's id or name: every field that is not known to hold something else. */
export function canNameCustomer(field: string): boolean {
  return CUSTOMER_FIELDS.has(field) || !Object.hasOwn(eventSchema.shape, field);
}

/** Each body is read twice, for its fields and for its customers; parsing it took a fifth of the processor's time. */
const parsedBodies = new WeakMap<object, EventBody>();

function parse(body: unknown): EventBody {
  const cached = isRecord(body) ? parsedBodies.get(body) : undefined;
  if (cached) return cached;
  const { data } = eventSchema.safeParse(body);
  const event = data ?? eventSchema.parse({});
  if (isRecord(body)) parsedBodies.set(body, event);
  return event;
}

/** The customer events endpoint prefixes types with `PURCHASES_`. */
function typeOf(body: EventBody): string {
  return (body.type ?? 'UNKNOWN').toUpperCase().replace(/^PURCHASES_/, '');
}

/**
 * Reads the `event` object of a webhook, or the body of an item of the customer events endpoint. Never throws:
 * unknown types and values stay, fields of the wrong type count as absent.
 */
export function readEvent(
  body: unknown,
  received: { receivedAtMs: number; fallbackId: string; side?: 'customer' | 'source' },
) {
  const event = parse(body);
  const type = typeOf(event);
  const { store, period_type: periodType, cancel_reason: cancelReason } = event;
  return {
    /** RevenueCat's event id, or a hash of the content if RevenueCat sent none. */
    id: event.id ?? event.event_id ?? received.fallbackId,
    /** RevenueCat's type in upper case, without a prefix: `INITIAL_PURCHASE`. */
    type,
    kind: classify({ type, periodType, store, cancelReason, isTrialConversion: event.is_trial_conversion }),
    /** Falls back to the time of purchase, then to the time of receipt. */
    atMs: event.event_timestamp_ms ?? event.purchased_at_ms ?? received.receivedAtMs,
    /** The customer's id when it happened; `null`: the event names several customers, or none. */
    appUserId: event.app_user_id,
    /** A TRANSFER is stored for both: `customer` received the purchases, `source` had them before. */
    side: received.side ?? 'customer',
    /** A transfer between two ids of this same customer, so that nothing moves. */
    isWithinCustomer: false,
    /** When a transfer brought the purchase to this customer; `null`: it was theirs from the start. */
    receivedByTransferAtMs: null as number | null,
    /** RevenueCat's id of the app in its store; absent for grants and in many events. */
    appId: event.app_id,
    environment: environmentOf(event),
    /** Upper case, as in webhooks: `APP_STORE`. */
    store,
    productId: event.product_id,
    newProductId: event.new_product_id,
    /** Lookup keys: `pro`. */
    entitlements: entitlementsOf(event),
    /** `TRIAL`, `INTRO`, `NORMAL`, `PROMOTIONAL`, `PREPAID`, or a value that RevenueCat adds later. */
    periodType,
    purchasedAtMs: event.purchased_at_ms,
    expiresAtMs: event.expiration_at_ms,
    gracePeriodEndsAtMs: event.grace_period_expiration_at_ms,
    resumesAtMs: event.auto_resume_at_ms,
    cancelReason,
    expirationReason: event.expiration_reason,
    price: priceOf(event),
    /** The same price in US cents. */
    priceUsdCents: usdCentsOf(event),
    transactionId: event.transaction_id,
    originalTransactionId: event.original_transaction_id,
    isFamilyShare: event.is_family_share,
    renewalNumber: event.renewal_number,
    /** The App Store and Google Play have offers, RevenueCat's own billing has discounts. */
    offerCode: event.offer_code ?? event.discount_identifier,
    isDiscounted: Boolean(event.discount_percentage || event.discount_amount),
    country: event.country_code,
    transferredFrom: event.transferred_from,
    transferredTo: event.transferred_to,
    /** The event as RevenueCat sent it, for the detail view. */
    raw: isRecord(body) ? body : {},
  };
}

/** In the currency paid; negative for a refund. */
function priceOf(event: EventBody): Money | null {
  const currency = event.currency ?? 'USD';
  // Without a currency the paid amount means nothing; `price` is always in US dollars.
  const paid = event.currency === null ? null : event.price_in_purchased_currency;
  const amount = paid ?? (currency === 'USD' ? event.price : null);
  return amount === null ? null : { amountMinor: toMinor(amount, currency), currency };
}

function usdCentsOf({ currency, price, price_in_purchased_currency: paid }: EventBody): number | null {
  const dollars = price ?? (currency === 'USD' ? paid : null);
  return dollars === null ? null : toMinor(dollars, 'USD');
}

/** Older events name a single entitlement. */
function entitlementsOf({ entitlement_ids, entitlement_id }: EventBody): readonly string[] {
  if (entitlement_ids.length > 0) return entitlement_ids;
  return entitlement_id === null ? [] : [entitlement_id];
}

function environmentOf(event: EventBody): Environment | null {
  const named = event.environment ?? event.purchase_environment;
  if (named === 'SANDBOX' || (named === null && event.store === 'TEST_STORE')) return 'sandbox';
  return named === null ? null : 'production';
}

/** The customers that an event names: usable app user ids, best first; empty: none. */
export interface Identifiers {
  readonly customer: readonly string[];
  /** The customer whose purchases went to `customer`. */
  readonly source: readonly string[];
}

/**
 * TRANSFER and PURCHASE_REDEEMED name two customers and have no `app_user_id`; a redemption that ends in an
 * alias makes them one. Ids of one list belong to one customer.
 */
export function identifiersOf(body: unknown): Identifiers {
  const event = parse(body);
  const type = typeOf(event);
  const named = usableIds([event.app_user_id, event.original_app_user_id, ...event.aliases]);
  if (type === 'TRANSFER') {
    // These lists are complete. Another id of the event, such as the original one, may belong to the source.
    const receiver = usableIds(event.transferred_to);
    return separateCustomers(receiver.length > 0 ? receiver : named, usableIds(event.transferred_from));
  }
  if (type === 'PURCHASE_REDEEMED') {
    const by = usableIds([...event.redeemed_by, ...named]);
    const from = usableIds(event.redeemed_from);
    const outcome = event.redemption_outcome?.toLowerCase();
    if (outcome === 'alias') return { customer: usableIds([...by, ...from]), source: [] };
    if (outcome === 'transfer') return separateCustomers(by, from);
    return { customer: by.length > 0 ? by : from, source: [] };
  }
  return { customer: named, source: [] };
}

function separateCustomers(customer: readonly string[], source: readonly string[]): Identifiers {
  if (customer.length === 0) return { customer: source, source: [] };
  // An id on both sides stays with the receiver.
  const received = new Set(customer);
  return { customer, source: source.filter((id) => !received.has(id)) };
}

/** The current id comes first if it is identified; otherwise any identified alias is the better name. */
function usableIds(ids: readonly (string | null)[]): string[] {
  return preferredAppUserIds(ids.filter((id) => id !== null));
}

/** The id under which the body of an event is stored. */
export function eventIdOf(event: Readonly<Record<string, unknown>>): string {
  return keyText(event.id) ?? keyText(event.event_id) ?? contentId(event);
}

/** A text that can be part of a key; anything else counts as absent. */
export function keyText(value: unknown): string | null {
  return key.parse(value);
}

/**
 * An event without an id gets a hash of its content, so that a repeat is recognized as a duplicate, whatever the order of
 * its keys.
 */
function contentId(event: Readonly<Record<string, unknown>>): string {
  const ordered = JSON.stringify(event, (_key, value) =>
    isRecord(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => compareTexts(a, b)))
      : value,
  );
  return `sha256:${createHash('sha256').update(ordered).digest('hex')}`;
}
