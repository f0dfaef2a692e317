import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AppError } from '../../src/errors.ts';
import {
  type Access,
  compareReadBack,
  currentEndOrNow,
  endsOf,
  findNoEffect,
  storedAccess,
  upcomingCharges,
} from '../../src/grants/access.ts';

import type { Grant } from '../../src/grants/action.ts';
import { ACTION_KINDS } from '../../src/grants/action-kinds.ts';
import type { ActionContext, ActionCustomer } from '../../src/grants/context.ts';
import {
  DURATIONS,
  type Duration,
  endOfDuration,
  LIFETIME_END_MS,
  parseEndDate,
} from '../../src/grants/durations.ts';
import type { ReviewedGrant, ReviewedStoreAction } from '../../src/grants/form-state.ts';
import { noteHtml } from '../../src/grants/notes.ts';
import {
  checkLength,
  checkReason,
  checkTeammate,
  grantedDays,
  needsApproval,
  needsSecondPerson,
} from '../../src/grants/policy.ts';
import { findLive } from '../../src/grants/purchases.ts';
import { usableIds } from '../../src/grants/read-revenuecat.ts';
import { purchaseComponents } from '../../src/grants/views/purchase.ts';
import { LANGUAGES } from '../../src/i18n/languages.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import type { RevenueCatClient } from '../../src/revenuecat/client.ts';
import type { LivePurchase } from '../../src/revenuecat/store-actions.ts';
import { deriveState } from '../../src/subscription/state.ts';
import type { Money, SubscriptionState } from '../../src/subscription/types.ts';
import { DAY_MS, FOREVER_MS, HOUR_MS } from '../../src/time.ts';
import { workspaceSettingsSchema } from '../../src/workspaces/settings.ts';
import { buy, day, event, grant as grantEvent, period } from '../subscription/histories.ts';

const at = (iso: string): number => Date.parse(iso);

describe('an end that an agent types', () => {
  const cases: readonly (readonly [text: string, zone: string, expected: string | null])[] = [
    ['2027-01-31', 'UTC', '2027-01-31T23:59:59Z'],
    ['2027-01-31', 'America/New_York', '2027-02-01T04:59:59Z'],
    ['2027-07-31', 'America/New_York', '2027-08-01T03:59:59Z'],
    ['2027-01-31', 'Asia/Tokyo', '2027-01-31T14:59:59Z'],
    ['2027-01-31 18:00', 'Europe/Berlin', '2027-01-31T17:00:00Z'],
    [' 2027-01-31T18:00 ', 'Europe/Berlin', '2027-01-31T17:00:00Z'],
    // The clocks go from 2:00 to 3:00, and from 3:00 to 2:00.
    ['2027-03-28 02:30', 'Europe/Berlin', '2027-03-28T01:30:00Z'],
    ['2027-10-31 02:30', 'Europe/Berlin', '2027-10-31T01:30:00Z'],
    // Hours after and before that.
    ['2027-03-28 18:00', 'Europe/Berlin', '2027-03-28T16:00:00Z'],
    ['2027-10-30 18:00', 'Europe/Berlin', '2027-10-30T16:00:00Z'],
    ['2028-02-29', 'UTC', '2028-02-29T23:59:59Z'],
    ['2027-01-31', 'Nowhere/Land', '2027-01-31T23:59:59Z'],
    ['2027-02-29', 'UTC', null],
    ['2027-13-01', 'UTC', null],
    ['2027-00-10', 'UTC', null],
    ['2027-01-31 24:00', 'UTC', null],
    ['2027-01-31 10:60', 'UTC', null],
    ['27-01-31', 'UTC', null],
    ['1/2/2027', 'UTC', null],
    ['31.01.2027', 'UTC', null],
    ['2027-1-31', 'UTC', null],
    ['tomorrow', 'UTC', null],
    ['2027-01-31; drop', 'UTC', null],
    ['', 'UTC', null],
  ];
  for (const [text, zone, expected] of cases) {
    test(`"${text}" in ${zone} is ${expected ?? 'refused'}`, () => {
      const end = parseEndDate(text, zone);
      assert.equal(end === null ? null : new Date(end).toISOString().replace('.000', ''), expected);
    });
  }

  test('is that day in the zone, whatever its daylight saving time', () => {
    const zones = [
      'America/New_York',
      'America/Santiago',
      'Asia/Tokyo',
      'Australia/Lord_Howe',
      'Africa/Cairo',
    ];
    const day = fc.date({ min: new Date('2026-01-01'), max: new Date('2098-01-01'), noInvalidDate: true });
    fc.assert(
      fc.property(day, fc.constantFrom(...zones), (date, timeZone) => {
        const text = date.toISOString().slice(0, 10);
        const end = parseEndDate(text, timeZone);
        assert.ok(end !== null);
        const shown = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short' });
        assert.equal(shown.format(end), text);
        assert.notEqual(shown.format(end + 1_000), text);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the end of a duration', () => {
  test('counts calendar months', () => {
    assert.equal(endOfDuration('monthly', at('2027-01-31T10:00:00Z'), 'UTC'), at('2027-02-28T10:00:00Z'));
    assert.equal(endOfDuration('six_month', at('2026-08-31T10:00:00Z'), 'UTC'), at('2027-02-28T10:00:00Z'));
    assert.equal(endOfDuration('yearly', at('2028-02-29T10:00:00Z'), 'UTC'), at('2029-02-28T10:00:00Z'));
    assert.equal(endOfDuration('two_week', at('2027-01-01T10:00:00Z'), 'UTC'), at('2027-01-15T10:00:00Z'));
    assert.equal(endOfDuration('lifetime', at('2027-01-01T10:00:00Z'), 'UTC'), LIFETIME_END_MS);
  });

  test('counts the months of the workspace, on both sides of midnight in UTC and of a change of clocks', () => {
    const chicago = (fromTime: string, duration: Duration): string =>
      new Date(endOfDuration(duration, at(fromTime), 'America/Chicago')).toISOString();
    assert.equal(chicago('2026-11-29T01:44:00Z', 'three_month'), '2027-03-01T01:44:00.000Z');
    assert.equal(chicago('2026-11-29T01:44:00Z', 'six_month'), '2027-05-29T00:44:00.000Z');
    const march = endOfDuration('monthly', at('2027-02-28T23:00:00Z'), 'Asia/Tokyo');
    assert.equal(march, at('2027-03-31T23:00:00Z'), 'from March 1 to April 1');
  });

  test('a longer duration never ends before a shorter one', () => {
    const start = fc.integer({ min: at('2026-01-01'), max: at('2060-01-01') });
    fc.assert(
      fc.property(start, fc.constantFrom('UTC', 'Australia/Lord_Howe'), (fromMs, timeZone) => {
        const ends = DURATIONS.map((duration) => endOfDuration(duration, fromMs, timeZone));
        assert.deepEqual(
          ends,
          [...ends].sort((a, b) => a - b),
        );
        assert.ok((ends[0] ?? 0) > fromMs);
      }),
    );
  });
});

describe('a grant that RevenueCat would ignore', () => {
  const now = at('2027-01-01T00:00:00Z');
  const none = { grantEndMs: null, boughtEndMs: null };
  const cases: readonly (readonly [string, Parameters<typeof findNoEffect>[0], number, string | null])[] = [
    ['nothing there', none, now + DAY_MS, null],
    [
      'a grant that ends an hour earlier',
      { ...none, grantEndMs: now + 9 * HOUR_MS },
      now + 10 * HOUR_MS,
      'same_grant',
    ],
    [
      'a grant that ends two hours later',
      { ...none, grantEndMs: now + 12 * HOUR_MS },
      now + 10 * HOUR_MS,
      'same_grant',
    ],
    [
      'a grant that ends three hours earlier',
      { ...none, grantEndMs: now + 7 * HOUR_MS },
      now + 10 * HOUR_MS,
      null,
    ],
    [
      'a grant that ends three hours later',
      { ...none, grantEndMs: now + 13 * HOUR_MS },
      now + 10 * HOUR_MS,
      'later_grant',
    ],
    [
      'a subscription until later',
      { ...none, boughtEndMs: now + DAY_MS },
      now + 10 * HOUR_MS,
      'paid_until_later',
    ],
    [
      'a subscription until the same time',
      { ...none, boughtEndMs: now + 10 * HOUR_MS },
      now + 10 * HOUR_MS,
      'paid_until_later',
    ],
    ['a subscription until earlier', { ...none, boughtEndMs: now + HOUR_MS }, now + 10 * HOUR_MS, null],
    ['both for life', { ...none, grantEndMs: FOREVER_MS }, LIFETIME_END_MS, 'same_grant'],
  ];
  for (const [what, current, endMs, expected] of cases) {
    test(`${what}: ${expected ?? 'takes effect'}`, () => {
      assert.equal(findNoEffect(current, endMs)?.kind ?? null, expected);
    });
  }

  test('access that no subscription explains is a one-time purchase', () => {
    const other = { isGrant: true, endsAtMs: now + 90 * DAY_MS, entitlements: ['team'] };
    const endsFor = (endMs: number | null, sources: readonly [isGrant: boolean, endsAtMs: number][]) => {
      const items = [
        ...(endMs === null ? [] : [{ entitlement: 'entl1', name: 'Pro', endMs }]),
        { entitlement: 'entl2', name: 'Team', endMs: other.endsAtMs },
      ];
      const giving = [
        other,
        ...sources.map(([isGrant, endsAtMs]) => ({ isGrant, endsAtMs, entitlements: ['pro'] })),
      ];
      const access: Access = { appUserId: 'anna', isStored: false, items, sources: giving };
      const { grantEndMs, boughtEndMs } = endsOf(access, { id: 'entl1', lookupKey: 'pro' });
      return [grantEndMs, boughtEndMs];
    };
    const grantEndMs = now + DAY_MS;
    const boughtEndMs = now + 2 * DAY_MS;
    assert.deepEqual(endsFor(FOREVER_MS, []), [null, FOREVER_MS]);
    for (const [itemEndMs, endMs] of [
      [grantEndMs + 999, grantEndMs],
      [FOREVER_MS, LIFETIME_END_MS],
    ] as const)
      assert.deepEqual(endsFor(itemEndMs, [[true, endMs]]), [endMs, null]);
    const both = [
      [true, grantEndMs],
      [false, boughtEndMs],
    ] as [boolean, number][];
    assert.deepEqual(endsFor(boughtEndMs, both), [grantEndMs, boughtEndMs]);
    assert.deepEqual(endsFor(grantEndMs, both), [grantEndMs, boughtEndMs]);
    assert.deepEqual(endsFor(FOREVER_MS, [[true, grantEndMs]]), [grantEndMs, FOREVER_MS]);
    assert.deepEqual(endsFor(boughtEndMs, [...both, [true, now]]), [grantEndMs, boughtEndMs]);
    assert.deepEqual(endsFor(null, [[false, boughtEndMs]]), [null, boughtEndMs]);
  });

  test('nothing is added to a grant for life', () => {
    const endOf = (grantEndMs: number) => currentEndOrNow(now, { ...none, grantEndMs });
    assert.deepEqual([endOf(now + DAY_MS), endOf(LIFETIME_END_MS)], [now + DAY_MS, now]);
  });
});

describe('what reading back shows', () => {
  const asked = at('2027-02-01T00:00:00Z');
  const cases: readonly (readonly [string, number | null, number, string])[] = [
    ['nothing before, the requested end', null, asked, 'granted'],
    ['nothing before, the end in whole seconds', null, asked - 999, 'granted'],
    ['nothing before, another end', null, asked - DAY_MS, 'granted'],
    ['an earlier one before, and still', asked - 9 * DAY_MS, asked - 9 * DAY_MS, 'missing'],
    ['an earlier one before, the end now', asked - 9 * DAY_MS, asked, 'granted'],
    ['within two hours before, and still', asked - HOUR_MS, asked - HOUR_MS, 'unchanged'],
    ['the same end before, and still', asked - 999, asked - 999, 'unchanged'],
    ['a later one before, and still', asked + 9 * DAY_MS, asked + 9 * DAY_MS, 'unchanged'],
  ];
  for (const [what, before, after, expected] of cases) {
    test(`${what}: ${expected}`, () =>
      assert.equal(compareReadBack({ requestedEndMs: asked, previousEndMs: before }, after), expected));
  }
});

describe('the policy', () => {
  const policyOf = (grants: object) => workspaceSettingsSchema.parse({ grants }).grants;
  const grant = { adminId: 'a1', days: 31, reason: 'Outage' };
  const checkPolicy = (
    policy: ReturnType<typeof policyOf>,
    { adminId, days, reason }: { adminId: string; days: number | null; reason: string },
  ) =>
    checkTeammate(policy, adminId) ?? checkReason(policy.reasonRequired, reason) ?? checkLength(policy, days);

  test('of a new workspace: every teammate, up to a year, with a reason', () => {
    const policy = policyOf({});
    assert.equal(checkPolicy(policy, grant), null);
    assert.equal(checkPolicy(policy, { ...grant, days: 366 }), null);
    assert.equal(checkPolicy(policy, { ...grant, days: 367 })?.code, 'too_long');
    assert.equal(checkPolicy(policy, { ...grant, days: null })?.code, 'lifetime_not_allowed');
    assert.equal(checkPolicy(policy, { ...grant, reason: ' \n ' })?.code, 'reason_missing');
    assert.equal(checkPolicy(policy, { ...grant, reason: 'x'.repeat(1_000) }), null);
    assert.equal(checkPolicy(policy, { ...grant, reason: 'x'.repeat(1_001) })?.code, 'reason_too_long');
    assert.equal(checkPolicy(policy, { ...grant, adminId: '' })?.code, 'not_allowed');
    assert.equal(policy.monthlyPerAdmin, null);
    assert.equal(needsApproval(policy, null), false);
  });

  test('refuses by each of its rules', () => {
    assert.equal(checkPolicy(policyOf({ enabled: false }), grant)?.code, 'switched_off');
    assert.equal(checkPolicy(policyOf({ allowedAdminIds: ['b'] }), grant)?.code, 'not_allowed');
    assert.equal(checkPolicy(policyOf({ reasonRequired: false }), { ...grant, reason: '' }), null);
    assert.equal(checkPolicy(policyOf({ lifetimeAllowed: true }), { ...grant, days: null }), null);
    assert.equal(needsApproval(policyOf({ secondPersonAboveDays: 31 }), 31), false);
    assert.equal(needsApproval(policyOf({ secondPersonAboveDays: 31 }), 32), true);
    assert.equal(needsApproval(policyOf({ secondPersonAboveDays: 31 }), null), true);
  });

  test('a second person is needed for what was granted before and now together', () => {
    const nowMs = at('2027-07-01T00:00:00Z');
    const needs = (aboveDays: number, access: { previousEndMs?: number; boughtEndMs?: number }): boolean => {
      const settings = { grants: policyOf({ secondPersonAboveDays: aboveDays }) };
      const ends = { previousEndMs: null, boughtEndMs: null, ...access };
      const fromMs = ends.previousEndMs ?? ends.boughtEndMs ?? nowMs;
      const reviewed = { kind: 'grant', duration: 'two_month', start: 'after', ...ends } as const;
      return needsSecondPerson(
        { app: { now: () => nowMs }, workspace: { settings } } as unknown as ActionContext,
        { ...reviewed, requestedEndMs: endOfDuration('two_month', fromMs, 'UTC') } as ReviewedGrant,
      );
    };
    const later = { boughtEndMs: at('2027-08-01T00:00:00Z') };
    assert.deepEqual([needs(61, later), needs(60, later)], [false, true]);
    const granted = { previousEndMs: at('2027-08-01T00:00:00Z') };
    assert.deepEqual([needs(92, granted), needs(91, granted)], [false, true]);
    assert.deepEqual([needs(61, {}), needs(60, {})], [false, true]);
  });

  test('a second person is needed for a refund above the limit, or of an unknown sum', () => {
    const actions = { refund: { enabled: true, maxAmountAlone: 5 } };
    const workspace = { settings: workspaceSettingsSchema.parse({ actions }) };
    const needs = (kind: string, amount: Money | null): boolean =>
      needsSecondPerson(
        { workspace } as unknown as ActionContext,
        { kind, details: { amount } } as ReviewedStoreAction,
      );
    for (const [currency, five] of [
      ['USD', 500],
      ['JPY', 5],
      ['KWD', 5_000],
    ] as const) {
      assert.equal(needs('refund', { amountMinor: five, currency }), false, currency);
      assert.equal(needs('refund', { amountMinor: five + 1, currency }), true, currency);
    }
    assert.equal(needs('refund', null), true);
    assert.equal(needs('cancel', null), false);
  });

  test('a month has the same length for the policy in every month', () => {
    const july = at('2027-07-01T00:00:00Z');
    const endMs = endOfDuration('two_month', july, 'UTC');
    assert.equal(Math.floor((endMs - july) / DAY_MS), 62);
    const lengthOf = (grant: Partial<ReviewedGrant>): number | null =>
      grantedDays(july, {
        start: 'now',
        requestedEndMs: endMs,
        previousEndMs: null,
        boughtEndMs: null,
        ...grant,
      } as ReviewedGrant);
    assert.equal(lengthOf({ duration: 'two_month' }), 61);
    assert.equal(lengthOf({ duration: 'two_month', start: 'after', previousEndMs: july + DAY_MS }), 62);
    assert.equal(lengthOf({ duration: 'two_month', start: 'after', boughtEndMs: july - DAY_MS }), 61);
    const boughtEndMs = at('2027-12-01T00:00:00Z');
    const afterBought = { boughtEndMs, requestedEndMs: endOfDuration('two_month', boughtEndMs, 'UTC') };
    assert.equal(
      lengthOf({ duration: 'two_month', start: 'after', ...afterBought }),
      61,
      'a month of what is free',
    );
    assert.equal(lengthOf({ duration: 'custom' }), 62);
    assert.equal(lengthOf({ duration: 'custom', requestedEndMs: endMs + HOUR_MS }), 62);
    assert.equal(lengthOf({ duration: 'lifetime', requestedEndMs: LIFETIME_END_MS }), null);
    assert.equal(lengthOf({ duration: 'custom', requestedEndMs: LIFETIME_END_MS }), null);
  });
});

test('a purchase is found among those of its environment only', () => {
  const stored = { store: 'RC_BILLING', isOneTime: false, transactionId: 'tx', key: 'key' };
  const production = { ...stored, environment: 'production' } as SubscriptionState;
  const sandbox = { ...stored, environment: 'sandbox' } as SubscriptionState;
  const state = { subscriptions: [production], grants: [], sandbox: [sandbox], consumables: [] };
  const context = { customer: { state } } as unknown as ActionContext;
  const live = (environment: string) =>
    ({
      id: environment,
      kind: 'subscription',
      store: 'RC_BILLING',
      storeId: null,
      environment,
    }) as LivePurchase;
  assert.equal(findLive(context, production, [live('sandbox')]), null);
  assert.equal(findLive(context, production, [live('production'), live('sandbox')])?.id, 'production');
  const [other, own] = [
    { ...live('production'), storeId: 'other' },
    { ...live('production'), storeId: 'tx' },
  ];
  assert.equal(findLive(context, production, [other, own]), own, 'by the store’s transaction');
  const inKey = { ...production, transactionId: null };
  for (const key of ['RC_BILLING|other', 'RC_BILLING|other:pass'])
    assert.equal(findLive(context, { ...inKey, key }, [own, other]), other, key);
  assert.equal(
    findLive(context, { ...inKey, key: 'RC_BILLING|sub2' }, [own, { ...other, id: 'sub2' }])?.id,
    'sub2',
  );
  assert.equal(findLive(context, inKey, [own, other]), null);
});

test('nothing is granted any more to a customer who was deleted in RevenueCat', async () => {
  const notFound = () => Promise.reject(new AppError('revenuecat_not_found', 'Deleted'));
  const client = new Proxy({}, { get: () => notFound }) as RevenueCatClient;
  const grant = { state: 'revoking', appUserId: 'deleted' } as Grant & { nowMs: number; isOverdue: boolean };
  assert.deepEqual(await ACTION_KINDS.grant.readBack(client, 'proj1', grant), {});
});

test('a grant that RevenueCat has accepted and ignored is known as such when it can no longer be made', async () => {
  const [before, asked] = [day(5), day(30)];
  const subscription = { store: 'PROMOTIONAL', givesAccess: true, entitlements: ['pro'], endsAtMs: before };
  const client = { activeEntitlements: async () => [], listSubscriptions: async () => [subscription] };
  const readBack = (isOverdue: boolean, isAnswered: boolean) =>
    ACTION_KINDS.grant.readBack(client as unknown as RevenueCatClient, 'proj1', {
      ...{ state: 'requested', lookupKey: 'pro', requestedEndMs: asked, previousEndMs: before },
      ...{ isOverdue, isAnswered, nowMs: 0 },
    } as Grant & { nowMs: number; isOverdue: boolean });
  assert.deepEqual(await readBack(true, true), { actualEndMs: before, isUnchanged: true });
  assert.equal(await readBack(false, true), 'missing');
  assert.equal(await readBack(true, false), 'missing');
});

test('the preferred id of a customer is used before the others', () => {
  const customer = { appUserId: 'last', appUserIds: ['$RCAnonymousID:1', 'first', 'null', 'last'] };
  assert.deepEqual(usableIds(customer as unknown as ActionCustomer), ['last', 'first', '$RCAnonymousID:1']);
});

test('a purchase known only by the id that RevenueCat gave its product is not named by it', () => {
  const titlesOf = (fields: Record<string, unknown>) => {
    const purchase = buy(0, 31, { product_id: 'prod4f31bd16ab', ...fields });
    const context = {
      app: { now: () => day(1) },
      customer: {
        state: deriveState([purchase], null, day(1)),
        names: { product: () => null, entitlement: () => null },
      },
      messages: messagesFor('en'),
      workspace: { settings: workspaceSettingsSchema.parse({}) },
    } as unknown as Parameters<typeof purchaseComponents>[0];
    return purchaseComponents(context).flatMap((part) =>
      part.type === 'list' ? part.items.map(({ title }) => title) : [],
    );
  };
  assert.deepEqual(titlesOf({ entitlement_ids: ['pro'] }), ['Pro']);
  assert.deepEqual(titlesOf({ entitlement_ids: null, entitlement_id: null }), ['Purchase']);
});

for (const fields of [{}, { store: undefined }]) {
  const name = 'store' in fields ? 'without a store' : 'of the promotional store';
  test(`a stored grant ${name} is access that was granted, not bought`, () => {
    const state = deriveState([grantEvent(0, 30, fields)], null, day(1));
    const names = { entitlement: () => null };
    const customer = { state, names, appUserId: 'anna', appUserIds: ['anna'] };
    const access = storedAccess(customer as unknown as ActionCustomer);
    assert.deepEqual(endsOf(access, { id: 'entl1', lookupKey: 'pro' }), {
      grantEndMs: day(30),
      boughtEndMs: null,
    });
  });
}

describe('what a store charges before a grant ends', () => {
  const pause = event('SUBSCRIPTION_PAUSED', 5, { ...period(0, 30), auto_resume_at_ms: day(60) });
  const change = event('PRODUCT_CHANGE', 5, { ...period(0, 30), new_product_id: 'pro_yearly' });
  const agreed = event('PRICE_INCREASE_CONSENT_APPROVED', 5);
  const usd = (amountMinor: number): Money => ({ amountMinor, currency: 'USD' });
  const cases = [
    ['the price', [buy(0, 30)], day(30), usd(1000)],
    ['an unknown price after an introductory one', [buy(0, 30, { period_type: 'INTRO' })], day(30), null],
    ['an unknown price of the product it changes to', [buy(0, 30), change], day(30), null],
    ['an unknown price that the customer agreed to', [buy(0, 30), agreed], day(30), null],
    ['the price when a pause ends', [buy(0, 30), pause], day(60), usd(1000)],
  ] as const;
  for (const [what, events, atMs, sum] of cases)
    test(`is ${what}`, () => {
      const customer = { state: deriveState(events, null, day(6)) };
      const context = { app: { now: () => day(6) }, customer } as unknown as ActionContext;
      const until = (requestedEndMs: number, lookupKey = 'pro') =>
        upcomingCharges(context, { lookupKey, requestedEndMs });
      assert.deepEqual(until(day(90)), [{ atMs, sum, store: 'APP_STORE' }]);
      assert.deepEqual(until(FOREVER_MS), until(day(90)));
      assert.deepEqual([...until(atMs), ...until(day(90), 'team')], []);
    });
});

describe('a note', () => {
  const grant = {
    kind: 'grant',
    actionId: '0123abcd-0000-4000-8000-000000000000',
    entitlementName: '<b>Pro</b> & "more"',
    reason: '<script>\u202ealert(1)</script>\nand more',
    admin: { id: '1', name: 'Ada <img>', email: null },
    decidedBy: { id: '2', name: "Sam O'Neil", email: null },
    requestedEndMs: at('2027-02-01T12:00:00Z'),
    actualEndMs: null,
    isUnchanged: false,
  } as unknown as Grant;

  test('of a grant that one teammate made alone has no names: it is written as theirs', () => {
    const alone = { ...grant, decidedBy: null, reason: ' ' };
    assert.doesNotMatch(noteHtml(alone, 'confirmed', messagesFor('en')), /Ada|Sam|Reason/);
  });

  test('of a failure says what failed, whether that is known, and why it was wanted', () => {
    const named = { ...grant, entitlementName: 'Pro', reason: 'Outage', revokeReason: 'Fraud' };
    const noteOf = (state: Grant['state'], error: string): string[] =>
      noteHtml({ ...named, state, error }, 'failed', messagesFor('en'))
        .split(/<.*?>+/)
        .filter(Boolean);
    const people = 'Requested by Ada &lt;img&gt;, approved by Sam O&#39;Neil.';
    const [granting, removal] = [noteOf('failed', 'other'), noteOf('confirmed', 'other')];
    assert.deepEqual(granting.slice(0, 3), [
      'The grant of Pro failed: RevenueCat did not make it.',
      people,
      'Reason: Outage',
    ]);
    const notRemoved = 'Failed to remove the grant of Pro: RevenueCat did not do it.';
    assert.deepEqual(removal.slice(0, 2), [notRemoved, 'Reason: Fraud']);
    const unknown = 'RevenueCat did not confirm this within a day';
    for (const [state, title] of [
      ['failed', 'Grant access: Pro'],
      ['confirmed', 'Remove the grant: Pro'],
    ] as const) {
      const [headline, second = ''] = noteOf(state, 'never_confirmed');
      assert.deepEqual([headline, second.slice(0, unknown.length)], [title, unknown]);
    }
  });

  for (const language of LANGUAGES) {
    test(`in ${language} names entitlement, end, people and reason, and is escaped`, () => {
      const messages = messagesFor(language, 'UTC');
      const html = noteHtml(grant, 'confirmed', messages);
      assert.match(html, /^<p><b>.+?<\/b><\/p><p>[^<]/);
      const tags = html.match(/<[^>]*>/g) ?? [];
      assert.deepEqual([...new Set(tags)].sort(), ['</b>', '</p>', '<b>', '<br>', '<p>'].sort());
      for (const part of [
        '&lt;b&gt;Pro&lt;/b&gt; &amp; &quot;more&quot;',
        messages.dateTime(grant.requestedEndMs),
        '&lt;script&gt;alert(1)&lt;/script&gt;<br>and more',
        'Ada &lt;img&gt;',
        'Sam O&#39;Neil',
        '0123abcd',
      ]) {
        assert.ok(html.includes(part), `${part} in ${html}`);
      }
    });
  }
});
