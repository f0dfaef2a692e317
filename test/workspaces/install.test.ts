import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, it, mock } from 'node:test';
import express from 'express';
import supertest from 'supertest';
import { openDatabase } from '../../src/database/data-source.ts';
import { errorHandler } from '../../src/http/errors.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import { confirmUninstall, uninstall } from '../../src/workspaces/install.ts';
import { connectProject } from '../../src/workspaces/project-connection.ts';
import { listProjects } from '../../src/workspaces/projects.ts';
import { eraseUninstalled, readWorkspace } from '../../src/workspaces/repository.ts';
import { installRouter, uninstallRouter } from '../../src/workspaces/routes.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { waitingForLocks } from '../support/database.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, logger } from '../support/world.ts';
import { APP_URL, createSite, PUBLIC_URL, type Site } from './support.ts';

let site: Site;
before(async () => {
  site = await createSite();
});
after(() => site.close());

const text = (header: unknown): string => String(header ?? '');
const messageOf = (location: unknown): string =>
  new URL(text(location)).searchParams.get('error_message') ?? '';

describe('installing', () => {
  it('redirects to the consent page with a single-use state and no scope', async () => {
    const answer = await supertest(site.server).get('/install').expect(302);
    const url = new URL(text(answer.headers.location));
    assert.equal(`${url.origin}${url.pathname}`, `${APP_URL}/oauth`);
    assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'redirect_uri', 'state']);
    const cookie = text(answer.headers['set-cookie']);
    assert.match(cookie, /^st_oauth=.*HttpOnly/);
    assert.match(cookie, /SameSite=Lax/);
    const state = url.searchParams.get('state') ?? '';
    const rows = await site.db.database.query('select * from oauth_states');
    assert.equal(rows.length, 1);
    assert.ok(!JSON.stringify(rows).includes(state), 'the state itself is not stored');
  });

  it('stores the workspace, creates the attributes and redirects to the App Store', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    assert.match(callback, /code=[\w-]+%3D&/, 'the code ends in "="');
    const answer = await browser.get(callback).expect(302);
    assert.equal(answer.headers.location, `${APP_URL}/appstore/redirect?install_success=true`);
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.ok(site.jobs.some(({ name }) => name === 'workspace.health'));
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.status, 'connected');
    assert.equal(workspace?.region, 'EU');
    assert.equal(workspace?.timezone, 'Europe/Dublin');
    assert.equal(workspace?.attributesReady, true);
    assert.ok(site.intercom.state.attributes.some((attribute) => attribute.name === 'rc_entitlements'));
    const token = site.app.secrets.decrypt(
      workspace?.accessToken ?? '',
      secretLocation.accessToken('abc123'),
    );
    assert.ok(site.intercom.state.tokens.has(token));
    await browser.get('/settings').expect(200);
  });

  it('ends at the App Store when it is repeated, too, and a sign-in at the settings', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const answer = await browser.get(await site.consent(text(begun.headers.location), 'abc123'));
    assert.equal(answer.headers.location, `${APP_URL}/appstore/redirect?install_success=true`);
    const signingIn = await browser.get('/oauth/signin').expect(302);
    assert.match(text(signingIn.headers.location), /^http:\/\/intercom\.test\/oauth\?/);
    const before = await readWorkspace(site.db.database, 'abc123');
    const signedIn = await browser.get(await site.consent(text(signingIn.headers.location), 'abc123'));
    assert.equal(signedIn.headers.location, '/settings');
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.accessToken, before?.accessToken, 'a sign-in does not replace a working token');
    const audit = await site.db.database.query<{ action: string }>(
      `select action from audit_log where workspace_id = 'abc123' order by audit_id desc limit 3`,
    );
    assert.deepEqual(
      audit.map(({ action }) => action),
      ['signed_in', 'signed_in', 'installed'],
    );
  });

  it('opens the settings while no key decrypts the token, and a sign-in stores a new one', async () => {
    const browser = await site.signedIn('abc123');
    await site.db.database.query(
      `update workspaces set access_token = 'v1.lost.key' where workspace_id = 'abc123'`,
    );
    // So late that the team's members are read again.
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 10 * 60_000 });
    try {
      await browser.get('/settings').expect(200);
      await browser.get('/settings/revenuecat').expect(200);
    } finally {
      mock.timers.reset();
    }
    const signingIn = await browser.get('/oauth/signin').expect(302);
    await browser.get(await site.consent(text(signingIn.headers.location), 'abc123')).expect(302);
    const workspace = await readWorkspace(site.db.database, 'abc123');
    const stored = site.app.secrets.decrypt(
      workspace?.accessToken ?? '',
      secretLocation.accessToken('abc123'),
    );
    assert.ok(site.intercom.state.tokens.has(stored));
  });

  it('stores the token of a sign-in that has ended the one before', async () => {
    const browser = await site.signedIn('abc123');
    const signingIn = await browser.get('/oauth/signin').expect(302);
    site.intercom.revokeTokens('abc123');
    await browser.get(await site.consent(text(signingIn.headers.location), 'abc123')).expect(302);
    const workspace = await readWorkspace(site.db.database, 'abc123');
    const location = secretLocation.accessToken('abc123');
    const stored = site.app.secrets.decrypt(workspace?.accessToken ?? '', location);
    assert.equal(site.intercom.state.tokens.get(stored)?.status, 'valid');
  });

  it('does not keep the browser waiting for an Intercom that hangs over the attributes', async () => {
    const clear = site.intercom.faults.add({ hangS: 60, pathPrefix: '/data_attributes' });
    try {
      const browser = supertest.agent(site.server);
      const begun = await browser.get('/install');
      const callback = await site.consent(text(begun.headers.location), 'abc123');
      site.jobs.length = 0;
      const begunMs = performance.now();
      await browser.get(callback).expect(302);
      assert.ok(performance.now() - begunMs < 30_000);
      assert.ok(site.jobs.some(({ name }) => name === 'workspace.provision'));
    } finally {
      clear();
    }
  });

  it('installs where a name has a NUL, which PostgreSQL cannot store', async () => {
    const admin = site.intercom.state.admins.get('abc123-admin');
    assert.ok(admin);
    const { name } = admin;
    admin.name = 'A\0nn';
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const answer = await browser.get(await site.consent(text(begun.headers.location), 'abc123'));
    admin.name = name;
    assert.equal(answer.headers.location, `${APP_URL}/appstore/redirect?install_success=true`);
  });

  it('names a workspace without a name by its ID, and knows no time zone that does not exist', async () => {
    site.intercom.addWorkspace({ id: 'odd1', name: '', timezone: 'Nowhere/Land' });
    site.intercom.addAdmin('odd1');
    await site.signedIn('odd1');
    const workspace = await readWorkspace(site.db.database, 'odd1');
    assert.deepEqual([workspace?.name, workspace?.timezone], ['odd1', 'UTC']);
  });

  it('takes a code with + that came unescaped', async () => {
    site.intercom.state.codes.set('a+b/c=', {
      workspaceId: 'abc123',
      adminId: 'abc123-admin',
      expiresAtMs: Date.now() + 60_000,
    });
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const state = new URL(text(begun.headers.location)).searchParams.get('state');
    const answer = await browser.get(`/oauth/callback?state=${state}&code=a+b/c=`);
    assert.match(text(answer.headers.location), /install_success=true/);
  });

  it('refuses a replayed state', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    await browser.get(callback).expect(302);
    const cookie = text(begun.headers['set-cookie']).split(';')[0] ?? '';
    const replayed = await supertest(site.server).get(callback).set('Cookie', cookie).expect(302);
    assert.match(text(replayed.headers.location), /install_success=false/);
    assert.ok(!text(replayed.headers['set-cookie']).includes('st_session'));
  });

  it("refuses another browser's state, and still lets its owner finish", async () => {
    const owner = supertest.agent(site.server);
    const begun = await owner.get('/install');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    const victim = supertest.agent(site.server);
    await victim.get('/install');
    const refused = await victim.get(callback).expect(302);
    assert.match(messageOf(refused.headers.location), /not started in this browser/);
    assert.match(text((await owner.get(callback)).headers.location), /install_success=true/);
  });

  it('lets each tab of a browser finish what it has started, after a callback that is not its own, too', async () => {
    const browser = supertest.agent(site.server);
    const first = await browser.get('/install');
    const second = await browser.get('/install');
    const third = await browser.get('/oauth/signin');
    const otherVisitor = await supertest.agent(site.server).get('/install');
    const foreign = await browser.get(await site.consent(text(otherVisitor.headers.location), 'abc123'));
    assert.match(messageOf(foreign.headers.location), /not started in this browser/);
    await browser.get('/oauth/callback?code=x&state=x').expect(302);
    for (const { headers } of [second, first]) {
      const done = await browser.get(await site.consent(text(headers.location), 'abc123')).expect(302);
      assert.match(text(done.headers.location), /install_success=true/);
    }
    const signedIn = await browser.get(await site.consent(text(third.headers.location), 'abc123'));
    assert.equal(signedIn.headers.location, '/settings');
  });

  it('can be reloaded when the database was unavailable', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    const outage = Object.assign(new Error('terminating connection'), { code: '57P01' });
    mock.method(site.db.database.manager, 'delete', () => Promise.reject(outage), { times: 1 });
    await browser.get(callback).expect(503).expect('Retry-After', '5');
    assert.match(text((await browser.get(callback)).headers.location), /install_success=true/);
  });

  it('shows a page, not the App Store, when a sign-in took too long or is repeated', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/oauth/signin');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    await browser.get(callback).expect(302).expect('Location', '/settings');
    const repeated = await browser.get(callback).accept('html').expect(403);
    assert.match(repeated.text, /took too long. Please start again/);
    await browser.get('/settings').expect(200);
  });

  it('refuses a sign-in whose code Intercom refuses, as the error of the browser', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/oauth/signin');
    const state = new URL(text(begun.headers.location)).searchParams.get('state');
    const refused = await browser.get(`/oauth/callback?state=${state}&code=forged`).expect(403);
    assert.match(refused.text, /Intercom did not accept the authorization/);
    assert.ok(!text(refused.headers['set-cookie']).includes('st_session'));
  });

  it('does not call an outage of Intercom a refusal', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/oauth/signin');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    site.intercom.faults.add({ status: 503, pathPrefix: '/me', times: 1 });
    const { text: page } = await browser.get(callback).accept('html').expect(502);
    assert.match(page, /Intercom did not answer as expected. Please try again./);
  });

  it('refuses an expired state', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const callback = await site.consent(text(begun.headers.location), 'abc123');
    await site.db.database.query(`update oauth_states set expires_at = now() - interval '1 second'`);
    const refused = await browser.get(callback).expect(302);
    assert.match(text(refused.headers.location), /install_success=false/);
    await browser.get('/install');
    const left = await site.db.database.query('select 1 from oauth_states');
    assert.equal(left.length, 1, 'the expired ones are deleted');
  });

  it('survives repeated and missing parameters', async () => {
    for (const query of ['', '?code=a&code=b&state[]=x', '?state=%00&code=', '?error[a]=b']) {
      const answer = await supertest(site.server).get(`/oauth/callback${query}`).expect(302);
      assert.match(text(answer.headers.location), /install_success=false/, query);
    }
  });

  it('says so when consent is denied', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const state = new URL(text(begun.headers.location)).searchParams.get('state');
    const answer = await browser.get(`/oauth/callback?state=${state}&error=access_denied`).expect(302);
    assert.match(messageOf(answer.headers.location), /Access was not granted/);
    const stateless = await browser.get('/oauth/callback?error=access_denied').expect(302);
    assert.match(messageOf(stateless.headers.location), /Access was not granted/);
  });

  it('reveals nothing secret when Intercom refuses the code', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const state = new URL(text(begun.headers.location)).searchParams.get('state');
    const answer = await browser.get(`/oauth/callback?state=${state}&code=stolen-code`).expect(302);
    assert.match(messageOf(answer.headers.location), /did not accept/);
    assert.ok(!text(answer.headers.location).includes('stolen-code'));
    assert.ok(!text(answer.headers.location).includes(CLIENT_SECRET));
  });

  it('shows a page when a sign-in fails', async () => {
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/oauth/signin');
    const state = new URL(text(begun.headers.location)).searchParams.get('state');
    const answer = await browser.get(`/oauth/callback?state=${state}&error=access_denied`).accept('html');
    assert.equal(answer.status, 403);
    assert.match(answer.text, /Access was not granted/);
    assert.doesNotMatch(answer.text, /install/i, 'nobody wanted to install anything');
  });

  it('requires a verified e-mail', async () => {
    site.intercom.addWorkspace({ id: 'unproven' });
    site.intercom.addAdmin('unproven', { emailVerified: false });
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const answer = await browser.get(await site.consent(text(begun.headers.location), 'unproven'));
    assert.match(messageOf(answer.headers.location), /Verify your email/);
    assert.equal(await readWorkspace(site.db.database, 'unproven'), null);

    site.intercom.addAdmin('abc123', { id: 'unproven', emailVerified: false });
    const again = await browser.get('/oauth/signin');
    await browser.get(await site.consent(text(again.headers.location), 'abc123', 'unproven')).expect(403);
    const [record] = await site.db.database.query<{ action: string }>(
      `select action from audit_log where workspace_id = 'abc123' and actor->>'id' = 'unproven'`,
    );
    assert.equal(record?.action, 'sign_in_refused');
  });

  it('succeeds without the attributes, which are created later', async () => {
    site.intercom.addWorkspace({ id: 'plan1' });
    site.intercom.addAdmin('plan1');
    const scopes = site.intercom.state.appScopes;
    site.intercom.state.appScopes = scopes.filter((scope) => scope !== 'write_data_attributes');
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const answer = await browser.get(await site.consent(text(begun.headers.location), 'plan1'));
    site.intercom.state.appScopes = scopes;
    assert.match(text(answer.headers.location), /install_success=true/);
    assert.equal((await readWorkspace(site.db.database, 'plan1'))?.attributesReady, false);
    assert.ok(site.jobs.some((job) => job.name === 'workspace.provision'));
  });

  it('limits how often one address can start', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-11-25T10:00:15Z') });
    const flooded = express().use(
      installRouter(site.app, () => Promise.resolve()),
      errorHandler(logger),
    );
    // One server for all requests: otherwise each request would start one.
    const listening = await listenOnLoopback(flooded);
    t.after(() => listening.close());
    const start = () => fetch(`${listening.url}/install`, { redirect: 'manual' });
    for (let count = 0; count < 600; count += 1) assert.equal((await start()).status, 302);
    const refused = await start();
    assert.equal(refused.status, 429);
    const waitS = Number(refused.headers.get('retry-after'));
    assert.ok(waitS > 0 && waitS <= 60);
    t.mock.timers.tick(waitS * 1_000);
    assert.equal((await start()).status, 302);
  });
});

describe('uninstalling', () => {
  const notice = (workspaceId: string): supertest.Test =>
    supertest(site.server).post('/intercom/uninstall').send({ app_id: workspaceId });

  /** Sends a notice and runs the job that it queued, as a worker does. */
  async function processNotice(workspaceId: string): Promise<void> {
    site.jobs.length = 0;
    await notice(workspaceId).expect(200);
    await until(() => site.jobs.length > 0, 'the job of the notice');
    await confirmUninstall(site.app, workspaceId);
  }

  it('ignores an unknown workspace and a forged notice', async () => {
    site.jobs.length = 0;
    await notice('nobody').expect(200);
    await processNotice('abc123');
    const isQueuedTwice = () => site.jobs.length === 2;
    await until(isQueuedTwice, 'the second check: the notice may have come before the token was revoked');
    assert.deepEqual(
      site.jobs.map(({ name, data, options }) => [name, data, options?.afterSeconds]),
      [
        ['workspace.confirm-uninstall', { workspaceId: 'abc123' }, undefined],
        ['workspace.confirm-uninstall', { workspaceId: 'abc123' }, 60],
      ],
    );
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.status, 'connected');
    assert.ok(workspace?.accessToken);
  });

  it('refuses a wrong signature and a body of another shape', async () => {
    await notice('abc123').set('X-Body-Signature', 'f'.repeat(64)).expect(401);
    await notice('abc123')
      .set('X-Hub-Signature', `sha1=${'f'.repeat(40)}`)
      .expect(401);
    const sha1 = createHmac('sha1', CLIENT_SECRET).update('{"app_id":"nobody"}').digest('hex');
    await notice('nobody').set('X-Hub-Signature', `sha1=${sha1}`).expect(200);
    await notice('no\0body').expect(400);
    await supertest(site.server).post('/intercom/uninstall').send({ workspace: 'x' }).expect(400);
    await supertest(site.server).post('/intercom/uninstall').type('json').send('{"app_id":').expect(400);
    await supertest(site.server)
      .post('/intercom/uninstall')
      .type('text')
      .send('{"app_id":"nobody"}')
      .expect(200);
    const body = '{"app_id":"nobody"}';
    const signature = createHmac('sha256', CLIENT_SECRET).update(body).digest('hex');
    await supertest(site.server)
      .post('/intercom/uninstall')
      .type('json')
      .set('X-Body-Signature', signature)
      .send(body)
      .expect(200);
  });

  it('retries when Intercom does not answer', async () => {
    site.intercom.faults.add({ status: 503, pathPrefix: '/me', times: 1 });
    await assert.rejects(processNotice('abc123'), { code: 'intercom_unavailable' });
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'connected');
  });

  it('answers a flood without calling Intercom, with one job every ten seconds and a limit for each sender', async () => {
    const flooded = express().use('/', uninstallRouter(site.app), errorHandler(logger));
    site.jobs.length = 0;
    site.intercom.faults.add({ status: 503, pathPrefix: '/me', times: 1 });
    const statuses: number[] = [];
    for (let count = 0; count < 62; count += 1)
      statuses.push((await supertest(flooded).post('/').send({ app_id: 'abc123' })).status);
    assert.deepEqual([statuses[0], statuses[59], statuses[60]], [200, 200, 429]);
    const signed = JSON.stringify({ app_id: 'nobody' });
    const signature = createHmac('sha256', CLIENT_SECRET).update(signed).digest('hex');
    await supertest(flooded)
      .post('/')
      .type('json')
      .set('X-Body-Signature', signature)
      .send(signed)
      .expect(200);
    await until(() => site.jobs.length === 120, 'every notice that was accepted');
    const immediate = site.jobs.filter(({ options }) => options?.afterSeconds === undefined);
    assert.equal(immediate.length, 60);
    assert.ok(
      immediate.every(({ options }) => options?.key === 'abc123' && options.atMostEverySeconds === 10),
    );
    const first = confirmUninstall(site.app, 'abc123');
    await assert.rejects(first, { code: 'intercom_unavailable' }, 'none of the notices called Intercom');
  });

  it('deletes a revoked token, keys and sessions, and keeps the data', async () => {
    const browser = await site.signedIn('abc123');
    await connectProject(
      { database: site.db.database, secrets: site.app.secrets, publicUrl: PUBLIC_URL },
      { workspaceId: 'abc123', revenueCatProjectId: 'proj1', apiKey: 'sk_to_delete', name: null },
    );
    site.intercom.revokeTokens('abc123');
    await processNotice('abc123');
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.status, 'uninstalled');
    assert.equal(workspace?.accessToken, null);
    const [project, ...others] = await listProjects(site.db.database, 'abc123');
    assert.deepEqual([project?.apiKey, project?.apiKeyState, others.length], [null, 'none', 0]);
    site.jobs.length = 0;
    await notice('abc123').expect(200);
    await notice('plan1').expect(200);
    await until(() => site.jobs.length > 0, 'the job of the other notice');
    assert.deepEqual(site.jobs[0]?.data, { workspaceId: 'plan1' });
    await browser
      .get('/settings')
      .accept('html')
      .expect(302, /\/signin/);
  });

  it('restores everything when it is installed again', async () => {
    await site.db.database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, waiting, attempts, due_at)
       values ('abc123', 'p', gen_random_uuid(), true, 7, now() + interval '7 days')`,
    );
    const browser = supertest.agent(site.server);
    const begun = await browser.get('/install');
    const answer = await browser.get(await site.consent(text(begun.headers.location), 'abc123'));
    assert.match(text(answer.headers.location), /install_success=true/);
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'connected');
    assert.equal((await listProjects(site.db.database, 'abc123')).length, 1);
    const [waiting] = await site.db.database.query<{ isDue: boolean; attempts: number }>(
      `select due_at <= now() as "isDue", attempts from subscribers where workspace_id = 'abc123' and waiting`,
    );
    assert.deepEqual(waiting, { isDue: true, attempts: 0 }, 'a contact may have appeared unreported');
  });

  it('does not delete a token that a reinstall has just stored', async () => {
    const old = await readWorkspace(site.db.database, 'abc123');
    site.intercom.revokeTokens('abc123');
    const racing: AppContext = {
      ...site.app,
      intercom(workspace) {
        const client = site.app.intercom(workspace);
        return client && { ...client, me: () => client.me().finally(() => site.signedIn('abc123')) };
      },
    };
    assert.equal(await confirmUninstall(racing, 'abc123'), 'still_installed');
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.status, 'connected');
    assert.notEqual(workspace?.accessToken, old?.accessToken);
  });

  it('uninstalls from our side', async () => {
    await site.signedIn('other1');
    await uninstall(site.app, 'other1');
    assert.equal((await readWorkspace(site.db.database, 'other1'))?.accessToken, null);
    assert.equal(site.intercom.state.workspaces.get('other1')?.installed, false);
  });

  it('erases nothing of a workspace that is just being installed again', async () => {
    const { database } = site.db;
    await database.query(
      `update workspaces set uninstalled_at = now() - interval '31 days' where workspace_id = 'other1'`,
    );
    const erasing = await database.transaction(async (sql) => {
      await sql.query(
        `update workspaces set uninstalled_at = null, status = 'connected' where workspace_id = 'other1'`,
      );
      const running = [eraseUninstalled(database, 30)];
      await until(
        async () => (await waitingForLocks(site.db)).length > 0,
        'the installation to be waited for',
      );
      return running;
    });
    assert.deepEqual(await erasing[0], []);
    await database.query(
      `update workspaces set status = 'uninstalled', uninstalled_at = now() where workspace_id = 'other1'`,
    );
  });

  it('erases every trace after 30 days, of that workspace alone, however long a statement takes', async () => {
    const { database } = site.db;
    await database.query(
      `update workspaces set uninstalled_at = now() - interval '31 days' where workspace_id = 'other1'`,
    );
    await database.query(
      `create function sleep_before_delete() returns trigger language plpgsql
           as $$ begin perform pg_sleep(2); return null; end $$`,
    );
    await database.query(
      `create trigger slow before delete on events for each statement execute function sleep_before_delete()`,
    );
    const impatient = await openDatabase({ url: site.db.url, logger, statementTimeoutMs: 1_000 });
    assert.deepEqual(await eraseUninstalled(impatient.database, 30), ['other1']);
    await impatient.close();
    await database.query('drop function sleep_before_delete cascade');
    assert.equal(await readWorkspace(database, 'other1'), null);
    assert.equal((await readWorkspace(database, 'abc123'))?.status, 'connected');
    const tables = await database.query<{ table_name: string }>(
      `select table_name from information_schema.columns
        where table_schema = 'public' and column_name = 'workspace_id'`,
    );
    for (const { table_name: table } of tables) {
      const left = await database.query(`select 1 from ${table} where workspace_id = 'other1'`);
      assert.equal(left.length, 0, table);
    }
  });
});
