import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { Database } from '../../src/database/sql.ts';
import { createKnownIds, type KnownIds } from '../../src/ingestion/known-ids.ts';
import { storeEvents } from '../../src/ingestion/store.ts';
import { type ReceivedEvent, toReceived } from '../../src/ingestion/webhook.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { DAY_MS, eventBody, START_MS } from '../support/events.ts';

const IDS = ['ann', 'bob', 'cy', 'dee', 'eve', 'fay'];

interface Happening {
  readonly eventId: number;
  readonly names: readonly string[];
  readonly givers: readonly string[];
  readonly hasEmail: boolean;
}

const happening: fc.Arbitrary<Happening> = fc.record({
  eventId: fc.integer({ min: 1, max: 12 }),
  names: fc.subarray(IDS, { maxLength: 3 }),
  givers: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.subarray(IDS, { maxLength: 2 })),
  hasEmail: fc.boolean(),
});

const step = fc.record({
  batch: fc.array(happening, { minLength: 1, maxLength: 6 }),
  /** What another process stores between this batch's look for its subscribers and its writing. */
  meanwhile: fc.option(fc.array(happening, { minLength: 1, maxLength: 3 }), { nil: null }),
  isHistory: fc.boolean(),
});

/** Who remembers ids looks for some of them only, and which depends on chance: nothing comes in between then. */
const steps = fc
  .record({ steps: fc.array(step, { minLength: 1, maxLength: 6 }), remembers: fc.boolean() })
  .map((plan) =>
    plan.remembers ? { ...plan, steps: plan.steps.map((each) => ({ ...each, meanwhile: null })) } : plan,
  );

type Plan = typeof steps extends fc.Arbitrary<infer T> ? T : never;

/** @param number of its own, so that no two events happen at the same time */
function received({ eventId, names, givers, hasEmail }: Happening, number: number): ReceivedEvent {
  const atMs = START_MS + number * 1_000;
  const [first = null, ...aliases] = names;
  const body =
    givers.length > 0
      ? { type: 'TRANSFER', transferred_from: givers, transferred_to: names }
      : eventBody({ app_user_id: first, original_app_user_id: first, aliases });
  const email = hasEmail ? { $email: { value: `${number}@example.com`, updated_at_ms: atMs } } : {};
  const event = { ...body, id: `event-${eventId}`, event_timestamp_ms: atMs, subscriber_attributes: email };
  return toReceived(event, JSON.stringify({ event }), START_MS + DAY_MS);
}

const history = { isDelivered: ({ event }: ReceivedEvent): boolean => event.atMs % 2_000 === 0 };

describe('the two ways of storing a batch', () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  /** Lets something happen once, behind the look for subscribers that precedes the writing. */
  function interrupted(database: Database, meanwhile: () => Promise<unknown>): Database {
    let isDue = true;
    return {
      ...database,
      async query(text, values, name) {
        const rows = await database.query<never>(text, values, name);
        if (isDue && name === 'find-owners') {
          isDue = false;
          await meanwhile();
        }
        return rows;
      },
    };
  }

  async function addProject(): Promise<string> {
    const workspaceId = randomUUID();
    await db.database.query(
      `insert into projects (workspace_id, project_id, revenuecat_project_id, webhook_auth_hash, name)
       values ($1, 'p1', 'proj1', $1, '')`,
      [workspaceId],
    );
    return workspaceId;
  }

  /** All that is stored, with subscribers named by what points to them. */
  async function contents(workspaceId: string): Promise<unknown> {
    const read = (text: string) => db.database.query(text, [workspaceId]);
    const names = `coalesce(
      (select string_agg(i.app_user_id, ' ' order by i.app_user_id) from subscriber_ids i
        where i.workspace_id = s.workspace_id and i.subscriber_id = s.subscriber_id),
      (select string_agg(e.event_id, ' ' order by e.event_id) from events e
        where e.workspace_id = s.workspace_id and e.subscriber_id = s.subscriber_id), 'nobody')`;
    return {
      subscribers: await read(
        `select ${names} as names, s.due_at is not null as due, s.waiting, s.email, s.email_at_ms, s.first_event_at_ms,
                s.last_event_at_ms,
                case when not exists (select 1 from subscribers o where o.merged_into = s.subscriber_id)
                     then s.version end as version
           from subscribers s where s.workspace_id = $1 and s.merged_into is null order by 1, 2, 3, 4, 5, 6, 7, 8`,
      ),
      // Which of two that came at the same time lives on is not said.
      merged: await read(`select 1 from subscribers where workspace_id = $1 and merged_into is not null`),
      events: await read(
        `select ${names} as names, e.event_id, e.side, e.type, e.kind, e.environment, e.event_at_ms, e.transaction_id,
                e.payload, e.skip_reason
           from events e join subscribers s using (workspace_id, subscriber_id)
          where workspace_id = $1 order by e.event_id, e.side`,
      ),
      projects: await read(
        `select last_received_at is not null as received from projects where workspace_id = $1`,
      ),
    };
  }

  async function play(backend: Database['backend'], plan: Plan): Promise<unknown> {
    const database: Database = { ...db.database, backend };
    const workspaceId = await addProject();
    const known: KnownIds | null = plan.remembers ? createKnownIds() : null;
    const statuses: unknown[] = [];
    let number = 0;
    for (const { batch, meanwhile, isHistory } of plan.steps) {
      const events = batch.map((each) => received(each, ++number));
      const others = (meanwhile ?? []).map((each) => received(each, ++number));
      const other = async (): Promise<void> => {
        statuses.push(await storeEvents(database, workspaceId, 'p1', others));
      };
      const rule = isHistory ? history : null;
      const own = others.length === 0 ? database : interrupted(database, other);
      statuses.push(await storeEvents(own, workspaceId, 'p1', events, rule, known));
    }
    return { statuses, ...((await contents(workspaceId)) as object) };
  }

  test('say and leave the same, whatever comes in between', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        assert.deepEqual(await play('citus', plan), await play('postgres', plan));
      }),
      { numRuns: 40 },
    );
  });

  test('meet in their ids without losing anything: each event is accepted once, each id has one owner', async () => {
    const batches = fc.array(fc.array(happening, { minLength: 1, maxLength: 4 }), {
      minLength: 2,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(batches, async (plan) => {
        const workspaceId = await addProject();
        // One event comes several times, but says the same.
        const said = new Map<number, ReceivedEvent>();
        const say = (each: Happening): ReceivedEvent => {
          const event = said.get(each.eventId) ?? received(each, each.eventId);
          said.set(each.eventId, event);
          return { ...event };
        };
        const all = plan.map((batch) => batch.map(say));
        const backends = ['citus', 'postgres'] as const;
        const store = (batch: readonly ReceivedEvent[], index: number) =>
          storeEvents({ ...db.database, backend: backends[index % 2] ?? 'citus' }, workspaceId, 'p1', batch);
        const statuses = await Promise.all(all.map(store));
        const accepted = all.flatMap((batch, index) =>
          batch.filter((_, place) => statuses[index]?.[place] === 'accepted').map(({ event }) => event.id),
        );
        const wanted = new Set(all.flat().map(({ event }) => event.id));
        assert.deepEqual(accepted.toSorted(), [...wanted].toSorted());
        const rows = await db.database.query<{ event_id: string }>(
          `select e.event_id from events e join subscribers s using (workspace_id, subscriber_id)
            where workspace_id = $1 and e.side = 'customer' and s.merged_into is null order by 1`,
          [workspaceId],
        );
        assert.deepEqual(rows.map((row) => row.event_id).toSorted(), [...wanted].toSorted());
      }),
      { numRuns: 30 },
    );
  });
});
