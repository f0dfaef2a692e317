import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Sql } from '../../src/database/sql.ts';
import { createCatalogCache } from '../../src/revenuecat/catalog.ts';

describe('display names of products and entitlements', () => {
  const product = (name: string) => ({
    kind: 'product',
    id: 'prod1',
    lookupKey: 'pro_yearly',
    displayName: name,
    fetchedAt: new Date(),
  });

  /** A cache over rows that change, with a clock that the test sets. */
  function world() {
    const it = { rows: [] as object[], nowMs: 1_000, reads: 0, isBroken: false };
    const sql: Sql = {
      async query<Row>() {
        it.reads += 1;
        if (it.isBroken) throw new Error('unavailable');
        return it.rows as Row[];
      },
    };
    const cache = createCatalogCache(() => it.nowMs);
    const name = async () => (await cache.names(sql, 'w1', 'p1')).product('pro_yearly');
    return { it, cache, sql, name };
  }

  test('appear within seconds of the first read from RevenueCat', async () => {
    const { it, name } = world();
    assert.equal(await name(), null);
    assert.equal(await name(), null);
    assert.equal(it.reads, 1);
    it.rows = [product('Pro Yearly')];
    it.nowMs += 5_001;
    assert.equal(await name(), 'Pro Yearly');
  });

  test('are read once a minute, and immediately after an invalidation', async () => {
    const { it, cache, name } = world();
    it.rows = [product('Pro Yearly')];
    assert.equal(await name(), 'Pro Yearly');
    it.rows = [product('Pro, a year')];
    it.nowMs += 59_999;
    assert.equal(await name(), 'Pro Yearly');
    cache.invalidate('w1', 'p1');
    assert.equal(await name(), 'Pro, a year');
    assert.equal(it.reads, 2);
  });

  test('stay the same object while nothing has changed', async () => {
    const { it, cache, sql } = world();
    it.rows = [product('Pro Yearly')];
    const first = await cache.names(sql, 'w1', 'p1');
    it.nowMs += 60_001;
    assert.equal(await cache.names(sql, 'w1', 'p1'), first);
    assert.equal(it.reads, 2);
    it.rows = [product('Pro, a year')];
    it.nowMs += 60_001;
    assert.notEqual(await cache.names(sql, 'w1', 'p1'), first);
  });

  test('are the identifier for what has none, where only its ID is known', async () => {
    const { it, cache, sql } = world();
    it.rows = [{ ...product(''), displayName: null }];
    const names = await cache.names(sql, 'w1', 'p1');
    assert.deepEqual([names.product('prod1'), names.product('pro_yearly')], ['pro_yearly', null]);
  });

  test('reach who waits for them while they are invalidated', async () => {
    const { it, cache, name } = world();
    it.rows = [product('Pro Yearly')];
    const waiting = name();
    cache.invalidate('w1', 'p1');
    assert.equal(await waiting, 'Pro Yearly');
  });

  test('a failed read is not the answer for a minute', async () => {
    const { it, name } = world();
    it.isBroken = true;
    await assert.rejects(name(), /unavailable/);
    it.isBroken = false;
    it.rows = [product('Pro Yearly')];
    assert.equal(await name(), 'Pro Yearly');
  });
});
