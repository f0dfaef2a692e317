import { AppError } from '../errors.ts';
import type { RevenueCatClient } from '../revenuecat/client.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { type Project, readProject, setApiKeyState } from '../workspaces/projects.ts';
import { type Action, type Grant, UNCONFIRMED_STATES } from './action.ts';
import { readGrantEnd } from './grant.ts';
import { handlerOf } from './handlers.ts';
import {
  type ActionKey,
  type Changes,
  claimForCall,
  listUnfinished,
  readAction,
  readAgain,
  recordResponse,
} from './repository.ts';
import { scheduleConfirm, scheduleNotes, transition } from './transitions.ts';

/** After this time RevenueCat no longer works on a request that it has not answered. */
const NOT_DONE_AFTER_MS = 2 * MINUTE_MS;
/** RevenueCat could not be read for this long: the action is given up. */
const GIVEN_UP_AFTER_MS = DAY_MS;
const READ_AGAIN_AFTER_SECONDS = 2;
/** What a background job can wait for. */
const BACKGROUND_TIMEOUT_MS = 20_000;

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
export async function callAndConfirm(
  context: AppContext,
  project: Project,
  action: Action,
): Promise<CallResult> {
  const client = context.revenueCat(project);
  const claimed = await claimForCall(context.database, action);
  if (!claimed) return { action: await readAgain(context.database, action) };
  if (!client) return { action: await failAction(context, claimed, 'revenuecat_unauthorized') };
  let url: string | undefined;
  try {
    const answer = await handlerOf(claimed).call(client, project.revenueCatProjectId, claimed);
    if (typeof answer === 'string') url = answer;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // A portal link that was not received is lost: another one can be created.
    if (error.remedy.kind === 'retry' && claimed.kind !== 'manage')
      return { action: await leaveUnconfirmed(context, claimed, error) };
    return { action: await failAction(context, claimed, error.code) };
  }
  await recordResponse(context.database, claimed);
  const answered = { ...claimed, isAnswered: true };
  const confirmed = await confirmByReading(context, client, { action: answered, project }).catch(
    (error: unknown) => {
      if (error instanceof AppError) return leaveUnconfirmed(context, answered, error);
      throw error;
    },
  );
  return { action: confirmed ?? (await leaveUnconfirmed(context, answered)), url };
}

async function leaveUnconfirmed(context: AppContext, action: Action, error?: AppError): Promise<Action> {
  const { workspaceId, actionId } = action;
  context.logger.warn({ workspaceId, actionId, code: error?.code }, 'action not confirmed yet');
  await scheduleConfirm(context, action, READ_AGAIN_AFTER_SECONDS);
  return action;
}

/** Reads what RevenueCat has and completes the action accordingly. `null`: not done, but it still may be. */
async function confirmByReading(
  context: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action | null> {
  const found = await handlerOf(action).readBack(client, project.revenueCatProjectId, action);
  if (found.kind === 'done') return confirm(context, action, found.changes);
  const sinceMs = context.now() - (action.calledAtMs ?? action.createdAtMs);
  if (found.kind === 'unknown')
    return sinceMs > GIVEN_UP_AFTER_MS ? failAction(context, action, 'never_confirmed') : null;
  if (sinceMs < NOT_DONE_AFTER_MS) return null;
  if (action.isAnswered && found.ignored) return confirm(context, action, found.ignored);
  return failAction(context, action, action.isAnswered ? 'revenuecat_ignored' : 'revenuecat_unavailable');
}

async function confirm(context: AppContext, action: Action, changes: Changes): Promise<Action> {
  const confirmed = await transition(context, action, { event: 'confirm', ...changes });
  return refreshed(context, action, confirmed);
}

/** After a change in RevenueCat the customer is read again. */
async function refreshed<A extends Action>(context: AppContext, before: A, moved: A | null): Promise<A> {
  if (!moved) return readAgain(context.database, before);
  const { workspaceId, subscriberId } = moved;
  await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId });
  return moved;
}

/** @param code the reason, as in the audit log and on the card */
async function failAction(context: AppContext, action: Action, code: string): Promise<Action> {
  await noticeRejectedKey(context, action, code);
  const isLate = action.calledAtMs !== null && context.now() - action.calledAtMs >= NOT_DONE_AFTER_MS;
  const failed = await transition(context, action, { event: isLate ? 'fail_later' : 'fail', error: code });
  return failed ?? readAgain(context.database, action);
}

async function noticeRejectedKey(context: AppContext, action: Action, code: string): Promise<void> {
  const { workspaceId, actionId } = action;
  context.logger.warn({ workspaceId, actionId, code }, 'action failed');
  if (code !== 'revenuecat_unauthorized') return;
  const isNew = await setApiKeyState(context.database, action, 'rejected');
  if (isNew) await context.jobs.send('workspace.health', { workspaceId });
}

/**
 * Calls RevenueCat to remove a grant in the state `revoking`, and reads the result back. A repeated removal changes
 * nothing, so the background may call again.
 *
 * @param grant its conversation is the one where it is revoked
 * @returns the grant as it is then; `confirmed` with an error: RevenueCat refused, and the grant stays
 */
export async function callAndConfirmRevoke(
  context: AppContext,
  project: Project,
  grant: Grant,
): Promise<Grant> {
  const client = context.revenueCat(project);
  if (!client) return failRevoke(context, grant, 'revenuecat_unauthorized');
  const sinceMs = context.now() - (grant.revokeCalledAtMs ?? context.now());
  try {
    try {
      await client.revokeEntitlement(project.revenueCatProjectId, grant.appUserId, grant.target);
    } catch (error) {
      // 404 has three meanings (nothing granted, unknown customer, wrong path): reading back decides.
      if (!(error instanceof AppError) || error.code !== 'revenuecat_not_found') throw error;
    }
    if ((await readGrantEnd(client, project.revenueCatProjectId, grant)) === null)
      return confirmRevoke(context, grant);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const mayRetry = error.remedy.kind === 'retry' || error.remedy.kind === 'wait_until';
    return mayRetry && sinceMs <= GIVEN_UP_AFTER_MS ? grant : failRevoke(context, grant, error.code);
  }
  return sinceMs > NOT_DONE_AFTER_MS ? failRevoke(context, grant, 'revenuecat_ignored') : grant;
}

async function confirmRevoke(context: AppContext, grant: Grant): Promise<Grant> {
  const revoked = await transition(context, grant, { event: 'confirm_revoke' });
  return refreshed(context, grant, revoked);
}

async function failRevoke(context: AppContext, grant: Grant, code: string): Promise<Grant> {
  await noticeRejectedKey(context, grant, code);
  await transition(context, grant, { event: 'fail_revoke', error: code });
  return readAgain(context.database, grant);
}

/** The same context with RevenueCat's clients for background jobs. */
export function inBackground(context: AppContext): AppContext {
  return {
    ...context,
    revenueCat: (project) => context.revenueCat(project, { timeoutMs: BACKGROUND_TIMEOUT_MS }),
  };
}

/** The job `action.confirm`: completes an unconfirmed action by reading RevenueCat, however long that takes. */
export async function confirmAction(context: AppContext, key: ActionKey): Promise<void> {
  const action = await readAction(context.database, key);
  if (!action) return;
  if (!UNCONFIRMED_STATES.includes(action.state)) {
    // A process that was killed after the change may not have scheduled its notes.
    await scheduleNotes(context, action);
    return;
  }
  const background = inBackground(context);
  const project = await readProject(context.database, key.workspaceId, action.projectId);
  if (!project) return;
  const client = background.revenueCat(project);
  // Without a key nothing can be read: it waits for a new one.
  const now = client ? await confirmInBackground(background, client, { action, project }) : action;
  if (UNCONFIRMED_STATES.includes(now.state))
    await scheduleConfirm(context, now, secondsUntilNextRead(context, now));
}

async function confirmInBackground(
  context: AppContext,
  client: RevenueCatClient,
  { action, project }: { readonly action: Action; readonly project: Project },
): Promise<Action> {
  if (action.kind === 'grant' && action.state === 'revoking')
    return callAndConfirmRevoke(context, project, action);
  // The link of a portal was lost with the process that created it.
  if (action.kind === 'manage') return failAction(context, action, 'revenuecat_unavailable');
  // Certainly not called: the process was killed between storing and calling.
  if (action.calledAtMs === null) return (await callAndConfirm(context, project, action)).action;
  try {
    return (await confirmByReading(context, client, { action, project })) ?? action;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (context.now() - action.calledAtMs > GIVEN_UP_AFTER_MS)
      return failAction(context, action, 'never_confirmed');
    const { workspaceId, actionId } = action;
    context.logger.warn({ code: error.code, workspaceId, actionId }, 'action not read back yet');
    return action;
  }
}

/** The longer it takes, the less often: from 3 s to 10 minutes. */
function secondsUntilNextRead(context: Pick<AppContext, 'now'>, action: Action): number {
  return Math.min(600, Math.max(3, Math.round((context.now() - lastStepAtMs(action)) / 4_000)));
}

export function lastStepAtMs(action: Action): number {
  const revokeCalledAtMs = action.kind === 'grant' ? action.revokeCalledAtMs : null;
  return revokeCalledAtMs ?? action.calledAtMs ?? action.createdAtMs;
}

/** Queues the jobs again that actions and notes of killed processes were waiting for. */
export async function resumeActions(context: Pick<AppContext, 'database' | 'jobs'>): Promise<void> {
  for (const { isNote, ...key } of await listUnfinished(context.database)) {
    if (isNote) await scheduleNotes(context, key);
    else await scheduleConfirm(context, key, 0);
  }
}
