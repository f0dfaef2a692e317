import type { Transaction } from '../database/sql.ts';
import { AppError, answerOrError, type ErrorCode } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { readCustomer } from '../revenuecat/customer.ts';
import { reportDisagreement } from '../subscribers/refresh.ts';
import { findInProject } from '../subscribers/search.ts';
import { type StoredCustomer, storeCustomers } from '../subscribers/store-customers.ts';
import { preferredAppUserIds } from '../subscription/app-user-ids.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { Project } from '../workspaces/projects.ts';
import { importEvents } from './import-customer.ts';
import {
  type BatchCounts,
  type ClaimedCustomer,
  claimCustomers,
  closeCustomers,
  findReadCustomer,
  type ImportProgress,
  postponeCustomer,
  setHasEvents,
} from './repository.ts';

export interface ImportRun extends AppContext {
  readonly project: Project;
  readonly client: RevenueCatClient;
  readonly signal: AbortSignal;
}

/**
 * Customers that one batch reads at the same time, each in several calls. At RevenueCat's limit of 480 calls a minute
 * the transactions of a process's three batches stay open for about eight seconds.
 */
const BATCH_SIZE = 4;
const MAX_ATTEMPTS = 6;
const FIRST_RETRY_MS = 4_000;

/** Errors that concern the key or all of RevenueCat, not a single customer. */
const GENERAL_CODES: ReadonlySet<ErrorCode> = new Set([
  'revenuecat_rate_limited',
  'revenuecat_unauthorized',
  'revenuecat_scope_missing',
]);

type Result = Awaited<ReturnType<typeof readOne>>;
type ReadCustomer = Extract<Result, { kind: 'read' }>;

interface Batch {
  readonly sql: Transaction;
  readonly progress: ImportProgress;
  readonly results: readonly Result[];
}

/**
 * Imports some customers in one transaction that locks them while RevenueCat is read. Their data and their completion
 * are committed together, so a process that dies leaves them unchanged for the next one.
 *
 * @returns `isEmpty`: no customer was left to claim; `obstacle`: what keeps all customers from being read, such as the
 *   key, the rate limit, or RevenueCat itself
 */
export async function importBatch(context: ImportRun, progress: ImportProgress) {
  const { database, project } = context;
  const { storedCustomers, ...result } = await database.transaction(async (sql) => {
    // If the server sets these limits, no batch could end: the transaction is idle while RevenueCat is read. PostgreSQL
    // has only the first one before version 17.
    await sql.query(
      `select set_config(name, '0', true) from pg_settings
        where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')`,
    );
    const claimed = await claimCustomers(sql, progress, BATCH_SIZE);
    if (claimed.length === 0) return { isEmpty: true, obstacle: null, storedCustomers: [] };
    const results = await Promise.all(claimed.map((customer) => readOne(context, progress, customer)));
    const batch = { sql, progress, results };
    const obstacle = await findObstacle(context, batch);
    return { isEmpty: false, obstacle, storedCustomers: await storeBatch(context, batch, obstacle) };
  });
  for (const customer of storedCustomers) await reportDisagreement(context, project, customer);
  return result;
}

async function readOne(context: ImportRun, progress: ImportProgress, customer: ClaimedCustomer) {
  const { database, project } = context;
  const { customerId } = customer;
  const found = await answerOrError(readCustomer(context, customerId));
  if (found === null) return { customer, kind: 'missing' } as const;
  if (found instanceof AppError) return { customer, kind: 'failed', error: found, isKnown: false } as const;
  const appUserIds = preferredAppUserIds([found.snapshot.customerId, ...found.snapshot.aliases]);
  const stored = await findInProject(database, project, appUserIds);
  /** Whether the customer was unknown before the events were stored. */
  const isNew = stored.length === 0;
  const wanted = { customerId, appUserIds, deliverSinceMs: progress.eventsSinceMs };
  const events = progress.hasEvents === false ? null : await answerOrError(importEvents(context, wanted));
  if (events instanceof AppError) return { customer, kind: 'failed', error: events, isKnown: true } as const;
  return { customer, kind: 'read', found, events, isNew } as const;
}

/**
 * Stores the customers that were read, closes those that are done and leaves the rest for later.
 *
 * @param obstacle why customers could not be read although nothing is wrong with them
 * @returns the customers that were known before
 */
async function storeBatch(
  context: ImportRun,
  { sql, progress, results }: Batch,
  obstacle: AppError | null,
): Promise<StoredCustomer[]> {
  const read = results.filter((result) => result.kind === 'read');
  const stored = await storeCustomers({ sql, secrets: context.secrets }, context.project, {
    customers: read.map(({ found }) => found),
    alwaysDue: false,
  });
  const closed: { customerId: string; code: string | null }[] = [];
  let [missing, failed] = [0, 0];
  for (const result of results) {
    const { customerId } = result.customer;
    if (result.kind === 'read') closed.push({ customerId, code: null });
    else if (result.kind === 'missing') {
      missing += 1;
      closed.push({ customerId, code: 'revenuecat_not_found' });
    } else if (obstacle === null && !(await postpone(context, { ...result, sql, progress }))) {
      failed += 1;
      closed.push({ customerId, code: result.error.code });
    }
  }
  if (closed.length > 0) await closeCustomers(sql, progress, closed, { ...countRead(read), missing, failed });
  if (progress.hasEvents === null && read.length > 0) {
    const hasEvents = read.some(({ events }) => events !== null);
    await setHasEvents(sql, progress, hasEvents);
  }
  return stored.flatMap((each, index) => (each && read[index]?.isNew === false ? [each] : []));
}

function countRead(read: readonly ReadCustomer[]): Omit<BatchCounts, 'missing' | 'failed'> {
  const total = (count: (each: ReadCustomer) => number): number =>
    read.reduce((sum, each) => sum + count(each), 0);
  return {
    newCustomers: total(({ isNew }) => Number(isNew)),
    subscriptions: total(({ found }) => found.snapshot.subscriptions.length),
    purchases: total(({ found }) => found.snapshot.purchases.length),
    newEvents: total(({ events }) => events?.added ?? 0),
    knownEvents: total(({ events }) => events?.known ?? 0),
  };
}

/** Leaves a customer that could not be read for later. @returns `false`: another attempt would not help */
async function postpone(
  { logger, now }: ImportRun,
  failed: Omit<Batch, 'results'> & { readonly customer: ClaimedCustomer; readonly error: AppError },
): Promise<boolean> {
  const { sql, progress, customer } = failed;
  const { customerId, attempts } = customer;
  const { code, remedy } = failed.error;
  if (remedy.kind === 'give_up' || attempts + 1 >= MAX_ATTEMPTS) {
    const { workspaceId, projectId } = progress;
    logger.warn({ workspaceId, projectId, code }, 'a customer could not be imported');
    return false;
  }
  const notBefore = new Date(now() + FIRST_RETRY_MS * 2 ** attempts);
  await postponeCustomer(sql, { ...progress, customerId }, { code, notBefore });
  return true;
}

/**
 * Why no customer can be read: an error of the key or of all of RevenueCat. If a whole batch fails, a customer that was
 * read before is read again. If that works, RevenueCat fails for these customers only, and waiting would retry the last
 * customers of an import forever.
 */
async function findObstacle(context: ImportRun, { sql, progress, results }: Batch): Promise<AppError | null> {
  const errors = results.flatMap((result) => (result.kind === 'failed' ? [result.error] : []));
  const general = errors.find(({ code }) => GENERAL_CODES.has(code));
  if (general) return general;
  const transient = errors.find(({ remedy }) => remedy.kind === 'retry');
  // If only the events of a customer failed, RevenueCat has answered.
  const isAnswering = results.some((result) => result.kind !== 'failed' || result.isKnown);
  if (!transient || isAnswering) return null;
  const readBefore = await findReadCustomer(sql, progress);
  if (readBefore === null) return transient;
  const answer = await answerOrError(readCustomer(context, readBefore));
  return answer instanceof AppError ? answer : null;
}
