import { clocks } from '../database/clock.ts';
import type { Sql } from '../database/sql.ts';
import { LEASE_SECONDS } from './leases.ts';

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
  /** The worker's id under which it was claimed. */
  readonly owner: string;
  /** Whether RevenueCat can be asked for the subscriber's state. */
  readonly canRefresh: boolean;
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
    can_refresh: boolean;
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
               s.attributes_written,
               exists (select 1 from projects p
                        where p.workspace_id = $1 and p.project_id = s.project_id
                          and p.api_key is not null) as can_refresh`,
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
    owner,
    canRefresh: row.can_refresh,
  }));
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

/**
 * Gives subscribers of one workspace back. What arrived while one was held makes it due at once, and what was
 * found out of its contact meanwhile (gone, merged) is not overwritten by what was known before. A contact that was
 * just found is looked for once more then, and written to: the row does not show what became of it.
 *
 * @returns ids of those that are due again already
 */
export async function finishClaims(
  sql: Sql,
  workspaceId: string,
  endings: readonly { readonly claim: Claim; readonly ending: Ending }[],
): Promise<Set<string>> {
  const rows = await sql.query<{ subscriber_id: string; due: boolean }>(
    `with held as (
       -- In one order, as everybody who writes several does: otherwise two could wait for each other.
       select subscriber_id from subscribers
        where workspace_id = $1 and subscriber_id = any($2) order by subscriber_id for no key update
     )
     update subscribers s
        set lease_until = null, lease_owner = null,
            due_at = case when s.version = f.version then to_timestamp(f.due_ms / 1000.0) else f.now end,
            contact_id = case when s.contact_id is not distinct from f.contact_before
                               and (f.contact_before is not null or s.version = f.version)
                              then f.contact_id else s.contact_id end,
            attributes_written = case when s.contact_id is not distinct from f.contact_before
                                       and (s.attributes_written is not null
                                            or (f.unwritten_before and s.version = f.version))
                                      then f.attributes::jsonb end,
            attempts = f.attempts,
            waiting = s.version = f.version and f.waiting,
            failing_since = case when f.attempts = 0 or f.waiting then null
                                 else coalesce(s.failing_since, f.now) end
       from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::integer[],
                   $9::boolean[], $10::text[], $11::boolean[], ${clocks('$2::uuid[]')})
            as f (subscriber_id, owner, version, due_ms, contact_id, attributes, attempts, waiting, contact_before,
                  unwritten_before, now)
      where s.workspace_id = $1 and s.subscriber_id = any($2) and s.subscriber_id = f.subscriber_id
        and s.subscriber_id in (select subscriber_id from held) and s.lease_owner = f.owner
     returning s.subscriber_id, coalesce(s.due_at <= f.now, false) as due`,
    [
      workspaceId,
      endings.map(({ claim }) => claim.subscriberId),
      endings.map(({ claim }) => claim.owner),
      endings.map(({ claim }) => claim.version),
      endings.map(({ ending }) => ending.dueAtMs),
      endings.map(({ ending }) => ending.contactId),
      endings.map(({ ending }) => ending.attributesWritten && JSON.stringify(ending.attributesWritten)),
      endings.map(({ ending }) => ending.attempts),
      endings.map(({ ending }) => ending.waiting),
      endings.map(({ claim }) => claim.contactId),
      endings.map(({ claim }) => claim.attributesWritten === null),
    ],
    'finish-claims',
  );
  return new Set(rows.filter((row) => row.due).map((row) => row.subscriber_id));
}

/** Gives a subscriber back untouched. */
export async function releaseClaim(sql: Sql, claim: Claim): Promise<void> {
  await sql.query(
    `update subscribers set lease_until = null, lease_owner = null
      where workspace_id = $1 and subscriber_id = $2 and lease_owner = $3`,
    [claim.workspaceId, claim.subscriberId, claim.owner],
  );
}

export async function holdWorkspace(sql: Sql, workspaceId: string, untilMs: number): Promise<void> {
  await sql.query(
    `update workspaces set not_before = greatest(not_before, to_timestamp($2 / 1000.0)) where workspace_id = $1`,
    [workspaceId, untilMs],
  );
}

export async function notifyDelivery(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(`select pg_notify('delivery', $1)`, [workspaceId]);
}
