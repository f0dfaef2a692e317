import { BulkGrantCustomerEntity, type BulkGrantCustomerRow, updateRows } from '../../database/entities.ts';
import { type Entities, queryRow, type Sql } from '../../database/sql.ts';
import { type Grant, grantEndMs } from '../action.ts';
import { OUTAGE_ERRORS } from '../read-revenuecat.ts';
import type { BulkGrant, BulkKey } from './repository.ts';

export type ClaimedCustomer = Readonly<
  Pick<BulkGrantCustomerRow, 'appUserId' | 'state' | 'attempts' | 'actionId'> & { claimedUntil: Date }
>;

/** How long a claim lasts. Customers of a killed worker can be claimed again after this time. */
const CLAIM_SECONDS = 60;

/** Whether RevenueCat was called for the grant of a customer whose result is not stored yet. */
const IS_CALLED = `exists (
  select 1 from actions a
   where a.workspace_id = $1 and a.state in ('requested', 'confirmed')
     and a.idempotency_key = c.bulk_grant_id || '|' || c.app_user_id || '|' || c.attempts)`;

/** A `claimed_until` further ahead is the time of a retry, not of a claim: an undo does not have to wait for it. */
const MAY_BE_CLAIMED = `c.claimed_until between now() and now() + interval '${CLAIM_SECONDS} seconds'`;

/** Customers that still have to be processed, while the grant runs and while it is undone. */
const STILL_TO_PROCESS = {
  running: `c.state = 'pending'`,
  // A call that was already made when the undo began is read back, and its grant is then removed.
  undoing: `(c.state = 'granted' or (c.state = 'pending' and (${MAY_BE_CLAIMED} or ${IS_CALLED})))`,
} as const;

/** Claims customers that still have to be processed and that no other worker has claimed. */
export async function claimCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  { state, limit }: { readonly state: keyof typeof STILL_TO_PROCESS; readonly limit: number },
): Promise<ClaimedCustomer[]> {
  return sql.query<ClaimedCustomer>(
    `with free as (
       select c.app_user_id from bulk_grant_customers c
        where c.workspace_id = $1 and c.bulk_grant_id = $2 and ${STILL_TO_PROCESS[state]}
          and (c.claimed_until is null or c.claimed_until < now())
        order by c.app_user_id limit $3
          for update skip locked)
     -- Truncated to ms, which is all that a Date holds: later statements compare it.
     update bulk_grant_customers c set claimed_until = date_trunc('ms', now()) + make_interval(secs => $4)
       from free
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and c.app_user_id = free.app_user_id
     returning c.app_user_id as "appUserId", c.state, c.attempts, c.action_id as "actionId",
               c.claimed_until as "claimedUntil"`,
    [workspaceId, bulkGrantId, limit, CLAIM_SECONDS],
  );
}

/** Whether customers are left that other workers have claimed, or that wait for a retry. */
export async function hasCustomersLeft(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  state: keyof typeof STILL_TO_PROCESS,
): Promise<boolean> {
  const rows = await sql.query(
    `select 1 from bulk_grant_customers c
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and ${STILL_TO_PROCESS[state]} limit 1`,
    [workspaceId, bulkGrantId],
  );
  return rows.length > 0;
}

/** The result for a customer; `retryInSeconds`: when to try again. */
export interface CustomerOutcome
  extends Pick<BulkGrantCustomerRow, 'state'>,
    Partial<Pick<BulkGrantCustomerRow, 'actionId' | 'error' | 'attempts'>> {
  readonly retryInSeconds?: number;
}

type CustomerClaim = BulkKey & Pick<ClaimedCustomer, 'appUserId' | 'claimedUntil'>;

/** @returns `false`: nothing was stored, since another worker has claimed the customer after this claim had ended */
export function setCustomer(
  database: Entities,
  { workspaceId, bulkGrantId, appUserId, claimedUntil }: CustomerClaim,
  { retryInSeconds, error = null, ...outcome }: CustomerOutcome,
): Promise<boolean> {
  const at = new Date(Date.now() + (retryInSeconds ?? 0) * 1_000);
  const isFinal = retryInSeconds === undefined;
  const times = { claimedUntil: isFinal ? null : at, finishedAt: isFinal ? at : null };
  const key = { workspaceId, bulkGrantId, appUserId, claimedUntil };
  return updateRows(database, BulkGrantCustomerEntity, key, { ...outcome, error, ...times });
}

/** Whether the claim is still valid. When a process was suspended for a while, the grant may have been undone since. */
export async function isClaimed(sql: Sql, claim: CustomerClaim): Promise<boolean> {
  const rows = await sql.query(
    `select 1 from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = $2 and app_user_id = $3
        and claimed_until = $4 and claimed_until > now()`,
    [claim.workspaceId, claim.bulkGrantId, claim.appUserId, claim.claimedUntil],
  );
  return rows.length > 0;
}

/** Whether a customer got this bulk grant already, under another of their ids. */
export async function isGrantedBy(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  subscriberId: string,
): Promise<boolean> {
  const rows = await sql.query(
    `select 1 from actions
      where workspace_id = $1 and subscriber_id = $2 and starts_with(idempotency_key, $3) and state <> 'failed'
      limit 1`,
    [workspaceId, subscriberId, `${bulkGrantId}|`],
  );
  return rows.length > 0;
}

/** Whether more was granted here since: an undo would remove it, too. */
export async function isGrantedSince(sql: Sql, grant: Grant): Promise<boolean> {
  const { workspaceId, subscriberId, target, actionId } = grant;
  const rows = await sql.query(
    `select 1 from actions
      where workspace_id = $1 and subscriber_id = $2 and target = $3 and action_id <> $4 and kind = 'grant'
        and state = 'confirmed' and not unchanged
        and coalesce(actual_end_at, requested_end_at) > $5::timestamptz + interval '1 minute'
      limit 1`,
    [workspaceId, subscriberId, target, actionId, new Date(grantEndMs(grant))],
  );
  return rows.length > 0;
}

/** Errors of the API key: they pause the grant, and its customers wait for another key. */
export const KEY_ERRORS: readonly string[] = [
  'revenuecat_unauthorized',
  'revenuecat_scope_missing',
  'secret_unreadable',
];

export async function readProgress(sql: Sql, { workspaceId, bulkGrantId }: BulkKey) {
  const rows = await sql.query<{
    state: BulkGrantCustomerRow['state'];
    count: number;
    recent: number;
    waiting: number;
  }>(
    `select state, count(*)::integer as count,
            count(*) filter (where finished_at > now() - interval '1 minute')::integer as recent,
            count(*) filter (where finished_at is null and error = any($3))::integer as waiting
       from bulk_grant_customers where workspace_id = $1 and bulk_grant_id = $2 group by state`,
    [workspaceId, bulkGrantId, OUTAGE_ERRORS],
  );
  const sum = (key: 'count' | 'recent' | 'waiting'): number =>
    rows.reduce((total, row) => total + row[key], 0);
  return {
    total: sum('count'),
    byState: Object.fromEntries(rows.map(({ state, count }) => [state, count])) as Partial<
      Record<BulkGrantCustomerRow['state'], number>
    >,
    /** Finished within the last minute. */
    perMinute: sum('recent'),
    /** Waiting for RevenueCat, which is unavailable. */
    waiting: sum('waiting'),
  };
}

/**
 * Counts customers by error code, most frequent first: those that failed and, while the grant is paused, those that
 * wait for another key. For a draft: how many would fail because the app does not know them.
 */
export async function countErrors(sql: Sql, bulk: BulkGrant): Promise<Readonly<Record<string, number>>> {
  const { workspaceId, bulkGrantId, state } = bulk;
  if (state === 'draft') {
    const { unknown } = await queryRow<{ unknown: number }>(
      sql,
      `select count(*)::integer as unknown from bulk_grant_customers c
        where c.workspace_id = $1 and c.bulk_grant_id = $2
          and not exists (select 1 from subscriber_ids i
                           where i.workspace_id = $1 and i.project_id = $3 and i.app_user_id = c.app_user_id)`,
      [workspaceId, bulkGrantId, bulk.projectId],
    );
    return unknown === 0 ? {} : { not_imported: unknown };
  }
  const rows = await sql.query<{ error: string; count: string }>(
    `select coalesce(error, 'internal') as error, count(*) as count from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = $2
        and (state in ('failed', 'undo_failed') or (state = 'pending' and error = any($3)))
      group by 1 order by 2 desc, 1`,
    [workspaceId, bulkGrantId, state === 'paused' ? KEY_ERRORS : []],
  );
  return Object.fromEntries(rows.map(({ error, count }) => [error, Number(count)]));
}

export async function listCustomers(sql: Sql, { workspaceId, bulkGrantId }: BulkKey, limit: number) {
  return sql.query<Readonly<Pick<BulkGrantCustomerRow, 'appUserId' | 'state' | 'error'>>>(
    `select app_user_id as "appUserId", state, error from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = $2 order by app_user_id limit $3`,
    [workspaceId, bulkGrantId, limit],
  );
}
