import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import express from 'express';
import { createRevenueCatClient } from '../../src/revenuecat/client.ts';
import {
  entitlementSchema,
  productSchema,
  projectSchema,
  purchaseSchema,
  subscriptionSchema,
} from '../../src/revenuecat/schemas.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';

describe('RevenueCat client', () => {
  test('a malformed next_page fails the call that read it, and no other', async (t) => {
    const app = express();
    let nextPage: string | null = null;
    app.get('/v2/projects', (_req, res) => {
      res.json({ items: [{ id: 'proj1', name: 'One' }], next_page: nextPage });
    });
    app.get('/v2/projects/proj1/customers', (_req, res) => {
      res.json({ items: [{ id: 'user-1' }], next_page: nextPage });
    });
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    for (nextPage of ['http://[', 'https://elsewhere.example/v2/projects']) {
      const failure = { code: 'revenuecat_rejected', message: /next_page is not on RevenueCat's host/ };
      await assert.rejects(client.listProjects(), failure);
      await assert.rejects(client.listCustomers('proj1', null), failure);
    }
    nextPage = null;
    assert.deepEqual(await client.listProjects(), [{ id: 'proj1', name: 'One' }]);
    nextPage = '/v2/projects/proj1/customers?starting_after=user-1';
    assert.deepEqual(await client.listCustomers('proj1', null), { ids: ['user-1'], next: 'user-1' });
  });

  test('whose a purchase is comes with one-time purchases as with subscriptions', () => {
    const common = { id: 'x1', product_id: 'prod1', store: 'app_store', status: 'owned', purchased_at: 1 };
    for (const [ownership, isFamilyShare] of [
      ['family_shared', true],
      ['purchased', false],
      [undefined, false],
    ]) {
      const item = { ...common, ownership };
      assert.equal(purchaseSchema.parse(item).isFamilyShare, isFamilyShare);
      assert.equal(subscriptionSchema.parse(item).isFamilyShare, isFamilyShare);
    }
  });

  test('a blank name counts as none: a list would have an empty option', () => {
    for (const [name, read] of [
      ['', null],
      [' ', null],
      [null, null],
      [' Pro ', 'Pro'],
    ]) {
      const item = { lookup_key: 'pro', store_identifier: 'com.example.pro', display_name: name };
      assert.equal(entitlementSchema.parse({ id: 'entl1', ...item }).displayName, read);
      assert.equal(productSchema.parse({ id: 'prod1', ...item }).displayName, read);
      assert.equal(projectSchema.parse({ id: 'proj1', name }).name, read ?? 'proj1');
    }
  });

  test('a response without a list is not an empty list: the customer would seem to have bought nothing', async (t) => {
    const app = express();
    app.use((_req, res) => void res.json({ message: 'Maintenance' }));
    const revenueCat = await listenOnLoopback(app);
    t.after(() => revenueCat.close());
    const client = createRevenueCatClient({ apiUrl: revenueCat.url, apiKey: 'sk_test' });
    const failure = { code: 'revenuecat_unavailable', message: /unexpected shape/ };
    await assert.rejects(client.listSubscriptions('proj1', 'user-1'), failure);
    await assert.rejects(client.activeEntitlements('proj1', 'user-1'), failure);
  });
});
