import { listSubscribers } from '../../subscribers/search.ts';
import { readSummaries } from '../../subscribers/summaries.ts';
import type { SubscriberState } from '../../subscription/types.ts';
import { DAY_MS } from '../../time.ts';
import type { AppContext } from '../../workspaces/app-context.ts';
import {
  type BulkKey,
  type CustomerFilter,
  MAX_CUSTOMERS,
  readBulkGrant,
  storeChosenCustomers,
} from './repository.ts';

/** Deriving summaries blocks the process, so its cards wait for at most this many. */
const BATCH_SIZE = 50;
/** A job continues in another one after this time, so that a stopping server does not wait for it. */
const SLICE_MS = 10_000;

function matchesFilter(filter: CustomerFilter, state: SubscriberState, nowMs: number): boolean {
  const { statuses, productId, lookupKey, expiredWithinDays } = filter;
  const had = [...state.subscriptions, ...state.grants, ...state.consumables];
  if (statuses.length === 0 ? had.length === 0 : !statuses.includes(state.status ?? '')) return false;
  if (productId !== null && !had.some((each) => each.productId === productId)) return false;
  if (lookupKey !== null && !had.some((each) => each.entitlements.includes(lookupKey))) return false;
  if (expiredWithinDays === null) return true;
  const expiredAtMs = state.primary?.expiredAtMs ?? null;
  return expiredAtMs !== null && expiredAtMs > nowMs - expiredWithinDays * DAY_MS;
}

/**
 * Chooses the customers of a group until all are checked, there are more than a grant takes, or time is up. Each is
 * named by an identified app user id if there is one. A batch is stored together with the progress, so that a killed
 * process loses nothing and two concurrent processes choose each customer once.
 */
export async function chooseCustomers(
  app: AppContext,
  key: BulkKey,
  untilMs = Date.now() + SLICE_MS,
): Promise<void> {
  const { database } = app;
  do {
    const bulk = await readBulkGrant(database, key);
    const group = bulk?.customerGroup;
    if (bulk?.state !== 'choosing' || !group) return;
    const nowMs = app.now();
    const rows = await listSubscribers(database, bulk, { after: group.after, limit: BATCH_SIZE });
    const summaries = await readSummaries(database, bulk.workspaceId, { subscribers: rows, nowMs });
    const appUserIds = rows.flatMap(({ subscriberId, appUserId }) => {
      const summary = summaries.get(subscriberId);
      return summary && matchesFilter(group, summary.state, nowMs) ? [appUserId] : [];
    });
    const chosen = group.chosen + appUserIds.length;
    const isLast = rows.length < BATCH_SIZE || chosen > MAX_CUSTOMERS;
    const after = isLast ? undefined : rows.at(-1)?.subscriberId;
    const next = { ...group, after, checked: group.checked + rows.length, chosen };
    await storeChosenCustomers(app, bulk, { group, next, appUserIds });
  } while (Date.now() < untilMs);
  await app.jobs.send('bulk-grant.choose', key);
}
