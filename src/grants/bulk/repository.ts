import { In, IsNull, Not } from 'typeorm';
import {
  BulkGrantCustomerEntity,
  type BulkGrantCustomerRow,
  BulkGrantEntity,
  type BulkGrantRow,
  type Teammate,
  updateRows,
} from '../../database/entities.ts';
import { type Entities, queryRow, type Sql, type Transaction } from '../../database/sql.ts';
import { findErasedIds } from '../../subscribers/erased-ids.ts';
import { lockProject } from '../../subscribers/identity.ts';
import { isUuid } from '../../text.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import { type Grant, grantEndMs } from '../action.ts';
import type { Duration } from '../durations.ts';
import { OUTAGE_ERRORS } from '../read-revenuecat.ts';

/** Selects customers: every condition that is set must be true. */
export interface CustomerFilter {
  /** RevenueCat's `subscription_status`; empty: everyone who has or had something. */
  readonly statuses: readonly string[];
  readonly productId: string | null;
  readonly lookupKey: string | null;
  /** Access ended within this many days. */
  readonly expiredWithinDays: number | null;
}

/** Customers who are chosen by their state, and how far choosing them is. */
interface CustomerGroup extends CustomerFilter {
  /** The subscriber who was checked last; absent at the beginning and at the end. */
  readonly after?: string | undefined;
  readonly checked: number;
  /** Subscribers of the project when it began. */
  readonly total: number;
  readonly chosen: number;
}

export type BulkGrant = Readonly<BulkGrantRow & { duration: Duration; customerGroup: CustomerGroup | null }>;
export type BulkKey = Pick<BulkGrant, 'workspaceId' | 'bulkGrantId'>;
type NewBulkGrant = Omit<
  BulkGrant,
  'customerGroup' | 'decidedBy' | 'state' | 'leftOut' | 'createdAt' | 'startedAt' | 'finishedAt'
>;
type BulkState = BulkGrant['state'];

export const MAX_CUSTOMERS = 100_000;

/**
 * A grant to a group begins as `choosing` and becomes a draft when all are chosen, one to a list begins as a draft. The
 * states that each event leaves, the one it leads to, and the field that takes its teammate: whoever starts or
 * requests a draft is responsible for it, also when someone else prepared it.
 */
const BULK_TRANSITIONS = {
  start: { from: ['draft'], to: 'running', by: 'admin' },
  request: { from: ['draft'], to: 'awaiting_approval', by: 'admin' },
  approve: { from: ['awaiting_approval'], to: 'running', by: 'decidedBy' },
  decline: { from: ['choosing', 'awaiting_approval'], to: 'declined', by: 'decidedBy' },
  withdraw: { from: ['choosing', 'awaiting_approval'], to: 'withdrawn' },
  pause: { from: ['running'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  finish: { from: ['running'], to: 'done' },
  /** Again when some could not be undone. Who undoes it is the one who removes it from each customer. */
  undo: { from: ['running', 'paused', 'done', 'undone'], to: 'undoing', by: 'decidedBy' },
  finish_undo: { from: ['undoing'], to: 'undone' },
} as const satisfies Record<string, BulkTransition>;
export type BulkEvent = keyof typeof BULK_TRANSITIONS;

interface BulkTransition {
  readonly from: readonly BulkState[];
  readonly to: BulkState;
  readonly by?: 'admin' | 'decidedBy';
}

const FINISHED: readonly BulkState[] = ['declined', 'withdrawn', 'done', 'undone'];

/** Stores a draft with its customers, each once and without the erased ones. `null`: all have been erased. */
export async function createBulkGrant(
  { database, secrets }: Pick<AppContext, 'database' | 'secrets'>,
  bulk: NewBulkGrant,
  listed: readonly string[],
): Promise<BulkGrant | null> {
  return database.transaction(async (sql) => {
    await lockProject(sql, bulk);
    const erased = await findErasedIds({ sql, secrets }, bulk, listed);
    const appUserIds = listed.filter((id) => !erased.has(id));
    if (appUserIds.length === 0) return null;
    await sql.manager.insert(BulkGrantEntity, { ...bulk, leftOut: erased.size });
    await insertCustomers(sql, bulk, appUserIds);
    return readBulkGrant(sql, bulk);
  });
}

async function insertCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  appUserIds: readonly string[],
): Promise<void> {
  await sql.query(
    `insert into bulk_grant_customers (workspace_id, bulk_grant_id, app_user_id)
     select $1, $2, id from unnest($3::text[]) as id
     on conflict (workspace_id, bulk_grant_id, app_user_id) do nothing`,
    [workspaceId, bulkGrantId, appUserIds],
  );
}

/** Stores a grant to a group, with the job that chooses its customers. */
export async function createGroupGrant(
  { database, jobs }: Pick<AppContext, 'database' | 'jobs'>,
  bulk: NewBulkGrant,
  filter: CustomerFilter,
): Promise<BulkGrant> {
  const { workspaceId, projectId, bulkGrantId } = bulk;
  return database.transaction(async (sql) => {
    const { total } = await queryRow<{ total: number }>(
      sql,
      `select count(*)::integer as total from subscribers
        where workspace_id = $1 and project_id = $2 and merged_into is null`,
      [workspaceId, projectId],
    );
    const customerGroup: CustomerGroup = { ...filter, checked: 0, total, chosen: 0 };
    await sql.manager.insert(BulkGrantEntity, { ...bulk, state: 'choosing', customerGroup });
    await jobs.send('bulk-grant.choose', { workspaceId, bulkGrantId }, { sql });
    return (await readBulkGrant(sql, bulk)) as BulkGrant;
  });
}

/** Stores a batch of a group's customers, unless another process has stored it or choosing was canceled. */
export async function storeChosenCustomers(
  { database, secrets }: Pick<AppContext, 'database' | 'secrets'>,
  bulk: BulkGrant,
  batch: {
    /** What the batch was chosen by. */
    readonly group: CustomerGroup;
    /** Without `after`, it is the last batch. */
    readonly next: CustomerGroup;
    readonly appUserIds: readonly string[];
  },
): Promise<void> {
  const { workspaceId, bulkGrantId } = bulk;
  const { group, next, appUserIds } = batch;
  await database.transaction(async (sql) => {
    await lockProject(sql, bulk);
    const stored = await sql.query(
      `update bulk_grants set customer_group = $3, state = $4
        where workspace_id = $1 and bulk_grant_id = $2
          and state = 'choosing' and (customer_group->>'checked')::integer = $5
       returning 1`,
      [workspaceId, bulkGrantId, next, next.after ? 'choosing' : 'draft', group.checked],
    );
    if (stored.length === 0) return;
    const erased = await findErasedIds({ sql, secrets }, bulk, appUserIds);
    const allowed = appUserIds.filter((id) => !erased.has(id));
    await insertCustomers(sql, bulk, allowed);
  });
}

export async function readBulkGrant(
  { manager }: Entities,
  { workspaceId, bulkGrantId }: BulkKey,
): Promise<BulkGrant | null> {
  if (!isUuid(bulkGrantId)) return null;
  return (await manager.findOneBy(BulkGrantEntity, { workspaceId, bulkGrantId })) as BulkGrant | null;
}

/**
 * The newest, each with the number of its customers; without drafts, but for groups: whoever made one may not have waited
 * until its customers were chosen.
 */
export async function listBulkGrants(database: Transaction, workspaceId: string) {
  const where = [
    { workspaceId, state: Not('draft' as const) },
    { workspaceId, customerGroup: Not(IsNull()) },
  ];
  const found = await database.manager.find(BulkGrantEntity, {
    where,
    order: { createdAt: 'desc' },
    take: 20,
  });
  // From an index alone: the progress of 20 large lists took two seconds and all of the process's connections.
  const counts = await database.query<{ id: string; total: number }>(
    `select bulk_grant_id as id, count(*)::integer as total from bulk_grant_customers
      where workspace_id = $1 and bulk_grant_id = any($2) group by 1`,
    [workspaceId, found.map(({ bulkGrantId }) => bulkGrantId)],
  );
  const totals = new Map(counts.map(({ id, total }) => [id, total]));
  return found.map((bulk) => ({ ...bulk, total: totals.get(bulk.bulkGrantId) ?? 0 }));
}

export function countAwaitingApproval({ manager }: Entities, workspaceId: string): Promise<number> {
  return manager.countBy(BulkGrantEntity, { workspaceId, state: 'awaiting_approval' });
}

/** Applies an event. `null`: the grant is not in a state of the event. */
export async function moveBulkGrant(
  sql: Entities,
  { workspaceId, bulkGrantId }: BulkKey,
  { event, by: teammate }: { readonly event: BulkEvent; readonly by: Teammate },
): Promise<BulkGrant | null> {
  const { from, to, by }: BulkTransition = BULK_TRANSITIONS[event];
  const key = { workspaceId, bulkGrantId };
  const isMoved = await updateRows(
    sql,
    BulkGrantEntity,
    { ...key, state: In(from) },
    {
      state: to,
      finishedAt: FINISHED.includes(to) ? new Date() : null,
      ...(by ? { [by]: teammate } : {}),
    },
  );
  if (!isMoved) return null;
  if (event === 'undo')
    await updateRows(
      sql,
      BulkGrantCustomerEntity,
      { ...key, state: 'undo_failed' },
      { state: 'granted', error: null, finishedAt: null },
    );
  return readBulkGrant(sql, key);
}

export type ClaimedCustomer = Readonly<
  Pick<BulkGrantCustomerRow, 'appUserId' | 'state' | 'attempts' | 'actionId'> & { claimedUntil: Date }
>;

/** How long a worker has for its customers; those of a killed one are claimed again after it. */
const CLAIM_SECONDS = 60;

/** Whether RevenueCat was called for the grant of a customer whose result is not stored yet. */
const IS_CALLED = `exists (
  select 1 from actions a
   where a.workspace_id = $1 and a.state in ('requested', 'confirmed')
     and a.idempotency_key = c.bulk_grant_id || '|' || c.app_user_id || '|' || c.attempts)`;

/** A later time is not the end of a claim but that of a retry, for which no undo has to wait. */
const MAY_BE_CLAIMED = `c.claimed_until between now() and now() + interval '${CLAIM_SECONDS} seconds'`;

/** The customers that are left, while it runs and while it is undone. */
const LEFT = {
  running: `c.state = 'pending'`,
  // A grant that was called for when the undo began is read back, then removed.
  undoing: `(c.state = 'granted' or (c.state = 'pending' and (${MAY_BE_CLAIMED} or ${IS_CALLED})))`,
} as const;

/** Claims customers that are left and that no other worker has. */
export async function claimCustomers(
  sql: Sql,
  { workspaceId, bulkGrantId }: BulkKey,
  { state, limit }: { readonly state: keyof typeof LEFT; readonly limit: number },
): Promise<ClaimedCustomer[]> {
  return sql.query<ClaimedCustomer>(
    `with free as (
       select c.app_user_id from bulk_grant_customers c
        where c.workspace_id = $1 and c.bulk_grant_id = $2 and ${LEFT[state]}
          and (c.claimed_until is null or c.claimed_until < now())
        order by c.app_user_id limit $3
          for update skip locked)
     -- In whole ms, as it is compared later.
     update bulk_grant_customers c set claimed_until = date_trunc('ms', now()) + make_interval(secs => $4)
       from free
      where c.workspace_id = $1 and c.bulk_grant_id = $2 and c.app_user_id = free.app_user_id
     returning c.app_user_id as "appUserId", c.state, c.attempts, c.action_id as "actionId",
               c.claimed_until as "claimedUntil"`,
    [workspaceId, bulkGrantId, limit, CLAIM_SECONDS],
  );
}

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
  const times =
    retryInSeconds === undefined
      ? { claimedUntil: null, finishedAt: at }
      : { claimedUntil: at, finishedAt: null };
  const key = { workspaceId, bulkGrantId, appUserId, claimedUntil };
  return updateRows(database, BulkGrantCustomerEntity, key, { ...outcome, error, ...times });
}

/** Whether the claim has not ended. A process that was stopped for a while may find the grant undone. */
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

/** Of the key: the grant is paused, and customers wait for another key. */
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
 * How many customers failed or, while it is paused, wait for another key, by the error's code; most frequent first. Of
 * a draft: how many would fail, because the app does not know them.
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

/** Deletes drafts that were never started, with their customers. One may be started at the same time. */
export async function deleteOldDrafts(sql: Sql): Promise<void> {
  const old = await sql.query<BulkKey>(
    `select workspace_id as "workspaceId", bulk_grant_id as "bulkGrantId" from bulk_grants
      where state = 'draft' and created_at < now() - interval '1 day'`,
  );
  for (const { workspaceId, bulkGrantId } of old)
    await sql.query(
      `with deleted as (
         delete from bulk_grants where workspace_id = $1 and bulk_grant_id = $2 and state = 'draft'
         returning bulk_grant_id)
       delete from bulk_grant_customers c using deleted d
        where c.workspace_id = $1 and c.bulk_grant_id = d.bulk_grant_id`,
      [workspaceId, bulkGrantId],
    );
}
