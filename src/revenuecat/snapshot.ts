import type { z } from 'zod';
import type { CatalogRow } from '../database/entities.ts';
import type { Snapshot } from '../subscription/types.ts';
import type {
  activeEntitlementSchema,
  aliasSchema,
  attributeSchema,
  customerSchema,
  purchaseSchema,
  subscriptionSchema,
} from './schemas.ts';

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
export function toSnapshot(
  parts: CustomerParts,
  catalog: readonly CatalogRow[],
  takenAtMs: number,
): Snapshot {
  const known = (kind: CatalogRow['kind'], id: string | null) =>
    catalog.find((entry) => entry.kind === kind && entry.id === id);
  const withProductName = <Item extends { readonly productId: string | null }>(item: Item) => {
    const product = known('product', item.productId);
    const productId = product?.lookupKey ?? item.productId;
    return { ...item, productId, productName: product?.displayName ?? null };
  };
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
      lookupKey: known('entitlement', entitlementId)?.lookupKey ?? entitlementId,
      endsAtMs,
    })),
    subscriptions: parts.subscriptions.map((item) => ({
      ...withProductName(item),
      pendingProductId: known('product', item.pendingProductId)?.lookupKey ?? item.pendingProductId,
    })),
    purchases: parts.purchases.map(withProductName),
  };
}

/**
 * When a snapshot was taken: the earlier of our clock and RevenueCat's. Events carry RevenueCat's time: where our clock
 * is ahead, an event that came after the snapshot would seem older, and would be ignored.
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
