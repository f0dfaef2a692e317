import fc from 'fast-check';
import { type LifecycleEvent, readEvent } from '../../src/subscription/read-event.ts';
import type { Snapshot, SnapshotSubscription, SubscriptionStatus } from '../../src/subscription/types.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/time.ts';
import { apiSubscription, snapshotOf } from './histories.ts';

/**
 * Simulated stores that sell subscriptions to two customers and send the webhooks that RevenueCat documents. The
 * stores' own records are the truth that the derived state must agree with.
 */
const STORES = ['APP_STORE', 'PLAY_STORE', 'STRIPE', 'RC_BILLING', 'AMAZON', 'ROKU'] as const;
type Store = (typeof STORES)[number];
export const CUSTOMERS = ['ann', 'bob'] as const;
type Customer = (typeof CUSTOMERS)[number];

interface Plan {
  readonly productId: string;
  readonly entitlement: string;
  readonly days: number;
  readonly cents: number;
}

const PLANS: readonly Plan[] = [
  { productId: 'pro_monthly', entitlement: 'pro', days: 30, cents: 999 },
  { productId: 'pro_yearly', entitlement: 'pro', days: 365, cents: 5999 },
  { productId: 'max_monthly', entitlement: 'max', days: 30, cents: 1999 },
];

type Start = 'normal' | 'trial' | 'intro' | 'family' | 'family_trial';

export type Action =
  | { readonly kind: 'subscribe'; readonly store: Store; readonly plan: number; readonly start: Start }
  | {
      readonly kind:
        | 'cancel'
        | 'uncancel'
        | 'refund'
        | 'reverse'
        | 'pause'
        | 'extend'
        | 'resubscribe'
        | 'transfer'
        | 'consent_required'
        | 'consent_approved';
      readonly which: number;
    }
  | { readonly kind: 'change'; readonly which: number; readonly plan: number; readonly deferred: boolean }
  /** How the stores handle renewals that come due. */
  | { readonly kind: 'wait'; readonly hours: number; readonly renewals: readonly Renewal[] };

export type Renewal = 'paid' | 'grace' | 'no_grace' | 'recovers' | 'silent';

const which = fc.integer({ min: 0, max: 3 });
const plan = fc.integer({ min: 0, max: PLANS.length - 1 });
const simple = fc.constantFrom(
  'cancel',
  'uncancel',
  'refund',
  'reverse',
  'pause',
  'extend',
  'resubscribe',
  'transfer',
  'consent_required',
  'consent_approved',
) as fc.Arbitrary<Exclude<Action, { plan: number } | { hours: number }>['kind']>;

const wait: fc.Arbitrary<Action> = fc.record({
  kind: fc.constant('wait' as const),
  hours: fc.oneof(fc.integer({ min: 4, max: 72 }), fc.integer({ min: 72, max: 24 * 45 })),
  renewals: fc.array(
    fc.constantFrom<Renewal>('paid', 'paid', 'paid', 'grace', 'no_grace', 'recovers', 'silent'),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
});

const subscribe: fc.Arbitrary<Action> = fc.record({
  kind: fc.constant('subscribe' as const),
  store: fc.constantFrom(...STORES),
  plan,
  start: fc.constantFrom<Start>('normal', 'normal', 'trial', 'intro', 'family', 'family_trial'),
});

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 2, arbitrary: subscribe },
  { weight: 6, arbitrary: fc.record({ kind: simple, which }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('change' as const), which, plan, deferred: fc.boolean() }),
  },
  { weight: 8, arbitrary: wait },
);

export const life = fc
  .tuple(subscribe, wait, fc.array(action, { maxLength: 12 }))
  .map(([first, second, rest]) => [first, second, ...rest]);

/** A store's own record of one subscription. */
export interface Truth {
  readonly store: Store;
  readonly id: string;
  owner: Customer;
  readonly owners: { readonly sinceMs: number; readonly owner: Customer }[];
  readonly family: boolean;
  readonly boughtAtMs: number;
  plan: Plan;
  pending: Plan | null;
  period: 'TRIAL' | 'INTRO' | 'NORMAL';
  startMs: number;
  /** The start of the period as the store's webhooks name it. */
  statedStartMs: number;
  endMs: number;
  autoRenew: boolean;
  graceEndMs: number | null;
  failedAtMs: number | null;
  isPauseScheduled: boolean;
  resumesAtMs: number | null;
  isPaused: boolean;
  refundedAtMs: number | null;
  /** When access ended, if that was before the end of the period. */
  revokedAtMs: number | null;
  awaitsConsent: boolean;
  isReplaced: boolean;
  /** Ended, and nothing comes due any more. */
  isOver: boolean;
  transactions: number;
}

const START_MS = Date.UTC(2026, 0, 1);

export class World {
  nowMs = START_MS;
  readonly truths: Truth[] = [];
  readonly #sent: {
    readonly truth: Truth | null;
    readonly owner: Customer;
    readonly event: LifecycleEvent;
  }[] = [];
  readonly paidCents = new Map<string, number>();
  #count = 0;
  #renewals: Renewal[] = [];

  /** Events by customer: a webhook names the owner at the time when it is generated. */
  stored(): Map<string, LifecycleEvent[]> {
    const stored = new Map<string, LifecycleEvent[]>(CUSTOMERS.map((customer) => [customer, []]));
    for (const { truth, owner, event } of this.#sent) {
      const at = truth?.owners.findLast(({ sinceMs }) => sinceMs < event.atMs)?.owner ?? owner;
      stored.get(at)?.push(event);
    }
    return stored;
  }

  live(actions: readonly Action[]): void {
    for (const each of actions) {
      if (each.kind === 'wait') this.#wait(each.hours * HOUR_MS, [...each.renewals]);
      else {
        // Webhooks take up to two hours: the order of actions closer together, or in the same millisecond, is unknown.
        this.#wait(MINUTE_MS, ['paid']);
        this.#act(each);
        this.#wait(3 * HOUR_MS, ['paid']);
      }
    }
  }

  #act(each: Exclude<Action, { kind: 'wait' }>): void {
    if (each.kind === 'subscribe') {
      this.#subscribe(each);
      return;
    }
    const truth = this.truths[each.which % Math.max(1, this.truths.length)];
    if (!truth || truth.isReplaced) return;
    if (each.kind === 'change') this.#change(truth, PLANS[each.plan] ?? truth.plan, each.deferred);
    else this.#simple(truth, each.kind);
  }

  #subscribe({ store, plan: index, start }: Extract<Action, { kind: 'subscribe' }>): void {
    const chosen = PLANS[index];
    const isOwned = this.truths.some(
      (each) => (each.plan === chosen || each.pending === chosen) && !each.isReplaced,
    );
    if (!chosen || isOwned || this.truths.length >= 4) return;
    const family = start.startsWith('family') && store === 'APP_STORE';
    const period = start.endsWith('trial') ? 'TRIAL' : start === 'intro' ? 'INTRO' : 'NORMAL';
    this.#begin({ store, owner: 'ann', family }, chosen, period);
  }

  #begin(
    { store, owner, family }: Pick<Truth, 'store' | 'owner' | 'family'>,
    chosen: Plan,
    period: Truth['period'],
  ): void {
    const days = period === 'TRIAL' ? 7 : chosen.days;
    const truth: Truth = {
      store,
      id: `${store}-${this.truths.length}`,
      owner,
      owners: [{ sinceMs: 0, owner }],
      family,
      boughtAtMs: this.nowMs,
      plan: chosen,
      pending: null,
      period,
      startMs: this.nowMs,
      statedStartMs: this.nowMs,
      endMs: this.nowMs + days * DAY_MS,
      autoRenew: true,
      graceEndMs: null,
      failedAtMs: null,
      isPauseScheduled: false,
      resumesAtMs: null,
      isPaused: false,
      refundedAtMs: null,
      revokedAtMs: null,
      awaitsConsent: false,
      isReplaced: false,
      isOver: false,
      transactions: 0,
    };
    this.truths.push(truth);
    this.#charge(truth, 'INITIAL_PURCHASE', this.nowMs);
  }

  #simple(truth: Truth, kind: Exclude<Action, { plan: number } | { hours: number }>['kind']): void {
    const running = this.nowMs < accessEndOf(truth);
    switch (kind) {
      case 'cancel':
        if (!running || !truth.autoRenew || truth.isPauseScheduled || truth.failedAtMs !== null) return;
        truth.autoRenew = false;
        truth.pending = null;
        truth.awaitsConsent = false;
        this.#send(truth, 'CANCELLATION', { cancel_reason: 'UNSUBSCRIBE' }, this.nowMs + HOUR_MS);
        return;
      case 'uncancel':
        if (!running || truth.autoRenew || truth.failedAtMs !== null) return;
        truth.autoRenew = true;
        truth.isPauseScheduled = false;
        truth.resumesAtMs = null;
        this.#send(truth, 'UNCANCELLATION', {});
        return;
      case 'refund':
        this.#refund(truth);
        return;
      case 'reverse':
        if (truth.store !== 'APP_STORE' || truth.refundedAtMs === null || this.nowMs >= truth.endMs) return;
        truth.refundedAtMs = null;
        truth.revokedAtMs = null;
        this.#add(truth, truth.plan.cents);
        this.#send(truth, 'REFUND_REVERSED', price(truth.plan.cents));
        return;
      case 'pause':
        if (truth.store !== 'PLAY_STORE' || !running || !truth.autoRenew || truth.failedAtMs !== null) return;
        truth.autoRenew = false;
        truth.awaitsConsent = false;
        truth.isPauseScheduled = true;
        truth.resumesAtMs = truth.endMs + 30 * DAY_MS;
        this.#send(truth, 'SUBSCRIPTION_PAUSED', { auto_resume_at_ms: truth.resumesAtMs });
        return;
      case 'extend':
        if (!running || truth.failedAtMs !== null || truth.isPauseScheduled) return;
        truth.endMs += 5 * DAY_MS;
        this.#send(truth, 'SUBSCRIPTION_EXTENDED', {});
        return;
      case 'resubscribe':
        if (running || truth.isPaused || (truth.store !== 'APP_STORE' && truth.store !== 'ROKU')) return;
        this.#renew(truth, this.nowMs, truth.plan);
        return;
      case 'transfer':
        this.#transfer(truth);
        return;
      case 'consent_required':
      case 'consent_approved': {
        const isRequired = kind === 'consent_required';
        if (!running || !truth.autoRenew || truth.awaitsConsent === isRequired || truth.failedAtMs !== null)
          return;
        truth.awaitsConsent = isRequired;
        this.#send(truth, `PRICE_INCREASE_CONSENT_${isRequired ? 'REQUIRED' : 'APPROVED'}`, {
          expiration_at_ms: null,
          purchased_at_ms: null,
          period_type: null,
        });
        return;
      }
    }
  }

  #refund(truth: Truth): void {
    if (truth.family || truth.period !== 'NORMAL' || truth.refundedAtMs !== null) return;
    if (this.nowMs >= truth.endMs || truth.revokedAtMs !== null) return;
    truth.refundedAtMs = this.nowMs;
    this.#add(truth, -truth.plan.cents);
    const refund = { cancel_reason: 'CUSTOMER_SUPPORT', ...price(-truth.plan.cents) };
    if (truth.store === 'PLAY_STORE') {
      this.#send(truth, 'CANCELLATION', refund);
      return;
    }
    truth.revokedAtMs = this.nowMs;
    // RevenueCat may set the end to the time of the refund, or back to that of the purchase.
    const endMs = this.#count % 2 === 0 ? this.nowMs : truth.statedStartMs;
    this.#send(truth, 'CANCELLATION', { ...refund, expiration_at_ms: endMs });
    this.#send(
      truth,
      'EXPIRATION',
      { expiration_reason: 'CUSTOMER_SUPPORT', expiration_at_ms: endMs },
      this.nowMs + 60_000,
    );
  }

  /** A change that takes effect immediately, or with the next renewal. */
  #change(truth: Truth, to: Plan, isDeferred: boolean): void {
    const { store, plan: from } = truth;
    const isTaken = this.truths.some((each) => each.plan === to || each.pending === to);
    const isPossible = store === 'APP_STORE' || store === 'PLAY_STORE' || store === 'STRIPE';
    if (!isPossible || isTaken || truth.family || truth.failedAtMs !== null || truth.isPauseScheduled) return;
    if (this.nowMs >= accessEndOf(truth) || !truth.autoRenew || truth.period !== 'NORMAL') return;
    if (isDeferred) {
      if (store === 'STRIPE') return;
      truth.pending = to;
      this.#send(truth, 'PRODUCT_CHANGE', { new_product_id: to.productId });
      return;
    }
    const change = { product_id: from.productId, entitlement_ids: [from.entitlement] };
    if (store === 'PLAY_STORE') {
      truth.isReplaced = true;
      truth.autoRenew = false;
      truth.revokedAtMs = this.nowMs;
      const offsetMs = [-1_000, 0, 1_000][this.#count % 3] ?? 0;
      this.#send(truth, 'PRODUCT_CHANGE', { ...change, expiration_at_ms: this.nowMs }, this.nowMs + offsetMs);
      this.#begin(truth, to, 'NORMAL');
      // A late webhook about the replaced subscription.
      this.#send(
        truth,
        'CANCELLATION',
        { cancel_reason: 'UNSUBSCRIBE', expiration_at_ms: this.nowMs },
        this.nowMs + HOUR_MS,
      );
      return;
    }
    const oldStartMs = truth.statedStartMs;
    const oldEndMs = truth.endMs;
    this.#send(truth, 'PRODUCT_CHANGE', {
      ...change,
      new_product_id: store === 'APP_STORE' ? to.productId : null,
    });
    const stated = store === 'STRIPE' ? oldStartMs : this.nowMs;
    this.#renew(truth, this.nowMs, to, stated);
    const late = {
      ...change,
      cancel_reason: 'UNSUBSCRIBE',
      purchased_at_ms: oldStartMs,
      expiration_at_ms: oldEndMs,
    };
    this.#send(truth, 'CANCELLATION', late, this.nowMs + HOUR_MS);
  }

  #transfer(truth: Truth): void {
    const from = truth.owner;
    const to = from === 'ann' ? 'bob' : 'ann';
    this.#count += 1;
    const body = {
      id: `T${this.#count}`,
      type: 'TRANSFER',
      event_timestamp_ms: this.nowMs,
      store: truth.store,
      environment: 'PRODUCTION',
      transferred_from: [from],
      transferred_to: [to],
    };
    for (const [owner, side] of [
      [from, 'source'],
      [to, 'customer'],
    ] as const) {
      const event = readEvent(body, { receivedAtMs: this.nowMs, fallbackId: '', side });
      this.#sent.push({ truth: null, owner, event });
    }
    for (const each of this.truths) {
      if (each.store !== truth.store || each.owner !== from) continue;
      each.owner = to;
      each.owners.push({ sinceMs: this.nowMs, owner: to });
    }
  }

  #wait(ms: number, renewals: Renewal[]): void {
    const untilMs = this.nowMs + ms;
    this.#renewals = renewals;
    for (;;) {
      const due = this.truths
        .map((truth) => ({ truth, atMs: dueAt(truth) }))
        .filter(({ atMs }) => atMs <= untilMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (!due) break;
      this.nowMs = due.atMs;
      this.#fallDue(due.truth);
    }
    this.nowMs = untilMs;
  }

  #fallDue(truth: Truth): void {
    if (truth.isPaused) {
      this.#renew(truth, this.nowMs, truth.plan);
      return;
    }
    if (truth.graceEndMs !== null) {
      const graceEndMs = truth.graceEndMs;
      truth.autoRenew = false;
      truth.isOver = true;
      // The webhook still names the end of the period, not that of the grace period.
      if (this.#next() !== 'silent')
        this.#send(truth, 'EXPIRATION', { expiration_reason: 'BILLING_ERROR' }, graceEndMs + HOUR_MS);
      return;
    }
    if (truth.isPauseScheduled) {
      truth.isPauseScheduled = false;
      truth.isPaused = true;
      this.#send(truth, 'EXPIRATION', { expiration_reason: 'SUBSCRIPTION_PAUSED' });
      return;
    }
    const outcome = this.#next();
    if (!truth.autoRenew || truth.awaitsConsent) {
      truth.autoRenew = false;
      truth.isOver = true;
      if (outcome !== 'silent' && truth.revokedAtMs === null)
        this.#send(truth, 'EXPIRATION', { expiration_reason: 'UNSUBSCRIBE' }, this.nowMs + HOUR_MS);
      return;
    }
    if (outcome === 'paid' || outcome === 'silent' || truth.revokedAtMs !== null) {
      this.#renew(truth, this.nowMs, truth.pending ?? truth.plan);
      return;
    }
    truth.failedAtMs = this.nowMs;
    if (outcome === 'no_grace') {
      truth.autoRenew = false;
      truth.isOver = true;
      this.#send(truth, 'BILLING_ISSUE', { grace_period_expiration_at_ms: null });
      this.#send(truth, 'CANCELLATION', { cancel_reason: 'BILLING_ERROR' });
      this.#send(truth, 'EXPIRATION', { expiration_reason: 'BILLING_ERROR' });
      return;
    }
    const graceEndMs = truth.endMs + 16 * DAY_MS;
    this.#send(truth, 'BILLING_ISSUE', { grace_period_expiration_at_ms: graceEndMs });
    if (outcome === 'recovers') this.#renew(truth, this.nowMs, truth.pending ?? truth.plan);
    else truth.graceEndMs = graceEndMs;
  }

  #next(): Renewal {
    const [first = 'paid', ...rest] = this.#renewals;
    if (rest.length > 0) this.#renewals = rest;
    return first;
  }

  #renew(truth: Truth, atMs: number, to: Plan, statedStartMs = atMs): void {
    const wasTrial = truth.period === 'TRIAL';
    Object.assign(truth, {
      plan: to,
      pending: null,
      period: 'NORMAL',
      startMs: atMs,
      statedStartMs,
      endMs: atMs + to.days * DAY_MS,
      autoRenew: true,
      graceEndMs: null,
      failedAtMs: null,
      isPauseScheduled: false,
      resumesAtMs: null,
      isPaused: false,
      refundedAtMs: null,
      revokedAtMs: null,
      awaitsConsent: false,
      isOver: false,
    } satisfies Partial<Truth>);
    this.#charge(truth, 'RENEWAL', atMs, { is_trial_conversion: wasTrial });
  }

  #charge(truth: Truth, type: string, atMs: number, fields: Record<string, unknown> = {}): void {
    truth.transactions += 1;
    const cents =
      truth.family || truth.period === 'TRIAL' ? 0 : truth.period === 'INTRO' ? 99 : truth.plan.cents;
    this.#add(truth, cents);
    this.#send(truth, type, { ...price(cents), ...fields }, atMs);
  }

  /** A transfer moves what was paid along with the purchase, so payments are counted per subscription. */
  #add(truth: Truth, cents: number): void {
    this.paidCents.set(truth.id, (this.paidCents.get(truth.id) ?? 0) + cents);
  }

  #send(truth: Truth, type: string, fields: Record<string, unknown>, atMs = this.nowMs): void {
    this.#count += 1;
    const body = {
      id: `E${this.#count}`,
      type,
      event_timestamp_ms: atMs,
      app_user_id: truth.owner,
      environment: 'PRODUCTION',
      store: truth.store,
      product_id: truth.plan.productId,
      entitlement_ids: [truth.plan.entitlement],
      period_type: truth.period,
      purchased_at_ms: truth.statedStartMs,
      expiration_at_ms: truth.endMs,
      original_transaction_id: truth.id,
      transaction_id: `${truth.id}.${truth.transactions}`,
      is_family_share: truth.family,
      currency: 'USD',
      price: 0,
      price_in_purchased_currency: 0,
      ...fields,
    };
    const event = readEvent(body, { receivedAtMs: atMs, fallbackId: '' });
    this.#sent.push({ truth, owner: truth.owner, event });
  }
}

function price(cents: number): { price: number; price_in_purchased_currency: number } {
  return { price: cents / 100, price_in_purchased_currency: cents / 100 };
}

/** When the next thing happens to a subscription without anyone acting; infinity: never. */
function dueAt(truth: Truth): number {
  if (truth.isReplaced) return Number.POSITIVE_INFINITY;
  if (truth.isPaused) return truth.resumesAtMs ?? Number.POSITIVE_INFINITY;
  if (truth.isOver) return Number.POSITIVE_INFINITY;
  return truth.graceEndMs ?? truth.endMs;
}

export function accessEndOf(truth: Truth): number {
  if (truth.revokedAtMs !== null) return truth.revokedAtMs;
  return truth.graceEndMs ?? truth.endMs;
}

/** RevenueCat's API response about a customer now. It names a subscription by its last transaction, or by the first. */
export function apiResponse({ truths, nowMs, paidCents }: World, who: string): Snapshot {
  const own = truths.filter(({ owner }) => owner === who);
  const subscriptions = own.map((truth) => {
    const { id, store, plan, transactions, revokedAtMs, isPaused, resumesAtMs, endMs } = truth;
    const periodEndsAtMs = isPaused ? resumesAtMs : Math.min(endMs, revokedAtMs ?? endMs);
    return apiSubscription({
      id: `api-${id}`,
      store,
      productId: plan.productId,
      pendingProductId: truth.pending?.productId ?? null,
      entitlements: [plan.entitlement],
      ...apiStatus(truth, nowMs),
      startsAtMs: truth.boughtAtMs,
      periodStartsAtMs: store === 'STRIPE' ? truth.statedStartMs : truth.startMs,
      periodEndsAtMs,
      endsAtMs: periodEndsAtMs,
      storeSubscriptionId: store === 'STRIPE' || store === 'RC_BILLING' ? id : `${id}.${transactions}`,
      revenueUsdCents: paidCents.get(id) ?? 0,
      isFamilyShare: truth.family,
    });
  });
  const ends = new Map<string, number>();
  for (const truth of own) {
    const { entitlement } = truth.plan;
    if (nowMs < accessEndOf(truth))
      ends.set(entitlement, Math.max(ends.get(entitlement) ?? 0, accessEndOf(truth)));
  }
  const activeEntitlements = [...ends].map(([lookupKey, endsAtMs]) => ({ lookupKey, endsAtMs }));
  return { ...snapshotOf(0, subscriptions), takenAtMs: nowMs, activeEntitlements };
}

function apiStatus(
  truth: Truth,
  nowMs: number,
): Pick<SnapshotSubscription, 'status' | 'autoRenewalStatus' | 'givesAccess'> {
  const givesAccess = nowMs < accessEndOf(truth);
  const running =
    truth.graceEndMs !== null ? 'in_grace_period' : truth.period === 'TRIAL' ? 'trialing' : 'active';
  const ended = truth.failedAtMs !== null && truth.revokedAtMs === null ? 'in_billing_retry' : 'expired';
  const renews = truth.pending ? 'will_change_product' : truth.autoRenew ? 'will_renew' : 'will_not_renew';
  return {
    status: truth.isPaused ? 'paused' : givesAccess ? running : ended,
    autoRenewalStatus: truth.isReplaced
      ? 'will_not_renew'
      : truth.isPauseScheduled
        ? 'will_pause'
        : truth.awaitsConsent
          ? 'requires_price_increase_consent'
          : renews,
    givesAccess,
  };
}

/** The status that a subscription has according to RevenueCat's documentation. */
export function statusOf(truth: Truth, nowMs: number): SubscriptionStatus {
  if (nowMs >= accessEndOf(truth)) return truth.isPaused ? 'paused' : 'expired';
  const isTrial = truth.period === 'TRIAL';
  if (truth.graceEndMs !== null) return isTrial ? 'grace_period_trial' : 'grace_period';
  if (!truth.autoRenew && !truth.isPauseScheduled) return isTrial ? 'cancelled_trial' : 'cancelled';
  if (isTrial) return 'trial';
  return truth.period === 'INTRO' ? 'intro' : 'active';
}
