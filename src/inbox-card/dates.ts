/**
 * Dates as Intercom's reviewers want them: `Jan 8, 2019`, `Jan 8, 2019 at 1:05PM`, never relative, in the
 * workspace's time zone (a request names no teammate's). Source: Intercom, "Inbox best practices".
 */
export interface Dates {
  date(atMs: number): string;
  dateTime(atMs: number): string;
}

/** How a language writes a time of day, and a day and a time together. */
export interface DateStyle {
  readonly clock: '12h' | '24h';
  dateAtTime(date: string, time: string): string;
}

const ENGLISH: DateStyle = { clock: '12h', dateAtTime: (date, time) => `${date} at ${time}` };

/** By style first: the same locale has another in the inbox than in the Messenger. */
const cache = new WeakMap<DateStyle, Map<string, Dates>>();

/** @param timeZone IANA name; one that this system does not know counts as UTC */
export function datesIn(locale: string, timeZone: string, style: DateStyle = ENGLISH): Dates {
  const ofStyle = cache.get(style) ?? new Map<string, Dates>();
  cache.set(style, ofStyle);
  const key = `${locale}|${timeZone}`;
  const known = ofStyle.get(key);
  if (known) return known;
  const zone = knownZone(timeZone);
  const day = new Intl.DateTimeFormat(locale, {
    timeZone: zone,
    year: 'numeric',
    month: 'short',
    day: 'numeric',
  });
  const is12h = style.clock === '12h';
  const clock = new Intl.DateTimeFormat(is12h ? 'en-US' : locale, {
    timeZone: zone,
    hour: is12h ? 'numeric' : '2-digit',
    minute: '2-digit',
    ...(is12h ? { hour12: true } : { hourCycle: 'h23' }),
  });
  const dates: Dates = {
    date: (atMs) => day.format(atMs),
    // "1:05PM": the time stands without a space, and Intl puts a narrow one.
    dateTime: (atMs) => style.dateAtTime(day.format(atMs), clock.format(atMs).replaceAll(/\s/g, '')),
  };
  ofStyle.set(key, dates);
  return dates;
}

function knownZone(timeZone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone });
    return timeZone;
  } catch {
    return 'UTC';
  }
}
