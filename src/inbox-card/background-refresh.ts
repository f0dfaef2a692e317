import type { Logger } from 'pino';
import type { Jobs } from '../jobs/jobs.ts';

/** One subscriber is not asked for again within this time, ms. */
const QUIET_MS = 60_000;
/** Subscribers that are remembered; those asked for longest ago are forgotten first. */
const MOST_REMEMBERED = 10_000;

/**
 * Asks RevenueCat for a subscriber behind a card that has opened. Cards open often and all at once: each process
 * asks once a minute, and the queue holds one job of a kind for each subscriber.
 */
export function createBackgroundRefresh(options: {
  jobs: Jobs;
  logger: Logger;
  now: () => number;
}): (workspaceId: string, subscriberId: string) => void {
  const asked = new Map<string, number>();
  return (workspaceId, subscriberId) => {
    const nowMs = options.now();
    const last = asked.get(subscriberId);
    if (last !== undefined && nowMs - last < QUIET_MS) return;
    asked.delete(subscriberId);
    asked.set(subscriberId, nowMs);
    const [oldest] = asked.keys();
    if (asked.size > MOST_REMEMBERED && oldest !== undefined) asked.delete(oldest);
    options.jobs.send('subscriber.refresh', { workspaceId, subscriberId }).catch((error: unknown) => {
      asked.delete(subscriberId);
      options.logger.warn({ err: error, workspaceId, subscriberId }, 'could not queue a refresh');
    });
  };
}
