import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACTIONS, runAction } from '../../src/simulator/demo/actions.ts';
import { customerFromStory, purchaseStory } from '../../src/simulator/revenuecat/scenarios.ts';
import { type Customer, findProject } from '../../src/simulator/revenuecat/state.ts';
import { MINUTE_MS } from '../../src/time.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { setSettings, WORKSPACE_ID } from '../support/world.ts';
import { type OpenCard, openAgain, openFor, send, settled } from './support.ts';

/** First canvases are cached: a change to anything that one shows must appear on the next one. */
describe('a card that is opened again', () => {
  let product: Product;
  let customer: Customer;
  let card: OpenCard;

  before(async () => {
    product = await createProduct();
    const story = purchaseStory('active_monthly', { appUserId: 'user-1', nowMs: Date.now() });
    customer = customerFromStory(product.revenueCat.state, REVENUECAT_PROJECT_ID, story);
    for (const event of story.events) await send(product, event);
    card = await openFor(product, { externalId: 'user-1' });
  });
  after(() => product?.close());

  const change = (sql: string) => () => product.db.database.query(sql, [WORKSPACE_ID]);
  const set = (settings: unknown) => () => setSettings(product, settings);
  const next = (id: string) => async () => {
    const action = ACTIONS.find((each) => each.id === id);
    const project = findProject(product.revenueCat.state, REVENUECAT_PROJECT_ID);
    const [event] = action ? runAction(project, customer, action, Date.now()) : [];
    assert.ok(event);
    await send(product, event);
  };

  // An older snapshot would trigger a background refresh while two cards are compared.
  const readAt = new Date(Date.now() - 5 * MINUTE_MS);
  const clock = new Intl.DateTimeFormat('en-US', {
    timeZone: 'Pacific/Kiritimati',
    hour: 'numeric',
    minute: '2-digit',
  });
  const changes: readonly [what: string, shown: RegExp, make: () => Promise<unknown>][] = [
    ['the customer cancels', /cancelled on/, next('cancel')],
    ['the customer comes back', /Next charge/, next('uncancel')],
    [
      'the admins choose another time zone',
      /./,
      change(`update workspaces set timezone = 'Pacific/Kiritimati' where workspace_id = $1`),
    ],
    ['the admins choose another language', /Nächste Abbuchung/, set({ card: { language: 'de' } })],
    ['and the first one again', /Next charge/, set({})],
    [
      'RevenueCat rejects the key',
      /RevenueCat/,
      change(`update projects set api_key_state = 'rejected' where workspace_id = $1`),
    ],
    [
      'it is accepted again',
      /Refresh/,
      change(`update projects set api_key_state = 'valid' where workspace_id = $1`),
    ],
    [
      'Intercom rejects the token',
      /Intercom/,
      change(`update workspaces set status = 'disconnected' where workspace_id = $1`),
    ],
    [
      'it is accepted again',
      /Refresh/,
      change(`update workspaces set status = 'connected' where workspace_id = $1`),
    ],
    [
      'RevenueCat was read at another time',
      new RegExp(`at ${clock.format(readAt).replace(/\s/, '')}`),
      change(`update subscribers set snapshot_at = '${readAt.toISOString()}' where workspace_id = $1`),
    ],
    ['the subscription ends', /No access/, next('expire')],
  ];

  for (const [what, shown, make] of changes) {
    test(what, async () => {
      await settled(product);
      const before = await openAgain(product, card);
      const again = await openAgain(product, card);
      assert.equal(again.text, before.text);
      await make();
      // An event triggers a refresh. Its result must not arrive between the two cards that are compared.
      await settled(product);
      const opened = await openAgain(product, card);
      const home = await (await opened.press('details')).press('home');
      assert.match(opened.text, shown);
      assert.notEqual(opened.text, before.text);
      assert.equal(opened.text, home.text, 'as without the cache');
    });
  }

  test('a grant made on another card', async () => {
    await settled(product);
    const form = await (await openAgain(product, card)).press('grant');
    const review = await form.press('grant.review', {
      'grant.duration': 'monthly',
      'grant.reason': 'An apology',
    });
    await review.press('grant.confirm');
    assert.match((await openAgain(product, card)).text, /granted by Ada Agent/);
  });
});
