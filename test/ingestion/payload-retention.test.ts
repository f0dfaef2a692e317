import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { redactPayloads } from '../../src/ingestion/payload-retention.ts';
import { thinPayload } from '../../src/ingestion/redact-payload.ts';
import { storeEvents } from '../../src/ingestion/store.ts';
import { toReceived } from '../../src/ingestion/webhook.ts';
import { purchaseStory, STORY_NAMES } from '../../src/simulator/revenuecat/scenarios.ts';
import { readHistory } from '../../src/subscribers/store.ts';
import { eventMetadata } from '../../src/subscription/delivery-metadata.ts';
import { describeEvent } from '../../src/subscription/describe-event.ts';
import { identifiersOf, readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody } from '../support/events.ts';
import { silent, WORKSPACE_ID } from '../support/world.ts';

const NOW_MS = Date.UTC(2026, 5, 1);
const names = { product: () => null, entitlement: () => null };

const OTHERS: Record<string, unknown>[] = [
  { type: 'TRANSFER', id: 't', transferred_from: ['a'], transferred_to: ['b'], event_timestamp_ms: NOW_MS },
  {
    type: 'VIRTUAL_CURRENCY_TRANSACTION',
    id: 'v',
    app_user_id: 'a',
    purchase_environment: 'PRODUCTION',
    product_display_name: 'Hundred coins',
    adjustments: [{ amount: 100, currency: { code: 'GLD', name: 'Gold', description: 'x' } }],
    event_timestamp_ms: NOW_MS,
  },
  {
    type: 'EXPERIMENT_ENROLLMENT',
    id: 'e',
    app_user_id: 'a',
    experiment_id: 'prexp1',
    experiment_variant: 'b',
    event_timestamp_ms: NOW_MS,
  },
  { type: 'PAYWALL_IMPRESSION', event_id: 'p', app_user_id: 'a', paywall_name: 'Spring', locale: 'en' },
  { type: 'SOMETHING_NEW', id: 'n', app_user_id: 'a', product_id: 'x', event_timestamp_ms: NOW_MS },
];

describe('thinning a payload', () => {
  const told = (event: unknown) => {
    const read = readEvent(event, { receivedAtMs: NOW_MS, fallbackId: 'fallback' });
    return {
      event: { ...read, raw: null },
      text: describeEvent(read, names),
      metadata: eventMetadata(read),
      ids: identifiersOf(event),
    };
  };
  const thinned = (event: unknown): unknown => (thinPayload({ event }) as { event: unknown }).event;

  it('keeps everything that timeline, contact and state are made of', () => {
    const events = STORY_NAMES.flatMap(
      (name) => purchaseStory(name, { appUserId: 'ann', nowMs: NOW_MS }).events,
    );
    assert.ok(events.length > 20);
    for (const event of [...events, ...OTHERS]) assert.deepEqual(told(thinned(event)), told(event));
  });

  it('keeps it for whatever an event may hold, and thinning twice changes nothing', () => {
    const field = fc.constantFrom(
      ...Object.keys(eventBody()),
      'period_type',
      'cancel_reason',
      'transferred_to',
      'junk',
    );
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom('TRIAL', 'APP_STORE', 'user-2', 12, null));
    fc.assert(
      fc.property(fc.array(fc.tuple(field, value), { maxLength: 8 }), (changes) => {
        const event = { ...eventBody(), ...Object.fromEntries(changes) };
        assert.deepEqual(told(thinned(event)), told(event));
        const once = thinPayload({ event });
        assert.deepEqual(thinPayload(once), once);
      }),
      { numRuns: 200 },
    );
  });

  it('drops what nothing reads: customer attributes, experiments, tax details', () => {
    const event = {
      ...eventBody(),
      subscriber_attributes: { $email: { value: 'ann@example.com', updated_at_ms: 1 } },
      experiments: [{ experiment_id: 'x' }],
      tax_percentage: 0.2,
    };
    const kept = JSON.stringify(thinPayload({ api_version: '1.0', event }));
    assert.doesNotMatch(kept, /ann@example|experiments|tax_percentage/);
    assert.ok(kept.length < JSON.stringify({ event }).length);
  });

  it('leaves alone what is no event', () => {
    for (const odd of [null, 'text', 12, [], {}, { event: null }, { event: [] }])
      assert.deepEqual(thinPayload(odd), odd);
  });
});

describe('thinning old payloads', () => {
  let db: TestDatabase;

  before(async () => {
    db = await createTestDatabase();
    for (const id of [WORKSPACE_ID, 'other1']) {
      await db.database.query(`insert into workspaces (workspace_id, name) values ($1, $1)`, [id]);
      await db.database.query(
        `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
         values ($1, $1 || '-p1', 'proj1', 'Test', 'x')`,
        [id],
      );
    }
  });
  after(() => db.close());

  async function receive(id: string, receivedDaysAgo: number, workspaceId = WORKSPACE_ID): Promise<void> {
    const body = eventBody({
      id,
      app_user_id: 'ann',
      transaction_id: id,
      subscriber_attributes: { $email: { value: 'ann@example.com\u0000', updated_at_ms: 1 } },
    });
    await storeEvents(db.database, workspaceId, `${workspaceId}-p1`, [
      toReceived(body, JSON.stringify({ event: body }), Date.now()),
    ]);
    await db.database.query(
      `update events set received_at = now() - make_interval(days => $2) where event_id = $1`,
      [id, receivedDaysAgo],
    );
  }

  const whole = async (): Promise<string[]> =>
    (
      await db.database.query<{ event_id: string }>(
        `select event_id from events where payload::text like '%subscriber_attributes%' order by 1`,
      )
    ).map((row) => row.event_id);

  const thin = (days: number | null) => redactPayloads(db.database, days, { logger: silent, batch: 3 });

  it('thins what is older, in batches, each event once, and keeps the timeline as it was', async () => {
    for (let index = 0; index < 8; index += 1) await receive(`old-${index}`, 200 - index);
    await receive('same-moment', 200);
    await receive('new', 10);
    await receive('others', 200, 'other1');
    const [subscriber] = await db.database.query<{ subscriber_id: string }>(
      `select subscriber_id from subscribers where workspace_id = $1`,
      [WORKSPACE_ID],
    );
    const timeline = async () => {
      const history = await readHistory(db.database, WORKSPACE_ID, subscriber?.subscriber_id ?? '');
      return {
        texts: history.map((event) => [event.id, describeEvent(event, names)]),
        state: deriveState(history, null, NOW_MS),
      };
    };
    const before = await timeline();

    assert.equal(await thin(null), 0, 'no retention: nothing is touched');
    assert.equal(await thin(180), 10);
    assert.deepEqual(await whole(), ['new']);
    assert.deepEqual(await timeline(), before);
    assert.equal(before.texts.length, 10);

    assert.equal(await thin(180), 0, 'what was thinned is not looked at again');
    await db.database.query(
      `update events set received_at = now() - interval '181 days' where event_id = 'new'`,
    );
    assert.equal(await thin(180), 1);
    assert.deepEqual(await whole(), []);
  });

  it('two workers at once thin everything once', async () => {
    for (let index = 0; index < 20; index += 1) await receive(`again-${index}`, 179);
    await db.database.query(
      `update events set received_at = now() - interval '180 days' - make_interval(secs => 30 - random() * 20)
        where event_id like 'again-%'`,
    );
    await db.database.query(`update retention_marks set done_until = now() - interval '1 year'`);
    const counts = await Promise.all([thin(180), thin(180)]);
    assert.deepEqual(await whole(), []);
    assert.ok((counts[0] ?? 0) + (counts[1] ?? 0) >= 20);
  });
});
