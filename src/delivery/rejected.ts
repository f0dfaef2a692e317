import type { Sql } from '../database/sql.ts';
import { TRY_AGAIN, wakeSubscribers } from '../subscribers/repository.ts';

/** Counting stops here. */
const MAX_COUNTED = 100_000;

/** Intercom refuses their content, and a retry cannot fix it: they are tried again once a day. */
const REJECTED = `s.workspace_id = $1 and s.due_at > now() and s.due_at < now() + interval '25 hours'
  and s.attempts > 0 and not s.waiting and s.pending_reason in ('intercom_rejected', 'intercom_attribute_missing')`;

export interface RejectedContacts {
  readonly count: number;
  /** One of the customers. */
  readonly appUserId: string | null;
}

/** Customers whose contact Intercom lets the app neither update nor find. Their events may all be delivered. */
export async function readRejectedContacts(sql: Sql, workspaceId: string): Promise<RejectedContacts> {
  const [row] = await sql.query<RejectedContacts & Record<string, unknown>>(
    `with rejected as (select s.subscriber_id from subscribers s where ${REJECTED} limit $2)
     select (select count(*)::integer from rejected) as count,
            (select i.app_user_id from subscriber_ids i
              where i.workspace_id = $1 and i.subscriber_id = (select subscriber_id from rejected limit 1)
              limit 1) as "appUserId"`,
    [workspaceId, MAX_COUNTED],
  );
  return row ?? { count: 0, appUserId: null };
}

/** Tries them immediately: the cause may be fixed. @returns number of customers */
export function retryRejectedContacts(sql: Sql, workspaceId: string): Promise<number> {
  return wakeSubscribers(sql, workspaceId, { set: TRY_AGAIN, where: REJECTED, values: [] });
}
