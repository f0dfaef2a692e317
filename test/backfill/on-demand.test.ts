import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { openFor } from '../inbox-card/support.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

describe('the card of an unknown customer', () => {
  let product: Product;

  before(async () => {
    product = await createProduct();
  });
  after(() => product.close());

  function contactOf(externalId: string): { contactId: string; conversationId: string } {
    const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId, name: 'Ann' });
    const conversation = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [contact.id],
      body: '<p>Hi</p>',
    });
    return { contactId: contact.id, conversationId: conversation.id };
  }

  const open = async (who: { contactId: string; conversationId: string }): Promise<string> => {
    const answer = await product.card({ ...who, flow: 'initialize', adminId: '7001' });
    return JSON.stringify(answer);
  };

  const lookUps = (id: string): number =>
    product.revenueCat.faults.requests().filter(({ path }) => path.includes(`/customers/${id}?expand`))
      .length;

  it('imports the customer from RevenueCat, so that the next card shows it', async () => {
    const customer = product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, {
      id: '$RCAnonymousID:77',
      aliases: ['long-ago'],
    });
    const [pro] = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.entitlements ?? [];
    const nowMs = Date.now();
    customer.subscriptions.push({
      id: 'sub_long_ago',
      customerId: customer.id,
      originalCustomerId: customer.id,
      productId: null,
      store: 'app_store',
      environment: 'production',
      status: 'active',
      autoRenewalStatus: 'will_renew',
      givesAccess: true,
      startsAtMs: nowMs - 900 * 86_400_000,
      periodStartsAtMs: nowMs - 86_400_000,
      periodEndsAtMs: nowMs + 29 * 86_400_000,
      endsAtMs: nowMs + 29 * 86_400_000,
      entitlementIds: [pro?.id ?? ''],
      storeSubscriptionId: 'tx_long_ago',
      grossUsd: 299.7,
      country: 'US',
      managementUrl: null,
    });
    const ann = contactOf('long-ago');
    const first = await open(ann);
    assert.doesNotMatch(first, /long-ago.*Pro\b/);
    const known = await until(async () => {
      const card = await open(ann);
      return /Pro/.test(card) ? card : null;
    }, 'the card to know the customer');
    assert.match(known, /Pro/);
    assert.ok(lookUps('long-ago') <= 2);
  });

  it('looks up an unknown customer once, creates none, and still offers a next step', async () => {
    const unknown = contactOf('who-is-this');
    for (let index = 0; index < 5; index += 1) assert.match(await open(unknown), /match\.search/);
    await until(() => lookUps('who-is-this') > 0, 'the look-up');
    await open(unknown);
    const rows = await product.db.database.query(
      `select 1 from pgboss.job
        where name = 'customer.import' and state in ('created', 'retry') and start_after > now()`,
    );
    assert.equal(rows.length, 0, 'no further look-up waits for its time');
    // One lookup per slot of a minute: the seventh card may already be in the next slot.
    assert.ok(lookUps('who-is-this') <= 2);
    assert.equal(
      product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.customers.has('who-is-this'),
      false,
    );
    assert.deepEqual(product.revenueCat.state.violations, []);
  });

  it('a teammate who searches for the customer finds it as soon as RevenueCat has answered', async () => {
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: 'only-in-revenuecat' });
    const card = await openFor(product, { externalId: 'crm-1' });
    const search = (query: string) => card.press('match.search', { 'match.query': query });
    assert.match(
      (await search('only-in-revenuecat')).text,
      /^No customer found here\. Looking in RevenueCat/m,
    );
    const found = await until(async () => {
      const shown = await search('only-in-revenuecat');
      return /^Found\./m.test(shown.text) ? shown : null;
    }, 'the customer to be found');
    assert.match(found.text, /^only-in-revenuecat/m);
    for (const unknown of ['guest', 'known-to-nobody', 'nobody@example.com'])
      assert.match((await search(unknown)).text, /^No customer found\. Check the spelling/m);
    const each = `/v2/projects/${REVENUECAT_PROJECT_ID}/customers`;
    const answerAgain = product.revenueCat.faults.add({ pathPrefix: each, status: 503 });
    assert.match((await search('perhaps-known')).text, /^No customer found here\. Looking in RevenueCat/m);
    answerAgain();
  });

  it('never looks up an ID that identifies no customer', async () => {
    await open(contactOf('undefined'));
    await open(contactOf('null'));
    const rows = await product.db.database.query<{ id: string }>(
      `select data->>'appUserId' as id from pgboss.job where name = 'customer.import'`,
    );
    assert.ok(rows.every(({ id }) => id !== 'undefined' && id !== 'null'));
  });
});
