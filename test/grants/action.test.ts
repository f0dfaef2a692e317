import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACTION_STATES, type ActionState, TRANSITIONS } from '../../src/grants/action.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const nextStates = (state: ActionState): ActionState[] =>
  Object.values(TRANSITIONS).flatMap(({ from, to }) => (from === state ? [to] : []));

describe('the state machine of actions', () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db?.close());

  test('has the states that the table allows, and no others', async () => {
    const [row] = await db.database.query<{ definition: string }>(
      `select pg_get_constraintdef(oid) as definition from pg_constraint where conname = 'actions_state_check'`,
    );
    const allowed = [...(row?.definition.matchAll(/'(\w+)'/g) ?? [])].map(([, state]) => state);
    assert.deepEqual(allowed.toSorted(), ACTION_STATES.toSorted());
  });

  test('every event leads to one state', () => {
    for (const [event, { from, to }] of Object.entries(TRANSITIONS))
      assert.ok(ACTION_STATES.includes(from) && ACTION_STATES.includes(to), event);
  });

  test('every state is reached from one of the two that an action begins in', () => {
    const reached = new Set<ActionState>(['awaiting_approval', 'requested']);
    for (const state of reached) for (const next of nextStates(state)) reached.add(next);
    assert.deepEqual([...reached].toSorted(), ACTION_STATES.toSorted());
  });

  test('what RevenueCat was called for never returns to a state in which it would be called again', () => {
    const after = new Set<ActionState>(['confirmed', 'failed']);
    for (const state of after) for (const next of nextStates(state)) after.add(next);
    assert.ok(!after.has('requested') && !after.has('awaiting_approval'));
  });
});
