import { labeled, storeText } from '../../i18n/sentences.ts';
import {
  button,
  escapeMarkdown,
  type InboxCanvas,
  type Part,
  table,
  text,
  tightText,
} from '../../intercom/canvas.ts';
import { isAnonymous } from '../../subscription/app-user-ids.ts';
import { storeName } from '../../subscription/names.ts';
import { DAY_MS, isForever } from '../../time.ts';
import { currentEndOrNow, endsAtReview, endsOf, storedAccess, upcomingCharges } from '../access.ts';
import { ActionError, orActionError } from '../action-error.ts';
import type { ViewContext } from '../context.ts';
import type { Form, Reviewed, ReviewedGrant, ReviewedStoreAction } from '../form-state.ts';
import { noEffectOf } from '../grant.ts';
import { needsSecondPerson } from '../policy.ts';
import { usableIds } from '../read-revenuecat.ts';
import { reviewAction } from '../service.ts';
import { actionForm, formOf, submittedForm, tryAgainPage } from './form.ts';
import { accessText, exactEnd, prefixOf, refusedPage, secondPersonText, shownValues } from './parts.ts';

/** Refusals that another choice in the form can fix. */
const FORM_REFUSALS: readonly string[] = [
  'reason_missing',
  'reason_too_long',
  'too_long',
  'lifetime_not_allowed',
  'no_effect',
];

/** The form as it was before the review. */
export function changeForm(context: ViewContext): Promise<InboxCanvas> {
  return actionForm(context, formOf(context));
}

/** Shows exactly what will happen, and gives the confirm button a key that works once. */
export async function reviewForm(context: ViewContext): Promise<InboxCanvas> {
  const form = submittedForm(context);
  const reviewed = await orActionError(reviewAction(context, form));
  return reviewed instanceof ActionError
    ? formAgain(context, form, reviewed)
    : reviewCanvas(context, { review: reviewed, form });
}

/** Shows the form again with what is wrong, or an error page when no change to the form could help. */
export function formAgain(
  context: ViewContext,
  form: Form,
  error: ActionError,
): InboxCanvas | Promise<InboxCanvas> {
  const { kind, code } = error;
  if (kind === 'refused' && !FORM_REFUSALS.includes(code)) return refusedPage(context, form.kind, error);
  if (kind === 'failed' && form.kind !== 'grant')
    return tryAgainPage(context, form, { error, id: 'action.review' });
  return actionForm(context, form, error);
}

export function reviewCanvas(
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
  const noEffect = noEffectOf(reviewed);
  return [
    isApprovalNeeded && secondPersonText(context, kind),
    noEffect
      ? !isForever(noEffect.endMs) && text(t('action.form.laterEnd'), 'muted')
      : button(`${prefixOf(kind)}.confirm`, t(label), 'primary'),
    button('action.change', t('action.button.change'), 'secondary'),
  ];
}

/** Exactly what an action does, and what it does not. */
export function effects(context: ViewContext, reviewed: Reviewed): Part[] {
  return reviewed.kind === 'grant' ? grantEffects(context, reviewed) : storeEffects(context, reviewed);
}

/** What the customer has now, what they will get, and what the agent should know before. */
function grantEffects(context: ViewContext, reviewed: ReviewedGrant): Part[] {
  const { customer } = context;
  const { t, dateTime } = context.messages;
  const { requestedEndMs, access } = reviewed;
  const noEffect = noEffectOf(reviewed);
  const end = exactEnd(context, requestedEndMs);
  const gets = t('action.access.until', { name: escapeMarkdown(reviewed.entitlementName), end });
  return [
    !noEffect && text(labeled(context.messages, t('action.label.newAccess'), `**${gets}**`)),
    table([
      [t('action.label.currentAccess'), accessText(context, access)],
      [t('action.label.customer'), reviewed.appUserId],
      [t('action.label.reason'), reviewed.reason],
    ]),
    ...(noEffect
      ? [text(t(`action.noEffect.${noEffect.kind}`, { end: exactEnd(context, noEffect.endMs) }), 'error')]
      : [daysAdded(context, reviewed), charges(context, reviewed)]),
    access.isStored && text(t('action.access.storedAsOf', { date: dateTime(customer.dataAtMs) }), 'muted'),
    usableIds(customer).every(isAnonymous) && text(t('action.access.anonymous'), 'muted'),
  ];
}

function daysAdded(context: ViewContext, reviewed: ReviewedGrant): Part[] {
  const { requestedEndMs } = reviewed;
  if (isForever(requestedEndMs)) return [];
  const nowMs = context.app.now();
  const currentEndMs = currentEndOrNow(nowMs, endsAtReview(reviewed));
  const isAdded = currentEndMs > nowMs && currentEndMs < requestedEndMs;
  const values = {
    days: Math.round((requestedEndMs - (isAdded ? currentEndMs : nowMs)) / DAY_MS),
    from: isAdded ? exactEnd(context, currentEndMs) : null,
    to: exactEnd(context, requestedEndMs),
  };
  return [text(context.messages.t('action.effect.adds', values))];
}

function charges(context: ViewContext, reviewed: ReviewedGrant): Part[] {
  const { t, money, date } = context.messages;
  const { target: id, lookupKey, boughtEndMs } = reviewed;
  const stored = endsOf(storedAccess(context.customer), { id, lookupKey });
  return upcomingCharges(context, reviewed).map(({ sum, store, atMs }) => {
    const amount = sum && money(sum);
    const charger = t('sentence.charger', { store, name: storeName(store) });
    // The review read RevenueCat, but the event of a renewal or an extension may not have arrived here yet.
    const chargedAtMs = atMs === stored.boughtEndMs ? (boughtEndMs ?? atMs) : atMs;
    return text(t('action.effect.charge', { amount, store: charger, date: date(chargedAtMs) }), 'muted');
  });
}

/** What happens, what does not, the sum, and who notifies the customer. */
function storeEffects(context: ViewContext, action: ReviewedStoreAction): Part[] {
  const { t, money } = context.messages;
  const { kind, details } = action;
  const { before, days = 0, amount, store, transactionId } = details;
  const endMs = before?.endsAtMs ?? null;
  const values = shownValues(context, action);
  const endAfter = (addedDays: number): string | null =>
    endMs === null || values.end === null ? null : exactEnd(context, endMs + addedDays * DAY_MS);
  const sum = amount ? money(amount) : t('action.state.amountUnknown');
  return [
    text(t(`action.effect.${kind}`, { ...values, end: endAfter(0), to: endAfter(days) })),
    table([
      [t('action.label.amount'), kind === 'refund' ? sum : null],
      [t('action.label.transaction'), transactionId],
      [t('card.label.product'), details.targetType === 'customer' ? null : details.product],
      [t('card.label.store'), storeText(context.messages, store)],
      [t('action.label.customer'), action.appUserId],
      [t('action.label.reason'), action.reason],
    ]),
    kind !== 'manage' && text(t('action.effect.notifies', { store }), 'muted'),
  ];
}
