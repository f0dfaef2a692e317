import { button, clip, type InboxCanvas, item, type ListItem, list, text } from '../../intercom/canvas.ts';
import { isForever } from '../../time.ts';
import type { ActionView } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { type PageFrom, readActionPage } from '../repository.ts';
import { UNCONFIRMED_STATES } from '../state-machine.ts';
import { type Action, grantEndMs } from '../types.ts';

const PAGE_SIZE = 10;

/** Everything granted to the customer and done for them, newest first, ten a page. */
export async function actionList(
  view: ActionView,
  direction: 'older' | 'newer' | null = null,
): Promise<InboxCanvas> {
  const { messages, context, formState, workspace } = view;
  const { t } = messages;
  const shownBefore = formState.grants;
  const from: PageFrom =
    direction === null || !shownBefore
      ? null
      : { direction, actionId: direction === 'older' ? shownBefore.last : shownBefore.first };
  const { subscriberId } = view.customer.subscriber;
  const subscriber = { workspaceId: workspace.workspaceId, subscriberId };
  const read = await readActionPage(context.readDatabase, subscriber, { from, limit: PAGE_SIZE + 1 });
  const hasMore = read.length > PAGE_SIZE;
  const isNewer = from?.direction === 'newer';
  // One more was read than is shown: the one farther away.
  const shown = hasMore ? (isNewer ? read.slice(1) : read.slice(0, PAGE_SIZE)) : read;
  const [first, last] = [shown[0], shown.at(-1)];
  const items = [...(from === null ? await listDashboardGrants(view) : []), ...shown];
  return view.page(
    [
      text(t('grant.title.grants'), 'header'),
      items.length === 0
        ? text(t('grant.state.noGrants'), 'muted')
        : list(items.map((action) => actionItem(view, action))),
      ...((isNewer ? hasMore : from !== null)
        ? [button('grants:newer', t('grant.button.newer'), 'link')]
        : []),
      ...(isNewer || hasMore ? [button('grants:older', t('grant.button.older'), 'link')] : []),
      button('grant', t('grant.button.grant'), 'secondary'),
    ],
    first && last ? { grants: { first: first.actionId, last: last.actionId } } : undefined,
  );
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

function stateText({ messages, context }: ActionView, action: Action): string {
  const { t } = messages;
  const { state } = action;
  if (UNCONFIRMED_STATES.includes(state)) return t('grant.line.pending');
  if (state !== 'confirmed')
    return t(`grant.line.${state as Exclude<typeof state, 'requested' | 'revoking'>}`);
  if (action.kind !== 'grant') return t('action.line.confirmed');
  const endMs = grantEndMs(action);
  if (isForever(endMs)) return t('grant.line.forever');
  const end = messages.date(endMs);
  return endMs <= context.now() ? t('grant.line.ended', { end }) : t('grant.line.until', { end });
}
