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
import { storeName } from '../subscription/describe-event.ts';
import { formatMoney } from '../subscription/money.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { type CardContext, type Customer, page } from './context.ts';
import { endText, priceText, productText, whatText } from './sentence.ts';

/** What a customer has or had is rarely more; a longer list would bury what gives access now. */
const MAX_SUBSCRIPTIONS = 20;

/** Everything bought or granted: what gives access first, then the latest; the sandbox's at the end. */
export function allSubscriptions(customer: Customer): SubscriptionState[] {
  const { state } = customer;
  return [...state.subscriptions, ...state.grants, ...state.sandbox];
}

export function subscriptions(context: CardContext, customer: Customer): InboxCanvas {
  const { words } = context;
  const all = allSubscriptions(customer);
  const left = all.length - MAX_SUBSCRIPTIONS;
  return page(context, [
    text(words.titles.purchases, 'header'),
    ...subscriptionBlocks(context, customer, all.slice(0, MAX_SUBSCRIPTIONS)),
    ...(all.length === 0 ? [text(words.states.noPurchases, 'muted')] : []),
    ...(left > 0 ? [text(words.andMore(left), 'muted')] : []),
    button('details', words.buttons.details, 'link'),
  ]);
}

/** A name and a table for each, the way to the store, and what only the store can do. */
export function subscriptionBlocks(
  context: CardContext,
  customer: Customer,
  list: readonly SubscriptionState[],
): Component[] {
  const { words, dates } = context;
  const { labels } = words;
  const components: Component[] = [];
  const on = (atMs: number | null): string | null => (atMs === null ? null : dates.date(atMs));
  for (const [index, subscription] of list.entries()) {
    const what = whatText(customer, subscription);
    const product = productText(customer, subscription);
    // A refund whose purchase nobody told of is nothing that was paid.
    const paid = subscription.paid.filter((money) => money.amountMinor > 0);
    components.push(
      text(`**${escapeMarkdown(clip(product || what || labels.access, 100))}**`),
      ...table([
        [labels.status, words.statuses[subscription.status]],
        [labels.entitlement, product ? what : null],
        [
          labels.store,
          subscription.store === 'PROMOTIONAL' ? null : storeName(subscription.store, words.events),
        ],
        [labels.price, priceText(context, subscription)],
        [labels.started, on(subscription.startedAtMs)],
        [endLabel(context, subscription), endText(context, endOf(subscription))],
        [labels.renewals, subscription.renewals > 0 ? String(subscription.renewals) : null],
        [labels.paid, paid.map((money) => formatMoney(money, words.locale)).join(', ')],
        [labels.environment, subscription.environment === 'sandbox' ? words.environments.sandbox : null],
        [labels.familySharing, subscription.isFamilyShare ? words.yes : null],
        [labels.transaction, subscription.transactionId],
      ]),
    );
    if (subscription.managementUrl?.startsWith('https://')) {
      components.push(linkButton(`manage:${index}`, words.buttons.manage, subscription.managementUrl));
    }
  }
  for (const note of storeNotes(context, list)) components.push(text(note, 'muted'));
  return components;
}

function endOf(subscription: SubscriptionState): number | null {
  if (subscription.status === 'paused') return subscription.resumesAtMs ?? subscription.endsAtMs;
  return subscription.givesAccess ? subscription.endsAtMs : subscription.expiredAtMs;
}

function endLabel(context: CardContext, subscription: SubscriptionState): string {
  const { labels } = context.words;
  if (subscription.status === 'paused' && subscription.resumesAtMs !== null) return labels.resumes;
  if (!subscription.givesAccess) return labels.ended;
  return subscription.willRenew ? labels.renews : labels.ends;
}

/** Said once for each store, before the agent promises what only the store can do. */
function storeNotes(context: CardContext, list: readonly SubscriptionState[]): string[] {
  const stores = new Set(
    list.filter(({ environment }) => environment === 'production').map(({ store }) => store),
  );
  const notes: string[] = [];
  if (stores.has('APP_STORE') || stores.has('MAC_APP_STORE')) notes.push(context.words.appleNote);
  if (stores.has('PLAY_STORE')) notes.push(context.words.googleNote);
  return notes;
}
