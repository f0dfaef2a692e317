import { labeled } from '../../i18n/sentences.ts';
import {
  button,
  clip,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  type Part,
  type Row,
  table,
  text,
  textarea,
  tightText,
} from '../../intercom/canvas.ts';
import { FOREVER_MS, isForever } from '../../time.ts';
import { endsOf, readShownAccess, upcomingCharges } from '../access.ts';
import { type Action, grantEndMs, isActiveGrant, nameOf } from '../action.ts';
import { failed } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import { listDashboardGrants } from '../dashboard-grants.ts';
import { isSameEnd } from '../durations.ts';
import { displayStateOf, doneMessageKey, messageValuesOf } from '../message-values.ts';
import { hasNote } from '../notes.ts';
import { checkTeammate, findRefusalExceptLimit, MAX_REASON_LENGTH } from '../policy.ts';
import { listActions } from '../repository.ts';
import { findAction, reviewRequested } from '../service.ts';
import { actionForm } from './form.ts';
import {
  accessText,
  customerMessages,
  endText,
  errorText,
  exactEnd,
  listButton,
  refusedPage,
  removalErrorText,
  shownValues,
} from './parts.ts';
import { effects } from './review.ts';

const PAGE_SIZE = 10;

/**
 * Everything granted to the customer and done for them, newest first, ten a page.
 *
 * @param number page number, from 0; anything else leads to the first page
 */
export async function actionList(context: ViewContext, number: string): Promise<InboxCanvas> {
  const { messages, app, workspace, customer } = context;
  const { t } = messages;
  const { workspaceId } = workspace;
  const { subscriberId } = customer;
  const page = /^\d{1,6}$/.test(number) ? Number(number) : 0;
  const from = page * PAGE_SIZE;
  const elsewhere = await listDashboardGrants(context);
  const first = elsewhere.slice(from, from + PAGE_SIZE + 1);
  const range = { limit: PAGE_SIZE + 1 - first.length, offset: Math.max(0, from - elsewhere.length) };
  const read = await listActions(app.readDatabase, { workspaceId, subscriberId }, range);
  const all = [...first, ...read];
  const items = all.slice(0, PAGE_SIZE);
  return context.page([
    text(t('card.button.grants'), 'header'),
    items.length === 0
      ? text(t('action.state.none'), 'muted')
      : list(items.map((action) => actionItem(context, action))),
    page > 0 && button(`grants.page:${page - 1}`, t('card.button.newer'), 'link'),
    all.length > PAGE_SIZE && button(`grants.page:${page + 1}`, t('card.button.older'), 'link'),
    button('grant', t('action.title.grant'), 'secondary'),
  ]);
}

function actionItem(context: ViewContext, action: Action): ListItem {
  const { messages, app } = context;
  const { t, date } = messages;
  const { kind, actionId, admin, reason, createdAtMs } = action;
  const endMs = action.kind === 'grant' ? grantEndMs(action) : FOREVER_MS;
  const end = isForever(endMs) ? null : date(endMs);
  const state = t(`action.line.${displayStateOf(action, app.now())}`, { kind, end });
  const title =
    action.kind === 'grant'
      ? action.entitlementName
      : labeled(messages, t(`action.title.${action.kind}`), action.details.product);
  return item(`grant:${actionId}`, clip(title, 80), {
    subtitle: clip([state, admin.name, reason].filter(Boolean).join(' · '), 160),
    tertiary: date(createdAtMs),
  });
}

/** Wraps a view of one of the customer's actions: the one in the component's id, else the one in the form state. */
export function forAction(
  draw: (context: ViewContext, action: Action) => InboxCanvas | Promise<InboxCanvas>,
): (context: ViewContext, actionId: string) => Promise<InboxCanvas> {
  return async (context, actionId) => {
    const id = actionId || context.formState.action;
    const action = id === undefined ? null : await findAction(context, id);
    if (action) return draw(context, action);
    return context.page([text(context.messages.t('action.state.notFound'), 'muted'), listButton(context)]);
  };
}

export function extendGrant(context: ViewContext, action: Action): Promise<InboxCanvas> {
  if (action.kind !== 'grant') return actionResult(context, action);
  return actionForm(context, { kind: 'grant', entitlement: action.target, extends: true });
}

/** What is removed, and what stays. */
export async function removalCanvas(
  context: ViewContext,
  action: Action,
  problem?: string,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  if (!isActiveGrant(action, context.app.now())) return actionResult(context, action);
  const refusal = checkTeammate(context.workspace.settings.grants, context.request.admin.id);
  if (refusal) return refusedPage(context, 'grant', refusal);
  const access = await readShownAccess(context);
  const { boughtEndMs, grantEndMs: runningEndMs } = endsOf(access, {
    id: action.target,
    lookupKey: action.lookupKey,
  });
  const { name = '' } = shownValues(context, action);
  const typed = clip(context.request.inputs['revoke.reason'] ?? '', MAX_REASON_LENGTH);
  return context.page(
    [
      tightText(t('action.title.revoke'), 'header'),
      problem !== undefined && text(problem, 'error'),
      text(t('action.revoke.question', { name, end: exactEnd(context, grantEndMs(action)) })),
      table([
        [t('action.label.currentAccess'), accessText(context, access)],
        [t('action.label.customer'), action.appUserId],
      ]),
      boughtEndMs !== null &&
        tightText(t('action.revoke.keepsAccess', { name, end: exactEnd(context, boughtEndMs) }), 'muted'),
      // RevenueCat may have ended the grant already: then no access is lost.
      boughtEndMs === null && runningEndMs !== null && tightText(t('action.revoke.losesAccess'), 'muted'),
      text(t('action.revoke.rule'), 'muted'),
      textarea({ id: 'revoke.reason', label: t('action.label.reasonOptional'), value: typed }),
      button('revoke.confirm', t('action.button.revokeNow'), 'primary'),
      button(`grant:${action.actionId}`, t('action.button.keep'), 'secondary'),
    ],
    { action: action.actionId },
  );
}

/** The state of an action, and what can be done about it. @param url the single-use link of a portal */
export async function actionResult(context: ViewContext, action: Action, url?: string): Promise<InboxCanvas> {
  const { app, customer } = context;
  const { t } = context.messages;
  const { kind, actionId } = action;
  const state = displayStateOf(action, app.now());
  if (state === 'awaiting_approval') return approvalCanvas(context, action);
  const facts = factsTable(context, action);
  if (state === 'pending') {
    const refresh = button(`grant:${actionId}`, t('card.button.refresh'), 'secondary');
    return context.page([text(t('action.result.pending'), 'muted'), facts, refresh]);
  }
  if (state === 'failed')
    return context.page([
      text(errorText(context, kind, failed(action.error ?? 'other')), 'error'),
      facts,
      kind === 'grant' ? button('grant', t('action.button.tryAgain'), 'secondary') : listButton(context),
    ]);
  const outcome = state === 'confirmed' ? doneMessageKey(action) : state;
  const running = isActiveGrant(action, app.now()) ? action : null;
  // RevenueCat refused the removal after the card had shown it as not confirmed yet.
  const refusal = running?.error ? removalErrorText(context, failed(running.error)) : null;
  const isUnknown = running?.error === 'never_confirmed';
  const canExtend = running && !isForever(grantEndMs(running)) && customer.project.apiKey !== null;
  const isNoteMissing = await hasNote(app.database, action, 'failed');
  const headline = t(`action.result.${outcome}`, shownValues(context, action));
  return context.page([
    refusal !== null && text(isUnknown ? refusal : t('action.state.notRemoved', { why: refusal }), 'error'),
    text(headline, outcome === 'unchanged' ? 'error' : 'paragraph'),
    customerText(context, action, { outcome, url }),
    isNoteMissing && text(t('action.state.noteFailed'), 'muted'),
    facts,
    listButton(context),
    canExtend && button(`extend:${actionId}`, t('action.button.extend'), 'secondary'),
    running && button(`revoke:${actionId}`, t('action.button.revoke'), 'secondary'),
  ]);
}

/** A text to copy into the reply, in the customer's language; not every outcome has one. */
function customerText(
  context: ViewContext,
  action: Action,
  { outcome, url }: { readonly outcome: string; readonly url: string | undefined },
): Part[] {
  const { t } = context.messages;
  const inReply = customerMessages(context);
  const key = `action.customerText.${outcome}`;
  if (!inReply.has(key)) return [];
  if (outcome === 'manage' && url === undefined) return [text(t('action.state.linkShownOnce'), 'muted')];
  const isOtherEnd =
    action.kind === 'grant' &&
    outcome === 'grant' &&
    !isSameEnd(grantEndMs(action), action.requestedEndMs) &&
    text(t('action.result.otherEnd', { end: endText(context, action.requestedEndMs) }), 'muted');
  const isCharged = action.kind === 'grant' && upcomingCharges(context, action).length > 0;
  const values = {
    // Customers do not know the workspace's time zone.
    ...messageValuesOf({ ...inReply, dateTime: inReply.zonedDateTime }, action),
    url: url ?? '',
    charged: isCharged ? 'charged' : null,
  };
  const label = t('action.label.customerText');
  return [isOtherEnd, textarea({ id: 'action.tell', label, value: inReply.t(key, values) })];
}

function peopleRows({ messages: { t, dateTime } }: ViewContext, action: Action): Row[] {
  const { kind, state, decidedBy, admin, createdAtMs } = action;
  const isMade = state === 'confirmed' || state === 'revoking' || state === 'revoked';
  const by = decidedBy === null && isMade ? 'action.label.by' : 'action.label.requestedBy';
  return [
    [t(by, { kind }), nameOf(admin)],
    [
      t(state === 'declined' ? 'action.label.declinedBy' : 'action.label.approvedBy'),
      decidedBy && nameOf(decidedBy),
    ],
    [t('action.label.on'), dateTime(createdAtMs)],
  ];
}

function factsTable(context: ViewContext, action: Action): Part[] {
  const { messages } = context;
  const { t } = messages;
  const { kind, state } = action;
  const grant = action.kind === 'grant' ? action : null;
  const details = action.kind === 'grant' ? null : action.details;
  // The end of a grant that was revoked or never made would mislead.
  const hasEnd = grant !== null && state !== 'revoked' && state !== 'failed';
  const removedBy = state === 'revoked' && grant?.revokedBy;
  return table([
    [t('action.label.name', { kind }), grant?.entitlementName ?? details?.product],
    [t('action.label.until'), hasEnd ? endText(context, grantEndMs(grant)) : null],
    [t('action.label.amount'), details?.amount && messages.money(details.amount)],
    [t('action.label.transaction'), details?.transactionId],
    ...peopleRows(context, action),
    [t('action.label.reason'), action.reason],
    [t('action.label.removedBy'), removedBy ? nameOf(removedBy) : null],
    [t('action.label.reason'), removedBy ? grant?.revokeReason : null],
    [t('action.label.customer'), action.appUserId],
  ]);
}

/** An action that waits for a second teammate: its requester may withdraw it, others who may do it decide. */
export async function approvalCanvas(
  context: ViewContext,
  action: Action,
  problem?: string,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { actionId, kind, admin } = action;
  const isOwn = admin.id === context.request.admin.id;
  const refusal = isOwn ? null : findRefusalExceptLimit(context, action);
  const canDecide = !isOwn && !refusal;
  // A grant's effects need a read from RevenueCat, so they are shown only to teammates who can decide.
  const hasEffects = canDecide || kind !== 'grant';
  const review = hasEffects ? await reviewRequested(context, action) : null;
  const waits = isOwn ? 'action.result.awaitingOwn' : 'action.result.awaiting_approval';
  return context.page(
    [
      canDecide && tightText(t(`action.title.${kind}`), 'header'),
      text(t(waits, shownValues(context, action))),
      problem !== undefined && text(problem, 'error'),
      review ? [effects(context, review), table(peopleRows(context, action))] : factsTable(context, action),
      refusal && text(errorText(context, kind, refusal), 'muted'),
      isOwn && button('action.withdraw', t('action.button.withdraw'), 'secondary'),
      canDecide
        ? [
            button('action.approve', t('action.button.approve', { kind }), 'primary'),
            button('action.decline', t('action.button.decline'), 'secondary'),
          ]
        : listButton(context),
    ],
    { action: actionId, ...(review && canDecide ? { review } : {}) },
  );
}
