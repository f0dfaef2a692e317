import { button, type InboxCanvas, text } from '../../intercom/canvas.ts';
import { approveGrant, type Decided, declineGrant } from '../approve.ts';
import { endOfDuration, isDuration } from '../durations.ts';
import { isSameEnd } from '../ends.ts';
import { checkPolicy, checkTeammate, lengthOf } from '../policy.ts';
import type { Grant } from '../types.ts';
import { readAccessNow, readEntitlements, storedAccess } from './access.ts';
import { settled, within } from './confirm.ts';
import { type Customer, page, type Visit } from './context.ts';
import { findGrant, goneGrant } from './list.ts';
import { facts, grantResult } from './result.ts';
import { endOfChosen, lengthFields } from './review.ts';
import { accessText, auditRefusal, exactEnd, failureText, refusalText, shownName, wordsOf } from './said.ts';

/** How long the second teammate waits for RevenueCat's word, ms. */
const ANSWER_WITHIN_MS = 3_800;

/**
 * A grant that waits for a second teammate: who asked for it may take it back, others who may grant decide. A
 * duration counts from the approval, so that a month asked for on Monday and approved on Friday is a month.
 */
export async function approvalView(
  visit: Visit,
  customer: Customer,
  grant: Grant,
  problem?: string,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const { request, workspace, services: context } = visit;
  const name = shownName(grant.entitlementName);
  const said = problem === undefined ? [] : [text(problem, 'error')];
  if (grant.admin.id === request.admin.id) {
    return page(
      visit,
      [
        ...said,
        text(words.awaitingOwn(name)),
        ...facts(visit, grant),
        button('grant.withdraw', words.buttons.withdraw, 'secondary'),
        button('grants', words.buttons.grants, 'secondary'),
      ],
      { decide: { grantId: grant.grantId, endMs: grant.askedEndMs, grantEndMs: grant.beforeEndMs } },
    );
  }
  const refusal = checkTeammate(workspace.settings.grants, request.admin.id);
  if (refusal) {
    return page(visit, [
      text(words.awaiting(name)),
      ...facts(visit, grant),
      text(refusalText(visit, refusal), 'muted'),
      button('grants', words.buttons.grants, 'secondary'),
    ]);
  }
  const entitlements = await readEntitlements(visit, customer);
  const read = await readAccessNow(visit, customer, entitlements);
  const access = read.kind === 'read' ? read.access : storedAccess(customer);
  const { grantEndMs } = access.endsOf(entitlementOf(grant));
  const endMs = endNow(context.now(), grant, grantEndMs);
  return page(
    visit,
    [
      text(words.titles.approval, 'header', true),
      ...said,
      text(`${words.labels.gets}: **${words.accessUntil(name, exactEnd(visit, endMs))}**`),
      text(`${words.labels.hasNow}: ${shownName(accessText(visit, access.has))}`, 'muted'),
      ...facts(visit, grant),
      button('grant.approve', words.buttons.approve, 'primary'),
      button('grant.decline', words.buttons.decline, 'secondary'),
    ],
    { decide: { grantId: grant.grantId, endMs, grantEndMs } },
  );
}

function entitlementOf(grant: Grant): { id: string; lookupKey: string; displayName: string } {
  return { id: grant.entitlementId, lookupKey: grant.lookupKey, displayName: grant.entitlementName };
}

/** Whether the duration was asked for on top of what was granted then. */
function isAdded(grant: Grant): boolean {
  const { duration, beforeEndMs, askedEndMs } = grant;
  return (
    isDuration(duration) &&
    beforeEndMs !== null &&
    isSameEnd(endOfDuration(duration, beforeEndMs), askedEndMs)
  );
}

function endNow(nowMs: number, grant: Grant, grantEndMs: number | null): number {
  return isDuration(grant.duration)
    ? endOfChosen(nowMs, { duration: grant.duration, isAdded: isAdded(grant) }, grantEndMs)
    : grant.askedEndMs;
}

/** Approves what was seen, as long as it still is so. */
export async function approve(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { services: context, request, formState, workspace } = visit;
  const words = wordsOf(visit);
  const deadlineMs = Date.now() + ANSWER_WITHIN_MS;
  const seen = formState.decide;
  const grant = seen ? await findGrant(visit, customer, seen.grantId) : null;
  if (!seen || !grant) return goneGrant(visit);
  if (grant.state !== 'awaiting_approval') return decided(visit, customer, grant, deadlineMs);
  const policy = workspace.settings.grants;
  const nowMs = context.now();
  const days = lengthOf(
    { ...lengthFields({ duration: grant.duration, isAdded: isAdded(grant) }), endMs: seen.endMs },
    nowMs,
  );
  const refusal =
    grant.admin.id === request.admin.id
      ? ({ code: 'same_person' } as const)
      : (checkTeammate(policy, request.admin.id) ??
        checkPolicy(policy, { adminId: grant.admin.id, days, reason: grant.reason }));
  if (refusal) {
    await auditRefusal(visit, customer, 'grant_approve', refusal.code, about(grant));
    return approvalView(visit, customer, grant, refusalText(visit, refusal));
  }
  const entitlements = await readEntitlements(visit, customer);
  const read = await readAccessNow(visit, customer, entitlements);
  if (read.kind !== 'read') {
    const why = read.kind === 'failed' ? read.code : read.kind;
    await auditRefusal(visit, customer, 'grant_approve', why, about(grant));
    return approvalView(visit, customer, grant, failureText(visit, why));
  }
  const { grantEndMs } = read.access.endsOf(entitlementOf(grant));
  if (!isSameEnd(grantEndMs, seen.grantEndMs)) {
    return approvalView(visit, customer, grant, words.states.changed);
  }
  if (seen.endMs <= nowMs) {
    await auditRefusal(visit, customer, 'grant_approve', 'end_past', about(grant));
    return approvalView(visit, customer, grant, words.refusals.endPast);
  }
  const by = { admin: request.admin, conversationId: request.conversationId };
  const ends = { askedEndMs: seen.endMs, beforeEndMs: grantEndMs };
  const approving = approveGrant(context, customer.project, grant, by, ends);
  const result = await within(approving, deadlineMs);
  if (!result.done) {
    approving.catch((error: unknown) =>
      context.logger.error({ err: error, workspaceId: request.workspaceId }, 'approval failed'),
    );
    return again(visit, customer, grant);
  }
  return outcome(visit, customer, result.value, deadlineMs);
}

export async function decline(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const { services: context, request, formState, workspace } = visit;
  const grant = formState.decide ? await findGrant(visit, customer, formState.decide.grantId) : null;
  if (!grant) return goneGrant(visit);
  const isOwn = grant.admin.id === request.admin.id;
  const refusal = isOwn ? null : checkTeammate(workspace.settings.grants, request.admin.id);
  if (refusal) {
    await auditRefusal(visit, customer, 'grant_approve', refusal.code, about(grant));
    return approvalView(visit, customer, grant, refusalText(visit, refusal));
  }
  const by = { admin: request.admin, conversationId: request.conversationId };
  const deadlineMs = Date.now() + ANSWER_WITHIN_MS;
  return outcome(visit, customer, await declineGrant(context, grant, by), deadlineMs);
}

function about(grant: Grant): Readonly<Record<string, unknown>> {
  const { grantId, lookupKey, duration, reason, admin } = grant;
  return { grant_id: grantId, entitlement: lookupKey, duration, reason, asked_by: admin.name || admin.id };
}

async function outcome(
  visit: Visit,
  customer: Customer,
  result: Decided,
  deadlineMs: number,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  switch (result.kind) {
    case 'done':
      return grantResult(visit, customer, result.grant, { isFresh: true });
    case 'too_late':
      return decided(visit, customer, result.grant, deadlineMs);
    case 'same_person':
      return page(visit, [text(words.refusals.samePerson, 'error')]);
    case 'unsettled':
      return page(visit, [
        text(words.refusals.unsettled, 'error'),
        button('grants', words.buttons.grants, 'secondary'),
      ]);
  }
}

/** Pressed twice, or decided by somebody else: how it stands. */
async function decided(
  visit: Visit,
  customer: Customer,
  grant: Grant,
  deadlineMs: number,
): Promise<InboxCanvas> {
  return grantResult(visit, customer, await settled(visit, grant, deadlineMs));
}

async function again(visit: Visit, customer: Customer, grant: Grant): Promise<InboxCanvas> {
  const now = await findGrant(visit, customer, grant.grantId);
  return grantResult(visit, customer, now ?? grant);
}
