import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AppError } from '../../src/errors.ts';
import { changeBulkGrant, draftBulkGrant, startBulkGrant } from '../../src/grants/bulk/bulk-grants.ts';
import { countErrors, readProgress } from '../../src/grants/bulk/customers.ts';
import { type BulkKey, readBulkGrant } from '../../src/grants/bulk/repository.ts';
import { runBulkGrant } from '../../src/grants/bulk/run.ts';
import { DAY_MS } from '../../src/time.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { requireWorkspace } from '../../src/workspaces/command-context.ts';
import { listProjects, type Project } from '../../src/workspaces/projects.ts';
import { idsOn, openAgain } from '../inbox-card/support.ts';
import { createTestContext } from '../support/app-context.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { callsFor, give, grantOf, grantsAt, openCustomer, setPolicy } from './support.ts';

let product: Product;
let app: AppContext;
let project: Project;

before(async () => {
  product = await createProduct();
  await setPolicy(product, { bulkSecondPersonAbove: null });
  const { secrets, connected } = product.server;
  app = createTestContext(connected.database, {
    secrets,
    config: { revenueCatApiUrl: product.environment.REVENUECAT_API_URL ?? '' },
  });
  [project] = (await listProjects(app.database, WORKSPACE_ID)) as [Project];
});
after(() => product?.close());

const ADMIN = { id: '7001', name: 'Ada Agent', email: 'ada@example.com' };

interface Result extends Readonly<Record<string, unknown>> {
  readonly key: BulkKey;
}

async function finish(key: BulkKey): Promise<Result> {
  await runBulkGrant(app, key, Number.POSITIVE_INFINITY);
  const bulk = await readBulkGrant(app.database, key);
  const { byState } = await readProgress(app.database, key);
  return { key, state: bulk?.state, ...byState, errors: bulk && (await countErrors(app.database, bulk)) };
}

async function grantTo(appUserIds: readonly string[], reason: string): Promise<Result> {
  return finish(await start(appUserIds, reason));
}

async function start(customers: readonly string[], reason: string): Promise<BulkKey> {
  const workspace = await requireWorkspace(app, WORKSPACE_ID);
  const form = { entitlement: 'pro', duration: 'weekly', start: 'after', reason, customers };
  const draft = await draftBulkGrant(app, { workspace, project, admin: ADMIN }, form);
  assert.ok('bulkGrantId' in draft);
  await startBulkGrant(app, draft, { by: ADMIN, secondPersonAbove: null });
  return draft;
}

async function undo({ key }: Result): Promise<Result> {
  await changeBulkGrant(app, key, { event: 'undo', by: ADMIN });
  return finish(key);
}

/** How many more days each of a customer's grants in RevenueCat lasts. */
const daysAt = (appUserId: string): number[] =>
  grantsAt(product, appUserId).map(({ endsAtMs }) => Math.round(((endsAtMs ?? 0) - Date.now()) / DAY_MS));

test('an undo removes what it granted and nothing else, and ends', { timeout: 120_000 }, async () => {
  const [aliased, twice, later, removed, deleted] = [
    await openCustomer(product),
    await openCustomer(product),
    await openCustomer(product),
    await openCustomer(product),
    await openCustomer(product),
  ];
  const alias = `alias_of_${aliased.appUserId}`;
  const { database } = product.server.connected;
  await database.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select workspace_id, project_id, $2, subscriber_id from subscriber_ids
      where workspace_id = $1 and app_user_id = $3`,
    [WORKSPACE_ID, alias, aliased.appUserId],
  );
  const simulated = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
  const known = simulated?.aliases.get(aliased.appUserId);
  assert.ok(simulated && known);
  simulated.aliases.set(alias, known);
  for (const { appUserId } of [removed, deleted])
    give(product, appUserId, { endsAtMs: Date.now() + 30 * DAY_MS });

  const lifetime = await openCustomer(product);
  const forever = give(product, lifetime.appUserId, { endsAtMs: Date.now() });
  Object.assign(forever, { endsAtMs: null, periodEndsAtMs: null });

  const all = [aliased, twice, later, removed, deleted].map(({ appUserId }) => appUserId);
  const first = await grantTo([alias, ...all, lifetime.appUserId], 'first');
  assert.deepEqual([first.state, first.granted, first.unchanged], ['done', 5, 2]);
  const { grantRequests } = product.revenueCat.state;
  assert.ok(
    !grantRequests.some(({ customerId }) => customerId === lifetime.appUserId),
    'it has more already',
  );
  assert.deepEqual(daysAt(aliased.appUserId), [7], 'one customer under two ids gets it once');
  const second = await grantTo([twice.appUserId], 'second');
  assert.deepEqual(daysAt(twice.appUserId), [7, 14]);
  assert.match((await grantOf(later, { start: 'after' })).text, /✅/);
  const grants = await (await openAgain(product, removed)).press('grants');
  const grant = await grants.press(idsOn(grants.canvas).find((id) => id.startsWith('grant:')) ?? '');
  const asked = await grant.press(idsOn(grant.canvas).find((id) => id.startsWith('revoke:')) ?? '');
  assert.match((await asked.press('revoke.confirm', { 'revoke.reason': 'Fraud' })).text, /✅/);
  simulated.customers.delete(deleted.appUserId);
  simulated.aliases.delete(deleted.appUserId);

  const tooEarly = await undo(first);
  assert.deepEqual([tooEarly.state, tooEarly.undone, tooEarly.undo_failed], ['undone', 2, 3]);
  assert.deepEqual(tooEarly.errors, { granted_since: 2, revenuecat_not_found: 1 });
  assert.deepEqual(daysAt(twice.appUserId), [7, 14], 'the later grant to many stays');
  assert.equal((await undo(second)).undone, 1);
  assert.deepEqual(daysAt(twice.appUserId), [7], 'what was granted before is granted again');
  // Undoes the first grant again, for the customers that could not be undone before.
  const undone = await undo(first);
  assert.deepEqual([undone.state, undone.undone, undone.undo_failed], ['undone', 3, 2]);
  assert.deepEqual(undone.errors, { granted_since: 1, revenuecat_not_found: 1 });
  assert.deepEqual(daysAt(aliased.appUserId), []);
  assert.deepEqual(daysAt(twice.appUserId), []);
  assert.equal(daysAt(later.appUserId).length, 2, 'what a teammate granted since stays');
  assert.deepEqual(daysAt(removed.appUserId), [], 'what a teammate removed is not granted again');
  await until(async () => {
    const rows = await database.query<{ state: string }>(
      `select state from actions where workspace_id = $1 and app_user_id = $2 order by created_at`,
      [WORKSPACE_ID, twice.appUserId],
    );
    return rows.map(({ state }) => state).join() === 'revoked,revoked';
  }, 'both grants to be stored as removed');
});

describe('a process that is stopped (Ctrl-Z) for longer than its claim lasts', () => {
  /** Runs the grant as a process that is stopped after it has read one customer's access, until `resolve` is called. */
  async function workAndStop(key: BulkKey, appUserId: string) {
    const { promise: waking, ...woken } = Promise.withResolvers<void>();
    const reading = Promise.withResolvers<void>();
    const client = app.revenueCat(project);
    assert.ok(client);
    const stopped = {
      ...client,
      async activeEntitlements(...of: Parameters<typeof client.activeEntitlements>) {
        const found = await client.activeEntitlements(...of);
        if (of[1] === appUserId) {
          reading.resolve();
          await waking;
        }
        return found;
      },
    };
    const working = runBulkGrant({ ...app, revenueCat: () => stopped }, key, Number.POSITIVE_INFINITY);
    await reading.promise;
    await app.database.query(
      `update bulk_grant_customers set claimed_until = now() - interval '1 second'
        where workspace_id = $1 and bulk_grant_id = $2 and finished_at is null`,
      [WORKSPACE_ID, key.bulkGrantId],
    );
    return { ...woken, working };
  }

  test('grants nothing after the grant was undone', async () => {
    const one = await openCustomer(product);
    const key = await start([one.appUserId], 'stopped');
    const stopped = await workAndStop(key, one.appUserId);
    assert.equal((await undo({ key })).state, 'undone');
    stopped.resolve();
    await stopped.working;
    assert.equal(callsFor(product, one.appUserId), 0);
  });

  test('leaves the result of who has taken over its customers: an undo finds all of them', async () => {
    const one = await openCustomer(product);
    const key = await start([one.appUserId], 'taken over');
    const stopped = await workAndStop(key, one.appUserId);
    assert.equal((await finish(key)).granted, 1);
    stopped.reject(new AppError('revenuecat_unavailable', 'No answer', { remedy: { kind: 'retry' } }));
    await stopped.working;
    assert.equal((await undo({ key })).undone, 1);
    assert.deepEqual(daysAt(one.appUserId), []);
  });
});

test('is recorded as removed by who undoes it, not by who granted it', async () => {
  const { appUserId } = await openCustomer(product);
  const { key } = await grantTo([appUserId], 'undone by another');
  await changeBulkGrant(app, key, { event: 'undo', by: { id: '7002', name: 'Sam Second', email: null } });
  assert.equal((await finish(key)).undone, 1);
  const records = await product.server.connected.database.query<{ action: string; actor: string }>(
    `select action, actor->>'name' as actor from audit_log
      where workspace_id = $1 and (details->>'app_user_id' = $2 or details->>'bulk_grant_id' = $3)
      order by audit_id`,
    [WORKSPACE_ID, appUserId, key.bulkGrantId],
  );
  assert.deepEqual(
    records.map(({ action, actor }) => `${action}: ${actor}`),
    [
      'bulk_grant_running: Ada Agent',
      'grant: Ada Agent',
      'bulk_grant_done: Ada Agent',
      'bulk_grant_undoing: Sam Second',
      'revoke: Sam Second',
      'bulk_grant_undone: Sam Second',
    ],
  );
});
