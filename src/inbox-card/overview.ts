import { eventText } from '../i18n/event-text.ts';
import { endRow, overviewText, paidText, storeText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  canvas,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  table,
  text,
} from '../intercom/canvas.ts';
import { canShare } from '../messenger/share.ts';
import type { CustomerDescription, SubscriptionDescription } from '../subscription/describe-customer.ts';
import { isAnonymous } from '../subscription/identities.ts';
import { productLabel } from '../subscription/names.ts';
import type { SubscriptionState } from '../subscription/types.ts';
import { type CustomerContext, firstCanvas, storedData } from './context.ts';
import { dashboardUrl } from './details.ts';
import { estimatedHeight, MAX_FIRST_CANVAS_PX } from './height.ts';

const RECENT_EVENTS = 3;
const MAX_ROWS = 3;
const MAX_SENTENCE_LENGTH = 400;

/** What a first canvas shows where there is room, the most useful first. The rest is one press away. */
type Extra =
  | 'otherProject'
  | 'grants'
  | 'openRevenueCat'
  | 'share'
  | 'recentEvents'
  | { readonly row: number };

/**
 * The first canvas: what most tickets ask, who the customer is, and what can be done. Its height is limited, so the
 * extras are added one by one as long as it stays within {@link MAX_FIRST_CANVAS_PX}.
 *
 * @param notice what the teammate should know about the data shown
 */
export function overview(context: CustomerContext, notice: string | null = null): InboxCanvas {
  const wanted: Extra[] = ['otherProject', 'grants', 'openRevenueCat', 'share', 'recentEvents'];
  for (let row = 1; row <= MAX_ROWS; row += 1) wanted.push({ row });
  let shown: Extra[] = [];
  for (const extra of wanted) {
    const more = [...shown, extra];
    if (estimatedHeight(componentsWith(context, notice, more)) <= MAX_FIRST_CANVAS_PX) shown = more;
  }
  const components = componentsWith(context, notice, shown);
  // *Refresh* is an action on this canvas, so its result needs no way back.
  return context.request.componentId === 'refresh'
    ? canvas(components, storedData(context))
    : firstCanvas(context, components);
}

function componentsWith(
  context: CustomerContext,
  notice: string | null,
  extras: readonly Extra[],
): Component[] {
  const { messages: m } = context;
  const rows = extras.filter((extra) => typeof extra === 'object').length;
  return [
    ...(notice === null ? [] : [text(notice, 'muted', true)]),
    text(headline(context), 'paragraph', true),
    text(identity(context), 'muted', true),
    ...(extras.includes('openRevenueCat') ? [text(storeAndDashboard(context), 'muted', true)] : []),
    ...table(factRows(context).slice(0, rows)),
    list(listItems(context, extras)),
    button('grant', m.t('card.button.grant'), 'secondary'),
    context.customer.project.apiKeyState === 'rejected'
      ? {
          type: 'button',
          id: 'settings',
          label: m.t('card.button.settings'),
          style: 'secondary',
          action: { type: 'url', url: `${context.services.publicUrl}/settings` },
        }
      : button('refresh', refreshLabel(context), 'secondary'),
    button('match', m.t('card.button.wrongCustomer'), 'link'),
  ];
}

/** With the time of the last one. */
function refreshLabel({ customer, messages: m }: CustomerContext): string {
  const { snapshotAtMs } = customer.subscriber;
  const label = m.t('card.button.refresh');
  return snapshotAtMs === null ? label : `${label} · ${m.dateTime(snapshotAtMs)}`;
}

function headline({ customer: { description }, messages: m }: CustomerContext): string {
  const sentence = escapeMarkdown(clip(overviewText(m, description), MAX_SENTENCE_LENGTH));
  return [statusMark(description), `**${sentence}**`].filter(Boolean).join(' ');
}

/** `''`: nothing was ever subscribed to. */
function statusMark({ shown, primary }: CustomerDescription): string {
  if (primary === null) return '';
  if (primary.label === 'paused') return '⏸';
  const isAtRisk = shown.some(({ tone, subscription }) => tone === 'warn' || isCancelled(subscription));
  if (isAtRisk) return '⚠️';
  return primary.tone === 'ended' ? '⛔' : '✅';
}

/** Still has access, and will lose it. */
function isCancelled({ status }: SubscriptionState): boolean {
  return status === 'cancelled' || status === 'cancelled_trial';
}

/** Who the customer is, and why the contact was matched with them. */
function identity({ customer, messages: m }: CustomerContext): string {
  const { appUserId, subscriber } = customer;
  const { matchedBy, link } = subscriber;
  const id = isAnonymous(appUserId) && subscriber.email !== null ? subscriber.email : appUserId;
  const reason =
    link === null
      ? m.t(matchedBy === 'chosen' ? 'card.matchedBy.chosen' : 'card.matchedBy.external_id')
      : m.t('card.matchedBy.link', { name: clip(link.name, 20) });
  return `${escapeMarkdown(clip(id, 40))} · ${escapeMarkdown(reason)}`;
}

function storeAndDashboard({ customer, messages: m }: CustomerContext): string {
  const { shown } = customer.description;
  // A sentence about several names the store of each.
  const [only] = shown.length === 1 ? shown : [];
  const store =
    only && only.subscription.store !== 'PROMOTIONAL' ? storeText(m, only.subscription.store) : null;
  const link = `[${m.t('card.button.openRevenueCat')}](${dashboardUrl(customer)})`;
  return [store, link].filter(Boolean).join(' · ');
}

function listItems(context: CustomerContext, extras: readonly Extra[]): ListItem[] {
  const { customer, messages: m } = context;
  const { counts, grants, project, subscriber } = customer;
  const events = m.t('card.eventCount', { count: counts.production + counts.sandbox });
  const items = [
    item('timeline', `${m.t('card.button.timeline')} · ${events}`, {
      subtitle: recentEvents(context, extras.includes('recentEvents') ? RECENT_EVENTS : 1),
    }),
    item('details', m.t('card.button.details')),
  ];
  if (grants.length > 0 && extras.includes('grants')) {
    items.push(item('grants', m.t('card.button.grants'), { tertiary: String(grants.length) }));
  }
  if (extras.includes('share') && canShare(context.request.contact, subscriber.appUserIds)) {
    items.push(item('share', m.t('card.button.share')));
  }
  if (context.candidates.length > 1 && extras.includes('otherProject')) {
    items.push(item('projects', m.t('card.button.otherProject'), { tertiary: clip(project.name, 30) }));
  }
  return items;
}

/** The newest events in one text: a row for each would take the room of everything else. */
function recentEvents(context: CustomerContext, max: number): string {
  const { customer, messages: m } = context;
  return customer.latest
    .slice(0, max)
    .map((event) => `${eventText(m, 'agent', event, customer.names).title} ${m.date(event.atMs)}`)
    .join(' · ');
}

type Row = readonly [field: string, value: string | null];

/** What the sentence does not say. */
function factRows({ customer, messages: m }: CustomerContext): Row[] {
  const { description, latest, names } = customer;
  const [only, ...more] = description.shown;
  const isSandbox = only?.subscription.environment === 'sandbox';
  const bought = only ? undefined : latest.find(({ kind }) => kind === 'non_subscription_purchase');
  const product = bought?.productId ? productLabel(bought.productId, names) : only?.product;
  const ends = more.length === 0 ? [] : description.shown.slice(0, MAX_ROWS - 1);
  const rows: Row[] = [
    ...ends.map((each): Row => [clip(nameOf(each), 30), endRow(m, each.end).flat().join(' ')]),
    [m.t('card.label.paid'), paidText(m, description)],
    [
      m.t(isSandbox ? 'card.label.testPurchase' : 'card.label.product'),
      more.length === 0 ? (product ?? null) : null,
    ],
  ];
  return rows.filter(([, value]) => value);
}

function nameOf({ product, what }: SubscriptionDescription): string {
  return product || what;
}
