import type { Database } from '../database/sql.ts';
import { groupWrites } from './group.ts';
import { type Attempt, recordAttempts, type Settlement, settleEvents } from './outbox-store.ts';
import { type Claim, type Ending, finishClaims } from './store.ts';

/**
 * What the hands of a worker write, in statements that they share. With a statement for each event, most of a
 * worker's time went into waking PostgreSQL: 11 round trips for a customer with four events.
 */
export interface OutboxWriter {
  /** Moves an event and writes the log. */
  settle(workspaceId: string, settlement: Settlement): Promise<void>;
  record(workspaceId: string, attempt: Attempt): Promise<void>;
  /** Gives a subscriber back; resolves with whether it is due again already. */
  finish(claim: Claim, ending: Ending): Promise<boolean>;
}

export function createOutboxWriter(database: Database): OutboxWriter {
  const settling = byKey((workspaceId: string, projectId: string) =>
    groupWrites<Settlement, void>(async (settlements) => {
      await settleEvents(database, workspaceId, projectId, settlements);
      return [];
    }),
  );
  const recording = byKey((workspaceId: string) =>
    groupWrites<Attempt, void>(async (attempts) => {
      await recordAttempts(database, workspaceId, attempts);
      return [];
    }),
  );
  const finishing = byKey((workspaceId: string) =>
    groupWrites<{ claim: Claim; ending: Ending }, boolean>(async (endings) => {
      const due = await finishClaims(database, workspaceId, endings);
      return endings.map(({ claim }) => due.has(claim.subscriberId));
    }),
  );
  return {
    settle: (workspaceId, settlement) => settling(workspaceId, settlement.projectId)(settlement),
    record: (workspaceId, attempt) => recording(workspaceId)(attempt),
    finish: (claim, ending) => finishing(claim.workspaceId)({ claim, ending }),
  };
}

/** One of each for every workspace (and project): statements stay on one tenant's rows. */
function byKey<Keys extends string[], T>(make: (...keys: Keys) => T): (...keys: Keys) => T {
  const made = new Map<string, T>();
  return (...keys) => {
    const key = keys.join('\n');
    const existing = made.get(key) ?? make(...keys);
    made.set(key, existing);
    return existing;
  };
}
