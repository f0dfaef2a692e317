import { applyEvent, isPurchase } from './apply-event.ts';
import { addMoney } from './money.ts';
import {
  accessEndMs,
  type Draft,
  draftFrom,
  endAccess,
  environmentOf,
  grantedEntitlement,
  isPromotional,
  type Sum,
} from './state-builder.ts';
import type { Environment, LifecycleEvent, Money } from './types.ts';

/** Everything that a replay keeps: drafts, ways to find them, and sums of production. */
export interface Ledger {
  readonly drafts: Map<string, Draft>;
  readonly byTransaction: Map<string, Draft>;
  readonly byProduct: Map<string, Draft>;
  /** Temporary grants that no purchase has replaced yet. */
  readonly temporary: Set<Draft>;
  /** Those with an announced change of product. */
  readonly changing: Set<Draft>;
  /** Active entitlements of the snapshot, until a later event speaks of them; values are ends, `null` never. */
  readonly told: Map<string, number | null>;
  lifetimeValueUsdCents: number;
  /** What was charged, refunds not subtracted. */
  chargedUsdCents: number;
  sawRevenue: boolean;
  /** Production revenue of the snapshot, for a history without prices. */
  toldRevenueUsdCents: number;
  paid: readonly Money[];
  firstPurchaseAtMs: number | null;
  firstPaidAtMs: number | null;
  trialEndsAtMs: number | null;
}

export function emptyLedger(): Ledger {
  return {
    drafts: new Map(),
    byTransaction: new Map(),
    byProduct: new Map(),
    temporary: new Set(),
    changing: new Set(),
    told: new Map(),
    lifetimeValueUsdCents: 0,
    chargedUsdCents: 0,
    sawRevenue: false,
    toldRevenueUsdCents: 0,
    paid: [],
    firstPurchaseAtMs: null,
    firstPaidAtMs: null,
    trialEndsAtMs: null,
  };
}

export function indexKey(environment: Environment, store: string | null, id: string): string {
  return `${environment}|${store ?? ''}|${id}`;
}

export function grantKey(environment: Environment, entitlement: string): string {
  return `${environment}|promotional|${entitlement}`;
}

/** Enters one event. */
export function record(ledger: Ledger, event: LifecycleEvent): void {
  const draft = draftOf(ledger, event);
  const sum = sumOf(draft, event);
  applyEvent(draft, event);
  index(ledger, draft, event);
  for (const key of draft.entitlements) ledger.told.delete(key);
  if (isPurchase(event)) replaceOthers(ledger, draft, event);
  if (event.kind === 'product_change') followChange(ledger, draft);
  if (sum) {
    if (sum.price) draft.paid = addMoney(draft.paid, sum.price);
    if (event.kind === 'refund') draft.refunded = signed(sum, 1);
  }
  if (draft.environment === 'sandbox' || draft.promotional) return;

  if (isPurchase(event) && !event.isFamilyShare) {
    const atMs = event.purchasedAtMs ?? event.atMs;
    ledger.firstPurchaseAtMs = Math.min(ledger.firstPurchaseAtMs ?? atMs, atMs);
  }
  if (event.periodType === 'TRIAL' && event.expiresAtMs !== null) ledger.trialEndsAtMs = event.expiresAtMs;
  if (!sum) return;
  if (sum.price && sum.price.amountMinor > 0) {
    const atMs = event.purchasedAtMs ?? event.atMs;
    ledger.firstPaidAtMs = Math.min(ledger.firstPaidAtMs ?? atMs, atMs);
  }
  if (sum.usdCents !== null) {
    ledger.lifetimeValueUsdCents += sum.usdCents;
    ledger.chargedUsdCents += Math.max(0, sum.usdCents);
    ledger.sawRevenue = true;
  }
  if (sum.price) ledger.paid = addMoney(ledger.paid, sum.price);
}

/** Which subscription an event belongs to: by its store's transaction, else by product. */
function draftOf(ledger: Ledger, event: LifecycleEvent): Draft {
  const environment = environmentOf(event);
  if (isPromotional(event)) return getOrAdd(ledger, event, grantKey(environment, grantedEntitlement(event)));
  const { transactionId, originalTransactionId, productId, store } = event;
  if (event.kind === 'temporary_entitlement_grant') {
    return getOrAdd(
      ledger,
      event,
      indexKey(environment, store, `temporary:${transactionId ?? productId ?? ''}`),
    );
  }
  const own = originalTransactionId ?? transactionId;
  if (event.type === 'NON_RENEWING_PURCHASE') {
    return getOrAdd(ledger, event, indexKey(environment, store, `${own ?? ''}:${productId ?? ''}`));
  }
  let found = own === null ? undefined : ledger.byTransaction.get(indexKey(environment, store, own));
  if (!found && transactionId !== null && transactionId !== own) {
    found = ledger.byTransaction.get(indexKey(environment, store, transactionId));
  }
  if (found?.oneTime && productId !== null && productId !== found.productId) {
    // One order of several products.
    found = ledger.drafts.get(indexKey(environment, store, `${own ?? ''}:${productId}`)) ?? found;
  }
  if (!found && productId !== null) {
    const sameProduct = ledger.byProduct.get(indexKey(environment, store, productId));
    // Two original transactions are two subscriptions, even of one product.
    if (sameProduct && (originalTransactionId === null || sameProduct.originalTransactionId === null)) {
      found = sameProduct;
    }
  }
  if (found && !(found.temporary && isPurchase(event))) return found;
  return getOrAdd(
    ledger,
    event,
    indexKey(environment, store, originalTransactionId ?? `product:${productId ?? ''}`),
  );
}

function getOrAdd(ledger: Ledger, event: LifecycleEvent, key: string): Draft {
  let draft = ledger.drafts.get(key);
  if (!draft) {
    draft = draftFrom(event, key);
    ledger.drafts.set(key, draft);
  }
  return draft;
}

function index(ledger: Ledger, draft: Draft, event: LifecycleEvent): void {
  if (draft.temporary) ledger.temporary.add(draft);
  if (draft.promotional) return;
  const { environment, store } = draft;
  if (event.originalTransactionId !== null) {
    ledger.byTransaction.set(indexKey(environment, store, event.originalTransactionId), draft);
  }
  if (event.transactionId !== null && event.transactionId !== event.originalTransactionId) {
    ledger.byTransaction.set(indexKey(environment, store, event.transactionId), draft);
  }
  if (!draft.temporary && !draft.oneTime && draft.productId !== null) {
    ledger.byProduct.set(indexKey(environment, store, draft.productId), draft);
  }
  if (draft.changeAnnounced) ledger.changing.add(draft);
  else ledger.changing.delete(draft);
}

/** A purchase replaces the temporary grant that stood in for it, and the subscription that was to change into it. */
function replaceOthers(ledger: Ledger, bought: Draft, event: LifecycleEvent): void {
  for (const draft of ledger.temporary) {
    if (draft.environment !== bought.environment || draft.store !== bought.store) continue;
    const same = draft.transactionId === null ? false : draft.transactionId === event.transactionId;
    // The purchase may come under another transaction and product than the grant named.
    if (!same && event.type !== 'INITIAL_PURCHASE') continue;
    ledger.temporary.delete(draft);
    ledger.drafts.delete(draft.key);
  }
  for (const draft of ledger.changing) {
    if (draft === bought || draft.environment !== bought.environment || draft.store !== bought.store)
      continue;
    // Google's immediate changes do not name the new product; what gives the same access is taken for it.
    const replaces =
      draft.pendingProductId === null
        ? event.type === 'INITIAL_PURCHASE' &&
          draft.entitlements.some((key) => bought.entitlements.includes(key))
        : draft.pendingProductId === bought.productId;
    if (replaces) replace(ledger, draft, bought);
  }
}

/** The purchase of the new product may have come before the change was announced. */
function followChange(ledger: Ledger, draft: Draft): void {
  if (draft.pendingProductId === null) return;
  const bought = ledger.byProduct.get(indexKey(draft.environment, draft.store, draft.pendingProductId));
  if (!bought || bought === draft || !bought.purchased) return;
  if ((bought.periodStartedAtMs ?? 0) >= (draft.periodStartedAtMs ?? 0)) replace(ledger, draft, bought);
}

function replace(ledger: Ledger, old: Draft, bought: Draft): void {
  old.pendingProductId = null;
  old.changeAnnounced = false;
  old.willRenew = false;
  ledger.changing.delete(old);
  const startMs = bought.periodStartedAtMs ?? 0;
  if (accessEndMs(old) > startMs) endAccess(old, startMs);
}

/** What an event adds to what was paid; negative for a refund, `null` for nothing. */
function sumOf(draft: Draft, event: LifecycleEvent): Sum | null {
  if (event.isFamilyShare || draft.promotional) return null;
  if (isPurchase(event)) return signed({ price: event.price, usdCents: event.priceUsdCents }, 1);
  if (event.kind !== 'refund' && event.kind !== 'refund_reversed') return null;
  const named = hasAmount(event.price?.amountMinor) || hasAmount(event.priceUsdCents);
  const stated: Sum = { price: event.price, usdCents: event.priceUsdCents };
  if (event.kind === 'refund') {
    if (named) return signed(stated, -1);
    return draft.charge && draft.refundedAtMs === null ? signed(draft.charge, -1) : null;
  }
  if (named) return signed(stated, 1);
  return draft.refunded ? signed(draft.refunded, 1) : null;
}

function hasAmount(amount: number | null | undefined): boolean {
  return amount != null && amount !== 0;
}

function signed(sum: Sum, sign: 1 | -1): Sum {
  const { price, usdCents } = sum;
  return {
    price:
      hasAmount(price?.amountMinor) && price
        ? { ...price, amountMinor: sign * Math.abs(price.amountMinor) }
        : null,
    // `|| 0` keeps a negative zero out of the state.
    usdCents: usdCents === null ? null : sign * Math.abs(usdCents) || 0,
  };
}
