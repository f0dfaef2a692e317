import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';
import { pruneJournal } from './journal.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'journal.prune': Record<string, never>;
  }
}

export function ingestionJobs(context: {
  database: Database;
  logger: Logger;
  payloadRetentionDays: number | null;
  /** The process is stopping. */
  stopping: AbortSignal;
}): JobDefinitions {
  return {
    'journal.prune': {
      workers: 'background',
      cron: '47 3 * * *',
      expireInSeconds: 3_600,
      retryLimit: 2,
      async run() {
        const { database, payloadRetentionDays, logger, stopping: signal } = context;
        await pruneJournal(database, payloadRetentionDays, { logger, signal });
      },
    },
  };
}
