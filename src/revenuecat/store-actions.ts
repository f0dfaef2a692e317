import type { AxiosInstance } from 'axios';
import { z } from 'zod';
import { purchaseSchema, subscriptionSchema } from './schemas.ts';

/** A subscription or one-time purchase of a customer, as RevenueCat's API has it now. */
export interface LivePurchase {
  readonly kind: 'subscription' | 'purchase';
  readonly id: string;
  /** In capitals. */
  readonly store: string | null;
  readonly environment: 'production' | 'sandbox';
  /** The store's transaction or order. */
  readonly storeId: string | null;
  readonly givesAccess: boolean;
  readonly willRenew: boolean;
  readonly endsAtMs: number | null;
  readonly isRefunded: boolean;
}

/** One charge of a Google Play or App Store subscription. */
export interface LiveTransaction {
  readonly id: string;
  readonly purchasedAtMs: number;
}

/** What RevenueCat can do to what a customer bought. Every call names the project by RevenueCat's id. */
export interface StoreActions {
  /** Everything bought, not granted. */
  listPurchases(projectId: string, customerId: string): Promise<LivePurchase[]>;
  listTransactions(projectId: string, subscriptionId: string): Promise<LiveTransaction[]>;
  cancelSubscription(projectId: string, subscriptionId: string): Promise<void>;
  refundSubscription(projectId: string, subscriptionId: string): Promise<void>;
  refundPurchase(projectId: string, purchaseId: string): Promise<void>;
  refundTransaction(projectId: string, subscriptionId: string, transactionId: string): Promise<void>;
  /** @param extension.reasonCode Apple's: 0 undeclared, 1 satisfaction, 2 other, 3 outage */
  extendSubscription(
    projectId: string,
    subscriptionId: string,
    extension: { readonly days: number; readonly reasonCode: number | null },
  ): Promise<void>;
  transferPurchases(projectId: string, fromCustomerId: string, toCustomerId: string): Promise<void>;
  restoreOrder(projectId: string, customerId: string, orderId: string): Promise<void>;
  /** A single-use link to the customer's own billing portal. */
  createManagementUrl(projectId: string, subscriptionId: string): Promise<string>;
}

const transactionSchema = z.object({ id: z.string(), purchased_at: z.number() });
const managementUrlSchema = z.object({ management_url: z.url({ protocol: /^https$/ }) });

/** The subset of the client that these calls are built on. */
interface Calls {
  readonly http: AxiosInstance;
  list<T>(path: string, schema: z.ZodType<T>, action: string): Promise<T[]>;
  parse<T>(schema: z.ZodType<T>, value: unknown, action: string): T;
}

/** Source: RevenueCat API v2; `extend` and `restore_purchase_by_order_id`: the description in RevenueCat/cli. */
export function createStoreActions({ http, list, parse }: Calls): StoreActions {
  const path = (projectId: string, ...parts: readonly string[]): string =>
    ['/v2/projects', ...[projectId, ...parts].map(encodeURIComponent)].join('/');
  const post = async (url: string, action: string, body: object = {}): Promise<void> => {
    await http.post(url, body, { action });
  };
  return {
    async listPurchases(projectId, customerId) {
      const of = (what: string): string => path(projectId, 'customers', customerId, what);
      const [subscriptions, purchases] = await Promise.all([
        list(of('subscriptions'), subscriptionSchema, 'Reading subscriptions'),
        list(of('purchases'), purchaseSchema, 'Reading purchases'),
      ]);
      return [...subscriptions.map(toSubscription), ...purchases.map(toPurchase)].filter(
        ({ store }) => store !== 'PROMOTIONAL',
      );
    },
    async listTransactions(projectId, subscriptionId) {
      const url = path(projectId, 'subscriptions', subscriptionId, 'transactions');
      const items = await list(url, transactionSchema, 'Reading charges');
      return items.map((item) => ({ id: item.id, purchasedAtMs: item.purchased_at }));
    },
    cancelSubscription: (projectId, id) =>
      post(path(projectId, 'subscriptions', id, 'actions', 'cancel'), 'Canceling a subscription'),
    refundSubscription: (projectId, id) =>
      post(path(projectId, 'subscriptions', id, 'actions', 'refund'), 'Refunding a subscription'),
    refundPurchase: (projectId, id) =>
      post(path(projectId, 'purchases', id, 'actions', 'refund'), 'Refunding a purchase'),
    refundTransaction: (projectId, id, transactionId) =>
      post(
        path(projectId, 'subscriptions', id, 'transactions', transactionId, 'actions', 'refund'),
        'Refunding a charge',
      ),
    extendSubscription: (projectId, id, { days, reasonCode }) =>
      post(path(projectId, 'subscriptions', id, 'actions', 'extend'), 'Extending a subscription', {
        extend_by_days: days,
        ...(reasonCode === null ? {} : { extend_reason_code: reasonCode }),
      }),
    transferPurchases: (projectId, from, to) =>
      post(path(projectId, 'customers', from, 'actions', 'transfer'), 'Transferring purchases', {
        target_customer_id: to,
      }),
    restoreOrder: (projectId, customerId, orderId) =>
      post(
        path(projectId, 'customers', customerId, 'actions', 'restore_purchase_by_order_id'),
        'Restoring an order',
        { order_id: orderId },
      ),
    async createManagementUrl(projectId, id) {
      const action = 'Creating a portal link';
      const url = path(projectId, 'subscriptions', id, 'authenticated_management_url');
      return parse(managementUrlSchema, (await http.get(url, { action })).data, action).management_url;
    },
  };
}

function toSubscription(item: z.infer<typeof subscriptionSchema>): LivePurchase {
  return {
    kind: 'subscription',
    id: item.id,
    store: item.store,
    environment: item.environment,
    storeId: item.store_subscription_identifier,
    givesAccess: item.gives_access,
    willRenew: willRenew(item.auto_renewal_status),
    endsAtMs: item.ends_at ?? item.current_period_ends_at,
    isRefunded: false,
  };
}

function toPurchase(item: z.infer<typeof purchaseSchema>): LivePurchase {
  const isRefunded = item.status === 'refunded';
  return {
    kind: 'purchase',
    id: item.id,
    store: item.store,
    environment: item.environment,
    storeId: item.store_purchase_identifier,
    givesAccess: !isRefunded && item.entitlements.length > 0,
    willRenew: false,
    endsAtMs: null,
    isRefunded,
  };
}

export function willRenew(autoRenewalStatus: string | null): boolean {
  return !['will_not_renew', 'will_pause', null].includes(autoRenewalStatus);
}
