import type { Axios, AxiosResponse } from 'axios';
import { z } from 'zod';
import { AppError, nullOn } from '../errors.ts';
import {
  createHttpClient,
  isAccepted,
  noResponseError,
  parseResponse,
  readCount,
  wellFormed,
} from '../http/client.ts';
import { isRecord } from '../text.ts';
import type { CallDomain } from './call-budget.ts';
import type { RevenueCatGate } from './call-limiter.ts';
import { revenueCatFailure } from './failures.ts';
import {
  activeEntitlementSchema,
  aliasSchema,
  attributeSchema,
  customerEventSchema,
  customerSchema,
  entitlementSchema,
  innerListSchema,
  listSchema,
  ownerSchema,
  productSchema,
  projectSchema,
  purchaseSchema,
  subscriptionSchema,
  webhookSchema,
} from './schemas.ts';
import { createStoreActions } from './store-actions.ts';

/** Lists are read in pages of 100 items, up to this number of pages. */
const MAX_PAGES = 200;

type FirstPage = z.infer<typeof listSchema>;

interface RevenueCatClientOptions {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly now?: () => number;
  readonly timeoutMs?: number;
  /** Shares the key's rate limit with everything else that uses it. */
  readonly gate?: RevenueCatGate;
}

function createRevenueCatHttp(options: RevenueCatClientOptions): Axios {
  const { apiUrl, apiKey, now = Date.now, timeoutMs, gate } = options;
  const http = createHttpClient({
    baseURL: apiUrl,
    timeout: timeoutMs,
    headers: { authorization: `Bearer ${apiKey}` },
  });
  const domainOf = (url = ''): CallDomain =>
    /\/(customers|subscriptions|purchases)\b/.test(url) ? 'customer' : 'configuration';
  http.interceptors.request.use(async (config) => {
    await gate?.enter(domainOf(config.url));
    return config;
  });
  http.interceptors.response.use(
    async (response) => {
      const { status, headers, data: body, config } = response;
      const domain = domainOf(config.url);
      if (isAccepted(response)) {
        const usage = readCount(headers['revenuecat-rate-limit-current-usage']);
        const limit = readCount(headers['revenuecat-rate-limit-current-limit']);
        if (usage !== null && limit) gate?.observe(domain, { usage, limit });
        return response;
      }
      const nowMs = now();
      const failure = revenueCatFailure({ status, headers, body }, config.action ?? '', nowMs);
      if (failure.remedy.kind === 'wait_until') await gate?.pause(domain, failure.remedy.atMs - nowMs);
      throw failure;
    },
    (error) => {
      // Also receives the gate's own refusals.
      throw noResponseError('RevenueCat', error);
    },
  );
  return http;
}

export type RevenueCatClient = ReturnType<typeof createRevenueCatClient>;

/**
 * Calls RevenueCat's v2 API with one project's secret key. Every method throws {@link AppError} with a
 * `revenuecat_…` code. v1 is never used: its `GET /subscribers/{id}` creates the customer it is asked for.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one short method for each endpoint
export function createRevenueCatClient(options: RevenueCatClientOptions) {
  const { apiUrl, now = Date.now } = options;
  const http = createRevenueCatHttp(options);
  const get = (url: string, action: string): Promise<AxiosResponse> => http.get(url, { action });

  const parse = <T>(schema: z.ZodType<T>, response: AxiosResponse): T =>
    parseResponse('RevenueCat', schema, response);
  const path = (projectId: string, ...parts: readonly string[]): string =>
    ['/v2/projects', ...[projectId, ...parts].map(encodeURIComponent)].join('/');
  const read = async <T>(schema: z.ZodType<T>, url: string, action: string): Promise<T> =>
    parse(schema, await get(url, action));

  /** Reads all pages. */
  function list<T>(path: string, schema: z.ZodType<T>, action: string): Promise<T[]> {
    const first = `${path}${path.includes('?') ? '&' : '?'}limit=100`;
    return listFrom({ items: [], next_page: first }, schema, action);
  }

  /** @param begun the first page, which came inside another response, or an empty one that names the first page */
  async function listFrom<T>(begun: FirstPage, schema: z.ZodType<T>, action: string): Promise<T[]> {
    const items = new Map(begun.items.map((item) => [idOf(item), item]));
    let next = nextPath(begun.next_page, apiUrl, action);
    for (let count = 0; next !== null && count < MAX_PAGES; count += 1) {
      const page = await read(listSchema, next, action);
      const countBefore = items.size;
      for (const item of page.items) items.set(idOf(item), item);
      // `next_page` leads back to an earlier page.
      if (page.items.length > 0 && items.size === countBefore) break;
      next = nextPath(page.next_page, apiUrl, action);
    }
    return wellFormed(schema, [...items.values()]);
  }

  /** A customer's subscriptions or purchases with all of their entitlements, whose lists have pages of their own. */
  async function listBought<T>(path: string, schema: z.ZodType<T>, action: string): Promise<T[]> {
    const items = await list(path, z.looseObject({ entitlements: innerListSchema }), action);
    const whole = items.map(async (item) => {
      if (!item.entitlements?.next_page) return item;
      return { ...item, entitlements: { items: await listFrom(item.entitlements, z.unknown(), action) } };
    });
    return wellFormed(schema, await Promise.all(whole));
  }

  return {
    /** Reads and changes what a customer bought in a store. */
    stores: createStoreActions({ http, path, list, listFrom, read }),
    listProjects: () => list('/v2/projects', projectSchema, 'Listing projects'),
    listEntitlements: (projectId: string) =>
      list(path(projectId, 'entitlements'), entitlementSchema, 'Listing entitlements'),
    listProducts: (projectId: string) => list(path(projectId, 'products'), productSchema, 'Listing products'),
    /** Any alias finds the customer; `null`: RevenueCat does not know it. Creates no customer, unlike v1. */
    getCustomer(projectId: string, customerId: string): Promise<{ id: string } | null> {
      const url = path(projectId, 'customers', customerId);
      return nullOn('revenuecat_not_found', read(customerSchema, url, 'Reading a customer'));
    },
    /** The customers with this `$email`, in the same case. Other matches (UNVERIFIED) are app user ids and orders. */
    async findByEmail(projectId: string, email: string): Promise<string[]> {
      const url = `${path(projectId, 'customers')}?search=${encodeURIComponent(email)}`;
      return (await list(url, customerSchema, 'Searching customers')).map(({ id }) => id);
    },
    /** The customers who own the purchase with a store's transaction or order ID, which may be that of any period. */
    async findBuyers(projectId: string, storeId: string): Promise<string[]> {
      const searches = [
        ['subscriptions', 'store_subscription_identifier'],
        ['purchases', 'store_purchase_identifier'],
      ] as const;
      const found = await Promise.all(
        searches.map(async ([what, field]) => {
          // This search documents no `limit`.
          const first = `${path(projectId, what)}?${field}=${encodeURIComponent(storeId)}`;
          const owners = listFrom({ items: [], next_page: first }, ownerSchema, 'Searching a purchase');
          return (await nullOn('revenuecat_not_found', owners)) ?? [];
        }),
      );
      return [...new Set(found.flat())];
    },
    activeEntitlements(projectId: string, customerId: string) {
      const url = path(projectId, 'customers', customerId, 'active_entitlements');
      return list(url, activeEntitlementSchema, 'Reading entitlements');
    },
    /** Bought and granted, active and ended. */
    listSubscriptions(projectId: string, customerId: string) {
      const url = path(projectId, 'customers', customerId, 'subscriptions');
      return listBought(url, subscriptionSchema, 'Reading subscriptions');
    },
    /** Tests the permission to read subscriptions or purchases. @throws AppError `revenuecat_scope_missing` */
    async tryReading(projectId: string, what: 'subscriptions' | 'purchases'): Promise<void> {
      const url = `${path(projectId, 'customers', 'unknown@example.com', what)}?limit=1`;
      await nullOn('revenuecat_not_found', get(url, 'Trying the key'));
    },
    /** The responses of several calls for one customer; `null`: unknown. */
    async readCustomer(projectId: string, customerId: string) {
      const requestedAtMs = now();
      const of = (...parts: readonly string[]): string => path(projectId, 'customers', customerId, ...parts);
      const action = 'Reading a customer';
      const response = await nullOn('revenuecat_not_found', get(`${of()}?expand=attributes`, action));
      if (response === null) return null;
      const customer = parse(customerSchema, response);
      const part = <T>(name: string, schema: z.ZodType<T>, begun: FirstPage | null = null): Promise<T[]> =>
        begun ? listFrom(begun, schema, action) : list(of(name), schema, action);
      const lists = Promise.all([
        part('aliases', aliasSchema),
        part('attributes', attributeSchema, customer.attributes),
        part('active_entitlements', activeEntitlementSchema, customer.active_entitlements),
        listBought(of('subscriptions'), subscriptionSchema, action),
        listBought(of('purchases'), purchaseSchema, action),
      ]);
      // `null`: the customer was deleted since the first call.
      const read = await nullOn('revenuecat_not_found', lists);
      if (read === null) return null;
      const [aliases, attributes, active, subscriptions, purchases] = read;
      const { date } = response.headers;
      return { requestedAtMs, date, customer, aliases, attributes, active, subscriptions, purchases };
    },
    /** A page of up to 100 customer IDs that follow `after`; `next`: the value of `after` for the next page, if any. */
    async listCustomers(projectId: string, after: string | null) {
      const action = 'Listing customers';
      const following = after === null ? '' : `&starting_after=${encodeURIComponent(after)}`;
      const page = await read(listSchema, `${path(projectId, 'customers')}?limit=100${following}`, action);
      const ids = wellFormed(customerSchema, page.items).map((customer) => customer.id);
      const next = nextPath(page.next_page, apiUrl, action);
      if (next === null) return { ids, next };
      const cursor = new URLSearchParams(next.split('?')[1]).get('starting_after');
      return { ids, next: cursor ?? ids.at(-1) ?? null };
    },
    async grantEntitlement(
      projectId: string,
      customerId: string,
      grant: { entitlementId: string; expiresAtMs: number },
    ): Promise<void> {
      const url = path(projectId, 'customers', customerId, 'actions', 'grant_entitlement');
      const body = { entitlement_id: grant.entitlementId, expires_at: grant.expiresAtMs };
      await http.post(url, body, { action: 'Granting an entitlement' });
    },
    async revokeEntitlement(projectId: string, customerId: string, entitlementId: string): Promise<void> {
      const url = path(projectId, 'customers', customerId, 'actions', 'revoke_granted_entitlement');
      await http.post(url, { entitlement_id: entitlementId }, { action: 'Revoking an entitlement' });
    },
    listWebhooks: (projectId: string) =>
      list(path(projectId, 'integrations', 'webhooks'), webhookSchema, 'Listing webhooks'),
    async createWebhook(
      projectId: string,
      webhook: { name: string; url: string; authorization_header: string },
    ): Promise<{ id: string }> {
      const url = path(projectId, 'integrations', 'webhooks');
      return parse(webhookSchema, await http.post(url, webhook, { action: 'Registering the webhook' }));
    },
    async deleteWebhook(projectId: string, webhookId: string): Promise<void> {
      const action = 'Removing the webhook';
      await http.delete(path(projectId, 'integrations', 'webhooks', webhookId), { action });
    },
    /** Bodies like webhooks' events; `null`: RevenueCat does not offer the endpoint, or not to this key. */
    async listCustomerEvents(
      projectId: string,
      customerId: string,
    ): Promise<Record<string, unknown>[] | null> {
      const url = path(projectId, 'customers', customerId, 'events');
      const reading = list(url, customerEventSchema, 'Reading events');
      // The endpoint is in beta: it may be absent or closed to this key.
      const items = await nullOn('revenuecat_not_found', nullOn('revenuecat_scope_missing', reading));
      return (
        items?.map((item) => ({
          event_timestamp_ms: item.occurred_at ?? item.created_at,
          app_id: item.app_id,
          ...item.body,
          id: item.body?.id ?? item.id,
          type: item.body?.type ?? item.type,
        })) ?? null
      );
    },
  };
}

/** Items added between two reads make a page repeat items of the page before. Each item counts once. */
function idOf(item: unknown): unknown {
  return (isRecord(item) && item.id) || JSON.stringify(item);
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
  throw new AppError('revenuecat_rejected', `${action}: next_page is not on RevenueCat's host`);
}
