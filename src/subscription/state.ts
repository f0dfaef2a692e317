import { compareTexts } from '../text.ts';
import { isAnonymous, preferredAppUserIds } from './app-user-ids.ts';
import { applySnapshot } from './apply-snapshot.ts';
import { distinctInOrder } from './event-order.ts';
import { emptyFold, foldEvent, type HistoryFold } from './history-fold.ts';
import { isDeliverable } from './kinds.ts';
import { addMoney } from './money.ts';
import type { LifecycleEvent } from './read-event.ts';
import {
  accessEndMs,
  buildState,
  compareSubscriptions,
  environmentOf,
  knownTime,
  type StateBuilder,
} from './state-builder.ts';
import {
  isTransfer,
  joinTransfersWithin,
  movedTo,
  receivedByTransferAtMs,
  snapshotWithoutMoved,
  withoutMovedAway,
} from './transfers.ts';
import type { EntitlementState, Money, Snapshot, SubscriberState, SubscriptionState } from './types.ts';

/**
 * Derives the state at one point in time, in one pass. The events are applied in order to the subscriptions that they
 * belong to, except events that moved to another customer. Then the subscriptions are summarized.
 *
 * Pure: the same events in any order and any number of repetitions give the same state. A snapshot overrules everything
 * until it was taken; later events apply on top of it. Time alone ends access.
 *
 * @param events of one subscriber as `assembleHistory` returns them, including those received by transfer. A transfer
 *   on the `source` side removes what was bought before it.
 */
export function deriveState(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const ordered = joinTransfersWithin(distinctInOrder(events));
  const remaining = withoutMovedAway(ordered).filter(changesState);
  const fold = emptyFold();
  const takenAtMs = snapshot?.takenAtMs ?? Number.POSITIVE_INFINITY;
  for (const event of remaining) if (knownSinceMs(event) <= takenAtMs) foldEvent(fold, event);
  if (snapshot) applySnapshot(fold, snapshotWithoutMoved(snapshot, ordered));
  for (const event of remaining) if (knownSinceMs(event) > takenAtMs) foldEvent(fold, event);
  return summarizeFold(fold, ordered, { snapshotAtMs: snapshot?.takenAtMs ?? null, nowMs });
}

function changesState(event: LifecycleEvent): boolean {
  return isDeliverable(event.kind) && !isTransfer(event) && event.kind !== 'invoice_issued';
}

/** Before its transfer a purchase belonged to another customer, so an earlier response does not list it. */
function knownSinceMs({ atMs, receivedByTransferAtMs }: LifecycleEvent): number {
  return Math.max(atMs, receivedByTransferAtMs ?? 0);
}

function summarizeFold(
  fold: HistoryFold,
  ordered: readonly LifecycleEvent[],
  { snapshotAtMs, nowMs }: { readonly snapshotAtMs: number | null; readonly nowMs: number },
): SubscriberState {
  const subscriptions: SubscriptionState[] = [];
  const grants: SubscriptionState[] = [];
  const sandbox: SubscriptionState[] = [];
  const consumables: SubscriptionState[] = [];
  const active: StateBuilder[] = [];
  let firstPurchaseAtMs: number | null = null;
  let firstPaidAtMs: number | null = null;
  let paid: readonly Money[] = [];
  let isUnpriced = false;
  for (const builder of fold.builders.values()) {
    const state = buildState(builder, nowMs, snapshotAtMs);
    if (builder.environment !== 'sandbox') {
      paid = builder.paid.reduce(addMoney, paid);
      const [paidAtMs] = builder.paidAtMs;
      if (paidAtMs !== undefined) firstPaidAtMs = Math.min(firstPaidAtMs ?? paidAtMs, paidAtMs);
      isUnpriced ||= snapshotAtMs === null && hasUnknownCost(builder);
      if (isOwnPurchase(builder))
        firstPurchaseAtMs = Math.min(firstPurchaseAtMs ?? builder.startedAtMs, builder.startedAtMs);
    }
    // A purchase without an entitlement is on the timeline and in the sums and can be refunded, but decides no status.
    if (builder.isOneTime && builder.entitlements.length === 0) {
      consumables.push(state);
      continue;
    }
    if (builder.environment === 'sandbox') {
      sandbox.push(state);
      continue;
    }
    (builder.isGrant ? grants : subscriptions).push(state);
    if (state.givesAccess) active.push(builder);
  }
  for (const list of [subscriptions, grants, sandbox]) list.sort(compareSubscriptions);
  consumables.sort(newestFirst);
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
    entitlements: entitlementsOf(active, fold.listedEntitlements, nowMs),
    // A refund whose purchase is unknown would make the sum negative.
    lifetimeValueUsdCents: Math.max(0, fold.lifetimeValueUsdCents) || (isUnpriced ? null : 0),
    paid: [...paid].sort((a, b) => compareTexts(a.currency, b.currency)),
    firstPurchaseAtMs,
    firstPaidAtMs,
    movedTo: movedTo(ordered),
    receivedByTransferAtMs: receivedByTransferAtMs(ordered, snapshotAtMs),
    trialEndsAtMs: fold.trialEndsAtMs,
    billingIssueAtMs: knownTime(primary?.billingIssueAtMs ?? null, snapshotAtMs),
    seenAs: seenAs(ordered),
    lastEvent: last ? { kind: last.kind, type: last.type, atMs: last.atMs } : null,
    snapshotAtMs,
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

/** The price is null, or the purchase was not received. A trial is free. */
function hasUnknownCost({ isGrant, isFamilyShare, periodType, charge, refunded }: StateBuilder): boolean {
  const isFree = isGrant || isFamilyShare || periodType === 'TRIAL';
  return !isFree && (charge?.usdCents ?? refunded?.usdCents) == null;
}

/** Identified ids change a few times in a customer's life, not with each event. */
const MAX_RECENT_EVENTS = 30;

function seenAs(ordered: readonly LifecycleEvent[]): string[] {
  const ids = ordered
    .slice(-MAX_RECENT_EVENTS)
    .reverse()
    .flatMap(({ appUserId }) => appUserId ?? []);
  return preferredAppUserIds(ids).filter((id) => !isAnonymous(id));
}

/** A subscription or purchase that gives access, else a grant that does, else what ended last. */
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

/**
 * An entitlement lasts as long as the longest purchase or grant that gives it. Entitlements that RevenueCat's API
 * listed as active count regardless of the subscriptions.
 */
function entitlementsOf(
  builders: readonly StateBuilder[],
  listed: ReadonlyMap<string, number | null>,
  nowMs: number,
): EntitlementState[] {
  const ends = new Map<string, number>();
  const extend = (lookupKey: string, endMs: number): void => {
    if (endMs > (ends.get(lookupKey) ?? nowMs)) ends.set(lookupKey, endMs);
  };
  for (const builder of builders) for (const key of builder.entitlements) extend(key, accessEndMs(builder));
  for (const [key, endsAtMs] of listed) extend(key, endsAtMs ?? Number.POSITIVE_INFINITY);
  return [...ends]
    .map(([lookupKey, endMs]) => ({ lookupKey, endsAtMs: Number.isFinite(endMs) ? endMs : null }))
    .sort((a, b) => compareTexts(a.lookupKey, b.lookupKey));
}

/** Active entitlements that RevenueCat's API lists but no known subscription or grant gives. */
export function unexplainedEntitlements(state: SubscriberState): EntitlementState[] {
  const giving = [...state.subscriptions, ...state.grants].filter(({ givesAccess }) => givesAccess);
  return state.entitlements.filter(
    ({ lookupKey }) => !giving.some(({ entitlements }) => entitlements.includes(lookupKey)),
  );
}
