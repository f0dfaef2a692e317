import type { Database, Sql } from '../database/sql.ts';
import type { PlannedEvent, SentMark } from './plan.ts';

/** Long enough for a slow round of calls, short enough to be caught up soon after a killed process. */
export const LEASE_SECONDS = 15;

export interface Claim {
  readonly workspaceId: string;
  readonly subscriberId: string;
  readonly projectId: string;
  /** What the subscriber's version was when it was claimed: a newer one means that more has arrived. */
  readonly version: string;
  readonly attempts: number;
  readonly failingSinceMs: number | null;
  readonly contactId: string | null;
  readonly attributesWritten: Record<string, unknown> | null;
}

/** Workspaces with something due, those served longest ago first. Not those that are disconnected or told to wait. */
export async function listDueWorkspaces(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ workspace_id: string }>(
    `select w.workspace_id from workspaces w
      where w.status = 'connected' and (w.not_before is null or w.not_before <= now())
        and exists (select 1 from subscribers s
                     where s.workspace_id = w.workspace_id and s.due_at <= now()
                       and (s.lease_until is null or s.lease_until < now()))
      order by w.last_claimed_at nulls first, w.workspace_id`,
    [],
    'list-due-workspaces',
  );
  return rows.map((row) => row.workspace_id);
}

/**
 * Takes up to `limit` due subscribers of one workspace for this worker. SKIP LOCKED keeps workers from waiting
 * for each other; the lease keeps one subscriber in one hand.
 */
export async function claimSubscribers(
  sql: Sql,
  workspaceId: string,
  owner: string,
  limit: number,
): Promise<Claim[]> {
  const rows = await sql.query<{
    subscriber_id: string;
    project_id: string;
    version: string;
    attempts: number;
    failing_since: Date | null;
    contact_id: string | null;
    attributes_written: Record<string, unknown> | null;
  }>(
    `with due as (
       select subscriber_id from subscribers
        where workspace_id = $1 and due_at <= now() and (lease_until is null or lease_until < now())
        order by due_at
        limit $3
        for no key update skip locked
     ), seen as (
       update workspaces set last_claimed_at = now()
        where workspace_id = $1 and (last_claimed_at is null or last_claimed_at < now() - interval '1 second')
     )
     update subscribers s
        set lease_until = now() + make_interval(secs => $4), lease_owner = $2
       from due
      where s.workspace_id = $1 and s.subscriber_id = due.subscriber_id
     returning s.subscriber_id, s.project_id, s.version, s.attempts, s.failing_since, s.contact_id,
               s.attributes_written`,
    [workspaceId, owner, limit, LEASE_SECONDS],
    'claim-subscribers',
  );
  return rows.map((row) => ({
    workspaceId,
    subscriberId: row.subscriber_id,
    projectId: row.project_id,
    version: row.version,
    attempts: row.attempts,
    failingSinceMs: row.failing_since?.getTime() ?? null,
    contactId: row.contact_id,
    attributesWritten: row.attributes_written,
  }));
}

/** Prolongs the leases that this worker still holds. */
export async function renewLeases(
  sql: Sql,
  workspaceId: string,
  owner: string,
  subscriberIds: readonly string[],
): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = now() + make_interval(secs => $4)
      where workspace_id = $1 and lease_owner = $2 and subscriber_id = any($3)`,
    [workspaceId, owner, subscriberIds, LEASE_SECONDS],
  );
}

/** What was planned for a subscriber's events before, by event id. */
export async function readMarks(
  sql: Sql,
  workspaceId: string,
  subscriberId: string,
): Promise<Map<string, SentMark>> {
  const rows = await sql.query<{ event_id: string; sent_name: string; sent_at_s: string }>(
    `select event_id, sent_name, sent_at_s from events
      where workspace_id = $1 and subscriber_id = $2 and sent_at_s is not null`,
    [workspaceId, subscriberId],
    'read-marks',
  );
  return new Map(rows.map((row) => [row.event_id, { name: row.sent_name, atS: Number(row.sent_at_s) }]));
}

/** Stores name and second of each event before it is sent, and closes those that are not to be sent. */
export async function savePlan(
  sql: Sql,
  workspaceId: string,
  planned: readonly PlannedEvent[],
): Promise<void> {
  await sql.query(
    `update events e
        set sent_name = coalesce(e.sent_name, p.name),
            sent_at_s = coalesce(e.sent_at_s, p.at_s),
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
  );
}

/** Number of attempts of an event and when the first was. */
export async function readTries(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  eventId: string,
): Promise<{ attempts: number; firstTriedAtMs: number | null }> {
  const [row] = await sql.query<{ attempts: number; first_tried_at: Date | null }>(
    `select attempts, first_tried_at from events
      where workspace_id = $1 and project_id = $2 and event_id = $3 and side = 'subject'`,
    [workspaceId, projectId, eventId],
  );
  return { attempts: row?.attempts ?? 0, firstTriedAtMs: row?.first_tried_at?.getTime() ?? null };
}

/** How a claim ends. */
export interface Ending {
  /** When to come back; `null`: when something happens. */
  readonly dueAtMs: number | null;
  readonly contactId: string | null;
  /** `null`: nothing is known to be written. */
  readonly attributesWritten: Readonly<Record<string, unknown>> | null;
  /** Failed rounds in a row; lookups that found no contact count as such. */
  readonly attempts: number;
  readonly waiting: boolean;
}

/** Gives a subscriber back. What arrived while it was held makes it due at once. */
export async function finishClaim(sql: Sql, claim: Claim, owner: string, ending: Ending): Promise<void> {
  await sql.query(
    `update subscribers
        set lease_until = null, lease_owner = null,
            due_at = case when version = $4 then to_timestamp($5 / 1000.0) else now() end,
            contact_id = $6, attributes_written = $7, attempts = $8,
            waiting = case when version = $4 then $9 else false end,
            failing_since = case when $8 = 0 then null else coalesce(failing_since, now()) end
      where workspace_id = $1 and subscriber_id = $2 and lease_owner = $3`,
    [
      claim.workspaceId,
      claim.subscriberId,
      owner,
      claim.version,
      ending.dueAtMs,
      ending.contactId,
      ending.attributesWritten === null ? null : JSON.stringify(ending.attributesWritten),
      ending.attempts,
      ending.waiting,
    ],
    'finish-claim',
  );
}

/** Gives a subscriber back untouched. */
export async function releaseClaim(sql: Sql, claim: Claim, owner: string): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = null, lease_owner = null
      where workspace_id = $1 and subscriber_id = $2 and lease_owner = $3`,
    [claim.workspaceId, claim.subscriberId, owner],
  );
}

export async function holdWorkspace(sql: Sql, workspaceId: string, untilMs: number): Promise<void> {
  await sql.query(
    `update workspaces set not_before = greatest(not_before, to_timestamp($2 / 1000.0)) where workspace_id = $1`,
    [workspaceId, untilMs],
  );
}

/** Wakes subscribers that wait for a contact and are known by one of these ids, this e-mail, or a link to it. */
export async function wakeForContact(
  sql: Sql,
  workspaceId: string,
  contact: { contactId: string; externalId: string | null; email: string | null },
): Promise<number> {
  const rows = await sql.query(
    `update subscribers s
        set due_at = now(), version = s.version + 1, waiting = false, attempts = 0,
            contact_id = null, attributes_written = null
      where s.workspace_id = $1 and s.merged_into is null
        and (s.subscriber_id in (select i.subscriber_id from subscriber_ids i
                                  where i.workspace_id = $1 and i.app_user_id = $2)
             or s.subscriber_id in (select l.subscriber_id from contact_links l
                                     where l.workspace_id = $1 and l.contact_id = $4)
             or (s.email = lower($3) and s.waiting))
     returning 1`,
    [workspaceId, contact.externalId, contact.email, contact.contactId],
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
  return rows.length;
}

/** Forgets a contact that is gone or lives on under another id; its subscribers look for theirs again. */
export async function forgetContact(sql: Sql, workspaceId: string, contactId: string): Promise<number> {
  const rows = await sql.query(
    `update subscribers
        set due_at = now(), version = version + 1, contact_id = null, attributes_written = null, attempts = 0
      where workspace_id = $1 and contact_id = $2
     returning 1`,
    [workspaceId, contactId],
  );
  if (rows.length > 0) await notifyDelivery(sql, workspaceId);
  return rows.length;
}

/** Links follow a contact that was merged into another. */
export async function moveLinks(sql: Sql, workspaceId: string, from: string, to: string): Promise<void> {
  await sql.query(
    `with moved as (
       delete from contact_links where workspace_id = $1 and contact_id = $2 returning *
     )
     insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by, made_at)
     select workspace_id, $3, project_id, subscriber_id, made_by, made_at from moved
     on conflict do nothing`,
    [workspaceId, from, to],
  );
}

export async function notifyDelivery(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}

/**
 * Queues deliveries again: one event, or all failed ones, optionally only those received since a moment.
 * Delivered events are sent again only when asked for by id or time; Intercom drops the repeat.
 *
 * @returns number of events queued
 */
export async function replayEvents(
  database: Database,
  workspaceId: string,
  selection: { eventId?: string; failedOnly: boolean; sinceMs?: number },
): Promise<number> {
  return database.transaction(async (sql) => {
    const rows = await sql.query<{ subscriber_id: string }>(
      `update events
          set delivery = 'pending', reason = null, attempts = 0, next_try_at = null, first_tried_at = null
        where workspace_id = $1 and side = 'subject'
          and ($2::text is null or event_id = $2)
          and (not $3 or delivery = 'failed')
          and ($4::bigint is null or received_at >= to_timestamp($4 / 1000.0))
          and delivery in ('failed', 'delivered')
       returning subscriber_id`,
      [workspaceId, selection.eventId ?? null, selection.failedOnly, selection.sinceMs ?? null],
    );
    await sql.query(
      `update subscribers
          set due_at = now(), version = version + 1, waiting = false, attempts = 0, attributes_written = null
        where workspace_id = $1 and subscriber_id = any($2)`,
      [workspaceId, [...new Set(rows.map((row) => row.subscriber_id))]],
    );
    await notifyDelivery(sql, workspaceId);
    return rows.length;
  });
}
