import { capitalize } from '../text.ts';
import type { SubscriptionState } from './types.ts';

/** Display names from the catalog, where they are known. */
export interface Names {
  product(productId: string): string | null;
  entitlement(lookupKey: string): string | null;
}

interface Store {
  readonly name: string;
  /** `device`: the store comes with a device. `web`: customers pay in a browser. */
  readonly kind?: 'device' | 'web';
  /** Where its customers manage their subscriptions; Amazon's and Roku's addresses differ by country. */
  readonly subscriptionsPage?: string;
}

export const APPLE_SUBSCRIPTIONS_PAGE = 'https://apps.apple.com/account/subscriptions';
const GOOGLE_SUBSCRIPTIONS_PAGE = 'https://play.google.com/store/account/subscriptions';

const STORES: Readonly<Record<string, Store>> = {
  APP_STORE: { name: 'App Store', kind: 'device', subscriptionsPage: APPLE_SUBSCRIPTIONS_PAGE },
  MAC_APP_STORE: { name: 'Mac App Store', kind: 'device', subscriptionsPage: APPLE_SUBSCRIPTIONS_PAGE },
  PLAY_STORE: { name: 'Google Play', kind: 'device', subscriptionsPage: GOOGLE_SUBSCRIPTIONS_PAGE },
  AMAZON: { name: 'Amazon Appstore', kind: 'device' },
  GALAXY: { name: 'Galaxy Store', kind: 'device' },
  ROKU: { name: 'Roku', kind: 'device' },
  STRIPE: { name: 'Stripe', kind: 'web' },
  RC_BILLING: { name: 'RevenueCat Web Billing', kind: 'web' },
  PADDLE: { name: 'Paddle', kind: 'web' },
  PAYPAL: { name: 'PayPal', kind: 'web' },
  /** Payments that a developer reports to RevenueCat: not only of websites. */
  EXTERNAL: { name: 'External' },
  TEST_STORE: { name: 'Test Store' },
};

/** The stores of all purchases and grants. */
export const STORE_CODES: readonly string[] = [...Object.keys(STORES), 'PROMOTIONAL'];

function storeOf(store: string | null): Store | undefined {
  return STORES[store?.toUpperCase() ?? ''];
}

/** A store's brand; a store that RevenueCat adds later shows as its code in title case. `null`: unknown, or a grant. */
export function storeName(store: string | null): string | null {
  if (store === null || store === 'PROMOTIONAL') return null;
  return storeOf(store)?.name ?? titleCase(store);
}

/** The name of a store that comes with a device; Apple's rule for cards forbids naming other stores to customers. */
export function appStoreName(store: string | null): string | null {
  const named = storeOf(store);
  return named?.kind === 'device' ? named.name : null;
}

export function isWebStore(store: string | null): boolean {
  return storeOf(store)?.kind === 'web';
}

export function isApple(store: string | null): boolean {
  return storeOf(store)?.subscriptionsPage === APPLE_SUBSCRIPTIONS_PAGE;
}

/** The page of a store where its customers manage their subscriptions; `null`: no page works for everyone. */
export function subscriptionsPage(store: string | null): string | null {
  return storeOf(store)?.subscriptionsPage ?? null;
}

/** `SOME_NEW_THING` reads `Some New Thing`. */
export function titleCase(code: string): string {
  return code
    .toLowerCase()
    .split(/[_\s]+/)
    .filter((word) => word !== '')
    .map(capitalize)
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
  // A number alone is no name: `com.example.coins.100` is `Coins 100`.
  const named = segments.length > 3 ? segments.slice(-2).join(' ') : main;
  const tidy = capitalize(spaced(/^\d*$/.test(last) ? named : last));
  return plan ? `${tidy} (${spaced(plan)})` : tidy;
}

function spaced(text: string): string {
  return text.replaceAll(/[_-]+/g, ' ').trim() || text;
}

export function entitlementLabel(lookupKey: string, names: Names): string {
  return names.entitlement(lookupKey) ?? tidyId(lookupKey);
}

/** Whether a product or an entitlement is named by RevenueCat's own id, which no store and no customer has ever seen. */
export function isInternalId(id: string): boolean {
  return /^(?:prod|entl)[0-9a-f]{8,}$/.test(id);
}

/** Whether a web store made up the identifier: Stripe's `prod_` and `price_`, Paddle's `pro_` and `pri_`. */
function isGeneratedByStore(id: string): boolean {
  return /^(?:(?=.*[\dA-Z])(?:prod_\w{14}|price_\w{24})|pr[io]_01[\da-z]{24})$/.test(id);
}

/** `null`: unknown, or only a generated identifier is known. */
export function productName(productId: string | null, names: Names): string | null {
  if (productId === null) return null;
  const isNameless = isInternalId(productId) || isGeneratedByStore(productId);
  return names.product(productId) ?? (isNameless ? null : tidyId(productId));
}

/** What the customer has: the entitlement's name, else the product's; `''`: neither is known. */
export function entitlementOrProduct(subscription: SubscriptionState, names: Names): string {
  const [entitlement] = subscription.entitlements;
  return entitlement === undefined ? productOf(subscription, names) : entitlementLabel(entitlement, names);
}

/** `''`: a grant, or a product without a known name. */
export function productOf(subscription: SubscriptionState, names: Names): string {
  // RevenueCat generates the product name of a grant: rc_promo_pro_custom.
  if (subscription.store === 'PROMOTIONAL') return '';
  return subscription.productName || (productName(subscription.productId, names) ?? '');
}
