import type { Database, Sql } from '../database/sql.ts';
import type { Duration } from './durations.ts';
import type { GrantStart, Teammate } from './types.ts';

export type BulkState = 'draft' | 'awaiting_approval' | 'running' | 'paused' | 'done' | 'undoing' | 'undone';

/** How one customer of a bulk grant stands. `unchanged`: the grant would have changed nothing. */
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
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

export type BulkKey = Pick<BulkGrant, 'workspaceId' | 'bulkGrantId'>;
export type NewBulkGrant = Omit<BulkGrant, 'decidedBy' | 'state' | 'createdAt' | 'finishedAt'>;

interface BulkRow {
  workspace_id: string;
  bulk_grant_id: string;
  project_id: string;
  entitlement_id: string;
  lookup_key: string;
  entitlement_name: string;
  duration: Duration;
  start: GrantStart;
  reason: string;
  admin: Teammate;
  decided_by: Teammate | null;
  state: BulkState;
  created_at: Date;
  finished_at: Date | null;
}

function toBulk(row: BulkRow): BulkGrant {
  return {
    workspaceId: row.workspace_id,
    bulkGrantId: row.bulk_grant_id,
    projectId: row.project_id,
    entitlementId: row.entitlement_id,
    lookupKey: row.lookup_key,
    entitlementName: row.entitlement_name,
    duration: row.duration,
    start: row.start,
    reason: row.reason,
    admin: row.admin,
    decidedBy: row.decided_by,
    state: row.state,
    createdAt: row.created_at,
    finishedAt: row.finished_at,
  };
}

/** Stores a draft with its customers; an id that is listed twice is one customer. */
export async function createBulkGrant(
  database: Database,
  bulk: NewBulkGrant,
  appUserIds: readonly string[],
): Promise<void> {
  const { workspaceId, bulkGrantId } = bulk;
  await database.transaction(async (sql) => {
    await sql.query(
      `insert into bulk_grants (workspace_id, bulk_grant_id, project_id, entitlement_id, lookup_key,
                                entitlement_name, duration, start, reason, admin)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
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
      ],
    );
    await sql.query(
      `insert into bulk_grant_customers (workspace_id, bulk_grant_id, app_user_id)
       select $1, $2, id from unnest($3::text[]) as id
       on conflict (workspace_id, bulk_grant_id, app_user_id) do nothing`,
      [workspaceId, bulkGrantId, appUserIds],
    );
  });
}

export async function readBulkGrant(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
): Promise<BulkGrant | null> {
  const [row] = await sql.query<BulkRow>(
    `select * from bulk_grants where workspace_id = $1 and bulk_grant_id::text = $2`,
    [workspaceId, bulkGrantId],
  );
  return row ? toBulk(row) : null;
}

export async function listBulkGrants(sql: Sql, workspaceId: string): Promise<BulkGrant[]> {
  const rows = await sql.query<BulkRow>(
    `select * from bulk_grants where workspace_id = $1 and state <> 'draft' order by created_at desc limit 20`,
    [workspaceId],
  );
  return rows.map(toBulk);
}

/** Changes the state, if it is one of the given. `null`: it is another by now. */
export async function moveBulkGrant(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  move: { readonly from: readonly BulkState[]; readonly to: BulkState; readonly decidedBy?: Teammate },
): Promise<BulkGrant | null> {
  const [row] = await sql.query<BulkRow>(
    `update bulk_grants
        set state = $4, decided_by = coalesce($5::jsonb, decided_by),
            started_at = coalesce(started_at, case when $4 = 'running' then $6::timestamptz end),
            finished_at = case when $4 in ('done', 'undone') then $6::timestamptz end
      where workspace_id = $1 and bulk_grant_id = $2 and state = any($3)
     returning *`,
    [
      workspaceId,
      bulkGrantId,
      move.from,
      move.to,
      move.decidedBy === undefined ? null : JSON.stringify(move.decidedBy),
      new Date(),
    ],
  );
  return row ? toBulk(row) : null;
}

export interface ClaimedCustomer {
  readonly appUserId: string;
  readonly attempts: number;
  readonly actionId: string | null;
}

/** How long a worker has for its customers; those of a killed one are claimed again after it. */
const CLAIM_SECONDS = 60;

/** Claims customers that no other worker has: those to be granted, or those whose grant is to be undone. */
export async function claimCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  claim: { readonly state: BulkCustomerState; readonly limit: number },
): Promise<ClaimedCustomer[]> {
  const rows = await sql.query<{ app_user_id: string; attempts: number; action_id: string | null }>(
    `with free as (
       select app_user_id from bulk_grant_customers
        where workspace_id = $1 and bulk_grant_id = $2 and state = $3
          and (claimed_until is null or claimed_until < now())
        order by app_user_id limit $4
          for update skip locked)
     update bulk_grant_customers c set claimed_until = now() + make_interval(secs => $5)
       from free
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and c.app_user_id = free.app_user_id
     returning c.app_user_id, c.attempts, c.action_id`,
    [workspaceId, bulkGrantId, claim.state, claim.limit, CLAIM_SECONDS],
  );
  return rows.map((row) => ({
    appUserId: row.app_user_id,
    attempts: row.attempts,
    actionId: row.action_id,
  }));
}

/** Stores how a customer stands. `pending` again: to be tried after some seconds. */
export async function setCustomer(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  customer: {
    readonly appUserId: string;
    readonly state: BulkCustomerState;
    readonly actionId?: string | null;
    readonly error?: string | null;
    readonly attempts?: number;
    readonly retryInSeconds?: number;
  },
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
       from bulk_grant_customers where workspace_id = $1 and bulk_grant_id::text = $2 group by state`,
    [workspaceId, bulkGrantId],
  );
  return {
    total: rows.reduce((sum, row) => sum + Number(row.count), 0),
    byState: Object.fromEntries(rows.map((row) => [row.state, Number(row.count)])),
    perMinute: rows.reduce((sum, row) => sum + Number(row.recent), 0),
  };
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
  const rows = await sql.query<{ app_user_id: string; state: BulkCustomerState; error: string | null }>(
    `select app_user_id, state, error from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id::text = $2 order by app_user_id limit $3`,
    [workspaceId, bulkGrantId, limit],
  );
  return rows.map((row) => ({ appUserId: row.app_user_id, state: row.state, error: row.error }));
}

/** The subscriber that an app user id of the project names; `null`: not known here. */
export async function findSubscriber(
  sql: Sql,
  of: { readonly workspaceId: string; readonly projectId: string; readonly appUserId: string },
): Promise<string | null> {
  const [row] = await sql.query<{ subscriber_id: string }>(
    `select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = $2 and project_id = $3`,
    [of.workspaceId, of.appUserId, of.projectId],
  );
  return row?.subscriber_id ?? null;
}

/** Which customers a filter takes; every condition that is set must hold. */
export interface CustomerFilter {
  readonly statuses: readonly string[];
  readonly productId: string | null;
  readonly lookupKey: string | null;
  /** Access ended within this many days. */
  readonly expiredWithinDays: number | null;
}

/** App user ids, one for each subscriber of the project that the filter takes. */
export async function findCustomers(
  sql: Sql,
  of: { readonly workspaceId: string; readonly projectId: string },
  filter: CustomerFilter,
): Promise<string[]> {
  const rows = await sql.query<{ app_user_id: string }>(
    `select distinct on (s.subscriber_id) i.app_user_id
       from subscriber_summaries s
       join subscriber_ids i on i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
      where s.workspace_id = $1 and i.project_id = $2
        and (cardinality($3::text[]) = 0 or s.summary->'state'->>'status' = any($3))
        and ($4::text is null or s.summary->'state'->'primary'->>'productId' = $4)
        and ($5::text is null or s.summary->'state'->'primary'->'entitlements' ? $5)
        and ($6::float8 is null
             or (s.summary->'state'->'primary'->>'expiredAtMs')::float8 > extract(epoch from now()) * 1000 - $6 * 86400000)
      order by s.subscriber_id, i.app_user_id like '$RCAnonymousID:%', i.app_user_id`,
    [
      of.workspaceId,
      of.projectId,
      filter.statuses,
      filter.productId,
      filter.lookupKey,
      filter.expiredWithinDays,
    ],
  );
  return rows.map((row) => row.app_user_id);
}

/** Bulk grants of all workspaces that a worker should be at. */
export async function listActiveBulkGrants(sql: Sql): Promise<BulkKey[]> {
  const rows = await sql.query<{ workspace_id: string; bulk_grant_id: string }>(
    `select workspace_id, bulk_grant_id from bulk_grants where state in ('running', 'undoing')`,
  );
  return rows.map((row) => ({ workspaceId: row.workspace_id, bulkGrantId: row.bulk_grant_id }));
}

/** Deletes drafts that were never started, with their customers. */
export async function deleteOldDrafts(sql: Sql): Promise<void> {
  const old = await sql.query<{ workspace_id: string; bulk_grant_id: string }>(
    `select workspace_id, bulk_grant_id from bulk_grants
      where state = 'draft' and created_at < now() - interval '1 day'`,
  );
  for (const { workspace_id: workspaceId, bulk_grant_id: bulkGrantId } of old) {
    for (const table of ['bulk_grant_customers', 'bulk_grants'])
      await sql.query(`delete from ${table} where workspace_id = $1 and bulk_grant_id = $2`, [
        workspaceId,
        bulkGrantId,
      ]);
  }
}
