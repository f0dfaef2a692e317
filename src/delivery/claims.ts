import { clocks, type Database, listsOf, type Sql } from '../database/sql.ts';
import { listEndedWorkers, unregisterWorker } from '../database/worker-connection.ts';
import { rewriteAttributesOf } from '../subscribers/repository.ts';
import { IS_CONNECTED } from '../workspaces/projects.ts';

/** A lease ends after this long without renewal, so a process that hangs does not keep its subscribers. */
export const LEASE_SECONDS = 15;

export interface Claim {
  readonly workspaceId: string;
  readonly subscriberId: string;
  readonly projectId: string;
  /** The subscriber's version when it was claimed: a newer one means that more has arrived. */
  readonly version: number;
  /** Lookups in a row that found no contact. */
  readonly lookups: number;
  /** Deliveries in a row that failed. */
  readonly failures: number;
  readonly failingSince: Date | null;
  readonly contactId: string | null;
  readonly attributesWritten: Record<string, unknown> | null;
  /** The worker's id at the time of the claim. */
  readonly owner: string;
  /** Whether its project has an API key, which RevenueCat may reject. */
  readonly hasApiKey: boolean;
  /** Whether its project is connected. Without new events the state goes out of date: no attributes are written. */
  readonly isConnected: boolean;
}

/**
 * Claims up to `limit` due subscribers of one workspace, or none if it is rate-limited or disconnected. SKIP LOCKED
 * keeps workers from waiting for each other; the lease ensures that a subscriber is processed by one worker at a time.
 */
export async function claimNext(
  sql: Sql,
  workspaceId: string,
  { owner, limit }: { owner: string; limit: number },
): Promise<Claim[]> {
  const rows = await sql.query<Omit<Claim, 'workspaceId' | 'owner'>>(
    `with due as (
       select subscriber_id from subscribers
        where workspace_id = $1 and due_at <= now() and (lease_until is null or lease_until < now())
          and exists (select 1 from workspaces
                       where workspace_id = $1 and status = 'connected'
                         and (not_before is null or not_before <= now()))
        order by due_at
        limit $3
        for no key update skip locked
     ), seen as (
       update workspaces set last_claimed_at = now()
        where workspace_id = $1 and (last_claimed_at is null or last_claimed_at < now() - interval '1 second')
     )
     update subscribers s
        set lease_until = now() + make_interval(secs => $4), lease_owner = $2,
            -- A delivery that did not end may have written attributes: null means unknown.
            attributes_written = case when s.lease_owner is null then s.attributes_written end
      -- Looked up by key: while the table is small, a planned join would scan it.
      where s.workspace_id = $1 and s.subscriber_id = any(array(select subscriber_id from due))
     returning s.subscriber_id as "subscriberId", s.project_id as "projectId", s.version::float8,
               case when s.failing_since is null then s.attempts else 0 end as lookups,
               case when s.failing_since is null then 0 else s.attempts end as failures,
               s.failing_since as "failingSince", s.contact_id as "contactId",
               s.attributes_written as "attributesWritten",
               exists (select 1 from projects p
                        where p.workspace_id = $1 and p.project_id = s.project_id
                          and p.api_key is not null) as "hasApiKey",
               exists (select 1 from projects p
                        where p.workspace_id = $1 and p.project_id = s.project_id
                          and ${IS_CONNECTED}) as "isConnected"`,
    [workspaceId, owner, limit, LEASE_SECONDS],
    'claim-subscribers',
  );
  return rows.map((row) => ({ ...row, workspaceId, owner }));
}

/** For each claimed subscriber, whether more has arrived since the claim. */
export async function haveChanged(
  sql: Sql,
  workspaceId: string,
  claims: readonly Claim[],
): Promise<boolean[]> {
  const rows = await sql.query<{ subscriber_id: string; version: number }>(
    'select subscriber_id, version::float8 from subscribers where workspace_id = $1 and subscriber_id = any($2)',
    [workspaceId, claims.map(({ subscriberId }) => subscriberId)],
    'have-changed',
  );
  const versions = new Map(rows.map((row) => [row.subscriber_id, row.version]));
  return claims.map(({ subscriberId, version }) => versions.get(subscriberId) !== version);
}

export interface FoundContact {
  readonly claim: Claim;
  readonly contactId: string;
}

/**
 * Stores contacts as soon as they are found. From then on, deliveries to the same contact take each other into account,
 * and Intercom's webhooks about a contact find its subscriber.
 *
 * @returns ids of the subscribers that were stored; the others have changed since the claim
 */
export async function assignContacts(
  sql: Sql,
  workspaceId: string,
  found: readonly FoundContact[],
): Promise<Set<string>> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `with locked as (
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) order by subscriber_id for no key update
     )
     update subscribers s
        set contact_id = f.contact_id
       from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[])
            as f (subscriber_id, owner, version, contact_before, contact_id)
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.subscriber_id = f.subscriber_id
        and s.subscriber_id in (select subscriber_id from locked) and s.lease_owner = f.owner
        and s.version = f.version and s.contact_id is not distinct from f.contact_before
     returning s.subscriber_id`,
    [workspaceId, ...claimLists(found), ...listsOf(found, 'contactId')],
    'assign-contacts',
  );
  return new Set(rows.map((row) => row.subscriber_id));
}

function claimLists(of: readonly { readonly claim: Claim }[]): unknown[][] {
  const claims = of.map(({ claim }) => claim);
  return listsOf(claims, 'subscriberId', 'owner', 'version', 'contactId');
}

/** The outcome of a delivery, stored when its subscriber is released. */
export interface FinishedClaim {
  /** As the row is now: includes a contact that was assigned during the delivery. */
  readonly claim: Claim;
  /** When to deliver again; `null`: only after something new happens. */
  readonly dueAtMs: number | null;
  readonly contactId: string | null;
  /** `null`: what is on the contact is unknown. */
  readonly attributesWritten: Readonly<Record<string, unknown>> | null;
  /** Failed deliveries in a row; with `waiting`, lookups that found no contact. */
  readonly failedTries: number;
  readonly waiting: boolean;
  readonly pendingEvents: number;
  /** Code of what the pending events wait for. */
  readonly pendingReason: string | null;
}

/**
 * Releases subscribers of one workspace. PostgreSQL's clock decides when they are due and may differ from ours, so the
 * due time is passed on as a delay after `nowMs`.
 *
 * @returns ids of the subscribers that are already due again
 */
export async function finishClaims(
  sql: Sql,
  { workspaceId, nowMs }: { readonly workspaceId: string; readonly nowMs: number },
  finished: readonly FinishedClaim[],
): Promise<Set<string>> {
  const rows = await sql.query<{ subscriber_id: string; merged_into: string | null; due: boolean }>(
    `with locked as (
       -- Every statement that locks several subscribers does so in the order of their ids, to avoid deadlocks.
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) order by subscriber_id for no key update
     )
     update subscribers s
        set lease_until = null, lease_owner = null,
            -- A newer version means that more has arrived since the claim: it is due now.
            due_at = case when s.version = f.version then to_timestamp(f.now_s + f.due_in_ms / 1000.0)
                          else f.now end,
            -- A contact that was deleted or merged in between is not overwritten.
            contact_id = case when s.contact_id is not distinct from f.contact_before
                              then f.contact_id else s.contact_id end,
            -- Unknown if the contact has changed, or if they were reset in between to be written again.
            attributes_written = case when s.contact_id is not distinct from f.contact_before
                                       and (s.attributes_written is not null
                                            or (f.unwritten_before and s.version = f.version))
                                      then f.attributes::jsonb end,
            attempts = f.attempts,
            waiting = f.waiting,
            pending_events = f.pending_events,
            pending_reason = f.pending_reason,
            failing_since = case when f.attempts = 0 or f.waiting then null
                                 else coalesce(s.failing_since, f.now) end
       from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::integer[], $8::boolean[],
                   $9::integer[], $10::text[], $11::bigint[], $12::text[], $13::boolean[], ${clocks('$2::uuid[]')},
                   array_fill(extract(epoch from now())::float8, array[cardinality($2::uuid[])]))
            as f (subscriber_id, owner, version, contact_before, contact_id, attempts, waiting, pending_events,
                  pending_reason, due_in_ms, attributes, unwritten_before, now, now_s)
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.subscriber_id = f.subscriber_id
        and s.subscriber_id in (select subscriber_id from locked) and s.lease_owner = f.owner
     returning s.subscriber_id, s.merged_into, coalesce(s.due_at <= f.now, false) as due`,
    [
      workspaceId,
      ...claimLists(finished),
      ...listsOf(finished, 'contactId', 'failedTries', 'waiting', 'pendingEvents', 'pendingReason'),
      finished.map(({ dueAtMs }) => dueAtMs && dueAtMs - nowMs),
      finished.map(({ attributesWritten: written }) => written && JSON.stringify(written)),
      finished.map(({ claim }) => claim.attributesWritten === null),
    ],
    'finish-claims',
  );
  for (const { merged_into } of rows)
    if (merged_into !== null) await endWaitForMerged(sql, workspaceId, merged_into);
  const released = new Set(rows.map((row) => row.subscriber_id));
  const overtaken = finished.filter(
    ({ claim, attributesWritten }) =>
      !released.has(claim.subscriberId) && attributesWritten !== claim.attributesWritten,
  );
  // These attributes were written after the lease had ended and may have replaced newer ones from another worker.
  const overtakenIds = overtaken.map(({ claim }) => claim.subscriberId);
  await rewriteAttributesOf(sql, workspaceId, overtakenIds);
  return new Set(rows.filter((row) => row.due).map((row) => row.subscriber_id));
}

/** A merge made the remaining subscriber wait for this delivery, which has now ended. */
async function endWaitForMerged(sql: Sql, workspaceId: string, subscriberId: string): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = null
      where workspace_id = $1 and subscriber_id = $2 and lease_owner is null`,
    [workspaceId, subscriberId],
  );
}

/**
 * Ends the lease of a subscriber whose delivery stopped midway. `lease_owner` stays set, so that the next claim treats
 * the attributes on the contact as unknown.
 */
export async function releaseClaim(sql: Sql, claim: Claim): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = null
      where workspace_id = $1 and subscriber_id = $2 and lease_owner = $3`,
    [claim.workspaceId, claim.subscriberId, claim.owner],
  );
}

/**
 * Renews this worker's leases, except those of merged subscribers: the remaining subscriber waits for them to end.
 *
 * @returns ids of the subscribers whose leases were renewed
 */
export async function renewLeases(
  sql: Sql,
  workspaceId: string,
  { owner, subscriberIds }: { owner: string; subscriberIds: readonly string[] },
): Promise<Set<string>> {
  const rows = await sql.query<{ subscriber_id: string }>(
    `update subscribers set lease_until = now() + make_interval(secs => $4)
      where workspace_id = $1
        and subscriber_id = any(array(select subscriber_id from subscribers
                                       where workspace_id = $1 and lease_owner = $2 and subscriber_id = any($3)
                                         and lease_until is not null and merged_into is null
                                       order by subscriber_id for no key update))
     returning subscriber_id`,
    [workspaceId, owner, subscriberIds, LEASE_SECONDS],
    'renew-leases',
  );
  return new Set(rows.map((row) => row.subscriber_id));
}

/**
 * Ends the leases of workers that are no longer connected. Leased subscribers are still due, so the index on due
 * subscribers finds them, with one search per ended worker.
 *
 * @returns number of subscribers released
 */
export async function releaseExpiredLeases(database: Database): Promise<number> {
  let released = 0;
  for (const workerId of await listEndedWorkers(database)) {
    released += await database.transaction(async (sql) => {
      if (!(await unregisterWorker(sql, workerId))) return 0;
      const rows = await sql.query(
        // `lease_owner` stays set, as in releaseClaim.
        `update subscribers set lease_until = null
          where workspace_id = any(array(select workspace_id from workspaces))
            and due_at <= now() and lease_owner = $1
         returning 1`,
        [workerId],
      );
      return rows.length;
    });
  }
  return released;
}
