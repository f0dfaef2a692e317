import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import supertest from 'supertest';
import { auditEntry } from '../../src/settings/audit.ts';
import { EVENT_KINDS } from '../../src/subscription/kinds.ts';
import { writeAudit } from '../../src/workspaces/audit.ts';
import { connectProject } from '../../src/workspaces/project-connection.ts';
import { listProjects, readProject } from '../../src/workspaces/projects.ts';
import { readWorkspace, saveSettings } from '../../src/workspaces/repository.ts';
import { secretLocation } from '../../src/workspaces/secrets.ts';
import { EVENT_STATES, setDelivery } from '../support/deliveries.ts';
import { createSite, csrfIn, PUBLIC_URL, type Site } from '../workspaces/support.ts';

type Browser = ReturnType<typeof supertest.agent>;

let site: Site;
let browser: Browser;
let csrf: string;
before(async () => {
  site = await createSite();
  browser = await site.signedIn('abc123');
  csrf = csrfIn((await browser.get('/settings')).text);
});
after(() => site.close());

const PAGES = [
  '',
  '/revenuecat',
  '/import',
  '/events',
  '/contacts',
  '/use',
  '/card',
  '/grants',
  '/messenger',
  '/deliveries',
  '/audit',
  '/access',
  '/data',
  '/data/uninstall',
];
const SCRIPT = '<script>alert(1)</script>';

function send(path: string, form: Record<string, unknown> = {}): supertest.Test {
  return browser
    .post(`/settings${path}`)
    .type('form')
    .send({ _csrf: csrf, ...form });
}

async function settings(): Promise<NonNullable<Awaited<ReturnType<typeof readWorkspace>>>['settings']> {
  const workspace = await readWorkspace(site.db.database, 'abc123');
  assert.ok(workspace);
  return workspace.settings;
}

/** Stores an event as the webhook receiver does, for a new customer. */
async function storeEvent(
  fields: { delivery?: string; reason?: string | null; workspaceId?: string; appUserId?: string } = {},
): Promise<string> {
  const { delivery = 'failed', reason = null, workspaceId = 'abc123', appUserId = 'user-1' } = fields;
  const subscriberId = randomUUID();
  const eventId = randomUUID();
  await site.db.database.query(
    `insert into subscribers (workspace_id, project_id, subscriber_id) values ($1, 'p', $2)`,
    [workspaceId, subscriberId],
  );
  await site.db.database.query(
    `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
     values ($1, 'p', $2, $3, 'RENEWAL', 'renewal', 0, $4)`,
    [workspaceId, eventId, subscriberId, JSON.stringify({ app_user_id: appUserId })],
  );
  await setDelivery(site.db.database, workspaceId, eventId, { delivery, reason });
  return eventId;
}

describe('every page', () => {
  it('opens in a new workspace, with labels for all its fields and headings in order', async () => {
    for (const path of PAGES) {
      const { text } = await browser.get(`/settings${path}`).expect(200);
      const ids = [...text.matchAll(/<(?:input|select|textarea)(?![^>]*type="hidden")[^>]*\sid="([^"]+)"/g)];
      const all = [...text.matchAll(/<(?:input|select|textarea)(?![^>]*type="hidden")/g)];
      assert.equal(ids.length, all.length, `${path}: a field without an id`);
      for (const [, id] of ids) assert.ok(text.includes(`for="${id}"`), `${path}: no label for ${id}`);
      const levels = [...text.matchAll(/<h([1-6])/g)].map((match) => Number(match[1]));
      assert.equal(levels[0], 1);
      for (const [index, level] of levels.entries()) {
        assert.ok(level <= (levels[index - 1] ?? 1) + 1, `${path}: a heading is skipped`);
      }
      assert.match(text, /Skip to the content/);
    }
  });

  it('opens at Home also in a time zone whose name PostgreSQL does not know', async () => {
    const { database } = site.db;
    const change = (timeZone: string) =>
      database.query(`update workspaces set timezone = $2 where workspace_id = $1`, ['abc123', timeZone]);
    const { timezone } = (await readWorkspace(database, 'abc123')) ?? {};
    assert.ok(timezone);
    await change('PLT');
    const { text } = await browser.get('/settings').expect(200);
    await change(timezone);
    assert.match(text, /time zone, PLT\./);
  });

  it('has its styles and scripts compared at each visit: an upgrade counts immediately', async () => {
    for (const asset of ['app.css', 'settings.js', 'pico.css']) {
      const answer = await browser.get(`/assets/${asset}`).expect(200);
      assert.equal(answer.headers['cache-control'], 'no-cache');
      await browser.get(`/assets/${asset}`).set('If-None-Match', `${answer.headers.etag}`).expect(304);
    }
  });

  it('shows a message only for codes that it knows', async () => {
    assert.match((await browser.get('/settings/events?done=events_saved')).text, /Event names saved/);
    const { text } = await browser.get(`/settings/events?done=${encodeURIComponent(SCRIPT)}`);
    assert.ok(!text.includes('class="flash'));
    assert.ok(!text.includes(SCRIPT));
  });
});

describe('connecting RevenueCat', () => {
  it('says what is wrong with a key, and keeps nothing of it', async () => {
    const project = site.revenueCat.addProject({ id: 'projbad', name: 'Bad' });
    const key = site.revenueCat.issueKey(project.id, []);
    const unlisting = site.revenueCat.issueKey(project.id, ['project_configuration:entitlements:read']);
    const problems: [Record<string, string>, RegExp][] = [
      [{}, /Paste a secret API key/],
      [{ api_key: 'appl_public' }, /begins with sk_/],
      [{ api_key: 'sk_unknown_key' }, /does not accept this key/],
      [{ api_key: key }, /cannot list its project/],
      [{ api_key: unlisting, revenuecat_project: 'projwrong' }, /does not belong to that project/],
      [{ revenuecat_project: '../../etc' }, /Invalid project ID/],
    ];
    for (const [form, problem] of problems) {
      const answer = await send('/revenuecat/connect', form).expect(422);
      assert.match(answer.text, problem);
      if (form.api_key) assert.ok(!answer.text.includes(form.api_key), 'the key comes back in the page');
    }
    site.revenueCat.faults.add({ status: 503, times: 1 });
    assert.match((await send('/revenuecat/connect', { api_key: key })).text, /did not answer/);
    assert.deepEqual(await listProjects(site.db.database, 'abc123'), []);
  });

  it('checks the key, registers the webhook, and shows the authorization once', async () => {
    const project = site.revenueCat.addProject({ id: 'projgood', name: `App ${SCRIPT}` });
    const key = site.revenueCat.issueKey(project.id);
    const answer = await send('/revenuecat/connect', { api_key: key }).expect(200);
    assert.match(answer.text, /is connected/);
    assert.ok(!answer.text.includes(SCRIPT));
    assert.ok(!answer.text.includes(key));
    const authorization =
      /<code id="webhook-authorization">(whk_[\w-]+)<\/code>/.exec(answer.text)?.[1] ?? '';
    assert.equal(project.webhooks.length, 1);
    assert.equal(project.webhooks[0]?.authorizationHeader, authorization);

    const [stored] = await listProjects(site.db.database, 'abc123');
    assert.equal(stored?.apiKeyState, 'valid');
    assert.match(stored?.projectId ?? '', /^abc123-[a-z0-9]+$/);
    assert.equal(project.webhooks[0]?.url, `${PUBLIC_URL}/webhooks/revenuecat/${stored?.projectId}`);
    const page = (await browser.get('/settings/revenuecat')).text;
    assert.ok(!page.includes(authorization) && !page.includes(key));
    const dump = JSON.stringify(await site.db.database.query('select * from projects'));
    assert.ok(!dump.includes(key) && !dump.includes(authorization));
    assert.equal(
      site.app.secrets.decrypt(
        stored?.apiKey ?? '',
        secretLocation.apiKey('abc123', stored?.projectId ?? ''),
      ),
      key,
    );
  });

  it('replaces only the key of a project that is connected again: its webhook keeps working', async () => {
    const [before] = await listProjects(site.db.database, 'abc123');
    const key = site.revenueCat.issueKey('projgood');
    const webhooks = structuredClone(site.revenueCat.state.projects.get('projgood')?.webhooks);
    await send('/revenuecat/connect', { api_key: key }).expect(303, /^.*$/s);
    const other = site.revenueCat.issueKey('projgood');
    site.jobs.length = 0;
    const replaced = await send('/revenuecat/key', { project: before?.projectId, new_key: other }).expect(
      303,
    );
    assert.match(String(replaced.headers.location), /key_replaced/);
    assert.deepEqual(
      site.jobs.map(({ name }) => name),
      ['workspace.health'],
    );
    const projects = await listProjects(site.db.database, 'abc123');
    assert.equal(projects.length, 1);
    assert.equal(projects[0]?.projectId, before?.projectId);
    assert.equal(projects[0]?.webhookAuthHash, before?.webhookAuthHash);
    assert.deepEqual(site.revenueCat.state.projects.get('projgood')?.webhooks, webhooks);
    const place = secretLocation.apiKey('abc123', projects[0]?.projectId ?? '');
    assert.equal(site.app.secrets.decrypt(projects[0]?.apiKey ?? '', place), other);
    for (const wrong of ['', 'appl_public', 'sk_unknown_key']) {
      const { text } = await send('/revenuecat/key', { project: before?.projectId, new_key: wrong }).expect(
        422,
      );
      assert.match(text, new RegExp(`id="new-key-${before?.projectId}"[^>]*aria-invalid="true"`), wrong);
    }
    assert.equal((await listProjects(site.db.database, 'abc123'))[0]?.apiKey, projects[0]?.apiKey);
  });

  it('names the permissions that a key lacks, and leaves the webhook to the admin', async () => {
    const project = site.revenueCat.addProject({ id: 'projpoor', name: 'Poor' });
    const key = site.revenueCat.issueKey(project.id, ['project_configuration:projects:read']);
    const { text } = await send('/revenuecat/connect', { api_key: key }).expect(200);
    assert.match(text, /customer_information:customers:read/);
    assert.match(text, /project_configuration:entitlements:read/);
    assert.match(text, /cannot write integrations/);
    assert.match(text, /Grants: <code>customer_information:customers:read_write/);
  });

  it('connects without a key, for events alone', async () => {
    const { text } = await send('/revenuecat/connect', { revenuecat_project: 'projnokey' }).expect(200);
    assert.match(text, /Without an API key/);
    assert.match(text, /whk_/);
    assert.match(
      (await browser.get('/settings/revenuecat')).text,
      /Not added yet: add it by hand in RevenueCat/,
    );
  });

  it('names a project that had no key when it gets one, and offers to add its webhook', async () => {
    site.revenueCat.addProject({ id: 'projlater', name: 'Later Shop' });
    await send('/revenuecat/connect', { revenuecat_project: 'projlater' }).expect(200);
    const later = async () =>
      (await listProjects(site.db.database, 'abc123')).find(
        ({ revenueCatProjectId }) => revenueCatProjectId === 'projlater',
      );
    const project = await later();
    assert.equal(project?.name, 'projlater');
    const key = site.revenueCat.issueKey('projlater');
    const saved = await send('/revenuecat/key', { project: project.projectId, new_key: key }).expect(303);
    assert.match((await browser.get(String(saved.get('location')))).text, /Now import your customers/);
    assert.equal((await later())?.name, 'Later Shop');
    assert.match((await browser.get('/settings/revenuecat')).text, /Not added yet: we add it for you/);
    await send('/revenuecat/webhook', { project: project.projectId, confirmed: 'yes' }).expect(200);
    assert.equal(site.revenueCat.state.projects.get('projlater')?.webhooks.length, 1);
    await send('/revenuecat/disconnect', { project: project.projectId, confirmed: 'yes' }).expect(303);
  });

  it('replaces the webhook that it added under another address of the server', async () => {
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.ok(project);
    const webhooks = () => site.revenueCat.state.projects.get('projgood')?.webhooks ?? [];
    const [registered] = webhooks();
    assert.ok(registered);
    const url = registered.url;
    registered.url = url.replace(PUBLIC_URL, 'https://before.example.com');
    webhooks().push({ ...registered, id: 'whintgrOther', url: 'https://other.example.com/webhook' });
    await send('/revenuecat/webhook', { project: project.projectId, confirmed: 'yes' }).expect(200);
    assert.deepEqual(
      webhooks().map((each) => each.url),
      ['https://other.example.com/webhook', url],
    );
    webhooks().shift();
  });

  it('leaves the webhook of a connected project alone when only its ID is entered', async () => {
    for (const id of ['projgood', 'projnokey']) {
      const before = await listProjects(site.db.database, 'abc123');
      const { text } = await send('/revenuecat/connect', { revenuecat_project: id }).expect(422);
      assert.match(text, /connected already/);
      assert.deepEqual(await listProjects(site.db.database, 'abc123'), before);
    }
  });

  it('takes the ID as the dashboard shows it for a key that cannot list its project', async () => {
    const project = site.revenueCat.addProject({ id: 'proj1a2b3c4d', name: 'Dashboard' });
    const key = site.revenueCat.issueKey(project.id, [
      'customer_information:customers:read',
      'project_configuration:integrations:read_write',
    ]);
    const { text } = await send('/revenuecat/connect', { api_key: key, revenuecat_project: '1a2b3c4d' });
    assert.match(text, /registered in RevenueCat/);
    assert.doesNotMatch(text, /customer_information:customers:read</);
    assert.equal(project.webhooks.length, 1);
  });

  it('takes a signing secret, and encrypts it', async () => {
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.ok(project);
    await send('/revenuecat/signing', { project: project.projectId, signing_secret: 'whsec_value' }).expect(
      303,
    );
    const stored = await readProject(site.db.database, 'abc123', project.projectId);
    const place = secretLocation.signingSecret('abc123', project.projectId);
    assert.equal(site.app.secrets.decrypt(stored?.signingSecret ?? '', place), 'whsec_value');
    assert.ok(!(await browser.get('/settings/revenuecat')).text.includes('whsec_value'));
    const wrong = ['whsec_value\u200b', 'whsec value'];
    for (const secret of wrong)
      await send('/revenuecat/signing', { project: project.projectId, signing_secret: secret }).expect(422);
    await send('/revenuecat/signing', { project: project.projectId, signing_secret: '' }).expect(303);
    assert.equal((await readProject(site.db.database, 'abc123', project.projectId))?.signingSecret, null);
    const none = await send('/revenuecat/signing', { project: project.projectId, signing_secret: '' });
    assert.match(none.text, /Paste the signing secret first/, 'nothing was removed');
  });

  it('requires no signature of a webhook that it has just added: nobody has switched signing on', async () => {
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.ok(project);
    await send('/revenuecat/signing', { project: project.projectId, signing_secret: 'whsec_old' }).expect(
      303,
    );
    const renew = { project: project.projectId, confirmed: 'yes' };
    assert.match((await send('/revenuecat/webhook', renew).expect(200)).text, /new webhook is not signed/);
    assert.equal((await readProject(site.db.database, 'abc123', project.projectId))?.signingSecret, null);
    assert.doesNotMatch((await send('/revenuecat/webhook', renew).expect(200)).text, /is not signed/);
  });

  it("never touches another workspace's project", async () => {
    await site.signedIn('other1');
    const foreign = await connectProject(
      { database: site.db.database, secrets: site.app.secrets, publicUrl: PUBLIC_URL },
      { workspaceId: 'other1', revenueCatProjectId: 'projgood', apiKey: null, name: null },
    );
    await send('/revenuecat/disconnect', { project: foreign.id, confirmed: 'yes' }).expect(404);
    await send('/revenuecat/key', { project: foreign.id, new_key: 'sk_x' }).expect(404);
    await send('/revenuecat/signing', { project: foreign.id, signing_secret: 'x' }).expect(404);
    assert.equal((await listProjects(site.db.database, 'other1')).length, 1);
    assert.equal((await readProject(site.db.database, 'other1', foreign.id))?.signingSecret, null);
  });

  it('asks before it disconnects, removes the webhook, and returns under the same id', async () => {
    const [project] = await listProjects(site.db.database, 'abc123');
    assert.ok(project);
    const path = `/revenuecat/disconnect?project=${project.projectId}`;
    assert.match((await browser.get(`/settings${path}`).expect(200)).text, /deleted after a day/);
    await send('/revenuecat/disconnect', { project: project.projectId }).expect(422);
    assert.equal((await readProject(site.db.database, 'abc123', project.projectId))?.apiKey, project.apiKey);
    await send('/revenuecat/disconnect', { project: project.projectId, confirmed: 'yes' }).expect(303);
    assert.equal(site.revenueCat.state.projects.get('projgood')?.webhooks.length, 0);
    const row = await readProject(site.db.database, 'abc123', project.projectId);
    assert.equal(row?.apiKey, null);
    assert.equal(row?.webhookAuthHash, '');
    assert.ok(
      (await listProjects(site.db.database, 'abc123')).every((each) => each.projectId !== project.projectId),
    );
    await send('/revenuecat/connect', { api_key: site.revenueCat.issueKey('projgood') }).expect(200);
    const again = await listProjects(site.db.database, 'abc123');
    assert.ok(again.some((each) => each.projectId === project.projectId));
  });
});

describe('event names', () => {
  /** Sends the form as a browser does, with the fields of every kind. */
  const sendEvents = (form: Record<string, string>) =>
    send('/events', { ...Object.fromEntries(EVENT_KINDS.map((kind) => [`name.${kind}`, ''])), ...form });

  it('saves names and switches; a blank name means the default', async () => {
    await sendEvents({
      'name.renewal': '  Renewed ',
      'enabled.renewal': 'on',
      'name.expiration': '',
    }).expect(303);
    const { events } = await settings();
    assert.deepEqual(events.renewal, { name: 'Renewed', enabled: true });
    assert.deepEqual(events.expiration, { name: '', enabled: false });
    const { text } = await browser.get('/settings/events');
    assert.match(text, /placeholder="rc_renewal_event"/);
    assert.match(text, /value="Renewed"/);
  });

  it('leaves a kind alone that the form does not have: it came with an upgrade after the page was opened', async () => {
    const refund = { name: 'Refunded', enabled: false };
    await saveSettings(site.db.database, 'abc123', { events: { refund } });
    const renewal = { name: 'Renewed', enabled: true };
    await send('/events', { 'name.renewal': 'Renewed', 'enabled.renewal': 'on' }).expect(303);
    assert.deepEqual((await settings()).events, { refund, renewal });
    assert.match((await browser.get('/settings/events')).text, /name="enabled\.expiration"[^>]* checked/);
  });

  it('refuses what Intercom would change or confuse, and keeps what was typed', async () => {
    const wrong: [Record<string, string>, RegExp][] = [
      [{ 'name.renewal': 'sub.renewed' }, /use sub-renewed/],
      [{ 'name.renewal': 'Paid', 'name.refund': 'paid' }, /“Refund” has this name, too/],
      [{ 'name.refund': 'RC_Renewal_Event' }, /“Renewal” has this name by default/],
      [{ 'name.refund': 'x'.repeat(256) }, /At most 255/],
      [{ 'name.refund': 'Refun\u200bded' }, /Letters, digits, spaces/],
      [{ 'name.refund': '\u202eRefunded' }, /Letters, digits, spaces/],
      [{ 'name.refund': 'Was\u00a0refunded' }, /invisible character: type it/],
    ];
    for (const [form, problem] of wrong) {
      const answer = await sendEvents(form).expect(422);
      assert.match(answer.text, problem);
      assert.match(answer.text, /aria-invalid="true"/);
    }
    for (const [form, kinds] of [
      [{ 'name.renewal': 'Paid', 'name.refund': 'paid' }, ['renewal', 'refund']],
      [{ 'name.refund': 'rc_renewal_event' }, ['renewal', 'refund']],
    ] as const) {
      const { text } = await sendEvents(form).expect(422);
      const marked = [...text.matchAll(/name="name\.(\w+)"[^>]*aria-invalid="true"/g)].map(
        ([, kind]) => kind,
      );
      assert.deepEqual(marked, kinds, 'either of the two may be the one to change');
      const [, summary = ''] = /role="alert"[^>]*>(.*?)<\/div>/s.exec(text) ?? [];
      assert.match(summary, /<strong>Renewal:<\/strong> .*<strong>Refund:<\/strong> /s, 'each names its row');
    }
    assert.equal((await settings()).events.renewal?.name, 'Renewed');
  });

  it('lets a kind share the name under which RevenueCat’s own integration sends it', async () => {
    const shared = {
      'name.cancellation': 'Cancelled',
      'name.refund': 'cancelled',
      'name.promotional_revoked': 'Cancelled',
      'name.promotional_granted': 'rc_non_subscription_purchase_event',
    };
    await sendEvents(shared).expect(303);
    assert.equal((await settings()).events.refund?.name, 'cancelled');
    const refused = await sendEvents({ ...shared, 'name.trial_cancelled': 'Cancelled' }).expect(422);
    assert.match(refused.text, /“Cancellation” has this name, too/);
    const { text } = await browser.get('/settings/use').expect(200);
    const refunded = /<h2[^>]*>Refunded<.*?<\/article>/s.exec(text)?.[0] ?? '';
    assert.match(
      refunded,
      /the same name as “Cancellation” and “Grant removed”, which the filter also finds/,
    );
    await sendEvents({ 'name.renewal': 'Renewed' }).expect(303);
    assert.doesNotMatch((await browser.get('/settings/use')).text, /the same name/);
  });

  it('says for filters which names Intercom knows, and what values attributes have', async () => {
    const rowOf = async (): Promise<string> => {
      const { text } = await browser.get('/settings/use').expect(200);
      return /<tr><th scope="row"><code id="event-uncancellation">.*?<\/tr>/.exec(text)?.[0] ?? '';
    };
    const eventId = await storeEvent({ delivery: 'delivered' });
    await site.db.database.query(`update events set kind = 'uncancellation' where event_id = $1`, [eventId]);
    await site.db.database.query(
      `update event_deliveries set sent_name = 'rc_uncancellation_event' where event_id = $1`,
      [eventId],
    );
    const { events } = await settings();
    const callIt = (name: string) =>
      saveSettings(site.db.database, 'abc123', {
        events: { ...events, uncancellation: { enabled: true, name } },
      });
    await callIt('');
    assert.match(await rowOf(), />Sent</);
    await callIt('Renewal is back on');
    assert.match(await rowOf(), /Renewal is back on<.*>Never</);
    await saveSettings(site.db.database, 'abc123', { events });
    const { text } = await browser.get('/settings/use');
    assert.match(
      text,
      /Subscription status[^<]*<small>Values: active, intro, cancelled, grace_period, trial,/,
    );
    assert.match(text, /<small>Values: initial_purchase, .*renewal, /);
  });

  it('escapes a name', async () => {
    await sendEvents({ 'name.renewal': `"><b>${SCRIPT}` }).expect(303);
    const { text } = await browser.get('/settings/events');
    assert.ok(!text.includes('<b>') && !text.includes(SCRIPT));
    await sendEvents({}).expect(303);
  });
});

describe('contacts', () => {
  it('saves the rules and wakes those that wait', async () => {
    const subscriberId = randomUUID();
    await site.db.database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, waiting) values ('abc123', 'p', $1, true)`,
      [subscriberId],
    );
    await send('/contacts', { create: 'identified', match_by_email: 'on' }).expect(303);
    assert.deepEqual((await settings()).contacts, { create: 'identified', matchByEmail: true });
    const [row] = await site.db.database.query<{ due_at: Date | null }>(
      'select due_at from subscribers where subscriber_id = $1',
      [subscriberId],
    );
    assert.ok(row?.due_at);
    const refused = await send('/contacts', { create: 'everything' }).expect(422);
    assert.match(refused.text, /Nothing was saved/);
    assert.deepEqual((await settings()).contacts, { create: 'identified', matchByEmail: true });
    await send('/contacts', { create: 'never' }).expect(303);
    assert.deepEqual((await settings()).contacts, { create: 'never', matchByEmail: false });
  });

  it('matches again who may have been matched by email, once that is switched off', async () => {
    await send('/contacts', { create: 'never', match_by_email: 'on' }).expect(303);
    const [byEmail, withoutEmail] = ['person@example.com', null].map((email) => ({
      id: randomUUID(),
      email,
    }));
    for (const each of [byEmail, withoutEmail])
      await site.db.database.query(
        `insert into subscribers (workspace_id, project_id, subscriber_id, email, contact_id, attributes_written)
         values ('abc123', 'p', $1, $2, 'contact-1', '{}')`,
        [each?.id, each?.email],
      );
    const woken = async () => {
      const rows = await site.db.database.query<{ subscriber_id: string }>(
        `select subscriber_id from subscribers
          where subscriber_id = any($1) and due_at <= now() and attributes_written is null`,
        [[byEmail?.id, withoutEmail?.id]],
      );
      return rows.map((row) => row.subscriber_id);
    };
    await send('/contacts', { create: 'identified', match_by_email: 'on' }).expect(303);
    assert.deepEqual(await woken(), [], 'while it stays on');
    await send('/contacts', { create: 'never' }).expect(303);
    assert.deepEqual(await woken(), [byEmail?.id]);
  });

  it('recommends to create contacts once most of at least 20 customers have one', async () => {
    const { database } = site.db;
    const add = (count: number, contactId: string | null) =>
      database.query(
        `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id, waiting)
         select 'abc123', 'p', gen_random_uuid(), $2::text, $2::text is null from generate_series(1, $1)`,
        [count, contactId],
      );
    await database.query(`delete from subscribers where workspace_id = 'abc123'`);
    const shown = async () =>
      /\d+% of your customers so far/.exec((await browser.get('/settings/contacts')).text)?.[0];
    await add(15, 'contact');
    await add(4, null);
    assert.equal(await shown(), undefined, 'too few');
    await add(1, null);
    assert.equal(await shown(), '75% of your customers so far');
    await add(5, null);
    assert.equal(await shown(), '60% of your customers so far');
    await add(1, null);
    assert.equal(await shown(), undefined, 'too few of them match');
  });

  it('makes missing attributes again', async () => {
    await site.db.database.query(
      `update workspaces set attributes_ready = false where workspace_id = 'abc123'`,
    );
    assert.match((await browser.get('/settings/contacts')).text, /could not be created/);
    const answer = await send('/contacts/attributes').expect(303);
    assert.match(String(answer.headers.location), /attributes_made/);
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.attributesReady, true);

    const subscriberId = randomUUID();
    await site.db.database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id, attributes_written)
       values ('abc123', 'p', $1, 'contact-2', '{}')`,
      [subscriberId],
    );
    const isDue = async () =>
      (
        await site.db.database.query(
          'select 1 from subscribers where subscriber_id = $1 and due_at <= now()',
          [subscriberId],
        )
      ).length > 0;
    await send('/contacts/attributes').expect(303);
    assert.equal(await isDue(), false, 'nothing was missing');
    const attribute = site.intercom.state.attributes.find(({ workspaceId }) => workspaceId === 'abc123');
    assert.ok(attribute);
    attribute.archived = true;
    assert.match((await browser.get('/settings/contacts')).text, /Create missing attributes/);
    await send('/contacts/attributes').expect(303);
    assert.equal(await isDue(), true, 'contacts get what was missing');
    const [entry] = await site.db.database.query(
      `select details from audit_log where action = 'attributes_made' order by audit_id desc limit 1`,
    );
    assert.deepEqual(entry?.details, { created: [attribute.name] });
  });

  it('says that a permission is missing where Intercom does not let it make attributes', async () => {
    site.intercom.faults.add({ status: 403, pathPrefix: '/data_attributes', times: 1 });
    const answer = await send('/contacts/attributes').expect(303);
    assert.match(String(answer.headers.location), /attributes_refused/);
    assert.match((await browser.get(String(answer.headers.location))).text, /permission/);
    site.intercom.faults.add({ status: 503, pathPrefix: '/data_attributes', times: 1 });
    const later = await send('/contacts/attributes').expect(303);
    assert.match(String(later.headers.location), /intercom_unavailable/);
  });
});

describe('a form that calls Intercom', () => {
  it('says what is wrong while there is no usable token: to try again would not help', async () => {
    const { database } = site.db;
    const [kept] = await database.query(
      `select access_token as token, status from workspaces where workspace_id = 'abc123'`,
    );
    const set = (token: unknown, status: unknown) =>
      database.query(`update workspaces set access_token = $1, status = $2 where workspace_id = 'abc123'`, [
        token,
        status,
      ]);
    await set('v1.lost.key', 'connected');
    for (const path of ['/contacts/attributes', '/data/uninstall']) {
      const { text } = await send(path, { confirmed: 'yes' }).expect(422);
      assert.match(text, /No key of ENCRYPTION_KEYS decrypts/, path);
    }
    await set(kept?.token, 'disconnected');
    const { headers } = await send('/contacts/attributes').expect(303);
    assert.match(String(headers.location), /attributes_refused/);
    await set(kept?.token, kept?.status);
  });
});

describe('a form with a problem', () => {
  it('has it in the title, and the focus on the first field that is wrong', async () => {
    for (const [path, form, field] of [
      ['/messenger/keys', { name: '', kind: 'fin' }, /<input id="name"[^>]*autofocus/],
      ['/events', { 'name.renewal': 'a.b' }, /<input id="name-renewal"[^>]*autofocus/],
      ['/grants', { who: 'selected', longest_days: '31' }, /<input [^>]*id="who-selected"[^>]*autofocus/],
      ['/grants/actions', { refund_who: 'selected' }, /<input [^>]*id="refund-selected"[^>]*autofocus/],
      ['/data/uninstall', {}, /<div class="flash bad" role="alert"[^>]*autofocus/],
    ] as const) {
      const { text } = await send(path, form).expect(422);
      assert.match(text, /<title>Error: /, path);
      assert.match(text, field, path);
      assert.equal(text.match(/ autofocus/g)?.length, 1, path);
    }
  });

  it('shows the page when its address is entered again', async () => {
    for (const [form, page] of [
      ['/messenger/keys', '/messenger'],
      ['/data/erase', '/data'],
      ['/check', ''],
    ])
      await browser.get(`/settings${form}`).expect(302).expect('location', `/settings${page}`);
    await browser.get('/settings/revenuecat/webhook').expect(404);
  });

  it('shows it in the form of its own project only', async () => {
    const { database } = site.db;
    for (const id of ['first', 'second'])
      await database.query(
        `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash, api_key_state)
         values ('abc123', $1, $1, $1, 'x', 'none')`,
        [`abc123-${id}`],
      );
    const { text } = await send('/revenuecat/key', { project: 'abc123-second', new_key: 'appl_x' }).expect(
      422,
    );
    assert.match(text, /id="new-key-abc123-second"[^>]*aria-invalid="true"/);
    assert.doesNotMatch(text, /id="new-key-abc123-first"[^>]*aria-invalid/);
    await database.query(`delete from projects where project_id in ('abc123-first', 'abc123-second')`);
  });
});

describe('a form about something that is gone by now', () => {
  it('is shown with what can be done, where its page has more', async () => {
    const forms: [string, Record<string, string>, RegExp][] = [
      ['/revenuecat/key', { project: 'abc123-gone', new_key: 'sk_x' }, /Connect (?:your|another)/],
      ['/import/start', { project: 'abc123-gone' }, /<h1>Import existing customers/],
      ['/data/erase', { customer: 'gone', repeat: 'gone' }, /Nothing is stored under this ID/],
    ];
    for (const [path, form, shown] of forms) {
      const { text } = await send(path, form).accept('html').expect(404);
      assert.match(text, /<title>Error: /, path);
      assert.match(text, /role="alert"[^>]*><p>This workspace has no /, path);
      assert.match(text, shown, path);
    }
  });
});

describe('a form whose session has ended', () => {
  it('is shown with what was typed when it is sent again after a new sign-in', async () => {
    const name = 'Renewed after lunch';
    const form = { _csrf: csrf, 'name.renewal': name };
    const { text } = await supertest(site.server)
      .post('/settings/events')
      .accept('html')
      .type('form')
      .send(form)
      .expect(401);
    assert.match(text, /nothing was saved\. Sign in in another tab, then reload this page/);
    assert.match(text, /href="\/settings" target="_blank">/);
    const again = await site.signedIn('abc123');
    const answer = await again.post('/settings/events').accept('html').type('form').send(form).expect(403);
    assert.match(answer.text, new RegExp(`value="${name}"`));
  });
});

describe('a form of an earlier session', () => {
  it('is shown again with what was typed, and works then', async () => {
    const again = await site.signedIn('abc123');
    const old = (fields: object) =>
      again.post('/settings/messenger/keys').accept('html').type('form').send(fields);
    await old({ name: 'My backend', kind: 'messenger' }).expect(403);
    const { text } = await old({ _csrf: csrf, name: 'My backend', kind: 'messenger' }).expect(403);
    assert.match(text, /You have signed in again since this page was opened/);
    assert.match(text, /value="My backend"/);
    assert.doesNotMatch(text, />My backend</, 'no key was made');
    await old({ _csrf: csrfIn(text), name: 'My backend', kind: 'messenger' }).expect(200);
  });

  it('is not offered to another workspace that the browser has signed in to since', async () => {
    const again = await site.signedIn('other1');
    const [, shown] =
      /name="_shown" value="([^"]+)"/.exec((await browser.get('/settings/events')).text) ?? [];
    const { text } = await again
      .post('/settings/events')
      .type('form')
      .send({ _csrf: csrf, _shown: shown, 'name.renewal': 'paid_again' })
      .expect(403);
    assert.match(
      text,
      /Nothing was saved: since this page was opened, you have signed in to Workspace other1/,
    );
    assert.doesNotMatch(text, /paid_again/);
    const elsewhere = { _csrf: csrf, _shown: shown, project: 'abc123-p', confirmed: 'yes' };
    const confirmed = await again.post('/settings/revenuecat/disconnect').type('form').send(elsewhere);
    assert.equal(confirmed.status, 403, 'its project is not unknown: it belongs to the other workspace');
  });

  it('keeps every name and every switch that was changed in it', async () => {
    const again = await site.signedIn('abc123');
    const forms: [path: string, changed: Record<string, string>, shown: RegExp[]][] = [
      [
        '/events',
        { 'name.renewal': 'paid_again', 'enabled.refund': 'on' },
        [
          /name="name\.renewal" value="paid_again"/,
          /name="enabled\.refund"[^>]* checked/,
          /name="enabled\.renewal"(?![^>]* checked)/,
        ],
      ],
      ['/contacts', { create: 'all', match_by_email: 'on' }, [/name="match_by_email"[^>]* checked/]],
      ['/card', { language: 'fr', picture: 'on' }, [/name="picture"[^>]* checked/]],
      ['/revenuecat/sandbox', { deliver: 'on' }, [/name="deliver"[^>]* checked/]],
      ['/grants', { who: 'everyone' }, [/name="enabled"(?![^>]* checked)/]],
      ['/grants/actions', { extend: 'on' }, [/name="extend"[^>]* checked/]],
    ];
    for (const [path, changed, shown] of forms) {
      const { text } = await again
        .post(`/settings${path}`)
        .type('form')
        .send({ _csrf: csrf, ...changed })
        .expect(403);
      for (const pattern of shown) assert.match(text, pattern, path);
    }
  });
});

describe('the setup steps', () => {
  it('are all marked when they are marked at the same time', async () => {
    await Promise.all(['import', 'events', 'messenger'].map((step) => send('/setup', { step }).expect(303)));
    assert.deepEqual(new Set((await settings()).setup.done), new Set(['import', 'events', 'messenger']));
    await site.db.database.query(
      `update workspaces set settings = settings - 'setup' where workspace_id = 'abc123'`,
    );
  });

  it('count the import as done once every project is imported', async () => {
    const { database } = site.db;
    const before = (await listProjects(database, 'abc123')).map(({ projectId }) => projectId);
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash, api_key_state)
       values ('abc123', 'abc123-more', 'projmore', 'More', 'x', 'none')`,
    );
    const finish = (projectIds: readonly string[]) =>
      database.query(
        `insert into imports (workspace_id, project_id, import_id, state)
         select 'abc123', id, gen_random_uuid(), 'done' from unnest($1::text[]) as id`,
        [projectIds],
      );
    const isDone = async (): Promise<boolean> =>
      /Import existing customers<span class="hidden"> \(done\)/.test((await browser.get('/settings')).text);
    await finish(before);
    assert.equal(await isDone(), false);
    await finish(['abc123-more']);
    assert.equal(await isDone(), true);
    await database.query(`delete from imports where workspace_id = 'abc123'`);
    await database.query(`delete from projects where project_id = 'abc123-more'`);
  });
});

describe('the card', () => {
  it('accepts one of its languages and nothing else', async () => {
    await send('/card', { language: 'ja' }).expect(303);
    await send('/card', { language: 'tlh' }).expect(422);
    assert.equal((await settings()).card.language, 'ja');
    await send('/card', { language: 'en' }).expect(303);
  });
});

describe('grants', () => {
  it('saves the policy, and keeps what the page does not show', async () => {
    await send('/grants', {
      enabled: 'on',
      who: 'selected',
      people: ['abc123-admin', '<bad>'],
      longest_days: '31',
      monthly_per_admin: '5',
    }).expect(303);
    const { grants } = await settings();
    assert.deepEqual(grants.allowedAdminIds, ['abc123-admin']);
    assert.equal(grants.longestDays, 31);
    assert.equal(grants.monthlyPerAdmin, 5);
    assert.equal(grants.reasonRequired, false);
    assert.equal(grants.secondPersonAboveDays, null);
  });

  it('never turns an empty or unknown selection into everyone', async () => {
    for (const people of ['<bad>', undefined])
      await send('/grants', { enabled: 'on', longest_days: '31', who: 'selected', people }).expect(422);
    await send('/grants', { enabled: 'on', longest_days: '31' }).expect(422);
    assert.deepEqual((await settings()).grants.allowedAdminIds, ['abc123-admin']);
  });

  it('saves above which length a second teammate must approve', async () => {
    const policy = {
      enabled: 'on',
      who: 'selected',
      people: 'abc123-admin',
      longest_days: '31',
      monthly_per_admin: '5',
    };
    await send('/grants', { ...policy, second_person: '14' }).expect(303);
    assert.equal((await settings()).grants.secondPersonAboveDays, 14);
    const { text } = await browser.get('/settings/grants').expect(200);
    assert.match(text, /<option value="14" selected>Above two weeks</);
    await send('/grants', { ...policy, second_person: 'soon' }).expect(422);
    assert.equal((await settings()).grants.secondPersonAboveDays, 14);
    await send('/grants', { ...policy, second_person: '' }).expect(303);
    assert.equal((await settings()).grants.secondPersonAboveDays, null);
  });

  it('refuses a limit that is not a number', async () => {
    for (const limit of ['0', '-1', '2.5', 'many', 'NaN', '1e3', '1e9', '100,000']) {
      const { text } = await send('/grants', {
        enabled: 'on',
        who: 'everyone',
        longest_days: '31',
        monthly_per_admin: limit,
      }).expect(422);
      assert.ok(text.includes(`value="${limit}"`), 'what was typed stays');
      assert.match(text, /from 1 to 100000,/, 'the limit is written as it can be typed');
    }
    for (const days of ['0', '-1', 'long', '99999'])
      await send('/grants', { enabled: 'on', who: 'everyone', longest_days: days }).expect(422);
    assert.equal((await settings()).grants.monthlyPerAdmin, 5);
    assert.equal((await settings()).grants.longestDays, 31);
  });

  it('opens without Intercom', async () => {
    site.intercom.faults.add({ status: 500, pathPrefix: '/admins', times: 1 });
    assert.match((await browser.get('/settings/grants').expect(200)).text, /did not answer with your team/);
  });

  it('says in the audit log what was requested, tried and done', () => {
    const entry = (action: string, result: string) => {
      const actor = { id: '7', name: 'Bob', email: 'bob@example.com' };
      const at = new Date();
      const nothing = { conversationId: null, contactId: null, details: {} };
      return auditEntry({ auditId: '1', at, actor, action, result, ...nothing });
    };
    const label = (action: string, result: string) => entry(action, result).action;
    for (const [action, requested, tried, done] of [
      ['grant', 'Requested a grant', 'Tried to grant', 'Granted'],
      ['store_refund', 'Requested a refund', 'Tried to refund', 'Refunded'],
    ] as const) {
      assert.deepEqual(
        [
          label(action, 'awaiting_approval'),
          label(action, 'refused: not_allowed'),
          label(action, 'confirmed'),
        ],
        [requested, tried, done],
      );
    }
    assert.equal(label('store_refund_approve', 'refused: ended'), 'Tried to approve a refund');
    assert.equal(label('store_refund_approve', 'approved'), 'Approved a refund');
    // A recorded decision was really made.
    assert.equal(label('store_refund_decline', 'declined'), 'Declined a refund');
    assert.equal(label('grant_decline', 'declined'), 'Declined a grant');
    assert.equal(label('grant_decline', 'refused: not_allowed'), 'Tried to decline a grant');
    const recorded = (action: string, details: Record<string, unknown>) =>
      auditEntry({
        auditId: '1',
        at: new Date(),
        actor: { id: '7', name: 'Bob', email: 'bob@example.com' },
        action,
        result: 'done',
        conversationId: null,
        contactId: null,
        details,
      });
    const counted = (...args: Parameters<typeof recorded>) => recorded(...args).what;
    const lifetime = recorded('grant', { duration: 'lifetime', actual_end: '2099-01-01T00:00:00.000Z' });
    assert.deepEqual([lifetime.what, lifetime.until], ['lifetime', null]);
    assert.equal(counted('bulk_grant_undone', { entitlement: 'pro', count: 1_900 }), 'pro, 1,900 customers');
    assert.equal(counted('deliveries_replayed', { count: 1 }), '1 event');
    assert.equal(
      counted('store_extend', { target: 'sub1', of: 'subscription', product: 'Pro', days: 14 }),
      'Pro, 14 days',
    );
    assert.equal(counted('store_extend', { product: 'Pro', days: 1 }), 'Pro, 1 day');
    assert.equal(counted('revoke', { entitlement: 'pro', duration: 'custom' }), 'pro', 'its end says more');
    for (const code of ['changed', 'stale'])
      assert.notEqual(entry('grant_approve', `refused: ${code}`).result, `Refused: ${code}`);
  });

  it('lists the audit log, escaped, filtered and as CSV', async () => {
    await writeAudit(site.db.database, {
      workspaceId: 'abc123',
      actor: { id: '7', name: 'Bob (Éricé) <b>', email: 'bob@example.com' },
      action: 'grant',
      conversationId: null,
      contactId: null,
      subscriberId: null,
      details: { reason: SCRIPT, app_user_id: '=cmd()', entitlement: 'pro', duration: 'three_month' },
      result: 'confirmed',
    });
    await writeAudit(site.db.database, {
      workspaceId: 'other1',
      actor: { id: '8', name: 'Foreign', email: 'foreign@example.com' },
      action: 'grant',
      conversationId: null,
      contactId: null,
      subscriberId: null,
      details: {},
      result: 'confirmed',
    });
    const { text } = await browser.get('/settings/audit').expect(200);
    assert.ok(!text.includes(SCRIPT) && !text.includes('Bob <b>') && !text.includes('Foreign'));
    assert.match(text, /pro, three months/);
    assert.match(
      (await browser.get('/settings/audit?who=nobody-of-this-name')).text,
      /Nothing by this person/,
    );
    for (const who of ['éricé', 'ÉRICÉ', 'Éricé', '(ÉricÉ) <B'])
      assert.match((await browser.get('/settings/audit').query({ who })).text, /Bob \(Éricé/);
    const csv = await browser.get('/settings/audit.csv?who=BOB').expect(200);
    assert.equal(csv.text.trim().split('\r\n').length, 2);
    assert.match(csv.text, /,'=cmd\(\),/);
    assert.match(String(csv.headers['content-disposition']), /attachment/);
    await browser.get('/settings/audit?before=1%27--').expect(200);
  });
});

describe('deliveries', () => {
  it('filters, shows one, and never one of another workspace', async () => {
    const failed = await storeEvent({ reason: `Refused ${SCRIPT}`, appUserId: SCRIPT });
    await storeEvent({ delivery: 'pending', reason: 'waiting_for_contact', appUserId: 'waiting-user' });
    const foreign = await storeEvent({ workspaceId: 'other1', appUserId: 'foreign-user' });
    await storeEvent({
      delivery: 'pending',
      reason: 'waiting_for_contact',
      appUserId: 'ann\u202eecila\u2066',
    });
    const all = (await browser.get('/settings/deliveries').expect(200)).text;
    assert.match(all, /waiting-user/);
    assert.ok(!all.includes(SCRIPT) && !all.includes('foreign-user'));
    assert.match(all, />annecila</, 'no mark reorders what is read');
    const found = await browser.get('/settings/data').query({ customer: 'ann\u202eecila\u2066' });
    assert.match(
      found.text,
      /name="customer"[^>]* value="ann\u202eecila\u2066"/,
      'forms act on the id itself',
    );
    const again = (await browser.get('/settings/deliveries?show=failed').expect(200)).text;
    assert.match(again, /aria-label="Send again: Renewal of /, 'the name begins with what is shown');
    const only = (await browser.get('/settings/deliveries?show=waiting').expect(200)).text;
    assert.match(only, /No Intercom contact matches/);
    assert.ok(!only.includes('Refused'));
    assert.match(
      (await browser.get(`/settings/deliveries/event?id=${failed}`).expect(200)).text,
      /Not tried yet/,
    );
    await browser.get(`/settings/deliveries/event?id=${foreign}`).accept('html').expect(404);
    await browser.get('/settings/deliveries/event?id=%00').accept('html').expect(404);
    const unreal = ['x', '-1', '1e3', '2026-02-31 00:00:00+00', '9'.repeat(16), '9'.repeat(17)];
    for (const before of unreal)
      await browser.get('/settings/deliveries').query({ before, before_id: 'y' }).expect(200);
    const next = await browser
      .get('/settings/deliveries')
      .query({ before: `${Date.UTC(2020, 1, 29)}123`, before_id: 'y' });
    assert.ok(!next.text.includes('deliveries/event?id='), 'nothing was received before');
  });

  it('shows the request and the answer of each attempt', async () => {
    const eventId = await storeEvent();
    await site.db.database.query(
      `insert into delivery_attempts (workspace_id, subscriber_id, event_id, request, status, code, message, answer)
       select workspace_id, subscriber_id, event_id, '{"event_name":"rc_renewal_event"}'::json, 400, 'intercom_rejected',
              'No', '<cut off' from events where event_id = $1
       union all
       select workspace_id, subscriber_id, null, '{}'::json, 200, 'ok', null, '{"id":7}' from events where event_id = $1`,
      [eventId],
    );
    const { text } = await browser.get(`/settings/deliveries/event?id=${eventId}`).expect(200);
    assert.doesNotMatch(text, /Send to Intercom/, 'it was sent');
    assert.match(text, /None yet/, 'no contact');
    assert.match(text, /: The event: not accepted\. Intercom /);
    assert.match(text, /POST \/events\s+\{\s+&quot;event_name&quot;: &quot;rc_renewal_event/);
    assert.match(text, /intercom_rejected<\/code> No<[\s\S]*400\s+&lt;cut off</);
    assert.match(text, /: The attributes: accepted</);
    assert.match(text, /PUT \/contacts\/…\s+\{\}[\s\S]*200\s+\{\s+&quot;id&quot;: 7\s+\}/);
  });

  it('names a customer whose event has no app user ID by an identified one', async () => {
    const eventId = await storeEvent();
    await site.db.database.query(
      `update events set type = 'TRANSFER', kind = 'transfer', fields = '{}' where event_id = $1`,
      [eventId],
    );
    await site.db.database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select workspace_id, project_id, id, subscriber_id
         from events, unnest(array['$RCAnonymousID:0', 'identified-receiver']) id where event_id = $1`,
      [eventId],
    );
    const { text } = await browser.get('/settings/deliveries?kind=transfer').expect(200);
    assert.match(text, /identified-receiver/);
    assert.doesNotMatch(text, /RCAnonymousID:0/);
  });

  it('names the contact of an event that is not on it', async () => {
    const eventId = await storeEvent();
    await site.db.database.query(
      `update subscribers set contact_id = 'contact-of-failed'
        where subscriber_id = (select subscriber_id from events where event_id = $1)`,
      [eventId],
    );
    const { text } = await browser.get(`/settings/deliveries/event?id=${eventId}`).expect(200);
    assert.match(text, /users\/contact-of-failed" rel="noopener">Open in Intercom/);
  });

  it('sends again, one or all failed, of this workspace alone', async () => {
    const state = async (eventId: string): Promise<string | undefined> =>
      (
        await site.db.database.query<{ delivery: string }>(
          `select delivery from ${EVENT_STATES} where event_id = $1`,
          [eventId],
        )
      )[0]?.delivery;
    const one = await storeEvent();
    const foreign = await storeEvent({ workspaceId: 'other1' });
    assert.match(
      String((await send('/deliveries/replay', { event: foreign }).expect(303)).headers.location),
      /replayed_none/,
    );
    await send('/deliveries/replay', { event: one }).expect(303);
    assert.equal(await state(one), 'pending');
    const off = await storeEvent({ delivery: 'skipped', reason: 'timeline_only' });
    const show = async () => (await browser.get(`/settings/deliveries/event?id=${off}`).expect(200)).text;
    assert.doesNotMatch(await show(), /Send to Intercom/);
    await site.db.database.query(`update event_deliveries set reason = 'switched_off' where event_id = $1`, [
      off,
    ]);
    assert.match(await show(), /Send to Intercom/, 'its kind may be switched on again by now');
    await send('/deliveries/replay', { event: off }).expect(303);
    assert.equal(await state(off), 'pending');
    const two = await storeEvent();
    await send('/deliveries/replay').expect(303);
    assert.equal(await state(two), 'pending');
    assert.equal(await state(foreign), 'failed');
  });

  it('pages without losing or repeating a row', async () => {
    const ids = new Set<string>();
    for (let count = 0; count < 60; count += 1)
      ids.add(await storeEvent({ delivery: 'skipped', reason: 'sandbox' }));
    await site.db.database.query(`with moved as (update events set received_at = '2026-01-01' where true returning 1)
       update event_deliveries set received_at = '2026-01-01' where not_sent = 'skipped'`);
    const seen: string[] = [];
    let path = '/settings/deliveries?show=skipped';
    for (let page = 0; page < 3 && path !== ''; page += 1) {
      const { text } = await browser.get(path).expect(200);
      seen.push(...[...text.matchAll(/event\?id=([\w-]+)/g)].map((match) => match[1] ?? ''));
      path = /<a href="([^"]+)">Older/.exec(text)?.[1]?.replaceAll('&amp;', '&') ?? '';
    }
    assert.equal(seen.length, 60);
    assert.deepEqual(new Set(seen), ids);
    for (const before of ['2026-99-99 00:00:00+00', 'now'])
      await browser.get('/settings/deliveries').query({ before, before_id: 'x' }).expect(200);
  });
});

describe('data', () => {
  it("exports and erases one customer, and not another workspace's of the same id", async () => {
    const { database } = site.db;
    const both: string[] = [];
    for (const workspaceId of ['abc123', 'other1']) {
      both.push(await storeEvent({ workspaceId, appUserId: 'same-id', delivery: 'delivered' }));
      await database.query(
        `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
         select workspace_id, project_id, 'same-id', subscriber_id from events where event_id = $1`,
        [both.at(-1)],
      );
    }
    await database.query(
      `insert into audit_log (workspace_id, actor, action, subscriber_id, details, result)
       select workspace_id, '{"id":"7","name":"Bob"}', 'grant', subscriber_id, '{"app_user_id":"same-id"}', 'confirmed'
         from events where event_id = $1`,
      [both[0]],
    );
    const exported = await browser.get('/settings/data/export?customer=same-id').expect(200);
    assert.equal(exported.body.events.length, 1);
    assert.equal(exported.body.events[0].event_id, both[0]);
    assert.ok(!exported.text.includes('other1'));
    await browser.get('/settings/data/export?customer=nobody').accept('json').expect(404);

    assert.match(
      (await browser.get('/settings/data?customer=same-id')).text,
      /do not bring the customer back until you allow it/,
    );
    await send('/data/erase', { customer: 'same-id', repeat: 'same' }).expect(422);
    await send('/data/erase', { customer: 'same-id', repeat: 'same-id' }).expect(303);
    assert.match((await browser.get('/settings/data?customer=same-id')).text, /Nothing is stored/);
    const left = await database.query<{ workspace_id: string }>(
      'select workspace_id from events where event_id = any($1)',
      [both],
    );
    assert.deepEqual(left, [{ workspace_id: 'other1' }]);
    assert.deepEqual(
      await database.query('select workspace_id from event_deliveries where event_id = any($1)', [both]),
      left,
    );
    const log = await database.query(`select * from audit_log where workspace_id = 'abc123'`);
    assert.ok(!JSON.stringify(log).includes('same-id'));
  });

  it('counts erased ids, and allows a customer again by any of them', async () => {
    const { database } = site.db;
    const { text } = await browser.get('/settings/data').expect(200);
    assert.match(text, /1 app user ID is erased/);
    assert.match(text, /Nothing of these customers is stored again/);
    const wrong = await send('/data/allow', { allow: 'nobody' }).expect(422);
    assert.match(wrong.text, /No erased customer has this ID/);
    await send('/data/allow', { allow: 'same-id' }).expect(303);
    assert.match((await browser.get('/settings/data')).text, /No customer was erased/);
    const log = await database.query<{ action: string }>(
      `select action from audit_log where workspace_id = 'abc123' and action like 'customer_%' order by audit_id`,
    );
    assert.deepEqual(
      log.map(({ action }) => action),
      ['customer_exported', 'customer_erased', 'customer_allowed'],
    );
  });

  it('finds and erases a customer whose ID ends with a space, and not the one without', async () => {
    const { database } = site.db;
    for (const appUserId of ['lena ', 'lena']) {
      const eventId = await storeEvent({ appUserId, delivery: 'delivered' });
      await database.query(
        `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
         select workspace_id, project_id, $2, subscriber_id from events where event_id = $1`,
        [eventId, appUserId],
      );
    }
    const left = async (): Promise<unknown> =>
      database.query(`select app_user_id from subscriber_ids where app_user_id like 'lena%'`);
    assert.match(
      (await browser.get('/settings/data?customer=lena%20')).text,
      /name="customer" value="lena "/,
    );
    await send('/data/erase', { customer: 'lena ', repeat: 'lena ' }).expect(303);
    assert.deepEqual(await left(), [{ app_user_id: 'lena' }]);
    await send('/data/allow', { allow: 'lena' }).expect(422);
    await send('/data/allow', { allow: 'lena ' }).expect(303);
    await send('/data/erase', { customer: ' lena ', repeat: 'lena' }).expect(303);
    assert.deepEqual(await left(), []);
    await send('/data/allow', { allow: ' lena' }).expect(303);
  });
});

describe('home', () => {
  it('says what to do, the most fundamental first', async () => {
    const { text } = await browser.get('/settings').expect(200);
    assert.match(text, /No event has arrived from/);
    await site.db.database.query(
      `update workspaces set status = 'disconnected' where workspace_id = 'abc123'`,
    );
    const broken = (await browser.get('/settings').expect(200)).text;
    assert.match(broken, /Not connected/);
    assert.match(broken, /href="\/install"/);
  });

  it('counts the contacts that Intercom rejects, and links to one', async () => {
    const subscriberId = randomUUID();
    await site.db.database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, contact_id, due_at, attempts, pending_reason)
       values ('abc123', 'p', $1, 'contact-1', now() + interval '1 day', 1, 'intercom_rejected')`,
      [subscriberId],
    );
    await site.db.database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       values ('abc123', 'p', 'rejected-user', $1)`,
      [subscriberId],
    );
    assert.match((await browser.get('/settings').expect(200)).text, /not let the app update or look up: 1\./);
    const { text } = await browser.get('/settings/deliveries?show=failed').expect(200);
    assert.match(text, /Contacts that Intercom rejects: 1</);
    assert.match(text, /deliveries\?customer=rejected-user/);
    assert.match(text, /Try rejected contacts again/);
    const searched = await browser.get('/settings/deliveries?show=failed&customer=other-user').expect(200);
    assert.doesNotMatch(
      searched.text,
      /Contacts that|Try rejected|Send all failed/,
      'only what was searched',
    );
    const sent = await send('/deliveries/replay').expect(303);
    assert.match(String(sent.headers.location), /=replayed$/);
    assert.doesNotMatch(
      (await browser.get('/settings').expect(200)).text,
      /not let the app update or look up/,
    );
  });

  it('counts every event that waits while Intercom is disconnected, also of who had some before', async () => {
    for (const table of ['event_deliveries', 'events', 'subscribers'])
      await site.db.database.query(`delete from ${table} where workspace_id = 'abc123'`);
    const eventIds = [1, 2, 3, 4].map((n) => `waits-${n}`);
    await site.db.database.query(
      `with customer as (
         insert into subscribers (workspace_id, project_id, subscriber_id, due_at, pending_events, pending_reason)
         values ('abc123', 'p', gen_random_uuid(), now(), 1, 'intercom_unauthorized') returning subscriber_id)
       insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields)
       select 'abc123', 'p', event_id, subscriber_id, 'RENEWAL', 'renewal', 0, '{}'
         from customer, unnest($1::text[]) as t (event_id)`,
      [eventIds],
    );
    const { text } = await browser.get('/settings').expect(200);
    assert.match(text, /<strong>4<\/strong> queued/);
    const listed = await browser.get('/settings/deliveries?show=pending').expect(200);
    for (const id of eventIds) assert.ok(listed.text.includes(`id=${id}"`));
    assert.doesNotMatch(listed.text, /More customers are due/);
    await site.db.database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id, due_at)
       select 'abc123', 'p', gen_random_uuid(), now() from generate_series(1, 5000)`,
    );
    const some = await browser.get('/settings/deliveries?show=pending').expect(200);
    assert.match(some.text, /More customers are due than can be listed: these are the events of the 5,000/);
  });

  it('shows no advice when nothing is wrong', async () => {
    await site.db.database.query(
      `update workspaces set status = 'connected', attributes_ready = true where workspace_id = 'abc123'`,
    );
    await site.db.database.query(
      `update projects set last_received_at = now(), api_key_state = 'valid', missing_scopes = '[]' where workspace_id = 'abc123'`,
    );
    for (const table of ['event_deliveries', 'events', 'subscribers'])
      await site.db.database.query(`delete from ${table} where workspace_id = 'abc123'`);
    assert.match((await browser.get('/settings').expect(200)).text, /Everything works/);
  });
});

describe('uninstalling from the settings', () => {
  it('asks first, ends the access in Intercom, and signs everybody out', async () => {
    assert.match((await browser.get('/settings/data/uninstall').expect(200)).text, /kept for 30 days/);
    await send('/data/uninstall').expect(422);
    site.intercom.faults.add({ status: 503, pathPrefix: '/auth/uninstall', times: 1 });
    assert.match((await send('/data/uninstall', { confirmed: 'yes' })).text, /did not answer/);
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'connected');
    await send('/data/uninstall', { confirmed: 'yes' }).expect(303);
    const workspace = await readWorkspace(site.db.database, 'abc123');
    assert.equal(workspace?.status, 'uninstalled');
    assert.equal(workspace?.accessToken, null);
    assert.equal(site.intercom.state.workspaces.get('abc123')?.installed, false);
    await browser.get('/settings').accept('html').expect(302);
  });
});
