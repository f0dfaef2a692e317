import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { AppError, badRequest } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { writeAudit } from '../workspaces/audit.ts';
import { type Project, readProject } from '../workspaces/projects.ts';
import { findNoEffect, readAccess } from './access.ts';
import {
  type BulkGrant,
  type BulkKey,
  type BulkState,
  type ClaimedCustomer,
  claimCustomers,
  createBulkGrant,
  deleteOldDrafts,
  findSubscriber,
  listActiveBulkGrants,
  moveBulkGrant,
  type NewBulkGrant,
  readBulkGrant,
  readProgress,
  setCustomer,
} from './bulk-repository.ts';
import {
  CONFIRM_AFTER_SECONDS,
  callAndConfirm,
  callAndConfirmRevoke,
  confirmAction,
  scheduleConfirm,
} from './confirmation.ts';
import { findByKey, lockAndFindUnconfirmed, readAction, storeAction, transition } from './repository.ts';
import { endOf } from './service.ts';
import type { Grant, Teammate } from './types.ts';

/** Customers that a worker claims together, and how many of them it works on at the same time. */
const BATCH_SIZE = 20;
const CONCURRENCY = 4;
/** A job continues in another one after this time, so that a stopping server does not wait for it. */
const SLICE_MS = 30_000;
const RETRY_SECONDS = 10;
const MAX_ATTEMPTS = 20;
const CALL_TIMEOUT_MS = 20_000;
const MAX_CUSTOMERS = 100_000;

/** Ids from a pasted list or a CSV: the first column, with or without a heading; each once. */
export function parseCustomerList(text: string): string[] {
  const ids = text
    .split(/\r?\n/)
    .map(
      (line) =>
        line
          .trim()
          .split(/[,;\t]/, 1)[0]
          ?.trim()
          .replace(/^"(.*)"$/, '$1') ?? '',
    )
    .filter((id) => id !== '' && !/^(app_?user_?id|customer_?id|id)$/i.test(id));
  return [...new Set(ids)];
}

/** Stores a draft for the dry run; nothing is granted until it is started. */
export async function draftBulkGrant(
  context: Pick<AppContext, 'database'>,
  bulk: Omit<NewBulkGrant, 'bulkGrantId'>,
  appUserIds: readonly string[],
): Promise<BulkGrant> {
  if (appUserIds.length === 0) throw badRequest('The list names no customer');
  if (appUserIds.length > MAX_CUSTOMERS) throw badRequest(`A grant takes at most ${MAX_CUSTOMERS} customers`);
  const bulkGrantId = randomUUID();
  await createBulkGrant(context.database, { ...bulk, bulkGrantId }, appUserIds);
  const draft = await readBulkGrant(context.database, { workspaceId: bulk.workspaceId, bulkGrantId });
  if (!draft) throw new Error('A stored bulk grant was not found');
  return draft;
}

/** Starts a draft, or leaves it for a second teammate when it is for many. */
export async function startBulkGrant(
  context: BulkContext,
  bulk: BulkGrant,
  rules: { readonly by: Teammate; readonly secondPersonAbove: number | null },
): Promise<BulkGrant | null> {
  const { total } = await readProgress(context.database, bulk);
  const { by, secondPersonAbove } = rules;
  const to = secondPersonAbove !== null && total > secondPersonAbove ? 'awaiting_approval' : 'running';
  return changeBulkGrant(context, bulk, { from: ['draft'], to, by });
}

type BulkContext = Pick<AppContext, 'database' | 'jobs'>;

/**
 * Starts a draft, approves what waits, pauses, resumes or undoes, with one audit record.
 *
 * @returns `null`: it is in another state by now
 */
export async function changeBulkGrant(
  context: BulkContext,
  key: BulkKey,
  change: {
    readonly from: readonly BulkState[];
    readonly to: BulkState;
    readonly by: Teammate;
    readonly isDecision?: boolean;
  },
): Promise<BulkGrant | null> {
  const { from, to, by } = change;
  const bulk = await context.database.transaction(async (sql) => {
    const moved = await moveBulkGrant(sql, key, {
      from,
      to,
      ...(change.isDecision ? { decidedBy: by } : {}),
    });
    if (moved) await auditBulk(sql, moved, by);
    return moved;
  });
  if (bulk?.state === 'running' || bulk?.state === 'undoing') await scheduleBulk(context, bulk);
  return bulk;
}

async function auditBulk(
  sql: BulkContext['database'] | Parameters<typeof writeAudit>[0],
  bulk: BulkGrant,
  actor: Teammate,
): Promise<void> {
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
  const patient: AppContext = {
    ...context,
    revenueCat: (project) => context.revenueCat(project, { timeoutMs: CALL_TIMEOUT_MS }),
  };
  for (;;) {
    const bulk = await readBulkGrant(context.database, key);
    const project = bulk && (await readProject(context.database, bulk.workspaceId, bulk.projectId));
    if (!bulk || !project || (bulk.state !== 'running' && bulk.state !== 'undoing')) return false;
    const isUndo = bulk.state === 'undoing';
    const state = isUndo ? 'granted' : 'pending';
    const claimed = await claimCustomers(context.database, bulk, { state, limit: BATCH_SIZE });
    if (claimed.length === 0) {
      const { byState } = await readProgress(context.database, bulk);
      if ((byState[state] ?? 0) === 0) {
        await finish(context, bulk);
        return false;
      }
      // Others have the rest, or it is retried soon.
      if (Date.now() + 1_000 > until) return true;
      await sleep(1_000);
      continue;
    }
    const limit = pLimit(CONCURRENCY);
    const work = isUndo ? undoCustomer : grantCustomer;
    await Promise.all(claimed.map((customer) => limit(() => work(patient, { bulk, project }, customer))));
    if (Date.now() > until) return true;
  }
}

/** The job `bulk-grant.run`. */
export async function runBulkSlice(context: AppContext, key: BulkKey): Promise<void> {
  if (await runBulkGrant(context, key, Date.now() + SLICE_MS)) await scheduleBulk(context, key, 1);
}

async function finish(context: AppContext, bulk: BulkGrant): Promise<void> {
  const to = bulk.state === 'undoing' ? 'undone' : 'done';
  await context.database.transaction(async (sql) => {
    const moved = await moveBulkGrant(sql, bulk, { from: [bulk.state], to });
    if (moved) await auditBulk(sql, moved, moved.decidedBy ?? moved.admin);
  });
}

interface Place {
  readonly bulk: BulkGrant;
  readonly project: Project;
}

async function grantCustomer(context: AppContext, place: Place, customer: ClaimedCustomer): Promise<void> {
  const { bulk } = place;
  const { appUserId, attempts } = customer;
  const { database } = context;
  const retry = (error: string | null, attempt = attempts): Promise<void> =>
    attempt >= MAX_ATTEMPTS
      ? setCustomer(database, bulk, { appUserId, state: 'failed', error })
      : setCustomer(database, bulk, {
          appUserId,
          state: 'pending',
          error,
          attempts: attempt,
          retryInSeconds: RETRY_SECONDS,
        });
  try {
    const made = await grantOnce(context, place, customer);
    if (typeof made === 'string') {
      const state = made === 'no_effect' ? 'unchanged' : 'failed';
      return await setCustomer(database, bulk, {
        appUserId,
        state,
        error: made === 'no_effect' ? null : made,
      });
    }
    const { actionId, error } = made;
    if (made.state === 'confirmed') {
      const state = made.isUnchanged ? 'unchanged' : 'granted';
      return await setCustomer(database, bulk, { appUserId, state, actionId });
    }
    if (made.state !== 'failed') return await retry(null);
    // Certainly not granted: another attempt has a key of its own.
    if (error === 'revenuecat_rate_limited' || error === 'revenuecat_unavailable')
      return await retry(error, attempts + 1);
    await setCustomer(database, bulk, { appUserId, state: 'failed', actionId, error });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    await retry(error.code, attempts + 1);
  }
}

/** The customer's grant as it is then, or why there is none. */
async function grantOnce(
  context: AppContext,
  { bulk, project }: Place,
  { appUserId, attempts }: ClaimedCustomer,
): Promise<
  Grant | 'no_effect' | 'unknown_customer' | 'not_imported' | 'unconfirmed' | 'revenuecat_unauthorized'
> {
  const { database } = context;
  const { workspaceId, projectId } = bulk;
  const idempotencyKey = `${bulk.bulkGrantId}|${appUserId}|${attempts}`;
  const known = await findByKey(database, workspaceId, idempotencyKey);
  if (known?.kind === 'grant') {
    await confirmAction(context, known);
    return ((await readAction(database, known)) as Grant | null) ?? known;
  }
  const client = context.revenueCat(project);
  if (!client) return 'revenuecat_unauthorized';
  const subscriberId = await findSubscriber(database, { workspaceId, projectId, appUserId });
  if (subscriberId === null) return 'not_imported';
  const access = await readAccess(client, project.revenueCatProjectId, [appUserId]);
  if (!access) return 'unknown_customer';
  const ends = access.endsOf({ id: bulk.entitlementId, lookupKey: bulk.lookupKey });
  const requestedEndMs = endOf(context.now(), bulk, ends);
  if (findNoEffect(ends, requestedEndMs)) return 'no_effect';
  const key = { workspaceId, actionId: randomUUID() };
  await scheduleConfirm(context, key, CONFIRM_AFTER_SECONDS);
  const stored = await storeAction(
    database,
    {
      ...key,
      kind: 'grant',
      state: 'requested',
      monthlyLimit: null,
      projectId,
      subscriberId,
      appUserId,
      target: bulk.entitlementId,
      lookupKey: bulk.lookupKey,
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
    },
    async () => {},
  );
  if (stored.kind === 'unconfirmed' || stored.kind === 'monthly_limit') return 'unconfirmed';
  return callAndConfirm(context, project, stored.action as Grant);
}

async function undoCustomer(context: AppContext, place: Place, customer: ClaimedCustomer): Promise<void> {
  const { bulk, project } = place;
  const { appUserId, actionId } = customer;
  const { database } = context;
  const set = (state: 'undone' | 'undo_failed', error: string | null = null): Promise<void> =>
    setCustomer(database, bulk, { appUserId, state, error });
  const key = { workspaceId: bulk.workspaceId, actionId: actionId ?? '' };
  const action = actionId === null ? null : await readAction(database, key);
  if (action?.kind !== 'grant') return set('undo_failed', 'not_found');
  if (action.state === 'revoked') {
    await restorePrevious(context, place, action);
    return set('undone');
  }
  if (action.state === 'confirmed') {
    await scheduleConfirm(context, action, CONFIRM_AFTER_SECONDS);
    const moved = await database.transaction(async (sql) =>
      (await lockAndFindUnconfirmed(sql, { ...action, target: action.entitlementId }))
        ? null
        : transition(sql, action, {
            event: 'revoke',
            revokedBy: bulk.decidedBy ?? bulk.admin,
            revokeReason: bulk.reason,
          }),
    );
    const revoking = moved ?? action;
    if (moved) {
      const outcome = await callAndConfirmRevoke(context, project, { grant: moved, conversationId: null });
      if (outcome.failedWith !== null) return set('undo_failed', outcome.failedWith);
      if (outcome.grant.state === 'revoked') {
        await restorePrevious(context, place, outcome.grant);
        return set('undone');
      }
    }
    return later(context, bulk, revoking.appUserId);
  }
  await confirmAction(context, action);
  return later(context, bulk, appUserId);
}

function later(context: AppContext, bulk: BulkGrant, appUserId: string): Promise<void> {
  return setCustomer(context.database, bulk, { appUserId, state: 'granted', retryInSeconds: 2 });
}

/** RevenueCat removes everything granted of an entitlement: what was granted before is granted again. */
async function restorePrevious(context: AppContext, { project }: Place, grant: Grant): Promise<void> {
  if (grant.previousEndMs === null || grant.previousEndMs <= context.now()) return;
  const client: RevenueCatClient | null = context.revenueCat(project);
  await client?.grantEntitlement(project.revenueCatProjectId, grant.appUserId, {
    entitlementId: grant.entitlementId,
    expiresAtMs: grant.previousEndMs,
  });
}
