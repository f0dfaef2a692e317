import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type supertest from 'supertest';
import { readWorkspace } from '../../src/workspaces/repository.ts';
import { createSite, csrfIn, type Site } from '../workspaces/support.ts';

let site: Site;
let browser: ReturnType<typeof supertest.agent>;
let csrf: string;
before(async () => {
  site = await createSite();
  browser = await site.signedIn('abc123');
  csrf = csrfIn((await browser.get('/settings')).text);
});
after(() => site.close());

function send(fields: Record<string, unknown>): supertest.Test {
  return browser
    .post('/settings/grants/actions')
    .type('form')
    .send({ _csrf: csrf, ...fields });
}

async function actions() {
  const workspace = await readWorkspace(site.db.database, 'abc123');
  assert.ok(workspace);
  return workspace.settings.actions;
}

describe('the settings of store actions', () => {
  it('are all off in a new workspace, in one form with a checkbox for each', async () => {
    assert.ok(Object.values(await actions()).every(({ enabled }) => !enabled));
    const { text } = await browser.get('/settings/grants').expect(200);
    for (const name of ['cancel', 'refund', 'extend', 'transfer', 'manage'])
      assert.match(text, new RegExp(`<input id="${name}" name="${name}" type="checkbox" role="switch">`));
  });

  it('save who may use each, the largest sum alone and the number a month, and leave a record', async () => {
    await send({
      refund: 'on',
      refund_who: 'selected',
      refund_people: ['abc123-admin', '<bad>'],
      refund_max: '49.90',
      refund_monthly: '3',
      extend: 'on',
      extend_who: 'everyone',
    }).expect(303);
    const { refund, extend, cancel } = await actions();
    assert.deepEqual(refund, {
      enabled: true,
      allowedAdminIds: ['abc123-admin'],
      maxAmountAlone: 49.9,
      monthlyPerAdmin: 3,
    });
    assert.deepEqual([extend.enabled, extend.allowedAdminIds, cancel.enabled], [true, null, false]);
    const rows = await site.db.database.query(
      `select 1 from audit_log where workspace_id = 'abc123' and action = 'store_action_policy_changed'`,
    );
    assert.equal(rows.length, 1);
  });

  it('refuse what is not a number or names no teammate, and change neither these nor the rules for grants', async () => {
    const before = await actions();
    for (const fields of [
      { refund: 'on', refund_max: 'much' },
      { refund: 'on', refund_max: '1.000' },
      { refund: 'on', refund_monthly: '0' },
      { refund: 'on', refund_who: 'selected', refund_people: ['<bad>'] },
    ]) {
      const { text } = await send(fields).expect(422);
      assert.match(text, /role="alert"[^>]*><p><strong>Refund:<\/strong> /, 'the summary names the action');
      assert.match(text, /<input id="enabled" name="enabled" type="checkbox" role="switch" checked>/);
    }
    assert.deepEqual(await actions(), before);
  });

  it('show a rule that is set', async () => {
    const rules = async (): Promise<string> =>
      /<details[^>]*>\s*<summary>Rules: refund/.exec((await browser.get('/settings/grants')).text)?.[0] ?? '';
    await send({ refund: 'on', refund_who: 'everyone' }).expect(303);
    assert.doesNotMatch(await rules(), /open/);
    await send({ refund: 'on', refund_who: 'everyone', refund_max: '10' }).expect(303);
    assert.match(await rules(), /^<details open>/);
  });

  it('take a large team', async () => {
    const team = Array.from({ length: 500 }, (_, index) => `agent-${index}`);
    for (const id of team) site.intercom.addAdmin('abc123', { id, name: id, email: `${id}@abc123.example` });
    const kinds = ['cancel', 'refund', 'extend', 'transfer', 'manage'];
    const fields = kinds.map((kind) => ({ [`${kind}_who`]: 'selected', [`${kind}_people`]: team }));
    await send(Object.assign({}, ...fields)).expect(303);
    for (const { allowedAdminIds } of Object.values(await actions()))
      assert.equal(allowedAdminIds?.length, team.length);
    await send({ extend: 'on' }).expect(303);
    for (const id of team) site.intercom.state.admins.delete(id);
  });

  it('are named in the audit log with each value before and after', async () => {
    const rules = {
      refund_max: '20',
      refund_monthly: '3',
      refund_who: 'selected',
      refund_people: 'abc123-admin',
    };
    await send({ refund: 'on', cancel: 'on', ...rules }).expect(303);
    const { text } = await browser.get('/settings/audit?about=policy').expect(200);
    const newest = text.slice(text.indexOf('<tbody>'), text.indexOf('</tr>', text.indexOf('<tbody>')));
    for (const line of [
      'Cancel subscriptions: <s><span class="hidden">before: </span>off</s> → on',
      'Refund: <s><span class="hidden">before: </span>off</s> → on',
      'Refund: largest sum without a second person: <s><span class="hidden">before: </span>not set</s> → 20',
      'Refund: per teammate and month: <s><span class="hidden">before: </span>not set</s> → 3',
      'Refund: can use it: <s><span class="hidden">before: </span>everyone</s> → abc123-admin',
    ])
      assert.ok(newest.includes(line), `${line} in ${newest}`);
    await send({ extend: 'on' }).expect(303);
  });

  it('keep who was selected in both forms of the page when one fails', async () => {
    const rules = { enabled: 'on', who: 'selected', people: 'abc123-admin', longest_days: '31' };
    await browser
      .post('/settings/grants')
      .type('form')
      .send({ _csrf: csrf, ...rules })
      .expect(303);
    const typed = { extend: 'on', extend_who: 'selected', extend_people: 'abc123-admin' };
    const { text } = await send({ ...typed, extend_monthly: 'many' }).expect(422);
    const isTicked = (id: string): boolean =>
      new RegExp(`<input type="checkbox" id="${id}"[^>]* checked>`).test(text);
    assert.deepEqual(
      ['person-abc123-admin', 'extend-abc123-admin', 'refund-abc123-admin'].map(isTicked),
      [true, true, false],
      'as stored, as typed, as typed',
    );
  });

  it('name the permission that the key lacks for what is on', async () => {
    await site.db.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash, missing_scopes)
       values ('abc123', 'p-scopes', 'projscopes', 'Scopes', 'x', '["customer_information:subscriptions:read_write"]')`,
    );
    const { text } = await browser.get('/settings/grants').expect(200);
    assert.match(text, /The RevenueCat API key lacks customer_information:subscriptions:read_write/);
  });
});
