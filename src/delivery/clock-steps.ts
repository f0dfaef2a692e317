import type { Database } from '../database/sql.ts';

/** Smaller steps delay nothing noticeably. */
const MIN_STEP_MS = 2_000;
/** The longest delay of a retry: what was postponed before the step is due that much later by the right clock. */
const MAX_RETRY_DELAY_SECONDS = 3_600;

/** @returns tells by how much the clock was set back since the last call, ms; 0: not at all */
export function watchClock(now: () => number): () => number {
  const offset = (): number => now() - performance.now();
  let lastMs = offset();
  return () => {
    const stepMs = lastMs - offset();
    lastMs -= stepMs;
    return stepMs >= MIN_STEP_MS ? stepMs : 0;
  };
}

/**
 * A clock that was ahead was set back: what arrived or was postponed until then would wait for as long again. It is
 * due now, which is at worst early. Pauses of workspaces end: a 429 pauses them again.
 */
export async function endWaitsOfWrongClock(database: Database, setBackMs: number): Promise<void> {
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  for (const { workspace_id: workspaceId } of workspaces)
    await database.transaction(async (sql) => {
      const rows = await sql.query<{ subscriber_id: string }>(
        `update subscribers set due_at = now()
          where workspace_id = $1
            and subscriber_id = any(array(select subscriber_id from subscribers
                                           where workspace_id = $1 and due_at > now()
                                             and due_at <= now() + make_interval(secs => $2)
                                           order by subscriber_id for no key update))
         returning subscriber_id`,
        [workspaceId, setBackMs / 1_000 + MAX_RETRY_DELAY_SECONDS],
      );
      await sql.query(
        `update event_deliveries set next_try_at = null
          where workspace_id = $1 and subscriber_id = any($2) and next_try_at > now()`,
        [workspaceId, rows.map((row) => row.subscriber_id)],
      );
      await sql.query(
        `update workspaces set not_before = null where workspace_id = $1 and not_before > now()`,
        [workspaceId],
      );
    });
}
