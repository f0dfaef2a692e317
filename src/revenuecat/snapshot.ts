import type { z } from 'zod';
import type { Snapshot } from '../subscription/types.ts';
import type {
  activeEntitlementSchema,
  aliasSchema,
  attributeSchema,
  customerSchema,
  purchaseSchema,
  subscriptionSchema,
} from './schemas.ts';

/** Names that a snapshot needs and the API gives only by id. */
export interface CatalogNames {
  entitlementKey(id: string): string | null;
  product(id: string): { storeIdentifier: string; displayName: string | null } | null;
}

/** The responses of several calls for one customer. */
interface CustomerParts {
  readonly customer: z.infer<typeof customerSchema>;
  readonly aliases: readonly z.infer<typeof aliasSchema>[];
  readonly attributes: readonly z.infer<typeof attributeSchema>[];
  readonly active: readonly z.infer<typeof activeEntitlementSchema>[];
  readonly subscriptions: readonly z.infer<typeof subscriptionSchema>[];
  readonly purchases: readonly z.infer<typeof purchaseSchema>[];
}

/** All of RevenueCat's own ids in the responses. */
export function idsIn({ active, subscriptions, purchases }: CustomerParts): string[] {
  const ids = [
    ...active.map((item) => item.entitlementId),
    ...subscriptions.flatMap((item) => [item.productId, item.pendingProductId]),
    ...purchases.map((item) => item.productId),
  ];
  return [...new Set(ids.filter((id) => id != null))];
}

/** Combines the responses, with the identifiers that events use: lookup keys and the stores' product identifiers. */
export function toSnapshot(parts: CustomerParts, names: CatalogNames, takenAtMs: number): Snapshot {
  return {
    takenAtMs,
    customerId: parts.customer.id,
    firstSeenAtMs: parts.customer.first_seen_at,
    lastSeenAtMs: parts.customer.last_seen_at,
    country: parts.customer.last_seen_country,
    platform: parts.customer.last_seen_platform,
    platformVersion: parts.customer.last_seen_platform_version,
    appVersion: parts.customer.last_seen_app_version,
    aliases: parts.aliases.map((alias) => alias.id),
    attributes: Object.fromEntries(
      parts.attributes.flatMap((attribute) =>
        attribute.value === null ? [] : [[attribute.name, attribute.value]],
      ),
    ),
    activeEntitlements: parts.active.map(({ entitlementId, endsAtMs }) => ({
      lookupKey: names.entitlementKey(entitlementId) ?? entitlementId,
      endsAtMs,
    })),
    subscriptions: parts.subscriptions.map((item) => ({
      ...withProductName(item, names),
      pendingProductId: storeIdentifierOf(item.pendingProductId, names),
    })),
    purchases: parts.purchases.map((item) => withProductName(item, names)),
  };
}

function withProductName<Item extends { readonly productId: string | null }>(
  item: Item,
  names: CatalogNames,
) {
  const { productId } = item;
  const productName = productId === null ? null : (names.product(productId)?.displayName ?? null);
  return { ...item, productId: storeIdentifierOf(productId, names), productName };
}

/** The API names a product by its own id, events by the store's: the store's where it is known. */
function storeIdentifierOf(productId: string | null, names: CatalogNames): string | null {
  return productId === null ? null : (names.product(productId)?.storeIdentifier ?? productId);
}

/**
 * When a snapshot was taken: the earlier of our clock and RevenueCat's. Events carry RevenueCat's time: where our clock
 * is ahead, an event that came after the snapshot would seem older, and would be ignored.
 *
 * @param date the response's `Date`, whole seconds
 */
export function snapshotTime(requestedAtMs: number, date: unknown): number {
  const dateMs = typeof date === 'string' ? Date.parse(date) : Number.NaN;
  return Number.isNaN(dateMs) || requestedAtMs < dateMs + 1_000 ? requestedAtMs : dateMs;
}

/** The `$email` attribute in small letters, with when it was set (epoch ms; 0: unknown). */
export function emailOf(
  attributes: readonly z.infer<typeof attributeSchema>[],
): { readonly value: string; readonly atMs: number } | null {
  const found = attributes.find(({ name }) => name === '$email');
  if (!found?.value?.includes('@') || found.value.length > 320) return null;
  return { value: found.value.trim().toLowerCase(), atMs: found.updated_at ?? 0 };
}
