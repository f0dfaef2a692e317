import type { ImportProgress } from './store.ts';

/** Time left at the present rate, ms; `null`: not known, because the list or the rate is not. */
export function remainingMs(progress: ImportProgress): number | null {
  if (!progress.isListed || progress.state !== 'running' || progress.perMinute <= 0) return null;
  return (Math.max(0, progress.listed - progress.done) / progress.perMinute) * 60_000;
}

/** Rounded as a person would say it: `45 s`, `12 min`, `3 h 20 min`, `2 days 4 h`. */
export function durationInWords(ms: number): string {
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
export function countInWords(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `1 customer`, `12,400 customers`. */
function many(count: number, one: string): string {
  return `${countInWords(count)} ${count === 1 ? one : `${one}s`}`;
}

/** Whole percent, rounded down: 100 only at the end. `null` while the list is not complete. */
export function percentDone(progress: ImportProgress): number | null {
  if (!progress.isListed) return null;
  return progress.listed === 0 ? 100 : Math.floor((progress.done / progress.listed) * 100);
}

/** One line for a log or a screen: how far, how fast, how long still. */
export function progressLine(progress: ImportProgress): string {
  const percent = percentDone(progress);
  const parts = [
    percent === null
      ? `${many(progress.done, 'customer')} imported, ${countInWords(progress.listed)} found so far`
      : `${countInWords(progress.done)} of ${many(progress.listed, 'customer')} (${percent} %)`,
  ];
  if (progress.perMinute > 0) parts.push(`${countInWords(progress.perMinute)} a minute`);
  const left = remainingMs(progress);
  if (left !== null) parts.push(`${durationInWords(left)} left`);
  const wait = waitInWords(progress);
  if (wait !== null) parts.push(wait);
  return parts.join(', ');
}

/** What came of it, for the end. */
export function outcomeLines(progress: ImportProgress): string[] {
  const lines = [
    `${many(progress.done - progress.missing - progress.failed, 'customer')} imported, ${countInWords(progress.newCustomers)} of them new here.`,
    `${many(progress.subscriptions, 'subscription')} and ${many(progress.purchases, 'one-time purchase')} read.`,
  ];
  if (progress.hasEvents === true) {
    lines.push(
      `${many(progress.newEvents, 'event')} added to timelines, ${countInWords(progress.knownEvents)} known before.`,
    );
  } else if (progress.hasEvents === false) {
    lines.push('RevenueCat does not offer past events for this project: timelines begin with the webhooks.');
  }
  if (progress.missing > 0)
    lines.push(`Deleted in RevenueCat meanwhile: ${many(progress.missing, 'customer')}.`);
  if (progress.failed > 0)
    lines.push(
      `Could not be read: ${many(progress.failed, 'customer')}. Import again to try them once more.`,
    );
  return lines;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['revenuecat_rate_limited', "waiting for RevenueCat's rate limit"],
  ['revenuecat_unavailable', 'RevenueCat does not answer, trying again'],
]);

/** What a running import waits for; `null`: nothing. */
export function waitInWords(progress: ImportProgress): string | null {
  return progress.state === 'running' ? (REASONS.get(progress.reason ?? '') ?? null) : null;
}

const FAILURES: ReadonlyMap<string, string> = new Map([
  ['revenuecat_unauthorized', 'RevenueCat no longer accepts the API key. Replace it, then start again.'],
  [
    'revenuecat_scope_missing',
    'The API key may not read customer information. Give it customer_information read permissions in RevenueCat, or paste another key, then start again.',
  ],
  ['revenuecat_key_missing', 'The project has no API key. Paste one, then start again.'],
]);

/** Why an import has failed, and what helps. It goes on where it stopped. */
export function failureInWords(progress: Pick<ImportProgress, 'reason'>): string {
  const { reason } = progress;
  return (
    (reason && FAILURES.get(reason)) ?? `RevenueCat refused (${reason ?? 'unknown'}). Start again to go on.`
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
