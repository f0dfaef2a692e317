import { datesIn } from '../../inbox-card/dates.ts';
import { chooseLanguage, type Language } from '../../inbox-card/language.ts';
import { wordsFor } from '../../inbox-card/words/catalogue.ts';
import type { Workspace } from '../../workspaces/store.ts';
import type { NoteContext } from '../note.ts';
import { german } from './de.ts';
import { english } from './en.ts';
import { spanish } from './es.ts';
import { french } from './fr.ts';
import { japanese } from './ja.ts';
import { portuguese } from './pt.ts';
import type { GrantWords } from './types.ts';

const CATALOGUE: Readonly<Record<Language, GrantWords>> = {
  en: english,
  de: german,
  fr: french,
  es: spanish,
  pt: portuguese,
  ja: japanese,
};

export function grantWordsFor(language: Language): GrantWords {
  return CATALOGUE[language];
}

/** How a note is written: the whole team reads it, so in the workspace's language and time zone. */
export function noteWriting(workspace: Workspace): Pick<NoteContext, 'words' | 'formatDate'> {
  const language = chooseLanguage(null, workspace.settings.card.language);
  const words = wordsFor(language);
  return {
    words: grantWordsFor(language).note,
    formatDate: datesIn(words.locale, workspace.timezone, words).dateTime,
  };
}
