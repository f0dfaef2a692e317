import type { Page } from 'playwright-core';
import type { Demo } from '../src/simulator/demo.ts';
import type { Scene } from './scenes.ts';

export function inboxUrl(demo: Demo, conversation: string, admin = '1001'): string {
  return `${demo.inboxUrl}?conversation=${encodeURIComponent(conversation)}&admin=${admin}`;
}

export async function cardIsReady(page: Page): Promise<void> {
  await page.locator('[data-testid=card][aria-busy=false] .canvas').waitFor();
}

export async function shootCard(page: Page, demo: Demo, scene: Omit<Scene, 'name'>): Promise<Buffer> {
  await page.goto(inboxUrl(demo, scene.conversation, scene.admin));
  await cardIsReady(page);
  const card = page.getByTestId('card');
  for (const step of scene.press ?? []) {
    const [id = '', value] = step.split('=');
    const matching = id.endsWith('*') ? `^="${id.slice(0, -1)}"` : `="${id}"`;
    const component = card.locator(`[data-component-id${matching}]`).first();
    if (value !== undefined) {
      await component.locator('input, textarea').fill(value);
      continue;
    }
    const answered = page.waitForResponse((response) => response.url().endsWith('/api/canvas'));
    await component.locator('button').first().click();
    await answered;
    await cardIsReady(page);
  }
  // Moves the pointer away from the pressed button, so that nothing looks hovered.
  await page.mouse.move(0, 0);
  return card.screenshot();
}

/** Uses the host of the public URL: Intercom sends the browser back there, and cookies belong to one host. */
export function settingsUrl(demo: Demo, path: string): string {
  return demo.appUrl.replace('127.0.0.1', 'localhost') + path;
}

export async function signIn(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Sign in with Intercom' }).click();
  await page.getByRole('button', { name: 'Authorize access' }).click();
  await page.waitForURL('**/settings**');
}
