import { CARD_LANGUAGES } from '../workspaces/settings.ts';

/** English is the one that every other falls back to. */
export const LANGUAGES = CARD_LANGUAGES;

export type Language = (typeof LANGUAGES)[number];

/** BCP 47, for dates, numbers and sums of money. */
export const LOCALES: Readonly<Record<Language, string>> = {
  en: 'en-US',
  de: 'de-DE',
  fr: 'fr-FR',
  es: 'es-ES',
  pt: 'pt-BR',
  ja: 'ja-JP',
};

/**
 * The language in which a card speaks to a teammate.
 *
 * 1. `admin.locale` or `admin.language` of the request. Intercom documents neither for the inbox (UNVERIFIED:
 *    captures show no such field), so it counts only where it comes.
 * 2. The language that the workspace's admins chose in the settings.
 * 3. English.
 *
 * What the request says of the contact or the conversation (`language_override`, `browser_language`,
 * `context.locale`) is the customer's language, not the teammate's, and never asked.
 *
 * @param teammate BCP 47 or POSIX: `de`, `pt-BR`, `pt_BR`; `null`: the request says nothing
 */
export function chooseLanguage(teammate: string | null, workspace: Language | null): Language {
  return knownLanguage(teammate) ?? workspace ?? 'en';
}

/** `null`: none of ours. */
export function knownLanguage(locale: string | null | undefined): Language | null {
  const primary = locale?.split(/[-_]/, 1)[0]?.toLowerCase();
  return LANGUAGES.find((language) => language === primary) ?? null;
}
