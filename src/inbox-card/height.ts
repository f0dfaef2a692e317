import type { Component, ListItem } from '../intercom/canvas.ts';

/** Intercom's reviewers allow 400 px ("Inbox best practices"); Intercom's own font may take more room than ours. */
export const MAX_FIRST_CANVAS_PX = 370;

/** The width of text in a narrow sidebar, px; wider ones hold more. */
const WIDTH = 330;
/** Of a list's row without its arrow; and with a text at its end. */
const ITEM_WIDTH = WIDTH - 18;
const HALF_ITEM = ITEM_WIDTH / 2;
/** How much wider bold text is. */
const BOLD = 1.07;

/** In px, as all that follow. */
const FONT_SIZE = 14;
const SMALL_FONT_SIZE = 13;
const LINE = 20;
const SMALL_LINE = 18;
/** Below each component. */
const MARGIN = 10;
const ITEM_PADDING = 15;
const ROW_PADDING = 8;
const BUTTON = 30;
const INPUT = 34;
const INPUT_LABEL = 24;

/** Advance widths in em, those of a wide humanist face; what fits none of these is `OTHER`. */
const CHAR_WIDTHS: readonly (readonly [RegExp, number])[] = [
  [/[\ufe0f\u200b]/, 0],
  [/[\u2e80-\uffef]/u, 1],
  [/\p{Extended_Pictographic}/u, 1.4],
  [/[ijlIJ.,:;'’!·\s]/, 0.27],
  [/[()[\]-]/, 0.32],
  [/[ftr/"]/, 0.38],
  [/[zcsvy_?]/, 0.49],
  [/[kxgFLS|]/, 0.54],
  [/[aeo\dETYXZPV$€éèêáàâãäóôõöç]/, 0.59],
  [/[MmW@%œ—]/, 0.94],
  [/[DGUHNOQw&…]/, 0.77],
  [/\p{Lu}/u, 0.66],
  [/[\u{10000}-\u{10ffff}]/u, 1.4],
];
const OTHER = 0.63;

/** A line may break after a space, and between full-width characters. */
const FULL_WIDTH = /[\u2e80-\uffef\u{10000}-\u{3ffff}]/u;

interface Char {
  readonly width: number;
  readonly isSpace: boolean;
  readonly endsWord: boolean;
}

const chars = new Map<string, Char>();

function charOf(char: string): Char {
  let known = chars.get(char);
  if (known === undefined) {
    const width = CHAR_WIDTHS.find(([pattern]) => pattern.test(char))?.[1] ?? OTHER;
    const isSpace = /[^\S\u00a0\u202f]/.test(char);
    known = { width, isSpace, endsWord: isSpace || FULL_WIDTH.test(char) };
    // Names may hold any character; those of ordinary texts are a few hundred.
    if (chars.size < 2_000) chars.set(char, known);
  }
  return known;
}

function countLines(text: string, widthPx: number, fontSize = FONT_SIZE): number {
  const max = widthPx / fontSize;
  let count = 1;
  let used = 0;
  let word = 0;
  // The space ends the last word.
  for (const char of `${text} `) {
    const { width, isSpace, endsWord } = charOf(char);
    if (!isSpace) word += width;
    if (!endsWord) continue;
    if (used > 0 && used + word > max) {
      count += 1;
      used = 0;
    }
    // A word longer than a line is cut.
    count += Math.max(0, Math.ceil(word / max) - 1);
    used += word > max ? word % max : word + (isSpace ? width : 0);
    word = 0;
  }
  return count;
}

/** Texts are the expensive part, and the overview measures the same ones once for each thing that it tries to add. */
const measured = new WeakMap<ListItem | Component, number>();

function measureOnce<T extends ListItem | Component>(part: T, measure: (part: T) => number): number {
  let height = measured.get(part);
  if (height === undefined) {
    height = measure(part);
    measured.set(part, height);
  }
  return height;
}

function itemHeight(item: ListItem): number {
  const titleWidth = item.tertiary_text ? HALF_ITEM : ITEM_WIDTH;
  const main =
    countLines(item.title, titleWidth) * LINE +
    (item.subtitle ? countLines(item.subtitle, ITEM_WIDTH, SMALL_FONT_SIZE) * SMALL_LINE : 0);
  const atEnd = item.tertiary_text ? countLines(item.tertiary_text, HALF_ITEM) * LINE : 0;
  return ITEM_PADDING + Math.max(main, atEnd);
}

function textHeight(component: Extract<Component, { type: 'text' }>): number {
  const shown = component.text.replaceAll(/\]\([^)]*\)|\*\*|\[/g, '');
  const width = component.text.includes('**') ? WIDTH / BOLD : WIDTH;
  return countLines(shown, width) * LINE + (component.bottom_margin === 'none' ? 0 : MARGIN);
}

function heightOf(component: Component): number {
  switch (component.type) {
    case 'text':
      return measureOnce(component, textHeight);
    case 'button':
      return BUTTON + MARGIN;
    case 'data-table':
      return component.items.length * (LINE + ROW_PADDING) - ROW_PADDING + MARGIN;
    case 'list':
      return component.items.reduce((sum, item) => sum + measureOnce(item, itemHeight), -1) + MARGIN;
    case 'input':
      return INPUT + (component.label ? INPUT_LABEL : 0) + MARGIN;
    default:
      throw new Error(`No first canvas has a ${component.type} yet: add its height`);
  }
}

/**
 * An estimate of a canvas's height in px, on the high side. How Intercom measures is not published, so this follows
 * the pictures of cards (rows 28 px apart, lines of 20 px); the tests compare it with a browser.
 */
export function estimatedHeight(components: readonly Component[]): number {
  return components.reduce((sum, component) => sum + heightOf(component), 0) - MARGIN;
}

export function fitsFirstCanvas(components: readonly Component[]): boolean {
  return estimatedHeight(components) <= MAX_FIRST_CANVAS_PX;
}
