import { REFUSAL_CODES } from '../database/entities.ts';
import { clocks, type Database, listsOf, type Sql } from '../database/sql.ts';
import { eventOf, type SentAs } from '../subscribers/stored-events.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import type { Claim, FinishedClaim } from './claims.ts';
import { isUnsaved, type PlannedEvent } from './plan.ts';

export type Plan = Pick<Claim, 'subscriberId'> & { readonly events: readonly PlannedEvent[] };

/**
 * Stores the name and second of each event before it is sent, and marks events that are not sent as skipped. Nothing is
 * stored for a subscriber that was merged into another: its events are in the other subscriber's plan by then.
 */
export async function savePlan(sql: Sql, workspaceId: string, plans: readonly Plan[]): Promise<void> {
  const planned = plans.flatMap(({ subscriberId, events }) =>
    events.map((event) => ({ ...event, subscriberId })),
  );
  // Takes the lock that a foreign key would take, so that nothing is planned for a subscriber that is being erased.
  await sql.query(
    `with planned as (
       select e.subscriber_id, e.received_at, p.*
         from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::uuid[])
              as p (event_id, project_id, name, at_s, reason, planned_for)
        cross join lateral (${eventOf('p')}) e
        where e.subscriber_id = p.planned_for and e.side = 'customer'
     ), stored as (
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any(array(select subscriber_id from planned))
          and merged_into is null
        order by subscriber_id for key share
     )
     insert into event_deliveries as d (workspace_id, subscriber_id, project_id, event_id, received_at, sent_name,
                                        sent_at_s, reason, not_sent)
     select $1, p.subscriber_id, p.project_id, p.event_id, p.received_at, p.name, p.at_s,
            p.reason, case when p.name is null then 'skipped' end
       from planned p
      where p.subscriber_id in (select subscriber_id from stored)
     on conflict (workspace_id, subscriber_id, project_id, event_id) do update
        set sent_name = coalesce(excluded.sent_name, d.sent_name),
            sent_at_s = coalesce(excluded.sent_at_s, d.sent_at_s),
            not_sent = excluded.not_sent,
            reason = excluded.reason
      where d.delivered_at is null and d.not_sent is null`,
    [
      workspaceId,
      planned.map(({ entry }) => entry.id),
      planned.map(({ entry }) => entry.projectId),
      planned.map((event) => (event.action === 'send' ? event.sentAs.name : null)),
      planned.map((event) => (event.action === 'send' ? event.sentAs.atS : null)),
      planned.map((event) => (event.action === 'skip' ? event.reason : null)),
      planned.map(({ subscriberId }) => subscriberId),
    ],
    'save-plan',
  );
}

/**
 * Plans and stores the events of a subscriber that shares its contact with others. The row locks make these subscribers
 * plan one after the other, so that each sees what the others have planned.
 *
 * @returns `null`: it was merged into another subscriber, whose plan has its events
 */
export async function planWithOthers(
  database: Database,
  subscriber: Pick<Claim, 'workspaceId' | 'subscriberId'> & { readonly others: readonly string[] },
  plan: (planned: readonly SentAs[]) => PlannedEvent[],
): Promise<PlannedEvent[] | null> {
  const { workspaceId, subscriberId, others } = subscriber;
  return database.transaction(async (sql) => {
    const locked = await sql.query<{ subscriber_id: string }>(
      `select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) and merged_into is null
        order by subscriber_id for no key update`,
      [workspaceId, [subscriberId, ...others]],
    );
    if (!locked.some((row) => row.subscriber_id === subscriberId)) return null;
    const rows = await sql.query<{ sent_name: string; sent_at_s: string }>(
      `select sent_name, sent_at_s from event_deliveries
        where workspace_id = $1 and subscriber_id = any($2) and sent_name is not null`,
      [workspaceId, others],
    );
    const planned = plan(rows.map((row) => ({ name: row.sent_name, atS: Number(row.sent_at_s) })));
    const unsaved = planned.filter(isUnsaved);
    if (unsaved.length > 0) await savePlan(sql, workspaceId, [{ subscriberId, events: unsaved }]);
    return planned;
  });
}

/** One call to Intercom, for the delivery log. `code` is `ok` or a failure's code. */
export interface Attempt {
  readonly subscriberId: string;
  /** `null`: the call wrote the contact's attributes. */
  readonly eventId: string | null;
  readonly request: Readonly<Record<string, unknown>>;
  readonly status: number | null;
  readonly code: string;
  readonly message: string | null;
  /** The body of Intercom's response, cut short; `null`: it was empty, or none came. */
  readonly answer: string | null;
}

/** Leaves out attempts for erased subscribers; takes the lock that a foreign key would take. */
export async function recordAttempts(
  sql: Sql,
  workspaceId: string,
  attempts: readonly Attempt[],
): Promise<void> {
  await sql.query(
    `with stored as (
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2::uuid[])
        order by subscriber_id for key share)
     insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message, answer)
     select $1, subscriber_id, event_id, request::json, status, code, message, answer
       from unnest($2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[])
            as t (subscriber_id, event_id, status, code, message, answer, request)
      where subscriber_id in (select subscriber_id from stored)`,
    [
      workspaceId,
      ...listsOf(attempts, 'subscriberId', 'eventId', 'status', 'code', 'message', 'answer'),
      attempts.map(({ request }) => JSON.stringify(request)),
    ],
    'record-attempts',
  );
}

export interface SendResult extends Attempt {
  readonly eventId: string;
  readonly projectId: string;
  readonly state: 'delivered' | 'failed' | 'pending';
  readonly reason: string | null;
  readonly contactId: string | null;
  readonly nextTryAtMs: number | null;
  /** 1, or 0 when the attempt does not use up a retry. */
  readonly tries: 0 | 1;
}

/**
 * Writes the delivery log and the results of one project's events; no event may be listed twice. The three days of
 * retries begin with the first failed attempt that counts, because an event may wait weeks for its contact.
 *
 * The log comes first: if the process dies in between, the events are sent again under the same names and seconds,
 * and the log then shows both attempts.
 */
export async function recordResults(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  results: readonly SendResult[],
): Promise<void> {
  await recordAttempts(sql, workspaceId, results);
  const stored = await updateDeliveries(sql, { workspaceId, projectId }, results);
  if (stored === results.length) return;
  // A merge has moved events to another subscriber since they were claimed.
  const rows = await sql.query<{ event_id: string; subscriber_id: string }>(
    `select event_id, subscriber_id from events
      where workspace_id = $1 and project_id = $2 and event_id = any($3) and side = 'customer'`,
    [workspaceId, projectId, results.map(({ eventId }) => eventId)],
  );
  const owners = new Map(rows.map((row) => [row.event_id, row.subscriber_id]));
  const moved = results.flatMap((result) => {
    const subscriberId = owners.get(result.eventId) ?? result.subscriberId;
    return subscriberId === result.subscriberId ? [] : [{ ...result, subscriberId }];
  });
  if (moved.length > 0) await updateDeliveries(sql, { workspaceId, projectId }, moved);
}

/** @returns number of rows updated */
async function updateDeliveries(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  results: readonly SendResult[],
): Promise<number> {
  const rows = await sql.query(
    `update event_deliveries d
        set delivered_at = case when o.state = 'delivered' then o.now end,
            not_sent = case when o.state = 'failed' then 'failed' end,
            reason = o.reason,
            attempts = d.attempts + o.tries,
            first_tried_at = coalesce(
              d.first_tried_at,
              case when o.tries > 0 and o.reason <> all($10::text[]) then o.now end),
            next_try_at = to_timestamp(o.next_try_ms / 1000.0),
            contact_id = coalesce(o.contact_id, d.contact_id)
       from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::bigint[], $9::text[],
                   ${clocks('$4::text[]')})
            as o (subscriber_id, event_id, state, reason, tries, next_try_ms, contact_id, now)
      where d.workspace_id = $1 and d.subscriber_id = any($3) and d.project_id = $2 and d.event_id = any($4)
        and d.subscriber_id = o.subscriber_id and d.event_id = o.event_id
        -- A worker whose lease has ended may report a failure after another one has sent the event.
        and (o.state = 'delivered' or (d.delivered_at is null and d.not_sent is null))
     returning 1`,
    [
      workspaceId,
      projectId,
      ...listsOf(results, 'subscriberId', 'eventId', 'state', 'reason', 'tries', 'nextTryAtMs', 'contactId'),
      REFUSAL_CODES,
    ],
    'record-results',
  );
  return rows.length;
}

/** Stores with planned events what they wait for: an error code, or `waiting_for_contact`. */
export async function explainPending(
  sql: Sql,
  workspaceId: string,
  finished: readonly FinishedClaim[],
): Promise<void> {
  const waiting = finished.filter(({ pendingReason }) => pendingReason !== null);
  if (waiting.length === 0) return;
  await sql.query(
    `update event_deliveries d set reason = r.reason
       from unnest($2::uuid[], $3::text[]) as r (subscriber_id, reason)
      where d.workspace_id = $1 and d.subscriber_id = any($2) and d.subscriber_id = r.subscriber_id
        and d.delivered_at is null and d.not_sent is null and d.reason is distinct from r.reason`,
    [workspaceId, waiting.map(({ claim }) => claim.subscriberId), waiting.map((each) => each.pendingReason)],
    'explain-pending',
  );
}
