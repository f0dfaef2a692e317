import { Router } from 'express';
import { z } from 'zod';
import { originalIdOf, promotionalEvent } from './events.ts';
import { type Context, missing, readBody, refusal, requireCustomer, requireProject } from './http.ts';
import {
  type Customer,
  endSubscription,
  givesAccess,
  newId,
  type RevenueCatEvent,
  type Subscription,
} from './state.ts';
import { fullCustomerView } from './views.ts';

const SCOPE = 'customer_information:customers:read_write';
const SAME_END_MS = 2 * 3_600_000;

const entitlementId = z.string().min(1).max(255);
const grantSchema = z.strictObject({ entitlement_id: entitlementId, expires_at: z.int() });
const revokeSchema = z.strictObject({ entitlement_id: entitlementId });

/**
 * Grants and revocations. Source: RevenueCat API v2, "Grant an entitlement", "Revoke a granted entitlement";
 * v1 documents the two hours within which an end counts as the same.
 */
export function grantRoutes(context: Context): Router {
  const { state, now, announce } = context;
  const router = Router();
  const actions = '/v2/projects/:projectId/customers/:customerId/actions';

  router.post(`${actions}/grant_entitlement`, (req, res) => {
    const project = requireProject(context, req, res, SCOPE);
    const body = readBody(grantSchema, req.body);
    const customer = requireCustomer(project, req);
    const entitlement = project.entitlements.find(({ id }) => id === body.entitlement_id);
    if (!entitlement) throw missing('Entitlement not found');
    if (body.expires_at <= now())
      throw refusal(422, 'Date must in the future', { type: 'parameter_error', param: 'expires_at' });
    state.grantRequests.push({ customerId: customer.id, entitlementId: entitlement.id, atMs: now() });
    const answer = (): void => void res.status(201).json(fullCustomerView(project, customer, now(), false));

    const active = activeGrants(customer, entitlement.id, now());
    if (
      active.some(({ endsAtMs }) => endsAtMs !== null && Math.abs(endsAtMs - body.expires_at) <= SAME_END_MS)
    ) {
      return answer();
    }
    // Clients that received a 409 took it for "has a grant" and, after revoking, for "has a paid subscription".
    const hasIt = customer.subscriptions.some(
      (each) => each.entitlementIds.includes(entitlement.id) && givesAccess(each, now()),
    );
    if (hasIt && state.existingGrant === 'conflict409') {
      throw refusal(409, 'The customer already has this entitlement');
    }
    // A later end replaces the running grant, as in v1; an earlier one changes nothing.
    if (active.length > 0 && state.existingGrant === 'ignore') {
      if (active.some(({ endsAtMs }) => endsAtMs === null || endsAtMs > body.expires_at)) return answer();
    }
    const subscription: Subscription = {
      id: newId('sub'),
      customerId: customer.id,
      originalCustomerId: customer.id,
      productId: null,
      store: 'promotional',
      environment: 'production',
      status: 'active',
      autoRenewalStatus: 'will_not_renew',
      givesAccess: true,
      startsAtMs: now(),
      periodStartsAtMs: now(),
      periodEndsAtMs: body.expires_at,
      endsAtMs: body.expires_at,
      entitlementIds: [entitlement.id],
      storeSubscriptionId: null,
      grossUsd: 0,
      country: null,
      managementUrl: null,
    };
    const begin = (): void => {
      customer.subscriptions.push(subscription);
      announce(project, customer, [
        eventOf('NON_RENEWING_PURCHASE', customer, subscription, entitlement.lookupKey),
      ]);
    };
    const timing = state.grantTimings.get(customer.id);
    if (!timing) {
      begin();
      return answer();
    }
    setTimeout(begin, timing.madeAfterMs).unref();
    setTimeout(answer, timing.answeredAfterMs).unref();
  });

  router.post(`${actions}/revoke_granted_entitlement`, (req, res) => {
    const project = requireProject(context, req, res, SCOPE);
    const body = readBody(revokeSchema, req.body);
    const customer = requireCustomer(project, req);
    const entitlement = project.entitlements.find(({ id }) => id === body.entitlement_id);
    if (!entitlement) throw missing('Entitlement not found');
    const active = activeGrants(customer, entitlement.id, now());
    if (active.length === 0) throw missing('No granted entitlement');
    for (const subscription of active) {
      endSubscription(subscription, now());
      announce(project, customer, [
        eventOf('CANCELLATION', customer, subscription, entitlement.lookupKey),
        eventOf('EXPIRATION', customer, subscription, entitlement.lookupKey),
      ]);
    }
    res.json(fullCustomerView(project, customer, now(), false));
  });

  function eventOf(
    type: 'NON_RENEWING_PURCHASE' | 'CANCELLATION' | 'EXPIRATION',
    customer: Customer,
    subscription: Subscription,
    lookupKey: string,
  ): RevenueCatEvent {
    return promotionalEvent(type, {
      lookupKey,
      transactionId: subscription.id,
      appUserId: customer.id,
      originalAppUserId: originalIdOf(customer),
      aliases: customer.aliases,
      startsAtMs: subscription.startsAtMs,
      endsAtMs: subscription.endsAtMs,
      atMs: now(),
    });
  }

  return router;
}

function activeGrants(customer: Customer, entitlement: string, nowMs: number): Subscription[] {
  return customer.subscriptions.filter(
    (each) =>
      each.store === 'promotional' && each.entitlementIds.includes(entitlement) && givesAccess(each, nowMs),
  );
}
