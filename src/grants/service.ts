import { randomUUID } from 'node:crypto';
import { MINUTE_MS } from '../time.ts';
import { writeAudit } from '../workspaces/audit.ts';
import {
  type CurrentAccess,
  type Ends,
  entitlementName,
  findNoEffect,
  readCurrentAccess,
  readEntitlements,
  storedAccess,
  usableIds,
} from './access.ts';
import { recordApprovalRequest } from './approval.ts';
import { CONFIRM_AFTER_SECONDS, callAndConfirm, scheduleConfirm, scheduleNotes } from './confirmation.ts';
import type { AgentRequest } from './context.ts';
import { findDashboardGrant, isDashboardGrant } from './dashboard-grants.ts';
import {
  type Duration,
  endOfDuration,
  isDuration,
  isSameEnd,
  LIFETIME_END_MS,
  parseEndDate,
} from './durations.ts';
import type { Entitlement } from './lookups.ts';
import { checkMonth, checkPolicy, checkTeammate, lengthOf, needsApproval, type Refusal } from './policy.ts';
import { countThisMonth, findByKey, readAction, storeAction } from './repository.ts';
import type { Grant, GrantStart } from './types.ts';
import type { ReviewedGrant } from './views/form-state.ts';

/** A review older than this is shown again before it is confirmed. */
const REVIEW_VALID_MS = 30 * MINUTE_MS;

/** What the agent has filled in so far. */
export interface GrantForm {
  readonly entitlement?: string | undefined;
  readonly duration?: string | undefined;
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly reason?: string | undefined;
}

/** What prevents every grant to this customer by this teammate. */
export type Blocker = { readonly code: 'no_key' | 'key_rejected' | 'no_customer_id' } | Refusal;

export type FormProblem =
  | 'noEntitlements'
  | 'chooseEntitlement'
  | 'chooseDuration'
  | 'endInvalid'
  | 'endPast'
  | 'endTooFar';

/** What a review shows: the customer's current access, and the grant as it would be made. */
export interface Review {
  readonly entitlements: readonly Entitlement[];
  readonly access: CurrentAccess;
  readonly reviewed: ReviewedGrant;
}

export type ReviewResult =
  | { readonly kind: 'blocked'; readonly blocker: Blocker }
  | { readonly kind: 'invalid'; readonly problem: FormProblem }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** RevenueCat refuses this key, or does not know the customer. */
  | { readonly kind: 'failed'; readonly code: string }
  | ({ readonly kind: 'ready' } & Review);

export type ConfirmResult =
  /** A second confirm gets the first one's grant. */
  | { readonly kind: 'done'; readonly grant: Grant; readonly isKnown: boolean }
  /** Something has changed, or time has passed, since the review: it must be confirmed again. */
  | ({ readonly kind: 'review_again'; readonly reason: 'changed' | 'stale' } & Review)
  /** Nothing was called: the same button may be pressed again. */
  | ({ readonly kind: 'unavailable'; readonly code: string } & Review)
  | Exclude<ReviewResult, { kind: 'ready' }>;

/** Records that something was refused, and why. */
export async function auditRefusal(
  request: AgentRequest,
  action: 'grant' | 'grant_approve' | 'revoke',
  why: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { customer } = request;
  await writeAudit(request.context.database, {
    workspaceId: request.workspace.workspaceId,
    actor: request.admin,
    action,
    conversationId: request.conversationId,
    contactId: request.contactId,
    subscriberId: customer.subscriber.subscriberId,
    details: { app_user_id: customer.appUserId, ...details },
    result: `refused: ${why}`,
  });
}

/** `null`: the teammate may grant something to the customer. */
export async function findBlocker(request: AgentRequest): Promise<Blocker | null> {
  const { context, workspace, customer, admin } = request;
  if (customer.project.apiKey === null) return { code: 'no_key' };
  if (customer.project.apiKeyState === 'rejected') return { code: 'key_rejected' };
  if (usableIds(customer).length === 0) return { code: 'no_customer_id' };
  const policy = workspace.settings.grants;
  const limit = policy.monthlyPerAdmin;
  const made =
    limit === null
      ? 0
      : await countThisMonth(context.database, {
          workspaceId: workspace.workspaceId,
          adminId: admin.id,
          kind: 'grant',
        });
  return checkTeammate(policy, admin.id) ?? checkMonth(limit, made);
}

/** By id; a single entitlement also by key or name, since a field that cannot be changed holds its name. */
export function findEntitlement(entitlements: readonly Entitlement[], value = ''): Entitlement | null {
  const [first] = entitlements;
  const only = entitlements.length === 1 && first ? first : null;
  if (value === '') return only;
  const known = entitlements.find((each) => each.id === value || each.lookupKey === value);
  return known ?? (only?.displayName === value ? only : null);
}

/** The end of a chosen duration. */
export function endOf(
  nowMs: number,
  chosen: { readonly duration: Duration; readonly start: GrantStart },
  ends: Pick<Ends, 'grantEndMs' | 'boughtEndMs'>,
): number {
  return endOfDuration(chosen.duration, chosen.start === 'after' ? addedToMs(nowMs, ends) : nowMs);
}

/** The end of what the customer has; now, when nothing runs or it never ends. */
export function addedToMs(nowMs: number, ends: Pick<Ends, 'grantEndMs' | 'boughtEndMs'>): number {
  const endMs = Math.max(ends.grantEndMs ?? 0, ends.boughtEndMs ?? 0);
  return endMs > nowMs && endMs < LIFETIME_END_MS ? endMs : nowMs;
}

/** Days that count for the policy: what the customer paid for is not granted. */
export function grantedDays(
  nowMs: number,
  grant: Pick<ReviewedGrant, 'duration' | 'start' | 'endMs' | 'boughtEndMs' | 'grantEndMs'>,
): number | null {
  const { endMs, boughtEndMs } = grant;
  const isAdded = grant.start === 'after' && addedToMs(nowMs, grant) > nowMs;
  return lengthOf({
    duration: isDuration(grant.duration) ? grant.duration : 'custom',
    isAdded,
    endMs,
    countsFromMs: isAdded ? Math.max(nowMs, boughtEndMs ?? 0) : nowMs,
  });
}

/** Checks the form and computes exactly what the grant would do. Nothing is granted. */
export async function reviewGrant(request: AgentRequest, form: GrantForm): Promise<ReviewResult> {
  const { context, workspace, customer } = request;
  const typed = {
    entitlement: form.entitlement ?? null,
    duration: form.end ? `until ${form.end}` : (form.duration ?? null),
    reason: form.reason ?? '',
  };
  const blocker = await findBlocker(request);
  if (blocker) {
    await auditRefusal(request, 'grant', blocker.code, typed);
    return { kind: 'blocked', blocker };
  }
  const entitlements = await readEntitlements(request);
  const entitlement = findEntitlement(entitlements, form.entitlement);
  const problem = findProblem(form, entitlements, workspace.timezone);
  if (problem || !entitlement) return { kind: 'invalid', problem: problem ?? 'chooseEntitlement' };
  const read = await readCurrentAccess(request, entitlements);
  const mayUseStored =
    read.kind === 'failed' && ['revenuecat_unavailable', 'revenuecat_rate_limited'].includes(read.code);
  if (read.kind === 'failed' && !mayUseStored) {
    await auditRefusal(request, 'grant', read.code, typed);
    return { kind: 'failed', code: read.code };
  }
  const access = read.kind === 'read' ? read.access : storedAccess(customer);
  const { grantEndMs, boughtEndMs } = access.endsOf(entitlement);
  const nowMs = context.now();
  const customEndMs = form.end ? parseEndDate(form.end, workspace.timezone) : null;
  const start = form.start === 'now' || customEndMs !== null ? 'now' : 'after';
  const duration = isDuration(form.duration) ? form.duration : 'monthly';
  const endMs = customEndMs ?? endOf(nowMs, { duration, start }, { grantEndMs, boughtEndMs });
  if (endMs <= nowMs) return { kind: 'invalid', problem: 'endPast' };
  if (customEndMs !== null && endMs >= LIFETIME_END_MS) return { kind: 'invalid', problem: 'endTooFar' };
  const reviewed: ReviewedGrant = {
    key: randomUUID(),
    subscriberId: customer.subscriber.subscriberId,
    appUserId: access.appUserId,
    entitlementId: entitlement.id,
    duration: customEndMs === null ? duration : 'custom',
    start,
    end: form.end ?? '',
    reason: form.reason ?? '',
    endMs,
    grantEndMs,
    boughtEndMs,
    reviewedAtMs: nowMs,
  };
  const refusal = checkReviewed(request, reviewed);
  if (refusal) {
    const about = { entitlement: entitlement.lookupKey, requested_end: new Date(endMs).toISOString() };
    await auditRefusal(request, 'grant', refusal.code, { ...typed, ...about });
    return { kind: 'refused', refusal };
  }
  return { kind: 'ready', entitlements, access, reviewed };
}

function findProblem(
  form: GrantForm,
  entitlements: readonly Entitlement[],
  timeZone: string,
): FormProblem | null {
  if (entitlements.length === 0) return 'noEntitlements';
  if (!findEntitlement(entitlements, form.entitlement)) return 'chooseEntitlement';
  if (!form.end) return isDuration(form.duration) ? null : 'chooseDuration';
  return parseEndDate(form.end, timeZone) === null ? 'endInvalid' : null;
}

function checkReviewed(request: AgentRequest, reviewed: ReviewedGrant): Refusal | null {
  const days = grantedDays(request.context.now(), reviewed);
  const { reason } = reviewed;
  return checkPolicy(request.workspace.settings.grants, { adminId: request.admin.id, days, reason });
}

/**
 * Makes the grant that was reviewed. It is stored under the review's key first, so a second confirm gets the first
 * one's result. When RevenueCat does not respond the grant stays `requested` and is confirmed in the background by
 * reading; RevenueCat is never called a second time.
 */
export async function confirmGrant(request: AgentRequest, reviewed: ReviewedGrant): Promise<ConfirmResult> {
  const { context, workspace } = request;
  const known = async (): Promise<ConfirmResult | null> => {
    const grant = await findByKey(context.database, workspace.workspaceId, reviewed.key);
    return grant?.kind === 'grant' ? { kind: 'done', grant, isKnown: true } : null;
  };
  const earlier = await known();
  if (earlier) return earlier;
  const { entitlementId, duration, reason } = reviewed;
  const requestedEnd = new Date(reviewed.endMs).toISOString();
  const refused = async (why: string): Promise<void> =>
    auditRefusal(request, 'grant', why, {
      entitlement: entitlementId,
      duration,
      reason,
      requested_end: requestedEnd,
    });
  const blocker = await findBlocker(request);
  if (blocker) {
    // The monthly limit may have been reached by this very grant, from a first press of the button.
    const made = await known();
    if (made) return made;
    await refused(blocker.code);
    return { kind: 'blocked', blocker };
  }
  const refusal = checkReviewed(request, reviewed);
  if (refusal) {
    await refused(refusal.code);
    return { kind: 'refused', refusal };
  }
  const entitlements = await readEntitlements(request);
  const entitlement = entitlements.find(({ id }) => id === entitlementId);
  const stored = { entitlements, access: storedAccess(request.customer), reviewed };
  if (!entitlement)
    return entitlements.length === 0
      ? { kind: 'unavailable', code: 'revenuecat_unavailable', ...stored }
      : { kind: 'failed', code: 'revenuecat_not_found' };
  const read = await readCurrentAccess(request, entitlements);
  if (read.kind === 'failed') {
    await refused(read.code);
    return { kind: 'unavailable', code: read.code, ...stored };
  }
  const outdated = findOutdated(request, reviewed, read.access.endsOf(entitlement));
  if (outdated) {
    // The access may have been changed by this very grant, from a first press of the button.
    const made = await known();
    if (made) return made;
    if (outdated.kind === 'invalid') return outdated;
    return { ...outdated, entitlements, access: read.access };
  }
  if (findNoEffect(reviewed, reviewed.endMs)) {
    await refused('no_effect');
    return { kind: 'refused', refusal: { code: 'no_effect' } };
  }
  const result = await makeGrant(request, reviewed, { entitlement, appUserId: read.access.appUserId });
  if (result.kind === 'refused') await refused(result.refusal.code);
  return result;
}

/** What must be confirmed again, with the end computed for now. */
function findOutdated(
  request: AgentRequest,
  reviewed: ReviewedGrant,
  ends: Ends,
):
  | { kind: 'review_again'; reason: 'changed' | 'stale'; reviewed: ReviewedGrant }
  | { kind: 'invalid'; problem: 'endPast' }
  | null {
  const nowMs = request.context.now();
  const { grantEndMs, boughtEndMs } = ends;
  const hasChanged =
    !isSameEnd(grantEndMs, reviewed.grantEndMs) || !isSameEnd(boughtEndMs, reviewed.boughtEndMs);
  if (!hasChanged && nowMs - reviewed.reviewedAtMs <= REVIEW_VALID_MS && reviewed.endMs > nowMs) return null;
  const { duration, start } = reviewed;
  const endMs = isDuration(duration) ? endOf(nowMs, { duration, start }, ends) : reviewed.endMs;
  if (endMs <= nowMs) return { kind: 'invalid', problem: 'endPast' };
  return {
    kind: 'review_again',
    reason: hasChanged ? 'changed' : 'stale',
    reviewed: { ...reviewed, endMs, grantEndMs, boughtEndMs, reviewedAtMs: nowMs },
  };
}

async function makeGrant(
  request: AgentRequest,
  reviewed: ReviewedGrant,
  of: { readonly entitlement: Entitlement; readonly appUserId: string },
): Promise<Extract<ConfirmResult, { kind: 'done' | 'refused' }>> {
  const { context, workspace, customer } = request;
  const { workspaceId } = workspace;
  const policy = workspace.settings.grants;
  const isApprovalNeeded = needsApproval(policy, grantedDays(context.now(), reviewed));
  const key = { workspaceId, actionId: randomUUID() };
  // Before the grant itself: whenever this process is killed, another reads back what it has begun.
  if (!isApprovalNeeded) await scheduleConfirm(context, key, CONFIRM_AFTER_SECONDS);
  const stored = await storeAction(
    context.database,
    {
      ...key,
      state: isApprovalNeeded ? 'awaiting_approval' : 'requested',
      monthlyLimit: policy.monthlyPerAdmin,
      projectId: customer.project.projectId,
      subscriberId: reviewed.subscriberId,
      appUserId: of.appUserId,
      kind: 'grant',
      target: of.entitlement.id,
      lookupKey: of.entitlement.lookupKey,
      entitlementName: entitlementName(customer, of.entitlement),
      duration: isDuration(reviewed.duration) ? reviewed.duration : 'custom',
      start: reviewed.start,
      requestedEndMs: reviewed.endMs,
      previousEndMs: reviewed.grantEndMs,
      reason: reviewed.reason,
      idempotencyKey: reviewed.key,
      admin: request.admin,
      conversationId: request.conversationId,
      contactId: request.contactId,
    },
    async (sql, action) => {
      if (isApprovalNeeded) await recordApprovalRequest(sql, action);
    },
  );
  if ((stored.kind === 'known' || stored.kind === 'new') && stored.action.kind !== 'grant')
    throw new Error('The key of a grant belongs to another action');
  switch (stored.kind) {
    case 'known':
      return { kind: 'done', grant: stored.action as Grant, isKnown: true };
    case 'monthly_limit':
      return { kind: 'refused', refusal: { code: 'monthly_limit', limit: policy.monthlyPerAdmin ?? 0 } };
    case 'unconfirmed':
      return { kind: 'refused', refusal: { code: 'unconfirmed' } };
    case 'new':
      if (!isApprovalNeeded) {
        const grant = await callAndConfirm(context, customer.project, stored.action as Grant);
        return { kind: 'done', grant, isKnown: false };
      }
      await scheduleNotes(context, stored.action);
      return { kind: 'done', grant: stored.action as Grant, isKnown: false };
  }
}

/** `null`: the grant is not this customer's. */
export async function findGrant(request: AgentRequest, actionId: string): Promise<Grant | null> {
  const { context, workspace, customer } = request;
  if (isDashboardGrant(actionId)) return findDashboardGrant(request, actionId);
  const grant = await readAction(context.database, { workspaceId: workspace.workspaceId, actionId });
  return grant?.kind === 'grant' && grant.subscriberId === customer.subscriber.subscriberId ? grant : null;
}
