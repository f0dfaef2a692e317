import { button, type Component, type InboxCanvas, table, text } from '../../intercom/canvas.ts';
import { storeName } from '../../subscription/names.ts';
import { DAY_MS, isForever } from '../../time.ts';
import { entitlementName, findNoEffect, isAnonymousOnly, upcomingCharges } from '../access.ts';
import type { ActionView } from '../context.ts';
import { isDuration } from '../durations.ts';
import { needsApproval, type Refusal } from '../policy.ts';
import { findByKey } from '../repository.ts';
import {
  addedToMs,
  type ConfirmResult,
  confirmGrant,
  type GrantForm,
  grantedDays,
  type Review,
  reviewGrant,
} from '../service.ts';
import { type FormError, type FormPage, grantForm, reviewedForm } from './form.ts';
import {
  accessText,
  answerInTime,
  blockedPage,
  exactEnd,
  failureText,
  refusalText,
  refusedPage,
  waitForFirstPress,
} from './format.ts';
import { grantResult } from './result.ts';

/** Shows exactly what will happen, and gives the confirm button a key that works once. */
export async function grantReview(view: ActionView, form: FormPage): Promise<InboxCanvas> {
  const { t } = view.messages;
  const result = await reviewGrant(view, form);
  switch (result.kind) {
    case 'blocked':
      return blockedPage(view, result.blocker);
    case 'invalid':
      if (result.problem === 'noEntitlements') return grantForm(view, form);
      return grantForm(view, form, {
        text: t(`grant.problem.${result.problem}`),
        ...(result.problem.startsWith('end') ? { field: 'end' as const } : {}),
      });
    case 'refused':
      return grantForm(view, form, refusedField(view, result.refusal, form));
    case 'failed':
      return view.page([
        text(failureText(view, result.code), 'error'),
        button('grant', t('grant.button.tryAgain'), 'secondary'),
      ]);
    case 'ready':
      return reviewCanvas(view, result);
  }
}

function refusedField(view: ActionView, refusal: Refusal, form: GrantForm): FormError {
  const isReason = refusal.code === 'reason_missing' || refusal.code === 'reason_too_long';
  const field = isReason ? 'reason' : refusal.code === 'too_long' && form.end ? 'end' : undefined;
  return { text: refusalText(view, refusal), ...(field ? { field } : {}) };
}

/** What the customer has now, what they will get, and what the agent should know before. */
function reviewCanvas(view: ActionView, review: Review, problem?: string): InboxCanvas {
  const { t } = view.messages;
  const { reviewed, access } = review;
  const policy = view.workspace.settings.grants;
  const entitlement = review.entitlements.find(({ id }) => id === reviewed.entitlementId);
  const name = entitlement ? entitlementName(view.customer, entitlement) : reviewed.entitlementId;
  const isApprovalNeeded = needsApproval(policy, grantedDays(view.context.now(), reviewed));
  const noEffect = findNoEffect(reviewed, reviewed.endMs);
  const canAdd = noEffect && reviewed.start === 'now' && !isForever(noEffect.endMs);
  const gets = t('grant.access.until', { entitlement: name, end: exactEnd(view, reviewed.endMs) });
  const second = { days: policy.secondPersonAboveDays ?? 0 };
  return view.page(
    [
      text(t('grant.title.review'), 'header', true),
      ...(problem ? [text(problem, 'error')] : []),
      ...(noEffect ? [] : [text(`${t('grant.label.newAccess')}: **${gets}**`)]),
      ...table([
        [t('grant.label.currentAccess'), accessText(view, access)],
        [t('grant.label.customer'), reviewed.appUserId],
        [t('grant.label.reason'), reviewed.reason],
      ]),
      ...(noEffect
        ? [text(t(`grant.noEffect.${noEffect.kind}`, { end: exactEnd(view, noEffect.endMs) }), 'error')]
        : effects(view, review, entitlement?.lookupKey ?? '')),
      ...remarks(view, review),
      ...(isApprovalNeeded ? [text(t('grant.form.secondPerson', second), 'muted')] : []),
      ...(noEffect
        ? []
        : [
            button(
              'grant.confirm',
              t(isApprovalNeeded ? 'grant.button.requestApproval' : 'grant.button.confirm'),
              'primary',
            ),
          ]),
      ...(canAdd && isDuration(reviewed.duration) && reviewed.duration !== 'lifetime'
        ? [button('grant.add', t('grant.button.addToEnd'), 'secondary')]
        : []),
      button('grant.change', t('grant.button.change'), 'secondary'),
    ],
    { grant: reviewed },
  );
}

/** How many days the grant adds to which end, and what stores charge in the meantime. */
function effects(view: ActionView, { reviewed }: Review, lookupKey: string): Component[] {
  const { t, money, date } = view.messages;
  const nowMs = view.context.now();
  const currentEndMs = addedToMs(nowMs, reviewed);
  const isAdded = currentEndMs > nowMs && currentEndMs < reviewed.endMs;
  const days = Math.round((reviewed.endMs - (isAdded ? currentEndMs : nowMs)) / DAY_MS);
  const charges = upcomingCharges(view.customer, lookupKey, { fromMs: nowMs, endMs: reviewed.endMs });
  return [
    ...(isForever(reviewed.endMs)
      ? []
      : [
          text(
            t('grant.review.adds', {
              days,
              from: isAdded ? exactEnd(view, currentEndMs) : null,
              to: exactEnd(view, reviewed.endMs),
            }),
          ),
        ]),
    ...charges.map((charge) =>
      text(
        t('grant.review.charge', {
          amount: charge.price && charge.price.amountMinor > 0 ? money(charge.price) : null,
          store: t('sentence.charger', { store: charge.store, name: storeName(charge.store) }),
          date: date(charge.atMs),
        }),
        'muted',
      ),
    ),
  ];
}

function remarks(view: ActionView, { access }: Review): Component[] {
  const { customer, messages } = view;
  const asOfMs = customer.subscriber.snapshotAtMs ?? customer.latest[0]?.atMs ?? view.context.now();
  return [
    ...(access.isStored
      ? [text(messages.t('grant.review.storedAsOf', { date: messages.dateTime(asOfMs) }), 'muted')]
      : []),
    ...(isAnonymousOnly(customer) ? [text(messages.t('grant.state.anonymous'), 'muted')] : []),
  ];
}

/** Makes the grant that was reviewed; pressed twice, shows the first one's result. */
export async function grantConfirm(view: ActionView): Promise<InboxCanvas> {
  const { t } = view.messages;
  const pressedAtMs = Date.now();
  const reviewed = view.formState.grant;
  if (reviewed?.subscriberId !== view.customer.subscriber.subscriberId) {
    return view.page([
      text(t('card.state.outdated'), 'error'),
      button('grant', t('grant.button.grant'), 'secondary'),
    ]);
  }
  const { workspaceId } = view.workspace;
  const result = await answerInTime<ConfirmResult | null>(view, confirmGrant(view, reviewed), async () => {
    const grant = await findByKey(view.context.database, workspaceId, reviewed.key);
    return grant?.kind === 'grant' ? { kind: 'done', grant, isKnown: false } : null;
  });
  switch (result?.kind) {
    case undefined:
      return view.page([
        text(t('grant.state.pending'), 'muted'),
        button('grants', t('grant.button.grants'), 'secondary'),
      ]);
    case 'done': {
      const grant = result.isKnown ? await waitForFirstPress(view, result.grant, pressedAtMs) : result.grant;
      return grantResult(view, grant);
    }
    case 'review_again':
      return reviewCanvas(view, result, t(`grant.state.${result.reason}`));
    case 'unavailable':
      return reviewCanvas(view, result, failureText(view, result.code));
    case 'blocked':
      return blockedPage(view, result.blocker);
    case 'refused':
      return refusedConfirm(view, result.refusal);
    case 'failed':
      return grantForm(view, reviewedForm(view), { text: failureText(view, result.code) });
    case 'invalid':
      return grantForm(view, reviewedForm(view), { text: t('grant.problem.endPast'), field: 'end' });
  }
}

function refusedConfirm(view: ActionView, refusal: Refusal): InboxCanvas | Promise<InboxCanvas> {
  if (refusal.code === 'unconfirmed')
    return view.page([
      text(refusalText(view, refusal), 'error'),
      button('grants', view.messages.t('grant.button.grants'), 'secondary'),
    ]);
  if (refusal.code === 'monthly_limit') return refusedPage(view, refusal);
  return grantForm(view, reviewedForm(view), { text: refusalText(view, refusal) });
}
