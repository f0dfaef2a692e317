import { type Component, canvas, type InboxCanvas, linkButton, text } from '../intercom/canvas.ts';
import { type CardContext, first } from './context.ts';
import type { LOCALES } from './language.ts';
import { wordsFor } from './words/catalogue.ts';

/** Of a workspace that we don't know, or that has removed the app. */
export function notInstalled(publicUrl: string, language: keyof typeof LOCALES): InboxCanvas {
  const words = wordsFor(language);
  return canvas([
    text(words.states.notInstalled, 'muted'),
    linkButton('install', words.buttons.install, `${publicUrl}/install`),
  ]);
}

/** No RevenueCat project is connected. */
export function notConnected(context: CardContext): InboxCanvas {
  const { words, services } = context;
  return first(context, [
    text(words.states.notConnected, 'muted'),
    linkButton('settings', words.buttons.settings, `${services.publicUrl}/settings`),
  ]);
}

/** A sentence and nothing to do but to go back. */
export function said(
  context: CardContext,
  sentence: string,
  style: 'muted' | 'error' = 'muted',
): InboxCanvas {
  const components: Component[] = [text(sentence, style)];
  return first(context, components);
}
