import { type Database, deleteInBatches } from '../database/sql.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'delivery.prune-log': Record<string, never>;
  }
}

export function deliveryJobs({ database }: { database: Database }): JobDefinitions {
  return {
    'delivery.prune-log': {
      workers: 'background',
      cron: '27 3 * * *',
      expireInSeconds: 3_600,
      retryLimit: 2,
      run: () => deleteOldDeliveryRecords(database),
    },
  };
}

/** Failed attempts are useful for longer. */
const OLD_ATTEMPTS = [
  { codes: `code = 'ok'`, keepDays: 30 },
  { codes: `code <> 'ok'`, keepDays: 90 },
];

/** Intercom repeats a notification after a minute. */
const KEEP_NOTIFICATIONS_DAYS = 7;

/** Rows of one statement: a longer transaction would hold back vacuum. */
const BATCH = 10_000;

/**
 * Deletes old entries of the delivery log, and ids of notifications that cannot be repeated any more. Events stay
 * with their last state: they are the timeline.
 *
 * @returns number of attempts deleted
 */
export async function deleteOldDeliveryRecords(database: Database): Promise<number> {
  const workspaces = await database.query<{ workspace_id: string }>(
    'select workspace_id from workspaces order by workspace_id',
  );
  let deleted = 0;
  for (const { workspace_id: workspaceId } of workspaces) {
    for (const { codes, keepDays } of OLD_ATTEMPTS) {
      deleted += await deleteInBatches(() =>
        database.query(
          `delete from delivery_attempts
            where workspace_id = $1 and attempt_id in (
              select attempt_id from delivery_attempts
               where workspace_id = $1 and at < now() - make_interval(days => $2) and ${codes}
               order by at limit $3)
           returning 1`,
          [workspaceId, keepDays, BATCH],
        ),
      );
    }
    await database.query(
      `delete from notifications where workspace_id = $1 and received_at < now() - make_interval(days => $2)`,
      [workspaceId, KEEP_NOTIFICATIONS_DAYS],
    );
  }
  return deleted;
}
