import { formatCount, plural } from '../text.ts';
import { MINUTE_MS } from '../time.ts';
import type { ImportProgress } from './repository.ts';

export function progressLine(progress: ImportProgress): string {
  const percent = percentDone(progress);
  const done =
    percent === null
      ? `${plural(progress.done, 'customer')} imported, ${formatCount(progress.listed)} found so far`
      : `${formatCount(progress.done)} of ${plural(progress.listed, 'customer')} (${percent} %)`;
  const rate = progress.perMinute > 0 ? `${formatCount(progress.perMinute)} a minute` : null;
  return [done, rate, timeLeft(progress), waitReason(progress)].filter((part) => part !== null).join(', ');
}

export function outcomeLines(progress: ImportProgress): string[] {
  const lines = [
    `${plural(progress.done - progress.missing - progress.failed, 'customer')} imported, ${formatCount(progress.newCustomers)} of them new here.`,
    `${plural(progress.subscriptions, 'subscription')} and ${plural(progress.purchases, 'one-time purchase')} read.`,
  ];
  if (progress.hasEvents === true)
    lines.push(
      `${plural(progress.newEvents, 'event')} added to timelines, ${formatCount(progress.knownEvents)} known already.`,
    );
  if (progress.hasEvents === false)
    lines.push(
      'RevenueCat does not offer past events for this project: timelines start with the first webhook.',
    );
  if (progress.missing > 0)
    lines.push(`Deleted in RevenueCat during the import: ${plural(progress.missing, 'customer')}.`);
  if (progress.failed > 0)
    lines.push(`Could not be read: ${plural(progress.failed, 'customer')}. Import again to retry them.`);
  return lines;
}

const FAILURES: Readonly<Record<string, string>> = {
  revenuecat_unauthorized: 'RevenueCat no longer accepts the API key. Replace it, then start again.',
  revenuecat_scope_missing:
    'The API key may not read customer information. Give it customer_information read permissions in RevenueCat, or paste another key, then start again.',
  revenuecat_not_found:
    'RevenueCat no longer knows the project. If it was replaced there, connect the new one under Settings › RevenueCat.',
  revenuecat_key_missing: 'The project has no API key. Paste one, then start again.',
};

/** Why an import failed, and the fix. It resumes where it stopped. */
export function failureMessage({ reason }: Pick<ImportProgress, 'reason'>): string {
  return FAILURES[reason ?? ''] ?? `RevenueCat refused (${reason ?? 'unknown'}). Start again to resume.`;
}

/** The result that `--json` prints. Times are ISO 8601, UTC. */
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

/** Whole percent, rounded down: 100 only at the end. `null` while the list is not complete. */
export function percentDone(progress: ImportProgress): number | null {
  if (!progress.isListed) return null;
  return progress.listed === 0 ? 100 : Math.floor((progress.done / progress.listed) * 100);
}

/** Time left at the current rate, ms; `null`: the list or the rate is unknown. */
function remainingMs(progress: ImportProgress): number | null {
  if (!progress.isListed || progress.state !== 'running' || progress.perMinute <= 0) return null;
  return ((progress.listed - progress.done) / progress.perMinute) * MINUTE_MS;
}

/** `1 h 13 min left`; `null`: unknown. */
export function timeLeft(progress: ImportProgress): string | null {
  const ms = remainingMs(progress);
  return ms === null ? null : `${formatDuration(ms)} left`;
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
  return `${plural(days, 'day')}${rest}`;
}

const REASONS: Readonly<Record<string, string>> = {
  revenuecat_rate_limited: "waiting for RevenueCat's rate limit",
  revenuecat_locked: 'another request is changing a customer in RevenueCat, retrying',
  revenuecat_unavailable: 'RevenueCat does not answer, retrying',
};

/** What a running import waits for; `null`: nothing. */
export function waitReason(progress: ImportProgress): string | null {
  return progress.state === 'running' ? (REASONS[progress.reason ?? ''] ?? null) : null;
}
