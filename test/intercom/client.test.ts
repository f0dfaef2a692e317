import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { AxiosError, type InternalAxiosRequestConfig } from 'axios';
import express from 'express';
import { AppError, type Remedy } from '../../src/errors.ts';
import { noResponseError } from '../../src/http/client.ts';
import { createIntercomClient, exchangeCode } from '../../src/intercom/client.ts';
import { intercomFailure } from '../../src/intercom/failures.ts';
import { rateLimitReset } from '../../src/intercom/rate-limit.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';

const NOW_MS = 1_768_000_003_000;
const RESET_S = 1_768_000_010;

function failure(status: number, code: string, message = '', headers: Record<string, string> = {}) {
  const body = { type: 'error.list', request_id: null, errors: [{ code, message }] };
  return intercomFailure({ status, headers, body }, 'Sending an event', NOW_MS);
}

describe('what an error response of Intercom means', () => {
  const cases: [number, string, string, string, Remedy['kind']][] = [
    [400, 'parameter_invalid', 'created_at must be a number', 'intercom_rejected', 'give_up'],
    [400, 'parameter_invalid', "Custom attribute 'x' does not exist", 'intercom_attribute_missing', 'retry'],
    [401, 'unauthorized', 'Access Token Invalid', 'intercom_unauthorized', 'reauthorize'],
    [401, 'token_revoked', '', 'intercom_unauthorized', 'reauthorize'],
    [401, 'token_suspended', '', 'intercom_unauthorized', 'reauthorize'],
    [401, 'something_else', '', 'intercom_unavailable', 'retry'],
    [
      403,
      'forbidden',
      'You do not have the required scope (write_events)',
      'intercom_scope_missing',
      'give_up',
    ],
    [402, 'payment_required', '', 'intercom_plan_restricted', 'give_up'],
    [403, 'api_plan_restricted', '', 'intercom_plan_restricted', 'give_up'],
    [404, 'not_found', 'User Not Found', 'intercom_not_found', 'wait_for_contact'],
    [408, 'request_timeout', '', 'intercom_unavailable', 'retry'],
    [409, 'conflict', 'Multiple existing users match this email address', 'intercom_rejected', 'give_up'],
    [410, 'contact_merged', '', 'intercom_contact_merged', 'wait_for_contact'],
    [422, 'data_invalid', '', 'intercom_rejected', 'give_up'],
    [400, 'intercom_version_invalid', '', 'intercom_unavailable', 'retry'],
    [422, '422', 'Cannot have more than 120 active event names', 'intercom_event_limit', 'give_up'],
    [403, 'forbidden', 'Cannot have more than 120 active event names', 'intercom_event_limit', 'give_up'],
    [404, 'not_found', "User attribute 'x' does not exist", 'intercom_attribute_missing', 'retry'],
    [403, 'custom_data_limit_reached', '', 'intercom_rejected', 'give_up'],
    [403, 'not_restorable', '', 'intercom_rejected', 'give_up'],
    [429, 'rate_limit_exceeded', '', 'intercom_rate_limited', 'wait_until'],
    [500, 'server_error', '', 'intercom_unavailable', 'retry'],
    [503, 'service_unavailable', '', 'intercom_unavailable', 'retry'],
  ];
  for (const [status, code, message, expected, remedy] of cases) {
    test(`${status} ${code} ${message}`, () => {
      const error = failure(status, code, message);
      assert.deepEqual([error.code, error.remedy.kind, error.upstreamStatus], [expected, remedy, status]);
    });
  }

  test('the message names what Intercom said, and the whole answer is stored, both cut short', () => {
    const said = (code: string, message: string) => failure(422, code, message).message;
    const answered = 'Sending an event: Intercom answered 422';
    assert.equal(
      said('data_invalid', 'created_at is wrong'),
      `${answered} data_invalid: created_at is wrong`,
    );
    assert.equal(said('422', 'created_at is wrong'), `${answered}: created_at is wrong`);
    assert.equal(said('', ''), answered);
    const endless = failure(422, 'data_invalid', 'x'.repeat(5_000));
    assert.equal(endless.message.length, `${answered} data_invalid: `.length + 300);
    assert.equal(endless.upstreamAnswer?.length, 2_000);
    const stored = (body: unknown) =>
      intercomFailure({ status: 422, headers: {}, body }, 'Sending an event', NOW_MS).upstreamAnswer;
    assert.deepEqual([undefined, null, '', '<html>', { a: 1 }].map(stored), [
      null,
      null,
      null,
      '<html>',
      '{"a":1}',
    ]);
  });

  test('410 names the contact that lives on', () => {
    const error = failure(410, 'contact_merged', '', { link: '</contacts/5f01>; rel="canonical"' });
    assert.deepEqual(error.remedy, { kind: 'follow_contact', contactId: '5f01' });
  });

  test('a malformed or very long Link names no contact, and costs no time', () => {
    for (const link of [
      '</contacts/%E0%A4%A>; rel="canonical"',
      '</contacts/>; rel="canonical"',
      '<'.repeat(100_000),
      `${'</contacts/'.repeat(50_000)}canonical`,
    ]) {
      const before = process.cpuUsage();
      assert.deepEqual(failure(410, 'contact_merged', '', { link }).remedy, { kind: 'wait_for_contact' });
      // With quadratic time it would be tens of seconds.
      assert.ok(process.cpuUsage(before).user < 2_000_000);
    }
    const several = { link: '</contacts/1/notes>; rel="next", </contacts/5f01>; rel="canonical"' };
    assert.deepEqual(failure(410, 'contact_merged', '', several).remedy, {
      kind: 'follow_contact',
      contactId: '5f01',
    });
  });

  test('a response that is not an error list, and no response', () => {
    // A proxy's page says nothing about the contact, a permission or the plan.
    for (const status of [400, 401, 402, 403, 404, 410, 422, 502]) {
      const page = intercomFailure({ status, headers: {}, body: '<html>' }, 'Sending an event', NOW_MS);
      assert.deepEqual([page.code, page.remedy], ['intercom_unavailable', { kind: 'retry' }]);
    }
    const limited = { status: 429, headers: { 'retry-after': '20' }, body: '<html>' };
    assert.equal(intercomFailure(limited, 'Sending an event', NOW_MS).remedy.kind, 'wait_until');
    const config = { action: 'Sending an event' } as InternalAxiosRequestConfig;
    const reset = noResponseError('Intercom', new AxiosError('x', 'ECONNRESET', config));
    assert.ok(reset instanceof AppError);
    assert.deepEqual(reset.remedy, { kind: 'retry' });
    assert.match(reset.message, /ECONNRESET/);
  });

  test('an HTML page and a redirect are not a success: a proxy sent them', async (t) => {
    const app = express();
    const answers = [
      (res: express.Response) => res.status(200).type('html').send('<html>Back soon</html>'),
      (res: express.Response) => res.status(200).set('Content-Type', 'Text/HTML').end('\n<!DOCTYPE html>'),
      (res: express.Response) => res.status(200).end('<html>'),
      (res: express.Response) => res.redirect('/elsewhere'),
      (res: express.Response) => res.status(202).end(),
      (res: express.Response) => res.status(202).type('html').end(),
    ];
    app.post('/events', (_req, res) => void answers.shift()?.(res));
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    const send = (): Promise<void> =>
      client.sendEvent({ event_name: 'rc_renewal_event', created_at: 1, id: '5f01', metadata: {} });
    for (const upstreamStatus of [200, 200, 200, 302]) {
      await assert.rejects(send(), {
        code: 'intercom_unavailable',
        remedy: { kind: 'retry' },
        upstreamStatus,
      });
    }
    await send();
    await send();
  });

  test('when the window ends: by its header, by Retry-After, by the clock', () => {
    const reset = (headers: Record<string, string>) => rateLimitReset(headers, NOW_MS) - NOW_MS;
    assert.equal(reset({ 'x-ratelimit-reset': String(RESET_S) }), 7_000);
    assert.equal(reset({ 'x-ratelimit-reset': String(RESET_S), 'retry-after': '3' }), 7_000);
    assert.equal(reset({ 'retry-after': '3' }), 3_000);
    assert.equal(reset({ 'retry-after': new Date(NOW_MS + 4_000).toUTCString() }), 4_000);
    assert.equal(reset({ 'retry-after': new Date(NOW_MS - 4_000).toUTCString() }), 7_000, 'over');
    assert.equal(reset({ 'retry-after': '86400' }), 7_000, 'a window has ten seconds');
    assert.equal(reset({}), 7_000);
    assert.equal(reset({ 'x-ratelimit-reset': String(RESET_S + 86_400) }), 7_000, 'far away: not meant');
    assert.equal(reset({ 'x-ratelimit-reset': String(RESET_S - 8) }), 250, 'just over by our clock only');
    assert.equal(reset({ 'x-ratelimit-reset': 'soon' }), 7_000);
  });

  test('a reset in the distant future delays calls by one window at most', async () => {
    const app = express();
    let resetS = 0;
    app.get('/me', (_req, res) => {
      res.set({
        'X-RateLimit-Limit': '83',
        'X-RateLimit-Remaining': '0',
        'X-RateLimit-Reset': String(resetS),
      });
      res.json({ id: 1, app: { id_code: 'abc123' } });
    });
    const intercom = await listenOnLoopback(app);
    const ends: number[] = [];
    const client = createIntercomClient({
      apiUrl: intercom.url,
      accessToken: 'token',
      now: () => NOW_MS,
      gate: {
        acquire: () => Promise.resolve(),
        release: () => {},
        observe: (reading) => ends.push(reading.resetAtMs - NOW_MS),
      },
    });
    for (resetS of [RESET_S, RESET_S + 5, RESET_S + 300, RESET_S - 300]) await client.me();
    await intercom.close();
    assert.deepEqual(ends, [7_000, 12_000, 7_000, -293_000]);
  });

  test('rate-limit headers that are no counts are none: the database stores integers', async (t) => {
    const app = express();
    const sent: [limit: string, remaining: string, reset: string][] = [
      ['83', '80', String(RESET_S)],
      ['83.5', '80', String(RESET_S)],
      ['83', '80.5', String(RESET_S)],
      ['99999999999', '80', String(RESET_S)],
      ['83', '99999999999', String(RESET_S)],
      ['83', '-1', String(RESET_S)],
      ['83', '', String(RESET_S)],
      ['83', '80', 'soon'],
      ['unlimited', '80', String(RESET_S)],
    ];
    const answers = [...sent];
    app.get('/me', (_req, res) => {
      const [limit, remaining, reset] = answers.shift() ?? ['', '', ''];
      res.set({
        'X-RateLimit-Limit': limit,
        'X-RateLimit-Remaining': remaining,
        'X-RateLimit-Reset': reset,
      });
      res.json({ id: 1, app: { id_code: 'abc123' } });
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const observed: unknown[] = [];
    const client = createIntercomClient({
      apiUrl: intercom.url,
      accessToken: 'token',
      now: () => NOW_MS,
      gate: { acquire: async () => {}, release: () => {}, observe: (reading) => observed.push(reading) },
    });
    for (const _ of sent) await client.me();
    assert.deepEqual(observed, [{ limit: 83, remaining: 80, resetAtMs: RESET_S * 1_000 }]);
  });

  test('every call asks for an uncompressed response: a proxy may compress where nothing is said', async (t) => {
    const app = express();
    app.get('/me', (req, res) => {
      const body = JSON.stringify({ id: 1, app: { id_code: 'abc123' } });
      if (req.headers['accept-encoding'] === 'identity') res.type('json').send(body);
      else res.type('json').set('Content-Encoding', 'gzip').send(gzipSync(body));
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    assert.equal((await client.me()).app.id_code, 'abc123');
  });

  test('a response that never ends counts as no response once it is too large', async (t) => {
    const app = express();
    app.get('/me', (_req, res) => {
      res.type('json').write('{"id":"1","name":"');
      const chunk = 'x'.repeat(256 * 1024);
      const write = (): void => {
        while (!res.destroyed && res.write(chunk));
      };
      res.on('drain', write);
      write();
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    await assert.rejects(client.me(), {
      code: 'intercom_unavailable',
      message: /UND_ERR_RES_EXCEEDED_MAX_SIZE/,
      remedy: { kind: 'retry' },
    });
  });

  test('the timeout covers a response that arrives byte by byte, and frees its connection', async (t) => {
    const app = express();
    const closed = Promise.withResolvers<void>();
    app.get('/me', (_req, res) => {
      const timer = setInterval(() => res.write(' '), 20);
      res.on('close', () => {
        clearInterval(timer);
        closed.resolve();
      });
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token', timeoutMs: 200 });
    await assert.rejects(client.me(), { code: 'intercom_unavailable', message: /ETIMEDOUT/ });
    await closed.promise;
  });

  test('a contact may have numbers as ids, and lists and single contacts are read alike', async (t) => {
    const app = express();
    app.use(express.json());
    const contact = { type: 'contact', id: 5, external_id: 4711, role: 'user', email: null };
    app.get('/contacts/find_by_external_id/4711', (_req, res) => void res.json(contact));
    app.post('/contacts/search', (_req, res) => void res.json({ type: 'list', data: [contact] }));
    app.post('/contacts', (_req, res) => void res.json(contact));
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    const contacts = [
      await client.findByExternalId('4711'),
      await client.createContact({ external_id: '4711' }),
      ...(await client.searchByEmail('ada@example.com')),
    ];
    assert.deepEqual(
      contacts.map((each) => [each?.id, each?.external_id]),
      [
        ['5', '4711'],
        ['5', '4711'],
        ['5', '4711'],
      ],
    );
  });

  test('a contact that was merged is found by its app user ID, too', async (t) => {
    const app = express();
    app.get('/contacts/find_by_external_id/4711', (_req, res) => {
      res.status(410).set('Link', '</contacts/5>; rel="canonical"').json({});
    });
    app.get('/contacts/5', (_req, res) => void res.json({ type: 'contact', id: '5' }));
    app.use((_req, res) => void res.status(404).json({}));
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    assert.equal((await client.findByExternalId('4711'))?.id, '5');
    assert.equal(await client.findByExternalId('unknown'), null);
  });

  test('archived attributes are listed, too: one that an admin archived is restored', async (t) => {
    const app = express();
    const seen: object[] = [];
    app.get('/data_attributes', (req, res) => {
      seen.push({ ...req.query });
      res.json({ data: [] });
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    await createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' }).listDataAttributes();
    assert.deepEqual(seen, [{ model: 'contact', include_archived: 'true' }]);
  });

  test('the place of a call is free again after every call, and the gate learns whether Intercom answered', async (t) => {
    const app = express();
    const statuses = [200, 503];
    app.get('/me', (req, res) => {
      const status = statuses.shift();
      if (status === undefined) return void req.socket.destroy();
      res.status(status).json({ id: 1, app: { id_code: 'abc123' } });
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const released: boolean[] = [];
    const gate = {
      acquire: async () => {},
      release: (answered: boolean) => void released.push(answered),
      observe: () => {},
    };
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token', gate });
    await client.me();
    await assert.rejects(client.me(), { code: 'intercom_unavailable' });
    await assert.rejects(client.me(), { code: 'intercom_unavailable' });
    assert.deepEqual(released, [true, true, false]);
  });

  test('a note notifies no teammate', async (t) => {
    const app = express();
    const bodies: unknown[] = [];
    app.post('/conversations/:id/reply', express.json(), (req, res) => {
      bodies.push(req.body);
      res.json({});
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    await client.leaveNote({ conversationId: 'last', adminId: '7', html: '<p>Done</p>' });
    assert.deepEqual(bodies, [
      { message_type: 'note', type: 'admin', admin_id: '7', body: '<p>Done</p>', skip_notifications: true },
    ]);
  });

  test('a token by either name, and a region however it is written', async (t) => {
    const app = express();
    const tokens: object[] = [{ token: 'one' }, { access_token: 'two' }, {}];
    app.post('/auth/eagle/token', (_req, res) => void res.json(tokens.shift()));
    const regions = ['EU', 'au', undefined, 'elsewhere'];
    app.get('/me', (_req, res) => void res.json({ id: 1, app: { id_code: 'a', region: regions.shift() } }));
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const { url: apiUrl } = intercom;
    const exchange = (): Promise<string> =>
      exchangeCode({ apiUrl, clientId: 'id', clientSecret: 'secret', code: 'a=', now: () => NOW_MS });
    assert.deepEqual([await exchange(), await exchange()], ['one', 'two']);
    await assert.rejects(exchange(), { code: 'intercom_rejected' });
    const client = createIntercomClient({ apiUrl, accessToken: 'token' });
    const read: string[] = [];
    while (regions.length > 0) read.push((await client.me()).app.region);
    assert.deepEqual(read, ['EU', 'AU', 'US', 'US']);
  });

  test('an outage at the end of several merges is not a deleted contact, and merges without end are', async (t) => {
    const app = express();
    app.get('/contacts/:id', (req, res) => {
      const next = Number(req.params.id) + 1;
      if (next === 4) return void res.status(503).json({});
      res.status(410).set('Link', `</contacts/${next}>; rel="canonical"`).json({});
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    await assert.rejects(client.followContact('0'), { code: 'intercom_unavailable' });
    assert.equal(await client.followContact('4'), null);
  });

  test('/me says whether identity verification is enforced; bots and odd items of a list are left out', async (t) => {
    const app = express();
    const seen: unknown[] = [];
    app.get('/me', (req, res) => {
      seen.push(req.get('Intercom-Version'), req.get('Authorization'), req.get('Content-Type'));
      res.json({ id: 1, app: { id_code: 'abc123', identity_verification: true, secure: false } });
    });
    app.get('/admins', (_req, res) => {
      res.json({
        admins: [
          { type: 'admin', id: '1', name: 'Ada', email: 'ada@example.com' },
          { type: 'admin', id: '2', name: 'Without an e-mail', email: null },
          { type: 'admin', id: '3', name: 'Fin', email: 'operator+abc123@intercom.io' },
          { type: 'bot', id: '4', name: 'Bot', email: null },
          // API 2.16 describes an admin as nullable, and requires none of its fields.
          null,
          { type: 'admin' },
        ],
      });
    });
    app.get('/data_attributes', (_req, res) => {
      res.json({ data: [{ name: 'half' }, { name: 'plan', data_type: 'string' }] });
    });
    const intercom = await listenOnLoopback(app);
    t.after(() => intercom.close());
    const client = createIntercomClient({ apiUrl: intercom.url, accessToken: 'token' });
    const { app: me } = await client.me();
    assert.equal(me.identity_verification, true);
    assert.deepEqual(seen, ['2.16', 'Bearer token', undefined]);
    assert.deepEqual(
      (await client.listAdmins()).map(({ id }) => id),
      ['1', '2'],
    );
    const attributes = await client.listDataAttributes();
    assert.deepEqual(
      attributes.map(({ name }) => name),
      ['plan'],
    );
  });
});
