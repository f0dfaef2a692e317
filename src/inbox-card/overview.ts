import { eventText } from '../i18n/event-text.ts';
import type { Messages } from '../i18n/messages.ts';
import { overviewText, paidText, storeText } from '../i18n/sentences.ts';
import {
  button,
  clip,
  escapeMarkdown,
  type InboxCanvas,
  item,
  type ListItem,
  linkButton,
  list,
  type Row,
  table,
  tightText,
} from '../intercom/canvas.ts';
import { isAnonymous } from '../subscription/app-user-ids.ts';
import type { CustomerDescription } from '../subscription/describe-customer.ts';
import type { Statement } from '../subscription/describe-subscription.ts';
import { productName } from '../subscription/names.ts';
import { dashboardUrl } from '../workspaces/projects.ts';
import { type CustomerContext, canShare, hasGrantsOrActions } from './customer.ts';

/** The maximum for the notice and the sentence together, in characters. */
const MAX_TEXT_LENGTH = 210;
const LONG_TEXT_LENGTH = 130;
const SHORT_TEXT_LENGTH = 80;

/**
 * The first canvas: what most tickets ask, who the customer is, and what can be done. It may be 400 px high (Intercom,
 * "Inbox best practices"), so longer texts leave room for fewer events and other things; the details have the rest.
 * `test/inbox-card/height.test.ts` measures the tallest canvases in a browser.
 */
export function overview(context: CustomerContext, notice: string | null = null): InboxCanvas {
  const { messages: m, customer, app } = context;
  const noticeLength = lengthOf(notice ?? '');
  const maxLength = Math.max(LONG_TEXT_LENGTH, MAX_TEXT_LENGTH - noticeLength);
  const sentence = fittingText(m, customer.description.statements, maxLength);
  const length = noticeLength + lengthOf(sentence);
  const isLong = length > LONG_TEXT_LENGTH;
  const isShort = length <= SHORT_TEXT_LENGTH;
  const extras = extraItems(context).slice(0, isLong || notice !== null ? 1 : 2);
  const hasRoom = isShort || (!isLong && notice === null && extras.length < 2);
  const isRejected = customer.project.apiKeyState === 'rejected';
  const settingsUrl = `${app.config.publicUrl}/settings`;
  return context.page([
    notice !== null && tightText(notice, 'muted'),
    tightText(headline(customer.description, sentence), 'paragraph'),
    tightText(identityText(context), 'muted'),
    hasRoom && tightText(storeAndDashboard(context), 'muted'),
    table(isShort && extras.length < 2 ? factRows(context) : []),
    list([timelineItem(context, isLong ? 1 : 3), item('details', m.t('card.button.details')), ...extras]),
    button('grant', m.t('action.title.grant'), 'secondary'),
    isRejected
      ? linkButton('settings', m.t('card.button.settings'), settingsUrl)
      : button('refresh', refreshLabel(context), 'secondary'),
  ]);
}

/** Further list items, the most useful first. */
function extraItems({ messages: m, customer, request, candidates, projects }: CustomerContext): ListItem[] {
  const { actions, grantActions, project, receiverId, appUserIds } = customer;
  const isAwaited = actions.some(({ state }) => state === 'awaiting_approval');
  const grantCount = grantActions.length > 0 ? String(grantActions.length) : '';
  const grantNote = isAwaited ? m.t('action.line.awaiting_approval') : grantCount;
  const otherNames = projects
    .filter(({ projectId }) => projectId !== project.projectId)
    .filter(({ projectId }) => candidates.some((each) => each.project.projectId === projectId))
    .map(({ name }) => name);
  return [
    receiverId !== null && item(`match:${receiverId}`, m.t('card.button.receiver')),
    candidates.length > 1 &&
      item('projects', m.t('card.button.otherProject'), { tertiary: clip(otherNames.join(', '), 20) }),
    hasGrantsOrActions(customer) && item('grants', m.t('card.button.grants'), { tertiary: grantNote }),
    canShare(request.contact, appUserIds) && item('share', m.t('card.button.share')),
  ].filter((each) => each !== false);
}

/** The length in Latin characters: a wide character, such as a Chinese one, counts as two. */
function lengthOf(text: string): number {
  return text.replaceAll(/[\u2e80-\uffef]/g, '..').length;
}

/** Shortens several subscriptions to their names, or to one, so that their next charge fits: it is never cut. */
function fittingText(m: Messages, statements: readonly Statement[], maxLength: number): string {
  const textOf = (each: readonly Statement[]): string => overviewText(m, { statements: each });
  const end = statements.findIndex(({ kind }) => kind === 'several') + 1;
  const lengthUpToCharge = (each: readonly Statement[]): number => lengthOf(textOf(each.slice(0, end)));
  const shortest = statements.map((each) => shorten(each, 1));
  const versions = [statements, statements.map((each) => shorten(each, 3))];
  const shown = versions.find((each) => lengthUpToCharge(each) <= maxLength) ?? shortest;
  return cutSentences(textOf(shown), Math.max(maxLength, lengthUpToCharge(shown)));
}

function shorten(statement: Statement, count: number): Statement {
  const nameOf = ({ what }: { what: string }): string => clip(what, count === 1 ? 12 : 30);
  if (statement.kind === 'paymentFailed') return { ...statement, what: nameOf(statement) };
  if (statement.kind !== 'several') return statement;
  const items = statement.items
    .slice(0, count)
    .map((item) => ({ what: nameOf(item), period: null, store: null, note: null }));
  return { ...statement, items, more: statement.more + statement.items.length - items.length };
}

/** As many whole sentences as fit: half of one could be wrong about money. A period after a day or month is no end. */
export function cutSentences(text: string, maxLength: number): string {
  const sentences = text.split(/(?<=(?:\D|\d{4})\. )(?!\d|de )|(?<=。)/);
  while (sentences.length > 1 && lengthOf(sentences.join('')) > maxLength) sentences.pop();
  const whole = sentences.join('').trim();
  const length = lengthOf(whole);
  if (length <= maxLength) return whole;
  // A single sentence is too long because of the names in it. A number is not cut.
  const clipped = clip(whole, Math.floor((maxLength * whole.length) / length));
  return clipped.replace(/(?<=[\s\u2e80-\uffef])[^\s\u2e80-\uffef]*…$/, '…');
}

/** The button's label, with the time of the last refresh. */
function refreshLabel({ customer, messages: m }: CustomerContext): string {
  const { snapshotAtMs } = customer;
  const label = m.t('card.button.refresh');
  return snapshotAtMs === null ? label : `${label} · ${m.dateTime(snapshotAtMs)}`;
}

function headline(description: CustomerDescription, sentence: string): string {
  return [statusEmoji(description), `**${escapeMarkdown(sentence)}**`].filter(Boolean).join(' ');
}

/** `''`: nothing was ever subscribed to, or there is access that no purchase explains. */
function statusEmoji({ shown, primary }: CustomerDescription): string {
  if (primary === null || shown.length === 0) return '';
  if (primary.label === 'paused') return '⏸';
  // A cancelled subscription still gives access, and will end.
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
  // If there are several subscriptions, the sentence names the store of each.
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

/** What the sentence does not say, the most useful first. */
function factRows({ customer, messages: m }: CustomerContext): Row[] {
  const { description, latest, names } = customer;
  const [only, ...more] = description.shown;
  const isSandbox = only?.subscription.environment === 'sandbox';
  const bought = only ? undefined : latest.find(({ kind }) => kind === 'non_subscription_purchase');
  const product = bought ? productName(bought.productId, names) : only?.product;
  const productLabel = m.t(isSandbox ? 'card.label.testPurchase' : 'card.label.product');
  return [
    [m.t('card.label.paid'), paidText(m, description)],
    [productLabel, more.length === 0 ? product : null],
  ];
}
