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
  failed,
  type Grant,
  grantEndMs,
  nameOf,
  Obstacle,
  orObstacle,
  type StoreAction,
  UNCONFIRMED_STATES,
} from '../action.ts';
import { lastStepAtMs } from '../confirmation.ts';
import type { ActionView } from '../context.ts';
import { isSameEnd } from '../durations.ts';
import { readNoteStates } from '../notes.ts';
import { readAgain } from '../repository.ts';
import { findBlocker, rulesOf } from '../rules.ts';
import { type Done, isRunning } from '../service.ts';
import { scheduleConfirm, scheduleNotes } from '../steps.ts';
import { valuesOf, variantOf } from '../texts.ts';
import { effects } from './effects.ts';
import {
  customerMessages,
  endText,
  listButton,
  obstacleText,
  prefixOf,
  refusedPage,
  shownValues,
} from './format.ts';

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
export async function actionResult(view: ActionView, action: Action, url?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { state, kind, actionId } = action;
  if (state === 'awaiting_approval') return approvalView(view, action);
  const facts = factsTable(view, action);
  if (UNCONFIRMED_STATES.includes(state)) {
    // A lost job is queued again when an agent looks at what it should have completed.
    if (view.services.now() - lastStepAtMs(action) > OVERDUE_MS)
      await scheduleConfirm(view.services, action, 0);
    const refresh = button(`grant:${actionId}`, t('grant.button.refresh'), 'secondary');
    return view.page([text(headline(view, action), 'muted'), facts, refresh]);
  }
  if (state === 'failed') {
    const next =
      kind === 'grant' ? button('grant', t('grant.button.tryAgain'), 'secondary') : listButton(view, kind);
    return view.page([text(obstacleText(view, kind, failed(action.error ?? 'other')), 'error'), facts, next]);
  }
  return view.page([
    text(headline(view, action), isKept(action) ? 'error' : 'paragraph'),
    ...(state === 'confirmed' || state === 'revoked' ? customerText(view, action, url) : []),
    await noteProblem(view, action),
    facts,
    listButton(view, kind),
    ...(kind === 'grant' && isRunning(action, view.services.now()) ? runningButtons(view, action) : []),
  ]);
}

/** RevenueCat kept what was there before. */
function isKept(action: Action): boolean {
  return action.kind === 'grant' && action.state === 'confirmed' && action.isUnchanged;
}

function headline(view: ActionView, action: Action): string {
  const { t } = view.messages;
  const values = shownValues(view, action);
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
      if (!isRunning(action, view.services.now())) return t('grant.result.ended', { ...values, date: end });
      return action.isUnchanged
        ? t('grant.result.unchanged', { end: endText(view, grantEndMs(action)) })
        : t('grant.result.granted', values);
    }
    default:
      return t(`grant.result.${state as 'declined' | 'withdrawn' | 'revoked'}`, values);
  }
}

/** A text to copy into the reply, in the customer's language. */
function customerText(view: ActionView, action: Action, url?: string): Part[] {
  const { messages, services } = view;
  const inReply = customerMessages(view);
  const { t } = inReply;
  const values = { ...valuesOf(inReply, action), url: url ?? '' };
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
  if (action.isUnchanged || !isRunning(action, services.now())) return [];
  const { requestedEndMs } = action;
  const isOther = !isSameEnd(grantEndMs(action), requestedEndMs);
  const other = messages.t('grant.result.otherEnd', { end: endText(view, requestedEndMs) });
  return [isOther && text(other, 'muted'), field(t('grant.customerText.granted', values))];
}

function runningButtons({ messages: { t }, customer }: ActionView, grant: Grant): Part[] {
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
function factsTable(view: ActionView, action: Action): Part[] {
  const { messages } = view;
  const { t } = messages;
  const { state, decidedBy, admin } = action;
  const isMade = state === 'confirmed' || state === 'revoking' || state === 'revoked';
  const isRequest = decidedBy !== null || !isMade;
  const by = isRequest ? 'grant.label.requestedBy' : 'grant.label.grantedBy';
  const what: Rows =
    action.kind === 'grant'
      ? [
          [t('grant.label.entitlement'), action.entitlementName],
          // The end of what was revoked or never made would be read as one that holds.
          [
            t('grant.label.until'),
            state === 'revoked' || state === 'failed' ? null : endText(view, grantEndMs(action)),
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

async function noteProblem({ services, messages }: ActionView, action: Action): Promise<Part[]> {
  const states = await readNoteStates(services.database, action);
  if (states.includes('queued') && services.now() - lastStepAtMs(action) > OVERDUE_MS)
    await scheduleNotes(services, action);
  return states.includes('failed') ? [text(messages.t('grant.state.noteFailed'), 'muted')] : [];
}

/** An action that waits for a second teammate: its requester may withdraw it, others who may do it decide. */
export async function approvalView(view: ActionView, action: Action, problem?: string): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { actionId, kind, admin } = action;
  const isGrant = kind === 'grant';
  const isOwn = admin.id === view.request.admin.id;
  const blocker = isOwn ? null : findBlocker(view, action);
  const canDecide = !isOwn && !blocker;
  const review = canDecide || !isGrant ? await rulesOf(action).reviewRequested(view, action) : null;
  const waits = isGrant
    ? isOwn
      ? 'grant.result.awaitingOwn'
      : 'grant.result.awaiting'
    : 'action.result.awaiting';
  const decision = (id: string, label: string, style: 'primary' | 'secondary' = 'secondary'): Component =>
    button(`${prefixOf(kind)}.${id}`, label, style);
  return view.page(
    [
      isGrant && canDecide && tightText(t('grant.title.approval'), 'header'),
      text(t(waits, shownValues(view, action))),
      problem !== undefined && text(problem, 'error'),
      review && effects(view, review),
      factsTable(view, action),
      blocker && text(obstacleText(view, kind, { kind: 'refused', reason: blocker }), 'muted'),
      isOwn && decision('withdraw', t('grant.button.withdraw')),
      ...(canDecide
        ? [
            decision('approve', t(isGrant ? 'grant.button.approve' : 'action.button.approve'), 'primary'),
            decision('decline', t('grant.button.decline')),
          ]
        : [listButton(view, kind)]),
    ],
    { decide: actionId, ...(review && canDecide ? { review } : {}) },
  );
}

/**
 * Shows what some work results in, unless it takes longer than the agent waits. It then continues in the background,
 * and the card shows the state of the action.
 */
export async function showResult(
  view: ActionView,
  work: Promise<Done>,
  otherwise: {
    readonly kind: ActionKind;
    /** The action as it is stored now. */
    find(): Promise<Action | null>;
    onObstacle(obstacle: Obstacle): InboxCanvas | Promise<InboxCanvas>;
  },
): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { kind } = otherwise;
  const pressedAtMs = Date.now();
  const done = await withTimeout(orObstacle(work), ANSWER_TIMEOUT_MS, () => null);
  if (done instanceof Obstacle)
    return done.reason.code === 'unconfirmed'
      ? refusedPage(view, kind, done.reason)
      : otherwise.onObstacle(done);
  if (done) {
    const action = done.isKnown ? await waitForFirstPress(view, done.action, pressedAtMs) : done.action;
    return actionResult(view, action, done.url);
  }
  const { workspaceId } = view.workspace;
  work.catch((error: unknown) => {
    if (!(error instanceof Obstacle))
      view.services.logger.error({ err: error, workspaceId }, 'action failed');
  });
  const action = await otherwise.find();
  if (action) return actionResult(view, action);
  const pending = t(kind === 'grant' ? 'grant.state.pending' : 'action.state.pending');
  return view.page([text(pending, 'muted'), button('grants', t('grant.button.grants'), 'secondary')]);
}

/** Waits for the result of a first press of the same button, for as long as the agent waits. */
async function waitForFirstPress(view: ActionView, action: Action, sinceMs: number): Promise<Action> {
  let now = action;
  if (view.services.now() - lastStepAtMs(action) > FIRST_PRESS_MS) return now;
  while (UNCONFIRMED_STATES.includes(now.state) && Date.now() < sinceMs + ANSWER_TIMEOUT_MS) {
    await sleep(150);
    now = await readAgain(view.services.database, now);
  }
  return now;
}
