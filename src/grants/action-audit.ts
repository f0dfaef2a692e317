import { writeAudit } from '../workspaces/audit.ts';
import type { Action, ActionKind, AuditStep, PurchaseState } from './action.ts';
import { ActionError } from './action-error.ts';
import type { ActionContext } from './context.ts';
import type { Reviewed } from './form-state.ts';

/** Such as `grant`, `grant_approve`, `revoke`, `store_refund` or `store_refund_approve`. */
export function auditName(kind: ActionKind, step: AuditStep): string {
  if (step === 'revoke') return 'revoke';
  const name = kind === 'grant' ? kind : `store_${kind}`;
  return step === 'do' ? name : `${name}_${step}`;
}

/** Writes an audit record when work is refused or fails; a mistake in the form or an outdated review leaves none. */
export async function auditRefusal<T>(
  context: ActionContext,
  attempt: {
    readonly kind: ActionKind;
    readonly step: AuditStep;
    readonly details: Readonly<Record<string, unknown>>;
  },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ActionError && (error.kind === 'refused' || error.kind === 'failed')) {
      const { customer, request } = context;
      await writeAudit(context.app.database, {
        workspaceId: context.workspace.workspaceId,
        actor: request.admin,
        action: auditName(attempt.kind, attempt.step),
        conversationId: request.conversationId,
        contactId: request.contact.id || null,
        subscriberId: customer.subscriberId,
        details: { app_user_id: customer.appUserId, ...attempt.details },
        result: `refused: ${error.code}`,
      });
    }
    throw error;
  }
}

/** The facts that the audit log records about an action, or about what was reviewed. */
export function factsOf(action: Action | Reviewed): Record<string, unknown> {
  if (action.kind === 'grant')
    return {
      entitlement: action.lookupKey,
      duration: action.duration,
      previous_end: iso(action.previousEndMs),
      requested_end: iso(action.requestedEndMs),
      actual_end: iso('actualEndMs' in action ? action.actualEndMs : null),
      ...('isUnchanged' in action && action.isUnchanged ? { unchanged: true } : {}),
    };
  const { amount, before, after, product, targetType, ...rest } = action.details;
  return {
    target: action.target,
    product,
    of: targetType,
    ...rest,
    ...(amount ? { amount_minor: amount.amountMinor, currency: amount.currency } : {}),
    before: before && purchaseFacts(before),
    after: after && purchaseFacts(after),
  };
}

function purchaseFacts({ endsAtMs, givesAccess, willRenew }: PurchaseState): Record<string, unknown> {
  return { end: iso(endsAtMs), access: givesAccess, renews: willRenew };
}

function iso(atMs: number | null): string | null {
  return atMs === null ? null : new Date(atMs).toISOString();
}
