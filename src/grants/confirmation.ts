import { AppError, nullOn } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { recordKeyState } from '../subscribers/refresh.ts';
import { findByAppUserIds } from '../subscribers/search.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type Project, readProject } from '../workspaces/projects.ts';
import { type Action, type Grant, UNCONFIRMED_STATES } from './action.ts';
import { readGrantEnd } from './grant.ts';
import { handlerOf } from './handlers.ts';
import { readNoteStates } from './notes.ts';
import { isChargeRefunded } from './purchases.ts';
import {
  type ActionKey,
  claimForCall,
  listUnfinished,
  readAction,
  readAgain,
  recordResponse,
} from './repository.ts';
import { type StateChange, scheduleConfirm, scheduleNotes, transition } from './transitions.ts';

/** After this time RevenueCat no longer works on a request that it has not answered. */
const NOT_DONE_AFTER_MS = 2 * MINUTE_MS;
/** RevenueCat could not be read for this long: the action is given up. */
const GIVEN_UP_AFTER_MS = DAY_MS;
const READ_AGAIN_AFTER_SECONDS = 2;

/** An action as it is after RevenueCat was called, with what only the caller gets. */
export interface CallResult {
  readonly action: Action;
  /** The single-use link of `manage`: it is not stored. */
  readonly url?: string | undefined;
}

/**
 * Calls RevenueCat for a stored action, unless it was called before, and reads the result back. RevenueCat is called
 * once, whatever happens in between: the call is claimed in the database first.
 *
 * @returns the action as it is then; still `requested` when RevenueCat has not confirmed it
 */
export async function callAndConfirm(app: AppContext, project: Project, action: Action): Promise<CallResult> {
  const client = app.revenueCat(project);
  const claimed = await claimForCall(app.database, action);
  if (!claimed) return { action: await readAgain(app.database, action) };
  if (!client) return { action: await fail(app, claimed, 'revenuecat_unauthorized') };
  let url: string | undefined;
  try {
    const answer = await handlerOf(claimed).call(client, project.revenueCatProjectId, claimed);
    if (typeof answer === 'string') url = answer;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // 423: another request has locked the customer, and this one was not begun.
    const isUnknown = error.remedy.kind === 'retry' && error.upstreamStatus !== 423;
    // A portal link that was not received is lost: another one can be created.
    if (isUnknown && claimed.kind !== 'manage')
      return { action: await leaveUnconfirmed(app, claimed, error) };
    await recordRefusedKey(app, project, error);
    return { action: await fail(app, claimed, error.code) };
  }
  await recordResponse(app.database, claimed);
  const answered = { ...claimed, isAnswered: true };
  const confirmed = await confirmByReading(app, client, { action: answered, project }).catch(
    (error: unknown) => {
      if (error instanceof AppError) return leaveUnconfirmed(app, answered, error);
      throw error;
    },
  );
  return { action: confirmed ?? (await leaveUnconfirmed(app, answered)), url };
}

async function leaveUnconfirmed(app: AppContext, action: Action, error?: AppError): Promise<Action> {
  const { workspaceId, actionId } = action;
  app.logger.warn({ workspaceId, actionId, code: error?.code }, 'action not confirmed yet');
  await scheduleConfirm(app, action, READ_AGAIN_AFTER_SECONDS);
  return action;
}

/** Reads what RevenueCat has and completes the action accordingly. `null`: not done, but it still may be. */
async function confirmByReading(
  app: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action | null> {
  const isAnswered = action.isAnswered || (await isChargeRefunded(app.database, action));
  const known = { ...action, isAnswered };
  const found = await handlerOf(action).readBack(client, project.revenueCatProjectId, known);
  if (found.kind === 'done') return complete(app, action, { event: 'confirm', ...found.changes });
  const sinceMs = app.now() - (action.calledAtMs ?? action.createdAtMs);
  if (found.kind === 'unknown')
    return sinceMs > GIVEN_UP_AFTER_MS ? fail(app, action, 'never_confirmed') : null;
  if (sinceMs < NOT_DONE_AFTER_MS) return null;
  if (action.isAnswered && found.ignored)
    return complete(app, action, { event: 'confirm', ...found.ignored });
  return fail(app, action, action.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
}

/** Ends a step in which RevenueCat has changed something: the customer is read again, and who received purchases. */
async function complete<A extends Action>(app: AppContext, action: A, change: StateChange): Promise<A> {
  const moved = await transition(app, action, change);
  if (!moved) return readAgain(app.database, action);
  const { workspaceId, projectId, kind, target } = moved;
  const receivers = kind === 'transfer' ? await findByAppUserIds(app.database, workspaceId, [target]) : [];
  for (const { subscriberId } of [moved, ...receivers.filter((each) => each.projectId === projectId)])
    await app.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  return moved;
}

/** A key that has replaced this one since keeps its own state. */
async function recordRefusedKey(app: AppContext, project: Project, { code }: AppError): Promise<void> {
  if (code === 'revenuecat_unauthorized') await recordKeyState(app, project, 'rejected');
}

/** @param code the reason, as in the audit log and on the card */
async function fail<A extends Action>(app: AppContext, action: A, code: string): Promise<A> {
  const { workspaceId, actionId } = action;
  app.logger.warn({ workspaceId, actionId, code }, 'action failed');
  const event = action.state === 'revoking' ? 'fail_revoke' : 'fail';
  const isLate = app.now() - lastStepAtMs(action) >= NOT_DONE_AFTER_MS;
  return (
    (await transition(app, action, { event: isLate ? `${event}_later` : event, error: code })) ??
    readAgain(app.database, action)
  );
}

/**
 * Calls RevenueCat to remove a grant in the state `revoking`, and reads the result back. A repeated removal changes
 * nothing, so the background may call again.
 *
 * @param grant its conversation is the one where it is revoked
 * @returns the grant as it is then; `confirmed` with an error: RevenueCat refused, and the grant stays
 */
export async function callAndConfirmRevoke(app: AppContext, project: Project, grant: Grant): Promise<Grant> {
  const client = app.revenueCat(project);
  if (!client) return fail(app, grant, 'revenuecat_unauthorized');
  const { revenueCatProjectId } = project;
  const sinceMs = app.now() - (grant.revokeCalledAtMs ?? app.now());
  try {
    const call = client.revokeEntitlement(revenueCatProjectId, grant.appUserId, grant.target);
    // 404 has three meanings (nothing granted, unknown customer, wrong path): reading back decides.
    await nullOn('revenuecat_not_found', call);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    await recordRefusedKey(app, project, error);
    const mayRetry = error.remedy.kind === 'retry' || error.remedy.kind === 'wait_until';
    return mayRetry && sinceMs <= GIVEN_UP_AFTER_MS ? grant : fail(app, grant, error.code);
  }
  try {
    if ((await readGrantEnd(client, revenueCatProjectId, grant)) === null)
      return complete(app, grant, { event: 'confirm_revoke' });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // It may be removed, whatever prevents reading it.
    return sinceMs <= GIVEN_UP_AFTER_MS ? grant : fail(app, grant, error.code);
  }
  return sinceMs > NOT_DONE_AFTER_MS ? fail(app, grant, 'revenuecat_ignored') : grant;
}

/** The job `action.confirm`: completes an unconfirmed action by reading RevenueCat, however long that takes. */
export async function confirmAction(app: AppContext, key: ActionKey): Promise<void> {
  const action = await readAction(app.database, key);
  if (!action) return;
  if (!UNCONFIRMED_STATES.includes(action.state)) {
    // A process that was killed after the change may not have scheduled its notes.
    await scheduleNotes(app, action);
    return;
  }
  const project = await readProject(app.database, key.workspaceId, action.projectId);
  if (!project) return;
  const client = app.revenueCat(project);
  // Without a key nothing can be read: it waits for a new one.
  const now = client ? await confirmInBackground(app, client, { action, project }) : action;
  if (UNCONFIRMED_STATES.includes(now.state)) await scheduleConfirm(app, now, secondsUntilNextRead(app, now));
}

async function confirmInBackground(
  app: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action> {
  if (action.kind === 'grant' && action.state === 'revoking')
    return callAndConfirmRevoke(app, project, action);
  // The link of a portal was lost with the process that created it.
  if (action.kind === 'manage') return fail(app, action, 'revenuecat_unavailable');
  // Certainly not called: the process was killed between storing and calling.
  if (action.calledAtMs === null) return (await callAndConfirm(app, project, action)).action;
  try {
    return (await confirmByReading(app, client, { action, project })) ?? action;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (app.now() - action.calledAtMs > GIVEN_UP_AFTER_MS) return fail(app, action, 'never_confirmed');
    const { workspaceId, actionId } = action;
    app.logger.warn({ code: error.code, workspaceId, actionId }, 'action not read back yet');
    return action;
  }
}

/** The longer it takes, the less often: from 3 s to 10 minutes. */
function secondsUntilNextRead(app: Pick<AppContext, 'now'>, action: Action): number {
  return Math.min(600, Math.max(3, Math.round((app.now() - lastStepAtMs(action)) / 4_000)));
}

export function lastStepAtMs(action: Action): number {
  const revokeCalledAtMs = action.kind === 'grant' ? action.revokeCalledAtMs : null;
  return revokeCalledAtMs ?? action.calledAtMs ?? action.createdAtMs;
}

/** A job that has not run for this long may be lost. */
const OVERDUE_MS = MINUTE_MS;

/**
 * Queues a lost job again, when an agent looks at what it should have completed.
 *
 * @returns whether a note could not be left
 */
export async function resumeOverdue(
  app: Pick<AppContext, 'database' | 'jobs' | 'now'>,
  action: Action,
): Promise<boolean> {
  const isOverdue = app.now() - lastStepAtMs(action) > OVERDUE_MS;
  if (UNCONFIRMED_STATES.includes(action.state)) {
    if (isOverdue) await scheduleConfirm(app, action, 0);
    return false;
  }
  const notes = await readNoteStates(app.database, action);
  if (isOverdue && notes.includes('queued')) await scheduleNotes(app, action);
  return notes.includes('failed');
}

/** Queues the jobs again that actions and notes of killed processes were waiting for. */
export async function resumeActions(app: Pick<AppContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(app.database)) {
    if (isNote) await scheduleNotes(app, key);
    else await scheduleConfirm(app, key, 0);
  }
}
