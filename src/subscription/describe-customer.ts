import { DAY_MS } from '../time.ts';
import {
  accessEndDate,
  type Charge,
  chargesOf,
  type DescriptionContext,
  describeSubscription,
  endDate,
  isBoughtAgain,
  isPaymentFailing,
  outlasts,
  type Statement,
  type SubscriptionDescription,
} from './describe-subscription.ts';
import { periodOf } from './money.ts';
import { entitlementLabel, isInternalId } from './names.ts';
import { unexplainedEntitlements } from './state.ts';
import { knownTime, sharesEntitlement } from './state-builder.ts';
import type { SubscriberState, SubscriptionState } from './types.ts';

export type CustomerDescription = Readonly<ReturnType<typeof describeCustomer>>;

/**
 * What a customer has, had and will be charged, as data. The inbox card, the Messenger, the support page, Fin and
 * the contact's attributes all read it, so they cannot disagree.
 */
export function describeCustomer(state: SubscriberState, context: DescriptionContext) {
  const describe = (subscription: SubscriptionState) => describeSubscription(subscription, state, context);
  const subscriptions = state.subscriptions.map(describe);
  const grants = state.grants.map(describe);
  const sandbox = state.sandbox.map(describe);
  const primary = [...subscriptions, ...grants].find(
    // A stored state was parsed from JSON, so its primary is another object.
    ({ subscription }) => subscription.key === state.primary?.key,
  );
  const running = subscriptions.filter(({ tone }) => tone !== 'ended');
  const listed = listedStatements(state, context);
  // If RevenueCat lists an entitlement without its purchase, an ended subscription is not the whole answer.
  const isPrimaryAll = listed.length === 0 || primary?.subscription.givesAccess;
  const fallback = primary && isPrimaryAll ? [primary] : [];
  /** What the sentences describe: everything that runs, otherwise the primary one, even if it has ended. */
  const shown = running.length > 0 ? running : fallback;
  const [main] = shown;
  const paid = state.paid.filter((money) => money.amountMinor > 0);
  return {
    /** Answers what most tickets ask: are they charged, how much, when, what went wrong. */
    statements: [
      ...failedPaymentStatements(
        subscriptions.filter((each) => shown.length > 1 || each !== main),
        state,
        context,
      ),
      ...(shown.length > 1 ? [severalStatement(shown, state, context.nowMs)] : (main?.statements ?? [])),
      ...alsoGrantedStatements(shown, grants),
      ...listed,
      ...subscriptions
        .filter((each) => each !== main && each.subscription.isIncomplete)
        .flatMap(({ statements }) => statements),
      ...(main === undefined && subscriptions.length === 0 && listed.length === 0
        ? nothingStatements(state)
        : []),
      ...movedStatements(state, main !== undefined || state.firstPurchaseAtMs !== null),
    ],
    /** The rows of the table under the sentence: one subscription with details, or several with a line each. */
    shown: (main ?? primary) ? shown : sandbox.slice(0, 1),
    subscriptions,
    grants,
    sandbox,
    /** The subscription or grant that the contact's attributes describe. */
    primary: primary ?? null,
    nextCharge: firstCharge(running),
    /** Sums paid so far, and when the first payment was; empty: nothing was paid. */
    paid,
    paidSinceMs: paid.length === 0 ? null : state.firstPaidAtMs,
    movedTo: state.movedTo,
  };
}

/** If something else, such as a grant, gives or gave access for longer, the failed payment did not end access. */
function failedPaymentStatements(
  subscriptions: readonly SubscriptionDescription[],
  state: SubscriberState,
  { nowMs }: DescriptionContext,
): Statement[] {
  return subscriptions
    .filter(
      ({ subscription }) => isPaymentFailing(subscription, nowMs) && !isBoughtAgain(subscription, state),
    )
    .map(({ subscription, what }) => {
      const { entitlements, givesAccess, expiredAtMs, billingIssueAtMs } = subscription;
      const isOutlasted = [...state.subscriptions, ...state.grants].some(
        (other) => sharesEntitlement(other, subscription) && outlasts(other, subscription),
      );
      const isListed = state.entitlements.some(({ lookupKey }) => entitlements.includes(lookupKey));
      const since = givesAccess || isOutlasted || isListed ? null : expiredAtMs;
      return { kind: 'paymentFailed', what, on: knownTime(billingIssueAtMs, state.snapshotAtMs), since };
    });
}

/** Grants in addition to what is shown, if they give something else or last longer. */
function alsoGrantedStatements(
  shown: readonly SubscriptionDescription[],
  grants: readonly SubscriptionDescription[],
): Statement[] {
  const also = grants.filter(
    (grant) =>
      grant.subscription.givesAccess &&
      shown.every(
        (each) =>
          each !== grant && (each.what !== grant.what || outlasts(grant.subscription, each.subscription)),
      ),
  );
  return also
    .slice(0, MAX_SEVERAL_ITEMS)
    .map(({ what, subscription }) => ({ kind: 'alsoGranted', what, until: accessEndDate(subscription) }));
}

function listedStatements(state: SubscriberState, { names }: DescriptionContext): Statement[] {
  return unexplainedEntitlements(state)
    .filter(({ lookupKey }) => !isInternalId(lookupKey))
    .map(({ lookupKey, endsAtMs }) => ({
      kind: 'listed',
      what: entitlementLabel(lookupKey, names),
      until: endDate(endsAtMs),
    }));
}

/** For a customer who has neither a subscription nor a grant. */
function nothingStatements(state: SubscriberState): Statement[] {
  // `firstPurchaseAtMs` is `null` if only the refund of a purchase was received.
  const hasBought = state.consumables.some(({ environment }) => environment === 'production');
  if (state.firstPurchaseAtMs !== null || hasBought) return [{ kind: 'nothing', why: 'one_time_only' }];
  if (state.movedTo !== null) return [];
  if (state.receivedByTransferAtMs !== null) return [{ kind: 'received', on: state.receivedByTransferAtMs }];
  if (state.sandbox.length + state.consumables.length > 0) return [{ kind: 'nothing', why: 'sandbox_only' }];
  // Only the API lists purchases from before the first webhook.
  return [{ kind: 'nothing', why: state.snapshotAtMs === null ? 'unknown' : 'no_purchases' }];
}

/** Purchases that moved to another customer, unless something newer was bought. Names the store if others stayed. */
function movedStatements({ movedTo, subscriptions }: SubscriberState, hasOthers: boolean): Statement[] {
  if (movedTo === null) return [];
  const isSuperseded = subscriptions.some(
    ({ givesAccess, startedAtMs }) => givesAccess && (startedAtMs ?? 0) > movedTo.atMs,
  );
  return isSuperseded ? [] : [{ kind: 'moved', on: movedTo.atMs, store: hasOthers ? movedTo.store : null }];
}

const MAX_SEVERAL_ITEMS = 3;

function severalStatement(
  running: readonly SubscriptionDescription[],
  state: SubscriberState,
  nowMs: number,
): Statement {
  const next = firstCharge(running);
  return {
    kind: 'several',
    items: running.slice(0, MAX_SEVERAL_ITEMS).map(({ subscription, what, statements }) => ({
      what,
      period: periodOf(subscription),
      store: subscription.store,
      note: statements.find(({ kind }) => NOTED_KINDS.has(kind)) ?? null,
    })),
    more: Math.max(0, running.length - MAX_SEVERAL_ITEMS),
    next: next?.atMs ?? null,
    sum: next?.sum ?? null,
    charges: chargesOf(state, nowMs),
  };
}

/** Statements that become a note in a list of several subscriptions. */
const NOTED_KINDS: ReadonlySet<string> = new Set([
  'trial',
  'grace',
  'cancelled',
  'trialCancelled',
  'priceConsent',
  'bought',
  'prepaid',
  'family',
  'temporary',
  'willPause',
  'paused',
  'pendingChange',
] satisfies Statement['kind'][]);

/** The next charge; without its sum if another follows within a day, since it would read as the total of that date. */
function firstCharge(running: readonly SubscriptionDescription[]): Charge | null {
  const charges = running.flatMap(({ nextCharge }) => nextCharge ?? []);
  const [first, second] = charges.sort((a, b) => a.atMs - b.atMs);
  return first && second && second.atMs - first.atMs < DAY_MS ? { ...first, sum: null } : (first ?? null);
}
