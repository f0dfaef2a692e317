import cliProgress from 'cli-progress';
import { formatCount } from '../text.ts';
import { pause } from '../time.ts';
import { percentDone, progressLine, timeLeft, waitReason } from './progress.ts';
import type { ImportProgress } from './repository.ts';

const BAR_INTERVAL_MS = 250;
const LINE_INTERVAL_MS = 5_000;

/**
 * Shows the progress of an import until it no longer runs: a bar on a terminal, otherwise a line every few seconds.
 *
 * @param read `null`: the import was deleted
 */
export async function watchImport(
  output: NodeJS.WriteStream,
  read: () => Promise<ImportProgress | null>,
  signal: AbortSignal,
): Promise<void> {
  const display = output.isTTY ? createBar(output) : createLines(output);
  try {
    while (!signal.aborted) {
      const progress = await read();
      if (progress) display.update(progress);
      if (progress?.state !== 'running') return;
      await pause(display.intervalMs, signal);
    }
    const last = await read();
    if (last) display.update(last);
  } finally {
    display.stop();
  }
}

function createLines(output: NodeJS.WriteStream) {
  let last = '';
  return {
    intervalMs: LINE_INTERVAL_MS,
    update(progress: ImportProgress): void {
      const line = progressLine(progress);
      if (line !== last) output.write(`${line}\n`);
      last = line;
    },
    stop() {},
  };
}

function createBar(stream: NodeJS.WriteStream) {
  const bar = new cliProgress.SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: false,
    forceRedraw: true,
    etaBuffer: 1,
    linewrap: false,
    format: (_options, _params, payload: { progress?: ImportProgress }) =>
      payload.progress ? colored(barLine(payload.progress, stream.columns ?? 80)) : '',
  });
  bar.start(1, 0, {});
  return {
    intervalMs: BAR_INTERVAL_MS,
    update(progress: ImportProgress): void {
      bar.update(progress.done, { progress });
    },
    stop: () => bar.stop(),
  };
}

/** The done part is green; plain with NO_COLOR (no-color.org). */
function colored(line: string): string {
  return process.env.NO_COLOR ? line : line.replace(/^\u2588+/, (done) => `\u001b[32m${done}\u001b[0m`);
}

const MAX_BAR_LENGTH = 30;
/** A shorter bar says less than the percentage next to it. */
const MIN_BAR_LENGTH = 8;

/** One line that fits the terminal. With less room, first the bar shrinks, then words go; the time left goes last. */
export function barLine(progress: ImportProgress, columns: number): string {
  // The last column stays free: some terminals wrap when it is written to.
  const room = columns - 1;
  const texts = barTexts(progress);
  const text =
    texts.slice(0, 2).find(({ length }) => length + 1 + MIN_BAR_LENGTH <= room) ??
    texts.find(({ length }) => length <= room) ??
    '';
  const left = Math.min(MAX_BAR_LENGTH, room - text.length - 1);
  if (left < MIN_BAR_LENGTH) return text;
  const percent = percentDone(progress) ?? 0;
  const filled = Math.floor((left * percent) / 100);
  return `${'\u2588'.repeat(filled)}${'\u2591'.repeat(left - filled)} ${text}`;
}

/** Longest first. */
function barTexts(progress: ImportProgress): string[] {
  const percent = percentDone(progress);
  const done = formatCount(progress.done);
  const listed = formatCount(progress.listed);
  if (percent === null) {
    return [
      `${done} imported, finding customers: ${listed}`,
      `${done} imported, ${listed} found`,
      `${done} of ${listed}…`,
    ];
  }
  const of = `${done} of ${listed}`;
  const rate = progress.perMinute > 0 ? `${formatCount(progress.perMinute)}/min` : null;
  const time = timeLeft(progress);
  const wait = waitReason(progress);
  const joined = (...parts: readonly (string | null)[]): string =>
    parts.filter((part) => part !== null).join(' | ');
  return [
    joined(`${percent} %`, `${of} customers`, rate, time, wait),
    joined(`${percent} %`, of, rate, time, wait),
    joined(`${percent} %`, of, wait ?? time),
    joined(`${percent} %`, wait ?? time),
    joined(`${percent} %`, time),
    `${percent} %`,
  ];
}
