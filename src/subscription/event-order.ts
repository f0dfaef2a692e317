import { compareTexts } from '../text.ts';
import type { LifecycleEvent } from './read-event.ts';

/**
 * Order of events that carry the same millisecond, which happens: a failed charge sends BILLING_ISSUE,
 * CANCELLATION and EXPIRATION together. RevenueCat promises no order (webhook documentation), so this one is
 * chosen for its results:
 *
 * | tie | result |
 * |---|---|
 * | first purchase + any event about it | the purchase comes first |
 * | billing issue + cancellation + expiration | expired |
 * | pause + expiration | paused |
 * | cancellation + renewal, expiration + renewal | active: the renewal is the later act |
 * | billing issue + renewal | active: the renewal is the recovery |
 * | failed payment's cancellation + the customer's | cancelled by the customer |
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

function tieOrder({ type, cancelReason }: LifecycleEvent): number {
  const order = TIE_ORDER[type] ?? OTHER_TYPES;
  return type === 'CANCELLATION' && cancelReason === 'BILLING_ERROR' ? order - 0.5 : order;
}

/** Orders by time, then by {@link TIE_ORDER}, then by id. The rest only orders differing copies of one event. */
export function compareEvents(a: LifecycleEvent, b: LifecycleEvent): number {
  return (
    a.atMs - b.atMs ||
    tieOrder(a) - tieOrder(b) ||
    compareTexts(a.id, b.id) ||
    compareTexts(a.side, b.side) ||
    (a.receivedByTransferAtMs ?? 0) - (b.receivedByTransferAtMs ?? 0) ||
    (a.raw === b.raw ? 0 : compareTexts(JSON.stringify(a.raw), JSON.stringify(b.raw)))
  );
}

/** Sorts the events and drops duplicates: events that share one of {@link keysOfEvent}. */
export function distinctInOrder<E extends LifecycleEvent>(events: readonly E[]): E[] {
  const seen = new Set<string>();
  return [...events].sort(compareEvents).filter((event) => {
    const keys = keysOfEvent(event);
    if (keys.some((key) => seen.has(key))) return false;
    for (const key of keys) seen.add(key);
    return true;
  });
}

/**
 * Keys that two copies of one event share: the id in lower case, and one made from the content, because the events
 * endpoint may use another id than the webhook (UNVERIFIED). Kind, reason and product distinguish what one transaction
 * may send in one millisecond: a cancellation and its refund, two cancellations, two products of one order.
 */
export function keysOfEvent(event: LifecycleEvent): string[] {
  const { side, id, transactionId, kind, productId, cancelReason, atMs } = event;
  const byId = `${side}|${id.toLowerCase()}`;
  if (transactionId === null) return [byId];
  return [byId, [side, transactionId, kind, cancelReason, productId, atMs].join('|')];
}

/** Marks an event without an environment as sandbox if other events of its transaction are. */
export function withKnownEnvironments<E extends LifecycleEvent>(events: E[]): E[] {
  const idsOf = ({ transactionId, originalTransactionId }: E): (string | null)[] => [
    transactionId,
    originalTransactionId,
  ];
  const ofSandbox = new Set(events.filter(({ environment }) => environment === 'sandbox').flatMap(idsOf));
  ofSandbox.delete(null);
  if (ofSandbox.size === 0) return events;
  return events.map((event) =>
    event.environment === null && idsOf(event).some((id) => ofSandbox.has(id))
      ? { ...event, environment: 'sandbox' }
      : event,
  );
}
