import type { Money } from './types.ts';

/**
 * Currencies that have no hundredths, by ISO 4217 (list one). `Intl` is not asked: it tells what people write,
 * and nobody writes the hundredths of a forint or a rupiah, which the prices of stores may have.
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

/** A decimal amount in minor units. Rounds half away from zero by the decimal text, so that 1.005 is 101, not 100. */
export function toMinor(amount: number, currency: string): number {
  const digits = currencyDigits(currency);
  const magnitude = Math.abs(amount);
  const shifted = Number(`${magnitude}e${digits}`);
  // Numbers in exponent notation do not take a second exponent.
  const minor = Math.round(Number.isNaN(shifted) ? magnitude * 10 ** digits : shifted);
  return amount < 0 && minor !== 0 ? -minor : minor;
}

const formats = new Map<string, Intl.NumberFormat | null>();

/** For people: `$9.99`, `¥500`. An unknown currency is written after the number. */
export function formatMoney(money: Money, locale: string): string {
  const amount = money.amountMinor / 10 ** currencyDigits(money.currency);
  const key = `${locale}|${money.currency}`;
  let format = formats.get(key);
  if (format === undefined) {
    try {
      format = new Intl.NumberFormat(locale, { style: 'currency', currency: money.currency });
    } catch {
      format = null;
    }
    formats.set(key, format);
  }
  return format ? format.format(amount) : `${amount.toFixed(2)} ${money.currency}`;
}

/** Adds a sum to a list with one entry for each currency. */
export function addMoney(total: readonly Money[], add: Money): Money[] {
  const rest = total.filter((money) => money.currency !== add.currency);
  const before = total.find((money) => money.currency === add.currency)?.amountMinor ?? 0;
  return [...rest, { currency: add.currency, amountMinor: before + add.amountMinor }];
}
