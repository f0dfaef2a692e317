import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type JobQueue, openJobs } from '../../src/jobs/jobs.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/wait.ts';
import { logger } from '../support/world.ts';

describe('background jobs', () => {
  let db: TestDatabase;
  let jobs: JobQueue;
  const done: string[] = [];
  const hanging: { name: string; end(): void }[] = [];
  const failing = new Set<string>();

  before(async () => {
    db = await createTestDatabase();
    jobs = await openJobs({ databaseUrl: db.url, backend: 'postgres', listen: true, logger });
    await jobs.register({
      'subscriber.refresh': {
        workers: 'bulk',
        async run({ subscriberId }) {
          if (failing.delete(subscriberId)) throw new Error(`zqperson ${subscriberId}`);
          done.push(subscriberId);
        },
      },
    });
    await jobs.register({
      'workspace.check': {
        workers: 'waiting',
        run: ({ workspaceId: name }) =>
          new Promise<void>((end) => {
            hanging.push({ name, end });
          }),
      },
    });
    await jobs.work();
  });
  after(async () => {
    await jobs?.stop();
    await db?.close();
  });

  const send = (subscriberId: string): Promise<void> =>
    jobs.send('subscriber.refresh', { workspaceId: 'w', subscriberId });

  test('a queue that another version of the app has made gets the settings of this one, once', async () => {
    const read = () =>
      db.database.query<{ limit: number; updatedOn: Date }>(
        `select retry_limit as limit, updated_on as "updatedOn" from pgboss.queue where name = 'workspace.check'`,
      );
    const register = (retryLimit: number) =>
      jobs.register({ 'workspace.check': { workers: 'waiting', retryLimit, run: () => Promise.resolve() } });
    await register(7);
    const [changed] = await read();
    assert.equal(changed?.limit, 7);
    await register(7);
    assert.deepEqual(await read(), [changed]);
    await register(10);
  });

  test('a nightly job that came due while no process ran is run once after the next start', async () => {
    let runs = 0;
    // Not due while the test runs, whatever the time.
    const cron = `17 ${(new Date().getUTCHours() + 12) % 24} * * *`;
    const nightly = { workers: 'background', cron, run: async () => (runs += 1) } as const;
    const start = async () => {
      const started = await openJobs({
        databaseUrl: other.url,
        backend: 'postgres',
        listen: true,
        logger,
      });
      await started.register({ 'workspace.daily': nightly });
      await started.work();
      return started;
    };
    const other = await createTestDatabase();
    await (await start()).stop();
    await other.database.query(`update pgboss.schedule set created_on = now() - interval '9 days'`);
    await other.database.query(`update pgboss.version set cron_on = now() - interval '3 days'`);
    const restarted = await start();
    await until(() => runs > 0, 'the missed run');
    await restarted.stop();
    assert.equal(runs, 1);
    await other.close();
  });

  test('many jobs run without a pause between them', async () => {
    const names = Array.from({ length: 60 }, (_, n) => `many-${n}`);
    await Promise.all(names.map(send));
    await until(() => names.every((name) => done.includes(name)), 'all of them');
    assert.equal(done.length, names.length);
    const kept = await db.database.query(
      `select distinct deletion_seconds from pgboss.job where data ? 'subscriberId'`,
    );
    assert.deepEqual(kept, [{ deletion_seconds: 24 * 3_600 }], 'jobs that ran are deleted after a day');
  });

  test('jobs that wait for a platform which hangs do not keep others waiting', async () => {
    for (let count = 1; count <= 8; count += 1) {
      await jobs.send('workspace.check', { workspaceId: `w${count}` });
      await until(() => hanging.length === count, `job ${count} to begin`);
    }
    for (const { end } of hanging) end();
  });

  // These tests mostly wait for the pause.
  describe('after a pause', { concurrency: true }, () => {
    test('a failed job is retried alone, and its error stays out of the tables', async () => {
      failing.add('bad');
      await Promise.all(['good-1', 'bad', 'good-2'].map(send));
      await until(
        () => ['good-1', 'good-2', 'bad'].every((name) => done.includes(name)),
        'the second attempt',
      );
      assert.deepEqual(
        done.filter((name) => /^(good|bad)/.test(name)).toSorted(),
        ['bad', 'good-1', 'good-2'],
        'the others were not repeated',
      );
      const rows = await db.database.query<{ text: string }>(
        `select row_to_json(j)::text as text from pgboss.job j`,
      );
      assert.ok(rows.length > 0);
      for (const { text } of rows) assert.doesNotMatch(text, /zqperson/);
    });

    test('a job that may run every two seconds runs again after them when it is queued again sooner', async () => {
      const often = (): Promise<void> =>
        jobs.send(
          'subscriber.refresh',
          { workspaceId: 'w', subscriberId: 'often' },
          { key: 'often', atMostEverySeconds: 2 },
        );
      const runs = (): number => done.filter((name) => name === 'often').length;
      await often();
      await until(() => runs() === 1, 'the first');
      await Promise.all([often(), often(), often()]);
      await until(() => runs() > 1, 'one more', 15_000);
      const rows = await db.database.query(`select 1 from pgboss.job where singleton_key = 'often'`);
      assert.ok(rows.length < 4, 'those that came too soon are one');
    });
  });
});
