import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withTimeout } from '../src/time.ts';

describe('waiting for some work no longer than so long', () => {
  test('gives its result or its failure when it is in time', async () => {
    assert.equal(await withTimeout(Promise.resolve(1), 60_000, () => 2), 1);
    await assert.rejects(
      withTimeout(Promise.reject(new Error('refused')), 60_000, () => 2),
      /refused/,
    );
  });

  test('gives what stands in for it when it is late, and does not mind how it ends then', async () => {
    const work = Promise.withResolvers<number>();
    assert.equal(await withTimeout(work.promise, 1, () => 2), 2);
    // Would end the process if nobody looked at it.
    work.reject(new Error('refused'));
  });

  test('fails as what stands in for it does', async () => {
    const never = new Promise<number>(() => {});
    const fail = (): never => {
      throw new Error('no answer');
    };
    await assert.rejects(withTimeout(never, 1, fail), /no answer/);
  });
});
