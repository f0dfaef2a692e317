import { AppError } from '../errors.ts';
import type { JobDefinitions } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { refreshSubscriber } from './refresh.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'subscriber.refresh': { workspaceId: string; subscriberId: string };
  }
}

export function subscriberJobs(context: AppContext): JobDefinitions {
  return {
    'subscriber.refresh': {
      workers: 'bulk',
      retryLimit: 5,
      async run({ workspaceId, subscriberId }) {
        try {
          await refreshSubscriber(context, workspaceId, subscriberId);
        } catch (error) {
          if (!(error instanceof AppError) || error.remedy.kind !== 'wait_until') throw error;
          const afterSeconds = Math.max(1, Math.ceil((error.remedy.atMs - context.now()) / 1_000));
          await context.jobs.send('subscriber.refresh', { workspaceId, subscriberId }, { afterSeconds });
        }
      },
    },
  };
}
