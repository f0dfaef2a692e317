import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import axios, { type AxiosInstance, type AxiosResponse, type Method } from 'axios';
import type { z } from 'zod';
import { AppError } from '../errors.ts';
import type { Snapshot } from '../subscribers/types.ts';
import { revenueCatFailure, revenueCatUnreachable } from './failures.ts';
import {
  activeEntitlementSchema,
  aliasSchema,
  attributeSchema,
  customerEventSchema,
  customerSchema,
  entitlementSchema,
  listSchema,
  productSchema,
  projectSchema,
  purchaseSchema,
  subscriptionSchema,
  webhookSchema,
} from './schemas.ts';

export interface CatalogItem {
  readonly id: string;
  /** What events and snapshots name: an entitlement's lookup key, a product's store identifier. */
  readonly lookupKey: string;
  readonly displayName: string | null;
}

export interface ActiveEntitlement {
  /** `entl…` */
  readonly entitlementId: string;
  readonly endsAtMs: number | null;
}

/** Names that a snapshot needs and the API gives only by id. */
export interface CatalogNames {
  entitlementKey(id: string): string | null;
  product(id: string): { storeIdentifier: string; displayName: string | null } | null;
}

export interface RevenueCatClient {
  listProjects(): Promise<{ id: string; name: string }[]>;
  listEntitlements(projectId: string): Promise<CatalogItem[]>;
  listProducts(projectId: string): Promise<CatalogItem[]>;
  /** Any alias finds the customer; `null`: RevenueCat does not know it. Creates nobody, unlike v1. */
  getCustomer(projectId: string, customerId: string): Promise<{ id: string } | null>;
  /** Exact e-mail; newer servers also match app user ids and store transactions. */
  searchCustomers(projectId: string, text: string): Promise<{ id: string }[]>;
  activeEntitlements(projectId: string, customerId: string): Promise<ActiveEntitlement[]>;
  /** Everything of one customer; `null`: unknown. */
  snapshot(projectId: string, customerId: string, names: CatalogNames): Promise<Snapshot | null>;
  grantEntitlement(
    projectId: string,
    customerId: string,
    grant: { entitlementId: string; expiresAtMs: number },
  ): Promise<void>;
  revokeEntitlement(projectId: string, customerId: string, entitlementId: string): Promise<void>;
  listWebhooks(projectId: string): Promise<{ id: string; url: string }[]>;
  createWebhook(
    projectId: string,
    webhook: { name: string; url: string; authorizationHeader: string },
  ): Promise<{ id: string }>;
  deleteWebhook(projectId: string, webhookId: string): Promise<void>;
  /** Bodies like webhooks' events; `null`: this server does not offer the endpoint. */
  listCustomerEvents(projectId: string, customerId: string): Promise<Record<string, unknown>[] | null>;
}

const http: AxiosInstance = axios.create({
  httpAgent: new HttpAgent({ keepAlive: true, maxSockets: 32 }),
  httpsAgent: new HttpsAgent({ keepAlive: true, maxSockets: 32 }),
  maxRedirects: 0,
  validateStatus: () => true,
  headers: { Accept: 'application/json' },
});

/** Lists are paged by hundreds; a customer with more pages than this is not read further. */
const MOST_PAGES = 200;

/**
 * Talks to RevenueCat's v2 API with one project's secret key. Every method throws {@link AppError} with a
 * `revenuecat_…` code. v1 is never asked: its `GET /subscribers/{id}` creates the customers it is asked for.
 */
export function createRevenueCatClient(options: {
  apiUrl: string;
  apiKey: string;
  now?: () => number;
  timeoutMs?: number;
  /** Waits for the key's share of the rate limit before each call. */
  beforeCall?: (domain: 'customer' | 'configuration') => Promise<void>;
}): RevenueCatClient {
  const now = options.now ?? Date.now;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const id = encodeURIComponent;

  async function send(method: Method, path: string, action: string, body?: unknown): Promise<unknown> {
    await options.beforeCall?.(
      /\/(customers|subscriptions|purchases)/.test(path) ? 'customer' : 'configuration',
    );
    let answer: AxiosResponse<unknown>;
    try {
      answer = await http.request({
        method,
        url: `${options.apiUrl}${path}`,
        ...(body === undefined ? {} : { data: body }),
        headers: { Authorization: `Bearer ${options.apiKey}` },
        timeout: timeoutMs,
        signal: AbortSignal.timeout(timeoutMs + 1_000),
      });
    } catch (error) {
      throw revenueCatUnreachable(action, error);
    }
    if (answer.status >= 200 && answer.status < 300) return answer.data;
    throw revenueCatFailure(
      { status: answer.status, headers: answer.headers, body: answer.data },
      action,
      now(),
    );
  }

  function read<T>(schema: z.ZodType<T>, value: unknown, action: string): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new AppError('revenuecat_unavailable', `${action}: RevenueCat's answer has an unexpected shape`, {
      status: 502,
      remedy: { kind: 'retry' },
    });
  }

  /** All pages. An item of an unexpected shape is passed over: one odd purchase must not hide the others. */
  async function list<T>(path: string, schema: z.ZodType<T>, action: string): Promise<T[]> {
    const items: T[] = [];
    let next: string | null = `${path}${path.includes('?') ? '&' : '?'}limit=100`;
    for (let page = 0; next !== null && page < MOST_PAGES; page += 1) {
      const answer = read(listSchema, await send('GET', next, action), action);
      for (const item of answer.items) {
        const parsed = schema.safeParse(item);
        if (parsed.success) items.push(parsed.data);
      }
      next = nextPath(answer.next_page, options.apiUrl);
    }
    return items;
  }

  const customerPath = (projectId: string, customerId: string): string =>
    `/v2/projects/${id(projectId)}/customers/${id(customerId)}`;

  return {
    async listProjects() {
      const projects = await list('/v2/projects', projectSchema, 'Listing projects');
      return projects.map((project) => ({ id: project.id, name: project.name ?? project.id }));
    },
    async listEntitlements(projectId) {
      const items = await list(
        `/v2/projects/${id(projectId)}/entitlements`,
        entitlementSchema,
        'Listing entitlements',
      );
      return items.map((item) => ({
        id: item.id,
        lookupKey: item.lookup_key,
        displayName: item.display_name,
      }));
    },
    async listProducts(projectId) {
      const items = await list(`/v2/projects/${id(projectId)}/products`, productSchema, 'Listing products');
      return items.map((item) => ({
        id: item.id,
        lookupKey: item.store_identifier,
        displayName: item.display_name,
      }));
    },
    async getCustomer(projectId, customerId) {
      const action = 'Reading a customer';
      return nullWhenMissing(async () =>
        read(customerSchema, await send('GET', customerPath(projectId, customerId), action), action),
      );
    },
    searchCustomers(projectId, search) {
      const path = `/v2/projects/${id(projectId)}/customers?search=${id(search)}`;
      return list(path, customerSchema, 'Searching customers');
    },
    async activeEntitlements(projectId, customerId) {
      const path = `${customerPath(projectId, customerId)}/active_entitlements`;
      const items = await list(path, activeEntitlementSchema, 'Reading entitlements');
      return items.map((item) => ({ entitlementId: item.entitlement_id, endsAtMs: item.expires_at }));
    },
    async snapshot(projectId, customerId, names) {
      const takenAtMs = now();
      const path = customerPath(projectId, customerId);
      const action = 'Reading a customer';
      const customer = await nullWhenMissing(async () =>
        read(customerSchema, await send('GET', `${path}?expand=attributes`, action), action),
      );
      if (!customer) return null;
      const [aliases, attributes, active, subscriptions, purchases] = await Promise.all([
        list(`${path}/aliases`, aliasSchema, action),
        customer.attributes
          ? customer.attributes.items.flatMap((item) => attributeSchema.safeParse(item).data ?? [])
          : list(`${path}/attributes`, attributeSchema, action),
        list(`${path}/active_entitlements`, activeEntitlementSchema, action),
        list(`${path}/subscriptions`, subscriptionSchema, action),
        list(`${path}/purchases`, purchaseSchema, action),
      ]);
      return {
        takenAtMs,
        customerId: customer.id,
        firstSeenAtMs: customer.first_seen_at,
        lastSeenAtMs: customer.last_seen_at,
        country: customer.last_seen_country,
        platform: customer.last_seen_platform,
        platformVersion: customer.last_seen_platform_version,
        appVersion: customer.last_seen_app_version,
        aliases: aliases.map((alias) => alias.id),
        attributes: Object.fromEntries(
          attributes.flatMap((attribute) =>
            attribute.value === null ? [] : [[attribute.name, attribute.value]],
          ),
        ),
        activeEntitlements: active.map((item) => ({
          lookupKey: names.entitlementKey(item.entitlement_id) ?? item.entitlement_id,
          endsAtMs: item.expires_at,
        })),
        subscriptions: subscriptions.map((item) => {
          const product = item.product_id === null ? null : names.product(item.product_id);
          return {
            id: item.id,
            productId: product?.storeIdentifier ?? item.product_id,
            productName: product?.displayName ?? null,
            store: item.store,
            environment: item.environment,
            status: item.status,
            autoRenewalStatus: item.auto_renewal_status,
            givesAccess: item.gives_access,
            startsAtMs: item.starts_at,
            periodStartsAtMs: item.current_period_starts_at,
            periodEndsAtMs: item.current_period_ends_at,
            endsAtMs: item.ends_at,
            entitlements: item.entitlements,
            storeSubscriptionId: item.store_subscription_identifier,
            managementUrl: item.management_url,
            pendingProductId: item.pending_changes?.product?.id ?? null,
            revenueUsdCents: item.total_revenue_in_usd,
            isFamilyShare: item.ownership === 'family_shared',
          };
        }),
        purchases: purchases.map((item) => {
          const product = item.product_id === null ? null : names.product(item.product_id);
          return {
            id: item.id,
            productId: product?.storeIdentifier ?? item.product_id,
            productName: product?.displayName ?? null,
            store: item.store,
            environment: item.environment,
            purchasedAtMs: item.purchased_at,
            status: item.status,
            entitlements: item.entitlements,
            storePurchaseId: item.store_purchase_identifier,
            revenueUsdCents: item.revenue_in_usd,
          };
        }),
      };
    },
    async grantEntitlement(projectId, customerId, grant) {
      await send(
        'POST',
        `${customerPath(projectId, customerId)}/actions/grant_entitlement`,
        'Granting an entitlement',
        {
          entitlement_id: grant.entitlementId,
          expires_at: grant.expiresAtMs,
        },
      );
    },
    async revokeEntitlement(projectId, customerId, entitlementId) {
      const path = `${customerPath(projectId, customerId)}/actions/revoke_granted_entitlement`;
      await send('POST', path, 'Revoking an entitlement', { entitlement_id: entitlementId });
    },
    listWebhooks(projectId) {
      return list(`/v2/projects/${id(projectId)}/integrations/webhooks`, webhookSchema, 'Listing webhooks');
    },
    async createWebhook(projectId, webhook) {
      const action = 'Registering the webhook';
      const data = await send('POST', `/v2/projects/${id(projectId)}/integrations/webhooks`, action, {
        name: webhook.name,
        url: webhook.url,
        authorization_header: webhook.authorizationHeader,
      });
      return read(webhookSchema, data, action);
    },
    async deleteWebhook(projectId, webhookId) {
      const path = `/v2/projects/${id(projectId)}/integrations/webhooks/${id(webhookId)}`;
      await send('DELETE', path, 'Removing the webhook');
    },
    async listCustomerEvents(projectId, customerId) {
      const path = `${customerPath(projectId, customerId)}/events`;
      const items = await list(path, customerEventSchema, 'Reading events').catch((error: unknown) => {
        // The endpoint is newer than the published description: it may be absent or closed to this key.
        if (error instanceof AppError && (error.upstreamStatus === 404 || error.upstreamStatus === 403))
          return null;
        throw error;
      });
      return (
        items?.map((item) => ({
          event_timestamp_ms: item.occurred_at ?? item.created_at,
          ...item.body,
          id: item.body?.id ?? item.id,
          type: item.body?.type ?? item.type,
        })) ?? null
      );
    },
  };
}

async function nullWhenMissing<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError && error.code === 'revenuecat_not_found') return null;
    throw error;
  }
}

/**
 * Path of the next page. Documented as relative and recorded as absolute on RevenueCat's own host: only path
 * and query are kept, so that a key can never be sent to another host.
 */
function nextPath(nextPage: string | null, apiUrl: string): string | null {
  if (!nextPage) return null;
  const url = new URL(nextPage, `${apiUrl}/`);
  const own = url.origin === new URL(apiUrl).origin || url.origin === 'https://api.revenuecat.com';
  if (!own)
    throw new AppError('revenuecat_rejected', `Next page lies on a foreign host: ${url.host}`, {
      status: 502,
    });
  return `${url.pathname}${url.search}`;
}
