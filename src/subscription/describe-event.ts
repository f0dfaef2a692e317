import { isRecord } from '../text.ts';
import { formatMoney } from './money.ts';
import type { LifecycleEvent } from './types.ts';
import { type EventWords, englishEventWords, REASONS, type Reason } from './words.ts';

/** Display names where they are known. */
export interface Names {
  product(productId: string): string | null;
  entitlement(lookupKey: string): string | null;
}

const STORES: Readonly<Record<string, string>> = {
  APP_STORE: 'App Store',
  MAC_APP_STORE: 'Mac App Store',
  PLAY_STORE: 'Google Play',
  AMAZON: 'Amazon Appstore',
  STRIPE: 'Stripe',
  RC_BILLING: 'RevenueCat Billing',
  ROKU: 'Roku',
  PADDLE: 'Paddle',
  TEST_STORE: 'Test Store',
};

/** A store as people call it; one that RevenueCat will add shows under its tidied name. `null` stays `null`. */
export function storeName(store: string, words?: EventWords): string;
export function storeName(store: string | null, words?: EventWords): string | null;
export function storeName(store: string | null, words: EventWords = englishEventWords): string | null {
  if (store === null) return null;
  const name = store.toUpperCase();
  if (name === 'PROMOTIONAL') return words.granted;
  return STORES[name] ?? titleCase(store);
}

/** `SOME_NEW_THING` reads `Some New Thing`. */
function titleCase(code: string): string {
  return code
    .toLowerCase()
    .split(/[_\s]+/)
    .filter((word) => word !== '')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(' ');
}

/**
 * Makes an identifier readable where no display name is known: `com.example.pro_monthly` is `Pro monthly`, and
 * Google's `pro:yearly-base` is `Pro (yearly base)`.
 */
export function tidyId(id: string): string {
  const [main = '', plan] = id.split(':', 2);
  if (main === '') return id;
  const segments = main.split('.').filter((segment) => segment !== '');
  // Only the reverse domain of an app is dropped: `pro.v2` keeps both parts.
  const last = segments.length > 2 ? (segments.at(-1) ?? main) : main;
  const words = spaced(/^\d*$/.test(last) ? main : last);
  const tidy = words.charAt(0).toUpperCase() + words.slice(1);
  return plan ? `${tidy} (${spaced(plan)})` : tidy;
}

function spaced(text: string): string {
  return text.replaceAll(/[_-]+/g, ' ').trim() || text;
}

/** Names a product as people know it: its display name, else its tidied id. */
export function productLabel(productId: string, names: Names): string {
  return names.product(productId) ?? tidyId(productId);
}

/** Names an entitlement as people know it: its display name, else its tidied lookup key. */
export function entitlementLabel(lookupKey: string, names: Names): string {
  return names.entitlement(lookupKey) ?? tidyId(lookupKey);
}

/**
 * One line of the timeline in plain words, without its date. Every type that RevenueCat documents has words;
 * a type that is not known is shown as what it is.
 */
export function describeEvent(
  event: LifecycleEvent,
  names: Names,
  words: EventWords,
): { title: string; subtitle: string } {
  const parts = subtitleParts(event, names, words);
  return {
    title: titleOf(event, words),
    subtitle: parts.filter((part) => part !== null).join(words.separator),
  };
}

function titleOf(event: LifecycleEvent, words: EventWords): string {
  switch (event.kind) {
    case 'expiration':
      return event.store === 'PROMOTIONAL' ? words.grantEnded : words.subscriptionEnded;
    case 'transfer':
      return event.side === 'source' ? words.transferGiven : words.transferReceived;
    case 'price_increase_consent':
      return event.type.endsWith('APPROVED') ? words.priceIncreaseApproved : words.priceIncreaseRequired;
    case 'paywall':
      return paywallTitle(event.type, words);
    case 'virtual_currency':
      return adjustments(event.raw).some(({ amount }) => amount > 0)
        ? words.currencyGained
        : words.currencySpent;
    case 'unknown':
      return titleCase(event.type) || event.type;
    case 'purchase_redeemed':
      return event.side === 'source' ? words.transferGiven : words.titles.purchase_redeemed;
    default:
      return words.titles[event.kind];
  }
}

function paywallTitle(type: string, words: EventWords): string {
  const part = type.slice('PAYWALL_'.length);
  return Object.hasOwn(words.paywall, part)
    ? words.paywall[part as keyof EventWords['paywall']]
    : words.paywall.OTHER;
}

function subtitleParts(event: LifecycleEvent, names: Names, words: EventWords): (string | null)[] {
  const product = event.productId === null ? null : productLabel(event.productId, names);
  switch (event.kind) {
    case 'promotional_granted':
    case 'promotional_revoked':
    case 'temporary_entitlement_grant':
      return [entitlements(event, names) ?? product];
    case 'expiration':
      if (event.store === 'PROMOTIONAL') return [entitlements(event, names) ?? product];
      return [product, reasonOf(event.expirationReason, event, words)];
    case 'cancellation':
    case 'trial_cancelled':
      return [product, reasonOf(event.cancelReason, event, words)];
    case 'refund':
    case 'refund_reversed':
      return [
        product,
        price(event, words),
        event.kind === 'refund' ? reasonOf('CUSTOMER_SUPPORT', event, words) : null,
      ];
    case 'billing_issue':
      return [product, reasonOf('BILLING_ERROR', event, words)];
    case 'product_change':
      return [
        event.newProductId === null
          ? product
          : words.change(product, productLabel(event.newProductId, names)),
      ];
    case 'experiment_enrollment':
      return [experiment(event.raw, words)];
    case 'paywall':
      return [text(event.raw.paywall_name) ?? text(event.raw.paywall_id)];
    case 'virtual_currency':
      return [
        currencies(event.raw, words),
        names.product(event.productId ?? '') ?? text(event.raw.product_display_name) ?? product,
      ];
    case 'transfer':
      return [storeName(event.store, words)];
    case 'subscriber_alias':
      return [];
    case 'unknown':
      return [event.type, product, price(event, words)];
    case 'test':
      return [product];
    default:
      return [
        product,
        price(event, words),
        event.offerCode === null ? null : words.offer(event.offerCode),
        event.isFamilyShare ? words.familySharing : null,
      ];
  }
}

/** A sum of zero says nothing: that a trial is free is in its title. */
function price(event: LifecycleEvent, words: EventWords): string | null {
  if (event.price === null || event.price.amountMinor === 0) return null;
  return formatMoney({ ...event.price, amountMinor: Math.abs(event.price.amountMinor) }, words.locale);
}

function reasonOf(reason: string | null, event: LifecycleEvent, words: EventWords): string | null {
  if (reason === null) return null;
  const store = event.store === 'PROMOTIONAL' ? null : storeName(event.store, words);
  return isReason(reason) ? words.reason(reason, store) : titleCase(reason);
}

function isReason(reason: string): reason is Reason {
  return (REASONS as readonly string[]).includes(reason);
}

function entitlements(event: LifecycleEvent, names: Names): string | null {
  if (event.entitlements.length === 0) return null;
  return event.entitlements.map((key) => entitlementLabel(key, names)).join(', ');
}

function experiment(raw: LifecycleEvent['raw'], words: EventWords): string | null {
  const variant = text(raw.experiment_variant);
  const id = text(raw.experiment_id);
  return variant === null ? id : words.variant(id, variant);
}

interface Adjustment {
  readonly amount: number;
  readonly name: string | null;
}

function adjustments(raw: LifecycleEvent['raw']): Adjustment[] {
  if (!Array.isArray(raw.adjustments)) return [];
  return raw.adjustments.flatMap((item: unknown) => {
    if (!isRecord(item) || typeof item.amount !== 'number') return [];
    const currency = isRecord(item.currency) ? item.currency : {};
    return [{ amount: item.amount, name: text(currency.name) ?? text(currency.code) }];
  });
}

function currencies(raw: LifecycleEvent['raw'], words: EventWords): string | null {
  const list = adjustments(raw).map(({ amount, name }) => {
    const sum = new Intl.NumberFormat(words.locale).format(Math.abs(amount));
    return name === null ? sum : `${sum} ${name}`;
  });
  return list.length === 0 ? null : list.join(', ');
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
