import { setTimeout as sleep } from 'node:timers/promises';
import cliProgress from 'cli-progress';
import {
  countInWords,
  durationInWords,
  percentDone,
  progressLine,
  remainingMs,
  waitInWords,
} from './progress.ts';
import type { ImportProgress } from './store.ts';

const BAR_EVERY_MS = 250;
const LINE_EVERY_MS = 5_000;

/**
 * Shows how an import goes on until it no longer runs: a bar on a terminal, a line now and then elsewhere.
 *
 * @param read the import as it is now; `null`: it is gone
 */
export async function watchImport(
  output: NodeJS.WriteStream,
  read: () => Promise<ImportProgress | null>,
  signal: AbortSignal,
): Promise<void> {
  const show = output.isTTY ? barOn(output) : linesOn(output);
  try {
    while (!signal.aborted) {
      const progress = await read();
      if (progress) show.update(progress);
      if (progress?.state !== 'running') return;
      await sleep(show.everyMs, undefined, { signal }).catch(() => {});
    }
    const last = await read();
    if (last) show.update(last);
  } finally {
    show.stop();
  }
}

interface Display {
  readonly everyMs: number;
  update(progress: ImportProgress): void;
  stop(): void;
}

function linesOn(output: NodeJS.WriteStream): Display {
  let last = '';
  return {
    everyMs: LINE_EVERY_MS,
    update(progress) {
      const line = progressLine(progress);
      if (line !== last) output.write(`${line}\n`);
      last = line;
    },
    stop() {},
  };
}

function barOn(stream: NodeJS.WriteStream): Display {
  const bar = new cliProgress.SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: false,
    forceRedraw: true,
    etaBuffer: 1,
    linewrap: false,
    format: (_options, _params, payload: { progress?: ImportProgress }) =>
      payload.progress ? coloured(barLine(payload.progress, stream.columns ?? 80)) : '',
  });
  bar.start(1, 0, {});
  return {
    everyMs: BAR_EVERY_MS,
    update(progress) {
      bar.setTotal(Math.max(progress.listed, 1));
      bar.update(progress.done, { progress });
    },
    stop: () => bar.stop(),
  };
}

/** Green as far as it is; plain for those who ask for it (no-color.org). */
function coloured(line: string): string {
  return process.env.NO_COLOR ? line : line.replace(/^\u2588+/, (done) => `\u001b[32m${done}\u001b[0m`);
}

const MAX_BAR = 30;
/** A shorter one says less than the percentage beside it. */
const MIN_BAR = 8;

/** One line that fits a terminal so wide: with less room the bar gets shorter, then words go, the time that is left last. */
export function barLine(progress: ImportProgress, columns: number): string {
  // The last column stays free: some terminals wrap when it is written to.
  const room = columns - 1;
  const words = wordings(progress);
  const text =
    words.slice(0, 2).find(({ length }) => length + 1 + MIN_BAR <= room) ??
    words.find(({ length }) => length <= room) ??
    '';
  const left = Math.min(MAX_BAR, room - text.length - 1);
  if (left < MIN_BAR) return text;
  const percent = percentDone(progress) ?? 0;
  const filled = Math.floor((left * percent) / 100);
  return `${'\u2588'.repeat(filled)}${'\u2591'.repeat(left - filled)} ${text}`;
}

/** The same ever shorter. */
function wordings(progress: ImportProgress): string[] {
  const percent = percentDone(progress);
  const done = countInWords(progress.done);
  const listed = countInWords(progress.listed);
  if (percent === null) {
    return [
      `${done} imported, finding customers: ${listed}`,
      `${done} imported, ${listed} found`,
      `${done} of ${listed}…`,
    ];
  }
  const of = `${done} of ${listed}`;
  const leftMs = remainingMs(progress);
  const rate = progress.perMinute > 0 ? `${countInWords(progress.perMinute)}/min` : null;
  const time = leftMs === null ? null : `${durationInWords(leftMs)} left`;
  const wait = waitInWords(progress);
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
