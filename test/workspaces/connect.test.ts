import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, it } from 'node:test';
import { listDueWorkspaces } from '../../src/delivery/due-workspaces.ts';
import { authenticateWebhook } from '../../src/ingestion/routes.ts';
import { addConnectCommand } from '../../src/workspaces/command.ts';
import { provisionWorkspace } from '../../src/workspaces/install.ts';
import {
  connectProject,
  deleteDisconnectedSecrets,
  disconnectProject,
  reconnectProject,
  replaceWebhookAuthorization,
} from '../../src/workspaces/project-connection.ts';
import {
  listProjects,
  readProject,
  updateProject,
  workspaceOfProject,
} from '../../src/workspaces/projects.ts';

import { recordRefusal } from '../../src/workspaces/refusals.ts';
import {
  lockWorkspace,
  markDisconnected,
  readWorkspace,
  saveSettings,
} from '../../src/workspaces/repository.ts';
import { createSecretBox, rotateKeys, secretLocation } from '../../src/workspaces/secrets.ts';
import { DEFAULT_SETTINGS, readSettings } from '../../src/workspaces/settings.ts';
import { waitingForLocks } from '../support/database.ts';
import { runCommandHere } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { CLIENT_ID, CLIENT_SECRET } from '../support/world.ts';
import { createSite, PUBLIC_URL, type Site } from './support.ts';

let site: Site;
before(async () => {
  site = await createSite();
  await site.signedIn('abc123');
});
after(() => site.close());

const connect = (input: {
  workspaceId?: string;
  revenueCatProjectId?: string;
  apiKey?: string | null;
  name?: string | null;
}) =>
  connectProject(
    { database: site.db.database, secrets: site.app.secrets, publicUrl: PUBLIC_URL },
    { workspaceId: 'abc123', revenueCatProjectId: 'proj1', apiKey: null, name: null, ...input },
  );

const keyOf = (projectId: string) => ({ workspaceId: 'abc123', projectId });

it('creates an id that names its workspace, and an authorization value that is stored as a hash', async () => {
  const connection = await connect({ apiKey: 'sk_secret_value' });
  assert.equal(workspaceOfProject(connection.id), 'abc123');
  assert.equal(connection.webhookUrl, `${PUBLIC_URL}/webhooks/revenuecat/${connection.id}`);
  const dump = JSON.stringify(await site.db.database.query('select * from projects'));
  assert.ok(!dump.includes('sk_secret_value') && !dump.includes(connection.webhookAuthorization));
});

it('refuses a malformed key or project id, and keeps the stored key', async () => {
  const { id } = await connect({ revenueCatProjectId: 'proj9', apiKey: 'sk_good' });
  for (const apiKey of ['', 'appl_public', 'sk_', 'sk_with a space'])
    await assert.rejects(connect({ revenueCatProjectId: 'proj9', apiKey }), { code: 'bad_request' }, apiKey);
  for (const revenueCatProjectId of ['', 'a b', 'proj/1'])
    await assert.rejects(connect({ revenueCatProjectId, apiKey: 'sk_good' }), { code: 'bad_request' });
  const project = await readProject(site.db.database, 'abc123', id);
  assert.equal(
    site.app.secrets.decrypt(project?.apiKey ?? '', secretLocation.apiKey('abc123', id)),
    'sk_good',
  );
  assert.equal(
    (await listProjects(site.db.database, 'abc123')).filter((each) => each.projectId === id).length,
    1,
  );
  await disconnectProject(site.db.database, keyOf(id));
});

it('accepts the id as the dashboard’s address shows it, without its prefix', async () => {
  const { id } = await connect({ revenueCatProjectId: '57cf58e0' });
  const project = await readProject(site.db.database, 'abc123', id);
  assert.equal(project?.revenueCatProjectId, 'proj57cf58e0');
  await disconnectProject(site.db.database, keyOf(id));
});

it('keeps the name of a project that is connected again without one', async () => {
  const first = await connect({ revenueCatProjectId: 'projnamed', name: 'Our app' });
  for (const name of [null, '']) {
    const { id } = await connect({ revenueCatProjectId: 'projnamed', name });
    assert.equal(id, first.id);
    assert.equal((await readProject(site.db.database, 'abc123', id))?.name, 'Our app');
  }
  await disconnectProject(site.db.database, keyOf(first.id));
});

it('creates one project from two concurrent connections', async () => {
  const { database } = site.db;
  const both = await database.transaction(async (sql) => {
    await lockWorkspace(sql, 'abc123');
    const connecting = [1, 2].map(() => connect({ revenueCatProjectId: 'proj2' }));
    await until(async () => (await waitingForLocks(site.db)).length === 2, 'both to wait for their turn');
    return connecting;
  });
  const [first, second] = await Promise.all(both);
  assert.equal(first?.id, second?.id);
  assert.notEqual(first?.webhookAuthorization, second?.webhookAuthorization);
});

it('refuses a workspace that has not installed the app', async () => {
  await assert.rejects(connect({ workspaceId: 'nobody' }), { code: 'not_found' });
});

it('refuses every webhook of a disconnected project, not even one without authorization', async () => {
  const connection = await connect({ revenueCatProjectId: 'proj3' });
  await disconnectProject(site.db.database, keyOf(connection.id));
  const replaced = await replaceWebhookAuthorization(site.db.database, keyOf(connection.id));
  const project = await readProject(site.db.database, 'abc123', connection.id);
  assert.ok(project);
  for (const authorization of [undefined, '', connection.webhookAuthorization, replaced]) {
    const mismatch = authenticateWebhook({
      target: project,
      signingSecret: null,
      authorization,
      signature: undefined,
      rawBody: Buffer.from('{}'),
      nowMs: Date.now(),
    });
    assert.equal(mismatch, 'authorization');
  }
  assert.equal(await disconnectProject(site.db.database, keyOf(connection.id)), false);
});

it('keeps the secrets of a disconnected project for a day, and those of one that is connected again', async () => {
  const { database } = site.db;
  const { id } = await connect({ revenueCatProjectId: 'proj4', apiKey: 'sk_kept' });
  const state = async () => {
    await deleteDisconnectedSecrets(site.app, 'abc123');
    return (await database.query('select api_key from projects where project_id = $1', [id]))[0];
  };
  const age = (hours: number) =>
    database.query(
      'update projects set disconnected_at = disconnected_at - make_interval(hours => $2) where project_id = $1',
      [id, hours],
    );
  const stored = await state();
  await disconnectProject(database, keyOf(id));
  await age(23);
  assert.deepEqual(await state(), stored);
  await connect({ revenueCatProjectId: 'proj4' });
  await age(2);
  assert.deepEqual(await state(), stored);
  await disconnectProject(database, keyOf(id));
  await database.query('update projects set last_refused_at = now() where project_id = $1', [id]);
  assert.equal(await reconnectProject(site.app, keyOf(id)), true);
  const { refusedWebhook } = (await readProject(database, 'abc123', id)) ?? {};
  assert.equal(refusedWebhook, null, 'only the disconnection was the reason');
  await disconnectProject(database, keyOf(id));
  await age(25);
  assert.equal(await reconnectProject(site.app, keyOf(id)), false);
  assert.deepEqual(await state(), { api_key: null });
});

it('shows a refused webhook until one is accepted, or another authorization is set', async () => {
  const { database } = site.db;
  const { id } = await connect({ revenueCatProjectId: 'proj5' });
  const isRefused = async () => (await readProject(database, 'abc123', id))?.refusedWebhook !== null;
  await database.query('update projects set last_refused_at = now() where project_id = $1', [id]);
  assert.equal(await isRefused(), true);
  await connect({ revenueCatProjectId: 'proj5' });
  assert.equal(await isRefused(), false);
  await database.query(
    `update projects set last_refused_at = now() - interval '1 minute', last_received_at = now()
      where project_id = $1`,
    [id],
  );
  assert.equal(await isRefused(), false);
});

it('retries what Intercom refused and looks up who waits when the app is installed again, and nothing else', async () => {
  const { database } = site.db;
  const refusal = { work: 'events', code: 'intercom_scope_missing', message: 'No' } as const;
  assert.equal(await recordRefusal(database, 'abc123', refusal), true);
  assert.equal(await recordRefusal(database, 'abc123', refusal), false);
  await database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at, attempts, waiting)
     select 'abc123', name, gen_random_uuid(), now() + interval '1 hour', attempts, waiting
       from (values ('failing', 3, false), ('waiting', 3, true), ('later', 0, false)) as t (name, attempts, waiting)`,
  );
  await site.signedIn('abc123');
  const due = await database.query(
    'select project_id, attempts from subscribers where due_at <= now() order by project_id',
  );
  assert.deepEqual(due, [
    { project_id: 'failing', attempts: 0 },
    { project_id: 'waiting', attempts: 0 },
  ]);
  await database.query('delete from subscribers');
});

it('reads settings that it does not understand as those of a new workspace', () => {
  assert.deepEqual(readSettings({ events: 'none' }), DEFAULT_SETTINGS);
  assert.deepEqual(readSettings('none'), DEFAULT_SETTINGS);
});

it('keeps the rules when another section is of a newer version', () => {
  const access = { admins: [{ id: '1', name: 'Ada' }] };
  const { grants } = DEFAULT_SETTINGS;
  for (const newer of [
    { setup: { done: ['a_new_step'] } },
    { card: { language: 'xx', picture: false } },
    { messenger: { unverifiedAccepted: 'yes' } },
  ])
    assert.deepEqual(readSettings({ ...newer, access, grants: { ...grants, enabled: false } }), {
      ...DEFAULT_SETTINGS,
      access,
      grants: { ...grants, enabled: false },
    });
});

it('keeps the names of events when a newer version has a kind that is unknown here', () => {
  const renewal = { name: 'Renewed', enabled: false };
  assert.deepEqual(readSettings({ events: { renewal, a_new_kind: { name: 'x', enabled: true } } }), {
    ...DEFAULT_SETTINGS,
    events: { renewal },
  });
});

it('resumes deliveries when a disconnected workspace installs again', async () => {
  const { database } = site.db;
  await database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id, due_at) values ('abc123', 'p', $1, now())`,
    [randomUUID()],
  );
  const workspace = await readWorkspace(database, 'abc123');
  assert.ok(workspace);
  const older = { ...workspace, accessToken: 'an older one' };
  assert.equal(await markDisconnected(database, older, 'intercom_unauthorized'), false);
  assert.equal(await markDisconnected(database, workspace, 'intercom_unauthorized'), true);
  await database.query(
    `update workspaces set not_before = now() + interval '1 hour' where workspace_id = 'abc123'`,
  );
  assert.deepEqual(await listDueWorkspaces(database), []);
  assert.equal(await provisionWorkspace(site.app, 'abc123'), null);
  await site.signedIn('abc123');
  assert.deepEqual(await listDueWorkspaces(database), ['abc123']);
});

it('saves one section of the settings without touching the others', async () => {
  const { database } = site.db;
  await Promise.all([
    saveSettings(database, 'abc123', { sandbox: { deliver: true } }),
    saveSettings(database, 'abc123', { contacts: { create: 'all', matchByEmail: true } }),
    saveSettings(database, 'abc123', { events: { refund: { name: 'Money back', enabled: true } } }),
  ]);
  const settings = (await readWorkspace(database, 'abc123'))?.settings;
  assert.equal(settings?.sandbox.deliver, true);
  assert.equal(settings?.contacts.create, 'all');
  assert.equal(settings?.events.refund?.name, 'Money back');
});

it('leaves alone what is replaced while everything is encrypted again', async () => {
  const { database } = site.db;
  const [project] = await listProjects(database, 'abc123');
  assert.ok(project);
  const { secrets } = site.app;
  const place = secretLocation.signingSecret('abc123', project.projectId);
  await updateProject(database, project, { signingSecret: secrets.encrypt('old', place) });
  const query: typeof database.query = async (text, ...more) => {
    if (text.startsWith('update projects set signing_secret'))
      await updateProject(database, project, { signingSecret: secrets.encrypt('new', place) });
    return database.query(text, ...more);
  };
  const [old, fresh] = [site.app.config.encryptionKeys, randomBytes(32)];
  await rotateKeys({ ...database, query }, createSecretBox([fresh, ...old]));
  const stored = await readProject(database, 'abc123', project.projectId);
  assert.equal(secrets.decrypt(stored?.signingSecret ?? '', place), 'new');
  await rotateKeys(database, createSecretBox([...old, fresh]));
});

it('encrypts everything again with a new key, after which the old one can be dropped', async () => {
  const { database } = site.db;
  const [project] = await listProjects(database, 'abc123');
  assert.ok(project);
  const place = secretLocation.signingSecret('abc123', project.projectId);
  await updateProject(database, project, { signingSecret: site.app.secrets.encrypt('signing', place) });

  const fresh = randomBytes(32);
  const both = createSecretBox([fresh, ...site.app.config.encryptionKeys]);
  // One of the four belongs to a project whose disconnection can still be undone.
  assert.deepEqual(await rotateKeys(database, both), { rotated: 4, unreadable: [] });
  assert.deepEqual(await rotateKeys(database, both), { rotated: 0, unreadable: [] });
  // No secret in any column is still encrypted with the old key.
  const tables = await database.query<{ name: string }>(
    `select format('%I', table_name) as name from information_schema.tables
      where table_schema = 'public' and table_type = 'BASE TABLE'`,
  );
  const keys = new Set<string>();
  for (const { name } of tables) {
    const rows = await database.query<{ line: string }>(`select to_jsonb(t)::text as line from ${name} t`);
    for (const { line } of rows) {
      for (const [, key] of line.matchAll(/"v1\.([\w-]{8})\./g)) keys.add(key ?? '');
    }
  }
  assert.equal(keys.size, 1);

  const alone = createSecretBox([fresh]);
  const stored = await readProject(database, 'abc123', project.projectId);
  assert.equal(alone.decrypt(stored?.signingSecret ?? '', place), 'signing');
  assert.equal(
    alone.decrypt(stored?.apiKey ?? '', secretLocation.apiKey('abc123', project.projectId)),
    'sk_secret_value',
  );
  const workspace = await readWorkspace(database, 'abc123');
  assert.ok(alone.decrypt(workspace?.accessToken ?? '', secretLocation.accessToken('abc123')));
});

it('from the command line is recorded, and has attributes written that changed while it was disconnected', async () => {
  const { app, db } = site;
  const { id: projectId } = await connect({ revenueCatProjectId: 'projcli' });
  const subscriberId = randomUUID();
  await db.database.query(
    `insert into subscribers (workspace_id, subscriber_id, project_id, contact_id) values ('abc123', $1, $2, 'c1')`,
    [subscriberId, projectId],
  );
  await disconnectProject(db.database, keyOf(projectId));
  const { stdout } = await runCommandHere(
    addConnectCommand,
    [
      'connect',
      '--workspace',
      'abc123',
      '--project',
      'projcli',
      '--key',
      'sk_new',
      '--name',
      'Ours',
      '--json',
    ],
    {
      DATABASE_URL: db.url,
      ENCRYPTION_KEYS: app.config.encryptionKeys.map((each) => each.toString('base64')).join(),
      INTERCOM_CLIENT_ID: CLIENT_ID,
      INTERCOM_CLIENT_SECRET: CLIENT_SECRET,
    },
  );
  assert.equal(JSON.parse(stdout).id, projectId);
  const [customer] = await db.database.query(
    `select due_at is not null as due from subscribers where workspace_id = 'abc123' and subscriber_id = $1`,
    [subscriberId],
  );
  assert.deepEqual(customer, { due: true });
  const records = await db.database.query(
    `select actor->>'name' as by, details from audit_log
      where workspace_id = 'abc123' and action = 'revenuecat_connected'`,
  );
  assert.deepEqual(records, [{ by: 'Command line', details: { project: 'Ours' } }]);
});
