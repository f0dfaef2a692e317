import type { SubscriberState } from './types.ts';

/** RevenueCat and the stores round times differently; only a larger difference means something. */
const MAX_ROUNDING_MS = 60_000;

/**
 * Lists where the state from events differs from the state from RevenueCat's API, for the log.
 *
 * @returns stable codes, sorted: `status`, `product`, `store`, `will_renew`, `ends_at`, `entitlement_missing:<key>`
 *   (events do not give it), `entitlement_extra:<key>` (only events give it), `entitlement_end:<key>`; empty: they
 *   agree
 */
export function compareWithSnapshot(eventsState: SubscriberState, snapshotState: SubscriberState): string[] {
  const codes: string[] = [];
  if (eventsState.status !== snapshotState.status) codes.push('status');
  const { primary: derived } = eventsState;
  const { primary: listed } = snapshotState;
  if (derived && listed) {
    if (derived.productId !== listed.productId) codes.push('product');
    if (derived.store !== listed.store) codes.push('store');
    if (derived.willRenew !== listed.willRenew) codes.push('will_renew');
    if (!isSameTime(derived.endsAtMs, listed.endsAtMs)) codes.push('ends_at');
  }
  const derivedEnds = endsByKey(eventsState);
  const listedEnds = endsByKey(snapshotState);
  for (const [key, endsAtMs] of listedEnds) {
    const derivedEndsAtMs = derivedEnds.get(key);
    if (derivedEndsAtMs === undefined) codes.push(`entitlement_missing:${key}`);
    else if (!isSameTime(derivedEndsAtMs, endsAtMs)) codes.push(`entitlement_end:${key}`);
  }
  for (const key of derivedEnds.keys()) if (!listedEnds.has(key)) codes.push(`entitlement_extra:${key}`);
  return codes.sort();
}

/** The distinct codes without their entitlements, for counting. */
export function codeNames(codes: readonly string[]): Set<string> {
  return new Set(codes.map((code) => code.replace(/:.*$/s, '')));
}

function endsByKey({ entitlements }: SubscriberState): Map<string, number | null> {
  return new Map(entitlements.map(({ lookupKey, endsAtMs }) => [lookupKey, endsAtMs]));
}

function isSameTime(a: number | null, b: number | null): boolean {
  if (a === null || b === null) return a === b;
  return Math.abs(a - b) <= MAX_ROUNDING_MS;
}
