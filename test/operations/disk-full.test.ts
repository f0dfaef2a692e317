import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { createLogger } from '../../src/logger.ts';
import { DAY_MS } from '../../src/time.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';

/** Fails writes with the state that PostgreSQL has for a full disk: "disk_full" (appendix A of its manual). */
const FILL_DISK = `
create function disk_is_full() returns trigger language plpgsql as $$
begin
  raise exception 'could not extend file "base/1/2": No space left on device' using errcode = '53100';
end $$;
create trigger full_journal before insert on webhooks for each row execute function disk_is_full();
create trigger full_log before insert on delivery_attempts for each row execute function disk_is_full()`;
const FREE_DISK = `drop function disk_is_full() cascade`;

describe('a full disk', () => {
  let product: Product;
  let log = '';
  before(async () => {
    const destination = {
      write(text: string) {
        log += text;
      },
    };
    product = await createProduct({ logger: createLogger('warn', destination) });
    for (const name of ['one', 'two'])
      product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: name });
  });
  after(() => product?.close());

  const receive = (name: string) => {
    const nowMs = Date.now();
    return fetch(product.webhook.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: product.webhook.authorization },
      body: JSON.stringify({
        event: eventBody({
          id: `disk-${name}`,
          app_user_id: name,
          original_app_user_id: name,
          aliases: [name],
          transaction_id: `t-${name}`,
          original_transaction_id: `t-${name}`,
          event_timestamp_ms: nowMs - DAY_MS,
          purchased_at_ms: nowMs - DAY_MS,
          expiration_at_ms: nowMs + 29 * DAY_MS,
        }),
      }),
    });
  };
  const onContacts = () => product.intercom.state.events.map((event) => event.metadata.event_id);

  test('webhooks get a 503, nothing is stored partly, and all continues when there is room', async () => {
    await product.db.database.query(FILL_DISK);
    const answer = await receive('one');
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
    assert.equal(((await answer.json()) as { error: { code: string } }).error.code, 'database_unavailable');
    const stored = await product.db.database.query(
      `select 1 from webhooks where workspace_id = $1 union all select 1 from subscribers where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    assert.deepEqual(stored, []);
    assert.equal((await fetch(`${product.server.url}/readyz`)).status, 200, 'what only reads still works');
    assert.equal((await receive('one')).status, 503);
    assert.equal(log.match(/"level":"error".*"msg":"database unavailable: requests get 503"/g)?.length, 1);
    assert.doesNotMatch(log, /request failed/);

    await product.db.database.query(FREE_DISK);
    assert.deepEqual(await (await receive('one')).json(), { status: 'accepted' });
    await until(() => onContacts().includes('disk-one'), 'the event to be on its contact');
  });

  test('a database that takes no writes, as after a failover, is reported as such', async () => {
    const { url } = product.server;
    const admin = new pg.Client({ connectionString: product.db.url });
    await admin.connect();
    await admin.query('set default_transaction_read_only = off');
    const setReadOnly = async (value: 'on' | 'off'): Promise<void> => {
      const name = new URL(product.db.url).pathname.slice(1);
      await admin.query(`alter database ${name} set default_transaction_read_only = ${value}`);
      await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()`,
      );
    };
    const isReported = async (status: string, up: 0 | 1): Promise<boolean> => {
      const ready = await (await fetch(`${url}/readyz`)).json();
      const metrics = await (await fetch(`${url}/metrics`)).text();
      return (
        (ready as { status?: string }).status === status &&
        metrics.includes(`\nsubscription_timeline_database_up ${up}\n`)
      );
    };
    await until(() => isReported('ready', 1), 'the database to be ready');
    await setReadOnly('on');
    await until(() => isReported('read-only', 0), 'the state to be reported');
    assert.equal((await receive('one')).status, 503);
    await setReadOnly('off');
    await until(() => isReported('ready', 1), 'the database to be ready again');
    await admin.end();
  });

  test('an event whose delivery could not be recorded is on the contact once', async () => {
    await product.db.database.query(FILL_DISK.replace(/^create trigger full_journal.*$/m, ''));
    assert.equal((await receive('two')).status, 200);
    const subscriberId = async () => {
      const [row] = await product.db.database.query<{ subscriber_id: string }>(
        `select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = 'two'`,
        [WORKSPACE_ID],
      );
      return row?.subscriber_id;
    };
    await until(async () => (await subscriberId()) !== undefined, 'the webhook to be interpreted');
    const stopped = new RegExp(`"level":"warn".*${await subscriberId()}.*delivery interrupted: the database`);
    await until(() => stopped.test(log), 'the worker to fail to write');
    assert.ok(onContacts().includes('disk-two'), 'it was sent all the same');
    await product.db.database.query(FREE_DISK);
    await until(
      async () => {
        const [event] = await product.db.database.query<{ delivery: string }>(
          `select delivery from ${EVENT_STATES} where workspace_id = $1 and event_id = 'disk-two'`,
          [WORKSPACE_ID],
        );
        return event?.delivery === 'delivered';
      },
      'the delivery to be written down, once the lease has run out',
      40_000,
    );
    assert.equal(onContacts().filter((id) => id === 'disk-two').length, 1);
  });
});
