import type { TimelineEntry } from '../subscribers/store.ts';
import type { GrantNotice } from '../subscription/summary.ts';
import { DAY_MS, MINUTE_MS } from '../time.ts';
import { type Grant, grantEndMs } from './types.ts';

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
    id: `grant-${grant.actionId}-${kind}`,
    type: kind === 'promotional_granted' ? 'NON_RENEWING_PURCHASE' : 'CANCELLATION',
    kind,
    atMs,
    appUserId: grant.appUserId,
    side: 'customer',
    isWithinCustomer: false,
    receivedByTransferAtMs: null,
    appId: null,
    environment: 'production',
    store: 'PROMOTIONAL',
    productId: null,
    newProductId: null,
    entitlements: [grant.lookupKey],
    periodType: 'PROMOTIONAL',
    purchasedAtMs: grantedAtMs(grant),
    expiresAtMs: grantEndMs(grant),
    gracePeriodEndsAtMs: null,
    resumesAtMs: null,
    isTrialConversion: false,
    cancelReason: kind === 'promotional_revoked' ? 'DEVELOPER_INITIATED' : null,
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
    projectId: grant.projectId,
    receivedAtMs: grant.createdAtMs,
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
