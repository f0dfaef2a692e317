/// <reference lib="dom" />
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type axe from 'axe-core';
import type { Frame, Page } from 'playwright-core';

/** The minified build, less than half of the source that the package exports: every page has to parse it. */
const AXE = readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string }[];
}

interface Look {
  /** A selector; by default the whole page. */
  readonly part?: string | undefined;
  /**
   * What to check: `everything` by default. `changes`: everything if the other width draws other elements, else only
   * what depends on colors and widths. `new colors`: the colors of elements that the other width does not draw.
   */
  readonly at?: 'everything' | 'changes' | 'new colors';
}

/** Loads axe with each document of a page. Sending axe to a document afterward takes a tenth of a second each time. */
export async function bringAxe(page: Page): Promise<void> {
  await page.addInitScript(AXE);
}

/** What axe finds on a page, or in one part of it. The page's Content Security Policy does not apply to axe. */
export async function axeFindings(page: Page | Frame, look: Look = {}): Promise<string[]> {
  if (!(await page.evaluate('"axe" in window'))) await page.evaluate(AXE);
  const violations = await page.evaluate(async ({ part, at = 'everything' }: Look) => {
    const view = window as unknown as { axe: typeof axe; drawn?: Map<number, Set<Element>> };
    const root = part === undefined ? document : document.querySelector(part);
    if (root === null) throw new Error(`Nothing matches ${part}`);
    const drawn = new Set(
      [...root.querySelectorAll('*')].filter((each) => each.checkVisibility({ visibilityProperty: true })),
    );
    view.drawn ??= new Map();
    const [before = new Set()] = [...view.drawn].flatMap(([width, set]) =>
      width === innerWidth ? [] : [set],
    );
    view.drawn.set(innerWidth, drawn);
    const added = [...drawn.difference(before)];
    if (at === 'new colors' && added.length === 0) return [];
    const isSame = added.length === 0 && drawn.size === before.size;
    const colors = ['color-contrast', 'link-in-text-block'];
    const rules = {
      everything: undefined,
      changes: isSame ? [...colors, 'scrollable-region-focusable'] : undefined,
      'new colors': colors,
    }[at];
    const result = await view.axe.run(at === 'new colors' ? added : root, {
      resultTypes: ['violations'],
      ...(rules ? { runOnly: rules } : {}),
    });
    return result.violations as unknown as Violation[];
  }, look);
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
}

/**
 * Asserts no findings in light and dark, at phone and desktop width, and nothing wider than the screen. Axe takes most
 * of a browser test's time. Widths and color schemes do not affect each other, so each is checked once, plus the colors
 * of elements that only one width draws. Most rules read only the document: they run again only if the other width
 * draws other elements. The order changes one thing per step, because the browser redraws the page for each change.
 */
export async function assertAccessible(page: Page, name: string, part?: string): Promise<void> {
  const { SHOTS } = process.env;
  for (const [width, colorScheme, what] of [
    [1280, 'light', 'everything'],
    [390, 'light', 'new colors'],
    [390, 'dark', 'changes'],
    [1280, 'dark', 'new colors'],
  ] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 1000 });
    const at = `${name}, ${colorScheme}, ${width} px`;
    assert.deepEqual(await axeFindings(page, { part, at: what }), [], at);
    assert.equal(await overflowOf(page), 0, at);
    if (SHOTS) {
      const path = `${SHOTS}/${`${name}-${colorScheme}-${width}`.replaceAll(/\W+/g, '-')}.png`;
      await (part === undefined ? page : page.locator(part)).screenshot({ path });
    }
  }
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize({ width: 1280, height: 1000 });
}

/**
 * For one more view of the card: asserts no findings at desktop width, and nothing wider than a phone. The inbox page's
 * own test draws every component, and checks their colors in light and dark and at both widths.
 */
export async function assertViewAccessible(page: Page, name: string): Promise<void> {
  const { SHOTS } = process.env;
  assert.deepEqual(await axeFindings(page, { part: '[data-testid=card]' }), [], name);
  if (SHOTS) {
    const path = `${SHOTS}/${name.replaceAll(/\W+/g, '-')}.png`;
    await page.locator('[data-testid=card]').screenshot({ path });
  }
  await page.setViewportSize({ width: 390, height: 1000 });
  assert.equal(await overflowOf(page), 0, name);
  await page.setViewportSize({ width: 1280, height: 1000 });
}

/** How much wider than the screen the page is, px. */
function overflowOf(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

interface Focused {
  readonly name: string;
  readonly component: string | null;
  readonly isVisible: boolean;
}

/** The focused control, and whether a keyboard user sees that it has the focus. `null`: none, as after the last one. */
export async function focused(page: Page): Promise<Focused | null> {
  return page.evaluate(() => {
    const control = document.activeElement;
    if (!control || control === document.body) return null;
    // The label of a hidden radio button, or the frame around a field, shows the focus instead of the control.
    const shownBy = [control, control.nextElementSibling, control.parentElement].filter(
      (each) => each !== null,
    );
    const isMarked = shownBy.some((each) => {
      const { outlineStyle, outlineWidth } = getComputedStyle(each);
      return outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 1;
    });
    const { top, bottom, left, right } = control.getBoundingClientRect();
    const isOnScreen = bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
    const labels = [...((control as HTMLInputElement).labels ?? [])].map((label) => label.textContent);
    const text = control.getAttribute('aria-label') ?? (labels.join() || control.textContent);
    return {
      name: (text ?? '').trim().replaceAll(/\s+/g, ' ').slice(0, 80),
      component: control.closest<HTMLElement>('[data-component-id]')?.dataset.componentId ?? null,
      isVisible: isMarked && isOnScreen,
    };
  });
}

/**
 * Presses Tab until the focus is on a control whose name or component id starts with `wanted`. Every control on the way
 * must show its focus.
 */
export async function tabTo(page: Page, wanted: string, key = 'Tab'): Promise<void> {
  const passed: string[] = [];
  for (;;) {
    const now = await focused(page);
    if (passed.length > 0) {
      assert.ok(now, `${wanted} is not on the page; passed ${passed.join(', ')}`);
      assert.ok(now.isVisible, `the focus on ${now.name} can be seen; passed ${passed.join(', ')}`);
    }
    if (now?.name.startsWith(wanted) || now?.component?.startsWith(wanted)) return;
    passed.push(now?.name ?? '');
    assert.ok(passed.length < 60, `${wanted} is near; passed ${passed.join(', ')}`);
    await page.keyboard.press(key);
  }
}
