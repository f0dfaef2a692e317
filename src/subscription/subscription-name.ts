import { entitlementLabel, type Names, productLabel } from './describe-event.ts';
import { isInternalProductId } from './product-ids.ts';
import type { SubscriptionState } from './types.ts';

/** What the customer has: the entitlement's name, else the product's; `''`: neither is known. */
export function entitlementOrProduct(subscription: SubscriptionState, names: Names): string {
  const [entitlement] = subscription.entitlements;
  return entitlement === undefined ? productOf(subscription, names) : entitlementLabel(entitlement, names);
}

/** `''`: a grant, or a product that nobody named. */
export function productOf(subscription: SubscriptionState, names: Names): string {
  // RevenueCat names the product of a grant by itself: rc_promo_pro_custom.
  if (subscription.store === 'PROMOTIONAL') return '';
  if (subscription.productName) return subscription.productName;
  const { productId } = subscription;
  if (productId === null) return '';
  return isInternalProductId(productId) ? (names.product(productId) ?? '') : productLabel(productId, names);
}
