import type { Sql } from '../database/sql.ts';
import { deriveSummaries, readStoredSummaries } from '../subscribers/summary-store.ts';
import { isStillTrue } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { DAY_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';

/** Which customers a filter takes; every condition that is set must hold. */
export interface CustomerFilter {
  /** RevenueCat's `subscription_status`; empty: everyone who has or had something. */
  readonly statuses: readonly string[];
  readonly productId: string | null;
  readonly lookupKey: string | null;
  /** Access ended within this many days. */
  readonly expiredWithinDays: number | null;
}

/** @param nowMs UTC, ms */
export function takesCustomer(filter: CustomerFilter, state: SubscriberState, nowMs: number): boolean {
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
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

interface Row {
  readonly subscriberId: string;
  readonly version: number;
  readonly appUserId: string;
}

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
  let rows: Row[] = [];
  do {
    rows = await readBatch(database, of, rows.at(-1)?.subscriberId ?? NIL_UUID);
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

async function readBatch(
  sql: Sql,
  { workspaceId, projectId }: { readonly workspaceId: string; readonly projectId: string },
  after: string,
): Promise<Row[]> {
  return sql.query<Row>(
    `select s.subscriber_id as "subscriberId", s.version::float8 as version, i.app_user_id as "appUserId"
       from subscribers s
       join lateral (select i.app_user_id from subscriber_ids i
                      where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id
                      order by i.app_user_id like '$RCAnonymousID:%', i.app_user_id limit 1) i on true
      where s.workspace_id = $1 and s.project_id = $2 and s.merged_into is null and s.subscriber_id > $3::uuid
      order by s.subscriber_id limit $4`,
    [workspaceId, projectId, after, BATCH],
    'read-customers-to-filter',
  );
}
