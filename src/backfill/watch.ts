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
    barsize: Math.max(10, Math.min(30, (stream.columns ?? 80) - 74)),
    format: (options, params, payload: { progress?: ImportProgress }) => {
      const { progress } = payload;
      if (!progress) return '';
      const percent = percentDone(progress);
      const filled = percent === null ? 0 : params.progress;
      return `${cliProgress.Format.BarFormat(filled, options)} ${barText(progress, percent)}`;
    },
    barCompleteChar: '\u2588',
    barIncompleteChar: '\u2591',
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

function barText(progress: ImportProgress, percent: number | null): string {
  if (percent === null)
    return `${countInWords(progress.done)} imported, finding customers: ${countInWords(progress.listed)}`;
  const left = remainingMs(progress);
  const wait = waitInWords(progress);
  return [
    `${percent} %`,
    `${countInWords(progress.done)} of ${countInWords(progress.listed)} customers`,
    progress.perMinute > 0 ? `${countInWords(progress.perMinute)}/min` : null,
    left === null ? null : `${durationInWords(left)} left`,
    wait,
  ]
    .filter((part) => part !== null)
    .join(' | ');
}
