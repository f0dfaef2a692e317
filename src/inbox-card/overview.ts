import { eventText } from '../i18n/event-text.ts';
import { endLine, overviewText, paidText, storeText } from '../i18n/sentences.ts';
import {
  button,
  type Component,
  canvas,
  clip,
  componentsOf,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  list,
  table,
  tightText,
} from '../intercom/canvas.ts';
import type { CustomerDescription } from '../subscription/describe-customer.ts';
import { isAnonymous } from '../subscription/identities.ts';
import { productLabel } from '../subscription/names.ts';
import { dashboardUrl } from '../workspaces/projects.ts';
import { storedData } from './context.ts';
import { type CustomerContext, canShare, hasGrantsOrActions } from './customer.ts';
import { fitsFirstCanvas } from './height.ts';

const RECENT_EVENTS = 3;
const MAX_ROWS = 3;
const MAX_SENTENCE_LENGTH = 400;
const SENTENCE_STEP = 20;

/** What a first canvas shows where there is room, the most useful first. The rest is one press away. */
const EXTRAS = [
  'match',
  'projects',
  'grants',
  'share',
  'recentEvents',
  'dashboard',
  'row1',
  'row2',
  'row3',
] as const;

type Extra = (typeof EXTRAS)[number];

const NONE: ReadonlySet<Extra> = new Set();

/**
 * The first canvas: what most tickets ask, who the customer is, and what can be done. Its height is limited, so the
 * extras are added one by one as long as it fits.
 */
export function overview(context: CustomerContext, notice: string | null = null): InboxCanvas {
  let maxLength = MAX_SENTENCE_LENGTH;
  let parts = partsOf(context, notice, maxLength);
  // The names of products can make a sentence too long: it is cut then, and the details have all of it.
  while (maxLength > SENTENCE_STEP && !fitsFirstCanvas(layOut(parts, NONE))) {
    maxLength -= SENTENCE_STEP;
    parts = partsOf(context, notice, maxLength);
  }
  const isRefreshed = context.request.componentId === 'refresh';
  // Only the first canvas has a limit, and every later one needs a link that leads on.
  let shown: ReadonlySet<Extra> = isRefreshed ? new Set(['match']) : NONE;
  for (const extra of EXTRAS) {
    const more = new Set([...shown, extra]);
    if (fitsFirstCanvas(layOut(parts, more))) shown = more;
  }
  const components = layOut(parts, shown);
  // *Refresh* is an action on this canvas, so its result needs no way back.
  return isRefreshed ? canvas(components, storedData(context)) : context.page(components);
}

type Parts = ReturnType<typeof partsOf>;

function partsOf(context: CustomerContext, notice: string | null, maxSentenceLength: number) {
  const { messages: m, customer, app, request, candidates, projects } = context;
  const { grantActions, project, receiverId, appUserIds } = customer;
  const isRejected = project.apiKeyState === 'rejected';
  const grantCount = grantActions.length > 0 ? { tertiary: String(grantActions.length) } : {};
  const otherNames = projects
    .filter(({ projectId }) => projectId !== project.projectId)
    .filter(({ projectId }) => candidates.some((each) => each.project.projectId === projectId))
    .map(({ name }) => name);
  return {
    texts: [
      notice !== null && tightText(notice, 'muted'),
      tightText(headline(context, maxSentenceLength), 'paragraph'),
      tightText(identityText(context), 'muted'),
    ],
    dashboard: tightText(storeAndDashboard(context), 'muted'),
    rows: factRows(context),
    timeline: timelineItem(context, 1),
    recentEvents: timelineItem(context, RECENT_EVENTS),
    receiver: receiverId !== null && item(`match:${receiverId}`, m.t('card.button.receiver')),
    details: item('details', m.t('card.button.details')),
    grants: hasGrantsOrActions(customer) && item('grants', m.t('card.button.grants'), grantCount),
    share: canShare(request.contact, appUserIds) && item('share', m.t('card.button.share')),
    projects:
      candidates.length > 1 &&
      item('projects', m.t('card.button.otherProject'), { tertiary: clip(otherNames.join(', '), 30) }),
    buttons: [
      button('grant', m.t('action.title.grant'), 'secondary'),
      isRejected
        ? urlButton('settings', m.t('card.button.settings'), `${app.config.publicUrl}/settings`)
        : button('refresh', refreshLabel(context), 'secondary'),
    ],
    wrongCustomer: button('match', m.t('card.button.wrongCustomer'), 'link'),
  };
}

function layOut(parts: Parts, shown: ReadonlySet<Extra>): Component[] {
  const rows = [shown.has('row1'), shown.has('row2'), shown.has('row3')];
  const items = [
    shown.has('recentEvents') ? parts.recentEvents : parts.timeline,
    parts.receiver,
    parts.details,
    shown.has('grants') && parts.grants,
    shown.has('share') && parts.share,
    shown.has('projects') && parts.projects,
  ];
  return componentsOf([
    parts.texts,
    shown.has('dashboard') && parts.dashboard,
    table(parts.rows.filter((_, index) => rows[index])),
    list(items.filter((each) => each !== false)),
    parts.buttons,
    shown.has('match') && parts.wrongCustomer,
  ]);
}

function urlButton(id: string, label: string, url: string): Component {
  return { type: 'button', id, label, style: 'secondary', action: { type: 'url', url } };
}

/** With the time of the last one. */
function refreshLabel({ customer, messages: m }: CustomerContext): string {
  const { snapshotAtMs } = customer;
  const label = m.t('card.button.refresh');
  return snapshotAtMs === null ? label : `${label} · ${m.dateTime(snapshotAtMs)}`;
}

function headline({ customer: { description }, messages: m }: CustomerContext, maxLength: number): string {
  const sentence = escapeMarkdown(clip(overviewText(m, description), maxLength));
  return [statusEmoji(description), `**${sentence}**`].filter(Boolean).join(' ');
}

/** `''`: nothing was ever subscribed to, or there is access that no purchase explains. */
function statusEmoji({ shown, primary }: CustomerDescription): string {
  if (primary === null || shown.length === 0) return '';
  if (primary.label === 'paused') return '⏸';
  // A cancelled one still gives access, and will end.
  const isAtRisk = shown.some(
    ({ tone, subscription: { status } }) =>
      tone === 'warn' || status === 'cancelled' || status === 'cancelled_trial',
  );
  if (isAtRisk) return '⚠️';
  return primary.tone === 'ended' ? '⛔' : '✅';
}

/** Who the customer is, and why the contact was matched with them. */
function identityText({ customer, messages: m }: CustomerContext): string {
  const { appUserId, email, matchedBy, link } = customer;
  const id = isAnonymous(appUserId) && email !== null ? email : appUserId;
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
    only && only.subscription.store !== 'PROMOTIONAL'
      ? escapeMarkdown(storeText(m, only.subscription.store) ?? '')
      : null;
  const link = `[${m.t('card.button.openRevenueCat')}](${dashboardUrl(customer.project, customer.appUserId)})`;
  return [store, link].filter(Boolean).join(' · ');
}

/** The newest events share one text: a row for each would take the room of everything else. */
function timelineItem({ customer, messages: m }: CustomerContext, maxEvents: number): ListItem {
  const { counts, latest, names } = customer;
  const count = m.t('card.eventCount', { count: counts.production + counts.sandbox });
  const events = latest
    .slice(0, maxEvents)
    .map((event) => `${eventText(m, event, { voice: 'agent', names }).title} ${m.date(event.atMs)}`);
  return item('timeline', `${m.t('card.button.timeline')} · ${count}`, { subtitle: events.join(' · ') });
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
    ...ends.map((each): Row => [clip(each.product || each.what, 30), endLine(m, each.end)]),
    [m.t('card.label.paid'), paidText(m, description)],
    [
      m.t(isSandbox ? 'card.label.testPurchase' : 'card.label.product'),
      more.length === 0 ? (product ?? null) : null,
    ],
  ];
  return rows.filter(([, value]) => value);
}
