import { DAY_MS, FOREVER_MS, isForever } from '../time.ts';
import { isPurchase } from './apply-event.ts';
import { isGrant } from './kinds.ts';
import type { LifecycleEvent } from './read-event.ts';
import type { SubscriberState, SubscriptionState } from './types.ts';

export type SegmentKind = 'trial' | 'paid' | 'grace' | 'paused' | 'granted';
export type MarkerKind = 'payment' | 'refund' | 'failed' | 'cancelled';

/** A customer's production history as it is drawn on one timeline. */
export type Picture = NonNullable<ReturnType<typeof pictureOf>>;

export interface Marker {
  readonly kind: MarkerKind;
  readonly atMs: number;
}

const MAX_PAST_MS = 730 * DAY_MS;
const MAX_FUTURE_MS = 366 * DAY_MS;
/** Only the newest events are drawn; more would be too close together to be seen. */
export const MAX_PICTURE_EVENTS = 500;

/** A span of access or of a pause; without an end, `toMs` is `FOREVER_MS`. */
interface OpenSegment {
  readonly kind: SegmentKind;
  /** Periods of one purchase do not overlap: each ends when the next one begins. So do grants of one entitlement. */
  readonly purchase: string;
  readonly product: string;
  readonly store: string | null;
  readonly fromMs: number;
  toMs: number;
}

/**
 * Segments come from the events. The end of the last segment of each product comes from the state, which also includes
 * the snapshot, extensions and refunds. `null`: nothing was ever bought or granted.
 */
export function pictureOf(events: readonly LifecycleEvent[], state: SubscriberState, nowMs: number) {
  const segments: OpenSegment[] = [];
  const ordered = events
    .filter(({ environment }) => environment !== 'sandbox')
    .sort((a, b) => a.atMs - b.atMs)
    .slice(-MAX_PICTURE_EVENTS);
  for (const event of ordered) addEvent(segments, event);
  const seen = new Set<string>();
  for (const subscription of [...state.subscriptions, ...state.grants]) {
    const product = productKey(subscription);
    // The state lists the current one of several subscriptions to a product first.
    if (!seen.has(product)) applyState(segments, subscription, product);
    seen.add(product);
  }
  const earliestMs = nowMs - MAX_PAST_MS;
  const shown = segments.filter(({ fromMs, toMs }) => toMs > Math.max(fromMs, earliestMs));
  const markers = ordered.flatMap(markersOf).filter(({ atMs }) => atMs >= earliestMs);
  if (shown.length + markers.length === 0) return null;
  const startsMs = [...shown.map(({ fromMs }) => fromMs), ...markers.map(({ atMs }) => atMs)];
  const lastEndMs = Math.max(...shown.map(({ toMs }) => toMs), nowMs + 2 * DAY_MS);
  return {
    fromMs: Math.max(Math.min(...startsMs, nowMs - DAY_MS), earliestMs),
    toMs: Math.min(lastEndMs, nowMs + MAX_FUTURE_MS),
    nowMs,
    segments: shown.map((segment) => ({
      ...segment,
      /** Whether to draw it in the second row, because its purchase overlaps with an earlier one. */
      isOverlapping: isOverlapping(segment, shown),
    })),
    markers,
  };
}

function addEvent(segments: OpenSegment[], event: LifecycleEvent): void {
  const { atMs, expiresAtMs, gracePeriodEndsAtMs, kind, store } = event;
  const product = productKey(event);
  const purchase = isGrant(event) ? product : (event.originalTransactionId ?? product);
  const ofPurchase = segments.filter((each) => each.purchase === purchase);
  const add = (added: SegmentKind, fromMs: number, toMs: number | null): void => {
    endAt(ofPurchase, fromMs);
    segments.push({ kind: added, purchase, product, store, fromMs, toMs: endOf(toMs) });
  };
  if (kind === 'billing_issue' && gracePeriodEndsAtMs !== null) add('grace', atMs, gracePeriodEndsAtMs);
  else if (kind === 'subscription_paused') add('paused', expiresAtMs ?? atMs, event.resumesAtMs);
  else if (kind === 'transfer' && event.side === 'source' && !event.isWithinCustomer) {
    const taken = segments.filter((each) => store === null || store === each.store);
    endAt(taken, atMs);
  } else if (kind === 'promotional_revoked') endAt(ofPurchase, atMs);
  else if (kind === 'expiration' && event.expirationReason !== 'SUBSCRIPTION_PAUSED') endAt(ofPurchase, atMs);
  else if (isPurchase(event) || kind === 'promotional_granted') {
    // A consumable gives no access.
    if (kind === 'non_subscription_purchase' && event.entitlements.length === 0) return;
    const paid = event.periodType === 'TRIAL' ? 'trial' : 'paid';
    add(isGrant(event) ? 'granted' : paid, event.purchasedAtMs ?? atMs, expiresAtMs);
  }
}

function endAt(segments: readonly OpenSegment[], atMs: number): void {
  for (const segment of segments) segment.toMs = Math.min(segment.toMs, atMs);
}

function applyState(segments: OpenSegment[], subscription: SubscriptionState, product: string): void {
  const { accessEndsAtMs, givesAccess, periodStartedAtMs, startedAtMs, status, store } = subscription;
  const toMs = endOf(accessEndsAtMs);
  const fromMs = periodStartedAtMs ?? startedAtMs;
  const ofProduct = segments.filter((each) => each.product === product && each.kind !== 'paused');
  const last = ofProduct.at(-1);
  if (last) {
    if (givesAccess) last.toMs = toMs;
    endAt(ofProduct, toMs);
  }
  // The subscription was imported without its events.
  else if (fromMs !== null && !subscription.isIncomplete) {
    const kind = product.startsWith('granted') ? 'granted' : status.includes('trial') ? 'trial' : 'paid';
    segments.push({ kind, purchase: product, product, store, fromMs, toMs });
  }
}

type Bought = Pick<LifecycleEvent, 'productId' | 'store' | 'entitlements'>;

function productKey({ productId, store, entitlements }: Bought): string {
  return store === 'PROMOTIONAL' ? `granted|${entitlements.join()}` : `${store}|${productId}`;
}

function isOverlapping({ kind, purchase }: OpenSegment, segments: readonly OpenSegment[]): boolean {
  const ofPurchase = segments.filter((each) => each.purchase === purchase);
  return segments
    .slice(0, segments.indexOf(ofPurchase[0] as OpenSegment))
    .filter((each) => (each.kind === 'granted') === (kind === 'granted'))
    .some((earlier) => ofPurchase.some(({ fromMs, toMs }) => fromMs < earlier.toMs && earlier.fromMs < toMs));
}

function endOf(endsAtMs: number | null): number {
  return endsAtMs === null || isForever(endsAtMs) ? FOREVER_MS : endsAtMs;
}

function markersOf(event: LifecycleEvent): Marker[] {
  const { atMs, cancelReason, kind, price } = event;
  if (kind === 'refund') return [{ kind, atMs }];
  if (kind === 'billing_issue') return [{ kind: 'failed', atMs }];
  // A failed payment arrives as a cancellation, too.
  const isCancelled = kind === 'trial_cancelled' || kind === 'cancellation';
  if (isCancelled && cancelReason !== 'BILLING_ERROR') return [{ kind: 'cancelled', atMs }];
  const isPaid = isPurchase(event) && (price?.amountMinor ?? 0) > 0;
  return isPaid ? [{ kind: 'payment', atMs: event.purchasedAtMs ?? atMs }] : [];
}
