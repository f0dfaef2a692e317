import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { forge, idsOn, type OpenCard, openAgain, openFor, textOf } from '../inbox-card/support.ts';
import { type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import {
  ALL_ON,
  actionStates,
  type BuyerCard,
  buyOnce,
  callsAbout,
  callsOf,
  createStoreProduct,
  openBuyer,
  openPage,
  reviewAction,
  setActions,
  setMissingScopes,
} from './buyers.ts';
import {
  addCustomer,
  audited,
  noteIn,
  notesIn,
  onGranting,
  openCustomer,
  threeMinutesAgo,
} from './support.ts';

let product: Product;

before(async () => {
  product = await createStoreProduct();
});
after(() => product?.close());

/** An action that was reviewed and waits for its confirmation. */
interface Reviewed {
  readonly card: BuyerCard;
  readonly checked: OpenCard;
  /** What the call to RevenueCat is about, and its path. */
  readonly target: string;
  readonly path: { readonly pathPrefix: string; readonly method: string };
  isDone(): boolean;
}

const REASON = { 'action.reason': 'The customer asked for it' };
const SUBSCRIPTIONS = 'customer_information:subscriptions:read_write';
const PURCHASES = 'customer_information:purchases:read_write';
const CUSTOMERS = 'customer_information:customers:read_write';

async function onSubscription(
  store: string,
  kind: string,
  more: { readonly inputs?: Record<string, string>; readonly isDone: (purchase: Bought) => boolean },
): Promise<Reviewed> {
  const { card, purchase, page } = await openBuyer(product, store);
  const { endsAtMs } = purchase;
  return {
    card,
    checked: await reviewAction(page, kind, more.inputs),
    target: purchase.id,
    path: callsOf(purchase),
    isDone: () => more.isDone({ ...purchase, hasLaterEnd: (purchase.endsAtMs ?? 0) > (endsAtMs ?? 0) }),
  };
}

type Bought = Awaited<ReturnType<typeof openBuyer>>['purchase'] & { readonly hasLaterEnd: boolean };

const isExtended = { inputs: { 'action.days': '7' }, isDone: ({ hasLaterEnd }: Bought) => hasLaterEnd };

/** Every action of every store, with the permissions that it needs and the card's text when it is done. */
const ACTIONS: Readonly<
  Record<string, { scopes: readonly string[]; done: RegExp; open: () => Promise<Reviewed> }>
> = {
  'cancel, Web Billing': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ Pro Web is cancelled/,
    open: () =>
      onSubscription('rc_billing', 'cancel', {
        isDone: ({ autoRenewalStatus }) => autoRenewalStatus === 'will_not_renew',
      }),
  },
  'refund, Web Billing': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ €4\.99 is refunded for Pro Web/,
    open: () => onSubscription('rc_billing', 'refund', { isDone: ({ givesAccess }) => !givesAccess }),
  },
  'refund, a one-time purchase': {
    scopes: [PURCHASES],
    done: /✅ €4\.99 is refunded for Lifetime Pass/,
    async open() {
      const card = await openCustomer(product);
      const purchase = await buyOnce(product, card, { store: 'rc_billing', entitlements: ['pro'] });
      const checked = await reviewAction(await openPage(product, card), 'refund');
      const isDone = () => purchase.status === 'refunded';
      return { card, checked, target: purchase.id, path: callsOf(purchase), isDone };
    },
  },
  'refund, a charge of Google Play': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ €4\.99 is refunded for Pro Web/,
    async open() {
      const { card, purchase, page } = await openBuyer(product, 'play_store');
      const target = purchase.storeSubscriptionId ?? '';
      const isDone = () => product.revenueCat.state.transactions.get(purchase.id)?.[0]?.isRefunded === true;
      return { card, checked: await reviewAction(page, 'refund'), target, path: callsOf(purchase), isDone };
    },
  },
  'extend, Google Play': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ Pro Web is extended until/,
    open: () => onSubscription('play_store', 'extend', isExtended),
  },
  'extend, Web Billing': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ Pro Web is extended until/,
    open: () => onSubscription('rc_billing', 'extend', isExtended),
  },
  'extend, App Store': {
    scopes: [SUBSCRIPTIONS],
    done: /✅ Pro Web is extended until/,
    open: () =>
      onSubscription('app_store', 'extend', {
        ...isExtended,
        inputs: { 'action.days': '7', 'action.code': '3' },
      }),
  },
  transfer: {
    scopes: [CUSTOMERS, SUBSCRIPTIONS, PURCHASES],
    done: /✅ 1 purchase is transferred/,
    async open() {
      const { card, purchase } = await openBuyer(product, 'rc_billing');
      const { id } = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: `to_${randomUUID()}` });
      const checked = await reviewTransfer(card, { 'transfer.target': id });
      const path = onGranting(card.appUserId, 'transfer');
      return { card, checked, target: card.appUserId, path, isDone: () => purchase.customerId === id };
    },
  },
  'restore a Google Play order': {
    scopes: [CUSTOMERS],
    done: /✅ The order .+ is restored/,
    async open() {
      const { purchase } = await openBuyer(product, 'play_store');
      const card = await openCustomer(product);
      const target = purchase.storeSubscriptionId ?? '';
      const checked = await reviewTransfer(card, { 'transfer.order': target });
      const path = onGranting(card.appUserId, 'restore_purchase_by_order_id');
      return { card, checked, target, path, isDone: () => purchase.customerId === card.appUserId };
    },
  },
};

async function reviewTransfer(card: BuyerCard, inputs: Record<string, string>): Promise<OpenCard> {
  const details = await (await openAgain(product, card)).press('details');
  return (await details.press('transfer')).press('action.review', { ...REASON, ...inputs });
}

const [FIRST_ACTION] = Object.keys(ACTIONS);
const REFUSALS = [
  [422, /The store refused this\. Nothing was changed/],
  [409, /this was done before\. Nothing was changed/],
  [403, /lacks a permission for this\. Nothing was changed/],
  [404, /does not know this purchase or customer\. Nothing was changed/],
  [429, /rate limit is reached\. Nothing was changed/],
] as const;

for (const [name, { scopes, done, open }] of Object.entries(ACTIONS)) {
  describe(name, { concurrency: 2 }, () => {
    test('confirmed by several presses, it is done once, with one note and one record', async () => {
      const { card, checked, target, isDone } = await open();
      assert.deepEqual([callsAbout(product, target), isDone()], [0, false], 'a review does nothing');
      const all = await Promise.all(Array.from({ length: 5 }, () => checked.confirm('action.confirm')));
      for (const { text } of all) assert.match(text, done);
      assert.match((await checked.confirm('action.confirm')).text, done);
      assert.deepEqual([callsAbout(product, target), isDone()], [1, true]);
      await noteIn(product, card, /The customer asked for it/);
      assert.deepEqual(
        notesIn(product, card).map(({ authorId }) => authorId),
        ['7001'],
      );
      const records = await audited(product, card.appUserId);
      assert.deepEqual(
        records.map(({ result, actor, conversation }) => [result, actor, conversation]),
        [['confirmed', '7001', card.conversationId]],
      );
      const { details } = records[0] ?? {};
      assert.equal(details?.reason, 'The customer asked for it');
      if (details?.of !== 'customer')
        assert.ok(details?.before !== null && details?.after !== null, 'before and after');
    });

    test('what RevenueCat or the store refuses has changed nothing, and the card says so', async () => {
      const { card, checked, target, path, isDone } = await open();
      // What a status means does not depend on the action, so only the first action tests all of them.
      const refusals = name === FIRST_ACTION ? REFUSALS : REFUSALS.slice(0, 1);
      let shown = checked;
      for (const [status, says] of refusals) {
        product.revenueCat.faults.add({ ...path, status, times: 1 });
        const refused = await shown.confirm('action.confirm');
        assert.match(refused.text, says);
        assert.match(
          (await shown.confirm('action.confirm')).text,
          says,
          'the same press has the same result',
        );
        assert.equal(isDone(), false, String(status));
        // Another attempt begins with a new review.
        const form = await shown.press('action.change');
        assert.match(JSON.stringify(form.canvas), /The customer asked for it/, 'what was typed is there');
        shown = await form.press('action.review', { ...REASON, ...inputsOf(form, target) });
      }
      assert.equal(callsAbout(product, target), 0);
      assert.equal(notesIn(product, card).length, 0);
      const states = await actionStates(product, card.appUserId);
      assert.deepEqual(
        states,
        refusals.map(() => 'failed'),
      );
      assert.match((await shown.confirm('action.confirm')).text, done);
    });
  });

  test(`${name}: without its permissions or switched off it is not offered, and refused when confirmed`, async () => {
    const { card, checked, target } = await open();
    try {
      for (const scope of scopes) {
        await setMissingScopes(product, [scope]);
        const { text } = await checked.confirm('action.confirm');
        assert.ok(text.includes(`The API key lacks ${scope}`), text);
        assert.ok((await describeOffer(card, name)).includes(scope), 'named before the click');
      }
      await setMissingScopes(product, []);
      await setActions(product, {});
      assert.match((await checked.confirm('action.confirm')).text, /Turned off/);
      assert.match(await describeOffer(card, name), /turned off|^nothing offered$/i);
      assert.equal(callsAbout(product, target), 0);
      assert.deepEqual(await actionStates(product, card.appUserId), []);
    } finally {
      await setMissingScopes(product, []);
      await setActions(product, ALL_ON);
    }
  });
}

/** Runs one after the other: opened in parallel, cards would miss their deadline on a busy machine. */
let opened: Promise<unknown> = Promise.resolve();
function inTurn<T>(open: () => Promise<T>): Promise<T> {
  const result = opened.then(open);
  opened = result.catch(() => {});
  return result;
}

const untilState = ({ appUserId }: BuyerCard, state: string) =>
  until(async () => (await actionStates(product, appUserId)).join() === state, `the action to be ${state}`);

// These tests mostly wait: the card for the response, and the job before it reads the result back.
describe('when the answer or the request is lost', { concurrency: true }, () => {
  for (const [name, { done, open }] of Object.entries(ACTIONS)) {
    test(`${name}: the answer; it is read back and not called for again`, async () => {
      const { card, checked, target, path, isDone } = await inTurn(open);
      product.revenueCat.faults.add({ ...path, drop: 'after', times: 1 });
      const pending = await checked.press('action.confirm');
      assert.match(pending.text, /Not confirmed yet by RevenueCat\./);
      assert.doesNotMatch(pending.text, /✅/);
      assert.doesNotMatch((await checked.confirm('action.confirm')).text, /Nothing was changed/);
      await untilState(card, 'confirmed');
      assert.match((await checked.confirm('action.confirm')).text, done);
      assert.deepEqual([callsAbout(product, target), isDone()], [1, true]);
      await noteIn(product, card, /The customer asked for it/);
      assert.equal(notesIn(product, card).length, 1);
    });
  }

  test('the answer, and what was refunded is transferred then: it is read back from the receiver', async () => {
    const { card, purchase, page } = await inTurn(() => openBuyer(product, 'rc_billing'));
    const checked = await reviewAction(page, 'refund');
    product.revenueCat.faults.add({ ...callsOf(purchase), drop: 'after', times: 1 });
    assert.match((await checked.press('action.confirm')).text, /Not confirmed yet/);
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const [from, to] = [card.appUserId, addCustomer(product)].map((id) => project?.aliases.get(id));
    assert.ok(from && to);
    to.subscriptions.push(...from.subscriptions.splice(0));
    await untilState(card, 'confirmed');
    assert.equal(callsAbout(product, purchase.id), 1);
  });

  test('the request: two minutes later it is known that nothing was done', async () => {
    const { card, purchase, page } = await inTurn(() => openBuyer(product, 'rc_billing'));
    const checked = await reviewAction(page, 'refund');
    product.revenueCat.faults.add({ ...callsOf(purchase), drop: 'before', times: 1 });
    assert.match((await checked.press('action.confirm')).text, /Not confirmed yet/);
    await product.server.connected.database.query(
      `update actions set called_at = $3 where workspace_id = $1 and app_user_id = $2`,
      [WORKSPACE_ID, card.appUserId, threeMinutesAgo()],
    );
    await untilState(card, 'failed');
    assert.equal(callsAbout(product, purchase.id), 0);
    await noteIn(product, card, /Failed: Refund, Pro Web\. RevenueCat did not do it/);
  });
});

/** The inputs that must be typed into a form again: the order or the receiver of a transfer. */
function inputsOf(form: OpenCard, target: string): Record<string, string> {
  const ids = idsOn(form.canvas);
  if (!ids.includes('transfer.target')) return {};
  const [receiver] = [
    ...(product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.customers.values() ?? []),
  ]
    .filter(({ id }) => id.startsWith('to_'))
    .slice(-1);
  return target.startsWith('GPA.') ? { 'transfer.order': target } : { 'transfer.target': receiver?.id ?? '' };
}

/** The text that the card shows in place of the action. */
async function describeOffer(card: BuyerCard, name: string): Promise<string> {
  if (/^(transfer|restore)/.test(name)) {
    const details = await (await openAgain(product, card)).press('details');
    if (!idsOn(details.canvas).includes('transfer')) return 'nothing offered';
    return (await details.press('transfer')).text;
  }
  const kind = name.split(',')[0] ?? '';
  const page = await openPage(product, card);
  assert.ok(!idsOn(page.canvas).some((id) => id.startsWith(`${kind}:`)), `no button for ${kind}`);
  return page.text;
}

describe('who may not act', () => {
  test('a contact that matches by e-mail alone gets no action, whatever is pressed', async () => {
    const email = `only_${randomUUID().slice(0, 8)}@example.com`;
    const { purchase, card, page } = await openBuyer(product, 'rc_billing');
    await product.server.connected.database.query(
      `update subscribers s set email = $1, email_at_ms = 1 from subscriber_ids i
        where i.app_user_id = $2 and s.workspace_id = i.workspace_id and s.subscriber_id = i.subscriber_id`,
      [email, card.appUserId],
    );
    await setMatchByEmail(true);
    const possible = await openFor(product, { email });
    assert.match(possible.text, /^Possible match by email: please confirm$/m);
    const reviewed = await reviewAction(page, 'refund');
    const ids = [...idsOn(page.canvas), 'transfer', 'action.review', 'action.confirm', 'details', 'grant'];
    for (const id of ids) {
      for (const storedData of [undefined, reviewed.canvas.stored_data as Record<string, unknown>]) {
        const answer = await forge(product, possible, id, storedData ? { storedData } : {});
        assert.doesNotMatch(textOf(answer.canvas), /Refund now|Review|✅|Pro Web/, id);
      }
    }
    assert.equal(callsAbout(product, purchase.id), 0);
    await setMatchByEmail(false);
  });
});

async function setMatchByEmail(matchByEmail: boolean): Promise<void> {
  await product.server.connected.database.query(
    `update workspaces set settings = jsonb_set(settings, '{contacts}', $2::jsonb) where workspace_id = $1`,
    [WORKSPACE_ID, JSON.stringify({ matchByEmail })],
  );
}
