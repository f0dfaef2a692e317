import type { Sql } from '../database/sql.ts';
import { NIL_UUID } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';

/** Order of a subscriber's app user ids `i`. */
export const IDENTIFIED_FIRST = `i.app_user_id like '$RCAnonymousID:%', i.app_user_id`;

/** The stored subscribers with one of these app user ids: at most one in each project for each id. */
export function findByAppUserIds(
  sql: Sql,
  workspaceId: string,
  appUserIds: readonly string[],
): Promise<{ readonly subscriberId: string; readonly projectId: string }[]> {
  return sql.query(
    `select subscriber_id as "subscriberId", project_id as "projectId" from subscriber_ids
      where workspace_id = $1 and app_user_id = any($2)`,
    [workspaceId, appUserIds],
    'find-by-app-user-ids',
  );
}

export async function findInProject(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  appUserIds: readonly string[],
): Promise<string[]> {
  const found = await findByAppUserIds(sql, workspaceId, appUserIds);
  return found.filter((each) => each.projectId === projectId).map(({ subscriberId }) => subscriberId);
}

/** An app user id of subscriber `s`, an identified one if there is one; $1 is the workspace. */
const BEST_ID = `(select i.app_user_id from subscriber_ids i
  where i.workspace_id = $1 and i.subscriber_id = s.subscriber_id order by ${IDENTIFIED_FIRST} limit 1)`;

type SearchField = 'app_user_id' | 'email' | 'transaction';

export interface FoundSubscriber {
  readonly subscriberId: string;
  readonly projectId: string;
  readonly appUserId: string;
  readonly email: string | null;
  readonly lastEventAtMs: number | null;
  readonly foundBy: SearchField;
}

/**
 * Searches by an app user id, an e-mail in any case, or a store's transaction id as on receipts: that of any period or
 * the original one. Lists each subscriber once, under the first field that matches: at most 20 for an e-mail, for a
 * transaction id and for an original transaction id.
 */
export function searchSubscribers(
  sql: Sql,
  workspaceId: string,
  { text, fields }: { readonly text: string; readonly fields: readonly SearchField[] },
): Promise<FoundSubscriber[]> {
  return sql.query(
    `select s.subscriber_id as "subscriberId", s.project_id as "projectId", s.email,
            s.last_event_at_ms::float8 as "lastEventAtMs", found.field as "foundBy",
            coalesce(${BEST_ID}, s.subscriber_id::text) as "appUserId"
       from (select subscriber_id, min(field) as field from (
               select subscriber_id, 'app_user_id' as field from subscriber_ids
                where workspace_id = $1 and app_user_id = $2 and 'app_user_id' = any($3)
               union all
               (select subscriber_id, 'email' from subscribers
                 where workspace_id = $1 and email = $5 and 'email' = any($3)
                 order by last_event_at_ms desc nulls last limit 20)
               union all
               (select distinct subscriber_id, 'transaction' from events
                 where workspace_id = $1 and transaction_id = any($4) and 'transaction' = any($3) limit 20)
               union all
               -- PostgreSQL has no statistics for a partial index: it expected many rows, and read events in the order of
               -- another index until it had 20. 'offset 0' hides the limit from the planner.
               (select distinct subscriber_id, 'transaction'
                  from (select subscriber_id from events
                         where workspace_id = $1 and fields->>'original_transaction_id' = any($4)
                           and fields->>'original_transaction_id' <> transaction_id and 'transaction' = any($3)
                        offset 0) renewed
                 limit 20)) each
              group by subscriber_id) found
       join subscribers s on s.workspace_id = $1 and s.subscriber_id = found.subscriber_id and s.merged_into is null
      order by found.field, s.last_event_at_ms desc nulls last`,
    [workspaceId, text, fields, [text, orderOf(text)], text.toLowerCase()],
    'search-subscribers',
  );
}

/** Google numbers the renewals of an order: `GPA.1234-5678-9012-34567..3`. */
function orderOf(transactionId: string): string {
  return transactionId.replace(/^(GPA\..*)\.\.\d+$/, '$1');
}

/**
 * Lists subscribers of a project by id, after the given one. Leaves out those without app user ids, such as merged
 * ones. Not prepared (no name): a plan for a workspace of average size read all following rows each time.
 */
export function listSubscribers(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  { after = NIL_UUID, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<{ readonly subscriberId: string; readonly version: number; readonly appUserId: string }[]> {
  return sql.query(
    // Without "exists": for 200,000 customers it was planned as a join that read the ids of all of them for each page.
    `select s.subscriber_id as "subscriberId", s.version::float8 as version, i.app_user_id as "appUserId"
       from subscribers s cross join lateral ${BEST_ID} i
      where s.workspace_id = $1 and s.project_id = $2 and s.subscriber_id > $3::uuid
      order by s.subscriber_id limit $4`,
    [workspaceId, projectId, after, limit],
  );
}
