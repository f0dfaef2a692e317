import { overlay } from './apply-snapshot.ts';
import { distinctInOrder } from './event-order.ts';
import { compareSubscriptions, finishDraft } from './finish-state.ts';
import { emptyLedger, type Ledger, record } from './history-fold.ts';
import { isAnonymous, isBlockedId } from './identities.ts';
import { isDeliverable } from './kinds.ts';
import { accessEndMs, type Draft, environmentOf } from './state-builder.ts';
import type {
  EntitlementState,
  EventKind,
  LifecycleEvent,
  Snapshot,
  SubscriberState,
  SubscriptionState,
} from './types.ts';

/** Deliverable kinds that change nothing about what the customer has. */
const NO_CHANGE: ReadonlySet<EventKind> = new Set<EventKind>([
  'transfer',
  'purchase_redeemed',
  'price_increase_consent',
  'invoice_issued',
]);

/**
 * What a history amounts to at one moment.
 *
 * Pure: the same events in any order and any number of repetitions give the same state. A snapshot stands for
 * everything until it was taken; later events apply on top of it. Time alone ends access.
 *
 * @param events of one subscriber, with those it received by transfer; an event on the `giver` side takes away
 *   what was bought until then
 * @param nowMs UTC, ms
 */
export function deriveState(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const ordered = distinctInOrder(events);
  let ledger = emptyLedger();
  let snapshotLeft = snapshot;
  for (const event of ordered) {
    if (snapshotLeft && event.atMs > snapshotLeft.takenAtMs) {
      overlay(ledger, snapshotLeft);
      snapshotLeft = null;
    }
    if (event.side === 'source') {
      ledger = afterGiving(ledger, event);
    } else if (isDeliverable(event.kind) && !NO_CHANGE.has(event.kind)) {
      record(ledger, event);
    }
  }
  if (snapshotLeft) overlay(ledger, snapshotLeft);
  return summarise(ledger, ordered, snapshot, nowMs);
}

/** A transfer in the sandbox cannot take what was paid for. */
function afterGiving(ledger: Ledger, event: LifecycleEvent): Ledger {
  if (event.environment !== 'sandbox') return emptyLedger();
  for (const index of [ledger.drafts, ledger.byTransaction, ledger.byProduct]) {
    for (const [key, draft] of index) if (draft.environment === 'sandbox') index.delete(key);
  }
  for (const drafts of [ledger.temporary, ledger.changing]) {
    for (const draft of drafts) if (draft.environment === 'sandbox') drafts.delete(draft);
  }
  return ledger;
}

function summarise(
  ledger: Ledger,
  ordered: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const subscriptions: SubscriptionState[] = [];
  const grants: SubscriptionState[] = [];
  const sandbox: SubscriptionState[] = [];
  const entitlements = new Map<string, EntitlementState>();
  let firstPurchaseAtMs = ledger.firstPurchaseAtMs;
  for (const draft of ledger.drafts.values()) {
    // A consumable is a purchase and gives no access: it is on the timeline and in the sums.
    if (draft.oneTime && draft.entitlements.length === 0) continue;
    const state = finishDraft(draft, nowMs);
    if (draft.environment === 'sandbox') {
      sandbox.push(state);
      continue;
    }
    (draft.promotional ? grants : subscriptions).push(state);
    if (!draft.promotional && draft.purchased && draft.startedAtMs !== null) {
      firstPurchaseAtMs = Math.min(firstPurchaseAtMs ?? draft.startedAtMs, draft.startedAtMs);
    }
    if (state.givesAccess) for (const key of draft.entitlements) addEntitlement(entitlements, key, draft);
  }
  for (const list of [subscriptions, grants, sandbox]) list.sort(compareSubscriptions);
  addTold(entitlements, ledger, nowMs);

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
    entitlements: [...entitlements.values()].sort((a, b) => compareTexts(a.lookupKey, b.lookupKey)),
    // A refund whose purchase nobody told of would leave less than nothing.
    lifetimeValueUsdCents: Math.max(
      0,
      ledger.sawRevenue ? ledger.lifetimeValueUsdCents : ledger.toldRevenueUsdCents,
    ),
    paid: [...ledger.paid].sort((a, b) => compareTexts(a.currency, b.currency)),
    firstPurchaseAtMs,
    firstPaidAtMs: ledger.firstPaidAtMs,
    movedTo: null,
    trialEndsAtMs: ledger.trialEndsAtMs,
    billingIssueAtMs: primary?.billingIssueAtMs ?? null,
    seenAs: seenAs(ordered),
    lastEvent: last ? { kind: last.kind, type: last.type, atMs: last.atMs } : null,
    snapshotAtMs: snapshot?.takenAtMs ?? null,
  };
}

/** An id that is no anonymous one is taken over by another a few times in a life, not with each event. */
const MAX_NAMED = 30;

function seenAs(ordered: readonly LifecycleEvent[]): string[] {
  const ids = new Set<string>();
  for (const { side, appUserId } of ordered.slice(-MAX_NAMED).reverse()) {
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
  const [subscription] = subscriptions;
  const [grant] = grants;
  if (!subscription || !grant) return subscription ?? grant ?? null;
  if (subscription.givesAccess) return subscription;
  return compareSubscriptions(subscription, grant) <= 0 ? subscription : grant;
}

/** One entitlement lasts as long as the longest of what gives it. */
function addEntitlement(entitlements: Map<string, EntitlementState>, lookupKey: string, draft: Draft): void {
  const endMs = accessEndMs(draft);
  const known = entitlements.get(lookupKey);
  const knownEndMs = known ? (known.endsAtMs ?? Number.POSITIVE_INFINITY) : -1;
  const entitlement: EntitlementState = {
    lookupKey,
    endsAtMs: Number.isFinite(endMs) ? endMs : null,
    source: sourceOf(draft),
    productId: draft.productId,
    store: draft.store,
  };
  if (endMs > knownEndMs || (known && endMs === knownEndMs && comesBefore(entitlement, known))) {
    entitlements.set(lookupKey, entitlement);
  }
}

function sourceOf(draft: Draft): EntitlementState['source'] {
  if (draft.promotional) return 'promotional';
  if (draft.temporary) return 'temporary';
  return draft.oneTime ? 'purchase' : 'subscription';
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
function addTold(entitlements: Map<string, EntitlementState>, ledger: Ledger, nowMs: number): void {
  for (const [lookupKey, endsAtMs] of ledger.told) {
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
