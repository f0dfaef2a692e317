import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import escapeHtml from 'escape-html';
import { pino } from 'pino';
import type { Browser, Page } from 'playwright-core';
import manifest from '../app-manifest.json' with { type: 'json' };
import { type Demo, startDemo } from '../src/simulator/demo.ts';
import { launchBrowser } from '../test/support/browser.ts';
import { settingsUrl, shootCard, signIn } from './demo-pages.ts';

/**
 * Creates the App Store listing's pictures from the running demo: the icon, and one picture for each entry of
 * `listing.images` in the manifest, in marketing format (a frame, a background and the entry's caption).
 */
const ROOT = join(import.meta.dirname, '..');
const ICON = join(ROOT, 'src/settings/assets/icon.svg');
/** Intercom's guide states the icon's size. The public part of the guide has no size for the pictures (UNVERIFIED). */
const ICON_SIZE = 512;
const PICTURE = { width: 1600, height: 1000 };

/** What each picture shows, by its file name. */
const SUBJECTS: Readonly<Record<string, (page: Page, demo: Demo) => Promise<Buffer>>> = {
  'card.png': (page, demo) => shootActive(page, demo, []),
  'timeline.png': (page, demo) => shootActive(page, demo, ['timeline']),
  'grant.png': (page, demo) => shootActive(page, demo, ['grant']),
  'use.png': (page, demo) => shootSettings(page, demo, '/settings/use'),
  'home.png': (page, demo) => shootSettings(page, demo, '/settings'),
};

async function shootActive(page: Page, demo: Demo, press: readonly string[]): Promise<Buffer> {
  // The inbox scrolls a card that is taller than the window, which would cut the picture off.
  await page.setViewportSize({ width: 1280, height: 1_200 });
  return shootCard(page, demo, { conversation: '501', press });
}

async function shootSettings(page: Page, demo: Demo, path: string): Promise<Buffer> {
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(settingsUrl(demo, path));
  if (new URL(page.url()).pathname === '/signin') {
    await signIn(page);
    await page.goto(settingsUrl(demo, path));
  }
  return page.screenshot();
}

async function frame(browser: Browser, caption: string, subject: Buffer): Promise<Buffer> {
  const page = await browser.newPage({ viewport: PICTURE });
  await page.setContent(`<!doctype html><meta charset="utf-8"><style>
    body { box-sizing: border-box; display: grid; grid-template: auto minmax(0, 1fr) / 1fr; place-items: center; gap: 44px;
      width: 100vw; height: 100vh; margin: 0; padding: 60px 90px; background: linear-gradient(135deg, #174a42, #2a7f6e); }
    h1 { margin: 0; color: #fff; font: 600 46px/1.25 sans-serif; text-align: center; text-wrap: balance; }
    img { max-width: 100%; max-height: 100%; padding: 14px; border-radius: 18px; background: #fff; box-shadow: 0 20px 60px #0006; box-sizing: border-box; }
    </style><h1>${escapeHtml(caption)}</h1><img alt="" src="data:image/png;base64,${subject.toString('base64')}">`);
  const png = await page.screenshot();
  await page.close();
  return png;
}

async function drawIcon(browser: Browser): Promise<void> {
  const page = await browser.newPage({ viewport: { width: ICON_SIZE, height: ICON_SIZE } });
  const svg = await readFile(ICON, 'utf8');
  await page.setContent(
    `<style>body{margin:0}svg{display:block;width:${ICON_SIZE}px;height:${ICON_SIZE}px}</style>${svg}`,
  );
  await writeFile(
    join(ROOT, manifest.basic_information.icon.file),
    await page.screenshot({ omitBackground: true }),
  );
  await page.close();
}

const [demo, browser] = await Promise.all([
  startDemo({ port: 0, logger: pino({ level: 'silent' }) }),
  launchBrowser(),
]);
try {
  await drawIcon(browser);
  const page = await browser.newPage({ deviceScaleFactor: 2 });
  for (const { caption, file } of manifest.listing.images) {
    const subject = SUBJECTS[file.split('/').at(-1) ?? ''];
    if (!subject) throw new Error(`scripts/listing-pictures.ts does not know what ${file} shows`);
    await mkdir(join(ROOT, 'docs/listing'), { recursive: true });
    await writeFile(join(ROOT, file), await frame(browser, caption, await subject(page, demo)));
  }
} finally {
  await browser.close();
  await demo.stop();
}
