import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type ActionEvent,
  type ActionState,
  TRANSITIONS,
  transitionOf,
} from '../../src/grants/state-machine.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const events = new Set(
  Object.values(TRANSITIONS).flatMap((leads) => Object.keys(leads)),
) as ReadonlySet<ActionEvent>;

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
    assert.deepEqual(allowed.toSorted(), Object.keys(TRANSITIONS).toSorted());
  });

  test('every event leads to one state', () => {
    for (const event of events) {
      const { from, to } = transitionOf(event);
      assert.ok(from.length > 0 && to in TRANSITIONS, event);
    }
  });

  test('every state is reached from one of the two that an action begins in', () => {
    const reached = new Set<ActionState>(['awaiting_approval', 'requested']);
    for (const state of reached)
      for (const next of Object.values(TRANSITIONS[state]) as ActionState[]) reached.add(next);
    assert.deepEqual([...reached].toSorted(), Object.keys(TRANSITIONS).toSorted());
  });

  test('what RevenueCat was called for never returns to a state in which it would be called again', () => {
    const after = new Set<ActionState>(['confirmed', 'failed']);
    for (const state of after)
      for (const next of Object.values(TRANSITIONS[state]) as ActionState[]) after.add(next);
    assert.ok(!after.has('requested') && !after.has('awaiting_approval'));
  });
});
