/**
 * Dates as Intercom's reviewers want them: `Jan 8, 2019`, `Jan 8, 2019 at 1:05PM`, never relative, in the
 * workspace's time zone (a request names no teammate's). Source: Intercom, "Inbox best practices".
 */
export interface DateFormatter {
  date(atMs: number): string;
  dateTime(atMs: number): string;
}

/**
 * @param timeZone IANA name; one that this system does not know counts as UTC
 * @param join the language's way of writing a day and a time of day together
 */
export function createDateFormatter(
  locale: string,
  timeZone: string,
  join: (date: string, time: string) => string,
): DateFormatter {
  const zone = knownZone(timeZone);
  const day = new Intl.DateTimeFormat(locale, {
    timeZone: zone,
    year: 'numeric',
    month: 'short',
    day: 'numeric',
  });
  const is12h = locale.startsWith('en');
  const clock = new Intl.DateTimeFormat(is12h ? 'en-US' : locale, {
    timeZone: zone,
    hour: is12h ? 'numeric' : '2-digit',
    minute: '2-digit',
    ...(is12h ? { hour12: true } : { hourCycle: 'h23' }),
  });
  const dayOfMonth = new Intl.DateTimeFormat('en', { timeZone: zone, day: 'numeric' });
  // French writes the first of a month as an ordinal; Intl does not.
  const date = (atMs: number): string => {
    const text = day.format(atMs);
    return locale.startsWith('fr') && dayOfMonth.format(atMs) === '1' ? text.replace(/^1 /, '1er ') : text;
  };
  return {
    date,
    // "1:05PM" has no space; Intl puts a narrow one.
    dateTime: (atMs) => join(date(atMs), clock.format(atMs).replaceAll(/\s/g, '')),
  };
}

function knownZone(timeZone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone });
    return timeZone;
  } catch {
    return 'UTC';
  }
}
