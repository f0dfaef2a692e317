import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { wakeForContact } from '../../src/contacts/repository.ts';
import type { Database } from '../../src/database/sql.ts';
import { createWorkerConnection } from '../../src/database/worker-connection.ts';
import { isDatabaseUnavailable } from '../../src/errors.ts';
import type { CheckedWebhook } from '../../src/ingestion/journal.ts';
import {
  countFailedWebhooks,
  createJournal,
  listFailedWebhooks,
  notifiedProject,
  notifyProcessors,
  WEBHOOK_CHANNEL,
} from '../../src/ingestion/journal.ts';
import { readJournalBacklog } from '../../src/ingestion/metrics.ts';
import { createProcessor, processProject } from '../../src/ingestion/processor.ts';
import { checkWebhook } from '../../src/ingestion/routes.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import { lockProject } from '../../src/subscribers/identity.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventBody, START_MS } from '../support/events.ts';
import { until } from '../support/wait.ts';
import { logger, secrets } from '../support/world.ts';

const IDS = ['ann', 'bob', 'cy', 'dee', 'eve', 'fay'];

interface ArbitraryEvent {
  readonly eventId: number;
  readonly ids: readonly string[];
  readonly sources: readonly string[];
}

const arbitraryEvent: fc.Arbitrary<ArbitraryEvent> = fc.record({
  eventId: fc.integer({ min: 1, max: 30 }),
  ids: fc.subarray(IDS, { maxLength: 3 }),
  sources: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.subarray(IDS, { maxLength: 2 })),
});

function bodyOf({ eventId, ids, sources }: ArbitraryEvent): Record<string, unknown> {
  const atMs = START_MS + eventId * 1_000;
  const [first = null, ...aliases] = ids;
  const body =
    sources.length > 0
      ? { type: 'TRANSFER', transferred_from: sources, transferred_to: ids }
      : eventBody({ app_user_id: first, original_app_user_id: first, aliases });
  return { ...body, id: `event-${eventId}`, event_timestamp_ms: atMs };
}

function webhook(event: Record<string, unknown>): CheckedWebhook {
  return checkWebhook(Buffer.from(JSON.stringify({ api_version: '1.0', event })));
}

describe('processing the journal', () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  async function addProject(): Promise<{ workspaceId: string; projectId: string }> {
    const workspaceId = randomUUID();
    await db.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, webhook_auth_hash, name)
       values ($1, 'p1', 'proj1', $1, '')`,
      [workspaceId],
    );
    return { workspaceId, projectId: 'p1' };
  }
  const rows = <T extends object>(text: string, ...values: unknown[]) => db.database.query<T>(text, values);

  /** App user ids of each subscriber, and the events with the ids of their subscriber. */
  async function contents(workspaceId: string): Promise<unknown> {
    const subscribers = await rows<{ ids: string }>(
      `select string_agg(i.app_user_id, ' ' order by i.app_user_id) as ids
         from subscribers s join subscriber_ids i on i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
        where s.workspace_id = $1 and s.merged_into is null and s.due_at is not null
        group by s.subscriber_id order by 1`,
      workspaceId,
    );
    const events = await rows(
      `select e.event_id, e.side, e.type, e.kind, e.event_at_ms, e.fields, e.skip_reason,
              (select string_agg(i.app_user_id, ' ' order by i.app_user_id) from subscriber_ids i
                where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id) as ids
         from events e join subscribers s on s.workspace_id = $1 and s.subscriber_id = e.subscriber_id
        where e.workspace_id = $1 and s.merged_into is null order by e.event_id, e.side`,
      workspaceId,
    );
    return { subscribers, events };
  }

  test('parallel processors and imports leave what one event after the other leaves', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(arbitraryEvent, { selector: ({ eventId }) => eventId, minLength: 1, maxLength: 16 }),
        fc.array(fc.constantFrom('webhook', 'import'), { minLength: 16, maxLength: 16 }),
        async (events, ways) => {
          const expected = await addProject();
          for (const each of events)
            await storeEvents(db.database, expected, [prepareEvent(bodyOf(each), START_MS)]);

          const actual = await addProject();
          const processors = [0, 1].map(() => createProcessor({ database: db.database, secrets, logger }));
          const journal = createJournal(db.database, (project) => {
            for (const processor of processors) processor.wake(project);
          });
          const results = await Promise.all(
            events.map(async (each, index) =>
              ways[index] === 'webhook'
                ? journal.append(actual, webhook(bodyOf(each)))
                : storeEvents(db.database, actual, [prepareEvent(bodyOf(each), START_MS)]),
            ),
          );
          await processProject({ database: db.database, secrets, logger }, actual);
          for (const processor of processors) await processor.stop();
          for (const result of results) assert.ok(result === 'accepted' || result === 1, String(result));
          assert.deepEqual(await contents(actual.workspaceId), await contents(expected.workspaceId));
        },
      ),
      { numRuns: 25 },
    );
  });

  test('a batch that merges customers locks its subscribers in the order of deliveries', async () => {
    const project = await addProject();
    const store = (...events: readonly Record<string, unknown>[]) =>
      storeEvents(
        db.database,
        project,
        events.map((event) => prepareEvent(eventBody({ aliases: [], ...event }), START_MS)),
      );
    const of = (id: string, ...aliases: readonly string[]) => ({
      app_user_id: id,
      original_app_user_id: id,
      aliases,
    });
    await store(of('ann'), of('bob'), of('cy'));
    const owners = await rows<{ id: string; subscriber: string }>(
      `select app_user_id as id, subscriber_id as subscriber from subscriber_ids where workspace_id = $1 order by 2`,
      project.workspaceId,
    );
    const [lowest, ...merged] = owners;
    assert.ok(lowest && merged.length === 2);
    const [one = '', two = ''] = merged.map(({ id }) => id);
    let storing: Promise<number> | undefined;
    await db.database.transaction(async (sql) => {
      const lock = (of: readonly (typeof lowest)[], ifFree = '') =>
        sql.query(
          `select 1 from subscribers where workspace_id = $1 and subscriber_id = any($2) for no key update ${ifFree}`,
          [project.workspaceId, of.map(({ subscriber }) => subscriber)],
        );
      await lock([lowest]);
      storing = store(of(one, two), of(lowest.id));
      storing.catch(() => {});
      await until(
        async () =>
          (
            await rows(
              `select 1 from pg_locks l join pg_stat_activity a using (pid)
                where not l.granted and l.locktype = 'transactionid' and a.datname = current_database()`,
            )
          ).length > 0,
        'the batch to wait for the first one',
      );
      await lock(merged, 'nowait');
    });
    assert.equal(await storing, 2);
  });

  test('events of a subscriber are stored in the order in which they arrived', async () => {
    const project = await addProject();
    const journal = createJournal(db.database, () => {});
    for (let number = 1; number <= 600; number += 1)
      await journal.append(project, webhook(bodyOf({ eventId: number, ids: ['ann'], sources: [] })));
    const counts = await processProject({ database: db.database, secrets, logger }, project);
    assert.deepEqual(counts, { processed: 600, failed: 0 });
    const stored = await rows<{ ordered: boolean }>(
      `select bool_and(e.received_at = date_trunc('milliseconds', w.received_at)) as ordered
         from events e join webhooks w on w.workspace_id = $1 and w.event_id = e.event_id
        where e.workspace_id = $1`,
      project.workspaceId,
    );
    assert.deepEqual(stored, [{ ordered: true }]);
  });

  test('who waits for a delivery keeps the place in the queue when more arrives, or a contact appears', async () => {
    const project = await addProject();
    const receive = (id: string, appUserId: string) =>
      storeEvents(db.database, project, [
        prepareEvent(
          eventBody({ id, app_user_id: appUserId, original_app_user_id: appUserId, aliases: [] }),
          START_MS,
        ),
      ]);
    await receive('first', 'busy');
    await rows(
      `update subscribers set due_at = now() - interval '1 hour' where workspace_id = $1`,
      project.workspaceId,
    );
    await receive('other', 'quiet');
    await receive('second', 'busy');
    await wakeForContact(db.database, project.workspaceId, {
      contactId: 'c',
      externalId: 'busy',
      email: null,
    });
    const queue = await rows<{ id: string }>(
      `select i.app_user_id as id from subscribers s
         join subscriber_ids i on i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
        where s.workspace_id = $1 order by s.due_at`,
      project.workspaceId,
    );
    assert.deepEqual(
      queue.map(({ id }) => id),
      ['busy', 'quiet'],
    );
  });

  test('a webhook that cannot be interpreted is marked, and those behind it are processed', async () => {
    const project = await addProject();
    const journal = createJournal(db.database, () => {});
    const append = (number: number) =>
      journal.append(
        project,
        webhook(bodyOf({ eventId: number, ids: [`user-${number % 50}`], sources: [] })),
      );
    await Promise.all(Array.from({ length: 1_000 }, (_, index) => append(index)));
    // One webhook that cannot be interpreted, and one that the database refuses.
    await rows(
      `update webhooks set payload = '{"event":7}' where workspace_id = $1 and event_id = 'event-300'`,
      project.workspaceId,
    );
    await rows(`create function refuse() returns trigger language plpgsql as $$
      begin raise exception 'out of range "secret@example.com"' using errcode = '22003'; end $$`);
    await rows(`create trigger refuse before insert on events for each row when (new.event_id = 'event-700')
      execute function refuse()`);
    const counts = await processProject({ database: db.database, secrets, logger }, project);
    assert.deepEqual(counts, { processed: 1_000, failed: 2 });
    const [stored] = await rows<{ n: number }>(
      `select count(*)::int as n from events where workspace_id = $1`,
      project.workspaceId,
    );
    assert.equal(stored?.n, 998);
    assert.equal(await countFailedWebhooks(db.database, project.workspaceId), 2);
    const failed = await listFailedWebhooks(db.database, project.workspaceId, 10);
    assert.deepEqual(
      new Map(failed.map(({ eventId, error }) => [eventId, error])),
      new Map([
        ['event-300', 'The payload has no "event" object'],
        ['event-700', 'out of range "…"'],
      ]),
    );
    assert.deepEqual(await readJournalBacklog(db.database), {
      webhooks_unprocessed: 0,
      webhooks_unprocessed_seconds: 0,
      webhooks_failed: 2,
    });
    await rows('drop trigger refuse on events');
  });

  test('an ID of any length or type makes no event fail', async () => {
    const project = await addProject();
    const journal = createJournal(db.database, () => {});
    const long = randomBytes(3_000).toString('hex');
    const fields = ['type', 'product_id', 'transaction_id', 'original_transaction_id', 'app_id', 'store'];
    const odd = fields.flatMap((field) => [long, [long]].map((value) => ({ [field]: value })));
    for (const [eventId, fields] of odd.entries())
      await journal.append(
        project,
        webhook({ ...bodyOf({ eventId, ids: ['ann'], sources: [] }), ...fields }),
      );
    const counts = await processProject({ database: db.database, secrets, logger }, project);
    assert.deepEqual(counts, { processed: odd.length, failed: 0 });
  });

  for (const isTaken of [false, true])
    test(`what arrives while a webhook is being marked as broken is interpreted, ${isTaken ? 'also when another process has taken that one' : 'after it'}`, async () => {
      const project = await addProject();
      const journal = createJournal(db.database, () => {});
      const append = (eventId: number, id: string) =>
        journal.append(project, webhook(bodyOf({ eventId, ids: [id], sources: [] })));
      await append(1, 'ann');
      let transactions = 0;
      const database: Database = {
        ...db.database,
        async transaction(work) {
          transactions += 1;
          if (transactions === 2) {
            if (isTaken) await processProject({ database: db.database, secrets, logger }, project);
            await append(2, 'bob');
          }
          return db.database.transaction(async (sql) => {
            const result = await work(sql);
            if (transactions === 1) throw new TypeError('broken');
            return result;
          });
        },
      };
      const counts = await processProject({ database, secrets, logger }, project);
      assert.deepEqual(counts, isTaken ? { processed: 1, failed: 0 } : { processed: 2, failed: 1 });
      const stored = await rows<{ event_id: string }>(
        'select event_id from events where workspace_id = $1 order by event_id',
        project.workspaceId,
      );
      assert.deepEqual(
        stored.map((row) => row.event_id),
        isTaken ? ['event-1', 'event-2'] : ['event-2'],
      );
    });

  for (const code of ['57P01', '57014'])
    test(`a batch that the database interrupted with ${code} marks no webhook as broken`, async () => {
      const project = await addProject();
      await createJournal(db.database, () => {}).append(project, webhook(eventBody({ id: 'interrupted' })));
      let isInterrupted = false;
      const database: Database = {
        ...db.database,
        transaction: (work) =>
          db.database.transaction(async (sql) => {
            const result = await work(sql);
            if (isInterrupted) return result;
            isInterrupted = true;
            throw Object.assign(new Error('interrupted'), { code });
          }),
      };
      const process = () => processProject({ database, secrets, logger }, project);
      await assert.rejects(process, { code });
      assert.deepEqual(await process(), { processed: 1, failed: 0 });
    });

  test('waits for a transaction that holds the project, and then catches up', async () => {
    const project = await addProject();
    const processor = createProcessor({ database: db.database, secrets, logger });
    const journal = createJournal(db.database, processor.wake);
    const eventsStored = async (): Promise<number> =>
      (await rows(`select 1 from events where workspace_id = $1`, project.workspaceId)).length;
    await db.database.transaction(async (sql) => {
      await lockProject(sql, project);
      await journal.append(project, webhook(eventBody({ id: 'waits' })));
      await journal.append(project, webhook(eventBody({ id: 'waits-too' })));
      assert.equal(await eventsStored(), 0);
    });
    await until(async () => (await eventsStored()) === 2, 'both events');
    await processor.stop();
  });

  test('continues when a process that holds the project hangs', async () => {
    const project = await addProject();
    const processor = createProcessor({ database: db.database, secrets, logger });
    const hanging = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const hung = db.database.transaction(async (sql) => {
      await lockProject(sql, project);
      locked.resolve();
      await hanging.promise;
      await sql.query('select 1');
    });
    hung.catch(() => {});
    await locked.promise;
    const journal = createJournal(db.database, processor.wake);
    await journal.append(project, webhook(eventBody({ id: 'behind-it' })));
    await until(
      async () =>
        (await rows(`select 1 from events where workspace_id = $1`, project.workspaceId)).length === 1,
      'the event',
    );
    hanging.resolve();
    await assert.rejects(hung, isDatabaseUnavailable);
    await processor.stop();
  });

  test('is notified of webhooks that another process received, and polls for those it was not notified of', async () => {
    const project = await addProject();
    await createJournal(db.database, () => {}).append(project, webhook(eventBody({ id: 'polled' })));
    const processor = createProcessor({ database: db.database, secrets, logger });
    const connection = createWorkerConnection({
      sessionUrl: db.url,
      channels: { [WEBHOOK_CHANNEL]: (payload) => processor.wake(notifiedProject(payload)) },
      logger,
      onReady: () => {},
    });
    connection.start();
    processor.start();
    const stored = async (): Promise<string[]> =>
      (
        await rows<{ event_id: string }>(
          `select event_id from events where workspace_id = $1 order by 1`,
          project.workspaceId,
        )
      ).map((row) => row.event_id);
    await until(async () => (await stored()).length === 1, 'the one that was there before');
    const journal = createJournal(db.database, (each) => void notifyProcessors(db.database, each));
    await journal.append(project, webhook(eventBody({ id: 'notified' })));
    await until(async () => (await stored()).length === 2, 'the one that was announced');
    await processor.stop();
    await connection.stop();
  });

  test('of one event several times in a batch the first is accepted', async () => {
    const project = await addProject();
    const journal = createJournal(db.database, () => {});
    const statuses = await Promise.all(
      ['same', 'same', 'other', 'same'].map((id) => journal.append(project, webhook(eventBody({ id })))),
    );
    assert.deepEqual(statuses, ['accepted', 'duplicate', 'accepted', 'duplicate']);
    assert.equal(await journal.append(project, webhook(eventBody({ id: 'other' }))), 'duplicate');
  });
});
