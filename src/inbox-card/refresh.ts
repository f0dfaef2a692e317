import { LRUCache } from 'lru-cache';
import { AppError } from '../errors.ts';
import { type RefreshOutcome, refreshSubscriber } from '../subscribers/refresh.ts';
import { MINUTE_MS, withTimeout } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { hasWorkingKey } from '../workspaces/projects.ts';
import type { Candidate } from './card-repository.ts';
import { type CardApp, type CardContext, type CustomerContext, createCardContext } from './context.ts';
import { loadCustomer } from './customer.ts';
import { cardQuery } from './matching.ts';

/** How long the agent waits for a refresh, which then continues in the background. */
const REFRESH_WAIT_MS = 3_000;
/** An older snapshot is refreshed in the background when a card opens. */
const SNAPSHOT_MAX_AGE_MS = 15 * MINUTE_MS;
/** A subscriber is queued at most once in this time. */
const QUIET_MS = MINUTE_MS;
const MAX_REMEMBERED = 10_000;

/**
 * Queues refreshes of the subscribers whose cards open. Cards open often and many at a time: each process queues a
 * subscriber once a minute, and the queue holds one job for each.
 */
export function createBackgroundRefresh({ jobs, logger, now }: AppContext): CardApp['refreshLater'] {
  const queued = new LRUCache<string, true>({
    max: MAX_REMEMBERED,
    ttl: QUIET_MS,
    ttlResolution: 0,
    perf: { now },
  });
  return (workspaceId, subscriberId) => {
    if (queued.has(subscriberId)) return;
    queued.set(subscriberId, true);
    jobs.send('subscriber.refresh', { workspaceId, subscriberId }).catch((error: unknown) => {
      queued.delete(subscriberId);
      logger.warn({ err: error, workspaceId, subscriberId }, 'could not queue a refresh');
    });
  };
}

/** Stale data triggers a background refresh; the card itself calls no API. */
export function refreshIfStale({ app, request, projects }: CardContext, candidate: Candidate): void {
  const { subscriberId, projectId, snapshotAtMs } = candidate;
  const project = projects.find((known) => known.projectId === projectId);
  if (!project || !hasWorkingKey(project)) return;
  const isStale = snapshotAtMs === null || app.now() - snapshotAtMs > SNAPSHOT_MAX_AGE_MS;
  if (isStale) app.refreshLater(request.workspaceId, subscriberId);
}

/**
 * Refreshes the customer from RevenueCat and reads the card again.
 *
 * @returns `context` is `null` when the customer is no longer there
 */
export async function refreshCustomer(context: CustomerContext): Promise<{
  outcome: RefreshOutcome | 'scope_missing' | 'unavailable' | 'later';
  context: CustomerContext | null;
}> {
  const { app, request, customer, formState } = context;
  const { subscriberId } = customer.subscriber;
  const { workspaceId } = request;
  const refreshing = refreshSubscriber(app, { workspaceId, subscriberId }, { priority: 'interactive' }).catch(
    (error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      return error.code === 'revenuecat_scope_missing' ? 'scope_missing' : 'unavailable';
    },
  );
  const outcome = await withTimeout(refreshing, REFRESH_WAIT_MS, () => 'later' as const);
  // The names of products may have been read with the customer.
  app.catalog.invalidate(request.workspaceId, customer.project.projectId);
  const record = await app.cards.read(request.workspaceId, cardQuery(request, formState));
  const again = record && createCardContext(context, record);
  const candidate = again?.candidates.find((known) => known.subscriberId === subscriberId);
  const refreshed = again && candidate ? await loadCustomer(again, candidate) : null;
  return { outcome, context: again && refreshed ? { ...again, customer: refreshed } : null };
}
