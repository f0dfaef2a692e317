/**
 * Dates as Intercom's reviewers want them: `Jan 8, 2019`, `Jan 8, 2019 at 1:05PM`, never relative, in the
 * workspace's time zone (a request names no teammate's). Source: Intercom, "Inbox best practices".
 */
export interface Dates {
  date(atMs: number): string;
  dateTime(atMs: number): string;
}

const cache = new Map<string, Dates>();

export function datesIn(locale: string, timeZone: string): Dates {
  const key = `${locale}|${timeZone}`;
  const known = cache.get(key);
  if (known) return known;
  const day = new Intl.DateTimeFormat(locale, { timeZone, year: 'numeric', month: 'short', day: 'numeric' });
  const clock = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hour: 'numeric',
    minute: '2-digit',
    hour12: true,
  });
  const dates: Dates = {
    date: (atMs) => day.format(atMs),
    dateTime: (atMs) => `${day.format(atMs)} at ${clock.format(atMs).replaceAll(/\s/g, '')}`,
  };
  cache.set(key, dates);
  return dates;
}
