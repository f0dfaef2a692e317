import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { storeInstallation } from '../../src/workspaces/repository.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import { createFleet, createLoad, type Fleet, type Process } from './fleet.ts';

/** Timeouts that a test can wait for, and a concurrency so low that the calls limit the speed, not the machine. */
const LOW_CONCURRENCY = { callTimeoutMs: 400, concurrency: 8 };

describe('faults, with real processes', () => {
  let fleet: Fleet;
  let servers: Pick<Process, 'url'>[] = [];
  /** Runs all roles. */
  let server: Process;
  /** Runs with `LOW_CONCURRENCY`. */
  let worker: Process;
  const urls = () => servers.map((server) => server.url);
  const taken = (name: string) =>
    fleet.intercom.state.events.filter((event) => event.externalId?.startsWith(`${name}-`)).length;

  /** Stops all deliveries until `release`. */
  const hold = () => fleet.database().query(`update workspaces set not_before = now() + interval '1 hour'`);
  const release = async (): Promise<void> => {
    await fleet.database().query('update workspaces set not_before = null');
    await fleet.database().query(`select pg_notify('delivery', $1)`, [WORKSPACE_ID]);
  };

  before(async () => {
    fleet = await createFleet();
  });
  after(() => fleet?.close());

  test('kill -9 of the web process after its 200, and of a processor in the middle of the backlog', async () => {
    const count = async (condition: string): Promise<number> => {
      const [row] = await fleet
        .database()
        .query<{ n: number }>(`select count(*)::int as n from webhooks where ${condition}`);
      return row?.n ?? 0;
    };
    const unprocessed = () => count('processed_at is null');
    const web = await fleet.start('web');
    const load = createLoad(fleet, 'backlog', 60, 5);
    await load.post(() => [web.url]);
    await web.kill();
    assert.equal(await unprocessed(), 300, 'everything was acknowledged, nothing processed');
    // A webhook that cannot be interpreted must not block those behind it.
    await fleet.database().query(
      `insert into webhooks (workspace_id, project_id, event_id, payload, sequence)
       overriding system value
       select workspace_id, project_id, 'poison', '{"event":[]}', sequence
         from webhooks order by sequence offset 260 limit 1`,
    );
    const held = await fleet.database().transaction(async (sql) => {
      // This lock makes the last batch wait.
      await sql.query(`select from webhooks order by sequence desc limit 1 for update`);
      const first = await fleet.start('worker');
      await until(async () => (await unprocessed()) < 300, 'the first batch', 30_000);
      await first.kill();
      return unprocessed();
    });
    assert.ok(held > 0, 'it was the middle');
    server = await fleet.start('all');
    servers = [server];
    await load.verify(fleet);
    assert.equal(await count('error is not null'), 1);
  });

  test('kill -9 of the server in the middle of 150 webhooks', async () => {
    const load = createLoad(fleet, 'killed', 30, 5);
    const posting = load.post(urls);
    await until(() => load.answered() >= 50, 'the middle');
    await server.kill();
    servers = [];
    [servers[0], worker] = await Promise.all([fleet.startWebHere(), fleet.start(LOW_CONCURRENCY)]);
    await posting;
    assert.equal(load.answered(), 150);
    await load.verify(fleet);
  });

  test('PostgreSQL crashes and is started again', async () => {
    const load = createLoad(fleet, 'crashed', 30, 5);
    const posting = load.post(urls);
    await until(() => load.answered() >= 50, 'the middle');
    await fleet.crashDatabase(async () => {
      const [url] = urls();
      const answer = await fetch(`${url}/readyz`);
      assert.equal(answer.status, 503);
      assert.ok(answer.headers.get('retry-after'));
    });
    await posting;
    await load.verify(fleet);
  });

  test('connections that are cut before and after Intercom has taken the event', async () => {
    const { faults, state } = fleet.intercom;
    const duplicates = state.duplicateEvents;
    faults.add({ pathPrefix: '/events', drop: 'after', share: 0.5, times: 10 });
    faults.add({ pathPrefix: '/events', drop: 'before', share: 0.5, times: 5 });
    const load = createLoad(fleet, 'cut', 20, 4);
    await load.post(urls);
    await load.verify(fleet);
    assert.ok(state.duplicateEvents - duplicates >= 5, 'events were sent again that Intercom had');
    faults.clear();
  });

  test('kill -9 of the only worker in the middle of delivering', async () => {
    const load = createLoad(fleet, 'taken-over', 60, 5);
    await hold();
    await load.post(urls);
    const off = fleet.intercom.faults.add({ latencyMs: 20 });
    await release();
    await until(() => taken('taken-over') >= 60, 'the middle');
    await worker.kill();
    assert.ok(taken('taken-over') < 300, 'it was the middle');
    off();
    // Leases end with the process that held them: by time, these would not end during the test.
    const [held] = await fleet.database().query<{ owner: string }>(
      `update subscribers set lease_until = now() + interval '1 hour'
        where workspace_id = $1 and lease_owner is not null returning lease_owner as owner`,
      [WORKSPACE_ID],
    );
    assert.ok(held, 'the killed worker held leases');
    await fleet.start(LOW_CONCURRENCY);
    await load.verify(fleet);
  });

  test('Intercom answers 500, resets, is silent, refuses the token, and says 429', async () => {
    const { faults } = fleet.intercom;
    const load = createLoad(fleet, 'ill', 12, 4);
    faults.add({ status: 500, times: 6 });
    faults.add({ drop: 'before', times: 6 });
    faults.add({ hangS: 30, times: 3 });
    await load.post(urls);
    await until(() => faults.list().length === 0, 'the faults to be met');
    faults.add({ status: 429, times: 2 });
    const second = createLoad(fleet, 'refused', 8, 3);
    const off = faults.add({ token: 'revoked' });
    await second.post(urls);
    const status = async () => {
      const [row] = await fleet
        .database()
        .query<{ status: string }>('select status from workspaces where workspace_id = $1', [WORKSPACE_ID]);
      return row?.status;
    };
    await until(async () => (await status()) === 'disconnected', 'the disconnection', 40_000);
    off();
    const token = fleet.intercom.issueToken(WORKSPACE_ID);
    await storeInstallation(fleet.database(), {
      workspaceId: WORKSPACE_ID,
      name: 'Fleet',
      region: 'US',
      timezone: 'UTC',
      identityVerification: null,
      accessToken: fleet.secrets.encrypt(token, secretLocation.accessToken(WORKSPACE_ID)),
    });
    await load.verify(fleet);
    await second.verify(fleet);
    const met = new Set(faults.requests().map((request) => request.status));
    for (const status of [null, 401, 429, 500]) assert.ok(met.has(status), `met ${status}`);
  });

  test('two servers and two workers share the work, and double nothing', async () => {
    servers.push(await fleet.startWebHere());
    await fleet.start(LOW_CONCURRENCY);
    const load = createLoad(fleet, 'shared', 96, 2);
    await hold();
    await load.post(urls);
    const off = fleet.intercom.faults.add({ latencyMs: 120 });
    await release();
    await until(async () => {
      const [row] = await fleet.database().query<{ workers: number }>(
        `select count(distinct lease_owner)::integer as workers from subscribers
          where workspace_id = $1 and lease_until > now()`,
        [WORKSPACE_ID],
      );
      return row?.workers === 2;
    }, 'both workers to deliver at the same time');
    await load.verify(fleet);
    off();
  });
});
