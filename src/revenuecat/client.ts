import { type AxiosInstance, type AxiosResponse, isAxiosError } from 'axios';
import type { z } from 'zod';
import { AppError } from '../errors.ts';
import { createHttpClient, isAccepted } from '../http/client.ts';
import type { Snapshot } from '../subscription/types.ts';
import type { CallDomain, CallGate } from './call-limiter.ts';
import { revenueCatFailure, revenueCatUnreachable, waitMsOf } from './failures.ts';
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
import { type CatalogNames, emailOf, idsIn, snapshotTime, toSnapshot } from './snapshot.ts';
import { createStoreActions, type StoreActions, willRenew } from './store-actions.ts';

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

export interface CustomerSubscription {
  /** In capitals; grants are of `PROMOTIONAL`. */
  readonly store: string | null;
  readonly givesAccess: boolean;
  readonly willRenew: boolean;
  readonly endsAtMs: number | null;
  /** Lookup keys. */
  readonly entitlements: readonly string[];
}

/** One customer, as read from the API. */
export interface CustomerReading {
  readonly snapshot: Snapshot;
  /** The `$email` attribute, in small letters; `atMs`: when it was set. */
  readonly email: { readonly value: string; readonly atMs: number } | null;
}

export interface CustomerPage {
  readonly ids: readonly string[];
  /** What the next page follows; `null`: there is none. */
  readonly next: string | null;
}

export interface RevenueCatClient {
  /** What support can do to what a customer bought. */
  readonly stores: StoreActions;
  listProjects(): Promise<{ id: string; name: string }[]>;
  listEntitlements(projectId: string): Promise<CatalogItem[]>;
  listProducts(projectId: string): Promise<CatalogItem[]>;
  /** Any alias finds the customer; `null`: RevenueCat does not know it. Creates no customer, unlike v1. */
  getCustomer(projectId: string, customerId: string): Promise<{ id: string } | null>;
  /** Exact e-mail; newer servers also match app user ids and store transactions. */
  searchCustomers(projectId: string, text: string): Promise<{ id: string }[]>;
  activeEntitlements(projectId: string, customerId: string): Promise<ActiveEntitlement[]>;
  /** Bought and granted, active and ended. */
  listSubscriptions(projectId: string, customerId: string): Promise<CustomerSubscription[]>;
  /** Tests the permission to read this of customers. @throws AppError `revenuecat_scope_missing` */
  tryReading(projectId: string, what: 'subscriptions' | 'purchases'): Promise<void>;
  /** Everything of one customer, in four calls; `null`: unknown. */
  readCustomer(projectId: string, customerId: string, names: CatalogNames): Promise<CustomerReading | null>;
  /** A page of all customers' ids, up to a hundred, after this one. */
  listCustomers(projectId: string, after: string | null): Promise<CustomerPage>;
  grantEntitlement(
    projectId: string,
    customerId: string,
    grant: { entitlementId: string; expiresAtMs: number },
  ): Promise<void>;
  revokeEntitlement(projectId: string, customerId: string, entitlementId: string): Promise<void>;
  listWebhooks(projectId: string): Promise<z.infer<typeof webhookSchema>[]>;
  createWebhook(
    projectId: string,
    webhook: { name: string; url: string; authorizationHeader: string },
  ): Promise<{ id: string }>;
  deleteWebhook(projectId: string, webhookId: string): Promise<void>;
  /** Bodies like webhooks' events; `null`: this server does not offer the endpoint. */
  listCustomerEvents(projectId: string, customerId: string): Promise<Record<string, unknown>[] | null>;
}

/** Lists are paged by hundreds; a customer with more pages than this is not read further. */
const MAX_PAGES = 200;

export interface RevenueCatClientOptions {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly now?: () => number;
  readonly timeoutMs?: number | undefined;
  /** Shares the key's rate limit with everything else that uses it. */
  readonly gate?: CallGate | undefined;
}

/** Interceptors: authentication, rate limit, typed errors. */
function createRevenueCatHttp(options: RevenueCatClientOptions): AxiosInstance {
  const { apiUrl, apiKey, now = Date.now, timeoutMs = 10_000, gate } = options;
  const http = createHttpClient({ baseURL: apiUrl, timeout: timeoutMs });
  const domainOf = (url = ''): CallDomain =>
    /\/(customers|subscriptions|purchases)\b/.test(url) ? 'customer' : 'configuration';
  http.interceptors.request.use(async (config) => {
    config.headers.set('Authorization', `Bearer ${apiKey}`);
    await gate?.enter(domainOf(config.url));
    return config;
  });
  http.interceptors.response.use(
    async (response) => {
      const { status, headers, data: body, config } = response;
      const domain = domainOf(config.url);
      if (isAccepted(response)) {
        gate?.observe(domain, {
          usage: Number(headers['revenuecat-rate-limit-current-usage']),
          limit: Number(headers['revenuecat-rate-limit-current-limit']),
        });
        return response;
      }
      if (status === 429) await gate?.pause(domain, waitMsOf({ headers, body }));
      throw revenueCatFailure({ status, headers, body }, config.action ?? '', now());
    },
    (error) => {
      // The gate's own refusal comes here too.
      throw isAxiosError(error) ? revenueCatUnreachable(error.config?.action ?? '', error) : error;
    },
  );
  return http;
}

/**
 * Calls RevenueCat's v2 API with one project's secret key. Every method throws {@link AppError} with a
 * `revenuecat_…` code. v1 is never used: its `GET /subscribers/{id}` creates the customer it is asked for.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one short method for each endpoint
export function createRevenueCatClient(options: RevenueCatClientOptions): RevenueCatClient {
  const { apiUrl, now = Date.now } = options;
  const http = createRevenueCatHttp(options);
  const id = encodeURIComponent;
  const get = (url: string, action: string): Promise<AxiosResponse> => http.get(url, { action });

  function parse<T>(schema: z.ZodType<T>, value: unknown, action: string): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new AppError('revenuecat_unavailable', `${action}: RevenueCat's response has an unexpected shape`, {
      status: 502,
      remedy: { kind: 'retry' },
    });
  }

  /** All pages. An item of an unexpected shape is passed over: one odd purchase must not hide the others. */
  function list<T>(path: string, schema: z.ZodType<T>, action: string): Promise<T[]> {
    const first = `${path}${path.includes('?') ? '&' : '?'}limit=100`;
    return listFrom({ items: [], next_page: first }, schema, action);
  }

  /** @param begun a first page that came inside another answer, or none */
  async function listFrom<T>(
    begun: z.infer<typeof listSchema>,
    schema: z.ZodType<T>,
    action: string,
  ): Promise<T[]> {
    const items = wellFormed(schema, begun.items);
    let next = nextPath(begun.next_page, apiUrl, action);
    for (let count = 0; next !== null && count < MAX_PAGES; count += 1) {
      const page = parse(listSchema, (await get(next, action)).data, action);
      items.push(...wellFormed(schema, page.items));
      next = nextPath(page.next_page, apiUrl, action);
    }
    return items;
  }

  const customerPath = (projectId: string, customerId: string): string =>
    `/v2/projects/${id(projectId)}/customers/${id(customerId)}`;

  return {
    stores: createStoreActions({ http, list, parse }),
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
        parse(customerSchema, (await get(customerPath(projectId, customerId), action)).data, action),
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
    async listSubscriptions(projectId, customerId) {
      const path = `${customerPath(projectId, customerId)}/subscriptions`;
      const items = await list(path, subscriptionSchema, 'Reading subscriptions');
      return items.map((item) => ({
        store: item.store,
        givesAccess: item.gives_access,
        willRenew: willRenew(item.auto_renewal_status),
        // Grants made early in 2025 have no `ends_at`.
        endsAtMs: item.ends_at ?? item.current_period_ends_at,
        entitlements: item.entitlements,
      }));
    },
    async tryReading(projectId, what) {
      const path = `${customerPath(projectId, 'unknown@example.com')}/${what}?limit=1`;
      await nullWhenMissing(() => get(path, 'Trying the key'));
    },
    readCustomer(projectId, customerId, names) {
      const requestedAtMs = now();
      const path = customerPath(projectId, customerId);
      const action = 'Reading a customer';
      return nullWhenMissing(async () => {
        const response = await get(`${path}?expand=attributes`, action);
        const customer = parse(customerSchema, response.data, action);
        const [aliases, attributes, active, subscriptions, purchases] = await Promise.all([
          list(`${path}/aliases`, aliasSchema, action),
          customer.attributes
            ? listFrom(customer.attributes, attributeSchema, action)
            : list(`${path}/attributes`, attributeSchema, action),
          customer.active_entitlements
            ? listFrom(customer.active_entitlements, activeEntitlementSchema, action)
            : list(`${path}/active_entitlements`, activeEntitlementSchema, action),
          list(`${path}/subscriptions`, subscriptionSchema, action),
          list(`${path}/purchases`, purchaseSchema, action),
        ]);
        const takenAtMs = snapshotTime(requestedAtMs, response.headers.date);
        const parts = { customer, aliases, attributes, active, subscriptions, purchases };
        const known = (await names.knowing?.(idsIn(parts))) ?? names;
        return { snapshot: toSnapshot(parts, known, takenAtMs), email: emailOf(attributes) };
      });
    },
    async listCustomers(projectId, after) {
      const action = 'Listing customers';
      const following = after === null ? '' : `&starting_after=${id(after)}`;
      const path = `/v2/projects/${id(projectId)}/customers?limit=100${following}`;
      const page = parse(listSchema, (await get(path, action)).data, action);
      const ids = wellFormed(customerSchema, page.items).map((customer) => customer.id);
      const next = nextPath(page.next_page, apiUrl, action);
      if (next === null) return { ids, next: null };
      return {
        ids,
        next: new URLSearchParams(next.split('?')[1]).get('starting_after') ?? ids.at(-1) ?? null,
      };
    },
    async grantEntitlement(projectId, customerId, grant) {
      const path = `${customerPath(projectId, customerId)}/actions/grant_entitlement`;
      const body = { entitlement_id: grant.entitlementId, expires_at: grant.expiresAtMs };
      await http.post(path, body, { action: 'Granting an entitlement' });
    },
    async revokeEntitlement(projectId, customerId, entitlementId) {
      const path = `${customerPath(projectId, customerId)}/actions/revoke_granted_entitlement`;
      await http.post(path, { entitlement_id: entitlementId }, { action: 'Revoking an entitlement' });
    },
    listWebhooks(projectId) {
      return list(`/v2/projects/${id(projectId)}/integrations/webhooks`, webhookSchema, 'Listing webhooks');
    },
    async createWebhook(projectId, webhook) {
      const action = 'Registering the webhook';
      const body = {
        name: webhook.name,
        url: webhook.url,
        authorization_header: webhook.authorizationHeader,
      };
      const path = `/v2/projects/${id(projectId)}/integrations/webhooks`;
      return parse(webhookSchema, (await http.post(path, body, { action })).data, action);
    },
    async deleteWebhook(projectId, webhookId) {
      const path = `/v2/projects/${id(projectId)}/integrations/webhooks/${id(webhookId)}`;
      await http.delete(path, { action: 'Removing the webhook' });
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

/** An item of an unexpected shape is passed over: one odd purchase must not hide the others. */
function wellFormed<T>(schema: z.ZodType<T>, items: readonly unknown[]): T[] {
  return items.flatMap((item) => {
    const parsed = schema.safeParse(item);
    return parsed.success ? [parsed.data] : [];
  });
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
 * Path of the next page. Documented as relative and recorded as absolute on RevenueCat's own host: only path and
 * query are used, so that a key is never sent to another host.
 */
function nextPath(nextPage: string | null, apiUrl: string, action: string): string | null {
  if (!nextPage) return null;
  const url = URL.parse(nextPage, `${apiUrl}/`);
  const isOwn = url?.origin === new URL(apiUrl).origin || url?.origin === 'https://api.revenuecat.com';
  if (url && isOwn) return `${url.pathname}${url.search}`;
  throw new AppError('revenuecat_rejected', `${action}: next_page is not on RevenueCat's host`, {
    status: 502,
  });
}
