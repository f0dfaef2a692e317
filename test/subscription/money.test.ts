import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { messagesFor } from '../../src/i18n/messages.ts';
import { addMoney, toMinor } from '../../src/subscription/money.ts';

describe('minor units', () => {
  const cases: readonly [number, string, number][] = [
    [9.99, 'USD', 999],
    [0.1 + 0.2, 'USD', 30],
    [1.005, 'USD', 101],
    [-1.005, 'USD', -101],
    [-9.99, 'EUR', -999],
    [500, 'JPY', 500],
    [499.5, 'JPY', 500],
    [1.2345, 'KWD', 1235],
    [2990.5, 'HUF', 299_050],
    [49_000, 'IDR', 4_900_000],
    [1.5, 'CLF', 15_000],
    [4.35, 'XYZ', 435],
    [4.35, 'not a code', 435],
    [1e-7, 'USD', 0],
    [0, 'USD', 0],
    [-0, 'USD', 0],
  ];
  for (const [amount, currency, expected] of cases) {
    test(`${amount} ${currency}`, () => assert.equal(toMinor(amount, currency), expected));
  }

  test('whole cents come back unchanged', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }), (cents) => {
        assert.equal(toMinor(cents / 100, 'USD'), cents === 0 ? 0 : cents);
        assert.equal(toMinor(cents / 1_000, 'KWD'), cents === 0 ? 0 : cents);
      }),
    );
  });
});

describe('money for people', () => {
  const cases: readonly [number, string, 'en' | 'de', string][] = [
    [999, 'USD', 'en', '$9.99'],
    [1000, 'USD', 'en', '$10.00'],
    [500, 'JPY', 'en', '¥500'],
    [299_000, 'HUF', 'en', 'HUF\u00a02,990'],
    [299_050, 'HUF', 'en', 'HUF\u00a02,990.50'],
    [99_999, 'PKR', 'de', '999,99\u00a0PKR'],
    [1234, 'KWD', 'en', 'KWD\u00a01.234'],
    [999, 'EUR', 'de', '9,99\u00a0€'],
    [999, 'coins!', 'en', '9.99 coins!'],
    [999, 'coins!', 'de', '9,99 coins!'],
  ];
  for (const [amountMinor, currency, locale, expected] of cases) {
    test(expected, () => assert.equal(messagesFor(locale).money({ amountMinor, currency }), expected));
  }
});

test('sums are added by currency', () => {
  const paid = addMoney(
    addMoney([{ amountMinor: 1, currency: 'USD' }], { amountMinor: 5, currency: 'EUR' }),
    {
      amountMinor: 2,
      currency: 'USD',
    },
  );
  assert.deepEqual(
    paid.toSorted((a, b) => (a.currency < b.currency ? -1 : 1)),
    [
      { amountMinor: 5, currency: 'EUR' },
      { amountMinor: 3, currency: 'USD' },
    ],
  );
});
