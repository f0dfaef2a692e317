import assert from 'node:assert/strict';
import { after, before, describe, mock, test } from 'node:test';
import pg from 'pg';
import { readAction, readLastChange } from '../../src/grants/repository.ts';
import { transition } from '../../src/grants/transitions.ts';
import { DAY_MS } from '../../src/time.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { agedFormState, forge, idsOn, type OpenCard, openAgain, textOf } from '../inbox-card/support.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import {
  assertRowsOnce,
  audited,
  callsFor,
  give,
  grantIdOn,
  grantOf,
  grantsAt,
  noteIn,
  notesIn,
  onGranting,
  openCustomer,
  pathOf,
  review,
  SECOND,
  setPolicy,
  stored,
} from './support.ts';

let product: Product;

before(async () => {
  product = await createProduct();
  for (const [id, name] of [
    [SECOND, 'Sam Second'],
    ['7003', 'Tia Third'],
  ] as const) {
    product.intercom.addAdmin(WORKSPACE_ID, { id, name, email: `${id}@example.com` });
  }
});
after(() => product?.close());
async function endGrant(grantId: string): Promise<void> {
  await product.server.connected.database.query(
    `update actions set actual_end_at = now() - interval '1 minute' where action_id::text = $1`,
    [grantId],
  );
}

/** Opens the grant that waits for approval as another teammate in the same conversation. */
async function asSecond(card: OpenCard, adminId = SECOND): Promise<OpenCard> {
  const grants = await (await openAgain(product, card, { adminId })).press('grants');
  assert.match(grants.text, /waits for approval/);
  return grants.press(idsOn(grants.canvas).find((id) => id.startsWith('grant:')) ?? '');
}

describe('a grant above the length that one teammate may give', { concurrency: 3 }, () => {
  before(() => setPolicy(product, { secondPersonAboveDays: 7 }));

  test('is stored, noted in the conversation, and made when another approves it', async () => {
    const card = await openCustomer(product);
    const checked = await review(card);
    assert.match(checked.text, /longer than 7 days need the approval of another teammate/);
    assert.match(checked.text, /Request approval/);
    const asked = await checked.confirm('grant.confirm');
    assert.match(asked.text, /not granted yet\. Another teammate opens Grants/);
    assert.equal(callsFor(product, card.appUserId), 0);
    await noteIn(product, card, /Requests approval to grant Pro until .*Lost a week/s);
    assert.match((await openAgain(product, card)).text, /waits for approval/, 'on the overview');

    const seen = await asSecond(card);
    assertRowsOnce(seen);
    assert.match(seen.text, /Will get: \*\*Pro until/);
    assert.match(seen.text, /Requested by: Ada Agent/);
    assert.match(seen.text, /Reason: Lost a week to an outage/);
    const done = await seen.confirm('action.approve');
    assert.match(done.text, /✅ Pro is granted until/);
    assert.match(done.text, /Approved by: Sam Second/);
    assert.doesNotMatch((await openAgain(product, card)).text, /waits for approval/);
    assert.equal(grantsAt(product, card.appUserId).length, 1);
    assert.equal(callsFor(product, card.appUserId), 1);
    const note = await noteIn(product, card, /Granted Pro until/);
    assert.match(note, /Requested by Ada Agent, approved by Sam Second\./);
    assert.deepEqual(
      notesIn(product, card).map(({ authorId }) => authorId),
      ['7001', SECOND],
    );
    assert.deepEqual(
      (await audited(product, card.appUserId)).map(({ action, result, actor }) => [action, result, actor]),
      [
        ['grant', 'awaiting_approval', '7001'],
        ['grant_approve', 'approved', SECOND],
        ['grant_approve', 'confirmed', SECOND],
      ],
    );
    assert.match((await seen.confirm('action.approve')).text, /✅ Pro is granted/);
    assert.equal(callsFor(product, card.appUserId), 1, 'a second press makes nothing');
  });

  test('is never approved by its requester, whatever is pressed', async () => {
    const card = await openCustomer(product);
    await grantOf(card);
    const requester = await asSecond(card, '7001');
    assert.ok(!idsOn(requester.canvas).includes('action.approve'));
    const forged = await forge(product, requester, 'action.approve');
    assert.match(textOf(forged.canvas), /You requested this\. Another teammate must approve it/);
    assert.equal(callsFor(product, card.appUserId), 0);
    assert.equal((await audited(product, card.appUserId)).at(-1)?.result, 'refused: same_person');
    const back = await requester.press('action.withdraw');
    assert.match(back.text, /the request was withdrawn/);
    assert.equal((await stored(product, card.appUserId))[0]?.state, 'withdrawn');
  });

  test('is declined by another, with a note', async () => {
    const card = await openCustomer(product);
    await grantOf(card);
    const seen = await asSecond(card);
    assert.match((await seen.press('action.decline')).text, /the request was declined/);
    const note = await noteIn(product, card, /Declined to grant Pro/);
    assert.match(note, /Requested by Ada Agent/);
    assert.match((await seen.confirm('action.approve')).text, /declined/, 'and cannot be approved any more');
    assert.equal(callsFor(product, card.appUserId), 0);
  });

  test('is declined in another conversation: the note is left where it was requested', async () => {
    const card = await openCustomer(product);
    await grantOf(card);
    const { id: conversationId } = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [card.contactId],
      body: '<p>Hello again</p>',
    });
    const seen = await asSecond({ ...card, conversationId });
    await seen.press('action.decline');
    await noteIn(product, card, /Declined to grant Pro/);
    assert.equal(notesIn(product, seen).length, 0);
    const decline = (await audited(product, card.appUserId)).find(({ action }) => action === 'grant_decline');
    assert.equal(decline?.conversation, conversationId);
  });

  test('is made once when two approve concurrently', async () => {
    const card = await openCustomer(product);
    await grantOf(card);
    const [second, third] = [await asSecond(card), await asSecond(card, '7003')];
    await Promise.all([
      second.confirm('action.approve'),
      third.confirm('action.approve'),
      second.confirm('action.approve'),
    ]);
    await until(async () => (await stored(product, card.appUserId))[0]?.state === 'confirmed', 'the grant');
    assert.equal(callsFor(product, card.appUserId), 1);
    assert.equal(grantsAt(product, card.appUserId).length, 1);
  });

  test('is checked again when another grant of the entitlement was made since it was checked', async () => {
    const card = await openCustomer(product);
    await grantOf(card);
    const [waiting] = await stored(product, card.appUserId);
    const { database } = product.server.connected;
    const action = await readAction(database, {
      workspaceId: WORKSPACE_ID,
      actionId: waiting?.action_id ?? '',
    });
    assert.ok(action);
    const queued: string[] = [];
    const jobs = { send: async (name: string) => void queued.push(name) } as unknown as AppContext['jobs'];
    const approveAfter = (lastChange: string | null) => {
      const decidedBy = { id: SECOND, name: 'Sam Second', email: null };
      return transition({ database, jobs }, action, { event: 'approve', decidedBy, lastChange });
    };
    const beforeOther = await readLastChange(database, action);
    assert.match((await grantOf(card, { duration: 'weekly' })).text, /✅/);
    assert.equal(await approveAfter(beforeOther), null);
    assert.equal((await readAction(database, action))?.state, 'awaiting_approval');
    const moved = await approveAfter(await readLastChange(database, action));
    assert.equal(moved?.state, 'requested');
    assert.deepEqual(queued, ['action.confirm'], 'in case this process is killed');
    const [other] = (await stored(product, card.appUserId)).filter(({ state }) => state === 'confirmed');
    const made = await readAction(database, { workspaceId: WORKSPACE_ID, actionId: other?.action_id ?? '' });
    assert.ok(made);
    await assert.rejects(transition({ database, jobs }, made, { event: 'revoke' }), { code: 'unconfirmed' });
  });

  test('a shorter one needs no approval', async () => {
    const card = await openCustomer(product);
    assert.match((await grantOf(card, { duration: 'weekly' })).text, /✅/);
  });
});

describe('a policy that changes after the request', () => {
  test('is not approved by a teammate who may not grant, nor against a policy that has become stricter', async () => {
    await setPolicy(product, { secondPersonAboveDays: 7 });
    const card = await openCustomer(product);
    await grantOf(card);
    const seen = await asSecond(card);
    await setPolicy(product, { secondPersonAboveDays: 7, longestDays: 14 });
    assert.match(
      (await seen.confirm('action.approve')).text,
      /longest grant allowed here is 14 days: .* Decline the request\./,
    );
    await setPolicy(product, { secondPersonAboveDays: 7, allowedAdminIds: ['7001'] });
    assert.match((await seen.confirm('action.approve')).text, /You may not grant/);
    const unreviewed = await asSecond(card);
    assert.ok(!idsOn(unreviewed.canvas).includes('action.approve'));
    await setPolicy(product, { secondPersonAboveDays: 7 });
    const early = await forge(product, unreviewed, 'action.approve', { adminId: SECOND });
    assert.match(textOf(early.canvas), /check again/, 'who may approve now has not seen what it would do');
    assert.ok(idsOn(early.canvas ?? {}).includes('action.approve'));
    assert.equal(callsFor(product, card.appUserId), 0);
  });

  test('names the requester, not the approver, when it is the requester who is no longer allowed', async () => {
    await setPolicy(product, { secondPersonAboveDays: 7 });
    const card = await openCustomer(product);
    await grantOf(card);
    await setPolicy(product, { secondPersonAboveDays: 7, allowedAdminIds: [SECOND] });
    const refused = await (await asSecond(card)).confirm('action.approve');
    assert.match(
      refused.text,
      /The teammate who requested this is no longer allowed to\. Decline the request\./,
    );
    assert.match((await refused.press('action.decline')).text, /the request was declined/);
    assert.equal(callsFor(product, card.appUserId), 0);
  });

  test('refuses approving and declining, each recorded as what was tried', async () => {
    await setPolicy(product, { secondPersonAboveDays: 7 });
    const card = await openCustomer(product);
    await grantOf(card);
    const seen = await asSecond(card);
    await setPolicy(product, { secondPersonAboveDays: 7, allowedAdminIds: ['7001'] });
    await seen.confirm('action.approve');
    await seen.press('action.decline');
    const records = await audited(product, card.appUserId);
    assert.deepEqual(
      records.slice(-2).map(({ action, result }) => [action, result]),
      [
        ['grant_approve', 'refused: not_allowed'],
        ['grant_decline', 'refused: not_allowed'],
      ],
    );
  });

  test('is checked again when a removal is confirmed', async () => {
    await setPolicy(product, {});
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    await setPolicy(product, { allowedAdminIds: [SECOND] });
    assert.match((await checked.confirm('revoke.confirm')).text, /You may not grant or remove/);
    assert.equal(grantsAt(product, card.appUserId).length, 1);
  });
});

describe('extending', () => {
  before(() => setPolicy(product, {}));

  test('adds the duration to what is left', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card, { duration: 'weekly' });
    const [first] = grantsAt(product, card.appUserId);
    const form = await done.press(`extend:${grantIdOn(done)}`);
    assert.match(form.text, /^Extend the grant$/m);
    const checked = await review(form, { duration: 'monthly', reason: 'Still broken' });
    assert.match((await checked.press('action.change')).text, /^Extend the grant$/m);
    const extended = await checked.confirm('grant.confirm');
    assert.match(extended.text, /✅ Pro is granted until/);
    const ends = grantsAt(product, card.appUserId).map((grant) => grant.endsAtMs ?? 0);
    assert.ok(Math.max(...ends) - (first?.endsAtMs ?? 0) >= 28 * DAY_MS);
    assert.equal((await stored(product, card.appUserId)).length, 2);
  });
});

describe('a grant made in RevenueCat’s dashboard', () => {
  test('is listed with the latest end when there are several of one entitlement', async () => {
    const card = await openCustomer(product);
    const [first, last] = [5, 9].map((days) =>
      give(product, card.appUserId, { endsAtMs: Date.now() + days * DAY_MS }),
    );
    assert.ok(first && last);
    // The grant that ends first was made last.
    Object.assign(last, {
      startsAtMs: first.startsAtMs - DAY_MS,
      periodStartsAtMs: first.startsAtMs - DAY_MS,
    });
    const grants = await (await card.press('refresh')).press('grants');
    assert.equal(grants.text.match(/until/g)?.length, 1, grants.text);
    const shown = await grants.press('grant:revenuecat/pro');
    const end = new Intl.DateTimeFormat('en', {
      month: 'short',
      day: 'numeric',
      timeZone: 'America/New_York',
    });
    assert.match(shown.text, new RegExp(`Until: ${end.format(last.endsAtMs ?? 0)},`));
  });

  before(() => setPolicy(product, {}));

  async function openGranted(): Promise<OpenCard & { readonly appUserId: string }> {
    const card = await openCustomer(product);
    give(product, card.appUserId, { endsAtMs: Date.now() + 20 * DAY_MS });
    const { press, ...shown } = await card.press('refresh');
    return { ...shown, press, appUserId: card.appUserId };
  }

  test('is listed, and removed once with a note and a record', async () => {
    const card = await openGranted();
    const grants = await card.press('grants');
    assert.match(grants.text, /^Pro \| until .+ · RevenueCat/m);
    const grant = await grants.press('grant:revenuecat/pro');
    assert.match(grant.text, /^Granted by: RevenueCat$/m);
    const checked = await grant.press('revoke:revenuecat/pro');
    assert.match(checked.text, /They lose access immediately/);
    const all = await Promise.all([checked.confirm('revoke.confirm'), checked.confirm('revoke.confirm')]);
    assert.ok(
      all.every(({ text }) => /✅ The grant of Pro is removed/.test(text)),
      all.map(({ text }) => text).join('\n---\n'),
    );
    assert.match((await checked.confirm('revoke.confirm')).text, /✅ The grant of Pro is removed/);
    assert.equal(grantsAt(product, card.appUserId).length, 0);
    await noteIn(product, card, /Removed the grant of Pro/);
    assert.deepEqual(
      (await audited(product, card.appUserId)).map(({ action, result, actor }) => [action, result, actor]),
      [['revoke', 'revoked', '7001']],
    );
  });

  test('confirmed in the background, its removal leaves a note', async () => {
    const card = await openGranted();
    const grant = await (await card.press('grants')).press('grant:revenuecat/pro');
    const onRemoving = onGranting(card.appUserId, 'revoke_granted_entitlement');
    product.revenueCat.faults.add({ ...onRemoving, drop: 'after', times: 1 });
    const checked = await grant.press('revoke:revenuecat/pro');
    assert.match((await checked.press('revoke.confirm')).text, /Not confirmed yet/);
    await noteIn(product, card, /Removed the grant of Pro/);
  });

  test('is extended from its end', async () => {
    const card = await openGranted();
    const [before] = grantsAt(product, card.appUserId);
    const form = await (await card.press('grants'))
      .press('grant:revenuecat/pro')
      .then((grant) => grant.press('extend:revenuecat/pro'));
    const checked = await review(form, { duration: 'two_week' });
    assert.match(checked.text, /^Adds 14 days: access ends on/m);
    assert.match((await checked.confirm('grant.confirm')).text, /✅/);
    const ends = grantsAt(product, card.appUserId).map((grant) => grant.endsAtMs ?? 0);
    assert.equal(Math.max(...ends), (before?.endsAtMs ?? 0) + 14 * DAY_MS);
    const listed = await (await openAgain(product, card)).press('grants');
    assert.ok(!idsOn(listed.canvas).includes('grant:revenuecat/pro'), 'the running grant is ours now');
  });
});

describe('removing', { concurrency: 3 }, () => {
  before(() => setPolicy(product, {}));

  test('RevenueCat refuses: the grant stays, and the card says so', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    product.revenueCat.faults.add({
      pathPrefix: pathOf(card.appUserId),
      method: 'POST',
      status: 403,
      times: 1,
    });
    const refused = await checked.press('revoke.confirm', { 'revoke.reason': 'Fraud' });
    assert.match(refused.text, /key lacks a permission for this\. Nothing was changed/);
    const field = refused.canvas.content?.components.find((each) => each.type === 'textarea');
    assert.equal(field?.value, 'Fraud');
    const now = async () => (await stored(product, card.appUserId)).map(({ state, error }) => [state, error]);
    assert.deepEqual(await now(), [['confirmed', 'revenuecat_scope_missing']]);
    // The next attempt starts fresh: nothing of the first one is stored or shown with its result.
    await refused.confirm('revoke.confirm');
    assert.deepEqual(await now(), [['revoked', null]]);
  });

  test('RevenueCat reports a conflict: the card does not explain it as one of granting', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    const onRemoving = onGranting(card.appUserId, 'revoke_granted_entitlement');
    product.revenueCat.faults.add({ ...onRemoving, status: 409, times: 1 });
    const { text } = await checked.confirm('revoke.confirm');
    assert.match(text, /RevenueCat refused this\. Nothing was changed/);
    assert.doesNotMatch(text, /already has the entitlement/);
  });

  test('shows a review older than 30 minutes again, and removes nothing', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    const late = await forge(product, checked, 'revoke.confirm', {
      storedData: agedFormState(product, checked, 31),
    });
    assert.match(textOf(late.canvas), /This review is more than 30 minutes old/);
    assert.equal(grantsAt(product, card.appUserId).length, 1);
    const inTime = await forge(product, checked, 'revoke.confirm', {
      storedData: agedFormState(product, checked, 29),
    });
    assert.match(textOf(inTime.canvas), /✅ The grant of Pro is removed/);
  });

  test('a grant that has ended since its review is not removed, nor what was granted since', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    await endGrant(grantIdOn(done));
    await checked.confirm('revoke.confirm');
    assert.equal(grantsAt(product, card.appUserId).length, 1);
  });

  test('the review says what access stays, the grant is removed once, with a note', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { store: 'app_store', endsAtMs: Date.now() + 9 * DAY_MS });
    const done = await grantOf(card);
    const id = grantIdOn(done);
    assert.match((await openAgain(product, card)).text, /Pro granted until/);
    const checked = await done.press(`revoke:${id}`);
    assert.match(checked.text, /Remove \*\*Pro\*\*, granted until/);
    assert.match(checked.text, /They keep Pro until .* through what they bought/);
    assert.equal(grantsAt(product, card.appUserId).length, 1, 'a review removes nothing');
    // Slow enough that every press comes while the first one is still being processed.
    const stop = product.revenueCat.faults.add({
      pathPrefix: `/v2/projects/${REVENUECAT_PROJECT_ID}/customers/${card.appUserId}/actions/revoke`,
      latencyMs: 800,
    });
    const all = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const { text } = await checked.press('revoke.confirm', { 'revoke.reason': 'By mistake <3' });
        return { text, left: grantsAt(product, card.appUserId).length };
      }),
    );
    stop();
    assert.ok(all.some(({ text }) => /✅ The grant of Pro is removed/.test(text)));
    for (const { left } of all) assert.equal(left, 0, 'whoever pressed is answered when it is done');
    assert.equal(grantsAt(product, card.appUserId).length, 0);
    assert.match((await checked.confirm('revoke.confirm')).text, /✅ The grant of Pro is removed/);
    const note = await noteIn(product, card, /Removed the grant of Pro/);
    assert.match(note, /Reason: By mistake &lt;3/);
    assert.equal(notesIn(product, card).length, 2);
    const records = (await audited(product, card.appUserId)).filter(({ action }) => action === 'revoke');
    assert.deepEqual(
      records.map(({ result, details }) => [result, details.reason]),
      [['revoked', 'By mistake <3']],
    );
    const opened = await openAgain(product, card);
    assert.doesNotMatch(opened.text, /Pro granted until/);
    assert.match((await opened.press('grants')).text, /removed/);
  });

  test('all grants of the entitlement end together', async () => {
    const card = await openCustomer(product);
    const ended = grantIdOn(await grantOf(card, { duration: 'daily' }));
    await endGrant(ended);
    const first = await grantOf(await openAgain(product, card), { duration: 'weekly' });
    const second = await review(await openAgain(product, card), { duration: 'monthly' });
    const done = await second.confirm('grant.confirm');
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    assert.match(checked.text, /They lose access immediately/);
    await checked.confirm('revoke.confirm');
    assert.deepEqual(
      (await stored(product, card.appUserId)).map(({ action_id, state }) => [action_id === ended, state]),
      [
        [true, 'confirmed'],
        [false, 'revoked'],
        [false, 'revoked'],
      ],
    );
    assert.ok(grantIdOn(first) !== grantIdOn(done));
  });

  test('the response is lost after the removal: it is confirmed by reading', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    product.revenueCat.faults.add({
      ...onGranting(card.appUserId, 'revoke_granted_entitlement'),
      drop: 'after',
      times: 1,
    });
    assert.match((await checked.press('revoke.confirm')).text, /Not confirmed yet/);
    await until(async () => (await stored(product, card.appUserId))[0]?.state === 'revoked', 'the removal');
    await noteIn(product, card, /Removed the grant/);
    assert.equal(notesIn(product, card).filter(({ body }) => /Removed/.test(body)).length, 1);
  });

  test('confirmed in the background, its note is left in the conversation where it was pressed', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    await noteIn(product, card, /Granted/);
    const { id: conversationId } = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [card.contactId],
      body: '<p>Hello again</p>',
    });
    const elsewhere = await openAgain(product, { ...card, conversationId }, { adminId: SECOND });
    const checked = await (await (await elsewhere.press('grants')).press(`grant:${grantIdOn(done)}`)).press(
      `revoke:${grantIdOn(done)}`,
    );
    const onRemoving = onGranting(card.appUserId, 'revoke_granted_entitlement');
    product.revenueCat.faults.add({ ...onRemoving, drop: 'after', times: 1 });
    assert.match((await checked.press('revoke.confirm')).text, /Not confirmed yet/);
    await noteIn(product, elsewhere, /Removed the grant/);
    assert.equal(notesIn(product, card).length, 1);
    const removal = (await audited(product, card.appUserId)).find(({ action }) => action === 'revoke');
    assert.deepEqual([removal?.conversation, removal?.actor], [conversationId, SECOND]);
  });

  test('RevenueCat fails: the removal is retried in the background', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    product.revenueCat.faults.add({
      ...onGranting(card.appUserId, 'revoke_granted_entitlement'),
      status: 500,
      times: 1,
    });
    assert.match((await checked.press('revoke.confirm')).text, /Not confirmed yet/);
    await until(async () => grantsAt(product, card.appUserId).length === 0, 'the removal');
    await until(async () => (await stored(product, card.appUserId))[0]?.state === 'revoked', 'its record');
  });

  test('RevenueCat refuses to be read after it: it does not count as refused', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    const pathPrefix = pathOf(card.appUserId);
    product.revenueCat.faults.add({ pathPrefix, method: 'GET', status: 422, times: 6 });
    assert.match((await checked.press('revoke.confirm')).text, /Not confirmed yet/);
    assert.equal(grantsAt(product, card.appUserId).length, 0);
    await noteIn(product, card, /Removed the grant of Pro/);
    assert.equal((await stored(product, card.appUserId))[0]?.state, 'revoked');
  });

  test('RevenueCat refuses it long after the press: the card says so, and a note', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    const onRemoving = onGranting(card.appUserId, 'revoke_granted_entitlement');
    product.revenueCat.faults.add({ ...onRemoving, status: 500, times: 1 });
    const asked = await checked.press('revoke.confirm', { 'revoke.reason': 'Fraud' });
    assert.match(asked.text, /Not confirmed yet/);
    product.revenueCat.faults.add({ ...onRemoving, status: 422, times: 1 });
    await product.server.connected.database.query(
      `update actions set revoke_called_at = revoke_called_at - interval '3 minutes' where action_id = $1`,
      [grantIdOn(done)],
    );
    const note = await noteIn(product, card, /Failed to remove the grant of Pro/);
    assert.match(note, /Reason: Fraud/);
    const shown = await (await openAgain(product, card)).press('grants');
    const { text } = await shown.press(`grant:${grantIdOn(done)}`);
    assert.match(text, /The grant was not removed\. RevenueCat refused this\. Nothing was changed/);
    assert.match(text, /Pro is granted until/);
    assert.equal(grantsAt(product, card.appUserId).length, 1);
  });

  test('a grant that was removed in RevenueCat itself counts as removed', async () => {
    const card = await openCustomer(product);
    const done = await grantOf(card);
    const checked = await done.press(`revoke:${grantIdOn(done)}`);
    for (const grant of grantsAt(product, card.appUserId)) grant.givesAccess = false;
    const { text } = await done.press(`revoke:${grantIdOn(done)}`);
    assert.match(text, /Current access: none/);
    assert.doesNotMatch(text, /lose access/);
    assert.match((await checked.confirm('revoke.confirm')).text, /✅ The grant of Pro is removed/);
  });

  test('another workspace cannot see or change it', async () => {
    const card = await openCustomer(product);
    const id = grantIdOn(await grantOf(card, { reason: 'Secret' }));
    const { database } = product.server.connected;
    await database.query(
      `insert into workspaces (workspace_id, name) values ('other99', 'Other') on conflict do nothing`,
    );
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ('other99', 'other99-p1', $1, 'Other', 'x') on conflict do nothing`,
      [REVENUECAT_PROJECT_ID],
    );
    product.intercom.addWorkspace({ id: 'other99', name: 'Other' });
    product.intercom.addAdmin('other99', { id: '9901', name: 'Oz', email: 'oz@example.com' });
    const contact = product.intercom.addContact('other99', { role: 'user', externalId: card.appUserId });
    const { id: conversationId } = product.intercom.addConversation('other99', {
      contactIds: [contact.id],
      body: '<p>Hi</p>',
    });
    for (const componentId of [`grant:${id}`, `extend:${id}`, `revoke:${id}`, 'revoke.confirm', 'grants']) {
      const answer = await product.intercom.callCanvas({
        appUrl: product.server.url,
        workspaceId: 'other99',
        place: 'inbox',
        flow: 'submit',
        adminId: '9901',
        conversationId,
        contactId: contact.id,
        componentId,
        currentCanvas: {
          content: {
            components: [{ type: 'button', id: componentId, label: 'x', action: { type: 'submit' } }],
          },
        },
      });
      assert.equal(answer.status, 200);
      assert.doesNotMatch(textOf(answer.canvas), /Secret|Pro|granted until/, componentId);
    }
    assert.equal(grantsAt(product, card.appUserId).length, 1);
  });
});

describe('a removal before its webhooks', () => {
  before(() => {
    product.revenueCat.state.grantWebhookDelayMs = null;
  });

  test('that RevenueCat refused is no second one on the timeline when another grant is removed', async () => {
    const card = await openCustomer(product);
    const first = await grantOf(card, { duration: 'weekly' });
    const onRemoving = onGranting(card.appUserId, 'revoke_granted_entitlement');
    product.revenueCat.faults.add({ ...onRemoving, status: 422, times: 1 });
    const refused = await (await first.press(`revoke:${grantIdOn(first)}`)).confirm('revoke.confirm');
    assert.match(refused.text, /Nothing was changed/);
    const second = await grantOf(await openAgain(product, card), { duration: 'monthly' });
    await (await second.press(`revoke:${grantIdOn(second)}`)).confirm('revoke.confirm');
    const timeline = await (await openAgain(product, card)).press('timeline');
    assert.equal(timeline.text.match(/^Grant removed/gm)?.length, 1, timeline.text);
  });

  test('that is confirmed long after its webhook is no second one on the timeline', async () => {
    const card = await openCustomer(product);
    const granted = await grantOf(card);
    await (await granted.press(`revoke:${grantIdOn(granted)}`)).confirm('revoke.confirm');
    await product.revenueCat.flushWebhooks();
    await until(() => isReported(card.appUserId), 'the webhook');
    await product.server.connected.database.query(
      `update actions set revoked_at = revoked_at + interval '20 minutes' where action_id = $1`,
      [grantIdOn(granted)],
    );
    const timeline = await (await openAgain(product, card)).press('timeline');
    assert.equal(timeline.text.match(/^Grant removed/gm)?.length, 1, timeline.text);
  });

  test('whose webhook arrives while the timeline is read is there once', async () => {
    const card = await openCustomer(product);
    const granted = await grantOf(card);
    await (await granted.press(`revoke:${grantIdOn(granted)}`)).confirm('revoke.confirm');
    const opened = await openAgain(product, card);
    flushBefore('read-timeline', card.appUserId);
    const timeline = await opened.press('timeline');
    assert.ok(await isReported(card.appUserId));
    assert.equal(timeline.text.match(/^Grant removed/gm)?.length, 1, timeline.text);
  });

  test('whose webhook arrives while the card is read leaves no grant on it', async () => {
    const card = await openCustomer(product);
    const granted = await grantOf(card);
    await product.revenueCat.flushWebhooks();
    await until(() => isReported(card.appUserId, 'promotional_granted'), 'the webhook of the grant');
    assert.match((await openAgain(product, card)).text, /^Pro, granted by Ada Agent until/m);
    await (await granted.press(`revoke:${grantIdOn(granted)}`)).confirm('revoke.confirm');
    flushBefore('read-reported-actions', card.appUserId);
    const opened = await openAgain(product, card);
    assert.ok(await isReported(card.appUserId));
    assert.match(opened.text, /^No access since .* Pro had been granted; never paid/m);
  });

  /** Delivers the webhooks just before the statement with this name runs next. */
  function flushBefore(name: string, appUserId: string): void {
    const client = pg.Client.prototype as unknown as { query(...args: unknown[]): Promise<unknown> };
    const { query } = client;
    const hooked = mock.method(client, 'query', async function (this: unknown, ...args: unknown[]) {
      if ((args[0] as { name?: string } | undefined)?.name === name) {
        hooked.mock.restore();
        await product.revenueCat.flushWebhooks();
        await until(() => isReported(appUserId), 'the webhook');
      }
      return query.apply(this, args);
    });
  }

  async function isReported(appUserId: string, kind = 'promotional_revoked'): Promise<boolean> {
    const rows = await product.server.connected.database.query(
      `select 1 from events e join subscriber_ids i using (workspace_id, subscriber_id)
        where i.app_user_id = $1 and e.kind = $2`,
      [appUserId, kind],
    );
    return rows.length > 0;
  }
});

// Runs last: from here on, the project has a second entitlement.
test('a grant of RevenueCat’s dashboard is listed next to ours of another entitlement with the same end', async () => {
  const card = await openCustomer(product);
  const done = await grantOf(card);
  const [ours] = grantsAt(product, card.appUserId);
  product.revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, 'team', 'Team');
  give(product, card.appUserId, { endsAtMs: ours?.endsAtMs ?? 0, entitlement: 'team' });
  const grants = await (await (await openAgain(product, card)).press('refresh')).press('grants');
  assert.deepEqual(
    idsOn(grants.canvas)
      .filter((id) => id.startsWith('grant:'))
      .sort(),
    [`grant:${grantIdOn(done)}`, 'grant:revenuecat/team'],
  );
});
