import type { DayCount } from './repository.ts';

const WIDTH = 900;
const HEIGHT = 180;
const TOP = 16;
const BOTTOM = 22;
const LEFT = 44;
/** Share of a day's slot that its bar takes. */
const BAR_SHARE = 0.7;

/** The daily events as an SVG without text of its own for screen readers: the page has a table for them. */
export function drawActivity(days: readonly DayCount[]): string {
  const top = niceCeiling(Math.max(1, ...days.map(({ received }) => received)));
  const slot = (WIDTH - LEFT) / Math.max(1, days.length);
  const y = (value: number): number => round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top));
  const bars = days.map((day, index) => {
    const x = round(LEFT + index * slot + (slot * (1 - BAR_SHARE)) / 2);
    const bar = (from: number, to: number, name: string): string =>
      to <= from
        ? ''
        : `<rect class="${name}" x="${x}" y="${y(to)}" width="${round(slot * BAR_SHARE)}" height="${round(y(from) - y(to))}"/>`;
    const delivered = day.delivered;
    const failed = delivered + day.failed;
    return (
      bar(0, delivered, 'delivered') + bar(delivered, failed, 'failed') + bar(failed, day.received, 'other')
    );
  });
  const grid = [0, top / 2, top].map(
    (value) =>
      `<line x1="${LEFT}" x2="${WIDTH}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${value.toLocaleString('en-US')}</text>`,
  );
  const labels = days.flatMap(({ day }, index) =>
    index % 7 === 0
      ? [
          `<text x="${round(LEFT + (index + 0.5) * slot)}" y="${HEIGHT - 4}" text-anchor="middle">${shortDay(day)}</text>`,
        ]
      : [],
  );
  return `<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true" focusable="false">${grid.join('')}${bars.join('')}${labels.join('')}</svg>`;
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** 2, 4, 10, 20, 40, 100 …: the axis has a whole number in its middle. */
function niceCeiling(value: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((step) => step * magnitude).find((each) => each >= value && each % 2 === 0) ?? 2;
}

/** `Jan 8`, from `2027-01-08`. */
function shortDay(day: string): string {
  return new Intl.DateTimeFormat('en-US', { month: 'short', day: 'numeric', timeZone: 'UTC' }).format(
    new Date(`${day}T00:00:00Z`),
  );
}
