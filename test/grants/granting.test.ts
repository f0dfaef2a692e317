import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { LIFETIME_END_MS } from '../../src/grants/durations.ts';
import { readAction, readLastChange } from '../../src/grants/repository.ts';
import { requestAction } from '../../src/grants/transitions.ts';
import { clip, type Option } from '../../src/intercom/canvas.ts';
import { DAY_MS, HOUR_MS } from '../../src/time.ts';
import type { AppContext } from '../../src/workspaces/app-context.ts';
import {
  agedFormState,
  forge,
  idsOn,
  type OpenCard,
  openAgain,
  openFor,
  settled,
  tell,
  textOf,
} from '../inbox-card/support.ts';
import { createProduct, type Product, REVENUECAT_PROJECT_ID } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { setSettings, WORKSPACE_ID } from '../support/world.ts';
import { setMissingScopes } from './buyers.ts';
import {
  announce,
  audited,
  callsFor,
  give,
  grantIdOn,
  grantOf,
  grantsAt,
  noteIn,
  notesIn,
  openCustomer,
  review,
  SECOND,
  setPolicy,
  stored,
} from './support.ts';

let product: Product;

before(async () => {
  product = await createProduct();
  product.intercom.addAdmin(WORKSPACE_ID, { id: SECOND, name: 'Sam Second', email: 'sam@example.com' });
});
after(() => product?.close());
afterEach(async () => {
  await setPolicy(product, {});
  product.revenueCat.faults.clear();
  product.revenueCat.state.existingGrant = 'ignore';
});

const date = (atMs: number): string =>
  new Intl.DateTimeFormat('en-US', {
    timeZone: 'America/New_York',
    year: 'numeric',
    month: 'short',
    day: 'numeric',
  }).format(atMs);

function component(card: OpenCard, id: string): Record<string, unknown> | undefined {
  return (card.canvas.content?.components ?? []).find((each) => 'id' in each && each.id === id) as
    | Record<string, unknown>
    | undefined;
}

describe('granting', () => {
  test('from the form to the note', async () => {
    const card = await openCustomer(product);
    const form = await card.press('grant');
    for (const id of ['grant.entitlement', 'grant.duration', 'grant.reason', 'grant.review', 'home']) {
      assert.ok(idsOn(form.canvas).includes(id), id);
    }
    assert.match(form.text, /Current access: none/);
    const checked = await review(form, { reason: 'Two days <3 of "outage" & trouble' });
    assert.equal(callsFor(product, card.appUserId), 0, 'a review makes nothing');
    assert.match(checked.text, /^Will get: \*\*Pro until [A-Z][a-z]{2} \d+, \d{4} at \d+:\d\d[AP]M\*\*$/m);
    assert.match(checked.text, /^Current access: none$/m);
    assert.match(checked.text, new RegExp(`^Customer: ${card.appUserId}$`, 'm'));

    const done = await checked.confirm('grant.confirm');
    const [grant] = grantsAt(product, card.appUserId);
    assert.ok(grant?.endsAtMs);
    assert.match(done.text, new RegExp(`^✅ Pro is granted until ${date(grant.endsAtMs)} at `, 'm'));
    assert.match(
      String(component(done, 'action.tell')?.value),
      /^You now have Pro until \w+ \d+, \d{4} at \d+:\d\d[AP]M E[SD]T, free of charge\./,
    );
    const [row] = await stored(product, card.appUserId);
    assert.equal(row?.state, 'confirmed');
    assert.equal(row.actual_end_at?.getTime(), grant.endsAtMs);

    const note = await noteIn(product, card, /Granted Pro until/);
    assert.match(note, new RegExp(date(grant.endsAtMs)));
    assert.match(note, /Two days &lt;3 of &quot;outage&quot; &amp; trouble/);
    assert.deepEqual(
      notesIn(product, card).map(({ authorId }) => authorId),
      ['7001'],
    );
    const [record, ...more] = await audited(product, card.appUserId);
    assert.deepEqual(more, []);
    assert.deepEqual(
      [record?.action, record?.result, record?.actor, record?.conversation],
      ['grant', 'confirmed', '7001', card.conversationId],
    );
    assert.equal(record?.details.entitlement, 'pro');
    assert.match(String(record?.details.reason), /outage/);
  });

  test('appears on the card immediately, and is joined with its webhook', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const card = await openCustomer(product);
    await grantOf(card);
    const opened = await openAgain(product, card);
    assert.match(opened.text, /^Pro, granted by Ada Agent until /m);
    const lines = (text: string) => text.match(/^Access granted/gm)?.length ?? 0;
    assert.equal(lines((await opened.press('timeline')).text), 1);
    await product.revenueCat.flushWebhooks();
    await until(
      async () =>
        (
          await product.server.connected.database.query<{ n: string }>(
            `select count(*) as n from events e join subscriber_ids i using (workspace_id, subscriber_id)
              where i.app_user_id = $1 and e.kind = 'promotional_granted'`,
            [card.appUserId],
          )
        )[0]?.n === '1',
      'the webhook',
    );
    assert.equal(lines((await (await openAgain(product, card)).press('timeline')).text), 1);
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
  });

  test('the only entitlement is granted under the name that its read-only field shows', async (t) => {
    const rename = (name: string | null) =>
      product.db.database.query('update catalog set display_name = $2 where workspace_id = $1', [
        WORKSPACE_ID,
        name,
      ]);
    t.after(() => rename('Pro'));
    for (const name of [null, '\u202aPro\u202c']) {
      await rename(name);
      const form = await (await openCustomer(product)).press('grant');
      assert.equal(component(form, 'grant.entitlement')?.value, 'Pro');
      assert.match((await review(form)).text, /^Will get: \*\*Pro until /m);
    }
  });

  test('all ten durations are listed, and those that are not allowed say so', async () => {
    const card = await openCustomer(product);
    const options = (component(await card.press('grant'), 'grant.duration')?.options ?? []) as {
      id: string;
      text: string;
      disabled?: boolean;
    }[];
    assert.equal(options.length, 10);
    assert.deepEqual(
      options.filter(({ disabled }) => disabled).map(({ id }) => id),
      ['lifetime'],
    );
    await setPolicy(product, { longestDays: 7, secondPersonAboveDays: 3, lifetimeAllowed: true });
    const strict = (component(await card.press('grant'), 'grant.duration')?.options ?? []) as typeof options;
    assert.deepEqual(
      strict.map(({ text }) => text),
      [
        '1 day',
        '3 days',
        '1 week (needs approval)',
        ...['2 weeks', '1 month', '2 months', '3 months', '6 months', '1 year'].map(
          (text) => `${text} (not allowed)`,
        ),
        'Lifetime (needs approval)',
      ],
    );
  });

  test('an exact last day counts to its end in the time zone of the workspace', async () => {
    const card = await openCustomer(product);
    const day = new Date(Date.now() + 40 * DAY_MS).toISOString().slice(0, 10);
    const done = await grantOf(card, { end: day });
    const [grant] = grantsAt(product, card.appUserId);
    assert.ok(grant?.endsAtMs);
    const local = new Intl.DateTimeFormat('sv-SE', {
      timeZone: 'America/New_York',
      dateStyle: 'short',
      timeStyle: 'medium',
    });
    assert.equal(local.format(grant.endsAtMs), `${day} 23:59:59`);
    assert.match(done.text, /11:59PM/);
    const end = local.format(Date.now() + 2 * HOUR_MS).slice(0, 16);
    const { text } = await review(await openCustomer(product), { end });
    assert.match(text, /^Adds less than a day, starting now\.$/m);
  });

  test('a lifetime, where it is allowed, is called for life and has no far date', async () => {
    await setPolicy(product, { lifetimeAllowed: true });
    const card = await openCustomer(product);
    const done = await grantOf(card, { duration: 'lifetime' });
    assert.match(done.text, /^✅ Pro is granted for life\.$/m);
    assert.doesNotMatch(done.text, /2099|2200/);
    assert.match(await noteIn(product, card, /Granted Pro/), /Granted Pro for life\./);
    assert.ok(!idsOn(done.canvas).some((id) => id.startsWith('extend:')));
  });

  test('an end decades away is a date', async () => {
    await setPolicy(product, { longestDays: 40_000 });
    const done = await grantOf(await openCustomer(product), { end: '2095-01-31' });
    assert.match(done.text, /Jan 31, 2095/);
  });

  test('the customer is read by any id that RevenueCat knows', async () => {
    const known = `known_${randomUUID()}`;
    product.revenueCat.addCustomer(REVENUECAT_PROJECT_ID, { id: known });
    const unknown = `aaa_${randomUUID()}`;
    await product.revenueCat.sendWebhook(REVENUECAT_PROJECT_ID, {
      type: 'EXPERIMENT_ENROLLMENT',
      id: randomUUID(),
      app_user_id: unknown,
      original_app_user_id: unknown,
      aliases: [unknown, known],
      event_timestamp_ms: Date.now(),
    });
    const done = await grantOf(await openFor(product, { externalId: unknown }));
    assert.match(done.text, /✅ Pro is granted/);
    assert.equal(grantsAt(product, known).length, 1);
  });

  test('an anonymous customer can get a grant, and the card says what that means', async () => {
    const id = `$RCAnonymousID:${randomUUID().replaceAll('-', '')}`;
    const card = await openCustomer(product, { id });
    assert.match((await review(card)).text, /only an anonymous ID/);
    assert.match((await grantOf(card)).text, /✅ Pro is granted/);
  });
});

/** A review that would change nothing cannot be confirmed, not even by a forged press. */
async function assertNoConfirm(card: OpenCard): Promise<void> {
  const primary = (card.canvas.content?.components ?? []).filter(
    (each) => 'style' in each && each.style === 'primary',
  );
  assert.deepEqual([idsOn(card.canvas).includes('grant.confirm'), primary], [false, []]);
  assert.doesNotMatch(card.text, /Will get/);
  const forged = await forge(product, card, 'grant.confirm');
  assert.match(textOf(forged.canvas), /would change nothing\. Nothing was granted/);
}

describe('a grant that would change nothing is not offered', () => {
  test('an end within two hours of the current one', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { endsAtMs: Date.now() + 7 * DAY_MS + HOUR_MS });
    const checked = await review(card, { duration: 'weekly', start: 'now' });
    assert.match(checked.text, /They already have this until .*within two hours/);
    await assertNoConfirm(checked);
    assert.equal(callsFor(product, card.appUserId), 0);
    assert.equal((await audited(product, card.appUserId)).at(-1)?.result, 'refused: no_effect');
  });

  test('the same grant again', async () => {
    product.revenueCat.state.grantWebhookDelayMs = null;
    const card = await openCustomer(product);
    await grantOf(card, { duration: 'weekly' });
    const again = await review(await openAgain(product, card), { duration: 'weekly', start: 'now' });
    await assertNoConfirm(again);
    const timeline = await (await openAgain(product, card)).press('timeline');
    assert.equal(timeline.text.match(/^Access granted/gm)?.length, 1);
    product.revenueCat.state.grantWebhookDelayMs = 1_000;
  });

  test('a lifetime purchase', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { store: 'app_store', endsAtMs: LIFETIME_END_MS, willRenew: false });
    const checked = await review(card, { duration: 'weekly' });
    assert.match(checked.text, /^What they bought gives this for life: the grant would change nothing\.$/m);
    assert.doesNotMatch(checked.text, /To give more/);
    await assertNoConfirm(checked);
  });

  test('a subscription that ends later', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { store: 'app_store', endsAtMs: Date.now() + 60 * DAY_MS });
    const checked = await review(card, { duration: 'weekly', start: 'now' });
    assert.match(checked.text, /What they bought already gives this until .* would change nothing/);
    await assertNoConfirm(checked);
  });

  test('a grant that ends later', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { endsAtMs: Date.now() + 60 * DAY_MS });
    const checked = await review(card, { duration: 'weekly', start: 'now' });
    assert.match(checked.text, /already granted this until .* later/);
    await assertNoConfirm(checked);
  });

  test('the review says what to change for more, and the same form with that adds to the current end', async () => {
    const card = await openCustomer(product);
    const endsAtMs = Date.now() + 7 * DAY_MS + HOUR_MS;
    give(product, card.appUserId, { endsAtMs });
    const checked = await review(card, { duration: 'weekly', start: 'now' });
    assert.match(checked.text, /^To give more, press Change and choose a later end, or a start after/m);
    const form = await checked.press('action.change');
    const typed = { 'grant.duration': 'weekly', 'grant.reason': 'An outage' };
    const added = await form.press('grant.review', { ...typed, 'grant.start': 'after' });
    assert.doesNotMatch(added.text, /nothing would change/);
    assert.match((await added.confirm('grant.confirm')).text, /✅ Pro is granted/);
    const ends = grantsAt(product, card.appUserId).map((grant) => grant.endsAtMs ?? 0);
    assert.equal(Math.max(...ends), endsAtMs + 7 * DAY_MS);
  });
});

describe('a grant adds up', () => {
  test('the review has a space before the colons of French', async () => {
    await setSettings(product, { card: { language: 'fr' } });
    try {
      const checked = await review(await openCustomer(product), { duration: 'weekly' });
      assert.match(checked.text, /^Recevra\u00a0: \*\*Pro jusqu’au /m);
    } finally {
      await setSettings(product, {});
    }
  });

  test('by default it starts after what was granted, and the review says both ends and the days', async () => {
    const card = await openCustomer(product);
    const endsAtMs = Date.now() + 28 * DAY_MS;
    give(product, card.appUserId, { endsAtMs });
    const checked = await review(card, { duration: 'two_week' });
    const added = new RegExp(
      `^Adds 14 days: access ends on ${date(endsAtMs + 14 * DAY_MS)} at .+ instead of ${date(endsAtMs)} at .+\\.$`,
      'm',
    );
    assert.match(checked.text, added);
    await checked.confirm('grant.confirm');
    const ends = grantsAt(product, card.appUserId).map((grant) => grant.endsAtMs ?? 0);
    assert.equal(Math.max(...ends), endsAtMs + 14 * DAY_MS);
  });

  test('starts after what is paid for, which does not count as granted', async () => {
    await setPolicy(product, { longestDays: 31 });
    const card = await openCustomer(product);
    const endsAtMs = Date.now() + 300 * DAY_MS;
    give(product, card.appUserId, { store: 'stripe', endsAtMs, willRenew: false });
    const checked = await review(card, { duration: 'three_day' });
    assert.match(checked.text, /^Adds 3 days: access ends on/m);
    assert.doesNotMatch(checked.text, /will still charge/);
    await checked.confirm('grant.confirm');
    assert.equal(grantsAt(product, card.appUserId)[0]?.endsAtMs, endsAtMs + 3 * DAY_MS);
  });

  test('starts now when the agent chooses so', async () => {
    const card = await openCustomer(product);
    give(product, card.appUserId, { endsAtMs: Date.now() + 2 * DAY_MS });
    const checked = await review(card, { duration: 'two_week', start: 'now' });
    assert.match(checked.text, /^Adds 12 days: access ends on/m);
    assert.match((await checked.confirm('grant.confirm')).text, /✅ Pro is granted/);
  });

  test('a customer without access gets the full duration from now', async () => {
    const card = await openCustomer(product);
    const form = await card.press('grant');
    assert.ok(!idsOn(form.canvas).includes('grant.start'), 'nothing to start after');
    assert.match((await review(form, { duration: 'two_week' })).text, /^Adds 14 days, starting now\.$/m);
  });

  test('the charge of an extended subscription is on its new end, also before the event of that comes', async () => {
    const appUserId = `extended_${randomUUID()}`;
    await tell(product, 'active_monthly', { appUserId });
    const card = await openFor(product, { externalId: appUserId });
    await settled(product);
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const [subscription] = project?.aliases.get(appUserId)?.subscriptions ?? [];
    assert.ok(subscription);
    const endsAtMs = Date.now() + 60 * DAY_MS;
    subscription.endsAtMs = endsAtMs;
    const checked = await review(card, { duration: 'three_month' });
    assert.match(checked.text, new RegExp(`^On ${date(endsAtMs)}, Apple will still charge \\$9\\.99: `, 'm'));
  });

  test('the review names the charge that the store makes before the end, and the reply promises nothing free', async () => {
    const appUserId = `paying_${randomUUID()}`;
    await tell(product, 'active_monthly', { appUserId });
    const card = await openFor(product, { externalId: appUserId });
    const checked = await review(card, { duration: 'three_month' });
    assert.match(
      checked.text,
      /^On [A-Z][a-z]{2} \d+, \d{4}, Apple will still charge \$9\.99: a grant does not stop a paid subscription\.$/m,
    );
    assert.match(
      (await checked.confirm('grant.confirm')).text,
      /^You now have Pro until .+\. Your subscription continues and will be charged as planned\. If the app/m,
    );
  });

  test('a sandbox customer is not warned of a charge', async () => {
    const appUserId = `sandbox_${randomUUID()}`;
    await tell(product, 'sandbox_only', { appUserId });
    const card = await openFor(product, { externalId: appUserId });
    assert.doesNotMatch((await review(card, { duration: 'three_month' })).text, /charge/);
  });
});

describe('RevenueCat refuses', () => {
  test('409: the card says what to do, and nothing is granted a second time', async () => {
    product.revenueCat.state.existingGrant = 'conflict409';
    const card = await openCustomer(product);
    give(product, card.appUserId, { endsAtMs: Date.now() + 7 * DAY_MS });
    const done = await grantOf(card);
    assert.match(
      done.text,
      /already has the entitlement\. Nothing was changed\. .* remove the running grant/,
    );
    assert.match(done.text, /^Requested by: Ada Agent$/m, 'nothing was granted');
    assert.equal((await stored(product, card.appUserId))[0]?.state, 'failed');
  });
});

describe('refused', () => {
  const refusals: readonly (readonly [
    what: string,
    policy: Record<string, unknown>,
    input: Parameters<typeof review>[1],
    expected: RegExp,
    result: string | null,
  ])[] = [
    [
      'longer than allowed',
      { longestDays: 31 },
      { duration: 'two_month' },
      /31 days: until .* at most/,
      'too_long',
    ],
    ['an exact day beyond that', { longestDays: 31 }, { end: '2098-01-01' }, /31 days: until/, 'too_long'],
    ['a lifetime', {}, { duration: 'lifetime' }, /Lifetime grants are not allowed/, 'lifetime_not_allowed'],
    ['no reason', {}, { reason: '   ' }, /give a reason/, 'reason_missing'],
    [
      'a reason that shows nothing',
      {},
      { reason: '\u200b \u2060\u3164\u{e0020}' },
      /give a reason/,
      'reason_missing',
    ],
    ['an endless reason', {}, { reason: 'x'.repeat(1_001) }, /1000 characters/, 'reason_too_long'],
    [
      'a reason that fits no canvas',
      {},
      { reason: 'x'.repeat(70_000) },
      /1000 characters/,
      'reason_too_long',
    ],
    ['a day that is past', {}, { end: '2020-01-01' }, /is in the past/, null],
    ['a day that is too far away', {}, { end: '2150-01-01' }, /too far away/, null],
    ['a time that counts as a lifetime', {}, { end: '2098-12-31 12:00' }, /too far away/, null],
    ['a day that is not a date', {}, { end: '1/2/27' }, /must be a date like 2027-01-31/, null],
    ['a day that no month has', {}, { end: '2027-02-30' }, /must be a date like/, null],
    ['no such duration', {}, { duration: 'forever' }, /choose a duration/, null],
    ['no such entitlement', {}, { entitlement: 'entlother' }, /choose what to grant/, null],
  ];
  for (const [what, policy, input, expected, result] of refusals) {
    test(`${what}, and everything typed stays in the form`, async () => {
      await setPolicy(product, policy);
      const card = await openCustomer(product);
      const refused = await review(card, input);
      assert.match(refused.text, expected);
      assert.ok(idsOn(refused.canvas).includes('grant.review'), 'the form is there again');
      if (input?.end) assert.equal(component(refused, 'grant.end')?.value, input.end);
      const marked = component(refused, 'grant.end')?.save_state;
      assert.equal(marked, input?.end ? 'failed' : undefined, 'the field that is wrong is marked');
      if (input?.reason?.trim())
        assert.equal(component(refused, 'grant.reason')?.value, clip(input.reason, 2_000));
      if (input?.duration === 'two_month') {
        assert.equal(component(refused, 'grant.duration')?.value, 'two_month');
      }
      assert.equal(callsFor(product, card.appUserId), 0);
      const records = await audited(product, card.appUserId);
      assert.ok(JSON.stringify(records).length < 10_000, 'an endless text does not fill the audit log');
      assert.deepEqual(
        records.map((record) => [record.action, record.result, record.details.entitlement]),
        result === null ? [] : [['grant', `refused: ${result}`, 'pro']],
      );
      for (const { details } of records) assert.equal(details.entitlement, 'pro');
    });
  }

  test('granting switched off or not allowed for the teammate: at the form, at review and at confirm', async () => {
    for (const [policy, expected, why] of [
      [{ enabled: false }, /turned off/, 'switched_off'],
      [{ allowedAdminIds: [SECOND] }, /You may not grant/, 'not_allowed'],
    ] as const) {
      const card = await openCustomer(product);
      const checked = await review(card);
      await setPolicy(product, policy);
      assert.match((await card.press('grant')).text, expected);
      assert.match((await forgeOn(card, 'grant.review')).text, expected);
      assert.match((await checked.confirm('grant.confirm')).text, expected);
      assert.equal(callsFor(product, card.appUserId), 0);
      assert.deepEqual(await stored(product, card.appUserId), []);
      assert.deepEqual(
        (await audited(product, card.appUserId)).map(({ result }) => result),
        [`refused: ${why}`, `refused: ${why}`],
      );
      await setPolicy(product, {});
    }
  });

  test('a policy that became stricter after the review', async () => {
    const card = await openCustomer(product);
    const checked = await review(card, { duration: 'yearly' });
    await setPolicy(product, { longestDays: 31 });
    const refused = await checked.confirm('grant.confirm');
    assert.match(refused.text, /31 days/);
    const duration = component(refused, 'grant.duration');
    assert.equal(duration?.value, 'yearly');
    const options = duration?.options as Option[];
    assert.deepEqual(
      options.filter(({ disabled }) => disabled).map(({ id }) => id),
      ['two_month', 'three_month', 'six_month', 'lifetime'],
      'what cannot be chosen, but for what is chosen',
    );
    assert.equal(callsFor(product, card.appUserId), 0);
  });

  test('a customer that RevenueCat does not know', async () => {
    const id = `stranger_${randomUUID()}`;
    await announce(product, id);
    const card = await openFor(product, { externalId: id });
    assert.match((await review(card)).text, /RevenueCat does not know this customer\. Nothing was changed/);
    assert.deepEqual(product.revenueCat.state.violations, [], 'and no customer is created by the lookup');
    assert.equal((await audited(product, id))[0]?.result, 'refused: unknown_customer');
  });

  test('a customer who was deleted after the review', async () => {
    const card = await openCustomer(product);
    const checked = await review(card);
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    project?.aliases.delete(card.appUserId);
    assert.match((await checked.confirm('grant.confirm')).text, /RevenueCat does not know this customer/);
    assert.deepEqual(await stored(product, card.appUserId), []);
  });

  test('a placeholder id that many customers share', async () => {
    const [row] = await product.server.connected.database.query<{ project_id: string }>(
      `select project_id from projects limit 1`,
    );
    const id = `contact_${randomUUID()}`;
    const subscriberId = randomUUID();
    const database = product.server.connected.database;
    await database.query(
      `insert into subscribers (workspace_id, project_id, subscriber_id) values ($1, $2, $3)`,
      [WORKSPACE_ID, row?.project_id, subscriberId],
    );
    await database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id) values ($1, $2, 'null', $3)`,
      [WORKSPACE_ID, row?.project_id, subscriberId],
    );
    const card = await openFor(product, { externalId: id });
    await database.query(
      `insert into contact_links (workspace_id, contact_id, project_id, subscriber_id, made_by)
       values ($1, $2, $3, $4, '{"id":"7001","name":"Ada"}')`,
      [WORKSPACE_ID, card.contactId, row?.project_id, subscriberId],
    );
    const linked = await openAgain(product, card);
    assert.match((await linked.press('grant')).text, /has no ID that RevenueCat accepts/);
  });

  test('a permission that the key is known to lack is named before the click', async () => {
    const card = await openCustomer(product);
    await setMissingScopes(product, ['customer_information:customers:read_write']);
    try {
      const { canvas, text } = await card.press('grant');
      assert.match(text, /^The API key lacks customer_information:customers:read_write\./m);
      assert.ok(!idsOn(canvas).includes('grant.review'));
      // An admin adds the permission, and a minute later the agent opens the form again.
      for (const key of product.revenueCat.state.keys.values()) Object.assign(key, { scopes: ['*'] });
      const { database } = product.server.connected;
      await database.query(`delete from pgboss.job where name = 'workspace.check'`);
      const isOffered = async () =>
        idsOn((await (await openAgain(product, card)).press('grant')).canvas).includes('grant.review');
      await until(isOffered, 'the card to offer the grant');
      // Refresh has the key checked as well.
      await database.query(`update projects set missing_scopes = $2 where workspace_id = $1`, [
        WORKSPACE_ID,
        JSON.stringify(['customer_information:customers:read_write']),
      ]);
      await database.query(`delete from pgboss.job where name = 'workspace.check'`);
      await (await openAgain(product, card)).press('refresh');
      const isChecked = async () =>
        (await database.query<{ missing: string[] }>('select missing_scopes as missing from projects')).every(
          ({ missing }) => missing.length === 0,
        );
      await until(isChecked, 'the key to be checked');
    } finally {
      await setMissingScopes(product, []);
    }
  });

  test('a project without a key leads to the settings', async () => {
    const card = await openCustomer(product);
    const { database } = product.server.connected;
    const [project] = await database.query<{ api_key: string }>(`select api_key from projects`);
    await database.query(`update projects set api_key = null`);
    try {
      const { canvas, text } = await card.press('grant');
      assert.match(text, /^This needs a RevenueCat API key\. An admin can add one in the settings\.$/m);
      assert.deepEqual(idsOn(canvas), ['settings', 'home']);
    } finally {
      await database.query(`update projects set api_key = $1`, [project?.api_key]);
    }
  });

  test('a key without the permission to grant, and a revoked key', async () => {
    const card = await openCustomer(product);
    const [key] = product.revenueCat.state.keys.values();
    assert.ok(key);
    const scopes = key.scopes;
    // A refused refresh would trigger a check of the key, and the missing permission would be known before the click.
    await settled(product);
    const lacks = /key lacks a permission for this\. Nothing was changed\. An admin can replace it/;
    try {
      // The app cannot tell which permission is missing; here it is one to read.
      Object.assign(key, {
        scopes: ['customer_information:customers:read_write', 'project_configuration:*:*'],
      });
      const { text } = await review(card);
      assert.match(text, lacks);
      assert.doesNotMatch(text, /customer_information/);
      Object.assign(key, { scopes });
      const checked = await review(await openAgain(product, card));
      Object.assign(key, { scopes: ['*:*:read', 'customer_information:*:read'] });
      assert.match((await checked.confirm('grant.confirm')).text, lacks);
      const isNamed = async () =>
        /lacks customer_information:customers:read_write/.test(
          (await (await openAgain(product, card)).press('grant')).text,
        );
      await until(isNamed, 'the card to name the permission');
    } finally {
      Object.assign(key, { scopes });
      await product.server.connected.database.query(`update projects set missing_scopes = '[]'`);
    }
    const second = await review(await openAgain(product, card));
    key.status = 'revoked';
    try {
      assert.match(
        (await second.confirm('grant.confirm')).text,
        /rejected the API key\. Nothing was changed/,
      );
      assert.match(
        (await (await openAgain(product, card)).press('grant')).text,
        /no longer accepts the API key/,
      );
    } finally {
      key.status = 'valid';
      await product.server.connected.database.query(`update projects set api_key_state = 'valid'`);
    }
    assert.equal(grantsAt(product, card.appUserId).length, 0);
  });
});

describe('once', () => {
  test('a second confirm shows the result of the first', async () => {
    const card = await openCustomer(product);
    const checked = await review(card);
    const done = await checked.confirm('grant.confirm');
    const again = await checked.confirm('grant.confirm');
    assert.equal(grantIdOn(again), grantIdOn(done));
    assert.match(again.text, /✅ Pro is granted/);
    assert.equal(callsFor(product, card.appUserId), 1);
  });

  test('ten concurrent confirms make one grant, and all show it', async () => {
    for (const monthlyPerAdmin of [null, 1_000]) {
      await setPolicy(product, { monthlyPerAdmin });
      const card = await openCustomer(product);
      const checked = await review(card);
      const all = await Promise.all(Array.from({ length: 10 }, () => checked.confirm('grant.confirm')));
      assert.equal(callsFor(product, card.appUserId), 1);
      assert.deepEqual(
        all.map(({ text }) => /✅ Pro is granted/.test(text)),
        all.map(() => true),
      );
      assert.equal(new Set(all.map(grantIdOn)).size, 1);
      assert.equal((await audited(product, card.appUserId)).length, 1);
      if (monthlyPerAdmin === null) continue;
      await noteIn(product, card, /Granted Pro/);
      assert.equal(notesIn(product, card).length, 1);
    }
  });

  test('concurrent confirms cannot exceed the monthly limit', async () => {
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7100', name: 'Busy', email: 'busy@example.com' });
    await setPolicy(product, { monthlyPerAdmin: 3 });
    const cards = [];
    for (let index = 0; index < 8; index += 1) {
      const card = await openCustomer(product, { adminId: '7100' });
      cards.push({ card, checked: await review(card) });
    }
    const all = await Promise.all(cards.map(({ checked }) => checked.confirm('grant.confirm')));
    const made = all.filter(({ text }) => /✅/.test(text)).length;
    const refused = all.filter(({ text }) => /The limit is 3 grants a month/.test(text)).length;
    assert.deepEqual([made, refused], [3, 5]);
    const asked = cards.reduce((sum, { card }) => sum + callsFor(product, card.appUserId), 0);
    assert.equal(asked, 3);
    const form = await (await openCustomer(product, { adminId: '7100' })).press('grant');
    assert.match(form.text, /grants? a month/);
    assert.ok(!idsOn(form.canvas).includes('grant.review'));
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7102', name: 'Idle', email: 'idle@example.com' });
    const other = await openCustomer(product, { adminId: '7102' });
    assert.match((await grantOf(other)).text, /✅/, 'another teammate has a number of their own');
  });

  test('a failed grant does not count for the monthly limit', async () => {
    product.intercom.addAdmin(WORKSPACE_ID, { id: '7101', name: 'Lucky', email: 'lucky@example.com' });
    await setPolicy(product, { monthlyPerAdmin: 1 });
    const card = await openCustomer(product, { adminId: '7101' });
    const off = product.revenueCat.faults.add({ status: 400, method: 'POST' });
    assert.match((await grantOf(card)).text, /refused this\. Nothing was changed/);
    off();
    assert.match((await grantOf(card)).text, /✅/);
    assert.match((await card.press('grant')).text, /grants? a month/);
    const { database } = product.server.connected;
    await database.query(
      `update actions set state = 'failed', error = 'never_confirmed' where admin->>'id' = '7101'`,
    );
    assert.match((await card.press('grant')).text, /grants? a month/, 'it may have been made');
    const setMadeDaysAgo = (days: number) =>
      database.query(
        `update actions set created_at = now() - make_interval(days => $1) where admin->>'id' = '7101'`,
        [days],
      );
    await setMadeDaysAgo(32);
    assert.doesNotMatch((await card.press('grant')).text, /grants? a month/, 'an earlier month');
    await setMadeDaysAgo(0);
    await database.query(
      `update actions set idempotency_key = 'bulk|' || idempotency_key where admin->>'id' = '7101'`,
    );
    assert.doesNotMatch(
      (await card.press('grant')).text,
      /grants? a month/,
      'a grant to many has its own rules',
    );
  });

  test('of two reviews of the same entitlement confirmed concurrently, one is shown again', async () => {
    const card = await openCustomer(product);
    const first = await review(card, { duration: 'weekly' });
    const second = await review(card, { duration: 'monthly' });
    const all = await Promise.all([first.confirm('grant.confirm'), second.confirm('grant.confirm')]);
    const made = all.filter(({ text }) => /✅/.test(text)).length;
    const held = all.filter(({ text }) => /not confirmed yet|has changed|changed since/.test(text)).length;
    assert.deepEqual([made, held], [1, 1], all.map(({ text }) => text).join('\n---\n'));
    assert.equal(callsFor(product, card.appUserId), 1);
  });

  test('whatever was done to an entitlement since a grant was checked prevents storing that grant', async () => {
    const card = await openCustomer(product);
    const granted = await grantOf(card, { duration: 'weekly' });
    const jobs = { send: async () => {} } as unknown as AppContext['jobs'];
    const { database } = product.server.connected;
    const made = await readAction(database, { workspaceId: WORKSPACE_ID, actionId: grantIdOn(granted) });
    assert.ok(made);
    const storeAfter = async (lastChange: string | null) => {
      const action = { ...made, idempotencyKey: randomUUID(), state: 'requested' } as const;
      const stored = await requestAction({ database, jobs }, action, { lastChange });
      return stored && (stored.isRepeated ? 'known' : 'new');
    };
    assert.equal(await storeAfter(null), null);
    const beforeRemoval = await readLastChange(database, made);
    const removed = await (await granted.press(`revoke:${made.actionId}`)).confirm('revoke.confirm');
    assert.match(removed.text, /removed/);
    assert.equal(await storeAfter(beforeRemoval), null);
    assert.equal(await storeAfter(await readLastChange(database, made)), 'new');
  });

  test('a review older than 30 minutes is shown again', async () => {
    const card = await openCustomer(product);
    const checked = await review(card);
    const confirmAfter = async (minutes: number) => {
      const storedData = agedFormState(product, checked, minutes);
      return textOf((await forge(product, checked, 'grant.confirm', { storedData })).canvas);
    };
    assert.match(await confirmAfter(31), /This review is more than 30 minutes old/);
    assert.equal(callsFor(product, card.appUserId), 0);
    assert.match(await confirmAfter(29), /✅ Pro is granted/);
  });

  test('what changed since the review is shown and confirmed again', async () => {
    const card = await openCustomer(product);
    const checked = await review(card, { duration: 'weekly' });
    give(product, card.appUserId, { store: 'app_store', endsAtMs: Date.now() + 90 * DAY_MS });
    const again = await checked.confirm('grant.confirm');
    assert.match(again.text, /The customer's access has changed since the review/);
    assert.match(again.text, /Adds 7 days: access ends on .+ instead of/);
    assert.equal(callsFor(product, card.appUserId), 0);
    assert.match((await again.confirm('grant.confirm')).text, /✅ Pro is granted/);
  });
});

describe('other teammates and customers', () => {
  test('a review belongs to its teammate, its contact and its customer', async () => {
    const card = await openCustomer(product);
    const checked = await review(card);
    const other = await openCustomer(product);
    const storedData = checked.canvas.stored_data as Record<string, unknown>;
    for (const [what, answer] of [
      ['another teammate', await forge(product, card, 'grant.confirm', { storedData, adminId: SECOND })],
      ['another contact', await forge(product, other, 'grant.confirm', { storedData })],
      [
        'changed data',
        await forge(product, card, 'grant.confirm', {
          storedData: { ...storedData, data: String(storedData.data).replace('monthly', 'yearly') },
        }),
      ],
    ] as const) {
      assert.match(textOf(answer.canvas), /out of date/, what);
    }
    const empty = await forge(product, card, 'grant.confirm', { storedData: {} });
    assert.match(textOf(empty.canvas), /out of date/);
    assert.ok(idsOn(empty.canvas ?? {}).includes('grant'), 'the next step');
    assert.equal(callsFor(product, card.appUserId) + callsFor(product, other.appUserId), 0);
  });

  test('another customer’s grant cannot be seen, extended or removed', async () => {
    const card = await openCustomer(product);
    const id = grantIdOn(await grantOf(card, { reason: 'Secret reason' }));
    const other = await openCustomer(product);
    for (const componentId of [`grant:${id}`, `extend:${id}`, `revoke:${id}`, 'grant:nonsense', "grant:'"]) {
      const answer = await forge(product, other, componentId);
      assert.match(textOf(answer.canvas), /does not belong to this customer/, componentId);
      assert.doesNotMatch(textOf(answer.canvas), /Secret/);
    }
  });
});

describe('many', () => {
  test('entitlements are paged evenly, and the chosen one and all inputs survive', async () => {
    const database = product.server.connected.database;
    const [project] = await database.query<{ project_id: string }>(`select project_id from projects limit 1`);
    for (let index = 1; index <= 10; index += 1) {
      const name = `Extra ${String(index).padStart(2, '0')}`;
      const { id } = product.revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, `extra_${index}`, name);
      await database.query(
        `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
         values ($1, $2, 'entitlement', $3, $4, $5)`,
        [WORKSPACE_ID, project?.project_id, id, `extra_${index}`, name],
      );
    }
    const card = await openCustomer(product);
    const options = (shown: OpenCard) =>
      (component(shown, 'grant.entitlement')?.options ?? []) as { id: string; text: string }[];
    const first = await card.press('grant');
    assert.equal(options(first).length, 5);
    const second = await first.press('grant.page:1', { 'grant.reason': 'Kept', 'grant.end': '2027-05-05' });
    assert.equal(options(second).length, 6);
    assert.equal(component(second, 'grant.reason')?.value, 'Kept');
    assert.equal(component(second, 'grant.end')?.value, '2027-05-05');
    assert.equal(new Set([...options(first), ...options(second)].map(({ id }) => id)).size, 11);
    const chosen = options(second).find(({ text }) => text === 'Extra 09');
    const checked = await review(second, { entitlement: chosen?.id ?? '', duration: 'weekly', end: '' });
    assert.match(checked.text, /Will get: \*\*Extra 09 until/);
    const changed = await checked.press('action.change');
    assert.equal(component(changed, 'grant.entitlement')?.value, chosen?.id);
    assert.equal(component(changed, 'grant.duration')?.value, 'weekly');
    await database.query(`delete from catalog where lookup_key like 'extra%'`);
  });

  test('entitlements that share a name are shown with their keys', async () => {
    const { database } = product.server.connected;
    for (const key of ['same_ios', 'same_web']) {
      const { id } = product.revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, key, 'Premium');
      await database.query(
        `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
         select $1, project_id, 'entitlement', $2, $3, 'Premium' from projects where workspace_id = $1`,
        [WORKSPACE_ID, id, key],
      );
    }
    const form = await (await openCustomer(product)).press('grant');
    const options = (component(form, 'grant.entitlement')?.options ?? []) as { id: string; text: string }[];
    assert.deepEqual(
      options.map(({ text }) => text),
      ['Premium (same_ios)', 'Premium (same_web)', 'Pro'],
    );
    const checked = await review(form, { entitlement: options[1]?.id ?? '', duration: 'weekly' });
    assert.match(checked.text, /Will get: \*\*Premium \(same\\?_web\) until/);
    await database.query(`delete from catalog where lookup_key like 'same%'`);
  });

  test('entitlements that were archived or deleted are not offered, and their grants can be removed', async () => {
    const project = product.revenueCat.state.projects.get(REVENUECAT_PROJECT_ID);
    const pro = project?.entitlements.find(({ lookupKey }) => lookupKey === 'pro');
    assert.ok(project && pro);
    const removeOthers = () => project.entitlements.splice(0, Number.POSITIVE_INFINITY, pro);
    removeOthers();
    const card = await openCustomer(product);
    // An unknown entitlement makes the app read all of them again.
    const offeredWith = async (key: string) => {
      product.revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, key, `Once ${key}`);
      give(product, card.appUserId, { entitlement: key, endsAtMs: Date.now() + 5 * DAY_MS });
      await (await openAgain(product, card)).press('refresh');
      const form = await (await openAgain(product, card)).press('grant');
      const options = (component(form, 'grant.entitlement')?.options ?? []) as { text: string }[];
      return options.map(({ text }) => text);
    };
    await offeredWith('archived');
    assert.deepEqual(await offeredWith('deleted'), ['Once archived', 'Once deleted', 'Pro']);
    const archived = project.entitlements.find(({ lookupKey }) => lookupKey === 'archived');
    assert.ok(archived);
    archived.state = 'inactive';
    project.entitlements.splice(0, Number.POSITIVE_INFINITY, pro, archived);
    assert.deepEqual(await offeredWith('new'), ['Once new', 'Pro']);
    const grants = await (await openAgain(product, card)).press('grants');
    for (const name of ['archived', 'new']) assert.match(grants.text, new RegExp(`Once ${name}`));
    const shown = await grants.press(`grant:revenuecat/archived`);
    assert.ok(idsOn(shown.canvas).includes('revoke:revenuecat/archived'), shown.text);
    removeOthers();
    await product.server.connected.database.query(`delete from catalog where lookup_key <> 'pro'`);
  });

  test('the history is paged, newest first, in both directions', async () => {
    const card = await openCustomer(product);
    const made = grantIdOn(await grantOf(card));
    const database = product.server.connected.database;
    await database.query(
      `insert into actions (workspace_id, action_id, project_id, subscriber_id, app_user_id, target,
                           lookup_key, duration, requested_end_at, reason, idempotency_key, admin, state, created_at)
       select workspace_id, gen_random_uuid(), project_id, subscriber_id, app_user_id, target, lookup_key,
              'monthly', now() - n * interval '40 days', 'Old ' || n, gen_random_uuid()::text, admin, 'confirmed',
              now() - n * interval '41 days'
         from actions, generate_series(1, 24) n where action_id::text = $1`,
      [made],
    );
    const ids = (shown: OpenCard) => idsOn(shown.canvas).filter((id) => id.startsWith('grant:'));
    const first = await (await openAgain(product, card)).press('grants');
    const pages = (shown: OpenCard) => idsOn(shown.canvas).filter((id) => id.startsWith('grants.page:'));
    const second = await first.press('grants.page:1');
    const third = await second.press('grants.page:2');
    assert.deepEqual([ids(first).length, ids(second).length, ids(third).length], [10, 10, 5]);
    assert.equal(ids(first)[0], `grant:${made}`);
    assert.equal(new Set([first, second, third].flatMap(ids)).size, 25);
    assert.deepEqual(pages(third), ['grants.page:1']);
    assert.deepEqual(ids(await third.press('grants.page:1')), ids(second));
    assert.deepEqual(pages(second), ['grants.page:0', 'grants.page:2']);
    const back = await second.press('grants.page:0');
    assert.deepEqual(ids(back), ids(first));
    assert.deepEqual(pages(back), ['grants.page:1']);
    const { canvas: forged } = await forge(product, card, 'grants.page:-1');
    assert.ok(forged);
    assert.deepEqual(idsOn(forged), idsOn(first.canvas));
    const old = await second.press(ids(second)[3] ?? '');
    assert.match(old.text, /The grant of pro ended on/);
    assert.ok(!idsOn(old.canvas).some((id) => id.startsWith('revoke:')));
  });

  // Runs last, because its entitlements stay in the catalog.
  test('a customer with hundreds of grants with long names: every canvas is drawn, and the list is paged', async () => {
    const database = product.server.connected.database;
    const name = (index: number) => `Many ${index} ${'long name '.repeat(40)}`;
    // All exist before the card is opened: a background read of the catalog drops rows that RevenueCat does not list.
    const many = Array.from({ length: 150 }, (_, index) => ({
      key: `many_${index}`,
      name: name(index),
      ...product.revenueCat.addEntitlement(REVENUECAT_PROJECT_ID, `many_${index}`, name(index)),
    }));
    await database.query(
      `insert into catalog (workspace_id, project_id, kind, id, lookup_key, display_name)
       select $1, p.project_id, 'entitlement', e.id, e.lookup_key, e.name
         from projects p, unnest($2::text[], $3::text[], $4::text[]) as e (id, lookup_key, name)
        where p.workspace_id = $1
       on conflict do nothing`,
      [WORKSPACE_ID, many.map(({ id }) => id), many.map(({ key }) => key), many.map((each) => each.name)],
    );
    const card = await openCustomer(product);
    for (const { key } of many)
      give(product, card.appUserId, { entitlement: key, endsAtMs: Date.now() + 5 * DAY_MS });
    const overview = await card.press('refresh');
    const details = await overview.press('details');
    const first = await details.press('grants');
    const ids = (shown: OpenCard) => idsOn(shown.canvas).filter((id) => id.startsWith('grant:'));
    const second = await first.press('grants.page:1');
    assert.deepEqual([ids(first).length, ids(second).length], [10, 10]);
    assert.equal(new Set([...ids(first), ...ids(second)]).size, 20);
    const checked = await review(await overview.press('grant'), { duration: 'weekly' });
    assert.match(checked.text, /Current access: Many/);
    assert.match((await checked.confirm('grant.confirm')).text, /✅/);
  });
});

async function forgeOn(card: OpenCard, componentId: string): Promise<{ text: string }> {
  const answer = await forge(product, card, componentId, {
    inputs: { 'grant.duration': 'monthly', 'grant.reason': 'x' },
  });
  return { text: textOf(answer.canvas) };
}
