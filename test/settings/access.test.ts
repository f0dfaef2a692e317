import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import supertest from 'supertest';
import { differences } from '../../src/settings/changes.ts';
import { uninstall } from '../../src/workspaces/install.ts';
import { readWorkspace } from '../../src/workspaces/repository.ts';
import { until } from '../support/wait.ts';
import { createSite, type Site, sendForm } from '../workspaces/support.ts';

type Browser = ReturnType<typeof supertest.agent>;

let site: Site;
let ada: Browser;
let bob: Browser;
before(async () => {
  site = await createSite();
  site.intercom.addAdmin('abc123', { id: 'bob-1', name: 'Bob <b>', email: 'bob@abc123.example' });
  ada = await signIn('abc123-admin');
  bob = await signIn('bob-1');
});
after(() => site.close());

/** A browser in which this teammate has authorized the app. */
async function signIn(adminId: string): Promise<Browser> {
  const browser = supertest.agent(site.server);
  const begun = await browser.get('/install');
  const state = new URL(String(begun.headers.location)).searchParams.get('state') ?? '';
  const code = `code-of-${adminId}-${state.slice(0, 6)}=`;
  site.intercom.state.codes.set(code, {
    workspaceId: 'abc123',
    adminId,
    expiresAtMs: Date.now() + 60_000,
  });
  await browser.get(`/oauth/callback?${new URLSearchParams({ code, state })}`).expect(302);
  return browser;
}

const shownIn = (html: string): string =>
  /name="_shown" value="([^"]+)"/.exec(html)?.[1] ?? assert.fail('The page has no form');

const access = async () => (await readWorkspace(site.db.database, 'abc123'))?.settings.access.admins;

async function lastAudit(): Promise<Record<string, unknown> | undefined> {
  const [row] = await site.db.database.query(
    `select actor->>'name' as who, action, details from audit_log where workspace_id = 'abc123'
      order by audit_id desc limit 1`,
  );
  return row;
}

describe('who may change the settings', () => {
  it('is everyone at first, a second admin who installs again as well', async () => {
    assert.equal(await access(), null);
    assert.equal((await sendForm(bob, '/contacts', { create: 'identified' })).status, 303);
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.settings.contacts.create, 'identified');
  });

  it('refuses a selection without the admin who saves it', async () => {
    const answer = await sendForm(ada, '/access', { who: 'selected', people: 'bob-1' });
    assert.equal(answer.status, 422);
    assert.match(answer.text, /shut yourself out/);
    assert.equal(await access(), null);
  });

  it('ignores people who are not in the team', async () => {
    await sendForm(ada, '/access', { who: 'selected', people: ['abc123-admin', 'other1-admin', '<script>'] });
    assert.deepEqual(await access(), [{ id: 'abc123-admin', name: 'Ada Agent' }]);
    const refused = await sendForm(ada, '/access', { who: 'selected', people: ['other1-admin'] });
    assert.equal(refused.status, 422);
    assert.match(refused.text, /none of the selected people is in your team/);
    assert.deepEqual(await access(), [{ id: 'abc123-admin', name: 'Ada Agent' }]);
  });

  it('shows the others everything, and refuses their changes', async () => {
    for (const path of ['', '/revenuecat', '/events', '/grants', '/deliveries', '/access', '/data']) {
      const { text } = await bob.get(`/settings${path}`).expect(200);
      assert.match(text, /Only these teammates can change it: Ada Agent/);
    }
    for (const path of [
      '/contacts',
      '/events',
      '/access',
      '/grants',
      '/revenuecat/connect',
      '/messenger/keys',
      '/import/start',
      '/deliveries/replay',
      '/data/erase',
      '/data/allow',
      '/data/uninstall',
      '/check',
    ]) {
      const answer = await sendForm(bob, path, { confirmed: 'yes', create: 'all', who: 'everyone' });
      assert.equal(answer.status, 403, path);
      assert.match(answer.text, /only these teammates can change the settings: Ada Agent/);
      assert.match(answer.text, /Back to the settings/);
    }
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.settings.contacts.create, 'identified');
    assert.equal((await readWorkspace(site.db.database, 'abc123'))?.status, 'connected');
  });

  it('works while Intercom does not list the team', async () => {
    site.intercom.faults.add({ status: 500, pathPrefix: '/admins', times: 2 });
    const { text } = await ada.get('/settings/access').expect(200);
    assert.match(text, /did not answer with your team/);
    assert.match(text, /Ada Agent \(you\)/);
  });

  it('keeps everyone who was ticked while Intercom does not list the team', async () => {
    site.intercom.faults.add({ status: 500, pathPrefix: '/admins', times: 1 });
    const people = ['abc123-admin', 'bob-1'];
    const answer = await sendForm(ada, '/access', { who: 'selected', people });
    assert.equal(answer.status, 303);
    assert.deepEqual(
      (await access())?.map(({ id }) => id),
      people,
    );
    await sendForm(ada, '/access', { who: 'selected', people: 'abc123-admin' });
  });

  it('is reset by a new installation, not by a repeated one', async () => {
    bob = await signIn('bob-1');
    assert.equal((await access())?.length, 1);
    await uninstall(site.app, 'abc123');
    bob = await signIn('bob-1');
    ada = await signIn('abc123-admin');
    assert.equal(await access(), null);
  });
});

describe('the record of changes', () => {
  it('says who changed what, from what, to what', async () => {
    await sendForm(bob, '/events', { 'name.renewal': 'Renewed', 'enabled.renewal': 'on', 'name.refund': '' });
    const row = await lastAudit();
    assert.equal(row?.who, 'Bob <b>');
    assert.equal(row?.action, 'events_changed');
    const details = row?.details as { changes: { what: string; from: unknown; to: unknown }[] };
    // Like any form without ticks, it switched off every other kind. It renamed none of them.
    assert.deepEqual(
      details.changes.filter(({ to }) => to !== false),
      [{ what: 'renewal.name', from: '', to: 'Renewed' }],
    );
    const { text } = await ada.get('/settings/audit').expect(200);
    assert.match(text, /Renewal: <s><span class="hidden">before: <\/span>rc_renewal_event<\/s> → Renewed/);
    assert.match(text, /Refund: <s>.*switched on<\/s> → switched off/);
    assert.ok(!text.includes('Bob <b>'));
  });

  it('says why a risk was accepted, and what of the card was changed', async () => {
    await sendForm(bob, '/messenger/unverified', { unverified: 'show', unverified_reason: 'Only testers' });
    await sendForm(bob, '/card', { language: 'en' });
    const { text } = await ada.get('/settings/audit').expect(200);
    assert.match(text, /Messenger card without identity verification: <s>.*not set<\/s> → Only testers</);
    assert.match(text, /Picture on the timeline: <s>.*on<\/s> → off/);
  });

  it('shows a form again that would undo what was changed since it was opened', async () => {
    const before = (await ada.get('/settings/card')).text;
    await sendForm(bob, '/card', { language: 'fr' });
    const save = (html: string, language: string) =>
      sendForm(ada, '/card', { _shown: shownIn(html), language, picture: 'on' });
    const refused = await save(before, 'de');
    assert.equal(refused.status, 422);
    assert.match(
      refused.text,
      /Nothing was saved: Bob &lt;b&gt; changed these settings after this page was opened\. .*Language.*: fr/,
    );
    assert.match(refused.text, /<option value="de" selected/, 'what was entered');
    assert.equal((await save(refused.text, 'de')).status, 303);
    assert.equal(
      (await save(refused.text, 'es')).status,
      303,
      "the admin's own form, saved again after Back",
    );
    assert.equal((await save(refused.text, 'de')).status, 303);
    assert.equal((await save(before, 'de')).status, 303, 'what is stored already is no conflict');
    await sendForm(bob, '/contacts', { create: 'never' });
    assert.equal((await save((await ada.get('/settings/card')).text, 'es')).status, 303);
  });

  it('does so, too, when the admin has saved the form in another tab since', async () => {
    const oldTab = (await ada.get('/settings/card')).text;
    await sendForm(bob, '/card', { language: 'ja' });
    const save = (html: string, picture: Record<string, string>) =>
      sendForm(ada, '/card', { _shown: shownIn(html), language: 'pt', ...picture });
    assert.equal((await save((await ada.get('/settings/card')).text, {})).status, 303);
    const refused = await save(oldTab, { picture: 'on' });
    assert.equal(refused.status, 422);
    assert.match(refused.text, /Nothing was saved: Bob/);
  });

  it('does so, too, when only the admin has saved the form, in another tab', async () => {
    const [first, second] = [await ada.get('/settings/card'), await ada.get('/settings/card')];
    const save = (page: { text: string }, language: string) =>
      sendForm(ada, '/card', { _shown: shownIn(page.text), language, picture: 'on' });
    assert.equal((await save(first, 'de')).status, 303);
    const refused = await save(second, 'fr');
    assert.equal(refused.status, 422);
    assert.match(refused.text, /Nothing was saved: you changed these settings after this page was opened/);
    assert.match(refused.text, /<option value="fr" selected/, 'what was entered');
    assert.equal((await save(first, 'es')).status, 303, 'saved again after Back');
  });

  it('does so, too, when the change was saved while the page was waiting for Intercom', async () => {
    const { faults } = site.intercom;
    faults.add({ pathPrefix: '/admins', method: 'GET', latencyMs: 1_000, times: 1 });
    const opening = ada.get('/settings/grants').then(({ text }) => text);
    await until(() => faults.list().length === 0, 'the page to wait for Intercom');
    await sendForm(bob, '/card', { language: 'ja' });
    const refused = await sendForm(ada, '/card', { _shown: shownIn(await opening), language: 'fr' });
    assert.equal(refused.status, 422);
    assert.match(refused.text, /Nothing was saved: Bob/);
  });

  it('does so, too, after a form with a mistake was shown again as it was typed', async () => {
    const before = (await ada.get('/settings/events')).text;
    await sendForm(bob, '/events', { 'name.renewal': 'Renewed again', 'enabled.renewal': 'on' });
    const typed = { 'name.renewal': 'Renewed', 'enabled.renewal': 'on' };
    const mistaken = { ...typed, _shown: shownIn(before), 'name.expiration': 'Renewed' };
    const { text } = await sendForm(ada, '/events', mistaken);
    assert.doesNotMatch(text, /Nothing was saved/);
    const corrected = await sendForm(ada, '/events', { ...typed, _shown: shownIn(text) });
    assert.match(corrected.text, /Nothing was saved: Bob/);
    assert.match(corrected.text, /Renewal: Renewed again/);
    assert.match(corrected.text, /value="Renewed"/, 'what was entered');
  });

  it('has no entry where nothing was changed', async () => {
    await sendForm(bob, '/events', { 'name.renewal': 'Renewed', 'enabled.renewal': 'on' });
    const before = await lastAudit();
    await sendForm(bob, '/events', { 'name.renewal': 'Renewed', 'enabled.renewal': 'on' });
    assert.deepEqual(await lastAudit(), before);
  });

  it('has every section of the settings, uninstalling and exporting', async () => {
    const { database } = site.db;
    const changes: [string, Record<string, unknown>, string][] = [
      ['/contacts', { create: 'all' }, 'contacts_changed'],
      ['/card', { language: 'de' }, 'card_changed'],
      ['/revenuecat/sandbox', { deliver: 'on' }, 'sandbox_setting_changed'],
      ['/grants', { enabled: 'on', who: 'everyone', longest_days: '7' }, 'grant_policy_changed'],
      ['/access', { who: 'selected', people: 'abc123-admin' }, 'access_changed'],
      ['/contacts/attributes', {}, 'attributes_made'],
    ];
    for (const [path, form, action] of changes) {
      assert.equal((await sendForm(ada, path, form)).status, 303, path);
      assert.equal((await lastAudit())?.action, action);
    }
    await database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id)
       values ('abc123', 'p', '00000000-0000-4000-8000-000000000001')`,
    );
    await database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       values ('abc123', 'p', 'asked-for-it', '00000000-0000-4000-8000-000000000001')`,
    );
    await ada.get('/settings/data/export?customer=asked-for-it').expect(200);
    assert.equal((await lastAudit())?.action, 'customer_exported');
    const { text } = await ada.get('/settings/audit?about=settings').expect(200);
    assert.match(text, /Longest grant, days: <s>.*366<\/s> → 7/);
    assert.match(text, /Can change the settings: <s>.*everyone<\/s> → Ada Agent/);
    const gone = await sendForm(ada, '/data/uninstall', { confirmed: 'yes' });
    assert.equal(gone.headers.location, '/signin?done=uninstalled');
    assert.equal((await lastAudit())?.action, 'uninstalled');
    const signIn = await supertest(site.server).get('/signin?done=uninstalled').accept('html');
    assert.match(signIn.text, /is uninstalled/);
  });

  it('finds every value that differs', () => {
    const from = { a: 1, b: { c: [1, 2], d: 'x' } };
    assert.deepEqual(differences(from, structuredClone(from)), []);
    assert.deepEqual(differences(from, { a: 2, b: { c: [2, 1] }, e: null }), [
      { what: 'a', from: 1, to: 2 },
      { what: 'b.c', from: [1, 2], to: [2, 1] },
      { what: 'b.d', from: 'x', to: null },
      { what: 'e', from: null, to: null },
    ]);
  });
});
