import { randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { PROJECT_ID, WORKSPACE_ID } from './setting.ts';

/** Events of each customer: a purchase, renewals, a cancellation. */
export const EVENTS_EACH = 10;

/**
 * Fills a database with customers and their histories, the way webhooks would have left it after delivery:
 * `user-0` to `user-<n-1>`, each on a monthly subscription that was cancelled and still runs.
 */
export async function fill(client: Client, customers: number): Promise<void> {
  await client.query('set synchronous_commit = off');
  await client.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id, first_event_at_ms, last_event_at_ms,
                              version, email)
     select $1, $2, md5('user-' || n)::uuid, 'contact-' || n, 0, 0, 1, 'user-' || n || '@example.com'
       from generate_series(0, $3::integer - 1) as n`,
    [WORKSPACE_ID, PROJECT_ID, customers],
  );
  await client.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select $1, $2, 'user-' || n, md5('user-' || n)::uuid from generate_series(0, $3::integer - 1) as n`,
    [WORKSPACE_ID, PROJECT_ID, customers],
  );
  // Inserts many events at a time, in the order in which they would have arrived.
  for (let period = 0; period < EVENTS_EACH; period += 1) await fillPeriod(client, customers, period);
  await client.query('analyze');
  await client.query('set synchronous_commit = on');
}

async function fillPeriod(client: Client, customers: number, period: number): Promise<void> {
  const isLast = period === EVENTS_EACH - 1;
  const type = period === 0 ? 'INITIAL_PURCHASE' : isLast ? 'CANCELLATION' : 'RENEWAL';
  const kind = period === 0 ? 'initial_purchase' : isLast ? 'cancellation' : 'renewal';
  const atMs = Date.now() - (EVENTS_EACH - period) * 28 * 86_400_000;
  const expiresMs = Math.max(atMs, Date.now() - 86_400_000) + 30 * 86_400_000;
  await client.query(
    `insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, environment, event_at_ms,
                         received_at, transaction_id, fields)
     select $1, $2, md5('event-' || n || '-' || $4::integer), 'customer', md5('user-' || n)::uuid, $5, $6,
            'production', $7::bigint, to_timestamp($7 / 1000.0) + make_interval(secs => n / 1000.0),
            '2000' || n || $4,
            json_build_object(
              'id', md5('event-' || n || '-' || $4), 'type', $5::text, 'app_id', 'app1a2b3c4d',
              'event_timestamp_ms', $7, 'app_user_id', 'user-' || n, 'original_app_user_id', 'user-' || n,
              'aliases', json_build_array('user-' || n), 'product_id', 'pro_monthly',
              'entitlement_ids', json_build_array('pro'), 'period_type', 'NORMAL', 'purchased_at_ms', $7,
              'expiration_at_ms', $8::bigint, 'store', 'APP_STORE', 'environment', 'PRODUCTION',
              'country_code', 'US', 'currency', 'USD', 'price', 9.99, 'price_in_purchased_currency', 9.99,
              'takehome_percentage', 0.7, 'tax_percentage', 0, 'commission_percentage', 0.3,
              'transaction_id', '2000' || n || $4, 'original_transaction_id', '2000' || n,
              'cancel_reason', case when $6 = 'cancellation' then 'UNSUBSCRIBE' end)
       from generate_series(0, $3::integer - 1) as n`,
    [WORKSPACE_ID, PROJECT_ID, customers, period, type, kind, atMs, expiresMs],
  );
  await client.query(
    `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, sent_name,
                                   sent_at_s, first_tried_at, delivered_at, attempts, contact_id)
     select $1, md5('user-' || n)::uuid, $2, md5('event-' || n || '-' || $4::integer),
            to_timestamp($6::bigint / 1000.0) + make_interval(secs => n / 1000.0), 'rc_' || $5 || '_event', $6 / 1000,
            to_timestamp($6 / 1000.0), to_timestamp($6 / 1000.0), 1, 'contact-' || n
       from generate_series(0, $3::integer - 1) as n`,
    [WORKSPACE_ID, PROJECT_ID, customers, period, kind, atMs],
  );
}

/** An event of `user-<customer>` on a monthly subscription, as a webhook contains it. */
export function eventOf(
  customer: number,
  { id = randomUUID(), period, atMs }: { id?: string; period: number; atMs: number },
): Record<string, unknown> & { readonly id: string } {
  return {
    id,
    type: period === 0 ? 'INITIAL_PURCHASE' : 'RENEWAL',
    event_timestamp_ms: atMs,
    app_user_id: `user-${customer}`,
    product_id: 'pro_monthly',
    entitlement_ids: ['pro'],
    period_type: 'NORMAL',
    purchased_at_ms: atMs,
    expiration_at_ms: atMs + 30 * 86_400_000,
    store: 'APP_STORE',
    environment: 'PRODUCTION',
    currency: 'USD',
    price: 9.99,
    price_in_purchased_currency: 9.99,
    transaction_id: `t-${customer}-${period}`,
    original_transaction_id: `t-${customer}`,
  };
}
