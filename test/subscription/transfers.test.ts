import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { messagesFor } from '../../src/i18n/messages.ts';
import { overviewText } from '../../src/i18n/sentences.ts';
import { describeCustomer } from '../../src/subscription/describe-customer.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { summarize } from '../../src/subscription/summary.ts';
import { assembleHistory, markWithinCustomer } from '../../src/subscription/transfers.ts';
import type { Snapshot, SubscriberState } from '../../src/subscription/types.ts';
import { apiSubscription, buy, day, event, grant, renew, snapshotOf } from './histories.ts';

/** Each customer's stored events; a transfer is stored for both sides. */
class Stored {
  readonly events = new Map<string, LifecycleEvent[]>();
  readonly #snapshots = new Map<string, Snapshot>();

  add(who: string, ...events: LifecycleEvent[]): this {
    const named = events.map((each) => ({ ...each, raw: { ...each.raw, app_user_id: who } }));
    this.events.set(who, [...(this.events.get(who) ?? []), ...named]);
    return this;
  }

  /** What an event with the ids of both shows: they are one customer. */
  merge(who: string, other: string): this {
    this.events.set(who, [...(this.events.get(who) ?? []), ...(this.events.get(other) ?? [])]);
    this.events.delete(other);
    return this;
  }

  transfer(at: number, from: string, to: string, fields: Record<string, unknown> = {}): this {
    const all = { id: `T${at}${from}${to}`, transferred_from: [from], transferred_to: [to], ...fields };
    this.add(from, event('TRANSFER', at, { ...all, side: 'source' }));
    return this.add(to, event('TRANSFER', at, all));
  }

  snapshot(who: string, snapshot: Snapshot): this {
    this.#snapshots.set(who, snapshot);
    return this;
  }

  state(who: string, on: number): SubscriberState {
    const { events } = assembleHistory(who, this.events);
    return deriveState(events, this.#snapshots.get(who) ?? null, day(on));
  }

  says(who: string, on: number): string {
    const names = { product: () => null, entitlement: () => null };
    const description = describeCustomer(this.state(who, on), { names, nowMs: day(on) });
    return overviewText(messagesFor('en'), description);
  }
}

const date = (n: number): string => messagesFor('en').date(day(n));
const team = {
  original_transaction_id: 'st1',
  store: 'STRIPE',
  app_id: 'app2',
  product_id: 'team',
  entitlement_ids: ['team'],
};

describe('transfers', () => {
  test('there and back: the purchase, its price and its sums are with the first customer again', () => {
    const stored = new Stored()
      .add('ping', buy(0, 30))
      .transfer(10, 'ping', 'pong')
      .transfer(15, 'pong', 'ping');
    assert.equal(stored.says('ping', 20), `Pro, $10.00 a month. Next charge ${date(30)}.`);
    assert.equal(stored.state('ping', 20).lifetimeValueUsdCents, 1_000);
    assert.equal(stored.says('pong', 20), `Purchases were moved to another customer on ${date(15)}.`);
    assert.equal(stored.state('pong', 20).lifetimeValueUsdCents, 0);
  });

  test('there, back and there again', () => {
    const stored = new Stored()
      .add('ping', buy(0, 30))
      .transfer(10, 'ping', 'pong')
      .transfer(15, 'pong', 'ping')
      .transfer(16, 'ping', 'pong');
    assert.equal(stored.state('ping', 20).status, null);
    assert.equal(stored.state('pong', 20).status, 'active');
  });

  test('around a circle: the purchase is with the first customer again', () => {
    const stored = new Stored()
      .add('a', buy(0, 30, { app_user_id: 'a' }))
      .transfer(10, 'a', 'b')
      .transfer(11, 'b', 'c')
      .transfer(12, 'c', 'a');
    assert.equal(stored.says('a', 20), `Pro, $10.00 a month. Next charge ${date(30)}.`);
    assert.equal(stored.says('b', 20), `Purchases were moved to another customer on ${date(11)}.`);
  });

  test('of two customers who were merged later, only the purchases of the one whom it names have moved', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30))
      .add('web', buy(2, 32, { ...team, store: 'APP_STORE', app_id: null }))
      .transfer(5, 'web', 'bob')
      .merge('web', 'ann');
    assert.equal(
      stored.says('web', 10),
      `Pro, $10.00 a month. Next charge ${date(30)}. Purchases (App Store) were moved to another customer on ${date(5)}.`,
    );
    assert.equal(stored.says('bob', 10), `Team, $10.00 a month. Next charge ${date(32)}.`);
  });

  test('of two customers who were merged later, one has passed on only what the other had not received', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30))
      .transfer(2, 'ann', 'web')
      .transfer(5, 'home', 'bob')
      .merge('web', 'home');
    assert.equal(stored.state('web', 10).status, 'active');
    assert.equal(stored.state('bob', 10).status, null);
  });

  test('of two customers who were merged later, one has passed on what it had received from the other', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30))
      .transfer(2, 'ann', 'web')
      .transfer(5, 'web', 'bob')
      .merge('web', 'ann');
    assert.equal(stored.state('web', 10).status, null);
    assert.equal(stored.state('bob', 10).status, 'active');
  });

  test('moves what was bought under another id that an event shows to be the same customer', () => {
    const stored = new Stored()
      .add('web', buy(0, 30))
      .add('ann', event('UNCANCELLATION', 2, { aliases: ['web'] }))
      .merge('ann', 'web')
      .transfer(5, 'ann', 'bob');
    assert.equal(stored.state('ann', 10).status, null);
    assert.equal(stored.state('bob', 10).status, 'active');
  });

  test('a transfer is within one customer only when that customer is its receiver, too', () => {
    const moved = (from: string, to: string): boolean =>
      markWithinCustomer(
        event('TRANSFER', 1, { transferred_from: [from], transferred_to: [to], side: 'source' }),
        ['a', 'a-alias'],
      ).isWithinCustomer;
    assert.deepEqual([moved('a', 'a-alias'), moved('a', 'b'), moved('b', 'a')], [true, false, false]);
  });

  test('a chain carries price and sums to its end', () => {
    const stored = new Stored().add('a', buy(0, 30));
    for (const [index, from] of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'].entries())
      stored.transfer(index + 1, from, String.fromCharCode(from.charCodeAt(0) + 1));
    stored.add('l', renew(30, 60));
    assert.equal(stored.says('l', 40), `Pro, $10.00 a month. Next charge ${date(60)}.`);
    assert.equal(stored.state('l', 40).lifetimeValueUsdCents, 2_000);
  });

  test('moves the purchases of the store and app that it names, and no grant', () => {
    const stored = new Stored()
      .add(
        'ann',
        buy(0, 30, { app_id: 'app1' }),
        buy(5, 35, team),
        grant(8, 98, { entitlement_ids: ['max'] }),
      )
      .transfer(19, 'ann', 'bob', { app_id: 'app1' });
    const keysOf = (who: string) => stored.state(who, 20).entitlements.map(({ lookupKey }) => lookupKey);
    assert.deepEqual(keysOf('ann'), ['max', 'team']);
    assert.deepEqual(keysOf('bob'), ['pro']);
    assert.deepEqual(
      ['ann', 'bob'].map((who) => stored.state(who, 20).lifetimeValueUsdCents),
      [1_000, 1_000],
    );
  });

  test('leaves the purchases of another app in the same store', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30, { app_id: 'app1' }), buy(5, 35, { ...team, store: 'APP_STORE' }))
      .transfer(19, 'ann', 'bob', { app_id: 'app1' });
    assert.deepEqual(
      stored.state('ann', 20).entitlements.map(({ lookupKey }) => lookupKey),
      ['team'],
    );
  });

  test('a transfer that names no store moves everything that was bought, and no grant', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30), buy(5, 35, team), grant(8, 98, { entitlement_ids: ['max'] }))
      .transfer(19, 'ann', 'bob', { store: null });
    const keysOf = (who: string) => stored.state(who, 20).entitlements.map(({ lookupKey }) => lookupKey);
    assert.deepEqual(keysOf('bob'), ['pro', 'team']);
    assert.deepEqual(keysOf('ann'), ['max']);
    const granted = { id: 'g', store: 'PROMOTIONAL', entitlements: ['max'], storeSubscriptionId: null };
    stored.snapshot('ann', snapshotOf(10, [apiSubscription(), apiSubscription(granted)]));
    assert.deepEqual(keysOf('ann'), ['max']);
  });

  test('within one customer nothing moves, and the timeline has one line', () => {
    const stored = new Stored().add('self', buy(0, 30)).transfer(10, 'self', 'self');
    assert.equal(stored.says('self', 20), `Pro, $10.00 a month. Next charge ${date(30)}.`);
    const { events } = assembleHistory('self', stored.events);
    const { latest, counts } = summarize(events, null, day(20));
    assert.deepEqual(
      latest.map(({ kind, isWithinCustomer }) => [kind, isWithinCustomer]),
      [
        ['transfer', true],
        ['initial_purchase', false],
      ],
    );
    assert.equal(counts.production, 2);
    const received = event('TRANSFER', 10, { transferred_from: ['a', 'b'], transferred_to: ['c'] });
    assert.equal(markWithinCustomer(received, ['a', 'b', 'c']).isWithinCustomer, true);
    assert.equal(markWithinCustomer(received, ['a', 'c']).isWithinCustomer, false);
  });

  test('a sandbox transfer moves nothing that was paid for', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30), buy(1, 31, { environment: 'SANDBOX', original_transaction_id: 's' }))
      .transfer(10, 'ann', 'bob', { environment: 'SANDBOX' });
    assert.equal(stored.state('ann', 20).status, 'active');
    assert.deepEqual(
      [stored.state('ann', 20).sandbox.length, stored.state('bob', 20).sandbox.length],
      [0, 1],
    );
    assert.deepEqual(
      [stored.state('ann', 20).movedTo, stored.state('bob', 20).receivedByTransferAtMs],
      [null, null],
    );
  });

  test('with answers of the API from before the transfer', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30), buy(5, 35, team))
      .transfer(19, 'ann', 'bob')
      .snapshot(
        'ann',
        snapshotOf(10, [
          apiSubscription(),
          apiSubscription({
            id: 's2',
            store: 'STRIPE',
            productId: 'team',
            storeSubscriptionId: 'st1',
            entitlements: ['team'],
          }),
        ]),
      )
      .snapshot('bob', snapshotOf(12, []));
    assert.deepEqual(
      stored.state('ann', 20).entitlements.map(({ lookupKey }) => lookupKey),
      ['team'],
    );
    assert.equal(stored.says('bob', 20), `Pro, $10.00 a month. Next charge ${date(30)}.`);
  });

  test('with an answer of the API from after the transfer the price stays known', () => {
    const stored = new Stored()
      .add('ann', buy(0, 30))
      .transfer(10, 'ann', 'bob')
      .snapshot('bob', snapshotOf(12, [apiSubscription()]))
      .snapshot('ann', snapshotOf(12, [apiSubscription({ id: 'again', storeSubscriptionId: '3000' })]));
    assert.equal(stored.says('bob', 20), `Pro, $10.00 a month. Next charge ${date(30)}.`);
    assert.equal(stored.state('ann', 20).status, 'active', 'what was bought since stays');
  });

  test('after any chain exactly one customer holds each purchase', () => {
    const who = fc.constantFrom('a', 'b', 'c', 'd');
    const purchase = fc.record({
      at: fc.integer({ min: 0, max: 9 }),
      owner: who,
      store: fc.constantFrom('APP_STORE', 'STRIPE'),
    });
    const transfer = fc.record({
      at: fc.integer({ min: 1, max: 12 }),
      from: who,
      to: who,
      store: fc.constantFrom('APP_STORE', 'STRIPE', null),
    });
    fc.assert(
      fc.property(
        fc.array(purchase, { maxLength: 5 }),
        fc.array(transfer, { maxLength: 8 }),
        (purchases, transfers) => {
          const stored = new Stored();
          for (const [index, { at, owner, store }] of purchases.entries()) {
            const id = `o${index}`;
            stored.add(
              owner,
              buy(at, 30, { store, original_transaction_id: id, transaction_id: id, product_id: id }),
            );
          }
          for (const [index, { at, from, to, store }] of transfers.entries())
            stored.transfer(at, from, to, { store, id: `T${index}` });
          for (const [index] of purchases.entries()) {
            const holders = ['a', 'b', 'c', 'd'].filter((each) =>
              stored.state(each, 20).subscriptions.some(({ productId }) => productId === `o${index}`),
            );
            assert.equal(holders.length, 1, `o${index}: ${holders}`);
          }
          const total = ['a', 'b', 'c', 'd'].map((each) => stored.state(each, 20).lifetimeValueUsdCents);
          assert.equal(
            total.reduce((sum: number, value) => sum + (value ?? 0), 0),
            purchases.length * 1_000,
          );
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('a customer reads only the histories that lead to them, and still the same', () => {
    const stored = new Stored()
      .add('a', buy(0, 30))
      .transfer(3, 'a', 'b')
      .transfer(5, 'b', 'c')
      .add('x', buy(1, 31, { original_transaction_id: 'x' }))
      .transfer(6, 'a', 'x');
    const leading = new Map([...stored.events].filter(([id]) => id !== 'x'));
    assert.deepEqual(
      assembleHistory('c', leading).received.map(({ type }) => type),
      assembleHistory('c', stored.events).received.map(({ type }) => type),
    );
  });
});
