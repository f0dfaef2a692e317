import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { registerWorker } from '../../src/database/worker-connection.ts';

import { claimNext, LEASE_SECONDS, releaseExpiredLeases } from '../../src/delivery/claims.ts';
import { allocateSlots, listDueWorkspaces, pauseWorkspace } from '../../src/delivery/due-workspaces.ts';

import { replayEvents } from '../../src/delivery/replay.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { WINDOW_MS } from '../../src/intercom/rate-limit.ts';
import { createLogger } from '../../src/logger.ts';
import { HOUR_MS } from '../../src/time.ts';
import { markDisconnected } from '../../src/workspaces/repository.ts';
import { until } from '../support/wait.ts';
import { addWorkspace, createWorld, PROJECT_ID, WORKSPACE_ID, type World } from '../support/world.ts';
import { NOW_MS, receive, recentEvent, sentEvents, stateOf } from './support.ts';

describe('sharing the work', () => {
  test('a workspace gets its share of slots, never all, and some even when the others use all', () => {
    const limits = { perWorkspace: 32, total: 256, active: 0 };
    const due = (active: number, room = Number.POSITIVE_INFINITY) => ({
      workspaceId: `w${active}-${room}`,
      active,
      room,
    });
    assert.deepEqual([...allocateSlots([due(0)], limits).values()], [32]);
    assert.deepEqual([...allocateSlots([due(30)], limits).values()], [], 'a quarter must be free');
    assert.deepEqual([...allocateSlots([due(20)], limits).values()], [12]);
    assert.deepEqual(
      [...allocateSlots([due(0, 3)], limits).values()],
      [3],
      'its window has three calls left',
    );
    assert.deepEqual([...allocateSlots([due(0, 0)], limits).values()], []);
    assert.deepEqual([...allocateSlots([due(0)], { ...limits, active: 256 }).values()], [2]);
    const many = Array.from({ length: 64 }, (_, index) => ({ ...due(0), workspaceId: `many-${index}` }));
    assert.deepEqual(new Set(allocateSlots(many, limits).values()), new Set([4]));
  });

  describe('in the database', () => {
    let world: World;
    before(async () => {
      world = await createWorld({ rateLimitPer10s: 60 });
    });
    after(() => world?.close());

    const delivered = async (eventId: string, workspaceId = WORKSPACE_ID) =>
      (await stateOf(world, eventId, workspaceId))?.delivery === 'delivered';

    test('a worker’s leases end with its connection', async () => {
      await receive(world, 'leased', { id: 'leased-1' });
      const owner = randomUUID();
      const dying = new pg.Client({ connectionString: world.db.url });
      await dying.connect();
      const sql = {
        query: async (text: string, values: readonly unknown[] = []) =>
          (await dying.query({ text, values: [...values] })).rows,
      };
      await registerWorker(sql, owner);
      assert.equal((await claimNext(world.db.database, WORKSPACE_ID, { owner, limit: 10 })).length, 1);
      assert.equal(await releaseExpiredLeases(world.db.database), 0, 'it lives');
      assert.deepEqual(
        await claimNext(world.db.database, WORKSPACE_ID, { owner: randomUUID(), limit: 10 }),
        [],
      );
      await dying.end();
      await until(async () => (await releaseExpiredLeases(world.db.database)) === 1, 'the lease to end');
      assert.equal(
        (await claimNext(world.db.database, WORKSPACE_ID, { owner: randomUUID(), limit: 10 })).length,
        1,
      );
      await world.db.database.query('update subscribers set lease_until = null, due_at = null');
    });

    test('what a worker may have written before it ended is written again', async () => {
      const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'crossed' });
      const fields = { event_timestamp_ms: NOW_MS - 3_000 };
      await receive(world, 'crossed', { id: 'crossed-1' });
      const first = world.worker();
      await until(() => contact.customAttributes.subscription_status === 'active', 'the attributes');
      await first.stop();
      const dying = new pg.Client({ connectionString: world.db.url });
      await dying.connect();
      const owner = randomUUID();
      await registerWorker(
        { query: async (text, values = []) => (await dying.query({ text, values: [...values] })).rows },
        owner,
      );
      await receive(world, 'crossed', { id: 'crossed-2', type: 'CANCELLATION', ...fields });
      assert.equal((await claimNext(world.db.database, WORKSPACE_ID, { owner, limit: 10 })).length, 1);
      Object.assign(contact.customAttributes, { subscription_status: 'cancelled', rc_will_renew: false });
      await receive(world, 'crossed', {
        id: 'crossed-3',
        type: 'UNCANCELLATION',
        event_timestamp_ms: NOW_MS - 2_000,
      });
      await dying.end();
      const second = world.worker();
      await until(() => contact.customAttributes.rc_last_event === 'uncancellation', 'the next attributes');
      await second.stop();
      assert.equal(contact.customAttributes.subscription_status, 'active');
      assert.equal(contact.customAttributes.rc_will_renew, true);
    });

    test('the token that was refused must still be the one in use', async () => {
      const { database } = world.db;
      assert.equal(
        await markDisconnected(
          database,
          { workspaceId: WORKSPACE_ID, accessToken: 'older' },
          'intercom_unauthorized',
        ),
        false,
      );
      const [row] = await database.query<{ status: string }>(
        'select status from workspaces where workspace_id = $1',
        [WORKSPACE_ID],
      );
      assert.equal(row?.status, 'connected');
    });

    test('a workspace with a backlog beyond its window does not delay another’s single event', async () => {
      await addWorkspace(world, 'quiet');
      for (let index = 0; index < 120; index += 1) {
        world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `busy-${index}` });
        await receive(world, `busy-${index}`, { id: `busy-${index}` });
      }
      world.intercom.addContact('quiet', { role: 'user', externalId: 'calm' });
      const worker = world.worker();
      // The first window is used up, and every slot of the workspace waits for the next.
      await until(() => worker.rateUsed() === 1, 'the window to be used up');
      await receive(world, 'calm', { id: 'calm-1' }, 'quiet');
      await until(() => delivered('calm-1', 'quiet'), 'the single event');
      assert.ok(worker.activeCount() > 0, 'the busy workspace still waits');
      assert.equal(world.intercom.faults.requests().filter((request) => request.status === 429).length, 0);
      await worker.stop();
    });

    test('a token that no key decrypts stops only its workspace, which the log names', async () => {
      const { database } = world.db;
      await database.query('update subscribers set due_at = null');
      await addWorkspace(world, 'locked');
      await database.query(
        `update workspaces set access_token = 'v1.lost.key' where workspace_id = 'locked'`,
      );
      world.intercom.addContact('quiet', { role: 'user', externalId: 'open' });
      await receive(world, 'shut', { id: 'shut-1' }, 'locked');
      await receive(world, 'open', { id: 'open-1' }, 'quiet');
      let log = '';
      const destination = {
        write(line: string) {
          log += line;
        },
      };
      const logger = createLogger('error', destination);
      const worker = world.worker({ logger });
      await until(() => delivered('open-1', 'quiet'), 'the other workspace');
      await until(() => log.includes('could not claim deliveries'), 'the log');
      assert.match(log, /"workspaceId":"locked".*could not claim deliveries/);
      await worker.stop();
      await database.query(`update workspaces set status = 'uninstalled' where workspace_id = 'locked'`);
      await database.query(`update subscribers set lease_until = null where workspace_id = 'locked'`);
    });

    test('the claims of a stopped worker are released immediately', async () => {
      const [row] = await world.db.database.query<{ leased: string }>(
        'select count(*) as leased from subscribers where lease_until is not null',
      );
      assert.equal(row?.leased, '0');
    });

    test('the workspace that was served longest ago is the first', async () => {
      const { database } = world.db;
      await database.query('update subscribers set due_at = now()');
      for (const [workspaceId, minutes] of [[WORKSPACE_ID, 1] as const, ['quiet', 2] as const])
        await database.query(
          `update workspaces set not_before = null, last_claimed_at = now() - make_interval(mins => $2)
            where workspace_id = $1`,
          [workspaceId, minutes],
        );
      assert.deepEqual(await listDueWorkspaces(database), ['quiet', WORKSPACE_ID]);
    });

    test('a replay of more events than fit in a transaction queues them all', async () => {
      const { database } = world.db;
      const events = Array.from({ length: 1_001 }, (_, index) =>
        prepareEvent(recentEvent('many', { id: `many-${index}`, transaction_id: `many-${index}` }), NOW_MS),
      );
      await storeEvents(database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, events);
      await database.query(
        `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, not_sent)
         select workspace_id, subscriber_id, project_id, event_id, received_at, 'failed' from events
          where event_id like 'many-%'`,
      );
      assert.equal(await replayEvents(database, WORKSPACE_ID, { failedOnly: true }), 1_001);
    });

    test('nothing is sent under a lease whose time is over', async (t) => {
      const { database } = world.db;
      await database.query('update subscribers set due_at = null');
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'overdue' });
      const path = '/contacts/find_by_external_id/overdue';
      world.intercom.faults.add({ pathPrefix: path, latencyMs: 300, times: 1 });
      await receive(world, 'overdue', { id: 'overdue-1' });
      const worker = world.worker();
      await until(() => world.intercom.faults.list().length === 0, 'the lookup');
      const now = performance.now.bind(performance);
      t.mock.method(performance, 'now', () => now() + LEASE_SECONDS * 1_000);
      await until(() => delivered('overdue-1'), 'the event');
      const lookups = world.intercom.faults.requests().filter((request) => request.path === path);
      assert.equal(lookups.length, 2, 'it was claimed again');
      await worker.stop();
    });
  });

  describe('at light load', () => {
    let world: World;
    before(async () => {
      world = await createWorld();
      world.worker();
    });
    after(() => world?.close());

    test('a lone event is woken for, not polled for', async (t) => {
      // With the clock stopped, no poll is due.
      const now = performance.now();
      t.mock.method(performance, 'now', () => now);
      for (let index = 0; index < 3; index += 1) {
        world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: `lone-${index}` });
        await receive(world, `lone-${index}`, { id: `lone-${index}` });
        await until(
          async () => (await stateOf(world, `lone-${index}`))?.delivery === 'delivered',
          'the event',
        );
      }
    });

    test('a 429 holds back who is due in the workspace, and who is just being delivered', async () => {
      const { database } = world.db;
      for (const externalId of ['first', 'refused', 'slow'])
        world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId });
      // Makes the first call of the window, which runs alone.
      await receive(world, 'first', { id: 'first-1' });
      await until(async () => (await stateOf(world, 'first-1'))?.delivery === 'delivered', 'first-1');
      world.intercom.faults.add({ pathPrefix: '/events', status: 429, times: 1 });
      world.intercom.faults.add({ pathPrefix: '/contacts/find_by_external_id/slow', latencyMs: 2_000 });
      for (const id of ['slow', 'refused']) await receive(world, id, { id: `${id}-1` });
      const readPauseEnd = async () => {
        const [row] = await database.query<{ until: Date | null }>(
          'select not_before as until from workspaces where workspace_id = $1',
          [WORKSPACE_ID],
        );
        return row?.until?.getTime() ?? null;
      };
      await until(async () => (await readPauseEnd()) !== null, 'the pause');
      for (const id of ['slow-1', 'refused-1'])
        await until(async () => (await stateOf(world, id))?.delivery === 'delivered', id);
      // The stored end is slightly after that of Intercom's window, because PostgreSQL's clock was read after ours.
      const windowEndMs = Math.floor(((await readPauseEnd()) ?? 0) / WINDOW_MS) * WINDOW_MS;
      for (const { receivedAtMs } of sentEvents(world, ['slow-1', 'refused-1']))
        assert.ok(receivedAtMs >= windowEndMs, 'sent while paused');
      world.intercom.faults.clear();
    });

    test('a workspace that is paused, disconnected or has nothing due is not listed', async () => {
      const { database } = world.db;
      await replayEvents(database, WORKSPACE_ID, { failedOnly: false, eventId: 'lone-0' });
      await until(async () => (await stateOf(world, 'lone-0'))?.delivery === 'delivered', 'the replay');
      await pauseWorkspace(database, WORKSPACE_ID, 60_000);
      // A shorter pause does not end it.
      await pauseWorkspace(database, WORKSPACE_ID, -1_000);
      await database.query(`update subscribers set due_at = now()`);
      const owner = randomUUID();
      const claim = () => claimNext(database, WORKSPACE_ID, { owner, limit: 1 });
      assert.deepEqual(await listDueWorkspaces(database), []);
      assert.deepEqual(await claim(), [], 'nor claimed from when it was woken');
      await database.query(`update workspaces set not_before = null, status = 'disconnected'`);
      assert.deepEqual(await listDueWorkspaces(database), []);
      assert.deepEqual(await claim(), []);
      // As after the clock was set back: nothing would be delivered until it had caught up.
      await database.query(`update subscribers set due_at = now() + interval '59 minutes'`);
      await database.query(
        `update workspaces set status = 'connected', not_before = now() + interval '1 hour',
                last_claimed_at = now() + interval '59 minutes'`,
      );
      const due = () => database.query(`select 1 from subscribers where due_at <= now() + interval '1 hour'`);
      await until(async () => (await due()).length === 0, 'the deliveries');
      const ahead = await database.query('select 1 from workspaces where last_claimed_at > now()');
      assert.equal(ahead.length, 0, 'it is not done again each second');
    });
  });

  test('no attributes are written under a lease whose time is over', async (t) => {
    const world = await createWorld();
    try {
      const { database } = world.db;
      const contact = world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'late' });
      const path = '/contacts/find_by_external_id/late';
      world.intercom.faults.add({ pathPrefix: path, latencyMs: 300, times: 1 });
      const imported = [prepareEvent(recentEvent('late', { id: 'late-1' }), NOW_MS)];
      const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };
      await storeEvents(database, project, imported, { shouldDeliver: () => false });
      world.worker();
      await until(() => world.intercom.faults.list().length === 0, 'the lookup');
      const now = performance.now.bind(performance);
      t.mock.method(performance, 'now', () => now() + LEASE_SECONDS * 1_000);
      await until(() => contact.customAttributes.rc_last_event !== undefined, 'the attributes');
      const lookups = world.intercom.faults.requests().filter((request) => request.path === path);
      assert.equal(lookups.length, 2, 'it was claimed again');
    } finally {
      await world.close();
    }
  });

  test("retries wait by the worker's clock where PostgreSQL's is an hour behind it", async () => {
    const world = await createWorld();
    try {
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'behind' });
      world.worker({
        clock: {
          now: () => Date.now() + HOUR_MS,
          after(ms, callback) {
            const timer = setTimeout(callback, ms);
            return () => clearTimeout(timer);
          },
        },
      });
      for (const status of [503, 429]) {
        world.intercom.faults.add({ pathPrefix: '/events', method: 'POST', status, times: 1 });
        await receive(world, 'behind', { id: `behind-${status}` });
        const isDelivered = async () => (await stateOf(world, `behind-${status}`))?.delivery === 'delivered';
        await until(isDelivered, `the retry after ${status}`);
      }
      assert.equal(world.intercom.faults.list().length, 0);
    } finally {
      await world.close();
    }
  });
});
