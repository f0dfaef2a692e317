import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AppError } from '../../src/errors.ts';
import {
  createIntercomClient,
  type IntercomClient,
  type IntercomDataAttribute,
} from '../../src/intercom/client.ts';
import { fitAttribute, provisionAttributes } from '../../src/intercom/data-attributes.ts';
import { CONTACT_ATTRIBUTES } from '../../src/subscription/contact-values.ts';

const ALL = CONTACT_ATTRIBUTES.map(({ name }) => name);

/** Our attributes as a workspace that has created them lists them, each with its index as id. */
function existing(changes: Record<string, Partial<IntercomDataAttribute>>): IntercomDataAttribute[] {
  return CONTACT_ATTRIBUTES.map(({ name, dataType }, id) => ({
    id,
    name,
    data_type: dataType,
    custom: true,
    api_writable: true,
    messenger_writable: false,
    archived: false,
    ...changes[name],
  }));
}

/** A workspace with these attributes; calls other than those below fail, because they go to a closed port. */
function workspaceOf(attributes: IntercomDataAttribute[], methods: Partial<IntercomClient> = {}) {
  const updates: unknown[] = [];
  const client: IntercomClient = {
    ...createIntercomClient({ apiUrl: 'http://127.0.0.1:1', accessToken: 'none' }),
    listDataAttributes: async () => attributes,
    updateDataAttribute: async (id, changes) => void updates.push([ALL[Number(id)], changes]),
    ...methods,
  };
  return { client, updates };
}

describe('creating contact attributes', () => {
  test('existing attributes are not changed', async () => {
    const { client, updates } = workspaceOf(existing({}));
    const { available, created, failed } = await provisionAttributes(client);
    assert.deepEqual([[...available.keys()], created, failed, updates], [ALL, [], [], []]);
  });

  test('a name that another installation creates concurrently is not missing; one that is refused is', async () => {
    const all = existing({});
    const lists = [all.slice(2), all.slice(1)];
    const { client } = workspaceOf(all, {
      listDataAttributes: async () => lists.shift() ?? [],
      createDataAttribute: async ({ name }) => {
        throw new AppError('intercom_rejected', `You already have '${name}'`);
      },
    });
    const { available, created, failed } = await provisionAttributes(client);
    assert.deepEqual([...available.keys()].toSorted(), ALL.slice(1).toSorted());
    assert.deepEqual([created, failed.map(({ name }) => name)], [[], ALL.slice(0, 1)]);
  });

  test('an archived one that cannot be restored is missing: Intercom refuses to write it', async () => {
    const { client } = workspaceOf(existing({ expires_at: { archived: true } }), {
      updateDataAttribute: async () => {
        throw new AppError('intercom_rejected', 'You have reached the limit of 250 attributes');
      },
    });
    const { available, created, failed } = await provisionAttributes(client);
    assert.deepEqual([available.has('expires_at'), created], [false, []]);
    assert.deepEqual(
      failed.map(({ name }) => name),
      ['expires_at'],
    );
  });

  test('a whole number is written where the workspace has made an attribute for those', () => {
    assert.deepEqual(
      [9.99, 9.4, '9', true].map((value) => fitAttribute(value, { data_type: 'integer' })),
      [10, 9, undefined, undefined],
    );
  });

  test('customers cannot write any of them, whoever made it', async () => {
    const { client, updates } = workspaceOf(
      existing({
        subscription_status: { messenger_writable: true },
        expires_at: { messenger_writable: true, archived: true },
      }),
    );
    const { created } = await provisionAttributes(client);
    assert.deepEqual(created, ['expires_at']);
    assert.deepEqual(updates, [
      ['subscription_status', { messenger_writable: false }],
      ['expires_at', { archived: false, messenger_writable: false }],
    ]);
  });

  test('one that cannot be closed to the Messenger is still written', async () => {
    const { client } = workspaceOf(existing({ rc_product: { messenger_writable: true } }), {
      updateDataAttribute: () => Promise.reject(new AppError('intercom_rejected', 'Intercom answered 422')),
    });
    const { available, failed } = await provisionAttributes(client);
    assert.deepEqual([[...available.keys()], failed], [ALL, []]);
  });

  test('one that no app may write is left out, and the others are written', async () => {
    for (const change of [{ custom: false }, { api_writable: false }]) {
      let listed = 0;
      const { client } = workspaceOf([], {
        listDataAttributes: async () => {
          listed += 1;
          return existing({ expires_at: change });
        },
      });
      const { available, failed } = await provisionAttributes(client);
      assert.deepEqual(
        [...available.keys()],
        [...ALL].filter((name) => name !== 'expires_at'),
      );
      assert.deepEqual(
        failed.map(({ name }) => name),
        ['expires_at'],
      );
      assert.equal(listed, 1, 'a second list would not change that');
    }
  });

  test('one of a type that holds none of its values is missing; what fits, or may be among options, is not', async () => {
    const { client, updates } = workspaceOf(
      existing({
        subscription_status: { options: [{ value: 'active' }] },
        latest_entitlement: { data_type: 'integer' },
        expires_at: { data_type: 'string' },
        rc_trial_ends_at: { data_type: 'boolean' },
        rc_lifetime_value_usd: { data_type: 'integer' },
      }),
    );
    const { available, failed } = await provisionAttributes(client);
    assert.deepEqual(failed, [
      { name: 'latest_entitlement', reason: 'latest_entitlement is integer, not string' },
      { name: 'rc_trial_ends_at', reason: 'rc_trial_ends_at is boolean, not date' },
    ]);
    assert.deepEqual(available.get('subscription_status')?.options, [{ value: 'active' }]);
    assert.deepEqual(updates, []);
  });
});
