import type { Request, Response, Router } from 'express';
import { CARD_LANGUAGES } from '../workspaces/settings.ts';
import { changeSettings } from './audit.ts';
import { field, type SettingsContext, type Visit, visitOf } from './context.ts';
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
  function show(req: Request, res: Response, visit: Visit, errors: readonly string[]): void {
    sendPage(req, res, {
      view: 'card',
      title: 'Inbox card',
      section: 'card',
      visit,
      errors,
      data: {
        language: visit.workspace.settings.card.language ?? 'en',
        languages: CARD_LANGUAGES.map((language) => ({ language, name: NAMES[language] })),
        timezone: visit.workspace.timezone,
      },
    });
  }

  router.get('/card', async (req, res) => {
    show(req, res, await visitOf(context, res), []);
  });

  router.post('/card', async (req, res) => {
    const visit = await visitOf(context, res);
    const wanted = field(req, 'language') || visit.workspace.settings.card.language;
    const language = CARD_LANGUAGES.find((known) => known === wanted) ?? null;
    if (language !== wanted) {
      return show(req, res, visit, ['Nothing was saved. Choose one of the languages of the list.']);
    }
    await changeSettings(context, visit, 'card', { language }, 'card_changed');
    res.redirect(303, '/settings/card?done=card_saved');
  });
}
