import type { Sql } from '../database/sql.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import { deriveState } from './state.ts';
import type { Environment, EventKind, LifecycleEvent, Snapshot, SubscriberState } from './types.ts';

/** To be raised whenever the same history would give another summary: older ones then count as missing. */
const FORMAT = 4;

const HOUR_MS = 3_600_000;
/** A safety net for what time changes and the state does not name. */
const MAX_VALID_MS = 24 * HOUR_MS;
const RECENT_EVENTS = 3;
const MAX_PROMOTIONAL = 60;

/** Kinds that say nothing about purchases: they stand on the timeline, not among the latest events. */
const MINOR_KINDS: ReadonlySet<EventKind> = new Set<EventKind>([
  'paywall',
  'experiment_enrollment',
  'subscriber_alias',
  'virtual_currency',
]);

/** What RevenueCat has announced of grants, newest last. */
export interface PromotionalMark {
  readonly kind: 'promotional_granted' | 'promotional_revoked';
  readonly atMs: number;
  readonly entitlements: readonly string[];
}

/**
 * A subscriber's whole history in few bytes: what a card must know without reading every event. It is kept
 * beside the subscriber and made anew when the subscriber changes or when time has changed the state.
 */
export interface SubscriberSummary {
  readonly state: SubscriberState;
  /** The newest of those that matter, newest first. */
  readonly latest: readonly LifecycleEvent[];
  readonly promotional: readonly PromotionalMark[];
  /** Number of events, by environment. */
  readonly counts: Readonly<Record<Environment, number>>;
}

/** @param nowMs UTC, ms */
export function summarize(
  history: readonly TimelineEntry[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberSummary {
  const newestFirst = history.toReversed();
  const major = newestFirst.filter(matters);
  const counts = { production: 0, sandbox: 0 };
  for (const event of history) counts[event.environment ?? 'production'] += 1;
  return {
    state: deriveState(history, snapshot, nowMs),
    latest: (major.length > 0 ? major : newestFirst).slice(0, RECENT_EVENTS).map(withoutRaw),
    promotional: history
      .flatMap(({ kind, atMs, entitlements }) =>
        kind === 'promotional_granted' || kind === 'promotional_revoked'
          ? [{ kind, atMs, entitlements }]
          : [],
      )
      .slice(-MAX_PROMOTIONAL),
    counts,
  };
}

/** A store that gives up on a card says so twice; the payment that failed is what people ask about. */
function matters(event: TimelineEntry): boolean {
  if (MINOR_KINDS.has(event.kind)) return false;
  return event.kind !== 'cancellation' || event.cancelReason !== 'BILLING_ERROR';
}

/** Only few kinds are described by what the typed fields leave out. */
function withoutRaw(event: TimelineEntry): LifecycleEvent {
  const { delivery: _delivery, projectId: _projectId, ...rest } = event;
  return MINOR_KINDS.has(event.kind) ? rest : { ...rest, raw: {} };
}

/** Until when time alone changes nothing, epoch ms. */
export function validUntil(state: SubscriberState, nowMs: number): number {
  let untilMs = nowMs + MAX_VALID_MS;
  const consider = (atMs: number | null): void => {
    if (atMs !== null && atMs > nowMs && atMs < untilMs) untilMs = atMs;
  };
  for (const list of [state.subscriptions, state.grants, state.sandbox]) {
    for (const subscription of list) {
      consider(subscription.endsAtMs);
      consider(subscription.accessEndsAtMs);
      consider(subscription.resumesAtMs);
    }
  }
  for (const entitlement of state.entitlements) consider(entitlement.endsAtMs);
  return untilMs;
}

/** What tells whether a stored summary may be used. */
export interface SummaryMark {
  readonly format: number;
  /** The subscriber's version that it was made of. */
  readonly version: number;
  readonly validUntilMs: number;
}

export interface StoredSummary extends SummaryMark {
  readonly summary: SubscriberSummary;
}

/** @param version the subscriber's; `mark` is `null` where no summary is stored */
export function isUsable(mark: SummaryMark | null, version: number, nowMs: number): mark is SummaryMark {
  return mark?.format === FORMAT && mark.version === version && nowMs < mark.validUntilMs;
}

/** A summary to be kept. */
export interface NewSummary {
  readonly subscriberId: string;
  /** The subscriber's, read before the history was. */
  readonly version: number;
  readonly summary: SubscriberSummary;
  /** When it was made, UTC, ms. */
  readonly nowMs: number;
}

/**
 * Keeps summaries, of each subscriber one. One that was made of an older version, or of a history with transfers,
 * is not worth keeping: the giver's late events change it without changing the receiver.
 */
export async function saveSummaries(
  sql: Sql,
  workspaceId: string,
  summaries: readonly NewSummary[],
): Promise<void> {
  await sql.query(
    `insert into subscriber_summaries (workspace_id, subscriber_id, format, version, valid_until, summary)
     select s.workspace_id, s.subscriber_id, $2, k.version, to_timestamp(k.valid_until_ms / 1000.0), k.summary::jsonb
       from unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[])
              as k (subscriber_id, version, valid_until_ms, summary)
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = k.subscriber_id
      where s.subscriber_id = any($3) and s.version = k.version and s.merged_into is null
      order by s.subscriber_id
     on conflict (workspace_id, subscriber_id) do update
        set format = excluded.format, version = excluded.version, valid_until = excluded.valid_until,
            summary = excluded.summary
      where subscriber_summaries.version <= excluded.version`,
    [
      workspaceId,
      FORMAT,
      summaries.map((kept) => kept.subscriberId),
      summaries.map((kept) => kept.version),
      summaries.map((kept) => validUntil(kept.summary.state, kept.nowMs)),
      summaries.map((kept) => JSON.stringify(kept.summary)),
    ],
    'save-summaries',
  );
}
