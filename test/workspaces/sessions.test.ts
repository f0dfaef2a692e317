import assert from 'node:assert/strict';
import { after, before, it, mock } from 'node:test';
import supertest from 'supertest';
import { checkInstallations } from '../../src/workspaces/install.ts';
import { listSessions } from '../../src/workspaces/sessions.ts';
import { createSite, csrfIn, type Site } from './support.ts';

let site: Site;
before(async () => {
  site = await createSite({ production: true });
});
after(() => site.close());

/** Signs in and returns the cookie as the browser would send it. @param before the browser's session until then */
async function sessionCookie(workspaceId: string, adminId?: string, before = ''): Promise<string> {
  const begun = await supertest(site.server).get('/install').expect(302);
  const state = String(begun.headers['set-cookie']).split(';')[0] ?? '';
  const callback = await site.consent(String(begun.headers.location), workspaceId, adminId);
  const cookieHeader = [state, before].filter(Boolean).join('; ');
  const answer = await supertest(site.server).get(callback).set('Cookie', cookieHeader).expect(302);
  const cookies = answer.headers['set-cookie'] as unknown as string[];
  const cookie = cookies.find((each) => each.startsWith('__Host-st_session=')) ?? '';
  assert.match(cookie, /HttpOnly/);
  assert.match(cookie, /Secure/);
  assert.match(cookie, /SameSite=Lax/);
  assert.match(cookie, /Path=\/;/);
  assert.doesNotMatch(cookie, /Domain=/);
  return cookie.split(';')[0] ?? '';
}

const home = (cookie: string): supertest.Test =>
  supertest(site.server).get('/settings').accept('html').set('Cookie', cookie);

it('opens the settings with its cookie only, and stores no part of it', async () => {
  const cookie = await sessionCookie('abc123');
  const page = await home(cookie).expect(200);
  assert.match(page.text, /Workspace abc123/);
  assert.equal(page.headers['cache-control'], 'no-store');
  const random = cookie.split('=')[1]?.split('.')[1] ?? '';
  const stored = await site.db.database.query('select * from sessions');
  assert.ok(random.length > 20);
  assert.ok(!JSON.stringify(stored).includes(random));
});

it('redirects to the sign-in page without a session, and answers 401 to anything but a page', async () => {
  const answer = await supertest(site.server).get('/settings/events').accept('html').expect(302);
  assert.equal(answer.headers.location, '/signin');
  await supertest(site.server)
    .get('/signin')
    .expect(200, /Sign in with Intercom/);
  await supertest(site.server).get('/settings/revenuecat/status').accept('json').expect(401);
  await supertest(site.server).post('/settings/events').type('form').send({}).expect(401);
});

it('refuses forged, altered and moved cookies', async () => {
  const cookie = await sessionCookie('abc123');
  await sessionCookie('other1');
  const [name = '', value = ''] = cookie.split('=');
  const [, random = '', signature = ''] = value.split('.');
  const forged = [
    `${name}=`,
    `${name}=abc123`,
    `${name}=abc123.${random}`,
    `${name}=abc123.${random}.`,
    `${name}=abc123.${random}.${'A'.repeat(signature.length)}`,
    `${name}=other1.${random}.${signature}`,
    `${name}=abc123.${random}x.${signature}`,
    `${name}=abc123.${random}.${signature}.more`,
  ];
  for (const attempt of forged) assert.equal((await home(attempt)).status, 302, attempt);
  await home(cookie).expect(200);
});

it('ends after twelve hours, or two hours without use', async () => {
  for (const column of ['expires_at', 'last_seen_at']) {
    const cookie = await sessionCookie('abc123');
    const age = column === 'expires_at' ? '1 second' : '121 minutes';
    await site.db.database.query(`update sessions set ${column} = now() - interval '${age}'`);
    await home(cookie).expect(302);
  }
  assert.deepEqual(await listSessions(site.app, 'abc123'), []);
  const used = await sessionCookie('abc123');
  await site.db.database.query(`update sessions set last_seen_at = now() - interval '100 minutes'`);
  await home(used).expect(200);
  const [row] = await site.db.database.query<{ fresh: boolean }>(
    `select bool_or(last_seen_at > now() - interval '1 minute') as fresh from sessions`,
  );
  assert.equal(row?.fresh, true, 'using a session extends it');
});

it('is deleted the night after it has ended, with the name of its admin', async () => {
  const { database } = site.db;
  await sessionCookie('other1');
  await database.query(`update sessions set expires_at = now() - interval '1 second'`);
  const cookie = await sessionCookie('abc123');
  await checkInstallations(site.app);
  assert.equal((await database.query('select 1 from sessions')).length, 1);
  await home(cookie).expect(200);
});

it('ends within minutes for a teammate who was removed in Intercom, and not while Intercom is unavailable', async () => {
  site.intercom.addAdmin('abc123', { id: 'leaver', name: 'Lee Leaver', email: 'lee@abc123.example' });
  const cookie = await sessionCookie('abc123', 'leaver');
  // The stored token is that of the teammate who installed last.
  await sessionCookie('abc123');
  await home(cookie).expect(200);
  assert.ok(site.intercom.state.admins.delete('leaver'));
  await home(cookie).expect(200);
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 6 * 60_000 });
  try {
    site.intercom.faults.add({ status: 500, pathPrefix: '/admins', times: 1 });
    await home(cookie).expect(200);
    mock.timers.tick(6 * 60_000);
    await home(cookie).expect(302);
  } finally {
    mock.timers.reset();
  }
  const log = await site.db.database.query<{ action: string }>(
    `select action from audit_log where actor->>'id' = 'leaver' order by audit_id`,
  );
  assert.deepEqual(
    log.map(({ action }) => action),
    ['installed', 'signed_in', 'access_removed'],
  );
});

it('refuses a form without its token, with a wrong one, and with another session’s', async () => {
  const cookie = await sessionCookie('abc123');
  const other = csrfIn((await home(await sessionCookie('other1'))).text);
  for (const form of [{}, { _csrf: '' }, { _csrf: 'x' }, { _csrf: other }, '_csrf=a&_csrf=b']) {
    const answer = await supertest(site.server)
      .post('/settings/contacts')
      .set('Cookie', cookie)
      .type('form')
      .send(form);
    assert.equal(answer.status, 403, JSON.stringify(form));
  }
  const [row] = await site.db.database.query<{ settings: unknown }>(
    `select settings from workspaces where workspace_id = 'abc123'`,
  );
  assert.deepEqual(row?.settings, {});
});

it('signs out on the server, in the browser and in the audit log', async () => {
  const cookie = await sessionCookie('abc123');
  const csrf = csrfIn((await home(cookie)).text);
  await supertest(site.server).post('/signout').set('Cookie', cookie).type('form').send({}).expect(403);
  const answer = await supertest(site.server)
    .post('/signout')
    .set('Cookie', cookie)
    .type('form')
    .send({ _csrf: csrf })
    .expect(303);
  assert.equal(answer.headers.location, '/signin');
  assert.equal(answer.headers['clear-site-data'], '"cache", "cookies", "storage"');
  await home(cookie).expect(302);
  const [last] = await site.db.database.query<{ action: string }>(
    `select action from audit_log where workspace_id = 'abc123' order by audit_id desc limit 1`,
  );
  assert.equal(last?.action, 'signed_out');
});

it('ends the browser’s session when it signs in again', async () => {
  const first = await sessionCookie('abc123');
  const other = await sessionCookie('abc123');
  await home(await sessionCookie('other1', undefined, first)).expect(200);
  await home(first).expect(302);
  await home(other).expect(200);
});

it('sends the security headers', async () => {
  const page = await home(await sessionCookie('abc123')).expect(200);
  const policy = String(page.headers['content-security-policy']);
  assert.ok(!policy.includes('unsafe-inline'));
  assert.match(policy, /frame-ancestors 'none'/);
  assert.equal(page.headers['x-frame-options'], 'DENY');
  assert.match(String(page.headers['strict-transport-security']), /max-age=31536000/);
  assert.ok(!/ style=| on[a-z]+="|<style/i.test(page.text), 'nothing that the policy would block');
});
