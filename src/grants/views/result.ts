import { setTimeout as sleep } from 'node:timers/promises';
import {
  button,
  type Component,
  type InboxCanvas,
  type Part,
  table,
  text,
  tightText,
} from '../../intercom/canvas.ts';
import { isForever, MINUTE_MS, withTimeout } from '../../time.ts';
import {
  type Action,
  type ActionKind,
  type Grant,
  grantEndMs,
  isActiveGrant,
  nameOf,
  type StoreAction,
  UNCONFIRMED_STATES,
} from '../action.ts';
import { ActionError, failed, orActionError, refused } from '../action-error.ts';
import { lastStepAtMs } from '../confirmation.ts';
import type { ViewContext } from '../context.ts';
import { isSameEnd } from '../durations.ts';
import { handlerOf } from '../handlers.ts';
import { messageValuesOf, variantOf } from '../message-values.ts';
import { readNoteStates } from '../notes.ts';
import { findRefusalExceptLimit } from '../policy.ts';
import { readAgain } from '../repository.ts';
import type { ActionResult } from '../service.ts';
import { scheduleConfirm, scheduleNotes } from '../transitions.ts';
import { effects } from './effects.ts';
import {
  customerMessages,
  endText,
  errorText,
  listButton,
  prefixOf,
  refusedPage,
  shownValues,
} from './parts.ts';

/** How long the agent waits for RevenueCat after a button; then the action continues in the background. */
const ANSWER_TIMEOUT_MS = 3_800;
/** A first press longer ago is no longer being worked on. */
const FIRST_PRESS_MS = 10_000;
/** A job that has not run for this long may be lost. */
const OVERDUE_MS = MINUTE_MS;

/**
 * The state of an action, and what can be done about it.
 *
 * @param url the single-use link of a portal
 */
export async function actionResult(context: ViewContext, action: Action, url?: string): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { state, kind, actionId } = action;
  if (state === 'awaiting_approval') return approvalCanvas(context, action);
  const facts = factsTable(context, action);
  if (UNCONFIRMED_STATES.includes(state)) {
    // A lost job is queued again when an agent looks at what it should have completed.
    if (context.services.now() - lastStepAtMs(action) > OVERDUE_MS)
      await scheduleConfirm(context.services, action, 0);
    const refresh = button(`grant:${actionId}`, t('grant.button.refresh'), 'secondary');
    return context.page([text(headline(context, action), 'muted'), facts, refresh]);
  }
  if (state === 'failed') {
    const next =
      kind === 'grant' ? button('grant', t('grant.button.tryAgain'), 'secondary') : listButton(context, kind);
    return context.page([
      text(errorText(context, kind, failed(action.error ?? 'other')), 'error'),
      facts,
      next,
    ]);
  }
  return context.page([
    text(headline(context, action), isKept(action) ? 'error' : 'paragraph'),
    ...(state === 'confirmed' || state === 'revoked' ? customerText(context, action, url) : []),
    await noteProblem(context, action),
    facts,
    listButton(context, kind),
    ...(kind === 'grant' && isActiveGrant(action, context.services.now())
      ? runningButtons(context, action)
      : []),
  ]);
}

/** RevenueCat kept what was there before. */
function isKept(action: Action): boolean {
  return action.kind === 'grant' && action.state === 'confirmed' && action.isUnchanged;
}

function headline(context: ViewContext, action: Action): string {
  const { t } = context.messages;
  const values = shownValues(context, action);
  const { state, kind } = action;
  if (kind !== 'grant') {
    if (state === 'declined' || state === 'withdrawn') return t(`action.result.${state}`, values);
    return state === 'confirmed' ? t(`action.result.${kind}`, values) : t('action.state.pending');
  }
  switch (state) {
    case 'requested':
      return t('grant.state.pending');
    case 'revoking':
      return t('grant.state.revokePending');
    case 'confirmed': {
      const { end = null } = values;
      if (!isActiveGrant(action, context.services.now()))
        return t('grant.result.ended', { ...values, date: end });
      return action.isUnchanged
        ? t('grant.result.unchanged', { end: endText(context, grantEndMs(action)) })
        : t('grant.result.granted', values);
    }
    default:
      return t(`grant.result.${state as 'declined' | 'withdrawn' | 'revoked'}`, values);
  }
}

/** A text to copy into the reply, in the customer's language. */
function customerText(context: ViewContext, action: Action, url?: string): Part[] {
  const { messages, services } = context;
  const inReply = customerMessages(context);
  const { t } = inReply;
  const values = { ...messageValuesOf(inReply, action), url: url ?? '' };
  const field = (value: string): Component => ({
    type: 'textarea',
    id: action.kind === 'grant' ? 'grant.tell' : 'action.tell',
    label: messages.t('grant.label.customerText'),
    value,
  });
  if (action.kind === 'manage' && url === undefined)
    return [text(messages.t('action.state.linkShownOnce'), 'muted')];
  if (action.kind !== 'grant') return [field(t(`action.customerText.${variantOf(action)}`, values))];
  if (action.state === 'revoked') return [field(t('grant.customerText.revoked', values))];
  if (action.isUnchanged || !isActiveGrant(action, services.now())) return [];
  const { requestedEndMs } = action;
  const isOther = !isSameEnd(grantEndMs(action), requestedEndMs);
  const other = messages.t('grant.result.otherEnd', { end: endText(context, requestedEndMs) });
  return [isOther && text(other, 'muted'), field(t('grant.customerText.granted', values))];
}

function runningButtons({ messages: { t }, customer }: ViewContext, grant: Grant): Part[] {
  const canExtend = !isForever(grantEndMs(grant)) && customer.project.apiKey !== null;
  return [
    canExtend && button(`extend:${grant.actionId}`, t('grant.button.extend'), 'secondary'),
    button(`revoke:${grant.actionId}`, t('grant.button.revoke'), 'secondary'),
  ];
}

/** What a transfer and a restored order are about is not a product. */
function subjectLabel({ kind }: StoreAction) {
  if (kind === 'transfer') return 'action.label.target';
  return kind === 'restore' ? 'action.label.transaction' : 'action.label.product';
}

type Rows = Parameters<typeof table>[0];

/** What, who, why; and who decided. */
function factsTable(context: ViewContext, action: Action): Part[] {
  const { messages } = context;
  const { t } = messages;
  const { state, decidedBy, admin } = action;
  const isMade = state === 'confirmed' || state === 'revoking' || state === 'revoked';
  const isRequest = decidedBy !== null || !isMade;
  const by = isRequest ? 'grant.label.requestedBy' : 'grant.label.grantedBy';
  const what: Rows =
    action.kind === 'grant'
      ? [
          [t('grant.label.entitlement'), action.entitlementName],
          // The end of a grant that was revoked or never made would mislead.
          [
            t('grant.label.until'),
            state === 'revoked' || state === 'failed' ? null : endText(context, grantEndMs(action)),
          ],
        ]
      : [
          [t(subjectLabel(action)), action.details.product],
          [t('action.label.amount'), action.details.amount && messages.money(action.details.amount)],
          [t('action.label.transaction'), action.details.transactionId],
        ];
  const removed: Rows =
    action.kind === 'grant' && state === 'revoked'
      ? [
          [t('grant.label.removedBy'), action.revokedBy && nameOf(action.revokedBy)],
          [t('grant.label.reason'), action.revokeReason],
        ]
      : [];
  return table([
    ...what,
    [t(action.kind === 'grant' ? by : 'action.label.by'), nameOf(admin)],
    [
      t(state === 'declined' ? 'grant.label.declinedBy' : 'grant.label.approvedBy'),
      decidedBy && nameOf(decidedBy),
    ],
    [t('grant.label.on'), messages.dateTime(action.createdAtMs)],
    [t('grant.label.reason'), action.reason],
    ...removed,
    [t('grant.label.customer'), action.appUserId],
  ]);
}

async function noteProblem({ services, messages }: ViewContext, action: Action): Promise<Part[]> {
  const states = await readNoteStates(services.database, action);
  if (states.includes('queued') && services.now() - lastStepAtMs(action) > OVERDUE_MS)
    await scheduleNotes(services, action);
  return states.includes('failed') ? [text(messages.t('grant.state.noteFailed'), 'muted')] : [];
}

/** An action that waits for a second teammate: its requester may withdraw it, others who may do it decide. */
export async function approvalCanvas(
  context: ViewContext,
  action: Action,
  problem?: string,
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { actionId, kind, admin } = action;
  const isGrant = kind === 'grant';
  const isOwn = admin.id === context.request.admin.id;
  const refusal = isOwn ? null : findRefusalExceptLimit(context, action);
  const canDecide = !isOwn && !refusal;
  const review = canDecide || !isGrant ? await handlerOf(action).reviewRequested(context, action) : null;
  const waits = isGrant
    ? isOwn
      ? 'grant.result.awaitingOwn'
      : 'grant.result.awaiting'
    : 'action.result.awaiting';
  const decision = (id: string, label: string, style: 'primary' | 'secondary' = 'secondary'): Component =>
    button(`${prefixOf(kind)}.${id}`, label, style);
  return context.page(
    [
      isGrant && canDecide && tightText(t('grant.title.approval'), 'header'),
      text(t(waits, shownValues(context, action))),
      problem !== undefined && text(problem, 'error'),
      review && effects(context, review),
      factsTable(context, action),
      refusal && text(errorText(context, kind, refused(refusal)), 'muted'),
      isOwn && decision('withdraw', t('grant.button.withdraw')),
      ...(canDecide
        ? [
            decision('approve', t(isGrant ? 'grant.button.approve' : 'action.button.approve'), 'primary'),
            decision('decline', t('grant.button.decline')),
          ]
        : [listButton(context, kind)]),
    ],
    { decide: actionId, ...(review && canDecide ? { review } : {}) },
  );
}

/**
 * Shows what some work results in, unless it takes longer than the agent waits. It then continues in the background,
 * and the card shows the state of the action.
 */
export async function showResult(
  context: ViewContext,
  work: Promise<ActionResult>,
  otherwise: {
    readonly kind: ActionKind;
    /** The action as it is stored now. */
    find(): Promise<Action | null>;
    onError(error: ActionError): InboxCanvas | Promise<InboxCanvas>;
  },
): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { kind } = otherwise;
  const pressedAtMs = Date.now();
  const done = await withTimeout(orActionError(work), ANSWER_TIMEOUT_MS, () => null);
  if (done instanceof ActionError)
    return done.code === 'unconfirmed' ? refusedPage(context, kind, done) : otherwise.onError(done);
  if (done) {
    const action = done.isRepeated ? await waitForFirstPress(context, done.action, pressedAtMs) : done.action;
    return actionResult(context, action, done.url);
  }
  const { workspaceId } = context.workspace;
  work.catch((error: unknown) => {
    if (!(error instanceof ActionError))
      context.services.logger.error({ err: error, workspaceId }, 'action failed');
  });
  const action = await otherwise.find();
  if (action) return actionResult(context, action);
  const pending = t(kind === 'grant' ? 'grant.state.pending' : 'action.state.pending');
  return context.page([text(pending, 'muted'), button('grants', t('grant.button.grants'), 'secondary')]);
}

/** Waits for the result of a first press of the same button, for as long as the agent waits. */
async function waitForFirstPress(context: ViewContext, action: Action, sinceMs: number): Promise<Action> {
  let now = action;
  if (context.services.now() - lastStepAtMs(action) > FIRST_PRESS_MS) return now;
  while (UNCONFIRMED_STATES.includes(now.state) && Date.now() < sinceMs + ANSWER_TIMEOUT_MS) {
    await sleep(150);
    now = await readAgain(context.services.database, now);
  }
  return now;
}
