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
import { readShownAccess } from '../access.ts';
import { type Action, type Grant, grantEndMs, isActiveGrant, UNCONFIRMED_STATES } from '../action.ts';
import { refused } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { checkTeammate, MAX_REASON_LENGTH } from '../policy.ts';
import { listActions, readAgain } from '../repository.ts';
import { type ActionResult, approveAction, declineAction, findAction, revokeGrant } from '../service.ts';
import { grantForm } from './grant-form.ts';
import { accessText, errorText, exactEnd, listButton, refusedPage, shownValues } from './parts.ts';
import { actionResult, approvalCanvas, showResult } from './result.ts';

const PAGE_SIZE = 10;

/** Everything granted to the customer and done for them, newest first, ten a page. */
export async function actionList(context: ViewContext, page = 0): Promise<InboxCanvas> {
  const { messages, services, workspace, customer } = context;
  const { t } = messages;
  const { workspaceId } = workspace;
  const { subscriberId } = customer.subscriber;
  const from = page * PAGE_SIZE;
  const elsewhere = await listDashboardGrants(context);
  const first = elsewhere.slice(from, from + PAGE_SIZE + 1);
  const range = { limit: PAGE_SIZE + 1 - first.length, offset: Math.max(0, from - elsewhere.length) };
  const read = await listActions(services.readDatabase, { workspaceId, subscriberId }, range);
  const all = [...first, ...read];
  const items = all.slice(0, PAGE_SIZE);
  return context.page(
    [
      text(t('grant.title.grants'), 'header'),
      items.length === 0
        ? text(t('grant.state.noGrants'), 'muted')
        : list(items.map((action) => actionItem(context, action))),
      page > 0 && button('grants:newer', t('grant.button.newer'), 'link'),
      all.length > PAGE_SIZE && button('grants:older', t('grant.button.older'), 'link'),
      button('grant', t('grant.button.grant'), 'secondary'),
    ],
    { grants: page },
  );
}

/** The page before or after the one that the canvas shows. */
export function nextActionPage(context: ViewContext, direction: string): Promise<InboxCanvas> {
  const { grants: shown = 0 } = context.formState;
  return actionList(context, direction === 'newer' ? Math.max(0, shown - 1) : shown + 1);
}

function actionItem(context: ViewContext, action: Action): ListItem {
  const { t, date } = context.messages;
  const title =
    action.kind === 'grant'
      ? clip(action.entitlementName, 60)
      : clip(`${t(`action.title.${action.kind}`)}: ${action.details.product}`, 80);
  const parts = [stateText(context, action), action.admin.name, action.reason].filter(Boolean);
  return item(`grant:${action.actionId}`, title, {
    subtitle: clip(parts.join(' · '), 160),
    tertiary: date(action.createdAtMs),
  });
}

function stateText({ messages, services }: ViewContext, action: Action): string {
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
  context: ViewContext,
  actionId: string | undefined,
  draw: (action: Action) => InboxCanvas | Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  const action = actionId === undefined ? null : await findAction(context, actionId);
  if (action) return draw(action);
  return context.page([
    text(context.messages.t('grant.state.notFound'), 'muted'),
    listButton(context, 'grant'),
  ]);
}

async function withGrant(
  context: ViewContext,
  actionId: string | undefined,
  draw: (grant: Grant) => InboxCanvas | Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  return withAction(context, actionId, (action) =>
    action.kind === 'grant' ? draw(action) : actionResult(context, action),
  );
}

export function storedAction(context: ViewContext, actionId: string): Promise<InboxCanvas> {
  return withAction(context, actionId, (action) => actionResult(context, action));
}

/** The form for more of what was granted. */
export function extendGrant(context: ViewContext, actionId: string): Promise<InboxCanvas> {
  return withGrant(context, actionId, ({ target }) =>
    grantForm(context, { kind: 'grant', entitlement: target, extends: true }),
  );
}

export function approve(context: ViewContext): Promise<InboxCanvas> {
  return decide(context, (action) => approveAction(context, action, context.formState.review));
}

/** By the requester: withdraws. */
export function decline(context: ViewContext): Promise<InboxCanvas> {
  return decide(context, (action) => declineAction(context, action));
}

function decide(context: ViewContext, work: (action: Action) => Promise<ActionResult>): Promise<InboxCanvas> {
  return withAction(context, context.formState.decide, (action) => {
    const again = (problem: string): Promise<InboxCanvas> => approvalCanvas(context, action, problem);
    if (context.isOutdated && action.state === 'awaiting_approval')
      return again(context.messages.t('grant.failure.stale'));
    return showResult(context, work(action), {
      kind: action.kind,
      find: () => readAgain(context.services.database, action),
      onError: (error) => again(errorText(context, action.kind, error)),
    });
  });
}

export function revokeReview(context: ViewContext, actionId: string): Promise<InboxCanvas> {
  return withGrant(context, actionId, (grant) => removalCanvas(context, grant));
}

/** What is removed, and what stays. */
async function removalCanvas(context: ViewContext, grant: Grant, problem?: string): Promise<InboxCanvas> {
  const { t } = context.messages;
  if (!isActiveGrant(grant, context.services.now())) return actionResult(context, grant);
  const refusal = checkTeammate(context.workspace.settings.grants, context.request.admin.id);
  if (refusal) return refusedPage(context, 'grant', refused(refusal));
  const access = await readShownAccess(context);
  const { boughtEndMs } = access.endsOf({ id: grant.target, lookupKey: grant.lookupKey });
  const { entitlement = '' } = shownValues(context, grant);
  return context.page(
    [
      tightText(t('grant.title.revoke'), 'header'),
      problem !== undefined && text(problem, 'error'),
      text(t('grant.revoke.question', { entitlement, end: exactEnd(context, grantEndMs(grant)) })),
      table([
        [t('grant.label.currentAccess'), accessText(context, access)],
        [t('grant.label.customer'), grant.appUserId],
      ]),
      tightText(
        boughtEndMs === null
          ? t('grant.revoke.losesAccess')
          : t('grant.revoke.keepsAccess', { entitlement, end: exactEnd(context, boughtEndMs) }),
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
export function revokeConfirm(context: ViewContext): Promise<InboxCanvas> {
  return withGrant(context, context.formState.revoke, (grant) => {
    const again = (problem: string): Promise<InboxCanvas> => removalCanvas(context, grant, problem);
    if (context.isOutdated && isActiveGrant(grant, context.services.now()))
      return again(context.messages.t('grant.failure.stale'));
    const reason = clip((context.request.inputs['revoke.reason'] ?? '').trim(), MAX_REASON_LENGTH);
    return showResult(context, revokeGrant(context, grant, reason), {
      kind: 'grant',
      find: () => readAgain(context.services.database, grant),
      onError: (error) => again(errorText(context, 'grant', error)),
    });
  });
}
