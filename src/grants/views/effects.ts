import { storeText } from '../../i18n/sentences.ts';
import { escapeMarkdown, type Part, table, text } from '../../intercom/canvas.ts';
import { isAnonymous } from '../../subscription/identities.ts';
import { storeName } from '../../subscription/names.ts';
import { DAY_MS, isForever } from '../../time.ts';
import { currentEndOrNow, endsAtReview, findNoEffect, upcomingCharges } from '../access.ts';
import { usableIds, type ViewContext } from '../context.ts';
import type { Reviewed, ReviewedGrant, ReviewedStoreAction } from '../form-state.ts';
import { accessText, exactEnd, shownValues } from './parts.ts';

/** Exactly what an action does, and what it does not. */
export function effects(context: ViewContext, reviewed: Reviewed): Part[] {
  return reviewed.kind === 'grant' ? grantEffects(context, reviewed) : storeEffects(context, reviewed);
}

/** What the customer has now, what they will get, and what the agent should know before. */
function grantEffects(context: ViewContext, reviewed: ReviewedGrant): Part[] {
  const { t } = context.messages;
  const { requestedEndMs, access } = reviewed;
  const noEffect = findNoEffect(endsAtReview(reviewed), requestedEndMs);
  const end = exactEnd(context, requestedEndMs);
  const gets = t('action.access.until', { name: escapeMarkdown(reviewed.entitlementName), end });
  return [
    !noEffect && text(`${t('action.label.newAccess')}: **${gets}**`),
    table([
      [t('action.label.currentAccess'), accessText(context, access)],
      [t('action.label.customer'), reviewed.appUserId],
      [t('action.label.reason'), reviewed.reason],
    ]),
    ...(noEffect
      ? [text(t(`action.noEffect.${noEffect.kind}`, { end: exactEnd(context, noEffect.endMs) }), 'error')]
      : [daysAdded(context, reviewed), charges(context, reviewed)]),
    remarks(context, access.isStored),
  ];
}

/** How many days the grant adds to which end. */
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

/** What stores charge although access is granted. */
function charges(context: ViewContext, { lookupKey, requestedEndMs: endMs }: ReviewedGrant): Part[] {
  const { t, money, date } = context.messages;
  const window = { fromMs: context.app.now(), endMs };
  return upcomingCharges(context.customer, lookupKey, window).map(({ price, store, endsAtMs }) => {
    const amount = price && price.amountMinor > 0 ? money(price) : null;
    const charger = t('sentence.charger', { store, name: storeName(store) });
    return text(t('action.effect.charge', { amount, store: charger, date: date(endsAtMs ?? 0) }), 'muted');
  });
}

function remarks({ customer, messages }: ViewContext, isStored: boolean): Part[] {
  const date = messages.dateTime(customer.dataAtMs);
  return [
    isStored && text(messages.t('action.access.storedAsOf', { date }), 'muted'),
    usableIds(customer).every(isAnonymous) && text(messages.t('action.access.anonymous'), 'muted'),
  ];
}

/** What happens, what does not, the sum, and who notifies the customer. */
function storeEffects(context: ViewContext, action: ReviewedStoreAction): Part[] {
  const { t, money } = context.messages;
  const { kind, details } = action;
  const { before, days = 0, amount, store, transactionId } = details;
  const endMs = before?.endsAtMs ?? null;
  const values = shownValues(context, action);
  const to = endMs === null || values.end === null ? null : exactEnd(context, endMs + days * DAY_MS);
  const sum = amount ? money(amount) : t('action.state.amountUnknown');
  return [
    text(t(`action.effect.${kind}`, { ...values, to })),
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
