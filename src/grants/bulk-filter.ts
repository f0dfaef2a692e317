import { listSubscribers } from '../subscribers/find-store.ts';
import { deriveSummaries, readStoredSummaries } from '../subscribers/summary-store.ts';
import { isStillTrue } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { DAY_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';

/** Which customers a filter takes; every condition that is set must hold. */
interface CustomerFilter {
  /** RevenueCat's `subscription_status`; empty: everyone who has or had something. */
  readonly statuses: readonly string[];
  readonly productId: string | null;
  readonly lookupKey: string | null;
  /** Access ended within this many days. */
  readonly expiredWithinDays: number | null;
}

/** @param nowMs UTC, ms */
function takesCustomer(filter: CustomerFilter, state: SubscriberState, nowMs: number): boolean {
  const { statuses, productId, lookupKey, expiredWithinDays } = filter;
  const had = [...state.subscriptions, ...state.grants, ...state.consumables];
  if (statuses.length === 0 ? had.length === 0 : !statuses.includes(state.status ?? '')) return false;
  if (productId !== null && !had.some((each) => each.productId === productId)) return false;
  if (lookupKey !== null && !had.some((each) => each.entitlements.includes(lookupKey))) return false;
  if (expiredWithinDays === null) return true;
  const expiredAtMs = state.primary?.expiredAtMs ?? null;
  return expiredAtMs !== null && expiredAtMs > nowMs - expiredWithinDays * DAY_MS;
}

const BATCH = 500;

/**
 * App user ids, an identified one where there is one, of each subscriber of the project that the filter takes. Where
 * no summary is stored or time has ended it, the state is derived from the history.
 */
export async function findCustomers(
  { database, now }: Pick<AppContext, 'database' | 'now'>,
  of: { readonly workspaceId: string; readonly projectId: string },
  filter: CustomerFilter,
): Promise<string[]> {
  const { workspaceId } = of;
  const nowMs = now();
  const found: string[] = [];
  let rows: Awaited<ReturnType<typeof listSubscribers>> = [];
  do {
    rows = await listSubscribers(database, of, { after: rows.at(-1)?.subscriberId, limit: BATCH });
    const stored = await readStoredSummaries(
      database,
      workspaceId,
      rows.map(({ subscriberId }) => subscriberId),
    );
    const outdated = rows.filter(
      ({ subscriberId, version }) => !isStillTrue(stored.get(subscriberId), version, nowMs),
    );
    const derived = await deriveSummaries(database, workspaceId, { subscribers: outdated, nowMs });
    for (const { subscriberId, appUserId } of rows) {
      const summary = derived.get(subscriberId) ?? stored.get(subscriberId)?.summary;
      if (summary && takesCustomer(filter, summary.state, nowMs)) found.push(appUserId);
    }
  } while (rows.length === BATCH);
  return found;
}
