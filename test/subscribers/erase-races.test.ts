import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { backfillJobs } from '../../src/backfill/jobs.ts';
import { startImport } from '../../src/backfill/repository.ts';
import { runImport } from '../../src/backfill/run.ts';
import { recordAttempts } from '../../src/delivery/event-deliveries.ts';
import { AppError } from '../../src/errors.ts';
import { chooseCustomers } from '../../src/grants/bulk/group.ts';
import { createBulkGrant, createGroupGrant, readBulkGrant } from '../../src/grants/bulk/repository.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { type JobQueue, openJobs } from '../../src/jobs/jobs.ts';
import type { RevenueCatClient } from '../../src/revenuecat/client.ts';
import { eraseSubscribers } from '../../src/subscribers/customer-data.ts';
import { allowAgain } from '../../src/subscribers/erased-ids.ts';
import { queueCustomerImport } from '../../src/subscribers/jobs.ts';
import { findByAppUserIds } from '../../src/subscribers/search.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { writeAudit } from '../../src/workspaces/audit.ts';
import { createTestContext } from '../support/app-context.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';

const ERIN = 'erin-7f3a';
const ADMIN = { id: '7001', name: 'Ada Agent', email: null };

/** Each path by which a customer's ID is stored, running while the customer is being erased. */
describe('while a customer is being erased', () => {
  let product: Product;
  let jobs: JobQueue;
  let projectId: string;
  let subscriberId: string;
  const database = () => product.db.database;
  const rows = <T extends object>(text: string, ...values: unknown[]) => database().query<T>(text, values);
  const project = () => ({ workspaceId: WORKSPACE_ID, projectId });

  const context = (): AppContext =>
    createTestContext(database(), {
      secrets: product.server.secrets,
      config: { revenueCatApiUrl: product.environment.REVENUECAT_API_URL ?? '' },
      jobs,
    });

  const erase = () =>
    eraseSubscribers({ database: database(), secrets: product.server.secrets }, WORKSPACE_ID, {
      subscriberIds: [subscriberId],
      by: ADMIN,
    });

  /** Statements that wait for a lock. */
  const countWaiting = async (text = ''): Promise<number> => {
    const [row] = await rows<{ n: number }>(
      `select count(*)::integer as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and strpos(query, $1) > 0`,
      text,
    );
    return row?.n ?? 0;
  };

  /** Starts erasing, holds it before its first change, starts `work`, and lets both end. */
  async function race(work: () => Promise<unknown>): Promise<void> {
    const release = Promise.withResolvers<void>();
    const isHeld = Promise.withResolvers<void>();
    const holding = database().transaction(async (sql) => {
      await sql.query('select 1 from subscribers where workspace_id = $1 for update', [WORKSPACE_ID]);
      isHeld.resolve();
      await release.promise;
    });
    await isHeld.promise;
    const erasing = erase();
    await until(async () => (await countWaiting('order by subscriber_id for update')) > 0, 'erasing to wait');
    let isDone = false;
    const working = work().finally(() => {
      isDone = true;
    });
    working.catch(() => {});
    await until(async () => isDone || (await countWaiting()) > 1, 'the work to wait for the erasure');
    release.resolve();
    await Promise.all([holding, erasing]);
    await working;
  }

  async function findTraces(): Promise<string[]> {
    const tables = await rows<{ name: string }>(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
        where table_schema in ('public', 'pgboss') and table_type = 'BASE TABLE'`,
    );
    const found: string[] = [];
    for (const { name } of tables) {
      const named = await rows(`select 1 from ${name} t where t::text like $1 limit 1`, `%${ERIN}%`);
      if (named.length > 0) found.push(name);
    }
    return found;
  }

  before(async () => {
    // The server's own work could hold the project's lock when erasing begins, and wait for the locked rows.
    product = await createProduct({ environment: { ROLE: 'web' } });
    jobs = await openJobs({
      databaseUrl: product.db.url,
      backend: 'postgres',
      listen: false,
      queueOnly: true,
      logger,
    });
    const [row] = await rows<{ project_id: string }>('select project_id from projects');
    projectId = row?.project_id ?? '';
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: ERIN });
  });
  after(async () => {
    await jobs?.stop();
    await product?.close();
  });
  beforeEach(async () => {
    await allowAgain({ sql: database(), secrets: product.server.secrets }, WORKSPACE_ID, ERIN);
    await product.revenueCat.sendWebhook(
      REVENUECAT_PROJECT_ID,
      eventBody({
        id: crypto.randomUUID(),
        app_user_id: ERIN,
        original_app_user_id: ERIN,
        aliases: [],
      }) as never,
    );
    await processProject(context(), project());
    const [found] = await findByAppUserIds(database(), WORKSPACE_ID, [ERIN]);
    subscriberId = found?.subscriberId ?? '';
    assert.notEqual(subscriberId, '');
  });

  it('no look-up is queued', async () => {
    await race(() => queueCustomerImport(context(), { ...project(), appUserId: ERIN }, {}));
    assert.deepEqual(await findTraces(), []);
  });

  it('a look-up that must wait for RevenueCat is not queued again', async () => {
    const revenueCat = new Proxy({} as RevenueCatClient, {
      get: () => async () => {
        await erase();
        const remedy = { kind: 'wait_until', atMs: Date.now() + 60_000 } as const;
        throw new AppError('revenuecat_rate_limited', 'Wait', { remedy });
      },
    });
    const definitions = backfillJobs(
      { ...context(), revenueCat: () => revenueCat },
      new AbortController().signal,
    );
    await definitions['customer.import']?.run({ ...project(), appUserId: ERIN });
    assert.deepEqual(await findTraces(), []);
  });

  it('no job stays that is just being queued again', async () => {
    await queueCustomerImport(context(), { ...project(), appUserId: ERIN }, {});
    const [erasing] = await database().transaction(async (sql) => {
      // Queues the job again, as pg-boss does after a failure.
      await sql.query(
        `insert into pgboss.job (name, data) select name, data from pgboss.job where data->>'appUserId' = $1`,
        [ERIN],
      );
      const running = [erase()];
      await until(async () => (await countWaiting('lock table pgboss.job')) > 0, 'erasing to wait');
      return running;
    });
    await erasing;
    assert.deepEqual(await findTraces(), []);
  });

  it('no import lists the customer', async () => {
    const { progress } = await startImport(database(), { ...project(), eventsSinceMs: null });
    await race(() => runImport(context(), progress, { signal: new AbortController().signal }));
    assert.deepEqual(await findTraces(), []);
  });

  it('no delivery is logged', async () => {
    await race(() =>
      recordAttempts(database(), WORKSPACE_ID, [
        {
          subscriberId,
          eventId: null,
          request: { custom_attributes: { rc_app_user_id: ERIN } },
          status: 200,
          code: 'ok',
          message: null,
          answer: null,
        },
      ]),
    );
    assert.deepEqual(await findTraces(), []);
    assert.deepEqual(
      await rows('select 1 from delivery_attempts where subscriber_id = $1', subscriberId),
      [],
    );
  });

  it('the audit log names the teammate only', async () => {
    await race(() =>
      writeAudit(database(), {
        workspaceId: WORKSPACE_ID,
        actor: ADMIN,
        action: 'look',
        conversationId: '501',
        contactId: 'c1',
        subscriberId,
        details: { app_user_id: ERIN, found_by: 'app_user_id' },
        result: 'done',
      }),
    );
    assert.deepEqual(await findTraces(), []);
    const [row] = await rows(
      `select contact_id, conversation_id, subscriber_id, details from audit_log where action = 'look'`,
    );
    assert.deepEqual(row, {
      contact_id: null,
      conversation_id: null,
      subscriber_id: null,
      details: { found_by: 'app_user_id' },
    });
  });

  const newBulk = () =>
    ({
      ...project(),
      bulkGrantId: crypto.randomUUID(),
      entitlementId: 'entl1',
      lookupKey: 'pro',
      entitlementName: 'Pro',
      duration: 'weekly',
      start: 'now',
      reason: 'Outage',
      admin: ADMIN,
    }) as const;

  it('no grant to many takes the customer', async () => {
    let leftOut: number | undefined;
    await race(async () => {
      const draft = await createBulkGrant(context(), newBulk(), [ERIN, 'someone-else']);
      leftOut = draft?.leftOut;
    });
    assert.deepEqual(await findTraces(), []);
    assert.equal(leftOut, 1);
  });

  it('no group takes the customer who is being chosen', async () => {
    const anyone = { statuses: [], productId: null, lookupKey: null, expiredWithinDays: null };
    const bulk = await createGroupGrant(context(), newBulk(), anyone);
    await race(() => chooseCustomers(context(), bulk, Number.POSITIVE_INFINITY));
    assert.deepEqual(await findTraces(), []);
    const { state, customerGroup } = (await readBulkGrant(database(), bulk)) ?? {};
    assert.deepEqual([state, customerGroup?.checked, customerGroup?.chosen], ['draft', 1, 1], 'found before');
  });
});
