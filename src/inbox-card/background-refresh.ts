import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { Jobs } from '../jobs/jobs.ts';

/** One subscriber is not asked for again within this time, ms. */
const QUIET_MS = 60_000;
/** Subscribers that are remembered; those asked for longest ago are forgotten first. */
const MAX_REMEMBERED = 10_000;

/**
 * Asks RevenueCat for a subscriber behind a card that has opened. Cards open often and all at once: each process
 * asks once a minute, and the queue holds one job of a kind for each subscriber.
 */
export function createBackgroundRefresh(options: {
  jobs: Jobs;
  logger: Logger;
  now: () => number;
}): (workspaceId: string, subscriberId: string) => void {
  const asked = new LRUCache<string, true>({
    max: MAX_REMEMBERED,
    ttl: QUIET_MS,
    ttlResolution: 0,
    perf: { now: options.now },
  });
  return (workspaceId, subscriberId) => {
    if (asked.has(subscriberId)) return;
    asked.set(subscriberId, true);
    options.jobs.send('subscriber.refresh', { workspaceId, subscriberId }).catch((error: unknown) => {
      asked.delete(subscriberId);
      options.logger.warn({ err: error, workspaceId, subscriberId }, 'could not queue a refresh');
    });
  };
}
