import assert from 'node:assert/strict';
import { after, before, describe, it, mock } from 'node:test';
import supertest from 'supertest';
import { createRefusalRecorder } from '../../src/ingestion/routes.ts';
import { auditCsv } from '../../src/settings/audit.ts';
import { reportHealth } from '../../src/workspaces/health.ts';
import { connectProject, deleteDisconnectedSecrets } from '../../src/workspaces/project-connection.ts';
import { listProjects, readProject } from '../../src/workspaces/projects.ts';
import { readWorkspace } from '../../src/workspaces/repository.ts';
import { hashSecret } from '../../src/workspaces/secrets.ts';
import { createSite, csrfIn, PUBLIC_URL, type Site, sendForm } from '../workspaces/support.ts';

type Browser = ReturnType<typeof supertest.agent>;

const WORKSPACE = 'abc123';

let site: Site;
let ada: Browser;
let projectId: string;
before(async () => {
  site = await createSite();
  site.intercom.addAdmin(WORKSPACE, { id: 'bob', name: 'Bob', email: 'bob@abc123.example' });
  ada = await signIn('abc123-admin');
  site.revenueCat.addProject({ id: 'projshop', name: 'Shop' });
  await sendForm(ada, '/revenuecat/connect', { api_key: site.revenueCat.issueKey('projshop') });
  projectId = (await listProjects(site.db.database, WORKSPACE))[0]?.projectId ?? '';
  assert.ok(projectId);
});
after(() => site.close());

async function signIn(adminId: string): Promise<Browser> {
  const browser = supertest.agent(site.server);
  const begun = await browser
    .get('/install')
    .set('User-Agent', 'Mozilla/5.0 (Macintosh; Mac OS X) Firefox/140');
  const callback = await site.consent(String(begun.headers.location), WORKSPACE, adminId);
  await browser.get(callback).set('User-Agent', 'Mozilla/5.0 (Macintosh; Mac OS X) Firefox/140').expect(302);
  return browser;
}

const page = async (path = '', browser = ada): Promise<string> =>
  (await browser.get(`/settings${path}`)).text;
const stored = async () => {
  const project = await readProject(site.db.database, WORKSPACE, projectId);
  assert.ok(project);
  return project;
};

describe('refused webhooks', () => {
  it('turn Home, the project, the health and Check now red from the first one, with the remedy', async () => {
    const { database } = site.db;
    await database.query(
      `update projects set last_received_at = now() - interval '1 minute' where project_id = $1`,
      [projectId],
    );
    assert.doesNotMatch(await page(), /Webhooks from Shop are refused/);
    await createRefusalRecorder({ ...site.app, database })(
      { workspaceId: WORKSPACE, projectId },
      'authorization',
    );
    assert.match(await page(), /class="verdict bad">Connected, action needed/);
    assert.match(await page(), /Webhooks from Shop are refused: their Authorization value does not match/);
    assert.match(await page('/revenuecat'), /Webhooks are refused since .*Create a new value/s);
    await reportHealth(site.app, WORKSPACE);
    const health = site.intercom.state.workspaces.get(WORKSPACE)?.health;
    assert.equal(health?.state, 'UNHEALTHY');
    assert.match(String(health?.message), /Webhooks from Shop are refused/);
    const checked = await sendForm(ada, '/check');
    assert.equal(checked.headers.location, '/settings?done=checked_refused');
    // The message must not look like a success.
    assert.match(await page('?done=checked_refused'), /class="flash todo" role="status">Checked just now/);
  });

  it('checks and replaces nothing while no key decrypts the API key, and says what to do', async () => {
    const { database } = site.db;
    const before = await stored();
    await database.query(`update projects set api_key = 'v1.lost.key' where project_id = $1`, [projectId]);
    for (const [form, fields] of [
      ['/check', {}],
      ['/revenuecat/check', {}],
      ['/revenuecat/webhook', { project: projectId, confirmed: 'yes' }],
    ] as const) {
      const answer = await sendForm(ada, form, fields);
      assert.equal(answer.status, 422, form);
      assert.match(answer.text, /No key of ENCRYPTION_KEYS decrypts project:[\w:-]+:api_key\. Add the key/);
    }
    assert.equal((await stored())?.webhookAuthHash, before?.webhookAuthHash, 'the webhook keeps its value');
    await database.query(`update projects set api_key = $2 where project_id = $1`, [
      projectId,
      before?.apiKey,
    ]);
  });

  it('are remedied by a new value, which is shown once and registered', async () => {
    const before = await stored();
    const asked = await sendForm(ada, '/revenuecat/webhook', { project: projectId });
    assert.equal(asked.status, 422);
    assert.equal((await stored()).webhookAuthHash, before.webhookAuthHash);
    const { text } = await sendForm(ada, '/revenuecat/webhook', { project: projectId, confirmed: 'yes' });
    const value = /id="webhook-authorization">(whk_[\w-]+)</.exec(text)?.[1];
    const webhooks = site.revenueCat.state.projects.get('projshop')?.webhooks;
    assert.equal(webhooks?.length, 1);
    assert.equal(webhooks?.[0]?.authorizationHeader, value);
    assert.equal((await stored()).refusedWebhook, null);
    assert.doesNotMatch(await page(), /Webhooks from Shop are refused/);
  });

  it('do not follow from replacing the value several times at once', async () => {
    const csrf = csrfIn(await page());
    const rivals = Array.from({ length: 5 }, () =>
      ada
        .post('/settings/revenuecat/webhook')
        .type('form')
        .send({ _csrf: csrf, project: projectId, confirmed: 'yes' }),
    );
    const statuses = (await Promise.all(rivals)).map(({ status }) => status);
    assert.ok(statuses.includes(200) && statuses.every((status) => status === 200 || status === 422));
    const webhooks = site.revenueCat.state.projects.get('projshop')?.webhooks;
    assert.equal(webhooks?.length, 1);
    assert.equal((await stored()).webhookAuthHash, hashSecret(webhooks?.[0]?.authorizationHeader ?? ''));
  });

  it('are named with the signing secret when the signature is what does not match', async () => {
    await createRefusalRecorder(site.app)({ workspaceId: WORKSPACE, projectId }, 'signature');
    assert.match(await page(), /their signature does not match/);
    assert.match(await page('/revenuecat'), /copy its signing secret/);
    await site.db.database.query('update projects set last_received_at = now() where project_id = $1', [
      projectId,
    ]);
    assert.doesNotMatch(await page(), /Webhooks from Shop are refused/, 'an accepted webhook ends it');
  });
});

describe('a webhook that cannot be interpreted', () => {
  it('is on Home and under Deliveries, with its error', async () => {
    assert.doesNotMatch(await page('/deliveries'), /could not be interpreted/);
    await site.db.database.query(
      `insert into webhooks (workspace_id, project_id, event_id, payload, processed_at, error)
       values ($1, $2, 'odd-event', '{}', now(), 'Unexpected <shape>')`,
      [WORKSPACE, projectId],
    );
    assert.match(await page(), /Some webhooks could not be interpreted/);
    assert.match(await page('/deliveries'), /odd-event<\/code> Unexpected &lt;shape&gt;/);
    await site.db.database.query(`delete from webhooks where event_id = 'odd-event'`);
  });
});

describe('disconnecting', () => {
  it('can be undone for a day: the key is the same, and the webhook is registered again', async () => {
    const before = await stored();
    await sendForm(ada, '/revenuecat/disconnect', { project: projectId, confirmed: 'yes' });
    assert.match(await page('/revenuecat'), /Undo: connect Shop again/);
    assert.equal((await stored()).webhookAuthHash, '');
    const { text } = await sendForm(ada, '/revenuecat/reconnect', { project: projectId });
    assert.match(text, /Shop is connected/);
    assert.equal((await stored()).apiKey, before.apiKey);
    assert.equal(site.revenueCat.state.projects.get('projshop')?.webhooks.length, 1);
  });

  it('keeps the value of a webhook that was added by hand', async () => {
    await site.db.database.query('update projects set webhook_id = null where project_id = $1', [projectId]);
    const before = await stored();
    await sendForm(ada, '/revenuecat/disconnect', { project: projectId, confirmed: 'yes' });
    const undone = await sendForm(ada, '/revenuecat/reconnect', { project: projectId });
    assert.equal(undone.headers.location, '/settings/revenuecat?done=reconnected');
    assert.equal((await stored()).webhookAuthHash, before.webhookAuthHash);
  });

  it('keeps attributes as they are until the project is connected again: they are written then', async () => {
    const { database } = site.db;
    await database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id)
       values ($1, $2, gen_random_uuid(), 'its-contact')`,
      [WORKSPACE, projectId],
    );
    const takeDue = () =>
      database.query(
        `update subscribers set due_at = null
          where workspace_id = $1 and contact_id = 'its-contact' and due_at <= now() returning 1`,
        [WORKSPACE],
      );
    const backBy = {
      '/revenuecat/reconnect': { project: projectId },
      '/revenuecat/connect': { api_key: site.revenueCat.issueKey('projshop') },
    };
    for (const [path, form] of Object.entries(backBy)) {
      await sendForm(ada, '/revenuecat/disconnect', { project: projectId, confirmed: 'yes' });
      await takeDue();
      await sendForm(ada, path, form);
      assert.equal((await takeDue()).length, 1, path);
    }
  });

  it('is final after a day: the secrets are deleted, and undoing says what to do instead', async () => {
    await sendForm(ada, '/revenuecat/disconnect', { project: projectId, confirmed: 'yes' });
    await site.db.database.query(
      `update projects set disconnected_at = now() - interval '25 hours' where project_id = $1`,
      [projectId],
    );
    await deleteDisconnectedSecrets(site.app, WORKSPACE);
    const [row] = await site.db.database.query(
      'select api_key, signing_secret, disconnected_auth_hash from projects where project_id = $1',
      [projectId],
    );
    assert.deepEqual(row, { api_key: null, signing_secret: null, disconnected_auth_hash: null });
    const undone = await sendForm(ada, '/revenuecat/reconnect', { project: projectId });
    assert.equal(undone.headers.location, '/settings/revenuecat?done=reconnect_expired');
    await sendForm(ada, '/revenuecat/connect', { api_key: site.revenueCat.issueKey('projshop') });
    assert.equal((await stored()).apiKeyState, 'valid');
  });
});

describe('a RevenueCat key', () => {
  it('is checked for what switched-on features need, reading and writing, without changing anything', async () => {
    const readOnly = [
      'project_configuration:*:read',
      'customer_information:customers:read',
      'customer_information:subscriptions:read',
      'customer_information:purchases:read',
    ];
    const before = structuredClone(site.revenueCat.state.projects.get('projshop')?.webhooks);
    const key = site.revenueCat.issueKey('projshop', readOnly);
    await sendForm(ada, '/revenuecat/key', { project: projectId, new_key: key });
    assert.deepEqual((await stored()).missingScopes, [
      'customer_information:customers:read_write',
      'project_configuration:integrations:read_write',
    ]);
    assert.match(await page('/revenuecat'), /Grants: <code>customer_information:customers:read_write/);
    assert.match(await page(), /The API key of Shop lacks permissions/);
    await sendForm(ada, '/grants', { who: 'everyone', longest_days: '31' });
    await sendForm(ada, '/check');
    assert.deepEqual((await stored()).missingScopes, ['project_configuration:integrations:read_write']);
    assert.doesNotMatch(await page(), /lacks permissions/, 'adding the webhook is only a convenience');
    assert.deepEqual(site.revenueCat.state.projects.get('projshop')?.webhooks, before);
  });
});

describe('access', () => {
  it('keeps what was selected when the form fails, and marks it', async () => {
    const { status, text } = await sendForm(ada, '/access', { who: 'selected', people: 'bob' });
    assert.equal(status, 422);
    assert.match(text, /id="who-selected"[^>]*checked/);
    assert.match(text, /id="person-bob"[^>]*checked/);
    assert.match(text, /id="people-problem">Nothing was saved/);
  });

  it('returns to everyone when all who were selected have left the team', async () => {
    await sendForm(ada, '/access', { who: 'selected', people: 'abc123-admin' });
    const bob = await signIn('bob');
    assert.match(await page('/access', bob), /Only these teammates can change it: Ada Agent/);
    assert.equal((await sendForm(bob, '/card', { language: 'de' })).status, 403);
    const [refusal] = await site.db.database.query(
      `select action, actor->>'id' as who from audit_log order by audit_id desc limit 1`,
    );
    assert.deepEqual(refusal, { action: 'change_refused', who: 'bob' });
    site.intercom.state.admins.delete('abc123-admin');
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 6 * 60_000 });
    try {
      assert.match(await page('/access', bob), /Everyone who was selected has left your team/);
      assert.equal((await sendForm(bob, '/access', { who: 'everyone' })).status, 303);
    } finally {
      mock.timers.reset();
      site.intercom.addAdmin(WORKSPACE, {
        id: 'abc123-admin',
        name: 'Ada Agent',
        email: 'ada@abc123.example',
      });
    }
    assert.equal((await readWorkspace(site.db.database, WORKSPACE))?.settings.access.admins, null);
    ada = await signIn('abc123-admin');
  });

  it('lists who is signed in, and signs a teammate out everywhere', async () => {
    const first = await signIn('bob');
    const second = await signIn('bob');
    const other = await signIn('abc123-admin');
    const text = await page('/access');
    assert.match(text, /Firefox on macOS/);
    assert.match(text, /Ada Agent<small>this browser/);
    assert.match(await page('/access/sign-out?admin=bob'), /Sign out Bob everywhere\?/);
    await sendForm(ada, '/access/sign-out', { admin: 'bob', confirmed: 'yes' });
    for (const browser of [first, second]) await browser.get('/settings').accept('html').expect(302);
    for (const browser of [ada, other]) await browser.get('/settings').expect(200);
    await sendForm(ada, '/access/sign-out', { admin: 'abc123-admin', confirmed: 'yes' });
    await other.get('/settings').accept('html').expect(302);
    await ada.get('/settings').expect(200, /Subscription Timeline/);
    assert.match(await page('/audit?about=signins'), /Signed out a teammate everywhere/);
  });

  it('exports only for those who can change settings, and leaves a record', async () => {
    await sendForm(ada, '/access', { who: 'selected', people: 'abc123-admin' });
    const bob = await signIn('bob');
    for (const path of ['/audit.csv', '/data/export?customer=x'])
      await bob.get(`/settings${path}`).accept('html').expect(403);
    assert.doesNotMatch(await page('/audit', bob), /Download CSV/);
    await ada.get('/settings/audit.csv').expect(200);
    assert.match(await page('/audit'), /Exported the audit log/);
    await sendForm(ada, '/access', { who: 'everyone' });
  });
});

describe('a CSV cell', () => {
  it('never begins like a formula, whatever comes before it', () => {
    const formulas = [
      '=1+1',
      '+1',
      '-1',
      '@x',
      '\t=1',
      '\n=1',
      ' =1',
      ';=1',
      ',=1',
      '"=1',
      '＝1',
      '＋1',
      '|x',
      '%0A=1',
    ];
    for (const formula of formulas) {
      const { body: csv } = auditCsv('audit.csv', [
        {
          auditId: '1',
          at: new Date(0),
          actor: { id: '1', name: formula, email: null },
          action: 'grant',
          conversationId: null,
          contactId: null,
          details: {},
          result: 'ok',
        },
      ]);
      assert.ok(csv.includes(`'${formula.replaceAll('"', '""')}`), JSON.stringify(formula));
    }
    assert.match(auditCsv('audit.csv', []).body, /^\ufeffat,who,email,/);
  });
});

describe('pages without a session', () => {
  it('are the start page, help and the legal texts, which say that they are templates', async () => {
    for (const [path, heading] of [
      ['/', 'Subscription Timeline'],
      ['/help', 'Help'],
      ['/privacy', 'Privacy policy'],
      ['/terms', 'Terms of service'],
    ]) {
      const { text } = await supertest(site.server)
        .get(path ?? '')
        .expect(200);
      assert.match(text, new RegExp(`<h1>${heading}</h1>`));
    }
    assert.match((await supertest(site.server).get('/privacy')).text, /Template:.*placeholders/);
  });
});

it('connecting a project twice from the command line still gives a value to paste', async () => {
  const input = { workspaceId: WORKSPACE, revenueCatProjectId: 'projcli', apiKey: null, name: null };
  const deps = { database: site.db.database, secrets: site.app.secrets, publicUrl: PUBLIC_URL };
  const [first, second] = [await connectProject(deps, input), await connectProject(deps, input)];
  assert.equal(first.id, second.id);
  assert.notEqual(first.webhookAuthorization, second.webhookAuthorization);
});
