import { z } from 'zod';
import { CARD_LANGUAGES } from '../workspaces/settings.ts';
import { LANGUAGES } from './messages.ts';
import { done, form, type Page, textField } from './page.ts';
import { changeSettings } from './settings-audit.ts';

/** The card beside each conversation. */
export const cardPage: Page = {
  path: '/card',
  title: 'Inbox card',
  view: 'card',
  load: async ({ workspace }) => ({
    language: workspace.settings.card.language ?? 'en',
    languages: CARD_LANGUAGES.map((language) => [language, LANGUAGES[language]]),
  }),
  forms: {
    '': form(
      z.object({
        language: textField.pipe(
          z.enum(CARD_LANGUAGES, 'Nothing was saved. Choose one of the languages of the list.'),
        ),
      }),
      async (request, { language }) => {
        await changeSettings(request, 'card', { language }, 'card_changed');
        return done('/card', 'card_saved');
      },
    ),
  },
};
