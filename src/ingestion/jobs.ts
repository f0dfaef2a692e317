import type { Logger } from 'pino';
import type { Database } from '../database/sql.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';
import { redactPayloads } from './payload-retention.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'payload.redact': Record<string, never>;
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
    'payload.redact': {
      workers: 'background',
      cron: '47 3 * * *',
      expireInSeconds: 3_600,
      retryLimit: 2,
      async run() {
        const { database, payloadRetentionDays, logger, stopping: signal } = context;
        await redactPayloads(database, payloadRetentionDays, { logger, signal });
      },
    },
  };
}
