import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, beforeEach, describe, it } from 'node:test';
import supertest from 'supertest';
import { AppError } from '../../src/errors.ts';
import { checkWorkspace } from '../../src/workspaces/check-workspace.ts';
import { findProblems, reportHealth } from '../../src/workspaces/health.ts';
import { checkInstallations } from '../../src/workspaces/install.ts';
import { connectProject, storeApiKey } from '../../src/workspaces/project-connection.ts';
import { listProjects, readProject, setApiKeyState } from '../../src/workspaces/projects.ts';
import { clearRefusal, recordRefusal } from '../../src/workspaces/refusals.ts';
import { markDisconnected, readWorkspace } from '../../src/workspaces/repository.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET } from '../support/world.ts';
import { createSite, PUBLIC_URL, type Site } from './support.ts';

const REVENUECAT_PROJECT = 'projhealth';
const SETTINGS_URL = `${PUBLIC_URL}/settings`;

let site: Site;
let apiKey: string;
let projectId: string;
before(async () => {
  site = await createSite();
  site.revenueCat.addProject({ id: REVENUECAT_PROJECT, name: 'Health app' });
  await site.signedIn('abc123');
  await site.signedIn('other1');
});
after(() => site.close());

beforeEach(async () => {
  const { database } = site.db;
  await site.signedIn('abc123');
  apiKey = site.revenueCat.issueKey(REVENUECAT_PROJECT);
  const connection = await connectProject(
    { database, secrets: site.app.secrets, publicUrl: PUBLIC_URL },
    { workspaceId: 'abc123', revenueCatProjectId: REVENUECAT_PROJECT, apiKey, name: 'Health app' },
  );
  projectId = connection.id;
});

const ask = (workspaceId: string, secret = CLIENT_SECRET): supertest.Test => {
  const body = JSON.stringify({ workspace_id: workspaceId });
  return supertest(site.server)
    .post('/intercom/health')
    .type('json')
    .set('X-Body-Signature', createHmac('sha256', secret).update(body).digest('hex'))
    .send(body);
};
const answer = async (workspaceId = 'abc123') => (await ask(workspaceId).expect(200)).body;
const reported = () => site.intercom.state.workspaces.get('abc123')?.health;

function revokeKey(): void {
  const key = site.revenueCat.state.keys.get(apiKey);
  assert.ok(key);
  key.status = 'revoked';
}

async function refuse(
  work: 'events' | 'contacts',
  code: 'intercom_scope_missing' | 'intercom_plan_restricted',
) {
  return recordRefusal(site.db.database, 'abc123', { work, code, message: 'Intercom answered 403' });
}

describe('the answer to Intercom', () => {
  it('is signed, and requires a workspace', async () => {
    await ask('abc123', 'wrong').expect(401);
    const body = '{"workspace":1}';
    await supertest(site.server)
      .post('/intercom/health')
      .type('json')
      .set('X-Body-Signature', createHmac('sha256', CLIENT_SECRET).update(body).digest('hex'))
      .send(body)
      .expect(400);
  });

  it('is OK where both platforms accept us', async () => {
    assert.deepEqual(await answer(), { state: 'OK' });
    assert.ok((await readWorkspace(site.db.database, 'abc123'))?.checkedAt);
    assert.equal((await listProjects(site.db.database, 'abc123'))[0]?.apiKeyState, 'valid');
  });

  it('asks an unknown workspace to install', async () => {
    const { state, cta_type } = await answer('nobody');
    assert.deepEqual([state, cta_type], ['UNHEALTHY', 'REINSTALL_CTA']);
  });

  it('finds a token that was revoked in a quiet week', async () => {
    site.intercom.revokeTokens('abc123');
    const { state, cta_type, message } = await answer();
    assert.deepEqual([state, cta_type], ['UNHEALTHY', 'REINSTALL_CTA']);
    assert.match(message, /no longer accepts our access/);
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'disconnected');
  });

  it('notices that identity verification is no longer enforced', async () => {
    const workspace = site.intercom.state.workspaces.get('abc123');
    assert.ok(workspace);
    workspace.identityVerification = false;
    await answer();
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.identityVerification, false);
    workspace.identityVerification = true;
  });

  it('finds a key that was revoked in a quiet week, and one that works again', async () => {
    revokeKey();
    const { state, cta_type, cta_url, message } = await answer();
    assert.deepEqual([state, cta_type, cta_url], ['UNHEALTHY', 'URL_CTA', SETTINGS_URL]);
    assert.match(message, /API key of Health app/);
    const key = site.revenueCat.state.keys.get(apiKey);
    if (key) key.status = 'valid';
    assert.deepEqual(await answer(), { state: 'OK' });
  });

  it('keeps a key that RevenueCat accepts, although it answers one of the checks with 404', async () => {
    const path = `/v2/projects/${REVENUECAT_PROJECT}/entitlements`;
    const restore = site.revenueCat.faults.add({ pathPrefix: path, status: 404 });
    assert.deepEqual(await answer(), { state: 'OK' });
    const paths = site.revenueCat.faults.requests().filter(({ status }) => status === 404);
    assert.ok(paths.length > 0);
    restore();
  });

  it('links to the settings where a project has no key, as after installing again', async () => {
    await site.db.database.query(
      `update projects set api_key = null, api_key_state = 'none' where workspace_id = 'abc123' and project_id = $1`,
      [projectId],
    );
    const { state, cta_type, cta_url, message } = await answer();
    assert.deepEqual([state, cta_type, cta_url], ['UNHEALTHY', 'URL_CTA', SETTINGS_URL]);
    assert.match(message, /no RevenueCat API key for Health app/);
    const browser = await site.signedIn('abc123');
    assert.match((await browser.get('/settings')).text, /There is no API key for Health app/);
  });

  it('links to the settings where nothing is connected', async () => {
    const { state, cta_type, cta_url, cta_label } = await answer('other1');
    assert.deepEqual([state, cta_type, cta_url], ['UNHEALTHY', 'URL_CTA', SETTINGS_URL]);
    assert.equal(cta_label, 'Connect RevenueCat');
  });

  it('distinguishes a missing permission from a plan that lacks the API', async () => {
    await refuse('events', 'intercom_plan_restricted');
    const plan = await answer();
    assert.deepEqual([plan.state, plan.cta_type], ['UNHEALTHY', 'URL_CTA']);
    assert.match(plan.message, /plan/);
    await refuse('contacts', 'intercom_scope_missing');
    const scope = await answer();
    assert.deepEqual([scope.state, scope.cta_type], ['UNHEALTHY', 'REINSTALL_CTA']);
    assert.match(scope.message, /permission/);
    await clearRefusal(site.db.database, 'abc123', 'contacts');
    assert.match((await answer()).message, /plan/);
    await site.signedIn('abc123');
    assert.deepEqual(await answer(), { state: 'OK' });
  });

  it('is UNKNOWN, and changes nothing, while a platform does not answer', async () => {
    site.revenueCat.faults.add({ status: 503, times: 10 });
    const { state, message } = await answer();
    assert.equal(state, 'UNKNOWN');
    assert.match(message, /RevenueCat did not answer/);
    site.revenueCat.faults.clear();
    site.intercom.faults.add({ status: 500, pathPrefix: '/me', times: 1 });
    const before = await readWorkspace(site.db.database, 'abc123');
    assert.match((await answer()).message, /^Intercom did not answer/);
    for (const status of [402, 403, 429]) {
      site.intercom.faults.add({ status, pathPrefix: '/me', times: 1 });
      assert.equal((await answer()).state, 'UNKNOWN', `${status}`);
    }
    assert.deepEqual(await readWorkspace(site.db.database, 'abc123'), before);
    site.intercom.faults.add({ status: 500, pathPrefix: '/me', times: 1 });
    assert.equal((await answer('other1')).state, 'UNHEALTHY', 'it has no project, whatever Intercom says');
  });

  it('names no problem that another one explains', async () => {
    const workspace = await readWorkspace(site.db.database, 'abc123');
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.ok(workspace && project);
    const codes = (changes: Partial<typeof workspace & typeof project>) =>
      findProblems({ ...workspace, ...changes }, [
        { ...project, lastReceivedAt: new Date(), ...changes },
      ]).map(({ code }) => code);
    const missingScopes = ['customer_information:customers:read'];
    assert.deepEqual(codes({ missingScopes, apiKeyState: 'valid' }), ['key_lacks_permissions']);
    assert.deepEqual(codes({ missingScopes, apiKeyState: 'rejected' }), ['key_rejected']);
    const refusedWebhook = { at: new Date(), refusedFor: 'signature' } as const;
    assert.deepEqual(codes({ refusedWebhook, lastReceivedAt: null }), ['signature_refused']);
    assert.deepEqual(codes({ attributesReady: false }), ['attributes_missing']);
    assert.deepEqual(codes({ attributesReady: false, status: 'disconnected' }), ['disconnected']);
  });

  it('meets its deadline when a platform hangs', async () => {
    site.revenueCat.faults.add({ hangS: 60 });
    const begunMs = performance.now();
    assert.equal((await answer()).state, 'UNKNOWN');
    assert.ok(performance.now() - begunMs < 30_000);
    site.revenueCat.faults.clear();
  });

  it('names only the platform whose calls took too long together', async () => {
    site.revenueCat.faults.add({ latencyMs: 1_600 });
    const { message } = await answer();
    site.revenueCat.faults.clear();
    assert.match(message, /^RevenueCat did not answer/);
  });

  it('keeps to Intercom’s length limit, whatever a project is called', async () => {
    await site.db.database.query(
      `update projects set name = $1, api_key = null, api_key_state = 'rejected' where workspace_id = 'abc123'`,
      ['x'.repeat(5_000)],
    );
    const { message } = await answer();
    assert.ok(message.length <= 2_084);
  });
});

it('leaves the state of a key alone when RevenueCat refuses the one that it has replaced', async () => {
  const { database } = site.db;
  const before = await readProject(database, 'abc123', projectId);
  assert.ok(before);
  await storeApiKey(site.app, before, { apiKey: 'sk_new', missingScopes: [] });
  assert.equal(await setApiKeyState(database, before, 'rejected'), false);
  const after = await readProject(database, 'abc123', projectId);
  assert.equal(after?.apiKeyState, 'valid');
  assert.ok(after && (await setApiKeyState(database, after, 'rejected')));
  assert.equal(await setApiKeyState(database, after, 'rejected'), false, 'that is not new');
});

describe('reporting to Intercom', () => {
  it('happens only when the state has changed', async () => {
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'OK');
    const workspace = site.intercom.state.workspaces.get('abc123');
    assert.ok(workspace);
    workspace.health = { state: 'nothing was said' };
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'nothing was said');
    await setApiKeyState(site.db.database, { workspaceId: 'abc123', projectId }, 'rejected');
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'UNHEALTHY');
    workspace.health = { state: 'nothing was said' };
    await answer();
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'nothing was said', 'the answer to its own check was the report');
    await site.signedIn('abc123');
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'OK', 'a new installation knows no report');
  });

  it('is retried when Intercom is unavailable, and not when the token is revoked', async () => {
    site.intercom.faults.add({ status: 503, pathPrefix: '/app_install', times: 1 });
    await assert.rejects(reportHealth(site.app, 'abc123'), AppError);
    await reportHealth(site.app, 'abc123');
    assert.equal(reported()?.state, 'OK');
    site.intercom.revokeTokens('abc123');
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.ok(workspace);
    await markDisconnected(site.db.database, workspace, 'intercom_unauthorized');
    await reportHealth(site.app, 'abc123');
  });
});

describe('every day', () => {
  it('queues a check of every installation', async () => {
    site.jobs.length = 0;
    await checkInstallations(site.app);
    const checked = site.jobs.filter(({ name }) => name === 'workspace.check').map(({ data }) => data);
    assert.deepEqual(checked, [{ workspaceId: 'abc123' }, { workspaceId: 'other1' }]);
  });

  it('names the permissions that a key has lost', async () => {
    const poor = site.revenueCat.issueKey(REVENUECAT_PROJECT, ['project_configuration:projects:read']);
    await connectProject(
      { database: site.db.database, secrets: site.app.secrets, publicUrl: PUBLIC_URL },
      { workspaceId: 'abc123', revenueCatProjectId: REVENUECAT_PROJECT, apiKey: poor, name: 'Health app' },
    );
    assert.deepEqual(await checkWorkspace(site.app, 'abc123'), []);
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.equal(project?.apiKeyState, 'valid');
    assert.ok(project?.missingScopes.includes('customer_information:customers:read'));
  });

  it('leaves the permissions of a key alone that is stored while the one before is checked', async () => {
    const poor = site.revenueCat.issueKey(REVENUECAT_PROJECT, ['project_configuration:projects:read']);
    const key = { workspaceId: 'abc123', projectId };
    await storeApiKey(site.app, key, { apiKey: poor, missingScopes: [] });
    site.revenueCat.faults.add({ latencyMs: 300, times: 1 });
    const checking = checkWorkspace(site.app, 'abc123');
    await until(() => site.revenueCat.faults.list().length === 0, 'the first call');
    await storeApiKey(site.app, key, { apiKey, missingScopes: [] });
    await checking;
    assert.deepEqual((await readProject(site.db.database, 'abc123', projectId))?.missingScopes, []);
  });

  it('follows the name and the time zone that the workspace has in Intercom', async () => {
    const workspace = site.intercom.state.workspaces.get('abc123');
    assert.ok(workspace);
    Object.assign(workspace, { name: 'New name', timezone: 'Asia/Kathmandu' });
    await checkWorkspace(site.app, 'abc123');
    const stored = await readWorkspace(site.db.database, 'abc123');
    assert.deepEqual([stored?.name, stored?.timezone], ['New name', 'Asia/Kathmandu']);
  });

  it('names a project as RevenueCat does, unless a person named it', async () => {
    for (const [before, after] of [
      [REVENUECAT_PROJECT, 'Health app'],
      ['Germany', 'Germany'],
    ]) {
      await site.db.database.query(`update projects set name = $2 where workspace_id = $1`, [
        'abc123',
        before,
      ]);
      await checkWorkspace(site.app, 'abc123');
      assert.equal((await listProjects(site.db.database, 'abc123'))[0]?.name, after);
    }
  });

  it('resumes with a token that was suspended and works again', async () => {
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.ok(workspace);
    await markDisconnected(site.db.database, workspace, 'intercom_unauthorized');
    await site.db.database.query(`update workspaces set not_before = now() + interval '1 hour'`);
    await checkWorkspace(site.app, 'abc123');
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'connected');
    const paused = await site.db.database.query(
      `select 1 from workspaces where workspace_id = 'abc123' and not_before is not null`,
    );
    assert.deepEqual(paused, []);
  });

  it('treats a workspace that was disconnected for 30 days as uninstalled', async () => {
    const { database } = site.db;
    site.intercom.revokeTokens('abc123');
    await checkWorkspace(site.app, 'abc123');
    await checkInstallations(site.app);
    assert.equal((await readWorkspace(database, 'abc123'))?.status, 'disconnected');
    await database.query(
      `update workspaces set disconnected_at = now() - interval '31 days' where workspace_id = 'abc123'`,
    );
    await checkInstallations(site.app);
    const workspace = await readWorkspace(database, 'abc123');
    assert.deepEqual([workspace?.status, workspace?.accessToken], ['uninstalled', null]);
  });
});
