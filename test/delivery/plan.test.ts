import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { nextContactLookup, RETRY_FOR_MS, retryAt } from '../../src/delivery/failures.ts';
import { changedAttributes, nextChangeAt, type PlannedEvent, planEvents } from '../../src/delivery/plan.ts';
import type { ErrorCode, Remedy } from '../../src/errors.ts';
import { type EventDelivery, type EventRow, toTimelineEntry } from '../../src/subscribers/stored-events.ts';
import { contactAttributes } from '../../src/subscription/contact-values.ts';
import { deriveState } from '../../src/subscription/state.ts';
import type { Snapshot } from '../../src/subscription/types.ts';
import { HOUR_MS, MINUTE_MS } from '../../src/time.ts';
import { DEFAULT_SETTINGS } from '../../src/workspaces/settings.ts';
import {
  apiSubscription,
  buy,
  day,
  event,
  grant,
  period,
  snapshotOf,
  trial,
} from '../subscription/histories.ts';
import { eventBody, START_MS } from '../support/events.ts';

function entry(id: string, fields: Record<string, unknown> = {}) {
  const event = eventBody({ id, ...fields });
  const row: EventRow = {
    project_id: 'p1',
    event_id: id,
    side: 'customer',
    event_at_ms: String(event.event_timestamp_ms),
    received_at: new Date(START_MS),
    fields: event,
    skip_reason: null,
    not_sent: null,
    reason: null,
    attempts: 0,
    next_try_at: null,
    first_tried_at: null,
    delivered_at: null,
    sent_name: null,
    sent_at_s: null,
    contact_id: null,
  };
  return toTimelineEntry(row);
}

const pending: EventDelivery = {
  state: 'pending',
  contactId: null,
  sentAs: null,
  attempts: 0,
  firstTriedAtMs: null,
  nextTryAtMs: null,
  deliveredAtMs: null,
  reason: null,
};
const NAME = 'rc_initial_purchase_event';
const AT_S = START_MS / 1_000;

function entries(deliveries: Record<string, EventDelivery>) {
  return Object.entries(deliveries).map(([id, delivery]) => ({ ...entry(id), delivery }));
}

/** How many seconds after `AT_S` the event is sent as, or why it is not sent. */
function secondOf(event: PlannedEvent) {
  return event.action === 'send' ? event.sentAs.atS - AT_S : event.reason;
}

function seconds(deliveries: Record<string, EventDelivery>, settings = DEFAULT_SETTINGS) {
  const planned = planEvents(entries(deliveries), settings);
  return Object.fromEntries(planned.map((event) => [event.entry.id, secondOf(event)]));
}

describe('planning', () => {
  test('what shares name and second is moved, once, and stays there', () => {
    assert.deepEqual(seconds({ a: pending, b: pending, c: pending }), { a: 0, b: 1, c: 2 });
    const sentAs = { name: NAME, atS: AT_S + 1 };
    assert.deepEqual(seconds({ a: pending, b: { ...pending, sentAs }, c: pending }), { a: 0, b: 1, c: 2 });
  });

  test('a name counts as Intercom stores it: without case, with - for . and $', () => {
    const sentAs = { name: NAME.toUpperCase(), atS: AT_S };
    assert.deepEqual(seconds({ a: { ...pending, state: 'delivered', sentAs }, b: pending }), { b: 1 });
    const settings = { ...DEFAULT_SETTINGS, events: { initial_purchase: { name: 'rc.$x', enabled: true } } };
    const dashed = { name: 'RC--x', atS: AT_S };
    assert.deepEqual(
      seconds({ a: { ...pending, state: 'delivered', sentAs: dashed }, b: pending }, settings),
      {
        b: 1,
      },
    );
  });

  test('a second is rounded down, and a blank name is the default', () => {
    const late = { ...entry('a', { event_timestamp_ms: START_MS + 999 }), delivery: pending };
    const settings = { ...DEFAULT_SETTINGS, events: { initial_purchase: { name: ' ', enabled: true } } };
    assert.deepEqual(planEvents([late], settings), [
      { action: 'send', entry: late, sentAs: { name: NAME, atS: AT_S } },
    ]);
  });

  test('a purchase in the sandbox is sent only where the workspace wants it', () => {
    const tried = { ...entry('a', { environment: 'SANDBOX' }), delivery: pending };
    const planned = (deliver: boolean) =>
      planEvents([tried], { ...DEFAULT_SETTINGS, sandbox: { deliver } }).map(secondOf);
    assert.deepEqual([planned(false), planned(true)], [['sandbox'], [0]]);
  });

  test('what is on a contact already and was queued again is sent whatever was switched off since', () => {
    const replayed = { ...pending, contactId: 'c1', sentAs: { name: NAME, atS: AT_S } };
    const off = {
      ...DEFAULT_SETTINGS,
      events: { initial_purchase: { name: '', enabled: false } },
      sandbox: { deliver: false },
    };
    assert.deepEqual(seconds({ a: replayed, b: pending }, off), { a: 0, b: 'switched_off' });
    const sandbox = { ...entry('a', { environment: 'SANDBOX' }), delivery: replayed };
    assert.deepEqual(planEvents([sandbox], DEFAULT_SETTINGS).map(secondOf), [0]);
  });

  test('two who turn out to be one: what is on the contact stays, what was never tried moves', () => {
    const sentAs = { name: NAME, atS: AT_S };
    const delivered = { ...pending, state: 'delivered', sentAs } as const;
    assert.deepEqual(seconds({ a: { ...pending, sentAs }, b: delivered }), { a: 1 });
    assert.deepEqual(seconds({ a: { ...pending, sentAs, attempts: 1 }, b: { ...pending, sentAs } }), {
      a: 0,
      b: 1,
    });
  });

  test('what was never tried takes the name that is configured now; what may be on the contact keeps its own', () => {
    const settings = { ...DEFAULT_SETTINGS, events: { initial_purchase: { name: 'bought', enabled: true } } };
    const sentAs = { name: NAME, atS: AT_S };
    const waiting = { ...pending, sentAs };
    const own = entries({
      waits: waiting,
      tried: { ...waiting, sentAs: { name: NAME, atS: AT_S + 1 }, attempts: 1 },
      replayed: { ...waiting, sentAs: { name: NAME, atS: AT_S + 2 }, contactId: 'c-1' },
    });
    assert.deepEqual(
      planEvents(own, settings).map((event) => event.action === 'send' && event.sentAs.name),
      ['bought', NAME, NAME],
    );
    const others = [0, 1, 2].map((second) => ({ name: NAME, atS: AT_S + second }));
    assert.deepEqual(
      planEvents(own, DEFAULT_SETTINGS, others).map(secondOf),
      [3, 1, 2],
      'another customer came to the contact: what it may have already is not sent under another second',
    );
  });

  test('a transfer is not sent for the customer that it takes from', () => {
    const planned = planEvents(
      [
        { ...entry('own'), delivery: pending },
        { ...entry('transfer'), side: 'source', delivery: pending },
      ],
      DEFAULT_SETTINGS,
    );
    assert.deepEqual(
      planned.map((event) => event.entry.id),
      ['own'],
    );
  });

  test('no two events of a subscriber ever share name and second, in whatever state they are', () => {
    const state = fc.record({
      isPending: fc.boolean(),
      attempts: fc.nat(1),
      offset: fc.option(fc.nat(3), { nil: null }),
    });
    fc.assert(
      fc.property(fc.array(state, { maxLength: 8 }), (states) => {
        const deliveries: Record<string, EventDelivery> = {};
        const used = new Set<number>();
        for (const [index, { isPending, attempts, offset }] of states.entries()) {
          // Only an event that was never tried may share its second; a sent one had a second of its own.
          const isFree = offset !== null && !used.has(offset);
          if (offset !== null && !isFree && (!isPending || attempts > 0)) continue;
          if (offset !== null && (!isPending || attempts > 0)) used.add(offset);
          const sentAs = offset === null ? null : { name: NAME, atS: AT_S + offset };
          if (!isPending && sentAs === null) continue;
          const state = isPending ? 'pending' : 'delivered';
          deliveries[`e${index}`] = { ...pending, state, attempts, sentAs };
        }
        const planned = planEvents(entries(deliveries), DEFAULT_SETTINGS);
        const sent = Object.values(deliveries).flatMap(({ state, sentAs }) =>
          state === 'pending' || !sentAs ? [] : [sentAs.atS],
        );
        for (const event of planned) if (event.action === 'send') sent.push(event.sentAs.atS);
        assert.equal(new Set(sent).size, sent.length);
      }),
    );
  });

  test('attributes: only what changed; all of them on a contact that is not known', () => {
    assert.deepEqual(changedAttributes({ a: 1, b: null, c: 'x' }, { a: 1, c: 'y' }), { c: 'x' });
    assert.deepEqual(changedAttributes({ a: null, b: 2 }, { a: 1, b: 2 }), { a: null });
    assert.deepEqual(changedAttributes({ a: 1, b: null }, null), { a: 1, b: null });
    assert.deepEqual(
      changedAttributes({ a: null, b: false }, { a: '', b: 0 }),
      { b: false },
      'cleared by a text',
    );
  });
});

describe('retrying', () => {
  const retry = (failures: number, random: number, sinceMs = 0) =>
    retryAt(
      { code: 'intercom_unavailable', remedy: { kind: 'retry' } },
      { failures, firstTriedAtMs: -sinceMs, nowMs: 0, random },
    );

  test('waits twice as long each time, with jitter, up to an hour', () => {
    const delays = [1, 2, 3, 4].map((failures) => retry(failures, 0));
    assert.deepEqual(delays, [250, 500, 1_000, 2_000]);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (n, random) => {
          const atMs = retry(n, random);
          assert.ok(atMs !== null && atMs >= 250 && atMs <= 3_600_000);
        },
      ),
    );
  });

  test('fails after three days, or immediately when a retry cannot help', () => {
    assert.equal(retry(80, 0.5, RETRY_FOR_MS - 3_600_001), 2_700_000);
    assert.equal(retry(80, 0.5, RETRY_FOR_MS), null);
    const first = { failures: 1, firstTriedAtMs: 0, nowMs: 0, random: 0 };
    assert.equal(retryAt({ code: 'intercom_rejected', remedy: { kind: 'give_up' } }, first), null);
  });

  test('waits for a missing plan or permission longer than three days', () => {
    const attempt = { failures: 80, firstTriedAtMs: 0, nowMs: 2 * RETRY_FOR_MS, random: 0.5 };
    for (const code of ['intercom_scope_missing', 'intercom_plan_restricted'] as const) {
      assert.equal(retryAt({ code, remedy: { kind: 'give_up' } }, attempt), attempt.nowMs + 2_700_000);
    }
  });

  test('only what may pass, or a missing plan or permission, is retried', () => {
    const first = { failures: 1, firstTriedAtMs: 0, nowMs: 0, random: 0 };
    const cases: [ErrorCode, Remedy, number | null][] = [
      ['intercom_scope_missing', { kind: 'give_up' }, 250],
      ['intercom_plan_restricted', { kind: 'give_up' }, 250],
      ['intercom_attribute_missing', { kind: 'retry' }, 250],
      ['intercom_rate_limited', { kind: 'wait_until', atMs: 7_000 }, null],
      ['intercom_unauthorized', { kind: 'reauthorize' }, null],
      ['intercom_not_found', { kind: 'wait_for_contact' }, null],
      ['intercom_contact_merged', { kind: 'follow_contact', contactId: 'c' }, null],
    ];
    for (const [code, remedy, atMs] of cases) assert.equal(retryAt({ code, remedy }, first), atMs, code);
  });

  test('a contact is looked up ever more rarely, down to once a week, and never for the last time', () => {
    const days = (ms: number) => ms / 86_400_000;
    const delays = [1, 2, 3, 4, 5, 6, 7, 8, 100].map((lookups) => days(nextContactLookup(lookups, 0)));
    assert.deepEqual(delays.slice(3), [1, 2, 4, 7, 7, 7]);
    assert.ok(delays.every((delay, index) => delay >= (delays[index - 1] ?? 0)));
  });
});

describe('when time alone changes the attributes', () => {
  const NOW_MS = day(40);
  const listed = (endDay: number | null) => ({
    ...snapshotOf(39.9, []),
    activeEntitlements: [{ lookupKey: 'gold', endsAtMs: endDay === null ? null : day(endDay) }],
  });
  const ofApi = (fields: Parameters<typeof apiSubscription>[0]) =>
    snapshotOf(39.9, [apiSubscription(fields)]);
  const cases: [string, ReturnType<typeof buy>[], Snapshot | null][] = [
    ['a subscription', [buy(20, 50)], null],
    ['a trial', [trial(35, 42)], null],
    ['two subscriptions', [buy(20, 50), buy(30, 60, { original_transaction_id: 'o2', id: 'b' })], null],
    ['a grant', [grant(30, 44)], null],
    ['a lifetime grant', [grant(30, null)], null],
    ['a grace period', [], ofApi({ status: 'in_grace_period', periodEndsAtMs: day(39), endsAtMs: day(45) })],
    ['an end that has passed while the API says it gives access', [], ofApi({ endsAtMs: day(39.5) })],
    [
      'the same, cancelled',
      [],
      ofApi({ endsAtMs: day(39.5), periodEndsAtMs: day(39.5), autoRenewalStatus: 'will_not_renew' }),
    ],
    ['an entitlement that only the API lists', [], listed(60)],
    ['one that never ends', [], listed(null)],
  ];
  test('a renewal may be announced two hours late; nothing else is waited for', () => {
    const cancelled = event('CANCELLATION', 30, { ...period(20, 50), cancel_reason: 'UNSUBSCRIBE' });
    const next = (events: ReturnType<typeof buy>[]) =>
      nextChangeAt(deriveState(events, null, NOW_MS), NOW_MS);
    assert.equal(next([buy(20, 50)]), day(50) + 2 * HOUR_MS);
    assert.equal(next([buy(20, 50), cancelled]), day(50) + MINUTE_MS);
  });

  for (const [name, events, snapshot] of cases) {
    test(`a delivery comes after the last change: ${name}`, () => {
      const stateAt = (atMs: number) => deriveState(events, snapshot, atMs);
      let atMs = NOW_MS;
      for (let next: number | null = NOW_MS; next !== null; next = nextChangeAt(stateAt(atMs), atMs))
        atMs = next;
      const attributesAt = (ms: number) => contactAttributes(stateAt(ms), ['ada']);
      assert.deepEqual(attributesAt(atMs), attributesAt(day(4_000)));
    });
  }
});
