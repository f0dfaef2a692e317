import { epochMs, queryRow } from '../database/sql.ts';
import { AppError, answerOrError, mayPass } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { findInProject } from '../subscribers/search.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { queueKeyCheck, recordKeyState } from '../workspaces/key-state.ts';
import { type Project, readProject } from '../workspaces/projects.ts';
import { type Action, type ActionResult, doneAtMs, UNCONFIRMED_STATES } from './action.ts';
import { ACTION_KINDS } from './action-kinds.ts';
import { isRefundReported } from './purchases.ts';
import {
  type ActionKey,
  type Changes,
  claimForCall,
  listUnfinished,
  readAction,
  readAgain,
  recordResponse,
} from './repository.ts';
import { scheduleConfirm, transition } from './transitions.ts';

/** After this time RevenueCat no longer works on a request that it has not answered. */
const NOT_DONE_AFTER_MS = 2 * MINUTE_MS;
/** An action that stays unconfirmed for this long is given up. */
const GIVEN_UP_AFTER_MS = DAY_MS;

/**
 * Calls RevenueCat for a stored action and reads the result back. The call is claimed in the database first, so that it
 * is made once, even if a process is killed. Only a removal may be called again: repeating it changes nothing.
 */
export async function callAndConfirm(
  app: AppContext,
  project: Project,
  action: Action,
): Promise<ActionResult> {
  const client = app.revenueCat(project);
  const beganAtMs = app.now();
  const claimed = action.state === 'revoking' ? action : await claimForCall(app.database, action);
  // After a long suspension of this process the action may count as failed: do not call, its job reads the result back.
  const wasSuspended = app.now() - beganAtMs > MINUTE_MS;
  if (!claimed || wasSuspended) return { action: await readAgain(app.database, action) };
  if (!client) return { action: await fail(app, claimed, 'revenuecat_unauthorized') };
  const answer = await answerOrError(
    ACTION_KINDS[claimed.kind].call(client, project.revenueCatProjectId, claimed),
  );
  if (answer instanceof AppError) {
    if (mayStillBeDone(claimed, answer)) return { action: await leaveUnconfirmed(app, claimed, answer.code) };
    // This changes nothing if the key has been replaced since.
    if (answer.code === 'revenuecat_unauthorized') await recordKeyState(app, project, 'rejected');
    if (answer.code === 'revenuecat_scope_missing') await queueKeyCheck(app, project.workspaceId);
    return { action: await fail(app, claimed, answer.code) };
  }
  await recordResponse(app.database, claimed);
  const answered = { ...claimed, isAnswered: true };
  return {
    action: await confirmByReading(app, client, { action: answered, project }),
    url: typeof answer === 'string' ? answer : undefined,
  };
}

/** Whether RevenueCat may have done the action although the call failed, or may do it at another call. */
function mayStillBeDone({ kind, state }: Action, { remedy, code }: AppError): boolean {
  if (state === 'revoking') return mayPass(remedy);
  // RevenueCat starts nothing while another request has locked the customer. A portal link that did not arrive is lost,
  // but another one can be created.
  return remedy.kind === 'retry' && code !== 'revenuecat_locked' && kind !== 'manage';
}

/** Reads the result from RevenueCat and completes the action. An action that may still be done stays unconfirmed. */
async function confirmByReading(
  app: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action> {
  const isOverdue = (await msSinceLastStep(app, action)) >= NOT_DONE_AFTER_MS;
  try {
    const isAnswered = action.isAnswered || (await isRefundReported(app.database, action));
    const call = { ...action, isAnswered, isOverdue, nowMs: app.now() };
    const found = await ACTION_KINDS[action.kind].readBack(client, project.revenueCatProjectId, call);
    if (typeof found === 'object') return await complete(app, action, found);
    if (found === 'unknown' || !isOverdue) return await leaveUnconfirmed(app, action);
    return await fail(app, action, action.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return leaveUnconfirmed(app, action, error.code);
  }
}

/** Schedules another read, for up to a day. */
async function leaveUnconfirmed(app: AppContext, action: Action, code?: string): Promise<Action> {
  const sinceMs = await msSinceLastStep(app, action);
  if (sinceMs > GIVEN_UP_AFTER_MS) return fail(app, action, 'never_confirmed');
  const { workspaceId, actionId } = action;
  app.logger.warn({ workspaceId, actionId, code }, 'action not confirmed yet');
  await scheduleConfirm(app, action, secondsUntilNextRead(sinceMs));
  return action;
}

/** Completes the action, then refreshes the customer that RevenueCat has changed, and the receiver of a transfer. */
async function complete(app: AppContext, action: Action, changes: Changes): Promise<Action> {
  const event = action.state === 'revoking' ? 'confirm_revoke' : 'confirm';
  const moved = await transition(app, action, { event, ...changes });
  if (!moved) return readAgain(app.database, action);
  const { workspaceId, kind, target } = moved;
  const receivers = kind === 'transfer' ? await findInProject(app.database, moved, [target]) : [];
  for (const subscriberId of [moved.subscriberId, ...receivers])
    await app.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  return moved;
}

async function fail(app: AppContext, action: Action, code: string): Promise<Action> {
  const { workspaceId, actionId } = action;
  app.logger.warn({ workspaceId, actionId, code }, 'action failed');
  const event = action.state === 'revoking' ? 'fail_revoke' : 'fail';
  const isLate = (await msSinceLastStep(app, action)) >= NOT_DONE_AFTER_MS;
  const moved = await transition(app, action, { event: isLate ? `${event}_later` : event, error: code });
  return moved ?? readAgain(app.database, action);
}

/** The job `action.confirm`: completes an unconfirmed action by reading RevenueCat, however long that takes. */
export async function confirmAction(app: AppContext, key: ActionKey): Promise<void> {
  const action = await readAction(app.database, key);
  if (!action || !UNCONFIRMED_STATES.includes(action.state)) return;
  const project = await readProject(app.database, key.workspaceId, action.projectId);
  const client = project && app.revenueCat(project);
  if (!project || !client) {
    // Without a project and its key nothing can be read: wait for a new key.
    await scheduleConfirm(app, action, secondsUntilNextRead(await msSinceLastStep(app, action)));
  } else if (action.kind === 'manage') {
    // The link of a portal was lost with the process that created it.
    await fail(app, action, 'revenuecat_unavailable');
  } else if (action.state === 'revoking' || action.calledAtMs === null) {
    // Either a process was killed before it made the call, or this is a removal, which may be called again.
    await callAndConfirm(app, project, action);
  } else await confirmByReading(app, client, { action, project });
}

/** Reads become rarer with time: from every 2 s to every 10 minutes. */
function secondsUntilNextRead(sinceMs: number): number {
  return Math.min(600, Math.max(2, Math.round(sinceMs / 4_000)));
}

/** Uses the database's clock, which stored the last step: if ours were ahead, a new grant would count as ignored. */
async function msSinceLastStep({ database }: AppContext, action: Action): Promise<number> {
  const { nowMs } = await queryRow<{ nowMs: number }>(database, `select ${epochMs('now()')} as "nowMs"`);
  const revokeCalledAtMs = action.kind === 'grant' ? action.revokeCalledAtMs : null;
  return nowMs - (revokeCalledAtMs ?? doneAtMs(action));
}

/** Queues jobs again that gave up: no action may stay unconfirmed, and notes may wait until Intercom is reconnected. */
export async function resumeActions(app: Pick<AppContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(app.database)) {
    if (isNote) await app.jobs.send('action.note', key);
    else await scheduleConfirm(app, key, 0);
  }
}
