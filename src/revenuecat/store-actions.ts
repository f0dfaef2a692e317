import type { Axios } from 'axios';
import { z } from 'zod';
import { type listSchema, purchaseSchema, subscriptionSchema, timeSchema } from './schemas.ts';

/** A subscription or one-time purchase of a customer, as RevenueCat's API has it now. */
export type LivePurchase = Readonly<ReturnType<typeof toSubscription> | ReturnType<typeof toPurchase>>;

/** One charge of a Google Play or App Store subscription. */
const transactionSchema = z
  .object({ id: z.string(), purchased_at: timeSchema })
  .transform(({ id, purchased_at: purchasedAtMs }) => ({ id, purchasedAtMs }));
/** By Apple's number, which API v1 takes instead. Source: the v2 description in RevenueCat/cli. */
const EXTEND_REASONS = ['undeclared', 'customer_satisfaction', 'other', 'service_issue_or_outage'];
const managementUrlSchema = z.object({ management_url: z.url({ protocol: /^https$/ }) });

/** The subset of the client that these calls are built on. */
interface Calls {
  readonly http: Axios;
  /** Below the project. */
  path(projectId: string, ...parts: readonly string[]): string;
  list<T>(url: string, schema: z.ZodType<T>, action: string): Promise<T[]>;
  listFrom<T>(begun: z.infer<typeof listSchema>, schema: z.ZodType<T>, action: string): Promise<T[]>;
  read<T>(schema: z.ZodType<T>, url: string, action: string): Promise<T>;
}

/**
 * RevenueCat's calls that read or change a customer's purchases. All of them take RevenueCat's ID of the project.
 *
 * Source: RevenueCat API v2; `extend` and `restore_purchase_by_order_id`: the description in RevenueCat/cli.
 */
export function createStoreActions({ http, path, list, listFrom, read }: Calls) {
  const post = async (url: string, action: string, body: object = {}): Promise<void> => {
    await http.post(url, body, { action });
  };
  return {
    /** @param what `customer`: everything. A buyer of coins has thousands of purchases, and each 100 take a call */
    async listPurchases(
      projectId: string,
      customerId: string,
      what: LivePurchase['kind'] | 'customer' = 'customer',
    ): Promise<LivePurchase[]> {
      const url = (part: string): string => path(projectId, 'customers', customerId, part);
      const [subscriptions, purchases] = await Promise.all([
        what === 'purchase' ? [] : list(url('subscriptions'), subscriptionSchema, 'Reading subscriptions'),
        what === 'subscription' ? [] : list(url('purchases'), purchaseSchema, 'Reading purchases'),
      ]);
      return [...subscriptions.map(toSubscription), ...purchases.map(toPurchase)].filter(
        ({ store }) => store !== 'PROMOTIONAL',
      );
    },
    /** Finds the purchase whichever customer owns it now. */
    async readPurchase(projectId: string, kind: LivePurchase['kind'], id: string): Promise<LivePurchase> {
      const url = path(projectId, `${kind}s`, id);
      return kind === 'purchase'
        ? toPurchase(await read(purchaseSchema, url, 'Reading a purchase'))
        : toSubscription(await read(subscriptionSchema, url, 'Reading a subscription'));
    },
    /** CONFLICT: only the newer description has a `limit` for this list, 20 by default. */
    listTransactions(projectId: string, subscriptionId: string) {
      const first = path(projectId, 'subscriptions', subscriptionId, 'transactions');
      return listFrom({ items: [], next_page: first }, transactionSchema, 'Reading charges');
    },
    cancelSubscription: (projectId: string, id: string) =>
      post(path(projectId, 'subscriptions', id, 'actions', 'cancel'), 'Canceling a subscription'),
    refund: (projectId: string, kind: LivePurchase['kind'], id: string) =>
      post(path(projectId, `${kind}s`, id, 'actions', 'refund'), `Refunding a ${kind}`),
    refundTransaction: (projectId: string, id: string, transactionId: string) =>
      post(
        path(projectId, 'subscriptions', id, 'transactions', transactionId, 'actions', 'refund'),
        'Refunding a charge',
      ),
    /** @param extension.reasonCode Apple's: 0 undeclared, 1 satisfaction, 2 other, 3 outage */
    extendSubscription: (
      projectId: string,
      id: string,
      { days, reasonCode }: { readonly days: number; readonly reasonCode: number | null },
    ) =>
      post(path(projectId, 'subscriptions', id, 'actions', 'extend'), 'Extending a subscription', {
        extend_by_days: days,
        ...(reasonCode === null ? {} : { extend_reason_code: EXTEND_REASONS[reasonCode] }),
      }),
    transferPurchases: (projectId: string, from: string, to: string) =>
      post(path(projectId, 'customers', from, 'actions', 'transfer'), 'Transferring purchases', {
        target_customer_id: to,
      }),
    restoreOrder: (projectId: string, customerId: string, orderId: string) =>
      post(
        path(projectId, 'customers', customerId, 'actions', 'restore_purchase_by_order_id'),
        'Restoring an order',
        { order_id: orderId },
      ),
    /** A single-use link to the customer's own billing portal. */
    async createManagementUrl(projectId: string, id: string): Promise<string> {
      const url = path(projectId, 'subscriptions', id, 'authenticated_management_url');
      return (await read(managementUrlSchema, url, 'Creating a portal link')).management_url;
    },
  };
}

function toSubscription(item: z.infer<typeof subscriptionSchema>) {
  return {
    ...item,
    kind: 'subscription' as const,
    /** The store's transaction or order. */
    storeId: item.storeSubscriptionId,
    willRenew: !['will_not_renew', 'will_pause', null].includes(item.autoRenewalStatus),
    isRefunded: false,
  };
}

function toPurchase(item: z.infer<typeof purchaseSchema>) {
  const isRefunded = item.status === 'refunded';
  const givesAccess = !isRefunded && item.entitlements.length > 0;
  const never = { willRenew: false, endsAtMs: null };
  return {
    ...item,
    kind: 'purchase' as const,
    storeId: item.storePurchaseId,
    givesAccess,
    ...never,
    isRefunded,
  };
}
