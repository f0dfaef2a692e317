import type { Component, ListItem } from '../intercom/canvas.ts';

/** The highest that a first canvas may be, px. Source: Intercom, "Inbox best practices". */
export const HIGHEST_FIRST_CANVAS = 400;

/** A card's text is about this wide in the narrowest sidebar, in characters of 14 px type. */
const CHARACTERS_A_LINE = 44;
const CHARACTERS_A_SMALL_LINE = 48;
/** What stands at the end of a list's row. */
const CHARACTERS_BESIDE = 22;

const LINE = 20;
const SMALL_LINE = 18;
const MARGIN = 10;

/** Full-width characters take the room of two. */
function lines(text: string, charactersALine: number): number {
  let width = 0;
  for (const char of text) width += (char.codePointAt(0) ?? 0) > 0x2e7f ? 2 : 1;
  return Math.max(1, Math.ceil(width / charactersALine));
}

function itemHeight(item: ListItem): number {
  const titleRoom = item.tertiary_text ? CHARACTERS_A_LINE / 2 : CHARACTERS_A_LINE;
  const words =
    lines(item.title, titleRoom) * LINE +
    (item.subtitle ? lines(item.subtitle, CHARACTERS_A_SMALL_LINE) * SMALL_LINE : 0);
  const beside = item.tertiary_text ? lines(item.tertiary_text, CHARACTERS_BESIDE) * LINE : 0;
  return 15 + Math.max(words, beside);
}

function heightOf(component: Component): number {
  switch (component.type) {
    case 'text': {
      const shown = component.text.replaceAll(/\]\([^)]*\)|\*\*|\[/g, '');
      return lines(shown, CHARACTERS_A_LINE) * LINE + (component.bottom_margin === 'none' ? 0 : MARGIN);
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
