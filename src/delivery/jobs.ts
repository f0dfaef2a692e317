import type { Database } from '../database/sql.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';
import { forgetOldAttempts } from './retention.ts';

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
      async run() {
        await forgetOldAttempts(database);
      },
    },
  };
}
