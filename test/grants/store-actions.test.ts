import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Action } from '../../src/grants/action.ts';
import { confirmAction } from '../../src/grants/confirmation.ts';
import { noteHtml } from '../../src/grants/notes.ts';
import { readAction } from '../../src/grants/repository.ts';
import { messagesFor } from '../../src/i18n/messages.ts';
import { lifecycleEvent } from '../../src/simulator/revenuecat/events.ts';
import type { StoryName } from '../../src/simulator/revenuecat/scenarios.ts';
import type { Subscription } from '../../src/simulator/revenuecat/state.ts';
import { eraseSubscribers } from '../../src/subscribers/customer-data.ts';
import { findByAppUserIds } from '../../src/subscribers/search.ts';
import { DAY_MS } from '../../src/time.ts';
import {
  agedFormState,
  forge,
  idsOn,
  type OpenCard,
  openAgain,
  openFor,
  send,
  tell,
  textOf,
} from '../inbox-card/support.ts';
import { eventBody } from '../support/events.ts';
import { type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import {
  ALL_ON,
  actionStates,
  type Buyer,
  buttonOf,
  buyOnce,
  callsAbout,
  callsOf,
  createStoreProduct,
  offeredOn,
  openBuyer as openBuyerOf,
  openPage as openPageOf,
  reviewAction,
  setActions,
  setMissingScopes,
} from './buyers.ts';
import {
  assertRowsOnce,
  audited,
  contextOf,
  give,
  noteIn,
  notesIn,
  openCustomer,
  pathOf,
  SECOND,
  threeMinutesAgo,
} from './support.ts';

let product: Product;

before(async () => {
  product = await createStoreProduct();
});
after(() => product?.close());
afterEach(async () => {
  product.revenueCat.faults.clear();
  await setActions(product, ALL_ON);
});

/** Matches a date. */
const DAY = '[A-Z][a-z]{2} \\d+, \\d{4}';

const openBuyer = (store: string, changes?: Parameters<typeof openBuyerOf>[2]) =>
  openBuyerOf(product, store, changes);
const openPage = (card: Parameters<typeof openPageOf>[1], adminId = '7001') =>
  openPageOf(product, card, { adminId });
const calls = (id: string) => callsAbout(product, id);
const states = (appUserId: string) => actionStates(product, appUserId);

/** Opens the card, and reviews a transfer of its customer's purchases. */
async function reviewTransfer(
  card: Parameters<typeof openAgain>[1],
  target: string,
  options: Parameters<typeof openAgain>[2] = {},
) {
  const details = await (await openAgain(product, card, options)).press('details');
  return (await details.press('transfer')).press('action.review', {
    'transfer.target': target,
    'action.reason': 'New account',
  });
}

/** Refunds part or all of a payment outside this app. */
const refundElsewhere = (appUserId: string, purchase: Subscription, price: number, atMs = Date.now()) =>
  send(
    product,
    lifecycleEvent(
      'CANCELLATION',
      {
        appUserId,
        productId: 'pro_web',
        entitlements: ['pro'],
        store: purchase.store.toUpperCase(),
        environment: 'PRODUCTION',
        periodType: 'NORMAL',
        purchasedAtMs: purchase.startsAtMs,
        expirationAtMs: purchase.endsAtMs,
        transactionId: purchase.storeSubscriptionId ?? '',
        atMs,
        price,
        currency: 'EUR',
      },
      { cancel_reason: 'CUSTOMER_SUPPORT' },
    ),
  );

describe('a store action', () => {
  test('a Web Billing subscription is cancelled: review, note, record, and once however often it is confirmed', async () => {
    const { card, purchase, page } = await openBuyer('rc_billing');
    for (const kind of ['cancel', 'refund', 'extend', 'manage']) buttonOf(page, kind);
    const checked = await reviewAction(page, 'cancel');
    assert.match(checked.text, /^Renewal is turned off\. Access continues until .+; nothing is refunded\.$/m);
    assert.match(checked.text, /The customer may not be notified/);
    assert.equal(calls(purchase.id), 0, 'a review does nothing');
    const all = await Promise.all(Array.from({ length: 4 }, () => checked.confirm('action.confirm')));
    for (const { text } of all) assert.match(text, /✅ Pro Web is cancelled\. Access until/);
    assert.match((await checked.confirm('action.confirm')).text, /✅ Pro Web is cancelled/);
    assert.equal(calls(purchase.id), 1);
    assert.equal(purchase.autoRenewalStatus, 'will_not_renew');
    assert.match(all[0]?.text ?? '', /^For the customer, to copy/m);
    assert.match(await noteIn(product, card, /Cancelled Pro Web/), /The customer asked for it/);
    assert.equal(notesIn(product, card).length, 1);
    const [record, ...more] = await audited(product, card.appUserId);
    assert.deepEqual(more, []);
    assert.ok(record);
    assert.deepEqual([record.action, record.result, record.actor], ['store_cancel', 'confirmed', '7001']);
    const { before, after } = record.details as { before: { renews: boolean }; after: { renews: boolean } };
    assert.deepEqual([before.renews, after.renews], [true, false]);
    const again = await openPage(card);
    assert.match(again.text, /Cancel the subscription: It is already cancelled\./);
  });

  test('cancelled while a payment is retried: no text promises access until an end that is past', async () => {
    const { card, page } = await openBuyer('rc_billing', {
      status: 'in_grace_period',
      periodEndsAtMs: Date.now() - 2 * DAY_MS,
      endsAtMs: Date.now() + 5 * DAY_MS,
    });
    const checked = await reviewAction(page, 'cancel');
    assert.match(checked.text, /^Renewal is turned off\. Access continues; nothing is refunded\.$/m);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /^✅ Pro Web is cancelled\.$/m);
    assert.match(
      done.text,
      /Your subscription Pro Web is cancelled\. You will not be charged for it again\./,
    );
    assert.match(await noteIn(product, card, /Cancelled Pro Web/), /Cancelled Pro Web\.</);
  });

  test('of two subscriptions of a store, what RevenueCat lists as one is not acted on from the page of the other', async () => {
    const { card, purchase } = await openBuyer('rc_billing');
    const endedMs = Date.now() - 60 * DAY_MS;
    await send(
      product,
      lifecycleEvent('INITIAL_PURCHASE', {
        appUserId: card.appUserId,
        productId: 'old_web',
        entitlements: ['pro'],
        store: 'RC_BILLING',
        environment: 'PRODUCTION',
        periodType: 'NORMAL',
        purchasedAtMs: endedMs - 30 * DAY_MS,
        expirationAtMs: endedMs,
        transactionId: `old_${card.appUserId}`,
        atMs: endedMs - 30 * DAY_MS,
        price: 3,
        currency: 'EUR',
      }),
    );
    const details = await (await openAgain(product, card)).press('details');
    assert.match(details.text, /^Old web \| RevenueCat Web Billing · Ended: \w+ \d+, \d{4}$/m);
    assert.match(details.text, /^Pro Web \| RevenueCat Web Billing · Renews: \w+ \d+, \d{4}$/m);
    const other = await openPageOf(product, card, { named: 'Old web' });
    assert.match(other.text, /RevenueCat does not list this purchase/);
    assert.deepEqual(offeredOn(other), []);
    const checked = await reviewAction(await openPage(card), 'refund');
    assert.match(checked.text, /^Amount: €4\.99$/m);
    assert.equal(calls(purchase.id), 0);
  });

  test('what is done to a subscription waits for no purchases, of which there may be thousands', async () => {
    const { card, purchase } = await openBuyer('rc_billing');
    product.revenueCat.faults.add({ pathPrefix: `${pathOf(card.appUserId)}/purchases`, status: 500 });
    const checked = await reviewAction(await openPage(card), 'cancel');
    assert.match((await checked.confirm('action.confirm')).text, /✅ Pro Web is cancelled/);
    assert.equal(purchase.autoRenewalStatus, 'will_not_renew');
  });

  test('a Web Billing refund ends access', async () => {
    const { card, purchase, page } = await openBuyer('rc_billing');
    const checked = await reviewAction(page, 'refund');
    assert.match(
      checked.text,
      /the customer immediately loses the access that it gives and is not charged for it again/,
    );
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /✅ €4\.99 is refunded for Pro Web\./);
    // It must not say that all access ended: the customer may have another subscription.
    assert.match(done.text, /This subscription has ended, and you will not be charged for it again\./);
    assert.equal(purchase.givesAccess, false);
    assert.equal(calls(purchase.id), 1);
    await noteIn(product, card, /Refunded/);
  });

  test('of a payment that was refunded in part, a Web Billing refund gives back and names the rest', async () => {
    const { card, purchase, page } = await openBuyer('rc_billing');
    await refundElsewhere(card.appUserId, purchase, -2);
    const checked = await reviewAction(page, 'refund');
    assert.match(checked.text, /^Amount: €2\.99$/m);
    assert.match((await checked.confirm('action.confirm')).text, /✅ €2\.99 is refunded for Pro Web\./);
  });

  test('one Google Play charge is refunded, and the review says that the subscription continues', async () => {
    const { card, purchase, page } = await openBuyer('play_store');
    for (const kind of ['cancel', 'manage'])
      assert.ok(!idsOn(page.canvas).some((id) => id.startsWith(`${kind}:`)), kind);
    const charge = purchase.storeSubscriptionId ?? '';
    const form = await page.press(buttonOf(page, 'refund'));
    assert.match(form.text, new RegExp(`^Charge · ${DAY} · €4\\.99\\n${charge}$`, 'm'), 'the only one');
    const checked = await reviewAction(page, 'refund', { 'action.transaction': charge });
    assert.match(checked.text, /not cancelled and access stays/);
    assert.match(checked.text, /Google does not notify the customer/);
    assert.match(checked.text, /^Amount: €4\.99$/m);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /✅ €4\.99 is refunded for Pro Web\./);
    assert.equal(calls(charge), 1);
    assert.equal(purchase.givesAccess, true);
    const again = await openPage(card);
    const refused = await again.press(buttonOf(again, 'refund'));
    assert.match(refused.text, /^It is already refunded\.$/m);
    assert.ok(!idsOn(refused.canvas).includes('action.review'));
  });

  test('a form sent without its charge refunds the one that it showed as chosen', async () => {
    const { purchase, page } = await openBuyer('play_store');
    const form = await page.press(buttonOf(page, 'refund'));
    const inputs = { 'action.reason': 'Asked for it' };
    const { canvas } = await forge(product, form, 'action.review', { inputs });
    assert.match(textOf(canvas), new RegExp(`^Charge: ${purchase.storeSubscriptionId}$`, 'm'));
    assert.ok(idsOn(canvas ?? {}).includes('action.confirm'));
  });

  test('of many charges every one can be chosen, and none is on the next page until one is', async () => {
    const { purchase, page } = await openBuyer('play_store');
    const weeks = Array.from({ length: 14 }, (_, index) => ({
      id: `GPA.1111-2222-3333-4444..${index}`,
      purchasedAtMs: Date.now() - (14 - index) * 7 * DAY_MS,
      expiresAtMs: null,
      isRefunded: false,
    }));
    product.revenueCat.state.transactions.set(purchase.id, weeks);
    const chargesOn = ({ canvas }: OpenCard) => {
      const field = canvas.content?.components.find(
        (each) => each.type === 'dropdown' && each.id === 'action.transaction',
      );
      assert.equal(field?.type, 'dropdown');
      return field as { options: { id: string }[]; value?: string };
    };
    const first = await page.press(buttonOf(page, 'refund'));
    assert.equal(chargesOn(first).value, weeks.at(-1)?.id, 'the newest');
    const second = await first.press('action.page:1', {
      'action.transaction': chargesOn(first).value ?? '',
      'action.reason': 'Asked for it',
    });
    assert.equal(chargesOn(second).value, undefined);
    const ids = [first, second].flatMap((each) => chargesOn(each).options.map(({ id }) => id));
    assert.deepEqual(ids, weeks.map(({ id }) => id).reverse());
    const reason = { 'action.reason': 'Asked for it' };
    const unchosen = await second.press('action.review', reason);
    assert.match(unchosen.text, /^Choose the charge to refund\.$/m);
    const oldest = weeks[0]?.id ?? '';
    const checked = await unchosen.press('action.review', { ...reason, 'action.transaction': oldest });
    assert.ok(checked.text.includes(`Charge: ${oldest}`), checked.text);
    assert.equal(chargesOn(await checked.press('action.change')).value, oldest);
    await checked.confirm('action.confirm');
    assert.equal(weeks[0]?.isRefunded, true);
  });

  test('a charge that was refunded elsewhere is not offered, reviewed or confirmed; one refunded in part is', async () => {
    const { card, purchase, page } = await openBuyer('play_store');
    const charge = purchase.storeSubscriptionId ?? '';
    const refund = (price: number) => refundElsewhere(card.appUserId, purchase, price);
    const form = await page.press(buttonOf(page, 'refund'));
    const inputs = { 'action.transaction': charge, 'action.reason': 'Asked for it' };
    await refund(-2);
    const checked = await form.press('action.review', inputs);
    assert.match(checked.text, /This charge is refunded/);
    assert.match(checked.text, /^Amount: €2\.99$/m);
    await refund(-2.99);
    for (const refused of [
      await form.press('action.review', inputs),
      await checked.confirm('action.confirm'),
    ])
      assert.match(refused.text, /^It is already refunded\.$/m);
    assert.match((await page.press(buttonOf(page, 'refund'))).text, /^It is already refunded\.$/m);
    assert.equal(calls(charge), 0);
  });

  test('a part of a charge that was refunded by an event in dollars alone leaves the rest', async () => {
    const { card, purchase } = await openBuyer('play_store', { paid: { price: 4.99, currency: 'USD' } });
    const charge = purchase.storeSubscriptionId ?? '';
    const refund = eventBody({
      type: 'CANCELLATION',
      cancel_reason: 'CUSTOMER_SUPPORT',
      app_user_id: card.appUserId,
      original_app_user_id: card.appUserId,
      aliases: [],
      product_id: 'pro_web',
      store: 'PLAY_STORE',
      event_timestamp_ms: Date.now(),
      purchased_at_ms: purchase.startsAtMs,
      expiration_at_ms: purchase.endsAtMs,
      transaction_id: charge,
      original_transaction_id: charge,
      price: -2,
      price_in_purchased_currency: null,
      currency: null,
    });
    await send(product, refund as never);
    const checked = await reviewAction(await openPage(card), 'refund', { 'action.transaction': charge });
    assert.match(checked.text, /^Amount: \$2\.99$/m);
  });

  test('a charge that was refunded in part since the review is reviewed again, with the rest', async () => {
    const { card, purchase, page } = await openBuyer('play_store');
    const charge = purchase.storeSubscriptionId ?? '';
    const checked = await reviewAction(page, 'refund', { 'action.transaction': charge });
    assert.match(checked.text, /^Amount: €4\.99$/m);
    await refundElsewhere(card.appUserId, purchase, -2);
    const again = await checked.confirm('action.confirm');
    assert.match(again.text, /has changed since the review/);
    assert.match(again.text, /^Amount: €2\.99$/m);
    assert.equal(calls(charge), 0);
    assert.match((await again.confirm('action.confirm')).text, /✅ €2\.99 is refunded for Pro Web\./);
    await noteIn(product, card, /Refunded €2\.99 for Pro Web/);
  });

  test('a charge that only Google knows as refunded is refused when it is confirmed', async () => {
    const { purchase, page } = await openBuyer('play_store');
    const charge = purchase.storeSubscriptionId ?? '';
    const checked = await reviewAction(page, 'refund', { 'action.transaction': charge });
    const [transaction] = product.revenueCat.state.transactions.get(purchase.id) ?? [];
    assert.ok(transaction);
    transaction.isRefunded = true;
    assert.match(
      (await checked.confirm('action.confirm')).text,
      /this was done before\. Nothing was changed/,
    );
  });

  test('the refund of a subscription that does not renew announces no next charge', async () => {
    const { purchase, page } = await openBuyer('play_store', { autoRenewalStatus: 'will_not_renew' });
    const charge = purchase.storeSubscriptionId ?? '';
    const checked = await reviewAction(page, 'refund', { 'action.transaction': charge });
    assert.match(checked.text, /Nothing else changes: the subscription does not renew\./);
    assert.doesNotMatch(checked.text, /next charge/);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /We have refunded €4\.99 for Pro Web\./);
    assert.doesNotMatch(done.text, /Your subscription continues/);
    assert.equal(purchase.givesAccess, true);
  });

  test('an event with an odd price does not hide the charges', async () => {
    const { card, purchase } = await openBuyer('play_store');
    const charge = purchase.storeSubscriptionId ?? '';
    const event = {
      id: randomUUID(),
      app_user_id: card.appUserId,
      original_app_user_id: card.appUserId,
      aliases: [],
    };
    const odd = { transaction_id: charge, currency: 'EUR', price_in_purchased_currency: 'free' };
    await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, eventBody({ ...event, ...odd }) as never);
    await until(
      async () =>
        (await product.db.database.query('select 1 from events where event_id = $1', [event.id])).length > 0,
      'the event',
    );
    const checked = await reviewAction(await openPage(card), 'refund', { 'action.transaction': charge });
    assert.match(checked.text, /^Amount: €4\.99$/m);
  });

  test('a customer that RevenueCat does not know has no actions and no technical details, and both pages say so', async () => {
    const appUserId = 'only-webhooks';
    const ids = { app_user_id: appUserId, original_app_user_id: appUserId, aliases: [] };
    const event = eventBody({ id: randomUUID(), ...ids });
    await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, event as never);
    const card = await openFor(product, { externalId: appUserId });
    const details = await card.press('details');
    const page = await details.press(
      idsOn(details.canvas).find((id) => id.startsWith('subscription:')) ?? '',
    );
    assert.match(page.text, /^RevenueCat does not list this purchase for the customer/m);
    assert.match(details.text, / · Ended: /);
    assert.match(page.text, /^Ended: /m, 'in the same words as the details');
    assert.doesNotMatch(page.text, /Nothing was changed/);
    const technical = await details.press('technical');
    assert.match(technical.text, /^RevenueCat has sent no technical details about this customer\.$/m);
  });

  test('a Google Play subscription without charges has nothing to refund, and the form says so', async () => {
    const { purchase, page } = await openBuyer('play_store');
    product.revenueCat.state.transactions.set(purchase.id, []);
    const form = await page.press(idsOn(page.canvas).find((id) => id.startsWith('refund:')) ?? '');
    assert.match(form.text, /lists no charge of this subscription/);
    assert.ok(!idsOn(form.canvas).includes('action.review'));
    assert.ok(idsOn(form.canvas).includes('home'));
  });

  test('Apple: 1 to 90 days with a reason, twice a year; texts for what only the customer can do', async () => {
    const { card, purchase, page } = await openBuyer('app_store', {
      managementUrl: 'https://apps.apple.com/account/subscriptions',
    });
    assert.deepEqual(
      ['cancel', 'refund', 'manage'].filter((kind) =>
        idsOn(page.canvas).some((id) => id.startsWith(`${kind}:`)),
      ),
      [],
    );
    const details = await page.press('details');
    const links = [page, details].flatMap(({ canvas }) =>
      (canvas.content?.components ?? []).flatMap((each) =>
        each.type === 'button' && each.action.type === 'url' ? [each.action.url] : [],
      ),
    );
    assert.ok(!links.some((link) => link.includes('apple.com')), 'no link opens the agent’s own account');
    const texts = JSON.stringify(page.canvas);
    assert.match(texts, /reportaproblem\.apple\.com/);
    assert.match(texts, /apps\.apple\.com\/account\/subscriptions/);
    const cancelled = await openBuyer('app_store', { autoRenewalStatus: 'will_not_renew' });
    assert.match(cancelled.page.text, /^How the customer requests a refund, to copy$/m);
    assert.doesNotMatch(cancelled.page.text, /^How the customer cancels/m, 'it is cancelled');
    const tooLong = await reviewAction(page, 'extend', { 'action.days': '91', 'action.code': '3' });
    assert.match(tooLong.text, /Enter a number of days that the store allows/);
    const before = purchase.endsAtMs ?? 0;
    const checked = await reviewAction(page, 'extend', { 'action.days': '30', 'action.code': '3' });
    const minute = `${DAY} at \\d+:\\d\\d[AP]M`;
    assert.match(checked.text, new RegExp(`ends 30 days later: on ${minute} instead of ${minute}\\.`));
    assert.match(checked.text, /Apple emails the customer/);
    assert.match((await checked.confirm('action.confirm')).text, /✅ Pro Web is extended until/);
    assert.equal(purchase.endsAtMs, before + 30 * DAY_MS);
    await (await reviewAction(await openPage(card), 'extend', { 'action.days': '1' })).press(
      'action.confirm',
    );
    const third = await (await reviewAction(await openPage(card), 'extend', { 'action.days': '1' })).press(
      'action.confirm',
    );
    assert.match(third.text, /The store refused this\. Nothing was changed/);
    assert.deepEqual(await states(card.appUserId), ['confirmed', 'confirmed', 'failed']);
  });

  test('while a payment is retried without access, it is not said that the subscription has ended', async () => {
    const { page } = await openBuyer('rc_billing', { status: 'in_billing_retry', givesAccess: false });
    assert.match(page.text, /^Refund: It gives no access now\.$/m);
    assert.doesNotMatch(page.text, /It has ended/);
  });

  test('a subscription without an end cannot be extended', async () => {
    const { page } = await openBuyer('play_store', { endsAtMs: null, periodEndsAtMs: null });
    assert.ok(!idsOn(page.canvas).some((id) => id.startsWith('extend:')), page.text);
  });

  test('an extension of what does not renew promises no charge', async () => {
    const { page } = await openBuyer('play_store', { autoRenewalStatus: 'will_not_renew' });
    const checked = await reviewAction(page, 'extend', { 'action.days': '3' });
    assert.match(checked.text, /ends 3 days later/);
    assert.doesNotMatch(checked.text, /charge is made/);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /We have extended Pro Web by 3 days, until .+, free of charge\.$/m);
  });

  test('a portal link is shown once and stored nowhere', async () => {
    const { card, page } = await openBuyer('rc_billing');
    const checked = await (await page.press(buttonOf(page, 'manage'))).press('action.review');
    const done = await checked.confirm('action.confirm');
    const [, url = ''] =
      /(https:\/\/billing\.revenuecat\.com\/\S+token=\w+)/.exec(JSON.stringify(done.canvas)) ?? [];
    assert.notEqual(url, '');
    const again = await checked.confirm('action.confirm');
    assert.match(again.text, /shown once and is not stored/);
    const tables = ['actions', 'audit_log', 'action_notes'];
    for (const table of tables) {
      const rows = await product.server.connected.database.query(
        `select * from ${table} where workspace_id = $1`,
        [WORKSPACE_ID],
      );
      assert.doesNotMatch(JSON.stringify(rows), /token=/, table);
    }
    await noteIn(product, card, /Created a billing portal link/);
  });

  test('purchases are transferred to a customer that is shown before the click', async () => {
    const { card, purchase } = await openBuyer('rc_billing');
    const receiver = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
      id: `receiver_${randomUUID()}`,
    });
    const form = await (await (await openAgain(product, card)).press('details')).press('transfer');
    const transferTo = (target: string) =>
      form.press('action.review', { 'transfer.target': target, 'action.reason': 'New account' });
    assert.match(
      (await transferTo('unknown_customer')).text,
      /does not know a customer with this app user ID/,
    );
    assert.match((await transferTo(card.appUserId)).text, /This is the same customer/);
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const source = project?.aliases.get(card.appUserId);
    assert.ok(project && source);
    const newAlias = `alias_${randomUUID()}`;
    project.aliases.set(newAlias, source);
    assert.match((await transferTo(newAlias)).text, /This is the same customer/);
    // In a URL path, these would lead to another endpoint.
    for (const dots of ['.', '..'])
      assert.match((await transferTo(dots)).text, /does not know a customer with this app user ID/);
    const checked = await transferTo(receiver.id);
    assert.match(
      checked.text,
      new RegExp(`^1 purchase moves to ${receiver.id}, with the access that it gives`, 'm'),
    );
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /✅ 1 purchase is transferred/);
    assert.match(done.text, new RegExp(`^Receiving customer: ${receiver.id}$`, 'm'));
    assert.deepEqual(
      receiver.subscriptions.map(({ id }) => id),
      [purchase.id],
    );
    assert.equal(calls(card.appUserId), 1);
    give(product, card.appUserId, { endsAtMs: Date.now() + DAY_MS });
    assert.match((await transferTo(receiver.id)).text, /has no purchases to transfer/, 'grants stay');
  });

  test('of two transfers to different customers at the same time one is made', async () => {
    const { card } = await openBuyer('rc_billing');
    const reviewed = async (adminId: string) => {
      const { id } = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
        id: `receiver_${randomUUID()}`,
      });
      return reviewTransfer(card, id, { adminId });
    };
    const both = [await reviewed('7001'), await reviewed(SECOND)];
    const texts = (await Promise.all(both.map((each) => each.confirm('action.confirm')))).map(
      ({ text }) => text,
    );
    assert.equal(texts.filter((text) => /✅ 1 purchase is transferred/.test(text)).length, 1);
    assert.ok(
      texts.some((text) => /is not confirmed yet|has changed since the review/.test(text)),
      texts.join(),
    );
    assert.equal(calls(card.appUserId), 1);
  });

  test('a transfer whose receiver is erased before the answer is read back from its source', async () => {
    const { card } = await openBuyer('rc_billing');
    const receiver = await openCustomer(product);
    const checked = await reviewTransfer(card, receiver.appUserId);
    const { faults } = product.revenueCat;
    faults.add({ pathPrefix: `${pathOf(card.appUserId)}/actions/transfer`, drop: 'after', times: 1 });
    faults.add({ pathPrefix: `${pathOf(receiver.appUserId)}/`, status: 503 });
    const pending = await checked.press('action.confirm');
    assert.match(pending.text, /Not confirmed yet/);
    const { connected, secrets } = product.server;
    const { database } = connected;
    const found = await findByAppUserIds(database, WORKSPACE_ID, [receiver.appUserId]);
    await eraseSubscribers({ database, secrets }, WORKSPACE_ID, {
      subscriberIds: found.map(({ subscriberId }) => subscriberId),
      by: {},
    });
    const shown = idsOn(pending.canvas).find((id) => id.startsWith('grant:')) ?? '';
    const done = await until(async () => {
      const { text } = await pending.press(shown);
      return text.includes('✅') && text;
    }, 'the transfer');
    assert.match(done, /✅ 1 purchase is transferred to …\./);
    assert.equal(calls(card.appUserId), 1);
  });

  test('a transfer whose receiver is erased while it is read back stores nothing of them again', async () => {
    const { card } = await openBuyer('rc_billing');
    const receiver = await openCustomer(product);
    const checked = await reviewTransfer(card, receiver.appUserId);
    const { connected, secrets } = product.server;
    const { database } = connected;
    const actionOf = async () => {
      const [action] = await database.query<{ answered: boolean; action: string }>(
        `select answered, row_to_json(a)::text as action from actions a where app_user_id = $1`,
        [card.appUserId],
      );
      return action;
    };
    const found = await findByAppUserIds(database, WORKSPACE_ID, [receiver.appUserId]);
    product.revenueCat.faults.add({
      pathPrefix: `${pathOf(receiver.appUserId)}/`,
      latencyMs: 3_000,
      times: 1,
    });
    const pressing = checked.confirm('action.confirm');
    await until(async () => (await actionOf())?.answered, 'the answer of RevenueCat');
    await eraseSubscribers({ database, secrets }, WORKSPACE_ID, {
      subscriberIds: found.map(({ subscriberId }) => subscriberId),
      by: {},
    });
    await pressing;
    // On a busy machine the card may respond before RevenueCat does: pressing the same button again shows the result.
    const done = await until(async () => {
      const { text } = await checked.confirm('action.confirm');
      return text.includes('✅') && text;
    }, 'the transfer');
    assert.match(done, /✅ 1 purchase is transferred to …\./);
    assert.ok(!(await actionOf())?.action.includes(receiver.appUserId));
    const [record] = await audited(product, card.appUserId);
    assert.ok(!JSON.stringify(record).includes(receiver.appUserId));
  });

  test('more purchases than a card can store are transferred together', async () => {
    const { card } = await openBuyer('rc_billing');
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const source = project?.aliases.get(card.appUserId);
    const bought = await buyOnce(product, card, {
      store: 'rc_billing',
      entitlements: [],
      isAnnounced: false,
    });
    // Their ids alone are 70 kB.
    for (let index = 0; index < 700; index += 1)
      source?.purchases.push({ ...bought, id: `purchase_${'x'.repeat(90)}_${index}` });
    const receiver = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
      id: `receiver_${randomUUID()}`,
    });
    const checked = await reviewTransfer(card, receiver.id);
    assert.match(checked.text, /702 purchases move to/);
    // Ordered by id, the removed purchase comes after those that the card stores.
    source?.purchases.splice(-1);
    const again = await checked.confirm('action.confirm');
    assert.match(again.text, /has changed since the review/);
    assert.match((await again.confirm('action.confirm')).text, /✅ 701 purchases are transferred/);
    assert.equal(receiver.purchases.length, 700);
  });

  test('a Google Play order is restored', async () => {
    const { purchase } = await openBuyer('play_store');
    const other = await openCustomer(product);
    const form = await (await other.press('details')).press('transfer');
    const bad = await form.press('action.review', { 'transfer.order': 'no order', 'action.reason': 'x' });
    assert.match(bad.text, /A Google Play order ID looks like/);
    const checked = await bad.press('action.review', {
      'transfer.order': purchase.storeSubscriptionId ?? '',
      'action.reason': 'Bought before signing in',
    });
    assert.match((await checked.confirm('action.confirm')).text, /✅ The order .+ is restored/);
    assert.equal(purchase.customerId, other.appUserId);
  });
});

describe('each store offers what it allows', () => {
  const offers: readonly (readonly [story: StoryName, kinds: readonly string[]])[] = [
    ['web_monthly', ['cancel', 'refund', 'extend', 'manage']],
    ['google_monthly', ['refund', 'extend']],
    ['active_monthly', ['extend']],
    ['stripe_monthly', []],
  ];
  for (const [story, kinds] of offers) {
    test(`${story}: ${kinds.join(', ') || 'nothing, and says so'}`, async () => {
      const appUserId = `offer_${story}_${randomUUID().slice(0, 8)}`;
      await tell(product, story, { appUserId });
      const page = await openPage(await openFor(product, { externalId: appUserId }));
      const shown = idsOn(page.canvas).flatMap((id) => /^(cancel|refund|extend|manage):/.exec(id)?.[1] ?? []);
      assert.deepEqual(shown, kinds);
      if (kinds.length === 0) assert.match(page.text, /Stripe offers no actions through RevenueCat/);
    });
  }
});

describe('the timeline', () => {
  test('shows an action immediately, and joins it with the webhook that follows', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const { card, page } = await openBuyer('play_store');
    const title = async () =>
      (await (await openAgain(product, card)).press('timeline')).text
        .split('\n')
        .filter((line) => /extended/i.test(line)).length;
    assert.equal(await title(), 0);
    await (await reviewAction(page, 'extend', { 'action.days': '5' })).confirm('action.confirm');
    assert.equal(await title(), 1);
    await product.revenueCat.flushWebhooks();
    await until(
      async () =>
        (
          await product.server.connected.database.query(
            `select 1 from events e join subscriber_ids i using (workspace_id, subscriber_id)
              where i.app_user_id = $1 and e.kind = 'subscription_extended'`,
            [card.appUserId],
          )
        ).length === 1,
      'the webhook',
    );
    assert.equal(await title(), 1);
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
  });

  test('shows a trial that was cancelled here once', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const { card, purchase, page } = await openBuyer('rc_billing');
    await (await reviewAction(page, 'cancel')).confirm('action.confirm');
    const facts = {
      appUserId: card.appUserId,
      productId: 'pro_web',
      entitlements: ['pro'],
      store: 'RC_BILLING',
      environment: 'PRODUCTION',
      periodType: 'TRIAL',
      purchasedAtMs: purchase.startsAtMs,
      expirationAtMs: purchase.endsAtMs,
      transactionId: purchase.storeSubscriptionId ?? purchase.id,
      price: 0,
      currency: 'EUR',
      atMs: Date.now(),
    } as const;
    await send(product, lifecycleEvent('CANCELLATION', facts, { cancel_reason: 'UNSUBSCRIBE' }));
    const { text } = await (await openAgain(product, card)).press('timeline');
    assert.equal(text.match(/cancelled/gi)?.length, 1, text);
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
  });
});

describe('after an action whose webhook has not arrived', () => {
  before(() => {
    product.revenueCat.state.grantWebhookDelayMs = null;
  });
  after(() => {
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
  });

  test('the overview says refunded, and the same after the webhook', async () => {
    const { card, page } = await openBuyer('rc_billing');
    const overview = () => openAgain(product, card);
    assert.match((await (await reviewAction(page, 'refund')).confirm('action.confirm')).text, /✅/);
    const refunded = /Refunded €4\.99 on .+ No access since then\./;
    assert.match((await overview()).text, refunded);
    assert.doesNotMatch((await overview()).text, /Paid so far: €4\.99/);
    const refreshed = await (await overview()).press('refresh');
    assert.match(refreshed.text, refunded, 'also when RevenueCat was read since');
    await product.revenueCat.flushWebhooks();
    const count = async () => {
      const rows = await product.server.connected.database.query(
        `select 1 from events e join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = $1 and e.kind = 'refund'`,
        [card.appUserId],
      );
      return rows.length;
    };
    await until(async () => (await count()) === 1, 'the webhook');
    // The simulator's webhook names its own amount.
    assert.match((await overview()).text, /Refunded .+ on .+ No access since then\./);
  });

  test('the overview says when a subscription was cancelled, also when RevenueCat was read since', async () => {
    const { card, page } = await openBuyer('rc_billing');
    await (await reviewAction(page, 'cancel')).confirm('action.confirm');
    const cancelled = /cancelled on \w{3} \d+, \d{4}\. Access until .+ No further charge/;
    assert.match((await openAgain(product, card)).text, cancelled);
    const refreshed = await (await openAgain(product, card)).press('refresh');
    assert.match(refreshed.text, cancelled, 'RevenueCat says that it does not renew, not since when');
    const timeline = await (await openAgain(product, card)).press('timeline');
    const newest = idsOn(timeline.canvas).find((id) => id.startsWith('event:')) ?? '';
    const { text } = await timeline.press(newest);
    assert.match(text, /^Cancelled\n/);
    assert.match(text, /^In Intercom: Done here; RevenueCat's event has not arrived yet$/m);
  });

  test('the card says what was done before any webhook came and RevenueCat was read again', async () => {
    const stale = (card: { appUserId: string }) =>
      product.revenueCat.faults.add({ pathPrefix: `${pathOf(card.appUserId)}/aliases`, status: 500 });
    const canceled = await openBuyer('rc_billing');
    stale(canceled.card);
    const cancel = await (await reviewAction(canceled.page, 'cancel')).confirm('action.confirm');
    assert.match((await cancel.press('home')).text, /cancelled on .+ No further charge/i);
    const extended = await openBuyer('app_store');
    stale(extended.card);
    const endsAtMs = (extended.purchase.endsAtMs ?? 0) + 30 * DAY_MS;
    const extend = await (await reviewAction(extended.page, 'extend', { 'action.days': '30' })).press(
      'action.confirm',
    );
    const end = new Intl.DateTimeFormat('en-US', { dateStyle: 'medium', timeZone: 'America/New_York' });
    assert.match((await extend.press('home')).text, new RegExp(`Next charge ${end.format(endsAtMs)}`));
  });

  test('after a transfer both customers are shown as they are, and the receiver without a webhook', async () => {
    const { card } = await openBuyer('rc_billing');
    const receiver = await openBuyer('app_store');
    const checked = await reviewTransfer(card, receiver.card.appUserId);
    const done = await checked.confirm('action.confirm');
    assert.match(done.text, /✅/);
    const source = await done.press('home');
    assert.match(source.text, /Purchases were moved to another customer on/);
    assert.match((await source.press('timeline')).text, /Purchases moved to another customer/);
    await until(async () => {
      const { text } = await openAgain(product, receiver.card);
      return /Pro Web/.test((await (await openAgain(product, receiver.card)).press('details')).text + text);
    }, 'the receiver to have the purchase');
    assert.match((await openAgain(product, card)).text, /Purchases were moved to another customer on/);
  });

  test('the timeline says that it was in the sandbox', async () => {
    const { card, page } = await openBuyer('rc_billing', { environment: 'sandbox' });
    assert.match((await (await reviewAction(page, 'refund')).confirm('action.confirm')).text, /✅/);
    const { text } = await (await openAgain(product, card)).press('timeline');
    assert.match(text, /^Refunded.*Sandbox/im);
  });
});

describe('a store action that does not go through', () => {
  test('the answer to a Google refund is lost and the API has no events: the webhook confirms it, and nothing else waits', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const { card, purchase, page } = await openBuyer('play_store');
    const charge = purchase.storeSubscriptionId ?? '';
    const checked = await reviewAction(page, 'refund', { 'action.transaction': charge });
    const again = await reviewAction(page, 'refund', { 'action.transaction': charge });
    product.revenueCat.faults.add({ pathPrefix: `${pathOf(card.appUserId)}/events`, status: 404 });
    product.revenueCat.faults.add({ ...callsOf(purchase), drop: 'after', times: 1 });
    assert.match((await checked.press('action.confirm')).text, /Not confirmed yet/);
    assert.match((await again.confirm('action.confirm')).text, /Another action .+ is not confirmed yet/);
    const extended = await (await reviewAction(await openPage(card), 'extend', { 'action.days': '3' })).press(
      'action.confirm',
    );
    assert.match(extended.text, /✅ Pro Web is extended until/);
    // After two minutes, other actions count as not done; a Google refund may still have been done.
    const [refund] = await product.server.connected.database.query<{ action_id: string }>(
      `update actions set called_at = $2 where workspace_id = $1 and state = 'requested' and kind = 'refund'
       returning action_id`,
      [WORKSPACE_ID, threeMinutesAgo()],
    );
    const readBack = () =>
      confirmAction(contextOf(product), { workspaceId: WORKSPACE_ID, actionId: refund?.action_id ?? '' });
    await readBack();
    assert.deepEqual((await states(card.appUserId)).toSorted(), ['confirmed', 'requested']);
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
    await product.revenueCat.flushWebhooks();
    // The next job may come 45 s later, the interval at which an action called three minutes ago is read back.
    await until(async () => {
      await readBack();
      return (await states(card.appUserId)).join() === 'confirmed,confirmed';
    }, 'the refund');
    assert.equal(calls(charge), 1);
  });

  test('an earlier refund of a part, a renewal and the end of a period confirm nothing that was not done', async () => {
    const { database } = product.server.connected;
    const lose = async (kind: string, { purchase, page }: Buyer, inputs?: Record<string, string>) => {
      const checked = await reviewAction(page, kind, inputs);
      product.revenueCat.faults.add({ ...callsOf(purchase), drop: 'before', times: 1 });
      assert.match((await checked.press('action.confirm')).text, /Not confirmed yet/);
    };
    const readBackAfter = async ({ card }: Buyer, ageMs: number): Promise<Action | null> => {
      const [row] = await database.query<{ action_id: string }>(
        `update actions set called_at = $3 where workspace_id = $1 and app_user_id = $2 returning action_id`,
        [WORKSPACE_ID, card.appUserId, new Date(Date.now() - ageMs)],
      );
      const key = { workspaceId: WORKSPACE_ID, actionId: row?.action_id ?? '' };
      await confirmAction(contextOf(product), key);
      return readAction(database, key);
    };

    const charged = await openBuyer('play_store');
    await refundElsewhere(charged.card.appUserId, charged.purchase, -2, Date.now() - DAY_MS);
    await lose('refund', charged, { 'action.transaction': charged.purchase.storeSubscriptionId ?? '' });
    assert.equal((await readBackAfter(charged, 180_000))?.state, 'requested', 'a part, the day before');

    const renewed = await openBuyer('play_store');
    await lose('extend', renewed, { 'action.days': '3' });
    renewed.purchase.endsAtMs = (renewed.purchase.endsAtMs ?? 0) + 30 * DAY_MS;
    assert.equal((await readBackAfter(renewed, 180_000))?.state, 'requested', 'renewed for a month');

    const endPeriod = async ({ card, purchase }: Buyer): Promise<void> => {
      await database.query(
        `update actions set details = jsonb_set(details::jsonb, '{before,endsAtMs}', to_jsonb($3::bigint))
          where workspace_id = $1 and app_user_id = $2`,
        [WORKSPACE_ID, card.appUserId, Date.now() - 60_000],
      );
      purchase.givesAccess = false;
    };
    const ended = await openBuyer('rc_billing', { autoRenewalStatus: 'will_not_renew' });
    await lose('refund', ended);
    await endPeriod(ended);
    assert.equal((await readBackAfter(ended, 180_000))?.state, 'requested', 'the period has ended');
    const failed = await readBackAfter(ended, DAY_MS + 180_000);
    assert.equal(failed?.error, 'never_confirmed');
    const note = noteHtml(failed, 'failed', messagesFor('en', 'UTC'));
    assert.match(note, /Refund: Pro Web.+so the result is unknown/);
    assert.doesNotMatch(note, /did not do it/);

    const reported = await openBuyer('rc_billing', { autoRenewalStatus: 'will_not_renew' });
    await lose('refund', reported);
    await endPeriod(reported);
    await refundElsewhere(reported.card.appUserId, reported.purchase, -4.99);
    assert.equal((await readBackAfter(reported, 180_000))?.state, 'confirmed', 'a webhook reports it');
  });

  test('RevenueCat is unavailable: the form says so, keeps what was typed, and works later', async () => {
    const { card, purchase, page } = await openBuyer('play_store');
    const refundForm = await page.press(buttonOf(page, 'refund'));
    const extendForm = await page.press(buttonOf(page, 'extend'));
    const isDown = /RevenueCat does not respond\. Nothing was changed\. You can try again\./;
    const switchOn = product.revenueCat.faults.add({ pathPrefix: pathOf(card.appUserId), status: 503 });
    const unread = await openPage(card);
    assert.match(unread.text, isDown);
    const unopened = await page.press(buttonOf(page, 'extend'));
    assert.match(unopened.text, isDown);
    const typed = { 'action.days': '9', 'action.reason': 'An outage' };
    const unchecked = await extendForm.press('action.review', typed);
    assert.match(unchecked.text, isDown);
    switchOn();
    const [again = ''] = idsOn(unread.canvas).filter((id) => id.startsWith('subscription:'));
    assert.ok(buttonOf(await unread.press(again), 'extend'), 'read again by a press');
    assert.ok(idsOn((await unopened.press(buttonOf(unopened, 'extend'))).canvas).includes('action.days'));
    const checked = await unchecked.press('action.review');
    assert.match(checked.text, /ends 9 days later/);
    assert.match(checked.text, /An outage/);
    const charges = `/v2/projects/${REVENUECAT_PROJECT_ID}/subscriptions/${purchase.id}/transactions`;
    product.revenueCat.faults.add({ pathPrefix: charges, status: 500 });
    assert.match((await page.press(buttonOf(page, 'refund'))).text, isDown);
    const refund = { 'action.transaction': purchase.storeSubscriptionId ?? '', 'action.reason': 'An outage' };
    assert.match((await refundForm.press('action.review', refund)).text, isDown);
    const receiver = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: `down_${randomUUID()}` });
    product.revenueCat.faults.add({ pathPrefix: pathOf(receiver.id), status: 500 });
    const transferForm = await (await (await openAgain(product, card)).press('details')).press('transfer');
    const target = { 'transfer.target': receiver.id, 'action.reason': 'New account' };
    assert.match((await transferForm.press('action.review', target)).text, isDown);
    assert.deepEqual(await states(card.appUserId), []);
  });

  test('a missing permission is named before the click', async () => {
    const { card } = await openBuyer('rc_billing');
    await setMissingScopes(product, ['customer_information:subscriptions:read_write']);
    try {
      const page = await openPage(card);
      assert.match(
        page.text,
        /^Refund: The API key lacks customer_information:subscriptions:read_write\. An admin can add this/m,
      );
      assert.ok(!idsOn(page.canvas).some((id) => id.startsWith('refund:')));
    } finally {
      await setMissingScopes(product, []);
    }
  });

  test('a permission that is missing at the call: nothing was changed, and from then on it is not offered', async () => {
    const { card, purchase, page } = await openBuyer('rc_billing');
    const checked = await reviewAction(page, 'refund');
    const [key] = product.revenueCat.state.keys.values();
    assert.ok(key);
    const { scopes } = key;
    Object.assign(key, {
      scopes: ['*:*:read', 'project_configuration:*:*', 'customer_information:customers:*'],
    });
    try {
      assert.match(
        (await checked.confirm('action.confirm')).text,
        /lacks a permission for this\. Nothing was changed/,
      );
      assert.equal(purchase.givesAccess, true);
      const isNamed = async () =>
        /Refund: The API key lacks customer_information:subscriptions:read_write/.test(
          (await openPage(card)).text,
        );
      await until(isNamed, 'the card to name the permission');
    } finally {
      Object.assign(key, { scopes });
      await setMissingScopes(product, []);
    }
  });

  test('what changed since the review, or is old, is shown and confirmed again', async () => {
    const { purchase, page } = await openBuyer('rc_billing');
    const checked = await reviewAction(page, 'cancel');
    const storedData = agedFormState(product, checked, 31);
    const late = await forge(product, checked, 'action.confirm', { storedData });
    assert.match(textOf(late.canvas), /This review is more than 30 minutes old/);
    purchase.endsAtMs = (purchase.endsAtMs ?? 0) + 5 * DAY_MS;
    const again = await checked.confirm('action.confirm');
    assert.match(again.text, /has changed since the review/);
    const refund = await reviewAction(page, 'refund');
    assert.equal(calls(purchase.id), 0);
    assert.match((await again.confirm('action.confirm')).text, /✅ Pro Web is cancelled/);
    const changed = await refund.confirm('action.confirm');
    assert.match(changed.text, /has changed since the review/, 'it no longer renews');
    assert.equal(calls(purchase.id), 1);
  });

  test('what a store no longer does since the review is refused with the reason, and not reviewed again', async () => {
    for (const [kind, changes, reason] of [
      ['cancel', { givesAccess: false }, /^It gives no access now\.$/m],
      ['refund', { givesAccess: false }, /^It gives no access now\.$/m],
      ['cancel', { autoRenewalStatus: 'will_not_renew' }, /^It is already cancelled\.$/m],
    ] as const) {
      const { purchase, page } = await openBuyer('rc_billing');
      const checked = await reviewAction(page, kind);
      Object.assign(purchase, changes);
      const refused = await checked.confirm('action.confirm');
      assert.match(refused.text, reason);
      assert.doesNotMatch(refused.text, /Access continues|loses the access/);
      assert.ok(!idsOn(refused.canvas).includes('action.confirm'));
      assert.equal(calls(purchase.id), 0);
    }
  });

  test('a refund that was reviewed before a renewal names what was paid then', async () => {
    const { card, purchase, page } = await openBuyer('rc_billing');
    await setActions(product, { ...ALL_ON, refund: { enabled: true, maxAmountAlone: 5 } });
    const checked = await reviewAction(page, 'refund');
    assert.match(checked.text, /^Amount: €4\.99$/m);
    const renewedAtMs = Date.now() - 60_000;
    purchase.endsAtMs = Date.now() + 30 * DAY_MS;
    const renewal = lifecycleEvent('RENEWAL', {
      price: 19.99,
      currency: 'EUR',
      appUserId: card.appUserId,
      productId: 'pro_web',
      entitlements: ['pro'],
      store: 'RC_BILLING',
      environment: 'PRODUCTION',
      periodType: 'NORMAL',
      purchasedAtMs: renewedAtMs,
      expirationAtMs: purchase.endsAtMs,
      transactionId: purchase.storeSubscriptionId ?? '',
      atMs: renewedAtMs,
    });
    await send(product, renewal);
    await until(async () => /€19\.99/.test((await openAgain(product, card)).text), 'the renewal');
    const again = await checked.confirm('action.confirm');
    assert.match(again.text, /has changed since the review/);
    assert.match(again.text, /^Amount: €19\.99$/m);
    assert.match((await again.confirm('action.confirm')).text, /waits for the approval of another teammate/);
    assert.equal(purchase.givesAccess, true);
  });
});

describe('the policy of store actions', () => {
  test('off by default, and said so', async () => {
    await setActions(product, {});
    const { page, card } = await openBuyer('rc_billing');
    assert.match(page.text, /Store actions are turned off\. An admin can turn them on/);
    const forged = await forge(product, card, 'transfer');
    assert.match(textOf(forged.canvas), /Turned off\. An admin can turn it on/);
  });

  test('is checked at review and again at confirm', async () => {
    const { purchase, page, card } = await openBuyer('rc_billing');
    assert.match((await reviewAction(page, 'refund', { 'action.reason': '' })).text, /give a reason/);
    const checked = await reviewAction(page, 'refund');
    await setActions(product, { ...ALL_ON, refund: { enabled: true, allowedAdminIds: [SECOND] } });
    assert.match((await checked.confirm('action.confirm')).text, /You cannot use this/);
    await setActions(product, { ...ALL_ON, refund: { enabled: false } });
    assert.match((await checked.confirm('action.confirm')).text, /Turned off/);
    assert.equal(calls(purchase.id), 0);
    assert.deepEqual(
      (await audited(product, card.appUserId)).map(({ result, details }) => [result, details.product]),
      [
        ['refused: reason_missing', 'Pro Web'],
        ['refused: not_allowed', 'Pro Web'],
        ['refused: switched_off', 'Pro Web'],
      ],
    );
  });

  test('a review that a merge of customers made outdated leads back to the customer, not to a grant', async () => {
    const { card, page } = await openBuyer('rc_billing');
    const checked = await reviewAction(page, 'cancel');
    const older = `older_${randomUUID()}`;
    const event = { type: 'EXPERIMENT_ENROLLMENT', app_user_id: older, experiment_id: 'e1' };
    const atMs = Date.now() - 90 * DAY_MS;
    for (const aliases of [[older], [older, card.appUserId]])
      await send(product, { ...event, id: randomUUID(), aliases, event_timestamp_ms: atMs });
    const outdated = await checked.confirm('action.confirm');
    assert.match(outdated.text, /out of date/);
    assert.ok(idsOn(outdated.canvas).includes('details'));
    assert.ok(!idsOn(outdated.canvas).includes('grant'));
  });

  test('a number for each teammate and month', async () => {
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7200', name: 'Once', email: 'once@example.com' });
    await setActions(product, { ...ALL_ON, extend: { enabled: true, monthlyPerAdmin: 1 } });
    const first = await openBuyer('rc_billing');
    const second = await openBuyer('rc_billing');
    const pages = await Promise.all([openPage(first.card, '7200'), openPage(second.card, '7200')]);
    const checked = await Promise.all(
      pages.map((page) => reviewAction(page, 'extend', { 'action.days': '3' })),
    );
    const all = await Promise.all(checked.map((each) => each.confirm('action.confirm')));
    assert.deepEqual(all.map(({ text }) => /✅/.test(text)).toSorted(), [false, true]);
    assert.ok(all.some(({ text }) => /limit of 1 a month is used up/.test(text)));
  });

  test('transfers and restored orders share one number for a month', async () => {
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7201', name: 'Twice', email: 'twice@example.com' });
    await setActions(product, { ...ALL_ON, transfer: { enabled: true, monthlyPerAdmin: 1 } });
    const { purchase, card } = await openBuyer('play_store');
    const other = await openCustomer(product);
    const openForm = async (of: Parameters<typeof openAgain>[1]) =>
      (await (await openAgain(product, of, { adminId: '7201' })).press('details')).press('transfer');
    const forms = [await openForm(other), await openForm(card)];
    const order = {
      'transfer.order': purchase.storeSubscriptionId ?? '',
      'action.reason': 'Bought before signing in',
    };
    const [restore, transfer] = [
      await forms[0]?.press('action.review', order),
      await forms[1]?.press('action.review', {
        'transfer.target': other.appUserId,
        'action.reason': 'New account',
      }),
    ];
    assert.match((await restore?.confirm('action.confirm'))?.text ?? '', /✅/);
    assert.match((await transfer?.confirm('action.confirm'))?.text ?? '', /limit of 1 a month is used up/);
    assert.match(
      (await forms[0]?.press('action.review', order))?.text ?? '',
      /limit of 1 a month is used up/,
    );
  });

  test('the limit for one teammate is in units of the currency paid, whatever decimals it has', async () => {
    const cases = [
      ['KWD', 12.345, 12.344, /^Amount: KWD\s12\.345$/m, true],
      ['KWD', 12.345, 12.345, /^Amount: KWD\s12\.345$/m, false],
      ['JPY', 1_200, 1_000, /^Amount: ¥1,200$/m, true],
      ['JPY', 1_200, 1_200, /^Amount: ¥1,200$/m, false],
    ] as const;
    for (const [currency, price, maxAmountAlone, shown, isApprovalNeeded] of cases) {
      await setActions(product, { ...ALL_ON, refund: { enabled: true, maxAmountAlone } });
      const { page } = await openBuyer('rc_billing', { paid: { price, currency } });
      const checked = await reviewAction(page, 'refund');
      assert.match(checked.text, shown);
      const { text } = await checked.confirm('action.confirm');
      assert.match(
        text,
        isApprovalNeeded ? /waits for the approval/ : /✅ .+ is refunded for Pro Web/,
        currency,
      );
    }
  });

  test('a sandbox subscription is marked as such, and can be acted on', async () => {
    const { purchase, page } = await openBuyer('rc_billing', { environment: 'sandbox' });
    assert.match(page.text, /^Environment: Sandbox$/m);
    assert.match((await (await reviewAction(page, 'cancel')).confirm('action.confirm')).text, /✅/);
    assert.equal(purchase.autoRenewalStatus, 'will_not_renew');
  });

  test('a sum above the limit, or one that is not known, waits for a second teammate', async () => {
    await setActions(product, { ...ALL_ON, refund: { enabled: true, maxAmountAlone: 4.98 } });
    const { card, purchase, page } = await openBuyer('rc_billing');
    const checked = await reviewAction(page, 'refund');
    assert.match(checked.text, /Refunds above 4\.98 in the currency paid.* need the approval/);
    const waiting = await checked.confirm('action.confirm');
    assert.match(waiting.text, /waits for the approval of another teammate/);
    assert.equal(calls(purchase.id), 0);
    await noteIn(product, card, /Requests approval: Refund, Pro Web, €4\.99\. Another teammate/);
    const forged = await forge(product, waiting, 'action.approve');
    assert.match(textOf(forged.canvas), /You requested this\. Another teammate must approve it/);
    const list = await (await openAgain(product, card, { adminId: SECOND })).press('grants');
    const seen = await list.press(idsOn(list.canvas).find((id) => id.startsWith('grant:')) ?? '');
    assertRowsOnce(seen);
    assert.match(seen.text, /^Requested by: Ada Agent$/m);
    const storedData = agedFormState(product, seen, 31);
    const late = await forge(product, seen, 'action.approve', { storedData });
    assert.match(textOf(late.canvas), /This review is more than 30 minutes old/);
    assert.equal(calls(purchase.id), 0);
    const done = await seen.confirm('action.approve');
    assert.match(done.text, /✅ .*refunded/);
    assert.match(done.text, /^Approved by: Sam Second$/m);
    assert.equal(calls(purchase.id), 1);
    assert.match((await seen.confirm('action.approve')).text, /✅/);
    assert.equal(calls(purchase.id), 1);
    assert.deepEqual(
      (await audited(product, card.appUserId)).map(({ action, result }) => `${action} ${result}`).slice(0, 1),
      ['store_refund awaiting_approval'],
    );
  });

  test('another customer’s action and purchase cannot be reached', async () => {
    const { page } = await openBuyer('rc_billing');
    const other = await openBuyer('rc_billing');
    for (const id of idsOn(page.canvas).filter((each) => /^(cancel|refund|extend|manage):/.test(each))) {
      const answer = await forge(product, other.card, id);
      assert.doesNotMatch(textOf(answer.canvas), /Review/, id);
    }
  });
});
