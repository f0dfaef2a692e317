import type { Sql } from '../database/sql.ts';
import type { TimelineEntry } from '../subscribers/store.ts';
import type { GrantNotice } from '../subscription/summary.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import { listEventsSince } from './lookups.ts';
import { type Action, type Grant, grantEndMs, type StoreAction, type StoreActionKind } from './types.ts';

const GRANTED: ReadonlySet<Grant['state']> = new Set(['confirmed', 'revoking', 'revoked']);
/** RevenueCat's clock may be behind ours. */
const CLOCK_TOLERANCE_MS = 10 * MINUTE_MS;

/**
 * Grants made here whose webhook has not arrived, as the events that it will bring, oldest first. Each webhook
 * replaces one grant.
 *
 * @param marks the grants and revocations that webhooks have reported
 */
export function fallbackEvents(grants: readonly Grant[], marks: readonly GrantNotice[]): TimelineEntry[] {
  const unused = [...marks].sort((a, b) => a.atMs - b.atMs);
  const events: TimelineEntry[] = [];
  const removals = new Set<string>();
  for (const grant of [...grants].sort((a, b) => grantedAtMs(a) - grantedAtMs(b))) {
    // An unconfirmed removal leaves the grant where it was; a grant that changed nothing has no webhook.
    if (!GRANTED.has(grant.state) || grant.isUnchanged) continue;
    const atMs = grantedAtMs(grant);
    if (!takeMark(unused, grant, { kind: 'promotional_granted', atMs }))
      events.push(eventOf(grant, 'promotional_granted', atMs));
    // One removal ends all grants of an entitlement at the same time.
    const removal = `${grant.lookupKey}|${grant.revokedAtMs}`;
    if (grant.state === 'revoked' && grant.revokedAtMs !== null && !removals.has(removal)) {
      removals.add(removal);
      if (!takeMark(unused, grant, { kind: 'promotional_revoked', atMs: grant.revokedAtMs }))
        events.push(eventOf(grant, 'promotional_revoked', grant.revokedAtMs));
    }
  }
  return events.sort((a, b) => a.atMs - b.atMs);
}

/** A grant that waited for approval was made long after it was requested. */
function grantedAtMs(grant: Grant): number {
  return grant.calledAtMs ?? grant.createdAtMs;
}

function takeMark(marks: GrantNotice[], grant: Grant, wanted: Pick<GrantNotice, 'kind' | 'atMs'>): boolean {
  const index = marks.findIndex(
    (mark) =>
      mark.kind === wanted.kind &&
      mark.entitlements.includes(grant.lookupKey) &&
      mark.atMs > wanted.atMs - CLOCK_TOLERANCE_MS &&
      mark.atMs < wanted.atMs + DAY_MS,
  );
  if (index < 0) return false;
  marks.splice(index, 1);
  return true;
}

function eventOf(grant: Grant, kind: GrantNotice['kind'], atMs: number): TimelineEntry {
  return {
    ...baseEvent(grant, atMs),
    id: `grant-${grant.actionId}-${kind}`,
    type: kind === 'promotional_granted' ? 'NON_RENEWING_PURCHASE' : 'CANCELLATION',
    kind,
    store: 'PROMOTIONAL',
    entitlements: [grant.lookupKey],
    periodType: 'PROMOTIONAL',
    purchasedAtMs: grantedAtMs(grant),
    expiresAtMs: grantEndMs(grant),
    cancelReason: kind === 'promotional_revoked' ? 'DEVELOPER_INITIATED' : null,
  };
}

type StoreEvent = 'cancellation' | 'refund' | 'subscription_extended' | 'transfer';

/** The event that RevenueCat sends after an action; a portal link and a restored order have none. */
const STORE_EVENTS: Partial<Record<StoreActionKind, { readonly kind: StoreEvent; readonly type: string }>> = {
  cancel: { kind: 'cancellation', type: 'CANCELLATION' },
  refund: { kind: 'refund', type: 'CANCELLATION' },
  extend: { kind: 'subscription_extended', type: 'SUBSCRIPTION_EXTENDED' },
  transfer: { kind: 'transfer', type: 'TRANSFER' },
};

/** Store actions done here whose webhook has not arrived, as the events that it will bring. */
export async function storeFallbackEvents(sql: Sql, actions: readonly Action[]): Promise<TimelineEntry[]> {
  const done = actions.flatMap((action) => {
    const event = action.kind === 'grant' ? undefined : STORE_EVENTS[action.kind];
    return action.kind !== 'grant' && action.state === 'confirmed' && event
      ? [{ action, event, atMs: action.calledAtMs ?? action.createdAtMs }]
      : [];
  });
  const [first] = done;
  if (!first) return [];
  const sinceMs = Math.min(...done.map(({ atMs }) => atMs)) - CLOCK_TOLERANCE_MS;
  const kinds = done.map(({ event }) => event.kind);
  const notices = await listEventsSince(sql, { ...first.action, kinds }, sinceMs);
  const unannounced = (
    from: typeof done,
    isAbout: (productId: string | null, action: StoreAction) => boolean,
  ) =>
    from.filter(({ action, event, atMs }) => {
      const index = notices.findIndex(
        (notice) =>
          notice.kind === event.kind &&
          notice.atMs > atMs - CLOCK_TOLERANCE_MS &&
          notice.atMs < atMs + DAY_MS &&
          isAbout(notice.productId, action),
      );
      if (index >= 0) notices.splice(index, 1);
      return index < 0;
    });
  // The webhook of another product's refund is the last choice: stores name a product by several ids.
  const others = unannounced(done, (productId, { details }) => productId === details.productId);
  return unannounced(others, () => true).map(({ action, event, atMs }) =>
    storeEventOf(action, { ...event, atMs }),
  );
}

function storeEventOf(
  action: StoreAction,
  event: { readonly kind: StoreEvent; readonly type: string; readonly atMs: number },
): TimelineEntry {
  const { details } = action;
  const isRefund = event.kind === 'refund';
  return {
    ...baseEvent(action, event.atMs),
    id: `action-${action.actionId}`,
    type: event.type,
    kind: event.kind,
    store: details.store,
    productId: details.productId ?? null,
    expiresAtMs: (details.after ?? details.before)?.endsAtMs ?? null,
    cancelReason: isRefund ? 'CUSTOMER_SUPPORT' : event.kind === 'cancellation' ? 'UNSUBSCRIBE' : null,
    price:
      isRefund && details.amount ? { ...details.amount, amountMinor: -details.amount.amountMinor } : null,
    transactionId: details.transactionId ?? null,
    transferredFrom: event.kind === 'transfer' ? [action.appUserId] : [],
    transferredTo: event.kind === 'transfer' ? [action.target] : [],
  };
}

/** An event made here: it is in no journal and goes to no contact. */
function baseEvent(action: Action, atMs: number): Omit<TimelineEntry, 'id' | 'type' | 'kind'> {
  return {
    atMs,
    appUserId: action.appUserId,
    side: 'customer',
    isWithinCustomer: false,
    receivedByTransferAtMs: null,
    appId: null,
    environment: 'production',
    store: null,
    productId: null,
    newProductId: null,
    entitlements: [],
    periodType: null,
    purchasedAtMs: null,
    expiresAtMs: null,
    gracePeriodEndsAtMs: null,
    resumesAtMs: null,
    isTrialConversion: false,
    cancelReason: null,
    expirationReason: null,
    price: null,
    priceUsdCents: null,
    transactionId: null,
    originalTransactionId: null,
    isFamilyShare: false,
    renewalNumber: null,
    offerCode: null,
    country: null,
    transferredFrom: [],
    transferredTo: [],
    raw: {},
    projectId: action.projectId,
    receivedAtMs: action.createdAtMs,
    delivery: {
      state: 'skipped',
      reason: 'grant',
      attempts: 0,
      nextTryAtMs: null,
      deliveredAtMs: null,
      firstTriedAtMs: null,
      mark: null,
    },
  };
}
