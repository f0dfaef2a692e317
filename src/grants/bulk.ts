import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Transaction } from '../database/sql.ts';
import { AppError } from '../errors.ts';
import { findByAppUserIds } from '../subscribers/find-store.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type Project, readProject } from '../workspaces/projects.ts';
import type { Workspace } from '../workspaces/store.ts';
import { findNoEffect, ifKnown, listEntitlements, readAccess } from './access.ts';
import { leftOutText } from './bulk-list.ts';
import {
  type BulkEvent,
  type BulkGrant,
  type BulkKey,
  type ClaimedCustomer,
  type CustomerChange,
  claimCustomers,
  createBulkGrant,
  deleteOldDrafts,
  hasCustomersLeft,
  listActiveBulkGrants,
  moveBulkGrant,
  readBulkGrant,
  readProgress,
  setCustomer,
} from './bulk-repository.ts';
import {
  callAndConfirm,
  callAndConfirmRevoke,
  confirmAction,
  inBackground,
  scheduleConfirm,
  takeStep,
} from './confirmation.ts';
import { isDuration, lengthInDays } from './durations.ts';
import { endOf } from './grant-rules.ts';
import { checkLength, checkReason } from './policy.ts';
import { findByKey, readAction, readAgain, storeAction } from './repository.ts';
import { GRANT_STARTS, type Grant, type GrantStart, type Teammate } from './types.ts';

/** Customers that a worker claims together, and how many of them it works on at the same time. */
const BATCH_SIZE = 20;
const CONCURRENCY = 4;
/** A job continues in another one after this time, so that a stopping server does not wait for it. */
const SLICE_MS = 30_000;
const RETRY_SECONDS = 10;
const MAX_ATTEMPTS = 20;
const MAX_CUSTOMERS = 100_000;

/** What is granted to many, as an admin fills it in. */
export interface BulkWish {
  /** Id or lookup key. */
  readonly entitlement: string;
  readonly duration: string;
  readonly start: string;
  readonly reason: string;
}

export type BulkProblem = { readonly field: keyof BulkWish | 'customers'; readonly problem: string };

/** Stores a draft for the dry run; nothing is granted until it is started. */
export async function draftBulkGrant(
  context: Pick<AppContext, 'database' | 'secrets'>,
  place: { readonly workspace: Workspace; readonly project: Project; readonly admin: Teammate },
  wish: BulkWish & { readonly appUserIds: readonly string[] },
): Promise<BulkGrant | BulkProblem> {
  const { workspace, project, admin } = place;
  const { appUserIds, duration, start, reason } = wish;
  const { workspaceId } = workspace;
  const { projectId } = project;
  const policy = workspace.settings.grants;
  const entitlements = await listEntitlements(context.database, workspaceId, projectId);
  const entitlement = entitlements.find(({ id, lookupKey }) => [id, lookupKey].includes(wish.entitlement));
  if (!entitlement) {
    const known = entitlements.map(({ lookupKey }) => lookupKey).join(', ');
    return { field: 'entitlement', problem: `Choose an entitlement: ${known}.` };
  }
  if (!isDuration(duration)) return { field: 'duration', problem: 'Choose a duration.' };
  if (!isStart(start)) return { field: 'start', problem: 'Choose when it starts: after or now.' };
  if (checkLength(policy, duration === 'lifetime' ? null : lengthInDays(duration)))
    return { field: 'duration', problem: 'This is longer than the rules for grants allow.' };
  if (checkReason(policy, reason)) return { field: 'reason', problem: 'Give a reason.' };
  if (appUserIds.length === 0) return { field: 'customers', problem: 'The list names no customer.' };
  if (appUserIds.length > MAX_CUSTOMERS)
    return { field: 'customers', problem: `A grant takes at most ${MAX_CUSTOMERS} customers.` };
  const { id: entitlementId, lookupKey } = entitlement;
  const entitlementName = entitlement.displayName ?? lookupKey;
  const what = { entitlementId, lookupKey, entitlementName, duration, start, reason };
  const bulk = { workspaceId, bulkGrantId: randomUUID(), projectId, ...what, admin };
  const draft = await createBulkGrant(context, bulk, appUserIds);
  return draft ?? { field: 'customers', problem: leftOutText(appUserIds.length) };
}

function isStart(start: string): start is GrantStart {
  return (GRANT_STARTS as readonly string[]).includes(start);
}

type BulkContext = Pick<AppContext, 'database' | 'jobs'>;

/** Starts a draft, or leaves it for a second teammate when it is for many. */
export async function startBulkGrant(
  context: BulkContext,
  bulk: BulkGrant,
  rules: { readonly by: Teammate; readonly secondPersonAbove: number | null },
): Promise<BulkGrant | null> {
  const { total } = await readProgress(context.database, bulk);
  const { by, secondPersonAbove } = rules;
  const isForMany = secondPersonAbove !== null && total > secondPersonAbove;
  return changeBulkGrant(context, bulk, { event: isForMany ? 'request' : 'start', by });
}

/**
 * Changes the state, with an audit record.
 *
 * @returns `null`: it is in another state by now
 */
export async function changeBulkGrant(
  context: BulkContext,
  key: BulkKey,
  { event, by }: { readonly event: BulkEvent; readonly by: Teammate },
): Promise<BulkGrant | null> {
  const bulk = await context.database.transaction(async (sql) => {
    const moved = await moveBulkGrant(sql, key, {
      event,
      ...(event === 'approve' ? { decidedBy: by } : {}),
    });
    if (moved) await auditBulk(sql, moved, by);
    return moved;
  });
  if (bulk?.state === 'running' || bulk?.state === 'undoing') await scheduleBulk(context, bulk);
  return bulk;
}

async function auditBulk(sql: Transaction, bulk: BulkGrant, actor: Teammate): Promise<void> {
  const { total, byState } = await readProgress(sql, bulk);
  await writeAudit(sql, {
    workspaceId: bulk.workspaceId,
    actor,
    action: `bulk_grant_${bulk.state}`,
    conversationId: null,
    contactId: null,
    subscriberId: null,
    details: {
      bulk_grant_id: bulk.bulkGrantId,
      entitlement: bulk.lookupKey,
      duration: bulk.duration,
      reason: bulk.reason,
      count: total,
      ...byState,
    },
    result: 'ok',
  });
}

export async function scheduleBulk(
  { jobs }: Pick<AppContext, 'jobs'>,
  { workspaceId, bulkGrantId }: BulkKey,
  afterSeconds = 0,
): Promise<void> {
  await jobs.send('bulk-grant.run', { workspaceId, bulkGrantId }, { afterSeconds });
}

/** Queues the jobs again that bulk grants of killed processes were waiting for. */
export async function resumeBulkGrants(context: BulkContext): Promise<void> {
  await deleteOldDrafts(context.database);
  for (const key of await listActiveBulkGrants(context.database)) await scheduleBulk(context, key);
}

/**
 * Works on a bulk grant until it is finished, paused, or time is up. Several workers share it: each claims its
 * customers. A customer's grant has its own idempotency key and is called once, so a killed worker's customers are
 * read back, never granted twice.
 *
 * @param until stops after this time (epoch ms)
 * @returns whether there is more to do
 */
export async function runBulkGrant(context: AppContext, key: BulkKey, until: number): Promise<boolean> {
  const patient = inBackground(context);
  for (;;) {
    const bulk = await readBulkGrant(context.database, key);
    const project = bulk && (await readProject(context.database, bulk.workspaceId, bulk.projectId));
    if (!bulk || !project || (bulk.state !== 'running' && bulk.state !== 'undoing')) return false;
    const isUndo = bulk.state === 'undoing';
    const claim = (of: keyof typeof WORK) =>
      claimCustomers(context.database, bulk, { of, limit: BATCH_SIZE });
    let step: keyof typeof WORK = isUndo ? 'granted' : 'pending';
    let claimed = await claim(step);
    if (claimed.length === 0 && isUndo) {
      step = 'called';
      claimed = await claim(step);
    }
    if (claimed.length === 0) {
      if (!(await hasCustomersLeft(context.database, bulk, bulk.state))) {
        const by = bulk.decidedBy ?? bulk.admin;
        await changeBulkGrant(context, bulk, { event: isUndo ? 'finish_undo' : 'finish', by });
        return false;
      }
      // Others have the rest, or it is retried soon.
      if (Date.now() + 1_000 > until) return true;
      await sleep(1_000);
      continue;
    }
    const limit = pLimit(CONCURRENCY);
    const place = { bulk, project };
    await Promise.all(claimed.map((customer) => limit(() => WORK[step](patient, place, customer))));
    if (Date.now() > until) return true;
  }
}

/** What is done with claimed customers. */
const WORK = { pending: grantCustomer, granted: undoCustomer, called: storeCalledGrant } as const;

/** The job `bulk-grant.run`. */
export async function runBulkSlice(context: AppContext, key: BulkKey): Promise<void> {
  if (await runBulkGrant(context, key, Date.now() + SLICE_MS)) await scheduleBulk(context, key, 1);
}

interface Place {
  readonly bulk: BulkGrant;
  readonly project: Project;
}

async function grantCustomer(context: AppContext, place: Place, customer: ClaimedCustomer): Promise<void> {
  const { bulk } = place;
  const { appUserId, attempts } = customer;
  const set = (change: Omit<CustomerChange, 'appUserId'>): Promise<void> =>
    setCustomer(context.database, bulk, { appUserId, ...change });
  const retry = (error: string | null, attempt: number): Promise<void> =>
    attempt >= MAX_ATTEMPTS
      ? set({ state: 'failed', error })
      : set({ state: 'pending', error, attempts: attempt, retryInSeconds: RETRY_SECONDS });
  try {
    const grant = await grantOnce(context, place, customer);
    if (grant === 'no_effect') return await set({ state: 'unchanged' });
    if (grant === 'unconfirmed') return await retry(grant, attempts + 1);
    if (typeof grant === 'string') return await set({ state: 'failed', error: grant });
    const { actionId, error } = grant;
    if (grant.state === 'confirmed')
      return await set({ state: grant.isUnchanged ? 'unchanged' : 'granted', actionId });
    if (grant.state !== 'failed') return await retry(null, attempts);
    // Certainly not granted: another attempt has a key of its own.
    if (error === 'revenuecat_rate_limited' || error === 'revenuecat_unavailable')
      return await retry(error, attempts + 1);
    await set({ state: 'failed', actionId, error });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    await retry(error.code, attempts + 1);
  }
}

type NoGrant = 'no_effect' | 'unknown_customer' | 'not_imported' | 'unconfirmed' | 'revenuecat_unauthorized';

/** The idempotency key of a customer's grant. */
function keyOf({ bulkGrantId }: BulkGrant, { appUserId, attempts }: ClaimedCustomer): string {
  return `${bulkGrantId}|${appUserId}|${attempts}`;
}

/** The customer's grant as it is then, or why there is none. */
async function grantOnce(
  context: AppContext,
  { bulk, project }: Place,
  customer: ClaimedCustomer,
): Promise<Grant | NoGrant> {
  const { database } = context;
  const { appUserId } = customer;
  const { workspaceId, projectId, lookupKey, entitlementId: target } = bulk;
  const idempotencyKey = keyOf(bulk, customer);
  const known = await findByKey(database, workspaceId, idempotencyKey);
  if (known?.kind === 'grant') {
    await confirmAction(context, known);
    return readAgain(database, known);
  }
  const client = context.revenueCat(project);
  if (!client) return 'revenuecat_unauthorized';
  const found = await findByAppUserIds(database, workspaceId, [appUserId]);
  const subscriberId = found.find((each) => each.projectId === projectId)?.subscriberId;
  if (subscriberId === undefined) return 'not_imported';
  const access = await ifKnown(readAccess(client, project.revenueCatProjectId, { appUserId }));
  if (!access) return 'unknown_customer';
  const ends = access.endsOf({ id: target, lookupKey });
  const requestedEndMs = endOf(context.now(), bulk, ends);
  if (findNoEffect(ends, requestedEndMs)) return 'no_effect';
  const key = { workspaceId, actionId: randomUUID() };
  await scheduleConfirm(context, key);
  const stored = await storeAction(database, {
    ...key,
    kind: 'grant',
    state: 'requested',
    projectId,
    subscriberId,
    appUserId,
    target,
    lookupKey,
    entitlementName: bulk.entitlementName,
    duration: bulk.duration,
    start: bulk.start,
    requestedEndMs,
    previousEndMs: ends.grantEndMs,
    reason: bulk.reason,
    idempotencyKey,
    admin: bulk.admin,
    conversationId: null,
    contactId: null,
  });
  if (stored.kind === 'unconfirmed' || stored.kind === 'monthly_limit') return 'unconfirmed';
  return (await callAndConfirm(context, project, stored.action as Grant)).action;
}

/** Stores the result of a grant that was called for when its removal began, so that it is removed too. */
async function storeCalledGrant(
  context: AppContext,
  { bulk }: Place,
  customer: ClaimedCustomer,
): Promise<void> {
  const { database } = context;
  const { appUserId } = customer;
  const known = await findByKey(database, bulk.workspaceId, keyOf(bulk, customer));
  if (known?.kind !== 'grant') return;
  await confirmAction(context, known);
  const { state, isUnchanged, actionId } = await readAgain(database, known);
  if (state === 'confirmed')
    return setCustomer(database, bulk, {
      appUserId,
      state: isUnchanged ? 'unchanged' : 'granted',
      actionId,
    });
  await setCustomer(database, bulk, { appUserId, state: 'pending', retryInSeconds: 2 });
}

async function undoCustomer(context: AppContext, place: Place, customer: ClaimedCustomer): Promise<void> {
  try {
    await undoOnce(context, place, customer);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { appUserId } = customer;
    await setCustomer(context.database, place.bulk, {
      appUserId,
      state: 'granted',
      error: error.code,
      retryInSeconds: RETRY_SECONDS,
    });
  }
}

async function undoOnce(context: AppContext, place: Place, customer: ClaimedCustomer): Promise<void> {
  const { bulk, project } = place;
  const { appUserId } = customer;
  const { database } = context;
  const set = (change: Omit<CustomerChange, 'appUserId'>): Promise<void> =>
    setCustomer(database, bulk, { appUserId, ...change });
  const later = (): Promise<void> => set({ state: 'granted', retryInSeconds: 2 });
  const key = { workspaceId: bulk.workspaceId, actionId: customer.actionId ?? '' };
  const action = await readAction(database, key);
  if (action?.kind !== 'grant') return set({ state: 'undo_failed', error: 'not_found' });
  const undone = async (): Promise<void> => {
    await restorePrevious(context, project, action);
    await set({ state: 'undone' });
  };
  if (action.state === 'revoked') return undone();
  if (action.state !== 'confirmed') {
    await confirmAction(context, action);
    return later();
  }
  await scheduleConfirm(context, action);
  const moved = await takeStep(context, action, {
    event: 'revoke',
    revokedBy: bulk.decidedBy ?? bulk.admin,
    revokeReason: bulk.reason,
    record: null,
  });
  if (!moved || moved === 'unconfirmed') return later();
  const now = await callAndConfirmRevoke(context, project, moved);
  if (now.state === 'confirmed') return set({ state: 'undo_failed', error: now.error });
  return now.state === 'revoked' ? undone() : later();
}

/** RevenueCat removes everything granted of an entitlement: what was granted before is granted again. */
async function restorePrevious(context: AppContext, project: Project, grant: Grant): Promise<void> {
  if (grant.previousEndMs === null || grant.previousEndMs <= context.now()) return;
  const restored = { entitlementId: grant.target, expiresAtMs: grant.previousEndMs };
  await context.revenueCat(project)?.grantEntitlement(project.revenueCatProjectId, grant.appUserId, restored);
}
