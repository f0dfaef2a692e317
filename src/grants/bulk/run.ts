import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, mayPass, nullOn } from '../../errors.ts';
import { findInProject } from '../../subscribers/search.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import { recordKeyState } from '../../workspaces/key-state.ts';
import { type Project, readProject } from '../../workspaces/projects.ts';
import { readWorkspace, type Workspace } from '../../workspaces/repository.ts';
import { endsOf, findNoEffect, readAccess } from '../access.ts';
import { type Action, type Grant, REVENUECAT, UNCONFIRMED_STATES } from '../action.ts';
import { ActionError, failed, outdated } from '../action-error.ts';
import { readGrantEnd } from '../action-kinds.ts';
import { callAndConfirm, confirmAction } from '../confirmation.ts';
import { endOfGrant } from '../grant.ts';
import { OUTAGE_ERRORS } from '../read-revenuecat.ts';
import { findByKey, readAction, readAgain, readLastChange, restoreOthers } from '../repository.ts';
import { requestAction, transition } from '../transitions.ts';
import { changeBulkGrant } from './bulk-grants.ts';
import {
  type ClaimedCustomer,
  type CustomerOutcome,
  claimCustomers,
  hasCustomersLeft,
  isClaimed,
  isGrantedBy,
  isGrantedSince,
  KEY_ERRORS,
  setCustomer,
} from './customers.ts';
import { type BulkGrant, type BulkKey, readBulkGrant } from './repository.ts';

/** How many customers a worker claims at a time. They are processed in parallel, so no claim ends while it waits. */
const BATCH_SIZE = 4;
/** A job continues in another one after this time, so that a stopping server does not wait for it. */
const SLICE_MS = 30_000;
const RETRY_SECONDS = 10;
/** Retries back off to this delay; the maximum number of attempts takes about a day. */
const MAX_RETRY_SECONDS = 600;
const MAX_ATTEMPTS = 150;
/** `revenuecat_locked`: another request may have locked the customer. */
const RETRIED_ERRORS = [...OUTAGE_ERRORS, 'revenuecat_locked'];

export async function runBulkSlice(app: AppContext, key: BulkKey): Promise<void> {
  if (await runBulkGrant(app, key, Date.now() + SLICE_MS))
    await app.jobs.send('bulk-grant.run', key, { afterSeconds: 1 });
}

/**
 * Works on a bulk grant until it is finished or paused, or time is up; returns whether there is more to do. Several
 * workers share it: each claims its own customers. Each customer's grant has its own idempotency key and is called
 * once, so the customers of a killed worker are read back and never granted twice.
 */
export async function runBulkGrant(app: AppContext, key: BulkKey, untilMs: number): Promise<boolean> {
  for (;;) {
    const bulk = await readBulkGrant(app.database, key);
    const project = bulk && (await readProject(app.database, bulk.workspaceId, bulk.projectId));
    const workspace = await readWorkspace(app.database, key.workspaceId);
    if (!bulk || !project || !workspace) return false;
    if (bulk.state !== 'running' && bulk.state !== 'undoing') return false;
    const { state } = bulk;
    const claimed = await claimCustomers(app.database, bulk, { state, limit: BATCH_SIZE });
    if (claimed.length > 0) {
      await Promise.all(
        claimed.map((customer) => processCustomer(app, { bulk, project, workspace, customer })),
      );
    } else if (await hasCustomersLeft(app.database, bulk, state)) {
      // Other workers have claimed the rest, or it waits for a retry.
      if (Date.now() + 1_000 > untilMs) return true;
      await sleep(1_000);
    } else {
      const event = state === 'undoing' ? 'finish_undo' : 'finish';
      await changeBulkGrant(app, bulk, { event, by: bulk.decidedBy ?? bulk.admin });
      return false;
    }
    if (Date.now() > untilMs) return true;
  }
}

interface Task {
  readonly bulk: BulkGrant;
  readonly project: Project;
  readonly workspace: Workspace;
  readonly customer: ClaimedCustomer;
}

async function processCustomer(app: AppContext, task: Task): Promise<void> {
  const { bulk, project, customer } = task;
  const work = customer.state === 'granted' ? undo : grant;
  const outcome = await work(app, task).catch((error: unknown) => outcomeOf(error, customer));
  const { state, error = null } = outcome;
  // No customer can be granted anything until an admin has replaced the key.
  const isPaused = state === 'failed' && KEY_ERRORS.includes(error ?? '');
  const retry = { state: 'pending', error, attempts: customer.attempts + 1, retryInSeconds: 0 } as const;
  const isOurs = await setCustomer(app.database, { ...bulk, ...customer }, isPaused ? retry : outcome);
  if (!isPaused || !isOurs) return;
  const current = await readProject(app.database, project.workspaceId, project.projectId);
  // The refused key has been replaced: the next attempt uses the new one.
  if (current?.apiKey !== project.apiKey) return;
  if (error === 'revenuecat_unauthorized' && project.apiKey !== null)
    await recordKeyState(app, project, 'rejected');
  await changeBulkGrant(app, bulk, { event: 'pause', by: REVENUECAT });
}

/** @throws any error that is not about this customer */
function outcomeOf(error: unknown, customer: ClaimedCustomer): CustomerOutcome {
  const isActionError = error instanceof ActionError;
  if (!isActionError && !(error instanceof AppError)) throw error;
  const { code } = error;
  // An unconfirmed action, or RevenueCat, prevents it only for now.
  const isTemporary = isActionError ? error.kind !== 'failed' : mayPass(error.remedy);
  if (customer.state === 'granted')
    return isTemporary
      ? { state: 'granted', error: code, retryInSeconds: RETRY_SECONDS }
      : { state: 'undo_failed', error: code };
  return isTemporary ? retryOf(customer, code) : { state: 'failed', error: code };
}

/** Each attempt has its own idempotency key. */
function retryOf({ attempts }: ClaimedCustomer, error: string): CustomerOutcome {
  if (attempts + 1 >= MAX_ATTEMPTS) return { state: 'failed', error };
  const retryInSeconds = Math.min(RETRY_SECONDS * 2 ** attempts, MAX_RETRY_SECONDS);
  return { state: 'pending', error, attempts: attempts + 1, retryInSeconds };
}

async function grant(app: AppContext, task: Task): Promise<CustomerOutcome> {
  const { bulk, customer } = task;
  const idempotencyKey = `${bulk.bulkGrantId}|${customer.appUserId}|${customer.attempts}`;
  const found = await findByKey(app.database, bulk.workspaceId, idempotencyKey);
  if (found) await confirmAction(app, found);
  const granted = found ? await readAgain(app.database, found) : await grantOnce(app, task, idempotencyKey);
  if (!granted) return { state: 'unchanged' };
  const { actionId, error, state } = granted;
  const isUnchanged = granted.kind === 'grant' && granted.isUnchanged;
  if (state === 'confirmed') return { state: isUnchanged ? 'unchanged' : 'granted', actionId };
  // The result is not known yet.
  if (state !== 'failed') return { state: 'pending', retryInSeconds: RETRY_SECONDS };
  const isRetried = error !== null && RETRIED_ERRORS.includes(error);
  return isRetried ? retryOf(customer, error) : { state: 'failed', actionId, error };
}

/** Grants once, like a card. `null`: the grant would change nothing. */
async function grantOnce(
  app: AppContext,
  { bulk, project, workspace, customer }: Task,
  idempotencyKey: string,
): Promise<Action | null> {
  const { database } = app;
  const { appUserId } = customer;
  const { workspaceId, projectId, lookupKey, entitlementId: target } = bulk;
  const client = app.revenueCat(project);
  if (!client) throw failed('revenuecat_unauthorized');
  const [subscriberId] = await findInProject(database, bulk, [appUserId]);
  if (subscriberId === undefined) throw failed('not_imported');
  const lastChange = await readLastChange(database, { workspaceId, subscriberId, target, kind: 'grant' });
  if (await isGrantedBy(database, bulk, subscriberId)) return null;
  const reading = readAccess(client, project.revenueCatProjectId, appUserId);
  const access = await nullOn('revenuecat_not_found', reading);
  if (!access) throw failed('unknown_customer');
  const ends = endsOf(access, { id: target, lookupKey });
  const requestedEndMs = endOfGrant(app.now(), { ...bulk, timeZone: workspace.timezone }, ends);
  if (findNoEffect(ends, requestedEndMs)) return null;
  if (!(await isClaimed(database, { ...bulk, ...customer }))) throw outdated('changed');
  const stored = await requestAction(
    app,
    {
      kind: 'grant',
      state: 'requested',
      workspaceId,
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
    },
    { lastChange },
  );
  if (!stored) throw outdated('changed');
  return (await callAndConfirm(app, project, stored.action)).action;
}

/** The removal is not confirmed yet. */
const RETRY_UNDO: CustomerOutcome = { state: 'granted', retryInSeconds: 2 };

async function undo(app: AppContext, { bulk, project, customer }: Task): Promise<CustomerOutcome> {
  const { workspaceId, decidedBy, admin, reason: revokeReason } = bulk;
  const revokedBy = decidedBy ?? admin;
  let action = await readAction(app.database, { workspaceId, actionId: customer.actionId ?? '' });
  if (action?.kind !== 'grant') return { state: 'undo_failed', error: 'not_found' };
  if (UNCONFIRMED_STATES.includes(action.state)) {
    await confirmAction(app, action);
    return RETRY_UNDO;
  }
  if (action.state === 'confirmed') {
    const lastChange = await readLastChange(app.database, action);
    if (await isGrantedSince(app.database, action)) return { state: 'undo_failed', error: 'granted_since' };
    const moved = await transition(app, action, { event: 'revoke', revokedBy, revokeReason, lastChange });
    if (!moved) return RETRY_UNDO;
    action = (await callAndConfirm(app, project, moved)).action as Grant;
    if (action.state === 'confirmed') return { state: 'undo_failed', error: action.error };
  }
  if (action.state !== 'revoked') return RETRY_UNDO;
  // What was removed on a card stays removed.
  const isUndone = action.revokedBy?.id === revokedBy.id && action.revokeReason === revokeReason;
  if (isUndone) await restorePrevious(app, project, action);
  return { state: 'undone' };
}

/** RevenueCat removes all grants of an entitlement, so the customer's earlier grant is granted again, once. */
async function restorePrevious(app: AppContext, project: Project, grant: Grant): Promise<void> {
  const { previousEndMs, target: entitlementId, appUserId } = grant;
  if (previousEndMs === null || previousEndMs <= app.now()) return;
  const client = app.revenueCat(project);
  if (!client) throw failed('revenuecat_unauthorized');
  const { revenueCatProjectId: projectId } = project;
  if ((await readGrantEnd(client, projectId, grant)) === null)
    await client.grantEntitlement(projectId, appUserId, { entitlementId, expiresAtMs: previousEndMs });
  await restoreOthers(app.database, grant, previousEndMs);
}
