import { FOREVER_MS } from '../time.ts';
import { distinctInOrder } from './event-order.ts';
import { type EventKind, isCancelledByStore } from './kinds.ts';
import type { LifecycleEvent } from './read-event.ts';
import { deriveState } from './state.ts';
import { joinTransfersWithin } from './transfers.ts';
import type { Environment, Snapshot, SubscriberState } from './types.ts';

/** Raise it whenever the same history would give another summary: stored ones then count as missing. */
export const SUMMARY_FORMAT = 51;

const RECENT_EVENTS = 3;

/** Kinds that are not about purchases: on the timeline, not among the latest events. */
const MINOR_KINDS: ReadonlySet<EventKind> = new Set<EventKind>([
  'paywall',
  'experiment_enrollment',
  'subscriber_alias',
  'virtual_currency',
]);

/**
 * What a card needs from a subscriber's whole history, small enough to store with the subscriber. It is recomputed when
 * the subscriber changes or when time alone changes the state.
 */
export interface SubscriberSummary {
  readonly state: SubscriberState;
  /** The latest events about purchases, newest first. */
  readonly latest: readonly LifecycleEvent[];
  readonly counts: Readonly<Record<Environment, number>>;
}

export function summarize(
  history: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberSummary {
  const newestFirst = joinTransfersWithin(distinctInOrder(history)).reverse();
  const major = newestFirst.filter(isMajor);
  const counts = { production: 0, sandbox: 0 };
  for (const event of newestFirst) counts[event.environment ?? 'production'] += 1;
  return {
    state: deriveState(history, snapshot, nowMs),
    latest: (major.length > 0 ? major : newestFirst).slice(0, RECENT_EVENTS).map(prune),
    counts,
  };
}

/** A failed payment arrives as BILLING_ISSUE and as CANCELLATION: people ask about the BILLING_ISSUE. */
function isMajor(event: LifecycleEvent): boolean {
  if (MINOR_KINDS.has(event.kind)) return false;
  return event.type !== 'CANCELLATION' || event.cancelReason !== 'BILLING_ERROR' || isCancelledByStore(event);
}

/** Drops fields that are only for storage. Only minor kinds are described by fields of the raw event. */
function prune(event: LifecycleEvent & { projectId?: string; delivery?: unknown }): LifecycleEvent {
  const { delivery, projectId, ...rest } = event;
  return MINOR_KINDS.has(event.kind) ? rest : { ...rest, raw: {} };
}

/** When time alone next changes the state or its description, epoch ms. */
export function validUntil(state: SubscriberState, nowMs: number): number {
  const { subscriptions, grants, sandbox, consumables, entitlements } = state;
  const bought = [...subscriptions, ...grants, ...sandbox, ...consumables];
  const times = [
    ...bought.flatMap((each) => [
      each.periodStartedAtMs,
      each.accessEndsAtMs,
      each.endsAtMs,
      each.resumesAtMs,
    ]),
    ...entitlements.map(({ endsAtMs }) => endsAtMs),
  ].filter((atMs) => atMs !== null);
  return Math.min(FOREVER_MS, ...times.filter((atMs) => atMs > nowMs));
}

/** Tells whether a stored summary may be used. */
export interface SummaryValidity {
  readonly format: number;
  /** The version of the subscriber that the summary was made from. */
  readonly version: number;
  readonly validUntilMs: number;
}

export interface StoredSummary extends SummaryValidity {
  readonly summary: SubscriberSummary;
}

/** @param version the subscriber's current version; `stored` is absent if no summary is stored */
export function isCurrentSummary(
  stored: SummaryValidity | null | undefined,
  version: number,
  nowMs: number,
): stored is SummaryValidity {
  return stored?.format === SUMMARY_FORMAT && stored.version === version && nowMs < stored.validUntilMs;
}
