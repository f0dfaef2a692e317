import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import express from 'express';
import type { Logger } from 'pino';
import supertest from 'supertest';
import { errorHandler } from '../../src/http/errors.ts';
import { createJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import {
  createRefusalRecorder,
  revenueCatWebhookRouter,
  verifyWebhookSignature,
} from '../../src/ingestion/routes.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import { createLogger } from '../../src/logger.ts';
import { readHistory } from '../../src/subscribers/history.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { readProject } from '../../src/workspaces/projects.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { eventBody, START_MS } from '../support/events.ts';
import {
  AUTHORIZATION,
  createWorld,
  logger,
  PROJECT_ID,
  secrets,
  WORKSPACE_ID,
  type World,
} from '../support/world.ts';

const project = { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID };

describe('receiving', () => {
  let world: World;
  let api: ReturnType<typeof supertest>;
  const nowMs = START_MS + DAY_MS;
  const reported: unknown[][] = [];
  const jobs: Jobs = {
    async send(...job) {
      reported.push(job);
    },
  };

  function appWith(logger: Logger) {
    const { database } = world.db;
    const app = express();
    const journal = createJournal(database, () => {});
    app.use(
      '/webhooks/revenuecat',
      revenueCatWebhookRouter({ database, jobs, journal, secrets, now: () => nowMs, onReceived: () => {} }),
    );
    return app.use(errorHandler(logger));
  }

  before(async () => {
    world = await createWorld();
    api = supertest(appWith(logger));
  });
  after(() => world?.close());

  const post = (body: unknown, projectId = PROJECT_ID) =>
    api
      .post(`/webhooks/revenuecat/${projectId}`)
      .set('Authorization', AUTHORIZATION)
      .send(body as object);
  /** Posts a webhook and processes it. */
  const receive = async (body: unknown) => {
    const response = await post(body);
    await processProject({ database: world.db.database, secrets, logger }, project);
    return response;
  };
  const rows = <T extends object>(sql: string, values: unknown[] = []) =>
    world.db.database.query<T>(sql, values);
  const owner = async (appUserId: string): Promise<string | undefined> => {
    const [row] = await rows<{ subscriber_id: string }>(
      'select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = $2',
      [WORKSPACE_ID, appUserId],
    );
    return row?.subscriber_id;
  };

  test('stores an event once, in the journal and interpreted, and marks its subscriber as pending', async () => {
    const event = eventBody({
      id: 'once',
      app_user_id: 'once-1',
      original_app_user_id: 'once-1',
      aliases: [],
    });
    const first = await receive({ api_version: '1.0', event });
    assert.deepEqual([first.status, first.body], [200, { status: 'accepted' }]);
    const second = await receive({ api_version: '1.0', event });
    assert.deepEqual([second.status, second.body], [200, { status: 'duplicate' }]);

    const { subscriber_attributes: _attributes, ...fields } = event;
    const stored = await rows<{ fields: unknown; kind: string; due: boolean }>(
      `select e.fields, e.kind, s.due_at is not null as due from events e
           join subscribers s using (workspace_id, subscriber_id) where e.event_id = 'once'`,
    );
    assert.deepEqual(stored, [{ fields, kind: 'initial_purchase', due: true }]);
    const journal = await rows<{ payload: string; processed: boolean }>(
      `select payload, processed_at is not null as processed from webhooks where event_id = 'once'`,
    );
    assert.deepEqual(
      journal.map(({ payload, processed }) => ({ payload: JSON.parse(payload), processed })),
      [{ payload: { api_version: '1.0', event }, processed: true }],
    );
  });

  test('an event without any id is recognised when it comes again', async () => {
    const { id: _none, ...event } = eventBody({
      type: 'PAYWALL_CLOSE',
      app_user_id: 'paywall-1',
      aliases: [],
    });
    assert.deepEqual((await post({ event })).body, { status: 'accepted' });
    const reordered = Object.fromEntries(Object.entries(event).reverse());
    assert.deepEqual((await post({ event: reordered })).body, { status: 'duplicate' });
  });

  const refusals: [string, () => PromiseLike<{ status: number }>, number][] = [
    ['a wrong Authorization', () => post({ event: eventBody() }).set('Authorization', 'wrong'), 401],
    ['an unknown project', () => post({ event: eventBody() }, 'abc123-other'), 404],
    ['a project id that is none', () => post({ event: eventBody() }, 'abc123'), 404],
    ['a project id that no text can hold', () => post({ event: eventBody() }, '%00-p1'), 400],
    ['a body that is not JSON', () => post('{"event":').set('Content-Type', 'application/json'), 400],
    ['a body without an event', () => post({ api_version: '1.0' }), 400],
    ['an event that is a list', () => post({ event: [] }), 400],
    ['an empty event', () => post({ event: {} }), 400],
    [
      'an event with neither a type nor a customer',
      () => post({ event: { id: 'x', price: 1, app_user_id: 'null' } }),
      400,
    ],
    ['another content type', () => post('event=1').set('Content-Type', 'text/plain'), 415],
    [
      'a packed body',
      () =>
        post(JSON.stringify({ event: eventBody() }))
          .set('Content-Type', 'application/json')
          .set('Content-Encoding', 'gzip'),
      415,
    ],
    ['a body over 1 MiB', () => post({ event: eventBody({ note: 'x'.repeat(1024 * 1024) }) }), 413],
    [
      'a body over 1 MiB, before it is read, with a wrong Authorization',
      () => post({ event: eventBody({ note: 'x'.repeat(1024 * 1024) }) }).set('Authorization', 'wrong'),
      401,
    ],
  ];
  for (const [name, send, status] of refusals) {
    test(`refuses ${name} with ${status}`, async () => assert.equal((await send()).status, status));
  }

  test('refuses the webhooks of a workspace that has uninstalled the app, and stores nothing', async () => {
    const install = (status: string) =>
      rows('update workspaces set status = $2 where workspace_id = $1', [WORKSPACE_ID, status]);
    await install('uninstalled');
    assert.equal((await post({ event: eventBody({ id: 'after-uninstalling' }) })).status, 404);
    await install('connected');
    assert.deepEqual(await rows(`select 1 from webhooks where event_id = 'after-uninstalling'`), []);
  });

  test('notes that a webhook was refused, until one is taken or the project is connected again', async () => {
    const refusal = async () =>
      (await readProject(world.db.database, WORKSPACE_ID, PROJECT_ID))?.refusedWebhook;
    await rows('update projects set last_received_at = null');
    assert.equal((await refusal())?.refusedFor, 'authorization', 'of the one that was refused above');
    await rows('update projects set last_refused_at = null');
    reported.length = 0;
    let atMs = nowMs;
    const note = createRefusalRecorder({ database: world.db.database, jobs, now: () => atMs });
    await note(project, 'signature');
    assert.equal((await refusal())?.refusedFor, 'signature');
    await note(project, 'authorization');
    assert.equal((await refusal())?.refusedFor, 'signature', 'a flood is written down once a minute');
    const once = { onceInSeconds: 60 };
    assert.deepEqual(
      reported,
      [['workspace.health', { workspaceId: WORKSPACE_ID }, once]],
      'and reported once',
    );
    atMs += 60_001;
    await note(project, 'authorization');
    assert.equal((await refusal())?.refusedFor, 'authorization', 'and again after that minute');
    await receive({ event: eventBody({ id: 'taken-again' }) });
    assert.equal(await refusal(), null);
    await rows('update projects set last_refused_at = now()');
    await receive({ event: eventBody({ id: 'taken-within-seconds' }) });
    assert.equal(await refusal(), null, 'also when one was taken shortly before the refused one');
  });

  test('takes unknown types, values of the wrong kind and events that name no customer', async () => {
    for (const fields of [
      { id: 'odd-1', type: 'NEVER_HEARD_OF', app_user_id: 'odd' },
      {
        id: 'odd-2',
        price: 'free',
        aliases: 'none',
        expiration_at_ms: 'soon',
        store: 7,
        app_user_id: 'odd',
      },
      { id: 'odd-3', app_user_id: null, original_app_user_id: 'null', aliases: ['0', '[object Object]'] },
      { id: 'odd-4', event_timestamp_ms: 1e300, purchased_at_ms: -1e300, app_user_id: 'odd' },
      { id: 'odd-5', app_user_id: 'nul\u0000id', note: 'a\u0000b' },
      { id: 'odd-6', type: null, app_user_id: 'odd' },
      {
        id: 'odd-7',
        app_user_id: 'odd-7',
        subscriber_attributes: { $email: { value: 'a@example.com', updated_at_ms: 'soon' } },
      },
      {
        id: 'odd-8',
        app_user_id: 'odd-8',
        subscriber_attributes: { $email: { value: `${randomBytes(20_000).toString('hex')}@example.com` } },
      },
    ]) {
      const answer = await receive({ event: eventBody(fields) });
      assert.deepEqual([answer.status, answer.body], [200, { status: 'accepted' }], fields.id);
    }
    assert.deepEqual(await rows('select event_id, error from webhooks where error is not null'), []);
    assert.equal(await owner('null'), undefined);
    assert.equal(await owner('0'), undefined);
  });

  test('keeps customers apart who share the id of the SDK’s preview mode', async () => {
    for (const id of ['preview-1', 'preview-2']) {
      const aliases = [id, '$RC_PREVIEW_MODE_USER'];
      await receive({ event: eventBody({ id, app_user_id: id, original_app_user_id: id, aliases }) });
    }
    assert.equal(await owner('$RC_PREVIEW_MODE_USER'), undefined);
    const [first, second] = [await owner('preview-1'), await owner('preview-2')];
    assert.ok(first && second);
    assert.notEqual(first, second);
  });

  test('takes ids that no text of the database can hold, and knows them again', async () => {
    const halves = { id: 'half-\ud800', app_user_id: 'half-\udc00', aliases: ['other-\ud800'] };
    // Random, because a text that can be compressed would fit.
    const tooLong = randomBytes(50_000).toString('base64');
    const long = { id: tooLong, app_user_id: 'long-1', aliases: [tooLong], transaction_id: tooLong };
    for (const fields of [halves, long]) {
      const event = eventBody({ original_app_user_id: fields.app_user_id, ...fields });
      assert.deepEqual((await receive({ event })).body, { status: 'accepted' });
      assert.deepEqual((await receive({ event })).body, { status: 'duplicate' });
    }
    await receive({ event: eventBody({ ...halves, id: 'half-2', original_app_user_id: 'half-\udc00' }) });
    const kept = await rows<{ events: number }>(
      `select count(*)::integer as events from events e
         join subscriber_ids i using (workspace_id, subscriber_id)
        where i.app_user_id in ('half-\ufffd', 'long-1') group by i.app_user_id order by 1`,
    );
    assert.deepEqual(kept, [{ events: 1 }, { events: 2 }]);
  });

  test('refuses what is nested beyond reading, and takes what is merely deep', async () => {
    const lists = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const objects = (levels: number): string => `${'{"x":'.repeat(levels)}0${'}'.repeat(levels)}`;
    const send = (value: string, id: string) =>
      api
        .post(`/webhooks/revenuecat/${PROJECT_ID}`)
        .set({ Authorization: AUTHORIZATION, 'Content-Type': 'application/json' })
        .send(`{"event":{${id}"type":"RENEWAL","app_user_id":"deep-1","x":${value}}}`);
    assert.equal((await send(lists(400), '"id":"deep-1",')).status, 200);
    assert.equal((await send(lists(400), '')).status, 200);
    assert.equal((await send(`[${'[],'.repeat(600)}0]`, '')).status, 200, 'wide, and not deep');
    for (const id of ['"id":"deep-2",', '']) {
      for (const value of [lists(200_000), objects(150_000)]) {
        const refused = await send(value, id);
        assert.equal(refused.status, 400);
        assert.match(refused.text, /nested too deeply/);
      }
    }
  });

  test('asks for the signature once the project has a signing secret', async () => {
    const sign = (secret: string | null) =>
      rows('update projects set signing_secret = $2 where project_id = $1', [
        PROJECT_ID,
        secret && secrets.encrypt(secret, secretLocation.signingSecret(WORKSPACE_ID, PROJECT_ID)),
      ]);
    await sign('whsec_1');
    const body = JSON.stringify({ event: eventBody({ id: 'signed', app_user_id: 'signed-1' }) });
    const header = (atS: number, text = body) =>
      `t=${atS},v1=${createHmac('sha256', 'whsec_1').update(`${atS}.${text}`).digest('hex')}`;
    const send = (signature: string) =>
      post(body).set('Content-Type', 'application/json').set('X-RevenueCat-Webhook-Signature', signature);
    const nowS = nowMs / 1_000;
    assert.equal((await post(body).set('Content-Type', 'application/json')).status, 401);
    assert.equal((await send(header(nowS, `${body} `))).status, 401);
    assert.equal((await send(header(nowS - 301))).status, 401);
    assert.equal((await send(header(nowS + 301))).status, 401);
    assert.equal((await send(`${header(nowS)},v1=${'0'.repeat(64)}`)).status, 200);
    await sign(null);
  });

  test('a signing secret that no key decrypts is a 503, whose log line names the project and the remedy', async () => {
    const lines: string[] = [];
    const logger = createLogger('error', { write: (line: string) => void lines.push(line) });
    const app = appWith(logger);
    const set = (secret: string | null) =>
      rows('update projects set signing_secret = $2 where project_id = $1', [PROJECT_ID, secret]);
    const encrypted = secrets.encrypt('whsec_1', secretLocation.signingSecret(WORKSPACE_ID, 'another'));
    for (const secret of ['v1.lost.key', encrypted]) {
      await set(secret);
      const answer = await supertest(app)
        .post(`/webhooks/revenuecat/${PROJECT_ID}`)
        .set('Authorization', AUTHORIZATION)
        .send({ event: eventBody({ id: 'unverified', app_user_id: 'unverified-1' }) });
      assert.equal(answer.status, 503);
      assert.ok(answer.headers['retry-after']);
      assert.ok(!answer.text.includes(WORKSPACE_ID), 'anyone may send a webhook');
      assert.match(
        lines.pop() ?? '',
        new RegExp(`ENCRYPTION_KEYS decrypts project:${WORKSPACE_ID}:${PROJECT_ID}:.*Add the key`),
      );
    }
    await set(null);
    assert.equal(
      (await post({ event: eventBody({ id: 'unverified', app_user_id: 'unverified-1' }) })).status,
      200,
    );
  });

  test('the published signature scheme', () => {
    const body = Buffer.from('{"api_version":"1.0","event":{"id":"evt_123"}}');
    const header = 't=1700000000,v1=450a93f016917ae1cb87a06c780abccb13f8ee581865151b824759080a87da91';
    for (const given of [header, header.replace(',', ', ')])
      assert.equal(verifyWebhookSignature('whsec_test', body, given, 1_700_000_000_000), true);
    assert.equal(verifyWebhookSignature('whsec_tesu', body, header, 1_700_000_000_000), false);
    assert.equal(verifyWebhookSignature('whsec_test', body, header, 1_700_000_301_000), false);
  });

  test('an event that shows two subscribers to be one merges them', async () => {
    await receive({
      event: eventBody({ id: 'm1', app_user_id: 'merge-a', original_app_user_id: 'merge-a', aliases: [] }),
    });
    const anonymous = '$RCAnonymousID:0123456789abcdef0123456789abcdef';
    await receive({
      event: eventBody({
        id: 'm2',
        app_user_id: anonymous,
        original_app_user_id: anonymous,
        aliases: [],
        event_timestamp_ms: START_MS + 1,
      }),
    });
    const first = await owner('merge-a');
    assert.notEqual(first, await owner(anonymous));
    await receive({
      event: eventBody({ id: 'm3', app_user_id: 'merge-a', original_app_user_id: anonymous, aliases: [] }),
    });
    const kept = await owner('merge-a');
    assert.equal(kept, await owner(anonymous));
    assert.equal(kept, first, 'the one that has been known for longer');
    const events = await rows<{ event_id: string }>(
      'select event_id from events where workspace_id = $1 and subscriber_id = $2 order by event_id',
      [WORKSPACE_ID, kept],
    );
    assert.deepEqual(
      events.map((event) => event.event_id),
      ['m1', 'm2', 'm3'],
    );
  });

  test('merges that another process has made since then are followed', async () => {
    const event = (id: string, appUserId: string, alias = appUserId) =>
      eventBody({ id, app_user_id: appUserId, original_app_user_id: appUserId, aliases: [alias] });
    for (const id of ['old-a', 'old-b', 'old-c']) await receive({ event: event(`${id}-1`, id) });
    await storeEvents(world.db.database, project, [prepareEvent(event('old-ab', 'old-b', 'old-a'), nowMs)]);
    await receive({ event: event('old-b-2', 'old-b') });
    await receive({ event: event('old-a-2', 'old-a') });
    await receive({ event: event('old-ac', 'old-c', 'old-a') });
    assert.equal(new Set([await owner('old-a'), await owner('old-b'), await owner('old-c')]).size, 1);
    const stored = await rows<{ subscriber_id: string }>(
      `select distinct subscriber_id from events where workspace_id = $1 and event_id like 'old-%'`,
      [WORKSPACE_ID],
    );
    assert.deepEqual(stored, [{ subscriber_id: await owner('old-a') }]);
  });

  test('one event twice, with other ids: what the second names is not half stored', async () => {
    const named = (id: string, appUserId: string) => {
      const event = eventBody({ id, app_user_id: appUserId, original_app_user_id: appUserId, aliases: [] });
      return prepareEvent(event, nowMs);
    };
    const store = (...batch: ReturnType<typeof named>[]) => storeEvents(world.db.database, project, batch);
    assert.equal(await store(named('twice', 'twice-a'), named('twice', 'twice-b')), 1);
    assert.deepEqual([Boolean(await owner('twice-a')), Boolean(await owner('twice-b'))], [true, false]);
    assert.equal(await store(named('twice-2', 'twice-b')), 1);
    await rows('update subscribers set due_at = null');
    assert.equal(await store(named('twice', 'twice-a')), 0);
    assert.equal(await store(named('twice', 'twice-c')), 0);
    const stored = await rows(
      `select i.app_user_id as id, s.due_at is not null as due
         from subscriber_ids i join subscribers s using (workspace_id, subscriber_id)
        where i.app_user_id in ('twice-a', 'twice-c') order by 1`,
    );
    assert.deepEqual(stored, [
      { id: 'twice-a', due: false },
      { id: 'twice-c', due: true },
    ]);
  });

  test('an event that an import has stored is delivered when its webhook comes, not when it is imported again', async () => {
    const event = prepareEvent(eventBody({ id: 'imported-twice', app_user_id: 'imported' }), nowMs);
    const reasons: unknown[] = [];
    for (const shouldDeliver of [false, false, true, false]) {
      await storeEvents(world.db.database, project, [event], { shouldDeliver: () => shouldDeliver });
      const [row] = await rows<{ skip_reason: string | null }>(
        `select skip_reason from events where event_id = 'imported-twice'`,
      );
      reasons.push(row?.skip_reason);
    }
    assert.deepEqual(reasons, ['imported', 'imported', null, null]);
  });

  test('of several e-mail addresses the one that was set last counts', async () => {
    let count = 0;
    const named = (email: [name: string, atMs: number] | null, ...aliases: string[]) => {
      count += 1;
      const [appUserId] = aliases;
      const person = { app_user_id: appUserId, original_app_user_id: appUserId, aliases };
      const $email = email && { value: `${email[0]}@example.com`, updated_at_ms: email[1] };
      const subscriber_attributes = $email ? { $email } : {};
      const id = `mail-${count}`;
      const event_timestamp_ms = START_MS + count;
      return prepareEvent(eventBody({ id, event_timestamp_ms, ...person, subscriber_attributes }), nowMs);
    };
    const emailAfter = async (...batch: ReturnType<typeof named>[]) => {
      await storeEvents(world.db.database, project, batch);
      const [row] = await rows<{ email: string | null }>(
        `select s.email from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
          where i.app_user_id = 'mail-a'`,
      );
      return row?.email;
    };
    // Paywall events have flat attributes.
    const flat = eventBody({ id: 'mail-flat', subscriber_attributes: { $email: 'Flat@example.com' } });
    assert.equal(prepareEvent(flat, nowMs).email?.value, 'flat@example.com');
    const [second, first] = [named(['second', 2], 'mail-a'), named(['first', 1], 'mail-a')];
    assert.equal(await emailAfter(first, second), 'second@example.com');
    assert.equal(await emailAfter(named(['first', 1], 'mail-a')), 'second@example.com');
    assert.equal(await emailAfter(named(['third', 3], 'mail-a')), 'third@example.com');
    await emailAfter(named(['fourth', 4], 'mail-b'), named(['older', 2], 'mail-c'));
    assert.equal(
      await emailAfter(named(null, 'mail-a', 'mail-b')),
      'fourth@example.com',
      'of those merged, too',
    );
    assert.equal(await emailAfter(named(null, 'mail-a', 'mail-c')), 'fourth@example.com');
  });

  test('the first and the last event of a customer are so by their times, whenever they arrive', async () => {
    for (const hour of [2, 3, 1]) {
      const person = { app_user_id: 'hours', original_app_user_id: 'hours', aliases: [] };
      const event = eventBody({
        id: `hour-${hour}`,
        event_timestamp_ms: START_MS + hour * 3_600_000,
        ...person,
      });
      await storeEvents(world.db.database, project, [prepareEvent(event, nowMs)]);
    }
    const [row] = await rows<{ first: number; last: number }>(
      `select s.first_event_at_ms::float8 as first, s.last_event_at_ms::float8 as last
         from subscribers s join subscriber_ids i using (workspace_id, subscriber_id) where i.app_user_id = 'hours'`,
    );
    assert.deepEqual(row, { first: START_MS + 3_600_000, last: START_MS + 3 * 3_600_000 });
  });

  test('a batch that shows three subscribers to be one in two of its events merges all three', async () => {
    const named = (id: string, appUserId: string, ...aliases: string[]) => {
      const atMs = START_MS + Number(id.slice(-1));
      const person = { app_user_id: appUserId, original_app_user_id: appUserId, aliases };
      const event = eventBody({ id, event_timestamp_ms: atMs, ...person });
      return prepareEvent(event, nowMs);
    };
    const store = (...batch: ReturnType<typeof named>[]) => storeEvents(world.db.database, project, batch);
    // A merge keeps the oldest subscriber: the second one no longer exists when the second event refers to it.
    await store(named('three-1', 'three-a'));
    await store(named('three-2', 'three-b', 'three-b2'));
    await store(named('three-3', 'three-c'));
    await store(named('three-4', 'three-a', 'three-b'), named('three-5', 'three-b2', 'three-c'));
    const owners = ['three-a', 'three-b', 'three-b2', 'three-c'].map(owner);
    assert.equal(new Set(await Promise.all(owners)).size, 1);
  });

  test('parallel batches that meet in their ids lose nothing and end as one subscriber', async () => {
    const ids = Array.from({ length: 12 }, (_, index) => `chain-${index}`);
    const received = (id: string, first: string, second: string) => {
      const event = eventBody({ id, app_user_id: first, original_app_user_id: first, aliases: [second] });
      return prepareEvent(event, nowMs);
    };
    const batches = ids.flatMap((id, index) => [
      [received(`chain-e${index}`, id, ids[(index + 1) % ids.length] ?? id)],
      [received(`chain-f${index}`, id, ids[(index + 5) % ids.length] ?? id)],
    ]);
    const added = await Promise.all(batches.map((batch) => storeEvents(world.db.database, project, batch)));
    assert.deepEqual([...new Set(added)], [1]);
    const owners = new Set(await Promise.all(ids.map(owner)));
    assert.equal(owners.size, 1);
    const [count] = await rows<{ count: string }>(
      `select count(*) from events where workspace_id = $1 and event_id like 'chain-%' and subscriber_id = $2`,
      [WORKSPACE_ID, [...owners][0]],
    );
    assert.equal(Number(count?.count), 24);
  });

  test('a transfer takes the purchases along and stands on both timelines', async () => {
    await receive({
      event: eventBody({ id: 'tr1', app_user_id: 'source', original_app_user_id: 'source', aliases: [] }),
    });
    const transfer = {
      id: 'tr2',
      type: 'TRANSFER',
      event_timestamp_ms: START_MS + DAY_MS,
      store: 'APP_STORE',
      environment: 'PRODUCTION',
      transferred_from: ['source'],
      transferred_to: ['receiver'],
    };
    await receive({ event: transfer });
    const stateOf = async (appUserId: string) => {
      const subscriberId = (await owner(appUserId)) ?? '';
      const history = (await readHistory(world.db.database, WORKSPACE_ID, subscriberId)).events;
      return { history, state: deriveState(history, null, START_MS + 2 * DAY_MS) };
    };
    const receiver = await stateOf('receiver');
    const source = await stateOf('source');
    assert.deepEqual(
      receiver.state.entitlements.map((entitlement) => entitlement.lookupKey),
      ['pro'],
    );
    assert.deepEqual(source.state.entitlements, []);
    assert.ok(receiver.history.some((event) => event.id === 'tr2'));
    assert.ok(source.history.some((event) => event.id === 'tr2' && event.side === 'source'));
  });
});
