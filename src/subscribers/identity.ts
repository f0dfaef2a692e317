import { randomUUID } from 'node:crypto';
import { type Sql, USE_ORDERED_INDEX } from '../database/sql.ts';
import { CUSTOMER_TABLES } from '../database/tables.ts';
import { WAKE } from '../database/wake-subscribers.ts';
import { NIL_UUID } from '../text.ts';
import type { ProjectKey } from '../workspaces/projects.ts';

/** One customer as a batch shows it: app user ids that belong together, and the subscriber they belong to. */
export interface IdentityGroup {
  readonly ids: Set<string>;
  subscriberId: string;
  /** Whether none of the ids is stored yet. */
  isNew: boolean;
  /** Those of the ids that are not stored yet. */
  newIds: readonly string[];
}

/** PostgreSQL ends the transaction of a process that hangs this long: other processes would wait for its lock. */
const END_WHEN_HUNG = `set_config('idle_in_transaction_session_timeout', '10s', true)`;

/**
 * Waits for the project's lock, which lasts until the transaction ends. Every transaction that creates, merges or
 * erases subscribers of a project takes it, so that no two of them overlap.
 *
 * @param sql an open transaction; a session's lock would not survive a transaction pooler
 */
export async function lockProject(sql: Sql, project: ProjectKey): Promise<void> {
  await sql.query(`select pg_advisory_xact_lock(hashtextextended($1, 0)), ${END_WHEN_HUNG}`, [
    lockName(project),
  ]);
}

/** @returns whether this transaction has the lock; `false`: another one holds it */
export async function tryLockProject(sql: Sql, project: ProjectKey): Promise<boolean> {
  const [row] = await sql.query<{ locked: boolean }>(
    `select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as locked, ${END_WHEN_HUNG}`,
    [lockName(project)],
    'try-lock-project',
  );
  return row?.locked === true;
}

function lockName({ workspaceId, projectId }: ProjectKey): string {
  return `project ${workspaceId} ${projectId}`;
}

export function newIdentityGroup(): IdentityGroup {
  return { ids: new Set(), subscriberId: randomUUID(), isNew: true, newIds: [] };
}

/**
 * Resolves app user ids to subscribers, and merges those that turn out to be one customer. In the same transaction the
 * caller must store the new ids and create the subscribers of new groups.
 *
 * @param sql a transaction that holds the project's lock
 * @param idLists lists of app user ids that belong to one customer
 * @returns the group of each app user id
 */
export async function resolveIdentities(
  sql: Sql,
  project: ProjectKey,
  idLists: readonly (readonly string[])[],
): Promise<Map<string, IdentityGroup>> {
  const groups = new Map<string, IdentityGroup>();
  for (const ids of idLists) joinIds(groups, ids);
  if (groups.size === 0) return groups;
  const owners = await findOwners(sql, project, [...groups.keys()]);
  // Ids of one subscriber belong together, whether or not the batch shows them together.
  for (const owned of Map.groupBy(owners, ([, subscriberId]) => subscriberId).values()) {
    const ids = owned.map(([id]) => id);
    joinIds(groups, ids);
  }
  const resolved = [...new Set(groups.values())].map((group) => {
    const subscriberIds = [...new Set([...group.ids].flatMap((id) => owners.get(id) ?? []))];
    return { group, subscriberIds };
  });
  // Each merge locks only its own subscribers. Locks all of them first, by id as in every statement that writes
  // several: in different orders, the batch and a delivery could deadlock.
  if (resolved.some(({ subscriberIds }) => subscriberIds.length > 1))
    await sql.query(
      `select 1 from subscribers
        where workspace_id = $1 and subscriber_id = any($2) order by subscriber_id for update`,
      [project.workspaceId, [...new Set(owners.values())]],
    );
  for (const { group, subscriberIds } of resolved) {
    group.newIds = [...group.ids].filter((id) => !owners.has(id));
    const [first] = subscriberIds;
    if (first === undefined) continue;
    group.isNew = false;
    group.subscriberId =
      subscriberIds.length === 1 ? first : await mergeSubscribers(sql, project.workspaceId, subscriberIds);
  }
  return groups;
}

export async function insertNewIds(
  sql: Sql,
  { workspaceId, projectId }: ProjectKey,
  groups: Iterable<IdentityGroup>,
): Promise<void> {
  const added = [...new Set(groups)].flatMap(({ newIds, subscriberId }) =>
    newIds.map((id) => ({ id, subscriberId })),
  );
  if (added.length === 0) return;
  await sql.query(
    `insert into subscriber_ids (workspace_id, project_id, app_user_id, subscriber_id)
     select $1, $2, app_user_id, subscriber_id
       from unnest($3::text[], $4::uuid[]) as t (app_user_id, subscriber_id)`,
    [workspaceId, projectId, added.map(({ id }) => id), added.map(({ subscriberId }) => subscriberId)],
    'insert-subscriber-ids',
  );
}

/** Puts ids into one group, together with the groups that they were in. */
function joinIds(groups: Map<string, IdentityGroup>, ids: readonly string[]): void {
  const joined = [...new Set(ids.flatMap((id) => groups.get(id) ?? []))];
  const [group = newIdentityGroup()] = joined;
  for (const id of [...ids, ...joined.flatMap((other) => (other === group ? [] : [...other.ids]))]) {
    group.ids.add(id);
    groups.set(id, group);
  }
}

async function findOwners(
  sql: Sql,
  project: ProjectKey,
  ids: readonly string[],
): Promise<Map<string, string>> {
  // One key lookup for each id: with "= any" a plan made for a small table compares every row with every id.
  const rows = await sql.query<{ app_user_id: string; subscriber_id: string }>(
    `select i.app_user_id, i.subscriber_id
       from unnest($3::text[]) as wanted (id)
      cross join lateral (select subscriber_ids.* from subscriber_ids, ${USE_ORDERED_INDEX}
                           where workspace_id = $1 and app_user_id = wanted.id
                           order by project_id offset 0) i
      where i.project_id = $2`,
    [project.workspaceId, project.projectId, ids],
    'find-owners',
  );
  return new Map(rows.map((row) => [row.app_user_id, row.subscriber_id]));
}

/**
 * Merges subscribers into the one with the oldest event, which takes over what the others have. Its contact is looked
 * up again: none of their contacts need be the best match for all of their app user ids.
 *
 * @param sql a transaction that holds the lock of the project, and those of the subscribers, taken in the order of ids
 * @returns the remaining subscriber
 */
export async function mergeSubscribers(
  sql: Sql,
  workspaceId: string,
  subscriberIds: readonly string[],
): Promise<string> {
  const rows = await sql.query<{ subscriber_id: string; is_leased: boolean | null }>(
    `select subscriber_id, lease_until > now() as is_leased from subscribers
      where workspace_id = $1 and subscriber_id = any($2)
      order by first_event_at_ms nulls last, subscriber_id for update`,
    [workspaceId, subscriberIds],
  );
  const [keeper, ...others] = rows.map((row) => row.subscriber_id);
  if (keeper === undefined) throw new Error('None of the subscribers to merge exists');
  const values = [workspaceId, keeper, others] as const;
  await markBeingSent(sql, workspaceId, subscriberIds);
  for (const { table, onMerge } of CUSTOMER_TABLES) {
    if (onMerge === 'move') {
      await sql.query(
        `update ${table} set subscriber_id = $2 where workspace_id = $1 and subscriber_id = any($3)`,
        values,
      );
    } else if (onMerge === 'drop') {
      await sql.query(
        `delete from ${table} where workspace_id = $1 and (subscriber_id = $2 or subscriber_id = any($3))`,
        values,
      );
    }
  }
  // With several running deliveries, the end of one must not end the wait: no worker has this id, so only time ends it.
  const owner = rows.filter((row) => row.is_leased).length > 1 ? NIL_UUID : null;
  await mergeRows(sql, values, owner);
  return keeper;
}

/**
 * Counts an attempt for events that a worker may be sending. An event that was tried keeps its second, so the delivery
 * of the remaining subscriber does not move it when an event of another subscriber has the same second.
 */
async function markBeingSent(sql: Sql, workspaceId: string, subscriberIds: readonly string[]): Promise<void> {
  await sql.query(
    `update event_deliveries set attempts = 1
      where workspace_id = $1 and attempts = 0 and sent_name is not null and delivered_at is null and not_sent is null
        and subscriber_id in (select subscriber_id from subscribers
                               where workspace_id = $1 and subscriber_id = any($2)
                                 and lease_owner is not null and contact_id is not null)`,
    [workspaceId, subscriberIds],
  );
}

async function mergeRows(
  sql: Sql,
  values: readonly [workspaceId: string, keeper: string, others: readonly string[]],
  leaseOwner: string | null,
): Promise<void> {
  await sql.query(
    `update subscribers s
        set ${WAKE},
            -- Waits for deliveries of the merged subscribers that are still running: they may write to the same contact.
            lease_until = greatest(s.lease_until, o.lease_until),
            lease_owner = coalesce($4, s.lease_owner),
            snapshot = null, snapshot_at = null, attributes_written = null,
            first_event_at_ms = least(s.first_event_at_ms, o.first_event_at_ms),
            last_event_at_ms = greatest(s.last_event_at_ms, o.last_event_at_ms),
            email = case when o.email_at_ms > s.email_at_ms then o.email else s.email end,
            email_at_ms = greatest(s.email_at_ms, o.email_at_ms)
       from (select min(first_event_at_ms) as first_event_at_ms, max(last_event_at_ms) as last_event_at_ms,
                    max(email_at_ms) as email_at_ms,
                    max(lease_until) filter (where contact_id is not null) as lease_until,
                    (array_agg(email order by email_at_ms desc) filter (where email is not null))[1] as email
               from subscribers where workspace_id = $1 and subscriber_id = any($3)) o
      where s.workspace_id = $1 and s.subscriber_id = $2`,
    [...values, leaseOwner],
  );
  await sql.query(
    `update subscribers
        set merged_into = $2, due_at = null, version = version + 1, contact_id = null, email = null, snapshot = null, waiting = false,
            pending_events = 0
      where workspace_id = $1 and subscriber_id = any($3)`,
    values,
  );
}
