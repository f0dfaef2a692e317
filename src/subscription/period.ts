import { DAY_MS } from '../time.ts';
import type { SubscriptionState } from './types.ts';

/** How often a price is charged. */
export interface Period {
  readonly unit: 'week' | 'month' | 'year';
  readonly count: number;
}

const PERIODS: readonly (readonly [fromDays: number, toDays: number, Period])[] = [
  [6, 8, { unit: 'week', count: 1 }],
  [13, 15, { unit: 'week', count: 2 }],
  [27, 32, { unit: 'month', count: 1 }],
  [58, 63, { unit: 'month', count: 2 }],
  [88, 94, { unit: 'month', count: 3 }],
  [180, 186, { unit: 'month', count: 6 }],
  [350, 380, { unit: 'year', count: 1 }],
];

/** How often a subscription is charged, told by the period in force; `null`: it cannot be told. */
export function periodOf(subscription: SubscriptionState): Period | null {
  const { periodStartedAtMs, periodEndsAtMs } = subscription;
  // A free trial's length says nothing about what follows.
  if (periodStartedAtMs === null || periodEndsAtMs === null || subscription.periodType === 'TRIAL') {
    return null;
  }
  const days = (periodEndsAtMs - periodStartedAtMs) / DAY_MS;
  return PERIODS.find(([from, to]) => days >= from && days <= to)?.[2] ?? null;
}
