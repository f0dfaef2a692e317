import cliProgress from 'cli-progress';
import { pause } from '../time.ts';
import type { ImportProgress } from './repository.ts';

/** Time left at the current rate, ms; `null`: the list or the rate is unknown. */
function remainingMs(progress: ImportProgress): number | null {
  if (!progress.isListed || progress.state !== 'running' || progress.perMinute <= 0) return null;
  return (Math.max(0, progress.listed - progress.done) / progress.perMinute) * 60_000;
}

/** Rounded: `45 s`, `12 min`, `3 h 20 min`, `2 days 4 h`. */
function formatDuration(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  const rest = hours % 24 === 0 ? '' : ` ${hours % 24} h`;
  return `${days} ${days === 1 ? 'day' : 'days'}${rest}`;
}

/** `12,400` */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `1 customer`, `12,400 customers`. */
function plural(count: number, one: string): string {
  return `${formatCount(count)} ${count === 1 ? one : `${one}s`}`;
}

/** Whole percent, rounded down: 100 only at the end. `null` while the list is not complete. */
export function percentDone(progress: ImportProgress): number | null {
  if (!progress.isListed) return null;
  return progress.listed === 0 ? 100 : Math.floor((progress.done / progress.listed) * 100);
}

export function progressLine(progress: ImportProgress): string {
  const percent = percentDone(progress);
  const parts = [
    percent === null
      ? `${plural(progress.done, 'customer')} imported, ${formatCount(progress.listed)} found so far`
      : `${formatCount(progress.done)} of ${plural(progress.listed, 'customer')} (${percent} %)`,
  ];
  if (progress.perMinute > 0) parts.push(`${formatCount(progress.perMinute)} a minute`);
  const left = remainingMs(progress);
  if (left !== null) parts.push(`${formatDuration(left)} left`);
  const wait = waitReason(progress);
  if (wait !== null) parts.push(wait);
  return parts.join(', ');
}

export function outcomeLines(progress: ImportProgress): string[] {
  const lines = [
    `${plural(progress.done - progress.missing - progress.failed, 'customer')} imported, ${formatCount(progress.newCustomers)} of them new here.`,
    `${plural(progress.subscriptions, 'subscription')} and ${plural(progress.purchases, 'one-time purchase')} read.`,
  ];
  if (progress.hasEvents === true) {
    lines.push(
      `${plural(progress.newEvents, 'event')} added to timelines, ${formatCount(progress.knownEvents)} known already.`,
    );
  } else if (progress.hasEvents === false) {
    lines.push(
      'RevenueCat does not offer past events for this project: timelines start with the first webhook.',
    );
  }
  if (progress.missing > 0)
    lines.push(`Deleted in RevenueCat during the import: ${plural(progress.missing, 'customer')}.`);
  if (progress.failed > 0)
    lines.push(`Could not be read: ${plural(progress.failed, 'customer')}. Import again to retry them.`);
  return lines;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['revenuecat_rate_limited', "waiting for RevenueCat's rate limit"],
  ['revenuecat_unavailable', 'RevenueCat does not answer, retrying'],
]);

/** What a running import waits for; `null`: nothing. */
function waitReason(progress: ImportProgress): string | null {
  return progress.state === 'running' ? (REASONS.get(progress.reason ?? '') ?? null) : null;
}

const FAILURES: ReadonlyMap<string, string> = new Map([
  ['revenuecat_unauthorized', 'RevenueCat no longer accepts the API key. Replace it, then start again.'],
  [
    'revenuecat_scope_missing',
    'The API key may not read customer information. Give it customer_information read permissions in RevenueCat, or paste another key, then start again.',
  ],
  [
    'revenuecat_not_found',
    'RevenueCat no longer knows the project. If it was replaced there, connect the new one under Settings › RevenueCat.',
  ],
  ['revenuecat_key_missing', 'The project has no API key. Paste one, then start again.'],
]);

/** Why an import failed, and the fix. It resumes where it stopped. */
export function failureMessage(progress: Pick<ImportProgress, 'reason'>): string {
  const { reason } = progress;
  return (
    (reason && FAILURES.get(reason)) ?? `RevenueCat refused (${reason ?? 'unknown'}). Start again to resume.`
  );
}

/** The result that `--json` prints and the page's script reads. Times are ISO 8601, UTC. */
export function progressJson(progress: ImportProgress): Record<string, unknown> {
  const left = remainingMs(progress);
  return {
    import_id: progress.importId,
    workspace: progress.workspaceId,
    project: progress.projectId,
    state: progress.state,
    reason: progress.reason,
    events_since: progress.eventsSinceMs === null ? null : new Date(progress.eventsSinceMs).toISOString(),
    listing_complete: progress.isListed,
    customers: progress.listed,
    imported: progress.done,
    new_customers: progress.newCustomers,
    missing: progress.missing,
    failed: progress.failed,
    subscriptions: progress.subscriptions,
    purchases: progress.purchases,
    events_available: progress.hasEvents,
    new_events: progress.newEvents,
    known_events: progress.knownEvents,
    customers_per_minute: Math.round(progress.perMinute),
    remaining_seconds: left === null ? null : Math.ceil(left / 1_000),
    started_at: progress.startedAt.toISOString(),
    finished_at: progress.finishedAt?.toISOString() ?? null,
  };
}

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
      bar.setTotal(Math.max(progress.listed, 1));
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

/** One line that fits the terminal: with less room first the bar gets shorter, then words are dropped, the time left last. */
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
  const leftMs = remainingMs(progress);
  const rate = progress.perMinute > 0 ? `${formatCount(progress.perMinute)}/min` : null;
  const time = leftMs === null ? null : `${formatDuration(leftMs)} left`;
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
