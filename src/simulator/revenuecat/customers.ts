import { type Request, Router } from 'express';
import { type Context, listPage, missing, refusal, requireCustomer, requireProject } from './http.ts';
import { type Customer, type Project, storeIdsOf } from './state.ts';
import {
  activeEntitlements,
  activeView,
  customerView,
  fullCustomerView,
  purchaseView,
  subscriptionView,
} from './views.ts';

const CUSTOMERS = 'customer_information:customers:read';
const SUBSCRIPTIONS = 'customer_information:subscriptions:read';
const PURCHASES = 'customer_information:purchases:read';

/** Source: RevenueCat API v2, "Customer", "Subscription", "Purchase". Reading never creates a customer. */
export function customerRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();
  const customers = '/v2/projects/:projectId/customers';
  const one = `${customers}/:customerId`;

  router.get(customers, (req, res) => {
    const project = requireProject(context, req, res, CUSTOMERS);
    const { search } = req.query;
    if (search !== undefined && (typeof search !== 'string' || search.length < 1 || search.length > 255)) {
      throw refusal(400, 'search must have 1 to 255 characters', { param: 'search' });
    }
    const found = [...project.customers.values()].filter(
      (customer) => search === undefined || matches(project, customer, search),
    );
    res.json(listPage(req, found, (customer) => customerView(project, customer)));
  });

  router.get(one, (req, res) => {
    const project = requireProject(context, req, res, CUSTOMERS);
    const customer = requireCustomer(project, req);
    const { expand } = req.query;
    if (expand !== undefined && expand !== 'attributes')
      throw refusal(400, 'Unknown expand', { param: 'expand' });
    res.json(fullCustomerView(project, customer, now(), expand === 'attributes'));
  });

  router.get(`${one}/aliases`, (req, res) => {
    const customer = requireCustomer(requireProject(context, req, res, CUSTOMERS), req);
    const aliases = customer.aliases.map((id) => ({ id }));
    const view = ({ id }: { id: string }) => ({
      object: 'customer.alias',
      id,
      created_at: customer.firstSeenAtMs,
    });
    res.json(listPage(req, aliases, view));
  });

  router.get(`${one}/active_entitlements`, (req, res) => {
    const customer = requireCustomer(requireProject(context, req, res, CUSTOMERS), req);
    res.json(listPage(req, activeEntitlements(customer, now()), activeView));
  });

  router.get(`${one}/subscriptions`, (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    const subscriptions = inEnvironment(req, requireCustomer(project, req).subscriptions);
    res.json(listPage(req, subscriptions, (each) => subscriptionView(project, each, now())));
  });

  router.get(`${one}/purchases`, (req, res) => {
    const project = requireProject(context, req, res, PURCHASES);
    const purchases = inEnvironment(req, requireCustomer(project, req).purchases);
    res.json(listPage(req, purchases, (each) => purchaseView(project, each)));
  });

  router.get(`${one}/events`, (req, res) => {
    if (!state.customerEventsEnabled) throw missing();
    const project = requireProject(context, req, res, CUSTOMERS);
    const customer = requireCustomer(project, req);
    const wanted = environmentOf(req)?.toUpperCase();
    const events = customer.events
      .filter((event) => wanted === undefined || event.environment === wanted)
      .toReversed()
      .map((event) => ({ id: String(event.id), event }));
    // The example in RevenueCat/cli has the ID, the app and the type outside the body only.
    const view = ({ id, event: { id: _, app_id = null, type, ...body } }: (typeof events)[number]) => ({
      object: 'customer.event',
      id,
      app_id,
      type: `PURCHASES_${type}`,
      created_at: body.event_timestamp_ms,
      occurred_at: body.event_timestamp_ms ?? null,
      body,
    });
    res.json(listPage(req, events, view));
  });

  router.get('/v2/projects/:projectId/subscriptions', (req, res) => {
    const project = requireProject(context, req, res, SUBSCRIPTIONS);
    const wanted = identifier(req, 'store_subscription_identifier');
    const found = everyones(project, (customer) => customer.subscriptions).filter((each) =>
      storeIdsOf(project, each).includes(wanted),
    );
    res.json(listPage(req, found, (each) => subscriptionView(project, each, now())));
  });

  router.get('/v2/projects/:projectId/purchases', (req, res) => {
    const project = requireProject(context, req, res, PURCHASES);
    const wanted = identifier(req, 'store_purchase_identifier');
    const found = everyones(project, (customer) => customer.purchases).filter(
      (each) => each.storePurchaseId === wanted,
    );
    res.json(listPage(req, found, (each) => purchaseView(project, each)));
  });

  return router;
}

/** Documented for the exact e-mail only; public clients also find app user ids and store transactions (UNVERIFIED). */
function matches(project: Project, customer: Customer, search: string): boolean {
  return (
    customer.attributes.get('$email')?.value === search ||
    customer.aliases.includes(search) ||
    customer.subscriptions.some((each) => storeIdsOf(project, each).includes(search)) ||
    customer.purchases.some((each) => each.storePurchaseId === search)
  );
}

function environmentOf(req: Request): string | undefined {
  const { environment } = req.query;
  if (environment === undefined || environment === 'sandbox' || environment === 'production')
    return environment;
  throw refusal(400, 'environment must be sandbox or production', { param: 'environment' });
}

function inEnvironment<T extends { environment: string }>(req: Request, items: readonly T[]): T[] {
  const wanted = environmentOf(req);
  return items.filter((item) => wanted === undefined || item.environment === wanted);
}

function identifier(req: Request, name: string): string {
  const value = req.query[name];
  if (typeof value !== 'string' || value === '' || value.length > 255)
    throw refusal(400, `${name} must have 1 to 255 characters`, { param: name });
  return value;
}

function everyones<T>(project: Project, listOf: (customer: Customer) => readonly T[]): T[] {
  return [...project.customers.values()].flatMap(listOf);
}
