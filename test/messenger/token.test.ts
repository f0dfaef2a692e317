import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import jwt from 'jsonwebtoken';
import { revokeApiKey, setMessengerSecret } from '../../src/messenger/api-keys.ts';
import { signIdentityToken } from '../../src/messenger/identity-token.ts';
import { DAY_MS } from '../../src/time.ts';
import { disconnectProject } from '../../src/workspaces/project-connection.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { until } from '../support/wait.ts';
import { secrets } from '../support/world.ts';
import {
  addCustomer,
  addEvent,
  createMessengerSite,
  MESSENGER_SECRET,
  type MessengerSite,
} from './support.ts';

const PATH = '/api/messenger/token';

let site: MessengerSite;
let key: string;
before(async () => {
  site = await createMessengerSite();
  ({ key } = await site.makeKey());
  await addCustomer(site, ['user-1'], [{}]);
});
after(() => site.close());

function claimsOf(token: string): Record<string, unknown> {
  const clockTimestamp = Math.floor(site.clock.nowMs / 1_000);
  return jwt.verify(token, MESSENGER_SECRET, { algorithms: ['HS256'], clockTimestamp }) as Record<
    string,
    unknown
  >;
}

describe('the identity token', () => {
  it('names the customer and carries their subscription, for two hours', async () => {
    const answer = await site
      .post(PATH, key, { user_id: 'user-1', email: 'a@example.com', name: 'Ann Berg' })
      .expect(200);
    const nowS = Math.floor(site.clock.nowMs / 1_000);
    assert.deepEqual(Object.keys(answer.body).sort(), ['expires_at', 'token']);
    assert.equal(answer.body.expires_at, nowS + 7_200);
    assert.equal(answer.headers['cache-control'], 'no-store');
    const claims = claimsOf(answer.body.token);
    assert.equal(claims.user_id, 'user-1');
    assert.equal(claims.email, 'a@example.com');
    assert.equal(claims.name, 'Ann Berg');
    assert.equal(claims.exp, nowS + 7_200);
    assert.equal(claims.subscription_status, 'active');
    assert.equal(claims.latest_store, 'APP_STORE');
    assert.equal(claims.rc_entitlements, 'pro');
    assert.equal(claims.expires_at, (START_MS + 30 * DAY_MS) / 1_000);
    // Intercom takes flat attributes only.
    for (const value of Object.values(claims)) assert.notEqual(typeof value, 'object');
  });

  it('records when its key was used last', async () => {
    const fresh = await site.makeKey();
    const lastUsed = async () => {
      const [row] = await site.db.database.query<{ at: Date | null }>(
        'select last_used_at as at from api_keys where workspace_id = $1 and key_id = $2',
        ['abc123', fresh.keyId],
      );
      return row?.at;
    };
    assert.equal(await lastUsed(), null);
    await site.post(PATH, fresh.key, { user_id: 'user-1' }).expect(200);
    await until(lastUsed, 'the use to be recorded');
  });

  it('carries an internationalised email address', async () => {
    const email = 'müller@exämple.de';
    const answer = await site.post(PATH, key, { user_id: 'user-1', email }).expect(200);
    assert.equal(claimsOf(answer.body.token).email, email);
  });

  it('has no attributes for a customer unknown to RevenueCat', async () => {
    const answer = await site.post(PATH, key, { user_id: 'New User/7', email: null }).expect(200);
    assert.deepEqual(Object.keys(claimsOf(answer.body.token)).sort(), ['exp', 'iat', 'user_id']);
  });

  it('has the current state after each event and as time passes', async () => {
    const subscriberId = await addCustomer(site, ['changing'], [{}]);
    const statusNow = async (): Promise<unknown> => {
      const answer = await site.post(PATH, key, { user_id: 'changing' }).expect(200);
      return claimsOf(answer.body.token).subscription_status;
    };
    assert.equal(await statusNow(), 'active');
    const stored = () =>
      site.db.database.query('select 1 from subscriber_summaries where subscriber_id = $1', [subscriberId]);
    await until(async () => (await stored()).length === 1, 'the stored summary');
    assert.equal(await statusNow(), 'active');
    await addEvent(
      site,
      { workspaceId: 'abc123', subscriberId },
      eventBody({
        type: 'CANCELLATION',
        cancel_reason: 'UNSUBSCRIBE',
        event_timestamp_ms: START_MS + DAY_MS,
      }),
    );
    await site.db.database.query('update subscribers set version = version + 1 where subscriber_id = $1', [
      subscriberId,
    ]);
    assert.equal(await statusNow(), 'cancelled');
    const { nowMs } = site.clock;
    site.clock.nowMs = START_MS + 31 * DAY_MS;
    assert.equal(await statusNow(), 'expired');
    site.clock.nowMs = nowMs;
  });

  it('is of the project in which the customer has access, and of no disconnected one', async () => {
    const { database } = site.db;
    const project = { workspaceId: 'abc123', projectId: 'abc123-p2' };
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ('abc123', 'abc123-p2', 'proj2', 'Second', 'h')`,
    );
    const second = await addCustomer(site, ['in-two'], [{ entitlement_ids: ['second'] }]);
    for (const table of ['events', 'subscriber_ids', 'subscribers'])
      await database.query(`update ${table} set project_id = 'abc123-p2' where subscriber_id = $1`, [second]);
    const ended = { type: 'EXPIRATION', event_timestamp_ms: START_MS + 2 * DAY_MS };
    await addCustomer(site, ['in-two'], [{ ...ended, expiration_at_ms: START_MS + DAY_MS }]);
    const entitlements = async (): Promise<unknown> =>
      claimsOf((await site.post(PATH, key, { user_id: 'in-two' }).expect(200)).body.token).rc_entitlements;
    assert.equal(await entitlements(), 'second');
    await disconnectProject(database, project);
    assert.equal(await entitlements(), undefined);
  });

  it('never uses another workspace’s customer with the same id', async () => {
    const { key: others } = await site.makeKey('messenger', 'other1');
    const answer = await site.post(PATH, others, { user_id: 'user-1' }).expect(200);
    assert.equal(claimsOf(answer.body.token).subscription_status, undefined);
  });

  it('is signed as Intercom verifies it', () => {
    const user = { userId: 'rc_user_1', email: 'a@example.com', name: null };
    const { token } = signIdentityToken(MESSENGER_SECRET, user, {
      customer: null,
      nowMs: 4_102_444_800_000 - 7_200_000,
    });
    const [header = '', , signature] = token.split('.');
    assert.deepEqual(JSON.parse(Buffer.from(header, 'base64url').toString()), { alg: 'HS256', typ: 'JWT' });
    assert.ok(signature);
    assert.throws(() => jwt.verify(token, 'another secret', { clockTimestamp: 4_102_440_000 }));
    // Made by another implementation from the claims user_id, email and exp.
    const known =
      'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoicmNfdXNlcl8xIiwiZW1haWwiOiJhQGV4YW1wbGUuY29tIiwiZXhwIjo0MTAyNDQ0ODAwfQ.FIVFgMlmvavfX7hX7M__4kaA5n2K9oLkvmE5XK32rA8';
    const claims = { user_id: 'rc_user_1', email: 'a@example.com', exp: 4_102_444_800 };
    assert.equal(jwt.sign(claims, MESSENGER_SECRET, { noTimestamp: true }), known);
  });
});

describe('an error', () => {
  const fails = async (
    request: ReturnType<MessengerSite['post']>,
    status: number,
    code: string,
  ): Promise<Record<string, string>> => {
    const answer = await request;
    assert.equal(answer.body.error?.code, code, JSON.stringify(answer.body));
    assert.equal(answer.status, status);
    assert.ok(answer.body.error.message.length > 20);
    assert.ok(!answer.text.includes(MESSENGER_SECRET) && !answer.text.includes(key));
    return answer.headers as Record<string, string>;
  };

  it('explains what is wrong with the key', async () => {
    const user = { user_id: 'user-1' };
    const headers = await fails(site.post(PATH, null, user), 401, 'api_key_missing');
    assert.equal(headers['www-authenticate'], 'Bearer');
    await fails(site.post(PATH, 'nonsense', user), 401, 'api_key_invalid');
    const wrong = key.slice(0, -1) + (key.endsWith('0') ? '1' : '0');
    await fails(site.post(PATH, wrong, user), 401, 'api_key_invalid');
    await fails(site.post(PATH, key.replace('abc123', 'other1'), user), 401, 'api_key_invalid');
    const fin = await site.makeKey('fin');
    const ofFin = site.post(PATH, fin.key, user).expect(403, /Create one for the Messenger/);
    await fails(ofFin, 403, 'api_key_kind');
    const revoked = await site.makeKey();
    await site.post(PATH, revoked.key, user).expect(200);
    await revokeApiKey(site.db.database, 'abc123', revoked.keyId);
    await fails(site.post(PATH, revoked.key, user), 401, 'api_key_revoked');
  });

  it('explains what is wrong with the user', async () => {
    await fails(site.post(PATH, key, {}), 400, 'user_id_missing');
    await fails(site.post(PATH, key, { user_id: 17 }), 400, 'user_id_invalid');
    await fails(site.post(PATH, key, { user_id: ' user-1' }), 400, 'user_id_invalid');
    await fails(site.post(PATH, key, { user_id: 'x'.repeat(256) }), 400, 'user_id_invalid');
    for (const control of ['\u0007', '\0'])
      await fails(site.post(PATH, key, { user_id: `a${control}b` }), 400, 'user_id_invalid');
    for (const blocked of ['null', 'Undefined', '0', '[object Object]', 'NO_USER', '{{user_id}}']) {
      await fails(site.post(PATH, key, { user_id: blocked }), 400, 'user_id_blocked');
    }
    const long = `${'é'.repeat(60)}@${'x'.repeat(191)}.de`;
    for (const email of ['nobody', 'a b@example.com', 'a\u0007@example.com', long])
      await fails(site.post(PATH, key, { user_id: 'user-1', email }), 400, 'email_invalid');
    await fails(site.post(PATH, key, { user_id: 'user-1', email: 3 }), 400, 'email_invalid');
    for (const name of [['A'], ' ', 'A\u0007', 'x'.repeat(256)])
      await fails(site.post(PATH, key, { user_id: 'user-1', name }), 400, 'name_invalid');
  });

  it('explains what is wrong with the body', async () => {
    const json = (text: string) => site.post(PATH, key).set('Content-Type', 'application/json').send(text);
    await fails(json('{"user_id":'), 400, 'invalid_json');
    await fails(json('["user-1"]'), 400, 'bad_request');
    await fails(json('null'), 400, 'bad_request');
    await fails(site.post(PATH, key).type('form').send('user_id=user-1'), 415, 'unsupported_media_type');
    await fails(json(JSON.stringify({ user_id: 'u', pad: 'x'.repeat(20_000) })), 413, 'payload_too_large');
  });

  it('explains what is missing in the workspace', async () => {
    await setMessengerSecret(site.db.database, 'abc123', null);
    await fails(site.post(PATH, key, { user_id: 'user-1' }), 409, 'messenger_secret_missing');
    await fails(
      site.post('/api/messenger/support-link', key, { user_id: 'user-1' }),
      409,
      'messenger_secret_missing',
    );
    const encrypted = secrets.encrypt(MESSENGER_SECRET, secretLocation.messengerSecret('abc123'));
    await setMessengerSecret(site.db.database, 'abc123', encrypted);
    await site.post(PATH, key, { user_id: 'user-1' }).expect(200);
  });

  it('limits one key without limiting the others, and says how long to wait', async (t) => {
    const greedy = await site.makeKey();
    // On a busy machine, all these requests take longer than the limit's ten seconds.
    t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() });
    // With its timers mocked, `fetch` does not notice that the server closes a connection after five seconds.
    site.server.keepAliveTimeout = 60_000;
    const request = {
      method: 'POST',
      headers: { Authorization: `Bearer ${greedy.key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ user_id: 'unknown-user' }),
    };
    let limited = 0;
    for (let batch = 0; batch < 51; batch += 1) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const answer = await fetch(`${site.url}${PATH}`, request);
          return { answer, body: (await answer.json()) as { error?: { code: string } } };
        }),
      );
      for (const { answer, body } of answers) {
        if (answer.status === 200) continue;
        assert.equal(answer.status, 429);
        assert.equal(body.error?.code, 'rate_limited');
        assert.ok(Number(answer.headers.get('retry-after')) >= 1);
        limited += 1;
      }
    }
    assert.equal(limited, 20);
    await site.post(PATH, key, { user_id: 'user-1' }).expect(200);
  });

  it('limits wrong keys from an address, but not the right key from the same one', async () => {
    await site.post(PATH, key, { user_id: 'user-1' }).expect(200);
    const wrong = key.slice(0, -1) + (key.endsWith('0') ? '1' : '0');
    const statuses: number[] = [];
    // The minute that earlier requests began may end in between, which allows 60 more.
    while (statuses.length < 122 && statuses.at(-1) !== 429)
      statuses.push((await site.post(PATH, wrong, { user_id: 'user-1' })).status);
    assert.deepEqual([statuses[0], statuses.at(-1)], [401, 429]);
    await site.post(PATH, key, { user_id: 'user-1' }).expect(200);
  });
});
