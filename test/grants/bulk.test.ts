import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Command } from 'commander';
import { parseCustomerList } from '../../src/grants/bulk/bulk-grants.ts';
import { addGrantCommand } from '../../src/grants/bulk/command.ts';
import { DAY_MS } from '../../src/time.ts';
import { type Running, runCommandHere, startCommand } from '../support/process.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { callsFor, give, grantsAt, onGranting, setPolicy, threeMinutesAgo } from './support.ts';

/** `BULK_TEST_CUSTOMERS=5000` is as many as in a large outage. */
const CUSTOMERS = Number(process.env.BULK_TEST_CUSTOMERS ?? 48);
const KILLS = 2;
/** Time limit until a command has granted something: a busy machine takes 20 s to start a process. */
const START_MS = 60_000;
/** Allows for ten customers a second, on a busy machine. */
const LONG = { timeout: 90_000 + CUSTOMERS * 100 };

test('a list may be pasted or be the first column of a CSV; each id counts once', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['a\nb\n\na\n', ['a', 'b']],
    ['app_user_id,name\r\n"a",Ann\r\nb,Bob\r\n', ['a', 'b']],
    ['  a ;x\n$RCAnonymousID:1\t2', ['a', '$RCAnonymousID:1']],
    ['\n \n', []],
    ['App User ID\n"a,b",1\n"say ""hi""" ;2\n"open', ['a,b', 'say "hi"', '"open']],
    ['id,note\r\na,"one\r\nx, ""two""\n\ny",1\r\n"b";"open\nc,"" shut"\nd', ['a', 'b', 'd']],
    ['id\n"a\nb"\n"c', ['a\nb', '"c']],
    ["app_user_id,result\n'+49151,failed\n'=1,failed\n'quoted'", ['+49151', '=1', "'quoted'"]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseCustomerList(text), expected);
});

test('reading a list takes little time, whatever it consists of', () => {
  const size = 8 * 1024 * 1024;
  for (const [text, ids] of [
    [`a${'\n'.repeat(size)}b`, 2],
    [`a${'\r\n \t'.repeat(size / 4)}`, 1],
    [Array.from({ length: 1_000_000 }, (_, index) => `u${index}`).join('\n'), 100_001],
    [`"a${'\nb'.repeat(size / 16)}`, 2],
    [`a,${'"\n'.repeat(size / 16)}`, 1],
    [`a${',"'.repeat(size / 2)}`, 1],
    [`"${'""'.repeat(size / 2)}`, 1],
    [`a${','.repeat(size)}`, 1],
  ] as const) {
    const before = process.cpuUsage();
    assert.equal(parseCustomerList(text).length, ids);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 2_000_000, `${user} µs`);
  }
});

describe('one grant for many customers', () => {
  let product: Product;
  let folder: string;
  const ids = Array.from({ length: CUSTOMERS }, (_, index) => `many_${String(index).padStart(5, '0')}`);
  const earlier = ids.slice(0, 5);
  const late = Array.from({ length: 12 }, (_, index) => `late_${String(index).padStart(2, '0')}`);
  const file = () => join(folder, 'customers.csv');

  before(async () => {
    // The server runs no workers: only the commands do the work, and they can be killed.
    product = await createProduct({ environment: { ROLE: 'web' } });
    folder = await mkdtemp(join(tmpdir(), 'bulk-grant-'));
    const { database } = product.server.connected;
    product.revenueCat.state.grantWebhookDelayMs = null;
    for (const id of [...ids, ...late]) product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id });
    for (const id of earlier) give(product, id, { endsAtMs: Date.now() + 3 * DAY_MS });
    await database.query(
      `with made as (
         insert into subscribers (workspace_id, project_id, subscriber_id)
         select $1, p.project_id, gen_random_uuid() from projects p, generate_series(1, $2)
          where p.workspace_id = $1 returning subscriber_id, project_id),
       numbered as (select *, row_number() over () as n from made)
       insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select $1, m.project_id, i.id, m.subscriber_id
         from numbered m join unnest($3::text[]) with ordinality as i (id, n) on i.n = m.n`,
      [WORKSPACE_ID, CUSTOMERS + late.length, [...ids, ...late]],
    );
    const [entitlement] = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID)?.entitlements ?? [];
    await database.query(
      `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
       select $1, project_id, 'entitlement', $2, 'pro', 'Pro' from projects where workspace_id = $1
       on conflict do nothing`,
      [WORKSPACE_ID, entitlement?.id],
    );
    await writeFile(file(), ['app_user_id', ...ids, 'unknown_customer'].join('\n'));
    await setPolicy(product, { bulkSecondPersonAbove: null });
  });
  after(async () => {
    await product?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const start = (args: readonly string[]): Running =>
    startCommand(['grant', '--workspace', WORKSPACE_ID, '--json', ...args], product.environment);

  /** Runs the command in this process. The test that kills processes covers how they start and end. */
  async function run(args: readonly string[]): Promise<Record<string, unknown>> {
    const given = ['grant', '--workspace', WORKSPACE_ID, '--json', ...args];
    const { stdout } = await runCommandHere(addGrantCommand, given, product.environment);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  const flags = () => [
    '--file',
    file(),
    '--entitlement',
    'pro',
    '--duration',
    'weekly',
    '--reason',
    'Outage',
  ];

  const finished = async (state: string): Promise<number> => {
    const rows = await product.server.connected.database.query<{ n: string }>(
      `select count(*) as n from bulk_grant_customers where workspace_id = $1 and state = $2`,
      [WORKSPACE_ID, state],
    );
    return Number(rows[0]?.n);
  };

  test('a list that cannot be read is refused in one line', async () => {
    const environment = { ...product.environment, DATA_DIR: folder };
    const given = (list: string) => ['grant', '--workspace', WORKSPACE_ID, '--file', list];
    await assert.rejects(runCommandHere(addGrantCommand, given(folder), environment), {
      name: 'AppError',
      message: `--file ${folder} cannot be read: EISDIR`,
    });
    const unicode = join(folder, 'unicode.txt');
    await writeFile(unicode, 'user-1\nuser-2\n', 'utf16le');
    await assert.rejects(runCommandHere(addGrantCommand, given(unicode), environment), {
      name: 'AppError',
      message: `--file ${unicode} is not text in UTF-8: save it as CSV UTF-8`,
    });
  });

  for (const [id, other] of [
    ['--resume <id>', '--undo <id>'],
    ['--resume <id>', '--dry-run'],
    ['--undo <id>', '--dry-run'],
    ['--undo <id>', '--file <path>'],
  ] as const)
    test(`${id} is refused together with ${other}: one of them would be ignored`, async () => {
      const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
      addGrantCommand(program);
      const args = ['grant', '--workspace', WORKSPACE_ID, ...id.split(' '), ...other.split(' ')];
      await assert.rejects(program.parseAsync(args, { from: 'user' }), {
        exitCode: 1,
        message: `error: option '${id}' cannot be used with option '${other}'`,
      });
    });

  test('a dry run counts, shows ten, and grants nothing', async () => {
    const dry = await run([...flags(), '--dry-run']);
    assert.deepEqual([dry.state, dry.total, dry.left_out], ['draft', CUSTOMERS + 1, 0]);
    assert.deepEqual(dry.examples, ids.slice(0, 10));
    assert.deepEqual(dry.errors, { not_imported: 1 });
    assert.equal(product.revenueCat.state.grantRequests.length, 0);
    await product.server.connected.database.query(
      `delete from bulk_grant_customers where workspace_id = $1`,
      [WORKSPACE_ID],
    );
  });

  test('killed and resumed: every customer gets exactly one grant', LONG, async (t) => {
    const startedAtMs = Date.now();
    let working = start(flags());
    const [first] = await until(
      async () => {
        const rows = await product.server.connected.database.query<{ id: string }>(
          `select bulk_grant_id as id from bulk_grants where workspace_id = $1 and state = 'running'`,
          [WORKSPACE_ID],
        );
        return rows.length > 0 && rows;
      },
      'the grant to be running',
      START_MS,
    );
    const id = first?.id ?? '';
    for (let kill = 1; kill <= KILLS; kill += 1) {
      await until(
        async () => (await finished('granted')) >= (CUSTOMERS * kill) / (KILLS + 2),
        `part ${kill} of the grants`,
        LONG.timeout,
      );
      working.child.kill('SIGKILL');
      const { stderr } = await working.ended;
      if (kill === 1) assert.match(stderr, new RegExp(`^Grant ${id}$`, 'm'), 'to resume it');
      // The killed process's claims expire after a minute; the test does not wait for that.
      await product.server.connected.database.query(
        `update bulk_grant_customers set claimed_until = null where workspace_id = $1 and state = 'pending'`,
        [WORKSPACE_ID],
      );
      // After two minutes, RevenueCat can no longer be working on the killed process's calls.
      await product.server.connected.database.query(
        `update actions set called_at = $2
          where workspace_id = $1 and state = 'requested'`,
        [WORKSPACE_ID, threeMinutesAgo()],
      );
      if (kill < KILLS) working = start(['--resume', id]);
    }
    const args = ['grant', '--workspace', WORKSPACE_ID, '--json', '--resume', id];
    const { code, stdout } = await runCommandHere(addGrantCommand, args, product.environment);
    assert.equal(code, 1, 'one customer failed');
    const result = JSON.parse(stdout);
    const seconds = (Date.now() - startedAtMs) / 1_000;
    t.diagnostic(`${CUSTOMERS} customers in ${seconds.toFixed(0)} s, ${(CUSTOMERS / seconds).toFixed(1)}/s`);
    assert.deepEqual(
      [result.state, result.granted, result.failed, result.pending, result.errors],
      ['done', CUSTOMERS, 1, undefined, { not_imported: 1 }],
    );
    const requests = new Map<string, number>();
    for (const { customerId } of product.revenueCat.state.grantRequests)
      requests.set(customerId, (requests.get(customerId) ?? 0) + 1);
    assert.deepEqual(
      ids.filter((each) => requests.get(each) !== 1),
      [],
      'RevenueCat was called once for each',
    );
    const [anyone] = grantsAt(product, ids.at(-1) ?? '');
    assert.ok(Math.abs((anyone?.endsAtMs ?? 0) - Date.now() - 7 * DAY_MS) < 10 * 60_000);
    const [added] = grantsAt(product, earlier[0] ?? '')
      .map(({ endsAtMs }) => endsAtMs ?? 0)
      .sort((a, b) => b - a);
    assert.ok(Math.abs((added ?? 0) - Date.now() - 10 * DAY_MS) < 10 * 60_000, 'after what the customer had');
    // An attempt that RevenueCat certainly did not carry out has an audit record too, and the next attempt its own key.
    const audit = await product.server.connected.database.query<{ action: string; n: string }>(
      `select action, count(*) as n from audit_log
        where workspace_id = $1 and action like '%grant%' and (action <> 'grant' or result = 'confirmed')
        group by action order by action`,
      [WORKSPACE_ID],
    );
    assert.deepEqual(
      audit.map(({ action, n }) => [action, Number(n)]),
      [
        ['bulk_grant_done', 1],
        ['bulk_grant_running', 1],
        ['grant', CUSTOMERS],
      ],
    );
  });

  test('undone: no grant is left, and what was granted before stays', LONG, async () => {
    const [bulk] = await product.server.connected.database.query<{ id: string }>(
      `select bulk_grant_id as id from bulk_grants where workspace_id = $1 and state = 'done'`,
      [WORKSPACE_ID],
    );
    const result = await run(['--undo', bulk?.id ?? '']);
    assert.deepEqual([result.state, result.undone, result.granted], ['undone', CUSTOMERS, undefined]);
    const left = ids.filter((id) => grantsAt(product, id).length > 0);
    assert.deepEqual(left, earlier);
    for (const id of earlier) {
      const [grant] = grantsAt(product, id);
      assert.ok(Math.abs((grant?.endsAtMs ?? 0) - Date.now() - 3 * DAY_MS) < 10 * 60_000);
    }
  });

  test('undone while it runs, a grant whose answer was lost is removed too', async () => {
    const { database } = product.server.connected;
    const [lost = ''] = late;
    await writeFile(join(folder, 'late.csv'), late.join('\n'));
    product.revenueCat.faults.add({ ...onGranting(lost), drop: 'after', times: 1 });
    const working = start(['--file', join(folder, 'late.csv'), ...flags().slice(2)]);
    const [row] = await until(
      async () => {
        const rows = await database.query<{ id: string; granted: string }>(
          `select b.bulk_grant_id as id, count(*) as granted from bulk_grants b
             join bulk_grant_customers c using (workspace_id, bulk_grant_id)
            where b.workspace_id = $1 and b.state = 'running' and c.state = 'granted' group by b.bulk_grant_id`,
          [WORKSPACE_ID],
        );
        return Number(rows[0]?.granted) >= late.length - 1 && rows;
      },
      'all but one to be granted',
      START_MS,
    );
    working.child.kill('SIGKILL');
    await working.ended;
    await database.query(`update bulk_grant_customers set claimed_until = null where workspace_id = $1`, [
      WORKSPACE_ID,
    ]);
    const result = await run(['--undo', row?.id ?? '']);
    assert.deepEqual([result.state, result.undone], ['undone', late.length]);
    assert.deepEqual(
      late.filter((id) => grantsAt(product, id).length > 0),
      [],
    );
    assert.equal(callsFor(product, lost), 1);
  });

  test('exit code 1 and the reasons in words when customers failed', async () => {
    const [, refused = ''] = late;
    const list = join(folder, 'refused.csv');
    await writeFile(list, ['stranger_1', 'stranger_2', refused].join('\n'));
    product.revenueCat.faults.add({ ...onGranting(refused), status: 422, times: 1 });
    const args = ['grant', '--workspace', WORKSPACE_ID, '--file', list, ...flags().slice(2)];
    const { code, stdout } = await runCommandHere(addGrantCommand, args, product.environment);
    assert.equal(code, 1);
    const [heading, state, ...reasons] = stdout.trimEnd().split('\n');
    assert.match(heading ?? '', /^Grant \S+$/);
    assert.equal(state, 'done: 3 failed');
    assert.match(reasons.sort()[1] ?? '', /^ {2}2 not_imported: .*cli backfill\.$/);
    assert.equal(reasons[0], '  1 revenuecat_rejected: RevenueCat refused this. Nothing was changed.');
    assert.equal(reasons.length, 2);
  });

  test('for more customers than the rules allow one admin it waits for a second person', async () => {
    await setPolicy(product, { bulkSecondPersonAbove: 10 });
    const result = await run(['--file', join(folder, 'late.csv'), ...flags().slice(2)]);
    assert.deepEqual([result.state, result.total], ['awaiting_approval', late.length]);
    assert.equal(product.revenueCat.state.grantRequests.length, CUSTOMERS + earlier.length + late.length);
  });
});
