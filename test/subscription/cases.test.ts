import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { messagesFor } from '../../src/i18n/messages.ts';
import { endRow, overviewText, paidText, priceText } from '../../src/i18n/sentences.ts';
import { contactAttributes } from '../../src/subscription/contact-values.ts';
import { describeCustomer } from '../../src/subscription/describe-customer.ts';
import { priceOf } from '../../src/subscription/money.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { CASES, play } from './cases.ts';
import { apiSubscription, buy, day, event, period, snapshotOf } from './histories.ts';

const m = messagesFor('en');
const NAMES = { product: () => null, entitlement: () => null };

describe('cases', () => {
  for (const { name, events, snapshot = null, on, status, says, attributes, rows } of CASES) {
    test(name, () => {
      const state = deriveState(events, snapshot, day(on));
      const description = describeCustomer(state, { names: NAMES, nowMs: day(on) });
      assert.equal(overviewText(m, description), says);
      if (status !== undefined) assert.equal(state.status, status);
      const written: Record<string, unknown> = contactAttributes(state, ['ada']);
      for (const [key, value] of Object.entries(attributes ?? {})) {
        const isDate = /_at$/.test(key) && typeof value === 'number';
        assert.equal(written[key], isDate ? Math.floor(day(value) / 1000) : value, key);
      }
      const table: Record<string, string | null> = {
        ...Object.fromEntries(description.shown.flatMap(({ end }) => endRow(m, end))),
        paid: paidText(m, description),
      };
      for (const [label, value] of Object.entries(rows ?? {})) assert.equal(table[label], value, label);
      assert.deepEqual(deriveState(events.toReversed(), snapshot, day(on)), state, 'in any order');
    });
  }

  test('the same API response at a later day says the same, unless time has changed the state', () => {
    const ended = { givesAccess: false, periodEndsAtMs: day(90), endsAtMs: day(90) };
    const responses = [
      [],
      [apiSubscription({ periodEndsAtMs: day(10), endsAtMs: day(10), autoRenewalStatus: 'will_not_renew' })],
      [apiSubscription({ status: 'in_grace_period', periodEndsAtMs: day(90), endsAtMs: day(90) })],
      ...['expired', 'in_billing_retry', 'paused', 'unknown'].map((status) => [
        apiSubscription({ ...ended, status }),
      ]),
    ];
    for (const subscriptions of responses)
      for (const events of [[], [buy(0, 90)]]) {
        const [earlier, later] = [20, 33].map((taken) => {
          const state = deriveState(events, snapshotOf(taken, subscriptions), day(taken + 0.5));
          const description = describeCustomer(state, { names: NAMES, nowMs: day(taken + 0.5) });
          return { says: overviewText(m, description), attributes: contactAttributes(state, ['ada']) };
        });
        assert.deepEqual(later, earlier);
      }
  });

  test('a price below zero is not known', () => {
    const state = deriveState([buy(0, 30, { price_in_purchased_currency: -5, price: -5 })], null, day(5));
    assert.equal(state.primary?.price, null);
  });

  test('a price is said with the period of its length', () => {
    const lengths: readonly [days: number, price: string][] = [
      [7, '$10.00 a week'],
      [28, '$10.00 every 4 weeks'],
      [31, '$10.00 a month'],
      [47, '$10.00'],
      [61, '$10.00 every 2 months'],
      [120, '$10.00 every 4 months'],
      [243, '$10.00 every 8 months'],
      [366, '$10.00 a year'],
      [546, '$10.00 every 18 months'],
      [730, '$10.00 every 2 years'],
      [1096, '$10.00 every 3 years'],
    ];
    for (const [days, text] of lengths) {
      const { primary } = deriveState([buy(100, 100 + days)], null, day(101));
      const price = primary && priceOf(primary);
      assert.equal(price && priceText(m, price), text);
    }
  });

  test('a pass and a prepaid plan have a price and no period', () => {
    const pass = event('NON_RENEWING_PURCHASE', 0, { ...period(0, 90, 19.99), product_id: 'season' });
    const prepaid = buy(0, 30, { ...play, period_type: 'PREPAID' });
    for (const [item, price] of [
      [pass, '$19.99'],
      [prepaid, '$10.00'],
    ] as const) {
      const { primary } = describeCustomer(deriveState([item], null, day(5)), {
        names: NAMES,
        nowMs: day(5),
      });
      assert.equal(primary?.price && priceText(m, primary.price), price);
    }
  });
});
