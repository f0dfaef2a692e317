import { deriveState } from '../subscription/state.ts';
import type { LifecycleEvent, Snapshot } from '../subscription/types.ts';

const HOUR_MS = 3_600_000;

/**
 * Expirations come up to an hour late, renewals of some stores as well, and RevenueCat repeats a refused webhook
 * for 2 h 35 min. Source: RevenueCat, "Webhooks".
 */
const PATIENCE_MS = 3 * HOUR_MS;
/** Where RevenueCat itself calls a passed end no end (a store that tries the card again). */
const LOOK_AGAIN_MS = 24 * HOUR_MS;

/**
 * When a subscriber's purchases should have changed and an event should have told so: the first end or resumption
 * after the last that is known, with time for the event to arrive. It may have passed already.
 *
 * @returns epoch ms; `null`: nothing is expected
 */
export function expectedChangeAt(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
): number | null {
  let asOfMs = snapshot?.takenAtMs ?? 0;
  for (const event of events) asOfMs = Math.max(asOfMs, event.atMs);
  const state = deriveState(events, snapshot, asOfMs);
  let earliestMs: number | null = null;
  for (const subscription of [...state.subscriptions, ...state.grants]) {
    const endsAtMs = subscription.givesAccess
      ? Math.max(subscription.endsAtMs ?? 0, subscription.gracePeriodEndsAtMs ?? 0)
      : (subscription.resumesAtMs ?? 0);
    if (endsAtMs <= 0 || (!subscription.givesAccess && endsAtMs <= asOfMs)) continue;
    const atMs = endsAtMs > asOfMs ? endsAtMs + PATIENCE_MS : asOfMs + LOOK_AGAIN_MS;
    if (earliestMs === null || atMs < earliestMs) earliestMs = atMs;
  }
  return earliestMs;
}
