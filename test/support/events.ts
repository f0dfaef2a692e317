import { randomUUID } from 'node:crypto';
import { DAY_MS } from '../../src/time.ts';

/** The time that tests count from: 2026-01-01T00:00:00Z. */
export const START_MS = Date.UTC(2026, 0, 1);

/** An event body with the fields of a monthly App Store subscription; `fields` override. */
export function eventBody(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: randomUUID(),
    type: 'INITIAL_PURCHASE',
    app_id: 'app1a2b3c4d',
    event_timestamp_ms: START_MS,
    app_user_id: 'user-1',
    original_app_user_id: 'user-1',
    aliases: ['user-1'],
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    period_type: 'NORMAL',
    purchased_at_ms: START_MS,
    expiration_at_ms: START_MS + 30 * DAY_MS,
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    currency: 'USD',
    price: 9.99,
    price_in_purchased_currency: 9.99,
    transaction_id: '2000000000000001',
    original_transaction_id: '2000000000000001',
    subscriber_attributes: {},
    ...fields,
  };
}
