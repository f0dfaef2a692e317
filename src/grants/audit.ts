import type { Transaction } from '../database/sql.ts';
import { writeAudit } from '../workspaces/audit.ts';
import {
  type Action,
  type ActionKind,
  type ActionStep,
  type Grant,
  nameOf,
  type PurchaseState,
  type StoreAction,
  type Teammate,
} from './action.ts';
import type { ActionContext, ActionResult, ReviewResult } from './context.ts';
import type { Reviewed, ReviewedGrant } from './form-state.ts';

/** `grant`, `grant_approve`, `revoke`, `store_refund`, `store_refund_approve`. */
function auditName(kind: ActionKind, step: ActionStep): string {
  if (step === 'revoke') return 'revoke';
  const name = kind === 'grant' ? kind : `store_${kind}`;
  return step === 'do' ? name : `${name}_${step}`;
}

/** Records one step of an action. What it leads to is of whoever approved it, if someone had to. */
export async function auditAction(
  sql: Transaction,
  action: Action,
  step: {
    readonly step: ActionStep;
    readonly result: string;
    readonly conversationId: string | null;
    readonly more?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  const { kind, admin, decidedBy } = action;
  const isRevoke = step.step === 'revoke' && kind === 'grant';
  await writeAudit(sql, {
    workspaceId: action.workspaceId,
    actor: actorOf(action, step.step),
    action: auditName(kind, step.step === 'do' && decidedBy ? 'approve' : step.step),
    conversationId: step.conversationId,
    contactId: action.contactId,
    subscriberId: action.subscriberId,
    details: {
      action_id: action.actionId,
      app_user_id: action.appUserId,
      ...factsOf(action),
      reason: isRevoke ? action.revokeReason : action.reason,
      ...(decidedBy ? { requested_by: nameOf(admin), decided_by: nameOf(decidedBy) } : {}),
      ...step.more,
    },
    result: step.result,
  });
}

/** Who took a step, or let it be taken. */
export function actorOf(action: Action, step: ActionStep): Teammate {
  const { admin, decidedBy } = action;
  return (step === 'revoke' && action.kind === 'grant' ? action.revokedBy : decidedBy) ?? admin;
}

/**
 * Records why something was not done; a fault in the form is not recorded.
 *
 * @returns the result
 */
export async function auditRefusal<Result extends ReviewResult | ActionResult>(
  context: ActionContext,
  refused: {
    readonly kind: ActionKind;
    readonly step: ActionStep;
    readonly details: Readonly<Record<string, unknown>>;
  },
  result: Result,
): Promise<Result> {
  const { customer, request } = context;
  if (result.kind === 'refused' || result.kind === 'failed')
    await writeAudit(context.services.database, {
      workspaceId: context.workspace.workspaceId,
      actor: request.admin,
      action: auditName(refused.kind, refused.step),
      conversationId: request.conversationId,
      contactId: request.contact.id || null,
      subscriberId: customer.subscriber.subscriberId,
      details: { app_user_id: customer.appUserId, ...refused.details },
      result: `refused: ${result.code}`,
    });
  return result;
}

/** What the audit log says of an action, or of what was reviewed. */
export function factsOf(action: Action | Reviewed): Record<string, unknown> {
  return action.kind === 'grant' ? grantFacts(action) : storeFacts(action);
}

const iso = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());

function grantFacts(
  grant: Pick<ReviewedGrant, 'lookupKey' | 'duration' | 'previousEndMs' | 'requestedEndMs'> &
    Partial<Pick<Grant, 'actualEndMs' | 'isUnchanged'>>,
): Record<string, unknown> {
  return {
    entitlement: grant.lookupKey,
    duration: grant.duration,
    previous_end: iso(grant.previousEndMs),
    requested_end: iso(grant.requestedEndMs),
    actual_end: iso(grant.actualEndMs ?? null),
    ...(grant.isUnchanged ? { unchanged: true } : {}),
  };
}

function storeFacts({ target, details }: Pick<StoreAction, 'target' | 'details'>): Record<string, unknown> {
  const { amount, before, after, product, ...rest } = details;
  const of = (state: PurchaseState | null) =>
    state && { end: iso(state.endsAtMs), access: state.givesAccess, renews: state.willRenew };
  return {
    target,
    product,
    ...rest,
    ...(amount ? { amount_minor: amount.amountMinor, currency: amount.currency } : {}),
    before: of(before),
    after: of(after),
  };
}
