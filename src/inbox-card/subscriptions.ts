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
import type { SubscriptionDescription } from '../subscription/describe-customer.ts';
import { type CardContext, type Customer, page } from './context.ts';

/** What a customer has or had is rarely more; a longer list would bury what gives access now. */
const MAX_SUBSCRIPTIONS = 20;

/** Everything bought or granted: what gives access first, then the latest; the sandbox's at the end. */
export function allSubscriptions({ description }: Customer): SubscriptionDescription[] {
  return [...description.subscriptions, ...description.grants, ...description.sandbox];
}

export function subscriptions(context: CardContext, customer: Customer): InboxCanvas {
  const { words } = context;
  const all = allSubscriptions(customer);
  const left = all.length - MAX_SUBSCRIPTIONS;
  return page(context, [
    text(words.titles.purchases, 'header'),
    ...subscriptionBlocks(context, all.slice(0, MAX_SUBSCRIPTIONS)),
    ...(all.length === 0 ? [text(words.states.noPurchases, 'muted')] : []),
    ...(left > 0 ? [text(words.andMore(left), 'muted')] : []),
    button('details', words.buttons.details, 'link'),
  ]);
}

/** A name and a table for each, the way to the store, and what only the store can do. */
export function subscriptionBlocks(
  context: CardContext,
  list: readonly SubscriptionDescription[],
): Component[] {
  const { words, messages } = context;
  const { labels } = words;
  const components: Component[] = [];
  for (const [index, { subscription, what, product, label, price, end }] of list.entries()) {
    // A refund without a known purchase is not something that was paid.
    const paid = subscription.paid.filter((money) => money.amountMinor > 0);
    const { startedAtMs, store, environment, managementUrl } = subscription;
    components.push(
      text(`**${escapeMarkdown(clip(product || what || labels.access, 100))}**`),
      ...table([
        [labels.status, statusText(messages, label)],
        [labels.entitlement, product ? what : null],
        [labels.store, store === 'PROMOTIONAL' ? null : storeText(messages, store)],
        [labels.price, price && priceText(messages, price)],
        [labels.started, startedAtMs === null ? null : messages.date(startedAtMs)],
        ...endRow(messages, end),
        [labels.renewals, subscription.renewals > 0 ? String(subscription.renewals) : null],
        [labels.paid, paid.map((money) => messages.money(money)).join(', ')],
        [labels.environment, environment === 'sandbox' ? words.environments.sandbox : null],
        [labels.familySharing, subscription.isFamilyShare ? words.yes : null],
        [labels.transaction, subscription.transactionId],
      ]),
    );
    if (managementUrl?.startsWith('https://')) {
      components.push(linkButton(`manage:${index}`, words.buttons.manage, managementUrl));
    }
  }
  for (const note of storeNotes(context, list)) components.push(text(note, 'muted'));
  return components;
}

/** Said once for each store, before the agent promises what only the store can do. */
function storeNotes(context: CardContext, list: readonly SubscriptionDescription[]): string[] {
  const stores = new Set(
    list.flatMap(({ subscription: { environment, store } }) => (environment === 'production' ? [store] : [])),
  );
  const notes: string[] = [];
  if (stores.has('APP_STORE') || stores.has('MAC_APP_STORE')) notes.push(context.words.appleNote);
  if (stores.has('PLAY_STORE')) notes.push(context.words.googleNote);
  return notes;
}
