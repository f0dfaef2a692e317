import { notifyDelivery, type Sql } from './sql.ts';

/** What waking changes of subscribers `s`; more may follow. One that is due already keeps its place in the queue. */
export const DUE = `due_at = least(s.due_at, now()), version = s.version + 1`;
/** With nothing written, all attributes are written again. */
export const REWRITE = `${DUE}, attributes_written = null`;
/** As if none of its deliveries had failed. */
export const TRY_AGAIN = `${DUE}, attempts = 0, failing_since = null`;

/** Selects subscribers by their ids. */
export const byIds = (ids: readonly string[]) => ({ where: 's.subscriber_id = any($2)', values: [ids] });

/**
 * Makes subscribers due and wakes delivery when there are any. They are locked by id, as in every statement that writes
 * several: in different orders, it and a delivery could deadlock.
 *
 * @param wake.where on subscribers `s`; its parameters after the workspace are `values`
 * @returns their number
 */
export async function wakeSubscribers(
  sql: Sql,
  workspaceId: string,
  wake: { set: string; where: string; values: readonly unknown[]; name?: string },
): Promise<number> {
  // Only counted: there may be a million.
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
