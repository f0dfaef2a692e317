import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIsoTime, withTimeout } from '../src/time.ts';

test('a time that a person types is read strictly', () => {
  const nowMs = Date.UTC(2026, 9, 2);
  const parse = (text: string) => parseIsoTime(text, '--since', nowMs);
  assert.equal(parse('2026-10-01'), Date.UTC(2026, 9, 1));
  assert.equal(parse('2026-10-01T01:00:00+02:00'), Date.UTC(2026, 8, 30, 23));
  for (const text of ['5', '01/02/2026', '2026-02-30', 'yesterday'])
    assert.throws(() => parse(text), { message: new RegExp(`^--since ${text} is not an ISO time such as`) });
  assert.throws(() => parse('2126-01-01'), { message: '--since 2126-01-01 is in the future' });
});

describe('withTimeout', () => {
  test('gives its result or its failure when it is in time', async () => {
    assert.equal(await withTimeout(Promise.resolve(1), 60_000, () => 2), 1);
    await assert.rejects(
      withTimeout(Promise.reject(new Error('refused')), 60_000, () => 2),
      /refused/,
    );
  });

  test('gives the fallback when it is late, and ignores how the work ends', async () => {
    const work = Promise.withResolvers<number>();
    assert.equal(await withTimeout(work.promise, 1, () => 2), 2);
    // Would end the process if it were not handled.
    work.reject(new Error('refused'));
  });

  test('fails as the fallback does', async () => {
    const never = new Promise<number>(() => {});
    const fail = (): never => {
      throw new Error('no answer');
    };
    await assert.rejects(withTimeout(never, 1, fail), /no answer/);
  });
});
