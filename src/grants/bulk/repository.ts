import type { Sql } from '../../database/sql.ts';
import { findErasedIds } from '../../subscribers/erased-ids.ts';
import { lockProject } from '../../subscribers/identity.ts';
import { isUuid } from '../../text.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import type { GrantStart, Teammate } from '../action.ts';
import type { Duration } from '../durations.ts';

export type BulkState =
  | ('draft' | 'awaiting_approval' | 'declined' | 'withdrawn')
  | ('running' | 'paused' | 'done' | 'undoing' | 'undone');

/** Where an event may happen, and where it leads. */
const BULK_TRANSITIONS = {
  start: { from: ['draft'], to: 'running' },
  request: { from: ['draft'], to: 'awaiting_approval' },
  approve: { from: ['awaiting_approval'], to: 'running' },
  decline: { from: ['awaiting_approval'], to: 'declined' },
  withdraw: { from: ['awaiting_approval'], to: 'withdrawn' },
  pause: { from: ['running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  finish: { from: ['running'], to: 'done' },
  undo: { from: ['running', 'paused', 'done'], to: 'undoing' },
  finish_undo: { from: ['undoing'], to: 'undone' },
} as const satisfies Record<string, { from: readonly BulkState[]; to: BulkState }>;
export type BulkEvent = keyof typeof BULK_TRANSITIONS;

/** What became of one customer of a bulk grant. `unchanged`: the grant would have changed nothing. */
export type BulkCustomerState = 'pending' | 'granted' | 'unchanged' | 'failed' | 'undone' | 'undo_failed';

export interface BulkGrant {
  readonly workspaceId: string;
  readonly bulkGrantId: string;
  readonly projectId: string;
  readonly entitlementId: string;
  readonly lookupKey: string;
  readonly entitlementName: string;
  readonly duration: Duration;
  readonly start: GrantStart;
  readonly reason: string;
  readonly admin: Teammate;
  readonly decidedBy: Teammate | null;
  readonly state: BulkState;
  /** Customers of the list that have been erased: they get nothing, and are not stored. */
  readonly leftOut: number;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

export type BulkKey = Pick<BulkGrant, 'workspaceId' | 'bulkGrantId'>;
export type NewBulkGrant = Omit<BulkGrant, 'decidedBy' | 'state' | 'leftOut' | 'createdAt' | 'finishedAt'>;

const BULK_GRANT = `workspace_id as "workspaceId", bulk_grant_id as "bulkGrantId", project_id as "projectId",
  entitlement_id as "entitlementId", lookup_key as "lookupKey", entitlement_name as "entitlementName", duration, start,
  reason, admin, decided_by as "decidedBy", state, left_out as "leftOut", created_at as "createdAt", finished_at as "finishedAt"`;

/**
 * Stores a draft with its customers, without the erased ones; an id that is listed twice is one customer.
 *
 * @returns `null`: all have been erased
 */
export async function createBulkGrant(
  { database, secrets }: Pick<AppContext, 'database' | 'secrets'>,
  bulk: NewBulkGrant,
  listed: readonly string[],
): Promise<BulkGrant | null> {
  const { workspaceId, bulkGrantId } = bulk;
  return database.transaction(async (sql) => {
    await lockProject(sql, bulk);
    const erased = await findErasedIds({ sql, secrets }, bulk, listed);
    const appUserIds = listed.filter((id) => !erased.has(id));
    if (appUserIds.length === 0) return null;
    const [draft] = await sql.query<BulkGrant>(
      `insert into bulk_grants (workspace_id, bulk_grant_id, project_id, entitlement_id, lookup_key,
                                entitlement_name, duration, start, reason, admin, left_out)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
       returning ${BULK_GRANT}`,
      [
        workspaceId,
        bulkGrantId,
        bulk.projectId,
        bulk.entitlementId,
        bulk.lookupKey,
        bulk.entitlementName,
        bulk.duration,
        bulk.start,
        bulk.reason,
        JSON.stringify(bulk.admin),
        erased.size,
      ],
    );
    if (!draft) throw new Error('A stored bulk grant was not returned');
    await sql.query(
      `insert into bulk_grant_customers (workspace_id, bulk_grant_id, app_user_id)
       select $1, $2, id from unnest($3::text[]) as id
       on conflict (workspace_id, bulk_grant_id, app_user_id) do nothing`,
      [workspaceId, bulkGrantId, appUserIds],
    );
    return draft;
  });
}

export async function readBulkGrant(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
): Promise<BulkGrant | null> {
  if (!isUuid(bulkGrantId)) return null;
  const [bulk] = await sql.query<BulkGrant>(
    `select ${BULK_GRANT} from bulk_grants where workspace_id = $1 and bulk_grant_id = $2`,
    [workspaceId, bulkGrantId],
  );
  return bulk ?? null;
}

export async function listBulkGrants(sql: Sql, workspaceId: string): Promise<BulkGrant[]> {
  return sql.query<BulkGrant>(
    `select ${BULK_GRANT} from bulk_grants
      where workspace_id = $1 and state <> 'draft' order by created_at desc limit 20`,
    [workspaceId],
  );
}

/**
 * Applies an event. Whoever starts or requests a draft answers for it, also when someone else prepared it.
 *
 * @returns `null`: it may not happen in the state of now
 */
export async function moveBulkGrant(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  { event, by }: { readonly event: BulkEvent; readonly by: Teammate },
): Promise<BulkGrant | null> {
  const { from, to } = BULK_TRANSITIONS[event];
  const teammate = JSON.stringify(by);
  const [bulk] = await sql.query<BulkGrant>(
    `update bulk_grants
        set state = $4, admin = coalesce($5::jsonb, admin), decided_by = coalesce($7::jsonb, decided_by),
            started_at = coalesce(started_at, case when $4 = 'running' then $6::timestamptz end),
            finished_at = case when $4 in ('done', 'undone', 'declined', 'withdrawn') then $6::timestamptz end
      where workspace_id = $1 and bulk_grant_id = $2 and state = any($3)
     returning ${BULK_GRANT}`,
    [
      workspaceId,
      bulkGrantId,
      from,
      to,
      event === 'start' || event === 'request' ? teammate : null,
      new Date(),
      event === 'approve' || event === 'decline' ? teammate : null,
    ],
  );
  return bulk ?? null;
}

export interface ClaimedCustomer {
  readonly appUserId: string;
  readonly state: BulkCustomerState;
  readonly attempts: number;
  readonly actionId: string | null;
}

/** How long a worker has for its customers; those of a killed one are claimed again after it. */
const CLAIM_SECONDS = 60;

/** Whether RevenueCat was called for the grant of a customer whose result is not stored yet. */
const IS_CALLED = `exists (
  select 1 from actions a
   where a.workspace_id = $1 and a.state in ('requested', 'confirmed')
     and a.idempotency_key = c.bulk_grant_id || '|' || c.app_user_id || '|' || c.attempts)`;

const CLAIMABLE = {
  pending: `c.state = 'pending'`,
  granted: `c.state = 'granted'`,
  called: `c.state = 'pending' and ${IS_CALLED}`,
} as const;

/**
 * Claims customers that no other worker has: those to be granted, those whose grant is to be undone, or those whose
 * grant was called for when the undoing began.
 */
export async function claimCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  claim: { readonly of: keyof typeof CLAIMABLE; readonly limit: number },
): Promise<ClaimedCustomer[]> {
  return sql.query<ClaimedCustomer>(
    `with free as (
       select c.app_user_id from bulk_grant_customers c
        where c.workspace_id = $1 and c.bulk_grant_id = $2 and ${CLAIMABLE[claim.of]}
          and (c.claimed_until is null or c.claimed_until < now())
        order by c.app_user_id limit $3
          for update skip locked)
     update bulk_grant_customers c set claimed_until = now() + make_interval(secs => $4)
       from free
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and c.app_user_id = free.app_user_id
     returning c.app_user_id as "appUserId", c.state, c.attempts, c.action_id as "actionId"`,
    [workspaceId, bulkGrantId, claim.limit, CLAIM_SECONDS],
  );
}

const LEFT = {
  running: `c.state = 'pending'`,
  undoing: `(c.state = 'granted' or (c.state = 'pending' and (c.claimed_until > now() or ${IS_CALLED})))`,
} as const;

/** Whether customers are left that other workers have, or that are tried again soon. */
export async function hasCustomersLeft(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  state: keyof typeof LEFT,
): Promise<boolean> {
  const rows = await sql.query(
    `select 1 from bulk_grant_customers c
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and ${LEFT[state]} limit 1`,
    [workspaceId, bulkGrantId],
  );
  return rows.length > 0;
}

/** What became of a customer. With `retryInSeconds`: to be tried again then. */
export interface CustomerChange {
  readonly appUserId: string;
  readonly state: BulkCustomerState;
  readonly actionId?: string | null;
  readonly error?: string | null;
  readonly attempts?: number;
  readonly retryInSeconds?: number;
}

export async function setCustomer(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  customer: CustomerChange,
): Promise<void> {
  await sql.query(
    `update bulk_grant_customers
        set state = $4, action_id = coalesce($5, action_id), error = $6, attempts = coalesce($7, attempts),
            claimed_until = $8, finished_at = $9
      where workspace_id = $1 and bulk_grant_id = $2 and app_user_id = $3`,
    [
      workspaceId,
      bulkGrantId,
      customer.appUserId,
      customer.state,
      customer.actionId ?? null,
      customer.error ?? null,
      customer.attempts ?? null,
      customer.retryInSeconds === undefined ? null : new Date(Date.now() + customer.retryInSeconds * 1_000),
      customer.retryInSeconds === undefined ? new Date() : null,
    ],
  );
}

export interface BulkProgress {
  readonly total: number;
  readonly byState: Readonly<Partial<Record<BulkCustomerState, number>>>;
  /** Finished within the last minute. */
  readonly perMinute: number;
}

export async function readProgress(sql: Sql, { workspaceId, bulkGrantId }: BulkKey): Promise<BulkProgress> {
  const rows = await sql.query<{ state: BulkCustomerState; count: string; recent: string }>(
    `select state, count(*) as count, count(*) filter (where finished_at > now() - interval '1 minute') as recent
       from bulk_grant_customers where workspace_id = $1 and bulk_grant_id = $2 group by state`,
    [workspaceId, bulkGrantId],
  );
  return {
    total: rows.reduce((sum, row) => sum + Number(row.count), 0),
    byState: Object.fromEntries(rows.map((row) => [row.state, Number(row.count)])),
    perMinute: rows.reduce((sum, row) => sum + Number(row.recent), 0),
  };
}

/** How many customers failed, by the code of the error; the most frequent first. */
export async function countErrors(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
): Promise<Readonly<Record<string, number>>> {
  const rows = await sql.query<{ error: string; count: string }>(
    `select coalesce(error, 'internal') as error, count(*) as count from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = $2 and state in ('failed', 'undo_failed')
      group by 1 order by 2 desc, 1`,
    [workspaceId, bulkGrantId],
  );
  return Object.fromEntries(rows.map(({ error, count }) => [error, Number(count)]));
}

export interface BulkCustomer {
  readonly appUserId: string;
  readonly state: BulkCustomerState;
  readonly error: string | null;
}

export async function listCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  limit: number,
): Promise<BulkCustomer[]> {
  return sql.query<BulkCustomer>(
    `select app_user_id as "appUserId", state, error from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = $2 order by app_user_id limit $3`,
    [workspaceId, bulkGrantId, limit],
  );
}

/** Bulk grants of all workspaces that a worker should be at. */
export async function listActiveBulkGrants(sql: Sql): Promise<BulkKey[]> {
  return sql.query<BulkKey>(
    `select workspace_id as "workspaceId", bulk_grant_id as "bulkGrantId" from bulk_grants
      where state in ('running', 'undoing')`,
  );
}

/** Deletes drafts that were never started, with their customers. */
export async function deleteOldDrafts(sql: Sql): Promise<void> {
  const old = await sql.query<BulkKey>(
    `select workspace_id as "workspaceId", bulk_grant_id as "bulkGrantId" from bulk_grants
      where state = 'draft' and created_at < now() - interval '1 day'`,
  );
  for (const { workspaceId, bulkGrantId } of old) {
    for (const table of ['bulk_grant_customers', 'bulk_grants'])
      await sql.query(`delete from ${table} where workspace_id = $1 and bulk_grant_id = $2`, [
        workspaceId,
        bulkGrantId,
      ]);
  }
}
