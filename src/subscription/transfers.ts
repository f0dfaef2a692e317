import { compareEvents } from './event-order.ts';
import { isGrant } from './kinds.ts';
import type { LifecycleEvent, MovedTo, Snapshot } from './types.ts';

/**
 * Which purchases move with a TRANSFER. RevenueCat documents that a transfer names the app and the store, that its
 * API can transfer the purchases of single apps, and that transactions belong to the store account; so purchases
 * of other stores and apps, and grants, stay. A transfer in the sandbox moves only what was bought there.
 */
export function isInScope(transfer: LifecycleEvent, event: LifecycleEvent): boolean {
  if (event.side !== 'customer' || isTransfer(event) || isGrant(event)) return false;
  if (transfer.environment === 'sandbox' && event.environment !== 'sandbox') return false;
  if (transfer.store !== null && event.store !== null && transfer.store !== event.store) return false;
  if (transfer.appId !== null && event.appId !== null && transfer.appId !== event.appId) return false;
  // Only a redeemed web purchase names its product.
  if (transfer.kind !== 'purchase_redeemed' || transfer.productId === null) return true;
  return event.productId === null || transfer.productId === event.productId;
}

export function isTransfer({ kind }: LifecycleEvent): boolean {
  return kind === 'transfer' || kind === 'purchase_redeemed';
}

/**
 * What one customer's state and timeline consist of: the events stored for them, and those that came by transfer
 * and are still theirs. Events that left again stay on the list as stored, for the timeline; `withoutMovedAway`
 * leaves them out. An event that came back is marked like one received.
 *
 * For any chain of transfers, back and forth included, exactly one customer holds an event: all transfers are
 * replayed in order, and each moves what its source holds at that time.
 *
 * @param stored events by subscriber id: of this one, and of everyone whose transfers lead to them
 */
export function assembleHistory<E extends LifecycleEvent>(
  subscriberId: string,
  stored: ReadonlyMap<string, readonly E[]>,
): { readonly events: readonly E[]; readonly received: readonly E[] } {
  const own = stored.get(subscriberId) ?? [];
  const received: E[] = [];
  const returned = new Map<E, E>();
  for (const [event, holding] of replayTransfers(stored)) {
    if (holding.holder !== subscriberId || holding.sinceMs === null) continue;
    const marked = { ...event, receivedByTransferAtMs: holding.sinceMs };
    if (holding.owner === subscriberId) returned.set(event, marked);
    else received.push(marked);
  }
  const events = [...own.map((event) => returned.get(event) ?? event), ...received];
  return { events: received.length === 0 ? events : events.sort((a, b) => a.atMs - b.atMs), received };
}

interface Holding {
  readonly owner: string;
  /** `null`: a customer who is not among those given. */
  holder: string | null;
  sinceMs: number | null;
}

function replayTransfers<E extends LifecycleEvent>(
  stored: ReadonlyMap<string, readonly E[]>,
): Map<E, Holding> {
  const all = [...stored].flatMap(([owner, events]) => events.map((event) => ({ owner, event })));
  all.sort((a, b) => compareEvents(a.event, b.event));
  const receivers = new Map<string, string>();
  for (const { owner, event } of all)
    if (isTransfer(event) && event.side === 'customer') receivers.set(event.id, owner);
  const holdings = new Map<E, Holding>();
  for (const { owner, event } of all) {
    if (!isTransfer(event)) holdings.set(event, { owner, holder: owner, sinceMs: null });
    if (!isTransfer(event) || event.side !== 'source') continue;
    const receiver = receivers.get(event.id) ?? null;
    if (receiver === owner) continue;
    for (const [held, holding] of holdings) {
      if (holding.holder !== owner || !isInScope(event, held)) continue;
      holding.holder = receiver;
      holding.sinceMs = event.atMs;
    }
  }
  return holdings;
}

/** Both rows of a transfer between two ids of one customer become one event that moves nothing. */
export function joinTransfersWithin<E extends LifecycleEvent>(events: readonly E[]): E[] {
  const received = new Set(events.flatMap((each) => (isReceipt(each) ? [each.id] : [])));
  const given = new Set(events.flatMap((each) => (each.side === 'source' ? [each.id] : [])));
  return events.flatMap((event) => {
    if (!isTransfer(event) || !received.has(event.id) || !given.has(event.id)) return [event];
    return event.side === 'source' ? [] : [{ ...event, isWithinCustomer: true }];
  });
}

function isReceipt(event: LifecycleEvent): boolean {
  return isTransfer(event) && event.side === 'customer';
}

/** Marks a transfer whose source is this same customer. */
export function markWithinCustomer<E extends LifecycleEvent>(event: E, appUserIds: readonly string[]): E {
  const { transferredFrom, kind } = event;
  const isWithin =
    kind === 'transfer' &&
    transferredFrom.length > 0 &&
    transferredFrom.every((id) => appUserIds.includes(id));
  return isWithin ? { ...event, isWithinCustomer: true } : event;
}

/** The events whose purchases this customer still holds. @param events in order, `joinTransfersWithin` applied */
export function withoutMovedAway(events: readonly LifecycleEvent[]): LifecycleEvent[] {
  const given = events.filter((event) => event.side === 'source');
  if (given.length === 0) return [...events];
  return events.filter((event) => !given.some((transfer) => takes(transfer, event)));
}

function takes(transfer: LifecycleEvent, event: LifecycleEvent): boolean {
  if (!isInScope(transfer, event)) return false;
  const { receivedByTransferAtMs } = event;
  return receivedByTransferAtMs === null
    ? compareEvents(event, transfer) < 0
    : receivedByTransferAtMs < transfer.atMs;
}

/** What is left of RevenueCat's answer after transfers that came later. */
export function snapshotWithoutMoved(snapshot: Snapshot, events: readonly LifecycleEvent[]): Snapshot {
  const given = events.filter((event) => event.side === 'source' && event.atMs > snapshot.takenAtMs);
  if (given.length === 0) return snapshot;
  const stays = ({ store, environment }: { store: string | null; environment: string }): boolean =>
    store === 'PROMOTIONAL' ||
    !given.some(
      (transfer) =>
        (transfer.environment !== 'sandbox' || environment === 'sandbox') &&
        (transfer.store === null || transfer.store === store),
    );
  const subscriptions = snapshot.subscriptions.filter(stays);
  const purchases = snapshot.purchases.filter(stays);
  const left = new Set([...subscriptions, ...purchases].flatMap(({ entitlements }) => entitlements));
  const listed = new Set(
    [...snapshot.subscriptions, ...snapshot.purchases].flatMap(({ entitlements }) => entitlements),
  );
  return {
    ...snapshot,
    subscriptions,
    purchases,
    activeEntitlements: snapshot.activeEntitlements.filter(
      ({ lookupKey }) => left.has(lookupKey) || !listed.has(lookupKey),
    ),
  };
}

/** The last transfer that took purchases away, unless they came back. */
export function movedTo(events: readonly LifecycleEvent[]): MovedTo | null {
  const last = events.findLast(({ side, environment }) => side === 'source' && environment !== 'sandbox');
  if (!last) return null;
  const cameBack = events.some(
    (event) =>
      isReceipt(event) &&
      event.atMs >= last.atMs &&
      event.transferredFrom.some((id) => last.transferredTo.includes(id)),
  );
  return cameBack ? null : { atMs: last.atMs, store: last.store, appUserIds: last.transferredTo };
}
