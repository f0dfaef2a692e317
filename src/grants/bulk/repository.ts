import { In, IsNull, Not } from 'typeorm';
import {
  BulkGrantCustomerEntity,
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
import type { Duration } from '../durations.ts';

/** Selects customers: every condition that is set must be true. */
export interface CustomerFilter {
  /** RevenueCat's `subscription_status`; empty: everyone who has or had something. */
  readonly statuses: readonly string[];
  readonly productId: string | null;
  readonly lookupKey: string | null;
  /** Access ended within this many days. */
  readonly expiredWithinDays: number | null;
}

/** Customers who are chosen by their state, and the progress of choosing them. */
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
 * A grant to a group begins as `choosing` and becomes a draft when all customers are chosen; a grant to a list begins
 * as a draft. `by` is the field that stores who caused the event: whoever starts or requests a draft is responsible for
 * it, even if another person prepared it.
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
  /** Can be repeated if some could not be undone. Whoever undoes it is recorded as removing it from each customer. */
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
    /** The filter and the progress before this batch. */
    readonly group: CustomerGroup;
    /** The progress after this batch; without `after`, it was the last one. */
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
 * The newest 20, each with the number of its customers. Drafts are left out, except those of groups: their author may
 * not have waited until the customers were chosen.
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
  // Counted from an index alone: reading the progress of 20 large lists took 2 s and all connections of the process.
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

/** Applies an event. `null`: the grant is in none of the states that the event leaves. */
export async function moveBulkGrant(
  sql: Entities,
  { workspaceId, bulkGrantId }: BulkKey,
  { event, by: teammate }: { readonly event: BulkEvent; readonly by: Teammate },
): Promise<BulkGrant | null> {
  const { from, to, by }: BulkTransition = BULK_TRANSITIONS[event];
  const key = { workspaceId, bulkGrantId };
  const finishedAt = FINISHED.includes(to) ? new Date() : null;
  const changes = { state: to, finishedAt, ...(by ? { [by]: teammate } : {}) };
  const isMoved = await updateRows(sql, BulkGrantEntity, { ...key, state: In(from) }, changes);
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

/** Deletes drafts that were never started, with their customers, unless one is started at the same time. */
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
