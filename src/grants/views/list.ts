import { button, clip, type InboxCanvas, item, type ListItem, list, text } from '../../intercom/canvas.ts';
import { isForever } from '../../time.ts';
import { type Action, grantEndMs, UNCONFIRMED_STATES } from '../action.ts';
import type { ActionView } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { listActions } from '../repository.ts';

const PAGE_SIZE = 10;

/** Everything granted to the customer and done for them, newest first, ten a page. */
export async function actionList(view: ActionView, page = 0): Promise<InboxCanvas> {
  const { messages, services, workspace, customer } = view;
  const { t } = messages;
  const { workspaceId } = workspace;
  const { subscriberId } = customer.subscriber;
  const range = { limit: PAGE_SIZE + 1, offset: page * PAGE_SIZE };
  const read = await listActions(services.readDatabase, { workspaceId, subscriberId }, range);
  const elsewhere = page === 0 ? await listDashboardGrants(view) : [];
  const items = [...elsewhere, ...read.slice(0, PAGE_SIZE)];
  return view.page(
    [
      text(t('grant.title.grants'), 'header'),
      items.length === 0
        ? text(t('grant.state.noGrants'), 'muted')
        : list(items.map((action) => actionItem(view, action))),
      page > 0 && button('grants:newer', t('grant.button.newer'), 'link'),
      read.length > PAGE_SIZE && button('grants:older', t('grant.button.older'), 'link'),
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
