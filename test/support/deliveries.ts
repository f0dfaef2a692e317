import type { Sql } from '../../src/database/sql.ts';

/** Select from this instead of `events`: it adds the columns of each event's delivery, and its state as `delivery`. */
export const EVENT_STATES = `(
  select e.*, coalesce(e.skip_reason, d.reason) as reason, coalesce(d.attempts, 0) as attempts, d.next_try_at,
         d.delivered_at, d.contact_id, d.sent_name, d.sent_at_s,
         case when e.skip_reason is not null then 'skipped' when d.not_sent is not null then d.not_sent
              when d.delivered_at is not null then 'delivered' else 'pending' end as delivery
    from events e
    left join event_deliveries d
      on d.workspace_id = e.workspace_id and d.subscriber_id = e.subscriber_id and d.project_id = e.project_id
         and d.event_id = e.event_id and e.side = 'customer') as events`;

export interface DeliveryState {
  readonly delivery: string;
  readonly reason?: string | null;
  readonly nextTryAt?: string | null;
  readonly attempts?: number;
}

/** Gives an event a delivery in this state, and updates `pending_events` of its subscriber. */
export async function setDelivery(
  sql: Sql,
  workspaceId: string,
  eventId: string,
  { delivery, reason = null, nextTryAt = null, attempts = 0 }: DeliveryState,
): Promise<void> {
  const notSent = delivery === 'failed' || delivery === 'skipped' ? delivery : null;
  await sql.query(
    `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, not_sent,
                                   delivered_at, reason, next_try_at, attempts)
     select workspace_id, subscriber_id, project_id, event_id, received_at, $3,
            case when $4 = 'delivered' then now() end, $5, $6, $7
       from events where workspace_id = $1 and event_id = $2 and side = 'customer'
     on conflict (workspace_id, subscriber_id, project_id, event_id) do update
        set not_sent = excluded.not_sent, delivered_at = excluded.delivered_at, reason = excluded.reason,
            next_try_at = excluded.next_try_at, attempts = excluded.attempts`,
    [workspaceId, eventId, notSent, delivery, reason, nextTryAt, attempts],
  );
  await sql.query(
    `update subscribers set pending_events = $3, pending_reason = $4, waiting = $4 = 'waiting_for_contact'
      where workspace_id = $1
        and subscriber_id in (select subscriber_id from events where workspace_id = $1 and event_id = $2)`,
    [workspaceId, eventId, delivery === 'pending' ? 1 : 0, reason ?? ''],
  );
}
