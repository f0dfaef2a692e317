import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import supertest from 'supertest';
import { createJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import { eventBody } from '../support/events.ts';
import { startServerHere, startServerProcess } from '../support/process.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';
import { csrfIn } from '../workspaces/support.ts';

/** Chosen in three batches, the second of which is blocked. */
const CUSTOMERS = 120;
const HELD = 60;

let product: Product;
before(async () => {
  product = await createProduct({ environment: { ROLE: 'web' } });
  const { database } = product.db;
  const [row] = await database.query<{ project_id: string }>('select project_id from projects');
  const project = { workspaceId: WORKSPACE_ID, projectId: row?.project_id ?? '' };
  const journal = createJournal(database, () => {});
  const events = Array.from({ length: CUSTOMERS }, (_, n) =>
    eventBody({
      id: randomUUID(),
      app_user_id: `member_${n}`,
      original_app_user_id: `member_${n}`,
      aliases: [],
    }),
  );
  await Promise.all(
    events.map((event) => journal.append(project, checkWebhook(Buffer.from(JSON.stringify({ event }))))),
  );
  await processProject({ database, secrets: product.server.secrets, logger }, project);
});
after(() => product?.close());

async function signIn(): Promise<ReturnType<typeof supertest.agent>> {
  const browser = supertest.agent(product.server.url);
  const { headers } = await browser.get('/install').expect(302);
  const state = new URL(headers.location ?? '').searchParams.get('state') ?? '';
  const code = randomBytes(12).toString('base64url');
  const grant = { workspaceId: WORKSPACE_ID, adminId: '7001', expiresAtMs: Date.now() + 60_000 };
  product.intercom.state.codes.set(code, grant);
  await browser.get('/oauth/callback').query({ code, state }).expect(302);
  return browser;
}

test('a group is chosen by workers only, and to the end when one is killed', async () => {
  const { database } = product.db;
  const rows = (text: string) => database.query(text, [WORKSPACE_ID]);
  const browser = await signIn();
  const form = (await browser.get('/settings/grants/many').expect(200)).text;
  const terms = { entitlement: 'pro', duration: 'weekly', reason: 'Outage', filter: 'everyone' };
  const { headers } = await browser
    .post('/settings/grants/many')
    .type('form')
    .send({ _csrf: csrfIn(form), ...terms })
    .expect(303);
  const page = async (): Promise<string> => (await browser.get(headers.location ?? '').expect(200)).text;
  const worker = { ...product.environment, ROLE: 'worker' };

  const release = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  // This lock blocks the worker when it stores the customer's summary.
  const holding = database.transaction(async (sql) => {
    await sql.query(
      `select 1 from subscribers where workspace_id = $1 and subscriber_id = (
         select subscriber_id from subscribers where workspace_id = $1 order by 1 offset ${HELD} limit 1)
         for update`,
      [WORKSPACE_ID],
    );
    isHeld.resolve();
    await release.promise;
  });
  await isHeld.promise;
  const killed = await startServerProcess(worker);
  await until(async () => /Checked 50 of 120 customers, 50 of them chosen/.test(await page()), 'a batch');
  killed.child.kill('SIGKILL');
  await killed.ended;
  release.resolve();
  await holding;
  assert.match(await page(), /data-state="choosing"/);
  assert.equal((await rows('select 1 from bulk_grant_customers where workspace_id = $1')).length, 50);

  // pg-boss does this once the killed process has not reported for a while; the test does not wait for that.
  const runAgain = `update pgboss.job set state = 'created'
    where name = 'bulk-grant.choose' and state = 'active' and data->>'workspaceId' = $1 returning 1`;
  assert.equal((await rows(runAgain)).length, 1);
  const next = await startServerHere(worker, logger);
  await until(async () => /Grant to 120 customers|Request approval/.test(await page()), 'the review');
  await next.stop();
  const chosen = await rows('select distinct app_user_id from bulk_grant_customers where workspace_id = $1');
  assert.equal(chosen.length, CUSTOMERS);
  assert.equal(product.revenueCat.state.grantRequests.length, 0, 'nothing is granted before it is started');
});
