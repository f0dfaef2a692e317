import type { Messages, MessageValues } from '../i18n/messages.ts';
import { isForever } from '../time.ts';
import { type Action, type ActionState, grantEndMs } from './action.ts';
import type { ReviewedStoreAction } from './form-state.ts';

/** Placeholder values for messages about an action. Messages select on `kind` if kinds differ, on `of` for refunds. */
export function messageValuesOf(
  { t, date, dateTime, money }: Messages,
  action: Action | ReviewedStoreAction,
): MessageValues {
  const { kind } = action;
  if (action.kind === 'grant') {
    const endMs = grantEndMs(action);
    return { kind, name: action.entitlementName, end: isForever(endMs) ? null : dateTime(endMs) };
  }
  const { after, before, amount, product, targetType, transactionId } = action.details;
  const { days = 0, moveCount: count = 0 } = action.details;
  const willRenew = before?.willRenew !== false;
  // A subscription that does not renew has no next charge.
  const charge = willRenew ? 'charge' : 'lastCharge';
  const endMs = after?.endsAtMs ?? before?.endsAtMs ?? null;
  const madeAtMs = 'reviewedAtMs' in action ? action.reviewedAtMs : action.createdAtMs;
  // While a payment is retried, access lasts longer than the period, which has ended.
  const isPast = kind === 'cancel' && endMs !== null && endMs <= madeAtMs;
  return {
    kind,
    action: t(`action.title.${kind}`),
    name: product,
    of: transactionId === undefined ? targetType : charge,
    days,
    count,
    access: before?.givesAccess ? 'ends' : null,
    renews: willRenew ? 'renews' : null,
    amount: amount && money(amount),
    end: endMs === null || isPast ? null : date(endMs),
  };
}

/** The action's state, as messages name it. */
export function displayStateOf(
  action: Action,
  nowMs: number,
): Exclude<ActionState, 'requested' | 'revoking'> | 'pending' | 'ended' {
  const { state } = action;
  if (state === 'requested' || state === 'revoking') return 'pending';
  const hasEnded = action.kind === 'grant' && state === 'confirmed' && grantEndMs(action) <= nowMs;
  return hasEnded ? 'ended' : state;
}

/** The key of the message about what was done; `unchanged`: RevenueCat kept the earlier grant. */
export function doneMessageKey(action: Action): Action['kind'] | 'unchanged' {
  return action.kind === 'grant' && action.isUnchanged ? 'unchanged' : action.kind;
}
