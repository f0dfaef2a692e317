import type { Sql } from '../database/sql.ts';

interface OwnerRow {
  app_user_id: string;
  subscriber_id: string;
}

/** @returns whose each of the app user ids is; missing where it is stored for nobody */
export async function findOwners(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  ids: readonly string[],
): Promise<Map<string, string>> {
  // One look into the key for each id: with "= any" a plan made for a small table compares every row with every id.
  const rows = await sql.query<OwnerRow>(
    `select i.app_user_id, i.subscriber_id
       from unnest($3::text[]) as wanted (id)
      cross join lateral (select app_user_id, subscriber_id from subscriber_ids
                           where workspace_id = $1 and project_id = $2 and app_user_id = wanted.id
                          offset 0) i`,
    [workspaceId, projectId, ids],
    'find-owners',
  );
  return new Map(rows.map((row) => [row.app_user_id, row.subscriber_id]));
}

/**
 * Gives app user ids to subscribers, in one order, so that those who take the same ones do not wait for each other.
 *
 * @param sql an open transaction in which the subscribers are locked
 * @returns whose each of them is now: another process may have been first
 */
export async function takeIds(
  sql: Sql,
  workspaceId: string,
  projectId: string,
  ids: readonly { readonly id: string; readonly subscriberId: string }[],
): Promise<Map<string, string>> {
  if (ids.length === 0) return new Map();
  const rows = await sql.query<OwnerRow>(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select $1, $2, app_user_id, subscriber_id from unnest($3::text[], $4::uuid[]) as t (app_user_id, subscriber_id)
      order by app_user_id
     on conflict (workspace_id, app_user_id, project_id) do update set subscriber_id = subscriber_ids.subscriber_id
     returning app_user_id, subscriber_id`,
    [workspaceId, projectId, ids.map(({ id }) => id), ids.map(({ subscriberId }) => subscriberId)],
    'take-ids',
  );
  return new Map(rows.map((row) => [row.app_user_id, row.subscriber_id]));
}

/**
 * Locks subscribers in one order, as everybody who writes several does.
 *
 * @param sql an open transaction
 * @returns those that are there and were not merged away, with whether they had events
 */
export async function lockSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<Map<string, boolean>> {
  if (subscriberIds.length === 0) return new Map();
  const rows = await sql.query<{ subscriber_id: string; had_events: boolean }>(
    `select subscriber_id, first_event_at_ms is not null as had_events from subscribers
      where workspace_id = $1 and subscriber_id = any($2::uuid[]) and merged_into is null
      order by subscriber_id
        for no key update`,
    [workspaceId, subscriberIds],
    'lock-subscribers',
  );
  return new Map(rows.map((row) => [row.subscriber_id, row.had_events]));
}
