import { readFileSync } from 'node:fs';
import { after, before } from 'node:test';
import type { Page } from 'playwright-core';
import { sharedBrowser } from './browser.ts';

/** Source: Intercom, "Inbox best practices". */
export const MAX_FIRST_CANVAS_PX = 400;
/** Width of a card's text in a narrow sidebar. In a wider sidebar, a line holds more text. */
const WIDTH_PX = 330;
const ASSETS = new URL('../../src/simulator/demo/assets/', import.meta.url);

/**
 * Measures the heights in px of canvases as the demo's inbox draws them. The tests' Chromium has no Japanese font, so
 * each Japanese character is replaced with a dash of the same width and a zero-width space, where a line may break.
 */
export function useCardHeights(): (canvases: readonly { readonly content?: unknown }[]) => Promise<number[]> {
  let page: Page;
  before(async () => {
    page = await (await sharedBrowser()).newPage({ viewport: { width: WIDTH_PX, height: 800 } });
    await page.route('http://card.test/**', (route) => {
      const { pathname } = new URL(route.request().url());
      if (pathname !== '/') return route.fulfill({ path: new URL(`.${pathname}`, ASSETS).pathname });
      const css = ['page.css', 'canvas.css'].map((name) => readFileSync(new URL(name, ASSETS), 'utf8'));
      const body = `<!doctype html><style>${css.join('\n')} body { margin: 0; padding: 0 }</style>`;
      return route.fulfill({ contentType: 'text/html', body });
    });
    await page.goto('http://card.test/');
  });
  after(() => page?.close());
  return (canvases) => {
    // As text: Playwright takes ten times longer to send objects.
    const contents = JSON.stringify(canvases.map(({ content }) => content));
    return page.evaluate(
      async (text) => {
        const { drawCanvas } = await import('/canvas.js' as string);
        const all: unknown[] = JSON.parse(text);
        const roots: HTMLElement[] = all.map((content) => drawCanvas(content, () => {}).root);
        document.body.replaceChildren(...roots);
        return roots.map((root) => root.getBoundingClientRect().height);
      },
      contents.replaceAll(/[\u2e80-\uffef]/g, '—\u200b'),
    );
  };
}
