import { compareTexts } from '../text.ts';
import type { LifecycleEvent } from './read-event.ts';

/**
 * Order of events that carry the same millisecond, which happens: a failed charge sends BILLING_ISSUE,
 * CANCELLATION and EXPIRATION together. RevenueCat promises no order (webhook documentation), so this one is
 * chosen for its results:
 *
 * | tie | result |
 * |---|---|
 * | first purchase + anything of it | the purchase comes first |
 * | billing issue + cancellation + expiration | expired |
 * | pause + expiration | paused |
 * | cancellation + renewal, expiration + renewal | active: the renewal is the later act |
 * | billing issue + renewal | active: the renewal is the recovery |
 * | cancellation + uncancellation | not cancelled |
 * | product change + renewal or expiration | changed; expired |
 * | expiration + extension | extended |
 * | refund + its reversal | restored |
 * | anything + transfer | done before the purchases moved |
 */
const TIE_ORDER: Readonly<Record<string, number>> = {
  TEMPORARY_ENTITLEMENT_GRANT: 0,
  INITIAL_PURCHASE: 1,
  NON_RENEWING_PURCHASE: 1,
  BILLING_ISSUE: 2,
  CANCELLATION: 3,
  SUBSCRIPTION_PAUSED: 4,
  PRODUCT_CHANGE: 5,
  EXPIRATION: 6,
  RENEWAL: 7,
  SUBSCRIPTION_EXTENDED: 8,
  UNCANCELLATION: 9,
  REFUND_REVERSED: 10,
  TRANSFER: 12,
  PURCHASE_REDEEMED: 12,
};
const OTHER_TYPES = 11;

/** By time, then by {@link TIE_ORDER}, then by id; what is left only orders differing copies of one event. */
export function compareEvents(a: LifecycleEvent, b: LifecycleEvent): number {
  return (
    a.atMs - b.atMs ||
    (TIE_ORDER[a.type] ?? OTHER_TYPES) - (TIE_ORDER[b.type] ?? OTHER_TYPES) ||
    compareTexts(a.id, b.id) ||
    compareTexts(a.side, b.side) ||
    (a.receivedByTransferAtMs ?? 0) - (b.receivedByTransferAtMs ?? 0) ||
    (a.raw === b.raw ? 0 : compareTexts(JSON.stringify(a.raw), JSON.stringify(b.raw)))
  );
}

/**
 * The events in order, each once: by id whatever its letter case, and by what it says, because the events
 * endpoint may name the same event differently than the webhook did.
 */
export function distinctInOrder(events: readonly LifecycleEvent[]): LifecycleEvent[] {
  const seen = new Set<string>();
  return [...events].sort(compareEvents).filter((event) => {
    const { side, id, transactionId, kind, productId, atMs } = event;
    const names = [`${side}|${id.toLowerCase()}`];
    // Kind and product tell apart what one transaction may bring in one millisecond: a cancellation and its
    // refund, two products of one order.
    if (transactionId !== null) names.push(`${side}|${transactionId}|${kind}|${productId ?? ''}|${atMs}`);
    if (names.some((name) => seen.has(name))) return false;
    for (const name of names) seen.add(name);
    return true;
  });
}
