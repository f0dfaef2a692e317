import { z } from 'zod';
import { CARD_LANGUAGES } from '../workspaces/settings.ts';
import { LANGUAGES } from './messages.ts';
import { checkboxField, done, form, type Page, textField } from './page.ts';
import { changeSettings } from './settings-audit.ts';

/** The card beside each conversation. */
export const cardPage: Page = {
  path: '/card',
  title: 'Inbox card',
  view: 'card',
  load: async ({ workspace }) => ({
    language: workspace.settings.card.language ?? 'en',
    languages: CARD_LANGUAGES.map((language) => [language, LANGUAGES[language]]),
    picture: workspace.settings.card.picture,
  }),
  forms: {
    '': form(
      z.object({
        language: textField.pipe(
          z.enum(CARD_LANGUAGES, 'Nothing was saved. Choose one of the languages of the list.'),
        ),
        picture: checkboxField,
      }),
      async (request, { language, picture }) => {
        await changeSettings(request, 'card', { language, picture });
        return done('/card', 'card_saved');
      },
    ),
  },
};
