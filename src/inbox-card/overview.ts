import {
  button,
  type Component,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  linkItem,
  list,
  table,
  text,
} from '../intercom/canvas.ts';
import { canShare } from '../messenger/share.ts';
import { describeEvent, productLabel, storeName } from '../subscription/describe-event.ts';
import { formatMoney } from '../subscription/money.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { type Customer, first, type Visit } from './context.ts';
import { estimatedHeight, HIGHEST_FIRST_CANVAS } from './height.ts';
import { endText, overviewSentence, productText, whatText } from './sentence.ts';

const RECENT_EVENTS = 3;
const MAX_ROWS = 3;

/**
 * The first canvas: what most tickets ask, in few lines, and every way on. At most 400 px high: where a
 * language, a name or a notice takes more room, it is set tighter; then rows give way, whose most is in the
 * sentence or in the details, and the latest events last.
 */
export function overview(visit: Visit, customer: Customer, notice: string | null = null): InboxCanvas {
  const rows = factRows(visit, customer);
  let components: Component[] = [];
  for (const [events, facts, isTight] of [
    [RECENT_EVENTS, MAX_ROWS, false],
    [RECENT_EVENTS, MAX_ROWS, true],
    [RECENT_EVENTS, 2, true],
    [RECENT_EVENTS, 1, true],
    [2, 1, true],
    [1, 1, true],
    [0, 1, true],
  ] as const) {
    components = overviewOf(visit, customer, { notice, events, rows: rows.slice(0, facts), isTight });
    if (estimatedHeight(components) <= HIGHEST_FIRST_CANVAS) break;
  }
  return first(visit, components);
}

type Row = readonly [field: string, value: string | null | undefined];

function overviewOf(
  visit: Visit,
  customer: Customer,
  shown: { notice: string | null; events: number; rows: readonly Row[]; isTight: boolean },
): Component[] {
  const { words } = visit;
  const { notice, events, rows, isTight } = shown;
  return [
    ...(notice === null ? [] : [text(notice, 'muted', isTight)]),
    text(escapeMarkdown(clip(overviewSentence(visit, customer), 400)), 'paragraph', isTight),
    ...table(rows),
    list(waysOn(visit, customer, events)),
    button('grant', words.buttons.grant, 'secondary'),
  ];
}

function waysOn(visit: Visit, customer: Customer, events: number): ListItem[] {
  const { words, dates } = visit;
  const { subscriber, grants, project, counts } = customer;
  const total = counts.production + counts.sandbox;
  const items = [
    item('timeline', [words.buttons.timeline, words.eventCount(total)].join(words.events.separator), {
      subtitle: latestText(visit, customer, events),
    }),
    item('details', words.buttons.details),
    item('grants', words.buttons.grants, grants.length > 0 ? { tertiary: String(grants.length) } : {}),
  ];
  if (canShare(visit.request.contact, subscriber.appUserIds)) {
    items.push(item('share', words.buttons.share));
  }
  if (visit.candidates.length > 1) {
    items.push(item('projects', words.buttons.otherProject, { tertiary: clip(project.name, 30) }));
  }
  items.push(
    project.apiKeyState === 'rejected'
      ? linkItem('settings', words.buttons.settings, `${visit.context.publicUrl}/settings`)
      : // Its time stands in the title: at the end of the row one hour in two would take a second line.
        item(
          'refresh',
          subscriber.snapshotAtMs === null
            ? words.buttons.refresh
            : [words.buttons.refresh, dates.dateTime(subscriber.snapshotAtMs)].join(words.events.separator),
        ),
  );
  return items;
}

/** The latest events on one line each would take the room of the buttons: they share the timeline's. */
function latestText(visit: Visit, customer: Customer, count: number): string {
  const { words, dates } = visit;
  return customer.latest
    .slice(0, count)
    .map((event) => `${describeEvent(event, customer.names, words.events).title} ${dates.date(event.atMs)}`)
    .join(words.events.separator);
}

function factRows(visit: Visit, customer: Customer): Row[] {
  const { words, dates } = visit;
  const { state } = customer;
  const withAccess = state.subscriptions.filter((subscription) => subscription.givesAccess);
  // A refund whose purchase nobody told of is nothing that was paid.
  const paid = state.paid.filter((money) => money.amountMinor > 0);
  const since = state.firstPurchaseAtMs === null ? null : dates.date(state.firstPurchaseAtMs);
  const paidRow: Row = [
    words.labels.paid,
    paid.length === 0
      ? null
      : words.paidSince(paid.map((money) => formatMoney(money, words.locale)).join(', '), since),
  ];
  if (withAccess.length > 1) {
    return [
      ...withAccess
        .slice(0, MAX_ROWS - 1)
        .map(
          (subscription): Row => [
            clip(productText(customer, subscription) || whatText(customer, subscription), 30),
            endRow(visit, subscription).join(' '),
          ],
        ),
      paidRow,
    ];
  }
  const { primary } = state;
  if (primary) {
    return [productRow(visit, customer, primary), endRow(visit, primary), paidRow];
  }
  if (state.firstPurchaseAtMs !== null) {
    const bought = customer.latest.find((event) => event.kind === 'non_subscription_purchase');
    return [
      [words.labels.product, bought?.productId && productLabel(bought.productId, customer.names)],
      paidRow,
    ];
  }
  const [sandbox] = state.sandbox;
  return sandbox
    ? [
        [words.labels.testPurchase, productAndStore(visit, customer, sandbox)],
        [words.labels.status, words.statuses[sandbox.status]],
      ]
    : [];
}

/** A temporary grant may name no product: the store then stands alone, under its own label. */
function productRow(visit: Visit, customer: Customer, subscription: SubscriptionState): Row {
  const { labels } = visit.words;
  const isNamed = productText(customer, subscription) !== '' || whatText(customer, subscription) !== '';
  return [isNamed ? labels.product : labels.store, productAndStore(visit, customer, subscription)];
}

function productAndStore(visit: Visit, customer: Customer, subscription: SubscriptionState): string {
  const { words } = visit;
  const name = productText(customer, subscription) || whatText(customer, subscription);
  return [name, storeName(subscription.store, words.events)].filter(Boolean).join(words.events.separator);
}

function endRow(visit: Visit, subscription: SubscriptionState): [field: string, value: string] {
  const { labels } = visit.words;
  if (subscription.status === 'paused' && subscription.resumesAtMs !== null) {
    return [labels.resumes, visit.dates.date(subscription.resumesAtMs)];
  }
  if (!subscription.givesAccess) return [labels.ended, endText(visit, subscription.expiredAtMs)];
  // During a grace period the period has ended and access goes on.
  const endsAtMs = subscription.gracePeriodEndsAtMs ?? subscription.endsAtMs;
  const goesOn = subscription.willRenew && subscription.gracePeriodEndsAtMs === null;
  return [goesOn ? labels.renews : labels.ends, endText(visit, endsAtMs)];
}
