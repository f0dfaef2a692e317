import { storeText } from '../../i18n/sentences.ts';
import { escapeMarkdown, type Part, table, text } from '../../intercom/canvas.ts';
import { storeName } from '../../subscription/names.ts';
import { DAY_MS, isForever } from '../../time.ts';
import { findNoEffect, upcomingCharges } from '../access.ts';
import {
  type ActionView,
  isAnonymousOnly,
  type Reviewed,
  type ReviewedGrant,
  type ReviewedStoreAction,
} from '../context.ts';
import { addedToMs, endsBefore } from '../grant.ts';
import { variantOf } from '../texts.ts';
import { accessText, exactEnd } from './format.ts';

/** Exactly what an action does, and what it does not. */
export function effects(view: ActionView, reviewed: Reviewed): Part[] {
  return reviewed.kind === 'grant' ? grantEffects(view, reviewed) : storeEffects(view, reviewed);
}

/** What the customer has now, what they will get, and what the agent should know before. */
function grantEffects(view: ActionView, reviewed: ReviewedGrant): Part[] {
  const { t } = view.messages;
  const { entitlementName: entitlement, requestedEndMs, access } = reviewed;
  const noEffect = findNoEffect(endsBefore(reviewed), requestedEndMs);
  const end = exactEnd(view, requestedEndMs);
  const gets = t('grant.access.until', { entitlement: escapeMarkdown(entitlement), end });
  return [
    !noEffect && text(`${t('grant.label.newAccess')}: **${gets}**`),
    table([
      [t('grant.label.currentAccess'), accessText(view, access)],
      [t('grant.label.customer'), reviewed.appUserId],
      [t('grant.label.reason'), reviewed.reason],
    ]),
    ...(noEffect
      ? [text(t(`grant.noEffect.${noEffect.kind}`, { end: exactEnd(view, noEffect.endMs) }), 'error')]
      : [daysAdded(view, reviewed), charges(view, reviewed)]),
    remarks(view, access.isStored),
  ];
}

/** How many days the grant adds to which end. */
function daysAdded(view: ActionView, reviewed: ReviewedGrant): Part[] {
  const { requestedEndMs } = reviewed;
  if (isForever(requestedEndMs)) return [];
  const nowMs = view.services.now();
  const currentEndMs = addedToMs(nowMs, endsBefore(reviewed));
  const isAdded = currentEndMs > nowMs && currentEndMs < requestedEndMs;
  const values = {
    days: Math.round((requestedEndMs - (isAdded ? currentEndMs : nowMs)) / DAY_MS),
    from: isAdded ? exactEnd(view, currentEndMs) : null,
    to: exactEnd(view, requestedEndMs),
  };
  return [text(view.messages.t('grant.review.adds', values))];
}

/** What stores charge although access is granted. */
function charges(view: ActionView, { lookupKey, requestedEndMs: endMs }: ReviewedGrant): Part[] {
  const { t, money, date } = view.messages;
  const window = { fromMs: view.services.now(), endMs };
  return upcomingCharges(view.customer, lookupKey, window).map(({ price, store, atMs }) => {
    const amount = price && price.amountMinor > 0 ? money(price) : null;
    const charger = t('sentence.charger', { store, name: storeName(store) });
    return text(t('grant.review.charge', { amount, store: charger, date: date(atMs) }), 'muted');
  });
}

function remarks({ customer, messages, services }: ActionView, isStored: boolean): Part[] {
  const asOfMs = customer.subscriber.snapshotAtMs ?? customer.latest[0]?.atMs ?? services.now();
  return [
    isStored && text(messages.t('grant.review.storedAsOf', { date: messages.dateTime(asOfMs) }), 'muted'),
    isAnonymousOnly(customer) && text(messages.t('grant.state.anonymous'), 'muted'),
  ];
}

/** What happens, what does not, the sum, and who tells the customer. */
function storeEffects(view: ActionView, action: ReviewedStoreAction): Part[] {
  const { t, money, date } = view.messages;
  const { kind, details } = action;
  const { before, days = 0, amount, store, transactionId, moveCount } = details;
  const endMs = before?.endsAtMs ?? null;
  const values = {
    product: escapeMarkdown(details.product),
    days,
    count: moveCount ?? 0,
    access: before?.givesAccess ? 'ends' : null,
    from: endMs === null ? null : date(endMs),
    to: endMs === null ? null : exactEnd(view, endMs + days * DAY_MS),
  };
  const sum = amount ? money(amount) : t('action.state.amountUnknown');
  return [
    text(t(`action.effect.${variantOf(action)}`, values)),
    table([
      [t('action.label.amount'), kind === 'refund' ? sum : null],
      [t('action.label.transaction'), transactionId],
      [t('action.label.product'), details.of === 'customer' ? null : details.product],
      [t('action.label.store'), storeText(view.messages, store)],
      [t('grant.label.customer'), action.appUserId],
      [t('grant.label.reason'), action.reason],
    ]),
    kind !== 'manage' && text(t('action.effect.notifies', { store }), 'muted'),
  ];
}
