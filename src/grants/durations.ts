import { knownZone } from '../i18n/messages.ts';
import { DAY_MS, FOREVER_MS, isForever, MINUTE_MS } from '../time.ts';

interface Length {
  readonly days?: number;
  readonly months?: number;
}

/** The lengths that RevenueCat's own dashboard and v1 API offer. A month is a calendar month. */
const LENGTHS = {
  daily: { days: 1 },
  three_day: { days: 3 },
  weekly: { days: 7 },
  two_week: { days: 14 },
  monthly: { months: 1 },
  two_month: { months: 2 },
  three_month: { months: 3 },
  six_month: { months: 6 },
  yearly: { months: 12 },
  lifetime: {},
} satisfies Record<string, Length>;

export type Duration = keyof typeof LENGTHS;
export const DURATIONS = Object.keys(LENGTHS) as readonly Duration[];

/** v2 has no lifetime: RevenueCat's clients send 2099-01-01 UTC. */
export const LIFETIME_END_MS = Date.UTC(2099, 0, 1);

/** RevenueCat may store whole seconds. */
const END_TOLERANCE_MS = 60_000;

export function isDuration(value: unknown): value is Duration {
  return (DURATIONS as readonly unknown[]).includes(value);
}

/** When a duration from `fromMs` ends. Months are the workspace's calendar months: a month after Jan 31 is Feb 28. */
export function endOfDuration(duration: Duration, fromMs: number, timeZone: string): number {
  const { days, months }: Length = LENGTHS[duration];
  if (days !== undefined) return fromMs + days * DAY_MS;
  if (months === undefined) return LIFETIME_END_MS;
  const format = offsetFormat(timeZone);
  const end = new Date(fromMs + offsetAt(fromMs, format));
  const day = end.getUTCDate();
  end.setUTCMonth(end.getUTCMonth() + months);
  // The month has no such day: use its last day.
  if (end.getUTCDate() !== day) end.setUTCDate(0);
  return toUtc(end.getTime(), format);
}

/** Length in days, for the policy; `null`: a lifetime has none. */
export function lengthInDays(duration: Duration): number | null {
  const { days, months }: Length = LENGTHS[duration];
  return days ?? (months === undefined ? null : Math.round(months * 30.5));
}

/** Whether two ends are the same, within a minute; `null`: no such access. */
export function isSameEnd(oneMs: number | null, otherMs: number | null): boolean {
  if (oneMs === null || otherMs === null) return oneMs === otherMs;
  return Math.abs(oneMs - otherMs) <= END_TOLERANCE_MS || (isForever(oneMs) && isForever(otherMs));
}

/** Replaces `null`, which means no end, with an end far in the future. */
export function endOrForever(endsAtMs: number | null): number {
  return endsAtMs ?? FOREVER_MS;
}

/**
 * Parses the end that an agent typed: `2027-01-31`, which includes the last second of that day, or `2027-01-31 18:00`.
 * Other formats are refused, because `1/2/27` means two different days to two people. `null`: refused, or no real date.
 */
export function parseEndDate(text: string, timeZone: string): number | null {
  const [, date, time] = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}))?$/.exec(text.trim()) ?? [];
  if (date === undefined) return null;
  const local = `${date}T${time === undefined ? '23:59:59' : `${time}:00`}`;
  const localMs = Date.parse(`${local}Z`);
  // `Date.parse` reads February 30 and 24:00 as the next day.
  const isReal = !Number.isNaN(localMs) && new Date(localMs).toISOString().startsWith(local);
  return isReal ? toUtc(localMs, offsetFormat(timeZone)) : null;
}

/** A local hour that the clocks skip becomes the next one; for an hour that occurs twice, the second one counts. */
function toUtc(localMs: number, format: Intl.DateTimeFormat): number {
  const candidates = [localMs - DAY_MS, localMs + DAY_MS].map((near) => localMs - offsetAt(near, format));
  const real = candidates.filter((atMs) => atMs + offsetAt(atMs, format) === localMs);
  return Math.max(...(real.length > 0 ? real : candidates));
}

/** A formatter is slow to create, so callers reuse one for several calls. */
function offsetFormat(timeZone: string): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-US', { timeZone: knownZone(timeZone), timeZoneName: 'longOffset' });
}

/** How far a zone's clocks are ahead of UTC at a time, ms. */
function offsetAt(atMs: number, format: Intl.DateTimeFormat): number {
  const name = format.formatToParts(atMs).find(({ type }) => type === 'timeZoneName')?.value ?? '';
  const [, sign, hours, minutes] = /^GMT([+-])(\d{2}):(\d{2})/.exec(name) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * MINUTE_MS;
}
