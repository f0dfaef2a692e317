import {
  backLink,
  button,
  type Component,
  canvas,
  escapeMarkdown,
  item,
  linkButton,
  list,
  text,
} from '../intercom/canvas.ts';
import type { CustomerView, HistoryLine, Holding } from './customer-view.ts';
import type { MessengerWords } from './words.ts';

/** What Intercom takes as a customer's card: drawn now, or asked for anew at each view. */
export type MessengerCanvas =
  | { readonly content: { readonly components: readonly Component[] } }
  | { readonly content_url: string };

/** The whole card takes at most half of the Messenger's height. Source: Intercom, "Messenger best practices". */
const MAX_HOLDINGS = 2;
const EVENTS_A_PAGE = 4;

/**
 * The card before it is known whose it is: an initialize request names no contact, so each view asks for the
 * content of the one who looks.
 */
export function liveCanvas(publicUrl: string): MessengerCanvas {
  return { content_url: `${publicUrl}/canvas/messenger/live` };
}

/** What the customer has, and the ways on. */
export function cardHome(view: CustomerView, words: MessengerWords): readonly Component[] {
  const shown = view.holdings.slice(0, MAX_HOLDINGS);
  const components = shown.flatMap((holding) => holdingComponents(holding));
  if (shown.length === 0) components.push(text(words.none, 'muted'));
  const manage = shown.find((holding) => holding.manage)?.manage;
  if (manage) components.push(linkButton('manage', manage.label, manage.url));
  if (view.history.length > 0) components.push(list([item('history', words.history)]));
  return components;
}

function holdingComponents(holding: Holding): Component[] {
  return [
    text(`**${escapeMarkdown(holding.title)}**`, 'paragraph', true),
    text(escapeMarkdown(holding.sentence), holding.tone === 'ended' ? 'muted' : 'paragraph'),
  ];
}

/** @param from index of the first event shown, newest first */
export function cardHistory(view: CustomerView, words: MessengerWords, from: number): readonly Component[] {
  const lines = view.history.slice(from, from + EVENTS_A_PAGE);
  if (lines.length === 0) return [text(words.noHistory, 'muted'), ...backLink(words.restart)];
  const next = from + EVENTS_A_PAGE;
  return [
    text(words.history, 'header', true),
    list(lines.map((line, index) => historyItem(line, from + index))),
    ...(view.history.length > next ? [button(`history:${next}`, words.older, 'secondary')] : []),
    ...backLink(words.restart),
  ];
}

function historyItem(line: HistoryLine, index: number) {
  const { action: _none, ...plain } = item(`event:${index}`, line.title, { tertiary: line.date });
  return plain;
}

/** Nothing to show, why, and a way to look again. */
export function plainCard(sentence: string, words: MessengerWords): readonly Component[] {
  return [text(sentence, 'muted'), button('home', words.refresh, 'link')];
}

export function contentOf(components: readonly Component[]): {
  content: { components: readonly Component[] };
} {
  return { content: canvas(components).content };
}
