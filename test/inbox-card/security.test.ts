import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Database } from '../../src/database/sql.ts';
import { signBody } from '../../src/simulator/intercom/app-caller.ts';
import type { Canvas } from '../../src/simulator/intercom/canvas-rules.ts';
import type { RevenueCatEvent } from '../../src/simulator/revenuecat/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { MAX_FIRST_CANVAS_PX, useCardHeights } from '../support/card-height.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, WORKSPACE_ID } from '../support/world.ts';
import {
  forge,
  idsOn,
  type OpenCard,
  openAgain,
  openFor,
  SETTLED_WITHIN_MS,
  send,
  settled,
  subscriberIdOf,
  tell,
  textOf,
} from './support.ts';

const OTHER = 'other42';

describe('what a card never does', () => {
  const heightsOf = useCardHeights();
  let product: Product;
  let mine: OpenCard;
  let subscriberId = '';

  before(async () => {
    product = await createProduct();
    const { intercom, server } = product;
    await tell(product, 'active_monthly', { appUserId: 'user_mine', email: 'mine@example.com' });
    mine = await openFor(product, { externalId: 'user_mine', email: 'mine@example.com' });
    subscriberId = await subscriberIdOf(product, 'user_mine');
    // A second workspace with the app and a project.
    intercom.addWorkspace({ id: OTHER, name: 'Another company' });
    intercom.addAdmin(OTHER, { id: '8001', name: 'Mallory' });
    await server.connected.database.query(
      `insert into workspaces (workspace_id, name, settings)
       values ($1, 'Another company', '{"contacts":{"matchByEmail":true}}')`,
      [OTHER],
    );
    await server.connected.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ($1, $2, 'projother', 'Other app', 'x')`,
      [OTHER, `${OTHER}-p1`],
    );
  });
  after(() => product?.close());

  const signals = /user_mine|mine@example|9\.99|Renewed|Pro\b/;

  test('a second workspace reaches nothing of the first by id, search, stored data or link', async () => {
    const eventId = idsOn((await mine.press('timeline')).canvas).find((id) => id.startsWith('event:')) ?? '';
    const theirs = await openFor(
      product,
      { externalId: 'user_mine', email: 'mine@example.com' },
      { adminId: '8001', workspaceId: OTHER },
    );
    assert.doesNotMatch(theirs.text, signals);
    const review = await (await openAgain(product, mine)).press('details');
    const stolen = (await (await review.press('match')).press('match.search', { 'match.query': 'user_mine' }))
      .canvas.stored_data;
    const [link] = await product.server.connected.database.query<{ n: string }>(
      'select count(*) as n from contact_links',
    );
    for (const componentId of [
      'home',
      'timeline',
      'timeline:older',
      eventId,
      'details',
      'subscription:0000000000000000',
      'grant',
      'grant.review',
      'grant.confirm',
      'grants',
      'grant:00000000-0000-4000-8000-000000000000',
      'revoke.confirm',
      'projects',
      'refresh',
      'unlink',
      `match:${subscriberId}`,
      'match.confirm',
      'match.search',
    ]) {
      for (const storedData of [{}, stolen ?? {}]) {
        const answer = await product.intercom.callCanvas({
          appUrl: product.server.url,
          workspaceId: OTHER,
          place: 'inbox',
          flow: 'submit',
          adminId: '8001',
          conversationId: theirs.conversationId,
          contactId: theirs.contactId,
          componentId,
          inputValues: { 'match.query': 'user_mine' },
          currentCanvas: {
            content: {
              components: [{ type: 'button', id: componentId, label: 'x', action: { type: 'submit' } }],
            },
            stored_data: storedData,
          },
        });
        assert.equal(answer.status, 200, componentId);
        assert.deepEqual(answer.problems, [], componentId);
        assert.deepEqual(answer.findings, [], componentId);
        // The other workspace typed the query itself, and it stays in the search field.
        assert.doesNotMatch(textOf(answer.canvas).replaceAll(/^user_mine$/gm, ''), signals, componentId);
      }
    }
    const [after] = await product.server.connected.database.query<{ n: string }>(
      'select count(*) as n from contact_links',
    );
    assert.deepEqual(after, link, 'and made no link');
  });

  test('stored data that was changed, or made for another card, is refused and nothing is done', async () => {
    await tell(product, 'trial', { appUserId: 'user_victim' });
    const card = await openFor(product, { role: 'lead' });
    const found = await card.press('match.search', { 'match.query': 'user_victim' });
    const id = idsOn(found.canvas).find((one) => one.startsWith('match:')) ?? '';
    const review = await found.press(id);
    const signed = review.canvas.stored_data as { data: string; mac: string };
    const swapped = signed.data.replace(id.slice('match:'.length), subscriberId);
    assert.notEqual(swapped, signed.data);
    const elsewhere = await openFor(product, { role: 'lead' });
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7002', name: 'Sam' });
    for (const [what, forged] of [
      [
        'another subscriber',
        forge(product, review, 'match.confirm', { storedData: { ...signed, data: swapped } }),
      ],
      ['no signature', forge(product, review, 'match.confirm', { storedData: { data: swapped } })],
      [
        'a made-up signature',
        forge(product, review, 'match.confirm', {
          storedData: { data: swapped, mac: randomBytes(32).toString('base64url') },
        }),
      ],
      ['no data', forge(product, review, 'match.confirm', { storedData: { mac: signed.mac } })],
      ['another contact', forge(product, elsewhere, 'match.confirm', { storedData: signed })],
      ['another teammate', forge(product, review, 'match.confirm', { storedData: signed, adminId: '7002' })],
      // Without its form it would review another action than the teammate has filled in.
      ['a form', forge(product, review, 'action.review', { storedData: { ...signed, data: swapped } })],
    ] as const) {
      const answer = await forged;
      assert.match(textOf(answer.canvas), /^This card is out of date\. Please start again\.$/m, what);
      assert.ok(answer.canvas && idsOn(answer.canvas).includes('home'), what);
    }
    const back = await forge(product, review, 'home', {
      storedData: { ...signed, mac: 'of an earlier key' },
    });
    assert.ok(back.canvas && idsOn(back.canvas).includes('match.search'), 'Back starts the card again');
    const none = await forge(product, review, 'match.confirm', { storedData: {} });
    assert.match(textOf(none.canvas), /out of date/);
    const links = await product.server.connected.database.query(
      'select 1 from contact_links where contact_id = any($1)',
      [[card.contactId, elsewhere.contactId]],
    );
    assert.equal(links.length, 0);
    assert.match(
      (await review.press('match.confirm')).text,
      /Linked to user_victim/,
      'the genuine one works',
    );
  });

  test('a wrong signature, an unknown workspace and a broken request', async () => {
    const post = (body: string, signature: string) =>
      fetch(`${product.server.url}/canvas/inbox/initialize`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Body-Signature': signature },
        body,
      });
    assert.equal((await post('{"workspace_id":"abc123"}', 'a'.repeat(64))).status, 401);
    product.intercom.addWorkspace({ id: 'stranger1', name: 'Stranger' });
    const other = await openFor(product, { externalId: 'user_mine' }, { workspaceId: 'stranger1' });
    assert.match(other.text, /^Subscription Timeline is not installed in this workspace/m);
  });

  test('opening five cards at a time calls neither platform, and each costs one statement', async () => {
    const people = await Promise.all(
      [1, 2, 3, 4, 5].map(async (n) => {
        await tell(product, 'active_monthly', { appUserId: `group_${n}` });
        return openFor(product, { externalId: `group_${n}` });
      }),
    );
    const { revenueCat, intercom, server } = product;
    const asked = () =>
      revenueCat.faults.requests().length +
      intercom.faults.requests().filter((one) => !/contacts|events/.test(one.path)).length;
    const openAll = async () => {
      const statements: string[] = [];
      const watched = server.connected.readDatabase as { query: Database['query'] };
      const query = watched.query;
      watched.query = (text, values, name) => {
        statements.push(name ?? text);
        return query(text, values, name);
      };
      const before = asked();
      try {
        const cards = await Promise.all(people.map((card) => openAgain(product, card)));
        for (const card of cards) assert.match(card.text, /^Pro, \$9\.99 a month/m);
      } finally {
        watched.query = query;
      }
      // The catalog's names are re-read from time to time, when any card is opened.
      return {
        statements: statements.filter((statement) => statement !== 'read-catalog'),
        calls: asked() - before,
      };
    };
    // Background work that the first cards started may still change the customers.
    const statements = await until(
      async () => {
        await settled(product);
        const opened = await openAll();
        const isUnchanged = opened.statements.every((statement) => statement === 'read-cards');
        return opened.calls === 0 && isUnchanged && opened.statements;
      },
      'cards that nothing has changed',
      SETTLED_WITHIN_MS,
    );
    assert.ok(statements.length <= 5, `${statements.length} statements`);
  });

  test('ids and inputs that PostgreSQL or an address would refuse find no customer and break nothing', async () => {
    const nul = 'user_mine\0';
    const half = 'user_mine\ud800';
    for (const [path, more] of [
      ['inbox/initialize', { workspace_id: `${WORKSPACE_ID}\0` }],
      ['inbox/initialize', { contact: { type: 'contact', id: nul, external_id: nul, email: nul } }],
      ['inbox/submit', { component_id: `event:${nul}` }],
      ['inbox/submit', { component_id: 'match.search', input_values: { 'match.query': nul } }],
      ['messenger/live', { contact: { type: 'contact', role: 'user', id: nul, external_id: nul } }],
      ['inbox/initialize', { contact: { type: 'contact', id: half, external_id: half, email: half } }],
      ['inbox/submit', { component_id: 'match.search', input_values: { 'match.query': half } }],
      // A teammate's text is cut to a maximum length, which can split an emoji.
      [
        'inbox/submit',
        { component_id: 'match.search', input_values: { 'match.query': `a${'😀'.repeat(999)}` } },
      ],
    ] as const) {
      const { status, text } = await signed(path, more);
      assert.equal(status, 200);
      assert.doesNotMatch(text, /went wrong|cannot be shown/, `${path} ${JSON.stringify(more)}`);
    }
  });

  test('marks that reorder or hide text are left out', async () => {
    const event = eventBody({
      app_user_id: 'reordered',
      original_app_user_id: 'reordered',
      aliases: ['reordered', 'other\u202edi'],
      product_id: 'pro\u202e\u0007yl',
      entitlement_ids: ['\u2066pro\u200f'],
      event_timestamp_ms: Date.now() - DAY_MS,
      purchased_at_ms: Date.now() - DAY_MS,
      expiration_at_ms: Date.now() + DAY_MS,
    });
    await send(product, event as RevenueCatEvent);
    const card = await openFor(product, { externalId: 'reordered' });
    const views = [await card.press('details'), await card.press('timeline')];
    for (const { canvas } of [card, ...views])
      assert.doesNotMatch(JSON.stringify(canvas.content), /\p{Bidi_Control}|\\u0007/u);
    for (const { text } of views) assert.match(text, /proyl/i);
  });

  test('a request without a contact is not treated as one whose contact was deleted', async () => {
    const { text } = await signed('inbox/initialize', { contact: null });
    assert.match(text, /^This conversation has no contact\./m);
    assert.match(text, /App user ID, email or transaction ID/);
  });

  test('a component id that is a number has a way back like every other', async () => {
    const { ids } = await signed('inbox/submit', { component_id: 7 });
    assert.ok(ids.includes('home'));
  });

  /** Sends the raw signed request, without going through the simulated inbox. */
  async function signed(
    path: string,
    more: Record<string, unknown>,
  ): Promise<{ status: number; text: string; ids: string[] }> {
    const body = JSON.stringify({
      workspace_id: WORKSPACE_ID,
      admin: { type: 'admin', id: '7001', name: 'Ada Agent' },
      contact: { type: 'contact', id: 'c1', external_id: 'user_mine', role: 'user' },
      input_values: {},
      ...more,
    });
    const answer = await fetch(`${product.server.url}/canvas/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Body-Signature': signBody(CLIENT_SECRET, body) },
      body,
    });
    const { canvas, content } = (await answer.json()) as { canvas?: Canvas; content?: Canvas['content'] };
    const shown = canvas ?? { content };
    return { status: answer.status, text: textOf(shown), ids: idsOn(shown) };
  }

  test('while RevenueCat is down stored data is shown with its time; a slow refresh continues in the background', async () => {
    const { revenueCat } = product;
    const card = await openFor(product, { externalId: 'user_mine' });
    await card.press('refresh');
    const lift = revenueCat.faults.add({ status: 403 });
    const forbidden = await (await openAgain(product, card)).press('refresh');
    lift();
    assert.match(forbidden.text, /^The RevenueCat API key lacks a permission\. .* Showing data from \w{3} /m);
    const stop = revenueCat.faults.add({ status: 503 });
    try {
      const down = await (await openAgain(product, card)).press('refresh');
      assert.match(
        down.text,
        /^RevenueCat is unavailable\. Showing data from \w{3} \d{1,2}, \d{4} at \d{1,2}:\d{2}[AP]M\.$/m,
      );
      assert.match(down.text, /^Pro, \$9\.99 a month/m);
    } finally {
      stop();
    }
    const slow = revenueCat.faults.add({ latencyMs: 6_000 });
    try {
      const later = await (await openAgain(product, card)).press('refresh');
      assert.match(later.text, /^RevenueCat is slow\./m);
      assert.ok(later.answer.durationMs < 6_000, 'RevenueCat has not answered yet');
    } finally {
      slow();
    }
  });

  test('a rejected API key is reported, with a link to the settings', async () => {
    const { revenueCat } = product;
    await tell(product, 'active_monthly', { appUserId: 'user_key' });
    const card = await openFor(product, { externalId: 'user_key' });
    for (const key of revenueCat.state.keys.values()) key.status = 'revoked';
    const refused = await card.press('refresh');
    assert.match(refused.text, /^RevenueCat rejected the API key\./m);
    const home = await openAgain(product, card);
    assert.match(home.text, /^RevenueCat rejected the API key\./m);
    assert.match(JSON.stringify(home.canvas), /"url":"http:\/\/app\.test\/settings"/);
    const opened = await openFor(product, { externalId: 'stranger' });
    const searched = await opened.press('match.search', { 'match.query': 'unknown-customer' });
    assert.match(searched.text, /^No customer found\..*\nRevenueCat rejected the API key\./m);
    for (const key of revenueCat.state.keys.values()) key.status = 'valid';
    // A background refresh may have been refused just before.
    await until(async () => {
      await card.press('refresh');
      return !/rejected the API key/.test((await openAgain(product, card)).text);
    }, 'the key to be accepted');
  });

  test('without a project every view links to the settings', async () => {
    const { database } = product.server.connected;
    await database.query(`update projects set webhook_auth_hash = '' where workspace_id = $1`, [OTHER]);
    const card = await openFor(product, { externalId: 'whoever' }, { adminId: '8001', workspaceId: OTHER });
    assert.match(card.text, /^RevenueCat is not connected yet\./m);
    assert.match(JSON.stringify(card.canvas), /\/settings"/);
  });

  test('a customer of two projects is chosen once, and the choice lasts for the card', async () => {
    const { database } = product.server.connected;
    await tell(product, 'active_monthly', { appUserId: 'user_two' });
    await database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
       values ($1, $2, 'projsecond', 'Second app', 'x')`,
      [WORKSPACE_ID, `${WORKSPACE_ID}-second`],
    );
    await database.query(
      `with other as (
         insert into subscribers (workspace_id, project_id, subscriber_id, last_event_at_ms)
         values ($1, $2, gen_random_uuid(), 1) returning subscriber_id)
       insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select $1, $2, 'user_two', subscriber_id from other`,
      [WORKSPACE_ID, `${WORKSPACE_ID}-second`],
    );
    const card = await openFor(product, { externalId: 'user_two' });
    assert.match(card.text, /^This contact is a customer of several apps\. Which one\?$/m);
    assert.match(card.text, /^Test app \| Pro, \$9\.99 a month\. Next charge/m);
    assert.match(card.text, /^Second app \| No purchases of this customer are known here\.$/m);
    const [, second = ''] = idsOn(card.canvas).filter((id) => id.startsWith('match:'));
    const chosen = await card.press(second);
    assert.match(chosen.text, /^Other project \| Test app$/m, 'the project that it leads to');
    assert.match(chosen.text, /^No purchases of this customer are known here\.$/m);
    assert.match((await chosen.press('details')).text, /^Project: Second app$/m);
    const back = await (await chosen.press('timeline')).press('home');
    assert.match(back.text, /^No purchases of this customer are known here\.$/m);
    const again = await back.press('projects');
    assert.match(again.text, /^Test app \|/m);
    const audit = await database.query('select 1 from audit_log where contact_id = $1', [card.contactId]);
    assert.equal(audit.length, 0);

    const lead = await openFor(product, { role: 'lead' });
    const found = await lead.press('match.search', { 'match.query': 'user_two' });
    assert.match(
      found.text,
      /^user_two \| Test app · Last event \w{3} \d{1,2}, \d{4}\nuser_two \| Second app · Last event /m,
    );
    assert.match((await found.press(second)).text, /^Project: Second app$/m);
  });

  test('a customer of eight projects chooses among all of them on one screen', async () => {
    const { database } = product.server.connected;
    for (let n = 0; n < 7; n += 1) {
      await database.query(
        `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
         values ($1, $2, $2, 'App ' || $3, 'x')`,
        [WORKSPACE_ID, `${WORKSPACE_ID}-many-${n}`, n],
      );
      await database.query(
        `with other as (
           insert into subscribers (workspace_id, project_id, subscriber_id, last_event_at_ms)
           values ($1, $2, gen_random_uuid(), 1) returning subscriber_id)
         insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
         select $1, $2, 'user_mine', subscriber_id from other`,
        [WORKSPACE_ID, `${WORKSPACE_ID}-many-${n}`],
      );
    }
    const card = await openFor(product, { externalId: 'user_mine' });
    assert.equal(idsOn(card.canvas).filter((id) => id.startsWith('match:')).length, 8);
    assert.match(card.text, /^Test app$/m, 'the sentences of three projects at most have room');
    const [px = Number.NaN] = await heightsOf([card.canvas]);
    assert.ok(px <= MAX_FIRST_CANVAS_PX, `${px} px`);
  });
});
