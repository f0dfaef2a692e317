import type { EntitlementState, SubscriberState } from './types.ts';

/** RevenueCat and the stores round times differently; only a larger difference means something. */
const MAX_ROUNDING_MS = 60_000;

/**
 * Where the state that events gave disagrees with the one that RevenueCat's API gave, for the log.
 *
 * @returns stable codes, sorted: `status`, `product`, `store`, `will_renew`, `ends_at`,
 *   `entitlement_missing:<key>` (events do not give it), `entitlement_extra:<key>` (only events give it),
 *   `entitlement_end:<key>`; empty: they agree
 */
export function compareWithSnapshot(eventsState: SubscriberState, snapshotState: SubscriberState): string[] {
  const codes: string[] = [];
  if (eventsState.status !== snapshotState.status) codes.push('status');
  const { primary: own } = eventsState;
  const { primary: listed } = snapshotState;
  if (own && listed) {
    if (own.productId !== listed.productId) codes.push('product');
    if (own.store !== listed.store) codes.push('store');
    if (own.willRenew !== listed.willRenew) codes.push('will_renew');
    if (!isSameTime(own.endsAtMs, listed.endsAtMs)) codes.push('ends_at');
  }
  const ownEntitlements = byKey(eventsState.entitlements);
  const listedEntitlements = byKey(snapshotState.entitlements);
  for (const [key, entitlement] of listedEntitlements) {
    const mine = ownEntitlements.get(key);
    if (!mine) codes.push(`entitlement_missing:${key}`);
    else if (!isSameTime(mine.endsAtMs, entitlement.endsAtMs)) codes.push(`entitlement_end:${key}`);
  }
  for (const key of ownEntitlements.keys()) {
    if (!listedEntitlements.has(key)) codes.push(`entitlement_extra:${key}`);
  }
  return codes.sort();
}

function byKey(entitlements: readonly EntitlementState[]): Map<string, EntitlementState> {
  return new Map(entitlements.map((entitlement) => [entitlement.lookupKey, entitlement]));
}

function isSameTime(a: number | null, b: number | null): boolean {
  if (a === null || b === null) return a === b;
  return Math.abs(a - b) <= MAX_ROUNDING_MS;
}
