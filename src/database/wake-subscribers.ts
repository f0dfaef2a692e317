import { notifyDelivery, type Sql } from './sql.ts';

/** The assignments that wake subscribers `s`; more may follow. A subscriber that is already due keeps its place. */
export const WAKE = `due_at = least(s.due_at, now()), version = s.version + 1`;
/** Also clears what was written, so that all attributes are written again. */
export const WAKE_AND_REWRITE = `${WAKE}, attributes_written = null`;
/** Also retries as if no delivery had failed before. */
export const WAKE_AND_RETRY = `${WAKE}, attempts = 0, failing_since = null`;

export const byIds = (ids: readonly string[]) => ({ where: 's.subscriber_id = any($2)', values: [ids] });

/**
 * Makes subscribers due and, if there are any, wakes delivery. Locks them in the order of their ids, as every statement
 * that writes several does: in different orders, this statement and a delivery could deadlock.
 *
 * @param wake.where a condition on subscribers `s`; `values` are its parameters after the workspace
 * @returns number of subscribers that were woken
 */
export async function wakeSubscribers(
  sql: Sql,
  workspaceId: string,
  wake: { set: string; where: string; values: readonly unknown[]; name?: string },
): Promise<number> {
  // Returns only a count: there may be a million rows.
  const [woken] = await sql.query<{ count: number }>(
    `with woken as (
       update subscribers s
          set ${wake.set}
        where s.workspace_id = $1 and s.subscriber_id = any(array(
                select s.subscriber_id from subscribers s
                 where s.workspace_id = $1 and ${wake.where}
                 order by s.subscriber_id for no key update))
       returning 1)
     select count(*)::integer as count from woken`,
    [workspaceId, ...wake.values],
    wake.name,
  );
  const count = woken?.count ?? 0;
  if (count > 0) await notifyDelivery(sql, workspaceId);
  return count;
}
