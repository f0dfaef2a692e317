import { type JobData, type JobDefinitions, secondsToWait } from '../jobs/jobs.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import { findErasedIds } from './erased-ids.ts';
import { lockProject } from './identity.ts';
import { refreshSubscriber } from './refresh.ts';
import type { SubscriberKey } from './repository.ts';

declare module '../jobs/jobs.ts' {
  interface JobData {
    'subscriber.refresh': SubscriberKey;
    /** Looks up a customer in RevenueCat who is not stored yet. */
    'customer.import': ProjectKey & { appUserId: string };
  }
}

/** @param stopping aborts when the process stops: a refresh that is waiting for its turn is left to another process */
export function subscriberJobs(app: AppContext, stopping: AbortSignal): JobDefinitions {
  return {
    'subscriber.refresh': {
      workers: 'bulk',
      retryLimit: 5,
      async run(subscriber) {
        const refreshing = refreshSubscriber(app, subscriber, { signal: stopping });
        const afterSeconds = await secondsToWait(refreshing, app.now);
        if (afterSeconds !== null) await app.jobs.send('subscriber.refresh', subscriber, { afterSeconds });
      },
    },
  };
}

/** Does nothing for an erased customer, whose id must not get into a job; erasing takes the same lock. */
export async function queueCustomerImport(
  { database, secrets, jobs }: Pick<AppContext, 'database' | 'secrets' | 'jobs'>,
  customer: JobData['customer.import'],
  options: { readonly onceInSeconds?: number; readonly afterSeconds?: number },
): Promise<void> {
  const { workspaceId, projectId, appUserId } = customer;
  const key = `${workspaceId}|${projectId}|${appUserId}`;
  await database.transaction(async (sql) => {
    await lockProject(sql, customer);
    if ((await findErasedIds({ sql, secrets }, customer, [appUserId])).size > 0) return;
    await jobs.send('customer.import', customer, { ...options, key, sql });
  });
}
