import { createRequire } from 'node:module';
import { IntlMessageFormat } from 'intl-messageformat';
import { currencyDigits } from '../subscription/money.ts';
import type { Money } from '../subscription/types.ts';
import { createDateFormatter, type DateFormatter } from './dates.ts';
import { type Language, LOCALES } from './languages.ts';

type Catalog = Readonly<Record<string, string>>;

/** Every key of `locales/en.json`; the check keeps the other languages complete. */
export type MessageKey = keyof typeof import('../../locales/en.json');

/** Values of a message's placeholders. `null` is for `{name, select, none {…} other {…}}`: it selects `none`. */
export type MessageValues = Readonly<Record<string, string | number | null>>;

/** Everything that turns data into text of one language and time zone. */
export interface Messages extends DateFormatter {
  readonly language: Language;
  /** BCP 47. */
  readonly locale: string;
  /** Formats an ICU message of `locales/`. Throws when a placeholder has no value. */
  t(key: MessageKey, values?: MessageValues): string;
  /** Whether there is a message of this name, for keys that are made from platform codes. */
  has(key: string): key is MessageKey;
  /** `$9.99`, `¥500`. */
  money(money: Money): string;
  number(value: number): string;
  /** `A, B, and C` as the language joins them. */
  list(parts: readonly string[]): string;
}

const require = createRequire(import.meta.url);
const catalogs = new Map<Language, Catalog>();
const cache = new Map<string, Messages>();
const currencyFormats = new Map<string, Intl.NumberFormat | null>();

function catalogOf(language: Language): Catalog {
  let catalog = catalogs.get(language);
  if (!catalog) {
    catalog = require(`../../locales/${language}.json`) as Catalog;
    catalogs.set(language, catalog);
  }
  return catalog;
}

/** @param timeZone IANA name; an unknown one counts as UTC */
export function messagesFor(language: Language, timeZone = 'UTC'): Messages {
  const key = `${language}|${timeZone}`;
  let messages = cache.get(key);
  if (!messages) {
    messages = createMessages(language, timeZone);
    cache.set(key, messages);
  }
  return messages;
}

function createMessages(language: Language, timeZone: string): Messages {
  const catalog = catalogOf(language);
  const locale = LOCALES[language];
  const formats = new Map<string, IntlMessageFormat>();
  const numbers = new Intl.NumberFormat(locale);
  const lists = new Intl.ListFormat(locale === 'en-US' ? 'en-GB' : locale, { type: 'conjunction' });
  const messages: Messages = {
    ...createDateFormatter(locale, timeZone, (date, time) => messages.t('date.atTime', { date, time })),
    language,
    locale,
    t(key, values = {}) {
      let format = formats.get(key);
      if (!format) {
        const message = catalog[key];
        if (message === undefined) throw new Error(`No message ${key} in locales/${language}.json`);
        // Texts are plain: what looks like a tag is text, and views escape.
        format = new IntlMessageFormat(message, locale, undefined, { ignoreTag: true });
        formats.set(key, format);
      }
      return String(format.format(withNone(values)));
    },
    has: (key): key is MessageKey => Object.hasOwn(catalog, key),
    money: (money) => formatMoney(money, locale),
    number: (value) => numbers.format(value),
    list: (parts) => lists.format(parts),
  };
  return messages;
}

function withNone(values: MessageValues): Record<string, string | number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value ?? 'none']));
}

/** An unknown currency is written after the number. */
function formatMoney(money: Money, locale: string): string {
  const amount = money.amountMinor / 10 ** currencyDigits(money.currency);
  const key = `${locale}|${money.currency}`;
  let format = currencyFormats.get(key);
  if (format === undefined) {
    try {
      format = new Intl.NumberFormat(locale, { style: 'currency', currency: money.currency });
    } catch {
      format = null;
    }
    currencyFormats.set(key, format);
  }
  return format ? format.format(amount) : `${amount.toFixed(2)} ${money.currency}`;
}
