import { setTimeout as sleep } from 'node:timers/promises';
import { button, clip, type InboxCanvas, text } from '../../intercom/canvas.ts';
import { withTimeout } from '../../time.ts';
import {
  type Action,
  type ActionKind,
  type ActionResult,
  isActiveGrant,
  UNCONFIRMED_STATES,
} from '../action.ts';
import { ActionError, orActionError } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import type { Reviewed } from '../form-state.ts';
import { MAX_REASON_LENGTH } from '../policy.ts';
import { readAgain } from '../repository.ts';
import { findEarlier, performReviewed, revokeGrant } from '../service.ts';
import { formOf } from './form.ts';
import { errorText, listButton, refusedPage, removalErrorText } from './parts.ts';
import { formAgain, reviewCanvas } from './review.ts';
import { actionResult, approvalCanvas, removalCanvas } from './stored-actions.ts';

/** How long the agent waits for RevenueCat after a button; then the action continues in the background. */
const ANSWER_TIMEOUT_MS = 3_800;

/** Does what was reviewed; pressed twice, shows the first one's result. */
export async function confirmReview(context: ViewContext): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { review: reviewed } = context.formState;
  if (reviewed?.subscriberId !== context.customer.subscriberId) {
    const { kind } = reviewed ?? formOf(context);
    return context.page([
      text(t('card.state.outdated'), 'error'),
      kind === 'grant'
        ? button('grant', t('action.title.grant'), 'secondary')
        : button('details', t('card.button.details'), 'secondary'),
    ]);
  }
  return showResult(context, performReviewed(context, reviewed), {
    kind: reviewed.kind,
    find: async () => (await findEarlier(context, reviewed))?.action ?? null,
    onError(error) {
      const form = formOf(context);
      if (error.kind !== 'failed' && error.kind !== 'outdated') return formAgain(context, form, error);
      const problem = errorText(context, reviewed.kind, error);
      return reviewCanvas(context, { review: error.again ?? reviewed, form }, problem);
    },
  });
}

/** Approves or declines what waits for a second teammate; its requester withdraws it. */
export function decide(
  work: (context: ViewContext, action: Action, shown?: Reviewed) => Promise<ActionResult>,
): (context: ViewContext, action: Action) => Promise<InboxCanvas> {
  return (context, action) => {
    const again = (problem: string): Promise<InboxCanvas> => approvalCanvas(context, action, problem);
    if (context.isOutdated && action.state === 'awaiting_approval')
      return again(context.messages.t('action.outdated.stale'));
    return showResult(context, work(context, action, context.formState.review), {
      kind: action.kind,
      find: () => readAgain(context.app.database, action),
      // An approver cannot change the request.
      onError: ({ kind, code, values }) => {
        const error = new ActionError(kind, code, { values: { ...values, step: 'approve' } });
        return again(errorText(context, action.kind, error));
      },
    });
  };
}

/** Removes the grant that was reviewed; pressed twice, shows the result of the first press. */
export function revokeConfirm(context: ViewContext, action: Action): Promise<InboxCanvas> {
  const again = (problem: string): Promise<InboxCanvas> => removalCanvas(context, action, problem);
  if (context.isOutdated && isActiveGrant(action, context.app.now()))
    return again(context.messages.t('action.outdated.stale'));
  const reason = clip((context.request.inputs['revoke.reason'] ?? '').trim(), MAX_REASON_LENGTH);
  return showResult(context, revokeGrant(context, action, reason), {
    kind: 'grant',
    find: () => readAgain(context.app.database, action),
    onError: (error) => again(removalErrorText(context, error)),
  });
}

/**
 * Shows the result of `work`. If that takes longer than the agent waits, it continues in the background and the card
 * shows the state of the action.
 */
async function showResult(
  context: ViewContext,
  work: Promise<ActionResult>,
  otherwise: {
    readonly kind: ActionKind;
    /** The action as it is stored now. */
    find(): Promise<Action | null>;
    onError(error: ActionError): InboxCanvas | Promise<InboxCanvas>;
  },
): Promise<InboxCanvas> {
  const { kind } = otherwise;
  const answerAtMs = Date.now() + ANSWER_TIMEOUT_MS;
  const done = await withTimeout(orActionError(work), ANSWER_TIMEOUT_MS, () => null);
  if (done instanceof ActionError)
    return done.code === 'unconfirmed' ? refusedPage(context, kind, done) : otherwise.onError(done);
  if (done) {
    let { action } = done;
    // The first click on the same button is still in progress: wait for its result.
    while (done.isRepeated && UNCONFIRMED_STATES.includes(action.state) && Date.now() < answerAtMs) {
      await sleep(150);
      action = await readAgain(context.app.database, action);
    }
    return actionResult(context, action, done.url);
  }
  const { workspaceId } = context.workspace;
  work.catch((error: unknown) => {
    if (!(error instanceof ActionError))
      context.app.logger.error({ err: error, workspaceId }, 'action failed');
  });
  const action = await otherwise.find();
  if (action) return actionResult(context, action);
  return context.page([text(context.messages.t('action.result.pending'), 'muted'), listButton(context)]);
}
