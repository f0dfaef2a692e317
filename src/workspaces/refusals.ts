import { REFUSAL_CODES, type Refusal } from '../database/entities.ts';
import type { Sql } from '../database/sql.ts';
import { wakeSubscribers } from '../database/wake-subscribers.ts';
import type { Workspace } from './repository.ts';

/** A kind of work that Intercom can refuse while it accepts the others. */
export type RefusedWork = keyof Workspace['refusals'];

/** Whether an error says that the workspace lacks a permission or a plan. */
export function isRefusal(code: string): code is Refusal['code'] {
  return REFUSAL_CODES.some((each) => each === code);
}

/**
 * Records that Intercom refuses a kind of work because a permission or a plan is missing.
 *
 * @returns whether that is new
 */
export async function recordRefusal(
  sql: Sql,
  workspaceId: string,
  refusal: Omit<Refusal, 'since'> & { readonly work: RefusedWork },
): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces
        set refusals = jsonb_set(refusals, array[$2::text], jsonb_build_object(
              'code', $3::text, 'message', $4::text,
              'since', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
      where workspace_id = $1 and (refusals -> $2 ->> 'code') is distinct from $3
     returning 1`,
    [workspaceId, refusal.work, refusal.code, refusal.message.slice(0, 500)],
  );
  return rows.length > 0;
}

/** Records that Intercom accepts a kind of work again. @returns whether it was refused before */
export async function clearRefusal(sql: Sql, workspaceId: string, work: RefusedWork): Promise<boolean> {
  const rows = await sql.query(
    `update workspaces set refusals = refusals - $2::text where workspace_id = $1 and refusals ? $2 returning 1`,
    [workspaceId, work],
  );
  return rows.length > 0;
}

/** Retries refused events now instead of on their schedule, because the permission or the plan has changed. */
export async function retryRefused(sql: Sql, workspaceId: string): Promise<void> {
  await sql.query(
    `update event_deliveries set next_try_at = null
      where workspace_id = $1 and delivered_at is null and not_sent is null
        and reason = any($2)
        and subscriber_id in (select subscriber_id from subscribers where workspace_id = $1 and pending_events > 0)`,
    [workspaceId, REFUSAL_CODES],
  );
  await wakeSubscribers(sql, workspaceId, {
    set: 'due_at = now(), attempts = 0',
    where: 's.due_at > now() and s.attempts > 0 and not s.waiting',
    values: [],
  });
}
