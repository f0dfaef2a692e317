import type { Sql } from '../database/sql.ts';
import type { OutboxEntry, PlannedEvent } from './plan.ts';

/** A subscriber's own events that are pending or were planned, by event id. */
export async function readOutbox(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Map<string, OutboxEntry>> {
  const rows = await sql.query<{
    event_id: string;
    pending: boolean;
    sent_name: string | null;
    sent_at_s: string | null;
    attempts: number;
    first_tried_at: Date | null;
    next_try_at: Date | null;
    received_at: Date;
  }>(
    `select event_id, delivery = 'pending' as pending, sent_name, sent_at_s, attempts, first_tried_at,
            next_try_at, received_at
       from events
      where workspace_id = $1 and subscriber_id = $2 and side = 'subject'
        and (delivery = 'pending' or sent_at_s is not null)`,
    [workspaceId, subscriberId],
    'read-outbox',
  );
  return new Map(
    rows.map((row) => [
      row.event_id,
      {
        isPending: row.pending,
        mark: row.sent_name === null ? null : { name: row.sent_name, atS: Number(row.sent_at_s) },
        attempts: row.attempts,
        firstTriedAtMs: row.first_tried_at?.getTime() ?? null,
        nextTryAtMs: row.next_try_at?.getTime() ?? null,
        receivedAtMs: row.received_at.getTime(),
      },
    ]),
  );
}

/** Stores name and second of each event before it is sent, and closes those that are not to be sent. */
export async function savePlan(
  sql: Sql,
  workspaceId: string,
  planned: readonly PlannedEvent[],
): Promise<void> {
  await sql.query(
    `update events e
        set sent_name = coalesce(p.name, e.sent_name),
            sent_at_s = coalesce(p.at_s, e.sent_at_s),
            first_tried_at = case when p.name is null then e.first_tried_at else coalesce(e.first_tried_at, now()) end,
            delivery = case when p.name is null then 'skipped' else e.delivery end,
            reason = case when p.name is null then p.reason else e.reason end
       from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
            as p (event_id, project_id, name, at_s, reason)
      where e.workspace_id = $1 and e.project_id = p.project_id and e.event_id = p.event_id and e.side = 'subject'
        and e.delivery = 'pending'`,
    [
      workspaceId,
      planned.map((event) => event.eventId),
      planned.map((event) => event.projectId),
      planned.map((event) => (event.action === 'send' ? event.eventName : null)),
      planned.map((event) => (event.action === 'send' ? event.createdAtS : null)),
      planned.map((event) => (event.action === 'skip' ? event.reason : null)),
    ],
    'save-plan',
  );
}

/** The outcome of one attempt, for the delivery log. `code` is `ok` or a failure's code. */
export interface Attempt {
  readonly subscriberId: string;
  /** `null`: the attempt wrote the contact's attributes. */
  readonly eventId: string | null;
  readonly request: Readonly<Record<string, unknown>>;
  readonly status: number | null;
  readonly code: string;
  readonly message: string | null;
}

export async function recordAttempt(sql: Sql, workspaceId: string, attempt: Attempt): Promise<void> {
  await sql.query(
    `insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    attemptValues(workspaceId, attempt),
    'record-attempt',
  );
}

function attemptValues(workspaceId: string, attempt: Attempt): unknown[] {
  return [
    workspaceId,
    attempt.subscriberId,
    attempt.eventId,
    JSON.stringify(attempt.request),
    attempt.status,
    attempt.code,
    attempt.message,
  ];
}

/** Where an event goes after an attempt. */
export type EventOutcome =
  | { readonly state: 'delivered'; readonly contactId: string }
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'pending'; readonly reason: string; readonly nextTryAtMs: number | null };

/** Moves an event and writes the log in one statement. A retry that does not count leaves `attempts` alone. */
export async function settleEvent(
  sql: Sql,
  workspaceId: string,
  event: { projectId: string; attempt: Attempt; outcome: EventOutcome; counts: boolean },
): Promise<void> {
  const { outcome } = event;
  await sql.query(
    `with log as (
       insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message)
       values ($1, $2, $3, $4, $5, $6, $7)
     )
     update events
        set delivery = $9,
            reason = $10,
            attempts = attempts + $11,
            next_try_at = to_timestamp($12 / 1000.0),
            contact_id = coalesce($13, contact_id),
            delivered_at = case when $9 = 'delivered' then now() else delivered_at end
      where workspace_id = $1 and project_id = $8 and event_id = $3 and side = 'subject'`,
    [
      ...attemptValues(workspaceId, event.attempt),
      event.projectId,
      outcome.state,
      outcome.state === 'delivered' ? null : outcome.reason,
      event.counts ? 1 : 0,
      outcome.state === 'pending' ? outcome.nextTryAtMs : null,
      outcome.state === 'delivered' ? outcome.contactId : null,
    ],
    'settle-event',
  );
}

/** Marks all pending events of a subscriber with the same reason. */
export async function explainPending(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
  reason: string,
): Promise<void> {
  await sql.query(
    `update events set reason = $3
      where workspace_id = $1 and subscriber_id = $2 and delivery = 'pending' and reason is distinct from $3`,
    [workspaceId, subscriberId, reason],
    'explain-pending',
  );
}
