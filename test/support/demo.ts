import { after, before } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { type Demo, startDemo } from '../../src/simulator/demo.ts';
import { sharedBrowser } from './browser.ts';
import { createTestDatabase } from './database.ts';
import { logger } from './world.ts';

/** Runs the demo and a browser from before the first test of the caller's suite until after its last. */
export function useDemo(): {
  demo(): Demo;
  newPage(viewport?: { readonly width: number; readonly height: number }): Promise<Page>;
} {
  let demo: Demo;
  let browser: Browser;
  before(async () => {
    [demo, browser] = await Promise.all([startTestDemo(), sharedBrowser()]);
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });
  return {
    demo: () => demo,
    async newPage(viewport = { width: 1280, height: 1000 }) {
      const page = await browser.newPage({ viewport, reducedMotion: 'reduce' });
      page.setDefaultTimeout(15_000);
      return page;
    },
  };
}

/** Uses a database of the tests' server: creating a server for the demo takes seconds. */
async function startTestDemo(): Promise<Demo> {
  const db = await createTestDatabase();
  const demo = await startDemo({ port: 0, logger, databaseUrl: db.url });
  return {
    ...demo,
    async stop() {
      await demo.stop();
      await db.close();
    },
  };
}
