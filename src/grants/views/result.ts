import {
  button,
  type Component,
  clip,
  type InboxCanvas,
  item,
  list,
  table,
  text,
} from '../../intercom/canvas.ts';
import { isForever, MINUTE_MS } from '../../time.ts';
import { lastStepAtMs, scheduleConfirm, scheduleNotes } from '../confirmation.ts';
import type { ActionView } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { isSameEnd } from '../durations.ts';
import { readNoteStates } from '../notes.ts';
import { type PageFrom, readActionPage } from '../repository.ts';
import { findGrant } from '../service.ts';
import { UNCONFIRMED_STATES } from '../state-machine.ts';
import { type Action, type Grant, grantEndMs, nameOf, type StoreAction } from '../types.ts';
import { endText, exactEnd, failureText, shownName } from './format.ts';

/** A job that has not run for this long may be lost. */
const OVERDUE_MS = MINUTE_MS;
const PAGE_SIZE = 10;

/** How a grant stands, and what can be done about it. */
export async function grantResult(view: ActionView, grant: Grant): Promise<InboxCanvas> {
  const { t } = view.messages;
  const entitlement = shownName(grant);
  const allGrants = button('grants', t('grant.button.grants'), 'secondary');
  const details = grantTable(view, grant);
  switch (grant.state) {
    case 'awaiting_approval':
      return view.page([text(t('grant.result.awaitingOwn', { entitlement })), ...details, allGrants]);
    case 'declined':
    case 'withdrawn':
      return view.page([text(t(`grant.result.${grant.state}`, { entitlement })), ...details, allGrants]);
    case 'failed':
      return view.page([
        text(failureText(view, grant.error), 'error'),
        ...details,
        button('grant', t('grant.button.tryAgain'), 'secondary'),
      ]);
    case 'requested':
    case 'revoking':
      // A lost job is queued again when an agent looks at what it should have completed.
      if (view.context.now() - lastStepAtMs(grant) > OVERDUE_MS)
        await scheduleConfirm(view.context, grant, 0);
      return view.page([
        text(t(grant.state === 'requested' ? 'grant.state.pending' : 'grant.state.revokePending'), 'muted'),
        ...details,
        button(`grant:${grant.actionId}`, t('grant.button.refresh'), 'secondary'),
      ]);
    case 'revoked':
      return view.page([
        text(t('grant.result.revoked', { entitlement })),
        customerText(
          view,
          view.customerMessages.t('grant.customerText.revoked', { entitlement: grant.entitlementName }),
        ),
        ...(await noteProblem(view, grant)),
        ...details,
        allGrants,
      ]);
    case 'confirmed':
      return confirmedResult(view, grant);
  }
}

async function confirmedResult(view: ActionView, grant: Grant): Promise<InboxCanvas> {
  const { messages, customerMessages, customer, context } = view;
  const { t } = messages;
  const entitlement = shownName(grant);
  const endMs = grantEndMs(grant);
  const allGrants = button('grants', t('grant.button.grants'), 'secondary');
  if (!isForever(endMs) && endMs <= context.now()) {
    const ended = t('grant.result.ended', { entitlement, date: messages.dateTime(endMs) });
    return view.page([text(ended), ...grantTable(view, grant), allGrants]);
  }
  const forCustomer = customerText(
    view,
    customerMessages.t('grant.customerText.granted', {
      entitlement: grant.entitlementName,
      end: isForever(endMs) ? null : customerMessages.dateTime(endMs),
    }),
  );
  const otherEnd = isSameEnd(endMs, grant.requestedEndMs)
    ? []
    : [text(t('grant.result.otherEnd', { end: endText(view, grant.requestedEndMs) }), 'muted')];
  return view.page([
    ...(grant.isUnchanged
      ? [text(t('grant.result.unchanged', { end: endText(view, endMs) }), 'error')]
      : [
          text(t('grant.result.granted', { entitlement, end: exactEnd(view, endMs) })),
          ...otherEnd,
          forCustomer,
        ]),
    ...(await noteProblem(view, grant)),
    ...grantTable(view, grant),
    allGrants,
    ...(isForever(endMs) || customer.project.apiKey === null
      ? []
      : [button(`extend:${grant.actionId}`, t('grant.button.extend'), 'secondary')]),
    button(`revoke:${grant.actionId}`, t('grant.button.revoke'), 'secondary'),
  ]);
}

/** A text to copy into the reply, in the customer's language. */
function customerText({ messages }: ActionView, value: string): Component {
  return { type: 'textarea', id: 'grant.tell', label: messages.t('grant.label.customerText'), value };
}

/** Who, until when, why; and who decided. */
export function grantTable({ messages }: ActionView, grant: Grant): Component[] {
  const { t } = messages;
  const { state, decidedBy, revokedBy } = grant;
  const isMade = state === 'confirmed' || state === 'revoking' || state === 'revoked';
  const isRequest = decidedBy !== null || !isMade;
  const endMs = grantEndMs(grant);
  // The end of what was revoked or never made would be read as one that holds.
  const holds = state !== 'revoked' && state !== 'failed';
  const end = isForever(endMs) ? t('grant.access.forever') : messages.dateTime(endMs);
  return table([
    [t('grant.label.entitlement'), grant.entitlementName],
    [t('grant.label.until'), holds ? end : null],
    [t(isRequest ? 'grant.label.requestedBy' : 'grant.label.grantedBy'), nameOf(grant.admin)],
    [
      t(state === 'declined' ? 'grant.label.declinedBy' : 'grant.label.approvedBy'),
      decidedBy && nameOf(decidedBy),
    ],
    [t('grant.label.on'), messages.dateTime(grant.createdAtMs)],
    [t('grant.label.reason'), grant.reason],
    ...(state === 'revoked'
      ? ([
          [t('grant.label.removedBy'), revokedBy && nameOf(revokedBy)],
          [t('grant.label.reason'), grant.revokeReason],
        ] as const)
      : []),
    [t('grant.label.customer'), grant.appUserId],
  ]);
}

async function noteProblem(view: ActionView, grant: Grant): Promise<Component[]> {
  const { context, messages } = view;
  const states = await readNoteStates(context.database, grant);
  const changedAtMs = grant.revokedAtMs ?? grant.createdAtMs;
  if (states.includes('queued') && context.now() - changedAtMs > OVERDUE_MS)
    await scheduleNotes(context, grant);
  return states.includes('failed') ? [text(messages.t('grant.state.noteFailed'), 'muted')] : [];
}

/** Everything granted to the customer, newest first, ten a page. */
export async function grantsList(
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
  const elsewhere = from === null ? await listDashboardGrants(view) : [];
  const items = [...elsewhere, ...shown];
  return view.page(
    [
      text(t('grant.title.grants'), 'header'),
      items.length === 0
        ? text(t('grant.state.noGrants'), 'muted')
        : list(items.map((grant) => grantItem(view, grant))),
      ...((isNewer ? hasMore : from !== null)
        ? [button('grants:newer', t('grant.button.newer'), 'link')]
        : []),
      ...(isNewer || hasMore ? [button('grants:older', t('grant.button.older'), 'link')] : []),
      button('grant', t('grant.button.grant'), 'secondary'),
    ],
    first && last ? { grants: { first: first.actionId, last: last.actionId } } : undefined,
  );
}

function grantItem(view: ActionView, grant: Action) {
  if (grant.kind !== 'grant') return actionItem(view, grant);
  const parts = [stateText(view, grant), grant.admin.name, grant.reason].filter(Boolean);
  return item(`grant:${grant.actionId}`, clip(grant.entitlementName, 60), {
    subtitle: clip(parts.join(' · '), 160),
    tertiary: view.messages.date(grant.createdAtMs),
  });
}

function actionItem({ messages }: ActionView, action: StoreAction) {
  const { t } = messages;
  const { kind, state, details } = action;
  const isOpen = UNCONFIRMED_STATES.includes(state);
  const status =
    state === 'confirmed' || isOpen
      ? t(`action.line.${isOpen ? 'pending' : 'confirmed'}`)
      : t(`grant.line.${state as 'failed'}`);
  const parts = [status, action.admin.name, action.reason].filter(Boolean);
  return item(`grant:${action.actionId}`, clip(`${t(`action.title.${kind}`)}: ${details.product}`, 80), {
    subtitle: clip(parts.join(' · '), 160),
    tertiary: messages.date(action.createdAtMs),
  });
}

function stateText({ messages, context }: ActionView, grant: Grant): string {
  const { t } = messages;
  switch (grant.state) {
    case 'requested':
    case 'revoking':
      return t('grant.line.pending');
    case 'confirmed': {
      const endMs = grantEndMs(grant);
      if (isForever(endMs)) return t('grant.line.forever');
      const end = messages.date(endMs);
      return endMs <= context.now() ? t('grant.line.ended', { end }) : t('grant.line.until', { end });
    }
    default:
      return t(`grant.line.${grant.state}`);
  }
}

/** Draws what needs one of the customer's grants. */
export async function withGrant(
  view: ActionView,
  actionId: string | undefined,
  draw: (grant: Grant) => Promise<InboxCanvas>,
): Promise<InboxCanvas> {
  const grant = actionId === undefined ? null : await findGrant(view, actionId);
  if (grant) return draw(grant);
  const { t } = view.messages;
  return view.page([
    text(t('grant.state.notFound'), 'muted'),
    button('grants', t('grant.button.grants'), 'secondary'),
  ]);
}
