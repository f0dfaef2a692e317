import { clocks } from '../database/clock.ts';
import type { Database, Sql } from '../database/sql.ts';
import type { SentMark } from '../subscribers/store.ts';
import type { Plan, PlannedEvent } from './plan.ts';

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
            first_tried_at = case when p.name is null then e.first_tried_at else coalesce(e.first_tried_at, p.now) end,
            delivery = case when p.name is null then 'skipped' else e.delivery end,
            reason = case when p.name is null then p.reason else e.reason end
       from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], ${clocks('$2::text[]')})
            as p (event_id, project_id, name, at_s, reason, now)
      where e.workspace_id = $1 and e.project_id = p.project_id and e.event_id = p.event_id and e.side = 'customer'
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

/**
 * Plans for a subscriber whose contact others write to as well, and stores it. They plan one after the other, each
 * with what the others have planned.
 */
export async function planBeside(
  database: Database,
  workspaceId: string,
  subscriberId: string,
  others: readonly string[],
  plan: (others: readonly SentMark[]) => Plan,
): Promise<Plan> {
  return database.transaction(async (sql) => {
    await sql.query(
      `select subscriber_id from subscribers where workspace_id = $1 and subscriber_id = any($2)
        order by subscriber_id for no key update`,
      [workspaceId, [subscriberId, ...others]],
    );
    const rows = await sql.query<{ sent_name: string; sent_at_s: string }>(
      `select sent_name, sent_at_s from events
        where workspace_id = $1 and subscriber_id = any($2) and sent_name is not null`,
      [workspaceId, others],
    );
    const planned = plan(rows.map((row) => ({ name: row.sent_name, atS: Number(row.sent_at_s) })));
    if (planned.news.length > 0) await savePlan(sql, workspaceId, planned.news);
    return planned;
  });
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
  /** The body of Intercom's answer, cut short; `null`: it was empty, or none came. */
  readonly answer: string | null;
}

export async function recordAttempts(
  sql: Sql,
  workspaceId: string,
  attempts: readonly Attempt[],
): Promise<void> {
  await sql.query(
    `insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message, answer)
     select $1, subscriber_id, event_id, request::jsonb, status, code, message, answer
       from unnest($2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[])
            as t (subscriber_id, event_id, request, status, code, message, answer)`,
    [
      workspaceId,
      attempts.map((attempt) => attempt.subscriberId),
      attempts.map((attempt) => attempt.eventId),
      // PostgreSQL's jsonb cannot hold NUL, and a log must never keep an event from being settled.
      attempts.map((attempt) => JSON.stringify(attempt.request).replaceAll('\\u0000', '')),
      attempts.map((attempt) => attempt.status),
      attempts.map((attempt) => attempt.code),
      attempts.map((attempt) => attempt.message),
      attempts.map((attempt) => attempt.answer),
    ],
    'record-attempts',
  );
}

/** Where an event goes after an attempt. */
export type EventOutcome =
  | { readonly state: 'delivered'; readonly contactId: string }
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'pending'; readonly reason: string; readonly nextTryAtMs: number | null };

/** What came of an attempt to send an event. */
export interface Settlement {
  readonly projectId: string;
  readonly attempt: Attempt & { readonly eventId: string };
  readonly outcome: EventOutcome;
  /** A retry that does not count leaves `attempts` alone. */
  readonly counts: boolean;
}

/**
 * Writes the log and moves events of one project. No event may be in it twice.
 *
 * The log comes first: if the process dies in between, the events are sent again, under the same names and seconds,
 * and the log then shows both attempts.
 */
export async function settleEvents(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  settlements: readonly Settlement[],
): Promise<void> {
  const attempts = settlements.map((settlement) => settlement.attempt);
  const outcomes = settlements.map((settlement) => settlement.outcome);
  await recordAttempts(sql, workspaceId, attempts);
  await sql.query(
    `update events e
        set delivery = s.outcome,
            reason = s.reason,
            attempts = e.attempts + s.counts,
            next_try_at = to_timestamp(s.next_try_ms / 1000.0),
            contact_id = coalesce(s.contact_id, e.contact_id),
            delivered_at = case when s.outcome = 'delivered' then s.now else e.delivered_at end
       from unnest($3::text[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::text[],
                   ${clocks('$3::text[]')})
            as s (event_id, outcome, reason, counts, next_try_ms, contact_id, now)
      where e.workspace_id = $1 and e.project_id = $2 and e.event_id = any($3) and e.side = 'customer'
        and e.event_id = s.event_id`,
    [
      workspaceId,
      projectId,
      attempts.map((attempt) => attempt.eventId),
      outcomes.map((outcome) => outcome.state),
      outcomes.map((outcome) => (outcome.state === 'delivered' ? null : outcome.reason)),
      settlements.map((settlement) => (settlement.counts ? 1 : 0)),
      outcomes.map((outcome) => (outcome.state === 'pending' ? outcome.nextTryAtMs : null)),
      outcomes.map((outcome) => (outcome.state === 'delivered' ? outcome.contactId : null)),
    ],
    'settle-events',
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
