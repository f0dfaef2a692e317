import type { CatalogRow } from '../database/entities.ts';
import { toEmail } from '../subscription/app-user-ids.ts';
import type { Snapshot } from '../subscription/types.ts';
import type { RevenueCatClient } from './client.ts';
import { type CatalogContext, readCurrentCatalog } from './current-catalog.ts';

/** A customer as RevenueCat has it now. */
export interface RevenueCatCustomer {
  readonly snapshot: Snapshot;
  /** The `$email` attribute in lower case, and when it was set (epoch ms; 0: unknown). */
  readonly email: { readonly value: string; readonly atMs: number } | null;
}

/** @param customerId any alias. @returns `null`: RevenueCat does not know the customer */
export async function readCustomer(
  context: CatalogContext,
  customerId: string,
): Promise<RevenueCatCustomer | null> {
  const parts = await context.client.readCustomer(context.project.revenueCatProjectId, customerId);
  if (parts === null) return null;
  const catalog = await readCurrentCatalog(context, idsIn(parts));
  return { snapshot: toSnapshot(parts, catalog), email: emailOf(parts) };
}

type CustomerParts = NonNullable<Awaited<ReturnType<RevenueCatClient['readCustomer']>>>;

/** All of RevenueCat's own ids in the responses. */
function idsIn({ active, subscriptions, purchases }: CustomerParts): string[] {
  const ids = [
    ...active.map((item) => item.entitlementId),
    ...subscriptions.flatMap((item) => [item.productId, item.pendingProductId]),
    ...purchases.map((item) => item.productId),
  ];
  return [...new Set(ids.filter((id) => id != null))];
}

/** Combines the responses. Uses the same identifiers as events: lookup keys and the stores' product identifiers. */
function toSnapshot(parts: CustomerParts, catalog: readonly CatalogRow[]): Snapshot {
  const { customer } = parts;
  const find = (kind: CatalogRow['kind'], id: string | null) =>
    catalog.find((entry) => entry.kind === kind && entry.id === id);
  const withProductName = <Item extends { readonly productId: string | null }>(item: Item) => {
    const product = find('product', item.productId);
    const productId = product?.lookupKey ?? item.productId;
    return { ...item, productId, productName: product?.displayName ?? null };
  };
  return {
    takenAtMs: snapshotTime(parts.requestedAtMs, parts.date),
    customerId: customer.id,
    firstSeenAtMs: customer.first_seen_at,
    lastSeenAtMs: customer.last_seen_at,
    country: customer.last_seen_country,
    platform: customer.last_seen_platform,
    platformVersion: customer.last_seen_platform_version,
    appVersion: customer.last_seen_app_version,
    aliases: parts.aliases.map((alias) => alias.id),
    attributes: Object.fromEntries(
      parts.attributes.flatMap(({ name, value }) => (value === null ? [] : [[name, value]])),
    ),
    activeEntitlements: parts.active.map(({ entitlementId, endsAtMs }) => ({
      lookupKey: find('entitlement', entitlementId)?.lookupKey ?? entitlementId,
      endsAtMs,
    })),
    subscriptions: parts.subscriptions.map((item) => ({
      ...withProductName(item),
      pendingProductId: find('product', item.pendingProductId)?.lookupKey ?? item.pendingProductId,
    })),
    purchases: parts.purchases.map(withProductName),
  };
}

/**
 * When a snapshot was taken: the earlier time of our clock and RevenueCat's. Events have RevenueCat's time. If our
 * clock is ahead, an event that came after the snapshot would seem older and be ignored.
 */
export function snapshotTime(requestedAtMs: number, date: unknown): number {
  const dateMs = typeof date === 'string' ? Date.parse(date) : Number.NaN;
  return Number.isNaN(dateMs) || requestedAtMs < dateMs + 1_000 ? requestedAtMs : dateMs;
}

function emailOf({ attributes }: CustomerParts): RevenueCatCustomer['email'] {
  const found = attributes.find(({ name }) => name === '$email');
  const value = toEmail(found?.value);
  return value === null ? null : { value, atMs: found?.updated_at ?? 0 };
}
