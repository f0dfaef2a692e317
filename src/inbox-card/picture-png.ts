import { createRequire } from 'node:module';
import { messagesFor } from '../i18n/messages.ts';
import type { Marker, MarkerKind, Picture, SegmentKind } from '../subscription/picture.ts';
import { DAY_MS } from '../time.ts';

/** Twice the width of a narrow sidebar, for sharp screens; Intercom scales it. */
export const PICTURE_WIDTH = 660;
export const PICTURE_HEIGHT = 160;

const MARGIN = 22;
const AXIS_Y = 118;

/** Emoji squares of the same colors are the legend below the picture. */
const COLORS: Readonly<Record<SegmentKind, string>> = {
  trial: '#3b82f6',
  paid: '#22a35a',
  grace: '#f5b301',
  paused: '#c3c8d0',
  granted: '#9b51e0',
};

/** Shapes centered on 0 0; they differ in more than color. */
const MARKERS: Readonly<Record<MarkerKind, string>> = {
  payment: '<circle r="6" fill="#14532d"/>',
  refund: '<path d="M0-9 9 0 0 9-9 0Z" fill="#c81e1e"/>',
  failed: '<path d="M0-9 9 8H-9Z" fill="#b45309"/>',
  cancelled: '<path d="M-6-6 6 6M6-6-6 6" stroke="#374151" stroke-width="4"/>',
};

/** What a picture can show, in the order of its legend. */
export const LEGEND = [...Object.keys(COLORS), ...Object.keys(MARKERS)] as (SegmentKind | MarkerKind)[];

/** Digits as strokes, 8 × 14: no font has to be installed, and an ISO date reads the same in every language. */
const GLYPHS: Readonly<Record<string, string>> = {
  0: 'M2 0H6L8 2V12L6 14H2L0 12V2Z',
  1: 'M1 3L4 0V14M1 14H7',
  2: 'M0 2L2 0H6L8 2V5L0 14H8',
  3: 'M0 0H8L4 5H6L8 7V12L6 14H2L0 12',
  4: 'M6 14V0L0 9H8',
  5: 'M8 0H0V6H6L8 8V12L6 14H0',
  6: 'M7 0H3L0 4V12L2 14H6L8 12V8L6 6H0',
  7: 'M0 0H8L3 14',
  8: 'M2 0H6L8 2V5L6 7H2L0 5V2ZM2 7L0 9V12L2 14H6L8 12V9L6 7',
  9: 'M1 14H5L8 10V2L6 0H2L0 2V6L2 8H8',
  '-': 'M1 7H6',
};
const GLYPH_ADVANCE = 12;

interface Resvg {
  renderAsync(svg: string, options: object): Promise<{ asPng(): Buffer }>;
}

export async function drawPng(picture: Picture, timeZone: string): Promise<Buffer> {
  const { renderAsync } = loadResvg();
  const image = await renderAsync(drawSvg(picture, timeZone), { font: { loadSystemFonts: false } });
  return image.asPng();
}

/**
 * A native module, loaded with the first picture, so that a platform without it still has everything else. To choose a
 * build it reads Node's diagnostic report, which looks up the host name of every open connection: a DNS server that did
 * not respond blocked the process for 5 s.
 */
function loadResvg(): Resvg {
  // The types do not have this option yet.
  const report = process.report as typeof process.report & { excludeNetwork: boolean };
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  try {
    const require = createRequire(import.meta.url);
    return require('@resvg/resvg-js') as Resvg;
  } finally {
    report.excludeNetwork = excludeNetwork;
  }
}

function drawSvg(picture: Picture, timeZone: string): string {
  const { fromMs, toMs, nowMs, segments, markers } = picture;
  const scale = (PICTURE_WIDTH - 2 * MARGIN) / (toMs - fromMs);
  const x = (ms: number): number =>
    Math.round(10 * (MARGIN + scale * (Math.min(Math.max(ms, fromMs), toMs) - fromMs))) / 10;
  const bar = ({ kind, isOverlapping, ...segment }: Picture['segments'][number]): string => {
    const lane = segments.filter((each) => (each.kind === 'granted') === (kind === 'granted'));
    const [top, full] = kind === 'granted' ? [88, 18] : [40, 38];
    const height = lane.some((each) => each.isOverlapping) ? full / 2 - 1 : full;
    const y = isOverlapping ? top + height + 2 : top;
    const width = Math.max(x(segment.toMs) - x(segment.fromMs) - 1.5, 1.5);
    return `<rect x="${x(segment.fromMs)}" y="${y}" width="${width}" height="${height}" rx="3" fill="${COLORS[kind]}"/>`;
  };
  const marker = ({ kind, atMs }: Marker): string =>
    `<g transform="translate(${x(atMs)} 22)">${MARKERS[kind]}</g>`;
  // Payments are drawn first, so that one that failed and then succeeded shows both.
  const ordered = [...markers].sort((a, b) => Number(b.kind === 'payment') - Number(a.kind === 'payment'));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${PICTURE_WIDTH}" height="${PICTURE_HEIGHT}">
<rect x="1" y="1" width="${PICTURE_WIDTH - 2}" height="${PICTURE_HEIGHT - 2}" rx="12" fill="#fff" stroke="#c3c8d0" stroke-width="2"/>
${segments.map(bar).join('')}
<rect x="${x(nowMs)}" y="36" width="${x(toMs) - x(nowMs)}" height="74" fill="#fff" opacity="0.55"/>
<path d="M${MARGIN} ${AXIS_Y}H${PICTURE_WIDTH - MARGIN}" stroke="#6b7280" stroke-width="2"/>
${ticks(picture, timeZone)
  .map(({ atMs, label }) => tick(x(atMs), label))
  .join('')}
<path d="M${x(nowMs)} 34V${AXIS_Y}" stroke="#111827" stroke-width="3"/>
${ordered.map(marker).join('')}
</svg>`;
}

function tick(x: number, label: string): string {
  const width = label.length * GLYPH_ADVANCE;
  const left = Math.min(Math.max(x - width / 2, 8), PICTURE_WIDTH - 8 - width);
  const glyphs = [...label].map(
    (char, index) => `<path transform="translate(${index * GLYPH_ADVANCE} 0)" d="${GLYPHS[char]}"/>`,
  );
  return `<path d="M${x} ${AXIS_Y}v7" stroke="#6b7280" stroke-width="2"/>
<g transform="translate(${left} 132)" fill="none" stroke="#374151" stroke-width="2">${glyphs.join('')}</g>`;
}

/** First days of months in UTC; for a short span, days from its start, labeled as in the list below the picture. */
export function ticks({ fromMs, toMs }: Pick<Picture, 'fromMs' | 'toMs'>, timeZone: string) {
  const inMonths = toMs - fromMs > 100 * DAY_MS;
  const start = new Date(fromMs);
  const [year, month] = [start.getUTCFullYear(), start.getUTCMonth()];
  const { isoDay } = messagesFor('en', timeZone);
  const all = Array.from({ length: 101 }, (_, n) =>
    inMonths ? Date.UTC(year, month + n) : fromMs + n * DAY_MS,
  ).filter((ms) => ms >= fromMs && ms <= toMs);
  // As many labels as fit side by side.
  const step = Math.ceil(all.length / (inMonths ? 6 : 3));
  return all
    .filter((_, index) => index % step === 0)
    .map((atMs) => ({ atMs, label: inMonths ? new Date(atMs).toISOString().slice(0, 7) : isoDay(atMs) }));
}
