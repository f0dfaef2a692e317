import { applySnapshot } from './apply-snapshot.ts';
import { distinctInOrder } from './event-order.ts';
import { emptyFold, foldEvent, type HistoryFold } from './history-fold.ts';
import { isAnonymous, isBlockedId } from './identities.ts';
import { isDeliverable } from './kinds.ts';
import {
  accessEndMs,
  buildState,
  compareSubscriptions,
  environmentOf,
  type StateBuilder,
} from './state-builder.ts';
import {
  isTransfer,
  joinTransfersWithin,
  movedTo,
  snapshotWithoutMoved,
  withoutMovedAway,
} from './transfers.ts';
import type {
  EntitlementState,
  LifecycleEvent,
  Snapshot,
  SubscriberState,
  SubscriptionState,
} from './types.ts';

/**
 * What a history adds up to at one time.
 *
 * Pure: the same events in any order and any number of repetitions give the same state. A snapshot overrules
 * everything until it was taken; later events apply on top of it. Time alone ends access.
 *
 * @param events of one subscriber as `assembleHistory` returns them: with those received by transfer. An event on
 *   the `source` side takes away what was bought until then.
 * @param nowMs UTC, ms
 */
export function deriveState(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const ordered = joinTransfersWithin(distinctInOrder(events));
  const held = withoutMovedAway(ordered).filter(changesState);
  const fold = emptyFold();
  if (snapshot === null) {
    for (const event of held) foldEvent(fold, event);
  } else {
    for (const event of held) if (knownSinceMs(event) <= snapshot.takenAtMs) foldEvent(fold, event);
    applySnapshot(fold, snapshotWithoutMoved(snapshot, ordered));
    for (const event of held) if (knownSinceMs(event) > snapshot.takenAtMs) foldEvent(fold, event);
  }
  return summarizeFold(fold, ordered, snapshot, nowMs);
}

function changesState(event: LifecycleEvent): boolean {
  return isDeliverable(event.kind) && !isTransfer(event) && event.kind !== 'invoice_issued';
}

/** A purchase that came by transfer was another customer's when RevenueCat answered before. */
function knownSinceMs({ atMs, receivedByTransferAtMs }: LifecycleEvent): number {
  return Math.max(atMs, receivedByTransferAtMs ?? 0);
}

function summarizeFold(
  fold: HistoryFold,
  ordered: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const subscriptions: SubscriptionState[] = [];
  const grants: SubscriptionState[] = [];
  const sandbox: SubscriptionState[] = [];
  const consumables: SubscriptionState[] = [];
  const entitlements = new Map<string, EntitlementState>();
  let { firstPurchaseAtMs } = fold;
  for (const builder of fold.builders.values()) {
    const state = buildState(builder, nowMs);
    // A purchase without access: it is on the timeline, in the sums and can be refunded, but decides no status.
    if (builder.isOneTime && builder.entitlements.length === 0) {
      consumables.push(state);
      continue;
    }
    if (builder.environment === 'sandbox') {
      sandbox.push(state);
      continue;
    }
    (builder.isGrant ? grants : subscriptions).push(state);
    if (isOwnPurchase(builder))
      firstPurchaseAtMs = Math.min(firstPurchaseAtMs ?? builder.startedAtMs, builder.startedAtMs);
    if (state.givesAccess) for (const key of builder.entitlements) addEntitlement(entitlements, key, builder);
  }
  for (const list of [subscriptions, grants, sandbox]) list.sort(compareSubscriptions);
  consumables.sort(newestFirst);
  addListed(entitlements, fold, nowMs);

  const primary = bestOf(subscriptions, grants);
  const last = ordered.findLast(
    (event) => isDeliverable(event.kind) && environmentOf(event) === 'production',
  );
  return {
    status: primary?.status ?? null,
    primary,
    subscriptions,
    grants,
    sandbox,
    consumables: consumables.slice(0, MAX_CONSUMABLES),
    entitlements: [...entitlements.values()].sort((a, b) => compareTexts(a.lookupKey, b.lookupKey)),
    // A refund whose purchase is unknown would leave less than nothing.
    lifetimeValueUsdCents: Math.max(
      0,
      fold.hasRevenueEvents ? fold.lifetimeValueUsdCents : fold.snapshotRevenueUsdCents,
    ),
    paid: [...fold.paid].sort((a, b) => compareTexts(a.currency, b.currency)),
    firstPurchaseAtMs,
    firstPaidAtMs: fold.firstPaidAtMs,
    movedTo: movedTo(ordered),
    trialEndsAtMs: fold.trialEndsAtMs,
    billingIssueAtMs: primary?.billingIssueAtMs ?? null,
    seenAs: seenAs(ordered),
    lastEvent: last ? { kind: last.kind, type: last.type, atMs: last.atMs } : null,
    snapshotAtMs: snapshot?.takenAtMs ?? null,
  };
}

/** A game's customers buy hundreds; support is asked about recent ones. */
const MAX_CONSUMABLES = 10;

function newestFirst(a: SubscriptionState, b: SubscriptionState): number {
  return (b.startedAtMs ?? 0) - (a.startedAtMs ?? 0) || compareTexts(a.key, b.key);
}

function isOwnPurchase(builder: StateBuilder): builder is StateBuilder & { startedAtMs: number } {
  const { isGrant, isPurchaseKnown, isFamilyShare, isIncomplete, startedAtMs } = builder;
  return !isGrant && isPurchaseKnown && !isFamilyShare && !isIncomplete && startedAtMs !== null;
}

/** Identified ids change a few times in a customer's life, not with each event. */
const MAX_RECENT_EVENTS = 30;

function seenAs(ordered: readonly LifecycleEvent[]): string[] {
  const ids = new Set<string>();
  for (const { side, appUserId } of ordered.slice(-MAX_RECENT_EVENTS).reverse()) {
    if (side === 'customer' && appUserId !== null && !isAnonymous(appUserId) && !isBlockedId(appUserId))
      ids.add(appUserId);
  }
  return [...ids];
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What is paid for and gives access; else a grant that does; else what ended last. */
function bestOf(
  subscriptions: readonly SubscriptionState[],
  grants: readonly SubscriptionState[],
): SubscriptionState | null {
  const subscription = subscriptions.find(({ isIncomplete }) => !isIncomplete);
  const [grant] = grants;
  if (!subscription || !grant) return subscription ?? grant ?? null;
  if (subscription.givesAccess) return subscription;
  return compareSubscriptions(subscription, grant) <= 0 ? subscription : grant;
}

/** One entitlement lasts as long as the longest of what gives it. */
function addEntitlement(
  entitlements: Map<string, EntitlementState>,
  lookupKey: string,
  builder: StateBuilder,
): void {
  const endMs = accessEndMs(builder);
  const known = entitlements.get(lookupKey);
  const knownEndMs = known ? (known.endsAtMs ?? Number.POSITIVE_INFINITY) : -1;
  const entitlement: EntitlementState = {
    lookupKey,
    endsAtMs: Number.isFinite(endMs) ? endMs : null,
    source: sourceOf(builder),
    productId: builder.productId,
    store: builder.store,
  };
  if (endMs > knownEndMs || (known && endMs === knownEndMs && comesBefore(entitlement, known))) {
    entitlements.set(lookupKey, entitlement);
  }
}

function sourceOf({ isGrant, isTemporary, isOneTime }: StateBuilder): EntitlementState['source'] {
  if (isGrant) return 'promotional';
  if (isTemporary) return 'temporary';
  return isOneTime ? 'purchase' : 'subscription';
}

const SOURCE_ORDER: Readonly<Record<EntitlementState['source'], number>> = {
  subscription: 0,
  purchase: 1,
  promotional: 2,
  temporary: 3,
};

/** Of two with the same end the paid one is named, whatever their order. */
function comesBefore(a: EntitlementState, b: EntitlementState): boolean {
  if (a.source !== b.source) return SOURCE_ORDER[a.source] < SOURCE_ORDER[b.source];
  return `${a.store}|${a.productId}` < `${b.store}|${b.productId}`;
}

/** Entitlements that RevenueCat's API listed as active, whatever the subscriptions say. */
function addListed(entitlements: Map<string, EntitlementState>, fold: HistoryFold, nowMs: number): void {
  for (const [lookupKey, endsAtMs] of fold.listedEntitlements) {
    if (endsAtMs !== null && endsAtMs <= nowMs) continue;
    const known = entitlements.get(lookupKey);
    if (known && (known.endsAtMs === null || (endsAtMs !== null && endsAtMs <= known.endsAtMs))) continue;
    entitlements.set(lookupKey, {
      lookupKey,
      endsAtMs,
      source: known?.source ?? 'subscription',
      productId: known?.productId ?? null,
      store: known?.store ?? null,
    });
  }
}
