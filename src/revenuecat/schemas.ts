import { z } from 'zod';
import { wellFormed } from '../http/client.ts';

/**
 * Shapes of RevenueCat's v2 API, read leniently, with the names that we use: real responses have fields that the
 * published description forbids, and lack some that it requires.
 */

const orNull = <T>(schema: z.ZodType<T>) => schema.nullish().transform((value) => value ?? null);
const text = orNull(z.string());

/** Documented as a 64-bit integer: more than a `Date` or a column of PostgreSQL holds. */
const MAX_DATE_MS = 8.64e15;
export const timeSchema = z.number().min(-MAX_DATE_MS).max(MAX_DATE_MS).transform(Math.trunc);
/** A time that no `Date` can hold counts as `null` too: an end that far away is no end. */
const ms = orNull(z.union([timeSchema, z.number().transform(() => null)]));

/** A name that someone typed; an empty one would be an empty option in a list. */
const name = text.transform((value) => value?.trim() || null);

export const listSchema = z.object({
  /** Required: an object without it, such as from a proxy, would read as "bought nothing". */
  items: z.array(z.unknown()),
  next_page: text,
});

/** A list inside another response; one of an unexpected shape counts as absent. */
export const innerListSchema = listSchema.nullish().catch(null);

export const projectSchema = z
  .object({ id: z.string(), name })
  .transform((project) => ({ id: project.id, name: project.name ?? project.id }));

export const customerSchema = z.object({
  id: z.string(),
  first_seen_at: ms,
  last_seen_at: ms,
  last_seen_app_version: text,
  last_seen_country: text,
  last_seen_platform: text,
  last_seen_platform_version: text,
  attributes: innerListSchema,
  /** Only in the response for a single customer. */
  active_entitlements: innerListSchema,
});

export const aliasSchema = z.object({ id: z.string() });

export const attributeSchema = z.object({ name: z.string(), value: text, updated_at: ms });

export const activeEntitlementSchema = z
  .object({ entitlement_id: z.string(), expires_at: ms })
  .transform((item) => ({ entitlementId: item.entitlement_id, endsAtMs: item.expires_at }));

/** Events and snapshots use an entitlement's lookup key. The lookup key of a product is the store's identifier. */
export const entitlementSchema = z
  .object({ id: z.string(), lookup_key: z.string(), display_name: name, state: text })
  .transform((item) => ({
    id: item.id,
    lookupKey: item.lookup_key,
    displayName: item.display_name,
    isActive: item.state !== 'inactive',
  }));

export const productSchema = z
  .object({ id: z.string(), store_identifier: z.string(), display_name: name })
  .transform((item) => ({ id: item.id, lookupKey: item.store_identifier, displayName: item.display_name }));

const lookupKeySchema = z.object({ lookup_key: z.string() }).transform((item) => item.lookup_key);
const entitlementsOf = innerListSchema.transform((list) => wellFormed(lookupKeySchema, list?.items ?? []));

const revenue = z
  .object({ gross: z.number().nullish() })
  .nullish()
  .transform((value) => Math.round((value?.gross ?? 0) * 100));

const environment = text.transform((value) =>
  value?.toLowerCase() === 'sandbox' ? ('sandbox' as const) : ('production' as const),
);

const store = text.transform((value) => value?.toUpperCase() ?? null);

/** Some stores use numbers. */
const storeIdentifier = orNull(z.union([z.string(), z.number().transform(String)]));

/** What a subscription and a one-time purchase have in common; `product_id` is RevenueCat's own. */
const boughtSchema = z.object({
  id: z.string(),
  product_id: text,
  store,
  environment,
  status: z.string(),
  entitlements: entitlementsOf,
  ownership: text,
});

function bought(item: z.infer<typeof boughtSchema>) {
  const { id, product_id: productId, store, environment, status, entitlements, ownership } = item;
  const isFamilyShare = ownership === 'family_shared';
  return { id, productId, store, environment, status, entitlements, isFamilyShare };
}

export const subscriptionSchema = boughtSchema
  .extend({
    status: z.string().default('unknown'),
    auto_renewal_status: text,
    gives_access: z.boolean().default(false),
    starts_at: ms,
    current_period_starts_at: ms,
    current_period_ends_at: ms,
    ends_at: ms,
    store_subscription_identifier: storeIdentifier,
    management_url: text,
    pending_changes: z
      .object({ product: z.object({ id: text }).nullish() })
      .nullish()
      .catch(null),
    total_revenue_in_usd: revenue,
  })
  .transform((item) => ({
    ...bought(item),
    pendingProductId: item.pending_changes?.product?.id ?? null,
    autoRenewalStatus: item.auto_renewal_status,
    givesAccess: item.gives_access,
    startsAtMs: item.starts_at,
    periodStartsAtMs: item.current_period_starts_at,
    periodEndsAtMs: item.current_period_ends_at,
    // `ends_at` is later if the next period is already paid. Grants from early 2025 have no `ends_at`.
    endsAtMs: item.ends_at ?? item.current_period_ends_at,
    storeSubscriptionId: item.store_subscription_identifier,
    managementUrl: item.management_url,
    revenueUsdCents: item.total_revenue_in_usd,
  }));

export const purchaseSchema = boughtSchema
  .extend({
    purchased_at: timeSchema,
    status: z.string().default('owned'),
    store_purchase_identifier: storeIdentifier,
    revenue_in_usd: revenue,
  })
  .transform((item) => ({
    ...bought(item),
    purchasedAtMs: item.purchased_at,
    storePurchaseId: item.store_purchase_identifier,
    revenueUsdCents: item.revenue_in_usd,
  }));

/** The customer who owns a subscription or purchase. */
export const ownerSchema = z
  .object({ customer_id: z.string() })
  .transform(({ customer_id: customerId }) => customerId);

export const webhookSchema = z.object({
  id: z.string(),
  url: z.string(),
  /** `null`: both. */
  environment: text,
  /** `null`: all. */
  event_types: z.array(z.string()).nullish().catch(null),
  /** `null`: every app of the project. */
  app_id: text,
});

/** Its body may lack the ID, the type and the app. Source: the v2 description in RevenueCat/cli. */
export const customerEventSchema = z.object({
  id: z.string(),
  app_id: text,
  type: z.string(),
  created_at: ms,
  occurred_at: ms,
  body: z.record(z.string(), z.unknown()).nullish(),
});
