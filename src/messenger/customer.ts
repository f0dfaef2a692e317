import { displayNames, readCatalog } from '../revenuecat/catalog.ts';
import { readHistory } from '../subscribers/history.ts';
import { deriveSummary } from '../subscribers/summaries.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { deriveState } from '../subscription/state.ts';
import { SUMMARY_FORMAT, type SubscriberSummary } from '../subscription/summary.ts';
import type { SubscriberState } from '../subscription/types.ts';
import { compareTexts } from '../text.ts';
import type { AppContext } from '../workspaces/app-context.ts';
import { HAS_WORKING_KEY, IS_CONNECTED } from '../workspaces/projects.ts';

/** What the attributes of a subscriber's contact are derived from. */
export interface CustomerState {
  readonly subscriberId: string;
  readonly appUserIds: readonly string[];
  readonly state: SubscriberState;
}

/** A customer in one RevenueCat project, with what is needed to show them their own subscriptions. */
export type Customer = Awaited<ReturnType<typeof findCustomers>>[number];

/**
 * The customers with this app user ID: at most one in each connected project, the one with access first. Only by
 * this exact ID: no e-mail and no saved link ever opens a customer's data to a browser.
 *
 * @param appUserId proven by the workspace's own key, or by a contact in a request that Intercom signed
 */
export async function findCustomers(
  { readDatabase: sql, now }: AppContext,
  workspaceId: string,
  appUserId: string,
) {
  if (isBlockedId(appUserId)) return [];
  const found = await sql.query<{ subscriberId: string; canRefresh: boolean }>(
    `select i.subscriber_id as "subscriberId",
            bool_or(${HAS_WORKING_KEY}) as "canRefresh"
       from subscriber_ids i
       join projects p on p.workspace_id = $1 and p.project_id = i.project_id
      where i.workspace_id = $1 and p.workspace_id = $1 and i.app_user_id = $2 and ${IS_CONNECTED}
      group by i.subscriber_id`,
    [workspaceId, appUserId],
    'find-customers',
  );
  const customers = await Promise.all(
    found.map(async ({ subscriberId, canRefresh }) => {
      const { subscriber, ...history } = await readHistory(sql, workspaceId, subscriberId);
      if (!subscriber) return null;
      const { projectId, appUserIds, snapshotAtMs } = subscriber;
      return {
        subscriberId,
        projectId,
        appUserIds,
        state: deriveState(history.events, history.snapshot, now()),
        names: displayNames(await readCatalog(sql, workspaceId, projectId)),
        /** Events of this customer only, oldest first: what a transfer's source did before is not theirs to see. */
        ownHistory: history.ownEvents,
        snapshotAtMs,
        canRefresh,
      };
    }),
  );
  return customers.filter((each) => each !== null).sort(compareCustomers);
}

interface SummaryRow extends Omit<CustomerState, 'state'> {
  readonly version: number;
  readonly summary: SubscriberSummary | null;
}

/**
 * Only the state of the customer with access. Reads the stored summary instead of the whole history if there is one,
 * because apps request an identity token at every start. `null`: unknown app user ID.
 */
export async function findCustomerState(
  app: AppContext,
  workspaceId: string,
  appUserId: string,
): Promise<CustomerState | null> {
  if (isBlockedId(appUserId)) return null;
  const rows = await app.readDatabase.query<SummaryRow>(
    `select s.subscriber_id as "subscriberId", s.version::float8, u.content as summary,
            array(select a.app_user_id from subscriber_ids a
                   where a.workspace_id = $1 and a.subscriber_id = s.subscriber_id
                   order by a.app_user_id) as "appUserIds"
       from subscriber_ids i
       join projects p on p.workspace_id = $1 and p.project_id = i.project_id
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = i.subscriber_id
       left join subscriber_summaries u
         on u.subscriber_id = s.subscriber_id and u.workspace_id = $1
            and u.format = $3 and u.version = s.version and u.valid_until > $4
      where i.workspace_id = $1 and p.workspace_id = $1 and s.workspace_id = $1
        and i.app_user_id = $2 and ${IS_CONNECTED} and s.merged_into is null`,
    [workspaceId, appUserId, SUMMARY_FORMAT, new Date(app.now())],
    'find-summaries',
  );
  const customers = await Promise.all(
    rows.map(async ({ subscriberId, appUserIds, version, summary }) => {
      const { state } = summary ?? (await deriveSummary(app, workspaceId, { subscriberId, version })).summary;
      return { subscriberId, appUserIds, state };
    }),
  );
  return customers.sort(compareCustomers)[0] ?? null;
}

function compareCustomers(a: CustomerState, b: CustomerState): number {
  const hasAccess = ({ state }: CustomerState) => Number(state.primary?.givesAccess ?? false);
  const lastAtMs = ({ state }: CustomerState) => state.lastEvent?.atMs ?? -1;
  return (
    hasAccess(b) - hasAccess(a) || lastAtMs(b) - lastAtMs(a) || compareTexts(a.subscriberId, b.subscriberId)
  );
}
