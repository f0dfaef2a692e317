import type { Database, Sql } from '../database/sql.ts';
import type { ImportRef } from './store.ts';

export interface ClaimedCustomer {
  readonly customerId: string;
  readonly attempts: number;
}

const refValues = (ref: ImportRef): unknown[] => [ref.workspaceId, ref.projectId, ref.importId];

/** Not a customer's id: the row that the listing process locks. Works behind a connection pooler and on Citus. */
const LISTING_ROW = '';

/** Creates the row that {@link withListingLock} locks. */
export async function createList(sql: Sql, ref: ImportRef): Promise<void> {
  await sql.query(
    `insert into import_customers (workspace_id, project_id, import_id, customer_id, done_at)
     values ($1, $2, $3, $4, now()) on conflict do nothing`,
    [...refValues(ref), LISTING_ROW],
  );
}

/**
 * Runs `work` unless another process is listing the same import. The lock ends with the transaction.
 *
 * @returns whether it ran
 */
export async function withListingLock(
  database: Database,
  ref: ImportRef,
  work: (sql: Sql) => Promise<void>,
): Promise<boolean> {
  return database.transaction(async (sql) => {
    const locked = await sql.query(
      `select 1 from import_customers
        where workspace_id = $1 and project_id = $2 and import_id = $3 and customer_id = $4
          for update skip locked`,
      [...refValues(ref), LISTING_ROW],
    );
    if (locked.length === 0) return false;
    await work(sql);
    return true;
  });
}

/**
 * Stores a page of RevenueCat's list, unless the cursor has moved on since.
 *
 * @param sql an open transaction
 */
export async function saveListedPage(
  sql: Sql,
  ref: ImportRef,
  page: { after: string | null; ids: readonly string[]; next: string | null },
): Promise<void> {
  const ids = [...new Set(page.ids)];
  const moved = await sql.query(
    `update imports
        set cursor = $5, is_listed = $5::text is null, seen_at = statement_timestamp(),
            listed = listed + cardinality($6::text[])
                     - (select count(*)::integer from import_customers c
                         where c.workspace_id = $1 and c.project_id = $2 and c.import_id = $3
                           and c.customer_id = any($6::text[]))
      where workspace_id = $1 and project_id = $2 and import_id = $3 and not is_listed
        and cursor is not distinct from $4
     returning 1`,
    [...refValues(ref), page.after, page.next, ids],
  );
  if (moved.length === 0) return;
  await sql.query(
    `insert into import_customers (workspace_id, project_id, import_id, customer_id)
     select $1, $2, $3, id from unnest($4::text[]) as page (id)
     on conflict do nothing`,
    [...refValues(ref), ids],
  );
}

/** Lists from the beginning again; customers are still counted once. */
export async function restartList(sql: Sql, ref: ImportRef): Promise<void> {
  await sql.query(
    `update imports set cursor = null
      where workspace_id = $1 and project_id = $2 and import_id = $3 and not is_listed`,
    refValues(ref),
  );
}

/**
 * Claims customers for as long as the transaction lasts: their locked rows are the claim. When the process dies,
 * PostgreSQL releases them immediately.
 */
export function claimCustomers(sql: Sql, ref: ImportRef, limit: number): Promise<ClaimedCustomer[]> {
  return sql.query(
    `select customer_id as "customerId", attempts from import_customers
      where workspace_id = $1 and project_id = $2 and import_id = $3 and done_at is null
        and not_before <= clock_timestamp()
      order by not_before
      limit $4
        for update skip locked`,
    [...refValues(ref), limit],
    'claim-import-customers',
  );
}

/** Any customer that this import has read; `null`: none yet. */
export async function findReadCustomer(sql: Sql, ref: ImportRef): Promise<string | null> {
  const [row] = await sql.query<{ customer_id: string }>(
    `select customer_id from import_customers
      where workspace_id = $1 and project_id = $2 and import_id = $3 and customer_id <> $4
        and done_at is not null and code is null
      limit 1`,
    [...refValues(ref), LISTING_ROW],
  );
  return row?.customer_id ?? null;
}

/** Results of a batch. */
export interface BatchCounts {
  readonly newCustomers: number;
  /** RevenueCat listed them, then answered 404. */
  readonly missing: number;
  /** Given up after several attempts. */
  readonly failed: number;
  readonly subscriptions: number;
  readonly purchases: number;
  readonly newEvents: number;
  readonly knownEvents: number;
}

/**
 * Closes customers of a batch and counts them, in the transaction that claimed them: however often a customer was
 * started, it counts once.
 */
export async function closeCustomers(
  sql: Sql,
  ref: ImportRef,
  closed: readonly { customerId: string; code: string | null }[],
  counts: BatchCounts,
): Promise<void> {
  await sql.query(
    `update import_customers c set done_at = statement_timestamp(), code = t.code
       from unnest($4::text[], $5::text[]) as t (customer_id, code)
      where c.workspace_id = $1 and c.project_id = $2 and c.import_id = $3 and c.customer_id = any($4::text[])
        and c.customer_id = t.customer_id`,
    [...refValues(ref), closed.map(({ customerId }) => customerId), closed.map(({ code }) => code)],
    'close-import-customers',
  );
  await sql.query(
    `update imports
        set done = done + $4, new_customers = new_customers + $5, missing = missing + $6, failed = failed + $7,
            subscriptions = subscriptions + $8, purchases = purchases + $9, new_events = new_events + $10,
            known_events = known_events + $11, seen_at = clock.at, reason = null,
            pace_before_at = case when pace_at < clock.pace_since then pace_at else pace_before_at end,
            pace_before_done = case when pace_at < clock.pace_since then pace_done else pace_before_done end,
            pace_done = case when pace_at < clock.pace_since then done else pace_done end,
            pace_at = case when pace_at < clock.pace_since then clock.at else pace_at end
       from (select statement_timestamp() as at, statement_timestamp() - interval '20 seconds' as pace_since
             offset 0) as clock
      where workspace_id = $1 and project_id = $2 and import_id = $3`,
    [
      ...refValues(ref),
      closed.length,
      counts.newCustomers,
      counts.missing,
      counts.failed,
      counts.subscriptions,
      counts.purchases,
      counts.newEvents,
      counts.knownEvents,
    ],
    'count-import-customers',
  );
}

/** Leaves customers for a later attempt, with the reason. */
export async function postponeCustomers(
  sql: Sql,
  ref: ImportRef,
  postponed: readonly { customerId: string; code: string; seconds: number }[],
): Promise<void> {
  await sql.query(
    `update import_customers c
        set attempts = attempts + 1, code = t.code,
            not_before = to_timestamp(extract(epoch from statement_timestamp()) + t.seconds)
       from unnest($4::text[], $5::text[], $6::float8[]) as t (customer_id, code, seconds)
      where c.workspace_id = $1 and c.project_id = $2 and c.import_id = $3 and c.customer_id = any($4::text[])
        and c.customer_id = t.customer_id`,
    [
      ...refValues(ref),
      postponed.map(({ customerId }) => customerId),
      postponed.map(({ code }) => code),
      postponed.map(({ seconds }) => seconds),
    ],
  );
}

const DELETE_BATCH_SIZE = 5_000;

/** Deletes the list of an import that has ended: it names customers and is no longer needed. */
export async function deleteList(sql: Sql, ref: ImportRef): Promise<void> {
  for (let deleted = DELETE_BATCH_SIZE; deleted === DELETE_BATCH_SIZE; ) {
    const rows = await sql.query(
      `delete from import_customers
        where workspace_id = $1 and project_id = $2 and import_id = $3 and customer_id = any(array(
          select customer_id from import_customers
           where workspace_id = $1 and project_id = $2 and import_id = $3 limit $4))
       returning 1`,
      [...refValues(ref), DELETE_BATCH_SIZE],
    );
    deleted = rows.length;
  }
}
