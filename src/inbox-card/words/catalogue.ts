import type { Language } from '../language.ts';
import { german } from './de.ts';
import { english } from './en.ts';
import { spanish } from './es.ts';
import { french } from './fr.ts';
import { japanese } from './ja.ts';
import { portuguese } from './pt.ts';
import type { CardWords } from './types.ts';

const CATALOGUE: Readonly<Record<Language, CardWords>> = {
  en: english,
  de: german,
  fr: french,
  es: spanish,
  pt: portuguese,
  ja: japanese,
};

export function wordsFor(language: Language): CardWords {
  return CATALOGUE[language];
}
