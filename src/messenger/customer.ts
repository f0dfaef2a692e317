import type { Sql } from '../database/sql.ts';
import { displayNames, readCatalog } from '../revenuecat/catalog-names.ts';
import {
  readHistory,
  readHistoryWithSources,
  readSubscriber,
  type TimelineEntry,
} from '../subscribers/store.ts';
import { saveSummaries } from '../subscribers/summary-store.ts';
import { isBlockedId } from '../subscription/identities.ts';
import type { Names } from '../subscription/names.ts';
import { deriveState } from '../subscription/state.ts';
import { isUsable, type SubscriberSummary, summarize } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { MINUTE_MS } from '../time.ts';
import type { AppContext } from '../workspaces/app-context.ts';

/** What a subscriber's attributes are made of. */
export interface CustomerState {
  readonly subscriberId: string;
  readonly appUserIds: readonly string[];
  readonly state: SubscriberState;
}

/** A customer in one RevenueCat project, with what is needed to show them their own subscriptions. */
export interface Customer extends CustomerState {
  readonly projectId: string;
  readonly names: Names;
  /** Events of this customer only, oldest first: what a transfer's source did before is not theirs to see. */
  readonly ownHistory: readonly TimelineEntry[];
  readonly snapshotAtMs: number | null;
  /** Whether RevenueCat can be asked about this customer. */
  readonly canRefresh: boolean;
}

/**
 * The customers with this app user ID: at most one in each connected project, the one with access first. Only by
 * this exact ID: no e-mail and no saved link ever opens a customer's data to a browser.
 *
 * @param appUserId proven by the workspace's own key, or by a contact in a request that Intercom signed
 */
export async function findCustomers(
  sql: Sql,
  workspaceId: string,
  options: { appUserId: string; nowMs: number },
): Promise<Customer[]> {
  const { appUserId, nowMs } = options;
  if (isBlockedId(appUserId)) return [];
  const found = await sql.query<{ subscriber_id: string; can_refresh: boolean }>(
    `select i.subscriber_id, bool_or(p.api_key is not null and p.api_key_state <> 'rejected') as can_refresh
       from subscriber_ids i
       join projects p on p.workspace_id = $1 and p.project_id = i.project_id
      where i.workspace_id = $1 and p.workspace_id = $1 and i.app_user_id = $2 and p.webhook_auth_hash <> ''
      group by i.subscriber_id`,
    [workspaceId, appUserId],
    'find-customers',
  );
  const customers = await Promise.all(
    found.map(async ({ subscriber_id: subscriberId, can_refresh: canRefresh }) => {
      const [subscriber, history] = await Promise.all([
        readSubscriber(sql, workspaceId, subscriberId),
        readHistory(sql, workspaceId, subscriberId),
      ]);
      if (!subscriber) return null;
      const { projectId, appUserIds, snapshot, snapshotAtMs } = subscriber;
      return {
        subscriberId,
        projectId,
        appUserIds,
        state: deriveState(history, snapshot, nowMs),
        names: displayNames(await readCatalog(sql, workspaceId, projectId)),
        ownHistory: await ownHistory(sql, workspaceId, { subscriberId, history }),
        snapshotAtMs,
        canRefresh,
      };
    }),
  );
  return customers.filter((each) => each !== null).sort(compareCustomers);
}

/** Leaves out the events that a transfer brought from its source. */
async function ownHistory(
  sql: Sql,
  workspaceId: string,
  { subscriberId, history }: { subscriberId: string; history: readonly TimelineEntry[] },
): Promise<readonly TimelineEntry[]> {
  const hasReceived = history.some(({ kind }) => kind === 'transfer' || kind === 'purchase_redeemed');
  if (!hasReceived) return history;
  const rows = await sql.query<{ project_id: string; event_id: string; side: string }>(
    'select project_id, event_id, side from events where workspace_id = $1 and subscriber_id = $2',
    [workspaceId, subscriberId],
    'list-own-event-ids',
  );
  const own = new Set(rows.map((row) => `${row.project_id}|${row.event_id}|${row.side}`));
  return history.filter((event) => own.has(`${event.projectId}|${event.id}|${event.side}`));
}

interface SummaryRow {
  subscriber_id: string;
  app_user_ids: string[];
  version: string;
  format: number | null;
  summary_version: string | null;
  valid_until: Date | null;
  summary: SubscriberSummary | null;
}

/**
 * Only the state of the customer with access, from the stored summary where there is one instead of the whole
 * history: apps request an identity token at every start. `null`: unknown app user ID.
 */
export async function findCustomerState(
  context: AppContext,
  workspaceId: string,
  appUserId: string,
): Promise<CustomerState | null> {
  if (isBlockedId(appUserId)) return null;
  const rows = await context.readDatabase.query<SummaryRow>(
    `select s.subscriber_id, s.version, u.format, u.version as summary_version, u.valid_until, u.summary,
            array(select a.app_user_id from subscriber_ids a
                   where a.workspace_id = $1 and a.subscriber_id = s.subscriber_id
                   order by a.app_user_id) as app_user_ids
       from subscriber_ids i
       join projects p on p.workspace_id = $1 and p.project_id = i.project_id
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = i.subscriber_id
       left join subscriber_summaries u
         on u.subscriber_id = s.subscriber_id and u.workspace_id = $1
      where i.workspace_id = $1 and p.workspace_id = $1 and s.workspace_id = $1
        and i.app_user_id = $2 and p.webhook_auth_hash <> '' and s.merged_into is null`,
    [workspaceId, appUserId],
    'find-summaries',
  );
  const customers = await Promise.all(
    rows.map(async (row) => ({
      subscriberId: row.subscriber_id,
      appUserIds: row.app_user_ids,
      state: await stateOf(context, workspaceId, row),
    })),
  );
  return customers.sort(compareCustomers)[0] ?? null;
}

async function stateOf(
  { database, readDatabase, logger, now }: AppContext,
  workspaceId: string,
  row: SummaryRow,
): Promise<SubscriberState> {
  const nowMs = now();
  const { subscriber_id: subscriberId, format, summary, valid_until: validUntil } = row;
  const version = Number(row.version);
  if (format !== null && summary !== null && validUntil !== null && row.summary_version !== null) {
    const stored = {
      format,
      summary,
      version: Number(row.summary_version),
      validUntilMs: validUntil.getTime(),
    };
    if (isUsable(stored, version, nowMs)) return summary.state;
  }
  const [subscriber, history] = await Promise.all([
    readSubscriber(readDatabase, workspaceId, subscriberId),
    readHistoryWithSources(readDatabase, workspaceId, subscriberId),
  ]);
  const fresh = summarize(history.events, subscriber?.snapshot ?? null, nowMs);
  // A summary with another subscriber's purchases in it would miss that subscriber's late events.
  if (history.sources.length === 1) {
    saveSummaries(database, workspaceId, [{ subscriberId, version, summary: fresh, nowMs }]).catch(
      (error: unknown) => logger.warn({ err: error, workspaceId, subscriberId }, 'could not save a summary'),
    );
  }
  return fresh.state;
}

function compareCustomers(a: CustomerState, b: CustomerState): number {
  const access =
    Number(b.state.primary?.givesAccess ?? false) - Number(a.state.primary?.givesAccess ?? false);
  if (access !== 0) return access;
  const last = (b.state.lastEvent?.atMs ?? -1) - (a.state.lastEvent?.atMs ?? -1);
  return last !== 0 ? last : a.subscriberId < b.subscriberId ? -1 : 1;
}

/** A snapshot older than this is refreshed in the background when a customer looks. */
const MAX_SNAPSHOT_AGE_MS = 15 * MINUTE_MS;

/** Queues a refresh of stale data; the view itself calls neither platform. */
export function refreshStale(context: AppContext, workspaceId: string, customers: readonly Customer[]): void {
  for (const { subscriberId, canRefresh, snapshotAtMs } of customers) {
    const isFresh = snapshotAtMs !== null && context.now() - snapshotAtMs <= MAX_SNAPSHOT_AGE_MS;
    if (!canRefresh || isFresh) continue;
    context.jobs.send('subscriber.refresh', { workspaceId, subscriberId }).catch((error: unknown) => {
      context.logger.warn({ err: error, workspaceId }, 'could not queue a refresh');
    });
  }
}
