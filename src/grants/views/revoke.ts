import { button, clip, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { checkTeammate, MAX_REASON_LENGTH } from '../policy.ts';
import { revokeGrant } from '../revoke.ts';
import type { Grant } from '../types.ts';
import { type AccessNow, readAccessNow, readEntitlements, storedAccess } from './access.ts';
import { settled, within } from './confirm.ts';
import { type Customer, page, type Visit } from './context.ts';
import { findGrant, goneGrant } from './list.ts';
import { grantResult } from './result.ts';
import {
  accessText,
  auditRefusal,
  exactEnd,
  failureText,
  refusalText,
  settingsButton,
  shownName,
  wordsOf,
} from './said.ts';

const ANSWER_WITHIN_MS = 3_800;

function isRunning(visit: Visit, grant: Grant): boolean {
  return grant.state === 'confirmed' && (grant.realEndMs ?? grant.askedEndMs) > visit.services.now();
}

/** Says what is taken away, and what is left. */
export async function revokeReview(
  visit: Visit,
  customer: Customer,
  grantId: string,
  problem?: string,
): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const grant = await findGrant(visit, customer, grantId);
  if (!grant) return goneGrant(visit);
  if (!isRunning(visit, grant)) return grantResult(visit, customer, grant);
  const refusal = checkTeammate(visit.workspace.settings.grants, visit.request.admin.id);
  if (refusal) {
    return page(visit, [text(refusalText(visit, refusal), 'error'), settingsButton(visit, 'grants')]);
  }
  const entitlements = await readEntitlements(visit, customer);
  const read = await readAccessNow(visit, customer, entitlements);
  const access = read.kind === 'read' ? read.access : storedAccess(customer);
  const name = shownName(grant.entitlementName);
  const endMs = grant.realEndMs ?? grant.askedEndMs;
  return page(
    visit,
    [
      text(words.titles.revoke, 'header', true),
      ...(problem === undefined ? [] : [text(problem, 'error')]),
      text(words.revokeReview(name, exactEnd(visit, endMs))),
      ...table([
        [words.labels.hasNow, accessText(visit, access.has)],
        [words.labels.customer, grant.appUserId],
      ]),
      text(leftText(visit, grant, access), 'muted', true),
      text(words.states.revokeRule, 'muted'),
      { type: 'textarea', id: 'revoke.reason', label: words.labels.reasonOptional },
      button('revoke.confirm', words.buttons.revokeNow, 'primary'),
      button(`grant:${grantId}`, words.buttons.keep, 'secondary'),
    ],
    { revoke: grant.grantId },
  );
}

/** What bought access goes on when the grant is gone. */
function leftText(visit: Visit, grant: Grant, access: AccessNow): string {
  const words = wordsOf(visit);
  const { entitlementId: id, lookupKey, entitlementName: displayName } = grant;
  const { boughtEndMs } = access.endsOf({ id, lookupKey, displayName });
  if (boughtEndMs === null) return words.losesAccess;
  return words.keepsAfter(shownName(displayName), exactEnd(visit, boughtEndMs));
}

/** Removes the grant that was reviewed; pressed twice, shows how it stands. */
export async function revokeConfirm(visit: Visit, customer: Customer): Promise<InboxCanvas> {
  const words = wordsOf(visit);
  const { services: context, request, formState, workspace } = visit;
  const deadlineMs = Date.now() + ANSWER_WITHIN_MS;
  const grant = formState.revoke === undefined ? null : await findGrant(visit, customer, formState.revoke);
  if (!grant) return goneGrant(visit);
  const { grantId } = grant;
  const about = { grant_id: grantId, entitlement: grant.lookupKey };
  const refusal = checkTeammate(workspace.settings.grants, request.admin.id);
  if (refusal) {
    await auditRefusal(visit, customer, 'revoke', refusal.code, about);
    return page(visit, [text(refusalText(visit, refusal), 'error'), settingsButton(visit, 'grants')]);
  }
  if (!isRunning(visit, grant)) {
    return grantResult(visit, customer, await settled(visit, grant, deadlineMs));
  }
  const reason = clip((request.inputs['revoke.reason'] ?? '').trim(), MAX_REASON_LENGTH);
  const revoking = revokeGrant(context, customer.project, grant, {
    admin: request.admin,
    conversationId: request.conversationId,
    reason,
  });
  const result = await within(revoking, deadlineMs);
  if (!result.done) {
    revoking.catch((error: unknown) =>
      context.logger.error({ err: error, workspaceId: request.workspaceId }, 'removal failed'),
    );
    const now = await findGrant(visit, customer, grantId);
    return grantResult(visit, customer, now ?? grant);
  }
  switch (result.value.kind) {
    case 'asked':
      return grantResult(visit, customer, result.value.grant);
    case 'known':
      return grantResult(visit, customer, await settled(visit, result.value.grant, deadlineMs));
    case 'failed':
      return revokeReview(visit, customer, grantId, failureText(visit, result.value.code));
    case 'unsettled':
      await auditRefusal(visit, customer, 'revoke', 'unsettled', about);
      return page(visit, [
        text(words.refusals.unsettled, 'error'),
        button('grants', words.buttons.grants, 'secondary'),
      ]);
  }
}
