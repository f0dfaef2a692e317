import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Browser, Page } from 'playwright-core';
import { type Demo, startDemo } from '../src/simulator/demo.ts';
import { launchBrowser } from '../test/support/browser.ts';
import { cardIsReady, inboxUrl, settingsUrl, shootCard, signIn } from './demo-pages.ts';
import { SCENES, SETTINGS_PAGES } from './scenes.ts';

/**
 * Makes the pictures of `docs/screenshots` from the running demo: the pages that the documents show, and contact
 * sheets, of every state and view of the card and of every settings page, for a designer to review.
 */
const FOLDER = join(import.meta.dirname, '..', 'docs', 'screenshots');
const DESK = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };

interface Picture {
  readonly caption: string;
  readonly png: Buffer;
}

async function main(): Promise<void> {
  await mkdir(FOLDER, { recursive: true });
  const [demo, browser] = await Promise.all([
    startDemo({ port: 0, logger: pino({ level: 'silent' }) }),
    launchBrowser(),
  ]);
  try {
    await shootInbox(browser, demo);
    const settings = await shootSettings(browser, demo);
    await sheet(browser, 'settings-sheet', 'Settings', settings.desk, { columns: 3, width: 560 });
    await sheet(browser, 'settings-sheet-phone', 'Settings on a phone', settings.phone, {
      columns: 6,
      width: 260,
    });
    const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
    page.setDefaultTimeout(8_000);
    const cards: Picture[] = [];
    for (const scene of SCENES) {
      const png = await shootCard(page, demo, scene).catch((error: unknown) => {
        throw new Error(`The scene "${scene.name}" cannot be played`, { cause: error });
      });
      cards.push({ caption: scene.name, png });
    }
    // Two sheets, so that neither is too heavy to open from the documents.
    const first = cards.filter((_, index) => !SCENES[index]?.press);
    const further = cards.filter((_, index) => SCENES[index]?.press);
    await sheet(browser, 'card-sheet', 'The card, as it opens', first, { columns: 6, width: 384 });
    await sheet(browser, 'card-views-sheet', 'The card, behind its buttons', further, {
      columns: 6,
      width: 384,
    });
  } finally {
    await browser.close();
    await demo.stop();
  }
}

async function opened(browser: Browser, viewport: typeof DESK, url: string): Promise<Page> {
  const page = await browser.newPage({ viewport });
  await page.goto(url);
  return page;
}

async function shootInbox(browser: Browser, demo: Demo): Promise<void> {
  for (const [name, viewport] of [
    ['inbox', DESK],
    ['inbox-phone', PHONE],
  ] as const) {
    const page = await opened(browser, viewport, inboxUrl(demo, '501'));
    await cardIsReady(page);
    await page.getByTestId('events').waitFor();
    await page.screenshot({ path: join(FOLDER, `${name}.png`) });
    await page.close();
  }
}

async function shootSettings(browser: Browser, demo: Demo): Promise<{ desk: Picture[]; phone: Picture[] }> {
  const desk: Picture[] = [];
  const phone: Picture[] = [];
  const page = await opened(browser, DESK, settingsUrl(demo, '/settings'));
  desk.push({ caption: 'Sign in', png: await page.screenshot() });
  await signIn(page);
  for (const { name, path } of SETTINGS_PAGES) {
    await page.setViewportSize(DESK);
    await page.goto(settingsUrl(demo, path));
    const file = path === '/settings' ? 'settings-home' : `settings-${path.split('/').at(-1)}`;
    const png = await page.screenshot({ path: join(FOLDER, `${file}.png`) });
    desk.push({ caption: name, png });
    await page.setViewportSize(PHONE);
    phone.push({ caption: name, png: await page.screenshot() });
  }
  await page.close();
  return { desk, phone };
}

/** Combines many pictures into one, each with its name below. */
async function sheet(
  browser: Browser,
  file: string,
  title: string,
  pictures: readonly Picture[],
  { columns, width }: { columns: number; width: number },
): Promise<void> {
  const figures = pictures.map(
    ({ caption, png }) =>
      `<figure><img alt="" src="data:image/png;base64,${png.toString('base64')}"><figcaption>${caption}</figcaption></figure>`,
  );
  const page = await browser.newPage({ viewport: { width: columns * (width + 24) + 24, height: 800 } });
  await page.setContent(`<!doctype html><meta charset="utf-8"><title>${title}</title>
    <style>
      body { margin: 24px; background: #ecebe6; font: 14px/1.4 sans-serif; }
      main { columns: ${columns}; column-gap: 24px; }
      figure { margin: 0 0 24px; break-inside: avoid; }
      img { box-sizing: border-box; max-width: 100%; padding: 12px; border-radius: 8px; border: 1px solid #d9d7cf; background: #fff; }
      figcaption { padding-top: 6px; color: #555; }
    </style><h1>${title}</h1><main>${figures.join('')}</main>`);
  const path = join(FOLDER, `${file}.jpg`);
  await page.screenshot({ path, fullPage: true, type: 'jpeg', quality: 66 });
  await page.close();
}

await main();
