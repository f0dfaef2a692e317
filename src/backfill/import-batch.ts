import type { Sql } from '../database/sql.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { readCatalogNames } from '../revenuecat/catalog.ts';
import type { CustomerReading, RevenueCatClient } from '../revenuecat/client.ts';
import type { CatalogNames } from '../revenuecat/snapshot.ts';
import { type StoredCustomer, storeCustomers } from '../subscribers/customers-store.ts';
import { findIdentityGroups } from '../subscribers/identity-groups.ts';
import { type RefreshContext, reportDisagreement } from '../subscribers/refresh.ts';
import { preferredAppUserIds } from '../subscription/identities.ts';
import type { Project } from '../workspaces/projects.ts';
import {
  type BatchCounts,
  type ClaimedCustomer,
  claimCustomers,
  closeCustomers,
  findReadCustomer,
  postponeCustomers,
} from './customers-list-store.ts';
import { type ImportedEvents, importEvents } from './history-events.ts';
import { type ImportProgress, noteEvents } from './store.ts';

export interface BatchContext extends RefreshContext {
  readonly client: RevenueCatClient;
  readonly signal: AbortSignal;
}

/** How a batch went. */
export interface BatchResult {
  readonly claimed: number;
  readonly closed: number;
  /** Why no customer could be read: the key, the limit, RevenueCat itself. `null`: they could. */
  readonly obstacle: AppError | null;
}

/** Customers that one batch reads at the same time; each takes several calls. */
const CONCURRENT = 12;
const MAX_ATTEMPTS = 6;
const FIRST_PAUSE_S = 4;

/** They concern the key or all of RevenueCat: the customer is not to blame. */
const GENERAL: ReadonlySet<ErrorCode> = new Set([
  'revenuecat_rate_limited',
  'revenuecat_unauthorized',
  'revenuecat_scope_missing',
]);

type Reading =
  | {
      readonly kind: 'read';
      readonly reading: CustomerReading;
      readonly events: ImportedEvents | null;
      /** Whether nobody knew the customer before their events were stored; `null`: nothing was stored yet. */
      readonly wasNew: boolean | null;
    }
  | { readonly kind: 'missing' }
  | { readonly kind: 'failed'; readonly error: AppError }
  /** Not tried: the batch is stopping. */
  | { readonly kind: 'left' };

/**
 * Imports some customers in one transaction that holds them while RevenueCat is asked. What is stored of them and
 * that they are done is committed together, so a process that dies leaves them untouched for the next one.
 */
export async function importBatch(
  context: BatchContext,
  project: Project,
  running: ImportProgress,
  limit: number,
): Promise<BatchResult> {
  const { database } = context;
  const names = await readCatalogNames(context, project, context.client);
  const stored: StoredCustomer[] = [];
  const result = await database.transaction(async (sql) => {
    const claimed = await claimCustomers(sql, running, limit);
    if (claimed.length === 0) return { claimed: 0, closed: 0, obstacle: null };
    const read = await readAll(context, project, running, claimed, names);
    const obstacle = await blockingReason(context, sql, project, running, read, names);
    const outcome = await settle(context, sql, project, running, claimed, read, obstacle !== null);
    stored.push(...outcome.shouldCompare);
    return { claimed: claimed.length, closed: outcome.closed, obstacle };
  });
  for (const customer of stored) await reportDisagreement(context, project, customer);
  return result;
}

async function readAll(
  context: BatchContext,
  project: Project,
  running: ImportProgress,
  claimed: readonly ClaimedCustomer[],
  names: CatalogNames,
): Promise<Reading[]> {
  const readings: Reading[] = claimed.map(() => ({ kind: 'left' }));
  let next = 0;
  let blocked = false;
  const hand = async (): Promise<void> => {
    while (next < claimed.length && !blocked && !context.signal.aborted) {
      const index = next;
      next += 1;
      const customer = claimed[index];
      if (!customer) return;
      const reading = await readOne(context, project, running, customer.customerId, names);
      readings[index] = reading;
      blocked ||= reading.kind === 'failed' && GENERAL.has(reading.error.code);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, hand));
  return readings;
}

async function readOne(
  context: BatchContext,
  project: Project,
  running: ImportProgress,
  customerId: string,
  names: CatalogNames,
): Promise<Reading> {
  try {
    const reading = await context.client.readCustomer(project.revenueCatProjectId, customerId, names);
    if (!reading) return { kind: 'missing' };
    const [best, ...others] = idsOf(reading);
    if (running.hasEvents === false || best === undefined)
      return { kind: 'read', reading, events: null, wasNew: null };
    const appUserIds = [best, ...others];
    const { workspaceId, projectId } = project;
    const known = await findIdentityGroups(context.database, workspaceId, projectId, [appUserIds]);
    const events = await importEvents(context, project, { customerId, appUserIds }, running.eventsSinceMs);
    return { kind: 'read', reading, events, wasNew: known.get(best)?.isNew ?? false };
  } catch (error) {
    if (error instanceof AppError) return { kind: 'failed', error };
    throw error;
  }
}

function idsOf({ snapshot }: CustomerReading): string[] {
  return preferredAppUserIds([snapshot.customerId, ...snapshot.aliases]);
}

/** Stores what was read, closes what is done and leaves the rest for later. */
async function settle(
  context: BatchContext,
  sql: Sql,
  project: Project,
  running: ImportProgress,
  claimed: readonly ClaimedCustomer[],
  read: readonly Reading[],
  isObstructed: boolean,
): Promise<{ closed: number; shouldCompare: StoredCustomer[] }> {
  const good = read.flatMap((each, index) => {
    const customer = claimed[index];
    return each.kind === 'read' && customer ? [{ ...each, customerId: customer.customerId }] : [];
  });
  const before = await findIdentityGroups(
    sql,
    project.workspaceId,
    project.projectId,
    good.map(({ reading }) => idsOf(reading)),
  );
  const stored = await storeCustomers(
    context.database,
    sql,
    project,
    good.map(({ reading }) => reading),
  );
  const counts = { ...NOTHING };
  const closed: { customerId: string; code: string | null }[] = [];
  const shouldCompare: StoredCustomer[] = [];
  for (const [index, { reading, events, customerId, wasNew }] of good.entries()) {
    const outcome = stored[index];
    // Somebody else has just joined it with another subscriber: the next batch reads it again.
    if (!outcome || outcome.outcome === 'again') continue;
    const isNew = wasNew ?? before.get(idsOf(reading)[0] ?? '')?.isNew ?? false;
    closed.push({ customerId, code: null });
    counts.newCustomers += isNew ? 1 : 0;
    counts.subscriptions += reading.snapshot.subscriptions.length;
    counts.purchases += reading.snapshot.purchases.length;
    counts.newEvents += events?.added ?? 0;
    counts.knownEvents += events?.known ?? 0;
    if (!isNew) shouldCompare.push(outcome);
  }
  const postponed: { customerId: string; code: string; seconds: number }[] = [];
  for (const [index, each] of read.entries()) {
    const customer = claimed[index];
    if (!customer) continue;
    const { customerId, attempts } = customer;
    if (each.kind === 'missing') {
      counts.missing += 1;
      closed.push({ customerId, code: 'revenuecat_not_found' });
    } else if (each.kind === 'failed' && !isObstructed) {
      const { code, remedy } = each.error;
      if (remedy.kind === 'give_up' || attempts + 1 >= MAX_ATTEMPTS) {
        counts.failed += 1;
        closed.push({ customerId, code });
        context.logger.warn(
          { workspaceId: project.workspaceId, projectId: project.projectId, code },
          'a customer could not be imported',
        );
      } else postponed.push({ customerId, code, seconds: FIRST_PAUSE_S * 2 ** attempts });
    }
  }
  if (closed.length > 0) await closeCustomers(sql, running, closed, counts);
  if (postponed.length > 0) await postponeCustomers(sql, running, postponed);
  if (running.hasEvents === null && good[0])
    await noteEvents(
      sql,
      running,
      good.some(({ events }) => events !== null),
    );
  return { closed: closed.length, shouldCompare };
}

const NOTHING: { -readonly [Name in keyof BatchCounts]: number } = {
  newCustomers: 0,
  missing: 0,
  failed: 0,
  subscriptions: 0,
  purchases: 0,
  newEvents: 0,
  knownEvents: 0,
};

/**
 * What stands in the way of the whole import: a refusal that concerns everybody, or a RevenueCat that answers for
 * nobody. Where a batch fails as a whole, a customer that was read before tells the two apart: without it, the last
 * customer of an import, if RevenueCat cannot answer for this one, would be tried for ever.
 */
async function blockingReason(
  context: BatchContext,
  sql: Sql,
  project: Project,
  running: ImportProgress,
  read: readonly Reading[],
  names: CatalogNames,
): Promise<AppError | null> {
  const errors = read.flatMap((each) => (each.kind === 'failed' ? [each.error] : []));
  const general = errors.find(({ code }) => GENERAL.has(code));
  if (general) return general;
  const passing = errors.find(({ remedy }) => remedy.kind === 'retry');
  if (!passing || read.some(({ kind }) => kind === 'read' || kind === 'missing')) return null;
  const readBefore = await findReadCustomer(sql, running);
  if (readBefore === null) return passing;
  try {
    await context.client.readCustomer(project.revenueCatProjectId, readBefore, names);
    return null;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}
