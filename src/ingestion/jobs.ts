import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { pruneJournal } from './journal.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'journal.prune': Record<string, never>;
  }
}

export function ingestionJobs(app: AppContext, stopping: AbortSignal): JobDefinitions {
  const { database, logger, config } = app;
  return {
    'journal.prune': {
      workers: 'background',
      cron: '47 3 * * *',
      expireInSeconds: 3_600,
      retryLimit: 2,
      run: () => pruneJournal(database, config.payloadRetentionDays, { logger, signal: stopping }),
    },
  };
}
