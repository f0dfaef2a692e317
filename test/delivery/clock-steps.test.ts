import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { watchClock } from '../../src/delivery/clock-steps.ts';
import { HOUR_MS } from '../../src/time.ts';
import { until } from '../support/wait.ts';
import { createWorld, WORKSPACE_ID, type World } from '../support/world.ts';
import { receive, stateOf } from './support.ts';

/** A clock that is wrong until it is corrected. */
function wrongClock(aheadMs: number) {
  return {
    correct: () => {
      aheadMs = 0;
    },
    now: () => Date.now() + aheadMs,
    after(ms: number, callback: () => void) {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  };
}

describe('a clock that was ahead is set back', () => {
  let world: World;
  before(async () => {
    world = await createWorld();
  });
  after(() => world?.close());

  const reason = (eventId: string, wanted: string) =>
    until(async () => (await stateOf(world, eventId))?.reason === wanted, `${eventId} to be ${wanted}`);

  test('a retry and the pause after a 429 do not last an hour longer', async () => {
    const clock = wrongClock(HOUR_MS);
    for (const id of ['ill', 'paused'])
      world.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: id });
    world.worker({ clock, random: () => 0 });

    world.intercom.faults.add({ pathPrefix: '/events', status: 503, times: 1 });
    await receive(world, 'ill', { id: 'ill-1' });
    await reason('ill-1', 'intercom_unavailable');
    world.intercom.faults.add({ pathPrefix: '/events', status: 429, times: 1 });
    await receive(world, 'paused', { id: 'paused-1' });
    await reason('paused-1', 'intercom_rate_limited');
    const [workspace] = await world.db.database.query<{ waits: boolean }>(
      `select not_before > now() + interval '50 minutes' as waits from workspaces where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    assert.ok(workspace?.waits, 'the pause ends by the wrong clock');

    clock.correct();
    for (const eventId of ['ill-1', 'paused-1'])
      await until(async () => (await stateOf(world, eventId))?.delivery === 'delivered', eventId);
  });

  test('time that passes, slowly corrected or set forward, is not a step back', () => {
    let aheadMs = 0;
    const step = watchClock(() => performance.now() + aheadMs);
    for (const ms of [0, 500, HOUR_MS, HOUR_MS - 500, HOUR_MS - 1_500]) {
      aheadMs = ms;
      assert.equal(step(), 0, `${ms}`);
    }
    aheadMs = 0;
    assert.ok(Math.abs(step() - HOUR_MS + 1_500) < 50);
    assert.equal(step(), 0, 'reported once');
  });
});
