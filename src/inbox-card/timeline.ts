import { eventText, isInSeveralStores } from '../i18n/event-text.ts';
import {
  button,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  option,
  type Part,
  switcher,
  text,
} from '../intercom/canvas.ts';
import type { TimelineEntry } from '../subscribers/stored-events.ts';
import { compareEvents } from '../subscription/event-order.ts';
import { EVENT_KINDS, type EventKind, TIMELINE_ONLY_KINDS } from '../subscription/kinds.ts';
import { ENVIRONMENT_FILTERS, type FormState, TIMELINE_FILTERS } from './context.ts';
import type { CustomerContext } from './customer.ts';
import { pictureComponents } from './picture.ts';
import { type Cursor, PAGE_SIZE, readTimelinePage } from './timeline-repository.ts';

type Filter = NonNullable<FormState['filter']>;

const NO_FILTER: Filter = { kind: 'all', environment: 'all' };

/** How many pages *Newer* goes back before it leads to the newest; a form state holds 64 KB. */
const MAX_PAGES = 20;

const GROUPS: Readonly<Record<Exclude<Filter['kind'], 'all' | 'other'>, readonly EventKind[]>> = {
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
  // Charges are in this group and in purchases: an agent may look in either for "Why was I charged?".
  payments: [
    'initial_purchase',
    'trial_converted',
    'renewal',
    'non_subscription_purchase',
    'billing_issue',
    'refund',
    'refund_reversed',
    'price_increase_consent',
    'invoice_issued',
  ],
  grants: ['promotional_granted', 'promotional_revoked', 'temporary_entitlement_grant'],
};

const GROUPED: ReadonlySet<EventKind> = new Set(Object.values(GROUPS).flat());

/** What each filter shows; `null`: everything. */
const KINDS: Readonly<Record<Filter['kind'], readonly EventKind[] | null>> = {
  all: null,
  ...GROUPS,
  other: [...EVENT_KINDS, ...TIMELINE_ONLY_KINDS].filter((kind) => !GROUPED.has(kind)),
};

export function timeline(context: CustomerContext): Promise<InboxCanvas> {
  return drawPage(context, NO_FILTER);
}

/** The newest page of what the teammate has just chosen below the list. */
export function filteredTimeline(context: CustomerContext): Promise<InboxCanvas> {
  const { inputs } = context.request;
  const { filter = NO_FILTER } = context.formState;
  const kind = TIMELINE_FILTERS.find((name) => name === inputs['timeline.kind']);
  const environment = ENVIRONMENT_FILTERS.find((name) => name === inputs['timeline.environment']);
  return drawPage(context, { kind: kind ?? filter.kind, environment: environment ?? filter.environment });
}

/** The page before or after the one that the teammate sees. */
export function nextTimelinePage(context: CustomerContext, direction: string): Promise<InboxCanvas> {
  const { filter = NO_FILTER, pages = [] } = context.formState;
  return drawPage(context, filter, direction === 'newer' ? pages.slice(0, -2) : pages);
}

/** @param earlier where each page before this one ended */
async function drawPage(
  context: CustomerContext,
  filter: Filter,
  earlier: readonly Cursor[] = [],
): Promise<InboxCanvas> {
  const { messages: m } = context;
  const rows = await readTimelinePage(context, {
    kinds: KINDS[filter.kind],
    environment: filter.environment === 'all' ? null : filter.environment,
    from: earlier.at(-1) ?? null,
  });
  // The older events no longer exist: they were erased, or were grants whose webhooks have arrived.
  if (rows.length === 0 && earlier.length > 0) return drawPage(context, filter);
  const shown = rows.slice(0, PAGE_SIZE);
  const isFiltered = filter.kind !== 'all' || filter.environment !== 'all';
  // Pages follow the index, which orders events of one millisecond by id.
  const entries = shown.map(({ entry }) => entry).sort((a, b) => compareEvents(b, a));
  const parts: Part[] = [
    text(m.t('card.button.timeline'), 'header'),
    !isFiltered && earlier.length === 0 && (await pictureComponents(context)),
    entries.length > 0
      ? list(entries.map((entry) => eventItem(context, entry)))
      : text(m.t(isFiltered ? 'card.state.emptyFilter' : 'card.state.emptyTimeline'), 'muted'),
    rows.length > PAGE_SIZE && button('timeline:older', m.t('card.button.older'), 'link'),
    earlier.length > 0 && button('timeline:newer', m.t('card.button.newer'), 'link'),
    filters(context, filter),
  ];
  const last = shown.slice(-1).map(({ cursor }) => cursor);
  const pages = [...earlier, ...last].slice(-MAX_PAGES);
  return context.page(parts, { pages, ...(isFiltered ? { filter } : {}) });
}

function eventItem(context: CustomerContext, event: TimelineEntry): ListItem {
  const { customer, messages: m } = context;
  const withStore = isInSeveralStores(customer.state);
  const { title, subtitle } = eventText(m, event, { voice: 'agent', names: customer.names, withStore });
  const sandbox = event.environment === 'sandbox' ? m.t('card.environment.sandbox') : '';
  return item(`event:${event.id}`, title, {
    subtitle: [subtitle, sandbox].filter(Boolean).join(' · '),
    tertiary: m.dateTime(event.atMs),
  });
}

/** Shown where there is something to choose: more events than a page, and events of both environments. */
function filters({ customer, messages: m }: CustomerContext, filter: Filter): Part[] {
  const { production, sandbox } = customer.counts;
  const hasKinds = production + sandbox > PAGE_SIZE || filter.kind !== 'all';
  const hasEnvironments = (production > 0 && sandbox > 0) || filter.environment !== 'all';
  const kinds = switcher({
    id: 'timeline.kind',
    label: m.t('card.label.events'),
    options: TIMELINE_FILTERS.map((name) => option(name, m.t(`card.filter.${name}`))),
    value: filter.kind,
  });
  const environments = switcher({
    id: 'timeline.environment',
    label: m.t('card.label.environment'),
    options: ENVIRONMENT_FILTERS.map((name) => option(name, m.t(`card.environment.${name}`))),
    value: filter.environment,
  });
  return [hasKinds && kinds, hasEnvironments && environments];
}
