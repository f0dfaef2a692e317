import { LRUCache } from 'lru-cache';
import type { CallPriority } from '../revenuecat/call-limiter.ts';
import { type RevenueCatCustomer, readCustomer } from '../revenuecat/customer.ts';
import { preferredAppUserIds } from '../subscription/app-user-ids.ts';
import { codeNames, compareWithSnapshot } from '../subscription/compare-with-snapshot.ts';
import { deriveState } from '../subscription/state.ts';
import { expiresAfter, MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { withKey } from '../workspaces/key-state.ts';
import { type Project, type ProjectKey, readProject } from '../workspaces/projects.ts';
import { readHistory } from './history.ts';
import { readSubscriber, type Subscriber, type SubscriberKey } from './repository.ts';
import { findInProject } from './search.ts';
import { type StoredCustomer, storeCustomers } from './store-customers.ts';

type RefreshResult = 'refreshed' | 'no_key' | 'key_rejected' | 'unknown_customer';

/** The refresh continues in the background after an agent has stopped waiting. */
const CALL_TIMEOUT_MS = 10_000;

/**
 * Reads a subscriber again from RevenueCat. A customer that RevenueCat does not know keeps the state from its events;
 * ids that RevenueCat has merged into one customer are merged here as well.
 *
 * @param calls.signal ends the waiting for a turn in the rate limit
 * @throws AppError when RevenueCat is unavailable or asks to wait
 */
export async function refreshSubscriber(
  app: AppContext,
  { workspaceId, subscriberId }: SubscriberKey,
  calls: { readonly priority?: CallPriority; readonly signal?: AbortSignal } = {},
): Promise<RefreshResult> {
  const subscriber = await readSubscriber(app.database, workspaceId, subscriberId);
  const project = subscriber && (await readProject(app.database, workspaceId, subscriber.projectId));
  const client =
    project && app.revenueCat(project, { priority: 'background', timeoutMs: CALL_TIMEOUT_MS, ...calls });
  if (!subscriber || !project || !client) return 'no_key';
  return withKey(app, project, async () => {
    for (const appUserId of preferredAppUserIds(subscriber.appUserIds).slice(0, 3)) {
      const customer = await readCustomer({ ...app, project, client }, appUserId);
      if (!customer) continue;
      return (await storeCustomer(app, project, customer)) ? 'refreshed' : 'unknown_customer';
    }
    return 'unknown_customer';
  });
}

/** An older snapshot is refreshed in the background when a person looks at the customer. */
const MAX_SNAPSHOT_AGE_MS = 15 * MINUTE_MS;

export type RefreshIfStale = ReturnType<typeof createRefreshIfStale>;

/**
 * Queues a refresh of a subscriber that a person looks at, if its data is stale: a card or page calls no API itself.
 * Cards open often and many at a time, so each process queues a subscriber at most once a minute, and the queue holds
 * one job for each.
 */
export function createRefreshIfStale({ jobs, logger, now }: AppContext) {
  const queued = new LRUCache<string, true>({ max: 10_000, ...expiresAfter(MINUTE_MS, now) });
  /** @param shown.canRefresh whether RevenueCat accepts the API key of its project */
  return (
    workspaceId: string,
    shown: Pick<Subscriber, 'subscriberId' | 'snapshotAtMs'> & { canRefresh: boolean },
  ): void => {
    const { subscriberId, snapshotAtMs, canRefresh } = shown;
    const isFresh = snapshotAtMs !== null && now() - snapshotAtMs <= MAX_SNAPSHOT_AGE_MS;
    if (!canRefresh || isFresh || queued.has(subscriberId)) return;
    queued.set(subscriberId, true);
    jobs.send('subscriber.refresh', { workspaceId, subscriberId }).catch((error: unknown) => {
      logger.warn({ err: error, workspaceId, subscriberId }, 'could not queue a refresh');
    });
  };
}

const AFTER_TRANSFER_SECONDS = 120;

/**
 * Queues a later refresh of the customers of transfers. When they were last read, RevenueCat's API may still have shown
 * the purchases with their source, and a snapshot overrules older events.
 */
export async function refreshAfterTransfer(
  { database, jobs }: Pick<AppContext, 'database' | 'jobs'>,
  project: ProjectKey,
  appUserIds: readonly string[],
): Promise<void> {
  const { workspaceId } = project;
  const subscriberIds = new Set(await findInProject(database, project, appUserIds));
  // In parallel, because the processor waits for this.
  await Promise.all(
    Array.from(subscriberIds, (subscriberId) => {
      // A key of its own: otherwise a refresh that is needed now would be dropped as a duplicate.
      const key = `${workspaceId}|${subscriberId}|transfer`;
      const options = { key, afterSeconds: AFTER_TRANSFER_SECONDS };
      return jobs.send('subscriber.refresh', { workspaceId, subscriberId }, options);
    }),
  );
}

/** Stores RevenueCat's snapshot of a customer and makes the subscriber due. @returns `false`: the customer is erased */
export async function storeCustomer(
  app: AppContext,
  project: Project,
  customer: RevenueCatCustomer,
): Promise<boolean> {
  const [stored] = await app.database.transaction((sql) =>
    // Time may have changed the state even if RevenueCat's response is the same.
    storeCustomers({ sql, secrets: app.secrets }, project, { customers: [customer], alwaysDue: true }),
  );
  if (stored) await reportDisagreement(app, project, stored);
  return Boolean(stored);
}

/**
 * Logs where RevenueCat's API and the events disagree: a webhook was lost, or an event was misread. Logs only codes and
 * nothing about the customer.
 */
export async function reportDisagreement(
  app: AppContext,
  project: ProjectKey,
  stored: StoredCustomer,
): Promise<void> {
  if (stored.outcome !== 'updated' || !stored.hadEvents) return;
  const { workspaceId, projectId } = project;
  const { subscriberId } = stored;
  const { events, snapshot } = await readHistory(app.database, workspaceId, subscriberId);
  const nowMs = app.now();
  const codes = compareWithSnapshot(deriveState(events, null, nowMs), deriveState(events, snapshot, nowMs));
  if (codes.length === 0) return;
  app.logger.info(
    { workspaceId, projectId, subscriberId, codes },
    'RevenueCat and the events disagree: the state from RevenueCat is used',
  );
  for (const code of codeNames(codes)) app.counters.disagreements.inc({ code });
}
