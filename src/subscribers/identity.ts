import { randomUUID } from 'node:crypto';
import { ONE_ROW, type Sql } from '../database/sql.ts';
import type { ProjectKey } from '../workspaces/projects.ts';
import { mergeSubscribers } from './merge.ts';

/** One customer as a batch shows it: app user ids that belong together, and the subscriber they belong to. */
export interface IdentityGroup {
  readonly ids: Set<string>;
  subscriberId: string;
  /** Whether none of the ids is stored yet. */
  isNew: boolean;
  /** Those of the ids that are not stored yet. */
  newIds: readonly string[];
}

/** PostgreSQL ends the transaction of a process that hangs for so long: the others would wait for its lock. */
const END_WHEN_HUNG = `set_config('idle_in_transaction_session_timeout', '10s', true)`;

/**
 * Waits for the project's lock, which lasts until the transaction ends. Every transaction that creates, merges or
 * erases subscribers of a project takes it, so none of them meets another one.
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
 * Resolves app user ids to subscribers; those that turn out to be one customer are merged. In the same transaction the
 * caller stores the ids that are not known yet, and creates the subscribers of new groups.
 *
 * @param sql a transaction that holds the project's lock
 * @param idLists app user ids; those of one customer together
 * @returns by app user id
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
  // Each merge locks its own. In one order, as by every statement that writes several: otherwise the batch and a
  // delivery could wait for each other.
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
      cross join lateral (select subscriber_ids.* from subscriber_ids, ${ONE_ROW}
                           where workspace_id = $1 and app_user_id = wanted.id
                           order by project_id offset 0) i
      where i.project_id = $2`,
    [project.workspaceId, project.projectId, ids],
    'find-owners',
  );
  return new Map(rows.map((row) => [row.app_user_id, row.subscriber_id]));
}
