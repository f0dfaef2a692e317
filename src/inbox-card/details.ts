import {
  button,
  type Component,
  escapeMarkdown,
  type InboxCanvas,
  linkButton,
  table,
  text,
} from '../intercom/canvas.ts';
import { storeName } from '../subscribers/describe-event.ts';
import { formatMoney } from '../subscribers/money.ts';
import { type Customer, page, type Visit } from './context.ts';
import { endText, priceText, productText, whatText } from './sentence.ts';
import { dashboardUrl } from './timeline.ts';

const MOST_SUBSCRIPTIONS = 6;
const MOST_ATTRIBUTES = 15;

/** Who the customer is: subscriptions, ids, where they were seen, attributes. */
export function details(visit: Visit, customer: Customer): InboxCanvas {
  const { words, dates } = visit;
  const { labels } = words;
  const { state, subscriber } = customer;
  const { snapshot } = subscriber;
  const components: Component[] = [];
  const all = [...state.subscriptions, ...state.grants, ...state.sandbox].slice(0, MOST_SUBSCRIPTIONS);
  if (all.length > 0) components.push(text(words.titles.subscriptions, 'header', true));
  for (const subscription of all) {
    const name = productText(customer, subscription) || whatText(customer, subscription);
    components.push(
      text(`**${escapeMarkdown(name)}**`, 'paragraph', true),
      ...table([
        [labels.status, words.statuses[subscription.status]],
        [labels.store, storeName(subscription.store, words.events)],
        [labels.price, priceText(visit, subscription)],
        [labels.started, subscription.startedAtMs === null ? null : dates.date(subscription.startedAtMs)],
        [subscription.willRenew ? labels.renews : labels.ends, endText(visit, subscription.endsAtMs)],
        [labels.renewals, subscription.renewals > 0 ? String(subscription.renewals) : null],
        [labels.environment, subscription.environment === 'sandbox' ? 'sandbox' : null],
      ]),
    );
    if (subscription.managementUrl?.startsWith('https://')) {
      components.push(
        linkButton(`manage:${components.length}`, words.buttons.manage, subscription.managementUrl),
      );
    }
  }
  components.push(
    text(words.titles.details, 'header', true),
    // Ids stand in text, not in the table: the inbox cuts long values there, and text can be copied.
    text(`${labels.appUserId}: ${escapeMarkdown(customer.appUserId)}`),
  );
  const others = subscriber.appUserIds.filter((id) => id !== customer.appUserId);
  if (others.length > 0)
    components.push(text(`${labels.aliases}: ${escapeMarkdown(others.slice(0, 10).join(', '))}`, 'muted'));
  components.push(
    ...table([
      [labels.email, subscriber.email],
      [labels.country, snapshot?.country],
      [labels.platform, [snapshot?.platform, snapshot?.platformVersion].filter(Boolean).join(' ')],
      [labels.appVersion, snapshot?.appVersion],
      [labels.firstSeen, snapshot?.firstSeenAtMs == null ? null : dates.date(snapshot.firstSeenAtMs)],
      [labels.lastSeen, snapshot?.lastSeenAtMs == null ? null : dates.date(snapshot.lastSeenAtMs)],
      [
        labels.lifetimeValue,
        formatMoney({ amountMinor: state.lifetimeValueUsdCents, currency: 'USD' }, words.locale),
      ],
      [labels.updated, subscriber.snapshotAtMs === null ? null : dates.dateTime(subscriber.snapshotAtMs)],
    ]),
  );
  const attributes = Object.entries(snapshot?.attributes ?? {}).slice(0, MOST_ATTRIBUTES);
  if (attributes.length > 0) {
    components.push(text(words.titles.attributes, 'header', true), ...table(attributes));
  }
  components.push(linkButton('open-revenuecat', words.buttons.openRevenueCat, dashboardUrl(customer)));
  if (customer.isLinked) components.push(button('unlink', words.buttons.unlink, 'link'));
  return page(visit, components);
}
