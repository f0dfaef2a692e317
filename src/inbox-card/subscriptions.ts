import { endRow, priceText, statusText, storeText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  table,
  text,
} from '../intercom/canvas.ts';
import type { SubscriptionDescription } from '../subscription/customer-description.ts';
import type { Customer, CustomerContext } from './context.ts';

/** A customer rarely has more; a longer list would bury what gives access now. */
const MAX_SUBSCRIPTIONS = 20;

/** Everything bought or granted: what gives access first, then the latest; test purchases last. */
export function allSubscriptions({ description }: Customer): SubscriptionDescription[] {
  return [...description.subscriptions, ...description.grants, ...description.sandbox];
}

export function subscriptions(context: CustomerContext): InboxCanvas {
  const { messages: m } = context;
  const all = allSubscriptions(context.customer);
  const hidden = all.length - MAX_SUBSCRIPTIONS;
  return context.page([
    text(m.t('card.title.purchases'), 'header'),
    ...subscriptionBlocks(context, all.slice(0, MAX_SUBSCRIPTIONS)),
    ...(all.length === 0 ? [text(m.t('card.state.noPurchases'), 'muted')] : []),
    ...(hidden > 0 ? [text(m.t('card.andMore', { count: hidden }), 'muted')] : []),
    button('details', m.t('card.button.details'), 'link'),
  ]);
}

/** A name, a table and the way to the store for each, then what only the stores can do. */
export function subscriptionBlocks(
  context: CustomerContext,
  list: readonly SubscriptionDescription[],
): Component[] {
  return [
    ...list.flatMap((subscription, index) => block(context, subscription, index)),
    ...storeNotes(context, list),
  ];
}

function block(
  { messages: m }: CustomerContext,
  described: SubscriptionDescription,
  index: number,
): Component[] {
  const { subscription, product, what, price } = described;
  const { store, startedAtMs, environment, managementUrl } = subscription;
  // A refund of a purchase that is unknown here is negative, and not a payment.
  const paid = subscription.paid.filter(({ amountMinor }) => amountMinor > 0);
  return [
    text(`**${escapeMarkdown(clip(product || what || m.t('sentence.agent.unnamed'), 100))}**`),
    ...table([
      [m.t('card.label.status'), statusText(m, described.label)],
      [m.t('card.label.entitlement'), product ? what : null],
      [m.t('card.label.store'), store === 'PROMOTIONAL' ? null : storeText(m, store)],
      [m.t('card.label.price'), price && priceText(m, price)],
      [m.t('card.label.started'), startedAtMs === null ? null : m.date(startedAtMs)],
      ...endRow(m, described.end),
      [m.t('card.label.renewals'), subscription.renewals > 0 ? String(subscription.renewals) : null],
      [m.t('card.label.paid'), paid.map((money) => m.money(money)).join(', ')],
      [m.t('card.label.environment'), environment === 'sandbox' ? m.t('card.environment.sandbox') : null],
      [m.t('card.label.familySharing'), subscription.isFamilyShare ? m.t('card.yes') : null],
      [m.t('card.label.transaction'), subscription.transactionId],
    ]),
    ...(managementUrl?.startsWith('https://')
      ? [linkButton(`manage:${index}`, m.t('card.button.manage'), managementUrl)]
      : []),
  ];
}

/** Shown before the agent promises what only the store can do. */
function storeNotes({ messages: m }: CustomerContext, list: readonly SubscriptionDescription[]): Component[] {
  const paid = list
    .map(({ subscription }) => subscription)
    .filter(({ environment }) => environment === 'production');
  const stores = new Set(paid.map(({ store }) => store));
  return [
    ...(stores.has('APP_STORE') || stores.has('MAC_APP_STORE')
      ? [text(m.t('card.note.apple'), 'muted')]
      : []),
    ...(stores.has('PLAY_STORE') ? [text(m.t('card.note.google'), 'muted')] : []),
  ];
}
