import type { AppError, Remedy } from '../errors.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../time.ts';
import {
  clearRefusal,
  isRefusal,
  type RefusedWork,
  recordRefusal,
  retryRefused,
} from '../workspaces/refusals.ts';
import { markDisconnected } from '../workspaces/repository.ts';
import type { DeliveryRun } from './context.ts';
import { pauseWorkspace } from './due-workspaces.ts';

/** An event that still fails after this long is given up as failed: it stays visible and can be replayed. */
export const RETRY_FOR_MS = 3 * DAY_MS;

/** Most failures pass within a second; the delay grows quickly for an outage. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = HOUR_MS;

/**
 * When to try a failed call again; `null`: a retry cannot help. Retries use exponential backoff with jitter in its
 * upper half: 0.5 s, 1 s, 2 s … one hour. They end after three days, but not while a permission or a plan is missing.
 *
 * @param attempt.failures failed attempts so far, this one included
 * @param attempt.random uniform in [0, 1)
 */
export function retryAt(
  { code, remedy }: Pick<AppError, 'code' | 'remedy'>,
  attempt: { failures: number; firstTriedAtMs: number; nowMs: number; random: number },
): number | null {
  if (remedy.kind !== 'retry' && !isRefusal(code)) return null;
  const { failures, firstTriedAtMs, nowMs, random } = attempt;
  const ceiling = Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS);
  const atMs = Math.round(nowMs + ceiling / 2 + (ceiling / 2) * random);
  return isRefusal(code) || atMs - firstTriedAtMs <= RETRY_FOR_MS ? atMs : null;
}

const LOOKUP_DELAYS_MS = [10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 2 * DAY_MS, 4 * DAY_MS, 7 * DAY_MS];

/**
 * When to look up a subscriber's contact again, at growing intervals of up to a week.
 * Intercom's webhooks, saved links and opened cards wake the subscriber sooner; this covers a webhook that was lost.
 *
 * @param lookups lookups so far that found no contact
 */
export function nextContactLookup(lookups: number, nowMs: number): number {
  return nowMs + (LOOKUP_DELAYS_MS[lookups - 1] ?? 7 * DAY_MS);
}

/** The whole subscriber is delivered again at this time. `tries`: 1 if that uses up a retry, else 0. */
export interface Later {
  readonly kind: 'later';
  readonly atMs: number;
  readonly tries: 0 | 1;
  readonly reason: string;
}

/** Why a run stops early: it must wait, or the contact was merged or is unknown to Intercom. */
export type Interruption = Later | Extract<Remedy, { kind: 'follow_contact' | 'wait_for_contact' }>;

/** Applies a failure that concerns more than one event to the whole subscriber, or to its workspace. */
export async function backOff(run: DeliveryRun, error: AppError): Promise<Later> {
  const { context, claim, workspace } = run;
  const { workspaceId } = claim;
  const { code, remedy } = error;
  const nowMs = context.now();
  context.metrics.attempt('retried', code);
  if (remedy.kind === 'wait_until') {
    await pauseWorkspace(context.database, workspaceId, remedy.atMs - nowMs);
    context.pause(workspaceId, remedy.atMs);
    return { kind: 'later', atMs: nowMs, tries: 0, reason: code };
  }
  if (remedy.kind === 'reauthorize') {
    if (await markDisconnected(context.database, workspace, code)) {
      const advice = 'Intercom refuses the token: deliveries wait. Reinstall the app in Intercom.';
      context.logger.error({ workspaceId, code }, advice);
      await context.jobs.send('workspace.health', { workspaceId });
    }
    return { kind: 'later', atMs: nowMs, tries: 0, reason: code };
  }
  await recordIfRefused(run, 'contacts', error);
  const atMs = retryAt(error, {
    failures: claim.failures + 1,
    firstTriedAtMs: claim.failingSince?.getTime() ?? nowMs,
    nowMs,
    random: context.random(),
  });
  // An error that retries cannot fix, or did not fix within three days, is retried once a day.
  return { kind: 'later', atMs: atMs ?? nowMs + DAY_MS, tries: 1, reason: code };
}

/** Stores that the workspace lacks a permission or a plan, for the health check and the settings. */
export async function recordIfRefused(run: DeliveryRun, work: RefusedWork, error: AppError): Promise<void> {
  const { code, message } = error;
  if (!isRefusal(code)) return;
  const { context, claim } = run;
  if (!(await recordRefusal(context.database, claim.workspaceId, { work, code, message }))) return;
  context.logger.error({ workspaceId: claim.workspaceId, work, code }, 'Intercom refuses: deliveries wait');
  await context.jobs.send('workspace.health', { workspaceId: claim.workspaceId });
}

/** Ends a recorded refusal after a success. With none recorded when the subscriber was claimed, it costs nothing. */
export async function recordAccepted(run: DeliveryRun, work: RefusedWork): Promise<void> {
  if (!run.workspace.refusals[work]) return;
  const { context, claim } = run;
  if (!(await clearRefusal(context.database, claim.workspaceId, work))) return;
  await retryRefused(context.database, claim.workspaceId);
  await context.jobs.send('workspace.health', { workspaceId: claim.workspaceId });
}
