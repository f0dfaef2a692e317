import type { Component, ListItem } from '../intercom/canvas.ts';

/** The highest that a first canvas may be, px. Source: Intercom, "Inbox best practices". */
export const HIGHEST_FIRST_CANVAS = 400;

/** The room for text in a narrow sidebar, px; wider ones hold more. */
const ROOM = 330;
/** Of a list's row, beside its arrow; and where something stands at its end as well. */
const ROOM_OF_ITEM = ROOM - 18;
const ROOM_BESIDE = ROOM_OF_ITEM / 2;

const TYPE = 14;
const SMALL_TYPE = 13;
const LINE = 20;
const SMALL_LINE = 18;
const MARGIN = 10;

/** Advance widths in em, those of a wide humanist face; what fits none of these is `OTHER`. */
const WIDTHS: readonly (readonly [RegExp, number])[] = [
  [/[\u2e80-\uffef]/, 1],
  [/[ijlIJ.,:;'’!·\s]/, 0.27],
  [/[()[\]-]/, 0.32],
  [/[ftr/"]/, 0.38],
  [/[zcsvy_?]/, 0.49],
  [/[kxgFLS|]/, 0.54],
  [/[aeo\dETYXZPV$€éèêáàâãäóôõöç]/, 0.59],
  [/[MmW@%œ—]/, 0.94],
  [/[DGUHNOQw&…]/, 0.77],
  [/\p{Lu}/u, 0.66],
];
const OTHER = 0.63;
const widths = new Map<string, number>();

function widthOf(text: string): number {
  let width = 0;
  for (const char of text) {
    let known = widths.get(char);
    if (known === undefined) {
      known =
        WIDTHS.find(([pattern]) => pattern.test(char))?.[1] ??
        ((char.codePointAt(0) ?? 0) > 0xffff ? 1.4 : OTHER);
      // Names may hold any character; those of ordinary texts are a few hundred.
      if (widths.size < 2_000) widths.set(char, known);
    }
    width += known;
  }
  return width;
}

/** Where a line may break: after a space, and between full-width characters. */
const BREAKS = /(?<=\s)|(?<=[\u2e80-\uffef])/;

function lines(text: string, room: number, type = TYPE): number {
  const most = room / type;
  let count = 1;
  let used = 0;
  for (const word of text.split(BREAKS)) {
    const width = widthOf(word.trimEnd());
    if (used > 0 && used + width > most) {
      count += 1;
      used = 0;
    }
    // A word longer than a line is cut.
    count += Math.max(0, Math.ceil(width / most) - 1);
    used += width > most ? width % most : widthOf(word);
  }
  return count;
}

function itemHeight(item: ListItem): number {
  const titleRoom = item.tertiary_text ? ROOM_BESIDE : ROOM_OF_ITEM;
  const words =
    lines(item.title, titleRoom) * LINE +
    (item.subtitle ? lines(item.subtitle, ROOM_OF_ITEM, SMALL_TYPE) * SMALL_LINE : 0);
  const beside = item.tertiary_text ? lines(item.tertiary_text, ROOM_BESIDE) * LINE : 0;
  return 15 + Math.max(words, beside);
}

function heightOf(component: Component): number {
  switch (component.type) {
    case 'text': {
      const shown = component.text.replaceAll(/\]\([^)]*\)|\*\*|\[/g, '');
      return lines(shown, ROOM) * LINE + (component.bottom_margin === 'none' ? 0 : MARGIN);
    }
    case 'button':
      return 30 + MARGIN;
    case 'data-table':
      return component.items.length * (LINE + 8) - 8 + MARGIN;
    case 'list':
      return component.items.reduce((sum, item) => sum + itemHeight(item), -1) + MARGIN;
    case 'input':
    case 'dropdown':
      return 34 + (component.label ? 24 : 0) + MARGIN;
    case 'single-select':
      return 70 + MARGIN;
    case 'textarea':
      return 76 + (component.label ? 24 : 0) + MARGIN;
    case 'divider':
      return 1 + MARGIN;
    case 'spacer':
      return 16;
  }
}

/**
 * About how high a canvas is drawn, px, on the high side: how Intercom measures is not published, so this
 * follows the pictures of cards (rows 28 px apart, lines of 20 px), and the tests compare it with a browser.
 */
export function estimatedHeight(components: readonly Component[]): number {
  return components.reduce((sum, component) => sum + heightOf(component), 0) - MARGIN;
}
