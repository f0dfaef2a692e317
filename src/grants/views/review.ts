import { setTimeout as sleep } from 'node:timers/promises';
import { button, type InboxCanvas, type Part, text } from '../../intercom/canvas.ts';
import { isForever, withTimeout } from '../../time.ts';
import { findNoEffect } from '../access.ts';
import { type Action, type ActionKind, type Refusal, UNCONFIRMED_STATES } from '../action.ts';
import { lastStepAtMs } from '../confirmation.ts';
import type { ActionResult, ActionView, Obstacle } from '../context.ts';
import type { Reviewed } from '../form-state.ts';
import { endsBefore } from '../grant-rules.ts';
import { readAgain } from '../repository.ts';
import { confirmReviewed, findDone, reviewAction, rulesOf } from '../service.ts';
import type { StoreForm } from '../store-rules.ts';
import { effects } from './effects.ts';
import { obstacleText, prefixOf, refusedPage } from './format.ts';
import { type GrantFormPage, grantForm, grantFormOf, reviewedForm, submittedGrant } from './grant-form.ts';
import { actionResult } from './result.ts';
import { storeForm, submittedStoreForm, tryAgainPage } from './store-form.ts';

/** How long the agent waits for RevenueCat after a button; then the action continues in the background. */
const ANSWER_TIMEOUT_MS = 3_800;
/** A first press longer ago is no longer being worked on. */
const FIRST_PRESS_MS = 10_000;

/** What another choice in the form can change. */
const FORM_REFUSALS: readonly Refusal['code'][] = [
  'reason_missing',
  'reason_too_long',
  'too_long',
  'lifetime_not_allowed',
  'no_effect',
];

export function reviewGrant(view: ActionView): Promise<InboxCanvas> {
  return showReview(view, submittedGrant(view));
}

/** The same duration, added to an end that would stay. */
export function addToEnd(view: ActionView): Promise<InboxCanvas> {
  return showReview(view, { ...reviewedForm(view), start: 'after' });
}

export function reviewStoreAction(view: ActionView): InboxCanvas | Promise<InboxCanvas> {
  const form = submittedStoreForm(view);
  return form ? showReview(view, form) : view.page([text(view.messages.t('action.state.notFound'), 'muted')]);
}

/** Shows exactly what will happen, and gives the confirm button a key that works once. */
async function showReview(view: ActionView, form: GrantFormPage | StoreForm): Promise<InboxCanvas> {
  const result = await reviewAction(view, form);
  return result.kind === 'ready' ? reviewCanvas(view, result.reviewed) : formAgain(view, form, result);
}

/** The form as it was, with what is wrong; or why no form could change it. */
function formAgain(
  view: ActionView,
  form: GrantFormPage | StoreForm,
  obstacle: Obstacle,
): InboxCanvas | Promise<InboxCanvas> {
  if (obstacle.kind === 'refused' && !FORM_REFUSALS.includes(obstacle.code))
    return refusedPage(view, form.kind, obstacle);
  const problem = obstacleText(view, form.kind, obstacle);
  if (form.kind !== 'grant')
    return obstacle.kind === 'failed'
      ? tryAgainPage(view, form, { problem, id: 'action.review' })
      : storeForm(view, form, problem);
  const { code } = obstacle;
  const isReason = code === 'reason_missing' || code === 'reason_too_long';
  const isEnd = (obstacle.kind === 'invalid' && code.startsWith('end')) || (code === 'too_long' && form.end);
  return grantForm(view, form, {
    text: problem,
    ...(isReason ? { field: 'reason' as const } : isEnd ? { field: 'end' as const } : {}),
  });
}

function reviewCanvas(view: ActionView, reviewed: Reviewed, problem?: string): InboxCanvas {
  return view.page(
    [
      text(view.messages.t(`action.title.${reviewed.kind}`), 'header', true),
      problem !== undefined && text(problem, 'error'),
      effects(view, reviewed),
      reviewButtons(view, reviewed),
    ],
    { review: reviewed },
  );
}

function reviewButtons(view: ActionView, reviewed: Reviewed): Part[] {
  const { t } = view.messages;
  const { kind } = reviewed;
  const isApprovalNeeded = rulesOf(reviewed).needsSecondPerson(view, reviewed);
  const label = isApprovalNeeded ? 'grant.button.requestApproval' : (`action.confirm.${kind}` as const);
  const noEffect = kind === 'grant' ? findNoEffect(endsBefore(reviewed), reviewed.requestedEndMs) : null;
  return [
    isApprovalNeeded && text(secondPersonText(view, kind), 'muted'),
    !noEffect && button(`${prefixOf(kind)}.confirm`, t(label), 'primary'),
    noEffect &&
      canAdd(reviewed, noEffect.endMs) &&
      button('grant.add', t('grant.button.addToEnd'), 'secondary'),
    button(changeId(reviewed), t('grant.button.change'), 'secondary'),
  ];
}

function secondPersonText({ messages: { t }, workspace }: ActionView, kind: ActionKind): string {
  const { grants, actions } = workspace.settings;
  return kind === 'grant'
    ? t('grant.form.secondPerson', { days: grants.secondPersonAboveDays ?? 0 })
    : t('action.state.secondPerson', { max: actions.refund.maxAmountAlone ?? 0 });
}

/** Leads back to the form. */
function changeId(reviewed: Reviewed): string {
  if (reviewed.kind === 'grant') return 'grant.change';
  return reviewed.subscription === '' ? 'transfer' : `${reviewed.kind}:${reviewed.subscription}`;
}

/** Whether the duration can be added to an end that stays. */
function canAdd(reviewed: Reviewed, endMs: number): boolean {
  if (reviewed.kind !== 'grant' || reviewed.start !== 'now' || isForever(endMs)) return false;
  return reviewed.duration !== 'custom' && reviewed.duration !== 'lifetime';
}

/** Does what was reviewed; pressed twice, shows the first one's result. */
export async function confirmReview(view: ActionView): Promise<InboxCanvas> {
  const { t } = view.messages;
  const { review: reviewed } = view.formState;
  if (reviewed?.subscriberId !== view.customer.subscriber.subscriberId) {
    return view.page([
      text(t('card.state.outdated'), 'error'),
      button('grant', t('grant.button.grant'), 'secondary'),
    ]);
  }
  return showResult(view, confirmReviewed(view, reviewed), {
    kind: reviewed.kind,
    find: async () => (await findDone(view, reviewed))?.action ?? null,
    onObstacle: (obstacle) =>
      obstacle.kind === 'failed'
        ? reviewCanvas(view, reviewed, obstacleText(view, reviewed.kind, obstacle))
        : formAgain(view, formOf(reviewed), obstacle),
  });
}

/** The form as it was before the review. */
function formOf(reviewed: Reviewed): GrantFormPage | StoreForm {
  if (reviewed.kind === 'grant') return grantFormOf(reviewed);
  const { kind, subscription, reason } = reviewed;
  return { kind: kind === 'restore' ? 'transfer' : kind, subscription, reason };
}

/**
 * Shows what some work results in, unless it takes longer than the agent waits. It then continues in the background,
 * and the card shows the state of the action.
 */
export async function showResult(
  view: ActionView,
  work: Promise<ActionResult>,
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
  const result = await withTimeout(work, ANSWER_TIMEOUT_MS, () => null);
  if (result === null) {
    const { workspaceId } = view.workspace;
    work.catch((error: unknown) => view.services.logger.error({ err: error, workspaceId }, 'action failed'));
    const action = await otherwise.find();
    if (action) return actionResult(view, action);
    const pending = t(kind === 'grant' ? 'grant.state.pending' : 'action.state.pending');
    return view.page([text(pending, 'muted'), button('grants', t('grant.button.grants'), 'secondary')]);
  }
  switch (result.kind) {
    case 'done': {
      const { action, isKnown, url } = result;
      return actionResult(view, isKnown ? await waitForFirstPress(view, action, pressedAtMs) : action, url);
    }
    case 'review_again':
      return reviewCanvas(view, result.reviewed, t(`grant.failure.${result.reason}`));
    case 'refused':
      if (result.code === 'unconfirmed') return refusedPage(view, kind, result);
  }
  return otherwise.onObstacle(result);
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
