import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failureMessage, outcomeLines, percentDone, timeLeft } from '../../src/backfill/progress.ts';
import type { ImportProgress } from '../../src/backfill/repository.ts';
import { barLine } from '../../src/backfill/watch.ts';

const progress: ImportProgress = {
  workspaceId: 'w',
  projectId: 'p',
  importId: 'i',
  state: 'running',
  reason: null,
  eventsSinceMs: null,
  hasEvents: true,
  cursor: null,
  isListed: true,
  listed: 12_400,
  done: 6_200,
  newCustomers: 0,
  missing: 0,
  failed: 0,
  subscriptions: 0,
  purchases: 0,
  newEvents: 0,
  knownEvents: 0,
  startedAt: new Date(0),
  finishedAt: null,
  perMinute: 86,
};

it('does not count deleted or unreadable customers as imported', () => {
  const [first] = outcomeLines({ ...progress, state: 'done', done: 300, missing: 1, failed: 2 });
  assert.equal(first, '297 customers imported, 0 of them new here.');
});

it('lists what was read, and what is missing only if something is', () => {
  const read = '6,200 customers imported, 4 of them new here.';
  const bought = '1 subscription and 2 one-time purchases read.';
  const counts = { newCustomers: 4, subscriptions: 1, purchases: 2, newEvents: 5, knownEvents: 6 };
  const all = { ...progress, ...counts };
  assert.deepEqual(outcomeLines({ ...all, hasEvents: null }), [read, bought]);
  assert.deepEqual(outcomeLines(all), [read, bought, '5 events added to timelines, 6 known already.']);
  const [, , ...rest] = outcomeLines({ ...all, hasEvents: false, missing: 1, failed: 2 });
  assert.deepEqual(rest, [
    'RevenueCat does not offer past events for this project: timelines start with the first webhook.',
    'Deleted in RevenueCat during the import: 1 customer.',
    'Could not be read: 2 customers. Import again to retry them.',
  ]);
});

it('says how long an import still takes, if that is known', () => {
  const left = (seconds: number) => timeLeft({ ...progress, perMinute: 60, done: progress.listed - seconds });
  const hour = 3_600;
  assert.deepEqual(
    [0, 59, 60, 61, hour - 1, hour, hour + 1, hour * 24 - 60].map(left),
    ['1 s', '59 s', '1 min', '2 min', '1 h', '1 h', '1 h 1 min', '23 h 59 min'].map((each) => `${each} left`),
  );
  assert.deepEqual(
    [24, 25, 52].map((hours) => left(hours * hour)),
    ['1 day left', '1 day 1 h left', '2 days 4 h left'],
  );
  for (const unknown of [{ isListed: false }, { state: 'paused' }, { perMinute: 0 }] as const)
    assert.equal(timeLeft({ ...progress, ...unknown }), null);
  assert.equal(percentDone({ ...progress, listed: 0, done: 0 }), 100);
});

it('does not advise to start again when RevenueCat no longer knows the project', () => {
  assert.match(
    failureMessage({ reason: 'revenuecat_not_found' }),
    /no longer knows the project.*connect the new one/,
  );
});

describe('the progress bar of an import', () => {
  it('shows everything where there is room', () => {
    assert.equal(
      barLine(progress, 100),
      `${'\u2588'.repeat(15)}${'\u2591'.repeat(15)} 50 % | 6,200 of 12,400 customers | 86/min | 1 h 13 min left`,
    );
  });

  it('fits every terminal, and shows progress and time left on a narrow one', () => {
    const slow = { ...progress, reason: 'revenuecat_rate_limited' };
    const listing = { ...progress, isListed: false };
    for (const each of [progress, slow, listing])
      for (let columns = 5; columns < 200; columns += 1)
        assert.ok(barLine(each, columns).length < columns, `${columns} columns`);
    assert.match(
      barLine(progress, 60),
      /^\u2588+\u2591+ 50 % \| 6,200 of 12,400 \| 86\/min \| 1 h 13 min left$/,
    );
    assert.match(barLine(progress, 40), /^\u2588+\u2591+ 50 % \| 1 h 13 min left$/);
    assert.match(barLine(slow, 62), /50 % \| 6,200 of 12,400 \| waiting for RevenueCat's rate limit$/);
    assert.match(barLine(listing, 40), /6,200 imported, 12,400 found$/);
  });
});
