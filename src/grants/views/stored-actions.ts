import {
  button,
  clip,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  table,
  text,
  tightText,
} from '../../intercom/canvas.ts';
import { isForever } from '../../time.ts';
import { shownAccess } from '../access.ts';
import { type Action, type Grant, grantEndMs, UNCONFIRMED_STATES } from '../action.ts';
import type { ActionView } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { listActions, readAgain } from '../repository.ts';
import { checkTeammate, MAX_REASON_LENGTH } from '../rules.ts';
import { approveAction, type Done, declineAction, findAction, isRunning, revokeGrant } from '../service.ts';
import { accessText, exactEnd, listButton, obstacleText, refusedPage, shownValues } from './format.ts';
import { grantForm } from './grant-form.ts';
import { actionResult, approvalView, showResult } from './result.ts';

const PAGE_SIZE = 10;

/** Everything granted to the customer and done for them, newest first, ten a page. */
export async function actionList(view: ActionView, page = 0): Promise<InboxCanvas> {
  const { messages, services, workspace, customer } = view;
  const { t } = messages;
  const { workspaceId } = workspace;
  const { subscriberId } = customer.subscriber;
  const from = page * PAGE_SIZE;
  const elsewhere = await listDashboardGrants(view);
  const first = elsewhere.slice(from, from + PAGE_SIZE + 1);
  const range = { limit: PAGE_SIZE + 1 - first.length, offset: Math.max(0, from - elsewhere.length) };
  const read = await listActions(services.readDatabase, { workspaceId, subscriberId }, range);
  const all = [...first, ...read];
  const items = all.slice(0, PAGE_SIZE);
  return view.page(
    [
      text(t('grant.title.grants'), 'header'),
      items.length === 0
        ? text(t('grant.state.noGrants'), 'muted')
        : list(items.map((action) => actionItem(view, action))),
      page > 0 && button('grants:newer', t('grant.button.newer'), 'link'),
      all.length > PAGE_SIZE && button('grants:older', t('grant.button.older'), 'link'),
      button('grant', t('grant.button.grant'), 'secondary'),
    ],
    { grants: page },
  );
}

/** The page before or after the one that the canvas shows. */
export function nextActionPage(view: ActionView, direction: string): Promise<InboxCanvas> {
  const { grants: shown = 0 } = view.formState;
  return actionList(view, direction === 'newer' ? Math.max(0, shown - 1) : shown + 1);
}

function actionItem(view: ActionView, action: Action): ListItem {
  const { t, date } = view.messages;
  const title =
    action.kind === 'grant'
      ? clip(action.entitlementName, 60)
      : clip(`${t(`action.title.${action.kind}`)}: ${action.details.product}`, 80);
  const parts = [stateText(view, action), action.admin.name, action.reason].filter(Boolean);
  return item(`grant:${action.actionId}`, title, {
    subtitle: clip(parts.join(' · '), 160),
    tertiary: date(action.createdAtMs),
  });
}

function stateText({ messages, services }: ActionView, action: Action): string {
  const { t } = messages;
  const { state } = action;
  if (UNCONFIRMED_STATES.includes(state)) return t('grant.line.pending');
  if (state !== 'confirmed')
    return t(`grant.line.${state as Exclude<typeof state, 'requested' | 'revoking'>}`);
  if (action.kind !== 'grant') return t('action.line.confirmed');
  const endMs = grantEndMs(action);
  if (isForever(endMs)) return t('grant.line.forever');
  const end = messages.date(endMs);
  return endMs <= services.now() ? t('grant.line.ended', { end }) : t('grant.line.until', { end });
}

/** Draws what needs one of the customer's actions. */
async function withAction(
  view: ActionView,
  actionId: string | undefined,
  draw: (action: Action) => InboxCanvas | Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  const action = actionId === undefined ? null : await findAction(view, actionId);
  if (action) return draw(action);
  return view.page([text(view.messages.t('grant.state.notFound'), 'muted'), listButton(view, 'grant')]);
}

async function withGrant(
  view: ActionView,
  actionId: string | undefined,
  draw: (grant: Grant) => InboxCanvas | Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  return withAction(view, actionId, (action) =>
    action.kind === 'grant' ? draw(action) : actionResult(view, action),
  );
}

export function storedAction(view: ActionView, actionId: string): Promise<InboxCanvas> {
  return withAction(view, actionId, (action) => actionResult(view, action));
}

/** The form for more of what was granted. */
export function extendGrant(view: ActionView, actionId: string): Promise<InboxCanvas> {
  return withGrant(view, actionId, ({ target }) =>
    grantForm(view, { kind: 'grant', entitlement: target, page: -1, extends: true }),
  );
}

export function approve(view: ActionView): Promise<InboxCanvas> {
  return decide(view, (action) => approveAction(view, action, view.formState.review));
}

/** By the requester: withdraws. */
export function decline(view: ActionView): Promise<InboxCanvas> {
  return decide(view, (action) => declineAction(view, action));
}

function decide(view: ActionView, work: (action: Action) => Promise<Done>): Promise<InboxCanvas> {
  return withAction(view, view.formState.decide, (action) => {
    const again = (problem: string): Promise<InboxCanvas> => approvalView(view, action, problem);
    if (view.isOutdated && action.state === 'awaiting_approval')
      return again(view.messages.t('grant.failure.stale'));
    return showResult(view, work(action), {
      kind: action.kind,
      find: () => readAgain(view.services.database, action),
      onObstacle: (obstacle) => again(obstacleText(view, action.kind, obstacle)),
    });
  });
}

export function revokeReview(view: ActionView, actionId: string): Promise<InboxCanvas> {
  return withGrant(view, actionId, (grant) => removalCanvas(view, grant));
}

/** What is removed, and what stays. */
async function removalCanvas(view: ActionView, grant: Grant, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  if (!isRunning(grant, view.services.now())) return actionResult(view, grant);
  const refusal = checkTeammate(view.workspace.settings.grants, view.request.admin.id);
  if (refusal) return refusedPage(view, 'grant', refusal);
  const access = await shownAccess(view);
  const { boughtEndMs } = access.endsOf({ id: grant.target, lookupKey: grant.lookupKey });
  const { entitlement = '' } = shownValues(view, grant);
  return view.page(
    [
      tightText(t('grant.title.revoke'), 'header'),
      problem !== undefined && text(problem, 'error'),
      text(t('grant.revoke.question', { entitlement, end: exactEnd(view, grantEndMs(grant)) })),
      table([
        [t('grant.label.currentAccess'), accessText(view, access)],
        [t('grant.label.customer'), grant.appUserId],
      ]),
      tightText(
        boughtEndMs === null
          ? t('grant.revoke.losesAccess')
          : t('grant.revoke.keepsAccess', { entitlement, end: exactEnd(view, boughtEndMs) }),
        'muted',
      ),
      text(t('grant.state.revokeRule'), 'muted'),
      { type: 'textarea', id: 'revoke.reason', label: t('grant.label.reasonOptional') },
      button('revoke.confirm', t('grant.button.revokeNow'), 'primary'),
      button(`grant:${grant.actionId}`, t('grant.button.keep'), 'secondary'),
    ],
    { revoke: grant.actionId },
  );
}

/** Removes the grant that was reviewed; pressed twice, shows the result of the first press. */
export function revokeConfirm(view: ActionView): Promise<InboxCanvas> {
  return withGrant(view, view.formState.revoke, (grant) => {
    const again = (problem: string): Promise<InboxCanvas> => removalCanvas(view, grant, problem);
    if (view.isOutdated && isRunning(grant, view.services.now()))
      return again(view.messages.t('grant.failure.stale'));
    const reason = clip((view.request.inputs['revoke.reason'] ?? '').trim(), MAX_REASON_LENGTH);
    return showResult(view, revokeGrant(view, grant, reason), {
      kind: 'grant',
      find: () => readAgain(view.services.database, grant),
      onObstacle: (obstacle) => again(obstacleText(view, 'grant', obstacle)),
    });
  });
}
