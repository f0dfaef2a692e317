import { eventText } from '../i18n/event-text.ts';
import {
  button,
  type Component,
  type InboxCanvas,
  item,
  list,
  type Options,
  option,
  switcher,
  text,
} from '../intercom/canvas.ts';
import { EVENT_KINDS, type EventKind, TIMELINE_ONLY_KINDS } from '../subscription/types.ts';
import { type CardContext, type Customer, page } from './context.ts';
import type { FormState } from './stored-data.ts';
import { type Cursor, readTimeline, type TimelineRow } from './timeline-store.ts';
import {
  ENVIRONMENT_FILTERS,
  type EnvironmentFilter,
  TIMELINE_FILTERS,
  type TimelineFilter,
} from './words/types.ts';

const PAGE_SIZE = 10;

const KINDS: Readonly<Record<Exclude<TimelineFilter, 'all' | 'other'>, readonly EventKind[]>> = {
  purchases: [
    'initial_purchase',
    'trial_started',
    'trial_converted',
    'renewal',
    'non_subscription_purchase',
    'purchase_redeemed',
    'uncancellation',
    'subscription_extended',
    'product_change',
  ],
  endings: ['cancellation', 'trial_cancelled', 'expiration', 'subscription_paused'],
  payments: ['billing_issue', 'refund', 'refund_reversed', 'price_increase_consent', 'invoice_issued'],
  grants: ['promotional_granted', 'promotional_revoked', 'temporary_entitlement_grant'],
};

const NAMED: ReadonlySet<EventKind> = new Set(Object.values(KINDS).flat());
const OTHER = [...EVENT_KINDS, ...TIMELINE_ONLY_KINDS].filter((kind) => !NAMED.has(kind));

type Filter = NonNullable<FormState['filter']>;

const NO_FILTER: Filter = { kind: 'all', environment: 'all' };

/** What the teammate chose in the two rows of buttons; the filter that the request carries where they did not. */
export function filterOf(context: CardContext): Filter {
  const { inputs, componentId } = context.request;
  const { filter = NO_FILTER } = context.formState;
  return {
    kind:
      componentId === 'timeline.kind'
        ? (TIMELINE_FILTERS.find((name) => name === inputs['timeline.kind']) ?? 'all')
        : filter.kind,
    environment:
      componentId === 'timeline.environment'
        ? (ENVIRONMENT_FILTERS.find((name) => name === inputs['timeline.environment']) ?? 'all')
        : filter.environment,
  };
}

/**
 * Ten events, newest first. Pages hang on events, not on numbers: what arrives meanwhile moves nothing.
 *
 * @param direction from the page that the request carries; without one, the newest
 */
export async function timeline(
  context: CardContext,
  customer: Customer,
  direction: 'older' | 'newer' | null = null,
  filter: Filter = NO_FILTER,
): Promise<InboxCanvas> {
  const { words, formState } = context;
  const shown = await readPage(
    context,
    customer,
    filter,
    direction === null ? undefined : formState.page,
    direction,
  );
  const components: Component[] = [
    text(words.titles.timeline, 'header'),
    ...filters(context, customer, filter),
    shown.rows.length > 0
      ? list(shown.rows.map(({ entry }) => eventItem(context, customer, entry)))
      : text(isFiltered(filter) ? words.states.emptyFilter : words.states.emptyTimeline, 'muted'),
  ];
  if (shown.hasOlder) components.push(button('timeline:older', words.buttons.older, 'link'));
  if (shown.hasNewer) components.push(button('timeline:newer', words.buttons.newer, 'link'));
  const first = shown.rows[0]?.cursor;
  const last = shown.rows.at(-1)?.cursor;
  return page(context, components, {
    ...(first && last ? { page: { first: [...first], last: [...last] } } : {}),
    ...(isFiltered(filter) ? { filter } : {}),
  });
}

function isFiltered(filter: Filter): boolean {
  return filter.kind !== 'all' || filter.environment !== 'all';
}

interface Shown {
  readonly rows: readonly TimelineRow[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
}

async function readPage(
  context: CardContext,
  customer: Customer,
  filter: Filter,
  from: FormState['page'],
  direction: 'older' | 'newer' | null,
): Promise<Shown> {
  if (direction === 'newer' && from) {
    const found = await readRows(context, customer, filter, from.first, 'newer');
    // The newest page is full like every other, whatever has arrived meanwhile.
    if (found.length > PAGE_SIZE)
      return { rows: found.slice(0, PAGE_SIZE).reverse(), hasOlder: true, hasNewer: true };
    return readPage(context, customer, filter, undefined, null);
  }
  const found = await readRows(context, customer, filter, from?.last ?? null, 'older');
  if (found.length === 0 && from) return readPage(context, customer, filter, undefined, null);
  return {
    rows: found.slice(0, PAGE_SIZE),
    hasOlder: found.length > PAGE_SIZE,
    hasNewer: from !== undefined,
  };
}

/** One more than a page holds, in the direction asked for; grants whose webhook has not come are among them. */
async function readRows(
  context: CardContext,
  customer: Customer,
  filter: Filter,
  from: Cursor | null,
  direction: 'older' | 'newer',
): Promise<TimelineRow[]> {
  const kinds = filter.kind === 'all' ? null : filter.kind === 'other' ? OTHER : KINDS[filter.kind];
  const environment = filter.environment === 'all' ? null : filter.environment;
  const rows = await readTimeline(context.services.readDatabase, context.request.workspaceId, {
    sources: customer.sources,
    from,
    direction,
    kinds,
    environment,
    limit: PAGE_SIZE + 1,
  });
  const sign = direction === 'older' ? 1 : -1;
  const fallbackEvents = customer.fallbackEvents
    .filter((entry) => kinds === null || kinds.includes(entry.kind))
    .filter(() => environment !== 'sandbox')
    .map((entry): TimelineRow => ({ entry, cursor: [entry.atMs, entry.id] }))
    .filter(({ cursor }) => from === null || sign * compareCursors(from, cursor) > 0);
  if (fallbackEvents.length === 0) return rows;
  return [...rows, ...fallbackEvents]
    .sort((a, b) => sign * compareCursors(b.cursor, a.cursor))
    .slice(0, PAGE_SIZE + 1);
}

function compareCursors(a: Cursor, b: Cursor): number {
  return a[0] - b[0] || (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0);
}

/** Filters appear where there is something to choose: more than a page of events, and both environments. */
function filters(context: CardContext, customer: Customer, filter: Filter): Component[] {
  const { words } = context;
  const { production, sandbox } = customer.counts;
  const components: Component[] = [];
  if (production + sandbox > PAGE_SIZE || filter.kind !== 'all') {
    const options = TIMELINE_FILTERS.map((name) => option(name, words.filters[name]));
    components.push(switcher('timeline.kind', atLeastTwo(options), filter.kind));
  }
  if ((production > 0 && sandbox > 0) || filter.environment !== 'all') {
    const options = ENVIRONMENT_FILTERS.map((name: EnvironmentFilter) =>
      option(name, words.environments[name]),
    );
    components.push(
      switcher('timeline.environment', atLeastTwo(options), filter.environment, words.labels.environment),
    );
  }
  return components;
}

function atLeastTwo(options: readonly ReturnType<typeof option>[]): Options {
  const [a, b, ...rest] = options;
  if (!a || !b) throw new Error('A choice needs two options');
  return [a, b, ...rest];
}

function eventItem(context: CardContext, customer: Customer, event: TimelineRow['entry']) {
  const { words, dates } = context;
  const { title, subtitle } = eventText(context.messages, 'agent', event, customer.names);
  const marks = [subtitle, event.environment === 'sandbox' ? words.environments.sandbox : ''].filter(Boolean);
  return item(`event:${event.id}`, title, {
    subtitle: marks.join(' · '),
    tertiary: dates.date(event.atMs),
  });
}
