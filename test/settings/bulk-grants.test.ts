import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import supertest from 'supertest';
import type { Database } from '../../src/database/sql.ts';
import { changeBulkGrant } from '../../src/grants/bulk/bulk-grants.ts';
import { chooseCustomers } from '../../src/grants/bulk/group.ts';
import { deleteOldDrafts } from '../../src/grants/bulk/repository.ts';
import { runBulkGrant } from '../../src/grants/bulk/run.ts';
import { grantJobs } from '../../src/grants/jobs.ts';
import { createJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import { openJobs } from '../../src/jobs/jobs.ts';
import { recordErased } from '../../src/subscribers/erased-ids.ts';
import { readSummaries } from '../../src/subscribers/summaries.ts';
import { DAY_MS } from '../../src/time.ts';
import { connectProject } from '../../src/workspaces/project-connection.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { eventBody } from '../support/events.ts';
import { until } from '../support/wait.ts';
import { logger } from '../support/world.ts';
import { createSite, csrfIn, type Site } from '../workspaces/support.ts';

type Browser = ReturnType<typeof supertest.agent>;

let site: Site;
let browser: Browser;
let csrf: string;
before(async () => {
  site = await createSite();
  browser = await site.signedIn('abc123');
  csrf = csrfIn((await browser.get('/settings')).text);
  const { database } = site.db;
  await database.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
     values ('abc123', 'p1', 'projp1', 'App', 'x')`,
  );
  await database.query(
    `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
     values ('abc123', 'p1', 'entitlement', 'entl1', 'pro', 'Pro')`,
  );
  await storeCustomers();
});
after(() => site.close());

const PROJECT = { workspaceId: 'abc123', projectId: 'p1' };

/** A webhook's event of a purchase that ends this many days from now. */
function purchase(id: string, endsInDays: number, fields: Record<string, unknown> = {}) {
  const endMs = Date.now() + endsInDays * DAY_MS;
  return eventBody({
    id: randomUUID(),
    app_user_id: id,
    original_app_user_id: id,
    aliases: [id],
    transaction_id: id,
    original_transaction_id: id,
    event_timestamp_ms: endMs - 30 * DAY_MS,
    purchased_at_ms: endMs - 30 * DAY_MS,
    expiration_at_ms: endMs,
    ...fields,
  });
}

async function storeCustomers(): Promise<void> {
  const { database } = site.db;
  const trial = { period_type: 'TRIAL', product_id: 'trial_product' };
  const ended = (days: number) => ({ type: 'EXPIRATION', event_timestamp_ms: Date.now() - days * DAY_MS });
  const events = [
    purchase('trial_1', 3, trial),
    purchase('trial_2', 3, trial),
    purchase('trial_2', 3, { ...trial, type: 'CANCELLATION', event_timestamp_ms: Date.now() - DAY_MS }),
    purchase('active_1', 20),
    purchase('active_1', 20, {
      product_id: 'second_product',
      entitlement_ids: ['team'],
      original_transaction_id: 'second',
      transaction_id: 'second',
    }),
    purchase('gone_1', -5),
    purchase('gone_1', -5, ended(5)),
    purchase('gone_2', -90),
    purchase('gone_2', -90, ended(90)),
    purchase('lapsed_1', -1),
    eventBody({
      id: randomUUID(),
      type: 'SUBSCRIBER_ALIAS',
      app_user_id: 'visitor_1',
      original_app_user_id: 'visitor_1',
      aliases: ['visitor_1'],
    }),
  ];
  const journal = createJournal(database, () => {});
  for (const event of events)
    await journal.append(PROJECT, checkWebhook(Buffer.from(JSON.stringify({ event }))));
  await processProject({ database, secrets: site.app.secrets, logger }, PROJECT);
  // As if a card had been opened while lapsed_1 still had access.
  const [lapsed] = await database.query<{ subscriberId: string; version: number }>(
    `select s.subscriber_id as "subscriberId", s.version::float8 as version
       from subscribers s join subscriber_ids i on i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
      where s.workspace_id = $1 and i.app_user_id = 'lapsed_1'`,
    ['abc123'],
  );
  assert.ok(lapsed);
  const then = { subscribers: [lapsed], nowMs: Date.now() - 2 * DAY_MS };
  const summary = (await readSummaries(database, 'abc123', then)).get(lapsed.subscriberId);
  assert.equal(summary?.state.status, 'active');
}

const terms = { entitlement: 'entl1', duration: 'weekly', start: 'after', reason: 'Outage' };

function send(path: string, fields: Record<string, unknown>, by = browser, token = csrf): supertest.Test {
  return by
    .post(`/settings/grants/many${path}`)
    .type('form')
    .send({ _csrf: token, ...fields });
}

/** Sends the form, and returns the page that it leads to. */
async function draft(fields: Record<string, unknown>): Promise<{ id: string; text: string }> {
  const { headers } = await send('', { ...terms, ...fields }).expect(303);
  const id = new URL(String(headers.location), 'http://x').searchParams.get('id') ?? '';
  return { id, text: await page(id) };
}

const page = async (id: string): Promise<string> =>
  (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;

/** Chooses the customers of a group, as a worker does after the form was sent. */
const choose = (id: string): Promise<void> =>
  chooseCustomers(site.app, { workspaceId: 'abc123', bulkGrantId: id }, Number.POSITIVE_INFINITY);

/** Signs in another admin. */
async function signInBob(): Promise<{ bob: Browser; token: string }> {
  site.intercom.addAdmin('abc123', { id: 'bob', name: 'Bob', email: 'bob@abc123.example' });
  const bob = supertest.agent(site.server);
  const begun = await bob.get('/install').expect(302);
  await bob.get(await site.consent(String(begun.headers.location), 'abc123', 'bob')).expect(302);
  return { bob, token: csrfIn((await bob.get('/settings')).text) };
}

function setRules(fields: Record<string, unknown>): supertest.Test {
  const rules = { enabled: 'on', who: 'everyone', reason_required: 'on', longest_days: '366' };
  return browser
    .post('/settings/grants')
    .type('form')
    .send({ _csrf: csrf, ...rules, bulk_second_person: '100', ...fields })
    .expect(303);
}

async function stateOf(id: string): Promise<string | undefined> {
  const [row] = await site.db.database.query<{ state: string }>(
    `select state from bulk_grants where workspace_id = 'abc123' and bulk_grant_id = $1`,
    [id],
  );
  return row?.state;
}

it('names the project of each entitlement where there are several', async () => {
  const { database } = site.db;
  assert.match((await browser.get('/settings/grants/many')).text, /<option value="entl1"[^>]*>Pro</);
  await database.query(
    `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
     values ('abc123', 'p2', 'projp2', 'Second', 'x')`,
  );
  await database.query(
    `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
     values ('abc123', 'p2', 'entitlement', 'entl2', 'pro', 'Pro')`,
  );
  const { text } = await browser.get('/settings/grants/many');
  assert.match(text, /<option value="entl1"[^>]*>Pro \(App\)</);
  assert.match(text, /<option value="entl2"[^>]*>Pro \(Second\)</);
  await database.query(`delete from projects where workspace_id = 'abc123' and project_id = 'p2'`);
});

describe('Settings › Grants › Grant to many', () => {
  it('shows a dry run of a pasted list: how many, and ten of them', async () => {
    const ids = Array.from({ length: 12 }, (_, index) => `user_${String(index).padStart(2, '0')}`);
    const { id, text } = await draft({ customers: ids.join('\n') });
    assert.match(text, /Pro for 12 customers/);
    assert.match(text, /user_00, .*user_09 and 2 more/);
    assert.match(text, /nothing is granted yet/);
    assert.equal(await stateOf(id), 'draft');
  });

  it('leaves out erased customers, says how many and why, and stores nothing of them', async () => {
    const { database } = site.db;
    await database.transaction((sql) =>
      recordErased({ sql, secrets: site.app.secrets }, 'abc123', {
        ids: ['erased_1', 'erased_2'].map((appUserId) => ({
          projectId: 'p1',
          appUserId,
          subscriberId: randomUUID(),
        })),
        by: {},
      }),
    );
    const { id, text } = await draft({ customers: 'erased_1\nstays_1\nerased_2' });
    assert.match(text, /Pro for 1 customer</);
    assert.match(text, /2 customers of the list were erased and left out\. An admin can allow them again/);
    assert.doesNotMatch(text, /erased_1/);
    const stored = await database.query(
      `select app_user_id from bulk_grant_customers where workspace_id = 'abc123' and bulk_grant_id = $1`,
      [id],
    );
    assert.deepEqual(stored, [{ app_user_id: 'stays_1' }]);
    const refused = await send('', { ...terms, customers: 'erased_1' });
    assert.equal(refused.status, 422);
    assert.match(refused.text, /1 customer of the list was erased/);
  });

  it('lets a customer be erased who is only on a list, and leaves them out of the next', async () => {
    const data = (path: string, fields: object): supertest.Test =>
      browser
        .post(`/settings/data${path}`)
        .type('form')
        .send({ _csrf: csrf, ...fields });
    const { id } = await draft({ customers: 'listed_only\nstays_2' });
    const exported = async (customer: string): Promise<Record<string, Record<string, unknown>[]>> =>
      (await browser.get('/settings/data/export').query({ customer }).expect(200)).body;
    const { bulk_grant_customers: grants = [], import_customers: imports } = await exported('listed_only');
    assert.deepEqual(
      grants.map((row) => [row.bulk_grant_id, row.app_user_id]),
      [[id, 'listed_only']],
    );
    assert.deepEqual(imports, []);
    const found = await browser.get('/settings/data?customer=listed_only').expect(200);
    assert.match(found.text, /Erase this customer/);
    await data('/erase', { customer: 'listed_only', repeat: 'listed_only' }).expect(303);
    const stored = await site.db.database.query(
      `select app_user_id from bulk_grant_customers where workspace_id = 'abc123' and bulk_grant_id = $1`,
      [id],
    );
    assert.deepEqual(stored, [{ app_user_id: 'stays_2' }]);
    assert.match((await browser.get('/settings/data?customer=listed_only')).text, /Nothing is stored/);
    assert.match((await send('', { ...terms, customers: 'listed_only' }).expect(422)).text, /was erased/);
    await data('/allow', { allow: 'listed_only' }).expect(303);
    assert.match((await draft({ customers: 'listed_only' })).text, /Pro for 1 customer</);
    // An import lists customers before it reads them.
    await site.db.database.query(
      `insert into import_customers (workspace_id, project_id, import_id, customer_id)
       values ('abc123', 'p1', $1, 'imported_later'), ('abc123', 'p1', $1, 'stays_3')`,
      [randomUUID()],
    );
    assert.deepEqual(
      (await exported('imported_later')).import_customers?.map((row) => row.customer_id),
      ['imported_later'],
    );
    await data('/erase', { customer: 'imported_later', repeat: 'imported_later' }).expect(303);
    const left = await site.db.database.query(
      `select customer_id from import_customers where workspace_id = 'abc123'`,
    );
    assert.deepEqual(left, [{ customer_id: 'stays_3' }]);
    assert.match((await send('', { ...terms, customers: 'imported_later' }).expect(422)).text, /was erased/);
  });

  it('deletes drafts after a day with their customers, but none that is started at that time', async () => {
    const { database } = site.db;
    const [kept, old, started, done] = [
      await draft({ customers: 'kept_draft' }),
      await draft({ customers: 'old_draft' }),
      await draft({ customers: 'started_draft' }),
      await draft({ customers: 'done_grant' }),
    ].map(({ id }) => id);
    const set = (assignment: string, ids: readonly unknown[]) =>
      database.query(
        `update bulk_grants set ${assignment} where workspace_id = 'abc123' and bulk_grant_id = any($1)`,
        [ids],
      );
    await set(`created_at = now() - interval '25 hours'`, [old, started, done]);
    await set(`created_at = now() - interval '23 hours'`, [kept]);
    await set(`state = 'done'`, [done]);
    await deleteOldDrafts({
      async query(...statement: Parameters<Database['query']>) {
        const rows = await database.query(...statement);
        if (statement[0].startsWith('select')) await set(`state = 'running'`, [started]);
        return rows as never[];
      },
    });
    const left = await database.query<{ id: string }>(
      `select bulk_grant_id as id from bulk_grants join bulk_grant_customers using (workspace_id, bulk_grant_id)
        where workspace_id = 'abc123' and app_user_id in ('kept_draft', 'old_draft', 'started_draft', 'done_grant')
        order by app_user_id`,
    );
    assert.deepEqual(
      left.map(({ id }) => id),
      [done, kept, started],
    );
    await set(`state = 'done'`, [started]);
  });

  it('takes a pasted list of 5,000 anonymous customers', async () => {
    const ids = Array.from({ length: 5_000 }, () => `$RCAnonymousID:${randomUUID().replaceAll('-', '')}`);
    const { text } = await draft({ customers: ids.join('\r\n') });
    assert.match(text, /Pro for 5,000 customers/);
  });

  it('grants to the same customers again from its own results, whatever their ids begin with', async () => {
    const ids = [
      '=1',
      '+49151',
      '-x',
      '@me',
      '|sh',
      '%a',
      "'=1",
      "'quoted'",
      ';=a',
      '＝1',
      '"=b"',
      'a,b',
      'a;b',
    ];
    const listed = (id: string): Promise<object[]> =>
      site.db.database.query(
        `select app_user_id from bulk_grant_customers where workspace_id = 'abc123' and bulk_grant_id = $1`,
        [id],
      );
    // An id that begins like an escaped formula counts as one, so it must be escaped in a typed list too.
    const typed = ids.map((id) => `"${id.replace(/^'=/, "''=").replaceAll('"', '""')}"`);
    const first = await draft({ customers: typed.join('\n') });
    const { text } = await browser.get(`/settings/grants/many/results.csv?id=${first.id}`).expect(200);
    const again = await draft({ customers: text });
    const expected = ids.map((id) => ({ app_user_id: id }));
    const order = (rows: object[]): string[] => rows.map((row) => JSON.stringify(row)).sort();
    assert.deepEqual(order(await listed(first.id)), order(expected));
    assert.deepEqual(order(await listed(again.id)), order(expected));
  });

  it('finds customers by a filter, also those whose access ended without an event', async () => {
    for (const [fields, expected] of [
      [{ filter: 'trial' }, 'trial_1, trial_2'],
      [{ filter: 'active' }, 'active_1'],
      [{ filter: 'expired', days: '30' }, 'gone_1, lapsed_1'],
      [{ filter: 'everyone' }, 'active_1, gone_1, gone_2, lapsed_1, trial_1, trial_2'],
      [{ filter: 'everyone', product: 'trial_product' }, 'trial_1, trial_2'],
      [{ filter: 'everyone', product: 'second_product' }, 'active_1'],
      [{ filter: 'everyone', holds: 'team' }, 'active_1'],
    ] as const) {
      const { id } = await draft(fields);
      await choose(id);
      const text = await page(id);
      assert.ok(text.includes(`Among them: ${expected}.`), JSON.stringify(fields));
      assert.ok(text.includes(`Pro for ${expected.split(', ').length} customer`), text);
    }
  });

  it('leaves choosing a group to a worker, shows how far it is, and offers nothing before that', async () => {
    const { database } = site.db;
    const countSummaries = async (): Promise<number | undefined> =>
      (await database.query(`select 1 from subscriber_summaries where workspace_id = 'abc123'`)).length;
    await database.query(`delete from subscriber_summaries where workspace_id = 'abc123'`);
    const { id, text } = await draft({ filter: 'everyone' });
    assert.equal(await countSummaries(), 0, 'the web process has read no customer');
    assert.deepEqual(site.jobs.filter(({ name }) => name === 'bulk-grant.choose').at(-1)?.data, {
      workspaceId: 'abc123',
      bulkGrantId: id,
    });
    assert.match(text, /Pro for a group of customers</);
    assert.match(text, /role="status">Choosing customers: nothing is granted yet</);
    assert.match(text, /<progress aria-label="Customers" value="0"/);
    assert.match(text, /data-line>Checked 0 of 7 customers, 0 of them chosen\.</);
    assert.doesNotMatch(text, /Grant to \d|Download results/);
    assert.deepEqual((await browser.get(`/settings/grants/many/status?id=${id}`)).body, {
      state: 'choosing',
      percent: 0,
      line: 'Checked 0 of 7 customers, 0 of them chosen.',
    });
    for (const button of ['/start', '/approve', '/pause', '/resume']) await send(button, { id });
    await send('/undo', { id, confirmed: 'yes' });
    assert.equal(await stateOf(id), 'choosing');
    const latest = `<a href="/settings/grants/many?id=${id}">`;
    assert.ok((await browser.get('/settings/grants/many')).text.includes(latest), 'who left finds it again');
    await choose(id);
    assert.equal(await countSummaries(), 7);
    assert.match(await page(id), /Pro for 6 customers[\s\S]*>Grant to 6 customers</);
    assert.ok((await browser.get('/settings/grants/many')).text.includes(latest));
    await send('/start', { id }).expect(303);
    assert.equal(await stateOf(id), 'running');
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
  });

  it('chooses each customer of a group once, whatever number of workers do it', async () => {
    const { id } = await draft({ filter: 'trial' });
    await Promise.all([choose(id), choose(id), choose(id)]);
    assert.match(await page(id), /Pro for 2 customers[\s\S]*Among them: trial_1, trial_2\./);
    const [row] = await site.db.database.query(
      `select customer_group->'checked' as checked, customer_group->'chosen' as chosen from bulk_grants
        where workspace_id = 'abc123' and bulk_grant_id = $1`,
      [id],
    );
    assert.deepEqual(row, { checked: 7, chosen: 2 });
  });

  it('grants nothing to an empty group, or to one of more customers than a grant takes', async () => {
    const { id } = await draft({ filter: 'everyone', holds: 'gold' });
    await choose(id);
    const text = await page(id);
    assert.match(text, /There is no customer to grant to\. <a href="\/settings\/grants\/many">Start again</);
    assert.doesNotMatch(text, /<button[^>]*>Grant to|Among them/);
    await send('/start', { id }).expect(422);
    assert.equal(await stateOf(id), 'draft');
    await site.db.database.query(
      `insert into bulk_grant_customers (workspace_id, bulk_grant_id, app_user_id)
       select 'abc123', $1, n::text from generate_series(1, 100001) n`,
      [id],
    );
    assert.match(await page(id), /A grant takes at most 100000 customers\. <a[^>]*>Start again</);
    await send('/start', { id }).expect(422);
    assert.equal(await stateOf(id), 'draft');
  });

  it('stops choosing when it is canceled, by whoever made it or by another admin who may grant', async () => {
    const { bob, token } = await signInBob();
    const listed = async (id: string): Promise<number> =>
      (
        await site.db.database.query(
          `select 1 from bulk_grant_customers where workspace_id = 'abc123' and bulk_grant_id = $1`,
          [id],
        )
      ).length;
    const [own, other] = [await draft({ filter: 'trial' }), await draft({ filter: 'trial' })];
    assert.match(own.text, /<button[^>]*>Cancel<\/button>/);
    await send('/decline', { id: own.id }).expect(303);
    assert.equal(await stateOf(own.id), 'withdrawn');
    await setRules({ who: 'selected', people: 'abc123-admin' });
    assert.match((await send('/decline', { id: other.id }, bob, token).expect(422)).text, /do not allow you/);
    await setRules({ who: 'everyone' });
    await send('/decline', { id: other.id }, bob, token).expect(303);
    assert.equal(await stateOf(other.id), 'declined');
    for (const { id } of [own, other]) {
      await choose(id);
      assert.equal(await listed(id), 0);
      await send('/start', { id }).expect(422);
      assert.match(await page(id), /: nothing was granted</);
    }
    const audited = await site.db.database.query<{ action: string }>(
      `select action from audit_log where workspace_id = 'abc123' and details->>'bulk_grant_id' = any($1)
        order by audit_id`,
      [[own.id, other.id]],
    );
    assert.deepEqual(
      audited.map(({ action }) => action),
      ['bulk_grant_withdrawn', 'bulk_grant_declined'],
    );
  });

  it('refuses what the rules for grants refuse, and a list without customers', async () => {
    for (const fields of [
      { customers: 'a', reason: '' },
      { customers: 'a', duration: 'lifetime' },
      { customers: 'a', entitlement: 'other' },
      { customers: '\n' },
      { customers: 'a', filter: 'trial' },
      { customers: 'a', product: 'second_product' },
      { customers: 'a', holds: 'team' },
      { filter: '__proto__' },
      { filter: 'constructor' },
      ...['abc', '-5', '0', '1e9'].map((days) => ({ filter: 'expired', days })),
    ])
      await send('', { ...terms, ...fields }).expect(422);
    await send('', { ...terms, customers: 'a', project: 'abc123-disconnected' }).expect(404);
  });

  it('is started, paused, continued and undone, and its results are a CSV', async () => {
    const { id } = await draft({ customers: 'one\ntwo' });
    await send('/start', { id }).expect(303);
    assert.equal(await stateOf(id), 'running');
    await send('/pause', { id }).expect(303);
    assert.equal(await stateOf(id), 'paused');
    await send('/resume', { id }).expect(303);
    assert.equal(await stateOf(id), 'running');
    const csv = await browser.get(`/settings/grants/many/results.csv?id=${id}`).expect(200);
    assert.equal(csv.text, '\ufeffapp_user_id,result,error\r\none,pending,\r\ntwo,pending,\r\n');
    assert.match((await browser.get('/settings/audit')).text, /Exported the results of a grant to many/);
    await send('/undo', { id }).expect(422);
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
    assert.equal(await stateOf(id), 'undoing');
    const rows = await site.db.database.query<{ action: string }>(
      `select action from audit_log where workspace_id = 'abc123' and details->>'bulk_grant_id' = $1 order by audit_id`,
      [id],
    );
    assert.deepEqual(
      rows.map(({ action }) => action),
      ['bulk_grant_running', 'bulk_grant_paused', 'bulk_grant_running', 'bulk_grant_undoing'],
    );
  });

  it('is continued by a job of its own: one that waited may end before it is stored that it continues', async () => {
    const { id } = await draft({ customers: 'one' });
    await send('/start', { id }).expect(303);
    const { app, db } = site;
    const jobs = await openJobs({
      databaseUrl: db.url,
      backend: 'postgres',
      listen: false,
      queueOnly: true,
      logger,
    });
    await jobs.register(grantJobs(app));
    const key = { workspaceId: 'abc123', bulkGrantId: id };
    const waiting = `name = 'bulk-grant.run' and state = 'created' and data->>'bulkGrantId' = $1`;
    const by = { id: '1', name: 'Ada', email: null };
    await jobs.send('bulk-grant.run', key, { afterSeconds: 1 });
    await changeBulkGrant({ database: db.database, jobs }, key, { event: 'pause', by });
    // The waiting job runs during the transaction, and finds that the grant is paused.
    const transaction: Database['transaction'] = (work) =>
      db.database.transaction(async (sql) => {
        const result = await work(sql);
        await db.database.query(`update pgboss.job set state = 'completed' where ${waiting}`, [id]);
        return result;
      });
    const database = Object.assign(Object.create(db.database), { transaction });
    await changeBulkGrant({ database, jobs }, key, { event: 'resume', by });
    const left = await db.database.query(`select 1 from pgboss.job where ${waiting}`, [id]);
    await jobs.stop();
    assert.equal(await stateOf(id), 'running');
    assert.equal(left.length, 1);
  });

  it('that could not be undone for everyone says why, and is undone again for the rest', async () => {
    const { id } = await draft({ customers: 'one\ntwo' });
    const { database } = site.db;
    await database.query(
      `update bulk_grants set state = 'undone' where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    await database.query(
      `update bulk_grant_customers set finished_at = now(), error = 'granted_since',
              state = case app_user_id when 'one' then 'undone' else 'undo_failed' end
        where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    const { text } = await browser.get(`/settings/grants/many?id=${id}`).expect(200);
    assert.match(text, /<li>1 customer: granted_since: .* Undo that grant to many, then this one again/);
    const [, link = ''] = /<a href="([^"]+)">Undo the rest…<\/a>/.exec(text) ?? [];
    assert.match((await browser.get(link).expect(200)).text, /Undo Pro for 1 customer\?/);
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
    assert.equal(await stateOf(id), 'undoing');
    const customers = await database.query(
      `select app_user_id, state from bulk_grant_customers
        where workspace_id = $1 and bulk_grant_id = $2 order by 1`,
      ['abc123', id],
    );
    assert.deepEqual(customers, [
      { app_user_id: 'one', state: 'undone' },
      { app_user_id: 'two', state: 'granted' },
    ]);
  });

  const connectRevenueCat = async (): Promise<void> => {
    const { revenueCat } = site;
    revenueCat.addProject({ id: 'projp1' });
    Object.assign(revenueCat.addEntitlement('projp1', 'pro', 'Pro'), { id: 'entl1' });
    for (const id of ['active_1', 'trial_1', 'trial_2']) revenueCat.addCustomer('projp1', { id });
    await replaceKey();
  };
  const replaceKey = ({ app, db, revenueCat } = site) =>
    db.database.query(`update projects set api_key = $2 where workspace_id = $1 and project_id = 'p1'`, [
      'abc123',
      app.secrets.encrypt(revenueCat.issueKey('projp1'), secretLocation.apiKey('abc123', 'p1')),
    ]);

  it('is paused without a key that RevenueCat accepts, says what to do, and is then continued for everyone', async () => {
    const customers = ['active_1', 'trial_1', 'trial_2'];
    const { id } = await draft({ customers: customers.join('\n') });
    const key = { workspaceId: 'abc123', bulkGrantId: id };
    const run = () => runBulkGrant(site.app, key, Date.now() + 30_000);
    const page = async () => (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;
    await send('/start', { id }).expect(303);
    assert.equal(await run(), false);
    assert.equal(await stateOf(id), 'paused', 'the project has no key');
    await connectRevenueCat();
    const { faults, state } = site.revenueCat;
    for (const [status, code] of [
      [401, 'revenuecat_unauthorized'],
      [403, 'revenuecat_scope_missing'],
    ] as const) {
      const accept = faults.add({ pathPrefix: '/v2/projects/projp1/customers', method: 'POST', status });
      await send('/resume', { id }).expect(303);
      assert.equal(await run(), false);
      assert.match(
        await page(),
        new RegExp(
          `Paused[\\s\\S]*3 pending[\\s\\S]*customers: ${code}: [^<]+ Then continue\\.<[\\s\\S]*>Continue<`,
        ),
      );
      accept();
    }
    assert.equal(state.grantRequests.length, 0);
    await send('/resume', { id }).expect(303);
    assert.equal(await run(), false);
    assert.match(await page(), /Done[\s\S]*3 granted/);
    assert.deepEqual(state.grantRequests.map(({ customerId }) => customerId).toSorted(), customers);

    const { id: second } = await draft({ customers: customers.join('\n') });
    await send('/start', { id: second }).expect(303);
    const refused = { pathPrefix: '/v2/projects/projp1/customers', method: 'POST', status: 401 };
    faults.add({ ...refused, latencyMs: 1_000, times: 3 });
    const running = runBulkGrant(site.app, { ...key, bulkGrantId: second }, Date.now() + 30_000);
    await until(() => faults.list().length === 0, 'the calls with the key that is replaced');
    await replaceKey();
    assert.equal(await running, false);
    assert.equal(await stateOf(second), 'done', 'an admin replaced the key before it was refused');
  });

  it('shows how far it is while it runs and while it is paused, and finishes the rest when it is continued', async () => {
    const ids = Array.from({ length: 12 }, (_, index) => `unknown_${index}`);
    const { id, text } = await draft({ customers: ids.join('\n') });
    assert.match(text, /<li>12 customers: not_imported: the app does not know [^<]+\.<\/li>/);
    const key = { workspaceId: 'abc123', bulkGrantId: id };
    const page = async (): Promise<string> =>
      (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;
    await send('/start', { id }).expect(303);
    // A third of the customers, because a worker claims that many together.
    assert.equal(await runBulkGrant(site.app, key, 0), true);
    assert.match(await page(), /<progress aria-label="Customers" value="33"/);
    await send('/pause', { id }).expect(303);
    assert.equal(await runBulkGrant(site.app, key, Number.POSITIVE_INFINITY), false);
    assert.match(await page(), /Paused[\s\S]*<progress aria-label="Customers" value="33"[\s\S]*4 failed/);
    await send('/resume', { id }).expect(303);
    assert.equal(await runBulkGrant(site.app, key, Number.POSITIVE_INFINITY), false);
    assert.match(
      await page(),
      /verdict todo"[^>]*>Done[\s\S]*<progress aria-label="Customers" value="100"[\s\S]*12 failed/,
    );
    assert.match(await page(), /<li>12 customers: not_imported: the app does not know [^<]+\.<\/li>/);
  });

  it('waits for RevenueCat during an outage of hours, says so, and then grants to everyone', async () => {
    const { app, db, revenueCat } = site;
    const { id } = await draft({ customers: 'active_1\ntrial_1' });
    await send('/start', { id }).expect(303);
    const key = { workspaceId: 'abc123', bulkGrantId: id };
    /** @param attempts how many attempts failed before */
    const retryNow = (attempts: number) =>
      db.database.query(
        `update bulk_grant_customers set claimed_until = null, attempts = $3
          where workspace_id = $1 and bulk_grant_id = $2`,
        ['abc123', id, attempts],
      );
    const endOutage = revenueCat.faults.add({ pathPrefix: '/v2/projects/projp1/customers', status: 503 });
    await retryNow(100);
    assert.equal(await runBulkGrant(app, key, 0), true);
    const [{ seconds } = { seconds: 0 }] = await db.database.query<{ seconds: number }>(
      `select min(extract(epoch from claimed_until - now()))::float8 as seconds from bulk_grant_customers
        where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    assert.ok(seconds > 500 && seconds <= 600, `${seconds} s`);
    const page = (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;
    assert.match(page, /2 pending/);
    assert.match(page, /RevenueCat is unavailable or its rate limit is reached: 2 customers wait/);
    endOutage();
    await retryNow(101);
    assert.equal(await runBulkGrant(app, key, Date.now() + 30_000), false);
    const done = (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;
    assert.match(done, /Done[\s\S]*2 granted/);
    assert.doesNotMatch(done, /RevenueCat is unavailable/);
  });

  it('gives up those for whom RevenueCat was unavailable for a day, says so, and finishes', async () => {
    const { app, db, revenueCat } = site;
    const { id } = await draft({ customers: 'active_1\ntrial_1' });
    await send('/start', { id }).expect(303);
    const endOutage = revenueCat.faults.add({ pathPrefix: '/v2/projects/projp1/customers', status: 503 });
    await db.database.query(
      `update bulk_grant_customers set attempts = 149 where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    assert.equal(
      await runBulkGrant(app, { workspaceId: 'abc123', bulkGrantId: id }, Date.now() + 10_000),
      false,
    );
    endOutage();
    const { text } = await browser.get(`/settings/grants/many?id=${id}`).expect(200);
    assert.match(text, /Done[\s\S]*2 failed/);
    assert.match(text, /<li>2 customers: revenuecat_unavailable/);
  });

  it('is undone without waiting for customers who wait for RevenueCat', async () => {
    const { id } = await draft({ customers: 'one\ntwo' });
    await send('/start', { id }).expect(303);
    await site.db.database.query(
      `update bulk_grant_customers set claimed_until = now() + interval '10 minutes', error = 'revenuecat_unavailable'
        where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
    assert.equal(await runBulkGrant(site.app, { workspaceId: 'abc123', bulkGrantId: id }, 0), false);
    assert.equal(await stateOf(id), 'undone');
  });

  it('no longer waits for another key when it is undone', async () => {
    const { id } = await draft({ customers: 'one\ntwo' });
    await send('/start', { id }).expect(303);
    await send('/pause', { id }).expect(303);
    await site.db.database.query(
      `update bulk_grant_customers set error = 'revenuecat_unauthorized'
        where workspace_id = $1 and bulk_grant_id = $2`,
      ['abc123', id],
    );
    const page = async () => (await browser.get(`/settings/grants/many?id=${id}`).expect(200)).text;
    assert.match(await page(), /2 customers: revenuecat_unauthorized: [^<]+ Then continue\./);
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
    assert.equal(await runBulkGrant(site.app, { workspaceId: 'abc123', bulkGrantId: id }, 0), false);
    assert.match(await page(), /Undone/);
    assert.doesNotMatch(await page(), /revenuecat_unauthorized/);
  });

  it('for more customers than the rules allow one admin, another one approves', async () => {
    const ids = Array.from({ length: 101 }, (_, index) => `many_${index}`);
    const { id: allowed } = await draft({ customers: ids.slice(1).join('\n') });
    await send('/start', { id: allowed }).expect(303);
    assert.equal(await stateOf(allowed), 'running', 'not for as many as the rules allow');
    await send('/undo', { id: allowed, confirmed: 'yes' }).expect(303);
    const { id, text } = await draft({ customers: ids.join('\n') });
    assert.match(text, /More than 100 customers need the approval of another admin/);
    await send('/start', { id }).expect(303);
    assert.equal(await stateOf(id), 'awaiting_approval');
    const waiting = await browser.get(`/settings/grants/many?id=${id}`);
    assert.match(waiting.text, /Among them: .+ and \d+ more/, 'nobody approves unseen');
    const home = await browser.get('/settings');
    assert.match(home.text, /waits for the approval of another admin.*href="\/settings\/grants\/many"/);
    await send('/approve', { id }).expect(422);
    assert.equal(await stateOf(id), 'awaiting_approval');
  });

  it('cannot be requested and approved by one admin, whoever prepared it', async () => {
    const ids = Array.from({ length: 101 }, (_, index) => `other_${index}`);
    const { id } = await draft({ customers: ids.join('\n') });
    const { bob, token } = await signInBob();
    await send('/start', { id }, bob, token).expect(303);
    const refused = await send('/approve', { id }, bob, token).expect(422);
    assert.match(refused.text, /Another admin must approve what you requested/);
    assert.match(refused.text, /Requested by Bob/);
    assert.equal(await stateOf(id), 'awaiting_approval');
    await send('/approve', { id }).expect(303);
    assert.equal(await stateOf(id), 'running');
  });

  it('is approved only while its requester may still grant', async () => {
    const ids = Array.from({ length: 101 }, (_, index) => `left_${index}`);
    const { id } = await draft({ customers: ids.join('\n') });
    const { bob, token } = await signInBob();
    await send('/start', { id }, bob, token).expect(303);
    await setRules({ who: 'selected', people: 'abc123-admin' });
    const refused = await send('/approve', { id }).expect(422);
    assert.match(refused.text, /no longer allow the teammate who requested this to grant/);
    assert.equal(await stateOf(id), 'awaiting_approval');
    await site.db.database.query(
      `update bulk_grants set admin = '{"id":"command-line","name":"Command line","email":null}'
        where workspace_id = 'abc123' and bulk_grant_id = $1`,
      [id],
    );
    await send('/approve', { id }).expect(303);
    assert.equal(await stateOf(id), 'running', 'the operator is no teammate');
    await send('/undo', { id, confirmed: 'yes' }).expect(303);
    await setRules({ who: 'everyone' });
  });

  it('is withdrawn by its requester or declined by another admin, and then approved by no one', async () => {
    const { bob, token } = await signInBob();
    const request = async (by = browser, csrfToken = csrf): Promise<string> => {
      const { id } = await draft({
        customers: Array.from({ length: 101 }, (_, n) => `wish_${n}`).join('\n'),
      });
      await send('/start', { id }, by, csrfToken).expect(303);
      return id;
    };

    const ours = await request();
    assert.match(await page(ours), /<button[^>]*>Withdraw the request<\/button>/);
    assert.doesNotMatch(await page(ours), />Decline</);
    await send('/decline', { id: ours }).expect(303);
    assert.equal(await stateOf(ours), 'withdrawn');
    assert.match(await page(ours), /role="status">Withdrawn: nothing was granted</);
    assert.match(await page(ours), /Requested by Ada Agent on [^<]+, withdrawn on \w{3} \d+, \d{4} at /);

    const other = await request(bob, token);
    await setRules({ who: 'selected', people: 'bob' });
    assert.match((await send('/decline', { id: other }).expect(422)).text, /do not allow you to grant/);
    assert.equal(await stateOf(other), 'awaiting_approval');
    await setRules({ who: 'everyone' });
    assert.match(await page(other), /<button[^>]*>Decline<\/button>/);
    assert.doesNotMatch(await page(other), /Withdraw the request/);
    await send('/decline', { id: other }).expect(303);
    assert.equal(await stateOf(other), 'declined');
    assert.match(await page(other), /role="status">Declined: nothing was granted</);
    assert.match(
      await page(other),
      /Requested by Bob on [^<]+, declined by Ada Agent on \w{3} \d+, \d{4} at /,
    );

    const late = await send('/approve', { id: ours }, bob, token).expect(422);
    assert.match(late.text, /Nothing was changed: it was in another state already/);
    assert.match(late.text, /Withdrawn: nothing was granted/);
    await send('/approve', { id: other }).expect(422);
    assert.deepEqual([await stateOf(ours), await stateOf(other)], ['withdrawn', 'declined']);
    const audited = await site.db.database.query<{ action: string; actor: string; by: string | null }>(
      `select action, actor->>'name' as actor, details->>'requested_by' as by from audit_log
        where workspace_id = 'abc123' and details->>'bulk_grant_id' = any($1) order by audit_id`,
      [[ours, other]],
    );
    assert.deepEqual(
      audited.map(({ action, actor, by }) => [action, actor, by]),
      [
        ['bulk_grant_awaiting_approval', 'Ada Agent', null],
        ['bulk_grant_withdrawn', 'Ada Agent', null],
        ['bulk_grant_awaiting_approval', 'Bob', null],
        ['bulk_grant_declined', 'Ada Agent', 'Bob'],
      ],
    );
    const log = (await browser.get('/settings/audit?about=grants')).text;
    assert.match(log, /Declined a grant to many/);
    assert.match(log, /Withdrew a grant to many/);
  });

  it('is neither continued nor undone by who may not grant, and anyone may pause it', async () => {
    const { bob, token } = await signInBob();
    const { id } = await draft({ customers: 'one' });
    await send('/start', { id }).expect(303);
    await setRules({ who: 'selected', people: 'abc123-admin' });
    await send('/pause', { id }, bob, token).expect(303);
    for (const [path, fields] of [
      ['/resume', { id }],
      ['/undo', { id, confirmed: 'yes' }],
    ] as const) {
      assert.match((await send(path, fields, bob, token).expect(422)).text, /do not allow you to grant/);
      assert.equal(await stateOf(id), 'paused');
    }
    await setRules({ who: 'everyone' });
    await send('/undo', { id, confirmed: 'yes' }, bob, token).expect(303);
    const { text } = await browser.get(`/settings/grants/many?id=${id}`).expect(200);
    assert.match(text, /Requested by Ada Agent on [^<]+, undone by Bob\./);
  });

  it('is checked again when it is started: the rules may have changed', async () => {
    const { id } = await draft({ customers: 'later', duration: 'yearly' });
    await setRules({ longest_days: '31' });
    const { text } = await send('/start', { id }).expect(422);
    assert.match(text, /longer than the rules for grants allow/);
    assert.equal(await stateOf(id), 'draft');
    await setRules({});
  });

  it('says how long a reason can be', async () => {
    const { text } = await send('', { ...terms, customers: 'a', reason: 'x'.repeat(1_001) }).expect(422);
    assert.match(text, /The reason can have at most 1000 characters/);
  });

  it('shows nothing of another workspace', async () => {
    await browser.get(`/settings/grants/many?id=${randomUUID()}`).expect(404);
  });

  it('knows the entitlements of a project that was just connected', async () => {
    const admin = await site.signedIn('other1');
    const form = () => admin.get('/settings/grants/many').expect(200);
    assert.match((await form()).text, /Connect RevenueCat first/);
    const { app, revenueCat } = site;
    const { id } = revenueCat.addProject({ id: 'projnew', name: 'New app' });
    revenueCat.addEntitlement(id, 'gold', 'Gold');
    const connect = (apiKey: string) =>
      connectProject(
        { ...app, publicUrl: app.config.publicUrl },
        { workspaceId: 'other1', revenueCatProjectId: id, apiKey, name: null },
      );
    await connect(revenueCat.issueKey(id, ['project_configuration:projects:read']));
    assert.match((await form()).text, /No entitlement is known.*let the .*API key.* read the project/s);
    const token = csrfIn((await admin.get('/settings/card')).text);
    const refused = await send('', { ...terms, customers: 'a' }, admin, token).expect(422);
    assert.match(refused.text, /No entitlement is known. Create one in RevenueCat/);
    await connect(revenueCat.issueKey(id));
    assert.match((await form()).text, />Gold</);
  });
});
