import { AppError } from '../errors.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../time.ts';
import {
  clearRefusal,
  isRefusal,
  type RefusedWork,
  recordRefusal,
  retryRefused,
} from '../workspaces/refusals.ts';
import { markDisconnected } from '../workspaces/repository.ts';
import { failuresOf, pauseWorkspace } from './claims.ts';
import type { Delivery } from './context.ts';

/** After this long of trying an event is failed: stored, visible, replayable. */
export const RETRY_FOR_MS = 3 * DAY_MS;

/** Most failures pass within a second; the delay grows quickly for an outage. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = HOUR_MS;

/** What to do after a failed call. */
export type Decision =
  /** The contact was merged into this one. */
  | { readonly kind: 'follow'; readonly contactId: string }
  | { readonly kind: 'contact_missing' }
  /** The workspace is rate-limited; uses up no retry. */
  | { readonly kind: 'pause_workspace'; readonly untilMs: number }
  /** Intercom refuses the token; uses up no retry. */
  | { readonly kind: 'disconnect' }
  | { readonly kind: 'retry'; readonly atMs: number }
  | { readonly kind: 'fail' };

/**
 * Decides what to do after a failed call. Retries use exponential backoff with jitter in its upper half:
 * 0.5 s, 1 s, 2 s … one hour, for three days; a missing plan or permission is waited for without end.
 *
 * @param attempt.attempts failed attempts so far, this one included
 * @param attempt.random uniform in [0, 1)
 */
export function decide(
  error: Pick<AppError, 'code' | 'remedy'>,
  attempt: { attempts: number; firstTriedAtMs: number; nowMs: number; random: number },
): Decision {
  const { remedy } = error;
  switch (remedy.kind) {
    case 'follow_contact':
      return { kind: 'follow', contactId: remedy.contactId };
    case 'wait_for_contact':
      return { kind: 'contact_missing' };
    case 'wait_until':
      return { kind: 'pause_workspace', untilMs: remedy.atMs };
    case 'reauthorize':
      return { kind: 'disconnect' };
    case 'give_up':
      return isRefusal(error.code) ? { kind: 'retry', atMs: nextTry(attempt) } : { kind: 'fail' };
    case 'retry':
      return retryOrFail(attempt);
  }
}

function retryOrFail(attempt: Parameters<typeof decide>[1]): Decision {
  const atMs = nextTry(attempt);
  return atMs - attempt.firstTriedAtMs > RETRY_FOR_MS ? { kind: 'fail' } : { kind: 'retry', atMs };
}

function nextTry({ attempts, nowMs, random }: Parameters<typeof decide>[1]): number {
  const ceiling = Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 20), MAX_DELAY_MS);
  return Math.round(nowMs + ceiling / 2 + (ceiling / 2) * random);
}

const LOOKUP_DELAYS_MS = [10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 2 * DAY_MS, 4 * DAY_MS, 7 * DAY_MS];

/**
 * When to look up the contact of a subscriber again: ever more rarely, down to once a week.
 * Intercom's webhooks, saved links and opened cards wake it sooner; this covers a webhook that was lost.
 *
 * @param lookups lookups so far that found no contact
 */
export function nextContactLookup(lookups: number, nowMs: number): number {
  return nowMs + (LOOKUP_DELAYS_MS[lookups - 1] ?? 7 * DAY_MS);
}

/** Why a delivery stops early. */
export type Interruption =
  | { readonly kind: 'contact_missing' }
  | { readonly kind: 'follow'; readonly contactId: string }
  | { readonly kind: 'later'; readonly atMs: number; readonly counts: 0 | 1; readonly reason: string };

/** Applies a failure that concerns more than one event to the whole subscriber, or to its workspace. */
export async function backOff(delivery: Delivery, error: unknown): Promise<Interruption & { kind: 'later' }> {
  if (!(error instanceof AppError)) throw error;
  const { context, claim, workspace } = delivery;
  const { workspaceId } = claim;
  const nowMs = context.now();
  const later = { kind: 'later', atMs: nowMs, counts: 0, reason: error.code } as const;
  context.metrics.attempt('retried', error.code);
  const decision = decide(error, {
    attempts: failuresOf(claim) + 1,
    firstTriedAtMs: claim.failingSince?.getTime() ?? nowMs,
    nowMs,
    random: context.random(),
  });
  switch (decision.kind) {
    case 'pause_workspace':
      await pauseWorkspace(context.database, workspaceId, decision.untilMs);
      context.pause(workspaceId, decision.untilMs);
      return later;
    case 'disconnect':
      if (await markDisconnected(context.database, workspace, error.code)) {
        context.logger.error(
          { workspaceId, code: error.code },
          'Intercom refuses the token: deliveries wait. Reinstall the app in Intercom.',
        );
        await context.jobs.send('workspace.health', { workspaceId });
      }
      return later;
    default:
      await recordIfRefused(delivery, 'contacts', error);
      // What a retry cannot fix is tried again once a day.
      return { ...later, atMs: decision.kind === 'retry' ? decision.atMs : nowMs + DAY_MS, counts: 1 };
  }
}

/** Whether Intercom accepts no events of the workspace for now; attributes can still be written. */
export function isRefused(end: Interruption): end is Interruption & { kind: 'later' } {
  return end.kind === 'later' && isRefusal(end.reason);
}

/** Stores that the workspace lacks a permission or a plan, for the health check and the settings. */
export async function recordIfRefused(delivery: Delivery, work: RefusedWork, error: AppError): Promise<void> {
  const { code, message } = error;
  if (!isRefusal(code) || delivery.workspace.refusals[work]?.code === code) return;
  const { context, claim } = delivery;
  if (!(await recordRefusal(context.database, claim.workspaceId, { work, code, message }))) return;
  context.logger.error({ workspaceId: claim.workspaceId, work, code }, 'Intercom refuses: deliveries wait');
  await context.jobs.send('workspace.health', { workspaceId: claim.workspaceId });
}

/** Costs nothing where nothing was refused: the workspace is known as it was when the subscriber was claimed. */
export async function recordAccepted(delivery: Delivery, work: RefusedWork): Promise<void> {
  if (!delivery.workspace.refusals[work]) return;
  const { context, claim } = delivery;
  if (!(await clearRefusal(context.database, claim.workspaceId, work))) return;
  await retryRefused(context.database, claim.workspaceId);
  await context.jobs.send('workspace.health', { workspaceId: claim.workspaceId });
}
