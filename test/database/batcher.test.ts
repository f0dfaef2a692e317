import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createBatcher } from '../../src/database/batcher.ts';

describe('calls that share statements', () => {
  test('each item gets its own result, whatever comes when and whichever are refused', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ refused: fc.boolean(), after: fc.nat(3) }), { maxLength: 60 }),
        fc.record({ maxItems: fc.integer({ min: 1, max: 8 }), parallel: fc.integer({ min: 1, max: 3 }) }),
        fc.integer({ min: 1, max: 5 }),
        async (items, limits, minParallelItems) => {
          let running = 0;
          let mostRunning = 0;
          const add = createBatcher<number, string>({ ...limits, minParallelItems }, async (_key, group) => {
            assert.ok(group.length <= limits.maxItems);
            running += 1;
            mostRunning = Math.max(mostRunning, running);
            await new Promise((resolve) => setImmediate(resolve));
            running -= 1;
            if (group.some((index) => items[index]?.refused)) throw new Error('refused');
            return group.map((index) => `written ${index}`);
          });
          const outcomes = await Promise.all(
            items.map(async ({ after }, index) => {
              for (let turn = 0; turn < after; turn += 1)
                await new Promise((resolve) => setImmediate(resolve));
              return add('abc123', index).catch((error: Error) => error.message);
            }),
          );
          assert.deepEqual(
            outcomes,
            items.map(({ refused }, index) => (refused ? 'refused' : `written ${index}`)),
          );
          assert.ok(mostRunning <= limits.parallel);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('what comes in the same moment is one statement, and so is what comes before the next may begin', async () => {
    const groups: number[][] = [];
    const batcher = createBatcher<number, number>({ maxItems: 64, spacingMs: 200 }, async (_key, group) => {
      groups.push([...group]);
      return group;
    });
    const add = (item: number) => batcher('abc123', item);
    assert.deepEqual(await Promise.all([add(1), add(2)]), [1, 2]);
    const third = add(3);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(await Promise.all([third, add(4)]), [3, 4]);
    assert.deepEqual(groups, [
      [1, 2],
      [3, 4],
    ]);
  });

  test('without a database all fail immediately, and nothing is tried one by one', async () => {
    let tries = 0;
    const batcher = createBatcher<number, number>({ maxItems: 64 }, async () => {
      tries += 1;
      throw Object.assign(new Error('gone'), { code: '57P01' });
    });
    const add = (item: number) => batcher('abc123', item);
    const outcomes = await Promise.allSettled([add(1), add(2), add(3)]);
    assert.deepEqual(new Set(outcomes.map((outcome) => outcome.status)), new Set(['rejected']));
    assert.equal(tries, 1);
  });
});
