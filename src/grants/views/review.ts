import { button, type InboxCanvas, type Part, text, tightText } from '../../intercom/canvas.ts';
import { isForever } from '../../time.ts';
import { endsAtReview, findNoEffect } from '../access.ts';
import { ActionError, orActionError } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import type { Form, Reviewed } from '../form-state.ts';
import { needsSecondPerson } from '../policy.ts';
import { confirmReviewed, findEarlier, reviewAction } from '../service.ts';
import { effects } from './effects.ts';
import { grantForm, submittedGrant } from './grant-form.ts';
import { errorText, prefixOf, refusedPage, secondPersonText } from './parts.ts';
import { storeForm, submittedStoreForm, tryAgainPage } from './purchase.ts';
import { showResult } from './result.ts';

/** What another choice in the form can change. */
const FORM_REFUSALS: readonly string[] = [
  'reason_missing',
  'reason_too_long',
  'too_long',
  'lifetime_not_allowed',
  'no_effect',
];

export function reviewGrant(context: ViewContext): Promise<InboxCanvas> {
  return showReview(context, submittedGrant(context));
}

/** The same duration, added to an end that would stay. */
export function addToEnd(context: ViewContext): Promise<InboxCanvas> {
  const form = reviewedForm(context);
  return showReview(context, form.kind === 'grant' ? { ...form, start: 'after' } : form);
}

/** The form as it was before the review. */
export function changeForm(context: ViewContext): Promise<InboxCanvas> {
  const form = reviewedForm(context);
  return form.kind === 'grant' ? grantForm(context, form) : storeForm(context, form);
}

function reviewedForm({ formState }: ViewContext): Form {
  return formState.form ?? { kind: 'grant' };
}

export function reviewStoreAction(context: ViewContext): InboxCanvas | Promise<InboxCanvas> {
  const form = submittedStoreForm(context);
  return form
    ? showReview(context, form)
    : context.page([text(context.messages.t('action.state.notFound'), 'muted')]);
}

/** Shows exactly what will happen, and gives the confirm button a key that works once. */
async function showReview(context: ViewContext, form: Form): Promise<InboxCanvas> {
  const reviewed = await orActionError(reviewAction(context, form));
  return reviewed instanceof ActionError
    ? formAgain(context, form, reviewed)
    : reviewCanvas(context, { review: reviewed, form });
}

/** The form as it was, with what is wrong; or why no form could change it. */
function formAgain(context: ViewContext, form: Form, error: ActionError): InboxCanvas | Promise<InboxCanvas> {
  const { kind, code } = error;
  if (kind === 'refused' && !FORM_REFUSALS.includes(code)) return refusedPage(context, form.kind, error);
  if (form.kind === 'grant') return grantForm(context, form, error);
  if (kind === 'failed') return tryAgainPage(context, form, { error, id: 'action.review' });
  return storeForm(context, form, error);
}

function reviewCanvas(
  context: ViewContext,
  shown: { readonly review: Reviewed; readonly form: Form },
  problem?: string,
): InboxCanvas {
  const { review } = shown;
  return context.page(
    [
      tightText(context.messages.t(`action.title.${review.kind}`), 'header'),
      problem !== undefined && text(problem, 'error'),
      effects(context, review),
      reviewButtons(context, review),
    ],
    shown,
  );
}

function reviewButtons(context: ViewContext, reviewed: Reviewed): Part[] {
  const { t } = context.messages;
  const { kind } = reviewed;
  const isApprovalNeeded = needsSecondPerson(context, reviewed);
  const label = isApprovalNeeded ? 'action.button.requestApproval' : (`action.confirm.${kind}` as const);
  const noEffect = kind === 'grant' ? findNoEffect(endsAtReview(reviewed), reviewed.requestedEndMs) : null;
  return [
    isApprovalNeeded && secondPersonText(context, kind),
    !noEffect && button(`${prefixOf(kind)}.confirm`, t(label), 'primary'),
    noEffect &&
      canAdd(reviewed, noEffect.endMs) &&
      button('grant.add', t('action.button.addToEnd'), 'secondary'),
    button('action.change', t('action.button.change'), 'secondary'),
  ];
}

/** Whether the duration can be added to an end that stays. */
function canAdd(reviewed: Reviewed, endMs: number): boolean {
  if (reviewed.kind !== 'grant' || reviewed.start !== 'now' || isForever(endMs)) return false;
  return reviewed.duration !== 'custom' && reviewed.duration !== 'lifetime';
}

/** Does what was reviewed; pressed twice, shows the first one's result. */
export async function confirmReview(context: ViewContext): Promise<InboxCanvas> {
  const { t } = context.messages;
  const { review: reviewed } = context.formState;
  const form = reviewedForm(context);
  if (reviewed?.subscriberId !== context.customer.subscriber.subscriberId) {
    return context.page([
      text(t('card.state.outdated'), 'error'),
      button('grant', t('action.title.grant'), 'secondary'),
    ]);
  }
  return showResult(context, confirmReviewed(context, reviewed), {
    kind: reviewed.kind,
    find: async () => (await findEarlier(context, reviewed))?.action ?? null,
    onError: (error) =>
      error.kind === 'failed' || error.kind === 'outdated'
        ? reviewCanvas(
            context,
            { review: error.again ?? reviewed, form },
            errorText(context, reviewed.kind, error),
          )
        : formAgain(context, form, error),
  });
}
