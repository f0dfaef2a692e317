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
import { type ActionContext, Obstacle, type Reviewed, type ReviewedGrant } from './context.ts';

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

/** Records why something is not done, if that is not a fault in the form or an outdated review. */
export async function auditRefusal<T>(
  context: ActionContext,
  refused: {
    readonly kind: ActionKind;
    readonly step: ActionStep;
    readonly details: Readonly<Record<string, unknown>>;
  },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Obstacle && (error.kind === 'refused' || error.kind === 'failed')) {
      const { customer, request } = context;
      await writeAudit(context.services.database, {
        workspaceId: context.workspace.workspaceId,
        actor: request.admin,
        action: auditName(refused.kind, refused.step),
        conversationId: request.conversationId,
        contactId: request.contact.id || null,
        subscriberId: customer.subscriber.subscriberId,
        details: { app_user_id: customer.appUserId, ...refused.details },
        result: `refused: ${error.reason.code}`,
      });
    }
    throw error;
  }
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
