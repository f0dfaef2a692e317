import type { AppError, ErrorCode } from '../errors.ts';
import {
  clearRefusal,
  type Refusal,
  type RefusedWork,
  recordRefusal,
  retryRefused,
} from '../workspaces/store.ts';
import type { Round } from './attempt.ts';

function isRefusal(code: ErrorCode): code is Refusal['code'] {
  return code === 'intercom_scope_missing' || code === 'intercom_plan_restricted';
}

/** Keeps that the workspace lacks a permission or a plan, for the health check and the settings. */
export async function noteIfRefused(round: Round, work: RefusedWork, error: AppError): Promise<void> {
  const { code, message } = error;
  if (!isRefusal(code) || round.workspace.refusals[work]?.code === code) return;
  const { context, claim } = round;
  if (!(await recordRefusal(context.database, claim.workspaceId, work, { code, message }))) return;
  context.logger.error({ workspaceId: claim.workspaceId, work, code }, 'Intercom refuses: deliveries wait');
  await context.onHealthChanged(claim.workspaceId);
}

/** Costs nothing where nothing was refused: the round knows the workspace as it was when it was claimed. */
export async function noteAccepted(round: Round, work: RefusedWork): Promise<void> {
  if (!round.workspace.refusals[work]) return;
  const { context, claim } = round;
  if (!(await clearRefusal(context.database, claim.workspaceId, work))) return;
  await retryRefused(context.database, claim.workspaceId);
  await context.onHealthChanged(claim.workspaceId);
}
