import { createRequire } from 'node:module';
import { IntlMessageFormat } from 'intl-messageformat';
import { currencyDigits } from '../subscription/money.ts';
import type { Money } from '../subscription/types.ts';
import { type Language, LOCALES } from './languages.ts';

type Catalog = Readonly<Record<string, string>>;

/** Every key of `locales/en.json`; `scripts/check-messages.ts` keeps the other languages complete. */
export type MessageKey = keyof typeof import('../../locales/en.json');

/** Values of a message's placeholders. `null` is for `{name, select, none {…} other {…}}`: it selects `none`. */
export type MessageValues = Readonly<Record<string, string | number | null>>;

/**
 * Turns data into text in one language and time zone. As Intercom's reviewers want, dates are never relative and in the
 * workspace's time zone (a request names no teammate's). Source: Intercom, "Inbox best practices".
 */
export type Messages = Readonly<ReturnType<typeof createMessages>>;

const require = createRequire(import.meta.url);
const cache = new Map<string, Messages>();

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

function createMessages(language: Language, timeZone: string) {
  const catalog = require(`../../locales/${language}.json`) as Catalog;
  const locale = LOCALES[language];
  const formats = new Map<string, IntlMessageFormat>();
  /** Formats an ICU message of `locales/`. @throws when a placeholder has no value */
  const t = (key: MessageKey, values: MessageValues = {}): string => {
    let format = formats.get(key);
    if (!format) {
      const message = catalog[key];
      if (message === undefined) throw new Error(`No message ${key} in locales/${language}.json`);
      // Messages are plain text: anything that looks like a tag is text, and views escape it.
      format = new IntlMessageFormat(message, locale, undefined, { ignoreTag: true });
      formats.set(key, format);
    }
    const named = Object.entries(values).map(([name, value]) => [name, value ?? 'none']);
    return String(format.format(Object.fromEntries(named)));
  };
  const numbers = new Intl.NumberFormat(locale);
  // American English would put a comma before the last "and".
  const lists = new Intl.ListFormat(language === 'en' ? 'en-GB' : locale, { type: 'conjunction' });
  const { date, time, zoneName, isoDay } = createDateFormats(locale, timeZone);
  const dateTime = (atMs: number): string =>
    t('date.atTime', { date: date(atMs), time: time(atMs) })
      // One o'clock is singular in Spanish and Portuguese.
      .replace(' a las 01:', ' a la 01:')
      .replace(' às 01:', ' à 01:');
  return {
    language,
    locale,
    t,
    /** Whether there is a message of this name, for keys that are made from platform codes. */
    has: (key: string): key is MessageKey => Object.hasOwn(catalog, key),
    /** `Jan 8, 2019`. */
    date,
    /** `Jan 8, 2019 at 1:05PM`. */
    dateTime,
    /** `Jan 8, 2019 at 1:05PM EST`, for readers elsewhere. */
    zonedDateTime: (atMs: number): string => `${dateTime(atMs)} ${zoneName(atMs)}`,
    /** `2019-01-08`, for machines. */
    isoDay,
    /** `$9.99`, `¥500`. */
    money: createMoneyFormat(locale),
    number: (value: number): string => numbers.format(value),
    /** `A, B and C` as the language joins them. */
    list: (parts: readonly string[]): string => lists.format(parts),
    /** `A, B`, without "and". */
    commaList: (parts: readonly string[]): string => parts.join(language === 'ja' ? '、' : ', '),
  };
}

function createDateFormats(locale: string, timeZone: string) {
  const zone = knownZone(timeZone);
  const day = new Intl.DateTimeFormat(locale, {
    timeZone: zone,
    year: 'numeric',
    month: 'short',
    day: 'numeric',
  });
  // The Swedish locale writes dates in ISO 8601.
  const iso = new Intl.DateTimeFormat('sv-SE', { timeZone: zone });
  const is12h = locale.startsWith('en');
  const clock = new Intl.DateTimeFormat(locale, {
    timeZone: zone,
    hour: is12h ? 'numeric' : '2-digit',
    minute: '2-digit',
    hourCycle: is12h ? 'h12' : 'h23',
  });
  const zoned = new Intl.DateTimeFormat(locale, { timeZone: zone, timeZoneName: 'short' });
  // French and Portuguese write the first of a month as an ordinal; Intl does not.
  const first = { 'fr-FR': '1er ', 'pt-BR': '1º ' }[locale];
  return {
    date: (atMs: number): string => {
      const text = day.format(atMs);
      return first ? text.replace(/^1 /, first) : text;
    },
    // "1:05PM" has no space; Intl puts a narrow one.
    time: (atMs: number): string => clock.format(atMs).replaceAll(/\s/g, ''),
    /** `EST`, `GMT-5`. */
    zoneName: (atMs: number): string =>
      zoned.formatToParts(atMs).find(({ type }) => type === 'timeZoneName')?.value ?? zone,
    isoDay: (atMs: number): string => iso.format(atMs),
  };
}

/** The time zone, or UTC if this version of Node does not know it. */
export function knownZone(timeZone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone });
    return timeZone;
  } catch {
    return 'UTC';
  }
}

const MAX_CURRENCIES = 200;

/** An unknown currency is written after the number. */
function createMoneyFormat(locale: string) {
  const formats = new Map<string, Intl.NumberFormat | null>();
  const plain = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return ({ amountMinor, currency }: Money): string => {
    const digits = currencyDigits(currency);
    const amount = amountMinor / 10 ** digits;
    let format = formats.get(currency);
    if (format === undefined) {
      try {
        const style = { style: 'currency', currency } as const;
        const { maximumFractionDigits: usual = 0 } = new Intl.NumberFormat(locale, style).resolvedOptions();
        // Intl follows common usage and drops the hundredths of forints and rupees, but customers did pay them.
        const trailingZeroDisplay = usual < digits ? 'stripIfInteger' : 'auto';
        format = new Intl.NumberFormat(locale, {
          ...style,
          minimumFractionDigits: digits,
          trailingZeroDisplay,
        });
      } catch {
        format = null;
      }
      // Events may name any currency, so the cache is limited.
      if (formats.size < MAX_CURRENCIES) formats.set(currency, format);
    }
    return format ? format.format(amount) : `${plain.format(amount)} ${currency}`;
  };
}
