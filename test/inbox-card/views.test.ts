import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LANGUAGES } from '../../src/i18n/languages.ts';
import type { Component } from '../../src/intercom/canvas.ts';
import { pressableIds } from '../../src/simulator/intercom/canvas-rules.ts';
import { STORY_NAMES } from '../../src/simulator/revenuecat/scenarios.ts';
import { DAY_MS } from '../../src/time.ts';
import { give } from '../grants/support.ts';
import { MAX_FIRST_CANVAS_PX, useCardHeights } from '../support/card-height.ts';
import { eventBody } from '../support/events.ts';
import { createProduct, type Product } from '../support/product.ts';
import { until } from '../support/wait.ts';
import { setSettings, WORKSPACE_ID } from '../support/world.ts';
import { forge, idsOn, type OpenCard, openAgain, openFor, send, settled, tell } from './support.ts';

const [FIRST_STORY] = STORY_NAMES;

const DATE = '[A-Z][a-z]{2} \\d{1,2}, \\d{4}';

/** What a support lead would say about each story; dates are in the workspace's time zone. */
const SENTENCES: Readonly<Record<(typeof STORY_NAMES)[number], RegExp>> = {
  active_monthly: new RegExp(`^Pro, \\$9\\.99 a month\\. Next charge ${DATE}\\.$`, 'm'),
  long_history: new RegExp(`^Pro, \\$9\\.99 a month\\. Next charge ${DATE}\\.$`, 'm'),
  google_monthly: new RegExp(`^Pro, \\$9\\.99 a month\\. Next charge ${DATE}\\.$`, 'm'),
  web_monthly: new RegExp(`^Pro, \\$9\\.99 a month\\. Next charge ${DATE}\\.$`, 'm'),
  stripe_monthly: new RegExp(`^Pro, \\$9\\.99 a month\\. Next charge ${DATE}\\.$`, 'm'),
  trial: new RegExp(`^Pro, free trial until ${DATE}\\. Then it renews and is charged\\.$`, 'm'),
  trial_cancelled: new RegExp(
    `^Pro, free trial, cancelled\\. Access until ${DATE}\\. Will not be charged\\.$`,
    'm',
  ),
  cancelled: new RegExp(`^Pro, cancelled on ${DATE}\\. Access until ${DATE}\\. No further charge\\.$`, 'm'),
  grace_period: new RegExp(
    `^Payment failed on ${DATE}\\. Still has Pro until ${DATE} while Apple retries the card\\.$`,
    'm',
  ),
  expired_by_billing: new RegExp(
    `^No access since ${DATE}: payment failed\\. Had Pro, \\$9\\.99 a month\\.$`,
    'm',
  ),
  refunded: new RegExp(`^Refunded \\$9\\.99 on ${DATE}\\. No access since then\\.$`, 'm'),
  granted: new RegExp(`^Pro, granted until ${DATE}\\. Not paying\\.$`, 'm'),
  paused: new RegExp(`^Paused since ${DATE}\\. Resumes and charges \\$9\\.99 on ${DATE}\\.$`, 'm'),
  several: new RegExp(
    `^Team \\(monthly, Stripe\\) and Pro \\(yearly, App Store\\)\\. Next charge \\$14\\.00 on ${DATE}\\.$`,
    'm',
  ),
  sandbox_only: /^Only test purchases \(sandbox\)\. This customer has not paid for anything\.$/m,
  no_purchases: /^No purchases of this customer are known here\.$/m,
};

const GRANTED_FOR_LONGER = {
  type: 'NON_RENEWING_PURCHASE',
  store: 'PROMOTIONAL',
  period_type: 'PROMOTIONAL',
  product_id: 'rc_promo_pro_custom',
  price: 0,
  price_in_purchased_currency: 0,
  transaction_id: 'g',
  original_transaction_id: 'g',
  event_timestamp_ms: Date.now() - 2 * DAY_MS,
  purchased_at_ms: Date.now() - 2 * DAY_MS,
  expiration_at_ms: Date.now() + 80 * DAY_MS,
};

/** The headline's status mark, for the stories that have one. */
const MARKS: Readonly<Record<string, string>> = {
  active_monthly: '✅',
  google_monthly: '✅',
  web_monthly: '✅',
  stripe_monthly: '✅',
  long_history: '✅',
  trial: '✅',
  granted: '✅',
  several: '✅',
  trial_cancelled: '⚠️',
  cancelled: '⚠️',
  grace_period: '⚠️',
  expired_by_billing: '⛔',
  refunded: '⛔',
  paused: '⏸',
};

/** Without the fields that are missing in RevenueCat's own sample event. */
const NAMELESS = {
  type: 'TEMPORARY_ENTITLEMENT_GRANT',
  product_id: undefined,
  entitlement_ids: undefined,
  period_type: undefined,
  purchased_at_ms: undefined,
  expiration_at_ms: undefined,
  event_timestamp_ms: Date.now() - DAY_MS / 2,
};

/** A month of Team whose renewal has been due since yesterday. */
const UNPAID = {
  product_id: 'team_monthly',
  entitlement_ids: ['team'],
  store: 'STRIPE',
  transaction_id: 't',
  original_transaction_id: 't',
  purchased_at_ms: Date.now() - 31 * DAY_MS,
  expiration_at_ms: Date.now() - DAY_MS,
};

function firstPurchaseOn({ canvas }: OpenCard): string {
  return idsOn(canvas).find((id) => id.startsWith('subscription:')) ?? '';
}

const CHANGES_SOMETHING = /^(grant\.|revoke|match\.confirm|unlink|refresh|share|grant$)/;

/** Every kind of canvas that can be reached without changing anything, each checked by Intercom's rules on its way. */
async function crawl(card: OpenCard, skip = /^$/): Promise<Map<string, string>> {
  const seen = new Map<string, string>();
  const open: OpenCard[] = [card];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    for (const id of pressableIds(next.canvas)) {
      const kind = id.replace(/:.*/, ':');
      if (CHANGES_SOMETHING.test(id) || seen.has(kind) || skip.test(id)) continue;
      const shown = await next.press(id);
      seen.set(kind, shown.text);
      if (id !== 'home') assert.ok(idsOn(shown.canvas).includes('home'), `${id} has a way back`);
      open.push(shown);
    }
  }
  return seen;
}

describe('the card of each sample customer', () => {
  const heightsOf = useCardHeights();
  let product: Product;
  before(async () => {
    product = await createProduct();
    for (const story of STORY_NAMES) {
      await tell(product, story, { appUserId: `user_${story}`, email: `${story}@example.com` });
    }
    // Product names come from the first read of RevenueCat's API, not from events.
    const card = await openFor(product, { externalId: 'user_several' });
    await until(async () => {
      await card.press('refresh');
      return /^Subscribed \| Pro Yearly · /m.test((await card.press('timeline')).text);
    }, 'the names of products');
  });
  after(() => product?.close());

  for (const story of STORY_NAMES) {
    test(`${story}: says what most tickets ask, and every view obeys the rules`, async () => {
      const card = await openFor(product, { externalId: `user_${story}` });
      assert.match(card.text, SENTENCES[story]);
      for (const id of ['timeline', 'grant', 'details', 'refresh', 'share']) {
        assert.ok(idsOn(card.canvas).includes(id), `${id} is on the overview`);
      }
      const seen = await crawl(card);
      for (const view of ['timeline', 'event:', 'details', 'match', 'home']) {
        assert.ok(seen.has(view), `${view} was seen; seen: ${[...seen.keys()]}`);
      }
      assert.match(seen.get('details') ?? '', new RegExp(`^user_${story}$`, 'm'));
    });
  }

  test("sharing puts the customer's own card into the reply, unless the contact is only a lead", async () => {
    const card = await openFor(product, { externalId: 'user_trial' });
    assert.deepEqual((await card.press('share')).answer.cardCreationOptions, { card: 'subscription' });
    const lead = await openFor(product, { role: 'lead', externalId: 'user_trial' });
    const refused = await forge(product, lead, 'share');
    assert.deepEqual([refused.problems, refused.cardCreationOptions], [[], null]);
    assert.ok(idsOn(refused.canvas ?? {}).includes('home'));
  });

  // A text that is hard-coded is English in every language, so each story is crawled in only one other language.
  for (const [number, language] of LANGUAGES.entries()) {
    test(`in ${language} each first canvas has its mark and at most 400 px, and no view that is drawn is English`, async () => {
      await setSettings(product, { card: { language } });
      try {
        const canvases: OpenCard['canvas'][] = [];
        for (const [index, story] of STORY_NAMES.entries()) {
          const card = await openFor(product, { externalId: `user_${story}` });
          canvases.push(card.canvas);
          const components = (card.canvas.content?.components ?? []) as Component[];
          const [headline] = components;
          const mark = MARKS[story] ? `${MARKS[story]} ` : '';
          const shown = headline?.type === 'text' ? headline.text : '';
          assert.ok(shown.startsWith(`${mark}**`), `${story}: ${shown}`);
          assert.match(card.text, new RegExp(`^user_${story} · `, 'm'));
          assert.match(JSON.stringify(components), /\(https:\/\/app\.revenuecat\.com\//);
          assert.ok(idsOn(card.canvas).includes('share'), `${story} in ${language}`);
          if (story !== 'granted') assert.ok(!idsOn(card.canvas).includes('grants'), 'there are none');
          if (language === 'en') continue;
          const isCrawled = story === FIRST_STORY || index % (LANGUAGES.length - 1) === number - 1;
          // The grant views' texts have their own tests, and the search's texts do not depend on the customer.
          const skip = story === FIRST_STORY ? /^grant/ : /^(grant|match|home)/;
          const seen = isCrawled ? await crawl(card, skip) : new Map<string, string>();
          const all = [card.text, ...seen.values()].join('\n');
          const english =
            /\b(Next charge|Renewed|Subscribed|Customer details|Refresh|Back|Paid so far|First seen|access|until|since|Search)\b/;
          assert.equal(english.exec(all)?.[0], undefined, `${story}: ${english.exec(all)?.[0]}`);
        }
        for (const [index, px] of (await heightsOf(canvases)).entries())
          assert.ok(px <= MAX_FIRST_CANVAS_PX, `${STORY_NAMES[index]}: ${px} px`);
      } finally {
        await setSettings(product, {});
      }
    });
  }

  test('however long the names of many subscriptions are, the first canvas stays low', async () => {
    const app_user_id = `long_names_${'w'.repeat(60)}`;
    const names = ['Premium Family Unlimited', 'Cloud Storage Professional', 'Video Export in Every Format'];
    for (const [n, name] of names.entries()) {
      const bought = {
        app_user_id,
        original_app_user_id: app_user_id,
        aliases: [app_user_id],
        store: 'PLAY_STORE',
        entitlement_ids: [name],
        product_id: `${name}, with everything that there is`,
        transaction_id: `long-${n}`,
        original_transaction_id: `long-${n}`,
        event_timestamp_ms: Date.now() - 10 * DAY_MS,
        purchased_at_ms: Date.now() - 10 * DAY_MS,
        expiration_at_ms: Date.now() + (20 + n) * DAY_MS,
      };
      await send(product, { ...eventBody({ ...bought, id: `long-${n}` }), type: 'INITIAL_PURCHASE' });
      const change = {
        id: `long-change-${n}`,
        event_timestamp_ms: Date.now() - DAY_MS,
        new_product_id: `${names[2 - n]}, with everything that there is`,
      };
      await send(product, { ...eventBody({ ...bought, ...change }), type: 'PRODUCT_CHANGE' });
    }
    try {
      for (const language of LANGUAGES) {
        await setSettings(product, { card: { language } });
        const { canvas } = await openFor(product, { externalId: app_user_id });
        const [px = Number.NaN] = await heightsOf([canvas]);
        assert.ok(px <= MAX_FIRST_CANVAS_PX, `${language}: ${px} px`);
        for (const id of ['timeline', 'details', 'grant', 'refresh'])
          assert.ok(idsOn(canvas).includes(id), id);
      }
    } finally {
      await setSettings(product, {});
    }
  });

  test('Refresh shows the overview again', async () => {
    const card = await openFor(product, { externalId: 'user_active_monthly' });
    const refreshed = await card.press('refresh');
    assert.deepEqual(idsOn(refreshed.canvas), [...idsOn(card.canvas), 'home']);
    assert.deepEqual(idsOn(refreshed.canvas), idsOn((await refreshed.press('refresh')).canvas));
  });

  test('Refresh and a review name a secret that no key decrypts, and not RevenueCat, as the cause', async () => {
    const { database } = product.server.connected;
    const card = await openFor(product, { externalId: 'user_active_monthly' });
    await card.press('refresh');
    const [project] = await database.query<{ project_id: string; api_key: string }>(
      'select project_id, api_key from projects',
    );
    await database.query(`update projects set api_key = 'v1.lost.key'`);
    assert.match(
      (await card.press('refresh')).text,
      /cannot decrypt a secret.*must add the missing encryption key/,
    );
    const form = await card.press('grant');
    const inputs = { 'grant.duration': 'monthly', 'grant.reason': 'An outage' };
    assert.match(
      (await form.press('grant.review', inputs)).text,
      /cannot decrypt the RevenueCat API key\. Nothing/,
    );
    await database.query('update projects set api_key = $1', [project?.api_key]);

    await database.query(
      `insert into erased_ids (workspace_id, project_id, id_hash, customer, erased_by)
       values ($1, $2, 'hash', gen_random_uuid(), '{}')`,
      [WORKSPACE_ID, project?.project_id],
    );
    await database.query(`update workspaces set erasure_key = 'v1.lost.key'`);
    assert.match((await card.press('refresh')).text, /cannot decrypt a secret/);
    await database.query(`update workspaces set erasure_key = null`);
    await database.query(`delete from erased_ids`);
    await database.query(`delete from audit_log where result = 'refused: secret_unreadable'`);
  });

  /** Situations that no sample customer is in, made from single events. */
  const SITUATIONS: readonly (readonly [
    what: string,
    sentence: RegExp,
    events: Record<string, unknown>[],
  ])[] = [
    [
      'bought for life',
      /^Pro, bought once, for life\. No further charge\.$/m,
      [{ type: 'NON_RENEWING_PURCHASE', expiration_at_ms: null }],
    ],
    [
      'consumables',
      /^No subscription\. Made one-time purchases\.$/m,
      [
        {
          type: 'NON_RENEWING_PURCHASE',
          expiration_at_ms: null,
          entitlement_ids: null,
          product_id: 'coins_100',
        },
      ],
    ],
    [
      'a yearly price',
      /^Pro, \$9\.99 a year\. Next charge/m,
      [
        {
          type: 'INITIAL_PURCHASE',
          purchased_at_ms: Date.now() - 265 * DAY_MS,
          expiration_at_ms: Date.now() + 100 * DAY_MS,
        },
      ],
    ],
    [
      'a price in another currency',
      /^Pro, ¥500 a month\. Next charge/m,
      [{ type: 'INITIAL_PURCHASE', currency: 'JPY', price: 3.2, price_in_purchased_currency: 500 }],
    ],
    [
      'an introductory price',
      /^Pro, introductory price \$1\.99\. Next charge/m,
      [{ type: 'INITIAL_PURCHASE', period_type: 'INTRO', price: 1.99, price_in_purchased_currency: 1.99 }],
    ],
    [
      'family sharing',
      /^Pro, through family sharing\. Another family member pays; this customer is never charged\.$/m,
      [{ type: 'INITIAL_PURCHASE', is_family_share: true }],
    ],
    [
      'a card that failed without grace',
      /^Payment failed on .+\. Still has Pro until .+ while Google retries the card\.$/m,
      [
        { type: 'INITIAL_PURCHASE', store: 'PLAY_STORE' },
        {
          type: 'CANCELLATION',
          store: 'PLAY_STORE',
          cancel_reason: 'BILLING_ERROR',
          event_timestamp_ms: Date.now() - DAY_MS,
        },
      ],
    ],
    [
      'a pause that is announced',
      /^Pro until .+, then paused until .+\. No charge while paused\.$/m,
      [
        { type: 'INITIAL_PURCHASE', store: 'PLAY_STORE' },
        {
          type: 'SUBSCRIPTION_PAUSED',
          store: 'PLAY_STORE',
          event_timestamp_ms: Date.now() - DAY_MS,
          auto_resume_at_ms: Date.now() + 60 * DAY_MS,
        },
      ],
    ],
    [
      'a change of plan',
      /^Pro, \$9\.99 a month\. Next charge .+\. Changes to Pro Yearly at the next renewal\.$/m,
      [
        { type: 'INITIAL_PURCHASE' },
        { type: 'PRODUCT_CHANGE', new_product_id: 'pro_yearly', event_timestamp_ms: Date.now() - DAY_MS },
      ],
    ],
    [
      'a grant beside a subscription',
      /^Pro, \$9\.99 a month\. Next charge .+\. Team granted until .+\.$/m,
      [
        { type: 'INITIAL_PURCHASE' },
        {
          type: 'NON_RENEWING_PURCHASE',
          store: 'PROMOTIONAL',
          period_type: 'PROMOTIONAL',
          entitlement_ids: ['team'],
          product_id: 'rc_promo_team_custom',
          price: 0,
          price_in_purchased_currency: 0,
          transaction_id: 'g',
          original_transaction_id: 'g',
        },
      ],
    ],
    [
      'a lifetime grant',
      /^Pro, granted for life\. Not paying\.$/m,
      [
        {
          type: 'NON_RENEWING_PURCHASE',
          store: 'PROMOTIONAL',
          period_type: 'PROMOTIONAL',
          price: 0,
          price_in_purchased_currency: 0,
          expiration_at_ms: Date.UTC(2226, 0, 1),
        },
      ],
    ],
    [
      'an extension that was given for free',
      /^Pro, \$9\.99 a month\. Next charge .+\.$/m,
      [
        { type: 'INITIAL_PURCHASE' },
        {
          type: 'SUBSCRIPTION_EXTENDED',
          event_timestamp_ms: Date.now() - DAY_MS,
          expiration_at_ms: Date.now() + 50 * DAY_MS,
        },
      ],
    ],
    [
      'a grant of the same for longer',
      /^Pro, \$9\.99 a month\. Next charge .+\. Pro granted until .+\.$/m,
      [{ type: 'INITIAL_PURCHASE' }, GRANTED_FOR_LONGER],
    ],
    [
      'a grant that outlasts what was cancelled',
      new RegExp(`^Pro, cancelled on ${DATE}\\. No further charge\\. Pro granted until ${DATE}\\.$`, 'm'),
      [
        { type: 'INITIAL_PURCHASE' },
        { type: 'CANCELLATION', cancel_reason: 'UNSUBSCRIBE', event_timestamp_ms: Date.now() - DAY_MS },
        GRANTED_FOR_LONGER,
      ],
    ],
    [
      'one of several that could not be charged',
      new RegExp(
        `^Payment for Team failed on ${DATE}\\. Pro \\(monthly, App Store\\) and Team \\(monthly, Stripe, grace period until ${DATE}\\)\\. Next charge \\$9\\.99 on ${DATE}\\.$`,
        'm',
      ),
      [
        { type: 'INITIAL_PURCHASE' },
        { type: 'INITIAL_PURCHASE', ...UNPAID },
        {
          type: 'BILLING_ISSUE',
          ...UNPAID,
          event_timestamp_ms: Date.now() - DAY_MS,
          grace_period_expiration_at_ms: Date.now() + 10 * DAY_MS,
        },
      ],
    ],
    [
      'a grant that was removed from a customer who paid before',
      new RegExp(`^No access since ${DATE}\\. Pro had been granted\\.$`, 'm'),
      [
        { type: 'INITIAL_PURCHASE', expiration_at_ms: Date.now() - 9 * DAY_MS },
        GRANTED_FOR_LONGER,
        {
          ...GRANTED_FOR_LONGER,
          type: 'CANCELLATION',
          cancel_reason: 'DEVELOPER_INITIATED',
          event_timestamp_ms: Date.now() - DAY_MS,
        },
      ],
    ],
    [
      'temporary access that names no product',
      new RegExp(`^Access, temporarily until ${DATE}: the store has not confirmed`, 'm'),
      [NAMELESS],
    ],
    [
      'a grant that has ended',
      /^No access since .+\. Pro had been granted; never paid\.$/m,
      [
        {
          type: 'NON_RENEWING_PURCHASE',
          store: 'PROMOTIONAL',
          period_type: 'PROMOTIONAL',
          price: 0,
          price_in_purchased_currency: 0,
          expiration_at_ms: Date.now() - DAY_MS,
        },
      ],
    ],
  ];
  for (const [what, sentence, events] of SITUATIONS) {
    test(`${what}: the sentence says so`, async () => {
      const id = `situation_${what.replaceAll(/\W/g, '_')}`;
      for (const [n, fields] of events.entries()) {
        const body = eventBody({
          id: `${id}-${n}`,
          app_user_id: id,
          original_app_user_id: id,
          aliases: [id],
          transaction_id: id,
          original_transaction_id: id,
          event_timestamp_ms: Date.now() - 10 * DAY_MS,
          purchased_at_ms: Date.now() - 10 * DAY_MS,
          expiration_at_ms: Date.now() + 20 * DAY_MS,
          ...fields,
        });
        await send(product, { ...body, type: String(body.type) });
      }
      const card = await openFor(product, { externalId: id });
      assert.match(card.text, sentence);
    });
  }

  test('the overview shows the last three events, and when RevenueCat was last read', async () => {
    for (const story of ['grace_period', 'refunded', 'trial_cancelled'] as const) {
      const card = await openFor(product, { externalId: `user_${story}` });
      const home = await card.press('refresh');
      assert.match(home.text, new RegExp(`^Refresh · ${DATE} at \\d{1,2}:\\d{2}[AP]M$`, 'm'));
      const [, count = '', latest = ''] = /^Timeline · (\d+) events? \| (.+)$/m.exec(home.text) ?? [];
      assert.equal(latest.split(' · ').length, Math.min(3, Number(count)), home.text);
    }
  });

  test('with a grant next to a subscription, the card can still be shared and shows three events', async () => {
    const id = 'paying_and_granted';
    await tell(product, 'active_monthly', { appUserId: id });
    give(product, id, { entitlement: 'team', endsAtMs: Date.now() + 7 * DAY_MS });
    const home = await (await openFor(product, { externalId: id })).press('refresh');
    assert.match(home.text, /granted until/);
    for (const each of ['timeline', 'grant', 'grants', 'details', 'refresh', 'share'])
      assert.ok(idsOn(home.canvas).includes(each), `${each} is on the overview`);
    assert.match(home.text, /^Timeline · 3 events \| .+ · .+ · .+$/m);
  });

  test('the language is the teammate’s, not the customer’s', async () => {
    const opened = await openFor(product, { externalId: 'user_active_monthly' });
    assert.match(opened.text, /Next charge/);
    await setSettings(product, { card: { language: 'fr' } });
    assert.match((await openAgain(product, opened)).text, /Prochain débit le \d{1,2} \S+ \d{4}\./);
    await setSettings(product, {});
  });

  test('details show the ids whole and where the customer was seen, and lead to all facts of a subscription', async () => {
    const { database } = product.server.connected;
    const card = await openFor(product, { externalId: 'user_active_monthly' });
    const refreshed = await card.press('refresh');
    const details = await refreshed.press('details');
    const page = await details.press(firstPurchaseOn(details));
    const lines: readonly (readonly [OpenCard, string])[] = [
      [page, '**Pro Monthly**'],
      [page, 'Status: Active'],
      [page, 'Entitlement: Pro'],
      [page, 'Store: App Store'],
      [page, 'Price: $9.99 a month'],
      [page, 'Renewals: 2'],
      [page, 'Paid so far: $29.97'],
      [details, 'user_active_monthly'],
      [details, 'Email: active_monthly@example.com'],
      [details, 'Lifetime value: $29.97'],
      [details, 'Country: US'],
      [details, 'Platform: iOS'],
    ];
    for (const [{ text }, line] of lines) assert.ok(text.split('\n').includes(line), `${line}\nin\n${text}`);
    const technical = await details.press('technical');
    assert.match(technical.text, /^Other IDs\n\$RCAnonymousID:[0-9a-f]{32}$/m);
    assert.doesNotMatch(technical.text, /no technical details/);
    assert.match(technical.text, /^First seen: [A-Z]/m);
    assert.match(technical.text, /^\$email: active_monthly@example\.com$/m);
    assert.match(details.text, /^Updated: \w{3} \d{1,2}, \d{4} at \d{1,2}:\d{2}[AP]M$/m);
    const links = (details.canvas.content?.components ?? []).flatMap((each) =>
      each.type === 'button' && each.action.type === 'url' ? [each.action.url] : [],
    );
    assert.deepEqual(links, ['https://app.revenuecat.com/projects/test1/customers/user_active_monthly']);
    assert.deepEqual(
      await database.query(`select * from audit_log where action not in ('installed', 'signed_in')`),
      [],
      'looking is not recorded',
    );
  });

  test('an event without a product, and a refund of an unknown purchase, are shown as what they are', async () => {
    const of = (id: string, fields: Record<string, unknown>) =>
      send(product, {
        ...eventBody({ app_user_id: id, original_app_user_id: id, aliases: [id], ...fields }),
        id,
        type: String(fields.type),
      });
    await of('user_nameless', NAMELESS);
    const nameless = await openFor(product, { externalId: 'user_nameless' });
    assert.match(nameless.text, /^App Store · \[Open in RevenueCat\]/m);
    const unnamed = await nameless.press('details');
    assert.match(unnamed.text, /^Purchase \| App Store/m);
    assert.match((await unnamed.press(firstPurchaseOn(unnamed))).text, /^\*\*Purchase\*\*$/m);
    await of('user_refund_alone', {
      type: 'CANCELLATION',
      cancel_reason: 'CUSTOMER_SUPPORT',
      price: -9.99,
      price_in_purchased_currency: -9.99,
      purchased_at_ms: Date.now() - 9 * DAY_MS,
      expiration_at_ms: Date.now() + 9 * DAY_MS,
      event_timestamp_ms: Date.now() - DAY_MS,
      transaction_id: 'refund-alone',
      original_transaction_id: 'refund-alone',
    });
    const refund = await openFor(product, { externalId: 'user_refund_alone' });
    assert.match(refund.text, /^Refunded \$9\.99 on /m);
    const details = await refund.press('details');
    const page = await details.press(firstPurchaseOn(details));
    for (const { text } of [refund, page]) assert.doesNotMatch(text, /Paid so far/);
  });

  test('what was granted elsewhere is listed with what was bought, and its page leads to the grants', async () => {
    const card = await openFor(product, { externalId: 'user_granted' });
    const details = await card.press('details');
    assert.match(details.text, /^Pro \| granted · Ends: /m);
    const page = await details.press(firstPurchaseOn(details));
    assert.match(page.text, /^Status: /m);
    assert.ok(idsOn(page.canvas).includes('grants'));
    assert.doesNotMatch(page.text, /turned off/, 'no store has actions for it');
  });

  test('of many subscriptions the details list twenty and count the rest', async () => {
    const event = (n: number) =>
      eventBody({
        id: `many-${n}`,
        app_user_id: 'user_many',
        original_app_user_id: 'user_many',
        aliases: ['user_many'],
        product_id: `plan_${n}`,
        transaction_id: `many-${n}`,
        original_transaction_id: `many-${n}`,
        purchased_at_ms: Date.now() - (40 + n) * DAY_MS,
        expiration_at_ms: Date.now() - (10 + n) * DAY_MS,
        event_timestamp_ms: Date.now() - (40 + n) * DAY_MS,
      });
    for (let n = 0; n < 25; n += 1) await send(product, { ...event(n), type: 'INITIAL_PURCHASE' });
    const details = await (await openFor(product, { externalId: 'user_many' })).press('details');
    assert.equal(details.text.match(/^Plan \d+ \| App Store · Ended: /gm)?.length, 20);
    assert.match(details.text, /^and 5 more$/m);
  });

  test('names, ids and attributes of any length and content fit in a canvas and are shown as they are', async () => {
    const nasty = `**bold** [click](https://evil.example) __x__ <3 ${'ß'.repeat(5_000)}`;
    const id = 'user_**x** [a](https://evil.example)';
    const [event] = await tell(product, 'active_monthly', { appUserId: id });
    const customer = product.revenueCat.state.projects.get('projtest1')?.customers.get(id);
    for (let n = 0; n < 60; n += 1) {
      customer?.attributes.set(`field_${n}`, { value: nasty, updatedAtMs: Date.now() });
    }
    await send(product, {
      ...event,
      type: 'RENEWAL',
      id: 'nasty',
      product_id: nasty,
      event_timestamp_ms: Date.now(),
      expiration_at_ms: Date.now() + DAY_MS,
      purchased_at_ms: Date.now(),
      offer_code: nasty,
      ...Object.fromEntries(Array.from({ length: 80 }, (_, n) => [`extra_${n}`, nasty])),
    });
    const card = await openFor(product, { externalId: id });
    const details = await (await card.press('refresh')).press('details');
    await details.press('home');
    const timeline = await card.press('timeline');
    const detail = await timeline.press('event:nasty');
    const technical = await detail.press('technical:nasty');
    assert.ok((technical.text.match(/^extra_\d+: /gm)?.length ?? 0) <= 20);
    for (const { canvas } of [card, details, timeline, detail, technical]) {
      for (const each of canvas.content?.components ?? []) {
        if (each.type !== 'text') continue;
        const links = [...each.text.matchAll(/\]\((https?:[^)]*)\)/g)].map((match) => match[1]);
        assert.ok(
          links.every((link) => /^https:\/\/app\.revenuecat\.com\//.test(link ?? '')),
          each.text,
        );
      }
    }
  });

  test('the name of an unknown store is no link', async () => {
    const id = 'user_unknown_store';
    const store = '[click](https://evil.example)';
    await send(
      product,
      eventBody({
        type: 'INITIAL_PURCHASE',
        app_user_id: id,
        original_app_user_id: id,
        aliases: [id],
        store,
        event_timestamp_ms: Date.now() - DAY_MS,
        purchased_at_ms: Date.now() - DAY_MS,
        expiration_at_ms: Date.now() + DAY_MS,
      }) as never,
    );
    const { text } = await openFor(product, { externalId: id });
    assert.match(text, /click/i);
    assert.doesNotMatch(text, /\]\(https:\/\/evil/i);
  });

  test('a card opens for a customer with thousands of events without reading them', async () => {
    const { database } = product.server.connected;
    const [base] = await tell(product, 'active_monthly', { appUserId: 'user_heavy' });
    const [row] = await database.query<{ subscriber_id: string; project_id: string }>(
      `select subscriber_id, project_id from subscriber_ids where workspace_id = $1 and app_user_id = 'user_heavy'`,
      [WORKSPACE_ID],
    );
    await database.query(
      `insert into events (workspace_id, project_id, event_id, subscriber_id, type, kind, event_at_ms, fields, skip_reason)
       select $1, $2, 'heavy-' || n, $3, 'RENEWAL', 'renewal', $4::bigint - n * 60000,
              ($5::jsonb || jsonb_build_object('id', 'heavy-' || n,
                'event_timestamp_ms', $4::bigint - n * 60000))::json, 'timeline_only'
         from generate_series(1, 2000) n`,
      [
        WORKSPACE_ID,
        row?.project_id,
        row?.subscriber_id,
        Date.now() - 60 * DAY_MS,
        JSON.stringify({ ...base, type: 'RENEWAL' }),
      ],
    );
    // As storing an event does.
    await database.query(
      'update subscribers set version = version + 1 where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, row?.subscriber_id],
    );
    const opened = await openFor(product, { externalId: 'user_heavy' });
    assert.match(opened.text, /^Timeline · 2,003 events/m);
    // A delivery in between, or the refresh that follows it, would replace the summary.
    await settled(product);
    const card = await openAgain(product, opened);
    const again = await openAgain(product, card);
    assert.equal(again.text, card.text);
    // The second card needs none of the events: the summary that the first one stored is enough.
    await database.query(
      `update events set fields = '{}' where workspace_id = $1 and event_id like 'heavy-%'`,
      [WORKSPACE_ID],
    );
    assert.equal((await openAgain(product, card)).text, card.text);
  });
});
