import { eventText } from '../i18n/event-text.ts';
import { overviewRows, overviewText } from '../i18n/sentences.ts';
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
import { productLabel } from '../subscription/names.ts';
import { type CardContext, type Customer, first } from './context.ts';
import { estimatedHeight, HIGHEST_FIRST_CANVAS } from './height.ts';

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
    text(
      escapeMarkdown(clip(overviewText(context.messages, customer.description), 400)),
      'paragraph',
      isTight,
    ),
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
    item('timeline', [words.buttons.timeline, words.eventCount(total)].join(' · '), {
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
            : [words.buttons.refresh, dates.dateTime(subscriber.snapshotAtMs)].join(' · '),
        ),
  );
  return items;
}

/** The latest events on one line each would take the room of the buttons: they share the timeline's. */
function latestText(context: CardContext, customer: Customer, count: number): string {
  const { messages, dates } = context;
  return customer.latest
    .slice(0, count)
    .map((event) => `${eventText(messages, 'agent', event, customer.names).title} ${dates.date(event.atMs)}`)
    .join(' · ');
}

function factRows({ messages }: CardContext, { description, latest, names }: Customer): Row[] {
  const rows: Row[] = overviewRows(messages, description);
  if (description.shown.length > 0) return rows;
  const bought = latest.find((event) => event.kind === 'non_subscription_purchase');
  const product = bought?.productId && productLabel(bought.productId, names);
  return [[messages.t('sentence.agent.label.product'), product], ...rows];
}
