import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { takeCalls } from '../../src/delivery/intercom-budget.ts';
import { type Clock, IntercomRateGate } from '../../src/delivery/intercom-rate-gate.ts';
import type { RateLimit } from '../../src/intercom/rate-limit.ts';
import { HOUR_MS } from '../../src/time.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** A ten-second window on the fast clock lasts half a second. */
const SPEED = 20;
const QUOTA = 167;
const WORKERS = 2;
const CONCURRENCY = 16;

const clocks: NodeJS.Timeout[] = [];

/** A clock that advances in steps, so that time does not jump when the process has to wait for a processor. */
function fastClock(): Clock {
  let nowMs = Math.ceil(Date.now() / 10_000) * 10_000;
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  clocks.push(
    setInterval(() => {
      nowMs += SPEED;
      for (const timer of timers) {
        if (timer.atMs > nowMs) continue;
        timers.delete(timer);
        timer.callback();
      }
    }, 1),
  );
  return {
    now: () => nowMs,
    after(ms, callback) {
      const timer = { atMs: nowMs + ms, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
}

/** Counts calls as Intercom does, in windows of its own clock. */
function limiter(now: () => number, quota: number) {
  const used = new Map<number, number>();
  let refused = 0;
  return {
    used,
    refused: () => refused,
    /** The answer's status and headers. */
    call(): { status: number; reading: RateLimit } {
      const window = Math.floor(now() / 10_000);
      const before = used.get(window) ?? 0;
      const status = before < quota ? 202 : 429;
      if (status === 429) refused += 1;
      else used.set(window, before + 1);
      const remaining = quota - Math.min(quota, before + 1);
      return { status, reading: { limit: quota, remaining, resetAtMs: (window + 1) * 10_000 } };
    },
  };
}

describe('pacing', { concurrency: true }, () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(async () => {
    for (const clock of clocks) clearInterval(clock);
    await db?.close();
  });

  /** Runs workers that share only the database, each with so many loops that call Intercom until `endMs`. */
  async function callUntil(
    workspaceId: string,
    input: {
      clock: Clock;
      intercom: ReturnType<typeof limiter>;
      workers: number;
      loops: number;
      endMs: number;
    },
  ): Promise<void> {
    const { clock, intercom, workers, loops, endMs } = input;
    const gates: IntercomRateGate[] = [];
    const work: Promise<void>[] = [];
    let isOver = false;
    for (let worker = 0; worker < workers; worker += 1) {
      const gate = new IntercomRateGate({
        clock,
        take: (ask) => takeCalls(db.database, workspaceId, ask),
      });
      gates.push(gate);
      const callInLoop = async (): Promise<void> => {
        while (clock.now() < endMs) {
          try {
            await gate.acquire();
          } catch (error) {
            if (isOver) return;
            throw error;
          }
          // The time to Intercom and back.
          await new Promise<void>((resolve) => clock.after(Math.random() * 100, resolve));
          const { status, reading } = intercom.call();
          gate.observe(reading);
          if (status === 429)
            gate.pause(reading.resetAtMs > clock.now() ? reading.resetAtMs : clock.now() + 250);
          gate.release(true);
        }
      };
      work.push(...Array.from({ length: loops }, callInLoop));
    }
    await new Promise((resolve) => clock.after(endMs - clock.now(), () => resolve(null)));
    isOver = true;
    for (const gate of gates) gate.close();
    await Promise.all(work);
  }

  test('two workers use a minute of windows to at least 95 %, and are never refused', async () => {
    const clock = fastClock();
    const startMs = clock.now();
    const intercom = limiter(clock.now, QUOTA);
    await callUntil('shared', { clock, intercom, workers: 2, loops: 16, endMs: startMs + 70_000 });
    const windows = [...intercom.used.entries()].sort(([a], [b]) => a - b).map(([, used]) => used);
    // In the first window the quota is not known yet, and the last window is not over.
    const full = windows.slice(1, 7);
    assert.equal(full.length, 6);
    const share = full.reduce((sum, used) => sum + used, 0) / (full.length * QUOTA);
    assert.ok(share >= 0.95, `used ${(share * 100).toFixed(1)} % of ${windows.join(', ')}`);
    assert.equal(intercom.refused(), 0);
  });

  test('another program that uses the same window lowers what is taken of it, without 429s', async () => {
    const clock = fastClock();
    const startMs = clock.now();
    const intercom = limiter(clock.now, QUOTA);
    let refusedToOthers = 0;
    const other = setInterval(() => {
      if (intercom.call().status === 429) refusedToOthers += 1;
    }, 8);
    await callUntil('crowded', {
      clock,
      intercom,
      workers: WORKERS,
      loops: CONCURRENCY,
      endMs: startMs + 40_000,
    });
    clearInterval(other);
    const full = [...intercom.used.values()].slice(1, 4);
    assert.equal(full.length, 3);
    assert.ok(
      full.every((used) => used >= QUOTA * 0.95),
      full.join(', '),
    );
    // Once per window, each worker can have all its calls in flight refused when the quota runs out.
    const refused = intercom.refused() - refusedToOthers;
    assert.ok(refused <= WORKERS * CONCURRENCY * intercom.used.size, `${refused} refused`);
  });

  test('an Intercom whose clock is behind refuses a call or two, then none', async () => {
    const clock = fastClock();
    const startMs = clock.now();
    const behind = limiter(() => clock.now() - 1_000, QUOTA);
    await callUntil('behind', { clock, intercom: behind, workers: 1, loops: 16, endMs: startMs + 60_000 });
    const full = [...behind.used.values()].slice(2, 5);
    assert.equal(full.length, 3);
    assert.ok(
      full.every((used) => used >= QUOTA * 0.95),
      full.join(', '),
    );
    // At most the calls in flight when the first refusal arrived.
    assert.ok(behind.refused() <= 16, `${behind.refused()} refused`);
  });

  test('a clock that was set back by an hour holds up no call', async () => {
    let nowMs = 1_800_000_000_000;
    const gate = new IntercomRateGate({
      clock: { now: () => nowMs, after: () => () => {} },
      take: async ({ calls, limit }) => ({ calls, left: limit.remaining, untilMs: limit.resetAtMs }),
    });
    const call = async (remaining: number) => {
      await gate.acquire();
      gate.observe({ limit: 100, remaining, resetAtMs: nowMs + 10_000 });
      gate.release(true);
    };
    await call(50);
    await call(49);
    gate.pause(nowMs + 10_000);
    assert.equal(gate.room(), 0);
    nowMs -= HOUR_MS;
    assert.ok(gate.room() > 0);
    await call(80);
    await call(79);
    assert.equal(gate.used().toFixed(2), '0.21');
  });

  /** A gate whose calls must begin immediately. */
  const unlimited = () =>
    new IntercomRateGate({
      clock: { now: () => 0, after: () => assert.fail('a call waits') },
      take: () => Promise.reject(new Error('not asked')),
    });

  test('without the headers nothing is limited', async () => {
    const gate = unlimited();
    await gate.acquire();
    gate.release(true);
    await Promise.all(Array.from({ length: 50 }, () => gate.acquire()));
  });

  test('a first call that fails does not delay the next', async () => {
    const gate = unlimited();
    await gate.acquire();
    gate.release(false);
    await gate.acquire();
  });

  test('calls taken in advance are given up when another program has used them, and after a 429', async () => {
    let nowMs = 1_000;
    const resetAtMs = () => Math.ceil((nowMs + 1) / 10_000) * 10_000;
    const requests: { calls: number; remaining: number }[] = [];
    const gate = new IntercomRateGate({
      clock: { now: () => nowMs, after: () => () => {} },
      take: async ({ calls, limit: { remaining } }) => {
        requests.push({ calls, remaining });
        return { calls, left: QUOTA, untilMs: resetAtMs() };
      },
    });
    const call = async (remaining: number): Promise<void> => {
      await gate.acquire();
      gate.observe({ limit: QUOTA, remaining, resetAtMs: resetAtMs() });
      gate.release(true);
    };
    for (const remaining of [QUOTA - 1, QUOTA - 2, 1, 0]) await call(remaining);
    assert.equal(requests.length, 1);
    assert.ok((requests[0]?.calls ?? 0) > 4, 'more than were made');
    await call(0);
    assert.deepEqual(
      requests.map(({ remaining }) => remaining),
      [QUOTA - 1, 0],
    );

    nowMs = 11_000;
    await call(QUOTA - 1);
    gate.pause(15_000);
    assert.deepEqual(requests.at(-1), { calls: 0, remaining: 0 }, 'the other processes stop as well');
    nowMs = 15_000;
    await call(QUOTA - 2);
    assert.notEqual(requests.at(-1)?.calls, 0);
  });

  test('a first call without a response delays the others only briefly', async () => {
    const gate = new IntercomRateGate({
      clock: fastClock(),
      take: () => Promise.reject(new Error('not asked')),
    });
    await gate.acquire();
    const startedAt = performance.now();
    await gate.acquire();
    assert.ok(performance.now() - startedAt < 5_000);
    gate.close();
    await assert.rejects(gate.acquire());
  });
});
