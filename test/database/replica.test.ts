import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg, { type QueryResultRow } from 'pg';
import { migrate, openDatabase } from '../../src/database/data-source.ts';
import { openReadDatabase } from '../../src/database/replica.ts';
import type { Database } from '../../src/database/sql.ts';
import { ACTIONS, runAction } from '../../src/simulator/demo/actions.ts';
import type { Canvas } from '../../src/simulator/intercom/canvas-rules.ts';
import { customerFromStory, purchaseStory } from '../../src/simulator/revenuecat/scenarios.ts';
import { type Customer, findProject } from '../../src/simulator/revenuecat/state.ts';
import { send } from '../inbox-card/support.ts';
import { makeDatabaseFolder } from '../support/folder.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { logger, WORKSPACE_ID } from '../support/world.ts';
import { type Cluster, copyCluster, removeCluster, startCluster } from './standby.ts';

describe('cards and pages from a streaming replica', () => {
  let folder: string;
  let primary: Cluster;
  let replica: Cluster;
  let product: Product;
  let customer: Customer;
  let card: { adminId: string; conversationId: string; contactId: string };

  before(async () => {
    folder = await makeDatabaseFolder('replica');
    primary = await startCluster(join(folder, 'primary'));
    await copyCluster(primary, join(folder, 'replica'), { standby: true });
    replica = await startCluster(join(folder, 'replica'));
    const open = await openDatabase({ url: primary.url, logger, poolSize: 10 });
    await migrate(open.dataSource);
    product = await createProduct({
      db: { ...open, url: primary.url },
      environment: { DATABASE_READ_URL: replica.url },
    });
    const contact = product.intercom.addContact(WORKSPACE_ID, { role: 'user', externalId: 'user-1' });
    const conversation = product.intercom.addConversation(WORKSPACE_ID, {
      contactIds: [contact.id],
      body: '<p>Hello</p>',
    });
    card = { adminId: '7001', conversationId: conversation.id, contactId: contact.id };
    const story = purchaseStory('active_monthly', { appUserId: 'user-1', nowMs: Date.now() });
    customer = customerFromStory(product.revenueCat.state, REVENUECAT_PROJECT_ID, story);
    for (const event of story.events) await send(product, event);
    await standing(true);
  });

  after(async () => {
    await product?.close();
    await replica?.kill();
    await primary?.kill();
    await removeCluster(folder);
  });

  const standing = (inUse: boolean) =>
    until(
      () => product.server.connected.readDatabase.replica()?.inUse === inUse,
      `the replica to be ${inUse ? 'used' : 'left'}`,
    );

  async function onReplica(sql: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: replica.superuserUrl });
    await client.connect();
    const { rows } = await client.query(sql);
    await client.end();
    return rows;
  }

  async function opened(): Promise<string> {
    const answer = await product.card({ flow: 'initialize', ...card });
    assert.deepEqual([answer.status, answer.problems], [200, []]);
    return JSON.stringify(answer.canvas);
  }

  async function press(canvas: Canvas | null, componentId: string, inputValues = {}): Promise<Canvas> {
    assert.ok(canvas);
    const answer = await product.card({
      flow: 'submit',
      ...card,
      componentId,
      currentCanvas: canvas,
      inputValues,
    });
    assert.deepEqual([answer.status, answer.problems], [200, []]);
    assert.ok(answer.canvas);
    return answer.canvas;
  }

  test('a card is read from the replica', async () => {
    // Several in parallel, so that one of their statements is the last one that some connection ran.
    await until(async () => {
      for (const shown of await Promise.all(Array.from({ length: 8 }, opened)))
        assert.match(shown, /Next charge/);
      const [row] = await onReplica(
        `select count(*)::int as n from pg_stat_activity
          where application_name = 'subscription-timeline-read' and query like '%json_agg%'`,
      );
      return Number(row?.n) > 0;
    }, 'a card’s statement on the replica');
  });

  test('a grant is on every card immediately, although the replica had just stopped following', async () => {
    const overview = (await product.card({ flow: 'initialize', ...card })).canvas;
    const form = await press(overview, 'grant');
    const review = await press(form, 'grant.review', {
      'grant.duration': 'monthly',
      'grant.reason': 'A goodwill month',
    });
    // On a busy machine, the replica may have lagged just before, and not be in use.
    await standing(true);
    await onReplica('select pg_wal_replay_pause()');
    await press(review, 'grant.confirm');
    assert.match(await opened(), /[Gg]ranted/);
    assert.equal(product.server.connected.readDatabase.replica()?.inUse, false);
  });

  test('a replica that lags is left, and used again when it has caught up', async () => {
    const cancel = ACTIONS.find((action) => action.id === 'cancel');
    const cancelled =
      cancel &&
      runAction(
        findProject(product.revenueCat.state, REVENUECAT_PROJECT_ID),
        customer,
        cancel,
        Date.now(),
      )[0];
    assert.ok(cancelled);
    await send(product, cancelled);
    await standing(false);
    assert.match(await opened(), /[Cc]ancelled/);
    await onReplica('select pg_wal_replay_resume()');
    await standing(true);
    assert.match(await opened(), /[Cc]ancelled/);
  });

  test('after a failover to a server whose log is shorter, its replica is used', async (t) => {
    const { database } = product.server.connected;
    let isOld = true;
    const primaryOf: Pick<Database, 'query'> = {
      async query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]) {
        const rows = await database.query<Row>(text, values);
        const ahead = (row: Row) => ({ ...row, position: String(BigInt(row.position) + 1_000_000_000n) });
        return isOld ? rows.map(ahead) : rows;
      },
    };
    const read = openReadDatabase({
      primary: { ...database, ...primaryOf },
      replicaUrl: replica.url,
      poolSize: 2,
      logger,
    });
    t.after(() => read.close());
    await until(() => (read.database.replica()?.lagMs ?? 0) > 500, 'the replica to be too far behind');
    isOld = false;
    await until(() => read.database.replica()?.inUse === true, 'the replica to be used');
  });

  test('no card fails while the replica dies and comes back', async () => {
    let stop = false;
    let cards = 0;
    const watching = (async () => {
      for (; !stop; cards += 1) assert.match(await opened(), /[Cc]ancelled/);
    })();
    const twoMore = (): Promise<unknown> => {
      const wanted = cards + 2;
      return Promise.race([watching, until(() => cards >= wanted, 'two more cards')]);
    };
    await replica.kill();
    await twoMore();
    await standing(false);
    await twoMore();
    replica = await startCluster(replica.dataDir);
    await twoMore();
    await standing(true);
    await twoMore();
    stop = true;
    await watching;
  });

  test('while the primary is unavailable, cards still open from the replica', async () => {
    await primary.kill();
    assert.match(await opened(), /[Cc]ancelled/);
    primary = await startCluster(primary.dataDir);
    await until(async () => (await fetch(`${product.server.url}/readyz`)).ok, 'the primary');
  });
});
