import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { failureMessage, outcomeLines } from '../../src/backfill/progress.ts';
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
