import type { Messages, MessageValues } from '../i18n/messages.ts';
import { isForever } from '../time.ts';
import { type Action, grantEndMs, type StoreAction } from './action.ts';

/** What messages about an action name: of a grant `entitlement` and `end`, of a store action the rest. */
export function messageValuesOf({ t, date, dateTime, money }: Messages, action: Action): MessageValues {
  if (action.kind === 'grant') {
    const endMs = grantEndMs(action);
    return { entitlement: action.entitlementName, end: isForever(endMs) ? null : dateTime(endMs) };
  }
  const { after, before, amount, days = 0, product, moveCount = 0 } = action.details;
  const endMs = after?.endsAtMs ?? before?.endsAtMs ?? null;
  return {
    action: t(`action.title.${action.kind}`),
    product,
    days,
    count: moveCount,
    access: before?.givesAccess ? 'ends' : null,
    amount: amount && money(amount),
    end: endMs === null ? null : date(endMs),
  };
}

/** Which texts a store action has: refunds of charges and of one-time purchases have their own. */
export function variantOf({ kind, details }: Pick<StoreAction, 'kind' | 'details'>) {
  if (kind !== 'refund') return kind;
  if (details.transactionId !== undefined) return 'refundCharge';
  return details.targetType === 'purchase' ? 'refundPurchase' : 'refund';
}
