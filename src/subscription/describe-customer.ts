import type {
  Charge,
  CustomerDescription,
  DescriptionContext,
  OwnStatement,
  Statement,
  SubscriptionDescription,
} from './customer-description.ts';
import {
  describeSubscription,
  endDate,
  incomplete,
  isPaymentFailing,
  isRunning,
  noteOf,
  outlasts,
  paymentFailed,
} from './describe-subscription.ts';
import { periodOf } from './money.ts';
import { entitlementOrProduct } from './names.ts';
import type { SubscriberState, SubscriptionState } from './types.ts';

const MAX_ITEMS = 3;

export function describeCustomer(state: SubscriberState, context: DescriptionContext): CustomerDescription {
  const describe = (subscription: SubscriptionState) => describeSubscription(subscription, state, context);
  const subscriptions = state.subscriptions.map(describe);
  const grants = state.grants.map(describe);
  const sandbox = state.sandbox.map(describe);
  const primary = [...subscriptions, ...grants].find(
    // A stored state was parsed from JSON: its primary is another object.
    ({ subscription }) => subscription.key === state.primary?.key,
  );
  // A paused subscription charges again, so it counts as much as one that gives access.
  const running = subscriptions.filter(({ subscription }) => isRunning(subscription));
  const main = running[0] ?? primary;
  const paid = state.paid.filter((money) => money.amountMinor > 0);
  return {
    status: state.status,
    statements:
      main === undefined ? withoutSubscription(state, context) : overview(running, main, state, context),
    shown: running.length > 1 ? running : main ? [main] : sandbox.slice(0, 1),
    subscriptions,
    grants,
    sandbox,
    primary: primary ?? null,
    nextCharge: firstCharge(running),
    paid,
    paidSinceMs: paid.length === 0 ? null : state.firstPaidAtMs,
    movedTo: state.movedTo,
  };
}

function overview(
  running: readonly SubscriptionDescription[],
  main: SubscriptionDescription,
  state: SubscriberState,
  context: DescriptionContext,
): Statement[] {
  const { nowMs } = context;
  const isSingle = running.length < 2;
  const failed = state.subscriptions.filter(
    (subscription) =>
      isPaymentFailing(subscription, nowMs) && !(isSingle && subscription === main.subscription),
  );
  const shown = isSingle ? [main] : running;
  return [
    ...failed.map((subscription) => paymentFailed(subscription, state, context)),
    ...(isSingle ? main.statements : [several(running, context)]),
    ...alsoGranted(shown, state, context),
    ...state.subscriptions
      .filter((subscription) => subscription.isIncomplete && subscription !== main.subscription)
      .map((subscription) => incomplete(subscription, context)),
    ...moved(state, true),
  ];
}

function withoutSubscription(state: SubscriberState, context: DescriptionContext): Statement[] {
  const [unpaid] = state.subscriptions;
  if (unpaid) return [incomplete(unpaid, context), ...moved(state, false)];
  const { counts } = context;
  const isSandbox =
    state.sandbox.length > 0 || (counts !== undefined && counts.sandbox > 0 && counts.production === 0);
  if (state.firstPurchaseAtMs !== null)
    return [{ kind: 'nothing', why: 'one_time_only' }, ...moved(state, true)];
  if (state.movedTo !== null) return moved(state, false);
  return [{ kind: 'nothing', why: isSandbox ? 'sandbox_only' : 'no_purchases' }];
}

/** Where purchases went, unless something newer was bought since. @param isPartial something stayed */
function moved({ movedTo, subscriptions }: SubscriberState, isPartial: boolean): OwnStatement[] {
  if (movedTo === null) return [];
  const isSuperseded = subscriptions.some(
    ({ givesAccess, startedAtMs }) => givesAccess && (startedAtMs ?? 0) > movedTo.atMs,
  );
  return isSuperseded ? [] : [{ kind: 'moved', on: movedTo.atMs, store: isPartial ? movedTo.store : null }];
}

/** A grant in addition to what is shown: of something else, or for longer. One at most. */
function alsoGranted(
  shown: readonly SubscriptionDescription[],
  state: SubscriberState,
  { names }: DescriptionContext,
): Statement[] {
  const also = state.grants.find(
    (grant) =>
      grant.givesAccess &&
      shown.every(
        ({ subscription, what }) =>
          subscription !== grant &&
          (what !== entitlementOrProduct(grant, names) || outlasts(grant, subscription)),
      ),
  );
  if (!also) return [];
  const what = entitlementOrProduct(also, names);
  return [{ kind: 'alsoGranted', what, until: endDate(also.accessEndsAtMs) }];
}

function several(running: readonly SubscriptionDescription[], context: DescriptionContext): Statement {
  const next = firstCharge(running);
  const mayCharge = running.some(
    ({ subscription }) =>
      !subscription.isFamilyShare &&
      (subscription.willRenew || subscription.status === 'paused' || subscription.pausedAtMs !== null),
  );
  return {
    kind: 'several',
    items: running.slice(0, MAX_ITEMS).map(({ subscription, what }) => ({
      what,
      period: periodOf(subscription),
      store: subscription.store,
      note: noteOf(subscription, context),
    })),
    more: Math.max(0, running.length - MAX_ITEMS),
    next: next?.atMs ?? null,
    sum: next?.sum ?? null,
    charges: mayCharge ? 'again' : 'never',
  };
}

function firstCharge(running: readonly SubscriptionDescription[]): Charge | null {
  const charges = running.flatMap(({ nextCharge }) => (nextCharge === null ? [] : [nextCharge]));
  return charges.sort((a, b) => a.atMs - b.atMs)[0] ?? null;
}
