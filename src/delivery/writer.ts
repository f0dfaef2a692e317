import { createBatcher, keyed } from '../database/batcher.ts';
import type { Database } from '../database/sql.ts';
import { type NewSummary, saveSummaries } from '../subscribers/summary-store.ts';
import { type Attempt, recordAttempts, type Settlement, savePlan, settleEvents } from './outbox-store.ts';
import type { PlannedEvent } from './plan.ts';
import { type Claim, type Ending, finishClaims } from './store.ts';

/** What must be stored before a call is made. */
const AT_ONCE = { most: 64 };
/**
 * What is noted after the fact may wait a little for others to share its statement: the next call to Intercom is on
 * its way meanwhile and takes longer.
 */
const AFTERWARDS = { most: 64, spacingMs: 15 };

/**
 * What the hands of a worker write, in statements that they share. With a statement for each event, most of a
 * worker's time went into waking PostgreSQL: 11 round trips for a customer with four events; now it is one.
 */
export interface OutboxWriter {
  /** Stores what is to be sent, before it is. */
  plan(workspaceId: string, planned: readonly PlannedEvent[]): Promise<void>;
  keep(workspaceId: string, summary: NewSummary): Promise<void>;
  /** Moves an event and writes the log. */
  settle(workspaceId: string, settlement: Settlement): Promise<void>;
  record(workspaceId: string, attempt: Attempt): Promise<void>;
  /** Gives a subscriber back; resolves with whether it is due again already. */
  finish(claim: Claim, ending: Ending): Promise<boolean>;
}

export function createOutboxWriter(database: Database): OutboxWriter {
  const planning = keyed((workspaceId: string) =>
    createBatcher<readonly PlannedEvent[], void>(async (planned) => {
      await savePlan(database, workspaceId, planned.flat());
      return [];
    }, AT_ONCE),
  );
  const keeping = keyed((workspaceId: string) =>
    createBatcher<NewSummary, void>(async (summaries) => {
      await saveSummaries(database, workspaceId, summaries);
      return [];
    }, AFTERWARDS),
  );
  const settling = keyed((workspaceId: string, projectId: string) =>
    createBatcher<Settlement, void>(async (settlements) => {
      await settleEvents(database, workspaceId, projectId, settlements);
      return [];
    }, AFTERWARDS),
  );
  const recording = keyed((workspaceId: string) =>
    createBatcher<Attempt, void>(async (attempts) => {
      await recordAttempts(database, workspaceId, attempts);
      return [];
    }, AFTERWARDS),
  );
  const finishing = keyed((workspaceId: string) =>
    createBatcher<{ claim: Claim; ending: Ending }, boolean>(async (endings) => {
      const due = await finishClaims(database, workspaceId, endings);
      return endings.map(({ claim }) => due.has(claim.subscriberId));
    }, AFTERWARDS),
  );
  return {
    plan: (workspaceId, planned) => planning(workspaceId)(planned),
    keep: (workspaceId, summary) => keeping(workspaceId)(summary),
    settle: (workspaceId, settlement) => settling(workspaceId, settlement.projectId)(settlement),
    record: (workspaceId, attempt) => recording(workspaceId)(attempt),
    finish: (claim, ending) => finishing(claim.workspaceId)({ claim, ending }),
  };
}
