import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { openDatabase } from '../../src/database/data-source.ts';
import { AppError } from '../../src/errors.ts';
import { pauseCalls, takeFromBudget } from '../../src/revenuecat/call-budget.ts';
import { type CallPriority, createCallLimiter } from '../../src/revenuecat/call-limiter.ts';
import { createRevenueCatClient } from '../../src/revenuecat/client.ts';
import { createRevenueCatSimulator } from '../../src/simulator/revenuecat/server.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/time.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { logger } from '../support/world.ts';

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

describe("the shared limit of a RevenueCat key's calls", () => {
  let db: TestDatabase;
  let counter = 0;
  const newProject = () => ({ workspaceId: 'abc123', projectId: `abc123-p${counter++}` });

  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.close());

  it('rejects immediately what waits in a process that stops, and nothing else', async () => {
    const project = newProject();
    const limiter = createCallLimiter({ database: db.database });
    const stopping = new AbortController();
    await limiter.gate(project, 'bulk').pause('customer', 2_000);
    const stopped = limiter.gate(project, 'bulk', stopping.signal).enter('customer');
    const goesOn = limiter.gate(project, 'bulk').enter('customer');
    stopping.abort();
    const first = await Promise.race([
      stopped.then(
        () => 'entered',
        (error: unknown) => (error as AppError).code,
      ),
      goesOn.then(() => 'the other one'),
    ]);
    assert.equal(first, 'revenuecat_rate_limited');
    await assert.rejects(limiter.gate(project, 'bulk', stopping.signal).enter('customer'), AppError);
    await goesOn;
  });

  it('never grants more than the limit in any sixty seconds, however it is asked', async () => {
    const asks = fc.array(
      fc.record({
        pauseMs: fc.oneof(
          { weight: 6, arbitrary: fc.integer({ min: 300, max: 900 }) },
          { weight: 3, arbitrary: fc.integer({ min: 0, max: 50 }) },
          { weight: 1, arbitrary: fc.integer({ min: 1_000, max: 90_000 }) },
        ),
        calls: fc.constantFrom(1, 5, 64, 64, 64),
        keepShare: fc.constantFrom(0, 0, 0, 0.25, 0.5),
      }),
      { minLength: 100, maxLength: 200 },
    );
    const limits = fc.constantFrom(null, 30, 60, 480, 1_200);
    await fc.assert(
      fc.asyncProperty(asks, limits, async (list, announced) => {
        const project = newProject();
        const limit = announced ?? 480;
        const granted: { atMs: number; calls: number }[] = [];
        let nowMs = 1_800_000_000_000;
        const reading = announced === null ? null : { limit: announced, usage: 0 };
        if (reading)
          await takeFromBudget(
            db.database,
            { ...project, domain: 'customer' },
            {
              calls: 0,
              keepShare: 0,
              usage: reading,
              nowMs,
            },
          );
        for (const { pauseMs, calls, keepShare } of list) {
          nowMs += pauseMs;
          const taken = await takeFromBudget(
            db.database,
            { ...project, domain: 'customer' },
            { calls, keepShare, nowMs },
          );
          granted.push({ atMs: nowMs, calls: taken.granted });
          assert.equal(taken.granted >= calls, taken.waitMs === 0);
        }
        for (const first of granted) {
          const inMinute = granted.filter(({ atMs }) => atMs >= first.atMs && atMs < first.atMs + MINUTE_MS);
          const sum = inMinute.reduce((total, { calls }) => total + calls, 0);
          assert.ok(sum <= limit, `${sum} calls in a minute that allows ${limit}`);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('a clock that was set back by an hour stops no calls, neither does a pause from before', async () => {
    const budget = { ...newProject(), domain: 'customer' } as const;
    const ask = { calls: 64, keepShare: 0 };
    const beforeMs = Date.now();
    await takeFromBudget(db.database, budget, { ...ask, nowMs: beforeMs });
    await pauseCalls(db.database, budget, 10_000);
    const setBackMs = beforeMs - HOUR_MS;
    let total = 0;
    for (let nowMs = setBackMs; nowMs <= setBackMs + MINUTE_MS; nowMs += 500)
      total += (await takeFromBudget(db.database, budget, { ...ask, nowMs })).granted;
    assert.ok(total >= 0.85 * 480 && total <= 480, `${total} calls`);
  });

  it('uses nine tenths of the limit under constant demand', async () => {
    const project = newProject();
    let nowMs = 1_800_000_000_000;
    let total = 0;
    const fromMs = nowMs + MINUTE_MS;
    for (; nowMs < fromMs + MINUTE_MS; nowMs += 500) {
      const { granted } = await takeFromBudget(
        db.database,
        { ...project, domain: 'customer' },
        {
          calls: 64,
          keepShare: 0.5,
          nowMs,
        },
      );
      if (nowMs >= fromMs) total += granted;
    }
    // The limit less a twelfth, which the bucket holds, and a forty-eighth for calls that arrive later.
    assert.ok(Math.abs(total - (480 - 40 - 10)) <= 2, `${total} calls`);
  });

  it('lets a higher limit be used as soon as RevenueCat announces it', async () => {
    const budget = { ...newProject(), domain: 'customer' } as const;
    const nowMs = 1_800_000_000_000;
    await takeFromBudget(db.database, budget, { calls: 10, keepShare: 0, nowMs });
    const usage = { limit: 4_800, usage: 10 };
    const { granted } = await takeFromBudget(db.database, budget, {
      calls: 1_000,
      keepShare: 0,
      usage,
      nowMs,
    });
    // Three quarters of the bucket, which holds a twelfth of the limit.
    assert.equal(granted, 300);
  });

  it('reserves a part of the budget for urgent calls', async () => {
    const project = newProject();
    const nowMs = 1_800_000_000_000;
    const take = (keepShare: number) =>
      takeFromBudget(db.database, { ...project, domain: 'customer' }, { calls: 64, keepShare, nowMs });
    assert.equal((await take(0.5)).granted, 20);
    assert.equal((await take(0.5)).granted, 0);
    assert.equal((await take(0.25)).granted, 10);
    assert.equal((await take(0)).granted, 10);
    assert.equal((await take(0)).granted, 0);
  });

  it('subtracts what another program uses of the same key', async () => {
    const project = newProject();
    const nowMs = 1_800_000_000_000;
    const usage = { limit: 480, usage: 477 };
    const ask = { calls: 40, keepShare: 0, nowMs };
    assert.equal(
      (await takeFromBudget(db.database, { ...project, domain: 'customer' }, { ...ask, usage })).granted,
      3,
    );
  });

  it('keeps projects, workspaces and domains apart', async () => {
    const project = newProject();
    const nowMs = 1_800_000_000_000;
    const ask = { calls: 64, keepShare: 0, nowMs };
    assert.equal((await takeFromBudget(db.database, { ...project, domain: 'customer' }, ask)).granted, 40);
    assert.equal(
      (await takeFromBudget(db.database, { ...project, domain: 'configuration' }, ask)).granted,
      10,
    );
    const other = { ...project, workspaceId: 'other1' };
    assert.equal((await takeFromBudget(db.database, { ...other, domain: 'customer' }, ask)).granted, 40);
  });

  it('stops all calls after a 429, and rejects those that cannot wait', async () => {
    const project = newProject();
    const limiter = createCallLimiter({ database: db.database });
    await limiter.gate(project, 'interactive').enter('customer');
    await pauseCalls(db.database, { ...project, domain: 'customer' }, 45_000);
    await pauseCalls(db.database, { ...project, domain: 'customer' }, 10);
    const begunMs = Date.now();
    const refusal = await limiter
      .gate(project, 'interactive')
      .enter('customer')
      .then(
        () => null,
        (error: unknown) => error,
      );
    assert.ok(refusal instanceof AppError && refusal.code === 'revenuecat_rate_limited');
    assert.ok(refusal.remedy.kind === 'wait_until' && refusal.remedy.atMs > begunMs + 40_000);
    assert.ok(Date.now() - begunMs < 30_000);
    // A call for an agent waits only two seconds.
    const other = newProject();
    const card = limiter.gate(other, 'interactive');
    await card.enter('customer');
    await card.pause('customer', 10_000);
    await assert.rejects(card.enter('customer'), { code: 'revenuecat_rate_limited' });
  });

  it('begins again with few calls after a 429', async () => {
    const budget = { ...newProject(), domain: 'customer' } as const;
    const ask = { calls: 64, keepShare: 0 };
    await takeFromBudget(db.database, budget, { ...ask, calls: 1 });
    await pauseCalls(db.database, budget, 1_000);
    const { granted } = await takeFromBudget(db.database, budget, { ...ask, nowMs: Date.now() + 1_100 });
    assert.ok(granted >= 1 && granted <= 20, `${granted} of 40 calls`);
  });

  it('does not wait for ever when one response said that the minute is used up', async () => {
    const gate = createCallLimiter({ database: db.database }).gate(newProject(), 'interactive');
    await gate.enter('customer');
    gate.observe('customer', { limit: 480, usage: 480 });
    await gate.enter('customer');
  });

  it('shares a limit between processes without one 429, and lets a card go first', async () => {
    const revenueCat = createRevenueCatSimulator();
    const listening = await revenueCat.listen();
    // Another pool acts as another process: they share only the database.
    const otherPool = await openDatabase({ url: db.url, logger, poolSize: 5 });
    try {
      revenueCat.addProject({ id: 'proj1' });
      revenueCat.addCustomer('proj1', { id: 'user-1' });
      // So few that any machine uses them up.
      revenueCat.state.limitsPerMinute.customer = 600;
      const apiKey = revenueCat.issueKey('proj1');
      const project = newProject();
      const clientOf = (database: TestDatabase['database'], priority: CallPriority) =>
        createRevenueCatClient({
          apiUrl: listening.url,
          apiKey,
          gate: createCallLimiter({ database }).gate(project, priority),
        });
      const startedMs = performance.now();
      const stopAtMs = startedMs + 2_500;
      /** How many other calls ended while one waited. In ms, a slow machine would add the same time to both. */
      const waits = { bulk: [] as number[], card: [] as number[] };
      let calls = 0;
      const call = async (client: ReturnType<typeof clientOf>, kind: keyof typeof waits): Promise<void> => {
        const before = calls;
        await client.getCustomer('proj1', 'user-1');
        // The first calls find a full bucket.
        if (before > 30) waits[kind].push(calls - before);
        calls += 1;
      };
      // One response tells the limit; with the default limit, the other calls would be slower than allowed.
      await clientOf(db.database, 'bulk').getCustomer('proj1', 'user-1');
      const bulk = [db.database, otherPool.database].flatMap((database) => {
        const client = clientOf(database, 'bulk');
        return Array.from({ length: 4 }, async () => {
          while (performance.now() < stopAtMs) await call(client, 'bulk');
        });
      });
      const card = clientOf(db.database, 'interactive');
      while (performance.now() < stopAtMs - 200) {
        await call(card, 'card');
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      await Promise.all(bulk);

      assert.deepEqual(
        revenueCat.faults.requests().filter(({ status }) => status === 429),
        [],
      );
      const seconds = (performance.now() - startedMs) / 1_000;
      assert.ok(calls <= 50 + 10 * seconds, `${calls} calls in ${seconds} s`);
      assert.ok(waits.card.length > 0 && waits.bulk.length > 0);
      assert.ok(
        median(waits.bulk) > 2 * median(waits.card),
        `${median(waits.bulk)}, ${median(waits.card)} calls`,
      );
    } finally {
      await listening.close();
      await otherPool.close();
    }
  });

  it('pauses every process when RevenueCat answers 429 nevertheless', async () => {
    const revenueCat = createRevenueCatSimulator();
    const listening = await revenueCat.listen();
    try {
      revenueCat.addProject({ id: 'proj1' });
      revenueCat.addCustomer('proj1', { id: 'user-1' });
      const project = newProject();
      const apiKey = revenueCat.issueKey('proj1');
      const client = () =>
        createRevenueCatClient({
          apiUrl: listening.url,
          apiKey,
          gate: createCallLimiter({ database: db.database }).gate(project, 'interactive'),
        });
      await client().getCustomer('proj1', 'user-1');
      revenueCat.faults.add({ status: 429, times: 1 });
      const begunMs = performance.now();
      await assert.rejects(client().getCustomer('proj1', 'user-1'), { code: 'revenuecat_rate_limited' });
      await client().getCustomer('proj1', 'user-1');
      assert.ok(performance.now() - begunMs > 800, 'the other process waited for the announced time');
    } finally {
      await listening.close();
    }
  });
});
