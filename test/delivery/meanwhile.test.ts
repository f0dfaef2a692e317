import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  followMerge,
  forgetContact,
  forgetOldEmail,
  wakeForContact,
} from '../../src/contacts/contacts-store.ts';
import { type Claim, claimSubscribers, type Ending, finishClaims } from '../../src/delivery/store.ts';
import { createWorld, WORKSPACE_ID, type World } from '../support/world.ts';
import { receive } from './support.ts';

/** What Intercom tells of a contact while a worker has its subscriber in hand. */
describe('meanwhile', () => {
  let world: World;
  before(async () => {
    world = await createWorld();
  });
  after(() => world?.close());

  const delivered: Ending = {
    dueAtMs: null,
    contactId: 'c-1',
    attributesWritten: { rc_product: 'pro' },
    attempts: 0,
    waiting: false,
  };

  /** @param known what is stored of the subscriber when it is claimed */
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
    const [claim] = await claimSubscribers(database, WORKSPACE_ID, randomUUID(), 1);
    assert.ok(claim);
    return claim;
  }

  async function finish(claim: Claim, ending: Ending) {
    const { database } = world.db;
    const due = await finishClaims(database, WORKSPACE_ID, [{ claim, ending }]);
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

  test('nothing: what was written is remembered', async () => {
    const claim = await claimNew();
    assert.deepEqual(await finish(claim, delivered), {
      isDue: false,
      contactId: 'c-1',
      attributes: { rc_product: 'pro' },
    });
  });

  test('the contact is gone: it is looked for again', async () => {
    const claim = await claimNew({ contactId: 'c-gone', attributes: { rc_product: 'basic' } });
    assert.equal(await forgetContact(world.db.database, WORKSPACE_ID, 'c-gone'), 1);
    assert.deepEqual(await finish(claim, { ...delivered, contactId: 'c-gone' }), {
      isDue: true,
      contactId: null,
      attributes: null,
    });
  });

  test('another contact was merged into it: its attributes are written anew', async () => {
    const claim = await claimNew({ contactId: 'c-kept', attributes: { rc_product: 'basic' } });
    await followMerge(world.db.database, WORKSPACE_ID, 'c-merged', 'c-kept');
    assert.deepEqual(await finish(claim, { ...delivered, contactId: 'c-kept' }), {
      isDue: true,
      contactId: 'c-kept',
      attributes: null,
    });
  });

  test('another contact was merged into one just found: it is looked for and written to once more', async () => {
    const claim = await claimNew();
    const [row] = await world.db.database.query<{ app_user_id: string }>(
      'select app_user_id from subscriber_ids where workspace_id = $1 and subscriber_id = $2',
      [WORKSPACE_ID, claim.subscriberId],
    );
    await followMerge(world.db.database, WORKSPACE_ID, 'c-lead', 'c-4');
    const seen = { contactId: 'c-4', externalId: row?.app_user_id ?? '', email: null };
    assert.equal(await wakeForContact(world.db.database, WORKSPACE_ID, seen), 1);
    const found = await finish(claim, { ...delivered, contactId: 'c-4' });
    assert.deepEqual(found, { isDue: true, contactId: null, attributes: null });
  });

  test('a contact just found gets another e-mail: it is looked for again', async () => {
    const claim = await claimNew({ email: 'old@example.com' });
    const seen = { contactId: 'c-5', externalId: null, email: 'new@example.com' };
    assert.equal(await forgetOldEmail(world.db.database, WORKSPACE_ID, seen), 1);
    const found = await finish(claim, { ...delivered, contactId: 'c-5' });
    assert.deepEqual(found, { isDue: true, contactId: null, attributes: null });
  });

  test('a contact appears that was just looked for in vain: it is looked for again', async () => {
    const email = 'ada@example.com';
    const claim = await claimNew({ email });
    const seen = { contactId: 'c-2', externalId: null, email };
    assert.equal(await wakeForContact(world.db.database, WORKSPACE_ID, seen), 1);
    const waiting = { ...delivered, contactId: null, attributesWritten: null, attempts: 1, waiting: true };
    assert.equal((await finish(claim, waiting)).isDue, true);
  });

  test('the contact that it had comes back from the archive: it is looked for again', async () => {
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
});
