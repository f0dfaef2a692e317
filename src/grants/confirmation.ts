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
/** RevenueCat could not be read for this long: the action is given up. */
const GIVEN_UP_AFTER_MS = DAY_MS;

/**
 * Calls RevenueCat for a stored action and reads the result back. The call is claimed in the database first, so that it
 * is made once, whatever happens in between. Only a removal may be called for again: repeated, it changes nothing.
 */
export async function callAndConfirm(
  app: AppContext,
  project: Project,
  action: Action,
): Promise<ActionResult> {
  const client = app.revenueCat(project);
  const beganAtMs = app.now();
  const claimed = action.state === 'revoking' ? action : await claimForCall(app.database, action);
  // A process that was stopped in between may find that the action counts as not done: its job reads the result back.
  const isLate = app.now() - beganAtMs > MINUTE_MS;
  if (!claimed || isLate) return { action: await readAgain(app.database, action) };
  if (!client) return { action: await fail(app, claimed, 'revenuecat_unauthorized') };
  const answer = await answerOrError(
    ACTION_KINDS[claimed.kind].call(client, project.revenueCatProjectId, claimed),
  );
  if (answer instanceof AppError) {
    if (mayStillBeDone(claimed, answer)) return { action: await leaveUnconfirmed(app, claimed, answer.code) };
    // A key that has replaced this one since keeps its own state.
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

/** Whether RevenueCat may have done it although the call failed, or may do it when it is called again. */
function mayStillBeDone({ kind, state }: Action, { remedy, code }: AppError): boolean {
  if (state === 'revoking') return mayPass(remedy);
  // While another request has locked the customer, this one is not begun. A portal link that was not received is lost:
  // another one can be created.
  return remedy.kind === 'retry' && code !== 'revenuecat_locked' && kind !== 'manage';
}

/** Reads what RevenueCat has and completes the action accordingly. What still may be done stays unconfirmed. */
async function confirmByReading(
  app: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action> {
  const isOverdue = (await msSinceLastStep(app, action)) >= NOT_DONE_AFTER_MS;
  try {
    const isAnswered = action.isAnswered || (await isRefundReported(app.database, action));
    const known = { ...action, isAnswered, isOverdue, nowMs: app.now() };
    const found = await ACTION_KINDS[action.kind].readBack(client, project.revenueCatProjectId, known);
    if (typeof found === 'object') return await complete(app, action, found);
    if (found === 'unknown' || !isOverdue) return await leaveUnconfirmed(app, action);
    return await fail(app, action, action.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return leaveUnconfirmed(app, action, error.code);
  }
}

/** Reads it again later, for a day. */
async function leaveUnconfirmed(app: AppContext, action: Action, code?: string): Promise<Action> {
  const sinceMs = await msSinceLastStep(app, action);
  if (sinceMs > GIVEN_UP_AFTER_MS) return fail(app, action, 'never_confirmed');
  const { workspaceId, actionId } = action;
  app.logger.warn({ workspaceId, actionId, code }, 'action not confirmed yet');
  await scheduleConfirm(app, action, secondsUntilNextRead(sinceMs));
  return action;
}

/** RevenueCat has changed something: the customer is read again, and who received purchases. */
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
    // Nothing can be read without a project and its key: it waits for a new one.
    await scheduleConfirm(app, action, secondsUntilNextRead(await msSinceLastStep(app, action)));
  } else if (action.kind === 'manage') {
    // The link of a portal was lost with the process that created it.
    await fail(app, action, 'revenuecat_unavailable');
  } else if (action.state === 'revoking' || action.calledAtMs === null) {
    // It was certainly not called, because the process was killed before; or it is a removal, which may be repeated.
    await callAndConfirm(app, project, action);
  } else await confirmByReading(app, client, { action, project });
}

/** The longer it takes, the less often: from 2 s to 10 minutes. */
function secondsUntilNextRead(sinceMs: number): number {
  return Math.min(600, Math.max(2, Math.round(sinceMs / 4_000)));
}

/** By the clock that stored the last step, the database's: with ours ahead, a grant just made would count as ignored. */
async function msSinceLastStep({ database }: AppContext, action: Action): Promise<number> {
  const { nowMs } = await queryRow<{ nowMs: number }>(database, `select ${epochMs('now()')} as "nowMs"`);
  const revokeCalledAtMs = action.kind === 'grant' ? action.revokeCalledAtMs : null;
  return nowMs - (revokeCalledAtMs ?? doneAtMs(action));
}

/** Queues the jobs again that gave up: actions must not stay unconfirmed, and notes may wait for a connection. */
export async function resumeActions(app: Pick<AppContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(app.database)) {
    if (isNote) await app.jobs.send('action.note', key);
    else await scheduleConfirm(app, key, 0);
  }
}
