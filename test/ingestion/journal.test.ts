import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { createJournal, pruneJournal } from '../../src/ingestion/journal.ts';
import { processProject } from '../../src/ingestion/processor.ts';
import { reinterpret, SEND_WITHIN_DAYS } from '../../src/ingestion/reinterpret.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import { prepareEvent } from '../../src/ingestion/store-events.ts';
import { purchaseStory, STORY_NAMES } from '../../src/simulator/revenuecat/scenarios.ts';
import { recordErased } from '../../src/subscribers/erased-ids.ts';
import { readHistory } from '../../src/subscribers/history.ts';
import { eventMetadata } from '../../src/subscription/contact-values.ts';
import { identifiersOf, readEvent } from '../../src/subscription/read-event.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { EVENT_STATES, setDelivery } from '../support/deliveries.ts';
import { eventBody } from '../support/events.ts';
import { logger, secrets, WORKSPACE_ID } from '../support/world.ts';

const NOW_MS = Date.UTC(2026, 5, 1);

describe('the fields that are stored with an event', () => {
  const read = (event: unknown) => ({
    event: { ...readEvent(event, { receivedAtMs: NOW_MS, fallbackId: 'fallback' }), raw: null },
    metadata: eventMetadata(readEvent(event, { receivedAtMs: NOW_MS, fallbackId: 'fallback' })),
    ids: identifiersOf(event),
  });
  const fieldsOf = (event: Record<string, unknown>): Record<string, unknown> =>
    JSON.parse(prepareEvent(event, NOW_MS).fields);

  it('say the same as the webhook', () => {
    const events = STORY_NAMES.flatMap(
      (name) => purchaseStory(name, { appUserId: 'ann', nowMs: NOW_MS }).events,
    ) as unknown as Record<string, unknown>[];
    assert.ok(events.length > 20);
    for (const event of events) assert.deepEqual(read(fieldsOf(event)), read(event));
  });

  it('say the same for whatever an event may hold, and leave out only attributes and absent values', () => {
    const field = fc.constantFrom(...Object.keys(eventBody()), 'transferred_to', 'junk');
    // JSON.stringify writes -0 as 0: the same instant and the same amount, but not the same to deepEqual.
    const json = fc.jsonValue().map((each) => JSON.parse(JSON.stringify(each)) as unknown);
    const value = fc.oneof(json, fc.constantFrom('TRIAL', 'APP_STORE', 'user-2', 12, null));
    fc.assert(
      fc.property(fc.array(fc.tuple(field, value), { maxLength: 8 }), (changes) => {
        const event = { ...eventBody(), ...Object.fromEntries(changes) };
        assert.deepEqual(read(fieldsOf(event)), read(event));
        const shown = Object.entries(event).filter(
          ([name, each]) => each !== null && name !== 'subscriber_attributes',
        );
        assert.deepEqual(fieldsOf(event), JSON.parse(JSON.stringify(Object.fromEntries(shown))));
      }),
      { numRuns: 200 },
    );
  });

  it('hold nothing that a text of the database cannot hold', () => {
    const fields = fieldsOf(eventBody({ app_user_id: 'a\u0000b', note: ['half \ud800'] }));
    assert.equal(fields.app_user_id, 'ab');
    assert.deepEqual(fields.note, ['half \ufffd']);
  });
});

describe('pruning the journal, and interpreting it again', () => {
  let db: TestDatabase;
  const project = { workspaceId: WORKSPACE_ID, projectId: `${WORKSPACE_ID}-p1` };

  before(async () => {
    db = await createTestDatabase();
    for (const id of [WORKSPACE_ID, 'other1'])
      await db.database.query(
        `insert into projects (workspace_id, project_id, revenuecat_project_id, name, webhook_auth_hash)
         values ($1, $1 || '-p1', 'proj1', 'Test', 'x')`,
        [id],
      );
  });
  after(() => db?.close());

  const rows = <T extends object>(text: string, ...values: unknown[]) => db.database.query<T>(text, values);

  async function receive(event: Record<string, unknown>, daysAgo = 0, to = project): Promise<void> {
    const journal = createJournal(db.database, () => {});
    await journal.append(to, checkWebhook(Buffer.from(JSON.stringify({ event }))));
    await rows(
      `update webhooks set received_at = now() - make_interval(days => $2) where event_id = $1`,
      event.id,
      daysAgo,
    );
    await processProject({ database: db.database, secrets, logger }, to);
  }
  const left = async (): Promise<string[]> =>
    (await rows<{ event_id: string }>(`select event_id from webhooks order by 1`)).map((row) => row.event_id);
  const prune = (days: number | null) => pruneJournal(db.database, days, { logger, batch: 5 });

  it('deletes processed webhooks that are older, in batches, and changes no state', async () => {
    for (let index = 0; index < 8; index += 1)
      await receive(eventBody({ id: `old-${index}`, app_user_id: 'ann', transaction_id: `${index}` }), 200);
    await receive(eventBody({ id: 'new', app_user_id: 'ann', transaction_id: 'new' }), 10);
    await receive(eventBody({ id: 'others' }), 200, { workspaceId: 'other1', projectId: 'other1-p1' });
    await receive(eventBody({ id: 'waiting' }), 200);
    await rows(`update webhooks set processed_at = null where event_id = 'waiting'`);
    const [subscriber] = await rows<{ subscriber_id: string }>(
      `select subscriber_id from subscriber_ids where workspace_id = $1 and app_user_id = 'ann'`,
      WORKSPACE_ID,
    );
    const history = async () =>
      (await readHistory(db.database, WORKSPACE_ID, subscriber?.subscriber_id ?? '')).events;
    const before = await history();
    assert.equal(before.length, 10);

    assert.equal(await prune(null), 0, 'no retention: nothing is deleted');
    assert.equal(await prune(180), 9);
    assert.deepEqual(await left(), ['new', 'waiting']);
    assert.deepEqual(await history(), before);
    assert.deepEqual(deriveState(await history(), null, NOW_MS), deriveState(before, null, NOW_MS));
    assert.equal(await prune(180), 0);
    await receive(eventBody({ id: 'old-1', app_user_id: 'ann', transaction_id: '1' }));
    assert.equal((await history()).length, 10, 'a pruned webhook that comes again is still known');
  });

  it('two workers that prune at the same time delete everything once', async () => {
    for (let index = 0; index < 20; index += 1) await receive(eventBody({ id: `again-${index}` }), 200);
    const counts = await Promise.all([prune(180), prune(180)]);
    assert.equal((counts[0] ?? 0) + (counts[1] ?? 0), 21, 'these and the one that waited');
    assert.deepEqual(
      (await left()).filter((id) => id.startsWith('again')),
      [],
    );
  });

  interface Stored {
    event_id: string;
    kind: string;
    delivery: string;
    reason: string | null;
    sent_name: string | null;
  }
  const stored = (like: string) =>
    rows<Stored>(
      `select event_id, kind, delivery, reason, sent_name from ${EVENT_STATES}
        where workspace_id = $1 and event_id like $2 order by event_id`,
      WORKSPACE_ID,
      like,
    );
  const again = () => reinterpret(db.database, [project], { secrets, sinceMs: 0, nowMs: Date.now() });

  it('leaves alone what is right', async () => {
    await receive(eventBody({ id: 'right-1', app_user_id: 'right' }));
    await receive({
      ...eventBody({ id: 'right-2' }),
      app_user_id: null,
      original_app_user_id: null,
      aliases: [],
    });
    await receive({ id: 'right-3', type: 'TRANSFER', transferred_from: ['right'], transferred_to: ['left'] });
    await receive(eventBody({ id: 'right-4', app_user_id: 'right' }));
    await rows(`update webhooks set payload = '', pruned_for = 'erased' where event_id = 'right-4'`);
    await rows(`update subscribers set due_at = null`);
    const before = await rows(`select * from events order by event_id, side`);
    const subscribers = await rows(`select * from subscribers order by subscriber_id`);
    const counts = await again();
    assert.ok(counts.unchanged >= 3);
    assert.deepEqual({ ...counts, unchanged: 0 }, { unchanged: 0, corrected: 0, added: 0, failed: 0 });
    assert.deepEqual(await rows(`select * from events order by event_id, side`), before);
    assert.deepEqual(await rows(`select * from subscribers order by subscriber_id`), subscribers);
  });

  it('corrects what is wrong, sends nothing twice, and sends young events that are new', async () => {
    const old = SEND_WITHIN_DAYS + 1;
    await receive(eventBody({ id: 'fix-delivered' }), old);
    await receive(eventBody({ id: 'fix-environment' }));
    await receive(eventBody({ id: 'fix-new' }));
    await receive(eventBody({ id: 'fix-old' }), old);
    await receive(eventBody({ id: 'fix-switched-off' }));
    await receive(eventBody({ id: 'fix-time' }));
    await receive(eventBody({ id: 'fix-undeliverable', type: 'SUBSCRIBER_ALIAS' }));
    await setDelivery(db.database, WORKSPACE_ID, 'fix-delivered', { delivery: 'delivered' });
    await rows(`update event_deliveries set sent_name = 'rc_refund_event', sent_at_s = 1`);
    await setDelivery(db.database, WORKSPACE_ID, 'fix-switched-off', {
      delivery: 'skipped',
      reason: 'switched_off',
    });
    await rows(`update events set kind = 'refund' where event_id in ('fix-delivered', 'fix-switched-off')`);
    await rows(`update events set kind = 'unknown', skip_reason = 'timeline_only'
                 where event_id in ('fix-new', 'fix-old')`);
    await rows(`update events set event_at_ms = 1 where event_id = 'fix-time'`);
    await rows(`update events set environment = 'sandbox' where event_id = 'fix-environment'`);
    await rows(`update events set kind = 'renewal', skip_reason = null where event_id = 'fix-undeliverable'`);
    await receive(eventBody({ id: 'lost-new', app_user_id: 'lost' }));
    await receive(eventBody({ id: 'lost-old', app_user_id: 'lost' }), old);
    await rows(`delete from events where event_id like 'lost-%'`);
    await rows(`update subscribers set due_at = null`);

    const counts = await again();
    assert.deepEqual({ ...counts, unchanged: 0 }, { unchanged: 0, corrected: 7, added: 2, failed: 0 });
    const kind = 'initial_purchase';
    const unsent = { kind, sent_name: null };
    assert.deepEqual(await stored('fix-%'), [
      { event_id: 'fix-delivered', kind, delivery: 'delivered', reason: null, sent_name: 'rc_refund_event' },
      { event_id: 'fix-environment', ...unsent, delivery: 'pending', reason: null },
      { event_id: 'fix-new', ...unsent, delivery: 'pending', reason: null },
      { event_id: 'fix-old', ...unsent, delivery: 'skipped', reason: 'imported' },
      { event_id: 'fix-switched-off', ...unsent, delivery: 'skipped', reason: 'switched_off' },
      { event_id: 'fix-time', ...unsent, delivery: 'pending', reason: null },
      {
        event_id: 'fix-undeliverable',
        ...unsent,
        kind: 'subscriber_alias',
        delivery: 'skipped',
        reason: 'timeline_only',
      },
    ]);
    assert.deepEqual(await stored('lost-%'), [
      { event_id: 'lost-new', ...unsent, delivery: 'pending', reason: null },
      { event_id: 'lost-old', ...unsent, delivery: 'skipped', reason: 'imported' },
    ]);
    const [due] = await rows<{ due: boolean }>(
      `select s.due_at is not null as due from subscribers s join subscriber_ids i using (workspace_id, subscriber_id)
        where i.app_user_id = 'lost'`,
    );
    assert.equal(due?.due, true);
    assert.equal((await again()).corrected, 0);
  });

  it('moves an event to its customer, and interprets again what failed', async () => {
    await receive(
      eventBody({ id: 'moved', app_user_id: 'right-one', original_app_user_id: 'right-one', aliases: [] }),
    );
    await receive(
      eventBody({ id: 'other', app_user_id: 'wrong-one', original_app_user_id: 'wrong-one', aliases: [] }),
    );
    await rows(`update events set subscriber_id = (select subscriber_id from events where event_id = 'other')
                 where event_id = 'moved'`);
    await setDelivery(db.database, WORKSPACE_ID, 'moved', { delivery: 'delivered' });
    // As if this event had been interpreted as a transfer.
    await rows(`insert into events (workspace_id, project_id, event_id, side, subscriber_id, type, kind, event_at_ms,
                                    received_at, fields, skip_reason)
                select workspace_id, project_id, event_id, 'source', subscriber_id, type, kind, event_at_ms,
                       received_at, fields, 'timeline_only' from events where event_id = 'other'`);
    await receive(eventBody({ id: 'failed' }));
    await rows(`update webhooks set error = 'out of range' where event_id = 'failed'`);
    await rows(`delete from events where event_id = 'failed'`);
    await rows(`update subscribers set due_at = null`);
    const counts = await again();
    assert.deepEqual([counts.corrected, counts.added], [1, 1]);
    assert.deepEqual(
      (await stored('moved')).map(({ delivery }) => delivery),
      ['delivered'],
    );
    assert.deepEqual(await rows(`select side from events where event_id = 'other'`), [{ side: 'customer' }]);
    const owners = await rows<{ app_user_id: string; due: boolean }>(
      `select i.app_user_id, s.due_at is not null as due
         from subscriber_ids i join subscribers s using (workspace_id, subscriber_id)
         left join events e on e.subscriber_id = i.subscriber_id and e.event_id = 'moved'
        where i.app_user_id in ('right-one', 'wrong-one') order by e.event_id is null`,
    );
    assert.deepEqual(owners, [
      { app_user_id: 'right-one', due: true },
      { app_user_id: 'wrong-one', due: true },
    ]);
    assert.deepEqual(await rows(`select 1 from webhooks where error is not null`), []);
  });

  it('empties the webhook of a customer who has been erased', async () => {
    const { database } = db;
    await rows(`insert into workspaces (workspace_id, name) values ($1, 'Test')`, WORKSPACE_ID);
    await receive(
      eventBody({ id: 'theirs', app_user_id: 'erased', original_app_user_id: 'erased', aliases: [] }),
    );
    await rows(`delete from events where event_id = 'theirs'`);
    const erased = { ...project, appUserId: 'erased', subscriberId: randomUUID() };
    await recordErased({ sql: database, secrets }, WORKSPACE_ID, { ids: [erased], by: {} });
    await again();
    assert.deepEqual(await stored('theirs'), []);
    const webhooks = await rows(`select payload, pruned_for from webhooks where event_id = 'theirs'`);
    assert.deepEqual(webhooks, [{ payload: '', pruned_for: 'erased' }]);
  });

  it('takes webhooks since a time only, however many', async () => {
    const journal = createJournal(db.database, () => {});
    const body = (id: string) => JSON.stringify({ event: eventBody({ id, app_user_id: 'ann' }) });
    const many = Array.from({ length: 260 }, (_, n) => checkWebhook(Buffer.from(body(`many-${n}`))));
    await Promise.all(many.map((webhook) => journal.append(project, webhook)));
    const counts = await reinterpret(db.database, [project], {
      secrets,
      sinceMs: Date.now() - DAY_MS,
      nowMs: Date.now(),
    });
    const [all] = await rows<{ n: number }>(
      `select count(*)::int as n from webhooks 
        where workspace_id = $1 and received_at > now() - interval '1 day' and pruned_for is null`,
      WORKSPACE_ID,
    );
    assert.deepEqual([counts.added, counts.added + counts.unchanged], [260, all?.n]);
  });
});
