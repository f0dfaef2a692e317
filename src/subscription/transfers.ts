import { compareEvents } from './event-order.ts';
import { isGrant } from './kinds.ts';
import { identifiersOf, type LifecycleEvent } from './read-event.ts';
import type { Snapshot, SnapshotPurchase, SnapshotSubscription, SubscriberState } from './types.ts';

/**
 * Whether a purchase moves with a TRANSFER. RevenueCat documents that a transfer names the app and the store, that its
 * API can transfer the purchases of single apps, and that transactions belong to the store account; so purchases of
 * other stores and apps, and grants, stay. A transfer in the sandbox moves only what was bought there.
 */
function isInScope(
  transfer: LifecycleEvent,
  item: Pick<LifecycleEvent, 'environment' | 'store' | 'appId' | 'productId'>,
): boolean {
  if (transfer.environment === 'sandbox' && item.environment !== 'sandbox') return false;
  if (transfer.store !== null && item.store !== null && transfer.store !== item.store) return false;
  if (transfer.appId !== null && item.appId !== null && transfer.appId !== item.appId) return false;
  // Only a redeemed web purchase names its product.
  if (transfer.kind !== 'purchase_redeemed' || transfer.productId === null) return true;
  return item.productId === null || transfer.productId === item.productId;
}

function canMove(event: LifecycleEvent): boolean {
  return event.side === 'customer' && !isTransfer(event) && !isGrant(event);
}

export function isTransfer({ kind }: LifecycleEvent): boolean {
  return kind === 'transfer' || kind === 'purchase_redeemed';
}

/**
 * The events behind one customer's state and timeline: those stored for them, and those received by transfer that are
 * still theirs. Events that moved away again stay on the list, for the timeline; `withoutMovedAway` leaves them out. An
 * event that came back is marked as received.
 *
 * For any chain of transfers, back and forth included, exactly one customer holds an event: all transfers are replayed
 * in order, and each moves what its source holds at that time.
 *
 * @param stored events by subscriber id: of this one, and of everyone whose transfers lead to them
 */
export function assembleHistory<E extends LifecycleEvent>(
  subscriberId: string,
  stored: ReadonlyMap<string, readonly E[]>,
): { readonly events: readonly E[]; readonly received: readonly E[] } {
  const ofSubscriber = stored.get(subscriberId) ?? [];
  const received: E[] = [];
  const returned = new Map<E, E>();
  for (const { event, storedFor, owner, sinceMs } of replayTransfers(stored)) {
    if (owner !== subscriberId || sinceMs === null) continue;
    const marked = { ...event, receivedByTransferAtMs: sinceMs };
    if (storedFor === subscriberId) returned.set(event, marked);
    else received.push(marked);
  }
  const events = [...ofSubscriber.map((event) => returned.get(event) ?? event), ...received];
  return { events: received.length === 0 ? events : events.sort((a, b) => a.atMs - b.atMs), received };
}

/** Finds the final owner of each event; `null`: a customer who is not in `stored`. */
function replayTransfers<E extends LifecycleEvent>(stored: ReadonlyMap<string, readonly E[]>) {
  const hasTransfers = [...stored.values()].some((events) => events.some(isTransfer));
  const all = [...stored].flatMap(([storedFor, events]) =>
    events.map((event) => ({
      event,
      storedFor,
      /** The ids of the customer who holds it. */
      ids: hasTransfers ? identifiersOf(event.raw).customer : [],
      owner: storedFor as string | null,
      sinceMs: null as number | null,
    })),
  );
  all.sort((a, b) => compareEvents(a.event, b.event));
  const receivers = new Map(
    all.flatMap(({ storedFor, event }) => (isReceipt(event) ? [[event.id, storedFor]] : [])),
  );
  const earlier: typeof all = [];
  for (const each of all) {
    const { event: transfer, storedFor: source } = each;
    if (!isTransfer(transfer)) earlier.push(each);
    else if (transfer.side === 'source' || transfer.isWithinCustomer) {
      const receiver = receivers.get(transfer.id) ?? null;
      const sourceIds = knownIds(transfer, earlier);
      for (const held of earlier) {
        if (held.owner !== source || !canMove(held.event) || !isInScope(transfer, held.event)) continue;
        // The source received this event after the transfer.
        if ((held.event.receivedByTransferAtMs ?? 0) >= transfer.atMs) continue;
        // It was another customer's, who was merged with the source since.
        if (!sharesId(held.ids, sourceIds)) continue;
        held.ids = transfer.transferredTo;
        if (receiver === source) continue;
        held.owner = receiver;
        held.sinceMs = transfer.atMs;
      }
    }
  }
  return earlier;
}

/** The source's ids: those that the transfer names, and those that earlier events show to be the same customer's. */
function knownIds(transfer: LifecycleEvent, earlier: readonly { ids: readonly string[] }[]): string[] {
  const ids = new Set(transfer.transferredFrom);
  // The newest events name the most aliases.
  for (const held of earlier.toReversed())
    if (held.ids.some((id) => ids.has(id))) for (const id of held.ids) ids.add(id);
  return [...ids];
}

/** Unknown ids may be any customer's. */
function sharesId(ids: readonly string[], others: readonly string[]): boolean {
  return ids.length === 0 || others.length === 0 || ids.some((id) => others.includes(id));
}

function isReceipt(event: LifecycleEvent): boolean {
  return isTransfer(event) && event.side === 'customer';
}

/** Joins the two rows of a transfer between two ids of one customer into one event that moves nothing. */
export function joinTransfersWithin<E extends LifecycleEvent>(events: readonly E[]): E[] {
  const received = new Set(events.filter(isReceipt).map(({ id }) => id));
  const transfersAway = new Set(events.filter(({ side }) => side === 'source').map(({ id }) => id));
  return events.flatMap((event) => {
    if (!isTransfer(event) || !received.has(event.id) || !transfersAway.has(event.id)) return [event];
    return event.side === 'source' ? [] : [{ ...event, isWithinCustomer: true }];
  });
}

/** Marks a transfer whose source and receiver are this same customer. */
export function markWithinCustomer<E extends LifecycleEvent>(event: E, appUserIds: readonly string[]): E {
  const { transferredFrom, transferredTo, kind } = event;
  const isWithin =
    kind === 'transfer' &&
    transferredFrom.length > 0 &&
    transferredFrom.every((id) => appUserIds.includes(id)) &&
    transferredTo.some((id) => appUserIds.includes(id));
  return isWithin ? { ...event, isWithinCustomer: true } : event;
}

/** The events whose purchases this customer still holds. @param events of one customer, `joinTransfersWithin` applied */
export function withoutMovedAway(events: readonly LifecycleEvent[]): LifecycleEvent[] {
  const held = replayTransfers(new Map([['', events]])).filter(({ owner }) => owner !== null);
  return held.map(({ event }) => event);
}

/** RevenueCat's response without the purchases that later transfers moved away. */
export function snapshotWithoutMoved(snapshot: Snapshot, events: readonly LifecycleEvent[]): Snapshot {
  const transfersAway = events.filter(({ side, atMs }) => side === 'source' && atMs > snapshot.takenAtMs);
  if (transfersAway.length === 0) return snapshot;
  const stays = (item: SnapshotSubscription | SnapshotPurchase): boolean =>
    item.store === 'PROMOTIONAL' ||
    !transfersAway.some((transfer) => isInScope(transfer, { ...item, appId: null }));
  const subscriptions = snapshot.subscriptions.filter(stays);
  const purchases = snapshot.purchases.filter(stays);
  const moved = [...snapshot.subscriptions, ...snapshot.purchases].filter((item) => !stays(item));
  const isOf = (items: readonly { entitlements: readonly string[] }[], key: string): boolean =>
    items.some(({ entitlements }) => entitlements.includes(key));
  return {
    ...snapshot,
    subscriptions,
    purchases,
    // A subscription that stays has its own end. The end listed here may be that of a subscription that moved.
    activeEntitlements: snapshot.activeEntitlements.filter(
      ({ lookupKey }) => isOf(purchases, lookupKey) || !isOf(moved, lookupKey),
    ),
  };
}

/** When a transfer last brought purchases that may be unknown here; `null`: never, or the API was read since. */
export function receivedByTransferAtMs(
  events: readonly LifecycleEvent[],
  snapshotAtMs: number | null,
): number | null {
  const last = events.findLast(
    (event) =>
      isReceipt(event) &&
      // A redemption by the customer who owns the purchase moves nothing.
      (event.kind === 'transfer' || identifiersOf(event.raw).source.length > 0) &&
      !event.isWithinCustomer &&
      event.environment !== 'sandbox',
  );
  return last !== undefined && last.atMs > (snapshotAtMs ?? 0) ? last.atMs : null;
}

/** The last transfer that took purchases away, unless they came back: from their receiver, or through others. */
export function movedTo(events: readonly LifecycleEvent[]): SubscriberState['movedTo'] {
  const last = events.findLast(({ side, environment }) => side === 'source' && environment !== 'sandbox');
  if (!last) return null;
  const { atMs, store, transferredFrom: owners, transferredTo: receivers } = last;
  const isWayBack = (event: LifecycleEvent): boolean =>
    isReceipt(event) && event.atMs >= atMs && event.transferredFrom.some((id) => receivers.includes(id));
  const isHeldAgain = ({ receivedByTransferAtMs, appUserId }: LifecycleEvent): boolean =>
    (receivedByTransferAtMs ?? 0) >= atMs && appUserId !== null && owners.includes(appUserId);
  const cameBack = events.some((event) => isWayBack(event) || isHeldAgain(event));
  return cameBack ? null : { atMs, store, appUserIds: receivers };
}
