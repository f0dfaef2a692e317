import { z } from 'zod';
import { LANGUAGES, type Language } from '../i18n/languages.ts';
import { capitalize } from '../text.ts';
import { changeSettings } from './change-settings.ts';
import { checkboxField, done, form, type Page, textField } from './page.ts';

export const cardPage: Page = {
  path: '/card',
  title: 'Inbox card',
  load: async ({ workspace }) => ({
    language: workspace.settings.card.language ?? 'en',
    languages: LANGUAGES.map((language) => [language, nameOf(language)]),
    picture: workspace.settings.card.picture,
  }),
  forms: {
    '': form(
      z.object({
        language: textField.pipe(
          z.enum(LANGUAGES, 'Nothing was saved. Choose one of the languages of the list.'),
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

/** The language's own name for itself: `Deutsch`. */
function nameOf(language: Language): string {
  return capitalize(new Intl.DisplayNames(language, { type: 'language' }).of(language) ?? language);
}
