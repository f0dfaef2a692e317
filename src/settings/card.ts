import type { Router } from 'express';
import { CARD_LANGUAGES } from '../workspaces/settings.ts';
import { changeSettings } from './audit.ts';
import { field, type SettingsContext, visitOf } from './context.ts';
import { sendPage } from './render.ts';

const NAMES: Readonly<Record<(typeof CARD_LANGUAGES)[number], string>> = {
  en: 'English',
  de: 'Deutsch',
  fr: 'Français',
  es: 'Español',
  pt: 'Português',
  ja: '日本語',
};

/** What the admins decide about the card that teammates see beside a conversation. */
export function addCardPage(router: Router, context: SettingsContext): void {
  router.get('/card', async (req, res) => {
    const visit = await visitOf(context, res);
    sendPage(req, res, {
      view: 'card',
      title: 'Inbox card',
      section: 'card',
      visit,
      data: {
        language: visit.workspace.settings.card.language ?? 'en',
        languages: CARD_LANGUAGES.map((language) => ({ language, name: NAMES[language] })),
        timezone: visit.workspace.timezone,
      },
    });
  });

  router.post('/card', async (req, res) => {
    const visit = await visitOf(context, res);
    const language = CARD_LANGUAGES.find((known) => known === field(req, 'language')) ?? null;
    await changeSettings(context, visit, 'card', { language }, 'card_changed');
    res.redirect(303, '/settings/card?done=card_saved');
  });
}
