import type pg from 'pg';
import { PROJECT_ID, WORKSPACE_ID } from '../setting.ts';

/** Events of each customer. One customer has 2,000, as a heavy user of consumables may. */
const EVENTS_EACH = 10;
export const HEAVY_EVENTS = 2_000;
export const HEAVY_CUSTOMER = 'heavy';

/** Rows of one statement. */
const CHUNK = 50_000;

const OTHER_WORKSPACES = 20;

/**
 * Half of all customers are `WORKSPACE_ID`'s, the rest of twenty others. Ids are spread like random ones, times go
 * back three years, the fields are those of a webhook.
 */
const WORKSPACE_OF = `case when c % 2 = 0 then '${WORKSPACE_ID}' else 'other' || (c / 2 % ${OTHER_WORKSPACES}) end`;

const SUBSCRIBERS = `
insert into subscribers (workspace_id, project_id, subscriber_id, email, version, contact_id, first_event_at_ms, last_event_at_ms, created_at)
select w, w || '-p1', md5('subscriber' || c)::uuid, 'user-' || c || '@example.com', 1, md5('contact' || c), 0, 0, now() - c % 1000 * interval '1 day'
  from (select c, ${WORKSPACE_OF} as w from generate_series($1::bigint, $2::bigint) c) t`;

const IDS = `
insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
select w, w || '-p1', 'user-' || c, md5('subscriber' || c)::uuid
  from (select c, ${WORKSPACE_OF} as w from generate_series($1::bigint, $2::bigint) c) t`;

function eventsOf(source: string): string {
  return `
insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, environment, event_at_ms, received_at,
                    transaction_id, fields)
select w, w || '-p1', md5('event' || c || '-' || k)::uuid::text, md5('subscriber' || c)::uuid,
       case when k = 1 then 'INITIAL_PURCHASE' else 'RENEWAL' end,
       case when k = 1 then 'initial_purchase' else 'renewal' end, 'production',
       at_ms, to_timestamp(at_ms / 1000.0), '20000000' || c || k,
       json_build_object(
         'id', md5('event' || c || '-' || k)::uuid, 'type', case when k = 1 then 'INITIAL_PURCHASE' else 'RENEWAL' end,
         'app_id', 'app1a2b3c4d', 'event_timestamp_ms', at_ms, 'app_user_id', 'user-' || c, 'original_app_user_id', 'user-' || c,
         'aliases', json_build_array('user-' || c), 'product_id', 'pro_monthly', 'entitlement_id', null,
         'entitlement_ids', json_build_array('pro'), 'presented_offering_id', null, 'period_type', 'NORMAL',
         'purchased_at_ms', at_ms, 'expiration_at_ms', at_ms + 2592000000, 'store', 'APP_STORE', 'environment', 'PRODUCTION',
         'is_family_share', false, 'country_code', 'US', 'currency', 'USD', 'price', 9.99, 'price_in_purchased_currency', 9.99,
         'tax_percentage', 0.0, 'commission_percentage', 0.3, 'takehome_percentage', 0.7, 'offer_code', null,
         'transaction_id', '20000000' || c || k, 'original_transaction_id', '20000000' || c, 'renewal_number', k,
         'metadata', null, 'is_trial_conversion', false)
  from (${source}) t`;
}

function deliveriesOf(source: string): string {
  return `
insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, sent_name, sent_at_s,
                              first_tried_at, delivered_at, attempts, contact_id)
select w, md5('subscriber' || c)::uuid, w || '-p1', md5('event' || c || '-' || k)::uuid::text,
       to_timestamp(at_ms / 1000.0), 'rc_renewal_event', at_ms / 1000, to_timestamp(at_ms / 1000.0),
       to_timestamp(at_ms / 1000.0) + interval '1 second', 1, md5('contact' || c)
  from (${source}) t`;
}

const CUSTOMERS = `select c, k, ${WORKSPACE_OF} as w,
          (extract(epoch from now()) * 1000)::bigint - (${EVENTS_EACH} - k) * 2592000000::bigint - c % 2592000 * 1000 as at_ms
     from generate_series($1::bigint, $2::bigint) c, generate_series(1, ${EVENTS_EACH}) k`;

/** Customer 0 is the heavy one; its events are an hour apart. */
const HEAVY = `select 0 as c, k, '${WORKSPACE_ID}' as w,
          (extract(epoch from now()) * 1000)::bigint - (${HEAVY_EVENTS} - k) * 3600000::bigint as at_ms
     from generate_series(1, ${HEAVY_EVENTS}) k`;

/**
 * Fills a migrated database up to a number of events.
 *
 * @param from the number of events that this function has already filled in
 */
export async function fill(client: pg.Client, from: number, to: number): Promise<void> {
  await client.query(`set maintenance_work_mem = '512MB'`);
  const indexes = to - from > 500_000 ? await dropIndexes(client) : [];
  if (from === 0) await fillHeavy(client);
  const [first, last] = [from / EVENTS_EACH + 1, to / EVENTS_EACH];
  for (let start = first; start <= last; start += CHUNK / EVENTS_EACH) {
    const end = Math.min(last, start + CHUNK / EVENTS_EACH - 1);
    for (const statement of [SUBSCRIBERS, IDS, eventsOf(CUSTOMERS), deliveriesOf(CUSTOMERS)])
      await client.query(statement, [start, end]);
  }
  for (const index of indexes) await client.query(index);
  await client.query('vacuum analyze');
  await client.query('checkpoint');
}

async function fillHeavy(client: pg.Client): Promise<void> {
  await client.query(
    `insert into workspaces (workspace_id, name) select 'other' || n, 'Other' from generate_series(0, $1) n`,
    [OTHER_WORKSPACES - 1],
  );
  await client.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, version, contact_id) values ($1, $2, md5('subscriber0')::uuid, 1, 'heavy')`,
    [WORKSPACE_ID, PROJECT_ID],
  );
  await client.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id) values ($1, $2, $3, md5('subscriber0')::uuid)`,
    [WORKSPACE_ID, PROJECT_ID, HEAVY_CUSTOMER],
  );
  await client.query(eventsOf(HEAVY));
  await client.query(deliveriesOf(HEAVY));
}

/** Drops the secondary indexes: building them after filling takes a third of the time. */
async function dropIndexes(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ indexname: string; indexdef: string }>(
    `select indexname, indexdef from pg_indexes i
      where schemaname = 'public' and tablename in ('events', 'subscribers', 'subscriber_ids')
        and not exists (select 1 from pg_constraint c where c.conname = i.indexname)`,
  );
  for (const row of rows) await client.query(`drop index ${row.indexname}`);
  return rows.map((row) => row.indexdef);
}
