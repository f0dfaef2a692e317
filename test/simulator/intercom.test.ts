import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import request from 'supertest';
import { signBody, signWebhook } from '../../src/simulator/intercom/app-caller.ts';
import { createIntercomSimulator, type IntercomSimulator } from '../../src/simulator/intercom/server.ts';

const NOW = Date.parse('2026-11-20T12:00:00Z');
const NOW_S = NOW / 1_000;
let nowMs = NOW;
let simulator: IntercomSimulator;
let token: string;
let contactId: string;

beforeEach(() => {
  nowMs = NOW;
  simulator = createIntercomSimulator({
    now: () => nowMs,
    clientId: 'client',
    clientSecret: 'secret',
    rateLimitPer10s: 30,
  });
  simulator.addWorkspace({ id: 'ws1', name: 'Acme' });
  simulator.addAdmin('ws1', { id: '7', name: 'Ada' });
  simulator.addAttribute('ws1', 'subscription_status');
  simulator.addAttribute('ws1', 'expires_at', 'date');
  contactId = simulator.addContact('ws1', { externalId: 'user-1', email: 'a@example.com' }).id;
  simulator.addConversation('ws1', { id: '42', contactIds: [contactId] });
  token = simulator.issueToken('ws1');
});

type Body = Record<string, unknown>;
const call = (method: 'get' | 'post' | 'put' | 'delete', path: string, body?: Body) => {
  const started = request(simulator.app)
    [method](path)
    .set('Authorization', `Bearer ${token}`)
    .set('Intercom-Version', '2.16');
  return body === undefined ? started : started.send(body);
};
const event = (changes: Body = {}): Body => ({
  event_name: 'bought',
  created_at: NOW_S,
  id: '',
  metadata: {},
  ...changes,
});
const search = (filter: Body) =>
  call('post', '/contacts/search', { query: { field: 'email', operator: '=', value: 'x', ...filter } });
const send = (changes: Body = {}) => call('post', '/events', event({ id: contactId, ...changes }));

test('signatures match the vectors', () => {
  const body = '{"workspace_id":"abc123","component_id":"grant"}';
  assert.equal(
    signBody('test_client_secret', body),
    'efa2fa5f23f30ca4f6d99a1ee3e0fc614478592b1054b1a6c61e0d13361f412e',
  );
  assert.equal(signWebhook('test_client_secret', body), 'sha1=95137a5d3a33c55f7909290aa382b3c24ff8baef');
});

const refusals: [string, () => request.Test, number, string][] = [
  ['no token', () => request(simulator.app).get('/me'), 401, 'missing_authorization'],
  [
    'wrong token',
    () => request(simulator.app).get('/me').set('Authorization', 'Bearer x'),
    401,
    'unauthorized',
  ],
  [
    'unknown version',
    () => call('get', '/me').set('Intercom-Version', '9.9'),
    400,
    'intercom_version_invalid',
  ],
  ['wrong Accept', () => call('get', '/me').set('Accept', 'text/html'), 406, 'client_error'],
  ['broken JSON', () => call('post', '/contacts').type('json').send('{'), 400, 'parameter_invalid'],
  ['unknown path', () => call('get', '/nothing'), 404, 'not_found'],
  ['unknown contact', () => call('get', '/contacts/none'), 404, 'not_found'],
  ['known external id', () => call('post', '/contacts', { external_id: 'user-1' }), 409, 'conflict'],
  [
    'unknown attribute',
    () => call('put', `/contacts/${contactId}`, { custom_attributes: { nope: 1 } }),
    400,
    'parameter_invalid',
  ],
  [
    'wrong type',
    () => call('put', `/contacts/${contactId}`, { custom_attributes: { expires_at: 'x' } }),
    400,
    'parameter_invalid',
  ],
  ['event without time', () => send({ created_at: undefined }), 400, 'parameter_missing'],
  ['event in milliseconds', () => send({ created_at: NOW }), 400, 'parameter_invalid'],
  ['event with two identifiers', () => send({ user_id: 'user-1' }), 400, 'parameter_invalid'],
  ['event of an unknown contact', () => send({ id: 'none' }), 404, 'not_found'],
  [
    'negative price',
    () => send({ metadata: { price: { amount: -1, currency: 'usd' } } }),
    400,
    'parameter_invalid',
  ],
  ['date in milliseconds', () => send({ metadata: { ends_date: NOW } }), 400, 'parameter_invalid'],
  [
    'link without a web address',
    () => send({ metadata: { link: { url: 'javascript:alert(1)', value: 'x' } } }),
    400,
    'parameter_invalid',
  ],
  ['nested metadata', () => send({ metadata: { a: { b: 1 } } }), 400, 'parameter_invalid'],
  [
    'conversation attributes',
    () => call('get', '/data_attributes?model=conversation'),
    422,
    'parameter_invalid',
  ],
  [
    'attribute of an unknown type',
    () => call('post', '/data_attributes', { name: 'n', model: 'contact', data_type: 'x' }),
    400,
    'parameter_invalid',
  ],
  [
    'taken attribute',
    () => call('post', '/data_attributes', { name: 'expires_at', model: 'company', data_type: 'date' }),
    400,
    'parameter_invalid',
  ],
  [
    'attribute without a letter',
    () => call('post', '/data_attributes', { name: ' ', model: 'contact', data_type: 'string' }),
    400,
    'parameter_invalid',
  ],
  [
    'list of one option, twice',
    () =>
      call('post', '/data_attributes', {
        name: 'n',
        model: 'contact',
        data_type: 'options',
        options: [{ value: 'a' }, { value: 'a' }],
      }),
    400,
    'parameter_invalid',
  ],
  ['unknown attribute id', () => call('put', '/data_attributes/99', {}), 404, 'field_not_found'],
  ['unknown conversation', () => call('get', '/conversations/99'), 404, 'not_found'],
  ['search: another operator', () => search({ operator: '~' }), 400, 'parameter_invalid'],
  ['search: an object', () => search({ value: { a: 1 } }), 400, 'parameter_invalid'],
  ['search: unknown field', () => search({ field: 'custom_attributes.nope' }), 400, 'parameter_invalid'],
  [
    'contact: no e-mail',
    () => call('put', `/contacts/${contactId}`, { email: null }),
    400,
    'parameter_invalid',
  ],
  [
    'contact: owner',
    () => call('post', '/contacts', { role: 'lead', owner_id: 7 }),
    400,
    'parameter_invalid',
  ],
  [
    'unhealthy without a message',
    () => call('post', '/app_install/status', { state: 'UNHEALTHY' }),
    400,
    'parameter_invalid',
  ],
  [
    'wrong code',
    () =>
      request(simulator.app)
        .post('/auth/eagle/token')
        .send({ code: 'x', client_id: 'client', client_secret: 'secret' }),
    401,
    'unauthorized',
  ],
];

for (const [name, make, status, code] of refusals) {
  test(`refuses: ${name}`, async () => {
    const answer = await make();
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.body.type, 'error.list');
    assert.equal(answer.body.errors[0].code, code);
  });
}

test('events: stored once, ten keys, names cleaned', async () => {
  const metadata = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`k${index}`, index]));
  for (const name of ['a.b', 'A-B']) assert.equal((await send({ event_name: name, metadata })).status, 202);
  assert.equal(simulator.state.events.length, 1);
  assert.equal(simulator.state.events[0]?.name, 'a-b');
  assert.equal(Object.keys(simulator.state.events[0]?.metadata ?? {}).length, 10);
  assert.equal(simulator.state.duplicateEvents, 1);
});

test('a merged contact is 410 with a link to the remaining one, and 404 before 2.16', async () => {
  const lead = simulator.addContact('ws1', { role: 'lead', email: 'a@example.com' });
  simulator.contacts.merge(lead.id, contactId);
  const gone = await call('get', `/contacts/${lead.id}`);
  assert.equal(gone.status, 410);
  assert.equal(gone.headers.link, `</contacts/${contactId}>; rel="canonical"`);
  assert.equal((await call('get', `/contacts/${lead.id}`).set('Intercom-Version', '2.15')).status, 404);
  assert.equal((await call('get', `/contacts/${lead.id}/merge_history`)).status, 404);
});

test('the history of merges comes in pages, the newest first', async () => {
  const leads = [1, 2, 3].map(() => simulator.addContact('ws1', { role: 'lead' }).id);
  for (const lead of leads) simulator.contacts.merge(lead, contactId);
  const path = `/contacts/${contactId}/merge_history?per_page=2`;
  const first = (await call('get', path).expect(200)).body;
  const second = (await call('get', `${path}&cursor=${first.next_cursor}`).expect(200)).body;
  assert.deepEqual(
    [...first.data, ...second.data].map((merge) => merge.source_contact_id),
    leads.toReversed(),
  );
  assert.deepEqual(
    [first.has_more, second.has_more, Object.hasOwn(second, 'next_cursor')],
    [true, false, false],
  );
  assert.equal((await call('get', `/contacts/${contactId}/merge_history?per_page=151`)).status, 400);
});

test('attributes are merged by key and cleared by null; search finds by e-mail after the lag', async () => {
  await call('put', `/contacts/${contactId}`, {
    custom_attributes: { subscription_status: 'trial', expires_at: 5 },
  });
  await call('put', `/contacts/${contactId}`, { custom_attributes: { expires_at: null } });
  assert.deepEqual(simulator.state.contacts.get(contactId)?.customAttributes, {
    subscription_status: 'trial',
  });
  simulator.state.searchLagMs = 1_000;
  const query = { query: { field: 'email', operator: '=', value: 'A@example.com' } };
  assert.equal((await call('post', '/contacts/search', query)).body.total_count, 0);
  nowMs += 1_000;
  assert.equal((await call('post', '/contacts/search', query)).body.data[0].id, contactId);
});

test('rate limit: headers, 429, and a new window', async () => {
  for (let used = 1; used <= 30; used += 1) {
    assert.equal((await call('get', '/me')).headers['x-ratelimit-remaining'], String(30 - used));
  }
  const refused = await call('get', '/me');
  assert.equal(refused.status, 429);
  assert.equal(refused.body.errors[0].message, 'Exceeded rate limit of 30 in 10_seconds');
  assert.equal(refused.headers['x-ratelimit-reset'], String(NOW_S + 10));
  nowMs += 10_000;
  assert.equal((await call('get', '/me')).status, 200);
});

test('OAuth: consent, single-use code, me, uninstall', async () => {
  simulator.state.redirectUris.push('http://localhost:3000/oauth/callback');
  assert.equal((await request(simulator.app).get('/oauth?client_id=other')).status, 400);
  assert.equal(
    (await request(simulator.app).get('/oauth?client_id=client&redirect_uri=http://evil.test')).status,
    400,
  );
  const page = await request(simulator.app).get('/oauth?client_id=client&state=%22s');
  assert.match(page.text, /Authorize access/);
  const form = {
    client_id: 'client',
    redirect_uri: simulator.state.redirectUris[0],
    state: 's',
    workspace_id: 'ws1',
  };
  const back = await request(simulator.app).post('/oauth/authorize').type('form').send(form);
  const target = new URL(back.headers.location ?? '');
  const code = target.searchParams.get('code') ?? '';
  assert.ok(code.endsWith('='));
  const exchange = (given: string) =>
    request(simulator.app)
      .post('/auth/eagle/token')
      .type('form')
      .send({ code: given, client_id: 'client', client_secret: 'secret' });
  assert.equal((await exchange(code.slice(0, -1))).body.errors[0].message, 'Unauthorized Code');
  token = (await exchange(code)).body.access_token;
  assert.equal((await exchange(code)).status, 401);
  assert.equal((await call('get', '/me')).body.app.id_code, 'ws1');
  assert.equal((await call('post', '/auth/uninstall')).status, 200);
  assert.equal((await call('get', '/me')).body.errors[0].code, 'token_revoked');
});

test('a note needs a known teammate', async () => {
  const note = { message_type: 'note', type: 'admin', admin_id: '7', body: '<p>Granted</p>' };
  assert.equal(
    (await call('post', '/conversations/42/reply', { ...note, admin_id: '8' })).body.errors[0].code,
    'admin_not_found',
  );
  assert.equal((await call('post', '/conversations/42/reply', note)).status, 200);
  assert.equal(simulator.state.conversations.get('42')?.parts[0]?.body, '<p>Granted</p>');
});

test('faults: status, connection cut before and after the work, limited to a path', async () => {
  const listening = await simulator.listen();
  const post = (): Promise<number> =>
    fetch(`${listening.url}/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(event({ id: contactId })),
    }).then((answer) => answer.status);
  try {
    simulator.faults.add({ pathPrefix: '/events', drop: 'before', times: 1 });
    await assert.rejects(post);
    assert.equal(simulator.state.events.length, 0);
    simulator.faults.add({ pathPrefix: '/events', drop: 'after', times: 1 });
    await assert.rejects(post);
    assert.equal(simulator.state.events.length, 1);
    await fetch(`${listening.url}/__simulator/faults`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ status: 503, times: 1 }),
    });
    assert.equal(await post(), 503);
    simulator.faults.add({ token: 'expired', times: 1 });
    assert.equal(await post(), 401);
    assert.equal(await post(), 202);
    assert.equal(simulator.state.duplicateEvents, 1);
    assert.deepEqual(
      simulator.faults.requests().map((entry) => entry.status),
      [null, null, 503, 401, 202],
    );
    assert.throws(() => simulator.faults.add({ status: 200 }));
  } finally {
    await listening.close();
  }
});

let app: ReturnType<typeof createServer>;
let appUrl: string;
let answer: unknown;
let received: { path: string; headers: Record<string, unknown>; raw: string }[] = [];
before(async () => {
  app = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    received.push({ path: req.url ?? '', headers: req.headers, raw: Buffer.concat(chunks).toString() });
    res.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  const address = app.address();
  appUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});
after(() => app.close());

test('requests for canvases are signed and name teammate and contact, and the responses are reviewed', async () => {
  received = [];
  const press = {
    type: 'button',
    id: 'grant',
    label: 'Grant',
    style: 'secondary',
    action: { type: 'submit' },
  };
  answer = { canvas: { content: { components: [press] } } };
  const base = { appUrl, place: 'inbox', workspaceId: 'ws1', adminId: '7', conversationId: '42' } as const;
  const opened = await simulator.callCanvas({ ...base, flow: 'initialize' });
  assert.deepEqual([opened.problems, opened.findings], [[], []]);
  const [seen] = received;
  assert.equal(seen?.path, '/canvas/inbox/initialize');
  assert.equal(seen?.headers['x-body-signature'], signBody('secret', seen?.raw ?? ''));
  const body = JSON.parse(seen?.raw ?? '{}');
  assert.deepEqual([body.contact.id, body.customer.user_id, body.admin.id], [contactId, 'user-1', '7']);
  const currentCanvas = opened.canvas ?? {};
  await assert.rejects(simulator.callCanvas({ ...base, flow: 'submit', componentId: 'nope', currentCanvas }));
  answer = { canvas: { content: { components: [{ type: 'iframe' }] } } };
  const pressed = await simulator.callCanvas({
    ...base,
    flow: 'submit',
    componentId: 'grant',
    currentCanvas,
  });
  assert.equal(pressed.canvas, null);
  assert.equal(pressed.problems.length, 1);
});

test('webhooks of contact changes are signed and have ISO timestamps', async () => {
  received = [];
  simulator.state.webhookEndpoint = `${appUrl}/webhooks/intercom`;
  simulator.contacts.create('ws1', { externalId: 'user-2' });
  while (simulator.state.webhookDeliveries === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const [seen] = received;
  const body = JSON.parse(seen?.raw ?? '{}');
  assert.equal(seen?.headers['x-hub-signature'], signWebhook('secret', seen?.raw ?? ''));
  assert.deepEqual([body.topic, body.app_id], ['contact.user.created', 'ws1']);
  assert.equal(body.data.item.created_at, '2026-11-20T12:00:00.000+00:00');
});

test('a webhook that fails is sent once more after a minute, as the same notification', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const sent: Body[] = [];
  const endpoint = createServer((req, res) => {
    req.on('data', (chunk: Buffer) => sent.push(JSON.parse(chunk.toString()) as Body));
    req.on('end', () => res.writeHead(500).end());
  });
  await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
  t.after(() => endpoint.close());
  const { port } = endpoint.address() as { port: number };
  simulator.state.webhookEndpoint = `http://127.0.0.1:${port}`;
  const status = simulator.sendWebhook('contact.deleted', { type: 'contact' }, 'ws1');
  while (simulator.state.webhookDeliveries === 0) await new Promise((resolve) => setImmediate(resolve));
  nowMs += 60_000;
  t.mock.timers.tick(60_000);
  assert.equal(await status, 500);
  const again = { ...sent[0], delivery_attempts: 2 };
  assert.deepEqual(sent, [{ ...again, delivery_attempts: 1 }, again]);
});

test('webhooks are as sparse as the recorded ones, and only for topics of the manifest', async (t) => {
  const received: { topic: string; item: Body }[] = [];
  const endpoint = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const { topic, data } = JSON.parse(Buffer.concat(chunks).toString()) as {
        topic: string;
        data: { item: Body };
      };
      received.push({ topic, item: data.item });
      res.end();
    });
  });
  await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
  t.after(() => endpoint.close());
  const { port } = endpoint.address() as { port: number };
  simulator.state.webhookEndpoint = `http://127.0.0.1:${port}`;
  const { contacts } = simulator;
  const lead = contacts.create('ws1', { role: 'lead', email: 'b@example.com' });
  contacts.archive(contactId);
  contacts.unarchive(contactId);
  contacts.merge(lead.id, contactId);
  const written = { custom_attributes: { subscription_status: 'active' } };
  await call('put', `/contacts/${contactId}`, written).expect(200);
  await send();
  contacts.remove(contactId);
  const expected = ['contact.lead.created', 'contact.archived', 'contact.unarchived', 'contact.merged'];
  while (received.length < expected.length + 1) await new Promise((resolve) => setImmediate(resolve));
  const items = new Map(received.map(({ topic, item }) => [topic, item]));
  assert.deepEqual([...items.keys()].sort(), [...expected, 'contact.deleted'].sort());
  const minimal = { id: contactId, external_id: 'user-1', type: 'contact' };
  assert.deepEqual(items.get('contact.archived'), { ...minimal, archived: true });
  assert.deepEqual(items.get('contact.deleted'), { ...minimal, deleted: true });
  assert.equal(items.get('contact.unarchived')?.id, contactId);
  const { android_device, ios_sdk_version, location } = items.get('contact.unarchived') ?? {};
  assert.deepEqual([android_device, ios_sdk_version, (location as Body).continent_code], [null, null, null]);
  for (const field of ['merged_from', 'email_domain', 'email_verified'])
    assert.equal(Object.hasOwn(items.get('contact.merged') ?? {}, field), false, field);
});

test('a visitor who signs up is sent in the legacy user model, when the topic is subscribed', async (t) => {
  const sent: Body[] = [];
  const endpoint = createServer((req, res) => {
    req.on('data', (chunk: Buffer) => sent.push(JSON.parse(chunk.toString()) as Body));
    req.on('end', () => res.end());
  });
  await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
  t.after(() => endpoint.close());
  const { port } = endpoint.address() as { port: number };
  simulator.state.webhookEndpoint = `http://127.0.0.1:${port}`;
  simulator.state.webhookTopics = new Set(['visitor.signed_up']);
  const { id } = simulator.contacts.visitorSignUp('ws1', { externalId: 'user-2', email: 'c@example.com' });
  while (sent.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const { item } = (sent[0] as { data: { item: Body } }).data;
  assert.deepEqual(
    [item.type, item.id, item.user_id, item.app_id, Object.hasOwn(item, 'external_id')],
    ['user', id, 'user-2', 'ws1', false],
  );
  assert.deepEqual(
    ['pseudonym', 'last_request_at', 'referrer', 'utm_term', 'do_not_track', 'user_agent_data'].filter(
      (field) => !Object.hasOwn(item, field),
    ),
    [],
    'as recorded',
  );
  assert.equal(await simulator.sendWebhook('ping', { type: 'ping' }, 'ws1'), 200);
  assert.deepEqual([sent[1]?.topic, sent[1]?.id, sent[1]?.delivery_status], ['ping', null, null]);
});

test('/me says whether identity verification is enforced', async () => {
  for (const enforced of [true, false]) {
    const workspace = simulator.state.workspaces.get('ws1');
    assert.ok(workspace);
    workspace.identityVerification = enforced;
    const { body } = await call('get', '/me').expect(200);
    assert.equal(body.app.identity_verification, enforced);
    assert.equal(body.app.secure, enforced);
    assert.deepEqual(
      Object.keys(body).sort(),
      ['app', 'avatar', 'email', 'email_verified', 'has_inbox_seat', 'id', 'name', 'type'],
      'as recorded',
    );
  }
});

test('the bot is among the admins, and a plan can refuse with 402 or 403', async () => {
  const { body } = await call('get', '/admins').expect(200);
  const emails = (body.admins as { email: string }[]).map(({ email }) => email);
  assert.equal(emails.length, 2);
  assert.ok(emails.some((email) => email.startsWith('operator+')));
  const workspace = simulator.state.workspaces.get('ws1');
  assert.ok(workspace);
  for (const status of [402, 403] as const) {
    workspace.planRefusal = status;
    const refused = await send().expect(status);
    assert.equal(refused.body.errors[0].code, 'api_plan_restricted');
  }
});

test('Intercom’s own attributes have no id; each limit has its own code', async () => {
  const { body } = await call('get', '/data_attributes?model=contact').expect(200);
  const standard = (body.data as Body[]).filter(({ custom }) => custom === false);
  assert.ok(standard.length > 3);
  assert.ok(standard.every((attribute) => !Object.hasOwn(attribute, 'id')));
  for (let count = 3; count <= 250; count += 1) simulator.addAttribute('ws1', `attribute_${count}`);
  const attribute = await call('post', '/data_attributes', {
    name: 'one_more',
    model: 'contact',
    data_type: 'string',
  });
  assert.equal(attribute.body.errors[0].code, 'custom_data_limit_reached');
  const [first] = simulator.state.attributes;
  assert.ok(first);
  first.archived = true;
  simulator.addAttribute('ws1', 'attribute_251');
  const back = await call('put', `/data_attributes/${first.id}`, { archived: false });
  assert.equal(back.body.errors[0].code, 'custom_data_limit_reached');
  const names = Array.from({ length: 120 }, (_, index) => `event_${index}`);
  simulator.state.eventNames.set('ws1', new Set(names));
  const refused = await send({ event_name: 'event_120' });
  assert.notEqual(refused.body.errors[0].code, 'custom_data_limit_reached');
  assert.equal(refused.status, 422);
});

test('a thread of quoting e-mail is as large as real ones, and a teammate’s view has no contact', async (t) => {
  const seen: { bytes: number; body: Body }[] = [];
  const app = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const raw = Buffer.concat(chunks);
      seen.push({ bytes: raw.length, body: JSON.parse(raw.toString()) as Body });
      const content = { components: [{ type: 'text', text: 'Hello' }] };
      const isLive = req.url?.endsWith('/live');
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify(isLive ? { content } : { canvas: { content } }));
    });
  });
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
  t.after(() => app.close());
  const { port } = app.address() as { port: number };
  const appUrl = `http://127.0.0.1:${port}`;
  simulator.addConversation('ws1', { id: '43', contactIds: [contactId], quotingReplies: 150 });
  const base = { appUrl, workspaceId: 'ws1', conversationId: '43' } as const;
  await simulator.callCanvas({ ...base, place: 'inbox', flow: 'initialize', adminId: '7', contactId });
  assert.ok((seen[0]?.bytes ?? 0) > 300_000, `${seen[0]?.bytes} bytes`);
  await simulator.callCanvas({ ...base, place: 'messenger', flow: 'live', withoutContact: true });
  assert.equal(Object.hasOwn(seen[1]?.body ?? {}, 'contact'), false);
});
