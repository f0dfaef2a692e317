import {
  button,
  type Component,
  escapeMarkdown,
  type InboxCanvas,
  item,
  linkButton,
  list,
  table,
  text,
} from '../intercom/canvas.ts';
import { describeEvent, storeName } from '../subscribers/describe-event.ts';
import { formatMoney } from '../subscribers/money.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { type Customer, page, type Visit } from './context.ts';

const PAGE_SIZE = 10;

/**
 * Ten events, newest first. Pages hang on events, not on numbers: what arrives meanwhile moves nothing.
 *
 * @param direction from the page that the request carries; without one, the newest
 */
export function timeline(visit: Visit, customer: Customer, direction?: 'older' | 'newer'): InboxCanvas {
  const { words, carried } = visit;
  const newestFirst = customer.history.toReversed();
  const start = pageStart(newestFirst, carried.page, direction);
  const shown = newestFirst.slice(start, start + PAGE_SIZE);
  const components: Component[] = [text(words.titles.timeline, 'header')];
  if (shown.length === 0) components.push(text(words.states.noPurchases, 'muted'));
  else components.push(list(shown.map((event) => longItem(visit, customer, event))));
  if (start + PAGE_SIZE < newestFirst.length)
    components.push(button('timeline:older', words.buttons.older, 'link'));
  if (start > 0) components.push(button('timeline:newer', words.buttons.newer, 'link'));
  const first = shown[0]?.id;
  const last = shown.at(-1)?.id;
  return page(visit, components, first && last ? { page: { first, last } } : undefined);
}

function pageStart(
  events: readonly TimelineEntry[],
  shown: { first: string; last: string } | undefined,
  direction: 'older' | 'newer' | undefined,
): number {
  if (!shown || !direction) return 0;
  const anchor = direction === 'older' ? shown.last : shown.first;
  const index = events.findIndex((event) => event.id === anchor);
  if (index < 0) return 0;
  return direction === 'older' ? index + 1 : Math.max(0, index - PAGE_SIZE);
}

function longItem(visit: Visit, customer: Customer, event: TimelineEntry) {
  const { title, subtitle } = describeEvent(event, customer.names, visit.words.events);
  return item(`event:${event.id}`, title, { subtitle, tertiary: visit.dates.date(event.atMs) });
}

/** Everything of one event, with how it stands in Intercom. */
export function eventDetail(visit: Visit, customer: Customer, eventId: string): InboxCanvas {
  const { words, dates } = visit;
  const event = customer.history.find((candidate) => candidate.id === eventId);
  if (!event) return page(visit, [text(words.states.gone, 'muted')]);
  const { title, subtitle } = describeEvent(event, customer.names, words.events);
  const { labels } = words;
  const { delivery } = event;
  const madeHere = delivery.reason === 'grant';
  return page(visit, [
    text(escapeMarkdown(title), 'header', true),
    text(
      escapeMarkdown([dates.dateTime(event.atMs), subtitle].filter(Boolean).join(words.events.separator)),
      'muted',
    ),
    ...table([
      [labels.price, event.price && formatMoney(event.price, words.locale)],
      [labels.product, event.productId],
      [labels.entitlement, event.entitlements.join(', ')],
      [labels.store, storeName(event.store, words.events)],
      [labels.expires, event.expiresAtMs === null ? null : dates.dateTime(event.expiresAtMs)],
      [labels.transaction, event.transactionId],
      [labels.originalTransaction, event.originalTransactionId],
      [labels.environment, event.environment],
      [labels.country, event.country],
      [labels.type, event.type],
      [labels.eventId, event.id],
      [labels.delivery, madeHere ? null : words.delivery(delivery.state, delivery.reason)],
      [labels.sentAs, delivery.sentName],
      [labels.nextTry, delivery.nextTryAtMs === null ? null : dates.dateTime(delivery.nextTryAtMs)],
    ]),
    linkButton('open-revenuecat', words.buttons.openRevenueCat, dashboardUrl(customer)),
    button('timeline', words.buttons.timeline, 'link'),
  ]);
}

/** The customer in RevenueCat's dashboard, whose addresses leave out the id's prefix. */
export function dashboardUrl(customer: Customer): string {
  const project = customer.project.revenueCatProjectId.replace(/^proj_?/, '');
  return `https://app.revenuecat.com/projects/${encodeURIComponent(project)}/customers/${encodeURIComponent(customer.appUserId)}`;
}
