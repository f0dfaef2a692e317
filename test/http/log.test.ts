import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { AppError } from '../../src/errors.ts';
import { lettersOf } from '../../src/grants/notes.ts';
import { createLogger, describeError } from '../../src/logger.ts';
import { signBody } from '../../src/simulator/intercom/app-caller.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, WORKSPACE_ID } from '../support/world.ts';

/** Everything that identifies a person begins with this. */
const MARK = 'zqperson';
const PERSON = { id: `${MARK}-id`, email: `${MARK}@mail.example`, name: `${MARK} Lovelace` };

describe('the log', () => {
  let product: Product;
  let output = '';
  const encryptionKey = randomBytes(32).toString('base64');
  const lines = (): Record<string, unknown>[] =>
    output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));

  before(async () => {
    const destination = {
      write(text: string) {
        output += text;
      },
    };
    product = await createProduct({
      logger: createLogger('debug', destination),
      environment: { ENCRYPTION_KEYS: encryptionKey, METRICS_TOKEN: 'zqsecret-metrics' },
    });
  });
  after(() => product?.close());

  const sendWebhook = (fields: Record<string, unknown>, authorization = product.webhook.authorization) =>
    fetch(`${product.webhook.url}?from=${PERSON.email}`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Authorization: authorization,
        'X-Request-Id': 'webhook-request-1',
      },
      body: JSON.stringify({
        event: eventBody({
          app_user_id: PERSON.id,
          original_app_user_id: PERSON.id,
          aliases: [PERSON.id],
          transaction_id: `${MARK}-transaction`,
          original_transaction_id: `${MARK}-transaction`,
          subscriber_attributes: {
            $email: { value: PERSON.email, updated_at_ms: 1 },
            $displayName: { value: PERSON.name, updated_at_ms: 1 },
          },
          ...fields,
        }),
      }),
    });

  async function openCard(componentId?: string): Promise<number> {
    const body = JSON.stringify({
      workspace_id: WORKSPACE_ID,
      admin: { id: '7001', name: 'zqperson Agent', email: 'zqperson-agent@mail.example' },
      contact: { id: 'c1', external_id: PERSON.id, email: PERSON.email, name: PERSON.name },
      conversation: { id: '55', source: { body: `I am ${PERSON.name}` } },
      ...(componentId === undefined
        ? {}
        : { component_id: componentId, input_values: { 'match.query': PERSON.email } }),
    });
    const answer = await fetch(
      `${product.server.url}/canvas/inbox/${componentId ? 'submit' : 'initialize'}`,
      {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Body-Signature': signBody(CLIENT_SECRET, body) },
        body,
      },
    );
    return answer.status;
  }

  test('a request’s line has its id, its workspace, its status and how long it took', async () => {
    assert.equal((await sendWebhook({ id: 'log-1' })).status, 200);
    assert.equal((await sendWebhook({ id: 'log-1' }, `Bearer zqsecret-wrong`)).status, 401);
    assert.equal(await openCard(), 200);
    await until(() => lines().filter((line) => line.msg === 'answered').length >= 3, 'the lines');
    const accepted = lines().find((line) => line.requestId === 'webhook-request-1' && line.status === 200);
    assert.deepEqual(
      [accepted?.level, accepted?.workspaceId, accepted?.method, typeof accepted?.ms],
      ['debug', WORKSPACE_ID, 'POST', 'number'],
    );
    const refused = lines().find((line) => line.status === 401);
    assert.deepEqual([refused?.level, refused?.workspaceId], ['info', WORKSPACE_ID]);
    const card = lines().find((line) => line.path === '/canvas/inbox/initialize');
    assert.equal(card?.workspaceId, WORKSPACE_ID);
    assert.match(String(card?.requestId), /^[\w-]{8,64}$/);
  });

  test('an error is logged with its stack, and without personal data or secrets', async () => {
    const { database } = product.db;
    await openCard('match.search');
    await openCard('refresh');
    // PostgreSQL's errors quote a value that it cannot read, and all of a row that it refuses.
    await database.query('alter table webhooks alter column payload type bigint using 1');
    assert.equal((await sendWebhook({ id: 'log-2' })).status, 500);
    await database.query('alter table webhooks alter column payload type text');
    await database.query(`alter table webhooks add constraint no_renewal check (event_id <> 'log-3')`);
    assert.equal((await sendWebhook({ id: 'log-3', type: 'RENEWAL' })).status, 500);
    await database.query('alter table subscriber_summaries rename to elsewhere');
    assert.equal(await openCard(), 200);
    await database.query('alter table elsewhere rename to subscriber_summaries');
    // Both platforms fail in ways for which the HTTP client's error contains a token.
    product.intercom.faults.add({ pathPrefix: '/contacts', times: 2, status: 500 });
    product.revenueCat.faults.add({ times: 2, status: 503 });
    product.intercom.addContact(WORKSPACE_ID, {
      role: 'user',
      externalId: PERSON.id,
      email: PERSON.email,
      name: PERSON.name,
    });
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: PERSON.id });
    assert.equal((await sendWebhook({ id: 'log-4', event_timestamp_ms: Date.now() })).status, 200);
    await openCard('refresh');
    const failures = () => product.intercom.faults.requests().filter(({ status }) => status === 500);
    await until(() => failures().length === 2, 'the delivery to fail, and to be tried again');
    const { url } = product.server;
    const strange = await Promise.all([
      fetch(`${url}/oauth/callback?code=zqsecret-code&state=zqsecret-state`, { redirect: 'manual' }),
      fetch(`${url}/metrics`, { headers: { Authorization: 'Bearer zqsecret-metrics' } }),
      fetch(`${url}/who/${PERSON.email}`),
      fetch(`${url}/support/${encodeURIComponent(PERSON.email)}`),
      fetch(`${url}/settings?email=${PERSON.email}`, {
        headers: { Cookie: 'st_session=zqsecret-session' },
        redirect: 'manual',
      }),
      fetch(`${url}/webhooks/intercom`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: `{"x":"${MARK}"}`,
      }),
    ]);
    assert.ok(strange.every((answer) => answer.status < 500));
    await until(() => lines().some((line) => line.path === '/webhooks/intercom'), 'the lines');

    const failed = lines().filter((line) => line.msg === 'request failed');
    assert.equal(failed.length, 2);
    for (const line of failed) {
      assert.deepEqual([line.requestId, line.workspaceId], ['webhook-request-1', WORKSPACE_ID]);
      assert.match((line.err as { stack: string }).stack, /ingestion\/journal\.ts/);
    }
    assert.equal((failed[1]?.err as { constraint?: string } | undefined)?.constraint, 'no_renewal');
    assert.ok(lines().some((line) => line.msg === 'card failed' && line.workspaceId === WORKSPACE_ID));

    assert.doesNotMatch(output, new RegExp(MARK));
    assert.doesNotMatch(output, /zqsecret/);
    const secrets = [
      encryptionKey,
      CLIENT_SECRET,
      product.webhook.authorization,
      ...product.intercom.state.tokens.keys(),
      product.revenueCat.issueKey(REVENUECAT_PROJECT_ID).slice(0, 6),
    ];
    for (const secret of secrets)
      assert.ok(!output.includes(secret), `a secret that begins with ${secret.slice(0, 4)}`);
  });
});

test('an error is described without the values that libraries hang on it', () => {
  const database = new pg.DatabaseError(
    `invalid input syntax for type bigint: "${PERSON.email}"`,
    1,
    'error',
  );
  Object.assign(database, {
    code: '22P02',
    detail: `Failing row contains (${PERSON.email})`,
    where: PERSON.name,
    table: 'events',
  });
  const http = Object.assign(new Error(`no user ${PERSON.email}`), {
    code: 'ERR_BAD_REQUEST',
    config: { headers: { Authorization: 'Bearer zqsecret' }, data: PERSON.name },
  });
  const ours = new AppError('intercom_unavailable', 'Intercom does not answer', {
    upstreamStatus: 502,
    cause: http,
  });
  const query = Object.assign(new Error('failed'), {
    driverError: database,
    parameters: [PERSON.email],
    query: 'select',
  });
  const described = [database, http, ours, query, new Error(`postgres://me:zqsecret@host/db`), PERSON].map(
    (error) => describeError(error),
  );
  const text = JSON.stringify(described);
  assert.doesNotMatch(text, /zqperson|zqsecret/);
  assert.deepEqual(
    [described[0]?.code, described[0]?.table, described[2]?.status, described[2]?.cause?.code],
    ['22P02', 'events', 502, 'ERR_BAD_REQUEST'],
  );
  assert.equal(described[3]?.cause?.code, '22P02');
  // An error as pg-boss passes it on.
  const { message } = describeError({ message: `no connection for ${PERSON.email}`, queue: PERSON.name });
  assert.equal(message, 'no connection for …@…');
  assert.match(String(described[0]?.message), /invalid input syntax for type bigint/);
});

test('redacting and comparing take linear time, whatever a stranger writes', () => {
  const startedAt = process.cpuUsage();
  const long = 'a'.repeat(1024 * 1024);
  assert.ok(describeError(new Error(long)).message.length <= 300);
  assert.doesNotMatch(
    describeError(new Error(`${'" '.repeat(995)}erin@example.com ${long}`)).message,
    /erin/,
  );
  assert.equal(lettersOf(`${'<a'.repeat(512 * 1024)}`).length, 512 * 1024);
  // With quadratic time it would be hours.
  assert.ok(process.cpuUsage(startedAt).user < 5_000_000);
});
