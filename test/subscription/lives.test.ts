import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { messagesFor } from '../../src/i18n/messages.ts';
import { endRow, overviewText, statementsText } from '../../src/i18n/sentences.ts';
import type { Customer } from '../../src/messenger/customer.ts';
import { viewCustomer } from '../../src/messenger/customer-view.ts';
import { answerFin } from '../../src/messenger/fin.ts';
import type { TimelineEntry } from '../../src/subscribers/stored-events.ts';
import { contactAttributes } from '../../src/subscription/contact-values.ts';
import { type CustomerDescription, describeCustomer } from '../../src/subscription/describe-customer.ts';
import type { LifecycleEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { assembleHistory } from '../../src/subscription/transfers.ts';
import type { Snapshot, SubscriberState } from '../../src/subscription/types.ts';
import {
  accessEndOf,
  apiResponse,
  CUSTOMERS,
  life,
  statusOf,
  type Truth,
  World,
} from './simulated-stores.ts';

/** Random histories: 1,000 in the suite. By hand, `LIVES=100000` takes about four minutes. */
const LIVES = Number(process.env.LIVES ?? 1_000);

const NAMES = { product: () => null, entitlement: () => null };
const m = messagesFor('en');

/** Each customer's events as they arrive: shuffled, and some of them twice. */
function arrive(world: World, seed: number): Map<string, LifecycleEvent[]> {
  const order = (event: LifecycleEvent): number => hash(`${event.id}${seed}`);
  return new Map(
    [...world.stored()].map(([who, events]) => {
      const repeated = events.filter((event) => order(event) % 5 === 0).map((event) => ({ ...event }));
      return [who, [...events, ...repeated].sort((a, b) => order(a) - order(b))];
    }),
  );
}

function hash(text: string): number {
  let value = 7;
  for (const character of text) value = (value * 31 + character.charCodeAt(0)) % 1_000_003;
  return value;
}

/** The store's clock and RevenueCat's differ by less than this. */
const SAME_MS = 2_000;

function assertAgrees(truth: Truth, states: ReadonlyMap<string, SubscriberState>, nowMs: number): void {
  const key = `production|${truth.store}|${truth.id}`;
  for (const [who, state] of states) {
    const found = state.subscriptions.find((each) => each.key === key);
    if (who !== truth.owner) {
      assert.equal(found, undefined, `${key} is with ${who}`);
      continue;
    }
    assert.ok(found, `${key} is not with ${who}`);
    const endMs = accessEndOf(truth);
    const givesAccess = nowMs < endMs;
    assert.equal(found.givesAccess, givesAccess, `${key} gives access`);
    assert.ok(
      Math.abs((found.accessEndsAtMs ?? 0) - endMs) <= SAME_MS,
      `${key} ends ${found.accessEndsAtMs}, not ${endMs}`,
    );
    if (truth.isReplaced) continue;
    assert.equal(found.status, statusOf(truth, nowMs), `${key} status`);
    assert.equal(found.productId, truth.plan.productId, `${key} product`);
    const willRenew = givesAccess && truth.autoRenew && !truth.awaitsConsent;
    assert.equal(found.willRenew, willRenew, `${key} renewal`);
    if (willRenew) assert.equal(found.pendingProductId, truth.pending?.productId ?? null, `${key} change`);
  }
}

function assertTotals(world: World, who: string, state: SubscriberState): void {
  const own = world.truths.filter((truth) => truth.owner === who);
  const cents = own.reduce((sum, truth) => sum + (world.paidCents.get(truth.id) ?? 0), 0);
  assert.equal(state.lifetimeValueUsdCents, Math.max(0, cents), `${who} paid`);
  const ends: Record<string, number> = {};
  for (const truth of own) {
    const endMs = accessEndOf(truth);
    if (world.nowMs < endMs)
      ends[truth.plan.entitlement] = Math.max(ends[truth.plan.entitlement] ?? 0, endMs);
  }
  const derived = Object.fromEntries(
    state.entitlements.map(({ lookupKey, endsAtMs }) => [lookupKey, endsAtMs]),
  );
  assert.deepEqual(derived, ends, `${who} entitlements`);
}

/** Dates of what is still to come must be in the future, and dates of what has ended must not. */
function assertDates({ statements, subscriptions, nextCharge }: CustomerDescription, nowMs: number): void {
  if (nextCharge) assert.ok(nextCharge.atMs > nowMs);
  for (const statement of [...statements, ...subscriptions.flatMap((each) => each.statements)]) {
    for (const [name, value] of Object.entries(statement)) {
      if (typeof value !== 'number') continue;
      if (['next', 'until', 'resumes'].includes(name)) assert.ok(value > nowMs, `${statement.kind}.${name}`);
      if (name === 'since') assert.ok(value <= nowMs, `${statement.kind}.since`);
    }
  }
  for (const { end } of subscriptions) {
    if (end === null || end.atMs === null) continue;
    assert.equal(end.atMs > nowMs, end.label !== 'ended', `${end.label} ${end.atMs}`);
  }
}

/** The card, its table, the Messenger, Fin and the attributes must agree. */
function assertSurfacesAgree(
  state: SubscriberState,
  history: readonly LifecycleEvent[],
  nowMs: number,
): void {
  const description = describeCustomer(state, { names: NAMES, nowMs });
  assertDates(description, nowMs);
  const customer: Customer = {
    subscriberId: 's',
    projectId: 'p',
    appUserIds: ['ann'],
    state,
    ownHistory: history as TimelineEntry[],
    snapshotAtMs: null,
    canRefresh: false,
    names: NAMES,
  };
  const view = viewCustomer([customer], m, nowMs);
  const fin = answerFin([customer], 'UTC', nowMs);
  const written = contactAttributes(state, ['ann']);
  assert.equal(fin.status, written.subscription_status ?? 'none');
  assert.equal(fin.will_renew, written.rc_will_renew ?? false);
  const expiresOn = isoDay(written.expires_at);
  // The attribute is about one subscription; another one may give the same plan for longer.
  if (state.subscriptions.filter(({ givesAccess }) => givesAccess).length < 2)
    assert.equal(fin.access_until, expiresOn);
  else assert.ok(fin.access_until === '' || fin.access_until >= expiresOn);
  assert.equal(fin.has_access, state.entitlements.length > 0);
  if (fin.renews_on !== '') assert.ok(Date.parse(fin.renews_on) >= nowMs - 86_400_000, fin.renews_on);
  const { primary, shown } = description;
  assert.equal(fin.price === '', primary?.price == null);
  for (const each of shown) {
    const sentence = statementsText(m, 'customer', each.statements);
    if (each.tone !== 'ended') {
      assert.ok(withoutStores(fin.summary).includes(sentence));
      assert.ok(view.holdings.some((holding) => withoutStores(holding.sentence) === sentence));
    }
    const [row] = endRow(m, each.end);
    const { nextCharge } = each;
    // The date in the agent's sentence, in the customer's and in the table is the same.
    if (nextCharge && each.end?.label === 'renews') {
      const date = m.date(nextCharge.atMs);
      assert.equal(row?.[1], date);
      assert.ok(sentence.includes(date), sentence);
      assert.ok(statementsText(m, 'agent', each.statements).includes(date));
    }
  }
  const charge = description.nextCharge;
  const text = overviewText(m, description);
  assert.doesNotMatch(text, /null|undefined| {2}|\.\./);
  if (charge && shown.length > 1) assert.ok(text.includes(m.date(charge.atMs)), text);
}

/** If two subscriptions have the same name, the customer's text also names the store of each. */
function withoutStores(text: string): string {
  return text.replaceAll(/ \((?:App Store|Google Play|Roku|Amazon Appstore|on the web)\)/g, '');
}

function isoDay(atS: unknown): string {
  return typeof atS === 'number' ? new Date(atS * 1_000).toISOString().slice(0, 10) : '';
}

function assertKnown(world: World, seed: number, snapshots: ReadonlyMap<string, Snapshot>): void {
  const arrived = arrive(world, seed);
  const states = new Map(
    CUSTOMERS.map((who) => {
      const { events } = assembleHistory(who, arrived);
      const state = deriveState(events, snapshots.get(who) ?? null, world.nowMs);
      assertSurfacesAgree(state, events, world.nowMs);
      return [who as string, state];
    }),
  );
  for (const truth of world.truths) assertAgrees(truth, states, world.nowMs);
  for (const [who, state] of states) assertTotals(world, who, state);
}

const seed = fc.integer({ min: 0, max: 9_999 });

test(`${LIVES} lives: the derived state is what the stores know, in any order of arrival`, () => {
  fc.assert(
    fc.property(life, seed, (actions, order) => {
      const world = new World();
      world.live(actions);
      assertKnown(world, order, new Map());
    }),
    { numRuns: LIVES, includeErrorInReport: true },
  );
});

test(`${LIVES} lives: the same with a response of RevenueCat's API at any time`, () => {
  fc.assert(
    fc.property(life, fc.nat({ max: 14 }), seed, (actions, before, order) => {
      const world = new World();
      world.live(actions.slice(0, before));
      const snapshots = new Map(CUSTOMERS.map((who) => [who as string, apiResponse(world, who)]));
      world.live(actions.slice(before));
      assertKnown(world, order, snapshots);
      for (const who of CUSTOMERS) {
        const imported = deriveState([], apiResponse(world, who), world.nowMs);
        assertSurfacesAgree(imported, [], world.nowMs);
        assertTotals(world, who, imported);
      }
    }),
    { numRuns: LIVES, includeErrorInReport: true },
  );
});
