import { type Language, LOCALES } from '../i18n/languages.ts';
import { wordsFor } from '../inbox-card/words/catalogue.ts';
import type { Period } from '../subscription/period.ts';
import { germanEventWords } from '../subscription/words/de.ts';
import { spanishEventWords } from '../subscription/words/es.ts';
import { frenchEventWords } from '../subscription/words/fr.ts';
import { japaneseEventWords } from '../subscription/words/ja.ts';
import { portugueseEventWords } from '../subscription/words/pt.ts';
import { type EventWords, englishEventWords } from '../subscription/words.ts';
import { german } from './words/de.ts';
import { english } from './words/en.ts';
import { spanish } from './words/es.ts';
import { french } from './words/fr.ts';
import { japanese } from './words/ja.ts';
import { portuguese } from './words/pt.ts';

/**
 * What is said to a customer, in one language. Dates, sums and names come as text; `null` where they are not
 * known. Nothing here may invite to buy anything: Apple forbids it in Messenger cards outside its own system.
 */
export interface MessengerWords {
  active(what: string, price: string | null, next: string | null): string;
  trial(what: string, ends: string | null, price: string | null): string;
  trialCancelled(what: string, ends: string | null): string;
  cancelled(what: string, ends: string | null): string;
  lifetime(what: string): string;
  /** Paid for, and not to be charged again. */
  bought(what: string, ends: string | null): string;
  familyShared(what: string, ends: string | null): string;
  temporary(what: string, ends: string | null): string;
  willPause(what: string, on: string | null, resumes: string | null): string;
  grace(what: string, ends: string | null, store: string | null): string;
  expired(what: string, since: string | null): string;
  paymentFailed(what: string, since: string | null): string;
  refunded(what: string, on: string): string;
  granted(what: string, ends: string | null): string;
  grantEnded(what: string, since: string | null): string;
  paused(what: string, resumes: string | null): string;
}

const EVENTS: Readonly<Record<Language, EventWords>> = {
  en: englishEventWords,
  de: germanEventWords,
  fr: frenchEventWords,
  es: spanishEventWords,
  pt: portugueseEventWords,
  ja: japaneseEventWords,
};

const WORDS: Readonly<Record<Language, MessengerWords>> = {
  en: english,
  de: german,
  fr: french,
  es: spanish,
  pt: portuguese,
  ja: japanese,
};

/** A language with everything that is written in it. */
export interface Speech {
  readonly language: Language;
  /** BCP 47, for dates and sums of money. */
  readonly locale: string;
  readonly words: MessengerWords;
  readonly events: EventWords;
  /** `$9.99 a month`, `$9.99 every 3 months`. */
  price(sum: string, period: Period | null): string;
}

export function speechFor(language: Language): Speech {
  return {
    language,
    locale: LOCALES[language],
    words: WORDS[language],
    events: EVENTS[language],
    price: wordsFor(language).price,
  };
}
