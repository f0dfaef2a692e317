import pLimit from 'p-limit';
import type { Sql } from '../database/sql.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { readCatalogNames } from '../revenuecat/catalog.ts';
import type { CustomerReading, RevenueCatClient } from '../revenuecat/client.ts';
import type { CatalogNames } from '../revenuecat/snapshot.ts';
import { findIdentityGroups } from '../subscribers/identity.ts';
import { reportDisagreement } from '../subscribers/refresh.ts';
import { type StoredCustomer, storeCustomers } from '../subscribers/store-customers.ts';
import { preferredAppUserIds } from '../subscription/identities.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import {
  type BatchCounts,
  type ClaimedCustomer,
  claimCustomers,
  closeCustomers,
  findReadCustomer,
  postponeCustomers,
} from './customer-list.ts';
import { type ImportedEvents, importEvents } from './import-customer.ts';
import { type ImportProgress, setHasEvents } from './store.ts';

export interface ImportRun extends AppContext {
  readonly project: Project;
  readonly client: RevenueCatClient;
  readonly signal: AbortSignal;
}

export interface BatchResult {
  readonly claimed: number;
  readonly closed: number;
  /** Why no customer could be read: the key, the rate limit, RevenueCat itself. `null`: customers were read. */
  readonly obstacle: AppError | null;
}

/** Customers that one batch reads at the same time; each takes several calls. */
const CONCURRENCY = 12;
const MAX_ATTEMPTS = 6;
const FIRST_RETRY_SECONDS = 4;

/** They concern the key or all of RevenueCat, not the customer. */
const GENERAL_CODES: ReadonlySet<ErrorCode> = new Set([
  'revenuecat_rate_limited',
  'revenuecat_unauthorized',
  'revenuecat_scope_missing',
]);

type ReadResult =
  | {
      readonly kind: 'read';
      readonly reading: CustomerReading;
      readonly events: ImportedEvents | null;
      /** Whether the customer was unknown before the events were stored; `null`: nothing was stored yet. */
      readonly wasNew: boolean | null;
    }
  | { readonly kind: 'missing' }
  | { readonly kind: 'failed'; readonly error: AppError }
  /** Not read: the batch is stopping. */
  | { readonly kind: 'skipped' };

interface CustomerResult {
  readonly customer: ClaimedCustomer;
  readonly result: ReadResult;
}

/**
 * Imports some customers in one transaction that locks them while RevenueCat is read. What is stored of them and that
 * they are done is committed together, so a process that dies leaves them unchanged for the next one.
 */
export async function importBatch(
  context: ImportRun,
  running: ImportProgress,
  limit: number,
): Promise<BatchResult> {
  const { database, project } = context;
  const names = await readCatalogNames(context, project, context.client);
  const stored: StoredCustomer[] = [];
  const result = await database.transaction(async (sql) => {
    const claimed = await claimCustomers(sql, running, limit);
    if (claimed.length === 0) return { claimed: 0, closed: 0, obstacle: null };
    const results = await readAll(context, running, { claimed, names });
    const obstacle = await findObstacle(context, { sql, running, results, names });
    const closed = await storeBatch(context, {
      sql,
      running,
      results,
      stored,
      isObstructed: obstacle !== null,
    });
    return { claimed: claimed.length, closed, obstacle };
  });
  for (const customer of stored) await reportDisagreement(context, project, customer);
  return result;
}

function readAll(
  context: ImportRun,
  running: ImportProgress,
  batch: { claimed: readonly ClaimedCustomer[]; names: CatalogNames },
): Promise<CustomerResult[]> {
  const limit = pLimit(CONCURRENCY);
  let isObstructed = false;
  return Promise.all(
    batch.claimed.map((customer) =>
      limit(async () => {
        if (isObstructed || context.signal.aborted) return { customer, result: { kind: 'skipped' as const } };
        const result = await readOne(context, running, {
          customerId: customer.customerId,
          names: batch.names,
        });
        isObstructed ||= result.kind === 'failed' && GENERAL_CODES.has(result.error.code);
        return { customer, result };
      }),
    ),
  );
}

async function readOne(
  context: ImportRun,
  running: ImportProgress,
  { customerId, names }: { customerId: string; names: CatalogNames },
): Promise<ReadResult> {
  const { project, database } = context;
  try {
    const reading = await context.client.readCustomer(project.revenueCatProjectId, customerId, names);
    if (!reading) return { kind: 'missing' };
    const [best, ...others] = idsOf(reading);
    if (running.hasEvents === false || best === undefined)
      return { kind: 'read', reading, events: null, wasNew: null };
    const appUserIds = [best, ...others];
    const known = await findIdentityGroups(database, project, [appUserIds]);
    const events = await importEvents(context, project, {
      customerId,
      appUserIds,
      deliverSinceMs: running.eventsSinceMs,
    });
    return { kind: 'read', reading, events, wasNew: known.get(best)?.isNew ?? false };
  } catch (error) {
    if (error instanceof AppError) return { kind: 'failed', error };
    throw error;
  }
}

function idsOf({ snapshot }: CustomerReading): string[] {
  return preferredAppUserIds([snapshot.customerId, ...snapshot.aliases]);
}

const NO_COUNTS: BatchCounts = {
  newCustomers: 0,
  missing: 0,
  failed: 0,
  subscriptions: 0,
  purchases: 0,
  newEvents: 0,
  knownEvents: 0,
};

/**
 * Stores what was read, closes what is done and leaves the rest for later.
 *
 * @param batch.stored customers that were known before are added to it
 * @returns number of customers closed
 */
async function storeBatch(
  context: ImportRun,
  batch: {
    sql: Sql;
    running: ImportProgress;
    results: readonly CustomerResult[];
    stored: StoredCustomer[];
    isObstructed: boolean;
  },
): Promise<number> {
  const { project } = context;
  const { sql, running } = batch;
  const read = batch.results.flatMap(({ customer, result }) =>
    result.kind === 'read' ? [{ ...result, customerId: customer.customerId }] : [],
  );
  const readings = read.map(({ reading }) => reading);
  const before = await findIdentityGroups(sql, project, readings.map(idsOf));
  const outcomes = await storeCustomers({ sql, secrets: context.secrets }, project, readings);
  const { closed, postponed, ...unread } = closeUnread(context, batch.results, batch.isObstructed);
  const counts = { ...NO_COUNTS, ...unread };
  for (const [index, { reading, events, customerId, wasNew }] of read.entries()) {
    const outcome = outcomes[index];
    if (!outcome) continue;
    const isNew = wasNew ?? before.get(idsOf(reading)[0] ?? '')?.isNew ?? false;
    closed.push({ customerId, code: null });
    counts.newCustomers += isNew ? 1 : 0;
    counts.subscriptions += reading.snapshot.subscriptions.length;
    counts.purchases += reading.snapshot.purchases.length;
    counts.newEvents += events?.added ?? 0;
    counts.knownEvents += events?.known ?? 0;
    if (!isNew) batch.stored.push(outcome);
  }
  if (closed.length > 0) await closeCustomers(sql, running, closed, counts);
  if (postponed.length > 0) await postponeCustomers(sql, running, postponed);
  if (running.hasEvents === null && read.length > 0)
    await setHasEvents(
      sql,
      running,
      read.some(({ events }) => events !== null),
    );
  return closed.length;
}

/** Closes customers that RevenueCat does not know or that failed for good, and postpones those that may be retried. */
function closeUnread(
  { logger, project }: ImportRun,
  results: readonly CustomerResult[],
  isObstructed: boolean,
): {
  closed: { customerId: string; code: string | null }[];
  postponed: { customerId: string; code: string; seconds: number }[];
  missing: number;
  failed: number;
} {
  const closed: { customerId: string; code: string | null }[] = [];
  const postponed: { customerId: string; code: string; seconds: number }[] = [];
  let missing = 0;
  let failed = 0;
  for (const { customer, result } of results) {
    const { customerId, attempts } = customer;
    if (result.kind === 'missing') {
      missing += 1;
      closed.push({ customerId, code: 'revenuecat_not_found' });
    } else if (result.kind === 'failed' && !isObstructed) {
      const { code, remedy } = result.error;
      if (remedy.kind === 'give_up' || attempts + 1 >= MAX_ATTEMPTS) {
        failed += 1;
        closed.push({ customerId, code });
        const { workspaceId, projectId } = project;
        logger.warn({ workspaceId, projectId, code }, 'a customer could not be imported');
      } else postponed.push({ customerId, code, seconds: FIRST_RETRY_SECONDS * 2 ** attempts });
    }
  }
  return { closed, postponed, missing, failed };
}

/**
 * Why no customer can be read: an error that concerns all of them, or a RevenueCat that fails for each. Where a whole
 * batch fails, a customer that was read before distinguishes the two: without it, the last customer of an import, if
 * RevenueCat cannot answer for this one, would be retried forever.
 */
async function findObstacle(
  context: ImportRun,
  batch: { sql: Sql; running: ImportProgress; results: readonly CustomerResult[]; names: CatalogNames },
): Promise<AppError | null> {
  const results = batch.results.map(({ result }) => result);
  const errors = results.flatMap((result) => (result.kind === 'failed' ? [result.error] : []));
  const general = errors.find(({ code }) => GENERAL_CODES.has(code));
  if (general) return general;
  const transient = errors.find(({ remedy }) => remedy.kind === 'retry');
  if (!transient || results.some(({ kind }) => kind === 'read' || kind === 'missing')) return null;
  const readBefore = await findReadCustomer(batch.sql, batch.running);
  if (readBefore === null) return transient;
  try {
    await context.client.readCustomer(context.project.revenueCatProjectId, readBefore, batch.names);
    return null;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}
