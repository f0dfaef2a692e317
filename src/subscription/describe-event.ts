import { isRecord } from '../text.ts';
import { type EventKind, isCancelledByStore } from './kinds.ts';
import { entitlementLabel, type Names, productLabel, titleCase } from './names.ts';
import type { LifecycleEvent, Money } from './types.ts';

/** What the title of an event says; most are the event's kind. */
export type EventTitle =
  | Exclude<
      EventKind,
      'billing_issue' | 'transfer' | 'price_increase_consent' | 'paywall' | 'virtual_currency' | 'unknown'
    >
  | 'paused'
  | 'payment_failed'
  | 'grant_ended'
  | 'transfer_received'
  | 'transfer_given'
  | 'transfer_within'
  | 'price_consent_required'
  | 'price_consent_approved'
  | 'paywall_seen'
  | 'paywall_closed'
  | 'paywall_cancelled'
  | 'paywall_exit_offer'
  | 'paywall_tapped'
  | 'paywall_other'
  | 'currency_received'
  | 'currency_spent';

/** Why something was cancelled or ended. */
export const REASONS = [
  'UNSUBSCRIBE',
  'BILLING_ERROR',
  'DEVELOPER_INITIATED',
  'PRICE_INCREASE',
  'CUSTOMER_SUPPORT',
  'SUBSCRIPTION_PAUSED',
  'STORE_CANCELLED',
  'UNKNOWN',
] as const;

export type Reason = (typeof REASONS)[number];

/** One part of the line under the title. Names are display names. */
export type EventPart =
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'money'; readonly money: Money }
  | { readonly kind: 'reason'; readonly reason: Reason; readonly store: string | null }
  /** `from` is `null` where the event does not name it. */
  | { readonly kind: 'change'; readonly from: string | null; readonly to: string }
  | { readonly kind: 'offer'; readonly code: string }
  | { readonly kind: 'variant'; readonly experiment: string | null; readonly variant: string }
  | { readonly kind: 'store'; readonly store: string }
  | { readonly kind: 'family' }
  | { readonly kind: 'amounts'; readonly amounts: readonly Amount[] };

export interface Amount {
  readonly amount: number;
  readonly name: string | null;
}

/** One line of the timeline as data; `title` is a text only for a type that this version does not know. */
export interface EventDescription {
  readonly title: EventTitle | { readonly text: string };
  readonly parts: readonly EventPart[];
}

/** Kinds that mean nothing to a customer, and those whose words would name buying outside the app stores. */
const HIDDEN_FROM_CUSTOMERS: ReadonlySet<EventKind> = new Set<EventKind>([
  'experiment_enrollment',
  'paywall',
  'subscriber_alias',
  'virtual_currency',
  'test',
  'unknown',
  'invoice_issued',
  'purchase_redeemed',
]);

export function isShownToCustomers(kind: EventKind): boolean {
  return !HIDDEN_FROM_CUSTOMERS.has(kind);
}

export function describeEvent(event: LifecycleEvent, names: Names): EventDescription {
  return { title: titleOf(event), parts: partsOf(event, names).filter((part) => part !== null) };
}

const PAYWALL_TITLES: ReadonlyMap<string, EventTitle> = new Map([
  ['PAYWALL_IMPRESSION', 'paywall_seen'],
  ['PAYWALL_CLOSE', 'paywall_closed'],
  ['PAYWALL_CANCEL', 'paywall_cancelled'],
  ['PAYWALL_EXIT_OFFER', 'paywall_exit_offer'],
  ['PAYWALL_COMPONENT_INTERACTED', 'paywall_tapped'],
]);

function titleOf(event: LifecycleEvent): EventDescription['title'] {
  switch (event.kind) {
    case 'expiration':
      if (event.store === 'PROMOTIONAL') return 'grant_ended';
      // Access pauses; the subscription continues after it.
      return event.expirationReason === 'SUBSCRIPTION_PAUSED' ? 'paused' : 'expiration';
    case 'cancellation':
    case 'trial_cancelled':
      return event.cancelReason === 'BILLING_ERROR' && !isCancelledByStore(event)
        ? 'payment_failed'
        : event.kind;
    case 'billing_issue':
      return 'payment_failed';
    case 'transfer':
      return transferTitle(event);
    case 'purchase_redeemed':
      return event.side === 'source' ? 'transfer_given' : event.kind;
    case 'price_increase_consent':
      return event.type.endsWith('APPROVED') ? 'price_consent_approved' : 'price_consent_required';
    case 'paywall':
      return PAYWALL_TITLES.get(event.type) ?? 'paywall_other';
    case 'virtual_currency':
      return amountsOf(event.raw).some(({ amount }) => amount > 0) ? 'currency_received' : 'currency_spent';
    case 'unknown':
      return { text: titleCase(event.type) || event.type };
    default:
      return event.kind;
  }
}

function transferTitle(event: LifecycleEvent): EventTitle {
  if (event.isWithinCustomer) return 'transfer_within';
  return event.side === 'source' ? 'transfer_given' : 'transfer_received';
}

function partsOf(event: LifecycleEvent, names: Names): (EventPart | null)[] {
  const product = event.productId === null ? null : name(productLabel(event.productId, names));
  switch (event.kind) {
    case 'promotional_granted':
    case 'promotional_revoked':
    case 'temporary_entitlement_grant':
      return [entitlementNames(event, names) ?? product];
    case 'expiration':
      if (event.store === 'PROMOTIONAL') return [entitlementNames(event, names) ?? product];
      return [
        product,
        event.expirationReason === 'SUBSCRIPTION_PAUSED' ? null : reason(event.expirationReason, event),
      ];
    case 'cancellation':
    case 'trial_cancelled':
      return [product, reason(isCancelledByStore(event) ? 'STORE_CANCELLED' : event.cancelReason, event)];
    case 'refund':
      return [product, price(event), reason('CUSTOMER_SUPPORT', event)];
    case 'refund_reversed':
      return [product, price(event)];
    case 'billing_issue':
      return [product, reason('BILLING_ERROR', event)];
    case 'product_change':
      return [event.newProductId === null ? product : change(event, event.newProductId, names)];
    case 'experiment_enrollment':
      return [experiment(event.raw)];
    case 'paywall':
      return [name(text(event.raw.paywall_name) ?? text(event.raw.paywall_id))];
    case 'virtual_currency':
      return [
        amounts(event.raw),
        name(names.product(event.productId ?? '') ?? text(event.raw.product_display_name)) ?? product,
      ];
    case 'transfer':
      return [event.store === null ? null : { kind: 'store', store: event.store }];
    case 'subscriber_alias':
      return [];
    case 'unknown':
      return [name(event.type), product, price(event)];
    case 'test':
      return [product];
    default:
      return [
        product,
        price(event),
        event.offerCode === null ? null : { kind: 'offer', code: event.offerCode },
        event.isFamilyShare ? { kind: 'family' } : null,
      ];
  }
}

function name(text: string | null): EventPart | null {
  return text === null ? null : { kind: 'name', text };
}

/** A sum of zero says nothing: the title of a trial says that it is free. */
function price({ price }: LifecycleEvent): EventPart | null {
  if (price === null || price.amountMinor === 0) return null;
  return { kind: 'money', money: { ...price, amountMinor: Math.abs(price.amountMinor) } };
}

function reason(code: string | null, { store }: LifecycleEvent): EventPart | null {
  if (code === null) return null;
  if (!isReason(code)) return name(titleCase(code));
  return { kind: 'reason', reason: code, store: store === 'PROMOTIONAL' ? null : store };
}

function isReason(code: string): code is Reason {
  return (REASONS as readonly string[]).includes(code);
}

function change(event: LifecycleEvent, to: string, names: Names): EventPart {
  const from = event.productId === null ? null : productLabel(event.productId, names);
  return { kind: 'change', from, to: productLabel(to, names) };
}

function entitlementNames(event: LifecycleEvent, names: Names): EventPart | null {
  if (event.entitlements.length === 0) return null;
  return name(event.entitlements.map((key) => entitlementLabel(key, names)).join(', '));
}

function experiment(raw: LifecycleEvent['raw']): EventPart | null {
  const variant = text(raw.experiment_variant);
  const id = text(raw.experiment_id);
  return variant === null ? name(id) : { kind: 'variant', experiment: id, variant };
}

function amounts(raw: LifecycleEvent['raw']): EventPart | null {
  const list = amountsOf(raw);
  return list.length === 0 ? null : { kind: 'amounts', amounts: list };
}

function amountsOf(raw: LifecycleEvent['raw']): Amount[] {
  if (!Array.isArray(raw.adjustments)) return [];
  return raw.adjustments.flatMap((item: unknown) => {
    if (!isRecord(item) || typeof item.amount !== 'number') return [];
    const currency = isRecord(item.currency) ? item.currency : {};
    return [{ amount: item.amount, name: text(currency.name) ?? text(currency.code) }];
  });
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
