import { findSharedSubscribers } from '../contacts/repository.ts';
import { createBatcher } from '../database/batcher.ts';
import type { Database } from '../database/sql.ts';
import { type NewSummary, saveSummaries } from '../subscribers/summaries.ts';
import {
  assignContacts,
  type Claim,
  type FinishedClaim,
  type FoundContact,
  finishClaims,
  haveChanged,
} from './claims.ts';
import {
  type Attempt,
  explainPending,
  type Plan,
  recordAttempts,
  recordResults,
  type SendResult,
  savePlan,
} from './event-deliveries.ts';

/** For statements that must finish before a call is made. */
const IMMEDIATE = { maxItems: 256 };
/** For contacts, which are found one by one: without a pause, a statement would carry only two or three. */
const PROMPT = { maxItems: 256, spacingMs: 15 };
/**
 * For results, which may wait for others to share a statement. With 15 ms, PostgreSQL took a fifth more processor time
 * for an event. At low load nothing waits.
 */
const DEFERRED = { maxItems: 256, spacingMs: 50 };

export type OutboxWriter = ReturnType<typeof createOutboxWriter>;

/**
 * The writes of a worker's deliveries, in shared statements. With a statement for each event, most of a worker's time
 * went into waking PostgreSQL: a customer with four events took 11 round trips; now it takes one.
 */
export function createOutboxWriter(database: Database, now: () => number) {
  return {
    savePlan: createBatcher(IMMEDIATE, (workspaceId, plans: readonly Plan[]) =>
      savePlan(database, workspaceId, plans),
    ),
    saveSummary: createBatcher(DEFERRED, (workspaceId, summaries: readonly NewSummary[]) =>
      saveSummaries(database, workspaceId, summaries),
    ),
    recordResult: createBatcher(DEFERRED, async (workspaceId, results: readonly SendResult[]) => {
      for (const [projectId, ofProject] of Map.groupBy(results, (result) => result.projectId))
        await recordResults(database, { workspaceId, projectId }, ofProject);
    }),
    recordAttempt: createBatcher(DEFERRED, (workspaceId, attempts: readonly Attempt[]) =>
      recordAttempts(database, workspaceId, attempts),
    ),
    hasChanged: createBatcher(IMMEDIATE, (workspaceId, claims: readonly Claim[]) =>
      haveChanged(database, workspaceId, claims),
    ),
    /**
     * Stores the subscriber's contact if it is a new one. Resolves with the other subscribers that may write to the
     * contact; `null`: the subscriber was merged, or has changed and nothing was stored.
     */
    assignContact: createBatcher(PROMPT, async (workspaceId, found: readonly FoundContact[]) => {
      const fresh = found.filter(({ claim, contactId }) => claim.contactId !== contactId);
      const assigned = fresh.length > 0 ? await assignContacts(database, workspaceId, fresh) : new Set();
      // Read after all their plans and contacts are committed, so that of two subscribers at least one sees the other.
      const ids = found.map(({ claim }) => claim.subscriberId);
      const others = await findSharedSubscribers(database, workspaceId, ids);
      return found.map(({ claim: { subscriberId, contactId: previous }, contactId }) => {
        const isAssigned = previous === contactId || assigned.has(subscriberId);
        return isAssigned ? (others.get(subscriberId) ?? null) : null;
      });
    }),
    /** Releases a subscriber; resolves with whether it is already due again. */
    finish: createBatcher(DEFERRED, async (workspaceId, finished: readonly FinishedClaim[]) => {
      await explainPending(database, workspaceId, finished);
      const due = await finishClaims(database, { workspaceId, nowMs: now() }, finished);
      return finished.map(({ claim }) => due.has(claim.subscriberId));
    }),
  };
}
