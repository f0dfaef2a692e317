import { randomUUID } from 'node:crypto';
import { DAY_MS } from '../time.ts';
import type { Customer, RevenueCatEvent, Subscription } from './revenuecat/state.ts';

const MONTH_MS = 30 * DAY_MS;
const GRACE_MS = 16 * DAY_MS;

/** What can happen to a customer next: what the webhook announces, and what the API says from then on. */
export interface DemoAction {
  readonly id: string;
  readonly label: string;
  fields(nowMs: number): Record<string, unknown> & { readonly type: string };
  change(subscription: Subscription, nowMs: number): void;
}

export const ACTIONS: readonly DemoAction[] = [
  {
    id: 'renew',
    label: 'Renew',
    fields: (nowMs) => ({
      type: 'RENEWAL',
      period_type: 'NORMAL',
      is_trial_conversion: false,
      purchased_at_ms: nowMs,
      expiration_at_ms: nowMs + MONTH_MS,
      price: 9.99,
      price_in_purchased_currency: 9.99,
      currency: 'USD',
      transaction_id: `renewal-${nowMs}`,
    }),
    change(subscription, nowMs) {
      Object.assign(subscription, {
        status: 'active',
        autoRenewalStatus: 'will_renew',
        givesAccess: true,
        periodStartsAtMs: nowMs,
        periodEndsAtMs: nowMs + MONTH_MS,
        endsAtMs: nowMs + MONTH_MS,
        grossUsd: subscription.grossUsd + 9.99,
      });
    },
  },
  {
    id: 'cancel',
    label: 'Cancel',
    fields: () => ({ type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE', price: 0 }),
    change(subscription) {
      subscription.autoRenewalStatus = 'will_not_renew';
    },
  },
  {
    id: 'uncancel',
    label: 'Turn renewal back on',
    fields: () => ({ type: 'UNCANCELLATION', price: 0 }),
    change(subscription) {
      subscription.autoRenewalStatus = 'will_renew';
    },
  },
  {
    id: 'billing',
    label: 'Payment fails',
    fields: (nowMs) => ({
      type: 'BILLING_ISSUE',
      price: 0,
      expiration_at_ms: nowMs,
      grace_period_expiration_at_ms: nowMs + GRACE_MS,
    }),
    change(subscription, nowMs) {
      subscription.status = 'in_grace_period';
      subscription.periodEndsAtMs = nowMs;
      subscription.endsAtMs = nowMs + GRACE_MS;
    },
  },
  {
    id: 'refund',
    label: 'Refund',
    fields: (nowMs) => ({
      type: 'CANCELLATION',
      cancel_reason: 'CUSTOMER_SUPPORT',
      price: -9.99,
      price_in_purchased_currency: -9.99,
      expiration_at_ms: nowMs,
    }),
    change(subscription, nowMs) {
      end(subscription, nowMs);
      subscription.grossUsd = Math.max(0, subscription.grossUsd - 9.99);
    },
  },
  {
    id: 'expire',
    label: 'Expire',
    fields: (nowMs) => ({
      type: 'EXPIRATION',
      expiration_reason: 'UNSUBSCRIBE',
      price: 0,
      expiration_at_ms: nowMs,
    }),
    change: end,
  },
];

function end(subscription: Subscription, nowMs: number): void {
  Object.assign(subscription, {
    status: 'expired',
    autoRenewalStatus: 'will_not_renew',
    givesAccess: false,
    periodEndsAtMs: nowMs,
    endsAtMs: nowMs,
  });
}

/**
 * Lets something happen to a customer: the simulated API tells it from now on.
 *
 * @returns the webhook's event; `null`: the customer has nothing that it could happen to
 */
export function happen(customer: Customer, action: DemoAction, nowMs: number): RevenueCatEvent | null {
  const last = customer.events.findLast((event) => event.store !== 'PROMOTIONAL') ?? customer.events.at(-1);
  if (!last) return null;
  const event = { ...last, ...action.fields(nowMs), id: randomUUID(), event_timestamp_ms: nowMs };
  const subscription = customer.subscriptions.findLast((each) => each.store !== 'promotional');
  if (subscription) action.change(subscription, nowMs);
  customer.events.push(event);
  return event;
}
