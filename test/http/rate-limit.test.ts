import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { Response } from 'express';
import { createRateLimit, senderOf } from '../../src/http/rate-limit.ts';

interface Recorded {
  readonly res: Response;
  readonly headers: Map<string, string>;
}

function response(): Recorded {
  const headers = new Map<string, string>();
  const res = { set: (name: string, value: string) => headers.set(name, value) } as unknown as Response;
  return { res, headers };
}

test('a key passes until the window is used up, and again in the next window', async (t) => {
  mock.timers.enable({ apis: ['Date', 'setTimeout'] });
  t.after(() => mock.timers.reset());
  const limit = createRateLimit({ requests: 3, seconds: 2, message: 'Too many' });
  const { res, headers } = response();
  for (let request = 0; request < 3; request += 1) await limit.consume('k', res);
  assert.equal(headers.size, 0);
  await assert.rejects(limit.consume('k', res), {
    code: 'rate_limited',
    status: 429,
    message: 'Too many. Try again in 2 s.',
  });
  assert.equal(headers.get('Retry-After'), '2');
  await limit.consume('other', res);
  mock.timers.tick(1_500);
  await assert.rejects(limit.consume('k', res), { message: 'Too many. Try again in 1 s.' });
  mock.timers.tick(501);
  await limit.consume('k', res);
});

test('checking counts nothing and refuses as soon as counting would', async () => {
  const limit = createRateLimit({ requests: 2, seconds: 60, message: 'Too many' });
  const { res } = response();
  for (let request = 0; request < 5; request += 1) await limit.check('k', res);
  await limit.consume('k', res);
  await limit.check('k', res);
  await limit.consume('k', res);
  await assert.rejects(limit.check('k', res), { code: 'rate_limited' });
});

test('a sender is an IPv4 address or an IPv6 network of 64 bits', () => {
  const cases: readonly (readonly [string | undefined, string])[] = [
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '::ffff:203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::9', '2001:db8:1:2'],
    ['2001:db8::9', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['2001:db8:1:2::', '2001:db8:1:2'],
    [undefined, ''],
  ];
  for (const [ip, sender] of cases) assert.equal(senderOf({ ip }), sender, ip);
});
