import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { confirmAction } from '../../src/grants/confirmation.ts';
import { sendNotes } from '../../src/grants/notes.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { idsOn, type OpenCard, openAgain } from '../inbox-card/support.ts';
import { createTestContext } from '../support/app-context.ts';
import { startServerProcess } from '../support/process.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { WORKSPACE_ID } from '../support/world.ts';
import {
  audited,
  callsFor,
  contextOf,
  give,
  grantIdOn,
  grantOf,
  grantsAt,
  noteIn,
  notesIn,
  onGranting,
  openCustomer,
  pathOf,
  review,
  stored,
  threeMinutesAgo,
} from './support.ts';

let product: Product;

before(async () => {
  product = await createProduct();
});
after(() => product?.close());
const settledState = (appUserId: string, state: string) =>
  until(async () => (await stored(product, appUserId))[0]?.state === state, `the grant to be ${state}`);

// These tests mostly wait: before the result is read back, and before the note is retried. More of them in parallel
// would miss the card's deadline on a busy machine.
describe('what is retried', () => {
  describe('RevenueCat responds late, not at all, or with an error', { concurrency: 2 }, () => {
    test('the response is lost after the grant was made: it is read back, and made once', async () => {
      const card = await openCustomer(product);
      product.revenueCat.faults.add({ ...onGranting(card.appUserId), drop: 'after', times: 1 });
      const pending = await (await review(card)).press('grant.confirm');
      assert.match(pending.text, /Not confirmed yet by RevenueCat\./);
      assert.doesNotMatch(pending.text, /✅/);
      await settledState(card.appUserId, 'confirmed');
      assert.equal(callsFor(product, card.appUserId), 1);
      assert.match((await pending.press(`grant:${grantIdOn(pending)}`)).text, /✅ Pro is granted until/);
      await noteIn(product, card, /Granted Pro until/);
      assert.equal(notesIn(product, card).length, 1);
      assert.deepEqual(
        (await audited(product, card.appUserId)).map(({ result }) => result),
        ['confirmed'],
      );
    });

    test('reading the result back takes longer than an agent waits: the background waits for it', async () => {
      const card = await openCustomer(product);
      const checked = await review(card);
      product.revenueCat.faults.add({ ...onGranting(card.appUserId), drop: 'after', times: 1 });
      const pending = await checked.press('grant.confirm');
      assert.match(pending.text, /Not confirmed yet/);
      product.revenueCat.faults.add({ pathPrefix: pathOf(card.appUserId), method: 'GET', latencyMs: 3_500 });
      await settledState(card.appUserId, 'confirmed');
      assert.equal(callsFor(product, card.appUserId), 1);
    });

    test('slower than an agent waits: the card answers in time, and a second press calls nothing', async () => {
      const card = await openCustomer(product);
      const { grantTimings } = product.revenueCat.state;
      grantTimings.set(card.appUserId, { madeAfterMs: 7_500, answeredAfterMs: 8_000 });
      const checked = await review(card);
      // Opened before the press: on a busy machine, opening it can take longer than RevenueCat's response.
      const other = await review(await openAgain(product, card));
      const pressed = checked.press('grant.confirm');
      await until(async () => (await stored(product, card.appUserId)).length === 1, 'the grant to be stored');
      // Together, while the first press waits: in sequence, the second would only start after RevenueCat's response.
      const [pending, again, elsewhere] = await Promise.all([
        pressed,
        checked.press('grant.confirm'),
        other.press('grant.confirm'),
      ]);
      for (const { text, answer } of [pending, again]) {
        assert.match(text, /Not confirmed yet/);
        assert.ok(answer.durationMs < 7_500, `${answer.durationMs} ms, when it was not made yet`);
      }
      assert.match(elsewhere.text, /Another grant or removal of this entitlement is not confirmed yet/);
      await settledState(card.appUserId, 'confirmed');
      assert.equal(callsFor(product, card.appUserId), 1);
      assert.equal(grantsAt(product, card.appUserId).length, 1);
    });

    test('500 without a grant: nothing is called again, and a note says so', async () => {
      const card = await openCustomer(product);
      product.revenueCat.faults.add({ ...onGranting(card.appUserId), status: 500, times: 1 });
      const pending = await (await review(card)).press('grant.confirm');
      assert.match(pending.text, /Not confirmed yet/);
      const grantId = grantIdOn(pending);
      // After two minutes, RevenueCat can no longer be working on it.
      await product.server.connected.database.query(
        `update actions set called_at = $2 where action_id::text = $1`,
        [grantId, threeMinutesAgo()],
      );
      await settledState(card.appUserId, 'failed');
      assert.equal(callsFor(product, card.appUserId), 0);
      assert.match((await pending.press(`grant:${grantId}`)).text, /does not respond\. Nothing was changed/);
      await noteIn(product, card, /The grant of Pro failed/);
      assert.deepEqual(
        (await audited(product, card.appUserId)).map(({ result }) => result),
        ['revenuecat_unavailable'],
      );
      assert.match((await grantOf(await openAgain(product, card))).text, /✅/, 'and it can be tried again');
    });

    test('an earlier grant does not confirm one that was never made', async () => {
      const card = await openCustomer(product);
      give(product, card.appUserId, { endsAtMs: Date.now() + 86_400_000 });
      give(product, card.appUserId, { store: 'app_store', endsAtMs: Date.now() + 86_400_000 * 9 });
      product.revenueCat.faults.add({ ...onGranting(card.appUserId), drop: 'before', times: 1 });
      const pending = await (await review(card)).press('grant.confirm');
      assert.match(pending.text, /Not confirmed yet/);
      await product.server.connected.database.query(
        `update actions set called_at = $2 where action_id::text = $1`,
        [grantIdOn(pending), threeMinutesAgo()],
      );
      await settledState(card.appUserId, 'failed');
    });

    test('unavailable before the call: nothing is stored, and the same button works later', async () => {
      const card = await openCustomer(product);
      const checked = await review(card);
      const off = product.revenueCat.faults.add({ pathPrefix: pathOf(card.appUserId), status: 503 });
      const refused = await checked.press('grant.confirm');
      assert.match(refused.text, /RevenueCat does not respond\. Nothing was changed/);
      assert.ok(idsOn(refused.canvas).includes('grant.confirm'));
      assert.deepEqual(await stored(product, card.appUserId), []);
      off();
      // On a busy machine the card may respond before RevenueCat does: pressing the same button again shows the result.
      await until(
        async () => /✅ Pro is granted/.test((await refused.press('grant.confirm')).text),
        'the grant to be confirmed',
      );
      assert.equal(callsFor(product, card.appUserId), 1);
    });

    test('unavailable at the review: it says how old the shown access is', async () => {
      const card = await openCustomer(product);
      const form = await card.press('grant');
      product.revenueCat.faults.add({ pathPrefix: pathOf(card.appUserId), latencyMs: 3_000 });
      const checked = await review(form);
      assert.match(checked.text, /RevenueCat does not respond: current access is as of/);
    });

    test('the grant cannot be read back for some time', async () => {
      const card = await openCustomer(product);
      const { grantTimings } = product.revenueCat.state;
      grantTimings.set(card.appUserId, { madeAfterMs: 1_500, answeredAfterMs: 0 });
      assert.match((await (await review(card)).press('grant.confirm')).text, /Not confirmed yet/);
      await settledState(card.appUserId, 'confirmed');
      assert.equal(callsFor(product, card.appUserId), 1);
    });
  });

  describe('a note is left once', { concurrency: 2 }, () => {
    const notes = (card: { conversationId: string }) => ({
      pathPrefix: `/conversations/${card.conversationId}/reply`,
      method: 'POST',
    });

    test('when Intercom stores it and the response is lost', async () => {
      const card = await openCustomer(product);
      product.intercom.faults.add({ ...notes(card), drop: 'after', times: 1 });
      await grantOf(card);
      await noteLeft(card.appUserId);
      assert.equal(notesIn(product, card).length, 1);
    });

    test('when Intercom fails or is rate-limited, and accepts it later', async () => {
      const card = await openCustomer(product);
      product.intercom.faults.add({ ...notes(card), status: 500, times: 1 });
      product.intercom.faults.add({ ...notes(card), status: 429, times: 1 });
      await grantOf(card);
      await noteLeft(card.appUserId);
      assert.equal(notesIn(product, card).length, 1);
    });

    test('when its process is killed, and its job is tried again before that is certain', async () => {
      const card = await openCustomer(product);
      await grantOf(card);
      await noteLeft(card.appUserId);
      const [{ action_id: actionId } = { action_id: '' }] = await stored(product, card.appUserId);
      const { database } = product.server.connected;
      const setAttempted = (secondsAgo: number) =>
        database.query(
          `update action_notes set state = 'sending', attempted_at = now() - make_interval(secs => $3)
            where workspace_id = $1 and action_id::text = $2`,
          [WORKSPACE_ID, actionId, secondsAgo],
        );
      const sent: unknown[] = [];
      const app = createTestContext(database, {
        secrets: product.server.secrets,
        config: { intercom: { apiUrl: product.environment.INTERCOM_API_URL ?? '' } },
        jobs: { send: async (name, data, options) => void sent.push({ name, data, ...options }) },
      });
      const key = { workspaceId: WORKSPACE_ID, actionId };
      await setAttempted(25);
      await sendNotes(app, key);
      assert.deepEqual(sent, [{ name: 'action.note', data: key, afterSeconds: 45 }]);
      await noteState(card.appUserId, 'sending');
      await setAttempted(50);
      await sendNotes(app, key);
      await noteLeft(card.appUserId);
      assert.equal(notesIn(product, card).length, 1);
    });

    test('when the conversation was deleted: the grant stays, and the card says so', async () => {
      const card = await openCustomer(product);
      const checked = await review(card);
      product.intercom.faults.add({ ...notes(card), status: 404 });
      const done = await checked.press('grant.confirm');
      await noteState(card.appUserId, 'failed');
      const shown = await (await openAgain(product, card)).press('grants');
      assert.match((await shown.press(`grant:${grantIdOn(done)}`)).text, /note could not be left/);
    });

    const noteState = (appUserId: string, state: string) =>
      until(async () => {
        const [row] = await product.server.connected.database.query<{ state: string }>(
          `select n.state from action_notes n join actions g using (workspace_id, action_id) where g.app_user_id = $1`,
          [appUserId],
        );
        return row?.state === state;
      }, `the note to be ${state}`);
    const noteLeft = (appUserId: string) => noteState(appUserId, 'sent');
  });
});

describe('RevenueCat', () => {
  test('keeps a later end: the card says that nothing was changed, and does not call the grant this teammate’s', async () => {
    const card = await openCustomer(product);
    const endsAtMs = Date.now() + 60 * 86_400_000;
    give(product, card.appUserId, { endsAtMs });
    const actionId = await storeRequested(card);
    await product.server.connected.database.query(
      `update actions set previous_end_at = to_timestamp($2 / 1000.0) where action_id = $1`,
      [actionId, endsAtMs],
    );
    await confirmAction(contextOf(product), { workspaceId: WORKSPACE_ID, actionId });
    const [row] = await stored(product, card.appUserId);
    assert.deepEqual(
      [row?.state, row?.unchanged, row?.actual_end_at?.getTime()],
      ['confirmed', true, endsAtMs],
    );
    const shown = await (await openAgain(product, card)).press('grants');
    const grant = await shown.press(`grant:${actionId}`);
    assert.match(grant.text, /RevenueCat kept the previous end/);
    assert.doesNotMatch(grant.text, /✅/);
    const opened = await (await grant.press('home')).press('refresh');
    assert.match(opened.text, /^Pro, granted until .+\. Not paying\.$/m);
    assert.equal((await opened.press('timeline')).text.match(/^Access granted/gm), null);
  });

  test('423: the customer is locked by another request; the card says that nothing was changed', async () => {
    const card = await openCustomer(product);
    product.revenueCat.faults.add({ ...onGranting(card.appUserId), status: 423, times: 1 });
    assert.match(
      (await grantOf(card)).text,
      /Another request is changing this customer in RevenueCat\. Nothing was changed\. Please try again/,
    );
    assert.match((await grantOf(await openAgain(product, card))).text, /✅ Pro is granted/);
  });

  test('423 while a review reads the customer: the card says so, and not that RevenueCat does not respond', async () => {
    const card = await openCustomer(product);
    product.revenueCat.faults.add({ pathPrefix: pathOf(card.appUserId), status: 423 });
    const { text } = await review(card);
    assert.match(text, /Another request is changing this customer in RevenueCat\./);
    assert.doesNotMatch(text, /does not respond/);
    product.revenueCat.faults.clear();
    assert.match((await grantOf(await openAgain(product, card))).text, /✅ Pro is granted/);
  });

  test('401 for a key that was replaced during the call: the new key stays valid', async () => {
    const card = await openCustomer(product);
    const { database } = product.server.connected;
    const checked = await review(card);
    const fault = { ...onGranting(card.appUserId), status: 401, latencyMs: 1_000, times: 1 };
    product.revenueCat.faults.add(fault);
    const answer = checked.press('grant.confirm');
    await until(async () => (await stored(product, card.appUserId)).length === 1, 'the grant to be stored');
    // The same key, encrypted again, counts as another key.
    const [project] = await database.query<{ api_key: string; api_key_state: string; project_id: string }>(
      `select api_key, api_key_state, project_id from projects where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    assert.ok(project);
    const apiKey = await encryptedAgain(project);
    await database.query(`update projects set api_key = $2 where workspace_id = $1`, [WORKSPACE_ID, apiKey]);
    assert.match((await answer).text, /rejected the API key\. Nothing was changed/);
    const [now] = await database.query(`select api_key_state from projects where workspace_id = $1`, [
      WORKSPACE_ID,
    ]);
    assert.deepEqual(now, { api_key_state: project.api_key_state });
    assert.match((await grantOf(await openAgain(product, card))).text, /✅ Pro is granted/);
  });

  const setIntercom = (status: 'connected' | 'disconnected') =>
    product.server.connected.database.query(`update workspaces set status = $2 where workspace_id = $1`, [
      WORKSPACE_ID,
      status,
    ]);
  const grantWhileDisconnected = async (card: OpenCard & { appUserId: string }): Promise<string> => {
    await setIntercom('disconnected');
    await grantOf(card);
    const [action] = await stored(product, card.appUserId);
    assert.ok(action);
    return action.action_id;
  };

  test('a note waits while Intercom is disconnected, and is left when it is connected again', async () => {
    const card = await openCustomer(product);
    const { database } = product.server.connected;
    const actionId = await grantWhileDisconnected(card);
    const waiting = `name = 'action.note' and state = 'created' and data->>'actionId' = $1`;
    await until(async () => {
      const rows = await database.query<{ isLater: boolean }>(
        `select start_after > now() + interval '5 minutes' as "isLater" from pgboss.job where ${waiting}`,
        [actionId],
      );
      return rows[0]?.isLater;
    }, 'the note to wait');
    await setIntercom('connected');
    await database.query(`update pgboss.job set start_after = now() where ${waiting}`, [actionId]);
    await noteIn(product, card, /Granted Pro until/);
  });

  test('a grant and a note whose jobs have ended are completed when a worker starts, and each night', async () => {
    const card = await openCustomer(product);
    const { database } = product.server.connected;
    const waiting = await openCustomer(product);
    const actionId = await grantWhileDisconnected(card);
    const grantId = await storeRequested(waiting);
    await until(async () => {
      const ended = await database.query(
        `delete from pgboss.job
          where name = 'action.note' and state = 'created' and data->>'actionId' = $1
            and start_after > now() + interval '5 minutes' returning 1`,
        [actionId],
      );
      return ended.length > 0;
    }, 'the note to wait');
    await setIntercom('connected');
    await database.query(
      `update action_notes set created_at = now() - interval '2 minutes'
        where workspace_id = $1 and action_id = $2`,
      [WORKSPACE_ID, actionId],
    );
    await database.query(
      `update actions set created_at = now() - interval '2 minutes' where workspace_id = $1 and action_id = $2`,
      [WORKSPACE_ID, grantId],
    );
    await database.query(`insert into pgboss.job (name, data) values ('action.resume', '{}')`);
    await noteIn(product, card, /Granted Pro until/);
    await noteIn(product, waiting, /Granted Pro until/);
  });

  test('429: the card says that nothing was changed', async () => {
    const card = await openCustomer(product);
    product.revenueCat.faults.add({ ...onGranting(card.appUserId), status: 429, times: 1 });
    assert.match((await grantOf(card)).text, /rate limit is reached\. Nothing was changed/);
    assert.equal((await stored(product, card.appUserId))[0]?.error, 'revenuecat_rate_limited');
    await product.server.connected.database.query(`delete from revenuecat_budgets`);
  });
});

test('a clock that is ten minutes ahead makes no grant late that RevenueCat shows a little later', async () => {
  const card = await openCustomer(product);
  const actionId = await storeRequested(card);
  const key = { workspaceId: WORKSPACE_ID, actionId };
  const ahead = { ...contextOf(product), now: () => Date.now() + 600_000 };
  product.revenueCat.state.grantTimings.set(card.appUserId, { madeAfterMs: 1_000, answeredAfterMs: 0 });
  await confirmAction(ahead, key);
  assert.equal((await stored(product, card.appUserId))[0]?.state, 'requested');
  await until(() => grantsAt(product, card.appUserId).length === 1, 'RevenueCat to have made it');
  await confirmAction(ahead, key);
  assert.equal((await stored(product, card.appUserId))[0]?.state, 'confirmed');
});

test('a process that was stopped after it had claimed a call no longer makes it', async () => {
  const card = await openCustomer(product);
  const actionId = await storeRequested(card);
  const app = contextOf(product);
  let stoppedMs = 0;
  const database: typeof app.database = Object.create(app.database, {
    query: {
      value: async (...query: Parameters<typeof app.database.query>) => {
        const rows = await app.database.query(...query);
        if (/set called_at/.test(query[0])) stoppedMs = 180_000;
        return rows;
      },
    },
  });
  await confirmAction(
    { ...app, database, now: () => Date.now() + stoppedMs },
    { workspaceId: WORKSPACE_ID, actionId },
  );
  assert.equal(stoppedMs, 180_000);
  assert.equal(callsFor(product, card.appUserId), 0);
});

describe('a process that is killed', () => {
  test('between storing and calling: another process makes the grant, once', async () => {
    const card = await openCustomer(product);
    const actionId = await storeRequested(card);
    const app = contextOf(product);
    await Promise.all(
      Array.from({ length: 5 }, () => confirmAction(app, { workspaceId: WORKSPACE_ID, actionId })),
    );
    await settledState(card.appUserId, 'confirmed');
    assert.equal(callsFor(product, card.appUserId), 1);
    await confirmAction(app, { workspaceId: WORKSPACE_ID, actionId });
    assert.equal(callsFor(product, card.appUserId), 1);
  });

  test('during the call: another process reads the result back', async () => {
    const card = await openCustomer(product);
    const second = await startServerProcess({ ...product.environment, ROLE: 'web' });
    try {
      const { grantTimings } = product.revenueCat.state;
      grantTimings.set(card.appUserId, { madeAfterMs: 1_000, answeredAfterMs: 1_500 });
      const checked = await review(card);
      const answer = product.intercom
        .callCanvas({
          appUrl: second.url,
          workspaceId: WORKSPACE_ID,
          place: 'inbox',
          flow: 'submit',
          adminId: '7001',
          conversationId: card.conversationId,
          contactId: card.contactId,
          componentId: 'grant.confirm',
          currentCanvas: checked.canvas,
        })
        .then(
          () => 'answered',
          () => 'cut',
        );
      await until(() => callsFor(product, card.appUserId) === 1, 'RevenueCat to be asked');
      second.child.kill('SIGKILL');
      assert.equal(await answer, 'cut');
      const again = await checked.press('grant.confirm');
      assert.doesNotMatch(again.text, /failed|error/i);
      await until(async () => grantsAt(product, card.appUserId).length === 1, 'RevenueCat to have made it');
      // What the job that was queued before the call does; the test does not wait for it.
      await confirmAction(contextOf(product), { workspaceId: WORKSPACE_ID, actionId: grantIdOn(again) });
      await settledState(card.appUserId, 'confirmed');
      assert.equal(callsFor(product, card.appUserId), 1);
      const [note] = await product.server.connected.database.query<{ state: string }>(
        `select state from action_notes where action_id::text = $1`,
        [grantIdOn(again)],
      );
      assert.equal(note?.state, 'queued');
      const [job] = await product.server.connected.database.query<{ n: string }>(
        `select count(*) as n from pgboss.job where name = 'action.confirm' and data->>'actionId' = $1`,
        [grantIdOn(again)],
      );
      assert.notEqual(job?.n, '0', 'a job would have confirmed it');
    } finally {
      second.child.kill('SIGKILL');
    }
  });
});

test('an outage before the entitlements were ever read is called one, and the form can be tried again', async () => {
  const fresh = await createProduct();
  try {
    const end = fresh.revenueCat.faults.add({ pathPrefix: '/v2', status: 503 });
    const card = await openCustomer(fresh);
    const failed = await card.press('grant');
    assert.match(failed.text, /RevenueCat does not respond\. Nothing was changed\. You can try again/);
    end();
    const form = await failed.press('grant');
    assert.ok(idsOn(form.canvas).includes('grant.review'), form.text);
  } finally {
    await fresh.close();
  }
});

/** Stores a grant as a process leaves it that is killed before it calls RevenueCat. */
async function storeRequested(card: {
  readonly appUserId: string;
  readonly conversationId: string;
}): Promise<string> {
  const actionId = randomUUID();
  await product.server.connected.database.query(
    `insert into actions (workspace_id, action_id, project_id, subscriber_id, app_user_id, target, lookup_key,
                          entitlement_name, duration, requested_end_at, reason, idempotency_key, admin,
                          conversation_id)
     select i.workspace_id, $2, i.project_id, i.subscriber_id, i.app_user_id, c.id, 'pro', 'Pro', 'monthly',
            now() + interval '30 days', 'Outage', $3, '{"id":"7001","name":"Ada Agent","email":null}', $4
       from subscriber_ids i join catalog c on c.project_id = i.project_id and c.lookup_key = 'pro'
      where i.workspace_id = $1 and c.workspace_id = $1 and i.app_user_id = $5`,
    [WORKSPACE_ID, actionId, randomUUID(), card.conversationId, card.appUserId],
  );
  return actionId;
}

/** Encrypts the project's key again, as replacing it with the same key does. */
async function encryptedAgain({ project_id: projectId }: { project_id: string }): Promise<string> {
  const [apiKey = ''] = product.revenueCat.state.keys.keys();
  return product.server.secrets.encrypt(apiKey, secretLocation.apiKey(WORKSPACE_ID, projectId));
}
