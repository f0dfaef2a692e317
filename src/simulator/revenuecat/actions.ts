import { type Request, Router } from 'express';
import { z } from 'zod';
import { compareTexts } from '../../text.ts';
import { DAY_MS } from '../../time.ts';
import { purchaseEvent, transferEvent } from './events.ts';
import {
  type Context,
  listPage,
  missing,
  readBody,
  refusal,
  requireCustomer,
  requireProject,
  requireScope,
  type Session,
} from './http.ts';
import {
  type Customer,
  endSubscription,
  givesAccess,
  newId,
  type Project,
  type Purchase,
  paymentsOf,
  type RevenueCatEvent,
  type Subscription,
  storeIdsOf,
  type Transaction,
} from './state.ts';
import { customerView, purchaseView, subscriptionView } from './views.ts';

const CUSTOMERS = 'customer_information:customers:read_write';
const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';

const APPLE = new Set(['app_store', 'mac_app_store']);
const MAX_DAYS: Readonly<Record<string, number>> = {
  app_store: 90,
  mac_app_store: 90,
  play_store: 365,
  rc_billing: 365,
};
const APPLE_EXTENSIONS_A_YEAR = 2;
const PLAY_REFUND_DAYS = 365;
const YEAR_MS = 365 * DAY_MS;

const nothing = z.strictObject({}).optional();
const transferSchema = z.strictObject({ target_customer_id: z.string() });
const restoreSchema = z.strictObject({ order_id: z.string().regex(/^GPA\.[\d-]+(\.\.\d+)?$/) });
const extendSchema = z.strictObject({
  // `extend_until_ms`, which RevenueCat takes instead, is not simulated.
  extend_by_days: z.int().min(1),
  // API v1 has Apple's numbers instead.
  extend_reason_code: z
    .enum(['undeclared', 'customer_satisfaction', 'other', 'service_issue_or_outage'])
    .optional(),
});

/**
 * Support's actions on a customer's purchases. Sources: RevenueCat API v2 ("Cancel an active Web Billing subscription",
 * "Refund …", "Transfer …", "Get an authenticated Web Billing customer portal URL"); for `extend` and
 * `restore_purchase_by_order_id`, the newer description in RevenueCat/cli; for Apple's limits, API v1.
 */
export function actionRoutes(context: Context): Router {
  const { state, now, announce } = context;
  const router = Router();
  const subscription = '/v2/projects/:projectId/subscriptions/:subscriptionId';

  function find(project: Project, req: Request): { customer: Customer; bought: Subscription } {
    for (const customer of project.customers.values()) {
      const bought = customer.subscriptions.find(({ id }) => id === req.params.subscriptionId);
      if (bought) return { customer, bought };
    }
    throw missing('Subscription not found');
  }

  function record(kind: string, id: string): void {
    state.actionRequests.push({ kind, id, atMs: now() });
  }

  function requireActive(bought: Subscription): void {
    if (!givesAccess(bought, now())) throw refusal(422, 'The subscription is not active');
  }

  function transactionsOf(project: Project, bought: Subscription): Transaction[] {
    const only: Transaction = {
      id: bought.storeSubscriptionId ?? bought.id,
      purchasedAtMs: bought.periodStartsAtMs,
      expiresAtMs: bought.periodEndsAtMs,
      isRefunded: false,
    };
    const charged = paymentsOf(project, bought).map((event) => ({
      id: String(event.transaction_id),
      purchasedAtMs: Number(event.purchased_at_ms),
      expiresAtMs: Number(event.expiration_at_ms),
      isRefunded: false,
    }));
    const transactions = state.transactions.get(bought.id) ?? (charged.length > 0 ? [] : [only]);
    transactions.push(...charged.filter(({ id }) => transactions.every((each) => each.id !== id)));
    state.transactions.set(bought.id, transactions);
    return transactions;
  }

  router.post(`${subscription}/actions/cancel`, (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    readBody(nothing, req.body);
    const { customer, bought } = find(project, req);
    record('cancel', bought.id);
    if (bought.store !== 'rc_billing') throw refusal(422, 'Only Web Billing subscriptions can be canceled');
    requireActive(bought);
    if (bought.autoRenewalStatus === 'will_not_renew')
      throw refusal(409, 'The subscription is already canceled');
    bought.autoRenewalStatus = 'will_not_renew';
    announce(project, customer, [
      eventOf(project, customer, { bought, type: 'CANCELLATION', extra: { cancel_reason: 'UNSUBSCRIBE' } }),
    ]);
    res.json(subscriptionView(project, bought, now()));
  });

  router.post(`${subscription}/actions/refund`, (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    readBody(nothing, req.body);
    const { customer, bought } = find(project, req);
    record('refund', bought.id);
    if (bought.store !== 'rc_billing') throw refusal(422, 'Only Web Billing subscriptions can be refunded');
    if (transactionsOf(project, bought).some(({ isRefunded }) => isRefunded))
      throw refusal(409, 'The subscription is already refunded');
    requireActive(bought);
    for (const each of transactionsOf(project, bought)) each.isRefunded = true;
    endSubscription(bought, now());
    announce(project, customer, refundEvents(project, customer, bought));
    res.json(subscriptionView(project, bought, now()));
  });

  router.post('/v2/projects/:projectId/purchases/:purchaseId/actions/refund', (req, res) => {
    const project = requireProject(context, req, res, PURCHASES);
    readBody(nothing, req.body);
    const [customer, purchase] = findOneTime(project, String(req.params.purchaseId));
    record('refund', purchase.id);
    if (purchase.store !== 'rc_billing') throw refusal(422, 'Only Web Billing purchases can be refunded');
    if (purchase.status === 'refunded') throw refusal(409, 'The purchase is already refunded');
    purchase.status = 'refunded';
    const bought = {
      ...purchase,
      periodStartsAtMs: purchase.purchasedAtMs,
      periodEndsAtMs: null,
      storeSubscriptionId: purchase.storePurchaseId,
    };
    const extra = { cancel_reason: 'CUSTOMER_SUPPORT' };
    announce(project, customer, [
      eventOf(project, customer, { bought, type: 'CANCELLATION', extra, price: -purchase.grossUsd }),
    ]);
    res.json(purchaseView(project, purchase));
  });

  router.get(subscription, (req, res) => {
    const project = requireProject(context, req, res, 'customer_information:subscriptions:read');
    res.json(subscriptionView(project, find(project, req).bought, now()));
  });

  router.get('/v2/projects/:projectId/purchases/:purchaseId', (req, res) => {
    const project = requireProject(context, req, res, 'customer_information:purchases:read');
    res.json(purchaseView(project, findOneTime(project, String(req.params.purchaseId))[1]));
  });

  router.get(`${subscription}/transactions`, (req, res) => {
    const project = requireProject(context, req, res, 'customer_information:subscriptions:read');
    // CONFLICT: this list has `limit` in the newer description only; `starting_after` is in both.
    if (req.query.limit !== undefined) throw refusal(400, 'limit is not a parameter', { param: 'limit' });
    const { bought } = find(project, req);
    const product = project.products.find(({ id }) => id === bought.productId);
    const view = (each: Transaction) => transactionView(each, product?.storeIdentifier);
    // The newer description orders them by ID, unless asked otherwise.
    const inOrder = transactionsOf(project, bought).toSorted((a, b) => compareTexts(a.id, b.id));
    res.json(listPage(req, inOrder, view));
  });

  router.post(`${subscription}/transactions/:transactionId/actions/refund`, (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    readBody(nothing, req.body);
    const { customer, bought } = find(project, req);
    const transaction = transactionsOf(project, bought).find(({ id }) => id === req.params.transactionId);
    if (!transaction) throw missing('Transaction not found');
    record('refund', transaction.id);
    if (bought.store !== 'play_store') throw refusal(422, 'Only Play Store transactions can be refunded');
    if (transaction.isRefunded) throw refusal(409, 'The transaction is already refunded');
    if (now() - transaction.purchasedAtMs > PLAY_REFUND_DAYS * DAY_MS)
      throw refusal(422, 'The transaction is too old to be refunded');
    transaction.isRefunded = true;
    const extra = { cancel_reason: 'CUSTOMER_SUPPORT', transaction_id: transaction.id };
    const price = -lastPaymentUsd(customer, bought);
    announce(project, customer, [eventOf(project, customer, { bought, type: 'CANCELLATION', extra, price })]);
    const product = project.products.find(({ id }) => id === bought.productId);
    res.json(transactionView(transaction, product?.storeIdentifier));
  });

  router.post(`${subscription}/actions/extend`, (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    const body = readBody(extendSchema, req.body);
    const { customer, bought } = find(project, req);
    record('extend', bought.id);
    const maxDays = MAX_DAYS[bought.store];
    if (maxDays === undefined) throw refusal(422, 'Subscriptions of this store cannot be extended');
    requireActive(bought);
    const endMs = bought.endsAtMs ?? bought.periodEndsAtMs ?? now();
    const newEndMs = endMs + body.extend_by_days * DAY_MS;
    if (body.extend_by_days > maxDays)
      throw refusal(422, `The extension must be 1 to ${maxDays} days`, { param: 'extend_by_days' });
    if (APPLE.has(bought.store)) {
      if (body.extend_reason_code === undefined)
        throw refusal(400, 'extend_reason_code is required', { param: 'extend_reason_code' });
      const recent = state.appleExtensions.filter(
        (each) => each.customerId === customer.id && each.atMs > now() - YEAR_MS,
      );
      if (recent.length >= APPLE_EXTENSIONS_A_YEAR)
        throw refusal(422, 'The customer had two extensions within a year');
      state.appleExtensions.push({ customerId: customer.id, atMs: now() });
    }
    bought.periodEndsAtMs = newEndMs;
    bought.endsAtMs = newEndMs;
    // Web Billing has no such event.
    if (bought.store !== 'rc_billing')
      announce(project, customer, [eventOf(project, customer, { bought, type: 'SUBSCRIPTION_EXTENDED' })]);
    res.json(subscriptionView(project, bought, now()));
  });

  router.get(`${subscription}/authenticated_management_url`, (req, res) => {
    const project = requireProject(context, req, res, 'customer_information:subscriptions:read');
    const { bought } = find(project, req);
    record('manage', bought.id);
    // The description of this call has no 422.
    if (bought.store !== 'rc_billing') throw missing('Only Web Billing has a customer portal');
    const url = `https://billing.revenuecat.com/${project.appId}/${bought.id}?token=${newId('')}`;
    res.json({ object: 'authenticated_management_url', management_url: url });
  });

  const customerActions = '/v2/projects/:projectId/customers/:customerId/actions';

  router.post(`${customerActions}/transfer`, (req, res) => {
    const project = requireProject(context, req, res, CUSTOMERS);
    for (const scope of [SUBSCRIPTIONS, PURCHASES]) requireScope(res.locals.session as Session, scope);
    const body = readBody(transferSchema, req.body);
    const source = requireCustomer(project, req);
    const target = project.aliases.get(body.target_customer_id);
    if (!target) throw missing('Target customer not found');
    record('transfer', source.id);
    if (target === source) throw refusal(422, 'Source and target are the same customer');
    const first = [...source.subscriptions, ...source.purchases].find(({ store }) => store !== 'promotional');
    move(source.subscriptions, target.subscriptions, { to: target.id });
    move(source.purchases, target.purchases, { to: target.id });
    if (first) announceTransfer(project, { from: source, to: target, first });
    res.json({
      source_customer: customerView(project, source),
      target_customer: customerView(project, target),
    });
  });

  router.post(`${customerActions}/restore_purchase_by_order_id`, (req, res) => {
    const project = requireProject(context, req, res, CUSTOMERS);
    const { order_id: orderId } = readBody(restoreSchema, req.body);
    const customer = requireCustomer(project, req);
    record('restore', orderId);
    const isMoved = (each: Subscription): boolean =>
      each.store === 'play_store' && storeIdsOf(project, each).includes(orderId);
    const owner = [...project.customers.values()].find((each) => each.subscriptions.some(isMoved));
    if (!owner) throw missing('Order not found');
    if (owner === customer) throw refusal(409, 'The customer already has this order');
    const first = owner.subscriptions.find(isMoved);
    move(owner.subscriptions, customer.subscriptions, { to: customer.id, isMoved });
    if (first) announceTransfer(project, { from: owner, to: customer, first });
    res.json(customerView(project, customer));
  });

  function announceTransfer(
    project: Project,
    { from, to, first }: { from: Customer; to: Customer; first: Subscription | Purchase },
  ): void {
    announce(project, to, [transferEvent(project, { from, to, first, atMs: now() })]);
  }

  function refundEvents(project: Project, customer: Customer, bought: Subscription): RevenueCatEvent[] {
    const reason = 'CUSTOMER_SUPPORT';
    return [
      eventOf(project, customer, {
        bought,
        type: 'CANCELLATION',
        extra: { cancel_reason: reason },
        price: -lastPaymentUsd(customer, bought),
      }),
      eventOf(project, customer, { bought, type: 'EXPIRATION', extra: { expiration_reason: reason } }),
    ];
  }

  function eventOf(
    project: Project,
    customer: Customer,
    about: Omit<Parameters<typeof purchaseEvent>[2], 'atMs'>,
  ): RevenueCatEvent {
    return purchaseEvent(project, customer, { ...about, atMs: now() });
  }

  return router;
}

/** The amount of a refund: RevenueCat's description of the call says "the most recent payment". */
function lastPaymentUsd({ events }: Customer, bought: Subscription): number {
  const original = bought.storeSubscriptionId ?? bought.id;
  const payment = events.findLast(
    ({ original_transaction_id, price }) => original_transaction_id === original && Number(price) > 0,
  );
  return payment ? Number(payment.price) : bought.grossUsd;
}

function findOneTime(project: Project, id: string): [Customer, Purchase] {
  for (const customer of project.customers.values()) {
    const purchase = customer.purchases.find((each) => each.id === id);
    if (purchase) return [customer, purchase];
  }
  throw missing('Purchase not found');
}

/** Moves purchases to another customer. */
export function move<
  T extends {
    customerId: string;
    originalCustomerId?: string;
    readonly productId: string | null;
    readonly store: string;
  },
>(from: T[], to: T[], how: { readonly to: string; readonly isMoved?: (item: T) => boolean }): void {
  for (const item of [...from]) {
    // Grants stay: they were not bought.
    if (item.store === 'promotional' || how.isMoved?.(item) === false) continue;
    from.splice(from.indexOf(item), 1);
    item.originalCustomerId ??= item.customerId;
    item.customerId = how.to;
    to.push(item);
  }
}

function transactionView(transaction: Transaction, product: string | undefined): Record<string, unknown> {
  return {
    object: 'subscription_transaction',
    id: transaction.id,
    ...(product === undefined ? {} : { product_store_identifier: product }),
    purchased_at: transaction.purchasedAtMs,
    expiration_date: transaction.expiresAtMs,
    effective_expiration_date: transaction.expiresAtMs,
  };
}
