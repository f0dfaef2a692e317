import { randomUUID } from 'node:crypto';
import { type Ends, readCurrentAccess, readEntitlements, readOrStoredAccess } from './access.ts';
import { declineOrWithdraw } from './approval.ts';
import {
  auditAction,
  CONFIRM_AFTER_SECONDS,
  callAndConfirm,
  callAndConfirmRevoke,
  scheduleConfirm,
} from './confirmation.ts';
import type { AgentRequest } from './context.ts';
import { isDashboardGrant } from './dashboard-grants.ts';
import { isSameEnd } from './durations.ts';
import type { Entitlement } from './lookups.ts';
import { checkPolicy, checkTeammate, type Refusal } from './policy.ts';
import { adoptGrant, lockAndFindUnconfirmed, readAction, transition } from './repository.ts';
import { auditRefusal, endOf, grantedDays } from './service.ts';
import { type Grant, grantEndMs, nameOf } from './types.ts';

export type DecideResult =
  | { readonly kind: 'done'; readonly grant: Grant }
  /** Decided before, by this teammate or another. */
  | { readonly kind: 'known'; readonly grant: Grant }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'failed'; readonly code: string };

/** What the second teammate was shown. */
export interface SeenApproval {
  readonly endMs: number;
  readonly grantEndMs: number | null;
}

export function entitlementOf(grant: Grant): Entitlement {
  return { id: grant.entitlementId, lookupKey: grant.lookupKey, displayName: grant.entitlementName };
}

export function isRunning(grant: Grant, nowMs: number): boolean {
  return grant.state === 'confirmed' && grantEndMs(grant) > nowMs;
}

/** A duration counts from the approval: a month requested on Monday and approved on Friday is a month. */
function endAtApproval(nowMs: number, grant: Grant, ends: Ends): number {
  const { duration, start, requestedEndMs } = grant;
  return duration === 'custom' ? requestedEndMs : endOf(nowMs, { duration, start }, ends);
}

/** What the approval of a grant would give now, and what the customer has. */
export async function reviewApproval(request: AgentRequest, grant: Grant) {
  const access = await readOrStoredAccess(request, await readEntitlements(request));
  const ends = access.endsOf(entitlementOf(grant));
  return {
    access,
    seen: { endMs: endAtApproval(request.context.now(), grant, ends), grantEndMs: ends.grantEndMs },
  };
}

/** Makes a grant that waits for approval, as it was shown. Of several who approve at the same time one makes it. */
export async function approveGrant(
  request: AgentRequest,
  grant: Grant,
  seen: SeenApproval,
): Promise<DecideResult> {
  const { context, customer, admin, conversationId } = request;
  if (grant.state !== 'awaiting_approval') return { kind: 'known', grant };
  const refused = async (why: string): Promise<void> =>
    auditRefusal(request, 'grant_approve', why, aboutRequest(grant));
  const nowMs = context.now();
  const access = await readCurrentAccess(request, await readEntitlements(request));
  const ends = access.kind === 'read' ? access.access.endsOf(entitlementOf(grant)) : null;
  const refusal = checkApproval(request, grant, { ...seen, boughtEndMs: ends?.boughtEndMs ?? null });
  if (refusal) {
    await refused(refusal.code);
    return { kind: 'refused', refusal };
  }
  if (access.kind === 'failed') {
    await refused(access.code);
    return { kind: 'failed', code: access.code };
  }
  if (!isSameEnd(ends?.grantEndMs ?? null, seen.grantEndMs)) return { kind: 'failed', code: 'changed' };
  if (seen.endMs <= nowMs) {
    await refused('end_past');
    return { kind: 'failed', code: 'end_past' };
  }
  await scheduleConfirm(context, grant, CONFIRM_AFTER_SECONDS);
  const moved = await context.database.transaction(async (sql) => {
    if (await lockAndFindUnconfirmed(sql, { ...grant, target: grant.entitlementId })) return 'unconfirmed';
    const requested = await transition(sql, grant, {
      event: 'approve',
      decidedBy: admin,
      ends: { requestedEndMs: seen.endMs, previousEndMs: seen.grantEndMs },
    });
    const step = { step: 'approve', result: 'approved', actor: admin, conversationId } as const;
    if (requested) await auditAction(sql, requested, step);
    return requested;
  });
  if (moved === 'unconfirmed') return { kind: 'refused', refusal: { code: 'unconfirmed' } };
  if (!moved) return known(request, grant);
  return { kind: 'done', grant: await callAndConfirm(context, customer.project, moved) };
}

function checkApproval(
  { workspace, admin, context }: AgentRequest,
  grant: Grant,
  seen: SeenApproval & { readonly boughtEndMs: number | null },
): Refusal | null {
  if (grant.admin.id === admin.id) return { code: 'same_person' };
  const policy = workspace.settings.grants;
  const days = grantedDays(context.now(), { ...grant, ...seen });
  const requested = { adminId: grant.admin.id, days, reason: grant.reason };
  return checkTeammate(policy, admin.id) ?? checkPolicy(policy, requested);
}

function aboutRequest(grant: Grant): Readonly<Record<string, unknown>> {
  const { actionId, lookupKey, duration, reason, admin } = grant;
  return { action_id: actionId, entitlement: lookupKey, duration, reason, requested_by: nameOf(admin) };
}

async function known({ context }: AgentRequest, grant: Grant): Promise<DecideResult> {
  const now = await readAction(context.database, grant);
  return { kind: 'known', grant: now?.kind === 'grant' ? now : grant };
}

/** Declines what another teammate requested, or withdraws one's own request. */
export async function declineGrant(request: AgentRequest, grant: Grant): Promise<DecideResult> {
  const { admin } = request;
  const isOwn = grant.admin.id === admin.id;
  const refusal = isOwn ? null : checkTeammate(request.workspace.settings.grants, admin.id);
  if (refusal) {
    await auditRefusal(request, 'grant_approve', refusal.code, aboutRequest(grant));
    return { kind: 'refused', refusal };
  }
  const moved = await declineOrWithdraw(request, grant);
  if (!moved) return known(request, grant);
  return { kind: 'done', grant: moved };
}

/**
 * Removes everything granted of an entitlement; store subscriptions stay. A second press finds the removal begun.
 */
export async function revokeGrant(
  request: AgentRequest,
  shown: Grant,
  reason: string,
): Promise<DecideResult> {
  const { context, customer, admin, conversationId, workspace } = request;
  const about = { action_id: shown.actionId, entitlement: shown.lookupKey };
  const refusal = checkTeammate(workspace.settings.grants, admin.id);
  if (refusal) {
    await auditRefusal(request, 'revoke', refusal.code, about);
    return { kind: 'refused', refusal };
  }
  if (!isRunning(shown, context.now())) return { kind: 'known', grant: shown };
  const grant = isDashboardGrant(shown.actionId)
    ? await context.database.transaction((sql) => adoptGrant(sql, shown, randomUUID()))
    : shown;
  await scheduleConfirm(context, grant, CONFIRM_AFTER_SECONDS);
  const moved = await context.database.transaction(async (sql) =>
    (await lockAndFindUnconfirmed(sql, { ...grant, target: grant.entitlementId }))
      ? 'unconfirmed'
      : transition(sql, grant, { event: 'revoke', revokedBy: admin, revokeReason: reason }),
  );
  if (moved === 'unconfirmed') {
    await auditRefusal(request, 'revoke', 'unconfirmed', about);
    return { kind: 'refused', refusal: { code: 'unconfirmed' } };
  }
  if (!moved) return known(request, grant);
  const outcome = await callAndConfirmRevoke(context, customer.project, { grant: moved, conversationId });
  if (outcome.failedWith !== null) return { kind: 'failed', code: outcome.failedWith };
  if (outcome.grant.state === 'revoking') await scheduleConfirm(context, moved, 2);
  return { kind: 'done', grant: outcome.grant };
}
