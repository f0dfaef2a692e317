import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createContact, findContact, idToCreate } from '../../src/contacts/match.ts';
import { AppError } from '../../src/errors.ts';
import {
  createIntercomClient,
  type IntercomClient,
  type IntercomContact,
} from '../../src/intercom/client.ts';
import { DEFAULT_SETTINGS } from '../../src/workspaces/settings.ts';

const contact = (id: string, fields: Partial<IntercomContact> = {}): IntercomContact => ({
  id,
  external_id: null,
  ...fields,
});

/** A client with these methods; all others fail, because they call a closed port. */
function clientWith(methods: Partial<IntercomClient>): IntercomClient {
  return { ...createIntercomClient({ apiUrl: 'http://127.0.0.1:1', accessToken: 'none' }), ...methods };
}

function conflict(message: string): AppError {
  return new AppError('intercom_rejected', `Creating a contact: Intercom answered 409 conflict: ${message}`, {
    upstreamStatus: 409,
  });
}

describe('making a contact', () => {
  test('a different contact with the same e-mail is never taken: the new contact is created without it', async () => {
    const bodies: unknown[] = [];
    const client = clientWith({
      createContact: async (body) => {
        bodies.push(body);
        if ('email' in body) throw conflict('A contact matching those details already exists with id=5f01');
        return contact('fresh');
      },
      followContact: async (id) => contact(id, { external_id: 'victim' }),
    });
    assert.equal(await createContact(client, { appUserId: 'u1', email: 'a@example.com' }), 'fresh');
    assert.deepEqual(bodies, [
      { role: 'user', external_id: 'u1', email: 'a@example.com' },
      { role: 'user', external_id: 'u1' },
    ]);
  });

  test('a 409 that names another contact makes the events wait', async () => {
    for (const message of [
      'already exists',
      'A contact matching those details already exists with id=5f01',
    ]) {
      const client = clientWith({
        createContact: () => Promise.reject(conflict(message)),
        followContact: async () => null,
      });
      assert.equal(await createContact(client, { appUserId: 'u1', email: null }), null);
    }
  });

  test('the archived contact of the same app user id is unarchived, and no other', async () => {
    const restored: string[] = [];
    const create = (named: string, externalId: string): Promise<string | null> => {
      const client = clientWith({
        createContact: () =>
          Promise.reject(conflict(`${named} matching those details already exists with id=5f01`)),
        followContact: async (id) => contact(`now-${id}`, { external_id: externalId }),
        unarchiveContact: async (id) => void restored.push(id),
      });
      return createContact(client, { appUserId: 'u1', email: null });
    };
    assert.equal(await create('An archived contact', 'victim'), null);
    assert.equal(await create('A contact', 'u1'), 'now-5f01', 'it was not found yet');
    assert.deepEqual(restored, []);
    assert.equal(await create('An archived contact', 'u1'), 'now-5f01');
    assert.deepEqual(restored, ['now-5f01']);
  });

  test('an archived contact that cannot be read is taken for the app user id, not for the e-mail', async () => {
    const steps: unknown[] = [];
    const client = clientWith({
      createContact: async (body) => {
        steps.push(body.email ?? 'no e-mail');
        throw conflict(
          `An archived contact matching those details already exists with id=${'email' in body ? '5f02' : '5f01'}`,
        );
      },
      followContact: async () => null,
      unarchiveContact: async (id) => void steps.push(id),
    });
    assert.equal(await createContact(client, { appUserId: 'u1', email: 'a@example.com' }), '5f01');
    assert.deepEqual(steps, ['a@example.com', 'no e-mail', '5f01']);
  });

  test('a contact is created without an e-mail that Intercom refuses', async () => {
    const refused = (): AppError =>
      new AppError('intercom_rejected', 'Creating a contact: Intercom answered 400', { upstreamStatus: 400 });
    const client = clientWith({
      createContact: async (body) => {
        if ('email' in body) throw refused();
        return contact('fresh');
      },
    });
    assert.equal(await createContact(client, { appUserId: 'u1', email: 'a@b@c' }), 'fresh');
    const refusing = clientWith({ createContact: () => Promise.reject(refused()) });
    await assert.rejects(createContact(refusing, { appUserId: 'u1', email: 'a@b@c' }), {
      code: 'intercom_rejected',
    });
    const code = 'intercom_unavailable';
    const unavailable = clientWith({
      createContact: async (body) => {
        if ('email' in body) throw new AppError(code, 'Intercom does not answer');
        return contact('without');
      },
    });
    await assert.rejects(createContact(unavailable, { appUserId: 'u1', email: 'a@example.com' }), { code });
  });

  test('who gets one is the workspace’s choice', () => {
    const wants = (create: 'never' | 'identified' | 'all') => ({
      ...DEFAULT_SETTINGS,
      contacts: { create, matchByEmail: false },
    });
    const anonymous = '$RCAnonymousID:1';
    assert.equal(idToCreate(['u1'], wants('never')), null);
    assert.equal(idToCreate([anonymous, 'u1'], wants('identified')), 'u1');
    assert.equal(idToCreate([anonymous], wants('identified')), null);
    assert.equal(idToCreate([anonymous], wants('all')), anonymous);
    assert.equal(idToCreate(['$RC_PREVIEW_MODE_USER'], wants('all')), null);
    assert.equal(idToCreate(['null', 'undefined'], wants('all')), null);
  });
});

describe('finding a contact', () => {
  const asked: string[] = [];
  const client = clientWith({
    followContact: async (id) =>
      id === 'gone' ? null : contact(id === 'merged' ? 'survivor' : id, { archived: id === 'archived' }),
    findByExternalId: async (id) => {
      asked.push(id);
      return id === 'u2' ? contact('by-u2') : id === '$RCAnonymousID:1' ? contact('by-anonymous') : null;
    },
    searchByEmail: async (email) =>
      email === 'two@example.com' ? [contact('a'), contact('b')] : [contact('by-mail')],
  });
  const settings = { ...DEFAULT_SETTINGS, contacts: { create: 'never' as const, matchByEmail: true } };
  const look = (input: Partial<Parameters<typeof findContact>[1]>) =>
    findContact(client, {
      linkedContactIds: [],
      appUserIds: [],
      email: null,
      settings,
      gone: new Set(),
      ...input,
    });

  const cases: [string, Partial<Parameters<typeof findContact>[1]>, string | null][] = [
    ['a saved link comes first', { linkedContactIds: ['linked'], appUserIds: ['u2'] }, 'linked'],
    ['a link to a deleted contact is skipped', { linkedContactIds: ['gone'], appUserIds: ['u2'] }, 'by-u2'],
    ['a link to an archived contact, too', { linkedContactIds: ['archived'], appUserIds: ['u2'] }, 'by-u2'],
    ['identified ids before anonymous ones', { appUserIds: ['$RCAnonymousID:1', 'u2'] }, 'by-u2'],
    ['an anonymous id when nothing else matches', { appUserIds: ['$RCAnonymousID:1', 'u1'] }, 'by-anonymous'],
    ['the e-mail last', { appUserIds: ['u1'], email: 'one@example.com' }, 'by-mail'],
    ['an e-mail of two contacts matches neither', { email: 'two@example.com' }, null],
    [
      'an e-mail only where the workspace has switched it on',
      { email: 'one@example.com', settings: DEFAULT_SETTINGS },
      null,
    ],
    [
      'a contact that was just found to be deleted is not found again',
      { appUserIds: ['u2'], gone: new Set(['by-u2']) },
      null,
    ],
  ];
  for (const [name, input, expected] of cases) {
    test(name, async () => assert.equal((await look(input))?.contactId ?? null, expected));
  }

  test('a merged contact’s link is reported, so that it can follow', async () => {
    assert.deepEqual(await look({ linkedContactIds: ['merged'] }), {
      contactId: 'survivor',
      mergedLink: 'merged',
    });
    assert.equal((await look({ linkedContactIds: ['linked'] }))?.mergedLink, undefined);
  });

  test('blocked ids are not looked up', async () => {
    asked.length = 0;
    await look({ appUserIds: ['null', 'guest', 'u1'] });
    assert.deepEqual(asked, ['u1']);
  });

  test('dozens of anonymous ids do not cost dozens of calls', async () => {
    asked.length = 0;
    const anonymous = Array.from({ length: 48 }, (_, index) => `$RCAnonymousID:alias-${index}`);
    await look({ appUserIds: [...anonymous, 'u1'] });
    assert.equal(asked[0], 'u1');
    assert.ok(asked.length < 24, `${asked.length} calls`);
    asked.length = 0;
    const identified = Array.from({ length: 24 }, (_, index) => `user-${index}`);
    await look({ appUserIds: identified });
    assert.deepEqual(asked.toSorted(), identified.toSorted());
  });
});
