import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import express from 'express';
import fc from 'fast-check';
import { intercomWebhookRouter } from '../../src/contacts/webhooks.ts';
import { replayEvents } from '../../src/delivery/replay.ts';
import { prepareEvent, storeEvents } from '../../src/ingestion/store-events.ts';
import type { Contact } from '../../src/simulator/intercom/state.ts';
import { listenOnLoopback } from '../../src/simulator/listen.ts';
import { readHistory } from '../../src/subscribers/history.ts';
import { readSubscriber } from '../../src/subscribers/repository.ts';
import { findByAppUserIds } from '../../src/subscribers/search.ts';
import { contactAttributes } from '../../src/subscription/contact-values.ts';
import { deriveState } from '../../src/subscription/state.ts';
import { DAY_MS } from '../../src/time.ts';
import { EVENT_STATES } from '../support/deliveries.ts';
import { until } from '../support/wait.ts';
import { CLIENT_SECRET, createWorld, PROJECT_ID, WORKSPACE_ID, type World } from '../support/world.ts';
import { NOW_MS, recentEvent } from './support.ts';

const CUSTOMERS = 3;

/** A customer's history; two of the events have the same kind and second. */
const HISTORY = [
  { type: 'INITIAL_PURCHASE', at: 0 },
  { type: 'NON_RENEWING_PURCHASE', at: 1_000 },
  { type: 'NON_RENEWING_PURCHASE', at: 1_400 },
  { type: 'RENEWAL', at: 60_000 },
  { type: 'CANCELLATION', at: 120_000 },
];

type Step =
  | { readonly do: 'webhook'; readonly who: number; readonly which: number }
  | { readonly do: 'create' | 'archive' | 'unarchive' | 'remove' | 'merge'; readonly who: number }
  | { readonly do: 'fault'; readonly fault: 'after' | 'before' | 500 | 422 | 404; readonly times: number }
  | { readonly do: 'replay'; readonly what: 'failed' | 'all' | number; readonly who: number }
  | { readonly do: 'wait' };

const who = fc.nat(CUSTOMERS - 1);
const which = fc.nat(HISTORY.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('webhook' as const), who, which }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'create' as const,
        'archive' as const,
        'unarchive' as const,
        'remove' as const,
        'merge' as const,
      ),
      who,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      fault: fc.constantFrom('after' as const, 'before' as const, 500 as const, 422 as const, 404 as const),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('replay' as const),
      what: fc.oneof(fc.constantFrom('failed' as const, 'all' as const), which),
      who,
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: 'wait' as const }) },
);

describe('any interleaving of webhooks, contact events, failures and replays', () => {
  let world: World;
  let close: () => Promise<void>;
  let run = 0;

  before(async () => {
    world = await createWorld();
    const app = express();
    app.use(
      '/webhooks/intercom',
      intercomWebhookRouter({
        database: world.db.database,
        clientSecret: CLIENT_SECRET,
        jobs: { send: async () => {} },
      }),
    );
    const listening = await listenOnLoopback(app);
    close = () => listening.close();
    world.intercom.state.webhookEndpoint = `${listening.url}/webhooks/intercom`;
    world.worker({ random: () => 0 });
    world.worker({ random: () => 0 });
  });
  after(async () => {
    await world?.close();
    await close?.();
  });

  async function webhook(id: string, index: number): Promise<void> {
    const happened = HISTORY[index];
    assert.ok(happened);
    const event = recentEvent(id, {
      id: `${id}/${index}`,
      type: happened.type,
      event_timestamp_ms: NOW_MS - DAY_MS + happened.at,
      product_id: happened.type === 'NON_RENEWING_PURCHASE' ? `coins_${index}` : 'pro_monthly',
      ...(happened.type === 'CANCELLATION' ? { cancel_reason: 'UNSUBSCRIBE' } : {}),
    });
    await storeEvents(world.db.database, { workspaceId: WORKSPACE_ID, projectId: PROJECT_ID }, [
      prepareEvent(event, NOW_MS),
    ]);
  }

  function contactOf(id: string): Contact | undefined {
    return [...world.intercom.state.contacts.values()].find(
      (contact) => contact.externalId === id && !contact.deleted && contact.mergedInto === null,
    );
  }

  async function perform(prefix: string, action: Step): Promise<void> {
    const { contacts, faults } = world.intercom;
    const idOf = (customer: number): string => `${prefix}-${customer}`;
    switch (action.do) {
      case 'webhook':
        return webhook(idOf(action.who), action.which);
      case 'wait':
        return void (await new Promise((resolve) => setTimeout(resolve, 15)));
      case 'fault':
        return void faults.add({
          pathPrefix: action.fault === 404 ? '/contacts' : '/events',
          times: action.times,
          ...(typeof action.fault === 'number' ? { status: action.fault } : { drop: action.fault }),
        });
      case 'replay': {
        const { database } = world.db;
        if (action.what === 'failed') await replayEvents(database, WORKSPACE_ID, { failedOnly: true });
        else if (action.what === 'all')
          await replayEvents(database, WORKSPACE_ID, { failedOnly: false, sinceMs: 0 });
        else {
          const eventId = `${idOf(action.who)}/${action.what}`;
          await replayEvents(database, WORKSPACE_ID, { failedOnly: false, eventId });
        }
        return;
      }
      default: {
        const id = idOf(action.who);
        const contact = contactOf(id);
        if (action.do === 'create') {
          if (!contact) contacts.create(WORKSPACE_ID, { role: 'user', externalId: id });
        } else if (contact) {
          if (action.do === 'merge') {
            const lead = contacts.create(WORKSPACE_ID, { role: 'lead' });
            contacts.merge(lead.id, contact.id);
          } else contacts[action.do](contact.id);
        }
      }
    }
  }

  /** Ends all backoffs, so that the test does not wait for them. */
  async function hurry(prefix: string): Promise<void> {
    await world.db.database.query(
      `update event_deliveries set next_try_at = null where workspace_id = $1 and event_id like $2 and next_try_at is not null`,
      [WORKSPACE_ID, `${prefix}-%`],
    );
    await world.db.database.query(
      `update subscribers set due_at = now()
        where workspace_id = $1
          and subscriber_id in (select subscriber_id from subscribers
                                 where workspace_id = $1 and due_at > now() and due_at < now() + interval '1 day'
                                 order by subscriber_id for no key update)`,
      [WORKSPACE_ID],
    );
    await world.db.database.query(`select pg_notify('delivery', $1)`, [WORKSPACE_ID]);
  }

  async function expectedAttributes(id: string): Promise<Record<string, unknown>> {
    const { database } = world.db;
    const [found] = await findByAppUserIds(database, WORKSPACE_ID, [id]);
    assert.ok(found);
    const subscriber = await readSubscriber(database, WORKSPACE_ID, found.subscriberId);
    const history = (await readHistory(database, WORKSPACE_ID, found.subscriberId)).events;
    const values = contactAttributes(deriveState(history, null, Date.now()), subscriber?.appUserIds ?? []);
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
  }

  test('ends with every event on its contact once, and with the attributes of the last state', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 45 }), async (steps) => {
        run += 1;
        const prefix = `run${run}`;
        const ids = Array.from({ length: CUSTOMERS }, (_, customer) => `${prefix}-${customer}`);
        for (const action of steps) await perform(prefix, action);

        world.intercom.faults.clear();
        for (const id of ids) {
          for (const index of HISTORY.keys()) await webhook(id, index);
          const contact = contactOf(id);
          if (!contact) world.intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId: id });
          else if (contact.archived) world.intercom.contacts.unarchive(contact.id);
        }
        await until(async () => {
          await replayEvents(world.db.database, WORKSPACE_ID, { failedOnly: true });
          await hurry(prefix);
          const [row] = await world.db.database.query<{ left: string }>(
            `select count(*) as left from ${EVENT_STATES} where workspace_id = $1 and event_id like $2 and delivery <> 'delivered'`,
            [WORKSPACE_ID, `${prefix}-%`],
          );
          return row?.left === '0';
        }, 'everything to be delivered');

        for (const id of ids) {
          const own = world.intercom.state.events.filter((event) =>
            String(event.metadata.event_id).startsWith(`${id}/`),
          );
          assert.deepEqual(
            own.map((event) => [event.externalId, event.metadata.event_id]).sort(),
            [...HISTORY.keys()].map((index) => [id, `${id}/${index}`]),
          );
          const expected = await expectedAttributes(id);
          await until(async () => {
            const actual = contactOf(id)?.customAttributes ?? {};
            const same = Object.entries(expected).every(([name, value]) => actual[name] === value);
            if (!same) await hurry(prefix);
            return same && Object.keys(actual).length === Object.keys(expected).length;
          }, `the attributes of ${id}`);
        }
      }),
      { numRuns: 15, endOnFailure: true },
    );
  });
});
