/** English is the default. */
export const LANGUAGES = ['en', 'de', 'fr', 'es', 'pt', 'ja'] as const;

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

/** The language of a BCP 47 or POSIX locale (`pt-BR`, `pt_BR`); `null`: not supported. */
export function languageOf(locale: string | null | undefined): Language | null {
  const primary = locale?.split(/[-_]/, 1)[0]?.toLowerCase();
  return LANGUAGES.find((language) => language === primary) ?? null;
}

/**
 * The language of texts for a teammate: their own, else the one that admins chose in the settings. The languages of the
 * contact and of the conversation are the customer's, so they do not count.
 *
 * @param teammate `admin.locale` or `admin.language` of the request. Intercom documents neither for the inbox
 *   (UNVERIFIED: captures show no such field), so it counts only where it is sent.
 */
export function chooseLanguage(teammate: string | null, workspace: Language | null): Language {
  return languageOf(teammate) ?? workspace ?? 'en';
}
