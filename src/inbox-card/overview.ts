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
import { type CardContext, type Customer, first } from './context.ts';
import { estimatedHeight, HIGHEST_FIRST_CANVAS } from './height.ts';
import { endText, overviewSentence, productText, whatText } from './sentence.ts';

const RECENT_EVENTS = 3;
const MAX_ROWS = 3;

/**
 * The first canvas: what most tickets ask, in few lines, and every way on. At most 400 px high: where a
 * language, a name or a notice takes more room, it is set tighter; then rows give way, whose most is in the
 * sentence or in the details, and the latest events last.
 */
export function overview(
  context: CardContext,
  customer: Customer,
  notice: string | null = null,
): InboxCanvas {
  const rows = factRows(context, customer);
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
    components = overviewOf(context, customer, { notice, events, rows: rows.slice(0, facts), isTight });
    if (estimatedHeight(components) <= HIGHEST_FIRST_CANVAS) break;
  }
  return first(context, components);
}

type Row = readonly [field: string, value: string | null | undefined];

function overviewOf(
  context: CardContext,
  customer: Customer,
  shown: { notice: string | null; events: number; rows: readonly Row[]; isTight: boolean },
): Component[] {
  const { words } = context;
  const { notice, events, rows, isTight } = shown;
  return [
    ...(notice === null ? [] : [text(notice, 'muted', isTight)]),
    text(escapeMarkdown(clip(overviewSentence(context, customer), 400)), 'paragraph', isTight),
    ...table(rows),
    list(waysOn(context, customer, events)),
    button('grant', words.buttons.grant, 'secondary'),
  ];
}

function waysOn(context: CardContext, customer: Customer, events: number): ListItem[] {
  const { words, dates } = context;
  const { subscriber, grants, project, counts } = customer;
  const total = counts.production + counts.sandbox;
  const items = [
    item('timeline', [words.buttons.timeline, words.eventCount(total)].join(words.events.separator), {
      subtitle: latestText(context, customer, events),
    }),
    item('details', words.buttons.details),
    item('grants', words.buttons.grants, grants.length > 0 ? { tertiary: String(grants.length) } : {}),
  ];
  if (canShare(context.request.contact, subscriber.appUserIds)) {
    items.push(item('share', words.buttons.share));
  }
  if (context.candidates.length > 1) {
    items.push(item('projects', words.buttons.otherProject, { tertiary: clip(project.name, 30) }));
  }
  items.push(
    project.apiKeyState === 'rejected'
      ? linkItem('settings', words.buttons.settings, `${context.services.publicUrl}/settings`)
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
function latestText(context: CardContext, customer: Customer, count: number): string {
  const { words, dates } = context;
  return customer.latest
    .slice(0, count)
    .map((event) => `${describeEvent(event, customer.names, words.events).title} ${dates.date(event.atMs)}`)
    .join(words.events.separator);
}

function factRows(context: CardContext, customer: Customer): Row[] {
  const { words, dates } = context;
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
            endRow(context, subscription).join(' '),
          ],
        ),
      paidRow,
    ];
  }
  const { primary } = state;
  if (primary) {
    return [productRow(context, customer, primary), endRow(context, primary), paidRow];
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
        [words.labels.testPurchase, productAndStore(context, customer, sandbox)],
        [words.labels.status, words.statuses[sandbox.status]],
      ]
    : [];
}

/** A temporary grant may name no product: the store then stands alone, under its own label. */
function productRow(context: CardContext, customer: Customer, subscription: SubscriptionState): Row {
  const { labels } = context.words;
  const isNamed = productText(customer, subscription) !== '' || whatText(customer, subscription) !== '';
  return [isNamed ? labels.product : labels.store, productAndStore(context, customer, subscription)];
}

function productAndStore(context: CardContext, customer: Customer, subscription: SubscriptionState): string {
  const { words } = context;
  const name = productText(customer, subscription) || whatText(customer, subscription);
  return [name, storeName(subscription.store, words.events)].filter(Boolean).join(words.events.separator);
}

function endRow(context: CardContext, subscription: SubscriptionState): [field: string, value: string] {
  const { labels } = context.words;
  if (subscription.status === 'paused' && subscription.resumesAtMs !== null) {
    return [labels.resumes, context.dates.date(subscription.resumesAtMs)];
  }
  if (!subscription.givesAccess) return [labels.ended, endText(context, subscription.expiredAtMs)];
  // During a grace period the period has ended and access goes on.
  const endsAtMs = subscription.gracePeriodEndsAtMs ?? subscription.endsAtMs;
  const goesOn = subscription.willRenew && subscription.gracePeriodEndsAtMs === null;
  return [goesOn ? labels.renews : labels.ends, endText(context, endsAtMs)];
}
