import { labeled } from '../../i18n/sentences.ts';
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
import { FOREVER_MS, isForever } from '../../time.ts';
import { endsOf, readShownAccess } from '../access.ts';
import { type Action, type Grant, grantEndMs, isActiveGrant } from '../action.ts';
import type { ViewContext } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { standingOf } from '../message-values.ts';
import { checkTeammate } from '../policy.ts';
import { listActions } from '../repository.ts';
import { findAction } from '../service.ts';
import { grantForm } from './grant-form.ts';
import { accessText, exactEnd, listButton, refusedPage, shownValues } from './parts.ts';
import { actionResult } from './result.ts';

const PAGE_SIZE = 10;

/** Everything granted to the customer and done for them, newest first, ten a page. */
export async function actionList(context: ViewContext, page = 0): Promise<InboxCanvas> {
  const { messages, app, workspace, customer } = context;
  const { t } = messages;
  const { workspaceId } = workspace;
  const { subscriberId } = customer.subscriber;
  const from = page * PAGE_SIZE;
  const elsewhere = await listDashboardGrants(context);
  const first = elsewhere.slice(from, from + PAGE_SIZE + 1);
  const range = { limit: PAGE_SIZE + 1 - first.length, offset: Math.max(0, from - elsewhere.length) };
  const read = await listActions(app.readDatabase, { workspaceId, subscriberId }, range);
  const all = [...first, ...read];
  const items = all.slice(0, PAGE_SIZE);
  return context.page(
    [
      text(t('card.button.grants'), 'header'),
      items.length === 0
        ? text(t('action.state.none'), 'muted')
        : list(items.map((action) => actionItem(context, action))),
      page > 0 && button('grants:newer', t('card.button.newer'), 'link'),
      all.length > PAGE_SIZE && button('grants:older', t('card.button.older'), 'link'),
      button('grant', t('action.title.grant'), 'secondary'),
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
  const { messages, app } = context;
  const { t, date } = messages;
  const { kind, actionId, admin, reason, createdAtMs } = action;
  const endMs = action.kind === 'grant' ? grantEndMs(action) : FOREVER_MS;
  const end = isForever(endMs) ? null : date(endMs);
  const state = t(`action.line.${standingOf(action, app.now())}`, { kind, end });
  const title =
    action.kind === 'grant'
      ? action.entitlementName
      : labeled(messages, t(`action.title.${action.kind}`), action.details.product);
  return item(`grant:${actionId}`, clip(title, 80), {
    subtitle: clip([state, admin.name, reason].filter(Boolean).join(' · '), 160),
    tertiary: date(createdAtMs),
  });
}

/** Draws what needs one of the customer's actions. */
export async function withAction(
  context: ViewContext,
  actionId: string | undefined,
  draw: (action: Action) => InboxCanvas | Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  const action = actionId === undefined ? null : await findAction(context, actionId);
  if (action) return draw(action);
  return context.page([text(context.messages.t('action.state.notFound'), 'muted'), listButton(context)]);
}

export async function withGrant(
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

export function revokeReview(context: ViewContext, actionId: string): Promise<InboxCanvas> {
  return withGrant(context, actionId, (grant) => removalCanvas(context, grant));
}

/** What is removed, and what stays. */
export async function removalCanvas(
  context: ViewContext,
  grant: Grant,
  problem?: string,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  if (!isActiveGrant(grant, context.app.now())) return actionResult(context, grant);
  const refusal = checkTeammate(context.workspace.settings.grants, context.request.admin.id);
  if (refusal) return refusedPage(context, 'grant', refusal);
  const access = await readShownAccess(context);
  const { boughtEndMs } = endsOf(access, { id: grant.target, lookupKey: grant.lookupKey });
  const { name = '' } = shownValues(context, grant);
  return context.page(
    [
      tightText(t('action.title.revoke'), 'header'),
      problem !== undefined && text(problem, 'error'),
      text(t('action.revoke.question', { name, end: exactEnd(context, grantEndMs(grant)) })),
      table([
        [t('action.label.currentAccess'), accessText(context, access)],
        [t('action.label.customer'), grant.appUserId],
      ]),
      tightText(
        boughtEndMs === null
          ? t('action.revoke.losesAccess')
          : t('action.revoke.keepsAccess', { name, end: exactEnd(context, boughtEndMs) }),
        'muted',
      ),
      text(t('action.revoke.rule'), 'muted'),
      { type: 'textarea', id: 'revoke.reason', label: t('action.label.reasonOptional') },
      button('revoke.confirm', t('action.button.revokeNow'), 'primary'),
      button(`grant:${grant.actionId}`, t('action.button.keep'), 'secondary'),
    ],
    { revoke: grant.actionId },
  );
}
