import {
  accessEndMs,
  applyEvent,
  applySnapshot,
  type Draft,
  draftFrom,
  draftFromPurchase,
  draftFromSnapshot,
  draftKey,
  environmentOf,
  finishDraft,
} from './draft.ts';
import { isDeliverable } from './kinds.ts';
import { addMoney } from './money.ts';
import type {
  EntitlementState,
  LifecycleEvent,
  Money,
  Snapshot,
  SubscriberState,
  SubscriptionState,
} from './types.ts';

/**
 * Order of events that carry the same millisecond, which happens: a failed charge sends BILLING_ISSUE,
 * CANCELLATION and EXPIRATION at once.
 *
 * | tie | result |
 * |---|---|
 * | purchase + anything | the purchase comes first |
 * | billing issue + cancellation + expiration | expired |
 * | cancellation + renewal, expiration + renewal | active: the renewal is the later act |
 * | cancellation + uncancellation | not cancelled |
 * | product change + renewal | changed |
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

function compareEvents(a: LifecycleEvent, b: LifecycleEvent): number {
  if (a.atMs !== b.atMs) return a.atMs - b.atMs;
  const rank = (TIE_ORDER[a.type] ?? 11) - (TIE_ORDER[b.type] ?? 11);
  if (rank !== 0) return rank;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** In order and each once: by id, and by what it says where the events endpoint gave it another id. */
function distinct(events: readonly LifecycleEvent[]): LifecycleEvent[] {
  const seen = new Set<string>();
  const kept: LifecycleEvent[] = [];
  for (const event of [...events].sort(compareEvents)) {
    const id = `${event.side}|${event.id}`;
    const content = event.transactionId && `${event.side}|${event.transactionId}|${event.type}|${event.atMs}`;
    if (seen.has(id) || (content && seen.has(content))) continue;
    seen.add(id);
    if (content) seen.add(content);
    kept.push(event);
  }
  return kept;
}

interface Ledger {
  readonly drafts: Map<string, Draft>;
  lifetimeValueUsdCents: number;
  sawRevenue: boolean;
  paid: Money[];
  firstPurchaseAtMs: number | null;
  trialEndsAtMs: number | null;
}

function emptyLedger(): Ledger {
  return {
    drafts: new Map(),
    lifetimeValueUsdCents: 0,
    sawRevenue: false,
    paid: [],
    firstPurchaseAtMs: null,
    trialEndsAtMs: null,
  };
}

const NO_SUBSCRIPTION: ReadonlySet<string> = new Set([
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
 * @param events of one subscriber, with those it received by transfer
 * @param nowMs UTC, ms
 */
export function deriveState(
  events: readonly LifecycleEvent[],
  snapshot: Snapshot | null,
  nowMs: number,
): SubscriberState {
  const ordered = distinct(events);
  let ledger = emptyLedger();
  let snapshotLeft = snapshot;
  for (const event of ordered) {
    if (snapshotLeft && event.atMs > snapshotLeft.takenAtMs) {
      overlay(ledger, snapshotLeft);
      snapshotLeft = null;
    }
    if (event.side === 'giver') {
      ledger = emptyLedger();
      continue;
    }
    if (!isDeliverable(event.kind) || NO_SUBSCRIPTION.has(event.kind)) continue;
    record(ledger, event);
  }
  if (snapshotLeft) overlay(ledger, snapshotLeft);
  return summarise(ledger, ordered, snapshot, nowMs);
}

function record(ledger: Ledger, event: LifecycleEvent): void {
  const key = draftKey(event);
  let draft = ledger.drafts.get(key);
  if (!draft) {
    draft = draftFrom(event);
    ledger.drafts.set(key, draft);
  }
  applyEvent(draft, event);
  if (isPurchase(event)) dropTemporary(ledger, event);
  if (environmentOf(event) === 'sandbox' || draft.promotional) return;

  if (isPurchase(event)) {
    const atMs = event.purchasedAtMs ?? event.atMs;
    ledger.firstPurchaseAtMs = Math.min(ledger.firstPurchaseAtMs ?? atMs, atMs);
  }
  if (event.periodType === 'TRIAL' && event.expiresAtMs !== null) ledger.trialEndsAtMs = event.expiresAtMs;
  addRevenue(ledger, event);
}

function isPurchase(event: LifecycleEvent): boolean {
  return (
    event.type === 'INITIAL_PURCHASE' ||
    event.type === 'RENEWAL' ||
    event.kind === 'non_subscription_purchase'
  );
}

/** The purchase that a store outage delayed may come under another transaction than the temporary grant named. */
function dropTemporary(ledger: Ledger, event: LifecycleEvent): void {
  for (const [key, draft] of ledger.drafts) {
    if (draft.temporary && draft.store === event.store && draft.environment === environmentOf(event)) {
      ledger.drafts.delete(key);
    }
  }
}

function addRevenue(ledger: Ledger, event: LifecycleEvent): void {
  if (event.isFamilyShare) return;
  const sign = isPurchase(event) || event.kind === 'refund_reversed' ? 1 : event.kind === 'refund' ? -1 : 0;
  if (sign === 0) return;
  if (event.priceUsdCents !== null) {
    ledger.lifetimeValueUsdCents += sign * Math.abs(event.priceUsdCents);
    ledger.sawRevenue = true;
  }
  if (event.price && event.price.amountMinor !== 0) {
    const amountMinor = sign * Math.abs(event.price.amountMinor);
    ledger.paid = addMoney(ledger.paid, { ...event.price, amountMinor });
  }
}

function overlay(ledger: Ledger, snapshot: Snapshot): void {
  const matched = new Set<Draft>();
  for (const item of snapshot.subscriptions) {
    let draft = findDraft(ledger, matched, (candidate) =>
      item.store === 'PROMOTIONAL'
        ? candidate.promotional && candidate.entitlements.some((key) => item.entitlements.includes(key))
        : candidate.environment === item.environment &&
          item.storeSubscriptionId !== null &&
          candidate.transactions.has(item.storeSubscriptionId),
    );
    draft ??= findDraft(
      ledger,
      matched,
      (candidate) =>
        !candidate.promotional &&
        candidate.environment === item.environment &&
        candidate.store === item.store &&
        candidate.productId !== null &&
        candidate.productId === item.productId,
    );
    if (!draft) {
      draft = draftFromSnapshot(item);
      ledger.drafts.set(draft.key, draft);
    }
    matched.add(draft);
    applySnapshot(draft, item, snapshot.takenAtMs);
  }
  for (const item of snapshot.purchases) {
    const draft = findDraft(
      ledger,
      matched,
      (candidate) =>
        candidate.environment === item.environment &&
        ((item.storePurchaseId !== null && candidate.transactions.has(item.storePurchaseId)) ||
          (candidate.oneTime && candidate.productId !== null && candidate.productId === item.productId)),
    );
    if (draft) {
      matched.add(draft);
      draft.productName = item.productName ?? draft.productName;
      if (item.status === 'refunded') draft.endedAtMs ??= snapshot.takenAtMs;
    } else if (item.entitlements.length > 0 && item.status === 'owned') {
      const added = draftFromPurchase(item);
      ledger.drafts.set(added.key, added);
      matched.add(added);
    }
  }
  // What RevenueCat no longer lists gives nothing any more, unless it says that the entitlement is active.
  const active = new Set(snapshot.activeEntitlements.map((entitlement) => entitlement.lookupKey));
  for (const draft of ledger.drafts.values()) {
    if (matched.has(draft) || draft.environment === 'sandbox') continue;
    if (draft.entitlements.some((key) => active.has(key))) continue;
    if (accessEndMs(draft) > snapshot.takenAtMs) draft.endedAtMs = snapshot.takenAtMs;
  }
}

function findDraft(
  ledger: Ledger,
  matched: ReadonlySet<Draft>,
  fits: (draft: Draft) => boolean,
): Draft | undefined {
  for (const draft of ledger.drafts.values()) if (!matched.has(draft) && fits(draft)) return draft;
  return undefined;
}

/** Those that give access first, then the latest; the key decides between equals. */
function compareSubscriptions(a: SubscriptionState, b: SubscriptionState): number {
  if (a.givesAccess !== b.givesAccess) return a.givesAccess ? -1 : 1;
  const byEnd = a.givesAccess ? 0 : compareEnds(b.endsAtMs, a.endsAtMs);
  if (byEnd !== 0) return byEnd;
  const byStart = (b.periodStartedAtMs ?? 0) - (a.periodStartedAtMs ?? 0);
  if (byStart !== 0) return byStart;
  return a.key < b.key ? -1 : 1;
}

function compareEnds(a: number | null, b: number | null): number {
  const left = a ?? Number.MAX_SAFE_INTEGER;
  const right = b ?? Number.MAX_SAFE_INTEGER;
  return left - right;
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
  for (const draft of ledger.drafts.values()) {
    // A consumable is a purchase and gives no access: it is on the timeline and in the sums.
    if (draft.oneTime && draft.entitlements.length === 0) continue;
    const state = finishDraft(draft, nowMs);
    if (draft.environment === 'sandbox') {
      sandbox.push(state);
      continue;
    }
    (draft.promotional ? grants : subscriptions).push(state);
    if (state.givesAccess) for (const key of draft.entitlements) addEntitlement(entitlements, key, draft);
  }
  for (const list of [subscriptions, grants, sandbox]) list.sort(compareSubscriptions);

  const best = subscriptions[0]?.givesAccess
    ? subscriptions[0]
    : grants[0]?.givesAccess
      ? grants[0]
      : undefined;
  const primary = best ?? [...subscriptions, ...grants].sort(compareSubscriptions)[0] ?? null;
  const last = ordered.findLast(
    (event) => isDeliverable(event.kind) && environmentOf(event) === 'production',
  );
  return {
    status: primary?.status ?? null,
    primary,
    subscriptions,
    grants,
    sandbox,
    entitlements: [...entitlements.values()].sort((a, b) => (a.lookupKey < b.lookupKey ? -1 : 1)),
    lifetimeValueUsdCents: ledger.sawRevenue ? ledger.lifetimeValueUsdCents : snapshotRevenue(snapshot),
    paid: ledger.paid,
    firstPurchaseAtMs: ledger.firstPurchaseAtMs ?? primary?.startedAtMs ?? null,
    trialEndsAtMs: ledger.trialEndsAtMs,
    billingIssueAtMs: primary?.billingIssueAtMs ?? null,
    lastEvent: last ? { kind: last.kind, type: last.type, atMs: last.atMs } : null,
    snapshotAtMs: snapshot?.takenAtMs ?? null,
  };
}

/** An entitlement lasts as long as anything gives it. */
function addEntitlement(entitlements: Map<string, EntitlementState>, lookupKey: string, draft: Draft): void {
  const endMs = accessEndMs(draft);
  const endsAtMs = Number.isFinite(endMs) ? endMs : null;
  const known = entitlements.get(lookupKey);
  if (known && (known.endsAtMs === null || (endsAtMs !== null && endsAtMs < known.endsAtMs))) return;
  const source = draft.promotional
    ? 'promotional'
    : draft.temporary
      ? 'temporary'
      : draft.oneTime
        ? 'purchase'
        : 'subscription';
  // Of two with the same end the paid one is named, whatever their order.
  if (known && known.endsAtMs === endsAtMs && (source === 'promotional' || known.source === 'subscription'))
    return;
  entitlements.set(lookupKey, {
    lookupKey,
    endsAtMs,
    source,
    productId: draft.productId,
    store: draft.store,
  });
}

function snapshotRevenue(snapshot: Snapshot | null): number {
  if (!snapshot) return 0;
  let cents = 0;
  for (const item of [...snapshot.subscriptions, ...snapshot.purchases]) {
    if (item.environment === 'production') cents += item.revenueUsdCents;
  }
  return cents;
}
