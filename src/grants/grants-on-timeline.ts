import type { TimelineEntry } from '../subscribers/store.ts';
import type { PromotionalMark } from '../subscription/summary.ts';
import { DAY_MS } from '../time.ts';
import type { Grant } from './types.ts';

const MADE: ReadonlySet<Grant['state']> = new Set(['confirmed', 'revoking', 'revoked']);
/** RevenueCat's clock may be behind ours. */
const EARLIER_MS = 10 * 60_000;

/**
 * Grants made here whose webhook has not come yet, as the events that it will bring, oldest first. Each webhook
 * takes the place of one grant.
 *
 * @param marks what webhooks have told of grants
 */
export function standInsFor(grants: readonly Grant[], marks: readonly PromotionalMark[]): TimelineEntry[] {
  const left = [...marks].sort((a, b) => a.atMs - b.atMs);
  const fallbackEvents: TimelineEntry[] = [];
  const removals = new Set<string>();
  for (const grant of [...grants].sort((a, b) => madeAt(a) - madeAt(b))) {
    // A removal that is not read back yet leaves the grant where it was; one that changed nothing has no webhook.
    if (!MADE.has(grant.state) || grant.kept) continue;
    const madeAtMs = madeAt(grant);
    if (!takeMark(left, grant, 'promotional_granted', madeAtMs)) {
      fallbackEvents.push(eventOf(grant, 'NON_RENEWING_PURCHASE', 'promotional_granted', madeAtMs));
    }
    // One removal ends all grants of an entitlement at the same moment.
    const removal = `${grant.lookupKey}|${grant.revokedAtMs}`;
    if (grant.state === 'revoked' && grant.revokedAtMs !== null && !removals.has(removal)) {
      removals.add(removal);
      if (!takeMark(left, grant, 'promotional_revoked', grant.revokedAtMs)) {
        fallbackEvents.push(eventOf(grant, 'CANCELLATION', 'promotional_revoked', grant.revokedAtMs));
      }
    }
  }
  return fallbackEvents.sort((a, b) => a.atMs - b.atMs);
}

/** One that waited for approval was made long after it was asked for. */
function madeAt(grant: Grant): number {
  return grant.askedAtMs ?? grant.createdAtMs;
}

function takeMark(
  marks: PromotionalMark[],
  grant: Grant,
  kind: PromotionalMark['kind'],
  atMs: number,
): boolean {
  const index = marks.findIndex(
    (mark) =>
      mark.kind === kind &&
      mark.entitlements.includes(grant.lookupKey) &&
      mark.atMs > atMs - EARLIER_MS &&
      mark.atMs < atMs + DAY_MS,
  );
  if (index < 0) return false;
  marks.splice(index, 1);
  return true;
}

function eventOf(grant: Grant, type: string, kind: PromotionalMark['kind'], atMs: number): TimelineEntry {
  return {
    id: `grant-${grant.grantId}-${kind}`,
    type,
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
    purchasedAtMs: madeAt(grant),
    expiresAtMs: grant.realEndMs ?? grant.askedEndMs,
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
