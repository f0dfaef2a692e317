import { DAY_MS } from '../time.ts';
import type { Money, SubscriptionState } from './types.ts';

/**
 * Currencies whose minor unit is not a hundredth, by ISO 4217 (list one). `Intl` follows common usage instead: it drops
 * the hundredths of a forint or a rupiah, which store prices may have.
 */
const DIGITS: ReadonlyMap<string, number> = new Map([
  ...codes('BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF', 0),
  ...codes('BHD IQD JOD KWD LYD OMR TND', 3),
  ...codes('CLF UYW', 4),
]);

function codes(currencies: string, digits: number): [string, number][] {
  return currencies.split(' ').map((currency) => [currency, digits]);
}

/** Decimal digits of a currency by ISO 4217: JPY 0, USD 2, KWD 3; 2 for an unknown code. */
export function currencyDigits(currency: string): number {
  return DIGITS.get(currency) ?? 2;
}

/** Converts a decimal amount to minor units. Rounds half away from zero on the decimal text: 1.005 is 101, not 100. */
export function toMinor(amount: number, currency: string): number {
  const digits = currencyDigits(currency);
  const magnitude = Math.abs(amount);
  const shifted = Number(`${magnitude}e${digits}`);
  // A number that is already in exponent notation cannot take a second exponent.
  const minor = Math.round(Number.isNaN(shifted) ? magnitude * 10 ** digits : shifted);
  return amount < 0 && minor !== 0 ? -minor : minor;
}

/** The sum in units of its currency. */
export function toMajor({ amountMinor, currency }: Money): number {
  return amountMinor / 10 ** currencyDigits(currency);
}

/** Adds a sum to a list with one entry for each currency. */
export function addMoney(total: readonly Money[], add: Money): Money[] {
  const rest = total.filter((money) => money.currency !== add.currency);
  const before = total.find((money) => money.currency === add.currency)?.amountMinor ?? 0;
  return [...rest, { currency: add.currency, amountMinor: before + add.amountMinor }];
}

export interface Period {
  readonly unit: 'week' | 'month' | 'year';
  readonly count: number;
}

/** What one period costs. `period` is `null` for a one-time purchase, for an offer, and for an unknown length. */
export interface Price {
  readonly money: Money;
  readonly period: Period | null;
}

const PERIODS: readonly (readonly [fromDays: number, toDays: number, Period])[] = [
  [6, 8, { unit: 'week', count: 1 }],
  [13, 15, { unit: 'week', count: 2 }],
  [27, 32, { unit: 'month', count: 1 }],
  [58, 63, { unit: 'month', count: 2 }],
  [88, 94, { unit: 'month', count: 3 }],
  [119, 124, { unit: 'month', count: 4 }],
  [180, 186, { unit: 'month', count: 6 }],
  [241, 246, { unit: 'month', count: 8 }],
  [350, 380, { unit: 'year', count: 1 }],
  [545, 552, { unit: 'month', count: 18 }],
  [729, 732, { unit: 'year', count: 2 }],
  [1094, 1097, { unit: 'year', count: 3 }],
];

/** The billing period, inferred from the length of the current period; `null`: unknown, or nothing recurs. */
export function periodOf(
  subscription: Pick<SubscriptionState, 'periodStartedAtMs' | 'periodLengthMs' | 'periodType' | 'isOneTime'>,
): Period | null {
  const { periodStartedAtMs, periodLengthMs, periodType, isOneTime } = subscription;
  // A free trial and an introductory price, which may be paid once for several periods, say nothing about the length of
  // the periods after it; a pass and a prepaid plan are paid once.
  if (isOneTime || ['TRIAL', 'INTRO', 'PREPAID'].includes(periodType ?? '')) return null;
  if (periodStartedAtMs === null || periodLengthMs === null) return null;
  const days = periodLengthMs / DAY_MS;
  if (Math.abs(days - 28) < 0.5 && !hasEndOfFebruary(periodStartedAtMs, periodStartedAtMs + periodLengthMs))
    return { unit: 'week', count: 4 };
  return PERIODS.find(([from, to]) => days >= from && days <= to)?.[2] ?? null;
}

/** Whether 28 days may be a month with the end of February, give or take a day: the store's time zone is unknown. */
function hasEndOfFebruary(startMs: number, endMs: number): boolean {
  const marchMs = Date.UTC(new Date(endMs).getUTCFullYear(), 2, 1);
  return startMs < marchMs + DAY_MS && endMs > marchMs - 2 * DAY_MS;
}

/**
 * `null`: free, or unknown, for example after the customer agreed to a price increase. The price of an offer has no
 * period: "a month" would promise the same price for the months after it.
 */
export function priceOf(subscription: SubscriptionState): Price | null {
  const { price, periodType, isOnePeriodPrice, isPriceRising, willRenew } = subscription;
  if (price === null || price.amountMinor <= 0) return null;
  // An introductory price is said to be that of this period alone.
  if (isPriceRising && willRenew && periodType !== 'INTRO') return null;
  return { money: price, period: isOnePeriodPrice ? null : periodOf(subscription) };
}
