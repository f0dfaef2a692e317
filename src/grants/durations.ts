import { DAY_MS } from '../time.ts';
/** The lengths that RevenueCat's own dashboard and v1 API offer. */
export const DURATIONS = [
  'daily',
  'three_day',
  'weekly',
  'two_week',
  'monthly',
  'two_month',
  'three_month',
  'six_month',
  'yearly',
  'lifetime',
] as const;

export type Duration = (typeof DURATIONS)[number];

/** v2 has no lifetime: clients stand for it with a far date, 2099-01-01 UTC. */
export const LIFETIME_END_MS = 4_070_908_800_000;

const DAYS: Partial<Record<Duration, number>> = { daily: 1, three_day: 3, weekly: 7, two_week: 14 };
const MONTHS: Partial<Record<Duration, number>> = {
  monthly: 1,
  two_month: 2,
  three_month: 3,
  six_month: 6,
  yearly: 12,
};

export function isDuration(value: unknown): value is Duration {
  return (DURATIONS as readonly unknown[]).includes(value);
}

/** End of a grant that begins at a moment (epoch ms). Months are calendar months in UTC: Jan 31 and one is Feb 28. */
export function endOfDuration(duration: Duration, fromMs: number): number {
  const days = DAYS[duration];
  if (days !== undefined) return fromMs + days * DAY_MS;
  const months = MONTHS[duration];
  if (months === undefined) return LIFETIME_END_MS;
  const end = new Date(fromMs);
  const day = end.getUTCDate();
  end.setUTCMonth(end.getUTCMonth() + months, 1);
  const lastDay = new Date(Date.UTC(end.getUTCFullYear(), end.getUTCMonth() + 1, 0)).getUTCDate();
  end.setUTCDate(Math.min(day, lastDay));
  return end.getTime();
}

/** Length in days, for the policy; a lifetime has none. */
export function lengthInDays(duration: Duration): number {
  return DAYS[duration] ?? Math.round((MONTHS[duration] ?? 0) * 30.5);
}
