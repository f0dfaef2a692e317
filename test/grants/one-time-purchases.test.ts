import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { idsOn, openAgain, openFor, send, tell } from '../inbox-card/support.ts';
import { type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import {
  ALL_ON,
  actionStates,
  buyOnce,
  callsAbout,
  callsOf,
  createStoreProduct,
  offeredOn,
  openBuyer,
  openPage,
  reviewAction,
  setActions,
  setMissingScopes,
} from './buyers.ts';
import { audited, noteIn, notesIn, openCustomer, SECOND } from './support.ts';

let product: Product;

before(async () => {
  product = await createStoreProduct();
});
after(() => product?.close());
afterEach(async () => {
  product.revenueCat.faults.clear();
  product.revenueCat.state.grantWebhookDelayMs = 1_000;
  await setActions(product, ALL_ON);
  await setMissingScopes(product, []);
});

const LIFETIME = { store: 'rc_billing', entitlements: ['pro'] };
const CREDITS = { store: 'rc_billing', entitlements: [] };

/** A customer who bought something once, with its page open. */
async function openOnce(bought: Parameters<typeof buyOnce>[2]) {
  const card = await openCustomer(product);
  const purchase = await buyOnce(product, card, bought);
  return { card, purchase, page: await openPage(product, card) };
}

async function refundEvents(appUserId: string): Promise<number> {
  const rows = await product.server.connected.database.query(
    `select 1 from events e join subscriber_ids i using (workspace_id, subscriber_id)
      where i.app_user_id = $1 and e.kind = 'refund'`,
    [appUserId],
  );
  return rows.length;
}

describe('a one-time purchase', () => {
  test('of Web Billing is refunded, and the access that it gave ends', async () => {
    const { card, purchase, page } = await openOnce(LIFETIME);
    assert.match(page.text, /^\*\*Lifetime Pass\*\*$/m);
    assert.match(page.text, /^Price: €4\.99$/m);
    assert.deepEqual(offeredOn(page), ['refund']);
    const checked = await reviewAction(page, 'refund');
    assert.match(
      checked.text,
      /^The payment is refunded, and the access that the purchase gives ends immediately\.$/m,
    );
    assert.match(checked.text, /^Amount: €4\.99$/m);
    assert.equal(callsAbout(product, purchase.id), 0, 'a review does nothing');
    const all = await Promise.all(Array.from({ length: 4 }, () => checked.confirm('action.confirm')));
    for (const { text } of all) {
      assert.match(text, /✅ €4\.99 is refunded for Lifetime Pass\./);
      assert.match(text, /The access that came with it has ended/);
    }
    assert.deepEqual([purchase.status, callsAbout(product, purchase.id)], ['refunded', 1]);
    assert.match(
      await noteIn(product, card, /Refunded €4\.99 for Lifetime Pass/),
      /The customer asked for it/,
    );
    assert.equal(notesIn(product, card).length, 1);
    const [record, ...more] = await audited(product, card.appUserId);
    assert.ok(record);
    assert.deepEqual([record.action, record.result, more.length], ['store_refund', 'confirmed', 0]);
    const { of, amount_minor, currency, before, after } = record.details as Record<string, unknown> & {
      before: { access: boolean };
      after: { access: boolean };
    };
    assert.deepEqual([of, amount_minor, currency], ['purchase', 499, 'EUR']);
    assert.deepEqual([before.access, after.access], [true, false]);
    assert.match((await openPage(product, card)).text, /^Refund: It is already refunded\.$/m);
  });

  test('without an entitlement is listed and refunded too, and the review says that access stays', async () => {
    const { purchase, page } = await openOnce(CREDITS);
    assert.match(page.text, /^Bought: /m);
    assert.doesNotMatch(page.text, /^(Ends|Renews): /m);
    const checked = await reviewAction(page, 'refund');
    assert.match(checked.text, /gives no entitlement, so access stays as it is/);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /✅ €4\.99 is refunded for 100 credits\./);
    assert.doesNotMatch(done.text, /has ended/);
    assert.equal(purchase.status, 'refunded');
  });

  test('is listed beside the subscription of the same store, and each button acts on its own', async () => {
    const { card, purchase: subscription } = await openBuyer(product, 'rc_billing');
    const credits = await buyOnce(product, card, CREDITS);
    const page = await openPage(product, card, { named: '100 credits' });
    assert.match((await (await reviewAction(page, 'refund')).confirm('action.confirm')).text, /✅/);
    assert.deepEqual(
      [callsAbout(product, credits.id), callsAbout(product, subscription.id), subscription.givesAccess],
      [1, 0, true],
    );
  });

  test('is on the timeline immediately as refunded, and its webhook replaces the entry', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const { card, page } = await openOnce(LIFETIME);
    const refunds = async (): Promise<string[]> =>
      (await (await openAgain(product, card)).press('timeline')).text
        .split('\n')
        .filter((line) => /refund/i.test(line));
    assert.deepEqual(await refunds(), []);
    await (await reviewAction(page, 'refund')).confirm('action.confirm');
    const [shown, ...more] = await refunds();
    assert.match(shown ?? '', /€4\.99/);
    assert.deepEqual(more, []);
    await product.revenueCat.flushWebhooks();
    await until(async () => (await refundEvents(card.appUserId)) === 1, 'the webhook');
    assert.equal((await refunds()).length, 1);
  });

  test('is joined with its own webhook, not with that of another refund', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const { card, page } = await openOnce(LIFETIME);
    await (await reviewAction(page, 'refund')).confirm('action.confirm');
    await buyOnce(product, card, CREDITS);
    const credits = await openPage(product, card, { named: '100 credits' });
    await (await reviewAction(credits, 'refund')).confirm('action.confirm');
    const customer = product.revenueCat.state.projects
      .get(REVENUECAT_PROJECT_ID)
      ?.aliases.get(card.appUserId);
    const first = customer?.events.at(-2);
    assert.ok(first);
    await send(product, first);
    await until(async () => (await refundEvents(card.appUserId)) === 1, 'the webhook');
    const { text } = await (await openAgain(product, card)).press('timeline');
    const refunded = text.split('\n').filter((line) => /^refund/i.test(line));
    assert.deepEqual(
      ['Lifetime Pass', '100 credits'].map((name) => refunded.filter((line) => line.includes(name)).length),
      [1, 1],
      text,
    );
  });

  test('that only RevenueCat’s API lists can be refunded: its sum is not known, so a second teammate decides', async () => {
    await setActions(product, { ...ALL_ON, refund: { enabled: true, maxAmountAlone: 1_000 } });
    const card = await openCustomer(product);
    const purchase = await buyOnce(product, card, { ...CREDITS, isAnnounced: false });
    const checked = await reviewAction(await openPage(product, card), 'refund');
    assert.match(checked.text, /^Amount: not known$/m);
    assert.match(
      (await checked.confirm('action.confirm')).text,
      /waits for the approval of another teammate/,
    );
    assert.equal(callsAbout(product, purchase.id), 0);
  });

  test('the answer is lost: it is read back, and refunded once', async () => {
    const { card, purchase, page } = await openOnce(CREDITS);
    const checked = await reviewAction(page, 'refund');
    product.revenueCat.faults.add({ ...callsOf(purchase), drop: 'after', times: 1 });
    assert.match((await checked.press('action.confirm')).text, /Not confirmed yet/);
    await until(async () => (await actionStates(product, card.appUserId))[0] === 'confirmed', 'the refund');
    assert.equal(callsAbout(product, purchase.id), 1);
    await noteIn(product, card, /Refunded/);
  });

  test('a sum above the limit waits for a second teammate, in the currency paid', async () => {
    await setActions(product, { ...ALL_ON, refund: { enabled: true, maxAmountAlone: 1_000 } });
    const { purchase, card, page } = await openOnce({ ...CREDITS, paid: { price: 1_200, currency: 'JPY' } });
    const waiting = await (await reviewAction(page, 'refund')).confirm('action.confirm');
    assert.match(waiting.text, /waits for the approval of another teammate/);
    assert.equal(callsAbout(product, purchase.id), 0);
    const list = await (await openAgain(product, card, { adminId: SECOND })).press('grants');
    const seen = await list.press(idsOn(list.canvas).find((id) => id.startsWith('grant:')) ?? '');
    assert.match(seen.text, /^Amount: ¥1,200$/m);
    assert.match((await seen.confirm('action.approve')).text, /✅ ¥1,200 is refunded for 100 credits\./);
    assert.equal(callsAbout(product, purchase.id), 1);
  });

  test('needs the permission for purchases, not the one for subscriptions', async () => {
    const { card, purchase } = await openOnce(CREDITS);
    await setMissingScopes(product, ['customer_information:purchases:read_write']);
    const refused = await openPage(product, card);
    assert.match(refused.text, /^Refund: The API key lacks customer_information:purchases:read_write\./m);
    assert.deepEqual(offeredOn(refused), []);
    await setMissingScopes(product, ['customer_information:subscriptions:read_write']);
    const done = await (await reviewAction(await openPage(product, card), 'refund')).confirm(
      'action.confirm',
    );
    assert.match(done.text, /✅/);
    assert.equal(purchase.status, 'refunded');
  });

  test('that was refunded elsewhere since the review is not refunded again', async () => {
    const { purchase, page } = await openOnce(LIFETIME);
    const checked = await reviewAction(page, 'refund');
    purchase.status = 'refunded';
    const again = await checked.confirm('action.confirm');
    assert.doesNotMatch(again.text, /✅/);
    assert.equal(callsAbout(product, purchase.id), 0);
  });

  test('of Apple has the text that leads to Apple’s refunds, and none about canceling', async () => {
    const { page } = await openOnce({ ...CREDITS, store: 'app_store' });
    assert.deepEqual(offeredOn(page), []);
    const canvas = JSON.stringify(page.canvas);
    assert.match(canvas, /reportaproblem\.apple\.com/);
    assert.doesNotMatch(canvas, /account\/subscriptions/);
  });

  test('of the sample customer of Web Billing can be refunded', async () => {
    const appUserId = `web_sample_${Date.now()}`;
    await tell(product, 'web_monthly', { appUserId });
    const card = await openFor(product, { externalId: appUserId });
    const page = await openPage(product, card, { named: '100 credits' });
    assert.match((await (await reviewAction(page, 'refund')).confirm('action.confirm')).text, /✅ \$4\.99/);
  });
});
