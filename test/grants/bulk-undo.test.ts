import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DAY_MS } from '../../src/time.ts';
import { idsOn, openAgain } from '../inbox-card/support.ts';
import { startCommand } from '../support/process.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { give, grantOf, grantsAt, openCustomer, setPolicy } from './support.ts';

let product: Product;
let folder: string;

before(async () => {
  product = await createProduct();
  product.revenueCat.state.limitsPerMinute.customer = 1_000_000;
  folder = await mkdtemp(join(tmpdir(), 'bulk-undo-'));
  await setPolicy(product, { bulkSecondPersonAbove: null });
});
after(async () => {
  await product?.close();
  await rm(folder, { recursive: true, force: true });
});

interface Result extends Readonly<Record<string, unknown>> {
  readonly id: string;
}

async function run(args: readonly string[]): Promise<Result> {
  const command = ['grant', '--workspace', WORKSPACE_ID, '--json', ...args];
  const { stdout, stderr } = await startCommand(command, product.environment).ended;
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Result;
}

async function grantTo(appUserIds: readonly string[], reason: string): Promise<Result> {
  const file = join(folder, `${reason}.csv`);
  await writeFile(file, appUserIds.join('\n'));
  return run(['--file', file, '--entitlement', 'pro', '--duration', 'weekly', '--reason', reason]);
}

/** Days that RevenueCat's grants last. */
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
  const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
  const known = project?.aliases.get(aliased.appUserId);
  assert.ok(project && known);
  project.aliases.set(alias, known);
  for (const { appUserId } of [removed, deleted])
    give(product, appUserId, { endsAtMs: Date.now() + 30 * DAY_MS });

  const all = [aliased, twice, later, removed, deleted].map(({ appUserId }) => appUserId);
  const first = await grantTo([alias, ...all], 'first');
  assert.deepEqual([first.state, first.granted, first.unchanged], ['done', 5, 1]);
  assert.deepEqual(daysAt(aliased.appUserId), [7], 'one customer under two ids gets it once');
  const second = await grantTo([twice.appUserId], 'second');
  assert.deepEqual(daysAt(twice.appUserId), [7, 14]);
  assert.match((await grantOf(later, { start: 'after' })).text, /✅/);
  const grants = await (await openAgain(product, removed)).press('grants');
  const grant = await grants.press(idsOn(grants.canvas).find((id) => id.startsWith('grant:')) ?? '');
  const asked = await grant.press(idsOn(grant.canvas).find((id) => id.startsWith('revoke:')) ?? '');
  assert.match((await asked.press('revoke.confirm', { 'revoke.reason': 'Fraud' })).text, /✅/);
  project.customers.delete(deleted.appUserId);
  project.aliases.delete(deleted.appUserId);

  const tooEarly = await run(['--undo', first.id]);
  assert.deepEqual([tooEarly.state, tooEarly.undone, tooEarly.undo_failed], ['undone', 2, 3]);
  assert.deepEqual(tooEarly.errors, { granted_since: 2, revenuecat_not_found: 1 });
  assert.deepEqual(daysAt(twice.appUserId), [7, 14], 'the later grant to many stays');
  assert.equal((await run(['--undo', second.id])).undone, 1);
  assert.deepEqual(daysAt(twice.appUserId), [7], 'what was granted before is granted again');
  // Again, for those that could not be undone.
  const undone = await run(['--undo', first.id]);
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
