import type { Messages } from '../i18n/messages.ts';
import {
  backLink,
  button,
  type Component,
  canvas,
  escapeMarkdown,
  item,
  linkButton,
  list,
  type Part,
  text,
  tightText,
} from '../intercom/canvas.ts';
import type { CustomerView, HistoryLine, Holding } from './customer-view.ts';

/** The whole card takes at most half of the Messenger's height. Source: Intercom, "Messenger best practices". */
const MAX_HOLDINGS = 2;
const EVENTS_PER_PAGE = 4;

/**
 * The card before the customer is known: an initialize request names no contact, so Intercom requests the content at
 * each view, for the contact who is looking. Without `content`, as in Intercom's example; its schema requires one
 * (CONFLICT), but also says that a canvas is either static or live.
 */
export function liveCanvas(publicUrl: string) {
  return { content_url: `${publicUrl}/canvas/messenger/live` };
}

/** @param from index of the first subscription shown; after the first page, among those that have not ended */
export function cardHoldings(view: CustomerView, messages: Messages, from: number): Part[] {
  const { holdings, history, summary } = view;
  if (holdings.length === 0 && history.length === 0) return plainCard(summary, messages);
  const isHome = from === 0;
  const running = holdings.filter(({ tone }) => tone !== 'ended');
  const next = from + MAX_HOLDINGS;
  const shown = (isHome ? holdings : running).slice(from, next);
  const more = running.length - next;
  const items = [
    ...(more > 0 ? [item(`more:${next}`, messages.t('messenger.more', { count: more }))] : []),
    ...(isHome && history.length > 0 ? [item('history', messages.t('messenger.history'))] : []),
  ];
  return [
    holdingsWithLinks(shown),
    shown.length === 0 && text(summary, 'muted'),
    items.length > 0 && list(items),
    !isHome && backLink(messages.t('messenger.restart')),
  ];
}

function holdingsWithLinks(holdings: readonly Holding[]): Component[] {
  const links = new Map(
    holdings.flatMap(({ manage }) => (manage ? [[manage.url, manage.label] as const] : [])),
  );
  return [
    ...holdings.flatMap(({ title, sentence, tone }) => [
      tightText(`**${escapeMarkdown(title)}**`, 'paragraph'),
      text(escapeMarkdown(sentence), tone === 'ended' ? 'muted' : 'paragraph'),
    ]),
    ...[...links].map(([url, label], index) =>
      linkButton(index === 0 ? 'manage' : `manage:${index}`, label, url),
    ),
  ];
}

/** @param from index of the first event shown, newest first */
export function cardHistory(view: CustomerView, messages: Messages, from: number): Part[] {
  const lines = view.history.slice(from, from + EVENTS_PER_PAGE);
  const back = backLink(messages.t('messenger.restart'));
  if (lines.length === 0) return [text(messages.t('messenger.noHistory'), 'muted'), back];
  const next = from + EVENTS_PER_PAGE;
  return [
    tightText(messages.t('messenger.history'), 'header'),
    list(lines.map((line, index) => historyItem(line, from + index))),
    view.history.length > next && button(`history:${next}`, messages.t('messenger.older'), 'secondary'),
    back,
  ];
}

function historyItem(line: HistoryLine, index: number) {
  const subtitle = [line.date, line.subtitle].filter(Boolean).join(' · ');
  const { action: _none, ...plain } = item(`event:${index}`, line.title, { subtitle });
  return plain;
}

/** A card that has nothing to show, with the reason and a button to try again. */
export function plainCard(sentence: string, messages: Messages): Part[] {
  return [text(sentence, 'muted'), button('home', messages.t('messenger.refresh'), 'link')];
}

export function contentOf(parts: readonly Part[]) {
  return { content: canvas(parts).content };
}
