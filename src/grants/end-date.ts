import { DAY_MS } from '../time.ts';

const DATE = /^(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2}))?$/;

/**
 * Reads the end that an agent typed: `2027-01-31`, which counts to its last second, or `2027-01-31 18:00`. Nothing
 * else: `1/2/27` means two days to two people.
 *
 * @param timeZone IANA name, of the workspace
 * @returns epoch ms, UTC; `null`: not such a date, or one that no calendar has
 */
export function parseEndDate(text: string, timeZone: string): number | null {
  const match = DATE.exec(text.trim());
  if (!match) return null;
  const [year = 0, month = 0, day = 0] = match.slice(1, 4).map(Number);
  const hasTime = match[4] !== undefined;
  const [hour, minute, second] = hasTime ? [Number(match[4]), Number(match[5]), 0] : [23, 59, 59];
  const local = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const isReal =
    local.getUTCFullYear() === year &&
    local.getUTCMonth() === month - 1 &&
    local.getUTCDate() === day &&
    hour < 24 &&
    minute < 60;
  return isReal ? toUtc(local.getTime(), timeZone) : null;
}

/** An hour that the clocks skip becomes the one after it; of one that comes twice, the second counts. */
function toUtc(localMs: number, timeZone: string): number {
  const candidates = [localMs - DAY_MS, localMs + DAY_MS].map((near) => localMs - offsetAt(near, timeZone));
  const real = candidates.filter((atMs) => atMs + offsetAt(atMs, timeZone) === localMs);
  return Math.max(...(real.length > 0 ? real : candidates));
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** How far a zone's clocks are ahead of UTC at a moment, ms. */
function offsetAt(atMs: number, timeZone: string): number {
  const clock = clocks.get(timeZone) ?? clockOf(timeZone);
  clocks.set(timeZone, clock);
  const parts = clock.formatToParts(atMs);
  const part = (type: Intl.DateTimeFormatPartTypes): number =>
    Number(parts.find((each) => each.type === type)?.value);
  const shown = Date.UTC(
    part('year'),
    part('month') - 1,
    part('day'),
    part('hour'),
    part('minute'),
    part('second'),
  );
  return shown - Math.floor(atMs / 1_000) * 1_000;
}

function clockOf(timeZone: string): Intl.DateTimeFormat {
  const style = {
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  } as const;
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone, ...style });
  } catch {
    return new Intl.DateTimeFormat('en-US', { timeZone: 'UTC', ...style });
  }
}
