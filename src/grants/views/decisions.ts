import { button, clip, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { readEntitlements, readOrStoredAccess } from '../access.ts';
import type { ActionView } from '../context.ts';
import {
  approveGrant,
  type DecideResult,
  declineGrant,
  entitlementOf,
  isRunning,
  reviewApproval,
  revokeGrant,
} from '../decisions.ts';
import { checkTeammate, MAX_REASON_LENGTH } from '../policy.ts';
import { readAction } from '../repository.ts';
import { type Grant, grantEndMs } from '../types.ts';
import {
  accessText,
  answerInTime,
  exactEnd,
  failureText,
  refusalText,
  refusedPage,
  shownName,
  waitForFirstPress,
} from './format.ts';
import { grantResult, grantTable, withGrant } from './result.ts';

/** A grant that waits for a second teammate: its requester may withdraw it, others who may grant decide. */
export async function approvalView(view: ActionView, grant: Grant, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const entitlement = shownName(grant);
  const problems = problem === undefined ? [] : [text(problem, 'error')];
  const allGrants = button('grants', t('grant.button.grants'), 'secondary');
  const { actionId } = grant;
  if (grant.admin.id === view.admin.id) {
    return view.page(
      [
        ...problems,
        text(t('grant.result.awaitingOwn', { entitlement })),
        ...grantTable(view, grant),
        button('grant.withdraw', t('grant.button.withdraw'), 'secondary'),
        allGrants,
      ],
      { decide: { actionId, endMs: grant.requestedEndMs, grantEndMs: grant.previousEndMs } },
    );
  }
  const refusal = checkTeammate(view.workspace.settings.grants, view.admin.id);
  if (refusal) {
    return view.page([
      text(t('grant.result.awaiting', { entitlement })),
      ...grantTable(view, grant),
      text(refusalText(view, refusal), 'muted'),
      allGrants,
    ]);
  }
  const { access, seen } = await reviewApproval(view, grant);
  const gets = t('grant.access.until', { entitlement, end: exactEnd(view, seen.endMs) });
  return view.page(
    [
      text(t('grant.title.approval'), 'header', true),
      ...problems,
      text(`${t('grant.label.newAccess')}: **${gets}**`),
      ...table([[t('grant.label.currentAccess'), accessText(view, access)]]),
      ...grantTable(view, grant),
      button('grant.approve', t('grant.button.approve'), 'primary'),
      button('grant.decline', t('grant.button.decline'), 'secondary'),
    ],
    { decide: { actionId, ...seen } },
  );
}

export async function approve(view: ActionView): Promise<InboxCanvas> {
  const seen = view.formState.decide;
  return withGrant(view, seen?.actionId, (grant) => {
    const onProblem = (problem: string) => approvalView(view, grant, problem);
    if (view.isOutdated && grant.state === 'awaiting_approval')
      return onProblem(view.messages.t('grant.state.stale'));
    const work = approveGrant(view, grant, seen ?? { endMs: 0, grantEndMs: null });
    return decided(view, grant, { work, onProblem });
  });
}

export async function declineOrWithdraw(view: ActionView): Promise<InboxCanvas> {
  return withGrant(view, view.formState.decide?.actionId, (grant) => {
    const onProblem = (problem: string) => approvalView(view, grant, problem);
    if (view.isOutdated && grant.state === 'awaiting_approval')
      return onProblem(view.messages.t('grant.state.stale'));
    return decided(view, grant, { work: declineGrant(view, grant), onProblem });
  });
}

async function decided(
  view: ActionView,
  grant: Grant,
  decision: {
    readonly work: Promise<DecideResult>;
    readonly onProblem: (problem: string) => Promise<InboxCanvas>;
  },
): Promise<InboxCanvas> {
  const pressedAtMs = Date.now();
  const result = await answerInTime<DecideResult>(view, decision.work, async () => {
    const now = await readAction(view.context.database, grant);
    return { kind: 'done', grant: now?.kind === 'grant' ? now : grant };
  });
  switch (result.kind) {
    case 'done':
      return grantResult(view, result.grant);
    case 'known':
      return grantResult(view, await waitForFirstPress(view, result.grant, pressedAtMs));
    case 'refused':
      if (result.refusal.code !== 'unconfirmed') return decision.onProblem(refusalText(view, result.refusal));
      return view.page([
        text(refusalText(view, result.refusal), 'error'),
        button('grants', view.messages.t('grant.button.grants'), 'secondary'),
      ]);
    case 'failed':
      return decision.onProblem(failureText(view, result.code));
  }
}

/** What is removed, and what stays. */
export async function revokeReview(view: ActionView, grant: Grant, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  if (!isRunning(grant, view.context.now())) return grantResult(view, grant);
  const refusal = checkTeammate(view.workspace.settings.grants, view.admin.id);
  if (refusal) return refusedPage(view, refusal);
  const access = await readOrStoredAccess(view, await readEntitlements(view));
  const { boughtEndMs } = access.endsOf(entitlementOf(grant));
  const entitlement = shownName(grant);
  return view.page(
    [
      text(t('grant.title.revoke'), 'header', true),
      ...(problem === undefined ? [] : [text(problem, 'error')]),
      text(t('grant.revoke.question', { entitlement, end: exactEnd(view, grantEndMs(grant)) })),
      ...table([
        [t('grant.label.currentAccess'), accessText(view, access)],
        [t('grant.label.customer'), grant.appUserId],
      ]),
      text(
        boughtEndMs === null
          ? t('grant.revoke.losesAccess')
          : t('grant.revoke.keepsAccess', { entitlement, end: exactEnd(view, boughtEndMs) }),
        'muted',
        true,
      ),
      text(t('grant.state.revokeRule'), 'muted'),
      { type: 'textarea', id: 'revoke.reason', label: t('grant.label.reasonOptional') },
      button('revoke.confirm', t('grant.button.revokeNow'), 'primary'),
      button(`grant:${grant.actionId}`, t('grant.button.keep'), 'secondary'),
    ],
    { revoke: grant.actionId },
  );
}

/** Removes the grant that was reviewed; pressed twice, shows how it stands. */
export async function revokeConfirm(view: ActionView): Promise<InboxCanvas> {
  return withGrant(view, view.formState.revoke, (grant) => {
    const reason = clip((view.inputs['revoke.reason'] ?? '').trim(), MAX_REASON_LENGTH);
    const onProblem = (problem: string) => revokeReview(view, grant, problem);
    if (view.isOutdated && isRunning(grant, view.context.now()))
      return onProblem(view.messages.t('grant.state.stale'));
    return decided(view, grant, { work: revokeGrant(view, grant, reason), onProblem });
  });
}
