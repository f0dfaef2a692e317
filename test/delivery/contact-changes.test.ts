import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  followMerge,
  readAttributesStatus,
  rematchByEmail,
  rematchByOldEmail,
  saveLink,
  unassignContact,
  wakeForContact,
  wakeWaitingFor,
} from '../../src/contacts/repository.ts';
import {
  assignContacts,
  type Claim,
  claimNext,
  type FinishedClaim,
  finishClaims,
  haveChanged,
  releaseClaim,
  renewLeases,
} from '../../src/delivery/claims.ts';
import { planWithOthers, savePlan } from '../../src/delivery/event-deliveries.ts';
import { createOutboxWriter } from '../../src/delivery/outbox.ts';
import { readHistory } from '../../src/subscribers/history.ts';
import { mergeSubscribers } from '../../src/subscribers/identity.ts';
import type { TimelineEntry } from '../../src/subscribers/stored-events.ts';
import { waitingForLocks } from '../support/database.ts';
import { until } from '../support/wait.ts';
import { createWorld, PROJECT_ID, WORKSPACE_ID, type World } from '../support/world.ts';
import { receive, stateOf } from './support.ts';

/** Intercom reports a change of a contact while its subscriber is claimed. */
describe('contact changes during a delivery', () => {
  let world: World;
  before(async () => {
    world = await createWorld();
  });
  after(() => world?.close());

  type Result = Omit<FinishedClaim, 'claim'>;
  const delivered: Result = {
    dueAtMs: null,
    contactId: 'c-1',
    attributesWritten: { rc_product: 'pro' },
    failedTries: 0,
    waiting: false,
    pendingEvents: 0,
    pendingReason: null,
  };

  /** @param known what is stored about the subscriber when it is claimed */
  async function claimNew(
    known: { contactId?: string; attributes?: Record<string, unknown>; email?: string } = {},
  ): Promise<Claim> {
    const { database } = world.db;
    const id = `held-${randomUUID()}`;
    await receive(world, id, { id });
    await database.query(
      `update subscribers s set contact_id = $3, attributes_written = $4, email = $5
         from subscriber_ids i
        where s.workspace_id = $1 and i.workspace_id = $1 and i.app_user_id = $2
          and i.subscriber_id = s.subscriber_id`,
      [
        WORKSPACE_ID,
        id,
        known.contactId ?? null,
        known.attributes ? JSON.stringify(known.attributes) : null,
        known.email ?? null,
      ],
    );
    const [claim] = await claimNext(database, WORKSPACE_ID, { owner: randomUUID(), limit: 1 });
    assert.ok(claim);
    return claim;
  }

  const countBlocked = async (): Promise<number> => (await waitingForLocks(world.db)).length;

  /** Stores a contact that was found before anything is written to it, as a delivery does. */
  async function assign(claim: Claim, result: Result): Promise<FinishedClaim> {
    const { contactId } = result;
    if (contactId === null || contactId === claim.contactId) return { claim, ...result };
    const stored = await assignContacts(world.db.database, WORKSPACE_ID, [{ claim, contactId }]);
    return stored.has(claim.subscriberId)
      ? { claim: { ...claim, contactId, attributesWritten: null }, ...result }
      : { claim, ...result, contactId: null, attributesWritten: null };
  }

  async function finish(claim: Claim, result: Result) {
    const { database } = world.db;
    const due = await finishClaims(database, { workspaceId: WORKSPACE_ID, nowMs: Date.now() }, [
      await assign(claim, result),
    ]);
    const [row] = await database.query<{ contact_id: string | null; attributes_written: unknown }>(
      `update subscribers set due_at = null where workspace_id = $1 and subscriber_id = $2
       returning contact_id, attributes_written`,
      [WORKSPACE_ID, claim.subscriberId],
    );
    return {
      isDue: due.has(claim.subscriberId),
      contactId: row?.contact_id,
      attributes: row?.attributes_written,
    };
  }

  test('several subscribers are locked in one order, so that no two statements wait for each other', async () => {
    const { database } = world.db;
    const contactId = 'c-shared';
    const email = 'shared@example.com';
    const lock = `select 1 from subscribers where workspace_id = $1 and subscriber_id = $2 for update`;
    const statements = {
      'unassign a contact': () => unassignContact(database, WORKSPACE_ID, contactId),
      'wake for a contact': () =>
        wakeForContact(database, WORKSPACE_ID, { contactId: 'c-new', externalId: null, email }),
      'renew leases': (owner: string, subscriberIds: string[]) =>
        renewLeases(database, WORKSPACE_ID, { owner, subscriberIds }),
    };
    for (const [name, run] of Object.entries(statements)) {
      const claims: Claim[] = [];
      for (let n = 0; n < 8; n += 1) claims.push(await claimNew({ contactId, email }));
      const ids = claims.map(({ subscriberId }) => subscriberId);
      const owner = randomUUID();
      await database.query(
        `update subscribers set lease_owner = $3 where workspace_id = $1 and subscriber_id = any($2)`,
        [WORKSPACE_ID, ids, owner],
      );
      // Without an order, PostgreSQL would first lock a subscriber with a higher id, which was stored before this one.
      const held = ids.find((id, at) => ids.slice(0, at).some((earlier) => earlier > id)) ?? '';
      let running: Promise<unknown> = Promise.resolve();
      await database.transaction(async (sql) => {
        await sql.query(lock, [WORKSPACE_ID, held]);
        running = run(owner, ids);
        await until(async () => (await countBlocked()) > 0, `${name} to wait`);
        for (const id of ids.filter((each) => each > held))
          await sql.query(`${lock} nowait`, [WORKSPACE_ID, id]).catch((error: Error) => {
            throw new Error(`${name}: ${error.message}`);
          });
      });
      await running;
      await database.query(
        `update subscribers set contact_id = null, email = null, due_at = null, lease_owner = null
          where workspace_id = $1 and subscriber_id = any($2)`,
        [WORKSPACE_ID, ids],
      );
    }
  });

  test('none: what was written is stored', async () => {
    const claim = await claimNew();
    assert.deepEqual(await finish(claim, delivered), {
      isDue: false,
      contactId: 'c-1',
      attributes: { rc_product: 'pro' },
    });
  });

  test('the contact was deleted: it is looked up again', async () => {
    const claim = await claimNew({ contactId: 'c-gone', attributes: { rc_product: 'basic' } });
    assert.equal(await unassignContact(world.db.database, WORKSPACE_ID, 'c-gone'), 1);
    assert.deepEqual(await finish(claim, { ...delivered, contactId: 'c-gone' }), {
      isDue: true,
      contactId: null,
      attributes: null,
    });
  });

  test('another contact was merged into it: its attributes are written again', async () => {
    const claim = await claimNew({ contactId: 'c-kept', attributes: { rc_product: 'basic' } });
    await followMerge(world.db.database, WORKSPACE_ID, { from: 'c-merged', into: 'c-kept' });
    assert.deepEqual(await finish(claim, { ...delivered, contactId: 'c-kept' }), {
      isDue: true,
      contactId: 'c-kept',
      attributes: null,
    });
  });

  test('another contact was merged into one just found: it is looked up and written to again', async () => {
    const claim = await claimNew();
    const [row] = await world.db.database.query<{ app_user_id: string }>(
      'select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, claim.subscriberId],
    );
    await followMerge(world.db.database, WORKSPACE_ID, { from: 'c-lead', into: 'c-4' });
    const seen = { contactId: 'c-4', externalId: row?.app_user_id ?? '', email: null };
    assert.equal(await wakeForContact(world.db.database, WORKSPACE_ID, seen), 1);
    const found = await finish(claim, { ...delivered, contactId: 'c-4' });
    assert.deepEqual(found, { isDue: true, contactId: null, attributes: null });
  });

  test('a contact just found gets another e-mail: it is looked up again', async () => {
    const claim = await claimNew({ email: 'old@example.com' });
    const seen = { contactId: 'c-5', externalId: null, email: 'new@example.com' };
    assert.equal(await rematchByOldEmail(world.db.database, WORKSPACE_ID, seen), 1);
    const found = await finish(claim, { ...delivered, contactId: 'c-5' });
    assert.deepEqual(found, { isDue: true, contactId: null, attributes: null });
  });

  test('a contact appears that was just not found: it is looked up again', async () => {
    const email = 'ada@example.com';
    const claim = await claimNew({ email });
    const seen = { contactId: 'c-2', externalId: null, email };
    assert.equal(await wakeForContact(world.db.database, WORKSPACE_ID, seen), 1);
    const waiting = { ...delivered, contactId: null, attributesWritten: null, attempts: 1, waiting: true };
    assert.equal((await finish(claim, waiting)).isDue, true);
  });

  test('the contact that it had is unarchived: it is looked up again', async () => {
    const claim = await claimNew({ contactId: 'c-3' });
    const [row] = await world.db.database.query<{ app_user_id: string }>(
      'select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, claim.subscriberId],
    );
    const seen = { contactId: 'c-3', externalId: row?.app_user_id ?? '', email: null };
    assert.equal(await wakeForContact(world.db.database, WORKSPACE_ID, seen), 1);
    const waiting = { ...delivered, contactId: null, attributesWritten: null, attempts: 1, waiting: true };
    assert.equal((await finish(claim, waiting)).isDue, true);
  });

  test('another worker has taken it over: what was written after its lease ended is written again', async () => {
    const { database } = world.db;
    const isDue = async (claim: Claim, result: Result) => {
      await database.query(
        `update subscribers set lease_owner = null, due_at = null where workspace_id = $1 and subscriber_id = $2`,
        [WORKSPACE_ID, claim.subscriberId],
      );
      await finishClaims(database, { workspaceId: WORKSPACE_ID, nowMs: Date.now() }, [{ claim, ...result }]);
      const [row] = await database.query<{ is_due: boolean; attributes_written: unknown }>(
        `update subscribers s set due_at = null
           from subscribers old
          where s.workspace_id = $1 and s.subscriber_id = $2
            and old.workspace_id = $1 and old.subscriber_id = s.subscriber_id
         returning old.due_at is not null as is_due, s.attributes_written`,
        [WORKSPACE_ID, claim.subscriberId],
      );
      return [row?.is_due, row?.attributes_written];
    };
    const known = { contactId: 'c-1', attributes: { rc_product: 'new' } };
    const written = await claimNew(known);
    assert.deepEqual(await isDue(written, { ...delivered, attributesWritten: { rc_product: 'old' } }), [
      true,
      null,
    ]);
    const unwritten = await claimNew(known);
    const { attributesWritten } = unwritten;
    assert.deepEqual(await isDue(unwritten, { ...delivered, attributesWritten }), [false, known.attributes]);
  });

  test('another worker has taken it over and ended: a contact found before assigns nothing', async () => {
    const { database } = world.db;
    const claim = await claimNew({ contactId: 'c-1', attributes: { rc_product: 'pro' } });
    await database.query(
      `update subscribers set lease_owner = null, due_at = null where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, claim.subscriberId],
    );
    const stored = await assignContacts(database, WORKSPACE_ID, [{ claim, contactId: 'c-2' }]);
    assert.deepEqual([...stored], []);
    const [row] = await database.query<{ contact_id: string; attributes_written: unknown }>(
      'select contact_id, attributes_written from subscribers where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, claim.subscriberId],
    );
    assert.deepEqual(row, { contact_id: 'c-1', attributes_written: { rc_product: 'pro' } });
  });

  test('another worker has sent an event: a failure or a plan that is known only then changes nothing', async () => {
    const { database } = world.db;
    const { subscriberId } = await claimNew();
    const [event] = await database.query<{ event_id: string; project_id: string; received_at: Date }>(
      `select event_id, project_id, received_at from events where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, subscriberId],
    );
    assert.ok(event);
    await database.query(
      `insert into event_deliveries (workspace_id, subscriber_id, project_id, event_id, received_at, sent_name, sent_at_s)
       values ($1, $2, $3, $4, $5, 'rc_renewal_event', 1)`,
      [WORKSPACE_ID, subscriberId, event.project_id, event.event_id, event.received_at],
    );
    const { recordResult } = createOutboxWriter(database, Date.now);
    const result = {
      subscriberId,
      projectId: event.project_id,
      eventId: event.event_id,
      request: {},
      message: null,
      answer: null,
      nextTryAtMs: null,
      tries: 1,
    } as const;
    const sent = { state: 'delivered', status: 202, code: 'ok', reason: null, contactId: 'c-1' } as const;
    const reason = 'intercom_unavailable';
    const failed = { state: 'pending', status: null, code: reason, reason, contactId: null } as const;
    await recordResult(WORKSPACE_ID, { ...result, ...sent });
    await recordResult(WORKSPACE_ID, { ...result, ...failed });
    const [entry] = (await readHistory(database, WORKSPACE_ID, subscriberId)).events;
    assert.ok(entry);
    const skipped = { action: 'skip', entry, reason: 'sandbox' } as const;
    await savePlan(database, WORKSPACE_ID, [{ subscriberId, events: [skipped] }]);
    const state = await stateOf(world, event.event_id);
    assert.deepEqual([state?.delivery, state?.reason], ['delivered', null]);
    await database.query(
      `update subscribers set due_at = null, lease_owner = null where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, subscriberId],
    );
  });

  test('a contact whose customer is about to write its attributes is not cleared', async () => {
    const { database } = world.db;
    const { subscriberId } = await claimNew({ contactId: 'c-next' });
    assert.equal(await readAttributesStatus(database, WORKSPACE_ID, 'c-next'), 'pending');
    await database.query(
      `update subscribers set due_at = null, lease_owner = null where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, subscriberId],
    );
    assert.equal(await readAttributesStatus(database, WORKSPACE_ID, 'c-next'), 'none');
  });

  test('matching by e-mail is switched off: who is just being matched is matched again', async () => {
    const { database } = world.db;
    const claim = await claimNew({ email: 'just@example.com' });
    await rematchByEmail(database, WORKSPACE_ID);
    assert.deepEqual(await haveChanged(database, WORKSPACE_ID, [claim]), [true]);
    await database.query(
      `update subscribers set due_at = null, lease_owner = null where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, claim.subscriberId],
    );
  });

  test('only leases that are still held are renewed or released', async () => {
    const { database } = world.db;
    const [kept, lost] = [await claimNew(), await claimNew()];
    const ids = [kept.subscriberId, lost.subscriberId];
    await database.query(
      `update subscribers set lease_owner = $3 where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, kept.subscriberId, lost.owner],
    );
    const renew = (owner: string) =>
      renewLeases(database, WORKSPACE_ID, { owner, subscriberIds: [kept.subscriberId, lost.subscriberId] });
    assert.deepEqual(await renew(kept.owner), new Set());
    assert.deepEqual(await renew(lost.owner), new Set(ids));
    await releaseClaim(database, kept);
    assert.deepEqual(await claimNext(database, WORKSPACE_ID, { owner: randomUUID(), limit: 2 }), []);
    await releaseClaim(database, lost);
    assert.deepEqual(await renew(lost.owner), new Set([kept.subscriberId]), 'a released one stays released');
    await database.query(
      `update subscribers set due_at = null where workspace_id = $1 and subscriber_id = any($2)`,
      [WORKSPACE_ID, ids],
    );
  });

  test('its customer is erased: nothing is planned', async () => {
    const { database } = world.db;
    const { subscriberId } = await claimNew();
    const values = [WORKSPACE_ID, subscriberId];
    const rows = (table: string) =>
      database.query<{ event_id: string }>(
        `select event_id from ${table} where workspace_id = $1 and subscriber_id = $2`,
        values,
      );
    const [entry] = (await readHistory(database, WORKSPACE_ID, subscriberId)).events;
    assert.ok(entry);
    const skipped = { action: 'skip', entry, reason: 'sandbox' } as const;
    let planning: Promise<unknown> = Promise.resolve();
    await database.transaction(async (sql) => {
      for (const table of ['subscribers', 'event_deliveries'])
        await sql.query(`delete from ${table} where workspace_id = $1 and subscriber_id = $2`, values);
      planning = savePlan(database, WORKSPACE_ID, [{ subscriberId, events: [skipped] }]);
      await until(
        async () => (await countBlocked()) > 0 || (await rows('event_deliveries')).length > 0,
        'the plan to wait',
      );
      await sql.query(`delete from events where workspace_id = $1 and subscriber_id = $2`, values);
    });
    await planning;
    assert.deepEqual(await rows('event_deliveries'), []);
  });

  test('it is merged into another: nothing is planned, and nothing is sent', async () => {
    const { database } = world.db;
    const claims = [await claimNew({ contactId: 'c-merged' }), await claimNew({ contactId: 'c-merged' })];
    const planOf = async ({ subscriberId }: Claim) => {
      const [entry] = (await readHistory(database, WORKSPACE_ID, subscriberId)).events;
      assert.ok(entry);
      const sentAs = { name: 'renewed', atS: 1_700_000_000 };
      return { subscriberId, events: [{ action: 'send', entry, sentAs } as const] };
    };
    const plans = await Promise.all(claims.map(planOf));
    const ids = claims.map(({ subscriberId }) => subscriberId);
    let planning: Promise<unknown> = Promise.resolve();
    const keeper = await database.transaction(async (sql) => {
      const kept = await mergeSubscribers(sql, WORKSPACE_ID, ids);
      planning = savePlan(database, WORKSPACE_ID, plans);
      await until(async () => (await countBlocked()) > 0, 'the plan to wait');
      return kept;
    });
    await planning;
    const planned = async () =>
      (
        await database.query<{ subscriber_id: string }>(
          `select subscriber_id from event_deliveries where workspace_id = $1 and subscriber_id = any($2)`,
          [WORKSPACE_ID, ids],
        )
      ).map((row) => row.subscriber_id);
    assert.deepEqual(await planned(), [keeper]);
    await savePlan(database, WORKSPACE_ID, plans);
    assert.deepEqual(await planned(), [keeper]);

    const { assignContact } = createOutboxWriter(database, Date.now);
    for (const claim of claims) {
      const mayWrite = (await assignContact(WORKSPACE_ID, { claim, contactId: 'c-merged' })) !== null;
      assert.equal(mayWrite, claim.subscriberId === keeper);
    }
  });

  test('it is merged into one that shares its contact: its events are not planned beside those of the other', async () => {
    const { database } = world.db;
    const claims = [
      await claimNew({ contactId: 'c-shared-merge' }),
      await claimNew({ contactId: 'c-shared-merge' }),
    ];
    const ids = claims.map(({ subscriberId }) => subscriberId);
    const planning: Promise<unknown>[] = [];
    const keeper = await database.transaction(async (sql) => {
      const kept = await mergeSubscribers(sql, WORKSPACE_ID, ids);
      for (const claim of claims) {
        const others = ids.filter((id) => id !== claim.subscriberId);
        planning.push(planWithOthers(database, { ...claim, others }, () => []));
      }
      await until(async () => (await countBlocked()) === claims.length, 'both plans to wait');
      return kept;
    });
    const planned = await Promise.all(planning);
    assert.deepEqual(
      planned,
      ids.map((id) => (id === keeper ? [] : null)),
    );
  });

  test('it is merged into another while its event is sent: the result is stored with the event', async () => {
    const { database } = world.db;
    const claims = [await claimNew({ contactId: 'c-old' }), await claimNew({ contactId: 'c-new' })];
    const entries: TimelineEntry[] = [];
    for (const { subscriberId } of claims) {
      const [entry] = (await readHistory(database, WORKSPACE_ID, subscriberId)).events;
      assert.ok(entry);
      const sentAs = { name: 'renewed', atS: 1_700_000_000 };
      await savePlan(database, WORKSPACE_ID, [{ subscriberId, events: [{ action: 'send', entry, sentAs }] }]);
      entries.push(entry);
    }
    await database.transaction((sql) =>
      mergeSubscribers(
        sql,
        WORKSPACE_ID,
        claims.map(({ subscriberId }) => subscriberId),
      ),
    );
    const { recordResult } = createOutboxWriter(database, Date.now);
    const accepted = { state: 'delivered', status: 202, code: 'ok', contactId: 'c-old', tries: 1 } as const;
    const nothing = { request: {}, message: null, answer: null, reason: null, nextTryAtMs: null };
    for (const [index, { id, projectId }] of entries.entries()) {
      const subscriberId = claims[index]?.subscriberId ?? '';
      await recordResult(WORKSPACE_ID, { subscriberId, eventId: id, projectId, ...nothing, ...accepted });
      assert.equal((await stateOf(world, id))?.delivery, 'delivered');
    }
    await database.query('update subscribers set due_at = null, lease_owner = null where workspace_id = $1', [
      WORKSPACE_ID,
    ]);
  });

  test('a card wakes what waits for its contact, once, and nothing else', async () => {
    const { database } = world.db;
    const first = await claimNew();
    const { subscriberId } = first;
    const [row] = await database.query<{ app_user_id: string }>(
      'select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, subscriberId],
    );
    const externalId = row?.app_user_id ?? '';
    const open = () => wakeWaitingFor(database, WORKSPACE_ID, externalId);
    const waiting = { ...delivered, contactId: null, dueAtMs: Date.now() + 3_600_000, waiting: true };
    const finish = (claim: Claim) =>
      finishClaims(database, { workspaceId: WORKSPACE_ID, nowMs: Date.now() }, [{ claim, ...waiting }]);
    assert.equal(await open(), 1, 'its lookup may have come before the contact');
    assert.deepEqual([...(await finish(first))], [subscriberId], 'it is looked up again');
    const [claim] = await claimNext(database, WORKSPACE_ID, { owner: randomUUID(), limit: 1 });
    assert.ok(claim);
    await finish(claim);
    assert.equal(await wakeWaitingFor(database, WORKSPACE_ID, 'somebody-else'), 0);
    assert.equal(await wakeWaitingFor(database, 'other', externalId), 0);
    assert.equal(await open(), 1);
    assert.equal(await open(), 0, 'it is due already');
    const [claimed] = await claimNext(database, WORKSPACE_ID, { owner: randomUUID(), limit: 1 });
    assert.ok(claimed);
    assert.equal(claimed.subscriberId, claim.subscriberId);
    await finishClaims(database, { workspaceId: WORKSPACE_ID, nowMs: Date.now() }, [
      { claim: claimed, ...delivered },
    ]);
    assert.equal(await open(), 0, 'it has its contact');
  });

  test('a contact that is reported again wakes neither its customer nor another one with its e-mail', async () => {
    const email = 'shared-by-two@example.com';
    const report = (contactId: string, externalId: string | null) =>
      wakeForContact(world.db.database, WORKSPACE_ID, { contactId, externalId, email });
    const claim = await claimNew({ email });
    const [row] = await world.db.database.query<{ app_user_id: string }>(
      'select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, claim.subscriberId],
    );
    await finish(claim, { ...delivered, contactId: 'c-own' });
    assert.equal(await report('c-own', row?.app_user_id ?? ''), 0);
    assert.equal(await report('c-other', null), 0);
    assert.equal(
      await report('c-other', row?.app_user_id ?? ''),
      1,
      'the contact of its app user id has changed',
    );
  });

  test('who may write to the contact is known before they have it: linked to it, or with a shared id', async () => {
    const { database } = world.db;
    const claims = [await claimNew(), await claimNew(), await claimNew()];
    const [claim, ...others] = claims.map(({ subscriberId }) => subscriberId);
    const [linked, sharing] = others;
    assert.ok(claims[0] && linked && sharing);
    const contactId = 'c-of-three';
    const madeBy = { id: 'admin', name: 'Ada' };
    await saveLink(database, {
      workspaceId: WORKSPACE_ID,
      contactId,
      projectId: PROJECT_ID,
      subscriberId: linked,
      madeBy,
    });
    await database.query(
      `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
       select workspace_id, 'other-project', app_user_id, $3 from subscriber_ids
        where workspace_id = $1 and subscriber_id = $2`,
      [WORKSPACE_ID, claim, sharing],
    );
    const { assignContact } = createOutboxWriter(database, Date.now);
    const found = await assignContact(WORKSPACE_ID, { claim: claims[0], contactId });
    assert.deepEqual(found?.toSorted(), others.toSorted());
  });
});
